//! The world: one heap of what happens next, and everything that survives a crash of the head.
//!
//! Invariant: time passes only here, and everything random comes from one seeded stream, so a seed
//! is a story that can be told again (I18). Deliberately absent: the wall clock, threads, and
//! any policy of the cluster.
use crate::agent::SimAgent;
use crate::check::{Check, Violation};
use crate::cloud::{MachineId, SimProvider};
use crate::faults::{Faults, Kind};
use crate::hands::Call;
use crate::head::{From, Head};
use crate::net::{ConnId, SimNet};
use crate::plant::Plant;
use crate::procs::Procs;
use crate::rng::Rng;
use crate::scenario::{Ask, Scenario};
use crate::seen::Seen;
use crate::store::SimStore;
use crate::story::Kept;
use crate::trace::Trace;
use crate::users::Users;
use pcluster_core::Cluster;
use pcluster_core::input::{Input, ProviderSaid};
use pcluster_model::config::Config;
use pcluster_model::{ClusterId, DurationMs, RunId, Timestamp};
use pcluster_wire::{AgentFrame, HeadFrame};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a seed is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Faults all the time; nothing bad may happen.
    Safety,
    /// Faults end; then everything must get done (I15).
    Liveness,
}

impl Mode {
    /// The word of the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
        }
    }
}

/// One thing on the heap. A `life` that is over makes it void.
#[derive(Debug)]
pub enum What {
    HeadStart,
    HeadTurn {
        life: u32,
    },
    HeadTick {
        life: u32,
    },
    HeadWake {
        life: u32,
    },
    ListDue {
        life: u32,
    },
    /// A call reaches the provider.
    Call(Call),
    /// A hand of the head has an answer.
    Answer {
        life: u32,
        said: Box<ProviderSaid>,
    },
    AgentStart {
        machine: MachineId,
        life: u32,
    },
    Dial {
        machine: MachineId,
        life: u32,
    },
    AgentTick {
        machine: MachineId,
        life: u32,
    },
    ToHead {
        conn: ConnId,
        frame: Box<AgentFrame>,
    },
    ToAgent {
        conn: ConnId,
        frame: Box<HeadFrame>,
    },
    HeadHearsCut {
        conn: ConnId,
    },
    AgentHearsCut {
        conn: ConnId,
    },
    KeeperStarts {
        machine: MachineId,
        run: RunId,
        life: u32,
    },
    KeeperEnds {
        machine: MachineId,
        run: RunId,
        life: u32,
        how: crate::keeper::Ends,
    },
    Ask {
        client: usize,
    },
    /// The user hears the answer.
    Heard {
        client: usize,
        answer: crate::users::Answer,
    },
    Gremlin,
    /// Faults end (liveness).
    Heal,
}

/// Counts of what happened in a world.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub steps: u64,
    pub simulated: DurationMs,
    pub events: u64,
    pub commits: u64,
    pub jobs: u64,
    pub runs: u64,
    pub machines: u64,
    pub faults: BTreeMap<&'static str, u64>,
    pub trace: u64,
}

/// Everything there is.
#[derive(Debug)]
pub struct World {
    pub seed: u64,
    pub mode: Mode,
    pub plant: Plant,
    /// True time.
    pub now: Timestamp,
    pub rng: Rng,
    pub cluster_id: ClusterId,
    pub scenario: Scenario,
    /// The configuration file as it is on disk.
    pub config: Config,
    pub faults: Faults,
    /// What of the scenario and its faults takes place.
    pub kept: Kept,
    /// Faults that would have struck so far.
    pub struck: u64,
    /// Faults have ended.
    pub healed: Option<Timestamp>,
    /// Until then no machine reaches the head.
    pub cut_off_until: Timestamp,
    /// Until then the disk of the head takes nothing.
    pub disk_full_until: Timestamp,
    /// Until then the clock of the head's machine runs fast.
    pub drifts_until: Timestamp,
    /// The wall clock of the head's machine less true time.
    pub wall_ahead_ms: i64,
    pub head: Option<Head>,
    /// Rises with every start of the head.
    pub head_life: u32,
    pub disk: SimStore,
    /// The log on disk, replayed for the checkers.
    pub log: Cluster,
    pub net: SimNet,
    pub cloud: SimProvider,
    pub agents: BTreeMap<MachineId, SimAgent>,
    pub procs: Procs,
    pub users: Users,
    pub trace: Trace,
    pub figures: Figures,
    pub seen: Seen,
    checks: Vec<Box<dyn Check>>,
    queue: BTreeMap<(Timestamp, u64), What>,
    last_seq: u64,
}

/// How often the gremlin looks for something to break.
const GREMLIN_EVERY: DurationMs = DurationMs::from_secs(20);
/// A world that takes more steps goes round in circles.
const STEPS_MOST: u64 = 150_000;
/// A world in which faults ended has this long to finish everything.
const LIVENESS_MOST: DurationMs = DurationMs::from_hours(48);

impl World {
    /// The world of a seed, before anything has happened.
    #[must_use]
    pub fn new(seed: u64, mode: Mode, plant: Plant, checks: Vec<Box<dyn Check>>) -> Self {
        Self::keeping(seed, mode, plant, Kept::default(), checks)
    }

    /// The world of a story.
    #[must_use]
    pub fn keeping(
        seed: u64,
        mode: Mode,
        plant: Plant,
        kept: Kept,
        checks: Vec<Box<dyn Check>>,
    ) -> Self {
        let mut rng = Rng::new(seed, 1);
        let scenario = Scenario::draw(&mut rng, mode == Mode::Safety);
        let mut faults = Faults::draw(&mut rng);
        if let Some(kinds) = &kept.kinds {
            faults.keep(kinds);
        }
        let mut cloud = SimProvider::default();
        cloud.skew_ms = scenario.provider_skew_ms;
        cloud.minimum_ms = 60_000;
        cloud.overcharge = plant == Plant::Overcharge;
        let mut world = Self {
            seed,
            mode,
            plant,
            now: scenario.starts_at,
            rng: Rng::new(seed, 2),
            cluster_id: ClusterId(format!("{seed:016x}")),
            config: scenario.config.clone(),
            faults,
            kept,
            struck: 0,
            healed: None,
            cut_off_until: scenario.starts_at,
            disk_full_until: scenario.starts_at,
            drifts_until: scenario.starts_at,
            wall_ahead_ms: 0,
            head: None,
            head_life: 0,
            disk: SimStore::default(),
            log: Cluster::new(ClusterId(format!("{seed:016x}"))),
            net: SimNet::default(),
            cloud,
            agents: BTreeMap::new(),
            procs: Procs::default(),
            users: Users::default(),
            trace: Trace::default(),
            figures: Figures::default(),
            seen: Seen::default(),
            checks,
            queue: BTreeMap::new(),
            last_seq: 0,
            scenario,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.after(0, What::HeadStart);
        for (nth, (at, ask)) in self.scenario.asks.clone().into_iter().enumerate() {
            let client = self.users.add(ask);
            if !self.kept.has_ask(nth) {
                self.users.leave_out(client);
                continue;
            }
            // In liveness mode everything is asked for before faults end.
            let at = if self.mode == Mode::Liveness { at.0 * 6 / 10 } else { at.0 };
            self.after(at, What::Ask { client });
        }
        self.after(GREMLIN_EVERY.0, What::Gremlin);
        if self.mode == Mode::Liveness {
            self.after(self.scenario.lasts.0 * 7 / 10, What::Heal);
        }
    }

    /// Puts something on the heap, `delay_ms` from now.
    pub fn after(&mut self, delay_ms: u64, what: What) {
        self.at(self.now + DurationMs(delay_ms), what);
    }

    /// Puts something on the heap.
    pub fn at(&mut self, at: Timestamp, what: What) {
        self.last_seq += 1;
        self.queue.insert((at.max(self.now), self.last_seq), what);
    }

    /// Whether a fault of this kind happens now; counts it.
    pub fn strikes(&mut self, kind: Kind) -> bool {
        let parts = self.faults.parts(kind);
        if self.healed.is_some() || !self.rng.chance(parts) {
            return false;
        }
        self.struck += 1;
        if !self.kept.has_strike(self.struck - 1) {
            return false;
        }
        let word = Kind::ALL[kind as usize].1;
        *self.figures.faults.entry(word).or_default() += 1;
        self.trace.line(self.now, format_args!("FAULT {word}"));
        true
    }

    /// Runs the world to its end.
    ///
    /// # Errors
    /// The first violation of a law.
    pub fn run(&mut self) -> Result<(), Violation> {
        let start = self.now;
        let until = match self.mode {
            Mode::Safety => start + self.scenario.lasts,
            Mode::Liveness => start + self.scenario.lasts + LIVENESS_MOST,
        };
        while let Some(((at, _), what)) = self.queue.pop_first() {
            if at > until {
                break;
            }
            self.now = at;
            self.figures.steps += 1;
            self.seen.clear();
            self.dispatch(what);
            self.check(false)?;
            if self.figures.steps > STEPS_MOST {
                let words = format!("no rest after {STEPS_MOST} steps");
                return Err(Violation { number: 0, at: self.now, words });
            }
            if self.healed.is_some() && self.is_at_rest() {
                break;
            }
        }
        self.figures.simulated = self.now.since(start);
        self.figures.trace = self.trace.hash();
        self.seen.clear();
        self.check(true)
    }

    fn check(&mut self, at_end: bool) -> Result<(), Violation> {
        if let Some(words) = self.seen.broken.take() {
            return Err(Violation { number: 0, at: self.now, words });
        }
        let mut checks = std::mem::take(&mut self.checks);
        let mut verdict = Ok(());
        for check in &mut checks {
            let said = if at_end { check.end(self) } else { check.step(self) };
            if let Err(words) = said {
                verdict = Err(Violation { number: check.number(), at: self.now, words });
                break;
            }
        }
        self.checks = checks;
        verdict
    }

    fn dispatch(&mut self, what: What) {
        match what {
            What::HeadStart => self.head_start(),
            What::HeadTurn { life } => self.head_turn(life),
            What::HeadTick { life } => self.head_tick(life),
            What::HeadWake { life } => self.head_wake(life),
            What::ListDue { life } => self.head_list(life),
            What::Call(call) => self.provider_call(call),
            What::Answer { life, said } => self.head_answer(life, said),
            What::AgentStart { machine, life } => self.agent_start(machine, life),
            What::Dial { machine, life } => self.agent_dial(machine, life),
            What::AgentTick { machine, life } => self.agent_tick(machine, life),
            What::ToHead { conn, frame } => self.head_frame(conn, frame),
            What::ToAgent { conn, frame } => self.agent_frame(conn, *frame),
            What::HeadHearsCut { conn } => self.head_hears_cut(conn),
            What::AgentHearsCut { conn } => self.agent_hears_cut(conn),
            What::KeeperStarts { machine, run, life } => self.keeper_starts(machine, run, life),
            What::KeeperEnds { machine, run, life, how } => {
                self.keeper_ends(machine, run, life, how);
            }
            What::Ask { client } => self.user_asks(client),
            What::Heard { client, answer } => self.user_hears(client, answer),
            What::Gremlin => self.gremlin(),
            What::Heal => self.heal(),
        }
    }

    fn gremlin(&mut self) {
        if self.healed.is_some() {
            return;
        }
        let living: Vec<MachineId> = self.cloud.living.iter().copied().collect();
        let victim = self.rng.pick(&living).copied();
        if let Some(machine) = victim {
            self.torment(machine);
        }
        if self.strikes(Kind::ClockStep) {
            let hour = 3_600_000;
            let steps = [-24 * hour, -hour, -90_000, 90_000, hour, 24 * hour];
            let step = *self.rng.pick(&steps).unwrap_or(&hour);
            self.clock_step(self.wall_ahead_ms + step);
        } else if self.wall_ahead_ms != 0 && self.rng.chance(1_000) {
            self.clock_step(0);
        }
        if self.strikes(Kind::Stall) {
            let span = self.rng.between(6_000, 600_000);
            self.head_sleeps(DurationMs(span));
        }
        if self.strikes(Kind::HeadCutOff) {
            self.cut_off_until = self.now + DurationMs(self.rng.between(20_000, 1_200_000));
            for machine in living {
                self.cut_machine(machine);
                self.agent_loses_link(machine);
            }
        }
        if self.strikes(Kind::Drift) {
            self.drifts_until = self.now + DurationMs(self.rng.between(60_000, 900_000));
        }
        if self.now < self.drifts_until {
            let fast = self.rng.between(0, GREMLIN_EVERY.0 / 50);
            self.head_drifts(fast);
        }
        if self.strikes(Kind::Sleep) {
            self.head_sleeps(DurationMs::from_hours(1));
        }
        self.net.sweep();
        self.after(GREMLIN_EVERY.0, What::Gremlin);
    }

    fn torment(&mut self, machine: MachineId) {
        if self.strikes(Kind::MachineDeath) {
            self.machine_ends(machine);
        } else if self.strikes(Kind::Reboot) {
            self.machine_reboots(machine);
        } else if self.strikes(Kind::Partition) {
            let until = self.now + DurationMs(self.rng.between(20_000, 1_800_000));
            self.cut_machine(machine);
            self.agent_loses_link(machine);
            if let Some(agent) = self.agents.get_mut(&machine) {
                agent.cut_off_until = until;
            }
        } else if self.strikes(Kind::OneWay) {
            self.one_way(machine);
        } else if self.strikes(Kind::NewKey) {
            self.agent_forgets_key(machine);
        } else if self.strikes(Kind::AgentCrash) {
            self.agent_crashes(machine);
        } else if self.strikes(Kind::KeeperLost) {
            self.keeper_is_lost(machine);
        } else if self.strikes(Kind::Stray) {
            self.stray(machine);
        }
    }

    /// Faults end: the head is up, clocks are right, users let go of what they hold.
    fn heal(&mut self) {
        self.healed = Some(self.now);
        self.trace.line(self.now, format_args!("HEALED"));
        for machine in self.cloud.machines.values_mut() {
            machine.deaf = 0;
        }
        for agent in self.agents.values_mut() {
            agent.cut_off_until = self.now;
        }
        self.cut_off_until = self.now;
        self.disk_full_until = self.now;
        self.drifts_until = self.now;
        self.clock_step(0);
        self.config = self.scenario.last_config.clone();
        let config = Box::new(self.config.clone());
        self.head_input(Input::ConfigChanged { config }, From::Nobody);
        if let Some(now) = self.scenario.down {
            let client = self.users.add(Ask::Down { now });
            self.after(5_000, What::Ask { client });
        }
        for client in self.users.let_go() {
            self.after(1_000, What::Ask { client });
        }
    }

    /// Everybody has an answer, every job that can has ended, no machine is left that is not kept.
    fn is_at_rest(&self) -> bool {
        let Some(head) = self.head.as_ref().filter(|head| !head.asleep) else { return false };
        if self.scenario.down.is_some() {
            return head.cluster.is_closed() && self.cloud.living.is_empty();
        }
        let nodes = head.cluster.nodes.values().filter(|node| node.state.is_alive()).count();
        nodes == self.cloud.living.len()
            && self.users.all_answered()
            && crate::check::liveness::unfinished(&head.cluster, self.now).is_none()
            && self.cloud.living.len() <= self.kept()
    }

    /// Machines that the pools' minimum keeps.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.config.pools.iter().map(|pool| pool.min as usize).sum()
    }
}
