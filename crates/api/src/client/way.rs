//! How a client reaches its head: a socket of this machine, or whoever makes connections to another.
use super::{CONNECT_WITHIN, ClientError};
use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::UnixStream;

/// A connection that is being made.
pub type Dialled<'a> = Pin<Box<dyn Future<Output = io::Result<UnixStream>> + Send + 'a>>;

/// Makes connections to the socket of a head that is not on this machine.
pub trait Dial: fmt::Debug + Send + Sync {
    /// A new connection, as a socket of this machine.
    fn dial(&self) -> Dialled<'_>;

    /// Where that is, for people: `ana@head.example`.
    fn place(&self) -> String;
}

#[derive(Debug, Clone)]
pub(super) enum Way {
    Socket(PathBuf),
    Dial(Arc<dyn Dial>),
}

impl Way {
    fn place(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Dial(dial) => dial.place(),
        }
    }

    /// # Errors
    /// [`ClientError::NoHead`].
    pub(super) async fn connect(&self) -> Result<UnixStream, ClientError> {
        let connecting = async {
            match self {
                Self::Socket(path) => UnixStream::connect(path).await,
                Self::Dial(dial) => dial.dial().await,
            }
        };
        let connected = tokio::time::timeout(CONNECT_WITHIN, connecting).await;
        connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| ClientError::NoHead { place: self.place(), source })
    }
}
