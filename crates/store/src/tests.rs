use super::*;
use pcluster_core::event::{Event, Stamped};
use pcluster_core::rows::RowChange;
use pcluster_core::{Cluster, Input, Principal, Request};
use pcluster_model::{ClusterId, Timestamp};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

mod damage;

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pcluster-store-{}-{number}", std::process::id());
        // In memory where that can be had: thousands of files are opened, each with its fsync.
        let memory = Path::new("/dev/shm").join(&name);
        let made = fs::create_dir_all(&memory).is_ok();
        let path = if made { memory } else { std::env::temp_dir().join(name) };
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.file("events.db")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stepped(seq: u64) -> Stamped {
    let event = Event::ClockStepped { offset_ms: i64::try_from(seq).unwrap() };
    Stamped { seq, at: Timestamp(1000 + i64::try_from(seq).unwrap()), event }
}

fn job_row(key: &str, user: &str, at: i64) -> RowChange {
    RowChange {
        table: "job",
        key: key.into(),
        columns: vec![
            ("state", "finished".into()),
            ("user", user.into()),
            ("name", "n".into()),
            ("at", at.to_string()),
        ],
        body: Some(format!("{{\"id\":{key}}}")),
    }
}

fn keys(rows: &[pcluster_core::rows::Row]) -> Vec<&str> {
    rows.iter().map(|row| row.key.as_str()).collect()
}

#[test]
fn a_new_file_is_empty_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let (store, loaded) = EventStore::open(&scratch.db()).unwrap();
    assert_eq!(loaded, Loaded::default());
    assert_eq!(store.log_length(), 0);
    assert_eq!(fs::metadata(scratch.db()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_is_committed_is_loaded_again() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    store.commit(&[stepped(1), stepped(2)], &[job_row("7", "ana", 5)]).unwrap();
    store.commit(&[stepped(3)], &[job_row("8", "ana", 6)]).unwrap();
    drop(store);
    let (store, loaded) = EventStore::open(&scratch.db()).unwrap();
    assert_eq!((loaded.log_length, loaded.last_at), (3, Timestamp(1003)));
    assert_eq!(keys(&loaded.rows), ["7", "8"]);
    assert_eq!(loaded.rows[0].body, "{\"id\":7}");
    assert_eq!(store.reader().unwrap().events(1, 10).unwrap(), [stepped(2), stepped(3)]);
}

#[test]
fn a_row_is_replaced_whole_and_deleted() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    store.commit(&[stepped(1)], &[job_row("7", "ana", 5)]).unwrap();
    let mut changed = job_row("7", "bo", 6);
    changed.body = Some("{}".into());
    store.commit(&[stepped(2)], &[changed]).unwrap();
    let reader = store.reader().unwrap();
    assert_eq!(reader.row("job", "7").unwrap().unwrap().body, "{}");
    let gone = RowChange { table: "job", key: "7".into(), columns: Vec::new(), body: None };
    store.commit(&[stepped(3)], &[gone]).unwrap();
    assert_eq!(reader.row("job", "7").unwrap(), None);
}

#[test]
fn a_gap_is_refused_and_nothing_of_the_batch_is_kept() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    let refused = store.commit(&[stepped(1), stepped(3)], &[job_row("7", "ana", 5)]);
    assert!(matches!(refused, Err(StoreError::Gap { last: 1, found: 3 })));
    assert_eq!(store.reader().unwrap().rows().unwrap(), []);
    store.commit(&[stepped(1)], &[]).unwrap();
}

#[test]
fn ten_thousand_events_in_groups_keep_their_order() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    let all: Vec<Stamped> = (1..=10_000).map(stepped).collect();
    for group in all.chunks(128) {
        store.commit(group, &[]).unwrap();
    }
    drop(store);
    let (store, loaded) = EventStore::open(&scratch.db()).unwrap();
    assert_eq!(loaded.log_length, 10_000);
    assert_eq!(store.reader().unwrap().events(0, 20_000).unwrap(), all);
}

#[test]
fn history_is_newest_first_by_user_since_and_limit() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    let mut live = job_row("4", "ana", 9);
    live.columns[0].1 = "live".into();
    let rows = [job_row("1", "ana", 1), job_row("2", "bo", 2), job_row("3", "ana", 3), live];
    store.commit(&[stepped(1)], &rows).unwrap();
    let reader = store.reader().unwrap();
    let ask = |filter: HistoryFilter| {
        let rows = reader.history(&filter).unwrap();
        keys(&rows).join(" ")
    };
    let ana = Some("ana".to_owned());
    assert_eq!(ask(HistoryFilter::default()), "3 2 1");
    assert_eq!(ask(HistoryFilter { user: ana, ..HistoryFilter::default() }), "3 1");
    assert_eq!(ask(HistoryFilter { since: Some(Timestamp(2)), ..HistoryFilter::default() }), "3 2");
    assert_eq!(ask(HistoryFilter { limit: 1, ..HistoryFilter::default() }), "3");
}

/// Copies the database as a crash would leave it: whatever lies in the file and its log now.
pub(crate) fn crash_copy(from: &Path, to: &Path) {
    for end in ["", "-wal"] {
        let name = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        if name(from).exists() {
            fs::copy(name(from), name(to)).unwrap();
        }
    }
}

#[test]
fn after_a_crash_every_commit_that_returned_is_there() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    for seq in 1..=40 {
        store.commit(&[stepped(seq)], &[job_row("7", "ana", i64::try_from(seq).unwrap())]).unwrap();
        let copy = scratch.0.join(format!("crash-{seq}.db"));
        crash_copy(&scratch.db(), &copy);
        let (again, loaded) = EventStore::open(&copy).unwrap();
        assert_eq!(loaded.log_length, seq);
        assert_eq!(again.reader().unwrap().events(0, 100).unwrap().len() as u64, seq);
    }
}

#[test]
fn a_torn_write_ahead_log_gives_a_whole_prefix() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    for seq in 1..=8 {
        store.commit(&[stepped(seq)], &[]).unwrap();
    }
    let copy = scratch.0.join("torn.db");
    let wal = scratch.0.join("torn.db-wal");
    crash_copy(&scratch.db(), &copy);
    let bytes = fs::read(&wal).unwrap();
    for cut in (0..bytes.len()).step_by(997) {
        crash_copy(&scratch.db(), &copy);
        fs::write(&wal, &bytes[..cut]).unwrap();
        let _ = fs::remove_file(scratch.0.join("torn.db-shm"));
        let (again, loaded) = EventStore::open(&copy).unwrap();
        let events = again.reader().unwrap().events(0, 100).unwrap();
        assert_eq!(events.len() as u64, loaded.log_length);
        assert!(loaded.log_length <= 8);
    }
}

/// Opening is refused and not a byte of the folder changes.
fn refused_untouched(db: &Path) -> StoreError {
    let before = fs::read(db).unwrap();
    let error = EventStore::open(db).map(drop).unwrap_err();
    assert_eq!(fs::read(db).unwrap(), before);
    assert_eq!(fs::read_dir(db.parent().unwrap()).unwrap().count(), 1);
    error
}

#[test]
fn files_of_others_are_refused_untouched() {
    let scratch = Scratch::new();
    for garbage in [&b""[..], b"hello", &[0x5a; 4096]] {
        fs::write(scratch.db(), garbage).unwrap();
        assert!(matches!(refused_untouched(&scratch.db()), StoreError::NotOurs { .. }));
    }
    fs::remove_file(scratch.db()).unwrap();
    let other = rusqlite::Connection::open(scratch.db()).unwrap();
    other.execute_batch("CREATE TABLE t(x)").unwrap();
    other.close().unwrap();
    let error = refused_untouched(&scratch.db());
    assert!(error.to_string().contains("an SQLite database of another program"), "{error}");
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let scratch = Scratch::new();
    drop(EventStore::open(&scratch.db()).unwrap());
    let newer = rusqlite::Connection::open(scratch.db()).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    newer.close().unwrap();
    let error = refused_untouched(&scratch.db());
    assert!(matches!(error, StoreError::Newer { found: 99, known: 2, .. }), "{error}");
    assert!(Reader::open(&scratch.db()).is_err());
}

#[test]
fn a_newer_format_that_is_only_in_the_write_ahead_log_is_seen() {
    let scratch = Scratch::new();
    let (store, _) = EventStore::open(&scratch.db()).unwrap();
    let newer = rusqlite::Connection::open(scratch.db()).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    let copy = scratch.0.join("newer.db");
    crash_copy(&scratch.db(), &copy);
    let before = fs::read(&copy).unwrap();
    assert!(matches!(EventStore::open(&copy), Err(StoreError::Newer { found: 99, .. })));
    assert_eq!(fs::read(&copy).unwrap(), before);
    drop(store);
}

fn edited(sql: &str) -> StoreError {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    store.commit(&[stepped(1), stepped(2), stepped(3)], &[job_row("7", "ana", 5)]).unwrap();
    drop(store);
    let hand = rusqlite::Connection::open(scratch.db()).unwrap();
    hand.execute_batch(sql).unwrap();
    hand.close().unwrap();
    EventStore::open(&scratch.db()).map(drop).unwrap_err()
}

#[test]
fn edits_by_hand_are_found() {
    for sql in [
        "UPDATE event SET body = '{\"kind\":\"clock_stepped\",\"offset_ms\":9}' WHERE seq = 2",
        "UPDATE event SET at = 0 WHERE seq = 3",
        "DELETE FROM event WHERE seq = 2",
        "DELETE FROM event WHERE seq = 1",
        "UPDATE row SET body = '{}'",
    ] {
        assert!(matches!(edited(sql), StoreError::Damaged { .. }), "{sql}");
    }
}

#[test]
fn flipped_bytes_never_load_as_something_else() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    let events: Vec<Stamped> = (1..=50).map(stepped).collect();
    store.commit(&events, &[job_row("7", "ana", 5)]).unwrap();
    drop(store);
    let (store, good) = EventStore::open(&scratch.db()).unwrap();
    drop(store);
    let bytes = fs::read(scratch.db()).unwrap();
    let copy = scratch.0.join("flipped.db");
    for at in (100..bytes.len()).step_by(487) {
        let mut broken = bytes.clone();
        broken[at] ^= 0x40;
        fs::write(&copy, &broken).unwrap();
        // Unused bytes of a page may differ and do no harm.
        if let Ok((store, loaded)) = EventStore::open(&copy) {
            assert_eq!(loaded, good, "byte {at}");
            assert_eq!(store.reader().unwrap().events(0, 100).unwrap(), events, "byte {at}");
        }
    }
}

#[test]
fn a_reader_sees_what_is_committed_while_the_writer_goes_on() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    let reader = store.reader().unwrap();
    store.commit(&[stepped(1)], &[]).unwrap();
    assert_eq!(reader.events(0, 10).unwrap().len(), 1);
    store.commit(&[stepped(2)], &[]).unwrap();
    assert_eq!(reader.events(0, 10).unwrap().len(), 2);
    assert_eq!(reader.events_about("cluster", 1).unwrap(), [stepped(2)]);
}

#[test]
fn a_page_of_events_is_bounded_by_its_bytes_and_never_empty() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    let all: Vec<Stamped> = (1..=9).map(stepped).collect();
    store.commit(&all, &[]).unwrap();
    let reader = store.reader().unwrap();
    let one = serde_json::to_string(&all[0].event).unwrap().len();
    assert_eq!(reader.events_within(0, 100, 3 * one).unwrap(), all[..3]);
    assert_eq!(reader.events_within(3, 2, 100 * one).unwrap(), all[3..5]);
    assert_eq!(reader.events_within(5, 100, 1).unwrap(), all[5..6]);
    assert_eq!(reader.events_within(9, 100, 100).unwrap(), []);
}

#[test]
fn rows_are_the_replay_of_the_log_and_verify_says_when_not() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    let mut cluster = Cluster::new(ClusterId::from("00000000000000ff"));
    let root = Principal { user: "root".into(), uid: 0, gid: 0, admin: true };
    let down = Input::Request { principal: root, request: Request::Down { now: true } };
    let started = Input::Started {
        version: "1".into(),
        config: Box::new(pcluster_config::samples::config("provider = \"process\"")),
        offset_ms: 0,
    };
    for (now, input) in [(1_000, started), (2_000, down), (3_000, Input::Tick)] {
        let prepared = cluster.prepare(Timestamp(now), vec![input]);
        let committed = prepared.commit(|events, rows| store.commit(events, rows)).unwrap();
        drop(committed.release(&mut cluster, Timestamp(now)));
    }
    let verified = store.verify().unwrap();
    assert_eq!(verified.events, cluster.log_length());
    assert!(verified.events > 1);
    let (last, rows) = (store.log_length(), job_row("9", "ana", 1));
    store.commit(&[Stamped { at: Timestamp(9_000), ..stepped(last + 1) }], &[rows]).unwrap();
    assert!(matches!(store.verify(), Err(StoreError::Damaged { .. })));
}
