//! Shapes: from `types`, `cpus` and `memory`, the catalogue, or the machine's own size.
use super::pool::PoolSource;
use crate::catalogue;
use crate::nearest::nearest;
use crate::problem::{Level, Origin, Problem, ProblemKind};
use crate::resolve::{Resolver, about};
use crate::value::{Value, quote, show_texts};
use pcluster_model::config::ProviderKind;
use pcluster_model::{Price, Resources, Shape};
use std::ops::Range;

/// Below this no job can do anything, and the file has surely a slip (`"2 MB"` for `"2 GB"`).
const SMALLEST_MEMORY: u64 = 16 << 20;
/// Memory of a vm node that names none.
const VM_MEMORY: u64 = 1 << 30;
/// Types of an EC2 pool that names none.
const EC2_TYPES: [&str; 2] = ["c6i.4xlarge", "c7i.4xlarge"];

/// Kept from jobs until a node has reported: 5 % and 256 MB.
pub(super) const fn reserve_of(memory_bytes: u64) -> u64 {
    Shape::guessed_reserve(memory_bytes)
}

/// The shapes of a pool and what follows from them.
pub(super) struct Shapes {
    pub(super) shapes: Vec<Shape>,
    /// Nodes at most, where the file does not say; with where it comes from.
    pub(super) max: (u32, Origin),
    pub(super) max_cpus: Option<u32>,
}

/// What `reserve` says.
struct Reserve {
    cpus: u32,
    memory: Option<u64>,
}

fn reserve(r: &mut Resolver<'_>, source: &PoolSource) -> Reserve {
    let pool = source.name.as_str();
    let cpus = r.count_or(&["pools", pool, "reserve", "cpus"], 0, Origin::Default);
    let path = ["pools", pool, "reserve", "memory"];
    let memory = r.size(&path);
    if memory.is_none() {
        let text = match source.provider {
            ProviderKind::Process => "(nothing beside the 5 % + 256 MB of the machine)",
            _ => "(5 % + 256 MB until one has reported)",
        };
        r.settle(&path, text.into(), source.default());
    }
    Reserve { cpus, memory }
}

/// Records for `config explain` which ways of describing machines a pool does not use.
fn settle_unused(r: &mut Resolver<'_>, source: &PoolSource) {
    for key in ["types", "hosts"] {
        let path = ["pools", source.name.as_str(), key];
        if r.tree.get(&path).is_none() {
            r.settle(&path, "(none)".into(), source.default());
        }
    }
}

/// Works out the shapes of `source`'s pool.
pub(super) fn shapes(r: &mut Resolver<'_>, source: &PoolSource) -> Shapes {
    check_form(r, source);
    settle_unused(r, source);
    let reserve = reserve(r, source);
    match source.provider {
        ProviderKind::Process => process(r, source, &reserve),
        ProviderKind::Vm => vm(r, source, &reserve),
        ProviderKind::Ssh => hosts(r, source),
        ProviderKind::External(_) if has_own_shape(r, source) => external(r, source, &reserve),
        ProviderKind::Ec2 | ProviderKind::External(_) => typed(r, source, &reserve),
    }
}

/// A pool is described in one way: by types, by a size, or by hosts.
fn check_form(r: &mut Resolver<'_>, source: &PoolSource) {
    let pool = source.name.as_str();
    let has = |r: &Resolver<'_>, key: &str| r.tree.get(&["pools", pool, key]).is_some();
    let provider = source.provider.as_str();
    let own = ["cpus", "memory", "gpus"].into_iter().find(|key| has(r, key));
    let types = has(r, "types");
    if let (true, Some(own)) = (types, own) {
        let span = r.key_span(&["pools", pool, own]);
        let message = format!("pool {pool} has `types` and `{own}`");
        r.conflict(message, span, "a pool has either types or a shape of its own");
    }
    if has(r, "hosts") && source.provider != ProviderKind::Ssh {
        let span = r.key_span(&["pools", pool, "hosts"]);
        let message = format!("`hosts` is for provider ssh, and pool {pool} is of {provider}");
        r.conflict(message, span, "not here");
    }
    if source.provider == ProviderKind::Ec2
        && let (false, Some(own)) = (types, own)
    {
        let span = r.key_span(&["pools", pool, own]);
        let problem =
            Problem::new(ProblemKind::Conflict, format!("`{own}` names no type of ec2"), span)
                .label("ec2 has types of its own")
                .hint("types = [\"c6i.4xlarge\"]");
        r.problem(problem);
    }
    if source.provider == ProviderKind::Ssh && types {
        let span = r.key_span(&["pools", pool, "types"]);
        r.conflict("`types` is not for provider ssh", span, "ssh pools have `hosts`");
    }
}

/// The price of a shape of the pool's own: the file's, or nothing to pay.
fn own_shape_price(r: &mut Resolver<'_>, source: &PoolSource) -> Price {
    let path = ["pools", source.name.as_str(), "price"];
    r.price(&path).unwrap_or_else(|| {
        r.settle(&path, quote(&Price::ZERO.to_string()), source.default());
        Price::ZERO
    })
}

fn check_memory(r: &mut Resolver<'_>, path: &[&str], bytes: u64) {
    if bytes < SMALLEST_MEMORY {
        let span = r.span(path);
        let problem = Problem::new(
            ProblemKind::BadValue,
            format!("a node with {} of memory holds no job", about(bytes)),
            span,
        )
        .label("at least 16 MB");
        r.problem(problem);
    }
}

fn own_gpus(r: &mut Resolver<'_>, pool: &str) -> (u32, String) {
    r.gpus(&["pools", pool, "gpus"]).unwrap_or_default()
}

/// Sizes of 1, 2, 4 … up to the machine, which is the last.
fn sizes(cpus: u32) -> Vec<u32> {
    let doubled = std::iter::successors(Some(1u32), |size| size.checked_mul(2));
    let mut sizes: Vec<u32> = doubled.take_while(|size| *size < cpus).collect();
    sizes.push(cpus.max(1));
    sizes
}

/// What the machine has for jobs: CPUs, and memory less what its system needs.
fn machine_room(r: &Resolver<'_>, reserve: &Reserve) -> (u32, u64) {
    let cpus = r.machine.cpus.saturating_sub(reserve.cpus).max(1);
    let whole = r.machine.memory_bytes;
    // A tiny machine keeps half of itself rather than nothing.
    let usable = whole.saturating_sub(reserve_of(whole)).max(whole / 2);
    (cpus, usable.saturating_sub(reserve.memory.unwrap_or(0)).max(SMALLEST_MEMORY))
}

fn share(memory: u64, cpus: u32, of: u32) -> u64 {
    let bytes = u128::from(memory) * u128::from(cpus.min(of)) / u128::from(of.max(1));
    u64::try_from(bytes).unwrap_or(memory)
}

fn process(r: &mut Resolver<'_>, source: &PoolSource, reserve: &Reserve) -> Shapes {
    let pool = source.name.as_str();
    let (machine_cpus, usable) = machine_room(r, reserve);
    if r.tree.get(&["pools", pool, "types"]).is_some() {
        return own_types(r, source, machine_cpus, usable);
    }
    let cpus = r.count(&["pools", pool, "cpus"]);
    let memory = r.size(&["pools", pool, "memory"]);
    if let Some(memory) = memory {
        check_memory(r, &["pools", pool, "memory"], memory);
    }
    let price = own_shape_price(r, source);
    let (gpus, gpu_type) = own_gpus(r, pool);
    let shape = |cpus: u32, memory_bytes: u64| Shape {
        name: format!("{cpus}c"),
        arch: std::env::consts::ARCH.into(),
        total: Resources { cpus, memory_bytes, gpus, tmp_bytes: source.local_bytes },
        gpu_type: gpu_type.clone(),
        price: Some(price),
        spot_price: None,
        reserve_bytes: 0,
    };
    if cpus.is_none() && memory.is_none() {
        let sizes = sizes(machine_cpus);
        let list: Vec<String> = sizes.iter().map(ToString::to_string).collect();
        let each = about(share(usable, 1, machine_cpus));
        r.settle(
            &["pools", pool, "cpus"],
            format!("(nodes of {} CPUs)", list.join(", ")),
            Origin::Machine,
        );
        r.settle(&["pools", pool, "memory"], format!("({each} for each CPU)"), Origin::Machine);
        return Shapes {
            shapes: sizes.iter().map(|n| shape(*n, share(usable, *n, machine_cpus))).collect(),
            max: (machine_cpus, Origin::Machine),
            max_cpus: Some(machine_cpus),
        };
    }
    let cpus = cpus.unwrap_or_else(|| {
        r.settle(&["pools", pool, "cpus"], "1".into(), Origin::Default);
        1
    });
    let memory = memory.unwrap_or_else(|| {
        let memory = share(usable, cpus, machine_cpus);
        r.settle(&["pools", pool, "memory"], format!("({})", about(memory)), Origin::Machine);
        memory
    });
    let max = (machine_cpus / cpus).max(1);
    promise(r, source, cpus, memory, max);
    Shapes { shapes: vec![shape(cpus, memory)], max: (max, Origin::Machine), max_cpus: None }
}

/// Says once when explicit sizes promise more than this machine has.
fn promise(r: &mut Resolver<'_>, source: &PoolSource, cpus: u32, memory: u64, max: u32) {
    let pool = source.name.as_str();
    let max_path = ["pools", pool, "max"];
    let max = r.count(&max_path).unwrap_or(max);
    let promised = u64::from(cpus) * u64::from(max);
    let (have, have_memory) = (r.machine.cpus, r.machine.memory_bytes);
    let mut texts = Vec::new();
    if promised > u64::from(have) {
        texts.push(format!("{promised} CPUs promised on a machine of {have}"));
    }
    let promised_memory = u128::from(memory) * u128::from(max);
    if promised_memory > u128::from(have_memory) {
        let promised = about(u64::try_from(promised_memory).unwrap_or(u64::MAX));
        texts.push(format!("{promised} of memory promised on a machine of {}", about(have_memory)));
    }
    let span = r.key_span(&max_path).or_else(|| r.key_span(&["pools", pool]));
    for text in texts {
        r.note(Level::Note, span.clone(), format!("pool {pool}: {text}"));
    }
}

/// `types` of a process pool: shapes of the file, this machine's memory where they name none.
fn own_types(r: &mut Resolver<'_>, source: &PoolSource, cpus: u32, usable: u64) -> Shapes {
    let mut shapes = Vec::new();
    for (name, span) in r.texts(&["pools", &source.name, "types"]).unwrap_or_default() {
        if r.tree.get(&["shapes", &name]).is_none() {
            no_such_shape(r, &name, span, &source.provider);
            continue;
        }
        let Some(mut shape) = described(r, &name, source, Some((usable, cpus))) else { continue };
        shape.reserve_bytes = 0;
        shape.price = shape.price.or(Some(own_shape_price(r, source)));
        shapes.push(shape);
    }
    let smallest = shapes.iter().map(|shape| shape.total.cpus).min().unwrap_or(1).max(1);
    let max = ((cpus / smallest).max(1), Origin::Machine);
    let max_cpus = r.tree.get(&["pools", &source.name, "max"]).is_none().then_some(cpus);
    Shapes { shapes, max, max_cpus }
}

fn no_such_shape(r: &mut Resolver<'_>, name: &str, span: Range<usize>, provider: &ProviderKind) {
    let own: Vec<String> =
        r.tree.below(&["shapes"]).iter().filter_map(|entry| entry.path.get(1).cloned()).collect();
    let message = format!("there is no shape {}", quote(&crate::tree::shorten(name)));
    let mut problem = Problem::new(ProblemKind::BadValue, message, Some(span))
        .label(format!("types of provider {} are shapes of this file", provider.as_str()));
    problem = match nearest(name, own.iter().map(String::as_str)) {
        Some(near) => problem.hint(format!("did you mean {}?", quote(near))),
        None => problem.hint(format!("add {}", shape_header(name))),
    };
    r.problem(problem);
}

/// `[shapes.big]`, or `[shapes."c6i.4xlarge"]` where the name has dots.
fn shape_header(name: &str) -> String {
    format!("[{}]", crate::tree::path_text(&["shapes", name]))
}

fn vm(r: &mut Resolver<'_>, source: &PoolSource, reserve: &Reserve) -> Shapes {
    let pool = source.name.as_str();
    let (_, usable) = machine_room(r, &Reserve { cpus: 0, memory: None });
    if r.tree.get(&["pools", pool, "types"]).is_some() {
        let mut shapes = own_types(r, source, r.machine.cpus.max(1), usable);
        shapes.max_cpus = None;
        return shapes;
    }
    let price = own_shape_price(r, source);
    let (shape, memory) = own_shape(r, source, reserve, Some(price));
    let max = u32::try_from((usable / memory.max(1)).max(1)).unwrap_or(u32::MAX);
    Shapes { shapes: vec![shape], max: (max, Origin::Machine), max_cpus: None }
}

/// The shape that a pool describes by `cpus` and `memory`, and its whole memory.
fn own_shape(
    r: &mut Resolver<'_>,
    source: &PoolSource,
    reserve: &Reserve,
    price: Option<Price>,
) -> (Shape, u64) {
    let pool = source.name.as_str();
    let cpus = r.count_or(&["pools", pool, "cpus"], 1, source.default());
    let path = ["pools", pool, "memory"];
    let memory = r.size(&path).unwrap_or_else(|| {
        r.settle(&path, quote("1 GB"), source.default());
        VM_MEMORY
    });
    check_memory(r, &path, memory);
    let (gpus, gpu_type) = own_gpus(r, pool);
    let shape = Shape {
        name: format!("{cpus}c"),
        arch: std::env::consts::ARCH.into(),
        total: Resources {
            cpus: cpus.saturating_sub(reserve.cpus).max(1),
            memory_bytes: memory,
            gpus,
            tmp_bytes: source.local_bytes,
        },
        gpu_type,
        price,
        spot_price: None,
        reserve_bytes: reserve.memory.unwrap_or_else(|| reserve_of(memory)).min(memory),
    };
    (shape, memory)
}

fn has_own_shape(r: &Resolver<'_>, source: &PoolSource) -> bool {
    ["cpus", "memory", "gpus"]
        .iter()
        .any(|key| r.tree.get(&["pools", source.name.as_str(), key]).is_some())
}

/// An external provider whose machines the pool describes itself: what one costs only the file can say.
fn external(r: &mut Resolver<'_>, source: &PoolSource, reserve: &Reserve) -> Shapes {
    let path = ["pools", source.name.as_str(), "price"];
    let price = r.price(&path);
    let (shape, _) = own_shape(r, source, reserve, price);
    if price.is_none() {
        let span = r.key_span(&["pools", &source.name, "cpus"]);
        unknown_price(r, &shape.name, span);
    }
    Shapes { shapes: vec![shape], max: (10, source.default()), max_cpus: None }
}

/// ssh: the machines are there; their sizes come with their first report.
fn hosts(r: &mut Resolver<'_>, source: &PoolSource) -> Shapes {
    let path = ["pools", source.name.as_str(), "hosts"];
    let hosts = r.texts(&path).unwrap_or_default();
    if hosts.is_empty() && !r.tree.is_bad(&path) {
        let span = r.span(&path).or_else(|| r.key_span(&["pools", &source.name]));
        let problem =
            Problem::new(ProblemKind::Missing, format!("pool {} has no hosts", source.name), span)
                .label("provider ssh needs machines")
                .hint("hosts = [\"ws[01-08]\"]");
        r.problem(problem);
    }
    let count = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    own_shape_price(r, source);
    let origin = r.inherited(&path).unwrap_or(Origin::Default);
    Shapes { shapes: Vec::new(), max: (count, origin), max_cpus: None }
}

/// True when `ec2.region` is the one whose prices are bundled.
pub(super) fn in_catalogue(r: &Resolver<'_>) -> bool {
    region(r) == catalogue::EC2_REGION
}

fn region(r: &Resolver<'_>) -> String {
    match r.tree.get(&["ec2", "region"]).map(|entry| &entry.value) {
        Some(Value::Text(region)) => region.clone(),
        _ => catalogue::EC2_REGION.to_string(),
    }
}

/// The price of `[shapes.NAME]`.
pub(super) fn own_price(r: &Resolver<'_>, name: &str) -> Option<Price> {
    match r.tree.get(&["shapes", name, "price"]).map(|entry| &entry.value) {
        Some(Value::Price(price)) => Some(*price),
        _ => None,
    }
}

/// A type whose price nobody knows: under a budget an error, else a warning.
pub(super) fn unknown_price(r: &mut Resolver<'_>, name: &str, span: Option<Range<usize>>) {
    let region = region(r);
    let message = format!("no price known for {} in {region}", crate::tree::shorten(name));
    let advice = format!("add price = \"$…/h\" or {}", shape_header(name));
    if r.tree.get(&["budget", "month"]).is_some() {
        let problem = Problem::new(ProblemKind::Missing, message, span)
            .label("a budget needs every price")
            .hint(advice);
        r.problem(problem);
    } else {
        r.note(Level::Warning, span, format!("{message}: {advice}"));
    }
}

/// EC2 and external providers: types of the catalogue and of `[shapes]`.
fn typed(r: &mut Resolver<'_>, source: &PoolSource, reserve: &Reserve) -> Shapes {
    let pool = source.name.as_str();
    let path = ["pools", pool, "types"];
    let types = r.texts(&path).filter(|types| !types.is_empty()).unwrap_or_else(|| {
        r.settle(&path, show_texts(EC2_TYPES), source.default());
        EC2_TYPES.map(|name| (name.to_string(), 0..0)).to_vec()
    });
    let pool_price = r.price(&["pools", pool, "price"]);
    let smt = r.bool_or(&["pools", pool, "smt"], true, Origin::Default);
    let mut shapes = Vec::new();
    for (name, span) in types {
        let Some(mut shape) = described(r, &name, source, None) else { continue };
        if own_price(r, &name).is_none() {
            shape.price = pool_price.or(shape.price);
        }
        if shape.price.is_none() {
            unknown_price(r, &name, (span != (0..0)).then_some(span));
        }
        let threads = catalogue::ec2_type(&name).map_or(1, |offer| offer.threads_per_core);
        if !smt {
            shape.total.cpus /= threads.max(1);
        }
        shape.total.cpus = shape.total.cpus.saturating_sub(reserve.cpus);
        shape.reserve_bytes =
            reserve.memory.unwrap_or_else(|| reserve_of(shape.total.memory_bytes));
        shapes.push(shape);
    }
    settle_price(r, source, &shapes, pool_price);
    Shapes {
        shapes,
        max: (10, Origin::ProviderDefault { provider: source.provider.as_str().into() }),
        max_cpus: None,
    }
}

/// Shows the catalogue's prices in `config explain`.
fn settle_price(r: &mut Resolver<'_>, source: &PoolSource, shapes: &[Shape], given: Option<Price>) {
    if given.is_some() {
        return;
    }
    let texts: Vec<String> = shapes
        .iter()
        .map(|shape| {
            let price = shape.price.map_or("unknown".to_string(), |price| price.to_string());
            format!("{} {price}", shape.name)
        })
        .collect();
    let origin = Origin::Catalogue { region: region(r) };
    r.settle(&["pools", &source.name, "price"], format!("({})", texts.join(", ")), origin);
}

/// A type: what `[shapes.NAME]` says, over what the catalogue knows.
fn described(
    r: &mut Resolver<'_>,
    name: &str,
    source: &PoolSource,
    machine: Option<(u64, u32)>,
) -> Option<Shape> {
    let offer = if machine.is_some() { None } else { catalogue::ec2_type(name) };
    let known = in_catalogue(r);
    let own = r.tree.get(&["shapes", name]).is_some();
    let cpus = r.count(&["shapes", name, "cpus"]).or(offer.map(|offer| offer.cpus));
    let memory = r
        .size(&["shapes", name, "memory"])
        .or(offer.map(|offer| offer.memory_bytes))
        .or_else(|| Some(share(machine?.0, cpus?, machine?.1)));
    if own && (cpus.is_none() || memory.is_none()) && !r.tree.is_bad(&["shapes", name, "cpus"]) {
        let missing = if cpus.is_none() { "cpus" } else { "memory" };
        let span = r.key_span(&["shapes", name]);
        let problem =
            Problem::new(ProblemKind::Missing, format!("shape {name} has no `{missing}`"), span)
                .label("the catalogue does not know it either")
                .hint(if cpus.is_none() { "cpus = 4" } else { "memory = \"16 GB\"" });
        r.problem(problem);
        return None;
    }
    if let Some(memory) = r.size(&["shapes", name, "memory"]) {
        check_memory(r, &["shapes", name, "memory"], memory);
    }
    let (gpus, gpu_type) = r
        .gpus(&["shapes", name, "gpus"])
        .or(offer.map(|offer| (offer.gpus, offer.gpu_type.clone())))
        .unwrap_or_default();
    let local = r.size(&["shapes", name, "local"]).unwrap_or(0).max(source.local_bytes);
    let arch = r.text(&["shapes", name, "arch"]).or(offer.map(|offer| offer.arch.clone()));
    let spot = r.price(&["shapes", name, "spot_price"]);
    Some(Shape {
        name: name.to_string(),
        arch: arch.unwrap_or_else(|| std::env::consts::ARCH.into()),
        // A type that nobody knows holds no job until its shape is given.
        total: Resources {
            cpus: cpus.unwrap_or(0),
            memory_bytes: memory.unwrap_or(0),
            gpus,
            tmp_bytes: local,
        },
        gpu_type,
        price: r
            .price(&["shapes", name, "price"])
            .or(offer.filter(|_| known).and_then(|offer| offer.price)),
        spot_price: spot.or(offer.filter(|_| known).and_then(|offer| offer.spot_price)),
        reserve_bytes: 0,
    })
}
