//! Nodes whose image has an agent of another version: they become the head's before their first job, or say why not.
use crate::external::{boxed, boxes, can_box, over};
use crate::users::nodes_go;
use pcluster_tests::{Cluster, Setup, bins, procs, repository, scripts, until};
use rustix::process::Signal;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Boxes that start the agent of an image: that of this version, with a byte more.
fn cluster(label: &str, setup: Setup) -> Cluster {
    let cluster = Cluster::cold(label, setup);
    let image = cluster.root().join("image");
    fs::create_dir(&image).unwrap();
    for name in ["pcluster-agent", "pcluster-keeper", "pcluster"] {
        let path = image.join(name);
        fs::copy(bins::folder().join(name), &path).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\0").unwrap();
    }
    let real = repository().join("examples/external/boxes");
    let text = format!(
        "#!/bin/sh\nsed 's#\"agent\":\"[^\"]*\"#\"agent\":\"{}/pcluster-agent\"#' |\n\
         PCLUSTER_BOXES_DIR='{}' '{}' \"$@\"\n",
        image.display(),
        cluster.root().join("boxes").display(),
        real.display()
    );
    bins::program(&cluster.work().join("boxes"), &text);
    cluster
}

fn compute() -> Setup {
    boxed("cpus = 1, memory = \"600 MB\", max = 1, idle_timeout = \"5 min\"")
}

/// The process that runs this file with the word `run`.
fn agent_of(program: &Path) -> Option<i32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let runs = |pid: &i32| {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let words = fs::read(proc.join("cmdline")).unwrap_or_default();
        fs::read_link(proc.join("exe")).is_ok_and(|exe| exe == program)
            && words.split(|byte| *byte == 0).nth(1) == Some(b"run")
    };
    pids.into_iter().find(runs)
}

#[test]
fn an_image_with_another_version_becomes_the_heads_before_its_first_job() {
    if !can_box() {
        return;
    }
    let cluster = cluster("programs", compute());
    cluster.up();
    let head = cluster.bin().join("pcluster");
    let text = format!(
        "cmp \"$(readlink -f \"$(command -v pcluster)\")\" '{}' && echo same\n{}\necho ended",
        head.display(),
        scripts::gate("go")
    );
    let job = cluster.submit(&["--time", "5m"], &text);
    let out = format!("pcluster-{job}.out");
    cluster.until_lines(&out, 1);
    assert_eq!(cluster.file(&out), "same\n");
    let programs = boxes(&cluster)[0].join("programs");
    let sets: Vec<PathBuf> =
        fs::read_dir(&programs).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(sets.len(), 1);
    for name in ["pcluster-agent", "pcluster-keeper", "pcluster"] {
        let (ours, heads) = (sets[0].join(name), cluster.bin().join(name));
        assert!(fs::read(ours).unwrap() == fs::read(heads).unwrap(), "{name}");
    }
    let log = cluster.ok(&["node", "log", "compute-1"]).out;
    assert!(log.contains("its programs are from the head"), "{log}");
    // The image's agent is what is started again; it takes over from what is there already.
    let program = sets[0].join("pcluster-agent");
    let first = agent_of(&program).unwrap();
    procs::signal(first, Signal::KILL);
    until("the next agent", || agent_of(&program).filter(|pid| *pid != first));
    cluster.touch("go");
    assert_eq!(cluster.wait(&job), 0);
    assert_eq!(cluster.file(&out), "same\nended\n");
    let console = fs::read_to_string(boxes(&cluster)[0].join("console.log")).unwrap();
    assert_eq!(console.matches("from the head").count(), 3, "fetched once, told twice: {console}");
    nodes_go(&cluster);
    over(&cluster);
}

#[test]
fn an_agent_that_cannot_become_the_heads_says_so_and_takes_jobs() {
    if !can_box() {
        return;
    }
    let cluster = cluster(
        "own-programs",
        Setup { programs: Some(bins::folder().to_path_buf()), ..compute() },
    );
    // As one that was built for another system.
    let broken = cluster.bin().join("pcluster-agent");
    fs::remove_file(&broken).unwrap();
    bins::program(&broken, "#!/bin/sh\nexit 9\n");
    cluster.up();
    let job = cluster.submit(&["--time", "5m"], "echo ran");
    assert_eq!(cluster.wait(&job), 0);
    assert_eq!(cluster.file(&format!("pcluster-{job}.out")), "ran\n");
    let log = cluster.ok(&["node", "log", "compute-1"]).out;
    let why = "cannot become the head's";
    assert!(log.contains(why) && log.contains("it does not work here: exit status: 9"), "{log}");
    nodes_go(&cluster);
    over(&cluster);
}
