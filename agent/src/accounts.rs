//! Who is known here: whether a user's jobs may run, and what this machine needs for that; names of nodes.
//!
//! Invariant: nothing of `/etc` is touched on a machine that the agent does not own. Deliberately absent: how
//! accounts are written (`pcluster_etc`).
use pcluster_etc::accounts::{self, Account, AccountError};
use pcluster_etc::hosts;
use pcluster_wire::{Accounts, JoinOrder, NodeName, UserIdentity, UserRefusal};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tokio::sync::watch;

const ETC: &str = "/etc";
/// A directory service that does not answer by then does not know anybody.
const PATIENCE: Duration = Duration::from_secs(10);

/// The users of this node.
pub struct Users {
    accounts: Accounts,
    local_home: bool,
    etc: PathBuf,
    /// Those who were refused, and why.
    refused: Mutex<BTreeMap<u32, (UserIdentity, String)>>,
}

impl Users {
    pub fn new(join: &JoinOrder) -> Self {
        let root = rustix::process::geteuid().is_root();
        Self {
            // Without root there is one user, who is there.
            accounts: if root { join.accounts() } else { Accounts::OfHead },
            local_home: join.local_home,
            etc: ETC.into(),
            refused: Mutex::default(),
        }
    }

    /// Makes the machine ready for a user.
    ///
    /// # Errors
    /// Why it cannot be: of this user only, or of the machine.
    pub async fn admit(&self, user: &UserIdentity) -> Result<(), AccountError> {
        let admitted = match self.accounts {
            Accounts::OfHead => Ok(()),
            Accounts::Added => self.add(user).await,
            Accounts::Own => check(&self.etc, user).await,
        };
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match &admitted {
            Err(AccountError::Etc(_)) => {}
            Err(why) => drop(refused.insert(user.uid, (user.clone(), why.to_string()))),
            Ok(()) => drop(refused.remove(&user.uid)),
        }
        admitted
    }

    async fn add(&self, user: &UserIdentity) -> Result<(), AccountError> {
        let (etc, account, home) = (self.etc.clone(), account(user), self.local_home);
        let adding = tokio::task::spawn_blocking(move || {
            accounts::add(&etc, &account)?;
            if home {
                accounts::make_home(&account)?;
            }
            Ok(())
        });
        adding.await.unwrap_or(Ok(()))
    }

    /// Looks anew at those who were refused.
    pub async fn look_again(&self) {
        let users: Vec<UserIdentity> = {
            let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            refused.values().map(|(user, _)| user.clone()).collect()
        };
        for user in users {
            drop(self.admit(&user).await);
        }
    }

    /// Those who are refused now.
    pub fn refusals(&self) -> Vec<UserRefusal> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let told =
            refused.iter().map(|(uid, (_, why))| UserRefusal { uid: *uid, why: why.clone() });
        told.collect()
    }
}

/// Writes the names of nodes into the hosts file of a machine that the agent owns, whenever others are sent.
pub fn keep_names(join: &JoinOrder) -> watch::Sender<Option<Vec<NodeName>>> {
    let sender = watch::Sender::new(None);
    if !rustix::process::geteuid().is_root() || join.accounts() != Accounts::Added {
        return sender;
    }
    let (mut names, cluster) = (sender.subscribe(), join.cluster.clone());
    tokio::spawn(async move {
        while names.changed().await.is_ok() {
            let Some(list) = names.borrow_and_update().clone() else { continue };
            let known =
                list.into_iter().filter_map(|one| Some((one.address.parse().ok()?, one.name)));
            let (known, cluster) = (known.collect(), cluster.clone());
            let put = move || hosts::put(Path::new(ETC), "hosts", cluster.as_str(), &known);
            // One after the other: the last list stays.
            if let Ok(Err(error)) = tokio::task::spawn_blocking(put).await {
                crate::clock::say(&format!("names of nodes do not resolve here: {error}"));
            }
        }
    });
    sender
}

fn account(user: &UserIdentity) -> Account {
    Account {
        name: user.name.clone(),
        uid: user.uid,
        gid: user.gid,
        groups: user.group_names.iter().map(|group| (group.gid, group.name.clone())).collect(),
        home: user.home.clone(),
        shell: user.shell.clone(),
    }
}

/// The account of this name, as all of this machine knows it.
async fn check(etc: &Path, user: &UserIdentity) -> Result<(), AccountError> {
    let account = account(user);
    let passwd = std::fs::read(etc.join("passwd")).unwrap_or_default();
    if let Some(line) = accounts::line_of(&passwd, &account.name) {
        return accounts::check(Some(line), &account);
    }
    let asked = Command::new("getent")
        .args(["passwd", "--", &account.name])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let said = tokio::time::timeout(PATIENCE, asked).await;
    let line = said.ok().and_then(Result::ok).map(|output| output.stdout).unwrap_or_default();
    accounts::check(Some(&line[..]).filter(|line| !line.is_empty()), &account)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(accounts: Accounts, etc: &Path) -> Users {
        Users { accounts, local_home: false, etc: etc.into(), refused: Mutex::default() }
    }

    fn ana() -> UserIdentity {
        let group_names = vec![pcluster_wire::GroupName { gid: 4000, name: "ana".into() }];
        let (home, shell) = ("/home/ana".into(), "/bin/sh".into());
        let (name, uid, gid, groups) = ("no-such-ana".into(), 4000, 4000, vec![4000]);
        UserIdentity { name, uid, gid, groups, home, shell, group_names }
    }

    #[tokio::test]
    async fn who_is_refused_is_admitted_once_the_account_is_right() {
        let etc = std::env::temp_dir().join(format!("pcluster-users-{}", std::process::id()));
        std::fs::create_dir_all(&etc).unwrap();
        let own = users(Accounts::Own, &etc);
        assert!(own.admit(&ana()).await.is_err());
        let told = own.refusals();
        assert_eq!(told[0].uid, 4000);
        assert_eq!(told[0].why, "this machine has no account no-such-ana (number 4000)");
        // Another machine's agent owns it, and adds the account.
        users(Accounts::Added, &etc).admit(&ana()).await.unwrap();
        own.look_again().await;
        assert_eq!(own.refusals(), []);
        users(Accounts::OfHead, Path::new("/nonexistent")).admit(&ana()).await.unwrap();
        std::fs::remove_dir_all(&etc).unwrap();
    }
}
