//! `why`, for every class of failure of launches and boots.
use super::samples::{admin, config, config_of, spec, user};
use super::status;
use super::tests::Lab;
use pcluster_api::WhyView;
use pcluster_core::event::LaunchErrorClass;
use pcluster_core::input::LaunchError;
use pcluster_model::{DurationMs, Timestamp};

/// A frame in one text.
pub fn page(why: &WhyView) -> String {
    let facts = why.facts.iter().map(|(label, text)| format!("  {label}: {text}"));
    let change = why.change.iter().map(|text| format!("  change: {text}"));
    let hints = why.hints.iter().map(|text| format!("  hint: {text}"));
    let lines = std::iter::once(format!("[{}] {}", why.word, why.headline));
    lines.chain(facts).chain(change).chain(hints).map(|line| line + "\n").collect()
}

fn no(class: LaunchErrorClass, message: &str) -> LaunchError {
    LaunchError { class, message: message.into() }
}

/// What `why` says of a job whose launches are all answered like this.
fn said_of(refusal: LaunchError) -> String {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    lab.refusal = Some(refusal);
    let job = lab.submit(&ana, spec("align", 2, 600_000));
    lab.pass(DurationMs::from_secs(10));
    page(&lab.why(&ana, job))
}

/// The words of every class, one case below the other: `UPDATE=1` writes them anew.
#[test]
fn every_class_of_a_failed_launch_or_boot_has_its_words() {
    let later = Timestamp(1_795_348_800_000) + DurationMs::from_secs(90);
    let quota = LaunchErrorClass::Quota { limit: "32 CPUs".into(), used: "30 CPUs".into() };
    let cases = [
        (LaunchErrorClass::NoCapacity, "Insufficient"),
        (quota, "LimitExceeded"),
        (LaunchErrorClass::RateLimited { retry_at: later }, "SlowDown"),
        (LaunchErrorClass::NeverFits, "no such type"),
        (LaunchErrorClass::Denied, "Unauthorized"),
        (LaunchErrorClass::BadConfig, "no image of that name"),
        (LaunchErrorClass::Unknown, "a broken pipe"),
    ];
    let mut text: String =
        cases.into_iter().map(|(class, message)| said_of(no(class, message)) + "\n").collect();
    text += &(boots_that_fail().join("\n") + "\n" + &put_back());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/snapshots/why_launch.txt");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/src/snapshots")).unwrap();
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(path).unwrap_or_default());
}

#[test]
fn all_kinds_of_machines_that_were_tried_are_named() {
    let ana = user("ana", 1000);
    let shapes = "shapes.small = { cpus = 4, memory = \"8 GB\" }\n\
                  shapes.large = { cpus = 8, memory = \"16 GB\" }";
    let mut lab = Lab::new(config_of("types = [\"small\", \"large\"], max = 2", shapes));
    lab.refusal = Some(no(LaunchErrorClass::NoCapacity, "Insufficient"));
    let job = lab.submit(&ana, spec("align", 2, 600_000));
    lab.pass(DurationMs::from_secs(10));
    let why = page(&lab.why(&ana, job));
    assert!(why.contains("has no small at the moment"), "{why}");
    assert!(why.contains("  tried too: large: no capacity\n"), "{why}");
}

/// Boots fail until the breaker is open; the pause; the trial; and what `status` says of the last two.
fn boots_that_fail() -> [String; 4] {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let first = lab.submit(&ana, spec("align", 4, 600_000));
    while !lab.cluster.meta.offerings.iter().any(|(_, h)| h.boots.values().any(|b| b.is_broken())) {
        lab.pass(DurationMs::from_secs(10));
    }
    let attention = |lab: &Lab| {
        let status = status::view(&lab.cx(&admin()), status::HeadFacts::default());
        let of_pool = status.attention.into_iter().find(|(label, _)| label == "compute");
        of_pool.map(|(_, text)| text + "\n").unwrap_or_default()
    };
    let (paused, of_pause) = (page(&lab.why(&ana, first)), attention(&lab));
    // The pause is over: one node is a trial for all that wait.
    let second = lab.submit(&ana, spec("fold", 4, 600_000));
    while !lab.cluster.nodes.values().any(pcluster_core::node::Node::is_coming) {
        lab.pass(DurationMs::from_secs(10));
    }
    lab.pass(DurationMs::from_secs(10));
    let (trial, of_trial) = (page(&lab.why(&ana, second)), attention(&lab));
    lab.booting = lab.booting.split_off(lab.booting.len() - 1);
    lab.boot();
    assert_eq!(attention(&lab), "", "it has come up");
    [paused, of_pause, trial, of_trial]
}

/// A job whose node went away, and waits again.
fn put_back() -> String {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let job = lab.submit(&ana, spec("align", 4, 600_000));
    lab.boot();
    lab.start();
    lab.refusal = Some(no(LaunchErrorClass::NoCapacity, "Insufficient"));
    let now = lab.now;
    lab.launched.values_mut().for_each(|machine| machine.ended_at = Some(now));
    lab.pass(DurationMs::from_secs(10));
    page(&lab.why(&ana, job))
}
