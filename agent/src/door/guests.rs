//! Who may have how many connections to the client socket.
//!
//! Invariant: who runs something here shares no place with who does not, and finds some free
//! whatever the others here do.
use pcluster_api::seats::{Full, Seat, Seats};
use std::collections::BTreeSet;

/// Connections at once: of all users with a run here, of one of them, and how many each of them
/// can come to whatever the others have.
const CONNECTIONS: usize = 512;
const OF_ONE: usize = 384;
const KEPT: usize = 32;
/// Of all users without a run here, who are only told that, and of one of them.
const OUTSIDERS: usize = 32;
const OF_ONE_OUTSIDER: usize = 4;

/// The connections that are open. Cheap to clone.
#[derive(Clone)]
pub struct Guests {
    of_runs: Seats<u32>,
    outsiders: Seats<u32>,
}

impl Default for Guests {
    fn default() -> Self {
        Self {
            of_runs: Seats::new(CONNECTIONS, OF_ONE),
            outsiders: Seats::new(OUTSIDERS, OF_ONE_OUTSIDER),
        }
    }
}

impl Guests {
    /// A place for a connection of this user; `here` are the users with a run on this node.
    pub fn enter(&self, uid: u32, here: BTreeSet<u32>) -> Result<Seat<u32>, Full> {
        if here.contains(&uid) {
            self.of_runs.take_leaving(uid, here, KEPT)
        } else {
            self.outsiders.take(uid)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(guests: &Guests, uid: u32, here: &BTreeSet<u32>) -> Vec<Seat<u32>> {
        std::iter::from_fn(|| guests.enter(uid, here.clone()).ok()).collect()
    }

    #[test]
    fn every_user_who_runs_here_finds_room_whatever_the_others_do() {
        let (guests, here) = (Guests::default(), (1000..1004).collect());
        let seats: Vec<_> = (1000..1004).map(|uid| all_of(&guests, uid, &here)).collect();
        let numbers: Vec<usize> = seats.iter().map(Vec::len).collect();
        assert_eq!(numbers, [OF_ONE, CONNECTIONS - OF_ONE - 2 * KEPT, KEPT, KEPT]);
    }

    #[test]
    fn who_runs_nothing_here_takes_no_place_of_those_who_do() {
        let (guests, here) = (Guests::default(), [1000].into());
        let outsiders: Vec<_> = (2000..2100).flat_map(|uid| all_of(&guests, uid, &here)).collect();
        assert_eq!(outsiders.len(), OUTSIDERS);
        assert_eq!(all_of(&guests, 1000, &here).len(), OF_ONE);
        assert!(guests.enter(1000, BTreeSet::new()).is_err(), "without a run it is one of them");
    }
}
