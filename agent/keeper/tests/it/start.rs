//! From order to running job: environment, files, interpreters, limits, and what is said when a step fails.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use pcluster_keeper::{OpenMode, Outcome};

use crate::harness::{BINARY, Run, is_root, until};

fn cannot(run: &mut Run) -> (String, String) {
    match run.finish().outcome {
        Outcome::CannotRun { step, why } => (step, why),
        other => panic!("it ran: {other:?}"),
    }
}

#[test]
fn the_environment_is_exactly_the_orders() {
    let mut run = Run::of(&["/usr/bin/env"]);
    run.order.env = vec![
        ("A".into(), "1\n2".into()),
        ("BASH_FUNC_module%%".into(), "() { :; }".into()),
        ("PATH".into(), "/usr/bin:/bin".into()),
    ];
    run.order.path_prepend = vec!["/opt/first".into()];
    run.finish();
    let private = run.dir.read_start().unwrap().unwrap().private_dir.unwrap();
    let mut lines: Vec<String> = run.output().lines().map(String::from).collect();
    lines.sort();
    let tmpdir = format!("TMPDIR={}/tmp", private.display());
    assert_eq!(
        lines,
        [
            "2",
            "A=1",
            "BASH_FUNC_module%%=() { :; }",
            "PATH=/opt/first:/usr/bin:/bin",
            tmpdir.as_str()
        ]
    );
}

#[test]
fn a_command_is_found_in_the_jobs_own_path() {
    let mut run = Run::of(&["hello"]);
    let tool = run.work("hello");
    fs::write(&tool, "#!/bin/sh\necho found\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    run.order.path_prepend = vec![run.root.join("work")];
    assert_eq!(run.finish().outcome, Outcome::Exited { code: 0 });
    assert_eq!(run.output(), "found\n");
}

#[test]
fn a_command_that_is_nowhere_is_named() {
    let mut run = Run::of(&["no-such-tool"]);
    let (step, why) = cannot(&mut run);
    assert_eq!(
        (step.as_str(), why.as_str()),
        ("exec", "cannot run \"no-such-tool\": no such command in the job's PATH")
    );
}

#[test]
fn a_script_runs_with_its_arguments_from_a_place_the_user_can_read() {
    let mut run = Run::script(
        "#!/bin/sh -e\nprintf '%s|' \"$@\"; cat \"$0\" >/dev/null && echo ok\n",
        &["a b", "$(id)", "--x"],
    );
    assert_eq!(run.finish().outcome, Outcome::Exited { code: 0 });
    assert_eq!(run.output(), "a b|$(id)|--x|ok\n");
}

#[test]
fn a_missing_interpreter_is_named() {
    let mut run = Run::script("#!/no/such/python3\nprint(1)\n", &[]);
    let (step, why) = cannot(&mut run);
    assert_eq!(step, "exec");
    assert_eq!(
        why,
        "cannot run the script's interpreter \"/no/such/python3\": No such file or directory"
    );
}

#[test]
fn windows_line_ends_in_the_first_line_are_named() {
    let mut run = Run::script("#!/bin/sh\r\necho hi\r\n", &[]);
    let (_, why) = cannot(&mut run);
    assert!(why.ends_with("(the script has Windows line ends)"), "{why}");
}

#[test]
fn a_profile_is_sourced_and_the_arguments_stay_as_they_are() {
    let mut run = Run::of(&[
        "/bin/sh",
        "-c",
        "printf '%s,' \"$FROM_PROFILE\" \"$@\"",
        "sh",
        "a b",
        "",
        "$HOME;'\"",
    ]);
    let profile = run.work("pro file");
    fs::write(&profile, "export FROM_PROFILE=yes\n").unwrap();
    run.order.profile = Some(profile);
    assert_eq!(run.finish().outcome, Outcome::Exited { code: 0 });
    assert_eq!(run.output(), "yes,a b,,$HOME;'\",");
}

#[test]
fn a_missing_profile_is_named() {
    let mut run = Run::shell("true");
    run.order.profile = Some("/no/such/profile".into());
    let (step, why) = cannot(&mut run);
    assert_eq!(
        (step.as_str(), why.as_str()),
        ("profile", "cannot read the profile /no/such/profile: No such file or directory")
    );
}

#[test]
fn output_in_a_missing_directory_is_refused_by_name() {
    let mut run = Run::shell("echo no");
    run.order.stdout = run.work("missing/out");
    let (step, why) = cannot(&mut run);
    assert_eq!(step, "stdout");
    assert_eq!(
        why,
        format!(
            "cannot write the output file {}: No such file or directory",
            run.order.stdout.display()
        )
    );
    assert_eq!(run.private_dirs(), 0, "the private directory is removed also when nothing ran");
}

#[test]
fn missing_output_directories_are_made_when_the_order_says_so() {
    let mut run = Run::shell("echo out; echo err >&2");
    run.order.stdout = "a/b/out".into();
    run.order.stderr = Some("a/c/err".into());
    run.order.make_dirs = true;
    assert_eq!(run.finish().outcome, Outcome::Exited { code: 0 });
    assert_eq!(fs::read_to_string(run.work("a/b/out")).unwrap(), "out\n");
    assert_eq!(fs::read_to_string(run.work("a/c/err")).unwrap(), "err\n");
}

#[test]
fn output_that_is_a_pipe_without_reader_does_not_hang() {
    let mut run = Run::shell("echo no");
    let fifo = run.work("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    run.order.stdout = fifo;
    let (step, why) = cannot(&mut run);
    assert_eq!(step, "stdout");
    assert!(why.ends_with("No such device or address"), "{why}");
}

#[test]
fn output_and_errors_share_one_file() {
    let mut run = Run::shell("echo 1; echo 2 >&2; echo 3");
    run.finish();
    assert_eq!(run.output(), "1\n2\n3\n");
}

#[test]
fn truncate_empties_and_append_writes_on_after_the_line() {
    let mut run = Run::shell("echo new");
    fs::write(&run.order.stdout, "old\n").unwrap();
    run.order.open_mode = OpenMode::Append;
    run.order.append_line = Some("attempt 2 on node 5.0".into());
    run.finish();
    assert_eq!(run.output(), "old\nattempt 2 on node 5.0\nnew\n");
    let mut run = Run::shell("echo new");
    fs::write(&run.order.stdout, "old and long\n").unwrap();
    run.finish();
    assert_eq!(run.output(), "new\n");
}

#[test]
fn input_is_empty_or_the_given_file() {
    let mut run = Run::shell("cat; echo end");
    run.finish();
    assert_eq!(run.output(), "end\n");
    let mut run = Run::shell("cat; echo end");
    fs::write(run.work("in"), "given\n").unwrap();
    run.order.stdin = Some("in".into());
    run.finish();
    assert_eq!(run.output(), "given\nend\n");
}

#[test]
fn a_missing_working_directory_is_named() {
    let mut run = Run::shell("true");
    run.order.work_dir = "/no/such/dir".into();
    let (step, why) = cannot(&mut run);
    assert_eq!(
        (step.as_str(), why.as_str()),
        ("work_dir", "cannot enter the working directory /no/such/dir: No such file or directory")
    );
}

#[test]
fn a_job_may_start_in_tmp_when_its_directory_is_missing_but_not_its_output() {
    let mut run = Run::shell("pwd; echo of the job >&2");
    run.order.tmp_fallback = true;
    run.order.stdout = run.work("out");
    run.order.stderr = Some(run.work("err"));
    run.order.work_dir = "/no/such/dir".into();
    run.finish();
    assert_eq!(run.output(), "/tmp\n");
    assert_eq!(
        fs::read_to_string(run.work("err")).unwrap(),
        "slurmstepd: error: couldn't chdir to `/no/such/dir': No such file or directory: going to /tmp \
         instead\nof the job\n"
    );
    let mut run = Run::shell("true");
    run.order.tmp_fallback = true;
    run.order.stdout = "out".into();
    run.order.work_dir = "/no/such/dir".into();
    let (step, why) = cannot(&mut run);
    assert_eq!(step, "stdout", "{why}");
}

#[test]
fn umask_and_soft_limits_are_the_orders() {
    let mut run = Run::shell("umask; ulimit -S -n; ulimit -S -c");
    run.order.umask = 0o027;
    run.order.soft_limits =
        vec![("nofile".into(), Some(61)), ("core".into(), Some(0)), ("made-up".into(), Some(1))];
    run.finish();
    assert_eq!(run.output(), "0027\n61\n0\n");
}

#[test]
fn a_job_inherits_neither_ignored_signals_nor_descriptors() {
    let mut run = Run::shell("grep -E 'SigIgn|SigBlk' /proc/self/status; ls /proc/$$/fd");
    run.dir.prepare(&run.order).unwrap();
    let script = "trap '' INT HUP QUIT; exec 7</dev/null 8</etc/passwd; exec \"$0\" run \"$1\"";
    let keeper =
        Command::new("/bin/sh").args(["-c", script, BINARY]).arg(run.dir.path()).spawn().unwrap();
    run.keeper = Some(keeper);
    run.wait();
    let output = run.output();
    let lines: Vec<&str> = output.lines().collect();
    let mask = |line: &str| u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap();
    // Numbers 32 and 33 belong to the C library, which lets nobody set them.
    assert_eq!([mask(lines[0]), mask(lines[1]) & !(3 << 31)], [0, 0], "{output}");
    assert_eq!(lines[2..], ["0", "1", "2"], "exactly three descriptors are open");
}

#[test]
fn the_private_directory_is_the_users_alone_and_goes_with_the_run() {
    let mut run = Run::shell(
        "stat -c %a \"$TMPDIR\" \"$TMPDIR/..\"; mkdir -p \"$TMPDIR/a/b\"; head -c 100000 /dev/zero >\"$TMPDIR/a/b/full\"; \
         ln -s / \"$TMPDIR/a/root\"; ln -s ../../../work \"$TMPDIR/w\"; chmod 0 \"$TMPDIR/a/b\"; chmod 500 \"$TMPDIR/a\"",
    );
    run.finish();
    assert_eq!(run.output(), "700\n700\n");
    assert_eq!(run.private_dirs(), 0, "{}", run.log());
    assert!(run.work("out").exists(), "links were not followed");
}

#[test]
fn a_place_that_others_can_rearrange_is_no_place_for_private_directories() {
    let mut run = Run::shell("true");
    run.order.tmp_parent = Some(run.root.join("work"));
    let (step, why) = cannot(&mut run);
    assert_eq!(step, "private_dir");
    assert!(why.contains("others may rearrange it"), "{why}");
}

#[test]
fn an_order_that_others_could_write_is_refused() {
    let mut run = Run::shell("true");
    run.dir.prepare(&run.order).unwrap();
    fs::set_permissions(run.dir.order(), fs::Permissions::from_mode(0o666)).unwrap();
    let mut keeper = Command::new(BINARY).arg("run").arg(run.dir.path()).spawn().unwrap();
    let status = until("the refusal", || keeper.try_wait().unwrap());
    assert_eq!(status.code(), Some(i32::from(pcluster_keeper::EXIT_BAD_ORDER)));
    assert!(!run.dir.start_record().exists());
    run.keeper = None;
}

#[test]
fn output_that_may_not_be_written_is_refused_by_name() {
    let mut run = Run::shell("echo no");
    if is_root() {
        // Root may write everything; a directory is refused to all.
        run.order.stdout = run.root.join("scratch");
        let (_, why) = cannot(&mut run);
        assert!(why.ends_with("Is a directory"), "{why}");
        return;
    }
    fs::write(run.work("out"), "").unwrap();
    fs::set_permissions(run.work("out"), fs::Permissions::from_mode(0o444)).unwrap();
    let (_, why) = cannot(&mut run);
    assert!(why.ends_with("Permission denied"), "{why}");
}
