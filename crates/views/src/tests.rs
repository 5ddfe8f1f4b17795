//! Views over a cluster that went through a day: inputs in, pages out.
use super::rows::Filter;
use super::samples::{admin, config, spec, user};
use super::*;
use pcluster_api::{CostBy, JobState};
use pcluster_core::input::{
    AgentSaid, Input, LaunchError, LaunchedInstance, ListedInstance, ProviderSaid, Request,
};
use pcluster_core::reply::Reply;
use pcluster_core::{Effect, Order};
use pcluster_model::config::{Config, ProviderKind};
use pcluster_model::{
    ArraySpec, ClusterId, DurationMs, InstanceRef, JobId, JobSpec, NodeId, Price, RunId,
};
use pcluster_wire::{Exit, Facts, RunEnd, Usage};
use std::collections::BTreeMap;

/// The whole queue, which is the same whatever number of jobs is looked at at a time.
fn list(cx: &Cx<'_>, filter: &Filter) -> pcluster_api::JobList {
    let all = |most: usize| {
        let mut listing = rows::Listing::new(cx, filter);
        while listing.more(cx, most) {}
        listing.done()
    };
    let whole = all(usize::MAX);
    assert_eq!(all(1), whole);
    whole
}

/// A cluster with hands that do what they are told at once.
pub struct Lab {
    pub cluster: Cluster,
    pub now: Timestamp,
    pub launched: BTreeMap<NodeId, ListedInstance>,
    /// Nodes that wait for `boot`.
    pub booting: Vec<NodeId>,
    started: Vec<(NodeId, RunId)>,
    /// Launches are answered with this.
    pub refusal: Option<LaunchError>,
}

impl Lab {
    pub fn new(config: Config) -> Self {
        let mut lab = Self {
            cluster: Cluster::new(ClusterId::from("0123456789abcdef")),
            // 22 Nov 2026, 12:00 UTC.
            now: Timestamp(1_795_348_800_000),
            launched: BTreeMap::new(),
            booting: Vec::new(),
            started: Vec::new(),
            refusal: None,
        };
        lab.give(Input::Started { version: "1".into(), config: Box::new(config), offset_ms: 0 });
        lab
    }

    pub fn give(&mut self, input: Input) -> Reply {
        let prepared = self.cluster.prepare(self.now, vec![input]);
        let committed = prepared.commit(|_, _| Ok::<(), ()>(())).expect("memory never fails");
        let mut released = committed.release(&mut self.cluster, self.now);
        for effect in released.effects {
            self.carry_out(effect);
        }
        released.replies.remove(0)
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Launch(plan) if self.refusal.is_some() => {
                let answer = Err(self.refusal.clone().unwrap());
                let launch = plan.launch;
                self.give(Input::ProviderSaid(ProviderSaid::Launched { launch, answer }));
            }
            Effect::Launch(plan) => {
                let launched_at = self.now;
                let nodes: Vec<NodeId> = (0..u32::try_from(plan.names.len()).unwrap())
                    .map(|index| NodeId { launch: plan.launch, index })
                    .collect();
                let answer = nodes.iter().map(|node| {
                    let instance = InstanceRef(format!("p-{node}"));
                    self.launched.insert(
                        *node,
                        ListedInstance {
                            instance: instance.clone(),
                            launch: node.launch,
                            index: Some(node.index),
                            ended_at: None,
                            ended_estimated: false,
                            notice_at: None,
                            reclaimed: false,
                            tags: Default::default(),
                            launched_at,
                        },
                    );
                    Ok(LaunchedInstance { index: node.index, instance, launched_at })
                });
                let answer = Ok(answer.collect());
                self.booting.extend(nodes);
                self.give(Input::ProviderSaid(ProviderSaid::Launched {
                    launch: plan.launch,
                    answer,
                }));
            }
            Effect::Terminate { node, .. } => {
                if let Some(listed) = self.launched.get_mut(&node) {
                    listed.ended_at.get_or_insert(self.now);
                }
                self.give(Input::ProviderSaid(ProviderSaid::Terminated { node, error: None }));
            }
            Effect::Tell { node, order: Order::Start(plan), .. } => {
                self.started.push((node, plan.run));
            }
            Effect::Tell { .. } | Effect::TerminateUnknown { .. } => {}
        }
    }

    pub fn submit(&mut self, who: &Principal, spec: JobSpec) -> JobId {
        let request = Request::Submit { spec: Box::new(spec), key: None };
        match self.give(Input::Request { principal: who.clone(), request }) {
            Reply::Submitted { job, .. } => job,
            other => panic!("submit was answered with {other:?}"),
        }
    }

    pub fn ask(&mut self, who: &Principal, request: Request) -> Reply {
        self.give(Input::Request { principal: who.clone(), request })
    }

    /// Time passes in steps that no timeout of silence notices.
    pub fn pass(&mut self, span: DurationMs) {
        let end = self.now + span;
        while self.now < end {
            self.now = end.min(self.now + DurationMs::from_secs(10));
            let nodes: Vec<NodeId> = self.launched.keys().copied().collect();
            for node in nodes {
                if self.cluster.is_connected(node) {
                    self.give(Input::AgentSaid { node, said: AgentSaid::Heartbeat });
                }
            }
            self.list();
            self.give(Input::Tick);
        }
    }

    pub fn list(&mut self) {
        let instances = self.launched.values().cloned().collect();
        let said =
            ProviderSaid::Listed { provider: ProviderKind::Process, asked_at: self.now, instances };
        self.give(Input::ProviderSaid(said));
    }

    /// Everything that boots says hello.
    pub fn boot(&mut self) {
        for node in std::mem::take(&mut self.booting) {
            let usable = self.cluster.nodes[&node].shape.usable();
            let facts = Box::new(Facts { usable, clock: self.now, ..Facts::default() });
            let said = AgentSaid::Hello {
                key: format!("k{node}"),
                token_valid: true,
                boot_id: "b".into(),
                facts,
                runs: Vec::new(),
            };
            self.give(Input::AgentSaid { node, said });
        }
    }

    /// Every run that was told to start says that it has.
    pub fn start(&mut self) {
        for (node, run) in self.started.clone() {
            let said = AgentSaid::RunStarted { run, started_at: self.now };
            self.give(Input::AgentSaid { node, said });
        }
    }

    /// Every started run ends like this.
    pub fn end(&mut self, exit: Exit) {
        for (node, run) in std::mem::take(&mut self.started) {
            let started_at = self.cluster.started_at(run).unwrap_or(self.now);
            let usage = Usage {
                user_cpu_ms: 500,
                system_cpu_ms: 100,
                max_rss_bytes: 300 << 20,
                ..Usage::default()
            };
            let end = RunEnd { run, exit: exit.clone(), usage, started_at, ended_at: self.now };
            self.give(Input::AgentSaid { node, said: AgentSaid::RunEnded(end) });
        }
    }

    pub fn cx<'a>(&'a self, reader: &'a Principal) -> Cx<'a> {
        Cx { cluster: &self.cluster, now: self.now, reader }
    }

    pub fn why(&self, reader: &Principal, job: JobId) -> pcluster_api::WhyView {
        why::job(&self.cx(reader), &self.cluster.jobs[&job], None)
    }

    pub fn rows(&self, reader: &Principal, filter: &Filter) -> Vec<(String, JobState)> {
        let list = list(&self.cx(reader), filter);
        list.jobs.into_iter().map(|row| (row.id, row.state)).collect()
    }
}

pub fn row(id: &str, state: JobState) -> (String, JobState) {
    (id.into(), state)
}

fn spent(cx: &Cx<'_>, by: CostBy, all: bool, past: &[Job]) -> pcluster_api::CostView {
    cost::view(cx, &cost::Asked { by, since_ms: cost::month_start_ms(cx), all, past })
}

#[test]
fn a_job_is_starting_while_its_node_boots_then_runs_then_is_history() {
    let (ana, mine) = (user("ana", 1000), Filter::default());
    let mut lab = Lab::new(config());
    let job = lab.submit(&ana, spec("align", 2, 600_000));
    assert_eq!(lab.rows(&ana, &mine), [row("1", JobState::Starting)]);
    assert_eq!(lab.why(&ana, job).word, "node_boots");
    lab.pass(DurationMs::from_secs(30));
    lab.boot();
    lab.start();
    assert_eq!(lab.rows(&ana, &mine), [row("1", JobState::Running)]);
    lab.pass(DurationMs::from_secs(100));
    lab.end(Exit::Code(3));
    assert_eq!(lab.rows(&ana, &mine), []);
    let all = Filter { finished: true, ..Filter::default() };
    let list = list(&lab.cx(&ana), &all);
    let outcome = list.jobs[0].outcome.clone().unwrap();
    assert_eq!(
        (outcome.word.as_str(), outcome.exit_code, outcome.wait_code),
        ("failed", Some(3), 3)
    );
    assert_eq!(list.jobs[0].elapsed_ms, 100_000);
    let jobs: Vec<Job> = lab.cluster.jobs.values().cloned().collect();
    let entries = history::list(&lab.cx(&ana), &jobs, None, 10);
    assert_eq!((entries.jobs[0].cpu_ms, entries.jobs[0].max_rss_bytes), (600, 300 << 20));
}

#[test]
fn an_array_is_a_row_for_each_live_task_and_one_for_the_rest() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let indices = (1..=12).collect();
    let mut asked = spec("call", 4, 600_000);
    asked.array = Some(ArraySpec { indices, throttle: Some(2) });
    lab.submit(&ana, asked);
    lab.boot();
    lab.start();
    let list = list(&lab.cx(&ana), &Filter::default());
    let ids: Vec<&str> = list.jobs.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["1_1", "1_2", "1_[3-12]"]);
    let rest = &list.jobs[2];
    assert_eq!((rest.count, rest.tasks.as_deref()), (10, Some("3-12")));
    assert_eq!(rest.reason.as_ref().unwrap().short, "2 at once");
    assert_eq!(rest.expected_start_ms, Some(lab.now.0 + 600_000));
}

#[test]
fn others_see_place_and_size_and_nothing_private() {
    let (ana, bo) = (user("ana", 1000), user("bo", 1001));
    let mut lab = Lab::new(config());
    let job = lab.submit(&ana, JobSpec { comment: "secret".into(), ..spec("align", 2, 600_000) });
    lab.boot();
    lab.start();
    lab.pass(DurationMs::from_secs(100));
    let by = |reader: &Principal| {
        detail::of(&lab.cx(reader), &lab.cluster.jobs[&job], None, Some("#!/bin/sh".into()))
    };
    let (mine, others) = (by(&ana), by(&bo));
    assert_eq!(mine.work_dir.as_deref(), Some("/lab/run"));
    assert_eq!(mine.output.as_deref(), Some("/lab/run/align-1.out"));
    assert!(mine.rows[0].cost_micro_usd.unwrap() > 0);
    assert!(mine.script.is_some() && mine.comment.is_some());
    assert_eq!(others.rows[0].node_names, mine.rows[0].node_names);
    assert_eq!(others.rows[0].cost_micro_usd, None);
    assert_eq!(
        (others.output, others.work_dir, others.comment, others.script),
        (None, None, None, None)
    );
    let listed = list(&lab.cx(&bo), &Filter::default());
    assert_eq!((listed.jobs.len(), listed.others, listed.other_users), (0, 1, 1));
}

#[test]
fn buckets_add_up_to_spans_while_they_are_open_and_when_they_are_closed() {
    let (ana, root) = (user("ana", 1000), admin());
    let mut lab = Lab::new(config());
    lab.submit(&ana, spec("align", 3, 600_000));
    lab.pass(DurationMs::from_secs(20));
    lab.boot();
    lab.start();
    lab.pass(DurationMs::from_secs(100));
    let sums = |view: &pcluster_api::CostView| {
        let b = &view.buckets;
        b.job_micro_usd
            + b.boot_micro_usd
            + b.idle_busy_micro_usd
            + b.idle_empty_micro_usd
            + b.drain_micro_usd
    };
    let open = spent(&lab.cx(&root), CostBy::User, true, &[]);
    // 120 s at $0.36 an hour.
    assert_eq!((open.nodes_micro_usd, sums(&open), open.open_spans), (12_000, 12_000, 1));
    assert_eq!(open.buckets.boot_micro_usd, 2_000);
    lab.end(Exit::Code(0));
    lab.pass(DurationMs::from_secs(120));
    let closed = spent(&lab.cx(&root), CostBy::User, true, &[]);
    let spans: i64 = lab.cluster.ledger.spans.values().map(|span| span.total.0).sum();
    assert_eq!((closed.spans, closed.open_spans), (1, 0));
    assert_eq!((closed.nodes_micro_usd, sums(&closed)), (spans, spans));
    assert_eq!(closed.by[0].key, "ana");
    assert_eq!(closed.by[0].cost_micro_usd, closed.buckets.job_micro_usd);
    for by in [CostBy::Job, CostBy::Pool, CostBy::Day, CostBy::Account] {
        let view = spent(&lab.cx(&root), by, true, &[]);
        assert_eq!(
            view.by.iter().map(|row| row.cost_micro_usd).sum::<i64>(),
            closed.buckets.job_micro_usd
        );
    }
    let others = spent(&lab.cx(&user("bo", 1001)), CostBy::User, false, &[]);
    assert_eq!((others.nodes_micro_usd, others.by.len()), (spans, 0));
    // Forgotten jobs cost what they cost, and whose they were is known from their rows.
    let past: Vec<Job> = std::mem::take(&mut lab.cluster.jobs).into_values().collect();
    let old = spent(&lab.cx(&root), CostBy::User, true, &past);
    assert_eq!((&old.by, old.jobs), (&closed.by, closed.jobs));
    assert_eq!(spent(&lab.cx(&ana), CostBy::Job, false, &past).by.len(), 1);
}

#[test]
fn the_bill_of_an_array_is_divided_among_its_tasks() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let mut asked = spec("call", 2, 600_000);
    asked.array = Some(ArraySpec { indices: (1..=2).collect(), throttle: None });
    let job = lab.submit(&ana, asked);
    lab.boot();
    lab.start();
    lab.pass(DurationMs::from_secs(100));
    let cx = lab.cx(&ana);
    let costs = money::JobCosts::of_job(&cx, &lab.cluster.jobs[&job]);
    let rows = rows::of_job(&cx, &lab.cluster.jobs[&job], None, true, &costs);
    let sum: i64 = rows.iter().map(|row| row.cost_micro_usd.unwrap()).sum();
    assert_eq!((rows.len(), sum), (2, costs.get(job).0));
}

#[test]
fn nodes_show_boot_use_and_the_moment_they_stop() {
    let root = admin();
    let mut lab = Lab::new(config());
    lab.submit(&root_as_ana(), spec("align", 2, 600_000));
    let phase = |lab: &Lab| {
        let node = node::list(&lab.cx(&root)).nodes[0].clone();
        (node.state, node.jobs, node.stops_at_ms)
    };
    assert_eq!(phase(&lab), ("booting".into(), vec![], None));
    lab.boot();
    lab.start();
    assert_eq!(phase(&lab), ("busy".into(), vec!["1".into()], None));
    lab.end(Exit::Code(0));
    assert_eq!(phase(&lab), ("idle".into(), vec![], Some(lab.now.0 + 60_000)));
    let listed = node::list(&lab.cx(&root));
    assert_eq!(listed.price_per_hour_micro_usd, 360_000);
    let why = why_node::node(&lab.cx(&root), lab.cluster.node_named("compute-1").unwrap());
    assert!(why.headline.starts_with("node compute-1 is idle and stops at"), "{}", why.headline);
    lab.pass(DurationMs::from_secs(90));
    assert_eq!(node::list(&lab.cx(&root)).nodes.len(), 0);
}

fn root_as_ana() -> Principal {
    user("ana", 1000)
}

#[test]
fn a_node_that_did_not_boot_stays_listed_and_needs_attention() {
    let root = admin();
    let mut lab = Lab::new(config());
    lab.submit(&root_as_ana(), spec("align", 2, 600_000));
    lab.pass(DurationMs::from_mins(4));
    let failed: Vec<String> = node::list(&lab.cx(&root))
        .nodes
        .into_iter()
        .filter(|node| node.state == "failed")
        .map(|node| node.name)
        .collect();
    assert_eq!(failed, ["compute-1"]);
    let status = status::view(&lab.cx(&root), status::HeadFacts::default());
    assert!(
        status.attention.iter().any(|(label, _)| label == "compute-1"),
        "{:?}",
        status.attention
    );
    assert_eq!(status.nodes_failed_last_hour, 1);
}

#[test]
fn an_estimate_learns_from_the_last_two_runs() {
    let ana = user("ana", 1000);
    let mut lab = Lab::new(config());
    let first = estimate::of(&lab.cx(&ana), &spec("align", 2, 3_600_000));
    assert_eq!(first.start, "starting 1 x 4c for it");
    assert_eq!((first.history_runs, first.cost_micro_usd), (0, None));
    assert_eq!(first.cost_at_most_micro_usd, Some(180_000));
    for seconds in [100, 200] {
        lab.submit(&ana, spec("align", 2, 3_600_000));
        lab.boot();
        lab.start();
        lab.pass(DurationMs::from_secs(seconds));
        lab.end(Exit::Code(0));
    }
    let next = estimate::of(&lab.cx(&ana), &spec("align", 2, 3_600_000));
    assert_eq!(next.start, "at once on compute-1");
    assert_eq!((next.history_runs, next.end_ms), (2, Some(lab.now.0 + 150_000)));
    assert_eq!(next.cost_micro_usd, Some(7_500));
}

#[test]
fn an_estimate_knows_kinds_and_names_of_nodes() {
    let ana = user("ana", 1000);
    let mut config = config();
    let mut fast = config.pools[0].shapes[0].clone();
    (fast.name, fast.price) = ("fast".into(), fast.price.map(|price| Price(price.0 * 10)));
    config.pools[0].shapes.push(fast);
    let mut lab = Lab::new(config);
    let feature = |name: &str| vec![name.to_owned()];
    let wish = |limit_ms| JobSpec { features: feature("fast"), ..spec("f", 4, limit_ms) };
    let start = |lab: &Lab, spec: &JobSpec| {
        let said = estimate::of(&lab.cx(&ana), spec);
        (said.start, said.start_ms)
    };
    assert_eq!(start(&lab, &wish(60_000)).0, "starting 1 x fast for it");
    let priced = |spec: &JobSpec| estimate::of(&lab.cx(&ana), spec).price_per_hour_micro_usd;
    assert_eq!(priced(&wish(60_000)), priced(&spec("c", 4, 60_000)).map(|price| price * 10));
    // One node of each kind: `compute-1` is slow, `compute-2` is fast; both are all there may be.
    let at = lab.now.0;
    lab.submit(&ana, spec("slow", 4, 600_000));
    lab.submit(&ana, wish(3_600_000));
    lab.boot();
    lab.start();
    let slow_end = lab.cx(&ana).wall_now() + 600_000;
    let fast_end = lab.cx(&ana).wall_now() + 3_600_000;
    assert!(slow_end > at);
    assert_eq!(start(&lab, &spec("c", 4, 60_000)).1, Some(slow_end));
    assert_eq!(start(&lab, &wish(60_000)).1, Some(fast_end));
    let either =
        JobSpec { feature_choices: vec![feature("fast"), feature("4c")], ..spec("e", 4, 60_000) };
    assert_eq!(start(&lab, &either).1, Some(slow_end));
    let named = JobSpec { only_nodes: feature("compute-2"), ..spec("n", 4, 60_000) };
    assert_eq!(start(&lab, &named), ("when compute-2 has room".into(), Some(fast_end)));
    let not = JobSpec { not_nodes: feature("compute-1"), ..spec("n", 4, 60_000) };
    assert_eq!(start(&lab, &not).1, Some(fast_end));
    // Waiting jobs are told the same; who could take more than one node is counted behind all.
    let (next, other) = (lab.submit(&ana, wish(60_000)), lab.submit(&ana, spec("c", 4, 60_000)));
    let expected = |lab: &Lab, job| start::expected(&lab.cx(&ana), &lab.cluster.jobs[&job]);
    assert_eq!(expected(&lab, next), Some(fast_end));
    assert_eq!(expected(&lab, other), Some(fast_end), "the second end");
}

#[test]
fn status_counts_and_down_says_what_is_left() {
    let root = admin();
    let mut lab = Lab::new(config());
    lab.submit(&root_as_ana(), spec("align", 4, 600_000));
    lab.boot();
    lab.start();
    lab.submit(&root_as_ana(), JobSpec { hold: true, ..spec("later", 4, 600_000) });
    lab.list();
    let status = status::view(&lab.cx(&root), status::HeadFacts::default());
    assert_eq!((status.jobs_running, status.jobs_held, status.nodes_busy), (1, 1, 1));
    assert_eq!((status.instances_listed, status.instances_unknown), (1, 0));
    assert_eq!((status.phase.as_str(), status.attention.len()), ("up", 0));
    lab.ask(&root, Request::Down { now: false });
    let down = status::down(&lab.cx(&root));
    assert_eq!((down.phase.as_str(), down.running, down.waiting), ("closing", 1, 1));
    assert_eq!(down.last_end_ms, Some(lab.now.0 + 600_000));
}

#[test]
fn what_stands_has_its_own_lines_beside_the_nodes() {
    use pcluster_core::standing::{Standing, StandingKind};
    use pcluster_core::{Input, ProviderSaid};
    let root = admin();
    let mut lab = Lab::new(config());
    let stands = |reference: &str, kind, price, since| Standing {
        reference: reference.into(),
        kind,
        label: reference.into(),
        provider: ProviderKind::Process,
        price,
        minimum_billing_ms: DurationMs::from_secs(60),
        since,
        until: None,
        estimated: false,
    };
    let begin = lab.now;
    let found = vec![
        stands("head", StandingKind::Head, Some(Price(83_200)), begin),
        stands("disk", StandingKind::Storage, Some(Price(54_795)), begin),
        stands("odd", StandingKind::Storage, None, begin),
    ];
    let (provider, asked_at) = (ProviderKind::Process, lab.now);
    lab.give(Input::ProviderSaid(ProviderSaid::Standing { provider, asked_at, found }));
    lab.pass(DurationMs::from_hours(48));
    let view = spent(&lab.cx(&root), CostBy::Day, true, &[]);
    let sums = (view.head_micro_usd, view.storage_micro_usd, view.total_micro_usd);
    assert_eq!(sums, (48 * 83_200, 48 * 54_795, 48 * (83_200 + 54_795)));
    assert_eq!((view.nodes_micro_usd, view.standing.len()), (0, 3));
    assert_eq!(view.by.len(), 3, "two days and their ends: {:?}", view.by);
    let days: i64 = view.by.iter().map(|row| row.standing_micro_usd).sum();
    assert_eq!(days, view.total_micro_usd);
    assert!(view.committed_micro_usd > 0, "the rest of the month comes");
    let by_user = spent(&lab.cx(&root), CostBy::User, true, &[]);
    assert_eq!((by_user.by.len(), by_user.total_micro_usd), (0, view.total_micro_usd));
    let status = status::view(&lab.cx(&root), status::HeadFacts::default());
    assert_eq!((status.month_micro_usd, status.standing.len()), (view.total_micro_usd, 3));
    assert_eq!(status.price_per_hour_micro_usd, 83_200 + 54_795);
}
