//! The life of the process: start, stop, kill, a second one, a pause.
use crate::head::{Site, until};
use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::time::Duration;

const QUIET: &str = "provider = \"process\"\n";

#[test]
fn term_ends_the_head_with_0_and_takes_its_socket_along() {
    let site = Site::new(QUIET);
    let mut head = site.start();
    head.signal(Signal::TERM);
    assert_eq!(head.ended().code(), Some(0), "{}", site.log());
    assert!(!site.state().parent().unwrap().with_file_name("run/t/head.sock").exists());
}

#[test]
fn a_second_head_on_one_state_directory_is_refused() {
    let site = Site::new(QUIET);
    let head = site.start();
    let second = site.run();
    assert_eq!(second.status.code(), Some(3));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains(&format!("a running head (process {})", head.pid())), "{text}");
    assert_eq!(head.get("/v1/status")["pid"], head.pid());
}

#[test]
fn a_wrong_file_is_shown_and_ends_with_2() {
    let site = Site::new("provider = \"process\"\nmaxx = 3\n");
    let output = site.run();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("cluster.toml:3"));
    assert!(!site.state().exists());
}

#[test]
fn an_accepted_job_survives_kill_9_and_keeps_its_number() {
    let site = Site::new(QUIET);
    let head = site.start();
    let first = head.submit();
    head.kill_9();
    let head = site.start();
    assert_eq!(head.get(&format!("/v1/jobs/{first}"))["rows"][0]["name"], "j");
    assert_eq!(head.submit(), first + 1);
    head.kill_9();
    let store = pcluster_store::Reader::open(&site.state().join("events.db")).unwrap();
    assert!(store.verify().unwrap().events > 4);
}

#[test]
fn a_newer_state_file_is_refused_untouched() {
    let site = Site::new(QUIET);
    site.start().kill_9();
    let db = site.state().join("events.db");
    for end in ["events.db-wal", "events.db-shm"] {
        let _ = fs::remove_file(site.state().join(end));
    }
    let mut bytes = fs::read(&db).unwrap();
    bytes[60..64].copy_from_slice(&7_i32.to_be_bytes());
    fs::write(&db, &bytes).unwrap();
    let output = site.run();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("newer version of pcluster (format 7"), "{text}");
    assert_eq!(fs::read(&db).unwrap(), bytes);
}

#[test]
fn a_head_that_was_stopped_past_its_timers_says_so_and_goes_on() {
    let site = Site::new(QUIET);
    let head = site.start();
    let job = head.submit();
    head.signal(Signal::STOP);
    // Nothing to wait for: the pause itself is what is tested, and it must pass 5 s.
    std::thread::sleep(Duration::from_millis(6_500));
    head.signal(Signal::CONT);
    until("the word of the loop", || site.log().contains("the loop stood still").then_some(()));
    assert_eq!(head.get(&format!("/v1/jobs/{job}"))["rows"][0]["job"], job);
}

#[test]
fn the_port_of_nodes_stays_the_same_over_restarts() {
    let site = Site::new(QUIET);
    let head = site.start();
    let address = head.get("/v1/status")["node_address"].clone();
    assert!(address.as_str().unwrap().starts_with("127.0.0.1:"));
    head.kill_9();
    assert_eq!(site.start().get("/v1/status")["node_address"], address);
}

#[test]
fn metrics_are_text_of_prometheus() {
    let site = Site::new(QUIET);
    let head = site.start();
    head.submit();
    let text = head.text("/metrics");
    assert!(text.contains("\npcluster_jobs_submitted_total 1\n"), "{text}");
}

#[test]
fn the_unit_file_is_one_that_systemd_takes() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/pcluster-headnode.service");
    let text = fs::read_to_string(unit).unwrap();
    assert!(text.contains("\nKillMode=process\n"));
    let site = Site::new(QUIET);
    let copy = site.config().with_file_name("pcluster-headnode.service");
    // The test's own binary stands in for the installed one.
    let installed = "/usr/local/bin/pcluster-headnode";
    fs::write(&copy, text.replace(installed, env!("CARGO_BIN_EXE_pcluster-headnode"))).unwrap();
    let Ok(output) =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output()
    else {
        // Not every machine has systemd; the text was looked at above.
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("pcluster-headnode.service"), "{said}");
}

#[test]
fn hup_takes_a_right_file_and_leaves_a_wrong_one() {
    let site = Site::new(QUIET);
    let head = site.start();
    let taken = |count| {
        let seen = site.log().matches("config_changed").count();
        (seen >= count).then_some(())
    };
    let pools = "provider = \"process\"\ncompute = { cpus = 1, max = 7 }\n";
    fs::write(site.config(), format!("name = \"t\"\n{pools}")).unwrap();
    head.signal(Signal::HUP);
    until("the new configuration", || taken(2));
    assert_eq!(head.get("/v1/status")["nodes_max"], 7);
    for (wrong, word) in [
        ("name = \"t\"\nprovider = \"processs\"\n", "is not taken"),
        ("name = \"other\"\nprovider = \"process\"\n", "keeps its name"),
    ] {
        fs::write(site.config(), wrong).unwrap();
        head.signal(Signal::HUP);
        until(word, || site.log().contains(word).then_some(()));
    }
    assert_eq!(head.get("/v1/status")["nodes_max"], 7);
}
