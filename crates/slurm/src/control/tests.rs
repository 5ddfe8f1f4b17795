use super::cancel::{Target, doing, what};
use super::pick::{Filters, asked, id_of, ids};
use super::update::{self, Entity, moved};
use super::verbs;
use crate::options::{Order, SCANCEL, Words, parse};
use crate::words::made_up;
use pcluster_model::SignalScope;

fn scancel(line: &str) -> Words {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&SCANCEL, &args, Order::Permute).unwrap()
}

#[test]
fn what_is_sent_to_whom() {
    let said = |line: &str| {
        let what = what(&scancel(line)).unwrap();
        (what.signal, what.scope)
    };
    assert_eq!(said("41"), (None, SignalScope::Steps));
    assert_eq!(said("-s KILL 41"), (None, SignalScope::Steps));
    assert_eq!(said("41 -f -s 15"), (Some(15), SignalScope::All));
    assert_eq!(said("--signal=USR2 41"), (Some(12), SignalScope::Steps));
    assert_eq!(said("-b -s SIGTERM 41"), (Some(15), SignalScope::Batch));
    assert_eq!(said("-b 41"), (Some(9), SignalScope::Batch));
    let refusal = what(&scancel("-s FOO 41")).unwrap_err();
    assert_eq!((refusal.lines[0].as_str(), refusal.code), ("Unknown job signal: FOO", 1));
}

#[test]
fn v_says_what_is_done() {
    let target = |id: &str| Target { id: id.into(), step: None, about: None };
    let line = |args: &str| doing(&target("41_3"), what(&scancel(args)).unwrap());
    assert_eq!(line("41_3"), "scancel: Terminating job 41_3");
    assert_eq!(line("-s USR1 41_3"), "scancel: Signal 10 to job 41_3");
    assert_eq!(line("-b -s USR1 41_3"), "scancel: Signal 10 to batch job 41_3");
}

#[test]
fn ids_are_read_and_named_again() {
    let words: Vec<String> =
        ["41", "42_3", "43_[1-3,7]", "44.batch,45"].map(str::to_owned).to_vec();
    let found: Vec<String> = ids(&words).unwrap().iter().map(asked).collect();
    assert_eq!(found, ["41", "42_3", "43_[1-3,7]", "44", "45"]);
    for bad in ["x", "1_x", "1_[1-3", "1.x", "0", "-1"] {
        let refusal = ids(&[bad.to_owned()]).unwrap_err();
        assert_eq!(refusal.lines, [format!("scancel: error: Invalid job id {bad}")]);
    }
    assert_eq!(id_of(&made_up::array_rest(7, "2-9", Some(2))), "7_[2-9]");
    assert_eq!(id_of(&made_up::array_task(7, 1, 9)), "7_1");
    assert_eq!(id_of(&made_up::pending(7)), "7");
}

#[test]
fn filters_must_all_hold() {
    let (waits, runs) = (made_up::pending(7), made_up::running(8));
    let hold = |line: &str| {
        let filters = Filters::of(&scancel(line), &waits.uid.to_string()).unwrap();
        (filters.hold(&waits), filters.hold(&runs))
    };
    assert_eq!(hold("-t PENDING"), (true, false));
    assert_eq!(hold("--state=running"), (false, true));
    assert_eq!(hold(&format!("-u {}", waits.user)), (true, waits.user == runs.user));
    assert!(hold(&format!("-n {} -p {}", waits.name, waits.pool)).0);
    assert_eq!(hold("-n other"), (false, false));
    assert!(hold("--me").0);
    assert_eq!(hold("-R night"), (false, false));
    assert_eq!(hold(&format!("-w {}", runs.node_names[0])), (false, true));
    let refusal = Filters::of(&scancel("-t FOO"), "0").unwrap_err();
    assert_eq!(
        refusal.lines,
        [
            "Invalid job state specified: FOO",
            "Valid job states are PENDING, RUNNING, and SUSPENDED"
        ]
    );
}

fn entity_of(line: &str) -> (Entity, Vec<(String, String)>) {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let mut pairs = update::pairs(&words).unwrap();
    (update::entity(&mut pairs).unwrap(), pairs)
}

#[test]
fn an_update_says_what_it_is_about() {
    assert_eq!(entity_of("JobId=41 TimeLimit=5").0, Entity::Jobs("41".into()));
    assert_eq!(entity_of("job 41 TimeLimit=5").0, Entity::Jobs("41".into()));
    assert_eq!(entity_of("partition=long jobid=41_3").0, Entity::Jobs("41_3".into()));
    assert_eq!(entity_of("JobName=a Nice=5").0, Entity::JobName("a".into()));
    assert_eq!(entity_of("NodeName=c[1-2] State=DRAIN").0, Entity::Nodes("c[1-2]".into()));
    assert!(matches!(entity_of("PartitionName=x State=DOWN").0, Entity::Other(_)));
    let mut none = vec![("foo".to_owned(), "1".to_owned())];
    let refusal = update::entity(&mut none).unwrap_err();
    assert_eq!(refusal.lines[0], "No valid entity in update command");
}

#[test]
fn keys_become_a_request() {
    let now = jiff::Timestamp::from_second(1_795_440_000).unwrap();
    let now = now.to_zoned(jiff::tz::TimeZone::UTC);
    let changes = |line: &str| update::changes(&entity_of(line).1, &now);
    let request = changes("jobid=1 timelimit=1:00:00 partition=long name=x requeue=0").unwrap();
    let request = serde_json::to_value(&request.request).unwrap();
    assert_eq!(request["time_limit_ms"], 3_600_000);
    assert_eq!(request["pool"], "long");
    assert_eq!((&request["name"], &request["requeue"]), (&"x".into(), &false.into()));
    let more = |line: &str| changes(line).unwrap().more_minutes;
    assert_eq!(more("jobid=1 timelimit=+30"), Some(30));
    assert_eq!(more("jobid=1 timelimit+=30"), Some(30));
    assert_eq!(more("jobid=1 timelimit=-1:00:00"), Some(-60));
    assert_eq!(changes("jobid=1 priority=0").unwrap().hold, Some(true));
    assert_eq!(changes("jobid=1 nice=5").unwrap().request.priority, Some(-5));
    let request = changes("jobid=1 starttime=now+60 reqnodelist=c[1-2] dependency= nice").unwrap();
    let request = serde_json::to_value(&request.request).unwrap();
    assert_eq!(request["begin_ms"], 1_795_440_060_000_i64);
    assert_eq!(request["only_nodes"], serde_json::json!(["c1", "c2"]));
    assert_eq!(
        (&request["dependencies"], &request["priority"]),
        (&serde_json::json!([]), &(-100).into())
    );
    let request = changes("jobid=1 features=x&(a|b)").unwrap().request;
    assert_eq!(request.features, Some(vec!["x".to_owned()]));
    let choices = ["a", "b"].map(|name| vec![name.to_owned()]).to_vec();
    assert_eq!((request.feature_choices, request.same_choice), (Some(choices), Some(false)));
    let refused = |line: &str| changes(line).unwrap_err().lines.join("|");
    assert_eq!(refused("jobid=1 features=a*2"), "Invalid feature specification");
    assert_eq!(
        refused("jobid=1 foo=2"),
        "Update of this parameter is not supported: foo=2|Request aborted"
    );
    assert_eq!(refused("jobid=1"), "No changes specified");
    assert_eq!(refused("jobid=1 timelimit=x"), "scontrol: error: Invalid TimeLimit value");
    assert_eq!(moved(Some(3_600_000), -30).unwrap(), 1_800_000);
    assert!(moved(None, 30).is_err());
    assert!(moved(Some(3_600_000), -60).is_err());
}

#[test]
fn no_requeue_is_held_against_scripts_only() {
    let mut job = made_up::running(7);
    assert!(!verbs::said_never_again(&job));
    job.requeue = false;
    assert!(verbs::said_never_again(&job));
    job.kind = pcluster_model::JobKind::Allocation;
    assert!(!verbs::said_never_again(&job));
}

#[test]
fn verbs_may_be_shortened() {
    let cases = [
        ("show", Some("show")),
        ("sho", Some("show")),
        ("SHOW", Some("show")),
        ("upd", Some("update")),
        ("requeue", Some("requeue")),
        ("requeuehold", Some("requeuehold")),
        ("rel", Some("release")),
        ("hold", Some("hold")),
        ("bogus", None),
        ("", None),
    ];
    for (word, verb) in cases {
        assert_eq!(verbs::named(word), verb, "{word}");
    }
}
