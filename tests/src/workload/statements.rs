//! What one writer does next, as SQL.

use std::fmt::Write;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::tables::TABLES;
use super::{FIRST_ROWS_MAX, FoundIds, Tongue};

/// Rows of an insert statement of the first rows.
const BATCH: u64 = 200;

/// A writer gives ids that no other writer gives: `first + n * writers`.
pub(super) struct Writer {
    tongue: Tongue,
    random: StdRng,
    index: u64,
    writers: u64,
    found: FoundIds,
    next: u64,
    /// Keys of `moving` that this writer gave last; the others are found by chance.
    moved: Vec<u64>,
}

const ACCOUNTS: usize = 0;
const WIDE: usize = 2;
const DOCUMENTS: usize = 3;
const COMPOSITE: usize = 4;
const MOVING: usize = 5;

impl Writer {
    pub(super) fn new(tongue: Tongue, seed: u64, index: u64, writers: u64, found: FoundIds) -> Writer {
        // Above those of every table, so that one counter serves all.
        let next = found.highest.max(FIRST_ROWS_MAX) + 1 + index;
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(index));
        Writer { tongue, random, index, writers, found, next, moved: Vec::new() }
    }

    /// Inserts of the first rows, some hundred rows each, numbered from 1 in each table.
    pub(super) fn first_rows(&mut self, rows: u64) -> Vec<String> {
        let mut statements = Vec::new();
        // Tenths of the rows for each table.
        for (table, tenths) in TABLES.iter().zip([1.0, 1.0, 3.0, 0.5, 2.0, 1.5, 1.0]) {
            let count = ((rows as f64 * tenths / 10.0) as u64).max(20);
            for first in (1..=count).step_by(BATCH as usize) {
                let values: Vec<String> = (first..=count.min(first + BATCH - 1)).map(|id| self.row(table, id, count)).collect();
                statements.push(format!("insert into {table} values {}", values.join(", ")));
            }
        }
        statements
    }

    /// The next transaction, and whether it ends with a commit.
    pub(super) fn transaction(&mut self) -> (String, bool) {
        let mut sql = String::from("begin; ");
        if self.random.random_bool(0.5) {
            self.transfer(&mut sql);
        }
        for _ in 0..self.random.random_range(1..6) {
            match self.random.random_range(0..6) {
                0 | 1 => self.change_wide(&mut sql),
                2 => self.change_document(&mut sql),
                3 => self.change_composite(&mut sql),
                4 => self.change_moving(&mut sql),
                _ => self.change_keyless(&mut sql),
            }
        }
        let commits = self.random.random_bool(0.97);
        sql.push_str(if commits { "commit" } else { "rollback" });
        (sql, commits)
    }

    fn transfer(&mut self, sql: &mut String) {
        let accounts = self.found.first_rows[ACCOUNTS].max(2);
        let payer = self.random.random_range(1..=accounts);
        // Any other account, evenly.
        let payee = (payer - 1 + self.random.random_range(1..accounts)) % accounts + 1;
        let amount = self.random.random_range(1..100);
        // In the order of the ids: two transfers wait for each other, never in a circle.
        let mut sides = [(payer, -amount), (payee, amount)];
        sides.sort_unstable();
        for (id, change) in sides {
            add(sql, format_args!("update accounts set balance = balance + {change} where id = {id}"));
        }
        if self.random.random_bool(0.1) {
            let email = self.email(payer);
            add(sql, format_args!("update accounts set email = {email} where id = {payer}"));
        }
        let id = self.next_id();
        add(sql, format_args!("insert into ledger values ({id}, {}, {payer}, {payee}, {amount})", self.index));
    }

    fn change_wide(&mut self, sql: &mut String) {
        let id = self.random.random_range(1..=self.found.first_rows[WIDE].max(1));
        match self.random.random_range(0..10) {
            0..4 => {
                let id = self.next_id();
                let row = self.row("wide", id, 1);
                add(sql, format_args!("insert into wide values {row}"));
            }
            4..8 => {
                let (whole, word, day) = (self.random.random::<i32>(), self.word(), self.day());
                add(sql, format_args!("update wide set whole = {whole}, word = {word}, day = {day}, raw = null where id = {id}"));
            }
            8 => add(sql, format_args!("update wide set exact = exact + 0.000001, doc = null where id between {id} and {}", id + 5)),
            _ => add(sql, format_args!("delete from wide where id = {id}")),
        }
    }

    fn change_document(&mut self, sql: &mut String) {
        let id = self.random.random_range(1..=self.found.first_rows[DOCUMENTS].max(1));
        let title = self.word();
        match self.random.random_range(0..10) {
            // The large text stays: PostgreSQL does not send it again.
            0..7 => add(sql, format_args!("update documents set title = {title} where id = {id}")),
            7 => {
                let body = self.body();
                add(sql, format_args!("update documents set body = {body} where id = {id}"));
            }
            8 => {
                let id = self.next_id();
                let row = self.row("documents", id, 1);
                add(sql, format_args!("insert into documents values {row}"));
            }
            _ => add(sql, format_args!("delete from documents where id = {id}")),
        }
    }

    fn change_composite(&mut self, sql: &mut String) {
        let id = self.random.random_range(1..=self.found.first_rows[COMPOSITE].max(1));
        let place = format!("part = {} and id = {id}", part(id));
        match self.random.random_range(0..10) {
            0..3 => {
                let id = self.next_id();
                let row = self.row("composite", id, 1);
                add(sql, format_args!("insert into composite values {row}"));
            }
            3..7 => add(sql, format_args!("update composite set amount = amount * 1.01 where {place}")),
            // Half of the key changes, and back when it happens again.
            7 => add(sql, format_args!("update composite set part = '{} moved' where {place}", id % 3)),
            8 => add(sql, format_args!("update composite set note = null, amount = null where {place}")),
            _ => add(sql, format_args!("delete from composite where {place}")),
        }
    }

    fn change_moving(&mut self, sql: &mut String) {
        let next = self.next_id();
        let old = match self.random.random_range(0..10) {
            0..3 => {
                let row = self.row("moving", next, 1);
                add(sql, format_args!("insert into moving values {row}"));
                self.moved.push(next);
                return;
            }
            3..7 if !self.moved.is_empty() => self.moved.swap_remove(self.random.random_range(0..self.moved.len())),
            _ => self.random.random_range(1..=self.found.first_rows[MOVING].max(1)),
        };
        if self.random.random_bool(0.1) {
            add(sql, format_args!("delete from moving where id = {old}"));
        } else {
            add(sql, format_args!("update moving set id = {next}, name = concat(name, '+') where id = {old} and length(name) < 60"));
            self.moved.push(next);
        }
    }

    fn change_keyless(&mut self, sql: &mut String) {
        let id = self.random.random_range(0..50);
        let note = self.word();
        match (self.random.random_range(0..6), self.tongue) {
            (0..3, _) => add(sql, format_args!("insert into keyless values ({id}, {note}), ({id}, {note})")),
            (3, Tongue::Postgres) => {
                add(sql, format_args!("update keyless set note = {note} where ctid = (select min(ctid) from keyless where id = {id})"));
            }
            (3, Tongue::Mysql) => add(sql, format_args!("update keyless set note = {note} where id = {id} limit 1")),
            (_, Tongue::Postgres) => {
                add(sql, format_args!("delete from keyless where ctid = (select min(ctid) from keyless where id = {id})"));
            }
            (_, Tongue::Mysql) => add(sql, format_args!("delete from keyless where id = {id} limit 1")),
        }
    }

    /// A new row in parentheses.
    fn row(&mut self, table: &str, id: u64, count: u64) -> String {
        match table {
            "accounts" => format!("({id}, 1000, {})", self.email(id)),
            "ledger" => format!("({id}, 0, {}, {}, {})", id % count + 1, (id + 1) % count + 1, id % 90),
            "wide" => self.wide_row(id),
            "documents" => format!("({id}, {}, {})", self.word(), self.body()),
            "composite" => format!("({id}, {}, {}.{:02}, {})", part(id), self.random.random_range(-9999..9999), id % 100, self.word()),
            "moving" => format!("({id}, {})", self.word()),
            _ => format!("({}, {})", id % 50, self.word()),
        }
    }

    fn wide_row(&mut self, id: u64) -> String {
        let (small, whole) = (self.random.random::<i16>(), self.random.random::<i32>());
        let exact = format!("{}.{:06}", self.random.random_range(-99_999_999_i64..99_999_999), self.random.random_range(0..1_000_000));
        let (single, dbl) = (self.random.random::<f32>() * 1000.0, self.random.random::<f64>() * 1e9);
        let (word, day, seconds) = (self.word(), self.day(), self.random.random_range(0..86_400));
        let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
        // Not the whole range: MySQL's timestamp begins in 1970 and ends in 2038.
        let at = format!(
            "20{:02}-0{}-1{} {clock}.{:03}",
            self.random.random_range(0..37),
            whole.rem_euclid(9) + 1,
            small.rem_euclid(9),
            seconds % 1000
        );
        let raw = match self.tongue {
            Tongue::Postgres => format!("'\\x{:032x}'", self.random.random::<u128>()),
            Tongue::Mysql => format!("x'{:032x}'", self.random.random::<u128>()),
        };
        let doc = format!("'{{\"id\": {id}, \"tags\": [\"a\", null, {small}], \"ok\": {}}}'", whole > 0);
        // Every column is NULL in some rows.
        let mut values = [
            small.to_string(),
            whole.to_string(),
            exact,
            single.to_string(),
            dbl.to_string(),
            (whole > 0).to_string(),
            word,
            format!("'pad {}'", id % 1000),
            raw,
            day,
            format!("'{at}'"),
            format!("'{at}'"),
            format!("'{clock}.25'"),
            doc,
        ];
        if self.random.random_bool(0.4) {
            values[self.random.random_range(0..14)] = "null".to_owned();
        }
        format!("({id}, {})", values.join(", "))
    }

    /// A quoted address, not always in lower case.
    fn email(&mut self, id: u64) -> String {
        let provider = ["example.org", "Example.com", "müller.example"][self.random.random_range(0..3)];
        format!("'User.{id}+{}@{provider}'", self.random.random_range(0..1000))
    }

    fn day(&mut self) -> String {
        format!("'{}-{:02}-{:02}'", self.random.random_range(1900..2100), self.random.random_range(1..13), self.random.random_range(1..29))
    }

    /// A short quoted text: empty, plain, with quotes and with characters of two to four bytes.
    fn word(&mut self) -> String {
        let number = self.random.random_range(0..100_000);
        match self.random.random_range(0..8) {
            0 => "''".to_owned(),
            1 => format!("'it''s {number}'"),
            2 => format!("'Grüße {number} 東京 🚲'"),
            3 => format!("'a\tb, \"c\" {number}'"),
            _ => format!("'word {number}'"),
        }
    }

    /// A quoted text of 3 to 12 kB that does not compress, so that PostgreSQL stores it out of line.
    fn body(&mut self) -> String {
        let mut body = String::from("'");
        for _ in 0..self.random.random_range(100..400) {
            let part: u128 = self.random.random();
            write!(body, "{part:032x}").expect("a string takes everything");
        }
        body + "'"
    }

    fn next_id(&mut self) -> u64 {
        let id = self.next;
        self.next += self.writers;
        id
    }
}

/// The first part of a composite key.
fn part(id: u64) -> String {
    format!("'part {}'", id % 7)
}

fn add(sql: &mut String, statement: std::fmt::Arguments<'_>) {
    write!(sql, "{statement}; ").expect("a string takes everything");
}
