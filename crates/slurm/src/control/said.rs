//! The head's no to a change, in Slurm's words.
use crate::ask::Trouble;
use pcluster_api::client::ClientError;
use pcluster_api::{Problem, ProblemKind};

/// What Slurm would say.
#[must_use]
pub(super) fn problem_words(problem: &Problem) -> &'static str {
    match (problem.word.as_str(), problem.kind) {
        ("finished", _) => "Job has already finished",
        ("not_running", _) => "Job is not running",
        ("disabled", _) => "Requested operation is presently disabled",
        ("not_suspended", _) => "Job is not suspended",
        ("pending", _) => "Job is pending execution",
        ("not_pending", _) => "Job is no longer pending execution",
        ("no_pool", _) => "Invalid partition name specified",
        ("no_feature", _) => "Invalid feature specification",
        ("no_node", _) => "Invalid node name specified",
        ("batch_only", _) => "Only batch jobs are accepted or processed",
        ("too_large" | "too_large_memory" | "too_large_gpus", _) => {
            "Requested node configuration is not available"
        }
        ("time_limit" | "no_limit", _) => {
            "Requested time limit is invalid (missing or exceeds some limit)"
        }
        ("no_dependency" | "dependency", _) => "Job dependency problem",
        ("circular", _) => "Circular job dependency",
        (_, ProblemKind::NotFound | ProblemKind::BadRequest) => "Invalid job id specified",
        (_, ProblemKind::NotAllowed) => "Access/permission denied",
        (_, ProblemKind::Unavailable | ProblemKind::Busy | ProblemKind::Timeout) => {
            "Unable to contact slurm controller (connect failure)"
        }
        (_, ProblemKind::Refused) => "Job can not be altered now, try again later",
    }
}

/// The same for every way to have no answer; and the head's own words as hints.
#[must_use]
pub(super) fn trouble_words(trouble: &Trouble) -> (&'static str, Vec<String>) {
    match trouble {
        Trouble::Away(failure) => {
            let said = failure.render(200);
            let first = said.lines().next().unwrap_or_default().trim_start_matches("error: ");
            ("Unable to contact slurm controller (connect failure)", vec![first.to_owned()])
        }
        Trouble::Refused(ClientError::Problem(problem)) => {
            let mut hints = vec![problem.message.clone()];
            hints.extend(problem.hints.iter().cloned());
            (problem_words(problem), hints)
        }
        Trouble::Refused(error) => ("Unexpected message received", vec![error.to_string()]),
    }
}

/// True for jobs that have ended or never were: `scancel` is silent about them.
#[must_use]
pub(super) fn is_over(trouble: &Trouble) -> bool {
    let Trouble::Refused(ClientError::Problem(problem)) = trouble else { return false };
    matches!(problem.kind, ProblemKind::NotFound) || problem.word == "finished"
}
