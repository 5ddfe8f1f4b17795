//! The real binary against a head that is a few lines of test: what is asked, what is said on which
//! stream, and with which exit code it ends.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]
mod fake_head;

use fake_head::{Answer, FakeHead, Seen};
use pcluster_api::*;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with a `cluster.toml`, removed at the end.
struct Room {
    folder: PathBuf,
}

impl Room {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("pc-cli-{}-{name}", std::process::id()));
        fs::create_dir_all(folder.join("run/lab")).unwrap();
        fs::write(folder.join("cluster.toml"), "name = \"lab\"\nprovider = \"process\"\n").unwrap();
        Self { folder }
    }

    fn head(&self, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> FakeHead {
        FakeHead::listen(&self.folder.join("run/lab/head.sock"), answer)
    }

    fn command_of(&self, binary: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command
            .args(words)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &self.folder)
            .env("PCLUSTER_STATE_DIR", self.folder.join("state"))
            .env("PCLUSTER_RUNTIME_DIR", self.folder.join("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn command(&self, words: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_pcluster")), words)
    }

    fn run(&self, words: &[&str]) -> Said {
        Said::of(&self.command(words).output().unwrap())
    }

    fn script(&self, text: &str) {
        fs::write(self.folder.join("job.sh"), text).unwrap();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

fn job_row(id: u64, state: JobState) -> JobView {
    serde_json::from_value(json!({
        "id": id.to_string(), "job": id, "count": 1, "name": "align", "user": "ana", "account": "",
        "pool": "compute", "state": state, "nodes": 1, "cpus": 1, "memory_bytes": 1u64 << 30,
        "gpus": 0, "attempt": 1, "submitted_at_ms": 0, "elapsed_ms": 0, "node_names": [],
        "priority": 0
    }))
    .unwrap()
}

fn list(jobs: Vec<JobView>) -> JobList {
    JobList { schema: "pcluster.queue/1".into(), now_ms: 0, jobs, others: 0, other_users: 0 }
}

fn accepted(job: u64) -> SubmitResponse {
    SubmitResponse {
        schema: "pcluster.submit/1".into(),
        job,
        repeated: false,
        name: "align".into(),
        estimate: EstimateView {
            asked: "1 CPU".into(),
            start: "at once on compute-1".into(),
            start_ms: None,
            end_ms: None,
            history_runs: 0,
            cost_micro_usd: None,
            cost_at_most_micro_usd: None,
            price_per_hour_micro_usd: Some(50_000),
            budget_left_micro_usd: None,
            output: "/x/pcluster-7.out".into(),
            notes: vec![],
        },
    }
}

fn waited(code: u8) -> WaitResponse {
    WaitResponse { schema: "pcluster.wait/1".into(), ended: true, code, rows: vec![] }
}

#[test]
fn queue_is_a_table_on_stdout_and_a_sum_on_stderr_without_colour() {
    let room = Room::new("queue");
    let _head = room.head(|_| Answer::json(&list(vec![job_row(7, JobState::Queued)])));
    let said = room.run(&["queue"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with("JOB  NAME  STATE    NEEDS"), "{}", said.out);
    assert_eq!(said.err, "yours: 1 waits\n");
}

#[test]
fn json_is_the_view_with_its_schema() {
    let room = Room::new("json");
    let _head = room.head(|_| Answer::json(&list(vec![job_row(7, JobState::Queued)])));
    let said = room.run(&["--json", "queue"]);
    let view: JobList = serde_json::from_str(&said.out).unwrap();
    assert_eq!(view.schema, "pcluster.queue/1");
    assert_eq!(said.err, "");
}

#[test]
fn a_closed_pipe_ends_a_command_silently() {
    let room = Room::new("pipe");
    let rows: Vec<JobView> = (1..5000).map(|id| job_row(id, JobState::Queued)).collect();
    let _head = room.head(move |_| Answer::json(&list(rows.clone())));
    let mut child = room.command(&["queue"]).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with("JOB"));
    // The reader is dropped here: the rest of the page has nowhere to go.
    let ended = child.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), b"".as_slice()));
}

#[test]
fn no_head_says_where_it_looked_and_ends_with_6() {
    let room = Room::new("nohead");
    let said = room.run(&["queue"]);
    assert_eq!(said.code, Some(6));
    assert!(said.err.starts_with("error: no head answers\n  looked at  "), "{}", said.err);
    assert!(said.err.contains("cluster.toml (lab)"), "{}", said.err);
    assert!(said.err.contains("hint: pcluster up"), "{}", said.err);
}

#[test]
fn a_folder_without_a_file_is_led_to_init() {
    let room = Room::new("nofile");
    fs::remove_file(room.folder.join("cluster.toml")).unwrap();
    let said = room.run(&["queue"]);
    assert_eq!(said.code, Some(6));
    assert!(said.err.contains("hint: pcluster init"), "{}", said.err);
}

#[test]
fn the_heads_refusal_keeps_its_words_and_its_code() {
    let room = Room::new("refusal");
    let _head = room.head(|_| {
        Answer::problem(
            &Problem::new(ProblemKind::NotFound, "there is no job 9").hint("pcluster queue"),
        )
    });
    let said = room.run(&["show", "9"]);
    assert_eq!(
        (said.code, said.err.as_str()),
        (Some(4), "error: there is no job 9\nhint: pcluster queue\n")
    );
}

#[test]
fn submit_prints_the_bare_id_and_sends_what_was_asked() {
    let room = Room::new("submit");
    room.script("#!/bin/sh\n#SBATCH --mem=1G -c 4\n#PCLUSTER -c 2\necho\n");
    let head = room.head(|_| Answer::json(&accepted(7)));
    let said = room.run(&["submit", "-t", "10m", "job.sh", "--sample", "s 1"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "7\n"), "{said:?}");
    assert!(said.err.contains("hint: pcluster logs -f 7"), "{}", said.err);
    let request: SubmitRequest = serde_json::from_str(&head.seen()[0].body).unwrap();
    assert_eq!(head.seen()[0].line, "POST /v1/jobs");
    assert_eq!(request.spec.cpus_per_task, 2);
    assert_eq!(request.spec.time_limit_ms.map(|limit| limit.0), Some(600_000));
    assert_eq!(request.spec.args, ["--sample", "s 1"]);
    assert_eq!(request.spec.work_dir, room.folder.canonicalize().unwrap().to_str().unwrap());
    assert!(request.key.is_some());
}

#[test]
fn an_unknown_option_before_the_script_is_a_usage_error() {
    let room = Room::new("option");
    room.script("#!/bin/sh\n");
    let said = room.run(&["submit", "--tmie", "2h", "job.sh"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("'--time'"), "{}", said.err);
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let room = Room::new("again");
    room.script("#!/bin/sh\n");
    let head = room.head(|seen| match seen.number {
        0 => Answer::hang_up(),
        _ => Answer::json(&SubmitResponse { repeated: true, ..accepted(7) }),
    });
    let said = room.run(&["submit", "job.sh"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "7\n"), "{said:?}");
    assert!(!said.err.contains("key was used"), "{}", said.err);
    let key = |at: usize| serde_json::from_str::<SubmitRequest>(&head.seen()[at].body).unwrap().key;
    assert_eq!(key(0), key(1));
}

#[test]
fn run_streams_over_a_break_and_ends_with_the_commands_code() {
    let room = Room::new("run");
    let head = room.head(|seen| match seen.line.as_str() {
        "POST /v1/jobs" => Answer::json(&accepted(7)),
        line if line.contains("offset=0&") || line.ends_with("offset=0") => {
            // Cut in the middle: the client goes on at the sixth byte.
            Answer::broken_after(b"hello ")
        }
        line if line.contains("/output") && line.contains("follow=true") => {
            Answer::bytes(b"world\n")
        }
        line if line.contains("/output") => Answer::bytes(b""),
        line if line.contains("/wait") => Answer::json(&waited(3)),
        other => panic!("asked {other}"),
    });
    let said = room.run(&["run", "--", "sh", "-c", "exit 3"]);
    assert_eq!((said.code, said.out.as_str()), (Some(3), "hello world\n"), "{said:?}");
    let request: SubmitRequest = serde_json::from_str(&head.seen()[0].body).unwrap();
    assert_eq!(request.spec.args, ["sh", "-c", "exit 3"]);
    assert_eq!(request.face, "run");
}

#[test]
fn run_passes_on_every_byte_of_a_file_it_can_see_and_removes_it() {
    let room = Room::new("whole");
    let folder = room.folder.clone();
    let _head = room.head(move |seen| match seen.line.as_str() {
        "POST /v1/jobs" => {
            let request: SubmitRequest = serde_json::from_str(&seen.body).unwrap();
            fs::write(folder.join(request.spec.output), "all of it\n").unwrap();
            Answer::json(&accepted(7))
        }
        // The head has the end only.
        line if line.contains("/output") => Answer::bytes(b"it\n").starting_at(7),
        line if line.contains("/wait") => Answer::json(&waited(0)),
        other => panic!("asked {other}"),
    });
    let said = room.run(&["run", "--", "true"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "all of it\n"), "{said:?}");
    let names = fs::read_dir(&room.folder).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> =
        names.filter(|name| name.to_string_lossy().starts_with(".pcluster")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn logs_say_what_the_head_no_longer_has() {
    let room = Room::new("gap");
    let _head = room.head(|seen| match seen.line.as_str() {
        line if line.contains("/output") => Answer::bytes(b"the end\n").starting_at(5_000_000),
        _ => Answer::problem(&Problem::new(ProblemKind::NotFound, "there is no job 7")),
    });
    let said = room.run(&["logs", "7"]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "the end\n"), "{said:?}");
    assert!(said.err.starts_with("note: 5,000,000 bytes are left out here"), "{}", said.err);
}

#[test]
fn an_interrupt_of_run_cancels_the_job_and_waits_for_its_end() {
    let room = Room::new("interrupt");
    let head = room.head(|seen| match seen.line.as_str() {
        "POST /v1/jobs" => Answer::json(&accepted(7)),
        "POST /v1/jobs/7/cancel" => Answer::json(&ActionResponse {
            schema: "pcluster.action/1".into(),
            job: 7,
            said: "job 7 cancelled".into(),
            changed: 1,
        }),
        line if line.contains("/wait") => Answer::json(&waited(143)),
        line if line.contains("follow=true") => Answer::bytes_then_wait_for(b"ready\n", "cancel"),
        line if line.contains("/output") => Answer::bytes(b""),
        other => panic!("asked {other}"),
    });
    let mut child = room.command(&["run", "--", "sleep", "99"]).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let mut first = [0u8; 6];
    out.read_exact(&mut first).unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(head.seen().iter().any(|seen| seen.line == "POST /v1/jobs/7/cancel"));
}

#[test]
fn own_trouble_of_run_and_wait_is_255() {
    let room = Room::new("trouble");
    assert_eq!(room.run(&["run", "--", "true"]).code, Some(255));
    assert_eq!(room.run(&["wait", "1"]).code, Some(255));
}

#[test]
fn wait_ends_with_the_highest_code() {
    let room = Room::new("wait");
    let _head =
        room.head(|seen| Answer::json(&waited(if seen.line.contains("/jobs/2/") { 5 } else { 0 })));
    assert_eq!(room.run(&["wait", "1", "2", "3"]).code, Some(5));
}

#[test]
fn a_wait_that_takes_too_long_ends_with_7() {
    let room = Room::new("timeout");
    let _head = room.head(|_| Answer::never());
    let said = room.run(&["wait", "1", "--timeout", "100 ms"]);
    assert_eq!(said.code, Some(7), "{said:?}");
}

#[test]
fn several_cancels_go_on_after_one_that_fails() {
    let room = Room::new("cancel");
    let _head = room.head(|seen| match seen.line.as_str() {
        "POST /v1/jobs/1/cancel" => {
            Answer::problem(&Problem::new(ProblemKind::NotFound, "there is no job 1"))
        }
        _ => Answer::json(&ActionResponse {
            schema: "pcluster.action/1".into(),
            job: 2,
            said: "job 2 cancelled".into(),
            changed: 1,
        }),
    });
    let said = room.run(&["cancel", "1", "2"]);
    assert_eq!(said.code, Some(4));
    assert_eq!(said.err, "job 2 cancelled\nerror: there is no job 1\n");
}

/// A copy of the command with a head of our choice beside it.
fn with_head_program(room: &Room, program: &str) -> PathBuf {
    let bin = room.folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_pcluster"), bin.join("pcluster")).unwrap();
    let head = bin.join("pcluster-headnode");
    fs::write(&head, program).unwrap();
    fs::set_permissions(&head, fs::Permissions::from_mode(0o755)).unwrap();
    bin.join("pcluster")
}

#[test]
fn a_head_that_ends_at_once_is_quoted() {
    let room = Room::new("up");
    let program = "#!/bin/sh\necho 'error: the state file is of version 9' >&2\nexit 3\n";
    let binary = with_head_program(&room, program);
    let said = Said::of(&room.command_of(&binary, &["up"]).output().unwrap());
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("the head ended at once (exit code 3)"), "{}", said.err);
    assert!(said.err.contains("the state file is of version 9"), "{}", said.err);
}

#[test]
fn up_refuses_a_file_with_mistakes_before_it_starts_anything() {
    let room = Room::new("badfile");
    fs::write(room.folder.join("cluster.toml"), "provder = \"process\"\n").unwrap();
    let said = room.run(&["up"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("provider"), "{}", said.err);
}

#[test]
fn init_never_touches_a_file_that_is_there() {
    let room = Room::new("init");
    let said = room.run(&["init"]);
    assert_eq!(said.code, Some(3));
    fs::remove_file(room.folder.join("cluster.toml")).unwrap();
    assert_eq!(room.run(&["init"]).code, Some(0));
    assert_eq!(room.run(&["config", "check"]).code, Some(0));
}

#[test]
fn status_ends_with_1_when_something_needs_attention() {
    let room = Room::new("status");
    let _head = room.head(|seen| {
        let attention = if seen.number < 2 { json!([]) } else { json!([["bo", "98 % of the budget"]]) };
        Answer::json(&json!({
            "schema": "pcluster.status/1", "cluster": "lab", "cluster_id": "0", "provider": "process",
            "version": "0.1.0", "pid": 1, "started_at_ms": 0, "now_ms": 1000, "config_file": "/c",
            "state_dir": "/s", "phase": "up", "node_address": "127.0.0.1:1", "cpu_percent": 0,
            "memory_bytes": 0, "disk_free_bytes": 0, "jobs_running": 0, "jobs_starting": 0,
            "jobs_queued": 0, "jobs_held": 0, "jobs_done_this_month": 0, "nodes_busy": 0,
            "nodes_idle": 0, "nodes_booting": 0, "nodes_max": 2, "nodes_failed_last_hour": 0,
            "price_per_hour_micro_usd": 0, "month_micro_usd": 0, "instances_listed": 0,
            "instances_unknown": 0, "attention": attention, "notes": []
        }))
    });
    assert_eq!(room.run(&["status"]).code, Some(0));
    assert_eq!(room.run(&["status", "--json"]).code, Some(0));
    assert_eq!(room.run(&["status"]).code, Some(1));
}

#[test]
fn down_asks_until_it_is_closed_and_shows_the_proof() {
    let room = Room::new("down");
    let head = room.head(|seen| {
        let closed = seen.number >= 2;
        let view = DownView {
            schema: "pcluster.down/1".into(),
            phase: if closed { "closed" } else { "closing" }.into(),
            running: if closed { 0 } else { 1 },
            waiting: 2,
            nodes_left: if closed { 0 } else { 1 },
            instances_left: if closed { 0 } else { 1 },
            last_end_ms: None,
            unread: Vec::new(),
            cleaned: Vec::new(),
        };
        if closed { Answer::json(&view).and_close() } else { Answer::json(&view) }
    });
    let said = room.run(&["down"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.out.starts_with("waits for 1 running job, "), "{}", said.out);
    assert!(said.out.contains("nodes      0 left"), "{}", said.out);
    assert_eq!(head.seen().len(), 3);
}

/// What the head's program would find, as a program of one line.
fn finds(findings: &serde_json::Value) -> String {
    let view = json!({
        "schema": "pcluster.doctor/1", "cluster": "lab", "attention": 0, "findings": findings,
    });
    format!("#!/bin/sh\necho \"$@\" >asked\necho 'looking ...' >&2\necho '{view}'\n")
}

#[test]
fn doctor_puts_together_what_the_head_and_its_program_say() {
    let room = Room::new("doctor");
    let fine = json!([{ "topic": "machine", "level": "ok", "what": "22 GB free" }]);
    let binary = with_head_program(&room, &finds(&fine));
    let doctor = |words: &[&str]| Said::of(&room.command_of(&binary, words).output().unwrap());
    let asked = || fs::read_to_string(room.folder.join("asked")).unwrap();
    // Without a head.
    let said = doctor(&["doctor"]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), "looking ...\n"), "{said:?}");
    assert!(said.out.ends_with("nothing needs attention: 2 checks are well\n"), "{}", said.out);
    assert!(
        asked().ends_with(" config head machine provider image network storage\n"),
        "{}",
        asked()
    );
    // With one that knows of a disk.
    let head = room.head(|seen| match seen.line.as_str() {
        "GET /v1/status" => Answer::json(&json!({
            "schema": "pcluster.status/1", "cluster": "lab", "cluster_id": "0", "provider": "process",
            "version": env!("CARGO_PKG_VERSION"), "pid": 1, "started_at_ms": 4_000_000_000_000i64,
            "now_ms": 4_000_000_001_000i64, "config_file": "/c", "state_dir": "/its/state",
            "phase": "up", "node_address": "127.0.0.1:1", "cpu_percent": 0, "memory_bytes": 0,
            "disk_free_bytes": 0, "jobs_running": 0, "jobs_starting": 0, "jobs_queued": 0,
            "jobs_held": 0, "jobs_done_this_month": 0, "nodes_busy": 0, "nodes_idle": 0,
            "nodes_booting": 0, "nodes_max": 2, "nodes_failed_last_hour": 0,
            "price_per_hour_micro_usd": 0, "month_micro_usd": 0, "instances_listed": 0,
            "instances_unknown": 0, "listed_at_ms": 4_000_000_000_900i64,
            "attention": [["disk", "9 MB free: new jobs are refused"]], "notes": []
        })),
        _ => Answer::problem(&Problem::new(ProblemKind::NotFound, "not asked here")),
    });
    let said = doctor(&["doctor", "storage", "machine"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(
        said.out.starts_with("machine\n  ok         22 GB free\nstorage\n  attention"),
        "{}",
        said.out
    );
    assert!(asked().contains(" --running /its/state storage machine\n"), "{}", asked());
    drop(head);
    // A topic that there is not teaches those that there are.
    let said = doctor(&["doctor", "weather"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("possible values: config, head, machine"), "{}", said.err);
}

#[test]
fn doctor_tells_mistakes_of_the_file_with_their_lines_and_leads_to_init_without_one() {
    let room = Room::new("doctorfile");
    fs::write(room.folder.join("cluster.toml"), "name = \"lab\"\nprovder = \"process\"\n").unwrap();
    let said = room.run(&["doctor"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("attention  cluster.toml:2: "), "{}", said.out);
    fs::remove_file(room.folder.join("cluster.toml")).unwrap();
    let said = room.run(&["doctor"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.contains("hint: pcluster init"), "{}", said.out);
}
