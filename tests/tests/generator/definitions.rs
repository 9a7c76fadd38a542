//! Definitions that change while a task runs.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::history::insert;
use super::kinds::{kind, kinds};
use super::plan::{State, some_reach};
use super::reshape::reshape;
use super::tables::Table;
use super::text::named;
use super::values::Draw;

/// Retyped keys: their values stay literals of the new type.
const KEYS_BECOME: &[(&str, &str)] = &[
    ("smallint", "integer"),
    ("smallint", "int"),
    ("smallint", "bigint"),
    ("integer", "bigint"),
    ("int", "bigint"),
    ("int unsigned", "bigint unsigned"),
    ("character varying(30)", "character varying(60)"),
    ("varchar(30)", "varchar(60)"),
    ("character varying(30)", "text"),
];

/// One change of a definition, as statements of which only the first may be refused.
pub(super) fn redefine(draw: &mut Draw, state: &mut State) -> Vec<String> {
    if state.tables.is_empty() {
        return create(draw, state);
    }
    let place = draw.random.random_range(0..state.tables.len());
    draw.reach = state.tables[place].reach;
    match draw.random.random_range(0..21) {
        0..4 => add_column(draw, state, place),
        4 | 5 => drop_column(draw, state, place),
        6 | 7 => rename_column(draw, state, place),
        8 | 9 => retype_column(draw, state, place),
        10 | 11 => truncate(draw, state, place),
        12 => create(draw, state),
        13 => drop(draw, state, place),
        14 => rename_table(draw, state, place),
        15 => make_anew(draw, state, place),
        _ => reshape(draw, state, place),
    }
}

pub(super) fn add_column(draw: &mut Draw, state: &mut State, place: usize) -> Vec<String> {
    let serial = state.next_serial();
    let table = &mut state.tables[place];
    let mut column = Table::column(draw, &kinds(draw.source, table.reach), format!("a{serial}"));
    // Rows that are there need a value.
    column.nullable |= column.default.is_none();
    let mut sql = format!("alter table {} add column {}", table.quoted(draw.source), column.definition(draw.source));
    let mut at = table.columns.len();
    if !draw.source.is_postgres() && draw.one_in(2) {
        at = draw.random.random_range(0..table.columns.len());
        sql += &format!(" after {}", named(draw.source, &table.columns[at].name));
        at += 1;
    }
    table.columns.insert(at, column);
    vec![sql]
}

fn drop_column(draw: &mut Draw, state: &mut State, place: usize) -> Vec<String> {
    let table = &mut state.tables[place];
    let places = table.value_places();
    let Some(gone) = places.choose(&mut draw.random).filter(|_| table.columns.len() > 1) else { return add_column(draw, state, place) };
    let column = table.columns.remove(*gone);
    vec![format!("alter table {} drop column {}", table.quoted(draw.source), named(draw.source, &column.name))]
}

fn rename_column(draw: &mut Draw, state: &mut State, place: usize) -> Vec<String> {
    let serial = state.next_serial();
    let table = &mut state.tables[place];
    let which = draw.random.random_range(0..table.columns.len());
    let was = std::mem::replace(&mut table.columns[which].name, format!("r{serial}"));
    vec![format!("alter table {} rename column {} to r{serial}", table.quoted(draw.source), named(draw.source, &was))]
}

fn retype_column(draw: &mut Draw, state: &mut State, place: usize) -> Vec<String> {
    let source = draw.source;
    let table = &mut state.tables[place];
    let mut choices = Vec::new();
    for (index, column) in table.columns.iter().enumerate() {
        for sql in column.kind.becomes {
            if !column.in_key || KEYS_BECOME.contains(&(column.kind.sql, sql)) {
                choices.push((index, *sql));
            }
        }
    }
    let Some((which, sql)) = choices.choose(&mut draw.random).copied() else { return add_column(draw, state, place) };
    let name = table.quoted(source);
    let column = &mut table.columns[which];
    column.kind = kind(source, sql);
    // A default of the old type need not be one of the new.
    let had_default = column.default.take().is_some();
    let quoted = named(source, &column.name);
    if source.is_postgres() {
        let no_default = if had_default { format!("alter column {quoted} drop default, ") } else { String::new() };
        vec![format!("alter table {name} {no_default}alter column {quoted} type {sql} using {quoted}::{sql}")]
    } else {
        vec![format!("alter table {name} modify column {quoted} {}", column.sql_type())]
    }
}

fn truncate(draw: &mut Draw, state: &mut State, place: usize) -> Vec<String> {
    let table = &mut state.tables[place];
    table.rows.clear();
    let mut statements = vec![format!("truncate table {}", table.quoted(draw.source))];
    if draw.one_in(2) {
        statements.push(insert(draw, table, 5));
    }
    statements
}

fn create(draw: &mut Draw, state: &mut State) -> Vec<String> {
    let (serial, reach) = (state.next_serial(), some_reach(draw));
    let (mut table, mut statements) = Table::new(draw, serial, reach);
    for _ in 0..draw.random.random_range(0..3) {
        statements.push(insert(draw, &mut table, 5));
    }
    state.tables.push(table);
    statements
}

fn drop(draw: &mut Draw, state: &mut State, place: usize) -> Vec<String> {
    if state.tables.len() < 3 {
        return create(draw, state);
    }
    let table = state.tables.remove(place);
    let sql = format!("drop table {}", table.quoted(draw.source));
    state.dropped.push((table.name, table.reach));
    vec![sql]
}

/// The target keeps the table under its old name, and gets one of the new name.
fn rename_table(draw: &mut Draw, state: &mut State, place: usize) -> Vec<String> {
    let serial = state.next_serial();
    let table = &mut state.tables[place];
    let was = table.quoted(draw.source);
    table.name = format!("{}{serial} renamed", table.reach.prefix());
    vec![format!("alter table {was} rename to {}", table.quoted(draw.source))]
}

/// Another table of the same name.
fn make_anew(draw: &mut Draw, state: &mut State, place: usize) -> Vec<String> {
    let (serial, old) = (state.next_serial(), state.tables.remove(place));
    let mut statements = vec![format!("drop table {}", old.quoted(draw.source))];
    let (mut table, create) = Table::named(draw, serial, old.name, old.reach);
    statements.extend(create);
    statements.push(insert(draw, &mut table, 5));
    state.tables.push(table);
    statements
}
