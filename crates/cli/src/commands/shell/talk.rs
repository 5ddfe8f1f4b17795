//! One conversation with what runs there: keys, output, signals, size and end.
//!
//! Invariant: the terminal is in raw mode only while this runs, and is given back however it ends;
//! nothing is said beside the program's own output but what keeps it from going on. Deliberately
//! absent: where that is (`place`), and streams (`pcluster_steps::part`).
use super::place::{Place, id_of};
use crate::failure::{Failure, Outcome, code};
use crate::{say, text};
use pcluster_api::client::{Client, ClientError};
use pcluster_api::{Problem, ProblemKind, StepPartEnd, StepRequest};
use pcluster_client::terminal::{self, Raw};
use pcluster_steps::feed::Feed;
use pcluster_steps::message::{
    Channel, FromNode, Input, Message, StepOrder, TaskExit, TaskOrder, ToNode,
};
use pcluster_steps::part::{Daemon, News, Part, Whose, key};
use std::io::{self, Write};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// News that may wait.
const QUEUE: usize = 64;
/// What is hung up on has this long until it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// Who has hung up waits at most this long for the end there.
const GIVE_UP: Duration = Duration::from_secs(5);
/// The last words.
const BYE_WITHIN: Duration = Duration::from_secs(2);
/// The one task.
const TASK: u32 = 0;
const HANG_UP: i32 = 1;
const INTERRUPT: i32 = 2;
const QUIT: i32 = 3;
const TERMINATE: i32 = 15;
/// What the key Ctrl-C sends.
const CTRL_C: u8 = 3;
/// Of this terminal: the program there speaks to it.
const OF_TERMINAL: [&str; 2] = ["TERM", "COLORTERM"];

/// The user's shell, where the node has it.
const SHELL: &str = r#"for shell in "$SHELL" bash; do
case $shell in '' | */nologin | */false) ;;
*) command -v "$shell" >/dev/null 2>&1 && exec "$shell" "$@" ;;
esac; done; exec /bin/sh "$@""#;
/// A command: a shell says in known words, with known codes, what it cannot run.
const COMMAND: &str = r#"exec "$@""#;

/// Runs a shell or a command there, to its end.
///
/// # Errors
/// It could not be started, or the way to it is lost for good.
pub(super) async fn converse(
    client: &Client,
    place: &Place,
    command: &[String],
    has_terminal: bool,
) -> Outcome {
    let signals = Signals::catch()?;
    let order = order(client, place, command, has_terminal).await?;
    let (daemon, node) = match place {
        Place::Job { job, rank, node } => {
            (Daemon::OfRun { job: Whose::of(job), rank: *rank }, node)
        }
        Place::Node(node) => (Daemon::OfNode(node.clone()), node),
    };
    let (run, step, rank) = (order.run, order.step, order.rank);
    let (sender, news) = mpsc::channel(QUEUE);
    let part = Part::reach(client, daemon, 0, &sender);
    part.tell(ToNode::Launch(Box::new(order)));
    let talk = Talk {
        part,
        node: node.clone(),
        feed: Feed::of(io::stdin(), TASK, 1),
        raw: has_terminal.then(Raw::enter),
        is_away: false,
        is_cancelled: false,
        give_up_at: None,
        end: None,
    };
    let (end, is_cancelled) = talk.run(signals, news).await;
    if is_cancelled && let Place::Job { job, .. } = place {
        say::line(format!("job {} is ending, and this with it", id_of(job)));
    }
    if matches!(end, End::Lost(_)) && matches!(place, Place::Job { .. }) {
        // Nobody else can tell the head; the end of the job ends the step, too.
        let end = StepPartEnd { rank, exit_code: 1, ..StepPartEnd::default() };
        let _ = client.end_step(run, step, &end).await;
    }
    match end {
        End::Exit(exit) => Ok(u8::try_from(exit.shell_code()).unwrap_or(code::OWN_TROUBLE)),
        End::HungUp(signal) => Ok(u8::try_from(128 + signal).unwrap_or(code::OWN_TROUBLE)),
        End::ClosedPipe => Err(Failure::ClosedPipe),
        End::Lost(why) => Err(Failure::refused(format!("there is no shell on {node}: {why}"))),
        End::LetGo => Err(Failure::refused(format!("let go of {node}, which is out of reach"))
            .hint("what runs there is ended once the head answers and nobody comes back to it")),
    }
}

/// Room for it, and what to run.
async fn order(
    client: &Client,
    place: &Place,
    command: &[String],
    has_terminal: bool,
) -> Result<StepOrder, Failure> {
    let (script, mut words) = if command.is_empty() {
        let login = matches!(place, Place::Node(_)).then(|| "-l".to_owned());
        (SHELL, login.into_iter().collect::<Vec<_>>())
    } else {
        (COMMAND, command.to_vec())
    };
    let mut argv: Vec<String> = ["/bin/sh", "-c", script, "pcluster"].map(str::to_owned).to_vec();
    argv.append(&mut words);
    let of_terminal = OF_TERMINAL.into_iter().filter(|_| has_terminal);
    let set = of_terminal.filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
    let mut order = StepOrder {
        tasks: vec![TaskOrder { number: TASK, argv, input: Input::Client, ..TaskOrder::default() }],
        environment: set.collect(),
        cpus_per_task: 1,
        terminal: has_terminal.then(terminal::size),
        unbuffered: true,
        as_the_job: true,
        ..StepOrder::default()
    };
    if let Place::Job { job, rank, .. } = place {
        let program =
            command.first().map_or("shell", |word| word.rsplit('/').next().unwrap_or(word));
        let count = |part: &pcluster_api::PartView| u32::from(part.rank == *rank);
        let request = StepRequest {
            key: key(),
            name: program.chars().filter(|c| !c.is_control()).take(60).collect(),
            tasks_by_rank: job.parts.iter().map(count).collect(),
            cpus_per_task: 1,
            overlap: true,
            ..StepRequest::default()
        };
        let grant = client.make_step(job.run, &request).await.map_err(no_step)?;
        (order.run, order.step, order.rank) = (job.run, grant.step, *rank);
        order.label = format!("{}.{}", job.raw_job, grant.step);
        order.work_dir.clone_from(&job.work_dir);
        order.node_cpus = job.parts.iter().find(|part| part.rank == *rank).map_or(1, |p| p.cpus);
    }
    Ok(order)
}

fn no_step(error: ClientError) -> Failure {
    let is_busy = matches!(&error, ClientError::Problem(Problem { kind: ProblemKind::Busy, .. }));
    let failure = Failure::from(error);
    if is_busy {
        failure.hint("again in a moment; pcluster show JOB says what it does")
    } else {
        failure
    }
}

/// How it ended.
enum End {
    Exit(TaskExit),
    /// This command was told to end, by this signal.
    HungUp(i32),
    /// Nobody reads any more.
    ClosedPipe,
    Lost(String),
    /// The person did not wait for a node out of reach.
    LetGo,
}

struct Talk {
    part: Part,
    node: String,
    feed: Feed,
    raw: Option<Raw>,
    is_away: bool,
    is_cancelled: bool,
    /// When the end of what was hung up on is not waited for any more.
    give_up_at: Option<Instant>,
    /// How it ends: what was first.
    end: Option<End>,
}

impl Talk {
    async fn run(
        mut self,
        mut signals: Signals,
        mut news: mpsc::Receiver<(usize, News)>,
    ) -> (End, bool) {
        let end = loop {
            let give_up = self.give_up_at;
            let is_over = tokio::select! {
                biased;
                signal = signals.next() => self.signalled(signal),
                Some((_, news)) = news.recv() => self.hear(news),
                message = self.feed.next(), if self.feed.wants() => self.input(&message),
                () = until(give_up), if give_up.is_some() => true,
            };
            if is_over {
                break self
                    .end
                    .take()
                    .unwrap_or_else(|| End::Lost("it said nothing of its end".to_owned()));
            }
        };
        self.part.tell(ToNode::Bye);
        if !matches!(end, End::Lost(_) | End::LetGo) {
            let _ = tokio::time::timeout(BYE_WITHIN, self.part.settled()).await;
        }
        (end, self.is_cancelled)
    }

    /// A line between the program's own; in raw mode it has to say where it begins.
    fn say(&self, words: &str) {
        let words = text::clean(words);
        let line = match &self.raw {
            Some(_) => format!("\r\npcluster: {words}\r\n"),
            None => format!("pcluster: {words}\n"),
        };
        // Nobody there to hear it is no failure.
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }

    /// True when it is over.
    fn hear(&mut self, news: News) -> bool {
        match news {
            News::Message(Message::Data { channel, bytes, .. }) => {
                if write(channel, &bytes).is_err() && self.give_up_at.is_none() {
                    self.hang_up(End::ClosedPipe);
                }
            }
            News::Message(Message::Control(message)) => return self.control(message),
            News::Away(why) => {
                self.is_away = true;
                self.say(&format!("{} is out of reach, Ctrl-C lets go: {why}", self.node));
            }
            News::Back => {
                self.is_away = false;
                self.say(&format!("{} is there again", self.node));
            }
            News::Gone(why) | News::Forgotten(why) => {
                self.end.get_or_insert(End::Lost(why));
                return true;
            }
        }
        false
    }

    fn control(&mut self, message: FromNode) -> bool {
        match message {
            FromNode::Refused { why } => {
                self.end.get_or_insert(End::Lost(why));
            }
            FromNode::Ended { exit, .. } => {
                self.end.get_or_insert(End::Exit(exit));
            }
            FromNode::InputTaken { bytes } => self.feed.taken(0, bytes),
            FromNode::Notice { text } => self.say(&text),
            FromNode::Cancelled => self.is_cancelled = true,
            FromNode::Done => return true,
            FromNode::Launched { .. }
            | FromNode::BarrierIn { .. }
            | FromNode::Abort { .. }
            | FromNode::Usage(_) => {}
        }
        false
    }

    fn input(&mut self, message: &Message<ToNode>) -> bool {
        let typed = match message {
            Message::Data { bytes, .. } => bytes.as_slice(),
            Message::Control(_) => &[],
        };
        if self.is_away && self.raw.is_some() && typed.contains(&CTRL_C) {
            self.end = Some(End::LetGo);
            return true;
        }
        self.part.input(message);
        false
    }

    fn signalled(&mut self, signal: Option<i32>) -> bool {
        match signal {
            None => {
                if self.raw.is_some() {
                    let (rows, columns) = terminal::size();
                    self.part.tell(ToNode::Resize { rows, columns });
                }
            }
            Some(INTERRUPT) if self.is_away => {
                self.end = Some(End::LetGo);
                return true;
            }
            Some(signal @ (INTERRUPT | QUIT)) => {
                self.part.tell(ToNode::Signal { signal, tasks: Vec::new() });
            }
            Some(signal) => self.hang_up(End::HungUp(signal)),
        }
        false
    }

    /// As a terminal that is closed; whoever ignores that is ended.
    fn hang_up(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.give_up_at.get_or_insert(Instant::now() + GIVE_UP);
        self.part.tell(ToNode::Signal { signal: HANG_UP, tasks: Vec::new() });
        let grace_ms = u64::try_from(GRACE.as_millis()).unwrap_or(0);
        self.part.tell(ToNode::End { grace_ms });
    }
}

fn write(channel: Channel, bytes: &[u8]) -> io::Result<()> {
    if channel == Channel::Err {
        return io::stderr().lock().write_all(bytes);
    }
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The signals of this process, caught from when this is made.
struct Signals {
    resized: Signal,
    others: Vec<(Signal, i32)>,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let numbers = [HANG_UP, INTERRUPT, QUIT, TERMINATE];
        let others = numbers.map(|number| Ok((signal(SignalKind::from_raw(number))?, number)));
        let others = others.into_iter().collect::<io::Result<_>>()?;
        Ok(Self { resized: signal(SignalKind::window_change())?, others })
    }

    /// The number of the next one; none: the terminal has another size.
    async fn next(&mut self) -> Option<i32> {
        std::future::poll_fn(|context| {
            if self.resized.poll_recv(context).is_ready() {
                return std::task::Poll::Ready(None);
            }
            for (signal, number) in &mut self.others {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(Some(*number));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

async fn until(when: Option<Instant>) {
    if let Some(when) = when {
        tokio::time::sleep_until(when.into()).await;
    }
}
