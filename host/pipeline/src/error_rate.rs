//! How many rows were rejected lately.

use std::collections::VecDeque;

/// Rows that count as the last ones.
const WINDOW_ROWS: u64 = 100_000;
/// Rows of one bucket: the window moves by so many at a time.
const BUCKET_ROWS: u64 = 1_000;

/// Counts rows in their order. Pure arithmetic.
#[derive(Debug, Default)]
pub(crate) struct ErrorRate {
    /// Rows and rejected ones, oldest first.
    buckets: VecDeque<(u64, u64)>,
    rows: u64,
    rejected: u64,
    consecutive: u64,
}

impl ErrorRate {
    /// Rows that were accepted.
    pub(crate) fn accepted(&mut self, rows: u64) {
        if rows > 0 {
            self.consecutive = 0;
            self.add(rows, 0);
        }
    }

    /// A row that was rejected.
    pub(crate) fn rejected(&mut self) {
        self.consecutive += 1;
        self.add(1, 1);
    }

    /// Rejected rows since the last accepted one.
    pub(crate) fn consecutive(&self) -> u64 {
        self.consecutive
    }

    /// Rejected rows among the last 100,000.
    pub(crate) fn lately(&self) -> u64 {
        self.rejected
    }

    /// Most rejected rows among the last 100,000 that are `percent` of them.
    pub(crate) fn share(percent: u32) -> u64 {
        WINDOW_ROWS * u64::from(percent) / 100
    }

    fn add(&mut self, rows: u64, rejected: u64) {
        match self.buckets.back_mut() {
            Some(last) if last.0 < BUCKET_ROWS => {
                last.0 += rows;
                last.1 += rejected;
            }
            _ => self.buckets.push_back((rows, rejected)),
        }
        self.rows += rows;
        self.rejected += rejected;
        while let Some((rows, rejected)) = self.buckets.front().filter(|front| self.rows - front.0 >= WINDOW_ROWS).copied() {
            self.buckets.pop_front();
            self.rows -= rows;
            self.rejected -= rejected;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_rows_leave_the_window_and_an_accepted_row_ends_a_run() {
        let mut rate = ErrorRate::default();
        (0..40).for_each(|_| rate.rejected());
        assert_eq!((rate.consecutive(), rate.lately()), (40, 40));
        rate.accepted(1);
        assert_eq!((rate.consecutive(), rate.lately()), (0, 40));
        rate.accepted(98_000);
        rate.rejected();
        assert_eq!(rate.lately(), 41);
        rate.accepted(150_000);
        assert_eq!(rate.lately(), 1, "of the bucket before the last");
        (0..200).for_each(|_| rate.accepted(1_000));
        assert_eq!(rate.lately(), 0);
        assert_eq!(ErrorRate::share(5), 5_000);
    }
}
