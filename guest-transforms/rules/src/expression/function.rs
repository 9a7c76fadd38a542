//! The functions by name, and those over numbers and NULL.

use super::number::{fixed, parse_real};
use super::value::{Arena, Failure, Number, Value};
use super::{Affinity, date_time, format, string};

/// Most bytes that `zeroblob` makes: a row of more would not be taken by the host either.
const ZERO_BYTES_MAX: i64 = 1 << 20;

/// A function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Abs,
    Char,
    Coalesce,
    Date,
    DateTime,
    Format,
    HashSha256,
    Hex,
    IfNull,
    Iif,
    Instr,
    JulianDay,
    Length,
    Lower,
    LeftTrim,
    Max,
    Min,
    NullIf,
    Replace,
    ReplaceChars,
    Round,
    RightTrim,
    Sign,
    StrfTime,
    Substr,
    Time,
    Trim,
    TypeOf,
    Unhex,
    Unicode,
    UnixEpoch,
    Upper,
    ZeroBlob,
}

/// Names, functions, and the least and greatest count of arguments.
const FUNCTIONS: &[(&str, Function, usize, usize)] = &[
    ("abs", Function::Abs, 1, 1),
    ("char", Function::Char, 0, MANY),
    ("coalesce", Function::Coalesce, 2, MANY),
    ("date", Function::Date, 1, MANY),
    ("datetime", Function::DateTime, 1, MANY),
    ("format", Function::Format, 1, MANY),
    ("hash_sha256", Function::HashSha256, 1, 1),
    ("hex", Function::Hex, 1, 1),
    ("ifnull", Function::IfNull, 2, 2),
    ("iif", Function::Iif, 3, 3),
    ("instr", Function::Instr, 2, 2),
    ("julianday", Function::JulianDay, 1, MANY),
    ("length", Function::Length, 1, 1),
    ("lower", Function::Lower, 1, 1),
    ("ltrim", Function::LeftTrim, 1, 2),
    ("max", Function::Max, 2, MANY),
    ("min", Function::Min, 2, MANY),
    ("nullif", Function::NullIf, 2, 2),
    ("printf", Function::Format, 1, MANY),
    ("replace", Function::Replace, 3, 3),
    ("replacechars", Function::ReplaceChars, 3, 3),
    ("round", Function::Round, 1, 2),
    ("rtrim", Function::RightTrim, 1, 2),
    ("sign", Function::Sign, 1, 1),
    ("strftime", Function::StrfTime, 2, MANY),
    ("substr", Function::Substr, 2, 3),
    ("substring", Function::Substr, 2, 3),
    ("time", Function::Time, 1, MANY),
    ("trim", Function::Trim, 1, 2),
    ("typeof", Function::TypeOf, 1, 1),
    ("unhex", Function::Unhex, 1, 2),
    ("unicode", Function::Unicode, 1, 1),
    ("unixepoch", Function::UnixEpoch, 1, MANY),
    ("upper", Function::Upper, 1, 1),
    ("zeroblob", Function::ZeroBlob, 1, 1),
];
/// SQLite's own bound of arguments.
const MANY: usize = 127;

/// Functions of SQLite that cannot be here, and why.
const REFUSED: &[(&str, &str)] = &[
    ("random", "chance would differ when a row is sent again; hash_sha256() of a column does not"),
    ("randomblob", "chance would differ when a row is sent again; hash_sha256() of a column does not"),
    ("changes", "an expression sees one row, and no connection"),
    ("total_changes", "an expression sees one row, and no connection"),
    ("last_insert_rowid", "an expression sees one row, and no connection"),
    ("count", "functions over several rows do not exist here"),
    ("sum", "functions over several rows do not exist here"),
    ("total", "functions over several rows do not exist here"),
    ("avg", "functions over several rows do not exist here"),
    ("group_concat", "functions over several rows do not exist here"),
    ("load_extension", "nothing can be loaded here"),
];

impl Function {
    /// # Errors
    /// Why there is no such function.
    pub(crate) fn find(lower_name: &str) -> Result<Function, String> {
        if let Some((_, function, _, _)) = FUNCTIONS.iter().find(|(name, ..)| *name == lower_name) {
            return Ok(*function);
        }
        match REFUSED.iter().find(|(name, _)| *name == lower_name) {
            Some((_, reason)) => Err((*reason).to_owned()),
            None => {
                let mut names: Vec<&str> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
                names.push("operation_indicator");
                Err(format!("there is no such function; there are {}", names.join(", ")))
            }
        }
    }

    /// # Errors
    /// What counts the function takes.
    pub(crate) fn check_count(self, name: &str, found: usize) -> Result<(), String> {
        let lower = name.to_ascii_lowercase();
        let Some((_, _, least, most)) = FUNCTIONS.iter().find(|(known, ..)| *known == lower) else { return Ok(()) };
        if (*least..=*most).contains(&found) {
            return Ok(());
        }
        let hint = match self {
            Function::Max | Function::Min if found == 1 => "; over several rows it does not exist here",
            Function::Date | Function::Time | Function::DateTime | Function::JulianDay | Function::StrfTime | Function::UnixEpoch => {
                "; the present time would differ when a row is sent again"
            }
            _ => "",
        };
        let wanted = if least == most {
            least.to_string()
        } else if *most == MANY {
            format!("at least {least}")
        } else {
            format!("{least} to {most}")
        };
        Err(format!("\"{name}()\" takes {wanted} arguments, found {found}{hint}"))
    }

    /// Checks an argument that is written out in the expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check_literal(self, place: usize, text: &str) -> Result<(), String> {
        match (self, place) {
            (Function::Format, 0) => format::check(text),
            (Function::StrfTime, 0) => date_time::check_format(text),
            (Function::StrfTime, 1) => date_time::check_time(text),
            (Function::StrfTime, _) => date_time::check_modifier(text),
            (Function::Date | Function::Time | Function::DateTime | Function::JulianDay | Function::UnixEpoch, 0) => {
                date_time::check_time(text)
            }
            (Function::Date | Function::Time | Function::DateTime | Function::JulianDay | Function::UnixEpoch, _) => {
                date_time::check_modifier(text)
            }
            _ => Ok(()),
        }
    }
}

/// The value of a function.
pub(crate) fn call(function: Function, values: &[Value], arena: &mut Arena) -> Value {
    match function {
        Function::Coalesce | Function::IfNull => return first_value(values),
        Function::Iif => {
            return match values {
                [failed @ Value::Failed(_), ..] => *failed,
                [condition, then, _] if condition.is_true(arena) == Some(true) => *then,
                [_, _, otherwise] => *otherwise,
                _ => Value::Null,
            };
        }
        _ => {}
    }
    if let Some(failed) = values.iter().find(|value| matches!(value, Value::Failed(_))) {
        return *failed;
    }
    let first = values.first().copied().unwrap_or(Value::Null);
    match function {
        Function::Coalesce | Function::IfNull | Function::Iif => Value::Null,
        Function::Abs => absolute(first, arena),
        Function::Round => round(first, values.get(1).copied(), arena),
        Function::Sign => sign(first, arena),
        Function::Max | Function::Min => extreme(function == Function::Max, values, arena),
        // Arguments of functions have lost their affinity.
        Function::NullIf => match first.compare(values[1], Affinity::None, arena) {
            Some(order) if order.is_eq() => Value::Null,
            _ => first,
        },
        Function::TypeOf => {
            let name = match first {
                Value::Null | Value::Failed(_) => "null",
                Value::Integer(_) => "integer",
                Value::Real(_) => "real",
                Value::Text(_) => "text",
                Value::Blob(_) => "blob",
            };
            arena.add_text(name)
        }
        Function::ZeroBlob => match first.integer(arena) {
            size if size > ZERO_BYTES_MAX => Value::Failed(Failure::TooLarge),
            size => arena.add_blob(&vec![0; usize::try_from(size).unwrap_or(0)]),
        },
        Function::Date | Function::Time | Function::DateTime | Function::JulianDay | Function::StrfTime | Function::UnixEpoch => {
            date_time::call(function, values, arena)
        }
        Function::Format => format::format(values, arena),
        _ => string::call(function, values, arena).unwrap_or_else(Value::Failed),
    }
}

fn first_value(values: &[Value]) -> Value {
    values.iter().copied().find(|value| *value != Value::Null).unwrap_or(Value::Null)
}

fn absolute(value: Value, arena: &Arena) -> Value {
    match value {
        Value::Null | Value::Failed(_) => value,
        Value::Integer(number) => number.checked_abs().map_or(Value::Failed(Failure::IntegerOverflow), Value::Integer),
        Value::Real(_) | Value::Text(_) | Value::Blob(_) => {
            let real = value.real(arena);
            Value::Real(if real < 0.0 { -real } else { real })
        }
    }
}

fn sign(value: Value, arena: &Arena) -> Value {
    let is_number = match value {
        Value::Integer(_) | Value::Real(_) => true,
        Value::Text(span) => super::number::prefix(arena.bytes(span)).is_whole,
        Value::Null | Value::Blob(_) | Value::Failed(_) => false,
    };
    let real = value.real(arena);
    if is_number { Value::Integer(i64::from(real > 0.0) - i64::from(real < 0.0)) } else { Value::Null }
}

/// Source: SQLite's roundFunc: a double beyond 2^52 is whole already; halves go away from zero.
fn round(value: Value, digits: Option<Value>, arena: &Arena) -> Value {
    let digits = match digits {
        Some(Value::Null) => return Value::Null,
        Some(digits) => digits.integer(arena).clamp(0, 30) as usize,
        None => 0,
    };
    if value.number(arena) == Number::Null {
        return Value::Null;
    }
    let real = value.real(arena);
    if !(-4_503_599_627_370_496.0..=4_503_599_627_370_496.0).contains(&real) {
        return Value::Real(real);
    }
    if digits == 0 {
        let half = if real < 0.0 { -0.5 } else { 0.5 };
        return Value::Real((real + half) as i64 as f64);
    }
    Value::Real(parse_real(&fixed(real, digits)).unwrap_or(real))
}

fn extreme(greatest: bool, values: &[Value], arena: &Arena) -> Value {
    if values.contains(&Value::Null) {
        return Value::Null;
    }
    let mut best = values[0];
    for value in &values[1..] {
        let order = value.order(best, arena);
        // Of equals, max keeps the first and min takes the last: 2 and 2.0 are equal.
        if (greatest && order.is_gt()) || (!greatest && order.is_le()) {
            best = *value;
        }
    }
    best
}
