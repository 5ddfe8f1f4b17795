//! How processes of tasks ended.
//!
//! Invariant: waiting leaves a zombie, whose number means nobody else until it is reaped.
use super::usage::Spent;
use crate::message::TaskExit;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use std::process::Child;
use std::time::Duration;
use wait4::Wait4;

/// Waits for the end of a process and leaves it as a zombie.
pub(super) fn wait(pid: Pid) -> TaskExit {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(Some(status)) => return exit_of(&status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            // Somebody else has waited for it; that it has ended is all there is to know.
            Err(_) => return TaskExit { code: 255, ..Default::default() },
        }
    }
}

fn exit_of(status: &WaitIdStatus) -> TaskExit {
    TaskExit {
        code: status.exit_status().unwrap_or(0),
        signal: status.terminating_signal().unwrap_or(0),
        core_dumped: status.dumped(),
        unfinished: false,
        out_of_memory: false,
    }
}

/// Reaps a task that has ended; what it and the children that it waited for have spent.
pub(super) fn reap(child: &mut Child) -> Option<Spent> {
    let used = child.wait4().ok()?.rusage;
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Some(Spent { user_ms: ms(used.utime), system_ms: ms(used.stime), peak_bytes: used.maxrss })
}
