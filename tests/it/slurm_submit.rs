//! `sbatch`, `scancel` and `scontrol` with a real head and real nodes: where scripts come from, what is
//! refused and leaves nothing behind, the life of a job, and a head that is away.
use pcluster_tests::clients::Face;
use pcluster_tests::until;
use std::fs;

fn until_state(face: &Face, id: &str, state: &str) {
    until(&format!("job {id} {state}"), || {
        let said = face.shell(&format!("squeue -h -t all -j {id} -o %t"));
        (said.out.trim() == state).then_some(())
    });
}

#[test]
fn scripts_come_from_files_pipes_and_words_and_are_copied() {
    let face = Face::new("sources");
    let work = face.cluster().work();
    fs::write(
        work.join("job.sh"),
        "#!/bin/bash\n#SBATCH -J \"q d\" -o from-file\necho $1 $SLURM_JOB_NAME\n",
    )
    .unwrap();
    let out = face.shell("sbatch job.sh a&& rm job.sh").expect_code(0);
    assert_eq!(out.out, "Submitted batch job 1\n");
    let text = "echo '#!/bin/sh\necho piped' | sbatch -o from-pipe &&
        echo '-e #!/bin/sh\necho dash' | sbatch -o from-dash &&
        echo '#!/bin/sh\necho named' | sbatch -o from-stdin --parsable /dev/stdin &&
        sbatch -o from-wrap --wrap='echo wrapped $SLURM_JOB_NAME' &&
        sbatch --wait --parsable -o last -d singleton -J wrap --wrap 'exit 3'";
    let said = face.shell(text).expect_code(3);
    assert!(said.out.ends_with("\n4\nSubmitted batch job 5\n6\n"), "{}", said.out);
    for id in 1..=5 {
        until_state(&face, &id.to_string(), "CD");
    }
    for (file, text) in [
        ("from-file", "a q d\n"),
        ("from-pipe", "piped\n"),
        ("from-dash", "dash\n"),
        ("from-stdin", "named\n"),
        ("from-wrap", "wrapped wrap\n"),
    ] {
        assert_eq!(face.cluster().file(file), text, "{file}");
    }
    face.to_zero();
}

#[test]
fn what_goes_along_and_what_is_said() {
    let face = Face::new("along");
    let text = "HOME=/not/home SHELL=/not/shell sbatch -Q --parsable --wait -D gone -o $PWD/of-all \
                --wrap 'echo $HOME $SHELL $PWD'";
    assert_eq!(face.asks(text), "");
    assert_eq!(
        face.cluster().file("of-all"),
        format!(
            "slurmstepd: error: couldn't chdir to `{}/gone': No such file or directory: going to /tmp \
             instead\n/not/home /not/shell /tmp\n",
            face.cluster().work().display()
        )
    );
    let text = "HOME=/not/home SHELL=/not/shell sbatch --wait --export=NONE -o of-none \
                --wrap 'echo $HOME $SHELL' && getent passwd $(id -u) | cut -d: -f6,7 | tr : ' '";
    let said = face.asks(text);
    assert_eq!(said.lines().next(), Some("Submitted batch job 2"));
    assert_eq!(Some(face.cluster().file("of-none").trim()), said.lines().last());
    // The folder of its output is missing, too.
    let said = face.shell("sbatch --no-requeue --wait -D gone --wrap true").expect_code(1);
    assert!(said.err.contains("of --output does not exist"), "{}", said.err);
    assert_eq!(face.asks("sacct -X -n -P -j 3 -o State,ExitCode"), "FAILED|0:53");
    assert_eq!(
        face.asks("sacct -X -n -P -j 3 -o SubmitLine"),
        "sbatch --no-requeue --wait -D gone --wrap true"
    );
    let said = face.shell("scontrol requeue 3 || sattach 99.0").expect_code(1);
    let lines: Vec<&str> = said.err.lines().filter(|line| !line.starts_with("hint: ")).collect();
    assert_eq!(
        lines,
        [
            "Requested operation is presently disabled for job 3",
            "sattach: error: Could not get job step info: Invalid job id specified"
        ]
    );
    let said = face.shell("squeue -u nobodyknows,4711 -o %i").expect_code(0);
    assert_eq!(said.out, "JOBID\n");
    assert_eq!(said.err, "squeue: error: Invalid user: nobodyknows\n");
    let said = face.shell("sacct -u nobodyknows").expect_code(1);
    assert_eq!(
        (said.out.as_str(), said.err.as_str()),
        ("", "sacct: error: Invalid user id: nobodyknows\n")
    );
    face.to_zero();
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let face = Face::new("refused");
    let cases = [
        ("-p nope --wrap true", 1, "Batch job submission failed: Invalid partition name specified"),
        ("--mem=999999 --wrap true", 1, "sbatch: error: Memory specification can not be satisfied"),
        ("-t 99:99:99:99 --wrap true", 255, "sbatch: error: Invalid --time specification"),
        ("-d afterok:99999 --wrap true", 1, "Batch job submission failed: Job dependency problem"),
        ("--array=5-1 --wrap true", 1, "Invalid job array specification"),
        ("--gres=gpu:1 --wrap true", 1, "Invalid generic resource (gres) specification"),
        ("-C nosuch --wrap true", 1, "Invalid feature specification"),
        ("-w nosuch --wrap true", 1, "Invalid node name specified"),
        (
            "--bogus --wrap true",
            255,
            "sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\"",
        ),
        ("nofile.sh", 1, "sbatch: error: Unable to open file nofile.sh"),
        ("</dev/null", 1, "sbatch: error: Batch script is empty!"),
    ];
    for (args, code, words) in cases {
        let said = face.shell(&format!("sbatch {args}")).expect_code(code);
        assert!(
            said.err.contains(words) && said.out.is_empty(),
            "{args}: {}{}",
            said.out,
            said.err
        );
    }
    let said =
        face.shell("printf '#!/bin/sh\n#PCLUSTER --max-cost $0.01\n#SBATCH -t 60\n' | sbatch");
    assert!(said.err.contains("hint: the job could cost more than it may"), "{}", said.err);
    assert_eq!(face.asks("squeue -h -t all"), "");
    assert_eq!(face.asks("sbatch --parsable -H --wrap true"), "1");
    face.asks("scancel 1 99999");
    face.to_zero();
}

#[test]
fn a_job_is_signalled_held_suspended_requeued_and_ended() {
    let face = Face::new("life");
    let script = "#!/bin/bash\ntrap 'echo usr1' USR1\necho start ${SLURM_RESTART_COUNT:-0}\n\
                  while [ ! -e enough ]; do sleep 0.1; done\n";
    fs::write(face.cluster().work().join("job.sh"), script).unwrap();
    let held = face.asks("sbatch --parsable -t 10 -H -o out job.sh");
    assert_eq!(face.asks(&format!("squeue -h -j {held} -o %r")), "JobHeldUser");
    face.asks(&format!(
        "scontrol update jobid={held} timelimit=+5 name=new && scontrol release {held}"
    ));
    face.cluster().until_lines("out", 1);
    assert_eq!(face.asks(&format!("squeue -h -j {held} -o '%j %l'")), "new 15:00");
    face.asks(&format!("scancel -b -s USR1 {held}"));
    face.cluster().until_lines("out", 2);
    face.asks(&format!("scontrol suspend {held}"));
    until_state(&face, &held, "S");
    // What stands still may be told to again.
    face.asks(&format!("scontrol suspend {held} && scontrol resume {held}"));
    until_state(&face, &held, "R");
    let said = face.shell(&format!("scontrol resume {held}")).expect_code(1);
    assert!(
        said.err.starts_with(&format!("Job is not suspended for job {held}\n")),
        "{}",
        said.err
    );
    face.asks(&format!(
        "scontrol hold {held} && scontrol release {held} && scontrol requeue {held}"
    ));
    until("its second start", || face.cluster().file("out").contains("start 1\n").then_some(()));
    assert!(face.cluster().file("out").starts_with("start 0\nusr1\n"));
    face.asks(&format!("scancel {held}"));
    until_state(&face, &held, "CA");
    let said = face.shell(&format!("scancel -v {held}")).expect_code(0);
    assert!(said.err.contains("Job/step already completing or completed"), "{}", said.err);
    let said = face.shell(&format!("scontrol hold {held}")).expect_code(1);
    let words = format!(
        "Job has already finished for job {held}\nslurm_suspend error: Job has already finished\n"
    );
    assert!(said.err.starts_with(&words), "{}", said.err);
    face.to_zero();
}

#[test]
fn one_task_of_an_array_is_held_released_and_changed() {
    let face = Face::new("one task");
    let id = face.asks("sbatch --parsable -t 10 -H --array=1-4 -o out-%a --wrap 'true'");
    face.asks(&format!("scontrol update jobid={id}_2 timelimit=20 minmemorynode=200M"));
    face.asks(&format!("scontrol release {id}_2 {id}_4"));
    until("two of four", || {
        let ended = face.asks(&format!("sacct -X -n -P -j {id} -o jobid,state,timelimit"));
        let done = ended.lines().filter(|line| line.contains("COMPLETED")).count() == 2;
        done.then_some(ended)
    });
    let ended = face.asks(&format!("sacct -X -n -P -s cd -j {id} -o jobid,timelimit,reqmem"));
    let mut lines: Vec<&str> = ended.lines().collect();
    lines.sort_unstable();
    assert!(lines[0].starts_with(&format!("{id}_2|00:20:00|200M")), "{ended}");
    assert!(lines[1].starts_with(&format!("{id}_4|00:10:00|")), "{ended}");
    assert_eq!(face.asks("squeue -h -o '%i %r'"), format!("{id}_[1,3] JobHeldUser"));
    let said = face.shell(&format!("scontrol update jobid={id}_1 nice=7")).expect_code(1);
    assert!(said.err.contains("of a whole array"), "{}", said.err);
    face.asks(&format!("scontrol release {id}"));
    until("the rest", || face.asks("squeue -h").is_empty().then_some(()));
    face.to_zero();
}

#[test]
fn tasks_and_filters_choose_what_is_cancelled() {
    let face = Face::new("choose");
    face.asks("sbatch -H --array=0-9 -J many --wrap true && sbatch -H -J one --wrap true");
    face.asks("scancel 1_[1-3] 1_7");
    assert_eq!(face.asks("squeue -h -j 1 -o %i"), "1_[0,4-6,8-9]");
    face.asks("scancel -t RUNNING; scancel -n nobody; scancel -u $USER -n one");
    assert_eq!(face.asks("squeue -h -o %A"), "1");
    let said = face.shell("scancel -u nobodyknows").expect_code(1);
    assert_eq!(said.err, "scancel: error: Invalid user name: nobodyknows\n");
    face.asks("echo n | scancel -i 1");
    assert_eq!(face.asks("squeue -h -o %A"), "1");
    face.asks("echo y | scancel -i --me");
    assert_eq!(face.asks("squeue -h"), "");
    assert_eq!(
        face.shell("scancel").expect_code(1).err.lines().next(),
        Some("scancel: error: No job identification provided")
    );
    face.to_zero();
}

#[test]
fn a_head_that_is_away_is_waited_for_and_then_named() {
    let face = Face::new("away");
    face.cluster().kill_head();
    let said = face.shell("PCLUSTER_HEAD_WAIT=1 sbatch --wrap true").expect_code(1);
    let words = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n";
    assert!(said.err.starts_with(words), "{}", said.err);
    let said = face.shell("PCLUSTER_HEAD_WAIT=1 scontrol ping").expect_code(1);
    assert!(said.out.contains(" is DOWN\n"), "{}", said.out);
    let mut waiting = face.command(std::path::Path::new("/bin/bash"), None, &face.cluster().work());
    waiting.args([
        "-c",
        "PCLUSTER_HEAD_WAIT=60 sbatch --parsable --wait -o out --wrap 'echo there' >id",
    ]);
    let mut waiting = waiting.spawn().unwrap();
    face.cluster().up();
    assert!(waiting.wait().unwrap().success());
    assert_eq!(
        (face.cluster().file("id").as_str(), face.cluster().file("out").as_str()),
        ("1\n", "there\n")
    );
    face.to_zero();
}
