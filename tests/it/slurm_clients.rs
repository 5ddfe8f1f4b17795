//! Real clients against a cluster that starts from zero nodes and ends there: the project's own small
//! programs, and those that lie beside the repository.
use pcluster_tests::clients::{Face, environment, have, own, shared};
use pcluster_tests::people;
use std::fs;
use std::path::{Path, PathBuf};

/// Runs one program, from zero nodes to zero.
#[track_caller]
fn from_zero_to_zero(label: &str, venv: Option<&Path>, program: &Path) {
    let face = Face::new(label);
    assert!(face.cluster().live_nodes().is_empty());
    let folder = face.folder(label);
    let said = face.say(&mut face.client(program, venv, &folder));
    if said.code != 0 {
        show_logs(&folder);
        eprintln!(
            "--- sacct\n{}",
            face.shell("sacct --format=JobID,JobName%20,State%20,ExitCode,NodeList%30").out
        );
    }
    let said = said.expect_code(0);
    println!("{}", said.out.lines().last().unwrap_or_default());
    face.to_zero();
}

/// What the jobs of a program that failed have written.
fn show_logs(folder: &Path) {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_log =
                path.extension().is_some_and(|ext| ext == "out" || ext == "log" || ext == "err");
            if path.is_dir() {
                folders.push(path);
            } else if is_log {
                let text =
                    String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
                let from = text.len().saturating_sub(4000);
                let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                eprintln!("--- {}\n{}", path.display(), &text[from..]);
            }
        }
    }
}

/// The project's own program of a client.
macro_rules! own_programs {
    ($($test:ident: $venv:literal, $program:literal;)*) => {$(
        #[test]
        fn $test() {
            let Some(venv) = environment($venv) else { return };
            from_zero_to_zero(concat!("own-", $venv), Some(&venv), &own($program));
        }
    )*};
}

own_programs! {
    snakemake_with_its_slurm_executor: "snakemake", "snakemake_slurm.sh";
    snakemake_with_a_submit_command_of_ones_own: "snakemake", "snakemake_generic.sh";
    submitit: "submitit", "with_submitit.py";
    dask_jobqueue: "dask", "with_dask.py";
    parsl: "parsl", "with_parsl.py";
    toil: "toil", "with_toil.py";
    reframe: "reframe", "with_reframe.py";
    psij: "psij", "with_psij.py";
    simple_slurm: "simple-slurm", "with_simple_slurm.py";
}

#[test]
fn the_calls_of_nextflow_and_cromwell() {
    from_zero_to_zero("own-nextflow", None, &own("nextflow_calls.sh"));
}

/// A program that lies beside the repository.
macro_rules! shared_programs {
    ($($test:ident: $venv:expr, $program:literal;)*) => {$(
        #[test]
        fn $test() {
            let Some(program) = shared(concat!("clients/", $program)) else { return };
            let venv: Option<&str> = $venv;
            let venv: Option<PathBuf> = match venv {
                Some(name) => match environment(name) {
                    Some(found) => Some(found),
                    None => return,
                },
                None => None,
            };
            from_zero_to_zero("smoke", venv.as_deref(), &program);
        }
    )*};
}

shared_programs! {
    smoke_snakemake_slurm: Some("snakemake"), "smoke_snakemake_slurm.sh";
    smoke_snakemake_generic: Some("snakemake"), "smoke_snakemake_generic.sh";
    smoke_submitit: Some("submitit"), "smoke_submitit.py";
    smoke_parsl: Some("parsl"), "smoke_parsl.py";
    smoke_psij: Some("psij"), "smoke_psij.py";
    smoke_simple_slurm: Some("simple-slurm"), "smoke_simple_slurm.py";
    smoke_nextflow_cromwell: None, "smoke_nextflow_cromwell_emul.sh";
}

/// Parsl's own tests that start real blocks.
#[test]
fn parsls_own_tests_on_a_live_cluster() {
    let Some(venv) = environment("parsl") else { return };
    let face = Face::new("parsl-tests");
    let site = fs::read_dir(venv.join("lib")).unwrap().flatten().next().unwrap().path();
    let tests = site.join("site-packages/parsl/tests");
    let folder = face.folder("live");
    let mut command = face.command(&venv.join("bin/python"), Some(&venv), &folder);
    command.args(["-m", "pytest", "-p", "no:cacheprovider"]);
    for file in [
        "test_bash_apps/test_basic.py",
        "test_python_apps/test_basic.py",
        "test_python_apps/test_fibonacci_iterative.py",
    ] {
        command.arg(tests.join(file));
    }
    command.arg("--config").arg(tests.join("configs/slurm_local.py"));
    let said = face.say(&mut command).expect_code(0);
    let last = said.out.lines().last().unwrap_or_default();
    assert!(last.contains(" passed") && !last.contains("failed"), "{said:#?}");
    face.to_zero();
}

/// Toil's own tests of its Slurm batch system.
#[test]
fn toils_own_tests_on_a_live_cluster() {
    // They do not even load without rsync.
    let Some(venv) = environment("toil").filter(|_| have(&["rsync"])) else { return };
    let face = Face::new("toil-tests");
    let folder = face.folder("live");
    let mut command = face.command(&venv.join("bin/python"), Some(&venv), &folder);
    command.args(["-m", "pytest", "-p", "no:cacheprovider", "--pyargs"]);
    command.args(["toil.test.batchSystems.batchSystemTest", "-k", "Slurm"]);
    let said = face.say(&mut command).expect_code(0);
    let last = said.out.lines().last().unwrap_or_default();
    assert!(last.contains(" passed") && !last.contains("failed"), "{said:#?}");
    face.to_zero();
}

/// Another user's jobs come and go on the same nodes while a client works.
#[test]
fn two_users_share_the_nodes_while_clients_work() {
    let Some(nobody) = people::is_root().then(|| people::named("nobody")).flatten() else {
        pcluster_tests::skip(
            "two users during the clients' programs (they need root, and the user nobody)",
        );
        return;
    };
    let Some(venv) = environment("psij") else { return };
    let setup = pcluster_tests::Setup { system_socket: true, ..pcluster_tests::clients::setup() };
    let face = Face::with("two-users", setup);
    let folder = face.folder("roots");
    let program = own("with_psij.py");
    let roots = face.cluster().start(&mut face.client(&program, Some(&venv), &folder));
    // The other's program must be readable for the other.
    let copy = face.cluster().root().join("nextflow_calls.sh");
    fs::copy(own("nextflow_calls.sh"), &copy).unwrap();
    let mut other = face.command_as(&nobody, Path::new("/bin/bash"));
    let said = face.say(other.arg(&copy));
    let roots = roots.ended(pcluster_tests::clients::CLIENT_PATIENCE);
    assert_eq!((said.code, roots.code), (0, 0), "{said:#?} {roots:#?}");
    // Both had jobs, of their own uid, on nodes that both have used.
    let rows = face.asks("sacct -a -n -P -X -o User,UID,NodeList");
    let nodes_of = |user: &str| {
        let rows = rows.lines().filter(|row| row.starts_with(&format!("{user}|")));
        rows.map(|row| row.rsplit('|').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (mine, theirs) = (nodes_of("root"), nodes_of("nobody"));
    assert!(mine.iter().any(|node| theirs.contains(node)), "{rows}");
    assert!(rows.contains(&format!("nobody|{}|", nobody.uid)), "{rows}");
    face.to_zero();
}
