//! Nodes with network addresses of their own: each process node in a namespace, on one bridge.
use pcluster_tests::clients::{Face, have, own, setup};
use pcluster_tests::net::Network;
use std::fs;

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
    let Some(network) = Network::new("main") else { return };
    let face = Face::with("netns", network.setup(setup()));
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
        assert!(out.contains(&format!("inet {}/24", network.node(number))), "{out}");
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
