//! What leaves the living state, when, and what that changes for those who come later.
use super::support::{Small, array, config, root, shape, spec, user};
use crate::input::JobTarget;
use crate::limits::{FORGET_AGAIN, FORGET_JOBS};
use crate::rows::{PAST, RowKey};
use crate::step::StepPartEnd;
use crate::{Event, Input, RejectionKind, Reply, Request};
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{Dependency, DependencyKind, DurationMs, JobId, JobSpec, Timestamp};
use pcluster_wire::Exit;

const KEEP: DurationMs = DurationMs::from_hours(2);

fn small() -> Small {
    let mut config = config(1, vec![shape("2c", 2, 0)]);
    config.head.keep_jobs_ms = KEEP;
    Small::new(config)
}

/// A job that ran and came to this end.
fn ran(small: &mut Small, spec: JobSpec, exit: &Exit) -> JobId {
    let job = small.submit(spec);
    if small.cluster.nodes.values().all(|node| !node.is_ready()) {
        small.boot();
    }
    for (node, run) in small.started() {
        small.end(node, run, exit.clone());
    }
    assert!(small.cluster.jobs[&job].is_finished());
    job
}

fn after(kind: DependencyKind, job: JobId) -> JobSpec {
    let dependency = Dependency { kind, job, task: None, delay_ms: DurationMs::ZERO };
    JobSpec { dependencies: vec![dependency], hold: true, ..spec("next", 1) }
}

fn cancel(small: &mut Small, job: JobId) {
    small.ask(&root(), Request::Cancel(JobTarget { job, tasks: None }));
}

#[test]
fn a_job_is_forgotten_when_its_last_task_is_over_for_long_enough() {
    let mut small = small();
    let job = ran(&mut small, array("tasks", 1, 1..=2), &Exit::Code(0));
    let raw = small.cluster.jobs[&job].numbers_of(1).unwrap().raw_job;
    assert_eq!(small.cluster.task_with_id(raw), Some((job, 1)));
    let before = small.now;
    small.pass(DurationMs(KEEP.0 - 1));
    assert!(small.cluster.jobs.contains_key(&job));
    assert_eq!(small.cluster.next_forgetting(), Some(before + KEEP));
    small.pass(DurationMs(1));
    assert!(!small.cluster.jobs.contains_key(&job));
    assert_eq!(small.cluster.task_with_id(raw), None);
    assert_eq!(small.log.last().unwrap().event, Event::JobsForgotten { jobs: vec![job] });
    assert_eq!(small.cluster.next_forgetting(), None);
    // Numbers are not used again.
    let next = small.submit(spec("next", 1));
    assert!(next.0 > job.0.max(raw.0));
    small.check_replay();
}

#[test]
fn whoever_is_waited_for_stays() {
    let mut small = small();
    let failed = ran(&mut small, spec("failed", 1), &Exit::Code(3));
    let waiting = small.submit(after(DependencyKind::AfterNotOk, failed));
    small.pass(KEEP + KEEP);
    assert!(small.cluster.jobs.contains_key(&failed));
    // Looked at again from time to time, not at every turn.
    assert!(small.cluster.next_forgetting().unwrap() > small.now);
    cancel(&mut small, waiting);
    small.pass(FORGET_AGAIN);
    assert_eq!(small.cluster.jobs.keys().copied().collect::<Vec<_>>(), [waiting]);
    small.check_replay();
}

#[test]
fn how_a_forgotten_job_ended_is_no_condition_that_it_ended_is() {
    let mut small = small();
    let job = ran(&mut small, spec("failed", 1), &Exit::Code(3));
    small.pass(KEEP);
    for kind in [DependencyKind::AfterOk, DependencyKind::AfterNotOk, DependencyKind::AfterCorr] {
        let request = Request::Submit { spec: after(kind, job).into(), key: None };
        let reply = small.ask(&user("ana", 1000), request);
        let Reply::Rejected(no) = reply else { panic!("{kind:?}: {reply:?}") };
        assert_eq!((no.kind, no.word), (RejectionKind::NotFound, "no_dependency"));
    }
    let any = small.submit(JobSpec { hold: false, ..after(DependencyKind::AfterAny, job) });
    assert_eq!(small.cluster.block(&small.cluster.jobs[&any], small.now), None);
}

#[test]
fn a_key_is_free_again_with_its_job() {
    let mut small = small();
    let submit = |small: &mut Small| {
        let spec = spec("keyed", 1).into();
        small.ask(&user("ana", 1000), Request::Submit { spec, key: Some("k".into()) })
    };
    let Reply::Submitted { job, repeated: false } = submit(&mut small) else { panic!("refused") };
    cancel(&mut small, job);
    small.pass(DurationMs(KEEP.0 - 1));
    assert_eq!(submit(&mut small), Reply::Submitted { job, repeated: true });
    small.pass(DurationMs(1));
    let reply = submit(&mut small);
    assert!(matches!(reply, Reply::Submitted { job: other, repeated: false } if other != job));
    small.check_replay();
}

#[test]
fn many_go_in_several_batches_and_rows_about_to_be_written_are_waited_for() {
    let mut small = small();
    let jobs: Vec<JobId> = (0..=FORGET_JOBS).map(|_| small.submit(spec("x", 1))).collect();
    jobs.iter().for_each(|job| cancel(&mut small, *job));
    small.now = small.now + KEEP;
    small.cluster.touched.insert(RowKey::Job(jobs[0]));
    let inputs = vec![Input::Tick];
    let prepared = small.cluster.prepare(small.now, inputs);
    let columns = prepared.rows().iter().filter_map(|row| row.columns.first());
    let forgotten: Vec<_> = columns.filter(|(name, _)| *name == PAST).collect();
    assert_eq!(forgotten.len(), FORGET_JOBS);
    let seq = prepared.events().last().unwrap().seq;
    assert!(forgotten.iter().all(|(_, past)| *past == alloc::format!("{seq}")));
    assert_eq!(small.cluster.jobs.keys().copied().collect::<Vec<_>>(), [jobs[0]]);
}

#[test]
fn steps_go_with_their_job_and_late_news_of_them_changes_nothing() {
    let mut small = small();
    let job = ran(&mut small, spec("steps", 1), &Exit::Code(0));
    let run = small.cluster.jobs[&job].finished[&0].last.as_ref().unwrap().run;
    let step = crate::step::Step {
        job,
        run,
        ..serde_json::from_str(
            r#"{"job":1,"run":1,"step":0,"name":"s","parts":[],"cpus_per_task":1,"started_at":0,"ended_at":1}"#,
        )
        .unwrap()
    };
    let at = Timestamp(small.now.0);
    let seq = small.cluster.log_length() + 1;
    let started = crate::Stamped { seq, at, event: Event::StepStarted { step: step.into() } };
    small.cluster.apply(&started);
    small.log.push(started);
    assert_eq!(small.cluster.rows_of_jobs(&[job]).len(), 3);
    small.pass(KEEP);
    assert!(small.cluster.steps.is_empty());
    let end = StepPartEnd::default();
    let late = crate::Stamped {
        seq: small.cluster.log_length() + 1,
        at: small.now,
        event: Event::StepEnded { job, run, step: 0, rank: 0, end },
    };
    small.cluster.apply(&late);
    small.log.push(late);
    assert!(small.cluster.steps.is_empty());
    small.check_replay();
}
