//! Defaults, identities, generated columns, collations, domains and comments.

use tidegate_connector::ConnectorError;
use tidegate_model::TableName;
use tidegate_model::objects::{ColumnDefault, ColumnObjects, Counter, CounterKind, DefaultValue, Generated};
use tokio_postgres::{Client, Row};

use super::super::catalog::get;
use super::{ATTEMPTED, Tables};
use crate::fault::pg_error;

const COLUMNS: &str = "select a.attrelid::pg_catalog.oid, a.attname::pg_catalog.text, \
    pg_catalog.pg_get_expr(d.adbin, d.adrelid)::pg_catalog.text, a.attgenerated::pg_catalog.text, a.attidentity::pg_catalog.text, \
    case when a.attcollation <> t.typcollation then pg_catalog.format('%I.%I', ln.nspname, l.collname) end::pg_catalog.text, \
    case when t.typtype = 'd' then pg_catalog.format_type(a.atttypid, a.atttypmod) end::pg_catalog.text, \
    pg_catalog.col_description(a.attrelid, a.attnum)::pg_catalog.text, \
    pg_catalog.format_type(a.atttypid, a.atttypmod)::pg_catalog.text, \
    array(select pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(s.relname) \
      from pg_catalog.pg_depend e join pg_catalog.pg_class s on s.oid = e.refobjid and s.relkind = 'S' \
      join pg_catalog.pg_namespace n on n.oid = s.relnamespace \
      where e.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and e.objid = d.oid \
        and e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass order by 1)::pg_catalog.text[], \
    array(select n.nspname from pg_catalog.pg_depend e join pg_catalog.pg_class s on s.oid = e.refobjid and s.relkind = 'S' \
      join pg_catalog.pg_namespace n on n.oid = s.relnamespace \
      where e.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and e.objid = d.oid \
        and e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
      order by pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(s.relname))::pg_catalog.text[], \
    array(select s.relname from pg_catalog.pg_depend e join pg_catalog.pg_class s on s.oid = e.refobjid and s.relkind = 'S' \
      join pg_catalog.pg_namespace n on n.oid = s.relnamespace \
      where e.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and e.objid = d.oid \
        and e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
      order by pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(s.relname))::pg_catalog.text[], \
    array(select o.attname from pg_catalog.pg_depend e join pg_catalog.pg_attribute o on o.attrelid = e.refobjid and o.attnum = e.refobjsubid \
      where e.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass and e.objid = d.oid \
        and e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.refobjid = a.attrelid and e.refobjsubid > 0 \
        and e.refobjsubid <> a.attnum order by 1)::pg_catalog.text[], \
    (select array[n.nspname::pg_catalog.text, s.relname::pg_catalog.text] from pg_catalog.pg_depend e \
      join pg_catalog.pg_class s on s.oid = e.objid and s.relkind = 'S' join pg_catalog.pg_namespace n on n.oid = s.relnamespace \
      where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
        and e.refobjid = a.attrelid and e.refobjsubid = a.attnum and e.deptype = 'i' limit 1)::pg_catalog.text[], \
    pg_catalog.obj_description(a.attrelid, 'pg_class')::pg_catalog.text \
    from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid \
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum \
    left join pg_catalog.pg_collation l on l.oid = a.attcollation left join pg_catalog.pg_namespace ln on ln.oid = l.collnamespace \
    where a.attrelid = any($1) and a.attnum > 0 and not a.attisdropped order by a.attrelid, a.attnum";

pub(super) async fn read(client: &Client, tables: &mut Tables) -> Result<(), ConnectorError> {
    for row in client.query(COLUMNS, &[&tables.oids]).await.map_err(|error| pg_error(ATTEMPTED, error))? {
        let column = column(&row)?;
        let comment = get(&row, 14, ATTEMPTED)?;
        if let Some(objects) = tables.of(get(&row, 0, ATTEMPTED)?) {
            objects.comment = comment;
            objects.columns.push(column);
        }
    }
    Ok(())
}

fn column(row: &Row) -> Result<ColumnObjects, ConnectorError> {
    let text = |index: usize| get::<Option<String>>(row, index, ATTEMPTED);
    let list = |index: usize| get::<Vec<String>>(row, index, ATTEMPTED);
    let generated = text(3)?.unwrap_or_default();
    let identity = text(4)?.unwrap_or_default();
    let sequence: Option<Vec<String>> = get(row, 13, ATTEMPTED)?;
    let counter = match (identity.as_str(), sequence.as_deref()) {
        ("a", Some([schema, name])) => Some(Counter { kind: CounterKind::Always, sequence: TableName::new(schema, name) }),
        ("d", Some([schema, name])) => Some(Counter { kind: CounterKind::ByDefault, sequence: TableName::new(schema, name) }),
        _ => None,
    };
    let (default, generated) = match text(2)? {
        Some(expression) if !generated.is_empty() => {
            let native_type = text(8)?.unwrap_or_default();
            (None, Some(Generated { native_type, expression, stored: generated == "s", columns: list(12)?, after: None }))
        }
        Some(native) => {
            let (spellings, schemas, names) = (list(9)?, list(10)?, list(11)?);
            let sequences: Vec<TableName> = schemas.into_iter().zip(names).map(|(schema, name)| TableName::new(schema, name)).collect();
            let value = next_value(&native, &spellings, &sequences).or_else(|| portable(&native));
            (Some(ColumnDefault { value, native: Some(native), sequences, columns: Vec::new() }), None)
        }
        None => (None, None),
    };
    Ok(ColumnObjects {
        column: get(row, 1, ATTEMPTED)?,
        default,
        counter,
        on_update_now: false,
        generated,
        collation: text(5)?,
        domain: text(6)?,
        comment: text(7)?,
        attributes: Vec::new(),
    })
}

fn next_value(native: &str, spellings: &[String], sequences: &[TableName]) -> Option<DefaultValue> {
    let ([spelling], [sequence]) = (spellings, sequences) else { return None };
    let literal = tidegate_connector::Dialect::POSTGRES.literal(spelling);
    // With a backslash in the name the server prints E'…', which is left to the native text.
    (native == format!("nextval({literal}::regclass)")).then(|| DefaultValue::NextValue(sequence.clone()))
}

/// The meaning of a default that every engine has, from the text that the server prints.
fn portable(native: &str) -> Option<DefaultValue> {
    let plain = native.trim_matches(|letter| letter == '(' || letter == ')');
    match native {
        "now()" | "CURRENT_TIMESTAMP" | "transaction_timestamp()" | "LOCALTIMESTAMP" => return Some(DefaultValue::CurrentTimestamp(None)),
        "CURRENT_DATE" => return Some(DefaultValue::CurrentDate),
        "gen_random_uuid()" | "uuid_generate_v4()" | "public.uuid_generate_v4()" => return Some(DefaultValue::NewUuid),
        "true" | "false" => return Some(DefaultValue::Constant(native.to_owned())),
        _ => {}
    }
    let digits = native.strip_prefix("CURRENT_TIMESTAMP(").or_else(|| native.strip_prefix("LOCALTIMESTAMP("));
    if let Some(digits) = digits.and_then(|rest| rest.strip_suffix(')')).and_then(|digits| digits.parse().ok()) {
        return Some(DefaultValue::CurrentTimestamp(Some(digits)));
    }
    let is_number = |text: &str| {
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        !unsigned.is_empty()
            && unsigned.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
            && unsigned.matches('.').count() < 2
            && unsigned != "."
    };
    if is_number(plain) {
        return Some(DefaultValue::Constant(plain.to_owned()));
    }
    // 'text'::type, with nothing behind the type that computes.
    let (quoted, cast) = match native.strip_prefix('\'') {
        Some(rest) => {
            let end = closing(rest)?;
            (&rest[..end], &rest[end + 1..])
        }
        None => return None,
    };
    let cast = cast.strip_prefix("::")?;
    let names_type = cast.chars().all(|letter| letter.is_alphanumeric() || " _.\"(),[]".contains(letter));
    (names_type && !quoted.contains('\\') && !is_moving(cast, quoted)).then(|| DefaultValue::Constant(quoted.replace("''", "'")))
}

/// Constants that the server reads anew for each row, such as `'now'`.
fn is_moving(cast: &str, quoted: &str) -> bool {
    let is_time = cast.starts_with("date") || cast.starts_with("time");
    (is_time && !quoted.starts_with(|letter: char| letter.is_ascii_digit())) || cast.starts_with("reg")
}

/// Where the quote ends that was opened before the text.
fn closing(text: &str) -> Option<usize> {
    let mut letters = text.char_indices().peekable();
    while let Some((place, letter)) = letters.next() {
        if letter == '\'' && letters.next_if(|(_, next)| *next == '\'').is_none() {
            return Some(place);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_with_one_meaning_everywhere_are_told_from_others() {
        let constant = |text: &str| Some(DefaultValue::Constant(text.to_owned()));
        let cases = [
            ("0", constant("0")),
            ("'-1'::integer", constant("-1")),
            ("(-1)", constant("-1")),
            ("1.50", constant("1.50")),
            ("'it''s'::text", constant("it's")),
            ("''::character varying", constant("")),
            ("'new'::public.status", constant("new")),
            ("'{}'::jsonb", constant("{}")),
            ("'2020-01-01'::date", constant("2020-01-01")),
            ("true", constant("true")),
            ("now()", Some(DefaultValue::CurrentTimestamp(None))),
            ("CURRENT_TIMESTAMP(3)", Some(DefaultValue::CurrentTimestamp(Some(3)))),
            ("CURRENT_DATE", Some(DefaultValue::CurrentDate)),
            ("gen_random_uuid()", Some(DefaultValue::NewUuid)),
            ("(1 + 2)", None),
            ("('now'::text)::date", None),
            ("'now'::timestamp without time zone", None),
            ("('a'::text || 'b'::text)", None),
            ("lower('A'::text)", None),
            ("'a'::text || 'b'::text", None),
            ("CURRENT_USER", None),
            ("'x'::regclass", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(portable(text), wanted, "{text}");
        }
    }

    #[test]
    fn only_the_next_value_of_one_sequence_is_a_counter() {
        let sequence = TableName::new("public", "Odd.seq");
        let one = [sequence.clone()];
        let spelled = ["public.\"Odd.seq\"".to_owned()];
        let wanted = Some(DefaultValue::NextValue(sequence));
        assert_eq!(next_value("nextval('public.\"Odd.seq\"'::regclass)", &spelled, &one), wanted);
        assert_eq!(next_value("(nextval('public.\"Odd.seq\"'::regclass) * 2)", &spelled, &one), None);
        assert_eq!(next_value("nextval('public.\"Odd.seq\"'::regclass)", &[], &[]), None);
    }
}
