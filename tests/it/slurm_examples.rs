//! The examples of pipelines that the documents show, each by its real client, from zero nodes of a
//! small cluster to zero. They compare their answers with `examples/pipelines/expected.tsv`.
use pcluster_tests::clients::{Face, environment};
use pcluster_tests::{Setup, repository};

/// Two nodes, so that some jobs wait for others.
const COMPUTE: &str = "cpus = 2, memory = \"2 GB\", max = 2, idle_timeout = \"5 s\"";

/// Runs an example of `examples/pipelines` in an empty folder; the last thing it says is `said`.
#[track_caller]
fn example(name: &str, client: Option<&str>, program: &str, argument: Option<&str>, last: &str) {
    let venv = match client.map(environment) {
        Some(None) => return,
        Some(found) => found,
        None => None,
    };
    let face = Face::with(name, Setup::compute(COMPUTE));
    assert!(face.cluster().live_nodes().is_empty());
    let program = repository().join("examples/pipelines").join(name).join(program);
    let mut command = face.client(&program, venv.as_deref(), &face.folder(name));
    let said = face.say(command.args(argument));
    if said.code != 0 {
        eprintln!("{}", face.shell("sacct -o JobID,JobName%30,State%20,ExitCode,NodeList%30").out);
    }
    let said = said.expect_code(0);
    assert_eq!(said.out.lines().last(), Some(last), "{said:#?}");
    face.to_zero();
}

macro_rules! examples {
    ($($test:ident: $name:literal, $client:expr, $program:literal, $argument:expr, $last:literal;)*) => {$(
        #[test]
        fn $test() {
            example($name, $client, $program, $argument, $last);
        }
    )*};
}

// Workers and the process that they call share this machine.
const HERE: Option<&str> = Some("127.0.0.1");

examples! {
    snakemake: "snakemake", Some("snakemake"), "run.sh", None, "snakemake: the table is right";
    nextflow: "nextflow", None, "run.sh", None, "nextflow: the table is right";
    submitit: "submitit", Some("submitit"), "run.py", None, "submitit: the table is right";
    dask: "dask", Some("dask"), "run.py", HERE, "dask: the table is right";
    parsl: "parsl", Some("parsl"), "run.py", HERE, "parsl: the table is right";
    toil: "toil", Some("toil"), "run.py", None, "toil: the table is right";
    reframe: "reframe", Some("reframe"), "run.sh", None, "reframe: all checks pass";
}
