//! Moves sequences to where the source's stand, and behind every value in their columns; never back.
//!
//! A cycling sequence starts over, so it is set to exactly the source's place. A sequence that counts down is moved
//! downwards. Sequences are outside of transactions: what is set stays set.

use std::sync::Arc;

use tidegate_connector::{ConnectorError, Dialect, TargetTable};
use tidegate_model::TableName;
use tidegate_model::objects::{DefaultValue, Sequence, SequencePosition};
use tokio_postgres::GenericClient;

use crate::connect::pg_error;

const ATTEMPTED: &str = "move a sequence";

/// A sequence of the target and what it must not give again.
struct Move<'a> {
    /// As SQL and `regclass` spell it.
    sequence: String,
    position: Option<SequencePosition>,
    cycle: bool,
    /// The column that it counts, with its table.
    column: Option<(&'a TableName, &'a str)>,
}

/// See `Target::set_counters`.
pub(crate) async fn set_counters(client: &impl GenericClient, tables: &[Arc<TargetTable>]) -> Result<u64, ConnectorError> {
    let mut moved = 0;
    for table in tables {
        for one in moves(client, table).await? {
            moved += u64::from(set(client, &one).await?);
        }
    }
    Ok(moved)
}

async fn moves<'a>(client: &impl GenericClient, table: &'a TargetTable) -> Result<Vec<Move<'a>>, ConnectorError> {
    let wanted = &table.objects.wanted;
    let mut moves: Vec<Move<'a>> = Vec::new();
    let mut counted: Vec<&TableName> = Vec::new();
    for column in &wanted.columns {
        let sequence = match (&column.counter, &column.default) {
            (Some(counter), _) => &counter.sequence,
            (None, Some(default)) => match &default.value {
                Some(DefaultValue::NextValue(sequence)) => sequence,
                _ => continue,
            },
            (None, None) => continue,
        };
        let found = wanted.sequences.iter().find(|found| found.name == *sequence);
        // Its name may be another: that of a table which was there, or one that was taken.
        let own = own_sequence(client, &table.name, &column.column).await?;
        let shared = found.is_some_and(|found| found.owner.as_deref() != Some(column.column.as_str())) && column.counter.is_none();
        let target = match own {
            Some(own) if !shared => Some(own),
            _ => existing(client, sequence).await?,
        };
        counted.push(sequence);
        if let Some(target) = target {
            moves.push(Move {
                sequence: target,
                position: found.and_then(|found| found.position),
                cycle: found.is_some_and(|found| found.cycle),
                column: is_whole(table, &column.column).then_some((&table.name, column.column.as_str())),
            });
        }
    }
    for sequence in wanted.sequences.iter().filter(|sequence| !counted.contains(&&sequence.name)) {
        moves.extend(alone(client, sequence).await?);
    }
    Ok(moves)
}

async fn alone<'a>(client: &impl GenericClient, sequence: &Sequence) -> Result<Option<Move<'a>>, ConnectorError> {
    let target = existing(client, &sequence.name).await?;
    Ok(target.map(|target| Move { sequence: target, position: sequence.position, cycle: sequence.cycle, column: None }))
}

/// A column whose greatest value a sequence can be compared with.
fn is_whole(table: &TargetTable, column: &str) -> bool {
    table.columns.iter().any(|wanted| wanted.name == column && wanted.sql_type.is_integer())
}

/// The sequence that belongs to a column; none where the table or the column is missing.
async fn own_sequence(client: &impl GenericClient, table: &TableName, column: &str) -> Result<Option<String>, ConnectorError> {
    let sql = "select format('%I.%I', n.nspname, s.relname) from pg_depend e join pg_class s on s.oid = e.objid and s.relkind = 'S' \
               join pg_namespace n on n.oid = s.relnamespace \
               join pg_attribute a on a.attrelid = e.refobjid and a.attnum = e.refobjsubid and a.attname = $2 \
               where e.classid = 'pg_class'::regclass and e.refclassid = 'pg_class'::regclass and e.refobjid = to_regclass($1) \
                 and e.deptype in ('a', 'i') limit 1";
    let row = client.query_opt(sql, &[&Dialect::POSTGRES.table(table), &column]).await;
    Ok(row.map_err(|error| pg_error(ATTEMPTED, error))?.map(|row| row.get(0)))
}

async fn existing(client: &impl GenericClient, sequence: &TableName) -> Result<Option<String>, ConnectorError> {
    let name = Dialect::POSTGRES.table(sequence);
    let row = client.query_opt("select 1 from pg_class where oid = to_regclass($1) and relkind = 'S'", &[&name]).await;
    Ok(row.map_err(|error| pg_error(ATTEMPTED, error))?.map(|_| name))
}

async fn set(client: &impl GenericClient, one: &Move<'_>) -> Result<bool, ConnectorError> {
    let failed = |error| pg_error(ATTEMPTED, error);
    let sql = format!(
        "select q.last_value, q.is_called, s.seqincrement, s.seqmin, s.seqmax from {} q, pg_sequence s where s.seqrelid = $1::text::regclass",
        one.sequence
    );
    let row = client.query_one(&sql, &[&one.sequence]).await.map_err(failed)?;
    let (value, is_called): (i64, bool) = (row.get(0), row.get(1));
    let (step, min, max): (i64, i64, i64) = (row.get(2), row.get(3), row.get(4));
    let now = SequencePosition { value, is_called };
    let fits = |position: &SequencePosition| (min..=max).contains(&position.value);
    let mut wanted = one.position.filter(fits).filter(|position| one.cycle || is_behind(&now, position, step)).unwrap_or(now);
    if let (Some((table, column)), false) = (one.column, one.cycle) {
        let last = if step < 0 { "min" } else { "max" };
        // As text: the column may be wider than a sequence.
        let sql = format!("select {last}({})::text from {}", Dialect::POSTGRES.identifier(column), Dialect::POSTGRES.table(table));
        let row = client.query_one(&sql, &[]).await.map_err(failed)?;
        let last = row.get::<_, Option<String>>(0).and_then(|text| text.parse().ok());
        let taken = last.map(|value| SequencePosition { value, is_called: true }).filter(fits);
        wanted = taken.filter(|taken| is_behind(&wanted, taken, step)).unwrap_or(wanted);
    }
    if wanted == now {
        return Ok(false);
    }
    let moved = client.execute("select setval($1::text::regclass, $2, $3)", &[&one.sequence, &wanted.value, &wanted.is_called]).await;
    moved.map(|_| true).map_err(failed)
}

/// True when `now` would give a value that `other` gave already.
fn is_behind(now: &SequencePosition, other: &SequencePosition, step: i64) -> bool {
    let next = |position: &SequencePosition| i128::from(position.value) + if position.is_called { i128::from(step) } else { 0 };
    if step < 0 { next(other) < next(now) } else { next(other) > next(now) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_move_only_in_their_direction() {
        let at = |value, is_called| SequencePosition { value, is_called };
        assert!(is_behind(&at(1, false), &at(1, true), 1));
        assert!(!is_behind(&at(1, true), &at(2, false), 1));
        assert!(is_behind(&at(-1, true), &at(-5, true), -1));
        assert!(!is_behind(&at(-5, true), &at(-1, true), -1));
        assert!(!is_behind(&at(i64::MAX, true), &at(i64::MAX, true), 1));
    }
}
