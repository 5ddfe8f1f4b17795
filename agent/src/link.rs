//! The connection to the head: one WebSocket over TLS, made again whenever it breaks.
//!
//! Invariant: frames of one connection arrive in order and are never mixed with those of another;
//! between two `Up` there is a `Down`. Both directions are bounded: a head that does not read makes
//! the agent wait, and is given up after a while. Deliberately absent: what the frames mean.
use crate::tls::Dialer;
use anyhow::{Result, anyhow, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use pcluster_wire::{AgentFrame, HeadFrame, MAX_FRAME_BYTES};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that lasted this long starts the pauses from the beginning.
const LASTED: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(10);
/// A head from which nothing came for so long, pongs included, is gone.
const SILENT: Duration = Duration::from_secs(35);
/// A frame that cannot be written for so long: the same.
const STUCK: Duration = Duration::from_secs(35);
const QUEUED: usize = 32;

/// News of the connection.
#[derive(Debug)]
pub enum LinkEvent {
    /// Frames may be sent; dropping the sender closes the connection.
    Up {
        address: String,
        /// This end of it.
        local: String,
        sender: mpsc::Sender<AgentFrame>,
    },
    Frame(Box<HeadFrame>),
    Down {
        why: String,
    },
}

/// Keeps a connection to one of `addresses` until the receiver is dropped.
pub async fn keep(dialer: Dialer, addresses: Vec<String>, events: mpsc::Sender<LinkEvent>) {
    let mut pause = FIRST_PAUSE;
    let mut turn = 0;
    while !events.is_closed() {
        let since = Instant::now();
        let why = match addresses.get(turn % addresses.len().max(1)) {
            Some(address) => match connect(&dialer, address).await {
                Ok(socket) => serve(socket, address, &events).await,
                Err(error) => format!("cannot reach the head at {address}: {error:#}"),
            },
            None => "the launch order names no address of the head".to_owned(),
        };
        if events.send(LinkEvent::Down { why }).await.is_err() {
            return;
        }
        turn += 1;
        if since.elapsed() >= LASTED {
            pause = FIRST_PAUSE;
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Between a half and the whole: ten thousand agents do not come back at the same moment.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0_u8; 1];
    // Without randomness they come back together, which is no error.
    let _ = getrandom(&mut byte, GetRandomFlags::empty());
    pause / 2 + pause * u32::from(byte[0]) / 512
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn connect(dialer: &Dialer, address: &str) -> Result<Socket> {
    let stream = dialer.dial(address).await?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES));
    let request = "wss://pcluster-head/node/v1/link";
    let shake = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
    match timeout(Duration::from_secs(5), shake).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => Err(anyhow!("{error}")),
        Err(_) => bail!("no answer to the greeting"),
    }
}

/// Carries frames until the connection ends; why it did.
async fn serve(socket: Socket, address: &str, events: &mpsc::Sender<LinkEvent>) -> String {
    let (sender, outgoing) = mpsc::channel(QUEUED);
    let local = socket.get_ref().get_ref().0.local_addr().map(|own| own.ip().to_canonical());
    let local = local.map_or_else(|_| String::new(), |own| own.to_string());
    let up = LinkEvent::Up { address: address.to_owned(), local, sender };
    if events.send(up).await.is_err() {
        return "the agent ends".to_owned();
    }
    let (sink, stream) = socket.split();
    // Apart from each other: waiting for a slow reader must not stop our own reading.
    tokio::select! {
        why = write(sink, outgoing) => why,
        why = read(stream, events) => why,
    }
}

async fn write(
    mut sink: futures_util::stream::SplitSink<Socket, Message>,
    mut outgoing: mpsc::Receiver<AgentFrame>,
) -> String {
    let mut ping = interval(PING);
    loop {
        let message = tokio::select! {
            frame = outgoing.recv() => match frame.as_ref().map(serde_json::to_string) {
                Some(Ok(text)) => Message::text(text),
                Some(Err(error)) => return format!("a frame cannot be written: {error}"),
                None => {
                    drop(timeout(Duration::from_secs(1), sink.close()).await);
                    return "closed".to_owned();
                }
            },
            _ = ping.tick() => Message::Ping(Vec::new().into()),
        };
        match timeout(STUCK, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return lost(&error),
            Err(_) => return "lost the head: it does not read".to_owned(),
        }
    }
}

/// In words for people: libraries name their manuals, and a head that was killed is no mystery.
fn lost(error: &tungstenite::Error) -> String {
    let why = match error {
        tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the connection has ended without a word".to_owned()
        }
        other => other.to_string(),
    };
    format!("lost the head: {why}")
}

async fn read(
    mut stream: futures_util::stream::SplitStream<Socket>,
    events: &mpsc::Sender<LinkEvent>,
) -> String {
    loop {
        let text = match timeout(SILENT, stream.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => text,
            Ok(Some(Ok(Message::Close(_))) | None) => {
                return "the head closed the connection".to_owned();
            }
            Ok(Some(Ok(_))) => continue,
            Ok(Some(Err(error))) => return lost(&error),
            Err(_) => return "lost the head: it is silent".to_owned(),
        };
        match serde_json::from_str(&text) {
            Ok(frame) => {
                if events.send(LinkEvent::Frame(Box::new(frame))).await.is_err() {
                    return "the agent ends".to_owned();
                }
            }
            // A frame of a later version: what it asks for cannot be done, all else can.
            Err(error) => {
                crate::clock::say(&format!("the head said what is not understood: {error}"))
            }
        }
    }
}
