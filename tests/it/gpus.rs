//! GPUs of process nodes: found, checked, divided and given out by index, on a machine that is made up
//! from mounts: the drivers' files below `/proc` and `/dev`, and their tool.
use pcluster_tests::disk::Disk;
use pcluster_tests::{Cluster, Setup, bins, clients, until};
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// Becomes the machine in a namespace with four GPUs. Their places on the bus begin with `$bus`.
const LAUNCHER: &str = r#"#!/bin/sh
set -eu
room=$1 bus=$2; shift 2
exec unshare --mount sh -eu -c '
room=$1 bus=$2; shift 2
mkdir -p "$room/dev"
mount -t tmpfs -o mode=755 pcluster-test "$room/dev"
for file in null zero full random urandom tty; do cp -a "/dev/$file" "$room/dev/"; done
ln -s /proc/self/fd "$room/dev/fd"
mkdir "$room/dev/shm" "$room/dev/pts"
mount --bind /dev/shm "$room/dev/shm"
mount --bind /dev/pts "$room/dev/pts"
mount -t tmpfs pcluster-test /proc/driver
for number in 0 1 2 3; do
    mknod "$room/dev/nvidia$number" c 195 "$number"
    folder=/proc/driver/nvidia/gpus/$bus:0$number:00.0
    mkdir -p "$folder"
    printf "Model: \t\t Tesla T4\nBus Location: \t %s\nDevice Minor: \t %s\n" "$bus:0$number:00.0" "$number" >"$folder/information"
done
mount --move "$room/dev" /dev
PATH=$room/tools:$PATH exec "$@"' sh "$room" "$bus" "$@"
"#;

/// `nvidia-smi`: those that answer are in a file.
const TOOL: &str = "#!/bin/sh\nexec cat \"${0%/*}/../answer\"\n";

struct Lab {
    cluster: Cluster,
    bus: String,
}

impl Lab {
    /// Of a machine with four GPUs, of which so many answer.
    fn new(label: &str, number: u32, answer: u32, compute: &str, more: &str) -> Option<Self> {
        let tools = ["unshare", "mount", "cp", "mknod"];
        if !Disk::can_be_made("GPUs of a made-up machine") || !clients::have(&tools) {
            return None;
        }
        let cluster = Cluster::cold(label, Setup::compute(compute));
        let root = cluster.root().to_path_buf();
        let made = Command::new("cp").arg("-a").arg("/dev/null").arg(root.join("device")).output();
        if !made.is_ok_and(|said| said.status.success()) {
            pcluster_tests::skip("GPUs of a made-up machine: nobody may make device files here");
            return None;
        }
        let bus = format!("{:04x}", (std::process::id() * 4 + number) & 0xffff);
        fs::create_dir_all(root.join("tools")).unwrap();
        bins::program(&root.join("tools/nvidia-smi"), TOOL);
        let lines: String = (0..answer).map(|gpu| format!("0000{bus}:0{gpu}:00.0\n")).collect();
        fs::write(root.join("answer"), lines).unwrap();
        let launcher = root.join("launcher");
        bins::program(&launcher, LAUNCHER);
        let words = [launcher.display().to_string(), root.display().to_string(), bus.clone()];
        let file = cluster.work().join("cluster.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}[process]\nlauncher = {words:?}\n{more}")).unwrap();
        cluster.up();
        Some(Self { cluster, bus })
    }

    /// Waits until a node has failed with these words.
    fn until_failed(&self, node: &str, words: &str) {
        until(&format!("{node}: {words}"), || {
            let list = self.cluster.json(&["nodes"]);
            let nodes = list["nodes"].as_array().cloned().unwrap_or_default();
            let failed = nodes.iter().any(|one| {
                let why = one["why"].as_str().unwrap_or_default();
                one["name"] == node && one["state"] == "failed" && why.contains(words)
            });
            failed.then_some(())
        });
    }

    /// The rest of each line of the work folder's `said` that begins so, in their order.
    fn said(&self, word: &str) -> Vec<String> {
        let text = self.cluster.file("said");
        let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        lines.map(str::to_owned).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for gpu in 0..4 {
            drop(fs::remove_file(format!("/tmp/pcluster-gpu-{}:0{gpu}:00.0.lock", self.bus)));
        }
    }
}

fn set(list: &str) -> BTreeSet<String> {
    list.split(',').map(str::to_owned).collect()
}

#[test]
fn two_nodes_of_one_machine_divide_its_gpus_and_steps_divide_those_of_their_job() {
    let compute =
        "cpus = 2, memory = \"512 MB\", max = 2, gpus = \"2 t4\", idle_timeout = \"1 min\"";
    let Some(lab) = Lab::new("gpus", 0, 4, compute, "") else { return };
    let cluster = &lab.cluster;
    let script = "echo job $SLURM_JOB_GPUS $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER >>said
        for gpu in 0 1 2 3; do echo open $SLURM_JOB_GPUS $gpu $(cat /dev/nvidia$gpu 2>&1) >>said; done
        srun -n 2 --gpus-per-task=1 sh -c 'echo task $SLURM_JOB_GPUS $SLURM_PROCID $SLURM_STEP_GPUS >>said'
        srun -n 1 sh -c 'echo all $SLURM_JOB_GPUS $SLURM_STEP_GPUS $CUDA_VISIBLE_DEVICES >>said'
        while [ ! -e go ]; do sleep 0.05; done";
    let jobs: Vec<String> =
        (0..2).map(|_| cluster.submit(&["-n", "2", "--gpus", "2"], script)).collect();
    until("both jobs with all of their steps", || (lab.said("all").len() == 2).then_some(()));
    let of_jobs = lab.said("job");
    let mut all = BTreeSet::new();
    for line in &of_jobs {
        let words: Vec<&str> = line.split(' ').collect();
        let (own, seen) = (words[0], words[1]);
        // Where the others cannot be opened programs count what they see, else by the machine.
        let hidden = lab.said("open").iter().any(|line| line.contains("not permitted"));
        assert_eq!((seen, words[2]), (if hidden { "0,1" } else { own }, "PCI_BUS_ID"), "{line}");
        for gpu in ["0", "1", "2", "3"] {
            let tried = lab
                .said("open")
                .into_iter()
                .find(|line| line.starts_with(&format!("{own} {gpu} ")));
            let tried = tried.expect("each was tried");
            // No driver answers for them; the control group speaks before it does.
            let denied = tried.ends_with("Operation not permitted");
            assert_eq!(denied, hidden && !set(own).contains(gpu), "{tried}");
        }
        all.extend(set(own));
        let tasks: Vec<String> =
            lab.said("task").into_iter().filter(|task| task.starts_with(own)).collect();
        let of_tasks: BTreeSet<String> =
            tasks.iter().filter_map(|task| task.rsplit(' ').next()).map(str::to_owned).collect();
        assert_eq!((tasks.len(), of_tasks), (2, set(own)), "{tasks:?}");
        assert!(lab.said("all").contains(&format!("{own} {own} {seen}")));
    }
    assert_eq!(all, set("0,1,2,3"), "{of_jobs:?}");
    let nodes = cluster.ok(&["nodes"]).out;
    let header = nodes.lines().next().unwrap_or_default();
    assert!(header.contains(" GPU "), "{nodes}");
    assert_eq!(nodes.lines().filter(|line| line.contains(" 2/2 ")).count(), 2, "{nodes}");
    // What is asked for beyond that is refused, and one of another model too.
    cluster.script("more.sh", "true");
    cluster.run(&["submit", "--gpus", "3", "more.sh"]).expect_code(3).expect_words(&["2 GPUs"]);
    cluster.run(&["submit", "--gpus", "a100:1", "more.sh"]).expect_code(3);
    cluster.touch("go");
    assert_eq!((cluster.wait(&jobs[0]), cluster.wait(&jobs[1])), (0, 0));
    // Given back, by the node and by the machine.
    let next = cluster.submit(&["--gpus", "2"], "echo next $SLURM_JOB_GPUS >>said");
    assert_eq!((cluster.wait(&next), lab.said("next").len()), (0, 1));
    cluster.down(&[]);
}

#[test]
fn a_node_that_shows_other_gpus_than_its_shape_never_becomes_ready() {
    let compute = "cpus = 1, memory = \"512 MB\", max = 1, gpus = \"3 t4\"";
    let more = "[pools.other]\ncpus = 1\nmemory = \"512 MB\"\nmax = 1\ngpus = \"1 a100\"\nidle_timeout = \"2 s\"\n";
    let Some(lab) = Lab::new("gpus-few", 1, 2, compute, more) else { return };
    let cluster = &lab.cluster;
    let few = cluster.submit(&["--gpus", "1"], "true");
    lab.until_failed("compute-1", "it shows 2 GPUs, 1c has 3");
    cluster.ok(&["cancel", &few]);
    let log = cluster.ok(&["node", "log", "compute-1"]).out;
    let flat = log.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains(&format!("the GPU at {}:03:00.0 does not answer nvidia-smi", lab.bus)),
        "{log}"
    );
    cluster.until_no_nodes();
    let other = cluster.submit(&["-p", "other", "--gpus", "1"], "true");
    lab.until_failed("other-1", "it shows GPUs of type t4, 1c has a100");
    cluster.ok(&["cancel", &other]);
    cluster.until_no_nodes();
    cluster.down(&[]);
}
