//! What would stop or falsify a task, found before anything is written.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tidegate_connector::{ConnectorError, Dialect, Finding, LOG_HELD_WARNED_BYTES, ServerSettings, Severity, SourceTable};
use tidegate_model::{BeforeImages, TableName, TaskId};
use tokio_postgres::Client;

use super::catalog::{self, TableFacts, get};
use super::names::capture_name;
use super::slot::{is_taken, log_held};
use crate::connect;
use crate::fault::pg_error;
use crate::types::unsent_part;

/// `publish_via_partition_root` with streaming and binary, TID range scans: PostgreSQL 14.
const VERSION_MIN: i32 = 140_000;

/// Facts of the server and of the user's rights. Amazon RDS gives nobody REPLICATION; who is a member of a role of its own has it there.
/// Source: Amazon RDS user guide, "Performing logical replication for Amazon RDS for PostgreSQL".
const SERVER: &str = "select pg_catalog.current_setting('server_version_num')::pg_catalog.int4, pg_catalog.current_setting('wal_level'), \
    pg_catalog.pg_is_in_recovery(), r.rolreplication or r.rolsuper or exists (select from pg_catalog.pg_roles m \
        where m.rolname = 'rds_replication' and pg_catalog.pg_has_role(r.oid, m.oid, 'usage')), r.rolsuper, r.rolbypassrls or r.rolsuper, \
    pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), pg_catalog.current_database()::pg_catalog.text, \
    (select pg_catalog.count(*) from pg_catalog.pg_replication_slots), \
    (select pg_catalog.count(*) from pg_catalog.pg_replication_slots s where s.slot_name = $1::pg_catalog.text::pg_catalog.name), \
    pg_catalog.current_setting('max_replication_slots')::pg_catalog.int8, \
    (select pg_catalog.count(*) from pg_catalog.pg_stat_activity a where a.backend_type = 'walsender'), \
    pg_catalog.current_setting('max_wal_senders')::pg_catalog.int8, \
    pg_catalog.current_setting('max_slot_wal_keep_size'), pg_catalog.current_setting('idle_replication_slot_timeout', true), \
    current_user::pg_catalog.text, pg_catalog.current_setting('server_encoding'), \
    (select s.reset_val from pg_catalog.pg_settings s where s.name = 'synchronous_commit') \
    from pg_catalog.pg_roles r where r.rolname = current_user";

/// What stands beside the tables of these schemas and is not replicated: of extensions only tables, which may hold users' rows.
const BESIDE: &str = "select case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table' \
    else 'table of an extension' end, n.nspname::pg_catalog.text, c.relname::pg_catalog.text \
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid and d.deptype = 'e' \
    where n.nspname = any($1) and not c.relispartition \
    and (c.relkind in ('v', 'm', 'f') and d.objid is null or c.relkind in ('r', 'p') and d.objid is not null) order by 1, 2, 3";

/// Columns that may name large objects, where the database has any.
const LARGE_OBJECTS: &str = "select n.nspname::pg_catalog.text, c.relname::pg_catalog.text, a.attname::pg_catalog.text \
    from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    join pg_catalog.pg_type t on t.oid = a.atttypid where c.oid = any($1) and a.attnum > 0 and not a.attisdropped \
    and 'pg_catalog.oid'::pg_catalog.regtype in (t.oid, t.typbasetype) \
    and exists (select from pg_catalog.pg_largeobject_metadata) order by 1, 2, a.attnum";

/// Tables with all that is below them, which a snapshot locks, and how many locks the server has room for. Source: PostgreSQL manual,
/// "Lock Management", `max_locks_per_transaction`.
const LOCKS: &str = "with recursive locked(oid) as (select pg_catalog.unnest($1::pg_catalog.oid[]) \
    union select i.inhrelid from pg_catalog.pg_inherits i join locked l on l.oid = i.inhparent) select pg_catalog.count(*), \
    pg_catalog.current_setting('max_locks_per_transaction')::pg_catalog.int8, \
    pg_catalog.current_setting('max_connections')::pg_catalog.int8 + pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int8 \
    from locked";

/// Names that a finding lists before it says how many more there are.
const LISTED_MAX: usize = 5;

/// See `Source::check`.
pub(crate) async fn check(
    server: &ServerSettings,
    task: &TaskId,
    tables: &[Arc<SourceTable>],
    cdc: bool,
) -> Result<Vec<Finding>, ConnectorError> {
    let client = connect::client(server, "check").await?;
    let mut findings = Vec::new();
    let user = check_server(&client, task, cdc, &mut findings).await?;
    let names: Vec<_> = tables.iter().map(|table| table.schema.name.clone()).collect();
    let facts = catalog::tables_by_name(&client, &names).await?;
    let by_name: HashMap<&TableName, &TableFacts> = facts.iter().map(|facts| (&facts.name, facts)).collect();
    for table in tables {
        let name = &table.schema.name;
        match by_name.get(name) {
            Some(facts) => check_table(table, facts, &user, cdc, &mut findings),
            None => {
                findings.push(Finding::error("object_missing", format!("table \"{name}\""), "nothing", "a table that the user may see"))
            }
        }
    }
    check_types(&client, &facts, &mut findings).await?;
    check_beside(&client, &facts, &mut findings).await?;
    findings.extend(check_locks(&client, &facts).await?);
    Ok(findings)
}

/// Types whose values neither COPY nor the log can send: they have a binary form, and a part of them has none.
async fn check_types(client: &Client, tables: &[TableFacts], findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let types =
        catalog::types(client, tables.iter().flat_map(|table| table.columns.iter().map(|column| column.type_oid)).collect()).await?;
    for table in tables {
        for column in table.columns.iter().filter(|column| !column.generated) {
            let Some(part) = unsent_part(&types, column.type_oid) else { continue };
            let object = format!("column \"{}\" of table \"{}\"", column.name, table.name);
            let found = format!("a type with parts of type {}, which the server cannot send inside of others", part.name);
            let (name, target) = (Dialect::POSTGRES.identifier(&column.name), Dialect::POSTGRES.table(&table.name));
            let finding = Finding::error("column_type", object, found, "a type of which every part has a binary form");
            findings.push(
                finding.fix(format!("alter table {target} alter column {name} type text using {name}::text; or leave the table out")),
            );
        }
    }
    Ok(())
}

/// A snapshot locks every table of the task against rewriting, so there has to be room for the locks.
async fn check_locks(client: &Client, tables: &[TableFacts]) -> Result<Option<Finding>, ConnectorError> {
    let attempted = "count the locks of a snapshot";
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let row = client.query_one(LOCKS, &[&oids]).await.map_err(|error| pg_error(attempted, error))?;
    Ok(few_locks(get(&row, 0, attempted)?, get(&row, 1, attempted)?, get(&row, 2, attempted)?))
}

/// Half of the room is for others: a server whose locks are all taken refuses its users' statements.
fn few_locks(wanted: i64, per_transaction: i64, transactions: i64) -> Option<Finding> {
    let room = per_transaction.saturating_mul(transactions);
    (wanted > room / 2).then(|| {
        let found = format!("{per_transaction}, room for {room} locks of all sessions; a snapshot takes {wanted}");
        let fitting = (wanted.saturating_mul(2) / transactions.max(1)).saturating_add(1);
        let name = "max_locks_per_transaction";
        Finding::warning(name, format!("setting \"{name}\""), found, format!("{fitting}, so that half of the room is left"))
            .fix(format!("alter system set {name} = {fitting}; then restart the server"))
    })
}

/// Views, foreign tables, extensions' tables and large objects: no log carries them, or they are none of a task's, so a person who expects them is told.
async fn check_beside(client: &Client, tables: &[TableFacts], findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let attempted = "look for what is not replicated";
    let failed = |error| pg_error(attempted, error);
    let schemas: Vec<&str> = tables.iter().map(|table| table.name.schema.as_str()).collect();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in &client.query(BESIDE, &[&schemas]).await.map_err(failed)? {
        let name = TableName::new(get::<String>(row, 1, attempted)?, get::<String>(row, 2, attempted)?);
        found.entry(get(row, 0, attempted)?).or_default().push(format!("\"{name}\""));
    }
    for (kind, names) in found {
        let more = names.len().saturating_sub(LISTED_MAX);
        let list = names[..names.len() - more].join(", ");
        let list = if more > 0 { format!("{list} and {more} more") } else { list };
        let wanted = "a table of users: others are not replicated";
        let finding = Finding::warning("not_a_table", format!("{kind} {list}"), format!("a {kind}"), wanted);
        findings.push(Finding { severity: Severity::Info, ..finding });
    }
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    for row in &client.query(LARGE_OBJECTS, &[&oids]).await.map_err(failed)? {
        let table = TableName::new(get::<String>(row, 0, attempted)?, get::<String>(row, 1, attempted)?);
        let object = format!("column \"{}\" of table \"{table}\"", get::<String>(row, 2, attempted)?);
        let found = "numbers in a database with large objects, which no log carries";
        let finding = Finding::warning("large_objects", object, found, "the values themselves, in a column of type bytea");
        findings
            .push(finding.fix("add a bytea column and fill it with lo_get; if the numbers name no large objects, nothing is to be done"));
    }
    Ok(())
}

/// A slot that holds much of the log: nobody reads it, or a transaction has been open for long.
fn held(slot: &str, bytes: u64) -> Option<Finding> {
    (bytes > LOG_HELD_WARNED_BYTES).then(|| {
        let found = format!("{} MiB of log that the server keeps for it", bytes >> 20);
        Finding::warning("log_held", format!("replication slot \"{slot}\""), found, format!("at most {} MiB", LOG_HELD_WARNED_BYTES >> 20))
            .fix(
                "start the task, so that it reads the log; end transactions that have been open for long; delete a task that is not needed",
            )
    })
}

/// The user that is connected, and what it may do everywhere.
struct User {
    name: String,
    sees_all_rows: bool,
}

async fn check_server(client: &Client, task: &TaskId, cdc: bool, findings: &mut Vec<Finding>) -> Result<User, ConnectorError> {
    let attempted = "read the server's settings";
    let row = client.query_one(SERVER, &[&capture_name(task)]).await.map_err(|error| pg_error(attempted, error))?;
    let text = |index: usize| get::<String>(&row, index, attempted);
    let flag = |index: usize| get::<bool>(&row, index, attempted);
    let number = |index: usize| get::<i64>(&row, index, attempted);
    let version: i32 = get(&row, 0, attempted)?;
    let user = User { name: text(15)?, sees_all_rows: flag(5)? };
    let quoted_user = Dialect::POSTGRES.identifier(&user.name);
    if version < VERSION_MIN {
        let found = format!("{}.{}", version / 10_000, version % 10_000);
        findings.push(Finding::error("server_version", "server", format!("PostgreSQL {found}"), "PostgreSQL 14 or later"));
    }
    if text(16)? == "SQL_ASCII" {
        findings.push(Finding::warning(
            "server_encoding",
            "database encoding",
            "SQL_ASCII",
            "an encoding that the server checks, such as UTF8",
        ));
    }
    if text(17)? == "off" {
        // PostgreSQL manual, "Asynchronous Commit".
        let found = "off: a snapshot may read commits that a crash of the server takes back, and the target would keep their rows";
        let finding =
            Finding::warning("synchronous_commit", "setting \"synchronous_commit\"", found, "local, or on, while tables are loaded");
        findings.push(finding.fix("alter system set synchronous_commit = local; select pg_reload_conf()"));
    }
    if !cdc {
        return Ok(user);
    }
    if text(1)? != "logical" {
        let finding = Finding::error("wal_level", "setting \"wal_level\"", text(1)?, "logical");
        let fix =
            "alter system set wal_level = logical; then restart the server (Amazon RDS: rds.logical_replication = 1 in its parameters)";
        findings.push(finding.fix(fix));
    }
    if flag(2)? {
        findings.push(Finding::error("in_recovery", "server", "a standby", "the primary"));
    }
    if !flag(3)? {
        let finding = Finding::error("missing_privilege", format!("role \"{}\"", user.name), "no REPLICATION", "REPLICATION");
        findings.push(finding.fix(format!("alter role {quoted_user} replication; on Amazon RDS: grant rds_replication to {quoted_user}")));
    }
    if !flag(6)? {
        let database = text(7)?;
        let finding = Finding::error("missing_privilege", format!("database \"{database}\""), "no CREATE", "CREATE, to make a publication");
        findings.push(finding.fix(format!("grant create on database {} to {quoted_user}", Dialect::POSTGRES.identifier(&database))));
    }
    if number(9)? == 0 && number(8)? >= number(10)? {
        let finding = Finding::error(
            "max_replication_slots",
            "setting \"max_replication_slots\"",
            format!("all {} in use", number(10)?),
            "one free slot",
        );
        findings.push(finding.fix(format!("alter system set max_replication_slots = {}; then restart the server", number(10)? + 4)));
    }
    if number(9)? > 0 {
        let name = capture_name(task);
        if is_taken(client, &name).await? {
            let found = "one of another database of this server, or of another kind";
            let finding = Finding::error(
                "slot_taken",
                format!("replication slot \"{name}\""),
                found,
                "that name free: it counts for the whole server",
            );
            findings.push(
                finding.fix(format!("give the task another name; if nobody needs the slot: select pg_drop_replication_slot('{name}')")),
            );
        }
        findings.extend(held(&name, log_held(client, &name).await?.unwrap_or(0)));
    }
    if number(11)? >= number(12)? {
        let finding = Finding::error("max_wal_senders", "setting \"max_wal_senders\"", format!("all {} in use", number(12)?), "one free");
        findings.push(finding.fix(format!("alter system set max_wal_senders = {}; then restart the server", number(12)? + 4)));
    }
    let keep = text(13)?;
    if keep != "-1" {
        findings.push(
            Finding::warning(
                "max_slot_wal_keep_size",
                "setting \"max_slot_wal_keep_size\"",
                keep,
                "-1, or more than the source writes while the task is stopped",
            )
            .fix("alter system set max_slot_wal_keep_size = -1; select pg_reload_conf()"),
        );
    }
    if let Some(timeout) = get::<Option<String>>(&row, 14, attempted)?.filter(|timeout| timeout != "0") {
        findings.push(
            Finding::warning(
                "idle_replication_slot_timeout",
                "setting \"idle_replication_slot_timeout\"",
                timeout,
                "0, or longer than the task is stopped",
            )
            .fix("alter system set idle_replication_slot_timeout = 0; select pg_reload_conf()"),
        );
    }
    Ok(user)
}

fn check_table(table: &SourceTable, facts: &TableFacts, user: &User, cdc: bool, findings: &mut Vec<Finding>) {
    let object = format!("table \"{}\"", facts.name);
    let quoted = Dialect::POSTGRES.table(&facts.name);
    let quoted_user = Dialect::POSTGRES.identifier(&user.name);
    if !facts.selectable {
        let schema = Dialect::POSTGRES.identifier(&facts.name.schema);
        let finding = Finding::error("missing_privilege", &object, "no SELECT", "SELECT");
        findings.push(finding.fix(format!("grant usage on schema {schema} to {quoted_user}; grant select on {quoted} to {quoted_user}")));
    }
    if facts.row_security && !user.sees_all_rows {
        let finding = Finding::error("row_security", &object, "row level security that may hide rows", "a role that sees all rows");
        findings.push(finding.fix(format!("alter role {quoted_user} bypassrls")));
    }
    if !cdc {
        return;
    }
    if !facts.owned {
        let (owner, is_superuser) = &facts.owner;
        let found = format!("owner \"{owner}\", of whom the user is no member");
        let finding = Finding::error("missing_privilege", &object, found, "the owner's rights, to publish the table");
        findings.push(finding.fix(if *is_superuser {
            format!(
                "make another role its owner (alter table {quoted} owner to <role>) and the user a member: grant <role> to {quoted_user}"
            )
        } else {
            format!("grant {} to {quoted_user}", Dialect::POSTGRES.identifier(owner))
        }));
    }
    if facts.persistence == b'u' {
        // No server version takes an unlogged table into a publication.
        let finding = Finding::error("unlogged", &object, "an unlogged table, whose changes are in no log", "a logged table");
        findings.push(finding.fix(format!("alter table {quoted} set logged")));
    }
    if facts.partitioned {
        // PostgreSQL manual, "Publication": what is done to a partition as a whole is not published by way of the root.
        let found = "a partitioned table: the log tells nothing of TRUNCATE, ATTACH, DETACH and DROP of single partitions";
        let finding = Finding::warning("partitioned", &object, found, "few such commands: the whole table is loaded again after each");
        findings.push(Finding { severity: Severity::Info, ..finding });
    }
    let deferrable = facts.indexes.iter().any(|index| index.primary && !index.immediate);
    if table.schema.before_images == BeforeImages::None {
        let found = if deferrable { "a deferrable primary key, which identifies no row" } else { "no replica identity" };
        let wanted = "a primary key, an identity index or full row images; published without, its updates would fail at the source";
        findings
            .push(Finding::error("no_replica_identity", &object, found, wanted).fix(format!("alter table {quoted} replica identity full")));
    } else if deferrable {
        findings.push(Finding::warning("deferrable_key", &object, "a deferrable primary key", "one that is checked at once"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_of_more_tables_than_half_of_the_locks_is_a_warning() {
        assert!(few_locks(3_200, 64, 100).is_none());
        let finding = few_locks(30_000, 64, 100).expect("a finding");
        assert_eq!((finding.code, finding.severity), ("max_locks_per_transaction", Severity::Warning));
        assert!(finding.fix.is_some_and(|fix| fix.contains("max_locks_per_transaction = 601;")));
    }

    #[test]
    fn a_slot_that_holds_much_log_is_a_warning() {
        assert!(held("tidegate_x", LOG_HELD_WARNED_BYTES).is_none());
        let finding = held("tidegate_x", 3 << 30).expect("a finding");
        assert_eq!((finding.code, finding.found.as_str()), ("log_held", "3072 MiB of log that the server keeps for it"));
    }
}
