//! One task per run: it prepares the run's directory, starts or finds its keeper, passes commands
//! on, streams the output, and rests with the result until the head has acknowledged it.
//!
//! Invariant: `asked.json` is there before anything else of a run, `order.json` before its keeper;
//! a restarted agent goes on from whichever it finds. The last of the output is handed over before
//! the end is.
mod mailbox;
mod prepare;
mod report;

pub use mailbox::Sender;
pub use prepare::{accept, accepted};
pub use report::said;

use self::report::{ended, said_held, wall};
use crate::accounts::Users;
use crate::blobs::Blobs;
use crate::cage::Cage;
use crate::clock;
use crate::gpus::Gpus;
use crate::node_dir::NodeDir;
use crate::order::NodePart;
use crate::output::{Output, Source};
use crate::scratch::Scratch;
use base64::Engine as _;
use pcluster_core::agent::KeeperSaid;
use pcluster_keeper::{
    Adopted, Command, EXIT_ALREADY_STARTED, ExitRecord, KeeperHandle, RunDir, SendError,
    StartRecord, Target, kill_cgroup, kill_leftovers, remove_tree, spawn_keeper,
};
use pcluster_model::units::scratch_words;
use pcluster_model::{DurationMs, RunId, SignalScope};
use pcluster_wire::{AgentFrame, EndWhy, StartOrder};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;

/// How often new output is looked for.
const STREAM_EVERY: Duration = Duration::from_millis(150);
/// How often a keeper that is coming up is looked at, and a command is tried again.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Pieces of output in one turn, so that one loud job leaves room for the others.
const PIECES: usize = 8;

/// What all runs of this node share.
pub struct Shared {
    pub dir: NodeDir,
    pub node: NodePart,
    pub keeper: PathBuf,
    pub cage: Cage,
    pub blobs: Blobs,
    pub gpus: Gpus,
    pub users: Users,
}

/// What the agent's loop asks of a run.
#[derive(Debug)]
pub enum RunCommand {
    End {
        grace: DurationMs,
        why: EndWhy,
    },
    Signal {
        signal: i32,
        scope: SignalScope,
    },
    Limit {
        limit: Option<DurationMs>,
    },
    Suspend {
        suspended: bool,
    },
    /// Start the step daemon, if none runs.
    Steps,
    /// The keeper is lost: end what is left.
    Empty,
    /// The head has acknowledged the end.
    Forget,
}

/// What a run tells the agent's loop, in order.
#[derive(Debug)]
pub enum RunEvent {
    Said(KeeperSaid),
    /// For the connection of this number only.
    Output {
        connection: u64,
        frame: Box<AgentFrame>,
    },
}

/// How the connection to the head stands, for output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkNow {
    Down,
    /// The head has not welcomed it yet: soon there is one, or none.
    Greeting,
    /// Welcomed; each connection has a number of its own, from 1.
    Up(u64),
}

/// Where a run is.
#[derive(Debug)]
pub enum Stage {
    /// Accepted; nothing but `asked.json` is there for certain.
    Asked(Box<StartOrder>),
    /// A keeper may have been started and has not said so.
    Ordered(Option<Child>),
    Held(KeeperHandle, Option<Child>),
    Lost(StartRecord),
    Ended(ExitRecord),
    NotStarted(String),
    /// Forgotten, or the agent ends.
    Over,
}

/// Looks at what is on disk of a run that was asked for before this agent started.
pub fn find(dir: &RunDir, order: Box<StartOrder>) -> Stage {
    if !dir.order().exists() {
        return match dir.read_exit() {
            Ok(Some(exit)) => Stage::Ended(exit),
            Ok(None) | Err(_) => Stage::Asked(order),
        };
    }
    // What cannot be read now is looked at again by the task.
    look(dir).ok().flatten().unwrap_or(Stage::Ordered(None))
}

/// What the keeper's records say; `None` when no keeper has said anything.
fn look(dir: &RunDir) -> io::Result<Option<Stage>> {
    Ok(match KeeperHandle::adopt(dir)? {
        Adopted::Alive(handle) => Some(Stage::Held(handle, None)),
        Adopted::Ended(exit) => Some(Stage::Ended(exit)),
        Adopted::Lost(start) => Some(Stage::Lost(start)),
        Adopted::NotStarted => None,
    })
}

/// Starts the task of a run at a stage.
pub fn start(
    shared: Arc<Shared>,
    run: RunId,
    stage: Stage,
    events: mpsc::Sender<RunEvent>,
    link: watch::Receiver<LinkNow>,
) -> Sender {
    let (sender, commands) = mailbox::mailbox();
    let dir = shared.dir.run(run);
    let task = RunTask {
        shared,
        run,
        dir,
        commands,
        events,
        link,
        connection: 0,
        waiting: VecDeque::new(),
        asked: Asked::default(),
        output: Output::new(),
    };
    tokio::spawn(task.live(stage));
    sender
}

/// Commands that change what the task does, and not what the keeper does.
#[derive(Debug, Default, Clone, Copy)]
struct Asked {
    end: bool,
    empty: bool,
    forget: bool,
    /// The agent's loop is gone.
    over: bool,
}

struct RunTask {
    shared: Arc<Shared>,
    run: RunId,
    dir: RunDir,
    commands: mailbox::Receiver,
    events: mpsc::Sender<RunEvent>,
    link: watch::Receiver<LinkNow>,
    /// The connection the output was last sent on.
    connection: u64,
    /// For the keeper, as soon as it listens.
    waiting: VecDeque<Command>,
    asked: Asked,
    output: Output,
}

impl RunTask {
    async fn live(mut self, mut stage: Stage) {
        loop {
            stage = match stage {
                Stage::Asked(order) => self.prepare(order).await,
                Stage::Ordered(child) => self.await_keeper(child).await,
                Stage::Held(handle, child) => self.hold(handle, child).await,
                Stage::Lost(start) => self.empty(start).await,
                Stage::Ended(exit) => {
                    self.end_output(&exit).await;
                    self.say(KeeperSaid::Ended(ended(self.run, &exit))).await;
                    self.rest(Some(&exit)).await
                }
                Stage::NotStarted(why) => {
                    self.clean().await;
                    self.say(KeeperSaid::NotStarted { run: self.run, why }).await;
                    Stage::Over
                }
                Stage::Over => return,
            };
        }
    }

    async fn say(&self, said: KeeperSaid) {
        // Before the head hears of it and starts another.
        match &said {
            KeeperSaid::Ended(_) | KeeperSaid::Emptied { .. } | KeeperSaid::NotStarted { .. } => {
                self.shared.gpus.give_back(self.run);
            }
            KeeperSaid::Started { .. } | KeeperSaid::Lost { .. } => {}
        }
        // Nobody listens any more: the agent ends, and the next one finds what is on disk.
        drop(self.events.send(RunEvent::Said(said)).await);
    }

    fn take(&mut self, command: Option<RunCommand>) {
        match command {
            Some(RunCommand::End { grace, why }) => {
                self.asked.end = true;
                let reason = match why {
                    EndWhy::Ended => "head",
                    EndWhy::Requeue => "requeue",
                    EndWhy::NodeFailed => "node failed",
                };
                let reason = reason.to_owned();
                self.wait_for_keeper(Command::End { grace_ms: grace.0, reason });
            }
            Some(RunCommand::Signal { signal, scope }) => {
                let target = match scope {
                    SignalScope::All => Target::All,
                    SignalScope::Batch => Target::Batch,
                    SignalScope::Steps => Target::Steps,
                };
                self.wait_for_keeper(Command::Signal { signal, target });
            }
            Some(RunCommand::Limit { limit }) => {
                let limit_ms = limit.map(|limit| limit.0);
                self.wait_for_keeper(Command::Extend { limit_ms });
            }
            Some(RunCommand::Suspend { suspended }) => {
                self.wait_for_keeper(if suspended { Command::Suspend } else { Command::Resume });
            }
            Some(RunCommand::Steps) => self.wait_for_keeper(Command::Steps),
            Some(RunCommand::Empty) => self.asked.empty = true,
            Some(RunCommand::Forget) => self.asked.forget = true,
            None => self.asked.over = true,
        }
    }

    /// Until the keeper listens: the last of each kind, and so many signals.
    fn wait_for_keeper(&mut self, command: Command) {
        mailbox::wait(&mut self.waiting, command);
    }

    /// Prepares the directory and starts the keeper; an end that comes before that wins.
    async fn prepare(&mut self, order: Box<StartOrder>) -> Stage {
        let shared = Arc::clone(&self.shared);
        let preparing = prepare::prepare(&shared, &order);
        tokio::pin!(preparing);
        let prepared = loop {
            tokio::select! {
                prepared = &mut preparing => break prepared,
                command = self.commands.recv() => self.take(command),
            }
            if self.asked.over {
                return Stage::Over;
            }
            if self.asked.end {
                return Stage::NotStarted("ended before it started".to_owned());
            }
        };
        match prepared {
            Ok(()) => match spawn_keeper(&self.shared.keeper, &self.dir) {
                Ok(child) => Stage::Ordered(Some(child)),
                Err(error) => Stage::NotStarted(format!(
                    "cannot start the keeper: {}",
                    crate::cage::plain(&error)
                )),
            },
            Err(prepare::Failed::Here(why)) => Stage::NotStarted(why),
            Err(prepare::Failed::ForGood(exit)) => Stage::Ended(exit),
        }
    }

    /// Waits until the keeper has said anything. Without one, one is started: of two only the first
    /// to write its start record goes on.
    async fn await_keeper(&mut self, child: Option<Child>) -> Stage {
        let mut child = match child {
            Some(child) => child,
            None => match spawn_keeper(&self.shared.keeper, &self.dir) {
                Ok(child) => child,
                Err(error) => {
                    return Stage::NotStarted(format!("cannot start the keeper: {error}"));
                }
            },
        };
        let mut told = false;
        loop {
            match self.look(&mut told) {
                Some(Stage::Held(handle, _)) => return Stage::Held(handle, Some(child)),
                Some(stage) => {
                    drop(child.wait());
                    return stage;
                }
                None => {}
            }
            if let Ok(Some(status)) = child.try_wait() {
                // It may have spoken between the two looks.
                if let Some(stage) = self.look(&mut told) {
                    return stage;
                }
                // A record that cannot be read is no proof that nothing was started.
                if !told && status.code() != Some(i32::from(EXIT_ALREADY_STARTED)) {
                    return Stage::NotStarted(format!("the keeper did not start: {status}"));
                }
            }
            tokio::select! {
                command = self.commands.recv() => self.take(command),
                () = sleep(if told { STREAM_EVERY } else { LOOK_EVERY }) => {}
            }
            if self.asked.over {
                return Stage::Over;
            }
        }
    }

    /// Looks at the records; trouble with them is told once.
    fn look(&self, told: &mut bool) -> Option<Stage> {
        look(&self.dir).unwrap_or_else(|error| {
            if !std::mem::replace(told, true) {
                clock::say(&format!("run {}: {error}", self.run));
            }
            None
        })
    }

    /// While the keeper lives.
    async fn hold(&mut self, mut handle: KeeperHandle, child: Option<Child>) -> Stage {
        let ended = end_of(&handle);
        let mut started = false;
        let mut scratch = self.scratch();
        loop {
            if !started {
                drop(handle.refresh());
                if let Some(said) = said_held(self.run, &handle) {
                    started = true;
                    self.say(said).await;
                    self.output.source = match handle.open_output() {
                        Ok(Some(file)) => Source::File(file),
                        Ok(None) | Err(_) => Source::None,
                    };
                }
            }
            if let (Some(scratch), Some(private)) =
                (&mut scratch, &handle.start_record().private_dir)
                && let Some(used_bytes) = scratch.turn(Instant::now(), &private.join("tmp"))
            {
                let words = scratch_words(used_bytes, scratch.limit());
                self.wait_for_keeper(Command::Full { used_bytes, words });
            }
            self.deliver(&handle);
            self.stream().await;
            let pause = if started && self.waiting.is_empty() { STREAM_EVERY } else { LOOK_EVERY };
            let gone = async {
                match &ended {
                    Ok(fd) => drop(fd.readable().await),
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::select! {
                () = gone => break,
                command = self.commands.recv() => self.take(command),
                _ = self.link.changed() => {}
                () = sleep(pause) => {
                    if !handle.is_alive() {
                        break;
                    }
                }
            }
            if self.asked.over {
                return Stage::Over;
            }
        }
        if let Some(mut child) = child {
            drop(child.wait());
        }
        self.look(&mut false).unwrap_or_else(|| Stage::Lost(handle.start_record().clone()))
    }

    /// A run that asked for scratch may use what it asked for.
    fn scratch(&self) -> Option<Scratch> {
        let order = accepted(&self.dir).ok().filter(|order| order.spec.tmp_bytes > 0)?;
        Some(Scratch::new(order.resources.tmp_bytes.max(order.spec.tmp_bytes), Instant::now()))
    }

    fn deliver(&mut self, handle: &KeeperHandle) {
        while let Some(command) = self.waiting.front() {
            match handle.send(command) {
                // It is coming up, or ending; the next look tells.
                Err(SendError::NobodyListens(_)) => return,
                Err(error) => {
                    clock::say(&format!("run {}: {error}", self.run));
                    self.waiting.pop_front();
                }
                Ok(()) => drop(self.waiting.pop_front()),
            }
        }
    }

    /// Hands over what is new, or everything recent on a new connection.
    async fn stream(&mut self) {
        let LinkNow::Up(connection) = *self.link.borrow_and_update() else { return };
        if connection != self.connection {
            self.connection = connection;
            self.output.rewind();
        }
        for _ in 0..PIECES {
            let Some((offset, bytes)) = self.output.next() else { return };
            self.hand_over(offset, &bytes).await;
        }
    }

    async fn hand_over(&self, offset: u64, bytes: &[u8]) {
        let data_base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
        let frame = Box::new(AgentFrame::Output { run: self.run, offset, data_base64 });
        let event = RunEvent::Output { connection: self.connection, frame };
        drop(self.events.send(event).await);
    }

    /// The rest of the output of an ended run, from what the keeper saved. Without a connection it
    /// goes out on the next one.
    async fn end_output(&mut self, exit: &ExitRecord) {
        // The agent's loop may be gone; then there is no link either.
        let settled = self.link.wait_for(|link| *link != LinkNow::Greeting).await;
        if !settled.is_ok_and(|link| matches!(*link, LinkNow::Up(_))) {
            return;
        }
        let bytes = self.dir.read_tail().unwrap_or_default();
        let offset = exit.usage.output_bytes.saturating_sub(bytes.len() as u64);
        self.output.source = Source::Tail { offset, bytes };
        // At most one megabyte in pieces: more than two turns of the stream are never needed.
        self.stream().await;
        self.stream().await;
        self.stream().await;
        // A thousand ended runs must not keep a thousand megabytes.
        self.output.source = Source::None;
    }

    /// Ends what a lost keeper left; reported only when nothing is found any more.
    async fn empty(&mut self, start: StartRecord) -> Stage {
        let started_at = wall(start.started_at_ms);
        self.say(KeeperSaid::Lost { run: self.run, started_at }).await;
        while !self.asked.empty {
            let command = self.commands.recv().await;
            self.take(command);
            if self.asked.over {
                return Stage::Over;
            }
        }
        let dirs = self.shared.cage.of_run(self.run);
        let mut clean = 0;
        while clean < 2 {
            let found = kill_cgroup(&dirs) + kill_leftovers(&start);
            clean = if found == 0 { clean + 1 } else { 0 };
            sleep(LOOK_EVERY).await;
        }
        if let Some(private) = &start.private_dir {
            drop(remove_tree(private));
        }
        let ended_at = clock::wall();
        self.say(KeeperSaid::Emptied { run: self.run, started_at, ended_at }).await;
        self.rest(None).await
    }

    /// Until the head forgets the run, each new connection gets the end of its output again.
    async fn rest(&mut self, exit: Option<&ExitRecord>) -> Stage {
        let (shared, run) = (Arc::clone(&self.shared), self.run);
        // It may have to wait for the kernel a little.
        drop(tokio::task::spawn_blocking(move || shared.cage.remove(run)).await);
        loop {
            let link = *self.link.borrow_and_update();
            if let Some(exit) = exit
                && let LinkNow::Up(connection) = link
                && connection != self.connection
            {
                self.end_output(exit).await;
            }
            if self.asked.forget {
                self.clean().await;
                return Stage::Over;
            }
            if self.asked.over {
                return Stage::Over;
            }
            tokio::select! {
                command = self.commands.recv() => self.take(command),
                _ = self.link.changed() => {}
            }
        }
    }

    async fn clean(&self) {
        let (shared, run, dir) = (Arc::clone(&self.shared), self.run, self.dir.clone());
        let cleaning = tokio::task::spawn_blocking(move || {
            shared.cage.remove(run);
            // First what makes it a run: half a directory, of an agent that was killed here, must
            // not look like one that was asked for and never started.
            let asked = std::fs::remove_file(dir.path().join(prepare::ASKED));
            match asked {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => std::fs::remove_dir_all(dir.path()),
            }
        });
        drop(cleaning.await);
    }
}

/// Readable once the keeper has ended.
fn end_of(handle: &KeeperHandle) -> io::Result<AsyncFd<OwnedFd>> {
    let descriptor = handle.as_fd().try_clone_to_owned()?;
    #[expect(
        deprecated,
        reason = "its fault is with types that do not own a descriptor; this one does"
    )]
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
