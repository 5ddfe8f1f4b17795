//! A slow and flaky provider: what starts the machines fails in every way that a process can.
//!
//! Deliberately absent: lists that lag, answers of calls that are lost, machines that come up after
//! their call has failed. The process provider reads and starts what is there, so these are the
//! simulator's (`crates/sim/src/faults.rs`).
use pcluster_tests::{Cluster, Setup, bins, meter, until};
use std::fs;
use std::path::PathBuf;

/// Becomes the machine, or does what the plan says; a plan is for one machine.
const LAUNCHER: &str = r#"#!/bin/sh
room=$1; shift
fault=none
if mv "$room/plan" "$room/plan-$$" 2>/dev/null; then fault=$(cat "$room/plan-$$"); fi
echo "$fault" >>"$room/launched"
case $fault in
slow) sleep 2; exec "$@" ;;
dead) exit 1 ;;
hung) exec sleep 1000 ;;
twice) "$@" & exec "$@" ;;
late) (sleep 1; exec "$@") & exit 1 ;;
short) timeout -s KILL 0.3 "$@"; exit 1 ;;
*) exec "$@" ;;
esac
"#;

/// Every fault once.
const FAULTS: [&str; 8] = ["dead", "twice", "unlisted", "short", "hung", "slow", "absent", "late"];

struct Shop {
    cluster: Cluster,
    launcher: PathBuf,
}

impl Shop {
    fn new() -> Self {
        let setup = Setup {
            compute: "cpus = 2, memory = \"1 GB\", max = 2, idle_timeout = \"1 s\", boot_timeout = \"4 s\"".to_owned(),
            ..Setup::default()
        };
        let cluster = Cluster::cold("flaky", setup);
        let launcher = cluster.root().join("launcher");
        bins::program(&launcher, LAUNCHER);
        let words = [launcher.display().to_string(), cluster.root().display().to_string()];
        let file = cluster.work().join("cluster.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}[process]\nlauncher = {words:?}\n")).unwrap();
        cluster.up();
        Self { cluster, launcher }
    }

    fn launched(&self) -> usize {
        let text = fs::read_to_string(self.cluster.root().join("launched")).unwrap_or_default();
        text.lines().count()
    }

    /// Submits an array while the next machine has this fault, and lets things be whole again.
    fn round(&self, fault: &str) -> String {
        let (cluster, before) = (&self.cluster, self.launched());
        let away = self.launcher.with_extension("away");
        let broken = cluster.state().join("nodes/p-999999.0");
        match fault {
            "absent" => fs::rename(&self.launcher, &away).unwrap(),
            "unlisted" => {
                fs::create_dir_all(&broken).unwrap();
                fs::write(broken.join("launch.json"), "no record").unwrap();
            }
            _ => fs::write(cluster.root().join("plan"), fault).unwrap(),
        }
        let text =
            format!("echo \"{fault} $SLURM_ARRAY_TASK_ID $PCLUSTER_ATTEMPT\" >>starts; sleep 0.2");
        let id = cluster.submit(&["--array", "1-3", "-J", fault], &text);
        match fault {
            "absent" => {
                // The call is made, fails, and is made again with the same token.
                until("a node that is wanted", || (!cluster.live_nodes().is_empty()).then_some(()));
                fs::rename(&away, &self.launcher).unwrap();
            }
            "unlisted" => {
                until("words about the list", || {
                    cluster.run(&["status"]).out.contains("its list cannot be read").then_some(())
                });
                fs::remove_dir_all(&broken).unwrap();
            }
            "slow" => {
                until("the call", || (self.launched() > before).then_some(()));
                cluster.kill_head();
                cluster.up();
            }
            _ => {}
        }
        assert_eq!(cluster.wait(&id), 0, "{fault}");
        id
    }
}

#[test]
fn an_array_runs_through_whatever_the_provider_does_and_the_bill_is_the_meter() {
    let shop = Shop::new();
    let cluster = &shop.cluster;
    for fault in FAULTS {
        let id = shop.round(fault);
        let rows = cluster.tasks(&id);
        assert!(rows.iter().all(|row| row["outcome"]["word"] == "completed"), "{fault}: {rows:#?}");
        cluster.until_no_nodes();
    }
    let mut starts: Vec<String> = cluster.file("starts").lines().map(str::to_owned).collect();
    starts.sort();
    let mut once: Vec<String> = FAULTS
        .iter()
        .flat_map(|fault| (1..=3).map(move |task| format!("{fault} {task} 1")))
        .collect();
    once.sort();
    assert_eq!(starts, once, "each task once, and a boot that failed is no attempt");
    let failed = cluster.log().matches("boot_failed").count();
    assert!(failed >= 3, "dead, hung and short machines were noticed: {failed}");
    meter::ends_even(cluster);
}
