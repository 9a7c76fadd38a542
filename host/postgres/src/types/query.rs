//! `tsquery` as the server prints it: `'fat' & ( 'rat' | !'cat':*A )`.
//!
//! The binary form has the nodes of the query's tree, each in front of its operands, the right one before the left one.
//! Sources: `tsquerysend`, `infix` and `tsearch_op_priority` in `tsquery.c` of PostgreSQL.

use super::decode::{Reason, utf8};
use super::printed::take_i32;

/// Kinds of nodes. Source: `ts_type.h`, `QI_VAL` and `QI_OPR`.
const VALUE: u8 = 1;
const OPERATOR: u8 = 2;

/// Letters of weights, from the highest bit on.
const WEIGHTS: [(u8, char); 4] = [(8, 'A'), (4, 'B'), (2, 'C'), (1, 'D')];

/// A node of the tree.
#[derive(Debug)]
enum Node<'a> {
    Value {
        weight: u8,
        is_prefix: bool,
        text: &'a str,
    },
    /// The right operand (of NOT, the only one) is the next node, the left one that at this place.
    Operator {
        operator: Operator,
        left: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Not,
    And,
    Or,
    /// One behind the other, at this distance.
    Phrase(u16),
}

impl Operator {
    /// What binds more closely has the higher one.
    fn priority(self) -> u8 {
        match self {
            Operator::Or => 1,
            Operator::And => 2,
            Operator::Phrase(_) => 3,
            Operator::Not => 4,
        }
    }
}

/// What is still to be printed.
enum Task {
    Node { at: usize, parent: u8, is_right_of_phrase: bool },
    Text(String),
}

/// The text of a binary form.
pub(super) fn text(bytes: &[u8]) -> Result<String, Reason> {
    let nodes = nodes(bytes)?;
    let mut out = String::new();
    let mut tasks = Vec::new();
    if !nodes.is_empty() {
        tasks.push(Task::Node { at: 0, parent: 0, is_right_of_phrase: false });
    }
    while let Some(task) = tasks.pop() {
        let (at, parent, is_right_of_phrase) = match task {
            Task::Text(text) => {
                out.push_str(&text);
                continue;
            }
            Task::Node { at, parent, is_right_of_phrase } => (at, parent, is_right_of_phrase),
        };
        let (operator, left) = match &nodes[at] {
            Node::Value { weight, is_prefix, text } => {
                push_value(text, *weight, *is_prefix, &mut out);
                continue;
            }
            Node::Operator { operator, left } => (*operator, *left),
        };
        let (priority, is_phrase) = (operator.priority(), matches!(operator, Operator::Phrase(_)));
        if priority < parent || (is_phrase && is_right_of_phrase) {
            out.push_str("( ");
            tasks.push(Task::Text(" )".into()));
        }
        tasks.push(Task::Node { at: at + 1, parent: priority, is_right_of_phrase: is_phrase });
        let sign = match operator {
            Operator::Not => {
                out.push('!');
                continue;
            }
            Operator::And => " & ".to_owned(),
            Operator::Or => " | ".to_owned(),
            Operator::Phrase(1) => " <-> ".to_owned(),
            Operator::Phrase(distance) => format!(" <{distance}> "),
        };
        tasks.push(Task::Text(sign));
        tasks.push(Task::Node { at: left, parent: priority, is_right_of_phrase: false });
    }
    Ok(out)
}

fn push_value(text: &str, weight: u8, is_prefix: bool, out: &mut String) {
    out.push('\'');
    for letter in text.chars() {
        if matches!(letter, '\'' | '\\') {
            out.push(letter);
        }
        out.push(letter);
    }
    out.push('\'');
    if is_prefix || weight != 0 {
        out.push(':');
    }
    if is_prefix {
        out.push('*');
    }
    out.extend(WEIGHTS.iter().filter(|(bit, _)| weight & bit != 0).map(|(_, letter)| letter));
}

/// The nodes, of a tree that is whole and has nothing beside it.
fn nodes(bytes: &[u8]) -> Result<Vec<Node<'_>>, Reason> {
    let mut rest = bytes;
    let count = u32::try_from(take_i32(&mut rest)?).map_err(|_| "tsquery has a negative count of nodes")?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(node(&mut rest)?);
    }
    if !rest.is_empty() {
        return Err("tsquery is longer than its nodes".into());
    }
    // From the last node on, whatever stands behind an operator is whole: its operands are the trees that came last.
    let mut trees = Vec::new();
    for at in (0..nodes.len()).rev() {
        if let Node::Operator { operator, left } = &mut nodes[at] {
            let _right = trees.pop().ok_or("tsquery has an operator without an operand")?;
            if *operator != Operator::Not {
                *left = trees.pop().ok_or("tsquery has an operator without an operand")?;
            }
        }
        trees.push(at);
    }
    if trees.len() == usize::from(!nodes.is_empty()) { Ok(nodes) } else { Err("tsquery has operands without an operator".into()) }
}

fn node<'a>(rest: &mut &'a [u8]) -> Result<Node<'a>, Reason> {
    let (kind, tail) = rest.split_first().ok_or("tsquery is cut off")?;
    let (node, tail) = match (*kind, tail) {
        (VALUE, [weight, is_prefix, tail @ ..]) => {
            let end = tail.iter().position(|byte| *byte == 0).ok_or("tsquery has a text without an end")?;
            (Node::Value { weight: *weight, is_prefix: *is_prefix != 0, text: utf8(&tail[..end])? }, &tail[end + 1..])
        }
        (OPERATOR, [1, tail @ ..]) => (Node::Operator { operator: Operator::Not, left: 0 }, tail),
        (OPERATOR, [2, tail @ ..]) => (Node::Operator { operator: Operator::And, left: 0 }, tail),
        (OPERATOR, [3, tail @ ..]) => (Node::Operator { operator: Operator::Or, left: 0 }, tail),
        (OPERATOR, [4, high, low, tail @ ..]) => {
            (Node::Operator { operator: Operator::Phrase(u16::from_be_bytes([*high, *low])), left: 0 }, tail)
        }
        _ => return Err("tsquery is cut off, or has a node of an unknown kind".into()),
    };
    *rest = tail;
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nodes in the server's order: texts, `!`, `&`, `|`, and a digit for a phrase of that distance.
    fn bytes(nodes: &str) -> Vec<u8> {
        let one = |node: &str| match node.as_bytes() {
            b"!" => vec![OPERATOR, 1],
            b"&" => vec![OPERATOR, 2],
            b"|" => vec![OPERATOR, 3],
            [distance @ b'1'..=b'9'] => vec![OPERATOR, 4, 0, distance - b'0'],
            text => [&[VALUE, 0, 0], text, &[0]].concat(),
        };
        let all: Vec<Vec<u8>> = nodes.split(' ').filter(|node| !node.is_empty()).map(one).collect();
        [(all.len() as u32).to_be_bytes().to_vec(), all.concat()].concat()
    }

    #[test]
    fn brackets_stand_where_the_server_puts_them() {
        for (nodes, wanted) in [
            ("", ""),
            ("a", "'a'"),
            ("! a", "!'a'"),
            ("& b a", "'a' & 'b'"),
            ("& c & b a", "'a' & 'b' & 'c'"),
            ("& | c b a", "'a' & ( 'b' | 'c' )"),
            ("! | b a", "!( 'a' | 'b' )"),
            ("! ! a", "!!'a'"),
            ("1 2 c b a", "'a' <-> ( 'b' <2> 'c' )"),
            ("2 c 1 b a", "'a' <-> 'b' <2> 'c'"),
            ("1 & c b a", "'a' <-> ( 'b' & 'c' )"),
            (r"& \' a\", r"'a\\' & '\\'''"),
        ] {
            assert_eq!(text(&bytes(nodes)).as_deref(), Ok(wanted), "{nodes}");
        }
        let weighed = [&[0, 0, 0, 1, VALUE, 0b1010, 1][..], b"cat\0"].concat();
        assert_eq!(text(&weighed).as_deref(), Ok("'cat':*AC"));
    }

    #[test]
    fn a_long_chain_takes_no_deep_stack_and_what_is_no_tree_is_an_error() {
        let long = "& a ".repeat(100_000) + "a";
        assert_eq!(text(&bytes(&long)).map(|text| text.len()), Ok(100_001 * 3 + 100_000 * 3));
        let long = "! ".repeat(100_000) + "a";
        assert_eq!(text(&bytes(&long)).map(|text| text.len()), Ok(100_003));
        for nodes in ["a b", "&", "& a", "!", "& a b c"] {
            assert!(text(&bytes(nodes)).is_err(), "{nodes}");
        }
        let whole = bytes("& | c b a");
        for end in 0..whole.len() {
            assert!(text(&whole[..end]).is_err(), "{end}");
        }
        assert!(text(&[&whole[..], &[0]].concat()).is_err() && text(&[0, 0, 0, 1, 7, 0]).is_err() && text(&[255; 8]).is_err());
    }
}
