//! What the tests of this room share.
use pcluster_api::{AllocationView, PartView};

/// Job 169 on `c1`, `c2`, … with so many CPUs each.
pub(super) fn allocation(cpus: &[u32]) -> AllocationView {
    let part = |(rank, cpus): (usize, &u32)| PartView {
        rank: u32::try_from(rank).unwrap_or(0),
        node: format!("c{}", rank + 1),
        cpus: *cpus,
        memory_bytes: 200 << 20,
        gpus: 0,
    };
    AllocationView {
        schema: String::new(),
        job: 169,
        task: None,
        raw_job: 169,
        run: 7,
        name: "env".into(),
        user: "ana".into(),
        uid: 1000,
        gid: 1000,
        account: "lab".into(),
        pool: "main".into(),
        cluster: "refc".into(),
        started: true,
        parts: cpus.iter().enumerate().map(part).collect(),
        ntasks: 4,
        ntasks_given: true,
        ntasks_per_node: None,
        cpus_per_task: 1,
        cpus_given: false,
        memory_per_cpu_bytes: None,
        work_dir: "/home/user/work".into(),
        time_limit_ms: None,
        started_at_ms: None,
    }
}

#[test]
fn every_variable_is_an_option_of_its_command() {
    use super::{asks, outside};
    use crate::options::{SALLOC, SRUN, from_environment};
    let lists = [
        (&SRUN, asks::VARIABLES),
        (&SRUN, outside::SRUN_VARIABLES),
        (&SALLOC, outside::SALLOC_VARIABLES),
    ];
    for (table, pairs) in lists {
        for (variable, option) in pairs {
            let said = from_environment(table, &[(variable, option)], |_| Some("1".into()));
            assert_eq!(said.said.len(), 1, "{variable}");
        }
    }
    let said = |value: &str| {
        let pairs = [("SLURM_DEBUG", "verbose")];
        from_environment(&SRUN, &pairs, |_| Some(value.to_owned())).count("verbose")
    };
    assert_eq!([said("0"), said("1"), said("3"), said("yes"), said("99")], [0, 1, 3, 1, 8]);
}

#[test]
fn each_command_says_in_its_own_words_that_a_job_runs_nowhere() {
    use super::inside::Nowhere;
    use pcluster_api::{Problem, ProblemKind};
    let no = Nowhere::No(Problem::new(ProblemKind::NotFound, "there is no job 9"));
    assert_eq!(
        no.of_srun("9").text(),
        "srun: error: Unable to confirm allocation for job 9: there is no job 9\n\
         srun: Check SLURM_JOB_ID environment variable. Expired or invalid job 9\n"
    );
    assert_eq!(
        no.of_sattach().text(),
        "sattach: error: Could not get job step info: Invalid job id specified\n\
         hint: there is no job 9\n"
    );
    let over = Nowhere::Over.of_sattach().text();
    assert!(over.starts_with("sattach: error: Could not get job step info: Job/step"), "{over}");
}

#[test]
fn a_task_of_an_array_is_named_by_its_index() {
    let of = |pairs: &'static [(&str, &str)]| {
        super::job_of(|name| {
            pairs.iter().find(|(its, _)| *its == name).map(|(_, value)| (*value).to_owned())
        })
    };
    assert_eq!(of(&[]), None);
    assert_eq!(of(&[("SLURM_JOBID", "7")]).as_deref(), Some("7"));
    let array = &[("SLURM_JOB_ID", "9"), ("SLURM_ARRAY_JOB_ID", "9"), ("SLURM_ARRAY_TASK_ID", "3")];
    assert_eq!(of(array).as_deref(), Some("9_3"));
}
