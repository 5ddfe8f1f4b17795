//! Every page against its golden file at 80 and at 200 columns; `UPDATE=1 cargo test` writes them.
//!
//! The data are those of the design's screens: the cluster of the genomics example at one moment.
use super::*;
use crate::look::Look;
use pcluster_api::*;
use std::path::Path;

/// 23 Nov 2026, 14:20:00 in a zone one hour east of UTC.
const NOW: i64 = 1_795_440_000_000;
const MIN: i64 = 60_000;
const GIB: u64 = 1 << 30;

fn look(width: usize) -> Look {
    Look { width, now_ms: NOW, zone: jiff::tz::TimeZone::fixed(jiff::tz::offset(1)) }
}

/// Compares with `golden/NAME.WIDTH.txt` at both widths, and checks what holds for every page.
fn golden(name: &str, page: impl Fn(&Look) -> String) {
    for width in [80, 200] {
        let text = page(&look(width));
        let lines_fit = text.lines().filter(|line| !line.trim_start().starts_with("hint:"));
        for line in lines_fit {
            assert!(line.chars().count() <= width, "{name} is wider than {width}: {line}");
            assert_eq!(line.trim_end(), line, "{name} has spaces at the end of a line");
        }
        assert!(text.is_empty() || text.ends_with('\n'), "{name} does not end its last line");
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(format!("src/render/golden/{name}.{width}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(
            text, kept,
            "{name} at {width} columns; UPDATE=1 cargo test -p pcluster keeps it"
        );
    }
}

fn both(page: Page) -> String {
    format!("{}--- stderr\n{}", page.data, page.talk)
}

fn job(id: &str, name: &str, state: JobState, cpus: u32, gib: u64) -> JobView {
    let (job, task) = id.split_once('_').map_or((id, None), |(job, task)| (job, Some(task)));
    JobView {
        id: id.into(),
        job: job.parse().unwrap(),
        task: task.and_then(|task| task.parse().ok()),
        tasks: task.filter(|task| task.starts_with('[')).map(str::to_owned),
        count: 1,
        name: name.into(),
        user: "ana".into(),
        account: String::new(),
        pool: "compute".into(),
        state,
        outcome: None,
        reason: None,
        nodes: 1,
        cpus,
        memory_bytes: gib * GIB,
        gpus: 0,
        attempt: 1,
        submitted_at_ms: NOW - 40 * MIN,
        started_at_ms: None,
        ended_at_ms: None,
        elapsed_ms: 0,
        time_limit_ms: Some(7_200_000),
        expected_start_ms: None,
        cost_micro_usd: Some(0),
        node_names: vec![],
        priority: 0,
    }
}

fn runs(mut job: JobView, elapsed_s: u64, cost: i64, node: &str) -> JobView {
    job.started_at_ms = Some(NOW - i64::try_from(elapsed_s).unwrap() * 1000);
    job.elapsed_ms = elapsed_s * 1000;
    job.cost_micro_usd = Some(cost);
    job.node_names = vec![node.into()];
    job
}

fn waits(mut job: JobView, word: &str, short: &str, start_in_min: Option<i64>) -> JobView {
    job.reason = Some(ReasonView { word: word.into(), short: short.into() });
    job.expected_start_ms = start_in_min.map(|minutes| NOW + minutes * MIN);
    job
}

fn limited(mut job: JobView, hours: u64) -> JobView {
    job.time_limit_ms = Some(hours * 3_600_000);
    job
}

fn the_queue() -> JobList {
    use JobState::{Held, Queued, Running, Starting};
    let mut rest =
        waits(job("41_[5-12]", "call", Queued, 8, 16), "throttle", "2 at once", Some(29));
    rest.count = 8;
    JobList {
        schema: "pcluster.queue/1".into(),
        now_ms: NOW,
        // Not in the order of the page.
        jobs: vec![
            limited(waits(job("45", "train", Held, 8, 24), "held", "held by you", None), 12),
            limited(
                waits(job("43", "joint", Queued, 4, 8), "dependency", "after 41", Some(150)),
                1,
            ),
            rest,
            limited(
                waits(
                    job("44", "assembly", Queued, 32, 240),
                    "no_capacity",
                    "no capacity",
                    Some(4),
                ),
                24,
            ),
            waits(job("42", "align", Starting, 8, 16), "node_boots", "node boots", Some(1)),
            runs(job("41_4", "call", Running, 8, 16), 77, 3_000, "compute-8"),
            runs(job("41_3", "call", Running, 8, 16), 130, 9_000, "compute-7"),
            limited(runs(job("40", "index", Running, 4, 8), 751, 14_000, "compute-7"), 1),
        ],
        others: 19,
        other_users: 2,
    }
}

#[test]
fn queue_of_one_person() {
    golden("queue", |look| both(queue::queue(&the_queue(), false, look)));
}

#[test]
fn queue_of_everybody_and_what_has_ended() {
    let mut list = the_queue();
    let mut failed =
        runs(job("39", "fold \u{1b}[31mred\u{202e}", JobState::Finished, 4, 8), 9, 0, "n-1");
    failed.user = "bo".into();
    failed.ended_at_ms = Some(NOW - 5 * MIN);
    failed.cost_micro_usd = None;
    failed.gpus = 1;
    failed.outcome = Some(OutcomeView {
        word: "failed".into(),
        exit_code: Some(1),
        signal: None,
        detail: String::new(),
        wait_code: 1,
        by_uid: None,
    });
    list.jobs.push(failed);
    let long = "an account of everything that has to be true before this job may start".to_owned();
    list.jobs.push(waits(
        job("46", &"long-name".repeat(9), JobState::Queued, 1, 0),
        "x",
        &long,
        None,
    ));
    (list.others, list.other_users) = (0, 0);
    golden("queue-all", |look| both(queue::queue(&list, true, look)));
}

#[test]
fn queue_of_nothing() {
    let list = JobList { jobs: vec![], ..the_queue() };
    golden("queue-empty", |look| both(queue::queue(&list, false, look)));
}

fn why_view(headline: &str, facts: &[(&str, &str)], change: &[&str], hints: &[&str]) -> WhyView {
    WhyView {
        schema: "pcluster.why/1".into(),
        headline: headline.into(),
        word: "node_boots".into(),
        facts: facts.iter().map(|(label, text)| ((*label).into(), (*text).into())).collect(),
        change: change.iter().map(|text| (*text).into()).collect(),
        hints: hints.iter().map(|text| (*text).into()).collect(),
    }
}

#[test]
fn why_a_job_waits_for_its_node() {
    let view = why_view(
        "job 42 (align) starts at about 14:21: its node is booting",
        &[
            ("node", "compute-9, c6i.4xlarge, spot, us-east-1b, started 14:19:12"),
            ("phase", "network up, agent starting; 48 s of usually 1 min 50 s"),
            ("why new", "compute-7  4 of 8 CPUs free"),
            ("", "compute-8  8 of 8 CPUs, 14.1 of 16 GB free   <- nearest"),
        ],
        &["--mem 14G would start it now on compute-8"],
        &["align used at most 11 GB in 5 runs:  pcluster update 42 --mem 12G"],
    );
    golden("why-boots", |look| why::why(&view, look));
}

#[test]
fn why_a_job_waits_for_money_in_a_long_sentence() {
    let view = why_view(
        "job 46 (fold) waits for money: budget of user bo, November",
        &[
            ("spent", "$49.10 of $50.00; running work may still take $0.84"),
            (
                "needs",
                "up to $0.72 for the two hours that its limit allows it, and the budget of this \
                       month is used up but for $0.06; it is counted anew on 1 Dec 2026 00:00 CET",
            ),
        ],
        &["--time 10m would fit", "or an admin:  pcluster budget bo +50"],
        &[],
    );
    golden("why-money", |look| why::why(&view, look));
}

fn node(name: &str, state: &str, wanted_min_ago: i64) -> NodeView {
    NodeView {
        name: name.into(),
        id: "3.0".into(),
        pool: "compute".into(),
        state: state.into(),
        shape: "c6i.4xlarge".into(),
        image: "genomics".into(),
        spot: true,
        instance: Some("i-0abc123".into()),
        cpus_used: 0,
        cpus: 16,
        memory_used_bytes: 0,
        memory_bytes: 30 * GIB,
        gpus_used: 0,
        gpus: 0,
        price_per_hour_micro_usd: Some(270_000),
        wanted_at_ms: NOW - wanted_min_ago * MIN,
        launched_at_ms: None,
        ready_at_ms: None,
        gone_at_ms: None,
        phase: None,
        phase_since_ms: None,
        stops_at_ms: None,
        jobs: vec![],
        why: None,
        cost_micro_usd: 20_000,
        connected: true,
        last_line: None,
    }
}

fn the_nodes() -> NodeList {
    let jobs = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    NodeList {
        schema: "pcluster.nodes/1".into(),
        now_ms: NOW,
        nodes: vec![
            NodeView {
                cpus_used: 12,
                memory_used_bytes: 24 * GIB,
                jobs: jobs(&["40", "41_3"]),
                ..node("compute-7", "busy", 19)
            },
            NodeView {
                cpus_used: 8,
                memory_used_bytes: 16 * GIB,
                jobs: jobs(&["41_4"]),
                ..node("compute-8", "busy", 4)
            },
            NodeView {
                phase: Some("agent".into()),
                phase_since_ms: Some(NOW - 48_000),
                ..node("compute-9", "booting", 1)
            },
            NodeView {
                cpus: 8,
                gpus: 1,
                shape: "g5.2xlarge".into(),
                spot: false,
                price_per_hour_micro_usd: Some(1_210_000),
                stops_at_ms: Some(NOW + 12_000),
                ..node("gpu-3", "idle", 58)
            },
            NodeView {
                why: Some("no progress for 3 min in \"mount /shared\"".into()),
                gone_at_ms: Some(NOW - 1_070_000),
                last_line: Some("mount.nfs: Connection timed out".into()),
                ..node("compute-6", "failed", 22)
            },
        ],
        price_per_hour_micro_usd: 2_020_000,
        standing_per_hour_micro_usd: 138_000,
        unknown_prices: 0,
    }
}

#[test]
fn nodes_with_gpus_and_one_that_failed() {
    golden("nodes", |look| both(nodes::nodes(&the_nodes(), look)));
}

#[test]
fn nodes_of_a_laptop() {
    let mut list = the_nodes();
    list.nodes.truncate(1);
    list.nodes[0].memory_bytes = 700 << 20;
    list.nodes[0].memory_used_bytes = 256 << 20;
    list.nodes[0].price_per_hour_micro_usd = None;
    (list.nodes[0].spot, list.unknown_prices, list.price_per_hour_micro_usd) = (false, 1, 0);
    list.standing_per_hour_micro_usd = 0;
    golden("nodes-laptop", |look| both(nodes::nodes(&list, look)));
}

#[test]
fn nodes_when_there_is_no_work() {
    let list = NodeList {
        nodes: vec![],
        price_per_hour_micro_usd: 0,
        standing_per_hour_micro_usd: 0,
        ..the_nodes()
    };
    golden("nodes-none", |look| both(nodes::nodes(&list, look)));
}

#[test]
fn one_node_with_its_boot() {
    let start = NOW - 190_000;
    let moments = [
        (0, "launch asked"),
        (2, "accepted by EC2"),
        (41, "kernel"),
        (106, "agent"),
        (107, "registered"),
        (112, "/shared checked"),
        (113, "first job (41_4)"),
    ];
    let detail = NodeDetail {
        schema: "pcluster.node/1".into(),
        now_ms: NOW,
        node: the_nodes().nodes[1].clone(),
        timeline: moments.iter().map(|(s, what)| (start + s * 1000, (*what).to_owned())).collect(),
        facts: vec![("kernel".into(), "Linux 6.1".into())],
        log: vec!["agent up".into()],
    };
    golden("node-show", |look| nodes::node(&detail, look));
}

fn the_cost() -> CostView {
    let row = |key: &str, jobs, cpu_hours: u64, cost, cpu, memory| CostRow {
        key: key.into(),
        jobs,
        cpu_hours_milli: cpu_hours * 1000,
        cost_micro_usd: cost,
        used_cpu_percent: Some(cpu),
        used_memory_percent: Some(memory),
        standing_micro_usd: 0,
    };
    CostView {
        schema: "pcluster.cost/1".into(),
        cluster: "genomics".into(),
        since_ms: NOW - (22 * 24 * 60 + 860) * MIN,
        now_ms: NOW,
        buckets: CostBuckets {
            job_micro_usd: 212_400_000,
            boot_micro_usd: 9_870_000,
            idle_busy_micro_usd: 22_100_000,
            idle_empty_micro_usd: 8_960_000,
            drain_micro_usd: 1_020_000,
        },
        jobs: 1904,
        boots: 612,
        spans: 618,
        open_spans: 0,
        estimated_spans: 0,
        nodes_micro_usd: 254_350_000,
        provider_micro_usd: Some(254_350_000),
        unknown_prices: 0,
        head_micro_usd: 0,
        storage_micro_usd: 0,
        standing: vec![],
        total_micro_usd: 254_350_000,
        budget_micro_usd: Some(500_000_000),
        committed_micro_usd: 4_100_000,
        by: vec![
            row("ana", 812, 5410, 121_750_000, 81, 34),
            row("bo", 640, 2215, 49_100_000, 92, 71),
            row("lea", 452, 630, 41_550_000, 44, 18),
        ],
    }
}

#[test]
fn cost_of_a_month_by_user() {
    golden("cost", |look| both(money::cost(&the_cost(), "USER", false, look)));
}

fn stands(kind: &str, label: &str, cost: i64) -> StandingCost {
    StandingCost {
        kind: kind.into(),
        label: label.into(),
        reference: format!("of {label}"),
        since_ms: NOW - 22 * 24 * 60 * MIN,
        until_ms: None,
        estimated: false,
        price_per_hour_micro_usd: Some(83_200),
        cost_micro_usd: cost,
    }
}

#[test]
fn cost_with_a_head_and_storage_by_day() {
    let mut view = the_cost();
    (view.head_micro_usd, view.storage_micro_usd) = (45_120_000, 29_720_000);
    view.total_micro_usd = 329_190_000;
    let mut old = stands("head", "t3.small", 120_000);
    (old.until_ms, old.estimated) = (Some(NOW), true);
    let mut odd = stands("storage", "8 GB io2", 0);
    odd.price_per_hour_micro_usd = None;
    view.standing = vec![
        old,
        stands("head", "t3.large", 45_000_000),
        stands("storage", "500 GB gp3", 29_720_000),
        odd,
    ];
    view.by[0] =
        CostRow { key: "2026-11-22".into(), standing_micro_usd: 3_300_000, ..view.by[0].clone() };
    view.by[1] =
        CostRow { key: "2026-11-23".into(), standing_micro_usd: 1_970_000, ..view.by[1].clone() };
    view.by.truncate(2);
    golden("cost-by-day", |look| both(money::cost(&view, "DAY", false, look)));
}

#[test]
fn cost_that_no_job_used() {
    golden("cost-waste", |look| both(money::cost(&the_cost(), "USER", true, look)));
}

#[test]
fn cost_of_a_first_hour_is_shown_to_the_cent_and_below() {
    let mut view = the_cost();
    view.since_ms = NOW - 40 * MIN;
    view.buckets =
        CostBuckets { job_micro_usd: 300, boot_micro_usd: 120, ..CostBuckets::default() };
    (view.nodes_micro_usd, view.provider_micro_usd) = (420, Some(419));
    (view.budget_micro_usd, view.jobs, view.boots, view.spans, view.open_spans) =
        (None, 1, 1, 1, 1);
    view.by.truncate(1);
    view.by[0] =
        CostRow { cpu_hours_milli: 12, cost_micro_usd: 300, jobs: 1, ..view.by[0].clone() };
    golden("cost-first-hour", |look| both(money::cost(&view, "USER", false, look)));
}

#[test]
fn history_newest_first() {
    let entry = |id: &str, word: &str, code: Option<i32>, cpu_ms, rss| {
        let mut ended =
            runs(job(id, "align", JobState::Finished, 8, 16), 1800, 90_000, "compute-7");
        ended.ended_at_ms = Some(NOW - 90 * MIN);
        ended.outcome = Some(OutcomeView {
            word: word.into(),
            exit_code: code,
            signal: None,
            detail: String::new(),
            wait_code: 0,
            by_uid: None,
        });
        HistoryEntry { job: ended, cpu_ms, max_rss_bytes: rss }
    };
    let list = HistoryList {
        schema: "pcluster.history/1".into(),
        now_ms: NOW,
        jobs: vec![
            entry("38", "completed", Some(0), 13_000_000, 11 * GIB),
            entry("37_4", "failed", Some(2), 40_000, GIB / 2),
            entry("36", "timed_out", None, 0, 0),
        ],
    };
    golden("history", |look| both(money::history(&list, false, look)));
}

fn the_status() -> StatusView {
    StatusView {
        schema: "pcluster.status/1".into(),
        cluster: "genomics".into(),
        cluster_id: "0123456789abcdef".into(),
        provider: "ec2".into(),
        version: "0.3.0".into(),
        pid: 812,
        started_at_ms: NOW - (22 * 24 + 14) * 60 * MIN,
        now_ms: NOW,
        config_file: "/etc/pcluster/cluster.toml".into(),
        state_dir: "/var/lib/pcluster/genomics".into(),
        phase: "up".into(),
        node_address: "10.0.1.12:7443".into(),
        cpu_percent: 1,
        memory_bytes: 58 << 20,
        disk_free_bytes: 19 * GIB,
        jobs_running: 3,
        jobs_starting: 1,
        jobs_queued: 29,
        jobs_held: 1,
        jobs_done_this_month: 1904,
        nodes_busy: 2,
        nodes_idle: 1,
        nodes_booting: 1,
        nodes_max: 50,
        nodes_failed_last_hour: 1,
        price_per_hour_micro_usd: 2_160_000,
        standing_per_hour_micro_usd: 138_000,
        standing: vec!["t3.large".into(), "500 GB gp3".into()],
        month_micro_usd: 329_190_000,
        budget_micro_usd: Some(500_000_000),
        instances_listed: 5,
        instances_unknown: 0,
        listed_at_ms: Some(NOW - 8000),
        attention: vec![
            (
                "highmem".into(),
                "no r6i.8xlarge capacity since 14:15; job 44 waits; next try 14:24".into(),
            ),
            (
                "compute-6".into(),
                "did not boot: /shared did not mount (pcluster node log compute-6)".into(),
            ),
            ("bo".into(), "98 % of the November budget is used; 19 jobs wait for it".into()),
        ],
        notes: vec![],
    }
}

#[test]
fn status_with_something_to_do() {
    golden("status", |look| status::status(&the_status(), look));
}

#[test]
fn status_of_a_laptop_that_is_well() {
    let view = StatusView {
        provider: "process".into(),
        attention: vec![],
        budget_micro_usd: None,
        standing: vec![],
        listed_at_ms: None,
        nodes_failed_last_hour: 0,
        notes: vec!["no cgroups here: jobs are not held to their memory".into()],
        ..the_status()
    };
    golden("status-well", |look| status::status(&view, look));
}

#[test]
fn down_from_its_first_word_to_its_proof() {
    let view = DownView {
        schema: "pcluster.down/1".into(),
        phase: "closing".into(),
        running: 3,
        waiting: 30,
        nodes_left: 0,
        instances_left: 0,
        last_end_ms: Some(NOW + 118 * MIN),
        unread: Vec::new(),
        cleaned: vec!["security group sg-0abc removed".into()],
    };
    golden("down", |look| {
        format!(
            "{}...\n{}",
            status::down_begins(&view, false, look),
            status::down_ends(&view, "genomics", false)
        )
    });
}

fn the_answer() -> SubmitResponse {
    SubmitResponse {
        schema: "pcluster.submit/1".into(),
        job: 42,
        repeated: false,
        name: "align".into(),
        estimate: EstimateView {
            asked: "8 CPUs, 16 GB, at most 2 h, pool compute".into(),
            start: "starting 1 x c6i.4xlarge spot for it".into(),
            start_ms: Some(NOW + MIN),
            end_ms: Some(NOW + 36 * MIN),
            history_runs: 5,
            cost_micro_usd: Some(90_000),
            cost_at_most_micro_usd: Some(720_000),
            price_per_hour_micro_usd: Some(360_000),
            budget_left_micro_usd: Some(78_250_000),
            output: "/shared/ana/run7/pcluster-42.out".into(),
            notes: vec![],
        },
    }
}

#[test]
fn submit_of_a_job_with_a_history() {
    golden("submit", |look| submit::estimate(&the_answer(), look));
}

#[test]
fn submit_of_a_first_job() {
    let mut answer = the_answer();
    let estimate = &mut answer.estimate;
    (estimate.history_runs, estimate.end_ms) = (0, Some(NOW + 121 * MIN));
    (estimate.cost_micro_usd, estimate.cost_at_most_micro_usd) = (None, None);
    (estimate.price_per_hour_micro_usd, estimate.budget_left_micro_usd) = (Some(140_000), None);
    estimate.notes = vec!["no --time: the pool's 2 h are its limit".into()];
    golden("submit-first", |look| submit::estimate(&answer, look));
}

#[test]
fn submit_that_only_asks_what_would_happen() {
    let mut answer = the_answer();
    (answer.job, answer.estimate.start) = (0, "at once on compute-7".into());
    golden("submit-estimate", |look| submit::estimate(&answer, look));
}

#[test]
fn everything_about_an_array() {
    let list = the_queue();
    let rows: Vec<JobView> = list.jobs.iter().filter(|row| row.job == 41).cloned().collect();
    let detail = JobDetail {
        schema: "pcluster.job/1".into(),
        now_ms: NOW,
        rows,
        runs: vec![RunView {
            run: 88,
            attempt: 1,
            node_names: vec!["compute-7".into()],
            placed_at_ms: NOW - 131_000,
            started_at_ms: Some(NOW - 130_000),
            ended_at_ms: None,
            end: None,
            cpu_ms: 900_000,
            max_rss_bytes: 9 * GIB,
        }],
        asked: vec![("asks for".into(), "8 CPUs, 16 GB, at most 2 h".into())],
        output: Some("/shared/ana/pcluster-%A_%a.out".into()),
        error: None,
        work_dir: Some("/shared/ana".into()),
        comment: None,
        script: Some("#!/bin/sh\n\tcall \"$1\"\n".into()),
    };
    golden("show-array", |look| show::job(&detail, true, look));
}

fn checked() -> Vec<Finding> {
    let (ok, note, bad) = (Finding::ok, Finding::note, Finding::attention);
    vec![
        ok(Topic::Config, "cluster.toml is right"),
        note(Topic::Config, "the file was changed since the head started")
            .why("what the head has not read yet has no effect")
            .hint("kill -HUP 812    lets it read the file"),
        ok(Topic::Head, "it answers: process 812, up 22 d 14 h, 58 MB"),
        ok(Topic::Machine, "the head runs as root, for all users"),
        bad(Topic::Provider, "there is no qemu-system-x86_64")
            .why("no machine of pool compute, highmem can be started")
            .hint("apt install qemu-system-x86"),
        bad(Topic::Provider, "compute-6 did not boot: no progress for 3 min in \"mount /shared\"")
            .why("its last line: mount.nfs: Connection timed out\u{1b}[2J")
            .hint("pcluster node log compute-6")
            .hint("pcluster doctor network storage"),
        bad(
            Topic::Network,
            "10.0.1.12:7443 is this machine alone, and nodes of pool compute are elsewhere",
        )
        .why("nodes of pool compute dial it, and would never register")
        .hint("[head] address = \"NAME-OR-ADDRESS\"    is what nodes dial"),
        ok(Topic::Storage, "/shared answers, 412 GB free"),
    ]
}

#[test]
fn doctor_says_what_to_do() {
    golden("doctor", |look| doctor::doctor(&DoctorView::new("genomics", checked()), look));
}

#[test]
fn doctor_of_a_well_cluster_is_short() {
    let well = |one: &Finding| one.level == Level::Ok;
    let found: Vec<Finding> = checked().into_iter().filter(well).collect();
    golden("doctor-well", |look| doctor::doctor(&DoctorView::new("genomics", found.clone()), look));
}
