//! Keepers and run directories: what runs a user's processes on a machine and outlives the agent.
//!
//! Invariant: the exit record is on disk before anybody hears of it. Deliberately absent: cgroups
//! and signals; a process ends when the world says so.
use crate::cloud::MachineId;
use crate::plant::Plant;
use crate::procs::{Cause, Proc, ProcId};
use crate::scenario::Behaviour;
use crate::world::{What, World};
use pcluster_core::agent::{AgentInput, KeeperSaid};
use pcluster_model::job::JobKind;
use pcluster_model::{DurationMs, Resources, RunId, Timestamp};
use pcluster_wire::{Exit, RunEnd, StartOrder, Usage};

/// How a run ends on a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// By itself.
    Exit,
    TimedOut,
    /// By an order.
    Ordered,
    /// Ended before anything was spawned.
    NotStarted,
    /// What a lost keeper left is ended by the agent.
    Emptied,
}

impl Ends {
    const fn cause(self) -> Cause {
        match self {
            Self::Exit => Cause::Exit,
            Self::TimedOut => Cause::Limit,
            Self::Ordered | Self::NotStarted => Cause::Order,
            Self::Emptied => Cause::KeeperLost,
        }
    }
}

/// What is on disk of a run.
#[derive(Debug, Clone)]
pub struct RunDir {
    pub order: u64,
    pub boot: u32,
    /// The start record, by the wall clock of the machine.
    pub started_at: Option<Timestamp>,
    /// The exit record.
    pub exit: Option<RunEnd>,
}

impl RunDir {
    /// What an agent that has just started hears of it.
    #[must_use]
    pub fn news(&self, run: RunId, keeper: Option<&Keeper>) -> Option<KeeperSaid> {
        if let Some(end) = &self.exit {
            return Some(KeeperSaid::Ended(end.clone()));
        }
        match (self.started_at, keeper.filter(|keeper| !keeper.lost)) {
            (Some(started_at), Some(_)) => Some(KeeperSaid::Started { run, started_at }),
            (Some(started_at), None) => Some(KeeperSaid::Lost { run, started_at }),
            (None, Some(_)) => None,
            (None, None) => {
                let why = "its keeper was never started".into();
                Some(KeeperSaid::NotStarted { run, why })
            }
        }
    }
}

/// Something that ends only when it is told to.
const FOR_EVER: DurationMs = DurationMs::from_hours(100_000);

/// A keeper, or what it left when it was killed.
#[derive(Debug, Clone)]
pub struct Keeper {
    /// What is planned for an earlier life is void.
    pub life: u32,
    behaviour: Behaviour,
    limit: Option<DurationMs>,
    grace: DurationMs,
    /// It stood still for this long, and does so since then.
    paused: DurationMs,
    paused_at: Option<Timestamp>,
    proc: Proc,
    /// True time.
    began: Option<Timestamp>,
    live: Vec<ProcId>,
    pub lost: bool,
    ending: bool,
}

impl Keeper {
    /// What it holds the run to; `None` when nobody watches the time: it has no limit, or its
    /// keeper was killed.
    #[must_use]
    pub fn watch(&self, now: Timestamp) -> Option<Watch> {
        let limit = self.limit.filter(|_| !self.lost)?;
        let still = self.paused_at.map_or(DurationMs::ZERO, |since| now.since(since));
        Some(Watch { limit, grace: self.grace, still: self.paused + still })
    }

    /// When its script will have ended by itself, if it does.
    #[must_use]
    pub fn exits_at(&self) -> Option<Timestamp> {
        let watched = !self.lost && !self.ending && self.paused_at.is_none();
        let lasts = Some(self.behaviour.lasts).filter(|lasts| *lasts < FOR_EVER)?;
        Some(self.began.filter(|_| watched)? + self.paused + lasts)
    }
}

/// The time limit of a run, and how long it has stood still so far.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    pub limit: DurationMs,
    pub grace: DurationMs,
    pub still: DurationMs,
}

impl World {
    /// Makes the run's directory and starts its keeper.
    pub fn keeper_spawn(&mut self, id: MachineId, order: &StartOrder) {
        let now = self.now;
        let crash = self.strikes(crate::faults::Kind::AgentCrashMid);
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let boot = agent.boot();
        let dir = RunDir { order: order.order, boot, started_at: None, exit: None };
        agent.dirs.entry(order.run).or_insert(dir);
        if crash {
            return self.agent_crashes(id);
        }
        agent.last_keeper += 1;
        let keeper = Keeper {
            life: agent.last_keeper,
            behaviour: behaviour_of(order),
            paused: DurationMs::ZERO,
            paused_at: None,
            limit: order.time_limit_ms,
            grace: order.term_grace_ms,
            proc: Proc {
                run: order.run,
                job: order.job,
                task: order.task.unwrap_or(0),
                node: agent.node,
                machine: id,
                resources: order.resources,
                rank: order.rank,
                nodes: order.nodes.len(),
                began: now,
                child: false,
            },
            began: None,
            live: Vec::new(),
            lost: false,
            ending: false,
        };
        let (run, life) = (order.run, keeper.life);
        agent.keepers.insert(run, keeper);
        let pause = self.rng.between(5, 1_500);
        self.after(pause, What::KeeperStarts { machine: id, run, life });
    }

    fn keeper(&mut self, id: MachineId, run: RunId, life: u32) -> Option<&mut Keeper> {
        self.agents.get_mut(&id)?.keepers.get_mut(&run).filter(|keeper| keeper.life == life)
    }

    /// A process tree is no more.
    pub fn proc_ends(&mut self, id: ProcId, cause: Cause) {
        if let Some(proc) = self.procs.living.remove(&id) {
            self.seen.ended.push((id, proc, cause));
        }
    }

    /// Everything of users on a machine is no more.
    pub fn procs_end(&mut self, machine: MachineId, cause: Cause) {
        for id in self.procs.on(machine) {
            self.proc_ends(id, cause);
        }
    }

    /// The keeper writes its start record and spawns.
    pub fn keeper_starts(&mut self, id: MachineId, run: RunId, life: u32) {
        let now = self.now;
        let Some(keeper) = self.keeper(id, run, life) else { return };
        if keeper.lost || keeper.ending {
            return;
        }
        keeper.paused_at = keeper.paused_at.map(|_| now);
        keeper.began = Some(now);
        let proc = Proc { began: now, ..keeper.proc.clone() };
        let cannot = keeper.behaviour.ends == 4;
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.busy_at = now;
        let started_at = agent.wall(now);
        if let Some(dir) = agent.dirs.get_mut(&run) {
            dir.started_at = Some(started_at);
        }
        if cannot {
            return self.keeper_ends(id, run, life, Ends::Exit);
        }
        let twice = self.plant == Plant::DoubleStart && self.rng.chance(2_000);
        let never = self.plant == Plant::EmptyFollowers && proc.rank > 0;
        for _ in 0..if never { 0 } else { 1 + u32::from(twice) } {
            let started = self.procs.begin(proc.clone());
            self.seen.began.push(started);
            self.figures.runs += 1;
            if let Some(keeper) = self.keeper(id, run, life) {
                keeper.live.push(started);
            }
        }
        self.keeper_has_child(id, run, &proc);
        self.trace.line(now, format_args!("run {run} begins on machine {}", id.0));
        self.keeper_times(id, run);
        self.agent_step(id, AgentInput::Keeper(KeeperSaid::Started { run, started_at }));
    }

    /// The script starts something in the background.
    fn keeper_has_child(&mut self, id: MachineId, run: RunId, script: &Proc) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let Some(keeper) = agent.keepers.get_mut(&run) else { return };
        if keeper.behaviour.leaves_children && !keeper.live.is_empty() {
            let resources = Resources::default();
            let child = Proc { child: true, resources, ..script.clone() };
            keeper.live.push(self.procs.begin(child));
        }
    }

    /// The script has ended, its children live: the keeper ends them before it writes anything
    /// down.
    fn keeper_sweeps(&mut self, id: MachineId, run: RunId) {
        let pause = self.rng.between(1, 200);
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.last_keeper += 1;
        let life = agent.last_keeper;
        let Some(keeper) = agent.keepers.get_mut(&run) else { return };
        let script = keeper.live.remove(0);
        if !keeper.lost {
            (keeper.life, keeper.ending) = (life, true);
            self.after(pause, What::KeeperEnds { machine: id, run, life, how: Ends::Exit });
        }
        self.proc_ends(script, Cause::Exit);
    }

    /// Plans the end of a run that has started.
    fn keeper_times(&mut self, id: MachineId, run: RunId) {
        let Some(agent) = self.agents.get(&id) else { return };
        let Some(keeper) = agent.keepers.get(&run) else { return };
        let Some(began) = keeper.began.filter(|_| keeper.paused_at.is_none()) else { return };
        let started_at = began + keeper.paused;
        let over = started_at + keeper.behaviour.lasts;
        let grace = if keeper.behaviour.ignores_term { keeper.grace } else { DurationMs(100) };
        let deaf = self.plant == Plant::DeafToLimits;
        let (at, how) = match keeper.limit.filter(|_| !deaf).map(|limit| started_at + limit) {
            Some(limit) if limit < over => (limit + grace, Ends::TimedOut),
            _ => (over, Ends::Exit),
        };
        let life = keeper.life;
        self.at(at, What::KeeperEnds { machine: id, run, life, how });
    }

    /// Everything of the run stands still, or goes on.
    pub fn keeper_suspend(&mut self, id: MachineId, run: RunId, suspended: bool) {
        let now = self.now;
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.last_keeper += 1;
        let life = agent.last_keeper;
        let Some(keeper) = agent.keepers.get_mut(&run) else { return };
        if keeper.lost || keeper.ending || keeper.paused_at.is_some() == suspended {
            return;
        }
        if keeper.began.is_none() {
            // It will begin like that.
            keeper.paused_at = suspended.then_some(now);
            return;
        }
        match keeper.paused_at.take() {
            Some(since) => keeper.paused = keeper.paused + now.since(since),
            None => keeper.paused_at = Some(now),
        }
        // What was planned under the old clock is void.
        keeper.life = life;
        self.keeper_times(id, run);
    }

    /// A new time limit, counted from the start.
    pub fn keeper_limit(&mut self, id: MachineId, run: RunId, limit: Option<DurationMs>) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.last_keeper += 1;
        let life = agent.last_keeper;
        let Some(keeper) = agent.keepers.get_mut(&run) else { return };
        if keeper.lost || keeper.ending {
            return;
        }
        keeper.limit = limit;
        if keeper.began.is_some() {
            // What was planned under the old limit is void.
            keeper.life = life;
            self.keeper_times(id, run);
        }
    }

    /// Plans an end of a run, whatever was planned before.
    pub fn keeper_plan(&mut self, id: MachineId, run: RunId, most_ms: u64, how: Ends) {
        let pause = self.rng.below(most_ms + 1);
        let Some(agent) = self.agents.get_mut(&id) else { return };
        agent.last_keeper += 1;
        let life = agent.last_keeper;
        let Some(keeper) = agent.keepers.get_mut(&run) else { return };
        keeper.life = life;
        keeper.ending = true;
        self.after(pause, What::KeeperEnds { machine: id, run, life, how });
    }

    /// TERM now, KILL after the grace.
    pub fn keeper_end(&mut self, id: MachineId, run: RunId, grace: DurationMs) {
        let now = self.now;
        let Some(agent) = self.agents.get(&id) else { return };
        let Some(keeper) = agent.keepers.get(&run).filter(|k| !k.ending && !k.lost) else {
            return;
        };
        let started = keeper.began.is_some();
        let over = keeper.limit.and_then(|limit| Some(keeper.began? + limit + keeper.paused));
        let stands = keeper.paused_at.is_some();
        if !stands && over.is_some_and(|over| now >= over) && grace >= keeper.grace {
            // Its time is over and TERM was sent: a later order can only shorten the grace.
            return;
        }
        if self.plant == Plant::StubbornFollowers && keeper.proc.rank > 0 {
            return;
        }
        let most = if keeper.behaviour.ignores_term { grace.0 } else { grace.0.min(300) };
        if started {
            self.keeper_plan(id, run, most, Ends::Ordered);
        } else {
            self.keeper_plan(id, run, 20, Ends::NotStarted);
        }
    }

    /// The end of a run on its machine: the record first, then the word to the agent.
    pub fn keeper_ends(&mut self, id: MachineId, run: RunId, life: u32, how: Ends) {
        let now = self.now;
        let early = self.plant == Plant::EndsTooEarly;
        let Some(keeper) = self.keeper(id, run, life) else { return };
        let (lost, behaviour) = (keeper.lost, keeper.behaviour);
        if how == Ends::Exit && behaviour.leaves_children && keeper.live.len() > 1 && !early {
            return self.keeper_sweeps(id, run);
        }
        let live = std::mem::take(&mut keeper.live);
        let leaves = self.plant == Plant::LeavesChildren && how == Ends::Exit;
        let child = |proc: &ProcId| self.procs.living.get(proc).is_some_and(|proc| proc.child);
        let kept: Vec<ProcId> =
            live.iter().copied().filter(|p| early || leaves && child(p)).collect();
        for proc in live.into_iter().filter(|proc| !kept.contains(proc)) {
            self.proc_ends(proc, how.cause());
        }
        if lost && how != Ends::Emptied {
            // Nobody watched it end; the agent finds the cage empty.
            return;
        }
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let began = agent.keepers.remove(&run).and_then(|keeper| keeper.began);
        agent.busy_at = now;
        let ended_at = agent.wall(now);
        let Some(dir) = agent.dirs.get_mut(&run) else { return };
        let started_at = dir.started_at.unwrap_or(ended_at);
        if how == Ends::NotStarted {
            agent.dirs.remove(&run);
            let why = "ended before it started".into();
            return self.agent_step(id, AgentInput::Keeper(KeeperSaid::NotStarted { run, why }));
        }
        let ran = now.since(began.unwrap_or(now));
        let usage = Usage { user_cpu_ms: ran.0, ..Usage::default() };
        let exit = exit_of(how, behaviour);
        let end = RunEnd { run, exit, usage, started_at, ended_at };
        let node = agent.node;
        dir.exit = Some(end.clone());
        self.procs.exits.insert((run, node), end.exit.clone());
        self.trace.line(now, format_args!("run {run} ends on machine {}: {how:?}", id.0));
        let said = match how {
            Ends::Emptied => KeeperSaid::Emptied { run, started_at, ended_at },
            Ends::Exit | Ends::TimedOut | Ends::Ordered | Ends::NotStarted => {
                KeeperSaid::Ended(end)
            }
        };
        self.agent_step(id, AgentInput::Keeper(said));
    }

    /// A keeper is killed; the processes it started run on until the agent empties the cage.
    pub fn keeper_is_lost(&mut self, id: MachineId) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let started = |run: &RunId| agent.dirs.get(run).and_then(|dir| dir.started_at);
        let found = agent
            .keepers
            .iter()
            .filter(|(_, keeper)| !keeper.lost && !keeper.ending)
            .find_map(|(run, _)| Some((*run, started(run)?)));
        let Some((run, started_at)) = found else { return };
        if let Some(keeper) = agent.keepers.get_mut(&run) {
            keeper.lost = true;
        }
        self.trace.line(self.now, format_args!("keeper of run {run} is killed"));
        self.agent_step(id, AgentInput::Keeper(KeeperSaid::Lost { run, started_at }));
    }
}

/// A script runs on the first node and does as its name says; everywhere else a step daemon holds
/// the node until it is told to end.
fn behaviour_of(order: &StartOrder) -> Behaviour {
    if order.rank == 0 && order.spec.kind == JobKind::Batch {
        return Behaviour::of(&order.spec);
    }
    Behaviour { lasts: FOR_EVER, ends: 0, ignores_term: false, leaves_children: false }
}

fn exit_of(how: Ends, behaviour: Behaviour) -> Exit {
    match how {
        Ends::TimedOut => Exit::TimedOut,
        Ends::Ordered => Exit::Ended { code: 0, signal: 15 },
        Ends::Emptied | Ends::NotStarted => Exit::KeeperLost,
        Ends::Exit => match behaviour.ends {
            1 => Exit::Code(3),
            2 => Exit::Signal(11),
            3 => Exit::OutOfMemory,
            4 => Exit::CannotRun { why: "the interpreter is missing".into() },
            _ => Exit::Code(0),
        },
    }
}
