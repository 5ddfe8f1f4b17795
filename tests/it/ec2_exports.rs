//! Folders of the head on instances of EC2: exported to each that lives and to nobody else, through a restart of
//! the head, until the cluster is down. What the kernel makes of it is for `vm_export`: here `exportfs` only writes
//! down what it would have read, and instances find the folder mounted.
use pcluster_tests::cloud::Cloud;
use pcluster_tests::{Cluster, Setup, bins, not_run, people, skip, until};
use serde_json::json;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const EXPORTS: &str = "/etc/exports.d";

/// A folder that is a mount of itself, as containers of this machine see it.
struct Mounted(PathBuf);

impl Mounted {
    fn new(path: PathBuf) -> Option<Self> {
        fs::create_dir_all(&path).unwrap();
        let done = Command::new("mount").arg("--bind").arg(&path).arg(&path).status();
        done.is_ok_and(|done| done.success()).then_some(Self(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A folder of the test; it goes last.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The file of a cluster, which goes with the test whatever happens.
struct File(PathBuf);

impl File {
    fn of(cluster: &Cluster) -> Self {
        let id = cluster.state().join("cluster-id");
        let id =
            fs::read_to_string(&id).unwrap_or_else(|error| panic!("{}: {error}", id.display()));
        Self(Path::new(EXPORTS).join(format!("pcluster-{}.exports", id.trim())))
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap_or_default()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        // Unless it is in use or was there.
        let _ = fs::remove_dir(EXPORTS);
    }
}

/// An `exportfs` that writes down what it finds.
fn exportfs(folder: &Path) -> PathBuf {
    let (program, log) = (folder.join("exportfs"), folder.join("exported"));
    let text = format!(
        "#!/bin/sh\n{{ echo \"$*\"; cat {EXPORTS}/*.exports 2>/dev/null; echo .; }} >>{}\n",
        log.display()
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    log
}

fn setup(cloud: &Cloud, programs: &Path, shared: &Path) -> Setup {
    let path = format!(
        "{}:{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        programs.display(),
        bins::folder().display()
    );
    let mut environment = Vec::from(cloud.environment());
    environment.push(("PATH", path));
    let setup = crate::ec2_matrix::setup("types = [\"c6i.large\"], max = 1", environment);
    let storage = format!(
        "[storage]\nshared = \"{}\"\nfrom = \"head\"\nhome = \"local\"\n[limits]\nroot_jobs = true\n",
        shared.display()
    );
    Setup { more: storage, ..setup }
}

#[test]
fn the_heads_folder_is_exported_to_instances_that_live_and_to_nobody_else() {
    if !people::is_root() {
        return skip("machines of the cloud need root here");
    }
    let _turn = pcluster_tests::vms::port_of_nfs();
    if TcpListener::bind(("127.0.0.1", 2049)).is_err() {
        return skip("exports: a server of NFS has its port here");
    }
    let folder = std::env::temp_dir().join(format!("pct-ec2-exports-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let _folder = Folder(folder.clone());
    let Some(cloud) = Cloud::start(&folder, true) else { return };
    let Some(shared) = Mounted::new(folder.join("shared")) else {
        return not_run("exports to instances: nothing can be mounted here");
    };
    let log = exportfs(&folder);
    let cluster = Cluster::with("exports", setup(&cloud, &folder, &shared.0));
    let file = File::of(&cluster);
    let there = shared.0.display().to_string();
    let job = cluster.submit(&["--chdir", &there], "hostname >host");
    // Nobody serves it yet: no machine is launched, and the job says why.
    until("the reason", || {
        let said = cluster.ok(&["why", &job]).out;
        said.contains("no NFS server answers at port 2049").then_some(())
    });
    assert_eq!(cloud.see("meter"), json!([]));
    assert!(!file.0.exists());
    let server = TcpListener::bind(("127.0.0.1", 2049)).unwrap();
    let line = until("the export", || {
        let text = file.text();
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.next().map(str::to_owned)
    });
    // As the instance's address is in EC2's list.
    let calls = fs::read_to_string(folder.join("calls.jsonl")).unwrap();
    assert!(calls.contains("RunInstances"), "{calls}");
    let (path, client) = line.split_once(' ').unwrap();
    assert_eq!(path, shared.0.display().to_string());
    assert!(client.contains("(rw,sync,") && client.contains("fsid="), "{client}");
    let instance = cloud.see("meter")[0]["instance"].as_str().unwrap().to_owned();
    assert!(file.text().contains(&format!("# {instance} ")), "{}", file.text());
    assert_eq!(cluster.wait(&job), 0);
    assert_eq!(fs::read_to_string(shared.0.join("host")).unwrap(), "compute-1\n");
    let join = folder.join(&instance).join("lib/pcluster-agent/join.json");
    let join: serde_json::Value = serde_json::from_slice(&fs::read(join).unwrap()).unwrap();
    assert_eq!(join["mounts"][0]["from"]["nfs"]["source"], format!("127.0.0.1:{path}"), "{join}");
    // The next head goes on with it; nothing that lives is taken away meanwhile.
    let (before, runs) = (file.text(), fs::read_to_string(&log).unwrap().len());
    cluster.kill_head();
    assert_eq!(file.text(), before);
    cluster.up();
    until("the next head", || (fs::read_to_string(&log).unwrap().len() > runs).then_some(()));
    assert_eq!(file.text(), before);
    // The machine goes, and its export with it.
    cluster.ok(&["node", "drain", "compute-1"]);
    cluster.until_no_nodes();
    until("the end of the export", || (!file.0.exists()).then_some(()));
    assert_eq!(cluster.wait(&cluster.submit(&["--chdir", &there], "true")), 0);
    assert!(file.0.exists(), "another machine has it");
    let said = cluster.ok(&["down", "--now"]);
    assert!(said.out.contains("0 left"), "{said:#?}");
    assert!(!file.0.exists());
    let all = fs::read_to_string(&log).unwrap();
    assert!(
        all.ends_with("-r\n# Nothing is exported any more.\n.\n"),
        "the system knows that it is gone: {all}"
    );
    drop(server);
}
