//! Names of files of a step: `%j %A %a %J %s %N %n %t %u %x %%` with a width.
//!
//! Invariant: a letter that is none of these stays as it was written.

/// What the letters stand for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Facts {
    pub job: u64,
    /// Of an array: its id and the index.
    pub array: Option<(u64, u32)>,
    pub step: u32,
    pub user: String,
    pub name: String,
}

/// The task that a file is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub node: String,
    /// The node's place in the step.
    pub node_index: u32,
    pub task: u32,
}

/// True when each task, or each node, has a file of its own.
pub(super) fn is_per_task(pattern: &str) -> bool {
    let mut letters = pattern.chars();
    let mut found = false;
    while let Some(c) = letters.next() {
        if c == '%' {
            let letter = letters.by_ref().find(|c| !c.is_ascii_digit());
            found |= matches!(letter, Some('t' | 'n' | 'N'));
        }
    }
    found
}

/// The name. Without a place, the letters of tasks are those of the first.
pub(super) fn fill(pattern: &str, facts: &Facts, place: &Place) -> String {
    if let Some(plain) = pattern.strip_prefix('\\') {
        return plain.to_owned();
    }
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let width = after[..digits].parse::<usize>().unwrap_or(0).min(10);
        let Some(letter) = after[digits..].chars().next() else {
            out.push_str(&rest[at..]);
            return out;
        };
        let number = |number: u64| format!("{number:0width$}");
        let (array_job, array_task) = facts.array.unwrap_or((facts.job, 0));
        let value = match letter {
            '%' => "%".to_owned(),
            'j' => number(facts.job),
            'A' => number(array_job),
            'a' if facts.array.is_none() => "4294967294".to_owned(),
            'a' => number(u64::from(array_task)),
            'J' => format!("{}.{}", facts.job, facts.step),
            's' => number(u64::from(facts.step)),
            'N' => place.node.clone(),
            'n' => number(u64::from(place.node_index)),
            't' => number(u64::from(place.task)),
            'u' => inert(&facts.user),
            'x' => inert(&facts.name),
            other => format!("%{}{other}", &after[..digits]),
        };
        out.push_str(&value);
        rest = &after[digits + letter.len_utf8()..];
    }
    out.push_str(rest);
    out
}

/// A value cannot add a directory or a line.
fn inert(value: &str) -> String {
    value.chars().map(|c| if c == '/' || c.is_control() { '_' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_have_their_values_and_widths() {
        let facts = Facts {
            job: 41,
            array: Some((40, 3)),
            step: 2,
            user: "ana".into(),
            name: "x y".into(),
        };
        let place = Place { node: "c2".into(), node_index: 1, task: 7 };
        let fill = |pattern| super::fill(pattern, &facts, &place);
        assert_eq!(fill("o-%j_%4t.%N"), "o-41_0007.c2");
        assert_eq!(fill("%A_%a %J %s %n %u %x %%t %q"), "40_3 41.2 2 1 ana x y %t %q");
        assert_eq!(fill("plain%"), "plain%");
        assert_eq!(fill("\\%j"), "%j");
    }

    #[test]
    fn only_letters_of_tasks_and_nodes_make_many_files() {
        for (pattern, many) in
            [("o.%t", true), ("%3n", true), ("%N", true), ("%%t", false), ("%j", false)]
        {
            assert_eq!(is_per_task(pattern), many, "{pattern}");
        }
    }
}
