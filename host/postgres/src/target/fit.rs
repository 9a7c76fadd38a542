//! Makes an emptied table fit a definition that changed: what is missing is added, what is too narrow widened.
//!
//! The target's own decisions stay: other types that hold the values, more columns, names of constraints.

use tidegate_connector::{ConnectorError, Dialect, TargetTable};
use tokio_postgres::GenericClient;

use super::ddl::{column_type, run};
use super::real::RealTable;
use crate::connect::pg_error;

/// Fits the columns of a table without rows, inside the caller's transaction.
pub(crate) async fn fit_columns(client: &impl GenericClient, table: &TargetTable, real: &RealTable) -> Result<(), ConnectorError> {
    let quoted = |name: &str| Dialect::POSTGRES.identifier(name);
    let mut actions = Vec::new();
    for (index, wanted) in table.columns.iter().enumerate() {
        let not_null = !wanted.nullable || table.primary_key.contains(&index);
        let type_sql = column_type(client, table, index).await?;
        match real.columns.iter().find(|column| column.name == wanted.name) {
            None => actions.push(format!("add column {} {type_sql}{}", quoted(&wanted.name), if not_null { " not null" } else { "" })),
            Some(found) => {
                if is_wider(&type_sql, &found.native_full) {
                    actions.push(format!("alter column {} type {type_sql}", quoted(&wanted.name)));
                }
                if found.not_null && !not_null && !found.is_identity {
                    actions.push(format!("alter column {} drop not null", quoted(&wanted.name)));
                }
            }
        }
    }
    let extra = real.columns.iter().filter(|found| table.columns.iter().all(|wanted| wanted.name != found.name));
    for found in extra.filter(|found| found.not_null && !found.has_default && !found.is_identity && !found.is_generated) {
        actions.push(format!("alter column {} drop not null", quoted(&found.name)));
    }
    if actions.is_empty() {
        return Ok(());
    }
    let sql = format!("alter table {} {}", Dialect::POSTGRES.table(&table.name), actions.join(", "));
    run(client, table, &format!("fit table \"{}\" to its changed definition", table.name), &sql).await
}

/// The first column whose type is not that which a new table would give it, in words.
pub(crate) async fn other_type(
    client: &impl GenericClient,
    table: &TargetTable,
    real: &RealTable,
) -> Result<Option<String>, ConnectorError> {
    let mut columns = Vec::with_capacity(table.columns.len());
    for index in 0..table.columns.len() {
        columns.push(format!("c{index} {}", column_type(client, table, index).await?));
    }
    // The server writes each type in one way only, and says so of columns.
    let attempted = format!("compare the types of table \"{}\"", table.name);
    run(client, table, &attempted, &format!("create temporary table tidegate_wanted ({})", columns.join(", "))).await?;
    let sql = "select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'pg_temp.tidegate_wanted'::regclass and attnum > 0 order by attnum";
    let rows = client.query(sql, &[]).await.map_err(|error| pg_error(&attempted, error))?;
    run(client, table, &attempted, "drop table pg_temp.tidegate_wanted").await?;
    let found = table.columns.iter().zip(&rows).find_map(|(wanted, row)| {
        let (type_sql, found) = (row.get::<_, String>(0), real.columns.iter().find(|column| column.name == wanted.name)?);
        (found.native_full != type_sql).then(|| format!("column \"{}\" is {}, wanted {type_sql}", wanted.name, found.native_full))
    });
    Ok(found)
}

/// True when a type of the same family holds values that the other does not.
fn is_wider(wanted: &str, found: &str) -> bool {
    const FAMILIES: [&[&str]; 2] = [&["smallint", "integer", "bigint"], &["real", "double precision"]];
    let step = |family: &[&str], name: &str| family.iter().position(|member| *member == name);
    if FAMILIES.iter().any(|family| step(family, wanted).zip(step(family, found)).is_some_and(|(wanted, found)| wanted > found)) {
        return true;
    }
    let length = |text: &str| text.strip_prefix("character varying(").and_then(|rest| rest.strip_suffix(')')?.parse::<u32>().ok());
    match (length(wanted), length(found)) {
        (Some(wanted), Some(found)) => wanted > found,
        (None, Some(_)) => matches!(wanted, "text" | "character varying"),
        _ => found.starts_with("numeric(") && wanted.starts_with("numeric") && wanted != found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_widened_within_their_family_alone() {
        let cases = [
            ("bigint", "integer", true),
            ("integer", "bigint", false),
            ("text", "integer", false),
            ("character varying(20)", "character varying(10)", true),
            ("character varying(5)", "character varying(10)", false),
            ("text", "character varying(10)", true),
            ("numeric(12,2)", "numeric(10,2)", true),
            ("numeric", "numeric(10,2)", true),
            ("numeric(10,2)", "numeric", false),
            ("double precision", "real", true),
        ];
        for (wanted, found, wider) in cases {
            assert_eq!(is_wider(wanted, found), wider, "{found} to {wanted}");
        }
    }
}
