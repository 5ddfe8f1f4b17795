//! The client socket: where commands of jobs on this node, and step daemons, come to the agent.
//!
//! Invariant: who comes is what the kernel says. A command's connection is carried to the head as
//! a whole and not looked into; whether the user may is the head's to say. Connections are bounded
//! (`guests`). Deliberately absent: any right of the agent's own.
mod commands;
mod guests;
mod relay;
mod streams;

use crate::bootlog::BootLog;
use crate::clock;
use crate::node_dir::NodeDir;
use crate::tls::Dialer;
use guests::Guests;
use pcluster_model::RunId;
use pcluster_wire::{
    CLIENT_PROTOCOL, STEP_DAEMON_GREETING, STEP_STREAM_GREETING, STREAM_PROTOCOL, client_path,
    stream_path,
};
use relay::{Relay, Switched, join};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use streams::{Streams, Wish};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use words::{away, stranger, too_many};

/// Whoever connects says something within this.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// The longest greeting, in bytes.
const GREETING_BYTES: usize = 128;
/// A step daemon that was asked for has this long to take its stream.
const TAKEN_WITHIN: Duration = Duration::from_secs(15);
/// The rest of a request that is refused is read for so long, so that the answer arrives.
const REST: Duration = Duration::from_secs(2);

/// Everything behind the socket. Cheap to clone.
#[derive(Clone)]
pub struct Door {
    relay: Relay,
    streams: Arc<Mutex<Streams>>,
    guests: Guests,
}

mod words {
    //! The answers that the agent gives itself, in the words of the head's interface.
    use pcluster_api::{Problem, ProblemKind};

    fn answer(problem: &Problem) -> Vec<u8> {
        let body = serde_json::to_string(problem).unwrap_or_default();
        format!(
            "HTTP/1.1 {} \r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            problem.kind.status(),
            body.len()
        )
        .into_bytes()
    }

    pub(super) fn away(why: &str) -> Vec<u8> {
        let words = format!("the head is away: {why}");
        let problem = Problem::new(ProblemKind::Unavailable, words);
        answer(&problem.hint("nothing was asked of it; ask again later"))
    }

    pub(super) fn stranger() -> Vec<u8> {
        let words = "you have no running job on this node";
        let problem = Problem::new(ProblemKind::NotAllowed, words);
        answer(&problem.hint("ask the head on its own machine"))
    }

    pub(super) fn too_many() -> Vec<u8> {
        let words = "too many connections to this node's agent are open";
        answer(&Problem::new(ProblemKind::Unavailable, words).hint("ask again later"))
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, PartialEq, Eq)]
enum First {
    /// A request to the head; these bytes of it were read.
    Request(Vec<u8>),
    Daemon(RunId),
    /// A stream's name, and bytes of it that came along.
    Stream(String, Vec<u8>),
}

/// What jobs are told of.
pub struct Offered {
    pub door: Door,
    /// `None` where the socket cannot be.
    pub client_socket: Option<PathBuf>,
    /// The directory with the commands; `None` where there is none.
    pub commands: Option<PathBuf>,
}

/// Opens the door of this node. What cannot be had is said once, and jobs go without it.
pub fn open(
    dir: &NodeDir,
    scratch: &Path,
    mark: &str,
    for_others: bool,
    relay: (Dialer, Vec<String>),
    log: &mut BootLog,
) -> Offered {
    let door = Door::new(Relay::new(relay.0, relay.1));
    let socket = dir.client_socket(scratch, mark);
    let bound = socket.and_then(|path| Ok((bind(&path, for_others)?, path)));
    let client_socket = match bound {
        Ok((listener, path)) => {
            tokio::spawn(door.clone().serve(listener));
            Some(path)
        }
        Err(error) => {
            let why = crate::cage::plain(&error);
            log.line(&format!("jobs here cannot reach the head: {why}"));
            None
        }
    };
    let commands = commands::place(scratch, for_others);
    if let Err(error) = &commands {
        log.line(&format!("jobs here have no commands in PATH: {error:#}"));
    }
    Offered { door, client_socket, commands: commands.ok() }
}

/// Binds the socket; one that an earlier agent left is replaced.
fn bind(path: &Path, for_others: bool) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    let mode = if for_others { 0o666 } else { 0o600 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

impl Door {
    fn new(relay: Relay) -> Self {
        Self { relay, streams: Arc::default(), guests: Guests::default() }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run of this user lives here from now on.
    pub fn begin(&self, run: RunId, uid: u32) {
        self.streams().begin(run, uid);
    }

    /// That run is over.
    pub fn end(&self, run: RunId) {
        let lost = self.streams().end(run);
        for name in lost {
            self.refuse(name, "this run has ended here");
        }
    }

    /// Tells the head that this stream does not come.
    pub fn refuse(&self, name: String, why: &'static str) {
        let relay = self.relay.clone();
        tokio::spawn(async move { relay.refuse(&name, why).await });
    }

    /// The head wants a stream to the step daemon of this run; true when the daemon must be started
    /// for that.
    pub fn attach(&self, run: RunId, name: String) -> bool {
        let wish = self.streams().want(run, name.clone());
        let door = self.clone();
        match wish {
            Wish::Refused(why) => {
                self.refuse(name, why);
                return false;
            }
            Wish::Told | Wish::NoDaemon => {}
        }
        tokio::spawn(async move {
            tokio::time::sleep(TAKEN_WITHIN).await;
            let untaken = door.streams().give_up(run, &name);
            if untaken {
                door.relay.refuse(&name, "the step daemon there does not come up").await;
            }
        });
        wish == Wish::NoDaemon
    }

    /// Runs whose step daemon is wanted and not there.
    pub fn without_daemon(&self) -> Vec<RunId> {
        self.streams().without_daemon()
    }

    /// Serves until the task is dropped.
    async fn serve(self, listener: UnixListener) {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let door = self.clone();
                    tokio::spawn(async move {
                        // It broke: whoever is there sees it by the end of the connection.
                        drop(door.connection(stream).await);
                    });
                }
                Err(error) => {
                    clock::say(&format!("cannot take a connection of a job: {error}"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn connection(&self, mut stream: UnixStream) -> io::Result<()> {
        let uid = stream.peer_cred()?.uid();
        let here = self.streams().users();
        let Ok(_seat) = self.guests.enter(uid, here) else {
            // Said if it can be said at once: nobody may hold what is not counted.
            drop(stream.try_write(&too_many()));
            return Ok(());
        };
        match timeout(FIRST_WORD, first(&mut stream)).await?? {
            First::Request(read) => self.command(stream, uid, &read).await,
            First::Daemon(run) => self.daemon(stream, uid, run).await,
            First::Stream(name, read) => self.stream(stream, uid, &name, &read).await,
        }
    }

    async fn command(&self, mut stream: UnixStream, uid: u32, read: &[u8]) -> io::Result<()> {
        // The head would say no; it is not to be troubled by everybody on this machine.
        if !self.streams().knows(uid) {
            return answer(&mut stream, &stranger()).await;
        }
        match self.relay.switch(&client_path(uid), CLIENT_PROTOCOL).await {
            Ok(Switched::Yes(head)) => join(stream, head, read).await,
            Ok(Switched::No(refusal)) => answer(&mut stream, &refusal).await,
            Err(error) => answer(&mut stream, &away(&format!("{error:#}"))).await,
        }
    }

    /// A step daemon: it is told of streams for as long as it stays.
    async fn daemon(&self, mut stream: UnixStream, uid: u32, run: RunId) -> io::Result<()> {
        let Some((number, mut lines)) = self.streams().greet(run, uid) else {
            return Err(io::Error::other("no run of that user"));
        };
        let told = async {
            let (mut reader, mut writer) = stream.split();
            let mut unheard = [0; 256];
            loop {
                tokio::select! {
                    line = lines.recv() => match line {
                        Some(name) => writer.write_all(format!("attach {name}\n").as_bytes()).await?,
                        // The run is over, or another daemon has come.
                        None => return Ok(()),
                    },
                    read = reader.read(&mut unheard) => if read? == 0 { return Ok(()) },
                }
            }
        };
        let ended = told.await;
        self.streams().leave(run, number);
        ended
    }

    async fn stream(
        &self,
        stream: UnixStream,
        uid: u32,
        name: &str,
        read: &[u8],
    ) -> io::Result<()> {
        if !self.streams().take(name, uid) {
            return Err(io::Error::other("no such stream"));
        }
        match self.relay.switch(&stream_path(name), STREAM_PROTOCOL).await {
            Ok(Switched::Yes(head)) => join(stream, head, read).await,
            // Nobody waits for it any more.
            Ok(Switched::No(_)) => Ok(()),
            Err(error) => Err(io::Error::other(format!("{error:#}"))),
        }
    }
}

/// Reads as much as tells what this connection is.
async fn first(stream: &mut UnixStream) -> io::Result<First> {
    let mut read = Vec::new();
    loop {
        if let Some(first) = told(&read)? {
            return Ok(first);
        }
        let mut piece = [0; GREETING_BYTES];
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&piece[..length]);
    }
}

/// What these bytes are, once that can be told.
fn told(read: &[u8]) -> io::Result<Option<First>> {
    let greetings = [STEP_DAEMON_GREETING, STEP_STREAM_GREETING];
    let may_be = |greeting: &str| {
        let common = read.len().min(greeting.len());
        read[..common] == greeting.as_bytes()[..common]
    };
    if !greetings.into_iter().any(may_be) {
        return Ok(Some(First::Request(read.to_vec())));
    }
    let Some(end) = read.iter().position(|byte| *byte == b'\n') else {
        let bad = || io::Error::other("an endless greeting");
        return if read.len() > GREETING_BYTES { Err(bad()) } else { Ok(None) };
    };
    let odd = || io::Error::other("a greeting that is none");
    let line = std::str::from_utf8(&read[..end]).map_err(|_| odd())?;
    if let Some(run) = line.strip_prefix(STEP_DAEMON_GREETING) {
        return Ok(Some(First::Daemon(RunId(run.parse().map_err(|_| odd())?))));
    }
    let name = line.strip_prefix(STEP_STREAM_GREETING).ok_or_else(odd)?;
    // It becomes part of a request's path.
    if name.len() != 32 || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(odd());
    }
    Ok(Some(First::Stream(name.to_owned(), read[end + 1..].to_vec())))
}

/// Says an answer that is not the head's, and lets the other side read it: closing on unread bytes
/// would take it away again.
async fn answer(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    let rest = async {
        let mut piece = [0; 4096];
        while stream.read(&mut piece).await.is_ok_and(|length| length > 0) {}
    };
    drop(timeout(REST, rest).await);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_told_by_its_first_bytes() {
        assert_eq!(told(b"P").unwrap(), None);
        assert_eq!(told(b"PO").unwrap(), Some(First::Request(b"PO".to_vec())));
        assert_eq!(told(b"GET /").unwrap(), Some(First::Request(b"GET /".to_vec())));
        assert_eq!(told(b"PCLUSTER-STEPD 12").unwrap(), None);
        assert_eq!(told(b"PCLUSTER-STEPD 12\n").unwrap(), Some(First::Daemon(RunId(12))));
        let name = "0123456789abcdef0123456789abcdef";
        let line = format!("PCLUSTER-STREAM {name}\nrest");
        let stream = First::Stream(name.to_owned(), b"rest".to_vec());
        assert_eq!(told(line.as_bytes()).unwrap(), Some(stream));
    }

    #[test]
    fn what_is_no_greeting_is_refused() {
        let endless = [b"PCLUSTER-STEPD ".to_vec(), vec![b'1'; 200]].concat();
        for bad in [
            b"PCLUSTER-STEPD x\n".as_slice(),
            b"PCLUSTER-STREAM ../x\n",
            &endless,
            b"PCLUSTER-STREAM \n",
        ] {
            assert!(told(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}
