//! Open MPI and MPICH over several nodes that start from zero: by their own starters and by `srun`.
use pcluster_tests::clients::{Face, have, own, shared};
use std::fs;

/// The compilers and starters by their own names: which library `mpirun` means is the machine's choice.
const OPEN_MPI: [&str; 2] = ["mpicc.openmpi", "mpirun.openmpi"];
const MPICH: [&str; 2] = ["mpicc.mpich", "mpiexec.mpich"];

/// A cluster with the project's MPI programs, made by `compiler`, in its work folder.
fn face_with_programs(label: &str, compiler: &str) -> Face {
    let face = Face::new(label);
    for program in ["hello", "sum", "ring"] {
        let source = own("mpi").join(format!("{program}.c"));
        face.asks(&format!("{compiler} -O1 -Wall -Werror -o {program} '{}'", source.display()));
    }
    face
}

/// Runs a batch job of these lines to its end; its code and its output.
fn batch(face: &Face, options: &str, text: &str) -> (i32, String) {
    fs::write(face.cluster().work().join("job.sh"), format!("#!/bin/bash\n{text}\n")).unwrap();
    let said = face.shell(&format!("sbatch --wait --parsable -t 5 -o mpi.out {options} job.sh"));
    (said.code, face.cluster().file("mpi.out"))
}

#[track_caller]
fn all_ranks_on_nodes(out: &str, ranks: usize, nodes: usize) {
    let lines: Vec<&str> = out.lines().filter(|line| line.starts_with("rank ")).collect();
    assert_eq!(lines.len(), ranks, "{out}");
    let mut places = Vec::new();
    for (rank, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(words[1..4].join(" "), format!("{rank} of {ranks}"), "{out}");
        places.push(words[5]);
    }
    places.sort_unstable();
    places.dedup();
    assert_eq!(places.len(), nodes, "{out}");
}

/// Greeting, sum and ring over two nodes with two ranks each, started by `starter`; then a rank that
/// gives up, which must end all of the job with its code.
fn programs_over_two_nodes(face: &Face, starter: &str) {
    let two = "-N 2 --ntasks-per-node=2 --mem=600M";
    let (code, out) = batch(face, two, &format!("{starter} ./hello"));
    assert_eq!(code, 0, "{out}");
    all_ranks_on_nodes(&out, 4, 2);
    let (code, out) = batch(face, two, &format!("{starter} ./sum && {starter} ./ring"));
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("sum over 4 ranks: 0 wrong\n") && out.contains("ring of 4: 50\n"),
        "{out}"
    );
    let (code, out) = batch(face, two, &format!("{starter} ./ring 3"));
    assert_eq!(code, 6, "a rank aborts with 6: {out}");
}

#[test]
fn open_mpi_starts_by_mpirun_over_nodes() {
    if !have(&OPEN_MPI) {
        return;
    }
    let face = face_with_programs("openmpi", OPEN_MPI[0]);
    programs_over_two_nodes(&face, "mpirun.openmpi");
    // Within one node, and on all three.
    let (code, out) = batch(&face, "-n 3 -N 1 --mem=600M", "mpirun.openmpi ./hello");
    assert_eq!(code, 0, "{out}");
    all_ranks_on_nodes(&out, 3, 1);
    let (code, out) = batch(&face, "-N 3 --ntasks-per-node=1 --mem=600M", "mpirun.openmpi ./hello");
    assert_eq!(code, 0, "{out}");
    all_ranks_on_nodes(&out, 3, 3);
    face.to_zero();
}

#[test]
fn mpich_starts_by_its_own_starter_over_nodes() {
    if !have(&MPICH) {
        return;
    }
    let face = face_with_programs("mpich", MPICH[0]);
    // It gives its own environment to all ranks unless told which; the node's name is not of it.
    programs_over_two_nodes(&face, "mpiexec.mpich -genvlist SLURM_JOB_ID");
    face.to_zero();
}

#[test]
fn mpich_starts_by_srun_over_nodes() {
    if !have(&MPICH) {
        return;
    }
    let face = face_with_programs("mpich-srun", MPICH[0]);
    programs_over_two_nodes(&face, "srun");
    let (code, out) = batch(&face, "-N 2 -n 4 --mem=600M", "srun --mpi=pmi2 ./hello");
    assert_eq!(code, 0, "{out}");
    all_ranks_on_nodes(&out, 4, 2);
    // Outside an allocation srun gets one.
    let said = face.shell("srun -N 2 -n 2 --mem=600M ./hello").expect_code(0);
    all_ranks_on_nodes(&said.out, 2, 2);
    face.to_zero();
}

/// Slurm's own client library of PMI-2 speaks to our server.
#[test]
fn slurms_pmi2_library_meets_its_ranks_by_srun() {
    if !have(&["cc", "/usr/include/slurm/pmi2.h"]) {
        return;
    }
    let face = Face::new("pmi2");
    let source = own("mpi").join("pmi2.c");
    face.asks(&format!("cc -O1 -Wall -Werror -o meet '{}' -lpmi2", source.display()));
    let (code, out) = batch(&face, "-N 2 --ntasks-per-node=2", "srun -l --mpi=pmi2 ./meet | sort");
    assert_eq!(code, 0, "{out}");
    let plain: Vec<&str> = out.lines().map(|line| line.split_once(": ").unwrap().1).collect();
    all_ranks_on_nodes(&plain.join("\n"), 4, 2);
    // Three on the first node, one on the second, and all on one.
    let (code, out) = batch(&face, "-N 2 -n 4", "srun -m plane=3 --mpi=pmi2 ./meet | sort");
    assert_eq!(code, 0, "{out}");
    all_ranks_on_nodes(&out, 4, 2);
    let (code, out) = batch(&face, "-N 1 -n 2", "srun --mpi=pmi2 ./meet | sort");
    assert_eq!(code, 0, "{out}");
    all_ranks_on_nodes(&out, 2, 1);
    let (code, out) = batch(&face, "-N 2 -n 2", "srun --mpi=pmi2 ./meet 1");
    assert!(code != 0 && out.contains("enough; of this = that"), "{code}: {out}");
    face.to_zero();
}

#[test]
fn lammps_finds_the_same_energies_on_one_two_and_four_ranks() {
    if !have(&["lmp", "mpirun.openmpi"]) {
        return;
    }
    let Some(input) = shared("data/mpi/in.melt") else { return };
    let face = Face::new("lammps");
    fs::copy(input, face.cluster().work().join("in.melt")).unwrap();
    let mut energies: Vec<Vec<String>> = Vec::new();
    for (ranks, options) in [(1, "-n 1"), (2, "-n 2 -N 1"), (4, "-N 2 --ntasks-per-node=2")] {
        let text = "mpirun.openmpi lmp -in in.melt -log none";
        let (code, out) = batch(&face, &format!("{options} --mem=1G"), text);
        assert_eq!(code, 0, "{out}");
        assert!(out.contains(&format!("on {ranks} procs for 200 steps")), "{out}");
        energies.push(thermo(&out));
    }
    assert_eq!(energies[0].len(), 5, "steps 0, 50, 100, 150, 200: {energies:?}");
    assert_eq!(energies[0], energies[1]);
    assert_eq!(energies[0], energies[2]);
    face.to_zero();
}

/// Step, temperature and energies of each line that LAMMPS prints of its run.
fn thermo(out: &str) -> Vec<String> {
    let from = out.lines().skip_while(|line| !line.trim_start().starts_with("Step Temp"));
    let rows = from.skip(1).take_while(|line| !line.starts_with("Loop time"));
    rows.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
