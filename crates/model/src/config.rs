//! The validated configuration: what `cluster.toml` means once every default is filled in.
//!
//! `pcluster-config` makes it from text; core receives it in `ConfigChanged`, so a replay sees the
//! same rules. Fields are only ever added, with defaults, because it is kept in the event log.
use crate::id::PoolName;
use crate::money::{MicroUsd, Price};
use crate::resources::Shape;
use crate::subnet::Subnet;
use crate::time::DurationMs;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Where machines come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// Processes on the head's machine.
    Process,
    Vm,
    Ssh,
    Ec2,
    /// `[external.NAME]`.
    External(String),
}

impl ProviderKind {
    /// The word of the file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Process => "process",
            Self::Vm => "vm",
            Self::Ssh => "ssh",
            Self::Ec2 => "ec2",
            Self::External(name) => name,
        }
    }

    /// True when this build has the provider.
    #[must_use]
    pub const fn is_built_in(&self) -> bool {
        matches!(self, Self::Process | Self::Vm | Self::Ec2 | Self::External(_))
    }

    /// True where machines cost money by the hour.
    #[must_use]
    pub const fn bills(&self) -> bool {
        matches!(self, Self::Ec2 | Self::External(_))
    }
}

/// Spot machines in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpotUse {
    #[default]
    Never,
    /// `true`: spot first, on demand after the patience.
    Prefer,
    /// `"only"`: waits for spot.
    Only,
}

/// Who holds a shared path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShareSource {
    /// Exported by the head.
    Head,
    /// Already there on every machine.
    Mounted,
    /// `nfs:HOST:/PATH`.
    Nfs(String),
    /// `efs:ID`.
    Efs(String),
    /// `fsx:ID` or `fsx:ID/MOUNTNAME`: a Lustre file system, whose mount name is `fsx` unless it is said.
    Fsx(String),
}

/// A path that is the same on the head and on the nodes of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    pub path: String,
    pub source: ShareSource,
    /// Size to create in bytes, where the provider creates it.
    #[serde(default)]
    pub size_bytes: Option<u64>,
}

/// What only EC2 has of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ec2Pool {
    /// The machines of one launch are in one zone and one placement group.
    #[serde(default)]
    pub together: bool,
    /// The fast network for MPI.
    #[serde(default)]
    pub efa: bool,
    /// False: one thread of each core.
    #[serde(default = "yes")]
    pub smt: bool,
    /// A capacity reservation.
    #[serde(default)]
    pub reservation: Option<String>,
}

impl Default for Ec2Pool {
    fn default() -> Self {
        Self { together: false, efa: false, smt: true, reservation: None }
    }
}

impl Ec2Pool {
    /// Nothing that the pool asked for.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

const fn yes() -> bool {
    true
}

/// `[ec2]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ec2 {
    pub region: String,
    /// Networks that may reach a head's machine by SSH from outside; none: the address that this machine has there.
    #[serde(default)]
    pub allow: Vec<String>,
    /// What gives a head's machine its rights.
    #[serde(default = "instance_profile")]
    pub instance_profile: String,
}

fn instance_profile() -> String {
    "pcluster-head".into()
}

impl Default for Ec2 {
    fn default() -> Self {
        Self { region: "us-east-1".into(), allow: Vec::new(), instance_profile: instance_profile() }
    }
}

/// One pool: what Slurm calls a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub name: PoolName,
    pub provider: ProviderKind,
    /// Alternatives in the order of the list, which decides ties in price.
    pub shapes: Vec<Shape>,
    /// Nodes kept when there is no work.
    pub min: u32,
    /// Nodes at most, launches in flight included.
    pub max: u32,
    /// CPUs of all its nodes together at most; `None` is no limit. Process nodes made from the
    /// machine's own size have it, so that they never promise more than the machine.
    #[serde(default)]
    pub max_cpus: Option<u32>,
    pub image: String,
    #[serde(default)]
    pub spot: SpotUse,
    pub spot_patience_ms: DurationMs,
    #[serde(default)]
    pub max_price: Option<Price>,
    /// Jobs are put back after a lost node even if they said that they must not be.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub requeue_always: bool,
    /// An idle node stops after this at the latest; 0 is at once.
    pub idle_timeout_ms: DurationMs,
    /// A boot without progress fails after this.
    pub boot_timeout_ms: DurationMs,
    /// A boot fails after this in all.
    pub boot_limit_ms: DurationMs,
    /// A silent idle node is given up after this; `None` is never.
    pub lost_grace_idle_ms: Option<DurationMs>,
    /// A silent node with a job is given up after this; `None` is never.
    pub lost_grace_busy_ms: Option<DurationMs>,
    /// Time limit of a job that names none.
    #[serde(default)]
    pub default_time_ms: Option<DurationMs>,
    /// Longer is refused.
    #[serde(default)]
    pub max_time_ms: Option<DurationMs>,
    /// Jobs that name no pool come here.
    pub default: bool,
    /// Every job has its node for itself.
    #[serde(default)]
    pub exclusive: bool,
    /// Shared paths that its nodes see.
    pub shares: Vec<Share>,
    /// Scratch disk of each node in bytes; 0 is what the machine has.
    #[serde(default)]
    pub local_bytes: u64,
    /// Users have an empty home of their own on each node, and not that of the head.
    #[serde(default)]
    pub local_home: bool,
    /// The provider bills at least this much of each machine.
    #[serde(default)]
    pub minimum_billing_ms: DurationMs,
    /// Words that jobs may ask for (`--constraint`), beside those of its shapes.
    #[serde(default)]
    pub features: Vec<String>,
    /// Places that machines may be launched in, ids of the provider; none: its own choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<String>,
    /// What only EC2 has.
    #[serde(default, skip_serializing_if = "Ec2Pool::is_plain")]
    pub ec2: Ec2Pool,
}

impl Pool {
    /// What jobs may ask for by name on a machine of this shape.
    pub fn features_of<'a>(&'a self, shape: &'a Shape) -> impl Iterator<Item = &'a str> + Clone {
        let own = self.features.iter().map(String::as_str);
        let shape = [&shape.name, &shape.arch, &shape.gpu_type].into_iter().map(String::as_str);
        own.chain(shape).filter(|name| !name.is_empty())
    }

    /// Shared paths that instances of EC2 have from the head's machine.
    pub fn shares_of_head(&self) -> impl Iterator<Item = &Share> + Clone {
        let is_ec2 = self.provider == ProviderKind::Ec2;
        self.shares.iter().filter(move |share| is_ec2 && share.source == ShareSource::Head)
    }

    /// Their folders there. The whole of a machine is no folder that another one could mount.
    pub fn folders_of_head(&self) -> impl Iterator<Item = &str> + Clone {
        self.shares_of_head().map(|share| share.path.as_str()).filter(|path| *path != "/")
    }
}

/// What an image is made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageSource {
    /// The machine as it is.
    Host,
    /// Part of pcluster: `minimal`, `debian-12`.
    BuiltIn,
    /// The newest build of this name; the file does not say how it was made.
    Built,
    /// A directory with `image.toml`, and optionally `profile` and `bin/` (process).
    Directory(String),
    /// A disk image.
    Qcow2(String),
    /// Region and id.
    Ami(Vec<(String, String)>),
    Recipe {
        base: String,
        packages: Vec<String>,
        files: Vec<(String, String)>,
        setup: Option<String>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub name: String,
    pub source: ImageSource,
    /// A file sourced before every job script.
    #[serde(default)]
    pub profile: Option<String>,
}

/// `[budget]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Budget {
    /// Spent and reserved never pass this in one calendar month of the head's zone.
    #[serde(default)]
    pub month: Option<MicroUsd>,
    /// Percent of the month at which people are told.
    #[serde(default)]
    pub warn_percent: Option<u32>,
}

/// What costs money whether or not there is work: the head's machine, shared storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedCost {
    /// `t3.large`, `500 GB gp3`.
    pub label: String,
    /// Per hour; `None` when nobody knows it.
    pub price: Option<Price>,
}

/// `[head]`, and the head's own timings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What nodes dial; `None` is found out.
    #[serde(default)]
    pub address: Option<String>,
    /// `ADDRESS:PORT` of the TLS port; `None` is the default of the provider.
    #[serde(default)]
    pub listen: Option<String>,
    /// The machine to start for the head; `None` is this machine.
    #[serde(default)]
    pub instance_type: Option<String>,
    /// After a start that found nodes or runs, no older deadline fires for this long.
    pub settle_ms: DurationMs,
    /// An idle node without a head ends itself after this.
    pub orphan_after_ms: DurationMs,
    /// How long it waits while it holds unreported results.
    pub report_hold_ms: DurationMs,
    pub heartbeat_ms: DurationMs,
    /// A node is silent after this.
    pub silent_after_ms: DurationMs,
    /// An unknown instance with our tag is ended after this.
    pub orphan_grace_ms: DurationMs,
    /// How often the provider's list is read while nothing changes.
    pub sweep_ms: DurationMs,
    /// Finished jobs and events stay for this long.
    #[serde(default = "keep_jobs")]
    pub keep_jobs_ms: DurationMs,
    /// Where this machine looks for the names of nodes; `None`: the head writes no such file.
    #[serde(default)]
    pub hosts_file: Option<String>,
}

/// What applied to configurations that did not say it.
const fn keep_jobs() -> DurationMs {
    DurationMs::from_hours(30 * 24)
}

/// How virtual machines run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmAccel {
    /// By KVM where a machine truly boots with it, else by TCG.
    #[default]
    Auto,
    Kvm,
    Tcg,
}

/// How virtual machines are connected.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmNetwork {
    /// Each for itself: a node reaches the head, and no other node.
    #[default]
    User,
    /// All on one bridge of the head's machine.
    Bridge {
        /// One that is there; `None`: one that comes with the first node and goes with the last.
        bridge: Option<String>,
        subnet: Subnet,
    },
}

/// `[vm]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Vm {
    #[serde(default)]
    pub accel: VmAccel,
    #[serde(default)]
    pub network: VmNetwork,
    /// Kernel and its `/lib/modules/RELEASE`; `None` is Debian's kernel for clouds, or this machine's.
    #[serde(default)]
    pub kernel: Option<(String, String)>,
}

/// `[external.NAME]`: a provider that is a program of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    pub name: String,
    /// The program and its first arguments; the verb follows.
    pub command: Vec<String>,
    /// A call that takes longer is ended and has failed.
    pub timeout_ms: DurationMs,
    /// How long after a call its list may still be wrong.
    pub consistency_ms: DurationMs,
    /// A machine that has no head any more switches itself off; else its agent ends, and that must be
    /// the machine's end.
    pub power_off: bool,
    /// The agent adds the accounts of users whose jobs come; else they must be there.
    #[serde(default)]
    pub add_users: bool,
}

/// The whole file, defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    pub name: String,
    pub head: Head,
    /// In the order of the file; exactly one has `default`.
    pub pools: Vec<Pool>,
    pub images: Vec<Image>,
    #[serde(default)]
    pub budget: Budget,
    /// The head and the storage, as long as the cluster is up.
    #[serde(default)]
    pub fixed_costs: Vec<FixedCost>,
    /// `ana` or `@wheel`.
    #[serde(default)]
    pub admins: Vec<String>,
    /// Jobs of uid 0 are taken.
    #[serde(default)]
    pub root_jobs: bool,
    /// What process nodes are started by: a program that becomes the words after it.
    #[serde(default)]
    pub process_launcher: Vec<String>,
    /// Providers that are programs of their own.
    #[serde(default)]
    pub externals: Vec<External>,
    /// Virtual machines on the head's machine.
    #[serde(default)]
    pub vm: Vm,
    #[serde(default)]
    pub ec2: Ec2,
    /// TERM to KILL.
    pub term_grace_ms: DurationMs,
    /// A job is put back after a lost node at most this often.
    pub requeue_limit: u32,
    /// Milliseconds east of UTC of the head's zone, for months of budgets.
    #[serde(default)]
    pub zone_offset_ms: i64,
}

impl Config {
    #[must_use]
    pub fn pool(&self, name: &PoolName) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.name == *name)
    }

    /// `[external.NAME]`.
    #[must_use]
    pub fn external(&self, name: &str) -> Option<&External> {
        self.externals.iter().find(|external| external.name == name)
    }

    /// The pool of jobs that name none.
    #[must_use]
    pub fn default_pool(&self) -> Option<&Pool> {
        self.pools.iter().find(|pool| pool.default).or_else(|| self.pools.first())
    }

    /// `NAME` or `NAME@BUILD`.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<&Image> {
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        self.images.iter().find(|image| image.name == name)
    }
}
