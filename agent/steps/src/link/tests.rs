//! Two ends and a stream that breaks wherever it likes.
use super::*;
use proptest::prelude::*;

/// Two ends, the packets under way in each direction, and what has arrived.
#[derive(Default)]
struct Pair {
    ends: [Link; 2],
    under_way: [VecDeque<Packet>; 2],
    sent: [Vec<Vec<u8>>; 2],
    arrived: [Vec<Vec<u8>>; 2],
}

impl Pair {
    fn connect(&mut self) {
        let received = [self.ends[0].received(), self.ends[1].received()];
        self.ends[0].opened(received[1]).unwrap();
        self.ends[1].opened(received[0]).unwrap();
    }

    fn cut(&mut self) {
        for end in &mut self.ends {
            end.lost();
        }
        self.under_way = Default::default();
    }

    fn send(&mut self, from: usize) {
        let payload = format!("{from}:{}", self.sent[from].len()).into_bytes();
        self.sent[from].push(payload.clone());
        self.ends[from].push(payload);
    }

    /// One packet leaves `from`.
    fn leave(&mut self, from: usize) -> bool {
        let Some(packet) = self.ends[from].leaving() else { return false };
        self.under_way[from].push_back(packet);
        true
    }

    /// One packet of `from` arrives.
    fn arrive(&mut self, from: usize) -> bool {
        let Some(packet) = self.under_way[from].pop_front() else { return false };
        if let Some(payload) = self.ends[1 - from].take(packet).unwrap() {
            self.arrived[1 - from].push(payload);
        }
        true
    }

    fn settle(&mut self) {
        self.cut();
        self.connect();
        while (0..2).any(|end| self.leave(end) || self.arrive(end)) {}
        for end in 0..2 {
            assert_eq!(self.arrived[1 - end], self.sent[end]);
            assert!(self.ends[end].is_settled());
            assert_eq!(self.ends[end].kept_bytes, 0);
        }
    }
}

#[test]
fn a_stream_lost_at_every_point_delays_and_loses_nothing() {
    // Every prefix of an exchange, cut there.
    for cut_at in 0..40 {
        let mut pair = Pair::default();
        pair.connect();
        for step in 0..cut_at {
            pair.send(step % 2);
            pair.leave(step % 2);
            if step % 3 == 0 {
                pair.arrive(step % 2);
            }
        }
        pair.settle();
    }
}

#[test]
fn nothing_leaves_without_a_stream() {
    let mut link = Link::default();
    link.push(b"x".to_vec());
    assert_eq!(link.leaving(), None);
    link.opened(0).unwrap();
    assert_eq!(link.leaving(), Some(Packet::Data(1, b"x".to_vec())));
    assert_eq!(link.leaving(), None);
}

#[test]
fn room_is_used_up_and_comes_back_with_the_acknowledgement() {
    let mut link = Link::default();
    link.opened(0).unwrap();
    link.push(vec![0; ROOM]);
    assert!(!link.has_room());
    link.leaving();
    link.take(Packet::Ack(1)).unwrap();
    assert!(link.has_room());
}

#[test]
fn what_cannot_be_is_an_error() {
    let mut link = Link::default();
    link.opened(0).unwrap();
    assert!(link.take(Packet::Data(2, Vec::new())).is_err(), "a gap");
    assert!(link.take(Packet::Ack(1)).is_err(), "never sent");
    assert!(link.opened(5).is_err(), "never sent either");
    link.push(b"x".to_vec());
    link.opened(0).unwrap();
    link.leaving();
    link.take(Packet::Ack(1)).unwrap();
    assert!(link.opened(0).is_err(), "it had that already");
}

proptest! {
    #[test]
    fn any_order_of_events_delivers_once_and_in_order(
        steps in proptest::collection::vec((0_u8..5, 0_usize..2), 0..300),
    ) {
        let mut pair = Pair::default();
        pair.connect();
        for (what, end) in steps {
            match what {
                0 => pair.send(end),
                1 | 2 => { pair.leave(end); }
                3 => { pair.arrive(end); }
                _ => { pair.cut(); pair.connect(); }
            }
        }
        pair.settle();
    }
}

#[test]
fn an_end_that_takes_nothing_is_given_up_and_not_kept_for() {
    let mut link = Link::default();
    link.opened(0).unwrap();
    for _ in 0..KEPT_MESSAGES {
        link.push(vec![1]);
    }
    assert!(link.take(Packet::Ping).is_ok());
    link.push(vec![1]);
    assert!(link.is_settled() && link.leaving().is_none());
    assert!(link.take(Packet::Ping).is_err() && link.opened(0).is_err());
    let mut long = Link::default();
    for _ in 0..5 {
        long.push(vec![0; MAX_PAYLOAD]);
    }
    assert!(long.opened(0).is_err());
}
