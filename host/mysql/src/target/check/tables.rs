//! What is wrong with single tables, and with tables beside each other.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tidegate_connector::{
    ColumnOrigin, ConnectorError, Dialect, Finding, Reading, TablePreparation, TargetTable, TextEquality, foreign_key_parts, key_equality,
};
use tidegate_model::{Engine, SqlType, TableName};

use crate::connect::rows;
use crate::target::plan::{TablePlan, unreadable};
use crate::target::real::{RealColumn, RealTable, read_real};
use crate::target::session::{Facts, Server};
use crate::target::{ddl, objects};

/// The longest name in characters. Source: MySQL manual, "Identifier Length Limits".
const NAME_CHARS_MAX: usize = 64;

/// Columns of an InnoDB table, and of one of its keys. Source: MySQL manual, "InnoDB Limits".
const COLUMNS_MAX: usize = 1_017;
const KEY_COLUMNS_MAX: usize = 16;

/// Tables whose names the server takes for one.
pub(super) fn check_together(tables: &[Arc<TargetTable>], facts: &Facts, findings: &mut Vec<Finding>) {
    if !facts.folds_names {
        return;
    }
    let mut seen: HashMap<TableName, &TableName> = HashMap::new();
    for table in tables {
        if let Some(other) = seen.insert(facts.folded(&table.name), &table.name) {
            let found = format!("table \"{other}\" beside it, while lower_case_table_names makes one name of both");
            findings.push(Finding::error("table_name_clash", object(&table.name), found, "names that differ by more than case"));
        }
    }
}

/// A table is checked beside the others that are prepared with it.
pub(super) struct Beside<'a> {
    pub(super) all: &'a [Arc<TargetTable>],
    pub(super) preparation: TablePreparation,
    /// Foreign keys that the task built: a load takes those away that are in its way, and they come again behind it.
    pub(super) built: HashSet<(TableName, String)>,
}

impl Beside<'_> {
    pub(super) async fn check(
        &self,
        server: &mut Server,
        table: &Arc<TargetTable>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), ConnectorError> {
        if !check_names(table, findings) {
            return Ok(());
        }
        check_foreign(table, findings);
        let found = read_real(server, &table.name).await?;
        let is_ours = found.is_none() || self.preparation == TablePreparation::DropAndCreate;
        if is_ours {
            check_new(table, server.facts(), findings);
            findings.extend(objects::foreseen(table, server.facts()));
        }
        if let Some(real) = &found {
            if !is_ours {
                if let Err(error) = TablePlan::new(table, real, server.facts()) {
                    let finding = Finding::error(error.code(), object(&table.name), error.to_string(), "a table that fits the source's");
                    findings.push(match error.hint_text() {
                        Some(hint) => finding.fix(hint),
                        None => finding,
                    });
                    return Ok(());
                }
                check_widths(table, real, findings);
                check_collations(table, real, server.facts(), findings);
                findings.extend(foreign_key_parts(table, server.facts().engine, &real.partial_keys, &object(&table.name)));
                check_triggers(server, table, findings).await?;
            }
            self.check_references(server, table, findings).await?;
            if self.preparation == TablePreparation::Keep {
                check_empty(server, table, findings).await?;
            }
        }
        Ok(())
    }

    async fn check_references(&self, server: &mut Server, table: &TargetTable, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
        if self.preparation == TablePreparation::Keep {
            return Ok(());
        }
        let name = server.facts().folded(&table.name);
        let sql = format!(
            "select constraint_name, table_schema, table_name from information_schema.key_column_usage \
             where referenced_table_schema = {0} and referenced_table_name = {1} and not (table_schema = {0} and table_name = {1}) \
             group by 1, 2, 3 order by 1, 2, 3",
            Dialect::MYSQL.literal(&name.schema),
            Dialect::MYSQL.literal(&name.name)
        );
        let found: Vec<(String, String, String)> = rows(&mut server.conn, "check foreign keys to a table", &sql).await?;
        for (constraint, schema, child) in found {
            let from = TableName::new(schema, child);
            // That table is made anew with it.
            let is_inside = self.all.iter().any(|other| server.facts().folded(&other.name) == from);
            let reference = (from, constraint);
            if is_inside || self.built.contains(&reference) {
                continue;
            }
            let (from, constraint) = reference;
            let found = format!("foreign key \"{constraint}\" of table \"{from}\", whose rows would refer to nothing for a while");
            let fix = format!("alter table {} drop foreign key {}", Dialect::MYSQL.table(&from), Dialect::MYSQL.identifier(&constraint));
            findings.push(
                Finding::error("referenced_table", object(&table.name), found, "no foreign key to a table that is made anew").fix(fix),
            );
        }
        Ok(())
    }
}

fn check_names(table: &TargetTable, findings: &mut Vec<Finding>) -> bool {
    let before = findings.len();
    let source = &table.source.schema.name;
    let own = [("database", &table.name.schema, "schema"), ("table", &table.name.name, "table")];
    let columns = table.columns.iter().map(|column| ("column", &column.name, "column"));
    for (kind, name, rule) in own.into_iter().chain(columns) {
        let fix = format!("add a transformation rule with rule-target \"{rule}\" and rule-action \"rename\"");
        let count = name.chars().count();
        if count > NAME_CHARS_MAX {
            let found = format!("{count} characters, for table \"{source}\" of the source");
            let wanted = format!("at most {NAME_CHARS_MAX} characters");
            findings.push(Finding::error("name_too_long", format!("{kind} \"{name}\""), found, wanted).fix(fix));
        } else if name.ends_with(' ') || name.is_empty() || name.chars().any(|letter| letter == '\0' || u32::from(letter) > 0xffff) {
            let found = "a name with a blank at its end or with characters that the server's names have not";
            findings.push(Finding::error("name_refused", format!("{kind} \"{name}\""), found, "another name").fix(fix));
        }
    }
    let mut seen: HashMap<String, &str> = HashMap::new();
    for column in &table.columns {
        if let Some(other) = seen.insert(column.name.to_lowercase(), &column.name) {
            let found = format!("column \"{other}\" beside it, which differs in case alone");
            let object = format!("column \"{}\" of {}", column.name, object(&table.name));
            let fix = "add a transformation rule with rule-target \"column\" and rule-action \"rename\"";
            findings.push(Finding::error("column_name_clash", object, found, "names that differ by more than case").fix(fix));
        }
    }
    findings.len() == before
}

/// Types that are known to the source's own server alone.
fn check_foreign(table: &TargetTable, findings: &mut Vec<Finding>) {
    for column in &table.columns {
        let ColumnOrigin::Source(at) = column.origin else { continue };
        let Some(source) = table.source.schema.columns.get(at).filter(|_| table.source.decoder.reading(at) == Reading::BinaryForm) else {
            continue;
        };
        let object = format!("column \"{}\" of {}", column.name, object(&table.name));
        let found = format!("type {}: its values arrive as the hexadecimal digits of their binary form", source.native_type);
        let finding = Finding::warning("type_as_bytes", object, found, "a type that both kinds of server have");
        findings.push(finding.fix("make it text at the source, or take the column out of the task with a remove-column rule"));
    }
}

/// A table that is to be created.
fn check_new(table: &TargetTable, facts: &Facts, findings: &mut Vec<Finding>) {
    let mut refuse = |code, found: String, wanted: &str| findings.push(Finding::error(code, object(&table.name), found, wanted));
    if table.columns.is_empty() {
        refuse("no_columns", "a table without columns".into(), "one column at least");
    }
    if table.columns.len() > COLUMNS_MAX {
        refuse("too_many_columns", format!("{} columns", table.columns.len()), "at most 1017 columns");
    }
    if table.primary_key.len() > KEY_COLUMNS_MAX {
        refuse("too_many_columns", format!("a key of {} columns", table.primary_key.len()), "at most 16 columns in a key");
    }
    for (index, column) in table.columns.iter().enumerate() {
        let object = || format!("column \"{}\" of {}", column.name, object(&table.name));
        if let ColumnOrigin::Source(at) = column.origin
            && table.source.decoder.reading(at) == Reading::Nothing
        {
            let error = unreadable(table, at);
            let finding = Finding::error(error.code(), object(), error.to_string(), "a type that the target has");
            findings.push(finding.fix(error.hint_text().unwrap_or_default()));
            continue;
        }
        match ddl::column_type(table, index, facts) {
            Ok(type_sql) => {
                check_key_column(table, index, &type_sql, object(), findings);
                check_key_collation(table, index, &type_sql, facts, &object(), findings);
            }
            Err(error) => findings.push(Finding::error(error.code(), object(), error.to_string(), "a type that the target has")),
        }
        if let (Engine::Mariadb, SqlType::Uuid, false) = (facts.engine, &column.sql_type, facts.version >= (10, 7, 0)) {
            findings.push(Finding::error("server_version", object(), "type uuid, which MariaDB has since 10.7", "a later server"));
        }
        if let SqlType::Enumeration(labels) | SqlType::SetOf(labels) = &column.sql_type
            && labels.iter().any(|label| label.ends_with(' '))
        {
            let wanted = "labels without blanks at their end, which the server drops";
            findings.push(Finding::error("enum_labels", object(), "a label with a blank at its end", wanted));
        }
    }
}

fn check_key_column(table: &TargetTable, index: usize, type_sql: &str, object: String, findings: &mut Vec<Finding>) {
    if !table.primary_key.contains(&index) {
        return;
    }
    let base = tidegate_connector::types::base_name(type_sql);
    let base = base.split(' ').next().unwrap_or_default();
    if matches!(base, "json" | "longtext" | "mediumtext" | "text" | "tinytext" | "longblob" | "mediumblob" | "blob" | "tinyblob") {
        let wanted = "a type that the server can index whole";
        let finding = Finding::error("key_type", object, format!("type {type_sql} in the primary key"), wanted);
        findings.push(finding.fix("choose another key with a define-primary-key rule, or change the column's type by a rule"));
        return;
    }
    let source = match table.columns[index].origin {
        ColumnOrigin::Source(at) => table.source.schema.columns.get(at),
        ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => None,
    };
    let is_shorter = match &table.columns[index].sql_type {
        SqlType::Text { chars_max: None } | SqlType::Bytes { bytes_max: None } | SqlType::Other(_) => true,
        SqlType::Text { chars_max: Some(length) } => !type_sql.contains(&format!("({length})")),
        _ => false,
    };
    if is_shorter && source.is_some_and(|column| column.native_type != type_sql) {
        let found = format!("{type_sql}: a longer value stops the table, because a key has at most {} bytes", ddl::KEY_BYTES_MAX);
        findings.push(Finding::warning("key_length", object, found, "shorter values"));
    }
}

/// A unique key of a table that is to be created.
fn check_key_collation(table: &TargetTable, index: usize, type_sql: &str, facts: &Facts, object: &str, findings: &mut Vec<Finding>) {
    let ColumnOrigin::Source(at) = table.columns[index].origin else { return };
    let Some(source) = TextEquality::at_source(&table.source.schema, at) else { return };
    if table.primary_key.contains(&index) || ddl::in_unique_key(table, index) {
        let target = TextEquality::of(facts.engine, type_sql.rsplit_once(" collate ").map(|(_, collation)| collation));
        findings.extend(key_equality(object, source, target, "change the column's type by a rule"));
    }
}

/// Unique keys of a table that stays: two rows of the source must not be one in the target.
fn check_collations(table: &TargetTable, real: &RealTable, facts: &Facts, findings: &mut Vec<Finding>) {
    let in_key = |found: &&RealColumn| real.unique_keys.iter().flatten().any(|name| *name == found.name);
    for found in real.columns.iter().filter(in_key) {
        let wanted = table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(&found.name));
        let source = match wanted.map(|column| &column.origin) {
            Some(ColumnOrigin::Source(at)) => TextEquality::at_source(&table.source.schema, *at),
            Some(ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_)) | None => Some(TextEquality::Exact),
        };
        let Some(source) = source else { continue };
        // A column of bytes has no collation, and tells all apart.
        let target = TextEquality::of(facts.engine, found.collation.as_deref());
        let object = format!("column \"{}\" of {}", found.name, object(&table.name));
        let (name, column) = (Dialect::MYSQL.table(&table.name), Dialect::MYSQL.identifier(&found.name));
        let fix = format!("alter table {name} modify {column} with the collation {}", facts.binary_collation());
        findings.extend(key_equality(&object, source, target, &fix));
    }
}

/// A narrower type refuses values; whether any are that wide, only the rows tell.
fn check_widths(table: &TargetTable, real: &RealTable, findings: &mut Vec<Finding>) {
    for wanted in &table.columns {
        let Some(found) = real.columns.iter().find(|column| column.name.eq_ignore_ascii_case(&wanted.name)) else { continue };
        let length = match &wanted.sql_type {
            SqlType::Text { chars_max } => chars_max.map(u64::from).or(Some(u64::from(u32::MAX))),
            SqlType::Bytes { bytes_max } => bytes_max.map(u64::from).or(Some(u64::from(u32::MAX))),
            _ => None,
        };
        // A longtext is as wide as a text gets; narrower ones are told when the source's length is known to be more.
        let is_narrow = matches!((length, found.length), (Some(wanted), Some(found)) if wanted > found && found < u64::from(u32::MAX) / 4);
        if is_narrow {
            let object = format!("column \"{}\" of {}", wanted.name, object(&table.name));
            let finding = Finding::warning("column_type", object, found.column_type.as_str(), "a column as wide as the source's");
            findings.push(finding.fix(format!("alter table {} modify the column's type", Dialect::MYSQL.table(&table.name))));
        }
    }
}

/// Triggers fire for replicated rows too, and do their work a second time.
async fn check_triggers(server: &mut Server, table: &TargetTable, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let name = server.facts().folded(&table.name);
    let sql = format!(
        "select trigger_name from information_schema.triggers where event_object_schema = {} and event_object_table = {} order by 1",
        Dialect::MYSQL.literal(&name.schema),
        Dialect::MYSQL.literal(&name.name)
    );
    let found: Vec<String> = rows(&mut server.conn, "check triggers of a table", &sql).await?;
    for trigger in found {
        let fix = format!("drop trigger {}.{}", Dialect::MYSQL.identifier(&name.schema), Dialect::MYSQL.identifier(&trigger));
        let object = format!("trigger \"{trigger}\" of {}", object(&table.name));
        findings.push(Finding::error("trigger_fires", object, "fires for replicated rows", "a table without triggers").fix(fix));
    }
    Ok(())
}

async fn check_empty(server: &mut Server, table: &TargetTable, findings: &mut Vec<Finding>) -> Result<(), ConnectorError> {
    let name = Dialect::MYSQL.table(&table.name);
    let found: Vec<u8> =
        rows(&mut server.conn, &format!("look for rows in table {name}"), &format!("select 1 from {name} limit 1")).await?;
    if !found.is_empty() {
        let finding = Finding::warning("table_not_empty", object(&table.name), "rows", "an empty table, if it is to be loaded");
        findings.push(finding.fix(format!("truncate table {name}")));
    }
    Ok(())
}

fn object(table: &TableName) -> String {
    format!("table \"{table}\"")
}
