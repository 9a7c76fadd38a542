//! Transactions: what happens to the rows.

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::tables::{KeyForm, N_VALUES, Row, Table};
use super::text::named;
use super::values::Draw;

/// Kinds of key columns that one can add to.
const SHIFTS: [&str; 4] = ["integer", "int", "int unsigned", "bigint"];

/// How far keys move at once.
const SHIFT: i128 = 1_000_000;

/// Some changes of one table, in order. What they do to the table's rows is noted in it.
pub(super) fn changes(draw: &mut Draw, table: &mut Table) -> Vec<String> {
    draw.reach = table.reach;
    if !table.has_names() {
        return match draw.random.random_range(0..6) {
            0..3 => vec![insert(draw, table, 3)],
            3 => vec![change_nameless(draw, table)],
            4 => vec![delete_nameless(draw, table)],
            _ => vec![insert_equal(draw, table)],
        };
    }
    if table.rows.is_empty() {
        return vec![insert(draw, table, 6)];
    }
    match draw.random.random_range(0..23) {
        20 => shift_keys(draw, table),
        21 => exchange_keys(draw, table),
        22 => delete_all(draw, table),
        0..4 => vec![insert(draw, table, 8)],
        4..9 => vec![update(draw, table, 1)],
        9..11 => vec![update(draw, table, 4)],
        11..13 => vec![delete(draw, table)],
        13..15 => vec![move_key(draw, table)],
        15 => take_back(draw, table),
        16 => change_twice(draw, table),
        17 => vec![insert_over(draw, table)],
        18 => vec![change_nothing(draw, table)],
        _ if table.has_seats => exchange_seats(draw, table),
        _ => vec![insert(draw, table, 40)],
    }
}

/// Rows of new keys in one statement.
pub(super) fn insert(draw: &mut Draw, table: &mut Table, most: usize) -> String {
    draw.reach = table.reach;
    let count = draw.random.random_range(1..=most);
    let rows: Vec<(Row, String)> = (0..count).map(|_| new_row(draw, table)).collect();
    let values: Vec<&str> = rows.iter().map(|(_, values)| values.as_str()).collect();
    let sql = format!("insert into {} ({}) values {}", table.quoted(draw.source), names(draw, table), values.join(", "));
    if table.has_names() {
        table.rows.extend(rows.into_iter().map(|(row, _)| row));
    }
    sql
}

/// The columns that statements give values to.
fn names(draw: &Draw, table: &Table) -> String {
    let columns = table.columns.iter().map(|column| named(draw.source, &column.name));
    let seat = table.has_seats.then(|| "seat".to_owned());
    std::iter::once("n".to_owned()).chain(columns).chain(seat).collect::<Vec<_>>().join(", ")
}

/// A row and its values in parentheses.
fn new_row(draw: &mut Draw, table: &mut Table) -> (Row, String) {
    let number = table.next;
    table.next += 1;
    let key = (0..table.key_columns().len()).map(|part| key_value(draw, table, part, number)).collect();
    let seat = (table.has_seats && !draw.one_in(4)).then_some(number);
    let row = Row { key, seat };
    let values = values(draw, table, &row);
    (row, values)
}

fn key_value(draw: &mut Draw, table: &Table, part: usize, number: u64) -> String {
    let column = table.key_columns()[part];
    if column.nullable && draw.one_in(3) {
        return "null".to_owned();
    }
    let counts = table.key_columns().iter().position(|column| column.kind.counts()) == Some(part);
    // The other parts repeat.
    let number = if counts { number } else { number % 3 + 3 };
    (column.kind.key.expect("keys have kinds for keys"))(draw, number)
}

fn values(draw: &mut Draw, table: &Table, row: &Row) -> String {
    let mut key = row.key.iter();
    let mut values = vec![draw.random.random_range(0..N_VALUES).to_string()];
    for column in &table.columns {
        values.push(if column.in_key { key.next().expect("rows have whole keys").clone() } else { column.value(draw) });
    }
    if table.has_seats {
        values.push(row.seat.map_or("null".to_owned(), |seat| seat.to_string()));
    }
    format!("({})", values.join(", "))
}

/// New values for some columns outside of the key.
fn assignments(draw: &mut Draw, table: &Table) -> String {
    let mut places = table.value_places();
    places.shuffle(&mut draw.random);
    let count = draw.random.random_range(1..=places.len().max(1));
    let mut parts: Vec<String> = Vec::new();
    for place in places.into_iter().take(count) {
        let column = &table.columns[place];
        let value = column.value(draw);
        parts.push(format!("{} = {value}", named(draw.source, &column.name)));
    }
    if parts.is_empty() || draw.one_in(4) {
        parts.push(format!("n = {}", draw.random.random_range(0..N_VALUES)));
    }
    parts.join(", ")
}

fn some_row(draw: &mut Draw, table: &Table) -> usize {
    draw.random.random_range(0..table.rows.len())
}

fn update(draw: &mut Draw, table: &Table, most: usize) -> String {
    let count = draw.random.random_range(1..=most);
    let rows: Vec<Row> = table.rows.choose_multiple(&mut draw.random, count).cloned().collect();
    let conditions: Vec<String> = rows.iter().map(|row| format!("({})", table.is_row(draw.source, row))).collect();
    format!("update {} set {} where {}", table.quoted(draw.source), assignments(draw, table), conditions.join(" or "))
}

fn delete(draw: &mut Draw, table: &mut Table) -> String {
    let place = some_row(draw, table);
    let row = table.rows.swap_remove(place);
    format!("delete from {} where {}", table.quoted(draw.source), table.is_row(draw.source, &row))
}

/// A part of a key changes, or all that the key is changes a little: its case, a blank at its end.
fn move_key(draw: &mut Draw, table: &mut Table) -> String {
    let place = some_row(draw, table);
    let old = table.rows[place].clone();
    let parts = table.key_columns().len();
    let part = draw.random.random_range(0..parts);
    let number = table.next;
    table.next += 1;
    let literal = if is_text(table, part) && draw.one_in(2) { twin(draw, &old.key[part]) } else { key_value(draw, table, part, number) };
    let name = named(draw.source, &table.key_columns()[part].name);
    let more = if draw.one_in(2) { format!(", {}", assignments(draw, table)) } else { String::new() };
    let sql = format!("update {} set {name} = {literal}{more} where {}", table.quoted(draw.source), table.is_row(draw.source, &old));
    table.rows[place].key[part] = literal;
    sql
}

/// Keys of several rows move in one statement.
fn shift_keys(draw: &mut Draw, table: &mut Table) -> Vec<String> {
    let places: Vec<usize> = (0..table.key_columns().len()).filter(|part| SHIFTS.contains(&table.key_columns()[*part].kind.sql)).collect();
    let Some(part) = places.choose(&mut draw.random).copied() else { return vec![update(draw, table, 6)] };
    let most = table.rows.len().min(6);
    let chosen = rand::seq::index::sample(&mut draw.random, table.rows.len(), most);
    let conditions: Vec<String> = chosen.iter().map(|place| format!("({})", table.is_row(draw.source, &table.rows[place]))).collect();
    let name = named(draw.source, &table.key_columns()[part].name);
    // Further than keys that are counted up ever come.
    let sql = format!("update {} set {name} = {name} + {SHIFT} where {}", table.quoted(draw.source), conditions.join(" or "));
    for place in chosen {
        let key = &mut table.rows[place].key[part];
        if key != "null" {
            let number: i128 = key.parse().unwrap_or_else(|_| panic!("a key of whole numbers has {key}"));
            *key = (number + SHIFT).to_string();
        }
    }
    vec![sql]
}

/// Two rows exchange their keys, over a third one.
fn exchange_keys(draw: &mut Draw, table: &mut Table) -> Vec<String> {
    let (one, other) = (some_row(draw, table), some_row(draw, table));
    if one == other {
        return vec![update(draw, table, 1)];
    }
    let (first, second) = (table.rows[one].clone(), table.rows[other].clone());
    let (between, _) = new_row(draw, table);
    let name = table.quoted(draw.source);
    let columns: Vec<String> = table.key_columns().iter().map(|column| named(draw.source, &column.name)).collect();
    let rename = |from: &Row, to: &Row| {
        let values: Vec<String> = columns.iter().zip(&to.key).map(|(column, literal)| format!("{column} = {literal}")).collect();
        format!("update {name} set {} where {}", values.join(", "), table.is_row(draw.source, from))
    };
    let statements = vec![rename(&first, &between), rename(&second, &first), rename(&between, &second)];
    // The seats stay with their rows.
    table.rows[one].key = second.key;
    table.rows[other].key = first.key;
    statements
}

fn delete_all(draw: &mut Draw, table: &mut Table) -> Vec<String> {
    table.rows.clear();
    let mut statements = vec![format!("delete from {}", table.quoted(draw.source))];
    if draw.one_in(2) {
        statements.push(insert(draw, table, 5));
    }
    statements
}

/// A text that some collations hold equal to this one.
fn twin(draw: &mut Draw, literal: &str) -> String {
    let inner = &literal[1..literal.len() - 1];
    let other = match draw.random.random_range(0..3) {
        0 => inner.to_uppercase(),
        1 => inner.to_lowercase(),
        _ if inner.ends_with(' ') => inner.trim_end().to_owned(),
        _ => format!("{inner} "),
    };
    format!("'{other}'")
}

fn is_text(table: &Table, part: usize) -> bool {
    let sql = table.key_columns()[part].kind.sql;
    sql.contains("char") || sql == "text"
}

/// A row goes and comes again under its key, or one that some collations hold equal to it.
fn take_back(draw: &mut Draw, table: &mut Table) -> Vec<String> {
    let place = some_row(draw, table);
    let old = table.rows[place].clone();
    let mut row = old.clone();
    let part = draw.random.random_range(0..row.key.len());
    if is_text(table, part) && draw.one_in(2) {
        row.key[part] = twin(draw, &old.key[part]);
    }
    let again = values(draw, table, &row);
    table.rows[place] = row;
    let name = table.quoted(draw.source);
    vec![
        format!("delete from {name} where {}", table.is_row(draw.source, &old)),
        format!("insert into {name} ({}) values {again}", names(draw, table)),
    ]
}

/// Insert, update, perhaps delete of one row in a row.
fn change_twice(draw: &mut Draw, table: &mut Table) -> Vec<String> {
    let mut statements = vec![insert(draw, table, 1)];
    let row = table.rows.last().expect("it was just inserted").clone();
    let condition = table.is_row(draw.source, &row);
    statements.push(format!("update {} set {} where {condition}", table.quoted(draw.source), assignments(draw, table)));
    if draw.one_in(2) {
        statements.push(format!("delete from {} where {condition}", table.quoted(draw.source)));
        table.rows.pop();
    }
    statements
}

/// An insert that meets a row of its key, in the server's own words for it.
fn insert_over(draw: &mut Draw, table: &Table) -> String {
    let place = some_row(draw, table);
    let row = table.rows[place].clone();
    let (name, names, values) = (table.quoted(draw.source), names(draw, table), values(draw, table, &row));
    if draw.source.is_postgres() {
        let key: Vec<String> = table.key_columns().iter().map(|column| named(draw.source, &column.name)).collect();
        let change = assignments(draw, table);
        format!("insert into {name} ({names}) values {values} on conflict ({}) do update set {change}", key.join(", "))
    } else if draw.one_in(2) {
        format!("replace into {name} ({names}) values {values}")
    } else {
        format!("insert into {name} ({names}) values {values} on duplicate key update {}", assignments(draw, table))
    }
}

fn change_nothing(draw: &mut Draw, table: &Table) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| named(draw.source, &column.name)).collect();
    let name = names.choose(&mut draw.random).expect("tables have columns");
    format!("update {} set {name} = {name}", table.quoted(draw.source))
}

/// Two rows change their values of a unique key, over NULL.
fn exchange_seats(draw: &mut Draw, table: &mut Table) -> Vec<String> {
    let (one, other) = (some_row(draw, table), some_row(draw, table));
    if one == other {
        return vec![update(draw, table, 1)];
    }
    let (first, second) = (table.rows[one].clone(), table.rows[other].clone());
    let name = table.quoted(draw.source);
    let set = |row: &Row, seat: Option<u64>| {
        let seat = seat.map_or("null".to_owned(), |seat| seat.to_string());
        format!("update {name} set seat = {seat} where {}", table.is_row(draw.source, row))
    };
    let statements = vec![set(&first, None), set(&second, first.seat), set(&first, second.seat)];
    table.rows[one].seat = second.seat;
    table.rows[other].seat = first.seat;
    statements
}

fn change_nameless(draw: &mut Draw, table: &Table) -> String {
    let n = draw.random.random_range(0..N_VALUES);
    let (name, change) = (table.quoted(draw.source), assignments(draw, table));
    match draw.random.random_range(0..3) {
        0 => format!("update {name} set {change} where n = {n}"),
        _ if draw.source.is_postgres() => format!("update {name} set {change} where ctid = (select min(ctid) from {name} where n = {n})"),
        _ => format!("update {name} set {change} where n = {n} limit 1"),
    }
}

fn delete_nameless(draw: &mut Draw, table: &Table) -> String {
    let n = draw.random.random_range(0..N_VALUES);
    let name = table.quoted(draw.source);
    if draw.source.is_postgres() {
        format!("delete from {name} where ctid = (select max(ctid) from {name} where n = {n})")
    } else {
        format!("delete from {name} where n = {n} limit 1")
    }
}

/// Equal rows, where nothing keeps them apart.
fn insert_equal(draw: &mut Draw, table: &mut Table) -> String {
    if table.form != KeyForm::None {
        return insert(draw, table, 2);
    }
    let (_, values) = new_row(draw, table);
    format!("insert into {} ({}) values {values}, {values}", table.quoted(draw.source), names(draw, table))
}
