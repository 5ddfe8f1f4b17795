//! Accounts of this machine, asked of `getent` and `id`: a static binary cannot use NSS itself.
//!
//! Invariant: programs are run with their arguments as a list, never by a shell. Deliberately
//! absent: rights (`Principal.admin` is made here from facts, checked in core).
use crate::limits;
use pcluster_core::input::Principal;
use pcluster_model::UserName;
use pcluster_wire::{GroupName, UserIdentity};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::process::Command;

/// An account that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeopleError {
    #[error("no account has the number {0} on the head")]
    NoAccount(u32),
    #[error("cannot ask for the account {0}: {1}")]
    Lookup(u32, String),
}

/// An account with its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub identity: UserIdentity,
    pub group_names: BTreeSet<String>,
}

/// When it was asked for, and the answer.
type Known = BTreeMap<u32, (Instant, Arc<Person>)>;
/// Names of groups by number; `None`: it has none.
type Groups = BTreeMap<u32, (Instant, Option<String>)>;

/// Who is who on this machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct People {
    known: Arc<Mutex<Known>>,
    groups: Arc<Mutex<Groups>>,
    /// The user who started the head.
    head_uid: u32,
}

impl People {
    /// Nobody is known yet.
    #[must_use]
    pub fn new(head_uid: u32) -> Self {
        Self { known: Arc::default(), groups: Arc::default(), head_uid }
    }

    /// The account with this number, at most a minute old.
    ///
    /// # Errors
    /// When there is none, or nobody can say.
    pub async fn by_uid(&self, uid: u32) -> Result<Arc<Person>, PeopleError> {
        if let Some((asked, person)) = self.lock().get(&uid)
            && asked.elapsed() < limits::PEOPLE_FRESH
        {
            return Ok(Arc::clone(person));
        }
        let person = Arc::new(look_up(uid).await?);
        self.lock().insert(uid, (Instant::now(), Arc::clone(&person)));
        Ok(person)
    }

    /// The name of a group, at most a minute old; `None` when it has none or nobody can say.
    pub async fn group_name(&self, gid: u32) -> Option<String> {
        let lock = || self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, name)) = lock().get(&gid)
            && asked.elapsed() < limits::PEOPLE_FRESH
        {
            return name.clone();
        }
        let line = run("getent", &["group", &gid.to_string()]).await.ok();
        let line = line.or_else(|| line_of("/etc/group", gid));
        let name = line.and_then(|line| line.split(':').next().map(str::to_owned));
        lock().insert(gid, (Instant::now(), name.clone()));
        name
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who asks, from what the kernel says of the other end of the socket.
    ///
    /// # Errors
    /// As `by_uid`.
    pub async fn principal(
        &self,
        uid: u32,
        gid: u32,
        admins: &[String],
    ) -> Result<Principal, PeopleError> {
        let person = self.by_uid(uid).await?;
        let named = admins.iter().any(|admin| match admin.strip_prefix('@') {
            Some(group) => person.group_names.contains(group),
            None => *admin == person.identity.name,
        });
        let admin = uid == 0 || uid == self.head_uid || named;
        Ok(Principal { user: UserName(person.identity.name.clone()), uid, gid, admin })
    }
}

async fn look_up(uid: u32) -> Result<Person, PeopleError> {
    let line = match run("getent", &["passwd", &uid.to_string()]).await {
        Ok(line) => line,
        Err(why) => line_of("/etc/passwd", uid).ok_or(match why {
            Failure::Nothing => PeopleError::NoAccount(uid),
            Failure::Broken(why) => PeopleError::Lookup(uid, why),
        })?,
    };
    let fields: Vec<&str> = line.trim_end().split(':').collect();
    let odd = || PeopleError::Lookup(uid, format!("odd answer {line:?}"));
    let [name, _, number, gid, _, home, shell] = fields.as_slice() else { return Err(odd()) };
    if number.parse() != Ok(uid) || name.is_empty() {
        return Err(odd());
    }
    let gid: u32 = gid.parse().map_err(|_| odd())?;
    let wrong = |why: Failure| PeopleError::Lookup(uid, why.to_string());
    let groups = run("id", &["-G", "--", name]).await.map_err(wrong)?;
    let groups: Result<Vec<u32>, _> = groups.split_whitespace().map(str::parse).collect();
    let groups = groups.map_err(|_| odd())?;
    let group_names = names_of(gid, &groups).await;
    // A group without a name makes `id -Gn` fail after it has printed all names.
    let names = run("id", &["-Gn", "--", name]).await.unwrap_or_default();
    Ok(Person {
        identity: UserIdentity {
            name: (*name).to_owned(),
            uid,
            gid,
            groups,
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
            group_names,
        },
        group_names: names.split_whitespace().map(str::to_owned).collect(),
    })
}

/// What its groups are called; those without a name are left out.
async fn names_of(primary: u32, groups: &[u32]) -> Vec<GroupName> {
    let mut numbers: Vec<u32> = groups.iter().copied().chain([primary]).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let words: Vec<String> = numbers.iter().map(u32::to_string).collect();
    let asked = Command::new("getent")
        .arg("group")
        .args(&words)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    // It prints those that it finds, whatever it ends with.
    let text = match tokio::time::timeout(limits::PEOPLE_WAIT, asked).await {
        Ok(Ok(output)) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(Err(_)) | Err(_) => {
            let lines = numbers.iter().filter_map(|gid| line_of("/etc/group", *gid));
            lines.collect::<Vec<_>>().join("\n")
        }
    };
    let named = text.lines().filter_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let gid = rest.split(':').nth(1)?.parse().ok()?;
        Some(GroupName { gid, name: name.to_owned() })
    });
    named.filter(|group| numbers.binary_search(&group.gid).is_ok()).collect()
}

/// For machines without `getent`.
fn line_of(path: &str, number: u32) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let number = number.to_string();
    text.lines().find(|line| line.split(':').nth(2) == Some(&number)).map(str::to_owned)
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("nothing was found")]
    Nothing,
    #[error("{0}")]
    Broken(String),
}

async fn run(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let broken = |why: String| Failure::Broken(format!("{program}: {why}"));
    let asked =
        Command::new(program).args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(limits::PEOPLE_WAIT, asked)
        .await
        .map_err(|_| broken("no answer".into()))?
        .map_err(|error| broken(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() && !text.is_empty() {
        return Ok(text);
    }
    // `getent` says 2 for "not found".
    if output.status.code() == Some(2) && text.is_empty() {
        return Err(Failure::Nothing);
    }
    Err(broken(format!("ended with {}", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn root_is_an_admin_with_a_name_and_a_home() {
        let people = People::new(1000);
        let root = people.principal(0, 0, &[]).await.unwrap();
        assert_eq!((root.user.as_str(), root.admin), ("root", true));
        assert!(people.by_uid(0).await.unwrap().identity.home.starts_with('/'));
    }

    #[tokio::test]
    async fn others_are_admins_by_name_or_by_group() {
        let people = People::new(0);
        let by = |admins: &[&str]| admins.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let daemon = people.by_uid(1).await.unwrap();
        let (name, groups) = (&daemon.identity.name, &daemon.group_names);
        let group = format!("@{}", groups.iter().next().unwrap());
        for (admins, expected) in [
            (by(&[]), false),
            (by(&[name]), true),
            (by(&[&group]), true),
            (by(&["@nosuch"]), false),
        ] {
            assert_eq!(people.principal(1, 1, &admins).await.unwrap().admin, expected);
        }
    }

    #[tokio::test]
    async fn a_number_without_an_account_is_named() {
        let error = People::new(0).by_uid(3_999_999_999).await.unwrap_err();
        assert_eq!(error.to_string(), "no account has the number 3999999999 on the head");
    }
}
