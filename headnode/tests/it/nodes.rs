//! The TLS port, as an attacker and as a stranger meet it.
use crate::head::{self, Head, Site, until};
use futures_util::{SinkExt, StreamExt};
use pcluster_model::{ClusterId, InstanceRef, LaunchId, NodeId};
use pcluster_wire::{AgentFrame, Facts, HeadFrame, PROTOCOL};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion, version,
};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
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

fn client(tls: &'static SupportedProtocolVersion, with_key: bool) -> TlsConnector {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[tls])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer));
    let config = if with_key {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["node".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        builder.with_client_auth_cert(vec![certificate], key).unwrap()
    } else {
        builder.with_no_client_auth()
    };
    TlsConnector::from(Arc::new(config))
}

/// A node's key, for several connections.
pub struct Key(TlsConnector);

impl Key {
    pub fn new() -> Self {
        Self(client(&version::TLS13, true))
    }
}

/// A connection for frames with this key.
pub async fn link(head: &Head<'_>, key: &Key) -> WebSocketStream<TlsStream<TcpStream>> {
    let name = ServerName::try_from("pcluster-head").unwrap();
    let stream = key.0.connect(name, dial(head).await).await.unwrap();
    let request = "wss://pcluster-head/node/v1/link";
    tokio_tungstenite::client_async(request, stream).await.unwrap().0
}

async fn dial(head: &Head<'_>) -> TcpStream {
    let address = head.get("/v1/status")["node_address"].as_str().unwrap().to_owned();
    TcpStream::connect(address).await.unwrap()
}

async fn connect(head: &Head<'_>, with_key: bool) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("pcluster-head").unwrap();
    client(&version::TLS13, with_key).connect(name, dial(head).await).await
}

async fn answer_to(mut stream: TlsStream<TcpStream>, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![0; 256];
    let length = stream.read(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: pcluster-head\r\n\r\n")
}

#[tokio::test]
async fn garbage_is_closed_and_the_head_goes_on() {
    let site = Site::new("provider = \"process\"\n");
    let head = site.start();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 512], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut stream = dial(&head).await;
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // An alert or nothing at all; never an answer.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.len() < 16, "{answer:?}");
    }
    head.get("/v1/status");
}

#[tokio::test]
async fn without_a_key_of_its_own_or_with_an_older_tls_nobody_gets_an_answer() {
    let site = Site::new("provider = \"process\"\n");
    let head = site.start();
    // With TLS 1.3 the client learns of it at its first read.
    if let Ok(stream) = connect(&head, false).await {
        assert!(answer_to(stream, &get("/node/v1/link")).await.is_err());
    }
    let name = ServerName::try_from("pcluster-head").unwrap();
    let older = client(&version::TLS12, true).connect(name, dial(&head).await).await;
    assert!(older.is_err());
}

#[tokio::test]
async fn a_stranger_finds_no_way_to_users_routes_streams_or_blobs() {
    let site = Site::new("provider = \"process\"\n");
    let head = site.start();
    head.submit();
    let blobs: Vec<_> = std::fs::read_dir(site.state().join("blobs"))
        .unwrap()
        .flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap())
        .map(|blob| blob.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(blobs.len(), 2);
    let paths = [
        "/".to_owned(),
        "/v1/status".into(),
        "/node/v1/blobs/../../secret".into(),
        "/node/v1/client/0".into(),
        "/node/v1/client/1000".into(),
        "/node/v1/streams/0123456789abcdef0123456789abcdef".into(),
        format!("/node/v1/agents/{}", "0".repeat(64)),
        format!("/node/v1/agents/{}", own_agent()),
    ];
    let blobs = blobs.iter().map(|blob| format!("/node/v1/blobs/{blob}"));
    for path in paths.into_iter().chain(blobs) {
        let stream = connect(&head, true).await.unwrap();
        let answer = answer_to(stream, &get(&path)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
}

/// A hash that a head would have programs under.
fn own_agent() -> String {
    use sha2::{Digest as _, Sha256};
    let folder = std::env::current_exe().unwrap();
    let agent = folder.ancestors().nth(2).unwrap().join("pcluster-agent");
    let sum = Sha256::digest(std::fs::read(agent).unwrap_or_default());
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn say(head: &Head<'_>, text: String) -> Option<HeadFrame> {
    let stream = connect(head, true).await.unwrap();
    let request = "wss://pcluster-head/node/v1/link";
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket.send(Message::text(text)).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            return Some(serde_json::from_str(&text).unwrap());
        }
    }
    None
}

fn hello(cluster: &str, protocol: u32, launch: u64, token: &str) -> String {
    let frame = AgentFrame::Hello {
        protocol,
        oldest_protocol: None,
        cluster: ClusterId::from(cluster),
        node: NodeId { launch: LaunchId(launch), index: 0 },
        instance: InstanceRef::default(),
        token: Some(token.to_owned()),
        boot_id: "b".into(),
        facts: Facts::default(),
        runs: Vec::new(),
    };
    serde_json::to_string(&frame).unwrap()
}

#[tokio::test]
async fn a_hello_of_a_stranger_is_refused_in_words() {
    let site = Site::new("provider = \"process\"\ncompute = { cpus = 1, min = 1, max = 1 }\n");
    let head = site.start();
    let own = std::fs::read_to_string(site.state().join("cluster-id")).unwrap();
    until("the launch", || site.log().contains("launch_wanted").then_some(()));
    let wrong = "0".repeat(64);
    for (text, words) in [
        (hello("ffffffffffffffff", PROTOCOL, 1, &wrong), "not of ffffffffffffffff"),
        (hello(&own, PROTOCOL + 1, 1, &wrong), "the head is too old"),
        (hello(&own, 0, 1, &wrong), "the agent is too old"),
        (hello(&own, PROTOCOL, 1, &wrong), "neither key nor token"),
        (hello(&own, PROTOCOL, 99, &wrong), "neither key nor token"),
    ] {
        let Some(HeadFrame::Refused { why, last }) = say(&head, text).await else {
            panic!("{words}")
        };
        assert!(why.contains(words) && !last, "{why}");
    }
    let heartbeat = r#"{"say":"heartbeat","clock":1,"load_milli":0}"#.to_owned();
    assert_eq!(say(&head, heartbeat).await, None);
    assert_eq!(say(&head, "{".to_owned()).await, None);
    assert!(!site.log().contains("node_joined"));
}

#[tokio::test]
async fn strangers_who_stay_keep_nobody_out() {
    let site = Site::new("provider = \"process\"\n");
    let head = site.start();
    let address = head.get("/v1/status")["node_address"].as_str().unwrap().to_owned();
    let mut silent = Vec::new();
    // More than there are places for, all from one address, and none of them says a word.
    for _ in 0..600 {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    let stream = connect(&head, true).await.unwrap();
    let answer = answer_to(stream, &get("/v1/status")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    // The oldest had to go; nothing was said to it.
    let end = tokio::time::timeout(head::PATIENCE, silent[0].read(&mut [0; 1])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}
