//! Conditions of PostgreSQL's checks that accept exactly the same rows here.
//!
//! Texts are compared byte for byte in the tables that we create, so equality means the same and order does not. What the
//! source's text says in quotes about a number becomes a number.

use tidegate_connector::{ColumnOrigin, TargetTable};
use tidegate_model::{Condition, Operand, SqlType};

/// How a column is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Number,
    Truth,
    Day,
    Moment,
    /// Equality alone.
    Text,
    /// The same, and blanks at the end of a constant say nothing at the source.
    Padded,
}

/// The condition as this kind of server understands it in the same way; `None` when it may not.
pub(super) fn from_postgres(table: &TargetTable, condition: &Condition) -> Option<Condition> {
    let all = |parts: &[Condition]| parts.iter().map(|part| from_postgres(table, part)).collect::<Option<Vec<_>>>();
    Some(match condition {
        Condition::All(parts) => Condition::All(all(parts)?),
        Condition::Any(parts) => Condition::Any(all(parts)?),
        Condition::Not(inner) => Condition::Not(Box::new(from_postgres(table, inner)?)),
        Condition::IsNull { operand: Operand::Column(_), .. } => condition.clone(),
        Condition::IsNull { .. } => return None,
        Condition::Compare { left, operator, right } => {
            let is_equality = matches!(*operator, "=" | "<>");
            let mut operands = same(table, &[left, right], is_equality)?.into_iter();
            Condition::Compare { left: operands.next()?, operator, right: operands.next()? }
        }
        Condition::In { operand, list, negated } => {
            let operands: Vec<&Operand> = std::iter::once(operand).chain(list).collect();
            let mut operands = same(table, &operands, true)?.into_iter();
            Condition::In { operand: operands.next()?, list: operands.collect(), negated: *negated }
        }
        Condition::Between { operand, low, high, negated } => {
            let mut operands = same(table, &[operand, low, high], false)?.into_iter();
            Condition::Between { operand: operands.next()?, low: operands.next()?, high: operands.next()?, negated: *negated }
        }
    })
}

fn same(table: &TargetTable, operands: &[&Operand], is_equality: bool) -> Option<Vec<Operand>> {
    let mut classes =
        operands.iter().filter_map(|operand| if let Operand::Column(name) = operand { Some(class(table, name)) } else { None });
    let class = classes.next()??;
    if classes.any(|other| other != Some(class)) || (matches!(class, Class::Text | Class::Padded) && !is_equality) {
        return None;
    }
    operands.iter().map(|operand| fitting(class, operand)).collect()
}

fn fitting(class: Class, operand: &Operand) -> Option<Operand> {
    let digits = |text: &str, form: &str| {
        let mut letters = text.chars();
        form.chars()
            .all(|wanted| letters.next().is_some_and(|letter| if wanted == '0' { letter.is_ascii_digit() } else { letter == wanted }))
            && letters.all(|letter| letter.is_ascii_digit() || letter == '.')
    };
    match (class, operand) {
        (_, Operand::Column(_)) | (Class::Number, Operand::Number(_)) | (Class::Truth, Operand::Truth(_)) => Some(operand.clone()),
        (Class::Number, Operand::Text(text)) => is_number(text).then(|| Operand::Number(text.clone())),
        (Class::Day, Operand::Text(text)) => (text.len() == 10 && digits(text, "0000-00-00")).then(|| operand.clone()),
        (Class::Moment, Operand::Text(text)) => digits(text, "0000-00-00 00:00:00").then(|| operand.clone()),
        (Class::Text, Operand::Text(_)) => Some(operand.clone()),
        (Class::Padded, Operand::Text(text)) => (!text.ends_with(' ')).then(|| operand.clone()),
        _ => None,
    }
}

/// Digits with a sign and a point, as every server reads them.
pub(super) fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    unsigned.starts_with(|letter: char| letter.is_ascii_digit())
        && unsigned.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
        && unsigned.matches('.').count() < 2
}

fn class(table: &TargetTable, name: &str) -> Option<Class> {
    let wanted = table.columns.iter().find(|column| column.name == name)?;
    let ColumnOrigin::Source(at) = wanted.origin else { return None };
    let source = table.source.schema.columns.get(at).filter(|source| source.sql_type == wanted.sql_type)?;
    Some(match &wanted.sql_type {
        SqlType::Int8
        | SqlType::Int16
        | SqlType::Int32
        | SqlType::Int64
        | SqlType::UInt8
        | SqlType::UInt16
        | SqlType::UInt32
        | SqlType::UInt64
        | SqlType::Float64 => Class::Number,
        // One of more digits than the target has is a text there.
        SqlType::Decimal { precision, .. } if precision.is_none_or(|precision| precision <= 35) => Class::Number,
        SqlType::Boolean => Class::Truth,
        SqlType::Date => Class::Day,
        SqlType::Timestamp => Class::Moment,
        SqlType::Text { .. } if source.native_type.starts_with("character(") || source.native_type == "character" => Class::Padded,
        SqlType::Text { .. } | SqlType::Enumeration(_) => Class::Text,
        SqlType::Decimal { .. }
        | SqlType::Float32
        | SqlType::Bytes { .. }
        | SqlType::Time
        | SqlType::TimestampTz
        | SqlType::Interval
        | SqlType::Json
        | SqlType::Uuid
        | SqlType::SetOf(_)
        | SqlType::Bits(_)
        | SqlType::Array(_)
        | SqlType::Other(_) => return None,
    })
}
