//! Which step daemons there are on this node, and the streams that were promised to them.
//!
//! Invariant: a stream goes to a process of the user whose run it is for, once, and soon or not at
//! all. Pure but for the channels: no socket, no clock.
use pcluster_model::RunId;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;

/// Streams that wait for one daemon to come up.
pub const WAITING: usize = 64;
/// Streams told to a daemon that it has not taken yet.
pub const PROMISED: usize = 512;
/// Of those, streams to the daemons of one user, and to one daemon.
pub const PROMISED_TO_USER: usize = PROMISED / 4;
pub const PROMISED_TO_ONE: usize = 64;
/// Lines that a daemon has not read yet.
pub const LINES: usize = 64;

/// A daemon that listens, by a number of its own.
#[derive(Debug)]
struct Daemon {
    number: u64,
    lines: mpsc::Sender<String>,
}

/// Runs, daemons and streams of this node.
#[derive(Debug, Default)]
pub struct Streams {
    next: u64,
    /// Who each living run is of.
    users: BTreeMap<RunId, u32>,
    daemons: BTreeMap<RunId, Daemon>,
    waiting: BTreeMap<RunId, Vec<String>>,
    promised: BTreeMap<String, RunId>,
}

/// What became of a wish for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// The daemon knows of it.
    Told,
    /// There is no daemon yet: it is to be started.
    NoDaemon,
    Refused(&'static str),
}

impl Streams {
    /// A run of this user lives here.
    pub fn begin(&mut self, run: RunId, uid: u32) {
        self.users.insert(run, uid);
    }

    /// True while a run of this user is here.
    pub fn knows(&self, uid: u32) -> bool {
        self.users.values().any(|user| *user == uid)
    }

    /// Who has a run here.
    pub fn users(&self) -> BTreeSet<u32> {
        self.users.values().copied().collect()
    }

    /// Nothing of this run is wanted any more; the streams that nobody has taken.
    #[must_use]
    pub fn end(&mut self, run: RunId) -> Vec<String> {
        self.users.remove(&run);
        self.daemons.remove(&run);
        let mut lost = self.waiting.remove(&run).unwrap_or_default();
        lost.extend(self.promised.extract_if(.., |_, of| *of == run).map(|(name, _)| name));
        lost
    }

    /// A daemon says whose it is. It hears of what waited for it, and replaces one before it.
    pub fn greet(&mut self, run: RunId, uid: u32) -> Option<(u64, mpsc::Receiver<String>)> {
        if self.users.get(&run) != Some(&uid) {
            return None;
        }
        let (lines, receiver) = mpsc::channel(LINES + WAITING);
        self.next += 1;
        self.daemons.insert(run, Daemon { number: self.next, lines });
        for name in self.waiting.remove(&run).unwrap_or_default() {
            // There is room for all of them.
            self.want(run, name);
        }
        Some((self.next, receiver))
    }

    /// That daemon's connection is gone. What it has not taken waits for it, or for the next one.
    pub fn leave(&mut self, run: RunId, number: u64) {
        if self.daemons.get(&run).is_some_and(|daemon| daemon.number == number) {
            self.daemons.remove(&run);
            let waiting = self.waiting.entry(run).or_default();
            let room = WAITING.saturating_sub(waiting.len());
            let untaken = self.promised.extract_if(.., |_, of| *of == run).map(|(name, _)| name);
            waiting.extend(untaken.take(room));
        }
    }

    /// Runs with streams that wait for a daemon: it may have died before it took them.
    pub fn without_daemon(&self) -> Vec<RunId> {
        let waits = |(run, names): &(&RunId, &Vec<String>)| {
            !names.is_empty() && !self.daemons.contains_key(run)
        };
        self.waiting.iter().filter(waits).map(|(run, _)| *run).collect()
    }

    /// The head wants a stream to the daemon of this run.
    pub fn want(&mut self, run: RunId, name: String) -> Wish {
        let Some(user) = self.users.get(&run) else {
            return Wish::Refused("this run has ended here");
        };
        if self.promised.len() >= PROMISED {
            return Wish::Refused("too many streams wait on this node");
        }
        let of_user = self.promised.values().filter(|of| self.users.get(of) == Some(user));
        if of_user.count() >= PROMISED_TO_USER {
            return Wish::Refused("too many streams of this user wait on this node");
        }
        if self.promised.values().filter(|of| **of == run).count() >= PROMISED_TO_ONE {
            return Wish::Refused("too many streams wait for the step daemon");
        }
        let Some(daemon) = self.daemons.get(&run) else {
            let waiting = self.waiting.entry(run).or_default();
            if waiting.len() >= WAITING {
                return Wish::Refused("too many streams wait for the step daemon");
            }
            waiting.push(name);
            return Wish::NoDaemon;
        };
        if daemon.lines.try_send(name.clone()).is_err() {
            return Wish::Refused("the step daemon does not listen");
        }
        self.promised.insert(name, run);
        Wish::Told
    }

    /// Too late for this stream; true when nobody had taken it.
    pub fn give_up(&mut self, run: RunId, name: &str) -> bool {
        let waiting = self.waiting.get_mut(&run).is_some_and(|names| {
            let before = names.len();
            names.retain(|known| known != name);
            names.len() < before
        });
        self.promised.remove(name).is_some() || waiting
    }

    /// A process of this user takes a stream; false when it is not for it.
    pub fn take(&mut self, name: &str, uid: u32) -> bool {
        let run = self.promised.get(name);
        if run.and_then(|run| self.users.get(run)) != Some(&uid) {
            return false;
        }
        self.promised.remove(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: RunId = RunId(7);

    fn streams() -> Streams {
        let mut streams = Streams::default();
        streams.begin(RUN, 1000);
        streams
    }

    #[test]
    fn what_came_before_the_daemon_is_told_to_it() {
        let mut streams = streams();
        assert_eq!(streams.want(RUN, "a".into()), Wish::NoDaemon);
        assert!(streams.greet(RUN, 1001).is_none(), "another user's");
        let (_, mut lines) = streams.greet(RUN, 1000).unwrap();
        assert_eq!(streams.want(RUN, "b".into()), Wish::Told);
        assert_eq!(
            (lines.try_recv().unwrap(), lines.try_recv().unwrap()),
            ("a".into(), "b".into())
        );
    }

    #[test]
    fn a_stream_is_taken_once_and_by_its_user() {
        let mut streams = streams();
        streams.greet(RUN, 1000).map(|(_, lines)| std::mem::forget(lines)).unwrap();
        streams.want(RUN, "a".into());
        assert!(!streams.take("a", 1001));
        assert!(streams.take("a", 1000));
        assert!(!streams.take("a", 1000));
        assert!(!streams.give_up(RUN, "a"));
    }

    #[test]
    fn nothing_outlives_its_run() {
        let mut streams = streams();
        streams.want(RUN, "a".into());
        let (number, _lines) = streams.greet(RUN, 1000).unwrap();
        assert_eq!(streams.end(RUN), ["a"]);
        assert!(!streams.take("a", 1000));
        assert!(matches!(streams.want(RUN, "b".into()), Wish::Refused(_)));
        streams.begin(RUN, 1000);
        streams.leave(RUN, number);
        assert_eq!(streams.want(RUN, "c".into()), Wish::NoDaemon);
        assert!(streams.give_up(RUN, "c") && !streams.give_up(RUN, "c"));
    }

    #[test]
    fn an_older_connection_does_not_take_the_newer_one_away() {
        let mut streams = streams();
        let (older, _old) = streams.greet(RUN, 1000).unwrap();
        let (_, _new) = streams.greet(RUN, 1000).unwrap();
        streams.leave(RUN, older);
        assert_eq!(streams.want(RUN, "a".into()), Wish::Told);
    }

    #[test]
    fn what_a_daemon_leaves_untaken_is_for_the_next_one() {
        let mut streams = streams();
        let (number, _lines) = streams.greet(RUN, 1000).unwrap();
        streams.want(RUN, "a".into());
        streams.want(RUN, "b".into());
        assert!(streams.take("a", 1000));
        assert!(streams.without_daemon().is_empty());
        streams.leave(RUN, number);
        assert_eq!(streams.without_daemon(), [RUN]);
        let (_, mut lines) = streams.greet(RUN, 1000).unwrap();
        assert_eq!((lines.try_recv().ok(), lines.try_recv().ok()), (Some("b".into()), None));
        assert!(streams.without_daemon().is_empty());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut streams = streams();
        let wishes: Vec<Wish> =
            (0..=WAITING).map(|number| streams.want(RUN, number.to_string())).collect();
        assert!(matches!(wishes.last(), Some(Wish::Refused(_))));
        assert!(wishes[..WAITING].iter().all(|wish| *wish == Wish::NoDaemon));
    }

    #[test]
    fn one_user_does_not_keep_the_streams_of_others_away() {
        let mut streams = Streams::default();
        let mut daemons = Vec::new();
        let told = |streams: &mut Streams, daemons: &mut Vec<_>, run, uid| {
            streams.begin(RunId(run), uid);
            daemons.push(streams.greet(RunId(run), uid).unwrap());
            let wishes =
                (0..LINES).map(|number| streams.want(RunId(run), format!("{run}.{number}")));
            wishes.filter(|wish| *wish == Wish::Told).count()
        };
        let own: usize = (0..20).map(|run| told(&mut streams, &mut daemons, run, 1000)).sum();
        assert_eq!(own, PROMISED_TO_USER);
        assert_eq!(told(&mut streams, &mut daemons, 99, 1001), PROMISED_TO_ONE);
    }
}
