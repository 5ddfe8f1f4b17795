//! What the provider announces to this machine: that it is taken back, or might be. Read from the
//! metadata service of EC2 (IMDSv2: a token first), every few seconds.
//!
//! Invariant: what was announced once stays announced; a service that does not answer announces nothing,
//! and holds nothing up. Deliberately absent: what it means for the node (the head decides).
use anyhow::{Context as _, Result, anyhow, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use pcluster_model::Timestamp;
use pcluster_wire::NoticeKind;
use serde::Deserialize;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// The variable that every program of AWS takes the service's address from.
const ENDPOINT: &str = "AWS_EC2_METADATA_SERVICE_ENDPOINT";
/// Link-local, the same on every machine of EC2.
const DEFAULT: &str = "http://169.254.169.254";
/// EC2 recommends to look this often: a notice comes two minutes before.
const EVERY: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(2);
const LARGEST: usize = 4 << 10;
/// A token lives for six hours at most; it is renewed before.
const TOKEN_SECONDS: &str = "21600";
const TOKEN_KEPT: Duration = Duration::from_hours(5);
const RECLAIM: &str = "/latest/meta-data/spot/instance-action";
const REBALANCE: &str = "/latest/meta-data/events/recommendations/rebalance";

/// What was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notice {
    pub kind: NoticeKind,
    /// By the provider's clock.
    pub until: Option<Timestamp>,
}

/// Asks the machine's service until the agent ends; the latest announcement, the gravest first.
pub fn watch() -> watch::Receiver<Option<Notice>> {
    let endpoint = std::env::var(ENDPOINT).ok().filter(|text| !text.is_empty());
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(keep_asking(Service::at(endpoint.as_deref().unwrap_or(DEFAULT)), sender, EVERY));
    receiver
}

async fn keep_asking(mut service: Service, sender: watch::Sender<Option<Notice>>, every: Duration) {
    let mut is_silent = false;
    while !sender.is_closed() {
        match service.notice().await {
            Ok(found) => {
                is_silent = false;
                sender.send_if_modified(|known| {
                    let news = found.filter(|found| known.is_none_or(|k| found.kind > k.kind));
                    news.map(|news| *known = Some(news)).is_some()
                });
            }
            Err(error) if !is_silent => {
                is_silent = true;
                tracing::warn!("notices of the provider cannot be read: {error:#}");
            }
            Err(_) => {}
        }
        tokio::time::sleep(every).await;
    }
}

/// The metadata service.
struct Service {
    /// `HOST:PORT`.
    address: String,
    /// What its paths begin with; empty at EC2 itself.
    base: String,
    token: Option<(String, Instant)>,
}

/// `spot/instance-action`: `stop` and `hibernate` take the machine away like `terminate`.
#[derive(Deserialize)]
struct Action {
    time: String,
}

impl Service {
    fn at(endpoint: &str) -> Self {
        let whole = endpoint.strip_prefix("http://").unwrap_or(endpoint).trim_end_matches('/');
        let (host, base) = whole.find('/').map_or((whole, ""), |at| whole.split_at(at));
        let after = host.rsplit_once(']').map_or(host, |(_, after)| after);
        let address = if after.contains(':') { host.to_owned() } else { format!("{host}:80") };
        Self { address, base: base.to_owned(), token: None }
    }

    async fn notice(&mut self) -> Result<Option<Notice>> {
        if let Some(text) = self.read(RECLAIM).await? {
            let action: Action = serde_json::from_str(&text).context("an action without a time")?;
            let at: jiff::Timestamp = action.time.parse().context("its time")?;
            let until = Some(Timestamp(at.as_millisecond()));
            return Ok(Some(Notice { kind: NoticeKind::Reclaim, until }));
        }
        let hint = self.read(REBALANCE).await?;
        Ok(hint.map(|_| Notice { kind: NoticeKind::Rebalance, until: None }))
    }

    /// What is there; `None`: nothing is.
    async fn read(&mut self, path: &str) -> Result<Option<String>> {
        let token = self.token().await?;
        let header = ("x-aws-ec2-metadata-token", token.as_str());
        let (status, text) = self.call(Method::GET, path, header).await?;
        match status {
            StatusCode::OK => Ok(Some(text)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED => {
                self.token = None;
                bail!("the metadata service does not know its token any more")
            }
            other => bail!("the metadata service answers {other} for {path}"),
        }
    }

    async fn token(&mut self) -> Result<String> {
        if let Some((token, since)) = &self.token
            && since.elapsed() < TOKEN_KEPT
        {
            return Ok(token.clone());
        }
        let header = ("x-aws-ec2-metadata-token-ttl-seconds", TOKEN_SECONDS);
        match self.call(Method::PUT, "/latest/api/token", header).await? {
            (StatusCode::OK, token) => {
                self.token = Some((token.clone(), Instant::now()));
                Ok(token)
            }
            (other, _) => bail!("the metadata service answers {other} for a token"),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        (name, value): (&str, &str),
    ) -> Result<(StatusCode, String)> {
        let whole = async {
            let stream = TcpStream::connect(&self.address).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let driver = tokio::spawn(connection);
            let request = Request::builder()
                .method(method)
                .uri(format!("{}{path}", self.base))
                .header(HOST, &self.address)
                .header(name, value)
                .body(Empty::<Bytes>::new())?;
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            driver.abort();
            let body = body.map_err(|error| anyhow!("{error}"))?.to_bytes();
            Ok((status, String::from_utf8_lossy(&body).trim().to_owned()))
        };
        let asked = tokio::time::timeout(ANSWER, whole).await;
        asked
            .unwrap_or_else(|_| Err(anyhow!("no answer for {ANSWER:?}")))
            .with_context(|| format!("metadata service at {}", self.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// What the service has, and what it was asked.
    #[derive(Default)]
    struct Fake {
        action: Option<&'static str>,
        rebalance: bool,
        token: u32,
        asked: Vec<String>,
    }

    fn answer(fake: &mut Fake, request: &str) -> (&'static str, String) {
        let line = request.lines().next().unwrap_or_default().to_owned();
        let known = format!("x-aws-ec2-metadata-token: token-{}", fake.token);
        fake.asked.push(line.clone());
        let text = |text: &str| ("200 OK", text.to_owned());
        if line.starts_with("PUT /latest/api/token ") {
            assert!(request.contains("x-aws-ec2-metadata-token-ttl-seconds: 21600"), "{request}");
            return text(&format!("token-{}", fake.token));
        }
        if !request.contains(&known) {
            return ("401 Unauthorized", String::new());
        }
        match line.split(' ').nth(1) {
            Some(RECLAIM) if fake.action.is_some() => text(fake.action.unwrap_or_default()),
            Some(REBALANCE) if fake.rebalance => text("{\"noticeTime\": \"2026-11-22T12:00:00Z\"}"),
            _ => ("404 Not Found", "<html>".into()),
        }
    }

    async fn serve() -> (String, Arc<Mutex<Fake>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        let fake = Arc::new(Mutex::new(Fake::default()));
        let shared = Arc::clone(&fake);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read_exact(&mut byte).await.is_err() {
                        break;
                    }
                    request.push(byte[0]);
                }
                let request = String::from_utf8_lossy(&request).to_lowercase();
                let request = request.replace("put ", "PUT ").replace("get ", "GET ");
                let (status, body) = answer(&mut shared.lock().unwrap(), &request);
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                drop(stream.write_all((head + &body).as_bytes()).await);
            }
        });
        (endpoint, fake)
    }

    #[test]
    fn an_endpoint_has_a_port_and_perhaps_a_path() {
        for (endpoint, address, base) in [
            (DEFAULT, "169.254.169.254:80", ""),
            ("http://[fd00:ec2::254]/", "[fd00:ec2::254]:80", ""),
            ("http://127.0.0.1:8080/of/i-1/", "127.0.0.1:8080", "/of/i-1"),
        ] {
            let service = Service::at(endpoint);
            assert_eq!((service.address.as_str(), service.base.as_str()), (address, base));
        }
    }

    #[tokio::test]
    async fn notices_are_read_with_a_token_that_is_renewed() {
        let (endpoint, fake) = serve().await;
        let mut service = Service::at(&endpoint);
        assert_eq!(service.notice().await.unwrap(), None);
        fake.lock().unwrap().rebalance = true;
        let hint = Notice { kind: NoticeKind::Rebalance, until: None };
        assert_eq!(service.notice().await.unwrap(), Some(hint));
        let tokens = |fake: &Fake| fake.asked.iter().filter(|a| a.starts_with("PUT")).count();
        assert_eq!(tokens(&fake.lock().unwrap()), 1);
        // Another token counts from now on: the next look fails, the one after it has it.
        fake.lock().unwrap().token = 1;
        assert!(service.notice().await.is_err());
        fake.lock().unwrap().action =
            Some("{\"action\": \"terminate\", \"time\": \"2026-11-22T12:02:00Z\"}");
        let until = Some(Timestamp(1_795_348_920_000));
        let notice = Notice { kind: NoticeKind::Reclaim, until };
        assert_eq!(service.notice().await.unwrap(), Some(notice));
    }

    #[tokio::test]
    async fn the_gravest_notice_stays_and_a_silent_service_announces_nothing() {
        let (endpoint, fake) = serve().await;
        let (sender, mut receiver) = watch::channel(None);
        let every = Duration::from_millis(20);
        let asking = tokio::spawn(keep_asking(Service::at(&endpoint), sender, every));
        let kind = |notice: &Option<Notice>| notice.map(|notice| notice.kind);
        fake.lock().unwrap().rebalance = true;
        let seen = receiver.wait_for(|n| kind(n) == Some(NoticeKind::Rebalance));
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap().unwrap();
        fake.lock().unwrap().action =
            Some("{\"action\": \"stop\", \"time\": \"2026-11-22T12:02:00Z\"}");
        let seen = receiver.wait_for(|n| kind(n) == Some(NoticeKind::Reclaim));
        tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap().unwrap();
        fake.lock().unwrap().action = None;
        let asked = fake.lock().unwrap().asked.len();
        while fake.lock().unwrap().asked.len() < asked + 4 {
            tokio::time::sleep(every).await;
        }
        assert_eq!(kind(&receiver.borrow()), Some(NoticeKind::Reclaim));
        drop(receiver);
        tokio::time::timeout(Duration::from_secs(20), asking).await.unwrap().unwrap();
        assert_eq!(Service::at("http://[fd00:ec2::254]").address, "[fd00:ec2::254]:80");
        assert!(Service::at("http://127.0.0.1:1").notice().await.is_err());
    }
}
