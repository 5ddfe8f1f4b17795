//! I16: the replayed log, the loaded rows and the living state are equal, byte for byte.
use super::Check;
use crate::world::World;
use pcluster_core::Cluster;
use std::collections::BTreeMap;

/// I16.
#[derive(Debug, Default)]
pub struct Replay {
    compared_at: u64,
}

/// Events between two comparisons.
const EVERY: u64 = 60;

type Rows = BTreeMap<(&'static str, String), String>;

impl Check for Replay {
    fn number(&self) -> u8 {
        16
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        // The replay of all checkers stops where a number is missing.
        let replayed = world.log.log_length();
        let from = usize::try_from(replayed).unwrap_or(usize::MAX);
        if let Some(stamped) = world.disk.events.get(from) {
            return Err(format!("event {} follows {replayed}", stamped.seq));
        }
        let due = world.seen.released && replayed >= self.compared_at + EVERY;
        if due || world.seen.started { self.compare(world) } else { Ok(()) }
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        self.step(world)?;
        self.compare(world)?;
        let mut anew = Cluster::new(world.cluster_id.clone());
        for stamped in &world.disk.events {
            anew.apply(stamped);
        }
        equal("a second replay", &rows(&anew), "the rows on disk", &world.disk.rows)
    }
}

impl Replay {
    fn compare(&mut self, world: &World) -> Result<(), String> {
        self.compared_at = world.log.log_length();
        if self.compared_at == 0 {
            return Ok(());
        }
        let replayed = rows(&world.log);
        equal("the replayed log", &replayed, "the rows on disk", &world.disk.rows)?;
        match &world.head {
            Some(head) => equal("the replayed log", &replayed, "the head", &rows(&head.cluster)),
            None => Ok(()),
        }
    }
}

fn rows(cluster: &Cluster) -> Rows {
    let rows = cluster.all_rows().into_iter();
    rows.filter_map(|row| Some(((row.table, row.key), row.body?))).collect()
}

fn equal(left_name: &str, left: &Rows, right_name: &str, right: &Rows) -> Result<(), String> {
    if left == right {
        return Ok(());
    }
    let missing = String::from("nothing");
    let keys = left.keys().chain(right.keys());
    for key in keys {
        let (a, b) = (left.get(key).unwrap_or(&missing), right.get(key).unwrap_or(&missing));
        if a != b {
            let at = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
            let from = at.saturating_sub(60);
            let cut = |text: &str| text.chars().skip(from).take(160).collect::<String>();
            let (table, key) = key;
            return Err(format!(
                "{table} {key}: {left_name} has …{}…, {right_name} …{}…",
                cut(a),
                cut(b)
            ));
        }
    }
    Ok(())
}
