//! The file of a cluster in `/etc/exports.d`: a line for each folder and node, and which instance an address is.
//!
//! Invariant: the same folders and nodes give the same bytes. Whatever a path has in it, it stays one word.
use pcluster_model::InstanceRef;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

/// Addresses of machines.
pub type Addresses = BTreeMap<InstanceRef, IpAddr>;

/// Root on a node is nobody here: a node's agent only reads in shared folders, and jobs are users. Changes are
/// on the disk when they are answered. Other file systems below a folder are seen, as on the head.
const OPTIONS: &str = "rw,sync,no_subtree_check,root_squash,secure,crossmnt";

/// The name of the file.
#[must_use]
pub fn name(cluster: &str) -> String {
    format!("pcluster-{cluster}.exports")
}

/// What it says; empty where there is nothing to export. A folder that is `mounted` is not exported while it is
/// not (a volume that comes up after the server): nodes wait, and do not see the empty folder below.
#[must_use]
pub fn text(
    cluster: &str,
    paths: &BTreeSet<String>,
    mounted: &BTreeSet<String>,
    nodes: &Addresses,
) -> String {
    let addresses: BTreeSet<&IpAddr> = nodes.values().filter(|at| is_of_one(at)).collect();
    if paths.is_empty() || addresses.is_empty() {
        return String::new();
    }
    let mut text =
        format!("# Nodes of pcluster {cluster}; written by pcluster, goes with the cluster.\n");
    for (instance, address) in nodes.iter().filter(|(_, at)| is_of_one(at)) {
        let _ = writeln!(text, "# {} {address}", plain(instance.as_str()));
    }
    for path in paths {
        let (word, id) = (word(path), id(path));
        let mount = if mounted.contains(path) { ",mountpoint" } else { "" };
        for address in &addresses {
            let _ = writeln!(text, "{word} {address}({OPTIONS}{mount},fsid={id})");
        }
    }
    text
}

/// The nodes that a file names.
#[must_use]
pub fn nodes_of(text: &str) -> Addresses {
    let named = text.lines().filter_map(|line| {
        let (instance, address) = line.strip_prefix("# ")?.split_once(' ')?;
        Some((InstanceRef::from(instance), address.parse().ok()?))
    });
    named.collect()
}

/// A single machine of a network.
pub(crate) fn is_of_one(address: &IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || is_broadcast)
}

fn plain(id: &str) -> String {
    id.chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect()
}

/// A path as `exports(5)` reads it.
fn word(path: &str) -> String {
    let mut word = String::new();
    for letter in path.chars() {
        let is_safe = letter.is_alphanumeric() || "/._-+".contains(letter);
        if is_safe {
            word.push(letter);
            continue;
        }
        for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
            let _ = write!(word, "\\{byte:03o}");
        }
    }
    word
}

/// By this number nodes know the folder again after a restart of this machine, on whatever device it is then.
fn id(path: &str) -> String {
    let hash = Sha256::new().chain_update(b"pcluster export 1\0").chain_update(path).finalize();
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(all: &[(&str, &str)]) -> Addresses {
        let one =
            |(instance, at): &(&str, &str)| (InstanceRef::from(*instance), at.parse().unwrap());
        all.iter().map(one).collect()
    }

    fn paths(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_folder_is_for_every_node_and_for_nobody_else() {
        let nodes = nodes(&[("i-0b", "10.0.0.9"), ("i-0a", "10.0.1.5")]);
        let text = text("00ff", &paths(&["/shared", "/home"]), &paths(&["/home", "/x"]), &nodes);
        let of = |path: &str| {
            let lines = text.lines().filter(|line| line.starts_with(&format!("{path} ")));
            lines.map(|line| line.split_once(' ').unwrap().1.to_owned()).collect::<Vec<_>>()
        };
        let (home, shared) = (of("/home"), of("/shared"));
        assert_eq!((home.len(), shared.len()), (2, 2), "{text}");
        assert!(home[0].starts_with("10.0.0.9(rw,sync,") && home[1].starts_with("10.0.1.5("));
        assert!(home[0].contains(",mountpoint,") && !shared[0].contains("mountpoint"), "{text}");
        assert_ne!(home[0], shared[0], "each folder has a number of its own");
        assert!(text.contains("root_squash") && !text.contains('*'), "{text}");
        assert_eq!(nodes_of(&text), nodes);
    }

    #[test]
    fn nothing_is_no_file_and_an_address_of_many_is_nobodys() {
        assert_eq!(text("c", &paths(&["/shared"]), &paths(&[]), &Addresses::new()), "");
        assert_eq!(text("c", &paths(&[]), &paths(&[]), &nodes(&[("i-1", "10.0.0.1")])), "");
        let odd = [
            ("i-1", "0.0.0.0"),
            ("i-2", "127.0.0.1"),
            ("i-3", "255.255.255.255"),
            ("i-4", "ff02::1"),
        ];
        assert_eq!(text("c", &paths(&["/shared"]), &paths(&[]), &nodes(&odd)), "");
        let twice = nodes(&[("i-1", "10.0.0.1"), ("i-2", "10.0.0.1")]);
        let text = text("c", &paths(&["/s"]), &paths(&[]), &twice);
        assert_eq!(text.lines().filter(|line| line.starts_with("/s ")).count(), 1, "{text}");
    }

    #[test]
    fn a_path_stays_one_word_and_its_number_is_always_the_same() {
        assert_eq!(word("/my data#1"), "/my\\040data\\0431");
        assert_eq!(word("/a\\b\"c\n"), "/a\\134b\\042c\\012");
        assert_eq!(word("/d\u{e9}j\u{e0}_x.y-z+"), "/d\u{e9}j\u{e0}_x.y-z+");
        assert_eq!(id("/shared"), "16a907be-d8e6-2ee6-e2b0-f6ed9d481795");
    }

    #[test]
    fn what_others_write_there_names_no_node() {
        assert_eq!(
            nodes_of("# Nodes of pcluster c; written\n# i-1 nowhere\n/s 10.0.0.1(rw)\n"),
            Addresses::new()
        );
    }
}
