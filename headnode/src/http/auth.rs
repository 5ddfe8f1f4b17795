//! Who may do what, in one place.
//!
//! Invariant: an action that is not allowed here is not done; default deny. What a reader may see
//! of an answer (cost, paths, scripts) is decided in the views by the same owner-or-admin rule.
use super::jobs::find_job;
use super::problem::Failure;
use super::target;
use crate::app::AppState;
use pcluster_api::{Problem, ProblemKind};
use pcluster_core::Cluster;
use pcluster_core::input::Principal;
use pcluster_core::job::Owner;
use pcluster_model::{JobId, RunId};

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// What everybody may see: queue, nodes, status; private parts are left out by the views.
    SeeCluster,
    /// A job's public side.
    SeeJob,
    Submit,
    /// A job's output.
    ReadJob,
    ChangeJob,
    /// The cost of everybody's jobs.
    SeeAllCost,
    /// A node's log.
    ReadNode,
    ChangeNode,
    /// Configuration and metrics.
    ReadCluster,
    ChangeCluster,
}

/// What it is done to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Object<'a> {
    Cluster,
    Job { id: JobId, owner: &'a Owner },
}

/// Says yes, or why not.
///
/// # Errors
/// `NotAllowed`, with the words.
pub(super) fn authorize(
    principal: &Principal,
    action: Action,
    object: Object<'_>,
) -> Result<(), Problem> {
    let owns = match object {
        Object::Cluster => false,
        Object::Job { owner, .. } => owner.uid == principal.uid,
    };
    let allowed = match action {
        Action::SeeCluster | Action::SeeJob | Action::Submit => true,
        Action::ReadJob | Action::ChangeJob => principal.admin || owns,
        Action::SeeAllCost
        | Action::ReadNode
        | Action::ChangeNode
        | Action::ReadCluster
        | Action::ChangeCluster => principal.admin,
    };
    if allowed {
        return Ok(());
    }
    Err(match object {
        Object::Job { id, owner } => Problem::new(
            ProblemKind::NotAllowed,
            format!("job {id} belongs to {}; you are {}", owner.user, principal.user),
        )
        .hint("its owner or an admin of the cluster can do this"),
        Object::Cluster => Problem::new(
            ProblemKind::NotAllowed,
            format!("only admins may do this; you are {}", principal.user),
        )
        .hint("admins are root, who started the head, and [accounts] admins"),
    })
}

/// What the address of a request names.
pub(super) enum Named {
    Nothing,
    /// A job, by any of its ids.
    Job(String),
    /// A run, by its number.
    Run(String),
}

/// The job of a run that lives or has left steps.
///
/// # Errors
/// `NotFound`.
pub(super) fn job_of_run(cluster: &Cluster, run: RunId) -> Result<JobId, Problem> {
    let live = cluster.runs.get(&run).map(|run| run.job);
    let over = || cluster.steps.get(&run)?.first().map(|step| step.job);
    let none = || Problem::new(ProblemKind::NotFound, format!("there is no run {run}"));
    live.or_else(over).ok_or_else(none)
}

/// As `authorize`, with the job looked up whose id the address names.
///
/// # Errors
/// As `authorize`; `NotFound` and `BadRequest` for an id of nothing.
pub(super) async fn check(
    app: &AppState,
    principal: &Principal,
    action: Action,
    named: &Named,
) -> Result<(), Failure> {
    let id = match named {
        Named::Nothing => return Ok(authorize(principal, action, Object::Cluster)?),
        Named::Job(id) => target::locate(&app.mirror.read(), id)?.job,
        Named::Run(run) => {
            let number = run.parse().map_err(|_| {
                Problem::new(ProblemKind::BadRequest, "a run is named by its number")
            })?;
            job_of_run(&app.mirror.read(), RunId(number))?
        }
    };
    let owner = match owner_in_memory(app, id) {
        Some(owner) => owner,
        None => find_job(app, id).await?.owner,
    };
    Ok(authorize(principal, action, Object::Job { id, owner: &owner })?)
}

fn owner_in_memory(app: &AppState, id: JobId) -> Option<Owner> {
    app.mirror.read().jobs.get(&id).map(|job| job.owner.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(uid: u32, admin: bool) -> Principal {
        Principal { user: format!("u{uid}").into(), uid, gid: uid, admin }
    }

    /// The whole matrix: action × role, on the cluster and on a job of user 1000.
    #[test]
    fn every_action_by_every_role() {
        use Action as A;
        let owner = Owner { user: "u1000".into(), uid: 1000, gid: 1000 };
        let job = Object::Job { id: JobId(1), owner: &owner };
        // (action, object, owner, another user, admin)
        let matrix = [
            (A::SeeCluster, Object::Cluster, true, true, true),
            (A::Submit, Object::Cluster, true, true, true),
            (A::SeeJob, job, true, true, true),
            (A::ReadJob, job, true, false, true),
            (A::ChangeJob, job, true, false, true),
            (A::SeeAllCost, Object::Cluster, false, false, true),
            (A::ReadNode, Object::Cluster, false, false, true),
            (A::ChangeNode, Object::Cluster, false, false, true),
            (A::ReadCluster, Object::Cluster, false, false, true),
            (A::ChangeCluster, Object::Cluster, false, false, true),
            // An action on a job without a job is nobody's but an admin's.
            (A::ReadJob, Object::Cluster, false, false, true),
            (A::ChangeJob, Object::Cluster, false, false, true),
        ];
        for (action, object, by_owner, by_other, by_admin) in matrix {
            let may = |who: &Principal| authorize(who, action, object).is_ok();
            let seen = (
                may(&principal(1000, false)),
                may(&principal(1001, false)),
                may(&principal(1002, true)),
            );
            assert_eq!(seen, (by_owner, by_other, by_admin), "{action:?} on {object:?}");
        }
    }

    #[test]
    fn the_name_of_the_owner_gives_no_right() {
        let owner = Owner { user: "u1000".into(), uid: 1000, gid: 1000 };
        let job = Object::Job { id: JobId(1), owner: &owner };
        let impostor = Principal { user: "u1000".into(), ..principal(1001, false) };
        assert!(authorize(&impostor, Action::ReadJob, job).is_err());
    }
}
