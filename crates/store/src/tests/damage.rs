//! Damage of every kind: what is loaded is the state after one of the commits, or nothing at all and
//! a word about the file. Never anything else.
use super::*;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

const COMMITS: usize = 24;
/// Flipped bits in the file and in its write-ahead log, at places drawn from a seed.
const FLIPS: usize = 200;

/// What a file says after a commit.
type State = (u64, Vec<Stamped>, Vec<(String, String)>);

/// The states after each commit, the last in a file and its log as a crash would leave them.
struct Written {
    scratch: Scratch,
    states: Vec<State>,
    file: Vec<u8>,
    wal: Vec<u8>,
}

fn wal_of(db: &Path) -> PathBuf {
    crate::wal::path_of(db)
}

/// A commit of several pages: events, a row that changes, a large one, one that goes.
fn commit(store: &mut EventStore, number: u64) {
    let first = store.log_length() + 1;
    let events: Vec<Stamped> = (first..first + 1 + number % 5).map(stepped).collect();
    let mut large = job_row(&(100 + number).to_string(), "ana", 1);
    large.body = Some(format!(
        "{{\"id\":{number},\"text\":\"{}\"}}",
        "x".repeat((number as usize % 4) * 3000)
    ));
    let mut changing =
        job_row("7", if number.is_multiple_of(2) { "ana" } else { "bo" }, number as i64);
    changing.body = Some(format!("{{\"id\":7,\"turn\":{number}}}"));
    let mut gone = job_row(&(100 + number.saturating_sub(3)).to_string(), "ana", 1);
    gone.body = None;
    store.commit(&events, &[large, changing, gone]).unwrap();
}

fn state_of(store: &EventStore, loaded: &Loaded) -> State {
    let events = store.reader().unwrap().events(0, 10_000).unwrap();
    let rows = loaded.rows.iter().map(|row| (row.key.clone(), row.body.clone())).collect();
    (loaded.log_length, events, rows)
}

/// What opening a copy gives.
fn opened(scratch: &Scratch, file: &[u8], wal: Option<&[u8]>) -> Result<State, StoreError> {
    let copy = scratch.0.join("copy.db");
    for end in ["copy.db", "copy.db-wal", "copy.db-shm"] {
        let _ = fs::remove_file(scratch.0.join(end));
    }
    fs::write(&copy, file).unwrap();
    if let Some(wal) = wal {
        fs::write(wal_of(&copy), wal).unwrap();
    }
    let (store, loaded) = EventStore::open(&copy)?;
    let state = state_of(&store, &loaded);
    // What people ask for by user and state is what was loaded.
    let mut history: Vec<String> = store
        .reader()
        .unwrap()
        .history(&HistoryFilter::default())
        .unwrap()
        .into_iter()
        .map(|row| row.key)
        .collect();
    history.sort();
    let mut keys: Vec<String> = loaded.rows.iter().map(|row| row.key.clone()).collect();
    keys.sort();
    assert_eq!(history, keys);
    Ok(state)
}

/// `before` commits lie in the file, the rest in the log.
fn written(before: usize) -> Written {
    let scratch = Scratch::new();
    let (mut store, loaded) = EventStore::open(&scratch.db()).unwrap();
    let mut states = vec![state_of(&store, &loaded)];
    for number in 0..COMMITS {
        if number == before {
            drop(store);
            store = EventStore::open(&scratch.db()).unwrap().0;
        }
        commit(&mut store, number as u64);
        let rows = store.reader().unwrap().rows().unwrap();
        let loaded = Loaded { rows, log_length: store.log_length(), ..Loaded::default() };
        states.push(state_of(&store, &loaded));
    }
    let (file, wal) = (fs::read(scratch.db()).unwrap(), fs::read(wal_of(&scratch.db())).unwrap());
    drop(store);
    Written { scratch, states, file, wal }
}

/// Numbers from a seed: the same ones every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % most as u64).unwrap()
    }
}

impl Written {
    /// The number of the commit whose state this is.
    fn commit_of(&self, state: &State) -> Option<usize> {
        self.states.iter().rposition(|known| known == state)
    }

    fn open(&self, file: &[u8], wal: Option<&[u8]>) -> Result<usize, StoreError> {
        let state = opened(&self.scratch, file, wal)?;
        Ok(self.commit_of(&state).expect("the state after one of the commits"))
    }

    /// Ends of frames of the log that end a commit.
    fn commit_ends(&self) -> Vec<usize> {
        let frame = 24 + 4096;
        let frames = (self.wal.len() - 32) / frame;
        let is_end = |at: &usize| self.wal[32 + at * frame + 4..][..4] != [0; 4];
        (0..frames).filter(is_end).map(|at| 32 + (at + 1) * frame).collect()
    }
}

#[test]
fn a_log_that_is_cut_anywhere_ends_at_the_commit_before() {
    let written = written(4);
    let (ends, mut cuts) = (written.commit_ends(), Vec::new());
    assert_eq!(ends.len(), COMMITS - 4);
    for frame in (0..=written.wal.len()).step_by(24 + 4096) {
        cuts.extend([
            frame,
            frame + 1,
            frame + 12,
            frame + 32,
            frame + 56,
            frame + 57,
            frame + 3000,
        ]);
    }
    for cut in cuts.into_iter().filter(|cut| *cut <= written.wal.len()) {
        let commits = 4 + ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(
            written.open(&written.file, Some(&written.wal[..cut])).unwrap(),
            commits,
            "cut at {cut}"
        );
    }
    assert_eq!(written.open(&written.file, None).unwrap(), 4, "without it, what was carried over");
}

#[test]
fn a_last_commit_of_which_any_part_is_missing_is_as_if_it_had_not_been_made() {
    let written = written(4);
    let ends = written.commit_ends();
    let last = ends[ends.len() - 2];
    let mut dice = Dice(0x5eed_0001);
    for round in 0..60 {
        let mut wal = written.wal.clone();
        // Sectors that had not been written, in any order.
        for _ in 0..=round % 3 {
            let at = last + dice.below((wal.len() - last) / 512) * 512;
            let end = (at + 512).min(wal.len());
            // Frames hold much that is zero: another byte than was meant is there at least.
            wal[at..end].iter_mut().for_each(|byte| *byte = !*byte);
        }
        assert_eq!(written.open(&written.file, Some(&wal)).unwrap(), COMMITS - 1, "round {round}");
    }
}

#[test]
fn a_flipped_bit_in_the_log_is_refused_unless_a_power_cut_may_have_left_it() {
    let written = written(4);
    let mut dice = Dice(0x5eed_0002);
    let (mut refused, mut shortened) = (0, 0);
    for _ in 0..FLIPS {
        let (mut wal, bit) = (written.wal.clone(), dice.below(written.wal.len() * 8));
        wal[bit / 8] ^= 1 << (bit % 8);
        match written.open(&written.file, Some(&wal)) {
            Ok(commits) => {
                assert!(commits >= COMMITS - 2, "bit {bit} lost all from commit {commits} on");
                shortened += 1;
            }
            Err(StoreError::Damaged { path, detail }) => {
                assert!(path.ends_with("copy.db-wal") && detail.contains("frame"), "{detail}");
                refused += 1;
            }
            Err(other) => panic!("bit {bit}: {other}"),
        }
    }
    println!("{FLIPS} bits: {refused} refused, {shortened} as the last two commits or one less");
    assert!(refused > shortened, "{refused} of {FLIPS}");
}

#[test]
fn a_flipped_bit_in_the_file_is_refused_or_changes_nothing() {
    for (seed, before) in [(0x5eed_0003, COMMITS - 1), (0x5eed_0004, 4)] {
        let written = written(before);
        let mut dice = Dice(seed);
        let mut refused = 0;
        // All of the first hundred bytes, which say what the file is, and others.
        let bits =
            (0..800).step_by(7).chain((0..FLIPS).map(|_| dice.below(written.file.len() * 8)));
        let bits: Vec<usize> = bits.collect();
        for bit in &bits {
            let mut file = written.file.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            match written.open(&file, Some(&written.wal)) {
                Ok(commits) => assert_eq!(commits, COMMITS, "bit {bit}"),
                Err(error) => {
                    assert!(error.to_string().contains("copy.db"), "{error}");
                    refused += 1;
                }
            }
        }
        println!("{} bits: {refused} refused", bits.len());
        assert!(refused > 0);
    }
}

#[test]
fn a_copy_of_file_and_log_after_any_commit_is_that_commit() {
    let scratch = Scratch::new();
    let (mut store, _) = EventStore::open(&scratch.db()).unwrap();
    for number in 0..COMMITS as u64 {
        commit(&mut store, number);
        let rows = store.reader().unwrap().rows().unwrap();
        let expected =
            state_of(&store, &Loaded { rows, log_length: store.log_length(), ..Loaded::default() });
        let (file, wal) =
            (fs::read(scratch.db()).unwrap(), fs::read(wal_of(&scratch.db())).unwrap());
        assert_eq!(opened(&scratch, &file, Some(&wal)).unwrap(), expected);
    }
}

#[test]
fn a_file_that_is_gone_or_cut_is_no_new_log() {
    let written = written(COMMITS - 1);
    let copy = written.scratch.0.join("gone.db");
    fs::write(wal_of(&copy), &written.wal).unwrap();
    let gone = EventStore::open(&copy).map(drop).unwrap_err();
    assert!(
        matches!(&gone, StoreError::Damaged { detail, .. } if detail.contains("it is gone")),
        "{gone}"
    );
    assert!(!copy.exists());
    let mut dice = Dice(0x5eed_0005);
    for _ in 0..60 {
        let cut = dice.below(written.file.len());
        match written.open(&written.file[..cut], Some(&written.wal)) {
            // What lies in the log as well may be missing in the file.
            Ok(commits) => assert_eq!(commits, COMMITS, "cut at {cut}"),
            Err(error) => assert!(error.to_string().contains("copy.db"), "{error}"),
        }
    }
}

#[test]
fn who_only_reads_leaves_a_damaged_log_to_the_writer() {
    let written = written(4);
    let copy = written.scratch.0.join("read.db");
    fs::write(&copy, &written.file).unwrap();
    fs::write(wal_of(&copy), &written.wal).unwrap();
    let log = OpenOptions::new().write(true).open(wal_of(&copy)).unwrap();
    log.write_all_at(&[0xff; 8], 32 + 24 + 4096 + 100).unwrap();
    drop(Reader::open(&copy).unwrap().rows());
    assert_eq!(fs::read(&copy).unwrap(), written.file);
    assert!(matches!(EventStore::open(&copy), Err(StoreError::Damaged { .. })));
    assert_eq!(fs::read(&copy).unwrap(), written.file, "untouched");
}

#[test]
fn the_end_of_a_log_is_checked_without_all_that_was_before_it() {
    let scratch = Scratch::new();
    let path = scratch.0.join("events.db");
    let (mut store, _) = EventStore::open(&path).unwrap();
    (0..20).for_each(|number| commit(&mut store, number));
    let last = store.log_length();
    drop(store);
    let end = |most: u64| Reader::open(&path).unwrap().check_end(most);
    let found = end(5).unwrap();
    assert_eq!((found.last, found.checked), (last, 5));
    assert_eq!(end(1000).unwrap().checked, last);
    let db = rusqlite::Connection::open(&path).unwrap();
    let turned = db.execute("UPDATE event SET at = at + 1 WHERE seq = ?1", [last - 8]).unwrap();
    assert_eq!(turned, 1);
    drop(db);
    end(5).unwrap();
    assert!(matches!(end(10), Err(StoreError::Damaged { .. })));
}
