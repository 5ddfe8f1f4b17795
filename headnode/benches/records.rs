//! How long `GET /v1/records` takes in a cluster with a long past: the whole way through the
//! interface, answer included, and how long the loop is kept waiting by it. Nothing is asserted.
//!
//!     cargo bench -p pcluster-headnode --bench records -- [TASKS]
//!
//! Half of the finished tasks are one array's, the other half are jobs of one task.
#![expect(clippy::unwrap_used, reason = "a measurement ends at the first surprise")]
use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use pcluster_config::samples;
use pcluster_core::Cluster;
use pcluster_core::input::{Input, Principal};
use pcluster_core::rows::Row;
use pcluster_headnode::agents::{Hub, streams::Streams};
use pcluster_headnode::app::{AppState, Bounds, HeadFacts};
use pcluster_headnode::clock::{Clock, SystemTime};
use pcluster_headnode::disk::DiskWatch;
use pcluster_headnode::logs::{BootLogs, OutputTails};
use pcluster_headnode::metrics::Metrics;
use pcluster_headnode::mirror::Mirror;
use pcluster_headnode::people::People;
use pcluster_headnode::{http, inbox};
use pcluster_model::{BlobHash, ClusterId, IndexRanges, Timestamp};
use pcluster_upkeep::blobs::Blobs;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 9;
/// The id of the array, and of the first job of one task.
const ARRAY: u64 = 1;
/// 22 Nov 2026, 12:00 UTC, steady and wall.
const BEGAN: i64 = 1_795_348_800_000;

fn config() -> pcluster_model::config::Config {
    samples::config("provider = \"process\"\ncompute = { cpus = 4, memory = \"8 GB\", max = 2 }\n")
}

fn job(id: u64, array: Option<u32>) -> Row {
    let zeros = BlobHash([0; 32]);
    let mut spec = json!({
        "name": format!("align-{}", id % 40), "cpus_per_task": 2, "output": "slurm-%j.out",
        "script": zeros, "environment": zeros, "work_dir": "/data/ana/project/run-17",
        "time_limit_ms": 600_000, "command": "/data/ana/project/align.sh",
    });
    if let Some(tasks) = array {
        let indices: IndexRanges = (0..tasks).collect();
        spec["array"] = json!({ "indices": indices, "throttle": null });
    }
    let body = json!({
        "id": id, "owner": { "user": "ana", "uid": 1000, "gid": 1000 }, "pool": "compute",
        "spec": spec, "submitted_at": BEGAN, "pending": IndexRanges::new(),
        "numbered": array.unwrap_or(1), "first_placed_at": BEGAN + 1000,
    });
    Row { table: "job".into(), key: id.to_string(), body: body.to_string() }
}

fn end(job: u64, task: u32, raw: u64) -> Row {
    let at = BEGAN + 60_000 + i64::from(task);
    let body = json!({
        "outcome": "completed", "at": at, "numbers": { "raw_job": raw, "attempts": 1 },
        "last": {
            "run": raw, "task": task, "raw_job": raw, "attempt": 1, "nodes": ["compute-1"],
            "cpus": 2, "memory_bytes": 4u64 << 30, "placed_at": BEGAN + 1000,
            "started_at": BEGAN + 2000, "ended_at": at, "exit": { "code": 0 },
        },
    });
    Row { table: "task".into(), key: format!("{job}.{task}"), body: body.to_string() }
}

/// A cluster that has all of this behind it.
fn cluster(tasks: u32) -> Cluster {
    let mut new = Cluster::new(ClusterId::from("0123456789abcdef"));
    let config = Box::new(config());
    let started = Input::Started { version: "1".into(), config, offset_ms: 0 };
    let prepared = new.prepare(Timestamp(BEGAN), vec![started]);
    let _ = prepared.commit(|_, _| Ok::<(), ()>(())).unwrap().release(&mut new, Timestamp(BEGAN));
    let own = new.all_rows().into_iter().map(|row| Row {
        table: row.table.to_string(),
        key: row.key,
        body: row.body.unwrap(),
    });
    let half = tasks / 2;
    let first = ARRAY + u64::from(half);
    let singles = first..first + u64::from(half);
    let of_array = (0..half).map(|task| {
        // The last one has the array's own.
        let raw = if task + 1 == half { ARRAY } else { ARRAY + 1 + u64::from(task) };
        end(ARRAY, task, raw)
    });
    let jobs =
        std::iter::once(job(ARRAY, Some(half))).chain(singles.clone().map(|id| job(id, None)));
    let rows = own.chain(jobs).chain(of_array).chain(singles.map(|id| end(id, 0, id)));
    Cluster::from_rows(rows, new.log_length(), Timestamp(BEGAN)).unwrap()
}

fn app(folder: &Path, mirror: Mirror) -> AppState {
    let clock = Clock::start(Arc::new(SystemTime), Timestamp(BEGAN));
    let disk = DiskWatch::of(folder);
    let (submit, _) = inbox::inbox(disk.clone());
    AppState {
        hub: Hub::new(mirror.clone()),
        mirror,
        submit,
        blobs: Blobs::open(&folder.join("blobs")).unwrap(),
        logs: OutputTails::open(&folder.join("output")).unwrap(),
        boot_logs: BootLogs::open(&folder.join("boot")).unwrap(),
        consoles: pcluster_headnode::hands::consoles::Consoles::default(),
        cleaned: Default::default(),
        bundles: pcluster_headnode::bundles::Bundles::open(&folder.join("failed")).unwrap(),
        facts: Arc::new(HeadFacts {
            version: "0.1.0",
            pid: 1,
            uid: 0,
            started_at: clock.now(),
            state_dir: folder.into(),
            config_file: "/data/cluster.toml".into(),
            node_address: "127.0.0.1:7443".into(),
            notes: Vec::new(),
        }),
        store_path: folder.join("events.db").as_path().into(),
        clock,
        disk,
        people: People::new(0),
        metrics: Metrics::new(),
        streams: Streams::default(),
        bounds: Bounds::default(),
        changes: tokio::sync::watch::channel(0).1,
    }
}

/// The longest time for which somebody who writes had to wait for readers meanwhile.
fn watch_writer(mirror: &Mirror, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<Duration> {
    let (mirror, stop) = (mirror.clone(), Arc::clone(stop));
    std::thread::spawn(move || {
        let mut longest = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            mirror.follow(Timestamp(BEGAN), &[], &[]);
            longest = longest.max(began.elapsed());
            std::thread::sleep(Duration::from_millis(1));
        }
        longest
    })
}

#[tokio::main]
async fn main() {
    let tasks = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(100_000);
    let folder = std::env::temp_dir().join(format!("pcb-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let began = Instant::now();
    let mirror = Mirror::new(cluster(tasks));
    println!("{tasks} finished tasks, loaded from rows in {} ms", began.elapsed().as_millis());
    let app = app(&folder, mirror.clone());
    let router = http::router(app);
    let half = u64::from(tasks / 2);
    let many: Vec<String> =
        (0..1000).map(|at| (ARRAY + 1 + at * half / 1001).to_string()).collect();
    let now = BEGAN + 24 * 3_600_000;
    let figures = [
        ("queue: nothing waits or runs", String::new()),
        ("one job", format!("ids={}&ended=true", ARRAY + half + half / 2)),
        ("one task by its own id", format!("ids={}&ended=true", ARRAY + half / 2)),
        ("an id that nothing has", "ids=99999999&ended=true".into()),
        ("1,000 tasks by their own ids", format!("ids={}&ended=true", many.join("%2C"))),
        ("ended since today: none", format!("ended_since_ms={now}")),
        ("the whole array", format!("ids={ARRAY}&ended=true")),
        ("everything", "ended_since_ms=0".into()),
        ("everything, with attempts and steps", "ended_since_ms=0&attempts=true&steps=true".into()),
    ];
    println!(
        "{:<38} {:>9} {:>9} {:>9} {:>11} {:>9}",
        "", "least", "median", "most", "bytes", "writer"
    );
    let who = Principal { user: "ana".into(), uid: 1000, gid: 1000, admin: false };
    for (name, query) in figures {
        let (mut spans, mut bytes) = (Vec::new(), 0);
        let stop = Arc::new(AtomicBool::new(false));
        let writer = watch_writer(&mirror, &stop);
        for _ in 0..ROUNDS {
            let request = axum::http::Request::builder().uri(format!("/v1/records?{query}"));
            let mut request = request.body(Full::new(Bytes::new())).unwrap();
            request.extensions_mut().insert(who.clone());
            let began = Instant::now();
            let answer = TowerToHyperService::new(router.clone()).call(request).await.unwrap();
            assert_eq!(answer.status(), 200);
            bytes = answer.into_body().collect().await.unwrap().to_bytes().len();
            spans.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        stop.store(true, Ordering::Relaxed);
        let waited = writer.join().unwrap().as_secs_f64() * 1000.0;
        spans.sort_by(f64::total_cmp);
        let (least, median, most) = (spans[0], spans[ROUNDS / 2], spans[ROUNDS - 1]);
        println!("{name:<38} {least:>9.2} {median:>9.2} {most:>9.2} {bytes:>11} {waited:>9.2}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
