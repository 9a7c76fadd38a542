//! What an expression is made of.

use super::Complaint;
use super::function::Function;
use super::parser;
use super::value::{Arena, Value};

/// How the other side of a comparison is taken. Source: SQLite, "Datatypes In SQLite", sections 3 and 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affinity {
    None,
    Blob,
    Text,
    Numeric,
    Integer,
    Real,
}

impl Affinity {
    fn is_numeric(self) -> bool {
        matches!(self, Affinity::Numeric | Affinity::Integer | Affinity::Real)
    }

    /// The affinity of a comparison of two expressions.
    pub(crate) fn of_comparison(left: Affinity, right: Affinity) -> Affinity {
        match (left, right) {
            (Affinity::None, other) | (other, Affinity::None) => other,
            (left, right) if left.is_numeric() || right.is_numeric() => Affinity::Numeric,
            _ => Affinity::Blob,
        }
    }

    /// What `CAST` takes a type's name for.
    pub(crate) fn of_type(name: &str) -> Affinity {
        let name = name.to_ascii_uppercase();
        let has = |part: &str| name.contains(part);
        if has("INT") {
            Affinity::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Affinity::Text
        } else if has("BLOB") || name.is_empty() {
            Affinity::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }
}

/// Index of a node.
pub(crate) type Id = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unary {
    Minus,
    Not,
    BitNot,
    IsNull,
    NotNull,
    IsTrue,
    IsFalse,
    IsNotTrue,
    IsNotFalse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Is,
    IsNot,
    BitAnd,
    BitOr,
    ShiftLeft,
    ShiftRight,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Concat,
    Glob,
}

/// What a node does with the nodes before it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Op {
    Constant(Value),
    /// An input of the expression, by its index.
    Input(usize),
    /// `INSERT`, `UPDATE` or `DELETE`.
    OperationName,
    /// `operation_indicator(d, u, i)`.
    OperationIndicator {
        delete: Id,
        update: Id,
        insert: Id,
    },
    Unary(Unary, Id),
    Binary(Binary, Id, Id),
    Like {
        text: Id,
        pattern: Id,
        escape: Option<Id>,
    },
    In {
        value: Id,
        list: Vec<Id>,
    },
    /// A `CASE`; with an operand, arms compare with it.
    Case {
        operand: Option<Id>,
        arms: Vec<(Id, Id)>,
        otherwise: Option<Id>,
    },
    Cast(Affinity, Id),
    Call(Function, Vec<Id>),
}

/// A part of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) affinity: Affinity,
}

/// What a `$NAME` stands for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Variable {
    /// A value of each row; equal names are one input.
    Input { name: String, affinity: Affinity },
    /// The operation, as a word.
    Operation,
    /// The same for every row.
    Text(String),
}

/// Who knows what names stand for.
pub(crate) trait Names {
    /// # Errors
    /// Why there is no such thing here.
    fn variable(&self, name: &str) -> Result<Variable, String>;
}

/// An expression that was read.
#[derive(Debug)]
pub(crate) struct Expression {
    /// Each after those that it is made of; the last is the whole.
    pub(crate) nodes: Vec<Node>,
    /// Names of inputs, as [`Op::Input`] numbers them.
    pub(crate) inputs: Vec<String>,
    /// Texts and blobs of constants.
    pub(crate) literals: Arena,
    pub(crate) reads_operation: bool,
    /// The character at which `operation_indicator` stands.
    pub(crate) indicator_at: Option<usize>,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// The first thing that is wrong, with its character.
    pub(crate) fn parse(text: &str, names: &dyn Names) -> Result<Self, Complaint> {
        parser::parse(text, names)
    }

    /// The input that the expression is, when it is nothing else.
    pub(crate) fn as_input(&self) -> Option<&str> {
        match self.nodes.last()?.op {
            Op::Input(index) => self.inputs.get(index).map(String::as_str),
            _ => None,
        }
    }
}
