//! I16: the replayed log, the loaded rows and the living state are equal, byte for byte; and so is a
//! replay of what is left of the log: base and tail.
use super::Check;
use crate::store::Rows;
use crate::world::World;
use pcluster_core::Cluster;

/// I16.
#[derive(Debug, Default)]
pub struct Replay {
    compared_at: u64,
}

/// Events between two comparisons.
const EVERY: u64 = 60;

impl Check for Replay {
    fn number(&self) -> u8 {
        16
    }

    fn step(&mut self, world: &World) -> Result<(), String> {
        // The replay of all checkers stops where a number is missing.
        let replayed = world.log.log_length();
        if let Some(stamped) = world.disk.after(replayed).first() {
            return Err(format!("event {} follows {replayed}", stamped.seq));
        }
        let due = world.seen.released && replayed >= self.compared_at + EVERY;
        if due || world.seen.started {
            self.compare(world)?;
        }
        if world.seen.pruned || world.seen.started { self.again(world) } else { Ok(()) }
    }

    fn end(&mut self, world: &World) -> Result<(), String> {
        self.step(world)?;
        self.compare(world)?;
        self.again(world)
    }
}

impl Replay {
    /// What is left of the log gives the same as all of it, and rows of the past stay as they were.
    fn again(&self, world: &World) -> Result<(), String> {
        let anew = world.disk.replay(&world.cluster_id)?;
        if anew.log_length() == 0 {
            return Ok(());
        }
        equal("a second replay", &rows(&anew), "the rows on disk", &world.disk.rows)?;
        equal("the replayed log", &world.past, "the past on disk", &world.disk.past)
    }

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
