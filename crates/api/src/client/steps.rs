//! Records, pools, allocations and steps.
use super::{Client, ClientError, encoded, problem_of, query_of};
use crate::{
    ActionResponse, AllocationView, FinishRequest, PoolList, RecordList, RecordsQuery,
    RequeueRequest, STREAM_PROTOCOL, StepGrant, StepPartEnd, StepRequest,
};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// The node must have answered within this.
const ATTACH_WITHIN: Duration = Duration::from_secs(30);
/// An answer's head larger than this is not the head's.
const MAX_ANSWER_HEAD: usize = 16 << 10;

impl Client {
    /// `GET /v1/records`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn records(&self, query: &RecordsQuery) -> Result<RecordList, ClientError> {
        self.get(&format!("/v1/records{}", query_of(query))).await
    }

    /// `GET /v1/pools`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pools(&self) -> Result<PoolList, ClientError> {
        self.get("/v1/pools").await
    }

    /// `GET /v1/jobs/{id}/allocation`: refused while the job has no nodes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn allocation(&self, id: &str) -> Result<AllocationView, ClientError> {
        self.get(&format!("/v1/jobs/{}/allocation", encoded(id))).await
    }

    /// `POST /v1/jobs/{id}/finish`: gives an allocation back. Doing it again is harmless.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn finish(
        &self,
        id: &str,
        request: &FinishRequest,
    ) -> Result<ActionResponse, ClientError> {
        self.post(&format!("/v1/jobs/{}/finish", encoded(id)), request).await
    }

    /// `POST /v1/jobs/{id}/renew`: the client of an allocation is still there.
    ///
    /// # Errors
    /// [`ClientError`]; `Problem` of kind `Refused` once the job has ended.
    pub async fn renew(&self, id: &str) -> Result<ActionResponse, ClientError> {
        self.post(&format!("/v1/jobs/{}/renew", encoded(id)), &serde_json::json!({})).await
    }

    /// `POST /v1/jobs/{id}/suspend` or `/resume`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn suspend(&self, id: &str, suspend: bool) -> Result<ActionResponse, ClientError> {
        let verb = if suspend { "suspend" } else { "resume" };
        self.post(&format!("/v1/jobs/{}/{verb}", encoded(id)), &serde_json::json!({})).await
    }

    /// `POST /v1/jobs/{id}/requeue`, held there.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn requeue_held(&self, id: &str) -> Result<ActionResponse, ClientError> {
        let request = RequeueRequest { hold: true };
        self.post(&format!("/v1/jobs/{}/requeue", encoded(id)), &request).await
    }

    /// `POST /v1/runs/{run}/steps`.
    ///
    /// # Errors
    /// [`ClientError`]; `Problem` of kind `Busy` while other steps hold the CPUs.
    pub async fn make_step(
        &self,
        run: u64,
        request: &StepRequest,
    ) -> Result<StepGrant, ClientError> {
        self.post(&format!("/v1/runs/{run}/steps"), request).await
    }

    /// `POST /v1/runs/{run}/steps/{step}/end`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn end_step(
        &self,
        run: u64,
        step: u32,
        end: &StepPartEnd,
    ) -> Result<ActionResponse, ClientError> {
        self.post(&format!("/v1/runs/{run}/steps/{step}/end"), end).await
    }

    /// `GET /v1/runs/{run}/parts/{rank}/attach`: a byte stream to the step daemon of that part.
    ///
    /// # Errors
    /// [`ClientError`]: `Unavailable` when the node cannot be reached now.
    pub async fn attach(&self, run: u64, rank: u32) -> Result<UnixStream, ClientError> {
        self.stream(format!("/v1/runs/{run}/parts/{rank}/attach")).await
    }

    /// `GET /v1/nodes/{name}/attach`: a byte stream to the step daemon of the node itself.
    ///
    /// # Errors
    /// [`ClientError`]: `Unavailable` when the node cannot be reached now.
    pub async fn attach_node(&self, name: &str) -> Result<UnixStream, ClientError> {
        self.stream(format!("/v1/nodes/{}/attach", encoded(name))).await
    }

    async fn stream(&self, path: String) -> Result<UnixStream, ClientError> {
        let asked = self.upgrade(path);
        tokio::time::timeout(ATTACH_WITHIN, asked)
            .await
            .map_err(|_| ClientError::Silent(ATTACH_WITHIN))?
    }

    async fn upgrade(&self, path: String) -> Result<UnixStream, ClientError> {
        let mut stream = self.way.connect().await?;
        let lost = |error: io::Error| ClientError::Lost(error.to_string());
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: pcluster\r\nConnection: Upgrade\r\nUpgrade: {STREAM_PROTOCOL}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.map_err(lost)?;
        // One byte at a time: what follows the head belongs to the stream.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.map_err(lost)?;
            head.push(byte);
            if head.len() > MAX_ANSWER_HEAD {
                return Err(ClientError::Unreadable("an endless answer".into()));
            }
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.split(' ').nth(1).and_then(|word| word.parse::<u16>().ok()).unwrap_or(0);
        if status == 101 {
            return Ok(stream);
        }
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .and_then(|(_, value)| value.trim().parse::<usize>().ok())
            .unwrap_or(0);
        let mut body = vec![0; length.min(1 << 20)];
        stream.read_exact(&mut body).await.map_err(lost)?;
        Err(problem_of(status, &body))
    }
}
