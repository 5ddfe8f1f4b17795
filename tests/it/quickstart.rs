//! `scripts/quickstart` as a newcomer runs it: by an ordinary user, in a folder with spaces in its
//! name, without a terminal, with one CPU, and twice in a row; and Ctrl-C in the middle of it.
use pcluster_tests::people::Person;
use pcluster_tests::{Cluster, PATIENCE, Said, Setup, people, procs, repository, until, within};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A clone whose path has spaces; only folders, programs and clean-up of the cluster are used.
struct Clone {
    room: Cluster,
    folder: PathBuf,
}

impl Clone {
    fn of(label: &str, person: Option<Person>) -> Self {
        let room = Cluster::cold(label, Setup { person: person.clone(), ..Setup::default() });
        let folder = room.root().join("a clone with spaces");
        copy_tree(&repository().join("scripts"), &folder.join("scripts"));
        copy_tree(&repository().join("examples"), &folder.join("examples"));
        let temp = room.root().join("temp");
        fs::create_dir(&temp).unwrap();
        if let Some(person) = &person {
            own_tree(person, &folder);
            person.own(&temp);
        }
        Self { room, folder }
    }

    /// `PROGRAM WORDS scripts/quickstart`, with what a new user has in the environment.
    fn command(&self, before: &[&str]) -> Command {
        let script = self.folder.join("scripts/quickstart");
        let mut command = match before.split_first() {
            Some((program, words)) => {
                let mut command = Command::new(program);
                command.args(words).arg(script);
                command
            }
            None => Command::new(script),
        };
        self.room.dress(&mut command);
        command
            .current_dir(&self.folder)
            .env_remove("PCLUSTER_STATE_DIR")
            .env_remove("PCLUSTER_RUNTIME_DIR")
            .env("PCLUSTER_BIN_DIR", self.room.bin())
            .env("TMPDIR", self.room.root().join("temp"));
        command
    }

    #[track_caller]
    fn nothing_is_left(&self) {
        let root = self.room.root();
        let gone =
            within(Duration::from_secs(20), || procs::of_folder(root).is_empty().then_some(()));
        assert!(gone.is_some(), "left: {:#?}", procs::of_folder(root));
        let files: Vec<_> =
            fs::read_dir(root.join("temp")).unwrap().flatten().map(|e| e.path()).collect();
        assert!(files.is_empty(), "left: {files:#?}");
    }
}

fn script_is_here() -> bool {
    let here = repository().join("scripts/quickstart").is_file();
    if !here {
        pcluster_tests::not_run("scripts/quickstart (there is none)");
    }
    here
}

#[test]
fn it_runs_for_a_user_in_a_path_with_spaces_twice_in_a_row_and_leaves_nothing() {
    if !script_is_here() {
        return;
    }
    let clone = Clone::of("quick", people::is_root().then(|| people::named("nobody")).flatten());
    for round in ["first", "second"] {
        // A session of its own has no terminal.
        let mut command = clone.command(&["setsid", "--wait"]);
        let said =
            Said::of(&mut command, &clone.room.root().join("said"), Duration::from_secs(120));
        assert_eq!(said.code, 0, "{round}: {said:#?}");
        clone.nothing_is_left();
    }
}

#[test]
fn it_runs_with_one_cpu() {
    if !script_is_here() {
        return;
    }
    let clone = Clone::of("one-cpu", None);
    let mut command = clone.command(&["taskset", "-c", "0"]);
    let said = Said::of(&mut command, &clone.room.root().join("said"), Duration::from_secs(120));
    assert_eq!(said.code, 0, "{said:#?}");
    clone.nothing_is_left();
}

#[test]
fn ctrl_c_in_the_middle_leaves_nothing() {
    if !script_is_here() {
        return;
    }
    let clone = Clone::of("break", None);
    let mut command = clone.command(&[]);
    let started = clone.room.start(command.process_group(0));
    until("a node of the quickstart", || {
        let all = procs::of_folder(clone.room.root());
        all.iter().any(|one| one.command.contains("pcluster-agent run")).then_some(())
    });
    // As a terminal does it: to everything in the foreground.
    kill_process_group(Pid::from_raw(started.pid()).unwrap(), Signal::INT).unwrap();
    let said = started.ended(PATIENCE);
    assert_eq!(said.code, 130, "{said:#?}");
    clone.nothing_is_left();
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

fn own_tree(person: &Person, path: &Path) {
    person.own(path);
    if path.is_dir() {
        fs::read_dir(path).unwrap().flatten().for_each(|entry| own_tree(person, &entry.path()));
    }
}
