//! Pages: pure functions from a view and a [`Look`](crate::look::Look) to text.
//!
//! Invariant: a page reads well without colour, fits the given width, and depends on nothing but its
//! arguments; the golden files beside the tests show each. Deliberately absent: asking the head,
//! writing to a terminal.
pub mod doctor;
pub mod money;
pub mod nodes;
pub mod queue;
pub mod show;
pub mod status;
pub mod submit;
pub mod why;

#[cfg(test)]
mod tests;

/// What goes to stdout, and what is said beside it on stderr.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub data: String,
    pub talk: String,
}

impl Page {
    /// Writes both.
    ///
    /// # Errors
    /// As [`crate::say::data`].
    pub fn write(&self) -> Result<(), crate::failure::Failure> {
        crate::say::data(&self.data)?;
        crate::say::talk(&self.talk);
        Ok(())
    }
}
