//! Names of files of a step.
//!
//! Invariant: a letter means the same as in a script's files; `pcluster_model::pattern` says what.
pub(super) use pcluster_model::pattern::is_per_task;
use pcluster_model::pattern::{NO_INDEX, PatternNames};
use std::path::Path;

/// What the letters stand for, and where a relative name is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    pub job: u64,
    /// Of an array: its id and the index.
    pub array: Option<(u64, u32)>,
    pub step: u32,
    pub user: String,
    pub name: String,
    pub dir: String,
}

/// The task that a file is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub node: String,
    /// The node's place in the step.
    pub node_index: u32,
    pub task: u32,
}

/// The name, absolute. Without a place, the letters of tasks are those of the first.
pub(super) fn fill(pattern: &str, facts: &Facts, place: &Place) -> String {
    let names = PatternNames {
        job: Some(facts.array.map_or(facts.job, |(job, _)| job)),
        raw_job: Some(facts.job),
        index: Some(facts.array.map_or(NO_INDEX, |(_, index)| index)),
        step: Some(facts.step),
        task: Some(place.task),
        node_index: Some(place.node_index),
        node: Some(&place.node),
        user: Some(&facts.user),
        name: Some(&facts.name),
    };
    Path::new(&facts.dir).join(names.expand(pattern)).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_the_values_of_the_step_and_not_those_of_its_folder() {
        let facts = Facts {
            job: 41,
            array: Some((40, 13)),
            step: 2,
            user: "ana".into(),
            name: "x y".into(),
            dir: "/data/%j".into(),
        };
        let place = Place { node: "c2".into(), node_index: 1, task: 7 };
        let fill = |pattern| super::fill(pattern, &facts, &place);
        assert_eq!(fill("o-%j_%4t.%N"), "/data/%j/o-41_0007.c2");
        assert_eq!(fill("/o/%A_%a%b %J %s %n %u %x %%t %q"), "/o/40_133 41.2 2 1 ana x y %t %q");
        assert_eq!(fill(r"\%j"), "/data/%j/%j");
        let alone = Facts { array: None, ..facts };
        assert_eq!(super::fill("/%A_%a", &alone, &place), "/41_4294967294");
    }
}
