//! `show`: everything about one job, as far as its reader may see it.
use super::money::JobCosts;
use super::{Cx, outcome, rows, schema, words};
use pcluster_api::{JobDetail, RunView, WaitResponse};
use pcluster_core::job::PastRun;
use pcluster_core::{Job, Run};
use pcluster_model::job::MemoryAsk;
use pcluster_model::pattern::{NO_INDEX, PatternNames};
use pcluster_model::units::span_words;
use pcluster_model::{DependencyKind, IndexRanges, JobId, JobSpec};

/// `GET /v1/jobs/{id}`; `script` is its text, given only for readers who may see it.
#[must_use]
pub fn of(
    cx: &Cx<'_>,
    job: &Job,
    tasks: Option<&IndexRanges>,
    script: Option<String>,
) -> JobDetail {
    let costs = JobCosts::of_job(cx, job);
    let sees = cx.sees_all_of(job);
    let private = |text: String| sees.then_some(text);
    let names = names_of(&job.spec, Some(job.id), job.owner.user.as_str());
    let file = |pattern: &String| private(file(&job.spec, pattern, &names));
    JobDetail {
        schema: schema("job"),
        now_ms: cx.wall_now(),
        rows: rows::of_job(cx, job, tasks, true, &costs),
        runs: runs(cx, job, tasks),
        asked: asked(job, tasks),
        output: file(&job.spec.output),
        error: job.spec.error.as_ref().and_then(file),
        work_dir: private(job.spec.work_dir.clone()),
        comment: private(job.spec.comment.clone()).filter(|text| !text.is_empty()),
        script: script.filter(|_| sees),
    }
}

/// `GET /v1/jobs/{id}/wait`.
#[must_use]
pub fn wait(cx: &Cx<'_>, job: &Job, tasks: Option<&IndexRanges>) -> WaitResponse {
    let ended = job.pending_among(tasks).is_empty() && job.live_among(tasks).is_empty();
    let wanted =
        job.finished.iter().filter(|(task, _)| tasks.is_none_or(|set| set.contains(**task)));
    let code = wanted.map(|(_, end)| outcome::wait_code(&end.outcome)).max().unwrap_or(0);
    let costs = if ended { JobCosts::of_job(cx, job) } else { JobCosts::default() };
    WaitResponse {
        schema: schema("wait"),
        ended,
        code: if ended { code } else { 0 },
        rows: rows::of_job(cx, job, tasks, true, &costs),
    }
}

/// Attempts in order: what is over, then what lives.
fn runs(cx: &Cx<'_>, job: &Job, tasks: Option<&IndexRanges>) -> Vec<RunView> {
    let wanted = |task: u32| tasks.is_none_or(|set| set.contains(task));
    let mut runs: Vec<RunView> = job
        .past
        .iter()
        .filter(|past| wanted(past.task))
        .map(|past| past_run(cx, past, None))
        .chain(job.finished.values().filter_map(|end| {
            let last = end.last.as_ref().filter(|last| wanted(last.task))?;
            Some(past_run(cx, last, Some(outcome::sentence(&end.outcome))))
        }))
        .chain(
            job.live_among(tasks)
                .iter()
                .filter_map(|(_, run)| Some(live_run(cx, cx.cluster.runs.get(run)?))),
        )
        .collect();
    runs.sort_by_key(|run| run.run);
    runs
}

fn past_run(cx: &Cx<'_>, past: &PastRun, end: Option<String>) -> RunView {
    let requeued = past.requeued.as_ref().map(|why| format!("back to the queue: {why}"));
    RunView {
        run: past.run.0,
        attempt: past.attempt,
        node_names: past.nodes.clone(),
        placed_at_ms: cx.wall(past.placed_at),
        started_at_ms: past.started_at.map(|at| at.0),
        ended_at_ms: Some(cx.wall(past.ended_at)),
        end: requeued.or(end),
        cpu_ms: past.usage.user_cpu_ms + past.usage.system_cpu_ms,
        max_rss_bytes: past.usage.max_rss_bytes,
    }
}

fn live_run(cx: &Cx<'_>, run: &Run) -> RunView {
    let nodes = run.parts.iter().filter_map(|part| cx.cluster.nodes.get(&part.part.node));
    RunView {
        run: run.id.0,
        attempt: run.attempt,
        node_names: nodes.map(|node| node.name.clone()).collect(),
        placed_at_ms: cx.wall(run.placed_at),
        started_at_ms: cx.cluster.started_at(run.id).map(|at| at.0),
        ended_at_ms: None,
        end: None,
        cpu_ms: 0,
        max_rss_bytes: 0,
    }
}

/// Words of the request, in order of showing.
#[must_use]
pub fn asked(job: &Job, tasks: Option<&IndexRanges>) -> Vec<(String, String)> {
    let spec = tasks.and_then(IndexRanges::first).map_or(&job.spec, |task| job.spec_of(task));
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut line = |label: &str, text: String| lines.push((label.into(), text));
    line("pool", job.pool.to_string());
    line("nodes", spec.nodes.to_string());
    let each = words::counted(u64::from(spec.cpus_per_task), "CPU");
    line("tasks", format!("{} x {each}", spec.tasks));
    line("memory", memory_words(spec.memory));
    if spec.gpus_per_node > 0 {
        let kind = if spec.gpu_type.is_empty() { "" } else { &*format!(" ({})", spec.gpu_type) };
        line("gpus", format!("{} per node{kind}", spec.gpus_per_node));
    }
    if !spec.features.is_empty() {
        line("features", spec.features.join(", "));
    }
    if !spec.feature_choices.is_empty() {
        let choices: Vec<String> =
            spec.feature_choices.iter().map(|choice| choice.join(" + ")).collect();
        let label = if spec.same_choice { "all one of" } else { "one of" };
        line(label, choices.join(", "));
    }
    if spec.tmp_bytes > 0 {
        line("scratch", words::size(spec.tmp_bytes));
    }
    line("limit", spec.time_limit_ms.map_or_else(|| "none".into(), span_words));
    if spec.exclusive {
        line("exclusive", "yes".into());
    }
    if let Some(array) = &spec.array {
        let throttle = array.throttle.map_or_else(String::new, |most| format!(", {most} at once"));
        line("array", format!("{}{throttle}", array.indices));
    }
    if !spec.dependencies.is_empty() {
        line("after", dependency_words(spec));
    }
    if spec.priority != 0 {
        line("priority", spec.priority.to_string());
    }
    if let Some(word) = spec.spot.word() {
        line("spot", word.into());
    }
    line("requeue", if spec.requeue { "yes".into() } else { "no".into() });
    if !spec.account.is_empty() {
        line("account", spec.account.clone());
    }
    lines
}

/// `16 GB per node`.
#[must_use]
pub fn memory_words(memory: MemoryAsk) -> String {
    match memory {
        MemoryAsk::Proportional => "in proportion to the CPUs".into(),
        MemoryAsk::PerNode(bytes) => format!("{} per node", words::size(bytes)),
        MemoryAsk::PerCpu(bytes) => format!("{} per CPU", words::size(bytes)),
    }
}

/// The word of a kind of dependency.
#[must_use]
pub const fn kind_word(kind: DependencyKind) -> &'static str {
    match kind {
        DependencyKind::After => "after",
        DependencyKind::AfterAny => "afterany",
        DependencyKind::AfterOk => "afterok",
        DependencyKind::AfterNotOk => "afternotok",
        DependencyKind::AfterCorr => "aftercorr",
        DependencyKind::Singleton => "singleton",
    }
}

fn dependency_words(spec: &JobSpec) -> String {
    let words = spec.dependencies.iter().map(|dependency| {
        let task = dependency.task.map_or_else(String::new, |task| format!("_{task}"));
        format!("{}:{}{task}", kind_word(dependency.kind), dependency.job)
    });
    words.collect::<Vec<_>>().join(if spec.any_dependency { " or " } else { ", " })
}

/// The letters of a job's files that are known before it runs; its node is not, nor which task of an
/// array.
#[must_use]
pub fn names_of<'a>(spec: &'a JobSpec, job: Option<JobId>, user: &'a str) -> PatternNames<'a> {
    let plain = spec.array.is_none();
    let job = job.map(|id| id.0);
    PatternNames {
        job,
        raw_job: job.filter(|_| plain),
        index: plain.then_some(NO_INDEX),
        task: Some(0),
        node_index: Some(0),
        user: Some(user),
        name: Some(&spec.name),
        ..PatternNames::default()
    }
}

/// The file of a pattern, absolute.
#[must_use]
pub fn file(spec: &JobSpec, pattern: &str, names: &PatternNames<'_>) -> String {
    let path = names.expand(pattern);
    if path.starts_with('/') {
        return path;
    }
    format!("{}/{path}", spec.work_dir.trim_end_matches('/'))
}
