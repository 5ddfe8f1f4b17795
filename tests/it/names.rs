//! Names of nodes: on the head's machine, on nodes that have an `/etc` of their own, and in the file of nobody else.
use crate::external::{boxed, can_box, over};
use crate::users::{boxes_with_etc, nodes_go};
use pcluster_tests::net::Network;
use pcluster_tests::{Cluster, bins, until};
use std::fs;
use std::path::PathBuf;

const FOREIGN: &str = "127.0.0.1 localhost\n10.9.9.9 printer\n";

/// A hosts file of this test.
struct Hosts(PathBuf);

impl Hosts {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("pct-names-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("hosts"), FOREIGN).unwrap();
        Self(folder)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.0.join("hosts")).unwrap()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn nodes_find_each_other_by_name_and_so_does_the_head_until_the_cluster_is_down() {
    if !can_box() {
        return;
    }
    let Some(network) = Network::new("compute") else { return };
    let hosts = Hosts::new();
    let mut setup = boxed("cpus = 1, memory = \"600 MB\", max = 2, idle_timeout = \"5 min\"");
    setup.more.push_str("add_users = true\n");
    setup.head = format!(
        "listen = \"{}:0\"\nsweep = \"1 s\"\nhosts_file = \"{}\"\n",
        network.head(1),
        hosts.0.join("hosts").display()
    );
    let cluster = Cluster::cold("names", setup);
    // Each box on the network under an address of its own.
    let shim = cluster.root().join("shim");
    fs::create_dir(&shim).unwrap();
    let text = format!(
        "#!/bin/sh\nfor word; do [ \"$before\" = --hostname ] && node=$word; before=$word; done\n\
         exec {} \"$node\" /usr/bin/bwrap \"$@\"\n",
        network.becoming()
    );
    bins::program(&shim.join("bwrap"), &text);
    boxes_with_etc(&cluster, &format!("PATH='{}':$PATH ", shim.display()));
    cluster.up();
    let found = "until getent hosts compute-1 >/dev/null && getent hosts compute-2 >/dev/null; do sleep 0.1; done; \
                 getent hosts compute-1 compute-2";
    let job = cluster
        .submit(&["--nodes", "2", "--time", "5m"], &format!("{found}; echo $SLURM_NODE_ALIASES"));
    assert_eq!(cluster.wait(&job), 0);
    let said = cluster.file(&format!("pcluster-{job}.out"));
    let lines: Vec<Vec<&str>> =
        said.lines().map(|line| line.split_whitespace().collect()).collect();
    let (one, two) = (network.node(1), network.node(2));
    assert_eq!(lines[..2], [vec![&one[..], "compute-1"], vec![&two[..], "compute-2"]], "{said}");
    // Both are known now, so the next job is told the addresses, too.
    let job = cluster.submit(&["--nodes", "2", "--time", "5m"], "echo $SLURM_NODE_ALIASES");
    assert_eq!(cluster.wait(&job), 0);
    let said = cluster.file(&format!("pcluster-{job}.out"));
    assert_eq!(said.trim(), format!("compute-1:{one}:compute-1,compute-2:{two}:compute-2"));
    let block = |text: &str| {
        let text =
            text.strip_prefix(FOREIGN)?.strip_prefix("# BEGIN pcluster ")?.split_once('\n')?.1;
        Some(text.split_once("# END pcluster ")?.0.to_owned())
    };
    assert_eq!(block(&hosts.text()), Some(format!("{one} compute-1\n{two} compute-2\n")));
    // Killed and started again it knows them still, and what is gone has no name.
    cluster.kill_head();
    cluster.up();
    assert_eq!(block(&hosts.text()), Some(format!("{one} compute-1\n{two} compute-2\n")));
    cluster.ok(&["node", "drain", "compute-1"]);
    let left = format!("{two} compute-2\n");
    until("one name less", || (block(&hosts.text()) == Some(left.clone())).then_some(()));
    nodes_go(&cluster);
    over(&cluster);
    assert_eq!(hosts.text(), FOREIGN);
}
