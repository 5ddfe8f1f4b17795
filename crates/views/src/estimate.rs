//! What will happen to a job, said at submit.
use super::history;
use super::start::usual_boot;
use super::{Cx, detail, words};
use pcluster_api::EstimateView;
use pcluster_core::event::OfferingKey;
use pcluster_core::ledger::WHOLE;
use pcluster_core::node::Node;
use pcluster_core::{plan, share};
use pcluster_model::config::Pool;
use pcluster_model::units::span_words;
use pcluster_model::{DependencyKind, DurationMs, JobId, JobSpec, Price, Resources, Shape};

/// The pool a job goes to: the first it names that holds it, else the default pool.
#[must_use]
pub fn pool_of<'a>(cx: &Cx<'a>, spec: &JobSpec) -> Option<&'a Pool> {
    let config = cx.cluster.config()?;
    let named = || spec.pools.iter().filter_map(|name| config.pool(name));
    let fitting = named().find(|pool| cheapest(cx, pool, spec).is_some());
    fitting.or_else(|| named().next()).or_else(|| config.default_pool())
}

/// The cheapest shape of a pool that holds a job, with what is paid for it.
fn cheapest<'a>(cx: &Cx<'_>, pool: &'a Pool, spec: &JobSpec) -> Option<(&'a Shape, Option<Price>)> {
    let fitting = pool.shapes.iter().filter(|shape| plan::fits(pool, shape, spec));
    fitting
        .map(|shape| (shape, price_of(cx, pool, shape, spec)))
        .min_by_key(|(shape, price)| (price.is_none(), *price, shape.total.cpus))
}

fn price_of(cx: &Cx<'_>, pool: &Pool, shape: &Shape, spec: &JobSpec) -> Option<Price> {
    if !plan::buys_spot(pool, spec) {
        return shape.price;
    }
    let places = pool.subnets.iter().map(String::as_str);
    let prices = places.map(|subnet| cx.cluster.spot_price(pool, shape, subnet)).min().flatten();
    prices.or_else(|| cx.cluster.spot_price(pool, shape, ""))
}

/// What a job of this specification will take, when it starts, and what it costs. The job itself
/// is not yet in the cluster.
#[must_use]
pub fn of(cx: &Cx<'_>, spec: &JobSpec) -> EstimateView {
    let pool = pool_of(cx, spec);
    let chosen = pool.and_then(|pool| cheapest(cx, pool, spec));
    let usable = chosen.map_or_else(Resources::default, |(shape, _)| shape.usable());
    let each = spec.per_node_on(&usable);
    let limit = spec.time_limit_ms.or_else(|| pool.and_then(|pool| pool.default_time_ms));
    let tasks = spec.array.as_ref().map_or(1, |array| array.indices.len() as u64);
    let (start, start_ms) = start_of(cx, spec, pool, chosen.map(|(shape, _)| shape));
    let earlier = history::earlier(cx, &cx.reader.user, &spec.name);
    let runtime = (earlier.runs > 0).then_some(DurationMs(earlier.runtime_ms));
    let hourly = |price: Option<Price>| {
        let part = i128::from(price?.0) * i128::from(share(&each, &usable)) / i128::from(WHOLE);
        i64::try_from(part * i128::from(spec.nodes.max(1)) * i128::from(tasks)).ok().map(Price)
    };
    let price = hourly(chosen.and_then(|(_, price)| price));
    let full = hourly(chosen.and_then(|(shape, _)| shape.price)).or(price);
    let cost = |price: Option<Price>, span: Option<DurationMs>| Some(price?.for_span(span?).0);
    // A node that starts for it has no known time only when none ever booted: then it is soon.
    let from = start_ms.or_else(|| start.starts_with("starting").then(|| cx.wall_now()));
    let rounds = rounds(spec, pool, &usable, &each);
    let length = runtime.or(limit).map(|each| each.0.saturating_mul(rounds));
    let end_ms = from.zip(length).and_then(|(from, ms)| from.checked_add_unsigned(ms));
    EstimateView {
        asked: asked_words(spec, pool, &each, limit),
        start,
        start_ms,
        end_ms,
        history_runs: earlier.runs,
        cost_micro_usd: cost(price, runtime),
        cost_at_most_micro_usd: cost(full, limit),
        price_per_hour_micro_usd: price.map(|price| price.0),
        budget_left_micro_usd: cx.cluster.account(cx.now).map(|account| account.left().0),
        output: output_of(spec, None, cx.reader.user.as_str()),
        notes: notes(spec, pool, &each, &earlier),
    }
}

/// Where its output goes, as far as that is known: the id is `None` before it has one.
#[must_use]
pub fn output_of(spec: &JobSpec, job: Option<JobId>, user: &str) -> String {
    detail::file(spec, &spec.output, &detail::names_of(spec, job, user))
}

/// How often the tasks of an array follow one another: by its throttle, and by what the whole pool
/// holds at once; 1 for a plain job.
fn rounds(spec: &JobSpec, pool: Option<&Pool>, usable: &Resources, each: &Resources) -> u64 {
    let (Some(array), Some(pool)) = (&spec.array, pool) else { return 1 };
    let by_cpus = usable.cpus / each.cpus.max(1);
    let by_memory = usable.memory_bytes.checked_div(each.memory_bytes).unwrap_or(u64::MAX);
    let on_one = u64::from(by_cpus).min(by_memory).max(1);
    let at_once = on_one.saturating_mul(u64::from(pool.max / spec.nodes.max(1))).max(1);
    let at_once = at_once.min(array.throttle.map_or(u64::MAX, u64::from)).max(1);
    (array.indices.len() as u64).div_ceil(at_once)
}

fn asked_words(
    spec: &JobSpec,
    pool: Option<&Pool>,
    each: &Resources,
    limit: Option<DurationMs>,
) -> String {
    let nodes = if spec.nodes > 1 { format!("{} nodes of ", spec.nodes) } else { String::new() };
    let tasks = match &spec.array {
        Some(array) => format!("{} of ", words::counted(array.indices.len() as u64, "task")),
        None => String::new(),
    };
    let limit = limit
        .map_or_else(|| "no time limit".into(), |limit| format!("at most {}", span_words(limit)));
    let pool = pool.map_or_else(String::new, |pool| format!(", pool {}", pool.name));
    format!("{tasks}{nodes}{}, {limit}{pool}", words::resources(each))
}

/// In words without a time, and the moment where it can be known.
fn start_of(
    cx: &Cx<'_>,
    spec: &JobSpec,
    pool: Option<&Pool>,
    shape: Option<&Shape>,
) -> (String, Option<i64>) {
    let now = cx.wall_now();
    if spec.hold {
        return ("when it is released: it is held".into(), None);
    }
    if let Some(at) = spec.begin.filter(|at| at.0 > now) {
        return ("not before the time it asked for".into(), Some(at.0));
    }
    let waits = spec.dependencies.iter().find(|dependency| match dependency.kind {
        // Whether it waits is known once it is there.
        DependencyKind::Singleton | DependencyKind::AfterCorr => true,
        _ => cx.cluster.met_by(dependency, cx.now) != pcluster_core::reason::Met::Yes,
    });
    if let Some(dependency) = waits {
        return match dependency.kind {
            DependencyKind::Singleton => ("after earlier jobs of this name".into(), None),
            _ => (format!("after job {}", dependency.job), None),
        };
    }
    let (Some(pool), Some(shape)) = (pool, shape) else { return ("unknown".into(), None) };
    let wanted = spec.nodes.max(1) as usize;
    let fits = |node: &&Node| node.free().holds(&spec.per_node_on(&node.usable));
    let ready = |node: &&Node| cx.cluster.takes_jobs(node);
    let right = |node: &&Node| plan::may_hold(pool, spec, node);
    let named = |node: &Node| spec.only_nodes.contains(&node.name);
    let living = || cx.cluster.living_nodes(&pool.name);
    let mut free: Vec<&Node> = living().filter(ready).filter(right).filter(fits).collect();
    free.sort_by_key(|node| !named(node));
    free.truncate(wanted);
    let ahead = cx.cluster.volatile.report.ahead.get(&pool.name).map_or(&[][..], Vec::as_slice);
    // Those that wait for other nodes are in nobody's way.
    let waiting = ahead
        .iter()
        .filter_map(|id| cx.cluster.jobs.get(id))
        .any(|other| free.iter().any(|node| plan::may_hold(pool, &other.spec, node)));
    let room_at =
        |ahead: &[JobId]| super::start::room_at(cx, pool, spec, ahead).map(|at| at.max(now));
    if let Some(node) = living().find(|node| named(node) && free.iter().all(|f| f.id != node.id)) {
        let at = match node.is_coming() {
            true => super::start::boots_end(cx, &[node.id]),
            false => room_at(&[]),
        };
        return (format!("when {} has room", node.name), at);
    }
    let all_named = free.iter().filter(|node| named(node)).count() == spec.only_nodes.len();
    if free.len() == wanted && all_named {
        let names: Vec<&str> = free.iter().map(|node| node.name.as_str()).collect();
        return match waiting {
            true => ("after those that wait for the same nodes".into(), None),
            false => (format!("at once on {}", names.join(", ")), Some(now)),
        };
    }
    if living().count() + wanted - free.len() > pool.max as usize {
        let at = room_at(ahead);
        return ("when there is room: the pool has all the nodes it may have".into(), at);
    }
    let spot = plan::buys_spot(pool, spec);
    let boot = usual_boot(cx.cluster, &offering(pool, shape, spot));
    let how = if spot { " spot" } else { "" };
    let text = format!("starting {} x {}{how} for it", wanted - free.len(), shape.name);
    (text, boot.map(|boot| cx.wall(cx.now + boot)))
}

fn offering(pool: &Pool, shape: &Shape, spot: bool) -> OfferingKey {
    let (pool, shape) = (pool.name.clone(), shape.name.clone());
    OfferingKey { pool, shape, spot, subnet: String::new() }
}

/// What is assumed, said once each.
fn notes(
    spec: &JobSpec,
    pool: Option<&Pool>,
    each: &Resources,
    earlier: &history::Earlier,
) -> Vec<String> {
    let mut notes = Vec::new();
    if spec.time_limit_ms.is_none()
        && let Some(limit) = pool.and_then(|pool| pool.default_time_ms)
    {
        notes.push(format!(
            "no time limit given: the pool's {} is taken (--time)",
            span_words(limit)
        ));
    }
    let used = earlier.max_rss_bytes;
    if used > 0 && each.memory_bytes > used.saturating_mul(2) && each.memory_bytes > 1 << 30 {
        let runs = words::counted(u64::from(earlier.memory_runs), "run");
        let less = words::mem_option_above(used + used / 10);
        notes.push(format!(
            "your last {runs} of {} used at most {}: --mem {less} would do",
            spec.name,
            words::size(used)
        ));
    }
    notes
}
