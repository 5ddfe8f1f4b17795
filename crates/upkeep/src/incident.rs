//! One file about what happened to a job or a node, to be given to somebody who mends it: the events
//! up to the last one about it, from which every decision follows again, with names taken away.
//!
//! Invariant: the log in the file replays; the same text is the same stand-in everywhere, so what
//! depends on equal names still does. Texts that are not known to be harmless are replaced, whatever
//! key they are under. Deliberately absent: scripts, environments, output, secrets.
use crate::files::{UpkeepError, events_of};
use pcluster_core::event::Stamped;
use pcluster_core::rows::Row;
use pcluster_store::Reader;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Events at a time.
const PAGE: u32 = 4096;

/// What the file holds.
#[derive(Debug, Serialize)]
pub struct Incident {
    pub schema: &'static str,
    /// Of this program.
    pub version: &'static str,
    /// `job:42` or `node:7.0`.
    pub about: String,
    /// Of the events that are about it.
    pub numbers: Vec<u64>,
    /// Where the log is cut: the state at one number, with which a replay begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<IncidentBase>,
    /// The log from its beginning to the last of them, redacted.
    pub events: Vec<Value>,
}

/// The state after one event, as rows.
#[derive(Debug, Serialize)]
pub struct IncidentBase {
    pub seq: u64,
    pub at: i64,
    pub rows: Vec<IncidentRow>,
}

/// A row, redacted.
#[derive(Debug, Serialize)]
pub struct IncidentRow {
    pub table: String,
    pub key: String,
    pub body: Value,
}

/// Texts that say nothing about people: what a reader of the incident needs.
const PLAIN: [&str; 40] = [
    "kind",
    "pool",
    "pools",
    "shape",
    "arch",
    "image",
    "provider",
    "cage",
    "state",
    "phase",
    "node",
    "nodes",
    "launch",
    "instance",
    "boot_id",
    "memory",
    "open_mode",
    "gpu_type",
    "version",
    "class",
    "features",
    "feature_choices",
    "only_nodes",
    "not_nodes",
    "spot",
    "source",
    "names",
    "cluster",
    // Words that the log gives to states, ends and uses.
    "outcome",
    "id",
    "cause",
    "drain",
    "then",
    "exit",
    "end",
    "now",
    "readings",
    "charges",
    "accel",
    "network",
];

/// Stands for every network of nodes: it must be read as one.
const SUBNET: &str = "10.87.0.0/24";

/// Gives every text the same stand-in wherever it comes.
#[derive(Debug, Default)]
struct Redactor {
    known: BTreeMap<(&'static str, String), usize>,
}

impl Redactor {
    fn stand_in(&mut self, kind: &'static str, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let next = self.known.len() + 1;
        let number = *self.known.entry((kind, text.to_owned())).or_insert(next);
        match kind {
            // Hashes stay hashes, and absolute paths absolute.
            "hash" => format!("{number:064x}"),
            "path" => format!("/redacted/{number}"),
            _ => format!("{kind}-{number}"),
        }
    }

    fn text(&mut self, key: &str, text: &str) -> String {
        match key {
            _ if PLAIN.contains(&key) => text.to_owned(),
            "user" | "by" | "held_by" | "admins" | "owner" => self.stand_in("user", text),
            "subnet" => SUBNET.to_owned(),
            "script" | "environment" => self.stand_in("hash", text),
            "work_dir" | "submit_dir" | "output" | "error" | "input" | "path" => {
                self.stand_in("path", text)
            }
            _ => self.stand_in("text", text),
        }
    }

    fn value(&mut self, key: &str, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(key, text),
            // Who it was is no number of theirs, either; 0 decides what is allowed.
            Value::Number(number) if matches!(key, "uid" | "gid") => {
                let text = number.to_string();
                if text != "0" {
                    let next = self.known.len() + 1;
                    let number = *self.known.entry(("id", text)).or_insert(next);
                    *value = Value::from(60_000 + number);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(key, item)),
            Value::Object(fields) if key == "held" && fields.values().all(Value::is_array) => {
                // Tasks that are held, by who holds them.
                let held = std::mem::take(fields).into_iter();
                fields.extend(held.map(|(by, tasks)| (self.stand_in("user", &by), tasks)));
            }
            Value::Object(fields) => {
                // Pools, images and shapes are known by their names.
                let known = matches!(key, "pools" | "images" | "shapes" | "shape");
                for (key, value) in fields {
                    self.value(if known && key == "name" { "pool" } else { key }, value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// The incident of a job or a node. A head may be running.
///
/// # Errors
/// Nothing ever happened to it, or the log cannot be read.
pub fn incident(state: &Path, about: &str) -> Result<Incident, UpkeepError> {
    let reader = Reader::open(&events_of(state)?)?;
    let about = subject(about);
    let numbers: Vec<u64> =
        reader.events_about(&about, u32::MAX)?.iter().map(|stamped| stamped.seq).collect();
    let Some(last) = numbers.last().copied() else {
        let text = format!("nothing ever happened to {about} here; 42 is a job, 7.0 a node");
        return Err(UpkeepError::Wrong(text));
    };
    let mut redactor = Redactor::default();
    let mut events = Vec::new();
    let base = reader.base()?.map(|(seq, at, rows)| {
        let rows = rows.into_iter().map(|row| redacted_row(&mut redactor, row));
        Ok::<_, UpkeepError>(IncidentBase { seq, at: at.0, rows: rows.collect::<Result<_, _>>()? })
    });
    let base = base.transpose()?;
    let mut after = 0;
    while after < last {
        let page = reader.events(after, PAGE)?;
        let Some(end) = page.last() else { break };
        after = end.seq;
        for stamped in page.iter().take_while(|stamped| stamped.seq <= last) {
            events.push(redacted(&mut redactor, stamped)?);
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    Ok(Incident { schema: "pcluster.incident.v1", version, about, numbers, base, events })
}

/// `42` is a job, `7.0` a node, `cluster` the whole; tasks belong to their job.
fn subject(text: &str) -> String {
    if text.contains(':') || text == "cluster" {
        return text.to_owned();
    }
    if text.contains('.') { format!("node:{text}") } else { format!("job:{}", head(text)) }
}

fn head(text: &str) -> &str {
    text.split('_').next().unwrap_or(text)
}

fn redacted_row(redactor: &mut Redactor, row: Row) -> Result<IncidentRow, UpkeepError> {
    let failed = |error: serde_json::Error| UpkeepError::Wrong(error.to_string());
    let mut body = serde_json::from_str(&row.body).map_err(failed)?;
    redactor.value("", &mut body);
    Ok(IncidentRow { table: row.table, key: row.key, body })
}

fn redacted(redactor: &mut Redactor, stamped: &Stamped) -> Result<Value, UpkeepError> {
    let failed = |error: serde_json::Error| UpkeepError::Wrong(error.to_string());
    let mut value = serde_json::to_value(stamped).map_err(failed)?;
    redactor.value("", &mut value);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::Redactor;
    use pcluster_model::config::{Vm, VmAccel, VmNetwork};
    use serde_json::json;

    #[test]
    fn what_decisions_hang_on_stays_and_the_rest_is_replaced() {
        let mut value = json!({
            "name": "lab of ana",
            "admins": ["ana", "root"],
            "pools": [{"name": "main", "image": "host", "shapes": [{"name": "2c"}]}],
            "owner": {"user": "ana", "uid": 1000, "gid": 0},
            "spec": {"name": "secret", "features": ["fast"], "args": ["--key", "x"], "work_dir": "/home/ana"},
            "key": "ana",
        });
        let mut redactor = Redactor::default();
        redactor.value("", &mut value);
        let kept = |at: &str| value.pointer(at).unwrap().as_str().unwrap().to_owned();
        assert_eq!(kept("/pools/0/name") + &kept("/pools/0/shapes/0/name"), "main2c");
        assert_eq!(kept("/spec/features/0"), "fast");
        assert_eq!(kept("/admins/0"), kept("/owner/user"));
        assert_ne!(kept("/admins/0"), kept("/admins/1"));
        assert_eq!(value["owner"]["gid"], 0);
        assert!(kept("/spec/work_dir").starts_with("/redacted/"));
        let text = value.to_string();
        for word in ["ana", "secret", "--key", "1000"] {
            assert!(!text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn a_configuration_of_machines_on_a_bridge_is_read_again_without_its_names() {
        let network = VmNetwork::Bridge {
            bridge: Some("lab0".into()),
            subnet: "10.1.2.0/24".parse().unwrap(),
        };
        let kernel = Some(("/srv/vmlinuz".into(), "/srv/modules".into()));
        let vm = Vm { accel: VmAccel::Kvm, network, kernel };
        let mut value = serde_json::to_value(&vm).unwrap();
        Redactor::default().value("vm", &mut value);
        let text = value.to_string();
        assert!(
            !text.contains("lab0") && !text.contains("10.1.2.0") && !text.contains("/srv"),
            "{text}"
        );
        let again: Vm = serde_json::from_value(value).unwrap();
        assert_eq!(again.accel, VmAccel::Kvm);
        assert!(matches!(again.network, VmNetwork::Bridge { .. }));
    }
}
