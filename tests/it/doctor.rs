//! `doctor`: a cluster that is well is told so, and what is not is named before a job waits for it, with
//! what to do. With a head, after one, and before the first.
use pcluster_tests::disk::Disk;
use pcluster_tests::{Cluster, Said, Setup, people, skip, until, vms};
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::process::Command;

/// What needs attention: topic, words, and the first hint.
fn attention(cluster: &Cluster, words: &[&str]) -> Vec<(String, String, String)> {
    told(&cluster.run(&[&["doctor", "--json"], words].concat()))
}

fn told(said: &Said) -> Vec<(String, String, String)> {
    let view: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{said:#?}"));
    assert_eq!(view["schema"], "pcluster.doctor/1");
    let found = view["findings"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let wrong = found.iter().filter(|one| one["level"] == "attention");
    let wrong: Vec<_> = wrong
        .map(|one| (text(&one["topic"]), text(&one["what"]), text(&one["hints"][0])))
        .collect();
    assert_eq!(said.code, i32::from(!wrong.is_empty()), "{said:#?}");
    assert!(wrong.iter().all(|one| !one.2.is_empty()), "nothing to do is said: {wrong:#?}");
    wrong
}

#[test]
fn a_cluster_is_well_before_its_first_head_while_it_runs_and_after_down() {
    let cluster = Cluster::cold("doctor", Setup::default());
    assert_eq!(attention(&cluster, &[]), []);
    let said = cluster.ok(&["doctor"]);
    assert!(said.out.contains("no head of this cluster has run here yet"), "{said:#?}");
    assert!(said.out.ends_with(" notes\n") || said.out.ends_with(" note\n"), "{said:#?}");
    cluster.up();
    let id = cluster.submit(&[], "true");
    assert_eq!(cluster.wait(&id), 0);
    assert_eq!(attention(&cluster, &[]), []);
    let said = cluster.ok(&["doctor", "network"]);
    assert!(said.out.starts_with("network\n  ok         127.0.0.1:"), "{said:#?}");
    assert!(said.out.contains("answers for the nodes of pool compute"), "{said:#?}");
    assert!(!said.out.contains("machine\n"), "only what was asked: {said:#?}");
    cluster.down(&[]);
    assert_eq!(attention(&cluster, &[]), []);
}

#[test]
fn a_head_that_was_killed_and_a_port_that_somebody_else_has_are_told_with_what_to_do() {
    let cluster = Cluster::new("doctor-killed");
    cluster.kill_head();
    let dead = ("head", "the head does not run, and nobody took the cluster down");
    let found = attention(&cluster, &[]);
    assert_eq!((found[0].0.as_str(), found[0].1.as_str(), found.len()), (dead.0, dead.1, 1));
    assert!(found[0].2.starts_with("pcluster up"), "{found:#?}");
    // Its port has an owner meanwhile, and the file names that port.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let file = cluster.work().join("cluster.toml");
    let text = cluster.file("cluster.toml");
    let fixed = text.replace("[head]\n", &format!("[head]\nlisten = \"{address}\"\n"));
    fs::write(&file, fixed).unwrap();
    let found = attention(&cluster, &["network"]);
    assert!(found[0].1.starts_with(&format!("the head cannot listen on {address}")), "{found:#?}");
    drop(other);
    assert_eq!(attention(&cluster, &["network"]), []);
    fs::write(&file, text).unwrap();
    cluster.up();
    assert_eq!(attention(&cluster, &[]), []);
    // A name that nobody knows is what nodes would dial.
    let named = cluster.file("cluster.toml");
    let named = named.replace("[head]\n", "[head]\naddress = \"no.such.host.invalid\"\n");
    fs::write(&file, named).unwrap();
    let found = attention(&cluster, &["network"]);
    assert!(found[0].1.contains("has no address: its name is not known"), "{found:#?}");
    cluster.down(&[]);
}

#[test]
fn a_file_with_mistakes_a_missing_program_and_a_missing_path_are_told_without_a_head() {
    let more = "[process]\nlauncher = [\"/no/such/launcher\"]\n[shares.\"/no/such/path\"]\nfrom = \"mounted\"\n";
    let setup = Setup { more: more.into(), ..Setup::default() };
    let cluster = Cluster::cold("doctor-lacks", setup);
    let found = attention(&cluster, &[]);
    let of = |topic: &str| found.iter().find(|one| one.0 == topic).unwrap().clone();
    assert_eq!(of("provider").1, "there is no /no/such/launcher to start nodes with");
    assert_eq!(of("storage").1, "/no/such/path is not there");
    assert!(of("storage").2.starts_with("mkdir -p /no/such/path"), "{found:#?}");
    let file = cluster.work().join("cluster.toml");
    fs::write(&file, format!("provder = \"process\"\n{}", cluster.file("cluster.toml"))).unwrap();
    let found = attention(&cluster, &[]);
    assert_eq!(found[0].0, "config");
    assert!(found[0].1.starts_with("cluster.toml:1: "), "{found:#?}");
}

#[test]
fn disks_that_are_nearly_full_or_turn_read_only_are_told_as_what_they_mean() {
    if !Disk::can_be_made("doctor of disks") {
        return;
    }
    let cluster = Cluster::cold("doctor-disks", Setup::default());
    let path = cluster.work().join("data");
    let data = cluster.disk(&path, 8);
    let text = cluster.file("cluster.toml");
    let share = format!("{text}[shares.\"{}\"]\nfrom = \"mounted\"\n", path.display());
    fs::write(cluster.work().join("cluster.toml"), share).unwrap();
    let state = cluster.disk(&cluster.root().join("state"), 300);
    cluster.up();
    assert_eq!(attention(&cluster, &[]), []);
    state.fill(100 << 20);
    // Here at once, and with the head's own word when it has looked.
    let found = attention(&cluster, &["machine"]);
    assert!(found[0].1.starts_with("100 MB free in "), "{found:#?}");
    until("the head's own word", || {
        let found = attention(&cluster, &["storage"]);
        found.iter().any(|one| one.1.contains("new jobs are refused")).then_some(())
    });
    state.clear();
    until("room again", || attention(&cluster, &["machine", "storage"]).is_empty().then_some(()));
    data.fill(0);
    let found = attention(&cluster, &["storage"]);
    assert_eq!(found[0].1, format!("{} is full", path.display()));
    data.clear();
    let remount = Command::new("mount").args(["-o", "remount,ro"]).arg(&path).status();
    assert!(remount.unwrap().success());
    let found = attention(&cluster, &["storage"]);
    assert_eq!(found[0].1, format!("{} is read-only, and was not", path.display()));
    cluster.down(&[]);
}

#[test]
fn a_node_that_does_not_boot_is_told_with_its_last_line() {
    // A machine that ends at once, with a word on its console.
    let more = "[process]\nlauncher = [\"/bin/sh\", \"-c\", \"echo no such luck; exit 1\"]\n";
    let cluster = Cluster::with("doctor-boot", Setup { more: more.into(), ..Setup::default() });
    let id = cluster.submit(&[], "true");
    let failed = until("the failed boot", || {
        let found = attention(&cluster, &["provider"]);
        found.into_iter().find(|one| one.1.starts_with("compute-1 did not boot: "))
    });
    assert_eq!(failed.2, "pcluster node log compute-1");
    assert!(cluster.run(&["doctor", "provider"]).out.contains("its last line: no such luck"));
    cluster.ok(&["cancel", &id]);
    cluster.down(&["--now"]);
}

#[test]
fn what_virtual_machines_lack_is_told_with_the_package_that_has_it() {
    if !people::is_root() {
        return skip("a machine without QEMU needs a name space of mounts");
    }
    let shared = std::env::temp_dir();
    let setup = vms::setup("cpus = 1, memory = \"900 TB\", image = \"nosuch\"", &shared, "");
    let cluster = Cluster::cold("doctor-vm", setup);
    // Whoever has it, has it not here.
    let hide = "for it in /usr/bin/qemu-system-*; do [ -e \"$it\" ] && mount --bind /dev/null \"$it\"; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    cluster.dress(&mut command);
    command.args(["--mount", "sh", "-c", hide, "sh"]).arg(cluster.bin().join("pcluster"));
    let found = told(&cluster.say(command.args(["doctor", "provider", "image", "--json"])));
    let words: Vec<&str> = found.iter().map(|one| one.1.as_str()).collect();
    assert!(words.iter().any(|one| one.starts_with("there is no qemu-system-")), "{found:#?}");
    assert!(found.iter().any(|one| one.2.starts_with("apt install qemu-system-")), "{found:#?}");
    assert!(words.iter().any(|one| one.starts_with("no virtual machine fits")), "{found:#?}");
    assert!(words.iter().any(|one| one.starts_with("there is no image nosuch")), "{found:#?}");
}
