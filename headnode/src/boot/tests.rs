use super::*;
use crate::scratch::Scratch;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn a_second_head_is_refused_with_the_others_process() {
    let scratch = Scratch::new("boot");
    let first = StateDir::lock(scratch.path()).unwrap();
    let error = StateDir::lock(scratch.path()).unwrap_err();
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    assert_eq!(error.exit_code(), 3);
    drop(first);
    StateDir::lock(scratch.path()).unwrap();
}

#[test]
fn what_must_never_change_is_made_once_and_for_the_owner_only() {
    let scratch = Scratch::new("boot");
    let state = StateDir::lock(scratch.path()).unwrap();
    let first = state.load(None).unwrap();
    let (id, secret, key) = (first.id.clone(), first.secret.0, first.key.sha256());
    drop(first);
    let again = state.load(None).unwrap();
    assert_eq!((again.id, again.secret.0, again.key.sha256()), (id, secret, key));
    for name in ["cluster-id", "secret", "head-key.der", "head-cert.der", "events.db"] {
        let mode = fs::metadata(scratch.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_state_file_that_is_not_ours_is_refused_untouched() {
    let scratch = Scratch::new("boot");
    fs::write(scratch.path().join("events.db"), "hello").unwrap();
    let state = StateDir::lock(scratch.path()).unwrap();
    let Err(error) = state.load(None) else { panic!("loaded") };
    assert!(error.to_string().contains("left untouched"), "{error}");
    assert_eq!(fs::read(scratch.path().join("events.db")).unwrap(), b"hello");
    assert_eq!(error.exit_code(), 3);
}

#[test]
fn a_damaged_secret_or_id_is_named_and_not_replaced() {
    for (name, text) in [("secret", "short"), ("cluster-id", "not an id")] {
        let scratch = Scratch::new("boot");
        let state = StateDir::lock(scratch.path()).unwrap();
        drop(state.load(None).unwrap());
        fs::write(scratch.path().join(name), text).unwrap();
        let Err(error) = state.load(None) else { panic!("{name}") };
        assert!(error.to_string().contains(name), "{error}");
        assert_eq!(fs::read_to_string(scratch.path().join(name)).unwrap(), text);
    }
}

#[test]
fn a_log_that_is_gone_is_no_new_cluster() {
    let scratch = Scratch::new("boot");
    let state = StateDir::lock(scratch.path()).unwrap();
    drop(state.load(None).unwrap());
    let log = scratch.path().join("events.db");
    fs::remove_file(&log).unwrap();
    let Err(error) = state.load(None) else { panic!("a new cluster") };
    assert!(error.to_string().contains("restore COPY") && error.exit_code() == 3, "{error}");
    assert!(!log.exists());
}

#[test]
fn mistakes_of_the_file_are_shown_with_their_lines() {
    let scratch = Scratch::new("boot");
    let file = scratch.path().join("cluster.toml");
    fs::write(&file, "provider = \"process\"\nimagge = \"host\"\n").unwrap();
    let error = read_config(&file).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    assert!(text.contains("cluster.toml:2") && text.contains("imagge"), "{text}");
}

#[test]
fn a_provider_that_is_not_built_in_is_refused() {
    let scratch = Scratch::new("boot");
    let file = scratch.path().join("cluster.toml");
    fs::write(
        &file,
        "provider = \"ssh\"\nhead = { address = \"h\" }\ncompute = { hosts = [\"a\"] }\n",
    )
    .unwrap();
    let error = read_config(&file).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().contains("no provider ssh"), "{error}");
}

#[test]
fn a_placed_head_has_the_id_and_the_admin_that_it_was_given() {
    let scratch = Scratch::new("boot");
    let file = scratch.path().join("cluster.toml");
    fs::write(&file, "provider = \"ec2\"\nhead = { type = \"t3.medium\" }\nstorage = { from = \"mounted\", home = \"local\" }\n").unwrap();
    assert_eq!(read_config(&file).unwrap().placed, None);
    let Err(error) = crate::run::prepare(&file) else { panic!("it runs here") };
    assert!(error.to_string().contains("pcluster up"), "{error}");
    let placed = "cluster = \"00112233445566ff\"\naccount = \"ana\"\n";
    fs::write(scratch.path().join("placed.toml"), placed).unwrap();
    let read = read_config(&file).unwrap();
    assert_eq!(read.config.admins, ["ana"]);
    let given = read.placed.unwrap().cluster;
    let state = StateDir::lock(scratch.path()).unwrap();
    assert_eq!(state.load(Some(&given)).unwrap().id, given);
    assert_eq!(state.load(None).unwrap().id, given, "once");
    let Err(error) = state.load(Some(&"aabbccddeeff0011".into())) else { panic!("another's") };
    assert!(error.to_string().contains("00112233445566ff"), "{error}");
    // Without its volume it would begin anew.
    for (volume, is_there) in
        [(scratch.path().display().to_string(), false), ("/proc".into(), true)]
    {
        let text = format!("{placed}volume = \"{volume}\"\n");
        fs::write(scratch.path().join("placed.toml"), text).unwrap();
        let checked = read_config(&file).unwrap().placed.unwrap().check_volume();
        assert_eq!(checked.is_ok(), is_there, "{checked:?}");
        assert!(checked.err().is_none_or(|error| error.exit_code() == 1), "it may come");
    }
    fs::write(scratch.path().join("placed.toml"), "cluster = 7\n").unwrap();
    assert_eq!(read_config(&file).unwrap_err().exit_code(), 3);
}
