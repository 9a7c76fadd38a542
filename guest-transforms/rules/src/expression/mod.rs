//! Expressions as DMS documents them: SQLite's scalar expressions over the columns of a row.
//!
//! ```text
//!   lexer      text -> tokens, each with its character
//!   parser     tokens -> nodes; a node stands after those that it is made of, so that nothing recurses later
//!   node       what a node does, and its affinity (SQLite's rules of comparison hang on it)
//!   evaluate   node after node, a block of rows at a time
//!   value      SQLite's five storage classes; text and bytes of a block share one buffer
//!   number     SQLite's numbers as text and back
//!   function, string, date_time, moment, pattern, format    the functions
//! ```
//!
//! An expression is a function of its row: whatever asks a clock or chance is refused, because a row that is sent again
//! after a crash must come out the same. A value that SQLite would spoil silently (a number of more digits than a double
//! has, an overflow) fails its row instead.

mod date_time;
mod evaluate;
mod format;
mod function;
mod lexer;
mod moment;
mod node;
mod number;
mod parser;
mod pattern;
mod string;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use evaluate::{Evaluator, Image};
pub(crate) use node::{Affinity, Expression, Names, Variable};
pub(crate) use number::{incremented, real_text};
pub(crate) use string::hex;
pub(crate) use value::{Arena, Failure, Value};

/// Most characters of an expression. Chosen by guess; DMS documents no limit.
pub(crate) const CHARACTERS_MAX: usize = 8_192;
/// Most nodes of an expression: each takes 16 bytes a row of a block.
pub(crate) const NODES_MAX: usize = 2_000;
/// Deepest nesting. SQLite allows 1,000; the module's stack has 512 KiB.
pub(crate) const DEPTH_MAX: usize = 100;

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// The character at which it is found, counted from 1.
    pub(crate) character: usize,
    pub(crate) message: String,
}

impl Complaint {
    pub(crate) fn new(character: usize, message: impl Into<String>) -> Self {
        Self { character, message: message.into() }
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "at character {}: {}", self.character, self.message)
    }
}
