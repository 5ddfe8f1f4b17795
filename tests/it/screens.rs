//! The screens of a live cluster: what is stable in them, their width, their colours, their pipes.
use pcluster_tests::{Cluster, Setup};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

const SCREENS: [&[&str]; 11] = [
    &["queue"],
    &["queue", "--all", "-t", "all"],
    &["nodes"],
    &["show", "1"],
    &["show", "2"],
    &["why", "2"],
    &["why", "3"],
    &["history"],
    &["cost"],
    &["cost", "--waste"],
    &["status"],
];

/// One job that is over, one that runs, an array that waits, one that is held.
fn busy() -> Cluster {
    let cluster =
        Cluster::with("screens", Setup::compute("cpus = 1, memory = \"512 MB\", max = 1"));
    let first = cluster.submit(&["-J", "prepare"], "exit 1");
    assert_eq!(cluster.wait(&first), 1);
    let name = "a-job-with-a-name-that-is-much-longer-than-any-column-could-ever-hold-it";
    let second =
        cluster.submit(&["-J", name, "--time", "1h"], "while [ ! -e go ]; do sleep 0.05; done");
    cluster.until_state(&second, "running");
    cluster.submit(&["-J", "call", "--array", "1-500%3", "--time", "30m"], "true");
    cluster.submit(&["-J", "train", "--hold"], "true");
    cluster
}

#[test]
fn every_screen_keeps_its_width_has_no_colour_in_a_pipe_and_ends_well_at_a_closed_one() {
    let cluster = busy();
    let mut wide = Vec::new();
    for words in SCREENS {
        for columns in [80, 200] {
            let mut command = cluster.command(words);
            let said = cluster.say(command.env("COLUMNS", columns.to_string()));
            // `status` says 1 when something needs attention.
            assert!(said.code == 0 || words[0] == "status", "{words:?}: {said:#?}");
            for line in said.out.lines().chain(said.err.lines()) {
                // Paths of this test's folder are longer than what people have, and are never cut.
                let long = line.contains(cluster.root().to_str().unwrap());
                if line.chars().count() > columns && !long {
                    wide.push(format!("{words:?} at {columns}: {line:?}"));
                }
                assert!(!line.contains('\u{1b}'), "{words:?}: colour in a pipe: {line:?}");
            }
        }
        let mut plain = cluster.command(words);
        let plain = cluster.say(plain.env("NO_COLOR", "1"));
        assert!(!plain.out.contains('\u{1b}'), "{words:?}: colour with NO_COLOR");
        closed_pipe(&cluster, words);
    }
    assert!(wide.is_empty(), "{wide:#?}");
    let rows: Vec<String> = cluster.ok(&["queue"]).out.lines().map(str::to_owned).collect();
    let starts = |row: usize, words: &[&str]| {
        let found: Vec<&str> = rows[row].split_whitespace().take(words.len()).collect();
        assert_eq!(found, words, "{rows:#?}");
    };
    starts(
        0,
        &["JOB", "NAME", "STATE", "NEEDS", "TIME", "/", "LIMIT", "COST", "WHERE", "OR", "WHY"],
    );
    assert!(
        rows[1].starts_with("2 ") && rows[1].contains("running") && rows[1].ends_with("compute-1"),
        "{rows:#?}"
    );
    starts(2, &["3_[1-500]", "call", "queued"]);
    starts(3, &["4", "train", "held"]);
    let nodes = cluster.ok(&["nodes"]).out;
    assert!(nodes.starts_with("NODE "), "{nodes}");
    assert!(nodes.lines().nth(1).unwrap().starts_with("compute-1 busy "), "{nodes}");
    cluster.touch("go");
    cluster.down(&["--now"]);
}

/// `| head -1`: the reader is gone before the writer has written.
fn closed_pipe(cluster: &Cluster, words: &[&str]) {
    let mut command = cluster.command(words);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    drop(reader);
    let ended = child.wait_with_output().unwrap();
    let err = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!err.contains("error") && !err.contains("panicked"), "{words:?}: {err}");
    assert!(
        ended.status.code() == Some(0) || words[0] == "status",
        "{words:?}: {:?}",
        ended.status
    );
}

#[test]
fn json_has_a_schema_everywhere() {
    let cluster = busy();
    for words in SCREENS {
        if *words == ["status"] {
            continue;
        }
        let value = cluster.json(words);
        let schema = value["schema"].as_str().unwrap_or_default();
        assert!(schema.starts_with("pcluster.") && schema.ends_with("/1"), "{words:?}: {schema:?}");
    }
    cluster.down(&["--now"]);
}

#[test]
fn every_command_teaches_by_example() {
    let cluster = Cluster::cold("help", Setup::default());
    let help = cluster.ok(&["--help"]).out;
    let listed = help
        .split("Commands:\n")
        .nth(1)
        .unwrap_or_default()
        .split("\n\n")
        .next()
        .unwrap_or_default();
    let names: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for name in ["submit", "run", "queue", "why", "cost", "down"] {
        assert!(names.contains(&name), "{help}");
    }
    for name in names.into_iter().filter(|name| *name != "help") {
        let help = cluster.ok(&[name, "--help"]).out;
        assert!(help.contains("Examples:") || help.contains("Commands:"), "{name}: {help}");
    }
}

#[test]
fn a_terminal_with_no_color_gets_none() {
    let cluster = busy();
    for words in ["queue", "nodes", "status"] {
        let mut command = std::process::Command::new("script");
        cluster.dress(&mut command);
        command.args(["-qec", &format!("pcluster {words}"), "/dev/null"]);
        command.env("NO_COLOR", "1").env("TERM", "xterm-256color");
        let said = cluster.say(&mut command);
        assert!(said.out.lines().count() > 1, "{said:#?}");
        assert!(!said.out.contains("\u{1b}["), "{said:#?}");
    }
    cluster.down(&["--now"]);
}
