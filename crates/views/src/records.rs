//! Jobs as records: everything that a translation into another scheduler's words needs.
//!
//! Invariant: directory, files, arguments, comment and cost leave only for the owner and admins.
//! Deliberately absent: the words of any other scheduler, and the names of groups (the handler asks
//! the machine for them).
use super::money::{JobCosts, TaskShares};
use super::{Cx, detail, merged, outcome, reason, rows, start, step_record};
use pcluster_api::{DependencyRecord, JobRecord, JobState};
use pcluster_core::job::{Outcome, PastRun, TaskEnd};
use pcluster_core::reason::{Met, Reason};
use pcluster_core::{Job, Run};
use pcluster_model::pattern::{NO_INDEX, PatternNames};
use pcluster_model::{
    ArraySpec, IndexRanges, JobId, JobSpec, Resources, RunId, Timestamp, UserName,
};
use std::collections::BTreeSet;

/// Which records are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only these, with the tasks that are meant.
    pub ids: Option<Vec<(JobId, Option<IndexRanges>)>>,
    pub users: Option<BTreeSet<UserName>>,
    pub names: Option<BTreeSet<String>>,
    /// Ended ones too, from this end on (wall clock).
    pub ended_since_ms: Option<i64>,
    /// Ended ones of `ids`, whenever that was.
    pub ended: bool,
    /// Earlier attempts too.
    pub attempts: bool,
    pub steps: bool,
}

impl Filter {
    fn takes(&self, job: &Job) -> bool {
        self.users.as_ref().is_none_or(|users| users.contains(&job.owner.user))
            && self.names.as_ref().is_none_or(|names| names.contains(&job.spec.name))
    }

    fn takes_end(&self, ended_at_ms: i64) -> bool {
        self.ended_since_ms.is_some_and(|since| ended_at_ms >= since)
            || (self.ended && self.ids.is_some())
    }

    fn wants_ends(&self) -> bool {
        self.ended_since_ms.is_some() || (self.ended && self.ids.is_some())
    }
}

/// The records of a filter, by job, then task; what waits before what ran. They are made some at a
/// time: whoever makes them looks at the cluster anew for each lot, and nobody waits for all.
pub struct Pages {
    filter: Filter,
    costs: JobCosts,
    jobs: std::collections::btree_map::IntoIter<JobId, Option<IndexRanges>>,
    current: Option<Current>,
}

/// The job that is being told.
struct Current {
    job: JobId,
    tasks: Option<IndexRanges>,
    shares: TaskShares,
    /// Tasks before this one were told.
    from: u32,
}

impl Pages {
    #[must_use]
    pub fn new(cx: &Cx<'_>, filter: Filter) -> Self {
        let chosen = match &filter.ids {
            Some(ids) => {
                let mut chosen = merged(ids);
                let takes =
                    |id: &JobId| cx.cluster.jobs.get(id).is_some_and(|job| filter.takes(job));
                chosen.retain(|id, _| takes(id));
                chosen
            }
            None => {
                // Most jobs ended long ago: they are passed over before anything is made of them.
                let lately = |job: &Job| {
                    let mut ends = job.finished.values();
                    filter.wants_ends() && ends.any(|end| filter.takes_end(cx.wall(end.at)))
                };
                let wanted = |job: &&Job| filter.takes(job) && (!job.is_finished() || lately(job));
                cx.cluster.jobs.values().filter(wanted).map(|job| (job.id, None)).collect()
            }
        };
        let jobs = chosen.keys().filter_map(|id| cx.cluster.jobs.get(id));
        let first = jobs.map(|job| job.submitted_at).min().unwrap_or(cx.now);
        let costs = JobCosts::since(cx, first);
        Self { filter, costs, jobs: chosen.into_iter(), current: None }
    }

    /// The next ones, about `most`; none when that was all.
    pub fn next(&mut self, cx: &Cx<'_>, most: usize) -> Vec<JobRecord> {
        let mut records = Vec::new();
        while records.len() < most {
            let Some(current) = self.current.take().or_else(|| self.begin(cx)) else { break };
            let Some(job) = cx.cluster.jobs.get(&current.job) else { continue };
            let room = most - records.len();
            let after = job.finished.range(current.from..).nth(room).map(|(task, _)| *task);
            let slice = (current.from, after.map_or(u32::MAX, |after| after - 1));
            let Current { tasks, shares, .. } = current;
            let maker = Maker { cx, job, tasks, slice, filter: &self.filter, shares };
            maker.all(&mut records);
            let Maker { tasks, shares, .. } = maker;
            self.current = after.map(|from| Current { job: job.id, tasks, shares, from });
        }
        records
    }

    fn begin(&mut self, cx: &Cx<'_>) -> Option<Current> {
        let (id, tasks) = self.jobs.find(|(id, _)| cx.cluster.jobs.contains_key(id))?;
        let job = &cx.cluster.jobs[&id];
        let shares = TaskShares::of(cx, job, self.costs.get(id), tasks.as_ref());
        Some(Current { job: id, tasks, shares, from: 0 })
    }
}

/// Makes the records of one job.
struct Maker<'a> {
    cx: &'a Cx<'a>,
    job: &'a Job,
    /// Only these tasks.
    tasks: Option<IndexRanges>,
    /// And of those the ones from here to there.
    slice: (u32, u32),
    filter: &'a Filter,
    shares: TaskShares,
}

impl Maker<'_> {
    fn wants(&self, task: u32) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.contains(task))
    }

    fn wants_now(&self, task: u32) -> bool {
        (self.slice.0..=self.slice.1).contains(&task) && self.wants(task)
    }

    fn all(&self, records: &mut Vec<JobRecord>) {
        if self.slice.0 == 0 {
            self.never_ran(records);
        }
        let mut ran: Vec<JobRecord> = Vec::new();
        let again = self.job.pending.iter().filter(|task| self.job.numbers.contains_key(task));
        ran.extend(again.filter(|task| self.wants_now(*task)).map(|task| self.waiting_again(task)));
        let live = self.job.live.iter().filter(|(task, _)| self.wants_now(**task));
        for (task, run) in live {
            ran.extend(self.cx.cluster.runs.get(run).map(|run| self.live(*task, run)));
        }
        if self.filter.wants_ends() {
            let ends = self.job.finished.range(self.slice.0..=self.slice.1);
            let ends = ends.filter(|(task, _)| self.wants(**task));
            ran.extend(ends.filter_map(|(task, end)| {
                let last = end.last.as_ref()?;
                let ended = self.cx.wall(end.at);
                self.filter.takes_end(ended).then(|| self.finished(*task, end, last))
            }));
        }
        if self.filter.attempts {
            let past = self.job.past.iter().filter(|past| self.wants_now(past.task));
            ran.extend(past.map(|past| self.past(past)));
        }
        ran.sort_by_key(|record| (record.task, record.attempt, record.requeued.is_none()));
        records.append(&mut ran);
    }

    /// Tasks without a run of their own: those that wait, and those that ended like that.
    fn never_ran(&self, records: &mut Vec<JobRecord>) {
        let fresh = |task: &u32| !self.job.numbers.contains_key(task) && self.wants(*task);
        let waiting: IndexRanges = self.job.pending.iter().filter(fresh).collect();
        for alike in self.job.waiting_alike(Some(&waiting)) {
            let mut record = self.rest(&alike);
            if let Some(task) = self.job.apart(&alike) {
                (record.task, record.tasks) = (Some(task), None);
            }
            self.put_waiting(&mut record, &alike);
            record.cost_micro_usd = self.cost(0);
            records.push(record);
        }
        if !self.filter.wants_ends() {
            return;
        }
        let mut ends: Vec<(&TaskEnd, IndexRanges)> = Vec::new();
        for (task, end) in self.job.finished.iter().filter(|(task, _)| self.wants(**task)) {
            if end.last.is_some() || !self.filter.takes_end(self.cx.wall(end.at)) {
                continue;
            }
            match ends.iter_mut().find(|(one, _)| one.outcome == end.outcome && one.at == end.at) {
                Some((_, tasks)) => {
                    tasks.insert(*task);
                }
                None => ends.push((end, IndexRanges::single(*task))),
            }
        }
        for (end, tasks) in ends {
            let mut record = self.rest(&tasks);
            record.state = JobState::Finished;
            record.outcome = Some(outcome::view(end, self.cx.sees_all_of(self.job)));
            // Nobody cancelled it: it was given up by its own wish.
            let given_up = matches!(end.outcome, Outcome::Cancelled { uid: None, .. });
            if given_up && self.job.spec.end_when_never {
                record.reason = Some(reason::given_up());
            }
            record.ended_at_ms = Some(self.cx.wall(end.at));
            record.cost_micro_usd = self.cost(0);
            records.push(record);
        }
    }

    fn rest(&self, tasks: &IndexRanges) -> JobRecord {
        let spec = tasks.first().map_or(&self.job.spec, |task| self.job.spec_of(task));
        let mut record = self.base(spec, None, self.job.id);
        record.tasks = self.job.is_array().then(|| tasks.to_string());
        record
    }

    fn cost(&self, micro: i64) -> Option<i64> {
        self.cx.sees_all_of(self.job).then_some(micro)
    }

    fn task_of(&self, task: u32) -> Option<u32> {
        self.job.is_array().then_some(task)
    }

    fn waiting_again(&self, task: u32) -> JobRecord {
        let numbers = self.job.numbers_of(task);
        let raw_job = numbers.map_or(self.job.id, |numbers| numbers.raw_job);
        let mut record = self.base(self.job.spec_of(task), self.task_of(task), raw_job);
        record.attempt = numbers.map_or(0, |numbers| numbers.attempts);
        record.cost_micro_usd = self.cost(self.shares.of_task(task));
        self.put_waiting(&mut record, &IndexRanges::single(task));
        record
    }

    /// Of tasks that are alike.
    fn put_waiting(&self, record: &mut JobRecord, tasks: &IndexRanges) {
        let why = self.cx.cluster.reason_of(self.job, tasks, self.cx.now);
        let holder = tasks.first().and_then(|task| self.job.holder_of(task));
        record.held_by = holder.map(ToString::to_string);
        record.state = rows::waiting_state(&why);
        record.expected_start_ms = start::expected_for(self.cx, self.job, &why);
        let blocked =
            matches!(why, Reason::Held { .. } | Reason::Dependency(_) | Reason::DependencyNever(_));
        if blocked {
            record.eligible_at_ms = None;
        }
        record.reason = Some(reason::view(self.cx, &why));
    }

    fn live(&self, task: u32, run: &Run) -> JobRecord {
        let spec = self.job.spec_of(task);
        let mut record = self.base(spec, self.task_of(task), run.raw_job);
        let held: Vec<Resources> = run.parts.iter().map(|part| part.part.resources).collect();
        put_allocation(&mut record, &held);
        record.node_names = self.names(run);
        record.state = rows::live_state(self.cx, run);
        let placed = self.cx.wall(run.placed_at);
        record.placed_at_ms = Some(placed);
        let started = self.cx.cluster.started_at(run.id).map(|at| at.0);
        // A head that has just started has not heard yet when.
        let unheard = (record.state == JobState::Running).then_some(placed);
        record.started_at_ms = started.or(unheard);
        record.time_limit_ms = run.time_limit_ms.map(|limit| limit.0);
        record.attempt = run.attempt;
        record.run = Some(run.id.0);
        record.suspended = run.suspended_since.is_some();
        let still = run.suspended_since.map_or(0, |since| self.cx.now.since(since).0);
        record.suspended_ms = run.suspended_ms.0 + still;
        self.put_steps(&mut record, run.id);
        record.cost_micro_usd = self.cost(self.shares.of_task(task));
        self.put_files(&mut record, spec);
        record
    }

    fn names(&self, run: &Run) -> Vec<String> {
        let nodes = run.parts.iter().filter_map(|p| self.cx.cluster.nodes.get(&p.part.node));
        nodes.map(|node| node.name.clone()).collect()
    }

    fn finished(&self, task: u32, end: &TaskEnd, last: &PastRun) -> JobRecord {
        let mut record = self.over(last, end.at);
        record.outcome = Some(outcome::view(end, self.cx.sees_all_of(self.job)));
        record.cost_micro_usd = self.cost(self.shares.of_task(task));
        record
    }

    fn past(&self, past: &PastRun) -> JobRecord {
        let mut record = self.over(past, past.ended_at);
        record.requeued = Some(past.requeued.clone().unwrap_or_default());
        record.cost_micro_usd = self.cost(0);
        record
    }

    fn over(&self, past: &PastRun, at: Timestamp) -> JobRecord {
        let raw_job =
            self.job.numbers_of(past.task).map_or(past.raw_job, |numbers| numbers.raw_job);
        let spec = self.job.spec_of(past.task);
        let mut record = self.base(spec, self.task_of(past.task), raw_job);
        record.state = JobState::Finished;
        put_allocation(&mut record, &per_node(past));
        record.node_names.clone_from(&past.nodes);
        record.placed_at_ms = Some(self.cx.wall(past.placed_at));
        record.started_at_ms = past.started_at.map(|at| at.0);
        record.ended_at_ms = Some(self.cx.wall(at));
        record.attempt = past.attempt;
        record.user_cpu_ms = past.usage.user_cpu_ms;
        record.system_cpu_ms = past.usage.system_cpu_ms;
        record.max_rss_bytes = past.usage.max_rss_bytes;
        record.run = Some(past.run.0);
        record.suspended_ms = past.suspended_ms.0;
        self.put_batch_usage(&mut record, past);
        self.put_steps(&mut record, past.run);
        self.put_files(&mut record, spec);
        record
    }

    /// What the script used: as its keeper counted it, and where one of an older version did not,
    /// what the first node counted less what the steps there did.
    fn put_batch_usage(&self, record: &mut JobRecord, past: &PastRun) {
        let counted = &past.first_usage;
        if counted.batch_max_rss_bytes > 0 {
            record.batch_user_cpu_ms = counted.batch_user_cpu_ms;
            record.batch_system_cpu_ms = counted.batch_system_cpu_ms;
            record.batch_max_rss_bytes = counted.batch_max_rss_bytes;
            return;
        }
        let steps = self.cx.cluster.steps.get(&past.run).map_or(&[][..], Vec::as_slice);
        let there: Vec<_> =
            steps.iter().filter_map(|step| step.parts.first()?.end.as_ref()).collect();
        let user: u64 = there.iter().map(|end| end.user_cpu_ms).sum();
        let system: u64 = there.iter().map(|end| end.system_cpu_ms).sum();
        record.batch_user_cpu_ms = past.first_usage.user_cpu_ms.saturating_sub(user);
        record.batch_system_cpu_ms = past.first_usage.system_cpu_ms.saturating_sub(system);
        record.batch_max_rss_bytes = past.first_usage.max_rss_bytes;
    }

    fn put_steps(&self, record: &mut JobRecord, run: RunId) {
        if !self.filter.steps {
            return;
        }
        let steps = self.cx.cluster.steps.get(&run).map_or(&[][..], Vec::as_slice);
        record.steps =
            steps.iter().map(|step| step_record::of(self.cx, step, &record.node_names)).collect();
    }

    /// Output, error and input of this task, as far as its reader may see them.
    fn put_files(&self, record: &mut JobRecord, spec: &JobSpec) {
        if !self.cx.sees_all_of(self.job) {
            return;
        }
        let names = PatternNames {
            raw_job: Some(record.raw_job),
            index: Some(record.task.unwrap_or(NO_INDEX)),
            node: record.node_names.first().map(String::as_str),
            ..detail::names_of(spec, Some(self.job.id), self.job.owner.user.as_str())
        };
        let path = |pattern: &str| detail::file(spec, pattern, &names);
        record.output = path(&spec.output);
        record.error = path(spec.error.as_ref().unwrap_or(&spec.output));
        record.input = spec.input.as_deref().map_or_else(|| "/dev/null".into(), path);
    }

    /// What all records of a job have in common.
    fn base(&self, spec: &JobSpec, task: Option<u32>, raw_job: JobId) -> JobRecord {
        let (cx, job) = (self.cx, self.job);
        let sees = cx.sees_all_of(job);
        let private = |text: &str| if sees { text.to_owned() } else { String::new() };
        let each = rows::size_of(cx, job, spec);
        let array = spec.array.as_ref();
        let user = job.owner.user.to_string();
        let submitted = cx.wall(job.submitted_at);
        let begin_ms = spec.begin.map(|at| at.0);
        let mut record = JobRecord {
            job: job.id.0,
            raw_job: raw_job.0,
            array: job.is_array(),
            task,
            throttle: array.and_then(|array| array.throttle),
            array_bounds: array.and_then(bounds),
            name: spec.name.clone(),
            account: if spec.account.is_empty() { user.clone() } else { spec.account.clone() },
            user,
            uid: job.owner.uid,
            gid: job.owner.gid,
            group: job.owner.gid.to_string(),
            qos: spec.qos.clone(),
            comment: private(&spec.comment),
            pool: job.pool.to_string(),
            kind: spec.kind,
            held_by: job.held_by.as_ref().map(ToString::to_string),
            dependencies: self.dependencies(),
            any_dependency: spec.any_dependency,
            priority: spec.priority,
            requeue: spec.requeue,
            exclusive: spec.exclusive,
            features: spec.features.clone(),
            feature_choices: spec.feature_choices.clone(),
            same_choice: spec.same_choice,
            only_nodes: spec.only_nodes.clone(),
            not_nodes: spec.not_nodes.clone(),
            nodes: spec.nodes.max(1),
            ntasks: spec.tasks,
            ntasks_given: spec.tasks_given,
            ntasks_per_node: spec.tasks_per_node,
            cpus_per_task: spec.cpus_per_task,
            cpus_given: spec.cpus_given,
            memory_ask: spec.memory,
            gpus_per_node: spec.gpus_per_node,
            gpu_type: spec.gpu_type.clone(),
            tmp_bytes: spec.tmp_bytes,
            cpus_per_node: vec![each.cpus],
            memory_per_node_bytes: vec![each.memory_bytes],
            submitted_at_ms: submitted,
            eligible_at_ms: Some(begin_ms.map_or(submitted, |begin| begin.max(submitted))),
            begin_ms,
            deadline_ms: spec.deadline.map(|at| at.0),
            time_limit_ms: spec.time_limit_ms.map(|limit| limit.0),
            work_dir: private(&spec.work_dir),
            command: private(&spec.command),
            submit_line: private(&spec.submit_line),
            args: if sees { spec.args.clone() } else { Vec::new() },
            submit_host: spec.submit_host.clone(),
            ..JobRecord::default()
        };
        self.put_files(&mut record, spec);
        record
    }

    fn dependencies(&self) -> Vec<DependencyRecord> {
        let (cx, job) = (self.cx, self.job);
        let all = job.spec.dependencies.iter();
        all.map(|dependency| DependencyRecord {
            kind: detail::kind_word(dependency.kind).into(),
            job: match (dependency.job.0, dependency.task) {
                (0, _) => String::new(),
                (job, Some(task)) => format!("{job}_{task}"),
                (job, None) => job.to_string(),
            },
            delay_ms: dependency.delay_ms.0,
            stands: match cx.cluster.met(job, dependency, cx.now) {
                Met::Yes => "met",
                Met::NotYet => "waiting",
                Met::Never => "never",
            }
            .into(),
        })
        .collect()
    }
}

/// What a run had on each node; evenly where the log does not say.
fn per_node(past: &PastRun) -> Vec<Resources> {
    if past.per_node.len() == past.nodes.len() {
        return past.per_node.clone();
    }
    let count = u32::try_from(past.nodes.len()).unwrap_or(u32::MAX).max(1);
    let each = Resources {
        cpus: past.cpus / count,
        memory_bytes: past.memory_bytes / u64::from(count),
        ..Resources::default()
    };
    vec![each; past.nodes.len()]
}

fn put_allocation(record: &mut JobRecord, held: &[Resources]) {
    record.nodes = u32::try_from(held.len()).unwrap_or(u32::MAX);
    record.cpus_per_node = held.iter().map(|each| each.cpus).collect();
    record.memory_per_node_bytes = held.iter().map(|each| each.memory_bytes).collect();
}

/// First, last, step and number of the indices; the step of a set without one is 1.
fn bounds(array: &ArraySpec) -> Option<(u32, u32, u32, u32)> {
    let ranges = array.indices.ranges();
    let (first, last) = (ranges.first()?.0, ranges.last()?.1);
    let single = ranges.iter().all(|(from, to)| from == to);
    let mut gaps = ranges.windows(2).map(|pair| pair[1].0 - pair[0].1);
    let step = match gaps.next() {
        Some(gap) if single && gaps.all(|other| other == gap) => gap,
        _ => 1,
    };
    Some((first, last, step, u32::try_from(array.indices.len()).unwrap_or(u32::MAX)))
}
