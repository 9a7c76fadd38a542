//! Builds the rest of the tables' definitions. DDL commits by itself here, so each object is looked for before it is built
//! and recorded in `tidegate.object` afterwards; another session holds the fence meanwhile. A build that was cut off goes
//! on behind the last object, and nothing is reported twice.
//!
//! What belongs to a column is made with the table; where the server refuses that, piece by piece on the empty table.
//! Foreign keys do not fire on our sessions (`foreign_key_checks = 0`), so they may stand while changes are applied:
//! neither do their cascades run, whose rows the log has.

mod attempt;
mod columns;
mod conditions;
mod counters;
mod expression;
mod kind;
mod records;
mod release;
mod settle;
mod sql;

use std::collections::HashSet;
use std::sync::Arc;

use tidegate_connector::{BuildStage, ConnectorError, Dialect, Finding, TargetTable};
use tidegate_model::{Fence, TableName};

use self::attempt::attempt;
use self::kind::Item;
use self::records::{Records, State, note};
use super::ddl;
use super::session::{Facts, Server};
use crate::connect::row;

pub(crate) use columns::{column_sql, pieces, table_tail};
pub(crate) use counters::set_counters;
pub(crate) use kind::Kind;
pub(crate) use records::TABLE_SQL;
pub(crate) use release::{built_keys, forget_pieces, release};
pub(crate) use settle::create;

/// See `Target::build_objects`. The caller holds the fence. Returns the findings, and the tables that changed.
pub(crate) async fn build(
    server: &mut Server,
    fence: &Fence,
    tables: &[Arc<TargetTable>],
    stage: BuildStage,
) -> Result<(Vec<Finding>, Vec<Arc<TargetTable>>), ConnectorError> {
    let records = Records::read(server, fence).await?;
    let mine: Vec<&Arc<TargetTable>> = tables.iter().filter(|table| records.is_ours(&table.name)).collect();
    let (mut findings, mut changed, mut work) = (Vec::new(), HashSet::new(), Vec::new());
    for table in &mine {
        findings.extend(tell_omitted(server, fence, &records, table).await?);
        if settle::settle(server, fence, &records, table, &mut findings).await? {
            changed.insert(table.name.clone());
        }
        work.extend(sql::items(table, server.facts()).into_iter().map(|item| (*table, item)));
    }
    // Kind by kind over all tables: a foreign key needs the unique index of another table.
    for kind in Kind::ALL {
        for (table, item) in work.iter().filter(|(_, item)| item.kind == kind) {
            let is_early = item.wants_exact_rows && stage == BuildStage::Loaded;
            if is_early || records.get(&table.name, kind.text(), &item.name).is_some() {
                continue;
            }
            findings.extend(build_one(server, fence, table, item).await?);
            changed.insert(table.name.clone());
        }
        if kind == Kind::Counter {
            for table in &mine {
                findings.extend(settle::settle_counters(server, fence, &records, table, stage).await?);
            }
        }
    }
    let changed = mine.into_iter().filter(|table| changed.contains(&table.name)).cloned().collect();
    Ok((findings, changed))
}

/// What the task's rules leave no way to carry is reported once, like what the server refuses.
async fn tell_omitted(server: &mut Server, fence: &Fence, records: &Records, table: &TargetTable) -> Result<Vec<Finding>, ConnectorError> {
    let new = |finding: &&Finding| records.get(&table.name, finding.code, &finding.object).is_none();
    let findings: Vec<Finding> = table.objects.omitted.iter().filter(new).cloned().collect();
    let objects: Vec<(&str, &str, State)> =
        findings.iter().map(|finding| (finding.code, finding.object.as_str(), State::Omitted(finding.found.clone()))).collect();
    note(server, fence, &table.name, &objects).await?;
    Ok(findings)
}

async fn build_one(server: &mut Server, fence: &Fence, table: &TargetTable, item: &Item) -> Result<Option<Finding>, ConnectorError> {
    let attempted = format!("build {} \"{}\" of table \"{}\"", item.kind.text(), item.name, table.name);
    let mut refused = (!item.why_not.is_empty()).then(|| item.why_not.to_owned());
    for one in &item.attempts {
        let reason = match exists(server, &table.name, item.kind, &one.made).await? {
            true => None,
            false => attempt(server, &one.sql, &attempted).await?,
        };
        match reason {
            None => {
                note(server, fence, &table.name, &[(item.kind.text(), &item.name, State::Built(one.made.clone()))]).await?;
                return Ok(None);
            }
            // The first refusal is that of the most faithful form.
            Some(reason) => refused = refused.or(Some(reason)),
        }
    }
    let reason = refused.unwrap_or_default();
    note(server, fence, &table.name, &[(item.kind.text(), &item.name, State::Omitted(reason.clone()))]).await?;
    Ok(Some(finding(table, item.kind, &item.name, reason)))
}

/// A build that was cut off may have made it and not noted so.
async fn exists(server: &mut Server, table: &TableName, kind: Kind, made: &str) -> Result<bool, ConnectorError> {
    let literal = |text: &str| Dialect::MYSQL.literal(text);
    let folded = server.facts().folded(table);
    let (view, column) = match kind {
        Kind::Index | Kind::Unique => ("statistics", "index_name"),
        _ => ("table_constraints", "constraint_name"),
    };
    let sql = format!(
        "select count(*) from information_schema.{view} where table_schema = {} and table_name = {} and {column} = {}",
        literal(&folded.schema),
        literal(&folded.name),
        literal(made)
    );
    let found: u64 = row(&mut server.conn, "read what was built", &sql).await?;
    Ok(found > 0)
}

/// The finding for an object that the target does not get.
fn finding(table: &TargetTable, kind: Kind, name: &str, reason: String) -> Finding {
    let object = format!("{} \"{name}\" of table \"{}\"", kind.text(), table.name);
    Finding::warning(kind.code(), object, reason, "one that the target can have")
}

/// What a check can tell beforehand: what the rules and this kind of database leave no way to carry.
pub(crate) fn foreseen(table: &TargetTable, facts: &Facts) -> Vec<Finding> {
    let mut findings = table.objects.omitted.clone();
    if let Ok(types) = ddl::column_types(table, facts) {
        let all = types.iter().enumerate().flat_map(|(index, type_sql)| pieces(table, index, type_sql, facts));
        let lost = all.filter(|piece| piece.attempts.is_empty());
        findings.extend(lost.map(|piece| finding(table, piece.kind, &piece.name, piece.why_not.to_owned())));
    }
    for item in sql::items(table, facts).into_iter().filter(|item| item.attempts.is_empty()) {
        findings.push(finding(table, item.kind, &item.name, item.why_not.to_owned()));
    }
    findings
}
