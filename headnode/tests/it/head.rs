//! A head of a test: its own folders, its own process, gone with the test.
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NEXT: AtomicU32 = AtomicU32::new(0);
/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` says something.
pub fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(Instant::now() < end, "{what} has not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Folders of a cluster `t`.
pub struct Site {
    root: PathBuf,
}

impl Site {
    pub fn new(config: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pch-{}-{number}", std::process::id());
        let site = Self { root: std::env::temp_dir().join(name) };
        fs::create_dir_all(&site.root).unwrap();
        // A head takes the agent that lies beside it. Here lies none: a launch is refused, and no
        // node outlives its test.
        let (built, own) = (env!("CARGO_BIN_EXE_pcluster-headnode"), "pcluster-headnode");
        if fs::hard_link(built, site.root.join(own)).is_err() {
            fs::copy(built, site.root.join(own)).unwrap();
        }
        fs::write(site.config(), format!("name = \"t\"\n{config}")).unwrap();
        site
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn config(&self) -> PathBuf {
        self.root.join("cluster.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.root.join("state/t")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("out")).unwrap_or_default()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.root.join("pcluster-headnode"));
        command
            .arg("--config")
            .arg(self.config())
            .arg("--foreground")
            .env("PCLUSTER_STATE_DIR", self.root.join("state"))
            .env("PCLUSTER_RUNTIME_DIR", self.root.join("run"))
            .env_remove("PCLUSTER_LOG")
            .stdin(Stdio::null());
        command
    }

    /// Runs a head that ends by itself.
    pub fn run(&self) -> Output {
        self.command().output().unwrap()
    }

    /// Starts a head and waits until it answers.
    pub fn start(&self) -> Head<'_> {
        let out = fs::OpenOptions::new().append(true).create(true).open(self.root.join("out"));
        let child = self.command().stderr(out.unwrap()).spawn().unwrap();
        let mut head = Head { site: self, child };
        until("the head", || {
            if let Some(status) = head.child.try_wait().unwrap() {
                panic!("the head ended with {status}: {}", self.log());
            }
            head.try_get("/v1/status").map(drop)
        });
        head
    }

    pub fn socket(&self) -> PathBuf {
        self.root.join("run/t/head.sock")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A running head.
pub struct Head<'a> {
    site: &'a Site,
    child: Child,
}

impl Head<'_> {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The end that the head finds by itself.
    pub fn ended(&mut self) -> ExitStatus {
        until("the end of the head", || self.child.try_wait().unwrap())
    }

    pub fn try_get(&self, path: &str) -> Option<(u16, String)> {
        ask(&self.site.socket(), "GET", path, "")
    }

    pub fn get(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.try_get(path).expect("the head answers");
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    pub fn text(&self, path: &str) -> String {
        self.try_get(path).expect("the head answers").1
    }

    pub fn post(&self, path: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        let answer = ask(&self.site.socket(), "POST", path, &body.to_string());
        let (status, body) = answer.expect("the head answers");
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Submits a small job and gives its number.
    pub fn submit(&self) -> u64 {
        let zero = "0".repeat(64);
        let spec = serde_json::json!({
            "name": "j", "output": "o", "work_dir": self.site.root, "script": zero,
            "environment": zero,
        });
        let script = "IyEvYmluL3NoCnRydWUK";
        let body = serde_json::json!({
            "spec": spec, "script_base64": script, "environment_base64": "QT0xAA==",
        });
        let (status, answer) = self.post("/v1/jobs", &body);
        assert_eq!(status, 200, "{answer}");
        answer["job"].as_u64().unwrap()
    }
}

impl Drop for Head<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: pcluster\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, body.to_owned()))
}
