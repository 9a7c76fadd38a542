//! Objects behind the columns as SQL: indexes, checks, foreign keys. Pure.

use sha2::{Digest, Sha256};
use tidegate_connector::{Dialect, TargetTable};
use tidegate_model::objects::{Action, Check, ForeignKey, Index, IndexBacking, IndexMethod, Sequence};
use tidegate_model::{Engine, SqlType};

use super::columns::{counted, counter_losses, counts, has_room, may_count, source_column};
use super::conditions::from_postgres;
use super::kind::{Attempt, Item, Kind};
use crate::target::session::Facts;

/// First characters of a text without a length that an index takes: what fits into a key whatever the character set.
const PREFIX_CHARS: u32 = 191;

/// Characters of a name. Source: MySQL manual, "Identifier Length Limits".
const NAME_CHARS_MAX: usize = 64;

fn name(text: &str) -> String {
    Dialect::MYSQL.identifier(text)
}

fn names(columns: &[String]) -> String {
    Dialect::MYSQL.identifiers(columns.iter().map(String::as_str))
}

/// Everything that the table shall have behind its columns, in the order of [`Kind::ALL`].
pub(super) fn items(table: &TargetTable, facts: &Facts) -> Vec<Item> {
    let wanted = &table.objects.wanted;
    let of_table = Dialect::MYSQL.table(&table.name);
    let mut items: Vec<Item> = wanted.sequences.iter().filter(|sequence| !is_counter(table, sequence)).map(sequence).collect();
    for column in &wanted.columns {
        items.extend(counter_losses(table, column).into_iter().map(|(name, why)| Item::without(Kind::Counter, &name, why)));
    }
    if wanted.comment.as_ref().is_some_and(|comment| !comment.is_empty() && !has_room(comment)) {
        items.push(Item::without(Kind::Comment, &table.name.name, "a comment of more than 2,048 characters"));
    }
    items.extend(wanted.checks.iter().map(|found| check(table, &of_table, found, facts)));
    items.extend(wanted.indexes.iter().flat_map(|found| index(table, &of_table, found, facts)));
    items.extend(wanted.foreign_keys.iter().flat_map(|key| foreign_key(table, &of_table, key, facts)));
    items.sort_by_key(|item| item.kind);
    items
}

/// True for what an AUTO_INCREMENT takes the place of, or what is listed as a counter.
fn is_counter(table: &TargetTable, sequence: &Sequence) -> bool {
    let mut columns = table.objects.wanted.columns.iter();
    columns.any(|column| counts(table, column).is_some_and(|found| found.name == sequence.name))
}

fn sequence(sequence: &Sequence) -> Item {
    Item::without(Kind::Sequence, &sequence.name.to_string(), "a sequence of its own, which the target has not")
}

/// Columns that count and need another index than the primary key: made when it is there. With whether the index waits
/// for exact rows.
pub(super) fn later_counters(table: &TargetTable) -> Vec<(usize, bool)> {
    let wanted = &table.objects.wanted;
    let is_later = |name: &str| {
        let column = wanted.columns.iter().find(|column| column.column == name);
        column.is_some_and(|column| may_count(table, column)) && counted(table).is_none()
    };
    let leads = |index: &&Index, name: &str| index.parts.first().is_some_and(|part| part.column.as_deref() == Some(name));
    let found = table.columns.iter().enumerate().filter(|(_, column)| is_later(&column.name)).map(|(at, column)| {
        let is_plain = wanted.indexes.iter().filter(|index| leads(index, &column.name)).any(|index| !index.unique);
        (at, !is_plain)
    });
    found.take(1).collect()
}

/// A wanted name, and one that tells it apart where it is taken.
fn made_names(table: &TargetTable, wanted: &str) -> [String; 2] {
    let cut = |text: &str, chars: usize| text.chars().take(chars).collect::<String>();
    let of = format!("{} {wanted}", table.name);
    let digest: String = Sha256::digest(of.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let apart = format!("{}_{digest}", cut(wanted, NAME_CHARS_MAX - 9));
    if wanted.chars().count() <= NAME_CHARS_MAX { [wanted.to_owned(), apart] } else { [apart.clone(), apart] }
}

fn attempts(table: &TargetTable, wanted: &str, sql: impl Fn(&str) -> Vec<String>) -> Vec<Attempt> {
    let mut all: Vec<Attempt> = Vec::new();
    for made in made_names(table, wanted) {
        all.extend(sql(&made).into_iter().map(|sql| Attempt { sql, made: made.clone() }));
    }
    all.dedup();
    all
}

fn check(table: &TargetTable, of_table: &str, check: &Check, facts: &Facts) -> Item {
    let unenforced = if check.enforced { "" } else { " not enforced" };
    if !check.enforced && facts.engine == Engine::Mariadb {
        return Item::without(Kind::Check, &check.name, "a check that is not enforced");
    }
    let condition = match table.source.schema.engine {
        Engine::Postgres => check.condition.as_ref().and_then(|condition| from_postgres(table, condition)),
        Engine::Mysql | Engine::Mariadb => check.condition.clone(),
    };
    let text = condition.map(|condition| condition.sql(&name, &|text| Dialect::MYSQL.literal(text)));
    let forms: Vec<String> = check.native.iter().cloned().chain(text.map(|text| format!("check ({text}){unenforced}"))).collect();
    if forms.is_empty() {
        return Item::without(Kind::Check, &check.name, "a condition that may mean something else in the target");
    }
    let add = |made: &str| forms.iter().map(|form| format!("alter table {of_table} add constraint {} {form}", name(made))).collect();
    Item::new(Kind::Check, &check.name, attempts(table, &check.name, add))
}

fn index(table: &TargetTable, of_table: &str, index: &Index, facts: &Facts) -> Vec<Item> {
    let kind = if index.unique { Kind::Unique } else { Kind::Index };
    let without = |why| vec![Item::without(kind, &index.name, why)];
    let is_plain = matches!(index.method, IndexMethod::Btree | IndexMethod::Hash);
    let word = match (&index.method, index.backing) {
        (_, IndexBacking::Exclusion) => return without("an exclusion constraint"),
        (_, IndexBacking::Unique { deferrable: true, .. }) => {
            return without("a unique constraint that may be checked at the end of a transaction");
        }
        (IndexMethod::FullText, _) => "fulltext ".to_owned(),
        (IndexMethod::Spatial, _) => "spatial ".to_owned(),
        (IndexMethod::Other(method), _) if index.native.is_some() => format!("{method} "),
        (IndexMethod::Other(_), _) => return without("an index of a kind that the target has not"),
        (IndexMethod::Btree | IndexMethod::Hash, _) if index.unique => "unique ".to_owned(),
        (IndexMethod::Btree | IndexMethod::Hash, _) => String::new(),
    };
    if index.partial {
        return without("an index of some rows alone");
    }
    if index.nulls_not_distinct {
        return without("a unique index for which NULLs are equal");
    }
    let is_postgres = table.source.schema.engine == Engine::Postgres;
    let parts = |shortens: bool| -> Option<String> {
        let parts = index.parts.iter().map(|part| {
            let column = part.column.as_ref()?;
            let prefix = part.prefix.or_else(|| (shortens && is_long(table, column)).then_some(PREFIX_CHARS)).filter(|_| is_plain);
            let prefix = prefix.map(|prefix| format!("({prefix})")).unwrap_or_default();
            let direction = if part.descending && is_plain { " desc" } else { "" };
            Some(format!("{}{prefix}{direction}", name(column)))
        });
        Some(parts.collect::<Option<Vec<_>>>()?.join(", "))
    };
    let hidden = match (index.hidden, facts.engine) {
        (false, _) => "",
        (true, Engine::Mariadb) => " ignored",
        (true, Engine::Mysql | Engine::Postgres) => " invisible",
    };
    let mut forms: Vec<String> = index.native.iter().cloned().collect();
    // An index that only finds rows may take the beginnings of texts; one that tells them apart may not.
    let shortened = parts(true).filter(|_| is_postgres && !index.unique);
    forms.extend(shortened.or_else(|| parts(false)).map(|parts| format!("({parts}){hidden}")));
    if forms.is_empty() {
        return without("an index on an expression");
    }
    let add = |made: &str| forms.iter().map(|form| format!("alter table {of_table} add {word}index {} {form}", name(made))).collect();
    let mut items = vec![Item::new(kind, &index.name, attempts(table, &index.name, add))];
    if !index.include.is_empty() {
        let why = "columns that an index carries along, which the target's has not";
        items.push(Item::without(Kind::Index, &format!("{} include", index.name), why));
    }
    items
}

/// A text or bytes longer than an index takes.
fn is_long(table: &TargetTable, column: &str) -> bool {
    source_column(table, column).is_some_and(|column| match &column.sql_type {
        SqlType::Text { chars_max } => chars_max.is_none_or(|chars| chars > PREFIX_CHARS),
        SqlType::Bytes { bytes_max } => bytes_max.is_none_or(|bytes| bytes > PREFIX_CHARS),
        SqlType::Other(_) => true,
        _ => false,
    })
}

fn foreign_key(table: &TargetTable, of_table: &str, key: &ForeignKey, facts: &Facts) -> Vec<Item> {
    let without = |why| vec![Item::without(Kind::ForeignKey, &key.name, why)];
    if !key.enforced {
        return without("a foreign key that is not enforced");
    }
    if !key.set_columns.is_empty() || (key.match_full && key.columns.len() > 1) {
        return without("MATCH FULL, or an action on some of its columns");
    }
    if key.on_update == Action::SetDefault || key.on_delete == Action::SetDefault {
        return without("SET DEFAULT, which the target refuses");
    }
    let tail = format!(
        "foreign key ({}) references {} ({}){}{}",
        names(&key.columns),
        Dialect::MYSQL.table(&key.referenced),
        names(&key.referenced_columns),
        action("delete", key.on_delete, facts),
        action("update", key.on_update, facts),
    );
    let add = |made: &str| vec![format!("alter table {of_table} add constraint {} {tail}", name(made))];
    let mut items = vec![Item::new(Kind::ForeignKey, &key.name, attempts(table, &key.name, add))];
    if key.deferrable {
        let why = "DEFERRABLE: the target checks it at once";
        items.push(Item::without(Kind::ForeignKey, &format!("{} deferrable", key.name), why));
    }
    items
}

/// What a key does by default is not said: the two servers have different ones, and print others.
fn action(event: &str, action: Action, facts: &Facts) -> String {
    let text = match (action, facts.engine) {
        (Action::Restrict, Engine::Mariadb) | (Action::NoAction, Engine::Mysql | Engine::Postgres) => return String::new(),
        (Action::NoAction | Action::SetDefault, _) => "no action",
        (Action::Restrict, _) => "restrict",
        (Action::Cascade, _) => "cascade",
        (Action::SetNull, _) => "set null",
    };
    format!(" on {event} {text}")
}
