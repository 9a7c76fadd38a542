//! The generator's tables: their definitions as statements, and what it knows of their rows.

use rand::Rng;
use rand::seq::IndexedRandom;

use super::kinds::{Engine, Kind, Reach, kinds};
use super::text::named;
use super::values::Draw;

/// What tells rows apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyForm {
    Primary,
    /// A unique key over columns that are never NULL, in place of a primary one.
    Unique,
    /// A unique key over a column that may be NULL: rows have no name.
    NullableUnique,
    /// A primary key that the server counts, and nobody else: no name either.
    Counted,
    None,
}

#[derive(Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: &'static Kind,
    pub(super) nullable: bool,
    pub(super) default: Option<String>,
    pub(super) in_key: bool,
}

/// A row by its key, in the order of the key's columns, as literals.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Vec<String>,
    /// The value of the second unique key, where the table has one.
    pub(super) seat: Option<u64>,
}

#[derive(Clone)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) reach: Reach,
    pub(super) form: KeyForm,
    /// What its key is called.
    pub(super) key_name: String,
    pub(super) columns: Vec<Column>,
    /// Rows that can be named. Of tables without a key none.
    pub(super) rows: Vec<Row>,
    /// The table has a second unique key: a column `seat`, whose values change hands.
    pub(super) has_seats: bool,
    /// The table has the column [`COMPUTED`], which the server computes from `n`.
    pub(super) has_computed: bool,
    /// Numbers of keys given so far.
    pub(super) next: u64,
}

/// The column that the server computes.
pub(super) const COMPUTED: &str = "twice";

/// Values of `n`, by which rows without a key are found: several have each value.
pub(super) const N_VALUES: u64 = 5;

impl Table {
    /// A table of random columns for these targets, with the statements that make it.
    pub(super) fn new(draw: &mut Draw, serial: u32, reach: Reach) -> (Table, Vec<String>) {
        let tail = ["", " two", "Ü\"'", "_%", "`x", " 東.a"][draw.random.random_range(0..6)];
        Table::named(draw, serial, format!("{}{serial}{tail}", reach.prefix()), reach)
    }

    /// The same with a name.
    pub(super) fn named(draw: &mut Draw, serial: u32, name: String, reach: Reach) -> (Table, Vec<String>) {
        draw.reach = reach;
        let all = kinds(draw.source, reach);
        let form = match draw.random.random_range(0..9) {
            0 => KeyForm::Unique,
            1 => KeyForm::NullableUnique,
            2 => KeyForm::None,
            3 => KeyForm::Counted,
            _ => KeyForm::Primary,
        };
        let mut columns: Vec<Column> = Vec::new();
        if !matches!(form, KeyForm::None | KeyForm::Counted) {
            let parts = if form != KeyForm::NullableUnique && draw.one_in(3) { 2 + usize::from(draw.one_in(2)) } else { 1 };
            for part in 0..parts {
                // The first part counts, so that keys are never twice by chance.
                let fit: Vec<&&Kind> = all.iter().filter(|kind| if part == 0 { kind.counts() } else { kind.key.is_some() }).collect();
                let kind: &'static Kind = fit.choose(&mut draw.random).expect("there are kinds for keys");
                columns.push(Column {
                    name: format!("k{part}"),
                    kind,
                    nullable: form == KeyForm::NullableUnique,
                    default: None,
                    in_key: true,
                });
            }
        }
        for index in 0..draw.random.random_range(1..8) {
            let column = Table::column(draw, &all, format!("c{index}"));
            columns.push(column);
        }
        let has_seats = form == KeyForm::Primary && draw.one_in(4);
        // The name alone would not do: it goes to another table, and the key stays with this one.
        let key_name = format!("key {serial} of {name}");
        let mut table = Table { name, reach, form, key_name, columns, rows: Vec::new(), has_seats, has_computed: draw.one_in(5), next: 1 };
        // The key stands anywhere among the columns, and its parts in any order.
        let place = draw.random.random_range(0..table.columns.len());
        table.columns.rotate_left(place);
        let statements = table.create(draw);
        (table, statements)
    }

    /// A random column outside of the key.
    pub(super) fn column(draw: &mut Draw, all: &[&'static Kind], name: String) -> Column {
        let kind = *all.choose(&mut draw.random).expect("there are kinds");
        let nullable = !draw.one_in(4);
        let default = if kind.takes_default() && draw.one_in(3) { Some(kind.value(draw)) } else { None };
        let name = match draw.random.random_range(0..8) {
            0 => format!("{name} \"q\""),
            1 => format!("{}É", name.to_uppercase()),
            _ => name,
        };
        Column { name, kind, nullable, default, in_key: false }
    }

    pub(super) fn quoted(&self, engine: Engine) -> String {
        named(engine, &self.name)
    }

    pub(super) fn key_columns(&self) -> Vec<&Column> {
        self.columns.iter().filter(|column| column.in_key).collect()
    }

    /// Places of the columns outside of the key.
    pub(super) fn value_places(&self) -> Vec<usize> {
        (0..self.columns.len()).filter(|place| !self.columns[*place].in_key).collect()
    }

    /// True when single rows can be named.
    pub(super) fn has_names(&self) -> bool {
        matches!(self.form, KeyForm::Primary | KeyForm::Unique)
    }

    /// The condition that a row's key meets.
    pub(super) fn is_row(&self, engine: Engine, row: &Row) -> String {
        let parts = self.key_columns().into_iter().zip(&row.key);
        parts.map(|(column, literal)| format!("{} = {literal}", named(engine, &column.name))).collect::<Vec<_>>().join(" and ")
    }

    fn create(&self, draw: &mut Draw) -> Vec<String> {
        let engine = draw.source;
        let mut parts: Vec<String> = vec!["n integer not null".to_owned()];
        parts.extend(self.columns.iter().map(|column| column.definition(engine)));
        if self.has_seats {
            parts.push("seat bigint unique".to_owned());
        }
        if self.has_computed {
            parts.push(format!("{COMPUTED} bigint generated always as (n * 2) stored"));
        }
        let mut key: Vec<String> = self.key_columns().iter().map(|column| named(engine, &column.name)).collect();
        if draw.one_in(2) {
            key.reverse();
        }
        let key = key.join(", ");
        match self.form {
            KeyForm::Primary => parts.push(format!("constraint {} primary key ({key})", named(engine, &self.key_name))),
            KeyForm::Unique => parts.push(format!("constraint {} unique ({key})", named(engine, &self.key_name))),
            KeyForm::NullableUnique => parts.push(format!("unique ({key})")),
            KeyForm::Counted if engine.is_postgres() => parts.push("id bigint generated by default as identity primary key".to_owned()),
            KeyForm::Counted => parts.push("id bigint not null auto_increment primary key".to_owned()),
            KeyForm::None => {}
        }
        let name = self.quoted(engine);
        let mut statements = vec![format!("create table {name} ({})", parts.join(", "))];
        if engine.is_postgres() {
            match self.form {
                KeyForm::Unique if draw.one_in(2) => {
                    let index = named(engine, &self.key_name);
                    statements.push(format!("alter table {name} replica identity using index {index}"));
                }
                KeyForm::Primary if !draw.one_in(4) => {}
                _ => statements.push(format!("alter table {name} replica identity full")),
            }
            // Out of line also where it would compress well: what an update leaves alone is not in the log.
            for column in self.columns.iter().filter(|column| ["text", "bytea", "jsonb", "json"].contains(&column.kind.sql)) {
                statements.push(format!("alter table {name} alter column {} set storage external", named(engine, &column.name)));
            }
        }
        statements
    }
}

impl Column {
    /// Name, type, default and nullability, as `create table` and `add column` take them.
    pub(super) fn definition(&self, engine: Engine) -> String {
        let default = self.default.as_ref().map_or(String::new(), |literal| format!(" default {literal}"));
        format!("{} {}{default}", named(engine, &self.name), self.sql_type())
    }

    /// Type and nullability.
    pub(super) fn sql_type(&self) -> String {
        let base = self.kind.sql.trim_end_matches(" null");
        if self.nullable && !self.in_key {
            // MySQL's first timestamp may be more than a column, unless it may be NULL.
            if base.starts_with("timestamp(6)") { format!("{base} null") } else { base.to_owned() }
        } else if self.nullable {
            base.to_owned()
        } else {
            format!("{base} not null")
        }
    }

    /// A literal for a row: NULL where it may be.
    pub(super) fn value(&self, draw: &mut Draw) -> String {
        if self.nullable && draw.one_in(5) { "null".to_owned() } else { self.kind.value(draw) }
    }
}
