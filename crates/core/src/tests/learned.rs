//! What nodes report stands in the place of guesses.
use super::support::*;
use crate::event::Event;
use crate::input::{AgentSaid, Input, Request};
use crate::reply::Reply;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::job::MemoryAsk;
use pcluster_model::{JobSpec, NodeId, Resources, Shape};
use pcluster_wire::Facts;

/// A shape of the catalogue with 4 GB.
fn guessed() -> Shape {
    let mut shape = shape("c4", 2, 10);
    shape.total = Resources { cpus: 2, memory_bytes: 4 * GB, gpus: 0, tmp_bytes: 0 };
    shape.reserve_bytes = Shape::guessed_reserve(4 * GB);
    shape
}

fn asks(memory_bytes: u64, tmp_bytes: u64) -> JobSpec {
    JobSpec { memory: MemoryAsk::PerNode(memory_bytes), tmp_bytes, ..spec("j", 1) }
}

/// The facts of the refusal.
fn refused(small: &mut Small, spec: JobSpec) -> String {
    let request = Request::Submit { spec: Box::new(spec), key: None };
    match small.ask(&user("ana", 1000), request) {
        Reply::Rejected(no) => alloc::format!("{:?} {:?}", no.facts, no.hints),
        other => panic!("{other:?}"),
    }
}

fn hello(small: &mut Small, node: NodeId, memory_bytes: u64, tmp_bytes: u64) {
    let usable = Resources { cpus: 2, memory_bytes, gpus: 0, tmp_bytes };
    let facts = Facts { usable, clock: small.now, ..Facts::default() };
    let said = AgentSaid::Hello {
        key: alloc::format!("key-{node}"),
        token_valid: true,
        boot_id: "b1".into(),
        facts: Box::new(facts),
        runs: Vec::new(),
    };
    small.give(Input::AgentSaid { node, said });
}

fn newest(small: &Small) -> NodeId {
    *small.cluster.nodes.keys().next_back().expect("a node")
}

#[test]
fn the_whole_memory_of_the_catalogue_is_refused_with_the_usable_figure() {
    let mut small = Small::new(config(2, vec![guessed()]));
    let said = refused(&mut small, asks(4 * GB, 0));
    // 4096 - 204.8 - 256 MB.
    assert!(said.contains("2 CPUs, 3.5 GB (4 GB less 5 % + 256 MB)"), "{said}");
    assert!(said.contains("--mem 3635M fits") || said.contains("--mem 3G fits"), "{said}");

    let first = small.submit(asks(3 * GB, 0));
    small.provide();
    let node = newest(&small);
    hello(&mut small, node, 3 * GB + GB / 4, 10 * GB);
    assert!(!small.cluster.jobs[&first].live.is_empty());
    let said = refused(&mut small, asks(3 * GB + GB / 2, 0));
    assert!(said.contains("3.2 GB (4 GB less what its system takes)"), "{said}");
    small.submit(asks(3 * GB + GB / 4, 0));
    small.check_replay();
}

#[test]
fn more_than_was_guessed_is_given_out_once_a_node_has_shown_it() {
    let mut small = Small::new(config(1, vec![guessed()]));
    let more = 3 * GB + GB * 3 / 4;
    refused(&mut small, asks(more, 0));
    small.submit(spec("first", 1));
    small.provide();
    let node = newest(&small);
    hello(&mut small, node, more, 10 * GB);
    assert_eq!(small.cluster.nodes[&node].usable.memory_bytes, more);
    small.submit(asks(more, 0));
    // Less is believed as soon as it is said: the next machine counts.
    let usable = |small: &Small| {
        let pool = &small.cluster.config().expect("a configuration").pools[0];
        pool.shapes[0].usable().memory_bytes
    };
    assert_eq!(usable(&small), more);
    assert_eq!(small.cluster.meta.learned.len(), 1);
    small.check_replay();
}

#[test]
fn what_the_file_keeps_from_jobs_is_no_guess() {
    let mut shape = guessed();
    shape.reserve_bytes = GB;
    let mut small = Small::new(config(1, vec![shape]));
    small.submit(spec("first", 1));
    small.provide();
    let node = newest(&small);
    hello(&mut small, node, 4 * GB, 10 * GB);
    assert_eq!(small.cluster.nodes[&node].usable.memory_bytes, 3 * GB);
    assert!(small.cluster.meta.learned.is_empty());
    let said = refused(&mut small, asks(4 * GB, 0));
    assert!(said.contains("3 GB\""), "{said}");
}

#[test]
fn another_file_keeps_what_nodes_have_reported() {
    let mut small = Small::new(config(1, vec![guessed()]));
    small.submit(spec("first", 1));
    small.provide();
    let node = newest(&small);
    hello(&mut small, node, 3 * GB, 10 * GB);
    let changes = |small: &Small| {
        small.log.iter().filter(|one| matches!(one.event, Event::ConfigChanged { .. })).count()
    };
    let before = changes(&small);
    small.give(Input::ConfigChanged { config: Box::new(config(1, vec![guessed()])) });
    assert_eq!(changes(&small), before, "it is the same file");
    small.give(Input::ConfigChanged { config: Box::new(config(3, vec![guessed()])) });
    refused(&mut small, asks(3 * GB + 1, 0));
    small.submit(asks(3 * GB, 0));
}

#[test]
fn machines_are_not_made_in_vain_for_scratch_that_none_of_them_has() {
    let mut small = Small::new(config(3, vec![guessed()]));
    let job = small.submit(asks(GB, 500 * GB));
    small.provide();
    assert_eq!(small.cluster.nodes.len(), 1);
    let node = newest(&small);
    hello(&mut small, node, 3 * GB, 100 * GB);
    assert!(small.cluster.jobs[&job].live.is_empty());
    small.pass(pcluster_model::DurationMs::from_mins(5));
    assert_eq!(small.cluster.nodes.len(), 1, "one has shown what all have");
    // Disks are emptied: after a while one is tried again.
    small.provide();
    small.pass(pcluster_model::DurationMs::from_mins(6));
    assert_eq!(small.cluster.nodes.len(), 2);
}
