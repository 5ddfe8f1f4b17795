//! The whole state of a cluster, and its derived indexes.
use crate::event::OfferingKey;
use crate::job::{Job, Run};
use crate::learned::Learned;
use crate::ledger::Ledger;
use crate::node::{Node, NodeState, OfferingHealth};
use crate::rows::{RowKey, Touched};
use crate::step::{Step, held};
use crate::volatile::Volatile;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use pcluster_model::config::{Config, Pool};
use pcluster_model::{
    BlobHash, ClusterId, JobId, LaunchId, NodeId, PoolName, RunId, Timestamp, UserName,
};
use pcluster_wire::UserRefusal;
use serde::{Deserialize, Serialize};

/// The cluster is going down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    pub by: UserName,
    /// Running jobs are cancelled instead of waited for.
    pub now: bool,
}

/// Counters and settings: one row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    pub cluster: ClusterId,
    #[serde(default)]
    pub config: Option<Config>,
    #[serde(default)]
    pub version: String,
    pub last_job: u64,
    pub last_run: u64,
    pub last_launch: u64,
    /// Rises with every placement.
    pub last_order: u64,
    /// The next free number of each pool's node names.
    #[serde(default)]
    pub next_numbers: BTreeMap<PoolName, u32>,
    #[serde(default)]
    pub offerings: Vec<(OfferingKey, OfferingHealth)>,
    /// Wall clock less steady time, in milliseconds.
    #[serde(default)]
    pub clock_offset_ms: i64,
    #[serde(default)]
    pub closing: Option<Closing>,
    /// What nodes have reported, one of each image and shape.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learned: Vec<Learned>,
    /// Launches that a head may have made whose log is lost: the first and the last of each gap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlogged_launches: Vec<(LaunchId, LaunchId)>,
}

/// Order of the queue: pool, priority, then submission.
pub(crate) type QueueKey = (PoolName, Reverse<i64>, JobId);

/// The cluster. Fields are public to read; only `apply` and `note` write.
#[derive(Debug, Clone)]
pub struct Cluster {
    pub meta: Meta,
    pub jobs: BTreeMap<JobId, Job>,
    pub runs: BTreeMap<RunId, Run>,
    pub nodes: BTreeMap<NodeId, Node>,
    /// By run, in the order of their numbers; those of runs that are over too.
    pub steps: BTreeMap<RunId, Vec<Step>>,
    pub ledger: Ledger,
    pub volatile: Volatile,
    /// The file, with what nodes have reported in the place of guesses.
    pub(crate) effective: Option<Config>,
    pub(crate) log_length: u64,
    pub(crate) last_at: Timestamp,
    /// Jobs with pending tasks, in the order in which they are tried.
    pub(crate) queue: BTreeSet<QueueKey>,
    pub(crate) queue_keys: BTreeMap<JobId, QueueKey>,
    /// Idempotency keys by user.
    pub(crate) submit_keys: BTreeMap<(u32, String), JobId>,
    /// Tasks of arrays by the id that each has of its own.
    pub(crate) task_ids: BTreeMap<JobId, (JobId, u32)>,
    /// Finished jobs by the end of their last task.
    pub(crate) ended: BTreeSet<(Timestamp, JobId)>,
    pub(crate) ended_at: BTreeMap<JobId, Timestamp>,
    pub(crate) touched: Touched,
}

impl Cluster {
    pub(crate) fn empty() -> Self {
        Self {
            meta: Meta::default(),
            jobs: BTreeMap::new(),
            runs: BTreeMap::new(),
            nodes: BTreeMap::new(),
            steps: BTreeMap::new(),
            ledger: Ledger::default(),
            volatile: Volatile::default(),
            effective: None,
            log_length: 0,
            last_at: Timestamp(0),
            queue: BTreeSet::new(),
            queue_keys: BTreeMap::new(),
            submit_keys: BTreeMap::new(),
            task_ids: BTreeMap::new(),
            ended: BTreeSet::new(),
            ended_at: BTreeMap::new(),
            touched: BTreeSet::new(),
        }
    }

    /// A cluster without history. Its id becomes part of the log at the first `Started`.
    #[must_use]
    pub fn new(cluster: ClusterId) -> Self {
        let mut new = Self::empty();
        new.meta.cluster = cluster;
        new
    }

    /// Number of events that made this state.
    #[must_use]
    pub const fn log_length(&self) -> u64 {
        self.log_length
    }

    /// Time of the last event.
    #[must_use]
    pub const fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// The configuration in force, with what nodes have reported of their shapes.
    #[must_use]
    pub const fn config(&self) -> Option<&Config> {
        self.effective.as_ref()
    }

    #[must_use]
    pub fn pool(&self, name: &PoolName) -> Option<&Pool> {
        self.config().and_then(|config| config.pool(name))
    }

    /// Milliseconds east of UTC of the head's zone.
    pub(crate) fn zone_offset_ms(&self) -> i64 {
        self.config().map_or(0, |config| config.zone_offset_ms)
    }

    /// Health of an offering; the default when nothing ever failed there.
    #[must_use]
    pub fn health(&self, key: &OfferingKey) -> OfferingHealth {
        self.meta
            .offerings
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, health)| health.clone())
            .unwrap_or_default()
    }

    pub(crate) fn health_mut(&mut self, key: &OfferingKey) -> &mut OfferingHealth {
        self.touched.insert(RowKey::Meta);
        let at = match self.meta.offerings.iter().position(|(known, _)| known == key) {
            Some(at) => at,
            None => {
                self.meta.offerings.push((key.clone(), OfferingHealth::default()));
                self.meta.offerings.len() - 1
            }
        };
        &mut self.meta.offerings[at].1
    }

    /// A node by its name for people or by its id.
    #[must_use]
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        if let Ok(id) = name.parse::<NodeId>() {
            return self.nodes.get(&id);
        }
        self.nodes.values().rev().find(|node| node.name == name)
    }

    /// Nodes of a pool that exist or may exist.
    pub fn living_nodes<'a>(&'a self, pool: &'a PoolName) -> impl Iterator<Item = &'a Node> {
        self.nodes.values().filter(move |node| node.offering.pool == *pool && node.state.is_alive())
    }

    /// True when the agent's word can be relied on now: connected, and `Hello` said since the
    /// head's start.
    #[must_use]
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.volatile.links.get(&node).is_some_and(|link| link.connected)
    }

    /// Users whose jobs this node refuses, as it told.
    pub(crate) fn refusals(&self, node: NodeId) -> &[UserRefusal] {
        let facts = self.volatile.links.get(&node).and_then(|link| link.facts.as_ref());
        facts.map_or(&[], |facts| &facts.refuses)
    }

    /// That it refuses this one.
    pub(crate) fn refusal(&self, node: NodeId, uid: u32) -> Option<&UserRefusal> {
        self.refusals(node).iter().find(|refusal| refusal.uid == uid)
    }

    /// When a live run started, as its node told it.
    #[must_use]
    pub fn started_at(&self, run: RunId) -> Option<Timestamp> {
        let first = self.runs.get(&run)?.parts.first()?.part.node;
        self.volatile.run_starts.get(&(run, first)).copied()
    }

    /// Every node of a run has said that it runs there.
    #[must_use]
    pub fn all_started(&self, run: &Run) -> bool {
        let on = |node: NodeId| self.volatile.run_starts.contains_key(&(run.id, node));
        run.parts.iter().all(|part| on(part.part.node))
    }

    /// Jobs in the order in which they are tried.
    pub fn queued_jobs(&self) -> impl Iterator<Item = &Job> {
        self.queue.iter().filter_map(|(_, _, id)| self.jobs.get(id))
    }

    /// Scripts and environments that jobs name, also by specifications of single tasks.
    #[must_use]
    pub fn blobs(&self) -> BTreeSet<BlobHash> {
        let specs = self.jobs.values().flat_map(|job| job.own.specs.values().chain([&job.spec]));
        specs.flat_map(|spec| [spec.script, spec.environment]).collect()
    }

    /// True when nothing is left that could run or bill: the head may end.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.meta.closing.is_some()
            && self.runs.is_empty()
            && self.nodes.values().all(|node| !node.state.is_alive())
            && self.volatile.lists.values().all(|list| list.living == 0)
    }

    /// Whether every provider has shown its list since the head's start, or nobody can have launched anything:
    /// without that, an empty list is only one that nobody has seen.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        let lists = &self.volatile.lists;
        let untouched = self.volatile.is_new && self.meta.last_launch == 0;
        untouched || (!lists.is_empty() && lists.values().all(|list| list.listed_at.is_some()))
    }

    pub(crate) fn rebuild_indexes(&mut self) {
        self.set_effective();
        self.queue.clear();
        self.queue_keys.clear();
        self.submit_keys.clear();
        self.task_ids.clear();
        self.ended.clear();
        self.ended_at.clear();
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in ids {
            self.index_job(id);
            let job = &self.jobs[&id];
            if let Some(key) = &job.key {
                self.submit_keys.insert((job.owner.uid, key.clone()), id);
            }
            let live = job.numbers.iter().map(|(task, numbers)| (*task, *numbers));
            let over = job.finished.iter().filter_map(|(task, end)| Some((*task, end.numbers?)));
            let own = live.chain(over).filter(|(_, numbers)| numbers.raw_job != id);
            self.task_ids.extend(own.map(|(task, numbers)| (numbers.raw_job, (id, task))));
        }
    }

    /// The task of an array that has this id of its own. The last task of an array has the array's,
    /// which is not looked for here.
    #[must_use]
    pub fn task_with_id(&self, raw_job: JobId) -> Option<(JobId, u32)> {
        self.task_ids.get(&raw_job).copied()
    }

    /// Keeps the indexes of one job true.
    pub(crate) fn index_job(&mut self, id: JobId) {
        self.index_end(id);
        if let Some(old) = self.queue_keys.remove(&id) {
            self.queue.remove(&old);
        }
        let Some(job) = self.jobs.get(&id) else { return };
        if job.pending.is_empty() {
            return;
        }
        let key = (job.pool.clone(), Reverse(job.spec.priority), id);
        self.queue.insert(key.clone());
        self.queue_keys.insert(id, key);
    }

    /// Violations of what must hold at every prefix of the log, in words; empty when all is well.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        for node in self.nodes.values() {
            self.check_node(node, &mut broken);
        }
        for run in self.runs.values() {
            let live = self.jobs.get(&run.job).and_then(|job| job.live.get(&run.task));
            if live != Some(&run.id) {
                broken.push(alloc::format!("run {} is not its task's live run", run.id));
            }
        }
        self.check_steps(&mut broken);
        for job in self.jobs.values() {
            for (task, run) in &job.live {
                if !self.runs.contains_key(run) {
                    broken.push(alloc::format!("task {} has no run {run}", job.task_label(*task)));
                }
                if job.pending.contains(*task) || job.finished.contains_key(task) {
                    broken.push(alloc::format!("task {} is in two states", job.task_label(*task)));
                }
            }
        }
        broken
    }

    fn check_steps(&self, broken: &mut Vec<String>) {
        for (id, steps) in &self.steps {
            let numbered = (0u32..).zip(steps).all(|(number, step)| step.step == number);
            if !numbered {
                broken.push(alloc::format!("the steps of run {id} have gaps"));
            }
            match self.runs.get(id) {
                Some(run) => {
                    for (rank, part) in run.parts.iter().enumerate() {
                        if held(steps, rank) > part.part.resources.cpus {
                            broken.push(alloc::format!("the steps of run {id} share CPUs"));
                        }
                    }
                }
                None if steps.iter().any(|step| step.ended_at.is_none()) => {
                    broken.push(alloc::format!("run {id} is over and has open steps"));
                }
                None => {}
            }
        }
    }

    fn check_node(&self, node: &Node, broken: &mut Vec<String>) {
        if !node.usable.holds(&node.held) {
            broken.push(alloc::format!("node {} is over-committed", node.name));
        }
        if !node.state.is_alive() && !node.runs.is_empty() {
            broken.push(alloc::format!("node {} is gone and has runs", node.name));
        }
        if matches!(node.state, NodeState::Wanted | NodeState::Booting) && !node.runs.is_empty() {
            broken.push(alloc::format!("node {} has runs before it is ready", node.name));
        }
        for run in &node.runs {
            let part = self.runs.get(run).and_then(|run| run.part(node.id));
            if part.is_none_or(|part| part.end.is_some()) {
                broken.push(alloc::format!("node {} holds run {run} which has ended", node.name));
            }
        }
    }
}
