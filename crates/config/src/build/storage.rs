//! Disks: what is shared, who holds it, and each node's scratch.
use crate::catalogue;
use crate::problem::{Level, Origin, Problem, ProblemKind};
use crate::resolve::Resolver;
use crate::value::{Value, quote, share_text};
use pcluster_model::config::{FixedCost, Pool, ProviderKind, Share, ShareSource};
use pcluster_model::units::format_size;

/// Size of the shared disk that EC2 creates when the file names none.
const SHARED_SIZE: u64 = 100 << 30;

/// The disks of one pool.
pub(super) struct Disks {
    pub(super) shares: Vec<Share>,
    pub(super) local_bytes: u64,
    pub(super) local_home: bool,
}

/// Looks `key` up in the pool's own `storage`, then in the file's.
fn inherited(r: &mut Resolver<'_>, pool: &str, key: &str) -> Option<Value> {
    let path = ["pools", pool, "storage", key];
    if let Some(value) = r.given(&path) {
        return Some(value);
    }
    let value = r.given(&["storage", key])?;
    if let Some(origin) = r.inherited(&["storage", key]) {
        r.settle(&path, value.shown(), origin);
    }
    Some(value)
}

/// Records a default for the pool, and for the file where the file is silent too.
fn settle_default(r: &mut Resolver<'_>, pool: &str, key: &str, value: &str, origin: &Origin) {
    r.settle(&["pools", pool, "storage", key], value.to_string(), origin.clone());
    r.settle(&["storage", key], value.to_string(), origin.clone());
}

fn default_path(provider: &ProviderKind) -> &'static str {
    match provider {
        ProviderKind::Process => "/",
        ProviderKind::Ssh | ProviderKind::External(_) => "/home",
        ProviderKind::Vm | ProviderKind::Ec2 => "/shared",
    }
}

fn default_source(provider: &ProviderKind) -> ShareSource {
    match provider {
        ProviderKind::Vm | ProviderKind::Ec2 => ShareSource::Head,
        _ => ShareSource::Mounted,
    }
}

/// Shared paths are absolute and plain: they are compared as text with a job's directory.
fn check_path(r: &mut Resolver<'_>, place: &[&str], path: &str) {
    let plain = !path.split('/').any(|part| part == "." || part == "..");
    if path.starts_with('/') && plain {
        return;
    }
    let span = r.span(place);
    let problem = Problem::new(
        ProblemKind::BadValue,
        format!("{} is not an absolute path", quote(&crate::tree::shorten(path))),
        span,
    )
    .label("begin it with / or ~/");
    // A value that two pools inherit is wrong once.
    if !r.problems.contains(&problem) {
        r.problem(problem);
    }
}

/// Without the slash at the end, which would make `/data/` and `/data` differ.
fn tidy(path: &str) -> String {
    let tidy = path.trim_end_matches('/');
    if tidy.is_empty() { "/".into() } else { tidy.into() }
}

/// The disks of `pool`.
pub(super) fn of_pool(r: &mut Resolver<'_>, pool: &str, provider: &ProviderKind) -> Disks {
    let origin = Origin::ProviderDefault { provider: provider.as_str().into() };
    let own = ["pools", pool, "storage", "shared"];
    let path = match inherited(r, pool, "shared") {
        Some(Value::Text(path)) => {
            let place: &[&str] =
                if r.tree.get(&own).is_some() { &own } else { &["storage", "shared"] };
            check_path(r, place, &path);
            tidy(&path)
        }
        _ => {
            let path = default_path(provider);
            settle_default(r, pool, "shared", &quote(path), &origin);
            path.to_string()
        }
    };
    let source = match inherited(r, pool, "from") {
        Some(Value::Share(source)) => source,
        _ => {
            let source = default_source(provider);
            settle_default(r, pool, "from", &quote(&share_text(&source)), &origin);
            source
        }
    };
    let creates = *provider == ProviderKind::Ec2 && source == ShareSource::Head;
    let size_bytes = match inherited(r, pool, "shared_size") {
        Some(Value::Size(bytes)) => Some(bytes),
        _ if creates => {
            settle_default(r, pool, "shared_size", &quote(&format_size(SHARED_SIZE)), &origin);
            Some(SHARED_SIZE)
        }
        _ => None,
    };
    let local_bytes = match inherited(r, pool, "local") {
        Some(Value::Size(bytes)) => bytes,
        _ => 0,
    };
    let mut shares = vec![Share { path, source: source.clone(), size_bytes }];
    shares.extend(more_shares(r, &source));
    let local_home = home(r, pool, provider, &mut shares);
    // Process nodes see every path of this machine: a narrower `shared` refuses nothing.
    if *provider == ProviderKind::Process && !shares.iter().any(|share| share.path == "/") {
        shares.push(Share { path: "/".into(), source: ShareSource::Mounted, size_bytes: None });
    }
    Disks { shares, local_bytes, local_home }
}

/// Homes are those of the head, unless the file says otherwise: its `/home`, and where the user of the head
/// lives, if that is elsewhere. True when each node has empty ones of its own.
fn home(
    r: &mut Resolver<'_>,
    pool: &str,
    provider: &ProviderKind,
    shares: &mut Vec<Share>,
) -> bool {
    let asked = inherited(r, pool, "home");
    if !matches!(provider, ProviderKind::Vm | ProviderKind::Ec2) {
        return false;
    }
    let local = match asked {
        Some(Value::Text(word)) => word == "local",
        _ => {
            let origin = Origin::ProviderDefault { provider: provider.as_str().into() };
            settle_default(r, pool, "home", &quote("shared"), &origin);
            false
        }
    };
    if local {
        return true;
    }
    // Root's home is each machine's own.
    let own = Some(r.machine.home.clone()).filter(|home| home.starts_with('/') && home != "/root");
    for path in ["/home".to_owned()].into_iter().chain(own) {
        let path = tidy(&path);
        let holds = |share: &Share| {
            let below = path.strip_prefix(share.path.as_str());
            share.path == "/" || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if !shares.iter().any(holds) {
            shares.push(Share { path, source: ShareSource::Head, size_bytes: None });
        }
    }
    false
}

/// `[shares."/path"]`.
fn more_shares(r: &mut Resolver<'_>, source: &ShareSource) -> Vec<Share> {
    let paths: Vec<String> =
        r.tree.below(&["shares"]).iter().filter_map(|entry| entry.path.get(1).cloned()).collect();
    let mut shares = Vec::new();
    for path in paths {
        let from = match r.given(&["shares", &path, "from"]) {
            Some(Value::Share(source)) => source,
            _ => {
                let origin = r.inherited(&["storage", "from"]).unwrap_or(Origin::Default);
                r.settle(&["shares", &path, "from"], quote(&share_text(source)), origin);
                source.clone()
            }
        };
        let size_bytes = r.size(&["shares", &path, "size"]);
        shares.push(Share { path: tidy(&path), source: from, size_bytes });
    }
    shares
}

/// A volume of the head.
pub(super) fn volume(r: &Resolver<'_>, bytes: u64) -> FixedCost {
    FixedCost {
        label: format!("{} gp3", format_size(bytes)),
        price: super::shapes::in_catalogue(r).then(|| catalogue::storage_price(bytes)),
    }
}

/// What the shared disks cost whether or not there is work. A file system that was there before
/// costs the same without the cluster: it is named and not counted.
pub(super) fn fixed_costs(r: &mut Resolver<'_>, pools: &[Pool]) -> Vec<FixedCost> {
    let mut seen: Vec<&str> = Vec::new();
    let mut costs = Vec::new();
    for pool in pools.iter().filter(|pool| pool.provider == ProviderKind::Ec2) {
        for share in &pool.shares {
            if seen.contains(&share.path.as_str()) {
                continue;
            }
            seen.push(&share.path);
            match (&share.source, share.size_bytes) {
                (ShareSource::Head, Some(bytes)) => costs.push(volume(r, bytes)),
                (ShareSource::Efs(id) | ShareSource::Fsx(id), _) => {
                    let span = r.span(&["storage", "from"]);
                    r.note(Level::Note, span, format!("the price of {id} itself is not counted"));
                }
                _ => {}
            }
        }
    }
    costs
}
