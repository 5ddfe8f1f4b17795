//! How tasks ended, in the words that Slurm has for it.
//!
//! Invariant: tasks of one node that ended alike at one time share a line; the code of all is the
//! highest, a signal counting from 128.
use pcluster_steps::message::TaskExit;
use std::collections::BTreeMap;

/// Node, exit code, signal, core dumped, out of memory: tasks that are alike in these share a line.
type Kind = (String, i32, i32, bool, bool);

/// Ends that are not yet told, and what they come to.
#[derive(Debug, Default)]
pub(super) struct Exits {
    untold: BTreeMap<Kind, Vec<u32>>,
    code: i32,
    /// The code of the step, whatever its tasks come to.
    fixed: Option<i32>,
    /// A task was ended by TERM or KILL.
    forced: bool,
}

impl Exits {
    pub(super) fn add(&mut self, node: &str, task: u32, exit: TaskExit) {
        self.code = self.code.max(exit.shell_code());
        self.forced |= matches!(exit.signal, 9 | 15);
        if exit.code != 0 || exit.signal != 0 {
            let (core, memory) = (exit.core_dumped, exit.out_of_memory);
            let key = (node.to_owned(), exit.code, exit.signal, core, memory);
            self.untold.entry(key).or_default().push(task);
        }
    }

    /// At least this is the code, whatever the tasks said.
    pub(super) fn at_least(&mut self, code: i32) {
        self.code = self.code.max(code);
    }

    /// This is the code: tasks that are ended because of it do not change it.
    pub(super) fn fix(&mut self, code: i32) {
        self.fixed.get_or_insert(code);
    }

    pub(super) fn code(&self) -> u8 {
        u8::try_from(self.fixed.unwrap_or(self.code).clamp(0, 255)).unwrap_or(255)
    }

    /// Whether a task was ended by force, so that the step was.
    pub(super) fn forced(&self) -> bool {
        self.forced
    }

    pub(super) fn has_news(&self) -> bool {
        !self.untold.is_empty()
    }

    /// The lines for stderr, without `srun: error: `.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        let told = std::mem::take(&mut self.untold);
        let line = |((node, code, signal, core, memory), tasks): (Kind, Vec<u32>)| {
            let how = match signal {
                _ if memory => "Out Of Memory".to_owned(),
                0 => format!("Exited with exit code {code}"),
                signal => {
                    let core = if core { " (core dumped)" } else { "" };
                    format!("{}{core}", signal_words(signal))
                }
            };
            format!("{node}: {}: {how}", task_list(&tasks))
        };
        told.into_iter().map(line).collect()
    }
}

/// `task 0`, `tasks 0-2,5`.
pub(super) fn task_list(tasks: &[u32]) -> String {
    let mut sorted = tasks.to_vec();
    sorted.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for task in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == task => *last = task,
            _ => ranges.push((task, task)),
        }
    }
    let range = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    let list = ranges.iter().map(range).collect::<Vec<_>>().join(",");
    if tasks.len() == 1 { format!("task {list}") } else { format!("tasks {list}") }
}

/// The C library's words for a signal.
fn signal_words(signal: i32) -> String {
    let words = match signal {
        1 => "Hangup",
        2 => "Interrupt",
        3 => "Quit",
        4 => "Illegal instruction",
        5 => "Trace/breakpoint trap",
        6 => "Aborted",
        7 => "Bus error",
        8 => "Floating point exception",
        9 => "Killed",
        10 => "User defined signal 1",
        11 => "Segmentation fault",
        12 => "User defined signal 2",
        13 => "Broken pipe",
        14 => "Alarm clock",
        15 => "Terminated",
        24 => "CPU time limit exceeded",
        25 => "File size limit exceeded",
        other => return format!("Unknown signal {other}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_slurm_tells_them() {
        let mut exits = Exits::default();
        exits.add("c1", 0, TaskExit { code: 5, ..Default::default() });
        assert_eq!(exits.take_lines(), ["c1: task 0: Exited with exit code 5"]);
        for task in [4, 1, 2] {
            exits.add("c2", task, TaskExit { signal: 9, ..Default::default() });
        }
        exits.add("c2", 3, TaskExit::default());
        exits.add("c2", 7, TaskExit { signal: 11, core_dumped: true, ..Default::default() });
        assert_eq!(
            exits.take_lines(),
            ["c2: tasks 1-2,4: Killed", "c2: task 7: Segmentation fault (core dumped)"]
        );
        assert_eq!(exits.code(), 139);
        assert!(exits.forced() && !exits.has_news());
        exits.add("c1", 0, TaskExit { signal: 9, out_of_memory: true, ..Default::default() });
        assert_eq!(exits.take_lines(), ["c1: task 0: Out Of Memory"]);
        exits.fix(6);
        assert_eq!(exits.code(), 6);
    }
}
