//! The boot log: each line goes to the console at once and to the head as soon as there is one.
//!
//! Invariant: the newest lines are kept, a bounded number, so that a node that has waited for its
//! head for a day still tells what happened last.
use crate::clock;
use pcluster_wire::AgentFrame;
use std::collections::{BTreeSet, VecDeque};

const KEPT: usize = 200;

#[derive(Debug, Default)]
pub struct BootLog {
    lines: VecDeque<String>,
    /// How many of the last lines the head has not been sent on this connection.
    unsent: usize,
    phase: String,
    unsent_phase: bool,
    /// Lines without their time since the last step of the boot: trouble that repeats itself, with
    /// one head address or with several in turn, is told once.
    told: BTreeSet<String>,
}

impl BootLog {
    pub fn line(&mut self, text: &str) {
        if self.told.len() >= KEPT {
            self.told.clear();
        }
        if !self.told.insert(text.to_owned()) {
            return;
        }
        clock::say(text);
        self.lines.push_back(format!("{} {text}", clock::time_of_day()));
        if self.lines.len() > KEPT {
            self.lines.pop_front();
        }
        self.unsent = (self.unsent + 1).min(self.lines.len());
    }

    /// A line, and a step of the boot.
    pub fn phase(&mut self, phase: &str, text: &str) {
        self.told.clear();
        self.line(text);
        if self.phase != phase {
            phase.clone_into(&mut self.phase);
            self.unsent_phase = true;
        }
    }

    /// A new connection gets everything.
    pub fn connected(&mut self) {
        self.unsent = self.lines.len();
        self.unsent_phase = !self.phase.is_empty();
    }

    /// What the head has not heard.
    pub fn frames(&mut self) -> Vec<AgentFrame> {
        let mut frames = Vec::new();
        if self.unsent > 0 {
            let from = self.lines.len() - self.unsent;
            let lines = self.lines.iter().skip(from).cloned().collect();
            frames.push(AgentFrame::BootLog { lines });
            self.unsent = 0;
        }
        if self.unsent_phase {
            frames.push(AgentFrame::BootPhase { phase: self.phase.clone() });
            self.unsent_phase = false;
        }
        frames
    }
}
