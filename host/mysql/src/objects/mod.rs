//! What tables have beside their columns and primary keys, from `information_schema`.
//!
//! The two servers print defaults differently: MySQL a literal's bare text, and `DEFAULT_GENERATED` beside an expression;
//! MariaDB always an expression, so that a literal stands in quotes. Source: MySQL manual, "The INFORMATION_SCHEMA
//! COLUMNS Table"; MariaDB Knowledge Base, "Information Schema COLUMNS Table".

mod defaults;
mod definition;

use std::collections::HashMap;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidegate_connector::{ConnectorError, Dialect};
use tidegate_model::objects::{
    Action, Check, ColumnDefault, ColumnObjects, Counter, CounterKind, ForeignKey, Generated, Index, IndexBacking, IndexMethod, IndexPart,
    OtherObject, Sequence, SequencePosition, TableObjects,
};
use tidegate_model::{Condition, Engine, Operand, TableName};

use self::defaults::{mariadb_default, mysql_default, typed};
use self::definition::{Definition, is_hidden, named_columns};
use crate::connect::{row, rows, run};

/// See `Source::describe_objects`.
pub(crate) async fn describe(conn: &mut Conn, engine: Engine, tables: &[TableName]) -> Result<Vec<TableObjects>, ConnectorError> {
    if engine == Engine::Mysql {
        // Otherwise AUTO_INCREMENT is what it was up to a day ago.
        run(conn, "ask for statistics as they are", "set session information_schema_stats_expiry = 0").await?;
    }
    let mut described = Vec::with_capacity(tables.len());
    for table in tables {
        described.push(one(conn, engine, table).await?);
    }
    Ok(described)
}

/// Statements about one table.
struct About<'a> {
    table: &'a TableName,
    engine: Engine,
    what: String,
    /// Literals of schema and name.
    schema: String,
    name: String,
    definition: Definition,
}

async fn one(conn: &mut Conn, engine: Engine, table: &TableName) -> Result<TableObjects, ConnectorError> {
    let what = format!("describe indexes, constraints and defaults of table \"{table}\"");
    let definition = match conn.query_first::<(String, String), _>(format!("show create table {}", Dialect::MYSQL.table(table))).await {
        Ok(found) => found.map(|(_, statement)| Definition::read(&statement)).unwrap_or_default(),
        // Somebody dropped it just now; what follows finds nothing either.
        Err(mysql_async::Error::Server(error)) if error.code == 1146 => Definition::default(),
        Err(error) => return Err(crate::fault::driver(&what, error)),
    };
    let about =
        About { table, engine, what, definition, schema: Dialect::MYSQL.literal(&table.schema), name: Dialect::MYSQL.literal(&table.name) };
    let mut objects = TableObjects::default();
    let classes = about.columns(conn, &mut objects).await?;
    about.indexes(conn, &mut objects).await?;
    about.foreign_keys(conn, &mut objects).await?;
    about.checks(conn, &classes, &mut objects).await?;
    about.others(conn, &mut objects).await?;
    Ok(objects)
}

/// Name, default, extra, comment, expression, collation, data type, column type.
type ColumnRow = (String, Option<String>, Option<String>, Option<String>, Option<String>, Option<String>, String, String);

/// How constants are compared with a column, where every engine does it in the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Number,
    Time,
    /// Text that is compared byte for byte, without regard to case or blanks at the end.
    ExactText,
    Other,
}

fn class(data_type: &str, collation: Option<&str>) -> Class {
    match data_type {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "float" | "double" | "year" => Class::Number,
        // The zone of the session decides what a constant means for a TIMESTAMP.
        "date" | "datetime" | "time" => Class::Time,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" if collation == Some("utf8mb4_0900_bin") => Class::ExactText,
        _ => Class::Other,
    }
}

impl About<'_> {
    fn place(&self) -> String {
        format!("table_schema = {} and table_name = {}", self.schema, self.name)
    }

    async fn columns(&self, conn: &mut Conn, objects: &mut TableObjects) -> Result<HashMap<String, Class>, ConnectorError> {
        let sql = format!(
            "select column_name, column_default, extra, column_comment, generation_expression, collation_name, data_type, column_type \
             from information_schema.columns where {} order by ordinal_position",
            self.place()
        );
        let mut classes = HashMap::new();
        let found = rows::<ColumnRow>(conn, &self.what, &sql).await?;
        let names: Vec<String> = found.iter().map(|found| found.0.clone()).collect();
        for found in found {
            let (column, default, extra, comment, expression, collation, data_type, column_type) = found;
            let (extra, data_type) = (extra.unwrap_or_default().to_ascii_lowercase(), data_type.to_ascii_lowercase());
            classes.insert(column.clone(), class(&data_type, collation.as_deref()));
            let is_generated = extra.contains("virtual generated") || extra.contains("stored generated");
            let counter =
                extra.contains("auto_increment").then(|| Counter { kind: CounterKind::AutoIncrement, sequence: self.sequence(&column) });
            if counter.is_some() {
                objects.sequences.push(self.auto_increment(conn, &column).await?);
            }
            let text = self.definition.columns.get(&column);
            let default = default.filter(|_| !is_generated && counter.is_none());
            let default = match self.engine {
                Engine::Mariadb => default.and_then(|text| mariadb_default(&text)),
                Engine::Mysql | Engine::Postgres => default.map(|text| mysql_default(&text, extra.contains("default_generated"))),
            };
            let default = default.map(|default| {
                let default = typed(default, &data_type, &column_type);
                let native = text.and_then(|text| text.default.clone()).or(default.native);
                ColumnDefault { columns: native.iter().flat_map(|native| named_columns(native, names.iter())).collect(), native, ..default }
            });
            objects.columns.push(ColumnObjects {
                default,
                counter,
                on_update_now: extra.contains("on update current_timestamp"),
                generated: is_generated.then(|| {
                    let expression = text.and_then(|text| text.generated.clone()).or(expression).unwrap_or_default();
                    let columns = named_columns(&expression, names.iter());
                    Generated { native_type: column_type, expression, stored: extra.contains("stored generated"), columns, after: None }
                }),
                collation: None,
                domain: None,
                comment: comment.filter(|comment| !comment.is_empty()),
                attributes: text.map(|text| text.attributes.clone()).unwrap_or_default(),
                column,
            });
        }
        let sql = format!("select max(table_comment), max(table_collation) from information_schema.tables where {}", self.place());
        let (comment, collation): (Option<String>, Option<String>) = row(conn, &self.what, &sql).await?;
        objects.comment = comment.filter(|comment| !comment.is_empty());
        objects.collation = collation;
        Ok(classes)
    }

    /// A name for what has none here; a target that counts by sequences gives it one of its own.
    fn sequence(&self, column: &str) -> TableName {
        TableName::new(self.table.schema.clone(), format!("{}_{column}_seq", self.table.name))
    }

    async fn auto_increment(&self, conn: &mut Conn, column: &str) -> Result<Sequence, ConnectorError> {
        let sql = format!("select max(auto_increment) from information_schema.tables where {}", self.place());
        let next: Option<u64> = row(conn, &self.what, &sql).await?;
        let position = next.and_then(|next| i64::try_from(next).ok()).map(|value| SequencePosition { value, is_called: false });
        Ok(Sequence {
            name: self.sequence(column),
            owner: Some(column.to_owned()),
            native_type: "bigint".into(),
            start: 1,
            increment: 1,
            min: 1,
            max: i64::MAX,
            cache: 1,
            cycle: false,
            position,
        })
    }

    async fn indexes(&self, conn: &mut Conn, objects: &mut TableObjects) -> Result<(), ConnectorError> {
        let sql = format!(
            "select index_name, column_name, sub_part, collation, non_unique, index_type from information_schema.statistics \
             where {} and index_name <> 'PRIMARY' order by index_name, seq_in_index",
            self.place()
        );
        type IndexRow = (String, Option<String>, Option<u32>, Option<String>, u8, String);
        for (name, column, prefix, collation, non_unique, kind) in rows::<IndexRow>(conn, &self.what, &sql).await? {
            if objects.indexes.last().is_none_or(|last| last.name != name) {
                let native = self.definition.indexes.get(&name).cloned();
                let all = objects.columns.iter().map(|column| &column.column);
                objects.indexes.push(Index {
                    hidden: native.as_deref().is_some_and(is_hidden),
                    columns: native.iter().flat_map(|native| named_columns(native, all.clone())).collect(),
                    native,
                    name,
                    unique: non_unique == 0,
                    nulls_not_distinct: false,
                    method: match kind.to_ascii_uppercase().as_str() {
                        "BTREE" => IndexMethod::Btree,
                        "HASH" => IndexMethod::Hash,
                        "FULLTEXT" => IndexMethod::FullText,
                        "SPATIAL" | "RTREE" => IndexMethod::Spatial,
                        other => IndexMethod::Other(other.to_ascii_lowercase()),
                    },
                    parts: Vec::new(),
                    include: Vec::new(),
                    partial: false,
                    backing: IndexBacking::Index,
                });
            }
            if let Some(index) = objects.indexes.last_mut() {
                index.columns.extend(column.clone().filter(|column| !index.columns.contains(column)));
                index.parts.push(IndexPart { column, descending: collation.as_deref() == Some("D"), prefix });
            }
        }
        Ok(())
    }

    async fn foreign_keys(&self, conn: &mut Conn, objects: &mut TableObjects) -> Result<(), ConnectorError> {
        let sql = format!(
            "select k.constraint_name, k.column_name, k.referenced_table_schema, k.referenced_table_name, k.referenced_column_name, \
             r.update_rule, r.delete_rule from information_schema.key_column_usage k join information_schema.referential_constraints r \
             on r.constraint_schema = k.constraint_schema and r.constraint_name = k.constraint_name and r.table_name = k.table_name \
             where k.table_schema = {} and k.table_name = {} and k.referenced_table_name is not null \
             order by k.constraint_name, k.ordinal_position",
            self.schema, self.name
        );
        type KeyRow = (String, String, String, String, String, String, String);
        for (name, column, schema, table, referenced, on_update, on_delete) in rows::<KeyRow>(conn, &self.what, &sql).await? {
            if objects.foreign_keys.last().is_none_or(|last| last.name != name) {
                objects.foreign_keys.push(ForeignKey {
                    name,
                    columns: Vec::new(),
                    referenced: TableName::new(schema, table),
                    referenced_columns: Vec::new(),
                    on_update: action(&on_update),
                    on_delete: action(&on_delete),
                    set_columns: Vec::new(),
                    match_full: false,
                    deferrable: false,
                    initially_deferred: false,
                    valid: true,
                    enforced: true,
                });
            }
            if let Some(key) = objects.foreign_keys.last_mut() {
                key.columns.push(column);
                key.referenced_columns.push(referenced);
            }
        }
        Ok(())
    }

    async fn checks(&self, conn: &mut Conn, classes: &HashMap<String, Class>, objects: &mut TableObjects) -> Result<(), ConnectorError> {
        let sql = match self.engine {
            Engine::Mariadb => format!(
                "select constraint_name, check_clause, 'YES' from information_schema.check_constraints \
                 where constraint_schema = {} and table_name = {} order by 1, 2",
                self.schema, self.name
            ),
            Engine::Mysql | Engine::Postgres => format!(
                "select c.constraint_name, c.check_clause, t.enforced from information_schema.table_constraints t \
                 join information_schema.check_constraints c on c.constraint_schema = t.constraint_schema and c.constraint_name = t.constraint_name \
                 where t.table_schema = {} and t.table_name = {} and t.constraint_type = 'CHECK' order by 1",
                self.schema, self.name
            ),
        };
        for (name, clause, enforced) in rows::<(String, String, String)>(conn, &self.what, &sql).await? {
            // What MariaDB says of a JSON column, which is JSON in a target too.
            if clause.to_ascii_lowercase().starts_with("json_valid(`") {
                continue;
            }
            let condition = Condition::parse(&clause).filter(|condition| means_the_same(condition, classes));
            let named = |column: &&String| condition.is_none() && clause.contains(&Dialect::MYSQL.identifier(column));
            let mut columns: Vec<String> = classes.keys().filter(named).cloned().collect();
            if let Some(condition) = &condition {
                condition.comparisons(&mut |group| {
                    columns.extend(group.iter().filter_map(|operand| match operand {
                        Operand::Column(name) => Some(name.clone()),
                        Operand::Number(_) | Operand::Text(_) | Operand::Truth(_) => None,
                    }));
                });
            }
            columns.sort();
            columns.dedup();
            let native = self.definition.checks.get(&name).cloned().or_else(|| Some(format!("CHECK ({})", clause.replace("\\'", "'"))));
            objects.checks.push(Check { name, condition, native, columns, enforced: enforced.eq_ignore_ascii_case("yes") });
        }
        Ok(())
    }

    async fn others(&self, conn: &mut Conn, objects: &mut TableObjects) -> Result<(), ConnectorError> {
        let sql = format!(
            "select trigger_name from information_schema.triggers where event_object_schema = {} and event_object_table = {} order by 1",
            self.schema, self.name
        );
        let triggers: Vec<String> = rows(conn, &self.what, &sql).await?;
        objects.others.extend(triggers.into_iter().map(|name| OtherObject { kind: "trigger", name }));
        let sql =
            format!("select max(coalesce(create_options, '')), max(table_type) from information_schema.tables where {}", self.place());
        let (options, kind): (Option<String>, Option<String>) = row(conn, &self.what, &sql).await?;
        if kind.is_some_and(|kind| kind == "SYSTEM VERSIONED") {
            objects.others.push(OtherObject { kind: "system versioning", name: self.table.name.clone() });
        }
        if options.is_some_and(|options| options.to_ascii_lowercase().contains("partitioned")) {
            objects.others.push(OtherObject { kind: "partitioning", name: self.table.name.clone() });
        }
        Ok(())
    }
}

fn action(rule: &str) -> Action {
    match rule.to_ascii_uppercase().as_str() {
        "RESTRICT" => Action::Restrict,
        "CASCADE" => Action::Cascade,
        "SET NULL" => Action::SetNull,
        "SET DEFAULT" => Action::SetDefault,
        _ => Action::NoAction,
    }
}

/// True when another engine's comparisons accept exactly the same rows.
fn means_the_same(condition: &Condition, classes: &HashMap<String, Class>) -> bool {
    let mut all = true;
    condition.comparisons(&mut |group| {
        if group.len() == 1 {
            return;
        }
        let columns = || group.iter().filter_map(|operand| if let Operand::Column(name) = operand { Some(name) } else { None });
        let class = columns().next().and_then(|name| classes.get(name)).copied().unwrap_or(Class::Other);
        let same = columns().all(|name| classes.get(name) == Some(&class));
        let fits = group.iter().all(|operand| match operand {
            Operand::Column(_) => true,
            Operand::Number(_) => class == Class::Number,
            Operand::Text(_) => matches!(class, Class::Time | Class::ExactText),
            Operand::Truth(_) => false,
        });
        // Two texts may have two collations.
        let compares_texts = class == Class::ExactText && columns().count() > 1;
        all &= same && fits && class != Class::Other && !compares_texts;
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_comparisons_that_mean_the_same_elsewhere_are_portable() {
        let classes = HashMap::from([
            ("n".to_owned(), Class::Number),
            ("d".to_owned(), Class::Time),
            ("s".to_owned(), Class::ExactText),
            ("ci".to_owned(), Class::Other),
        ]);
        let same = |text: &str| means_the_same(&Condition::parse(text).unwrap(), &classes);
        for text in ["n > 1 and n <> 3", "d >= '2020-01-01'", "s in ('a','b')", "ci is not null", "n < n"] {
            assert!(same(text), "{text}");
        }
        for text in ["ci = 'a'", "n = '1'", "s = 1", "s = s", "n = true", "n > d"] {
            assert!(!same(text), "{text}");
        }
        assert_eq!(class("varchar", Some("utf8mb4_general_ci")), Class::Other);
    }
}
