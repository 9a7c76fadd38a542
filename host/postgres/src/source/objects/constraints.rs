//! Indexes, foreign keys and checks.

use tidegate_connector::ConnectorError;
use tidegate_model::objects::{Action, Check, ForeignKey, Index, IndexBacking, IndexMethod, IndexPart, OtherObject};
use tidegate_model::{Condition, TableName};
use tokio_postgres::{Client, Row};

use super::super::catalog::get;
use super::{ATTEMPTED, Tables};
use crate::fault::pg_error;

/// The beginning of `pg_get_indexdef` is made again and taken off, which leaves what follows the table's name. Columns
/// that later versions added are read from the row as JSON.
const INDEXES: &str = "select i.indrelid::pg_catalog.oid, c.relname::pg_catalog.text, i.indisunique, m.amname::pg_catalog.text, \
    i.indnkeyatts::pg_catalog.int4, i.indpred is not null, \
    coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::pg_catalog.bool, false), \
    pg_catalog.pg_get_indexdef(i.indexrelid)::pg_catalog.text, \
    pg_catalog.format('CREATE %sINDEX %I ON %s%I.%I ', case when i.indisunique then 'UNIQUE ' else '' end, c.relname, \
      case when c.relkind = 'I' then 'ONLY ' else '' end, n.nspname, t.relname)::pg_catalog.text, \
    array(select coalesce(a.attname::pg_catalog.text, '') from pg_catalog.unnest(i.indkey::pg_catalog.int2[]) with ordinality k(attnum, place) \
      left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum and k.attnum > 0 \
      order by k.place)::pg_catalog.text[], \
    array(select (o.flags & 1) = 1 from pg_catalog.unnest(i.indoption::pg_catalog.int2[]) with ordinality o(flags, place) \
      order by o.place)::pg_catalog.bool[], \
    array(select a.attname from pg_catalog.pg_attribute a where a.attrelid = i.indrelid and (a.attnum = any(i.indkey::pg_catalog.int2[]) or exists \
      (select from pg_catalog.pg_depend e where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid = i.indexrelid \
        and e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.refobjid = i.indrelid and e.refobjsubid = a.attnum)) \
      and a.attnum > 0 order by a.attnum)::pg_catalog.text[], \
    k.contype::pg_catalog.text, k.condeferrable, k.condeferred, pg_catalog.pg_get_constraintdef(k.oid)::pg_catalog.text, \
    i.indisprimary, i.indisvalid \
    from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid join pg_catalog.pg_am m on m.oid = c.relam \
    join pg_catalog.pg_class t on t.oid = i.indrelid join pg_catalog.pg_namespace n on n.oid = t.relnamespace \
    left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.conrelid = i.indrelid and k.contype in ('p', 'u', 'x') \
    where i.indrelid = any($1) order by i.indrelid, c.relname";

const CONSTRAINTS: &str = "select k.conrelid::pg_catalog.oid, k.conname::pg_catalog.text, k.contype::pg_catalog.text, \
    pg_catalog.pg_get_constraintdef(k.oid)::pg_catalog.text, \
    array(select a.attname from pg_catalog.unnest(k.conkey) with ordinality c(attnum, place) \
      join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = c.attnum order by c.place)::pg_catalog.text[], \
    n.nspname::pg_catalog.text, r.relname::pg_catalog.text, \
    array(select a.attname from pg_catalog.unnest(k.confkey) with ordinality c(attnum, place) \
      join pg_catalog.pg_attribute a on a.attrelid = k.confrelid and a.attnum = c.attnum order by c.place)::pg_catalog.text[], \
    k.confupdtype::pg_catalog.text, k.confdeltype::pg_catalog.text, k.confmatchtype::pg_catalog.text, k.condeferrable, k.condeferred, \
    k.convalidated, coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::pg_catalog.bool, true), \
    coalesce((pg_catalog.to_jsonb(k) ->> 'conperiod')::pg_catalog.bool, false), \
    array(select a.attname from pg_catalog.jsonb_array_elements_text(coalesce(nullif(pg_catalog.to_jsonb(k) -> 'confdelsetcols', 'null'), '[]')) \
        with ordinality c(attnum, place) \
      join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = c.attnum::pg_catalog.int2 order by c.place)::pg_catalog.text[] \
    from pg_catalog.pg_constraint k left join pg_catalog.pg_class r on r.oid = k.confrelid \
    left join pg_catalog.pg_namespace n on n.oid = r.relnamespace \
    where k.conrelid = any($1) and k.contype in ('c', 'f') and k.conparentid = 0 order by k.conrelid, k.conname";

pub(super) async fn read_indexes(client: &Client, tables: &mut Tables) -> Result<(), ConnectorError> {
    for row in client.query(INDEXES, &[&tables.oids]).await.map_err(|error| pg_error(ATTEMPTED, error))? {
        let (name, is_primary, is_valid) =
            (get::<String>(&row, 1, ATTEMPTED)?, get(&row, 16, ATTEMPTED)?, get::<bool>(&row, 17, ATTEMPTED)?);
        let index = index(&row, name.clone())?;
        let Some(objects) = tables.of(get(&row, 0, ATTEMPTED)?) else { continue };
        if is_primary {
            objects.primary_key_name = Some(name);
        } else if is_valid {
            objects.indexes.push(index);
        } else {
            objects.others.push(OtherObject { kind: "unfinished index", name });
        }
    }
    Ok(())
}

fn index(row: &Row, name: String) -> Result<Index, ConnectorError> {
    let text = |index: usize| get::<Option<String>>(row, index, ATTEMPTED);
    let flag = |index: usize| get::<Option<bool>>(row, index, ATTEMPTED).map(|flag| flag.unwrap_or(false));
    let names: Vec<String> = get(row, 9, ATTEMPTED)?;
    let descending: Vec<bool> = get(row, 10, ATTEMPTED)?;
    let keys = usize::try_from(get::<i32>(row, 4, ATTEMPTED)?).unwrap_or(0).min(names.len());
    let part = |(place, name): (usize, &String)| IndexPart {
        column: Some(name.clone()).filter(|name| !name.is_empty()),
        descending: descending.get(place).copied().unwrap_or(false),
        prefix: None,
    };
    let backing = match text(12)?.as_deref() {
        Some("u") => IndexBacking::Unique { deferrable: flag(13)?, initially_deferred: flag(14)? },
        Some("x") => IndexBacking::Exclusion,
        _ => IndexBacking::Index,
    };
    let native = match backing {
        IndexBacking::Index => text(7)?.zip(text(8)?).and_then(|(whole, head)| whole.strip_prefix(&head).map(str::to_owned)),
        IndexBacking::Unique { .. } | IndexBacking::Exclusion => text(15)?,
    };
    Ok(Index {
        name,
        unique: flag(2)?,
        nulls_not_distinct: flag(6)?,
        method: match text(3)?.unwrap_or_default().as_str() {
            "btree" => IndexMethod::Btree,
            "hash" => IndexMethod::Hash,
            other => IndexMethod::Other(other.to_owned()),
        },
        parts: names[..keys].iter().enumerate().map(part).collect(),
        include: names[keys..].to_vec(),
        partial: flag(5)?,
        hidden: false,
        backing,
        columns: get(row, 11, ATTEMPTED)?,
        native,
    })
}

pub(super) async fn read_constraints(client: &Client, tables: &mut Tables) -> Result<(), ConnectorError> {
    for row in client.query(CONSTRAINTS, &[&tables.oids]).await.map_err(|error| pg_error(ATTEMPTED, error))? {
        let Some(objects) = tables.of(get(&row, 0, ATTEMPTED)?) else { continue };
        match get::<String>(&row, 2, ATTEMPTED)?.as_str() {
            "c" => objects.checks.push(check(&row)?),
            _ if get::<bool>(&row, 15, ATTEMPTED)? => {
                objects.others.push(OtherObject { kind: "temporal foreign key", name: get(&row, 1, ATTEMPTED)? });
            }
            _ => objects.foreign_keys.push(foreign_key(&row)?),
        }
    }
    Ok(())
}

fn check(row: &Row) -> Result<Check, ConnectorError> {
    let native: String = get(row, 3, ATTEMPTED)?;
    // What follows the condition makes it another one: it does not inherit, or older rows may break it.
    let condition = native.strip_prefix("CHECK ").filter(|rest| rest.ends_with(')')).and_then(Condition::parse);
    Ok(Check {
        name: get(row, 1, ATTEMPTED)?,
        condition,
        native: Some(native),
        columns: get(row, 4, ATTEMPTED)?,
        enforced: get(row, 14, ATTEMPTED)?,
    })
}

fn foreign_key(row: &Row) -> Result<ForeignKey, ConnectorError> {
    let letter = |index: usize| get::<String>(row, index, ATTEMPTED).map(|text| text.bytes().next().unwrap_or_default());
    let flag = |index: usize| get::<bool>(row, index, ATTEMPTED);
    Ok(ForeignKey {
        name: get(row, 1, ATTEMPTED)?,
        columns: get(row, 4, ATTEMPTED)?,
        referenced: TableName::new(get::<String>(row, 5, ATTEMPTED)?, get::<String>(row, 6, ATTEMPTED)?),
        referenced_columns: get(row, 7, ATTEMPTED)?,
        on_update: action(letter(8)?),
        on_delete: action(letter(9)?),
        set_columns: get(row, 16, ATTEMPTED)?,
        match_full: letter(10)? == b'f',
        deferrable: flag(11)?,
        initially_deferred: flag(12)?,
        valid: flag(13)?,
        enforced: flag(14)?,
    })
}

fn action(letter: u8) -> Action {
    match letter {
        b'r' => Action::Restrict,
        b'c' => Action::Cascade,
        b'n' => Action::SetNull,
        b'd' => Action::SetDefault,
        _ => Action::NoAction,
    }
}
