//! What would stop or falsify a task, found before it starts.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use mysql_async::Conn;
use tidegate_connector::{ConnectorError, Dialect, Finding, SourceTable};
use tidegate_model::{Engine, SqlType, TableName, TableSchema};

use crate::charset::{Charset, of_collation};
use crate::connect::{Connector, rows, run};

/// Below a day, a stop over night may lose the position.
const EXPIRY_SECONDS_MIN: f64 = 86_400.0;

/// All findings.
pub(crate) async fn check(
    connector: &Connector,
    engine: Engine,
    tables: &[Arc<SourceTable>],
    cdc: bool,
) -> Result<Vec<Finding>, ConnectorError> {
    let conn = &mut connector.open().await?;
    // A table that somebody has locked would hold up the whole task, and its stream with it.
    run(conn, "bound the wait for locks", "set session lock_wait_timeout = 2").await?;
    let pairs: Vec<(String, Option<String>)> = rows(conn, "read the server's settings", "show global variables").await?;
    let settings: HashMap<String, String> =
        pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.unwrap_or_default())).collect();
    let mut findings = Vec::new();
    version(engine, &settings, &mut findings);
    if cdc {
        log_settings(engine, &settings, &mut findings);
        grants(conn, engine, &mut findings).await?;
        filters(conn, engine, &mut findings).await?;
        replica(conn, engine, &settings, &mut findings).await?;
        cascades(conn, engine, &settings, tables, &mut findings).await?;
    }
    if engine == Engine::Mariadb {
        hidden_keys(conn, tables, cdc, &mut findings).await?;
    }
    for table in tables {
        check_table(conn, engine, table, &mut findings).await?;
        key_charsets(connector, &table.schema, &mut findings).await?;
    }
    Ok(findings)
}

fn version(engine: Engine, settings: &HashMap<String, String>, findings: &mut Vec<Finding>) {
    let found = settings.get("version").cloned().unwrap_or_default();
    let (wanted, name) =
        if engine == Engine::Mariadb { ((10, 5, 0), "MariaDB 10.5 or later") } else { ((8, 0, 14), "MySQL 8.0.14 or later") };
    if version_numbers(&found) < wanted {
        findings.push(Finding::error("server_version", "server", found, name));
    }
}

pub(crate) fn version_numbers(text: &str) -> (u32, u32, u32) {
    let mut numbers = text.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn log_settings(engine: Engine, settings: &HashMap<String, String>, findings: &mut Vec<Finding>) {
    let mysql = engine == Engine::Mysql;
    let set = if mysql { "set persist" } else { "set global" };
    let get = |name: &str| settings.get(name).map(String::as_str);
    let object = |name: &str| format!("setting \"{name}\"");
    let mut want = |name: &'static str, wanted: &[&str], fix: String| {
        let found = get(name).unwrap_or("nothing");
        if !wanted.iter().any(|wanted| found.eq_ignore_ascii_case(wanted)) {
            findings.push(Finding::error(name, object(name), found, wanted[0]).fix(fix));
        }
    };
    want("log_bin", &["ON", "1"], "start the server with --log-bin".to_owned());
    want("binlog_format", &["ROW"], format!("{set} binlog_format = 'ROW'"));
    // The latter leaves out after an update what stands before it.
    let images: &[&str] = if mysql { &["FULL"] } else { &["FULL", "FULL_NODUP"] };
    want("binlog_row_image", images, format!("{set} binlog_row_image = 'FULL'"));
    want("binlog_row_metadata", &["FULL"], format!("{set} binlog_row_metadata = 'FULL'"));
    if mysql {
        want(
            "gtid_mode",
            &["ON"],
            "set persist enforce_gtid_consistency = ON, then gtid_mode through OFF_PERMISSIVE and ON_PERMISSIVE to ON".to_owned(),
        );
        want("enforce_gtid_consistency", &["ON"], "set persist enforce_gtid_consistency = ON".to_owned());
        if let Some(found) = get("binlog_row_value_options").filter(|value| !value.is_empty()) {
            let finding = Finding::error("partial_json", object("binlog_row_value_options"), found, "nothing");
            findings.push(finding.fix("set persist binlog_row_value_options = ''"));
        }
    } else {
        if get("gtid_strict_mode").is_some_and(|value| value.eq_ignore_ascii_case("off")) {
            findings.push(
                Finding::warning("gtid_strict_mode", object("gtid_strict_mode"), "OFF", "ON").fix("set global gtid_strict_mode = ON"),
            );
        }
        if get("mysql56_temporal_format").is_some_and(|value| value.eq_ignore_ascii_case("off")) {
            let finding =
                Finding::warning("old_temporal", object("mysql56_temporal_format"), "OFF", "ON: the old format does not log fractions");
            findings.push(finding.fix("set global mysql56_temporal_format = ON"));
        }
    }
    let expiry: f64 = get("binlog_expire_logs_seconds").and_then(|value| value.parse().ok()).unwrap_or(0.0);
    if expiry > 0.0 && expiry < EXPIRY_SECONDS_MIN {
        let finding = Finding::warning(
            "binlog_expiry",
            object("binlog_expire_logs_seconds"),
            format!("{expiry}"),
            "604800, so that a stopped task can resume",
        );
        findings.push(finding.fix(format!("{set} binlog_expire_logs_seconds = 604800")));
    }
}

async fn grants(conn: &mut Conn, engine: Engine, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let lines: Vec<String> = rows(conn, "read grants", "show grants for current_user()").await?;
    let global: Vec<String> = lines.iter().map(|line| line.to_ascii_uppercase()).filter(|line| line.contains(" ON *.* ")).collect();
    let has = |names: &[&str]| global.iter().any(|line| line.contains("ALL PRIVILEGES") || names.iter().any(|name| line.contains(name)));
    // A role may grant what the lines do not show.
    let by_role = lines.iter().any(|line| !line.to_ascii_uppercase().contains(" ON "));
    let (replica, client): (&[&str], &[&str]) = match engine {
        Engine::Mariadb => (&["REPLICATION SLAVE", "REPLICATION REPLICA"], &["REPLICATION CLIENT", "BINLOG MONITOR"]),
        Engine::Mysql | Engine::Postgres => (&["REPLICATION SLAVE"], &["REPLICATION CLIENT"]),
    };
    for names in [replica, client] {
        if !has(names) {
            let object = "user of the endpoint";
            let found = format!("no {} on *.*", names[0]);
            let make = if by_role { Finding::warning } else { Finding::error };
            findings.push(
                make("missing_privilege", object.to_owned(), found, names[0].to_owned())
                    .fix(format!("grant {} on *.* to <user>", names[0])),
            );
        }
    }
    Ok(())
}

async fn filters(conn: &mut Conn, engine: Engine, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let what = "read the binary log's filters";
    // MySQL renamed the statement in 8.2, MariaDB kept the old name.
    let sql = if engine == Engine::Mariadb { "show master status" } else { "show binary log status" };
    let status: Vec<mysql_async::Row> = match rows(conn, what, sql).await {
        Ok(found) => found,
        Err(_) if engine == Engine::Mysql => match rows(conn, what, "show master status").await {
            Ok(found) => found,
            Err(_) => return Ok(()),
        },
        Err(_) => return Ok(()),
    };
    for row in status {
        for (column, code) in [("Binlog_Do_DB", "binlog_do_db"), ("Binlog_Ignore_DB", "binlog_ignore_db")] {
            let found: Option<String> = row.get_opt(column).and_then(Result::ok).flatten();
            if let Some(found) = found.filter(|found| !found.is_empty()) {
                let finding = Finding::error(code, format!("setting \"{code}\""), found, "nothing: filtered databases are not logged");
                findings.push(finding.fix(format!("start the server without --{}", code.replace('_', "-"))));
            }
        }
    }
    Ok(())
}

/// A replica that does not log what it replicates has nothing to tell: the task would wait for ever.
async fn replica(
    conn: &mut Conn,
    engine: Engine,
    settings: &HashMap<String, String>,
    findings: &mut Vec<Finding>,
) -> Result<(), ConnectorError> {
    let (name, sql) = match engine {
        Engine::Mariadb => ("log_slave_updates", "show all slaves status"),
        Engine::Mysql | Engine::Postgres => ("log_replica_updates", "show replica status"),
    };
    if !settings.get(name).is_some_and(|value| value.eq_ignore_ascii_case("off")) {
        return Ok(());
    }
    let status: Vec<mysql_async::Row> = match rows(conn, "read the replica's state", sql).await {
        Ok(status) => status,
        Err(error) if error.code() == "missing_privilege" => {
            let right = if engine == Engine::Mariadb { "SLAVE MONITOR" } else { "REPLICATION CLIENT" };
            let found = format!("no {right} on *.*: a replica that does not log what it replicates would not be noticed");
            let finding = Finding::warning("missing_privilege", "user of the endpoint", found, right);
            findings.push(finding.fix(format!("grant {} on *.* to <user>", right.to_lowercase())));
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    if !status.is_empty() {
        let finding = Finding::error("log_replica_updates", format!("setting \"{name}\""), "OFF on a replica", "ON");
        findings.push(finding.fix(format!("start the server with --{}", name.replace('_', "-"))));
    }
    Ok(())
}

/// Whether the server logs child rows that a cascade changes: MySQL from 9.6 on, unless it was started to leave that to
/// InnoDB.
fn has_logged_cascades(engine: Engine, settings: &HashMap<String, String>) -> bool {
    let version = version_numbers(settings.get("version").map_or("", String::as_str));
    let native = settings.get("innodb_native_foreign_keys").is_some_and(|value| value.eq_ignore_ascii_case("on"));
    engine == Engine::Mysql && version >= (9, 6, 0) && !native
}

/// The same, asked of the server.
pub(crate) async fn logs_cascades(conn: &mut Conn, engine: Engine) -> Result<bool, ConnectorError> {
    let sql = "show global variables where variable_name in ('version', 'innodb_native_foreign_keys')";
    let settings: Vec<(String, String)> = rows(conn, "read the server's version", sql).await?;
    Ok(has_logged_cascades(engine, &settings.into_iter().collect()))
}

/// Child rows that a cascade changes are not logged by MariaDB and by MySQL before 9.6.
async fn cascades(
    conn: &mut Conn,
    engine: Engine,
    settings: &HashMap<String, String>,
    tables: &[Arc<SourceTable>],
    findings: &mut Vec<Finding>,
) -> Result<(), ConnectorError> {
    if has_logged_cascades(engine, settings) {
        return Ok(());
    }
    let scope: HashSet<&TableName> = tables.iter().map(|table| &table.schema.name).collect();
    // MariaDB opens each table that it is asked for, and waits for its lock; MySQL looks into its dictionary.
    let places: BTreeSet<String> = scope
        .iter()
        .map(|table| match engine {
            Engine::Mariadb => child_place(table),
            _ => format!("constraint_schema = {}", Dialect::MYSQL.literal(&table.schema)),
        })
        .collect();
    let mut found: Vec<(String, String, String, String, String)> = Vec::new();
    for place in places {
        let sql = format!(
            "select constraint_schema, table_name, constraint_name, delete_rule, update_rule from information_schema.referential_constraints \
             where {place} and (delete_rule in ('CASCADE', 'SET NULL', 'SET DEFAULT') or update_rule in ('CASCADE', 'SET NULL', 'SET DEFAULT'))"
        );
        found.extend(rows(conn, "list foreign keys", &sql).await?);
    }
    for (schema, child, name, on_delete, on_update) in found {
        let child = TableName { schema, name: child };
        if scope.contains(&child) {
            let object = format!("foreign key \"{name}\" of table \"{child}\"");
            let rules = format!("ON DELETE {on_delete} ON UPDATE {on_update}, whose changes this server does not log");
            let finding = Finding::error("cascade_not_logged", object, rules, "RESTRICT or NO ACTION");
            findings.push(finding.fix(format!(
                "alter table {} drop foreign key {}, then add it again without actions",
                Dialect::MYSQL.table(&child),
                Dialect::MYSQL.identifier(&name)
            )));
        }
    }
    Ok(())
}

/// The condition for a table's rows in `information_schema.referential_constraints`.
fn child_place(table: &TableName) -> String {
    format!("constraint_schema = {} and table_name = {}", Dialect::MYSQL.literal(&table.schema), Dialect::MYSQL.literal(&table.name))
}

/// MariaDB keeps foreign keys from a user who may only read. Their cascades, which it does not log, would be missed.
async fn hidden_keys(conn: &mut Conn, tables: &[Arc<SourceTable>], cdc: bool, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let mut hiding = BTreeSet::new();
    for table in tables {
        let (what, name) = ("list foreign keys", &table.schema.name);
        let named = format!(
            "select distinct constraint_name from information_schema.key_column_usage \
             where table_schema = {} and table_name = {} and referenced_table_name is not null",
            Dialect::MYSQL.literal(&name.schema),
            Dialect::MYSQL.literal(&name.name)
        );
        let named: Vec<String> = rows(conn, what, &named).await?;
        if named.is_empty() {
            continue;
        }
        let known = format!("select constraint_name from information_schema.referential_constraints where {}", child_place(name));
        let known: Vec<String> = rows(conn, what, &known).await?;
        if named.iter().any(|key| !known.contains(key)) {
            hiding.insert(name.schema.as_str());
        }
    }
    for schema in hiding {
        let make = if cdc { Finding::error } else { Finding::warning };
        let found = "no right but SELECT: MariaDB hides foreign keys and what they do to child rows".to_owned();
        let finding = make("missing_privilege", format!("database \"{schema}\""), found, "SHOW VIEW, or another right".to_owned());
        findings.push(finding.fix(format!("grant show view on {}.* to <user>", Dialect::MYSQL.identifier(schema))));
    }
    Ok(())
}

async fn check_table(conn: &mut Conn, engine: Engine, table: &SourceTable, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let name = &table.schema.name;
    let object = format!("table \"{name}\"");
    let quoted = Dialect::MYSQL.table(name);
    let place = format!("table_schema = {} and table_name = {}", Dialect::MYSQL.literal(&name.schema), Dialect::MYSQL.literal(&name.name));
    let what = format!("check table \"{name}\"");
    let kinds: Vec<(Option<String>, String)> =
        rows(conn, &what, &format!("select engine, table_type from information_schema.tables where {place}")).await?;
    for (storage, kind) in kinds {
        if kind.eq_ignore_ascii_case("system versioned") {
            findings.push(
                Finding::error("system_versioned", &object, "a system-versioned table", "an ordinary table")
                    .fix("take the table out of the task"),
            );
        }
        let storage = storage.unwrap_or_default();
        if !storage.eq_ignore_ascii_case("innodb") {
            let finding = Finding::warning("storage_engine", &object, storage, "InnoDB: other engines are not in a consistent snapshot");
            findings.push(finding.fix(format!("alter table {quoted} engine = InnoDB")));
        }
    }
    let columns: Vec<(String, Option<String>, String)> =
        rows(conn, &what, &format!("select column_name, character_set_name, column_type from information_schema.columns where {place}"))
            .await?;
    for (column, charset, column_type) in columns {
        let object = format!("column \"{column}\" of table \"{name}\"");
        if let Some(charset) = charset.filter(|charset| !Charset::is_supported(charset)) {
            let finding = Finding::error(
                "charset_unsupported",
                &object,
                format!("character set {charset}"),
                "one of the character sets that MySQL and MariaDB come with",
            );
            findings.push(finding.fix(format!("alter table {quoted} convert to character set utf8mb4")));
        }
        if engine == Engine::Mariadb && column_type.to_ascii_lowercase().contains("compressed") {
            let finding = Finding::error("column_compressed", &object, "COMPRESSED", "an uncompressed column");
            findings.push(finding.fix(format!("alter table {quoted} modify the column without COMPRESSED")));
        }
    }
    match rows::<u8>(conn, &what, &format!("select 1 from {quoted} limit 0")).await {
        Ok(_) => {}
        Err(error) if error.code() == "missing_privilege" => {
            let finding = Finding::error("missing_privilege", &object, "no SELECT", "SELECT");
            findings.push(finding.fix(format!("grant select on {quoted} to <user>")));
        }
        // Privileges are looked at before locks.
        Err(error) if error.code() == "lock_wait" => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Keys of character sets in which one character has several codes: the server tells two such keys apart, and both are one text.
async fn key_charsets(connector: &Connector, schema: &TableSchema, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    for (index, column) in schema.columns.iter().enumerate() {
        let in_key = schema.primary_key.contains(&index) || schema.unique_keys.iter().any(|key| key.contains(&index));
        let Some(name) = column.collation.as_deref().map(of_collation).filter(|_| in_key) else { continue };
        if !matches!(column.sql_type, SqlType::Text { .. }) {
            continue;
        }
        let repeated = connector.charset(name).await?.map_or(0, |charset| charset.repeated());
        if repeated > 0 {
            let object = format!("column \"{}\" of table \"{}\"", column.name, schema.name);
            let found = format!(
                "character set {name} in a key, with {repeated} codes of characters that have another one: keys that differ in them arrive as one"
            );
            let finding = Finding::warning("key_charset", object, found, "a character set with one code for each character");
            let quoted = Dialect::MYSQL.table(&schema.name);
            findings.push(finding.fix(format!("alter table {quoted} convert to character set utf8mb4")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_that_hides_changes_is_found() {
        let settings =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<HashMap<_, _>>();
        let good = [
            ("log_bin", "ON"),
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
            ("binlog_row_metadata", "FULL"),
            ("gtid_mode", "ON"),
            ("enforce_gtid_consistency", "ON"),
            ("binlog_row_value_options", ""),
            ("binlog_expire_logs_seconds", "2592000"),
        ];
        let mut findings = Vec::new();
        log_settings(Engine::Mysql, &settings(&good), &mut findings);
        assert_eq!(findings, []);
        for (index, wrong) in ["OFF", "MIXED", "MINIMAL", "MINIMAL", "OFF", "WARN", "PARTIAL_JSON", "60"].iter().enumerate() {
            let mut changed = good;
            changed[index].1 = wrong;
            let mut findings = Vec::new();
            log_settings(Engine::Mysql, &settings(&changed), &mut findings);
            assert_eq!(findings.len(), 1, "{}", changed[index].0);
            assert!(findings[0].fix.is_some());
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version_numbers("10.11.14-MariaDB-log") > version_numbers("10.5.2"));
        assert_eq!(version_numbers("9.7.4-2"), (9, 7, 4));
    }
}
