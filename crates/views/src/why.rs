//! `why JOB`: one frame for every cause. First line: cause and time; then facts; then the smallest
//! change that helps.
use super::start::{self, expected_for};
use super::{Cx, detail, outcome, reason, schema, why_launch, why_room as room, why_spot, words};
use pcluster_api::WhyView;
use pcluster_core::event::Then;
use pcluster_core::job::{Outcome, TaskEnd};
use pcluster_core::plan::Wait;
use pcluster_core::reason::{DependencyState, Reason};
use pcluster_core::{Job, Run};
use pcluster_model::{DurationMs, IndexRanges, MicroUsd, Resources};

/// A frame that is being filled.
pub(super) struct Frame(WhyView);

impl Frame {
    pub(super) fn new(word: &str, headline: String) -> Self {
        Self(WhyView {
            schema: schema("why"),
            headline,
            word: word.into(),
            facts: Vec::new(),
            change: Vec::new(),
            hints: Vec::new(),
        })
    }

    pub(super) fn fact(mut self, label: &str, text: impl Into<String>) -> Self {
        self.0.facts.push((label.into(), text.into()));
        self
    }

    pub(super) fn facts(mut self, facts: Vec<(String, String)>) -> Self {
        self.0.facts.extend(facts);
        self
    }

    pub(super) fn change(mut self, text: impl Into<String>) -> Self {
        self.0.change.push(text.into());
        self
    }

    pub(super) fn changes(mut self, changes: impl IntoIterator<Item = String>) -> Self {
        self.0.change.extend(changes);
        self
    }

    pub(super) fn hint(mut self, text: impl Into<String>) -> Self {
        self.0.hints.push(text.into());
        self
    }

    /// Gives it its first line.
    pub(super) fn saying(mut self, headline: String) -> Self {
        self.0.headline = headline;
        self
    }

    pub(super) fn headline(&self) -> &str {
        &self.0.headline
    }

    pub(super) fn done(self) -> WhyView {
        self.0
    }
}

/// `job 42 (align)`.
pub(super) fn title(job: &Job) -> String {
    format!("job {} ({})", job.id, job.spec.name)
}

/// `GET /v1/jobs/{id}/why`: of what waits, else of what runs, else of how it ended.
#[must_use]
pub fn job(cx: &Cx<'_>, job: &Job, tasks: Option<&IndexRanges>) -> WhyView {
    let waiting = job.waiting_alike(tasks);
    // What is held of it is not what the job waits for.
    let free = |set: &&IndexRanges| set.first().is_some_and(|task| job.holder_of(task).is_none());
    if let Some(set) = waiting.iter().find(free).or(waiting.first()) {
        let frame = waits(cx, job, set, &cx.cluster.reason_of(job, set, cx.now));
        return held_beside(job, set, &waiting, frame).done();
    }
    let live = job.live_among(tasks);
    if let Some(run) = live.first().and_then(|(_, run)| cx.cluster.runs.get(run)) {
        return runs(cx, job, run, live.len()).done();
    }
    let ended =
        job.finished.iter().filter(|(task, _)| tasks.is_none_or(|set| set.contains(**task)));
    let mut ended: Vec<(&u32, &TaskEnd)> = ended.collect();
    ended.sort_by_key(|(_, end)| (end.outcome.is_success(), end.at));
    match ended.first() {
        Some((task, end)) => over(cx, job, **task, end, &ended).done(),
        None => Frame::new("none", format!("{} has no such task", title(job))).done(),
    }
}

/// Tells of tasks that are held while others of the job wait for something else.
fn held_beside(job: &Job, told: &IndexRanges, waiting: &[IndexRanges], frame: Frame) -> Frame {
    let others = waiting.iter().filter(|set| *set != told);
    let held = others.filter_map(|set| Some((set, job.holder_of(set.first()?)?)));
    held.fold(frame, |frame, (set, by)| {
        frame.fact("held", format!("{}_[{set}] by {by}: pcluster release {0}_[{set}]", job.id))
    })
}

fn waits(cx: &Cx<'_>, job: &Job, set: &IndexRanges, reason: &Reason) -> Frame {
    let frame = waits_now(cx, job, set, reason);
    let of_set = job.past.iter().filter(|past| set.contains(past.task));
    match of_set.filter_map(|past| Some((past, past.requeued.as_ref()?))).next_back() {
        Some((past, why)) => {
            let at = cx.clock_seconds(cx.wall(past.ended_at));
            frame.fact("before", format!("attempt {} was put back at {at}: {why}", past.attempt))
        }
        None => frame,
    }
}

fn waits_now(cx: &Cx<'_>, job: &Job, set: &IndexRanges, reason: &Reason) -> Frame {
    let (who, id) = match job.apart(set) {
        Some(task) => {
            (format!("task {} ({})", job.task_label(task), job.spec.name), job.task_label(task))
        }
        None => (title(job), job.id.to_string()),
    };
    let word = reason::view(cx, reason).word;
    let frame = |headline: String| Frame::new(&word, headline);
    match reason {
        Reason::Held { by } => {
            let mine = *by == cx.reader.user || cx.reader.admin;
            let frame = frame(format!("{who} is held by {}", cx.name_of(by)));
            if mine {
                frame.change(format!("pcluster release {id}"))
            } else {
                frame.change(format!("{by} or an admin can release it"))
            }
        }
        Reason::Begin { at } => {
            frame(format!("{who} starts at {}: it asked not to start before", cx.clock(at.0)))
        }
        Reason::Dependency(state) => dependency(cx, job, state, frame(String::new())),
        Reason::DependencyNever(state) => never(cx, job, state, frame(String::new())),
        Reason::Throttle { limit } => {
            let next = expected_for(cx, job, reason);
            let headline =
                format!("tasks {} of {who} wait: {limit} at once, as it asked", job.pending);
            let frame =
                frame(headline).fact("running", words::counted(job.live.len() as u64, "task"));
            with_time(cx, frame, "next", next, "by then at the latest one of them ends")
                .change(format!("pcluster update {id} --throttle {}", limit.saturating_mul(2)))
        }
        Reason::Waits(None) => frame(format!("{who} has just come in: the next pass looks at it")),
        Reason::Waits(Some(wait)) => waits_for(cx, job, reason, wait),
    }
}

pub(super) fn with_time(
    cx: &Cx<'_>,
    frame: Frame,
    label: &str,
    at: Option<i64>,
    what: &str,
) -> Frame {
    match at {
        Some(at) => frame.fact(label, format!("{}, {what}", cx.clock(at))),
        None => frame,
    }
}

fn waits_for(cx: &Cx<'_>, job: &Job, reason: &Reason, wait: &Wait) -> Frame {
    let who = title(job);
    let word = reason::view(cx, reason).word;
    let frame = |headline: String| Frame::new(&word, headline);
    let at = expected_for(cx, job, reason);
    match wait {
        Wait::NodeBoots { .. } | Wait::NodeWanted { .. } => {
            room::coming(cx, job, wait, at, frame(String::new()))
        }
        Wait::PoolMax { .. } | Wait::Turn { .. } | Wait::NotReached => {
            room::crowded(cx, job, wait, at, frame(String::new()))
        }
        Wait::Budget { cap, spent, reserved, needs } => {
            budget(cx, job, (*cap, *spent, *reserved, *needs), frame(String::new()))
        }
        Wait::Rested { offering, class, message, next_try } => {
            let at = cx.wall(*next_try);
            why_launch::rested(cx, job, (offering, class, message), at, frame(String::new()))
        }
        Wait::Spot { .. } | Wait::Dear { .. } => why_spot::of(cx, job, wait, frame(String::new())),
        Wait::BootsFail { offering, image, next_try } => {
            let at = cx.wall(*next_try);
            why_launch::boots_fail(cx, (offering, image), at, frame(format!("{who} waits")))
        }
        Wait::Canary { offering, image, canary } => {
            let headline = format!("{who} waits for {canary}, a trial of one node");
            why_launch::canary(cx, (offering, image), canary, frame(headline))
        }
        Wait::NoShape => {
            frame(format!("{who} can never start: no node of pool {} holds it", job.pool))
                .fact(
                    "asked",
                    format!("{} on one node", words::resources(&job.spec.least_per_node())),
                )
                .facts(room::largest(cx, job))
                .change(format!("pcluster update {} --mem SIZE, or cancel it", job.id))
        }
        Wait::UserRefused { node, why } => {
            let name =
                cx.cluster.nodes.get(node).map_or_else(String::new, |node| node.name.clone());
            let owner = cx.name_of(&job.owner.user);
            frame(format!("{who} waits: the nodes of pool {} refuse jobs of {owner}", job.pool))
                .fact(&name, why.clone())
                .change("an admin mends the account there, or takes another image for the pool")
                .hint(format!("pcluster node show {name}"))
        }
        Wait::UnloggedMachines { machines } => {
            let machines = words::counted((*machines).into(), "machine");
            frame(format!("{who} waits: nothing is launched until an admin says what becomes of {machines} that this log does not know"))
                .change("pcluster admin terminate, or adopt (admin)")
                .hint("pcluster status")
        }
        Wait::Closing => {
            let by = cx.cluster.meta.closing.as_ref().map(|closing| cx.name_of(&closing.by));
            let by = by.map_or_else(String::new, |by| format!(", as {by} asked"));
            frame(format!("{who} waits: the cluster is going down{by}"))
                .change("pcluster up   starts it again; the job stays in the queue")
        }
    }
}

fn dependency(cx: &Cx<'_>, job: &Job, state: &DependencyState, mut frame: Frame) -> Frame {
    let other = state.dependency.job;
    let kind = detail::kind_word(state.dependency.kind);
    let progress = if state.total > 1 {
        format!("{} of {} tasks done, {} failed", state.done, state.total, state.failed)
    } else {
        let running = cx.cluster.jobs.get(&other).is_some_and(|job| !job.live.is_empty());
        if running { "it runs".into() } else { "it waits itself".into() }
    };
    frame.0.headline =
        format!("{} waits for job {other} ({}, {kind}): {progress}", title(job), state.name);
    let at = expected_for(cx, job, &Reason::Dependency(state.clone()));
    let last = if state.total > 1 {
        "when the last task of it ends at the latest"
    } else {
        "when it ends at the latest"
    };
    with_time(cx, frame, "start", at, last).hint(format!("pcluster why {other}"))
}

fn never(cx: &Cx<'_>, job: &Job, state: &DependencyState, mut frame: Frame) -> Frame {
    let other = state.dependency.job;
    let ended = cx.cluster.jobs.get(&other).map(|job| {
        let failed = job.finished.values().find(|end| !end.outcome.is_success());
        match failed {
            Some(end) if state.total > 1 => {
                format!(
                    "{} of its {} tasks failed ({})",
                    state.failed,
                    state.total,
                    outcome::detail(&end.outcome)
                )
            }
            Some(end) => format!("{other} {}", outcome::sentence(&end.outcome)),
            None => format!("{other} completed, so it cannot fail any more"),
        }
    });
    let ended = ended.unwrap_or_else(|| format!("{other} is no longer known"));
    frame.0.headline = format!("{} can never start: it needs job {other}, and {ended}", title(job));
    if state.failed > 0 {
        frame = frame.change(format!(
            "pcluster rerun --failed {other}   then   pcluster update {} --after-ok ID",
            job.id
        ));
    }
    frame.hint(format!("pcluster show {other}   pcluster cancel {}", job.id))
}

fn budget(
    cx: &Cx<'_>,
    job: &Job,
    (cap, spent, reserved, needs): (MicroUsd, MicroUsd, MicroUsd, MicroUsd),
    mut frame: Frame,
) -> Frame {
    frame.0.headline =
        format!("{} waits for money: the month's budget of this cluster", title(job));
    let zone = cx.cluster.config().map_or(0, |config| config.zone_offset_ms);
    let (_, next) = pcluster_core::ledger::month_span(cx.cluster.wall(cx.now), zone);
    let resets = next.0;
    let left = cap.saturating_sub(spent + reserved);
    let frame = frame
        .fact("spent", format!("{spent} of {cap}; living nodes may take {reserved} in all"))
        .fact("needs", format!("up to {needs}, {left} is left; resets {}", cx.clock(resets)));
    let shorter =
        job.spec.time_limit_ms.filter(|_| left.0 > 0 && needs.0 > left.0).and_then(|limit| {
            let ms = u128::from(limit.0) * u128::from(left.0.unsigned_abs())
                / u128::from(needs.0.unsigned_abs());
            // Below the time a boot takes, a shorter limit is no help.
            let minutes = u64::try_from(ms / 60_000).ok().filter(|minutes| *minutes >= 1)?;
            Some(format!("--time {minutes}m may fit"))
        });
    frame.changes(shorter).change("month in [budget] (admin)")
}

fn runs(cx: &Cx<'_>, job: &Job, run: &Run, count: usize) -> Frame {
    let label = if job.is_array() && count > 1 {
        format!("{}: {count} tasks run", title(job))
    } else {
        format!("job {} ({}) runs", job.task_label(run.task), job.spec.name)
    };
    let nodes = run.parts.iter().filter_map(|part| cx.cluster.nodes.get(&part.part.node));
    let names: Vec<String> = nodes.map(|node| node.name.clone()).collect();
    let held = run.parts.iter().fold(Resources::default(), |sum, p| sum.plus(&p.part.resources));
    let started = cx.cluster.started_at(run.id).map(|at| at.0);
    let frame = match started {
        Some(at) => Frame::new("running", format!("{label} since {}", cx.clock(at))),
        None => Frame::new(
            "starting",
            format!("job {} ({}) is being started", job.task_label(run.task), job.spec.name),
        ),
    };
    let frame = frame.fact("where", names.join(", ")).fact("holds", words::resources(&held));
    let nodes = run.parts.iter().filter_map(|part| cx.cluster.nodes.get(&part.part.node));
    let goes = nodes.filter_map(|node| Some((node, node.reclaimed_at()?))).min_by_key(|g| g.1);
    let frame = match goes {
        Some((node, at)) => {
            let (name, at) = (&node.name, cx.clock_seconds(cx.wall(at)));
            frame.fact("reclaimed", format!("{name} is taken back by its provider at {at}"))
        }
        None => frame,
    };
    let frame = match (&run.then, start::run_end(cx, run)) {
        (Some(Then::Preempt { .. }), _) => {
            frame.fact("ends", "it is being ended, to run again on another node")
        }
        (Some(_), _) => frame.fact("ends", "it is being ended"),
        (None, Some(end)) => frame.fact("ends", format!("by {} at the latest", cx.clock(end))),
        (None, None) => frame.fact("ends", "it has no time limit"),
    };
    frame.hint(format!("pcluster logs -f {}", job.task_label(run.task)))
}

fn over(cx: &Cx<'_>, job: &Job, task: u32, end: &TaskEnd, ended: &[(&u32, &TaskEnd)]) -> Frame {
    let cancelled =
        ended.iter().filter(|(_, end)| matches!(end.outcome, Outcome::Cancelled { .. })).count();
    let completed = ended.iter().filter(|(_, end)| end.outcome.is_success()).count();
    let failed = ended.len() - completed;
    // A whole array that did well is spoken of as one; else the first task that did not.
    let label =
        if failed == 0 && ended.len() > 1 { job.id.to_string() } else { job.task_label(task) };
    let who = format!("job {label} ({})", job.spec.name);
    let headline =
        format!("{who} {} at {}", outcome::sentence(&end.outcome), cx.clock(cx.wall(end.at)));
    let mut frame = Frame::new(end.outcome.word(), headline);
    if ended.len() > 1 {
        let of = ended.len();
        let failed = failed - cancelled;
        let words =
            format!("{completed} of {of} completed, {failed} failed, {cancelled} cancelled");
        frame = frame.fact("tasks", words);
    }
    if let Some(last) = end.last.as_ref().filter(|_| failed > 0 || ended.len() == 1) {
        frame = frame.fact("where", last.nodes.join(", "));
        let asked = last.memory_bytes;
        if cx.sees_all_of(job) && last.usage.max_rss_bytes > 0 {
            let used = words::size(last.usage.max_rss_bytes);
            frame = frame.fact("memory", format!("{used} used of {}", words::size(asked)));
        }
        frame = frame.changes(mend(job, &end.outcome, asked));
    }
    if failed > cancelled {
        frame = frame.hint(format!("pcluster logs {label}   pcluster rerun --failed {}", job.id));
    }
    frame
}

/// What the next try should ask for.
fn mend(job: &Job, outcome: &Outcome, memory: u64) -> Option<String> {
    match outcome {
        Outcome::OutOfMemory => {
            let more = words::mem_option_above(memory.saturating_mul(2));
            Some(format!("submit it again with more:  --mem {more}"))
        }
        Outcome::TimedOut => {
            let limit = job.spec.time_limit_ms?;
            let twice = DurationMs(limit.0.saturating_mul(2));
            Some(format!("submit it again with more:  --time {}", words::time_option(twice)))
        }
        _ => None,
    }
}
