//! Spot machines, from the third edition of scenarios on: what they cost, where there are none, and how the provider takes them back.
//!
//! Invariant: only spot machines are taken back, and the meter of each has the price of its launch.
//! Deliberately absent: what the head makes of it (the core).
use crate::cloud::MachineId;
use crate::faults::Kind;
use crate::rng::Rng;
use crate::scenario::{Ask, Scenario};
use crate::world::{What, World};
use pcluster_core::agent::AgentInput;
use pcluster_core::input::{ProviderSaid, SpotPrice};
use pcluster_model::config::{Pool, SpotUse};
use pcluster_model::job::SpotAsk;
use pcluster_model::{DurationMs, Price, Timestamp};
use pcluster_wire::NoticeKind;

/// From the notice to the end: none, what some clouds give, what EC2 gives.
const NOTICES: [u64; 3] = [0, 30_000, 120_000];

/// What a pool is given.
struct Terms {
    spot: SpotUse,
    patience: DurationMs,
    /// Of the price on demand, in percent.
    percent: i64,
    subnets: Vec<String>,
    always: bool,
}

/// What scenarios of an edition have of it.
pub fn of(edition: u32, rng: &Rng, scenario: &mut Scenario) {
    if edition >= 3 {
        add(&mut rng.aside(5), scenario);
    }
    if edition >= 4 {
        ask(&mut rng.aside(7), scenario);
    }
}

/// Some pools of some worlds have spot machines, and some have places.
fn add(rng: &mut Rng, scenario: &mut Scenario) {
    let terms: Vec<Terms> = (0..2).map(|_| Terms::draw(rng)).collect();
    for config in scenario.configs_mut() {
        for pool in &mut config.pools {
            terms[usize::from(pool.name.as_str() != "main")].give(pool);
        }
    }
}

/// Some jobs choose for themselves.
fn ask(rng: &mut Rng, scenario: &mut Scenario) {
    for (_, ask) in &mut scenario.asks {
        let Ask::Submit { spec, .. } = ask else { continue };
        spec.spot = match rng.below(10) {
            0 => SpotAsk::Yes,
            1 => SpotAsk::No,
            2 => SpotAsk::Only,
            _ => SpotAsk::AsPool,
        };
    }
}

impl Terms {
    fn draw(rng: &mut Rng) -> Self {
        let spot = match rng.below(10) {
            0..=3 => SpotUse::Never,
            4..=7 => SpotUse::Prefer,
            _ => SpotUse::Only,
        };
        let places: &[&str] = if rng.chance(4_000) { &["a", "b"] } else { &[] };
        Self {
            spot,
            patience: DurationMs::from_secs(rng.between(0, 420)),
            percent: i64::from(rng.small(20, 70)),
            subnets: places.iter().map(|place| (*place).to_owned()).collect(),
            always: rng.chance(1_000),
        }
    }

    fn give(&self, pool: &mut Pool) {
        pool.spot = self.spot;
        pool.spot_patience_ms = self.patience;
        pool.subnets.clone_from(&self.subnets);
        pool.requeue_always = self.always;
        for shape in &mut pool.shapes {
            shape.spot_price = shape.price.map(|price| Price(price.0 * self.percent / 100));
        }
    }
}

impl World {
    /// Looks for something to happen to prices and stocks.
    pub fn torment_market(&mut self) {
        let is_used = self.config.pools.iter().any(|pool| pool.spot != SpotUse::Never);
        if is_used && self.strikes(Kind::SpotPrices) {
            self.prices_move();
        }
        if is_used && self.strikes(Kind::SpotGone) {
            let until = self.now + DurationMs(self.rng.between(60_000, 1_800_000));
            let places = self.config.pools.iter().flat_map(|pool| &pool.subnets).cloned();
            let mut places: Vec<String> = places.collect();
            places.push(String::new());
            let place = self.rng.pick(&places).cloned().unwrap_or_default();
            // Everywhere, or in one place.
            self.cloud.no_spot = Some((place, until));
        }
    }

    /// The provider tells what spot machines cost now; some are dearer than on demand.
    fn prices_move(&mut self) {
        let mut prices = Vec::new();
        for pool in &self.config.pools {
            let mut places: Vec<&str> = pool.subnets.iter().map(String::as_str).collect();
            if places.is_empty() {
                places.push("");
            }
            for (shape, subnet) in
                pool.shapes.iter().flat_map(|shape| places.iter().map(move |place| (shape, *place)))
            {
                let demand = shape.price.unwrap_or_default().0;
                let price = Price(demand * i64::from(self.rng.small(15, 115)) / 100);
                let (shape, subnet) = (shape.name.clone(), subnet.to_owned());
                prices.push(SpotPrice { shape, subnet, price });
            }
        }
        let provider = crate::scenario::provider();
        let said = Box::new(ProviderSaid::SpotPrices { provider, prices });
        self.after(100, What::Answer { life: self.head_life, said });
    }

    /// A spot machine is to be taken back.
    pub fn reclaim(&mut self, id: MachineId) {
        let notice = self.rng.pick(&NOTICES).copied().unwrap_or_default();
        let until = self.now + DurationMs(notice);
        let clock = self.cloud.clock(until);
        if self.rng.chance(2_000) {
            self.after(0, What::Notice { machine: id, kind: NoticeKind::Rebalance, until: clock });
        }
        if notice > 0 && self.rng.chance(5_000) {
            let kind = NoticeKind::Reclaim;
            let heard = self.rng.between(0, 5_000);
            self.after(heard, What::Notice { machine: id, kind, until: clock });
        } else if notice > 0
            && let Some(machine) = self.cloud.machines.get_mut(&id)
        {
            machine.notice_at = Some(clock);
        }
        self.trace.line(self.now, format_args!("machine {} goes in {notice} ms", id.0));
        self.at(until, What::Reclaimed { machine: id });
    }

    /// Its agent hears it.
    pub fn notice_comes(&mut self, id: MachineId, kind: NoticeKind, until: Timestamp) {
        let until = (kind == NoticeKind::Reclaim).then_some(until);
        self.agent_step(id, AgentInput::Notice { kind, until });
    }

    /// It is gone now, if nobody was faster. Not every list says why.
    pub fn is_reclaimed(&mut self, id: MachineId) {
        if !self.cloud.living.contains(&id) {
            return;
        }
        let told = self.rng.chance(7_000);
        if let Some(machine) = self.cloud.machines.get_mut(&id) {
            machine.reclaimed = told;
        }
        self.machine_ends(id);
    }
}
