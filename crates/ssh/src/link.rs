//! A session that lives beside a program of any kind: on a thread of its own, asked for connections.
use crate::session::{Keys, Ran, Session};
use crate::trust::Trust;
use crate::{SshError, Target};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// A session on its own thread. It ends with the last handle.
#[derive(Debug, Clone)]
pub struct Link {
    asks: mpsc::UnboundedSender<Ask>,
    target: Target,
    host_key: String,
}

#[derive(Debug)]
enum Ask {
    Socket(String, oneshot::Sender<Result<UnixStream, SshError>>),
    Run(String, Vec<u8>, oneshot::Sender<Result<Ran, SshError>>),
}

impl Link {
    /// Opens the session; waits until it is there.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open(target: &Target, trust: Trust, keys: Keys) -> Result<Self, SshError> {
        let (asks, asked) = mpsc::unbounded_channel();
        let (opened, open) = std::sync::mpsc::channel();
        let whom = target.clone();
        let broken = |why: String| SshError::Broken { target: target.clone(), why };
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                match Session::open(&whom, trust, &keys).await {
                    Ok(session) => {
                        drop(opened.send(Ok(session.host_key().to_owned())));
                        serve(Arc::new(session), asked).await;
                    }
                    Err(error) => drop(opened.send(Err(error))),
                }
            });
        };
        let thread = std::thread::Builder::new().name("ssh".into()).spawn(body);
        thread.map_err(|error| broken(error.to_string()))?;
        let host_key =
            open.recv().map_err(|_| broken("the session could not be started".into()))??;
        Ok(Self { asks, target: target.clone(), host_key })
    }

    /// Whose machine it is.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The machine's key in OpenSSH's form.
    #[must_use]
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    /// A connection to a Unix socket of the machine, as a socket of this one.
    ///
    /// # Errors
    /// As [`Session::socket`].
    pub async fn socket(&self, path: &str) -> Result<UnixStream, SshError> {
        let (told, answer) = oneshot::channel();
        self.ask(Ask::Socket(path.to_owned(), told), answer).await
    }

    /// Runs a command line there.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn run(&self, command: &str, input: Vec<u8>) -> Result<Ran, SshError> {
        let (told, answer) = oneshot::channel();
        self.ask(Ask::Run(command.to_owned(), input, told), answer).await
    }

    async fn ask<T>(
        &self,
        ask: Ask,
        answer: oneshot::Receiver<Result<T, SshError>>,
    ) -> Result<T, SshError> {
        let gone = || SshError::Broken {
            target: self.target.clone(),
            why: "the session has ended".into(),
        };
        self.asks.send(ask).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn serve(session: Arc<Session>, mut asked: mpsc::UnboundedReceiver<Ask>) {
    while let Some(ask) = asked.recv().await {
        let session = Arc::clone(&session);
        tokio::spawn(async move {
            match ask {
                Ask::Socket(path, told) => drop(told.send(joined(&session, &path).await)),
                Ask::Run(command, input, told) => {
                    drop(told.send(session.run(&command, &input).await));
                }
            }
        });
    }
}

/// One end of a pair of sockets; the other is joined with the channel until either ends.
async fn joined(session: &Session, path: &str) -> Result<UnixStream, SshError> {
    let mut channel = session.socket(path).await?;
    let pair = || -> std::io::Result<_> {
        let (near, far) = UnixStream::pair()?;
        far.set_nonblocking(true)?;
        Ok((near, tokio::net::UnixStream::from_std(far)?))
    };
    let (near, mut far) = pair().map_err(|error| session.broken(error))?;
    tokio::spawn(async move {
        // Either side may go at any time; whoever reads sees it.
        drop(tokio::io::copy_bidirectional(&mut far, &mut channel).await);
    });
    Ok(near)
}
