//! The world: one heap of what happens next, and everything that survives a crash of the head.
//!
//! Invariant: time passes only here, and everything random comes from one seeded stream, so a seed
//! is a story that can be told again (I18). Deliberately absent: the wall clock, threads, and
//! any policy of the cluster.
use crate::agent::SimAgent;
use crate::check::{Check, Violation};
use crate::cloud::{MachineId, SimProvider};
use crate::extras;
use crate::faults::{Faults, Kind};
use crate::hands::Call;
use crate::head::Head;
use crate::market;
use crate::net::{ConnId, SimNet};
use crate::plant::Plant;
use crate::procs::Procs;
use crate::prune::keep_little;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::seen::Seen;
use crate::standing::Things;
use crate::store::{Rows, SimStore};
use crate::story::Kept;
use crate::trace::Trace;
use crate::users::Users;
use pcluster_core::Cluster;
use pcluster_core::agent::AgentInput;
use pcluster_core::input::ProviderSaid;
use pcluster_model::config::Config;
use pcluster_model::{ClusterId, DurationMs, NodeId, RunId, Timestamp};
use pcluster_wire::{AgentFrame, HeadFrame, NoticeKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a seed is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Faults all the time; nothing bad may happen.
    Safety,
    /// Faults end; then everything must get done (I15).
    Liveness,
    /// The head is lost and never comes back; every machine must end by itself (I5).
    Abandoned,
    /// No faults, and machines stay: what is foretold must come true (I11).
    Calm,
}

impl Mode {
    /// The word of the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Safety => "safety",
            Self::Liveness => "liveness",
            Self::Abandoned => "abandoned",
            Self::Calm => "calm",
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
    /// A batch that took its time is on disk.
    HeadCommits {
        life: u32,
    },
    HeadPrunes {
        life: u32,
    },
    ListDue {
        life: u32,
    },
    StandingDue {
        life: u32,
        nth: u32,
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
    Prove {
        machine: MachineId,
    },
    /// The provider announces something to a machine.
    Notice {
        machine: MachineId,
        kind: NoticeKind,
        until: Timestamp,
    },
    /// A machine is taken back.
    Reclaimed {
        machine: MachineId,
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
    /// What its keepers told an agent while it stood still.
    AgentHears {
        machine: MachineId,
        life: u32,
        input: Box<AgentInput>,
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
    /// The head is lost for ever.
    Abandon,
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
    /// Steps of pruning.
    pub slices: u64,
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
    /// What is drawn for pruning.
    pub pruning: Rng,
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
    /// Nodes whose shared path is bad, and since when the head was told.
    pub bad_shares: BTreeMap<NodeId, Timestamp>,
    pub healed: Option<Timestamp>,
    /// The head is gone for ever since then.
    pub abandoned: Option<Timestamp>,
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
    /// The last rows of what the log forgot.
    pub past: Rows,
    pub net: SimNet,
    pub cloud: SimProvider,
    pub things: Things,
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
pub const GREMLIN_EVERY: DurationMs = DurationMs::from_secs(20);
/// A world that takes more steps goes round in circles.
const STEPS_MOST: u64 = 150_000;
/// A world without a head has this long to be empty.
const ABANDONED_MOST: DurationMs = DurationMs::from_hours(6);
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
        let mut scenario = Scenario::of(&mut rng, mode);
        if kept.edition >= 2 {
            extras::add(&mut rng.aside(4), &mut scenario);
        }
        market::of(kept.edition, &rng, &mut scenario);
        let mut faults = match mode {
            Mode::Safety | Mode::Liveness | Mode::Abandoned => Faults::draw(&mut rng),
            Mode::Calm => Faults::none(),
        };
        if let Some(kinds) = &kept.kinds {
            faults.keep(kinds);
        }
        extras::share_paths(&mut scenario, &faults);
        let mut pruning = Rng::new(seed, 5);
        keep_little(&mut scenario, &faults, &mut pruning);
        let cloud = SimProvider::of(&scenario, plant);
        let begin = cloud.clock(scenario.starts_at);
        let things = Things::of(kept.edition, &mut rng.aside(6), begin);
        let mut world = Self {
            seed,
            mode,
            plant,
            now: scenario.starts_at,
            rng: Rng::new(seed, 2),
            pruning,
            cluster_id: ClusterId(format!("{seed:016x}")),
            config: scenario.config.clone(),
            faults,
            kept,
            struck: 0,
            bad_shares: BTreeMap::new(),
            healed: None,
            abandoned: None,
            cut_off_until: scenario.starts_at,
            disk_full_until: scenario.starts_at,
            drifts_until: scenario.starts_at,
            wall_ahead_ms: 0,
            head: None,
            head_life: 0,
            disk: SimStore::default(),
            log: Cluster::new(ClusterId(format!("{seed:016x}"))),
            past: Rows::new(),
            net: SimNet::default(),
            cloud,
            things,
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
            // Where faults end, everything is asked for before.
            let early = matches!(self.mode, Mode::Liveness | Mode::Abandoned);
            let at = if early { at.0 * 6 / 10 } else { at.0 };
            self.after(at, What::Ask { client });
        }
        self.after(GREMLIN_EVERY.0, What::Gremlin);
        let then = match self.mode {
            Mode::Liveness => What::Heal,
            Mode::Abandoned => What::Abandon,
            Mode::Safety | Mode::Calm => return,
        };
        self.after(self.scenario.lasts.0 * 7 / 10, then);
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
            Mode::Safety | Mode::Calm => start + self.scenario.lasts,
            Mode::Liveness => start + self.scenario.lasts + LIVENESS_MOST,
            Mode::Abandoned => start + self.scenario.lasts + ABANDONED_MOST,
        };
        while let Some(((at, _), what)) = self.queue.pop_first() {
            if at > until {
                break;
            }
            self.now = at;
            if let Some(until) = self.waits_until(&what) {
                self.at(until, what);
                continue;
            }
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
        self.head_leaves_batch();
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
            What::HeadCommits { life } => self.head_commits(life),
            What::HeadPrunes { life } => self.head_prunes(life),
            What::ListDue { life } => self.head_list(life),
            What::StandingDue { life, nth } => self.head_asks_what_stands(life, nth),
            What::Call(call) => self.provider_call(call),
            What::Answer { life, said } => self.head_answer(life, said),
            What::AgentStart { machine, life } => self.agent_start(machine, life),
            What::Dial { machine, life } => self.agent_dial(machine, life),
            What::AgentTick { machine, life } => self.agent_tick(machine, life),
            What::Prove { machine } => self.agent_proves(machine),
            What::Notice { machine, kind, until } => self.notice_comes(machine, kind, until),
            What::Reclaimed { machine } => self.is_reclaimed(machine),
            What::AgentHears { machine, life, input } => self.agent_hears(machine, life, *input),
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
            What::Abandon => self.abandon(),
        }
    }

    /// Everybody has an answer, every job that can has ended, no machine is left that is not kept.
    fn is_at_rest(&self) -> bool {
        if self.abandoned.is_some() {
            return self.cloud.living.is_empty();
        }
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
