//! Scaling up: demand that has no room, packed onto shapes by price, with capacity that already
//! boots counted first. Gangs launch all or nothing. Scaling down is a deadline (`timers`).
use super::offers::{Offer, dear, offers, use_of};
use super::patience::Refused;
use super::place::{class_counts, need_on};
use super::suits::{Class, class_of, holds_name, image_of, number_of, suits, takes};
use super::{PlanReport, Wait};
use crate::Cluster;
use crate::event::{Event, LaunchIntent, OfferingKey};
use crate::job::Job;
use crate::limits::{LAUNCH_MOST, SCALE_JOBS, STOP_ALLOWANCE};
use crate::node::{BootHealth, Node};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use pcluster_model::config::{Pool, SpotUse};
use pcluster_model::{
    DurationMs, JobSpec, LaunchId, MicroUsd, NodeId, Resources, RunId, Shape, Timestamp,
};

/// A machine that boots, or that this plan adds.
struct Room<'a> {
    name: String,
    shape: &'a Shape,
    usable: Resources,
    free: Resources,
    image: String,
    spot: bool,
    what: What,
}

enum What {
    Coming(NodeId),
    Ready(NodeId),
    /// Index into the plan's new machines.
    New(usize),
}

/// Rooms with what they are to hold, and numbers of machines that are still to be made.
type Named = (Vec<(usize, Resources)>, Vec<u32>);

/// A machine to be launched.
struct NewNode<'a> {
    name: String,
    offer: Offer<'a>,
    image: String,
    why: String,
}

/// The result of a pass.
pub(crate) struct ScalePlan {
    pub events: Vec<Event>,
    /// With the waits of jobs that have no room.
    pub report: PlanReport,
}

struct Pass<'a> {
    cluster: &'a Cluster,
    pool: &'a Pool,
    now: Timestamp,
    rooms: Vec<Room<'a>>,
    /// The next free number of the pool's names.
    number: u32,
    new: Vec<NewNode<'a>>,
    living: u32,
    cpus: u32,
    money_left: Option<MicroUsd>,
    counts: BTreeMap<Class, usize>,
    report: PlanReport,
}

impl Cluster {
    /// Which machines to launch. `report` is that of the placement before it.
    pub(crate) fn scale(&self, now: Timestamp, report: PlanReport) -> ScalePlan {
        let mut plan = ScalePlan { events: Vec::new(), report };
        let Some(config) = self.config() else { return plan };
        if self.meta.closing.is_some() {
            return plan;
        }
        if self.unlogged_instances().next().is_some() {
            self.wait_for_an_admin(now, &mut plan.report);
            return plan;
        }
        let mut launch = self.meta.last_launch;
        let mut money_left = self.account(now).map(|account| account.left());
        let seen = |pool: &&Pool| {
            let list = self.volatile.lists.get(pool.provider.as_str());
            // What is there comes first: the log may be a copy that nobody called one.
            self.volatile.is_new || list.is_some_and(|list| list.listed_at.is_some())
        };
        for pool in config.pools.iter().filter(seen) {
            let mut pass = self.scale_pass(pool, now, money_left, plan.report);
            // While a job waits for smaller machines to make room for a larger one, nobody else
            // may fill that room with another small one.
            let claim = pass.report.claims.get(&pool.name).copied();
            // What is about to lose its machine was placed before everything that waits.
            for (run, missing) in self.doomed_runs(pool) {
                pass.replace(run, missing);
            }
            for job in self.queued_in(pool).take(SCALE_JOBS) {
                let wait = pass.report.waits.get(&job.id);
                let refused = matches!(wait, Some(Wait::UserRefused { .. }));
                let block = refused || self.block(job, now).is_some();
                if !block && claim.is_none_or(|claim| claim == job.id) {
                    pass.cover(job);
                }
            }
            // What jobs opened counts; and a minimum must not take the room that a job waits for.
            if claim.is_none() {
                pass.keep_minimum();
            }
            money_left = pass.money_left;
            pass.intents(&mut launch, &mut plan.events);
            plan.report = pass.report;
        }
        plan
    }

    /// Machines that are not in the log bill and count nowhere: until an admin says what becomes of them,
    /// nobody knows how many more may be launched.
    fn wait_for_an_admin(&self, now: Timestamp, report: &mut PlanReport) {
        let machines = u32::try_from(self.unlogged_instances().count()).unwrap_or(u32::MAX);
        let waiting = self.queued_jobs().take(SCALE_JOBS);
        for job in waiting.filter(|job| self.block(job, now).is_none()) {
            report.waits.insert(job.id, Wait::UnloggedMachines { machines });
        }
    }

    fn scale_pass<'a>(
        &'a self,
        pool: &'a Pool,
        now: Timestamp,
        money_left: Option<MicroUsd>,
        report: PlanReport,
    ) -> Pass<'a> {
        let mut rooms = Vec::new();
        let (mut living, mut cpus) = (0, 0);
        for node in self.living_nodes(&pool.name) {
            living += 1;
            cpus += node.shape.total.cpus;
            let what = if node.is_coming() {
                What::Coming(node.id)
            } else if self.takes_jobs(node) {
                What::Ready(node.id)
            } else {
                continue;
            };
            rooms.push(Room {
                name: node.name.clone(),
                shape: &node.shape,
                usable: node.usable,
                free: node.free(),
                image: node.image.clone(),
                spot: node.offering.spot,
                what,
            });
        }
        let counts = class_counts(self, pool, now);
        Pass {
            cluster: self,
            pool,
            now,
            rooms,
            number: self.meta.next_numbers.get(&pool.name).copied().unwrap_or(1),
            new: Vec::new(),
            living,
            cpus,
            money_left,
            counts,
            report,
        }
    }
}

impl<'a> Pass<'a> {
    fn keep_minimum(&mut self) {
        let pool = self.pool;
        while self.living < pool.min {
            let first = |shape: &&Shape| pool.shapes.first().is_some_and(|f| f.name == shape.name);
            let offers = offers(self.cluster, pool, None, |_| 1);
            let offers = offers.into_iter().filter(|offer| first(&offer.shape));
            let Ok(offer) = self.first_open(offers, &pool.image, 1, None) else { return };
            self.open(offer, pool.image.clone(), "the pool's minimum".into(), None, None);
        }
    }

    /// Finds or adds machines for those that a run is about to lose. It can take them only once it has
    /// ended; those that are ready meanwhile are kept for it.
    fn replace(&mut self, run: RunId, missing: u32) {
        let Some(run) = self.cluster.runs.get(&run) else { return };
        let Some(job) = self.cluster.jobs.get(&run.job) else { return };
        let spec = &**job.spec_of(run.task);
        if !spec.only_nodes.is_empty() {
            return;
        }
        let image = image_of(self.pool, spec);
        for _ in 0..missing {
            let needs = |room: &Room<'_>| need_on(self.pool, spec, &room.usable);
            let has = |room: &Room<'_>| {
                room.image == image && self.may_take(spec, room) && room.free.holds(&needs(room))
            };
            let found = self.rooms.iter().position(has).map(|at| (at, needs(&self.rooms[at])));
            let opened = match found {
                Some(found) => vec![found],
                None => self.open_for(job, spec, 1, &[]).unwrap_or_default(),
            };
            for (at, need) in opened {
                let room = &mut self.rooms[at];
                room.free = room.free.minus(&need);
                if let What::Ready(node) = room.what {
                    self.report.gangs.insert(node);
                }
            }
        }
    }

    /// Finds room for every task of a job that may start, or adds machines for it.
    fn cover(&mut self, job: &Job) {
        let mut boots: Vec<NodeId> = Vec::new();
        let mut wanted: Option<OfferingKey> = None;
        let mut there: Vec<NodeId> = Vec::new();
        // Tasks that ask for the same fail alike.
        let mut failed: Vec<&JobSpec> = Vec::new();
        for task in self.cluster.ready_tasks(job).take(job.throttle_room()) {
            let spec = &**job.spec_of(task);
            if failed.iter().any(|other| core::ptr::eq(*other, spec)) {
                if job.own.specs.is_empty() {
                    break;
                }
                continue;
            }
            if self.new.len() >= LAUNCH_MOST as usize {
                return;
            }
            match self.cover_task(job, spec) {
                Ok(rooms) => {
                    for at in rooms {
                        match &self.rooms[at].what {
                            What::Coming(node) => boots.push(*node),
                            What::New(new) => {
                                wanted = Some(self.new[*new].offer.key(&self.pool.name));
                            }
                            What::Ready(node) => there.push(*node),
                        }
                    }
                }
                Err(wait) => {
                    self.report.waits.entry(job.id).or_insert(*wait);
                    failed.push(spec);
                }
            }
        }
        if !boots.is_empty() || wanted.is_some() {
            // A gang gets all of its machines at once: those that are there wait for the others.
            self.report.gangs.extend(there);
        }
        boots.sort_unstable();
        boots.dedup();
        if !boots.is_empty() {
            self.report.waits.insert(job.id, Wait::NodeBoots { nodes: boots });
        } else if let Some(offering) = wanted {
            self.report.waits.insert(job.id, Wait::NodeWanted { offering });
        }
    }

    /// Rooms for one task, all of its nodes or none.
    fn cover_task(&mut self, job: &Job, spec: &JobSpec) -> Result<Vec<usize>, Box<Wait>> {
        let (mut chosen, to_name) = self.named_rooms(spec)?;
        let image = image_of(self.pool, spec);
        let gang = spec.nodes > 1;
        let wanted = (spec.nodes as usize).saturating_sub(to_name.len());
        for (at, room) in self.rooms.iter().enumerate() {
            if chosen.len() >= wanted {
                break;
            }
            // Free room on ready nodes was placement's; a gang waits for it together with others.
            let theirs = matches!(room.what, What::Ready(_)) && !gang;
            let known = chosen.iter().any(|(other, _)| *other == at);
            if theirs || known || room.image != image || !self.may_take(spec, room) {
                continue;
            }
            let need = need_on(self.pool, spec, &room.usable);
            if room.free.holds(&need) {
                chosen.push((at, need));
            }
        }
        let missing = spec.nodes.saturating_sub(u32::try_from(chosen.len()).unwrap_or(spec.nodes));
        if missing > 0 {
            chosen.extend(self.open_for(job, spec, missing, &to_name)?);
        }
        for (at, need) in &chosen {
            self.rooms[*at].free = self.rooms[*at].free.minus(need);
        }
        if let Some(count) = self.counts.get_mut(&class_of(spec)) {
            *count = count.saturating_sub(1);
        }
        Ok(chosen.into_iter().map(|(at, _)| at).collect())
    }

    fn may_take(&self, spec: &JobSpec, room: &Room<'_>) -> bool {
        takes(self.pool, spec, room.spot)
            && suits(self.pool, spec, room.shape)
            && holds_name(spec, &room.name)
    }

    /// Rooms that the job names, and the numbers of those that are still to be made.
    fn named_rooms(&self, spec: &JobSpec) -> Result<Named, Box<Wait>> {
        let (mut chosen, mut to_name) = (Vec::new(), Vec::new());
        for name in &spec.only_nodes {
            if let Some(at) = self.rooms.iter().position(|room| room.name == *name) {
                let room = &self.rooms[at];
                let need = need_on(self.pool, spec, &room.usable);
                if room.image != image_of(self.pool, spec) || !suits(self.pool, spec, room.shape) {
                    return Err(Box::new(Wait::NoShape));
                }
                if !room.free.holds(&need) {
                    let (max, max_cpus) = (self.pool.max, self.pool.max_cpus);
                    return Err(Box::new(Wait::PoolMax { max, max_cpus }));
                }
                chosen.push((at, need));
            } else {
                let number = number_of(self.pool, name).filter(|number| *number >= self.number);
                to_name.push(number.ok_or_else(|| Box::new(Wait::NoShape))?);
            }
        }
        to_name.sort_unstable();
        Ok((chosen, to_name))
    }

    /// Adds `missing` machines for a job, or none, or one that is tried for all.
    fn open_for(
        &mut self,
        job: &Job,
        spec: &JobSpec,
        missing: u32,
        to_name: &[u32],
    ) -> Result<Vec<(usize, Resources)>, Box<Wait>> {
        let image = image_of(self.pool, spec);
        let offers = self.offers_by_cost(spec).into_iter();
        let offer = self.first_open(offers, image, missing, Some((job, spec)))?;
        let shape = offer.key(&self.pool.name).of_shape();
        if missing > 1 && self.is_on_trial(&shape, image) {
            // One machine shows whether it boots here; the others come with the pass that sees it ready.
            let why = format!("job {} ({}): a trial of its image", job.id, spec.name);
            let at = self.open(offer, image.into(), why, Some(spec), to_name.first().copied());
            let (image, canary) = (image.into(), self.rooms[at].name.clone());
            return Err(Box::new(Wait::Canary { offering: shape, image, canary }));
        }
        let opened = (0..missing as usize).map(|nth| {
            let why = format!("job {} ({})", job.id, spec.name);
            let number = to_name.get(nth).copied();
            let at = self.open(offer, image.into(), why, Some(spec), number);
            (at, need_on(self.pool, spec, &self.rooms[at].usable))
        });
        Ok(opened.collect())
    }

    /// The first of these offerings that may be launched now. What is on demand waits where spot was
    /// refused, until the patience is over.
    fn first_open(
        &mut self,
        offers: impl Iterator<Item = Offer<'a>>,
        image: &str,
        count: u32,
        job: Option<(&Job, &JobSpec)>,
    ) -> Result<Offer<'a>, Box<Wait>> {
        let limit = job.and_then(|(_, spec)| spec.time_limit_ms);
        let (mut trouble, mut refused) = (None, None);
        let from = |refused: &Refused| self.cluster.on_demand_from(self.pool, job, refused);
        for offer in offers {
            if let Some(refused) = refused.as_ref().filter(|_| !offer.spot)
                && let Some(at) = from(refused).filter(|at| *at > self.now)
            {
                let first = &mut self.report.on_demand_at;
                *first = Some(first.map_or(at, |first| first.min(at)));
                return Err(refused.wait(Some(at)));
            }
            match self.may_open(&offer, image, count, limit) {
                Ok(()) => return Ok(offer),
                Err(wait) => {
                    let health = self.cluster.health(&offer.key(&self.pool.name));
                    Refused::note(&mut refused, &wait, &health);
                    trouble.get_or_insert(wait);
                }
            }
        }
        let wanted = use_of(self.pool, job.map(|(_, spec)| spec));
        match refused.filter(|_| wanted == SpotUse::Only) {
            Some(refused) => Err(refused.wait(None)),
            None => Err(trouble.unwrap_or_else(|| Box::new(Wait::NoShape))),
        }
    }

    /// Offerings that hold one node of the job, by price per task that the queue can put on it.
    fn offers_by_cost(&self, spec: &JobSpec) -> Vec<Offer<'a>> {
        let alike = self.counts.get(&class_of(spec)).copied().unwrap_or(1).max(1);
        let mut offers = offers(self.cluster, self.pool, Some(spec), |shape| {
            let usable = shape.usable();
            times(&usable, &need_on(self.pool, spec, &usable)).min(alike)
        });
        let lacks = |shape| self.cluster.lacks_scratch(self.pool, shape, spec, self.now);
        offers.retain(|offer| !lacks(offer.shape));
        offers
    }

    fn may_open(
        &self,
        offer: &Offer<'_>,
        image: &str,
        count: u32,
        limit: Option<DurationMs>,
    ) -> Result<(), Box<Wait>> {
        let most = Box::new(Wait::PoolMax { max: self.pool.max, max_cpus: self.pool.max_cpus });
        if self.living.saturating_add(count) > self.pool.max {
            return Err(most);
        }
        let cpus = self.cpus.saturating_add(offer.shape.total.cpus.saturating_mul(count));
        if self.pool.max_cpus.is_some_and(|limit| cpus > limit) {
            return Err(most);
        }
        if let Some((price, most)) = dear(self.pool, offer) {
            return Err(Box::new(Wait::Dear { offering: offer.key(&self.pool.name), price, most }));
        }
        self.is_healthy(offer, image)?;
        let Some(left) = self.money_left else { return Ok(()) };
        let one = self.cluster.launch_cost(self.pool, offer.most(), limit);
        let needs = MicroUsd(one.0.saturating_mul(i64::from(count)));
        if needs > left {
            return Err(Box::new(self.cluster.budget_wait(self.now, needs)));
        }
        Ok(())
    }

    /// The last machines of this shape did not come up with the image.
    fn is_on_trial(&self, shape: &OfferingKey, image: &str) -> bool {
        self.cluster.health(shape).boots.get(image).is_some_and(BootHealth::is_broken)
    }

    /// Nothing of this kind rests after a failure, and no canary of this image is under way.
    fn is_healthy(&self, offer: &Offer<'_>, image: &str) -> Result<(), Box<Wait>> {
        let offering = offer.key(&self.pool.name);
        let later = |until: Option<Timestamp>| until.filter(|until| *until > self.now);
        let health = self.cluster.health(&offering);
        if let Some(next_try) = later(health.rest_until) {
            let (class, message) = (health.class, health.message);
            return Err(Box::new(Wait::Rested { offering, class, message, next_try }));
        }
        // Boots fail on a shape, wherever and however it was bought.
        let shape = offering.of_shape();
        let health = self.cluster.health(&shape);
        let Some(boots) = health.boots.get(image).filter(|boots| boots.is_broken()) else {
            return Ok(());
        };
        let image = String::from(image);
        if let Some(next_try) = later(boots.rest_until) {
            return Err(Box::new(Wait::BootsFail { offering: shape, image, next_try }));
        }
        let mut nodes = self.cluster.living_nodes(&self.pool.name);
        let alike = |node: &&Node| node.offering.of_shape() == shape && node.image == image;
        let coming = nodes.find(|node| node.is_coming() && alike(node));
        let planned = || {
            let mut new = self.new.iter();
            new.find(|new| new.offer.shape.name == shape.shape && new.image == image)
        };
        let canary =
            coming.map(|node| node.name.clone()).or_else(|| planned().map(|new| new.name.clone()));
        match canary {
            Some(canary) => Err(Box::new(Wait::Canary { offering: shape, image, canary })),
            None => Ok(()),
        }
    }

    /// Adds one machine to the plan; its room's index.
    fn open(
        &mut self,
        offer: Offer<'a>,
        image: String,
        why: String,
        spec: Option<&JobSpec>,
        number: Option<u32>,
    ) -> usize {
        let shape = offer.shape;
        if let Some(left) = self.money_left {
            let limit = spec.and_then(|spec| spec.time_limit_ms);
            let cost = self.cluster.launch_cost(self.pool, offer.most(), limit);
            self.money_left = Some(left.saturating_sub(cost));
        }
        self.living += 1;
        self.cpus += shape.total.cpus;
        let usable = shape.usable();
        let what = What::New(self.new.len());
        let name = self.next_name(spec, number);
        self.rooms.push(Room {
            name: name.clone(),
            shape,
            usable,
            free: usable,
            image: image.clone(),
            spot: offer.spot,
            what,
        });
        self.new.push(NewNode { name, offer, image, why });
        self.rooms.len() - 1
    }

    /// The name of the next machine: the one that the job asks for, else the first free one that
    /// it does not exclude. A number that is passed over is never used.
    fn next_name(&mut self, spec: Option<&JobSpec>, number: Option<u32>) -> String {
        self.number = self.number.max(number.unwrap_or(0));
        loop {
            let name = format!("{}-{}", self.pool.name, self.number);
            self.number += 1;
            if spec.is_none_or(|spec| !spec.not_nodes.contains(&name)) {
                return name;
            }
        }
    }

    /// New machines of one offering and image become one launch.
    fn intents(&mut self, launch: &mut u64, events: &mut Vec<Event>) {
        let mut groups: BTreeMap<(OfferingKey, String), Vec<NewNode<'a>>> = BTreeMap::new();
        let pool = self.pool;
        for new in self.new.drain(..) {
            let key = (new.offer.key(&pool.name), new.image.clone());
            groups.entry(key).or_default().push(new);
        }
        for ((offering, image), nodes) in groups {
            let Some(first) = nodes.first() else { continue };
            *launch += 1;
            let names = nodes.iter().map(|node| node.name.clone()).collect();
            let intent = LaunchIntent {
                launch: LaunchId(*launch),
                offering,
                shape: first.offer.shape.clone(),
                image,
                price: first.offer.price,
                names,
                next_number: self.number,
                reserved_until: self.now
                    + pool.boot_limit_ms
                    + pool.idle_timeout_ms
                    + STOP_ALLOWANCE,
                why: first.why.clone(),
                provider: Some(pool.provider.clone()),
                minimum_billing_ms: pool.minimum_billing_ms,
            };
            events.push(Event::LaunchWanted { intent: Box::new(intent) });
        }
    }
}

/// How often `need` goes into `usable`.
fn times(usable: &Resources, need: &Resources) -> usize {
    let ratio = |have: u64, want: u64| have.checked_div(want).unwrap_or(u64::MAX);
    let fits = ratio(u64::from(usable.cpus), u64::from(need.cpus))
        .min(ratio(usable.memory_bytes, need.memory_bytes))
        .min(ratio(u64::from(usable.gpus), u64::from(need.gpus)))
        .min(ratio(usable.tmp_bytes, need.tmp_bytes));
    usize::try_from(fits).unwrap_or(usize::MAX)
}
