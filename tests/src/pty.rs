//! A command with a terminal of its own: what is typed, what it shows, its size and its end.
//!
//! Invariant: the command is killed when the value goes. Deliberately absent: what control
//! sequences mean (the command is told of a terminal that knows none).
use crate::said::shell_code;
use crate::{PATIENCE, until, within};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};

/// A command on a terminal.
#[derive(Debug)]
pub struct Pty {
    child: Child,
    master: Option<File>,
    /// The command's side, to see in which mode it is.
    slave: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// What was seen of it already.
    seen: usize,
}

impl Pty {
    /// Starts `command` on a terminal of this size, as the leader of a session.
    ///
    /// # Panics
    /// When the system gives no terminal.
    #[must_use]
    pub fn start(command: &Command, rows: u16, columns: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let master = master.expect("a terminal can be made");
        grantpt(&master).and_then(|()| unlockpt(&master)).expect("it is ours");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let mut open = File::options();
        // Not to become the test's own.
        open.read(true).write(true).custom_flags(0o400);
        let slave = open.open(name.to_str().expect("a path")).expect("it can be opened");
        let master = File::from(master);
        resize(&master, rows, columns);
        let mut leader = Command::new("setsid");
        leader.arg("--ctty").arg(command.get_program()).args(command.get_args());
        leader.env_clear().env("TERM", "dumb");
        for (name, value) in command.get_envs() {
            leader.envs(value.map(|value| (name, value)));
        }
        leader.current_dir(command.get_current_dir().expect("a cluster's command has a folder"));
        let mine = || slave.try_clone().expect("a file can be shared");
        leader.stdin(mine()).stdout(mine()).stderr(mine());
        let child = leader.spawn().expect("setsid can be started");
        let shown: Arc<Mutex<Vec<u8>>> = Arc::default();
        let (mut reader, to) =
            (master.try_clone().expect("a file can be shared"), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut piece) {
                to.lock().unwrap_or_else(PoisonError::into_inner).extend(&piece[..count]);
            }
        });
        Self { child, master: Some(master), slave, shown, seen: 0 }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }

    /// Everything shown so far.
    #[must_use]
    pub fn shown(&self) -> String {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// Types these characters.
    ///
    /// # Panics
    /// When the terminal is closed.
    pub fn types(&mut self, text: &str) {
        let master = self.master.as_mut().expect("the terminal is open");
        master.write_all(text.as_bytes()).expect("a terminal takes what is typed");
    }

    /// Waits until this is shown, after whatever was waited for before.
    ///
    /// # Panics
    /// When it is not within [`PATIENCE`].
    #[track_caller]
    pub fn until_shows(&mut self, text: &str) {
        let seen = self.seen;
        let found = within(PATIENCE, || {
            let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let at = shown[seen..].windows(text.len()).position(|part| part == text.as_bytes())?;
            Some(seen + at + text.len())
        });
        let Some(end) = found else { panic!("{text:?} is not shown: {}", self.shown()) };
        self.seen = end;
    }

    /// Another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(self.master.as_ref().expect("the terminal is open"), rows, columns);
    }

    /// Whether the command has the terminal in raw mode.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("it is a terminal").local_modes;
        !modes.contains(LocalModes::ICANON)
    }

    /// Waits until the command has the terminal in raw mode.
    pub fn until_raw(&self) {
        until("a terminal in raw mode", || self.is_raw().then_some(()));
    }

    /// Waits for the command's end; its code as a shell shows it.
    ///
    /// # Panics
    /// When that does not come.
    #[track_caller]
    pub fn ended(&mut self) -> i32 {
        let ended = within(PATIENCE, || self.child.try_wait().expect("a child can be waited for"));
        let Some(status) = ended else { panic!("it has not ended: {}", self.shown()) };
        shell_code(status)
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(master: &File, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).expect("a terminal has a size");
}
