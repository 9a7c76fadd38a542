//! The form that a column's values take, by the column as it really is.

use tidegate_model::Engine;

use super::real::RealColumn;

/// What a column holds, and how its values are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    /// Whole numbers from the first to the last.
    Int(i128, i128),
    Year,
    /// Digits in all, and after the point.
    Decimal(u32, u32),
    Float {
        has_minus_zero: bool,
    },
    Double {
        has_minus_zero: bool,
    },
    Bits(u32),
    Date,
    /// `datetime` and `timestamp`, with so many digits of a second's fraction.
    DateTime(u32),
    Time(u32),
    /// `char`: shown without blanks at its end.
    Char,
    Text,
    /// `binary(n)`: shorter values would get zeros.
    Binary(u64),
    Bytes,
    Enumeration(Vec<String>),
    SetOf(Vec<String>),
    /// MySQL's own JSON; of its own documents numbers keep their digits too.
    Json {
        is_spelt: bool,
    },
    /// MariaDB's UUID and address types, written as text.
    Uuid,
    Address,
}

/// How a value stands in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Literal {
    /// Digits.
    Bare,
    /// Text in UTF-8.
    Quoted,
    /// Bytes.
    Binary,
}

/// How a field of LOAD DATA becomes the column's value. The file's character set is binary, so that no byte is
/// interpreted on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// As it is.
    Direct,
    /// `convert(@v using utf8mb4)`: types that take no binary text, and columns of another character set.
    Converted,
    /// `cast(@v as unsigned)`: bits out of digits.
    Number,
}

impl Form {
    /// `None` for types that nothing is known of.
    pub(crate) fn of(column: &RealColumn, engine: Engine) -> Option<Form> {
        let unsigned = column.column_type.to_ascii_lowercase().contains("unsigned");
        let int = |bits: u32| {
            if unsigned { Form::Int(0, (1 << bits) - 1) } else { Form::Int(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
        };
        // MariaDB stores 0 in its place (10.11 and 11.8, whichever way it comes).
        let has_minus_zero = engine == Engine::Mysql;
        let number = |size: Option<u64>| size.and_then(|size| u32::try_from(size).ok()).unwrap_or(0);
        Some(match column.data_type.as_str() {
            "tinyint" => int(8),
            "smallint" => int(16),
            "mediumint" => int(24),
            "int" => int(32),
            "bigint" => int(64),
            "year" => Form::Year,
            "decimal" => Form::Decimal(number(column.precision), number(column.scale)),
            "float" => Form::Float { has_minus_zero },
            "double" => Form::Double { has_minus_zero },
            "bit" => Form::Bits(number(column.precision)),
            "date" => Form::Date,
            "datetime" | "timestamp" => Form::DateTime(column.fraction),
            "time" => Form::Time(column.fraction),
            "char" => Form::Char,
            "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Form::Text,
            "binary" => Form::Binary(column.length.unwrap_or(0)),
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" | "geometry" | "point" | "linestring" | "polygon"
            | "multipoint" | "multilinestring" | "multipolygon" | "geometrycollection" | "geomcollection" => Form::Bytes,
            "enum" => Form::Enumeration(column.labels.clone()),
            "set" => Form::SetOf(column.labels.clone()),
            "json" if engine == Engine::Mysql => Form::Json { is_spelt: false },
            "uuid" => Form::Uuid,
            "inet4" | "inet6" => Form::Address,
            _ => return None,
        })
    }

    pub(crate) fn literal(&self) -> Literal {
        match self {
            Form::Int(..) | Form::Year | Form::Decimal(..) | Form::Float { .. } | Form::Double { .. } | Form::Bits(_) => Literal::Bare,
            Form::Binary(_) | Form::Bytes => Literal::Binary,
            Form::Date
            | Form::DateTime(_)
            | Form::Time(_)
            | Form::Char
            | Form::Text
            | Form::Enumeration(_)
            | Form::SetOf(_)
            | Form::Json { .. }
            | Form::Uuid
            | Form::Address => Literal::Quoted,
        }
    }

    pub(crate) fn field(&self, column: &RealColumn) -> Field {
        let is_utf8 = column.charset.as_deref().is_none_or(|charset| matches!(charset, "utf8mb4" | "utf8mb3" | "utf8" | "ascii"));
        match self {
            Form::Bits(_) => Field::Number,
            Form::Json { .. } | Form::Uuid | Form::Address => Field::Converted,
            Form::Char | Form::Text | Form::Enumeration(_) | Form::SetOf(_) if !is_utf8 => Field::Converted,
            _ => Field::Direct,
        }
    }

    /// The comparison of a keyless row's column with a value that is not NULL, `{}` being the value. Equality of texts
    /// depends on collations and that of JSON on types, so both are compared by what they are made of.
    pub(crate) fn equality(&self, name: &str) -> (String, Literal) {
        match self {
            Form::Text | Form::Enumeration(_) | Form::SetOf(_) => {
                (format!("cast(convert({name} using utf8mb4) as binary) = "), Literal::Binary)
            }
            Form::Char => (format!("cast(convert({name} using utf8mb4) as binary) = "), Literal::Binary),
            Form::Json { .. } => (format!("{name} = "), Literal::Quoted),
            Form::Bits(_) => (format!("{name} + 0 = "), Literal::Bare),
            Form::Binary(_) | Form::Bytes => (format!("cast({name} as binary) = "), Literal::Binary),
            other => (format!("{name} = "), other.literal()),
        }
    }
}
