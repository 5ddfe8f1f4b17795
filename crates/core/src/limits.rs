//! Every limit of the core by name.
use pcluster_model::{DurationMs, Timestamp};

/// Boots of one image on one offering that fail in a row before only one canary boots at a time
/// (ParallelCluster's protected mode counts 10; a canary makes a lower number safe).
pub const BREAKER_FAILURES: u32 = 3;
/// First pause of an offering after `NoCapacity`, doubled up to `REST_MOST` (Karpenter: 3 min).
pub const REST_FIRST: DurationMs = DurationMs::from_mins(3);
/// Longest pause of an offering.
pub const REST_MOST: DurationMs = DurationMs::from_mins(30);
/// Spot machines that are refused so long after the last pause are refused anew: nobody asked meanwhile.
pub const REFUSALS_APART: DurationMs = DurationMs::from_mins(10);
/// Pause after an answer that nobody understands, doubled up to `REST_MOST`.
pub const RETRY_FIRST: DurationMs = DurationMs::from_secs(5);
/// A launch or terminate call whose outcome is unknown is made again after this.
pub const CALL_AGAIN: DurationMs = DurationMs::from_secs(5);
/// Time that stopping a machine may take, for reservations of money.
pub const STOP_ALLOWANCE: DurationMs = DurationMs::from_secs(60);
/// Gone and refused nodes stay in memory and in `nodes` for this long.
pub const GONE_NODES_KEPT: DurationMs = DurationMs::from_hours(1);
/// Candidate checks of one placement pass; the rest waits for the next one.
pub const PLACE_CHECKS: usize = 20_000;
/// Jobs looked at by one pass of the scaler.
pub const SCALE_JOBS: usize = 20_000;
/// New nodes in one plan.
pub const LAUNCH_MOST: u32 = 500;
/// Tasks of one array.
pub const ARRAY_MOST: usize = 1_000_000;
/// The largest array index.
pub const INDEX_MOST: u32 = 4_000_000;
/// Steps of one run (Slurm: `MaxStepCount`).
pub const STEPS_MOST: usize = 40_000;
/// Tasks of one step: more than any machine starts, and no sum of them overflows.
pub const STEP_TASKS_MOST: u64 = 1_000_000;
/// Jobs that wait or live, of everybody.
pub const QUEUE_MOST: usize = 1_000_000;
/// A node's clock may be wrong by this much.
pub const CLOCK_SKEW_MOST: DurationMs = DurationMs::from_mins(5);
/// If more than half of at least this many connected nodes fall silent at once, the head suspects
/// itself.
pub const SUSPECT_NODES: usize = 3;
/// Within this time.
pub const SUSPECT_SPAN: DurationMs = DurationMs::from_mins(1);
/// A head that suspects itself ends silent nodes after this all the same: a machine that nobody
/// hears must not bill for ever, and two of three nodes can be lost at once while a head is well.
pub const SUSPECT_MOST: DurationMs = DurationMs::from_hours(1);
/// A loop of head or agent that stood still for longer proves nothing about silence.
pub const STALL: DurationMs = DurationMs::from_secs(5);
/// Numbers that are never given when the log turns out to be a copy: more than any head gives out
/// between two copies.
pub const NUMBERS_SKIPPED: u64 = 1_000_000;
/// The same for the names of a pool's nodes.
pub const NAMES_SKIPPED: u32 = 1_000;
/// Jobs that one batch forgets at most.
pub const FORGET_JOBS: usize = 200;
/// It stops after the job with which it has forgotten this many tasks.
pub const FORGET_TASKS: usize = 5_000;
/// When everything that is left to forget is waited for, it is looked at again after this.
pub const FORGET_AGAIN: DurationMs = DurationMs::from_secs(10);
/// The end of what has no limit: later than anything, with room for spans to be added.
pub const NEVER: Timestamp = Timestamp(i64::MAX / 4);
