//! The table of a test: described by the tenant, or found out from rows.
//!
//! ```json
//! {"schema": "shop", "name": "orders", "primary_key": ["id"],
//!  "columns": [{"name": "id", "type": "int64", "nullable": false}, {"name": "total", "type": "decimal(10,2)"}]}
//! ```
//!
//! Every key may be left out. Without `columns`, each column is what its first value that is not null looks like: a
//! whole number is `int64`, another number `float64`, `true` is `boolean`, objects and arrays are `json`, everything
//! else is `text`; the key is `id`, if there is such a column without a null.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{BeforeImages, Column, Engine, SqlType, TableName, TableSchema, Value};

use super::{sql_type, value};
use crate::exit::Failure;

/// Rows of a test; more than a screen or two nobody reads.
pub(crate) const ROWS_MAX: usize = 1_000;
/// Columns of a described table, as many as PostgreSQL allows.
const COLUMNS_MAX: usize = 1_600;

/// A table and rows of it.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) schema: TableSchema,
    /// One value for each column, or why the row cannot be read.
    pub(crate) rows: Vec<Result<Vec<Value<'static>>, String>>,
}

/// As the tenant writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    schema: Option<String>,
    name: Option<String>,
    source: Option<String>,
    columns: Option<Vec<Described>>,
    primary_key: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    r#type: String,
    #[serde(default = "yes")]
    nullable: bool,
}

fn yes() -> bool {
    true
}

/// A column as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ShownColumn {
    name: String,
    r#type: String,
    nullable: bool,
}

impl ShownColumn {
    pub(super) fn new(name: &str, sql_type: &SqlType, nullable: bool) -> Self {
        Self { name: name.to_owned(), r#type: sql_type::spell(sql_type), nullable }
    }
}

/// A table from its description (or null) and rows.
///
/// # Errors
/// A usage failure that names what is wrong; values are not repeated.
pub(crate) fn given(table: &Json, rows: &Json) -> Result<Sample, Failure> {
    let rows = rows.as_array().ok_or_else(|| wrong("the rows are no array, wanted an array of objects"))?;
    if rows.len() > ROWS_MAX {
        return Err(wrong(&format!("{} rows, wanted at most {ROWS_MAX}", rows.len())));
    }
    let objects: Option<Vec<&Map<String, Json>>> = rows.iter().map(Json::as_object).collect();
    let rows = objects.ok_or_else(|| wrong("a row is no object, wanted {\"column\": value, …}"))?;
    let description = if table.is_null() { Description::default() } else { described(table)? };
    let schema = schema(description, &rows)?;
    let values = rows.iter().enumerate().map(|(index, row)| read_row(&schema, index, row)).collect::<Result<_, _>>()?;
    Ok(Sample { schema, rows: values })
}

fn wrong(message: &str) -> Failure {
    Failure::usage("test_rows", message)
}

fn described(table: &Json) -> Result<Description, Failure> {
    serde_json::from_value(table.clone()).map_err(|error| {
        // serde quotes what it found; keys are harmless, and here is no place for secrets.
        wrong(&format!("the table's description: {error}"))
            .hint(r#"{"schema": "shop", "name": "orders", "columns": [{"name": "id", "type": "int64", "nullable": false}], "primary_key": ["id"]}"#)
    })
}

fn schema(description: Description, rows: &[&Map<String, Json>]) -> Result<TableSchema, Failure> {
    let engine = match description.source.as_deref() {
        None => Engine::Postgres,
        Some(name) => engine(name).ok_or_else(|| wrong("\"source\" of the table is none of postgres, mysql, mariadb"))?,
    };
    let columns = match description.columns {
        Some(columns) => columns.into_iter().map(column).collect::<Result<Vec<_>, _>>()?,
        None => inferred(rows),
    };
    if columns.is_empty() || columns.len() > COLUMNS_MAX {
        return Err(wrong(&format!("the table has {} columns, wanted 1 to {COLUMNS_MAX}", columns.len())));
    }
    let place = |name: &String| {
        let found = columns.iter().position(|column| column.name == *name);
        found.ok_or_else(|| wrong(&format!("the key column \"{name}\" is none of the table's columns")))
    };
    let primary_key = match description.primary_key {
        Some(names) => names.iter().map(place).collect::<Result<Vec<_>, _>>()?,
        None => columns.iter().position(|column| column.name == "id" && !column.nullable).into_iter().collect(),
    };
    let identity = if primary_key.is_empty() { (0..columns.len()).collect() } else { primary_key.clone() };
    Ok(TableSchema {
        name: TableName::new(
            description.schema.unwrap_or_else(|| "public".to_owned()),
            description.name.unwrap_or_else(|| "rows".to_owned()),
        ),
        engine,
        columns,
        primary_key,
        unique_keys: Vec::new(),
        identity,
        before_images: BeforeImages::Full,
        encoding: RowEncoding::Neutral,
        version: 1,
    })
}

/// A kind of database by its name.
pub(crate) fn engine(name: &str) -> Option<Engine> {
    [Engine::Postgres, Engine::Mysql, Engine::Mariadb].into_iter().find(|engine| engine.as_str() == name)
}

fn column(described: Described) -> Result<Column, Failure> {
    let sql_type = sql_type::parse(&described.r#type).ok_or_else(|| {
        wrong(&format!("column \"{}\" has the type \"{}\", which does not exist", described.name, described.r#type))
            .hint("types are spelt like int64, decimal(10,2), text, text(64), timestamp, enumeration([\"a\",\"b\"])")
    })?;
    Ok(Column {
        name: described.name,
        sql_type,
        native_type: described.r#type,
        collation: None,
        nullable: described.nullable,
        generated: false,
    })
}

fn inferred(rows: &[&Map<String, Json>]) -> Vec<Column> {
    let mut columns: Vec<Column> = Vec::new();
    for name in rows.iter().flat_map(|row| row.keys()) {
        if columns.iter().any(|column| column.name == *name) {
            continue;
        }
        let values = || rows.iter().map(|row| row.get(name).unwrap_or(&Json::Null));
        let sql_type = values().find(|value| !value.is_null()).map_or(SqlType::Text { chars_max: None }, looks_like);
        // A column of whole and other numbers is one of numbers.
        let sql_type = if sql_type == SqlType::Int64 && values().any(Json::is_f64) { SqlType::Float64 } else { sql_type };
        let nullable = name != "id" || values().any(Json::is_null);
        columns.push(Column {
            name: name.clone(),
            native_type: sql_type::spell(&sql_type),
            sql_type,
            collation: None,
            nullable,
            generated: false,
        });
    }
    columns
}

fn looks_like(value: &Json) -> SqlType {
    match value {
        Json::Bool(_) => SqlType::Boolean,
        Json::Number(number) if number.is_f64() => SqlType::Float64,
        Json::Number(number) if number.is_u64() && !number.is_i64() => SqlType::UInt64,
        Json::Number(_) => SqlType::Int64,
        Json::Array(_) | Json::Object(_) => SqlType::Json,
        Json::Null | Json::String(_) => SqlType::Text { chars_max: None },
    }
}

/// Keys that are not there are NULL.
fn read_row(schema: &TableSchema, index: usize, row: &Map<String, Json>) -> Result<Result<Vec<Value<'static>>, String>, Failure> {
    if let Some(unknown) = row.keys().find(|name| schema.column_index(name).is_none()) {
        return Err(wrong(&format!("row {index} has the key \"{unknown}\", which is none of the table's columns")));
    }
    let values = schema.columns.iter().map(|column| {
        let found = row.get(&column.name).unwrap_or(&Json::Null);
        if found.is_null() && !column.nullable {
            return Err(wrong(&format!("row {index}: column \"{}\" is not nullable, and has no value", column.name)));
        }
        value::from_json(&column.sql_type, found).map_err(|wanted| {
            wrong(&format!(
                "row {index}: the value of column \"{}\" is not of type {}, wanted {wanted}",
                column.name,
                sql_type::spell(&column.sql_type)
            ))
        })
    });
    Ok(Ok(values.collect::<Result<Vec<_>, _>>()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_found_out_from_rows() {
        let rows = json!([{"id": 1, "a": null, "b": 1, "c": {"x": 1}}, {"id": 2, "a": "x", "b": 1.5, "d": true}]);
        let sample = given(&Json::Null, &rows).unwrap();
        let types: Vec<_> = sample.schema.columns.iter().map(|column| (column.name.as_str(), sql_type::spell(&column.sql_type))).collect();
        // A JSON object has no order; keys come as they sort, those of later rows behind.
        let wanted = [("a", "text"), ("b", "float64"), ("c", "json"), ("id", "int64"), ("d", "boolean")];
        assert_eq!(types, wanted.map(|(name, spelling)| (name, spelling.to_owned())));
        assert_eq!(sample.schema.primary_key, [3]);
        assert_eq!(sample.rows[0].as_ref().unwrap()[4], Value::Null);
    }

    #[test]
    fn a_description_or_row_that_does_not_fit_is_named_without_its_values() {
        let columns = |columns: Json| json!({"columns": columns});
        let id = json!({"name": "id", "type": "int64", "nullable": false});
        let cases = [
            (Json::Null, json!({}), "no array"),
            (Json::Null, json!([1]), "no object"),
            (Json::Null, json!([]), "0 columns"),
            (json!({"kolumns": []}), json!([]), "unknown field `kolumns`"),
            (columns(json!([{"name": "a", "type": "integer"}])), json!([]), "type \"integer\""),
            (json!({"primary_key": ["x"]}), json!([{"id": 1}]), "key column \"x\""),
            (columns(json!([id])), json!([{"id": "secret"}]), "row 0: the value of column \"id\" is not of type int64"),
            (columns(json!([id])), json!([{"id": null}]), "not nullable"),
            (columns(json!([id])), json!([{"id": 1, "b": 2}]), "the key \"b\""),
            (json!({"source": "oracle"}), json!([{"id": 1}]), "postgres, mysql, mariadb"),
        ];
        for (table, rows, wanted) in cases {
            let failure = given(&table, &rows).unwrap_err();
            assert!(failure.message.contains(wanted) && !failure.message.contains("secret"), "{}", failure.message);
        }
    }
}
