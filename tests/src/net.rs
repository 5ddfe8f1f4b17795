//! Machines with network addresses of their own: process nodes, and heads, in namespaces on a bridge.
//!
//! Invariant: everything that is made here has the bridge's name in its own, and is gone when the
//! value is, however the test ends.
use crate::clients::have;
use crate::{Setup, people, repository, skip};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// What nodes are told to dial where the head may move.
pub const HEAD: &str = "the-head";

/// A bridge of this test, with its namespaces and its hosts file.
#[derive(Debug)]
pub struct Network {
    bridge: String,
    net: String,
    hosts: PathBuf,
    pool: String,
}

fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).output().is_ok_and(|said| said.status.success())
}

/// As `ip`, for what must work.
#[track_caller]
fn must(words: &[&str]) {
    let said = Command::new("ip").args(words).output().expect("ip can be run");
    let trouble = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "ip {}: {trouble}", words.join(" "));
}

impl Network {
    /// A network for the nodes of this pool; nothing, said so, where there can be none.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn new(pool: &str) -> Option<Self> {
        if !people::is_root() {
            skip("network namespaces need root");
            return None;
        }
        if !have(&["ip", "nsenter", "unshare", "mount", "hostname"]) {
            return None;
        }
        let (pid, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let network = Self {
            bridge: format!("pct{}{}", pid % 100_000, char::from(b'a' + (number % 26) as u8)),
            net: format!("10.{}.{}", 64 + pid / 256 % 16 * 8 + number % 8, pid % 256),
            hosts: std::env::temp_dir().join(format!("pct-hosts-{pid}-{number}")),
            pool: pool.to_owned(),
        };
        let own = format!("{}/24", network.head(1));
        let bridge = network.bridge.as_str();
        let made = ip(&["link", "add", bridge, "type", "bridge"])
            && ip(&["addr", "add", &own, "dev", bridge])
            && ip(&["link", "set", bridge, "up"]);
        if !made {
            skip("this kernel makes no bridge");
            return None;
        }
        network.head_is_at(1);
        Some(network)
    }

    /// The address of a head: 1 is this machine itself.
    #[must_use]
    pub fn head(&self, number: u32) -> String {
        format!("{}.{number}", self.net)
    }

    /// The address of the node `POOL-NUMBER`.
    #[must_use]
    pub fn node(&self, number: u32) -> String {
        format!("{}.{}", self.net, number % 200 + 10)
    }

    /// From now on [`HEAD`] means this head, on every machine.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn head_is_at(&self, number: u32) {
        let nodes: String =
            (1..100).map(|node| format!("{} {}-{node}\n", self.node(node), self.pool)).collect();
        // Written over: the file is mounted in each namespace.
        let hosts = format!("127.0.0.1 localhost\n{} {HEAD}\n{nodes}", self.head(number));
        fs::write(&self.hosts, hosts).expect("the folder for temporary files is ours");
    }

    /// `[process]` of a head whose nodes are on this network, wherever the head itself is.
    #[must_use]
    pub fn launcher(&self) -> String {
        let script = repository().join("tests/netns.sh");
        let words = [
            "nsenter".to_owned(),
            format!("--net=/proc/{}/ns/net", std::process::id()),
            "--".to_owned(),
            script.display().to_string(),
            self.bridge.clone(),
            self.net.clone(),
            self.hosts.display().to_string(),
            "{node}".to_owned(),
        ];
        format!("[process]\nlauncher = {words:?}\n")
    }

    /// What stands before the name of a node and the command that becomes it, on this machine.
    #[must_use]
    pub fn becoming(&self) -> String {
        let script = repository().join("tests/netns.sh");
        format!("'{}' {} {} '{}'", script.display(), self.bridge, self.net, self.hosts.display())
    }

    /// A cluster on this network, its head on this machine, with these lines in `[head]`.
    #[must_use]
    pub fn setup(&self, setup: Setup) -> Setup {
        let head = format!("listen = \"{}:0\"\n{}", self.head(1), setup.head);
        Setup { head, more: format!("{}{}", self.launcher(), setup.more), ..setup }
    }

    /// A namespace for a head, with its address: as another machine.
    pub fn add_head(&self, number: u32) {
        let space = self.head_space(number);
        must(&["netns", "add", &space]);
        must(&["link", "add", &space, "type", "veth", "peer", "name", "eth0", "netns", &space]);
        must(&["link", "set", &space, "master", &self.bridge, "up"]);
        let address = format!("{}/24", self.head(number));
        must(&["-n", &space, "addr", "add", &address, "dev", "eth0"]);
        must(&["-n", &space, "link", "set", "eth0", "up"]);
        must(&["-n", &space, "link", "set", "lo", "up"]);
    }

    fn head_space(&self, number: u32) -> String {
        format!("{}-h{number}", self.bridge)
    }

    /// A command that becomes the words after it on the machine of that head.
    #[must_use]
    pub fn on_head(&self, number: u32) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.head_space(number))).arg("--");
        command
    }

    fn space(&self, node: u32) -> String {
        format!("{}-{node}", self.bridge)
    }

    /// Takes the cable of a node out, or puts it back.
    pub fn cable(&self, node: u32, is_in: bool) {
        must(&["link", "set", &self.space(node), if is_in { "up" } else { "down" }]);
    }

    /// The same for everybody at once.
    pub fn all_cables(&self, are_in: bool) {
        must(&["link", "set", &self.bridge, if are_in { "up" } else { "down" }]);
    }

    /// What this machine sends to a node falls into a hole; the other direction stays as it is.
    pub fn deafen_node(&self, node: u32) {
        hole(&[], &self.node(node), &self.bridge);
    }

    /// The node hears again.
    pub fn undeafen_node(&self, node: u32) {
        must(&["neigh", "del", &self.node(node), "dev", &self.bridge]);
    }

    /// What a node sends to this machine falls into a hole; the other direction stays as it is.
    pub fn mute_node(&self, node: u32) {
        hole(&["-n", &self.space(node)], &self.head(1), "eth0");
    }

    /// The node is heard again.
    pub fn unmute_node(&self, node: u32) {
        must(&["-n", &self.space(node), "neigh", "del", &self.head(1), "dev", "eth0"]);
    }
}

/// A neighbour's hardware address that nobody has.
fn hole(space: &[&str], address: &str, device: &str) {
    let nobody = ["neigh", "replace", address, "lladdr", "02:00:00:00:00:01", "dev", device];
    must(&[space, &nobody[..], &["nud", "permanent"]].concat());
}

impl Drop for Network {
    fn drop(&mut self) {
        let listed = Command::new("ip").args(["netns", "list"]).output();
        let listed = listed.map(|said| said.stdout).unwrap_or_default();
        for line in String::from_utf8_lossy(&listed).lines() {
            let name = line.split(' ').next().unwrap_or_default();
            if name.starts_with(&format!("{}-", self.bridge)) {
                // Its cable too: the kernel takes its time with what is left of a namespace.
                ip(&["link", "del", name]);
                ip(&["netns", "del", name]);
            }
        }
        ip(&["link", "del", &self.bridge]);
        drop(fs::remove_file(&self.hosts));
    }
}
