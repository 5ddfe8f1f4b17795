//! Running as somebody else. All of it needs root; 65534 and its group are `nobody` on every Linux.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
};

use pcluster_keeper::{Identity, Outcome};

use crate::harness::{Run, is_root, needs_root};

const NOBODY: u32 = 65_534;

fn nobody() -> Option<Identity> {
    Some(Identity { user: "nobody".into(), uid: NOBODY, gid: NOBODY, groups: vec![NOBODY, 54_321] })
}

fn why(run: &mut Run) -> String {
    match run.finish().outcome {
        Outcome::CannotRun { why, .. } => why,
        other => panic!("it ran: {other:?}"),
    }
}

#[test]
fn a_job_is_its_user_and_nothing_more() {
    if !needs_root("a_job_is_its_user_and_nothing_more") {
        return;
    }
    let mut run = Run::script(
        "#!/bin/sh\nid -u; id -g; id -G; grep -E '^(Uid|CapEff|CapPrm|NoNewPrivs)' /proc/self/status; cat /proc/self/oom_score_adj; \
         stat -c %u \"$TMPDIR\"; echo x >\"$TMPDIR/x\" && cat \"$TMPDIR/x\"\n",
        &[],
    );
    run.order.identity = nobody();
    assert_eq!(run.finish().outcome, Outcome::Exited { code: 0 }, "{}", run.log());
    let expected = "65534\n65534\n65534 54321\nUid:\t65534\t65534\t65534\t65534\nCapPrm:\t0000000000000000\n\
                    CapEff:\t0000000000000000\nNoNewPrivs:\t1\n0\n65534\nx\n";
    assert_eq!(run.output(), expected);
    assert_eq!(fs::metadata(run.work("out")).unwrap().uid(), NOBODY);
    assert_eq!(run.private_dirs(), 0);
}

#[test]
fn a_link_to_a_file_of_root_is_not_followed_with_roots_rights() {
    if !needs_root("a_link_to_a_file_of_root_is_not_followed_with_roots_rights") {
        return;
    }
    for target in ["secret", "not-there/yet"] {
        let mut run = Run::shell("echo owned");
        let secret = run.root.join("secret");
        fs::write(&secret, "root's\n").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(run.root.join("not-there")).unwrap();
        symlink(run.root.join(target), run.work("out")).unwrap();
        run.order.identity = nobody();
        assert_eq!(
            why(&mut run),
            format!(
                "cannot write the output file {}: Permission denied",
                run.work("out").display()
            )
        );
        assert_eq!(fs::read_to_string(&secret).unwrap(), "root's\n");
        assert!(!run.root.join("not-there/yet").exists());
    }
}

#[test]
fn directories_are_made_as_the_user_or_not_at_all() {
    if !needs_root("directories_are_made_as_the_user_or_not_at_all") {
        return;
    }
    let mut run = Run::shell("true");
    run.order.identity = nobody();
    run.order.make_dirs = true;
    run.order.stdout = run.root.join("scratch/mine/out");
    assert!(why(&mut run).ends_with("Permission denied"));
    assert!(!run.root.join("scratch/mine").exists());
}

#[test]
fn a_file_the_user_may_only_write_is_not_read_for_them() {
    if !needs_root("a_file_the_user_may_only_write_is_not_read_for_them") {
        return;
    }
    let mut run = Run::shell("echo mine");
    fs::write(run.work("out"), "others' lines\n").unwrap();
    fs::set_permissions(run.work("out"), fs::Permissions::from_mode(0o622)).unwrap();
    run.order.identity = nobody();
    run.order.open_mode = pcluster_keeper::OpenMode::Append;
    assert_eq!(run.finish().outcome, Outcome::Exited { code: 0 });
    assert_eq!(run.output(), "others' lines\nmine\n");
    assert_eq!(run.dir.read_tail().unwrap(), b"");
}

#[test]
fn the_agents_files_are_closed_to_the_job() {
    if !needs_root("the_agents_files_are_closed_to_the_job") {
        return;
    }
    let mut run = Run::shell(
        "cat ../run/order.json; ls ../run; ls -l /proc/$PPID/fd; kill -TERM $PPID; echo alive",
    );
    run.order.identity = nobody();
    assert_eq!(run.finish().outcome, Outcome::Exited { code: 0 });
    assert_eq!(run.output().matches("Permission denied").count(), 3, "{}", run.output());
    assert!(run.output().ends_with("alive\n"));
}

#[test]
fn invalid_ids_are_refused() {
    if !needs_root("invalid_ids_are_refused") {
        return;
    }
    for (uid, gid) in [(u32::MAX, NOBODY), (NOBODY, u32::MAX)] {
        let mut run = Run::shell("id");
        run.order.identity = Some(Identity { user: "x".into(), uid, gid, groups: vec![] });
        run.order.tmp_parent = None;
        assert_eq!(why(&mut run), format!("cannot become user x ({uid}): not a valid id"));
    }
}

#[test]
fn a_switch_of_the_output_directory_never_leads_out_of_the_users_rights() {
    if !needs_root("a_switch_of_the_output_directory_never_leads_out_of_the_users_rights") {
        return;
    }
    let guard = Run::shell("true");
    let closed = guard.root.join("closed");
    fs::create_dir(&closed).unwrap();
    fs::create_dir(guard.work("real")).unwrap();
    fs::set_permissions(guard.work("real"), fs::Permissions::from_mode(0o777)).unwrap();
    let stop = guard.work("stop");
    let flip = "while ! [ -e stop ]; do ln -sfn real dir; ln -sfn ../closed dir; done";
    let mut flipper = std::process::Command::new("/bin/sh")
        .args(["-c", flip])
        .current_dir(guard.work("."))
        .spawn()
        .unwrap();
    for _ in 0..50 {
        let mut run = Run::shell("echo x");
        run.order.identity = nobody();
        run.order.stdout = guard.work("dir/out");
        run.finish();
    }
    fs::write(stop, "").unwrap();
    flipper.wait().unwrap();
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 0);
    if let Ok(meta) = fs::metadata(guard.work("real/out")) {
        assert_eq!(meta.uid(), NOBODY);
    }
}

#[test]
fn without_root_another_user_is_refused_and_ones_own_is_not() {
    if is_root() {
        eprintln!(
            "NOT RUN: without_root_another_user_is_refused_and_ones_own_is_not needs a plain user"
        );
        return;
    }
    let own = rustix::process::geteuid().as_raw();
    let mut run = Run::shell("id -u");
    run.order.identity =
        Some(Identity { user: "me".into(), uid: own, gid: NOBODY, groups: vec![] });
    assert_eq!(run.finish().outcome, Outcome::Exited { code: 0 });
    let mut run = Run::shell("id -u");
    run.order.identity =
        Some(Identity { user: "other".into(), uid: own + 1, gid: NOBODY, groups: vec![] });
    assert_eq!(
        why(&mut run),
        format!("cannot become user other ({}): the agent does not run as root", own + 1)
    );
}
