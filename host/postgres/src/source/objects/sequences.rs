//! Sequences: those that belong to or feed columns of the described tables, and those of their schemas that no table uses.

use std::collections::HashMap;

use tidegate_connector::{ConnectorError, Dialect};
use tidegate_model::TableName;
use tidegate_model::objects::{Sequence, SequencePosition};
use tokio_postgres::{Client, Row};

use super::super::catalog::get;
use super::{ATTEMPTED, Tables};
use crate::fault::pg_error;

/// One row for each table that a sequence belongs to or feeds; no table for one that nothing uses.
const SEQUENCES: &str = "with used as (
      select e.objid as sequence, e.refobjid as tab, a.attname as owned
        from pg_catalog.pg_depend e join pg_catalog.pg_attribute a on a.attrelid = e.refobjid and a.attnum = e.refobjsubid
        where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
          and e.refobjsubid > 0 and e.deptype in ('a', 'i')
      union all
      select e.refobjid, d.adrelid, null
        from pg_catalog.pg_depend e join pg_catalog.pg_attrdef d on d.oid = e.objid
        where e.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass)
    select distinct on (s.seqrelid, u.tab) u.tab::pg_catalog.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text,
      u.owned::pg_catalog.text, pg_catalog.format_type(s.seqtypid, null)::pg_catalog.text,
      s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle, pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
    from pg_catalog.pg_sequence s join pg_catalog.pg_class c on c.oid = s.seqrelid
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace left join used u on u.sequence = c.oid
    where u.tab = any($1) or (u.tab is null and n.nspname = any($2) and c.relpersistence <> 't')
    order by s.seqrelid, u.tab, u.owned nulls last";

/// Sequences that are asked for their positions in one statement.
const POSITIONS_AT_ONCE: usize = 200;

pub(super) async fn read(client: &Client, names: &[TableName], tables: &mut Tables) -> Result<(), ConnectorError> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let rows = client.query(SEQUENCES, &[&tables.oids, &schemas]).await.map_err(|error| pg_error(ATTEMPTED, error))?;
    let mut readable = Vec::new();
    for row in &rows {
        if get(row, 11, ATTEMPTED)? {
            readable.push(name(row)?);
        }
    }
    let positions = positions(client, &readable).await?;
    for row in &rows {
        let mut sequence = sequence(row)?;
        sequence.position = positions.get(&sequence.name).copied();
        // One that nothing uses goes with the first table of its schema.
        let place = match get::<Option<u32>>(row, 0, ATTEMPTED)? {
            Some(oid) => tables.places.get(&oid).copied(),
            None => names.iter().position(|table| table.schema == sequence.name.schema),
        };
        if let Some(objects) = place.and_then(|place| tables.objects.get_mut(place)) {
            objects.sequences.push(sequence);
        }
    }
    Ok(())
}

fn name(row: &Row) -> Result<TableName, ConnectorError> {
    Ok(TableName::new(get::<String>(row, 1, ATTEMPTED)?, get::<String>(row, 2, ATTEMPTED)?))
}

fn sequence(row: &Row) -> Result<Sequence, ConnectorError> {
    let number = |index: usize| get::<i64>(row, index, ATTEMPTED);
    Ok(Sequence {
        name: name(row)?,
        owner: get(row, 3, ATTEMPTED)?,
        native_type: get(row, 4, ATTEMPTED)?,
        start: number(5)?,
        increment: number(6)?,
        min: number(7)?,
        max: number(8)?,
        cache: number(9)?,
        cycle: get(row, 10, ATTEMPTED)?,
        position: None,
    })
}

/// Where sequences stand. Read from themselves: the catalog's own function says nothing of one that gave no value yet.
async fn positions(client: &Client, sequences: &[TableName]) -> Result<HashMap<TableName, SequencePosition>, ConnectorError> {
    let attempted = "read the positions of sequences";
    let mut found = HashMap::new();
    for some in sequences.chunks(POSITIONS_AT_ONCE) {
        let one = |(place, name): (usize, &TableName)| {
            format!("select {place}::pg_catalog.int4, last_value::pg_catalog.int8, is_called from {}", Dialect::POSTGRES.table(name))
        };
        let sql: Vec<String> = some.iter().enumerate().map(one).collect();
        for row in client.query(&sql.join(" union all "), &[]).await.map_err(|error| pg_error(attempted, error))? {
            let place = usize::try_from(get::<i32>(&row, 0, attempted)?).unwrap_or(usize::MAX);
            let position = SequencePosition { value: get(&row, 1, attempted)?, is_called: get(&row, 2, attempted)? };
            found.extend(some.get(place).map(|name| (name.clone(), position)));
        }
    }
    Ok(found)
}
