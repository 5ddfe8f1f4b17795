//! A signal to one running step, for `scancel JOB.STEP`.
//!
//! Invariant: it is told to the daemon of every node of the job, and each has it before this returns
//! or a limit is over. Deliberately absent: waiting for what the signal does.
use pcluster_api::client::{Client, ClientError};
use pcluster_steps::message::ToNode;
use pcluster_steps::part::{Part, Whose};
use std::time::Duration;
use tokio::sync::mpsc;

/// A node that cannot be reached for this long does not get the signal.
const WITHIN: Duration = Duration::from_secs(10);

/// Sends it.
///
/// # Errors
/// The job has no nodes, is not the caller's, or a node could not be reached.
pub async fn signal(client: &Client, id: &str, step: u32, signal: i32) -> Result<(), ClientError> {
    let job = client.allocation(id).await?;
    let whose = Whose::of(&job);
    // What the step writes is not looked at: the channel closes at once.
    let (sender, _) = mpsc::channel(1);
    for (index, part) in job.parts.iter().enumerate() {
        let node = Part::connect(client, &whose, part.rank, index, &sender);
        node.tell(ToNode::Attach { step });
        node.tell(ToNode::Signal { signal, tasks: Vec::new() });
        node.tell(ToNode::Bye);
        if tokio::time::timeout(WITHIN, node.settled()).await.is_err() {
            return Err(ClientError::Silent(WITHIN));
        }
    }
    Ok(())
}
