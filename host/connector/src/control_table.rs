//! DMS's control tables in a target: their names and columns as data, and the SQL that makes and fills them.
//!
//! One definition serves both dialects. Names, letters and types are DMS's own, so that what people have written on top of
//! these tables goes on working, and so that tables which DMS itself left behind are taken as they are. Sources: AWS DMS User
//! Guide, "Control table task settings"; the widths are those of the tables that DMS makes in PostgreSQL.
//!
//! Tasks share the tables: a task touches only rows with its own name. The name of the server is told and identifies nothing,
//! since a task that goes on elsewhere is still the same task.

use std::sync::Arc;

use tidegate_model::{Engine, TableName};

use crate::Dialect;

/// Names of tables that belong to DMS itself, wherever they are; no rule replicates them. Those that end with `%` stand for
/// every name that begins so. Source: the names that DMS's own queries for tables leave out, and those that its guide tells to.
const NAMES_OF_DMS: [&str; 14] = [
    "awsdms_apply%",
    "awsdms_audit_table",
    "awsdms_cdc_%",
    "awsdms_changes%",
    "awsdms_ddl_audit",
    "awsdms_full_load_exceptions",
    "awsdms_heartbeat",
    "awsdms_history",
    "awsdms_loopback_prevention",
    "awsdms_status",
    "awsdms_suspended_tables",
    "awsdms_truncation%",
    "awsdms_txn_state",
    "awsdms_validation_failure%",
];

/// True for a table of DMS's own, which is no table of the user.
pub fn is_table_of_dms(name: &str) -> bool {
    NAMES_OF_DMS.iter().any(|known| known.strip_suffix('%').map_or(*known == name, |start| name.starts_with(start)))
}

/// One of the control tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlTable {
    /// A row for each change that could not be applied.
    ApplyExceptions,
    /// A row for each row of a load that could not be written, where somebody wants to have them apart.
    FullLoadExceptions,
    /// One row for each task: what it is doing.
    Status,
    /// A row for each table that is out of its task.
    SuspendedTables,
    /// A row for each stretch of time of each task.
    History,
    /// One row for each task: the place in its source's log up to which the target has everything.
    TxnState,
}

/// What a column holds.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A name, or a position to look at.
    Name,
    /// A position to go on from.
    Place,
    /// One of a few words.
    Word,
    /// Any text.
    Text,
    /// A time, UTC.
    Moment,
    /// A whole number.
    Count,
}

/// Characters of a name, and of a word.
const NAME_CHARS: usize = 128;
const WORD_CHARS: usize = 32;

/// Characters of a position.
const PLACE_CHARS: usize = 1_024;

/// What a text ends with that is longer than its column. Plain, for databases of any character set.
const CUT_MARK: &str = "...";

/// A column: its name, what it holds, and whether it always has a value.
type Column = (&'static str, Kind, bool);

struct Definition {
    name: &'static str,
    columns: &'static [Column],
    /// The first so many columns are the key; 0 for none.
    key: usize,
    /// Columns that tell a row from others of its table, by index.
    identity: &'static [usize],
}

const APPLY_EXCEPTIONS: Definition = Definition {
    name: "awsdms_apply_exceptions",
    columns: &[
        ("TASK_NAME", Kind::Name, true),
        ("TABLE_OWNER", Kind::Name, true),
        ("TABLE_NAME", Kind::Name, true),
        ("ERROR_TIME", Kind::Moment, true),
        ("STATEMENT", Kind::Text, true),
        ("ERROR", Kind::Text, true),
    ],
    key: 0,
    identity: &[],
};

/// AWS's guide names the table and not its columns: they are those of the other exceptions.
const FULL_LOAD_EXCEPTIONS: Definition = Definition { name: "awsdms_full_load_exceptions", ..APPLY_EXCEPTIONS };

const STATUS: Definition = Definition {
    name: "awsdms_status",
    columns: &[
        ("server_name", Kind::Name, true),
        ("task_name", Kind::Name, true),
        ("task_status", Kind::Word, false),
        ("status_time", Kind::Moment, false),
        ("pending_changes", Kind::Count, false),
        ("disk_swap_size", Kind::Count, false),
        ("task_memory", Kind::Count, false),
        ("source_current_position", Kind::Name, false),
        ("source_current_timestamp", Kind::Moment, false),
        ("source_tail_position", Kind::Name, false),
        ("source_tail_timestamp", Kind::Moment, false),
        ("source_timestamp_applied", Kind::Moment, false),
    ],
    key: 2,
    identity: &[1],
};

const SUSPENDED_TABLES: Definition = Definition {
    name: "awsdms_suspended_tables",
    columns: &[
        ("server_name", Kind::Name, true),
        ("task_name", Kind::Name, true),
        ("table_owner", Kind::Name, true),
        ("table_name", Kind::Name, true),
        ("suspend_reason", Kind::Word, false),
        ("suspend_timestamp", Kind::Moment, false),
    ],
    key: 4,
    identity: &[1, 2, 3],
};

const HISTORY: Definition = Definition {
    name: "awsdms_history",
    columns: &[
        ("server_name", Kind::Name, true),
        ("task_name", Kind::Name, true),
        ("timeslot_type", Kind::Word, true),
        ("timeslot", Kind::Moment, true),
        ("timeslot_duration", Kind::Count, false),
        ("timeslot_latency", Kind::Count, false),
        ("timeslot_records", Kind::Count, false),
        ("timeslot_volume", Kind::Count, false),
    ],
    key: 4,
    identity: &[0, 1, 2, 3],
};

const TXN_STATE: Definition = Definition {
    name: "awsdms_txn_state",
    columns: &[
        ("SERVER_NAME", Kind::Name, true),
        ("TASK_NAME", Kind::Name, true),
        ("STATE_TIME", Kind::Moment, true),
        ("CHECKPOINT", Kind::Place, true),
    ],
    key: 2,
    identity: &[1],
};

impl ControlTable {
    /// The table's name.
    pub fn name(self) -> &'static str {
        self.definition().name
    }

    /// The names of its columns, in order.
    pub fn columns(self) -> impl Iterator<Item = &'static str> {
        self.definition().columns.iter().map(|(name, _, _)| *name)
    }

    fn definition(self) -> &'static Definition {
        match self {
            ControlTable::ApplyExceptions => &APPLY_EXCEPTIONS,
            ControlTable::FullLoadExceptions => &FULL_LOAD_EXCEPTIONS,
            ControlTable::Status => &STATUS,
            ControlTable::SuspendedTables => &SUSPENDED_TABLES,
            ControlTable::History => &HISTORY,
            ControlTable::TxnState => &TXN_STATE,
        }
    }
}

/// What the dialects spell differently.
struct Spelling {
    dialect: Dialect,
    text: &'static str,
    moment: &'static str,
    /// The present, UTC.
    now: &'static str,
    /// A moment from microseconds since 1970, which stand in the middle.
    moment_of: (&'static str, &'static str),
    /// What a SELECT without a table reads from.
    nothing: &'static str,
    /// Behind a table's definition.
    table_end: &'static str,
}

const POSTGRES: Spelling = Spelling {
    dialect: Dialect::POSTGRES,
    text: "text",
    moment: "timestamp",
    now: "(clock_timestamp() at time zone 'utc')",
    moment_of: ("timestamp '1970-01-01' + ", " * interval '1 microsecond'"),
    nothing: "",
    table_end: "",
};

/// Times are `datetime`: a `timestamp` ends in 2038, and is shown in each session's time zone.
const MYSQL: Spelling = Spelling {
    dialect: Dialect::MYSQL,
    text: "longtext",
    moment: "datetime(6)",
    now: "utc_timestamp(6)",
    moment_of: ("timestampadd(microsecond, ", ", cast('1970-01-01' as datetime(6)))"),
    nothing: " from dual",
    table_end: " engine = InnoDB character set utf8mb4 collate utf8mb4_bin",
};

fn spelling(engine: Engine) -> &'static Spelling {
    match engine {
        Engine::Postgres => &POSTGRES,
        Engine::Mysql | Engine::Mariadb => &MYSQL,
    }
}

/// The control tables that a task asks for, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlTables {
    /// The schema (MySQL, MariaDB: database).
    pub schema: Arc<str>,
    /// Which.
    pub tables: Vec<ControlTable>,
}

impl ControlTables {
    /// Where DMS has its tables when nobody says where.
    pub fn default_schema(engine: Engine) -> &'static str {
        match engine {
            Engine::Postgres => "public",
            Engine::Mysql | Engine::Mariadb => "awsdms_control",
        }
    }

    /// The statement that creates one of the tables.
    pub fn create_sql(&self, table: ControlTable, engine: Engine) -> String {
        let Definition { columns, key, .. } = table.definition();
        let spelling = spelling(engine);
        let dialect = &spelling.dialect;
        let mut parts: Vec<String> = columns
            .iter()
            .map(|(name, kind, has_value)| {
                let sql_type = match kind {
                    Kind::Name => format!("varchar({NAME_CHARS})"),
                    Kind::Word => format!("varchar({WORD_CHARS})"),
                    Kind::Place => format!("varchar({PLACE_CHARS})"),
                    Kind::Text => spelling.text.to_owned(),
                    Kind::Moment => spelling.moment.to_owned(),
                    Kind::Count => "bigint".to_owned(),
                };
                format!("{} {sql_type} {}", dialect.identifier(name), if *has_value { "not null" } else { "null" })
            })
            .collect();
        if *key > 0 {
            parts.push(format!("primary key ({})", dialect.identifiers(columns[..*key].iter().map(|(name, _, _)| *name))));
        }
        let name = dialect.table(&TableName::new(&*self.schema, table.name()));
        format!("create table if not exists {name} ({}){}", parts.join(", "), spelling.table_end)
    }
}

/// A value for a control table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlValue {
    /// Nothing is known.
    Null,
    /// A text; what is longer than its column is cut, and ends with three dots.
    Text(String),
    /// A number.
    Count(u64),
    /// A time, in microseconds since 1970.
    Moment(i64),
    /// The time at which the target writes the row.
    Now,
}

/// A row of a control table. May hold row values of the user's tables: for the target alone, never for a log or a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlRow {
    /// The schema of the table.
    pub schema: Arc<str>,
    /// The table.
    pub table: ControlTable,
    /// A value for each of its columns, in order.
    pub values: Vec<ControlValue>,
}

/// What is done to a control table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlWrite {
    /// A further row.
    Append(ControlRow),
    /// The row takes the place of the one that is told by the same task (and table).
    Replace(ControlRow),
    /// A row, unless there is one that tells of the same already.
    Add(ControlRow),
    /// Of a task's suspended tables, those that are none of these are forgotten.
    StillSuspended {
        /// The schema of the control table.
        schema: Arc<str>,
        /// The task's name in the table.
        task: String,
        /// The tables.
        tables: Vec<TableName>,
    },
}

impl ControlWrite {
    /// The table that is written to, for messages.
    pub fn table(&self) -> TableName {
        let (schema, table) = match self {
            ControlWrite::Append(row) | ControlWrite::Replace(row) | ControlWrite::Add(row) => (&row.schema, row.table),
            ControlWrite::StillSuspended { schema, .. } => (schema, ControlTable::SuspendedTables),
        };
        TableName::new(&**schema, table.name())
    }

    /// The statements that do it, in order.
    pub fn statements(&self, engine: Engine) -> Vec<String> {
        let spelling = spelling(engine);
        match self {
            ControlWrite::Append(row) => vec![row.insert(spelling)],
            ControlWrite::Replace(row) => {
                let name = spelling.dialect.table(&self.table());
                vec![format!("delete from {name} where {}", row.identity(spelling)), row.insert(spelling)]
            }
            ControlWrite::Add(row) => vec![row.insert_if_absent(spelling)],
            ControlWrite::StillSuspended { task, tables, .. } => {
                let Spelling { dialect, .. } = spelling;
                let columns = SUSPENDED_TABLES.columns;
                let column = |index: usize| dialect.identifier(columns[index].0);
                let text = |text: &str| literal(spelling, Kind::Name, &ControlValue::Text(text.to_owned()));
                let pairs: Vec<String> = tables.iter().map(|table| format!("({}, {})", text(&table.schema), text(&table.name))).collect();
                let others = if pairs.is_empty() {
                    String::new()
                } else {
                    format!(" and ({}, {}) not in ({})", column(2), column(3), pairs.join(", "))
                };
                vec![format!("delete from {} where {} = {}{others}", dialect.table(&self.table()), column(1), text(task))]
            }
        }
    }
}

impl ControlRow {
    fn name(&self, spelling: &Spelling) -> String {
        spelling.dialect.table(&TableName::new(&*self.schema, self.table.name()))
    }

    fn literals(&self, spelling: &Spelling) -> Vec<String> {
        let columns = self.table.definition().columns;
        columns.iter().zip(&self.values).map(|((_, kind, _), value)| literal(spelling, *kind, value)).collect()
    }

    fn insert(&self, spelling: &Spelling) -> String {
        let columns = spelling.dialect.identifiers(self.table.columns());
        format!("insert into {} ({columns}) values ({})", self.name(spelling), self.literals(spelling).join(", "))
    }

    fn insert_if_absent(&self, spelling: &Spelling) -> String {
        let columns = spelling.dialect.identifiers(self.table.columns());
        format!(
            "insert into {name} ({columns}) select {}{} where not exists (select 1 from {name} where {})",
            self.literals(spelling).join(", "),
            spelling.nothing,
            self.identity(spelling),
            name = self.name(spelling),
        )
    }

    fn identity(&self, spelling: &Spelling) -> String {
        let Definition { columns, identity, .. } = self.table.definition();
        let literals = self.literals(spelling);
        let equal = identity.iter().map(|index| format!("{} = {}", spelling.dialect.identifier(columns[*index].0), literals[*index]));
        equal.collect::<Vec<_>>().join(" and ")
    }
}

fn literal(spelling: &Spelling, kind: Kind, value: &ControlValue) -> String {
    match value {
        ControlValue::Null => "null".to_owned(),
        ControlValue::Count(count) => i64::try_from(*count).unwrap_or(i64::MAX).to_string(),
        ControlValue::Moment(us) => format!("{}{us}{}", spelling.moment_of.0, spelling.moment_of.1),
        ControlValue::Now => spelling.now.to_owned(),
        ControlValue::Text(text) => {
            let chars_max = match kind {
                Kind::Name => NAME_CHARS,
                Kind::Word => WORD_CHARS,
                Kind::Place => PLACE_CHARS,
                Kind::Text | Kind::Moment | Kind::Count => usize::MAX,
            };
            spelling.dialect.literal(&fitted(text, chars_max))
        }
    }
}

/// The text without the one character that PostgreSQL's texts do not have, and no longer than its column.
fn fitted(text: &str, chars_max: usize) -> String {
    let text = text.replace('\0', "");
    if text.chars().count() <= chars_max {
        return text;
    }
    text.chars().take(chars_max - CUT_MARK.len()).chain(CUT_MARK.chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> ControlValue {
        ControlValue::Text(text.to_owned())
    }

    fn suspended(schema: &str) -> ControlRow {
        let values = vec![text("host"), text("it's"), text("app"), text("t"), text("value_refused"), ControlValue::Now];
        ControlRow { schema: schema.into(), table: ControlTable::SuspendedTables, values }
    }

    #[test]
    fn tables_of_dms_are_told_from_those_of_users() {
        for name in ["awsdms_status", "awsdms_apply_exceptions", "awsdms_changes00A1", "awsdms_validation_failures_v2"] {
            assert!(is_table_of_dms(name), "{name}");
        }
        for name in ["awsdms_status_report", "awsdms", "status", "my_awsdms_status", "AWSDMS_STATUS"] {
            assert!(!is_table_of_dms(name), "{name}");
        }
        for table in [ControlTable::ApplyExceptions, ControlTable::FullLoadExceptions, ControlTable::Status, ControlTable::History] {
            assert!(is_table_of_dms(table.name()), "{table:?}");
        }
    }

    #[test]
    fn one_definition_makes_the_table_in_both_dialects() {
        let tables = ControlTables { schema: "o\"ps".into(), tables: Vec::new() };
        let sql = tables.create_sql(ControlTable::ApplyExceptions, Engine::Postgres);
        let wanted = r#"create table if not exists "o""ps"."awsdms_apply_exceptions" ("TASK_NAME" varchar(128) not null, "TABLE_OWNER" varchar(128) not null, "TABLE_NAME" varchar(128) not null, "ERROR_TIME" timestamp not null, "STATEMENT" text not null, "ERROR" text not null)"#;
        assert_eq!(sql, wanted);
        let sql = tables.create_sql(ControlTable::History, Engine::Mariadb);
        assert!(sql.contains("`timeslot` datetime(6) not null, `timeslot_duration` bigint null"), "{sql}");
        assert!(sql.contains("primary key (`server_name`, `task_name`, `timeslot_type`, `timeslot`)"), "{sql}");
    }

    #[test]
    fn a_task_touches_no_row_but_its_own() {
        let identity = "\"task_name\" = 'it''s' and \"table_owner\" = 'app' and \"table_name\" = 't'";
        let [delete, insert] = &ControlWrite::Replace(suspended("s")).statements(Engine::Postgres)[..] else { panic!("two statements") };
        assert_eq!(*delete, format!("delete from \"s\".\"awsdms_suspended_tables\" where {identity}"));
        assert!(insert.ends_with("values ('host', 'it''s', 'app', 't', 'value_refused', (clock_timestamp() at time zone 'utc'))"));
        let add = ControlWrite::Add(suspended("s")).statements(Engine::Mysql).remove(0);
        assert!(add.contains("utc_timestamp(6) from dual where not exists (select 1 from `s`.`awsdms_suspended_tables` where `task_name`"));
        let still = |tables| ControlWrite::StillSuspended { schema: "s".into(), task: "a".into(), tables };
        let none = still(Vec::new()).statements(Engine::Mysql).remove(0);
        assert_eq!(none, "delete from `s`.`awsdms_suspended_tables` where `task_name` = 'a'");
        let one = still(vec![TableName::new("x", "y")]).statements(Engine::Mysql).remove(0);
        assert_eq!(one, format!("{none} and (`table_owner`, `table_name`) not in (('x', 'y'))"));
    }

    #[test]
    fn a_text_fits_its_column() {
        assert_eq!(fitted("a\0b", 32), "ab");
        let cut = fitted(&"é".repeat(200), NAME_CHARS);
        assert_eq!((cut.chars().count(), cut.ends_with("é...")), (NAME_CHARS, true));
        assert_eq!(fitted(&"é".repeat(32), WORD_CHARS), "é".repeat(32));
        assert_eq!(literal(&POSTGRES, Kind::Count, &ControlValue::Count(u64::MAX)), i64::MAX.to_string());
    }
}
