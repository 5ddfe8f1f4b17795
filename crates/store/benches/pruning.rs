//! How long the loop's commits take while a base is copied and the log is cut beside it, and how large
//! the file is before and after. Nothing is asserted.
//!
//!     cargo bench -p pcluster-store --bench pruning -- [JOBS]
//!
//! Every job is an array of ten tasks that are over; half of the events are older than what is kept.
#![expect(clippy::unwrap_used, reason = "a measurement ends at the first surprise")]
use pcluster_config::samples;
use pcluster_core::input::JobTarget;
use pcluster_core::{Cluster, Input, Principal, Request};
use pcluster_model::job::ArraySpec;
use pcluster_model::{BlobHash, ClusterId, JobId, JobSpec, Timestamp};
use pcluster_store::{EventStore, Pruned, Pruner};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TASKS: u32 = 10;
/// The head's own: `PRUNE_REST`, `PRUNE_REST_LEAST`.
const REST: u32 = 4;
const REST_LEAST: Duration = Duration::from_millis(10);
const PAUSE: Duration = Duration::from_millis(2);

struct Loop {
    store: EventStore,
    cluster: Cluster,
    now: Timestamp,
}

impl Loop {
    fn batch(&mut self, inputs: Vec<Input>) -> Duration {
        self.now = Timestamp(self.now.0 + 1);
        let prepared = self.cluster.prepare(self.now, inputs);
        let began = Instant::now();
        let committed = prepared.commit(|events, rows| self.store.commit(events, rows)).unwrap();
        let took = began.elapsed();
        drop(committed.release(&mut self.cluster, self.now));
        took
    }

    /// Jobs that are submitted and cancelled at once.
    fn ended(&mut self, jobs: u64) -> Duration {
        let ana = Principal { user: "ana".into(), uid: 1000, gid: 1000, admin: false };
        let ask = |request| Input::Request { principal: ana.clone(), request };
        let zero = BlobHash([0; 32]);
        let text = format!(
            r#"{{"name":"n","cpus_per_task":1,"output":"o","work_dir":"/w","script":"{zero}","environment":"{zero}"}}"#
        );
        let array = Some(ArraySpec { indices: (1..=TASKS).collect(), throttle: None });
        let spec = JobSpec { array, ..serde_json::from_str(&text).unwrap() };
        let first = self.cluster.meta.last_job + 1;
        let inputs = (first..first + jobs).flat_map(|job| {
            let target = JobTarget { job: JobId(job), tasks: None };
            let submit = Request::Submit { spec: Box::new(spec.clone()), key: None };
            [ask(submit), ask(Request::Cancel(target))]
        });
        self.batch(inputs.collect())
    }

    /// Commits of one job each until `done`, or so many.
    fn measured(&mut self, most: usize, done: &AtomicBool) -> Vec<Duration> {
        let mut took = Vec::new();
        while took.len() < most && !done.load(Ordering::Relaxed) {
            took.push(self.ended(1));
            std::thread::sleep(PAUSE);
        }
        took.sort_unstable();
        took
    }
}

fn size(path: &Path) -> u64 {
    let wal = PathBuf::from(format!("{}-wal", path.display()));
    [path.to_path_buf(), wal]
        .iter()
        .filter_map(|p| std::fs::metadata(p).ok())
        .map(|m| m.len())
        .sum()
}

fn told(what: &str, took: &[Duration]) {
    let at = |part: usize| took[(took.len() - 1) * part / 1000].as_secs_f64() * 1e3;
    println!(
        "{what:<24} {:>6} commits, ms: median {:.2}, p99 {:.2}, p99.9 {:.2}, longest {:.2}",
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000)
    );
}

fn main() {
    let jobs = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(10_000);
    let folder = std::env::temp_dir().join(format!("pcluster-pruning-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("events.db");
    let (store, _) = EventStore::open(&path).unwrap();
    let (cluster, now) = (Cluster::new(ClusterId::from("00000000000000ff")), Timestamp(0));
    let mut head = Loop { store, cluster, now };
    let started = Input::Started {
        version: "1".into(),
        config: Box::new(samples::config("provider = \"process\"")),
        offset_ms: 0,
    };
    head.batch(vec![started]);
    for _ in 0..jobs / 100 {
        head.ended(100);
    }
    println!("{jobs} jobs of {TASKS} tasks, {} events", head.cluster.log_length());
    let never = AtomicBool::new(false);
    told("alone", &head.measured(1_000, &never));
    let (before, cut) = (size(&path), head.now);
    let done = AtomicBool::new(false);
    let (took, steps) = std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let began = Instant::now();
            let (mut kinds, mut last, mut longest) = ([0_u64; 5], Instant::now(), Duration::ZERO);
            let mut pruner = Pruner::open(&path).unwrap();
            let whole = pruner.prune(cut, |step| {
                let slice = last.elapsed();
                longest = longest.max(slice);
                match step {
                    Pruned::Copied { rows } => kinds[0] = rows,
                    Pruned::Based { .. } => kinds[1] += 1,
                    Pruned::Cut { events, .. } => kinds[2] += events,
                    Pruned::Dropped { rows } => kinds[3] += rows,
                    Pruned::Freed { pages } => kinds[4] += u64::from(pages),
                }
                std::thread::sleep((slice * REST).max(REST_LEAST));
                last = Instant::now();
                true
            });
            assert!(whole.unwrap());
            done.store(true, Ordering::Relaxed);
            (kinds, longest, began.elapsed())
        });
        let took = head.measured(usize::MAX, &done);
        (took, pruning.join().unwrap())
    });
    told("beside pruning", &took);
    let ([copied, bases, events, dropped, pages], longest, whole) = steps;
    println!(
        "pruning took {:.1} s: {copied} rows copied, {bases} base, {events} events cut, {dropped} old rows, \
         {pages} pages given back; its longest slice {:.1} ms",
        whole.as_secs_f64(),
        longest.as_secs_f64() * 1e3
    );
    drop(head);
    println!("file: {before} bytes before, {} after", size(&path));
    std::fs::remove_dir_all(&folder).unwrap();
}
