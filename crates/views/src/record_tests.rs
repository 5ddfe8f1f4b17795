//! Records of a day: what each kind of job leaves for its readers.
use super::records::{Filter, Pages};
use super::samples::{admin, config, spec, user};
use super::tests::Lab;
use super::*;
use pcluster_api::{JobRecord, JobState};
use pcluster_core::input::{JobTarget, Request};
use pcluster_model::{
    ArraySpec, Dependency, DependencyKind, DurationMs, IndexRanges, JobId, JobSpec,
};
use pcluster_wire::Exit;

/// All records, which are the same whichever number is made at a time.
fn records(lab: &Lab, reader: &Principal, filter: &Filter) -> Vec<JobRecord> {
    let cx = lab.cx(reader);
    let all = |most: usize| {
        let mut pages = Pages::new(&cx, filter.clone());
        let lots = std::iter::from_fn(|| Some(pages.next(&cx, most)).filter(|lot| !lot.is_empty()));
        lots.flatten().collect::<Vec<_>>()
    };
    let whole = all(usize::MAX);
    for most in [1, 2, 3] {
        assert_eq!(all(most), whole, "{most} at a time");
    }
    whole
}

fn everything() -> Filter {
    Filter { ended_since_ms: Some(0), attempts: true, ..Filter::default() }
}

fn line(record: &JobRecord) -> (u64, Option<u32>, Option<&str>, JobState) {
    (record.raw_job, record.task, record.tasks.as_deref(), record.state)
}

fn whole(job: JobId) -> JobTarget {
    JobTarget { job, tasks: None }
}

#[test]
fn tasks_with_something_of_their_own_have_records_of_their_own() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let array = ArraySpec { indices: (1..=6).collect(), throttle: None };
    let asked = JobSpec { array: Some(array), hold: true, ..spec("call", 1, 600_000) };
    let job = lab.submit(&ana, asked.clone());
    let some = |tasks: &[u32]| JobTarget { job, tasks: Some(tasks.iter().copied().collect()) };
    lab.ask(&ana, Request::Release(some(&[1, 2, 3, 4])));
    let own = Box::new(JobSpec { time_limit_ms: Some(DurationMs(1_200_000)), ..asked });
    lab.ask(&admin(), Request::Update { target: some(&[3]), spec: own });
    lab.ask(&admin(), Request::Hold(some(&[4])));
    let now = records(&lab, &ana, &Filter::default());
    let lines: Vec<_> = now
        .iter()
        .map(|r| (line(r), r.held_by.as_deref(), r.time_limit_ms.unwrap_or(0) / 60_000))
        .collect();
    assert_eq!(
        lines,
        [
            ((1, None, Some("1-2"), JobState::Starting), None, 10),
            ((1, Some(3), None, JobState::Starting), None, 20),
            ((1, Some(4), None, JobState::Held), Some("root"), 10),
            ((1, None, Some("5-6"), JobState::Held), Some("ana"), 10),
        ]
    );
    assert_eq!(now[2].reason.as_ref().unwrap().word, "held");
    let costs = super::money::JobCosts::default();
    let cx = lab.cx(&ana);
    let rows = super::rows::of_job(&cx, &cx.cluster.jobs[&job], None, true, &costs);
    let rows: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.count, row.state)).collect();
    assert_eq!(
        rows,
        [
            ("1_[1-2]", 2, JobState::Starting),
            ("1_3", 1, JobState::Starting),
            ("1_4", 1, JobState::Held),
            ("1_[5-6]", 2, JobState::Held),
        ]
    );
    let why = super::why::job(&cx, &cx.cluster.jobs[&job], None);
    assert!(!why.headline.contains("held"), "{}", why.headline);
    let held: Vec<_> = why.facts.iter().filter(|(label, _)| label == "held").collect();
    assert_eq!(held.len(), 2, "{:?}", why.facts);
    let four = IndexRanges::single(4);
    let why = super::why::job(&cx, &cx.cluster.jobs[&job], Some(&four));
    assert_eq!(why.headline, "task 1_4 (call) is held by root");
    let status = super::status::view(&cx, super::status::HeadFacts::default());
    assert_eq!((status.jobs_held, status.jobs_starting), (3, 3));
}

#[test]
fn an_array_is_its_waiting_rest_and_a_record_for_each_run() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let array = ArraySpec { indices: (1..=5).collect(), throttle: Some(2) };
    lab.submit(&ana, JobSpec { array: Some(array), ..spec("call", 4, 600_000) });
    lab.boot();
    lab.start();
    let now = records(&lab, &ana, &Filter::default());
    let lines: Vec<_> = now.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            (1, None, Some("3-5"), JobState::Queued),
            (2, Some(1), None, JobState::Running),
            (3, Some(2), None, JobState::Running),
        ]
    );
    assert_eq!(now[0].array_bounds, Some((1, 5, 1, 5)));
    assert_eq!(now[0].reason.as_ref().unwrap().word, "throttle");
    assert_eq!(now[1].output, "/lab/run/call-2.out");
    assert_eq!((now[1].cpus_per_node.as_slice(), now[1].node_names.len()), (&[4][..], 1));
    for _ in 0..3 {
        lab.end(Exit::Code(0));
        lab.start();
    }
    assert_eq!(records(&lab, &ana, &Filter::default()), []);
    let ended = records(&lab, &ana, &everything());
    let ids: Vec<_> = ended.iter().map(|record| (record.task, record.raw_job)).collect();
    // The last one to start keeps the array's own number.
    assert_eq!(ids, [(Some(1), 2), (Some(2), 3), (Some(3), 4), (Some(4), 5), (Some(5), 1)]);
    assert_eq!((ended[0].user_cpu_ms, ended[0].max_rss_bytes), (500, 300 << 20));
}

#[test]
fn what_was_cancelled_before_it_ran_is_one_record_and_says_by_whom() {
    let (ana, root) = (user("ana", 1000), admin());
    let mut lab = Lab::new(config());
    let array = ArraySpec { indices: (0..=9).collect(), throttle: None };
    let job = lab.submit(&ana, JobSpec { array: Some(array), ..spec("call", 1, 600_000) });
    lab.ask(&root, Request::Cancel(whole(job)));
    let ended = records(&lab, &ana, &everything());
    assert_eq!(
        ended.iter().map(line).collect::<Vec<_>>(),
        [(1, None, Some("0-9"), JobState::Finished)]
    );
    let outcome = ended[0].outcome.clone().unwrap();
    assert_eq!((outcome.word.as_str(), outcome.by_uid), ("cancelled", Some(0)));
    assert_eq!(ended[0].started_at_ms, None);
}

#[test]
fn what_was_given_up_says_why_it_never_started() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let first = lab.submit(&ana, spec("first", 1, 600_000));
    let dependency = Dependency {
        kind: DependencyKind::AfterOk,
        job: first,
        task: None,
        delay_ms: DurationMs::ZERO,
    };
    let wish = |end_when_never| JobSpec {
        dependencies: vec![dependency],
        end_when_never,
        ..spec("next", 1, 600_000)
    };
    let given_up = lab.submit(&ana, wish(true));
    let cancelled = lab.submit(&ana, wish(true));
    lab.ask(&ana, Request::Cancel(whole(cancelled)));
    lab.boot();
    lab.start();
    lab.end(Exit::Code(1));
    lab.pass(DurationMs::from_secs(1));
    let ended = records(&lab, &ana, &everything());
    let reason = |job: JobId| {
        let record = ended.iter().find(|record| record.job == job.0).unwrap();
        assert_eq!(record.state, JobState::Finished);
        record.reason.as_ref().map(|reason| reason.word.as_str())
    };
    assert_eq!(reason(given_up), Some("dependency_failed"));
    assert_eq!(reason(cancelled), None, "that was somebody");
}

#[test]
fn a_requeued_job_waits_under_its_number_and_its_attempt_is_remembered() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let job = lab.submit(&ana, spec("align", 2, 600_000));
    lab.boot();
    lab.start();
    lab.ask(&ana, Request::Requeue(whole(job)));
    lab.end(Exit::Ended { code: 143, signal: 0 });
    let all = Filter { attempts: true, ..Filter::default() };
    let seen = records(&lab, &ana, &all);
    let lines: Vec<_> = seen.iter().map(|r| (r.raw_job, r.attempt, r.state)).collect();
    assert_eq!(lines, [(1, 1, JobState::Finished), (1, 2, JobState::Starting)]);
    assert_eq!(seen[0].requeued.as_deref(), Some("requeued by ana"));
    assert_eq!(records(&lab, &ana, &Filter::default()).len(), 1);
}

#[test]
fn others_see_no_path_no_comment_and_no_cost() {
    let (ana, bo) = (user("ana", 1000), user("bo", 1001));
    let mut lab = Lab::new(config());
    let asked = JobSpec {
        comment: "secret".into(),
        command: "/lab/secret.sh".into(),
        args: vec!["secret".into()],
        submit_line: "sbatch secret.sh".into(),
        ..spec("align", 2, 600_000)
    };
    lab.submit(&ana, asked);
    lab.boot();
    lab.start();
    let (mine, theirs) =
        (records(&lab, &ana, &Filter::default()), records(&lab, &bo, &Filter::default()));
    assert_eq!(
        (mine[0].comment.as_str(), mine[0].output.as_str()),
        ("secret", "/lab/run/align-1.out")
    );
    assert_eq!(mine[0].submit_line, "sbatch secret.sh");
    assert!(mine[0].cost_micro_usd.is_some());
    assert_eq!(theirs[0].node_names, mine[0].node_names);
    assert_eq!(theirs[0].cost_micro_usd, None);
    let text = format!("{:?}", theirs[0]);
    assert!(!text.contains("secret") && !text.contains("/lab"), "{text}");
}

#[test]
fn filters_choose_by_name_user_id_and_end() {
    let (ana, bo) = (user("ana", 1000), user("bo", 1001));
    let mut lab = Lab::new(config());
    let first = lab.submit(&ana, spec("align", 1, 600_000));
    lab.boot();
    lab.start();
    lab.pass(DurationMs::from_secs(10));
    lab.end(Exit::Code(0));
    let ended = lab.now.0;
    lab.submit(&bo, spec("sort", 1, 600_000));
    let jobs = |filter: &Filter| -> Vec<u64> {
        records(&lab, &ana, filter).iter().map(|record| record.job).collect()
    };
    assert_eq!(jobs(&Filter::default()), [2]);
    let ids = |ended| Filter { ids: Some(vec![(first, None)]), ended, ..Filter::default() };
    assert_eq!(jobs(&ids(false)), [] as [u64; 0]);
    assert_eq!(jobs(&ids(true)), [1]);
    let since = |ms| Filter { ended_since_ms: Some(ms), ..Filter::default() };
    assert_eq!((jobs(&since(ended)), jobs(&since(ended + 1))), (vec![1, 2], vec![2]));
    let of = Filter { users: Some(["bo".into()].into()), ..everything() };
    assert_eq!(jobs(&of), [2]);
    let named = Filter { names: Some(["align".into()].into()), ..everything() };
    assert_eq!(jobs(&named), [1]);
    let tasks = Some(vec![(first, Some(IndexRanges::single(0))), (first, None)]);
    assert_eq!(jobs(&Filter { ids: tasks, ..everything() }), [1]);
}

#[test]
fn a_pool_shows_its_nodes_and_those_that_could_be() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let states = |lab: &Lab| -> Vec<(String, String, u32)> {
        let list = pools::list(&lab.cx(&ana));
        let nodes = list.pools[0].nodes.iter();
        nodes.map(|node| (node.name.clone(), node.state.clone(), node.cpus_used)).collect()
    };
    let node = |name: &str, state: &str, used| (name.to_owned(), state.to_owned(), used);
    assert_eq!(states(&lab), [node("compute-1", "none", 0), node("compute-2", "none", 0)]);
    lab.submit(&ana, spec("align", 3, 600_000));
    assert_eq!(states(&lab), [node("compute-1", "booting", 0), node("compute-2", "none", 0)]);
    lab.boot();
    assert_eq!(states(&lab), [node("compute-1", "busy", 3), node("compute-2", "none", 0)]);
    let mut config = config();
    config.pools[0].features = vec!["lab".into()];
    config.pools[0].shapes[0].arch = "arm64".into();
    let mut lab = Lab::new(config);
    lab.submit(&ana, spec("align", 3, 600_000));
    for node in &pools::list(&lab.cx(&ana)).pools[0].nodes {
        assert_eq!(node.features, ["lab", "4c", "arm64"], "{}", node.name);
    }
}

#[test]
fn an_allocation_is_there_once_the_job_has_nodes() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let job = lab.submit(&ana, spec("align", 2, 600_000));
    let of = |lab: &Lab| allocation::of(&lab.cx(&ana), &lab.cluster.jobs[&job], None);
    assert_eq!(of(&lab).unwrap_err().message, "job 1 waits and has no nodes yet");
    lab.boot();
    let placed = of(&lab).unwrap();
    assert_eq!((placed.started, placed.parts.len(), placed.parts[0].cpus), (false, 1, 2));
    assert_eq!(placed.parts[0].node, "compute-1");
    lab.start();
    assert!(of(&lab).unwrap().started);
    lab.end(Exit::Code(0));
    assert_eq!(of(&lab).unwrap_err().message, "job 1 has already finished");
}

#[test]
fn the_number_of_an_array_means_the_task_that_has_it() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let array = ArraySpec { indices: (1..=3).collect(), throttle: Some(2) };
    let job = lab.submit(&ana, JobSpec { array: Some(array), ..spec("call", 4, 600_000) });
    lab.boot();
    lab.start();
    let of = |lab: &Lab| allocation::of(&lab.cx(&ana), &lab.cluster.jobs[&job], None);
    let two = of(&lab).unwrap_err();
    assert_eq!(two.message, "2 tasks of job 1 run: one must be named");
    lab.end(Exit::Code(0));
    lab.boot();
    lab.start();
    let last = of(&lab).unwrap();
    assert_eq!((last.raw_job, last.task), (1, Some(3)));
}
