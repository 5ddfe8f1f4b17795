//! What is kept of nodes whose boot failed: the reason, the timeline, what the agent said, and the
//! machine's console, to be looked at long after the machine is gone.
//!
//! Invariant: bounded in number and bytes, the oldest go first; one bundle for each node, whole or not
//! at all. Deliberately absent: who may look (the HTTP room), and fetching a console (`hands`).
use crate::clock::Clock;
use crate::limits;
use crate::logs::{BootLogs, clean};
use crate::mirror::Mirror;
use pcluster_api::NodeDetail;
use pcluster_core::event::StopCause;
use pcluster_core::input::Principal;
use pcluster_core::node::NodeState;
use pcluster_model::NodeId;
use pcluster_views::{Cx, node as nodes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One failed boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    pub node: NodeId,
    pub kept_at_ms: i64,
    /// As `node show` had it then; its log is what the agent has said.
    pub detail: NodeDetail,
    /// The end of the machine's console.
    #[serde(default)]
    pub console: Vec<String>,
    /// Why there is no console.
    #[serde(default)]
    pub no_console: Option<String>,
}

/// The line above what a machine itself has said.
pub const CONSOLE_HEADING: &str = "--- the console of its machine";

impl Bundle {
    /// Takes the console in: the end of it, without what terminals obey.
    pub fn set_console(&mut self, console: Result<String, String>) {
        match console {
            Ok(text) => {
                let mut from = text.len().saturating_sub(limits::CONSOLE_BYTES);
                while !text.is_char_boundary(from) {
                    from += 1;
                }
                self.console = text[from..].lines().map(clean).collect();
            }
            Err(why) => self.no_console = Some(clean(&why)),
        }
    }

    /// The last words: of the agent, else of the machine.
    #[must_use]
    pub fn last_line(&self) -> Option<&str> {
        let spoken = |lines: &'_ [String]| lines.iter().rposition(|line| !line.trim().is_empty());
        let agent = spoken(&self.detail.log).map(|at| self.detail.log[at].as_str());
        agent.or_else(|| spoken(&self.console).map(|at| self.console[at].as_str()))
    }

    /// All of it as lines.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let node = &self.detail.node;
        let why = node.why.as_deref().unwrap_or("it failed");
        let mut lines = vec![format!("{} did not boot: {why}", node.name)];
        lines.push("--- what its agent has said".into());
        lines.extend(self.detail.log.iter().cloned());
        lines.push(CONSOLE_HEADING.into());
        lines.extend(self.no_console.iter().map(|why| format!("there is none: {why}")));
        lines.extend(self.console.iter().cloned());
        lines
    }
}

/// What is known of a bundle without reading it.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    kept_at_ms: i64,
    bytes: u64,
    last_line: Option<String>,
}

/// All bundles. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bundles {
    folder: Arc<Path>,
    index: Arc<Mutex<BTreeMap<NodeId, Entry>>>,
}

impl Bundles {
    /// Opens the folder, or makes it. A bundle that cannot be read is none.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut index = BTreeMap::new();
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            if let Some((bundle, bytes)) = read(&path) {
                index.insert(bundle.node, entry(&bundle, bytes));
            }
        }
        Ok(Self { folder: folder.into(), index: Arc::new(Mutex::new(index)) })
    }

    fn index(&self) -> MutexGuard<'_, BTreeMap<NodeId, Entry>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, node: NodeId) -> PathBuf {
        self.folder.join(format!("{node}.json"))
    }

    /// Keeps a bundle, and lets the oldest go.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&self, bundle: &Bundle) -> io::Result<()> {
        let text = serde_json::to_vec(bundle)?;
        let path = self.path(bundle.node);
        let draft = path.with_extension("new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&draft)?.write_all(&text)?;
        fs::rename(&draft, &path)?;
        let mut index = self.index();
        index.insert(bundle.node, entry(bundle, text.len() as u64));
        while is_too_much(&index) {
            let oldest = index.iter().min_by_key(|(_, entry)| entry.kept_at_ms);
            let Some((node, _)) = oldest.map(|(node, entry)| (*node, entry.bytes)) else { break };
            index.remove(&node);
            match fs::remove_file(self.path(node)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Whether there is one of this node.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.index().contains_key(&node)
    }

    /// The last words of a node whose boot failed.
    #[must_use]
    pub fn last_line(&self, node: NodeId) -> Option<String> {
        self.index().get(&node)?.last_line.clone()
    }

    /// That of this node.
    #[must_use]
    pub fn get(&self, node: NodeId) -> Option<Bundle> {
        self.has(node).then(|| read(&self.path(node))).flatten().map(|(bundle, _)| bundle)
    }

    /// By the name or id of the node, also with `node:` before it.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<Bundle> {
        let bare = text.strip_prefix("node:").unwrap_or(text);
        let named = || {
            let index = self.index();
            index.iter().find(|(_, entry)| entry.name == bare).map(|(node, _)| *node)
        };
        let node = bare.parse::<NodeId>().ok().or_else(named)?;
        self.get(node)
    }
}

fn is_too_much(index: &BTreeMap<NodeId, Entry>) -> bool {
    let bytes: u64 = index.values().map(|entry| entry.bytes).sum();
    index.len() > 1 && (index.len() > limits::BUNDLES || bytes > limits::BUNDLES_BYTES)
}

fn entry(bundle: &Bundle, bytes: u64) -> Entry {
    Entry {
        name: bundle.detail.node.name.clone(),
        kept_at_ms: bundle.kept_at_ms,
        bytes,
        last_line: bundle.last_line().map(str::to_owned),
    }
}

fn read(path: &Path) -> Option<(Bundle, u64)> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return None;
    }
    let text = fs::read(path).ok()?;
    Some((serde_json::from_slice(&text).ok()?, text.len() as u64))
}

/// What a bundle is made from. Cheap to clone.
#[derive(Clone)]
pub struct Keeping {
    mirror: Mirror,
    pub clock: Clock,
    boot_logs: BootLogs,
    bundles: Bundles,
}

impl Keeping {
    /// From these.
    #[must_use]
    pub fn new(mirror: &Mirror, clock: &Clock, boot_logs: &BootLogs, bundles: &Bundles) -> Self {
        Self {
            mirror: mirror.clone(),
            clock: clock.clone(),
            boot_logs: boot_logs.clone(),
            bundles: bundles.clone(),
        }
    }

    /// All but the console of a node whose boot has failed; `None` for another node, and for one
    /// of which there is a bundle.
    #[must_use]
    pub fn begin(&self, id: NodeId) -> Option<Bundle> {
        if self.bundles.has(id) {
            return None;
        }
        let cluster = self.mirror.read();
        let node = cluster.nodes.get(&id)?;
        let failed = |cause: &StopCause| matches!(cause, StopCause::BootFailed { .. });
        let is_failed = match &node.state {
            NodeState::Stopping { cause, .. } | NodeState::Gone { cause, .. } => failed(cause),
            _ => false,
        };
        if !is_failed {
            return None;
        }
        // Whoever reads it later has been found to be allowed.
        let reader = Principal { user: "root".into(), uid: 0, gid: 0, admin: true };
        let cx = Cx { cluster: &cluster, now: self.clock.now(), reader: &reader };
        let mut detail = nodes::detail(&cx, node, self.boot_logs.last(id));
        detail.node.state = "failed".into();
        let (kept_at_ms, console) = (detail.now_ms, Vec::new());
        Some(Bundle { node: id, kept_at_ms, detail, console, no_console: None })
    }

    /// Keeps it; trouble with the disk is told, and nothing waits for it.
    pub async fn finish(&self, bundle: Bundle) {
        let (bundles, node) = (self.bundles.clone(), bundle.node);
        let kept = tokio::task::spawn_blocking(move || bundles.keep(&bundle)).await;
        if let Ok(Err(error)) = kept {
            tracing::warn!(%node, %error, "what is known of a failed boot cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use pcluster_model::LaunchId;

    fn bundle(number: u32, bytes: usize) -> Bundle {
        let detail = serde_json::json!({
            "schema": "pcluster.node/1", "now_ms": 0, "timeline": [[1, "launch asked"]],
            "facts": [], "log": ["mounting /shared"],
            "node": {
                "name": format!("compute-{number}"), "id": format!("{number}.0"), "pool": "compute",
                "state": "failed", "shape": "2c", "image": "host", "spot": false, "instance": null,
                "cpus_used": 0, "cpus": 2, "memory_used_bytes": 0, "memory_bytes": 0,
                "gpus_used": 0, "gpus": 0, "price_per_hour_micro_usd": null, "wanted_at_ms": 1,
                "launched_at_ms": null, "ready_at_ms": null, "gone_at_ms": null, "phase": null,
                "phase_since_ms": null, "stops_at_ms": null, "jobs": [], "why": "no progress",
                "cost_micro_usd": 0, "connected": false,
            },
        });
        let node = NodeId { launch: LaunchId(number.into()), index: 0 };
        let detail = serde_json::from_value(detail).unwrap();
        let kept_at_ms = i64::from(number);
        let mut bundle = Bundle { node, kept_at_ms, detail, console: Vec::new(), no_console: None };
        bundle.set_console(Ok("x".repeat(bytes) + "\n\u{1b}[2Jpanic\n"));
        bundle
    }

    #[test]
    fn a_bundle_is_found_by_name_and_id_after_a_restart() {
        let scratch = Scratch::new("bundles");
        let kept = bundle(3, 10);
        Bundles::open(scratch.path()).unwrap().keep(&kept).unwrap();
        let bundles = Bundles::open(scratch.path()).unwrap();
        assert_eq!(bundles.find("node:compute-3"), Some(kept.clone()));
        assert_eq!(bundles.find("3.0"), Some(kept));
        assert_eq!(bundles.find("compute-4"), None);
        let lines = bundles.find("compute-3").unwrap().lines();
        assert_eq!(lines[0], "compute-3 did not boot: no progress");
        assert_eq!(lines.last().unwrap(), "\u{fffd}[2Jpanic", "terminals obey nothing of it");
        let node = NodeId { launch: LaunchId(3), index: 0 };
        assert_eq!(bundles.last_line(node).as_deref(), Some("mounting /shared"));
    }

    #[test]
    fn the_oldest_go_first() {
        let scratch = Scratch::new("bundles-most");
        let bundles = Bundles::open(scratch.path()).unwrap();
        let most = u32::try_from(limits::BUNDLES).unwrap();
        (0..most + 2).for_each(|number| bundles.keep(&bundle(number, 10)).unwrap());
        assert!(bundles.find("compute-1").is_none() && bundles.find("compute-2").is_some());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), limits::BUNDLES);
        let large = limits::CONSOLE_BYTES * 2;
        (0..most).for_each(|number| bundles.keep(&bundle(most + 2 + number, large)).unwrap());
        let bytes: u64 = fs::read_dir(scratch.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert!(bytes <= limits::BUNDLES_BYTES, "{bytes}");
        assert!(bundles.find(&format!("compute-{}", 2 * most + 1)).is_some(), "the newest stays");
    }
}
