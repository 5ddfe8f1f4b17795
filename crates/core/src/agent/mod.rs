//! The agent's brain: what a node does about each frame of the head, each word of a keeper and the
//! passing of time. The binary `pcluster-agent` and the simulator drive this very module.
//!
//! Invariant: a run is spawned at most once. A known run, a tombstone, or an order number not above
//! the highest forgotten one is answered with what is known. The end of a run is kept, and told at
//! every `Hello`, until the head says `Forget`.
//!
//! Deliberately absent: clocks, files, sockets and processes. `now` is the node's steady clock; the
//! actions are carried out, in order, by whoever drives this.
pub mod env;
mod types;

pub use types::*;

use crate::limits::STALL;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use pcluster_model::{DurationMs, RunId, Timestamp};
use pcluster_wire::{
    AgentFrame, EndWhy, Exit, HeadFrame, NODE_ITSELF, OnOrphan, RunEnd, RunReport, SPOKEN,
    ShareProof, StartOrder, Usage,
};

/// Ended tombstones that are remembered after the head forgot them.
const BURIED_KEPT: usize = 256;

/// How the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Down,
    /// `Hello` went out; what happens meanwhile is told after the `Welcome`.
    Greeting,
    Welcomed,
}

/// Everything an agent knows. Built anew at each start from its setup, its kept memory and what it
/// finds of its keepers.
#[derive(Debug, Clone)]
pub struct AgentState {
    setup: AgentSetup,
    memory: AgentMemory,
    runs: alloc::collections::BTreeMap<RunId, RunEntry>,
    link: Link,
    heartbeat: DurationMs,
    last_heartbeat: Timestamp,
    /// The latest of: start of the agent, last frame of the head, last run that ended here.
    last_use: Timestamp,
    /// Runs whose news came while greeting.
    unsaid: BTreeSet<RunId>,
    /// The head has asked for proofs of shared paths.
    wants_shares: bool,
    /// What was found of them has changed while greeting.
    unsaid_shares: bool,
    /// What the provider has announced: every head is to hear it.
    notice: Option<AgentFrame>,
    leaving: Option<String>,
    /// The last `Hello` was refused, not for good.
    sent_away: bool,
    /// An exit was ordered: nothing is taken on any more.
    gone: bool,
}

impl AgentState {
    /// A brain that has just started. `Adopted` inputs for the runs found on disk come next, then
    /// `Connected`.
    #[must_use]
    pub fn new(setup: AgentSetup, memory: AgentMemory, now: Timestamp) -> Self {
        let heartbeat = DurationMs::from_secs(10);
        Self {
            setup,
            memory,
            runs: alloc::collections::BTreeMap::new(),
            link: Link::Down,
            heartbeat,
            last_heartbeat: now,
            last_use: now,
            unsaid: BTreeSet::new(),
            wants_shares: false,
            unsaid_shares: false,
            notice: None,
            leaving: None,
            sent_away: false,
            gone: false,
        }
    }

    /// What must be kept across restarts of the agent.
    #[must_use]
    pub fn memory(&self) -> &AgentMemory {
        &self.memory
    }

    /// True once the head has welcomed this connection.
    #[must_use]
    pub fn is_welcomed(&self) -> bool {
        self.link == Link::Welcomed
    }

    /// Runs that have not ended: what a node is busy with.
    #[must_use]
    pub fn live_runs(&self) -> usize {
        self.runs.values().filter(|entry| entry.is_live()).count()
    }

    /// From where the head is dialled; said at the next `Hello`.
    pub fn set_address(&mut self, address: String) {
        self.setup.facts.address = address;
    }

    /// Everything known about runs, as the next `Hello` tells it.
    #[must_use]
    pub fn reports(&self) -> Vec<RunReport> {
        let known = self.runs.iter().filter_map(|(run, entry)| entry.report(*run));
        let stones = self.memory.tombstones.iter();
        known
            .chain(stones.map(|(run, why)| RunReport::NotStarted { run: *run, why: why.clone() }))
            .collect()
    }

    /// When the next `Tick` would do something by itself, if nothing else happens.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        if self.gone {
            return None;
        }
        match self.link {
            Link::Welcomed => Some(self.last_heartbeat + self.heartbeat),
            Link::Down | Link::Greeting => self.orphan_at(),
        }
    }

    /// Takes one input and says what is to be done, in this order.
    pub fn step(&mut self, now: Timestamp, input: AgentInput) -> Vec<AgentAction> {
        let mut out = Vec::new();
        match input {
            AgentInput::Adopted { run, order } => {
                let state = RunState::Starting;
                self.runs.insert(run, RunEntry { order, state });
            }
            AgentInput::Connected { clock } => self.connected(clock, &mut out),
            AgentInput::Disconnected => self.disconnected(now, &mut out),
            AgentInput::Frame(frame) => self.frame(now, frame, &mut out),
            AgentInput::Keeper(said) => self.keeper(now, said, &mut out),
            AgentInput::Shares(shares) => self.shares(shares, &mut out),
            AgentInput::Notice { kind, until } => {
                let notice = AgentFrame::Notice { kind, until };
                self.notice = Some(notice.clone());
                self.say(notice, &mut out);
            }
            AgentInput::Tick { clock, load_milli } => self.tick(now, clock, load_milli, &mut out),
            AgentInput::Refuses { users, clock } => {
                self.setup.facts.refuses.clone_from(&users);
                self.say(AgentFrame::Heartbeat { clock, load_milli: 0, refuses: users }, &mut out);
            }
        }
        out
    }

    fn connected(&mut self, clock: Timestamp, out: &mut Vec<AgentAction>) {
        self.link = Link::Greeting;
        self.unsaid.clear();
        self.unsaid_shares = false;
        let setup = &self.setup;
        let mut facts = setup.facts.clone();
        facts.clock = clock;
        out.push(AgentAction::Send(AgentFrame::Hello {
            protocol: SPOKEN.newest,
            oldest_protocol: Some(SPOKEN.oldest),
            cluster: setup.cluster.clone(),
            node: setup.node,
            instance: setup.instance.clone(),
            // A head whose log is older than this node has no key of it, and sends it away.
            token: setup.token.clone().filter(|_| !self.memory.joined || self.sent_away),
            boot_id: setup.boot_id.clone(),
            facts,
            runs: self.reports(),
        }));
    }

    fn disconnected(&mut self, now: Timestamp, out: &mut Vec<AgentAction>) {
        if self.link == Link::Welcomed {
            self.last_use = self.last_use.max(now);
        }
        self.link = Link::Down;
        self.leave_if_done(out);
    }

    fn frame(&mut self, now: Timestamp, frame: HeadFrame, out: &mut Vec<AgentAction>) {
        if self.link == Link::Down {
            // A frame of a connection that is no more.
            return;
        }
        match frame {
            HeadFrame::Welcome { protocol, heartbeat_ms, checks, .. } => {
                self.wants_shares = !checks.is_empty();
                self.welcome(now, protocol, heartbeat_ms, out);
            }
            HeadFrame::Refused { why, last } => self.refused(why, last, out),
            HeadFrame::Start(order) => self.start(order, out),
            HeadFrame::End { run, grace_ms, why } => self.end(run, grace_ms, why, out),
            HeadFrame::Signal { run, signal, scope } => {
                if self.runs.get(&run).is_some_and(RunEntry::is_live) {
                    out.push(AgentAction::SignalRun { run, signal, scope });
                }
            }
            HeadFrame::Limit { run, time_limit_ms } => {
                if self.runs.get(&run).is_some_and(RunEntry::is_live) {
                    out.push(AgentAction::LimitRun { run, time_limit_ms });
                }
            }
            HeadFrame::Suspend { run, suspended } => {
                if self.runs.get(&run).is_some_and(RunEntry::is_live) {
                    out.push(AgentAction::SuspendRun { run, suspended });
                }
            }
            // A run that is over too: whoever waits for the stream is to hear that.
            HeadFrame::Attach { run, stream } => {
                let live = self.runs.get(&run).is_some_and(RunEntry::is_live);
                out.push(AgentAction::Attach { run, stream, live });
            }
            HeadFrame::AttachNode { stream } => {
                out.push(AgentAction::Attach { run: NODE_ITSELF, stream, live: true });
            }
            // The agent's own hands know what to do with them.
            HeadFrame::Names { .. } => {}
            HeadFrame::Forget { runs } => self.forget(&runs, out),
            HeadFrame::Leave { why } => {
                self.leaving.get_or_insert(why);
                self.leave_if_done(out);
            }
        }
        if self.link == Link::Welcomed {
            self.last_use = self.last_use.max(now);
        }
    }

    fn welcome(
        &mut self,
        now: Timestamp,
        protocol: u32,
        heartbeat: DurationMs,
        out: &mut Vec<AgentAction>,
    ) {
        if !SPOKEN.speaks(protocol) {
            // Jobs go on under the agent that is here; a newer one will speak the head's tongue.
            out.push(AgentAction::Hangup);
            return;
        }
        self.link = Link::Welcomed;
        self.sent_away = false;
        self.heartbeat = DurationMs(heartbeat.0.max(100));
        self.last_heartbeat = now;
        if !self.memory.joined {
            self.memory.joined = true;
            out.push(AgentAction::Keep(self.memory.clone()));
        }
        for run in core::mem::take(&mut self.unsaid) {
            self.tell(run, out);
        }
        if self.unsaid_shares {
            self.tell_shares(out);
        }
        if let Some(notice) = self.notice.clone() {
            self.say(notice, out);
        }
        self.leave_if_done(out);
    }

    fn shares(&mut self, shares: Vec<ShareProof>, out: &mut Vec<AgentAction>) {
        self.setup.facts.shares = shares;
        // Before the welcome nobody knows whether this head wants to hear it.
        self.unsaid_shares = self.link == Link::Greeting;
        self.tell_shares(out);
    }

    /// Only to a head that has asked: an older one does not understand it.
    fn tell_shares(&mut self, out: &mut Vec<AgentAction>) {
        if self.wants_shares {
            self.say(AgentFrame::Shares { shares: self.setup.facts.shares.clone() }, out);
        }
    }

    fn refused(&mut self, why: String, last: bool, out: &mut Vec<AgentAction>) {
        if !last {
            // Not now; the next address or the next try may do.
            self.sent_away = true;
            out.push(AgentAction::Hangup);
            return;
        }
        self.leaving.get_or_insert_with(|| why.clone());
        for (run, entry) in &self.runs {
            if entry.is_live() {
                let (grace_ms, why) = (DurationMs::ZERO, EndWhy::Ended);
                out.push(AgentAction::EndRun { run: *run, grace_ms, why });
            }
        }
        self.gone = true;
        out.push(AgentAction::Exit(ExitWhy::Refused(why)));
    }

    fn start(&mut self, order: Box<StartOrder>, out: &mut Vec<AgentAction>) {
        let run = order.run;
        if self.runs.contains_key(&run) || self.memory.tombstones.contains_key(&run) {
            self.tell(run, out);
        } else if self.memory.buried.contains(&run) || order.order <= self.memory.highest_forgotten
        {
            let why = "this order is over: the head has acknowledged its end".to_string();
            self.say(AgentFrame::NotStarted { run, why }, out);
        } else if let Some(why) = &self.leaving {
            let why = format!("this node is leaving: {why}");
            self.bury(run, why, out);
        } else {
            let state = RunState::Starting;
            self.runs.insert(run, RunEntry { order: order.order, state });
            out.push(AgentAction::Spawn(order));
        }
    }

    fn end(&mut self, run: RunId, grace_ms: DurationMs, why: EndWhy, out: &mut Vec<AgentAction>) {
        match self.runs.get(&run).map(|entry| &entry.state) {
            Some(RunState::Starting | RunState::Running { .. }) => {
                out.push(AgentAction::EndRun { run, grace_ms, why });
            }
            // It is being emptied already; its end is told when that is done.
            Some(RunState::Emptying { .. }) => {}
            Some(RunState::Ended(_)) => self.tell(run, out),
            None if self.memory.tombstones.contains_key(&run) => self.tell(run, out),
            None => self.bury(run, "ended before it came here".to_string(), out),
        }
    }

    fn forget(&mut self, runs: &[RunId], out: &mut Vec<AgentAction>) {
        let before = self.memory.clone();
        let mut gone = Vec::new();
        for run in runs {
            // A run that lives is never forgotten, whatever the head believes.
            if self.runs.get(run).is_some_and(|entry| !entry.is_live())
                && let Some(entry) = self.runs.remove(run)
            {
                self.memory.highest_forgotten = self.memory.highest_forgotten.max(entry.order);
                gone.push(*run);
            } else if self.memory.tombstones.remove(run).is_some() {
                self.memory.buried.insert(*run);
                gone.push(*run);
            }
            self.unsaid.remove(run);
        }
        while self.memory.buried.len() > BURIED_KEPT {
            self.memory.buried.pop_first();
        }
        if self.memory != before {
            out.push(AgentAction::Keep(self.memory.clone()));
        }
        out.extend(gone.into_iter().map(|run| AgentAction::ForgetRun { run }));
        self.leave_if_done(out);
    }

    fn keeper(&mut self, now: Timestamp, said: KeeperSaid, out: &mut Vec<AgentAction>) {
        let run = said.run();
        let Some(entry) = self.runs.get_mut(&run) else { return };
        if !entry.is_live() {
            return;
        }
        match said {
            KeeperSaid::Started { started_at, .. } => match entry.state {
                RunState::Starting => entry.state = RunState::Running { started_at },
                RunState::Running { .. } | RunState::Emptying { .. } | RunState::Ended(_) => return,
            },
            KeeperSaid::Ended(end) => entry.state = RunState::Ended(end),
            KeeperSaid::Lost { started_at, .. } => {
                entry.state = RunState::Emptying { started_at };
                out.push(AgentAction::EmptyRun { run });
                return;
            }
            KeeperSaid::Emptied { started_at, ended_at, .. } => {
                let (exit, usage) = (Exit::KeeperLost, Usage::default());
                entry.state = RunState::Ended(RunEnd { run, exit, usage, started_at, ended_at });
            }
            KeeperSaid::NotStarted { why, .. } => {
                let order = entry.order;
                self.runs.remove(&run);
                self.memory.highest_forgotten = self.memory.highest_forgotten.max(order);
                self.last_use = self.last_use.max(now);
                self.bury(run, why, out);
                self.leave_if_done(out);
                return;
            }
        }
        self.last_use = self.last_use.max(now);
        self.tell(run, out);
        self.leave_if_done(out);
    }

    fn tick(&mut self, now: Timestamp, clock: Timestamp, load: u32, out: &mut Vec<AgentAction>) {
        if self.gone {
            return;
        }
        match self.link {
            Link::Welcomed => {
                if now.since(self.last_heartbeat) >= self.heartbeat {
                    self.last_heartbeat = now;
                    let refuses = self.setup.facts.refuses.clone();
                    self.say(AgentFrame::Heartbeat { clock, load_milli: load, refuses }, out);
                }
            }
            Link::Down | Link::Greeting => {
                let late = self.orphan_at().and_then(|at| (now >= at).then(|| now.since(at)));
                if late.is_some_and(|late| late > STALL) {
                    // The machine stood still: nobody could be heard.
                    self.last_use = now;
                } else if late.is_some() {
                    self.gone = true;
                    self.leaving.get_or_insert_with(|| "no head".to_string());
                    out.push(AgentAction::Exit(ExitWhy::Orphaned(self.setup.on_orphan)));
                }
            }
        }
    }

    /// When an idle node that hears no head gives up; `None` while it has work, or never.
    fn orphan_at(&self) -> Option<Timestamp> {
        if self.live_runs() > 0 || self.setup.on_orphan == OnOrphan::Stay {
            return None;
        }
        let wait = if self.holds_records() {
            self.setup.orphan_after.max(self.setup.report_hold)
        } else {
            self.setup.orphan_after
        };
        Some(self.last_use + wait)
    }

    /// Ends that the head has not acknowledged.
    fn holds_records(&self) -> bool {
        !self.runs.is_empty() || !self.memory.tombstones.is_empty()
    }

    fn leave_if_done(&mut self, out: &mut Vec<AgentAction>) {
        if self.gone || self.holds_records() {
            return;
        }
        let Some(why) = self.leaving.clone() else { return };
        self.gone = true;
        self.say(AgentFrame::Leaving { why: why.clone() }, out);
        out.push(AgentAction::Exit(ExitWhy::Left(why)));
    }

    /// Makes a tombstone: this run never starts here.
    fn bury(&mut self, run: RunId, why: String, out: &mut Vec<AgentAction>) {
        self.memory.tombstones.insert(run, why);
        out.push(AgentAction::Keep(self.memory.clone()));
        self.tell(run, out);
    }

    /// Says what is known of a run, now or after the welcome.
    fn tell(&mut self, run: RunId, out: &mut Vec<AgentAction>) {
        if self.link == Link::Greeting {
            self.unsaid.insert(run);
            return;
        }
        let report = match self.runs.get(&run) {
            Some(entry) => entry.news(run),
            None => self
                .memory
                .tombstones
                .get(&run)
                .map(|why| AgentFrame::NotStarted { run, why: why.clone() }),
        };
        if let Some(frame) = report {
            self.say(frame, out);
        }
    }

    fn say(&self, frame: AgentFrame, out: &mut Vec<AgentAction>) {
        if self.link == Link::Welcomed {
            out.push(AgentAction::Send(frame));
        }
    }
}

impl RunEntry {
    fn is_live(&self) -> bool {
        match self.state {
            RunState::Starting | RunState::Running { .. } | RunState::Emptying { .. } => true,
            RunState::Ended(_) => false,
        }
    }

    /// For `Hello`; a start under way has no news yet: the first node of a gang waits for it.
    fn report(&self, run: RunId) -> Option<RunReport> {
        match &self.state {
            RunState::Starting => None,
            RunState::Running { started_at } | RunState::Emptying { started_at } => {
                Some(RunReport::Running { run, started_at: *started_at })
            }
            RunState::Ended(end) => Some(RunReport::Ended(end.clone())),
        }
    }

    /// For a live connection; a start under way has no news yet.
    fn news(&self, run: RunId) -> Option<AgentFrame> {
        match &self.state {
            RunState::Starting | RunState::Emptying { .. } => None,
            RunState::Running { started_at } => {
                Some(AgentFrame::RunStarted { run, started_at: *started_at })
            }
            RunState::Ended(end) => Some(AgentFrame::RunEnded(end.clone())),
        }
    }
}

#[cfg(test)]
mod tests;
