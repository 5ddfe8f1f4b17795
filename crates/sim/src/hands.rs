//! The hands: effects become calls of the provider and frames for agents, answers become inputs.
//!
//! Invariant: every call is answered once while its head lives, and does the same deed however
//! often it is made. Deliberately absent: retries; the core decides when to ask again.
use crate::agent::{SimAgent, token_of};
use crate::cloud::{MachineId, Made, Wish};
use crate::faults::Kind;
use crate::plant::Plant;
use crate::world::{What, World};
use pcluster_core::effect::{Effect, LaunchPlan, Order, StartPlan};
use pcluster_core::event::LaunchErrorClass;
use pcluster_core::input::{LaunchError, LaunchedInstance, ListedInstance, ProviderSaid};
use pcluster_model::{DurationMs, InstanceRef, NodeId, Timestamp};
use pcluster_wire::{Facts, HeadFrame, StartOrder, UserIdentity};
use std::collections::BTreeMap;

/// A call on its way to the provider, with the life of the head that made it.
#[derive(Debug)]
pub enum Call {
    Launch {
        life: u32,
        plan: Box<LaunchPlan>,
    },
    /// A launch that was given up for lost is carried out after all.
    Late {
        plan: Box<LaunchPlan>,
    },
    End {
        life: u32,
        node: NodeId,
        instance: Option<InstanceRef>,
    },
    EndUnknown {
        life: u32,
        instance: InstanceRef,
    },
    List {
        life: u32,
        asked_at: Timestamp,
    },
    Standing {
        life: u32,
        asked_at: Timestamp,
    },
}

fn wish_of(plan: &LaunchPlan, plant: Plant) -> Wish {
    let price = plan.price.unwrap_or_default().0;
    Wish {
        launch: plan.launch,
        count: u32::try_from(plan.names.len()).unwrap_or(u32::MAX),
        pool: plan.offering.pool.to_string(),
        total: plan.shape.total,
        spot: plan.offering.spot,
        price: if plant == Plant::TenfoldPrice { price * 10 } else { price },
    }
}

fn unknown(message: &str) -> LaunchError {
    LaunchError { class: LaunchErrorClass::Unknown, message: message.into() }
}

impl World {
    /// Starts the deed of an effect.
    pub fn hand_out(&mut self, effect: Effect) {
        let life = self.head_life;
        self.trace.detail(self.now, format_args!("do {:?}", effect.key()));
        let call = match effect {
            Effect::Launch(plan) => Call::Launch { life, plan: Box::new(plan) },
            Effect::Terminate { node, instance, .. } => Call::End { life, node, instance },
            Effect::TerminateUnknown { instance, .. } => Call::EndUnknown { life, instance },
            Effect::Tell { node, order, .. } => return self.tell(node, order),
        };
        let delay = self.rng.between(20, 800);
        self.after(delay, What::Call(call));
    }

    fn tell(&mut self, node: NodeId, order: Order) {
        let Some(conn) = self.link_of(node) else { return };
        let frame = match order {
            Order::Start(plan) => HeadFrame::Start(Box::new(start_order(*plan))),
            Order::End { run, grace_ms, why } => HeadFrame::End { run, grace_ms, why },
            Order::Limit { run, time_limit_ms } => HeadFrame::Limit { run, time_limit_ms },
            Order::Suspend { run, suspended } => HeadFrame::Suspend { run, suspended },
            Order::Signal { run, signal, scope } => HeadFrame::Signal { run, signal, scope },
            Order::Leave { why } => HeadFrame::Leave { why },
        };
        self.send_to_agent(conn, frame);
    }

    /// A call reaches the provider.
    pub fn provider_call(&mut self, call: Call) {
        match call {
            Call::Launch { life, plan } => self.launch_call(life, plan),
            Call::Late { plan } => {
                self.cloud.late.remove(&plan.launch);
                if self.cloud.answer(plan.launch).is_none() {
                    self.make_machines(&plan, true);
                }
            }
            Call::End { life, node, instance } => self.end_call(life, node, instance),
            Call::EndUnknown { life, instance } => self.end_unknown_call(life, instance),
            Call::List { life, asked_at } => self.list_call(life, asked_at),
            Call::Standing { life, asked_at } => self.standing_call(life, asked_at),
        }
    }

    fn answer(&mut self, life: u32, delay: u64, said: ProviderSaid) {
        self.after(delay, What::Answer { life, said: Box::new(said) });
    }

    fn launch_call(&mut self, life: u32, plan: Box<LaunchPlan>) {
        let launch = plan.launch;
        let delay = self.rng.between(20, 2_000);
        if self.cloud.late.contains(&launch) {
            let answer = Err(unknown("the launch is in progress"));
            return self.answer(life, delay, ProviderSaid::Launched { launch, answer });
        }
        if self.cloud.answer(launch).is_none() {
            let troubled = self.trouble_of(&plan);
            if troubled.is_some() || self.strikes(Kind::LaunchError) {
                let class = troubled.unwrap_or_else(|| self.error_class());
                let answer = Err(LaunchError { class, message: "the provider says no".into() });
                return self.answer(life, delay, ProviderSaid::Launched { launch, answer });
            }
            if self.strikes(Kind::LateLaunch) {
                self.cloud.late.insert(launch);
                let late = self.rng.between(35_000, 90_000);
                self.after(late, What::Call(Call::Late { plan }));
                let answer = Err(unknown("no answer for 30 s"));
                return self.answer(life, 30_000, ProviderSaid::Launched { launch, answer });
            }
            self.make_machines(&plan, false);
            if self.plant == Plant::TwoOfOne && self.rng.chance(2_000) {
                self.make_machines(&plan, false);
            }
        }
        let made = self.cloud.answer(launch).unwrap_or_default();
        let lost = self.strikes(Kind::LostLaunch);
        let answer = if lost { Err(unknown("no answer for 30 s")) } else { Ok(self.told(&made)) };
        let delay = if lost { 30_000 } else { delay };
        self.answer(life, delay, ProviderSaid::Launched { launch, answer });
    }

    fn told(&self, made: &Made) -> Vec<Result<LaunchedInstance, (u32, LaunchError)>> {
        (0u32..)
            .zip(made)
            .map(|(index, made)| match made {
                Ok(id) => Ok(LaunchedInstance {
                    index,
                    instance: id.instance(),
                    launched_at: self.cloud.machines[id].launched_at,
                }),
                Err(class) => {
                    let message = "not this one".into();
                    Err((index, LaunchError { class: class.clone(), message }))
                }
            })
            .collect()
    }

    /// What the provider says to every call for these machines now.
    fn trouble_of(&self, plan: &LaunchPlan) -> Option<LaunchErrorClass> {
        let (now, until) = (self.now, self.cloud.throttled_until);
        if now < until {
            let soon = self.head.as_ref().map_or(now, |head| head.steady(now));
            return Some(LaunchErrorClass::RateLimited { retry_at: soon + until.since(now) });
        }
        self.cloud.is_out_of(&plan.offering, now).then_some(LaunchErrorClass::NoCapacity)
    }

    fn error_class(&mut self) -> LaunchErrorClass {
        let soon = self.head.as_ref().map_or(self.now, |head| head.steady(self.now));
        match self.rng.below(16) {
            0..=4 => LaunchErrorClass::NoCapacity,
            5 | 6 => LaunchErrorClass::Quota { limit: "32".into(), used: "30".into() },
            7 | 8 => LaunchErrorClass::RateLimited { retry_at: soon + DurationMs::from_secs(20) },
            9..=14 => LaunchErrorClass::Unknown,
            // These rest until the configuration changes, so they are drawn in safety mode only.
            _ if self.mode == crate::world::Mode::Liveness => LaunchErrorClass::NoCapacity,
            _ => LaunchErrorClass::Denied,
        }
    }

    fn list_lag(&mut self) -> i64 {
        let lag = if self.strikes(Kind::ListLag) { self.rng.between(1_000, 50_000) } else { 0 };
        i64::try_from(lag).unwrap_or(0)
    }

    fn make_machines(&mut self, plan: &LaunchPlan, late: bool) {
        let wish = wish_of(plan, self.plant);
        let mut refuse = BTreeMap::new();
        for index in 0..wish.count {
            if self.strikes(Kind::Partial) {
                refuse.insert(index, LaunchErrorClass::NoCapacity);
            }
        }
        let lag = self.list_lag();
        let made = self.cloud.launch(self.now, &wish, lag, &refuse);
        for (index, id) in (0u32..).zip(made).filter_map(|(index, id)| Some((index, id.ok()?))) {
            if let Some(machine) = self.cloud.machines.get_mut(&id) {
                machine.late = late;
            }
            self.new_machine(id, NodeId { launch: plan.launch, index }, plan);
        }
        if self.plant == Plant::OneMore {
            let id = self.cloud.make(self.now, &wish, wish.count, 0, false);
            self.new_machine(id, NodeId { launch: plan.launch, index: wish.count }, plan);
        }
    }

    fn new_machine(&mut self, id: MachineId, node: NodeId, plan: &LaunchPlan) {
        self.trace.line(self.now, format_args!("machine {} for {node}", id.0));
        self.figures.machines += 1;
        let deaf = if self.strikes(Kind::Deaf) { self.rng.small(1, 4) } else { 0 };
        if let Some(machine) = self.cloud.machines.get_mut(&id) {
            machine.deaf = deaf;
        }
        let mut usable = plan.shape.usable();
        if self.strikes(Kind::WrongMachine) {
            usable.cpus -= 1;
        }
        let facts = Facts {
            hostname: format!("host-{}", id.0),
            arch: plan.shape.arch.clone(),
            usable,
            cage: "cgroup v2".into(),
            switches_users: true,
            agent_version: "0.1.0".into(),
            proves_shares: true,
            ..Facts::default()
        };
        let mut agent = SimAgent::new(id, node, token_of(node.launch), facts);
        agent.outdated = self.strikes(Kind::WrongImage);
        agent.hung = self.strikes(Kind::HangBoot);
        let hung = agent.hung;
        self.agents.insert(id, agent);
        if hung {
            return;
        }
        let boot = if self.strikes(Kind::SlowBoot) {
            self.rng.between(60_000, 500_000)
        } else {
            self.rng.between(8_000, 60_000)
        };
        self.after(boot, What::AgentStart { machine: id, life: 0 });
    }

    /// A machine with our tag that nobody asked for: a copy of one that lives.
    pub fn stray(&mut self, like: MachineId) {
        let Some(model) = self.cloud.machines.get(&like).cloned() else { return };
        let Some(agent) = self.agents.get(&like) else { return };
        let (node, facts) = (agent.node, agent.facts.clone());
        let wish = Wish {
            launch: model.launch,
            count: 1,
            pool: model.pool,
            total: model.total,
            price: model.price,
            spot: model.spot,
        };
        let lag = self.list_lag();
        let id = self.cloud.make(self.now, &wish, model.index, lag, true);
        self.trace.line(self.now, format_args!("stray machine {} like {node}", id.0));
        self.agents.insert(id, SimAgent::new(id, node, token_of(node.launch), facts));
        let boot = self.rng.between(8_000, 60_000);
        self.after(boot, What::AgentStart { machine: id, life: 0 });
    }

    fn end_call(&mut self, life: u32, node: NodeId, instance: Option<InstanceRef>) {
        let targets = match instance {
            Some(instance) => MachineId::of(&instance).into_iter().collect(),
            None => self.cloud.of_launch(node.launch, node.index),
        };
        let error = self.end_machines(&targets, self.plant == Plant::NeverEnds);
        let delay = self.rng.between(20, 2_000);
        self.answer(life, delay, ProviderSaid::Terminated { node, error });
    }

    fn end_unknown_call(&mut self, life: u32, instance: InstanceRef) {
        let targets: Vec<MachineId> = MachineId::of(&instance).into_iter().collect();
        let thrown = matches!(self.plant, Plant::NeverEnds | Plant::DeafToStrays);
        let error = self.end_machines(&targets, thrown);
        let delay = self.rng.between(20, 2_000);
        self.answer(life, delay, ProviderSaid::TerminatedUnknown { instance, error });
    }

    fn end_machines(&mut self, targets: &[MachineId], thrown_away: bool) -> Option<String> {
        if self.now < self.cloud.throttled_until || self.strikes(Kind::EndError) {
            return Some("the provider is busy".into());
        }
        for id in targets.iter().filter(|_| !thrown_away) {
            if self.cloud.end_asked(self.now, *id) {
                self.machine_ends(*id);
            }
        }
        None
    }

    /// A machine is no more, and everything on it.
    pub fn machine_ends(&mut self, id: MachineId) {
        self.trace.line(self.now, format_args!("machine {} ends", id.0));
        let lag = self.list_lag();
        self.cloud.ended(self.now, id, lag);
        self.procs_end(id, crate::procs::Cause::Machine);
        self.cut_machine(id);
        self.agents.remove(&id);
    }

    /// Its connections fall silent; the head may or may not hear of it.
    pub fn cut_machine(&mut self, id: MachineId) {
        for conn in self.net.of_machine(id) {
            self.net.cut(conn);
            if !self.strikes(Kind::HalfOpen) {
                let delay = self.rng.between(10, 30_000);
                self.after(delay, What::HeadHearsCut { conn });
            }
        }
    }

    /// One direction of its connection swallows everything until both sides give it up.
    pub fn one_way(&mut self, id: MachineId) {
        let to_head = self.rng.chance(5_000);
        for conn in self.net.of_machine(id) {
            if let Some(known) = self.net.conns.get_mut(&conn) {
                known.swallows = Some(to_head);
            }
            let (head, agent) =
                (self.rng.between(60_000, 90_000), self.rng.between(60_000, 90_000));
            self.after(head, What::HeadHearsCut { conn });
            self.after(agent, What::AgentHearsCut { conn });
        }
    }

    /// It is time to read the provider's list.
    pub fn head_list(&mut self, life: u32) {
        let now = self.now;
        let Some(head) = self.head.as_mut().filter(|head| head.life == life) else { return };
        let every = head.cluster.list_every_ms(&crate::scenario::provider()).max(200);
        let (asleep, asked_at) = (head.asleep, head.steady(now));
        self.after(every, What::ListDue { life });
        if !asleep {
            let delay = self.rng.between(20, 300);
            self.after(delay, What::Call(Call::List { life, asked_at }));
        }
    }

    fn list_call(&mut self, life: u32, asked_at: Timestamp) {
        let provider = crate::scenario::provider();
        let delay = self.rng.between(20, 1_500);
        if self.now < self.cloud.throttled_until || self.strikes(Kind::ListFail) {
            let message = "the provider is busy".into();
            return self.answer(life, delay, ProviderSaid::ListFailed { provider, message });
        }
        let instances = self.cloud.list(self.now);
        self.answer(life, delay, ProviderSaid::Listed { provider, asked_at, instances });
    }

    /// Remembers for I5 what a head has been shown.
    pub fn list_was_heard(&mut self, said: &ProviderSaid) {
        let ProviderSaid::Listed { instances, .. } = said else { return };
        let living = |listed: &&ListedInstance| listed.ended_at.is_none();
        let ids = instances.iter().filter(living).filter_map(|l| MachineId::of(&l.instance));
        self.seen.listed.extend(ids);
    }
}

fn start_order(plan: StartPlan) -> StartOrder {
    StartOrder {
        run: plan.run,
        order: plan.order,
        job: plan.job,
        task: plan.task,
        raw_job: plan.raw_job,
        attempt: plan.attempt,
        spec: (*plan.spec).clone(),
        user: UserIdentity {
            name: plan.owner.user.to_string(),
            uid: plan.owner.uid,
            gid: plan.owner.gid,
            groups: vec![plan.owner.gid],
            home: "/home/ana".into(),
            shell: "/bin/sh".into(),
            group_names: Vec::new(),
        },
        pool: plan.pool,
        resources: plan.resources,
        nodes: plan.nodes,
        node_cpus: plan.node_cpus.clone(),
        node_addresses: Vec::new(),
        rank: plan.rank,
        time_limit_ms: plan.time_limit_ms,
        term_grace_ms: plan.term_grace_ms,
        profile: None,
    }
}
