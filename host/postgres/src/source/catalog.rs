//! What the source's catalog says now of tables and types.
//!
//! Every statement names system tables alone, and casts each result to a type that the driver knows by itself, so
//! that no role setting and no type of the user's changes how it is read.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tidegate_connector::{ConnectorError, Partition};
use tidegate_model::{Lsn, TableName};
use tokio::time::{Instant, sleep};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use crate::collation::collation_definition;
use crate::fault::pg_error;
use crate::types::{MONEY, TypeEntry};

/// How late the writer of the log may be with its rounds.
const ROUNDS_LATE: Duration = Duration::from_secs(1);

/// Between two looks at how far the log is safe.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A table as the catalog has it now.
#[derive(Debug, Clone)]
pub(crate) struct TableFacts {
    pub(crate) oid: u32,
    pub(crate) name: TableName,
    /// `pg_class.relpersistence`: p permanent, u unlogged.
    pub(crate) persistence: u8,
    /// `pg_class.relreplident`: d default, n nothing, f full, i index.
    pub(crate) replica_identity: u8,
    /// Policies hold for the current user, unless it sees all rows: the owner is free of them where they are not forced.
    pub(crate) row_security: bool,
    /// The current user owns it, as `CREATE PUBLICATION … FOR TABLE` wants.
    pub(crate) owned: bool,
    /// Its owner, and whether that is a superuser, of whom nobody should be made a member.
    pub(crate) owner: (String, bool),
    pub(crate) selectable: bool,
    pub(crate) rows_estimate: u64,
    pub(crate) partitioned: bool,
    pub(crate) columns: Vec<ColumnFacts>,
    pub(crate) indexes: Vec<IndexFacts>,
}

/// A column as the catalog has it now.
#[derive(Debug, Clone)]
pub(crate) struct ColumnFacts {
    pub(crate) number: i16,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) modifier: i32,
    pub(crate) nullable: bool,
    pub(crate) generated: bool,
    /// What defines its collation, if that holds different texts equal. A column of unique indexes has theirs, which need not be its own:
    /// one upon it alone that holds them equal, or one that all of them have.
    pub(crate) collation: Option<String>,
}

/// A unique index on plain columns over all rows.
#[derive(Debug, Clone)]
pub(crate) struct IndexFacts {
    pub(crate) primary: bool,
    pub(crate) replica_identity: bool,
    /// False for a deferrable constraint, which identifies no row.
    pub(crate) immediate: bool,
    /// Column numbers in key order.
    pub(crate) columns: Vec<i16>,
}

/// The table `c` and all of its partitions, as SQL. `pg_partition_tree` would lock them, and wait behind whoever waits to empty one of
/// them: for ever, where that one waits for a snapshot of ours that is being read.
macro_rules! partition_tree {
    () => {
        "(with recursive tree (oid) as (select c.oid union all select i.inhrelid from pg_catalog.pg_inherits i \
         join tree on i.inhparent = tree.oid join pg_catalog.pg_class k on k.oid = i.inhrelid and k.relispartition) \
         select tree.oid from tree)"
    };
}
pub(crate) use partition_tree;

/// Of a table that goes while the statement runs, nobody has a privilege: the functions know of it, its snapshot does not.
const TABLES: &str = concat!(
    "select c.oid::pg_catalog.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
    c.relpersistence::pg_catalog.text, c.relreplident::pg_catalog.text, \
    c.relrowsecurity and (c.relforcerowsecurity or not coalesce(pg_catalog.pg_has_role(c.relowner, 'USAGE'), false)), \
    coalesce(pg_catalog.pg_has_role(c.relowner, 'USAGE'), false), coalesce(pg_catalog.has_table_privilege(c.oid, 'SELECT'), false), \
    case when c.relkind = 'p' then (select coalesce(sum(greatest(l.reltuples, 0)), 0) from ",
    partition_tree!(),
    " t (oid) join pg_catalog.pg_class l on l.oid = t.oid where l.relkind <> 'p') else greatest(c.reltuples, 0) end::pg_catalog.float8, \
    c.relkind = 'p', pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text, \
    exists (select from pg_catalog.pg_roles r where r.oid = c.relowner and r.rolsuper) \
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
);

/// Columns of the table `t`, in one row of arrays. A table may have none.
const COLUMNS: &str = concat!(
    "select coalesce(array_agg(a.attnum::pg_catalog.int2 order by a.attnum), '{}'), \
    coalesce(array_agg(a.attname::pg_catalog.text order by a.attnum), '{}'), \
    coalesce(array_agg(a.atttypid::pg_catalog.oid order by a.attnum), '{}'), \
    coalesce(array_agg(a.atttypmod::pg_catalog.int4 order by a.attnum), '{}'), \
    coalesce(array_agg(not a.attnotnull order by a.attnum), '{}'), \
    coalesce(array_agg(a.attgenerated <> '' order by a.attnum), '{}'), \
    coalesce(array_agg((select coalesce(min(d.definition) filter (where d.folds and d.is_alone), \
      case when bool_and(d.folds) and count(distinct d.definition) = 1 then min(d.definition) end) from (select ",
    collation_definition!(),
    " definition, not k.collisdeterministic folds, coalesce(u.is_alone, false) is_alone from pg_catalog.pg_attribute o \
      left join lateral (select p.collation_oid, i.indnkeyatts = 1 is_alone from pg_catalog.pg_index i, \
        unnest(i.indkey::pg_catalog.int2[], i.indcollation::pg_catalog.oid[]) with ordinality p(attnum, collation_oid, place) \
        where i.indrelid = o.attrelid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null \
        and p.attnum = o.attnum and p.place <= i.indnkeyatts) u on true \
      join pg_catalog.pg_collation k on k.oid = coalesce(u.collation_oid, o.attcollation) \
      where o.attrelid = a.attrelid and o.attnum = a.attnum and o.attcollation <> 0) d) order by a.attnum), '{}') \
    from pg_catalog.pg_attribute a where a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped"
);

/// Unique indexes of the table `t`, in one row of arrays. `indkey` holds INCLUDE columns too; only the first `indnkeyatts` are the key,
/// whose numbers are joined by spaces: an array of arrays wants all of one length.
const INDEXES: &str = "select coalesce(array_agg(i.indisprimary order by i.indexrelid), '{}'), \
    coalesce(array_agg(i.indisreplident order by i.indexrelid), '{}'), \
    coalesce(array_agg(i.indimmediate order by i.indexrelid), '{}'), \
    coalesce(array_agg((select string_agg(k.attnum::pg_catalog.text, ' ' order by k.place) \
      from pg_catalog.unnest(i.indkey) with ordinality k(attnum, place) where k.place <= i.indnkeyatts) order by i.indexrelid), '{}') \
    from pg_catalog.pg_index i where i.indrelid = t.oid and i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null";

const TYPES: &str = "select t.oid::pg_catalog.oid, t.typname::pg_catalog.text, t.typtype::pg_catalog.text, t.typbasetype::pg_catalog.oid, \
    t.typtypmod::pg_catalog.int4, case when t.typcategory = 'A' then t.typelem else 0 end::pg_catalog.oid, \
    array(select e.enumlabel::pg_catalog.text from pg_catalog.pg_enum e where e.enumtypid = t.oid order by e.enumsortorder), \
    array(select a.atttypid::pg_catalog.oid from pg_catalog.pg_attribute a where t.typtype = 'c' and a.attrelid = t.typrelid \
      and a.attnum > 0 and not a.attisdropped order by a.attnum), \
    array(select a.atttypmod::pg_catalog.int4 from pg_catalog.pg_attribute a where t.typtype = 'c' and a.attrelid = t.typrelid \
      and a.attnum > 0 and not a.attisdropped order by a.attnum), \
    coalesce((select r.rngsubtype from pg_catalog.pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)), 0)::pg_catalog.oid, \
    case when t.oid = $2 then pg_catalog.scale(0::pg_catalog.int4::pg_catalog.money::pg_catalog.numeric) else 0 end::pg_catalog.int4, \
    t.typsend::pg_catalog.oid <> 0 from pg_catalog.pg_type t where t.oid = any($1)";

/// The parts of partitioned tables, and by which transactions each came to the root, from level to level.
///
/// One that was made as a partition is entered as such by the same transaction, two steps after its row type (seen on PostgreSQL 15
/// and 18); one that was filled before it was attached, later. So do partitions that were filled below a table which was attached with
/// them: an entry further up is younger than the part itself, whose system columns nobody alters.
const PARTITIONS: &str = "with recursive tree (root, oid, xs, cs) as (\
      select c.oid, c.oid, array[]::pg_catalog.xid[], array[]::pg_catalog.int8[] \
      from unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) w(s, t) join pg_catalog.pg_namespace n on n.nspname = w.s \
      join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = w.t and c.relkind = 'p' \
    union all \
      select tree.root, i.inhrelid, tree.xs || i.xmin, tree.cs || i.cmin::pg_catalog.text::pg_catalog.int8 from pg_catalog.pg_inherits i \
      join tree on i.inhparent = tree.oid join pg_catalog.pg_class k on k.oid = i.inhrelid and k.relispartition) \
    select n.nspname::pg_catalog.text, c.relname::pg_catalog.text, ln.nspname::pg_catalog.text, l.relname::pg_catalog.text, \
    l.oid::pg_catalog.oid, coalesce(pg_catalog.pg_relation_filenode(l.oid), 0)::pg_catalog.oid, \
    case when exists (select from unnest(tree.xs, tree.cs) with ordinality e(x, c, place) where \
      case when e.place = pg_catalog.cardinality(tree.xs) \
        then e.x <> y.xmin or e.c - y.cmin::pg_catalog.text::pg_catalog.int8 not between 0 and 2 \
        when e.x = a.xmin then e.c > a.cmin::pg_catalog.text::pg_catalog.int8 \
        else pg_catalog.age(e.x) < pg_catalog.age(a.xmin) end) \
      then coalesce(pg_catalog.pg_relation_size(l.oid), 0) > 0 else false end, \
    pg_catalog.array_to_string(tree.xs, ' ') \
    from tree join pg_catalog.pg_class c on c.oid = tree.root join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
    join pg_catalog.pg_class l on l.oid = tree.oid join pg_catalog.pg_namespace ln on ln.oid = l.relnamespace \
    join pg_catalog.pg_type y on y.oid = l.reltype join pg_catalog.pg_attribute a on a.attrelid = l.oid and a.attname = 'tableoid' \
    where tree.oid <> tree.root";

/// Tables a user may mean: ordinary and partitioned ones; partitions belong to their root.
const LISTED: &str = "where c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't' \
    and n.nspname not in ('information_schema', 'tidegate') and n.nspname not like 'pg\\_%' ";

/// How long is waited for a lock that somebody may get only after us: who waits to empty or alter a table waits for a snapshot of it that
/// is being read, and whoever comes later waits for both. pg_dump does not wait at all.
pub(crate) const LOCK_TIMEOUT: &str = "2s";

/// Names of all tables that the user may see, but extensions' own: who creates the extension has them.
pub(crate) async fn table_names(client: &Client) -> Result<Vec<TableName>, ConnectorError> {
    let sql = format!(
        "select n.nspname::pg_catalog.text, c.relname::pg_catalog.text from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace {LISTED} \
         and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
           and d.objid = c.oid and d.deptype = 'e') order by 1, 2"
    );
    names_of(client.query(&sql, &[]).await)
}

/// See `Source::existing_tables`.
pub(crate) async fn existing_tables(client: &Client, names: &[TableName]) -> Result<Vec<TableName>, ConnectorError> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let tables: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let sql = format!(
        "select n.nspname::pg_catalog.text, c.relname::pg_catalog.text from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         join unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) w(s, t) on w.s = n.nspname and w.t = c.relname {LISTED}"
    );
    names_of(client.query(&sql, &[&schemas, &tables]).await)
}

fn names_of(rows: Result<Vec<Row>, tokio_postgres::Error>) -> Result<Vec<TableName>, ConnectorError> {
    let attempted = "list tables";
    let rows = rows.map_err(|error| pg_error(attempted, error))?;
    rows.iter().map(|row| Ok(TableName::new(get::<String>(row, 0, attempted)?, get::<String>(row, 1, attempted)?))).collect()
}

/// Facts of the tables with these names, in any order; those that do not exist are left out.
pub(crate) async fn tables_by_name(client: &Client, names: &[TableName]) -> Result<Vec<TableFacts>, ConnectorError> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let tables: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let named =
        format!("join unnest($1::pg_catalog.text[], $2::pg_catalog.text[]) w(s, t) on w.s = n.nspname and w.t = c.relname {LISTED}");
    facts(client, &named, &[&schemas, &tables], "describe tables").await
}

/// See `Source::partitions`.
pub(crate) async fn partitions(client: &Client, tables: &[TableName]) -> Result<Vec<Partition>, ConnectorError> {
    let attempted = "look at partitions";
    let schemas: Vec<&str> = tables.iter().map(|name| name.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|name| name.name.as_str()).collect();
    // The size of a partition is read under a lock, which somebody may hold for long.
    client.batch_execute(&format!("set lock_timeout = '{LOCK_TIMEOUT}'")).await.map_err(|error| pg_error(attempted, error))?;
    let rows = client.query(PARTITIONS, &[&schemas, &names]).await.map_err(|error| pg_error(attempted, error))?;
    let name = |row: &Row, at: usize| {
        Ok::<_, ConnectorError>(TableName::new(get::<String>(row, at, attempted)?, get::<String>(row, at + 1, attempted)?))
    };
    let partition = |row: &Row| {
        Ok::<_, ConnectorError>(Partition {
            of: name(row, 0)?,
            name: name(row, 2)?,
            number: get(row, 4, attempted)?,
            storage: get(row, 5, attempted)?,
            brought_rows: get(row, 6, attempted)?,
            attached: get(row, 7, attempted)?,
        })
    };
    rows.iter().map(partition).collect()
}

/// Facts of the table with this number; `None` when it is gone.
pub(crate) async fn table_by_oid(client: &Client, oid: u32) -> Result<Option<TableFacts>, ConnectorError> {
    Ok(facts(client, "where c.oid = $1", &[&oid], "describe a table of the log").await?.pop())
}

/// Facts of the tables that `chosen` takes. One statement sees one moment of the catalog: columns of before a change and keys of after
/// it would be a table that never was.
async fn facts(
    client: &Client,
    chosen: &str,
    parameters: &[&(dyn ToSql + Sync)],
    attempted: &str,
) -> Result<Vec<TableFacts>, ConnectorError> {
    let sql = format!(
        "with t as materialized ({TABLES} {chosen}) select * from t cross join lateral ({COLUMNS}) a cross join lateral ({INDEXES}) i"
    );
    let rows = client.query(&sql, parameters).await.map_err(|error| pg_error(attempted, error))?;
    rows.iter().map(|row| table(row, attempted)).collect()
}

fn table(row: &Row, attempted: &str) -> Result<TableFacts, ConnectorError> {
    let letter = |index: usize| Ok::<u8, ConnectorError>(get::<String>(row, index, attempted)?.bytes().next().unwrap_or_default());
    Ok(TableFacts {
        oid: get(row, 0, attempted)?,
        name: TableName::new(get::<String>(row, 1, attempted)?, get::<String>(row, 2, attempted)?),
        persistence: letter(3)?,
        replica_identity: letter(4)?,
        row_security: get(row, 5, attempted)?,
        owned: get(row, 6, attempted)?,
        owner: (get(row, 10, attempted)?, get(row, 11, attempted)?),
        selectable: get(row, 7, attempted)?,
        // A float's cast saturates, and the catalog's estimate is never negative here.
        rows_estimate: get::<f64>(row, 8, attempted)? as u64,
        partitioned: get(row, 9, attempted)?,
        columns: columns(row, 12, attempted)?,
        indexes: indexes(row, 19, attempted)?,
    })
}

/// What [`COLUMNS`] tells from the field `at` on.
fn columns(row: &Row, at: usize, attempted: &str) -> Result<Vec<ColumnFacts>, ConnectorError> {
    let (numbers, names): (Vec<i16>, Vec<String>) = (get(row, at, attempted)?, get(row, at + 1, attempted)?);
    let (type_oids, modifiers): (Vec<u32>, Vec<i32>) = (get(row, at + 2, attempted)?, get(row, at + 3, attempted)?);
    let (nullable, generated): (Vec<bool>, Vec<bool>) = (get(row, at + 4, attempted)?, get(row, at + 5, attempted)?);
    let collations: Vec<Option<String>> = get(row, at + 6, attempted)?;
    let columns = numbers.into_iter().zip(names).zip(type_oids).zip(modifiers).zip(nullable).zip(generated).zip(collations);
    let column = |((((((number, name), type_oid), modifier), nullable), generated), collation)| ColumnFacts {
        number,
        name,
        type_oid,
        modifier,
        nullable,
        generated,
        collation,
    };
    Ok(columns.map(column).collect())
}

/// What [`INDEXES`] tells from the field `at` on.
fn indexes(row: &Row, at: usize, attempted: &str) -> Result<Vec<IndexFacts>, ConnectorError> {
    let (primary, replica_identity): (Vec<bool>, Vec<bool>) = (get(row, at, attempted)?, get(row, at + 1, attempted)?);
    let (immediate, keys): (Vec<bool>, Vec<String>) = (get(row, at + 2, attempted)?, get(row, at + 3, attempted)?);
    let indexes = primary.into_iter().zip(replica_identity).zip(immediate).zip(keys);
    let index = |(((primary, replica_identity), immediate), key): (((bool, bool), bool), String)| {
        let columns = key.split(' ').map(str::parse).collect::<Result<_, _>>();
        let columns = columns.map_err(|cause| ConnectorError::definite("unexpected_answer", attempted).caused_by(cause))?;
        Ok(IndexFacts { primary, replica_identity, immediate, columns })
    };
    indexes.map(index).collect()
}

/// The types with these numbers, and those that domains and arrays among them stand on.
pub(crate) async fn types(client: &Client, wanted: Vec<u32>) -> Result<HashMap<u32, TypeEntry>, ConnectorError> {
    let attempted = "describe types";
    let mut found = HashMap::new();
    let mut asked: HashSet<u32> = HashSet::new();
    let mut next = wanted;
    loop {
        next.retain(|oid| *oid != 0 && asked.insert(*oid));
        if next.is_empty() {
            return Ok(found);
        }
        let rows = client.query(TYPES, &[&next, &MONEY]).await.map_err(|error| pg_error(attempted, error))?;
        next.clear();
        for row in rows {
            let entry = TypeEntry {
                name: get(&row, 1, attempted)?,
                kind: get::<String>(&row, 2, attempted)?.bytes().next().unwrap_or_default(),
                base: (get(&row, 3, attempted)?, get(&row, 4, attempted)?),
                element: get(&row, 5, attempted)?,
                labels: get(&row, 6, attempted)?,
                fields: get::<Vec<u32>>(&row, 7, attempted)?.into_iter().zip(get::<Vec<i32>>(&row, 8, attempted)?).collect(),
                bound: get(&row, 9, attempted)?,
                money_digits: u8::try_from(get::<i32>(&row, 10, attempted)?).unwrap_or(0),
                sends: get(&row, 11, attempted)?,
            };
            next.extend([entry.base.0, entry.element, entry.bound]);
            next.extend(entry.fields.iter().map(|(oid, _)| *oid));
            found.insert(get(&row, 0, attempted)?, entry);
        }
    }
}

/// The names of types with their modifiers, as DDL spells them.
pub(crate) async fn type_names(client: &Client, types: &[(u32, i32)]) -> Result<Vec<String>, ConnectorError> {
    let attempted = "name types";
    let (oids, modifiers): (Vec<u32>, Vec<i32>) = types.iter().copied().unzip();
    let sql = "select pg_catalog.format_type(w.t, w.m)::pg_catalog.text \
               from unnest($1::pg_catalog.oid[], $2::pg_catalog.int4[]) with ordinality w(t, m, place) order by w.place";
    let rows = client.query(sql, &[&oids, &modifiers]).await.map_err(|error| pg_error(attempted, error))?;
    rows.iter().map(|row| get(row, 0, attempted)).collect()
}

/// True when the table with this number is there.
pub(crate) async fn table_exists(client: &Client, oid: u32) -> Result<bool, ConnectorError> {
    let attempted = "look for a table by its number";
    let sql = "select count(*) from pg_catalog.pg_class where oid = $1 and relkind in ('r', 'p')";
    let row = client.query_one(sql, &[&oid]).await.map_err(|error| pg_error(attempted, error))?;
    Ok(get::<i64>(&row, 0, attempted)? > 0)
}

/// The end of the log that is safe on disk: logical decoding goes no further.
pub(crate) async fn log_end(client: &Client) -> Result<Lsn, ConnectorError> {
    let attempted = "read the end of the log";
    let row = client.query_one("select pg_catalog.pg_current_wal_flush_lsn()::pg_catalog.text", &[]).await;
    let text: String = get(&row.map_err(|error| pg_error(attempted, error))?, 0, attempted)?;
    text.parse().map_err(|cause| ConnectorError::definite("malformed_log", attempted).caused_by(cause))
}

/// The end of the log once everything that is written to it by now is safe on disk. The server's writer sees to that within three rounds (PostgreSQL
/// manual, "Asynchronous Commit"); what it leaves after them is the header of a page and no commit.
pub(crate) async fn end_of_commits(client: &Client) -> Result<Lsn, ConnectorError> {
    let attempted = "read the end of the log";
    let sql = "select pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text, \
         (select setting from pg_catalog.pg_settings where name = 'wal_writer_delay')::pg_catalog.int8";
    let row = client.query_one(sql, &[]).await.map_err(|error| pg_error(attempted, error))?;
    let written: Lsn = get::<String>(&row, 0, attempted)?
        .parse()
        .map_err(|cause| ConnectorError::definite("malformed_log", attempted).caused_by(cause))?;
    let round = Duration::from_millis(get::<i64>(&row, 1, attempted)?.try_into().unwrap_or(0));
    let since = Instant::now();
    loop {
        let safe = log_end(client).await?;
        if safe >= written || since.elapsed() > round * 3 + ROUNDS_LATE {
            return Ok(safe);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// A field of a catalog's row; its type is cast in the statement, so a mismatch is the server's doing.
pub(crate) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize, attempted: &str) -> Result<T, ConnectorError> {
    row.try_get(index).map_err(|error| pg_error(attempted, error))
}
