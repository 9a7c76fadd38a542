//! Tables of the target as SQL.
//!
//! A PostgreSQL source's column keeps its native type when the target knows it; an enumeration that the target does not
//! know is created in the table's schema; a domain, composite or extension type that it does not know becomes the type
//! below it or text. Everything else follows the connectors' table of types.

use tidegate_connector::types::{Spelling, Typed, choose};
use tidegate_connector::{ColumnOrigin, ConnectorError, Dialect, TargetTable};
use tidegate_model::{Column, Engine, SqlType};
use tokio_postgres::GenericClient;

use super::session::table_error;

/// Creates the table, the schema and the enumerations that it needs, inside the caller's transaction.
pub(crate) async fn create_table(client: &impl GenericClient, table: &TargetTable) -> Result<(), ConnectorError> {
    create_schema(client, &table.name.schema, table).await?;
    let mut types = Vec::with_capacity(table.columns.len());
    for index in 0..table.columns.len() {
        types.push(column_type(client, table, index).await?);
    }
    let attempted = format!("create table \"{}\"", table.name);
    let [whole, unnamed, plain] = [Rich::Whole, Rich::ButKeyName, Rich::Not].map(|rich| create_sql(table, &types, rich));
    let failed = |error| table_error(&table.source.schema.name, &attempted, error);
    let mut rich = vec![whole, unnamed];
    rich.dedup();
    for rich in rich.iter().filter(|rich| **rich != plain) {
        client.batch_execute("savepoint rich").await.map_err(failed)?;
        if client.batch_execute(rich).await.is_ok() {
            return Ok(());
        }
        // Whatever it refuses is tried again one by one after the load, and listed with its reason.
        client.batch_execute("rollback to savepoint rich").await.map_err(failed)?;
    }
    run(client, table, &attempted, &plain).await
}

/// What a table is created with besides its columns and its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rich {
    /// The source's name of the key, its collations and its generated columns, which must stand in their places before there are rows.
    Whole,
    /// All but the name of the key: it is one of the schema's names, and where tables exchange theirs at the source keys keep their own.
    ButKeyName,
    Not,
}

pub(crate) fn create_sql(table: &TargetTable, types: &[String], rich: Rich) -> String {
    let (rich, has_key_name) = (rich != Rich::Not, rich == Rich::Whole);
    let name = |text: &str| Dialect::POSTGRES.identifier(text);
    let objects = &table.objects.wanted;
    let behind = |after: Option<&str>| {
        let here = objects.columns.iter().filter(|_| rich).filter_map(|column| Some((&column.column, column.generated.as_ref()?)));
        let here = here.filter(move |(_, generated)| generated.after.as_deref() == after);
        here.map(|(column, generated)| {
            let kept = if generated.stored { "stored" } else { "virtual" };
            format!("{} {} generated always as ({}) {kept}", name(column), generated.native_type, generated.expression)
        })
        .collect::<Vec<_>>()
    };
    let mut columns = behind(None);
    for (index, column) in table.columns.iter().enumerate() {
        let not_null = if column.nullable && !table.primary_key.contains(&index) { "" } else { " not null" };
        let collation = objects.columns.iter().filter(|_| rich).find(|found| found.column == column.name && found.generated.is_none());
        let collation = collation.and_then(|found| found.collation.as_ref()).map(|name| format!(" collate {name}")).unwrap_or_default();
        columns.push(format!("{} {}{collation}{not_null}", name(&column.name), types[index]));
        columns.extend(behind(Some(&column.name)));
    }
    if !table.primary_key.is_empty() {
        let key = table.primary_key.iter().filter_map(|index| table.columns.get(*index)).map(|column| column.name.as_str());
        let constraint = objects.primary_key_name.as_ref().filter(|_| has_key_name).map(|key| format!("constraint {} ", name(key)));
        columns.push(format!("{}primary key ({})", constraint.unwrap_or_default(), Dialect::POSTGRES.identifiers(key)));
    }
    format!("create table {} ({})", Dialect::POSTGRES.table(&table.name), columns.join(", "))
}

pub(crate) async fn create_schema(client: &impl GenericClient, schema: &str, table: &TargetTable) -> Result<(), ConnectorError> {
    let attempted = format!("create schema \"{schema}\"");
    let failed = |error| table_error(&table.source.schema.name, &attempted, error);
    let found = client.query_opt("select 1 from pg_namespace where nspname = $1", &[&schema]).await.map_err(failed)?;
    if found.is_some() {
        return Ok(());
    }
    run(client, table, &attempted, &format!("create schema {}", Dialect::POSTGRES.identifier(schema))).await
}

/// The type of a column of a table that is to be created.
pub(crate) enum Wanted<'a> {
    /// By the table of types.
    Neutral(String),
    /// That of this column of a PostgreSQL source, if the target knows it.
    Native(&'a Column),
}

pub(crate) fn wanted_type(table: &TargetTable, index: usize) -> Wanted<'_> {
    let wanted = &table.columns[index];
    let engine = table.source.schema.engine;
    let source = match wanted.origin {
        ColumnOrigin::Source(at) => table.source.schema.columns.get(at).filter(|column| column.sql_type == wanted.sql_type),
        ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => None,
    };
    match source {
        None => Wanted::Neutral(neutral_type(&wanted.sql_type, engine, "")),
        Some(source) if engine != Engine::Postgres => Wanted::Neutral(neutral_type(&source.sql_type, engine, &source.native_type)),
        Some(source) => Wanted::Native(source),
    }
}

pub(crate) async fn column_type(client: &impl GenericClient, table: &TargetTable, index: usize) -> Result<String, ConnectorError> {
    let engine = table.source.schema.engine;
    let source = match wanted_type(table, index) {
        Wanted::Neutral(text) => return Ok(text),
        Wanted::Native(source) => source,
    };
    let attempted = format!("find the type of column \"{}\"", table.columns[index].name);
    let failed = |error| table_error(&table.source.schema.name, &attempted, error);
    let row = client.query_one("select to_regtype($1) is not null", &[&source.native_type]).await.map_err(failed)?;
    if row.get(0) {
        return Ok(source.native_type.clone());
    }
    match &source.sql_type {
        SqlType::Enumeration(labels) => create_enumeration(client, table, source, labels).await,
        SqlType::Array(element) => match &**element {
            SqlType::Enumeration(labels) => Ok(create_enumeration(client, table, source, labels).await? + "[]"),
            // An array of a domain becomes an array of the type below it.
            element => Ok(array_type(element).unwrap_or_else(|| neutral_type(&source.sql_type, engine, ""))),
        },
        other => Ok(neutral_type(other, engine, "")),
    }
}

/// The array of a PostgreSQL source's elements; `None` for elements that are arrays or nothing that is known by name.
pub(crate) fn array_type(element: &SqlType) -> Option<String> {
    let is_simple = !matches!(element, SqlType::Array(_) | SqlType::Other(_) | SqlType::Enumeration(_) | SqlType::Json);
    is_simple.then(|| neutral_type(element, Engine::Postgres, "") + "[]")
}

/// Creates the source's enumeration in the table's schema when it is not there; its labels are compared when the
/// table's plan is made.
async fn create_enumeration(
    client: &impl GenericClient,
    table: &TargetTable,
    column: &Column,
    labels: &[String],
) -> Result<String, ConnectorError> {
    let native = type_name(&column.native_type);
    let name = native.strip_suffix("[]").filter(|_| matches!(column.sql_type, SqlType::Array(_))).unwrap_or(&native);
    let type_sql = format!("{}.{}", Dialect::POSTGRES.identifier(&table.name.schema), Dialect::POSTGRES.identifier(name));
    let attempted = format!("create type {type_sql}");
    let failed = |error| table_error(&table.source.schema.name, &attempted, error);
    let found = client.query_one("select to_regtype($1) is not null", &[&type_sql]).await.map_err(failed)?;
    if !found.get::<_, bool>(0) {
        let labels: Vec<String> = labels.iter().map(|label| Dialect::POSTGRES.literal(label)).collect();
        run(client, table, &attempted, &format!("create type {type_sql} as enum ({})", labels.join(", "))).await?;
    }
    Ok(type_sql)
}

/// The last part of a possibly qualified, possibly quoted type name, without quotes.
fn type_name(native: &str) -> String {
    let (mut name, mut in_quotes, mut letters) = (String::new(), false, native.chars().peekable());
    while let Some(letter) = letters.next() {
        match letter {
            '"' if in_quotes && letters.peek() == Some(&'"') => {
                letters.next();
                name.push('"');
            }
            '"' => in_quotes = !in_quotes,
            '.' if !in_quotes => name.clear(),
            _ => name.push(letter),
        }
    }
    name
}

/// The type for values of a normalised type by the table of types, given the source's engine and, for lengths and
/// precisions, its own spelling of the column's type (empty for computed columns, and for types that the target lacks).
pub(crate) fn neutral_type(sql_type: &SqlType, source: Engine, native: &str) -> String {
    let column = Typed { source, target: Engine::Postgres, sql_type, native, in_key: false };
    let rule = choose(&column).expect("every kind of type has a rule for PostgreSQL, which a test of the table shows");
    rule.spell(&column, &Spelling::default())
}

pub(crate) async fn run(client: &impl GenericClient, table: &TargetTable, attempted: &str, sql: &str) -> Result<(), ConnectorError> {
    client.batch_execute(sql).await.map_err(|error| table_error(&table.source.schema.name, attempted, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enumerations_keep_their_names() {
        assert_eq!(type_name("mood"), "mood");
        assert_eq!(type_name(r#"shop."Odd.""Type""#), r#"Odd."Type"#);
    }
}
