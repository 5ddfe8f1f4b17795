//! The agent's client socket, with a head behind it that takes every end of a step.
use pcluster_steps::link::MAX_PAYLOAD;
use pcluster_steps::message::{Channel, FromNode, Message, PartUsage, StepOrder, TaskExit, ToNode};
use pcluster_steps::session::Session;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A daemon and what surrounds it.
pub struct Node {
    daemon: Child,
    pub folder: PathBuf,
    wishes: mpsc::UnboundedSender<String>,
    streams: Arc<Mutex<BTreeMap<String, tokio::sync::oneshot::Sender<UnixStream>>>>,
    pub ends: Arc<Mutex<Vec<String>>>,
}

impl Node {
    pub fn start() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pct-stepd-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("the test can do this");
        let socket = folder.join("agent.sock");
        let listener = UnixListener::bind(&socket).expect("the test can do this");
        let (wishes, mut wished) = mpsc::unbounded_channel::<String>();
        let streams: Arc<Mutex<BTreeMap<String, _>>> = Arc::default();
        let ends: Arc<Mutex<Vec<String>>> = Arc::default();
        let (streams_too, ends_too) = (Arc::clone(&streams), Arc::clone(&ends));
        tokio::spawn(async move {
            let (control, mut controls) = mpsc::unbounded_channel();
            tokio::spawn(async move {
                let mut stream: UnixStream = controls.recv().await.expect("the test can do this");
                while let Some(name) = wished.recv().await {
                    stream
                        .write_all(format!("attach {name}\n").as_bytes())
                        .await
                        .expect("the test can do this");
                }
            });
            while let Ok((stream, _)) = listener.accept().await {
                let (streams, ends) = (Arc::clone(&streams_too), Arc::clone(&ends_too));
                tokio::spawn(receive(stream, control.clone(), streams, ends));
            }
        });
        let daemon = Command::new(env!("CARGO_BIN_EXE_pcluster-stepd"))
            .env("PCLUSTER_SOCKET", &socket)
            .env("PCLUSTER_RUN_ID", "7")
            .env("PCLUSTER_NODE", "c1")
            .env("SLURM_NODEID", "0")
            .env("OF_THE_JOB", "its own")
            .current_dir(&folder)
            .spawn()
            .expect("the test can do this");
        Self { daemon, folder, wishes, streams, ends }
    }

    /// A stream to the daemon, as the head would join one.
    pub async fn attach(&self) -> UnixStream {
        let name = format!("s{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.streams.lock().expect("the test can do this").insert(name.clone(), sender);
        self.wishes.send(name).expect("the test can do this");
        tokio::time::timeout(PATIENCE, receiver)
            .await
            .expect("the test can do this")
            .expect("the test can do this")
    }

    /// What a step uses now; of none: what is beside the daemon. Nothing of a step that is not there.
    pub async fn usage(&self, step: Option<u32>) -> PartUsage {
        let mut asks = Client::new();
        asks.tell(ToNode::Usage { step });
        asks.hear(self.attach().await, |heard| heard.usage.is_some() || heard.refused.is_some())
            .await;
        asks.heard.usage.unwrap_or_default()
    }

    pub fn daemon_pid(&self) -> u32 {
        self.daemon.id()
    }

    /// TERM, as the keeper sends it.
    pub fn terminate(&self) {
        let pid = rustix::process::Pid::from_child(&self.daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("the test can do this");
    }

    /// Until the daemon has ended by itself.
    pub async fn ended(&mut self) {
        let wait = async {
            while self.daemon.try_wait().expect("the test can do this").is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the test can do this");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn receive(
    mut stream: UnixStream,
    control: mpsc::UnboundedSender<UnixStream>,
    streams: Arc<Mutex<BTreeMap<String, tokio::sync::oneshot::Sender<UnixStream>>>>,
    ends: Arc<Mutex<Vec<String>>>,
) {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        line.push(byte);
    }
    let line = String::from_utf8(line).expect("the test can do this");
    if line == "PCLUSTER-STEPD 7\n" {
        control.send(stream).expect("the test can do this");
    } else if let Some(name) = line.strip_prefix("PCLUSTER-STREAM ") {
        let wanted = streams
            .lock()
            .expect("the test can do this")
            .remove(name.trim())
            .expect("the test can do this");
        let _ = wanted.send(stream);
    } else {
        // HTTP, as far as the daemon speaks it.
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut head = String::new();
            reader.read_line(&mut head).await.expect("the test can do this");
            if let Some(value) = head.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("the test can do this");
            }
            if head.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await.expect("the test can do this");
        ends.lock().expect("the test can do this").push(format!(
            "{} {}",
            line.trim(),
            String::from_utf8(body).expect("the test can do this")
        ));
        let body = r#"{"schema":"x","results":[]}"#;
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        reader.get_mut().write_all(answer.as_bytes()).await.expect("the test can do this");
    }
}

/// What a client has heard.
#[derive(Debug, Default)]
pub struct Heard {
    pub output: BTreeMap<u32, String>,
    pub error: BTreeMap<u32, String>,
    pub exits: BTreeMap<u32, TaskExit>,
    pub taken: u64,
    pub cancelled: bool,
    pub barriers: usize,
    pub refused: Option<String>,
    pub done: bool,
    pub usage: Option<PartUsage>,
    pub notices: Vec<String>,
}

/// One `srun`.
pub struct Client {
    pub session: Arc<Session>,
    messages: mpsc::Receiver<Vec<u8>>,
    pub heard: Heard,
    pub resumed: bool,
}

impl Client {
    pub fn new() -> Self {
        let name = format!("client-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (session, messages) = Session::new(name);
        Self { session, messages, heard: Heard::default(), resumed: false }
    }

    pub fn launch(order: StepOrder) -> Self {
        let client = Self::new();
        client.tell(ToNode::Launch(Box::new(order)));
        client
    }

    pub fn tell(&self, message: ToNode) {
        self.session.send_now(Message::Control(message).encode());
    }

    pub fn input(&self, task: u32, bytes: &[u8]) {
        let bytes = bytes.to_vec();
        self.session
            .send_now(Message::<ToNode>::Data { task, channel: Channel::In, bytes }.encode());
    }

    /// Serves one stream until `enough`.
    pub async fn hear(&mut self, stream: UnixStream, enough: impl Fn(&Heard) -> bool) {
        let session = Arc::clone(&self.session);
        let mut resumed = self.resumed;
        let serve = session.dial(stream, &mut resumed);
        let (messages, heard) = (&mut self.messages, &mut self.heard);
        let listen = async {
            while !enough(heard) {
                let message =
                    messages.recv().await.expect("the daemon said enough before it hung up");
                assert!(message.len() <= MAX_PAYLOAD);
                take(heard, Message::decode(&message).expect("the test can do this"));
            }
        };
        let both = async {
            tokio::pin!(serve, listen);
            tokio::select! {
                biased;
                () = &mut listen => {}
                // The daemon hangs up after its last word, which lies in the queue then.
                _ = &mut serve => listen.await,
            }
        };
        tokio::time::timeout(PATIENCE, both).await.expect("the test can do this");
        self.resumed = true;
    }
}

fn take(heard: &mut Heard, message: Message<FromNode>) {
    match message {
        Message::Data { task, channel, bytes } => {
            let all = if channel == Channel::Out { &mut heard.output } else { &mut heard.error };
            all.entry(task)
                .or_default()
                .push_str(&String::from_utf8(bytes).expect("the test can do this"));
        }
        Message::Control(FromNode::Ended { task, exit }) => {
            heard.exits.insert(task, exit);
        }
        Message::Control(FromNode::Refused { why }) => heard.refused = Some(why),
        Message::Control(FromNode::InputTaken { bytes }) => heard.taken += bytes,
        Message::Control(FromNode::Cancelled) => heard.cancelled = true,
        Message::Control(FromNode::BarrierIn { .. }) => heard.barriers += 1,
        Message::Control(FromNode::Done) => heard.done = true,
        Message::Control(FromNode::Notice { text }) => heard.notices.push(text),
        Message::Control(FromNode::Usage(usage)) => heard.usage = Some(*usage),
        Message::Control(_) => {}
    }
}
