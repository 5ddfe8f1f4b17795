//! `run -- CMD`: one command on the cluster, as if here.
//!
//! Invariant: Ctrl-C cancels the job and waits for its end, so that nothing runs on unseen. Every
//! byte of output is passed on: the head keeps only the end of it, so the file beside the work is
//! read where it can be seen, and removed after its last byte was written here.
use super::growing;
use super::logs::Follower;
use super::submit::{Prepared, prepare, send};
use super::wait::{say_bad_ends, until_ended};
use crate::cluster::{Global, head};
use crate::failure::{Failure, Outcome};
use crate::say;
use crate::submit::options::JobOptions;
use crate::submit::process::ProcessFacts;
use crate::submit::script;
use crate::submit::spec::Face;
use clap::Args;
use pcluster_api::client::Client;
use pcluster_api::{CancelRequest, WaitResponse};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A cancelled job that nobody watches is given so long before its file is removed.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Run one command on the cluster as if it ran here
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster run -- hostname
  pcluster run -c 8 --mem 16G -- make -j8 test
  pcluster run -p gpu --gpus 1 -- nvidia-smi

Output is streamed to stdout, Ctrl-C cancels the job, and the exit code is the command's.
A pipe or several commands need a shell:  pcluster run -- sh -c 'sort a | uniq'")]
pub struct RunArgs {
    /// Declared for help and errors; read as words.
    #[command(flatten)]
    pub job: JobOptions,
    /// Say nothing but errors
    #[arg(short, long)]
    pub quiet: bool,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    pub command: Vec<String>,
}

/// Whatever ends this process politely.
struct Interrupts {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Interrupts {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.int.recv() => 2,
            _ = self.term.recv() => 15,
            _ = self.hup.recv() => 1,
        }
    }
}

/// `run`.
///
/// # Errors
/// See [`Failure`]; its own trouble is 255.
pub async fn run(
    global: &Global,
    args: &RunArgs,
    given: &[String],
    facts: &ProcessFacts,
) -> Outcome {
    run_here(global, args, given, facts).await.map_err(Failure::own_trouble)
}

/// Something was piped or redirected into this command.
fn has_input() -> bool {
    let seen = rustix::fs::fstat(std::io::stdin());
    let kind = seen.map(|seen| rustix::fs::FileType::from_raw_mode(seen.st_mode));
    matches!(kind, Ok(rustix::fs::FileType::Fifo | rustix::fs::FileType::RegularFile))
}

async fn run_here(
    global: &Global,
    args: &RunArgs,
    given: &[String],
    facts: &ProcessFacts,
) -> Outcome {
    if global.json {
        return Err(Failure::usage("run has no --json: stdout is the command's own output")
            .hint("pcluster submit --json --wrap 'CMD'"));
    }
    let script = script::running(&args.command);
    let Prepared { mut request, notes, .. } =
        prepare(script, args.command.clone(), given, facts, Face::Run)?;
    if request.spec.array.is_some() {
        return Err(Failure::usage("run is for one command, not an array")
            .hint("pcluster submit --array 1-4 --wrap 'CMD'"));
    }
    // On another machine it cannot be read, nor removed.
    let own_file = request.spec.output.is_empty() && !facts.is_elsewhere;
    if own_file {
        let key = request.key.as_deref().unwrap_or_default();
        request.spec.output = output_file(&request.spec.work_dir, key);
        // Emptied by a second attempt, the file would no longer be what was passed on.
        request.spec.open_mode = pcluster_model::OpenMode::Append;
    }
    let mut interrupts = Interrupts::listen()?;
    let client = head(global)?.client;
    let answer = send(&client, &request).await?;
    let id = answer.job.to_string();
    if !args.quiet {
        if has_input() && request.spec.input.is_none() {
            say::line("note: the command does not read this standard input; --input FILE does");
        }
        notes.iter().for_each(|note| say::line(format!("note: {note}")));
        say::line(format!("job {id}: {}", answer.estimate.start));
    }
    let file = own_file.then(|| Path::new(&request.spec.work_dir).join(&request.spec.output));
    let ended = watched(&client, &id, file.clone(), &mut interrupts).await;
    if matches!(ended, Err(Failure::ClosedPipe)) {
        // Nobody reads any more: as in a pipe here, the command ends. One that has ended by itself
        // cannot be cancelled, and need not be.
        let _ = client.cancel(&id, &CancelRequest::default()).await;
        let _ = tokio::time::timeout(END_WITHIN, until_ended(&client, &id)).await;
    }
    if let (Some(file), Ok(_) | Err(Failure::ClosedPipe)) = (file, &ended) {
        // Its bytes are on stdout already; a file that is not there needs no removing.
        let _ = std::fs::remove_file(file);
    }
    match ended {
        Ok(Some(ended)) => {
            say_bad_ends(&ended.rows);
            Ok(ended.code)
        }
        Ok(None) => {
            say::line(format!("job {id} was cancelled and may still be ending"));
            say::line(format!("hint: pcluster show {id}"));
            Ok(130)
        }
        Err(Failure::ClosedPipe) => Err(Failure::ClosedPipe),
        Err(failure) => Err(failure
            .fact("job", format!("{id} was submitted and may go on"))
            .hint(format!("pcluster logs -f {id}   pcluster cancel {id}"))),
    }
}

/// A file for the stream, beside the work or at home. Its name comes from the request's key and not
/// from the job's number: nothing of an earlier cluster can stand in it, and a repeated request
/// finds the first one's.
fn output_file(work_dir: &str, key: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in key.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let name = format!(".pcluster-run-{hash:016x}.out");
    let writable = rustix::fs::access(work_dir, rustix::fs::Access::WRITE_OK).is_ok();
    match std::env::var("HOME") {
        Ok(home) if !writable && home.starts_with('/') => format!("{home}/{name}"),
        _ => name,
    }
}

/// Passes the output on until the job has ended.
async fn passed_on(
    client: &Client,
    id: &str,
    file: Option<PathBuf>,
) -> Result<WaitResponse, Failure> {
    // Not looked for before the first byte: over NFS, a look that finds nothing is remembered.
    let seen = || file.as_deref().is_some_and(growing::is_here);
    match (Follower::new(client, id).until_ended(seen).await?, &file) {
        (None, Some(file)) => growing::follow(client, id, file).await,
        (Some(ended), _) => Ok(ended),
        (None, None) => until_ended(client, id).await,
    }
}

/// Follows the job to its end; the first interrupt cancels it, a second one lets go (`None`).
async fn watched(
    client: &Client,
    id: &str,
    file: Option<PathBuf>,
    interrupts: &mut Interrupts,
) -> Result<Option<WaitResponse>, Failure> {
    let ending = passed_on(client, id, file);
    tokio::pin!(ending);
    let which = tokio::select! {
        ended = &mut ending => return ended.map(Some),
        which = interrupts.next() => which,
    };
    say::line(format!("\ncancelling job {id} (once more lets go)"));
    let request = CancelRequest::default();
    let cancelled = client.cancel(id, &request);
    tokio::select! {
        cancelled = cancelled => { cancelled?; }
        _ = interrupts.next() => return Ok(None),
    }
    // A terminal that hung up has nobody to wait for.
    if which == 1 {
        return Ok(None);
    }
    tokio::select! {
        ended = &mut ending => ended.map(Some),
        _ = interrupts.next() => Ok(None),
    }
}
