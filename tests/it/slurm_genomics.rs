//! The genomics workflow by Snakemake's Slurm executor, unmodified, from zero nodes to zero: the
//! project's excerpt, and where it is there the full set; also with the head killed in the middle, and
//! with Snakemake itself as a job on a node.
use pcluster_tests::clients::{CLIENT_PATIENCE, Face, environment, have, shared};
use pcluster_tests::{repository, within};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Snakemake as a researcher starts it; its first look at the states comes soon.
const SNAKEMAKE: [&str; 14] = [
    "--executor",
    "slurm",
    "--jobs",
    "8",
    "--default-resources",
    "slurm_partition=main",
    "runtime=5",
    "mem_mb=300",
    "--latency-wait",
    "30",
    "--slurm-init-seconds-before-status-checks",
    "4",
    "--seconds-between-status-checks",
    "7",
];

/// A workflow with its data in a folder that a test may write to.
struct Workflow {
    face: Face,
    venv: PathBuf,
    folder: PathBuf,
    expected: String,
}

impl Workflow {
    /// `snakefile` over `data`; nothing where Snakemake or the tools are missing.
    fn of(label: &str, snakefile: &Path, data: &Path) -> Option<Self> {
        let venv = environment("snakemake")?;
        if !have(&["bwa", "samtools", "bcftools"]) {
            return None;
        }
        let face = Face::new(label);
        let folder = face.folder("lambda");
        for part in ["reference", "samples"] {
            symlink(data.join(part), folder.join(part)).unwrap();
        }
        fs::copy(snakefile, folder.join("Snakefile")).unwrap();
        let expected = fs::read_to_string(data.join("EXPECTED_counts.tsv")).unwrap();
        assert!(face.cluster().live_nodes().is_empty());
        Some(Self { face, venv, folder, expected })
    }

    fn excerpt(label: &str) -> Option<Self> {
        let here = repository().join("examples/genomics");
        Self::of(label, &here.join("Snakefile"), &here.join("lambda-excerpt"))
    }

    fn full(label: &str) -> Option<Self> {
        let data = shared("data/genomics")?;
        Self::of(label, &data.join("Snakefile"), &data.join("lambda"))
    }

    fn command(&self) -> Command {
        let program = self.venv.join("bin/snakemake");
        let mut command = self.face.command(&program, Some(&self.venv), &self.folder);
        command.args(SNAKEMAKE);
        command
    }

    #[track_caller]
    fn ends_with_the_expected_counts(&self) {
        let counts = fs::read_to_string(self.folder.join("counts.tsv")).unwrap_or_default();
        assert_eq!(counts, self.expected);
        let states = self.face.asks("sacct -X -n -P -o State | sort -u");
        assert_eq!(states, "COMPLETED", "every job ran once, and well");
        self.face.to_zero();
    }
}

#[test]
fn snakemake_counts_the_excerpt_from_zero_nodes_to_zero() {
    let Some(work) = Workflow::excerpt("smk-excerpt") else { return };
    work.face.say(&mut work.command()).expect_code(0);
    work.ends_with_the_expected_counts();
}

#[test]
fn snakemake_counts_the_full_set_with_the_head_killed_in_the_middle() {
    let Some(work) = Workflow::full("smk-full") else { return };
    let cluster = work.face.cluster();
    let snakemake = cluster.start(&mut work.command());
    // While the samples are mapped: some jobs run, others wait, the workflow polls.
    let mapping = within(CLIENT_PATIENCE, || work.folder.join("bam").exists().then_some(()));
    assert!(mapping.is_some(), "no sample was mapped: {}{}", snakemake.out(), snakemake.err());
    cluster.kill_head();
    cluster.up();
    let said = snakemake.ended(CLIENT_PATIENCE);
    assert_eq!(said.code, 0, "{said:#?}");
    work.ends_with_the_expected_counts();
}

#[test]
fn snakemake_itself_runs_as_a_job_on_a_node_and_submits_from_there() {
    let Some(work) = Workflow::excerpt("smk-on-node") else { return };
    let script = format!(
        "#!/bin/bash\n#SBATCH --job-name=workflow\n#SBATCH --mem=600M\n#SBATCH -t 20\n#SBATCH -o workflow.log\n\
         exec {} {}\n",
        work.venv.join("bin/snakemake").display(),
        SNAKEMAKE.join(" ")
    );
    fs::write(work.folder.join("workflow.sh"), script).unwrap();
    let mut command = work.face.command(Path::new("/bin/bash"), Some(&work.venv), &work.folder);
    command.args(["-c", "sbatch --parsable --wait workflow.sh"]);
    let said = work.face.say(&mut command);
    let log = fs::read_to_string(work.folder.join("workflow.log")).unwrap_or_default();
    assert_eq!(said.code, 0, "{said:#?}\n{log}");
    // The jobs were submitted where the workflow ran.
    let (id, rows) =
        (said.out.trim().to_owned(), work.face.asks("sacct -X -n -P -o JobID,JobName"));
    assert!(rows.lines().any(|row| row == format!("{id}|workflow")), "{rows}");
    assert!(rows.lines().count() > 8, "{rows}");
    work.ends_with_the_expected_counts();
}
