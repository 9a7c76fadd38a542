//! PostgreSQL's types: which normalised type a column has, and the form of its cells.

pub(crate) mod array;
pub(crate) mod calendar;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod numeric;
pub(crate) mod printed;
mod query;
mod ranges;
pub(crate) mod spelled;

use std::collections::HashMap;

use tidegate_model::SqlType;

/// The form of a type's cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Form {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    /// Text and what is sent like it: varchar, char, name, citext, enumerations.
    Text,
    Bytea,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Json,
    Jsonb,
    Uuid,
    Bit,
    Array(Box<Form>),
    /// Read as the server's text, like those that follow.
    Spelled(spelled::Spelled),
    /// A composite: the object id and form of each field.
    Composite(Vec<(u32, Form)>),
    Range(Box<Form>),
    Multirange(Box<Form>),
    /// `hstore`.
    Pairs,
    /// `money`, with so many digits after the point.
    Money(u8),
    /// A type without a binary form, which the server sends as its text.
    Unsent,
    /// A type of an extension that is not known here, in the binary form that its own functions make.
    Foreign,
    /// Means something in its own database alone, or is made of parts that cannot be read; passed through.
    Opaque,
}

/// What the catalog says of a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeEntry {
    /// `pg_type.typname`.
    pub(crate) name: String,
    /// `pg_type.typtype`: b base, d domain, e enumeration, ...
    pub(crate) kind: u8,
    /// For a domain: the type below it and its modifier.
    pub(crate) base: (u32, i32),
    /// For a true array: the type of its elements; 0 otherwise.
    pub(crate) element: u32,
    /// For an enumeration: its labels in order.
    pub(crate) labels: Vec<String>,
    /// For a composite: types and modifiers of its fields in order.
    pub(crate) fields: Vec<(u32, i32)>,
    /// For a range or multirange: the type of its bounds; 0 otherwise.
    pub(crate) bound: u32,
    /// For `money`: digits after the point, by the server's locale.
    pub(crate) money_digits: u8,
    /// It has a binary form.
    pub(crate) sends: bool,
}

/// Domains can stand on domains and arrays on domains; deeper than this is no catalog but a loop.
const DEPTH_MAX: u32 = 32;

/// Object id of `money`. Source: pg_type.dat.
pub(crate) const MONEY: u32 = 790;

/// The first object id that PostgreSQL gives to a user's objects. Source: src/include/access/transam.h.
const FIRST_USER_OID: u32 = 16_384;

/// The normalised type and the form of a type with a modifier. `native` names it when it is none of the normalised ones.
pub(crate) fn resolve(types: &HashMap<u32, TypeEntry>, oid: u32, modifier: i32, native: &str) -> (SqlType, Form) {
    resolve_at(types, oid, modifier, native, 0)
}

/// The type below a domain, with its modifier; the type itself otherwise.
pub(crate) fn below_domain(types: &HashMap<u32, TypeEntry>, oid: u32, modifier: i32) -> (u32, i32) {
    let mut at = (oid, modifier);
    for _ in 0..DEPTH_MAX {
        match types.get(&at.0) {
            Some(entry) if entry.kind == b'd' => at = entry.base,
            _ => break,
        }
    }
    at
}

/// The part of a type (an element, a field, a bound) by which neither COPY nor the log can send its values: it has no binary form,
/// and the type has one, in which the part must stand. `None` for a type that can be sent.
pub(crate) fn unsent_part(types: &HashMap<u32, TypeEntry>, oid: u32) -> Option<&TypeEntry> {
    let entry = types.get(&below_domain(types, oid, -1).0)?;
    first_unsent(types, entry, 0)
}

fn first_unsent<'a>(types: &'a HashMap<u32, TypeEntry>, entry: &'a TypeEntry, depth: u32) -> Option<&'a TypeEntry> {
    let parts = [entry.element, entry.bound].into_iter().chain(entry.fields.iter().map(|(oid, _)| *oid)).filter(|oid| *oid != 0);
    let mut parts = parts.filter_map(|oid| types.get(&below_domain(types, oid, -1).0)).filter(|_| depth < DEPTH_MAX);
    parts.find_map(|part| if part.sends { first_unsent(types, part, depth + 1) } else { Some(part) })
}

fn resolve_at(types: &HashMap<u32, TypeEntry>, oid: u32, modifier: i32, native: &str, depth: u32) -> (SqlType, Form) {
    // Lengths carry VARHDRSZ (4). Source: PostgreSQL, varchar.c and numeric.c.
    let length = u32::try_from(modifier.saturating_sub(4)).ok();
    match oid {
        16 => (SqlType::Boolean, Form::Bool),
        17 => (SqlType::Bytes { bytes_max: None }, Form::Bytea),
        20 => (SqlType::Int64, Form::Int8),
        21 => (SqlType::Int16, Form::Int2),
        23 => (SqlType::Int32, Form::Int4),
        700 => (SqlType::Float32, Form::Float4),
        701 => (SqlType::Float64, Form::Float8),
        19 | 25 => (SqlType::Text { chars_max: None }, Form::Text),
        1042 | 1043 => (SqlType::Text { chars_max: length }, Form::Text),
        114 => (SqlType::Json, Form::Json),
        3802 => (SqlType::Json, Form::Jsonb),
        1082 => (SqlType::Date, Form::Date),
        1083 => (SqlType::Time, Form::Time),
        1114 => (SqlType::Timestamp, Form::Timestamp),
        1184 => (SqlType::TimestampTz, Form::TimestampTz),
        1186 => (SqlType::Interval, Form::Interval),
        1700 => (decimal(modifier), Form::Numeric),
        2950 => (SqlType::Uuid, Form::Uuid),
        1560 if modifier > 0 => (SqlType::Bits(modifier.unsigned_abs()), Form::Bit),
        _ => {
            let other = |form| (SqlType::Other(native.to_owned()), form);
            let own = spelled::Spelled::by_oid(oid).map(Form::Spelled).or_else(|| ranges::by_oid(oid));
            if let Some(form) = own {
                return other(form);
            }
            let Some(entry) = types.get(&oid).filter(|_| depth < DEPTH_MAX) else { return other(Form::Opaque) };
            let below = |oid, modifier| resolve_at(types, oid, modifier, native, depth + 1);
            // What cannot be read in full is not read at all.
            let is_readable = |form: &Form| !matches!(form, Form::Opaque | Form::Unsent);
            let of = |oid, made: fn(Box<Form>) -> Form| match below(oid, -1) {
                (_, form) if is_readable(&form) => other(made(Box::new(form))),
                _ => other(Form::Opaque),
            };
            match entry.kind {
                b'd' => below(entry.base.0, entry.base.1),
                b'e' => (SqlType::Enumeration(entry.labels.clone()), Form::Text),
                b'c' => {
                    let fields: Vec<_> = entry.fields.iter().map(|(oid, modifier)| (*oid, below(*oid, *modifier).1)).collect();
                    other(if fields.iter().all(|(_, form)| is_readable(form)) { Form::Composite(fields) } else { Form::Opaque })
                }
                b'r' => of(entry.bound, Form::Range),
                b'm' => of(entry.bound, Form::Multirange),
                _ if entry.element != 0 => match below(entry.element, modifier) {
                    (element, form) if is_readable(&form) => (SqlType::Array(Box::new(element)), Form::Array(Box::new(form))),
                    _ => other(Form::Opaque),
                },
                _ if oid == MONEY => other(Form::Money(entry.money_digits)),
                _ if !entry.sends => other(Form::Unsent),
                // `regclass` and its kin: numbers that name objects of one database.
                _ if oid < FIRST_USER_OID && entry.name.starts_with("reg") => other(Form::Opaque),
                _ => match entry.name.as_str() {
                    "citext" => (SqlType::Text { chars_max: None }, Form::Text),
                    "hstore" => other(Form::Pairs),
                    name => other(spelled::Spelled::by_name(name).map_or(Form::Foreign, Form::Spelled)),
                },
            }
        }
    }
}

fn decimal(modifier: i32) -> SqlType {
    if modifier < 4 {
        return SqlType::Decimal { precision: None, scale: None };
    }
    let packed = modifier - 4;
    // The scale is a signed number of 11 bits since PostgreSQL 15. Source: numeric.c, numeric_typmod_scale.
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    SqlType::Decimal { precision: Some((packed >> 16).unsigned_abs() & 0xffff), scale: Some(scale) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u8, base: (u32, i32), element: u32) -> TypeEntry {
        let (name, labels) = ("t".into(), vec!["a".into()]);
        TypeEntry { name, kind, base, element, labels, fields: vec![], bound: 0, money_digits: 2, sends: true }
    }

    #[test]
    fn modifiers_give_lengths_and_scales() {
        let types = HashMap::new();
        let of = |oid, modifier| resolve(&types, oid, modifier, "native").0;
        assert_eq!(of(1043, 68), SqlType::Text { chars_max: Some(64) });
        assert_eq!(of(1043, -1), SqlType::Text { chars_max: None });
        assert_eq!(of(1700, (5 << 16 | 2) + 4), SqlType::Decimal { precision: Some(5), scale: Some(2) });
        assert_eq!(of(1700, (5 << 16 | (-2 & 0x7ff)) + 4), SqlType::Decimal { precision: Some(5), scale: Some(-2) });
        assert_eq!(of(1560, 12), SqlType::Bits(12));
        assert_eq!(of(869, -1), SqlType::Other("native".into()));
    }

    #[test]
    fn domains_and_arrays_are_followed_and_loops_end() {
        let types = HashMap::from([
            (1, entry(b'd', (1700, (5 << 16 | 2) + 4), 0)),
            (2, entry(b'b', (0, -1), 1)),
            (3, entry(b'd', (3, -1), 0)),
            (4, entry(b'e', (0, -1), 0)),
        ]);
        let decimal = SqlType::Decimal { precision: Some(5), scale: Some(2) };
        assert_eq!(resolve(&types, 2, -1, "n").0, SqlType::Array(Box::new(decimal)));
        assert_eq!(resolve(&types, 3, -1, "n").0, SqlType::Other("n".into()));
        assert_eq!(resolve(&types, 4, -1, "n"), (SqlType::Enumeration(vec!["a".into()]), Form::Text));
        assert_eq!(below_domain(&types, 1, -1), (1700, (5 << 16 | 2) + 4));
    }

    #[test]
    fn types_made_of_others_are_read_when_all_of_these_are() {
        let types = HashMap::from([
            (1, TypeEntry { fields: vec![(23, -1), (869, -1)], ..entry(b'c', (0, -1), 0) }),
            (2, TypeEntry { fields: vec![(23, -1), (99, -1)], ..entry(b'c', (0, -1), 0) }),
            (3, TypeEntry { bound: 701, ..entry(b'r', (0, -1), 0) }),
            (4, entry(b'b', (0, -1), 1)),
            (5, entry(b'b', (0, -1), 2)),
            (6, TypeEntry { fields: vec![(6, -1)], ..entry(b'c', (0, -1), 0) }),
            (7, TypeEntry { name: "hstore".into(), ..entry(b'b', (0, -1), 0) }),
            (MONEY, entry(b'b', (0, -1), 0)),
        ]);
        let of = |oid| resolve(&types, oid, -1, "n");
        let other = SqlType::Other("n".into());
        let fields = vec![(23, Form::Int4), (869, Form::Spelled(spelled::Spelled::Address))];
        assert_eq!(of(1), (other.clone(), Form::Composite(fields.clone())));
        assert_eq!(of(2), (other.clone(), Form::Opaque), "one field that nobody reads");
        assert_eq!(of(3), (other.clone(), Form::Range(Box::new(Form::Float8))));
        assert_eq!(of(4), (SqlType::Array(Box::new(other.clone())), Form::Array(Box::new(Form::Composite(fields)))));
        assert_eq!(of(5), (other.clone(), Form::Opaque));
        assert_eq!(of(6).0, other, "a loop ends");
        assert_eq!((of(7).1, of(MONEY).1), (Form::Pairs, Form::Money(2)));
    }

    #[test]
    fn a_type_that_is_not_known_is_read_by_its_text_or_by_its_binary_form_and_object_names_are_not() {
        let base = |name: &str, sends| TypeEntry { name: name.into(), sends, ..entry(b'b', (0, -1), 0) };
        let types = HashMap::from([
            (20_001, base("isbn", false)),
            (20_002, base("geometry", true)),
            (20_003, entry(b'b', (0, -1), 20_001)),
            (20_004, entry(b'b', (0, -1), 20_002)),
            (20_005, TypeEntry { fields: vec![(23, -1), (20_006, -1)], ..entry(b'c', (0, -1), 0) }),
            (20_006, entry(b'd', (20_001, -1), 0)),
            (20_007, TypeEntry { bound: 20_001, ..entry(b'r', (0, -1), 0) }),
            (20_008, base("regular", true)),
            (20_009, entry(b'd', (20_003, -1), 0)),
            (20_010, entry(b'b', (0, -1), 20_005)),
            (2205, base("regclass", true)),
        ]);
        let of = |oid| resolve(&types, oid, -1, "n").1;
        assert_eq!((of(20_001), of(20_002), of(20_008), of(2205)), (Form::Unsent, Form::Foreign, Form::Foreign, Form::Opaque));
        assert_eq!((of(20_004), of(20_006)), (Form::Array(Box::new(Form::Foreign)), Form::Unsent));
        for (oid, part) in [
            (20_001, None),
            (20_004, None),
            (20_006, None),
            (23, None),
            (20_003, Some("isbn")),
            (20_005, Some("isbn")),
            (20_007, Some("isbn")),
            (20_009, Some("isbn")),
            (20_010, Some("isbn")),
        ] {
            assert_eq!(unsent_part(&types, oid).map(|entry| entry.name.as_str()), part, "{oid}");
            assert!(part.is_none() || of(oid) == Form::Opaque, "{oid}");
        }
    }
}
