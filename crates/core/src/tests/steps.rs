//! Allocations, gangs and steps: what is granted, what ends them, and what stays of them.
use super::support::*;
use crate::effect::{Effect, Order};
use crate::input::{AgentSaid, Input, JobTarget, Request};
use crate::job::Outcome;
use crate::reply::{RejectionKind, Reply};
use crate::step::{StepAsk, StepPartEnd};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::job::JobKind;
use pcluster_model::{DurationMs, JobId, JobSpec, NodeId, RunId, Timestamp};
use pcluster_wire::Exit;

fn whole(job: JobId) -> JobTarget {
    JobTarget { job, tasks: None }
}

fn ana() -> crate::Principal {
    user("ana", 1000)
}

fn gang(nodes: u32, kind: JobKind) -> JobSpec {
    JobSpec { nodes, tasks: nodes, kind, ..spec("gang", 2) }
}

/// A pool of two-CPU nodes with one job that runs on all its nodes.
fn running(spec: JobSpec) -> (Small, JobId, Vec<(NodeId, RunId)>) {
    let mut small = Small::new(config(3, vec![shape("2c", 2, 0)]));
    let job = small.submit(spec);
    small.boot();
    let parts = small.run_all();
    (small, job, parts)
}

fn ask(tasks: &[u32], cpus_per_task: u32) -> StepAsk {
    StepAsk { tasks: tasks.into(), cpus_per_task, name: "s".into(), ..StepAsk::default() }
}

fn make(small: &mut Small, run: RunId, ask: StepAsk) -> Result<u32, RejectionKind> {
    match small.ask(&ana(), Request::MakeStep { run, ask }) {
        Reply::StepGranted { step, .. } => Ok(step),
        Reply::Rejected(no) => Err(no.kind),
        other => panic!("{other:?}"),
    }
}

fn end_step(small: &mut Small, run: RunId, step: u32, rank: u32, end: StepPartEnd) -> Reply {
    small.ask(&ana(), Request::EndStep { run, step, rank, end })
}

fn ended(code: i32) -> StepPartEnd {
    StepPartEnd { exit_code: code, user_cpu_ms: 70, ..StepPartEnd::default() }
}

#[test]
fn steps_are_numbered_from_zero_and_share_no_cpu_unless_asked() {
    let (mut small, _, parts) = running(gang(2, JobKind::Batch));
    let run = parts[0].1;
    assert_eq!(make(&mut small, run, ask(&[1, 0], 1)), Ok(0));
    assert_eq!(make(&mut small, run, ask(&[1, 2], 1)), Ok(1));
    assert_eq!(make(&mut small, run, ask(&[1, 0], 1)), Err(RejectionKind::Busy));
    assert_eq!(make(&mut small, run, ask(&[0, 3], 1)), Err(RejectionKind::Refused));
    assert_eq!(make(&mut small, run, ask(&[0, 0], 1)), Err(RejectionKind::BadRequest));
    assert_eq!(make(&mut small, run, ask(&[1], 1)), Err(RejectionKind::BadRequest));
    let endless = StepAsk { overlap: true, ..ask(&[u32::MAX, u32::MAX], u32::MAX) };
    assert_eq!(make(&mut small, run, endless), Err(RejectionKind::BadRequest));
    let beside = StepAsk { overlap: true, ..ask(&[4, 4], 2) };
    assert_eq!(make(&mut small, run, beside), Ok(2));
    end_step(&mut small, run, 1, 0, ended(0));
    assert_eq!(make(&mut small, run, ask(&[1, 0], 1)), Ok(3), "one part of step 1 has ended");
    assert_eq!(make(&mut small, run, ask(&[0, 1], 1)), Err(RejectionKind::Busy));
    assert!(small.cluster.steps[&run][1].ended_at.is_none());
    end_step(&mut small, run, 1, 1, ended(3));
    assert!(small.cluster.steps[&run][1].ended_at.is_some());
    small.check_replay();
}

#[test]
fn a_repeated_request_is_the_same_step_and_a_repeated_end_changes_nothing() {
    let (mut small, _, parts) = running(gang(1, JobKind::Batch));
    let run = parts[0].1;
    let keyed = || StepAsk { key: "k".into(), ..ask(&[2], 1) };
    assert_eq!(make(&mut small, run, keyed()), Ok(0));
    assert_eq!(make(&mut small, run, keyed()), Ok(0));
    end_step(&mut small, run, 0, 0, ended(3));
    let log = small.log.len();
    end_step(&mut small, run, 0, 0, ended(4));
    assert_eq!(small.log.len(), log);
    assert_eq!(small.cluster.steps[&run][0].ends().next().map(|end| end.exit_code), Some(3));
    let stranger = small.ask(&user("bo", 1001), Request::MakeStep { run, ask: ask(&[1], 1) });
    assert!(matches!(stranger, Reply::Rejected(no) if no.kind == RejectionKind::NotAllowed));
}

#[test]
fn steps_end_with_their_run_and_late_news_of_them_still_counts() {
    let (mut small, job, parts) = running(gang(1, JobKind::Batch));
    let (node, run) = parts[0];
    for _ in 0..2 {
        make(&mut small, run, ask(&[1], 1)).expect("room");
    }
    small.end(node, run, Exit::Code(0));
    let steps = &small.cluster.steps[&run];
    assert!(steps.iter().all(|step| step.ended_at.is_some() && step.cancelled));
    end_step(&mut small, run, 0, 0, ended(0));
    end_step(&mut small, run, 1, 0, StepPartEnd { signal: 15, ..ended(0) });
    let steps = &small.cluster.steps[&run];
    assert_eq!((steps[0].cancelled, steps[1].cancelled), (false, true));
    assert_eq!(small.cluster.jobs[&job].finished[&0].outcome, Outcome::Completed);
    assert_eq!(make(&mut small, run, ask(&[1], 1)), Err(RejectionKind::NotFound));
    small.check_replay();
}

#[test]
fn the_end_of_the_script_ends_the_others_and_all_have_answered_before_it_is_over() {
    let (mut small, job, parts) = running(gang(3, JobKind::Batch));
    let run = parts[0].1;
    let first = small.cluster.runs[&run].parts[0].part.node;
    assert_eq!(parts.last().map(|(node, _)| *node), Some(first), "the script starts last");
    small.waiting.clear();
    small.end(first, run, Exit::Code(7));
    let told: Vec<NodeId> = small
        .waiting
        .iter()
        .filter_map(|effect| match effect {
            Effect::Tell { node, order: Order::End { .. }, .. } => Some(*node),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 2);
    assert_eq!(small.cluster.nodes[&first].held.cpus, 0, "its room is free at once");
    for node in &told {
        assert!(small.cluster.jobs[&job].finished.is_empty());
        small.end(*node, run, Exit::Ended { code: 0, signal: 15 });
    }
    assert_eq!(small.cluster.jobs[&job].finished[&0].outcome, Outcome::Failed { code: 7 });
    small.check_replay();
}

#[test]
fn a_node_that_cannot_prepare_a_gang_costs_no_attempt() {
    let mut small = Small::new(config(3, vec![shape("2c", 2, 0)]));
    let job = small.submit(JobSpec { requeue: false, ..gang(2, JobKind::Batch) });
    small.boot();
    let (node, run) = small.started()[0];
    let why = "no blob".into();
    small.give(Input::AgentSaid { node, said: AgentSaid::NotStarted { run, why } });
    let first = small.cluster.runs[&run].parts[0].part.node;
    let why = "ended before it came here".into();
    small.give(Input::AgentSaid { node: first, said: AgentSaid::NotStarted { run, why } });
    let known = &small.cluster.jobs[&job];
    assert!(known.finished.is_empty(), "it waits again, whatever it says of requeueing");
    assert_eq!(known.numbers[&0].attempts, known.live.len() as u32);
    assert!(small.cluster.nodes[&first].is_ready(), "only the other one is unfit");
    small.check_replay();
}

#[test]
fn an_allocation_is_given_back_with_the_code_of_its_command() {
    let (mut small, job, parts) = running(gang(2, JobKind::Allocation));
    let give = |target| Request::Finish { target, exit_code: 3, signal: 0 };
    small.ask(&ana(), give(whole(job)));
    for (node, run) in &parts {
        small.end(*node, *run, Exit::Ended { code: 0, signal: 15 });
    }
    assert_eq!(small.cluster.jobs[&job].finished[&0].outcome, Outcome::Failed { code: 3 });
    assert!(matches!(small.ask(&ana(), give(whole(job))), Reply::Done { changed: 0, .. }));
    let script = small.submit(spec("script", 1));
    assert!(matches!(small.ask(&ana(), give(whole(script))), Reply::Rejected(_)));
    small.check_replay();
}

#[test]
fn an_allocation_ends_when_nobody_renews_it() {
    let lease = Some(DurationMs::from_secs(120));
    let (mut small, job, parts) =
        running(JobSpec { lease_ms: lease, ..gang(1, JobKind::Allocation) });
    for _ in 0..5 {
        small.pass(DurationMs::from_secs(100));
        assert!(matches!(small.ask(&ana(), Request::Renew(whole(job))), Reply::Done { .. }));
    }
    small.ask(&user("bo", 1001), Request::Renew(whole(job)));
    small.pass(DurationMs::from_secs(110));
    small.ask(&user("bo", 1001), Request::Renew(whole(job)));
    assert!(small.events_of("end_wanted").is_empty());
    small.pass(DurationMs::from_secs(20));
    assert_eq!(small.events_of("end_wanted").len(), 1, "the word of a stranger keeps nothing");
    small.end(parts[0].0, parts[0].1, Exit::Ended { code: 0, signal: 15 });
    let outcome = small.cluster.jobs[&job].finished[&0].outcome.clone();
    assert_eq!(outcome, Outcome::ClientGone, "nobody cancelled it");
    small.check_replay();
    assert!(matches!(small.ask(&ana(), Request::Renew(whole(job))), Reply::Rejected(_)));
}

#[test]
fn a_suspended_run_keeps_its_room_and_gets_no_steps() {
    let (mut small, job, parts) = running(gang(1, JobKind::Batch));
    let (node, run) = parts[0];
    small.waiting.clear();
    // Its user could wake it, and would have no time limit.
    assert!(matches!(small.ask(&ana(), Request::Suspend(whole(job))), Reply::Rejected(_)));
    small.ask(&root(), Request::Suspend(whole(job)));
    let order = small.waiting.iter().find_map(|effect| match effect {
        Effect::Tell { order: Order::Suspend { suspended, .. }, .. } => Some(*suspended),
        _ => None,
    });
    assert_eq!(order, Some(true));
    assert_eq!(small.cluster.nodes[&node].held.cpus, 2);
    assert_eq!(make(&mut small, run, ask(&[1], 1)), Err(RejectionKind::Busy));
    small.pass(DurationMs::from_secs(50));
    assert!(matches!(
        small.ask(&root(), Request::Suspend(whole(job))),
        Reply::Done { changed: 0, .. }
    ));
    small.ask(&root(), Request::Continue(whole(job)));
    let stood = small.cluster.runs[&run].suspended_ms;
    assert!(stood >= DurationMs::from_secs(50));
    small.end(node, run, Exit::Code(0));
    let last = small.cluster.jobs[&job].finished[&0].last.as_ref();
    assert_eq!(last.map(|last| last.suspended_ms), Some(stood));
    small.check_replay();
}

#[test]
fn a_deadline_gives_up_what_waits_and_ends_what_runs() {
    let mut small = Small::new(config(1, vec![shape("2c", 2, 0)]));
    let limit = Some(DurationMs::from_mins(10));
    let deadline = Some(Timestamp(small.now.0 + 30 * 60_000));
    let timed = JobSpec { time_limit_ms: limit, deadline, ..spec("timed", 2) };
    let first = small.submit(timed.clone());
    let second = small.submit(timed.clone());
    small.boot();
    let (node, run) = small.run_all()[0];
    small.pass(DurationMs::from_mins(21));
    let of = |small: &Small, job: JobId| {
        small.cluster.jobs[&job].finished.get(&0).map(|end| end.outcome.clone())
    };
    assert_eq!(of(&small, second), Some(Outcome::DeadlineMissed), "it could not end in time");
    assert_eq!(of(&small, first), None);
    small.pass(DurationMs::from_mins(10));
    assert!(small.cluster.runs[&run].is_ending());
    small.end(node, run, Exit::Ended { code: 0, signal: 15 });
    assert_eq!(of(&small, first), Some(Outcome::DeadlineMissed));
    let late = Request::Submit { spec: timed.into(), key: None };
    assert!(matches!(small.ask(&ana(), late), Reply::Rejected(_)));
    small.check_replay();
}

#[test]
fn features_names_and_gpus_decide_where_a_job_may_run() {
    let gpu = |name: &str, kind: &str| {
        let mut shape = shape(name, 2, 10);
        (shape.total.gpus, shape.gpu_type) = (1, kind.into());
        shape
    };
    let mut small = Small::new(config(9, vec![gpu("g-a100", "a100"), gpu("g-l4", "l4")]));
    let one = || JobSpec { gpus_per_node: 1, ..spec("j", 1) };
    let l4 = small.submit(JobSpec { gpu_type: "l4".into(), ..one() });
    let a100 = small.submit(JobSpec { features: vec!["lab".into(), "a100".into()], ..one() });
    small.boot();
    let shape_of = |small: &Small, job: JobId| {
        let run = small.cluster.jobs[&job].live[&0];
        let node = small.cluster.runs[&run].parts[0].part.node;
        let node = &small.cluster.nodes[&node];
        (node.name.clone(), node.shape.name.clone())
    };
    assert_eq!(shape_of(&small, l4).1, "g-l4");
    let (taken, shape) = shape_of(&small, a100);
    assert_eq!(shape, "g-a100");
    // A free CPU is there on both; the excluded one is not used, and no new one gets its name.
    let elsewhere = JobSpec { not_nodes: vec![taken, "compute-3".into()], ..spec("x", 1) };
    let elsewhere = small.submit(elsewhere);
    assert_eq!(shape_of(&small, elsewhere).1, "g-l4");
    let named = JobSpec { only_nodes: vec!["compute-7".into()], ..spec("n", 1) };
    let named = small.submit(named);
    small.boot();
    assert_eq!(shape_of(&small, named).0, "compute-7", "a node that could be gets that name");
    let no = |small: &mut Small, spec: JobSpec| match small
        .ask(&ana(), Request::Submit { spec: spec.into(), key: None })
    {
        Reply::Rejected(no) => no.message,
        other => panic!("{other:?}"),
    };
    let message = no(&mut small, JobSpec { features: vec!["fast".into()], ..spec("f", 1) });
    assert_eq!(message, "no node of pool compute has the feature fast");
    let message = no(&mut small, JobSpec { only_nodes: vec!["gpu-1".into()], ..spec("f", 1) });
    assert_eq!(message, "pool compute has no node gpu-1");
    small.check_replay();
}

#[test]
fn one_of_several_features_is_enough_and_a_gang_may_want_the_same_one() {
    let shapes = vec![shape("big", 4, 90), shape("mid", 4, 50), shape("low", 4, 10)];
    let mut small = Small::new(config(9, shapes));
    let names = |choices: &[&[&str]]| -> Vec<Vec<String>> {
        choices.iter().map(|one| one.iter().map(|name| (*name).into()).collect()).collect()
    };
    let asked = |choices: &[&[&str]]| JobSpec { feature_choices: names(choices), ..spec("j", 4) };
    let either = small.submit(asked(&[&["big"], &["lab", "mid"]]));
    let gang = JobSpec { nodes: 2, tasks: 2, ..asked(&[&["big"], &["mid"]]) };
    let same = small.submit(JobSpec { same_choice: true, ..gang });
    small.boot();
    let shapes_of = |small: &Small, job: JobId| -> Vec<String> {
        let run = &small.cluster.runs[&small.cluster.jobs[&job].live[&0]];
        run.parts.iter().map(|p| small.cluster.nodes[&p.part.node].shape.name.clone()).collect()
    };
    assert_eq!(shapes_of(&small, either), ["mid"], "the cheaper of the two");
    assert_eq!(shapes_of(&small, same), ["mid", "mid"]);
    let settled = &small.cluster.jobs[&same].spec;
    assert_eq!((settled.features.as_slice(), settled.same_choice), (&["mid".into()][..], false));
    // What has just become free is used by whoever may: `low` is no choice of theirs.
    let low = small.submit(spec("low", 4));
    let again = small.submit(asked(&[&["big"], &["mid"]]));
    small.boot();
    assert_eq!(
        (shapes_of(&small, low), shapes_of(&small, again)),
        (vec!["low".into()], vec!["mid".into()])
    );
    let no = |small: &mut Small, spec: JobSpec| match small
        .ask(&ana(), Request::Submit { spec: spec.into(), key: None })
    {
        Reply::Rejected(no) => no.message,
        other => panic!("{other:?}"),
    };
    let message = no(&mut small, asked(&[&["big"], &["fast"]]));
    assert_eq!(message, "no node of pool compute has the feature fast");
    let message = no(&mut small, asked(&[&["big", "mid"], &["mid", "low"]]));
    assert_eq!(message, "no node of pool compute has these features together");
    small.check_replay();
}

#[test]
fn a_dependency_on_the_number_of_a_task_is_one_on_that_task() {
    let mut small = Small::new(config(1, vec![shape("2c", 2, 0)]));
    let tasks = small.submit(array("tasks", 1, 1..=3));
    small.boot();
    let own = small.cluster.jobs[&tasks].numbers[&1].raw_job;
    assert_ne!(own, tasks);
    let after = pcluster_model::Dependency {
        kind: pcluster_model::DependencyKind::AfterOk,
        job: own,
        task: None,
        delay_ms: DurationMs::ZERO,
    };
    let waiting = small.submit(JobSpec { dependencies: vec![after], ..spec("next", 1) });
    let known = small.cluster.jobs[&waiting].spec.dependencies[0];
    assert_eq!((known.job, known.task), (tasks, Some(1)));
    let unknown = pcluster_model::Dependency { job: JobId(99), ..after };
    let never = JobSpec { dependencies: vec![unknown], ..spec("never", 1) };
    let reply = small.ask(&ana(), Request::Submit { spec: never.into(), key: None });
    assert!(matches!(reply, Reply::Rejected(no) if no.kind == RejectionKind::NotFound));
}

#[test]
fn steps_hold_gpus_of_their_job_and_wait_for_those_of_others() {
    let mut rich = shape("g2", 4, 10);
    (rich.total.gpus, rich.gpu_type) = (2, "t4".into());
    let mut small = Small::new(config(1, vec![rich]));
    small.submit(JobSpec { gpus_per_node: 2, ..spec("j", 4) });
    small.boot();
    let run = small.run_all()[0].1;
    let with = |gpus: u32| StepAsk { gpus: vec![gpus], ..ask(&[1], 1) };
    let make = |small: &mut Small, ask: StepAsk| match small
        .ask(&user("ana", 1000), Request::MakeStep { run, ask })
    {
        Reply::StepGranted { step, .. } => Ok(step),
        Reply::Rejected(no) => Err((no.kind, no.message)),
        other => panic!("{other:?}"),
    };
    let (kind, message) = make(&mut small, with(3)).unwrap_err();
    assert_eq!((kind, message.contains("fewer GPUs")), (RejectionKind::Refused, true));
    assert_eq!(make(&mut small, with(1)), Ok(0));
    // Without GPUs of its own it holds none.
    assert_eq!(make(&mut small, ask(&[1], 1)), Ok(1));
    let (kind, message) = make(&mut small, with(2)).unwrap_err();
    assert_eq!((kind, message.contains("hold the GPUs")), (RejectionKind::Busy, true));
    assert_eq!(make(&mut small, StepAsk { overlap: true, ..with(2) }), Ok(2));
    let end = Request::EndStep { run, step: 0, rank: 0, end: StepPartEnd::default() };
    small.ask(&user("ana", 1000), end);
    assert_eq!(make(&mut small, with(2)), Ok(3));
    small.check_replay();
}
