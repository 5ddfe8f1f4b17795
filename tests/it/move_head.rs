//! The head goes to another machine: a copy of its state, restored under another address.
use pcluster_tests::net::{HEAD, Network};
use pcluster_tests::{Cluster, Setup, meter, scripts};
use std::fs;

fn up_on(cluster: &Cluster, network: &Network, machine: u32) {
    let mut up = network.on_head(machine);
    up.arg(cluster.bin().join("pcluster")).arg("up");
    cluster.dress(&mut up);
    cluster.say(&mut up).expect_code(0);
}

#[test]
fn running_nodes_find_a_head_that_was_restored_on_another_machine() {
    let Some(network) = Network::new("compute") else { return };
    network.add_head(2);
    network.add_head(3);
    network.head_is_at(2);
    let setup = Setup {
        head: format!("address = \"{HEAD}\"\nlisten = \"{}:0\"\n", network.head(2)),
        more: network.launcher(),
        ..Setup::default()
    };
    let cluster = Cluster::cold("moved", setup);
    up_on(&cluster, &network, 2);
    let job = |name: &str, code: u8| cluster.submit(&["-J", name], &scripts::gated(name, code));
    let (first, second) = (job("first", 4), job("second", 6));
    cluster.until_lines("starts", 2);
    let copy = cluster.work().join("copy");
    cluster.ok(&["admin", "backup", copy.to_str().unwrap()]);
    cluster.kill_head();
    cluster.lose_state();
    // One job ends while there is no head, the other runs on.
    cluster.touch("go-second");
    cluster.until_lines("ends", 1);

    cluster.ok(&["admin", "restore", copy.to_str().unwrap()]);
    let file = cluster.work().join("cluster.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace(&network.head(2), &network.head(3))).unwrap();
    network.head_is_at(3);
    up_on(&cluster, &network, 3);
    assert_eq!(cluster.wait(&second), 6);
    cluster.until_state(&first, "running");
    cluster.touch("go-first");
    assert_eq!(cluster.wait(&first), 4);
    let mut starts: Vec<String> = cluster.file("starts").lines().map(str::to_owned).collect();
    starts.sort();
    assert_eq!(starts, ["first", "second"]);
    // Those that were launched by the head before take new work of this one.
    let third = cluster.submit(&[], "exit 2");
    assert_eq!(cluster.wait(&third), 2);
    assert_eq!(cluster.instances().len(), 2);
    meter::ends_even(&cluster);
}
