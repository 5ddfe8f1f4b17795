//! What agents say. A connection speaks only for the node that its key is bound to; that was
//! checked before an input exists, except for the first `Hello`, which is checked here.
use super::Decision;
use crate::Cluster;
use crate::event::{Event, PartEnd, StopCause, TaskEnded};
use crate::input::AgentSaid;
use crate::limits::CLOCK_SKEW_MOST;
use crate::node::{Node, NodeState};
use crate::reply::Reply;
use crate::shares::Shares;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{NodeId, Resources, RunId, Timestamp};
use pcluster_wire::{Facts, RunEnd, RunReport};

struct Hello {
    key: String,
    token_valid: bool,
    boot_id: String,
    facts: Box<Facts>,
    runs: Vec<RunReport>,
}

impl Cluster {
    pub(super) fn decide_agent(&self, now: Timestamp, id: NodeId, said: AgentSaid) -> Decision {
        // Its connection stood while nothing came: it has nothing to greet about, and is back.
        let back = match &said {
            AgentSaid::Phase { .. }
            | AgentSaid::Heartbeat
            | AgentSaid::Refuses(_)
            | AgentSaid::RunStarted { .. }
            | AgentSaid::RunEnded(_)
            | AgentSaid::NotStarted { .. }
            | AgentSaid::Notice { .. }
            | AgentSaid::Shares { .. } => {
                let lost = |node: &Node| matches!(node.state, NodeState::Lost { .. });
                self.nodes.get(&id).is_some_and(lost) && self.is_connected(id)
            }
            AgentSaid::Hello { .. } | AgentSaid::Leaving { .. } | AgentSaid::Disconnected => false,
        };
        let mut decision = self.decide_word(now, id, said);
        if back {
            decision.events.insert(0, Event::NodeReturned { node: id });
        }
        decision
    }

    fn decide_word(&self, now: Timestamp, id: NodeId, said: AgentSaid) -> Decision {
        match said {
            AgentSaid::Hello { key, token_valid, boot_id, facts, runs } => {
                self.decide_hello(now, id, Hello { key, token_valid, boot_id, facts, runs })
            }
            AgentSaid::RunEnded(end) => {
                let run = end.run;
                let events = self.end_events(id, end);
                Decision { events, reply: Reply::Forget { node: id, runs: vec![run] } }
            }
            AgentSaid::NotStarted { run, why } => Decision {
                events: self.not_started_events(id, run, why),
                reply: Reply::Forget { node: id, runs: vec![run] },
            },
            AgentSaid::Leaving { why } => self.decide_leaving(id, why),
            AgentSaid::Shares { .. } => self.decide_shares(id),
            AgentSaid::Notice { kind, until } => match self.nodes.get(&id) {
                Some(node) => Decision::events(self.notice_events(now, node, kind, until)),
                None => Decision::nothing(),
            },
            AgentSaid::Phase { .. }
            | AgentSaid::Heartbeat
            | AgentSaid::Refuses(_)
            | AgentSaid::RunStarted { .. }
            | AgentSaid::Disconnected => Decision::nothing(),
        }
    }

    fn decide_hello(&self, now: Timestamp, id: NodeId, hello: Hello) -> Decision {
        let refused =
            |why: String, last: bool| Decision::reply(Reply::AgentRefused { node: id, why, last });
        let Some(node) = self.nodes.get(&id).filter(|node| node.state.is_alive()) else {
            if self.is_unlogged(id.launch, Some(id.index)) {
                let why = format!("this log does not know launch {}: an admin decides", id.launch);
                return refused(why, false);
            }
            return refused(format!("node {id} is not part of this cluster any more"), true);
        };
        match &node.key {
            Some(bound) if *bound != hello.key => return self.quarantine(node),
            Some(_) => {}
            None if hello.token_valid => {}
            None => return refused("the join token is not valid for this launch".into(), true),
        }
        let mut events = self.skip_for_runs(&hello.runs);
        if node.key.is_none() {
            events.push(Event::NodeJoined {
                node: id,
                key: hello.key,
                boot_id: hello.boot_id.clone(),
            });
        }
        let mut forget = Vec::new();
        for report in hello.runs {
            match report {
                RunReport::Running { .. } => {}
                RunReport::Ended(end) => {
                    forget.push(end.run);
                    events.extend(self.end_events(id, end));
                }
                RunReport::NotStarted { run, why } => {
                    forget.push(run);
                    events.extend(self.not_started_events(id, run, why));
                }
            }
        }
        // Exit records from before a reboot count; what has none ended with the machine.
        if node.key.is_some() && node.boot_id.as_ref() != Some(&hello.boot_id) {
            events.push(Event::NodeRebooted { node: id, boot_id: hello.boot_id.clone() });
        }
        match &node.state {
            NodeState::Booting => events.extend(self.fitness_events(now, node, &hello.facts)),
            NodeState::Lost { .. } => events.push(Event::NodeReturned { node: id }),
            NodeState::Wanted
            | NodeState::Ready
            | NodeState::Draining { .. }
            | NodeState::Stopping { .. }
            | NodeState::Refused { .. }
            | NodeState::Gone { .. } => {}
        }
        let shares = self.asked_shares(&node.offering.pool);
        let reply = Reply::Welcome { node: id, node_name: node.name.clone(), shares, forget };
        Decision { events, reply }
    }

    /// Another key speaks for a node that has one: the node gets no new work until it is gone.
    fn quarantine(&self, node: &Node) -> Decision {
        let why = String::from("another key than its own spoke for this node");
        let reply = Reply::AgentRefused { node: node.id, why: why.clone(), last: true };
        let events = match node.state {
            NodeState::Ready => {
                vec![Event::NodeDraining { node: node.id, cause: StopCause::Unfit { why } }]
            }
            NodeState::Booting | NodeState::Wanted => {
                vec![Event::NodeStopping { node: node.id, cause: StopCause::Unfit { why } }]
            }
            NodeState::Draining { .. }
            | NodeState::Lost { .. }
            | NodeState::Stopping { .. }
            | NodeState::Refused { .. }
            | NodeState::Gone { .. } => Vec::new(),
        };
        Decision { events, reply }
    }

    /// Ready, or not what was ordered; nothing while its shared paths are still to be proved.
    pub(crate) fn fitness_events(&self, now: Timestamp, node: &Node, facts: &Facts) -> Vec<Event> {
        match self.unfitness(now, node, facts) {
            Some((phase, why)) => vec![Event::NodeStopping {
                node: node.id,
                cause: StopCause::BootFailed { phase: phase.into(), why },
            }],
            None => self.proved_events(node, facts),
        }
    }

    /// The last step of a boot.
    fn proved_events(&self, node: &Node, facts: &Facts) -> Vec<Event> {
        match self.shares_of(node.id) {
            Shares::Unproved { .. } => Vec::new(),
            Shares::Bad { path, trouble } => vec![Event::NodeStopping {
                node: node.id,
                cause: StopCause::BootFailed {
                    phase: format!("check {path}"),
                    why: format!("{path} {trouble}"),
                },
            }],
            Shares::Well => {
                let reported = self.guesses_of(node);
                let usable = usable_of(node, facts, reported);
                let cage = facts.cage.clone();
                vec![Event::NodeReady { node: node.id, usable, cage, reported }]
            }
        }
    }

    /// Of a node that waits for nothing else; `note` has taken in what was said.
    fn decide_shares(&self, id: NodeId) -> Decision {
        let Some(node) = self.nodes.get(&id) else { return Decision::nothing() };
        let link = self.volatile.links.get(&id).filter(|link| link.connected);
        let facts = link.and_then(|link| link.facts.as_ref());
        match (&node.state, facts) {
            (NodeState::Booting, Some(facts)) if node.key.is_some() => {
                Decision::events(self.proved_events(node, facts))
            }
            _ => Decision::nothing(),
        }
    }

    fn unfitness(
        &self,
        now: Timestamp,
        node: &Node,
        facts: &Facts,
    ) -> Option<(&'static str, String)> {
        let promised = node.shape.usable();
        if facts.usable.cpus < promised.cpus {
            let why = format!(
                "it shows {} CPUs, {} has {}",
                facts.usable.cpus, node.shape.name, promised.cpus
            );
            return Some(("check of the machine", why));
        }
        if facts.usable.gpus < promised.gpus {
            let why = format!(
                "it shows {} GPUs, {} has {}",
                facts.usable.gpus, node.shape.name, promised.gpus
            );
            return Some(("check of the machine", why));
        }
        let (shows, asked) = (facts.gpu_type.as_str(), node.shape.gpu_type.as_str());
        // Nobody may know one of them, and people write more or less of a name.
        if promised.gpus > 0 && !shows.contains(asked) && !asked.contains(shows) {
            let why = format!("it shows GPUs of type {shows}, {} has {asked}", node.shape.name);
            return Some(("check of the machine", why));
        }
        if !facts.arch.is_empty() && !node.shape.arch.is_empty() && facts.arch != node.shape.arch {
            let why = format!("it is {}, {} is {}", facts.arch, node.shape.name, node.shape.arch);
            return Some(("check of the machine", why));
        }
        let wall = self.wall(now);
        let skew = facts.clock.since(wall).max(wall.since(facts.clock));
        if skew > CLOCK_SKEW_MOST {
            return Some(("check of the clock", format!("its clock is off by {skew}")));
        }
        None
    }

    /// The end of a run on a node, if it is news.
    fn end_events(&self, node: NodeId, end: RunEnd) -> Vec<Event> {
        let part_end = PartEnd::Ended {
            exit: end.exit,
            usage: end.usage,
            started_at: end.started_at,
            ended_at: end.ended_at,
        };
        self.part_events(node, end.run, part_end)
    }

    fn not_started_events(&self, node: NodeId, run: RunId, why: String) -> Vec<Event> {
        let wanted =
            self.runs.get(&run).is_some_and(|run| !run.is_ending() && !self.begins_too_late(run));
        let mut events = self.part_events(node, run, PartEnd::NotStarted { why: why.clone() });
        // A node that cannot prepare a run nobody cancelled would get it again at once. One that
        // refuses its user gets those of others.
        let ready = self.nodes.get(&node).is_some_and(Node::is_ready);
        let owner =
            self.runs.get(&run).and_then(|run| self.jobs.get(&run.job)).map(|j| j.owner.uid);
        let refused = owner.is_some_and(|uid| self.refusal(node, uid).is_some());
        if wanted && ready && !refused && !events.is_empty() {
            events.push(Event::NodeDraining { node, cause: StopCause::Unfit { why } });
        }
        events
    }

    fn part_events(&self, node: NodeId, run: RunId, end: PartEnd) -> Vec<Event> {
        let Some(known) = self.runs.get(&run) else { return Vec::new() };
        if known.part(node).is_none_or(|part| part.end.is_some()) {
            return Vec::new();
        }
        let ended = TaskEnded { run, node, end };
        let array = self.jobs.get(&known.job).is_some_and(crate::Job::is_array);
        if array {
            vec![Event::TasksEnded { job: known.job, ended: vec![ended] }]
        } else {
            vec![Event::RunEnded { job: known.job, ended }]
        }
    }

    fn decide_leaving(&self, id: NodeId, why: String) -> Decision {
        let Some(node) = self.nodes.get(&id) else { return Decision::nothing() };
        match node.state {
            NodeState::Ready
            | NodeState::Booting
            | NodeState::Draining { .. }
            | NodeState::Lost { .. } => Decision::events(vec![Event::NodeStopping {
                node: id,
                cause: StopCause::Left { why },
            }]),
            NodeState::Wanted
            | NodeState::Stopping { .. }
            | NodeState::Refused { .. }
            | NodeState::Gone { .. } => Decision::nothing(),
        }
    }
}

/// What jobs may use: never more than was ordered, and what the machine has. What was kept from jobs by
/// a guess gives way to what the machine reports.
fn usable_of(node: &Node, facts: &Facts, guessed: bool) -> Resources {
    let promised = node.shape.usable();
    let most = if guessed { node.shape.total.memory_bytes } else { promised.memory_bytes };
    Resources {
        cpus: promised.cpus,
        memory_bytes: most.min(facts.usable.memory_bytes),
        gpus: promised.gpus,
        tmp_bytes: if promised.tmp_bytes == 0 {
            facts.usable.tmp_bytes
        } else {
            promised.tmp_bytes.min(facts.usable.tmp_bytes)
        },
    }
}
