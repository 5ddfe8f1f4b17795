//! Machines that their provider takes back, with a notice and without.
use super::offers::answer;
use super::support::{Small, config, shape, spec};
use crate::effect::{Effect, Order};
use crate::event::{PartEnd, StopCause};
use crate::input::{AgentSaid, Input};
use crate::job::Outcome;
use crate::node::NodeState;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::SpotUse;
use pcluster_model::job::WarnSignal;
use pcluster_model::{
    DurationMs, JobId, JobSpec, NodeId, Price, RunId, Shape, Signal, SignalScope, Timestamp,
};
use pcluster_wire::{Exit, NoticeKind};

const NOTICE: DurationMs = DurationMs::from_mins(2);

/// A spot machine with this job on it.
fn running(spec: JobSpec) -> (Small, JobId, NodeId, RunId) {
    let mut config = config(4, vec![Shape { spot_price: Some(Price(30)), ..shape("s2", 2, 100) }]);
    config.pools[0].spot = SpotUse::Prefer;
    config.pools[0].idle_timeout_ms = DurationMs::ZERO;
    let mut small = Small::new(config);
    let job = small.submit(spec);
    answer(&mut small, |_| true);
    small.boot();
    let (node, run) = small.run_all()[0];
    (small, job, node, run)
}

fn notice(small: &mut Small, node: NodeId, kind: NoticeKind) {
    let until = (kind == NoticeKind::Reclaim).then(|| small.now + NOTICE);
    small.give(Input::AgentSaid { node, said: AgentSaid::Notice { kind, until } });
}

/// Nodes that are there or come, by name.
fn there(small: &Small) -> Vec<(&str, &'static str)> {
    let living = small.cluster.nodes.values().filter(|node| node.state.is_alive());
    living.map(|node| (node.name.as_str(), node.state.word())).collect()
}

fn told_to_end(small: &Small) -> bool {
    let ends = |effect: &Effect| matches!(effect, Effect::Tell { order: Order::End { .. }, .. });
    small.waiting.iter().any(ends)
}

#[test]
fn a_notice_warns_replaces_ends_in_time_and_runs_again_elsewhere() {
    let warn = WarnSignal { signal: Signal(10), before_ms: NOTICE, batch_only: true };
    let spec = JobSpec { warn_signal: Some(warn), ..spec("fold", 2) };
    let (mut small, job, node, run) = running(spec);
    let from = small.now;
    notice(&mut small, node, NoticeKind::Reclaim);
    let until = Some(from + NOTICE);
    let cause = StopCause::Reclaimed { until };
    assert_eq!(small.cluster.nodes[&node].state, NodeState::Draining { cause: cause.clone() });
    // At once: the signal that it asked for, and another machine.
    let signals = small.waiting.iter().filter_map(|effect| match effect {
        Effect::Tell { order: Order::Signal { run, signal, scope }, .. } => {
            Some((*run, *signal, *scope))
        }
        _ => None,
    });
    assert_eq!(signals.collect::<Vec<_>>(), [(run, Signal(10), SignalScope::Batch)]);
    assert_eq!(answer(&mut small, |_| true), ["s2 spot"]);
    small.boot();
    assert_eq!(there(&small), [("compute-1", "draining"), ("compute-2", "ready")]);
    // The replacement waits although idle nodes stop at once, and the job is told to end a grace before.
    while !told_to_end(&small) {
        assert_eq!(there(&small).len(), 2);
        small.pass(DurationMs::from_secs(1));
    }
    let ended_at = small.log.iter().find(|s| s.event.kind() == "requeue_wanted").unwrap().at;
    let early = (from + NOTICE).since(ended_at);
    assert!((29..=30).contains(&(early.0 / 1_000)), "{early}");
    // The same notice again, from whoever, changes nothing.
    let before = small.log.len();
    notice(&mut small, node, NoticeKind::Reclaim);
    assert_eq!(small.log.len(), before);
    small.end(node, run, Exit::Code(0));
    let moved = small.run_all();
    assert_eq!(moved.len(), 1, "it runs on the replacement");
    assert_eq!(small.cluster.nodes[&moved[0].0].name, "compute-2");
    let past = &small.cluster.jobs[&job].past[0];
    assert_eq!(past.requeued.as_deref(), Some("the provider took its node back"));
    assert_eq!(small.cluster.jobs[&job].numbers[&0].requeues, 1);
    small.provide();
    assert_eq!(small.cluster.nodes[&node].state.word(), "gone");
    assert_eq!(small.cluster.nodes[&node].cause(), Some(&cause));
    small.check_replay();
}

#[test]
fn a_job_that_ends_within_the_notice_has_ended() {
    let (mut small, job, node, run) = running(spec("fold", 2));
    notice(&mut small, node, NoticeKind::Reclaim);
    small.end(node, run, Exit::Code(0));
    assert_eq!(small.cluster.jobs[&job].finished[&0].outcome, Outcome::Completed);
    let (mut small, job, node, run) = running(spec("fold", 2));
    notice(&mut small, node, NoticeKind::Reclaim);
    small.end(node, run, Exit::Code(3));
    let outcome = &small.cluster.jobs[&job].finished[&0].outcome;
    assert_eq!(*outcome, Outcome::Failed { code: 3 }, "nothing was said to it yet");
    // One that got its signal gives up because of it.
    let warn = WarnSignal { signal: Signal(10), before_ms: NOTICE, batch_only: true };
    let warned = JobSpec { warn_signal: Some(warn), ..spec("fold", 2) };
    let (mut small, job, node, run) = running(warned);
    notice(&mut small, node, NoticeKind::Reclaim);
    small.end(node, run, Exit::Signal(10));
    assert_eq!(small.cluster.jobs[&job].numbers[&0].requeues, 1);
    assert!(small.cluster.jobs[&job].finished.is_empty());
    small.check_replay();
}

#[test]
fn a_machine_that_is_gone_without_a_word_is_taken_back_too() {
    for reclaimed in [true, false] {
        let (mut small, job, node, _) = running(spec("fold", 2));
        let machine = small.machines.get_mut(&node).unwrap();
        (machine.ended_at, machine.reclaimed) = (Some(Timestamp(small.now.0 + 5)), reclaimed);
        small.pass(DurationMs::from_secs(10));
        small.list();
        let gone = &small.cluster.nodes[&node];
        assert_eq!(gone.cause(), Some(&StopCause::Reclaimed { until: None }));
        assert_eq!(small.cluster.jobs[&job].numbers[&0].requeues, 1);
        assert_eq!(answer(&mut small, |_| true), ["s2 spot"], "it is wanted again at once");
        small.check_replay();
    }
}

#[test]
fn it_is_put_back_five_times_and_then_it_was_preempted() {
    let (mut small, job, ..) = running(spec("fold", 2));
    for requeues in 0..=5 {
        let live = small.cluster.jobs[&job].live.values().next().copied();
        let run = live.unwrap_or_else(|| panic!("it runs after {requeues} requeues"));
        let node = small.cluster.runs[&run].parts[0].part.node;
        let now = small.now;
        let machine = small.machines.get_mut(&node).unwrap();
        (machine.ended_at, machine.reclaimed) = (Some(now), true);
        small.list();
        answer(&mut small, |_| true);
        small.boot();
    }
    assert_eq!(small.cluster.jobs[&job].finished[&0].outcome, Outcome::Preempted);
    assert_eq!(small.cluster.jobs[&job].past.len(), 5);
    // No boot of it has failed, and spot is still launched.
    assert!(small.cluster.meta.offerings.iter().all(|(_, health)| health.boots.is_empty()));
    small.check_replay();
}

#[test]
fn a_notice_during_the_boot_is_no_failed_boot() {
    let (mut small, ..) = running(spec("fold", 2));
    small.submit(spec("next", 2));
    answer(&mut small, |_| true);
    let booting = small.cluster.nodes.values().find(|node| node.is_coming()).unwrap().id;
    small.machines.get_mut(&booting).unwrap().notice_at = Some(small.now + NOTICE);
    small.list();
    assert_eq!(small.cluster.nodes[&booting].state.word(), "stopping");
    assert!(small.cluster.nodes[&booting].is_reclaimed());
    assert_eq!(answer(&mut small, |_| true), ["s2 spot"], "another one at once");
    assert!(small.cluster.meta.offerings.iter().all(|(_, health)| health.boots.is_empty()));
    small.check_replay();
}

#[test]
fn a_hint_stops_nothing_that_runs() {
    let (mut small, job, node, run) = running(spec("fold", 2));
    notice(&mut small, node, NoticeKind::Rebalance);
    small.pass(DurationMs::from_mins(30));
    assert!(!told_to_end(&small) && small.cluster.jobs[&job].live.contains_key(&0));
    assert_eq!(there(&small), [("compute-1", "draining")], "and nothing replaces it");
    // Nothing new comes there; a notice that follows counts.
    let next = small.submit(spec("next", 1));
    assert!(small.cluster.jobs[&next].live.is_empty());
    notice(&mut small, node, NoticeKind::Reclaim);
    assert!(small.cluster.nodes[&node].reclaimed_at().is_some());
    small.end(node, run, Exit::Code(0));
    assert_eq!(small.cluster.jobs[&job].finished[&0].outcome, Outcome::Completed);
    small.check_replay();
}

#[test]
fn a_gang_is_told_on_all_of_its_nodes_and_ends_together() {
    let warn = WarnSignal { signal: Signal(12), before_ms: NOTICE, batch_only: false };
    let gang = JobSpec { nodes: 2, tasks: 2, warn_signal: Some(warn), ..spec("mpi", 2) };
    let (mut small, job, _, run) = running(gang);
    let parts = &small.cluster.runs[&run].parts;
    let (node, follower) = (parts[0].part.node, parts[1].part.node);
    small.waiting.clear();
    notice(&mut small, follower, NoticeKind::Reclaim);
    let told = small.waiting.iter().filter_map(|effect| match effect {
        Effect::Tell { node, order: Order::Signal { .. }, .. } => Some(*node),
        _ => None,
    });
    let mut told: Vec<NodeId> = told.collect();
    told.sort_unstable();
    let mut all = vec![node, follower];
    all.sort_unstable();
    assert_eq!(told, all);
    assert_eq!(answer(&mut small, |_| true), ["s2 spot"], "one machine is replaced, not two");
    small.pass(NOTICE);
    let parts = &small.cluster.runs[&run].parts;
    assert!(parts.iter().all(|part| !matches!(part.end, Some(PartEnd::NodeGone { .. }))));
    assert!(told_to_end(&small));
    for part in [node, follower] {
        small.end(part, run, Exit::Signal(15));
    }
    assert_eq!(small.cluster.jobs[&job].numbers[&0].requeues, 1);
    small.check_replay();
}
