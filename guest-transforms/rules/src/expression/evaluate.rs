//! Runs an expression over a block of rows: node after node, all rows of the block at once.
//!
//! Nothing is decided row by row but what a `CASE` picks. So a branch that is not taken is computed too; what fails in it
//! is a value ([`Value::Failed`]) that goes the way of other values and is dropped where SQLite would not have computed it.

use super::function;
use super::node::{Affinity, Binary, Expression, Id, Node, Op, Unary};
use super::pattern;
use super::value::{Arena, Number, Value};

/// What the module contract calls the kinds of images, as far as expressions tell them apart.
const DELETE: u8 = 4;
const UPDATES: [u8; 2] = [2, 3];

/// The rows of a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Image<'a> {
    /// One for each row.
    pub(crate) kinds: &'a [u8],
}

/// The results of one node.
enum Vector {
    /// The same for every row.
    One(Value),
    Many(Vec<Value>),
}

impl Vector {
    fn get(&self, row: usize) -> Value {
        match self {
            Vector::One(value) => *value,
            Vector::Many(values) => values[row],
        }
    }
}

/// Runs one expression, block after block.
#[derive(Debug)]
pub(crate) struct Evaluator {
    arena: Arena,
    literals: usize,
}

impl Evaluator {
    pub(crate) fn new(expression: &Expression) -> Self {
        let mut arena = Arena::default();
        let all = expression.literals.len();
        // Literals come first, at the places that the nodes know.
        if let Some(bytes) = expression.literals.all() {
            let _ = arena.add(bytes);
        }
        Self { arena, literals: all }
    }

    /// The values of the expression for the rows of a block, and the texts that they point to. `bind` gives the values
    /// of an input.
    pub(crate) fn run(
        &mut self,
        expression: &Expression,
        image: Image<'_>,
        mut bind: impl FnMut(usize, &mut Arena) -> Vec<Value>,
    ) -> (Vec<Value>, &Arena) {
        let arena = &mut self.arena;
        arena.truncate(self.literals);
        let rows = image.kinds.len();
        let mut done: Vec<Vector> = Vec::with_capacity(expression.nodes.len());
        for node in &expression.nodes {
            let vector = match &node.op {
                Op::Constant(value) => Vector::One(*value),
                Op::Input(index) => Vector::Many(bind(*index, arena)),
                Op::OperationName => {
                    let [delete, update, insert] = ["DELETE", "UPDATE", "INSERT"].map(|name| arena.add_text(name));
                    Vector::Many(image.kinds.iter().map(|kind| of_kind(*kind, delete, update, insert)).collect())
                }
                Op::OperationIndicator { delete, update, insert } => {
                    let value =
                        |row: usize| of_kind(image.kinds[row], done[*delete].get(row), done[*update].get(row), done[*insert].get(row));
                    Vector::Many((0..rows).map(value).collect())
                }
                op => computed(op, &expression.nodes, &done, rows, arena),
            };
            done.push(vector);
        }
        let values = match done.pop() {
            Some(Vector::Many(values)) => values,
            Some(Vector::One(value)) => vec![value; rows],
            None => vec![Value::Null; rows],
        };
        (values, arena)
    }
}

fn of_kind(kind: u8, delete: Value, update: Value, insert: Value) -> Value {
    match kind {
        DELETE => delete,
        kind if UPDATES.contains(&kind) => update,
        _ => insert,
    }
}

/// One value for all rows when every operand is one.
fn each(rows: usize, operands: &[&Vector], mut value: impl FnMut(usize) -> Value) -> Vector {
    if operands.iter().all(|operand| matches!(operand, Vector::One(_))) {
        return Vector::One(value(0));
    }
    Vector::Many((0..rows).map(value).collect())
}

fn computed(op: &Op, nodes: &[Node], done: &[Vector], rows: usize, arena: &mut Arena) -> Vector {
    let affinity = |id: Id| nodes[id].affinity;
    match op {
        Op::Constant(_) | Op::Input(_) | Op::OperationName | Op::OperationIndicator { .. } => Vector::One(Value::Null),
        Op::Unary(operator, operand) => {
            let operand = &done[*operand];
            each(rows, &[operand], |row| unary(*operator, operand.get(row), arena))
        }
        Op::Binary(operator, left, right) => {
            let compared = Affinity::of_comparison(affinity(*left), affinity(*right));
            let (left, right) = (&done[*left], &done[*right]);
            each(rows, &[left, right], |row| binary(*operator, left.get(row), right.get(row), compared, arena))
        }
        Op::Like { text, pattern, escape } => {
            let (text, pattern) = (&done[*text], &done[*pattern]);
            let escape = escape.map(|id| &done[id]);
            let operands: Vec<&Vector> = [text, pattern].into_iter().chain(escape).collect();
            each(rows, &operands, |row| pattern::like(text.get(row), pattern.get(row), escape.map(|escape| escape.get(row)), arena))
        }
        Op::In { value, list } => {
            let left = affinity(*value);
            let operands: Vec<&Vector> = std::iter::once(value).chain(list).map(|id| &done[*id]).collect();
            each(rows, &operands, |row| is_in(operands[0].get(row), operands[1..].iter().map(|other| other.get(row)), left, arena))
        }
        Op::Case { operand, arms, otherwise } => {
            let ids = operand.iter().chain(arms.iter().flat_map(|(when, then)| [when, then])).chain(otherwise);
            let operands: Vec<&Vector> = ids.map(|id| &done[*id]).collect();
            each(rows, &operands, |row| {
                for (when, then) in arms {
                    let condition = match operand {
                        None => done[*when].get(row),
                        Some(operand) => {
                            let compared = Affinity::of_comparison(affinity(*operand), affinity(*when));
                            binary(Binary::Equal, done[*operand].get(row), done[*when].get(row), compared, arena)
                        }
                    };
                    if let Value::Failed(_) = condition {
                        return condition;
                    }
                    if condition.is_true(arena) == Some(true) {
                        return done[*then].get(row);
                    }
                }
                otherwise.map_or(Value::Null, |id| done[id].get(row))
            })
        }
        Op::Cast(to, operand) => {
            let operand = &done[*operand];
            each(rows, &[operand], |row| operand.get(row).cast(*to, arena))
        }
        Op::Call(function, arguments) => {
            let operands: Vec<&Vector> = arguments.iter().map(|id| &done[*id]).collect();
            let mut values = vec![Value::Null; operands.len()];
            each(rows, &operands, |row| {
                for (value, operand) in values.iter_mut().zip(&operands) {
                    *value = operand.get(row);
                }
                function::call(*function, &values, arena)
            })
        }
    }
}

fn unary(operator: Unary, value: Value, arena: &Arena) -> Value {
    if let Value::Failed(_) = value {
        return value;
    }
    match operator {
        Unary::IsNull => Value::truth(value == Value::Null),
        Unary::NotNull => Value::truth(value != Value::Null),
        Unary::IsTrue => Value::truth(value.is_true(arena) == Some(true)),
        Unary::IsFalse => Value::truth(value.is_true(arena) == Some(false)),
        Unary::IsNotTrue => Value::truth(value.is_true(arena) != Some(true)),
        Unary::IsNotFalse => Value::truth(value.is_true(arena) != Some(false)),
        Unary::Not => value.is_true(arena).map_or(Value::Null, |truth| Value::truth(!truth)),
        Unary::BitNot if value == Value::Null => Value::Null,
        Unary::BitNot => Value::Integer(!value.integer(arena)),
        Unary::Minus => match value.number(arena) {
            Number::Null => Value::Null,
            // As in SQLite, 0 - x: an overflow is a double.
            Number::Integer(number) => 0_i64.checked_sub(number).map_or(Value::Real(0.0 - number as f64), Value::Integer),
            Number::Real(number) => Value::Real(0.0 - number),
        },
    }
}

fn binary(operator: Binary, left: Value, right: Value, affinity: Affinity, arena: &mut Arena) -> Value {
    match operator {
        Binary::And | Binary::Or => return connected(operator, left, right, arena),
        _ => {}
    }
    if let Value::Failed(_) = left {
        return left;
    }
    if let Value::Failed(_) = right {
        return right;
    }
    let compared = |arena: &mut Arena, test: fn(std::cmp::Ordering) -> bool| {
        left.compare(right, affinity, arena).map_or(Value::Null, |order| Value::truth(test(order)))
    };
    match operator {
        Binary::And | Binary::Or => Value::Null,
        Binary::Equal => compared(arena, std::cmp::Ordering::is_eq),
        Binary::NotEqual => compared(arena, std::cmp::Ordering::is_ne),
        Binary::Less => compared(arena, std::cmp::Ordering::is_lt),
        Binary::AtMost => compared(arena, std::cmp::Ordering::is_le),
        Binary::Greater => compared(arena, std::cmp::Ordering::is_gt),
        Binary::AtLeast => compared(arena, std::cmp::Ordering::is_ge),
        Binary::Is => Value::truth(is_same(left, right, affinity, arena)),
        Binary::IsNot => Value::truth(!is_same(left, right, affinity, arena)),
        Binary::Concat => match (left.to_text(arena), right.to_text(arena)) {
            (Value::Text(left), Value::Text(right)) => arena.add_both(left, right),
            (failed @ Value::Failed(_), _) | (_, failed @ Value::Failed(_)) => failed,
            _ => Value::Null,
        },
        Binary::Glob => pattern::glob(left, right, arena),
        Binary::BitAnd | Binary::BitOr | Binary::ShiftLeft | Binary::ShiftRight => {
            if left == Value::Null || right == Value::Null {
                return Value::Null;
            }
            let (left, right) = (left.integer(arena), right.integer(arena));
            Value::Integer(match operator {
                Binary::BitAnd => left & right,
                Binary::BitOr => left | right,
                Binary::ShiftLeft => shifted(left, right),
                _ => shifted(left, right.saturating_neg()),
            })
        }
        Binary::Add | Binary::Subtract | Binary::Multiply | Binary::Divide => arithmetic(operator, left.number(arena), right.number(arena)),
        Binary::Remainder => match (left.number(arena), right.number(arena)) {
            (Number::Null, _) | (_, Number::Null) => Value::Null,
            (left, right) if matches!((left, right), (Number::Integer(_), Number::Integer(_))) => arithmetic(operator, left, right),
            // A double comes out, of the remainder of whole numbers.
            _ => match right.integer(arena) {
                0 => Value::Null,
                right => Value::Real(left.integer(arena).wrapping_rem(right) as f64),
            },
        },
    }
}

/// Three-valued logic; a failure counts only where the other side does not decide.
fn connected(operator: Binary, left: Value, right: Value, arena: &Arena) -> Value {
    let deciding = operator == Binary::Or;
    let (first, second) = (left.is_true(arena), right.is_true(arena));
    if first == Some(deciding) || second == Some(deciding) {
        return Value::truth(deciding);
    }
    match (left, right) {
        (Value::Failed(_), _) => left,
        (_, Value::Failed(_)) => right,
        _ if first.is_none() || second.is_none() => Value::Null,
        _ => Value::truth(!deciding),
    }
}

fn is_same(left: Value, right: Value, affinity: Affinity, arena: &mut Arena) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        _ => left.compare(right, affinity, arena).is_some_and(std::cmp::Ordering::is_eq),
    }
}

fn is_in(value: Value, list: impl Iterator<Item = Value>, affinity: Affinity, arena: &mut Arena) -> Value {
    if let Value::Failed(_) = value {
        return value;
    }
    let mut answer = Value::Integer(0);
    let mut is_empty = true;
    for other in list {
        is_empty = false;
        match binary(Binary::Equal, value, other, affinity, arena) {
            Value::Integer(1) => return Value::Integer(1),
            Value::Null if answer == Value::Integer(0) => answer = Value::Null,
            failed @ Value::Failed(_) => answer = failed,
            _ => {}
        }
    }
    if is_empty { Value::Integer(0) } else { answer }
}

/// To the left, or by a negative count to the right.
fn shifted(number: i64, by: i64) -> i64 {
    match by {
        0..=63 => number << by,
        64.. => 0,
        -63..=-1 => number >> -by,
        _ => number >> 63,
    }
}

fn arithmetic(operator: Binary, left: Number, right: Number) -> Value {
    let (left_real, right_real) = match (left, right) {
        (Number::Null, _) | (_, Number::Null) => return Value::Null,
        (Number::Integer(left), Number::Integer(right)) => {
            let exact = match operator {
                Binary::Add => left.checked_add(right),
                Binary::Subtract => left.checked_sub(right),
                Binary::Multiply => left.checked_mul(right),
                Binary::Divide if right == 0 => return Value::Null,
                Binary::Divide => left.checked_div(right),
                _ if right == 0 => return Value::Null,
                _ => Some(left.wrapping_rem(right)),
            };
            if let Some(exact) = exact {
                return Value::Integer(exact);
            }
            (left as f64, right as f64)
        }
        (left, right) => (as_real(left), as_real(right)),
    };
    let result = match operator {
        Binary::Add => left_real + right_real,
        Binary::Subtract => left_real - right_real,
        Binary::Multiply => left_real * right_real,
        Binary::Divide if right_real == 0.0 => return Value::Null,
        Binary::Divide => left_real / right_real,
        _ => return Value::Null,
    };
    // SQLite has no NaN.
    if result.is_nan() { Value::Null } else { Value::Real(result) }
}

fn as_real(number: Number) -> f64 {
    match number {
        Number::Null => 0.0,
        Number::Integer(number) => number as f64,
        Number::Real(number) => number,
    }
}
