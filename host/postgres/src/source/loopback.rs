//! Transactions that a stream leaves out because a task of the opposite direction wrote them: see [`LoopMark`].

use std::collections::HashSet;

use tidegate_connector::LoopMark;

/// The prefix of the logical messages that carry marks.
pub(crate) const MARK_PREFIX: &str = "tidegate.loopback";

/// The mark that is left out, and the open transactions that have it.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    mark: Option<LoopMark>,
    transactions: HashSet<u32>,
}

impl LeftOut {
    pub(crate) fn new(mark: Option<LoopMark>) -> Self {
        Self { mark, transactions: HashSet::new() }
    }

    /// Takes in a logical message of a transaction.
    pub(crate) fn receive(&mut self, xid: u32, prefix: &str, content: &[u8]) {
        if prefix == MARK_PREFIX && self.mark.as_ref().is_some_and(|mark| mark.as_str().as_bytes() == content) {
            self.transactions.insert(xid);
        }
    }

    /// True for a transaction that has the mark.
    pub(crate) fn has(&self, xid: u32) -> bool {
        self.transactions.contains(&xid)
    }

    /// Forgets a transaction that ended; true when it had the mark.
    pub(crate) fn end(&mut self, xid: u32) -> bool {
        self.transactions.remove(&xid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_transactions_with_the_mark_are_left_out_and_only_until_they_end() {
        let mut left_out = LeftOut::new(LoopMark::new("b"));
        left_out.receive(1, MARK_PREFIX, b"b");
        left_out.receive(2, MARK_PREFIX, b"a");
        left_out.receive(3, "other", b"b");
        assert_eq!([1, 2, 3].map(|xid| left_out.has(xid)), [true, false, false]);
        assert!(left_out.end(1) && !left_out.end(1) && !left_out.has(1));
        let mut nothing = LeftOut::default();
        nothing.receive(1, MARK_PREFIX, b"b");
        assert!(!nothing.has(1));
    }
}
