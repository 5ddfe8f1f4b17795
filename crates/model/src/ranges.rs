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

    /// All indices of these inclusive ranges, in whatever order they come and however long they are;
    /// one that ends before it begins is empty.
    #[must_use]
    pub fn of_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let mut all: Vec<(u32, u32)> = ranges.into_iter().filter(|(a, b)| a <= b).collect();
        all.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(known) if first <= known.1.saturating_add(1) => known.1 = known.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
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

    /// True when an index is in both.
    #[must_use]
    pub fn meets(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        while let (Some(our), Some(their)) = (ours.peek(), theirs.peek()) {
            if our.1 < their.0 {
                ours.next();
            } else if their.1 < our.0 {
                theirs.next();
            } else {
                return true;
            }
        }
        false
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

        #[test]
        fn whole_ranges_are_a_set_too(
            ours in proptest::collection::vec((0u32..60, 0u32..60), 0..12),
            theirs in proptest::collection::vec((0u32..60, 0u32..60), 0..4),
        ) {
            let set = |ranges: &[(u32, u32)]| -> BTreeSet<u32> {
                ranges.iter().flat_map(|(first, last)| *first..=*last).collect()
            };
            let (a, b) = (IndexRanges::of_ranges(ours.clone()), IndexRanges::of_ranges(theirs.clone()));
            prop_assert!(a.iter().eq(set(&ours)));
            prop_assert!(a.ranges().windows(2).all(|w| w[0].1 + 1 < w[1].0));
            prop_assert_eq!(a.meets(&b), !set(&ours).is_disjoint(&set(&theirs)));
        }
    }

    #[test]
    fn the_largest_range_costs_nothing() {
        let all = IndexRanges::of_ranges([(5, u32::MAX), (0, 4), (7, 3)]);
        assert_eq!(all.ranges(), [(0, u32::MAX)]);
        assert!(all.meets(&IndexRanges::single(u32::MAX)));
    }

    #[test]
    fn reads_as_people_write_it() {
        let ranges: IndexRanges = [1, 2, 3, 4, 7, 9, 10].into_iter().collect();
        assert_eq!(format!("{ranges}"), "1-4,7,9-10");
    }
}
