//! Shared paths as nodes see them: proved before the first job, and watched from then on. Nodes are
//! processes in mount namespaces of their own, where the path is another thing than on the head.
use pcluster_tests::disk::Disk;
use pcluster_tests::said::Said;
use pcluster_tests::scripts::gate;
use pcluster_tests::{Cluster, Setup, bins, clients, procs, until};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// Becomes the machine in a namespace where the shared path `$room/mnt/shared` is as the next line of
/// `$room/plan` says.
const LAUNCHER: &str = r#"#!/bin/sh
set -eu
room=$1; shift
plan=$(head -n 1 "$room/plan"); sed -i 1d "$room/plan"
exec unshare --mount sh -eu -c '
room=$1 plan=$2; shift 2; path=$room/mnt/shared
case $plan in
missing) mount -t tmpfs pcluster-test "$room/mnt" ;;
other) mount -t tmpfs pcluster-test "$path" ;;
readonly) mount --bind "$path" "$path"; mount -o remount,bind,ro "$path" ;;
same) ;;
esac
exec "$@"' sh "$room" "$plan" "$@"
"#;

struct Lab {
    /// Before the cluster, which cannot remove its folder while this is mounted there.
    disk: Arc<Disk>,
    cluster: Cluster,
    shared: PathBuf,
}

impl Lab {
    /// A cluster whose nodes find the shared path like this, one after the other.
    fn new(label: &str, compute: &str, plan: &str) -> Option<Self> {
        let tools = ["unshare", "nsenter", "mount", "umount", "head", "sed"];
        if !Disk::can_be_made("shared paths of nodes") || !clients::have(&tools) {
            return None;
        }
        let mut setup = Setup::compute(compute);
        setup.head = "heartbeat = \"1 s\"\n".to_owned();
        let cluster = Cluster::cold(label, setup);
        let shared = cluster.root().join("mnt/shared");
        let disk = cluster.disk(&shared, 32);
        let launcher = cluster.root().join("launcher");
        bins::program(&launcher, LAUNCHER);
        std::fs::write(cluster.root().join("plan"), plan).unwrap();
        let words = [launcher.display().to_string(), cluster.root().display().to_string()];
        let file = cluster.work().join("cluster.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let more = format!(
            "[process]\nlauncher = {words:?}\n[storage]\nshared = {:?}\n",
            shared.display().to_string()
        );
        std::fs::write(&file, text + &more).unwrap();
        cluster.up();
        Some(Self { disk, cluster, shared })
    }

    /// Waits until the list of nodes says this of a node.
    fn until_said(&self, node: &str, state: &str, words: &str) {
        until(&format!("{node} {state}: {words}"), || {
            let list = self.cluster.json(&["nodes"]);
            let nodes = list["nodes"].as_array().cloned().unwrap_or_default();
            let said = nodes.iter().any(|one| {
                let why = one["why"].as_str().unwrap_or_default();
                one["name"] == node && one["state"] == state && why.contains(words)
            });
            said.then_some(())
        });
    }

    /// `mount WORDS` and the like where the machine of the only node is.
    fn on_node(&self, words: &[&str]) {
        let machine = self.cluster.node_process("machine.json");
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{machine}/ns/mnt")).arg("--").args(words);
        let said = command.output().expect("nsenter runs");
        assert!(said.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said.stderr));
    }
}

/// Pages break their lines at the edge of the terminal.
#[track_caller]
fn expect_flat(page: &Said, words: &str) {
    let flat = page.out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(words), "no {words:?} in {page:#?}");
}

#[test]
fn a_node_whose_shared_path_is_bad_never_becomes_ready_and_says_why() {
    let compute = "cpus = 1, memory = \"512 MB\", max = 1";
    let plan = "same\nmissing\nsame\nother\nreadonly\nsame\n";
    let Some(lab) = Lab::new("share-boot", compute, plan) else { return };
    let (cluster, path) = (&lab.cluster, lab.shared.display().to_string());
    let token = std::fs::read_dir(lab.shared.join(".pcluster")).unwrap().next().unwrap().unwrap();
    assert!(std::fs::read_to_string(token.path()).unwrap().ends_with(&format!(" {path}\n")));

    // Two failures in a row each time: a third would rest the offering.
    lab.disk.fill(0);
    let first = cluster.submit(&[], "exit 3");
    lab.until_said("compute-1", "failed", &format!("{path} is full in \"check {path}\""));
    lab.disk.clear();
    lab.until_said("compute-2", "failed", &format!("{path} is not there"));
    assert_eq!(cluster.wait(&first), 3, "the third is well");
    cluster.until_no_nodes();
    let second = cluster.submit(&[], "exit 4");
    let other = format!("{path} is another file system than the head's");
    lab.until_said("compute-4", "failed", &other);
    lab.until_said("compute-5", "failed", &format!("{path} is read-only"));
    assert_eq!(cluster.wait(&second), 4);

    let why = cluster.ok(&["why", "compute-5"]);
    expect_flat(&why, &format!("node compute-5 did not boot: {path} is read-only"));
    let log = cluster.ok(&["node", "log", "compute-5"]);
    expect_flat(&log, &format!("{path} is read-only"));
    let show = cluster.ok(&["node", "show", "compute-6"]);
    expect_flat(&show, &format!("{path} checked, ready"));
    expect_flat(&show, &format!("{path} is as on the head"));
    cluster.down(&[]);
}

#[test]
fn a_shared_path_that_turns_bad_keeps_new_jobs_away_until_it_is_well_again() {
    let compute = "cpus = 2, memory = \"1 GB\", max = 1, idle_timeout = \"5 min\"";
    let Some(lab) = Lab::new("share-later", compute, "same\n") else { return };
    let (cluster, path) = (&lab.cluster, lab.shared.display().to_string());
    let first = cluster.submit(&["-J", "first"], &gate("go"));
    cluster.until_state(&first, "running");
    let agent = cluster.node_process("agent.json");

    lab.on_node(&["mount", "--bind", &path, &path]);
    let read_only = |option: &str| {
        lab.on_node(&["mount", "-o", &format!("remount,bind,{option}"), &path]);
    };
    let round = |trouble: &str, bad: &dyn Fn(), well: &dyn Fn()| {
        bad();
        lab.until_said("compute-1", "busy", &format!("takes no new jobs: {path} {trouble}"));
        let words = format!("takes no new jobs: {path} {trouble}");
        let next = cluster.submit(&["-J", "next"], "exit 4");
        until("the reason of the job", || {
            cluster.json(&["why", &next]).to_string().contains(&words).then_some(())
        });
        let why = cluster.ok(&["why", "compute-1"]);
        expect_flat(&why, &format!("node compute-1 {words}"));
        expect_flat(&why, "1 run, they go on");
        expect_flat(&cluster.run(&["status"]).expect_code(1), &words);
        expect_flat(&cluster.ok(&["nodes"]), "1; takes no new jobs");
        assert_eq!(cluster.state_of(&first), "running");
        well();
        assert_eq!(cluster.wait(&next), 4, "after: {trouble}");
    };
    round("is read-only", &|| read_only("ro"), &|| read_only("rw"));
    round("is full", &|| lab.disk.fill(0), &|| lab.disk.clear());
    round(
        "is another file system than the head's",
        &|| lab.on_node(&["mount", "-t", "tmpfs", "pcluster-test", &path]),
        &|| lab.on_node(&["umount", &path]),
    );
    // What is known is told again by an agent that was killed, and by one of another head.
    read_only("ro");
    lab.until_said("compute-1", "busy", "is read-only");
    cluster.kill_head();
    assert!(procs::end(agent, rustix::process::Signal::KILL));
    cluster.up();
    lab.until_said("compute-1", "busy", "is read-only");
    read_only("rw");
    let last = cluster.submit(&[], "exit 5");
    assert_eq!(cluster.wait(&last), 5);
    cluster.touch("go");
    assert_eq!(cluster.wait(&first), 0);
    cluster.down(&[]);
}
