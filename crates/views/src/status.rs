//! `status`: one screen of truth, and how far `down` has got.
use super::cost::{month_start_ms, spent_since};
use super::node::{price_per_hour, state_word};
use super::{Cx, node as nodes, schema, standing, why_launch, words};
use pcluster_api::{DownView, StatusView};
use pcluster_core::Job;
use pcluster_core::event::{OfferingKey, StopCause};
use pcluster_core::node::{BootHealth, Node, NodeState};
use pcluster_core::plan::Wait;
use pcluster_model::config::Pool;

/// What the cluster does not know about its head.
#[derive(Debug, Clone, Default)]
pub struct HeadFacts {
    pub version: String,
    pub pid: u32,
    pub started_at_ms: i64,
    pub config_file: String,
    pub state_dir: String,
    pub node_address: String,
    pub cpu_percent: u32,
    pub memory_bytes: u64,
    pub disk_free_bytes: u64,
    pub disk_is_low: bool,
    pub notes: Vec<String>,
}

/// `up`, `closing`, `closed`.
#[must_use]
pub fn phase(cx: &Cx<'_>) -> &'static str {
    match (&cx.cluster.meta.closing, cx.cluster.is_closed() && cx.cluster.is_proven()) {
        (None, _) => "up",
        (Some(_), false) => "closing",
        (Some(_), true) => "closed",
    }
}

/// Tasks by what they do.
#[derive(Debug, Default)]
struct Tasks {
    running: u64,
    starting: u64,
    queued: u64,
    held: u64,
    done_this_month: u64,
}

fn tasks(cx: &Cx<'_>) -> Tasks {
    let mut tasks = Tasks::default();
    let month = month_start_ms(cx);
    for job in cx.cluster.jobs.values() {
        let started = |job: &Job| {
            job.live.values().filter(|run| cx.cluster.started_at(**run).is_some()).count() as u64
        };
        let started = started(job);
        tasks.running += started;
        tasks.starting += job.live.len() as u64 - started;
        let held = job.held_count() as u64;
        let waiting = job.pending.len() as u64 - held;
        tasks.held += held;
        let covered = matches!(
            cx.cluster.volatile.report.waits.get(&job.id),
            Some(Wait::NodeBoots { .. } | Wait::NodeWanted { .. })
        );
        if covered {
            tasks.starting += waiting;
        } else {
            tasks.queued += waiting;
        }
        let done = job.finished.values().filter(|end| cx.wall(end.at) >= month);
        tasks.done_this_month += done.count() as u64;
    }
    tasks
}

fn failed_lately(cx: &Cx<'_>, node: &Node) -> bool {
    let at = match &node.state {
        NodeState::Gone { at, .. } | NodeState::Refused { at, .. } => *at,
        _ => return false,
    };
    state_word(node) == "failed" && cx.now.since(at).0 <= 3_600_000
}

/// `GET /v1/status`.
#[must_use]
pub fn view(cx: &Cx<'_>, head: HeadFacts) -> StatusView {
    let tasks = tasks(cx);
    let config = cx.cluster.config();
    let count = |wanted: &dyn Fn(&Node) -> bool| {
        u32::try_from(cx.cluster.nodes.values().filter(|node| wanted(node)).count())
            .unwrap_or(u32::MAX)
    };
    let lists = &cx.cluster.volatile.lists;
    let mut providers: Vec<&str> = config
        .map_or(&[][..], |config| &config.pools)
        .iter()
        .map(|pool| pool.provider.as_str())
        .collect();
    providers.dedup();
    StatusView {
        schema: schema("status"),
        cluster: config.map_or_else(String::new, |config| config.name.clone()),
        cluster_id: cx.cluster.meta.cluster.to_string(),
        provider: providers.join(", "),
        attention: attention(cx, &head),
        version: head.version,
        pid: head.pid,
        started_at_ms: head.started_at_ms,
        now_ms: cx.wall_now(),
        config_file: head.config_file,
        state_dir: head.state_dir,
        phase: phase(cx).into(),
        node_address: head.node_address,
        cpu_percent: head.cpu_percent,
        memory_bytes: head.memory_bytes,
        disk_free_bytes: head.disk_free_bytes,
        jobs_running: tasks.running,
        jobs_starting: tasks.starting,
        jobs_queued: tasks.queued,
        jobs_held: tasks.held,
        jobs_done_this_month: tasks.done_this_month,
        nodes_busy: count(&|node| state_word(node) == "busy"),
        nodes_idle: count(&|node| state_word(node) == "idle"),
        nodes_booting: count(&Node::is_coming),
        nodes_max: config.map_or(0, |config| config.pools.iter().map(|pool: &Pool| pool.max).sum()),
        nodes_failed_last_hour: count(&|node| failed_lately(cx, node)),
        price_per_hour_micro_usd: price_per_hour(cx) + standing::price_per_hour(cx),
        standing_per_hour_micro_usd: standing::price_per_hour(cx),
        standing: standing::labels(cx),
        month_micro_usd: spent_since(cx, month_start_ms(cx)).0,
        budget_micro_usd: config.and_then(|config| config.budget.month).map(|cap| cap.0),
        instances_listed: lists.values().map(|list| list.living).sum(),
        instances_unknown: lists
            .values()
            .map(|list| u32::try_from(list.unknown.len()).unwrap_or(u32::MAX))
            .sum(),
        listed_at_ms: lists.values().filter_map(|list| list.listed_at).min().map(|at| cx.wall(at)),
        notes: head.notes,
    }
}

/// Label and text of everything that needs somebody.
fn attention(cx: &Cx<'_>, head: &HeadFacts) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut line = |label: &str, text: String| lines.push((label.into(), text));
    if let Some(since) = cx.cluster.volatile.suspects_itself_since {
        let at = cx.clock(cx.wall(since));
        line(
            "head",
            format!("since {at} most nodes are silent at once: it suspects itself and stops none"),
        );
    }
    if head.disk_is_low {
        line("disk", format!("{} free: new jobs are refused", words::size(head.disk_free_bytes)));
    }
    for (key, health) in &cx.cluster.meta.offerings {
        let resting = health.rest_until.filter(|until| *until > cx.now);
        if let Some(until) = resting {
            let next = why_launch::next_try(cx, &health.class, cx.wall(until));
            let text = format!("no {}: {}; next try {next}", key.shape, health.message);
            line(key.pool.as_str(), text);
        }
        for (image, boots) in health.boots.iter().filter(|(_, boots)| boots.is_broken()) {
            line(key.pool.as_str(), broken(cx, key, image, boots));
        }
    }
    for node in cx.cluster.nodes.values() {
        if let Some(text) = node_line(cx, node) {
            line(&node.name, text);
        }
    }
    for (provider, list) in &cx.cluster.volatile.lists {
        if let Some(failure) = &list.failure {
            line(provider, format!("its list cannot be read: {failure}"));
        }
        for (instance, unknown) in &list.unknown {
            let what = if unknown.is_unlogged {
                "is of a launch that this log does not know"
            } else {
                "has our tag and no node knows it; it is being ended"
            };
            line(provider, format!("instance {instance} {what}"));
        }
    }
    if cx.cluster.unlogged_instances().next().is_some() {
        let text = "nothing is launched before an admin says what becomes of these: \
            pcluster admin adopt, or pcluster admin terminate";
        line("launches", text.into());
    }
    lines.extend(money_line(cx));
    lines
}

/// What is wrong with a node.
fn node_line(cx: &Cx<'_>, node: &Node) -> Option<String> {
    match &node.state {
        NodeState::Gone { cause, .. } if failed_lately(cx, node) => {
            let why = nodes::cause_words(cx, cause);
            Some(format!("did not boot: {why} (pcluster node log {})", node.name))
        }
        NodeState::Draining { cause: StopCause::RunsUnknown } => {
            let text = "runs what this log does not know, and goes when that has ended";
            Some(format!("{text} (pcluster node terminate {})", node.name))
        }
        NodeState::Lost { since, .. } => {
            Some(format!("is silent since {}", cx.clock(cx.wall(*since))))
        }
        NodeState::Stopping { since, .. } => {
            let trouble = cx.cluster.volatile.ending_trouble.get(&node.id)?;
            let at = cx.clock(cx.wall(*since));
            Some(format!("is to end since {at}: {trouble}"))
        }
        NodeState::Ready => nodes::why_words(cx, node),
        _ => None,
    }
}

/// An open breaker: what fails, and the trial that goes on or comes.
fn broken(cx: &Cx<'_>, key: &OfferingKey, image: &str, boots: &BootHealth) -> String {
    let canary = cx
        .cluster
        .living_nodes(&key.pool)
        .find(|node| node.is_coming() && node.offering.of_shape() == *key && node.image == image);
    let next = match (canary, boots.rest_until.filter(|until| *until > cx.now)) {
        (Some(canary), _) => format!("trying {}", canary.name),
        (None, Some(until)) => format!("next trial {}", cx.clock(cx.wall(until))),
        (None, None) => "one is tried when there is work".to_owned(),
    };
    let (count, shape) = (boots.failures, &key.shape);
    format!(
        "{count} boots of {shape} with image {image} failed in a row: {}; {next}",
        boots.message
    )
}

fn money_line(cx: &Cx<'_>) -> Option<(String, String)> {
    let budget = &cx.cluster.config()?.budget;
    let cap = budget.month.filter(|cap| cap.0 > 0)?;
    let spent = spent_since(cx, month_start_ms(cx));
    let percent = i128::from(spent.0) * 100 / i128::from(cap.0);
    let waiting = cx.cluster.volatile.report.waits.values();
    let waiting = waiting.filter(|wait| matches!(wait, Wait::Budget { .. })).count() as u64;
    if percent < i128::from(budget.warn_percent.unwrap_or(80)) && waiting == 0 {
        return None;
    }
    let wait = match waiting {
        0 => String::new(),
        1 => "; 1 job waits for it".into(),
        more => format!("; {more} jobs wait for it"),
    };
    Some(("budget".into(), format!("{percent} % of the month's {cap} is used{wait}")))
}

/// `POST /v1/down`: what is left.
#[must_use]
pub fn down(cx: &Cx<'_>) -> DownView {
    let ends: Option<Vec<i64>> =
        cx.cluster.runs.values().map(|run| super::start::run_end(cx, run)).collect();
    let alive = cx.cluster.nodes.values().filter(|node| node.state.is_alive()).count();
    let lists = &cx.cluster.volatile.lists;
    let unread = lists.iter().filter_map(|(provider, list)| {
        let failure = list.failure.as_ref()?;
        Some(format!("{provider}: its list cannot be read: {failure}"))
    });
    DownView {
        schema: schema("down"),
        phase: phase(cx).into(),
        unread: unread.collect(),
        running: cx.cluster.runs.len() as u64,
        waiting: cx.cluster.queued_jobs().map(|job| job.pending.len() as u64).sum(),
        nodes_left: u32::try_from(alive).unwrap_or(u32::MAX),
        instances_left: cx.cluster.volatile.lists.values().map(|list| list.living).sum(),
        last_end_ms: ends.and_then(|ends| ends.into_iter().max()),
        cleaned: Vec::new(),
    }
}
