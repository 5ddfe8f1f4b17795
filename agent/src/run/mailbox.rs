//! Commands on their way to the task of a run.
//!
//! Invariant: whoever sends never waits, and what waits is bounded: so many signals, and of every other
//! kind the last word, as the head's orders say what shall be and not what shall change.
use super::RunCommand;
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

impl Waiting {
    fn take(&mut self, command: RunCommand) {
        match &command {
            RunCommand::Signal { .. } => {
                let same = |one: &&RunCommand| discriminant(*one) == discriminant(&command);
                if self.commands.iter().filter(same).count() >= SIGNALS {
                    return;
                }
            }
            RunCommand::End { grace, .. } => {
                let ends = self.commands.iter_mut().find_map(|one| match one {
                    RunCommand::End { grace, .. } => Some(grace),
                    _ => None,
                });
                if let Some(first) = ends {
                    // The first cause counts; the end can only come sooner.
                    *first = (*first).min(*grace);
                    return;
                }
            }
            _ => self.commands.retain(|one| discriminant(one) != discriminant(&command)),
        }
        self.commands.push_back(command);
    }
}

impl Sender {
    /// Puts a command in. A task that is over needs no telling.
    pub fn send(&self, command: RunCommand) {
        self.0.lock().take(command);
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
}
