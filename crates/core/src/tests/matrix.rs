//! The full state × input matrix of jobs and nodes, as text: every legal and illegal move at one
//! look. `UPDATE=1` rewrites the snapshot.
use super::std;
use super::support::*;
use crate::Principal;
use crate::event::LaunchErrorClass;
use crate::input::{
    AgentSaid, Input, JobTarget, LaunchError, LaunchedInstance, ProviderSaid, Request,
};
use crate::reply::Reply;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::ProviderKind;
use pcluster_model::job::JobKind;
use pcluster_model::{DurationMs, InstanceRef, JobId, NodeId, SignalScope};
use pcluster_wire::{Exit, Facts, NoticeKind};

const NODE: NodeId = NodeId { launch: pcluster_model::LaunchId(1), index: 0 };
const JOB: JobId = JobId(1);

fn admin() -> Principal {
    Principal { admin: true, ..user("root", 0) }
}

fn small() -> Small {
    let mut small = Small::new(config(2, vec![shape("2c", 2, 10_000)]));
    small.submit(spec("a", 2));
    small
}

/// A cluster whose node 1.0 is in this state.
fn node_in(state: &str) -> Small {
    let mut world = small();
    match state {
        "wanted" => {}
        "refused" => {
            let error = LaunchError { class: LaunchErrorClass::NoCapacity, message: "no".into() };
            let launch = NODE.launch;
            world.give(Input::ProviderSaid(ProviderSaid::Launched { launch, answer: Err(error) }));
        }
        "booting" => world.provide(),
        _ => {
            world.boot();
            let (node, run) = world.started()[0];
            if state != "busy" && state != "draining" && state != "lost" {
                world.end(node, run, Exit::Code(0));
            }
        }
    }
    match state {
        "draining" => {
            world.ask(&admin(), Request::DrainNode { node: NODE });
        }
        "lost" => {
            world.give(Input::AgentSaid { node: NODE, said: AgentSaid::Disconnected });
            world.pass(DurationMs::from_secs(40));
        }
        "stopping" | "gone" => {
            world.ask(&admin(), Request::TerminateNode { node: NODE });
            if state == "gone" {
                world.provide();
            }
        }
        _ => {}
    }
    world
}

fn hello(world: &Small, key: &str, boot_id: &str) -> Input {
    let usable = shape("2c", 2, 0).usable();
    let facts = Box::new(Facts { usable, clock: world.now, ..Facts::default() });
    Input::AgentSaid {
        node: NODE,
        said: AgentSaid::Hello {
            key: key.into(),
            token_valid: key == "key-1.0",
            boot_id: boot_id.into(),
            facts,
            runs: Vec::new(),
        },
    }
}

fn node_input(world: &mut Small, name: &str) -> Input {
    let said = |said| Input::AgentSaid { node: NODE, said };
    let ask = |request| Input::Request { principal: admin(), request };
    match name {
        "hello" => hello(world, "key-1.0", "b1"),
        "hello, other key" => hello(world, "key-other", "b1"),
        "hello, other boot" => hello(world, "key-1.0", "b2"),
        "disconnected" => said(AgentSaid::Disconnected),
        "leaving" => said(AgentSaid::Leaving { why: "no head".into() }),
        "launched" => {
            let instance = InstanceRef::from("p-compute-1");
            let launched_at = world.now;
            let answer = Ok(vec![Ok(LaunchedInstance { index: 0, instance, launched_at })]);
            Input::ProviderSaid(ProviderSaid::Launched { launch: NODE.launch, answer })
        }
        "launch refused" => {
            let error = LaunchError { class: LaunchErrorClass::NoCapacity, message: "no".into() };
            let answer = Ok(vec![Err((0, error))]);
            Input::ProviderSaid(ProviderSaid::Launched { launch: NODE.launch, answer })
        }
        "listed as ended" | "taken back" => {
            let mut ended = world.machines.get(&NODE).cloned().unwrap_or_else(|| {
                crate::input::ListedInstance {
                    instance: InstanceRef::from("p-compute-1"),
                    launch: NODE.launch,
                    index: Some(0),
                    ended_at: None,
                    ended_estimated: false,
                    notice_at: None,
                    reclaimed: false,
                    tags: Default::default(),
                    launched_at: world.now,
                }
            });
            ended.ended_at = Some(world.now);
            ended.reclaimed = name == "taken back";
            listed(world, vec![ended])
        }
        "notice" | "hint" => {
            let kind = if name == "hint" { NoticeKind::Rebalance } else { NoticeKind::Reclaim };
            let until = Some(world.now + DurationMs::from_mins(2));
            said(AgentSaid::Notice { kind, until })
        }
        "not listed" => {
            world.now = world.now + DurationMs(1);
            listed(world, Vec::new())
        }
        "drain" => ask(Request::DrainNode { node: NODE }),
        "resume" => ask(Request::ResumeNode { node: NODE }),
        "terminate" => ask(Request::TerminateNode { node: NODE }),
        "down" => ask(Request::Down { now: false }),
        "an hour" => {
            world.now = world.now + DurationMs::from_hours(1);
            Input::Tick
        }
        other => panic!("no input {other}"),
    }
}

fn listed(world: &Small, instances: Vec<crate::input::ListedInstance>) -> Input {
    let (provider, asked_at) = (ProviderKind::Process, world.now);
    Input::ProviderSaid(ProviderSaid::Listed { provider, asked_at, instances })
}

/// Only what the input itself decides about this subject, without what planning adds.
fn moves(world: &mut Small, input: Input, subject: &str) -> String {
    let before = world.log.len();
    let reply = world.give(input);
    let kinds: Vec<&str> = world.log[before..]
        .iter()
        .filter(|stamped| stamped.event.subject() == subject)
        .map(|stamped| stamped.event.kind())
        .collect();
    match (&reply, kinds.is_empty()) {
        (Reply::Rejected(rejection), _) => format!("no: {}", rejection.message),
        (Reply::AgentRefused { why, .. }, true) => format!("refused: {why}"),
        (Reply::AgentRefused { .. }, false) => format!("refused, {}", kinds.join(", ")),
        (_, true) => "-".to_string(),
        (_, false) => kinds.join(", "),
    }
}

fn node_matrix() -> String {
    let states =
        ["wanted", "booting", "idle", "busy", "draining", "lost", "stopping", "refused", "gone"];
    let inputs = [
        "hello",
        "hello, other key",
        "hello, other boot",
        "disconnected",
        "leaving",
        "launched",
        "launch refused",
        "listed as ended",
        "taken back",
        "notice",
        "hint",
        "not listed",
        "drain",
        "resume",
        "terminate",
        "down",
        "an hour",
    ];
    let mut text = String::from("NODES\n");
    for state in states {
        for name in inputs {
            let mut world = node_in(state);
            let input = node_input(&mut world, name);
            let moved = moves(&mut world, input, "node:1.0");
            let after = world.cluster.nodes.get(&NODE).map_or("forgotten", |n| n.state.word());
            text += &format!("{state:<9} x {name:<17} -> {after:<8} {moved}\n");
        }
    }
    text
}

fn job_in(state: &str) -> Small {
    let mut world = Small::new(config(1, vec![shape("2c", 2, 10_000)]));
    let held = state == "held";
    let kind = if state == "allocation" { JobKind::Allocation } else { JobKind::Batch };
    world.submit(pcluster_model::JobSpec { hold: held, kind, ..spec("a", 2) });
    if held || state == "queued" {
        return world;
    }
    world.boot();
    let (node, run) = world.started()[0];
    match state {
        "suspended" => {
            world.ask(&root(), Request::Suspend(JobTarget { job: JOB, tasks: None }));
        }
        "ending" => {
            world.cancel(&user("ana", 1000), JOB);
        }
        "completed" => world.end(node, run, Exit::Code(0)),
        "failed" => world.end(node, run, Exit::Code(1)),
        _ => {}
    }
    world
}

fn job_input(world: &mut Small, name: &str) -> Input {
    let target = JobTarget { job: JOB, tasks: None };
    let ask = |request| Input::Request { principal: user("ana", 1000), request };
    let run = pcluster_model::RunId(1);
    match name {
        "cancel" => ask(Request::Cancel(target)),
        "hold" => ask(Request::Hold(target)),
        "release" => ask(Request::Release(target)),
        "requeue" => ask(Request::Requeue(target)),
        "requeue held" => ask(Request::RequeueHeld(target)),
        "suspend" => Input::Request { principal: root(), request: Request::Suspend(target) },
        "continue" => Input::Request { principal: root(), request: Request::Continue(target) },
        "finish" => ask(Request::Finish { target, exit_code: 0, signal: 0 }),
        "rerun failed" => ask(Request::RerunFailed { job: JOB }),
        "signal" => ask(Request::Signal { target, signal: 10, scope: SignalScope::All }),
        "update" => ask(Request::Update { target, spec: Box::new(spec("b", 1)) }),
        "run ended" => Input::AgentSaid {
            node: NODE,
            said: AgentSaid::RunEnded(pcluster_wire::RunEnd {
                run,
                exit: Exit::Code(0),
                usage: pcluster_wire::Usage::default(),
                started_at: world.now,
                ended_at: world.now,
            }),
        },
        "not started" => Input::AgentSaid {
            node: NODE,
            said: AgentSaid::NotStarted { run, why: "no blob".into() },
        },
        "node gone" => {
            world.now = world.now + DurationMs(1);
            listed(world, Vec::new())
        }
        other => panic!("no input {other}"),
    }
}

fn job_matrix() -> String {
    let states =
        ["held", "queued", "running", "suspended", "allocation", "ending", "completed", "failed"];
    let inputs = [
        "cancel",
        "hold",
        "release",
        "requeue",
        "requeue held",
        "suspend",
        "continue",
        "finish",
        "rerun failed",
        "signal",
        "update",
        "run ended",
        "not started",
        "node gone",
    ];
    let mut text = String::from("JOBS\n");
    for state in states {
        for name in inputs {
            let mut world = job_in(state);
            let input = job_input(&mut world, name);
            let moved = moves(&mut world, input, "job:1");
            let job = &world.cluster.jobs[&JOB];
            let after = match (job.finished.get(&0), job.live.get(&0)) {
                (Some(end), _) => end.outcome.word(),
                (None, Some(run)) if world.cluster.runs[run].then.is_some() => "ending",
                (None, Some(run)) if world.cluster.runs[run].suspended_since.is_some() => {
                    "suspended"
                }
                (None, Some(_)) => "running",
                (None, None) if job.held_by.is_some() => "held",
                (None, None) => "queued",
            };
            text += &format!("{state:<10} x {name:<17} -> {after:<9} {moved}\n");
        }
    }
    text
}

#[test]
fn the_matrix_is_as_it_was() {
    let text = format!("{}\n{}", node_matrix(), job_matrix());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/matrix.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &text).expect("the snapshot is writable");
    }
    let golden = std::fs::read_to_string(path).expect("UPDATE=1 writes the snapshot");
    assert_eq!(text, golden, "UPDATE=1 rewrites the snapshot");
}
