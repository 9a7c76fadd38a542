//! What would stop or falsify writing to a target. Reads only: all of it runs in one read-only transaction.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, Dialect, Finding, TablePreparation, TargetTable};
use tidegate_model::{SqlType, TableName};
use tokio_postgres::{Client, GenericClient, Transaction};

use super::labels;
use super::objects::foreseen;
use super::plan::TablePlan;
use super::real::{RealTable, constraints_on, read_real};
use super::session::may_act_as_replica;
use crate::connect::pg_error;

/// The oldest release that has all that we use (`pg_attribute.attgenerated`), as `server_version_num`.
const VERSION_MIN: i32 = 120_000;

/// The longest name. Source: PostgreSQL manual, "Identifiers and Key Words" (NAMEDATALEN is 64).
const NAME_BYTES_MAX: usize = 63;

/// Refuses servers that are too old to be asked anything else.
pub(crate) async fn version(client: &impl GenericClient) -> Result<(), ConnectorError> {
    let sql = "select current_setting('server_version_num')::int, current_setting('server_version')";
    let row = client.query_one(sql, &[]).await.map_err(|error| pg_error("read the server's version", error))?;
    let found: &str = row.get(1);
    if row.get::<_, i32>(0) >= VERSION_MIN {
        return Ok(());
    }
    Err(ConnectorError::definite("server_version", format!("found PostgreSQL {found} as target, wanted 12 or later"))
        .hint("upgrade the server"))
}

pub(crate) async fn check(
    session: &mut Client,
    tables: &[Arc<TargetTable>],
    preparation: TablePreparation,
) -> Result<Vec<Finding>, ConnectorError> {
    let mut findings = Vec::new();
    let tx = session.build_transaction().read_only(true).start().await.map_err(|error| pg_error("begin a check", error))?;
    let is_replica = check_server(&tx, &mut findings).await?;
    for table in tables {
        check_table(&tx, table, tables, preparation, is_replica, &mut findings).await?;
    }
    tx.rollback().await.map_err(|error| pg_error("end a check", error))?;
    Ok(findings)
}

/// Whether the role may act as a replica.
async fn check_server(tx: &Transaction<'_>, findings: &mut Vec<Finding>) -> Result<bool, ConnectorError> {
    let failed = |error| pg_error("check the target's server", error);
    let sql = "select pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on', current_database()::text, current_user::text, \
               has_database_privilege(current_database(), 'create'), to_regnamespace('tidegate') is not null";
    let row = tx.query_one(sql, &[]).await.map_err(failed)?;
    let (database, user): (String, String) = (row.get(2), row.get(3));
    let (database_sql, user_sql) = (Dialect::POSTGRES.identifier(&database), Dialect::POSTGRES.identifier(&user));
    if row.get(0) {
        findings.push(Finding::error(
            "read_only_server",
            format!("database \"{database}\""),
            "a standby in recovery",
            "the primary server",
        ));
    }
    if row.get(1) {
        let fix = format!("alter role {user_sql} set default_transaction_read_only = off");
        let finding = Finding::error("read_only_server", "setting \"default_transaction_read_only\"", "on", "off");
        findings.push(finding.fix(fix));
    }
    let has_schema: bool = row.get(5);
    if !has_schema && !row.get::<_, bool>(4) {
        let finding =
            Finding::error("missing_privilege", format!("database \"{database}\""), format!("role \"{user}\" without CREATE"), "CREATE");
        findings.push(finding.fix(format!("grant create on database {database_sql} to {user_sql}")));
    }
    if has_schema {
        let may: bool = tx.query_one("select has_schema_privilege('tidegate', 'create,usage')", &[]).await.map_err(failed)?.get(0);
        if !may {
            let finding =
                Finding::error("missing_privilege", "schema \"tidegate\"", format!("role \"{user}\" without CREATE and USAGE"), "both");
            findings.push(finding.fix(format!("grant create, usage on schema tidegate to {user_sql}")));
        }
    }
    let is_replica = may_act_as_replica(tx).await?;
    if !is_replica {
        let finding = Finding::warning(
            "replica_role",
            "setting \"session_replication_role\"",
            format!("role \"{user}\" may not set it: foreign keys and triggers of the target fire"),
            "the right to set it",
        );
        findings.push(finding.fix(format!("grant set on parameter session_replication_role to {user_sql}")));
    }
    Ok(is_replica)
}

async fn check_table(
    tx: &Transaction<'_>,
    table: &Arc<TargetTable>,
    tables: &[Arc<TargetTable>],
    preparation: TablePreparation,
    is_replica: bool,
    findings: &mut Vec<Finding>,
) -> Result<(), ConnectorError> {
    if !check_names(table, findings) {
        return Ok(());
    }
    check_collations(table, findings);
    check_schema(tx, table, findings).await?;
    let Some(real) = read_real(tx, &table.name).await? else {
        findings.extend(foreseen(table, is_replica));
        return check_types(tx, table, findings).await;
    };
    if preparation == TablePreparation::DropAndCreate {
        findings.extend(foreseen(table, is_replica));
        check_types(tx, table, findings).await?;
    } else {
        let missing = labels::missing(table, &real);
        let adds = !missing.is_empty() && labels::may_add(tx, &missing).await?;
        let planned = if adds { TablePlan::new(table, &labels::completed(table, &real)) } else { TablePlan::new(table, &real) };
        match planned {
            Ok(_) => check_widths(table, &real, findings),
            Err(error) => {
                let mut finding = Finding::error(error.code(), object(&table.name), error.to_string(), "a table that fits");
                finding.fix = error.hint_text().map(str::to_owned);
                findings.push(finding);
            }
        }
    }
    check_rights(tx, table, &real, preparation, findings).await?;
    check_triggers(tx, table, &real, findings).await?;
    match preparation {
        TablePreparation::Keep => check_empty(tx, table, findings).await,
        TablePreparation::DropAndCreate | TablePreparation::Truncate | TablePreparation::Fit => {
            check_references(tx, table, &real, tables, preparation, is_replica, findings).await
        }
    }
}

/// False when a name is longer than PostgreSQL's, which would cut it.
fn check_names(table: &TargetTable, findings: &mut Vec<Finding>) -> bool {
    let source = &table.source.schema.name;
    let own = [("schema", &table.name.schema, "schema"), ("table", &table.name.name, "table")];
    let columns = table.columns.iter().map(|column| ("column", &column.name, "column"));
    let long: Vec<_> = own.into_iter().chain(columns).filter(|(_, name, _)| name.len() > NAME_BYTES_MAX).collect();
    for (kind, name, rule) in &long {
        let found = format!("{} bytes, for table \"{source}\" of the source", name.len());
        let finding = Finding::error("name_too_long", format!("{kind} \"{name}\""), found, format!("at most {NAME_BYTES_MAX} bytes"));
        findings.push(finding.fix(format!("add a transformation rule with rule-target \"{rule}\" and rule-action \"rename\"")));
    }
    long.is_empty()
}

/// Types of a PostgreSQL source that a new table would need: an enumeration is made with the table and a domain becomes
/// the type below it, but of a composite, a range or an extension's type only the target's own definition will do.
async fn check_types(tx: &Transaction<'_>, table: &TargetTable, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    if table.source.schema.engine != tidegate_model::Engine::Postgres {
        return Ok(());
    }
    for wanted in &table.columns {
        let tidegate_connector::ColumnOrigin::Source(at) = wanted.origin else { continue };
        let Some(source) = table.source.schema.columns.get(at) else { continue };
        let is_of_a_user = match &source.sql_type {
            SqlType::Other(_) => true,
            SqlType::Array(element) => matches!(**element, SqlType::Other(_)),
            _ => false,
        };
        if !is_of_a_user {
            continue;
        }
        let found = tx.query_one("select to_regtype($1) is not null", &[&source.native_type]).await;
        let is_known: bool = found.map_err(|error| pg_error("look for a type in the target", error))?.get(0);
        let column = format!("column \"{}\" of {}", wanted.name, object(&table.name));
        let (native, elements) = (&source.native_type, source.native_type.trim_end_matches("[]"));
        if !is_known {
            let found = format!("type {native}, which the target does not have");
            let fix = format!("create extension or create type {elements} in the target as it is in the source");
            findings.push(Finding::error("type_missing", column, found, "the same type in source and target").fix(fix));
        } else if super::plan::is_object_id(elements) {
            let found = format!("type {native}, whose values are object ids of one database");
            let fix = format!(
                "take the column out of the task with a remove-column rule, or: alter table … alter column … type text using …::{native}::text"
            );
            findings.push(Finding::error("column_type", column, found, "a type whose values mean the same in both databases").fix(fix));
        }
    }
    Ok(())
}

async fn check_schema(tx: &Transaction<'_>, table: &TargetTable, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let sql = "select case when n.oid is null then has_database_privilege(current_database(), 'create') \
                           else has_schema_privilege(n.oid, 'usage') and (to_regclass($2) is not null or has_schema_privilege(n.oid, 'create')) end, \
                      current_user::text, n.oid is null, current_database()::text \
               from (values (1)) one left join pg_namespace n on n.nspname = $1";
    let name = Dialect::POSTGRES.table(&table.name);
    let row = tx.query_one(sql, &[&table.name.schema, &name]).await.map_err(|error| pg_error("check a schema of the target", error))?;
    if row.get(0) {
        return Ok(());
    }
    let user: String = row.get(1);
    let (schema, user_sql) = (Dialect::POSTGRES.identifier(&table.name.schema), Dialect::POSTGRES.identifier(&user));
    let fix = if row.get(2) {
        format!("grant create on database {} to {user_sql}", Dialect::POSTGRES.identifier(row.get(3)))
    } else {
        format!("grant create, usage on schema {schema} to {user_sql}")
    };
    let finding = Finding::error(
        "missing_privilege",
        format!("schema {schema}"),
        format!("role \"{user}\" may not create tables in it"),
        "that right",
    );
    let finding = finding.fix(fix);
    // Tables share schemas; once is enough.
    if !findings.contains(&finding) {
        findings.push(finding);
    }
    Ok(())
}

/// A key of MySQL or MariaDB whose collation holds different texts equal.
fn check_collations(table: &TargetTable, findings: &mut Vec<Finding>) {
    for index in &table.primary_key {
        let Some(wanted) = table.columns.get(*index) else { continue };
        let tidegate_connector::ColumnOrigin::Source(at) = wanted.origin else { continue };
        let Some(collation) = table.source.schema.columns.get(at).and_then(|column| column.collation.as_deref()) else { continue };
        if !collation.ends_with("_bin") && collation != "binary" {
            let object = format!("column \"{}\" of {}", wanted.name, object(&table.name));
            let found = format!("collation {collation} at the source: texts that it holds equal are different in the target");
            let finding = Finding::warning("key_collation", object, found, "a binary collation");
            findings.push(Finding { severity: tidegate_connector::Severity::Info, ..finding });
        }
    }
}

/// A narrower type refuses or rounds values; whether any are that wide, only the rows tell.
fn check_widths(table: &TargetTable, real: &RealTable, findings: &mut Vec<Finding>) {
    for wanted in &table.columns {
        let tidegate_connector::ColumnOrigin::Source(at) = wanted.origin else { continue };
        let (Some(source), Some(found)) =
            (table.source.schema.columns.get(at), real.columns.iter().find(|column| column.name == wanted.name))
        else {
            continue;
        };
        let is_same_kind = super::real::without_modifiers(&source.native_type) == found.native;
        if table.source.schema.engine == tidegate_model::Engine::Postgres
            && is_same_kind
            && source.native_type != found.native_full
            && found.native != found.native_full
        {
            let object = format!("column \"{}\" of {}", wanted.name, object(&table.name));
            let target = Dialect::POSTGRES.table(&table.name);
            let column = Dialect::POSTGRES.identifier(&wanted.name);
            let finding = Finding::warning("column_type", object, found.native_full.as_str(), source.native_type.as_str());
            findings.push(finding.fix(format!("alter table {target} alter column {column} type {}", source.native_type)));
        }
    }
}

async fn check_rights(
    tx: &Transaction<'_>,
    table: &TargetTable,
    real: &RealTable,
    preparation: TablePreparation,
    findings: &mut Vec<Finding>,
) -> Result<(), ConnectorError> {
    let sql = "select current_user::text, pg_has_role(c.relowner, 'usage'), has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert') \
                      and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete') and has_table_privilege(c.oid, 'truncate') \
               from pg_class c where c.oid = $1";
    let row = tx.query_one(sql, &[&real.oid]).await.map_err(|error| pg_error("check rights on a table", error))?;
    let (user, is_owner, has_rights): (String, bool, bool) = (row.get(0), row.get(1), row.get(2));
    let (name, user_sql) = (Dialect::POSTGRES.table(&table.name), Dialect::POSTGRES.identifier(&user));
    if preparation == TablePreparation::DropAndCreate && !is_owner {
        let found = format!("role \"{user}\" does not own it");
        let finding = Finding::error("missing_privilege", object(&table.name), found, "its owner, to drop it");
        findings.push(finding.fix(format!("alter table {name} owner to {user_sql}")));
    }
    if preparation != TablePreparation::DropAndCreate && !has_rights {
        let found = format!("role \"{user}\" without some of SELECT, INSERT, UPDATE, DELETE, TRUNCATE");
        let finding = Finding::error("missing_privilege", object(&table.name), found, "all of them");
        findings.push(finding.fix(format!("grant select, insert, update, delete, truncate on {name} to {user_sql}")));
    }
    Ok(())
}

/// Triggers that fire even for replication would do their work a second time.
async fn check_triggers(
    tx: &Transaction<'_>,
    table: &TargetTable,
    real: &RealTable,
    findings: &mut Vec<Finding>,
) -> Result<(), ConnectorError> {
    let sql = "select tgname::text from pg_trigger where tgrelid = $1 and not tgisinternal and tgenabled in ('A', 'R') order by 1";
    for row in tx.query(sql, &[&real.oid]).await.map_err(|error| pg_error("check triggers of a table", error))? {
        let trigger: String = row.get(0);
        let object = format!("trigger \"{trigger}\" of {}", object(&table.name));
        let name = Dialect::POSTGRES.table(&table.name);
        let fix = format!("alter table {name} enable trigger {}", Dialect::POSTGRES.identifier(&trigger));
        findings.push(Finding::warning("trigger_always", object, "fires for replicated rows", "a trigger for ordinary sessions").fix(fix));
    }
    Ok(())
}

async fn check_empty(tx: &Transaction<'_>, table: &TargetTable, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let name = Dialect::POSTGRES.table(&table.name);
    let may: bool = tx
        .query_one("select has_table_privilege($1, 'select')", &[&name])
        .await
        .map_err(|error| pg_error("check rights on a table", error))?
        .get(0);
    if !may {
        return Ok(());
    }
    let found = tx.query_opt(&format!("select 1 from {name} limit 1"), &[]).await;
    if found.map_err(|error| pg_error(&format!("look for rows in table {name}"), error))?.is_some() {
        let finding = Finding::warning("table_not_empty", object(&table.name), "rows", "an empty table, if it is to be loaded");
        findings.push(finding.fix(format!("truncate {name}")));
    }
    Ok(())
}

/// Foreign keys of tables outside the task forbid that a table be emptied or dropped.
async fn check_references(
    tx: &Transaction<'_>,
    table: &TargetTable,
    real: &RealTable,
    tables: &[Arc<TargetTable>],
    preparation: TablePreparation,
    is_replica: bool,
    findings: &mut Vec<Finding>,
) -> Result<(), ConnectorError> {
    let sql = concat!(
        "select k.conname::text, n.nspname::text, c.relname::text from pg_constraint k \
         join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace where k.oid in ",
        constraints_on!("$1"),
        " and k.contype = 'f' and k.confrelid = $1 and k.conrelid <> $1 and k.conparentid = 0 order by 1"
    );
    for row in tx.query(sql, &[&real.oid]).await.map_err(|error| pg_error("check foreign keys to a table", error))? {
        let from = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
        let constraint: String = row.get(0);
        // Of the task's own tables, it goes before the tables are dropped, and does not fire while they are emptied.
        let is_inside = tables.iter().any(|other| other.name == from);
        if is_inside && (preparation == TablePreparation::DropAndCreate || is_replica) {
            continue;
        }
        let verb = if preparation == TablePreparation::Truncate { "emptied" } else { "dropped" };
        let inside = if is_inside { "another table of the task" } else { "a table outside the task" };
        let found = format!("foreign key \"{constraint}\" of table \"{from}\", {inside}");
        let finding =
            Finding::error("referenced_table", object(&table.name), found, format!("no foreign key to a table that is to be {verb}"));
        let (from_sql, name) = (Dialect::POSTGRES.table(&from), Dialect::POSTGRES.identifier(&constraint));
        findings.push(finding.fix(format!("alter table {from_sql} drop constraint {name}")));
    }
    Ok(())
}

fn object(table: &TableName) -> String {
    format!("table \"{table}\"")
}
