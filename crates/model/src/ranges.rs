//! Sets of array indices as sorted, disjoint, inclusive ranges: a hundred thousand pending tasks
//! cost one pair of numbers.
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

/// A set of `u32` as sorted ranges `[first, last]` that neither touch nor overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IndexRanges(Vec<(u32, u32)>);

impl IndexRanges {
    #[must_use]
    pub fn new() -> Self {
        Self(Vec::new())
    }

    #[must_use]
    pub fn single(index: u32) -> Self {
        Self(alloc::vec![(index, index)])
    }

    /// The ranges, in order.
    #[must_use]
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|(first, last)| (last - first) as usize + 1).sum()
    }

    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    #[must_use]
    pub fn first(&self) -> Option<u32> {
        self.0.first().map(|(first, _)| *first)
    }

    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(first, last)| *first..=*last)
    }

    /// Adds `index`; false when it was there.
    pub fn insert(&mut self, index: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        if self.0.get(at).is_some_and(|(first, _)| *first <= index) {
            return false;
        }
        let joins_left = at > 0 && index > 0 && self.0[at - 1].1 == index - 1;
        let joins_right = self.0.get(at).is_some_and(|(first, _)| *first - 1 == index);
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 = index,
            (false, true) => self.0[at].0 = index,
            (false, false) => self.0.insert(at, (index, index)),
        }
        true
    }

    /// Takes `index` out; false when it was not there.
    pub fn remove(&mut self, index: u32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        let Some(&(first, last)) = self.0.get(at).filter(|(first, _)| *first <= index) else {
            return false;
        };
        match (first == index, last == index) {
            (true, true) => {
                self.0.remove(at);
            }
            (true, false) => self.0[at].0 = index + 1,
            (false, true) => self.0[at].1 = index - 1,
            (false, false) => {
                self.0[at].1 = index - 1;
                self.0.insert(at + 1, (index + 1, last));
            }
        }
        true
    }
}

impl FromIterator<u32> for IndexRanges {
    fn from_iter<I: IntoIterator<Item = u32>>(indices: I) -> Self {
        let mut set = Self::new();
        for index in indices {
            set.insert(index);
        }
        set
    }
}

/// `1-4,7,9-12`, as `queue` and `squeue` show it.
impl fmt::Display for IndexRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use alloc::format;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_as_a_set(steps in proptest::collection::vec((any::<bool>(), 0u32..40), 0..200)) {
            let (mut ranges, mut set) = (IndexRanges::new(), BTreeSet::new());
            for (add, index) in steps {
                if add {
                    prop_assert_eq!(ranges.insert(index), set.insert(index));
                } else {
                    prop_assert_eq!(ranges.remove(index), set.remove(&index));
                }
                prop_assert_eq!(ranges.len(), set.len());
                prop_assert!(ranges.iter().eq(set.iter().copied()));
                prop_assert!(ranges.ranges().windows(2).all(|w| w[0].1 + 1 < w[1].0));
            }
        }
    }

    #[test]
    fn reads_as_people_write_it() {
        let ranges: IndexRanges = [1, 2, 3, 4, 7, 9, 10].into_iter().collect();
        assert_eq!(format!("{ranges}"), "1-4,7,9-10");
    }
}
