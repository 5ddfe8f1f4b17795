//! A head whose log is a copy, older than the world.
use super::support::*;
use crate::input::{AgentSaid, Input, Request};
use crate::node::NodeState;
use crate::reason::Reason;
use crate::reply::Reply;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{DurationMs, InstanceRef, JobId, Price, RunId, Timestamp};
use pcluster_wire::{Exit, RunReport};

fn one_pool() -> Small {
    Small::new(config(3, vec![shape("2c", 2, 10_000)]))
}

#[test]
fn nothing_is_launched_beside_unlogged_machines_until_an_admin_ends_them() {
    let mut small = one_pool();
    let machines = [small.unlogged_machine(7, 0), small.unlogged_machine(7, 1)];
    let launched_at = small.now;
    small.list();
    assert_eq!(small.events_of("numbers_skipped").len(), 1);
    let job = small.submit(spec("waits", 2));
    assert!(job > JobId(1_000_000), "its number may have been somebody's");
    small.pass(DurationMs::from_mins(10));
    assert_eq!(small.events_of("launch_wanted").len(), 0);
    assert!(small.waiting.is_empty(), "they are left as they are: {:?}", small.waiting);
    let reason = small.cluster.reason(&small.cluster.jobs[&job], small.now);
    let words = alloc::format!("{reason:?}");
    assert!(words.contains("UnloggedMachines { machines: 2 }"), "{words}");

    let all = || Request::EndUnlogged { instances: Vec::new() };
    assert!(matches!(small.ask(&user("ana", 1000), all()), Reply::Rejected(_)));
    let other = Request::EndUnlogged { instances: vec![InstanceRef("p-9.0".into())] };
    assert!(matches!(small.ask(&root(), other), Reply::Rejected(_)));
    assert!(matches!(small.ask(&root(), all()), Reply::Done { changed: 2, .. }));
    small.provide();
    for id in machines {
        let span = &small.cluster.ledger.spans[&id];
        assert_eq!((span.launched_at, span.price), (launched_at, Some(Price(7_000))));
        let parts: i64 = span.charges.iter().map(|charge| charge.2.0).sum();
        assert_eq!((span.total.0, parts > 0), (parts, true));
    }
    small.list();
    let wanted = small.events_of("launch_wanted").len();
    assert_eq!(wanted, 1, "the job gets its machine: {:?}", small.kinds());
    assert!(small.cluster.meta.last_launch > 1_000_007);
    assert!(matches!(small.ask(&root(), all()), Reply::Rejected(_)), "nothing is left to end");
    small.check_replay();
}

#[test]
fn an_adopted_machine_ends_its_work_gets_no_more_and_goes() {
    let mut small = one_pool();
    let id = small.unlogged_machine(4, 0);
    small.list();
    let hello = |small: &mut Small, runs| {
        let facts = pcluster_wire::Facts { clock: small.now, ..Default::default() };
        small.give(Input::AgentSaid {
            node: id,
            said: AgentSaid::Hello {
                key: "key".into(),
                token_valid: true,
                boot_id: "b1".into(),
                facts: alloc::boxed::Box::new(facts),
                runs,
            },
        })
    };
    let running = || vec![RunReport::Running { run: RunId(3), started_at: Timestamp(1) }];
    // Before the admin's word its agent is sent away, and may come again.
    let reply = hello(&mut small, running());
    assert!(matches!(reply, Reply::AgentRefused { last: false, .. }), "{reply:?}");
    small.ask(&root(), Request::AdoptUnlogged { instances: vec![InstanceRef("p-4.0".into())] });
    assert_eq!(small.cluster.nodes[&id].name, "compute-1001");
    // The list of before still has it: asked once more, it is no second machine.
    let again = small.ask(&root(), Request::AdoptUnlogged { instances: Vec::new() });
    assert!(matches!(again, Reply::Rejected(_)), "{again:?}");
    assert!(matches!(hello(&mut small, running()), Reply::Welcome { .. }));
    small.submit(spec("elsewhere", 2));
    small.pass(DurationMs::from_mins(30));
    let node = &small.cluster.nodes[&id];
    assert!(matches!(node.state, NodeState::Draining { .. }) && node.runs.is_empty(), "{node:?}");
    // A head that starts anew waits until it has heard of it.
    let config = small.cluster.meta.config.clone().expect("a configuration");
    small.start(config);
    small.list();
    assert!(matches!(small.cluster.nodes[&id].state, NodeState::Draining { .. }));
    hello(&mut small, running());
    small.pass(DurationMs::from_mins(5));
    assert!(matches!(small.cluster.nodes[&id].state, NodeState::Draining { .. }));
    small.end(id, RunId(3), Exit::Code(0));
    assert!(matches!(small.cluster.nodes[&id].state, NodeState::Stopping { .. }));
    small.provide();
    assert!(small.cluster.ledger.spans.contains_key(&id));
    small.check_replay();
}

#[test]
fn an_adopted_machine_that_nobody_hears_is_given_up_after_its_grace() {
    let mut small = one_pool();
    let id = small.unlogged_machine(4, 0);
    small.list();
    small.ask(&root(), Request::AdoptUnlogged { instances: Vec::new() });
    small.pass(DurationMs::from_hours(2));
    assert!(matches!(small.cluster.nodes[&id].state, NodeState::Stopping { .. }));
    small.check_replay();
}

#[test]
fn a_known_node_with_runs_that_the_log_lost_gets_no_jobs_and_is_not_idle() {
    let mut small = one_pool();
    let first = small.submit(spec("first", 2));
    small.boot();
    let (node, run) = small.run_all()[0];
    let unlogged = RunReport::Running { run: RunId(run.0 + 5), started_at: small.now };
    small.end(node, run, Exit::Code(0));
    small.hello(node, vec![unlogged]);
    assert_eq!(small.events_of("numbers_skipped").len(), 1);
    small.submit(spec("second", 2));
    small.pass(DurationMs::from_hours(2));
    assert!(small.cluster.jobs[&first].is_finished());
    assert!(matches!(small.cluster.nodes[&node].state, NodeState::Draining { .. }));
    assert!(small.started().iter().all(|(other, _)| *other != node));
    // Numbers out of reach are nonsense, not news.
    let nonsense = RunReport::Running { run: RunId(u64::MAX), started_at: small.now };
    small.hello(node, vec![nonsense]);
    assert_eq!(small.events_of("numbers_skipped").len(), 1);
    small.hello(node, Vec::new());
    assert!(matches!(small.cluster.nodes[&node].state, NodeState::Stopping { .. }));
    small.check_replay();
}

#[test]
fn a_head_with_a_history_launches_nothing_before_it_has_seen_what_there_is() {
    let mut small = one_pool();
    small.submit(spec("first", 2));
    small.boot();
    let config = small.cluster.meta.config.clone().expect("a configuration");
    small.start(config);
    let job = small.submit(spec("second", 2));
    assert_eq!(small.events_of("launch_wanted").len(), 1);
    small.list();
    assert_eq!(small.events_of("launch_wanted").len(), 2);
    let reason = small.cluster.reason(&small.cluster.jobs[&job], small.now);
    assert!(matches!(reason, Reason::Waits(Some(_))), "{reason:?}");
}
