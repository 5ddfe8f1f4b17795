//! A process node: this process is the machine. It is the parent of last resort of everything on
//! the node, runs the agent as an init system would, and when it ends, all of it ends.
//!
//! Invariant: there is one machine per directory, ever; `machine.json` names it. `ended.json` is
//! written after the last process of the node is dead.
use crate::node_dir::{EndRecord, NodeDir, ProcessRecord};
use crate::sweep::sweep;
use crate::{EXIT_LEAVE, clock, gpus, programs};
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, setsid};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// An agent that lived this long is started again without a growing pause.
const LIVED_WELL: Duration = Duration::from_secs(30);

/// `pcluster-agent machine DIR`.
pub fn run(dir: NodeDir) -> Result<ExitCode> {
    // A session of its own, so that a terminal's signals for the head do not reach the node. It
    // fails where there is one already.
    let _ = setsid();
    set_child_subreaper(Some(getpid())).context("cannot become the parent of orphans")?;
    // The kernel shall end jobs before nodes. Lowering takes rights that a laptop's user lacks.
    drop(std::fs::write("/proc/self/oom_score_adj", "-500"));
    let Some(own) = ProcessRecord::of(getpid().as_raw_nonzero().get()) else {
        bail!("cannot read /proc/self/stat");
    };
    if !dir.write_once("machine.json", &own)? && dir.read("machine.json")? != Some(own) {
        bail!("{} has, or had, another machine", dir.path().display());
    }
    // In this order: whoever terminates marks first and looks for the machine then.
    if dir.file("terminated").exists() {
        bail!("{} was terminated before it started", dir.path().display());
    }
    // Locked from here on, by this process and by all that it starts.
    let gpus =
        dir.join_order().map(|join| join.limit).and_then(|limit| Ok(gpus::claim(&dir, limit)?));
    let gpus = gpus.context("cannot claim GPUs")?;
    let name = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let own = gpus.as_ref().map_or_else(String::new, |locks| format!(", GPUs: {}", locks.count()));
    clock::say(&format!("machine {name} is up{own}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let why = runtime.block_on(async { Machine::new(dir.clone())?.live().await })?;
    clock::say(&format!("machine {name} ends: {why}"));
    sweep(&dir)?;
    dir.write_once("ended.json", &EndRecord { ended_at: clock::wall() })?;
    Ok(ExitCode::SUCCESS)
}

struct Machine {
    dir: NodeDir,
    agent: Option<(Child, Instant)>,
    pause: Duration,
    /// The agent that runs, or ran last, is of another version than this machine.
    is_upgraded: bool,
    /// False once an upgraded agent gave up at once: this machine's own goes on then.
    takes_upgrades: bool,
    child: Signal,
    term: Signal,
    int: Signal,
}

impl Machine {
    fn new(dir: NodeDir) -> Result<Self> {
        // Signals are listened to before the first child: none of its ends is missed.
        Ok(Self {
            dir,
            agent: None,
            pause: FIRST_PAUSE,
            is_upgraded: false,
            takes_upgrades: true,
            child: signal(SignalKind::child())?,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Until told to end, or until the agent is done; why.
    async fn live(mut self) -> Result<&'static str> {
        let mut restart_at = Some(tokio::time::Instant::now());
        loop {
            let at = restart_at.unwrap_or_else(tokio::time::Instant::now);
            tokio::select! {
                _ = self.term.recv() => return Ok("told to"),
                _ = self.int.recv() => return Ok("told to"),
                _ = self.child.recv() => {
                    let Some(code) = self.reap() else { continue };
                    if code == Some(i32::from(EXIT_LEAVE)) {
                        return Ok("the agent is done");
                    }
                    restart_at = Some(tokio::time::Instant::now() + self.next_pause(code));
                }
                () = tokio::time::sleep_until(at), if restart_at.is_some() => {
                    restart_at = match self.start() {
                        Ok(()) => None,
                        Err(error) => {
                            clock::say(&format!("cannot start the agent: {error:#}"));
                            Some(tokio::time::Instant::now() + self.next_pause(None))
                        }
                    };
                }
            }
        }
    }

    fn start(&mut self) -> Result<()> {
        // An upgrade has put another agent in this file's place: that one, if it lives.
        let upgraded = programs::replaced().filter(|_| self.takes_upgrades);
        self.is_upgraded = upgraded.is_some();
        let own = || std::env::current_exe().ok().filter(|path| path.exists());
        let program = upgraded.or_else(own).unwrap_or_else(|| programs::OWN.into());
        let child = Command::new(&program).arg("run").arg(self.dir.path()).spawn()?;
        let record = i32::try_from(child.id()).ok().and_then(ProcessRecord::of);
        // Known before anything else: its end must be heard, also when the disk is full.
        self.agent = Some((child, Instant::now()));
        if let Some(Err(error)) = record.map(|record| self.dir.write("agent.json", &record)) {
            clock::say(&format!("cannot write down the agent's process: {error}"));
        }
        Ok(())
    }

    /// Takes in every dead child, orphans of others included. The agent's exit code if it is among
    /// them; a signal counts as no code.
    fn reap(&mut self) -> Option<Option<i32>> {
        let agent = self.agent.as_ref().map(|(child, _)| Pid::from_child(child));
        let mut ended = None;
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if Some(pid) == agent {
                ended = Some(status.exit_status());
            }
        }
        ended
    }

    fn next_pause(&mut self, code: Option<i32>) -> Duration {
        let lived = self.agent.take().is_some_and(|(_, since)| since.elapsed() >= LIVED_WELL);
        if lived {
            self.pause = FIRST_PAUSE;
        }
        if self.is_upgraded && !lived && code.is_some() {
            clock::say("the upgraded agent does not work here; this node keeps its own");
            self.takes_upgrades = false;
        }
        let how = code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with {code}"));
        clock::say(&format!("the agent {how}; starting it again"));
        let pause = self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        pause
    }
}
