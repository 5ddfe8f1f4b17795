//! One part of a step, seen from the client that started it: a session with the step daemon of a
//! node, on streams that are made again for as long as the job, or the node, lives.
//!
//! Invariant: what a daemon said is delivered before the word that it is gone. Deliberately absent:
//! what the messages mean.
use crate::message::{FromNode, Message, ToNode};
use crate::session::Session;
use pcluster_api::AllocationView;
use pcluster_api::client::{Client, ClientError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Between two tries to reach a node.
const AGAIN: Duration = Duration::from_millis(300);
/// A node that cannot be reached for this long is spoken of.
const SAY_AFTER: Duration = Duration::from_secs(10);
/// Between two questions whether the job is still there while its node cannot be reached.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// What comes from a part.
#[derive(Debug)]
pub enum News {
    Message(Message<FromNode>),
    /// It is out of reach for now, and why.
    Away(String),
    /// It was said to be out of reach, and is there again.
    Back,
    /// There is nobody to speak with any more, and why.
    Gone(String),
    /// Its daemon is another one now, which does not know the step and has ended what was left of it.
    Forgotten(String),
}

/// A part of a step.
#[derive(Debug, Clone)]
pub struct Part {
    session: Arc<Session>,
}

impl Part {
    /// Starts to speak with the daemon of this rank of a job; news carry `index`.
    #[must_use]
    pub fn connect(
        client: &Client,
        job: &Whose,
        rank: u32,
        index: usize,
        news: &mpsc::Sender<(usize, News)>,
    ) -> Self {
        Self::reach(client, Daemon::OfRun { job: job.clone(), rank }, index, news)
    }

    /// Starts to speak with this daemon; news carry `index`.
    #[must_use]
    pub fn reach(
        client: &Client,
        daemon: Daemon,
        index: usize,
        news: &mpsc::Sender<(usize, News)>,
    ) -> Self {
        let (session, mut messages) = Session::new(key());
        let (over, ended) = tokio::sync::oneshot::channel();
        let line = Line { client: client.clone(), daemon, index, news: news.clone() };
        let of_line = Arc::clone(&session);
        tokio::spawn(async move {
            let _ = over.send(line.keep(&of_line).await);
        });
        let news = news.clone();
        tokio::spawn(async move {
            let mut ended = ended;
            loop {
                let message = tokio::select! {
                    biased;
                    message = messages.recv() => message,
                    why = &mut ended => {
                        // What lies in the queue was said before.
                        while let Ok(message) = messages.try_recv() {
                            deliver(&news, index, &message).await;
                        }
                        let last = why.unwrap_or_else(|_| News::Gone(String::new()));
                        let _ = news.send((index, last)).await;
                        return;
                    }
                };
                let Some(message) = message else { return };
                deliver(&news, index, &message).await;
            }
        });
        Self { session }
    }

    /// Tells the daemon something, now or when it can be reached again.
    pub fn tell(&self, message: ToNode) {
        self.session.send_now(Message::Control(message).encode());
    }

    pub fn input(&self, message: &Message<ToNode>) {
        self.session.send_now(message.encode());
    }

    /// Waits until everything told has arrived.
    pub async fn settled(&self) {
        self.session.settled().await;
    }
}

async fn deliver(news: &mpsc::Sender<(usize, News)>, index: usize, message: &[u8]) {
    if let Some(message) = Message::decode(message) {
        let _ = news.send((index, News::Message(message))).await;
    }
}

/// Which step daemon is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Daemon {
    /// That of a run, on the node of this rank.
    OfRun { job: Whose, rank: u32 },
    /// The node's own, which belongs to no run.
    OfNode(String),
}

impl Daemon {
    async fn attach(&self, client: &Client) -> Result<tokio::net::UnixStream, ClientError> {
        match self {
            Self::OfRun { job, rank } => client.attach(job.run, *rank).await,
            Self::OfNode(name) => client.attach_node(name).await,
        }
    }

    /// Why there is nobody to wait for: the head says that the run, or the node, is no more.
    async fn is_over(&self, client: &Client) -> Option<&'static str> {
        let (over, why) = match self {
            Self::OfRun { job, .. } => {
                let now = client.allocation(&job.id).await.map(|now| now.run != job.run);
                (now, "the job has ended, or is to run again")
            }
            Self::OfNode(name) => {
                let now = client.node(name).await.map(|now| now.node.gone_at_ms.is_some());
                (now, "the node is gone")
            }
        };
        let is_over = match over {
            Ok(over) => over,
            Err(ClientError::Problem(problem)) => !is_for_now(&problem),
            Err(_) => false,
        };
        is_over.then_some(why)
    }
}

/// The job that a part is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// `41`, `41_3`.
    pub id: String,
    pub run: u64,
}

impl Whose {
    /// That of this allocation.
    #[must_use]
    pub fn of(job: &AllocationView) -> Self {
        let id = match job.task {
            Some(task) => format!("{}_{task}", job.job),
            None => job.job.to_string(),
        };
        Self { id, run: job.run }
    }
}

struct Line {
    client: Client,
    daemon: Daemon,
    index: usize,
    news: mpsc::Sender<(usize, News)>,
}

impl Line {
    /// Makes streams until that is of no use; says why.
    async fn keep(&self, session: &Arc<Session>) -> News {
        let mut resumed = false;
        let mut away_since: Option<Instant> = None;
        let (mut said, mut asked) = (false, Instant::now());
        loop {
            match self.daemon.attach(&self.client).await {
                Ok(stream) => {
                    away_since = None;
                    if std::mem::take(&mut said) {
                        self.tell(News::Back).await;
                    }
                    let ended = session.dial(stream, &mut resumed).await;
                    if let Err(error) = ended
                        && error.kind() == std::io::ErrorKind::ConnectionRefused
                    {
                        return News::Forgotten(error.to_string());
                    }
                }
                Err(ClientError::Problem(problem)) if !is_for_now(&problem) => {
                    return News::Gone(problem.message);
                }
                Err(error) => {
                    let since = *away_since.get_or_insert_with(Instant::now);
                    // A node may be silent for long, and a suspended job is; whether it is lost is
                    // the head's word.
                    if asked.elapsed() > ASK_EVERY {
                        asked = Instant::now();
                        if let Some(why) = self.daemon.is_over(&self.client).await {
                            return News::Gone(why.to_owned());
                        }
                    }
                    if since.elapsed() > SAY_AFTER && !said {
                        said = true;
                        self.tell(News::Away(error.to_string())).await;
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Whoever listens no more hears nothing.
    async fn tell(&self, news: News) {
        let _ = self.news.send((self.index, news)).await;
    }
}

/// True when another try makes sense.
fn is_for_now(problem: &pcluster_api::Problem) -> bool {
    use pcluster_api::ProblemKind as P;
    matches!(problem.kind, P::Unavailable | P::Busy | P::Timeout)
}

/// A name that nobody can guess.
#[must_use]
pub fn key() -> String {
    let mut bytes = [0_u8; 16];
    // From the kernel; without it nothing here could be secret, so the time must do.
    if rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_err() {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        bytes = now.unwrap_or_default().as_nanos().to_be_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
