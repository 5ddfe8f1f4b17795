//! A laptop that uses a head on another machine, over a real SSH server.
use pcluster_tests::sshd::Sshd;
use pcluster_tests::{Cluster, PATIENCE, Said};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A user's home on another machine: no cluster, no file of one, and a key of the user's own.
struct Laptop<'a> {
    home: PathBuf,
    cluster: &'a Cluster,
}

impl<'a> Laptop<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        let home = cluster.root().join("laptop");
        for folder in [".ssh", "said"] {
            fs::create_dir_all(home.join(folder)).unwrap();
        }
        Self { home, cluster }
    }

    fn program(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(&self.home).env_clear();
        command.env("HOME", &self.home).env("PATH", "/usr/bin:/bin").env("LEFT_HERE", "yes");
        command
    }

    fn says(&self, words: &[&str]) -> Said {
        let program = self.cluster.bin().join("pcluster");
        Said::of(&mut self.program(&program, words), &self.home.join("said"), PATIENCE)
    }
}

/// A server whose sessions find the head of `cluster`.
fn server(cluster: &Cluster) -> Option<Sshd> {
    let runtime = cluster.root().join("run").display().to_string();
    Sshd::start(&cluster.root().join("sshd"), &[("PCLUSTER_RUNTIME_DIR", runtime)])
}

/// Afterwards the laptop has the right key.
fn nobody_is_trusted_unseen_nor_let_in_without_the_right_key(laptop: &Laptop, sshd: &Sshd) {
    let target = sshd.target();
    let said = laptop.says(&["connect", &target]).expect_code(3);
    assert!(
        said.err.contains("is not known here") && said.err.contains(&sshd.fingerprint()),
        "{said:#?}"
    );
    let accepted = ["connect", &target, "--host-key", &sshd.fingerprint()];
    let said = laptop.says(&accepted).expect_code(3);
    assert!(
        said.err.contains("accepts none of your keys") && said.err.contains("no key to try"),
        "{said:#?}"
    );
    fs::copy(sshd.key("other"), laptop.home.join(".ssh/id_ed25519")).unwrap();
    let said = laptop.says(&accepted).expect_code(3);
    assert!(said.err.contains("id_ed25519: refused"), "{said:#?}");
    fs::copy(sshd.key("user"), laptop.home.join(".ssh/id_ed25519")).unwrap();
    let wrong =
        ["connect", &target, "--host-key", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"];
    laptop.says(&wrong).expect_code(3);
}

#[test]
fn a_laptop_is_a_client_of_a_head_elsewhere() {
    let cluster = Cluster::new("connect");
    let Some(sshd) = server(&cluster) else { return };
    let laptop = Laptop::new(&cluster);
    let (target, work) = (sshd.target(), cluster.work().display().to_string());

    let accepted = ["connect", &target, "--host-key", &sshd.fingerprint()];
    nobody_is_trusted_unseen_nor_let_in_without_the_right_key(&laptop, &sshd);
    let said = laptop.says(&accepted).expect_code(0);
    assert!(said.err.contains(&format!("connected to {}", cluster.name())), "{said:#?}");
    let listed = laptop.says(&["connect"]).expect_code(0);
    assert_eq!(listed.out, format!("{}  {target}\n", cluster.name()));

    // A job from there: its script travels, it runs at home or where it is told to, with nothing of the laptop.
    fs::write(
        laptop.home.join("job.sh"),
        "#!/bin/sh\npwd\necho \"left=$LEFT_HERE, named=$NAMED\"\n",
    )
    .unwrap();
    let words = ["submit", "-q", "-o", &format!("{work}/out"), "--export", "NAMED=it", "job.sh"];
    let id = laptop.says(&words).expect_code(0).out.trim().to_owned();
    laptop.says(&["wait", &id]).expect_code(0);
    let home = Command::new("sh").args(["-c", "eval echo ~$(id -un)"]).output().unwrap();
    let home = String::from_utf8_lossy(&home.stdout).trim().to_owned();
    assert_eq!(
        laptop.says(&["logs", &id]).expect_code(0).out,
        format!("{home}\nleft=, named=it\n")
    );
    // The head knows this account by the connection, and nothing else.
    let shown = laptop.says(&["show", &id, "--json"]).expect_code(0);
    let shown: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(shown["job"]["user"], cluster.json(&["show", &id])["job"]["user"]);

    // Streams, exit codes and terminals go the same way.
    let said =
        laptop.says(&["run", "-q", "--chdir", &work, "--", "sh", "-c", "echo hello; exit 7"]);
    assert_eq!((said.code, said.out.as_str()), (7, "hello\n"), "{said:#?}");
    assert!(laptop.says(&["queue"]).expect_code(0).err.contains("nothing runs or waits"));
    // The Slurm names are the same program.
    let squeue = laptop.home.join("squeue");
    std::os::unix::fs::symlink(cluster.bin().join("pcluster"), &squeue).unwrap();
    let said = Said::of(&mut laptop.program(&squeue, &["-h"]), &laptop.home.join("said"), PATIENCE);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{said:#?}");

    // Another key is another machine, whatever was accepted before.
    sshd.become_another();
    let said = laptop.says(&["queue"]).expect_code(3);
    assert!(said.err.contains("has changed") && said.err.contains("--forget"), "{said:#?}");
    laptop.says(&["connect", "--forget", cluster.name()]).expect_code(0);
    laptop.says(&["connect", "--forget", cluster.name()]).expect_code(4);
    fs::write(laptop.home.join(".ssh/known_hosts"), sshd.known()).unwrap();
    laptop.says(&["connect", &target]).expect_code(0);

    let said = laptop.says(&["down"]).expect_code(0);
    assert!(said.out.contains("has stopped"), "{said:#?}");
    let said = laptop.says(&["queue"]).expect_code(6);
    assert!(said.err.contains(&target), "{said:#?}");
}
