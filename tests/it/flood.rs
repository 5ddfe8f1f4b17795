//! Floods: clients that send and never read, output without an end. Memory stays flat, and others are
//! served. What "flat" means stands in the constants: a bound of the product and some for the rest.
use pcluster_tests::clients::Face;
use pcluster_tests::memory::{self, Watch};
use pcluster_tests::{Cluster, PATIENCE, Setup, people, skip, until};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// What a head may take more under a flood of one user: answers of 64 MB that nobody reads, three bodies of
/// 4 MB, a page of events for each of 32 listeners, and buffers of 256 connections.
const HEAD_MORE_MB: u64 = 144;
/// What agent, keeper, step daemon, head and client may take more for output: the agent's queues hold
/// 130 pieces of 64 KB, a session 1 MB in each direction, the head a tail of 2 MB.
const OUTPUT_MORE_MB: u64 = 32;
/// Jobs in the list that is asked for.
const JOBS: usize = 400;

fn megabytes(bytes: u64) -> u64 {
    bytes >> 20
}

/// A submission of a job that is held, as a request on a connection that stays open.
fn submission(work: &Path, comment: usize) -> Vec<u8> {
    let zero = "0".repeat(64);
    let spec = serde_json::json!({
        "name": "flood", "output": "o", "work_dir": work, "script": zero, "environment": zero,
        "hold": true, "comment": "c".repeat(comment),
    });
    let body = serde_json::json!({
        "spec": spec, "script_base64": "IyEvYmluL3NoCnRydWUK", "environment_base64": "QT0xAA==",
    })
    .to_string();
    let mut request = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body.bytes());
    request
}

fn connect(socket: &Path) -> Option<UnixStream> {
    let stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // Whoever is not read must not hold this test up.
    stream.set_write_timeout(Some(Duration::from_millis(200))).ok()?;
    Some(stream)
}

/// The status of one answer, whose body is read to its end.
fn status_of(stream: &mut UnixStream) -> u16 {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let head_end = text.windows(4).position(|part| part == b"\r\n\r\n");
        if let Some(end) = head_end {
            let head = String::from_utf8_lossy(&text[..end]).into_owned();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if text.len() >= end + 4 + length.unwrap_or(0) {
                return head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
            }
        }
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(&text));
        text.extend(&piece[..read]);
    }
}

/// Connections of every bad kind, as many as one user may have and more; nobody ever reads from them.
fn flood(socket: &Path) -> Vec<UnixStream> {
    let asks = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes();
    let half_body = [
        b"POST /v1/jobs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 16000000\r\n\r\n".to_vec(),
        vec![b' '; 4 << 20],
    ]
    .concat();
    let list = asks("/v1/jobs?all=true&finished=true").repeat(30);
    let events = b"GET /v1/events HTTP/1.1\r\nhost: x\r\nlast-event-id: 0\r\n\r\n".to_vec();
    let kinds: [(&[u8], usize); 5] =
        [(b"", 20), (b"GET /v1/sta", 30), (&half_body, 20), (&list, 150), (&events, 80)];
    let mut held = Vec::new();
    for (bytes, count) in kinds {
        for _ in 0..count {
            let Some(mut stream) = connect(socket) else { continue };
            // One that is refused is closed while it is written to.
            let _ = stream.write_all(bytes);
            held.push(stream);
        }
    }
    held
}

#[test]
fn a_client_that_floods_and_never_reads_takes_bounded_memory_and_others_are_served() {
    if !people::is_root() {
        return skip("a flood of one user while another is served: it needs root");
    }
    let Some(other) = people::named("nobody") else {
        return skip("a flood of one user while another is served: there is no user nobody");
    };
    let cluster = Cluster::with("flood", Setup { system_socket: true, ..Setup::default() });
    let socket = cluster.socket();
    let mut stream = connect(&socket).unwrap();
    let request = submission(&cluster.work(), 4000);
    for _ in 0..JOBS {
        stream.write_all(&request).unwrap();
        assert_eq!(status_of(&mut stream), 200);
    }
    let head = cluster.head_pid();
    let before = memory::peak(head).unwrap();
    let mut held = Vec::new();
    for round in 0..3 {
        held.extend(flood(&socket));
        cluster.say(&mut cluster.command_as(&other, &["queue", "--all"])).expect_code(0);
        let script = format!("exit {round}");
        cluster
            .say(&mut cluster.command_as(
                &other,
                &[
                    "submit",
                    "-q",
                    "--chdir",
                    "/tmp",
                    "-o",
                    "/dev/null",
                    "--hold",
                    "--wrap",
                    &script,
                ],
            ))
            .expect_code(0);
    }
    assert!(held.len() > 256, "{} connections", held.len());
    let more = megabytes(memory::peak(head).unwrap() - before);
    println!("the head took {more} MB more, from {} MB on", megabytes(before));
    assert!(more <= HEAD_MORE_MB, "{more} MB");
    drop(held);
    // The same user is served again.
    until("an answer", || (cluster.run(&["queue", "--all"]).code == 0).then_some(()));
    cluster.down(&["--now"]);
}

#[test]
fn output_of_a_terabyte_in_one_line_takes_bounded_memory_on_its_way() {
    let cluster = Cluster::with("terabyte", Setup::compute("cpus = 2, memory = \"1 GB\", max = 1"));
    // Most of it are holes: the end of the file is what counts, and what is read of it.
    let text = "head -c 100M /dev/zero; truncate -s 1T /proc/self/fd/1 || exit 9; head -c 100M /dev/zero; echo; echo end; exit 3";
    let warm = cluster.submit(&["--mem", "100M"], "echo warm");
    assert_eq!(cluster.wait(&warm), 0);
    let watch =
        Watch::start(cluster.root(), &["pcluster-headnode", "pcluster-agent", "pcluster-keeper"]);
    let id = cluster.submit(&["-o", "long.out", "--mem", "100M"], text);
    let beside = cluster.submit(&["--mem", "100M"], "echo beside; exit 4");
    assert_eq!((cluster.wait(&id), cluster.wait(&beside)), (3, 4));
    let said = cluster.ok(&["logs", &id]).out;
    assert!(said.ends_with("\nend\n") && said.len() <= 3 << 20, "{} bytes", said.len());
    watch.check(OUTPUT_MORE_MB);
    std::fs::remove_file(cluster.work().join("long.out")).unwrap();
    cluster.down(&[]);
}

/// Starts a command whose output is read slowly at first; the bytes that came, of which `wanted` are looked
/// for, and its code.
fn read_slowly(mut command: std::process::Command, wanted: u8) -> (u64, i32) {
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut from = child.stdout.take().unwrap();
    let (mut piece, mut found) = (vec![0; 1 << 20], 0);
    for turn in 0.. {
        let read = from.read(&mut piece).unwrap();
        if read == 0 {
            break;
        }
        found += piece[..read].iter().filter(|byte| **byte == wanted).count() as u64;
        // Nothing to wait for: a reader that is slow is what is tested.
        if turn < 20 {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    (found, pcluster_tests::said::shell_code(child.wait().unwrap()))
}

#[test]
fn a_line_without_an_end_goes_through_run_to_a_slow_reader() {
    let cluster = Cluster::with("endless", Setup::compute("cpus = 2, memory = \"1 GB\", max = 1"));
    cluster.ok(&["run", "-q", "--", "true"]);
    let watch = Watch::start(
        cluster.root(),
        &["pcluster-headnode", "pcluster-agent", "pcluster-keeper", "pcluster"],
    );
    let run = cluster.command(&["run", "-q", "--", "sh", "-c", "head -c 1100M /dev/zero; exit 5"]);
    assert_eq!(read_slowly(run, 0), (1100 << 20, 5));
    watch.check(OUTPUT_MORE_MB);
    cluster.down(&[]);
}

#[test]
fn a_line_without_an_end_goes_through_a_step_to_a_slow_srun() {
    let setup = Setup::compute("cpus = 2, memory = \"1 GB\", max = 1");
    let face = Face::with("endless-step", setup);
    let cluster = face.cluster();
    let srun = || face.command(&face.names().join("srun"), None, &cluster.work());
    let mut warm = srun();
    warm.args(["-n1", "true"]);
    assert_eq!(cluster.say(&mut warm).code, 0);
    let names =
        ["pcluster-headnode", "pcluster-agent", "pcluster-keeper", "pcluster-stepd", "srun"];
    let watch = Watch::start(cluster.root(), &names);
    let mut long = srun();
    long.args(["-n1", "--label", "sh", "-c", "head -c 300M /dev/zero; exit 7"]);
    assert_eq!(read_slowly(long, 0), (300 << 20, 7));
    watch.check(OUTPUT_MORE_MB);
    cluster.down(&[]);
}
