//! Copies, checks and rebuilds of a state with a job, made by the store itself.
use crate::files::{EVENTS, SMALL};
use crate::incident::{Incident, IncidentRow};
use crate::{Lock, UpkeepError, backup, incident, rebuild, restore, verify};
use pcluster_core::Cluster;
use pcluster_core::event::{Event, Stamped};
use pcluster_core::job::Owner;
use pcluster_core::rows::{PAST, Row, RowChange};
use pcluster_model::{BlobHash, ClusterId, JobId, JobSpec, Timestamp};
use pcluster_store::{EventStore, Pruner};
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pcluster-upkeep-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const ID: &str = "0123456789abcdef";

fn private(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn blob(state: &Path, bytes: &[u8]) -> BlobHash {
    let hash = BlobHash(Sha256::digest(bytes).into());
    let name = hash.to_string();
    let folder = state.join("blobs").join(&name[..2]);
    fs::create_dir_all(&folder).unwrap();
    private(&folder.join(name), bytes);
    hash
}

/// A state directory with `jobs` jobs; the store stays open, as a head's does.
fn state(folder: &Path, jobs: u64) -> EventStore {
    fs::create_dir(folder).unwrap();
    for name in SMALL {
        private(&folder.join(name), if name == "cluster-id" { ID.as_bytes() } else { b"secret" });
    }
    let (script, environment) = (blob(folder, b"#!/bin/sh\n"), blob(folder, b"A=1\0"));
    let (mut store, _) = EventStore::open(&folder.join(EVENTS)).unwrap();
    let mut cluster = Cluster::new(ClusterId(ID.into()));
    let mut events = vec![Event::ClusterCreated { cluster: ClusterId(ID.into()) }];
    events.extend((1..=jobs).map(|job| Event::JobSubmitted {
        job: JobId(job),
        owner: Owner { user: "ana".into(), uid: 1000, gid: 1000 },
        pool: "main".into(),
        spec: Box::new(JobSpec {
            name: format!("j{job}"),
            script,
            environment,
            ..JobSpec::default()
        }),
        key: None,
    }));
    let at = Timestamp(1_700_000_000_000);
    let events: Vec<Stamped> =
        (1..).zip(events).map(|(seq, event)| Stamped { seq, at, event }).collect();
    events.iter().for_each(|stamped| cluster.apply(stamped));
    store.commit(&events, &cluster.all_rows()).unwrap();
    store
}

#[test]
fn a_copy_of_a_state_that_is_in_use_is_the_same_state() {
    let scratch = Scratch::new();
    let (from, to) = (scratch.path("state"), scratch.path("copy"));
    let _running = state(&from, 3);
    let _head = Lock::take(&from).unwrap();
    fs::write(from.join("blobs").join(".draft"), "half").unwrap();
    let report = backup(&from, &to).unwrap();
    assert_eq!((report.jobs, report.blobs, report.events, report.wrong.len()), (3, 2, 4, 0));
    assert_eq!(report, verify(&from).unwrap());
    assert_eq!(report.cluster_id, ID);
    assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata(to.join(EVENTS)).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!to.join("head.lock").exists());
    assert!(matches!(backup(&from, &to), Err(UpkeepError::Exists(_))));
}

#[test]
fn a_copy_comes_back_and_its_log_goes_on() {
    let scratch = Scratch::new();
    let (from, copy, back) = (scratch.path("state"), scratch.path("copy"), scratch.path("x/back"));
    drop(state(&from, 2));
    backup(&from, &copy).unwrap();
    // Machines of the process provider lie beside the state.
    fs::create_dir_all(back.join("nodes")).unwrap();
    restore(&copy, &back).unwrap();
    assert!(back.join("nodes").is_dir() && back.join("blobs").is_dir());
    let left = fs::read_dir(&back).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(
        !left.map(|name| name.to_string_lossy().into_owned()).any(|name| name.contains(".restore"))
    );
    let (mut store, loaded) = EventStore::open(&back.join(EVENTS)).unwrap();
    // It says that it is a copy: numbers that the original may have given since are left out.
    assert_eq!(loaded.log_length, 4);
    let last = store.reader().unwrap().events(3, 1).unwrap().remove(0).event;
    assert!(
        matches!(last, Event::NumbersSkipped { job, .. } if job > JobId(1_000_000)),
        "{last:?}"
    );
    assert!(verify(&back).unwrap().wrong.is_empty());
    let event = Event::JobHeld { job: JobId(1), by: "ana".into(), tasks: None };
    store.commit(&[Stamped { seq: 5, at: loaded.last_at, event }], &[]).unwrap();
    assert!(matches!(restore(&copy, &back), Err(UpkeepError::Exists(_))));
    assert!(matches!(restore(&scratch.path("no"), &from), Err(UpkeepError::NoState(_))));
}

#[test]
fn what_is_wrong_is_named_and_no_copy_is_made_of_it() {
    let scratch = Scratch::new();
    let from = scratch.path("state");
    drop(state(&from, 1));
    let name = BlobHash(Sha256::digest(b"A=1\0").into()).to_string();
    private(&from.join("blobs").join(&name[..2]).join(&name), b"A=2\0");
    fs::set_permissions(from.join("secret"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::remove_file(from.join("head-key.der")).unwrap();
    private(&from.join("cluster-id"), b"fedcba9876543210");
    let wrong = verify(&from).unwrap().wrong;
    let said = |text: &str| wrong.iter().any(|line| line.contains(text));
    assert!(said("holds something else") && said("chmod 600") && said("head-key.der"), "{wrong:?}");
    assert!(said("the log is of cluster"), "{wrong:?}");
    let to = scratch.path("copy");
    assert!(matches!(backup(&from, &to), Err(UpkeepError::Wrong(_))));
    let left: Vec<_> = fs::read_dir(&scratch.0).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["state"]);
}

#[test]
fn rows_are_made_anew_from_the_log_and_only_without_a_head() {
    let scratch = Scratch::new();
    let from = scratch.path("state");
    let mut store = state(&from, 2);
    // A row that the log does not give.
    let mut rows = Cluster::new(ClusterId(ID.into())).all_rows();
    rows.iter_mut().for_each(|row| row.key.push('x'));
    store.commit(&[], &rows).unwrap();
    drop(store);
    assert!(matches!(verify(&from), Err(UpkeepError::Store(_))));
    let lock = Lock::take(&from).unwrap();
    assert!(matches!(rebuild(&from), Err(UpkeepError::Busy(_))));
    drop(lock);
    assert_eq!(rebuild(&from).unwrap().events, 3);
    assert_eq!(verify(&from).unwrap().wrong, Vec::<String>::new());
}

#[test]
fn an_incident_has_no_names_and_replays_to_the_same_states() {
    let scratch = Scratch::new();
    let from = scratch.path("state");
    drop(state(&from, 3));
    let found = incident(&from, "2_1").unwrap();
    assert_eq!((found.about.as_str(), found.numbers.as_slice()), ("job:2", &[3][..]));
    // Up to the last event about it.
    assert_eq!(found.events.len(), 3);
    let text = serde_json::to_string(&found).unwrap();
    for word in ["ana", "1000,", "\"j1\"", "\"j2\"", "#!/bin"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    let mut replayed = Cluster::new(ClusterId(ID.into()));
    for event in found.events {
        replayed.apply(&serde_json::from_value(event).unwrap());
    }
    assert_eq!(replayed.check(), Vec::<String>::new());
    let jobs: Vec<_> = replayed.jobs.values().map(|job| (job.id.0, job.pending.len())).collect();
    assert_eq!(jobs, [(1, 1), (2, 1)]);
    let owners: Vec<_> = replayed.jobs.values().map(|job| &job.owner).collect();
    assert_eq!(owners[0], owners[1], "the same stand-in for the same user");
    assert!(matches!(incident(&from, "7.0"), Err(UpkeepError::Wrong(_))));
}

/// A state with the log of a release, in which every kind of event happens; cut after this one.
fn eventful(folder: &Path, cut_at: Option<u64>) -> Cluster {
    drop(state(folder, 0));
    fs::remove_file(folder.join(EVENTS)).unwrap();
    let (mut store, _) = EventStore::open(&folder.join(EVENTS)).unwrap();
    let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/events/0.1.0.jsonl");
    let mut cluster = Cluster::new(ClusterId(ID.into()));
    for line in fs::read_to_string(log).unwrap().lines() {
        let stamped: Stamped = serde_json::from_str(line).unwrap();
        let seq = stamped.seq;
        let jobs = match &stamped.event {
            Event::JobsForgotten { jobs } => jobs.clone(),
            _ => Vec::new(),
        };
        let (before, stay) = (cluster.all_rows(), cluster.rows_of_jobs(&jobs));
        let past = jobs.iter().map(|job| RowChange {
            table: "job",
            key: job.to_string(),
            columns: vec![(PAST, seq.to_string())],
            body: None,
        });
        cluster.apply(&stamped);
        let after = cluster.all_rows();
        let is_in = |rows: &[RowChange], row: &RowChange| {
            rows.iter().any(|other| (other.table, &other.key) == (row.table, &row.key))
        };
        let gone = before.into_iter().filter(|row| !is_in(&after, row) && !is_in(&stay, row));
        let gone = gone.map(|row| RowChange { body: None, columns: Vec::new(), ..row });
        let rows: Vec<RowChange> = gone.chain(past).chain(after.clone()).collect();
        store.commit(&[stamped], &rows).unwrap();
        if cut_at == Some(seq) {
            let mut pruner = Pruner::open(&folder.join(EVENTS)).unwrap();
            assert!(pruner.prune(Timestamp(i64::MAX), |_| true).unwrap());
        }
    }
    cluster
}

/// The state at the end of an incident.
fn replayed(found: Incident) -> Cluster {
    let row = |row: IncidentRow| Row { table: row.table, key: row.key, body: row.body.to_string() };
    let mut replayed = match found.base {
        None => Cluster::new(ClusterId(ID.into())),
        Some(base) => {
            let rows = base.rows.into_iter().map(row);
            Cluster::from_rows(rows, base.seq, Timestamp(base.at)).unwrap()
        }
    };
    for event in found.events {
        let stamped: Stamped = serde_json::from_value(event.clone())
            .unwrap_or_else(|error| panic!("{error}: {event}"));
        if stamped.seq > replayed.log_length() {
            replayed.apply(&stamped);
        }
    }
    replayed
}

#[test]
fn an_incident_of_every_kind_of_event_replays_with_and_without_a_base() {
    for cut_at in [None, Some(36), Some(44)] {
        let scratch = Scratch::new();
        let from = scratch.path("state");
        let cluster = eventful(&from, cut_at);
        let report = verify(&from).unwrap();
        assert_eq!(report.base, cut_at.unwrap_or(0));
        let found = incident(&from, "cluster").unwrap();
        assert_eq!(found.base.as_ref().map(|base| base.seq), cut_at);
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains("\"ana\""), "{text}");
        let again = replayed(found);
        let shape = |cluster: &Cluster| {
            let spans =
                cluster.ledger.spans.values().map(|span| (span.total, span.charges.clone()));
            (cluster.log_length(), cluster.nodes.len(), spans.collect::<Vec<_>>())
        };
        assert_eq!(shape(&again), shape(&cluster));
        // A copy and rows made anew of what is cut are in order, and have its base.
        let copy = scratch.path("copy");
        assert_eq!(backup(&from, &copy).unwrap(), report);
        let made = rebuild(&copy).unwrap();
        assert_eq!((made.base, made.events), (report.base, report.events));
        assert_eq!(verify(&copy).unwrap(), report);
    }
}
