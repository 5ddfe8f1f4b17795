//! One run of the program: input in, output out, within bounds of time and size.
use super::failed;
use crate::provider::{ErrorClass, ProviderError};
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

/// An answer that is longer is refused, in bytes: 10,000 machines at some 400 bytes each.
const MOST_ANSWER: u64 = 4 << 20;
/// Of what the program says on its standard error, so much is kept, in bytes.
const MOST_TALK: u64 = 16 << 10;

/// Ends the whole group of a program that is given up.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already is well.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Runs `command VERB` with this input; what it wrote to its standard output.
pub(super) async fn run(
    command: &[String],
    verb: &str,
    input: Vec<u8>,
    timeout: Duration,
) -> Result<Vec<u8>, ProviderError> {
    let Some((program, words)) = command.split_first() else {
        return Err(ProviderError::new(ErrorClass::BadConfig, "the provider has no command"));
    };
    let mut child = Command::new(program)
        .args(words)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            let words = format!("cannot run {program}: {error}");
            ProviderError::new(ErrorClass::BadConfig, words)
        })?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    // A program that leaves something behind in its group has not left machines behind by it: those
    // have sessions of their own.
    let group = Group(pid);
    let ended = tokio::time::timeout(timeout, talk(&mut child, input)).await;
    drop(group);
    match ended {
        Ok(said) => said.map_err(|why| failed(verb, &why)),
        Err(_) => Err(failed(verb, &format!("no answer within {} s", timeout.as_secs_f32()))),
    }
}

async fn talk(child: &mut Child, input: Vec<u8>) -> Result<Vec<u8>, String> {
    let (Some(mut stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err("it has no standard streams".into());
    };
    let feed = async move {
        // A program that does not read its input may know what to say all the same.
        let _ = stdin.write_all(&input).await;
    };
    let ((), answer, talk) =
        tokio::join!(feed, up_to(stdout, MOST_ANSWER), up_to(stderr, MOST_TALK));
    let status = child.wait().await.map_err(|error| error.to_string())?;
    let talk = String::from_utf8_lossy(&talk.0).trim().to_owned();
    let last = talk.lines().last().unwrap_or_default().to_owned();
    if !talk.is_empty() {
        tracing::info!(talk, "the provider's program said");
    }
    if !status.success() {
        return Err(if last.is_empty() { status.to_string() } else { format!("{status}: {last}") });
    }
    if answer.1 {
        return Err(format!("its answer has more than {MOST_ANSWER} bytes"));
    }
    Ok(answer.0)
}

/// The first `most` bytes, and whether there were more; all is read, so that the writer ends.
async fn up_to(mut from: impl AsyncRead + Unpin, most: u64) -> (Vec<u8>, bool) {
    let mut kept = Vec::new();
    let read = (&mut from).take(most).read_to_end(&mut kept).await;
    let more = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    (kept, read.is_err() || more.is_ok_and(|bytes| bytes > 0))
}
