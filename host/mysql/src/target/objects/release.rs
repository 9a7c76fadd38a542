//! Takes away what stands in the way of a load: foreign keys of and to tables that are made anew or emptied, and what this
//! task built on an emptied table and a load cannot stand, or a changed definition may not have any more.

use std::collections::HashSet;
use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Error, ServerError};
use tidegate_connector::{ConnectorError, Dialect, TablePreparation, TargetTable};
use tidegate_model::{Engine, Fence, TableName, TaskId};

use super::kind::Kind;
use super::records::{built, forget, place};
use crate::connect::{rows, run};
use crate::fault::driver;
use crate::target::control;
use crate::target::session::Server;

/// It is not there, or neither is its table.
const MISSING: [u16; 3] = [1091, 1146, 1176];

/// A foreign key needs the index: one that somebody else made.
const NEEDED: u16 = 1553;

/// A foreign key from one table to another, by the server's names.
struct Reference {
    from: TableName,
    to: TableName,
    name: String,
}

/// Foreign keys that the task built, as the server writes their tables. None where the task is not known.
pub(crate) async fn built_keys(server: &mut Server, task: &TaskId) -> Result<HashSet<(TableName, String)>, ConnectorError> {
    if control::known_task(server, task).await?.is_none() {
        return Ok(HashSet::new());
    }
    let found = built(server, task, &[Kind::ForeignKey.text()]).await?;
    Ok(found.into_iter().map(|(table, _, _, made)| (server.facts().folded(&table), made)).collect())
}

/// See `Target::release_tables`. The caller holds the fence.
pub(crate) async fn release(
    server: &mut Server,
    fence: &Fence,
    tables: &[(Arc<TargetTable>, TablePreparation)],
) -> Result<(), ConnectorError> {
    let of = |wanted: &[TablePreparation]| -> Vec<TableName> {
        tables.iter().filter(|(_, preparation)| wanted.contains(preparation)).map(|(table, _)| server.facts().folded(&table.name)).collect()
    };
    let dropped = of(&[TablePreparation::DropAndCreate]);
    let emptied = of(&[TablePreparation::Truncate, TablePreparation::Fit]);
    let fitted = of(&[TablePreparation::Fit]);
    for reference in references(server, &dropped).await? {
        if dropped.contains(&reference.from) && dropped.contains(&reference.to) {
            drop_object(server, &reference.from, "foreign key", &reference.name).await?;
        }
    }
    if dropped.is_empty() && emptied.is_empty() {
        return Ok(());
    }
    let all = references(server, &[dropped.as_slice(), emptied.as_slice()].concat()).await?;
    // Keys go first: they may stand on a unique index. A condition may be another one with a changed definition, or none.
    let (key, check) = (Kind::ForeignKey.text(), Kind::Check.text());
    for (table, kind, name, made) in built(server, &fence.task, &[key, Kind::Unique.text(), check]).await? {
        let folded = server.facts().folded(&table);
        let refers = kind == key && all.iter().any(|reference| reference.from == folded && reference.name == made);
        let goes = if kind == check { fitted.contains(&folded) } else { refers || emptied.contains(&folded) };
        if !goes {
            continue;
        }
        let word = if kind == key {
            "foreign key"
        } else if kind != check {
            "index"
        } else if server.facts().engine == Engine::Mariadb {
            "constraint"
        } else {
            "check"
        };
        if drop_object(server, &table, word, &made).await? {
            forget(server, fence, &table, &kind, &name).await?;
        }
    }
    Ok(())
}

/// True when it is gone; false when somebody else's foreign key needs it.
async fn drop_object(server: &mut Server, table: &TableName, word: &str, name: &str) -> Result<bool, ConnectorError> {
    let sql = format!("alter table {} drop {word} {}", Dialect::MYSQL.table(table), Dialect::MYSQL.identifier(name));
    match server.conn.query_drop(&sql).await {
        Ok(()) => Ok(true),
        Err(Error::Server(ServerError { code, .. })) if MISSING.contains(&code) => Ok(true),
        Err(Error::Server(ServerError { code: NEEDED, .. })) => Ok(false),
        Err(error) => Err(driver(&format!("drop {word} \"{name}\" of table \"{table}\""), error)),
    }
}

/// Foreign keys from or to these tables.
async fn references(server: &mut Server, tables: &[TableName]) -> Result<Vec<Reference>, ConnectorError> {
    if tables.is_empty() {
        return Ok(Vec::new());
    }
    let literal = |text: &str| Dialect::MYSQL.literal(text);
    let list: Vec<String> = tables.iter().map(|table| format!("({}, {})", literal(&table.schema), literal(&table.name))).collect();
    let list = list.join(", ");
    let sql = format!(
        "select distinct table_schema, table_name, constraint_name, referenced_table_schema, referenced_table_name \
         from information_schema.key_column_usage where referenced_table_name is not null \
         and ((referenced_table_schema, referenced_table_name) in ({list}) or (table_schema, table_name) in ({list}))"
    );
    let found: Vec<(String, String, String, String, String)> = rows(&mut server.conn, "look for foreign keys", &sql).await?;
    let reference = |(schema, table, name, to_schema, to): (String, String, String, String, String)| Reference {
        from: TableName::new(schema, table),
        to: TableName::new(to_schema, to),
        name,
    };
    Ok(found.into_iter().map(reference).collect())
}

/// Forgets the pieces of columns whose definition was changed, so that the next build makes them again.
pub(crate) async fn forget_pieces(server: &mut Server, fence: &Fence, table: &TableName) -> Result<(), ConnectorError> {
    let kinds = [Kind::Attribute, Kind::Counter, Kind::Default, Kind::Comment, Kind::Generated];
    let kinds: Vec<String> = kinds.iter().map(|kind| Dialect::MYSQL.literal(kind.text())).collect();
    let sql = format!("delete from tidegate.object where {} and state = 'built' and kind in ({})", place(fence, table), kinds.join(", "));
    run(&mut server.conn, "forget what was built", &sql).await
}
