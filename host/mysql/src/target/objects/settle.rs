//! Pieces of columns: made with the table where the server takes them together, else one by one.

use tidegate_connector::{BuildStage, ConnectorError, Dialect, Finding, TargetTable};
use tidegate_model::Fence;

use super::attempt::attempt;
use super::columns::{Piece, column_sql, pieces};
use super::finding;
use super::kind::Kind;
use super::records::{Records, State, note, note_created};
use super::sql::later_counters;
use crate::target::ddl;
use crate::target::real::{RealTable, read_real};
use crate::target::session::Server;

/// Creates the table with everything that belongs to its columns, as far as the server takes it.
pub(crate) async fn create(server: &mut Server, fence: &Fence, table: &TargetTable) -> Result<(), ConnectorError> {
    let types = ddl::column_types(table, server.facts())?;
    let all: Vec<Vec<Piece>> = types.iter().enumerate().map(|(index, sql)| pieces(table, index, sql, server.facts())).collect();
    note_created(server, fence, &table.name).await?;
    let chosen: Vec<Vec<(Kind, String)>> =
        all.iter().map(|pieces| pieces.iter().filter_map(|piece| Some((piece.kind, piece.attempts.first()?.clone()))).collect()).collect();
    if chosen.iter().all(Vec::is_empty) {
        ddl::execute_create(server, table, &ddl::create_sql(table, server.facts())?).await?;
        return note_lost(server, fence, table, &all).await;
    }
    let sql = ddl::create_sql_with(table, &types, &chosen, server.facts());
    if attempt(server, &sql, &format!("create table \"{}\"", table.name)).await?.is_none() {
        let made = |piece: &Piece| piece.attempts.first().cloned().map(State::Built);
        let states = all.iter().flatten().filter_map(|piece| Some((piece.kind.text(), piece.name.as_str(), made(piece)?)));
        let states: Vec<(&str, &str, State)> = states.collect();
        note(server, fence, &table.name, &states).await?;
        return note_lost(server, fence, table, &all).await;
    }
    ddl::execute_create(server, table, &ddl::create_sql(table, server.facts())?).await?;
    for (index, pieces) in all.iter().enumerate() {
        settle_column(server, fence, table, index, &types[index], pieces, Vec::new()).await?;
    }
    note_lost(server, fence, table, &all).await
}

/// What there was no way to try, to be told at the next build.
async fn note_lost(server: &mut Server, fence: &Fence, table: &TargetTable, all: &[Vec<Piece>]) -> Result<(), ConnectorError> {
    let lost = all.iter().flatten().filter(|piece| piece.attempts.is_empty());
    let states: Vec<(&str, &str, State)> =
        lost.map(|piece| (piece.kind.text(), piece.name.as_str(), State::Refused(piece.why_not.to_owned()))).collect();
    note(server, fence, &table.name, &states).await
}

/// Adds the pieces to a column one by one and notes what became of each. `kept` are pieces that it has.
async fn settle_column(
    server: &mut Server,
    fence: &Fence,
    table: &TargetTable,
    index: usize,
    type_sql: &str,
    pieces: &[Piece],
    mut kept: Vec<(Kind, String)>,
) -> Result<(), ConnectorError> {
    let column = &table.columns[index];
    let is_nullable = column.nullable && !table.primary_key.contains(&index);
    let (of_table, name) = (Dialect::MYSQL.table(&table.name), Dialect::MYSQL.identifier(&column.name));
    for piece in pieces.iter().filter(|piece| !piece.attempts.is_empty()) {
        let attempted = format!("build {} \"{}\" of table \"{}\"", piece.kind.text(), piece.name, table.name);
        let mut state = None;
        for text in &piece.attempts {
            let mut with = kept.clone();
            with.push((piece.kind, text.clone()));
            let definition = column_sql(type_sql, is_nullable, &with, server.facts());
            let sql = match piece.kind {
                // A plain column cannot become a virtual one.
                Kind::Generated => {
                    let place = match index.checked_sub(1) {
                        Some(before) => format!("after {}", Dialect::MYSQL.identifier(&table.columns[before].name)),
                        None => "first".to_owned(),
                    };
                    format!("alter table {of_table} drop column {name}, add column {name} {definition} {place}")
                }
                _ => format!("alter table {of_table} modify column {name} {definition}"),
            };
            match attempt(server, &sql, &attempted).await? {
                None => {
                    kept = with;
                    state = Some(State::Built(text.clone()));
                    break;
                }
                Some(reason) => state = state.or(Some(State::Refused(reason))),
            }
        }
        if let Some(state) = state {
            note(server, fence, &table.name, &[(piece.kind.text(), &piece.name, state)]).await?;
        }
    }
    Ok(())
}

/// Tells what was refused when the table was made, and makes pieces that no record knows: the process may have ended in
/// between, or the column was changed since. Returns whether a column changed.
pub(super) async fn settle(
    server: &mut Server,
    fence: &Fence,
    records: &Records,
    table: &TargetTable,
    findings: &mut Vec<Finding>,
) -> Result<bool, ConnectorError> {
    let types = ddl::column_types(table, server.facts())?;
    let mut real: Option<RealTable> = None;
    let mut changed = false;
    for (index, type_sql) in types.iter().enumerate() {
        let pieces = pieces(table, index, type_sql, server.facts());
        let (mut kept, mut unknown) = (Vec::new(), Vec::new());
        for piece in pieces {
            match records.get(&table.name, piece.kind.text(), &piece.name) {
                Some(State::Built(text)) => kept.push((piece.kind, text.clone())),
                Some(State::Omitted(_)) => {}
                Some(State::Refused(reason)) => {
                    let told = State::Omitted(reason.clone());
                    findings.push(finding(table, piece.kind, &piece.name, reason.clone()));
                    note(server, fence, &table.name, &[(piece.kind.text(), &piece.name, told)]).await?;
                }
                None => unknown.push(piece),
            }
        }
        if unknown.is_empty() {
            continue;
        }
        if real.is_none() {
            real = read_real(server, &table.name).await?;
        }
        let is_generated = |name: &str| real.iter().flat_map(|real| &real.columns).any(|column| column.name == name && column.is_generated);
        if let Some(place) = unknown.iter().position(|piece| piece.kind == Kind::Generated && is_generated(&piece.name)) {
            let piece = unknown.remove(place);
            kept.push((piece.kind, piece.attempts[0].clone()));
            note(server, fence, &table.name, &[(piece.kind.text(), &piece.name, State::Built(piece.attempts[0].clone()))]).await?;
        }
        // A column that holds rows is not made anew: what it has, arrived.
        for piece in unknown.extract_if(.., |piece| piece.kind == Kind::Generated || piece.attempts.is_empty()).collect::<Vec<_>>() {
            let reason = if piece.attempts.is_empty() { piece.why_not } else { "it was made as a plain column, with its values" };
            findings.push(finding(table, piece.kind, &piece.name, reason.to_owned()));
            note(server, fence, &table.name, &[(piece.kind.text(), &piece.name, State::Omitted(reason.to_owned()))]).await?;
        }
        settle_column(server, fence, table, index, type_sql, &unknown, kept).await?;
        changed = true;
    }
    if changed {
        // What was refused just now is told at once.
        let records = Records::read(server, fence).await?;
        for (index, type_sql) in types.iter().enumerate() {
            for piece in pieces(table, index, type_sql, server.facts()) {
                if let Some(State::Refused(reason)) = records.get(&table.name, piece.kind.text(), &piece.name) {
                    findings.push(finding(table, piece.kind, &piece.name, reason.clone()));
                    note(server, fence, &table.name, &[(piece.kind.text(), &piece.name, State::Omitted(reason.clone()))]).await?;
                }
            }
        }
    }
    Ok(changed)
}

/// Columns that count and whose index is no primary key.
pub(super) async fn settle_counters(
    server: &mut Server,
    fence: &Fence,
    records: &Records,
    table: &TargetTable,
    stage: BuildStage,
) -> Result<Vec<Finding>, ConnectorError> {
    let mut findings = Vec::new();
    for (index, wants_exact_rows) in later_counters(table) {
        let name = &table.columns[index].name;
        let is_early = wants_exact_rows && stage == BuildStage::Loaded;
        if is_early || records.get(&table.name, Kind::Counter.text(), name).is_some() {
            continue;
        }
        let types = ddl::column_types(table, server.facts())?;
        // Pieces of before this build and those of it.
        let records = Records::read(server, fence).await?;
        let mut with: Vec<(Kind, String)> = Vec::new();
        for piece in pieces(table, index, &types[index], server.facts()) {
            if let Some(State::Built(text)) = records.get(&table.name, piece.kind.text(), &piece.name) {
                with.push((piece.kind, text.clone()));
            }
        }
        with.push((Kind::Counter, "auto_increment".to_owned()));
        let definition = column_sql(&types[index], false, &with, server.facts());
        let (of_table, column) = (Dialect::MYSQL.table(&table.name), Dialect::MYSQL.identifier(name));
        let attempted = format!("build {} \"{name}\" of table \"{}\"", Kind::Counter.text(), table.name);
        let refused = attempt(server, &format!("alter table {of_table} modify column {column} {definition}"), &attempted).await?;
        let state = refused.clone().map_or(State::Built("auto_increment".to_owned()), State::Omitted);
        note(server, fence, &table.name, &[(Kind::Counter.text(), name, state)]).await?;
        findings.extend(refused.map(|reason| finding(table, Kind::Counter, name, reason)));
    }
    Ok(findings)
}
