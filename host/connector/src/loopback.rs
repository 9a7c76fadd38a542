//! Marks of transactions, so that two tasks between two databases, one in each direction, do not send each other's changes
//! round and round.
//!
//! ```text
//!   A ──── task 1, writes mark "a" ────▶ B
//!   A ◀─── task 2, leaves out "a", writes mark "b" ─── B        (task 1 leaves out "b")
//! ```
//!
//! A task that has a mark puts it into every transaction in which it writes rows of the user's to its target, before the first of
//! them: a logical message in PostgreSQL, a row of the mark's table in MySQL and MariaDB. The mark stands in the target's log with
//! the rows and in no other transaction, so whoever reads that log knows at the transaction's first step whose it is.

/// A name by which a task's transactions are known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LoopMark(String);

impl LoopMark {
    /// Characters of a mark: a table of MySQL is named after it.
    pub const CHARS_MAX: usize = 40;

    /// `None` for a text that is not 1 to [`LoopMark::CHARS_MAX`] of lower-case letters, digits, `_`, `-` and `$`: names of
    /// tables that differ in more than that are not told apart by every server.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        let is_good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-$".contains(&byte);
        ((1..=Self::CHARS_MAX).contains(&text.len()) && text.bytes().all(is_good)).then_some(Self(text))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The marks of a task that has another one in the opposite direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loopback {
    /// Transactions of the source with this mark are left out.
    pub source: LoopMark,
    /// Transactions in the target get this one.
    pub target: LoopMark,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_names_that_every_server_tells_apart() {
        for good in ["a", "loop_a-1$", "0123456789012345678901234567890123456789"] {
            assert_eq!(LoopMark::new(good).unwrap().as_str(), good);
        }
        for wrong in ["", "A", "a b", "é", "a.b", "01234567890123456789012345678901234567890"] {
            assert_eq!(LoopMark::new(wrong), None, "{wrong}");
        }
    }
}
