//! Shared paths: proved before a node is ready, and watched from then on.
use super::support::*;
use crate::event::StopCause;
use crate::input::{AgentSaid, Input};
use crate::node::NodeState;
use crate::reply::Reply;
use crate::shares::Shares;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::{Share, ShareSource};
use pcluster_model::{DurationMs, NodeId};
use pcluster_wire::{Exit, Facts, ShareProof};

/// A cluster of at most two machines that share `/`, `/shared` and `/ref`, with one that boots.
fn booting() -> (Small, NodeId) {
    let mut config = config(2, vec![shape("2c", 2, 10)]);
    let share =
        |path: &str| Share { path: path.into(), source: ShareSource::Mounted, size_bytes: None };
    config.pools[0].shares = vec![share("/"), share("/shared"), share("/ref")];
    let mut small = Small::new(config);
    small.submit(spec("a", 2));
    small.provide();
    let node = *small.cluster.nodes.keys().next().expect("a node for the job");
    (small, node)
}

fn hello(small: &mut Small, node: NodeId, shares: Vec<ShareProof>) -> Reply {
    let usable = small.cluster.nodes[&node].shape.usable();
    let clock = small.now;
    let facts = Facts { usable, clock, shares, proves_shares: true, ..Facts::default() };
    let said = AgentSaid::Hello {
        key: alloc::format!("key-{node}"),
        token_valid: true,
        boot_id: "b1".into(),
        facts: facts.into(),
        runs: Vec::new(),
    };
    small.give(Input::AgentSaid { node, said })
}

fn proof(path: &str, trouble: Option<&str>) -> ShareProof {
    ShareProof { path: path.into(), trouble: trouble.map(Into::into) }
}

fn say(small: &mut Small, node: NodeId, shared: Option<&str>) {
    let shares = vec![proof("/shared", shared), proof("/ref", None)];
    small.give(Input::AgentSaid { node, said: AgentSaid::Shares { shares } });
}

fn word(small: &Small, node: NodeId) -> &'static str {
    small.cluster.nodes[&node].state.word()
}

#[test]
fn a_node_is_ready_when_every_path_but_the_root_is_proved() {
    let (mut small, node) = booting();
    let Reply::Welcome { shares, .. } = hello(&mut small, node, Vec::new()) else {
        panic!("no welcome")
    };
    assert_eq!(shares, ["/shared", "/ref"]);
    assert_eq!(word(&small, node), "booting");
    assert_eq!(small.cluster.shares_of(node), Shares::Unproved { path: "/shared".into() });
    let said = AgentSaid::Shares { shares: vec![proof("/ref", None)] };
    small.give(Input::AgentSaid { node, said });
    assert_eq!(word(&small, node), "booting");
    say(&mut small, node, None);
    assert_eq!((word(&small, node), small.cluster.runs.len()), ("ready", 1));
}

#[test]
fn a_path_that_is_bad_at_registration_is_a_boot_that_failed_and_says_so() {
    let (mut small, node) = booting();
    hello(&mut small, node, Vec::new());
    say(&mut small, node, Some("is read-only"));
    let NodeState::Stopping { cause: StopCause::BootFailed { phase, why }, .. } =
        small.cluster.nodes[&node].state.clone()
    else {
        panic!("{:?}", small.cluster.nodes[&node].state)
    };
    assert_eq!((phase.as_str(), why.as_str()), ("check /shared", "/shared is read-only"));
    assert!(small.cluster.runs.is_empty());
}

#[test]
fn proofs_that_never_come_are_a_boot_without_progress() {
    let (mut small, node) = booting();
    hello(&mut small, node, Vec::new());
    let said = AgentSaid::Phase { phase: "check /shared".into() };
    small.give(Input::AgentSaid { node, said });
    small.pass(DurationMs::from_mins(4));
    let NodeState::Stopping { cause: StopCause::BootFailed { phase, why }, .. } =
        small.cluster.nodes[&node].state.clone()
    else {
        panic!("{:?}", small.cluster.nodes[&node].state)
    };
    assert_eq!((phase.as_str(), why.as_str()), ("check /shared", "no progress for 3 min"));
}

#[test]
fn an_agent_that_comes_back_tells_at_once_what_it_knows() {
    let (mut small, node) = booting();
    hello(&mut small, node, vec![proof("/shared", None), proof("/ref", None)]);
    assert_eq!(word(&small, node), "ready");
}

#[test]
fn a_path_that_turns_bad_keeps_new_jobs_away_until_it_is_well_again() {
    let (mut small, node) = booting();
    hello(&mut small, node, Vec::new());
    say(&mut small, node, None);
    let first = *small.cluster.nodes[&node].runs.first().expect("the job runs");
    say(&mut small, node, Some("is full"));
    let trouble = small.cluster.share_trouble(&small.cluster.nodes[&node]);
    assert_eq!(trouble.as_deref(), Some("/shared is full"));
    assert_eq!(word(&small, node), "ready", "what runs goes on");
    small.end(node, first, Exit::Code(0));
    let next = small.submit(spec("b", 2));
    let placed = |small: &Small| !small.cluster.jobs[&next].live.is_empty();
    assert!(!placed(&small), "not there");
    // Its room does not count: another machine is made for the job.
    assert_eq!(small.cluster.nodes.len(), 2);
    say(&mut small, node, None);
    assert!(placed(&small));
    assert_eq!(small.cluster.share_trouble(&small.cluster.nodes[&node]), None);
}

#[test]
fn a_node_that_comes_back_without_proofs_takes_jobs_when_it_has_proved_them() {
    let (mut small, node) = booting();
    hello(&mut small, node, Vec::new());
    say(&mut small, node, None);
    let first = *small.cluster.nodes[&node].runs.first().expect("the job runs");
    small.end(node, first, Exit::Code(0));
    small.give(Input::AgentSaid { node, said: AgentSaid::Disconnected });
    hello(&mut small, node, Vec::new());
    let ready = |small: &Small| small.cluster.takes_jobs(&small.cluster.nodes[&node]);
    assert!(!ready(&small));
    assert_eq!(small.cluster.share_trouble(&small.cluster.nodes[&node]), None, "no trouble yet");
    say(&mut small, node, None);
    assert!(ready(&small));
}

#[test]
fn an_agent_of_before_is_asked_for_nothing() {
    let (mut small, node) = booting();
    small.hello(node, Vec::new());
    assert_eq!(word(&small, node), "ready");
}

#[test]
fn the_paths_are_those_of_the_pool() {
    let (small, _) = booting();
    let pool = &small.cluster.config().expect("a configuration").pools[0];
    let paths: Vec<String> = crate::shares::proved_paths(pool).map(Into::into).collect();
    assert_eq!(paths, ["/shared", "/ref"]);
}
