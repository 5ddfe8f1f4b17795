//! Holds, releases and changes of single tasks of an array.
use super::support::*;
use crate::Job;
use crate::effect::{Effect, Order};
use crate::event::Event;
use crate::input::{JobTarget, Principal, Request};
use crate::job::Outcome;
use crate::plan::Wait;
use crate::reason::Reason;
use crate::reply::{Rejection, RejectionKind, Reply};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{DurationMs, IndexRanges, JobId, JobSpec, RunId};
use pcluster_wire::Exit;

const HOUR: Option<DurationMs> = Some(DurationMs(3_600_000));
const TWO_HOURS: Option<DurationMs> = Some(DurationMs(7_200_000));

fn four_cpus() -> Small {
    Small::new(config(2, vec![shape("2c", 2, 100_000)]))
}

fn limited(spec: JobSpec) -> JobSpec {
    JobSpec { time_limit_ms: HOUR, ..spec }
}

fn ana() -> Principal {
    user("ana", 1000)
}

fn target(job: JobId, tasks: &[u32]) -> JobTarget {
    JobTarget { job, tasks: Some(tasks.iter().copied().collect()) }
}

fn whole(job: JobId) -> JobTarget {
    JobTarget { job, tasks: None }
}

fn job(small: &Small, id: JobId) -> &Job {
    &small.cluster.jobs[&id]
}

fn ranges(sets: Vec<IndexRanges>) -> Vec<String> {
    sets.iter().map(ToString::to_string).collect()
}

fn refused(reply: Reply) -> Rejection {
    match reply {
        Reply::Rejected(no) => no,
        other => panic!("accepted: {other:?}"),
    }
}

fn changed(reply: Reply) -> u64 {
    match reply {
        Reply::Done { changed, .. } => changed,
        other => panic!("refused: {other:?}"),
    }
}

/// Tasks that run, with their runs.
fn live(small: &Small, id: JobId) -> Vec<(u32, RunId)> {
    job(small, id).live_among(None)
}

fn update(small: &mut Small, who: &Principal, at: JobTarget, change: fn(&mut JobSpec)) -> Reply {
    let job = job(small, at.job);
    let first = at.tasks.as_ref().and_then(IndexRanges::first);
    let mut spec = (**first.map_or(&job.spec, |task| job.spec_of(task))).clone();
    change(&mut spec);
    small.ask(who, Request::Update { target: at, spec: Box::new(spec) })
}

#[test]
fn held_tasks_start_nothing_and_the_others_do() {
    let mut small = four_cpus();
    let id = small.submit(JobSpec { hold: true, ..limited(array("many", 1, 1..=4)) });
    assert_eq!(changed(small.ask(&ana(), Request::Release(target(id, &[1, 2, 4])))), 3);
    assert_eq!(job(&small, id).held_by, None);
    assert_eq!(changed(small.ask(&ana(), Request::Hold(target(id, &[3, 4])))), 1);
    assert_eq!(job(&small, id).held_count(), 2);
    small.boot();
    assert_eq!(live(&small, id).iter().map(|(task, _)| *task).collect::<Vec<_>>(), [1, 2]);
    // One machine of two CPUs is enough for what may start.
    assert_eq!(small.events_of("launch_wanted").len(), 1);
    let held = small.cluster.reason(job(&small, id), small.now);
    assert_eq!(held, Reason::Held { by: "ana".into() });
    for (node, run) in small.started() {
        small.end(node, run, Exit::Code(0));
    }
    assert_eq!(changed(small.ask(&ana(), Request::Release(target(id, &[3])))), 1);
    assert_eq!(live(&small, id).len(), 1);
    assert_eq!(ranges(job(&small, id).waiting_alike(None)), ["4"]);
    assert_eq!(changed(small.ask(&ana(), Request::Release(whole(id)))), 1);
    assert_eq!(live(&small, id).len(), 2);
    assert!(job(&small, id).own.is_empty());
    small.check_replay();
}

#[test]
fn a_task_of_a_job_held_as_a_whole_is_released_alone_and_held_again() {
    let mut small = four_cpus();
    let id = small.submit(JobSpec { hold: true, ..limited(array("many", 1, 0..=2)) });
    small.ask(&ana(), Request::Release(target(id, &[1])));
    small.boot();
    assert_eq!(live(&small, id).len(), 1);
    assert_eq!(ranges(job(&small, id).waiting_alike(None)), ["0,2"]);
    let no = refused(small.ask(&ana(), Request::Hold(target(id, &[1]))));
    assert_eq!(no.word, "not_pending", "{no:?}");
    let again = small.ask(&ana(), Request::Hold(target(id, &[0])));
    assert_eq!(changed(again), 0);
    // The whole is held too: a task that comes back stays.
    assert_eq!(changed(small.ask(&ana(), Request::Hold(whole(id)))), 1);
    small.ask(&ana(), Request::Release(whole(id)));
    assert_eq!(job(&small, id).held_count(), 0);
}

#[test]
fn what_an_admin_holds_stays_held_when_the_owner_releases_the_rest() {
    let mut small = four_cpus();
    let id = small.submit(JobSpec { hold: true, ..limited(array("many", 1, 1..=3)) });
    small.ask(&ana(), Request::Release(whole(id)));
    let id = {
        small.cancel(&ana(), id);
        small.submit(JobSpec { hold: true, ..limited(array("more", 1, 1..=3)) })
    };
    small.ask(&ana(), Request::Release(target(id, &[2])));
    small.ask(&root(), Request::Hold(target(id, &[2])));
    let no = refused(small.ask(&ana(), Request::Release(target(id, &[2]))));
    assert_eq!(no.kind, RejectionKind::NotAllowed);
    assert_eq!(changed(small.ask(&ana(), Request::Release(whole(id)))), 2);
    assert_eq!(ranges(job(&small, id).waiting_alike(Some(&IndexRanges::single(2)))), ["2"]);
    assert_eq!(job(&small, id).holder_of(2).map(ToString::to_string).as_deref(), Some("root"));
    assert_eq!(job(&small, id).holder_of(1), None);
    assert_eq!(changed(small.ask(&root(), Request::Release(whole(id)))), 1);
    assert_eq!(job(&small, id).holder_of(2), None);
    small.check_replay();
}

#[test]
fn one_task_is_put_back_held_and_the_rest_goes_on() {
    let mut small = four_cpus();
    let id = small.submit(limited(array("many", 2, 1..=3)));
    small.boot();
    let runs = small.run_all();
    small.ask(&ana(), Request::RequeueHeld(target(id, &[1])));
    let (node, run) = runs[0];
    small.end(node, run, Exit::Ended { code: 0, signal: 15 });
    assert_eq!(job(&small, id).holder_of(1).map(ToString::to_string).as_deref(), Some("ana"));
    // Its room went to the task behind it.
    assert_eq!(live(&small, id).iter().map(|(task, _)| *task).collect::<Vec<_>>(), [2, 3]);
    // A task that is over is held no more.
    small.ask(&ana(), Request::Cancel(target(id, &[1])));
    assert!(job(&small, id).own.is_empty());
}

#[test]
fn one_task_asks_for_more_than_the_others() {
    let mut config = config(3, vec![shape("2c", 2, 100_000), shape("8c", 8, 400_000)]);
    config.pools[0].max = 3;
    let mut small = Small::new(config);
    let id = small.submit(JobSpec { hold: true, ..limited(array("many", 1, 1..=3)) });
    let reply = update(&mut small, &ana(), target(id, &[2]), |spec| {
        spec.cpus_per_task = 6;
        spec.time_limit_ms = TWO_HOURS;
    });
    assert_eq!(changed(reply), 1);
    assert_eq!(ranges(job(&small, id).waiting_alike(None)), ["1,3", "2"]);
    small.ask(&ana(), Request::Release(whole(id)));
    small.boot();
    let wide = job(&small, id).live[&2];
    let run = &small.cluster.runs[&wide];
    assert_eq!((run.parts[0].part.resources.cpus, run.time_limit_ms), (6, TWO_HOURS));
    let other = &small.cluster.runs[&job(&small, id).live[&1]];
    assert_eq!((other.parts[0].part.resources.cpus, other.time_limit_ms), (1, HOUR));
    // The node is told what the task asks for.
    let plan = small.waiting.iter().find_map(|effect| match effect {
        Effect::Tell { order: Order::Start(plan), .. } if plan.run == wide => Some(plan.clone()),
        _ => None,
    });
    assert_eq!(plan.expect("no start order").spec.cpus_per_task, 6);
    small.check_replay();
}

#[test]
fn a_task_that_fits_nowhere_keeps_the_others_from_nothing() {
    let mut small = Small::new(config(1, vec![shape("2c", 2, 100_000)]));
    let id = small.submit(limited(array("many", 1, 1..=4)));
    small.boot();
    assert_eq!(live(&small, id).len(), 2);
    assert_eq!(changed(update(&mut small, &ana(), target(id, &[3]), |s| s.cpus_per_task = 2)), 1);
    let (node, run) = small.started()[0];
    small.end(node, run, Exit::Code(0));
    // One CPU is free: too little for task 3, enough for task 4.
    let tasks: Vec<u32> = live(&small, id).iter().map(|(task, _)| *task).collect();
    assert_eq!(tasks, [2, 4]);
    let why = small.cluster.reason(job(&small, id), small.now);
    assert!(matches!(why, Reason::Waits(Some(Wait::PoolMax { .. }))), "{why:?}");
    // The others are over, and it runs.
    for (task, _) in live(&small, id) {
        let run = job(&small, id).live[&task];
        small.end(node, run, Exit::Code(0));
    }
    assert_eq!(live(&small, id).len(), 1);
}

#[test]
fn an_admin_gives_one_running_task_more_time() {
    let mut small = four_cpus();
    let id = small.submit(limited(array("many", 1, 1..=2)));
    small.boot();
    small.run_all();
    let longer: fn(&mut JobSpec) = |spec| spec.time_limit_ms = TWO_HOURS;
    let no = refused(update(&mut small, &ana(), target(id, &[2]), longer));
    assert_eq!(no.kind, RejectionKind::NotAllowed);
    assert_eq!(changed(update(&mut small, &root(), target(id, &[2]), longer)), 1);
    let limit = |task| small.cluster.runs[&job(&small, id).live[&task]].time_limit_ms;
    assert_eq!((limit(1), limit(2)), (HOUR, TWO_HOURS));
    let no = refused(update(&mut small, &root(), target(id, &[2]), |spec| spec.cpus_per_task = 2));
    assert_eq!(no.word, "not_pending");
    // A new limit of the array is not that of the task with its own.
    let shorter: fn(&mut JobSpec) = |spec| spec.time_limit_ms = Some(DurationMs(60_000));
    update(&mut small, &root(), whole(id), shorter);
    let limit = |task| small.cluster.runs[&job(&small, id).live[&task]].time_limit_ms;
    assert_eq!((limit(1), limit(2)), (Some(DurationMs(60_000)), TWO_HOURS));
    small.check_replay();
}

#[test]
fn what_is_of_the_whole_array_is_changed_of_the_whole_array() {
    let mut small = four_cpus();
    let id = small.submit(JobSpec { hold: true, ..limited(array("many", 1, 1..=2)) });
    let changes: [fn(&mut JobSpec); 4] = [
        |spec| spec.priority = -10,
        |spec| spec.any_dependency = true,
        |spec| spec.name = "other".into(),
        |spec| spec.deadline = Some(pcluster_model::Timestamp(i64::MAX)),
    ];
    for change in changes {
        let no = refused(update(&mut small, &root(), target(id, &[1]), change));
        assert!(no.message.contains("of a whole array"), "{}", no.message);
    }
    let no = refused(update(&mut small, &ana(), target(id, &[9]), |_| {}));
    assert_eq!(no.kind, RejectionKind::NotFound);
}

#[test]
fn a_task_that_asks_for_the_same_as_its_array_again_has_nothing_of_its_own() {
    let mut small = four_cpus();
    let id = small.submit(JobSpec { hold: true, ..limited(array("many", 1, 1..=2)) });
    update(&mut small, &ana(), target(id, &[1]), |spec| spec.cpus_per_task = 2);
    assert!(!Arc::ptr_eq(job(&small, id).spec_of(1), &job(&small, id).spec));
    update(&mut small, &ana(), target(id, &[1]), |spec| spec.cpus_per_task = 1);
    assert!(job(&small, id).own.is_empty());
}

#[test]
fn a_task_that_came_to_its_end_is_changed_no_more() {
    let mut small = four_cpus();
    let id = small.submit(limited(array("many", 1, 1..=2)));
    small.ask(&ana(), Request::Cancel(target(id, &[1])));
    assert!(matches!(job(&small, id).finished[&1].outcome, Outcome::Cancelled { .. }));
    let no = refused(small.ask(&ana(), Request::Hold(target(id, &[1]))));
    assert_eq!(no.word, "finished");
    let no = refused(update(&mut small, &ana(), target(id, &[1]), |spec| spec.cpus_per_task = 2));
    assert_eq!(no.word, "finished");
}

#[test]
fn logs_without_tasks_in_their_holds_are_read() {
    let old: Event = serde_json::from_str(r#"{"kind":"job_released","job":7}"#).expect("old");
    assert_eq!(old, Event::JobReleased { job: JobId(7), tasks: None });
}
