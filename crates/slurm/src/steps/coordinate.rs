//! The life of a step: orders to the parts, output and ends from them, signals and barriers between.
//!
//! Invariant: it ends when every part has said that it is done or is gone; the code is the highest
//! of the tasks. Deliberately absent: making the step, and its layout.
use super::console::Console;
use super::exits::{Exits, task_list};
use super::signals::{Interrupt, Interrupts, Signals, Told};
use crate::words::clock::Clock;
use pcluster_api::StepPartEnd;
use pcluster_api::client::Client;
use pcluster_client::terminal;
use pcluster_steps::feed::Feed;
use pcluster_steps::message::{FromNode, Message, StepOrder, ToNode};
use pcluster_steps::part::{News, Part, Whose};
use pcluster_steps::pmi::Hub;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// News of parts that may wait.
const QUEUE: usize = 64;
/// Ends of one moment are told together.
const TOGETHER: Duration = Duration::from_millis(30);
/// TERM to KILL for the tasks of a step that is ended from here.
const GRACE: Duration = Duration::from_secs(30);
/// A part that is told to end and says nothing for this long is given up.
const GIVE_UP: Duration = Duration::from_secs(32);
/// As a shell shows a program that SIGPIPE has ended.
const BROKEN_PIPE: i32 = 128 + 13;
/// The signal of tasks whose daemon was killed: the next one kills them.
const KILLED: i32 = 9;
/// The last words to the parts.
const BYE_WITHIN: Duration = Duration::from_secs(2);

/// What a step does beside running its tasks.
#[derive(Debug)]
pub(super) struct Manner {
    pub job: Whose,
    /// `165.0`.
    pub label: String,
    pub kill_on_bad_exit: bool,
    pub wait: Option<Duration>,
    pub time_limit: Option<Duration>,
    pub quit_on_interrupt: bool,
    pub quiet: bool,
    pub verbose: bool,
    pub pty: bool,
}

/// Runs a step to its end and gives its exit code.
pub(super) async fn coordinate(
    client: &Client,
    orders: Vec<StepOrder>,
    nodes: Vec<String>,
    manner: Manner,
    console: Console,
    feed: Feed,
    signals: Signals,
) -> u8 {
    let (sender, news) = mpsc::channel(QUEUE);
    let parts: Vec<Part> = orders
        .iter()
        .enumerate()
        .map(|(index, order)| Part::connect(client, &manner.job, order.rank, index, &sender))
        .collect();
    let tasks = orders.iter().map(|order| order.tasks.iter().map(|task| task.number).collect());
    let step = Step {
        tasks: tasks.collect(),
        hub: Hub::new(parts.len()),
        done: vec![false; parts.len()],
        living: orders
            .iter()
            .flat_map(|order| order.tasks.iter().map(|task| task.number))
            .collect(),
        parts,
        nodes,
        manner,
        console: Some(console),
        feed,
        exits: Exits::default(),
        interrupts: Interrupts::default(),
        ends_at: None,
        wait_at: None,
        give_up_at: None,
        cancelled_said: false,
        launched: false,
        silent: false,
        forgotten: Vec::new(),
    };
    let places: Vec<(u64, u32, u32)> =
        orders.iter().map(|order| (order.run, order.step, order.rank)).collect();
    for (part, order) in step.parts.iter().zip(orders) {
        part.tell(ToNode::Launch(Box::new(order)));
    }
    let (code, forgotten) = step.run(news, signals).await;
    for (run, step, rank) in forgotten.into_iter().filter_map(|part| places.get(part).copied()) {
        // Nobody else can tell the head: its CPUs are for the next step. The end of the job ends it, too.
        let end = StepPartEnd { rank, signal: KILLED, ..StepPartEnd::default() };
        let _ = client.end_step(run, step, &end).await;
    }
    code
}

struct Step {
    parts: Vec<Part>,
    nodes: Vec<String>,
    /// Numbers of the tasks of each part.
    tasks: Vec<Vec<u32>>,
    living: Vec<u32>,
    done: Vec<bool>,
    hub: Hub,
    manner: Manner,
    /// `None`: nobody reads any more.
    console: Option<Console>,
    feed: Feed,
    exits: Exits,
    interrupts: Interrupts,
    /// End of the time limit.
    ends_at: Option<Instant>,
    /// End of `--wait`.
    wait_at: Option<Instant>,
    give_up_at: Option<Instant>,
    cancelled_said: bool,
    launched: bool,
    /// Nobody reads what tasks write.
    silent: bool,
    /// Parts whose daemon was killed.
    forgotten: Vec<usize>,
}

/// A line on stderr; a terminal in raw mode needs the carriage return. What a daemon says comes from
/// its user, whoever reads it: it must not move the cursor.
fn line_of(text: &str, raw: bool) -> String {
    format!("{}{}", pcluster_client::text::clean(text), if raw { "\r\n" } else { "\n" })
}

impl Step {
    async fn run(
        mut self,
        mut news: mpsc::Receiver<(usize, News)>,
        mut signals: Signals,
    ) -> (u8, Vec<usize>) {
        self.ends_at = self.manner.time_limit.map(|limit| Instant::now() + limit);
        while self.done.iter().any(|done| !done) {
            let tell_at = self.exits.has_news().then(|| Instant::now() + TOGETHER);
            let next =
                [self.ends_at, self.wait_at, self.give_up_at, tell_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                told = signals.next() => self.told(told),
                Some((part, news)) = news.recv() => self.hear(part, news),
                message = self.feed.next(), if self.feed.wants() => {
                    for (at, part) in self.parts.iter().enumerate() {
                        if self.feed.feeds(at) {
                            part.input(&message);
                        }
                    }
                }
                () = until(next), if next.is_some() => self.on_time(),
            }
        }
        self.tell_exits();
        if self.exits.forced() && !self.manner.quiet && !self.silent {
            self.say(&format!("Force Terminated StepId={}", self.manner.label));
        }
        for part in &self.parts {
            part.tell(ToNode::Bye);
        }
        let byes = async {
            for (at, part) in self.parts.iter().enumerate() {
                if !self.forgotten.contains(&at) {
                    part.settled().await;
                }
            }
        };
        let _ = tokio::time::timeout(BYE_WITHIN, byes).await;
        (self.exits.code(), self.forgotten)
    }

    fn say(&self, text: &str) {
        self.line(&format!("srun: {text}"));
    }

    fn line(&self, text: &str) {
        crate::talk(line_of(text, self.manner.pty));
    }

    fn hear(&mut self, part: usize, news: News) {
        match news {
            News::Message(Message::Data { task, channel, bytes }) => {
                if let Some(console) = &mut self.console
                    && let Err(error) = console.write(task, channel, &bytes)
                {
                    self.console = None;
                    if error.kind() == std::io::ErrorKind::BrokenPipe {
                        // Nobody reads any more: as for any program in a pipe, without a word.
                        self.exits.fix(BROKEN_PIPE);
                        self.silent = true;
                    } else {
                        self.say(&format!("error: cannot write the output: {error}"));
                        self.exits.at_least(1);
                    }
                    self.end(GRACE);
                }
            }
            News::Message(Message::Control(message)) => self.control(part, message),
            News::Back => {}
            News::Away(_) => {
                let node = &self.nodes[part];
                self.say(&format!("waiting for node {node}: it or the head is out of reach"));
            }
            News::Gone(why) => self.gone(part, &why),
            News::Forgotten(why) => {
                if !self.done[part] {
                    self.forgotten.push(part);
                }
                self.gone(part, &why);
            }
        }
    }

    fn control(&mut self, part: usize, message: FromNode) {
        match message {
            FromNode::Launched { .. } => {
                if self.manner.verbose && !self.launched {
                    self.say(&format!(
                        "launching StepId={} on host {}",
                        self.manner.label, self.nodes[part]
                    ));
                }
                self.launched = true;
            }
            FromNode::Refused { why } => {
                let (label, node) = (&self.manner.label, &self.nodes[part]);
                self.line(&format!("slurmstepd: error: {why}"));
                self.say(&format!(
                    "error: task launch for StepId={label} failed on node {node}: {why}"
                ));
                let mine = &self.tasks[part];
                self.living.retain(|task| !mine.contains(task));
                self.exits.at_least(1);
                self.end(GRACE);
            }
            FromNode::Ended { task, exit } => {
                self.living.retain(|living| *living != task);
                self.exits.add(&self.nodes[part], task, exit);
                let failed = exit.shell_code() != 0;
                let first = self.wait_at.is_none() && self.give_up_at.is_none();
                if failed && (self.manner.kill_on_bad_exit || exit.unfinished) {
                    self.tell_exits();
                    if self.give_up_at.is_none() && !self.living.is_empty() {
                        self.say(&format!("Terminating StepId={}", self.manner.label));
                        self.cancelled();
                    }
                    self.end(GRACE);
                } else if first && !self.living.is_empty() {
                    self.wait_at = self.manner.wait.map(|wait| Instant::now() + wait);
                }
            }
            FromNode::InputTaken { bytes } => self.feed.taken(part, bytes),
            FromNode::Notice { text } => self.line(&text),
            FromNode::Cancelled => self.cancelled(),
            FromNode::BarrierIn { puts } => {
                if let Some(puts) = self.hub.came(part, puts) {
                    for part in &self.parts {
                        part.tell(ToNode::BarrierOut { puts: puts.clone() });
                    }
                }
            }
            FromNode::Abort { task, code, text } => {
                let text = if text.is_empty() { text } else { format!(": {text}") };
                self.say(&format!("error: task {task} aborts the step with code {code}{text}"));
                self.exits.fix(code.clamp(1, 255));
                self.cancelled();
                self.end(Duration::from_secs(2));
            }
            FromNode::Done => {
                self.done[part] = true;
                self.feed.gone(part);
            }
            // It was not asked for.
            FromNode::Usage(_) => {}
        }
    }

    fn gone(&mut self, part: usize, why: &str) {
        if self.done[part] {
            return;
        }
        self.done[part] = true;
        self.feed.gone(part);
        let lost: Vec<u32> =
            self.tasks[part].iter().copied().filter(|task| self.living.contains(task)).collect();
        self.living.retain(|task| !lost.contains(task));
        if !self.cancelled_said {
            let node = &self.nodes[part];
            self.say(&format!("error: Node failure on {node}: {why}"));
        }
        self.exits.at_least(1);
        self.end(GRACE);
    }

    /// `slurmstepd: error: *** STEP 165.0 ON c1 CANCELLED AT … ***`, once.
    fn cancelled(&mut self) {
        self.cancelled_with("");
    }

    fn cancelled_with(&mut self, why: &str) {
        if std::mem::replace(&mut self.cancelled_said, true) {
            return;
        }
        let clock = Clock::here();
        let now = clock.standard(clock.now_ms);
        let node = self.nodes.first().cloned().unwrap_or_default();
        let label = &self.manner.label;
        self.line(&format!(
            "slurmstepd: error: *** STEP {label} ON {node} CANCELLED AT {now}{why} ***"
        ));
    }

    /// Ends all tasks.
    fn end(&mut self, grace: Duration) {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(0);
        for part in &self.parts {
            part.tell(ToNode::End { grace_ms });
        }
        let give_up = Instant::now() + grace.max(Duration::from_secs(8)) + (GIVE_UP - GRACE);
        self.give_up_at = Some(self.give_up_at.map_or(give_up, |at| at.min(give_up)));
    }

    fn abort(&mut self) {
        self.say("Job step aborted: Waiting up to 32 seconds for job step to finish.");
        self.cancelled();
        self.end(GRACE);
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if past(self.ends_at) {
            self.ends_at = None;
            self.cancelled_with(" DUE TO TIME LIMIT");
            self.say("Job step aborted: Waiting up to 32 seconds for job step to finish.");
            self.end(GRACE);
        }
        if past(self.wait_at) {
            self.wait_at = None;
            let seconds = self.manner.wait.unwrap_or_default().as_secs();
            self.say(&format!("First task exited {seconds}s ago"));
            self.running();
            self.say(&format!("Terminating StepId={}", self.manner.label));
            self.cancelled();
            self.end(GRACE);
        }
        if past(self.give_up_at) {
            self.say("error: Timed out waiting for job step to complete");
            self.exits.at_least(1);
            self.done.fill(true);
        }
        self.tell_exits();
    }

    fn tell_exits(&mut self) {
        for line in self.exits.take_lines().into_iter().filter(|_| !self.silent) {
            self.say(&format!("error: {line}"));
        }
    }

    fn running(&self) {
        if !self.living.is_empty() {
            let label = &self.manner.label;
            self.say(&format!("StepId={label} {}: running", task_list(&self.living)));
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Resized => {
                let (rows, columns) = terminal::size();
                for part in &self.parts {
                    part.tell(ToNode::Resize { rows, columns });
                }
            }
            Told::Forward(signal) => self.signal(signal),
            Told::End => {
                self.say("forcing job termination");
                self.abort();
            }
            Told::Interrupt if self.manner.quit_on_interrupt => {
                self.signal(2);
                self.abort();
            }
            Told::Interrupt => match self.interrupts.one_more(Instant::now()) {
                Interrupt::Status => {
                    self.say("interrupt (one more within 1 sec to abort)");
                    self.running();
                }
                Interrupt::Forward => {
                    self.say(&format!("sending Ctrl-C to StepId={}", self.manner.label));
                    self.signal(2);
                }
                Interrupt::Force => {
                    self.say("forcing job termination");
                    self.abort();
                }
            },
        }
    }

    fn signal(&self, signal: i32) {
        for part in &self.parts {
            part.tell(ToNode::Signal { signal, tasks: Vec::new() });
        }
    }
}

async fn until(when: Option<Instant>) {
    if let Some(when) = when {
        tokio::time::sleep_until(when.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_daemon_do_not_move_the_cursor() {
        assert_eq!(
            line_of("srun: error: \u{1b}[2Jall well", false),
            "srun: error: \\u{1b}[2Jall well\n"
        );
        assert_eq!(line_of("a\r\nb", true), "a\\r\\nb\r\n");
    }
}
