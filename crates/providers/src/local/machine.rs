//! Starting the process that is a machine, and ending it for good.
use super::dir::{InstanceDir, MachineRecord};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A killed process that is still there after this is stuck in the kernel, in seconds.
const KILL_SECS: i64 = 5;

/// The program must be there and be a program.
pub fn check_program(path: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(path)?;
    if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    Err(io::Error::other("not an executable file"))
}

/// A command of a machine: nothing of the head's environment reaches it but these.
pub fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env_clear().stdin(Stdio::null());
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| path.into()));
    for name in ["HOME", "LANG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// The console of an instance, to write on.
pub fn console(dir: &InstanceDir) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(dir.console())
}

/// Starts the machine; it makes its own session, so that nothing meant for the head reaches it.
pub(super) fn spawn(mut command: Command, dir: &InstanceDir) -> io::Result<Child> {
    let console = console(dir)?;
    let child = command.stdout(console.try_clone()?).stderr(console).spawn()?;
    // The machine writes the same record; whoever is first, it names this process.
    // One that has ended already is a machine that was: without a record it would be about to start.
    if let Some(record) = i32::try_from(child.id()).ok().and_then(MachineRecord::of_child) {
        dir.write_machine(&record)?;
    }
    Ok(child)
}

/// Kills the machine process itself, so that it starts nothing any more, and waits for its end.
pub fn kill(dir: &InstanceDir) -> io::Result<()> {
    dir.machine_record()?.map_or(Ok(()), |record| end(&record))
}

/// Kills this very process, if it lives, and waits for its end.
pub fn end(record: &MachineRecord) -> io::Result<()> {
    let Some(handle) = record.open() else { return Ok(()) };
    match pidfd_send_signal(&handle, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    let mut fds = [PollFd::new(&handle, PollFlags::IN)];
    match poll(&mut fds, Some(&Timespec { tv_sec: KILL_SECS, tv_nsec: 0 }))? {
        0 => Err(io::Error::other("its process does not end")),
        _ => Ok(()),
    }
}
