//! Submit: an accepted job is one that some shape can hold.
use super::Decision;
use crate::Cluster;
use crate::event::Event;
use crate::input::Principal;
use crate::job::{Job, Owner};
use crate::limits::{ARRAY_MOST, INDEX_MOST, QUEUE_MOST};
use crate::plan::{cheapest_shape, most_cost, number_of, smallest_cpus};
use crate::reply::{Rejection, RejectionKind, Reply};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::Pool;
use pcluster_model::job::JobKind;
use pcluster_model::units::format_duration;
use pcluster_model::{
    ArraySpec, DependencyKind, IndexRanges, JobId, JobSpec, PoolName, Resources, Shape, Timestamp,
};

fn refuse(message: impl Into<String>) -> Rejection {
    Rejection::new(RejectionKind::Refused, message)
}

impl Cluster {
    pub(super) fn submit(
        &self,
        now: Timestamp,
        who: &Principal,
        mut spec: Box<JobSpec>,
        key: Option<String>,
    ) -> Result<Decision, Rejection> {
        let known = key.as_ref().and_then(|key| self.submit_keys.get(&(who.uid, key.clone())));
        if let Some(job) = known {
            return Ok(Decision::reply(Reply::Submitted { job: *job, repeated: true }));
        }
        self.check_submitter(who)?;
        if spec.priority > 0 && !who.admin {
            return Err(Rejection::new(
                RejectionKind::NotAllowed,
                "only an admin submits with a raised priority",
            )
            .word("priority")
            .hint("--priority 0 or below is everybody's"));
        }
        // Not said is the pool's default, or its longest; 0 says that there is none.
        spec.time_limit_ms = match spec.time_limit_ms {
            None => {
                let pool = self.choose_pool(&spec)?;
                pool.default_time_ms.or(pool.max_time_ms)
            }
            asked => asked.filter(|limit| limit.0 > 0),
        };
        if spec.kind == JobKind::Allocation {
            check_allocation(&mut spec)?;
        }
        self.settle_choice(&mut spec);
        let pool = self.check_spec(&spec)?;
        self.check_moments(&spec, now)?;
        let job = JobId(self.meta.last_job + 1);
        self.name_tasks(&mut spec);
        self.check_dependencies(&spec, job)?;
        let owner = Owner { user: who.user.clone(), uid: who.uid, gid: who.gid };
        Ok(Decision {
            events: vec![Event::JobSubmitted { job, owner, pool, spec, key }],
            reply: Reply::Submitted { job, repeated: false },
        })
    }

    fn check_submitter(&self, who: &Principal) -> Result<(), Rejection> {
        let root_jobs = self.config().is_some_and(|config| config.root_jobs);
        if who.uid == 0 && !root_jobs {
            return Err(refuse("jobs of root are not taken here")
                .word("root")
                .hint("submit as an ordinary user, or set root_jobs = true in [limits]"));
        }
        if let Some(closing) = &self.meta.closing {
            return Err(refuse(format!("the cluster is going down, as {} asked", closing.by))
                .word("closing")
                .hint("pcluster up   starts it again; then submit"));
        }
        if self.queue.len() + self.runs.len() >= QUEUE_MOST {
            return Err(refuse(format!("the queue is full: {QUEUE_MOST} jobs wait or run"))
                .word("queue_full"));
        }
        Ok(())
    }

    /// A job that could not end before its deadline is refused.
    fn check_moments(&self, spec: &JobSpec, now: Timestamp) -> Result<(), Rejection> {
        let Some(deadline) = spec.deadline else { return Ok(()) };
        let first = spec.begin.map_or(self.wall(now), |begin| begin.max(self.wall(now)));
        if first + spec.time_limit_ms.unwrap_or_default() <= deadline {
            return Ok(());
        }
        Err(refuse("the job cannot end before its deadline")
            .word("deadline")
            .hint("a later deadline, or a shorter time limit"))
    }

    /// Finds the pool; one of its shapes must hold the job.
    pub(super) fn check_spec(&self, spec: &JobSpec) -> Result<PoolName, Rejection> {
        if let Some(array) = &spec.array {
            check_array(array)?;
        }
        let pool = self.choose_pool(spec)?;
        check_time(spec, pool)?;
        let budget = self.config().and_then(|config| config.budget.month);
        if budget.is_some() && spec.time_limit_ms.is_none() {
            return Err(refuse("this cluster has a budget, so a job needs a time limit")
                .word("no_limit")
                .hint("--time 1h   says how long it may run at most"));
        }
        if spec.nodes > pool.max {
            return Err(refuse(format!("pool {} has at most {} nodes", pool.name, pool.max))
                .word("too_many_nodes")
                .fact("asked", format!("{} nodes", spec.nodes)));
        }
        super::features::check(pool, spec)?;
        super::features::check_spot(pool, spec)?;
        self.check_names(pool, spec)?;
        check_cost(pool, spec)?;
        if cheapest_shape(pool, spec).is_none() {
            return Err(self.too_large(spec));
        }
        check_pool_cpus(spec, pool)?;
        Ok(pool.name.clone())
    }

    /// Nodes that are asked for by name are there, or could be.
    fn check_names(&self, pool: &Pool, spec: &JobSpec) -> Result<(), Rejection> {
        let next = self.meta.next_numbers.get(&pool.name).copied().unwrap_or(1);
        let possible = next..next.saturating_add(pool.max);
        for name in &spec.only_nodes {
            let there = self.living_nodes(&pool.name).any(|node| node.name == *name);
            if there || number_of(pool, name).is_some_and(|number| possible.contains(&number)) {
                continue;
            }
            return Err(Rejection::new(
                RejectionKind::NotFound,
                format!("pool {} has no node {name}", pool.name),
            )
            .word("no_node")
            .hint("pcluster nodes"));
        }
        if spec.only_nodes.len() > spec.nodes as usize {
            return Err(refuse("more nodes are named than the job asks for")
                .hint(format!("--nodes {}", spec.only_nodes.len())));
        }
        Ok(())
    }

    pub(super) fn choose_pool(&self, spec: &JobSpec) -> Result<&Pool, Rejection> {
        let Some(config) = self.config() else {
            return Err(refuse("the head has no configuration yet"));
        };
        if spec.pools.is_empty() {
            return config.default_pool().ok_or_else(|| refuse("this cluster has no pool"));
        }
        let mut known = Vec::new();
        for name in &spec.pools {
            match config.pool(name) {
                Some(pool) => known.push(pool),
                None => {
                    let names: Vec<&str> = config.pools.iter().map(|p| p.name.as_str()).collect();
                    return Err(Rejection::new(
                        RejectionKind::NotFound,
                        format!("there is no pool {name}"),
                    )
                    .word("no_pool")
                    .fact("pools", names.join(", ")));
                }
            }
        }
        let fitting = known.iter().find(|pool| cheapest_shape(pool, spec).is_some());
        Ok(fitting.copied().unwrap_or(known[0]))
    }

    /// What is asked, what the largest machine has, and the nearest request that fits.
    fn too_large(&self, spec: &JobSpec) -> Rejection {
        let asked = spec.least_per_node();
        let pools: Vec<&Pool> = self.config().map_or_else(Vec::new, |config| {
            config
                .pools
                .iter()
                .filter(|pool| spec.pools.is_empty() || spec.pools.contains(&pool.name))
                .collect()
        });
        let nearest = pools
            .iter()
            .flat_map(|pool| pool.shapes.iter().map(move |shape| (*pool, shape)))
            .max_by_key(|(_, shape)| nearness(&asked, &shape.usable()));
        let rejection = refuse("no node of this cluster can hold this job")
            .word(too_large_word(&asked, nearest.map(|(_, shape)| shape)))
            .fact("asked", format!("{} on one node", words(&asked)));
        let Some((pool, shape)) = nearest else { return rejection };
        let usable = shape.usable();
        rejection
            .fact("largest", self.largest_words(pool, shape, &asked))
            .hint(format!("{} fits", fitting_options(&asked, &usable)))
    }

    /// What a shape has for jobs, and where its memory comes from.
    fn largest_words(&self, pool: &Pool, shape: &Shape, asked: &Resources) -> String {
        let mut usable = shape.usable();
        if asked.tmp_bytes <= usable.tmp_bytes {
            usable.tmp_bytes = 0;
        }
        let from = match self.learned_of(pool, shape) {
            _ if !self.is_guessed(pool, shape) => String::new(),
            Some(_) => {
                format!(" ({} less what its system takes)", size_words(shape.total.memory_bytes))
            }
            None => format!(" ({} less 5 % + 256 MB)", size_words(shape.total.memory_bytes)),
        };
        format!("{} in pool {}: {}{from}", shape.name, pool.name, words(&usable))
    }

    /// A dependency on the number that a task of an array has of its own is one on that task.
    pub(super) fn name_tasks(&self, spec: &mut JobSpec) {
        for dependency in &mut spec.dependencies {
            if dependency.task.is_some() || self.jobs.contains_key(&dependency.job) {
                continue;
            }
            if let Some((job, task)) = self.task_with_id(dependency.job) {
                (dependency.job, dependency.task) = (job, Some(task));
            }
        }
    }

    pub(super) fn check_dependencies(&self, spec: &JobSpec, own: JobId) -> Result<(), Rejection> {
        let on_jobs = || spec.dependencies.iter().filter(|d| d.kind != DependencyKind::Singleton);
        for dependency in on_jobs() {
            if dependency.job == own {
                return Err(refuse(format!("job {own} cannot wait for itself")).word("dependency"));
            }
            if dependency.job.0 == 0 || dependency.job.0 > self.meta.last_job {
                return Err(self.no_such_job(dependency.job).word("no_dependency"));
            }
            let Some(other) = self.jobs.get(&dependency.job) else {
                let any_end = [DependencyKind::After, DependencyKind::AfterAny];
                if any_end.contains(&dependency.kind) {
                    continue;
                }
                return Err(self.no_such_job(dependency.job).word("no_dependency"));
            };
            let Some(task) = dependency.task else { continue };
            if !Job::all_indices(&other.spec).contains(task) {
                return Err(Rejection::new(
                    RejectionKind::NotFound,
                    format!("job {} has no task {task}", dependency.job),
                )
                .word("no_dependency")
                .fact("tasks", format!("{}", Job::all_indices(&other.spec))));
            }
        }
        for dependency in on_jobs() {
            if self.waits_for_transitively(dependency.job, own) {
                return Err(refuse(format!(
                    "job {} already waits for job {own}: neither could ever start",
                    dependency.job
                ))
                .word("circular"));
            }
        }
        Ok(())
    }

    fn waits_for_transitively(&self, from: JobId, to: JobId) -> bool {
        let mut seen = alloc::collections::BTreeSet::new();
        let mut open = vec![from];
        while let Some(id) = open.pop() {
            if id == to {
                return true;
            }
            let Some(job) = self.jobs.get(&id) else { continue };
            if seen.insert(id) && !job.pending.is_empty() {
                open.extend(job.waits_for());
            }
        }
        false
    }
}

/// An allocation has no script: nothing of it could run again, and it is one job.
fn check_allocation(spec: &mut JobSpec) -> Result<(), Rejection> {
    if spec.array.is_some() {
        return Err(refuse("an allocation is no array"));
    }
    spec.requeue = false;
    Ok(())
}

/// What a shape that is nearest to the job lacks.
fn too_large_word(asked: &Resources, nearest: Option<&Shape>) -> &'static str {
    let usable = nearest.map(Shape::usable).unwrap_or_default();
    if asked.memory_bytes > usable.memory_bytes {
        "too_large_memory"
    } else if asked.gpus > usable.gpus {
        "too_large_gpus"
    } else {
        "too_large"
    }
}

/// A job that could cost more than it may, wherever it runs, is not taken.
fn check_cost(pool: &Pool, spec: &JobSpec) -> Result<(), Rejection> {
    let Some(most) = spec.max_cost else { return Ok(()) };
    if spec.time_limit_ms.is_none() && pool.shapes.iter().any(|shape| shape.price.is_some()) {
        return Err(refuse("a job with a largest cost needs a time limit")
            .word("no_limit")
            .hint("--time 1h   says how long it may run at most"));
    }
    let anything = JobSpec { max_cost: None, ..spec.clone() };
    let Some(cheapest) = cheapest_shape(pool, &anything) else { return Ok(()) };
    match most_cost(pool, spec, cheapest) {
        Some(cost) if cost > most => Err(refuse("the job could cost more than it may")
            .word("max_cost")
            .fact("could", format!("{cost} on {} until its time limit", cheapest.name))
            .fact("may", format!("{most}"))
            .hint("a shorter --time, fewer CPUs, or a larger --max-cost")),
        _ => Ok(()),
    }
}

fn check_array(array: &ArraySpec) -> Result<(), Rejection> {
    let indices: &IndexRanges = &array.indices;
    if indices.is_empty() {
        return Err(refuse("the array has no tasks").word("array").hint("--array 1-10   has ten"));
    }
    if indices.len() > ARRAY_MOST {
        return Err(refuse(format!("an array has at most {ARRAY_MOST} tasks"))
            .word("array")
            .fact("asked", format!("{}", indices.len())));
    }
    if indices.ranges().last().is_some_and(|(_, last)| *last > INDEX_MOST) {
        return Err(refuse(format!("an array index is at most {INDEX_MOST}")).word("array"));
    }
    if array.throttle == Some(0) {
        return Err(refuse("an array with %0 would never start")
            .word("array")
            .hint("--array 1-10%2"));
    }
    Ok(())
}

fn check_time(spec: &JobSpec, pool: &Pool) -> Result<(), Rejection> {
    let Some(most) = pool.max_time_ms else { return Ok(()) };
    let words = format_duration(most);
    let hint = format!("--time {}", words.replace(' ', ""));
    match spec.time_limit_ms {
        Some(asked) if asked <= most => Ok(()),
        Some(asked) => Err(refuse(format!("jobs of pool {} run at most {words}", pool.name))
            .word("time_limit")
            .fact("asked", format_duration(asked))
            .hint(hint)),
        None => Err(refuse(format!(
            "jobs of pool {} run at most {words}, and this one has no limit",
            pool.name
        ))
        .word("time_limit")
        .hint(hint)),
    }
}

/// A gang's machines together must stay below what the pool may have.
fn check_pool_cpus(spec: &JobSpec, pool: &Pool) -> Result<(), Rejection> {
    let Some(most) = pool.max_cpus else { return Ok(()) };
    let one = smallest_cpus(pool, spec).unwrap_or(0);
    let needs = one.saturating_mul(spec.nodes);
    if needs <= most {
        return Ok(());
    }
    Err(refuse(format!("the nodes of pool {} have at most {most} CPUs together", pool.name))
        .word("too_large")
        .fact("asked", format!("{} nodes of at least {one} CPUs: {needs}", spec.nodes))
        .hint(format!("--nodes {} fits", most / one.max(1))))
}

fn nearness(asked: &Resources, usable: &Resources) -> (u32, u32, u64) {
    let kinds = u32::from(usable.cpus >= asked.cpus)
        + u32::from(usable.memory_bytes >= asked.memory_bytes)
        + u32::from(usable.gpus >= asked.gpus);
    (kinds, usable.cpus, usable.memory_bytes)
}

fn words(resources: &Resources) -> String {
    let cpus = if resources.cpus == 1 { "CPU" } else { "CPUs" };
    let mut text = format!("{} {cpus}", resources.cpus);
    if resources.memory_bytes > 0 {
        text += &format!(", {}", size_words(resources.memory_bytes));
    }
    if resources.gpus > 0 {
        text += &format!(", {} GPUs", resources.gpus);
    }
    // Nobody knows the size of a disk that no file names.
    if resources.tmp_bytes > 0 && resources.tmp_bytes < u64::MAX {
        text += &format!(", {} of scratch", size_words(resources.tmp_bytes));
    }
    text
}

/// Bytes as people write them, rounded down so that what is named fits.
pub(crate) fn size_words(bytes: u64) -> String {
    let (mib, gib) = (bytes >> 20, bytes >> 30);
    if bytes >= 10 << 30 || (gib > 0 && bytes.is_multiple_of(1 << 30)) {
        format!("{gib} GB")
    } else if gib > 0 {
        let tenths = (bytes * 10) >> 30;
        format!("{}.{} GB", tenths / 10, tenths % 10)
    } else {
        format!("{mib} MB")
    }
}

fn fitting_options(asked: &Resources, usable: &Resources) -> String {
    let mut options = Vec::new();
    if asked.cpus > usable.cpus {
        options.push(format!("--cpus-per-task {}", usable.cpus));
    }
    if asked.memory_bytes > usable.memory_bytes {
        let mib = usable.memory_bytes >> 20;
        let fits = if mib >= 1024 { format!("{}G", mib >> 10) } else { format!("{mib}M") };
        options.push(format!("--mem {fits}"));
    }
    if asked.gpus > usable.gpus {
        options.push(format!("--gpus {}", usable.gpus));
    }
    if asked.tmp_bytes > usable.tmp_bytes {
        options.push(format!("--tmp {}M", usable.tmp_bytes >> 20));
    }
    options.join(" ")
}
