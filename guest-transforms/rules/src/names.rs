//! What `$NAME` stands for in the expressions of rules.

use tidegate_transform_sdk::{ColumnSchema, ScalarType, SqlType, TableSchema};

use crate::data_type::dms_name;
use crate::expression::{Affinity, Names, Variable};

/// Headers that the host gives with each image, under the same names.
const HEADERS: &[&str] = &["$AR_H_TIMESTAMP", "$AR_H_COMMIT_TIMESTAMP", "$AR_H_STREAM_POSITION", "$AR_H_CHANGE_SEQ"];

const UNKNOWN: &str = "there is no such variable; there are $AR_H_OPERATION, $AR_H_TIMESTAMP, $AR_H_COMMIT_TIMESTAMP, \
                       $AR_H_STREAM_POSITION, $AR_H_CHANGE_SEQ, $AR_M_SOURCE_SCHEMA, $AR_M_SOURCE_TABLE_NAME, \
                       $AR_M_SOURCE_COLUMN_NAME, $AR_M_SOURCE_COLUMN_DATATYPE";

/// Takes every name for an input: for reading an expression before its tables are known.
pub(crate) struct AnyNames;

impl Names for AnyNames {
    fn variable(&self, name: &str) -> Result<Variable, String> {
        Ok(Variable::Input { name: name.to_owned(), affinity: Affinity::None })
    }
}

/// Names in the value of an added column.
pub(crate) struct RowNames<'a>(pub(crate) &'a TableSchema);

impl Names for RowNames<'_> {
    fn variable(&self, name: &str) -> Result<Variable, String> {
        if let Some(column) = self.0.columns.iter().find(|column| column.name == name) {
            return Ok(Variable::Input { name: name.to_owned(), affinity: affinity(&column.sql_type) });
        }
        let upper = name.to_ascii_uppercase();
        if upper == "AR_H_OPERATION" {
            return Ok(Variable::Operation);
        }
        if let Some(header) = HEADERS.iter().find(|header| header[1..] == upper) {
            return Ok(Variable::Input { name: (*header).to_owned(), affinity: Affinity::Text });
        }
        if upper == "AR_H_USER" {
            return Err("the logs of PostgreSQL, MySQL and MariaDB do not tell who made a change".to_owned());
        }
        metadata(&upper, self.0, None).unwrap_or_else(|| {
            let alike = self.0.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
            let table = format!("{}.{}", self.0.namespace, self.0.name);
            Err(match alike {
                Some(column) => format!("table \"{table}\" has no column \"{name}\", but one \"{}\"", column.name),
                None if upper.starts_with("AR_") => UNKNOWN.to_owned(),
                None => format!("table \"{table}\" has no column \"{name}\""),
            })
        })
    }
}

/// Names in the new name of a schema, table or column.
pub(crate) struct ObjectNames<'a> {
    pub(crate) schema: &'a TableSchema,
    pub(crate) column: Option<&'a ColumnSchema>,
}

impl Names for ObjectNames<'_> {
    fn variable(&self, name: &str) -> Result<Variable, String> {
        metadata(&name.to_ascii_uppercase(), self.schema, self.column).unwrap_or_else(|| {
            Err(format!(
                "\"${name}\" is no variable that a name can be made of; those are $AR_M_SOURCE_SCHEMA, $AR_M_SOURCE_TABLE_NAME and, \
                         for a column, $AR_M_SOURCE_COLUMN_NAME and $AR_M_SOURCE_COLUMN_DATATYPE"
            ))
        })
    }
}

/// `None` for what is no metadata variable. The short forms are those that rules of Qlik Replicate have.
fn metadata(upper: &str, schema: &TableSchema, column: Option<&ColumnSchema>) -> Option<Result<Variable, String>> {
    let of_column = |value: &dyn Fn(&ColumnSchema) -> String| match column {
        Some(column) => Ok(Variable::Text(value(column))),
        None => Err("only a rule that renames columns is about one source column".to_owned()),
    };
    Some(match upper {
        "AR_M_SOURCE_SCHEMA" | "SCHEMA_NAME_VAR" => Ok(Variable::Text(schema.namespace.clone())),
        "AR_M_SOURCE_TABLE_NAME" | "TABLE_NAME_VAR" => Ok(Variable::Text(schema.name.clone())),
        "AR_M_SOURCE_COLUMN_NAME" | "COLUMN_NAME_VAR" => of_column(&|column| column.name.clone()),
        "AR_M_SOURCE_COLUMN_DATATYPE" => of_column(&|column| dms_name(&column.sql_type).to_owned()),
        _ => return None,
    })
}

/// How a column takes part in comparisons: as SQLite would have it by a column of such a type.
fn affinity(sql_type: &SqlType) -> Affinity {
    use ScalarType as T;
    let SqlType::Scalar(scalar) = sql_type else { return Affinity::Text };
    match scalar {
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Uint8 | T::Uint16 | T::Uint32 | T::Uint64 => Affinity::Integer,
        T::Float32 | T::Float64 => Affinity::Real,
        T::Decimal(_) => Affinity::Numeric,
        T::Bytes(_) | T::Bits(_) => Affinity::Blob,
        T::Text(_) | T::Interval | T::Json | T::Enumeration(_) | T::SetOf(_) | T::Other(_) | T::Uuid => Affinity::Text,
        T::Date | T::Time | T::Timestamp | T::TimestampTz => Affinity::Text,
    }
}
