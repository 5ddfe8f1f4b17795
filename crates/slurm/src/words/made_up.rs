//! Made-up records of the reference's situations, for the tests of this room.
use super::Clock;
use jiff::tz::TimeZone;
use pcluster_api::{
    DependencyRecord, JobRecord, JobState, OutcomeView, PoolList, PoolNode, PoolRecord, ReasonView,
    RecordList, StepRecord, StepUsage,
};
use pcluster_model::job::MemoryAsk;

/// 2026-11-23T23:25:25 UTC.
pub const NOW_MS: i64 = 1_795_476_325_000;

/// The clock of the reference.
pub fn clock() -> Clock {
    Clock { now_ms: NOW_MS, zone: TimeZone::UTC, format: "%Y-%m-%dT%H:%M:%S".into() }
}

pub fn reason(word: &str) -> ReasonView {
    ReasonView { word: word.into(), short: word.replace('_', " ") }
}

pub fn dependency(kind: &str, job: &str, stands: &str) -> DependencyRecord {
    DependencyRecord { kind: kind.into(), job: job.into(), delay_ms: 0, stands: stands.into() }
}

/// A plain job of root's that waits, three seconds old.
pub fn pending(job: u64) -> JobRecord {
    JobRecord {
        job,
        raw_job: job,
        name: "wrap".into(),
        user: "root".into(),
        group: "root".into(),
        account: "root".into(),
        pool: "main".into(),
        reason: Some(reason("node_boots")),
        requeue: true,
        nodes: 1,
        ntasks: 1,
        cpus_per_task: 1,
        memory_ask: MemoryAsk::PerNode(100 << 20),
        cpus_per_node: vec![1],
        memory_per_node_bytes: vec![100 << 20],
        submitted_at_ms: NOW_MS - 3000,
        eligible_at_ms: Some(NOW_MS - 3000),
        time_limit_ms: Some(300_000),
        work_dir: "/home/user/work".into(),
        output: format!("/home/user/work/slurm-{job}.out"),
        input: "/dev/null".into(),
        submit_host: "login".into(),
        ..JobRecord::default()
    }
}

/// `sbatch -n2 --mem=200 -t 5`, running for five seconds on c1.
pub fn running(job: u64) -> JobRecord {
    JobRecord {
        state: JobState::Running,
        reason: None,
        ntasks: 2,
        ntasks_given: true,
        memory_ask: MemoryAsk::PerNode(200 << 20),
        cpus_per_node: vec![2],
        memory_per_node_bytes: vec![200 << 20],
        node_names: vec!["c1".into()],
        submitted_at_ms: NOW_MS - 5000,
        eligible_at_ms: Some(NOW_MS - 5000),
        placed_at_ms: Some(NOW_MS - 5000),
        started_at_ms: Some(NOW_MS - 5000),
        attempt: 1,
        run: Some(job),
        ..pending(job)
    }
}

/// One that ran for five seconds and ended three seconds ago.
pub fn ended(job: u64, word: &str, exit_code: Option<i32>, signal: Option<i32>) -> JobRecord {
    JobRecord {
        state: JobState::Finished,
        outcome: Some(OutcomeView {
            word: word.into(),
            exit_code,
            signal,
            detail: String::new(),
            wait_code: 0,
            by_uid: (word == "cancelled").then_some(0),
        }),
        submitted_at_ms: NOW_MS - 8000,
        placed_at_ms: Some(NOW_MS - 8000),
        started_at_ms: Some(NOW_MS - 8000),
        ended_at_ms: Some(NOW_MS - 3000),
        user_cpu_ms: 1200,
        system_cpu_ms: 34,
        max_rss_bytes: 12_345 << 10,
        ..running(job)
    }
}

/// The waiting rest of an array.
pub fn array_rest(job: u64, tasks: &str, throttle: Option<u32>) -> JobRecord {
    JobRecord {
        array: true,
        tasks: Some(tasks.into()),
        throttle,
        array_bounds: Some((0, 9, 1, 10)),
        reason: Some(reason(if throttle.is_some() { "throttle" } else { "priority" })),
        ..pending(job)
    }
}

/// A task of an array that has run for two seconds on the node of its number.
pub fn array_task(job: u64, task: u32, raw_job: u64) -> JobRecord {
    JobRecord {
        raw_job,
        array: true,
        task: Some(task),
        throttle: Some(2),
        array_bounds: Some((0, 9, 1, 10)),
        state: JobState::Running,
        reason: None,
        node_names: vec![format!("c{}", task + 1)],
        submitted_at_ms: NOW_MS - 3000,
        placed_at_ms: Some(NOW_MS - 2000),
        started_at_ms: Some(NOW_MS - 2000),
        attempt: 1,
        run: Some(raw_job),
        ..pending(job)
    }
}

/// What the two tasks of such a step used: the second more memory, the first less time.
pub fn step_usage() -> StepUsage {
    let mut usage = StepUsage::default();
    usage.add(2, (3 << 20, 12 << 20), [(2 << 20, 1), (8 << 20, 1), (300, 0)], "c1");
    usage
}

/// A step of two tasks on c1 that ended well after two seconds.
pub fn step(step: u32) -> StepRecord {
    StepRecord {
        step,
        name: "hostname".into(),
        ntasks: 2,
        cpus: 2,
        tasks_per_node: vec![2],
        node_names: vec!["c1".into()],
        started_at_ms: NOW_MS - 7000,
        ended_at_ms: Some(NOW_MS - 5000),
        exit_code: Some(0),
        signal: None,
        cancelled: false,
        user_cpu_ms: 1000,
        system_cpu_ms: 4,
        max_rss_bytes: 2 << 20,
        out_of_memory: false,
        usage: None,
    }
}

/// A node of four CPUs and 6000 MB that is idle.
pub fn node(name: &str) -> PoolNode {
    PoolNode {
        name: name.into(),
        state: "idle".into(),
        cpus: 4,
        cpus_used: 0,
        memory_bytes: 6000 << 20,
        memory_used_bytes: 0,
        gpus: 0,
        gpus_used: 0,
        gpu_type: String::new(),
        shape: String::new(),
        arch: "x86_64".into(),
        features: vec!["x86_64".into()],
        booted_at_ms: Some(NOW_MS - 3_351_000),
        idle_since_ms: None,
        why: None,
    }
}

/// The same with jobs on it.
pub fn busy(name: &str, cpus: u32, mebibytes: u64) -> PoolNode {
    PoolNode {
        state: "busy".into(),
        cpus_used: cpus,
        memory_used_bytes: mebibytes << 20,
        ..node(name)
    }
}

pub fn pool(name: &str, max_time_ms: Option<u64>, nodes: Vec<PoolNode>) -> PoolRecord {
    PoolRecord {
        name: name.into(),
        default: name == "main",
        max_nodes: u32::try_from(nodes.len()).expect("few"),
        max_time_ms,
        default_time_ms: None,
        exclusive: false,
        features: Vec::new(),
        nodes,
    }
}

/// The reference's two partitions; c1 is in both.
pub fn pools() -> PoolList {
    let c1 = || busy("c1", 3, 300);
    PoolList {
        schema: "pools".into(),
        cluster: "refc".into(),
        now_ms: NOW_MS,
        pools: vec![
            pool("main", None, vec![c1(), busy("c2", 1, 100), node("c3")]),
            pool("short", Some(1_800_000), vec![c1()]),
        ],
        term_grace_ms: 5000,
        max_array_tasks: 1001,
    }
}

pub fn records(records: Vec<JobRecord>) -> RecordList {
    RecordList {
        schema: "records".into(),
        cluster: "refc".into(),
        now_ms: NOW_MS,
        records,
        unknown: Vec::new(),
    }
}
