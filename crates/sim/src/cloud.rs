//! The provider: machines, its own clock and its own bill.
//!
//! Invariant: the bill is computed here from the provider's times alone; nothing is shared with the
//! ledger of the core, so that I9 compares two computations. Deliberately absent: knowledge of
//! nodes, jobs and budgets.
use crate::plant::Plant;
use crate::scenario::Scenario;
use pcluster_core::event::{LaunchErrorClass, OfferingKey};
use pcluster_core::input::ListedInstance;
use pcluster_model::{InstanceRef, LaunchId, Resources, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A machine of the provider; never reused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineId(pub u32);

impl MachineId {
    /// The provider's name of it.
    #[must_use]
    pub fn instance(self) -> InstanceRef {
        InstanceRef(format!("m-{}", self.0))
    }

    /// The machine of a name that `instance` made.
    #[must_use]
    pub fn of(instance: &InstanceRef) -> Option<Self> {
        instance.0.strip_prefix("m-")?.parse().ok().map(Self)
    }
}

/// One machine as the provider sees it. Times are the provider's.
#[derive(Debug, Clone)]
pub struct Machine {
    pub launch: LaunchId,
    pub index: u32,
    pub pool: String,
    pub total: Resources,
    /// Micro-dollars per hour.
    pub price: i64,
    pub launched_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The list does not show it before this (true time).
    pub listed_from: Timestamp,
    /// The list shows its end from this on (true time).
    pub end_listed_from: Timestamp,
    /// Accepted calls to end it that do nothing.
    pub deaf: u32,
    /// A call to end it has come (true time).
    pub end_asked_at: Option<Timestamp>,
    /// The provider made it although nobody asked.
    pub stray: bool,
    /// The provider made it after its caller had given up the call.
    pub late: bool,
    /// It may be taken back.
    pub spot: bool,
    /// The list says when it is taken back.
    pub notice_at: Option<Timestamp>,
    /// The list says that it was.
    pub reclaimed: bool,
}

/// The first answer to a launch, which every retry gets again.
pub type Made = Vec<Result<MachineId, LaunchErrorClass>>;

/// What one launch call asks for.
#[derive(Debug, Clone)]
pub struct Wish {
    pub launch: LaunchId,
    pub count: u32,
    pub pool: String,
    pub total: Resources,
    /// Micro-dollars per hour.
    pub price: i64,
    pub spot: bool,
}

/// The provider.
#[derive(Debug, Default)]
pub struct SimProvider {
    /// Provider's clock less true time, in milliseconds.
    pub skew_ms: i64,
    /// It bills at least this much of each machine, in milliseconds.
    pub minimum_ms: i64,
    pub machines: BTreeMap<MachineId, Machine>,
    made: BTreeMap<LaunchId, Made>,
    /// Launches that are still to be carried out although their caller was told nothing.
    pub late: BTreeSet<LaunchId>,
    /// Until then it takes no calls.
    pub throttled_until: Timestamp,
    /// Until then it makes no more machines than this.
    pub quota: Option<(usize, Timestamp)>,
    /// Until then it has none of this shape.
    pub out_of: Option<(String, Timestamp)>,
    /// Until then it has no spot machines in this place; empty: anywhere.
    pub no_spot: Option<(String, Timestamp)>,
    /// I9's plant: one machine in four costs a micro-dollar too much.
    pub overcharge: bool,
    /// Machines that have not ended, by true time.
    pub living: BTreeSet<MachineId>,
    last: u32,
}

impl SimProvider {
    /// That of a world, before anything was made.
    #[must_use]
    pub fn of(scenario: &Scenario, plant: Plant) -> Self {
        Self {
            skew_ms: scenario.provider_skew_ms,
            minimum_ms: 60_000,
            overcharge: plant == Plant::Overcharge,
            ..Self::default()
        }
    }

    /// The provider's clock.
    #[must_use]
    pub fn clock(&self, now: Timestamp) -> Timestamp {
        Timestamp(now.0 + self.skew_ms)
    }

    /// The first answer to this launch, if there was one.
    #[must_use]
    pub fn answer(&self, launch: LaunchId) -> Option<Made> {
        self.made.get(&launch).cloned()
    }

    /// Makes the machines of a launch, once. `refuse` says which indices fail, and how.
    pub fn launch(
        &mut self,
        now: Timestamp,
        wish: &Wish,
        lag_ms: i64,
        refuse: &BTreeMap<u32, LaunchErrorClass>,
    ) -> Made {
        let made: Made = (0..wish.count)
            .map(|index| match refuse.get(&index).cloned().or_else(|| self.quota_reached(now)) {
                Some(class) => Err(class),
                None => Ok(self.make(now, wish, index, lag_ms, false)),
            })
            .collect();
        self.made.insert(wish.launch, made.clone());
        made
    }

    /// Starts one machine.
    pub fn make(
        &mut self,
        now: Timestamp,
        wish: &Wish,
        index: u32,
        lag_ms: i64,
        stray: bool,
    ) -> MachineId {
        self.last += 1;
        let id = MachineId(self.last);
        let machine = Machine {
            launch: wish.launch,
            index,
            pool: wish.pool.clone(),
            total: wish.total,
            price: wish.price,
            launched_at: self.clock(now),
            ended_at: None,
            listed_from: Timestamp(now.0 + lag_ms),
            end_listed_from: now,
            deaf: 0,
            end_asked_at: None,
            stray,
            late: false,
            spot: wish.spot,
            notice_at: None,
            reclaimed: false,
        };
        self.machines.insert(id, machine);
        self.living.insert(id);
        id
    }

    /// Machines of a launch's index, known to its caller or not.
    #[must_use]
    pub fn of_launch(&self, launch: LaunchId, index: u32) -> Vec<MachineId> {
        self.machines
            .iter()
            .filter(|(_, machine)| machine.launch == launch && machine.index == index)
            .map(|(id, _)| *id)
            .collect()
    }

    /// Why it makes no further machine now.
    #[must_use]
    pub fn quota_reached(&self, now: Timestamp) -> Option<LaunchErrorClass> {
        let living = self.living.len();
        let (most, _) = self.quota.filter(|(most, until)| now < *until && living >= *most)?;
        Some(LaunchErrorClass::Quota { limit: most.to_string(), used: living.to_string() })
    }

    /// It has none of this offering now.
    #[must_use]
    pub fn is_out_of(&self, offering: &OfferingKey, now: Timestamp) -> bool {
        let (shape, place) = (&offering.shape, &offering.subnet);
        let none = self.out_of.as_ref().filter(|(none, until)| none == shape && now < *until);
        let no_spot = self.no_spot.as_ref().filter(|(dry, until)| {
            offering.spot && (dry.is_empty() || dry == place) && now < *until
        });
        none.is_some() || no_spot.is_some()
    }

    /// Takes a call to end a machine; true when it ends now.
    pub fn end_asked(&mut self, now: Timestamp, id: MachineId) -> bool {
        let Some(machine) = self.machines.get_mut(&id).filter(|m| m.ended_at.is_none()) else {
            return false;
        };
        machine.end_asked_at.get_or_insert(now);
        if machine.deaf > 0 {
            machine.deaf -= 1;
            return false;
        }
        true
    }

    /// A machine has ended.
    pub fn ended(&mut self, now: Timestamp, id: MachineId, lag_ms: i64) {
        let clock = self.clock(now);
        if let Some(machine) = self.machines.get_mut(&id).filter(|m| m.ended_at.is_none()) {
            machine.ended_at = Some(clock.max(machine.launched_at));
            machine.end_listed_from = Timestamp(now.0 + lag_ms);
            self.living.remove(&id);
        }
    }

    /// Everything with the cluster's tag, as the list shows it at `now`.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<ListedInstance> {
        self.machines
            .iter()
            .filter(|(_, machine)| machine.listed_from <= now)
            .map(|(id, machine)| ListedInstance {
                instance: id.instance(),
                launch: machine.launch,
                index: (!machine.stray).then_some(machine.index),
                ended_at: machine.ended_at.filter(|_| machine.end_listed_from <= now),
                ended_estimated: false,
                notice_at: machine.notice_at,
                reclaimed: machine.reclaimed,
                tags: Default::default(),
                launched_at: machine.launched_at,
            })
            .collect()
    }

    /// What one machine has cost up to now, or in all, in micro-dollars.
    #[must_use]
    pub fn bill(&self, now: Timestamp, id: MachineId) -> i64 {
        let machine = &self.machines[&id];
        let until = machine.ended_at.unwrap_or_else(|| self.clock(now));
        let span = (until.0 - machine.launched_at.0).max(self.minimum_ms);
        let (hours, rest) = (span / 3_600_000, span % 3_600_000);
        let part = machine.price * rest;
        let extra = i64::from(self.overcharge && id.0.is_multiple_of(4));
        hours * machine.price + part / 3_600_000 + i64::from(part % 3_600_000 != 0) + extra
    }
}
