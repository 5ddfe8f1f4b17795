//! One step on this node, from its order to the word that the head has heard of its end.
//!
//! Invariant: one loop owns the step, so what it knows needs no locks. A task that has ended stays a
//! zombie until all have: its number cannot mean another process while signals may be sent to it.
use super::input::{self, Chunk, Queue, Said};
use super::library::{self, LastWords};
use super::memory::{self, Kills};
use super::output::{self, Audience, Terminal};
use super::proc::{self, Families, Process};
use super::spawn::{self, Ends, Spawned};
use super::steps::Steps;
use super::usage::{self, FIRST_LOOK, Report, TaskUsage};
use super::{bind, exit, others, task};
use crate::message::{
    Channel, EVERY_TASK, FromNode, Message, PartUsage, StepOrder, TaskExit, ToNode,
};
use crate::pmi::{Act, Local};
use crate::session::Session;
use pcluster_api::StepPartEnd;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::BTreeMap;
use std::io::PipeReader;
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::unix::pipe;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;

/// Output that tasks' children still hold open after the end of all tasks is given up after this.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);
/// A client hears the last word within this, or never.
pub(super) const HEARD_WITHIN: Duration = Duration::from_secs(60);
/// It has this long once the job ends.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(2);
/// Then its tasks have this long to end.
const ABANDONED_GRACE: Duration = Duration::from_secs(5);
/// Between two looks whether the head answers, and between two tries to tell it the end.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What happens to a step.
#[derive(Debug)]
pub(super) enum Event {
    Exited {
        at: usize,
        exit: TaskExit,
    },
    /// Bytes of a task to its library's server; none: it has closed.
    Library {
        at: usize,
        bytes: Vec<u8>,
        /// Given back when the bytes were heard.
        room: OwnedSemaphorePermit,
    },
    ClientGone,
    Closing,
    /// Somebody else wants to see the output, and may send input and signals.
    Joined(Arc<Session>),
    /// Input was taken by all tasks that wanted it; whoever sent it hears so.
    InputTaken {
        from: Arc<Session>,
        bytes: u64,
    },
    Told(Said),
    /// Somebody asks what the step uses.
    Asked(oneshot::Sender<PartUsage>),
}

pub(super) type Events = mpsc::UnboundedSender<Event>;

struct Task {
    number: u32,
    pid: Pid,
    child: Child,
    input: Option<Queue>,
    terminal: Option<Arc<Terminal>>,
    library: Option<mpsc::Sender<Vec<u8>>>,
    exit: Option<TaskExit>,
    report: Report<PipeReader>,
    daemon_peak: u64,
    usage: TaskUsage,
}

struct Step {
    steps: Steps,
    order: StepOrder,
    tasks: Vec<Task>,
    audience: Arc<Audience>,
    events: Events,
    library: Option<Local>,
    carriers: JoinSet<()>,
    kill_at: Option<Instant>,
    families: Families,
    /// When its processes are looked at next, and the pause before that.
    look_at: Instant,
    pause: Duration,
    /// What the kernel has killed of the job since the step began.
    kills: Kills,
    /// It was ended for taking more memory than it may.
    over_limit: bool,
}

/// Runs a step to its end.
pub(super) async fn run(
    steps: &Steps,
    session: &Arc<Session>,
    messages: mpsc::Receiver<Vec<u8>>,
    order: StepOrder,
    (events, inbox): (Events, mpsc::UnboundedReceiver<Event>),
) {
    let audience = Arc::new(Audience::new(Arc::clone(session)));
    let (run, number, rank) = (order.run, order.step, order.rank);
    let bound = bind_sets(steps, &order);
    let started = bound.and_then(|sets| {
        steps.bound(&sets, true);
        // What is opened may be on a file system that is slow to answer.
        let start = || Step::start(order, &sets, steps, &audience, events);
        match tokio::task::block_in_place(start) {
            Ok(step) => Ok((step, sets)),
            Err(why) => {
                steps.bound(&sets, false);
                Err(why)
            }
        }
    });
    let end = match started {
        Ok((step, sets)) => {
            let gone =
                others::watch_client(steps.clone(), Arc::clone(session), step.events.clone());
            let gone = tokio::spawn(gone);
            let heard = others::listen(Arc::clone(session), messages, step.events.clone());
            let heard = tokio::spawn(heard);
            let end = step.live(inbox).await;
            gone.abort();
            heard.abort();
            steps.bound(&sets, false);
            end
        }
        Err(why) => {
            audience.tell(FromNode::Refused { why });
            StepPartEnd { exit_code: 1, ..Default::default() }
        }
    };
    if !steps.place().is_node() {
        steps.free_gpus(number);
        others::report(steps, run, number, &StepPartEnd { rank, ..end }).await;
    }
    audience.tell(FromNode::Done);
    steps.heard(session).await;
}

fn bind_sets(steps: &Steps, order: &StepOrder) -> Result<Vec<Vec<u32>>, String> {
    let own = steps.cpus();
    bind::sets(&order.bind, order.tasks.len(), order.cpus_per_task, order.node_cpus, &own)
}

fn pid_of(task: &Task) -> u32 {
    task.pid.as_raw_nonzero().get().unsigned_abs()
}

impl Step {
    fn start(
        order: StepOrder,
        sets: &[Vec<u32>],
        steps: &Steps,
        audience: &Arc<Audience>,
        events: Events,
    ) -> Result<Self, String> {
        let numbers = order.tasks.iter().map(|task| task.number).collect();
        let mut step = Self {
            steps: steps.clone(),
            library: order.library.as_ref().map(|library| Local::new(library, numbers)),
            tasks: Vec::with_capacity(order.tasks.len()),
            audience: Arc::clone(audience),
            events,
            carriers: JoinSet::new(),
            kill_at: None,
            families: Families::default(),
            look_at: Instant::now() + FIRST_LOOK,
            pause: FIRST_LOOK,
            kills: Kills::watch(),
            over_limit: false,
            order,
        };
        for (at, cpus) in sets.iter().enumerate() {
            let started = spawn::spawn(&step.order, &step.order.tasks[at], cpus, steps.place())
                .and_then(|spawned| step.adopt(at, spawned));
            if let Err(why) = started {
                step.abandon();
                return Err(why);
            }
        }
        let tasks = step.tasks.iter().map(|task| (task.number, pid_of(task))).collect();
        audience.tell(FromNode::Launched { tasks });
        Ok(step)
    }

    /// Its start has failed half-way: those that were started end now, and leave nothing.
    fn abandon(mut self) {
        self.signal(Signal::KILL, &[]);
        for task in &mut self.tasks {
            let _ = task.child.wait();
        }
    }

    /// Takes a task in, whatever becomes of the ways to it: it must be reaped.
    fn adopt(&mut self, at: usize, spawned: Spawned) -> Result<(), String> {
        let pid = Pid::from_child(&spawned.child);
        self.tasks.push(Task {
            number: self.order.tasks[at].number,
            pid,
            child: spawned.child,
            input: None,
            terminal: spawned.terminal,
            library: None,
            exit: None,
            report: spawned.report,
            daemon_peak: spawned.daemon_peak,
            usage: TaskUsage::default(),
        });
        let failed = |error| format!("cannot reach a task: {}", task::words(&error));
        let mut joined = self.join(at, spawned.ends);
        let last_words = joined.as_mut().ok().and_then(Option::take);
        let events = self.events.clone();
        let waits = std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
            let exit = exit::wait(pid);
            if let Some(last_words) = last_words {
                last_words.wait();
            }
            let _ = events.send(Event::Exited { at, exit });
        });
        joined.map_err(failed)?;
        waits.map(drop).map_err(failed)
    }

    /// Joins the daemon's ends to those who read and write; where there is a library, when it has
    /// said its last.
    fn join(&mut self, at: usize, ends: Ends) -> std::io::Result<Option<LastWords>> {
        let task = &mut self.tasks[at];
        let number = task.number;
        if let Some(terminal) = &task.terminal {
            task.input = Some(input::feed(terminal.writer()?, input::END_OF_TERMINAL));
            let (from, audience) = (terminal.reader()?, Arc::clone(&self.audience));
            self.carriers.spawn(output::carry(from, audience, number, Channel::Out, false));
        }
        if let Some(pipe) = ends.input {
            task.input = Some(input::feed(pipe::Sender::from_owned_fd(pipe)?, &[]));
        }
        for (pipe, channel) in [(ends.output, Channel::Out), (ends.error, Channel::Err)] {
            let Some(pipe) = pipe else { continue };
            let from = pipe::Receiver::from_owned_fd(pipe)?;
            let audience = Arc::clone(&self.audience);
            let by_lines = channel == Channel::Out && !self.order.unbuffered;
            self.carriers.spawn(output::carry(from, audience, number, channel, by_lines));
        }
        let Some(socket) = ends.library else { return Ok(None) };
        let (answers, last_words) = library::speak(socket, at, self.events.clone())?;
        task.library = Some(answers);
        Ok(Some(last_words))
    }

    /// Until all tasks have ended and their output is on its way.
    async fn live(mut self, mut inbox: mpsc::UnboundedReceiver<Event>) -> StepPartEnd {
        while self.tasks.iter().any(|task| task.exit.is_none()) {
            let (kill_at, look_at) = (self.kill_at, self.look_at);
            tokio::select! {
                Some(event) = inbox.recv() => self.happen(event),
                () = at(kill_at), if kill_at.is_some() => {
                    self.kill_at = None;
                    self.signal(Signal::KILL, &[]);
                }
                () = tokio::time::sleep_until(look_at.into()) => {
                    let age = self.pause / 2;
                    tokio::task::block_in_place(|| self.look(age));
                    self.pause = usage::next_pause(self.pause, self.order.memory_bytes.is_some());
                    self.look_at = Instant::now() + self.pause;
                }
            }
        }
        // What tasks have left behind ends with the step.
        self.sweep();
        for task in &mut self.tasks {
            task.input = None;
        }
        let drained = async { while self.carriers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN_WITHIN, drained).await;
        self.reap()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Exited { at, mut exit } => {
                let library = self.library.as_ref();
                exit.unfinished = library.is_some_and(|library| library.is_unfinished(at));
                let killed = exit.signal == Signal::KILL.as_raw();
                exit.out_of_memory = killed && self.killed_for_memory() > 0;
                let task = &mut self.tasks[at];
                task.exit = Some(exit);
                task.input = None;
                task.usage.pids.clear();
                self.audience.tell(FromNode::Ended { task: task.number, exit });
            }
            Event::Library { at, bytes, room } => {
                let acts = self.library.as_mut().map(|library| library.take(at, &bytes));
                drop(room);
                self.act(acts.unwrap_or_default());
            }
            Event::ClientGone => self.end(ABANDONED_GRACE),
            Event::Closing => self.audience.tell(FromNode::Cancelled),
            Event::Joined(watcher) => {
                if !self.audience.join(Arc::clone(&watcher)) {
                    let why = "as many watch this step as may".to_owned();
                    watcher.send_now(Message::Control(FromNode::Refused { why }).encode());
                }
            }
            Event::Told(message) => self.told(message),
            Event::InputTaken { from, bytes } => {
                from.send_now(Message::Control(FromNode::InputTaken { bytes }).encode());
            }
            Event::Asked(answer) => {
                tokio::task::block_in_place(|| self.look(Duration::ZERO));
                // One that was not looked at yet, or has ended, uses nothing now.
                let living = self.tasks.iter().filter(|task| !task.usage.pids.is_empty());
                let used = living.map(|task| (task.number, &task.usage));
                let _ = answer.send(usage::together(used, true));
            }
        }
    }

    /// Looks at the processes of its tasks, at most this long ago.
    fn look(&mut self, age: Duration) {
        let roots: Vec<u32> = self.tasks.iter().map(pid_of).collect();
        let all = self.steps.processes(age);
        let members = self.families.of(&all, &roots);
        for task in self.tasks.iter_mut().filter(|task| task.exit.is_none()) {
            // Before that it is still the daemon's program.
            let Some(launcher) = task.report.launcher() else { continue };
            let Some(found) = members.get(&pid_of(task)) else { continue };
            let peak = found.iter().filter_map(|process| proc::peak_bytes(process.pid)).max();
            task.usage.look(found, peak.unwrap_or(0), launcher);
        }
        if let Some(limit) = self.order.memory_bytes.filter(|_| !self.over_limit) {
            self.hold_to(limit, &members);
        }
    }

    /// How often something was killed since the step began.
    fn killed_for_memory(&self) -> u64 {
        if self.over_limit { 1 } else { self.kills.since() }
    }

    /// Ends the step if its tasks take more than this together, as Slurm's daemon does.
    fn hold_to(&mut self, limit: u64, members: &BTreeMap<u32, Vec<Process>>) {
        let of_tasks = |task: &Task| {
            let alive = task.exit.is_none() && !task.usage.pids.is_empty();
            alive.then(|| members.get(&pid_of(task))).flatten()
        };
        let all: Vec<&Process> = self.tasks.iter().filter_map(of_tasks).flatten().collect();
        if usage::resident(all.iter().copied()) > limit
            && memory::together(all.iter().copied()) > limit
        {
            self.over_limit = true;
            self.signal(Signal::KILL, &[]);
            // Those that have left the groups of their tasks, too.
            all.into_iter().for_each(proc::kill);
        }
    }

    fn told(&mut self, Said { message, from, room }: Said) {
        match message {
            Message::Data { task, channel: Channel::In, bytes } => {
                let ends = bytes.is_empty();
                let chunk = Chunk::new(bytes, from, room, self.events.clone());
                self.feed(task, &chunk, ends);
            }
            Message::Control(ToNode::Signal { signal, tasks }) => {
                if let Some(signal) = Signal::from_named_raw(signal) {
                    self.signal(signal, &tasks);
                }
            }
            Message::Control(ToNode::Resize { rows, columns }) => {
                for terminal in self.tasks.iter().filter_map(|task| task.terminal.as_ref()) {
                    terminal.resize(rows, columns);
                }
            }
            Message::Control(ToNode::End { grace_ms }) => self.end(Duration::from_millis(grace_ms)),
            Message::Control(ToNode::BarrierOut { puts }) => {
                let acts = self.library.as_mut().map(|library| library.barrier_out(puts));
                self.act(acts.unwrap_or_default());
            }
            Message::Control(
                ToNode::Launch(_) | ToNode::Attach { .. } | ToNode::Usage { .. } | ToNode::Bye,
            )
            | Message::Data { .. } => {}
        }
    }

    fn feed(&mut self, wanted: u32, chunk: &Arc<Chunk>, ends: bool) {
        let is_wanted = |task: &Task| wanted == EVERY_TASK || task.number == wanted;
        for task in self.tasks.iter_mut().filter(|task| is_wanted(task)) {
            if let Some(queue) = &task.input {
                let _ = queue.send(Arc::clone(chunk));
            }
            if ends {
                task.input = None;
            }
        }
    }

    fn act(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Say { at, bytes } => {
                    let task = &self.tasks[at];
                    let sent = task.library.as_ref().map(|library| library.try_send(bytes));
                    // It asks and asks and never reads an answer: nothing comes of it any more.
                    if let Some(Err(TrySendError::Full(_))) = sent {
                        self.signal(Signal::KILL, &[task.number]);
                    }
                }
                Act::BarrierIn { puts } => self.audience.tell_client(FromNode::BarrierIn { puts }),
                Act::Abort { at, code, text } => {
                    let task = self.tasks[at].number;
                    self.audience.tell_client(FromNode::Abort { task, code, text });
                }
            }
        }
    }

    /// TERM now, and KILL after the grace; a second time can only be sooner.
    fn end(&mut self, grace: Duration) {
        let kill_at = Instant::now() + grace;
        if self.kill_at.is_none() {
            self.signal(Signal::TERM, &[]);
            self.signal(Signal::CONT, &[]);
        }
        self.kill_at = Some(self.kill_at.map_or(kill_at, |sooner| sooner.min(kill_at)));
    }

    /// To tasks that live, by their numbers; none: all.
    fn signal(&self, signal: Signal, numbers: &[u32]) {
        let meant = |task: &&Task| numbers.is_empty() || numbers.contains(&task.number);
        for task in self.tasks.iter().filter(meant).filter(|task| task.exit.is_none()) {
            // Not yet a group of its own when it has only just been made.
            if kill_process_group(task.pid, signal).is_err() {
                let _ = kill_process(task.pid, signal);
            }
        }
    }

    fn sweep(&self) {
        for task in &self.tasks {
            // Its number is still held by the zombie, so the group is the task's.
            let _ = kill_process_group(task.pid, Signal::KILL);
        }
    }

    fn reap(&mut self) -> StepPartEnd {
        let mut end = StepPartEnd::default();
        for task in &mut self.tasks {
            let exit = task.exit.unwrap_or_default();
            end.exit_code = end.exit_code.max(exit.code);
            if end.signal == 0 {
                end.signal = exit.signal;
            }
            if let Some(spent) = exit::reap(&mut task.child) {
                task.usage.settle(spent, task.report.launcher(), task.daemon_peak);
            }
        }
        let kills = self.killed_for_memory();
        let mut exits = self.tasks.iter().filter_map(|task| task.exit);
        end.out_of_memory = exits.any(|exit| memory::is_cause(&exit, kills));
        if end.out_of_memory {
            let text = memory::notice(&self.order.label, kills);
            self.audience.tell_client(FromNode::Notice { text });
        }
        let used = usage::together(self.tasks.iter().map(|task| (task.number, &task.usage)), false);
        usage::put(&mut end, &used);
        end
    }
}

async fn at(when: Option<Instant>) {
    if let Some(when) = when {
        tokio::time::sleep_until(when.into()).await;
    }
}
