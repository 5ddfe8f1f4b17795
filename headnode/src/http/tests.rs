//! The interface as a client sees it: real router, real store, a loop without hands.
use super::*;
use crate::app::{Bounds, HeadFacts};
use crate::clock::{Clock, SystemTime};
use crate::disk::DiskWatch;
use crate::inbox::{Asked, From, inbox};
use crate::limits;
use crate::logs::{BootLogs, OutputTails};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::people::People;
use crate::scratch::Scratch;
use axum::body::Bytes;
use axum::http::StatusCode;
use base64::Engine;
use http_body_util::{BodyExt, Full};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use pcluster_api::*;
use pcluster_core::input::{AgentSaid, Input, LaunchedInstance, ProviderSaid};
use pcluster_core::{Cluster, Effect, Order};
use pcluster_model::{ClusterId, InstanceRef, NodeId, RunId, Timestamp};
use pcluster_store::EventStore;
use pcluster_upkeep::blobs::Blobs;
use pcluster_views::samples::{admin, config, user};
use pcluster_wire::{Exit, Facts, RunEnd, Usage};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Longer than anything here takes; a test that gets there has failed.
const DEADLINE: Duration = Duration::from_secs(20);

struct Bench {
    app: AppState,
    router: Router,
    effects: Arc<Mutex<Vec<Effect>>>,
    work: tokio::task::JoinHandle<()>,
    _scratch: Scratch,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.work.abort();
    }
}

/// The loop: decide, commit, mirror, answer; effects are kept for the test to carry out.
async fn turn(
    mut cluster: Cluster,
    mut store: EventStore,
    mut inbox: crate::inbox::Inbox,
    (mirror, clock, changes): (Mirror, Clock, watch::Sender<u64>),
    effects: Arc<Mutex<Vec<Effect>>>,
) {
    while let Some(Asked { input, from }) = inbox.next().await {
        let now = clock.now();
        let prepared = cluster.prepare(now, vec![input.clone()]);
        let committed = prepared.commit(|events, rows| store.commit(events, rows)).unwrap();
        mirror.follow(now, &[input], committed.events());
        mirror.hear(&cluster.volatile.report);
        let mut released = committed.release(&mut cluster, now);
        effects.lock().unwrap().extend(released.effects);
        changes.send_modify(|number| *number += 1);
        if let From::Client(answer) = from {
            let _ = answer.send(released.replies.remove(0));
        }
    }
}

async fn bench() -> Bench {
    let scratch = Scratch::new("http");
    let (store, _) = EventStore::open(&scratch.path().join("events.db")).unwrap();
    let new = || Cluster::new(ClusterId::from("0123456789abcdef"));
    let disk = DiskWatch::of(scratch.path());
    let (submit, inbox) = inbox(disk.clone());
    let (mirror, clock) = (Mirror::new(new()), Clock::start(Arc::new(SystemTime), Timestamp(0)));
    let (changes, changed) = watch::channel(0);
    let hub = crate::agents::Hub::new(mirror.clone());
    let app = AppState {
        hub,
        streams: crate::agents::streams::Streams::default(),
        bounds: Bounds::default(),
        mirror: mirror.clone(),
        submit: submit.clone(),
        blobs: Blobs::open(&scratch.path().join("blobs")).unwrap(),
        logs: OutputTails::open(&scratch.path().join("output")).unwrap(),
        boot_logs: BootLogs::open(&scratch.path().join("boot")).unwrap(),
        consoles: crate::hands::consoles::Consoles::default(),
        cleaned: crate::hands::cleaning::Cleaned::with(vec!["group g-1 removed".into()]),
        bundles: crate::bundles::Bundles::open(&scratch.path().join("failed")).unwrap(),
        facts: Arc::new(HeadFacts {
            version: "0.1.0",
            pid: 1,
            uid: 0,
            started_at: clock.now(),
            state_dir: scratch.path().into(),
            config_file: "/lab/cluster.toml".into(),
            node_address: "127.0.0.1:7443".into(),
            notes: Vec::new(),
        }),
        store_path: store.path().into(),
        clock: clock.clone(),
        disk,
        people: People::new(0),
        metrics: Metrics::new(),
        changes: changed,
    };
    let effects: Arc<Mutex<Vec<Effect>>> = Arc::default();
    let loop_parts = (mirror, clock, changes);
    let work = tokio::spawn(turn(new(), store, inbox, loop_parts, Arc::clone(&effects)));
    let started =
        Input::Started { version: "0.1.0".into(), config: Box::new(config()), offset_ms: 0 };
    submit.ask(started).await.unwrap();
    Bench { router: router(app.clone()), app, effects, work, _scratch: scratch }
}

impl Bench {
    async fn send(
        &self,
        who: Option<&Principal>,
        method: &str,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Response {
        let mut request = axum::http::Request::builder().method(method).uri(path);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut request = request.body(Full::new(body)).unwrap();
        if let Some(who) = who {
            request.extensions_mut().insert(who.clone());
        }
        let service = TowerToHyperService::new(self.router.clone());
        tokio::time::timeout(DEADLINE, service.call(request)).await.expect("an answer").unwrap()
    }

    async fn get<T: DeserializeOwned>(&self, who: &Principal, path: &str) -> T {
        read(self.send(Some(who), "GET", path, None).await).await.1.unwrap()
    }

    async fn post<T: DeserializeOwned>(
        &self,
        who: &Principal,
        path: &str,
        body: serde_json::Value,
    ) -> Result<T, Problem> {
        read(self.send(Some(who), "POST", path, Some(body)).await).await.1
    }

    async fn submit(
        &self,
        who: &Principal,
        changes: serde_json::Value,
    ) -> Result<SubmitResponse, Problem> {
        self.post(who, "/v1/jobs", submission(changes)).await
    }

    /// Launches what is wanted, lets it say hello, and returns the runs that were told to start.
    async fn boot(&self) -> Vec<(NodeId, RunId)> {
        let mut started = Vec::new();
        loop {
            let effects = std::mem::take(&mut *self.effects.lock().unwrap());
            if effects.is_empty() {
                return started;
            }
            for effect in effects {
                match effect {
                    Effect::Launch(plan) => self.launch(plan.launch, plan.names.len()).await,
                    Effect::Tell { node, order: Order::Start(plan), .. } => {
                        started.push((node, plan.run))
                    }
                    _ => {}
                }
            }
        }
    }

    async fn launch(&self, launch: pcluster_model::LaunchId, count: usize) {
        let now = self.app.clock.now();
        for index in 0..u32::try_from(count).unwrap() {
            let node = NodeId { launch, index };
            let instance = InstanceRef(format!("p-{node}"));
            let seen = LaunchedInstance { index, instance, launched_at: now };
            let answer = Ok(vec![Ok(seen)]);
            self.give(Input::ProviderSaid(ProviderSaid::Launched { launch, answer })).await;
            let usable = self.app.mirror.read().nodes[&node].shape.usable();
            let facts = Box::new(Facts { usable, clock: now, ..Facts::default() });
            let said = AgentSaid::Hello {
                key: format!("k{node}"),
                token_valid: true,
                boot_id: "b".into(),
                facts,
                runs: Vec::new(),
            };
            self.give(Input::AgentSaid { node, said }).await;
        }
    }

    async fn give(&self, input: Input) {
        self.app.submit.ask(input).await.unwrap();
    }

    async fn end(&self, (node, run): (NodeId, RunId), code: i32, output_bytes: u64) {
        let at = self.app.clock.now();
        let usage = Usage { output_bytes, ..Usage::default() };
        let end = RunEnd { run, exit: Exit::Code(code), usage, started_at: at, ended_at: at };
        self.give(Input::AgentSaid { node, said: AgentSaid::RunEnded(end) }).await;
    }
}

fn submission(changes: serde_json::Value) -> serde_json::Value {
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let zeros = "0".repeat(64);
    let mut request = json!({
        "spec": {
            "name": "align", "cpus_per_task": 2, "output": "o-%j.txt", "script": zeros,
            "environment": zeros, "work_dir": "/lab/run", "time_limit_ms": 600_000,
        },
        "script_base64": base64("#!/bin/sh\necho hello\n"),
        "environment_base64": base64("PATH=/bin\0"),
    });
    for (name, value) in changes.as_object().unwrap() {
        match request["spec"].get(name) {
            _ if request.get(name).is_some()
                || ["key", "estimate_only"].contains(&name.as_str()) =>
            {
                request[name] = value.clone();
            }
            _ => request["spec"][name] = value.clone(),
        }
    }
    request
}

async fn read<T: DeserializeOwned>(response: Response) -> (StatusCode, Result<T, Problem>) {
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if status.is_success() {
        return (status, Ok(serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))));
    }
    let problem: Problem = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(problem.kind.status(), status.as_u16());
    (status, Err(problem))
}

#[tokio::test]
async fn a_submitted_job_is_in_the_next_list_and_its_script_is_kept() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    let answer = bench.submit(&ana, json!({})).await.unwrap();
    assert_eq!((answer.job, answer.repeated), (1, false));
    assert_eq!(answer.estimate.output, "/lab/run/o-1.txt");
    let list: JobList = bench.get(&ana, "/v1/jobs").await;
    assert_eq!((list.jobs[0].id.as_str(), list.jobs[0].state), ("1", JobState::Starting));
    let detail: JobDetail = bench.get(&ana, "/v1/jobs/job:1").await;
    assert_eq!(detail.script.as_deref(), Some("#!/bin/sh\necho hello\n"));
    let history: HistoryList = bench.get(&ana, "/v1/history").await;
    assert_eq!(history.jobs.len(), 0);
}

#[tokio::test]
async fn the_same_key_again_is_the_same_job() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    let keyed = || bench.submit(&ana, json!({ "key": "k1" }));
    let (first, again) = (keyed().await.unwrap(), keyed().await.unwrap());
    assert_eq!((first.job, again.job, again.repeated), (1, 1, true));
}

#[tokio::test]
async fn an_estimate_adds_nothing_and_is_refused_as_the_job_would_be() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    let before = bench.app.mirror.read().log_length();
    let answer = bench.submit(&ana, json!({ "estimate_only": true })).await.unwrap();
    assert_eq!((answer.job, answer.estimate.start.as_str()), (0, "starting 1 x 4c for it"));
    let refused = bench.submit(&ana, json!({ "estimate_only": true, "cpus_per_task": 64 })).await;
    assert_eq!(refused.unwrap_err().kind, ProblemKind::Refused);
    assert_eq!(bench.app.mirror.read().log_length(), before);
}

#[tokio::test]
async fn bad_submissions_are_refused_in_words() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let cases = [
        (json!({ "script_base64": "" }), ProblemKind::Refused, "the script is empty"),
        (json!({ "script_base64": base64(b"echo hi\n") }), ProblemKind::Refused, "no first line"),
        (json!({ "script_base64": base64(b"#!/bin/sh\r\n") }), ProblemKind::Refused, "CRLF"),
        (json!({ "script_base64": "***" }), ProblemKind::BadRequest, "not base64"),
        (
            json!({ "environment_base64": base64(&vec![b'x'; MAX_ENVIRONMENT_BYTES + 1]) }),
            ProblemKind::Refused,
            "the environment is too large",
        ),
        (json!({ "work_dir": "run" }), ProblemKind::BadRequest, "not absolute"),
        (json!({ "output": "a\nb" }), ProblemKind::BadRequest, "line end"),
        (json!({ "name": "x".repeat(300) }), ProblemKind::BadRequest, "300 bytes long"),
        (json!({ "nodes": 0 }), ProblemKind::BadRequest, "at least 1 node"),
        (json!({ "priority": 5 }), ProblemKind::NotAllowed, "only an admin"),
        (json!({ "cpus_per_task": "many" }), ProblemKind::BadRequest, "not what is asked for"),
        (json!({ "pools": ["gpu"] }), ProblemKind::NotFound, "no pool gpu"),
    ];
    for (changes, kind, words) in cases {
        let problem = bench.submit(&ana, changes.clone()).await.unwrap_err();
        assert_eq!(problem.kind, kind, "{changes}: {problem:?}");
        assert!(problem.message.contains(words), "{changes}: {}", problem.message);
    }
    assert_eq!(bench.app.mirror.read().jobs.len(), 0);
}

#[test]
fn a_directory_is_seen_below_a_share_and_nowhere_else() {
    let mut pool = config().pools.remove(0);
    let mut seen = |shares: &[&str], work_dir: &str| {
        pool.shares = shares
            .iter()
            .map(|path| pcluster_model::config::Share {
                path: (*path).into(),
                source: pcluster_model::config::ShareSource::Mounted,
                size_bytes: None,
            })
            .collect();
        let spec = pcluster_model::JobSpec {
            work_dir: work_dir.into(),
            ..pcluster_views::samples::spec("x", 1, 1)
        };
        submit::check_work_dir(&spec, &pool).is_ok()
    };
    assert!(seen(&["/"], "/home/ana"));
    assert!(seen(&["/shared"], "/shared"));
    assert!(seen(&["/data", "/shared/"], "/shared/ana/run"));
    assert!(!seen(&["/shared"], "/shared2"));
    assert!(!seen(&["/shared"], "/shared/../home/ana"));
    assert!(!seen(&[], "/shared"));
}

#[tokio::test]
async fn wait_answers_when_the_job_ends_and_not_later_than_asked() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    bench.submit(&ana, json!({})).await.unwrap();
    let early: WaitResponse = bench.get(&ana, "/v1/jobs/1/wait?timeout_ms=1").await;
    assert!(!early.ended);
    let runs = bench.boot().await;
    let waiting = bench.get::<WaitResponse>(&ana, "/v1/jobs/1/wait?timeout_ms=60000");
    let (late, ()) = tokio::join!(waiting, bench.end(runs[0], 7, 0));
    assert_eq!((late.ended, late.code), (true, 7));
    let history: HistoryList = bench.get(&ana, "/v1/history").await;
    assert_eq!(history.jobs[0].job.outcome.as_ref().unwrap().exit_code, Some(7));
}

#[tokio::test]
async fn followed_output_starts_in_the_queue_and_ends_with_the_last_byte() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    bench.submit(&ana, json!({})).await.unwrap();
    let following = async {
        let response = bench.send(Some(&ana), "GET", "/v1/jobs/1/output?follow=true", None).await;
        assert_eq!(response.headers()["x-pcluster-offset"], "0");
        response.into_body().collect().await.unwrap().to_bytes()
    };
    let working = async {
        let runs = bench.boot().await;
        bench.app.logs.append(runs[0].1, 0, b"one\n").unwrap();
        // The end arrives before the last piece: the follower waits for all nine bytes.
        bench.end(runs[0], 0, 9).await;
        bench.app.logs.append(runs[0].1, 4, b"three").unwrap();
    };
    let both = async { tokio::join!(following, working).0 };
    assert_eq!(tokio::time::timeout(DEADLINE, both).await.unwrap(), "one\nthree");
    let rest = bench.send(Some(&ana), "GET", "/v1/jobs/1/output?offset=4", None).await;
    assert_eq!(rest.headers()["x-pcluster-offset"], "4");
    assert_eq!(rest.into_body().collect().await.unwrap().to_bytes(), "three");
}

#[tokio::test]
async fn events_reach_those_who_may_see_them_and_resume() {
    let (bench, ana, bo) = (bench().await, user("ana", 1000), user("bo", 1001));
    let after = bench.app.mirror.read().log_length();
    bench.submit(&bo, json!({})).await.unwrap();
    bench.submit(&ana, json!({})).await.unwrap();
    let request = axum::http::Request::get("/v1/events").header("last-event-id", after.to_string());
    let mut request = request.body(Full::new(Bytes::new())).unwrap();
    request.extensions_mut().insert(ana.clone());
    let service = TowerToHyperService::new(bench.router.clone());
    let response = service.call(request).await.unwrap();
    let mut body = response.into_body();
    let frame = tokio::time::timeout(DEADLINE, body.frame()).await.unwrap().unwrap().unwrap();
    let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
    assert!(text.contains("event: job_submitted\n"), "{text}");
    assert!(text.contains("\"user\":\"ana\"") && !text.contains("\"user\":\"bo\""), "{text}");
}

#[tokio::test]
async fn owners_act_on_their_jobs_and_updates_keep_what_is_not_named() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    bench.submit(&ana, json!({ "comment": "first" })).await.unwrap();
    let held: ActionResponse = bench.post(&ana, "/v1/jobs/1/hold", json!({})).await.unwrap();
    assert_eq!(held.changed, 1);
    let why: WhyView = bench.get(&ana, "/v1/jobs/1/why").await;
    assert_eq!(
        (why.word.as_str(), why.headline.as_str()),
        ("held", "job 1 (align) is held by you")
    );
    let update = json!({ "cpus_per_task": 1, "name": "small" });
    let _: ActionResponse = bench.post(&ana, "/v1/jobs/1/update", update).await.unwrap();
    let detail: JobDetail = bench.get(&ana, "/v1/jobs/1").await;
    assert_eq!((detail.rows[0].name.as_str(), detail.rows[0].cpus), ("small", 1));
    assert_eq!(
        (detail.comment.as_deref(), detail.rows[0].time_limit_ms),
        (Some("first"), Some(600_000))
    );
    for (asked, why) in [
        (json!({ "features": [], "feature_choices": [["x"], ["y"]] }), "has the feature x"),
        (json!({ "features": [], "feature_choices": [[]] }), "names none"),
    ] {
        let refused = bench.post::<ActionResponse>(&ana, "/v1/jobs/1/update", asked).await;
        let words = refused.unwrap_err().message;
        assert!(words.contains(why), "{words}");
    }
    let throttled =
        bench.post::<ActionResponse>(&ana, "/v1/jobs/1/update", json!({ "throttle": 2 })).await;
    assert_eq!(throttled.unwrap_err().kind, ProblemKind::Refused);
    let _: ActionResponse = bench.post(&ana, "/v1/jobs/1/cancel", json!({})).await.unwrap();
    // What was cancelled has not failed.
    let rerun = bench.post::<ActionResponse>(&ana, "/v1/jobs/1/rerun", json!({})).await;
    assert_eq!(rerun.unwrap_err().kind, ProblemKind::Refused);
}

#[tokio::test]
async fn a_task_is_also_named_by_its_own_number() {
    let (bench, ana, bo) = (bench().await, user("ana", 1000), user("bo", 1001));
    let array = json!({ "array": { "indices": [[1, 3]] }, "cpus_per_task": 4 });
    bench.submit(&ana, array).await.unwrap();
    bench.boot().await;
    let own =
        bench.app.mirror.read().jobs[&pcluster_model::JobId(1)].numbers_of(1).unwrap().raw_job;
    let detail: JobDetail = bench.get(&ana, &format!("/v1/jobs/{own}")).await;
    assert_eq!(detail.rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["1_1"]);
    let refused = bench.send(Some(&bo), "GET", &format!("/v1/jobs/{own}/output"), None).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
}

/// Every route by every role: a stranger to the job, its owner, an admin, and nobody.
#[tokio::test]
async fn every_route_by_every_role() {
    let bench = bench().await;
    let (owner, other, root) = (user("ana", 1000), user("bo", 1001), admin());
    bench.submit(&owner, json!({})).await.unwrap();
    bench.boot().await;
    for route in routes() {
        let path = route.path.replace("{id}", "1").replace("{name}", "compute-9");
        let path = path.replace("{run}", "1").replace("{step}", "0").replace("{rank}", "0");
        for (who, allowed) in [
            (
                Some(&owner),
                !matches!(
                    route.action,
                    Action::ReadNode
                        | Action::ChangeNode
                        | Action::ReadCluster
                        | Action::ChangeCluster
                ),
            ),
            (
                Some(&other),
                matches!(route.action, Action::SeeCluster | Action::SeeJob | Action::Submit),
            ),
            (Some(&root), true),
            (None, false),
        ] {
            // A route that changes something for real is asked with a body that cannot be read.
            let body = (route.method == Method::POST).then(|| json!("no such thing"));
            let sent = bench.send(who, route.method.as_str(), &path, body).await;
            let refused = sent.status() == StatusCode::FORBIDDEN;
            assert_eq!(!refused, allowed, "{} {path} by {who:?}", route.method);
            assert_eq!(sent.headers()["x-content-type-options"], "nosniff");
            if refused {
                assert_eq!(read::<()>(sent).await.1.unwrap_err().kind, ProblemKind::NotAllowed);
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    let cases = [
        ("GET", "/v1/nothing", ProblemKind::NotFound),
        ("GET", "/v1/jobs/7", ProblemKind::NotFound),
        ("GET", "/v1/jobs/+7", ProblemKind::BadRequest),
        ("GET", "/v1/jobs/7_[2-1]/why", ProblemKind::BadRequest),
        ("GET", "/v1/nodes/compute-9", ProblemKind::NotFound),
        ("GET", "/v1/cost?by=colour", ProblemKind::BadRequest),
        ("DELETE", "/v1/jobs", ProblemKind::BadRequest),
        ("POST", "/v1/jobs", ProblemKind::BadRequest),
        ("GET", "/v1/cost?all=true", ProblemKind::NotAllowed),
    ];
    for (method, path, kind) in cases {
        let (_, answer) = read::<()>(bench.send(Some(&ana), method, path, None).await).await;
        assert_eq!(answer.unwrap_err().kind, kind, "{method} {path}");
    }
}

#[tokio::test]
async fn records_are_found_by_any_id_and_say_which_ids_mean_nothing() {
    let (bench, ana, bo) = (bench().await, user("ana", 1000), user("bo", 1001));
    let array = json!({ "array": { "indices": [[1, 2]] }, "cpus_per_task": 1 });
    bench.submit(&ana, array).await.unwrap();
    for run in bench.boot().await {
        bench.end(run, 0, 0).await;
    }
    let path = "/v1/records?ids=1_1,2,1_7,99&ended=true";
    let list: RecordList = bench.get(&bo, path).await;
    let found: Vec<_> = list.records.iter().map(|r| (r.job, r.task, r.raw_job)).collect();
    assert_eq!((found, list.unknown), (vec![(1, Some(1), 2)], vec!["1_7".into(), "99".into()]));
    assert_eq!((list.records[0].uid, list.cluster.is_empty()), (1000, false));
    let refused = bench.send(Some(&bo), "GET", "/v1/jobs/1/allocation", None).await;
    let problem = read::<AllocationView>(refused).await.1.unwrap_err();
    assert_eq!(problem.kind, ProblemKind::NotAllowed);
    let pools: PoolList = bench.get(&bo, "/v1/pools").await;
    assert_eq!((pools.pools[0].name.as_str(), pools.pools[0].nodes.len()), ("compute", 2));
}

#[tokio::test]
async fn an_allocation_has_steps_and_is_given_back() {
    let (bench, ana, bo) = (bench().await, user("ana", 1000), user("bo", 1001));
    let asked = json!({ "kind": "allocation", "script_base64": "", "lease_ms": 600_000 });
    bench.submit(&ana, asked).await.unwrap();
    let (node, run) = bench.boot().await[0];
    let started_at = bench.app.clock.now();
    bench.give(Input::AgentSaid { node, said: AgentSaid::RunStarted { run, started_at } }).await;
    let allocation: AllocationView = bench.get(&ana, "/v1/jobs/1/allocation").await;
    assert_eq!((allocation.started, allocation.run, allocation.parts[0].cpus), (true, run.0, 2));
    let path = format!("/v1/runs/{run}/steps");
    let step = |key: &str, tasks: u32| json!({ "key": key, "name": "hello", "tasks_by_rank": [tasks], "cpus_per_task": 1 });
    let first: StepGrant = bench.post(&ana, &path, step("a", 2)).await.unwrap();
    let again: StepGrant = bench.post(&ana, &path, step("a", 2)).await.unwrap();
    assert_eq!((first.step, again.step), (0, 0));
    let refused = [
        (&ana, path.as_str(), ProblemKind::Busy),
        (&bo, path.as_str(), ProblemKind::NotAllowed),
        (&ana, "/v1/runs/99/steps", ProblemKind::NotFound),
        (&ana, "/v1/runs/x/steps", ProblemKind::BadRequest),
    ];
    for (who, path, kind) in refused {
        let no = bench.post::<StepGrant>(who, path, step("b", 1)).await.unwrap_err();
        assert_eq!(no.kind, kind, "{path}: {no}");
    }
    // Whoever makes too many is told to come back, as when there is no room.
    let late = std::time::Instant::now() + Duration::from_secs(60);
    while bench.app.bounds.steps.take(1000, late).is_ok() {}
    let no = bench.post::<StepGrant>(&ana, &path, step("b", 1)).await.unwrap_err();
    assert!(no.kind == ProblemKind::Busy && no.message.contains("more steps"), "{no}");
    let end = json!({ "rank": 0, "exit_code": 3, "user_cpu_ms": 70, "max_rss_bytes": 4096 });
    let path = format!("/v1/runs/{run}/steps/0/end");
    bench.post::<ActionResponse>(&ana, &path, end).await.unwrap();
    let renewed: ActionResponse = bench.post(&ana, "/v1/jobs/1/renew", json!({})).await.unwrap();
    assert_eq!(renewed.job, 1);
    let finish = json!({ "exit_code": 5 });
    bench.post::<ActionResponse>(&ana, "/v1/jobs/1/finish", finish).await.unwrap();
    bench.end((node, run), 0, 0).await;
    let list: RecordList = bench.get(&ana, "/v1/records?ids=1&ended=true&steps=true").await;
    let record = &list.records[0];
    assert_eq!(record.outcome.as_ref().unwrap().exit_code, Some(5));
    let left = &record.steps[0];
    assert_eq!((left.ntasks, left.exit_code, left.cancelled), (2, Some(3), false));
    assert_eq!((left.user_cpu_ms, left.max_rss_bytes), (70, 4096));
}

#[tokio::test]
async fn a_job_stands_still_and_goes_on() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    bench.submit(&ana, json!({})).await.unwrap();
    let root = Principal { admin: true, ..user("root", 0) };
    for (who, kind) in [(&root, ProblemKind::Refused), (&ana, ProblemKind::NotAllowed)] {
        let refused = bench.post::<ActionResponse>(who, "/v1/jobs/1/suspend", json!({})).await;
        assert_eq!(refused.unwrap_err().kind, kind);
    }
    bench.boot().await;
    let suspended = async || -> bool {
        let list: RecordList = bench.get(&ana, "/v1/records").await;
        list.records[0].suspended
    };
    for (verb, stands) in [("suspend", true), ("resume", false)] {
        let path = format!("/v1/jobs/1/{verb}");
        bench.post::<ActionResponse>(&root, &path, json!({})).await.unwrap();
        assert_eq!(suspended().await, stands);
    }
}

#[tokio::test]
async fn a_body_of_another_kind_is_refused() {
    let bench = bench().await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let request = axum::http::Request::post("/v1/down").header("content-type", kind);
        let mut request = request.body(Full::new(Bytes::from_static(b"{}"))).unwrap();
        request.extensions_mut().insert(admin());
        let service = TowerToHyperService::new(bench.router.clone());
        let answer = read::<()>(service.call(request).await.unwrap()).await.1;
        assert_eq!(answer.unwrap_err().message, "a body must be JSON");
    }
    assert!(bench.app.mirror.read().meta.closing.is_none());
}

#[tokio::test]
async fn the_cluster_tells_its_status_its_metrics_and_its_end() {
    let (bench, root) = (bench().await, admin());
    let status: StatusView = bench.get(&root, "/v1/status").await;
    assert_eq!((status.phase.as_str(), status.provider.as_str()), ("up", "process"));
    assert!(status.memory_bytes > 0);
    let metrics = bench.send(Some(&root), "GET", "/metrics", None).await;
    let text = metrics.into_body().collect().await.unwrap().to_bytes();
    assert!(text.starts_with(b"# HELP pcluster_"), "{text:?}");
    let config: serde_json::Value = bench.get(&root, "/v1/config").await;
    assert_eq!(config["pools"][0]["name"], "compute");
    let down: DownView = bench.post(&root, "/v1/down", json!({ "now": false })).await.unwrap();
    assert_eq!(down.phase, "closed");
    assert_eq!(down.cleaned, ["group g-1 removed"]);
}

#[tokio::test]
async fn a_stream_to_a_node_is_for_the_owner_and_admins() {
    let (bench, ana) = (bench().await, user("ana", 1000));
    bench.submit(&ana, json!({})).await.unwrap();
    let (_, run) = bench.boot().await[0];
    let path = |rank: u32| format!("/v1/runs/{run}/parts/{rank}/attach");
    let asked = async |who: &Principal, rank| {
        let response = bench.send(Some(who), "GET", &path(rank), None).await;
        read::<serde_json::Value>(response).await.1.unwrap_err()
    };
    assert_eq!(asked(&user("bob", 1001), 0).await.kind, ProblemKind::NotAllowed);
    // Root's name on a node is no admin's.
    let roots = Principal { admin: false, ..admin() };
    assert_eq!(asked(&roots, 0).await.kind, ProblemKind::NotAllowed);
    // Those who may are told what is missing: here, the wish for another protocol.
    for who in [&ana, &admin()] {
        assert_eq!(asked(who, 0).await.kind, ProblemKind::BadRequest);
        assert_eq!(asked(who, 1).await.kind, ProblemKind::NotFound);
    }
    let gone: Problem = read::<serde_json::Value>(
        bench.send(Some(&ana), "GET", "/v1/runs/999/parts/0/attach", None).await,
    )
    .await
    .1
    .unwrap_err();
    assert_eq!(gone.kind, ProblemKind::NotFound);
}

#[test]
fn the_document_names_every_route_and_is_checked_in() {
    let document = openapi::generated();
    let documented: BTreeSet<(String, String)> = document
        .paths
        .paths
        .iter()
        .flat_map(|(path, item)| {
            let methods = [("GET", &item.get), ("POST", &item.post)];
            let there = methods.into_iter().filter(|(_, operation)| operation.is_some());
            there.map(|(method, _)| (method.to_owned(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    let there: BTreeSet<(String, String)> =
        routes().iter().map(|route| (route.method.to_string(), route.path.to_owned())).collect();
    assert_eq!(documented, there);
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let text = document.to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == text, "headnode/openapi.json is old: UPDATE=1 cargo test -p pcluster-headnode");
}

#[tokio::test]
async fn a_failed_boot_is_shown_to_admins_after_its_node_has_left_memory() {
    let bench = bench().await;
    let (ana, root) = (user("ana", 1000), admin());
    bench.submit(&ana, json!({})).await.unwrap();
    let mut detail: NodeDetail = bench.get(&ana, "/v1/nodes/compute-1").await;
    (detail.node.name, detail.log) = ("compute-7".into(), vec!["mounting /shared".into()]);
    let node = NodeId { launch: pcluster_model::LaunchId(700), index: 0 };
    let (console, no_console) = (vec!["kernel panic".into()], None);
    let bundle = crate::bundles::Bundle { node, kept_at_ms: 1, detail, console, no_console };
    bench.app.bundles.keep(&bundle).unwrap();
    for name in ["compute-7", "node:compute-7", "700.0"] {
        let shown: NodeDetail = bench.get(&root, &format!("/v1/nodes/{name}")).await;
        assert_eq!(shown.node.last_line.as_deref(), Some("mounting /shared"));
        assert!(shown.log.contains(&"kernel panic".to_owned()), "{:?}", shown.log);
    }
    let refused = bench.send(Some(&ana), "GET", "/v1/nodes/compute-7", None).await;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn one_user_cannot_fill_the_head_with_bodies() {
    let bench = bench().await;
    let owner = user("ada", 1000);
    bench.submit(&owner, json!({})).await.unwrap();
    let _held = bench.app.bounds.bodies.take_many(owner.uid, limits::BODIES_OF_ONE).unwrap();
    let cancel = |length: usize| {
        let body = format!("{{}}{}", " ".repeat(length - 2));
        let mut request = axum::http::Request::builder()
            .method("POST")
            .uri("/v1/jobs/1/cancel")
            .header("content-type", "application/json")
            .header("content-length", length)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        request.extensions_mut().insert(owner.clone());
        TowerToHyperService::new(bench.router.clone()).call(request)
    };
    assert_eq!(cancel(100_000).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(cancel(2).await.unwrap().status(), StatusCode::OK);
}

#[test]
fn a_pipeline_of_a_thousand_steps_a_minute_never_waits() {
    let rates = pcluster_api::rates::Rates::new(limits::STEP_EVERY, limits::STEPS_AT_ONCE);
    let began = std::time::Instant::now();
    for minute in 0..60 {
        // All of a minute's steps in its first moment.
        let now = began + Duration::from_secs(60 * minute);
        assert!((0..1000).all(|_| rates.take(1000, now).is_ok()));
    }
}

#[tokio::test]
async fn an_answer_of_several_lots_of_records_is_one_answer() {
    let bench = bench().await;
    let ana = user("ana", 1000);
    let jobs = limits::RECORDS_AT_ONCE * 2 + 3;
    for _ in 0..jobs {
        bench.submit(&ana, json!({ "hold": true })).await.unwrap();
    }
    let list: RecordList = bench.get(&ana, "/v1/records").await;
    let ids: Vec<u64> = list.records.iter().map(|record| record.job).collect();
    assert_eq!(ids, (1..=jobs as u64).collect::<Vec<_>>());
    assert_eq!((list.cluster.as_str(), list.unknown.len()), (config().name.as_str(), 0));
    // Ids are not looked at one by one, however many are named.
    let ids = vec!["1_[0-999999]"; 3000].join("%2C");
    let list: RecordList = bench.get(&ana, &format!("/v1/records?ids={ids}")).await;
    assert_eq!((list.records.len(), list.unknown.len()), (0, 3000));
    // Nor does a job become many by being named often.
    let ids = vec!["1"; 3000].join("%2C");
    let list: JobList = bench.get(&ana, &format!("/v1/jobs?ids={ids}")).await;
    assert_eq!(list.jobs.len(), 1);
}
