//! Nodes with network addresses of their own: each process node in a namespace, on one bridge.
use pcluster_tests::clients::{Face, have, own};
use pcluster_tests::{Setup, people, repository, skip};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A bridge of this test, with its namespaces and its hosts file; all gone when this value is.
struct Network {
    bridge: String,
    net: String,
    hosts: PathBuf,
}

fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).output().is_ok_and(|said| said.status.success())
}

impl Network {
    fn new() -> Option<Self> {
        if !people::is_root() {
            skip("network namespaces need root");
            return None;
        }
        if !have(&["ip", "nsenter", "unshare", "mount", "hostname"]) {
            return None;
        }
        let pid = std::process::id();
        let network = Self {
            bridge: format!("pct{}", pid % 1_000_000),
            net: format!("10.{}.{}", 64 + pid / 256 % 128, pid % 256),
            hosts: std::env::temp_dir().join(format!("pct-hosts-{pid}")),
        };
        let own = format!("{}.1/24", network.net);
        let bridge = network.bridge.as_str();
        let made = ip(&["link", "add", bridge, "type", "bridge"])
            && ip(&["addr", "add", &own, "dev", bridge])
            && ip(&["link", "set", bridge, "up"]);
        if !made {
            skip("this kernel makes no bridge");
            return None;
        }
        let nodes = (1..100).map(|node| format!("{}.{} main-{node}\n", network.net, node + 10));
        let hosts = format!("127.0.0.1 localhost\n{}", nodes.collect::<String>());
        fs::write(&network.hosts, hosts).unwrap();
        Some(network)
    }

    fn setup(&self) -> Setup {
        let script = repository().join("tests/netns.sh");
        let words = [
            script.display().to_string(),
            self.bridge.clone(),
            self.net.clone(),
            self.hosts.display().to_string(),
            "{node}".to_owned(),
        ];
        Setup {
            head: format!("listen = \"{}.1:0\"\n", self.net),
            more: format!("[process]\nlauncher = {words:?}\n"),
            ..pcluster_tests::clients::setup()
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let listed = Command::new("ip").args(["netns", "list"]).output();
        let listed = listed.map(|said| said.stdout).unwrap_or_default();
        for line in String::from_utf8_lossy(&listed).lines() {
            let name = line.split(' ').next().unwrap_or_default();
            if name.starts_with(&format!("{}-", self.bridge)) {
                ip(&["netns", "del", name]);
            }
        }
        ip(&["link", "del", &self.bridge]);
        drop(fs::remove_file(&self.hosts));
    }
}

/// Runs a batch job of these lines to its end; its output.
#[track_caller]
fn batch(face: &Face, options: &str, text: &str) -> String {
    fs::write(face.cluster().work().join("job.sh"), format!("#!/bin/bash\n{text}\n")).unwrap();
    let said = face.shell(&format!("sbatch --wait --parsable -t 5 -o net.out {options} job.sh"));
    let out = face.cluster().file("net.out");
    assert_eq!(said.code, 0, "{said:#?} {out}");
    out
}

#[test]
fn steps_and_mpi_go_over_nodes_with_addresses_of_their_own() {
    let Some(network) = Network::new() else { return };
    let face = Face::with("netns", network.setup());
    let two = "-N 2 --ntasks-per-node=2 --mem=600M";
    let text = "srun -l -N 2 -n 2 sh -c 'echo $(hostname) $SLURMD_NODENAME $(ip -4 -o addr show dev eth0)'";
    let out = batch(&face, two, text);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    for (rank, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], format!("{rank}:"), "{out}");
        assert_eq!(words[1], words[2], "the machine's name is the node's: {out}");
        let number: u32 = words[1].strip_prefix("main-").unwrap().parse().unwrap();
        assert!(out.contains(&format!("inet {}.{}/24", network.net, number + 10)), "{out}");
    }
    assert_eq!(lines.len(), 2, "{out}");

    for (compiler, starters) in [
        ("mpicc.openmpi", &["mpirun.openmpi"][..]),
        ("mpicc.mpich", &["mpiexec.mpich -genvlist SLURM_JOB_ID", "srun --mpi=pmi2"]),
    ] {
        if !have(&[compiler]) {
            continue;
        }
        for program in ["hello", "ring"] {
            let source = own("mpi").join(format!("{program}.c"));
            face.asks(&format!("{compiler} -O1 -o {program} '{}'", source.display()));
        }
        for starter in starters {
            let out = batch(&face, two, &format!("{starter} ./hello && {starter} ./ring"));
            let ranks = out.lines().filter(|line| line.starts_with("rank ")).count();
            assert!(ranks == 4 && out.contains("ring of 4: 50\n"), "{starter}: {out}");
        }
    }
    face.to_zero();
}
