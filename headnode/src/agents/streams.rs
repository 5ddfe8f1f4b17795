//! Streams between a client of the head and the step daemon of a node: the client asks, the node
//! is told a secret name and dials back with it, and the two are joined.
//!
//! Invariant: a name is good once, for the node it was told to, and for a short time. Bytes are
//! carried as they come, with a small buffer in each direction: a slow reader slows its writer. The
//! end of one direction is handed on and does not end the other. Deliberately absent: what the
//! bytes mean, and resuming (both ends do that with a new stream).
use super::token::hex;
use crate::limits;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use pcluster_api::seats::{Seat, Seats};
use pcluster_model::NodeId;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// What the node answers: its end of the stream, or why there is none.
type Answer = Result<OnUpgrade, String>;

#[derive(Debug)]
struct Waiting {
    node: NodeId,
    answer: oneshot::Sender<Answer>,
}

/// Streams that nodes were asked for. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {
    waiting: Arc<Mutex<BTreeMap<String, Waiting>>>,
    of_users: Seats<u32>,
}

impl Default for Streams {
    fn default() -> Self {
        let of_users = Seats::new(limits::STREAMS, limits::STREAMS_OF_ONE);
        Self { waiting: Arc::default(), of_users }
    }
}

/// A stream that was asked for. Dropping it makes its name worthless.
#[derive(Debug)]
pub struct Expected {
    streams: Streams,
    name: String,
    answer: oneshot::Receiver<Answer>,
    place: Option<Seat<u32>>,
}

/// Why a node's end did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoStream {
    #[error("{0}")]
    Refused(String),
    #[error("it has not answered for {} s", limits::STREAM_ANSWER.as_secs())]
    Silent,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a name for a stream of this node for this user; `None` when as many are open as may
    /// be.
    #[must_use]
    pub fn expect(&self, node: NodeId, uid: u32) -> Option<Expected> {
        let place = self.of_users.take(uid).ok()?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).ok()?;
        let name = hex(&random);
        let (sender, answer) = oneshot::channel();
        self.lock().insert(name.clone(), Waiting { node, answer: sender });
        Some(Expected { streams: self.clone(), name, answer, place: Some(place) })
    }

    /// The node answers; false when nobody waits for this name of this node.
    pub fn answer(&self, name: &str, node: NodeId, answer: Answer) -> bool {
        let waiting = {
            let mut all = self.lock();
            match all.get(name) {
                Some(waiting) if waiting.node == node => all.remove(name),
                Some(_) | None => None,
            }
        };
        waiting.is_some_and(|waiting| waiting.answer.send(answer).is_ok())
    }
}

impl Expected {
    /// What the node is told.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Waits for the node's end, and joins it with the client's for as long as both live.
    ///
    /// # Errors
    /// When the node says no, or nothing.
    pub async fn join(mut self, client: OnUpgrade) -> Result<(), NoStream> {
        let answer = tokio::time::timeout(limits::STREAM_ANSWER, &mut self.answer).await;
        let node = match answer {
            Ok(Ok(Ok(node))) => node,
            Ok(Ok(Err(why))) => return Err(NoStream::Refused(why)),
            Ok(Err(_)) | Err(_) => return Err(NoStream::Silent),
        };
        let place = self.place.take();
        tokio::spawn(async move {
            let _place = place;
            let upgraded = tokio::time::timeout(limits::HANDSHAKE, async {
                Ok::<_, hyper::Error>((client.await?, node.await?))
            });
            let Ok(Ok((client, node))) = upgraded.await else { return };
            // However it ends, both ends see it: they are dropped here.
            let _ = carry(TokioIo::new(client), TokioIo::new(node)).await;
        });
        Ok(())
    }
}

/// Carries both directions. The client speaks first; one that never does holds nothing for long.
async fn carry<A, B>(mut client: A, mut node: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut first = [0; 1024];
    let length = timeout(limits::STREAM_FIRST_WORD, client.read(&mut first)).await??;
    node.write_all(&first[..length]).await?;
    if length > 0 {
        tokio::io::copy_bidirectional(&mut client, &mut node).await?;
    }
    Ok(())
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_model::LaunchId;

    const NODE: NodeId = NodeId { launch: LaunchId(1), index: 0 };
    const OTHER: NodeId = NodeId { launch: LaunchId(1), index: 1 };

    #[test]
    fn a_name_is_good_once_and_for_its_node_only() {
        let streams = Streams::default();
        let expected = streams.expect(NODE, 1000).unwrap();
        let name = expected.name().to_owned();
        assert_eq!(name.len(), 32);
        assert!(!streams.answer(&name, OTHER, Err("another node".into())));
        assert!(streams.answer(&name, NODE, Err("no".into())));
        assert!(!streams.answer(&name, NODE, Err("again".into())));
    }

    #[test]
    fn a_name_nobody_waits_for_any_more_is_worthless() {
        let streams = Streams::default();
        let name = streams.expect(NODE, 1000).unwrap().name().to_owned();
        assert!(!streams.answer(&name, NODE, Err("too late".into())));
        assert!(streams.lock().is_empty());
    }

    #[test]
    fn streams_are_bounded_and_their_places_given_back() {
        let streams = Streams::default();
        let all = 0..=limits::STREAMS;
        let own: Vec<_> = all.map_while(|_| streams.expect(NODE, 1000)).collect();
        assert_eq!(own.len(), limits::STREAMS_OF_ONE);
        assert!(streams.expect(NODE, 1001).is_some(), "others have room");
        drop(own);
        assert!(streams.expect(NODE, 1000).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_not_carried_for_long() {
        let ((_silent, client), (mut daemon, node)) =
            (tokio::io::duplex(64), tokio::io::duplex(64));
        assert_eq!(carry(client, node).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(daemon.read(&mut [0; 1]).await.unwrap(), 0, "the daemon sees the end of it");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_first_arrives_first_and_silence_after_it_is_nobodys_business() {
        let ((mut srun, client), (mut daemon, node)) =
            (tokio::io::duplex(64), tokio::io::duplex(64));
        let carried = tokio::spawn(carry(client, node));
        srun.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        daemon.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        tokio::time::advance(limits::STREAM_FIRST_WORD * 10).await;
        daemon.write_all(b"output").await.unwrap();
        drop(daemon);
        let mut output = String::new();
        srun.read_to_string(&mut output).await.unwrap();
        assert_eq!(output, "output");
        drop(srun);
        carried.await.unwrap().unwrap();
    }
}
