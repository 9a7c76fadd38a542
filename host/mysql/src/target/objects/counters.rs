//! Moves AUTO_INCREMENTs to where the source's counters stand, and behind every value in their columns; never back.

use std::sync::Arc;

use mysql_async::prelude::Queryable;
use mysql_async::{Error, ServerError};
use tidegate_connector::{ConnectorError, CountersSet, Dialect, Finding, TargetTable};
use tidegate_model::Engine;

use super::columns::counts;
use crate::connect::{row, rows, run};
use crate::fault::driver;
use crate::target::session::Server;

const WHAT: &str = "move an AUTO_INCREMENT";

/// See `Target::set_counters`. The caller holds the fence.
pub(crate) async fn set_counters(server: &mut Server, tables: &[Arc<TargetTable>]) -> Result<CountersSet, ConnectorError> {
    if server.facts().engine == Engine::Mysql {
        // Otherwise the position is what it was up to a day ago.
        run(&mut server.conn, WHAT, "set session information_schema_stats_expiry = 0").await?;
    }
    let mut all = CountersSet::default();
    for table in tables {
        match set(server, table).await? {
            Moved::Yes => all.moved += 1,
            Moved::No => {}
            Moved::Refused(finding) => all.refused.push(finding),
        }
    }
    Ok(all)
}

enum Moved {
    Yes,
    /// It stands where it must.
    No,
    Refused(Finding),
}

async fn set(server: &mut Server, table: &TargetTable) -> Result<Moved, ConnectorError> {
    let folded = server.facts().folded(&table.name);
    let place =
        format!("table_schema = {} and table_name = {}", Dialect::MYSQL.literal(&folded.schema), Dialect::MYSQL.literal(&folded.name));
    let sql = format!("select column_name from information_schema.columns where {place} and extra like '%auto_increment%'");
    let counted: Vec<String> = rows(&mut server.conn, WHAT, &sql).await?;
    let Some(counted) = counted.into_iter().next() else { return Ok(Moved::No) };
    let wanted = table.objects.wanted.columns.iter().find(|column| column.column == counted);
    let Some(sequence) = wanted.and_then(|column| counts(table, column)).filter(|sequence| sequence.increment > 0 && !sequence.cycle)
    else {
        return Ok(Moved::No);
    };
    let sql = format!("select coalesce(max(auto_increment), 1) from information_schema.tables where {place}");
    let now: u64 = row(&mut server.conn, WHAT, &sql).await?;
    let (name, column) = (Dialect::MYSQL.table(&table.name), Dialect::MYSQL.identifier(&counted));
    // An index leads with it, so this reads one row. Updates move no AUTO_INCREMENT.
    let greatest: Option<i128> = row::<Option<String>>(&mut server.conn, WHAT, &format!("select cast(max({column}) as char) from {name}"))
        .await?
        .and_then(|text| text.parse().ok());
    let given = sequence
        .position
        .map_or(0, |position| i128::from(position.value) + if position.is_called { i128::from(sequence.increment) } else { 0 });
    let next = given.max(greatest.map_or(0, |greatest| greatest + 1));
    if next <= i128::from(now) || u64::try_from(next).is_err() {
        return Ok(Moved::No);
    }
    match server.conn.query_drop(format!("alter table {name} auto_increment = {next}")).await {
        Ok(()) => Ok(Moved::Yes),
        // The rows are right without it.
        Err(Error::Server(ServerError { code: 1142 | 1044 | 1227, .. })) => {
            let object = format!("AUTO_INCREMENT of table \"{}\"", table.name);
            let finding = Finding::warning("missing_privilege", object, "a user without ALTER, so that it is not moved on", "ALTER");
            Ok(Moved::Refused(finding.fix(format!("alter table {name} auto_increment = {next}"))))
        }
        Err(error) => Err(driver(WHAT, error)),
    }
}
