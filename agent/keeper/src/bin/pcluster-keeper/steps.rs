//! The step daemon beside the main process: started on demand, and given time for its last words.
//!
//! Invariant: it is a process of the job like any other, in its cage and as its user; how it ends changes nothing of the
//! job's outcome. There is at most one at a time.

use std::{
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pcluster_keeper::{STEPS_LAST_MS, proc, tree};
use rustix::process::Signal;

/// Starts it: the keeper's own program, which becomes the daemon as the main process became the job.
pub fn spawn(dir: &Path) -> io::Result<i32> {
    let child = Command::new("/proc/self/exe")
        .arg0("pcluster-keeper")
        .arg("steps")
        .arg(dir)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    i32::try_from(child.id()).map_err(io::Error::other)
}

/// The main process has ended: a daemon that is left tells what it has to tell, and ends. `reap` collects dead children.
pub fn let_end(daemon: i32, mut reap: impl FnMut()) {
    let Some(process) = proc::stat(daemon) else { return };
    let until = Instant::now() + Duration::from_millis(STEPS_LAST_MS);
    tree::send(&process, Signal::TERM);
    tree::send(&process, Signal::CONT);
    let mut pause = Duration::from_millis(2);
    while Instant::now() < until {
        reap();
        let lives = proc::stat(daemon)
            .is_some_and(|now| now.start_ticks == process.start_ticks && now.is_live());
        if !lives {
            return;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}
