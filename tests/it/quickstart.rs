//! `scripts/quickstart` as a newcomer runs it: by an ordinary user, in a folder with spaces in its
//! name, without a terminal, and twice in a row.
use pcluster_tests::{Cluster, Said, Setup, people, procs, repository};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn it_runs_for_a_user_in_a_path_with_spaces_twice_in_a_row_and_leaves_nothing() {
    let script = repository().join("scripts/quickstart");
    if !script.is_file() {
        pcluster_tests::not_run("scripts/quickstart (there is none)");
        return;
    }
    // Only its folders, programs and clean-up are used.
    let person = people::is_root().then(|| people::named("nobody")).flatten();
    let room = Cluster::cold("quick", Setup { person, ..Setup::default() });
    let clone = room.root().join("a clone with spaces");
    copy_tree(&repository().join("scripts"), &clone.join("scripts"));
    copy_tree(&repository().join("examples"), &clone.join("examples"));
    if let Some(person) = people::is_root().then(|| people::named("nobody")).flatten() {
        own_tree(&person, &clone);
    }
    for round in ["first", "second"] {
        let mut command = Command::new("setsid");
        room.dress(&mut command);
        command
            .arg("--wait")
            .arg(clone.join("scripts/quickstart"))
            .current_dir(&clone)
            .env_remove("PCLUSTER_STATE_DIR")
            .env_remove("PCLUSTER_RUNTIME_DIR")
            .env("XDG_STATE_HOME", room.root().join("home/state"))
            .env("PCLUSTER_BIN_DIR", room.root().join("bin"))
            .env("TMPDIR", "/tmp");
        let said = Said::of(&mut command, &room.root().join("said"), Duration::from_secs(120));
        assert_eq!(said.code, 0, "{round}: {said:#?}");
        let left = pcluster_tests::within(Duration::from_secs(10), || {
            procs::of_folder(room.root()).is_empty().then_some(())
        });
        assert!(left.is_some(), "{round}: left {:#?}", procs::of_folder(room.root()));
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_tree(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

fn own_tree(person: &people::Person, path: &Path) {
    person.own(path);
    if path.is_dir() {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| own_tree(person, &entry.path()));
    }
}
