//! Dependencies in Slurm's words: `afterok:41:42,afterany:41_3`.
//!
//! Invariant: total; every error names the word. Deliberately absent: whether the jobs exist.
use super::words::wrong;
use crate::failure::Failure;
use pcluster_model::{Dependency, DependencyKind, DurationMs, JobId};

const ALLOWED: &str =
    "afterok, afterany, afternotok, aftercorr or after with ids, or singleton: afterok:41:42_3";

/// A job or one task of an array: `42`, `41_3`, `job:42`; `41_*` is the whole of it.
pub(super) fn job_of(text: &str) -> Option<(JobId, Option<u32>)> {
    let text = text.strip_prefix("job:").unwrap_or(text);
    let (job, task) = match text.split_once('_') {
        Some((job, "*")) => (job, None),
        Some((job, task)) => (job, Some(task.parse().ok()?)),
        None => (text, None),
    };
    let digits = !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_digit());
    let job = if digits { job.parse().ok()? } else { return None };
    Some((JobId(job), task))
}

fn kind_of(word: &str) -> Option<DependencyKind> {
    Some(match word {
        "after" => DependencyKind::After,
        // Nothing is staged out here: its end is the job's end.
        "afterany" | "afterburstbuffer" => DependencyKind::AfterAny,
        "afterok" => DependencyKind::AfterOk,
        "afternotok" => DependencyKind::AfterNotOk,
        "aftercorr" => DependencyKind::AfterCorr,
        _ => return None,
    })
}

/// `afterok:41:42,afterany:43`; `?` between them means that one is enough. The second value says
/// which.
///
/// # Errors
/// An unknown kind, or a word that is not the id of a job.
pub fn dependency(text: &str) -> Result<(Vec<Dependency>, bool), Failure> {
    let refuse = |word: &str| wrong("--dependency", word, ALLOWED);
    let any = text.contains('?');
    if any && text.contains(',') {
        return Err(refuse(text).hint("either `,` (all of them) or `?` (one is enough), not both"));
    }
    let mut found = Vec::new();
    for part in text.split([',', '?']) {
        let (kind, ids) = part.split_once(':').unwrap_or((part, ""));
        let kind_word = kind.to_ascii_lowercase();
        if kind_word == "singleton" && ids.is_empty() {
            found.push(Dependency {
                kind: DependencyKind::Singleton,
                job: JobId(0),
                task: None,
                delay_ms: DurationMs::ZERO,
            });
            continue;
        }
        // A bare id belongs to afterany, as Slurm reads it: `afterok:1,2` is `afterok:1,afterany:2`.
        let (kind, ids) = match kind_of(&kind_word) {
            Some(kind) => (kind, ids),
            None if job_of(kind).is_some() => (DependencyKind::AfterAny, part),
            None if kind_word == "expand" => {
                return Err(Failure::refused("--dependency expand is not supported")
                    .hint("a job keeps the nodes it was given; submit another one"));
            }
            None => return Err(refuse(part)),
        };
        for word in ids.split(':') {
            found.push(
                one(kind, word).ok_or_else(|| refuse(if word.is_empty() { part } else { word }))?,
            );
        }
    }
    Ok((found, any))
}

/// `41`, `41_3`, and with `after` a delay in minutes: `41+5`.
fn one(kind: DependencyKind, word: &str) -> Option<Dependency> {
    let (id, delay_ms) = match word.split_once('+') {
        Some((id, minutes)) if kind == DependencyKind::After => {
            let minutes: u32 = minutes.parse().ok()?;
            (id, DurationMs::from_secs(u64::from(minutes) * 60))
        }
        Some(_) => return None,
        None => (word, DurationMs::ZERO),
    };
    let (job, task) = job_of(id)?;
    Some(Dependency { kind, job, task, delay_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let Ok((found, any)) = dependency(text) else { return "refused".into() };
        let words = found.iter().map(|one| {
            let task = one.task.map_or(String::new(), |task| format!("_{task}"));
            format!("{:?} {}{task}+{}", one.kind, one.job.0, one.delay_ms.0 / 60_000)
        });
        let join = if any { " or " } else { " and " };
        words.collect::<Vec<_>>().join(join)
    }

    #[test]
    fn dependencies_are_read_as_slurm_reads_them() {
        let cases = [
            ("afterok:41:42_3,43", "AfterOk 41+0 and AfterOk 42_3+0 and AfterAny 43+0"),
            ("afterok:1?afternotok:2", "AfterOk 1+0 or AfterNotOk 2+0"),
            ("after:41+5:42", "After 41+5 and After 42+0"),
            ("afterok:41,aftercorr:42", "AfterOk 41+0 and AfterCorr 42+0"),
            ("singleton", "Singleton 0+0"),
            ("AfterAny:7,Singleton", "AfterAny 7+0 and Singleton 0+0"),
            ("41:42", "AfterAny 41+0 and AfterAny 42+0"),
            ("afterok:41_*", "AfterOk 41+0"),
        ];
        for (text, meaning) in cases {
            assert_eq!(shown(text), meaning, "{text}");
        }
        for bad in [
            "afterok",
            "afterko:1",
            "afterok:1+5",
            "after:1+x",
            "afterok:x",
            "",
            "afterok:",
            "afterok:1,",
            "afterok:1:",
            "expand:4",
            "afterok:1?afterok:2,afterok:3",
            "afterok:-1",
            "singleton:3",
        ] {
            assert_eq!(shown(bad), "refused", "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-z:,?+_*0-9]{0,30}") {
            let _ = dependency(&text);
        }
    }
}
