//! Steps with real nodes: `srun` in a job and outside of one, over nodes that start from zero, with
//! signals, several at once, from the bare id, and with a head that is killed in the middle.
use pcluster_tests::clients::Face;
use pcluster_tests::until;
use std::fs;

/// Runs a batch job of these lines to its end; its code and its output.
fn batch(face: &Face, options: &str, text: &str) -> (i32, String) {
    fs::write(face.cluster().work().join("job.sh"), format!("#!/bin/bash\n{text}\n")).unwrap();
    let said = face.shell(&format!("sbatch --wait --parsable -t 5 -o out {options} job.sh"));
    (said.code, face.cluster().file("out"))
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn tasks_of_a_job_run_on_all_its_nodes() {
    let face = Face::new("steps");
    let text = r#"
srun -l sh -c 'echo $SLURM_PROCID $SLURM_LOCALID $SLURM_NODEID $SLURM_STEP_ID $SLURM_NTASKS'
srun -n1 sh -c 'exit 5'; echo code $?
srun -n 2 -N 2 --output=each-%t.%s sh -c 'echo mine $SLURM_PROCID'
cat each-0.2 each-1.2
printf 'to all\n' | srun -N2 -n2 cat
printf '0 echo zero %%t\n1-3 echo other %%o\n' > multi
srun -n4 --multi-prog multi
for name in $(env | cut -d= -f1 | grep -E '^(SLURM|SRUN|SBATCH)_' | grep -v '^SLURM_JOB_ID$'); do unset $name; done
srun --ntasks=2 sh -c 'echo bare $SLURM_PROCID of $SLURM_NTASKS'
srun sh -c 'kill -9 $$'; echo killed $?
"#;
    let (code, out) = batch(&face, "-N 2 --ntasks-per-node=2 --mem=600M", text);
    assert_eq!(code, 0, "{out}");
    let lines = sorted(&out);
    for wanted in [
        "0: 0 0 0 0 4",
        "1: 1 1 0 0 4",
        "2: 2 0 1 0 4",
        "3: 3 1 1 0 4",
        "code 5",
        "mine 0",
        "mine 1",
        "zero 0",
        "other 0",
        "other 1",
        "other 2",
        "bare 0 of 2",
        "bare 1 of 2",
        "killed 137",
    ] {
        assert!(lines.contains(&wanted), "{wanted}: {out}");
    }
    assert_eq!(lines.iter().filter(|line| **line == "to all").count(), 2, "{out}");
    assert!(out.contains(": task 0: Exited with exit code 5\n"), "{out}");
    assert!(out.contains(": Killed\n") && out.contains("srun: Force Terminated StepId="), "{out}");
    let rows = face.asks("sacct -n -P -o JobID,JobName,State,ExitCode,NTasks");
    assert!(rows.contains("1.0|sh|COMPLETED|0:0|4"), "{rows}");
    assert!(rows.contains("1.1|sh|FAILED|5:0|1"), "{rows}");
    face.to_zero();
}

#[test]
fn what_steps_use_is_seen_while_they_run_and_when_they_have_ended() {
    let face = Face::new("usage");
    let cluster = face.cluster();
    // The second task holds thirty-two mebibytes, the first next to nothing.
    let text = "srun -n2 -N2 sh -c 'if [ $SLURM_PROCID = 1 ]; then held=$(head -c 33554432 /dev/zero | tr \\\\0 x); fi; \
                : >up.$SLURM_PROCID; while [ ! -e go ]; do sleep 0.05; done'";
    fs::write(cluster.work().join("job.sh"), format!("#!/bin/bash\n{text}\n")).unwrap();
    let id = face.asks("sbatch --parsable -t 5 -N 2 -n 2 --mem=600M -o out job.sh");
    let fields = "JobID,NTasks,MaxRSS,MaxRSSNode,MaxRSSTask,AveRSS,MinCPUTask";
    let kib = |text: &str| match text.strip_suffix('M') {
        Some(number) => number.parse::<u64>().unwrap() << 10,
        None => text.trim_end_matches('K').parse::<u64>().unwrap(),
    };
    let said = until("a step that holds memory", || {
        let said = face.asks(&format!("sstat -a -n -P -j {id} -o {fields}"));
        let row = said.lines().find(|line| line.contains(".0|"))?;
        let most = row.split('|').nth(2).filter(|text| !text.is_empty())?;
        (kib(most) > 32 << 10).then_some(said.clone())
    });
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!((rows[0][0], rows[1][0]), ("1.batch", "1.0"), "{said}");
    assert!(kib(rows[0][2]) > 500, "{said}");
    assert_eq!((rows[1][1], rows[1][4], rows[1][6]), ("2", "1", "0"), "{said}");
    let average = kib(rows[1][5]);
    assert!(average > 16 << 10 && average < kib(rows[1][2]), "{said}");
    let pids = face.asks(&format!("sstat -i -n -P -j {id}.0"));
    assert!(pids.split('|').nth(2).unwrap().split(',').all(|pid| pid.parse::<u32>().is_ok()));
    cluster.touch("go");
    assert_eq!(cluster.wait(&id), 0);
    let after = face.asks(&format!("sacct -n -P -j {id}.0 -o {fields}"));
    let after: Vec<&str> = after.split('|').collect();
    assert!(kib(after[2]) >= kib(rows[1][2]), "{after:?}: {said}");
    assert_eq!((after[3], after[4]), (rows[1][3], "1"), "{after:?}: {said}");
    // The small task: both together, less the large one.
    let small = 2 * kib(after[5]) - kib(after[2]);
    assert!(small > 0 && small < 6 << 10, "{small}: {after:?}");
    // A script that has never had a step.
    let text =
        "held=$(head -c 16777216 /dev/zero | tr \\\\0 x); while [ ! -e end ]; do sleep 0.05; done";
    fs::write(cluster.work().join("job.sh"), format!("#!/bin/bash\n{text}\n")).unwrap();
    let alone = face.asks("sbatch --parsable -t 5 -n 1 --mem=300M -o out job.sh");
    until("a script that holds memory", || {
        let said = face.asks(&format!("sstat -n -P -j {alone}.batch -o MaxRSS,NTasks"));
        let most = said.strip_suffix("|1").filter(|text| !text.is_empty())?;
        (kib(most) > 16 << 10).then_some(())
    });
    fs::write(cluster.work().join("end"), "").unwrap();
    assert_eq!(cluster.wait(&alone), 0);
    face.to_zero();
}

#[test]
fn a_step_that_takes_more_than_it_may_ends_out_of_memory_and_its_job_goes_on() {
    let face = Face::new("step-memory");
    let text = r#"
srun -n1 --mem=40 sh -c 'head -c 134217728 /dev/zero | tail -c 134217728 | { sleep 1000; cat; }' 2>&1; echo code $?
srun -n1 --mem=40 echo small
srun -n1 --mem=1G echo large 2>&1; echo code $?
"#;
    let (code, out) = batch(&face, "-n 1 --mem=600M", text);
    assert_eq!(code, 0, "{out}");
    for wanted in [
        "code 137",
        "small",
        "srun: error: Unable to create step for job 1: Memory required by task is not available",
        "code 1",
    ] {
        assert!(out.lines().any(|line| line == wanted), "{wanted}: {out}");
    }
    assert!(out.contains(": task 0: Out Of Memory\n"), "{out}");
    assert!(out.contains("slurmstepd: error: Detected 1 oom_kill event in StepId=1.0."), "{out}");
    let rows = face.asks("sacct -n -P -o JobID,State,ExitCode");
    assert_eq!(
        sorted(&rows),
        [
            "1.0|OUT_OF_MEMORY|0:125",
            "1.1|COMPLETED|0:0",
            "1.batch|COMPLETED|0:0",
            "1|COMPLETED|0:0"
        ]
    );
    face.to_zero();
}

#[test]
fn a_step_that_the_kernel_ends_for_want_of_memory_says_so_where_there_are_limits() {
    let face = Face::new("kernel-memory");
    let text = r#"
grep -q 'memory:.*/run-' /proc/self/cgroup && echo limited
srun -n1 sh -c 'x=$(head -c 402653184 /dev/zero | tr "\\0" x); echo ${#x}' 2>&1; echo code $?
srun -n1 sh -c 'exit 3'; echo other $?
"#;
    let (_, out) = batch(&face, "-n 1 --mem=200M", text);
    if out.contains("limited\n") {
        assert!(out.contains(": task 0: Out Of Memory\n") && out.contains("code 137\n"), "{out}");
        let rows = face.asks("sacct -n -P -j 1.0,1.1 -o JobID,State,ExitCode");
        assert_eq!(sorted(&rows), ["1.0|OUT_OF_MEMORY|0:125", "1.1|FAILED|3:0"], "{out}");
    }
    face.to_zero();
}

#[test]
fn steps_share_a_job_and_wait_for_room() {
    let face = Face::new("room");
    let text = r"
srun -n1 sh -c 'echo one up; while [ ! -e go ]; do sleep 0.05; done' &
srun -n1 sh -c 'while [ ! -e one ]; do sleep 0.05; done; echo two; : >go' &
srun --overlap -n2 sh -c 'echo over' && : >one
wait
srun -n2 sh -c ': >held.$SLURM_PROCID; while [ ! -e waits ]; do sleep 0.05; done' &
until [ -e held.0 ] && [ -e held.1 ]; do sleep 0.05; done
srun -n1 echo had to wait 2>third &
until grep -q 'retrying' third; do sleep 0.05; done
: >waits
wait
cat third
";
    let (code, out) = batch(&face, "-n 2 -N 1 --mem=600M", text);
    assert_eq!(code, 0, "{out}");
    for wanted in ["one up", "two", "over", "had to wait"] {
        assert!(out.contains(wanted), "{wanted}: {out}");
    }
    let busy = "step creation temporarily disabled, retrying (Requested nodes are busy)";
    assert!(out.contains(busy) && out.contains("srun: Step created for StepId="), "{out}");
    face.to_zero();
}

#[test]
fn outside_of_a_job_nodes_are_got_and_given_back() {
    let face = Face::new("outside");
    let said = face.shell("srun -n2 -N2 -l sh -c 'echo on $SLURMD_NODENAME'").expect_code(0);
    let lines = sorted(&said.out);
    assert!(
        lines.len() == 2 && lines[0].starts_with("0: on ") && lines[0][3..] != lines[1][3..],
        "{said:#?}"
    );
    assert!(said.err.contains("srun: job 1 queued and waiting for resources\n"), "{said:#?}");
    assert!(said.err.contains("srun: job 1 has been allocated resources\n"), "{said:#?}");
    let said = face.shell("srun -n1 sh -c 'exit 5'").expect_code(5);
    assert!(said.err.contains(": task 0: Exited with exit code 5\n"), "{said:#?}");
    until("the end of job 2", || {
        (face.asks("sacct -n -P -X -j 2 -o State,ExitCode") == "FAILED|5:0").then_some(())
    });
    let said = face.shell("salloc -n1 sh -c 'echo in $SLURM_JOB_ID; srun sh -c \"echo step \\$SLURM_JOB_ID\"; exit 3'");
    let said = said.expect_code(3);
    assert_eq!(said.out, "in 3\nstep 3\n");
    assert!(said.err.contains("salloc: Granted job allocation 3\n"), "{said:#?}");
    assert!(said.err.contains("salloc: Relinquishing job allocation 3\n"), "{said:#?}");
    let said = face.shell("srun -p nope hostname").expect_code(1);
    assert!(said.err.starts_with("srun: error: invalid partition specified: nope\nsrun: error: Unable to allocate resources: Invalid partition name specified\n"), "{said:#?}");
    face.shell("SLURM_EXIT_ERROR=9 srun -p nope hostname").expect_code(9);
    let late = "SLURM_EXIT_IMMEDIATE=8 salloc --immediate=1 --begin=now+1hour true";
    let said = face.shell(late).expect_code(8);
    assert!(said.err.contains("failed: Requested nodes are busy\n"), "{said:#?}");
    // A terminal of its own, wherever this test runs.
    let said = face.shell(
        "script -qec 'srun --pty sh -c \"test -t 0 && stty size && exit 4\"' /dev/null </dev/null",
    );
    assert_eq!(said.code, 4, "{said:#?}");
    face.to_zero();
}

#[test]
fn a_head_that_is_killed_only_delays_a_step() {
    let face = Face::new("resume");
    let cluster = face.cluster();
    let text = "srun -n2 -N2 -l sh -c 'i=0; while [ ! -e go ]; do echo line $i; i=$((i+1)); sleep 0.01; done; echo last $i'";
    fs::write(cluster.work().join("job.sh"), format!("#!/bin/bash\n{text}\n")).unwrap();
    let id = face.asks("sbatch --parsable -t 5 -N 2 -n 2 --mem=600M -o out job.sh");
    cluster.until_lines("out", 20);
    cluster.kill_head();
    cluster.up();
    cluster.touch("go");
    until("the end of the step", || {
        (cluster.file("out").matches("last").count() == 2).then_some(())
    });
    assert_eq!(cluster.wait(&id), 0);
    let out = cluster.file("out");
    for task in 0..2 {
        let head = format!("{task}: ");
        let mine: Vec<&str> =
            out.lines().filter_map(|line| line.strip_prefix(head.as_str())).collect();
        let (last, lines) = mine.split_last().unwrap();
        let wanted: Vec<String> = (0..lines.len()).map(|number| format!("line {number}")).collect();
        assert_eq!(lines, wanted, "{out}");
        assert_eq!(*last, format!("last {}", lines.len()));
    }
    face.to_zero();
}

#[test]
fn a_task_of_an_array_finds_itself_and_agents_that_are_killed_only_delay() {
    let face = Face::new("array-steps");
    let cluster = face.cluster();
    let text = "srun sh -c 'i=0; while [ ! -e go ]; do echo line $i; i=$((i+1)); sleep 0.01; done; \
                echo last $i of $SLURM_ARRAY_TASK_ID'";
    fs::write(cluster.work().join("job.sh"), format!("#!/bin/bash\n{text}\n")).unwrap();
    let id = face.asks("sbatch --parsable -t 5 -n 1 --mem=300M --array=1-2 -o out-%a job.sh");
    for task in 1..=2 {
        cluster.until_lines(&format!("out-{task}"), 20);
    }
    // Somebody else sees what is written from now on.
    let seen = face.shell(&format!("sattach -l {id}_1.0 </dev/null | head -n 3"));
    assert_eq!(
        seen.out.lines().filter(|line| line.starts_with("0: line ")).count(),
        3,
        "{seen:#?}"
    );
    let agent = cluster.node_process("agent.json");
    pcluster_tests::procs::signal(agent, rustix::process::Signal::KILL);
    until("another agent", || (cluster.node_process("agent.json") != agent).then_some(()));
    let before = cluster.file("out-1").lines().count();
    cluster.until_lines("out-1", before + 20);
    cluster.touch("go");
    assert_eq!(cluster.wait(&id), 0);
    for task in 1..=2 {
        let out = cluster.file(&format!("out-{task}"));
        let lines: Vec<&str> = out.lines().collect();
        let (last, lines) = lines.split_last().unwrap();
        let wanted: Vec<String> = (0..lines.len()).map(|number| format!("line {number}")).collect();
        assert_eq!(lines, wanted);
        assert_eq!(*last, format!("last {} of {task}", lines.len()));
    }
    face.to_zero();
}

#[test]
fn a_step_daemon_that_is_killed_ends_its_step_and_the_next_step_has_another() {
    let face = Face::new("stepd");
    let cluster = face.cluster();
    let text = "srun sh -c '(setsid sh -c \"echo \\$\\$ >>pid; sleep 1000\" &); echo $$ >>pid; sleep 1000'; echo first $? >>codes\n\
                srun sh -c 'for p in $(cat pid); do readlink /proc/$p/exe >>alive; done; echo second'; echo second $? >>codes\n\
                exit 3";
    fs::write(cluster.work().join("job.sh"), format!("#!/bin/bash\n{text}\n")).unwrap();
    let id = face.asks("sbatch --parsable -t 5 -n 1 --mem=300M -o out job.sh");
    cluster.until_lines("pid", 2);
    for daemon in cluster.step_daemons() {
        pcluster_tests::procs::signal(daemon, rustix::process::Signal::KILL);
    }
    assert_eq!(cluster.wait(&id), 3, "{}", cluster.file("out"));
    let codes = cluster.file("codes");
    assert!(codes.starts_with("first ") && !codes.starts_with("first 0\n"), "{codes}");
    assert!(codes.ends_with("second 0\n"), "{codes}");
    assert_eq!(cluster.file("alive"), "", "what the step left is dead when the next one begins");
    let rows = face.asks("sacct -n -P -o JobID,ExitCode");
    assert!(rows.contains("1.0|0:9\n") && rows.contains("1.1|0:0"), "{rows}");
    face.to_zero();
}
