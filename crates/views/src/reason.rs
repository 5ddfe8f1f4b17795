//! Why something waits: a stable word and a text that fits a table.
use super::Cx;
use pcluster_api::ReasonView;
use pcluster_core::Job;
use pcluster_core::plan::Wait;
use pcluster_core::reason::Reason;

/// The reason of the pending tasks of a job.
#[must_use]
pub fn of(cx: &Cx<'_>, job: &Job) -> ReasonView {
    view(cx, &cx.cluster.reason(job, cx.now))
}

/// A reason for a table.
#[must_use]
pub fn view(cx: &Cx<'_>, reason: &Reason) -> ReasonView {
    let (word, short) = match reason {
        Reason::Held { by } => ("held", format!("held by {}", cx.name_of(by))),
        Reason::Begin { at } => ("begin", format!("not before {}", cx.clock(at.0))),
        Reason::Dependency(state) => ("dependency", format!("after {}", label(state))),
        Reason::DependencyNever(state) => {
            ("dependency_failed", format!("never: needs {}", label(state)))
        }
        Reason::Throttle { limit } => ("throttle", format!("{limit} at once")),
        Reason::Waits(None) => ("planning", "just submitted".into()),
        Reason::Waits(Some(wait)) => wait_words(wait),
    };
    ReasonView { word: word.into(), short }
}

/// What kept a job from ever starting that was given up for it.
#[must_use]
pub fn given_up() -> ReasonView {
    ReasonView {
        word: "dependency_failed".into(),
        short: "what it waited for can never come".into(),
    }
}

fn label(state: &pcluster_core::reason::DependencyState) -> String {
    match state.dependency.task {
        Some(task) => format!("{}_{task}", state.dependency.job),
        None => state.dependency.job.to_string(),
    }
}

fn wait_words(wait: &Wait) -> (&'static str, String) {
    match wait {
        Wait::NodeBoots { .. } | Wait::NodeWanted { .. } => ("node_boots", "node boots".into()),
        Wait::PoolMax { max: 1, .. } => ("pool_max", "the node is full".into()),
        Wait::PoolMax { max, .. } => ("pool_max", format!("all {max} nodes are full")),
        Wait::Turn { after } => ("priority", format!("behind {after}")),
        Wait::NotReached => ("priority", "its turn".into()),
        Wait::Budget { .. } => ("budget", "budget is used up".into()),
        Wait::Rested { class, .. } => rested_words(class),
        Wait::Spot { class, .. } if class == "quota" => ("quota", "quota for spot".into()),
        Wait::Spot { .. } => ("no_capacity", "no spot capacity".into()),
        Wait::Dear { most, .. } => ("max_price", format!("all dearer than {most}")),
        Wait::BootsFail { .. } => ("launch_failed", "boots fail".into()),
        Wait::Canary { canary, .. } => ("launch_failed", format!("boots fail, trying {canary}")),
        Wait::NoShape => ("no_room", "no node can hold it".into()),
        Wait::UserRefused { .. } => ("user_refused", "nodes refuse its user".into()),
        Wait::UnloggedMachines { .. } => {
            ("unlogged_machines", "an admin decides about machines".into())
        }
        Wait::Closing => ("closing", "the cluster goes down".into()),
    }
}

fn rested_words(class: &str) -> (&'static str, String) {
    match class {
        "no_capacity" => ("no_capacity", "no capacity".into()),
        "quota" => ("quota", "quota is used up".into()),
        "rate_limited" => ("launch_failed", "too many calls".into()),
        "never_fits" => ("launch_failed", "no such machine".into()),
        "denied" => ("launch_failed", "launching is denied".into()),
        "bad_config" => ("launch_failed", "wrong configuration".into()),
        _ => ("launch_failed", "launching failed".into()),
    }
}

/// True when the last plan covers the pending tasks with a node that boots: users see `starting`.
#[must_use]
pub fn is_covered(reason: &Reason) -> bool {
    matches!(reason, Reason::Waits(Some(Wait::NodeBoots { .. } | Wait::NodeWanted { .. })))
}
