//! Everything that goes wrong in EC2 × the head's kill before, while and after the machines are asked for.
//!
//! Invariant of every cell: each task is done, none ran twice at once, no instance is left, and the bill is what
//! the cloud's own meter says, a minute at least for each instance.
use crate::genomics::{
    copy_scripts, excerpt, full_set, is_counted_once, kill_the_head_twice, submit_all,
    tools_are_here,
};
use pcluster_tests::cloud::Cloud;
use pcluster_tests::{Cluster, Setup, meter, people, skip, until};
use serde_json::{Value, json};
use std::path::PathBuf;

/// When the head is killed.
#[derive(Debug, Clone, Copy)]
enum Kill {
    Never,
    /// It has looked for the image and has not asked for machines.
    Before,
    /// The machines are asked for, and EC2 has not answered.
    While,
    /// There is an instance, and the head may not have heard of it.
    After,
}

const KILLS: [Kill; 4] = [Kill::Never, Kill::Before, Kill::While, Kill::After];

/// A cluster in a cloud of its own.
struct Place {
    cloud: Cloud,
    cluster: Cluster,
    folder: PathBuf,
}

/// A cluster on instances that see this machine's files.
pub(crate) fn setup(compute: &str, environment: Vec<(&'static str, String)>) -> Setup {
    Setup {
        provider: "ec2".into(),
        compute: compute.into(),
        head: "address = \"127.0.0.1\"\nlisten = \"127.0.0.1:0\"\nhosts_file = \"none\"\n".into(),
        more: "[storage]\nshared = \"/\"\nfrom = \"mounted\"\n[limits]\nroot_jobs = true\n".into(),
        environment,
        ..Setup::default()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl Place {
    fn new(label: &str) -> Option<Self> {
        Self::with(label, "")
    }

    /// With more inside `compute = { … }`.
    fn with(label: &str, more: &str) -> Option<Self> {
        if !people::is_root() {
            skip("machines of the cloud need root here");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("pct-cloud-{label}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        let cloud = Cloud::start(&folder, true)?;
        // Two types, so that what one has no capacity for the other has.
        let compute = format!(
            "types = [\"c6i.large\", \"m6i.large\"], max = 2, idle_timeout = \"1 s\"{more}"
        );
        let setup = setup(&compute, cloud.environment().into());
        Some(Self { cluster: Cluster::with(label, setup), cloud, folder })
    }

    fn called(&self, action: &str) -> u64 {
        self.cloud.see("calls")[action].as_u64().unwrap_or(0)
    }

    fn spans(&self) -> Vec<Value> {
        self.cloud.see("meter").as_array().cloned().unwrap_or_default()
    }

    /// The head dies at that moment, and another one goes on.
    fn killed(&self, kill: Kill, asked: u64, made: usize) {
        match kill {
            Kill::Never => return,
            // Before its very first call, and with the account's things known: whatever comes first.
            Kill::Before => {}
            Kill::While => until("machines that are asked for", || {
                (self.called("RunInstances") > asked).then_some(())
            }),
            Kill::After => until("an instance", || (self.spans().len() > made).then_some(())),
        }
        self.cluster.kill_head();
        self.cluster.up();
    }

    /// A cell: two tasks in a cloud that has these faults; what else happens to them while they run.
    fn cell(&self, name: &str, kill: Kill, faults: &Value, meanwhile: impl Fn(&Self)) {
        let (asked, made) = (self.called("RunInstances"), self.spans().len());
        let mut all = faults.as_array().cloned().unwrap_or_default();
        if matches!(kill, Kill::While) {
            all.push(json!({"action": "RunInstances", "kind": "slow", "ms": 700}));
        }
        self.cloud.tell("faults", &json!(all));
        let text = "mkdir \"busy-$SLURM_JOB_NAME-$SLURM_ARRAY_TASK_ID\" || echo twice >>doubled\n\
                    sleep 0.5\nrmdir \"busy-$SLURM_JOB_NAME-$SLURM_ARRAY_TASK_ID\"\n\
                    echo \"$SLURM_JOB_NAME\" >>ends";
        let name = format!("{name}-{kill:?}");
        let id = self.cluster.submit(&["--array", "1-2", "-J", &name], text);
        self.killed(kill, asked, made);
        meanwhile(self);
        assert_eq!(self.cluster.wait(&id), 0, "{name}");
        self.cloud.tell("faults", &json!([]));
        self.cluster.until_no_nodes();
        let ends = self.cluster.file("ends");
        assert_eq!(ends.lines().filter(|line| **line == *name).count(), 2, "{name}: {ends}");
        assert!(!self.cluster.work().join("doubled").exists(), "{name}");
        self.nothing_left(&name);
    }

    fn computers_are_off(&self) {
        until("the end of every instance", || {
            self.spans().iter().all(|span| span["off"] == true).then_some(())
        });
    }

    fn nothing_left(&self, name: &str) {
        self.computers_are_off();
        assert!(self.cluster.live_nodes().is_empty(), "{name}");
    }

    /// The bill is the meter: 3.6 dollars an hour are a millionth a millisecond, a minute at least.
    fn ends_even(self) {
        self.nothing_left("all");
        let seconds = |span: &Value| {
            let whole = span["ended"].as_i64().unwrap() - span["launched"].as_i64().unwrap();
            whole.max(60) * 1000
        };
        let bill = meter::equals(&self.cluster, self.spans().iter().map(seconds).sum());
        assert_eq!(bill["spans"].as_u64(), Some(self.spans().len() as u64));
        self.cluster.down(&[]);
        self.cluster.verify();
    }
}

/// One fault, and the head killed at every moment.
fn row(label: &str, faults: &Value) {
    row_with(label, faults, |_| {});
}

fn row_with(label: &str, faults: &Value, meanwhile: impl Fn(&Place)) {
    let Some(place) = Place::new(label) else { return };
    for kill in KILLS {
        place.cell(label, kill, faults, &meanwhile);
    }
    place.ends_even();
}

fn refusal(code: &str, status: u16) -> Value {
    let first = json!({"InstanceType": "c6i.large"});
    json!([{"action": "RunInstances", "kind": "error", "code": code, "status": status, "match": first}])
}

#[test]
fn a_cloud_that_does_as_it_is_told() {
    row("well", &json!([]));
}

#[test]
fn no_capacity_is_another_type() {
    let first = json!({"InstanceType": "c6i.large"});
    row(
        "capacity",
        &json!([{"action": "RunInstances", "kind": "capacity", "left": 0, "match": first}]),
    );
}

#[test]
fn a_quota_is_another_type() {
    row("quota", &refusal("VcpuLimitExceeded", 400));
}

#[test]
fn asked_too_often() {
    row("throttle", &refusal("RequestLimitExceeded", 503));
}

#[test]
fn a_broken_service() {
    row("broken", &refusal("InternalError", 500));
}

#[test]
fn an_answer_that_is_lost_or_torn_or_a_call_that_never_came() {
    let Some(place) = Place::new("answers") else { return };
    for kind in ["lost", "torn", "before"] {
        for kill in KILLS {
            place.cell(kind, kill, &json!([{"action": "RunInstances", "kind": kind}]), |_| {});
        }
    }
    place.ends_even();
}

#[test]
fn ends_and_lists_that_fail() {
    let ends = json!([
        {"action": "TerminateInstances", "kind": "lost"},
        {"action": "TerminateInstances", "kind": "error", "code": "InternalError", "status": 500, "skip": 1},
        {"action": "DescribeInstances", "kind": "error", "code": "Unavailable", "status": 503, "times": 3},
    ]);
    row("ends", &ends);
}

#[test]
fn lists_that_lag_are_no_deaths() {
    let Some(place) = Place::new("lag") else { return };
    place.cloud.tell("lag", &json!({"ms": 4000}));
    for kill in KILLS {
        place.cell("lag", kill, &json!([]), |_| {});
    }
    place.ends_even();
}

#[test]
fn a_machine_that_is_reclaimed_without_a_word() {
    row_with("silent", &json!([]), |place| {
        let alive = until("a machine with a task", || {
            place.spans().into_iter().find(|span| span["ended"].is_null())
        });
        place.cloud.tell("end", &json!({"instance": alive["instance"], "how": "silent"}));
    });
}

/// The full set where it is there.
#[test]
fn the_genomics_give_the_expected_counts_on_instances_with_the_head_killed_twice() {
    if !tools_are_here() {
        return;
    }
    let Some(place) = Place::new("genomics") else { return };
    let data = full_set().unwrap_or_else(excerpt);
    let cluster = &place.cluster;
    copy_scripts(&cluster.work());
    let joint = submit_all(cluster, &data);
    kill_the_head_twice(cluster);
    assert_eq!(cluster.wait(&joint), 0, "{}", cluster.ok(&["logs", &joint]).out);
    is_counted_once(cluster, &data);
    cluster.until_no_nodes();
    place.ends_even();
}

#[test]
fn a_notice_warns_the_job_ends_it_in_time_and_puts_it_back() {
    let Some(place) = Place::with("notice", ", spot = true") else { return };
    let cluster = &place.cluster;
    // The first attempt never ends by itself.
    let text = "echo \"$PCLUSTER_ATTEMPT\" >>starts\n\
                if [ \"$PCLUSTER_ATTEMPT\" = 1 ]; then\n\
                  trap 'echo warned >>warned' USR1\n  while :; do sleep 0.1; done\nfi\n";
    let id = cluster.submit(&["--signal", "B:USR1@10"], text);
    cluster.until_lines("starts", 1);
    let first = place.spans().remove(0);
    assert_eq!(first["spot"], true, "{first}");
    let notice = json!({"instance": first["instance"], "how": "notice", "seconds": 15});
    place.cloud.tell("end", &notice);
    assert_eq!(cluster.wait(&id), 0);
    let (starts, warned) = (cluster.file("starts"), cluster.file("warned"));
    assert_eq!((starts.as_str(), warned.as_str()), ("1\n2\n", "warned\n"));
    let shown = cluster.ok(&["show", &id]).out;
    assert!(shown.contains("back to the queue: the provider"), "{shown}");
    cluster.until_no_nodes();
    place.nothing_left("notice");
    let spans = place.spans();
    assert!(spans.len() == 2 && spans.iter().all(|span| span["spot"] == true), "{spans:#?}");
    cluster.down(&[]);
}

#[test]
fn down_says_when_nobody_knows_what_is_left_and_goes_on() {
    let Some(place) = Place::new("unread") else { return };
    let id = place.cluster.submit(&[], "true");
    assert_eq!(place.cluster.wait(&id), 0);
    let refused = json!([{"action": "DescribeInstances", "kind": "error", "code": "UnauthorizedOperation",
                          "status": 403, "times": -1}]);
    place.cloud.tell("faults", &refused);
    // The next head has seen no list.
    place.cluster.kill_head();
    place.cluster.up();
    let said = place.cluster.run(&["down", "--now"]).expect_code(7);
    said.expect_words(&["nobody knows whether machines are left", "needs ec2:DescribeInstances"]);
    let status = place.cluster.run(&["status", "--json"]).expect_code(1).out;
    assert!(status.contains("\"phase\": \"closing\""), "{status}");
    place.cloud.tell("faults", &json!([]));
    let said = place.cluster.ok(&["down"]);
    assert!(said.out.contains("0 left"), "{said:#?}");
    place.computers_are_off();
}

#[test]
fn a_cluster_that_never_had_a_machine_ends_without_an_account() {
    let environment = vec![
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9".into()),
        ("AWS_EC2_METADATA_DISABLED", "true".into()),
        ("AWS_CONFIG_FILE", "/dev/null".into()),
        ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".into()),
    ];
    let setup = setup("types = [\"c6i.large\"]", environment);
    let cluster = Cluster::with("nobody", setup);
    let policy: Value = serde_json::from_str(&cluster.ok(&["provider", "policy"]).out).unwrap();
    assert!(policy["Statement"].to_string().contains("ec2:RunInstances"), "{policy}");
    let policy = cluster.ok(&["provider", "policy", "--place", "--role", "of-heads"]).out;
    let policy: Value = serde_json::from_str(&policy).unwrap();
    assert_eq!(policy["Statement"][4]["Resource"], "arn:aws:iam::*:role/of-heads", "{policy}");
    until("words about the account", || {
        cluster.run(&["status", "--json"]).out.contains("no AWS credentials").then_some(())
    });
    cluster.down(&[]);
}
