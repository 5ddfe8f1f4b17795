//! A head of a few lines: answers what a test says, remembers what it was asked.
use pcluster_api::Problem;
use serde::Serialize;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    /// From 0.
    pub number: usize,
    /// `GET /v1/jobs?all=true`.
    pub line: String,
    pub body: String,
}

/// What to answer.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    body: Vec<u8>,
    end: End,
    close: bool,
    /// `x-pcluster-offset`.
    start: Option<u64>,
}

#[derive(Debug, Clone)]
enum End {
    Whole,
    /// The connection breaks before the body's end.
    Broken,
    /// Nothing is answered.
    HangUp,
    Never,
    /// The body's end comes after a request whose line has this in it.
    After(String),
}

impl Answer {
    fn new(status: u16, body: Vec<u8>, end: End) -> Self {
        Self { status, body, end, close: false, start: None }
    }

    pub fn json(view: &impl Serialize) -> Self {
        Self::new(200, serde_json::to_vec(view).unwrap(), End::Whole)
    }

    pub fn problem(problem: &Problem) -> Self {
        Self::new(problem.kind.status(), serde_json::to_vec(problem).unwrap(), End::Whole)
    }

    pub fn bytes(body: &[u8]) -> Self {
        Self::new(200, body.to_vec(), End::Whole)
    }

    pub fn broken_after(body: &[u8]) -> Self {
        Self::new(200, body.to_vec(), End::Broken)
    }

    pub fn bytes_then_wait_for(body: &[u8], line: &str) -> Self {
        Self::new(200, body.to_vec(), End::After(line.into()))
    }

    pub fn hang_up() -> Self {
        Self::new(0, vec![], End::HangUp)
    }

    pub fn never() -> Self {
        Self::new(0, vec![], End::Never)
    }

    /// The first byte of the body is that of the output.
    pub fn starting_at(mut self, offset: u64) -> Self {
        self.start = Some(offset);
        self
    }

    /// The head ends after this answer.
    pub fn and_close(mut self) -> Self {
        self.close = true;
        self
    }
}

type Requests = Arc<(Mutex<Vec<Seen>>, Condvar)>;

/// Listens until it is dropped.
pub struct FakeHead {
    socket: PathBuf,
    requests: Requests,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeHead {
    pub fn listen(socket: &Path, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let requests: Requests = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (all, ending, answer) = (requests.clone(), stop.clone(), Arc::new(answer));
        let path = socket.to_path_buf();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ending.load(Ordering::SeqCst) {
                    return;
                }
                let (all, ending, answer, path) =
                    (all.clone(), ending.clone(), answer.clone(), path.clone());
                std::thread::spawn(move || {
                    // A probe connects and says nothing.
                    let _ = serve(stream.unwrap(), &all, &ending, &path, &*answer);
                });
            }
        });
        Self { socket: socket.to_path_buf(), requests, stop, thread: Some(thread) }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.requests.0.lock().unwrap().clone()
    }
}

impl Drop for FakeHead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = UnixStream::connect(&self.socket);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    stream: UnixStream,
    requests: &Requests,
    stop: &AtomicBool,
    socket: &Path,
    answer: &dyn Fn(&Seen) -> Answer,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let seen = {
        let mut all = requests.0.lock().unwrap();
        let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        let seen = Seen { number: all.len(), line, body: String::from_utf8(body).unwrap() };
        all.push(seen.clone());
        requests.1.notify_all();
        seen
    };
    let answer = answer(&seen);
    if answer.close {
        // Gone before the answer is read: nobody may find the socket afterwards.
        stop.store(true, Ordering::SeqCst);
        // Wakes the listener, which sees that it is over and goes.
        let _ = UnixStream::connect(socket);
        std::fs::remove_file(socket)?;
    }
    write(stream, &answer, requests)
}

fn write(mut stream: UnixStream, answer: &Answer, requests: &Requests) -> std::io::Result<()> {
    match &answer.end {
        End::HangUp => return Ok(()),
        End::Never => {
            // Until the client gives up.
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest)?;
            return Ok(());
        }
        End::Whole | End::Broken | End::After(_) => {}
    }
    write!(stream, "HTTP/1.1 {} x\r\ntransfer-encoding: chunked\r\n", answer.status)?;
    if let Some(start) = answer.start {
        write!(stream, "x-pcluster-offset: {start}\r\n")?;
    }
    write!(stream, "\r\n")?;
    if !answer.body.is_empty() {
        write!(stream, "{:x}\r\n", answer.body.len())?;
        stream.write_all(&answer.body)?;
        write!(stream, "\r\n")?;
    }
    if let End::After(line) = &answer.end {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut all = requests.0.lock().unwrap();
        while !all.iter().any(|seen| seen.line.contains(line)) && Instant::now() < deadline {
            all = requests.1.wait_timeout(all, Duration::from_secs(1)).unwrap().0;
        }
    }
    if !matches!(answer.end, End::Broken) {
        write!(stream, "0\r\n\r\n")?;
    }
    Ok(())
}
