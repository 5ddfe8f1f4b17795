//! A real SSH server of one test, on loopback.
//!
//! Invariant: its keys, its configuration and what it accepts lie in the test's folder; it ends with the value.
use crate::clients::have;
use crate::{people, until};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const SERVER: &str = "/usr/sbin/sshd";

/// A running server that lets in the holder of one key, as the user of this test.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Sshd {
    /// A server whose sessions have `variables` in their environment; nothing, said so, where there is none.
    ///
    /// # Panics
    /// When it does not start although it is installed.
    #[must_use]
    pub fn start(folder: &Path, variables: &[(&str, String)]) -> Option<Self> {
        if !have(&[SERVER, "ssh-keygen"]) {
            return None;
        }
        fs::create_dir_all(folder).expect("the folder is the test's");
        for name in ["host", "user", "other"] {
            new_key(&folder.join(name));
        }
        fs::copy(folder.join("user.pub"), folder.join("allowed")).expect("the folder is ours");
        if people::is_root() {
            // Where it parts with its rights; a machine without the service has no such folder.
            fs::create_dir_all("/run/sshd").expect("root may make it");
        }
        // Free a moment ago; somebody else may take it, and then the server says so and ends.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let port = port.expect("there are free ports").port();
        let set: Vec<String> =
            variables.iter().map(|(name, value)| format!("\"{name}={value}\"")).collect();
        let set =
            if set.is_empty() { String::new() } else { format!("SetEnv {}\n", set.join(" ")) };
        let here = folder.display();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {here}/host\nAuthorizedKeysFile {here}/allowed\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n{set}"
        );
        fs::write(folder.join("sshd_config"), config).expect("the folder is ours");
        let log = fs::File::create(folder.join("log")).expect("the folder is ours");
        let mut command = Command::new(SERVER);
        command.args(["-D", "-e", "-f"]).arg(folder.join("sshd_config"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("it can be started");
        let sshd = Self { child, port, folder: folder.into() };
        until("a server that listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(sshd)
    }

    /// `USER@HOST:PORT`.
    ///
    /// # Panics
    /// When this user has no name.
    #[must_use]
    pub fn target(&self) -> String {
        let said = Command::new("id").arg("-un").output().expect("id can be run");
        format!("{}@127.0.0.1:{}", String::from_utf8_lossy(&said.stdout).trim(), self.port)
    }

    /// A private key: `user` is let in, `other` is not.
    #[must_use]
    pub fn key(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The fingerprint of its host key.
    ///
    /// # Panics
    /// When `ssh-keygen` fails.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let said = Command::new("ssh-keygen").arg("-lf").arg(self.folder.join("host.pub")).output();
        let said = said.expect("it can be run").stdout;
        let text = String::from_utf8_lossy(&said).into_owned();
        text.split_whitespace().nth(1).expect("SIZE FINGERPRINT …").to_owned()
    }

    /// The line of a file of known hosts.
    ///
    /// # Panics
    /// When the key is gone.
    #[must_use]
    pub fn known(&self) -> String {
        let key = fs::read_to_string(self.folder.join("host.pub")).expect("it was made");
        format!("[127.0.0.1]:{} {key}", self.port)
    }

    /// Another host key from the next connection on.
    pub fn become_another(&self) {
        fs::remove_file(self.folder.join("host")).expect("it was made");
        new_key(&self.folder.join("host"));
        // It starts again when it is told to, and says when it listens.
        let before = self.listened();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it is ours");
        until("a server that has started again", || (self.listened() > before).then_some(()));
    }

    fn listened(&self) -> usize {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.matches("Server listening on").count()
    }
}

fn new_key(file: &Path) {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "of a test", "-f"]).arg(file);
    let made = command.stdin(Stdio::null()).output().expect("ssh-keygen can be run");
    assert!(made.status.success(), "{made:?}");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("the key is ours");
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
