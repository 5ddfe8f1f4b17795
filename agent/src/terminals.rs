//! Terminals on the node itself, for admins: a step daemon that belongs to no run.
//!
//! Invariant: at most one lives at a time; an agent that was started again finds the one before by
//! its record. It runs as the agent's user, as after a login, and outside of every cage.
//! Deliberately absent: who may have one (the head's to say), and its end (it ends when it is not
//! used; whatever it has started goes with the machine).
use crate::clock;
use crate::node_dir::ProcessRecord;
use crate::run::Shared;
use pcluster_wire::NODE_ITSELF;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Names the process of the daemon.
pub const RECORD: &str = "terminals.json";

/// The node's own step daemon.
#[derive(Default)]
pub struct Terminals {
    child: Option<Child>,
}

impl Terminals {
    /// Starts the daemon unless it is there.
    pub fn start(&mut self, shared: &Shared) {
        self.reap();
        let of_before = || shared.dir.read::<ProcessRecord>(RECORD).ok().flatten();
        if self.child.is_some() || of_before().is_some_and(|record| record.is_alive()) {
            return;
        }
        match spawn(shared) {
            Ok(child) => {
                let record = i32::try_from(child.id()).ok().and_then(ProcessRecord::of);
                // Known before anything else: its end must be heard, also when the disk is full.
                self.child = Some(child);
                if let Some(Err(error)) = record.map(|record| shared.dir.write(RECORD, &record)) {
                    clock::say(&format!("cannot write down the daemon of terminals: {error}"));
                }
            }
            Err(error) => clock::say(&format!("no terminal on this node: {error}")),
        }
    }

    /// Takes in a daemon that has ended.
    pub fn reap(&mut self) {
        let ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        self.child.take_if(ended);
    }
}

fn spawn(shared: &Shared) -> io::Result<Child> {
    let node = &shared.node;
    let Some(socket) = &node.client_socket else {
        return Err(io::Error::other("this agent has no client socket"));
    };
    let account = Account::of(node.uid, &std::fs::read_to_string("/etc/passwd")?);
    let home = Some(Path::new(&account.home)).filter(|home| home.is_dir());
    let mut daemon = Command::new(&node.agent);
    daemon
        .arg("stepd")
        .env_clear()
        .envs(account.variables())
        .env("PCLUSTER_SOCKET", socket)
        .env("PCLUSTER_RUN_ID", NODE_ITSELF.to_string())
        .env("PCLUSTER_NODE", &node.names.node)
        .env("SLURM_NODEID", "0")
        .current_dir(home.unwrap_or(Path::new("/")))
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    daemon.spawn()
}

/// What this machine says of a user.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    name: String,
    home: String,
    shell: String,
}

impl Account {
    /// From the text of `/etc/passwd`: names are not resolved otherwise here, the agent may be a
    /// static program.
    fn of(uid: u32, passwd: &str) -> Self {
        let own = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let [name, _, number, _, _, home, shell] = fields.as_slice() else { return None };
            (number.parse() == Ok(uid)).then(|| Self {
                name: (*name).to_owned(),
                home: (*home).to_owned(),
                shell: (*shell).to_owned(),
            })
        };
        passwd.lines().find_map(own).unwrap_or_else(|| Self {
            name: uid.to_string(),
            home: "/".to_owned(),
            shell: String::new(),
        })
    }

    fn variables(&self) -> [(&'static str, &str); 5] {
        let shell = if self.shell.is_empty() { "/bin/sh" } else { &self.shell };
        [
            ("HOME", &self.home),
            ("USER", &self.name),
            ("LOGNAME", &self.name),
            ("SHELL", shell),
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_as_they_stand() {
        let passwd = "root:x:0:0:root:/home:/bin/bash\nbroken\nana:x:1000:1000::/home/ana:\n";
        let account = Account::of(1000, passwd);
        assert_eq!((account.name.as_str(), account.home.as_str()), ("ana", "/home/ana"));
        assert!(account.variables().contains(&("SHELL", "/bin/sh")));
        assert_eq!(Account::of(0, passwd).shell, "/bin/bash");
        assert_eq!(Account::of(7, passwd).home, "/");
    }
}
