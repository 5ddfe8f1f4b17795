use super::*;
use crate::submit::options::LineOptions;
use clap::Parser;
use jiff::tz::TimeZone;
use pcluster_model::MicroUsd;

fn facts() -> ProcessFacts {
    ProcessFacts {
        work_dir: Some("/shared/ana".into()),
        umask: Some(0o022),
        ..ProcessFacts::default()
    }
}

fn built(words: &[&str]) -> Result<JobSpec, Failure> {
    let options = LineOptions::try_parse_from(words).expect("words of the test").job;
    let now =
        jiff::Timestamp::from_second(1_795_440_000).expect("a moment").to_zoned(TimeZone::UTC);
    build(&options, "align.sh", vec!["s1".into()], &facts(), Face::Submit, &now).map(|(s, _)| s)
}

#[test]
fn nothing_asked_is_one_cpu_for_the_pools_time() {
    let spec = built(&[]).unwrap();
    assert_eq!(
        (spec.name.as_str(), spec.nodes, spec.tasks, spec.cpus_per_task),
        ("align", 1, 1, 1)
    );
    assert_eq!(spec.memory, MemoryAsk::Proportional);
    assert_eq!(spec.time_limit_ms, None);
    assert_eq!(spec.output, "pcluster-%j.out");
    assert_eq!(spec.work_dir, "/shared/ana");
    assert!(spec.requeue && spec.make_output_dirs);
}

#[test]
fn later_words_win() {
    let spec = built(&["--mem-per-cpu", "1G", "--mem", "2G", "-t", "1:00", "--time=2h"]).unwrap();
    assert_eq!(spec.memory, MemoryAsk::PerNode(2 << 30));
    assert_eq!(spec.time_limit_ms, Some(DurationMs::from_hours(2)));
    let spec = built(&["--no-requeue", "--requeue"]).unwrap();
    assert!(spec.requeue);
}

#[test]
fn unlimited_is_said_and_not_left_out() {
    assert_eq!(built(&["-t", "UNLIMITED"]).unwrap().time_limit_ms, Some(DurationMs::ZERO));
}

#[test]
fn tasks_and_nodes_follow_from_each_other() {
    let layout = |words: &[&str]| {
        let spec = built(words).unwrap();
        (spec.nodes, spec.tasks, spec.tasks_per_node)
    };
    assert_eq!(layout(&["-N2", "--ntasks-per-node=4"]), (2, 8, Some(4)));
    assert_eq!(layout(&["-n", "8", "--ntasks-per-node", "4"]), (2, 8, Some(4)));
    assert_eq!(layout(&["-N", "2-4"]), (2, 2, None));
    assert!(built(&["-N4", "-n2"]).is_err());
    assert!(built(&["-N0"]).is_err());
}

#[test]
fn gpus_of_the_job_are_spread_over_its_nodes() {
    let spec = built(&["-N2", "--gpus", "a10g:4"]).unwrap();
    assert_eq!((spec.gpus_per_node, spec.gpu_type.as_str()), (2, "a10g"));
    assert!(built(&["-N2", "--gpus", "3"]).is_err());
}

#[test]
fn arrays_have_a_file_for_each_task() {
    assert_eq!(built(&["-a", "1-4"]).unwrap().output, "pcluster-%A_%a.out");
}

#[test]
fn dependencies_of_both_kinds_of_words_add_up() {
    let spec = built(&["-d", "afterok:1", "--after", "2,3", "--after-start", "4"]).unwrap();
    let kinds: Vec<_> = spec.dependencies.iter().map(|d| (d.kind, d.job.0)).collect();
    assert_eq!(
        kinds,
        [
            (DependencyKind::AfterOk, 1),
            (DependencyKind::AfterAny, 2),
            (DependencyKind::AfterAny, 3),
            (DependencyKind::After, 4),
        ]
    );
}

#[test]
fn money_and_promises_are_kept_or_refused() {
    let spot = |word| built(&[word]).unwrap().spot.word();
    assert_eq!(["--spot", "--spot=no", "--spot=only"].map(spot), ["yes", "no", "only"].map(Some));
    assert_eq!(built(&["--spot=often"]).unwrap_err().exit_code(), 2);
    assert_eq!(built(&["--max-cost", "$2.50"]).unwrap().max_cost, Some(MicroUsd(2_500_000)));
    assert_eq!(built(&["--max-cost", "free"]).unwrap_err().exit_code(), 2);
    assert!(built(&["--deadline", "18:00"]).unwrap().deadline.is_some());
}

#[test]
fn wrong_values_are_usage_errors() {
    for words in [["--mem", "lots"], ["--time", "soon"], ["-p", "../x"], ["-o", ""], ["-J", ""]] {
        assert_eq!(built(&words).unwrap_err().exit_code(), 2, "{words:?}");
    }
}

#[test]
fn names_are_taken_literally() {
    assert_eq!(built(&["-J", "; rm -rf ~ $(id)"]).unwrap().name, "; rm -rf ~ $(id)");
    assert_eq!(built(&["--job-name=--config=/x"]).unwrap().name, "--config=/x");
}

#[test]
fn a_relative_chdir_starts_from_here() {
    assert_eq!(built(&["-D", "run7"]).unwrap().work_dir, "/shared/ana/run7");
}
