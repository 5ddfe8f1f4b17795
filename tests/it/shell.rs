//! Terminals in jobs and on nodes: keys, size, end, environment, rights, and a head that is killed
//! in the middle.
use pcluster_tests::people::{self, Person};
use pcluster_tests::pty::Pty;
use pcluster_tests::{Cluster, Setup, procs, skip, until};
use rustix::process::Signal;
use std::fs;
use std::process::Command;

/// A job that runs until it is let go; what it has written.
fn running(cluster: &Cluster, options: &[&str]) -> String {
    let id = cluster.submit(
        options,
        "cat /proc/self/cgroup >cage; echo \"$TMPDIR\" >tmpdir; umask 027; : >up\n\
         while [ ! -e go ]; do sleep 0.05; done; echo done",
    );
    until("a job that runs", || cluster.work().join("up").exists().then_some(()));
    id
}

/// Lets the job go, and with it the cluster.
fn let_go(cluster: &Cluster, id: &str) {
    cluster.touch("go");
    assert_eq!(cluster.wait(id), 0);
    cluster.down(&[]);
}

fn shell(cluster: &Cluster, words: &[&str]) -> Pty {
    Pty::start(&cluster.command(&[&["shell"], words].concat()), 30, 90)
}

/// Types a command whose output is told from its echo, and waits for that.
fn asks(pty: &mut Pty, command: &str, answer: &str) {
    pty.types(&format!("{command}\r"));
    pty.until_shows(&format!("\r\n{answer}"));
}

#[test]
fn a_terminal_in_a_job_has_all_that_is_the_jobs() {
    let cluster = Cluster::new("shell");
    let id = running(&cluster, &["-J", "held"]);
    let mut pty = shell(&cluster, &[&id]);
    pty.until_shows(&format!("job {id} on compute-1, as "));
    pty.until_raw();
    pty.types("PS1='ready> '; PS2=\r");
    pty.until_shows("\nready> ");
    asks(&mut pty, "stty size", "30 90\r\n");
    pty.resize(41, 132);
    asks(&mut pty, "stty size", "41 132\r\n");
    asks(&mut pty, "echo =$SLURM_JOB_ID=$PCLUSTER_NODE=$TERM=", &format!("={id}=compute-1=dumb="));
    asks(
        &mut pty,
        "[ -d \"$TMPDIR\" ] && [ \"$TMPDIR\" = \"$(cat tmpdir)\" ] && echo same",
        "same",
    );
    asks(&mut pty, "pwd", &cluster.work().display().to_string());
    asks(&mut pty, "grep -vxFf cage /proc/self/cgroup | wc -l", "0\r\n");
    asks(&mut pty, "pcluster queue | grep -c held", "1\r\n");
    // The key is the foreground program's alone: the shell, the job and its steps go on.
    pty.types("sleep 1000\r");
    until("a program in the foreground", || {
        cluster.processes().iter().any(|one| one.command == "sleep 1000").then_some(())
    });
    pty.types("\u{3}");
    pty.until_shows("\nready> ");
    asks(&mut pty, "echo code=$?", "code=130\r\n");
    assert_eq!(cluster.state_of(&id), "running");
    pty.types("exit 7\r");
    assert_eq!(pty.ended(), 7, "{}", pty.shown());
    assert!(!pty.is_raw(), "the terminal is as it was");
    let_go(&cluster, &id);
}

#[test]
fn without_a_terminal_it_works_as_a_pipe_does() {
    let cluster = Cluster::new("shell-pipe");
    let id = running(&cluster, &[]);
    let by_shell = |text: &str| {
        let mut command = Command::new("sh");
        cluster.dress(&mut command);
        cluster.say(command.args(["-c", text]))
    };
    // Every byte, both ways.
    let said = by_shell(&format!(
        "head -c 3000000 /dev/urandom >a; pcluster shell {id} -- cat <a >b && cmp a b && wc -c <b"
    ));
    assert_eq!(said.expect_code(0).out.trim(), "3000000");
    let said = by_shell(&format!("pcluster shell {id} -- sh -c 'echo out; echo err >&2; exit 5'"));
    let said = said.expect_code(5);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
    by_shell(&format!("pcluster shell {id} -- sh -c 'kill -9 $$'")).expect_code(137);
    let said = by_shell(&format!("pcluster shell {id} -- no-such-program")).expect_code(127);
    assert!(said.err.contains("no-such-program"), "{said:#?}");
    let said =
        by_shell(&format!("echo 'echo in $SLURM_JOB_ID; umask; exit 3' | pcluster shell {id}"));
    let said = said.expect_code(3);
    assert!(said.out.starts_with(&format!("in {id}\n00")), "{said:#?}");
    // A reader that goes ends it there, too.
    by_shell(&format!("pcluster shell {id} -- yes | head -n 1")).expect_code(0);
    until("the end of it there", || {
        cluster.processes().iter().all(|one| one.command != "yes").then_some(())
    });
    let rows =
        cluster.ok(&["shell", &id, "--", "sacct", "-n", "-P", "-j", &id, "-o", "JobID,JobName"]);
    assert!(rows.out.contains(&format!("{id}.1|sh\n")), "a step as others are: {rows:#?}");
    let_go(&cluster, &id);
}

#[test]
fn a_head_that_is_killed_only_delays_what_is_typed() {
    let cluster = Cluster::new("shell-crash");
    let id = running(&cluster, &[]);
    let mut pty = shell(&cluster, &["-q", &id]);
    pty.until_raw();
    pty.types("PS1='ready> '; mark=kept\r");
    pty.until_shows("\nready> ");
    cluster.kill_head();
    pty.types("echo the=$mark; touch typed\r");
    cluster.up();
    pty.until_shows("\nthe=kept\r\n");
    assert!(cluster.work().join("typed").exists());
    pty.types("exit\r");
    assert_eq!(pty.ended(), 0, "{}", pty.shown());
    assert!(!pty.is_raw());
    // A head that stays away: the key lets go, and what is there ends once the head is back.
    let mut pty = shell(&cluster, &["-q", &id]);
    pty.until_raw();
    pty.types("echo pid=$$ >gone; echo up=$$\r");
    pty.until_shows("\nup=");
    cluster.kill_head();
    pty.until_shows("is out of reach, Ctrl-C lets go: ");
    pty.types("\u{3}");
    assert_eq!(pty.ended(), 255, "{}", pty.shown());
    assert!(!pty.is_raw());
    pty.until_shows("error: let go of compute-1, which is out of reach");
    cluster.up();
    let_go(&cluster, &id);
}

#[test]
fn who_hangs_up_leaves_nothing_and_the_terminal_is_given_back() {
    let cluster = Cluster::new("shell-hup");
    let id = running(&cluster, &[]);
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut pty = shell(&cluster, &["-q", &id]);
        pty.until_raw();
        pty.types("sleep 1234\r");
        let sleeps = || {
            let all = cluster.processes();
            all.iter().any(|one| one.command == "sleep 1234")
        };
        until("a program in the foreground", || sleeps().then_some(()));
        procs::signal(pty.pid(), signal);
        assert_eq!(pty.ended(), code, "{}", pty.shown());
        assert!(!pty.is_raw());
        until("the end of what was there", || (!sleeps()).then_some(()));
    }
    assert_eq!(cluster.state_of(&id), "running");
    // The end of the job is the end of its shells.
    let mut pty = shell(&cluster, &["-q", &id]);
    pty.until_raw();
    pty.types("echo up=$$\r");
    pty.until_shows("\nup=");
    cluster.ok(&["cancel", &id]);
    assert_ne!(pty.ended(), 0, "{}", pty.shown());
    assert!(!pty.is_raw());
    pty.until_shows(&format!("job {id} is ending, and this with it"));
    cluster.down(&[]);
}

#[test]
fn a_gang_an_array_and_whatever_does_not_run() {
    let cluster = Cluster::new("shell-where");
    let gang = running(&cluster, &["-N", "2"]);
    let on = |words: &[&str]| {
        let command = [&["shell"], words, &["--", "sh", "-c", "echo $PCLUSTER_NODE"]].concat();
        cluster.ok(&command).out
    };
    assert_eq!(on(&[&gang]), "compute-1\n");
    assert_eq!(on(&[&gang, "--node", "compute-2"]), "compute-2\n");
    assert_eq!(on(&[&format!("{gang}/compute-2")]), "compute-2\n");
    assert_eq!(on(&["compute-2"]), "compute-2\n", "in the job there");
    let refused = |words: &[&str], error: &str| {
        let said = cluster.run(&[&["shell"], words].concat()).expect_code(255);
        said.expect_error(&format!("error: {error}"));
        said
    };
    refused(&[&gang, "--node", "compute-9"], &format!("job {gang} does not run on compute-9"));
    refused(&["99"], "there is no job 99");
    refused(&["compute-9"], "there is no node compute-9");
    refused(&["--outside", &gang], "--outside is for a node, and ");
    refused(&["--json", &gang], "shell has no --json");
    let waits = cluster.submit(&["-N", "2"], "true");
    refused(&[&waits], &format!("job {waits} waits and runs nowhere yet"))
        .expect_words(&["state", "hint: pcluster why"]);
    let held = cluster.submit(&["--hold"], "true");
    refused(&[&held], &format!("job {held} is held")).expect_words(&["pcluster release"]);
    cluster.touch("go");
    assert_eq!(cluster.wait(&gang), 0);
    refused(&[&gang], &format!("job {gang} has ended at ")).expect_words(&["completed", "logs"]);
    assert_eq!(cluster.wait(&waits), 0);
    fs::remove_file(cluster.work().join("go")).unwrap();
    let gate = ": >up-$SLURM_ARRAY_TASK_ID; while [ ! -e go ]; do sleep 0.05; done";
    let array = cluster.submit(&["--array", "1-2"], gate);
    for task in 1..=2 {
        let up = cluster.work().join(format!("up-{task}"));
        until("a task", || up.exists().then_some(()));
    }
    let said = cluster.ok(&[
        "shell",
        &format!("{array}_2"),
        "--",
        "sh",
        "-c",
        "echo $SLURM_ARRAY_TASK_ID",
    ]);
    assert_eq!(said.out, "2\n");
    refused(&[&array], &format!("2 tasks of job {array} run: one must be named"))
        .expect_words(&[&format!("hint: pcluster shell {array}_1")]);
    cluster.touch("go");
    assert_eq!(cluster.wait(&array), 0);
    cluster.down(&["--now"]);
}

#[test]
fn a_node_that_still_boots_says_so_and_its_job_too() {
    let setup = Setup { gated: Some("machine"), ..Setup::default() };
    let cluster = Cluster::with("shell-boot", setup);
    let id = cluster.submit(&[], "true");
    until("a node that boots", || (cluster.live_nodes().len() == 1).then_some(()));
    let said = cluster.run(&["shell", "compute-1"]).expect_code(255);
    said.expect_error("error: node compute-1 is still booting").expect_words(&["phase"]);
    let said = cluster.run(&["shell", &id]).expect_code(255);
    said.expect_error(&format!("error: job {id} is starting and has no node yet"));
    cluster.open_gate();
    assert_eq!(cluster.wait(&id), 0);
    cluster.down(&[]);
}

#[test]
fn the_node_itself_is_for_admins_and_a_job_for_its_owner() {
    if !people::is_root() {
        return skip("other users need root");
    }
    let (Some(nobody), Some(daemon)) = (people::named("nobody"), people::named("daemon")) else {
        return skip("the accounts nobody and daemon");
    };
    let cluster = Cluster::with("shell-rights", Setup { system_socket: true, ..Setup::default() });
    let config = cluster.work().join("cluster.toml").display().to_string();
    let by = |person: &Person, words: &[&str]| {
        let words = [&["--config", &config], words].concat();
        let home = cluster.root().join(format!("home-{}", person.name));
        let mut command = cluster.command_as(person, &words);
        cluster.say(command.current_dir(home))
    };
    let gate = "while [ ! -e \"$PCT_ROOM/go\" ]; do sleep 0.05; done";
    let id = by(&nobody, &["submit", "-q", "--wrap", gate]).expect_code(0).id();
    until("the job", || (cluster.state_of(&id) == "running").then_some(()));
    let who = ["--", "sh", "-c", "id -u; echo =$SLURM_JOB_ID="];
    let own = |answer: &str| format!("{}\n={answer}=\n", nobody.uid);
    // Its owner, by the job and by the node; and an admin as that user.
    for words in [&id, "compute-1"] {
        let said = by(&nobody, &[&["shell", words], &who[..]].concat()).expect_code(0);
        assert_eq!(said.out, own(&id));
    }
    assert_eq!(cluster.ok(&[&["shell", &id], &who[..]].concat()).out, own(&id));
    // Nobody else.
    by(&daemon, &[&["shell", &id], &who[..]].concat())
        .expect_code(255)
        .expect_error(&format!("error: job {id} belongs to nobody; you are daemon"));
    for (person, outside) in
        [(&daemon, None), (&daemon, Some("--outside")), (&nobody, Some("--outside"))]
    {
        let words: Vec<&str> = ["shell"].into_iter().chain(outside).chain(["compute-1"]).collect();
        by(person, &[&words, &who[..]].concat())
            .expect_code(255)
            .expect_words(&["only admins may do this"]);
    }
    // The node itself: root after a login, in no job and no cage.
    let text = "id -u; echo =$SLURM_JOB_ID=$PCLUSTER_SOCKET=$HOME=; grep -c run- /proc/self/cgroup; exit 4";
    let said = cluster.run(&["shell", "compute-1", "--", "sh", "-c", text]).expect_code(4);
    let home = std::fs::read_to_string("/etc/passwd").unwrap();
    let home = home.lines().find_map(|line| line.strip_prefix("root:")?.split(':').nth(4)).unwrap();
    assert_eq!(said.out, format!("0\n==={home}=\n0\n"));
    let mut pty = shell(&cluster, &["compute-1"]);
    pty.until_shows("node compute-1 itself, in no job, as its agent's user");
    pty.until_raw();
    pty.types("PS1='ready> '\r");
    pty.until_shows("\nready> ");
    asks(&mut pty, "stty size; cd /; id -u", "30 90\r\n0\r\n");
    // Neither a killed head nor a killed agent ends it.
    cluster.kill_head();
    cluster.up();
    let agent = cluster.node_process("agent.json");
    procs::signal(agent, Signal::KILL);
    until("another agent", || (cluster.node_process("agent.json") != agent).then_some(()));
    asks(&mut pty, "echo here=$PWD", "here=/\r\n");
    pty.types("exit 9\r");
    assert_eq!(pty.ended(), 9, "{}", pty.shown());
    assert!(!pty.is_raw());
    let log = cluster.log();
    assert!(log.contains("a terminal on a node") && log.contains("another's step daemon"), "{log}");
    fs::write(cluster.root().join("go"), "").unwrap();
    cluster.wait(&id);
    cluster.down(&[]);
}
