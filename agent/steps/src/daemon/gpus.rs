//! Which GPUs of its job a step has on this node, and how its tasks are told.
//!
//! Invariant: two steps that ask for GPUs of their own never have the same one while both live, unless
//! there are not enough (`--overlap`): the head counts them. What a caller on another node has in its
//! environment is that node's and is replaced. Deliberately absent: keeping tasks from the others of
//! their job, which are their user's own.
use crate::message::StepOrder;
use std::collections::BTreeMap;

/// What programs look at, in the numbers by which they see GPUs.
const SEEN: [&str; 3] = ["CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"];
/// What stands there for none at all.
const NONE: &str = "NoDevFiles";

/// One GPU of the job on this node: its index, and the number by which programs see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gpu {
    index: String,
    seen: String,
}

/// The GPUs of the job on this node, and which step has which.
#[derive(Debug, Default)]
pub(super) struct Gpus {
    own: Vec<Gpu>,
    held: BTreeMap<u32, Vec<usize>>,
}

impl Gpus {
    /// Those that the environment of the daemon names.
    pub(super) fn of_environment() -> Self {
        let text = |name: &str| std::env::var(name).unwrap_or_default();
        Self::of(&text("SLURM_JOB_GPUS"), &text(SEEN[0]))
    }

    fn of(indexes: &str, seen: &str) -> Self {
        let words = |text: &str| -> Vec<String> {
            text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
        };
        let pairs = words(indexes).into_iter().zip(words(seen));
        Self {
            own: pairs.map(|(index, seen)| Gpu { index, seen }).collect(),
            held: BTreeMap::new(),
        }
    }

    /// Gives a step what it asks for, and tells its tasks.
    pub(super) fn give(&mut self, order: &mut StepOrder) {
        if self.own.is_empty() {
            return;
        }
        let all = 0..self.own.len();
        let Some(count) = order.gpus else {
            let variables = self.variables(&all.collect::<Vec<_>>());
            return order.environment.extend(variables);
        };
        let taken = |at: &usize| self.held.values().flatten().any(|held| held == at);
        let (busy, free): (Vec<usize>, Vec<usize>) = all.partition(taken);
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let own: Vec<usize> = free.into_iter().chain(busy).take(wanted).collect();
        order.environment.extend(self.variables(&own));
        if let Some(each) = order.gpus_per_task.and_then(|each| usize::try_from(each).ok()) {
            for (place, task) in order.tasks.iter_mut().enumerate() {
                let part: Vec<usize> = own.iter().copied().skip(place * each).take(each).collect();
                task.environment.extend(self.variables(&part));
            }
        }
        self.held.insert(order.step, own);
    }

    /// The tasks of this step have ended.
    pub(super) fn give_back(&mut self, step: u32) {
        self.held.remove(&step);
    }

    fn variables(&self, own: &[usize]) -> Vec<(String, String)> {
        let list = |word: fn(&Gpu) -> &str| {
            let words: Vec<&str> = own.iter().map(|at| word(&self.own[*at])).collect();
            if words.is_empty() { NONE.to_owned() } else { words.join(",") }
        };
        let seen = list(|gpu| &gpu.seen);
        let step = ("SLURM_STEP_GPUS".to_owned(), list(|gpu| &gpu.index));
        SEEN.iter().map(|name| ((*name).to_owned(), seen.clone())).chain([step]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::TaskOrder;

    fn order(step: u32, gpus: Option<u32>, per_task: Option<u32>, tasks: usize) -> StepOrder {
        let gpus_per_task = per_task;
        let tasks = vec![TaskOrder::default(); tasks];
        StepOrder { step, gpus, gpus_per_task, tasks, ..StepOrder::default() }
    }

    fn value(variables: &[(String, String)], name: &str) -> String {
        let found = variables.iter().rev().find(|(its, _)| its == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    #[test]
    fn steps_have_their_own_and_give_them_back() {
        let mut gpus = Gpus::of("4,5,6,7", "0,1,2,3");
        let mut given = |order: &mut StepOrder| {
            gpus.give(order);
            let of = |name: &str| value(&order.environment, name);
            (of("SLURM_STEP_GPUS"), of("CUDA_VISIBLE_DEVICES"))
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(given(&mut order(0, Some(1), None, 1)), pair("4", "0"));
        assert_eq!(given(&mut order(1, Some(2), None, 1)), pair("5,6", "1,2"));
        assert_eq!(
            given(&mut order(2, None, None, 1)),
            pair("4,5,6,7", "0,1,2,3"),
            "none of its own"
        );
        assert_eq!(given(&mut order(3, Some(0), None, 1)), pair(NONE, NONE));
        assert_eq!(given(&mut order(4, Some(2), None, 1)), pair("7,4", "3,0"), "overlapping");
        gpus.give_back(0);
        gpus.give_back(4);
        let mut next = order(5, Some(1), None, 1);
        gpus.give(&mut next);
        assert_eq!(value(&next.environment, "SLURM_STEP_GPUS"), "4");
    }

    #[test]
    fn each_task_has_its_own_where_that_is_asked_for() {
        let mut gpus = Gpus::of("0,1,2", "0,1,2");
        let mut order = order(0, Some(2), Some(1), 2);
        gpus.give(&mut order);
        let of = |at: usize| value(&order.tasks[at].environment, "CUDA_VISIBLE_DEVICES");
        assert_eq!((of(0), of(1)), ("0".to_owned(), "1".to_owned()));
    }

    #[test]
    fn a_job_without_gpus_is_told_nothing() {
        let mut order = order(0, None, None, 1);
        Gpus::of("", "").give(&mut order);
        assert!(order.environment.is_empty());
    }
}
