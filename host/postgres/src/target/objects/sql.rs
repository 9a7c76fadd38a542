//! Objects as SQL: for each one the statements to try, the most faithful first. Pure.

use tidegate_connector::{Dialect, TargetTable};
use tidegate_model::objects::{
    Action, Check, ColumnObjects, Counter, CounterKind, DefaultValue, ForeignKey, Index, IndexBacking, IndexMethod, Sequence,
};
use tidegate_model::{Engine, SqlType, TableName};

use sha2::{Digest, Sha256};

/// The longest name. Source: PostgreSQL manual, "Identifiers and Key Words".
const NAME_BYTES_MAX: usize = 63;

/// What the parts of a btree entry may have together, with room for its head: 2,704 bytes for pages of 8 kB. Source:
/// PostgreSQL, nbtree.h, BTMaxItemSize. A longer row would be refused when it comes.
const ENTRY_BYTES_MAX: u64 = 2_600;

/// What `to_regclass` and `setval` call a name that is taken: a relation, a constraint or other object, a column.
pub(super) const TAKEN: [&str; 3] = ["42P07", "42710", "42701"];

/// An object to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    /// The kind, as records and findings name it.
    pub(super) kind: Kind,
    /// The name at the source: of the object, or of its column.
    pub(super) name: String,
    pub(super) attempts: Vec<Attempt>,
    /// Why there is nothing to attempt.
    pub(super) why_not: &'static str,
}

/// Statements that run together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) sql: String,
    /// The name that the object then has, where it has one.
    pub(super) made: Option<String>,
    /// A name that is taken is the object itself.
    pub(super) taken_is_done: bool,
}

/// Kinds of objects, in the order in which they are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Sequence,
    Collation,
    Generated,
    Counter,
    Default,
    Check,
    Comment,
    Index,
    Unique,
    Exclusion,
    ForeignKey,
}

impl Kind {
    pub(super) const ALL: [Kind; 11] = [
        Kind::Sequence,
        Kind::Collation,
        Kind::Generated,
        Kind::Counter,
        Kind::Default,
        Kind::Check,
        Kind::Comment,
        Kind::Index,
        Kind::Unique,
        Kind::Exclusion,
        Kind::ForeignKey,
    ];

    /// As people read it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Kind::Sequence => "sequence",
            Kind::Collation => "collation of column",
            Kind::Generated => "generated column",
            Kind::Counter => "counter of column",
            Kind::Default => "default of column",
            Kind::Check => "check constraint",
            Kind::Comment => "comment of",
            Kind::Index => "index",
            Kind::Unique => "unique index",
            Kind::Exclusion => "exclusion constraint",
            Kind::ForeignKey => "foreign key",
        }
    }

    /// The finding's code when one is not carried.
    pub(super) fn code(self) -> &'static str {
        match self {
            Kind::Sequence => "sequence_not_carried",
            Kind::Collation => "collation_not_carried",
            Kind::Generated => "generated_columns",
            Kind::Counter => "counter_not_carried",
            Kind::Default => "default_not_carried",
            Kind::Check => "check_not_carried",
            Kind::Comment => "comment_not_carried",
            Kind::Index | Kind::Unique | Kind::Exclusion => "index_not_carried",
            Kind::ForeignKey => "foreign_key_not_carried",
        }
    }

    /// True for what refuses rows of which each alone is right.
    pub(super) fn wants_exact_rows(self) -> bool {
        matches!(self, Kind::Unique | Kind::Exclusion | Kind::ForeignKey)
    }
}

/// Everything that the table shall have, in the order of [`Kind::ALL`].
pub(super) fn items(table: &TargetTable) -> Vec<Item> {
    let wanted = &table.objects.wanted;
    let of_table = Dialect::POSTGRES.table(&table.name);
    let is_native = table.source.schema.engine == Engine::Postgres;
    let mut items: Vec<Item> = wanted.sequences.iter().filter(|sequence| is_sequence(table, sequence)).map(sequence).collect();
    for column in &wanted.columns {
        items.extend(column_items(table, &of_table, column));
    }
    items.extend(wanted.checks.iter().map(|found| check(&of_table, found)));
    if let Some(comment) = wanted.comment.as_ref().filter(|comment| !comment.is_empty()) {
        let sql = format!("comment on table {of_table} is {}", Dialect::POSTGRES.literal(comment));
        items.push(Item::new(Kind::Comment, &table.name.name, vec![Attempt::plain(sql)]));
    }
    items.extend(wanted.indexes.iter().map(|found| index(table, &of_table, found, is_native)));
    items.extend(wanted.foreign_keys.iter().map(|key| foreign_key(&of_table, key)));
    items.sort_by_key(|item| item.kind);
    items
}

/// Sequences of identities come with them.
fn is_sequence(table: &TargetTable, sequence: &Sequence) -> bool {
    let counters = table.objects.wanted.columns.iter().filter_map(|column| column.counter.as_ref());
    counters.into_iter().all(|counter| counter.sequence != sequence.name)
}

impl Item {
    fn new(kind: Kind, name: &str, attempts: Vec<Attempt>) -> Item {
        Item { kind, name: name.to_owned(), attempts, why_not: "" }
    }

    fn without(kind: Kind, name: &str, why_not: &'static str) -> Item {
        Item { kind, name: name.to_owned(), attempts: Vec::new(), why_not }
    }
}

impl Attempt {
    fn plain(sql: String) -> Attempt {
        Attempt { sql, made: None, taken_is_done: false }
    }

    fn named(name: &str, sql: String) -> Attempt {
        Attempt { sql, made: Some(name.to_owned()), taken_is_done: false }
    }
}

fn name(text: &str) -> String {
    Dialect::POSTGRES.identifier(text)
}

/// A name that fits, told apart from others by a digest when it was cut.
pub(super) fn fitting(wanted: &str) -> String {
    if wanted.len() <= NAME_BYTES_MAX { wanted.to_owned() } else { told_apart(wanted, wanted) }
}

/// The name with a digest of `of` behind it.
fn told_apart(wanted: &str, of: &str) -> String {
    let digest: String = Sha256::digest(of.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut end = wanted.len().min(NAME_BYTES_MAX - 9);
    while !wanted.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{digest}", &wanted[..end])
}

fn bounds(sequence: &Sequence) -> String {
    let cycle = if sequence.cycle { "cycle" } else { "no cycle" };
    format!(
        "increment by {} minvalue {} maxvalue {} start with {} cache {} {cycle}",
        sequence.increment, sequence.min, sequence.max, sequence.start, sequence.cache
    )
}

fn sequence(sequence: &Sequence) -> Item {
    let of = Dialect::POSTGRES.table(&sequence.name);
    let create = format!("create sequence {of} as {} {}", sequence.native_type, bounds(sequence));
    // One that is there keeps its bounds: somebody made it, or an earlier run of the task.
    let attempt = Attempt { sql: create, made: Some(sequence.name.name.clone()), taken_is_done: true };
    Item::new(Kind::Sequence, &sequence.name.to_string(), vec![attempt])
}

fn column_items(table: &TargetTable, of_table: &str, column: &ColumnObjects) -> Vec<Item> {
    let mut items = Vec::new();
    let of_column = name(&column.column);
    if let Some(generated) = &column.generated {
        let kept = if generated.stored { "stored" } else { "virtual" };
        let definition = format!("{of_column} {} generated always as ({}) {kept}", generated.native_type, generated.expression);
        // It was made with the table, in its place, unless the server refused it there.
        let attempt = Attempt { sql: format!("alter table {of_table} add column {definition}"), made: None, taken_is_done: true };
        items.push(Item::new(Kind::Generated, &column.column, vec![attempt]));
    } else if let (Some(collation), Some(native)) = (&column.collation, native_type(table, &column.column)) {
        let sql = format!("alter table {of_table} alter column {of_column} type {native} collate {collation}");
        items.push(Item::new(Kind::Collation, &column.column, vec![Attempt::plain(sql)]));
    }
    if let Some(counter) = &column.counter {
        items.push(counter_item(table, of_table, column, counter));
    }
    if let Some(default) = &column.default {
        let attempts = default_attempts(table, of_table, column, default);
        items.push(match attempts.is_empty() {
            true => Item::without(Kind::Default, &column.column, "a value of another form than PostgreSQL's"),
            false => Item::new(Kind::Default, &column.column, attempts),
        });
    }
    if column.on_update_now {
        let item =
            Item::without(Kind::Default, &format!("{} on update", column.column), "ON UPDATE CURRENT_TIMESTAMP, which PostgreSQL has not");
        items.push(item);
    }
    if let Some(comment) = column.comment.as_ref().filter(|comment| !comment.is_empty()) {
        let sql = format!("comment on column {of_table}.{of_column} is {}", Dialect::POSTGRES.literal(comment));
        items.push(Item::new(Kind::Comment, &column.column, vec![Attempt::plain(sql)]));
    }
    items
}

/// The source's type of a target column.
fn source_type<'a>(table: &'a TargetTable, column: &str) -> Option<&'a tidegate_model::Column> {
    let wanted = table.columns.iter().find(|wanted| wanted.name == column)?;
    match wanted.origin {
        tidegate_connector::ColumnOrigin::Source(at) => table.source.schema.columns.get(at),
        _ => None,
    }
}

fn native_type<'a>(table: &'a TargetTable, column: &str) -> Option<&'a str> {
    source_type(table, column).map(|column| column.native_type.as_str())
}

fn counter_item(table: &TargetTable, of_table: &str, column: &ColumnObjects, counter: &Counter) -> Item {
    let of_column = name(&column.column);
    let kind = match counter.kind {
        CounterKind::Always => "always",
        CounterKind::ByDefault | CounterKind::AutoIncrement => "by default",
    };
    let add = |options: &str| format!("alter table {of_table} alter column {of_column} add generated {kind} as identity{options}");
    let found = table.objects.wanted.sequences.iter().find(|sequence| sequence.name == counter.sequence);
    let mut attempts = Vec::new();
    match (found, counter.kind) {
        (Some(sequence), CounterKind::Always | CounterKind::ByDefault) => {
            let options = bounds(sequence);
            let named = format!(" (sequence name {} {options})", Dialect::POSTGRES.table(&sequence.name));
            attempts.push(Attempt::plain(add(&named)));
            attempts.push(Attempt::plain(add(&format!(" ({options})"))));
        }
        _ => {
            attempts.push(Attempt::plain(add("")));
            // Types that no identity can have, such as numeric(20) for MySQL's unsigned bigint.
            let sequence = TableName::new(table.name.schema.clone(), fitting(&format!("{}_{}_seq", table.name.name, column.column)));
            let of = Dialect::POSTGRES.table(&sequence);
            let default = set_next_value(of_table, &of_column, &sequence);
            attempts.push(Attempt::plain(format!("create sequence {of} owned by {of_table}.{of_column}; {default}")));
        }
    }
    Item::new(Kind::Counter, &column.column, attempts)
}

fn set_next_value(of_table: &str, of_column: &str, sequence: &TableName) -> String {
    let literal = Dialect::POSTGRES.literal(&Dialect::POSTGRES.table(sequence));
    format!("alter table {of_table} alter column {of_column} set default nextval({literal}::regclass)")
}

fn default_attempts(
    table: &TargetTable,
    of_table: &str,
    column: &ColumnObjects,
    default: &tidegate_model::objects::ColumnDefault,
) -> Vec<Attempt> {
    let of_column = name(&column.column);
    let set = |value: &str| Attempt::plain(format!("alter table {of_table} alter column {of_column} set default {value}"));
    let mut attempts: Vec<Attempt> = default.native.iter().map(|native| set(native)).collect();
    match &default.value {
        Some(DefaultValue::NextValue(sequence)) => {
            // By its own name in the target, which the source's text may not have; and the column owns it as there.
            let mut sql = set_next_value(of_table, &of_column, sequence);
            let owned =
                table.objects.wanted.sequences.iter().any(|found| found.name == *sequence && found.owner.as_ref() == Some(&column.column));
            if owned {
                sql = format!("{sql}; alter sequence {} owned by {of_table}.{of_column}", Dialect::POSTGRES.table(sequence));
            }
            attempts = vec![Attempt::plain(sql)];
        }
        Some(DefaultValue::Constant(text)) => {
            let text = match source_type(table, &column.column).map(|column| &column.sql_type) {
                Some(SqlType::SetOf(_)) => array_text(text),
                _ => text.clone(),
            };
            attempts.push(set(&Dialect::POSTGRES.literal(&text)));
        }
        Some(DefaultValue::CurrentTimestamp(None)) => attempts.push(set("current_timestamp")),
        Some(DefaultValue::CurrentTimestamp(Some(digits))) => attempts.push(set(&format!("current_timestamp({digits})"))),
        Some(DefaultValue::CurrentDate) => attempts.push(set("current_date")),
        Some(DefaultValue::NewUuid) => {
            attempts.push(set("gen_random_uuid()"));
            attempts.push(set("gen_random_uuid()::text"));
        }
        None => {}
    }
    attempts
}

/// Labels joined by commas as the text of an array.
fn array_text(labels: &str) -> String {
    let quoted = |label: &str| format!("\"{}\"", label.replace('\\', "\\\\").replace('"', "\\\""));
    let labels: Vec<String> = labels.split(',').filter(|label| !label.is_empty()).map(quoted).collect();
    format!("{{{}}}", labels.join(","))
}

fn check(of_table: &str, check: &Check) -> Item {
    let fitting = fitting(&check.name);
    let add = |text: &str| Attempt::named(&fitting, format!("alter table {of_table} add constraint {} {text}", name(&fitting)));
    let mut attempts: Vec<Attempt> = check.native.iter().map(|native| add(native)).collect();
    if let Some(condition) = check.condition.as_ref().filter(|_| check.enforced) {
        let sql = condition.sql(&name, &|text| Dialect::POSTGRES.literal(text));
        attempts.push(add(&format!("check ({sql})")));
    }
    match attempts.is_empty() {
        true => Item::without(Kind::Check, &check.name, "a check that is not enforced"),
        false => Item::new(Kind::Check, &check.name, attempts),
    }
}

fn index(table: &TargetTable, of_table: &str, index: &Index, is_native: bool) -> Item {
    let kind = match index.backing {
        IndexBacking::Exclusion => Kind::Exclusion,
        IndexBacking::Unique { .. } => Kind::Unique,
        IndexBacking::Index if index.unique => Kind::Unique,
        IndexBacking::Index => Kind::Index,
    };
    // Names of indexes are the schema's in PostgreSQL, and the table's in MySQL.
    let wanted = if is_native { fitting(&index.name) } else { fitting(&format!("{}_{}", table.name.name, index.name)) };
    let other = told_apart(&wanted, &format!("{} {}", table.name, index.name));
    let unique = if index.unique { "unique " } else { "" };
    let tail = match (&index.native, index.backing) {
        (Some(native), _) => native.clone(),
        (None, IndexBacking::Exclusion) => return Item::without(kind, &index.name, "an exclusion constraint with other names"),
        (None, backing) => match portable_tail(table, index, backing) {
            Ok(tail) => tail,
            Err(why) => return Item::without(kind, &index.name, why),
        },
    };
    let create = |made: &str| match index.backing {
        IndexBacking::Index => format!("create {unique}index {} on {of_table} {tail}", name(made)),
        IndexBacking::Unique { .. } | IndexBacking::Exclusion => format!("alter table {of_table} add constraint {} {tail}", name(made)),
    };
    Item::new(kind, &index.name, vec![Attempt::named(&wanted, create(&wanted)), Attempt::named(&other, create(&other))])
}

/// What follows the table's name, made of columns alone.
fn portable_tail(table: &TargetTable, index: &Index, backing: IndexBacking) -> Result<String, &'static str> {
    let method = match &index.method {
        IndexMethod::Btree => "",
        IndexMethod::Hash if !index.unique => "using hash ",
        IndexMethod::Hash => "",
        IndexMethod::FullText => return Err("a full-text index"),
        IndexMethod::Spatial => return Err("a spatial index"),
        IndexMethod::Other(_) => return Err("an index of another kind whose columns are renamed"),
    };
    if index.partial {
        return Err("a partial index whose columns are renamed");
    }
    let mut parts = Vec::new();
    let mut bytes = 0;
    for part in &index.parts {
        let Some(column) = &part.column else { return Err("an index on an expression") };
        if part.prefix.is_some() {
            return Err("an index on the first characters of a column");
        }
        bytes += source_type(table, column).map_or(0, |column| bytes_max(&column.sql_type));
        let direction = if part.descending && backing == IndexBacking::Index { " desc" } else { "" };
        parts.push(format!("{}{direction}", name(column)));
    }
    if bytes > ENTRY_BYTES_MAX && method.is_empty() {
        return Err("an index whose entries may be too long for PostgreSQL");
    }
    let nulls = if index.nulls_not_distinct { "nulls not distinct " } else { "" };
    let include = if index.include.is_empty() {
        String::new()
    } else {
        format!(" include ({})", Dialect::POSTGRES.identifiers(index.include.iter().map(String::as_str)))
    };
    let columns = parts.join(", ");
    Ok(match backing {
        IndexBacking::Index => {
            let nulls = if nulls.is_empty() { "" } else { " nulls not distinct" };
            format!("{method}({columns}){include}{nulls}")
        }
        IndexBacking::Unique { deferrable, initially_deferred } => {
            let deferral = match (deferrable, initially_deferred) {
                (true, true) => " deferrable initially deferred",
                (true, false) => " deferrable",
                (false, _) => "",
            };
            format!("unique {nulls}({columns}){include}{deferral}")
        }
        IndexBacking::Exclusion => return Err("an exclusion constraint with other names"),
    })
}

/// The most bytes that a value may have; of a type without bound, little: such a column has an index only where its
/// own engine bounds it.
fn bytes_max(sql_type: &SqlType) -> u64 {
    match sql_type {
        SqlType::Text { chars_max: Some(chars) } => u64::from(*chars) * 4,
        SqlType::Bytes { bytes_max: Some(bytes) } => u64::from(*bytes),
        _ => 16,
    }
}

fn foreign_key(of_table: &str, key: &ForeignKey) -> Item {
    let fitting = fitting(&key.name);
    let columns = |columns: &[String]| Dialect::POSTGRES.identifiers(columns.iter().map(String::as_str));
    let match_full = if key.match_full { " match full" } else { "" };
    let set = if key.set_columns.is_empty() { String::new() } else { format!(" ({})", columns(&key.set_columns)) };
    let deferral = match (key.deferrable, key.initially_deferred) {
        (true, true) => " deferrable initially deferred",
        (true, false) => " deferrable",
        (false, _) => "",
    };
    let validity = match (key.enforced, key.valid) {
        (false, _) => " not enforced",
        (true, false) => " not valid",
        (true, true) => "",
    };
    let sql = format!(
        "alter table {of_table} add constraint {} foreign key ({}) references {} ({}){match_full} on update {} on delete {}{set}{deferral}{validity}",
        name(&fitting),
        columns(&key.columns),
        Dialect::POSTGRES.table(&key.referenced),
        columns(&key.referenced_columns),
        action(key.on_update),
        action(key.on_delete),
    );
    Item::new(Kind::ForeignKey, &key.name, vec![Attempt::named(&fitting, sql)])
}

fn action(action: Action) -> &'static str {
    match action {
        Action::NoAction => "no action",
        Action::Restrict => "restrict",
        Action::Cascade => "cascade",
        Action::SetNull => "set null",
        Action::SetDefault => "set default",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_too_long_are_cut_and_told_apart() {
        let long = "é".repeat(40);
        let (one, two) = (fitting(&format!("{long}a")), fitting(&format!("{long}b")));
        assert!(one.len() <= NAME_BYTES_MAX && two.len() <= NAME_BYTES_MAX);
        assert_ne!(one, two);
        assert_eq!(fitting("short"), "short");
    }

    #[test]
    fn labels_of_a_set_become_an_array() {
        assert_eq!(array_text("a,b"), r#"{"a","b"}"#);
        assert_eq!(array_text(r#"x"y"#), r#"{"x\"y"}"#);
        assert_eq!(array_text(""), "{}");
    }
}
