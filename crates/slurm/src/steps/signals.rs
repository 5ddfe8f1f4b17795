//! Signals that this command gets, and what they mean for its step.
//!
//! Invariant: Ctrl-C once shows, twice within a second asks the tasks to end, three times forces
//! them: as Slurm does.
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Two interrupts within this belong together.
const WINDOW: Duration = Duration::from_secs(1);

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Interrupt,
    /// TERM, HUP or QUIT: the step is to end.
    End,
    /// For the tasks, by its number.
    Forward(i32),
    /// The terminal has another size.
    Resized,
}

/// The signals of this process, caught from when this is made.
#[derive(Debug)]
pub(super) struct Signals {
    caught: Vec<(Signal, Told)>,
}

impl Signals {
    /// # Errors
    /// When the system refuses a handler.
    pub(super) fn catch() -> std::io::Result<Self> {
        let wanted = [
            (SignalKind::interrupt(), Told::Interrupt),
            (SignalKind::terminate(), Told::End),
            (SignalKind::hangup(), Told::End),
            (SignalKind::quit(), Told::End),
            (SignalKind::user_defined1(), Told::Forward(10)),
            (SignalKind::user_defined2(), Told::Forward(12)),
            (SignalKind::from_raw(18), Told::Forward(18)),
            (SignalKind::alarm(), Told::Forward(14)),
            (SignalKind::window_change(), Told::Resized),
        ];
        let caught = wanted.into_iter().map(|(kind, told)| Ok((signal(kind)?, told)));
        Ok(Self { caught: caught.collect::<std::io::Result<_>>()? })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Told {
        std::future::poll_fn(|context| {
            for (signal, told) in &mut self.caught {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*told);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// What an interrupt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interrupt {
    Status,
    Forward,
    Force,
}

/// Counts interrupts.
#[derive(Debug, Default)]
pub(super) struct Interrupts {
    last: Option<Instant>,
    forwarded: bool,
}

impl Interrupts {
    pub(super) fn one_more(&mut self, now: Instant) -> Interrupt {
        let soon = self.last.is_some_and(|last| now.duration_since(last) <= WINDOW);
        self.last = Some(now);
        if soon && self.forwarded {
            return Interrupt::Force;
        }
        self.forwarded = soon;
        if soon { Interrupt::Forward } else { Interrupt::Status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shows_two_forward_three_force() {
        let mut interrupts = Interrupts::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(interrupts.one_more(at(0)), Interrupt::Status);
        assert_eq!(interrupts.one_more(at(3000)), Interrupt::Status);
        assert_eq!(interrupts.one_more(at(3500)), Interrupt::Forward);
        assert_eq!(interrupts.one_more(at(4000)), Interrupt::Force);
        assert_eq!(interrupts.one_more(at(9000)), Interrupt::Status);
    }
}
