//! Calls against a socket that answers what it is told and keeps what it heard.
use super::*;
use hmac::{Hmac, Mac as _};
use reqsign_core::StaticEnv;
use std::sync::mpsc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Answers one request after the other; each answer is a status and a body.
pub(crate) async fn server(answers: Vec<(u16, &'static str)>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (heard, said) = mpsc::channel();
    tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            let mut piece = [0; 4096];
            loop {
                let count = stream.read(&mut piece).await.unwrap();
                text.extend_from_slice(&piece[..count]);
                let whole = String::from_utf8_lossy(&text);
                let length = header(&whole, "content-length").and_then(|n| n.parse().ok());
                let rest = whole.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
                if count == 0 || (whole.contains("\r\n\r\n") && rest >= length.unwrap_or(0)) {
                    break;
                }
            }
            heard.send(String::from_utf8_lossy(&text).into_owned()).unwrap();
            let answer = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, said)
}

pub(crate) fn header(request: &str, name: &str) -> Option<String> {
    let head = request.split_once("\r\n\r\n").map_or(request, |(head, _)| head);
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

pub(crate) fn environment(pairs: &[(&str, &str)]) -> StaticEnv {
    let envs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    StaticEnv { home_dir: Some("/nowhere".into()), envs }
}

const KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    ("AWS_SESSION_TOKEN", "the session"),
];

fn client(endpoint: String) -> Client {
    let environment = KEYS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut environment = BTreeMap::from(environment);
    environment.insert("AWS_ENDPOINT_URL".into(), endpoint);
    let settings = Settings { region: "us-east-1".into(), environment: Some(environment) };
    Client::new(settings).unwrap()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The signature of a request as the documentation of version 4 tells it, word by word.
fn signature(request: &str, secret: &str) -> String {
    let authorization = header(request, "authorization").unwrap();
    let part = |name: &str| {
        let rest = authorization.split_once(&format!("{name}=")).unwrap().1;
        rest.split(',').next().unwrap().trim().to_owned()
    };
    let names = part("SignedHeaders");
    let headers: String = names
        .split(';')
        .map(|name| format!("{name}:{}\n", header(request, name).unwrap()))
        .collect();
    let body = request.split_once("\r\n\r\n").unwrap().1;
    let canonical = format!("POST\n/\n\n{headers}\n{names}\n{}", sha256(body.as_bytes()));
    let at = header(request, "x-amz-date").unwrap();
    let day = &at[..8];
    let scope = format!("{day}/us-east-1/ec2/aws4_request");
    assert_eq!(part("Credential"), format!("AKIDEXAMPLE/{scope}"));
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", sha256(canonical.as_bytes()));
    let mut key = mac(format!("AWS4{secret}").as_bytes(), day);
    for word in ["us-east-1", "ec2", "aws4_request"] {
        key = mac(&key, word);
    }
    assert_eq!(part("Signature"), hex(&mac(&key, &text)));
    names
}

/// The key of the documentation's example, so that the arithmetic above is held to something.
#[test]
fn the_arithmetic_is_that_of_the_documentation() {
    let mut key = mac(b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215");
    for word in ["us-east-1", "iam", "aws4_request"] {
        key = mac(&key, word);
    }
    assert_eq!(hex(&key), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
}

#[tokio::test]
async fn a_call_is_signed_body_and_session_included() {
    let (address, said) = server(vec![(200, "<R><requestId>1</requestId></R>")]).await;
    let params = Params::new().with("Key", "a+b c");
    let reply = client(address).call(Action::DescribeInstances, &params).await.unwrap();
    assert_eq!(reply.text_at("requestId"), Some("1"));
    let request = said.recv().unwrap();
    assert!(request.ends_with("Action=DescribeInstances&Version=2016-11-15&Key=a%2Bb%20c"));
    let names = signature(&request, KEYS[1].1);
    for name in ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"] {
        assert!(names.split(';').any(|signed| signed == name), "{name} is not in {names}");
    }
    assert_eq!(header(&request, "x-amz-security-token").as_deref(), Some("the session"));
}

#[tokio::test]
async fn pages_are_one_list_and_a_failed_page_is_a_failed_list() {
    let answers = vec![
        (200, "<R><nextToken>two</nextToken></R>"),
        (200, "<R><nextToken/></R>"),
        (200, "<R><nextToken>two</nextToken></R>"),
        (
            503,
            "<Response><Errors><Error><Code>RequestLimitExceeded</Code><Message>slow</Message></Error></Errors></Response>",
        ),
    ];
    let (address, said) = server(answers).await;
    let client = client(address);
    let list = Action::DescribeInstances;
    assert_eq!(client.pages(list, &Params::new()).await.unwrap().len(), 2);
    assert!(!said.recv().unwrap().contains("NextToken"));
    assert!(said.recv().unwrap().ends_with("&NextToken=two"));
    let failure = client.pages(list, &Params::new()).await.unwrap_err();
    assert!(failure.is_throttling(), "{failure:?}");
    assert!(client.rest_ms(list) > 0 && client.rest_ms(Action::RunInstances) == 0);
}

#[tokio::test]
async fn who_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let failure = client(format!("http://{address}"));
    let failure = failure.call(Action::DescribeInstances, &Params::new()).await.unwrap_err();
    let Failure::Lost(words) = failure else { panic!("{failure:?}") };
    assert!(words.starts_with(&address.to_string()) && words.contains("refused"), "{words}");
}

#[test]
fn the_address_is_that_of_the_environment_or_of_the_region() {
    let of = |region: &str, pairs: &[(&str, &str)]| {
        let client = Client::with_env(region.into(), environment(pairs));
        client.map(|client| client.endpoint().to_owned())
    };
    assert_eq!(of("eu-west-1", &[]).unwrap(), "https://ec2.eu-west-1.amazonaws.com");
    assert_eq!(of("cn-north-1", &[]).unwrap(), "https://ec2.cn-north-1.amazonaws.com.cn");
    let both = [("AWS_ENDPOINT_URL", "http://a:1/"), ("AWS_ENDPOINT_URL_EC2", "http://b:2/")];
    assert_eq!(of("x", &both[..1]).unwrap(), "http://a:1");
    assert_eq!(of("x", &both).unwrap(), "http://b:2");
    assert!(of("x", &[("AWS_ENDPOINT_URL", "b:2")]).is_err());
    let bundle = of("x", &[("AWS_CA_BUNDLE", "/nowhere/ca.pem")]).unwrap_err();
    assert!(bundle.contains("AWS_CA_BUNDLE=/nowhere/ca.pem"), "{bundle}");
}

/// A server with a certificate of its own making; its answers are empty lists.
async fn secure_server() -> (u16, String) {
    use tokio_rustls::rustls::{ServerConfig, crypto::ring};
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let pair = tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], pair.into())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 8192]).await;
            let answer = "HTTP/1.1 200 x\r\ncontent-length: 4\r\nconnection: close\r\n\r\n<R/>";
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, certificate.pem())
}

#[tokio::test]
async fn only_who_proves_a_name_to_the_roots_is_talked_to() {
    let (port, pem) = secure_server().await;
    let bundle = std::env::temp_dir().join(format!("pcluster-ca-{}.pem", std::process::id()));
    std::fs::write(&bundle, pem).unwrap();
    let endpoint = format!("https://localhost:{port}");
    let call = async |more: &[(&str, &str)]| {
        let pairs = [&KEYS[..], &[("AWS_ENDPOINT_URL", endpoint.as_str())], more].concat();
        let client = Client::with_env("us-east-1".into(), environment(&pairs)).unwrap();
        client.call(Action::DescribeInstances, &Params::new()).await
    };
    let stranger = call(&[]).await.unwrap_err().to_string();
    assert!(stranger.contains("UnknownIssuer"), "{stranger}");
    let known = call(&[("AWS_CA_BUNDLE", bundle.to_str().unwrap())]).await;
    std::fs::remove_file(&bundle).unwrap();
    assert_eq!(known.unwrap().name, "R");
}
