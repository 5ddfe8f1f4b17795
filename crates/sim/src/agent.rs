//! A machine with its agent: the real brain of the core, and simulated muscles.
//!
//! Invariant: what is on the machine's disk (memory, run directories, key) survives the agent, and
//! keepers do too; a reboot ends keepers and keeps the disk. Deliberately absent: decisions about
//! runs, which are the brain's.
use crate::cloud::MachineId;
use crate::faults::Kind;
use crate::keeper::{Ends, Keeper, RunDir};
use crate::net::ConnId;
use crate::plant::Plant;
use crate::procs::Cause;
use crate::world::{What, World};
use pcluster_core::agent::{
    AgentAction, AgentInput, AgentMemory, AgentSetup, AgentState, ExitWhy, KeeperSaid,
};
use pcluster_model::{DurationMs, LaunchId, NodeId, RunId, Timestamp};
use pcluster_wire::{
    AgentFrame, Exit, Facts, HeadFrame, OnOrphan, RunEnd, SPOKEN, ShareCheck, ShareProof, Usage,
};
use std::collections::BTreeMap;

/// The join token of a launch, as the head's hand makes it.
#[must_use]
pub fn token_of(launch: LaunchId) -> String {
    format!("token-{launch}")
}

/// A machine and what runs on it besides users' processes.
#[derive(Debug)]
pub struct SimAgent {
    pub id: MachineId,
    pub node: NodeId,
    pub token: String,
    pub key: String,
    pub facts: Facts,
    boot: u32,
    /// Which life of the agent process this is; what belongs to an earlier one is void.
    pub life: u32,
    pub brain: Option<AgentState>,
    pub conn: Option<ConnId>,
    /// Until then it cannot reach the head.
    pub cut_off_until: Timestamp,
    /// Until then its process, or its machine, stands still.
    pub stopped_until: Timestamp,
    pub asleep_until: Timestamp,
    /// When its machine slept.
    pub sleeps: Vec<(Timestamp, Timestamp)>,
    /// The wall clock of its machine less true time.
    pub wall_ahead_ms: i64,
    /// Shared paths that it is to prove, and until when they are bad.
    pub shares: Vec<String>,
    pub bad_share_until: Timestamp,
    /// It is older than what the head speaks with.
    pub outdated: bool,
    /// Its boot never ends.
    pub hung: bool,
    /// Since when this process lives.
    pub up_since: Timestamp,
    /// When a run last began or ended here.
    pub busy_at: Timestamp,
    /// It stopped for good.
    pub exited: bool,
    tick_at: Option<Timestamp>,
    memory: AgentMemory,
    pub dirs: BTreeMap<RunId, RunDir>,
    pub keepers: BTreeMap<RunId, Keeper>,
    pub last_keeper: u32,
}

impl SimAgent {
    /// A machine that boots; its agent has not started.
    #[must_use]
    pub fn new(id: MachineId, node: NodeId, token: String, facts: Facts) -> Self {
        Self {
            id,
            node,
            token,
            key: format!("key-{}", id.0),
            facts,
            boot: 1,
            life: 0,
            brain: None,
            conn: None,
            cut_off_until: Timestamp(0),
            stopped_until: Timestamp(0),
            asleep_until: Timestamp(0),
            sleeps: Vec::new(),
            wall_ahead_ms: 0,
            shares: Vec::new(),
            bad_share_until: Timestamp(0),
            outdated: false,
            hung: false,
            up_since: Timestamp(0),
            busy_at: Timestamp(0),
            exited: false,
            tick_at: None,
            memory: AgentMemory::default(),
            dirs: BTreeMap::new(),
            keepers: BTreeMap::new(),
            last_keeper: 0,
        }
    }

    /// Names the present boot of the machine.
    #[must_use]
    pub const fn boot(&self) -> u32 {
        self.boot
    }

    /// The wall clock of its machine.
    #[must_use]
    pub fn wall(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0 + self.wall_ahead_ms)
    }

    /// Until when its process does nothing.
    #[must_use]
    pub fn still_until(&self) -> Timestamp {
        self.stopped_until.max(self.asleep_until)
    }

    /// How long its machine slept since then.
    #[must_use]
    pub fn slept_since(&self, since: Timestamp, now: Timestamp) -> DurationMs {
        let spans = self.sleeps.iter();
        spans.fold(DurationMs::ZERO, |sum, (from, until)| {
            sum + (*until).min(now).since((*from).max(since))
        })
    }

    /// Ends of runs that the head has not acknowledged.
    #[must_use]
    pub fn holds_records(&self) -> bool {
        !self.dirs.is_empty() || !self.memory.tombstones.is_empty()
    }
}

impl World {
    /// The agent process starts, and finds what earlier ones left.
    pub fn agent_start(&mut self, id: MachineId, life: u32) {
        let (now, head) = (self.now, self.config.head.clone());
        let stays = self.plant == Plant::LonelyForEver;
        let on_orphan = if stays { OnOrphan::Stay } else { OnOrphan::PowerOff };
        let cluster = self.cluster_id.clone();
        let Some(agent) = self.agents.get_mut(&id) else { return };
        if agent.life != life || agent.brain.is_some() || agent.exited {
            return;
        }
        let setup = AgentSetup {
            cluster,
            node: agent.node,
            instance: id.instance(),
            token: Some(agent.token.clone()),
            boot_id: format!("boot-{}-{}", id.0, agent.boot),
            facts: agent.facts.clone(),
            orphan_after: head.orphan_after_ms,
            report_hold: head.report_hold_ms,
            on_orphan,
        };
        agent.up_since = now;
        agent.brain = Some(AgentState::new(setup, agent.memory.clone(), now));
        let boot = agent.boot;
        // Start records of another boot are none: the processes went with it.
        agent.dirs.retain(|_, dir| dir.boot == boot || dir.exit.is_some());
        let found: Vec<(RunId, u64, Option<KeeperSaid>)> = agent
            .dirs
            .iter()
            .map(|(run, dir)| (*run, dir.order, dir.news(*run, agent.keepers.get(run))))
            .collect();
        for (run, order, news) in found {
            self.agent_step(id, AgentInput::Adopted { run, order });
            if let Some(said) = news {
                self.agent_step(id, AgentInput::Keeper(said));
            }
        }
        self.agent_sets_timer(id);
        self.after(0, What::Dial { machine: id, life });
    }

    /// Gives one input to the brain and does what it says, in order.
    pub fn agent_step(&mut self, id: MachineId, input: AgentInput) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let (life, until) = (agent.life, agent.still_until());
        let Some(brain) = &mut agent.brain else { return };
        if until > now {
            return self.at(until, What::AgentHears { machine: id, life, input: Box::new(input) });
        }
        let actions = brain.step(now, input);
        for action in actions {
            if !self.agent_acts(id, action) {
                return;
            }
            if self.strikes(Kind::AgentCrashMid) {
                return self.agent_crashes(id);
            }
        }
        self.agent_sets_timer(id);
    }

    fn agent_sets_timer(&mut self, id: MachineId) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let due = agent.brain.as_ref().and_then(AgentState::next_due);
        let at = due.map(|due| due.max(now + DurationMs(1)));
        if at == agent.tick_at {
            return;
        }
        agent.tick_at = at;
        let life = agent.life;
        if let Some(at) = at {
            self.at(at, What::AgentTick { machine: id, life });
        }
    }

    /// A timer of the agent.
    pub fn agent_tick(&mut self, id: MachineId, life: u32) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(&id).filter(|agent| agent.life == life) else {
            return;
        };
        if agent.tick_at.is_none_or(|at| at > now) {
            return;
        }
        agent.tick_at = None;
        let clock = agent.wall(now);
        self.agent_step(id, AgentInput::Tick { clock, load_milli: 0 });
    }

    /// Does one thing; false when the agent is no more.
    fn agent_acts(&mut self, id: MachineId, action: AgentAction) -> bool {
        match action {
            AgentAction::Keep(memory) => {
                if let Some(agent) = self.agents.get_mut(&id) {
                    agent.memory = memory;
                }
            }
            AgentAction::Send(frame) => self.agent_sends(id, frame),
            AgentAction::Spawn(order) => self.keeper_spawn(id, &order),
            AgentAction::EndRun { run, grace_ms, .. } => self.keeper_end(id, run, grace_ms),
            AgentAction::LimitRun { run, time_limit_ms } => {
                self.keeper_limit(id, run, time_limit_ms);
            }
            AgentAction::EmptyRun { run } => self.keeper_plan(id, run, 200, Ends::Emptied),
            AgentAction::SuspendRun { run, suspended } => self.keeper_suspend(id, run, suspended),
            AgentAction::SignalRun { .. } | AgentAction::Attach { .. } => {}
            AgentAction::ForgetRun { run } => {
                if let Some(agent) = self.agents.get_mut(&id) {
                    agent.dirs.remove(&run);
                    agent.keepers.remove(&run);
                }
            }
            AgentAction::Hangup => self.agent_hangs_up(id),
            AgentAction::Exit(why) => {
                self.agent_exits(id, &why);
                return false;
            }
        }
        true
    }

    fn agent_sends(&mut self, id: MachineId, mut frame: AgentFrame) {
        if let AgentFrame::RunEnded(end) = &mut frame
            && self.plant == Plant::Whitewash
            && end.exit == Exit::Code(3)
        {
            end.exit = Exit::Code(0);
        }
        let Some(agent) = self.agents.get(&id) else { return };
        if let AgentFrame::Hello { protocol, oldest_protocol, .. } = &mut frame
            && agent.outdated
        {
            (*protocol, *oldest_protocol) = (SPOKEN.oldest - 1, None);
        }
        let Some(conn) = agent.conn else { return };
        let delay = self.frame_delay(conn, true);
        let Some(at) = self.net.arrival(self.now, conn, true, delay) else { return };
        if !matches!(frame, AgentFrame::Heartbeat { .. }) {
            self.trace.detail(self.now, format_args!("machine {} says {frame:?}", id.0));
            if self.strikes(Kind::Duplicate) {
                self.at(at, What::ToHead { conn, frame: Box::new(frame.clone()) });
            }
        }
        self.at(at, What::ToHead { conn, frame: Box::new(frame) });
    }

    fn agent_exits(&mut self, id: MachineId, why: &ExitWhy) {
        self.trace.line(self.now, format_args!("agent of machine {} exits: {why:?}", id.0));
        if self.plant != Plant::LonelyForEver {
            // Its machine is of the kind that powers off.
            return self.machine_ends(id);
        }
        self.agent_is_gone(id);
        if let Some(agent) = self.agents.get_mut(&id) {
            agent.exited = true;
        }
    }

    /// The process is no more; its connection ends with it.
    fn agent_is_gone(&mut self, id: MachineId) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.brain = None;
        agent.stopped_until = self.now;
        agent.life += 1;
        agent.conn = None;
        agent.tick_at = None;
        for conn in self.net.of_machine(id) {
            // What it had said before is delivered: its kernel lives.
            self.after(100, What::HeadHearsCut { conn });
        }
    }

    /// The agent process dies and is started again by the machine.
    pub fn agent_crashes(&mut self, id: MachineId) {
        if self.agents.get(&id).is_none_or(|agent| agent.brain.is_none()) {
            return;
        }
        self.trace.line(self.now, format_args!("agent of machine {} crashes", id.0));
        if self.plant == Plant::DyingTogether {
            self.procs_end(id, Cause::Agent);
        }
        self.agent_is_gone(id);
        let life = self.agents.get(&id).map_or(0, |agent| agent.life);
        let pause = self.rng.between(500, 15_000);
        self.after(pause, What::AgentStart { machine: id, life });
    }

    /// The agent loses its key and comes back with another.
    pub fn agent_forgets_key(&mut self, id: MachineId) {
        self.agent_crashes(id);
        if let Some(agent) = self.agents.get_mut(&id) {
            agent.key.push('x');
            agent.memory.joined = false;
        }
    }

    /// The machine comes back under another boot id, with its disk.
    pub fn machine_reboots(&mut self, id: MachineId) {
        let now = self.now;
        self.trace.line(now, format_args!("machine {} reboots", id.0));
        self.procs_end(id, Cause::Machine);
        self.cut_machine(id);
        self.agent_is_gone(id);
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.keepers.clear();
        agent.boot += 1;
        agent.asleep_until = now;
        if let Some((_, until)) = agent.sleeps.last_mut() {
            *until = (*until).min(now);
        }
        let life = agent.life;
        let pause = self.rng.between(15_000, 100_000);
        self.after(pause, What::AgentStart { machine: id, life });
    }

    /// Tries to reach the head.
    pub fn agent_dial(&mut self, id: MachineId, life: u32) {
        let now = self.now;
        let head = self.head.as_ref().filter(|head| !head.asleep).map(|head| head.life);
        let cut_off = self.cut_off_until;
        let Some(agent) = self.agents.get_mut(&id).filter(|agent| agent.life == life) else {
            return;
        };
        if agent.brain.is_none() || agent.conn.is_some() {
            return;
        }
        let reachable = now >= cut_off.max(agent.cut_off_until);
        let Some(head) = head.filter(|_| reachable) else {
            let pause = self.rng.between(1_000, 10_000);
            return self.after(pause, What::Dial { machine: id, life });
        };
        agent.conn = Some(self.net.open(now, id, (life, head)));
        let clock = agent.wall(now);
        self.agent_step(id, AgentInput::Connected { clock });
    }

    /// What it says is lost from now on; it notices in its own time.
    pub fn agent_loses_link(&mut self, id: MachineId) {
        let delay = self.rng.between(1_000, 60_000);
        if let Some(conn) = self.agents.get(&id).and_then(|agent| agent.conn) {
            self.after(delay, What::AgentHearsCut { conn });
        }
    }

    /// The head cannot hear what this machine says, though its agent once ran.
    #[must_use]
    pub fn is_silent(&self, id: MachineId) -> bool {
        let Some(agent) = self.agents.get(&id) else { return true };
        let booting = agent.life == 0 && agent.brain.is_none();
        let still = agent.still_until() > self.now;
        still || !booting && agent.conn.is_none_or(|conn| !self.net.is_up(conn))
    }

    /// Its machine has another address from now on: the old connection falls silent at both ends.
    pub fn agent_roams(&mut self, id: MachineId) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let still = agent.still_until() > self.now;
        let Some(conn) = agent.conn.take_if(|_| !still) else { return };
        let life = agent.life;
        self.trace.line(self.now, format_args!("machine {} has another address", id.0));
        let silent = self.rng.between(60_000, 90_000);
        self.after(silent, What::HeadHearsCut { conn });
        self.agent_step(id, AgentInput::Disconnected);
        self.after(200, What::Dial { machine: id, life });
    }

    /// It tells of a run that it does not have: another node's, or one that is long over.
    pub fn agent_talks_nonsense(&mut self, id: MachineId) {
        let last = self.log.meta.last_run;
        let run = RunId(self.rng.between(1, last.max(1)));
        let what = self.rng.below(3);
        let Some(agent) = self.agents.get(&id).filter(|agent| agent.brain.is_some()) else {
            return;
        };
        let placed = self.log.runs.get(&run).and_then(|known| known.part(agent.node));
        if agent.dirs.contains_key(&run) || placed.is_some_and(|part| part.end.is_none()) {
            return;
        }
        let (started_at, ended_at) = (self.now, self.now);
        let (exit, usage) = (Exit::Code(0), Usage::default());
        let frame = match what {
            0 => AgentFrame::RunStarted { run, started_at },
            1 => AgentFrame::NotStarted { run, why: "nonsense".into() },
            _ => AgentFrame::RunEnded(RunEnd { run, exit, usage, started_at, ended_at }),
        };
        self.agent_sends(id, frame);
    }

    /// The connection over which head and node hear each other now.
    #[must_use]
    pub fn reaches(&self, node: NodeId) -> Option<ConnId> {
        let conn = self.link_of(node)?;
        let known = self.net.conns.get(&conn).filter(|known| known.up)?;
        let agent = self.agents.get(&known.machine)?;
        let hears = agent.conn == Some(conn) && agent.still_until() <= self.now;
        (hears && known.swallows.is_none() && agent.brain.is_some()).then_some(conn)
    }

    fn agent_hangs_up(&mut self, id: MachineId) {
        if let Some(conn) = self.agents.get(&id).and_then(|agent| agent.conn) {
            self.after(0, What::AgentHearsCut { conn });
        }
    }

    /// The agent's side of a cut connection, or its own decision to end it.
    pub fn agent_hears_cut(&mut self, conn: ConnId) {
        let Some(known) = self.net.conns.get(&conn).cloned() else { return };
        if self.net.cut(conn) {
            self.after(50, What::HeadHearsCut { conn });
        }
        let Some(agent) = self.agents.get_mut(&known.machine) else { return };
        if agent.conn != Some(conn) {
            return;
        }
        agent.conn = None;
        let life = agent.life;
        if self.plant == Plant::HeadsickAgent {
            let runs: Vec<RunId> = agent.keepers.keys().copied().collect();
            for run in runs {
                self.keeper_end(known.machine, run, DurationMs::ZERO);
            }
        }
        self.agent_step(known.machine, AgentInput::Disconnected);
        let pause = self.rng.between(300, 8_000);
        self.after(pause, What::Dial { machine: known.machine, life });
    }

    /// A frame of the head arrives.
    pub fn agent_frame(&mut self, conn: ConnId, frame: HeadFrame) {
        let Some(known) = self.net.conns.get(&conn) else { return };
        let (machine, up) = (known.machine, known.up);
        if up && self.agents.get(&machine).is_some_and(|agent| agent.conn == Some(conn)) {
            let checks = match &frame {
                HeadFrame::Welcome { checks, .. } => checks.clone(),
                _ => Vec::new(),
            };
            self.agent_step(machine, AgentInput::Frame(frame));
            if !checks.is_empty() {
                self.agent_will_prove(machine, checks);
            }
        }
    }

    fn agent_will_prove(&mut self, id: MachineId, checks: Vec<ShareCheck>) {
        let takes = self.rng.between(20, 3_000);
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.shares = checks.into_iter().map(|check| check.path).collect();
        self.after(takes, What::Prove { machine: id });
    }

    /// It looks at its shared paths, and says what it finds.
    pub fn agent_proves(&mut self, id: MachineId) {
        let now = self.now;
        let Some(agent) = self.agents.get(&id) else { return };
        let bad = agent.bad_share_until > now;
        let proof = |path: &String| ShareProof {
            path: path.clone(),
            trouble: bad.then(|| "is full".to_owned()),
        };
        let shares = agent.shares.iter().map(proof).collect();
        let again = agent.bad_share_until;
        self.agent_step(id, AgentInput::Shares(shares));
        if bad {
            self.at(again, What::Prove { machine: id });
        }
    }

    /// Its shared paths are bad from now on.
    pub fn share_turns_bad(&mut self, id: MachineId, span: DurationMs) {
        let until = self.now + span;
        let Some(agent) = self.agents.get_mut(&id).filter(|agent| !agent.shares.is_empty()) else {
            return;
        };
        agent.bad_share_until = until;
        self.trace.line(self.now, format_args!("the shared path of machine {} is full", id.0));
        self.agent_proves(id);
    }
}
