//! The main job and what can get in its way.
use super::support::*;
use crate::NodeState;
use crate::effect::{Effect, Order};
use crate::event::{Event, StopCause};
use crate::input::{AgentSaid, Input, JobTarget, Request};
use crate::job::Outcome;
use crate::ledger::Sums;
use crate::plan::Wait;
use crate::reason::Reason;
use crate::reply::{RejectionKind, Reply};
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::job::MemoryAsk;
use pcluster_model::{
    Dependency, DependencyKind, DurationMs, JobId, JobSpec, MicroUsd, NodeId, Resources, Timestamp,
};
use pcluster_wire::{Exit, Facts, RunReport};

fn two_cpu_cluster() -> Small {
    Small::new(config(4, vec![shape("1c", 1, 50_000), shape("2c", 2, 100_000)]))
}

#[test]
fn a_job_makes_a_node_appear_runs_and_the_node_goes_away() {
    let mut small = two_cpu_cluster();
    let job = small.submit(spec("align", 2));
    assert!(matches!(
        small.cluster.reason(&small.cluster.jobs[&job], small.now),
        Reason::Waits(Some(Wait::NodeWanted { .. }))
    ));
    small.boot();
    let started = small.started();
    assert_eq!(started.len(), 1);
    small.now = small.now + DurationMs::from_mins(10);
    let (node, run) = started[0];
    small.end(node, run, Exit::Code(0));
    assert_eq!(small.cluster.jobs[&job].finished[&0].outcome, Outcome::Completed);
    small.pass(DurationMs::from_secs(61));
    small.provide();
    assert!(matches!(small.cluster.nodes[&node].state, NodeState::Gone { .. }));
    assert_eq!(
        small.kinds(),
        [
            "cluster_created",
            "head_started",
            "config_changed",
            "job_submitted",
            "launch_wanted",
            "instance_seen",
            "node_joined",
            "node_ready",
            "job_placed",
            "run_ended",
            "node_draining",
            "node_stopping",
            "node_gone",
            "span_closed",
        ]
    );
    let span = &small.cluster.ledger.spans[&node];
    let mut sums = Sums::default();
    span.charges.iter().for_each(|charge| sums.add(charge.1, charge.2));
    assert_eq!(sums.total(), span.total);
    // 10 minutes of the whole machine at $0.10 an hour.
    assert_eq!(sums.job, MicroUsd(16_667));
    small.check_replay();
}

#[test]
fn a_cheaper_machine_for_all_is_taken_when_many_wait() {
    let shapes = vec![shape("1c", 1, 50_000), shape("8c", 8, 200_000)];
    let mut small = Small::new(config(10, shapes));
    small.submit(array("map", 1, 1..=8));
    let launches = small.events_of("launch_wanted");
    // One machine for all eight was cheaper than eight small ones; capacity that boots counts.
    assert_eq!(launches.len(), 1);
    let Event::LaunchWanted { intent } = launches[0] else { panic!("other event") };
    assert_eq!((intent.shape.name.as_str(), intent.names.len()), ("8c", 1));
    small.boot();
    assert_eq!(small.started().len(), 8);
    assert_eq!(small.events_of("tasks_placed").len(), 1);
    assert_eq!(small.events_of("launch_wanted").len(), 1);
    small.check_replay();
}

#[test]
fn the_last_task_of_an_array_keeps_its_id() {
    let mut small = Small::new(config(10, vec![shape("8c", 8, 0)]));
    let job = small.submit(array("map", 1, 1..=3));
    small.boot();
    let numbers = small.cluster.jobs[&job].numbers.values();
    let raw: Vec<JobId> = numbers.map(|numbers| numbers.raw_job).collect();
    assert_eq!(raw, [JobId(2), JobId(3), JobId(1)]);
    // Each is found by its own, also when it is over; the array's names the array.
    let (node, run) = small.run_all()[0];
    small.end(node, run, Exit::Code(0));
    assert_eq!(small.cluster.jobs[&job].finished.len(), 1);
    let found = [1, 2, 3, 4].map(|id| small.cluster.task_with_id(JobId(id)));
    assert_eq!(found, [None, Some((job, 1)), Some((job, 2)), None]);
    small.check_replay();
}

/// Two shapes at $1 and $8 an hour; a job of an hour on a whole machine that may cost `most`
/// dollars.
fn priced(most: i64, limit: Option<DurationMs>) -> (Small, Reply) {
    let shapes = vec![shape("2c", 2, 1_000_000), shape("16c", 16, 8_000_000)];
    let mut small = Small::new(config(4, shapes));
    let max_cost = Some(MicroUsd(most * 1_000_000));
    let asked = JobSpec { max_cost, time_limit_ms: limit, ..spec("dear", 2) };
    let reply = small.ask(&user("ana", 1000), Request::Submit { spec: asked.into(), key: None });
    (small, reply)
}

#[test]
fn a_job_that_could_cost_more_than_it_may_is_refused() {
    let word = |reply| match reply {
        Reply::Rejected(rejection) => rejection.word,
        _ => "",
    };
    let hours = |hours: u64| Some(DurationMs::from_mins(60 * hours));
    assert_eq!(word(priced(1, hours(1)).1), "");
    assert_eq!(word(priced(1, hours(2)).1), "max_cost");
    assert_eq!(word(priced(2, hours(2)).1), "");
    assert_eq!(word(priced(100, Some(DurationMs::ZERO)).1), "no_limit");
}

#[test]
fn a_job_too_large_is_refused_with_the_nearest_request() {
    let mut small = two_cpu_cluster();
    let asked = JobSpec { memory: MemoryAsk::PerNode(300 * GB), ..spec("big", 2) };
    let reply = small.ask(&user("ana", 1000), Request::Submit { spec: asked.into(), key: None });
    let Reply::Rejected(rejection) = reply else { panic!("accepted") };
    assert_eq!(rejection.message, "no node of this cluster can hold this job");
    assert_eq!(rejection.facts[0].1, "2 CPUs, 300 GB on one node");
    assert_eq!(rejection.hints, ["--mem 2G fits"]);
    assert!(small.cluster.jobs.is_empty());
}

#[test]
fn a_key_makes_a_retry_safe() {
    let mut small = two_cpu_cluster();
    let request = || Request::Submit { spec: spec("a", 1).into(), key: Some("k1".into()) };
    let first = small.ask(&user("ana", 1000), request());
    let again = small.ask(&user("ana", 1000), request());
    let other = small.ask(&user("bo", 1001), request());
    assert_eq!(first, Reply::Submitted { job: JobId(1), repeated: false });
    assert_eq!(again, Reply::Submitted { job: JobId(1), repeated: true });
    assert_eq!(other, Reply::Submitted { job: JobId(2), repeated: false });
}

#[test]
fn a_dependency_waits_and_a_failed_one_never_starts() {
    let mut small = Small::new(config(1, vec![shape("2c", 2, 0)]));
    let first = small.submit(spec("first", 2));
    let after = |kind| Dependency { kind, job: first, task: None, delay_ms: DurationMs::ZERO };
    let ok = small
        .submit(JobSpec { dependencies: vec![after(DependencyKind::AfterOk)], ..spec("ok", 1) });
    let any = small
        .submit(JobSpec { dependencies: vec![after(DependencyKind::AfterAny)], ..spec("any", 1) });
    let dependencies = vec![after(DependencyKind::AfterOk)];
    let gone = small.submit(JobSpec { dependencies, end_when_never: true, ..spec("gone", 1) });
    small.boot();
    let started = small.started();
    assert_eq!(started.len(), 1);
    small.end(started[0].0, started[0].1, Exit::Code(3));
    assert_eq!(small.cluster.jobs[&first].finished[&0].outcome, Outcome::Failed { code: 3 });
    assert!(small.cluster.jobs[&any].live.contains_key(&0));
    let reason = small.cluster.reason(&small.cluster.jobs[&ok], small.now);
    assert!(matches!(reason, Reason::DependencyNever(state) if state.failed == 1));
    small.pass(DurationMs::from_secs(1));
    let end = small.cluster.jobs[&gone].finished.get(&0).map(|end| &end.outcome);
    assert!(matches!(end, Some(Outcome::Cancelled { uid: None, .. })), "{end:?}");
    assert!(!small.cluster.jobs[&ok].pending.is_empty());
    small.check_replay();
}

#[test]
fn only_the_owner_or_an_admin_changes_a_job() {
    let mut small = two_cpu_cluster();
    let job = small.submit(spec("a", 1));
    let Reply::Rejected(no) = small.cancel(&user("bo", 1001), job) else { panic!("allowed") };
    assert_eq!(no.kind, RejectionKind::NotAllowed);
    let admin = crate::Principal { admin: true, ..user("root", 0) };
    assert!(matches!(small.cancel(&admin, job), Reply::Done { changed: 1, .. }));
    let outcome = &small.cluster.jobs[&job].finished[&0].outcome;
    assert_eq!(*outcome, Outcome::Cancelled { by: "root".into(), uid: Some(0) });
}

#[test]
fn a_cancelled_run_ends_only_when_its_node_says_so() {
    let mut small = two_cpu_cluster();
    let job = small.submit(spec("a", 1));
    small.boot();
    let (node, run) = small.started()[0];
    small.cancel(&user("ana", 1000), job);
    assert!(small.cluster.jobs[&job].live.contains_key(&0));
    small.end(node, run, Exit::Code(0));
    let end = &small.cluster.jobs[&job].finished[&0];
    assert_eq!(end.outcome, Outcome::Cancelled { by: "ana".into(), uid: Some(1000) });
    assert_eq!(end.last.as_ref().and_then(|past| past.exit.clone()), Some(Exit::Code(0)));
}

#[test]
fn after_a_crash_running_jobs_are_known_and_their_ends_arrive() {
    let mut small = two_cpu_cluster();
    let job = small.submit(spec("a", 1));
    small.boot();
    let (node, run) = small.started()[0];
    // The head dies: only rows are left.
    let rows: Vec<_> = small
        .cluster
        .all_rows()
        .into_iter()
        .map(|row| crate::rows::Row {
            table: row.table.into(),
            key: row.key,
            body: row.body.expect("complete"),
        })
        .collect();
    let (length, at) = (small.cluster.log_length(), small.cluster.last_at());
    small.cluster = crate::Cluster::from_rows(rows.into_iter(), length, at).expect("rows");
    small.waiting.clear();
    let config = small.cluster.config().cloned().expect("config");
    small.start(config);
    // Ten minutes without the head: nobody is given up before it has listened for a while.
    small.now = small.now + DurationMs::from_secs(30);
    small.give(Input::Tick);
    assert!(small.cluster.nodes[&node].is_ready());
    small.hello(node, vec![RunReport::Running { run, started_at: small.now }]);
    small.end(node, run, Exit::Code(7));
    assert_eq!(small.cluster.jobs[&job].finished[&0].outcome, Outcome::Failed { code: 7 });
    small.check_replay();
}

#[test]
fn a_silent_node_is_lost_then_ended_and_its_job_runs_again() {
    let mut small = two_cpu_cluster();
    let job = small.submit(spec("a", 1));
    small.boot();
    let (node, _) = small.started()[0];
    let silent = crate::AgentSaid::Disconnected;
    small.give(Input::AgentSaid { node, said: silent });
    small.pass(DurationMs::from_secs(40));
    assert!(matches!(small.cluster.nodes[&node].state, NodeState::Lost { .. }));
    // Not requeued: the run may still be alive there.
    assert!(small.cluster.jobs[&job].live.contains_key(&0));
    small.pass(DurationMs::from_mins(10));
    small.provide();
    assert!(matches!(small.cluster.nodes[&node].state, NodeState::Gone { .. }));
    assert_eq!(small.cluster.jobs[&job].numbers[&0].requeues, 1);
    small.boot();
    let (second, run) = small.started()[0];
    assert_ne!(second, node);
    small.end(second, run, Exit::Code(0));
    assert_eq!(small.cluster.jobs[&job].finished[&0].outcome, Outcome::Completed);
    small.check_replay();
}

#[test]
fn a_head_that_suspects_itself_ends_silent_nodes_at_last() {
    let mut small = Small::new(config(3, vec![shape("2c", 2, 0)]));
    let hours = Some(DurationMs::from_hours(9));
    for name in ["a", "b", "c"] {
        small.submit(JobSpec { time_limit_ms: hours, ..spec(name, 2) });
    }
    small.boot();
    let runs = small.run_all();
    for (node, _) in runs.iter().take(2) {
        small.give(Input::AgentSaid { node: *node, said: crate::AgentSaid::Disconnected });
    }
    // Well past the grace of a node with a job: two of three at once may be the head's own trouble.
    small.pass(DurationMs::from_mins(50));
    let lost = |small: &Small| {
        let nodes = small.cluster.nodes.values();
        nodes.filter(|node| matches!(node.state, NodeState::Lost { .. })).count()
    };
    assert_eq!(lost(&small), 2);
    small.pass(DurationMs::from_mins(15));
    assert_eq!((lost(&small), small.events_of("node_stopping").len()), (0, 2));
    small.check_replay();
}

#[test]
fn a_small_job_does_not_delay_the_protected_one() {
    let mut small = Small::new(config(1, vec![shape("2c", 2, 0)]));
    let minutes = |m| Some(DurationMs::from_mins(m));
    let long = JobSpec { time_limit_ms: minutes(60), ..spec("long", 1) };
    small.submit(long);
    small.boot();
    small.started();
    let wide = small.submit(JobSpec { time_limit_ms: minutes(10), ..spec("wide", 2) });
    let late = small.submit(JobSpec { time_limit_ms: minutes(90), ..spec("late", 1) });
    let short = small.submit(JobSpec { time_limit_ms: minutes(5), ..spec("short", 1) });
    assert!(small.cluster.jobs[&short].live.contains_key(&0), "backfilled");
    assert!(!small.cluster.jobs[&late].live.contains_key(&0));
    let reason = small.cluster.reason(&small.cluster.jobs[&late], small.now);
    assert_eq!(reason, Reason::Waits(Some(Wait::Turn { after: wide })));
}

#[test]
fn a_budget_stops_launches_and_says_so() {
    let mut config = config(4, vec![shape("2c", 2, 1_000_000)]);
    config.budget.month = Some(MicroUsd(1_500_000));
    let mut small = Small::new(config);
    let hour = Some(DurationMs::from_hours(1));
    let first = small.submit(JobSpec { time_limit_ms: hour, ..spec("first", 2) });
    let second = small.submit(JobSpec { time_limit_ms: hour, ..spec("second", 2) });
    small.boot();
    assert!(small.cluster.jobs[&first].live.contains_key(&0));
    let reason = small.cluster.reason(&small.cluster.jobs[&second], small.now);
    assert!(matches!(reason, Reason::Waits(Some(Wait::Budget { .. }))));
    assert_eq!(small.events_of("launch_wanted").len(), 1);
}

#[test]
fn down_waits_for_what_runs_and_keeps_the_queue() {
    let mut small = Small::new(config(1, vec![shape("1c", 1, 0)]));
    let running = small.submit(spec("a", 1));
    let waiting = small.submit(spec("b", 1));
    small.boot();
    let (node, run) = small.started()[0];
    let admin = crate::Principal { admin: true, ..user("root", 0) };
    small.ask(&admin, Request::Down { now: false });
    assert!(matches!(small.cluster.nodes[&node].state, NodeState::Draining { .. }));
    small.end(node, run, Exit::Code(0));
    small.provide();
    small.list();
    assert!(small.cluster.is_closed());
    assert!(small.cluster.jobs[&running].all_completed());
    assert!(!small.cluster.jobs[&waiting].pending.is_empty());
    small.check_replay();
}

#[test]
fn a_wider_job_gets_its_machine_when_smaller_ones_fill_the_pool() {
    let mut config = config(2, vec![shape("1c", 1, 0), shape("2c", 2, 0)]);
    config.pools[0].max_cpus = Some(2);
    let mut small = Small::new(config);
    small.submit(spec("a", 1));
    small.submit(spec("b", 1));
    small.boot();
    let started = small.started();
    assert_eq!(started.len(), 2);
    let wide = small.submit(spec("wide", 2));
    small.submit(spec("later", 1));
    for (node, run) in started {
        small.end(node, run, Exit::Code(0));
    }
    small.pass(DurationMs::from_secs(1));
    small.provide();
    small.boot();
    assert!(small.cluster.jobs[&wide].live.contains_key(&0), "the wide job was passed over");
}

#[test]
fn hold_release_and_throttle_are_obeyed() {
    let mut small = Small::new(config(4, vec![shape("8c", 8, 0)]));
    let held = small.submit(JobSpec { hold: true, ..spec("held", 1) });
    let mut throttled = array("t", 1, 1..=5);
    throttled.array.as_mut().expect("array").throttle = Some(2);
    let throttled = small.submit(throttled);
    small.boot();
    assert_eq!(small.cluster.jobs[&throttled].live.len(), 2);
    assert!(small.cluster.jobs[&held].live.is_empty());
    let target = JobTarget { job: held, tasks: None };
    small.ask(&user("ana", 1000), Request::Release(target));
    assert_eq!(small.cluster.jobs[&held].live.len(), 1);
    let reason = small.cluster.reason(&small.cluster.jobs[&throttled], small.now);
    assert_eq!(reason, Reason::Throttle { limit: 2 });
}

#[test]
fn an_agent_that_speaks_before_the_provider_answers_is_taken() {
    let mut small = two_cpu_cluster();
    let job = small.submit(spec("a", 1));
    let node = *small.cluster.nodes.keys().next().expect("wanted");
    let early = small.waiting.clone();
    assert!(matches!(small.hello(node, Vec::new()), Reply::Welcome { .. }));
    small.waiting = early;
    small.provide();
    assert!(small.cluster.nodes[&node].is_ready());
    assert!(small.cluster.jobs[&job].live.contains_key(&0));
    assert_eq!(small.cluster.nodes[&node].launched_at, Some(small.now));
}

#[test]
fn an_hour_of_sleep_gives_up_nobody() {
    let mut small = two_cpu_cluster();
    let job = small.submit(spec("a", 1));
    small.boot();
    small.started();
    small.now = small.now + DurationMs::from_hours(1);
    small.give(Input::Stalled { span: DurationMs::from_hours(1) });
    small.give(Input::Tick);
    let node = small.cluster.nodes.keys().next().copied().expect("node");
    assert!(small.cluster.nodes[&node].is_ready());
    assert!(small.cluster.jobs[&job].live.contains_key(&0));
    let _: (NodeId, Timestamp) = (node, small.now);
}

#[test]
fn a_cancel_is_not_taken_back_by_a_requeue() {
    let mut small = two_cpu_cluster();
    let job = small.submit(spec("a", 1));
    small.boot();
    let (node, run) = small.started()[0];
    small.cancel(&user("ana", 1000), job);
    let target = JobTarget { job, tasks: None };
    let reply = small.ask(&user("ana", 1000), Request::Requeue(target));
    assert!(matches!(reply, Reply::Rejected(_)));
    small.end(node, run, Exit::Signal(15));
    assert!(small.cluster.jobs[&job].pending.is_empty());
}

#[test]
fn a_gang_whose_time_is_over_elsewhere_before_its_script_began_goes_back() {
    let mut small = Small::new(config(2, vec![shape("2c", 2, 0)]));
    let gang = small.submit(JobSpec { nodes: 2, tasks: 2, ..spec("gang", 2) });
    small.boot();
    let (follower, run) = small.started()[0];
    let parts = &small.cluster.runs[&run].parts;
    let first = parts[0].part.node;
    small.give(Input::AgentSaid { node: first, said: crate::AgentSaid::Disconnected });
    small.running(follower, run);
    assert_eq!(small.started(), [], "the first is not there to hear it");
    small.end(follower, run, Exit::TimedOut);
    assert!(small.cluster.runs.contains_key(&run), "the first has not answered");
    small.waiting.clear();
    small.hello(first, Vec::new());
    let told = small.waiting.iter().any(|effect| {
        matches!(effect, Effect::Tell { node, order: Order::End { .. }, .. } if *node == first)
    });
    assert!(told, "it can only end: {:?}", small.waiting);
    let why = "ended before it came here".into();
    let said = crate::AgentSaid::NotStarted { run, why };
    small.give(Input::AgentSaid { node: first, said });
    assert!(!small.cluster.runs.contains_key(&run));
    let again = &small.cluster.jobs[&gang];
    assert_eq!((again.live.len(), again.numbers[&0].attempts), (1, 1), "no attempt was lost");
    assert!(small.cluster.nodes[&first].is_ready(), "it did nothing wrong");
    small.check_replay();
}

#[test]
fn a_node_that_refuses_a_user_keeps_its_jobs_waiting_and_runs_those_of_others() {
    let mut small = Small::new(config(3, vec![shape("2c", 2, 0)]));
    let job = small.submit(spec("one", 1));
    small.boot();
    let (node, run) = small.started()[0];
    let uid = small.cluster.jobs[&job].owner.uid;
    let why = alloc::string::String::from("another ana is here");
    let users = vec![pcluster_wire::UserRefusal { uid, why: why.clone() }];
    small.give(Input::AgentSaid { node, said: crate::AgentSaid::Refuses(users) });
    let said = crate::AgentSaid::NotStarted { run, why: why.clone() };
    small.give(Input::AgentSaid { node, said });
    assert!(small.cluster.nodes[&node].is_ready(), "others may use it");
    let waits = |small: &Small, job| small.cluster.volatile.report.waits.get(&job).cloned();
    assert_eq!(waits(&small, job), Some(Wait::UserRefused { node, why: why.clone() }));
    assert_eq!(small.cluster.nodes.len(), 1, "another of the same image would refuse, too");
    // The same words of another's job; it runs.
    let asked = Request::Submit { spec: alloc::boxed::Box::new(spec("one", 1)), key: None };
    small.ask(&user("bo", uid + 1), asked);
    assert_eq!(small.started().len(), 1);
    // A second submission of the one who is refused waits, and what boots is not for it.
    let second = small.submit(spec("one", 1));
    assert_eq!(waits(&small, second), Some(Wait::UserRefused { node, why }));
    small.give(Input::AgentSaid { node, said: crate::AgentSaid::Refuses(Vec::new()) });
    assert_eq!(small.started().len(), 1, "there is room for one more on it");
    assert!(small.cluster.jobs[&job].live.contains_key(&0));
    small.check_replay();
}

#[test]
fn a_gang_starts_on_all_its_nodes_or_none_and_goes_back_with_any_of_them() {
    let mut small = Small::new(config(3, vec![shape("2c", 2, 0)]));
    let one = small.submit(spec("one", 1));
    small.boot();
    let (busy, _) = small.started()[0];
    let gang = small.submit(JobSpec { nodes: 3, tasks: 3, cpus_per_task: 2, ..spec("gang", 2) });
    // Two free machines are not three: nothing of it starts, and nothing is launched for it alone.
    assert!(small.cluster.jobs[&gang].live.is_empty());
    assert_eq!(small.cluster.nodes.len(), 1);
    let run = small.cluster.jobs[&one].live[&0];
    small.end(busy, run, Exit::Code(0));
    small.boot();
    assert_eq!(small.cluster.jobs[&gang].live.len(), 1);
    let followers = small.started();
    assert_eq!(followers.len(), 2, "the script waits for the step daemons of the others");
    for (node, run) in &followers {
        small.running(*node, *run);
    }
    let (first, run) = small.started()[0];
    small.running(first, run);
    let gone = followers[1].0;
    small.machines.get_mut(&gone).expect("machine").ended_at = Some(small.now);
    small.list();
    assert!(small.cluster.jobs[&gang].live.contains_key(&0), "the others have not answered");
    let told = |small: &Small, node| {
        small.waiting.iter().any(|effect| {
            matches!(
                effect,
                Effect::Tell { node: to, order: Order::End { .. }, .. } if *to == node
            )
        })
    };
    assert!(told(&small, first) && told(&small, followers[0].0), "one lost node ends it on all");
    small.end(first, run, Exit::Ended { code: 0, signal: 15 });
    small.end(followers[0].0, run, Exit::Ended { code: 0, signal: 15 });
    assert!(!small.cluster.jobs[&gang].finished.contains_key(&0), "it runs again");
    assert_eq!(small.cluster.jobs[&gang].numbers[&0].requeues, 1);
    small.check_replay();
}

#[test]
fn no_word_on_time_is_the_default_and_zero_is_no_limit() {
    let mut config = config(2, vec![shape("2c", 2, 0)]);
    config.pools[0].default_time_ms = Some(DurationMs::from_hours(24));
    let mut small = Small::new(config);
    let silent = small.submit(spec("silent", 1));
    let endless = JobSpec { time_limit_ms: Some(DurationMs(0)), ..spec("endless", 1) };
    let endless = small.submit(endless);
    let limit = |job| small.cluster.jobs[&job].spec.time_limit_ms;
    assert_eq!(limit(silent), Some(DurationMs::from_hours(24)));
    assert_eq!(limit(endless), None);
}

#[test]
fn without_a_default_no_word_on_time_is_the_longest() {
    let mut config = config(2, vec![shape("2c", 2, 0)]);
    config.pools[0].max_time_ms = Some(DurationMs::from_hours(2));
    let mut small = Small::new(config);
    let silent = small.submit(spec("silent", 1));
    assert_eq!(small.cluster.jobs[&silent].spec.time_limit_ms, Some(DurationMs::from_hours(2)));
}

#[test]
fn a_gang_wider_than_the_pool_may_be_is_refused() {
    let mut config = config(4, vec![shape("2c", 2, 0)]);
    config.pools[0].max_cpus = Some(4);
    let mut small = Small::new(config);
    let wide = JobSpec { nodes: 3, tasks: 3, ..spec("wide", 2) };
    let reply = small.ask(&user("ana", 1000), Request::Submit { spec: wide.into(), key: None });
    let Reply::Rejected(no) = reply else { panic!("accepted") };
    assert_eq!(no.hints, ["--nodes 2 fits"]);
}

#[test]
fn a_silent_node_whose_connection_stood_is_back_with_its_first_word() {
    let mut small = Small::new(config(3, vec![shape("2c", 2, 10_000)]));
    let job = small.submit(spec("long", 2));
    small.boot();
    let (node, run) = small.run_all()[0];
    // Nothing comes for a while, and nobody hangs up.
    small.now = small.now + DurationMs::from_secs(40);
    small.give(Input::Tick);
    assert!(matches!(small.cluster.nodes[&node].state, NodeState::Lost { .. }));
    small.give(Input::AgentSaid { node, said: AgentSaid::Heartbeat });
    assert!(small.cluster.nodes[&node].is_ready());
    small.pass(DurationMs::from_hours(2));
    assert!(small.cluster.nodes[&node].is_ready(), "{:?}", small.kinds());
    small.end(node, run, Exit::Code(0));
    assert!(small.cluster.jobs[&job].is_finished());
    small.check_replay();
}

#[test]
fn gpus_are_checked_by_number_and_by_model() {
    let why = |gpus: u32, kind: &str| {
        let mut rich = shape("g2", 2, 10);
        (rich.total.gpus, rich.gpu_type) = (2, "a100".into());
        let mut small = Small::new(config(1, vec![rich.clone()]));
        small.submit(spec("j", 1));
        small.provide();
        let node = *small.cluster.nodes.keys().next().expect("a node");
        let usable = Resources { gpus, ..rich.usable() };
        let facts = Facts { usable, gpu_type: kind.into(), clock: small.now, ..Facts::default() };
        let said = AgentSaid::Hello {
            key: "k".into(),
            token_valid: true,
            boot_id: "b1".into(),
            facts: facts.into(),
            runs: Vec::new(),
        };
        small.give(Input::AgentSaid { node, said });
        match &small.cluster.nodes[&node].state {
            NodeState::Stopping { cause: StopCause::BootFailed { why, .. }, .. } => why.clone(),
            other => other.word().into(),
        }
    };
    assert_eq!(why(1, "a100"), "it shows 1 GPUs, g2 has 2");
    assert_eq!(why(2, "t4"), "it shows GPUs of type t4, g2 has a100");
    for kind in ["a100", "", "a100-80gb"] {
        assert_eq!(why(2, kind), "ready", "{kind}");
    }
}
