//! A bad network: a proxy between those who dial and the head, which cuts, trickles and swallows.
//!
//! Invariant: bytes are never changed and never come out of order; a connection that is cut is reset
//! (TCP) or closed with what was on its way lost (Unix). A connection that has swallowed bytes never
//! passes another, as half-open connections do. Deliberately absent: frames; the proxy does not know where
//! they begin, so it cuts in the middle of them.
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often a connection looks whether it is to be cut.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// The pause after each byte of a trickle: some kilobytes a second, many packets a frame.
const DRIP: Duration = Duration::from_micros(100);

/// What happens to bytes from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Way {
    /// They pass.
    #[default]
    Open,
    /// They pass one by one.
    Trickle,
    /// They are taken and never arrive, whoever sent them; also on new connections.
    Swallow,
}

/// Where the bytes of a connection go.
#[derive(Debug, Default)]
struct State {
    way: Mutex<Way>,
    /// Connections of an earlier number are cut.
    cuts: AtomicU32,
    /// New connections are cut after so many bytes; 0 is never.
    cut_after: AtomicU64,
    /// Connections that were cut, and those that were made.
    cut: AtomicU32,
    made: AtomicU32,
    over: AtomicBool,
}

/// A proxy; all its connections are cut when this value goes.
#[derive(Debug)]
pub struct Proxy {
    address: String,
    socket: Option<PathBuf>,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// For TCP: listens on a port of its own and dials `head`.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn tcp(head: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        listener.set_nonblocking(true).expect("a socket can be set");
        let address = listener.local_addr().expect("it is bound").to_string();
        let dial = move || Ok((accepted(&listener)?, TcpStream::connect(head)?));
        Self::start(address, None, dial)
    }

    /// For a Unix socket: listens at `own` and dials `head`.
    ///
    /// # Panics
    /// When the socket cannot be made.
    #[must_use]
    pub fn unix(own: &Path, head: PathBuf) -> Self {
        let listener = UnixListener::bind(own).expect("a socket can be made");
        listener.set_nonblocking(true).expect("a socket can be set");
        let dial = move || {
            let (near, _) = listener.accept()?;
            near.set_nonblocking(false)?;
            Ok((near, UnixStream::connect(&head)?))
        };
        Self::start(own.display().to_string(), Some(own.to_path_buf()), dial)
    }

    fn start<W: Wire>(
        address: String,
        socket: Option<PathBuf>,
        mut dial: impl FnMut() -> io::Result<(W, W)> + Send + 'static,
    ) -> Self {
        let state = Arc::new(State::default());
        let theirs = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            let mut pairs = Vec::new();
            while !theirs.over.load(Ordering::SeqCst) {
                // Nobody dials, or the head is away: who has dialled finds the connection closed.
                let Ok((near, far)) = dial() else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                let pair = Pair::new(near, far, &theirs);
                pairs.push(std::thread::spawn(move || pair.live()));
                pairs.retain(|pair| !pair.is_finished());
            }
            pairs.into_iter().for_each(|pair| drop(pair.join()));
        });
        Self { address, socket, state, thread: Some(thread) }
    }

    /// What is dialled instead of the head.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn set(&self, way: Way) {
        *self.state.way.lock().unwrap_or_else(PoisonError::into_inner) = way;
    }

    /// Cuts all connections that are there.
    pub fn cut(&self) {
        self.state.cuts.fetch_add(1, Ordering::SeqCst);
    }

    /// New connections are cut after so many bytes, whoever sent them; 0: they last.
    pub fn cut_after(&self, bytes: u64) {
        self.state.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// All is well from now on.
    pub fn calm(&self) {
        self.set(Way::Open);
        self.cut_after(0);
    }

    /// How many connections were cut so far.
    #[must_use]
    pub fn cuts(&self) -> u32 {
        self.state.cut.load(Ordering::SeqCst)
    }

    /// How many connections were made so far.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.state.made.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.socket.iter().for_each(|socket| drop(std::fs::remove_file(socket)));
    }
}

fn accepted(listener: &TcpListener) -> io::Result<TcpStream> {
    let (near, _) = listener.accept()?;
    near.set_nonblocking(false)?;
    Ok(near)
}

/// A free port of this machine, for a head whose proxy must know it before it starts.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    listener.local_addr().expect("it is bound")
}

/// One end of a connection.
trait Wire: Read + Write + AsFd + Send + Sized + 'static {
    fn set_up(&self) -> io::Result<()>;
    /// The last moment of this end, after which its other side finds the connection broken.
    fn reset(self);
}

/// So long a reader that does not read holds up the look for a cut.
const STUCK: Option<Duration> = Some(Duration::from_millis(50));

impl Wire for TcpStream {
    fn set_up(&self) -> io::Result<()> {
        self.set_nodelay(true)?;
        self.set_write_timeout(STUCK)
    }

    fn reset(self) {
        // Closing it sends RST and drops what is on its way.
        let _ = set_socket_linger(&self, Some(Duration::ZERO));
    }
}

impl Wire for UnixStream {
    fn set_up(&self) -> io::Result<()> {
        self.set_write_timeout(STUCK)
    }

    fn reset(self) {}
}

struct Pair<W> {
    near: W,
    far: W,
    state: Arc<State>,
    cuts: u32,
    left: Option<u64>,
    /// What either side says no longer arrives.
    swallowed: bool,
}

/// Why a connection ends.
enum End {
    /// One side has ended it.
    Closed,
    Cut,
}

impl<W: Wire> Pair<W> {
    fn new(near: W, far: W, state: &Arc<State>) -> Self {
        state.made.fetch_add(1, Ordering::SeqCst);
        let cuts = state.cuts.load(Ordering::SeqCst);
        let left = Some(state.cut_after.load(Ordering::SeqCst)).filter(|bytes| *bytes > 0);
        Self { near, far, state: Arc::clone(state), cuts, left, swallowed: false }
    }

    fn live(mut self) {
        let set_up = self.near.set_up().and_then(|()| self.far.set_up());
        let end = match set_up {
            Ok(()) => self.carry(),
            Err(_) => End::Closed,
        };
        if matches!(end, End::Cut) {
            self.state.cut.fetch_add(1, Ordering::SeqCst);
            self.near.reset();
            self.far.reset();
        }
    }

    fn carry(&mut self) -> End {
        let mut bytes = vec![0; 16 << 10];
        loop {
            if self.is_cut() {
                return End::Cut;
            }
            let [near, far] = readable([self.near.as_fd(), self.far.as_fd()]);
            for (ready, from_dialler) in [(near, true), (far, false)] {
                if !ready {
                    continue;
                }
                let from = if from_dialler { &mut self.near } else { &mut self.far };
                let read = match from.read(&mut bytes) {
                    Ok(0) | Err(_) => return End::Closed,
                    Ok(read) => read,
                };
                if let Err(end) = self.pass(&bytes[..read], from_dialler) {
                    return end;
                }
            }
        }
    }

    fn is_cut(&self) -> bool {
        let state = &self.state;
        state.over.load(Ordering::SeqCst) || state.cuts.load(Ordering::SeqCst) != self.cuts
    }

    fn pass(&mut self, bytes: &[u8], from_dialler: bool) -> Result<(), End> {
        let way = *self.state.way.lock().unwrap_or_else(PoisonError::into_inner);
        self.swallowed |= way == Way::Swallow;
        if self.swallowed {
            return Ok(());
        }
        let room = self.left.map_or(bytes.len(), |left| {
            usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
        });
        let step = if way == Way::Trickle { 1 } else { room.max(1) };
        for part in bytes[..room].chunks(step) {
            self.write(part, from_dialler)?;
            if way == Way::Trickle {
                std::thread::sleep(DRIP);
            }
        }
        if let Some(left) = &mut self.left {
            *left -= room as u64;
            if *left == 0 {
                return Err(End::Cut);
            }
        }
        Ok(())
    }

    /// Writes all, unless the connection is cut while the other side does not read.
    fn write(&mut self, mut bytes: &[u8], from_dialler: bool) -> Result<(), End> {
        while !bytes.is_empty() {
            let to = if from_dialler { &mut self.far } else { &mut self.near };
            match to.write(bytes) {
                Ok(0) => return Err(End::Closed),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.is_cut() {
                        return Err(End::Cut);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Closed),
            }
        }
        Ok(())
    }
}

/// Which of the two has bytes, or its end, to be read.
fn readable(ends: [BorrowedFd<'_>; 2]) -> [bool; 2] {
    let mut fds = ends.map(|end| PollFd::from_borrowed_fd(end, PollFlags::IN));
    match poll(&mut fds, Some(&LOOK_EVERY)) {
        Ok(_) => [0, 1].map(|at: usize| !fds[at].revents().is_empty()),
        Err(_) => [false, false],
    }
}
