//! The way to the agent: one connection on which it says which streams are wanted, and one for each.
//!
//! Invariant: a lost connection is made again for as long as the daemon lives.
use super::steps::Steps;
use crate::session::greeting;
use pcluster_wire::{STEP_DAEMON_GREETING, STEP_STREAM_GREETING};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Between two tries to reach the agent.
const AGAIN: Duration = Duration::from_millis(250);

/// Serves the agent's wishes for ever.
pub(super) async fn listen(steps: Steps) {
    loop {
        // However it ended: the agent is away for a moment, or it is a new one.
        let _ = wishes(&steps).await;
        tokio::time::sleep(AGAIN).await;
    }
}

async fn wishes(steps: &Steps) -> io::Result<()> {
    let mut stream = UnixStream::connect(&steps.place().socket).await?;
    let run = steps.place().run;
    stream.write_all(format!("{STEP_DAEMON_GREETING}{run}\n").as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(name) = line.strip_prefix("attach ") {
            tokio::spawn(take(steps.clone(), name.to_owned()));
        }
    }
    Ok(())
}

async fn take(steps: Steps, name: String) -> io::Result<()> {
    let mut stream = UnixStream::connect(&steps.place().socket).await?;
    stream.write_all(format!("{STEP_STREAM_GREETING}{name}\n").as_bytes()).await?;
    let mut buffer = Vec::new();
    let hello = greeting(&mut stream, &mut buffer).await?;
    steps.speak(stream, buffer, hello).await
}
