//! The process that is a virtual machine: it starts the parts (the daemons of shared folders, then
//! QEMU), copies the console to disk, and writes down the end.
//!
//! Invariant: no part outlives this process: each is started through [`part`], which has the kernel
//! end it. So a machine is ended by ending this process, whatever it is at.
use super::net;
use super::qemu;
use super::spec::{Net, Spec};
use crate::local::dir::{EndRecord, InstanceDir, MachineRecord};
use crate::local::machine::end;
use crate::provider::now;
use pcluster_images::find_program;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setsid};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A daemon of a shared folder that does not listen by then is given up.
const LISTENS: Duration = Duration::from_secs(15);
/// Of a console that grows beyond this, the beginning and the end are kept, in bytes.
const CONSOLE_MOST: u64 = 1 << 20;
const CONSOLE_FIRST: usize = 128 << 10;
const CONSOLE_LAST: usize = 256 << 10;

/// `PROGRAM vm-machine DIR`: is the machine until its end. The words are for its console.
///
/// # Errors
/// When the machine cannot be started; nothing of it runs then.
pub fn run(dir: &Path) -> io::Result<()> {
    // A session of its own; it fails where there is one already.
    let _ = setsid();
    let instance = InstanceDir::at(dir)?;
    let own = MachineRecord::of(getpid().as_raw_nonzero().get());
    let own = own.ok_or_else(|| io::Error::other("cannot read /proc/self/stat"))?;
    instance.write_machine(&own)?;
    if instance.machine_record()?.as_ref() != Some(&own) {
        return Err(io::Error::other("there is, or was, another machine here"));
    }
    // In this order: whoever terminates marks first and looks for the machine then.
    if instance.is_terminated() {
        return Err(io::Error::other("it was terminated before it started"));
    }
    let spec = Spec::read(dir)?;
    let mut console = Console::open(&instance.console())?;
    let ended = live(&spec, dir, &mut console);
    if let Err(error) = &ended {
        console.say(&format!("the machine cannot run: {error}"))?;
    }
    unplug(&spec, dir)?;
    instance.write_end(&EndRecord { ended_at: now(), estimated: false })?;
    ended
}

/// Ends what a dead machine left. Its parts ended with it; their end is waited for.
pub(super) fn sweep(dir: &Path) -> io::Result<()> {
    for record in Parts::read(dir)? {
        end(&record)?;
    }
    match Spec::read(dir) {
        Ok(spec) => unplug(&spec, dir),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn unplug(spec: &Spec, dir: &Path) -> io::Result<()> {
    let Net::Tap { bridge, tap, .. } = &spec.net else { return Ok(()) };
    net::unplug(dir.parent().unwrap_or(dir), bridge, tap)
}

/// `PROGRAM vm-part PARENT WORDS…`: becomes the command of these words, and ends with its parent.
///
/// # Errors
/// When it cannot; else it does not return.
pub fn part(parent: i32, words: &[OsString]) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the kernel was asked.
    if getppid().is_none_or(|now| now.as_raw_nonzero().get() != parent) {
        return Err(io::Error::other("the machine has ended"));
    }
    let (program, words) =
        words.split_first().ok_or_else(|| io::Error::other("there is no command"))?;
    Err(Command::new(program).args(words).exec())
}

/// The parts that were started, for those who must see them end.
struct Parts<'a> {
    dir: &'a Path,
    records: Vec<MachineRecord>,
    children: Vec<Child>,
}

impl Parts<'_> {
    fn read(dir: &Path) -> io::Result<Vec<MachineRecord>> {
        match fs::read(dir.join("parts.json")) {
            // Torn by a crash, it names nobody that still lives.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn start(&mut self, words: Vec<OsString>, stdout: Stdio, stderr: Stdio) -> io::Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("vm-part").arg(std::process::id().to_string()).arg("--").args(words);
        // QEMU keeps what a guest writes to its image's disk there, in a file without a name.
        command.env("TMPDIR", self.dir);
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn()?;
        self.records.extend(i32::try_from(child.id()).ok().and_then(MachineRecord::of));
        fs::write(self.dir.join("parts.json"), serde_json::to_vec(&self.records)?)?;
        Ok(child)
    }
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            // They end by themselves when the guest is gone.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn live(spec: &Spec, dir: &Path, console: &mut Console) -> io::Result<()> {
    let program = qemu::program().ok_or_else(|| io::Error::other("QEMU is not installed"))?;
    console.say(&format!("machine {} is up, by {:?}", spec.name, spec.accel))?;
    scratch(dir, spec.scratch_bytes)?;
    let mut parts = Parts { dir, records: Vec::new(), children: Vec::new() };
    // A socket's path has at most 107 bytes; through the open folder every path is short.
    let folder = File::open(dir)?;
    let short = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), folder.as_raw_fd()));
    let mut sockets = Vec::new();
    for (shared, index) in spec.folders.iter().zip(0..) {
        let socket = short.join(format!("s{index}"));
        let log = File::create(dir.join(format!("s{index}.log")))?;
        let words = virtiofsd(&shared.path, &socket)?;
        let mut child = parts.start(words, log.try_clone()?.into(), log.into())?;
        listens(&mut child, &dir.join(format!("s{index}")), &dir.join(format!("s{index}.log")))
            .map_err(|error| {
                io::Error::other(format!("cannot share {}: {error}", shared.path.display()))
            })?;
        parts.children.push(child);
        sockets.push(socket);
    }
    if let Net::Tap { bridge, tap, .. } = &spec.net {
        net::plug(dir.parent().unwrap_or(dir), bridge, tap)?;
    }
    let mut words = vec![program.into_os_string()];
    words.extend(qemu::words(spec, dir, &sockets));
    let (mut said, write) = io::pipe()?;
    let mut machine = parts.start(words, write.try_clone()?.into(), write.into())?;
    let mut buffer = [0; 4096];
    loop {
        match said.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => console.write(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let status = machine.wait()?;
    console.say(&format!("machine {} has ended: {status}", spec.name))
}

/// The node's own disk: a sparse file with an empty file system.
fn scratch(dir: &Path, bytes: u64) -> io::Result<()> {
    let path = dir.join("scratch.img");
    File::create(&path)?.set_len(bytes)?;
    let program = find_program("mke2fs")
        .ok_or_else(|| io::Error::other("there is no mke2fs (apt install e2fsprogs)"))?;
    let mut make = Command::new(program);
    make.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0"]).arg(&path);
    let output =
        make.output().map_err(|error| io::Error::other(format!("cannot run mke2fs: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("mke2fs: {why}")))
}

/// The command of a daemon: the one of QEMU up to 7, or the one that came after it.
fn virtiofsd(path: &Path, socket: &Path) -> io::Result<Vec<OsString>> {
    let program =
        qemu::virtiofsd().ok_or_else(|| io::Error::other("virtiofsd is not installed"))?;
    let help = Command::new(&program).arg("--help").output()?.stdout;
    let is_new = String::from_utf8_lossy(&help).contains("--shared-dir");
    let root = rustix::process::geteuid().is_root();
    let joined = |key: &str, path: &Path| {
        let mut word = OsString::from(key);
        word.push(path);
        word
    };
    let mut words = vec![program.into_os_string(), joined("--socket-path=", socket)];
    if is_new {
        words.push(joined("--shared-dir=", path));
        words.extend(["--cache=auto", "--xattr"].map(OsString::from));
        // Without root there is only what this user may do anyway.
        words.push(if root { "--sandbox=chroot" } else { "--sandbox=none" }.into());
    } else {
        words.extend(["-f", "-o"].map(OsString::from));
        words.push(joined("source=", path));
        for option in ["cache=auto", "sandbox=chroot", "xattr", "log_level=err"] {
            words.extend(["-o", option].map(OsString::from));
        }
    }
    Ok(words)
}

fn listens(child: &mut Child, socket: &Path, log: &Path) -> io::Result<()> {
    let until = Instant::now() + LISTENS;
    while !socket.exists() {
        if let Some(status) = child.try_wait()? {
            let said = fs::read_to_string(log).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default().to_owned();
            return Err(io::Error::other(format!("virtiofsd: {status}: {last}")));
        }
        if Instant::now() >= until {
            let _ = child.kill();
            return Err(io::Error::other("virtiofsd does not listen"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The console on disk: its beginning and its end.
struct Console {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Console {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self { size: file.metadata()?.len(), file, path: path.to_path_buf() })
    }

    fn say(&mut self, words: &str) -> io::Result<()> {
        self.write(format!("{words}\n").as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size > CONSOLE_MOST {
            self.shorten()?;
        }
        // A full disk costs words, not the machine.
        if self.file.write_all(bytes).is_ok() {
            self.size += bytes.len() as u64;
        }
        Ok(())
    }

    /// In place: everybody who appends goes on.
    fn shorten(&mut self) -> io::Result<()> {
        let text = fs::read(&self.path)?;
        let last = text.len().saturating_sub(CONSOLE_LAST).max(CONSOLE_FIRST.min(text.len()));
        self.file.set_len(CONSOLE_FIRST.min(text.len()) as u64)?;
        self.file.write_all(b"\n[some of the console is left out here]\n")?;
        self.file.write_all(&text[last..])?;
        self.size = self.file.metadata()?.len();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_without_end_keeps_its_beginning_and_its_end() {
        let path = std::env::temp_dir().join(format!("pcv-console-{}", std::process::id()));
        let mut console = Console::open(&path).unwrap();
        console.say("the first word").unwrap();
        for line in 0..200_000 {
            console.say(&format!("line {line}")).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("the first word\nline 0\n") && text.ends_with("line 199999\n"));
        assert!(text.len() < 2 << 20 && text.contains("left out here"), "{} bytes", text.len());
        fs::remove_file(&path).unwrap();
    }
}
