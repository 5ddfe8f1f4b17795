//! A shared path that a server of NFS holds: mounted by nodes, lost with its server, and well again.
use crate::vm::{seeing, wait};
use pcluster_tests::{Cluster, PATIENCE, Setup, not_run, people, skip, until, vms, within};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

const PORT: u16 = 2049;

/// A server in user space; its end is the end of this value.
struct Server {
    child: Child,
}

impl Server {
    fn start(root: &Path) -> Self {
        let config = root.join("ganesha.conf");
        let text = format!(
            "NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {PORT}; Enable_NLM = false; Enable_RQUOTA = false; Bind_addr = 127.0.0.1; }}\n\
             NFSV4 {{ Graceless = true; RecoveryRoot = \"{root}\"; Minor_Versions = 1, 2; }}\n\
             EXPORT {{ Export_Id = 1; Path = \"{root}/export\"; Pseudo = \"/export\"; Access_Type = RW; Squash = No_Root_Squash; SecType = sys; FSAL {{ Name = VFS; }} }}\n",
            root = root.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("ganesha.nfsd");
        command.arg("-F").arg("-f").arg(&config).arg("-L").arg(root.join("ganesha.log"));
        command.arg("-p").arg(root.join("ganesha.pid"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        until("the server", || std::net::TcpStream::connect(("127.0.0.1", PORT)).ok());
        Self { child }
    }

    fn stop(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn can_serve() -> bool {
    if !people::is_root() {
        skip("a server of NFS needs root");
        return false;
    }
    if Command::new("ganesha.nfsd").arg("-v").output().is_err() {
        not_run("shared paths by NFS: there is no ganesha.nfsd");
        return false;
    }
    if TcpListener::bind(("127.0.0.1", PORT)).is_err() {
        skip("shared paths by NFS: another server has its port here");
        return false;
    }
    true
}

#[test]
fn a_path_that_a_server_holds_is_mounted_and_keeps_jobs_away_while_the_server_is_gone() {
    let Some(_turn) = vms::turn() else { return };
    let _port = vms::port_of_nfs();
    if !can_serve() {
        return;
    }
    let compute = format!("{}, idle_timeout = \"5 min\"", vms::small(1));
    let setup = vms::setup(&compute, "EXPORT".as_ref(), "");
    let head = "heartbeat = \"2 s\"\nsilent_after = \"20 s\"\n".to_owned();
    let cluster = Cluster::cold("nfs", Setup { head, ..setup });
    let export = cluster.root().join("export");
    fs::create_dir(&export).unwrap();
    let shared =
        format!("\"{}\"\nfrom = \"nfs:10.0.2.2:/export\"\nhome = \"local\"", export.display());
    seeing(&cluster, "EXPORT", &shared);
    let server = Server::start(cluster.root());
    cluster.up();
    let submit = |text: &str| {
        let folder = export.display().to_string();
        let words = ["submit", "-q", "--chdir", &folder, "--wrap", text];
        cluster.ok(&words).id()
    };
    let first = submit("grep ' nfs4 ' /proc/mounts >mounts; echo here >first");
    assert_eq!(wait(&cluster, &first), 0);
    assert_eq!(fs::read_to_string(export.join("first")).unwrap(), "here\n");
    let mounts = fs::read_to_string(export.join("mounts")).unwrap();
    assert!(mounts.contains(&export.display().to_string()), "{mounts}");
    server.stop();
    let told = within(PATIENCE * 3, || {
        let said = cluster.ok(&["nodes"]);
        let said = said.out + &said.err;
        said.contains("takes no new jobs").then_some(said)
    });
    told.unwrap_or_else(|| panic!("{:#?}", cluster.ok(&["nodes"])));
    let second = submit("echo here >second");
    let why = cluster.ok(&["why", &second]).out;
    assert!(why.contains("export"), "{why}");
    let server = Server::start(cluster.root());
    assert_eq!(wait(&cluster, &second), 0);
    assert_eq!(fs::read_to_string(export.join("second")).unwrap(), "here\n");
    let node = "compute-1";
    cluster.ok(&["node", "drain", node]);
    cluster.until_no_nodes();
    server.stop();
    cluster.down(&[]);
}
