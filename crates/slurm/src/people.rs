//! Accounts of this machine, asked of `getent`: a static binary cannot use NSS itself.
//!
//! Invariant: an account decides nothing here. It is what a login would have, and how a name that
//! nobody has is told from one that has no jobs; who asks is what the head's kernel says.
use pcluster_api::JobRecord;
use std::process::Command;

/// What a login of somebody starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub home: String,
    pub shell: String,
}

/// The account of this process's user; `None` where it cannot be found out.
#[must_use]
pub fn own() -> Option<Account> {
    look_up(&rustix::process::getuid().as_raw().to_string()).ok().flatten()
}

/// Of these names those that nobody has, neither on this machine nor in the answer of the head.
/// Numbers are taken at their word.
#[must_use]
pub fn nobodies<'a>(names: &'a [String], records: &[JobRecord]) -> Vec<&'a str> {
    nobodies_by(names, records, |name| matches!(look_up(name), Ok(None)))
}

/// What `squeue` and `sprio` say of such names, and go on.
pub fn complain(command: &str, names: &[String], records: &[JobRecord]) {
    for name in nobodies(names, records) {
        tell!("{}", complaint(command, name));
    }
}

fn complaint(command: &str, name: &str) -> String {
    let name = pcluster_client::text::clean(name);
    format!("{command}: error: Invalid user: {name}")
}

fn nobodies_by<'a>(
    names: &'a [String],
    records: &[JobRecord],
    is_missing: impl Fn(&str) -> bool,
) -> Vec<&'a str> {
    let of_nobody = |name: &&String| {
        name.parse::<u32>().is_err()
            && !records.iter().any(|record| record.user == **name)
            && is_missing(name)
    };
    names.iter().filter(of_nobody).map(String::as_str).collect()
}

/// `Ok(None)`: there is none. An error: it cannot be known.
fn look_up(who: &str) -> std::io::Result<Option<Account>> {
    let answer = Command::new("getent").args(["passwd", "--", who]).output()?;
    match answer.status.code() {
        Some(0) => Ok(account(&String::from_utf8_lossy(&answer.stdout))),
        // What `getent` says of a name that nobody has.
        Some(2) => Ok(None),
        _ => Err(std::io::ErrorKind::Other.into()),
    }
}

/// The account of a line of `/etc/passwd`.
fn account(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.trim_end().split(':').collect();
    let [name, _, _, _, _, home, shell] = fields.as_slice() else { return None };
    // An empty shell is this one by the rules of the file.
    let shell = if shell.is_empty() { "/bin/sh" } else { shell };
    Some(Account { name: (*name).into(), home: (*home).into(), shell: shell.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::made_up;

    #[test]
    fn a_line_is_an_account_or_none() {
        let line = "ana:x:1000:1000:Ana,,:/home/ana:/bin/zsh\n";
        let ana =
            Account { name: "ana".into(), home: "/home/ana".into(), shell: "/bin/zsh".into() };
        assert_eq!(account(line), Some(ana));
        assert_eq!(
            account("bin:x:1:1::/bin:").map(|account| account.shell),
            Some("/bin/sh".into())
        );
        assert_eq!(account("ana:x"), None);
    }

    #[test]
    fn a_name_with_jobs_and_a_number_are_somebody() {
        let job = made_up::array_task(148, 1, 150);
        let names = [job.user.as_str(), "4711", "nosuch", "idle"].map(str::to_owned);
        let found = nobodies_by(&names, std::slice::from_ref(&job), |name| name != "idle");
        assert_eq!(found, ["nosuch"]);
        assert_eq!(complaint("squeue", found[0]), "squeue: error: Invalid user: nosuch");
    }

    #[test]
    fn root_is_on_every_machine() {
        let root = look_up("root").unwrap().unwrap();
        assert_eq!((root.name.as_str(), root.home.starts_with('/')), ("root", true));
        assert_eq!(look_up("nobody-has-this-name").unwrap(), None);
        assert_eq!(look_up("-x").unwrap(), None, "a name is no option");
    }
}
