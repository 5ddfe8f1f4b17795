//! Connections to the TLS port of those who have not proved that they are a node.
//!
//! Invariant: they hold a bounded number of places for a bounded time, and none of them keeps
//! anybody out: when all places are taken, the oldest one of the origin with the most goes.
//! Deliberately absent: who is known (`listener`), and closing (whoever serves a connection waits
//! for [`PreAuth::shut_out`] beside it).
use crate::limits;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// All of them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Strangers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By age, the oldest first.
    all: BTreeMap<u64, Stranger>,
}

#[derive(Debug)]
struct Stranger {
    origin: IpAddr,
    /// Says `true` when it must go, and nothing any more once it is known.
    out: watch::Sender<bool>,
}

/// A place among those who are not known yet; given up once they are, or when nobody has it any
/// more.
#[derive(Debug, Clone)]
pub struct PreAuth(Arc<Held>);

#[derive(Debug)]
struct Held {
    strangers: Strangers,
    number: u64,
    out: watch::Receiver<bool>,
    until: Instant,
}

impl Table {
    fn of(&self, origin: IpAddr) -> impl Iterator<Item = u64> {
        let own = self.all.iter().filter(move |(_, stranger)| stranger.origin == origin);
        own.map(|(number, _)| *number)
    }

    /// Whose place a newcomer from there gets; `None` while there is room.
    fn victim(&self, origin: IpAddr) -> Option<u64> {
        if self.of(origin).count() >= limits::STRANGERS_OF_ONE {
            return self.of(origin).next();
        }
        if self.all.len() < limits::STRANGERS {
            return None;
        }
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for stranger in self.all.values() {
            *counts.entry(stranger.origin).or_default() += 1;
        }
        let most = counts.values().copied().max()?;
        let oldest =
            self.all.iter().find(|(_, stranger)| counts.get(&stranger.origin) == Some(&most));
        oldest.map(|(number, _)| *number)
    }
}

impl Strangers {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for somebody from this address, at the cost of another one if there is none.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> PreAuth {
        let origin = origin_of(address);
        let mut table = self.lock();
        if let Some(number) = table.victim(origin)
            && let Some(gone) = table.all.remove(&number)
        {
            gone.out.send_replace(true);
        }
        table.next += 1;
        let number = table.next;
        let (sender, out) = watch::channel(false);
        table.all.insert(number, Stranger { origin, out: sender });
        let until = Instant::now() + limits::STRANGER;
        PreAuth(Arc::new(Held { strangers: self.clone(), number, out, until }))
    }
}

impl PreAuth {
    /// The other end is known now.
    pub fn release(&self) {
        self.0.release();
    }

    /// Comes to its end when this connection must go: its place is another's, or its time is over.
    /// Never, once it is known.
    pub async fn shut_out(&self) {
        let mut out = self.0.out.clone();
        let gone = timeout_at(self.0.until, out.wait_for(|out| *out)).await;
        let known = matches!(gone, Ok(Err(_)));
        drop(gone);
        if known {
            std::future::pending().await
        }
    }
}

impl Held {
    fn release(&self) {
        self.strangers.lock().all.remove(&self.number);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

/// Who may have one address of IPv6 mostly has some 2^64 of them.
fn origin_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::task::{Context, Poll, Waker};

    fn from(host: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, host])
    }

    fn must_go(place: &PreAuth) -> bool {
        let waiting = std::pin::pin!(tokio::task::unconstrained(place.shut_out()));
        waiting.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[tokio::test(start_paused = true)]
    async fn one_origin_takes_its_own_places_only() {
        let strangers = Strangers::default();
        let node = strangers.enter(from(2));
        let flood: Vec<_> = (0..1000).map(|_| strangers.enter(from(1))).collect();
        let left: Vec<usize> =
            flood.iter().enumerate().filter(|(_, one)| !must_go(one)).map(|(at, _)| at).collect();
        assert_eq!(left, (1000 - limits::STRANGERS_OF_ONE..1000).collect::<Vec<_>>());
        assert!(!must_go(&node));
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_gets_a_place_from_those_who_have_the_most() {
        let strangers = Strangers::default();
        let node = strangers.enter(from(200));
        let of = |host| (0..limits::STRANGERS_OF_ONE).map(move |_| host);
        let flood: Vec<_> = (1..=3).flat_map(of).map(|host| strangers.enter(from(host))).collect();
        assert_eq!(strangers.lock().all.len(), limits::STRANGERS);
        let newest = strangers.enter(from(201));
        assert_eq!(strangers.lock().all.len(), limits::STRANGERS);
        assert!(!must_go(&node) && !must_go(&newest), "they have one place each");
        assert!(must_go(&flood[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn time_ends_a_stranger_and_nobody_who_is_known() {
        let strangers = Strangers::default();
        let (silent, known) = (strangers.enter(from(1)), strangers.enter(from(1)));
        known.release();
        assert_eq!(strangers.lock().all.len(), 1);
        assert!(!must_go(&silent));
        let began = Instant::now();
        silent.shut_out().await;
        assert_eq!(Instant::now() - began, limits::STRANGER);
        assert!(!must_go(&known));
        drop(silent);
        assert_eq!(strangers.lock().all.len(), 0);
    }

    #[test]
    fn addresses_of_one_network_are_one_origin() {
        let origin = |text: &str| origin_of(text.parse().unwrap());
        assert_eq!(origin("2001:db8:1:2:3::9"), origin("2001:db8:1:2:ffff::"));
        assert_ne!(origin("2001:db8:1:2::9"), origin("2001:db8:1:3::9"));
        assert_eq!(origin("::ffff:10.0.0.1"), origin("10.0.0.1"));
        assert_ne!(origin("10.0.0.1"), origin("10.0.0.2"));
    }
}
