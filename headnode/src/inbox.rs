//! The way to the loop: one bounded queue of inputs, each with the place its answer goes to.
//!
//! Invariant: an answer leaves only after the events of its input are on disk. Deliberately absent:
//! reads, which go to the mirror and never wait here.
use crate::disk::DiskWatch;
use crate::limits;
use pcluster_core::input::{Input, Request};
use pcluster_core::reply::{Rejection, RejectionKind, Reply};
use pcluster_model::NodeId;
use tokio::sync::{mpsc, oneshot};

/// One connection of an agent; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Where an input came from, and so where its answer goes.
#[derive(Debug)]
pub enum From {
    /// Nobody waits.
    Inside,
    /// A request of a user.
    Client(oneshot::Sender<Reply>),
    /// A frame of an agent: dropped unless this is the newest connection of the node.
    Link { link: LinkId, node: NodeId },
}

/// An input on its way.
#[derive(Debug)]
pub struct Asked {
    pub input: Input,
    pub from: From,
}

/// The head is going away and takes no more inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the head is stopping")]
pub struct Stopping;

/// The door to the loop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct InboxHandle {
    sender: mpsc::Sender<Asked>,
    disk: DiskWatch,
}

/// The loop's end of the queue.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<Asked>,
}

/// Makes the queue.
#[must_use]
pub fn inbox(disk: DiskWatch) -> (InboxHandle, Inbox) {
    let (sender, receiver) = mpsc::channel(limits::INBOX);
    (InboxHandle { sender, disk }, Inbox { receiver })
}

impl InboxHandle {
    /// Puts an input in and waits for its answer, which comes after the commit.
    ///
    /// # Errors
    /// `Stopping` when the loop is gone; whether the input was taken is then not known.
    pub async fn ask(&self, input: Input) -> Result<Reply, Stopping> {
        if let Some(rejection) = self.refuse_on_full_disk(&input) {
            return Ok(Reply::Rejected(rejection));
        }
        let (sender, receiver) = oneshot::channel();
        let asked = Asked { input, from: From::Client(sender) };
        self.sender.send(asked).await.map_err(|_| Stopping)?;
        receiver.await.map_err(|_| Stopping)
    }

    /// Puts an input in that nobody waits for.
    ///
    /// # Errors
    /// `Stopping` when the loop is gone.
    pub async fn tell(&self, input: Input) -> Result<(), Stopping> {
        self.sender.send(Asked { input, from: From::Inside }).await.map_err(|_| Stopping)
    }

    /// Puts in what an agent said; the answer goes to its connection.
    ///
    /// # Errors
    /// `Stopping` when the loop is gone.
    pub async fn relay(&self, link: LinkId, node: NodeId, input: Input) -> Result<(), Stopping> {
        let asked = Asked { input, from: From::Link { link, node } };
        self.sender.send(asked).await.map_err(|_| Stopping)
    }

    /// New work is refused on a full disk, so that ends, cancels and terminations still commit.
    pub(crate) fn refuse_on_full_disk(&self, input: &Input) -> Option<Rejection> {
        let Input::Request { request, .. } = input else { return None };
        if !matches!(request, Request::Submit { .. } | Request::RerunFailed { .. }) {
            return None;
        }
        // Looked at anew: what a burst of submissions takes is seen by the next of them.
        self.disk.look();
        let free = self.disk.low()?;
        let text = format!("the disk of the head is nearly full: {} MB free", free >> 20);
        Some(
            Rejection::new(RejectionKind::Refused, text)
                .fact("needed", format!("{} MB free", limits::LOW_DISK_BYTES >> 20))
                .hint("jobs that were accepted go on; an admin must make room"),
        )
    }
}

impl Inbox {
    /// The next input; `None` once nobody can send any more.
    pub async fn next(&mut self) -> Option<Asked> {
        self.receiver.recv().await
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// An input that is already there.
    pub fn try_next(&mut self) -> Option<Asked> {
        self.receiver.try_recv().ok()
    }
}
