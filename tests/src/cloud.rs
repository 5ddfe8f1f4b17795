//! A cloud on loopback that boots machines: `tests/clients/ec2_cloud.py`, started for one test.
//!
//! Invariant: it and every machine of it end with the value. Deliberately absent: what the cloud does when it is
//! asked; its program says that on its first page.
use crate::clients::{environment, have, own};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Says which service is meant; nobody looks at the signature.
const SIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIAEXAMPLE/20260101/us-east-1/ec2/aws4_request, \
                      SignedHeaders=host, Signature=00";

/// A running cloud of one test.
#[derive(Debug)]
pub struct Cloud {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Cloud {
    /// A cloud whose files lie in `folder`, and whose machines boot if `boots`; nothing, said so, where what
    /// it needs is not installed.
    ///
    /// # Panics
    /// When the cloud does not start although all that it needs is there.
    #[must_use]
    pub fn start(folder: &Path, boots: bool) -> Option<Self> {
        let python = environment("moto")?.join("bin/python");
        if boots && !have(&["bwrap", "curl", "sudo", "/usr/sbin/sshd", "ssh-keygen", "unshare"]) {
            return None;
        }
        let mut command = Command::new(python);
        command.arg(own("ec2_cloud.py")).arg(folder);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if !boots {
            command.arg("--no-boot");
        }
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("Python can be started");
        let mut line = String::new();
        let said = BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line);
        said.expect("the cloud's first line");
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(port) = said["port"].as_u64().and_then(|port| u16::try_from(port).ok()) else {
            drop(child.kill());
            panic!("the cloud has not started: {line:?} {:?}", child.wait());
        };
        Some(Self { child, port, folder: folder.into() })
    }

    /// Where its API answers: the value of `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its files: `calls.jsonl`, and a folder for each machine.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What every program needs to find this cloud and be let in, and no other.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE".into()),
            ("AWS_SECRET_ACCESS_KEY", "an example".into()),
            ("AWS_REGION", "us-east-1".into()),
            ("AWS_EC2_METADATA_DISABLED", "true".into()),
            ("AWS_CONFIG_FILE", "/dev/null".into()),
        ]
    }

    /// Its other side: `facts`, `meter`, `calls`.
    ///
    /// # Panics
    /// When the cloud does not answer.
    #[must_use]
    pub fn see(&self, what: &str) -> Value {
        self.http("GET", what, None)
    }

    /// Its other side: `faults`, `lag`, `end`, `spot_prices`.
    ///
    /// # Panics
    /// When the cloud does not answer, or not well.
    pub fn tell(&self, what: &str, value: &Value) {
        let said = self.http("POST", what, Some(value));
        assert_eq!(said, json!({}), "{what} {value}");
    }

    /// A call of its API as somebody else makes it: `Action` and its parameters. The answer's text.
    ///
    /// # Panics
    /// When the cloud does not answer, or refuses.
    pub fn call(&self, parameters: &[(&str, &str)]) -> String {
        let pairs: Vec<String> =
            parameters.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.send("POST", "/", &format!("Version=2016-11-15&{}", pairs.join("&")))
    }

    fn http(&self, method: &str, what: &str, body: Option<&Value>) -> Value {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.send(method, &format!("/_cloud/{what}"), &body);
        serde_json::from_str(&answer).expect("its answers are JSON")
    }

    fn send(&self, method: &str, path: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).expect("the cloud is there");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: cloud\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Authorization: {SIGNED}\r\nContent-Length: {length}\r\n\r\n"
        );
        socket.write_all((head + body).as_bytes()).expect("the cloud listens");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("the cloud answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "{path}: {answer}");
        body.to_owned()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // The end of its input is the end of it and of its machines.
        drop(self.child.stdin.take());
        drop(self.child.wait());
    }
}
