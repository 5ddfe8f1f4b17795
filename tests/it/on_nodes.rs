//! Commands of jobs on nodes: they reach the head through their node's agent, as the job's user.
use pcluster_tests::people;
use pcluster_tests::{Cluster, PATIENCE, Setup, skip, until};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One request over a socket, without a body; everything that comes back.
fn ask(socket: &Path, head: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_job_submits_looks_and_cancels_by_every_name() {
    let cluster = Cluster::with("inside", Setup::compute("cpus = 2, memory = \"512 MB\", max = 2"));
    let id = cluster.submit(
        &[],
        "set -e\ncase $(command -v sbatch) in */slurm/sbatch|*/bin/sbatch) ;; *) exit 9 ;; esac\n\
         # Whatever lies about, the job's own cluster is meant.\nexport PCLUSTER_STATE_DIR=/nowhere\n\
         inner=$(pcluster submit -q --wrap 'echo inside >>done')\n\
         slurm=$(sbatch --parsable --wrap 'echo slurm >>done')\n\
         pcluster wait \"$inner\" && pcluster wait \"$slurm\"\n\
         long=$(pcluster submit -q --wrap 'sleep 1000')\npcluster cancel \"$long\"\n\
         pcluster queue >queue\nsqueue >squeue\npcluster -C other queue && exit 8\nexit 5",
    );
    assert_eq!(cluster.wait(&id), 5, "{}", cluster.file(&format!("pcluster-{id}.out")));
    let mut done: Vec<String> = cluster.file("done").lines().map(str::to_owned).collect();
    done.sort();
    assert_eq!(done, ["inside", "slurm"]);
    assert!(cluster.file("queue").contains(&id) && cluster.file("squeue").contains("JOBID"));
    cluster.down(&[]);
}

#[test]
fn on_a_node_nobody_is_an_admin_and_only_who_runs_there_is_somebody() {
    if !people::is_root() {
        return skip("other users need root");
    }
    let (Some(nobody), Some(daemon)) = (people::named("nobody"), people::named("daemon")) else {
        return skip("the accounts nobody and daemon");
    };
    let cluster = Cluster::with("rights", Setup { system_socket: true, ..Setup::default() });
    let config = cluster.work().join("cluster.toml");
    let gate = "while [ ! -e \"$PCT_ROOM/go\" ]; do sleep 0.05; done";
    let text = format!(
        "echo \"$PCLUSTER_SOCKET\"; {gate}; pcluster cancel 2 2>&1; \
         echo \"rc=$?\"; pcluster down 2>&1; echo \"rc=$?\""
    );
    let words =
        ["--config", config.to_str().unwrap(), "submit", "-q", "--exclusive", "--wrap", &text];
    let mut command = cluster.command_as(&nobody, &words);
    let home = cluster.root().join("home-nobody");
    let first = cluster.say(command.current_dir(&home)).expect_code(0).id();
    let roots = cluster.submit(&["--exclusive"], "pcluster node drain compute-1 2>&1; echo rc=$?");
    let out = home.join(format!("pcluster-{first}.out"));
    let socket = until("the socket's path", || {
        let text = fs::read_to_string(&out).ok()?;
        Some(text.split_once('\n')?.0.to_owned())
    });
    // Root may connect to the socket of nobody's node, and is nobody there.
    let refused = ask(Path::new(&socket), "/v1/jobs");
    assert!(
        refused.starts_with("HTTP/1.1 403 ") && refused.contains("no running job"),
        "{refused}"
    );
    fs::write(cluster.root().join("go"), "").unwrap();
    assert_eq!(cluster.wait(&first), 0);
    let said = fs::read_to_string(&out).unwrap();
    assert!(said.contains("belongs to root; you are nobody"), "{said}");
    assert_eq!(said.matches("rc=5").count(), 2, "{said}");
    // Root's own job has root's jobs, and not the cluster.
    cluster.wait(&roots);
    let said = cluster.file(&format!("pcluster-{roots}.out"));
    assert!(said.contains("only admins may do this") && said.contains("rc=5"), "{said}");
    assert!(daemon.uid != nobody.uid);
    cluster.down(&[]);
}

#[test]
fn a_command_without_a_head_says_so_and_with_it_again_goes_on() {
    let cluster = Cluster::new("headless");
    let id = cluster.submit(
        &[],
        "echo up; while [ ! -e away ]; do sleep 0.05; done\npcluster queue 2>away.txt; echo $? >away.rc\n\
         while [ ! -e back ]; do sleep 0.05; done\npcluster queue >back.txt",
    );
    cluster.until_lines(&format!("pcluster-{id}.out"), 1);
    cluster.kill_head();
    cluster.touch("away");
    cluster.until_lines("away.rc", 1);
    assert_ne!(cluster.file("away.rc").trim(), "0");
    assert!(cluster.file("away.txt").contains("the head is away"), "{}", cluster.file("away.txt"));
    cluster.up();
    // The agent comes back by itself; the job's command then finds it.
    cluster.until_state(&id, "running");
    cluster.touch("back");
    assert_eq!(cluster.wait(&id), 0);
    assert!(cluster.file("back.txt").contains(&id));
    cluster.down(&[]);
}

#[test]
fn a_stream_ends_at_a_step_daemon_and_nothing_of_it_is_left() {
    let cluster = Cluster::new("attach");
    let id = cluster.submit(&[], "echo up; while [ ! -e go ]; do sleep 0.05; done");
    cluster.until_lines(&format!("pcluster-{id}.out"), 1);
    let socket = cluster.socket();
    let allocation = ask(&socket, &format!("/v1/jobs/{id}/allocation"));
    let body = allocation.split_once("\r\n\r\n").unwrap().1;
    let run = serde_json::from_str::<serde_json::Value>(body).unwrap()["run"].as_u64().unwrap();
    let missing = ask(&socket, &format!("/v1/runs/{run}/parts/1/attach"));
    assert!(missing.contains("has no part 1"), "{missing}");
    let plain = ask(&socket, &format!("/v1/runs/{run}/parts/0/attach"));
    assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");

    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET /v1/runs/{run}/parts/0/attach HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\n\
         upgrade: pcluster-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(cluster.step_daemons().len(), 1, "{:#?}", cluster.processes());
    cluster.touch("go");
    assert_eq!(cluster.wait(&id), 0);
    // The daemon went with its job, and the stream with the daemon.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(cluster.step_daemons().len(), 0);
    cluster.down(&[]);
}
