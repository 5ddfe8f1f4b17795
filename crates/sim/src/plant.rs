//! Planted bugs: each breaks one invariant by corrupting the hands, the disk, the machines or the view of
//! the log, never the core. They prove that the checkers see.
//!
//! Deliberately absent: any use outside tests and `run --plant`.

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plant {
    #[default]
    Nothing,
    /// I10: a keeper reports the end while its processes run on.
    EndsTooEarly,
    /// I2: an agent spawns an order twice.
    DoubleStart,
    /// I1: the disk forgets an acknowledged batch that held a submission.
    LostSubmit,
    /// I5: calls to end unknown machines are thrown away.
    DeafToStrays,
    /// I5: machines do not mind that there is no head.
    LonelyForEver,
    /// I9: the provider bills a micro-dollar too much for one machine in four.
    Overcharge,
    /// I15: calls to end machines are answered and thrown away.
    NeverEnds,
    /// I14: the hand launches one machine more than asked.
    OneMore,
    /// I14: the provider bills ten times the price.
    TenfoldPrice,
    /// I16: a row is not written.
    LostRow,
    /// I16: an event is not written.
    LostEvent,
    /// I17: an effect is swallowed on its way out of the core.
    LostEffect,
    /// I3: the log tells of the end of a run twice.
    EchoedEnd,
    /// I3: the log tells of the end of a run on a node that never had it.
    ForeignEnd,
    /// I4: an agent reports that what failed ended well.
    Whitewash,
    /// I6: a launch that the network doubles makes its machines twice.
    TwoOfOne,
    /// I7: an agent ends its runs when the head is away.
    HeadsickAgent,
    /// I8: what an agent has started dies with it.
    DyingTogether,
    /// I10: a keeper does not mind the time limit.
    DeafToLimits,
    /// I10: a keeper reports the end of a script and leaves its children running.
    LeavesChildren,
    /// I11: the log tells of a placement of a job that came later.
    QueueJumper,
    /// I13: all nodes of a gang but the first say that they run, and do not.
    EmptyFollowers,
    /// I13: all nodes of a gang but the first ignore that it is over.
    StubbornFollowers,
    /// I18: delays depend on a hash that differs from process to process.
    Unseeded,
    /// I16: old events go before the base that stands for them is whole.
    HastyCut,
    /// I16: the copy of a base leaves rows out.
    LeakyBase,
    /// I16: the rows of a forgotten job go with it.
    LostPast,
    /// I9: the begin of the head's machine is told as the moment of the question.
    YoungHead,
    /// I12: what agents say of bad shared paths becomes good news on its way.
    DeafToShares,
}

impl Plant {
    /// Every plant, the invariant that it breaks, and its word on the command line.
    pub const ALL: &'static [(Self, u8, &'static str)] = &[
        (Self::EndsTooEarly, 10, "ends-too-early"),
        (Self::DoubleStart, 2, "double-start"),
        (Self::LostSubmit, 1, "lost-submit"),
        (Self::DeafToStrays, 5, "deaf-to-strays"),
        (Self::LonelyForEver, 5, "lonely-for-ever"),
        (Self::Overcharge, 9, "overcharge"),
        (Self::NeverEnds, 15, "never-ends"),
        (Self::OneMore, 14, "one-more"),
        (Self::TenfoldPrice, 14, "tenfold-price"),
        (Self::LostRow, 16, "lost-row"),
        (Self::LostEvent, 16, "lost-event"),
        (Self::LostEffect, 17, "lost-effect"),
        (Self::EchoedEnd, 3, "echoed-end"),
        (Self::ForeignEnd, 3, "foreign-end"),
        (Self::Whitewash, 4, "whitewash"),
        (Self::TwoOfOne, 6, "two-of-one"),
        (Self::HeadsickAgent, 7, "headsick-agent"),
        (Self::DyingTogether, 8, "dying-together"),
        (Self::DeafToLimits, 10, "deaf-to-limits"),
        (Self::LeavesChildren, 10, "leaves-children"),
        (Self::QueueJumper, 11, "queue-jumper"),
        (Self::EmptyFollowers, 13, "empty-followers"),
        (Self::StubbornFollowers, 13, "stubborn-followers"),
        (Self::Unseeded, 18, "unseeded"),
        (Self::HastyCut, 16, "hasty-cut"),
        (Self::LeakyBase, 16, "leaky-base"),
        (Self::LostPast, 16, "lost-past"),
        (Self::YoungHead, 9, "young-head"),
        (Self::DeafToShares, 12, "deaf-to-shares"),
    ];

    /// Its word; `None` for no plant.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        Self::ALL.iter().find(|(plant, _, _)| *plant == self).map(|(_, _, word)| *word)
    }

    /// The plant of a word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, _, known)| *known == word).map(|(plant, _, _)| *plant)
    }
}
