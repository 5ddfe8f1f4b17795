//! The real input: four samples mapped and called by job scripts, then counted together. Excerpt and
//! full set, from zero nodes to zero nodes, also with the head killed twice in the middle.
use pcluster_tests::{Cluster, not_run, repository, until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn the_excerpt_gives_the_expected_counts() {
    if !tools_are_here() {
        return;
    }
    let cluster = Cluster::new("excerpt");
    from_zero_to_zero(&cluster, &excerpt(), |_| ());
}

#[test]
fn the_full_set_gives_the_expected_counts_with_the_head_killed_twice() {
    let Some(data) = full_set() else {
        not_run("full genomics set (no ../shared)");
        return;
    };
    if !tools_are_here() {
        return;
    }
    let cluster = Cluster::new("full");
    from_zero_to_zero(&cluster, &data, kill_the_head_twice);
}

#[test]
fn the_excerpt_gives_the_expected_counts_with_the_head_killed_twice() {
    if !tools_are_here() {
        return;
    }
    let cluster = Cluster::new("killed");
    from_zero_to_zero(&cluster, &excerpt(), kill_the_head_twice);
}

/// Submits the three jobs, lets `meanwhile` do its worst, and looks at everything afterwards.
fn from_zero_to_zero(cluster: &Cluster, data: &Path, meanwhile: impl Fn(&Cluster)) {
    copy_scripts(&cluster.work());
    assert!(cluster.live_nodes().is_empty());
    let joint = submit_all(cluster, data);
    meanwhile(cluster);
    assert_eq!(cluster.wait(&joint), 0, "{}", cluster.ok(&["logs", &joint]).out);
    is_counted_once(cluster, data);
    cluster.until_no_nodes();
    cluster.down(&[]);
}

/// Submits the three jobs, each after the one before; gives the last.
pub(crate) fn submit_all(cluster: &Cluster, data: &Path) -> String {
    let data = data.to_str().unwrap();
    let submit = |words: &[&str]| cluster.ok(&[&["submit", "-q"], words].concat()).id();
    let prepare = submit(&["prepare.sh", data, "out"]);
    let call = submit(&["--after-ok", &prepare, "map-call.sh", data, "out"]);
    submit(&["--after-ok", &call, "joint.sh", data, "out"])
}

/// The counts are the expected ones, and each task has run once.
pub(crate) fn is_counted_once(cluster: &Cluster, data: &Path) {
    let expected = fs::read_to_string(data.join("EXPECTED_counts.tsv")).unwrap();
    assert_eq!(cluster.file("out/counts.tsv"), expected);
    // Every start left a line: each task ran once, and nothing ran that was not asked for.
    let mut starts: Vec<String> = cluster.file("starts").lines().map(str::to_owned).collect();
    starts.sort();
    let all =
        ["joint 1", "map-call 1 1", "map-call 2 1", "map-call 3 1", "map-call 4 1", "prepare 1"];
    assert_eq!(starts, all);
}

/// The project's own scripts, each with one line more: who started, and which attempt it is.
pub(crate) fn copy_scripts(work: &Path) {
    for name in ["prepare.sh", "map-call.sh", "joint.sh"] {
        copy_with_proof(name, work);
    }
}

fn copy_with_proof(name: &str, work: &Path) {
    let text = fs::read_to_string(repository().join("examples/genomics").join(name)).unwrap();
    let first = "set -euo pipefail\n";
    let proof = "echo \"$SLURM_JOB_NAME${SLURM_ARRAY_TASK_ID:+ $SLURM_ARRAY_TASK_ID} $PCLUSTER_ATTEMPT\" >>starts\n";
    assert!(text.contains(first), "{name} has no line {first:?}");
    fs::write(work.join(name), text.replacen(first, &format!("{first}{proof}"), 1)).unwrap();
}

pub(crate) fn kill_the_head_twice(cluster: &Cluster) {
    for starts in [2, 4] {
        cluster.until_lines("starts", starts);
        cluster.kill_head();
        cluster.up();
    }
}

pub(crate) fn excerpt() -> PathBuf {
    repository().join("examples/genomics/lambda-excerpt")
}

/// Beside the repository, or where `PCLUSTER_SHARED` says.
pub(crate) fn full_set() -> Option<PathBuf> {
    let shared = std::env::var_os("PCLUSTER_SHARED").map(PathBuf::from);
    let shared = shared.unwrap_or_else(|| repository().join("../shared"));
    let data = shared.join("data/genomics/lambda").canonicalize().ok()?;
    data.join("EXPECTED_counts.tsv").is_file().then_some(data)
}

pub(crate) fn tools_are_here() -> bool {
    let missing: Vec<&str> = ["bwa", "samtools", "bcftools"]
        .into_iter()
        .filter(|tool| {
            let asked = Command::new("sh").args(["-c", "command -v \"$1\"", "sh", tool]).output();
            !asked.is_ok_and(|answer| answer.status.success())
        })
        .collect();
    if !missing.is_empty() {
        not_run(&format!("genomics: {} not installed (apt-get install them)", missing.join(", ")));
    }
    missing.is_empty()
}

#[test]
fn why_and_queue_tell_the_story_while_it_waits() {
    let cluster = Cluster::new("story");
    let first = cluster.submit(&["-J", "prepare"], "while [ ! -e go ]; do sleep 0.05; done");
    let array = cluster.submit(&["-J", "call", "--array", "1-4%2", "--after-ok", &first], "true");
    let joint = cluster.submit(&["-J", "joint", "--after-ok", &array], "true");
    let queue = until("the running job", || {
        let said = cluster.ok(&["queue"]);
        said.out.contains("running").then_some(said.out)
    });
    assert!(queue.contains(&format!("{array}_[1-4]")), "{queue}");
    assert!(queue.contains(&format!("after {first}")), "{queue}");
    let why = cluster.ok(&["why", &joint]).out;
    assert!(
        why.starts_with(&format!("job {joint} (joint) waits for job {array} (call, afterok)")),
        "{why}"
    );
    cluster.touch("go");
    assert_eq!(cluster.wait(&joint), 0);
    cluster.down(&[]);
}
