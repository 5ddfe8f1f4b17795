//! Bad input: what is said, with which exit code, and that nothing is lost by it.
use pcluster_tests::{Cluster, Setup, people, skip, vms};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

fn setup(more: &str) -> Setup {
    Setup { more: more.to_owned(), ..Setup::default() }
}

#[test]
fn every_mistake_of_the_file_is_shown_with_the_nearest_key_and_nothing_is_started() {
    let compute = "cpus = 1, memory = \"10 apples\", maxx = 3";
    let cluster = Cluster::cold("config", Setup::compute(compute));
    for command in ["up", "config"] {
        let words: &[&str] = if command == "up" { &["up"] } else { &["config", "check"] };
        let said = cluster.run(words).expect_code(2);
        let text = format!("{}{}", said.out, said.err);
        for word in ["cluster.toml:3", "`maxx`", "`max`", "10 apples"] {
            assert!(text.contains(word), "{command} lacks {word}: {text}");
        }
    }
    assert!(!cluster.state().exists());
}

#[test]
fn a_key_with_money_behind_it_is_refused_at_up_and_noted_by_check() {
    let cluster = Cluster::cold("money", setup("[budget]\nusers = { default = \"$50\" }\n"));
    let said = cluster.ok(&["config", "check"]);
    let text = format!("{}{}", said.out, said.err);
    assert!(text.contains("note: ") && text.contains("has no effect in this version"), "{text}");
    cluster.run(&["up"]).expect_code(3).expect_words(&["budget.users"]);
    let cloud = Cluster::cold("cloud", Setup::default());
    let put = |text: &str| fs::write(cloud.work().join("cluster.toml"), text).unwrap();
    put("provider = \"ec2\"\n");
    cloud.run(&["up"]).expect_code(3).expect_words(&["could not reach"]);
    let words = "EC2's instances mount /home and /shared";
    assert!(cloud.ok(&["config", "check"]).err.contains(words));
}

#[test]
fn check_says_what_this_machine_lacks_for_virtual_machines() {
    let person = people::named("daemon");
    if !people::is_root() || person.is_none() {
        return skip("another user than root is looked for");
    }
    // What is installed is another thing on every machine; who runs the head is not.
    let bridge = "[vm]\nnetwork = \"bridge\"\n";
    let setup = Setup { person, ..vms::setup(&vms::small(1), "/shared".as_ref(), bridge) };
    let cluster = Cluster::cold("lacks", setup);
    let said = cluster.ok(&["config", "check"]);
    let words = "pool compute: network = \"bridge\" needs a head that runs as root: [vm] network = \"user\" does not";
    assert!(said.err.contains(words), "{said:#?}");
    let view = cluster.json(&["config", "check"]);
    let notes = view["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note["text"] == words), "{view}");
}

#[test]
fn impossible_requests_are_refused_with_the_nearest_possible_one() {
    let cluster = Cluster::new("sizes");
    let refused = |words: &[&str], code: i32, head: &str| {
        let words = [&["submit"], words, &["--wrap", "true"]].concat();
        let said = cluster.run(&words).expect_code(code);
        said.expect_error(head);
        assert_eq!(said.out, "", "stdout is data");
        said
    };
    refused(&["--mem", "lots"], 2, "error: ");
    refused(&["--time", "soon"], 2, "error: ");
    refused(&["--array", "5-1"], 2, "error: `5-1` is not a value of --array")
        .expect_words(&["1-5"]);
    refused(&["--memm", "1G"], 2, "error: ").expect_words(&["--mem"]);
    let said = refused(&["--mem", "300G"], 3, "error: no node of this cluster can hold this job");
    said.expect_words(&["asked", "300 GB", "largest", "hint: --mem 512M fits"]);
    refused(&["-c", "64"], 3, "error: no node of this cluster")
        .expect_words(&["--cpus-per-task 1 fits"]);
    refused(&["--gpus", "1"], 3, "error: no node of this cluster");
    refused(&["-p", "gpu"], 4, "error: there is no pool gpu").expect_words(&["compute"]);
    refused(&["-N", "9"], 3, "error: pool compute has at most 2 nodes");
    refused(&["--max-cost", "$5"], 3, "error: ");
    let queue = cluster.json(&["queue", "-t", "all"]);
    assert_eq!(queue["jobs"].as_array().unwrap().len(), 0, "nothing was queued");
    cluster.down(&[]);
}

#[test]
fn unknown_ids_are_no_such_thing() {
    let cluster = Cluster::new("ids");
    for command in ["show", "why", "logs", "cancel", "hold", "release", "requeue"] {
        cluster.run(&[command, "4711"]).expect_code(4).expect_error("error: there is no job 4711");
    }
    cluster
        .run(&["rerun", "--failed", "4711"])
        .expect_code(4)
        .expect_error("error: there is no job 4711");
    cluster
        .run(&["update", "4711", "--time", "1h"])
        .expect_code(4)
        .expect_error("error: there is no job 4711");
    cluster.run(&["wait", "4711"]).expect_code(255).expect_error("error: there is no job 4711");
    cluster
        .run(&["node", "show", "compute-9"])
        .expect_code(4)
        .expect_error("error: there is no node compute-9");
    cluster
        .run(&["why", "compute-9"])
        .expect_code(4)
        .expect_error("error: there is no node compute-9");
    cluster
        .run(&["show", "forty"])
        .expect_code(2)
        .expect_error("error: `forty` is not the id of a job");
    cluster.run(&["nosuch"]).expect_code(2).expect_error("error: ");
    cluster.down(&[]);
}

#[test]
fn scripts_that_cannot_run_are_refused_with_the_mending_command() {
    let cluster = Cluster::new("scripts");
    let refused = |name: &str, bytes: Option<&[u8]>, head: &str| {
        if let Some(bytes) = bytes {
            fs::write(cluster.work().join(name), bytes).unwrap();
        }
        let said = cluster.run(&["submit", name]).expect_code(3);
        said.expect_error(&format!("error: {head}"));
        assert_eq!(said.out, "");
        said
    };
    refused("missing.sh", None, "there is no script missing.sh");
    refused("empty.sh", Some(b""), "the script empty.sh is empty");
    refused("prog", Some(b"\x7fELF\x02\x01\0\0"), "prog is a program")
        .expect_words(&["pcluster run -- ./prog"]);
    refused("bare.sh", Some(b"echo hi\n"), "the script bare.sh does not say what runs it")
        .expect_words(&["#!/bin/bash"]);
    refused("dos.sh", Some(b"#!/bin/sh\r\necho\r\n"), "the script dos.sh has Windows line ends")
        .expect_words(&["sed -i"]);
    fs::create_dir(cluster.work().join("folder.sh")).unwrap();
    refused("folder.sh", None, "folder.sh is a folder");
    fs::write(cluster.work().join("typo.sh"), "#!/bin/sh\n#PCLUSTER --memm=4G\ntrue\n").unwrap();
    cluster
        .run(&["submit", "typo.sh"])
        .expect_code(2)
        .expect_words(&["--memm", "typo.sh", "--mem"]);
    cluster.down(&[]);
}

#[test]
fn a_script_that_may_not_be_read_is_refused() {
    let person = people::is_root().then(|| people::named("nobody")).flatten();
    let cluster = Cluster::with("unreadable", Setup { person, ..Setup::default() });
    let path = cluster.work().join("secret.sh");
    fs::write(&path, "#!/bin/sh\ntrue\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    cluster
        .run(&["submit", "secret.sh"])
        .expect_code(3)
        .expect_error("error: you may not read secret.sh");
    cluster.down(&[]);
}

#[test]
fn without_a_head_a_command_says_where_it_looked_and_how_to_start_one() {
    let cluster = Cluster::cold("no-head", Setup::default());
    for words in [&["queue"][..], &["submit", "--wrap", "true"], &["nodes"], &["status"], &["down"]]
    {
        let said = cluster.run(words).expect_code(6);
        said.expect_error("error: no head answers\n");
        said.expect_words(&["looked at", "head.sock", "hint: pcluster up"]);
    }
    cluster.run(&["wait", "1"]).expect_code(255).expect_error("error: no head answers\n");
    let empty = cluster.root().join("home");
    let mut command = cluster.command(&["queue"]);
    let said = cluster.say(command.current_dir(&empty)).expect_code(6);
    said.expect_words(&[
        "./cluster.toml (none)",
        "~/.config/pcluster/cluster.toml (none)",
        "pcluster init",
    ]);
}

#[test]
fn a_broken_state_file_is_refused_untouched() {
    let cluster = Cluster::new("broken");
    let held = cluster.submit(&["--hold"], "true");
    cluster.down(&[]);
    let file = cluster.state().join("events.db");
    let good = fs::read(&file).unwrap();
    for damage in ["no database at all, but text", ""] {
        let mut bytes = good.clone();
        if damage.is_empty() {
            // A flipped page in the middle of the log.
            let at = bytes.len() / 2;
            bytes[at..at + 2048].fill(0xa5);
        } else {
            bytes = damage.as_bytes().to_vec();
        }
        fs::write(&file, &bytes).unwrap();
        let said = cluster.run(&["up"]).expect_code(3);
        said.expect_words(&["events.db"]);
        assert!(fs::read(&file).unwrap() == bytes, "it was touched");
        assert!(cluster.processes().is_empty(), "{:?}", cluster.processes());
    }
    fs::write(&file, &good).unwrap();
    cluster.up();
    assert_eq!(cluster.state_of(&held), "held", "nothing was lost");
    cluster.down(&[]);
}

#[test]
fn a_state_file_of_a_newer_version_is_refused_untouched() {
    let cluster = Cluster::new("newer");
    let held = cluster.submit(&["--hold"], "true");
    cluster.down(&[]);
    let file = cluster.state().join("events.db");
    let good = fs::read(&file).unwrap();
    let mut bytes = good.clone();
    // The user version in the header of the file.
    bytes[60..64].copy_from_slice(&99_i32.to_be_bytes());
    fs::write(&file, &bytes).unwrap();
    let said = cluster.run(&["up"]).expect_code(3);
    said.expect_words(&["newer version of pcluster", "99", "untouched"]);
    assert!(fs::read(&file).unwrap() == bytes, "it was touched");
    fs::write(&file, &good).unwrap();
    cluster.up();
    assert_eq!(cluster.state_of(&held), "held");
    cluster.down(&[]);
}
