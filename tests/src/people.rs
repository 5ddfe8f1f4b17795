//! Other users, for tests that run as root.
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// An account that every machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// Whether this test may act as others.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// An ordinary account by its name, as `nobody` or `daemon`.
#[must_use]
pub fn named(name: &str) -> Option<Person> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [found, _, uid, gid, ..] = fields.as_slice() else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        (*found == name && uid != 0).then(|| Person { name: (*found).to_owned(), uid, gid })
    })
}

impl Person {
    /// Makes `command` run as this user. The standard library drops root's groups with the user id.
    pub fn run(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid).env("USER", &self.name).env("LOGNAME", &self.name);
    }

    /// Gives a file or folder to this user.
    ///
    /// # Panics
    /// When that is not allowed.
    pub fn own(&self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .expect("root can give files away");
    }
}
