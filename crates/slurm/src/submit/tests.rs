use super::*;
use crate::options::{Order, SBATCH, parse};
use pcluster_client::submit::process::ProcessFacts;
use pcluster_model::job::{MemoryAsk, OpenMode};

/// What a script and a command line ask for, as one would tell it.
fn told(script: &str, args: &str) -> String {
    match understood(script, args) {
        Ok(read) => shown(&read),
        Err(refusal) => format!("{}exit {}\n", refusal.text(), refusal.code),
    }
}

fn understood(script: &str, args: &str) -> Result<Read, Refusal> {
    let args: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
    let line = parse(&SBATCH, &args, Order::StopAtFirst)?;
    let facts = ProcessFacts {
        // It is there on every machine: a missing one is warned of.
        work_dir: Some("/usr".into()),
        umask: Some(0o022),
        soft_limits: vec![("nofile".into(), Some(1024)), ("stack".into(), None)],
        is_elsewhere: false,
    };
    let zone = jiff::tz::TimeZone::UTC;
    let now = jiff::Timestamp::from_second(1_795_440_000).unwrap().to_zoned(zone);
    let here = Here { command: "sbatch", facts: &facts, now: &now };
    let script = script::given(script, "job.sh");
    read(&script, line, &here)
}

/// Every field that is not as for an empty script.
fn shown(read: &Read) -> String {
    let spec = serde_json::to_value(&read.asked.spec).unwrap();
    let plain = understood("#!/bin/sh\n", "").unwrap();
    let plain = serde_json::to_value(&plain.asked.spec).unwrap();
    let mut out = String::new();
    for (name, value) in spec.as_object().unwrap() {
        if plain.get(name) != Some(value) {
            out.push_str(&format!("{name} {value}\n"));
        }
    }
    for warning in &read.asked.warnings {
        out.push_str(&format!("{warning}\n"));
    }
    out
}

#[test]
fn options_become_a_specification() {
    let script = "#!/bin/bash\n\
        #SBATCH --job-name=\"my job\"\t-t 1-12:30:00 # a day and a half\n\
        #SBATCH -n 8 -c 2 --mem-per-cpu=2G -p short,long --exclusive=user\n\
        #SBATCH --output=out/%x-%j.log --open-mode=append --signal=B:USR1@90\n\
        #SBATCH -d afterok:7,singleton --nice=5 --gres=gpu:A100:2 -C '(a)&(b)' -x c[1-3]\n";
    insta::assert_snapshot!(told(script, "-J other --propagate=NOFILE job.sh in.txt"));
}

#[test]
fn the_command_line_wins_and_alternatives_exclude_each_other() {
    let script = "#!/bin/sh\n#SBATCH --mem-per-cpu=1G --no-requeue -t 5\n#SBATCH -t 6\n";
    let read = understood(script, "--mem=2G --requeue").unwrap();
    assert_eq!(read.asked.spec.memory, MemoryAsk::PerNode(2 << 30));
    assert!(read.asked.spec.requeue);
    assert_eq!(read.asked.spec.time_limit_ms.map(|limit| limit.0), Some(6 * 60_000));
    insta::assert_snapshot!(told("#!/bin/sh\n#SBATCH --mem=1G --mem-per-cpu=2G\n", ""), @r"
    sbatch: fatal: --mem, --mem-per-cpu, and --mem-per-gpu are mutually exclusive.
    exit 1
    ");
}

#[test]
fn defaults_are_slurms() {
    let spec = understood("#!/bin/sh\n", "").unwrap().asked.spec;
    assert_eq!((spec.output.as_str(), spec.make_output_dirs), ("slurm-%j.out", false));
    assert!(spec.tmp_fallback, "a folder that is gone is no reason to fail");
    assert_eq!((spec.name.as_str(), spec.tasks_given, spec.cpus_given), ("job.sh", false, false));
    assert_eq!((spec.requeue, spec.open_mode), (true, OpenMode::AppendOnRequeue));
    let spec = understood("#!/bin/sh\n", "--array=0-3").unwrap().asked.spec;
    assert_eq!(spec.output, "slurm-%A_%a.out");
}

#[test]
fn gpus_and_their_companions_are_rounded_up() {
    let gpus = |args: &str| {
        let spec = understood("#!/bin/sh\n", args).unwrap().asked.spec;
        (spec.nodes, spec.tasks, spec.gpus_per_node, spec.cpus_per_task, spec.memory)
    };
    let none = MemoryAsk::Proportional;
    assert_eq!(gpus("-N 2 --gpus=3"), (2, 2, 2, 1, none));
    assert_eq!(gpus("-n 4 -N 2 --gpus-per-task=1"), (2, 4, 2, 1, none));
    assert_eq!(gpus("--gpus-per-node=2 --cpus-per-gpu=4"), (1, 1, 2, 8, none));
    assert_eq!(gpus("--gres=gpu:2 --mem-per-gpu=3G"), (1, 1, 2, 1, MemoryAsk::PerNode(6 << 30)));
    assert_eq!(gpus("-n 6 --ntasks-per-gpu=2"), (1, 6, 3, 1, none));
    assert_eq!(gpus("--gpus=2 --gres=none"), (1, 1, 0, 1, none));
}

#[test]
fn native_lines_say_what_slurm_cannot() {
    let script = "#!/bin/sh\n#PCLUSTER --max-cost $5 --time 2h --mem 1.5G --image gpu --after 7\n\
                  #SBATCH -t 10\n";
    insta::assert_snapshot!(told(script, ""), @r#"
    dependencies [{"delay_ms":0,"job":7,"kind":"afterany","task":null}]
    image "gpu"
    max_cost 5000000
    memory {"per_node":1610612736}
    time_limit_ms 7200000
    "#);
    insta::assert_snapshot!(told("#!/bin/sh\n#PCLUSTER --spot\n", ""), @r#"spot "yes""#);
    insta::assert_snapshot!(told("#!/bin/sh\n#PCLUSTER --spot=only\n", ""), @r#"spot "only""#);
    insta::assert_snapshot!(told("#!/bin/sh\n#SBATCH --max-cost=5\n", ""), @r#"
    sbatch: unrecognized option '--max-cost=5'
    Try "sbatch --help" for more information
    hint: it stands in line 2 of the script (#SBATCH)
    exit 255
    "#);
}

#[test]
fn wrong_values_are_refused_in_slurms_words() {
    let cases = [
        ("-t 99:99:99:99", "sbatch: error: Invalid --time specification", 255),
        ("-t 2h", "sbatch: error: Invalid --time specification", 255),
        ("-n x", "sbatch: error: Invalid numeric value \"x\" for --ntasks.", 1),
        ("--mem=1.5G", "sbatch: error: Invalid --mem specification", 255),
        (
            "--array=5-1",
            "sbatch: error: Batch job submission failed: Invalid job array specification",
            1,
        ),
        ("-d afterko:1", "sbatch: error: Batch job submission failed: Job dependency problem", 1),
        ("--gres=foo:1", "sbatch: error: Invalid generic resource (gres) specification", 1),
        ("--begin=soon", "Invalid time specification (pos=0): soon", 255),
        ("--signal=FOO", "sbatch: error: Invalid --signal specification", 255),
        ("--open-mode=x", "sbatch: error: Invalid --open-mode specification", 255),
        ("--exclusive=x", "sbatch: error: Invalid --exclusive specification", 255),
        ("--priority=-1", "sbatch: error: Priority must be >= 0", 255),
        ("--propagate=x", "sbatch: error: Bad rlimit name: x", 1),
        (
            "--threads-per-core=x",
            "sbatch: error: Invalid numeric value \"x\" for --threads-per-core.",
            1,
        ),
        ("--hint=x", "sbatch: error: unrecognized --hint argument \"x\", see --hint=help", 255),
        ("-L lic", "sbatch: error: Batch job submission failed: Invalid license specification", 1),
        ("--container=/x", "sbatch: error: --container is not supported here", 1),
        ("-C a*2", "sbatch: error: Batch job submission failed: Invalid feature specification", 1),
        ("-w c[1-", "sbatch: error: Batch job submission failed: Invalid node name specified", 1),
    ];
    for (args, line, code) in cases {
        let refusal = understood("#!/bin/sh\n", args).unwrap_err();
        assert_eq!((refusal.lines[0].as_str(), refusal.code), (line, code), "{args}");
    }
}

#[test]
fn what_counts_nodes_by_feature_says_what_to_use() {
    let refusal = understood("#!/bin/sh\n", "-N4 -C [a*2&b*2]").unwrap_err();
    assert_eq!(refusal.lines.len() + refusal.hints.len(), 3, "{}", refusal.text());
    assert!(refusal.hints[0].contains("of one kind"), "{}", refusal.text());
    let read = understood("#!/bin/sh\n", "-C x&[a|b]").unwrap().asked.spec;
    assert_eq!((read.features, read.same_choice), (vec!["x".to_owned()], true));
    assert_eq!(read.feature_choices, [["a"], ["b"]]);
}

#[test]
fn lines_that_cannot_be_read_are_named() {
    let refusal = understood("#!/bin/sh\n#SBATCH --mem=2G foo\n", "").unwrap_err();
    assert_eq!(refusal.lines, ["sbatch: error: Invalid directive found in batch script: foo"]);
    assert_eq!(refusal.code, 255);
    let refusal = understood("#!/bin/sh\n#SBATCH -J \"x\n", "").unwrap_err();
    assert_eq!(refusal.lines, ["sbatch: fatal: job.sh: line 2: Unmatched `\"` in [-J \"x]"]);
}

#[test]
fn sbatch_takes_every_silent_option_and_v_lists_it() {
    let mut silent = 0;
    for option in SBATCH.options() {
        let crate::options::Effect::Silent(_) = option.effect else { continue };
        let value = match option.name {
            "hint" => "nomultithread",
            "mail-type" => "END",
            _ => "1",
        };
        let arg = match option.takes {
            crate::options::Takes::Value(_) => format!("--{}={value}", option.long),
            _ => format!("--{}", option.long),
        };
        let read =
            understood("#!/bin/sh\n", &arg).unwrap_or_else(|no| panic!("{arg}: {}", no.text()));
        let listed = tell::defined(&read.words);
        assert!(listed.contains(&format!("--{} has no effect here", option.name)), "{arg}");
        silent += 1;
    }
    assert!(silent > 35, "{silent}");
}

#[test]
fn a_new_job_is_told_as_sbatch_tells_it() {
    let said = |script: &str, args: &str, cluster: Option<&str>| {
        tell::submitted(41, cluster, &understood(script, args).unwrap().words)
    };
    assert_eq!(said("#!/bin/sh\n", "", None), "Submitted batch job 41\n");
    assert_eq!(said("#!/bin/sh\n", "", Some("lab")), "Submitted batch job 41 on cluster lab\n");
    assert_eq!(said("#!/bin/sh\n", "--parsable", None), "41\n");
    assert_eq!(said("#!/bin/sh\n", "--parsable", Some("lab")), "41;lab\n");
    assert_eq!(said("#!/bin/sh\n", "-Q", None), "");
    assert_eq!(said("#!/bin/sh\n", "--quiet --parsable", None), "");
    assert_eq!(said("#!/bin/sh\n#SBATCH --quiet\n", "", None), "Submitted batch job 41\n");
}

#[test]
fn verbose_is_counted() {
    for (args, count) in [("-v", 1), ("-vvv", 3), ("--verbose -vQ", 2)] {
        let listed = tell::defined(&understood("#!/bin/sh\n", args).unwrap().words);
        assert!(listed.contains(&format!("sbatch: verbose             : {count}\n")), "{listed}");
    }
}

/// `tests/fixtures/slurm/heads.txt`: heads as users write them, each with what is read from it.
#[test]
fn heads_as_users_write_them() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/slurm/heads.txt");
    let kept = std::fs::read_to_string(path).unwrap();
    let mut blocks = kept.split("\n%% ");
    let mut now = blocks.next().unwrap().to_owned();
    let (mut read, mut refused) = (0, 0);
    for block in blocks {
        let (title, rest) = block.split_once('\n').unwrap();
        let (head, _) = rest.split_once("\n%%%").unwrap();
        let reading = told(&format!("#!/bin/bash\n{head}\nsrun program\n"), "");
        let reading = reading.trim_end();
        if reading.contains("\nexit ") {
            refused += 1
        } else {
            read += 1
        }
        let gap = if reading.is_empty() { "" } else { "\n" };
        now.push_str(&format!("\n%% {title}\n{head}\n%%%{gap}{reading}\n"));
    }
    assert!(read >= 200 && refused >= 40, "{read} {refused}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &now).unwrap();
        return;
    }
    let differs =
        now.split("\n%% ").zip(kept.split("\n%% ")).find(|(now, kept)| now.trim() != kept.trim());
    assert_eq!(differs, None, "UPDATE=1 writes the readings");
}
