//! Short names for types and errors, and look-ups in a table's description.

use crate::{ColumnSchema, DecimalType, PlanError, ScalarType, SqlType, TableSchema};

impl SqlType {
    /// Text of any length.
    pub const fn text() -> Self {
        SqlType::Scalar(ScalarType::Text(None))
    }

    /// Text of at most so many characters.
    pub const fn text_max(chars: u32) -> Self {
        SqlType::Scalar(ScalarType::Text(Some(chars)))
    }

    /// 32-bit signed integer.
    pub const fn int32() -> Self {
        SqlType::Scalar(ScalarType::Int32)
    }

    /// 64-bit signed integer.
    pub const fn int64() -> Self {
        SqlType::Scalar(ScalarType::Int64)
    }

    /// 64-bit float.
    pub const fn float64() -> Self {
        SqlType::Scalar(ScalarType::Float64)
    }

    /// Truth value.
    pub const fn boolean() -> Self {
        SqlType::Scalar(ScalarType::Boolean)
    }

    /// Decimal with so many digits, so many of them after the point.
    pub const fn decimal(precision: u32, scale: i32) -> Self {
        SqlType::Scalar(ScalarType::Decimal(DecimalType { precision: Some(precision), scale: Some(scale) }))
    }

    /// JSON.
    pub const fn json() -> Self {
        SqlType::Scalar(ScalarType::Json)
    }

    /// Bytes of any number.
    pub const fn bytes() -> Self {
        SqlType::Scalar(ScalarType::Bytes(None))
    }

    /// True when values travel as text and are text to a person: not decimals, intervals or JSON.
    pub const fn is_text(&self) -> bool {
        matches!(self, SqlType::Scalar(ScalarType::Text(_) | ScalarType::Enumeration(_)))
    }
}

impl TableSchema {
    /// A column by its exact name.
    pub fn column(&self, name: &str) -> Option<&ColumnSchema> {
        self.columns.iter().find(|column| column.name == name)
    }
}

impl PlanError {
    /// What was found and what is wanted.
    pub fn new(message: impl Into<String>) -> Self {
        Self { config_path: None, message: message.into() }
    }

    /// The same, about this place of the configuration: `tables.users.mask`.
    #[must_use]
    pub fn at(self, config_path: impl Into<String>) -> Self {
        Self { config_path: Some(config_path.into()), ..self }
    }
}
