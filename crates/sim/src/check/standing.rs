//! I9 of what stands: the ledger's pieces of a thing are the provider's time of it, without gaps, once each, and
//! cost what the provider bills.
//!
//! Deliberately absent: things whose end the provider no longer told; those are marked, and only their
//! begin is judged.
use super::Check;
use crate::world::{Mode, World};
use pcluster_core::standing::Standing;
use pcluster_model::{DurationMs, Timestamp};

/// I9.
#[derive(Debug, Default)]
pub struct Standings;

/// A head that lives for so long without faults has heard of everything.
const HEARD: DurationMs = DurationMs::from_mins(7);

impl Check for Standings {
    fn number(&self) -> u8 {
        9
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        let told = world.seen.events.iter().any(|it| it.event.kind() == "standing_seen");
        if told { all(world) } else { Ok(()) }
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        all(world)?;
        let (Some(healed), Some(head)) = (world.healed, &world.head) else { return Ok(()) };
        let quiet = healed.max(head.awake_since) + HEARD;
        if world.mode != Mode::Liveness || head.asleep || world.now < quiet {
            return Ok(());
        }
        for thing in world.things.all.iter().filter(|thing| thing.until.is_none()) {
            let known = |piece: &&Standing| piece.reference == thing.name && piece.until.is_none();
            if !world.log.ledger.standing.values().any(|piece| known(&piece)) {
                return Err(format!("{} stands and is not in the ledger", thing.name));
            }
        }
        Ok(())
    }
}

fn all(world: &World) -> Result<(), String> {
    let clock = world.cloud.clock(world.now);
    let ledger = &world.log.ledger.standing;
    if let Some(piece) = ledger
        .values()
        .find(|piece| !world.things.all.iter().any(|thing| thing.name == piece.reference))
    {
        return Err(format!("{} is in the ledger and never stood", piece.reference));
    }
    for thing in &world.things.all {
        let pieces = ledger.values().filter(|piece| piece.reference == thing.name);
        let pieces: Vec<&Standing> = pieces.collect();
        let Some(first) = pieces.first() else { continue };
        if first.since != thing.since {
            let (is, was) = (first.since.0, thing.since.0);
            return Err(format!("{} stands since {was}, in the ledger since {is}", thing.name));
        }
        if pieces.windows(2).any(|two| two[0].until != Some(two[1].since)) {
            return Err(format!("the pieces of {} overlap or have gaps", thing.name));
        }
        if pieces.iter().any(|piece| piece.estimated) {
            continue;
        }
        let last = pieces.last().and_then(|piece| piece.until);
        if last.is_some_and(|_| last != thing.until) {
            return Err(format!(
                "{} has ended {:?}, in the ledger {last:?}",
                thing.name, thing.until
            ));
        }
        // Open in the ledger: both up to now.
        let until = last.map_or(clock, |until| Timestamp(until.0.max(thing.since.0 + 1)));
        let open = last.is_none() && thing.until.is_some();
        let sum: i64 = pieces.iter().map(|piece| piece.sum(until).0).sum();
        let meter = thing.bill(clock);
        if !open && sum != meter {
            return Err(format!("{}: {sum} in the ledger, {meter} on the meter", thing.name));
        }
    }
    Ok(())
}
