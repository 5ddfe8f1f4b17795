//! The budgets of the tree.
//!
//! Invariant: a budget is changed by a decision, not by a diff that happens to need it: whatever
//! may exceed the common figure stands here with the page in `docs/design` that says why.
use super::Finding;
use super::tree::File;

/// Lines of a file of the product without its tests: half of all files have at most so many.
pub(crate) const FILE_MEDIAN: usize = 200;
/// Nine files in ten have at most so many.
pub(crate) const FILE_P90: usize = 500;
/// No file has more, tests included.
pub(crate) const FILE_MOST: usize = 800;
/// No function has more lines, from `fn` to its closing brace.
pub(crate) const FUNCTION_MOST: usize = 70;

/// Files with a budget of their own: the end of the path, and lines.
pub(crate) const FILES: [(&str, usize); 3] =
    [("src/main.rs", 60), ("headnode/src/driver.rs", 300), ("ARCHITECTURE.md", 200)];
/// Lines of every file in a provider's own folder.
pub(crate) const PROVIDER_FILE: (&str, usize) = ("crates/providers/src/", 600);

/// What a room may hold without its tests.
#[derive(Debug)]
pub(crate) struct Room {
    pub name: &'static str,
    /// Every file of the product below one of these belongs to it.
    pub folders: &'static [&'static str],
    pub lines: usize,
    /// The page that records why it is more than first meant; `None` where it is not.
    pub why: Option<&'static str>,
}

/// Rooms with a budget.
pub(crate) const ROOMS: [Room; 7] = [
    Room {
        name: "core",
        folders: &["crates/core/src/"],
        lines: 11_200,
        why: Some("docs/design/0005-room-sizes.md"),
    },
    Room {
        name: "headnode",
        folders: &["headnode/src/"],
        lines: 10_150,
        why: Some("docs/design/0005-room-sizes.md"),
    },
    Room {
        name: "agent",
        folders: &["agent/src/"],
        lines: 5_750,
        why: Some("docs/design/0005-room-sizes.md"),
    },
    Room {
        name: "keeper",
        folders: &["agent/keeper/src/"],
        lines: 3_300,
        why: Some("docs/design/0004-keeper-size.md"),
    },
    Room {
        name: "keeper program",
        folders: &["agent/keeper/src/bin/"],
        lines: 1_400,
        why: Some("docs/design/0004-keeper-size.md"),
    },
    Room {
        name: "views",
        folders: &["crates/views/src/"],
        lines: 4_900,
        why: Some("docs/design/0005-room-sizes.md"),
    },
    Room {
        name: "cli",
        folders: &["crates/cli/src/"],
        lines: 6_950,
        why: Some("docs/design/0005-room-sizes.md"),
    },
];

/// A recorded reason must be there to be read.
pub(crate) fn check_reasons(files: &[File]) -> Vec<Finding> {
    let missing = |room: &Room| {
        let why = room.why?;
        let there = files.iter().any(|file| file.path == why && file.text.contains(room.name));
        (!there)
            .then(|| Finding::of(why, format!("does not say why {} has its own budget", room.name)))
    };
    ROOMS.iter().filter_map(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_without_its_page_is_found() {
        let found = check_reasons(&[]);
        assert_eq!(found.len(), ROOMS.iter().filter(|room| room.why.is_some()).count());
    }

    #[test]
    fn a_page_that_names_the_room_is_enough() {
        let page = |path: &str| File {
            path: path.into(),
            text: "core headnode agent keeper program views cli".into(),
        };
        let files =
            [page("docs/design/0004-keeper-size.md"), page("docs/design/0005-room-sizes.md")];
        assert_eq!(check_reasons(&files), []);
    }
}
