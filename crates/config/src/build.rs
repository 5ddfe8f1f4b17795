//! The rules: from what the file says to a whole `Config`.
//!
//! Invariant: rules look at the file in its own terms and complain about all that is wrong, not
//! only about the first. Deliberately absent: syntax and types (`tree`, `value`).
mod ec2;
mod images;
mod pool;
mod shapes;
mod storage;
mod vm;

use crate::catalogue;
use crate::check::STATE_VOLUME;
use crate::nearest::nearest;
use crate::problem::{Level, Origin, Problem, ProblemKind};
use crate::resolve::Resolver;
use crate::tree::{as_name, is_name};
use crate::value::{Value, quote};
use pcluster_model::config::{
    Budget, Config, External, FixedCost, Head, Image, Pool, ProviderKind,
};
use pcluster_model::{DurationMs, MicroUsd};
use std::ops::Range;

/// The providers by their words.
const PROVIDERS: [&str; 4] = ["process", "vm", "ssh", "ec2"];

/// What the file says, worked out; `None` where it is too wrong to go on.
pub(crate) struct Built {
    pub(crate) config: Option<Config>,
    pub(crate) pools: Vec<String>,
}

/// Applies every rule.
pub(crate) fn build(r: &mut Resolver<'_>) -> Built {
    let pools = pool_names(r);
    let name = cluster_name(r);
    let provider = file_provider(r);
    file_image(r, provider.as_ref());
    let head = head(r, provider.as_ref());
    let (term_grace_ms, requeue_limit) = job_rules(r);
    let images = images::images(r);
    let default = default_pool(r, &pools);
    let mut built: Vec<Pool> = Vec::new();
    for pool in &pools {
        if let Some(pool) = pool::pool(r, pool, provider.as_ref(), &default) {
            images::check_pool(r, &images, &pool);
            built.push(pool);
        }
    }
    check_bursts(r, &pools);
    let fixed_costs = fixed_costs(r, &built);
    let (budget, admins) = (budget(r), admins(r));
    let only_process = built.iter().all(|pool| pool.provider == ProviderKind::Process);
    let root_jobs = r.bool_or(&["limits", "root_jobs"], only_process, Origin::Default);
    let config = Config {
        name,
        head,
        pools: built,
        images: with_built_in(images),
        budget,
        fixed_costs,
        admins,
        root_jobs,
        process_launcher: launcher(r),
        externals: externals(r),
        vm: vm::vm(r),
        ec2: ec2::ec2(r),
        term_grace_ms,
        requeue_limit,
        zone_offset_ms: r.machine.zone_offset_ms,
    };
    Built { config: provider.map(|_| config), pools }
}

/// Images that need no table, so that a pool's image is always found.
fn with_built_in(mut images: Vec<Image>) -> Vec<Image> {
    use pcluster_model::config::ImageSource;
    for (name, source) in [
        ("host", ImageSource::Host),
        ("minimal", ImageSource::BuiltIn),
        ("debian-12", ImageSource::BuiltIn),
    ] {
        if !images.iter().any(|image| image.name == name) {
            images.push(Image { name: name.into(), source, profile: None });
        }
    }
    images
}

/// The pools in the order of the file; `compute` when it names none.
fn pool_names(r: &Resolver<'_>) -> Vec<String> {
    let mut names: Vec<String> =
        r.tree.below(&["pools"]).iter().filter_map(|entry| entry.path.get(1).cloned()).collect();
    if names.is_empty() {
        names.push("compute".into());
    }
    names
}

fn cluster_name(r: &mut Resolver<'_>) -> String {
    if let Some(name) = r.text(&["name"]) {
        if !is_name(&name) {
            let span = r.span(&["name"]);
            let mut problem = Problem::new(
                ProblemKind::BadName,
                format!("{} is not a name", quote(&crate::tree::shorten(&name))),
                span,
            )
            .label("allowed: [a-z0-9-], at most 32 characters");
            let better = as_name(&name);
            if !better.is_empty() {
                problem = problem.hint(format!("name = {}", quote(&better)));
            }
            r.problem(problem);
        }
        return name;
    }
    let name = crate::own_name(r.source);
    r.settle(&["name"], quote(&name), Origin::Machine);
    name
}

/// The provider of that word; a wrong one is a problem at `span`.
fn provider_kind(
    r: &mut Resolver<'_>,
    word: &str,
    span: Option<Range<usize>>,
) -> Option<ProviderKind> {
    match word {
        "process" => return Some(ProviderKind::Process),
        "vm" => return Some(ProviderKind::Vm),
        "ssh" => return Some(ProviderKind::Ssh),
        "ec2" => return Some(ProviderKind::Ec2),
        _ => {}
    }
    if r.tree.get(&["external", word]).is_some() {
        return Some(ProviderKind::External(word.to_string()));
    }
    let message = format!("there is no provider {}", quote(&crate::tree::shorten(word)));
    let problem = Problem::new(ProblemKind::BadValue, message, span)
        .label("allowed: \"process\", \"vm\", \"ssh\", \"ec2\" or an [external.NAME]");
    let near = nearest(word, PROVIDERS);
    r.problem(match near {
        Some(near) => problem.hint(format!("did you mean {}?", quote(near))),
        None => problem,
    });
    None
}

fn file_provider(r: &mut Resolver<'_>) -> Option<ProviderKind> {
    if let Some(word) = r.text(&["provider"]) {
        let span = r.span(&["provider"]);
        return provider_kind(r, &word, span);
    }
    if !r.tree.is_bad(&["provider"]) {
        let problem = Problem::new(ProblemKind::Missing, "`provider` is missing", None)
            .hint("provider = \"process\"   runs the nodes as processes on this machine")
            .hint("the others are \"vm\", \"ssh\" and \"ec2\"");
        r.problem(problem);
    }
    None
}

/// Records the image of the file for `config explain`; pools look for themselves.
fn file_image(r: &mut Resolver<'_>, provider: Option<&ProviderKind>) {
    if r.text(&["image"]).is_none()
        && let Some(provider) = provider
    {
        let name = pool::default_image(provider);
        let origin = Origin::ProviderDefault { provider: provider.as_str().into() };
        r.settle(&["image"], quote(name), origin);
    }
}

/// The pool of jobs that name none: the one that says so, else `compute`, else the first.
fn default_pool(r: &mut Resolver<'_>, pools: &[String]) -> String {
    let mut found: Option<&String> = None;
    for pool in pools {
        let path = ["pools", pool.as_str(), "default"];
        if r.bool(&path) != Some(true) {
            continue;
        }
        if let Some(first) = found {
            let message = format!("two pools say `default = true`: {first} and {pool}");
            let span = r.span(&path);
            r.conflict(message, span, "the second one");
            continue;
        }
        found = Some(pool);
    }
    // `compute = { name = "main" }` is the short form's pool as well.
    let short = pools
        .iter()
        .find(|pool| r.tree.get(&["pools", pool]).is_some_and(|entry| entry.key.path == "compute"));
    let compute = pools.iter().find(|pool| *pool == "compute");
    found.or(short).or(compute).or(pools.first()).cloned().unwrap_or_default()
}

fn head(r: &mut Resolver<'_>, provider: Option<&ProviderKind>) -> Head {
    let seconds = |r: &mut Resolver<'_>, key: &str, seconds: u64| {
        r.duration_or(&["head", key], DurationMs::from_secs(seconds), Origin::Default)
    };
    let instance_type = r.text(&["head", "type"]);
    if instance_type.is_some() && provider.is_some_and(|kind| *kind != ProviderKind::Ec2) {
        let span = r.span(&["head", "type"]);
        r.conflict("`head.type` is for provider ec2", span, "the head runs on this machine");
    }
    let address = r.text(&["head", "address"]).filter(|address| address != "auto");
    if let Some(text) = &address
        && (text.is_empty() || text.chars().any(|c| c.is_whitespace() || c == '/'))
    {
        let span = r.span(&["head", "address"]);
        let problem = Problem::new(ProblemKind::BadValue, "`head.address` is no address", span)
            .label("write a name or an address, such as \"head.lab.example\"");
        r.problem(problem);
    }
    let heartbeat_ms = seconds(r, "heartbeat", 10);
    // A node may miss three beats: a longer heartbeat alone must not need a second key.
    let silent = (heartbeat_ms.0.saturating_mul(7) / 2 / 1000).max(35);
    let head = Head {
        address,
        listen: listen(r, provider),
        instance_type,
        settle_ms: seconds(r, "settle", 60),
        heartbeat_ms,
        silent_after_ms: seconds(r, "silent_after", silent),
        orphan_after_ms: seconds(r, "orphan_after", 180),
        report_hold_ms: seconds(r, "report_hold", 3600),
        orphan_grace_ms: seconds(r, "orphan_grace", 120),
        sweep_ms: seconds(r, "sweep", 60),
        keep_jobs_ms: seconds(r, "keep_jobs", 30 * 86_400),
        hosts_file: hosts_file(r),
    };
    let positive = [
        ("heartbeat", head.heartbeat_ms),
        ("sweep", head.sweep_ms),
        ("keep_jobs", head.keep_jobs_ms),
    ];
    for (key, value) in positive {
        if value == DurationMs::ZERO {
            let span = r.span(&["head", key]);
            r.conflict(format!("`head.{key}` is 0"), span, "must be longer than 0");
        }
    }
    if head.silent_after_ms <= head.heartbeat_ms {
        let span = r.span(&["head", "silent_after"]).or(r.span(&["head", "heartbeat"]));
        let label = format!(
            "heartbeat is {}, silent_after is {}",
            pcluster_model::units::format_duration(head.heartbeat_ms),
            pcluster_model::units::format_duration(head.silent_after_ms)
        );
        r.conflict("`silent_after` must be longer than `heartbeat`", span, label);
    }
    head
}

fn hosts_file(r: &mut Resolver<'_>) -> Option<String> {
    let Some(text) = r.text(&["head", "hosts_file"]) else {
        return Some("/etc/hosts".into());
    };
    if text != "none" && !text.starts_with('/') {
        let span = r.span(&["head", "hosts_file"]);
        let message = format!("{} is no absolute path", quote(&crate::tree::shorten(&text)));
        let problem = Problem::new(ProblemKind::BadValue, message, span);
        r.problem(problem.label("write \"/etc/hosts\" or \"none\""));
    }
    Some(text).filter(|text| text != "none")
}

fn listen(r: &mut Resolver<'_>, provider: Option<&ProviderKind>) -> Option<String> {
    let given = r.text(&["head", "listen"]);
    if let (None, Some(provider)) = (&given, provider) {
        let text = match provider {
            ProviderKind::Process => "(127.0.0.1 and any free port)",
            ProviderKind::Vm if !vm::is_bridged(r) => "(127.0.0.1 and any free port)",
            _ => "\"0.0.0.0:7443\"",
        };
        let origin = Origin::ProviderDefault { provider: provider.as_str().into() };
        r.settle(&["head", "listen"], text.into(), origin);
    }
    given
}

fn job_rules(r: &mut Resolver<'_>) -> (DurationMs, u32) {
    let grace = r.duration_or(&["head", "term_grace"], DurationMs::from_secs(30), Origin::Default);
    (grace, r.count_or(&["head", "requeue_limit"], 5, Origin::Default))
}

fn budget(r: &mut Resolver<'_>) -> Budget {
    let month = match r.given(&["budget", "month"]) {
        Some(Value::Money(amount)) => Some(amount),
        _ => None,
    };
    if month == Some(MicroUsd::ZERO) {
        let span = r.span(&["budget", "month"]);
        let text = "a budget of $0 stops every launch that costs anything".to_string();
        r.note(Level::Warning, span, text);
    }
    let warn = match r.given(&["budget", "warn"]) {
        Some(Value::Percent(percent)) => percent,
        _ => 80,
    };
    Budget { month, warn_percent: Some(warn) }
}

fn admins(r: &mut Resolver<'_>) -> Vec<String> {
    let mut admins = Vec::new();
    for (name, span) in r.texts(&["accounts", "admins"]).unwrap_or_default() {
        let plain = name.strip_prefix('@').unwrap_or(&name);
        let letters = |c: char| c.is_alphanumeric() || "-_.$".contains(c);
        if plain.is_empty() || !plain.chars().all(letters) || plain.starts_with('-') {
            let message = format!("{} is no user and no group", quote(&name));
            let problem = Problem::new(ProblemKind::BadValue, message, Some(span))
                .label("write \"ana\" or \"@wheel\"");
            r.problem(problem);
        } else {
            admins.push(name);
        }
    }
    admins
}

/// The command that process nodes are started by.
fn launcher(r: &mut Resolver<'_>) -> Vec<String> {
    let words = r.texts(&["process", "launcher"]).unwrap_or_default();
    if let Some((program, span)) = words.first()
        && program.is_empty()
    {
        let problem = Problem::new(
            ProblemKind::BadValue,
            "`process.launcher` names no program",
            Some(span.clone()),
        );
        r.problem(
            problem.label(
                "write a command, such as [\"nsenter\", \"--net=/run/netns/{node}\", \"--\"]",
            ),
        );
    }
    words.into_iter().map(|(word, _)| word).collect()
}

/// `[external.NAME]`, in the order of the file.
fn externals(r: &mut Resolver<'_>) -> Vec<External> {
    let names: Vec<String> =
        r.tree.below(&["external"]).iter().filter_map(|entry| entry.path.get(1).cloned()).collect();
    names.into_iter().map(|name| external(r, name)).collect()
}

fn external(r: &mut Resolver<'_>, name: String) -> External {
    let at = |key| ["external", name.as_str(), key];
    let text = r.text(&at("command")).unwrap_or_default();
    let mut command: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    if command.is_empty() && !r.tree.is_bad(&at("command")) {
        let span = r.span(&at("command")).or_else(|| r.key_span(&["external", &name]));
        let message = format!("provider {name} has no command");
        let problem = Problem::new(ProblemKind::Missing, message, span);
        r.problem(problem.hint("command = \"./boxes\"   a program as docs/providers.md tells"));
    }
    if let Some(program) = command.first_mut()
        && program.contains('/')
        && !program.starts_with('/')
    {
        let below = program.trim_start_matches("./");
        *program = format!("{}/{below}", r.source.folder.trim_end_matches('/'));
    }
    let minute = DurationMs::from_secs(60);
    let power_off = r.bool_or(&at("power_off"), true, Origin::Default);
    External {
        command,
        timeout_ms: r.duration_or(&at("timeout"), minute, Origin::Default),
        consistency_ms: r.duration_or(&at("consistency"), minute, Origin::Default),
        power_off,
        add_users: r.bool_or(&at("add_users"), power_off, Origin::Default),
        name,
    }
}

fn check_bursts(r: &mut Resolver<'_>, pools: &[String]) {
    for pool in pools {
        let path = ["pools", pool.as_str(), "burst", "from"];
        let Some(from) = r.text(&path) else { continue };
        let span = r.span(&path);
        if from == *pool {
            r.conflict(format!("pool {pool} bursts from itself"), span, "name another pool");
        } else if !pools.contains(&from) {
            let message = format!("there is no pool {}", quote(&crate::tree::shorten(&from)));
            let all = pools.join(", ");
            let mut problem =
                Problem::new(ProblemKind::BadValue, message, span).label(format!("pools: {all}"));
            if let Some(near) = nearest(&from, pools.iter().map(String::as_str)) {
                problem = problem.hint(format!("did you mean {}?", quote(near)));
            }
            r.problem(problem);
        }
    }
}

/// The head's own machine and the storage that the provider creates.
fn fixed_costs(r: &mut Resolver<'_>, pools: &[Pool]) -> Vec<FixedCost> {
    let mut costs = Vec::new();
    if let Some(name) = r.text(&["head", "type"]) {
        let price = shapes::own_price(r, &name)
            .or_else(|| shapes::in_catalogue(r).then(|| catalogue::ec2_type(&name)?.price)?);
        if price.is_none() {
            let span = r.span(&["head", "type"]);
            shapes::unknown_price(r, &name, span);
        }
        costs.push(FixedCost { label: name, price });
    }
    let storage = storage::fixed_costs(r, pools);
    // The state of a head that shares nothing lies on a volume, too.
    if storage.is_empty() && !costs.is_empty() {
        costs.push(storage::volume(r, STATE_VOLUME));
    }
    costs.extend(storage);
    costs
}
