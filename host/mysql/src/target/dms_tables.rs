//! DMS's control tables on this server: whether they can be made, making them, and writing to them.

use tidegate_connector::{ConnectorError, ControlTable, ControlTables, ControlWrite, Dialect, Finding, RejectedRow};
use tidegate_model::{Engine, TableName};

use super::check::rights;
use super::ddl::has_database;
use super::session::{LOCK_TIMEOUT_S, Server};
use crate::connect::{row, rows, run};

/// Rights on the database.
const WANTED: [&str; 4] = ["SELECT", "INSERT", "DELETE", "CREATE"];

/// Seconds that these tables may keep a transaction waiting that holds the task's fence. By guess: beyond what a short query takes.
const SHORT_LOCK_TIMEOUT_S: u32 = 5;

/// Everything that would stop these tables. Reads only.
pub(crate) async fn check(server: &mut Server, tables: &ControlTables) -> Result<Vec<Finding>, ConnectorError> {
    let mut findings = Vec::new();
    let schema: &str = &tables.schema;
    let lines = rights::grants(server).await?;
    let rights_wanted = "the right to create and fill control tables";
    findings.extend(rights::missing(&lines, schema, &WANTED, rights_wanted));
    let needs_key: u8 = match server.facts().engine {
        Engine::Mysql => row(&mut server.conn, "check the control tables", "select @@sql_require_primary_key").await?,
        Engine::Mariadb | Engine::Postgres => 0,
    };
    for table in &tables.tables {
        let columns = columns_of(server, schema, *table).await?;
        let object = || format!("table \"{}\"", TableName::new(schema, table.name()));
        if columns.is_empty() {
            if needs_key != 0 && matches!(table, ControlTable::ApplyExceptions | ControlTable::FullLoadExceptions) {
                let found = "DMS gives it no primary key, while sql_require_primary_key is ON";
                let finding = Finding::error("key_required", object(), found, "a server that takes it");
                findings.push(finding.fix("set global sql_require_primary_key = OFF until the table is there"));
            }
            continue;
        }
        let has = |column: &&str| columns.iter().any(|(there, _)| there.eq_ignore_ascii_case(column));
        let missing: Vec<&str> = table.columns().filter(|column| !has(column)).collect();
        let name = Dialect::MYSQL.table(&TableName::new(schema, table.name()));
        if !missing.is_empty() {
            let found = format!("something else of this name, without the columns {}", missing.join(", "));
            let finding = Finding::error("control_table_differs", object(), found, "the control table of DMS, or none");
            let other = Dialect::MYSQL.table(&TableName::new(schema, "before_tidegate"));
            findings.push(finding.fix(format!("rename table {name} to {other}")));
        }
        // A text that does not fit would take the transaction with it that it tells of.
        if let Some(set) = columns.iter().find_map(|(_, set)| set.as_ref().filter(|set| *set != "utf8mb4")) {
            let finding = Finding::error("control_table_differs", object(), format!("the character set {set}"), "utf8mb4");
            findings.push(finding.fix(format!("alter table {name} convert to character set utf8mb4")));
        }
    }
    Ok(findings)
}

/// Names of the table's columns, with the character sets of texts; none where it is not there.
async fn columns_of(server: &mut Server, schema: &str, table: ControlTable) -> Result<Vec<(String, Option<String>)>, ConnectorError> {
    let name = server.facts().folded(&TableName::new(schema, table.name()));
    let sql = format!(
        "select column_name, character_set_name from information_schema.columns where table_schema = {} and table_name = {}",
        Dialect::MYSQL.literal(&name.schema),
        Dialect::MYSQL.literal(&name.name)
    );
    rows(&mut server.conn, "look for the control tables", &sql).await
}

/// Those that are not there. Asked first, since whoever may write to them need not have the right to create some.
pub(crate) async fn missing(server: &mut Server, tables: &ControlTables) -> Result<Vec<ControlTable>, ConnectorError> {
    let mut missing = Vec::new();
    for table in &tables.tables {
        if columns_of(server, &tables.schema, *table).await?.is_empty() {
            missing.push(*table);
        }
    }
    Ok(missing)
}

/// Creates these tables, which were missing: another task may be about to do the same. Commits what is open.
pub(crate) async fn create(server: &mut Server, tables: &ControlTables, missing: &[ControlTable]) -> Result<(), ConnectorError> {
    let what = format!("create the control tables in database \"{}\"", tables.schema);
    if !has_database(server, &tables.schema).await? {
        let name = Dialect::MYSQL.identifier(&tables.schema);
        run(&mut server.conn, &what, &format!("create database if not exists {name} character set utf8mb4 collate utf8mb4_bin")).await?;
    }
    let engine = server.facts().engine;
    for table in missing {
        run(&mut server.conn, &what, &tables.create_sql(*table, engine)).await?;
    }
    Ok(())
}

/// Inside a transaction of the caller. The session waits for locks only briefly meanwhile.
pub(crate) async fn write(server: &mut Server, writes: &[ControlWrite]) -> Result<(), ConnectorError> {
    wait_for_locks(server, SHORT_LOCK_TIMEOUT_S).await?;
    for write in writes {
        statements(server, write).await?;
    }
    wait_for_locks(server, LOCK_TIMEOUT_S).await
}

async fn wait_for_locks(server: &mut Server, seconds: u32) -> Result<(), ConnectorError> {
    let sql = format!("set session innodb_lock_wait_timeout = {seconds}, lock_wait_timeout = {seconds}");
    run(&mut server.conn, "set how long to wait for locks", &sql).await
}

/// Inside the transaction that writes these rows of the error table: tells of them where the task asks for it.
pub(crate) async fn tell(server: &mut Server, rejected: &[RejectedRow]) -> Result<(), ConnectorError> {
    for exception in rejected.iter().filter_map(|row| row.exception.clone()) {
        statements(server, &ControlWrite::Append(exception)).await?;
    }
    Ok(())
}

async fn statements(server: &mut Server, write: &ControlWrite) -> Result<(), ConnectorError> {
    for sql in write.statements(server.facts().engine) {
        run(&mut server.conn, &format!("write to control table \"{}\"", write.table()), &sql).await?;
    }
    Ok(())
}
