//! What would stop or falsify writing to a target. Reads only: all of it runs in one read-only transaction.

mod keys;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_connector::{ConnectorError, Dialect, Finding, TablePreparation, TargetTable};
use tidegate_model::{SqlType, TableName, TaskId};
use tokio_postgres::{Client, GenericClient, Transaction};

use self::keys::check_keys;
use super::labels;
use super::objects::{Known, foreseen};
use super::others::dependents;
use super::plan::TablePlan;
use super::real::{RealTable, constraints_on, read_all};
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

/// Tables that are looked at together: looking for rows takes a lock on each of them and on its indexes, until the transaction ends.
const TOGETHER: usize = 64;

pub(crate) async fn check(
    session: &mut Client,
    task: &TaskId,
    tables: &[Arc<TargetTable>],
    preparation: TablePreparation,
) -> Result<Vec<Finding>, ConnectorError> {
    let mut findings = Vec::new();
    let own = tables.iter().map(|table| &table.name).collect();
    let mut check = Check { preparation, is_replica: false, own, known: Known::default(), schemas: HashMap::new() };
    for (number, some) in tables.chunks(TOGETHER).enumerate() {
        let tx = begin(session).await?;
        if number == 0 {
            check.is_replica = check_server(&tx, &mut findings).await?;
            check.known = Known::read(&tx, task).await?;
        }
        check.tables(&tx, some, &mut findings).await?;
        tx.rollback().await.map_err(|error| pg_error("end a check", error))?;
    }
    if tables.is_empty() {
        check_server(&begin(session).await?, &mut findings).await?;
    }
    Ok(findings)
}

async fn begin(session: &mut Client) -> Result<Transaction<'_>, ConnectorError> {
    session.build_transaction().read_only(true).start().await.map_err(|error| pg_error("begin a check", error))
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

/// A check of many tables.
struct Check<'a> {
    preparation: TablePreparation,
    is_replica: bool,
    /// Names of the tables that are checked.
    own: HashSet<&'a TableName>,
    /// What the task made: a load takes foreign keys away that are in its way, and they come again behind it.
    known: Known,
    /// What the role may do in the schemas that were looked at.
    schemas: HashMap<String, SchemaRights>,
}

impl Check<'_> {
    async fn tables(
        &mut self,
        tx: &Transaction<'_>,
        tables: &[Arc<TargetTable>],
        findings: &mut Vec<Finding>,
    ) -> Result<(), ConnectorError> {
        let tables: Vec<&Arc<TargetTable>> = tables.iter().filter(|table| check_names(table, findings)).collect();
        let reals = read_all(tx, &tables.iter().map(|table| &table.name).collect::<Vec<_>>()).await?;
        let mut facts = facts(tx, &reals).await?;
        let mut with_rows = self.with_rows(tx, &tables, &reals, &facts).await?;
        for table in tables {
            let real = reals.get(&table.name);
            check_keys(table, real.filter(|_| self.preparation != TablePreparation::DropAndCreate), findings);
            self.check_schema(tx, table, real.is_some(), findings).await?;
            let Some(real) = real else {
                findings.extend(foreseen(table, self.is_replica));
                check_types(tx, table, findings).await?;
                continue;
            };
            if self.preparation == TablePreparation::DropAndCreate {
                findings.extend(foreseen(table, self.is_replica));
                check_types(tx, table, findings).await?;
            } else {
                check_fit(tx, table, real, findings).await?;
            }
            // A table that went since it was read is found when it is prepared.
            let Some(facts) = facts.remove(&real.oid) else { continue };
            check_rights(table, &facts, self.preparation, findings);
            check_triggers(table, &facts, findings);
            // One that the task made is changed in place.
            if self.preparation == TablePreparation::DropAndCreate && !self.known.tables.contains(&table.name) {
                check_dependents(table, &facts, findings);
            }
            match self.preparation {
                TablePreparation::Keep => findings.extend(with_rows.remove(&table.name)),
                TablePreparation::DropAndCreate | TablePreparation::Truncate | TablePreparation::Fit => {
                    self.check_references(table, &facts, findings);
                }
            }
        }
        Ok(())
    }

    async fn check_schema(
        &mut self,
        tx: &Transaction<'_>,
        table: &TargetTable,
        exists: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), ConnectorError> {
        let name = &table.name.schema;
        if !self.schemas.contains_key(name) {
            self.schemas.insert(name.clone(), SchemaRights::read(tx, name).await?);
        }
        // Tables share schemas; once is enough.
        if let Some(finding) = self.schemas[name].finding(name, exists)
            && !findings.contains(&finding)
        {
            findings.push(finding);
        }
        Ok(())
    }

    /// Findings for those of the tables that have rows.
    async fn with_rows(
        &self,
        tx: &Transaction<'_>,
        tables: &[&Arc<TargetTable>],
        reals: &HashMap<TableName, RealTable>,
        facts: &HashMap<u32, Facts>,
    ) -> Result<HashMap<TableName, Finding>, ConnectorError> {
        let may_read = |table: &TableName| reals.get(table).and_then(|real| facts.get(&real.oid)).is_some_and(|facts| facts.may_read);
        let readable: Vec<&TableName> = tables.iter().map(|table| &table.name).filter(|table| may_read(table)).collect();
        if self.preparation != TablePreparation::Keep || readable.is_empty() {
            return Ok(HashMap::new());
        }
        let one =
            |(place, table): (usize, &&TableName)| format!("select {place} where exists (select from {})", Dialect::POSTGRES.table(table));
        let sql = readable.iter().enumerate().map(one).collect::<Vec<_>>().join(" union all ");
        let rows = tx.query(&sql, &[]).await.map_err(|error| pg_error("look for rows in the target's tables", error))?;
        let found = rows.iter().filter_map(|row| readable.get(usize::try_from(row.get::<_, i32>(0)).ok()?));
        let finding = |table: &&TableName| {
            let finding = Finding::warning("table_not_empty", object(table), "rows", "an empty table, if it is to be loaded");
            ((*table).clone(), finding.fix(format!("truncate {}", Dialect::POSTGRES.table(table))))
        };
        Ok(found.map(finding).collect())
    }

    /// Foreign keys of other tables forbid that a table be emptied or dropped.
    fn check_references(&self, table: &TargetTable, facts: &Facts, findings: &mut Vec<Finding>) {
        for reference in &facts.references {
            let (from, constraint) = reference;
            // Of tables that are prepared with it, it goes before they are dropped, and does not fire while they are emptied.
            let is_inside = self.own.contains(from);
            let goes = is_inside && (self.preparation == TablePreparation::DropAndCreate || self.is_replica);
            if goes || self.known.foreign_keys.contains(reference) {
                continue;
            }
            let verb = if self.preparation == TablePreparation::Truncate { "emptied" } else { "dropped" };
            let beside = if is_inside { "" } else { ", which stays as it is" };
            let found = format!("foreign key \"{constraint}\" of table \"{from}\"{beside}");
            let finding =
                Finding::error("referenced_table", object(&table.name), found, format!("no foreign key to a table that is to be {verb}"));
            let (from_sql, name) = (Dialect::POSTGRES.table(from), Dialect::POSTGRES.identifier(constraint));
            findings.push(finding.fix(format!("alter table {from_sql} drop constraint {name}")));
        }
    }
}

/// What else the catalog says of a table that is there.
struct Facts {
    user: String,
    is_owner: bool,
    /// It may be read, written and emptied.
    has_rights: bool,
    may_read: bool,
    /// Triggers that fire even for replication.
    triggers: Vec<String>,
    /// Foreign keys to it: the tables that they are of, and their names.
    references: Vec<(TableName, String)>,
    /// What else depends on it.
    dependents: Vec<String>,
}

async fn facts(tx: &Transaction<'_>, reals: &HashMap<TableName, RealTable>) -> Result<HashMap<u32, Facts>, ConnectorError> {
    let oids: Vec<u32> = reals.values().map(|real| real.oid).collect();
    let mut all = HashMap::new();
    if oids.is_empty() {
        return Ok(all);
    }
    let sql = "select c.oid, current_user::text, pg_has_role(c.relowner, 'usage'), has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert') \
                      and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete') and has_table_privilege(c.oid, 'truncate'), \
                      has_table_privilege(c.oid, 'select') and has_schema_privilege(c.relnamespace, 'usage') \
               from pg_class c where c.oid = any($1)";
    for row in tx.query(sql, &[&oids]).await.map_err(|error| pg_error("check rights on tables", error))? {
        let (user, is_owner, has_rights, may_read) = (row.get(1), row.get(2), row.get(3), row.get(4));
        all.insert(
            row.get(0),
            Facts { user, is_owner, has_rights, may_read, triggers: Vec::new(), references: Vec::new(), dependents: Vec::new() },
        );
    }
    let sql =
        "select tgrelid, tgname::text from pg_trigger where tgrelid = any($1) and not tgisinternal and tgenabled in ('A', 'R') order by 2";
    for row in tx.query(sql, &[&oids]).await.map_err(|error| pg_error("check triggers of tables", error))? {
        all.entry(row.get(0)).and_modify(|facts| facts.triggers.push(row.get(1)));
    }
    let sql = concat!(
        "select w.oid, f.* from unnest($1::oid[]) w(oid), lateral (\
         select k.conname::text, n.nspname::text, c.relname::text from pg_constraint k \
         join pg_class c on c.oid = k.conrelid join pg_namespace n on n.oid = c.relnamespace where k.oid in ",
        constraints_on!("w.oid"),
        " and k.contype = 'f' and k.confrelid = w.oid and k.conrelid <> w.oid and k.conparentid = 0) f order by 2"
    );
    for row in tx.query(sql, &[&oids]).await.map_err(|error| pg_error("check foreign keys to tables", error))? {
        let from = TableName::new(row.get::<_, String>(2), row.get::<_, String>(3));
        all.entry(row.get(0)).and_modify(|facts| facts.references.push((from, row.get(1))));
    }
    for (oid, found) in dependents(tx, &oids).await? {
        all.entry(oid).and_modify(|facts| facts.dependents = found);
    }
    Ok(all)
}

async fn check_fit(
    tx: &Transaction<'_>,
    table: &Arc<TargetTable>,
    real: &RealTable,
    findings: &mut Vec<Finding>,
) -> Result<(), ConnectorError> {
    let missing = labels::missing(table, real);
    let adds = !missing.is_empty() && labels::may_add(tx, &missing).await?;
    let planned = if adds { TablePlan::new(table, &labels::completed(table, real)) } else { TablePlan::new(table, real) };
    match planned {
        Ok(_) => check_widths(table, real, findings),
        Err(error) => {
            let mut finding = Finding::error(error.code(), object(&table.name), error.to_string(), "a table that fits");
            finding.fix = error.hint_text().map(str::to_owned);
            findings.push(finding);
        }
    }
    Ok(())
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

/// What the role may do in a schema.
struct SchemaRights {
    user: String,
    database: String,
    is_missing: bool,
    may_use: bool,
    /// It may create tables in the schema; the schema itself, where it is missing.
    may_create: bool,
}

impl SchemaRights {
    async fn read(tx: &Transaction<'_>, schema: &str) -> Result<SchemaRights, ConnectorError> {
        let sql = "select current_user::text, current_database()::text, n.oid is null, coalesce(has_schema_privilege(n.oid, 'usage'), true), \
                          case when n.oid is null then has_database_privilege(current_database(), 'create') else has_schema_privilege(n.oid, 'create') end \
                   from (values (1)) one left join pg_namespace n on n.nspname = $1";
        let row = tx.query_one(sql, &[&schema]).await.map_err(|error| pg_error("check a schema of the target", error))?;
        let (user, database, is_missing) = (row.get(0), row.get(1), row.get(2));
        Ok(SchemaRights { user, database, is_missing, may_use: row.get(3), may_create: row.get(4) })
    }

    /// What is wrong with it for a table that is there, or is to be made.
    fn finding(&self, schema: &str, exists: bool) -> Option<Finding> {
        if self.may_use && (exists || self.may_create) {
            return None;
        }
        let (schema, user_sql) = (Dialect::POSTGRES.identifier(schema), Dialect::POSTGRES.identifier(&self.user));
        let fix = if self.is_missing {
            format!("grant create on database {} to {user_sql}", Dialect::POSTGRES.identifier(&self.database))
        } else {
            format!("grant create, usage on schema {schema} to {user_sql}")
        };
        let found = format!("role \"{}\" may not create tables in it", self.user);
        Some(Finding::error("missing_privilege", format!("schema {schema}"), found, "that right").fix(fix))
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

fn check_dependents(table: &TargetTable, facts: &Facts, findings: &mut Vec<Finding>) {
    if !facts.dependents.is_empty() {
        let found = format!("what depends on it: {}", facts.dependents.join(", "));
        let finding =
            Finding::error("dependent_objects", object(&table.name), found, "nothing that depends on a table that is to be dropped");
        findings.push(finding.fix("drop it, or give the task the preparation truncate-before-load"));
    }
}

fn check_rights(table: &TargetTable, facts: &Facts, preparation: TablePreparation, findings: &mut Vec<Finding>) {
    let Facts { user, is_owner, has_rights, .. } = facts;
    let (name, user_sql) = (Dialect::POSTGRES.table(&table.name), Dialect::POSTGRES.identifier(user));
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
}

/// Triggers that fire even for replication would do their work a second time.
fn check_triggers(table: &TargetTable, facts: &Facts, findings: &mut Vec<Finding>) {
    for trigger in &facts.triggers {
        let object = format!("trigger \"{trigger}\" of {}", object(&table.name));
        let name = Dialect::POSTGRES.table(&table.name);
        let fix = format!("alter table {name} enable trigger {}", Dialect::POSTGRES.identifier(trigger));
        findings.push(Finding::warning("trigger_always", object, "fires for replicated rows", "a trigger for ordinary sessions").fix(fix));
    }
}

fn object(table: &TableName) -> String {
    format!("table \"{table}\"")
}
