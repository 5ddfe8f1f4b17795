//! Connections of a node to the head that carry something else than frames: commands of jobs, and
//! streams to step daemons.
//!
//! Invariant: bytes are carried as they come, with a small buffer in each direction; the end of one
//! direction is handed on and does not end the other. Deliberately absent: trying again (who is at
//! the end knows whether that is safe).
use crate::tls::Dialer;
use anyhow::{Context as _, Result, anyhow, bail};
use pcluster_wire::{STREAM_REFUSED_HEADER, stream_path};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

/// The head answers within this.
const ANSWER: Duration = Duration::from_secs(15);
/// The head of an answer is not longer, in bytes.
const HEAD_BYTES: usize = 16 << 10;
/// Words of a refusal that are carried on, in bytes.
const REFUSAL_BYTES: u64 = 64 << 10;

/// The ways to the head. Cheap to clone.
#[derive(Clone)]
pub struct Relay {
    dialer: Dialer,
    addresses: Vec<String>,
}

/// What the head said to the wish for another protocol.
pub enum Switched {
    Yes(Box<TlsStream<TcpStream>>),
    /// Its whole answer, for whoever asked.
    No(Vec<u8>),
}

impl Relay {
    pub fn new(dialer: Dialer, addresses: Vec<String>) -> Self {
        Self { dialer, addresses }
    }

    async fn dial(&self) -> Result<TlsStream<TcpStream>> {
        let mut last = anyhow!("no address of the head is known");
        for address in &self.addresses {
            match self.dialer.dial(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.context(format!("cannot reach the head at {address}")),
            }
        }
        Err(last)
    }

    /// Asks the head to speak `protocol` at `path`.
    pub async fn switch(&self, path: &str, protocol: &str) -> Result<Switched> {
        let mut stream = self.dial().await?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: pcluster-head\r\nconnection: upgrade\r\n\
             upgrade: {protocol}\r\n\r\n"
        );
        let asked = async {
            stream.write_all(request.as_bytes()).await?;
            stream.flush().await?;
            let head = head_of(&mut stream).await?;
            if status_of(&head) == Some(101) {
                return Ok(None);
            }
            let length = length_of(&head).min(REFUSAL_BYTES);
            let mut answer = head;
            (&mut stream).take(length).read_to_end(&mut answer).await?;
            anyhow::Ok(Some(answer))
        };
        let answer = timeout(ANSWER, asked).await.context("the head does not answer")??;
        Ok(match answer {
            None => Switched::Yes(Box::new(stream)),
            Some(answer) => Switched::No(answer),
        })
    }

    /// Tells the head that a stream it asked for will not come.
    pub async fn refuse(&self, stream: &str, why: &str) {
        let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        let why: String = why.chars().map(plain).take(200).collect();
        let path = stream_path(stream);
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: pcluster-head\r\nconnection: close\r\n\
             {STREAM_REFUSED_HEADER}: {why}\r\n\r\n"
        );
        let said = async {
            let mut connection = self.dial().await?;
            connection.write_all(request.as_bytes()).await?;
            connection.flush().await?;
            head_of(&mut connection).await.map(drop)
        };
        // A head that cannot be reached gives up waiting by itself.
        drop(timeout(ANSWER, said).await);
    }
}

/// Carries both directions until both have ended or one has broken. `first` was read from `near`.
pub async fn join<A, B>(mut near: A, mut far: B, first: &[u8]) -> std::io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    far.write_all(first).await?;
    far.flush().await?;
    copy_bidirectional(&mut near, &mut far).await.map(drop)
}

/// Everything up to the empty line, and nothing of what follows it.
async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES {
            bail!("an endless answer of the head");
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn status_of(head: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(head).ok()?;
    text.split(' ').nth(1)?.parse().ok()
}

fn length_of(head: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(head);
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_is_read_as_http_has_it() {
        let head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 17\r\nx: y\r\n\r\n";
        assert_eq!((status_of(head), length_of(head)), (Some(403), 17));
        assert_eq!((status_of(b"nonsense"), length_of(b"")), (None, 0));
    }

    #[tokio::test]
    async fn nothing_after_the_empty_line_is_taken() {
        let mut bytes: &[u8] = b"HTTP/1.1 101 x\r\n\r\nrest";
        assert_eq!(head_of(&mut bytes).await.unwrap(), b"HTTP/1.1 101 x\r\n\r\n");
        assert_eq!(bytes, b"rest");
        assert!(head_of(&mut &vec![b'x'; HEAD_BYTES + 4][..]).await.is_err());
    }
}
