//! Boots that fail: the breaker belongs to an image on a kind of machine.
use super::support::{Small, config, root, shape, spec};
use crate::input::Input;
use crate::plan::Wait;
use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::{DurationMs, JobId, JobSpec};

fn one_shape() -> Small {
    Small::new(config(4, vec![shape("s2", 2, 100)]))
}

/// Machines come and none of them says a word, until this many have failed.
fn boots_fail(small: &mut Small, count: u32) {
    while failures(small, "host") < count {
        small.provide();
        small.pass(DurationMs::from_mins(1));
        small.list();
    }
}

fn failures(small: &Small, image: &str) -> u32 {
    let health = small.cluster.meta.offerings.iter().flat_map(|(_, health)| &health.boots);
    health.filter(|(known, _)| *known == image).map(|(_, boots)| boots.failures).sum()
}

fn wait_of(small: &Small, job: JobId) -> Wait {
    small.cluster.volatile.report.waits[&job].clone()
}

/// Images of the machines that come.
fn coming(small: &Small) -> Vec<String> {
    let nodes = small.cluster.nodes.values().filter(|node| node.is_coming());
    nodes.map(|node| node.image.clone()).collect()
}

#[test]
fn another_image_does_not_inherit_failed_boots() {
    let mut small = one_shape();
    let first = small.submit(spec("align", 2));
    boots_fail(&mut small, 3);
    let Wait::BootsFail { image, next_try, .. } = wait_of(&small, first) else {
        panic!("{:?}", wait_of(&small, first))
    };
    assert_eq!((image.as_str(), next_try > small.now), ("host", true));
    assert!(coming(&small).is_empty());
    // The same kind of machine with another image is launched at once, and comes up.
    let other = JobSpec { image: Some("host@2".into()), ..spec("fold", 2) };
    small.submit(other);
    assert_eq!(coming(&small), ["host@2"]);
    small.boot();
    assert_eq!((failures(&small, "host"), failures(&small, "host@2")), (3, 0));
    assert!(matches!(wait_of(&small, first), Wait::BootsFail { .. }), "its image still fails");
    small.check_replay();
}

#[test]
fn one_canary_is_tried_and_closes_the_breaker() {
    let mut small = one_shape();
    let first = small.submit(spec("align", 2));
    boots_fail(&mut small, 3);
    let second = small.submit(spec("fold", 2));
    while coming(&small).is_empty() {
        small.pass(DurationMs::from_secs(30));
    }
    assert_eq!(coming(&small).len(), 1, "one for both");
    let canary = small.cluster.nodes.values().find(|node| node.is_coming()).unwrap().name.clone();
    assert!(matches!(wait_of(&small, first), Wait::NodeBoots { .. } | Wait::NodeWanted { .. }));
    small.pass(DurationMs::from_secs(1));
    let Wait::Canary { canary: named, image, .. } = wait_of(&small, second) else {
        panic!("{:?}", wait_of(&small, second))
    };
    assert_eq!((named, image.as_str()), (canary, "host"));
    small.boot();
    assert_eq!(failures(&small, "host"), 0);
    small.pass(DurationMs::from_secs(1));
    assert_eq!(coming(&small).len(), 1, "the other job's machine is launched");
    small.check_replay();
}

#[test]
fn a_gang_is_tried_with_one_machine_and_gets_the_rest_when_that_is_ready() {
    let mut small = one_shape();
    let first = small.submit(spec("align", 2));
    boots_fail(&mut small, 3);
    small.cancel(&root(), first);
    let gang = small.submit(JobSpec { nodes: 3, tasks: 3, ..spec("solve", 2) });
    while coming(&small).is_empty() {
        small.pass(DurationMs::from_secs(30));
    }
    // As long as it boots, and after it has failed, there is one.
    for _ in 0..2 {
        small.pass(DurationMs::from_secs(1));
        assert_eq!(coming(&small).len(), 1);
        let Wait::Canary { canary, .. } = wait_of(&small, gang) else {
            panic!("{:?}", wait_of(&small, gang))
        };
        assert!(small.cluster.nodes.values().any(|node| node.name == canary && node.is_coming()));
        let failed = failures(&small, "host");
        boots_fail(&mut small, failed + 1);
        while coming(&small).is_empty() {
            small.pass(DurationMs::from_secs(30));
        }
    }
    small.boot();
    small.pass(DurationMs::from_secs(1));
    assert_eq!((failures(&small, "host"), coming(&small).len()), (0, 2), "the rest at once");
    small.boot();
    small.pass(DurationMs::from_secs(1));
    let nodes = small.cluster.nodes.values().filter(|node| !node.runs.is_empty()).count();
    assert_eq!(nodes, 3);
    small.check_replay();
}

#[test]
fn a_new_build_in_the_file_is_tried_at_once() {
    let mut small = one_shape();
    small.submit(spec("align", 2));
    boots_fail(&mut small, 3);
    assert!(coming(&small).is_empty());
    let mut next = config(4, vec![shape("s2", 2, 100)]);
    next.pools[0].image = "host@2".into();
    small.give(Input::ConfigChanged { config: Box::new(next) });
    assert_eq!(coming(&small), ["host@2"]);
    small.check_replay();
}

#[test]
fn the_same_file_read_again_is_a_new_chance_for_an_image_that_was_built_again() {
    let mut small = one_shape();
    small.submit(spec("align", 2));
    boots_fail(&mut small, 3);
    assert!(coming(&small).is_empty());
    let file = || Input::ConfigChanged { config: Box::new(config(4, vec![shape("s2", 2, 100)])) };
    small.give(file());
    assert_eq!((failures(&small, "host"), coming(&small).len()), (0, 1));
    let told = |small: &Small| {
        small
            .log
            .iter()
            .filter(|one| matches!(one.event, crate::Event::ConfigChanged { .. }))
            .count()
    };
    let before = told(&small);
    small.give(file());
    assert_eq!(told(&small), before, "nothing waits for it any more");
    small.check_replay();
}

#[test]
fn rows_of_an_earlier_version_say_the_same_without_what_it_did_not_know() {
    use crate::rows::{Row, says_the_same};
    let mut small = one_shape();
    small.submit(spec("align", 2));
    boots_fail(&mut small, 1);
    small.submit(spec("fold", 2));
    let mut shorter = 0;
    for row in small.cluster.all_rows() {
        let body = row.body.unwrap();
        let stored = |body: String| Row { table: row.table.into(), key: row.key.clone(), body };
        assert!(says_the_same(&body, &stored(body.clone())));
        let older = body.replace("\"first_run_at\":null,", "");
        shorter += usize::from(older != body);
        assert!(says_the_same(&body, &stored(older)), "{body}");
        let other = body.replace("align", "another").replace("\"next_run\":", "\"next_run\":7");
        assert_eq!(says_the_same(&body, &stored(other.clone())), other == body, "{body}");
        assert!(!says_the_same(&body, &stored("{".into())));
    }
    assert!(shorter > 0, "some row has a field that an earlier version may not have known");
    // Failed boots were once counted without an image.
    let meta = small.cluster.all_rows().into_iter().find(|row| row.table == "meta").unwrap();
    let body = meta.body.unwrap();
    let mut old: serde_json::Value = serde_json::from_str(&body).unwrap();
    let text = old["offerings"].to_string();
    assert!(text.contains("\"boots\":{\"host\""), "{text}");
    fn as_once(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(fields) => {
                if fields.remove("boots").is_some() {
                    fields.insert("boot_failures".into(), 1.into());
                }
                fields.values_mut().for_each(as_once);
            }
            serde_json::Value::Array(items) => items.iter_mut().for_each(as_once),
            _ => {}
        }
    }
    as_once(&mut old);
    let stored = Row { table: "meta".into(), key: meta.key, body: old.to_string() };
    assert!(says_the_same(&body, &stored), "{}", stored.body);
}
