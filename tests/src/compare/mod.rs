//! Tells whether a target's tables hold what the source's tables hold.
//!
//! Both sides are read as text in a form that does not depend on the database ([`canonical`]), so that `1.50` in MySQL
//! and `1.5` in PostgreSQL are equal and `''` and NULL are not. First each table's rows are summed up in a digest
//! that no order changes; only where count or digest differ, rows are looked at one by one by their primary key. A
//! table without one is compared as a bag of rows: equal rows count as often as they occur.
//!
//! The caller makes sure that nobody writes meanwhile.

mod canonical;
mod read;

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::mysql::MysqlServer;
use crate::postgres::PostgresServer;
use read::{TableReader, described};

/// Differences that are described one by one; the rest is only counted.
const DESCRIBED_MAX: usize = 20;

/// A database to compare: the server's usual database (`postgres`, or any of a MySQL server).
#[derive(Debug, Clone, Copy)]
pub enum Database<'a> {
    /// A PostgreSQL server's database `postgres`.
    Postgres(&'a PostgresServer),
    /// A MySQL or MariaDB server.
    Mysql(&'a MysqlServer),
}

/// A table of the source and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePair {
    source: (String, String),
    target: (String, String),
    skipped: Vec<String>,
}

impl TablePair {
    /// The table's name at the source, without its schema.
    pub fn source_table(&self) -> &str {
        &self.source.1
    }

    /// Schema (or database) and name on both sides.
    pub fn new(source: (&str, &str), target: (&str, &str)) -> TablePair {
        let owned = |(schema, name): (&str, &str)| (schema.to_owned(), name.to_owned());
        TablePair { source: owned(source), target: owned(target), skipped: Vec::new() }
    }

    /// Leaves out a column of the source, which a rule changes or drops; the test checks it by itself.
    #[must_use]
    pub fn without(mut self, column: &str) -> TablePair {
        self.skipped.push(column.to_owned());
        self
    }
}

/// What a comparison found. Its text is `7 tables, 20000 rows, 0 differences`, with the first differences below.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Tables compared.
    pub tables: u64,
    /// Rows of the source.
    pub rows: u64,
    /// Rows that are missing, too many or different, and columns that are not there.
    pub differences: u64,
    /// The first differences, by table and key; never a value outside the key.
    pub described: Vec<String>,
}

impl Comparison {
    fn add(&mut self, difference: String) {
        self.differences += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(difference);
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tables, {} rows, {} differences", self.tables, self.rows, self.differences)?;
        for difference in &self.described {
            write!(f, "\n  {difference}")?;
        }
        if self.differences > self.described.len() as u64 {
            write!(f, "\n  and {} more", self.differences - self.described.len() as u64)?;
        }
        Ok(())
    }
}

/// Compares all pairs. A table that is missing in the source panics; one that is missing in the target is a difference.
pub async fn compare_databases(source: &Database<'_>, target: &Database<'_>, pairs: &[TablePair]) -> Comparison {
    let mut comparison = Comparison::default();
    for pair in pairs {
        compare_tables(source, target, pair, &mut comparison).await;
    }
    comparison
}

/// The same while tables of the target may be dropped and made anew: one that goes away while it is read is an error.
///
/// # Errors
/// The differences, or that a table went away.
pub async fn compare_while_loading(source: &Database<'_>, target: &Database<'_>, pairs: &[TablePair]) -> Result<Comparison, String> {
    let compared = AssertUnwindSafe(compare_databases(source, target, pairs)).catch_unwind().await;
    let comparison = compared.map_err(|_| "a table went away while it was read".to_owned())?;
    if comparison.differences == 0 { Ok(comparison) } else { Err(comparison.to_string()) }
}

async fn compare_tables(source: &Database<'_>, target: &Database<'_>, pair: &TablePair, found: &mut Comparison) {
    let name = format!("{}.{}", pair.source.0, pair.source.1);
    let mut columns = described(source, &pair.source).await;
    assert!(!columns.is_empty(), "the source has no table {name}");
    columns.retain(|column| !pair.skipped.contains(&column.name));
    found.tables += 1;
    let targets = described(target, &pair.target).await;
    if targets.is_empty() {
        found.add(format!("{name}: the target has no table {}.{}", pair.target.0, pair.target.1));
    }
    let mut shared = Vec::new();
    for column in columns {
        match targets.iter().find(|target| target.name == column.name) {
            Some(target) => shared.push((column, target.clone())),
            None if targets.is_empty() => {}
            None => found.add(format!("{name}: the target has no column {}", column.name)),
        }
    }
    if shared.is_empty() {
        return;
    }
    let reader = TableReader::new(&shared, source, target);
    let source_sum = digest(&reader, source, &pair.source, false).await;
    let target_sum = digest(&reader, target, &pair.target, true).await;
    found.rows += source_sum.0;
    if source_sum != target_sum {
        let source_rows = rows_by_key(&reader, source, &pair.source, false).await;
        let target_rows = rows_by_key(&reader, target, &pair.target, true).await;
        list_differences(&name, &reader, source_rows, target_rows, found);
    }
}

/// Count of rows and the sum of their hashes, which is the same in any order.
async fn digest(reader: &TableReader, database: &Database<'_>, table: &(String, String), is_target: bool) -> (u64, u128) {
    let (mut count, mut sum) = (0, 0_u128);
    reader
        .each_row(database, table, is_target, |row| {
            count += 1;
            sum = sum.wrapping_add(row.hash());
        })
        .await;
    (count, sum)
}

/// Rows by their key: hashes of the columns, and how often the key occurs.
type RowsByKey = HashMap<String, (Vec<u64>, i64)>;

async fn rows_by_key(reader: &TableReader, database: &Database<'_>, table: &(String, String), is_target: bool) -> RowsByKey {
    let mut rows = RowsByKey::new();
    reader
        .each_row(database, table, is_target, |row| {
            let entry = rows.entry(row.key()).or_insert_with(|| (row.column_hashes(), 0));
            entry.1 += 1;
        })
        .await;
    rows
}

fn list_differences(name: &str, reader: &TableReader, source: RowsByKey, mut target: RowsByKey, found: &mut Comparison) {
    let is_only_in_target = |key: &String| !source.contains_key(key);
    // Without a key, a wrong row is one that is missing and one that is too many: what do they not share?
    let strange: Vec<Vec<u64>> = target.iter().filter(|(key, _)| is_only_in_target(key)).map(|(_, (hashes, _))| hashes.clone()).collect();
    for (key, (hashes, count)) in source {
        let Some((target_hashes, target_count)) = target.remove(&key) else {
            let nearest = strange.iter().map(|other| differing(reader, &hashes, other)).min_by_key(Vec::len).unwrap_or_default();
            let nearest = if nearest.is_empty() || !key.starts_with('#') {
                String::new()
            } else {
                format!("; the nearest one differs in {}", nearest.join(", "))
            };
            (0..count).for_each(|_| found.add(format!("{name}: row {key} is missing{nearest}")));
            continue;
        };
        (0..count - target_count).for_each(|_| found.add(format!("{name}: row {key} is missing")));
        (0..target_count - count).for_each(|_| found.add(format!("{name}: row {key} is there twice")));
        if hashes != target_hashes {
            found.add(format!("{name}: row {key} differs in {}", differing(reader, &hashes, &target_hashes).join(", ")));
        }
    }
    for (key, (_, count)) in target {
        (0..count).for_each(|_| found.add(format!("{name}: row {key} is only in the target")));
    }
}

/// Names of the columns in which two rows differ.
fn differing<'a>(reader: &'a TableReader, one: &[u64], other: &[u64]) -> Vec<&'a str> {
    reader.names().zip(one.iter().zip(other)).filter(|(_, (one, other))| one != other).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MysqlFlavour, PostgresVersion};

    #[tokio::test]
    async fn planted_differences_are_found_and_nothing_else() {
        let server = PostgresServer::start(PostgresVersion::V17).await;
        server
            .sql(
                "create schema copy;
                 create table t (id int, part text, amount numeric(10,2), note text, primary key (id, part));
                 insert into t select g, 'p' || g % 3, g / 7.0, case when g % 5 > 0 then 'n' || g end from generate_series(1, 1000) g;
                 create table copy.t (note text, id bigint, part varchar(9), amount numeric);
                 insert into copy.t select note, id, part, amount from t;
                 create table bag (a int, b text); create table copy.bag (a int, b text);
                 insert into bag values (1, 'x'), (1, 'x'), (2, null); insert into copy.bag select * from bag",
            )
            .await;
        let pairs = [TablePair::new(("public", "t"), ("copy", "t")), TablePair::new(("public", "bag"), ("copy", "bag"))];
        let database = Database::Postgres(&server);
        let equal = compare_databases(&database, &database, &pairs).await;
        assert_eq!(equal.to_string(), "2 tables, 1003 rows, 0 differences");

        server
            .sql(
                "update copy.t set note = '' where id = 5;
                 delete from copy.t where id = 6;
                 insert into copy.t values ('n', 1001, 'p', 1);
                 delete from copy.bag where ctid = (select min(ctid) from copy.bag);
                 insert into copy.bag values (2, '')",
            )
            .await;
        let mut found = compare_databases(&database, &database, &pairs).await;
        assert_eq!(found.differences, 5, "{found}");
        found.described.retain(|text| text.starts_with("public.t:"));
        found.described.sort();
        let wanted = ["row (1001, p) is only in the target", "row (5, p2) differs in note", "row (6, p0) is missing"];
        assert_eq!(found.described, wanted.map(|text| format!("public.t: {text}")));

        let pairs = [TablePair::new(("public", "t"), ("copy", "nowhere")), TablePair::new(("public", "t"), ("copy", "bag"))];
        let absent = compare_databases(&database, &database, &pairs).await;
        assert_eq!(absent.differences, 5, "{absent}");
    }

    #[tokio::test]
    async fn values_of_mysql_equal_their_like_in_postgresql() {
        let target = PostgresServer::start(PostgresVersion::V17).await;
        target
            .sql(
                "create table t (id numeric(20), tiny smallint, yes boolean, d numeric, f real, g double precision, b bytea, bits bit(12), ts timestamp,
                    tz timestamptz, day date, span interval, doc jsonb, e text, c char(5), y int);
                 insert into t values (18446744073709551615, -3, true, 1.5, 0.1, 1e-300, '\\x00ff', B'000000000101', '2024-02-29 01:02:03.5',
                    '2024-02-29 01:02:03+00', '1999-12-31', '-838:59:58.25', '{\"b\": [1, null], \"a\": \"ü\"}', 'two', 'ab', 2024)",
            )
            .await;
        for flavour in [MysqlFlavour::Mariadb1011, MysqlFlavour::Mysql97] {
            let source = MysqlServer::start(flavour).await;
            source
                .sql(
                    "create table t (id bigint unsigned primary key, tiny tinyint, yes tinyint(1), d decimal(10,4), f float, g double, b blob,
                        bits bit(12), ts datetime(6), tz timestamp, day date, span time(6), doc json, e enum('one', 'two'), c char(5), y year);
                     set time_zone = '+00:00';
                     insert into t values (18446744073709551615, -3, 1, 1.5, 0.1, 1e-300, x'00ff', 5, '2024-02-29 01:02:03.5',
                        '2024-02-29 01:02:03', '1999-12-31', '-838:59:58.25', '{\"a\": \"ü\", \"b\": [1, null]}', 'two', 'ab', 2024)",
                )
                .await;
            let pairs = [TablePair::new(("test", "t"), ("public", "t"))];
            let found = compare_databases(&Database::Mysql(&source), &Database::Postgres(&target), &pairs).await;
            assert_eq!(found.to_string(), "1 tables, 1 rows, 0 differences", "{flavour:?}");
            source.sql("update t set f = 0.10000001, span = '-838:59:58.250001', yes = 0").await;
            let found = compare_databases(&Database::Mysql(&source), &Database::Postgres(&target), &pairs).await;
            assert_eq!(found.described, ["test.t: row (18446744073709551615) differs in yes, f, span"]);
        }
    }
}
