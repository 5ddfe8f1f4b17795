//! Nodes from a program that is not ours: containers of `examples/external/boxes`, on good days and bad ones.
use pcluster_tests::{
    Cluster, PATIENCE, Setup, bins, dice, meter, not_run, people, repository, scripts, skip, until,
    within,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What starts says so; two that live at once of one task say that.
fn alone() -> String {
    let alone = scripts::alone_or_99("lock-$PCLUSTER_TASK_ID");
    format!("{alone}; echo $PCLUSTER_TASK_ID >>starts")
}

pub(crate) fn can_box() -> bool {
    if !people::is_root() {
        skip("containers of their own processes need root here");
        return false;
    }
    let tried = Command::new("bwrap")
        .args(["--dev-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "true"])
        .output();
    match tried {
        Ok(said) if said.status.success() => true,
        Ok(said) => {
            skip(&format!("bubblewrap: {}", String::from_utf8_lossy(&said.stderr).trim()));
            false
        }
        Err(_) => {
            not_run("nodes in containers: bubblewrap is not installed");
            false
        }
    }
}

/// What a cluster has whose nodes are boxes.
pub(crate) fn boxed(compute: &str) -> Setup {
    Setup {
        compute: compute.to_owned(),
        provider: "boxes".to_owned(),
        head: "listen = \"127.0.0.1:0\"\nsweep = \"1 s\"\n".to_owned(),
        more: "[limits]\nroot_jobs = true\n[storage]\nshared = \"/\"\n\
               [external.boxes]\ncommand = \"./boxes\"\ntimeout = \"3 s\"\n\
               consistency = \"4 s\"\npower_off = false\n"
            .to_owned(),
        ..Setup::default()
    }
}

/// A cluster whose nodes are boxes; `wrap` stands before the program.
fn cluster(label: &str, compute: &str, wrap: Option<u64>) -> Cluster {
    let cluster = Cluster::cold(label, boxed(compute));
    let real = repository().join("examples/external/boxes");
    let home = cluster.root().join("boxes");
    let mut line = format!("'{}'", real.display());
    if let Some(seed) = wrap {
        let folder = cluster.root().join("day");
        fs::create_dir_all(&folder).unwrap();
        let flaky = repository().join("tests/clients/flaky-provider.py");
        line = format!("'{}' {seed} '{}' {line}", flaky.display(), folder.display());
    }
    let text = format!("#!/bin/sh\nPCLUSTER_BOXES_DIR='{}' exec {line} \"$@\"\n", home.display());
    let program = cluster.work().join("boxes");
    bins::program(&program, &text);
    cluster.up();
    cluster
}

/// The folders of all machines that ever were.
pub(crate) fn boxes(cluster: &Cluster) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let clusters = list(&cluster.root().join("boxes"));
    let machines = clusters.iter().flat_map(|folder| list(folder));
    machines.filter(|folder| folder.join("launch.json").exists()).collect()
}

/// Down to nothing: no node, no box, and the bill is what the boxes' own times say.
pub(crate) fn over(cluster: &Cluster) {
    cluster.until_no_nodes();
    meter::equals(cluster, meter::of_records(&boxes(cluster)));
    cluster.down(&[]);
    assert!(boxes(cluster).iter().all(|folder| folder.join("ended.json").exists()));
}

#[test]
fn the_example_keeps_every_rule_and_a_broken_program_does_not() {
    if !can_box() {
        return;
    }
    let cluster = Cluster::cold("trial", Setup::default());
    let boxes = repository().join("examples/external/boxes").display().to_string();
    let test = |words: &[&str]| {
        let mut command = cluster.command(&["provider", "test", "--json"]);
        command.args(words).env("PCLUSTER_BOXES_DIR", cluster.root().join("boxes"));
        cluster.say(&mut command)
    };
    let said = test(&["--patience", "50s", &boxes]).expect_code(0);
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&told["rules"], &told["held"]), (&8.into(), &8.into()), "{told}");
    // A box shares its host's `poweroff`.
    let said = test(&["--power-off", &boxes]);
    assert!(said.code == 1 && said.out.contains("power_off = false"), "{said:#?}");
    let said = test(&["--patience", "50s", "false"]);
    assert_eq!(said.code, 1);
    let told: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(told["held"], 0);
    assert!(told["broken"].as_str().unwrap().contains("exit status: 1"), "{told}");
}

#[test]
fn jobs_run_in_boxes_from_zero_to_zero_although_the_head_is_killed() {
    if !can_box() {
        return;
    }
    let cluster = cluster("boxes", "cpus = 1, memory = \"600 MB\", max = 3", None);
    let text = format!("{}; {}; echo $(hostname)", alone(), scripts::gate("go"));
    let id = cluster.submit(&["--array", "1-6"], &text);
    cluster.until_lines("starts", 3);
    cluster.kill_head();
    cluster.up();
    cluster.touch("go");
    assert_eq!(cluster.wait(&id), 0);
    assert_eq!(cluster.file("starts").lines().count(), 6);
    assert_eq!(cluster.file("twice"), "");
    // A box is a machine of its own: it has its node's name.
    let said = cluster.file(&format!("pcluster-{id}_1.out"));
    assert!(said.starts_with("compute-"), "{said}");
    over(&cluster);
}

#[test]
fn a_slow_and_flaky_provider_loses_doubles_and_leaves_nothing() {
    if !can_box() {
        return;
    }
    let seed = dice::seed("PCLUSTER_FLAKY_SEED", "a flaky provider");
    let cluster = cluster("flaky", "cpus = 1, memory = \"600 MB\", max = 3", Some(seed));
    let faults = cluster.root().join("day/faults");
    let id =
        cluster.submit(&["--array", "1-8", "--time", "5m"], &format!("{}; sleep 0.2", alone()));
    let count = || fs::read_to_string(&faults).unwrap_or_default().lines().count();
    until("a bad day's faults", || (count() >= 6).then_some(()));
    cluster.kill_head();
    cluster.up();
    until("more of them", || (count() >= 12).then_some(()));
    fs::write(cluster.root().join("day/calm"), "").unwrap();
    // After several failures in a row the next launch is some minutes away.
    let ended = within(PATIENCE * 8, || {
        let said = cluster.run(&["wait", &id, "--timeout", "50s"]);
        (!said.err.starts_with("error:")).then_some(said.code)
    });
    assert_eq!(ended, Some(0), "seed {seed}");
    let mut started: Vec<String> = cluster.file("starts").lines().map(str::to_owned).collect();
    started.sort();
    assert_eq!(started, (1..=8).map(|task| task.to_string()).collect::<Vec<_>>(), "seed {seed}");
    assert_eq!(cluster.file("twice"), "", "seed {seed}");
    over(&cluster);
    println!("{} faults, none lost, none doubled, none left", count());
}

#[test]
fn a_program_that_is_not_there_is_what_a_waiting_job_says() {
    let cluster = Cluster::with(
        "no-program",
        Setup {
            provider: "cloud".to_owned(),
            head: "listen = \"127.0.0.1:0\"\n".to_owned(),
            more: "[external.cloud]\ncommand = \"./cloud\"\n[limits]\nroot_jobs = true\n[storage]\nshared = \"/\"\n"
                .to_owned(),
            ..Setup::default()
        },
    );
    let id = cluster.submit(&["--time", "5m"], "true");
    until("the reason", || {
        let said = cluster.ok(&["why", &id]).out;
        said.contains("cannot run").then_some(())
    });
    cluster.ok(&["cancel", &id]);
    // Nobody can tell that nothing is left, until there is a program that does.
    let cloud = cluster.work().join("cloud");
    bins::program(&cloud, "#!/bin/sh\necho '{\"machines\":[]}'\n");
    cluster.down(&[]);
}
