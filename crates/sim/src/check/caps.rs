//! I14: nodes and spend stay under their caps at all times.
//!
//! Spend is the provider's meter, month by month, less what nobody could prevent: time in which the
//! head was down, asleep or settling, time in which a machine was silent (its grace is longer than
//! any reservation), and time after the provider was told to end it.
use super::Check;
use crate::cloud::{Machine, MachineId};
use crate::world::World;
use pcluster_core::event::{Event, Stamped};
use pcluster_model::{DurationMs, Timestamp};
use std::collections::BTreeMap;

/// I14.
#[derive(Debug, Default)]
pub struct Caps {
    machines: usize,
    /// The highest `max` of each pool so far.
    most: BTreeMap<String, u32>,
    counted_to: Option<Timestamp>,
    /// Micro-dollar-milliseconds an hour, by month.
    spent: BTreeMap<i64, i128>,
    /// Something stood that the head had not heard of when it launched: no money was set aside for it.
    unheard: bool,
    /// The wall clock was set: months are what the head took them for, so spend is not judged.
    clock_was_set: bool,
}

/// After a start or a stall no deadline fires for the settling time.
const SETTLES: DurationMs = DurationMs::from_secs(75);
const HOUR_MS: i128 = 3_600_000;

impl Check for Caps {
    fn number(&self) -> u8 {
        14
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        self.launches(world)?;
        self.machines(world)?;
        self.spend(world)
    }
}

impl Caps {
    /// What the head decides: pools never ask for more than their maximum.
    fn launches(&self, world: &World) -> Result<(), String> {
        let Some(head) = &world.head else { return Ok(()) };
        for stamped in &world.seen.events {
            let Event::LaunchWanted { intent } = &stamped.event else { continue };
            let Some(pool) = head.cluster.pool(&intent.offering.pool) else { continue };
            let living = head.cluster.living_nodes(&pool.name);
            let (nodes, cpus) = living.fold((0u32, 0u32), |(nodes, cpus), node| {
                (nodes + 1, cpus + node.shape.total.cpus)
            });
            if nodes > pool.max || pool.max_cpus.is_some_and(|most| cpus > most) {
                return Err(format!(
                    "pool {} wants {nodes} nodes with {cpus} CPUs; it may have {} and {:?}",
                    pool.name, pool.max, pool.max_cpus
                ));
            }
        }
        Ok(())
    }

    /// What the provider sees: machines that live and were not told to end.
    fn machines(&mut self, world: &World) -> Result<(), String> {
        for pool in &world.config.pools {
            let most = self.most.entry(pool.name.to_string()).or_default();
            *most = pool.max.max(*most);
        }
        if world.cloud.machines.len() == self.machines {
            return Ok(());
        }
        self.machines = world.cloud.machines.len();
        for (pool, most) in &self.most {
            let ours = living(world).filter(|(_, machine)| machine.pool == *pool);
            // Where a stray took the place of a machine in the list, that one is over until it is ended.
            let displaced = |machine: &Machine| {
                let mut all = world.cloud.machines.values();
                all.any(|other| other.stray && other.launch == machine.launch)
            };
            let ours = ours.filter(|(_, machine)| !displaced(machine)).count();
            if ours > *most as usize {
                return Err(format!("{ours} machines of pool {pool} live; it may have {most}"));
            }
        }
        Ok(())
    }

    fn spend(&mut self, world: &World) -> Result<(), String> {
        self.clock_was_set |= world.wall_ahead_ms != 0;
        self.unheard |= stands_unheard(world);
        let before = self.counted_to.replace(world.now).unwrap_or(world.now);
        let Some(cap) = world.config.budget.month.filter(|_| !self.clock_was_set) else {
            return Ok(());
        };
        let Some(head) = world.head.as_ref().filter(|head| !head.asleep) else { return Ok(()) };
        if before < head.awake_since + SETTLES {
            return Ok(());
        }
        let span = i128::from(world.now.0 - before.0);
        let month = month_of(world.now.0 + world.config.zone_offset_ms);
        let heard = living(world).filter(|(id, _)| !world.is_silent(*id));
        let prices: i128 = heard.map(|(_, machine)| i128::from(machine.price)).sum();
        let stands: i128 = if self.unheard { 0 } else { standing_price(world) };
        let spent = self.spent.entry(month).or_default();
        *spent += (prices + stands) * span;
        // One billing quantum for each machine that lives.
        let quantum = prices * i128::from(world.cloud.minimum_ms);
        if *spent > i128::from(cap.0) * HOUR_MS + quantum {
            let micro = *spent / HOUR_MS;
            return Err(format!("{micro} micro-dollars were spent in a month of {}", cap.0));
        }
        Ok(())
    }
}

/// What stands costs in an hour.
fn standing_price(world: &World) -> i128 {
    let stands = world.things.all.iter().filter(|thing| thing.until.is_none());
    stands.map(|thing| i128::from(thing.price)).sum()
}

fn stands_unheard(world: &World) -> bool {
    let launched = |it: &Stamped| matches!(it.event, Event::LaunchWanted { .. });
    let heard = |name: &str| {
        let mut pieces = world.log.ledger.standing.values();
        pieces.any(|piece| piece.reference == name && piece.until.is_none())
    };
    let mut stands = world.things.all.iter().filter(|thing| thing.until.is_none());
    world.seen.events.iter().any(launched) && stands.any(|thing| !heard(&thing.name))
}

fn living(world: &World) -> impl Iterator<Item = (MachineId, &Machine)> {
    world
        .cloud
        .living
        .iter()
        .filter_map(|id| Some((*id, world.cloud.machines.get(id)?)))
        .filter(|(_, machine)| !machine.stray && !machine.late && machine.end_asked_at.is_none())
}

/// Months since the epoch, by counting them: slow, plain, and not the core's way.
fn month_of(wall_ms: i64) -> i64 {
    let mut days = wall_ms.div_euclid(86_400_000);
    let (mut year, mut month) = (1970, 0);
    loop {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let february = if leap { 29 } else { 28 };
        let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        if days < lengths[month] {
            return (year - 1970) * 12 + i64::try_from(month).unwrap_or(0);
        }
        days -= lengths[month];
        month = (month + 1) % 12;
        year += i64::from(month == 0);
    }
}

#[cfg(test)]
mod tests {
    use super::month_of;

    #[test]
    fn months_are_counted_as_in_the_calendar() {
        let day = 86_400_000;
        assert_eq!(month_of(0), 0);
        assert_eq!(month_of(31 * day - 1), 0);
        assert_eq!(month_of(31 * day), 1);
        // 2024-02-29 and 2024-03-01.
        assert_eq!(month_of(19_782 * day), 54 * 12 + 1);
        assert_eq!(month_of(19_783 * day), 54 * 12 + 2);
    }
}
