//! Two heads, two clusters, two users.
use pcluster_tests::people::{self, Person};
use pcluster_tests::scripts::gate;
use pcluster_tests::{Cluster, Setup, skip, until};
use std::fs;
use std::process::Command;

#[test]
fn a_second_head_on_one_state_directory_is_refused() {
    let cluster = Cluster::new("second");
    let again = cluster.ok(&["up"]);
    again.expect_words(&["is up already"]);
    let mut command = Command::new(cluster.bin().join("pcluster-headnode"));
    cluster.dress(&mut command);
    let file = cluster.work().join("cluster.toml");
    let said = cluster.say(command.arg("--config").arg(file).arg("--foreground")).expect_code(3);
    assert!(said.err.contains(&format!("process {}", cluster.head_pid())), "{said:#?}");
    cluster.ok(&["queue"]);
    cluster.down(&[]);
}

#[test]
fn another_file_of_the_same_name_is_refused_by_every_command() {
    let cluster = Cluster::new("alike");
    let folder = cluster.root().join("elsewhere");
    fs::create_dir_all(&folder).unwrap();
    let name = format!("name = \"{}\"\nprovider = \"process\"\n", cluster.name());
    fs::write(folder.join("cluster.toml"), name).unwrap();
    for words in [&["up"][..], &["queue"], &["submit", "--wrap", "true"], &["down", "--now"]] {
        let said = cluster.say(cluster.command(words).current_dir(&folder)).expect_code(3);
        said.expect_words(&["runs here already", "its file", "name = "]);
    }
    assert!(cluster.json(&["queue"])["jobs"].as_array().unwrap().is_empty());
    cluster.down(&[]);
}

#[test]
fn two_clusters_on_one_machine_do_not_see_each_others_nodes() {
    let (one, other) = (Cluster::new("one"), Cluster::new("other"));
    see_only_their_own(&one, &other);
}

#[test]
fn roots_cluster_and_a_users_do_not_see_each_others_nodes() {
    let Some((nobody, _)) = users() else { return };
    let (one, other) = (
        Cluster::new("root"),
        Cluster::with("nobody", Setup { person: Some(nobody), ..Setup::default() }),
    );
    see_only_their_own(&one, &other);
}

fn see_only_their_own(one: &Cluster, other: &Cluster) {
    let (a, b) = (one.submit(&[], &gate("go")), other.submit(&[], &gate("go")));
    one.until_state(&a, "running");
    other.until_state(&b, "running");
    for cluster in [one, other] {
        assert_eq!(cluster.live_nodes().len(), 1);
        until("a list with the node", || {
            let status = cluster.json(&["status"]);
            assert_eq!(status["instances_unknown"], 0, "{status}");
            (status["instances_listed"] == 1).then_some(())
        });
    }
    one.down(&["--now"]);
    assert_eq!(other.state_of(&b), "running", "the other's job runs on");
    other.touch("go");
    assert_eq!(other.wait(&b), 0);
    other.down(&[]);
}

#[test]
fn two_users_submit_to_roots_head_and_each_has_rights_on_their_own_jobs() {
    let Some((nobody, daemon)) = users() else { return };
    let cluster = Cluster::with("users", Setup { system_socket: true, ..Setup::default() });
    let config = cluster.work().join("cluster.toml");
    let config = config.to_str().unwrap();
    let as_user = |person: &Person, words: &[&str]| {
        let mut command = cluster.command_as(person, &[&["--config", config], words].concat());
        command.current_dir(cluster.root().join(format!("home-{}", person.name)));
        cluster.say(&mut command)
    };
    let text = "id -u; echo secret; touch \"$TMPDIR/mine\" && sleep 1000";
    let first = as_user(&nobody, &["submit", "-q", "--wrap", text]).expect_code(0).id();
    let second = as_user(&daemon, &["submit", "-q", "--wrap", "id -u; id -g"]).expect_code(0).id();
    assert_eq!(as_user(&daemon, &["wait", &second]).code, 0);
    cluster.until_state(&first, "running");
    let home = cluster.root().join("home-daemon");
    let out = fs::read_to_string(home.join(format!("pcluster-{second}.out"))).unwrap();
    assert_eq!(out, format!("{}\n{}\n", daemon.uid, daemon.gid));
    assert_eq!(owner_of(&home.join(format!("pcluster-{second}.out"))), daemon.uid);
    // Everybody sees that there is a job, and not what is in it.
    let rows = as_user(&daemon, &["queue", "--all", "--json"]).expect_code(0).out;
    let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
    let seen = rows["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|job| job["id"] == first.as_str())
        .unwrap()
        .clone();
    assert_eq!(
        (seen["user"].as_str(), seen["cost_micro_usd"].is_null()),
        (Some("nobody"), true),
        "{seen}"
    );
    let words = format!("error: job {first} belongs to nobody; you are daemon");
    for command in ["cancel", "logs", "hold", "requeue"] {
        as_user(&daemon, &[command, &first]).expect_code(5).expect_error(&words);
    }
    for words in [&["down"][..], &["node", "drain", "compute-1"]] {
        as_user(&daemon, words)
            .expect_code(5)
            .expect_error("error: only admins may do this; you are daemon");
    }
    let shown = as_user(&daemon, &["show", &first, "--json"]).expect_code(0).out;
    assert!(!shown.contains("secret"), "the script is its owner's: {shown}");
    as_user(&nobody, &["cancel", &first]).expect_code(0);
    assert_ne!(as_user(&nobody, &["wait", &first]).code, 0);
    cluster.down(&[]);
}

#[test]
fn a_head_without_root_says_that_it_serves_only_its_user() {
    let Some((nobody, daemon)) = users() else { return };
    let cluster = Cluster::with("alone", Setup { person: Some(nobody), ..Setup::default() });
    let said = cluster.run(&["run", "-q", "--", "id", "-u"]).expect_code(0);
    assert_eq!(said.out, "65534\n");
    // The socket's folder keeps others out; they are told where was looked, not left hanging.
    let mut command = cluster.command_as(&daemon, &["queue"]);
    let said = cluster.say(command.current_dir("/"));
    assert!(matches!(said.code, 4..=6), "{said:#?}");
    said.expect_error("error: ");
    cluster.down(&[]);
}

/// Two ordinary users; none where this test may not act as others.
fn users() -> Option<(Person, Person)> {
    let found =
        people::is_root().then(|| people::named("nobody").zip(people::named("daemon"))).flatten();
    if found.is_none() {
        skip("tests with several users (they need root, and the users nobody and daemon)");
    }
    found
}

fn owner_of(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).unwrap().uid()
}
