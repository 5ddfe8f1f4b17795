//! Placement: waiting jobs onto free room, in order, several on a node.
//!
//! Best fit by CPUs keeps free room in large pieces and lets other nodes run empty. The first job
//! of a pool that can neither start nor get a new machine is protected as in EASY backfill
//! (Lifka 1995): later jobs may use the machines that it waits for only if they end before it can
//! start.
use super::suits::{Class, class_of, holds_name, image_of, suits, takes};
use super::{PlanReport, Wait, smallest_cpus};
use crate::Cluster;
use crate::event::{Event, Part, Placement};
use crate::job::Job;
use crate::limits::{NEVER, PLACE_CHECKS};
use crate::node::Node;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use pcluster_model::config::Pool;
use pcluster_model::{DurationMs, JobId, JobSpec, MicroUsd, NodeId, Resources, RunId, Timestamp};

/// What `spec` takes of a machine with `usable` for jobs.
pub(super) fn need_on(pool: &Pool, spec: &JobSpec, usable: &Resources) -> Resources {
    if pool.exclusive && usable.holds(&spec.least_per_node()) {
        return *usable;
    }
    spec.per_node_on(usable)
}

/// The pool may have enough machines that are large enough.
fn can_ever_hold(pool: &Pool, spec: &JobSpec) -> bool {
    let Some(one) = smallest_cpus(pool, spec) else { return false };
    spec.nodes <= pool.max
        && pool.max_cpus.is_none_or(|most| one.saturating_mul(spec.nodes) <= most)
}

struct Room<'a> {
    node: &'a Node,
    free: Resources,
    /// Protected for the head of the queue until then.
    reserved_from: Option<Timestamp>,
}

/// Ids that a pass hands out.
struct Counters {
    run: u64,
    job: u64,
}

/// Ids for the tasks of one job.
struct Numbers<'a> {
    /// How many of them have an id of their own.
    numbered: usize,
    counters: &'a mut Counters,
}

impl Numbers<'_> {
    /// The id of a task for those who know no arrays: its own from its first start on, and the
    /// array's for the last one.
    fn raw_id(&mut self, job: &Job, task: u32) -> JobId {
        if let Some(known) = job.numbers_of(task) {
            return known.raw_job;
        }
        self.numbered += 1;
        if self.numbered == job.task_count() {
            return job.id;
        }
        self.counters.job += 1;
        JobId(self.counters.job)
    }
}

/// The result of a pass.
pub(crate) struct PlacementPlan {
    pub events: Vec<Event>,
    pub report: PlanReport,
}

struct Pass<'a> {
    cluster: &'a Cluster,
    pool: &'a Pool,
    now: Timestamp,
    rooms: Vec<Room<'a>>,
    /// Some node refuses somebody.
    refusing: bool,
    checks: usize,
    failed: BTreeSet<Class>,
    money_left: Option<MicroUsd>,
    protected: Option<JobId>,
    report: &'a mut PlanReport,
}

impl Cluster {
    /// Which waiting jobs start now, and why the others do not.
    pub(crate) fn place(&self, now: Timestamp) -> PlacementPlan {
        let mut report = PlanReport { at: now, ..PlanReport::default() };
        let mut events = Vec::new();
        let Some(config) = self.config() else { return PlacementPlan { events, report } };
        let mut counters = Counters { run: self.meta.last_run, job: self.meta.last_job };
        let mut money_left = self.account(now).map(|account| account.left());
        for pool in &config.pools {
            let rooms = self.rooms(pool);
            let mut pass = Pass {
                cluster: self,
                pool,
                now,
                refusing: rooms.iter().any(|room| !self.refusals(room.node.id).is_empty()),
                rooms,
                checks: 0,
                failed: BTreeSet::new(),
                money_left,
                protected: None,
                report: &mut report,
            };
            for job in self.queued_in(pool) {
                pass.try_job(job, &mut counters, &mut events);
            }
            money_left = pass.money_left;
        }
        PlacementPlan { events, report }
    }

    pub(super) fn queued_in<'a>(&'a self, pool: &'a Pool) -> impl Iterator<Item = &'a Job> {
        let from = (pool.name.clone(), core::cmp::Reverse(i64::MAX), JobId(0));
        self.queue
            .range(from..)
            .take_while(move |(name, _, _)| *name == pool.name)
            .filter_map(|(_, _, id)| self.jobs.get(id))
    }

    fn rooms<'a>(&'a self, pool: &'a Pool) -> Vec<Room<'a>> {
        if self.meta.closing.is_some() {
            return Vec::new();
        }
        self.living_nodes(&pool.name)
            .filter(|node| self.takes_jobs(node))
            .map(|node| Room { node, free: node.free(), reserved_from: None })
            .collect()
    }

    /// The pool may not have the further machines that `spec` needs beside those that are there
    /// and large enough for it.
    fn is_at_most(&self, pool: &Pool, spec: &JobSpec) -> bool {
        let (mut count, mut cpus) = (0u32, 0u32);
        for node in self.living_nodes(&pool.name) {
            count += 1;
            cpus += node.shape.total.cpus;
        }
        let missing = spec.nodes.saturating_sub(self.able_nodes(pool, spec)).max(1);
        if count.saturating_add(missing) > pool.max {
            return true;
        }
        let Some(most) = pool.max_cpus else { return false };
        smallest_cpus(pool, spec)
            .is_none_or(|one| cpus.saturating_add(one.saturating_mul(missing)) > most)
    }

    /// Machines, there or coming, that are large enough for one node of `spec`.
    fn able_nodes(&self, pool: &Pool, spec: &JobSpec) -> u32 {
        let able = self.living_nodes(&pool.name).filter(|node| {
            (node.is_coming() || node.is_ready())
                && may_hold(pool, spec, node)
                && node.usable.holds(&need_on(pool, spec, &node.usable))
        });
        u32::try_from(able.count()).unwrap_or(u32::MAX)
    }
}

impl Pass<'_> {
    fn try_job(&mut self, job: &Job, counters: &mut Counters, events: &mut Vec<Event>) {
        if self.cluster.meta.closing.is_some() {
            self.report.waits.insert(job.id, Wait::Closing);
            return;
        }
        if self.cluster.block(job, self.now).is_some() {
            return;
        }
        if self.checks >= PLACE_CHECKS {
            self.report.waits.insert(job.id, Wait::NotReached);
            return;
        }
        if let Some(refused) = self.refused(job) {
            self.report.waits.insert(job.id, refused);
            return;
        }
        let mut numbers = Numbers { numbered: job.numbered, counters };
        let mut placements = Vec::new();
        let own = |task: &u32| job.own.specs.contains_key(task);
        let alike = self.cluster.ready_tasks(job).filter(|task| !own(task));
        self.try_tasks(job, &job.spec, alike, &mut numbers, &mut placements);
        // Each task that asks for something else is tried by itself. Nearly no job has any: a large
        // array is not gone through for them.
        if !job.own.specs.is_empty() {
            for task in self.cluster.ready_tasks(job).filter(own) {
                let one = core::iter::once(task);
                self.try_tasks(job, job.spec_of(task), one, &mut numbers, &mut placements);
            }
        }
        if job.is_array() && !placements.is_empty() {
            events.push(Event::TasksPlaced { job: job.id, placements });
        } else if let Some(placement) = placements.pop() {
            events.push(Event::JobPlaced { job: job.id, placement });
        }
    }

    /// Tasks of a job that all ask for `spec`, as many as there is room for.
    fn try_tasks(
        &mut self,
        job: &Job,
        spec: &JobSpec,
        tasks: impl Iterator<Item = u32>,
        numbers: &mut Numbers<'_>,
        placements: &mut Vec<Placement>,
    ) {
        let room = job.throttle_room().saturating_sub(placements.len());
        let mut tasks = tasks.take(room).peekable();
        if tasks.peek().is_none() {
            return;
        }
        let class = class_of(spec);
        // With users that are refused, jobs alike need not fail alike.
        if self.failed.contains(&class) && !self.refusing {
            self.wait(job, spec);
            return;
        }
        for task in tasks {
            let Some((parts, until)) = self.find(job, spec) else {
                self.failed.insert(class);
                self.wait(job, spec);
                return;
            };
            numbers.counters.run += 1;
            placements.push(Placement {
                task,
                run: RunId(numbers.counters.run),
                raw_job: numbers.raw_id(job, task),
                attempt: job.numbers_of(task).map_or(0, |numbers| numbers.attempts) + 1,
                parts,
                reserved_until: until,
            });
        }
    }

    /// Every node that is there refuses its user: another one of the same image would, too.
    fn refused(&self, job: &Job) -> Option<Wait> {
        let first = self.rooms.first().filter(|_| self.refusing)?.node.id;
        let refusal = |node| self.cluster.refusal(node, job.owner.uid);
        let all = self.rooms.iter().all(|room| refusal(room.node.id).is_some());
        let why = refusal(first)?.why.clone();
        all.then_some(Wait::UserRefused { node: first, why })
    }

    /// Nothing is free for it. The first such job of a pool that cannot grow is protected.
    fn wait(&mut self, job: &Job, spec: &JobSpec) {
        if !can_ever_hold(self.pool, spec) {
            // The configuration changed under it. It keeps no room from jobs that can start.
            self.report.waits.entry(job.id).or_insert(Wait::NoShape);
            return;
        }
        let ahead = self.report.ahead.entry(self.pool.name.clone()).or_default();
        if ahead.last() != Some(&job.id) {
            ahead.push(job.id);
        }
        if let Some(first) = self.protected {
            self.report.waits.entry(job.id).or_insert(Wait::Turn { after: first });
            return;
        }
        if self.cluster.is_at_most(self.pool, spec) {
            self.protect(job, spec);
            let wait = Wait::PoolMax { max: self.pool.max, max_cpus: self.pool.max_cpus };
            self.report.waits.entry(job.id).or_insert(wait);
        }
    }

    /// Keeps the machines on which this job can start first from jobs that would delay it.
    fn protect(&mut self, job: &Job, spec: &JobSpec) {
        self.protected = Some(job.id);
        let mut starts: Vec<(Timestamp, usize)> = Vec::new();
        for (at, room) in self.rooms.iter().enumerate() {
            if !may_hold(self.pool, spec, room.node) {
                continue;
            }
            let need = need_on(self.pool, spec, &room.node.usable);
            if let Some(when) = self.room_free_at(room, &need) {
                starts.push((when, at));
            }
        }
        starts.sort_unstable();
        if starts.len() < spec.nodes as usize {
            if self.cluster.able_nodes(self.pool, spec) >= spec.nodes {
                return;
            }
            // No machine that is there will ever hold it: make room for another one, unless one
            // that is ahead waits for machines which boot; they would be stopped under it.
            let first = self.report.ahead.get(&self.pool.name).is_none_or(|ahead| ahead.len() < 2);
            if !first {
                return;
            }
            self.report.claims.insert(self.pool.name.clone(), job.id);
            for room in &mut self.rooms {
                room.reserved_from = Some(self.now);
            }
            return;
        }
        let last = starts[spec.nodes as usize - 1].0;
        for (_, at) in starts.into_iter().take(spec.nodes as usize) {
            self.rooms[at].reserved_from = Some(last);
        }
    }

    /// When running jobs will have left room for `need`, by their limits; `None`: never.
    fn room_free_at(&self, room: &Room<'_>, need: &Resources) -> Option<Timestamp> {
        if !room.node.usable.holds(need) {
            return None;
        }
        let mut ends: Vec<(Timestamp, Resources)> = room
            .node
            .runs
            .iter()
            .filter_map(|run| self.cluster.runs.get(run))
            .filter_map(|run| {
                let part = run.part(room.node.id)?;
                // Nobody knows when what stands still goes on.
                let limit = run.time_limit_ms.filter(|_| run.suspended_since.is_none());
                let end = limit.map_or(NEVER, |limit| run.placed_at + limit + run.suspended_ms);
                Some((end, part.part.resources))
            })
            .collect();
        ends.sort_unstable_by_key(|(end, _)| *end);
        let mut free = room.free;
        if free.holds(need) {
            return Some(self.now);
        }
        for (end, resources) in ends {
            free = free.plus(&resources);
            if free.holds(need) {
                return Some(end);
            }
        }
        None
    }

    /// Room for one task, all of its nodes or none; takes it.
    fn find(&mut self, job: &Job, spec: &JobSpec) -> Option<(Vec<Part>, Timestamp)> {
        let limit = spec.time_limit_ms;
        let named = |node: &Node| spec.only_nodes.contains(&node.name);
        let mut fitting: Vec<(bool, u32, NodeId, usize, Resources)> = Vec::new();
        for (at, room) in self.rooms.iter().enumerate() {
            self.checks += 1;
            if !may_hold(self.pool, spec, room.node)
                || !may_use(room, self.now, limit)
                || self.refusing && self.cluster.refusal(room.node.id, job.owner.uid).is_some()
            {
                continue;
            }
            let need = need_on(self.pool, spec, &room.node.usable);
            if room.free.holds(&need) {
                let left = room.free.minus(&need).cpus;
                fitting.push((!named(room.node), left, room.node.id, at, need));
            }
        }
        let wanted = spec.nodes as usize;
        let found = fitting.iter().filter(|(other, ..)| !other).count();
        if fitting.len() < wanted || found < spec.only_nodes.len() {
            return None;
        }
        // Those that are asked for by name, then the fullest.
        fitting.sort_unstable_by_key(|(other, left, node, _, _)| (*other, *left, *node));
        fitting.truncate(wanted);
        let until = self.cluster.reserved_until(self.pool, limit, self.now);
        if !self.afford(job, &fitting, until) {
            return None;
        }
        let mut parts = Vec::with_capacity(wanted);
        for (_, _, node, at, need) in fitting {
            self.rooms[at].free = self.rooms[at].free.minus(&need);
            parts.push(Part { node, resources: need });
        }
        Some((parts, until))
    }

    /// Takes what the placement may add to the bill from what the month has left.
    fn afford(
        &mut self,
        job: &Job,
        fitting: &[(bool, u32, NodeId, usize, Resources)],
        until: Timestamp,
    ) -> bool {
        let Some(left) = self.money_left else { return true };
        let needs: MicroUsd = fitting
            .iter()
            .map(|(_, _, _, at, _)| {
                self.cluster.placement_cost(self.rooms[*at].node, until, self.now)
            })
            .sum();
        if needs <= left {
            self.money_left = Some(left - needs);
            return true;
        }
        self.report.waits.insert(job.id, self.cluster.budget_wait(self.now, needs));
        false
    }
}

/// Image, GPU, features and name are as the job asks.
#[must_use]
pub fn may_hold(pool: &Pool, spec: &JobSpec, node: &Node) -> bool {
    node.image == image_of(pool, spec)
        && suits(pool, spec, &node.shape)
        && holds_name(spec, &node.name)
        && takes(pool, spec, node.offering.spot)
}

/// A protected machine is free for jobs that end before it is needed.
fn may_use(room: &Room<'_>, now: Timestamp, limit: Option<DurationMs>) -> bool {
    match (room.reserved_from, limit) {
        (None, _) => true,
        (Some(from), Some(limit)) => now + limit <= from,
        (Some(_), None) => false,
    }
}

/// Pending tasks of each class, over the whole queue of a pool.
pub(super) fn class_counts(
    cluster: &Cluster,
    pool: &Pool,
    now: Timestamp,
) -> BTreeMap<Class, usize> {
    let mut counts = BTreeMap::new();
    for job in cluster.queued_in(pool).take(crate::limits::SCALE_JOBS) {
        if cluster.block(job, now).is_none() {
            let mut alike = 0;
            for task in cluster.ready_tasks(job).take(job.throttle_room()) {
                match job.own.specs.get(&task) {
                    None => alike += 1,
                    Some(spec) => *counts.entry(class_of(spec)).or_insert(0) += 1,
                }
            }
            *counts.entry(class_of(&job.spec)).or_insert(0) += alike;
        }
    }
    counts
}
