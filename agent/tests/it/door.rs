//! The client socket: commands of jobs go to the head as their users, streams to step daemons.
use crate::fake_head::{Dialled, FakeHead, PATIENCE};
use crate::place::Place;
use pcluster_model::{DurationMs, RunId};
use pcluster_wire::{AgentFrame, EndWhy, HeadFrame};
use std::path::PathBuf;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A node with a run of ours on it, and the socket that the run was told of.
struct Door {
    head: FakeHead,
    connection: crate::fake_head::Connection,
    socket: PathBuf,
    _place: Place,
}

async fn door(name: &str) -> Door {
    let mut head = FakeHead::start().await;
    let place = Place::new(name, &head);
    place.launch().await;
    let (mut connection, _) = head.welcome().await;
    connection.say(place.starting(
        &head,
        1,
        "#!/bin/sh\necho \"$PCLUSTER_SOCKET\"\nexec sleep 1000\n",
    ));
    let started = |frame: &AgentFrame| matches!(frame, AgentFrame::RunStarted { .. });
    connection.frame("the start", started).await;
    let out = place.work().join("out-1.txt");
    let socket = crate::place::wait_for_line(&out).await;
    Door { head, connection, socket: PathBuf::from(socket), _place: place }
}

const NAME: &str = "0123456789abcdef0123456789abcdef";

async fn text_of(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

#[tokio::test]
async fn a_command_of_a_job_is_carried_to_the_head_as_its_user() {
    let mut door = door("client").await;
    // A client: the first byte alone could also be the start of a greeting.
    let mut client = UnixStream::connect(&door.socket).await.unwrap();
    client.write_all(b"P").await.unwrap();
    client.write_all(b"OST /v1/jobs").await.unwrap();
    let Dialled { path, mut stream, .. } = door.head.dialled().await;
    assert_eq!(path, format!("/node/v1/client/{}", rustix::process::getuid().as_raw()));
    client.shutdown().await.unwrap();
    // The end of one direction does not end the other.
    assert_eq!(text_of(&mut stream).await, "POST /v1/jobs");
    stream.write_all(b"HTTP/1.1 200 OK").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(text_of(&mut client).await, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn without_a_head_a_command_is_told_so() {
    let mut door = door("headless").await;
    door.head.stop().await;
    let mut client = UnixStream::connect(&door.socket).await.unwrap();
    client.write_all(b"GET /v1/status HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = text_of(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"kind\":\"unavailable\"") && answer.contains("the head is away"));
}

#[tokio::test]
async fn a_stream_goes_to_the_daemon_of_its_run_and_keeps_its_halves() {
    let mut door = door("stream").await;
    // A step daemon in a few lines: it says whose it is and takes the streams it is told of.
    let mut daemon = UnixStream::connect(&door.socket).await.unwrap();
    daemon.write_all(b"PCLUSTER-STEPD 1\n").await.unwrap();
    door.connection.say(HeadFrame::Attach { run: RunId(1), stream: NAME.to_owned() });
    let mut lines = BufReader::new(&mut daemon).lines();
    let line = timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap();
    assert_eq!(line, Some(format!("attach {NAME}")));

    let mut taken = UnixStream::connect(&door.socket).await.unwrap();
    taken.write_all(format!("PCLUSTER-STREAM {NAME}\nhello").as_bytes()).await.unwrap();
    let Dialled { path, mut stream, .. } = door.head.dialled().await;
    assert_eq!(path, format!("/node/v1/streams/{NAME}"));
    // More than any buffer on the way: nothing is read before the other side reads.
    let large = vec![7_u8; 4 << 20];
    let (sent, received) = tokio::join!(
        async {
            stream.write_all(&large).await.unwrap();
            stream.shutdown().await.unwrap();
        },
        async {
            let mut all = Vec::new();
            timeout(PATIENCE, taken.read_to_end(&mut all)).await.unwrap().unwrap();
            all
        }
    );
    let () = sent;
    assert!(received == large);
    taken.write_all(b" and goodbye").await.unwrap();
    taken.shutdown().await.unwrap();
    assert_eq!(text_of(&mut stream).await, "hello and goodbye");
    // A name is good once.
    let mut again = UnixStream::connect(&door.socket).await.unwrap();
    again.write_all(format!("PCLUSTER-STREAM {NAME}\n").as_bytes()).await.unwrap();
    assert_eq!(text_of(&mut again).await, "");
}

#[tokio::test]
async fn a_stream_to_a_run_that_has_ended_is_refused_in_words() {
    let mut door = door("too late").await;
    door.connection.say(HeadFrame::End {
        run: RunId(1),
        grace_ms: DurationMs(0),
        why: EndWhy::Ended,
    });
    let ended = |frame: &AgentFrame| matches!(frame, AgentFrame::RunEnded(_));
    // Asked for while it ends: whatever comes first, the head hears of it.
    door.connection.say(HeadFrame::Attach { run: RunId(1), stream: NAME.to_owned() });
    door.connection.frame("the end", ended).await;
    let Dialled { path, refusal, .. } = door.head.dialled().await;
    assert_eq!(path, format!("/node/v1/streams/{NAME}"));
    assert!(refusal.is_some_and(|why| why.contains("ended") || why.contains("come up")));
}

#[tokio::test]
async fn a_daemon_of_no_run_here_is_not_listened_to() {
    let door = door("no run").await;
    let mut daemon = UnixStream::connect(&door.socket).await.unwrap();
    daemon.write_all(b"PCLUSTER-STEPD 99\n").await.unwrap();
    assert_eq!(text_of(&mut daemon).await, "");
}
