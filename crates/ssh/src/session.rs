//! One session with a machine: let in by a key, commands, and connections to its Unix sockets.
use crate::trust::{Trust, fingerprint, line};
use crate::{SshError, Target};
use russh::client::{self, Handle, Msg};
use russh::keys::agent::client::AgentClient;
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key};
use russh::{ChannelMsg, ChannelStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A machine that is there has accepted and agreed on keys within this.
const OPEN_WITHIN: Duration = Duration::from_secs(15);
/// A machine that has said nothing for so long is asked, and given up after three times that.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// What this user can prove to be with.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// The socket of an agent that holds keys: `SSH_AUTH_SOCK`.
    pub agent: Option<PathBuf>,
    /// Private keys in files, without a passphrase. One that is not there is passed over.
    pub files: Vec<PathBuf>,
}

/// How a command on the machine ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// `None`: a signal, or the connection broke.
    pub code: Option<u32>,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
}

/// An open session.
pub struct Session {
    handle: Handle<Judge>,
    target: Target,
    host_key: String,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Holds the machine's key against what is known, and remembers both.
struct Judge {
    target: Target,
    trust: Trust,
    verdict: Arc<Mutex<Verdict>>,
}

#[derive(Default)]
struct Verdict {
    key: String,
    refusal: Option<SshError>,
}

impl client::Handler for Judge {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let key = shown.public_key();
        let judged = self.trust.judge(&self.target, &key);
        let mut verdict = self.verdict.lock().unwrap_or_else(PoisonError::into_inner);
        verdict.key = line(&key);
        verdict.refusal = judged.err();
        Ok(verdict.refusal.is_none())
    }
}

impl Session {
    /// Connects, checks the machine's key, and proves who this is.
    ///
    /// # Errors
    /// Every kind of [`SshError`] but `Refused`.
    pub async fn open(target: &Target, trust: Trust, keys: &Keys) -> Result<Self, SshError> {
        let verdict = Arc::new(Mutex::new(Verdict::default()));
        let judge = Judge { target: target.clone(), trust, verdict: Arc::clone(&verdict) };
        let config = client::Config {
            keepalive_interval: Some(ALIVE_EVERY),
            nodelay: true,
            ..client::Config::default()
        };
        let address = (target.host.as_str(), target.port);
        let connecting = client::connect(Arc::new(config), address, judge);
        let connected = tokio::time::timeout(OPEN_WITHIN, connecting).await;
        let mut seen = std::mem::take(&mut *verdict.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(refusal) = seen.refusal.take() {
            return Err(refusal);
        }
        let no_answer = |why: String| SshError::NoAnswer { target: target.clone(), why };
        let handle = connected
            .map_err(|_| no_answer(format!("nothing within {} s", OPEN_WITHIN.as_secs())))?
            .map_err(|error| no_answer(error.to_string()))?;
        let mut session = Self { handle, target: target.clone(), host_key: seen.key };
        session.prove(keys).await?;
        Ok(session)
    }

    /// The machine's key in OpenSSH's form, fit for [`Trust::Pinned`].
    #[must_use]
    pub fn host_key(&self) -> &str {
        &self.host_key
    }

    pub(crate) fn broken(&self, error: impl std::fmt::Display) -> SshError {
        SshError::Broken { target: self.target.clone(), why: error.to_string() }
    }

    /// The agent's keys first: they need no file.
    async fn prove(&mut self, keys: &Keys) -> Result<(), SshError> {
        let mut tried = Vec::new();
        if let Some(socket) = &keys.agent
            && self.prove_by_agent(socket, &mut tried).await?
        {
            return Ok(());
        }
        for file in &keys.files {
            if self.prove_by_file(file, &mut tried).await? {
                return Ok(());
            }
        }
        if tried.is_empty() {
            tried.push("there is no key to try".into());
        }
        Err(SshError::Denied { target: self.target.clone(), tried })
    }

    async fn prove_by_agent(
        &mut self,
        socket: &Path,
        tried: &mut Vec<String>,
    ) -> Result<bool, SshError> {
        let user = self.target.user.clone();
        let Ok(mut agent) = AgentClient::connect_uds(socket).await else {
            tried.push("the agent of SSH_AUTH_SOCK does not answer".into());
            return Ok(false);
        };
        let identities = agent.request_identities().await.unwrap_or_default();
        for identity in identities {
            let key = identity.public_key().into_owned();
            let shown = fingerprint(&key);
            let hash = self.handle.best_supported_rsa_hash().await.ok().flatten().flatten();
            let hash = hash.filter(|_| key.algorithm().is_rsa());
            match self.handle.authenticate_publickey_with(&user, key, hash, &mut agent).await {
                Ok(answer) if answer.success() => return Ok(true),
                Ok(_) => tried.push(format!("{shown} of the agent: refused")),
                Err(error) => tried.push(format!("{shown} of the agent: {error}")),
            }
            if self.handle.is_closed() {
                return Err(SshError::Denied { target: self.target.clone(), tried: tried.clone() });
            }
        }
        Ok(false)
    }

    async fn prove_by_file(
        &mut self,
        file: &Path,
        tried: &mut Vec<String>,
    ) -> Result<bool, SshError> {
        if !file.exists() {
            return Ok(false);
        }
        let shown = file.display();
        let key = match load_secret_key(file, None) {
            Ok(key) => key,
            Err(russh::keys::Error::KeyIsEncrypted) => {
                tried.push(format!("{shown}: has a passphrase; ssh-add it"));
                return Ok(false);
            }
            Err(error) => {
                tried.push(format!("{shown}: {error}"));
                return Ok(false);
            }
        };
        let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
        let answer = self.handle.authenticate_publickey(&self.target.user, key).await;
        if answer.map_err(|error| self.broken(error))?.success() {
            return Ok(true);
        }
        tried.push(format!("{shown}: refused"));
        Ok(false)
    }

    /// A connection to a Unix socket of the machine, made there by this account.
    ///
    /// # Errors
    /// [`SshError::Refused`] when nothing listens there or forwarding is forbidden.
    pub async fn socket(&self, path: &str) -> Result<ChannelStream<Msg>, SshError> {
        let channel = self.handle.channel_open_direct_streamlocal(path).await;
        let channel = channel.map_err(|error| match error {
            russh::Error::ChannelOpenFailure(why) => {
                SshError::Refused { target: self.target.clone(), why: format!("{path}: {why:?}") }
            }
            other => self.broken(other),
        })?;
        Ok(channel.into_stream())
    }

    /// Runs a command line of the account's shell there, with `input` as its standard input.
    ///
    /// # Errors
    /// [`SshError::Broken`] and [`SshError::Refused`].
    pub async fn run(&self, command: &str, input: &[u8]) -> Result<Ran, SshError> {
        let opened = self.handle.channel_open_session().await;
        let mut channel = opened.map_err(|error| self.broken(error))?;
        channel.exec(true, command).await.map_err(|error| self.broken(error))?;
        let (mut ran, mut is_sent) = (Ran::default(), false);
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Success if !is_sent => {
                    is_sent = true;
                    channel.data(input).await.map_err(|error| self.broken(error))?;
                    channel.eof().await.map_err(|error| self.broken(error))?;
                }
                ChannelMsg::Failure => {
                    let why = "it runs no commands for this account".into();
                    return Err(SshError::Refused { target: self.target.clone(), why });
                }
                ChannelMsg::Data { data } => ran.out.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, .. } => ran.err.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => ran.code = Some(exit_status),
                _ => {}
            }
        }
        Ok(ran)
    }
}
