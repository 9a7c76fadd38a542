//! Finds the items at fault in a batch that fails as a whole, by halving it.
//!
//! ```text
//!   0..8 failed ─▶ 0..4 ok   4..8 failed ─▶ 4..6 failed ─▶ 4 guilty  5 ok   6..8 ok
//! ```
//!
//! The caller makes the calls; this only says on what. With `g` items at fault of `n`, it asks for at most
//! `2 g ⌈log2 n⌉` calls, covers each item once, and comes from the first item to the last.

use std::ops::Range;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Halving {
    open: Vec<Range<usize>>,
}

impl Halving {
    /// The next range to call on; `None` at the end.
    pub(crate) fn next(&mut self) -> Option<Range<usize>> {
        self.open.pop()
    }

    /// The call failed on `range`: its halves come next. False for a single item, which is at fault.
    pub(crate) fn split(&mut self, range: Range<usize>) -> bool {
        if range.len() <= 1 {
            return false;
        }
        let middle = range.start + range.len() / 2;
        self.open.push(middle..range.end);
        self.open.push(range.start..middle);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn exactly_the_guilty_are_found_and_every_other_item_is_kept_once(
            (count, guilty) in (1_usize..2_000).prop_flat_map(|count| (Just(count), prop::collection::btree_set(0..count, 1..20)))
        ) {
            let (mut found, mut kept, mut calls) = (Vec::new(), Vec::new(), 0_usize);
            let mut halving = Halving::default();
            // The call on all of them failed: that is why it is halved.
            if !halving.split(0..count) {
                found.push(0);
            }
            while let Some(range) = halving.next() {
                calls += 1;
                if guilty.range(range.clone()).next().is_none() {
                    kept.extend(range);
                } else if !halving.split(range.clone()) {
                    found.push(range.start);
                }
            }
            prop_assert!(found.iter().eq(guilty.iter()), "found {:?}", found);
            prop_assert!(kept.iter().copied().eq((0..count).filter(|item| !guilty.contains(item))));
            let levels = count.next_power_of_two().ilog2() as usize;
            prop_assert!(calls <= 2 * guilty.len() * levels, "{calls} calls for {} of {count}", guilty.len());
        }
    }
}
