//! A [`Link`] on real streams: who sends waits for room, who receives slows the other end down.
//!
//! Invariant: a message is counted as received only when it lies in the receiver's queue, so nothing
//! is lost when a stream is dropped at any await. Deliberately absent: making streams.
use crate::link::{Hello, Link, MAX_PAYLOAD, Packet};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, watch};

/// Messages that may wait for the receiver.
const QUEUE: usize = 16;
/// An idle end says that it is there this often.
const PING_EVERY: Duration = Duration::from_secs(15);
/// A stream on which nothing came for this long is dead.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// The longest message, in bytes, of one who is not known yet to send more: orders come first.
const LATER: usize = 1 << 20;
/// A greeting is there within this.
const HELLO_WITHIN: Duration = Duration::from_secs(30);

/// One end of a conversation.
#[derive(Debug)]
pub struct Session {
    name: String,
    link: Mutex<Link>,
    incoming: mpsc::Sender<Vec<u8>>,
    /// Something to write.
    wake: Notify,
    /// Something was acknowledged.
    room: Notify,
    /// A new stream takes over: the one before ends.
    turn: watch::Sender<u64>,
    connected: watch::Sender<bool>,
    /// The longest message that is taken after the first.
    later: AtomicUsize,
}

impl Session {
    /// A session of this name, and where its messages come out.
    #[must_use]
    pub fn new(name: impl Into<String>) -> (Arc<Self>, mpsc::Receiver<Vec<u8>>) {
        let (incoming, messages) = mpsc::channel(QUEUE);
        let session = Self {
            name: name.into(),
            link: Mutex::default(),
            incoming,
            wake: Notify::new(),
            room: Notify::new(),
            turn: watch::channel(0).0,
            connected: watch::channel(false).0,
            later: AtomicUsize::new(MAX_PAYLOAD),
        };
        (Arc::new(session), messages)
    }

    /// The same for somebody who is not known: its queue must not become large.
    #[must_use]
    pub fn of_stranger(name: impl Into<String>) -> (Arc<Self>, mpsc::Receiver<Vec<u8>>) {
        let (session, messages) = Self::new(name);
        session.later.store(LATER, Ordering::Relaxed);
        (session, messages)
    }

    /// The other end may send long messages from now on.
    pub fn is_known(&self) {
        self.later.store(MAX_PAYLOAD, Ordering::Relaxed);
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // A panic elsewhere leaves the link whole: every change of it is one call.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends without waiting: for what is small and must not be stuck behind output.
    pub fn send_now(&self, payload: Vec<u8>) {
        self.link().push(payload);
        self.wake.notify_one();
    }

    /// Sends when there is room.
    pub async fn send(&self, payload: Vec<u8>) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Before the look, so that no room is missed.
            room.as_mut().enable();
            if self.link().has_room() {
                break;
            }
            room.await;
        }
        self.send_now(payload);
    }

    /// Waits until the other end has everything.
    pub async fn settled(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.link().is_settled() {
                return;
            }
            room.await;
        }
    }

    /// Whether a stream is there.
    #[must_use]
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.connected.subscribe()
    }

    /// The client's side of one stream: greets, and serves it until it breaks. `resumed` is set
    /// once the other end has answered.
    ///
    /// # Errors
    /// `ConnectionRefused` when the other end does not know the session (any more): there is no use
    /// in another stream. Anything else: come again with a new one.
    pub async fn dial<S>(&self, mut stream: S, resumed: &mut bool) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let received = self.link().received();
        let hello = Hello { session: self.name.clone(), received, resumed: *resumed };
        stream.write_all(&Packet::Hello(hello).encode()).await?;
        let mut buffer = Vec::new();
        let answer = greeting(&mut stream, &mut buffer).await?;
        *resumed = true;
        self.serve(stream, buffer, answer.received).await
    }

    /// The daemon's side, after [`greeting`].
    ///
    /// # Errors
    /// When the stream breaks, or another one takes over.
    pub async fn answer<S>(&self, mut stream: S, buffer: Vec<u8>, hello: &Hello) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let received = self.link().received();
        let answer = Hello { session: self.name.clone(), received, resumed: false };
        stream.write_all(&Packet::Hello(answer).encode()).await?;
        self.serve(stream, buffer, hello.received).await
    }

    async fn serve<S>(&self, stream: S, buffer: Vec<u8>, peer_received: u64) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut turns = self.turn.subscribe();
        let mine = {
            // One after the other: a stream that ends must not close the link of the next.
            let mut link = self.link();
            self.turn.send_modify(|turn| *turn += 1);
            let mine = *turns.borrow_and_update();
            link.opened(peer_received)?;
            self.connected.send_replace(true);
            mine
        };
        self.room.notify_waiters();
        let (reader, writer) = tokio::io::split(stream);
        let ended = tokio::select! {
            ended = self.read(reader, buffer) => ended,
            ended = self.write(writer) => ended,
            _ = turns.changed() => Err(io::ErrorKind::Interrupted.into()),
        };
        let mut link = self.link();
        if *self.turn.borrow() == mine {
            link.lost();
            self.connected.send_replace(false);
        }
        drop(link);
        ended
    }

    async fn read<R: AsyncRead + Unpin>(
        &self,
        mut reader: R,
        mut buffer: Vec<u8>,
    ) -> io::Result<()> {
        loop {
            while let Some(packet) = Packet::decode(&mut buffer)? {
                // First a place for it: from here to `send` nothing awaits. Nobody may listen any
                // more, and what is still sent must arrive all the same.
                let place = match &packet {
                    Packet::Data(number, payload) => {
                        if *number > 1 && payload.len() > self.later.load(Ordering::Relaxed) {
                            return Err(io::ErrorKind::InvalidData.into());
                        }
                        self.incoming.reserve().await.ok()
                    }
                    _ => None,
                };
                match (self.link().take(packet)?, place) {
                    (Some(message), Some(place)) => place.send(message),
                    _ => self.room.notify_waiters(),
                }
                self.wake.notify_one();
            }
            let more = tokio::time::timeout(SILENT_FOR, reader.read_buf(&mut buffer));
            if more.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn write<W: AsyncWrite + Unpin>(&self, mut writer: W) -> io::Result<()> {
        loop {
            let next = self.link().leaving();
            if let Some(packet) = next {
                writer.write_all(&packet.encode()).await?;
                continue;
            }
            writer.flush().await?;
            if tokio::time::timeout(PING_EVERY, self.wake.notified()).await.is_err() {
                writer.write_all(&Packet::Ping.encode()).await?;
            }
        }
    }
}

/// The greeting of the other end; what follows it stays in `buffer`.
///
/// # Errors
/// When something else comes, or nothing.
pub async fn greeting<S>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<Hello>
where
    S: AsyncRead + Unpin,
{
    let come = async {
        loop {
            match Packet::decode(buffer)? {
                Some(Packet::Hello(hello)) => return Ok(hello),
                Some(Packet::Refused(why)) => {
                    return Err(io::Error::new(io::ErrorKind::ConnectionRefused, why));
                }
                Some(_) => return Err(io::ErrorKind::InvalidData.into()),
                None if stream.read_buf(buffer).await? == 0 => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                None => {}
            }
        }
    };
    tokio::time::timeout(HELLO_WITHIN, come)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn join(client: &Arc<Session>, server: &Arc<Session>, resumed: bool, bytes: usize) {
        // A pipe that holds little, cut after so many reads of the far end.
        let (near, far) = tokio::io::duplex(64);
        let (client, server) = (Arc::clone(client), Arc::clone(server));
        let far = Cut { inner: far, left: bytes };
        let mut far = far;
        let serve = async move {
            let mut buffer = Vec::new();
            let hello = greeting(&mut far, &mut buffer).await?;
            server.answer(far, buffer, &hello).await
        };
        let mut resumed = resumed;
        let _ = tokio::select! {
            ended = client.dial(near, &mut resumed) => ended,
            ended = serve => ended,
        };
    }

    struct Cut {
        inner: tokio::io::DuplexStream,
        left: usize,
    }

    impl AsyncRead for Cut {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            if self.left == 0 {
                return std::task::Poll::Ready(Ok(()));
            }
            self.left -= 1;
            std::pin::Pin::new(&mut self.inner).poll_read(cx, buf)
        }
    }

    impl AsyncWrite for Cut {
        fn poll_write(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
            buf: &[u8],
        ) -> std::task::Poll<io::Result<usize>> {
            std::pin::Pin::new(&mut self.inner).poll_write(cx, buf)
        }
        fn poll_flush(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::pin::Pin::new(&mut self.inner).poll_flush(cx)
        }
        fn poll_shutdown(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            std::pin::Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn messages_cross_many_broken_streams_in_order() {
        let (client, _none) = Session::new("s");
        let (server, mut messages) = Session::new("s");
        for number in 0..200_u32 {
            client.send_now(number.to_be_bytes().to_vec());
        }
        let mut reader = tokio::spawn(async move {
            let mut seen = Vec::new();
            while seen.len() < 200 {
                let Some(message) = messages.recv().await else { break };
                seen.push(u32::from_be_bytes(message.try_into().unwrap()));
            }
            seen
        });
        let mut reads = 4;
        let seen = loop {
            tokio::select! {
                seen = &mut reader => break seen.unwrap(),
                () = join(&client, &server, true, reads) => reads += 3,
            }
        };
        assert_eq!(seen, (0..200).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_stranger_sends_one_long_message_and_a_client_more() {
        let (client, _none) = Session::new("s");
        let (server, mut messages) = Session::of_stranger("s");
        for _ in 0..2 {
            client.send_now(vec![0; LATER + 1]);
        }
        // The stream ends at the second one.
        join(&client, &server, true, usize::MAX).await;
        assert_eq!(messages.recv().await.unwrap().len(), LATER + 1);
        assert!(messages.try_recv().is_err());
        server.is_known();
        tokio::select! {
            message = messages.recv() => assert_eq!(message.unwrap().len(), LATER + 1),
            () = join(&client, &server, true, usize::MAX) => panic!("it is known"),
        }
    }

    #[tokio::test]
    async fn a_receiver_that_does_not_read_stops_the_sender() {
        let (client, _none) = Session::new("s");
        let (server, mut messages) = Session::new("s");
        let carried = {
            let (client, server) = (Arc::clone(&client), Arc::clone(&server));
            tokio::spawn(async move { join(&client, &server, true, usize::MAX).await })
        };
        let sender = Arc::clone(&client);
        let total = 64;
        let sends = tokio::spawn(async move {
            for _ in 0..total {
                sender.send(vec![0; 64 << 10]).await;
            }
        });
        let mut stood = server.connected();
        stood.wait_for(|there| *there).await.unwrap();
        // The queue of the receiver is full, and so is the room of the sender.
        while client.link().has_room() {
            tokio::task::yield_now().await;
        }
        assert!(!sends.is_finished());
        for _ in 0..total {
            messages.recv().await.unwrap();
        }
        sends.await.unwrap();
        client.settled().await;
        carried.abort();
    }
}
