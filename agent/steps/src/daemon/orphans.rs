//! What a daemon before this one has left: a daemon that was killed could not end its tasks.
//!
//! Invariant: it is ended before anybody can speak with this daemon, so that whoever hears that a
//! step is not known here hears as well that nothing of it runs. Deliberately absent: processes that
//! have thrown away environment, parent, group and session; they end with the run.
use super::Place;
use super::proc::{self, Families, Process};
use std::fs;
use std::time::Duration;

/// So often what is left is looked for, and killed again: a process may just be making another.
const TRIES: u32 = 50;
/// Between two looks.
const AGAIN: Duration = Duration::from_millis(20);

/// Ends the tasks of this run on this node.
pub(super) fn end(place: &Place) {
    for _ in 0..TRIES {
        let left = left(place);
        if left.is_empty() {
            return;
        }
        left.iter().for_each(proc::kill);
        std::thread::sleep(AGAIN);
    }
}

/// Tasks of steps, with those that they have started.
fn left(place: &Place) -> Vec<Process> {
    let all = proc::scan();
    let own = std::process::id();
    let task = |process: &&Process| {
        process.pid != own
            && !process.ended
            && fs::read(format!("/proc/{}/environ", process.pid))
                .is_ok_and(|variables| is_task(&variables, place))
    };
    let roots: Vec<u32> = all.iter().filter(task).map(|process| process.pid).collect();
    Families::default().of(&all, &roots).into_values().flatten().collect()
}

/// The environment of a task of a step: of this run, and of this node by its agent's socket, which
/// no other node of the machine has.
fn is_task(variables: &[u8], place: &Place) -> bool {
    let run = format!("PCLUSTER_RUN_ID={}", place.run);
    let socket = format!("PCLUSTER_SOCKET={}", place.socket.display());
    let has = |wanted: &str| variables.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes());
    let step = variables.split(|byte| *byte == 0).any(|one| one.starts_with(b"SLURM_STEP_ID="));
    step && has(&run) && has(&socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Before;

    #[test]
    fn only_tasks_of_this_run_on_this_node_are_left_ones() {
        let place = Place {
            socket: "/n1/s".into(),
            run: 7,
            rank: 0,
            node: "c1".into(),
            files: Before(None),
            umask: 0o22,
        };
        let is = |text: &str| is_task(text.replace(' ', "\0").as_bytes(), &place);
        assert!(is("A=1 PCLUSTER_RUN_ID=7 SLURM_STEP_ID=0 PCLUSTER_SOCKET=/n1/s"));
        for other in [
            "PCLUSTER_RUN_ID=7 PCLUSTER_SOCKET=/n1/s",
            "PCLUSTER_RUN_ID=71 SLURM_STEP_ID=0 PCLUSTER_SOCKET=/n1/s",
            "PCLUSTER_RUN_ID=7 SLURM_STEP_ID=0 PCLUSTER_SOCKET=/n2/s",
            "",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
