//! Agents of many machines without the machines: each is a TLS connection of its own with a key of its own, joins with
//! the token of its launch, and runs a task in no time, once it may.
//!
//! Invariant: an agent begins when the cloud has launched its machine and is cut off when the cloud has ended it; all
//! of them end with the value. Deliberately absent: user data that runs, blobs, output, and everything that fails.
use crate::cloud::Cloud;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::read::GzDecoder;
use futures_util::{SinkExt as _, StreamExt as _};
use pcluster_model::{InstanceRef, Resources, Timestamp};
use pcluster_wire::{AgentFrame, Exit, Facts, HeadFrame, JoinOrder, PROTOCOL, RunEnd, Usage};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, version};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

/// Handshakes at once: the head gives one address so many places and no more.
const HANDSHAKES: usize = 64;
const AGAIN: Duration = Duration::from_millis(500);

/// What all agents have in common.
struct Common {
    usable: Resources,
    /// Runs may end.
    open: watch::Receiver<bool>,
    handshakes: Semaphore,
    connections: AtomicUsize,
    holding: AtomicUsize,
    ended: AtomicUsize,
}

/// The agents of all machines of a cloud.
pub struct Crowd {
    runtime: Runtime,
    common: Arc<Common>,
    gate: watch::Sender<bool>,
    log: PathBuf,
    read: usize,
    /// Orders of each launch, by its client token.
    launches: BTreeMap<String, Vec<JoinOrder>>,
    agents: BTreeMap<String, JoinHandle<()>>,
    over: BTreeSet<String>,
}

impl Crowd {
    /// Agents whose machines have so much; none has begun, and no task ends before `open`.
    ///
    /// # Panics
    /// When threads cannot be had.
    #[must_use]
    pub fn new(cloud: &Cloud, usable: Resources) -> Self {
        let (gate, open) = watch::channel(false);
        let common = Common {
            usable,
            open,
            handshakes: Semaphore::new(HANDSHAKES),
            connections: AtomicUsize::new(0),
            holding: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
        };
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().expect("threads");
        Self {
            runtime,
            common: Arc::new(common),
            gate,
            log: cloud.folder().join("calls.jsonl"),
            read: 0,
            launches: BTreeMap::new(),
            agents: BTreeMap::new(),
            over: BTreeSet::new(),
        }
    }

    /// Begins the agents of machines that were launched since, and cuts off those of machines that have ended.
    ///
    /// # Panics
    /// When the cloud says what is not understood.
    pub fn follow(&mut self, cloud: &Cloud) {
        self.read_launches();
        for span in cloud.see("meter").as_array().expect("a list") {
            let name = span["instance"].as_str().expect("a name");
            if !span["ended"].is_null() {
                if self.over.insert(name.to_owned())
                    && let Some(agent) = self.agents.remove(name)
                {
                    agent.abort();
                }
                continue;
            }
            if self.agents.contains_key(name) {
                continue;
            }
            let orders = span["token"].as_str().and_then(|token| self.launches.get(token));
            let index = span["index"].as_u64().and_then(|index| usize::try_from(index).ok());
            let Some(order) = orders.zip(index).and_then(|(orders, index)| orders.get(index))
            else {
                continue;
            };
            let agent = live(order.clone(), InstanceRef::from(name), Arc::clone(&self.common));
            self.agents.insert(name.to_owned(), self.runtime.spawn(agent));
        }
    }

    fn read_launches(&mut self) {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        // The last line may not be whole yet.
        let whole = log.rfind('\n').map_or(0, |end| end + 1);
        for line in log[self.read..whole].lines() {
            let call: Value = serde_json::from_str(line).expect("a call is JSON");
            let asked = &call["asked"];
            if call["action"] == "RunInstances" && call["status"] == 200 {
                let token = asked["ClientToken"].as_str().expect("a token");
                let orders = orders(asked["UserData"].as_str().expect("user data"));
                self.launches.insert(token.to_owned(), orders);
            }
        }
        self.read = whole;
    }

    /// From now on every run ends as soon as it has begun.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    /// Agents that the head has welcomed and that are connected.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.common.connections.load(Ordering::SeqCst)
    }

    /// Runs that have begun and wait for the gate.
    #[must_use]
    pub fn holding(&self) -> usize {
        self.common.holding.load(Ordering::SeqCst)
    }

    /// Runs whose end was told.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.common.ended.load(Ordering::SeqCst)
    }
}

/// The join orders in the user data of a launch.
fn orders(packed: &str) -> Vec<JoinOrder> {
    let packed = BASE64.decode(packed).expect("user data are Base64");
    let mut script = String::new();
    GzDecoder::new(&*packed).read_to_string(&mut script).expect("user data are packed");
    let (_, rest) = script.split_once("boot.json\" <<'PCLUSTER'\n").expect("orders");
    let text = rest.split_once("\nPCLUSTER").expect("their end").0;
    let both: Value = serde_json::from_str(text).expect("orders are JSON");
    let own = both["own"].as_array().expect("one for each machine");
    own.iter().map(|own| merged(&both["common"], own)).collect()
}

fn merged(common: &Value, own: &Value) -> JoinOrder {
    let mut all = common.as_object().cloned().expect("an object");
    all.extend(own.as_object().cloned().expect("an object"));
    // The machine says itself which one it is.
    all.entry("instance").or_insert_with(|| "".into());
    serde_json::from_value(Value::Object(all)).expect("an order")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// One agent, until it is aborted: what breaks is made again.
async fn live(order: JoinOrder, instance: InstanceRef, common: Arc<Common>) {
    let connector = connector();
    loop {
        let talked = talk(&connector, &order, &instance, &common).await;
        if let Err(error) = talked {
            eprintln!("{}: {error}", order.node_name);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// A connection that counts while it is there.
struct Counted<'a>(&'a AtomicUsize, usize);

impl Counted<'_> {
    fn set(&mut self, count: usize) {
        self.0.fetch_add(count, Ordering::SeqCst);
        self.0.fetch_sub(self.1, Ordering::SeqCst);
        self.1 = count;
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.set(0);
    }
}

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn dial(connector: &TlsConnector, address: &str) -> Result<Socket, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let stream = TcpStream::connect(address).await.map_err(|error| words(&error))?;
    let name = ServerName::try_from("pcluster-head").map_err(|error| words(&error))?;
    let stream = connector.connect(name, stream).await.map_err(|error| words(&error))?;
    let request = "wss://pcluster-head/node/v1/link";
    let made = tokio_tungstenite::client_async(request, stream).await;
    made.map(|(socket, _)| socket).map_err(|error| words(&error))
}

async fn talk(
    connector: &TlsConnector,
    order: &JoinOrder,
    instance: &InstanceRef,
    common: &Common,
) -> Result<(), String> {
    let place = common.handshakes.acquire().await.map_err(|error| error.to_string())?;
    let mut socket = dial(connector, &order.head_addresses[0]).await?;
    say(&mut socket, &hello(order, instance, common)).await?;
    let mut place = Some(place);
    let mut connected = Counted(&common.connections, 0);
    let mut holding = Counted(&common.holding, 0);
    let mut open = common.open.clone();
    let mut beat = tokio::time::interval(Duration::from_secs(10));
    let mut runs = Vec::new();
    loop {
        let message = tokio::select! {
            message = socket.next() => message,
            _ = beat.tick() => {
                let beat = AgentFrame::Heartbeat { clock: now(), load_milli: 0, refuses: Vec::new() };
                say(&mut socket, &beat).await?;
                continue;
            }
            opened = opens(&mut open), if !runs.is_empty() => {
                opened?;
                for run in runs.drain(..) {
                    say(&mut socket, &ended(run)).await?;
                    common.ended.fetch_add(1, Ordering::SeqCst);
                }
                holding.set(0);
                continue;
            }
        };
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(_))) | None => return Ok(()),
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(error.to_string()),
        };
        match serde_json::from_str(&text).map_err(|error| error.to_string())? {
            HeadFrame::Welcome { .. } => {
                place = None;
                connected.set(1);
            }
            HeadFrame::Start(start) => {
                let (run, started_at) = (start.run, now());
                say(&mut socket, &AgentFrame::RunStarted { run, started_at }).await?;
                runs.push(run);
                holding.set(runs.len());
            }
            HeadFrame::Refused { why, .. } => return Err(why),
            _ => {}
        }
        drop(place.take_if(|_| connected.1 > 0));
    }
}

async fn opens(gate: &mut watch::Receiver<bool>) -> Result<(), String> {
    gate.wait_for(|open| *open).await.map(|_| ()).map_err(|error| error.to_string())
}

fn hello(order: &JoinOrder, instance: &InstanceRef, common: &Common) -> AgentFrame {
    AgentFrame::Hello {
        protocol: PROTOCOL,
        oldest_protocol: None,
        cluster: order.cluster.clone(),
        node: order.node,
        instance: instance.clone(),
        token: Some(order.token.clone()),
        boot_id: instance.to_string(),
        facts: Facts {
            hostname: instance.to_string(),
            arch: "x86_64".into(),
            usable: common.usable,
            cage: "none".into(),
            switches_users: true,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            clock: now(),
            proves_shares: true,
            ..Facts::default()
        },
        runs: Vec::new(),
    }
}

fn ended(run: pcluster_model::RunId) -> AgentFrame {
    let (exit, usage, at) = (Exit::Code(0), Usage::default(), now());
    AgentFrame::RunEnded(RunEnd { run, exit, usage, started_at: at, ended_at: at })
}

async fn say(socket: &mut Socket, frame: &AgentFrame) -> Result<(), String> {
    let text = serde_json::to_string(frame).map_err(|error| error.to_string())?;
    let sent: Result<(), tungstenite::Error> = socket.send(Message::text(text)).await;
    sent.map_err(|error| error.to_string())
}

/// With a key of its own. The head's key is the business of real agents.
fn connector() -> TlsConnector {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["node".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate").der().clone();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyHead))
        .with_client_auth_cert(vec![certificate], key)
        .expect("its own key");
    TlsConnector::from(Arc::new(config))
}

#[derive(Debug)]
struct AnyHead;

impl ServerCertVerifier for AnyHead {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
