//! `up`: starts the head and waits until it answers.
//!
//! Invariant: the head gets a session of its own, so that it outlives the terminal; what it says
//! goes to its log, and the end of that log is shown when it does not come up. Deliberately absent:
//! anything the head itself checks (a second head, state of another version).
use crate::cluster::{Global, need_file, same_file, surroundings};
use crate::config_file;
use crate::failure::{Failure, Outcome, code};
use crate::look::Look;
use crate::say;
use clap::Args;
use pcluster_api::client::{Client, ClientError};
use pcluster_api::places::{Places, placed_beside};
use pcluster_api::{ProblemKind, StatusView};
use pcluster_model::DurationMs;
use pcluster_model::units::span_words;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const HEAD_BINARY: &str = "pcluster-headnode";
/// A head that loads a large state may need seconds; one that needs more hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
const SAY_AFTER: Duration = Duration::from_secs(1);
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Of the log of a head that did not come up.
const LAST_LINES: usize = 12;
const MOST_LOG_BYTES: u64 = 64 << 10;
/// What a head says that found another one on its state directory.
const OVERTAKEN: &str = " belongs to a running head (";

/// Start the head of the cluster
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pcluster up                 starts the head in the background; returns when it answers
  pcluster up --yes           head.type: makes the head's machine in your account without asking
  pcluster up --foreground    for systemd: stays, and logs to stderr
  pcluster status             how it is")]
pub struct UpArgs {
    /// Stay in the foreground (for systemd)
    #[arg(long)]
    pub foreground: bool,
    /// Agree to what it makes in an account (head.type), without a question
    #[arg(short, long)]
    pub yes: bool,
}

/// Arguments of the step between `up` and the head: a new session, then the head's program.
#[derive(Debug, Args)]
pub struct DetachArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub command: Vec<OsString>,
}

/// `up`.
///
/// # Errors
/// A file that is not right, a key this version must not ignore, a head that does not come up.
pub async fn run(global: &Global, args: &UpArgs) -> Outcome {
    let here = surroundings();
    let file = need_file(global, &here)?;
    let loaded = config_file::load(&file)?;
    let name = config_file::config(&loaded)?.name.clone();
    if let Some(wanted) = global.cluster.as_ref().filter(|wanted| **wanted != name) {
        return Err(Failure::usage(format!(
            "{} is the cluster {name}, not {wanted}",
            file.display()
        ))
        .hint("--config FILE    names its file"));
    }
    refuse_what_must_not_be_ignored(&loaded.parsed, &file)?;
    let is_elsewhere = config_file::config(&loaded)?.head.instance_type.is_some();
    if is_elsewhere && !placed_beside(&file).exists() {
        if args.foreground {
            return Err(Failure::usage("--foreground is for a head on this machine")
                .fact("but", "head.type places it on one of its own"));
        }
        return super::placing::up(global, &file, &loaded, args.yes).await;
    }
    let places = here.places(&name)?;
    match Client::new(&places.socket).status().await {
        Ok(status) => return already_up(global, &status, &file),
        Err(error) if is_a_no(&error) => return Err(error.into()),
        Err(_) => {}
    }
    say::talk(&pcluster_config::render_notes(&loaded.parsed.notes, false));
    let binary = find_head()?;
    if args.foreground {
        let error = Command::new(&binary).arg("--config").arg(&file).arg("--foreground").exec();
        return Err(Failure::refused(format!("cannot run {}: {error}", binary.display())));
    }
    places.create()?;
    let mut log = open_log(&places)?;
    // Taken before the head can say anything.
    let log_start = log.seek(SeekFrom::End(0)).unwrap_or(0);
    let mut child = start(&binary, &file, &log)?;
    let status = until_it_answers(&places, &mut child, &mut log, log_start).await?;
    if global.json {
        say::json(&status)?;
    } else {
        say_up(&status, &[("log".to_owned(), places.log.display().to_string())]);
    }
    Ok(code::DONE)
}

fn refuse_what_must_not_be_ignored(
    parsed: &pcluster_config::Parsed,
    file: &Path,
) -> Result<(), Failure> {
    let refusals = pcluster_config::up_refusals(parsed);
    let Some(first) = refusals.first() else { return Ok(()) };
    let mut failure = Failure::refused(match refusals.len() {
        1 => first.message.clone(),
        more => format!("{more} things in this file have no effect in this version, and matter"),
    });
    for refusal in &refusals {
        let place = match refusal.line {
            0 => file.display().to_string(),
            line => format!("{}:{line}", file.display()),
        };
        failure =
            failure.fact(&place, if refusals.len() > 1 { refusal.message.as_str() } else { "" });
        failure = failure.hint(refusal.hint.clone());
    }
    Err(failure)
}

fn already_up(global: &Global, status: &StatusView, file: &Path) -> Outcome {
    same_file(&status.cluster, &status.config_file, file)?;
    if global.json {
        say::json(status)?;
        return Ok(code::DONE);
    }
    let age = DurationMs(u64::try_from(status.now_ms - status.started_at_ms).unwrap_or(0));
    say::line(format!("{} is up already, for {}", status.cluster, span_words(age)));
    let changed = std::fs::metadata(file).and_then(|seen| seen.modified()).ok();
    let changed = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let changed_ms = changed.and_then(|age| i64::try_from(age.as_millis()).ok()).unwrap_or(0);
    if changed_ms > status.started_at_ms {
        say::line(format!(
            "note: {} was changed since; it counts from the next start on",
            file.display()
        ));
        say::line("hint: pcluster down, then pcluster up");
    } else {
        say::line("hint: pcluster status   pcluster queue");
    }
    Ok(code::DONE)
}

/// Beside this command, in the library folder of an installation, or in `PATH`.
pub(super) fn find_head() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    let beside = own.iter().flat_map(|folder| [folder.clone(), folder.join("../libexec/pcluster")]);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = beside.collect();
    folders.extend(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    let found = folders.iter().map(|folder| folder.join(HEAD_BINARY)).find(|file| file.is_file());
    found.ok_or_else(|| {
        let own = own.map_or("its own folder".to_owned(), |folder| folder.display().to_string());
        Failure::refused(format!("{HEAD_BINARY} is not there"))
            .fact("looked at", format!("{own}, ../libexec/pcluster beside it, PATH"))
            .hint("scripts/install    installs all programs")
    })
}

/// Lets the head's program do something that is no head's work; what it found wrong is a code.
pub(super) fn run_head(command: &mut Command) -> Outcome {
    let status = command.status().map_err(|error| {
        let program = Path::new(command.get_program());
        Failure::refused(format!("cannot run {}: {error}", program.display()))
    })?;
    Ok(if status.success() { code::DONE } else { code::ATTENTION })
}

fn open_log(places: &Places) -> Result<File, Failure> {
    OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(&places.log).map_err(
        |error| Failure::refused(format!("cannot write the log {}: {error}", places.log.display())),
    )
}

fn start(binary: &Path, file: &Path, log: &File) -> Result<Child, Failure> {
    let failed = |error: std::io::Error| {
        Failure::refused(format!("cannot start {}: {error}", binary.display()))
    };
    let own = std::env::current_exe().map_err(failed)?;
    Command::new(own)
        .arg("internal-detach")
        .arg(binary)
        .arg("--config")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(failed)?)
        .stderr(log.try_clone().map_err(failed)?)
        // No folder is kept from being unmounted or removed by a head that started in it.
        .current_dir("/")
        .spawn()
        .map_err(failed)
}

/// The step between: makes the session, then becomes the head. Its process id is the head's.
///
/// # Errors
/// When the head's program cannot be executed; that goes to the log.
pub fn detach(args: &DetachArgs) -> Outcome {
    // Refused only to a process that leads a group already; then there is nothing to leave.
    let _ = rustix::process::setsid();
    let Some((program, rest)) = args.command.split_first() else {
        return Err(Failure::usage("which program?"));
    };
    let error = Command::new(program).args(rest).exec();
    Err(Failure::refused(format!("cannot run {}: {error}", program.to_string_lossy())))
}

async fn until_it_answers(
    places: &Places,
    child: &mut Child,
    log: &mut File,
    log_start: u64,
) -> Result<StatusView, Failure> {
    let client = Client::new(&places.socket);
    let began = Instant::now();
    let (mut said, mut overtaken) = (false, false);
    loop {
        match client.status().await {
            // A head that was faster than ours answers for the same state: that is no failure.
            Ok(status) => return Ok(status),
            Err(error) if is_a_no(&error) => {
                end(child);
                return Err(Failure::from(error).hint("the head that was started has been ended"));
            }
            Err(_) => {}
        }
        let ended = if overtaken { None } else { child.try_wait().ok().flatten() };
        if ended.is_some() && last_words(log, log_start).contains(OVERTAKEN) {
            // Another `up` was faster; its head answers soon.
            overtaken = true;
        } else if let Some(end) = ended {
            let how =
                end.code().map_or_else(|| end.to_string(), |code| format!("exit code {code}"));
            let failure = Failure::refused(format!("the head ended at once ({how})"));
            return Err(with_log(failure, places, log, log_start));
        }
        if began.elapsed() > ANSWERS_WITHIN {
            end(child);
            let failure = Failure::timeout(format!(
                "the head does not answer within {} s, and was ended",
                ANSWERS_WITHIN.as_secs()
            ));
            return Err(with_log(failure, places, log, log_start));
        }
        if !said && began.elapsed() > SAY_AFTER {
            say::line("the head starts ...");
            said = true;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The head is there and will not have us; waiting changes nothing.
fn is_a_no(error: &ClientError) -> bool {
    matches!(error, ClientError::Problem(problem) if problem.kind != ProblemKind::Unavailable)
        || matches!(error, ClientError::Unreadable(_))
}

/// Nothing half started stays behind.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A line of the log without its machinery: `ERROR the head ends: disk full`.
fn plain(line: &str) -> String {
    let Ok(record) = serde_json::from_str::<serde_json::Value>(line) else {
        return line.to_owned();
    };
    let field = |name: &str| record.get(name).and_then(|value| value.as_str());
    match (field("level"), field("message"), field("error")) {
        (Some(level), Some(message), Some(error)) => format!("{level} {message}: {error}"),
        (Some(level), Some(message), None) => format!("{level} {message}"),
        _ => line.to_owned(),
    }
}

/// The failure with what the head last said.
fn with_log(failure: Failure, places: &Places, log: &mut File, from: u64) -> Failure {
    let text = last_words(log, from);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut failure = failure.fact("log", places.log.display().to_string());
    for line in &lines[lines.len().saturating_sub(LAST_LINES)..] {
        failure = failure.fact("", plain(line));
    }
    failure
}

/// What the log holds from there on, at most its end.
fn last_words(log: &mut File, from: u64) -> String {
    let mut text = Vec::new();
    let end = log.seek(SeekFrom::End(0)).unwrap_or(from);
    let start = from.max(end.saturating_sub(MOST_LOG_BYTES));
    if log.seek(SeekFrom::Start(start)).is_ok() {
        let _ = log.take(MOST_LOG_BYTES).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

pub(super) fn say_up(status: &StatusView, places: &[(String, String)]) {
    say::line(format!(
        "{} is up: {} nodes, at most {}; none runs while there is no work",
        status.cluster, status.provider, status.nodes_max
    ));
    let rows = [("file", status.config_file.clone()), ("state", status.state_dir.clone())];
    let rows = rows.map(|(label, text)| (label.to_owned(), text));
    let rows: Vec<(String, String)> = rows.into_iter().chain(places.iter().cloned()).collect();
    say::talk(&crate::text::facts(&rows, 8, Look::here().width));
    status.notes.iter().for_each(|note| say::line(format!("note: {note}")));
    status
        .attention
        .iter()
        .for_each(|(label, text)| say::line(format!("warning: {label}: {text}")));
    say::line("hint: pcluster run -- hostname   pcluster submit job.sh   pcluster queue");
}
