//! Builds the rest of the tables' definitions: each object with its record in one transaction, so that a build that was
//! cut off goes on behind the last one, and nothing is built twice or reported twice.
//!
//! `tidegate.object` has a row of the kind `table` for each table that the task created: only these get objects, and
//! only objects with a row may be dropped. What the server refuses is recorded with its words and reported.
//!
//! Foreign keys stand while changes are applied only where the lane acts as a replica, for which they do not fire. A role
//! without that right gets them when no more changes are to come: enforced row by row they would refuse groups that
//! write a child before its parent, and their cascades would do again what the log brings.

mod counters;
mod known;
mod release;
mod sql;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use tidegate_connector::{BuildStage, ConnectorError, Finding, TargetTable};
use tidegate_model::{Fence, TableName};
use tokio_postgres::{Client, GenericClient};

use self::sql::{Attempt, Item, Kind, TAKEN, items};
use super::session::{LOCK_TIMEOUT, may_act_as_replica};
use super::{commit, fenced};
use crate::connect::pg_error;

pub(crate) use counters::set_counters;
pub(crate) use known::Known;
pub(crate) use release::{is_referenced_by_others, release};

/// The name of the records that say who made a table.
const TABLE: &str = "table";

/// What `tidegate.object` has of a task: by table of the target, kind and name.
struct Records(BTreeMap<(TableName, String, String), ()>);

impl Records {
    async fn read(client: &impl GenericClient, fence: &Fence) -> Result<Records, ConnectorError> {
        let sql = "select schema_name, table_name, kind, name from tidegate.object where task = $1";
        let rows = client.query(sql, &[&fence.task.as_str()]).await.map_err(|error| pg_error("read what was built", error))?;
        let key = |row: &tokio_postgres::Row| {
            (TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)), row.get::<_, String>(2), row.get::<_, String>(3))
        };
        Ok(Records(rows.iter().map(|row| (key(row), ())).collect()))
    }

    fn has(&self, table: &TableName, kind: &str, name: &str) -> bool {
        self.0.contains_key(&(table.clone(), kind.to_owned(), name.to_owned()))
    }
}

/// Notes that the task created the tables, and forgets what was noted of those that had their names.
pub(crate) async fn note_created(client: &impl GenericClient, fence: &Fence, tables: &[&TableName]) -> Result<(), ConnectorError> {
    let failed = |error| pg_error("note that tables were created", error);
    let task = fence.task.as_str();
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let forget = "delete from tidegate.object o using unnest($2::text[], $3::text[]) x(s, t) \
                  where o.task = $1 and o.schema_name = x.s and o.table_name = x.t";
    client.execute(forget, &[&task, &schemas, &names]).await.map_err(failed)?;
    let note = "insert into tidegate.object (task, schema_name, table_name, kind, name, state) \
                select $1, x.s, x.t, $4, '', 'built' from unnest($2::text[], $3::text[]) x(s, t)";
    client.execute(note, &[&task, &schemas, &names, &TABLE]).await.map(|_| ()).map_err(failed)
}

/// True when the task created the table.
pub(crate) async fn is_created(client: &impl GenericClient, fence: &Fence, table: &TableName) -> Result<bool, ConnectorError> {
    let sql = "select from tidegate.object where task = $1 and schema_name = $2 and table_name = $3 and kind = $4";
    let found = client.query_opt(sql, &[&fence.task.as_str(), &table.schema, &table.name, &TABLE]).await;
    Ok(found.map_err(|error| pg_error("look who created a table", error))?.is_some())
}

#[allow(clippy::too_many_arguments, reason = "they are the columns of the record")]
async fn note(
    client: &impl GenericClient,
    fence: &Fence,
    table: &TableName,
    kind: &str,
    name: &str,
    state: &str,
    made: Option<&str>,
    reason: Option<&str>,
) -> Result<(), ConnectorError> {
    let sql = "insert into tidegate.object (task, schema_name, table_name, kind, name, state, made_name, reason) \
               values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict (task, schema_name, table_name, kind, name) do nothing";
    let done = client.execute(sql, &[&fence.task.as_str(), &table.schema, &table.name, &kind, &name, &state, &made, &reason]).await;
    done.map(|_| ()).map_err(|error| pg_error("note what was built", error))
}

/// See `Target::build_objects`. Returns the findings, and the tables whose columns are others now.
pub(crate) async fn build(
    session: &mut Client,
    fence: &Fence,
    tables: &[Arc<TargetTable>],
    stage: BuildStage,
) -> Result<(Vec<Finding>, Vec<Arc<TargetTable>>), ConnectorError> {
    let records = Records::read(session, fence).await?;
    let with_foreign_keys = match stage {
        BuildStage::Loaded => false,
        BuildStage::Exact => may_act_as_replica(session).await?,
        BuildStage::Final => true,
    };
    let mut findings = Vec::new();
    let mut changed = HashSet::new();
    let mine: Vec<&Arc<TargetTable>> = tables.iter().filter(|table| records.has(&table.name, TABLE, "")).collect();
    let mut work: Vec<(&Arc<TargetTable>, Item)> = Vec::new();
    for table in &mine {
        findings.extend(tell_omitted(session, fence, &records, table).await?);
        work.extend(items(table).into_iter().map(|item| (*table, item)));
    }
    // Kind by kind over all tables: a foreign key needs the unique index of another table.
    for kind in Kind::ALL {
        if (kind.wants_exact_rows() && stage == BuildStage::Loaded) || (kind == Kind::ForeignKey && !with_foreign_keys) {
            continue;
        }
        for (table, item) in work.iter().filter(|(_, item)| item.kind == kind) {
            if records.has(&table.name, kind.text(), &item.name) {
                continue;
            }
            findings.extend(build_one(session, fence, table, item).await?);
            changed.insert(table.name.clone());
        }
    }
    let changed = mine.into_iter().filter(|table| changed.contains(&table.name)).cloned().collect();
    Ok((findings, changed))
}

/// What the task's rules leave no way to carry is reported once, like what the server refuses.
async fn tell_omitted(session: &mut Client, fence: &Fence, records: &Records, table: &TargetTable) -> Result<Vec<Finding>, ConnectorError> {
    let new = |finding: &&Finding| !records.has(&table.name, finding.code, &finding.object);
    let findings: Vec<Finding> = table.objects.omitted.iter().filter(new).cloned().collect();
    if findings.is_empty() {
        return Ok(findings);
    }
    let tx = fenced(session, fence).await?;
    for finding in &findings {
        note(&tx, fence, &table.name, finding.code, &finding.object, "omitted", None, Some(&finding.found)).await?;
    }
    commit(tx).await?;
    Ok(findings)
}

async fn build_one(session: &mut Client, fence: &Fence, table: &TargetTable, item: &Item) -> Result<Option<Finding>, ConnectorError> {
    let attempted = format!("build {} \"{}\" of table \"{}\"", item.kind.text(), item.name, table.name);
    let mut refused = (!item.why_not.is_empty()).then(|| item.why_not.to_owned());
    let tx = fenced(session, fence).await?;
    let lock = format!("set local lock_timeout = '{LOCK_TIMEOUT}'");
    tx.batch_execute(&lock).await.map_err(|error| pg_error(&attempted, error))?;
    for attempt in &item.attempts {
        match try_one(&tx, attempt, &attempted).await? {
            None => {
                note(&tx, fence, &table.name, item.kind.text(), &item.name, "built", attempt.made.as_deref(), None).await?;
                commit(tx).await?;
                return Ok(None);
            }
            // The first refusal is that of the most faithful form.
            Some(reason) => refused = refused.or(Some(reason)),
        }
    }
    let reason = refused.unwrap_or_default();
    note(&tx, fence, &table.name, item.kind.text(), &item.name, "omitted", None, Some(&reason)).await?;
    commit(tx).await?;
    Ok(Some(finding(table, item, reason)))
}

/// The finding for an object that the target does not get.
fn finding(table: &TargetTable, item: &Item, reason: String) -> Finding {
    let object = format!("{} \"{}\" of table \"{}\"", item.kind.text(), item.name, table.name);
    Finding::warning(item.kind.code(), object, reason, "one that the target can have")
}

/// Runs the statements; the server's words when it refuses them for what they say.
async fn try_one(tx: &impl GenericClient, attempt: &Attempt, attempted: &str) -> Result<Option<String>, ConnectorError> {
    let failed = |error| pg_error(attempted, error);
    tx.batch_execute("savepoint one").await.map_err(failed)?;
    let Err(error) = tx.batch_execute(&attempt.sql).await else {
        tx.batch_execute("release savepoint one").await.map_err(failed)?;
        return Ok(None);
    };
    let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    let is_refusal = ["22", "23", "2B", "2F", "3F", "42", "44", "54", "55000", "P0", "0A"].iter().any(|class| code.starts_with(class));
    if !is_refusal {
        return Err(failed(error));
    }
    tx.batch_execute("rollback to savepoint one").await.map_err(failed)?;
    if attempt.taken_is_done && TAKEN.contains(&code.as_str()) {
        return Ok(None);
    }
    // A message may quote a value of a row; of class 23 it names the constraint, and the detail has the row.
    let told = error.as_db_error().map_or_else(|| error.to_string(), |told| told.message().to_owned());
    let told = if code.starts_with("22") { format!("an error of class {code}") } else { told };
    Ok(Some(format!("the target refused it: {told}")))
}

/// What a check can tell beforehand: what the rules and this kind of database leave no way to carry.
pub(crate) fn foreseen(table: &TargetTable, may_act_as_replica: bool) -> Vec<Finding> {
    let mut findings = table.objects.omitted.clone();
    for item in items(table) {
        if item.attempts.is_empty() {
            findings.push(finding(table, &item, item.why_not.to_owned()));
        }
    }
    if !may_act_as_replica && !table.objects.wanted.foreign_keys.is_empty() {
        let object = format!("foreign keys of table \"{}\"", table.name);
        let found = "a role that may not set session_replication_role: they are built at the cut-over";
        findings.push(Finding::warning("foreign_keys_wait", object, found, "the right to set it"));
    }
    findings
}
