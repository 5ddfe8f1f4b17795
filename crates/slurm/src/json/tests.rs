//! The shapes that programs read.
use super::*;
use crate::accounting::sacct::rows::{Setting, of};
use crate::queue::squeue::View;
use crate::words::made_up;
use std::sync::Arc;

fn view() -> View {
    View { clock: made_up::clock(), cluster: "refc".into(), mebibytes: false }
}

#[test]
fn a_job_of_the_queue_has_what_programs_read() {
    let value = job(&made_up::running(146), &view());
    for (name, expected) in [
        ("job_id", json!(146)),
        ("job_state", json!(["RUNNING"])),
        ("state_reason", json!("None")),
        ("user_name", json!("root")),
        ("partition", json!("main")),
        ("nodes", json!("c1")),
        ("node_count", json!({ "set": true, "infinite": false, "number": 1 })),
        ("cpus", json!({ "set": true, "infinite": false, "number": 2 })),
        ("memory_per_node", json!({ "set": true, "infinite": false, "number": 200 })),
        ("memory_per_cpu", json!({ "set": false, "infinite": false, "number": 0 })),
        ("time_limit", json!({ "set": true, "infinite": false, "number": 5 })),
        ("start_time", json!({ "set": true, "infinite": false, "number": 1_795_476_320 })),
        ("array_job_id", json!({ "set": true, "infinite": false, "number": 0 })),
        ("standard_output", json!("/home/user/work/slurm-146.out")),
        ("tres_alloc_str", json!("cpu=2,mem=200M,node=1,billing=2")),
    ] {
        assert_eq!(value[name], expected, "{name}");
    }
    assert_eq!(value["job_resources"]["allocated_nodes"][0]["nodename"], "c1");
    // As many keys as the real one has.
    assert_eq!(value.as_object().expect("an object").len(), 130);
}

#[test]
fn ends_say_code_and_signal() {
    let value = job(&made_up::ended(9, "failed", Some(3), None), &view());
    assert_eq!(value["exit_code"]["status"], json!(["ERROR"]));
    assert_eq!(value["exit_code"]["return_code"]["number"], 3);
    let value = job(&made_up::ended(9, "failed", None, Some(9)), &view());
    assert_eq!(value["exit_code"]["signal"]["name"], "KILL");
    let value = job(&made_up::array_rest(148, "2-9", Some(2)), &view());
    assert_eq!(value["array_task_string"], "2-9");
    assert_eq!(value["exit_code"]["status"], json!(["PENDING"]));
}

#[test]
fn an_accounted_job_carries_its_steps() {
    let setting = Arc::new(Setting { view: view(), unit: None, truncate: None });
    let mut record = made_up::ended(146, "cancelled", None, Some(15));
    let told = Some(made_up::step_usage());
    record.steps = vec![pcluster_api::StepRecord { usage: told, ..made_up::step(0) }];
    let value = accounted_job(&of(record, true, &setting));
    assert_eq!(value["state"]["current"], json!(["CANCELLED"]));
    assert_eq!(value["kill_request_user"], "root");
    assert_eq!(value["time"]["elapsed"], 5);
    assert_eq!(value["time"]["total"], json!({ "seconds": 1, "microseconds": 234_000 }));
    let ids: Vec<&str> = value["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|s| s["step"]["id"].as_str())
        .collect();
    assert_eq!(ids, ["146.batch", "146.0"]);
    assert_eq!(value["steps"][1]["tasks"]["count"], 2);
    let used = |at: usize| &value["steps"][at]["tres"]["requested"];
    assert_eq!(
        used(1)["max"],
        json!([{ "type": "mem", "name": "", "id": 2, "count": 2 << 20, "node": "c1", "task": 1 }])
    );
    assert_eq!(used(1)["min"][0]["count"], 300);
    assert_eq!(
        (&used(1)["average"][1]["count"], &used(1)["total"][1]["count"]),
        (&json!(3 << 19), &json!(3 << 20))
    );
    assert_eq!(used(0)["max"][0]["count"], 12_345 << 10);
    assert_eq!(
        value["tres"]["allocated"][1],
        json!({ "type": "mem", "name": "", "id": 2, "count": 200 })
    );
}

#[test]
fn nodes_and_partitions_have_what_programs_read() {
    let list = made_up::pools();
    let value = node(&list.pools[0].nodes[0], &["main", "short"], "refc", &made_up::clock());
    assert_eq!((&value["state"], &value["alloc_cpus"]), (&json!(["MIXED"]), &json!(3)));
    assert_eq!(
        (&value["real_memory"], &value["partitions"]),
        (&json!(6000), &json!(["main", "short"]))
    );
    let value = partition(&list.pools[1], "refc");
    assert_eq!(value["maximums"]["time"], json!({ "set": true, "infinite": false, "number": 30 }));
    assert_eq!((&value["nodes"]["configured"], &value["cpus"]["total"]), (&json!("c1"), &json!(4)));
}

#[test]
fn an_answer_says_who_made_it() {
    let text = answer("refc", &["squeue".into(), "--json".into()], vec![("jobs", json!([]))]);
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        value["meta"]["slurm"]["version"],
        json!({ "major": "23", "micro": "10", "minor": "11" })
    );
    assert_eq!(value["meta"]["Slurm"]["version"]["major"], 23);
    assert_eq!((&value["jobs"], &value["errors"]), (&json!([]), &json!([])));
    assert!(text.starts_with("{\n  \""), "{text}");
}
