//! Images that are built from recipes: what is wrong with one is said before a job waits for it, and a
//! Debian with the tools of real work runs that work.
use crate::genomics::{copy_scripts, excerpt, full_set, is_counted_once, submit_all};
use crate::vm::{cluster, cold, wait, wait_within};
use pcluster_tests::clients::{have, own};
use pcluster_tests::{
    Cluster, PATIENCE, Said, Setup, not_run, people, procs, skip, until, vms, within,
};
use rustix::process::Signal;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// A command of the cluster that may take minutes.
fn slow(cluster: &Cluster, words: &[&str]) -> Said {
    Said::of(&mut cluster.command(words), &cluster.root().join("said"), PATIENCE * 10)
}

#[test]
fn an_image_that_cannot_be_used_is_found_out_by_its_trial_with_its_last_words() {
    let Some(_turn) = vms::turn() else { return };
    let more = "[images.good]\nbase = \"minimal\"\nfiles = { \"/etc/motd\" = \"motd\" }\n\
                [images.dumb]\nbase = \"minimal\"\n\
                files = { \"/opt/pcluster/boot/second\" = \"dumb.sh\" }\n\
                [images.odd]\nbase = \"minimal\"\npackages = [\"bwa\"]\n";
    let cluster = cluster("trial", &vms::small(1), more);
    fs::write(cluster.work().join("motd"), "hello\n").unwrap();
    let dumb = "echo nobody is here; /opt/pcluster/boot/busybox sleep 2; /opt/pcluster/boot/busybox poweroff -f\n";
    fs::write(cluster.work().join("dumb.sh"), dumb).unwrap();
    for name in ["good", "dumb"] {
        let said = slow(&cluster, &["image", "build", name]).expect_code(0);
        assert!(said.out.starts_with(&format!("{name}@")), "{said:#?}");
    }
    // The same recipe is the same build.
    let again = slow(&cluster, &["image", "build", "good"]).expect_code(0);
    assert!(again.out.contains("is what the recipe says already"), "{again:#?}");
    let odd = slow(&cluster, &["image", "build", "odd"]).expect_code(1);
    assert!(odd.err.contains("base minimal has no package manager"), "{odd:#?}");
    let said = slow(&cluster, &["image", "test", "good"]).expect_code(0);
    assert!(said.out.contains("boots, registers and runs a job"), "{said:#?}");
    let said = slow(&cluster, &["image", "test", "dumb"]).expect_code(1);
    assert!(said.out.contains("dumb cannot be used: the machine ended by itself"), "{said:#?}");
    assert!(said.out.contains("nobody is here"), "{said:#?}");
    let said = slow(&cluster, &["image", "test", "nosuch"]).expect_code(1);
    assert!(said.out.contains("there is no image nosuch"), "{said:#?}");
    let listed = cluster.json(&["image", "list"]);
    let names: Vec<&str> = listed["images"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert!(
        names.contains(&"good") && names.contains(&"dumb") && !names.contains(&"odd"),
        "{listed}"
    );
    cluster.down(&[]);
}

/// The recipe of a Debian with tools for genomics and MPI.
const TOOLS: &str = "[images.tools]\nbase = \"debian-12\"\n\
                     packages = [\"bwa\", \"samtools\", \"bcftools\", \"openmpi-bin\"]\nsetup = \"setup.sh\"\n";

fn can_build_debian() -> bool {
    if !people::is_root() {
        skip("images of Debian and bridges need root");
        return false;
    }
    let there = Command::new("debootstrap").arg("--version").output().is_ok();
    if !there {
        not_run("images of Debian: there is no debootstrap");
    }
    there
}

/// A build in its setup step, which lasts; its end is the end of this value.
struct Held {
    /// Nobody once it was killed.
    maker: Option<i32>,
    draft: PathBuf,
}

impl Held {
    /// The one whose setup script has this text, when what it starts last is there.
    fn find(text: &str) -> Option<Self> {
        let entries = fs::read_dir(vms::images()).into_iter().flatten().flatten();
        let held = entries.filter_map(|entry| {
            let maker = entry.file_name().to_str()?.strip_prefix(".draft-")?.parse().ok();
            let script = fs::read_to_string(entry.path().join("tree/pcluster-setup")).ok()?;
            (script == text).then(|| Self { maker, draft: entry.path() })
        });
        let held: Vec<Self> = held.collect();
        held.into_iter().next()
    }

    /// Processes that its script has started: they have the draft's tree as their root.
    fn inside(&self) -> usize {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let tree = self.draft.join("tree");
        processes
            .filter(|one| fs::read_link(one.path().join("root")).is_ok_and(|at| at == tree))
            .count()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.maker.is_some_and(|maker| procs::try_signal(maker, Signal::KILL));
    }
}

#[test]
fn a_build_that_fails_or_is_killed_names_its_step_and_leaves_nothing_half_made() {
    if !can_build_debian() {
        return;
    }
    let more = "[images.setup-fails]\nbase = \"debian-12\"\nsetup = \"fails.sh\"\n\
                [images.setup-hangs]\nbase = \"debian-12\"\nsetup = \"hangs.sh\"\n\
                [images.next]\nbase = \"minimal\"\n";
    let cluster = cold("steps", vms::setup(&vms::small(1), "WORK".as_ref(), more));
    let put = |name: &str, text: &str| fs::write(cluster.work().join(name), text).unwrap();
    put("fails.sh", "echo first words\necho last words >&2\nexit 3\n");
    let said = slow(&cluster, &["image", "build", "setup-fails"]).expect_code(1);
    let end = "\n  first words\n  last words\n";
    assert!(said.err.contains("step \"setup fails.sh\" failed: exit status: 3"), "{said:#?}");
    assert!(said.err.ends_with(end), "{said:#?}");
    assert_eq!(said.out, "");
    // Killed in the middle of its setup, it takes along what the script has started.
    let text = format!("# {}\nsleep 100000 & sleep 100000\n", cluster.name());
    put("hangs.sh", &text);
    let build = cluster.start(&mut cluster.command(&["image", "build", "setup-hangs"]));
    let mut held = within(PATIENCE * 10, || Held::find(&text)).expect("the setup step begins");
    until("both sleeps", || (held.inside() >= 2).then_some(()));
    procs::signal(held.maker.take().unwrap(), Signal::KILL);
    until("the end of all that the script started", || (held.inside() == 0).then_some(()));
    assert_ne!(build.ended(PATIENCE).code, 0);
    let listed = cluster.json(&["image", "list"]).to_string();
    assert!(!listed.contains("setup-fails") && !listed.contains("setup-hangs"), "{listed}");
    // The next build of whatever image clears away what the dead one left.
    slow(&cluster, &["image", "build", "next"]).expect_code(0);
    assert!(!held.draft.exists(), "{}", held.draft.display());
}

/// A cluster of two machines of that image on a bridge; nothing, said so, where that cannot be.
fn with_tools(label: &str) -> Option<Cluster> {
    if !can_build_debian() {
        return None;
    }
    let compute =
        "cpus = 1, memory = \"1 GB\", max = 2, image = \"tools\", idle_timeout = \"20 s\"";
    let subnet =
        format!("10.{}.{}.0/24", 64 + std::process::id() % 60, std::process::id() / 60 % 250);
    let bridge = format!("[vm]\nnetwork = \"bridge\"\nsubnet = \"{subnet}\"\n");
    let setup = vms::setup(compute, "WORK".as_ref(), &format!("{TOOLS}{bridge}"));
    let cluster = cold(label, Setup { head: "listen = \"0.0.0.0:0\"\n".into(), ..setup });
    fs::write(cluster.work().join("setup.sh"), "echo tools >/etc/made-of\n").unwrap();
    slow(&cluster, &["image", "build", "tools"]).expect_code(0);
    cluster.up();
    Some(cluster)
}

#[test]
fn genomics_and_mpi_run_in_debian_machines_with_the_head_killed() {
    let Some(_turn) = vms::turn() else { return };
    if !have(&["mpicc.openmpi"]) {
        return;
    }
    let Some(cluster) = with_tools("tools") else { return };
    let started = Instant::now();
    genomics(&cluster);
    println!("genomics in machines: {:.0} s", started.elapsed().as_secs_f32());
    open_mpi(&cluster);
    cluster.down(&["--now"]);
    let bridges = fs::read_dir("/sys/class/net").unwrap().flatten();
    let id = cluster.ids().first().map(|id| format!("pcbr{}", &id[..10])).unwrap();
    assert!(bridges.map(|entry| entry.file_name()).all(|name| *name != *id), "a bridge is left");
}

/// From nothing to counts, with the head killed when two of four samples are at work: of the full set, or of
/// the excerpt where that is not there.
fn genomics(cluster: &Cluster) {
    copy_scripts(&cluster.work());
    let data = cluster.work().join("data");
    let from = full_set().unwrap_or_else(|| {
        not_run("full genomics set in virtual machines (no ../shared): the excerpt instead");
        excerpt()
    });
    assert!(Command::new("cp").arg("-r").arg(from).arg(&data).status().unwrap().success());
    let joint = submit_all(cluster, &data);
    let started = || (cluster.file("starts").lines().count() >= 2).then_some(());
    within(PATIENCE * 6, started).expect("the first samples are at work");
    cluster.kill_head();
    cluster.up();
    // Translated machines take 7 minutes for the full set on two busy cores, 1 for the excerpt.
    let code = wait_within(cluster, &joint, PATIENCE * 30);
    assert_eq!(code, 0, "{}", cluster.ok(&["logs", &joint]).out);
    is_counted_once(cluster, &data);
}

/// Two ranks on two machines that see each other over the bridge.
fn open_mpi(cluster: &Cluster) {
    let work = cluster.work();
    for program in ["hello", "ring"] {
        let source = own("mpi").join(format!("{program}.c"));
        let mut compile = Command::new("mpicc.openmpi");
        compile.arg("-O1").arg("-o").arg(work.join(program)).arg(source);
        assert!(compile.status().unwrap().success());
    }
    // Ranks are started by root here.
    let text = "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1\n\
                mpirun ./hello >mpi.out 2>&1 && mpirun ./ring >>mpi.out 2>&1";
    let id = cluster.submit(&["-N", "2", "--ntasks-per-node", "1", "--time", "10m"], text);
    let code = wait(cluster, &id);
    let out = cluster.file("mpi.out");
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("rank 0 of 2") && out.contains("rank 1 of 2"), "{out}");
    assert!(out.contains("ring of 2: 50\n"), "{out}");
}
