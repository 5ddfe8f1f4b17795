//! Upgrades in place: programs of an earlier version hand a cluster with running jobs over to those of
//! this one, and back where nothing forbids it.
use pcluster_tests::clients::Face;
use pcluster_tests::{Setup, bins, meter, procs, skip, until};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// A long job with a step in the middle of it: each that starts says so in a file of its own.
const LONG: &str = r#"#!/bin/bash
exec 9>>lock; flock -n 9 || { echo twice >>twice; exit 99; }
echo start >>starts
srun -n1 sh -c 'echo step >>steps; while [ ! -e go ]; do sleep 0.05; done; echo from the step'
echo code $? >>ends
exit 7
"#;

/// Tasks that are short, and prove that they ran.
const MANY: &str = "#!/bin/bash\nsleep 0.3; echo $SLURM_ARRAY_TASK_ID >>tasks\n";

fn face(label: &str, programs: &Path) -> Face {
    Face::with(
        label,
        Setup {
            compute: "cpus = 2, memory = \"600 MB\", max = 2".to_owned(),
            programs: Some(programs.to_path_buf()),
            ..Setup::default()
        },
    )
}

fn previous() -> Option<std::path::PathBuf> {
    let found = bins::previous();
    if found.is_none() {
        skip("upgrades: PCLUSTER_PREVIOUS_BIN_DIR=$(scripts/previous) gives an earlier version");
    }
    found
}

/// True when this process runs the program that is now under this name.
fn runs_new(face: &Face, pid: i32, name: &str) -> bool {
    let of = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    of(Path::new(&format!("/proc/{pid}/exe"))) == of(&face.cluster().bin().join(name))
}

/// The load: a job with a step, an array, a job that waits for the first, and one on hold.
struct Load {
    long: String,
    many: String,
    after: String,
    held: String,
}

fn load(face: &Face) -> Load {
    let work = face.cluster().work();
    fs::write(work.join("long.sh"), LONG).unwrap();
    fs::write(work.join("many.sh"), MANY).unwrap();
    let batch =
        |words: &str| face.asks(&format!("sbatch --parsable -t 10 {words}")).trim().to_owned();
    let long = batch("-o long.out long.sh");
    let many = batch("--array=1-12 -o /dev/null many.sh");
    let after = batch(&format!("-o after.out -d afternotok:{long} --wrap 'echo after >>ends'"));
    let held = batch("-H -o held.out --wrap 'echo held >>ends'");
    face.cluster().until_lines("steps", 1);
    Load { long, many, after, held }
}

/// Ends the load, and looks whether all of it ran once.
fn all_once(face: &Face, load: &Load) {
    let cluster = face.cluster();
    cluster.touch("go");
    assert_eq!(cluster.wait(&load.long), 7, "{}", cluster.file("long.out"));
    assert_eq!(cluster.wait(&load.many), 0);
    assert_eq!(cluster.wait(&load.after), 0);
    assert_eq!(cluster.state_of(&load.held), "held");
    cluster.ok(&["release", &load.held]);
    assert_eq!(cluster.wait(&load.held), 0);
    let once = |name: &str| cluster.file(name);
    assert_eq!((once("starts"), once("steps")), ("start\n".into(), "step\n".into()));
    assert_eq!(once("twice"), "");
    assert_eq!(once("ends"), "code 0\nafter\nheld\n");
    assert_eq!(once("long.out"), "from the step\n");
    let mut tasks: Vec<u32> = once("tasks").lines().map(|line| line.parse().unwrap()).collect();
    tasks.sort_unstable();
    assert_eq!(tasks, (1..=12).collect::<Vec<u32>>());
    let records = face.asks(&format!("sacct -n -X -P -o State,ExitCode -j {}", load.long));
    assert_eq!(records.trim(), "FAILED|7:0");
}

/// Kills every agent; the machines start others, from the programs that are there now.
fn replace_agents(face: &Face) {
    let cluster = face.cluster();
    let old = cluster.node_processes("agent.json");
    assert!(!old.is_empty());
    for agent in &old {
        procs::signal(*agent, Signal::KILL);
    }
    until("an agent of the new version on each node", || {
        let agents = cluster.node_processes("agent.json");
        let new = |pid: &i32| !old.contains(pid) && runs_new(face, *pid, "pcluster-agent");
        (!agents.is_empty() && agents.iter().all(new)).then_some(())
    });
}

fn restart_head(face: &Face, signal: Signal) {
    let cluster = face.cluster();
    cluster.end_head(signal);
    cluster.up();
    assert!(runs_new(face, cluster.head_pid(), "pcluster-headnode"));
}

/// Everything is consistent, billed once and gone.
fn over(face: &Face) {
    meter::ends_even(face.cluster());
}

#[test]
fn a_newer_head_and_then_newer_agents_take_over_from_older_ones() {
    let Some(old) = previous() else { return };
    let face = face("up-head", &old);
    let cluster = face.cluster();
    let load = load(&face);
    bins::put(bins::folder(), cluster.bin());
    restart_head(&face, Signal::TERM);
    // Older agents under a newer head: what they run goes on, and they take more.
    cluster.until_state(&load.long, "running");
    let more = cluster.submit(&[], "echo more >>more; exit 3");
    assert_eq!(cluster.wait(&more), 3);
    replace_agents(&face);
    // Newer agents have taken up the runs of older keepers.
    let words = format!("sstat -n -P -a -o JobID -j {}", load.long);
    until("the step in sstat", || face.asks(&words).contains(".0").then_some(()));
    all_once(&face, &load);
    over(&face);
}

#[test]
fn newer_agents_serve_an_older_head_until_it_is_killed_and_upgraded_too() {
    let Some(old) = previous() else { return };
    let face = face("up-agents", &old);
    let cluster = face.cluster();
    let load = load(&face);
    bins::put(bins::folder(), cluster.bin());
    replace_agents(&face);
    // The older head, asked by the newer command, on newer agents.
    cluster.until_state(&load.long, "running");
    let more = cluster.submit(&[], "echo more >>more; exit 3");
    assert_eq!(cluster.wait(&more), 3);
    restart_head(&face, Signal::KILL);
    all_once(&face, &load);
    over(&face);
}

#[test]
fn commands_of_an_earlier_version_still_work() {
    let Some(old) = previous() else { return };
    let face = face("up-words", bins::folder());
    let cluster = face.cluster();
    let ask = |words: &[&str]| {
        let mut command = std::process::Command::new(old.join("pcluster"));
        cluster.dress(&mut command);
        cluster.say(command.args(words))
    };
    cluster.script("job.sh", "exit 4");
    let id = ask(&["submit", "-q", "job.sh"]).expect_code(0).id();
    assert_eq!(ask(&["wait", &id, "--timeout", "50s"]).code, 4);
    for words in [vec!["queue"], vec!["nodes"], vec!["show", &id], vec!["why", &id], vec!["cost"]] {
        ask(&words).expect_code(0);
        ask(&[words, vec!["--json"]].concat()).expect_code(0);
    }
    over(&face);
}

/// The place of SQLite's `user_version`, which is the version of the file's format.
const USER_VERSION: std::ops::Range<usize> = 60..64;

#[test]
fn the_state_of_a_newer_version_is_refused_untouched() {
    let face = face("up-newer", bins::folder());
    let cluster = face.cluster();
    let id = cluster.submit(&[], "exit 0");
    assert_eq!(cluster.wait(&id), 0);
    cluster.down(&[]);
    let file = cluster.state().join("events.db");
    let mut bytes = fs::read(&file).unwrap();
    bytes[USER_VERSION].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&file, &bytes).unwrap();
    let said = cluster.run(&["up"]);
    assert_ne!(said.code, 0, "{said:#?}");
    said.expect_words(&["by a newer version of pcluster"]);
    assert_eq!(fs::read(&file).unwrap(), bytes, "not a byte is touched");
    assert!(!file.with_extension("db-wal").exists());
}
