//! Whether a machine is of the kind that a job asks for, whatever is free on it.
use super::place::need_on;
use crate::apply::share;
use crate::ledger::WHOLE;
use alloc::string::String;
use alloc::vec::Vec;
use pcluster_model::config::{Pool, ProviderKind, SpotUse};
use pcluster_model::job::{MemoryAsk, SpotAsk};
use pcluster_model::{JobSpec, MicroUsd, Resources, Shape};

/// What a job needs, as far as placement can tell jobs apart: jobs of one class fit or fail alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Class {
    nodes: u32,
    cpus: u32,
    memory_bytes: u64,
    gpus: u32,
    tmp_bytes: u64,
    gpu_type: String,
    exclusive: bool,
    proportional: bool,
    /// It may not run again after a lost node.
    once: bool,
    image: Option<String>,
    spot: SpotAsk,
    limit: u64,
    features: Vec<String>,
    feature_choices: Vec<Vec<String>>,
    only_nodes: Vec<String>,
    not_nodes: Vec<String>,
    /// The largest cost of all its tasks, and how many they are.
    max_cost: Option<(i64, usize)>,
}

pub(super) fn class_of(spec: &JobSpec) -> Class {
    let Resources { cpus, memory_bytes, gpus, tmp_bytes } = spec.least_per_node();
    Class {
        nodes: spec.nodes,
        cpus,
        memory_bytes,
        gpus,
        tmp_bytes,
        gpu_type: spec.gpu_type.clone(),
        exclusive: spec.exclusive,
        once: !spec.requeue,
        proportional: spec.memory == MemoryAsk::Proportional,
        image: spec.image.clone(),
        spot: spec.spot,
        limit: spec.time_limit_ms.map_or(u64::MAX, |limit| limit.0),
        features: spec.features.clone(),
        feature_choices: spec.feature_choices.clone(),
        only_nodes: spec.only_nodes.clone(),
        not_nodes: spec.not_nodes.clone(),
        max_cost: spec.max_cost.map(|most| (most.0, tasks_of(spec))),
    }
}

/// The image that nodes of this job must have.
pub(super) fn image_of<'a>(pool: &'a Pool, spec: &'a JobSpec) -> &'a str {
    spec.image.as_deref().unwrap_or(&pool.image)
}

fn tasks_of(spec: &JobSpec) -> usize {
    spec.array.as_ref().map_or(1, |array| array.indices.len())
}

/// What a job costs at most on machines of this shape: its share of them for its whole time limit,
/// on all its nodes and for all its tasks. `None`: there is no bound, because it has no limit.
pub(crate) fn most_cost(pool: &Pool, spec: &JobSpec, shape: &Shape) -> Option<MicroUsd> {
    // Machines without a price cost nothing.
    let Some(price) = shape.price else { return Some(MicroUsd::ZERO) };
    let usable = shape.usable();
    let part = share(&need_on(pool, spec, &usable), &usable);
    let one = i128::from(price.for_span(spec.time_limit_ms?).0) * i128::from(part);
    let whole = i128::from(WHOLE);
    let runs = i128::from(spec.nodes.max(1)) * i128::try_from(tasks_of(spec)).ok()?;
    let all = (one * runs + whole - 1) / whole;
    Some(MicroUsd(i64::try_from(all).unwrap_or(i64::MAX)))
}

fn affordable(pool: &Pool, spec: &JobSpec, shape: &Shape) -> bool {
    spec.max_cost.is_none_or(|most| most_cost(pool, spec, shape).is_some_and(|cost| cost <= most))
}

/// The shape has the GPU and the features that are asked for, and costs no more than it may.
pub(super) fn suits(pool: &Pool, spec: &JobSpec, shape: &Shape) -> bool {
    let right_gpu =
        spec.gpus_per_node == 0 || spec.gpu_type.is_empty() || spec.gpu_type == shape.gpu_type;
    right_gpu && spec.wants_of(pool.features_of(shape)) && affordable(pool, spec, shape)
}

/// How machines for a job are bought in a pool. What the job says goes before what the pool says; one that
/// is not to run again after a lost node, and says nothing, gets no spot machine where the pool has others.
#[must_use]
pub fn spot_use(pool: &Pool, spec: &JobSpec) -> SpotUse {
    match (spec.spot, pool.spot) {
        (SpotAsk::AsPool, SpotUse::Prefer) if !(spec.requeue || pool.requeue_always) => {
            SpotUse::Never
        }
        (SpotAsk::AsPool, of_pool) => of_pool,
        (SpotAsk::No, _) => SpotUse::Never,
        (SpotAsk::Yes, SpotUse::Never) if !has_spot(pool) => SpotUse::Never,
        (SpotAsk::Yes, SpotUse::Only) | (SpotAsk::Only, _) => SpotUse::Only,
        (SpotAsk::Yes, SpotUse::Never | SpotUse::Prefer) => SpotUse::Prefer,
    }
}

/// The pool can have spot machines, whether or not it buys them by itself.
#[must_use]
pub fn has_spot(pool: &Pool) -> bool {
    pool.spot != SpotUse::Never || pool.provider == ProviderKind::Ec2
}

/// A machine that was bought like this may run the job.
pub(super) fn takes(pool: &Pool, spec: &JobSpec, spot: bool) -> bool {
    match spot_use(pool, spec) {
        SpotUse::Never => !spot,
        SpotUse::Prefer => true,
        // Where nobody insists, machines of before the pool became one of spot are as good.
        SpotUse::Only => spot || spec.spot == SpotAsk::AsPool,
    }
}

/// The first machine that is asked for it is a spot machine.
#[must_use]
pub fn buys_spot(pool: &Pool, spec: &JobSpec) -> bool {
    spot_use(pool, spec) != SpotUse::Never
}

/// The shape suits the job and holds one node of it.
#[must_use]
pub fn fits(pool: &Pool, shape: &Shape, spec: &JobSpec) -> bool {
    suits(pool, spec, shape) && shape.usable().holds(&spec.least_per_node())
}

/// A node of this name may be part of the allocation: it is not excluded, and where every node is
/// asked for by name it is one of them.
pub(super) fn holds_name(spec: &JobSpec, name: &String) -> bool {
    let all_named = spec.only_nodes.len() >= spec.nodes.max(1) as usize;
    !spec.not_nodes.contains(name) && (!all_named || spec.only_nodes.contains(name))
}

/// `7` of `compute-7`, in its pool.
pub(crate) fn number_of(pool: &Pool, name: &str) -> Option<u32> {
    let number = name.strip_prefix(pool.name.as_str())?.strip_prefix('-')?;
    number.parse().ok().filter(|_| !number.starts_with(['0', '+']))
}

/// The shape with the least price that holds one node of `spec`; list order decides ties.
#[must_use]
pub(crate) fn cheapest_shape<'a>(pool: &'a Pool, spec: &JobSpec) -> Option<&'a Shape> {
    let fitting = pool.shapes.iter().filter(|shape| fits(pool, shape, spec));
    fitting.min_by_key(|shape| shape.price.map_or(i64::MAX, |price| price.0))
}

/// CPUs of the smallest shape that holds one node of `spec`; `None`: no shape does.
#[must_use]
pub(crate) fn smallest_cpus(pool: &Pool, spec: &JobSpec) -> Option<u32> {
    let fitting = pool.shapes.iter().filter(|shape| fits(pool, shape, spec));
    fitting.map(|shape| shape.total.cpus).min()
}
