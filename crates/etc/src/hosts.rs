//! Names of nodes in `/etc/hosts`: a block of each cluster, between two lines that name it.
//!
//! Invariant: a line outside the cluster's own block is never changed. A block whose end somebody took away
//! counts as its first line only.
use crate::file::{EtcError, Lock};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

/// Addresses and the names that they have.
pub type Names = Vec<(IpAddr, String)>;

/// Makes the names of a cluster exactly these in the file `hosts` of the folder `etc`; without any, its block
/// goes. True when something was changed.
///
/// # Errors
/// When the file cannot be read or replaced.
pub fn put(etc: &Path, file: &str, cluster: &str, names: &Names) -> Result<bool, EtcError> {
    let path = etc.join(file);
    let has_none = |text: Vec<u8>| names.is_empty() && find(&text, cluster).is_none();
    if fs::read(&path).map_or(names.is_empty(), has_none) {
        return Ok(false);
    }
    let lock = Lock::take(etc)?;
    let before = lock.read(file)?.unwrap_or_default();
    let after = with_block(&before, cluster, names);
    if after == before {
        return Ok(false);
    }
    lock.replace(file, &after)?;
    Ok(true)
}

/// The names of a cluster as they stand there.
#[must_use]
pub fn read(etc: &Path, file: &str, cluster: &str) -> Names {
    let text = fs::read(etc.join(file)).unwrap_or_default();
    let Some((from, to)) = find(&text, cluster) else { return Names::new() };
    let block = String::from_utf8_lossy(&text[from..to]).into_owned();
    let named = block.lines().filter_map(|line| {
        let (address, name) = line.split_once(' ')?;
        Some((address.parse().ok()?, name.to_owned()))
    });
    named.collect()
}

fn first(cluster: &str) -> String {
    format!("# BEGIN pcluster {cluster} (nodes; written by pcluster)")
}

fn last(cluster: &str) -> String {
    format!("# END pcluster {cluster}")
}

/// Where the block is, both of its own lines included.
fn find(text: &[u8], cluster: &str) -> Option<(usize, usize)> {
    let (first, last) = (first(cluster), last(cluster));
    let mut at = 0;
    let mut begun: Option<(usize, usize)> = None;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let (from, bare) = (at, line.trim_ascii_end());
        at += line.len();
        if bare == first.as_bytes() {
            begun = begun.or(Some((from, at)));
        } else if bare == last.as_bytes()
            && let Some((from, _)) = begun
        {
            return Some((from, at));
        }
    }
    begun
}

fn with_block(text: &[u8], cluster: &str, names: &Names) -> Vec<u8> {
    let (from, to) = find(text, cluster).unwrap_or((text.len(), text.len()));
    let mut whole = text[..from].to_vec();
    if !names.is_empty() {
        if !whole.is_empty() && !whole.ends_with(b"\n") {
            whole.push(b'\n');
        }
        let lines = names.iter().map(|(address, name)| format!("{address} {name}\n"));
        let block = format!("{}\n{}{}\n", first(cluster), lines.collect::<String>(), last(cluster));
        whole.extend_from_slice(block.as_bytes());
    }
    whole.extend_from_slice(&text[to..]);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    const OWN: &str = "127.0.0.1 localhost\n::1 localhost # d\u{e9}j\u{e0}\n10.0.0.9 printer";

    fn names(all: &[(&str, &str)]) -> Names {
        all.iter().map(|(address, name)| (address.parse().unwrap(), (*name).to_owned())).collect()
    }

    fn text(before: &str, cluster: &str, all: &[(&str, &str)]) -> String {
        String::from_utf8(with_block(before.as_bytes(), cluster, &names(all))).unwrap()
    }

    #[test]
    fn blocks_come_change_and_go_and_all_else_stays() {
        let one = text(OWN, "aa", &[("10.0.0.5", "compute-1"), ("fd00::7", "compute-2")]);
        assert_eq!(
            one,
            format!(
                "{OWN}\n# BEGIN pcluster aa (nodes; written by pcluster)\n10.0.0.5 compute-1\n\
                 fd00::7 compute-2\n# END pcluster aa\n"
            )
        );
        let two = text(&one, "bb", &[("10.0.0.6", "compute-1")]);
        assert!(two.starts_with(&one), "another cluster's block is apart");
        let later = format!("{two}10.1.1.1 added-by-hand\n");
        let changed = text(&later, "aa", &[("10.0.0.8", "compute-3")]);
        assert_eq!(
            changed,
            later.replace("10.0.0.5 compute-1\nfd00::7 compute-2", "10.0.0.8 compute-3")
        );
        let gone = text(&text(&changed, "aa", &[]), "bb", &[]);
        assert_eq!(gone, format!("{OWN}\n10.1.1.1 added-by-hand\n"));
        assert_eq!(text(&gone, "aa", &[]), gone);
    }

    #[test]
    fn a_block_without_its_end_costs_nobody_a_line() {
        let broken = format!("{}\n10.0.0.5 compute-1\n10.0.0.7 foreign\n", first("aa"));
        assert_eq!(text(&broken, "aa", &[]), "10.0.0.5 compute-1\n10.0.0.7 foreign\n");
        let stray = format!("{}\n10.0.0.7 foreign\n", last("aa"));
        assert_eq!(text(&stray, "aa", &[]), stray);
    }

    #[test]
    fn the_file_keeps_its_mode_and_is_written_only_when_it_changes() {
        let etc = std::env::temp_dir().join(format!("pcluster-hosts-{}", std::process::id()));
        fs::create_dir_all(&etc).unwrap();
        let path = etc.join("hosts");
        assert!(!put(&etc, "hosts", "aa", &Names::new()).unwrap());
        assert!(
            !path.exists() && !etc.join(".pwd.lock").exists(),
            "nothing to say, nothing touched"
        );
        fs::write(&path, OWN).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        // What a process that was killed in between left.
        fs::write(etc.join("hosts.pcluster-new"), "half").unwrap();
        let all = names(&[("10.0.0.5", "compute-1")]);
        assert!(put(&etc, "hosts", "aa", &all).unwrap());
        assert_eq!(read(&etc, "hosts", "aa"), all);
        let before = fs::metadata(&path).unwrap();
        assert_eq!(before.mode() & 0o777, 0o640);
        assert!(!put(&etc, "hosts", "aa", &all).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().ino(), before.ino());
        assert!(put(&etc, "hosts", "aa", &Names::new()).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{OWN}\n"));
        assert!(!etc.join("hosts.pcluster-new").exists());
        fs::remove_dir_all(&etc).unwrap();
    }
}
