//! What head and agent say to each other: JSON text frames over one WebSocket that the agent opens.
//!
//! Invariant: added fields have defaults and unknown fields are ignored, so that an agent of the
//! version before keeps working while its jobs run. Deliberately absent: sockets, and job output in
//! anything but bounded chunks.
#![no_std]
extern crate alloc;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use pcluster_model::{
    BlobHash, ClusterId, DurationMs, InstanceRef, JobId, JobSpec, NodeId, Resources, RunId, Signal,
    SignalScope, Timestamp,
};
use serde::{Deserialize, Serialize};

/// The protocol of this version. It is raised when a peer must not be told what it was told before,
/// or must be told otherwise; fields and frames that are only added need no other number.
pub const PROTOCOL: u32 = 1;
/// The oldest protocol still understood.
pub const OLDEST_PROTOCOL: u32 = 1;
/// What this version speaks.
pub const SPOKEN: Spoken = Spoken { oldest: OLDEST_PROTOCOL, newest: PROTOCOL };

/// The protocols that a program speaks, both ends among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    pub oldest: u32,
    pub newest: u32,
}

impl Spoken {
    /// As a `Hello` says it: an agent that names no oldest protocol speaks one only.
    #[must_use]
    pub fn said(protocol: u32, oldest: Option<u32>) -> Self {
        Self { oldest: oldest.unwrap_or(protocol), newest: protocol }
    }

    /// The newest protocol that both speak.
    #[must_use]
    pub fn common(self, other: Self) -> Option<u32> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }

    /// True when this is among them.
    #[must_use]
    pub fn speaks(self, protocol: u32) -> bool {
        (self.oldest..=self.newest).contains(&protocol)
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.oldest, self.newest) {
            (oldest, newest) if oldest == newest => write!(f, "protocol {newest}"),
            (oldest, newest) => write!(f, "protocols {oldest} to {newest}"),
        }
    }
}

/// A frame larger than this is refused, in bytes.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// Job output travels in pieces of at most this many bytes (before base64).
pub const MAX_CHUNK_BYTES: usize = 64 << 10;
/// The head keeps this much of the end of each run's output, in bytes.
pub const LOG_TAIL_BYTES: u64 = 1 << 20;

/// What the agent found out about its machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Facts {
    pub hostname: String,
    pub arch: String,
    /// What jobs may use of this node, as the agent found it or the launch order limits it.
    pub usable: Resources,
    #[serde(default)]
    pub gpu_type: String,
    pub kernel: String,
    /// What limits the agent can enforce: `cgroup v2`, `cgroup v1: memory, cpu, pids`, `none`.
    pub cage: String,
    /// True when jobs can run as other users.
    pub switches_users: bool,
    pub agent_version: String,
    /// The agent's wall clock when it said this.
    pub clock: Timestamp,
    /// The shared paths that were looked at, as last found.
    #[serde(default)]
    pub shares: Vec<ShareProof>,
    /// The agent proves the paths of a `Welcome`'s `checks` and says `Shares`.
    #[serde(default)]
    pub proves_shares: bool,
    /// The address from which it dials the head.
    #[serde(default)]
    pub address: String,
    /// Users whose jobs this node refuses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refuses: Vec<UserRefusal>,
}

/// What others may call a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeName {
    /// `compute-7`.
    pub name: String,
    pub address: String,
}

/// A user whose jobs cannot run on a node, while those of others can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRefusal {
    pub uid: u32,
    pub why: String,
}

/// A shared path as a node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareProof {
    pub path: String,
    /// `None`: the path works. Otherwise what is wrong, to be said after the path: `is read-only`.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// A shared path that a node is to prove, and how it knows that it is the right one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareCheck {
    pub path: String,
    /// What the head has written there; `None` where it cannot write: then the path only has to be
    /// there and to answer.
    #[serde(default)]
    pub token: Option<ShareToken>,
}

/// A small file that the head keeps in a shared path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareToken {
    /// Below the path: `.pcluster/CLUSTER`.
    pub file: String,
    pub text: String,
}

/// How a run's batch process ended, as the keeper recorded it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// The process returned this code.
    Code(i32),
    /// The process was ended by this signal.
    Signal(i32),
    /// The time limit ended it.
    TimedOut,
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// It filled its scratch disk.
    DiskFull,
    /// An order of the head ended it; what the process returned is kept.
    Ended { code: i32, signal: i32 },
    /// Nothing of the user ran: the working directory, an output file or the interpreter failed.
    CannotRun { why: String },
    /// The keeper vanished without a record; everything in its cage was ended first.
    KeeperLost,
}

/// What a run used on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    pub user_cpu_ms: u64,
    pub system_cpu_ms: u64,
    pub max_rss_bytes: u64,
    /// Of that, what the script used with all that it waited for; 0 where only steps ran.
    #[serde(default)]
    pub batch_user_cpu_ms: u64,
    #[serde(default)]
    pub batch_system_cpu_ms: u64,
    #[serde(default)]
    pub batch_max_rss_bytes: u64,
    /// Bytes written to the output file.
    #[serde(default)]
    pub output_bytes: u64,
    /// Bytes of its node's disk that it used when that was more than it asked for; else 0.
    #[serde(default)]
    pub scratch_bytes: u64,
}

/// The end of a run on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    pub run: RunId,
    pub exit: Exit,
    #[serde(default)]
    pub usage: Usage,
    /// Node's wall clock; the same as `ended_at` when nothing was started.
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
}

/// A run that the agent knows of, told at every `Hello`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunReport {
    Running {
        run: RunId,
        started_at: Timestamp,
    },
    Ended(RunEnd),
    /// The agent will never start this run (tombstone).
    NotStarted {
        run: RunId,
        why: String,
    },
}

impl RunReport {
    /// Which run it is about.
    #[must_use]
    pub fn run(&self) -> RunId {
        match self {
            Self::Running { run, .. } | Self::NotStarted { run, .. } => *run,
            Self::Ended(end) => end.run,
        }
    }
}

/// Agent to head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "the large one is said once a connection")]
pub enum AgentFrame {
    /// The first frame of a connection; the TLS client key is the identity, the token only binds
    /// an unknown key to its launch.
    Hello {
        /// The newest protocol of the agent.
        protocol: u32,
        /// Its oldest, if it speaks more than one.
        #[serde(default)]
        oldest_protocol: Option<u32>,
        cluster: ClusterId,
        node: NodeId,
        /// Provider's name of the machine where the agent knows it.
        instance: InstanceRef,
        /// Join token, only until the first `Welcome`.
        #[serde(default)]
        token: Option<String>,
        /// Changes with every boot of the machine (for a process node: every start of its agent's
        /// session on another boot of this machine).
        boot_id: String,
        facts: Facts,
        runs: Vec<RunReport>,
    },
    /// Where the boot has got to; progress restarts the boot timeout. May come before `Hello`.
    BootPhase {
        phase: String,
    },
    /// Lines of the agent's boot log.
    BootLog {
        lines: Vec<String>,
    },
    Heartbeat {
        clock: Timestamp,
        load_milli: u32,
        /// As in the facts; said at once when it changes.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        refuses: Vec<UserRefusal>,
    },
    RunStarted {
        run: RunId,
        started_at: Timestamp,
    },
    RunEnded(RunEnd),
    NotStarted {
        run: RunId,
        why: String,
    },
    /// Output of a run: `offset` counts from the start of the file.
    Output {
        run: RunId,
        offset: u64,
        data_base64: String,
    },
    /// The agent goes away by itself (no head, or an order).
    Leaving {
        why: String,
    },
    /// What was found of the shared paths: once they are proved, and whenever it changes. Said only
    /// to a head that gave `checks`.
    Shares {
        shares: Vec<ShareProof>,
    },
    /// The provider has announced something to this machine: said once, and again on every connection.
    Notice {
        kind: NoticeKind,
        /// When it is taken back, by the provider's clock.
        #[serde(default)]
        until: Option<Timestamp>,
    },
}

/// What a provider announces to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// It might be taken back sooner than others: nothing new belongs there.
    Rebalance,
    /// It is taken back.
    Reclaim,
}

/// Everything a keeper needs to start a run. Script and environment come as blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartOrder {
    pub run: RunId,
    /// Highest of these seen is remembered: an order not above a forgotten one never spawns.
    pub order: u64,
    pub job: JobId,
    #[serde(default)]
    pub task: Option<u32>,
    /// Id of the task's own (equal to `job` for plain jobs).
    pub raw_job: JobId,
    /// 1 for the first attempt.
    pub attempt: u32,
    pub spec: JobSpec,
    pub user: UserIdentity,
    pub pool: String,
    /// This node's part of the allocation.
    pub resources: Resources,
    /// All nodes of the allocation, in order, as names for people.
    pub nodes: Vec<String>,
    /// CPUs of the allocation on each of `nodes`; empty: as many as here.
    #[serde(default)]
    pub node_cpus: Vec<u32>,
    /// Addresses of `nodes`, where those of all are known.
    #[serde(default)]
    pub node_addresses: Vec<String>,
    /// This node's place in `nodes`. The batch runs on the first; the others only hold a step
    /// daemon.
    pub rank: u32,
    /// Time limit from the start of the run; `None` is none.
    #[serde(default)]
    pub time_limit_ms: Option<DurationMs>,
    pub term_grace_ms: DurationMs,
    /// Image's profile, sourced before the script.
    #[serde(default)]
    pub profile: Option<String>,
}

/// The submitting user as the head resolved it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIdentity {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: String,
    pub shell: String,
    /// Names of its groups, the primary one among them, as far as they have any.
    #[serde(default)]
    pub group_names: Vec<GroupName>,
}

/// What a group is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupName {
    pub gid: u32,
    pub name: String,
}

/// Why a run is to end, for the line that its user finds in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndWhy {
    /// Somebody wants it, or it is over elsewhere.
    #[default]
    Ended,
    /// It is to run again.
    Requeue,
    /// Another node of it is gone.
    NodeFailed,
}

/// Head to agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tell", rename_all = "snake_case")]
pub enum HeadFrame {
    /// The agent's key is bound to its node; the token is of no more use. From here on both speak
    /// `protocol`, the newest that both know.
    Welcome {
        protocol: u32,
        node_name: String,
        heartbeat_ms: DurationMs,
        /// For agents of before: they only look whether these can be read.
        shares: Vec<String>,
        /// The same paths with what tells that they are the right ones.
        #[serde(default)]
        checks: Vec<ShareCheck>,
        /// As in the launch order; a head of another version since then has others.
        #[serde(default)]
        programs: Vec<Programs>,
    },
    /// This agent is not wanted: it ends its jobs' keepers only if `final_` is set, and exits.
    Refused { why: String, last: bool },
    /// Create everything a run needs, and start it.
    Start(alloc::boxed::Box<StartOrder>),
    /// End a run: TERM, and KILL after the grace. An unknown run becomes a tombstone.
    End {
        run: RunId,
        grace_ms: DurationMs,
        #[serde(default)]
        why: EndWhy,
    },
    /// Send a signal to a run.
    Signal {
        run: RunId,
        signal: Signal,
        #[serde(default)]
        scope: SignalScope,
    },
    /// Stop or continue every process of a run; its time limit stands still meanwhile.
    Suspend { run: RunId, suspended: bool },
    /// Somebody who may wants to speak with the step daemon of a run: dial `stream_path(stream)`
    /// and join the two. The name is a secret of 32 hexadecimal digits, good for one connection.
    Attach { run: RunId, stream: String },
    /// The same for the step daemon of the node itself ([`NODE_ITSELF`]): an admin wants a terminal
    /// there.
    AttachNode { stream: String },
    /// A new time limit, counted from the start of the run.
    Limit { run: RunId, time_limit_ms: Option<DurationMs> },
    /// The end of these runs is committed; the agent may forget them.
    Forget { runs: Vec<RunId> },
    /// All nodes whose address is known, this one among them: said after `Welcome` and when it changes.
    Names { names: Vec<NodeName> },
    /// The node is to go: clean up and exit once no run is left.
    Leave { why: String },
}

/// Where blobs are fetched from: `GET /node/v1/blobs/HASH` on the head's TLS port.
#[must_use]
pub fn blob_path(hash: BlobHash) -> String {
    alloc::format!("/node/v1/blobs/{hash}")
}

/// Where a program of a node is fetched from: `GET` on the head's TLS port, by the key of a living node, or with
/// [`NODE_HEADER`] and [`TOKEN_HEADER`] by one that has not said `Hello` yet.
#[must_use]
pub fn program_path(hash: BlobHash) -> String {
    alloc::format!("/node/v1/agents/{hash}")
}

/// The node that asks, as in its launch order.
pub const NODE_HEADER: &str = "x-pcluster-node";
/// The token of its launch order.
pub const TOKEN_HEADER: &str = "x-pcluster-token";

/// The programs that a node needs; the first is the agent.
pub const NODE_PROGRAMS: [&str; 3] = ["pcluster-agent", "pcluster-keeper", "pcluster"];

/// The head's own version of all of [`NODE_PROGRAMS`] for one architecture: they are replaced together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Programs {
    pub arch: String,
    pub version: String,
    pub files: Vec<Program>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub name: String,
    pub sha256: BlobHash,
    pub bytes: u64,
}

/// The other end of a stream: `GET` with `Upgrade: pcluster-stream` on the head's TLS port.
#[must_use]
pub fn stream_path(stream: &str) -> String {
    alloc::format!("/node/v1/streams/{stream}")
}

/// Where an agent relays a client on its node: `GET` with `Upgrade: pcluster-client` on the head's
/// TLS port; what follows is the head's `/v1` interface, as user `uid`.
#[must_use]
pub fn client_path(uid: u32) -> String {
    alloc::format!("/node/v1/client/{uid}")
}

/// Protocol name of the connection at [`client_path`].
pub const CLIENT_PROTOCOL: &str = "pcluster-client";
/// Protocol name of the connection at [`stream_path`].
pub const STREAM_PROTOCOL: &str = "pcluster-stream";
/// A node that cannot give a stream it was asked for says why in this header of its `GET`.
pub const STREAM_REFUSED_HEADER: &str = "x-pcluster-refused";

/// What the node's own step daemon says in the place of its run. No run has this number.
pub const NODE_ITSELF: RunId = RunId(0);

/// The first word of a step daemon on the agent's client socket; its run and a line end follow.
/// The agent then writes one line for each stream that is wanted: `attach STREAM`.
pub const STEP_DAEMON_GREETING: &str = "PCLUSTER-STEPD ";
/// The first word of a step daemon that takes a stream: the stream's name and a line end follow,
/// and then the bytes of the stream in both directions.
pub const STEP_STREAM_GREETING: &str = "PCLUSTER-STREAM ";

/// What a node is started with, in a file that only the agent's user can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinOrder {
    pub cluster: ClusterId,
    pub cluster_name: String,
    pub node: NodeId,
    /// `compute-7`.
    pub node_name: String,
    pub instance: InstanceRef,
    /// Tried in turn: `HOST:PORT`.
    pub head_addresses: Vec<String>,
    /// SHA-256 of the head's certificate (DER), in hexadecimal: the agent talks to no other.
    pub head_key_sha256: String,
    /// HMAC of the launch id under the cluster's secret.
    pub token: String,
    /// What this node may use of the machine (process nodes share one).
    #[serde(default)]
    pub limit: Option<Resources>,
    /// Scratch and spool of this node.
    pub state_dir: String,
    /// Image directory (process), `None` for the machine as it is.
    #[serde(default)]
    pub image_dir: Option<String>,
    /// What the agent does when it is idle and has heard no head for this long.
    pub orphan_after_ms: DurationMs,
    pub report_hold_ms: DurationMs,
    pub on_orphan: OnOrphan,
    /// Whose accounts there are; an older head does not say.
    #[serde(default)]
    pub accounts: Option<Accounts>,
    /// Users find an empty home of their own here, and not the one of the head.
    #[serde(default)]
    pub local_home: bool,
    /// What the agent mounts before it says hello, in this order.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// What the agent becomes before it takes a job, if it is not that already; none where its program is
    /// the head's own file.
    #[serde(default)]
    pub programs: Vec<Programs>,
    /// The machine has a metadata service that tells when the provider takes it back; its agent asks.
    #[serde(default)]
    pub metadata: bool,
}

impl JoinOrder {
    /// Whose accounts there are.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        self.accounts.unwrap_or(match self.on_orphan {
            OnOrphan::PowerOff => Accounts::Added,
            OnOrphan::Exit => Accounts::OfHead,
            OnOrphan::Stay => Accounts::Own,
        })
    }
}

/// The accounts of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accounts {
    /// It is the head's machine.
    OfHead,
    /// The agent owns the machine, and adds those that are missing.
    Added,
    /// They are other people's: who has none of the same number is refused.
    Own,
}

/// A shared path that is not there by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The same on the head.
    pub path: String,
    pub from: MountSource,
}

/// Where a shared path comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    /// A folder of the head's machine, by the tag of its device.
    Virtiofs { tag: String },
    /// `HOST:/PATH`.
    Nfs { source: String },
    /// `HOST@tcp:/MOUNTNAME`.
    Lustre { source: String },
}

/// What an agent without a head does at last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOrphan {
    /// Ends the machine (vm, ec2).
    PowerOff,
    /// Cleans up and exits (process).
    Exit,
    /// Stays (ssh: other people's machines).
    Stay,
}

#[cfg(test)]
mod tests;
