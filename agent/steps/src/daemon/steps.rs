//! All steps and sessions of the daemon.
//!
//! Invariant: a session is made once by whoever comes with an unknown name, and known until its step
//! is over and its client has heard so.
use super::gpus::Gpus;
use super::proc::{self, Process};
use super::usage::{self, Launcher, TaskUsage};
use super::{Place, others, step};
use crate::link::{Hello, Packet};
use crate::message::{FromNode, Message, PartUsage, StepOrder, ToNode};
use crate::session::Session;
use pcluster_api::client::Client;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// A session without an order after this is forgotten: longer than a head is away while its client
/// waits for it.
const FIRST_ORDER: Duration = Duration::from_secs(600);

/// Sessions at once, of steps and of those who look at them.
const SESSIONS: usize = 4096;

/// The daemon's state, shared by everything that runs in it.
#[derive(Debug, Clone)]
pub(super) struct Steps(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    client: Client,
    known: Mutex<Known>,
    seen: Mutex<Option<(Instant, Arc<Vec<Process>>)>>,
    /// Number of steps with living tasks.
    living: watch::Sender<usize>,
    /// True once the end of the job is near.
    closing: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Known {
    sessions: BTreeMap<String, Arc<Session>>,
    steps: BTreeMap<u32, mpsc::UnboundedSender<step::Event>>,
    /// How many tasks are bound to each CPU.
    bound: BTreeMap<u32, u32>,
    gpus: Gpus,
    closing: bool,
}

impl Steps {
    pub(super) fn new(place: Place) -> Self {
        let client = Client::new(place.socket.clone());
        let living = watch::channel(0).0;
        let closing = watch::channel(false).0;
        Self(Arc::new(Inner {
            place,
            client,
            known: Mutex::new(Known { gpus: Gpus::of_environment(), ..Known::default() }),
            seen: Mutex::default(),
            living,
            closing,
        }))
    }

    pub(super) fn place(&self) -> &Place {
        &self.0.place
    }

    pub(super) fn client(&self) -> &Client {
        &self.0.client
    }

    /// Somebody speaks with this daemon, or may come back.
    pub(super) fn is_used(&self) -> bool {
        !self.known().sessions.is_empty()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one stream whose other end has greeted.
    pub(super) async fn speak<S>(
        &self,
        mut stream: S,
        buffer: Vec<u8>,
        hello: Hello,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let session = self.known().sessions.get(&hello.session).cloned();
        let session = match session {
            Some(session) => session,
            None if hello.resumed => {
                let why = "the step daemon does not know this step any more".to_owned();
                return stream.write_all(&Packet::Refused(why).encode()).await;
            }
            None if self.known().sessions.len() >= SESSIONS => {
                let why = "too many speak with this step daemon".to_owned();
                return stream.write_all(&Packet::Refused(why).encode()).await;
            }
            None => {
                let (session, messages) = Session::of_stranger(hello.session.clone());
                self.known().sessions.insert(hello.session.clone(), Arc::clone(&session));
                let (steps, session_too) = (self.clone(), Arc::clone(&session));
                let name = hello.session.clone();
                tokio::spawn(async move {
                    steps.converse(&session_too, messages).await;
                    steps.known().sessions.remove(&name);
                });
                session
            }
        };
        session.answer(stream, buffer, &hello).await
    }

    async fn converse(&self, session: &Arc<Session>, mut messages: mpsc::Receiver<Vec<u8>>) {
        // Nothing is kept for ever of whoever only says hello.
        let Ok(first) = timeout(FIRST_ORDER, messages.recv()).await else { return };
        match first.as_deref().and_then(Message::<ToNode>::decode) {
            Some(Message::Control(ToNode::Launch(order))) => {
                self.launch(session, messages, *order).await;
            }
            Some(Message::Control(ToNode::Attach { step })) => {
                let events = self.known().steps.get(&step).cloned();
                let Some(events) = events else {
                    return refuse(session, "this step does not run on this node").await;
                };
                others::view(session, messages, &events).await;
            }
            Some(Message::Control(ToNode::Usage { step: Some(step) })) => {
                let events = self.known().steps.get(&step).cloned();
                let Some(events) = events else {
                    return refuse(session, "this step does not run on this node").await;
                };
                others::tell_usage(session, &events).await;
            }
            Some(Message::Control(ToNode::Usage { step: None })) => {
                others::say(
                    session,
                    FromNode::Usage(Box::new(tokio::task::block_in_place(|| self.of_script()))),
                )
                .await;
            }
            _ => refuse(session, "this version does not understand the order").await,
        }
    }

    async fn launch(
        &self,
        session: &Arc<Session>,
        messages: mpsc::Receiver<Vec<u8>>,
        mut order: StepOrder,
    ) {
        if order.run != self.place().run {
            return refuse(session, "the order is for another run").await;
        }
        let (events, inbox) = mpsc::unbounded_channel();
        if !self.register(order.step, &events) {
            return refuse(session, "the job is ending, or the step runs already").await;
        }
        // What libraries put together at a barrier may be long.
        session.is_known();
        self.0.living.send_modify(|count| *count += 1);
        let number = order.step;
        self.known().gpus.give(&mut order);
        step::run(self, session, messages, order, (events, inbox)).await;
        self.known().steps.remove(&number);
        self.0.living.send_modify(|count| *count -= 1);
    }

    fn register(&self, step: u32, events: &mpsc::UnboundedSender<step::Event>) -> bool {
        let mut known = self.known();
        if known.closing || known.steps.contains_key(&step) {
            return false;
        }
        known.steps.insert(step, events.clone());
        true
    }

    /// The processes of this machine, as they were at most this long ago: steps that look at the
    /// same time look once.
    pub(super) fn processes(&self, age: Duration) -> Arc<Vec<Process>> {
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match &*seen {
            Some((at, all)) if at.elapsed() < age => Arc::clone(all),
            _ => {
                let all = Arc::new(proc::scan());
                *seen = Some((Instant::now(), Arc::clone(&all)));
                all
            }
        }
    }

    /// What the batch script beside the daemon uses, with all that it has started: the keeper is the
    /// parent of both. Nothing where there is no script.
    fn of_script(&self) -> PartUsage {
        let keeper = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
        let all = self.processes(Duration::ZERO);
        let found = proc::beside(&all, keeper.unsigned_abs(), std::process::id());
        if found.is_empty() {
            return PartUsage::default();
        }
        let peak = found.iter().filter_map(|process| proc::peak_bytes(process.pid)).max();
        let mut script = TaskUsage::default();
        script.look(&found, peak.unwrap_or(0), Launcher::default());
        usage::together(std::iter::once((0, &script)), true)
    }

    /// The daemon's CPUs, those with the fewest bound tasks first; neighbours stay neighbours.
    pub(super) fn cpus(&self) -> Vec<u32> {
        let mut cpus = super::bind::own();
        let known = self.known();
        cpus.sort_by_key(|cpu| (known.bound.get(cpu).copied().unwrap_or(0), *cpu));
        cpus
    }

    /// The tasks of a step have ended, and the head does not know it yet.
    pub(super) fn free_gpus(&self, step: u32) {
        self.known().gpus.give_back(step);
    }

    /// Counts tasks on CPUs, or takes them off again.
    pub(super) fn bound(&self, sets: &[Vec<u32>], more: bool) {
        let mut known = self.known();
        for cpu in sets.iter().flatten() {
            let count = known.bound.entry(*cpu).or_default();
            *count = if more { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    /// Waits until the other end has everything: not for ever, and not for long once the job ends,
    /// for a client that is gone hears nothing any more.
    pub(super) async fn heard(&self, session: &Session) {
        let ending = async {
            let _ = self.0.closing.subscribe().wait_for(|closing| *closing).await;
            tokio::time::sleep(step::LAST_WORDS).await;
        };
        tokio::select! {
            _ = tokio::time::timeout(step::HEARD_WITHIN, session.settled()) => {}
            () = ending => {}
        }
    }

    /// No new steps, and those there are end; returns when they have.
    pub(super) async fn close(&self) {
        let steps: Vec<_> = {
            let mut known = self.known();
            known.closing = true;
            self.0.closing.send_replace(true);
            known.steps.values().cloned().collect()
        };
        for events in steps {
            let _ = events.send(step::Event::Closing);
        }
        let _ = self.0.living.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// Says no, and stays until that has been heard.
async fn refuse(session: &Session, why: &str) {
    session.send_now(Message::Control(FromNode::Refused { why: why.to_owned() }).encode());
    let _ = tokio::time::timeout(step::HEARD_WITHIN, session.settled()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_only_says_hello_is_forgotten() {
        let files = crate::files::Before(None);
        let (socket, node) = ("/nowhere".into(), "c1".into());
        let place = Place { socket, run: 7, rank: 0, node, files, umask: 0o22 };
        let steps = Steps::new(place);
        let (client, node) = tokio::io::duplex(4096);
        let hello = Hello { session: "s".into(), received: 0, resumed: false };
        drop(client);
        let _ = steps.speak(node, Vec::new(), hello).await;
        tokio::time::advance(FIRST_ORDER / 2).await;
        assert!(steps.known().sessions.contains_key("s"), "its client may come again");
        tokio::time::advance(FIRST_ORDER).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(steps.known().sessions.is_empty());
    }
}
