//! Spells column types as the contract names them: `int64`, `text(64)`, `decimal(10,2)`, `enumeration(["a","b"])`.

use tidegate_model::SqlType;

/// The types without anything in parentheses.
const PLAIN: [(&str, SqlType); 20] = [
    ("boolean", SqlType::Boolean),
    ("int8", SqlType::Int8),
    ("int16", SqlType::Int16),
    ("int32", SqlType::Int32),
    ("int64", SqlType::Int64),
    ("uint8", SqlType::UInt8),
    ("uint16", SqlType::UInt16),
    ("uint32", SqlType::UInt32),
    ("uint64", SqlType::UInt64),
    ("float32", SqlType::Float32),
    ("float64", SqlType::Float64),
    ("decimal", SqlType::Decimal { precision: None, scale: None }),
    ("text", SqlType::Text { chars_max: None }),
    ("bytes", SqlType::Bytes { bytes_max: None }),
    ("date", SqlType::Date),
    ("time", SqlType::Time),
    ("timestamp", SqlType::Timestamp),
    ("timestamp-tz", SqlType::TimestampTz),
    ("json", SqlType::Json),
    ("uuid", SqlType::Uuid),
];

/// A type by its spelling; `None` for anything that is none.
pub(super) fn parse(text: &str) -> Option<SqlType> {
    let text = text.trim();
    if text == "interval" {
        return Some(SqlType::Interval);
    }
    if let Some((_, sql_type)) = PLAIN.iter().find(|(name, _)| *name == text) {
        return Some(sql_type.clone());
    }
    let (name, inside) = text.strip_suffix(')')?.split_once('(')?;
    Some(match name {
        "text" => SqlType::Text { chars_max: Some(inside.parse().ok()?) },
        "bytes" => SqlType::Bytes { bytes_max: Some(inside.parse().ok()?) },
        "bits" => SqlType::Bits(inside.parse().ok()?),
        "decimal" => {
            let (precision, scale) = inside.split_once(',').unwrap_or((inside, "0"));
            SqlType::Decimal { precision: Some(precision.trim().parse().ok()?), scale: Some(scale.trim().parse().ok()?) }
        }
        "enumeration" => SqlType::Enumeration(serde_json::from_str(inside).ok()?),
        "set-of" => SqlType::SetOf(serde_json::from_str(inside).ok()?),
        "array" => SqlType::Array(Box::new(parse(inside)?)),
        "other" => SqlType::Other(inside.to_owned()),
        _ => return None,
    })
}

/// The spelling of a type; [`parse`] gives the type back.
pub(super) fn spell(sql_type: &SqlType) -> String {
    if let Some((name, _)) = PLAIN.iter().find(|(_, plain)| plain == sql_type) {
        return (*name).to_owned();
    }
    let labels = |labels: &[String]| serde_json::Value::from(labels.to_vec()).to_string();
    match sql_type {
        SqlType::Text { chars_max: Some(max) } => format!("text({max})"),
        SqlType::Bytes { bytes_max: Some(max) } => format!("bytes({max})"),
        SqlType::Bits(count) => format!("bits({count})"),
        SqlType::Decimal { precision: Some(precision), scale } => format!("decimal({precision},{})", scale.unwrap_or(0)),
        SqlType::Decimal { precision: None, .. } => "decimal".to_owned(),
        SqlType::Enumeration(names) => format!("enumeration({})", labels(names)),
        SqlType::SetOf(names) => format!("set-of({})", labels(names)),
        SqlType::Array(element) => format!("array({})", spell(element)),
        SqlType::Other(name) => format!("other({name})"),
        // Everything that is left stands in the table above.
        _ => "interval".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_read_back() {
        let spellings = [
            "int64",
            "text",
            "text(64)",
            "decimal(10,2)",
            "decimal(10,-2)",
            "decimal",
            "enumeration([\"a\",\"b(\"])",
            "set-of([\"x\"])",
            "array(array(text(3)))",
            "bits(12)",
            "interval",
            "timestamp-tz",
            "other(point)",
        ];
        for spelling in spellings {
            assert_eq!(parse(spelling).as_ref().map(spell).as_deref(), Some(spelling));
        }
        for wrong in ["", "integer", "text(x)", "text(1", "decimal(a,b)", "enumeration(a)", "array(nothing)"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
