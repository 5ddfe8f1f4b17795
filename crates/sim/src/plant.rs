//! Planted bugs: each breaks one law by corrupting the hands, the disk, the machines or the view of
//! the log, never the core. They prove that the checkers see.
//!
//! Deliberately absent: any use outside tests and `run --plant`.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plant {
    #[default]
    Nothing,
    /// Law 1: a keeper reports the end while its processes run on.
    EndsTooEarly,
    /// Law 2: an agent spawns an order twice.
    DoubleStart,
    /// Law 3: the disk forgets an acknowledged batch that held a submission.
    LostSubmit,
    /// Law 4: calls to end unknown machines are thrown away.
    DeafToStrays,
    /// Law 5: the provider bills a micro-dollar too much for one machine in four.
    Overcharge,
    /// Law 6: calls to end machines are answered and thrown away.
    NeverEnds,
    /// Law 7: the hand launches one machine more than asked.
    OneMore,
    /// Law 7: the provider bills ten times the price.
    TenfoldPrice,
    /// Law 8: a row is not written.
    LostRow,
    /// Law 8: an event is not written.
    LostEvent,
    /// Law 9: an effect is swallowed on its way out of the core.
    LostEffect,
    /// Law 10: delays depend on a hash that differs from process to process.
    Unseeded,
}

impl Plant {
    /// Every plant, the law that it breaks, and its word on the command line.
    pub const ALL: &'static [(Self, u8, &'static str)] = &[
        (Self::EndsTooEarly, 1, "ends-too-early"),
        (Self::DoubleStart, 2, "double-start"),
        (Self::LostSubmit, 3, "lost-submit"),
        (Self::DeafToStrays, 4, "deaf-to-strays"),
        (Self::Overcharge, 5, "overcharge"),
        (Self::NeverEnds, 6, "never-ends"),
        (Self::OneMore, 7, "one-more"),
        (Self::TenfoldPrice, 7, "tenfold-price"),
        (Self::LostRow, 8, "lost-row"),
        (Self::LostEvent, 8, "lost-event"),
        (Self::LostEffect, 9, "lost-effect"),
        (Self::Unseeded, 10, "unseeded"),
    ];

    /// The plant of a word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, _, known)| *known == word).map(|(plant, _, _)| *plant)
    }
}
