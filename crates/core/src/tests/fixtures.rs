//! Events are for ever: the log of every release must still replay. A release adds its own file
//! (`UPDATE=1` writes the one of this version); older files are never touched.
use super::std;
use super::support::*;
use crate::event::{LaunchErrorClass, Stamped};
use crate::input::{AgentSaid, Input, JobTarget, LaunchError, ProviderSaid, Request};
use crate::standing::{Standing, StandingKind};
use crate::step::{StepAsk, StepPartEnd};
use crate::{Cluster, Principal};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::{Budget, Config, ProviderKind};
use pcluster_model::job::JobKind;
use pcluster_model::{ClusterId, DurationMs, JobSpec, LaunchId, Price};
use pcluster_wire::{Exit, Facts};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/events");

fn admin() -> Principal {
    Principal { admin: true, ..user("root", 0) }
}

/// Whatever lives ends as it was told to.
fn end_all(small: &mut Small) {
    let live: Vec<_> = small
        .cluster
        .runs
        .values()
        .flat_map(|run| run.parts.iter().map(|part| (part.part.node, run.id)))
        .collect();
    for (node, run) in live {
        small.end(node, run, Exit::Ended { code: 0, signal: 15 });
    }
}

/// An allocation with a step, which stands still for a while; a cluster with a budget has none.
fn with_steps(small: &mut Small) {
    let ana = user("ana", 1000);
    end_all(small);
    let budget = small.cluster.meta.config.clone().expect("a configuration");
    let free = Config { budget: Budget::default(), ..budget.clone() };
    small.give(Input::ConfigChanged { config: Box::new(free) });
    let job = small.submit(JobSpec { kind: JobKind::Allocation, ..spec("steps", 1) });
    let target = || JobTarget { job, tasks: None };
    small.boot();
    small.run_all();
    let run = small.cluster.jobs[&job].live[&0];
    small.ask(&root(), Request::Suspend(target()));
    small.ask(&root(), Request::Continue(target()));
    let ask = StepAsk { tasks: vec![1], cpus_per_task: 1, ..StepAsk::default() };
    small.ask(&ana, Request::MakeStep { run, ask });
    let end = StepPartEnd::default();
    small.ask(&ana, Request::EndStep { run, step: 0, rank: 0, end });
    small.ask(&ana, Request::Finish { target: target(), exit_code: 0, signal: 0 });
    let node = small.cluster.runs[&run].parts[0].part.node;
    small.end(node, run, Exit::Ended { code: 0, signal: 15 });
    small.give(Input::ConfigChanged { config: Box::new(budget) });
}

/// A head's machine that came and went.
fn with_standing(small: &mut Small) {
    let since = small.now;
    for until in [None, Some(small.now + DurationMs::from_hours(1))] {
        let found = alloc::vec![Standing {
            reference: "i-0a1b2c3d4e5f60718".into(),
            kind: StandingKind::Head,
            label: "t3.large".into(),
            provider: ProviderKind::Process,
            price: Some(Price(83_200)),
            minimum_billing_ms: DurationMs::from_secs(60),
            since,
            until,
            estimated: false,
        }];
        let (provider, asked_at) = (ProviderKind::Process, small.now);
        small.give(Input::ProviderSaid(ProviderSaid::Standing { provider, asked_at, found }));
    }
}

/// A log in which every kind of event happens.
fn eventful() -> Small {
    let mut config = config(3, vec![shape("2c", 2, 10_000)]);
    config.budget.month = Some(pcluster_model::MicroUsd(500_000_000));
    let mut small = Small::new(config);
    let hour = Some(DurationMs::from_hours(1));
    let limited = |spec: JobSpec| JobSpec { time_limit_ms: hour, ..spec };
    let first = small.submit(limited(spec("first", 2)));
    let error = LaunchError { class: LaunchErrorClass::NoCapacity, message: "none left".into() };
    let launch = LaunchId(1);
    small.waiting.clear();
    small.give(Input::ProviderSaid(ProviderSaid::Launched { launch, answer: Err(error) }));
    small.pass(DurationMs::from_mins(4));
    small.boot();
    let (node, run) = small.started()[0];
    let target = |job| JobTarget { job, tasks: None };
    small.ask(
        &admin(),
        Request::Update {
            target: target(first),
            spec: Box::new(JobSpec {
                time_limit_ms: Some(DurationMs::from_hours(2)),
                ..spec("first", 2)
            }),
        },
    );
    small.ask(&admin(), Request::DrainNode { node });
    small.ask(&admin(), Request::ResumeNode { node });
    small.give(Input::AgentSaid { node, said: AgentSaid::Disconnected });
    small.pass(DurationMs::from_secs(40));
    small.hello(node, Vec::new());
    small.end(node, run, Exit::Code(0));
    let tasks = small.submit(limited(array("tasks", 1, 1..=2)));
    for (node, run) in small.started() {
        small.end(node, run, Exit::Code(0));
    }
    small.ask(&user("ana", 1000), Request::Requeue(target(tasks)));
    let usable = small.cluster.nodes[&node].shape.usable();
    let facts = Facts { usable, clock: small.now, ..Facts::default() };
    small.give(Input::AgentSaid {
        node,
        said: AgentSaid::Hello {
            key: alloc::format!("key-{node}"),
            token_valid: true,
            boot_id: "b2".into(),
            facts: Box::new(facts),
            runs: Vec::new(),
        },
    });
    small.ask(&user("ana", 1000), Request::Cancel(target(tasks)));
    with_steps(&mut small);
    let held = small.submit(JobSpec { hold: true, ..limited(spec("held", 1)) });
    small.ask(&user("ana", 1000), Request::Release(target(held)));
    let kept = small.submit(JobSpec { hold: true, ..limited(spec("kept", 1)) });
    small.ask(&user("ana", 1000), Request::Release(target(kept)));
    let later = small.submit(JobSpec { nodes: 3, tasks: 3, ..limited(spec("later", 2)) });
    small.ask(&user("ana", 1000), Request::Hold(target(later)));
    small.give(Input::ClockStepped { offset_ms: 3_600_000 });
    small.give(Input::ClockStepped { offset_ms: 0 });
    let lost = small.unlogged_machine(100, 0);
    small.list();
    small.ask(&admin(), Request::AdoptUnlogged { instances: Vec::new() });
    small.ask(&admin(), Request::TerminateNode { node: lost });
    with_standing(&mut small);
    small.ask(&admin(), Request::Down { now: true });
    end_all(&mut small);
    small.provide();
    small.pass(DurationMs::from_hours(721));
    small
}

fn replay(text: &str) -> (Cluster, BTreeSet<String>) {
    let mut cluster = Cluster::new(ClusterId::default());
    let mut kinds = BTreeSet::new();
    for line in text.lines() {
        let stamped: Stamped = serde_json::from_str(line).expect("an event of an older release");
        kinds.insert(stamped.event.kind().into());
        cluster.apply(&stamped);
    }
    (cluster, kinds)
}

#[test]
fn the_log_of_every_release_still_replays() {
    if std::env::var_os("UPDATE").is_some() {
        let lines: Vec<String> = eventful()
            .log
            .iter()
            .map(|stamped| serde_json::to_string(stamped).expect("events are JSON") + "\n")
            .collect();
        std::fs::create_dir_all(FOLDER).expect("folder");
        let path = alloc::format!("{FOLDER}/{}.jsonl", env!("CARGO_PKG_VERSION"));
        std::fs::write(path, lines.concat()).expect("fixture");
    }
    let mut files = 0;
    for entry in std::fs::read_dir(FOLDER).expect("fixtures are there") {
        let text = std::fs::read_to_string(entry.expect("entry").path()).expect("text");
        let (cluster, _) = replay(&text);
        assert_eq!(cluster.check(), Vec::<String>::new());
        files += 1;
    }
    assert!(files > 0, "no fixture of any release");
}

#[test]
fn the_fixture_of_this_version_has_every_kind() {
    let path = alloc::format!("{FOLDER}/{}.jsonl", env!("CARGO_PKG_VERSION"));
    let (_, kinds) = replay(&std::fs::read_to_string(path).expect("UPDATE=1 writes it"));
    let all = [
        "cluster_created",
        "head_started",
        "config_changed",
        "clock_stepped",
        "down_wanted",
        "job_submitted",
        "job_held",
        "job_released",
        "job_updated",
        "job_placed",
        "tasks_placed",
        "cancel_wanted",
        "requeue_wanted",
        "end_wanted",
        "job_suspended",
        "step_started",
        "step_ended",
        "run_ended",
        "tasks_ended",
        "launch_wanted",
        "instance_seen",
        "launch_refused",
        "offering_rested",
        "node_joined",
        "node_ready",
        "node_rebooted",
        "node_draining",
        "node_resumed",
        "node_stopping",
        "node_lost",
        "node_returned",
        "node_gone",
        "span_closed",
        "money_reserved",
        "limit_changed",
        "numbers_skipped",
        "instance_adopted",
        "jobs_forgotten",
        "standing_seen",
    ];
    let missing: Vec<&str> = all.into_iter().filter(|kind| !kinds.contains(*kind)).collect();
    assert_eq!(missing, Vec::<&str>::new());
    // The live state of the same inputs is what the log says.
    eventful().check_replay();
}
