//! `why JOB`: one frame for every cause. First line: cause and time; then facts; then the smallest
//! change that helps.
use super::history::{self, Earlier};
use super::start::{self, expected_for};
use super::{Cx, detail, outcome, reason, schema, words};
use pcluster_api::WhyView;
use pcluster_core::event::OfferingKey;
use pcluster_core::job::{Outcome, TaskEnd};
use pcluster_core::node::{Node, NodeState};
use pcluster_core::plan::Wait;
use pcluster_core::reason::{DependencyState, Reason};
use pcluster_core::{Job, Run};
use pcluster_model::{DurationMs, IndexRanges, MicroUsd, NodeId, Resources};

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

    fn facts(mut self, facts: Vec<(String, String)>) -> Self {
        self.0.facts.extend(facts);
        self
    }

    pub(super) fn change(mut self, text: impl Into<String>) -> Self {
        self.0.change.push(text.into());
        self
    }

    fn changes(mut self, changes: impl IntoIterator<Item = String>) -> Self {
        self.0.change.extend(changes);
        self
    }

    pub(super) fn hint(mut self, text: impl Into<String>) -> Self {
        self.0.hints.push(text.into());
        self
    }

    pub(super) fn done(self) -> WhyView {
        self.0
    }
}

/// `job 42 (align)`.
fn title(job: &Job) -> String {
    format!("job {} ({})", job.id, job.spec.name)
}

/// `GET /v1/jobs/{id}/why`: of what waits, else of what runs, else of how it ended.
#[must_use]
pub fn job(cx: &Cx<'_>, job: &Job, tasks: Option<&IndexRanges>) -> WhyView {
    if !job.pending_among(tasks).is_empty() {
        return waits(cx, job, &cx.cluster.reason(job, cx.now)).done();
    }
    let live = job.live_among(tasks);
    if let Some(run) = live.first().and_then(|(_, run)| cx.cluster.runs.get(run)) {
        return runs(cx, job, run, live.len()).done();
    }
    let ended = job.finished.iter().filter(|(task, _)| tasks.is_none_or(|set| set.contains(**task)));
    let mut ended: Vec<(&u32, &TaskEnd)> = ended.collect();
    ended.sort_by_key(|(_, end)| (end.outcome.is_success(), end.at));
    match ended.first() {
        Some((task, end)) => over(cx, job, **task, end, &ended).done(),
        None => Frame::new("none", format!("{} has no such task", title(job))).done(),
    }
}

fn waits(cx: &Cx<'_>, job: &Job, reason: &Reason) -> Frame {
    let (who, id) = (title(job), job.id);
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
            let frame = frame(headline).fact("running", words::counted(job.live.len() as u64, "task"));
            with_time(cx, frame, "next", next, "by then at the latest one of them ends")
                .change(format!("pcluster update {id} --throttle {}", limit.saturating_mul(2)))
        }
        Reason::Waits(None) => frame(format!("{who} has just come in: the next pass looks at it")),
        Reason::Waits(Some(wait)) => waits_for(cx, job, reason, wait),
    }
}

fn with_time(cx: &Cx<'_>, frame: Frame, label: &str, at: Option<i64>, what: &str) -> Frame {
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
        Wait::NodeBoots { nodes } => {
            let headline = match at {
                Some(at) => format!("{who} starts at about {}: its node is booting", cx.clock(at)),
                None => format!("{who} starts when its node has booted"),
            };
            let shown = nodes.iter().take(3).filter_map(|id| cx.cluster.nodes.get(id));
            let facts = shown.flat_map(|node| booting_facts(cx, node)).collect();
            with_room(cx, job, frame(headline).facts(facts), "why new")
        }
        Wait::NodeWanted { offering } => {
            let headline = match at {
                Some(at) => format!("{who} starts at about {}: a node is launched for it", cx.clock(at)),
                None => format!("{who} starts on a node that is launched for it now"),
            };
            with_room(cx, job, frame(headline).fact("node", offering_words(offering)), "why new")
        }
        Wait::PoolMax { max, max_cpus } => {
            let most = match max_cpus {
                Some(cpus) => format!("{max} nodes, {cpus} CPUs together"),
                None => words::counted(u64::from(*max), "node"),
            };
            let headline = format!("{who} waits for room: pool {} has all it may have ({most})", job.pool);
            let frame = ahead_facts(cx, job, frame(headline));
            let frame = with_time(cx, frame, "next", at, "when the next run there ends at the latest");
            with_room(cx, job, frame, "nodes").change(format!("max in [pools.{}] (admin)", job.pool))
        }
        Wait::Turn { after } => {
            let name = cx.cluster.jobs.get(after).map_or_else(String::new, |j| format!(" ({})", j.spec.name));
            let headline = format!("{who} waits for its turn: job {after}{name} needs the room first");
            let frame = ahead_facts(cx, job, frame(headline));
            let frame = with_time(cx, frame, "next", at, "when the next run there ends at the latest");
            let raise = format!("pcluster update {} --priority {} (admin)", job.id, job.spec.priority + 1);
            with_room(cx, job, frame, "nodes").change(raise)
        }
        Wait::NotReached => ahead_facts(
            cx,
            job,
            frame(format!("{who} waits for its turn: so many are ahead that it was not looked at yet")),
        ),
        Wait::Budget { cap, spent, reserved, needs } => {
            budget(cx, job, (*cap, *spent, *reserved, *needs), frame(String::new()))
        }
        Wait::Rested { offering, class, message, next_try } => {
            rested(cx, job, (offering, class, message), cx.wall(*next_try), frame(String::new()))
        }
        Wait::Canary { offering, message } => {
            let failures = cx.cluster.health(offering).boot_failures;
            frame(format!("{who} waits for a trial node: {failures} boots in a row have failed"))
                .fact("node", offering_words(offering))
                .fact("last", message.clone())
                .hint("pcluster nodes   pcluster node log NODE")
        }
        Wait::NoShape => frame(format!("{who} can never start: no node of pool {} holds it", job.pool))
            .fact("asked", format!("{} on one node", words::resources(&job.spec.least_per_node())))
            .facts(largest(cx, job))
            .change(format!("pcluster update {} --mem SIZE, or cancel it", job.id)),
        Wait::Closing => {
            let by = cx.cluster.meta.closing.as_ref().map(|closing| cx.name_of(&closing.by));
            let by = by.map_or_else(String::new, |by| format!(", as {by} asked"));
            frame(format!("{who} waits: the cluster is going down{by}"))
                .change("pcluster up   starts it again; the job stays in the queue")
        }
    }
}

/// `c6i.4xlarge, spot, in pool compute`.
fn offering_words(offering: &OfferingKey) -> String {
    let spot = if offering.spot { ", spot" } else { "" };
    format!("{}{spot}, in pool {}", offering.shape, offering.pool)
}

/// The node and where its boot has got to.
pub(super) fn booting_facts(cx: &Cx<'_>, node: &Node) -> Vec<(String, String)> {
    let spot = if node.offering.spot { ", spot" } else { "" };
    let asked = cx.clock_seconds(cx.wall(node.wanted_at));
    let text = format!("{}, {}{spot}, asked for {asked}", node.name, node.shape.name);
    let mut facts = vec![("node".to_owned(), text)];
    let link = cx.cluster.volatile.links.get(&node.id);
    let phase = link.map(|link| link.phase.clone()).filter(|phase| !phase.is_empty());
    let phase = phase.unwrap_or_else(|| match node.state {
        NodeState::Wanted => "launch asked".into(),
        _ => "accepted".into(),
    });
    let so_far = words::span(cx.now.since(node.wanted_at));
    let usual = start::usual_boot(cx.cluster, &node.offering)
        .map_or_else(String::new, |usual| format!(" of usually {}", words::span(usual)));
    facts.push(("phase".into(), format!("{phase}; {so_far}{usual}")));
    facts
}

/// Jobs that wait for room before this one.
fn ahead_facts(cx: &Cx<'_>, job: &Job, frame: Frame) -> Frame {
    let ahead = cx.cluster.volatile.report.ahead.get(&job.pool);
    let ahead = ahead.map_or(&[][..], Vec::as_slice);
    let before: Vec<String> =
        ahead.iter().take_while(|id| **id != job.id).map(ToString::to_string).collect();
    if before.is_empty() {
        return frame;
    }
    let count = words::counted(before.len() as u64, "job");
    frame.fact("ahead", format!("{count}: {}", words::some_of(&before, 5)))
}

/// The free room of ready nodes, the nearest marked, and what would fit there now.
fn with_room(cx: &Cx<'_>, job: &Job, frame: Frame, label: &str) -> Frame {
    let mut nodes: Vec<&Node> = cx
        .cluster
        .living_nodes(&job.pool)
        .filter(|node| node.is_ready() && cx.cluster.is_connected(node.id))
        .collect();
    if nodes.is_empty() {
        return frame.fact(label, format!("no node of pool {} is ready", job.pool));
    }
    nodes.sort_by_key(|node| core::cmp::Reverse(nearness(job, node)));
    let nearest = nodes[0].id;
    let mut facts = Vec::new();
    for (at, node) in nodes.iter().take(3).enumerate() {
        let label = if at == 0 { label } else { "" };
        facts.push((label.to_owned(), room_words(job, node, nearest)));
    }
    let change = (job.spec.nodes == 1).then(|| fits_now(cx, job, nodes[0])).flatten();
    frame.facts(facts).changes(change)
}

/// How near the free room of a node comes to a job: kinds that suffice, then free CPUs and memory.
fn nearness(job: &Job, node: &Node) -> (u32, u32, u64) {
    let (free, asked) = (node.free(), job.spec.per_node_on(&node.usable));
    let kinds = u32::from(free.cpus >= asked.cpus)
        + u32::from(free.memory_bytes >= asked.memory_bytes)
        + u32::from(free.gpus >= asked.gpus)
        + u32::from(free.tmp_bytes >= asked.tmp_bytes);
    (kinds, free.cpus, free.memory_bytes)
}

fn room_words(job: &Job, node: &Node, nearest: NodeId) -> String {
    let (free, asked) = (node.free(), job.spec.per_node_on(&node.usable));
    let mut short = Vec::new();
    if free.cpus < asked.cpus {
        short.push(format!("{} of {} CPUs", free.cpus, asked.cpus));
    }
    if free.memory_bytes < asked.memory_bytes {
        short.push(format!("{} of {}", words::size(free.memory_bytes), words::size(asked.memory_bytes)));
    }
    if free.gpus < asked.gpus {
        short.push(format!("{} of {} GPUs", free.gpus, asked.gpus));
    }
    if free.tmp_bytes < asked.tmp_bytes {
        short.push(format!("{} of {} scratch", words::size(free.tmp_bytes), words::size(asked.tmp_bytes)));
    }
    let text = if short.is_empty() { "room enough, taken by others' turn".into() } else { format!("{} free", short.join(", ")) };
    let mark = if node.id == nearest { "   <- nearest" } else { "" };
    format!("{}  {text}{mark}", node.name)
}

/// The smallest change of the request that would start it in the free room of `node`.
fn fits_now(cx: &Cx<'_>, job: &Job, node: &Node) -> Option<String> {
    let (free, asked) = (node.free(), job.spec.per_node_on(&node.usable));
    if free.cpus == 0 || free.gpus < asked.gpus || free.tmp_bytes < asked.tmp_bytes {
        return None;
    }
    let mut options = Vec::new();
    if free.cpus < asked.cpus {
        // Only a job of one task has one number to change.
        if job.spec.tasks != 1 || job.spec.exclusive {
            return None;
        }
        options.push(format!("-c {}", free.cpus));
    }
    let small = DEFAULT_SMALLEST_MEMORY.max(used_memory(cx, job));
    if free.memory_bytes < asked.memory_bytes {
        if free.memory_bytes < small {
            return None;
        }
        options.push(format!("--mem {}", words::mem_option(free.memory_bytes)));
    }
    if options.is_empty() {
        return None;
    }
    Some(format!("{} would start it now on {}", options.join(" "), node.name))
}

/// Less is never proposed as a job's memory, in bytes.
const DEFAULT_SMALLEST_MEMORY: u64 = 64 << 20;

/// The most memory that runs of this name have used, where the reader may know it.
fn used_memory(cx: &Cx<'_>, job: &Job) -> u64 {
    earlier(cx, job).max_rss_bytes
}

fn earlier(cx: &Cx<'_>, job: &Job) -> Earlier {
    if !cx.sees_all_of(job) {
        return Earlier::default();
    }
    history::earlier(cx, &job.owner.user, &job.spec.name)
}

fn largest(cx: &Cx<'_>, job: &Job) -> Vec<(String, String)> {
    let pool = cx.cluster.pool(&job.pool);
    let shapes = pool.map_or(&[][..], |pool| &pool.shapes);
    let largest = shapes.iter().max_by_key(|shape| (shape.usable().memory_bytes, shape.total.cpus));
    let text = largest.map(|shape| format!("{}: {}", shape.name, words::resources(&shape.usable())));
    text.map(|text| ("largest".to_owned(), text)).into_iter().collect()
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
    let last = if state.total > 1 { "when the last task of it ends at the latest" } else { "when it ends at the latest" };
    with_time(cx, frame, "start", at, last).hint(format!("pcluster why {other}"))
}

fn never(cx: &Cx<'_>, job: &Job, state: &DependencyState, mut frame: Frame) -> Frame {
    let other = state.dependency.job;
    let ended = cx.cluster.jobs.get(&other).map(|job| {
        let failed = job.finished.values().find(|end| !end.outcome.is_success());
        match failed {
            Some(end) if state.total > 1 => {
                format!("{} of its {} tasks failed ({})", state.failed, state.total, outcome::detail(&end.outcome))
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
    frame.0.headline = format!("{} waits for money: the month's budget of this cluster", title(job));
    let zone = cx.cluster.config().map_or(0, |config| config.zone_offset_ms);
    let day = pcluster_core::ledger::day_of(cx.cluster.wall(cx.now), zone);
    let (_, next) = pcluster_core::ledger::month_of(day);
    let resets = i64::from(next) * pcluster_core::ledger::DAY_MS - zone;
    let left = cap.saturating_sub(spent + reserved);
    let frame = frame
        .fact("spent", format!("{spent} of {cap}; living nodes may take {reserved} in all"))
        .fact("needs", format!("up to {needs}, {left} is left; resets {}", cx.clock(resets)));
    let shorter = job.spec.time_limit_ms.filter(|_| left.0 > 0 && needs.0 > left.0).and_then(|limit| {
        let ms = u128::from(limit.0) * u128::from(left.0.unsigned_abs()) / u128::from(needs.0.unsigned_abs());
        // Below the time a boot takes, a shorter limit is no help.
        let minutes = u64::try_from(ms / 60_000).ok().filter(|minutes| *minutes >= 1)?;
        Some(format!("--time {minutes}m may fit"))
    });
    frame.changes(shorter).change("month in [budget] (admin)")
}

fn rested(
    cx: &Cx<'_>,
    job: &Job,
    (offering, class, message): (&OfferingKey, &str, &str),
    next_ms: i64,
    mut frame: Frame,
) -> Frame {
    let provider = cx.cluster.pool(&offering.pool).map_or("the provider", |pool| pool.provider.as_str());
    let who = title(job);
    frame.0.headline = match class {
        "no_capacity" => format!("{who} waits for capacity: {provider} has no {} at the moment", offering.shape),
        "quota" => format!("{who} waits for quota: {provider} allows no more {}", offering.shape),
        "boot_failed" => format!("{who} waits: nodes of {} do not boot", offering.shape),
        "denied" => format!("{who} waits: {provider} does not let this cluster launch {}", offering.shape),
        _ => format!("{who} waits: launching {} failed", offering.shape),
    };
    let health = cx.cluster.health(offering);
    let pauses = match health.rests {
        0 => String::new(),
        rests => format!(" (the {} pause in a row)", words::ordinal(rests)),
    };
    let frame = frame
        .fact("answer", message)
        .fact("next try", format!("{}{pauses}", cx.clock(next_ms)));
    match class {
        "no_capacity" => frame.change(format!("more types in [pools.{}] (admin)", offering.pool)),
        "boot_failed" => frame.hint("pcluster nodes   pcluster node log NODE"),
        _ => frame.change(format!("an admin must mend it; next look at [pools.{}]", offering.pool)),
    }
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
        None => Frame::new("starting", format!("job {} ({}) is being started", job.task_label(run.task), job.spec.name)),
    };
    let frame = frame.fact("where", names.join(", ")).fact("holds", words::resources(&held));
    let frame = match (&run.then, start::run_end(cx, run)) {
        (Some(_), _) => frame.fact("ends", "it is being ended"),
        (None, Some(end)) => frame.fact("ends", format!("by {} at the latest", cx.clock(end))),
        (None, None) => frame.fact("ends", "it has no time limit"),
    };
    frame.hint(format!("pcluster logs -f {}", job.task_label(run.task)))
}

fn over(cx: &Cx<'_>, job: &Job, task: u32, end: &TaskEnd, ended: &[(&u32, &TaskEnd)]) -> Frame {
    let failed = ended.iter().filter(|(_, end)| !end.outcome.is_success()).count();
    // A whole array that did well is spoken of as one; else the first task that did not.
    let label = if failed == 0 && ended.len() > 1 { job.id.to_string() } else { job.task_label(task) };
    let who = format!("job {label} ({})", job.spec.name);
    let headline = format!("{who} {} at {}", outcome::sentence(&end.outcome), cx.clock(cx.wall(end.at)));
    let mut frame = Frame::new(end.outcome.word(), headline);
    if ended.len() > 1 {
        frame = frame.fact("tasks", format!("{failed} of {} failed", ended.len()));
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
    if failed > 0 {
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
