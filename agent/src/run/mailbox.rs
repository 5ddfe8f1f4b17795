//! Commands on their way to the task of a run.
//!
//! Invariant: whoever sends never waits, and what waits is bounded: so many signals, and of every other
//! kind the last word, as the head's orders say what shall be and not what shall change.
use super::RunCommand;
use pcluster_keeper::Command;
use std::collections::VecDeque;
use std::mem::discriminant;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Signals that wait for one run; more are dropped, as the kernel drops what is pending already.
pub const SIGNALS: usize = 64;

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    commands: VecDeque<RunCommand>,
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The agent's loop's end. Dropping it closes the box.
#[derive(Debug)]
pub struct Sender(Arc<Shared>);

/// The task's end.
#[derive(Debug)]
pub struct Receiver(Arc<Shared>);

/// Makes a box.
pub fn mailbox() -> (Sender, Receiver) {
    let shared = Arc::new(Shared::default());
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// What a command that waits must say of itself.
pub trait Waits {
    fn is_signal(&self) -> bool;
    /// Of an end, from TERM to KILL, in milliseconds.
    fn end_grace_ms(&mut self) -> Option<&mut u64>;
}

impl Waits for RunCommand {
    fn is_signal(&self) -> bool {
        matches!(self, Self::Signal { .. })
    }

    fn end_grace_ms(&mut self) -> Option<&mut u64> {
        if let Self::End { grace, .. } = self { Some(&mut grace.0) } else { None }
    }
}

impl Waits for Command {
    fn is_signal(&self) -> bool {
        matches!(self, Self::Signal { .. })
    }

    fn end_grace_ms(&mut self) -> Option<&mut u64> {
        if let Self::End { grace_ms, .. } = self { Some(grace_ms) } else { None }
    }
}

/// Puts a command to those that wait: so many signals, the first end with the shortest grace, and of
/// every other kind the last.
pub fn wait<C: Waits>(waiting: &mut VecDeque<C>, mut command: C) {
    let kind = discriminant(&command);
    let same = |one: &C| discriminant(one) == kind;
    if command.is_signal() {
        if waiting.iter().filter(|one| same(one)).count() >= SIGNALS {
            return;
        }
    } else if let Some(grace) = command.end_grace_ms() {
        // The first cause counts; the end can only come sooner.
        if let Some(first) = waiting.iter_mut().find_map(C::end_grace_ms) {
            *first = (*first).min(*grace);
            return;
        }
    } else {
        waiting.retain(|one| !same(one));
    }
    waiting.push_back(command);
}

impl Sender {
    /// Puts a command in. A task that is over needs no telling.
    pub fn send(&self, command: RunCommand) {
        wait(&mut self.0.lock().commands, command);
        self.0.news.notify_one();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.news.notify_one();
    }
}

impl Receiver {
    /// The next command; `None` once the box is closed and empty. Cancelling it loses nothing.
    pub async fn recv(&mut self) -> Option<RunCommand> {
        loop {
            {
                let mut waiting = self.0.lock();
                if let Some(command) = waiting.commands.pop_front() {
                    return Some(command);
                }
                if waiting.closed {
                    return None;
                }
            }
            // Told meanwhile, it is noticed at once.
            self.0.news.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcluster_model::{DurationMs, SignalScope};
    use pcluster_wire::EndWhy;

    fn signal() -> RunCommand {
        RunCommand::Signal { signal: 10, scope: SignalScope::All }
    }

    fn end(grace: u64) -> RunCommand {
        RunCommand::End { grace: DurationMs(grace), why: EndWhy::Ended }
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_the_last_word_of_each_kind_is_kept() {
        let (sender, mut receiver) = mailbox();
        sender.send(end(500));
        for number in 0..10_000 {
            sender.send(signal());
            sender.send(RunCommand::Limit { limit: Some(DurationMs(number)) });
            sender.send(RunCommand::Suspend { suspended: number % 2 == 0 });
        }
        sender.send(end(20));
        sender.send(RunCommand::Forget);
        drop(sender);
        let mut all = Vec::new();
        while let Some(command) = receiver.recv().await {
            all.push(command);
        }
        assert_eq!(all.len(), SIGNALS + 4, "{all:?}");
        let ends = |one: &RunCommand| matches!(one, RunCommand::End { grace: DurationMs(20), .. });
        assert!(ends(&all[0]));
        let limits =
            |one: &RunCommand| matches!(one, RunCommand::Limit { limit: Some(DurationMs(9_999)) });
        assert!(all.iter().any(limits));
        assert!(matches!(all.last(), Some(RunCommand::Forget)));
    }

    #[test]
    fn before_the_keeper_listens_the_first_cause_of_an_end_counts_and_the_shortest_grace() {
        let end = |grace_ms, reason: &str| Command::End { grace_ms, reason: reason.to_owned() };
        let mut waiting = VecDeque::new();
        for command in [end(500, "first"), Command::Suspend, end(20, "later"), end(900, "last")] {
            wait(&mut waiting, command);
        }
        assert_eq!(waiting, [end(20, "first"), Command::Suspend]);
    }
}
