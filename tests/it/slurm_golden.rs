//! What Slurm 22.05 answered to some 80 commands (`golden_22.05.txt`, beside the repository), asked of a
//! fresh pcluster and compared field by field.
//!
//! `tests/fixtures/slurm/golden.txt` says what must be so before a command is asked, and lists every
//! difference that is meant, with its reason. A difference that is not listed fails, and so does a listed
//! one that no longer is.
use pcluster_tests::clients::{Face, shared};
use pcluster_tests::golden::{Asked, Notes, Words, asked_of, differences};
use pcluster_tests::{Setup, repository};
use std::fs;

/// The reference's two partitions; nodes stay, so that what is shown of them is the same all along.
const MAIN: &str =
    "name = \"main\", cpus = 4, memory = \"6000 MB\", max = 3, idle_timeout = \"10 min\"";
const SHORT: &str =
    "[pools.short]\ncpus = 4\nmemory = \"6000 MB\"\nmax = 1\nmax_time = \"30 min\"\n";

/// What the notes may use.
const PRELUDE: &str = "
set -eu
until_state() {
  for _ in $(seq 300); do
    [ \"$(squeue -h -t all -j \"$1\" -o %t | head -n 1)\" = \"$2\" ] && return
    sleep 0.1
  done
  echo \"job $1 is not $2\" >&2
  return 1
}
";

#[test]
fn answers_are_those_of_slurm_field_by_field() {
    let Some(golden) = shared("clients/golden_22.05.txt") else { return };
    let golden = asked_of(&fs::read_to_string(golden).unwrap());
    assert!(golden.len() > 80, "{} commands", golden.len());
    let notes = fs::read_to_string(repository().join("tests/fixtures/slurm/golden.txt")).unwrap();
    let notes = Notes::of(&notes);
    let (more, head) = (SHORT.to_owned(), "term_grace = \"5 s\"\n".to_owned());
    let face = Face::with("golden", Setup { more, head, ..Setup::compute(MAIN) });
    let words = Words::new(&face.cluster().work());
    let mut found = Vec::new();
    for reference in &golden {
        if let Some(first) = notes.before(&reference.command) {
            let said = face.shell(&format!("{PRELUDE}{}", words.ours(first)));
            if said.code != 0 {
                found
                    .push(format!("$ {}\n    what comes first fails: {said:?}", reference.command));
            }
            words.learn(&said.out);
        }
        let said = face.shell(&words.ours(&notes.instead_of(&reference.command)));
        let command = reference.command.clone();
        let ours = Asked { command, out: said.out, err: said.err, code: said.code };
        let all = differences(reference, &ours, &words);
        let meant = all.into_iter().filter(|one| !notes.allows(&reference.command, one));
        found.extend(meant.map(|one| format!("$ {}\n    {one}", reference.command)));
    }
    let stale = notes.unused();
    assert!(
        found.is_empty() && stale.is_empty(),
        "{} differences that are not listed:\n{}\nlisted, and no difference:\n{}",
        found.len(),
        found.join("\n"),
        stale.join("\n")
    );
    face.asks("scancel --me");
    face.cluster().down(&["--now"]);
}
