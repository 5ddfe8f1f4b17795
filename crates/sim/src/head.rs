//! The process of the head: inbox, batches, connections and timers around the real core.
//!
//! Invariant: `prepare → commit → release` is the core's own pump; the process may die between any
//! two of them, and what a starting head knows comes from the disk alone. Deliberately absent: any
//! policy.
use crate::check::order;
use crate::faults::Kind;
use crate::narrate;
use crate::net::ConnId;
use crate::plant::Plant;
use crate::users::Answer;
use crate::world::{What, World};
use pcluster_core::event::{Event, Stamped};
use pcluster_core::input::{AgentSaid, Input, ProviderSaid};
use pcluster_core::rows::RowChange;
use pcluster_core::{Cluster, Job, Prepared, Released, Reply};
use pcluster_model::{DurationMs, NodeId, Timestamp};
use pcluster_wire::{AgentFrame, HeadFrame, PROTOCOL, SPOKEN, ShareCheck, Spoken};
use std::collections::BTreeMap;

/// Whom the reply to an input goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Nobody,
    Conn(ConnId),
    User(usize),
}

/// A running head.
#[derive(Debug)]
pub struct Head {
    pub life: u32,
    pub cluster: Cluster,
    /// Steady time less true time.
    pub ahead_ms: i64,
    /// Its machine or process stands still.
    pub asleep: bool,
    /// When it came up, or woke up: true time.
    pub awake_since: Timestamp,
    slept_at: Timestamp,
    /// The wall clock less steady time, as the core was last told.
    told_offset_ms: i64,
    inbox: Vec<(Input, From)>,
    /// A batch waits for its time, or for the disk: nothing else happens meanwhile.
    turn_due: bool,
    /// A batch that is decided and not on disk.
    batch: Option<Batch>,
    tick_at: Option<Timestamp>,
    /// The newest connection of each node.
    links: BTreeMap<NodeId, ConnId>,
    /// What came while it slept.
    backlog: Vec<What>,
    batches: u32,
    /// Ticks in a row without anything else, for a core that never rests.
    idle_ticks: u32,
}

/// A batch that is decided, with whom its replies go to.
#[derive(Debug)]
struct Batch {
    prepared: Prepared,
    froms: Vec<From>,
    /// Steady time of the loop when it was decided.
    steady: Timestamp,
}

impl Head {
    /// Steady time of the head.
    #[must_use]
    pub fn steady(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0 + self.ahead_ms)
    }
}

impl World {
    /// A head starts and reads its disk.
    pub fn head_start(&mut self) {
        if self.head.is_some() || self.abandoned.is_some() {
            return;
        }
        let cluster = match self.disk.load(&self.cluster_id) {
            Ok(cluster) => cluster,
            Err(error) => {
                self.seen.broken = Some(format!("the head cannot load its rows: {error}"));
                return;
            }
        };
        self.head_life += 1;
        let wall = Timestamp(self.now.0 + self.wall_ahead_ms);
        let steady = wall.max(cluster.last_at());
        let life = self.head_life;
        self.trace.line(self.now, format_args!("head {life} starts at {}", cluster.log_length()));
        self.head = Some(Head {
            life,
            cluster,
            ahead_ms: steady.0 - self.now.0,
            asleep: false,
            awake_since: self.now,
            slept_at: self.now,
            told_offset_ms: wall.0 - steady.0,
            inbox: Vec::new(),
            turn_due: false,
            batch: None,
            tick_at: None,
            links: BTreeMap::new(),
            backlog: Vec::new(),
            batches: 0,
            idle_ticks: 0,
        });
        self.seen.started = true;
        let started = Input::Started {
            version: "0.1.0".into(),
            config: Box::new(self.config.clone()),
            offset_ms: wall.0 - steady.0,
        };
        self.head_input(started, From::Nobody);
        self.after(0, What::ListDue { life });
        self.head_will_ask_what_stands(life);
        self.head_will_prune(life);
    }

    /// The process of the head dies; another starts after a while.
    pub fn head_dies(&mut self) {
        let Some(head) = self.head.take() else { return };
        self.trace.line(self.now, format_args!("head {} dies", head.life));
        for conn in self.net.standing(|conn| conn.head_life == head.life) {
            self.net.cut(conn);
            let half_open = self.strikes(Kind::HalfOpen);
            let delay = if half_open { 90_000 } else { self.rng.between(1, 2_000) };
            self.after(delay, What::AgentHearsCut { conn });
        }
        let down = match self.rng.below(8) {
            0 => self.rng.between(60_000, 900_000),
            _ => self.rng.between(200, 20_000),
        };
        self.after(down, What::HeadStart);
        self.head_moves(down);
    }

    /// The head stands still: nothing is read, no timer fires.
    pub fn head_sleeps(&mut self, span: DurationMs) {
        let now = self.now;
        let Some(head) = self.head.as_mut().filter(|head| !head.asleep) else { return };
        head.asleep = true;
        head.slept_at = now;
        let life = head.life;
        self.after(span.0, What::HeadWake { life });
        if span > DurationMs::from_secs(60) {
            // Agents give up a head that does not answer their pings.
            for conn in self.net.standing(|conn| conn.head_life == life) {
                let delay = self.rng.between(60_000, 90_000);
                self.after(delay, What::AgentHearsCut { conn });
            }
        }
    }

    /// It goes on: the driver says how long it stood, then takes what came meanwhile.
    pub fn head_wake(&mut self, life: u32) {
        let now = self.now;
        let Some(head) = self.head.as_mut().filter(|head| head.life == life) else { return };
        head.asleep = false;
        head.awake_since = now;
        let span = now.since(head.slept_at);
        let backlog = std::mem::take(&mut head.backlog);
        self.trace.line(now, format_args!("head wakes after {span}"));
        self.head_input(Input::Stalled { span }, From::Nobody);
        self.clock_step(self.wall_ahead_ms);
        for what in backlog {
            self.at(now, what);
        }
    }

    /// The head of this life, awake; otherwise what came is kept for it, or lost with it.
    pub(crate) fn awake(
        &mut self,
        life: u32,
        what: impl FnOnce() -> Option<What>,
    ) -> Option<&mut Head> {
        let head = self.head.as_mut().filter(|head| head.life == life)?;
        if head.asleep {
            head.backlog.extend(what());
            return None;
        }
        Some(head)
    }

    /// The wall clock of the head's machine is set.
    pub fn clock_step(&mut self, wall_ahead_ms: i64) {
        self.wall_ahead_ms = wall_ahead_ms;
        let Some(head) = self.head.as_mut().filter(|head| !head.asleep) else { return };
        let offset_ms = wall_ahead_ms - head.ahead_ms;
        if head.told_offset_ms == offset_ms {
            return;
        }
        head.told_offset_ms = offset_ms;
        self.head_input(Input::ClockStepped { offset_ms }, From::Nobody);
    }

    /// Its clock has gained some milliseconds.
    pub fn head_drifts(&mut self, fast_ms: u64) {
        let gained = i64::try_from(fast_ms).unwrap_or(0);
        self.wall_ahead_ms += gained;
        if let Some(head) = self.head.as_mut().filter(|head| !head.asleep) {
            head.ahead_ms += gained;
        }
    }

    /// Puts an input into the inbox; the loop takes it with whatever comes until then.
    pub fn head_input(&mut self, input: Input, from: From) {
        let slow = self.strikes(Kind::SlowDisk);
        let delay = if slow { self.rng.between(500, 6_000) } else { self.rng.below(12) };
        let Some(head) = &mut self.head else { return };
        head.inbox.push((input, from));
        head.idle_ticks = 0;
        if !head.turn_due {
            head.turn_due = true;
            let life = head.life;
            self.after(delay, What::HeadTurn { life });
        }
    }

    /// An answer of the provider for the hands of one life.
    pub fn head_answer(&mut self, life: u32, said: Box<ProviderSaid>) {
        if self.head.as_ref().is_some_and(|head| head.life == life && head.asleep) {
            self.awake(life, || Some(What::Answer { life, said }));
        } else if self.awake(life, || None).is_some() {
            self.list_was_heard(&said);
            self.head_input(Input::ProviderSaid(*said), From::Nobody);
        }
    }

    /// A timer of the driver.
    pub fn head_tick(&mut self, life: u32) {
        let now = self.now;
        let Some(head) = self.awake(life, || Some(What::HeadTick { life })) else { return };
        if head.tick_at.is_none_or(|at| at > now) || head.turn_due {
            return;
        }
        head.tick_at = None;
        head.idle_ticks += 1;
        if head.idle_ticks > 500 {
            let due = head.cluster.next_due(head.steady(now));
            let words = format!("500 ticks in a row changed nothing; next_due says {due:?}");
            self.seen.broken = Some(words);
        }
        self.head_turn(life);
    }

    /// One round of the driver's loop: a batch is decided, committed and released.
    pub fn head_turn(&mut self, life: u32) {
        let now = self.now;
        let Some(head) = self.awake(life, || Some(What::HeadTurn { life })) else { return };
        head.turn_due = false;
        head.batches += 1;
        let steady = head.steady(now);
        let young = head.batches <= 3 && life > 1;
        let (mut inputs, froms): (Vec<Input>, Vec<From>) =
            std::mem::take(&mut head.inbox).into_iter().unzip();
        if inputs.is_empty() {
            inputs.push(Input::Tick);
        }
        let prepared = head.cluster.prepare(steady, inputs);
        let wrote = !prepared.events().is_empty();
        if wrote {
            head.idle_ticks = 0;
        }
        if wrote && self.strikes(Kind::DiskFull) {
            self.disk_full_until = self.now + DurationMs(self.rng.between(1_000, 300_000));
        }
        if wrote && self.now < self.disk_full_until {
            // What cannot be written has not happened, and nobody heard of it.
            return self.head_dies();
        }
        if young && self.strikes(Kind::CrashAgain) || wrote && self.strikes(Kind::CrashBeforeCommit)
        {
            return self.head_dies();
        }
        let slow = wrote && self.strikes(Kind::SlowSync);
        let Some(head) = &mut self.head else { return };
        head.batch = Some(Batch { prepared, froms, steady });
        if slow {
            head.turn_due = true;
            let sync = self.rng.between(2_000, 8_000);
            return self.after(sync, What::HeadCommits { life });
        }
        self.head_commits(life);
    }

    /// What was decided goes to the disk, and then out.
    pub fn head_commits(&mut self, life: u32) {
        let Some(head) = self.awake(life, || Some(What::HeadCommits { life })) else { return };
        let Some(Batch { prepared, froms, steady }) = head.batch.take() else { return };
        head.turn_due = !head.inbox.is_empty();
        if head.turn_due {
            self.after(0, What::HeadTurn { life });
        }
        let wrote = !prepared.events().is_empty();
        let error = wrote && self.strikes(Kind::DiskError);
        if error && self.rng.chance(5_000) {
            return self.head_dies();
        }
        let committed = {
            let (disk, plant) = (&mut self.disk, self.plant);
            let done = prepared.commit(|events, rows| {
                write(disk, plant, events, rows);
                Ok::<(), std::convert::Infallible>(())
            });
            match done {
                Ok(committed) => committed,
                Err(never) => match never {},
            }
        };
        self.figures.commits += u64::from(wrote);
        for stamped in committed.events() {
            self.trace.detail(self.now, format_args!("{} {:?}", stamped.seq, stamped.event));
            if let Some(words) = narrate::words(&stamped.event) {
                self.trace.say(self.now, format_args!("{words}"));
            }
        }
        self.figures.events += committed.events().len() as u64;
        self.seen.events = told(self.plant, committed.events(), &self.log);
        self.log_catches_up();
        // After an error nobody knows what the disk has: the process ends in any case.
        if error || wrote && self.strikes(Kind::CrashAfterCommit) {
            return self.head_dies();
        }
        let Some(head) = &mut self.head else { return };
        self.seen.full_sweep =
            head.cluster.outstanding(steady).iter().map(pcluster_core::Effect::key).collect();
        let released = committed.release(&mut head.cluster, steady);
        self.head_releases(released, &froms, wrote);
        self.head_sets_timer(life);
    }

    /// The world ends in the middle of a batch: memory is ahead of the disk.
    pub fn head_leaves_batch(&mut self) {
        if self.head.as_ref().is_some_and(|head| head.batch.is_some()) {
            self.head = None;
        }
    }

    fn head_releases(&mut self, mut released: Released, froms: &[From], wrote: bool) {
        self.seen.released = true;
        if let Some(head) = &self.head {
            let broken = head.cluster.check();
            if let Some(words) = broken.first() {
                self.seen.broken = Some(format!("Cluster::check: {words}"));
            }
        }
        if self.plant == Plant::LostEffect && self.rng.chance(500) {
            released.effects.pop();
        }
        self.seen.handed_out = released.effects.iter().map(pcluster_core::Effect::key).collect();
        let dies = wrote && self.strikes(Kind::CrashAfterRelease);
        let parts = (released.replies.len() + released.effects.len()) as u64;
        let mut left = if dies { self.rng.below(parts + 1) } else { parts };
        for (reply, from) in released.replies.into_iter().zip(froms) {
            if left == 0 {
                break;
            }
            left -= 1;
            self.head_replies(reply, *from);
        }
        for effect in released.effects {
            if left == 0 {
                break;
            }
            left -= 1;
            self.hand_out(effect);
        }
        if dies {
            self.head_dies();
        }
    }

    fn head_sets_timer(&mut self, life: u32) {
        let now = self.now;
        let Some(head) = self.head.as_mut().filter(|head| head.life == life) else { return };
        let Some(due) = head.cluster.next_due(head.steady(now)) else {
            head.tick_at = None;
            return;
        };
        let at = Timestamp(due.0 - head.ahead_ms).max(now + DurationMs(1));
        if head.tick_at != Some(at) {
            head.tick_at = Some(at);
            self.at(at, What::HeadTick { life });
        }
    }

    fn head_replies(&mut self, reply: Reply, from: From) {
        match (reply, from) {
            (Reply::Welcome { node, node_name, shares, forget }, From::Conn(conn)) => {
                self.head_welcomes(node, conn);
                let heartbeat_ms = self.config.head.heartbeat_ms;
                let check = |path: &String| ShareCheck { path: path.clone(), token: None };
                let checks = shares.iter().map(check).collect();
                let protocol = PROTOCOL;
                let welcome = HeadFrame::Welcome {
                    protocol,
                    node_name,
                    heartbeat_ms,
                    shares,
                    checks,
                    programs: Vec::new(),
                };
                self.send_to_agent(conn, welcome);
                if !forget.is_empty() {
                    self.send_to_agent(conn, HeadFrame::Forget { runs: forget });
                }
            }
            (Reply::AgentRefused { why, last, .. }, From::Conn(conn)) => {
                self.send_to_agent(conn, HeadFrame::Refused { why, last });
            }
            (Reply::Forget { runs, .. }, From::Conn(conn)) => {
                self.send_to_agent(conn, HeadFrame::Forget { runs });
            }
            (Reply::Submitted { job, .. }, From::User(client)) => {
                self.head_answers(client, Answer::Submitted(job));
            }
            (
                Reply::Done { .. } | Reply::Signals { .. } | Reply::StepGranted { .. },
                From::User(client),
            ) => {
                self.head_answers(client, Answer::Done);
            }
            (Reply::Rejected(rejection), From::User(client)) => {
                self.head_answers(client, Answer::Rejected(rejection.message));
            }
            _ => {}
        }
    }

    fn head_answers(&mut self, client: usize, answer: Answer) {
        self.seen.acknowledged.push(client);
        self.users.acknowledge(client, &answer, self.disk.written());
        if self.strikes(Kind::LostReply) {
            return;
        }
        let delay = self.rng.between(1, 50);
        self.after(delay, What::Heard { client, answer });
    }

    /// A connection is the newest of its node from now on.
    fn head_welcomes(&mut self, node: NodeId, conn: ConnId) {
        let Some(head) = &mut self.head else { return };
        if let Some(old) = head.links.insert(node, conn).filter(|old| *old != conn) {
            self.net.cut(old);
            self.after(50, What::AgentHearsCut { conn: old });
        }
    }

    /// The newest connection of a node.
    #[must_use]
    pub fn link_of(&self, node: NodeId) -> Option<ConnId> {
        self.head.as_ref()?.links.get(&node).copied()
    }

    /// A frame reaches the head. Only the newest connection of a node counts.
    pub fn head_frame(&mut self, conn: ConnId, frame: Box<AgentFrame>) {
        let Some(known) = self.net.conns.get(&conn).cloned() else { return };
        let asleep = self.head.as_ref().is_some_and(|head| head.asleep);
        if asleep && self.head_life == known.head_life {
            self.awake(known.head_life, || Some(What::ToHead { conn, frame }));
            return;
        }
        let Some(agent) = self.agents.get(&known.machine) else { return };
        let (node, key) = (agent.node, agent.key.clone());
        let newest = self.link_of(node) == Some(conn);
        let is_hello = matches!(*frame, AgentFrame::Hello { .. });
        if self.awake(known.head_life, || None).is_none() || !(newest || is_hello && known.up) {
            return;
        }
        if let AgentFrame::Hello { protocol, oldest_protocol, .. } = *frame
            && SPOKEN.common(Spoken::said(protocol, oldest_protocol)).is_none()
        {
            let why = format!("protocol {protocol} is not spoken here");
            return self.send_to_agent(conn, HeadFrame::Refused { why, last: false });
        }
        self.hear_of_shares(node, &frame);
        let mut frame = frame;
        if let AgentFrame::Shares { shares } = &mut *frame
            && self.plant == Plant::DeafToShares
        {
            shares.iter_mut().for_each(|proof| proof.trouble = None);
        }
        let Some(said) = self.said_by(*frame, key) else { return };
        self.head_input(Input::AgentSaid { node, said }, From::Conn(conn));
    }

    /// Since when the head knows that a node's shared path is bad.
    fn hear_of_shares(&mut self, node: NodeId, frame: &AgentFrame) {
        let shares = match frame {
            AgentFrame::Shares { shares } => shares,
            AgentFrame::Hello { facts, .. } => &facts.shares,
            _ => return,
        };
        if shares.iter().any(|proof| proof.trouble.is_some()) {
            self.bad_shares.entry(node).or_insert(self.now);
        } else {
            self.bad_shares.remove(&node);
        }
    }

    fn said_by(&self, frame: AgentFrame, key: String) -> Option<AgentSaid> {
        Some(match frame {
            AgentFrame::Hello { node, token, boot_id, facts, runs, .. } => {
                let token_valid = token == Some(crate::agent::token_of(node.launch));
                AgentSaid::Hello { key, token_valid, boot_id, facts: Box::new(facts), runs }
            }
            AgentFrame::BootPhase { phase } => AgentSaid::Phase { phase },
            AgentFrame::Heartbeat { .. } => AgentSaid::Heartbeat,
            AgentFrame::RunStarted { run, started_at } => AgentSaid::RunStarted { run, started_at },
            AgentFrame::RunEnded(end) => AgentSaid::RunEnded(end),
            AgentFrame::NotStarted { run, why } => AgentSaid::NotStarted { run, why },
            AgentFrame::Leaving { why } => AgentSaid::Leaving { why },
            AgentFrame::Notice { kind, until } => AgentSaid::Notice { kind, until },
            AgentFrame::Shares { shares } => AgentSaid::Shares { shares },
            AgentFrame::BootLog { .. } | AgentFrame::Output { .. } => return None,
        })
    }

    /// The head's side of a cut connection.
    pub fn head_hears_cut(&mut self, conn: ConnId) {
        let Some(known) = self.net.conns.get(&conn).cloned() else { return };
        let heard = || Some(What::HeadHearsCut { conn });
        let Some(head) = self.awake(known.head_life, heard) else { return };
        let node = head.links.iter().find(|(_, link)| **link == conn).map(|(node, _)| *node);
        if let Some(node) = node {
            head.links.remove(&node);
            let said = AgentSaid::Disconnected;
            self.head_input(Input::AgentSaid { node, said }, From::Nobody);
        }
    }

    /// Sends a frame over a connection; a cut one swallows it.
    pub fn send_to_agent(&mut self, conn: ConnId, frame: HeadFrame) {
        let delay = self.frame_delay(conn, false);
        if let Some(at) = self.net.arrival(self.now, conn, false, delay) {
            if self.strikes(Kind::Duplicate) {
                self.at(at, What::ToAgent { conn, frame: Box::new(frame.clone()) });
            }
            self.at(at, What::ToAgent { conn, frame: Box::new(frame) });
        }
    }

    /// How long a frame travels; the connection may break under it.
    pub fn frame_delay(&mut self, conn: ConnId, from_agent: bool) -> i64 {
        if self.strikes(Kind::Cut) && self.net.cut(conn) {
            let silent = self.strikes(Kind::HalfOpen);
            let quick = self.rng.between(10, 3_000);
            let slow = self.rng.between(30_000, 90_000);
            let (head, agent) = if from_agent { (slow, quick) } else { (quick, slow) };
            self.after(agent, What::AgentHearsCut { conn });
            if !silent {
                self.after(head, What::HeadHearsCut { conn });
            }
        }
        let millis = if self.strikes(Kind::Delay) {
            self.rng.between(1_000, 30_000)
        } else {
            self.rng.between(1, 60) + self.plant_noise()
        };
        i64::try_from(millis).unwrap_or(0)
    }

    /// I18's plant: something that the seed does not decide.
    fn plant_noise(&self) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        if self.plant == Plant::Unseeded { RandomState::new().hash_one(self.now.0) % 7 } else { 0 }
    }
}

impl World {
    /// The checkers' replay goes on to the end of the log; a gap is I16's to find.
    fn log_catches_up(&mut self) {
        for stamped in self.disk.after(self.log.log_length()).to_vec() {
            if stamped.seq == self.log.log_length() + 1 {
                self.remember_forgotten(&stamped);
                self.log.apply(&stamped);
            }
        }
    }
}

/// What the checkers are told of a batch; plants change the tale.
fn told(plant: Plant, events: &[Stamped], log: &Cluster) -> Vec<Stamped> {
    let mut told = events.to_vec();
    for stamped in events {
        match &stamped.event {
            Event::RunEnded { .. } if plant == Plant::EchoedEnd => told.push(stamped.clone()),
            Event::RunEnded { job, ended } if plant == Plant::ForeignEnd => {
                let mut ended = ended.clone();
                ended.node.launch.0 += 1_000;
                let event = Event::RunEnded { job: *job, ended };
                told.push(Stamped { event, ..stamped.clone() });
            }
            Event::JobPlaced { job, placement } if plant == Plant::QueueJumper => {
                let waiting = || log.jobs.values().filter(|job| !job.pending.is_empty());
                let later = waiting().rev().find(|later| {
                    let twin = |other: &Job| order::alike(&other.spec, &later.spec);
                    later.id != *job && waiting().any(|other| other.id < later.id && twin(other))
                });
                let Some(later) = later else { continue };
                let event = Event::JobPlaced { job: later.id, placement: placement.clone() };
                told.push(Stamped { event, ..stamped.clone() });
            }
            _ => {}
        }
    }
    told
}

/// The disk takes a batch; plants make it forget some of it.
fn write(disk: &mut crate::store::SimStore, plant: Plant, events: &[Stamped], rows: &[RowChange]) {
    let submits = events.iter().any(|e| matches!(e.event, Event::JobSubmitted { .. }));
    let last = events.last().map_or(0, |event| event.seq);
    if plant == Plant::LostSubmit && submits && last > 8 {
        return;
    }
    let mut events = events.to_vec();
    let mut rows = rows.to_vec();
    if plant == Plant::LostEvent && last % 16 == 7 {
        events.pop();
    }
    if plant == Plant::LostRow && last % 16 == 7 {
        rows.pop();
    }
    disk.commit(&events, &rows);
    if plant == Plant::LostPast && events.iter().any(|e| e.event.kind() == "jobs_forgotten") {
        disk.past.pop_last();
    }
}
