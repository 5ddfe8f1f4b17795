//! Every bound of the head in one place, each with its reason.
use pcluster_api::MAX_BODY_BYTES;
use pcluster_model::DurationMs;
use std::time::Duration;

/// Inputs that may wait for the loop; beyond it whoever brings one waits.
pub const INBOX: usize = 4096;
/// Inputs of one batch: one commit carries them all.
pub const BATCH: usize = 256;
/// The loop looks at its clocks at least this often.
pub const LONGEST_SLEEP: DurationMs = DurationMs(1000);
/// And not more often than this when nothing comes in.
pub const SHORTEST_SLEEP: DurationMs = DurationMs(5);
/// A closed head answers for this long, so that `down` sees that it is closed.
pub const CLOSED_LINGER: DurationMs = DurationMs(1000);
/// The wall clock has stepped when it moved by more than this against steady time.
pub const CLOCK_STEP: DurationMs = DurationMs(2000);
/// The loop stood still when this much more passed than it meant to sleep.
pub const STALL: DurationMs = DurationMs(5000);
/// Events kept for the last words of a head that finds itself broken.
pub const LAST_EVENTS: usize = 64;

/// Below this much free space new submissions are refused, in bytes.
pub const LOW_DISK_BYTES: u64 = 256 << 20;
/// Below this the head keeps no more of what jobs and booting nodes print, in bytes.
pub const OUTPUT_DISK_BYTES: u64 = 128 << 20;
/// Below this it writes no more lines of its log, in bytes.
pub const LOG_DISK_BYTES: u64 = 32 << 20;
/// The ballast file: deleted on a full disk, so that ends and cancels can commit.
pub const BALLAST_BYTES: u64 = 16 << 20;
/// How often free space is looked at.
pub const DISK_EVERY: Duration = Duration::from_secs(5);

/// What is older than the configuration keeps goes at least this often; where it keeps less than ten
/// times as long, in a tenth of that.
pub const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// And not more often than this.
pub const PRUNE_SOONEST: Duration = Duration::from_millis(500);
/// The file of the log is left alone after each slice of that for this many times what it took: the
/// loop and whoever reads have most of the disk.
pub const PRUNE_REST: u32 = 4;
/// And at least for this long.
pub const PRUNE_REST_LEAST: Duration = Duration::from_millis(10);

/// Connections to the TLS port of whoever has not proved that it is a node. No node is kept out by
/// them: when there are more, the oldest go.
pub const STRANGERS: usize = 512;
/// Of those, connections from one address: more than nodes behind one address make at once.
pub const STRANGERS_OF_ONE: usize = STRANGERS / 2;
/// And each of them has this long, whatever it says.
pub const STRANGER: Duration = Duration::from_secs(30);
/// Connections at once with the key of one node: an agent's door lets half of that through.
pub const CONNECTIONS_OF_NODE: usize = 2 * RELAYED_OF_NODE;
/// And of all nodes.
pub const CONNECTIONS_OF_NODES: usize = 16 << 10;
/// TLS handshake, request head and `Hello` each have this long.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// A node may say hello this often: a restarted one is an event, and events are for ever.
pub const HELLO_EVERY: Duration = Duration::from_secs(2);
/// And so many times at once after a pause.
pub const HELLOS_AT_ONCE: u32 = 30;
/// Frames that may wait for one agent; beyond it the connection is closed (and told anew).
pub const LINK_QUEUE: usize = 1024;
/// Runs that a connection remembers as its node's: the last words of older ones were heard long ago.
pub const RUNS_OF_LINK: usize = 4096;
/// Names of nodes are told at most so often.
pub const NAMES_PAUSE: Duration = Duration::from_millis(100);
/// Users whom one node may refuse.
pub const REFUSED_USERS: usize = 256;
/// Read and write buffers of one agent's connection, in bytes.
pub const LINK_BUFFER_BYTES: usize = 8 << 10;
/// A frame that an agent does not take within this ends its connection.
pub const LINK_SEND: Duration = Duration::from_secs(30);
/// How often an agent hears a sign of life.
pub const LINK_BEAT: Duration = Duration::from_secs(10);
/// A connection without a sign of life for this long is closed.
pub const LINK_SILENCE: Duration = Duration::from_secs(60);

/// Between two looks of the kernel whether the machine at the other end is there.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Open files that all bounds of connections together may need, and some for the rest.
pub const FILES: u64 = 32 << 10;
/// Connections of users at once.
pub const CLIENTS: usize = 1024;
/// Connections of one user at once.
pub const CLIENTS_OF_ONE: usize = 256;
/// A user may make a step this often: 3,000 a minute.
pub const STEP_EVERY: Duration = Duration::from_millis(20);
/// And so many at once after a pause.
pub const STEPS_AT_ONCE: u32 = 3000;
/// Connections at once that are only told that there are too many.
pub const REFUSALS: usize = 64;
/// And each of them has this long to hear it.
pub const REFUSAL: Duration = Duration::from_secs(2);
/// Connections of commands on nodes at once.
pub const RELAYED: usize = 4096;
/// Of those, connections of one user from all nodes together.
pub const RELAYED_OF_ONE: usize = RELAYED / 4;
/// And from one node: `srun` holds one for each node of its step.
pub const RELAYED_OF_NODE: usize = 512;
/// Streams to step daemons at once.
pub const STREAMS: usize = 2048;
/// Of those, streams that one user asked for.
pub const STREAMS_OF_ONE: usize = STREAMS / 4;
/// A node that was asked for a stream has this long; it may have to start the daemon first.
pub const STREAM_ANSWER: Duration = Duration::from_secs(20);
/// Whoever asked for a stream says something on it within this.
pub const STREAM_FIRST_WORD: Duration = Duration::from_secs(30);
/// How long a client may take for the head of its request.
pub const REQUEST_HEAD: Duration = Duration::from_secs(10);

/// And for its body.
pub const REQUEST_BODY: Duration = Duration::from_secs(60);
/// A body up to this is not counted: connections bound those.
pub const SMALL_BODY_BYTES: usize = 64 << 10;
/// Bytes of bodies that are being read and answered at once: three copies of each are in memory.
pub const BODIES: usize = 8 * MAX_BODY_BYTES;
/// Of those, bytes of one user.
pub const BODIES_OF_ONE: usize = 3 * MAX_BODY_BYTES;

/// An answer up to this is not counted: connections bound those.
pub const SMALL_ANSWER_BYTES: usize = 64 << 10;
/// Bytes of larger answers that are on their way at once, read or not.
pub const ANSWERS: usize = 256 << 20;
/// Of those, bytes of one user.
pub const ANSWERS_OF_ONE: usize = ANSWERS / 4;
/// Whoever has not read a larger answer within this does not get the rest.
pub const ANSWER_READ: Duration = Duration::from_secs(60);
/// Listeners to events at once: each holds an event that it has not read.
pub const LISTENERS: usize = 128;
/// Of those, listeners of one user.
pub const LISTENERS_OF_ONE: usize = LISTENERS / 4;
/// Lists of everything that are being made at once; who asks for more waits.
pub const LISTS: usize = 4;

/// Records that are made before others may look at the cluster again.
pub const RECORDS_AT_ONCE: usize = 512;

/// Account data are asked for again after this.
pub const PEOPLE_FRESH: Duration = Duration::from_secs(60);
/// `getent` and `id` have this long.
pub const PEOPLE_WAIT: Duration = Duration::from_secs(10);

/// An account is asked for this often before its run is given up.
pub const PEOPLE_TRIES: u32 = 3;

/// Nodes whose boot failed of which everything is kept.
pub const BUNDLES: usize = 100;
/// All of that together, in bytes.
pub const BUNDLES_BYTES: u64 = 8 << 20;
/// The end of a console that is kept, in bytes.
pub const CONSOLE_BYTES: usize = 128 << 10;
/// Providers have this long to remove what they made beside machines.
pub const CLEAN_UP_WITHIN: Duration = Duration::from_secs(120);
/// A provider has this long to show a console before the machine is ended without it.
pub const CONSOLE_WITHIN: Duration = Duration::from_secs(5);

/// Lines of a node's boot log in memory.
pub const BOOT_LINES: usize = 200;
/// A line of a boot log at most, in bytes.
pub const BOOT_LINE_BYTES: usize = 4096;
/// A node's boot log file at most, in bytes.
pub const BOOT_FILE_BYTES: u64 = 256 << 10;

/// Between two lists of one provider at the least.
pub const LIST_PAUSE: Duration = Duration::from_millis(50);
/// Spot prices of one provider are read this often.
pub const SPOT_PRICES_EVERY: Duration = Duration::from_mins(5);
/// What stands is asked for again after this: once what an earlier head saw can be known to be gone.
pub const STANDING_SECOND: Duration = Duration::from_secs(75);
/// And from then on.
pub const STANDING_EVERY: Duration = Duration::from_secs(300);
/// Ends of machines are gathered for so long before the call that has them all.
pub const ENDS_GATHER: Duration = Duration::from_millis(20);
/// And so many go with one call.
pub const ENDS_AT_ONCE: usize = 500;
/// Machines that are remembered as not to be ended with others.
pub const ENDS_ALONE: usize = 10_000;
/// Calls of one provider at once.
pub const PROVIDER_CALLS: usize = 8;
/// How long open requests of users have at the end.
pub const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// Tokens of shared paths are looked after this often, and new paths looked for.
pub const SHARES_EVERY: Duration = Duration::from_secs(60);
pub const SHARES_LOOK: Duration = Duration::from_secs(1);
/// A head that starts waits so long for its shared paths.
pub const SHARES_FIRST: Duration = Duration::from_secs(5);
/// Shared paths that one node may tell of.
pub const SHARES_OF_NODE: usize = 64;
