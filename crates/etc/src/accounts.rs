//! Accounts of the users of jobs, on machines that have none of theirs.
//!
//! Invariant: an account that is there is never changed. One with the same name and another number stands
//! in the way, and says so; one with the same number and another name does not: the number is what owns
//! files, and ours is found first. Nobody logs in with an account that was added. What is between two
//! files when a machine dies is harmless: the line of `passwd` comes last.
use crate::file::{EtcError, Lock};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// A user as the head knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Groups with a name, the primary one among them.
    pub groups: Vec<(u32, String)>,
    pub home: String,
    pub shell: String,
}

/// Why a machine cannot have an account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Of this user only.
    #[error("this machine has an account {name} with the number {has}; on the head it is {wants}")]
    OtherNumber { name: String, has: String, wants: u32 },
    /// Of this user only.
    #[error("this machine has no account {name} (number {uid})")]
    Missing { name: String, uid: u32 },
    /// Of this user only.
    #[error("{0:?} cannot stand in a list of accounts")]
    Odd(String),
    #[error(transparent)]
    Etc(#[from] EtcError),
}

/// The files that make an account; `None`: this machine goes without it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Files {
    passwd: Option<Vec<u8>>,
    group: Option<Vec<u8>>,
    shadow: Option<Vec<u8>>,
    gshadow: Option<Vec<u8>>,
}

/// Adds what is missing of an account below `etc`; true when something was.
///
/// # Errors
/// When another account stands in the way, or the files cannot be changed.
pub fn add(etc: &Path, account: &Account) -> Result<bool, AccountError> {
    let lock = Lock::take(etc)?;
    let before = Files {
        passwd: lock.read("passwd")?,
        group: lock.read("group")?,
        shadow: lock.read("shadow")?,
        gshadow: lock.read("gshadow")?,
    };
    let after = with_account(before.clone(), account)?;
    for (name, old, new) in [
        ("group", &before.group, &after.group),
        ("gshadow", &before.gshadow, &after.gshadow),
        ("shadow", &before.shadow, &after.shadow),
        ("passwd", &before.passwd, &after.passwd),
    ] {
        if let Some(new) = new.as_ref().filter(|new| Some(*new) != old.as_ref()) {
            lock.replace(name, new)?;
        }
    }
    Ok(before != after)
}

/// Looks whether the line of an account, as `passwd` has it, is that of this user.
///
/// # Errors
/// When there is no line, or its number is another.
pub fn check(line: Option<&[u8]>, account: &Account) -> Result<(), AccountError> {
    let (name, uid) = (account.name.clone(), account.uid);
    let Some(line) = line else { return Err(AccountError::Missing { name, uid }) };
    if field(line, 2) == uid.to_string().as_bytes() {
        return Ok(());
    }
    let has = String::from_utf8_lossy(field(line, 2)).into_owned();
    Err(AccountError::OtherNumber { name, has, wants: uid })
}

/// The line of a name in the text of `passwd`.
#[must_use]
pub fn line_of<'a>(passwd: &'a [u8], name: &str) -> Option<&'a [u8]> {
    lines(passwd).find(|line| field(line, 0) == name.as_bytes())
}

/// Makes an empty home, unless something is there; true when it was made.
///
/// # Errors
/// When it cannot be made.
pub fn make_home(account: &Account) -> Result<bool, EtcError> {
    let home = Path::new(&account.home);
    let is_plain = home.is_absolute() && home.parent().is_some_and(|above| above != Path::new("/"));
    if !is_plain || home.exists() {
        return Ok(false);
    }
    home_of(home, account).map_err(EtcError::of("make", home))?;
    Ok(true)
}

/// Under its name it is the user's from the first moment.
fn home_of(home: &Path, account: &Account) -> io::Result<()> {
    if let Some(above) = home.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(above)?;
    }
    let mut draft = home.as_os_str().to_owned();
    draft.push(format!(".new-{}", account.uid));
    let draft = Path::new(&draft);
    match DirBuilder::new().mode(0o700).create(draft) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    std::os::unix::fs::lchown(draft, Some(account.uid), Some(account.gid))?;
    fs::rename(draft, home)
}

fn with_account(files: Files, account: &Account) -> Result<Files, AccountError> {
    let Account { name, uid, gid, home, shell, .. } = account;
    for text in [name, home, shell] {
        if text.chars().any(|letter| letter == ':' || letter.is_control()) {
            return Err(AccountError::Odd(text.clone()));
        }
    }
    if name.is_empty() || name.starts_with(['+', '-', '#']) {
        return Err(AccountError::Odd(name.clone()));
    }
    let there = files.passwd.as_deref().and_then(|passwd| line_of(passwd, name));
    let is_there = there.is_some();
    if is_there {
        check(there, account)?;
    }
    let mut files = with_groups(files, account);
    if is_there {
        return Ok(files);
    }
    // Without a file of passwords none stands for it, and none is one that nobody can type.
    let password = if files.shadow.is_some() { "x" } else { "*" };
    files.shadow = files.shadow.map(|text| ensure(text, name, &format!("{name}:!:::::::")));
    let line = format!("{name}:{password}:{uid}:{gid}::{home}:{shell}");
    let same = uid.to_string();
    let passwd = files.passwd.unwrap_or_default();
    files.passwd = Some(insert(passwd, &line, |line| field(line, 2) == same.as_bytes()));
    Ok(files)
}

/// A group whose name or number is there stays as it is: what counts are the numbers that a job has.
fn with_groups(mut files: Files, account: &Account) -> Files {
    for (gid, group) in &account.groups {
        let known = files.group.as_deref().unwrap_or_default();
        let number = gid.to_string();
        let taken = lines(known)
            .any(|line| field(line, 0) == group.as_bytes() || field(line, 2) == number.as_bytes());
        let is_odd = group.chars().any(|letter| ":,".contains(letter) || letter.is_control());
        if taken || is_odd || group.is_empty() {
            continue;
        }
        let members = if *gid == account.gid { "" } else { &account.name };
        let text = files.group.unwrap_or_default();
        files.group = Some(insert(text, &format!("{group}:x:{gid}:{members}"), |_| false));
        let line = format!("{group}:!::{members}");
        files.gshadow = files.gshadow.map(|text| ensure(text, group, &line));
    }
    files
}

/// Adds the line of a name, unless it has one.
fn ensure(text: Vec<u8>, name: &str, line: &str) -> Vec<u8> {
    if line_of(&text, name).is_some() { text } else { insert(text, line, |_| false) }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

fn field(line: &[u8], number: usize) -> &[u8] {
    line.split(|byte| *byte == b':').nth(number).unwrap_or_default()
}

/// Adds a line at the end; or before the first that `before` wants behind it, or that takes in the accounts of
/// a directory (`+`), after which nothing is looked at.
fn insert(text: Vec<u8>, line: &str, before: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut at = 0;
    for old in text.split_inclusive(|byte| *byte == b'\n') {
        let bare = old.strip_suffix(b"\n").unwrap_or(old);
        if bare.first().is_some_and(|first| b"+-".contains(first)) || before(bare) {
            break;
        }
        at += old.len();
    }
    let (head, tail) = text.split_at(at);
    let mut whole = head.to_vec();
    if !head.is_empty() && !head.ends_with(b"\n") {
        whole.push(b'\n');
    }
    whole.extend_from_slice(line.as_bytes());
    whole.push(b'\n');
    whole.extend_from_slice(tail);
    whole
}

#[cfg(test)]
mod tests;
