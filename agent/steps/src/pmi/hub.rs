//! The coordinator's half of a barrier: it is over when every part has come.
//!
//! Invariant: a part is counted once a round, however often its word arrives.

/// Collects what the parts put until all have come.
#[derive(Debug)]
pub struct Hub {
    came: Vec<Option<Vec<(String, String)>>>,
}

impl Hub {
    /// For so many parts.
    #[must_use]
    pub fn new(parts: usize) -> Self {
        Self { came: vec![None; parts] }
    }

    /// A part has come; when it was the last, what all have put.
    pub fn came(
        &mut self,
        part: usize,
        puts: Vec<(String, String)>,
    ) -> Option<Vec<(String, String)>> {
        *self.came.get_mut(part)? = Some(puts);
        if self.came.iter().any(Option::is_none) {
            return None;
        }
        Some(self.came.iter_mut().filter_map(Option::take).flatten().collect())
    }
}
