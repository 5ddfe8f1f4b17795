//! A small world: a cluster with one process pool, whose machines and agents answer when told to.
use crate::effect::{Effect, Order};
use crate::event::{Event, Stamped};
use crate::input::{
    AgentSaid, Input, JobTarget, LaunchedInstance, ListedInstance, Principal, ProviderSaid,
    Request, Tags,
};
use crate::reply::Reply;
use crate::rows::Row;
use crate::{Cluster, Released};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::{Budget, Config, Head, Pool, ProviderKind, SpotUse};
use pcluster_model::{
    ArraySpec, BlobHash, ClusterId, DurationMs, IndexRanges, InstanceRef, JobId, JobSpec, LaunchId,
    NodeId, Price, Resources, RunId, Shape, Timestamp, UserName,
};
use pcluster_wire::{Exit, Facts, RunEnd, RunReport, Usage};

pub const GB: u64 = 1 << 30;

pub fn shape(name: &str, cpus: u32, price: i64) -> Shape {
    Shape {
        name: name.into(),
        arch: "x86_64".into(),
        total: Resources { cpus, memory_bytes: u64::from(cpus) * GB, gpus: 0, tmp_bytes: 10 * GB },
        gpu_type: String::new(),
        price: Some(Price(price)),
        spot_price: None,
        reserve_bytes: 0,
    }
}

pub fn config(max: u32, shapes: Vec<Shape>) -> Config {
    Config {
        name: "test".into(),
        head: Head {
            address: None,
            listen: None,
            instance_type: None,
            settle_ms: DurationMs::from_secs(60),
            orphan_after_ms: DurationMs::from_mins(3),
            report_hold_ms: DurationMs::from_hours(1),
            heartbeat_ms: DurationMs::from_secs(10),
            silent_after_ms: DurationMs::from_secs(35),
            orphan_grace_ms: DurationMs::from_secs(120),
            sweep_ms: DurationMs::from_secs(60),
            keep_jobs_ms: DurationMs::from_hours(720),
            hosts_file: None,
        },
        pools: vec![Pool {
            name: "compute".into(),
            provider: ProviderKind::Process,
            shapes,
            min: 0,
            max,
            max_cpus: None,
            image: "host".into(),
            spot: SpotUse::Never,
            spot_patience_ms: DurationMs::from_mins(5),
            max_price: None,
            requeue_always: false,
            idle_timeout_ms: DurationMs::from_secs(60),
            boot_timeout_ms: DurationMs::from_mins(3),
            boot_limit_ms: DurationMs::from_mins(15),
            lost_grace_idle_ms: Some(DurationMs::from_mins(2)),
            lost_grace_busy_ms: Some(DurationMs::from_mins(10)),
            default_time_ms: None,
            max_time_ms: None,
            default: true,
            exclusive: false,
            shares: Vec::new(),
            local_bytes: 0,
            local_home: false,
            minimum_billing_ms: DurationMs::ZERO,
            features: vec!["lab".into()],
            subnets: Vec::new(),
            ec2: pcluster_model::config::Ec2Pool::default(),
        }],
        images: Vec::new(),
        budget: Budget::default(),
        fixed_costs: Vec::new(),
        admins: Vec::new(),
        root_jobs: false,
        process_launcher: Vec::new(),
        externals: Vec::new(),
        vm: pcluster_model::config::Vm::default(),
        ec2: pcluster_model::config::Ec2::default(),
        term_grace_ms: DurationMs::from_secs(30),
        requeue_limit: 5,
        zone_offset_ms: 0,
    }
}

pub fn spec(name: &str, cpus: u32) -> JobSpec {
    let text = format!(
        r#"{{"name":"{name}","cpus_per_task":{cpus},"output":"o","script":"{z}","environment":"{z}","work_dir":"/w"}}"#,
        z = BlobHash([0; 32])
    );
    serde_json::from_str(&text).expect("a spec with defaults")
}

pub fn array(name: &str, cpus: u32, tasks: core::ops::RangeInclusive<u32>) -> JobSpec {
    let indices: IndexRanges = tasks.collect();
    JobSpec { array: Some(ArraySpec { indices, throttle: None }), ..spec(name, cpus) }
}

pub fn user(name: &str, uid: u32) -> Principal {
    Principal { user: UserName::from(name), uid, gid: uid, admin: false }
}

pub fn root() -> Principal {
    Principal { admin: true, ..user("root", 0) }
}

/// The cluster, its log, and what exists outside of it.
pub struct Small {
    pub cluster: Cluster,
    pub log: Vec<Stamped>,
    pub now: Timestamp,
    pub waiting: Vec<Effect>,
    pub machines: BTreeMap<NodeId, ListedInstance>,
}

impl Small {
    pub fn new(config: Config) -> Self {
        let mut small = Self {
            cluster: Cluster::new(ClusterId::from("0123456789abcdef")),
            log: Vec::new(),
            now: Timestamp(1_700_000_000_000),
            waiting: Vec::new(),
            machines: BTreeMap::new(),
        };
        small.start(config);
        small
    }

    pub fn start(&mut self, config: Config) {
        let version = "0.1.0".to_string();
        self.give(Input::Started { version, config: Box::new(config), offset_ms: 0 });
    }

    pub fn give(&mut self, input: Input) -> Reply {
        let prepared = self.cluster.prepare(self.now, vec![input]);
        let log = &mut self.log;
        let committed = prepared
            .commit(|events, _| {
                log.extend_from_slice(events);
                Ok::<(), ()>(())
            })
            .expect("memory never fails");
        let wanted = self.cluster.outstanding(self.now);
        let Released { mut replies, effects, .. } = committed.release(&mut self.cluster, self.now);
        let keys = |effects: &[Effect]| {
            let mut keys: Vec<_> = effects.iter().map(Effect::key).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&wanted), keys(&effects), "I17: marks and sweep agree");
        self.waiting.extend(effects);
        assert_eq!(self.cluster.check(), Vec::<String>::new());
        replies.remove(0)
    }

    pub fn ask(&mut self, who: &Principal, request: Request) -> Reply {
        self.give(Input::Request { principal: who.clone(), request })
    }

    pub fn submit(&mut self, spec: JobSpec) -> JobId {
        let request = Request::Submit { spec: Box::new(spec), key: None };
        match self.ask(&user("ana", 1000), request) {
            Reply::Submitted { job, .. } => job,
            other => panic!("submit was answered with {other:?}"),
        }
    }

    pub fn pass(&mut self, span: DurationMs) {
        let end = self.now + span;
        let mut steps = 0;
        while let Some(due) = self.cluster.next_due(self.now).filter(|due| *due <= end) {
            steps += 1;
            assert!(steps < 10_000, "time stands still at {due:?}");
            self.now = self.now.max(due);
            let before = self.log.len();
            self.hear_everybody();
            self.give(Input::Tick);
            if self.log.len() == before {
                self.now = self.now + DurationMs(1_000);
            }
        }
        self.now = self.now.max(end);
        self.hear_everybody();
        self.give(Input::Tick);
    }

    fn hear_everybody(&mut self) {
        let connected: Vec<NodeId> = self.cluster.volatile.links.keys().copied().collect();
        for node in connected {
            if self.cluster.is_connected(node) {
                self.give(Input::AgentSaid { node, said: AgentSaid::Heartbeat });
            }
        }
    }

    /// Carries out every launch and termination that was handed out.
    pub fn provide(&mut self) {
        for effect in core::mem::take(&mut self.waiting) {
            match effect {
                Effect::Launch(plan) => {
                    let answers = (0u32..).zip(&plan.names).map(|(index, name)| {
                        let id = NodeId { launch: plan.launch, index };
                        let instance = InstanceRef::from(format!("p-{name}"));
                        self.machines.insert(
                            id,
                            ListedInstance {
                                instance: instance.clone(),
                                launch: plan.launch,
                                index: Some(index),
                                ended_at: None,
                                ended_estimated: false,
                                notice_at: None,
                                reclaimed: false,
                                tags: Tags::default(),
                                launched_at: self.now,
                            },
                        );
                        Ok(LaunchedInstance { index, instance, launched_at: self.now })
                    });
                    let answer = Ok(answers.collect());
                    self.give(Input::ProviderSaid(ProviderSaid::Launched {
                        launch: plan.launch,
                        answer,
                    }));
                }
                Effect::Terminate { node, .. } => {
                    let now = self.now;
                    if let Some(machine) = self.machines.get_mut(&node) {
                        machine.ended_at.get_or_insert(now);
                    }
                    self.give(Input::ProviderSaid(ProviderSaid::Terminated { node, error: None }));
                    self.list();
                }
                other => self.waiting.push(other),
            }
        }
    }

    /// A machine that a log which is lost had launched.
    pub fn unlogged_machine(&mut self, launch: u64, index: u32) -> NodeId {
        let launch = LaunchId(launch);
        let id = NodeId { launch, index };
        let listed = ListedInstance {
            instance: InstanceRef(format!("p-{id}")),
            launch,
            index: Some(index),
            ended_at: None,
            ended_estimated: false,
            notice_at: None,
            reclaimed: false,
            tags: Tags { price: Some(Price(7_000)), ..Tags::default() },
            launched_at: self.now,
        };
        self.machines.insert(id, listed);
        id
    }

    pub fn list(&mut self) {
        self.now = self.now + DurationMs(1);
        let instances = self.machines.values().cloned().collect();
        self.give(Input::ProviderSaid(ProviderSaid::Listed {
            provider: ProviderKind::Process,
            asked_at: self.now,
            instances,
        }));
    }

    pub fn hello(&mut self, node: NodeId, runs: Vec<RunReport>) -> Reply {
        let usable = self.cluster.nodes[&node].shape.usable();
        let facts = Facts { usable, clock: self.now, ..Facts::default() };
        self.give(Input::AgentSaid {
            node,
            said: AgentSaid::Hello {
                key: format!("key-{node}"),
                token_valid: true,
                boot_id: "b1".into(),
                facts: Box::new(facts),
                runs,
            },
        })
    }

    /// Boots everything that was wanted.
    pub fn boot(&mut self) {
        self.provide();
        let booting: Vec<NodeId> = self
            .cluster
            .nodes
            .values()
            .filter(|node| node.is_coming())
            .map(|node| node.id)
            .collect();
        for node in booting {
            self.hello(node, Vec::new());
        }
    }

    /// Runs that nodes were told to start and have not been told to end.
    pub fn started(&mut self) -> Vec<(NodeId, RunId)> {
        let mut runs = Vec::new();
        self.waiting.retain(|effect| match effect {
            Effect::Tell { node, order: Order::Start(plan), .. } => {
                runs.push((*node, plan.run));
                false
            }
            _ => true,
        });
        runs
    }

    /// The node says that the run runs there.
    pub fn running(&mut self, node: NodeId, run: RunId) {
        let started_at = self.now;
        self.give(Input::AgentSaid { node, said: AgentSaid::RunStarted { run, started_at } });
    }

    /// Everything that was told to start says that it runs, the first nodes of gangs last.
    pub fn run_all(&mut self) -> Vec<(NodeId, RunId)> {
        let mut all = Vec::new();
        loop {
            let started = self.started();
            if started.is_empty() {
                return all;
            }
            for (node, run) in started {
                self.running(node, run);
                all.push((node, run));
            }
        }
    }

    pub fn end(&mut self, node: NodeId, run: RunId, exit: Exit) {
        let (started_at, ended_at) = (self.now, self.now);
        let end = RunEnd { run, exit, usage: Usage::default(), started_at, ended_at };
        self.give(Input::AgentSaid { node, said: AgentSaid::RunEnded(end) });
    }

    pub fn cancel(&mut self, who: &Principal, job: JobId) -> Reply {
        self.ask(who, Request::Cancel(JobTarget { job, tasks: None }))
    }

    pub fn kinds(&self) -> Vec<&'static str> {
        self.log.iter().map(|stamped| stamped.event.kind()).collect()
    }

    /// I16: a replay of the log and a load of the rows are the live state, byte for byte.
    pub fn check_replay(&self) {
        let mut replayed = Cluster::new(ClusterId::default());
        for stamped in &self.log {
            let text = serde_json::to_string(stamped).expect("events are JSON");
            replayed.apply(&serde_json::from_str(&text).expect("events come back"));
        }
        assert_eq!(replayed.all_rows(), self.cluster.all_rows());
        let rows = self.cluster.all_rows().into_iter().map(|row| Row {
            table: row.table.to_string(),
            key: row.key,
            body: row.body.expect("complete"),
        });
        let loaded = Cluster::from_rows(rows, self.cluster.log_length(), self.cluster.last_at())
            .expect("rows are readable");
        assert_eq!(loaded.all_rows(), self.cluster.all_rows());
        for other in [replayed, loaded] {
            assert_eq!(other.task_ids, self.cluster.task_ids);
        }
    }

    pub fn events_of(&self, kind: &str) -> Vec<&Event> {
        self.log.iter().map(|s| &s.event).filter(|event| event.kind() == kind).collect()
    }
}
