//! What goes wrong with machines, each with its words, and nothing left: kernels that panic, boots that
//! hang, agents that are missing, cables that are cut, disks that are full. And who users are there.
use crate::vm::{cluster, wait};
use pcluster_tests::people::{self, Person};
use pcluster_tests::{Cluster, PATIENCE, scripts, skip, until, vms, within};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

/// Pools whose images do not boot, beside one that does.
const BROKEN: &str = "[images.panics]\nbase = \"minimal\"\nfiles = { \"/init\" = \"text\" }\n\
    [images.hangs]\nbase = \"minimal\"\nfiles = { \"/opt/pcluster/boot/second\" = \"hang.sh\" }\n\
    [images.mute]\nbase = \"minimal\"\nfiles = { \"/opt/pcluster/boot/second\" = \"mute.sh\" }\n";

/// A pool of its own for an image; a boot that says nothing is given up after `patience`, in seconds.
fn pool(name: &str, patience: u32) -> String {
    format!(
        "[pools.{name}]\nimage = \"{name}\"\ncpus = 1\nmemory = \"300 MB\"\nmax = 1\n\
         boot_timeout = \"{patience} s\"\nboot_limit = \"10 min\"\n"
    )
}

#[test]
fn a_machine_that_does_not_boot_is_told_with_its_last_words_and_nothing_is_left() {
    let Some(_turn) = vms::turn() else { return };
    let pools = [pool("panics", 300), pool("hangs", 45), pool("mute", 300)].concat();
    let cluster = cluster("broken", &vms::small(1), &format!("{pools}{BROKEN}"));
    let put = |name: &str, text: &str| fs::write(cluster.work().join(name), text).unwrap();
    put("text", "no program\n");
    put("hang.sh", "echo this one hangs; while :; do /opt/pcluster/boot/busybox sleep 60; done\n");
    put(
        "mute.sh",
        "echo nobody is here; /opt/pcluster/boot/busybox sleep 2; /opt/pcluster/boot/busybox poweroff -f\n",
    );
    for (name, why, console) in [
        ("panics", "the machine ended by itself", "Kernel panic"),
        ("mute", "the machine ended by itself", "nobody is here"),
        ("hangs", "no progress for 45 s", "this one hangs"),
    ] {
        cluster.ok(&["image", "build", name]);
        let id = cluster.submit(&["-p", name], "echo never");
        let told = within(PATIENCE * 4, || {
            let said =
                cluster.ok(&["why", &id]).out.split_whitespace().collect::<Vec<_>>().join(" ");
            said.contains(why).then_some(said)
        });
        told.unwrap_or_else(|| panic!("{}", cluster.ok(&["why", &id]).out));
        let log = cluster.ok(&["node", "log", &format!("{name}-1")]).out;
        assert!(log.contains(why) && log.contains(console), "{name}: {log}");
        cluster.ok(&["cancel", &id]);
    }
    cluster.until_no_nodes();
    cluster.down(&["--now"]);
    until("the end of all machines", || cluster.processes().is_empty().then_some(()));
}

#[test]
fn a_cut_cable_is_a_lost_node_whose_job_runs_again_elsewhere() {
    let Some(_turn) = vms::turn() else { return };
    if !people::is_root() {
        return skip("a bridge needs root");
    }
    let subnet =
        format!("10.{}.{}.0/24", 124 + std::process::id() % 60, std::process::id() / 60 % 250);
    let bridge = format!("[vm]\nnetwork = \"bridge\"\nsubnet = \"{subnet}\"\n");
    let compute = format!("{}, lost_grace = \"10 s\"", vms::small(2));
    let cluster = crate::vm::cluster_with(
        "cable",
        &compute,
        &bridge,
        "listen = \"0.0.0.0:0\"\nheartbeat = \"1 s\"\nsilent_after = \"15 s\"\n",
    );
    let text = format!("echo $PCLUSTER_ATTEMPT >>starts; {}", scripts::gate("go"));
    let id = cluster.submit(&["-n", "1"], &text);
    within(PATIENCE * 4, || (!cluster.file("starts").is_empty()).then_some(())).expect("it starts");
    let spec = fs::read(cluster.state().join("nodes/v-1.0/vm.json")).unwrap();
    let spec: serde_json::Value = serde_json::from_slice(&spec).unwrap();
    let card = spec["net"]["tap"]["tap"].as_str().unwrap();
    assert!(
        Command::new("ip").args(["link", "set", "dev", card, "down"]).status().unwrap().success()
    );
    // The second start is on another machine; the first has no way to the gate's folder but its own.
    within(PATIENCE * 4, || (cluster.file("starts").lines().count() == 2).then_some(()))
        .expect("it starts again");
    cluster.touch("go");
    assert_eq!(wait(&cluster, &id), 0);
    assert_eq!(cluster.file("starts"), "1\n2\n");
    let first = fs::read_to_string(cluster.state().join("nodes/v-1.0/ended.json"));
    assert!(first.is_ok(), "the lost machine was ended");
    cluster.until_no_nodes();
    cluster.down(&[]);
}

/// Submits as this user, in a folder of theirs that nodes see.
fn submit_as(cluster: &Cluster, person: &Person, text: &str) -> String {
    let folder = cluster.work().join(&person.name);
    fs::create_dir_all(&folder).unwrap();
    person.own(&folder);
    let config = cluster.work().join("cluster.toml");
    let words =
        ["--config", config.to_str().unwrap(), "submit", "-q", "--export", "NONE", "--wrap", text];
    let mut command = cluster.command_as(person, &words);
    cluster.say(command.current_dir(&folder)).expect_code(0).id()
}

#[test]
fn two_users_are_themselves_in_a_machine_and_a_full_disk_ends_one_job_only() {
    let Some(_turn) = vms::turn() else { return };
    let (Some(daemon), Some(bin)) = (people::named("daemon"), people::named("bin")) else {
        return skip("the accounts daemon and bin");
    };
    let cluster = crate::vm::cluster_of_root(
        "people",
        "cpus = 2, memory = \"512 MB\", max = 1, idle_timeout = \"10 s\"",
    );
    let ask = "id -un; id -gn; echo $HOME; echo ~; echo mine >mine";
    let jobs = [&daemon, &bin].map(|person| (person, submit_as(&cluster, person, ask)));
    for (person, id) in &jobs {
        assert_eq!(wait(&cluster, id), 0);
        let folder = cluster.work().join(&person.name);
        let said = fs::read_to_string(folder.join(format!("pcluster-{id}.out"))).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[..2], [&person.name[..], &person.name[..]], "{said}");
        assert!(lines[2].starts_with('/') && lines[2] == lines[3], "{said}");
        let mine = fs::metadata(folder.join("mine")).unwrap();
        assert_eq!((mine.uid(), mine.gid()), (person.uid, person.gid));
    }
    // The machine's own disk has 1 GB: a job fills it, fails, and its neighbour comes after it.
    let fill =
        submit_as(&cluster, &daemon, "dd if=/dev/zero of=$TMPDIR/all bs=1M 2>/dev/null; exit 3");
    let next = submit_as(&cluster, &bin, "echo here >$TMPDIR/some && cat $TMPDIR/some");
    assert_eq!(wait(&cluster, &fill), 3);
    assert_eq!(wait(&cluster, &next), 0);
    cluster.until_no_nodes();
    cluster.down(&[]);
}
