//! A table of the target as it really is, read from its catalog.

use std::collections::HashMap;

use tidegate_connector::ConnectorError;
use tidegate_model::TableName;
use tokio_postgres::GenericClient;

use crate::collation::collation_definition;
use crate::connect::pg_error;

/// The first object id that PostgreSQL gives to a user's objects. Source: src/include/access/transam.h.
const FIRST_USER_OID: u32 = 16_384;

/// A column as it is. Of a domain, the type is the one below it.
#[derive(Debug, Clone)]
pub(crate) struct RealColumn {
    pub(crate) name: String,
    pub(crate) not_null: bool,
    pub(crate) has_default: bool,
    pub(crate) is_generated: bool,
    pub(crate) is_identity_always: bool,
    pub(crate) is_identity: bool,
    /// As DDL spells the column's own type, without and with modifiers.
    pub(crate) native: String,
    pub(crate) native_full: String,
    pub(crate) type_oid: u32,
    pub(crate) type_schema: String,
    pub(crate) type_name: String,
    /// `pg_type.typtype`: b base, e enumeration, c composite, r range, ...
    pub(crate) type_kind: u8,
    /// Of a true array, its element's type; 0 otherwise.
    pub(crate) element_oid: u32,
    /// Of a true array, `pg_type.typtype` of its elements.
    pub(crate) element_kind: u8,
    /// The type can be sent and received in binary. Not so `int2vector` and `oidvector`, which receive no empty one (seen on PostgreSQL 17).
    pub(crate) has_binary: bool,
    /// The function that makes the binary form, as SQL.
    pub(crate) send: String,
    /// Of an enumeration, or of the elements of an array of one.
    pub(crate) labels: Vec<String>,
}

impl RealColumn {
    /// One of PostgreSQL's own types.
    pub(crate) fn is_built_in(&self) -> bool {
        self.type_oid < FIRST_USER_OID
    }

    /// An array whose elements are of a user's type: its binary form holds an object id.
    pub(crate) fn is_array_of_user_type(&self) -> bool {
        self.element_oid >= FIRST_USER_OID
    }
}

/// A table as it is.
#[derive(Debug, Clone)]
pub(crate) struct RealTable {
    pub(crate) oid: u32,
    /// `pg_class.relkind`: r ordinary, p partitioned.
    pub(crate) kind: u8,
    pub(crate) columns: Vec<RealColumn>,
    /// Columns of unique indexes that hold for every row, at once.
    pub(crate) unique_keys: Vec<Vec<String>>,
    /// Columns of unique indexes that hold for some rows, or at the end of a transaction: they identify no row, and refuse some.
    pub(crate) other_keys: Vec<Vec<String>>,
    /// Names of unique indexes upon expressions.
    pub(crate) expression_keys: Vec<String>,
    /// Columns of all these keys in which different texts are one key, and by which collation, or `citext`.
    folded: Vec<(String, String)>,
    /// It has unique indexes or exclusion constraints beside the primary key.
    pub(crate) has_secondary_keys: bool,
    /// Foreign keys refer to it.
    pub(crate) is_referenced: bool,
}

impl RealTable {
    /// By which collation, or `citext`, different texts of a column are one key; `None` when they are not.
    pub(crate) fn folded_by(&self, column: &str) -> Option<&str> {
        self.folded.iter().find(|(name, _)| name == column).map(|(_, by)| by.as_str())
    }
}

const TABLES_SQL: &str = "select c.oid, c.relkind::text, n.nspname::text, c.relname::text \
    from unnest($1::text[], $2::text[]) w(s, t) join pg_namespace n on n.nspname = w.s join pg_class c on c.relnamespace = n.oid and c.relname = w.t";

const COLUMNS_SQL: &str = "
select a.attname::text, a.attnotnull, a.atthasdef, a.attgenerated::text, a.attidentity::text,
       format_type(a.atttypid, null), format_type(a.atttypid, a.atttypmod),
       b.oid, n.nspname::text, b.typname::text, b.typtype::text,
       case when b.typlen = -1 and b.typelem <> 0 and b.typcategory = 'A' then b.typelem else 0::oid end,
       b.typsend <> 0 and b.typreceive <> 0 and b.oid not in (22, 30), b.typsend::regproc::text,
       coalesce((select array_agg(e.enumlabel::text order by e.enumsortorder) from pg_enum e where e.enumtypid in (b.oid, l.oid)), '{}'),
       coalesce(l.typtype::text, ''), a.attrelid
from pg_attribute a
join lateral (
    with recursive below as (
        select t.oid, t.typbasetype from pg_type t where t.oid = a.atttypid
        union all
        select t.oid, t.typbasetype from pg_type t join below on t.oid = below.typbasetype)
    select oid from below where typbasetype = 0) base on true
join pg_type b on b.oid = base.oid
join pg_namespace n on n.oid = b.typnamespace
left join pg_type l on l.oid = b.typelem and b.typlen = -1 and b.typcategory = 'A'
where a.attrelid = any($1) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum";

/// A key has collations of its own, which need not be those of its columns.
const KEYS_SQL: &str = concat!(
    "
select array_agg(a.attname::text order by p.place), i.indrelid, array_agg(k.definition order by p.place),
       i.indimmediate and i.indpred is null
from pg_index i cross join lateral unnest(i.indkey::int2[], i.indcollation::oid[]) with ordinality p(attnum, collation_oid, place)
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = p.attnum
left join lateral (select ",
    collation_definition!(),
    " definition from pg_collation k where k.oid = p.collation_oid and not k.collisdeterministic) k on true
where i.indrelid = any($1) and i.indisunique and i.indisvalid and i.indexprs is null
  and p.place <= i.indnkeyatts
group by i.indexrelid, i.indrelid, i.indisprimary
order by i.indrelid, not i.indisprimary"
);

const EXPRESSION_KEYS_SQL: &str = "select c.relname::text, i.indrelid from pg_index i join pg_class c on c.oid = i.indexrelid
where i.indrelid = any($1) and i.indisunique and i.indisvalid and i.indexprs is not null order by 1";

/// The constraints that depend on a table, as SQL: foreign keys to it are among them. `pg_constraint` has no index by the table that is
/// referred to, and reading all of it for each of many tables takes hours.
macro_rules! constraints_on {
    ($table:literal) => {
        concat!(
            "(select d.objid from pg_depend d where d.classid = 'pg_constraint'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = ",
            $table,
            ")"
        )
    };
}
pub(crate) use constraints_on;

const FACTS_SQL: &str = concat!(
    "select exists (select from pg_index i where i.indrelid = w.oid and (i.indisunique or i.indisexclusion) and not i.indisprimary), \
     exists (select from pg_constraint k where k.oid in ",
    constraints_on!("w.oid"),
    " and k.confrelid = w.oid and k.contype = 'f'), w.oid from unnest($1::oid[]) w(oid)"
);

/// Reads a table's description; `None` when there is none.
pub(crate) async fn read_real(client: &impl GenericClient, table: &TableName) -> Result<Option<RealTable>, ConnectorError> {
    Ok(read_all(client, &[table]).await?.remove(table))
}

/// The descriptions of those of these tables that there are.
pub(crate) async fn read_all(client: &impl GenericClient, tables: &[&TableName]) -> Result<HashMap<TableName, RealTable>, ConnectorError> {
    let of = match tables {
        [table] => format!("table \"{table}\""),
        tables => format!("{} tables", tables.len()),
    };
    let failed = |error| pg_error(&format!("describe {of} of the target"), error);
    let letter = |text: &str| text.bytes().next().unwrap_or(0);
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let mut all: HashMap<u32, (TableName, RealTable)> = HashMap::new();
    for row in client.query(TABLES_SQL, &[&schemas, &names]).await.map_err(failed)? {
        let (oid, kind) = (row.get(0), letter(row.get(1)));
        let real = RealTable {
            oid,
            kind,
            columns: Vec::new(),
            unique_keys: Vec::new(),
            other_keys: Vec::new(),
            expression_keys: Vec::new(),
            folded: Vec::new(),
            has_secondary_keys: false,
            is_referenced: false,
        };
        all.insert(oid, (TableName::new(row.get::<_, String>(2), row.get::<_, String>(3)), real));
    }
    if all.is_empty() {
        return Ok(HashMap::new());
    }
    let oids: Vec<u32> = all.keys().copied().collect();
    for row in client.query(COLUMNS_SQL, &[&oids]).await.map_err(failed)? {
        let Some((_, table)) = all.get_mut(&row.get(16)) else { continue };
        table.columns.push(RealColumn {
            name: row.get(0),
            not_null: row.get(1),
            has_default: row.get(2),
            is_generated: !row.get::<_, &str>(3).is_empty(),
            is_identity: !row.get::<_, &str>(4).is_empty(),
            is_identity_always: row.get::<_, &str>(4) == "a",
            native: row.get(5),
            native_full: row.get(6),
            type_oid: row.get(7),
            type_schema: row.get(8),
            type_name: row.get(9),
            type_kind: letter(row.get(10)),
            element_oid: row.get(11),
            element_kind: letter(row.get(15)),
            has_binary: row.get(12),
            send: row.get(13),
            labels: row.get(14),
        });
    }
    for row in client.query(KEYS_SQL, &[&oids]).await.map_err(failed)? {
        let Some((_, table)) = all.get_mut(&row.get(1)) else { continue };
        let (names, collations): (Vec<String>, Vec<Option<String>>) = (row.get(0), row.get(2));
        let is_citext = |name: &String| {
            table.columns.iter().any(|column| column.name == *name && matches!(column.type_name.as_str(), "citext" | "_citext"))
        };
        let folding = |(name, collation): (&String, Option<String>)| {
            let by = if is_citext(name) { Some("citext".to_owned()) } else { collation };
            by.map(|by| (name.clone(), by))
        };
        let folded: Vec<_> = names.iter().zip(collations).filter_map(folding).collect();
        table.folded.extend(folded);
        if row.get(3) { table.unique_keys.push(names) } else { table.other_keys.push(names) }
    }
    for row in client.query(EXPRESSION_KEYS_SQL, &[&oids]).await.map_err(failed)? {
        if let Some((_, table)) = all.get_mut(&row.get(1)) {
            table.expression_keys.push(row.get(0));
        }
    }
    for row in client.query(FACTS_SQL, &[&oids]).await.map_err(failed)? {
        if let Some((_, table)) = all.get_mut(&row.get(2)) {
            (table.has_secondary_keys, table.is_referenced) = (row.get(0), row.get(1));
        }
    }
    Ok(all.into_values().collect())
}

/// `numeric(10,2)[]` without `(10,2)`. Parentheses inside a quoted name stay.
pub(crate) fn without_modifiers(native: &str) -> String {
    let (mut text, mut in_quotes, mut depth) = (String::with_capacity(native.len()), false, 0u32);
    for letter in native.chars() {
        match letter {
            '"' => in_quotes = !in_quotes,
            '(' if !in_quotes => depth += 1,
            _ => {}
        }
        if depth == 0 {
            text.push(letter);
        }
        if letter == ')' && !in_quotes {
            depth = depth.saturating_sub(1);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_are_dropped_but_quoted_names_kept() {
        assert_eq!(without_modifiers("character varying(64)"), "character varying");
        assert_eq!(without_modifiers("timestamp(3) without time zone"), "timestamp without time zone");
        assert_eq!(without_modifiers("numeric(10,2)[]"), "numeric[]");
        assert_eq!(without_modifiers(r#"s."odd(1)"(2)"#), r#"s."odd(1)""#);
    }
}
