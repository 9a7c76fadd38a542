//! What a PostgreSQL database says of a schema's tables, as lines that can be compared: columns with defaults, identity,
//! collation and comment; constraints; indexes; sequences with their bounds and, if asked, their positions.

use crate::postgres::PostgresServer;

const LINES: &[&str] = &[
    "select format('column %s.%s %s%s default %s identity %s generated %s collate %s comment %s', c.relname, a.attname,
        format_type(a.atttypid, a.atttypmod), case when a.attnotnull then ' not null' else '' end,
        coalesce(pg_get_expr(d.adbin, d.adrelid), '-'), a.attidentity, a.attgenerated,
        case when a.attcollation <> t.typcollation then a.attcollation::regcollation::text else '-' end,
        coalesce(col_description(c.oid, a.attnum), '-'))
     from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_type t on t.oid = a.atttypid
     left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
     where c.relnamespace = 'SCHEMA'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0 and not a.attisdropped
     order by c.relname, row_number() over (partition by c.oid order by a.attnum)",
    "select format('table %s comment %s', relname, coalesce(obj_description(oid, 'pg_class'), '-')) from pg_class
     where relnamespace = 'SCHEMA'::regnamespace and relkind in ('r', 'p') order by 1",
    "select format('constraint %s %s %s valid %s', c.relname, k.conname, pg_get_constraintdef(k.oid), k.convalidated)
     from pg_constraint k join pg_class c on c.oid = k.conrelid
     where c.relnamespace = 'SCHEMA'::regnamespace and k.contype <> 'n' order by 1",
    "select 'index ' || pg_get_indexdef(i.indexrelid) || ' valid ' || i.indisvalid from pg_index i join pg_class c on c.oid = i.indrelid
     where c.relnamespace = 'SCHEMA'::regnamespace order by 1",
    "select format('sequence %s %s start %s step %s from %s to %s cache %s cycle %s owner %s', c.relname, s.seqtypid::regtype, s.seqstart,
        s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
        coalesce((select format('%s.%s %s', t.relname, a.attname, e.deptype) from pg_depend e join pg_class t on t.oid = e.refobjid
            join pg_attribute a on a.attrelid = t.oid and a.attnum = e.refobjsubid
            where e.classid = 'pg_class'::regclass and e.objid = c.oid and e.deptype in ('a', 'i')), '-'))
     from pg_sequence s join pg_class c on c.oid = s.seqrelid where c.relnamespace = 'SCHEMA'::regnamespace order by 1",
];

/// Every line about a schema of the server's database `postgres`, in a settled order.
pub async fn catalogue(server: &PostgresServer, schema: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for query in LINES {
        let rows = server.rows(&format!("set search_path = ''; {}", query.replace("SCHEMA", &schema.replace('\'', "''")))).await;
        lines.extend(rows.into_iter().filter_map(|mut row| row.remove(0)));
    }
    lines
}

/// Each sequence of a schema with its position: the last value, and whether it was given.
pub async fn positions(server: &PostgresServer, schema: &str) -> Vec<String> {
    let names = format!(
        "select quote_ident(nspname) || '.' || quote_ident(relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = '{}' and relkind = 'S' order by 1",
        schema.replace('\'', "''")
    );
    let mut lines = Vec::new();
    for row in server.rows(&names).await {
        let Some(name) = row.first().cloned().flatten() else { continue };
        lines.push(server.value(&format!("select format('{name} %s %s', last_value, is_called) from {name}")).await);
    }
    lines
}

/// What one side has and the other has not, with a sign before each line; empty when they are equal.
pub fn differences(wanted: &[String], found: &[String]) -> Vec<String> {
    let missing = wanted.iter().filter(|line| !found.contains(line)).map(|line| format!("- {line}"));
    let extra = found.iter().filter(|line| !wanted.contains(line)).map(|line| format!("+ {line}"));
    missing.chain(extra).collect()
}
