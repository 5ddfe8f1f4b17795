//! Starting a machine process, and ending it for good.
use super::ProcessSettings;
use super::dir::{InstanceDir, MachineRecord};
use pcluster_model::job::SOFT_FILES_VARIABLE;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A killed machine that is still there after this is stuck in the kernel, in seconds.
const KILL_SECS: i64 = 5;
/// A sweep that takes longer is reported and tried again by the caller.
const SWEEP: Duration = Duration::from_secs(20);

/// The program must be there and be a program.
pub(super) fn check_program(path: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(path)?;
    if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
        return Ok(());
    }
    Err(io::Error::other("not an executable file"))
}

fn command(program: &Path, verb: &str, dir: &InstanceDir) -> Command {
    let mut command = Command::new(program);
    command.arg(verb).arg(dir.path()).current_dir("/").env_clear().stdin(Stdio::null());
    // Nothing of the head's environment reaches a node but these.
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| path.into()));
    for name in ["HOME", "LANG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// The command before which the launcher stands, if there is one. The launcher becomes the machine:
/// its number is the machine's.
fn launched(launcher: &[String], name: &str, command: Command) -> Command {
    let Some((program, words)) = launcher.split_first() else { return command };
    let named = |word: &String| word.replace("{node}", name);
    let mut whole = Command::new(named(program));
    whole.args(words.iter().map(named)).arg(command.get_program()).args(command.get_args());
    whole.current_dir("/").env_clear().stdin(Stdio::null());
    whole.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    whole
}

/// Starts the machine; it makes its own session, so that nothing meant for the head reaches it.
pub(super) fn spawn(
    settings: &ProcessSettings,
    dir: &InstanceDir,
    name: &str,
) -> io::Result<Child> {
    let console = OpenOptions::new().append(true).create(true).mode(0o600).open(dir.console())?;
    let mut command = command(&settings.agent_binary, "machine", dir);
    if let Some(files) = settings.soft_files {
        command.env(SOFT_FILES_VARIABLE, files.to_string());
    }
    let mut command = launched(&settings.launcher, name, command);
    let child = command.stdout(console.try_clone()?).stderr(console).spawn()?;
    // The machine writes the same record; whoever is first, it names this process.
    if let Some(record) = i32::try_from(child.id()).ok().and_then(MachineRecord::of) {
        dir.write_machine(&record)?;
    }
    Ok(child)
}

/// Kills the machine process itself, so that it starts nothing any more, and waits for its end.
pub(super) fn kill(dir: &InstanceDir) -> io::Result<()> {
    let Some(record) = dir.machine_record()? else { return Ok(()) };
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

/// Ends everything that a dead machine left: agent, keepers and the processes of jobs.
pub(super) fn sweep(program: &Path, dir: &InstanceDir) -> io::Result<()> {
    let console = OpenOptions::new().append(true).create(true).mode(0o600).open(dir.console())?;
    let mut command = command(program, "sweep", dir);
    let mut child = command.stdout(console.try_clone()?).stderr(console).spawn()?;
    let until = Instant::now() + SWEEP;
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(io::Error::other(format!("the sweep failed: {status}"))),
            None if Instant::now() >= until => {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::other("some of its processes do not end"));
            }
            None => std::thread::sleep(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_stands_before_the_machine_and_knows_its_name() {
        let agent = || {
            let mut command = Command::new("/a/agent");
            command.arg("machine").arg("/d").env_clear().env("PATH", "/bin");
            command
        };
        let words = |command: &Command| -> Vec<String> {
            let all = std::iter::once(command.get_program()).chain(command.get_args());
            all.map(|word| word.to_string_lossy().into_owned()).collect()
        };
        let launcher = ["nsenter", "--net=/run/netns/{node}", "--"].map(String::from);
        let whole = launched(&launcher, "compute-7", agent());
        let expected = ["nsenter", "--net=/run/netns/compute-7", "--", "/a/agent", "machine", "/d"];
        assert_eq!(words(&whole), expected);
        assert_eq!(whole.get_envs().count(), 1);
        assert_eq!(words(&launched(&[], "compute-7", agent())), ["/a/agent", "machine", "/d"]);
    }
}
