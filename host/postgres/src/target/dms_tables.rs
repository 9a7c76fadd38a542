//! DMS's control tables in this database: whether they can be made, making them, and writing to them.

use tidegate_connector::{ConnectorError, ControlTable, ControlTables, ControlWrite, Dialect, Finding, RejectedRow};
use tidegate_model::{Engine, TableName};
use tokio_postgres::{Client, GenericClient};

use super::PREPARE_LOCK;
use crate::connect::pg_error;

/// How long these tables may keep a transaction waiting that holds the task's fence. By guess: beyond what a short query takes.
const LOCK_TIMEOUT: &str = "5s";

/// Everything that would stop these tables. Reads only.
pub(crate) async fn check(session: &Client, tables: &ControlTables) -> Result<Vec<Finding>, ConnectorError> {
    let failed = |error| pg_error("check the control tables", error);
    let schema: &str = &tables.schema;
    let sql = "select current_user::text, has_database_privilege(current_database(), 'create'), current_database()::text, n.oid is not null, \
               coalesce(has_schema_privilege(n.oid, 'usage'), false), coalesce(has_schema_privilege(n.oid, 'create'), false) \
               from (select) one left join pg_namespace n on n.nspname = $1";
    let row = session.query_one(sql, &[&schema]).await.map_err(failed)?;
    let (user, database): (String, String) = (row.get(0), row.get(2));
    let (has_schema, may_use, may_create): (bool, bool, bool) = (row.get(3), row.get(4), row.get(5));
    let user_sql = Dialect::POSTGRES.identifier(&user);
    if !has_schema {
        if row.get(1) {
            return Ok(Vec::new());
        }
        let found = format!("no such schema, and role \"{user}\" may not create it");
        let fix = format!("create schema {} authorization {user_sql}", Dialect::POSTGRES.identifier(schema));
        let object = format!("schema \"{schema}\" of database \"{database}\" for control tables");
        return Ok(vec![Finding::error("missing_privilege", object, found, "the schema").fix(fix)]);
    }
    let mut findings = Vec::new();
    let mut is_missing = false;
    for table in &tables.tables {
        match check_table(session, schema, *table, &user).await? {
            Some(found) => findings.extend(found),
            None => is_missing = true,
        }
    }
    if !may_use || (is_missing && !may_create) {
        let object = format!("schema \"{schema}\" for control tables");
        let finding = Finding::error("missing_privilege", object, format!("role \"{user}\" without CREATE and USAGE"), "both");
        findings.push(finding.fix(format!("grant create, usage on schema {} to {user_sql}", Dialect::POSTGRES.identifier(schema))));
    }
    Ok(findings)
}

/// What stands in the way of a table that is there; `None` when it is not.
async fn check_table(session: &Client, schema: &str, table: ControlTable, user: &str) -> Result<Option<Vec<Finding>>, ConnectorError> {
    let failed = |error| pg_error("check the control tables", error);
    let sql = "select c.oid, c.relkind in ('r', 'p'), has_table_privilege(c.oid, 'select'), has_table_privilege(c.oid, 'insert'), \
               has_table_privilege(c.oid, 'delete'), array(select a.attname::text from pg_attribute a \
               where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) \
               from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relname = $2";
    let Some(row) = session.query_opt(sql, &[&schema, &table.name()]).await.map_err(failed)? else { return Ok(None) };
    let name = TableName::new(schema, table.name());
    let object = || format!("table \"{name}\"");
    let name_sql = Dialect::POSTGRES.table(&name);
    let mut findings = Vec::new();
    let columns: Vec<String> = row.get(5);
    let missing: Vec<&str> = table.columns().filter(|column| !columns.iter().any(|there| there == column)).collect();
    if !row.get::<_, bool>(1) || !missing.is_empty() {
        let found = format!("something else of this name, without the columns {}", missing.join(", "));
        let finding = Finding::error("control_table_differs", object(), found, "the control table of DMS, or none");
        findings.push(finding.fix(format!("alter table {name_sql} rename to {}", Dialect::POSTGRES.identifier("before_tidegate"))));
    }
    if !(row.get::<_, bool>(2) && row.get::<_, bool>(3) && row.get::<_, bool>(4)) {
        let found = format!("role \"{user}\" without some of SELECT, INSERT, DELETE");
        let user_sql = Dialect::POSTGRES.identifier(user);
        let finding = Finding::error("missing_privilege", object(), found, "all of them");
        findings.push(finding.fix(format!("grant select, insert, delete on {name_sql} to {user_sql}")));
    }
    Ok(Some(findings))
}

/// Inside a transaction of the caller: creates what is missing.
pub(crate) async fn create(client: &impl GenericClient, tables: &ControlTables) -> Result<(), ConnectorError> {
    let failed = |error| pg_error(&format!("create the control tables in schema \"{}\"", tables.schema), error);
    if missing(client, tables).await?.is_empty() {
        return Ok(());
    }
    let lock = format!("set local lock_timeout = '30s'; select pg_advisory_xact_lock({PREPARE_LOCK})");
    client.batch_execute(&lock).await.map_err(failed)?;
    let sql = "select exists (select from pg_namespace where nspname = $1)";
    let has_schema: bool = client.query_one(sql, &[&&*tables.schema]).await.map_err(failed)?.get(0);
    if !has_schema {
        let sql = format!("create schema {}", Dialect::POSTGRES.identifier(&tables.schema));
        client.batch_execute(&sql).await.map_err(failed)?;
    }
    // Another task may have made them meanwhile.
    for table in missing(client, tables).await? {
        client.batch_execute(&tables.create_sql(table, Engine::Postgres)).await.map_err(failed)?;
    }
    Ok(())
}

/// Those that are not there. Asked first, since whoever may write to them need not have the right to create some.
async fn missing(client: &impl GenericClient, tables: &ControlTables) -> Result<Vec<ControlTable>, ConnectorError> {
    let names: Vec<&str> = tables.tables.iter().map(|table| table.name()).collect();
    let sql = "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
               where n.nspname = $1 and c.relname = any($2)";
    let rows = client.query(sql, &[&&*tables.schema, &names]).await.map_err(|error| pg_error("look for the control tables", error))?;
    let there: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    Ok(tables.tables.iter().copied().filter(|table| !there.iter().any(|name| name == table.name())).collect())
}

/// Inside a transaction of the caller.
pub(crate) async fn write(client: &impl GenericClient, writes: &[ControlWrite]) -> Result<(), ConnectorError> {
    let failed = |error| pg_error("write to the control tables", error);
    client.batch_execute(&format!("set local lock_timeout = '{LOCK_TIMEOUT}'")).await.map_err(failed)?;
    for write in writes {
        let failed = |error| pg_error(&format!("write to control table \"{}\"", write.table()), error);
        client.batch_execute(&write.statements(Engine::Postgres).join("; ")).await.map_err(failed)?;
    }
    Ok(())
}

/// Inside the transaction that writes these rows of the error table: tells of them where the task asks for it.
pub(crate) async fn tell(client: &impl GenericClient, rejected: &[RejectedRow]) -> Result<(), ConnectorError> {
    for exception in rejected.iter().filter_map(|row| row.exception.clone()) {
        let write = ControlWrite::Append(exception);
        let failed = |error| pg_error(&format!("write to control table \"{}\"", write.table()), error);
        client.batch_execute(&write.statements(Engine::Postgres).join("; ")).await.map_err(failed)?;
    }
    Ok(())
}
