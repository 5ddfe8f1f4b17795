//! Spot machines in simulated worlds: that enough happens to them, and that it ends as it should.
use pcluster_core::event::{Event, LaunchErrorClass, StopCause};
use pcluster_model::config::SpotUse;
use pcluster_sim::check::{self, Check};
use pcluster_sim::cli::mixed;
use pcluster_sim::plant::Plant;
use pcluster_sim::run_seed;
use pcluster_sim::world::World;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

type Counts = Arc<Mutex<BTreeMap<&'static str, u32>>>;

/// Counts what the log tells of spot machines; breaks no law.
#[derive(Debug)]
struct Watcher(Counts);

fn word(world: &World, event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::LaunchWanted { intent } if intent.offering.spot => "spot launch",
        Event::LaunchWanted { intent } => {
            let pool = world.log.pool(&intent.offering.pool)?;
            let refused = world.log.meta.offerings.iter().any(|(key, health)| {
                key.pool == pool.name && key.spot && health.refused_since.is_some()
            });
            (pool.spot == SpotUse::Prefer && refused).then_some("fallback to on demand")?
        }
        Event::OfferingRested { offering, class: LaunchErrorClass::NoCapacity, .. }
            if offering.spot =>
        {
            "spot refused"
        }
        Event::NodeDraining { cause: StopCause::Reclaimed { until: Some(_) }, .. } => "notice",
        Event::NodeDraining { cause: StopCause::Rebalance, .. } => "hint",
        Event::NodeStopping { cause: StopCause::Reclaimed { until: None }, .. } => "silent reclaim",
        Event::RequeueWanted { preempted: true, .. } => "ended for a notice",
        _ => return None,
    })
}

impl Check for Watcher {
    fn number(&self) -> u8 {
        0
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        for stamped in &world.seen.events {
            if let Some(word) = word(world, &stamped.event) {
                *self.0.lock().expect("one thread").entry(word).or_default() += 1;
            }
        }
        Ok(())
    }
}

#[test]
fn spot_machines_come_are_refused_and_are_taken_back_in_every_way() {
    let counts = Counts::default();
    for seed in 5_001..5_121 {
        let mut checks = check::all();
        checks.push(Box::new(Watcher(Arc::clone(&counts))));
        assert_eq!(run_seed(seed, mixed(seed), Plant::Nothing, checks).verdict, Ok(()), "{seed}");
    }
    let counts = counts.lock().unwrap();
    let least = [
        ("spot launch", 100),
        ("spot refused", 20),
        ("fallback to on demand", 10),
        ("notice", 5),
        ("hint", 1),
        ("silent reclaim", 20),
        ("ended for a notice", 2),
    ];
    for (word, least) in least {
        assert!(counts.get(word).is_some_and(|seen| *seen >= least), "{word}: {counts:?}");
    }
}
