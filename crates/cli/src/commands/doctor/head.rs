//! What a running head knows, as findings: its own words of what needs attention, sorted by topic, with
//! what helps.
use crate::text::{counted, size_words};
use pcluster_api::{Finding, NodeList, NodeView, StatusView, Topic};
use pcluster_model::DurationMs;
use pcluster_model::units::span_words;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// A list of the provider that is older than so many sweeps is not read any more.
const SWEEPS: u64 = 10;
/// And no list is old before this, in milliseconds.
const OLD: u64 = 5 * 60 * 1000;

fn since(at_ms: i64, now_ms: i64) -> DurationMs {
    DurationMs(u64::try_from(now_ms.saturating_sub(at_ms)).unwrap_or(0))
}

/// Everything that the head says. `own` is the version of this command.
#[must_use]
pub fn of_status(status: &StatusView, nodes: Option<&NodeList>, own: &str) -> Vec<Finding> {
    let up = span_words(since(status.started_at_ms, status.now_ms));
    let what =
        format!("it answers: process {}, up {up}, {}", status.pid, size_words(status.memory_bytes));
    let mut found = vec![Finding::ok(Topic::Head, what)];
    if status.version != own {
        let what = format!("the head is of version {}, this command of {own}", status.version);
        let other =
            Finding::attention(Topic::Head, what).why("new programs were installed while it ran");
        found.push(
            other.hint(format!("kill -TERM {}; pcluster up    jobs run on meanwhile", status.pid)),
        );
    }
    if status.phase != "up" {
        let what = "the cluster goes down: it takes no new jobs";
        found.push(Finding::note(Topic::Head, what).hint("pcluster status"));
    }
    let nodes = nodes.map_or(&[][..], |list| &list.nodes);
    let failed: Vec<&NodeView> = nodes.iter().filter(|node| node.state == "failed").collect();
    found.extend(failed.iter().map(|node| did_not_boot(node)));
    let told = |label: &str| failed.iter().any(|node| node.name == label);
    let of = |label: &str| nodes.iter().find(|node| node.name == label);
    let attention = status.attention.iter().filter(|(label, _)| !told(label));
    found.extend(attention.map(|(label, text)| said(label, text, of(label))));
    found.extend(status.notes.iter().map(|note| Finding::note(Topic::Machine, note.clone())));
    if found.iter().all(|one| one.topic != Topic::Provider) {
        let ready = nodes.iter().filter(|node| node.connected).count();
        let ready = counted(ready as u64, "node");
        let what = format!("no boot failed in the last hour, nothing rests; {ready} connected");
        found.push(Finding::ok(Topic::Provider, what));
    }
    found
}

/// One line of the head's own attention, which has its topic by what it is about.
fn said(label: &str, text: &str, node: Option<&NodeView>) -> Finding {
    let attention = |topic, what: String| Finding::attention(topic, what);
    match (label, node) {
        ("head", _) => attention(Topic::Head, text.to_owned()).hint("pcluster nodes"),
        ("budget", _) => attention(Topic::Provider, text.to_owned())
            .why("at the cap nothing is launched or placed")
            .hint("[budget] month = \"$…\"    or wait for the next month"),
        ("disk", _) => attention(Topic::Storage, format!("the disk of the state: {text}"))
            .hint("pcluster doctor machine    says which disk it is"),
        ("launches", _) => attention(Topic::Provider, text.to_owned()),
        (name, Some(node)) if node.why.is_some() && node.state != "draining" && node.connected => {
            attention(Topic::Storage, format!("{name} {text}"))
                .why("it takes jobs again by itself when the path is well")
                .hint(format!("pcluster node show {name}"))
        }
        (name, Some(_)) => attention(Topic::Provider, format!("{name} {text}"))
            .hint(format!("pcluster why node:{name}")),
        (name, None) => {
            let mut lines = text.lines();
            let mut found =
                attention(Topic::Provider, format!("{name}: {}", lines.next().unwrap_or_default()));
            found
                .hints
                .extend(lines.filter_map(|line| line.strip_prefix("hint: ")).map(str::to_owned));
            found.hint("pcluster why JOB    of a job that waits for it says what would help")
        }
    }
}

fn did_not_boot(node: &NodeView) -> Finding {
    let why = node.why.as_deref().unwrap_or("it is gone, and nobody knows why");
    let mut found =
        Finding::attention(Topic::Provider, format!("{} did not boot: {why}", node.name));
    if let Some(last) = &node.last_line {
        found = found.why(format!("its last line: {last}"));
    }
    found = found.hint(format!("pcluster node log {}", node.name));
    let words = format!("{why} {}", node.last_line.as_deref().unwrap_or_default()).to_lowercase();
    let network = ["timed out", "connect", "unreachable", "mount", "resolve", "no route"];
    if network.iter().any(|word| words.contains(word)) {
        found = found.hint("pcluster doctor network storage");
    }
    found
}

/// How old the provider's own list is: without it nobody knows what is billed.
#[must_use]
pub fn of_list(status: &StatusView, sweep: DurationMs) -> Option<Finding> {
    let Some(at) = status.listed_at_ms else {
        return Some(Finding::note(Topic::Provider, "the provider's list was not read yet"));
    };
    let age = since(at, status.now_ms);
    let what = format!(
        "the provider's list is {} old: {}, {} unknown here",
        span_words(age),
        counted(u64::from(status.instances_listed), "machine"),
        status.instances_unknown
    );
    if age.0 <= (sweep.0 * SWEEPS).max(OLD) {
        return Some(Finding::ok(Topic::Provider, what));
    }
    Some(
        Finding::attention(Topic::Provider, what)
            .why("what has ended or was never known is not noticed, and bills on")
            .hint("pcluster status    says why it cannot be read"),
    )
}

/// The file was changed since the head has read it.
#[must_use]
pub fn of_older_file(status: &StatusView, file: &Path) -> Option<Finding> {
    let changed = std::fs::metadata(file).and_then(|seen| seen.modified()).ok()?;
    let changed = changed.duration_since(UNIX_EPOCH).ok()?.as_millis();
    (i64::try_from(changed).unwrap_or(0) > status.started_at_ms).then(|| {
        let what = "the file was changed since the head started";
        Finding::note(Topic::Config, what)
            .why("what the head has not read yet has no effect")
            .hint(format!("kill -HUP {}    lets it read the file", status.pid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_api::Level;
    use serde_json::json;

    fn status(attention: serde_json::Value) -> StatusView {
        serde_json::from_value(json!({
            "schema": "pcluster.status/1", "cluster": "lab", "cluster_id": "0", "provider": "process",
            "version": "0.1.0", "pid": 7, "started_at_ms": 0, "now_ms": 1_000_000, "config_file": "/c",
            "state_dir": "/s", "phase": "up", "node_address": "127.0.0.1:1", "cpu_percent": 0,
            "memory_bytes": 1 << 20, "disk_free_bytes": 0, "jobs_running": 0, "jobs_starting": 0,
            "jobs_queued": 0, "jobs_held": 0, "jobs_done_this_month": 0, "nodes_busy": 0,
            "nodes_idle": 0, "nodes_booting": 0, "nodes_max": 2, "nodes_failed_last_hour": 0,
            "price_per_hour_micro_usd": 0, "month_micro_usd": 0, "instances_listed": 2,
            "instances_unknown": 1, "listed_at_ms": 900_000, "attention": attention, "notes": []
        }))
        .unwrap()
    }

    fn node(name: &str, state: &str, why: &str, last: Option<&str>) -> NodeView {
        serde_json::from_value(json!({
            "name": name, "id": "1.0", "pool": "compute", "state": state, "shape": "1c", "image": "host",
            "spot": false, "cpus_used": 0, "cpus": 1, "memory_used_bytes": 0, "memory_bytes": 0,
            "gpus_used": 0, "gpus": 0, "wanted_at_ms": 0, "jobs": [], "why": why, "cost_micro_usd": 0,
            "connected": state != "failed", "last_line": last
        }))
        .unwrap()
    }

    fn list(nodes: Vec<NodeView>) -> NodeList {
        NodeList {
            schema: String::new(),
            now_ms: 0,
            nodes,
            price_per_hour_micro_usd: 0,
            standing_per_hour_micro_usd: 0,
            unknown_prices: 0,
        }
    }

    fn troubles(found: &[Finding]) -> Vec<(Topic, &str)> {
        let wrong = found.iter().filter(|one| one.level == Level::Attention);
        wrong.map(|one| (one.topic, one.what.as_str())).collect()
    }

    #[test]
    fn a_well_head_of_another_version_is_to_be_started_again() {
        assert_eq!(troubles(&of_status(&status(json!([])), None, "0.1.0")), []);
        let found = of_status(&status(json!([])), None, "0.2.0");
        assert_eq!(
            troubles(&found),
            [(Topic::Head, "the head is of version 0.1.0, this command of 0.2.0")]
        );
        assert!(found[1].hints[0].starts_with("kill -TERM 7; pcluster up"), "{found:?}");
    }

    #[test]
    fn a_node_that_did_not_boot_is_told_once_with_its_last_line() {
        let failed = node(
            "compute-6",
            "failed",
            "no progress for 3 min in \"mount /shared\"",
            Some("mount.nfs: Connection timed out"),
        );
        let status = status(json!([["compute-6", "did not boot: no progress"]]));
        let found = of_status(&status, Some(&list(vec![failed])), "0.1.0");
        let what = "compute-6 did not boot: no progress for 3 min in \"mount /shared\"";
        assert_eq!(troubles(&found), [(Topic::Provider, what)]);
        let of_node = found.iter().find(|one| one.level == Level::Attention).unwrap();
        assert_eq!(of_node.why, "its last line: mount.nfs: Connection timed out");
        assert_eq!(
            of_node.hints,
            ["pcluster node log compute-6", "pcluster doctor network storage"]
        );
    }

    #[test]
    fn attention_has_its_topic_by_what_it_is_about() {
        let idle = node("compute-7", "idle", "takes no new jobs: /data is full", None);
        let status = status(json!([
            ["disk", "100 MB free: new jobs are refused"],
            ["compute-7", "takes no new jobs: /data is full"],
            ["gpu", "no g5: no more; next try at 12:00"]
        ]));
        let found = of_status(&status, Some(&list(vec![idle])), "0.1.0");
        let topics: Vec<Topic> = troubles(&found).into_iter().map(|(topic, _)| topic).collect();
        assert_eq!(topics, [Topic::Storage, Topic::Storage, Topic::Provider]);
    }

    #[test]
    fn a_list_that_is_not_read_any_more_is_told() {
        let sweep = DurationMs(60_000);
        let young = status(json!([]));
        assert_eq!(of_list(&young, sweep).unwrap().level, Level::Ok);
        let old = StatusView { now_ms: 900_000 + 11 * 60_000, ..young };
        assert_eq!(of_list(&old, sweep).unwrap().level, Level::Attention);
    }
}
