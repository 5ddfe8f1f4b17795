//! `why`, cause by cause.
use super::rows::Filter;
use super::samples::{admin, config, config_of, spec, user};
use super::tests::{Lab, row};
use super::{Cx, status};
use pcluster_api::{JobState, WhyView};
use pcluster_core::event::LaunchErrorClass;
use pcluster_core::input::{JobTarget, LaunchError, Request};
use pcluster_model::job::MemoryAsk;
use pcluster_model::{Dependency, DependencyKind, DurationMs, JobSpec};
use pcluster_wire::Exit;

fn fact<'a>(why: &'a WhyView, label: &str) -> &'a str {
    let found = why.facts.iter().find(|(known, _)| known == label);
    found.map_or_else(|| panic!("no {label} in {why:?}"), |(_, text)| text)
}

#[test]
fn why_names_the_nearest_node_and_the_change_that_fits() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config_of("cpus = 4, memory = \"8 GB\", max = 1", ""));
    lab.submit(&ana, spec("index", 3, 600_000));
    lab.boot();
    lab.start();
    let job = lab.submit(&ana, spec("align", 2, 600_000));
    let why = lab.why(&ana, job);
    assert_eq!(why.word, "pool_max");
    assert!(why.headline.starts_with("job 2 (align) waits for room"), "{}", why.headline);
    assert_eq!(fact(&why, "nodes"), "compute-1  1 of 2 CPUs free   <- nearest");
    assert_eq!(why.change[0], "-c 1 would start it now on compute-1");
    let target = JobTarget { job, tasks: None };
    lab.ask(&ana, Request::Cancel(target));
    let mut asked = spec("fold", 1, 600_000);
    asked.memory = MemoryAsk::PerNode(4 << 30);
    let job = lab.submit(&ana, asked);
    let why = lab.why(&ana, job);
    assert!(fact(&why, "nodes").contains("of 4 GB free"), "{why:?}");
    assert_eq!(why.change[0], "--mem 2G would start it now on compute-1");
}

#[test]
fn why_of_a_dependency_counts_and_says_never() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let first = lab.submit(&ana, spec("call", 2, 600_000));
    let after = Dependency {
        kind: DependencyKind::AfterOk,
        job: first,
        task: None,
        delay_ms: DurationMs::ZERO,
    };
    let second =
        lab.submit(&ana, JobSpec { dependencies: vec![after], ..spec("joint", 1, 600_000) });
    assert_eq!(
        lab.why(&ana, second).headline,
        "job 2 (joint) waits for job 1 (call, afterok): it waits itself"
    );
    lab.boot();
    lab.start();
    lab.end(Exit::Code(1));
    let why = lab.why(&ana, second);
    assert_eq!(why.word, "dependency_failed");
    assert_eq!(
        why.headline,
        "job 2 (joint) can never start: it needs job 1, and 1 failed (exit 1)"
    );
    assert_eq!(why.change, ["pcluster rerun --failed 1   then   pcluster update 2 --after-ok ID"]);
}

#[test]
fn a_held_job_says_who_holds_it() {
    let (ana, bo) = (user("ana", 1000), user("bo", 1001));
    let mut lab = Lab::new(config());
    let job = lab.submit(&ana, JobSpec { hold: true, ..spec("train", 1, 600_000) });
    assert_eq!(lab.why(&ana, job).headline, "job 1 (train) is held by you");
    assert_eq!(lab.why(&bo, job).headline, "job 1 (train) is held by ana");
    assert_eq!(lab.rows(&ana, &Filter::default()), [row("1", JobState::Held)]);
}

#[test]
fn a_booting_node_is_named_with_its_phase() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let job = lab.submit(&ana, spec("align", 2, 600_000));
    lab.pass(DurationMs::from_secs(40));
    let why = lab.why(&ana, job);
    assert_eq!(why.headline, "job 1 (align) starts when its node has booted");
    assert_eq!(fact(&why, "phase"), "accepted; 40 s");
    assert_eq!(fact(&why, "why new"), "no node of pool compute is ready");
    lab.boot();
    lab.start();
    let next = lab.submit(&ana, spec("index", 4, 600_000));
    let why = lab.why(&ana, next);
    assert_eq!(fact(&why, "phase"), "accepted; 0 s of usually 40 s");
    assert_eq!(why.headline, "job 2 (index) starts at about 12:01: its node is booting");
}

#[test]
fn a_budget_says_what_is_spent_and_when_it_resets() {
    let ana = user("ana", 1000);
    let pool = "cpus = 4, memory = \"8 GB\", max = 2, price = \"$0.36/h\"";
    let mut lab = Lab::new(config_of(pool, "budget = { month = \"$0.20\" }"));
    let job = lab.submit(&ana, spec("fold", 2, 3_600_000));
    let why = lab.why(&ana, job);
    assert_eq!(why.word, "budget");
    assert_eq!(why.headline, "job 1 (fold) waits for money: the month's budget of this cluster");
    assert_eq!(fact(&why, "spent"), "$0.00 of $0.20; living nodes may take $0.00 in all");
    assert!(fact(&why, "needs").ends_with("$0.20 is left; resets 1 Dec 00:00"), "{why:?}");
    assert_eq!(why.change.last().unwrap(), "month in [budget] (admin)");
    let status = status::view(&lab.cx(&admin()), status::HeadFacts::default());
    assert_eq!(status.attention[0].1, "0 % of the month's $0.20 is used; 1 job waits for it");
}

#[test]
fn a_provider_without_capacity_is_quoted_and_needs_attention() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    lab.refusal = Some(LaunchError {
        class: LaunchErrorClass::NoCapacity,
        message: "InsufficientInstanceCapacity".into(),
    });
    let job = lab.submit(&ana, spec("assembly", 2, 600_000));
    lab.pass(DurationMs::from_secs(10));
    let why = lab.why(&ana, job);
    assert_eq!(why.word, "no_capacity");
    assert_eq!(
        why.headline,
        "job 1 (assembly) waits for capacity: process has no 4c at the moment"
    );
    assert_eq!(fact(&why, "answer"), "InsufficientInstanceCapacity");
    assert_eq!(fact(&why, "next try"), "12:03 (the first pause in a row)");
    let status = status::view(&lab.cx(&admin()), status::HeadFacts::default());
    let line = "no 4c: InsufficientInstanceCapacity; next try 12:03";
    assert!(status.attention.contains(&("compute".into(), line.into())), "{:?}", status.attention);
}

#[test]
fn what_has_run_out_of_memory_is_told_to_ask_for_more() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let job = lab.submit(&ana, spec("fold", 2, 600_000));
    lab.boot();
    lab.start();
    lab.end(Exit::OutOfMemory);
    let why = lab.why(&ana, job);
    assert_eq!(
        (why.word.as_str(), why.headline.as_str()),
        ("out_of_memory", "job 1 (fold) was ended for want of memory at 12:00")
    );
    assert!(why.change[0].starts_with("submit it again with more:  --mem "), "{why:?}");
    let others: Cx<'_> = lab.cx(&ana);
    assert!(
        !super::why::job(
            &Cx { reader: &user("bo", 1001), ..others },
            &lab.cluster.jobs[&job],
            None
        )
        .facts
        .iter()
        .any(|(label, _)| label == "memory")
    );
}
