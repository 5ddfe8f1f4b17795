//! The options of the Slurm commands as data: every one that Slurm 22.05 to 23.11 has, and what it
//! does here.
//!
//! Invariant: a table is complete. An option of real Slurm is `Used`, or has no effect here
//! (`Silent`, listed by `-v`), or would change the result and cannot be done (`Refused`, with the
//! reason). What is in no table is no option of Slurm. Deliberately absent: the meaning of values.
mod accounts;
mod help;
mod job;
mod parse;
mod views;
mod words;

pub use accounts::SACCT;
pub use help::{help, page, usage, version};
pub use job::{DIRECTIVES, SALLOC, SBATCH, SRUN};
pub use parse::{Order, parse, parse_some};
pub use views::{SCANCEL, SCONTROL, SINFO, SQUEUE};
pub use words::{Origin, Said, Words, from_environment};

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    /// `--x=V`, `--x V`, `-xV`, `-x V`; the name of the value in the help.
    Value(&'static str),
    /// `--x` or `--x=V`, `-x` or `-xV`.
    Maybe(&'static str),
    /// As `Maybe`, and the next word too unless it starts with `-` (`squeue -j 41`).
    MaybeNext(&'static str),
}

/// What an option does here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    Used,
    /// Without effect here, and why that changes no result.
    Silent(&'static str),
    /// It would change the result and cannot be done: why, or what to use instead.
    Refused(&'static str),
}

/// The commands that share the large table, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who(u8);

impl Who {
    pub const SBATCH: Self = Self(1);
    pub const SRUN: Self = Self(2);
    pub const SALLOC: Self = Self(4);
    /// `#PCLUSTER` lines: what only they can say.
    const OURS: Self = Self(8);
    /// Tables of one command only.
    pub const ALL: Self = Self(7);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// One option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// As it is written.
    pub long: &'static str,
    /// The option that it is another name of; itself for most.
    pub name: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    pub effect: Effect,
    /// One line for people; empty for other names and what nobody should start to use.
    pub help: &'static str,
    who: Who,
}

/// The options of one command.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub command: &'static str,
    /// What stands after the options: `script [args]`.
    pub operands: &'static str,
    /// What `--help` says first.
    pub purpose: &'static str,
    /// Examples, shown last by `--help`.
    pub examples: &'static str,
    /// Exit code for a wrong option, as Slurm's.
    pub wrong_option: u8,
    options: &'static [Opt],
    who: Who,
}

impl Table {
    /// The options of this command, in the order of the help.
    pub fn options(&self) -> impl Iterator<Item = &'static Opt> + use<> {
        let who = self.who;
        self.options.iter().filter(move |option| option.who.meets(who))
    }

    /// The option of this long name.
    #[must_use]
    pub fn long(&self, name: &str) -> Option<&'static Opt> {
        self.options().find(|option| option.long == name)
    }

    /// The option of this letter.
    #[must_use]
    pub fn short(&self, letter: char) -> Option<&'static Opt> {
        self.options().find(|option| option.short == Some(letter))
    }

    /// A table of one command.
    pub(crate) const fn own(
        command: &'static str,
        operands: &'static str,
        purpose: &'static str,
        examples: &'static str,
        options: &'static [Opt],
    ) -> Self {
        Self { command, operands, purpose, examples, wrong_option: 1, options, who: Who::ALL }
    }
}

/// A row: long name, letter (`-` for none), value, effect, help.
pub(crate) const fn option(
    who: Who,
    long: &'static str,
    short: char,
    takes: Takes,
    effect: Effect,
    help: &'static str,
) -> Opt {
    let short = if short == '-' { None } else { Some(short) };
    Opt { long, name: long, short, takes, effect, help, who }
}

/// A row of a table of one command.
pub(crate) const fn own(
    long: &'static str,
    short: char,
    takes: Takes,
    effect: Effect,
    help: &'static str,
) -> Opt {
    option(Who::ALL, long, short, takes, effect, help)
}

/// Another name of an option in a table of one command.
const fn also(long: &'static str, name: &'static str, takes: Takes) -> Opt {
    alias(Who::ALL, long, name, takes)
}

/// Another name of an option.
const fn alias(who: Who, long: &'static str, name: &'static str, takes: Takes) -> Opt {
    Opt { long, name, short: None, takes, effect: Effect::Used, help: "", who }
}

#[cfg(test)]
mod tests;
