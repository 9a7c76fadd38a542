//! Which type a column gets in a table that is created: one table of data for every pair of engines.
//!
//! [`RULES`] is read from top to bottom; the first rule that matches a column decides. A rule names the source's types,
//! the type that they become, how values travel ([`Converter`]) and whether anything is lost ([`Fidelity`]). Connectors
//! spell the chosen type ([`TypeRule::spell`]); `docs/types.md` is written from the same table.
//!
//! A value that the chosen type cannot hold exactly is refused when it is written, never altered: `Fidelity::Checked`
//! marks the rules where that can happen.

mod page;
mod rules;

use tidegate_model::{Engine, SqlType};

pub use page::page;
pub use rules::RULES;

/// The fieldless twin of [`SqlType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// [`SqlType::Boolean`].
    Boolean,
    /// [`SqlType::Int8`].
    Int8,
    /// [`SqlType::Int16`].
    Int16,
    /// [`SqlType::Int32`].
    Int32,
    /// [`SqlType::Int64`].
    Int64,
    /// [`SqlType::UInt8`].
    UInt8,
    /// [`SqlType::UInt16`].
    UInt16,
    /// [`SqlType::UInt32`].
    UInt32,
    /// [`SqlType::UInt64`].
    UInt64,
    /// [`SqlType::Float32`].
    Float32,
    /// [`SqlType::Float64`].
    Float64,
    /// [`SqlType::Decimal`].
    Decimal,
    /// [`SqlType::Text`].
    Text,
    /// [`SqlType::Bytes`].
    Bytes,
    /// [`SqlType::Date`].
    Date,
    /// [`SqlType::Time`].
    Time,
    /// [`SqlType::Timestamp`].
    Timestamp,
    /// [`SqlType::TimestampTz`].
    TimestampTz,
    /// [`SqlType::Interval`].
    Interval,
    /// [`SqlType::Json`].
    Json,
    /// [`SqlType::Uuid`].
    Uuid,
    /// [`SqlType::Enumeration`].
    Enumeration,
    /// [`SqlType::SetOf`].
    SetOf,
    /// [`SqlType::Bits`].
    Bits,
    /// [`SqlType::Array`].
    Array,
    /// [`SqlType::Other`].
    Other,
}

impl Kind {
    /// The kind of a type.
    pub fn of(sql_type: &SqlType) -> Kind {
        match sql_type {
            SqlType::Boolean => Kind::Boolean,
            SqlType::Int8 => Kind::Int8,
            SqlType::Int16 => Kind::Int16,
            SqlType::Int32 => Kind::Int32,
            SqlType::Int64 => Kind::Int64,
            SqlType::UInt8 => Kind::UInt8,
            SqlType::UInt16 => Kind::UInt16,
            SqlType::UInt32 => Kind::UInt32,
            SqlType::UInt64 => Kind::UInt64,
            SqlType::Float32 => Kind::Float32,
            SqlType::Float64 => Kind::Float64,
            SqlType::Decimal { .. } => Kind::Decimal,
            SqlType::Text { .. } => Kind::Text,
            SqlType::Bytes { .. } => Kind::Bytes,
            SqlType::Date => Kind::Date,
            SqlType::Time => Kind::Time,
            SqlType::Timestamp => Kind::Timestamp,
            SqlType::TimestampTz => Kind::TimestampTz,
            SqlType::Interval => Kind::Interval,
            SqlType::Json => Kind::Json,
            SqlType::Uuid => Kind::Uuid,
            SqlType::Enumeration(_) => Kind::Enumeration,
            SqlType::SetOf(_) => Kind::SetOf,
            SqlType::Bits(_) => Kind::Bits,
            SqlType::Array(_) => Kind::Array,
            SqlType::Other(_) => Kind::Other,
        }
    }
}

/// What a rule asks of a column besides its kind and its native name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Nothing.
    Always,
    /// It is part of a key of the target's table.
    Key,
    /// It has a length of at most so much.
    LengthUpTo(u32),
    /// Its values fit into so many digits, of which so many follow the point; a type without precision does not.
    DigitsUpTo(u32, u32),
    /// It has neither length nor precision.
    Unbounded,
}

/// How the values of a column travel from the source's form to the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Converter {
    /// The same type on both sides: nothing is interpreted.
    Same,
    /// Whole numbers.
    Integer,
    /// Digits, with a point or without.
    Digits,
    /// Floating point, by its bits.
    Float,
    /// Text in UTF-8, converted where the column has another character set.
    Text,
    /// Bytes.
    Bytes,
    /// Days and microseconds of the calendar, in UTC where there is an instant.
    Calendar,
    /// Signed lengths of time.
    Span,
    /// JSON text.
    Json,
    /// Sixteen bytes.
    Uuid,
    /// Labels of enumerations and sets.
    Labels,
    /// Bit strings.
    Bits,
    /// The text that the source's server prints for the value.
    Spelled,
}

impl Converter {
    /// As the page of types says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Converter::Same => "as it is",
            Converter::Integer => "integer",
            Converter::Digits => "digits",
            Converter::Float => "float bits",
            Converter::Text => "text",
            Converter::Bytes => "bytes",
            Converter::Calendar => "calendar",
            Converter::Span => "span",
            Converter::Json => "JSON",
            Converter::Uuid => "16 bytes",
            Converter::Labels => "labels",
            Converter::Bits => "bits",
            Converter::Spelled => "the server's text",
        }
    }
}

/// What becomes of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fidelity {
    /// Every value of the source's type arrives.
    Lossless,
    /// What arrives is exact; a value that the type cannot hold is refused by name.
    Checked,
    /// Every value arrives, as text: what the type could do beyond it, the target's cannot.
    AsText,
}

impl Fidelity {
    /// As the page of types says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fidelity::Lossless => "yes",
            Fidelity::Checked => "or refused",
            Fidelity::AsText => "as text",
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub struct TypeRule {
    /// Engines of the source.
    pub sources: &'static [Engine],
    /// Engines of the target.
    pub targets: &'static [Engine],
    /// Normalised types; empty for any.
    pub kinds: &'static [Kind],
    /// The source's own names without lengths, in lower case; empty for any.
    pub names: &'static [&'static str],
    /// What else it takes.
    pub when: When,
    /// The type in the target, with `{places}` that [`TypeRule::spell`] fills.
    pub becomes: &'static str,
    /// How values travel.
    pub converter: Converter,
    /// What becomes of them.
    pub fidelity: Fidelity,
    /// For the reader of the page.
    pub note: &'static str,
}

/// A column as rules look at it.
#[derive(Debug, Clone, Copy)]
pub struct Typed<'a> {
    /// The source's engine.
    pub source: Engine,
    /// The target's.
    pub target: Engine,
    /// Normalised type.
    pub sql_type: &'a SqlType,
    /// The source's spelling; empty for computed columns.
    pub native: &'a str,
    /// Part of a key of the target's table.
    pub in_key: bool,
}

/// What a connector adds to the spelling of a type.
#[derive(Debug, Clone, Default)]
pub struct Spelling {
    /// `{key}`: characters (or bytes) that a key column without a length of its own may have.
    pub key_length: u32,
    /// `{bin}`: character set and collation that tell every two texts apart.
    pub binary: String,
    /// `{kept}`: character set and collation like the source's.
    pub kept: String,
    /// `{labels}`: the labels of an enumeration or set as SQL.
    pub labels: String,
}

/// The rule of a column; `None` when no target type is known for it.
pub fn choose(column: &Typed<'_>) -> Option<&'static TypeRule> {
    RULES.iter().find(|rule| rule.matches(column))
}

impl TypeRule {
    fn matches(&self, column: &Typed<'_>) -> bool {
        let name = base_name(column.native);
        self.sources.contains(&column.source)
            && self.targets.contains(&column.target)
            && (self.kinds.is_empty() || self.kinds.contains(&Kind::of(column.sql_type)))
            && (self.names.is_empty() || self.names.contains(&name.as_str()))
            && (!self.becomes.contains("{native}") || !column.native.is_empty())
            && self.holds(column)
    }

    fn holds(&self, column: &Typed<'_>) -> bool {
        match self.when {
            When::Always => true,
            When::Key => column.in_key,
            When::LengthUpTo(most) => length(column.sql_type).is_some_and(|length| (1..=most).contains(&length)),
            When::DigitsUpTo(digits, scale) => digits_of(column.sql_type).is_some_and(|(p, s)| (1..=digits).contains(&p) && s <= scale),
            When::Unbounded => length(column.sql_type).is_none() && digits_of(column.sql_type).is_none(),
        }
    }

    /// The type as SQL.
    pub fn spell(&self, column: &Typed<'_>, with: &Spelling) -> String {
        let (precision, scale) = digits_of(column.sql_type).unwrap_or((0, 0));
        let length = length(column.sql_type).unwrap_or(0);
        let mut text = self.becomes.to_owned();
        // Texts of the source come last, so that nothing inside them is taken for a place.
        for (place, value) in [
            ("{n}", length.to_string()),
            ("{p}", precision.to_string()),
            ("{s}", scale.to_string()),
            ("{key}", with.key_length.to_string()),
            ("{fsp0}", fraction(column.native, "(0)")),
            ("{fsp6}", fraction(column.native, "(6)")),
            ("{fsp}", fraction(column.native, "")),
            ("{bin}", with.binary.clone()),
            ("{kept}", with.kept.clone()),
        ] {
            text = text.replace(place, &value);
        }
        if let Some((before, after)) = text.split_once("{native}") {
            return format!("{before}{}{after}", column.native);
        }
        match text.split_once("{labels}") {
            Some((before, after)) => format!("{before}{}{after}", with.labels),
            None => text,
        }
    }
}

/// The name of a type without lengths: `timestamp(3) without time zone` is `timestamp without time zone`.
pub fn base_name(native: &str) -> String {
    let (mut text, mut depth) = (String::with_capacity(native.len()), 0_u32);
    for letter in native.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => text.extend(letter.to_lowercase()),
            _ => {}
        }
    }
    text.trim_end_matches(" zerofill").to_owned()
}

fn length(sql_type: &SqlType) -> Option<u32> {
    match sql_type {
        SqlType::Text { chars_max } => *chars_max,
        SqlType::Bytes { bytes_max } => *bytes_max,
        SqlType::Bits(bits) if *bits > 0 => Some(*bits),
        _ => None,
    }
}

/// Digits in all and after the point, where none of them is left of the point's place: PostgreSQL's `numeric(3,5)` needs
/// five, `numeric(3,-2)` five too.
fn digits_of(sql_type: &SqlType) -> Option<(u32, u32)> {
    let SqlType::Decimal { precision: Some(precision), scale } = sql_type else { return None };
    match u32::try_from(scale.unwrap_or(0)) {
        Ok(scale) => Some(((*precision).max(scale), scale)),
        Err(_) => Some((precision.saturating_add(scale.unwrap_or(0).unsigned_abs()), 0)),
    }
}

/// `(3)` of `datetime(3)`. A type without digits of its own gets `otherwise`; a computed column the most there are.
fn fraction(native: &str, otherwise: &str) -> String {
    let digits: String = native.chars().skip_while(|letter| *letter != '(').skip(1).take_while(char::is_ascii_digit).collect();
    match digits.parse::<u8>() {
        Ok(digits @ 0..=6) => format!("({digits})"),
        _ if native.is_empty() && otherwise == "(0)" => "(6)".to_owned(),
        _ => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(source: Engine, target: Engine, sql_type: &SqlType, native: &str) -> String {
        let column = Typed { source, target, sql_type, native, in_key: false };
        let with = Spelling { key_length: 768, binary: " bin".into(), kept: " kept".into(), labels: "'a','b'".into() };
        choose(&column).map_or_else(|| "nothing".to_owned(), |rule| rule.spell(&column, &with))
    }

    #[test]
    fn types_of_mysql_lose_nothing_in_postgresql() {
        let of = |sql_type, native| typed(Engine::Mysql, Engine::Postgres, &sql_type, native);
        assert_eq!(of(SqlType::Int8, "tinyint"), "smallint");
        assert_eq!(of(SqlType::UInt32, "int unsigned"), "bigint");
        assert_eq!(of(SqlType::UInt64, "bigint unsigned"), "numeric(20)");
        assert_eq!(of(SqlType::Decimal { precision: Some(65), scale: Some(30) }, "decimal(65,30)"), "numeric(65,30)");
        assert_eq!(of(SqlType::Time, "time(3)"), "interval(3)");
        assert_eq!(of(SqlType::Timestamp, "datetime"), "timestamp(0) without time zone");
        assert_eq!(of(SqlType::Timestamp, ""), "timestamp(6) without time zone");
        assert_eq!(of(SqlType::TimestampTz, "timestamp(6)"), "timestamp(6) with time zone");
        assert_eq!(of(SqlType::Text { chars_max: Some(64) }, "varchar(64)"), "character varying(64)");
        assert_eq!(of(SqlType::Text { chars_max: Some(16_383) }, "mediumtext"), "text");
        assert_eq!(of(SqlType::SetOf(vec!["a".into()]), "set('a')"), "text[]");
        assert_eq!(of(SqlType::Bits(12), "bit(12)"), "bit(12)");
        assert_eq!(of(SqlType::Json, "json"), "jsonb");
        assert_eq!(typed(Engine::Mariadb, Engine::Postgres, &SqlType::Json, "json"), "json");
    }

    #[test]
    fn types_of_postgresql_lose_nothing_in_mysql() {
        let of = |sql_type, native| typed(Engine::Postgres, Engine::Mysql, &sql_type, native);
        assert_eq!(of(SqlType::Boolean, "boolean"), "tinyint(1)");
        assert_eq!(of(SqlType::Decimal { precision: Some(10), scale: Some(2) }, "numeric(10,2)"), "decimal(10,2)");
        assert_eq!(of(SqlType::Decimal { precision: Some(3), scale: Some(5) }, "numeric(3,5)"), "decimal(5,5)");
        assert_eq!(of(SqlType::Decimal { precision: Some(5), scale: Some(-2) }, "numeric(5,-2)"), "decimal(7,0)");
        assert_eq!(of(SqlType::Decimal { precision: None, scale: None }, "numeric"), "decimal(65,30)");
        assert_eq!(of(SqlType::Decimal { precision: Some(100), scale: Some(2) }, "numeric(100,2)"), "longtext bin");
        assert_eq!(of(SqlType::Text { chars_max: None }, "text"), "longtext bin");
        assert_eq!(of(SqlType::TimestampTz, "timestamp with time zone"), "datetime(6)");
        assert_eq!(of(SqlType::Timestamp, "timestamp(3) without time zone"), "datetime(3)");
        assert_eq!(of(SqlType::Uuid, "uuid"), "char(36) character set ascii collate ascii_bin");
        let of_mariadb = typed(Engine::Postgres, Engine::Mariadb, &SqlType::Uuid, "uuid");
        assert_eq!(of_mariadb, "char(36) character set ascii collate ascii_bin", "its own type does not take every value");
        assert_eq!(of(SqlType::Array(Box::new(SqlType::Int32)), "integer[]"), "json");
    }

    #[test]
    fn one_engine_keeps_its_own_spelling() {
        let text = SqlType::Text { chars_max: Some(9) };
        assert_eq!(typed(Engine::Mysql, Engine::Mysql, &text, "varchar(9)"), "varchar(9) kept");
        assert_eq!(typed(Engine::Mariadb, Engine::Mariadb, &SqlType::Other("inet6".into()), "inet6"), "inet6");
        assert_eq!(base_name("int(10) unsigned zerofill"), "int unsigned");
        assert_eq!(base_name("timestamp(3) without time zone"), "timestamp without time zone");
    }

    #[test]
    fn every_kind_has_a_rule_in_every_pair() {
        let enumeration = SqlType::Enumeration(vec!["a".into()]);
        let all = [
            SqlType::Boolean,
            SqlType::Int8,
            SqlType::Int16,
            SqlType::Int32,
            SqlType::Int64,
            SqlType::UInt8,
            SqlType::UInt16,
            SqlType::UInt32,
            SqlType::UInt64,
            SqlType::Float32,
            SqlType::Float64,
            SqlType::Decimal { precision: None, scale: None },
            SqlType::Text { chars_max: None },
            SqlType::Text { chars_max: Some(5) },
            SqlType::Bytes { bytes_max: None },
            SqlType::Bytes { bytes_max: Some(5) },
            SqlType::Date,
            SqlType::Time,
            SqlType::Timestamp,
            SqlType::TimestampTz,
            SqlType::Interval,
            SqlType::Json,
            SqlType::Uuid,
            enumeration.clone(),
            SqlType::SetOf(vec!["a".into()]),
            SqlType::Bits(3),
            SqlType::Array(Box::new(enumeration)),
            SqlType::Other("thing".into()),
        ];
        let engines = [Engine::Postgres, Engine::Mysql, Engine::Mariadb];
        for source in engines {
            for target in engines {
                for sql_type in &all {
                    assert_ne!(typed(source, target, sql_type, ""), "nothing", "{source:?} to {target:?}: {sql_type:?}");
                }
            }
        }
    }
}
