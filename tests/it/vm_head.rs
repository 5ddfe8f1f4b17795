//! The power cut of a head's machine: a head in a virtual machine, on a disk of its own, is cut off while
//! submissions are acknowledged. What it said is known when it comes back, nothing runs twice at once,
//! everything ends, and the bill is the provider's own.
use pcluster_images::Root;
use pcluster_tests::inner::Inner;
use pcluster_tests::{PATIENCE, bins, meter, not_run, vms, within};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// So many submissions are acknowledged before the power is cut.
const ACKNOWLEDGED: usize = 12;
const MEMORY_MB: u32 = 1536;

/// Is process 1 of the machine: the head's disk is `/data`, everything else is gone with the power.
const SECOND: &str = r#"
b=/opt/pcluster/boot/busybox
export PATH=/opt/pcluster/bin:/usr/local/bin:/bin HOME=/root LANG=C.UTF-8 TZ=UTC
export PCLUSTER_STATE_DIR=/data/state PCLUSTER_RUNTIME_DIR=/run/pc
end() { echo "INNER: $*"; $b sync; $b sleep 1; $b poweroff -f; }
$b mkdir -p /dev/pts /dev/shm /run /tmp /root /data /sys/fs/cgroup
$b mount -t devpts pts /dev/pts
$b mount -t tmpfs run /run
$b mount -t tmpfs -o mode=1777 tmp /tmp
$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
$b ln -sfn /proc/self/fd /dev/fd
$b hostname inner
$b ip link set lo up
$b mount -t ext4 /dev/vda /data || end "no disk"
ulimit -Hn 65536
cd /data/jobs || end "no folder"
tries=0
until pcluster up; do
  tries=$((tries + 1))
  [ $tries -lt 5 ] || end "the head does not come up"
done
if [ ! -e /data/cut ]; then
  $b touch /data/cut
  $b sync
  while :; do
    id=$(pcluster submit -q job.sh) && echo "ACKNOWLEDGED $id"
  done
fi
echo "INNER: up again"
while :; do
  pcluster queue --all --json >/tmp/queue.json
  $b grep -q '"jobs": \[\]' /tmp/queue.json && break
  $b sleep 1
done
while :; do
  pcluster nodes --json >/tmp/nodes.json
  pcluster cost --all --json >/data/cost.json
  $b grep -q '"open_spans": 0,' /data/cost.json && break
  $b sleep 1
done
pcluster queue --all -t all --json >/data/jobs.json
pcluster admin verify --json >/data/verify.json
pcluster doctor --json head >/data/doctor.json
pcluster down >/data/down.txt 2>&1
end "done"
"#;

/// One line a start and an end; a second one of the same job that lives at the same time is told.
const JOB: &str = "#!/bin/sh\n\
    mkdir /tmp/job-$PCLUSTER_JOB_ID || echo \"twice $PCLUSTER_JOB_ID\" >>/data/jobs/starts\n\
    echo \"start $PCLUSTER_JOB_ID $PCLUSTER_ATTEMPT\" >>/data/jobs/starts\n\
    sleep 0.5\n\
    echo \"end $PCLUSTER_JOB_ID $PCLUSTER_ATTEMPT\" >>/data/jobs/starts\n\
    sync\n\
    rmdir /tmp/job-$PCLUSTER_JOB_ID\n";

const CLUSTER: &str = "name = \"inner\"\nprovider = \"process\"\n\
    compute = { cpus = 1, memory = \"200 MB\", max = 2, idle_timeout = \"5 s\", price = \"$3.6/h\" }\n\
    [head]\nsettle = \"1 s\"\nsweep = \"5 s\"\nhosts_file = \"none\"\n[limits]\nroot_jobs = true\n";

/// An image with the programs of this version, and a disk with an empty state.
fn inner() -> Inner {
    let mut inner = Inner::new("head");
    fs::create_dir_all(inner.folder.join("disk/jobs")).unwrap();
    let program = |name| (format!("/opt/pcluster/bin/{name}"), bins::folder().join(name));
    let image = inner.build(SECOND, Vec::new(), bins::NAMES.map(program).into());
    assert_eq!(image.manifest.root, Root::Memory);
    inner.put("disk/jobs/cluster.toml", CLUSTER);
    inner.put("disk/jobs/job.sh", JOB);
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-d"]).arg(inner.folder.join("disk"));
    let made = make.arg(inner.disk()).arg("600M").output().unwrap();
    assert!(made.status.success(), "{made:?}");
    inner
}

/// The machine's disk, while no machine has it.
struct Disk<'a>(&'a Inner);

impl Disk<'_> {
    /// What is in a file of it.
    fn read(&self, path: &str) -> String {
        let mut cat = Command::new("debugfs");
        let said = cat.arg("-R").arg(format!("cat {path}")).arg(self.0.disk()).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    fn json(&self, path: &str) -> Value {
        let text = self.read(path);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    /// Folders of the machines that the inner provider has had.
    fn instances(&self) -> Vec<PathBuf> {
        let copy = self.0.folder.join("copy");
        fs::create_dir_all(&copy).unwrap();
        let words = format!("rdump /state/inner/nodes {}", copy.display());
        let said =
            Command::new("debugfs").arg("-R").arg(words).arg(self.0.disk()).output().unwrap();
        assert!(said.status.success(), "{said:?}");
        let all = fs::read_dir(copy.join("nodes")).unwrap().flatten().map(|entry| entry.path());
        all.filter(|path| path.join("launch.json").exists()).collect()
    }
}

fn acknowledged(console: &str) -> Vec<u64> {
    let lines = console.lines().filter_map(|line| line.trim().strip_prefix("ACKNOWLEDGED "));
    lines.filter_map(|id| id.trim().parse().ok()).collect()
}

#[test]
fn a_power_cut_of_the_heads_machine_loses_nothing_that_it_has_acknowledged() {
    let Some(_turn) = vms::turn() else { return };
    for (program, word) in [("debugfs", "-V"), ("mke2fs", "-V")] {
        if Command::new(program).arg(word).output().is_err() {
            return not_run(&format!("a power cut of a head: there is no {program}"));
        }
    }
    let inner = inner();
    let machine = inner.boot(MEMORY_MB, "first.log");
    let enough = within(PATIENCE * 6, || {
        let said = acknowledged(&machine.console());
        (said.len() >= ACKNOWLEDGED || machine.has_ended()).then_some(())
    });
    assert!(enough.is_some() && !machine.has_ended(), "{}", machine.console());
    // All that the guest had not made sure of is gone.
    machine.cut();
    let told = acknowledged(&fs::read_to_string(inner.folder.join("first.log")).unwrap());
    assert!(told.len() >= ACKNOWLEDGED, "{told:?}");

    let machine = inner.boot(MEMORY_MB, "second.log");
    within(PATIENCE * 10, || machine.has_ended().then_some(()))
        .unwrap_or_else(|| panic!("{}", machine.console()));
    let console = machine.console();
    assert!(console.contains("INNER: done"), "{console}");
    drop(machine);

    let disk = Disk(&inner);
    let jobs = disk.json("/jobs.json");
    let jobs = jobs["jobs"].as_array().unwrap();
    let ids: BTreeSet<u64> = jobs.iter().filter_map(|job| job["job"].as_u64()).collect();
    let lost: Vec<&u64> = told.iter().filter(|id| !ids.contains(id)).collect();
    assert!(lost.is_empty(), "acknowledged and not known: {lost:?} of {told:?}");
    for job in jobs {
        assert_eq!(job["outcome"]["word"], "completed", "{job}");
    }
    let starts = disk.read("/jobs/starts");
    assert!(!starts.contains("twice"), "{starts}");
    for id in &ids {
        // The power may have taken the lines of an attempt; never those of one that is over.
        assert!(starts.lines().any(|line| line.starts_with(&format!("end {id} "))), "{starts}");
    }
    assert_eq!(disk.json("/verify.json")["wrong"], serde_json::json!([]));
    assert_eq!(disk.json("/doctor.json")["attention"], 0, "{}", disk.read("/doctor.json"));
    assert!(disk.read("/down.txt").contains("nodes      0 left"), "{}", disk.read("/down.txt"));
    let bill = disk.json("/cost.json");
    let parts = bill["buckets"].as_object().unwrap();
    let sum: i64 = parts.values().filter_map(Value::as_i64).sum();
    let metered = meter::of_records(&disk.instances());
    assert_eq!((Some(sum), Some(metered)), (bill["nodes_micro_usd"].as_i64(), Some(sum)), "{bill}");
}
