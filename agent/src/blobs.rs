//! Scripts and environments, fetched once per node and named by their hash.
//!
//! Invariant: what is under a hash's name has that hash. Nothing larger than a submit may be is
//! taken in.
use crate::node_dir::NodeDir;
use crate::tls::Dialer;
use anyhow::{Context as _, Result, anyhow, bail};
use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_ENCODING, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use pcluster_keeper::{Durability, write_atomic};
use pcluster_model::BlobHash;
use pcluster_wire::blob_path;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::Mutex;

/// The largest submit.
const LARGEST: usize = 16 << 20;
/// More than this and the older ones go: runs hold links of their own.
const KEPT: usize = 256;
const ANSWER: Duration = Duration::from_secs(30);

/// The node's store of blobs.
pub struct Blobs {
    folder: PathBuf,
    dialer: Dialer,
    addresses: Vec<String>,
    /// One at a time: tasks of an array want the same ones at the same moment.
    busy: Mutex<()>,
}

/// Why there is no blob.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The head has none of this name, and never will.
    #[error("the head has no blob {0}")]
    Missing(BlobHash),
    /// The way to it is broken.
    #[error("{0:#}")]
    Failed(anyhow::Error),
}

impl Blobs {
    pub fn new(dir: &NodeDir, dialer: Dialer, addresses: Vec<String>) -> std::io::Result<Self> {
        Ok(Self { folder: dir.folder("blobs")?, dialer, addresses, busy: Mutex::new(()) })
    }

    /// The path of a blob, fetched if it is not here.
    pub async fn get(&self, hash: BlobHash) -> Result<PathBuf, BlobError> {
        let _turn = self.busy.lock().await;
        let path = self.folder.join(hash.to_string());
        if path.exists() {
            return Ok(path);
        }
        let mut last = BlobError::Failed(anyhow!("no address of the head is known"));
        for address in &self.addresses {
            match tokio::time::timeout(ANSWER, self.fetch(address, hash)).await {
                Ok(Ok(bytes)) => {
                    self.make_room();
                    let written = write_atomic(&path, &bytes, Durability::Cached);
                    written.map_err(|error| BlobError::Failed(error.into()))?;
                    return Ok(path);
                }
                Ok(Err(error @ BlobError::Missing(_))) => return Err(error),
                Ok(Err(error)) => last = error,
                Err(_) => last = BlobError::Failed(anyhow!("{address} does not answer")),
            }
        }
        Err(last)
    }

    async fn fetch(&self, address: &str, hash: BlobHash) -> Result<Vec<u8>, BlobError> {
        let failed = BlobError::Failed;
        let stream = self.dialer.dial(address).await.map_err(failed)?;
        let shake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shake.map_err(|error| failed(error.into()))?;
        let driver = tokio::spawn(connection);
        let request = Request::get(blob_path(hash))
            .header(HOST, "pcluster-head")
            .body(Empty::<Bytes>::new())
            .map_err(|error| failed(error.into()))?;
        let answer = sender.send_request(request).await.map_err(|error| failed(error.into()))?;
        let status = answer.status();
        let zipped = answer.headers().get(CONTENT_ENCODING).is_some_and(|value| value == "gzip");
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        driver.abort();
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(BlobError::Missing(hash)),
            other => return Err(failed(anyhow!("the head answered {other}"))),
        }
        let body = body.map_err(|error| failed(anyhow!("{error}")))?.to_bytes();
        checked(&body, zipped, hash).map_err(failed)
    }

    fn make_room(&self) {
        let entries: Vec<_> = fs::read_dir(&self.folder).into_iter().flatten().flatten().collect();
        if entries.len() >= KEPT {
            // They are fetched again if they are wanted again.
            entries.iter().for_each(|entry| drop(fs::remove_file(entry.path())));
        }
    }
}

fn checked(body: &[u8], zipped: bool, hash: BlobHash) -> Result<Vec<u8>> {
    let bytes = if zipped {
        let mut bytes = Vec::new();
        // One more than allowed, to tell the largest from the too large.
        let limit = LARGEST as u64 + 1;
        GzDecoder::new(body).take(limit).read_to_end(&mut bytes).context("not gzip")?;
        if bytes.len() > LARGEST {
            bail!("a blob of more than {LARGEST} bytes");
        }
        bytes
    } else {
        body.to_vec()
    };
    if Sha256::digest(&bytes).as_slice() != hash.0 {
        bail!("what the head sent is not blob {hash}");
    }
    Ok(bytes)
}
