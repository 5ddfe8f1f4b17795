//! Forgotten jobs, bases and cuts, with a real cluster's events and rows.
use crate::seal::{event_seal, row_seal};
use crate::tests::{Scratch, crash_copy};
use crate::{EventStore, HistoryFilter, Pruned, Pruner, Reader, StoreError, rebuild};
use pcluster_config::samples;
use pcluster_core::input::JobTarget;
use pcluster_core::{Cluster, Input, Principal, Request};
use pcluster_model::job::ArraySpec;
use pcluster_model::{ClusterId, JobId, JobSpec, Timestamp};
use rusqlite::Connection;
use std::path::Path;

const HOUR: i64 = 3_600_000;

/// A head without its hands: what it decides is written, nothing is ever launched.
struct Head {
    store: EventStore,
    cluster: Cluster,
    now: Timestamp,
}

impl Head {
    fn start(path: &Path) -> Self {
        let (store, loaded) = EventStore::open(path).unwrap();
        let cluster = match loaded.log_length {
            0 => Cluster::new(ClusterId::from("00000000000000ff")),
            length => Cluster::from_rows(loaded.rows.into_iter(), length, loaded.last_at).unwrap(),
        };
        let now = loaded.last_at;
        let mut head = Self { store, cluster, now };
        let text = "provider = \"process\"\n[head]\nkeep_jobs = \"1 h\"";
        let config = Box::new(samples::config(text));
        head.batch(vec![Input::Started { version: "1".into(), config, offset_ms: 0 }]);
        head
    }

    fn batch(&mut self, inputs: Vec<Input>) {
        self.now = Timestamp(self.now.0 + 1);
        let prepared = self.cluster.prepare(self.now, inputs);
        let committed = prepared.commit(|events, rows| self.store.commit(events, rows)).unwrap();
        drop(committed.release(&mut self.cluster, self.now));
    }

    /// Jobs of ana that are over at once: submitted and cancelled.
    fn ended(&mut self, jobs: u64, tasks: u32) {
        let ana = Principal { user: "ana".into(), uid: 1000, gid: 1000, admin: false };
        let ask = |request| Input::Request { principal: ana.clone(), request };
        let first = self.cluster.meta.last_job + 1;
        let inputs = (first..first + jobs).flat_map(|job| {
            let target = JobTarget { job: JobId(job), tasks: None };
            [
                ask(Request::Submit { spec: Box::new(spec(tasks)), key: Some(format!("k{job}")) }),
                ask(Request::Cancel(target)),
            ]
        });
        self.batch(inputs.collect());
        assert_eq!(self.cluster.meta.last_job, first + jobs - 1);
        assert!(self.cluster.jobs.values().all(pcluster_core::Job::is_finished));
    }

    fn later(&mut self, ms: i64) {
        self.now = Timestamp(self.now.0 + ms);
        for _ in 0..50 {
            self.batch(vec![Input::Tick]);
        }
    }

    /// Everything of more than an hour ago, to the end.
    fn prune(&self) -> Vec<Pruned> {
        let mut steps = Vec::new();
        let mut pruner = Pruner::open(self.store.path()).unwrap();
        let before = Timestamp(self.now.0 - HOUR);
        let whole = pruner.prune(before, |step| {
            steps.push(step);
            true
        });
        assert!(whole.unwrap());
        steps
    }
}

fn spec(tasks: u32) -> JobSpec {
    let array = (tasks > 1).then(|| ArraySpec { indices: (1..=tasks).collect(), throttle: None });
    let text = r#"{"name":"n","cpus_per_task":1,"output":"o","work_dir":"/w","script":"0000000000000000000000000000000000000000000000000000000000000000","environment":"0000000000000000000000000000000000000000000000000000000000000000"}"#;
    JobSpec { array, ..serde_json::from_str(text).unwrap() }
}

/// Whatever is loaded is what the head has, and the whole file is in order.
fn in_order(path: &Path, head: &Cluster) -> (u64, usize) {
    let (store, loaded) = EventStore::open(path).unwrap();
    let rows = loaded.rows.len();
    let again =
        Cluster::from_rows(loaded.rows.into_iter(), loaded.log_length, loaded.last_at).unwrap();
    assert_eq!(again.all_rows(), head.all_rows());
    let verified = store.verify().unwrap();
    assert_eq!(verified.rows as usize, rows);
    let all = HistoryFilter { limit: u32::MAX, ..HistoryFilter::default() };
    (verified.base, store.reader().unwrap().history(&all).unwrap().len())
}

#[test]
fn forgotten_jobs_leave_the_living_and_stay_in_the_history() {
    let scratch = Scratch::new();
    let mut head = Head::start(&scratch.db());
    head.ended(3, 4);
    head.later(HOUR - 1000);
    assert_eq!(head.cluster.jobs.len(), 3);
    head.later(2000);
    assert_eq!(head.cluster.jobs.len(), 0);
    assert_eq!(in_order(&scratch.db(), &head.cluster), (0, 3));
    let reader = head.store.reader().unwrap();
    assert_eq!(reader.tasks_of("2").unwrap().len(), 4);
    // The keys of what is forgotten are free again, and numbers are not used twice.
    head.ended(1, 1);
    assert_eq!(head.cluster.jobs.keys().next(), Some(&JobId(4)));
    let past = HistoryFilter { past_only: true, ..HistoryFilter::default() };
    assert_eq!(reader.history(&past).unwrap().len(), 3);
    assert_eq!(reader.history(&HistoryFilter::default()).unwrap().len(), 4);
}

#[test]
fn a_crash_after_any_step_leaves_a_whole_file() {
    let scratch = Scratch::new();
    let mut head = Head::start(&scratch.db());
    head.ended(1_050, 1);
    head.later(2 * HOUR);
    head.ended(3, 700);
    assert_eq!(head.cluster.jobs.len(), 3);
    let (cut_at, mut steps, mut kinds) = (head.now, Vec::new(), [0; 5]);
    let mut pruner = Pruner::open(&scratch.db()).unwrap();
    let whole = pruner.prune(Timestamp(cut_at.0 - HOUR), |step| {
        // The head goes on meanwhile, and ends things that the base has as they were.
        head.ended(1, 2);
        let copy = scratch.file(&format!("crash-{}.db", steps.len()));
        crash_copy(&scratch.db(), &copy);
        let history = in_order(&copy, &head.cluster).1;
        assert_eq!(history, 1_050 + 3 + 1 + steps.len());
        steps.push((step, copy));
        true
    });
    assert!(whole.unwrap());
    for (step, copy) in &steps {
        kinds[match step {
            Pruned::Copied { .. } => 0,
            Pruned::Based { .. } => 1,
            Pruned::Cut { .. } => 2,
            Pruned::Dropped { .. } => 3,
            Pruned::Freed { .. } => 4,
        }] += 1;
        // A head that starts on what the crash left prunes to the end.
        let again = Head { now: cut_at, ..Head::start(copy) };
        again.prune();
        assert!(in_order(copy, &again.cluster).0 > 0, "{step:?}");
        let first = again.store.reader().unwrap().events(0, 1).unwrap();
        assert!(first[0].at.0 >= cut_at.0 - HOUR || first[0].seq > 2_100, "{first:?}");
    }
    println!("killed after {} steps: {kinds:?}", steps.len());
    assert!(kinds[0] >= 3 && kinds[1] == 1 && kinds[2] > 2 && kinds[4] > 0, "{kinds:?}");
    // What the head ended while the base was copied is not in it: the base is of one moment.
    assert!(in_order(&scratch.db(), &head.cluster).0 > 0);
}

#[test]
fn a_second_base_takes_the_place_of_the_first() {
    let scratch = Scratch::new();
    let mut head = Head::start(&scratch.db());
    head.ended(3, 900);
    assert_eq!(head.prune(), []);
    head.later(HOUR / 2);
    head.ended(1, 1);
    head.later(HOUR / 2 + 1);
    // The arrays are forgotten; the job of half an hour ago is not.
    assert_eq!(head.cluster.jobs.len(), 1);
    let first = head.prune();
    assert!(matches!(first[0], Pruned::Copied { .. }), "{first:?}");
    // What became old since is covered by the same base.
    head.later(HOUR / 4);
    let second = head.prune();
    assert!(matches!(second.first(), None | Some(Pruned::Cut { .. })), "{second:?}");
    head.later(2 * HOUR);
    head.ended(2, 900);
    head.later(2 * HOUR);
    let third = head.prune();
    assert!(third.iter().any(|step| matches!(step, Pruned::Dropped { .. })), "{third:?}");
    in_order(&scratch.db(), &head.cluster);
    let bases: u32 = count(&scratch.db(), "SELECT count(*) FROM base");
    let others = "SELECT count(*) FROM base_row WHERE seq NOT IN (SELECT seq FROM base)";
    assert_eq!((bases, count(&scratch.db(), others)), (1, 0));
}

fn count(path: &Path, sql: &str) -> u32 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_file_gets_smaller_and_its_rows_can_be_made_anew() {
    let scratch = Scratch::new();
    let mut head = Head::start(&scratch.db());
    for _ in 0..40 {
        head.ended(100, 1);
    }
    head.later(2 * HOUR);
    head.ended(3, 3);
    let size = || {
        let db = Connection::open(scratch.db()).unwrap();
        db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        std::fs::metadata(scratch.db()).unwrap().len()
    };
    let before = size();
    head.prune();
    let after = size();
    println!("{before} bytes before, {after} after");
    assert!(after < before * 7 / 8, "{before} {after}");
    // Forgotten after the base: the log still has the event, and its rows are made anew.
    head.later(2 * HOUR);
    drop(head.store);
    Connection::open(scratch.db())
        .unwrap()
        .execute_batch(
            "DELETE FROM row WHERE tab IN ('meta', 'node');
             UPDATE row SET past = NULL WHERE key = '4002';
             DELETE FROM row WHERE tab = 'task' AND key LIKE '4001.%'",
        )
        .unwrap();
    assert!(Reader::open(&scratch.db()).unwrap().verify().is_err());
    let made = rebuild(&scratch.db()).unwrap();
    assert!(made.base > 0 && made.events > 0);
    assert_eq!(in_order(&scratch.db(), &head.cluster), (made.base, 4_003));
}

#[test]
fn edits_of_base_and_cut_by_hand_are_found() {
    let scratch = Scratch::new();
    let mut head = Head::start(&scratch.db());
    head.ended(30, 1);
    head.later(2 * HOUR);
    head.ended(3, 3);
    head.prune();
    head.later(2 * HOUR);
    drop(head.store);
    for (at, sql) in [
        "DELETE FROM base",
        "UPDATE base SET seq = seq + 1",
        "DELETE FROM base_row WHERE tab = 'meta'",
        "UPDATE base_row SET body = '{}' WHERE tab = 'meta'",
        "DELETE FROM base_row WHERE tab = 'task' AND key LIKE '31.%'",
        "DELETE FROM cut",
        "UPDATE cut SET seq = seq + 1",
        "UPDATE cut SET seal = seal + 1",
        "DELETE FROM event WHERE seq = (SELECT min(seq) FROM event)",
        "UPDATE row SET body = '{}' WHERE key = '7'",
        "UPDATE row SET past = NULL WHERE key = '31'",
        "DELETE FROM row WHERE key = '31.2'",
    ]
    .into_iter()
    .enumerate()
    {
        let copy = scratch.file(&format!("edited-{at}.db"));
        crash_copy(&scratch.db(), &copy);
        assert_eq!(Reader::open(&copy).unwrap().verify().map(drop).ok(), Some(()));
        Connection::open(&copy).unwrap().execute_batch(sql).unwrap();
        let found = EventStore::open(&copy).and_then(|(store, _)| store.verify());
        assert!(matches!(found, Err(StoreError::Damaged { .. })), "{sql}: {found:?}");
    }
}

/// The tables as version 1 made them.
const FIRST: &str = "
CREATE TABLE event(
  seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,
  body TEXT NOT NULL, seal INTEGER NOT NULL) STRICT;
CREATE INDEX event_subject ON event(subject, seq);
CREATE TABLE row(
  tab TEXT NOT NULL, key TEXT NOT NULL, state TEXT, user TEXT, name TEXT, at INTEGER,
  body TEXT NOT NULL, seal INTEGER NOT NULL, PRIMARY KEY(tab, key)) STRICT, WITHOUT ROWID;
CREATE INDEX row_state ON row(tab, state, at);
CREATE INDEX row_user ON row(tab, user, state, at);
PRAGMA application_id = 1885564021;
PRAGMA user_version = 1;
";

/// A file of format 1 with what this head has written.
fn of_first_format(head: &Head, path: &Path) {
    let db = Connection::open(path).unwrap();
    db.execute_batch(FIRST).unwrap();
    let (reader, mut before) = (head.store.reader().unwrap(), 0);
    for one in reader.events(0, u32::MAX).unwrap() {
        let (kind, body) = (one.event.kind(), serde_json::to_string(&one.event).unwrap());
        before = event_seal(before, one.seq, one.at.0, kind, &body);
        let row = (one.seq, one.at.0, kind, one.event.subject(), body, before);
        db.execute("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6)", row).unwrap();
    }
    for row in head.cluster.all_rows() {
        let Some(body) = row.body else { continue };
        let seal = row_seal(row.table, &row.key, &body);
        let of = |name| row.columns.iter().find(|(known, _)| *known == name).map(|(_, text)| text);
        let at: Option<i64> = of("at").map(|text| text.parse().unwrap());
        let row = (row.table, &row.key, of("state"), of("user"), of("name"), at, body, seal);
        db.execute("INSERT INTO row VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)", row).unwrap();
    }
    db.execute_batch("PRAGMA journal_mode = wal").unwrap();
}

#[test]
fn a_file_of_the_first_format_is_read_as_it_is_and_brought_up_at_a_start() {
    let scratch = Scratch::new();
    let mut head = Head::start(&scratch.file("now.db"));
    head.ended(3, 4);
    let old = scratch.db();
    of_first_format(&head, &old);
    let bytes = std::fs::read(&old).unwrap();
    let verified = Reader::open(&old).unwrap().verify().unwrap();
    assert_eq!((verified.base, verified.events), (0, head.cluster.log_length()));
    assert_eq!(Reader::open(&old).unwrap().history(&HistoryFilter::default()).unwrap().len(), 3);
    assert_eq!(std::fs::read(&old).unwrap(), bytes);
    let mut again = Head::start(&old);
    assert_eq!(again.cluster.jobs.len(), 3);
    again.later(2 * HOUR);
    again.ended(1, 1);
    assert_eq!(again.cluster.jobs.len(), 1);
    assert!(again.prune().iter().any(|step| matches!(step, Pruned::Cut { .. })));
    assert_eq!(in_order(&old, &again.cluster).1, 4);
}
