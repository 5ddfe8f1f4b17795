//! The process manager interface of MPICH and its relatives, versions 1 and 2, for tasks that `srun`
//! has started: each finds its rank, and all exchange their addresses in a key space.
//!
//! Invariant: pure; bytes of tasks in, acts out. Whatever a task sends ends in an answer or in an
//! error that it reads. What tasks put is seen by all after the next barrier. Deliberately absent:
//! starting more tasks (`spawn` is refused), and names published between jobs.
mod hub;
mod v1;
mod v2;

pub use hub::Hub;

use crate::message::LibraryOrder;
use std::collections::BTreeMap;

/// A command longer than this is not one.
const MAX_COMMAND: usize = 1 << 20;

/// Keys and values that the tasks of one part put, in bytes; more is refused.
const SPACE_BYTES: usize = 64 << 20;
/// Attributes of the node that a task waits for at once.
const WANTS: usize = 64;

/// What is to be done after bytes of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Send these bytes to the task.
    Say { at: usize, bytes: Vec<u8> },
    /// All tasks of this part wait in the barrier.
    BarrierIn { puts: Vec<(String, String)> },
    /// A task wants the whole step to end.
    Abort { at: usize, code: i32, text: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

#[derive(Debug)]
struct Peer {
    number: u32,
    version: Version,
    buffer: Vec<u8>,
    started: bool,
    finished: bool,
    /// It waits in the barrier, with the thread id to be echoed.
    waits: Option<Option<String>>,
    /// It waits for a node attribute: key and thread id.
    wants: Vec<(String, Option<String>)>,
}

/// The server of the tasks of one part.
#[derive(Debug)]
pub struct Local {
    name: String,
    size: u32,
    mapping: String,
    peers: Vec<Peer>,
    /// What everybody can see.
    space: BTreeMap<String, String>,
    /// Put here since the last barrier.
    fresh: Vec<(String, String)>,
    /// Bytes of all that was put here, twice where it was put twice.
    put_bytes: usize,
    node: BTreeMap<String, String>,
}

impl Local {
    /// For the tasks with these numbers.
    #[must_use]
    pub fn new(order: &LibraryOrder, numbers: Vec<u32>) -> Self {
        let peer = |number| Peer {
            number,
            version: Version::One,
            buffer: Vec::new(),
            started: false,
            finished: false,
            waits: None,
            wants: Vec::new(),
        };
        Self {
            name: order.name.clone(),
            size: order.size,
            mapping: order.mapping.clone(),
            peers: numbers.into_iter().map(peer).collect(),
            space: BTreeMap::from([("PMI_process_mapping".to_owned(), order.mapping.clone())]),
            fresh: Vec::new(),
            put_bytes: 0,
            node: BTreeMap::new(),
        }
    }

    /// A task that has started the library and not ended it.
    #[must_use]
    pub fn is_unfinished(&self, at: usize) -> bool {
        self.peers.get(at).is_some_and(|peer| peer.started && !peer.finished)
    }

    /// Bytes of the task at this place.
    pub fn take(&mut self, at: usize, bytes: &[u8]) -> Vec<Act> {
        let Some(peer) = self.peers.get_mut(at) else { return Vec::new() };
        peer.buffer.extend(bytes);
        let mut acts = Vec::new();
        loop {
            let peer = &mut self.peers[at];
            let command = match peer.version {
                Version::One => v1::command(&mut peer.buffer),
                Version::Two => v2::command(&mut peer.buffer),
            };
            match command {
                Some(command) => acts.extend(self.obey(at, &command)),
                None if self.peers[at].buffer.len() > MAX_COMMAND => {
                    self.peers[at].buffer.clear();
                    let text = "sent no command of the process manager interface".to_owned();
                    acts.push(Act::Abort { at, code: 1, text });
                    return acts;
                }
                None => return acts,
            }
        }
    }

    fn obey(&mut self, at: usize, command: &str) -> Vec<Act> {
        match self.peers[at].version {
            Version::One => v1::obey(self, at, command),
            Version::Two => v2::obey(self, at, command),
        }
    }

    /// False when there is no room for it.
    fn put(&mut self, key: &str, value: &str) -> bool {
        let room = self.takes(key, value);
        if room {
            self.fresh.push((key.to_owned(), value.to_owned()));
            self.space.insert(key.to_owned(), value.to_owned());
        }
        room
    }

    /// Counts what is to be put; false when it is too much.
    fn takes(&mut self, key: &str, value: &str) -> bool {
        let bytes = self.put_bytes + key.len() + value.len();
        let room = bytes <= SPACE_BYTES;
        if room {
            self.put_bytes = bytes;
        }
        room
    }

    /// The task goes into the barrier.
    fn enter(&mut self, at: usize, thread: Option<String>) -> Vec<Act> {
        self.peers[at].waits = Some(thread);
        if self.peers.iter().all(|peer| peer.waits.is_some()) {
            return vec![Act::BarrierIn { puts: std::mem::take(&mut self.fresh) }];
        }
        Vec::new()
    }

    /// Everybody of the step was in the barrier and has put this.
    pub fn barrier_out(&mut self, puts: Vec<(String, String)>) -> Vec<Act> {
        self.space.extend(puts);
        let mut acts = Vec::new();
        for (at, peer) in self.peers.iter_mut().enumerate() {
            let Some(thread) = peer.waits.take() else { continue };
            let bytes = match peer.version {
                Version::One => v1::barrier_out(),
                Version::Two => v2::barrier_out(thread.as_deref()),
            };
            acts.push(Act::Say { at, bytes });
        }
        acts
    }
}

/// `(vector,(0,NODES,TASKS))` for tasks in blocks, with more groups where the counts change; empty
/// for other orders, which the library then finds out by itself.
#[must_use]
pub fn mapping(numbers_by_node: &[Vec<u32>]) -> String {
    let largest = numbers_by_node.iter().map(Vec::len).max().unwrap_or(0);
    let all = u32::try_from(numbers_by_node.iter().map(Vec::len).sum::<usize>()).unwrap_or(0);
    let mut groups: Vec<(usize, usize, usize)> = Vec::new();
    if numbers_by_node.iter().flatten().copied().eq(0..all) {
        for (node, tasks) in numbers_by_node.iter().enumerate() {
            match groups.last_mut() {
                Some((first, nodes, count)) if *count == tasks.len() && *first + *nodes == node => {
                    *nodes += 1;
                }
                _ => groups.push((node, 1, tasks.len())),
            }
        }
    } else {
        // One task after the other goes round the nodes that still take some.
        let cyclic = (0..largest).flat_map(|turn| {
            numbers_by_node.iter().filter_map(move |tasks| tasks.get(turn).copied())
        });
        if !cyclic.eq(0..all) {
            return String::new();
        }
        for turn in 0..largest {
            for (node, tasks) in numbers_by_node.iter().enumerate() {
                if tasks.len() <= turn {
                    continue;
                }
                match groups.last_mut() {
                    Some((first, nodes, _)) if *first + *nodes == node => *nodes += 1,
                    _ => groups.push((node, 1, 1)),
                }
            }
        }
    }
    let groups: Vec<String> =
        groups.iter().map(|(first, nodes, count)| format!("({first},{nodes},{count})")).collect();
    format!("(vector,{})", groups.join(","))
}

#[cfg(test)]
mod tests;
