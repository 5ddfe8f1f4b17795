//! Which task runs on which node.
//!
//! Invariant: every task is on exactly one node, tasks of a node are in rising order, and nobody gets
//! more tasks than its CPUs hold unless that was asked for. Deliberately absent: whether other steps
//! hold those CPUs now (the head's).
use crate::words::hosts;

/// A node that tasks may be put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    pub rank: u32,
    pub node: String,
    pub cpus: u32,
}

/// How tasks follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    #[default]
    Block,
    Cyclic,
    /// Blocks of so many.
    Plane(u32),
    /// Each line of a file, or word of `-w`, is the node of one task.
    Arbitrary,
}

impl Order {
    /// `block`, `cyclic:block`, `plane=4`, `arbitrary`, `*`; what follows a colon is about sockets.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let first = text.split([':', ',']).next().unwrap_or("");
        match first.to_ascii_lowercase().as_str() {
            "block" | "*" | "pack" | "nopack" | "" => Some(Self::Block),
            "cyclic" | "fcyclic" => Some(Self::Cyclic),
            "arbitrary" => Some(Self::Arbitrary),
            plane => {
                let size = plane.strip_prefix("plane=")?.parse().ok()?;
                (size > 0).then_some(Self::Plane(size))
            }
        }
    }

    /// `SLURM_DISTRIBUTION`.
    pub(super) fn name(self) -> String {
        match self {
            Self::Block => "block".into(),
            Self::Cyclic => "cyclic".into(),
            Self::Plane(size) => format!("plane={size}"),
            Self::Arbitrary => "arbitrary".into(),
        }
    }
}

/// What a step asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ask {
    pub tasks: Option<u32>,
    pub nodes: Option<(u32, Option<u32>)>,
    pub tasks_per_node: Option<u32>,
    pub cpus_per_task: u32,
    pub overcommit: bool,
    pub order: Order,
    /// `-w`, in its order.
    pub on: Vec<String>,
    pub not_on: Vec<String>,
    /// From this node of the allocation on.
    pub relative: u32,
    /// The job's own number of tasks, used when nothing else says one.
    pub job_tasks: Option<u32>,
}

/// The nodes of a step and the numbers of their tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Layout {
    pub nodes: Vec<Placed>,
    /// Said on stderr.
    pub warning: Option<String>,
}

/// One node of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub rank: u32,
    pub node: String,
    pub tasks: Vec<u32>,
}

impl Layout {
    pub(super) fn tasks(&self) -> u32 {
        count(self.nodes.iter().map(|placed| placed.tasks.len()).sum())
    }

    /// `SLURM_STEP_NODELIST`.
    pub(super) fn node_list(&self) -> String {
        let names: Vec<&str> = self.nodes.iter().map(|placed| placed.node.as_str()).collect();
        hosts::fold(&names)
    }

    /// `2(x2),1`.
    pub(super) fn tasks_per_node(&self) -> String {
        runs(self.nodes.iter().map(|placed| count(placed.tasks.len())))
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Equal neighbours once, with how many there are.
pub(super) fn runs(counts: impl Iterator<Item = u32>) -> String {
    let mut groups: Vec<(u32, u32)> = Vec::new();
    for count in counts {
        match groups.last_mut() {
            Some((same, times)) if *same == count => *times += 1,
            _ => groups.push((count, 1)),
        }
    }
    let word = |(count, times): &(u32, u32)| {
        if *times == 1 { count.to_string() } else { format!("{count}(x{times})") }
    };
    groups.iter().map(word).collect::<Vec<_>>().join(",")
}

/// Puts the tasks of a step on nodes of the allocation.
///
/// # Errors
/// In Slurm's words, without `srun: error: `.
pub(super) fn lay_out(rooms: &[Room], ask: &Ask) -> Result<Layout, String> {
    let chosen = candidates(rooms, ask)?;
    if ask.order == Order::Arbitrary && !ask.on.is_empty() {
        return arbitrary(&chosen, ask);
    }
    let (nodes, tasks, warning) = sizes(&chosen, ask)?;
    let chosen = &chosen[..nodes];
    let each = ask.cpus_per_task.max(1);
    let most = |room: &Room| {
        let by_cpus = if ask.overcommit { u32::MAX } else { (room.cpus / each).max(1) };
        ask.tasks_per_node.map_or(by_cpus, |most| most.min(by_cpus))
    };
    let capacities: Vec<u32> = chosen.iter().map(most).collect();
    let all = capacities.iter().fold(0_u32, |sum, one| sum.saturating_add(*one));
    let too_wide = !ask.overcommit && chosen.iter().any(|room| room.cpus < each);
    if all < tasks || too_wide {
        return Err("More processors requested than permitted".into());
    }
    let counts = match ask.order {
        Order::Block | Order::Arbitrary if ask.overcommit => even(nodes, tasks),
        Order::Block | Order::Arbitrary => blocks(&capacities, tasks),
        Order::Cyclic => rounds(&capacities, tasks, 1),
        Order::Plane(size) => rounds(&capacities, tasks, size),
    };
    let numbers = match ask.order {
        Order::Block | Order::Arbitrary => in_blocks(&counts),
        Order::Cyclic => in_rounds(&counts, 1),
        Order::Plane(size) => in_rounds(&counts, size),
    };
    let nodes = chosen.iter().zip(numbers).filter(|(_, tasks)| !tasks.is_empty());
    let placed = |(room, tasks): (&Room, Vec<u32>)| Placed {
        rank: room.rank,
        node: room.node.clone(),
        tasks,
    };
    Ok(Layout { nodes: nodes.map(placed).collect(), warning })
}

/// The nodes that may be used, in the order of use.
fn candidates(rooms: &[Room], ask: &Ask) -> Result<Vec<Room>, String> {
    let skip = usize::try_from(ask.relative).unwrap_or(usize::MAX);
    let mut free: Vec<Room> = rooms.iter().skip(skip).cloned().collect();
    for name in &ask.on {
        if !free.iter().any(|room| room.node == *name) {
            return Err(format!(
                "Requested node configuration is not available: {name} is not one of the job's nodes"
            ));
        }
    }
    free.retain(|room| !ask.not_on.contains(&room.node));
    if !ask.on.is_empty() {
        // Named nodes come first; others only where more were asked for.
        let more = ask.nodes.is_some_and(|(least, _)| least > count(ask.on.len()));
        let named = |room: &Room| ask.on.contains(&room.node);
        if more {
            free.sort_by_key(|room| !named(room));
        } else {
            free.retain(named);
        }
    }
    if free.is_empty() {
        return Err("Requested node configuration is not available".into());
    }
    Ok(free)
}

/// How many nodes and tasks, and what to say about it.
fn sizes(chosen: &[Room], ask: &Ask) -> Result<(usize, u32, Option<String>), String> {
    let there = count(chosen.len());
    let asked = match ask.nodes {
        Some((least, _)) if least > there => {
            return Err(format!("Only allocated {there} nodes asked for {least}"));
        }
        Some((least, most)) => most.unwrap_or(least).min(there).max(1),
        None => there,
    };
    let tasks = match (ask.tasks, ask.tasks_per_node, ask.job_tasks) {
        (Some(tasks), _, _) => tasks,
        (None, Some(per_node), _) => per_node.saturating_mul(asked),
        // The job's own number is for all of its nodes.
        (None, None, Some(tasks)) if ask.on.is_empty() && ask.nodes.is_none() => tasks,
        _ => asked,
    };
    let nodes = asked.min(tasks.max(1));
    let warning = (nodes < asked && ask.nodes.is_some()).then(|| {
        format!("Warning: can't run {tasks} processes on {asked} nodes, setting nnodes to {nodes}")
    });
    Ok((usize::try_from(nodes).unwrap_or(1), tasks.max(1), warning))
}

/// One for each node first, then the first node until it is full, and so on.
fn blocks(capacities: &[u32], tasks: u32) -> Vec<u32> {
    let mut counts: Vec<u32> = vec![0; capacities.len()];
    let mut left = tasks;
    for count in &mut counts {
        let one = left.min(1);
        *count += one;
        left -= one;
    }
    for (count, most) in counts.iter_mut().zip(capacities) {
        let more = left.min(most.saturating_sub(*count));
        *count += more;
        left -= more;
    }
    counts
}

fn even(nodes: usize, tasks: u32) -> Vec<u32> {
    let all = count(nodes).max(1);
    (0..all).map(|node| tasks / all + u32::from(node < tasks % all)).collect()
}

/// `size` for each node in turn, as long as there is room.
fn rounds(capacities: &[u32], tasks: u32, size: u32) -> Vec<u32> {
    let mut counts = vec![0; capacities.len()];
    let mut left = tasks;
    while left > 0 {
        let before = left;
        for (count, most) in counts.iter_mut().zip(capacities) {
            let more = size.min(left).min(most.saturating_sub(*count));
            *count += more;
            left -= more;
        }
        if left == before {
            break;
        }
    }
    counts
}

fn in_blocks(counts: &[u32]) -> Vec<Vec<u32>> {
    let mut next = 0;
    let numbers = |count: &u32| {
        let first = next;
        next += count;
        (first..next).collect()
    };
    counts.iter().map(numbers).collect()
}

fn in_rounds(counts: &[u32], size: u32) -> Vec<Vec<u32>> {
    let mut numbers: Vec<Vec<u32>> = vec![Vec::new(); counts.len()];
    let all: u32 = counts.iter().sum();
    let mut next = 0;
    while next < all {
        for (mine, most) in numbers.iter_mut().zip(counts) {
            let more = size.min(most - count(mine.len()));
            mine.extend(next..next + more);
            next += more;
        }
    }
    numbers
}

fn arbitrary(chosen: &[Room], ask: &Ask) -> Result<Layout, String> {
    let mut nodes: Vec<Placed> = Vec::new();
    let wanted = ask.tasks.map_or(ask.on.len(), |tasks| usize::try_from(tasks).unwrap_or(0));
    if wanted > ask.on.len() {
        let (lines, wanted) = (ask.on.len(), wanted);
        return Err(format!("{lines} nodes are listed for {wanted} tasks"));
    }
    for (number, name) in ask.on.iter().take(wanted).enumerate() {
        let room = chosen.iter().find(|room| room.node == *name);
        let room = room.ok_or("Requested node configuration is not available")?;
        let number = count(number);
        match nodes.iter_mut().find(|placed| placed.rank == room.rank) {
            Some(placed) => placed.tasks.push(number),
            None => {
                nodes.push(Placed {
                    rank: room.rank,
                    node: room.node.clone(),
                    tasks: vec![number],
                });
            }
        }
    }
    Ok(Layout { nodes, warning: None })
}

#[cfg(test)]
mod tests;
