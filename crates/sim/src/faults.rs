//! Everything that may go wrong, in one struct; each seed turns on a random part of it.
//!
//! Invariant: a fault happens only through `World::strikes`, so it is counted and ends when faults
//! end. Deliberately absent: faults that the design does not promise to survive (a lost disk, two
//! heads on one state).
use crate::rng::{OF, Rng};

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $word:literal $most:literal,)*) => {
        /// One kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// Every kind, its word, and its highest chance in parts of `OF` at each opportunity.
            pub const ALL: &'static [(Self, &'static str, u32)] =
                &[$((Self::$name, $word, $most),)*];
        }
    };
}

kinds! {
    /// The head dies when a batch is decided and not yet on disk.
    CrashBeforeCommit "head crash before commit" 400,
    /// The head dies when a batch is on disk and nobody has heard of it.
    CrashAfterCommit "head crash after commit" 400,
    /// The head dies while replies and effects go out.
    CrashAfterRelease "head crash in release" 400,
    /// A head that has just started dies in its first batches.
    CrashAgain "head crash after start" 4_000,
    /// A connection breaks; what was under way is lost.
    Cut "connection cut" 200,
    /// One side never hears of a cut.
    HalfOpen "half-open connection" 4_000,
    /// A machine cannot reach the head for up to half an hour.
    Partition "machine cut off" 200,
    /// No machine can reach the head for up to twenty minutes.
    HeadCutOff "head cut off" 40,
    /// A commit takes seconds; inputs gather meanwhile.
    SlowDisk "slow commit" 300,
    /// A frame takes up to half a minute.
    Delay "slow frame" 100,
    /// A frame comes twice.
    Duplicate "frame twice" 300,
    /// A user's answer is lost.
    LostReply "lost answer to a user" 1_500,
    /// The agent process dies; keepers go on.
    AgentCrash "agent crash" 600,
    /// The agent process dies between two things it was about to do.
    AgentCrashMid "agent crash between actions" 150,
    /// A keeper is killed; its processes go on.
    KeeperLost "keeper lost" 400,
    /// A machine ends by itself.
    MachineDeath "machine death" 300,
    /// A machine comes back under another boot id.
    Reboot "machine reboot" 300,
    /// An agent comes back with a key of its own making.
    NewKey "second key" 100,
    /// A machine with our tag that nobody asked for.
    Stray "stray machine" 120,
    /// A launch call fails, in one of the classes.
    LaunchError "launch error" 2_500,
    /// The launch succeeds and its answer is lost.
    LostLaunch "lost launch answer" 1_500,
    /// The launch times out and succeeds a minute later.
    LateLaunch "late launch" 700,
    /// Some machines of a launch fail.
    Partial "partial launch" 2_000,
    /// A boot takes minutes.
    SlowBoot "slow boot" 2_000,
    /// A machine has fewer CPUs than its shape says.
    WrongMachine "machine too small" 500,
    /// A boot never ends.
    HangBoot "hung boot" 800,
    /// Accepted calls to end a machine do nothing, several times.
    Deaf "terminate without effect" 2_000,
    /// A call to end a machine fails.
    EndError "terminate error" 1_500,
    /// The list shows a change late.
    ListLag "late list" 3_000,
    /// The list fails.
    ListFail "list error" 1_500,
    /// The wall clock of the head jumps.
    ClockStep "wall clock step" 150,
    /// The head's loop stands still for up to ten minutes.
    Stall "head stall" 120,
    /// The head's machine sleeps for an hour.
    Sleep "head sleeps an hour" 25,
    /// One direction of a connection swallows everything until both sides give it up.
    OneWay "one-way connection" 150,
    /// The disk of the head is full for some minutes: no commit goes through, and the head ends.
    DiskFull "disk full" 150,
    /// The clock of the head's machine runs up to two percent fast for a while.
    Drift "clock drift" 600,
    /// One write to the disk fails: nobody knows whether the batch is there, and the head ends.
    DiskError "disk error" 150,
    /// The disk of the head takes nothing for up to twenty minutes.
    ReadOnly "disk read-only" 40,
    /// A commit takes up to eight seconds, and the loop waits for it.
    SlowSync "slow fsync" 150,
    /// The agent process is stopped for up to ten minutes.
    AgentStop "agent stopped" 300,
    /// A machine stands still for up to two hours, as a laptop does.
    NodeSleep "machine sleeps" 150,
    /// The wall clock of a machine jumps.
    NodeClock "wall clock step of a machine" 300,
    /// A machine gets another address: its old connection falls silent, a new one comes.
    Roam "address change" 200,
    /// An agent tells of runs that are not its own, or over.
    Nonsense "nonsense of an agent" 300,
    /// The provider takes no calls for up to five minutes.
    Throttle "calls throttled" 80,
    /// The provider makes no more machines than there are, for half an hour.
    Quota "quota reached" 60,
    /// The provider has none of one shape, for half an hour.
    OutOfStock "shape out of stock" 150,
    /// The image has an agent that is too old for the head.
    WrongImage "old agent in the image" 500,
    /// Somebody goes away without hearing an answer.
    GivesUp "user gives up" 200,
    /// The head dies between two slices of pruning.
    CrashInPruning "head crash inside pruning" 2_000,
    /// The shared path of a machine is bad for up to half an hour.
    BadShare "bad shared path" 300,
    /// The provider takes a spot machine back, with a notice or without.
    Reclaim "spot machine taken back" 500,
    /// The provider has no spot machines in one place, or anywhere, for half an hour.
    SpotGone "no spot machines" 300,
    /// Spot machines cost something else from now on.
    SpotPrices "spot prices move" 1_000,
    /// A head that has died comes up on another machine, sometimes with another disk.
    HeadMoves "head moves to another machine" 5_000,
}

/// Chances of every kind.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    parts: Vec<u32>,
}

impl Faults {
    /// A random subset of all kinds, each with a random chance up to its highest.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        let busy = rng.between(1, 9) * u64::from(OF) / 10;
        let share = u32::try_from(busy).unwrap_or(OF);
        let parts = Kind::ALL.iter().map(|(_, _, most)| match rng.chance(share) {
            true => rng.small(1, *most),
            false => 0,
        });
        Self { parts: parts.collect() }
    }

    /// No faults at all.
    #[must_use]
    pub const fn none() -> Self {
        Self { parts: Vec::new() }
    }

    /// Only this kind, with this chance.
    #[must_use]
    pub fn with(mut self, kind: Kind, parts: u32) -> Self {
        self.parts.resize(Kind::ALL.len(), 0);
        self.parts[kind as usize] = parts;
        self
    }

    /// The chance of a kind.
    #[must_use]
    pub fn parts(&self, kind: Kind) -> u32 {
        self.parts.get(kind as usize).copied().unwrap_or(0)
    }

    /// Turns off what is not among these words.
    pub fn keep(&mut self, words: &[String]) {
        for ((_, word, _), parts) in Kind::ALL.iter().zip(&mut self.parts) {
            if !words.iter().any(|kept| kept == word) {
                *parts = 0;
            }
        }
    }

    /// Words of what is on.
    pub fn on(&self) -> impl Iterator<Item = &'static str> + '_ {
        Kind::ALL.iter().filter(|(kind, _, _)| self.parts(*kind) > 0).map(|(_, word, _)| *word)
    }
}
