//! Cuts a table into its partitions.
//!
//! A part is a list of partitions or subpartitions, with a digest of the layout that it was made of: after a change of the layout
//! the same names hold other rows, so that a row could be in no part. The layout is compared again when the reader's view stands;
//! from then on the server refuses to read a table that was altered (error 1412).

use mysql_async::Conn;
use tidegate_connector::{Chunk, ConnectorError, Dialect, TableCut};
use tidegate_model::TableName;

use crate::connect::{row, rows};
use crate::raw::RawConn;

/// What a part reads.
pub(crate) struct Partitions {
    names: Vec<String>,
    layout: String,
}

impl Partitions {
    /// `partition (p0, p1)`, behind the table's name.
    pub(crate) fn clause(&self) -> String {
        let names: Vec<String> = self.names.iter().map(|name| Dialect::MYSQL.identifier(name)).collect();
        format!(" partition ({})", names.join(", "))
    }

    /// # Errors
    /// Table-definite (`chunks_outdated`) when the table was partitioned in another way since it was cut.
    pub(crate) async fn check(&self, conn: &mut RawConn, table: &TableName) -> Result<(), ConnectorError> {
        let (what, sql) = layout_sql(table);
        if conn.text(&what, &sql).await?.is_some_and(|found| found == self.layout) {
            return Ok(());
        }
        let text = format!("table \"{table}\" was cut by its partitions, and these have changed since");
        Err(ConnectorError::table(table, "chunks_outdated", text).hint("reload the table: its chunks are cut anew"))
    }

    /// Reads what [`std::fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Partitions> {
        let (names, layout) = text.strip_prefix("partitions ")?.split_once(" of ")?;
        let is_digest = layout.len() == 64 && layout.bytes().all(|byte| byte.is_ascii_hexdigit());
        let names = names.split(',').map(name).collect::<Option<Vec<_>>>()?;
        is_digest.then(|| Partitions { names, layout: layout.to_owned() })
    }
}

impl std::fmt::Display for Partitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hex = |name: &String| name.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        let names: Vec<String> = self.names.iter().map(hex).collect();
        write!(f, "partitions {} of {}", names.join(","), self.layout)
    }
}

fn name(digits: &str) -> Option<String> {
    let is_pairs = !digits.is_empty() && digits.len().is_multiple_of(2) && digits.is_ascii();
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok());
    is_pairs.then(|| bytes.collect::<Option<Vec<u8>>>())?.and_then(|bytes| String::from_utf8(bytes).ok())
}

/// A partition with its subpartitions.
struct Partition {
    name: String,
    below: Vec<String>,
}

/// Each partition, or each subpartition, as a part; `None` for a table without partitions.
pub(crate) async fn each(conn: &mut Conn, table: &TableName, deep: bool) -> Result<Option<Vec<Chunk>>, ConnectorError> {
    let layout = layout(conn, table).await?;
    let found = partitions(conn, table).await?;
    let of_partition = |Partition { name, below }: Partition| if deep && !below.is_empty() { below } else { vec![name] };
    let parts: Vec<Vec<String>> = found.into_iter().flat_map(of_partition).map(|name| vec![name]).collect();
    Ok((!parts.is_empty()).then(|| chunks(parts, &layout)))
}

/// Each named partition or subpartition as a part, and all others together as one more.
pub(crate) async fn named(conn: &mut Conn, table: &TableName, cut: &TableCut, names: &[String]) -> Result<Vec<Chunk>, ConnectorError> {
    let layout = layout(conn, table).await?;
    let found = partitions(conn, table).await?;
    let parts = split(found, names).map_err(|what| cut.refused(table, &what))?;
    Ok(chunks(parts, &layout))
}

/// Names compare without case, as the server compares them.
fn split(found: Vec<Partition>, names: &[String]) -> Result<Vec<Vec<String>>, String> {
    let is = |one: &str, other: &str| one.to_lowercase() == other.to_lowercase();
    let is_named = |name: &str| names.iter().any(|wanted| is(wanted, name));
    for (index, wanted) in names.iter().enumerate() {
        if names[..index].iter().any(|before| is(before, wanted)) {
            return Err(format!("partition \"{wanted}\" is named twice"));
        }
        if !found.iter().any(|partition| is(wanted, &partition.name) || partition.below.iter().any(|below| is(wanted, below))) {
            return Err(format!("the table has no partition \"{wanted}\""));
        }
    }
    let (mut parts, mut others) = (Vec::new(), Vec::new());
    for Partition { name, below } in found {
        let (named, rest): (Vec<_>, Vec<_>) = below.into_iter().partition(|name| is_named(name));
        match (is_named(&name), named.first()) {
            (true, Some(below)) => return Err(format!("partition \"{name}\" is named, and so is its subpartition \"{below}\"")),
            (true, None) => parts.push(vec![name]),
            (false, None) => others.push(name),
            (false, Some(_)) => {
                parts.extend(named.into_iter().map(|name| vec![name]));
                others.extend(rest);
            }
        }
    }
    if !others.is_empty() {
        parts.push(others);
    }
    Ok(parts)
}

fn chunks(parts: Vec<Vec<String>>, layout: &str) -> Vec<Chunk> {
    let one = |(names, index): (Vec<String>, u32)| Chunk { index, bounds: Partitions { names, layout: layout.to_owned() }.to_string() };
    parts.into_iter().zip(0..).map(one).collect()
}

fn of_table(table: &TableName) -> String {
    let (schema, name) = (Dialect::MYSQL.literal(&table.schema), Dialect::MYSQL.literal(&table.name));
    format!("from information_schema.partitions where table_schema = {schema} and table_name = {name} and partition_name is not null")
}

async fn partitions(conn: &mut Conn, table: &TableName) -> Result<Vec<Partition>, ConnectorError> {
    let what = format!("look for partitions of table \"{table}\"");
    let order = "order by partition_ordinal_position, subpartition_ordinal_position";
    let sql = format!("select partition_name, subpartition_name {} {order}", of_table(table));
    let mut found: Vec<Partition> = Vec::new();
    for (name, below) in rows::<(String, Option<String>)>(conn, &what, &sql).await? {
        if found.last().is_none_or(|last| last.name != name) {
            found.push(Partition { name, below: Vec::new() });
        }
        if let Some(last) = found.last_mut() {
            last.below.extend(below);
        }
    }
    Ok(found)
}

async fn layout(conn: &mut Conn, table: &TableName) -> Result<String, ConnectorError> {
    let (what, sql) = layout_sql(table);
    row(conn, &what, &sql).await
}

/// What is asked for, and the question: a digest of everything that decides which rows a partition has.
fn layout_sql(table: &TableName) -> (String, String) {
    let what = format!("look for partitions of table \"{table}\"");
    let one = "hex(concat_ws(char(0), partition_name, subpartition_name, partition_method, subpartition_method, partition_expression, \
               subpartition_expression, partition_description))";
    let order = "order by partition_ordinal_position, subpartition_ordinal_position";
    (what, format!("select sha2(coalesce(group_concat({one} {order}), ''), 256) {}", of_table(table)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Vec<Partition> {
        let partition =
            |name: &str, below: &[&str]| Partition { name: name.into(), below: below.iter().map(|name| (*name).into()).collect() };
        vec![partition("p0", &["p0a", "p0b"]), partition("P1", &["p1a", "p1b"]), partition("p2", &["p2a", "p2b"])]
    }

    #[test]
    fn every_partition_is_in_exactly_one_part() {
        let parts = |names: &[&str]| split(layout(), &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let wanted = |parts: &[&[&str]]| Ok(parts.iter().map(|part| part.iter().map(|name| (*name).to_owned()).collect()).collect());
        assert_eq!(parts(&["p1"]), wanted(&[&["P1"], &["p0", "p2"]]));
        assert_eq!(parts(&["p0b", "p2"]), wanted(&[&["p0b"], &["p2"], &["p0a", "P1"]]));
        assert_eq!(parts(&["p0", "p1", "p2"]), wanted(&[&["p0"], &["P1"], &["p2"]]));
        for (names, named) in [(vec!["p9"], "no partition \"p9\""), (vec!["p0", "p0a"], "so is its"), (vec!["p1", "P1"], "twice")] {
            let error = parts(&names).expect_err("refused");
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn bounds_read_back() {
        let bounds = Partitions { names: vec!["p`0".into(), "ü".into()], layout: "0a".repeat(32) };
        let read = Partitions::parse(&bounds.to_string()).expect("what was written can be read");
        assert_eq!((read.clause(), read.layout), (" partition (`p``0`, `ü`)".to_owned(), bounds.layout));
        for text in ["partitions  of 00", "partitions 7 of 00", "partitions 70 of 00", "p"] {
            assert!(Partitions::parse(text).is_none(), "{text}");
        }
    }
}
