//! Ids as users name them: `123`, `123_4`, `123_[1-3,7]`, `123.0`, `123.batch`.
//!
//! Invariant: what is no id is refused with the word that is none. Deliberately absent: looking
//! them up.
use pcluster_api::JobRecord;

/// Which tasks of an array are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tasks {
    All,
    /// Inclusive ranges.
    Ranges(Vec<(u32, u32)>),
}

/// Which step is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepId {
    Batch,
    Extern,
    Interactive,
    Number(u32),
}

/// One job, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobId {
    pub job: u64,
    pub tasks: Tasks,
    pub step: Option<StepId>,
}

/// Ids separated by commas (those in brackets belong to the id).
///
/// # Errors
/// The word that is no id.
pub fn list(text: &str) -> Result<Vec<JobId>, String> {
    let (mut words, mut depth, mut word) = (Vec::new(), 0, String::new());
    for c in text.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth <= 0 && (c == ',' || c.is_whitespace()) {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(c);
        }
    }
    words.push(word);
    words.iter().filter(|word| !word.is_empty()).map(|word| one(word).ok_or(word.clone())).collect()
}

/// One id.
#[must_use]
pub fn one(word: &str) -> Option<JobId> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { text.parse::<u64>().ok() } else { None }
    };
    let (id, step) = match word.split_once('.') {
        Some((id, "batch" | "ba")) => (id, Some(StepId::Batch)),
        Some((id, "extern" | "ext")) => (id, Some(StepId::Extern)),
        Some((id, "interactive" | "int")) => (id, Some(StepId::Interactive)),
        Some((id, step)) => (id, Some(StepId::Number(u32::try_from(number(step)?).ok()?))),
        None => (word, None),
    };
    // The tail of a heterogeneous job: there are none, so only its first part can be meant.
    let id = id.strip_suffix("+0").unwrap_or(id);
    let (job, tasks) = match id.split_once('_') {
        Some((job, "*")) => (job, Tasks::All),
        Some((job, tasks)) => (job, Tasks::Ranges(ranges(tasks)?)),
        None => (id, Tasks::All),
    };
    Some(JobId { job: number(job)?, tasks, step })
}

fn ranges(text: &str) -> Option<Vec<(u32, u32)>> {
    let inside = match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?,
        None => text,
    };
    let inside = inside.split_once('%').map_or(inside, |(inside, _)| inside);
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let pair = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        (pair.0 <= pair.1).then_some(pair)
    };
    inside.split(',').map(range).collect()
}

impl JobId {
    /// The word by which the head is asked; steps are picked from the answer.
    #[must_use]
    pub fn asked(&self) -> String {
        match &self.tasks {
            Tasks::All => self.job.to_string(),
            Tasks::Ranges(ranges) => match ranges.as_slice() {
                [(first, last)] if first == last => format!("{}_{first}", self.job),
                // The head gives the whole array; `means` picks.
                _ => self.job.to_string(),
            },
        }
    }

    /// True when the record is meant by this id: by its own number, or as a part of its array.
    #[must_use]
    pub fn means(&self, record: &JobRecord) -> bool {
        match &self.tasks {
            Tasks::All => record.job == self.job || record.raw_job == self.job,
            Tasks::Ranges(ranges) if record.job == self.job => {
                let inside = |task: u32| ranges.iter().any(|(a, b)| (*a..=*b).contains(&task));
                match (&record.tasks, record.task) {
                    (_, Some(task)) => inside(task),
                    (Some(tasks), None) => numbers(tasks).any(inside),
                    (None, None) => false,
                }
            }
            Tasks::Ranges(_) => false,
        }
    }

    /// The record, or of a folded one only the tasks that are meant.
    #[must_use]
    pub fn part_of(&self, record: &JobRecord) -> Vec<JobRecord> {
        let Tasks::Ranges(ranges) = &self.tasks else { return vec![record.clone()] };
        match &record.tasks {
            Some(_) => unfolded(record)
                .filter(|one| {
                    one.task.is_some_and(|t| ranges.iter().any(|(a, b)| (*a..=*b).contains(&t)))
                })
                .collect(),
            None => vec![record.clone()],
        }
    }
}

/// The numbers of `2-9` or `1,3,7-9`.
fn numbers(tasks: &str) -> impl Iterator<Item = u32> + use<'_> {
    tasks.split(',').flat_map(|part| {
        let (part, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = first.parse::<u32>().ok().zip(last.parse::<u32>().ok());
        let step = step.parse::<usize>().unwrap_or(1).max(1);
        range.into_iter().flat_map(move |(first, last)| (first..=last).step_by(step))
    })
}

/// One record for each task of a folded one.
pub fn unfolded(record: &JobRecord) -> impl Iterator<Item = JobRecord> + use<'_> {
    let tasks = record.tasks.as_deref().unwrap_or("");
    numbers(tasks).map(|task| JobRecord { task: Some(task), tasks: None, ..record.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::made_up;
    use proptest::prelude::*;

    #[test]
    fn ids_are_read_in_every_form() {
        let ids = list("123,124_4,125_[1-3,7],126.0,127.batch").expect("ids");
        assert_eq!(ids.len(), 5);
        assert_eq!(ids[1].tasks, Tasks::Ranges(vec![(4, 4)]));
        assert_eq!(ids[2].tasks, Tasks::Ranges(vec![(1, 3), (7, 7)]));
        assert_eq!((ids[3].step, ids[4].step), (Some(StepId::Number(0)), Some(StepId::Batch)));
        assert_eq!(
            ids.iter().map(JobId::asked).collect::<Vec<_>>(),
            ["123", "124_4", "125", "126", "127"]
        );
        for wrong in ["bogus", "1_", "1_x", "1.x", "-1", "1_[3-1]", "1_[1"] {
            assert_eq!(list(wrong), Err(wrong.to_owned()));
        }
    }

    #[test]
    fn a_folded_record_is_meant_by_each_of_its_tasks() {
        let rest = made_up::array_rest(148, "2-9", Some(2));
        let id = one("148_9").expect("id");
        assert!(id.means(&rest) && !one("148_1").expect("id").means(&rest));
        let part = id.part_of(&rest);
        assert_eq!(part.iter().map(|one| one.task).collect::<Vec<_>>(), [Some(9)]);
        assert_eq!(unfolded(&rest).count(), 8);
        assert!(one("150").expect("id").means(&made_up::array_task(148, 1, 150)));
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[0-9_\\[\\],.%x-]{0,24}") {
            let _ = list(&text);
        }
    }
}
