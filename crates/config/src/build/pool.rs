//! One pool: its provider, image and disks by inheritance, its shapes, its times.
use super::{provider_kind, shapes, storage};
use crate::problem::{Level, Origin};
use crate::resolve::Resolver;
use crate::tree::Entry;
use crate::value::{Value, quote};
use pcluster_model::config::{Pool, ProviderKind, SpotUse};
use pcluster_model::units::format_duration;
use pcluster_model::{DurationMs, PoolName, Price, Shape};

/// What shapes need to know of their pool.
pub(super) struct PoolSource {
    pub(super) name: String,
    pub(super) provider: ProviderKind,
    pub(super) local_bytes: u64,
}

impl PoolSource {
    /// A default that follows from the provider.
    pub(super) fn default(&self) -> Origin {
        Origin::ProviderDefault { provider: self.provider.as_str().into() }
    }
}

/// The image of a provider when nobody names one.
pub(super) fn default_image(provider: &ProviderKind) -> &'static str {
    match provider {
        ProviderKind::Process | ProviderKind::Ssh | ProviderKind::External(_) => "host",
        ProviderKind::Vm => "minimal",
        ProviderKind::Ec2 => "debian-12",
    }
}

/// The provider of a pool: its own, else the file's.
fn provider(r: &mut Resolver<'_>, name: &str, file: Option<&ProviderKind>) -> Option<ProviderKind> {
    let path = ["pools", name, "provider"];
    if let Some(word) = r.text(&path) {
        let span = r.span(&path);
        return provider_kind(r, &word, span);
    }
    let provider = file?;
    if let Some(origin) = r.inherited(&["provider"]) {
        r.settle(&path, quote(provider.as_str()), origin);
    }
    Some(provider.clone())
}

/// The image of a pool: its own, else the file's, else its provider's.
fn image(r: &mut Resolver<'_>, name: &str, provider: &ProviderKind) -> String {
    let path = ["pools", name, "image"];
    if let Some(image) = r.text(&path) {
        return image;
    }
    if let Some(image) = r.text(&["image"]) {
        if let Some(origin) = r.inherited(&["image"]) {
            r.settle(&path, quote(&image), origin);
        }
        return image;
    }
    let image = default_image(provider);
    let origin = Origin::ProviderDefault { provider: provider.as_str().into() };
    r.settle(&path, quote(image), origin);
    image.to_string()
}

/// A limit that a word switches off.
fn limit(
    r: &mut Resolver<'_>,
    path: &[&str],
    default: Option<DurationMs>,
    word: &str,
    origin: Origin,
) -> Option<DurationMs> {
    match r.given(path) {
        Some(Value::Duration(span)) => Some(span),
        Some(_) => None,
        None => {
            let shown = default.map_or(word.to_string(), format_duration);
            r.settle(path, quote(&shown), origin);
            default
        }
    }
}

/// How long a silent node is waited for: idle, and with a job.
fn lost_grace(
    r: &mut Resolver<'_>,
    source: &PoolSource,
) -> (Option<DurationMs>, Option<DurationMs>) {
    let path = ["pools", source.name.as_str(), "lost_grace"];
    match r.given(&path) {
        Some(Value::Duration(span)) => (Some(span), Some(span)),
        Some(_) => (None, None),
        None if source.provider == ProviderKind::Ssh => {
            r.settle(&path, quote("never"), source.default());
            (None, None)
        }
        None => {
            r.settle(&path, "(2 min idle, 10 min with a job)".into(), Origin::Default);
            (Some(DurationMs::from_mins(2)), Some(DurationMs::from_mins(10)))
        }
    }
}

/// How it uses spot machines, where its provider has some.
fn spot(r: &mut Resolver<'_>, source: &PoolSource) -> SpotUse {
    let path = ["pools", source.name.as_str(), "spot"];
    let said = match r.given(&path) {
        Some(Value::Bool(true)) => SpotUse::Prefer,
        Some(Value::Word(_)) => SpotUse::Only,
        _ => return SpotUse::Never,
    };
    if source.provider.bills() {
        return said;
    }
    let (name, provider) = (&source.name, source.provider.as_str());
    let span = r.span(&path);
    let text =
        format!("pool {name}: `spot` does nothing, provider {provider} has one kind of machines");
    r.note(Level::Note, span, text);
    SpotUse::Never
}

/// The most that a machine may cost; refused where none of the pool's is had for that.
fn max_price(r: &mut Resolver<'_>, name: &str, spot: SpotUse, shapes: &[Shape]) -> Option<Price> {
    let path = ["pools", name, "max_price"];
    let most = r.price(&path)?;
    let least = |shape: &Shape| match spot {
        SpotUse::Never => shape.price,
        SpotUse::Prefer | SpotUse::Only => shape.spot_price.min(shape.price).or(shape.price),
    };
    let cheapest = shapes.iter().map(|shape| Some((least(shape)?, &shape.name)));
    let cheapest = cheapest.collect::<Option<Vec<_>>>().unwrap_or_default().into_iter().min();
    if let Some((price, shape)) = cheapest.filter(|(price, _)| *price > most) {
        let span = r.span(&path);
        let label = format!("the cheapest is {shape}: {price}");
        r.conflict(
            format!("no machine of pool {name} costs as little as `max_price`"),
            span,
            label,
        );
    }
    Some(most)
}

/// Refuses pairs of times that cannot both be meant.
fn check_times(r: &mut Resolver<'_>, name: &str, times: &Times) {
    if times.boot_limit < times.boot_timeout {
        let span = r
            .span(&["pools", name, "boot_limit"])
            .or_else(|| r.span(&["pools", name, "boot_timeout"]));
        let label = format!(
            "boot_timeout is {}, boot_limit is {}",
            format_duration(times.boot_timeout),
            format_duration(times.boot_limit)
        );
        r.conflict("`boot_limit` is shorter than `boot_timeout`", span, label);
    }
    if let (Some(default), Some(max)) = (times.default_time, times.max_time)
        && default > max
    {
        let span = r
            .span(&["pools", name, "default_time"])
            .or_else(|| r.span(&["pools", name, "max_time"]));
        let (default, max) = (format_duration(default), format_duration(max));
        r.conflict(
            "`default_time` is longer than `max_time`",
            span,
            format!("default_time is {default}, max_time is {max}"),
        );
    }
}

/// The times of a pool, which depend on its provider.
struct Times {
    idle_timeout: DurationMs,
    boot_timeout: DurationMs,
    boot_limit: DurationMs,
    spot_patience: DurationMs,
    default_time: Option<DurationMs>,
    max_time: Option<DurationMs>,
}

fn times(r: &mut Resolver<'_>, source: &PoolSource) -> Times {
    let at = |key| ["pools", source.name.as_str(), key];
    let idle = match source.provider {
        ProviderKind::Process | ProviderKind::Vm => DurationMs::from_secs(60),
        _ => DurationMs::from_mins(5),
    };
    // On providers that bill, a job that nobody limited must not run for ever; a shorter
    // `max_time` is a limit of its own.
    let max_time = limit(r, &at("max_time"), None, "none", Origin::Default);
    let day = DurationMs::from_hours(24);
    let default_time = source.provider.bills().then(|| max_time.map_or(day, |max| max.min(day)));
    Times {
        idle_timeout: r.duration_or(&at("idle_timeout"), idle, source.default()),
        boot_timeout: r.duration_or(&at("boot_timeout"), DurationMs::from_mins(3), Origin::Default),
        boot_limit: boot_limit(r, source),
        spot_patience: r.duration_or(
            &at("spot_patience"),
            DurationMs::from_mins(5),
            Origin::Default,
        ),
        default_time: limit(r, &at("default_time"), default_time, "none", source.default()),
        max_time,
    }
}

/// 15 min, or `boot_timeout` where that is longer: raising one must not need the other.
fn boot_limit(r: &mut Resolver<'_>, source: &PoolSource) -> DurationMs {
    let at = |key| ["pools", source.name.as_str(), key];
    let step = match r.given(&at("boot_timeout")) {
        Some(Value::Duration(span)) => span,
        _ => DurationMs::ZERO,
    };
    let limit = DurationMs::from_mins(15).max(step);
    r.duration_or(&at("boot_limit"), limit, Origin::Default)
}

fn node_counts(r: &mut Resolver<'_>, name: &str, max: (u32, Origin)) -> (u32, u32) {
    let min = r.count_or(&["pools", name, "min"], 0, Origin::Default);
    let max = r.count_or(&["pools", name, "max"], max.0, max.1);
    if min > max {
        let path = ["pools", name, "min"];
        let span = r.span(&path);
        r.conflict(
            format!("pool {name} has min {min} and max {max}"),
            span,
            "min must not be more than max",
        );
    }
    (min, max)
}

/// `name` is for the short form only: a header has the name already.
fn check_header(r: &mut Resolver<'_>, name: &str) {
    let path = ["pools", name, "name"];
    let Some(given) = r.text(&path) else { return };
    let span = r.span(&path);
    let short = |entry: &Entry| entry.key.path == "compute";
    if !r.tree.get(&["pools", name]).is_some_and(short) {
        r.conflict("`name` is for `compute = { … }`", span, format!("this pool is called {name}"));
    } else if !crate::tree::is_name(&given) {
        let problem = crate::problem::Problem::new(
            crate::problem::ProblemKind::BadName,
            format!("{} is not a name of a pool", quote(&given)),
            span,
        )
        .label("allowed: [a-z0-9-], at most 32 characters");
        r.problem(problem);
    }
}

/// Works out the pool `name`; `None` when its provider is unknown.
pub(super) fn pool(
    r: &mut Resolver<'_>,
    name: &str,
    file_provider: Option<&ProviderKind>,
    default: &str,
) -> Option<Pool> {
    check_header(r, name);
    let Some(provider) = provider(r, name, file_provider) else {
        check_without_provider(r, name);
        return None;
    };
    let image = image(r, name, &provider);
    let disks = storage::of_pool(r, name, &provider);
    let source = PoolSource { name: name.to_string(), provider, local_bytes: disks.local_bytes };
    let shapes = shapes::shapes(r, &source);
    let (min, max) = node_counts(r, name, shapes.max);
    let (lost_grace_idle_ms, lost_grace_busy_ms) = lost_grace(r, &source);
    let spot = spot(r, &source);
    let max_price = max_price(r, name, spot, &shapes.shapes);
    let times = times(r, &source);
    let is_default = name == default;
    r.settle_default(name, is_default);
    check_times(r, name, &times);
    Some(Pool {
        name: PoolName::from(name),
        shapes: shapes.shapes,
        min,
        max,
        max_cpus: shapes.max_cpus,
        image,
        spot,
        spot_patience_ms: times.spot_patience,
        max_price,
        requeue_always: requeue_always(r, name),
        idle_timeout_ms: times.idle_timeout,
        boot_timeout_ms: times.boot_timeout,
        boot_limit_ms: times.boot_limit,
        lost_grace_idle_ms,
        lost_grace_busy_ms,
        default_time_ms: times.default_time,
        max_time_ms: times.max_time,
        default: is_default,
        exclusive: r.bool_or(&["pools", name, "exclusive"], false, Origin::Default),
        shares: disks.shares,
        local_bytes: disks.local_bytes,
        local_home: disks.local_home,
        minimum_billing_ms: match source.provider {
            ProviderKind::Ec2 => DurationMs::from_secs(60),
            _ => DurationMs::ZERO,
        },
        features: features(r, name),
        subnets: subnets(r, &source),
        ec2: super::ec2::of_pool(r, &source),
        provider: source.provider,
    })
}

fn requeue_always(r: &mut Resolver<'_>, name: &str) -> bool {
    r.text(&["pools", name, "requeue"]).is_some_and(|word| word == "always")
}

/// Places of its machines: its own, else those of the provider.
fn subnets(r: &mut Resolver<'_>, source: &PoolSource) -> Vec<String> {
    let path = ["pools", source.name.as_str(), "subnets"];
    let only = |texts: Vec<(String, _)>| texts.into_iter().map(|(text, _)| text).collect();
    let own = r.texts(&path);
    if source.provider == ProviderKind::Ec2 {
        return own.or_else(|| r.texts(&["ec2", "subnets"])).map(only).unwrap_or_default();
    }
    if own.is_some() {
        let span = r.span(&path);
        let what = format!("pool {} has subnets, and its provider has none", source.name);
        r.conflict(
            what,
            span,
            format!("only ec2 has subnets, this is {}", source.provider.as_str()),
        );
    }
    Vec::new()
}

fn features(r: &mut Resolver<'_>, name: &str) -> Vec<String> {
    let texts = r.texts(&["pools", name, "features"]).unwrap_or_default();
    texts.into_iter().map(|(text, _)| text).collect()
}

/// What can be said of a pool whose provider nobody knows, so that its other mistakes are in the
/// same run.
fn check_without_provider(r: &mut Resolver<'_>, name: &str) {
    let provider = ProviderKind::External(String::new());
    let local_bytes = storage::of_pool(r, name, &provider).local_bytes;
    let source = PoolSource { name: name.to_string(), provider, local_bytes };
    node_counts(r, name, (u32::MAX, Origin::Default));
    let times = times(r, &source);
    check_times(r, name, &times);
}
