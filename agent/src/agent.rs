//! The agent proper: one loop in which the brain (`pcluster_core::agent`) hears of frames, keepers
//! and time, and its actions are carried out.
//!
//! Invariant: the loop itself waits for nothing but news; what the brain says is done in its order.
//! A signal to end only restarts the agent: keepers go on, and the next agent finds them.
use crate::accounts::{self, Users};
use crate::blobs::Blobs;
use crate::bootlog::BootLog;
use crate::cage::{Cage, System};
use crate::clock::{self, Steady};
use crate::door::{self, Door};
use crate::link::{self, LinkEvent};
use crate::node_dir::NodeDir;
use crate::notice::{self, Notice};
use crate::order::NodePart;
use crate::run::{self, LinkNow, RunCommand, RunEvent, Shared, Stage};
use crate::shares::Shares;
use crate::terminals::Terminals;
use crate::tls::Dialer;
use crate::{EXIT_BROKEN, EXIT_LEAVE, facts, gpus, identity, mounts, programs, upgrade};
use anyhow::{Context as _, Result, ensure};
use pcluster_core::agent::env::{JOB_GPUS, NodeNames};
use pcluster_core::agent::{
    AgentAction, AgentInput, AgentMemory, AgentSetup, AgentState, ExitWhy, KeeperSaid,
};
use pcluster_keeper::proc;
use pcluster_model::RunId;
use pcluster_wire::{
    AgentFrame, HeadFrame, JoinOrder, NODE_ITSELF, NodeName, NoticeKind, OnOrphan, SPOKEN,
    ShareProof, UserRefusal,
};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, timeout};

/// How often time passes for the brain.
const TICK: Duration = Duration::from_millis(250);
/// News of runs and of the connection that may wait for the loop.
const QUEUED: usize = 64;
/// Frames that wait for the connection before output is held back.
const PENDING: usize = 64;
/// Frames that wait for it at most.
const PENDING_MOST: usize = 4096;
/// A head that has not welcomed this agent by then is tried again.
const GREETING: Duration = Duration::from_secs(30);
/// How often users who are refused are looked at anew.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Runs that are ended on the way out get this long.
const LAST_RUNS: Duration = Duration::from_secs(5);

/// `pcluster-agent run DIR`.
pub fn run(dir: NodeDir) -> Result<ExitCode> {
    let _alone = alone(&dir)?;
    end_on_panic();
    let mut log = BootLog::default();
    let join = dir.join_order()?;
    log.phase("agent", &format!("agent {} of {}", env!("CARGO_PKG_VERSION"), join.node_name));
    upgrade::at_start(&dir, &join, &unique_name(&join, &dir), &mut log);
    mounts::all(&join.mounts, &mut log);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async { Agent::new(dir, join, log)?.live().await });
    // Tasks of runs are dropped where they wait; their keepers do not notice.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// A run whose task broke off would never end for the head: the next agent finds every run.
fn end_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::exit(i32::from(EXIT_BROKEN));
    }));
}

/// One agent per directory. The one before may be on its way out.
fn alone(dir: &NodeDir) -> Result<File> {
    let lock = File::create(dir.file("agent.lock"))?;
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while lock.try_lock().is_err() {
        ensure!(std::time::Instant::now() < until, "another agent holds {}", dir.path().display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(lock)
}

struct Agent {
    brain: AgentState,
    clock: Steady,
    log: BootLog,
    shared: Arc<Shared>,
    door: Door,
    terminals: Terminals,
    runs: BTreeMap<RunId, run::Sender>,
    run_events: mpsc::Receiver<RunEvent>,
    run_sender: mpsc::Sender<RunEvent>,
    link_events: mpsc::Receiver<LinkEvent>,
    link_now: watch::Sender<LinkNow>,
    connections: u64,
    outgoing: Option<mpsc::Sender<AgentFrame>>,
    pending: VecDeque<AgentFrame>,
    address: String,
    up_since: Instant,
    shares: Shares,
    /// Of the provider, where the machine has a service that tells them.
    notices: Option<watch::Receiver<Option<Notice>>>,
    join: JoinOrder,
    /// The head has another version of it: the next agent becomes that.
    is_outdated: bool,
    /// All nodes, for who writes them down.
    names: watch::Sender<Option<Vec<NodeName>>>,
    /// Users whose jobs are refused, as the head knows them.
    refuses: Vec<UserRefusal>,
    /// Since when it is looked whether they must be.
    looked_at: Instant,
    exit: Option<(ExitWhy, Instant)>,
    /// Its end is that of the machine.
    powers_off: bool,
}

/// For what all of this machine can see. Copied state directories have one cluster id: the path of
/// the node's own directory tells them apart.
fn unique_name(join: &JoinOrder, dir: &NodeDir) -> String {
    let path = Sha256::digest(dir.path().as_os_str().as_encoded_bytes());
    format!("pcluster-{}-{}-{:02x}{:02x}", join.cluster, join.node, path[0], path[1])
}

fn names(join: &JoinOrder) -> NodeNames {
    NodeNames { cluster: join.cluster_name.clone(), node: join.node_name.clone() }
}

fn setup(join: &JoinOrder, boot_id: &str, facts: pcluster_wire::Facts) -> AgentSetup {
    AgentSetup {
        cluster: join.cluster.clone(),
        node: join.node,
        instance: join.instance.clone(),
        token: Some(join.token.clone()).filter(|token| !token.is_empty()),
        boot_id: boot_id.to_owned(),
        facts,
        orphan_after: join.orphan_after_ms,
        report_hold: join.report_hold_ms,
        on_orphan: join.on_orphan,
    }
}

/// Raises this agent's open files; what jobs start with: what the head on the same machine started
/// with, else what the agent did.
fn soft_files() -> Option<u64> {
    let own = pcluster_steps::files::raise();
    let told = std::env::var(pcluster_model::job::SOFT_FILES_VARIABLE).ok();
    told.and_then(|told| told.parse().ok()).or(own.0)
}

/// Keeps a connection to the head; what comes of it.
fn dial(dialer: Dialer, join: &JoinOrder) -> mpsc::Receiver<LinkEvent> {
    let (sender, events) = mpsc::channel(QUEUED);
    tokio::spawn(link::keep(dialer, join.head_addresses.clone(), sender));
    events
}

/// Where runs have their private folders, and what the names of the node's own in other places begin with.
fn scratch(dir: &NodeDir, join: &JoinOrder) -> Result<(String, PathBuf)> {
    let mark = format!("pcluster-{}", join.cluster);
    let scratch = dir.scratch(rustix::process::geteuid().is_root(), &mark)?;
    Ok((mark, scratch))
}

/// The keeper lies beside the agent.
fn keeper_path() -> Result<PathBuf> {
    let keeper = programs::current()?.with_file_name("pcluster-keeper");
    ensure!(keeper.is_file(), "there is no {} beside the agent", keeper.display());
    Ok(keeper)
}

impl Agent {
    fn new(dir: NodeDir, join: JoinOrder, mut log: BootLog) -> Result<Self> {
        let name = unique_name(&join, &dir);
        let identity = identity::load(&dir, &name)?;
        log.line(if identity.is_new { "keys made" } else { "keys read" });
        let found = gpus::of_node(&dir, join.limit, |note| log.line(note));
        let cage = Cage::find(&dir, &System::read(), &name, !found.gpus.is_empty())?;
        let (mark, scratch) = scratch(&dir, &join)?;
        let facts = facts::find(&scratch, join.limit, &cage, &found.gpus);
        log.phase("facts", &facts::words(&facts));
        let boot_id = proc::boot_id()?;
        let dialer = Dialer::new(&join.head_key_sha256, &identity)?;
        let ways = (dialer.clone(), join.head_addresses.clone());
        let offered = door::open(&dir, &scratch, &mark, facts.switches_users, ways, &mut log);
        let shared = Shared {
            node: NodePart {
                names: names(&join),
                image_dir: join.image_dir.clone().map(PathBuf::from),
                scratch,
                client_socket: offered.client_socket,
                commands: offered.commands,
                agent: programs::current()?,
                soft_files: soft_files(),
                utc_offset_s: clock::utc_offset_s(),
                boot_id: boot_id.clone(),
                uid: rustix::process::geteuid().as_raw(),
            },
            keeper: keeper_path()?,
            cage,
            blobs: Blobs::new(&dir, dialer.clone(), join.head_addresses.clone())?,
            gpus: gpus::Gpus::new(found),
            users: Users::new(&join),
            dir,
        };
        let clock = Steady::new();
        let memory: AgentMemory = shared.dir.read("memory.json")?.unwrap_or_default();
        let brain = AgentState::new(setup(&join, &boot_id, facts), memory, clock.now());
        let (run_sender, run_events) = mpsc::channel(QUEUED);
        let link_events = dial(dialer, &join);
        let mut agent = Self {
            brain,
            clock,
            log,
            shared: Arc::new(shared),
            door: offered.door,
            terminals: Terminals::default(),
            runs: BTreeMap::new(),
            run_events,
            run_sender,
            link_events,
            link_now: watch::Sender::new(LinkNow::Down),
            connections: 0,
            outgoing: None,
            pending: VecDeque::new(),
            address: String::new(),
            up_since: Instant::now(),
            shares: Shares::default(),
            notices: join.metadata.then(notice::watch),
            names: accounts::keep_names(&join),
            is_outdated: false,
            refuses: Vec::new(),
            looked_at: Instant::now(),
            exit: None,
            powers_off: join.on_orphan == OnOrphan::PowerOff,
            join,
        };
        agent.adopt();
        Ok(agent)
    }

    /// Finds the runs of the agent before this one, before anybody is spoken to.
    fn adopt(&mut self) {
        // The daemon that an agent before this one has started may come at any moment.
        self.door.begin(NODE_ITSELF, self.shared.node.uid);
        for run in self.shared.dir.runs() {
            let dir = self.shared.dir.run(run);
            let order = match run::accepted(&dir) {
                Ok(order) => order,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // Cut off before it was accepted: nothing was started.
                    drop(std::fs::remove_dir_all(dir.path()));
                    continue;
                }
                Err(error) => {
                    self.log.line(&format!("run {run} cannot be read and is left alone: {error}"));
                    continue;
                }
            };
            if let Ok(held) = dir.read_order() {
                let gpus = held.env.iter().find(|(name, _)| name == JOB_GPUS);
                self.shared
                    .gpus
                    .found(run, gpus.map_or_else(Vec::new, |(_, list)| gpus::read(list)));
            }
            self.step(AgentInput::Adopted { run, order: order.order });
            self.door.begin(run, order.user.uid);
            let stage = run::find(&dir, order);
            self.log.line(&format!("found run {run}"));
            // The brain knows before the first `Hello`; the task will say it again.
            let said = run::said(run, &stage);
            self.start_task(run, stage);
            if let Some(said) = said {
                self.step(AgentInput::Keeper(said));
            }
        }
    }

    async fn live(mut self) -> Result<ExitCode> {
        let mut ticks = interval(TICK);
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        loop {
            let sender = self.outgoing.clone();
            let room = async {
                match &sender {
                    Some(sender) => sender.reserve().await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = term.recv() => return self.restart(),
                _ = int.recv() => return self.restart(),
                event = self.link_events.recv() => self.link_event(event.context("the link ended")?),
                permit = room, if !self.pending.is_empty() => match permit {
                    Some(permit) => permit.send(self.pending.pop_front().expect("checked above")),
                    // The connection is gone; `Down` is on its way.
                    None => self.outgoing = None,
                },
                Some(event) = self.run_events.recv(), if self.pending.len() < PENDING => {
                    self.run_event(event);
                }
                _ = ticks.tick() => {
                    let input = AgentInput::Tick { clock: clock::wall(), load_milli: facts::load_milli() };
                    self.step(input);
                    self.prove_shares();
                    self.pass_notice_on();
                    self.look_at_refusals();
                    self.hang_up_if_not_welcomed();
                    // One that was killed before it came up is started again; the keeper knows.
                    for run in self.door.without_daemon() {
                        self.start_daemon(run);
                    }
                    self.terminals.reap();
                }
            }
            // What runs here is no trouble for the next agent; but it is for a new keeper to take.
            if self.is_outdated && self.brain.live_runs() == 0 && self.pending.is_empty() {
                return self.restart();
            }
            if self.outgoing.is_some() {
                self.pending.extend(self.log.frames());
            }
            if let Some((_, until)) = &self.exit
                && (self.brain.live_runs() == 0 || Instant::now() >= *until)
            {
                break;
            }
        }
        // Outside the loop, whose own sender would keep the connection open.
        Ok(self.leave().await)
    }

    fn restart(mut self) -> Result<ExitCode> {
        self.log.line("told to end; jobs go on");
        Ok(ExitCode::SUCCESS)
    }

    /// The last frames, and the exit code that ends the machine.
    async fn leave(mut self) -> ExitCode {
        let Some((why, _)) = self.exit.take() else { return ExitCode::FAILURE };
        self.log.line(&match &why {
            ExitWhy::Left(why) => format!("leaving: {why}"),
            ExitWhy::Orphaned(_) => "leaving: no head for too long".to_owned(),
            ExitWhy::Refused(why) => format!("leaving: the head refused this node: {why}"),
        });
        if let Some(sender) = self.outgoing.take() {
            let frames = std::mem::take(&mut self.pending);
            let flush = async {
                for frame in frames {
                    drop(sender.send(frame).await);
                }
                drop(sender);
                // The link says `Down` once all is written and the connection is closed.
                while let Some(event) = self.link_events.recv().await {
                    if matches!(event, LinkEvent::Down { .. }) {
                        break;
                    }
                }
            };
            drop(timeout(Duration::from_secs(2), flush).await);
        }
        if self.powers_off {
            // Nobody may be left to stop paying for this machine but itself.
            drop(std::process::Command::new("poweroff").status());
        }
        ExitCode::from(EXIT_LEAVE)
    }

    fn step(&mut self, input: AgentInput) {
        let actions = self.brain.step(self.clock.now(), input);
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            if let Some(answer) = self.act(action) {
                actions.extend(self.brain.step(self.clock.now(), answer));
            }
        }
    }

    /// Carries out one action; an answer that is there at once goes back to the brain.
    fn act(&mut self, action: AgentAction) -> Option<AgentInput> {
        match action {
            AgentAction::Keep(memory) => {
                if let Err(error) = self.shared.dir.write("memory.json", &memory) {
                    // A full disk: what is said stays true for as long as this agent lives.
                    self.log.line(&format!("cannot write memory.json: {error}"));
                }
            }
            // A head that asks and does not listen is told anew on the next connection.
            AgentAction::Send(_) if self.pending.len() >= PENDING_MOST => {
                return self.act(AgentAction::Hangup);
            }
            AgentAction::Send(frame) => self.pending.push_back(frame),
            AgentAction::Spawn(order) => {
                let run = order.run;
                if let Err(error) = run::accept(&self.shared.dir.run(run), &order) {
                    let why =
                        format!("cannot make the run's directory: {}", crate::cage::plain(&error));
                    return Some(AgentInput::Keeper(KeeperSaid::NotStarted { run, why }));
                }
                self.door.begin(run, order.user.uid);
                self.start_task(run, Stage::Asked(order));
            }
            AgentAction::EndRun { run, grace_ms, why } => {
                self.tell(run, RunCommand::End { grace: grace_ms, why });
            }
            AgentAction::SignalRun { run, signal, scope } => {
                self.tell(run, RunCommand::Signal { signal: signal.0, scope });
            }
            AgentAction::LimitRun { run, time_limit_ms } => {
                self.tell(run, RunCommand::Limit { limit: time_limit_ms });
            }
            AgentAction::SuspendRun { run, suspended } => {
                self.tell(run, RunCommand::Suspend { suspended });
            }
            AgentAction::Attach { stream, live: false, .. } => {
                self.door.refuse(stream, "this run has ended here");
            }
            AgentAction::Attach { run, stream, live: true } => {
                if self.door.attach(run, stream) {
                    self.start_daemon(run);
                }
            }
            AgentAction::EmptyRun { run } => self.tell(run, RunCommand::Empty),
            AgentAction::ForgetRun { run } => {
                self.tell(run, RunCommand::Forget);
                self.door.end(run);
                self.runs.remove(&run);
            }
            AgentAction::Hangup => {
                self.outgoing = None;
                self.pending.clear();
            }
            AgentAction::Exit(why) => {
                self.exit.get_or_insert((why, Instant::now() + LAST_RUNS));
            }
        }
        None
    }

    fn start_task(&mut self, run: RunId, stage: Stage) {
        let shared = Arc::clone(&self.shared);
        let link = self.link_now.subscribe();
        let sender = run::start(shared, run, stage, self.run_sender.clone(), link);
        self.runs.insert(run, sender);
    }

    fn start_daemon(&mut self, run: RunId) {
        if run == NODE_ITSELF {
            self.terminals.start(&self.shared);
        } else {
            self.tell(run, RunCommand::Steps);
        }
    }

    fn tell(&self, run: RunId, command: RunCommand) {
        if let Some(sender) = self.runs.get(&run) {
            sender.send(command);
        }
    }

    fn link_event(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up { address, local, sender } => {
                self.brain.set_address(local);
                self.log.phase("connected", &format!("tls to {address}"));
                self.address = address;
                self.pending.clear();
                self.outgoing = Some(sender);
                self.connections += 1;
                self.up_since = Instant::now();
                self.link_now.send_replace(LinkNow::Greeting);
                self.step(AgentInput::Connected { clock: clock::wall() });
                self.log.connected();
            }
            LinkEvent::Frame(frame) => self.frame(*frame),
            LinkEvent::Down { why } => {
                self.log.line(&why);
                self.outgoing = None;
                self.pending.clear();
                self.link_now.send_replace(LinkNow::Down);
                self.step(AgentInput::Disconnected);
            }
        }
    }

    fn frame(&mut self, frame: HeadFrame) {
        let before = self.brain.is_welcomed();
        if let HeadFrame::Refused { why, .. } = &frame {
            self.log.line(&format!("the head at {} refused: {why}", self.address));
        }
        if let HeadFrame::Welcome { protocol, .. } = &frame
            && !SPOKEN.speaks(*protocol)
        {
            let why = format!("the head wants protocol {protocol}, this agent speaks {SPOKEN}");
            self.log.line(&why);
        }
        if let HeadFrame::Welcome { checks, heartbeat_ms, .. } = &frame {
            let every = Duration::from_millis(heartbeat_ms.0);
            self.shares.ask(checks.clone(), every, std::time::Instant::now());
        }
        if let HeadFrame::Welcome { programs, .. } = &frame {
            self.is_outdated |= upgrade::told(&self.shared.dir, &self.join, programs);
        }
        if let HeadFrame::Names { names } = &frame {
            self.names.send_replace(Some(names.clone()));
        }
        self.step(AgentInput::Frame(frame));
        if !before && self.brain.is_welcomed() {
            self.log.phase("registered", "registered");
            if let Some(path) = self.shares.unproved() {
                self.log.phase(&format!("check {path}"), &format!("looking at {path}"));
            }
            self.link_now.send_replace(LinkNow::Up(self.connections));
        }
    }

    /// An admin may have mended an account.
    fn look_at_refusals(&mut self) {
        self.tell_refusals();
        if !self.refuses.is_empty() && self.looked_at.elapsed() >= LOOK_AGAIN {
            self.looked_at = Instant::now();
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { shared.users.look_again().await });
        }
    }

    /// Whose jobs are refused here, if that is news.
    fn tell_refusals(&mut self) {
        let users = self.shared.users.refusals();
        if users != self.refuses {
            self.refuses.clone_from(&users);
            self.step(AgentInput::Refuses { users, clock: clock::wall() });
        }
    }

    /// A head that listens and never answers is as good as none.
    fn hang_up_if_not_welcomed(&mut self) {
        if self.outgoing.is_some()
            && !self.brain.is_welcomed()
            && self.up_since.elapsed() > GREETING
        {
            self.log.line(&format!("the head at {} does not answer the greeting", self.address));
            self.act(AgentAction::Hangup);
        }
    }

    /// What is found of the shared paths goes to the head when it changes.
    fn prove_shares(&mut self) {
        let Some(proofs) = self.shares.turn(std::time::Instant::now()) else { return };
        for ShareProof { path, trouble } in &proofs {
            let text = trouble.as_deref().unwrap_or("is as it should be");
            self.log.phase(&format!("check {path}"), &format!("{path} {text}"));
        }
        self.step(AgentInput::Shares(proofs));
    }

    /// What the provider has announced goes to the head.
    fn pass_notice_on(&mut self) {
        let Some(notices) = self.notices.as_mut().filter(|n| n.has_changed().unwrap_or(false))
        else {
            return;
        };
        let Some(Notice { kind, until }) = *notices.borrow_and_update() else { return };
        let text = match kind {
            NoticeKind::Rebalance => "the provider may take this machine back soon",
            NoticeKind::Reclaim => "the provider takes this machine back",
        };
        self.log.line(text);
        self.step(AgentInput::Notice { kind, until });
    }

    fn run_event(&mut self, event: RunEvent) {
        match event {
            RunEvent::Said(said) => {
                if matches!(said, KeeperSaid::Ended(_) | KeeperSaid::NotStarted { .. }) {
                    self.door.end(said.run());
                    // Before the run comes back to the head, which would give it to this node again.
                    self.tell_refusals();
                }
                self.step(AgentInput::Keeper(said));
            }
            RunEvent::Output { connection, frame } => {
                if LinkNow::Up(connection) == *self.link_now.borrow() {
                    self.pending.push_back(*frame);
                }
            }
        }
    }
}
