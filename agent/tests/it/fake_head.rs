//! A head that does nothing by itself: a TLS port, blobs by hash, and frames in both directions.
use futures_util::{SinkExt as _, StreamExt as _};
use pcluster_model::{BlobHash, DurationMs};
use pcluster_wire::{AgentFrame, HeadFrame, PROTOCOL};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{ring, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme, version,
};
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// Nothing in these tests takes longer, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Blobs = Arc<Mutex<HashMap<String, Vec<u8>>>>;

pub struct FakeHead {
    pub address: String,
    pub pin: String,
    blobs: Blobs,
    connections: mpsc::UnboundedReceiver<Connection>,
    dialled: mpsc::UnboundedReceiver<Dialled>,
    accepting: tokio::task::JoinHandle<()>,
}

/// A connection that asked for another protocol and got it, or brought a refusal.
pub struct Dialled {
    pub path: String,
    pub refusal: Option<String>,
    pub stream: TlsStream<TcpStream>,
}

/// Where what the agent brings goes to.
#[derive(Clone)]
struct Ends {
    connections: mpsc::UnboundedSender<Connection>,
    dialled: mpsc::UnboundedSender<Dialled>,
}

/// One agent's connection. Dropping it closes it.
pub struct Connection {
    /// SHA-256 of the agent's certificate.
    pub key: String,
    frames: mpsc::UnboundedReceiver<AgentFrame>,
    orders: mpsc::UnboundedSender<HeadFrame>,
}

fn hex_of(bytes: &[u8]) -> String {
    BlobHash(Sha256::digest(bytes).into()).to_string()
}

impl FakeHead {
    pub async fn start() -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["pcluster-head".to_owned()]).unwrap();
        let certificate = params.self_signed(&pair).unwrap().der().to_vec();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let pin = hex_of(&certificate);
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&version::TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(AnyKey))
            .with_single_cert(
                vec![CertificateDer::from(certificate)],
                PrivatePkcs8KeyDer::from(pair.serialize_der()).into(),
            )
            .unwrap();
        let blobs = Blobs::default();
        let (sender, connections) = mpsc::unbounded_channel();
        let (dial_sender, dialled) = mpsc::unbounded_channel();
        let ends = Ends { connections: sender, dialled: dial_sender };
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let accepting = tokio::spawn(accept(listener, acceptor, Arc::clone(&blobs), ends));
        Self { address, pin, blobs, connections, dialled, accepting }
    }

    /// The next connection that carries neither frames nor blobs.
    pub async fn dialled(&mut self) -> Dialled {
        let next = tokio::time::timeout(PATIENCE, self.dialled.recv()).await;
        next.expect("the agent dials").expect("the head lives")
    }

    /// Takes no connections any more.
    pub async fn stop(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }

    pub fn blob(&self, bytes: &[u8]) -> BlobHash {
        let name = hex_of(bytes);
        self.blobs.lock().unwrap().insert(name.clone(), bytes.to_vec());
        name.parse().unwrap()
    }

    /// The next connection of any agent.
    pub async fn connection(&mut self) -> Connection {
        let next = tokio::time::timeout(PATIENCE, self.connections.recv()).await;
        next.expect("an agent connects").expect("the head lives")
    }

    /// The next connection, its `Hello` answered with a welcome.
    pub async fn welcome(&mut self) -> (Connection, AgentFrame) {
        let mut connection = self.connection().await;
        let hello =
            connection.frame("hello", |frame| matches!(frame, AgentFrame::Hello { .. })).await;
        connection.say(HeadFrame::Welcome {
            protocol: PROTOCOL,
            node_name: "compute-1".to_owned(),
            heartbeat_ms: DurationMs(200),
            shares: Vec::new(),
            checks: Vec::new(),
            programs: vec![],
        });
        (connection, hello)
    }
}

impl Connection {
    pub fn say(&self, frame: HeadFrame) {
        self.orders.send(frame).expect("the connection stands");
    }

    /// The next frame that is wanted; others are dropped.
    pub async fn frame(&mut self, what: &str, wanted: impl Fn(&AgentFrame) -> bool) -> AgentFrame {
        let next = async {
            loop {
                let frame = self.frames.recv().await.expect("the connection stands");
                if wanted(&frame) {
                    return frame;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("never came: {what}"))
    }

    /// Whether anything was said after which the connection ended.
    pub async fn ends(mut self) -> Vec<AgentFrame> {
        let rest = async {
            let mut frames = Vec::new();
            while let Some(frame) = self.frames.recv().await {
                frames.push(frame);
            }
            frames
        };
        tokio::time::timeout(PATIENCE, rest).await.expect("the connection ends")
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, blobs: Blobs, ends: Ends) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, blobs, ends) = (acceptor.clone(), Arc::clone(&blobs), ends.clone());
        tokio::spawn(async move {
            // An agent that pins another key ends the handshake: nothing to serve.
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream, &blobs, &ends).await;
            }
        });
    }
}

type Stream = TlsStream<TcpStream>;

async fn serve(mut stream: Stream, blobs: &Blobs, ends: &Ends) {
    let key = hex_of(&stream.get_ref().1.peer_certificates().unwrap()[0]);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read_exact(&mut byte).await.is_err() {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap();
    if let Some(hash) = path.strip_prefix("/node/v1/blobs/") {
        let found = blobs.lock().unwrap().get(hash).cloned();
        let (status, body) = found.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.shutdown().await.ok();
        return;
    }
    if path.starts_with("/node/v1/client/") || path.starts_with("/node/v1/streams/") {
        let refusal = head.lines().find_map(|line| line.strip_prefix("x-pcluster-refused: "));
        let status = if refusal.is_some() { "204 No Content" } else { "101 Switching Protocols" };
        stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await.unwrap();
        let (path, refusal) = (path.to_owned(), refusal.map(str::to_owned));
        drop(ends.dialled.send(Dialled { path, refusal, stream }));
        return;
    }
    assert_eq!(path, "/node/v1/link");
    let wanted = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-key").then_some(value)
    });
    let accept = derive_accept_key(wanted.unwrap().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let (frame_sender, frames) = mpsc::unbounded_channel();
    let (orders, order_receiver) = mpsc::unbounded_channel();
    drop(ends.connections.send(Connection { key, frames, orders }));
    pump(socket, frame_sender, order_receiver).await;
}

async fn pump(
    mut socket: WebSocketStream<Stream>,
    frames: mpsc::UnboundedSender<AgentFrame>,
    mut orders: mpsc::UnboundedReceiver<HeadFrame>,
) {
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => drop(frames.send(serde_json::from_str(&text).unwrap())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            order = orders.recv() => match order {
                Some(order) => {
                    let text = serde_json::to_string(&order).unwrap();
                    drop(socket.send(Message::text(text)).await);
                }
                None => return,
            },
        }
    }
}

/// Takes any key that the other side proves to hold.
#[derive(Debug)]
struct AnyKey;

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("no TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
