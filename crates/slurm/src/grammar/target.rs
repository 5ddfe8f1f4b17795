//! Which jobs, tasks or steps a word means: `41`, `41_3`, `41_[1-3,7]`, `41.0`, `41_3.batch`.
//!
//! Invariant: total. Deliberately absent: whether they exist.
use pcluster_model::IndexRanges;

/// Tasks named by one word at most.
const TASKS: usize = 1_000_000;

/// A job, some tasks of an array, or one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub job: u64,
    /// `None` is all of it.
    pub tasks: Option<IndexRanges>,
    pub step: Option<Step>,
}

/// Which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Number(u32),
    Batch,
    Extern,
}

impl Target {
    /// The id as the head's interface reads it.
    #[must_use]
    pub fn id(&self) -> String {
        match &self.tasks {
            None => self.job.to_string(),
            Some(tasks) if tasks.len() == 1 => format!("{}_{tasks}", self.job),
            Some(tasks) => format!("{}_[{tasks}]", self.job),
        }
    }
}

/// Reads one word; `None` is none of these.
#[must_use]
pub fn target(text: &str) -> Option<Target> {
    let (id, step) = match text.split_once('.') {
        Some((id, step)) => (id, Some(self::step(step)?)),
        None => (text, None),
    };
    let (job, tasks) = match id.split_once('_') {
        Some((job, "*")) => (job, None),
        Some((job, tasks)) => (job, Some(self::tasks(tasks)?)),
        None => (id, None),
    };
    let digits = !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_digit());
    let job = if digits { job.parse().ok().filter(|job| *job > 0)? } else { return None };
    Some(Target { job, tasks, step })
}

fn step(text: &str) -> Option<Step> {
    match text {
        "batch" => Some(Step::Batch),
        "extern" => Some(Step::Extern),
        number => number.parse().ok().map(Step::Number),
    }
}

/// `3`, `1-3,7`, `[1-3,7]`, with `:STEP` as in `--array`.
fn tasks(text: &str) -> Option<IndexRanges> {
    let inside = match text.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']')?,
        None => text,
    };
    // As squeue prints it: `[2-9%2]`.
    let inside = inside.split_once('%').map_or(inside, |(ranges, _)| ranges);
    let mut found = IndexRanges::new();
    for part in inside.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        let step: u32 = step.parse().ok().filter(|step| *step > 0)?;
        if last < first || (last - first) as usize / step as usize + found.len() > TASKS {
            return None;
        }
        let mut index = Some(first);
        while let Some(at) = index.filter(|at| *at <= last) {
            found.insert(at);
            index = at.checked_add(step);
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_jobs_tasks_and_steps() {
        let cases = [
            ("41", "41", None),
            ("41_3", "41_3", None),
            ("41_[1-3,7]", "41_[1-3,7]", None),
            ("41_[0-8:4%2]", "41_[0,4,8]", None),
            ("41_1-3", "41_[1-3]", None),
            ("41_*", "41", None),
            ("41.0", "41", Some(Step::Number(0))),
            ("41_3.batch", "41_3", Some(Step::Batch)),
        ];
        for (text, id, step) in cases {
            let found = target(text).unwrap();
            assert_eq!((found.id().as_str(), found.step), (id, step), "{text}");
        }
        for bad in [
            "",
            "x",
            "1_x",
            "1_[1-3",
            "1.x",
            "1_",
            "1_[]",
            "1_[3-1]",
            "-1",
            "0",
            "1_[0-9:0]",
            "1+1",
        ] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9_,.:%*\\[\\]a-z-]{0,24}") {
            let _ = target(&text);
        }
    }
}
