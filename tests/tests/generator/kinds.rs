//! Types of columns with values that replicas get wrong, each only where the pair takes it ([docs/types.md]).
//!
//! [docs/types.md]: ../../../docs/types.md

use rand::Rng;

use super::text::quoted;
use super::values::*;

/// A kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    Postgres,
    Mysql,
    Mariadb,
}

impl Engine {
    pub(super) const ALL: [Engine; 3] = [Engine::Postgres, Engine::Mysql, Engine::Mariadb];

    pub(super) fn name(self) -> &'static str {
        match self {
            Engine::Postgres => "postgres",
            Engine::Mysql => "mysql",
            Engine::Mariadb => "mariadb",
        }
    }

    pub(super) fn is_postgres(self) -> bool {
        self == Engine::Postgres
    }

    /// The letter that stands for a target in a table's name.
    pub(super) fn letter(self) -> char {
        match self {
            Engine::Postgres => 'p',
            Engine::Mysql => 'm',
            Engine::Mariadb => 'a',
        }
    }
}

/// The targets that a table goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach(u8);

impl Reach {
    pub(super) const EVERYWHERE: Reach = Reach(0b111);

    pub(super) fn only(engine: Engine) -> Reach {
        Reach(1 << engine as u8)
    }

    pub(super) fn without(self, engine: Engine) -> Reach {
        Reach(self.0 & !(1 << engine as u8))
    }

    pub(super) fn has(self, engine: Engine) -> bool {
        self.0 & (1 << engine as u8) != 0
    }

    /// How names of such tables begin: `pmaX`.
    pub(super) fn prefix(self) -> String {
        Engine::ALL.iter().filter(|engine| self.has(**engine)).map(|engine| engine.letter()).chain(['X']).collect()
    }

    /// Prefixes of all tables that go to a target.
    pub(super) fn prefixes_to(target: Engine) -> Vec<String> {
        (1..=0b111).map(Reach).filter(|reach| reach.has(target)).map(Reach::prefix).collect()
    }
}

/// A type of a source.
pub(super) struct Kind {
    pub(super) sql: &'static str,
    /// Which values a column of a key has: the n-th is another one for each n above 2. `None`: not in keys.
    pub(super) key: Option<fn(&mut Draw, u64) -> String>,
    /// Every value of it fits into these types, too.
    pub(super) becomes: &'static [&'static str],
    /// Taken by the source's own kind of target alone.
    own: bool,
    value: fn(&mut Draw) -> String,
}

impl Kind {
    /// A literal of a value that every target of the table takes.
    pub(super) fn value(&self, draw: &mut Draw) -> String {
        (self.value)(draw)
    }

    /// True when there are as many values of a key as one asks for.
    pub(super) fn counts(&self) -> bool {
        self.key.is_some() && !["boolean", "mood", "year", "enum"].iter().any(|part| self.sql.starts_with(part))
    }

    /// True when columns may have a default: MySQL has none for large types.
    pub(super) fn takes_default(&self) -> bool {
        !["text", "blob", "json", "point", "geometry", "xml"].iter().any(|part| self.sql.contains(part))
    }
}

/// The types that tables of a source may have which go to these targets.
pub(super) fn kinds(source: Engine, reach: Reach) -> Vec<&'static Kind> {
    let more: &[Kind] = match source {
        Engine::Postgres => POSTGRES,
        Engine::Mysql => MYSQL,
        Engine::Mariadb => MARIADB,
    };
    let common: &[Kind] = if source.is_postgres() { &[] } else { MYSQL_AND_MARIADB };
    let own = reach == Reach::only(source);
    common.iter().chain(more).filter(|kind| own || !kind.own).collect()
}

/// The kind of a type by its name.
pub(super) fn kind(source: Engine, sql: &str) -> &'static Kind {
    let found = kinds(source, Reach::only(source)).into_iter().find(|kind| kind.sql == sql);
    found.unwrap_or_else(|| panic!("{} has no kind {sql}", source.name()))
}

const fn plain(sql: &'static str, value: fn(&mut Draw) -> String) -> Kind {
    Kind { sql, key: None, becomes: &[], own: false, value }
}

const fn own(sql: &'static str, value: fn(&mut Draw) -> String) -> Kind {
    Kind { sql, key: None, becomes: &[], own: true, value }
}

const fn keyed(
    sql: &'static str,
    key: fn(&mut Draw, u64) -> String,
    becomes: &'static [&'static str],
    value: fn(&mut Draw) -> String,
) -> Kind {
    Kind { sql, key: Some(key), becomes, own: false, value }
}

const POSTGRES: &[Kind] = &[
    keyed("boolean", |_, n| (n % 2 == 0).to_string(), &["text"], |draw| draw.pick(&["true", "false"])),
    keyed("smallint", nth, &["integer", "bigint", "text"], |draw| draw.whole(-32_768, 32_767)),
    keyed("integer", nth, &["bigint", "numeric(20,6)", "text"], |draw| draw.whole(-2_147_483_648, 2_147_483_647)),
    keyed("bigint", nth_wide, &["numeric", "text"], |draw| draw.whole(i64::MIN.into(), i64::MAX.into())),
    keyed("numeric(20,6)", nth_decimal, &["numeric"], |draw| draw.decimal(13, 5)),
    plain("numeric", free_decimal),
    plain("numeric(70,2)", |draw| draw.decimal(67, 1)),
    plain("numeric(5,-2)", |draw| draw.whole(-9_999_900, 9_999_900)),
    plain("real", single),
    plain("double precision", double),
    keyed("text", nth_text, &[], any_text),
    keyed("character varying(30)", nth_text, &["text", "character varying(60)"], word_30),
    keyed("character varying(60)", nth_text, &["text"], word_30),
    keyed("character(8)", nth_text, &["character varying(30)", "text"], word_8),
    keyed("bytea", nth_bytes, &[], |draw| {
        let length = draw.random.random_range(0..40);
        draw.bytes(length)
    }),
    keyed("date", nth_date, &["timestamp", "text"], date),
    keyed("timestamp", nth_moment, &["timestamp(3)"], moment),
    plain("timestamp(3)", moment_short),
    keyed("timestamptz", nth_moment, &[], moment),
    plain("time", clock),
    plain("time(3)", clock),
    plain("interval", |draw| {
        draw.pick(&["'-1 year -2 mons +3 days -04:05:06.789'", "'1 mon'", "'30 days'", "'0'", "'178 years'", "'00:00:00.000001'"])
    }),
    keyed("uuid", nth_uuid, &["text"], uuid),
    plain("json", json),
    plain("jsonb", json),
    plain("integer[]", |draw| draw.pick(&["'{}'", "'{1,NULL,-2147483648}'", "'{{1,2},{3,NULL}}'"])),
    plain("text[]", |draw| draw.pick(&[r#"array['a,b', '"q"', '\', '', null, 'NULL']"#, "'{}'", "array['東', ' ']"])),
    keyed(
        "mood",
        |_, n| ["'so so'", "'a,b'", "'it''s'"][(n % 3) as usize].to_owned(),
        &[],
        |draw| draw.pick(&["'so so'", "'a,b'", "'it''s'", "''"]),
    ),
    plain("bit(5)", |draw| draw.bits(5)),
    plain("bit(64)", |draw| draw.bits(64)),
    plain("bit varying", |draw| draw.bits(70)),
    plain("inet", |draw| draw.pick(&["'10.0.0.1/8'", "'10.0.0.1'", "'2001:db8::1/64'", "'::ffff:1.2.3.4'"])),
    plain("cidr", |draw| draw.pick(&["'10.0.0.1/32'", "'2001:db8::/32'", "'0.0.0.0/0'"])),
    plain("macaddr", |draw| draw.pick(&["'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'"])),
    plain("timetz", |draw| draw.pick(&["'23:59:59.999999-15:59:59'", "'24:00:00+15:59'", "'00:00:00+00'"])),
    plain("oid", |draw| draw.pick(&["0", "4294967295"])),
    plain("pg_lsn", |draw| draw.pick(&["'FFFFFFFF/FFFFFFFF'", "'0/0'", "'16/B374D848'"])),
    own("int4range", |draw| draw.pick(&["'(1,10]'", "'empty'", "'(,)'", "'[5,6)'"])),
    own("tsvector", |draw| draw.pick(&["'fat:2A cat:3 ''it''''s'''", "''"])),
    own("point", |draw| draw.pick(&["'(NaN,1)'", "'(0.1,-0)'", "'(1e300,2)'"])),
    own("money", |draw| draw.pick(&["'-$1,234.56'", "'92233720368547758.07'"])),
    own("xml", |draw| draw.pick(&["'<a b=\"1\">ü<!-- x --></a>'", "'two<b/> parts'"])),
    own("\"char\"", |draw| draw.pick(&["''", "'a'"])),
    own("box[]", |draw| draw.pick(&["'{(1,1),(0,0);(2,2),(0,0)}'", "'{}'"])),
    own("jsonpath", |draw| draw.pick(&["'$.a[*] ? (@ > 1)'"])),
];

/// The enumeration with labels before and behind the others.
const MORE_LABELS: &str = "enum('first','a','b,c','it''s','é','last')";

const MYSQL_AND_MARIADB: &[Kind] = &[
    plain("tinyint", |draw| draw.whole(-128, 127)),
    plain("tinyint(1)", |draw| draw.whole(-128, 127)),
    keyed("smallint", nth, &["int", "bigint"], |draw| draw.whole(-32_768, 32_767)),
    plain("smallint unsigned", |draw| draw.whole(0, 65_535)),
    plain("mediumint", |draw| draw.whole(-8_388_608, 8_388_607)),
    keyed("int", nth, &["bigint", "decimal(20,6)", "varchar(30)"], |draw| draw.whole(-2_147_483_648, 2_147_483_647)),
    keyed("int unsigned", nth, &["bigint unsigned"], |draw| draw.whole(0, 4_294_967_295)),
    keyed("bigint", nth_wide, &["varchar(60)"], |draw| draw.whole(i64::MIN.into(), i64::MAX.into())),
    keyed("bigint unsigned", nth_positive, &[], |draw| draw.whole(0, u64::MAX.into())),
    keyed("decimal(20,6)", nth_decimal, &["decimal(65,30)"], |draw| draw.decimal(13, 5)),
    plain("decimal(65,30)", |draw| draw.decimal(34, 29)),
    plain("float", single),
    plain("double", double),
    plain("bit(12)", |draw| draw.bits(12)),
    plain("bit(64)", |draw| draw.bits(64)),
    keyed("year", |_, n| (2000 + n % 100).to_string(), &["int"], |draw| draw.pick(&["1901", "2155", "2000", "0"])),
    keyed("date", nth_date, &["datetime(6)"], date),
    plain("time", span),
    plain("time(6)", span),
    plain("datetime", moment),
    keyed("datetime(6)", nth_moment, &[], moment),
    keyed("timestamp(6) null", nth_moment, &["datetime(6)"], moment_short),
    keyed("char(8)", nth_text, &["varchar(30)", "text"], word_8),
    keyed("varchar(30)", nth_text, &["varchar(60)", "text", "mediumtext"], word_30),
    keyed("varchar(60)", nth_text, &["text"], word_30),
    plain("varchar(30) character set latin1", latin),
    plain("varchar(30) character set utf16", word_30),
    plain("tinytext", |draw| {
        let text = draw.word(20);
        quoted(draw.source, &text)
    }),
    plain("text", small_text),
    plain("mediumtext", any_text),
    plain("longtext", any_text),
    keyed(
        "enum('a','b,c','it''s','é')",
        |_, n| ["'a'", "'b,c'", "'é'"][(n % 3) as usize].to_owned(),
        &["varchar(30)", MORE_LABELS],
        |draw| draw.pick(&["'a'", "'b,c'", "'it''s'", "'é'"]),
    ),
    keyed(
        MORE_LABELS,
        |_, n| ["'a'", "'b,c'", "'é'"][(n % 3) as usize].to_owned(),
        &["varchar(30)"],
        |draw| draw.pick(&["'a'", "'b,c'", "'it''s'", "'é'", "'first'", "'last'"]),
    ),
    plain("set('x','y','z')", |draw| draw.pick(&["''", "'x'", "'x,z'", "'z,y,x'"])),
    keyed("binary(6)", nth_six_bytes, &["varbinary(40)"], |draw| draw.bytes(6)),
    keyed("varbinary(40)", nth_bytes, &["blob"], |draw| {
        let length = draw.random.random_range(0..40);
        draw.bytes(length)
    }),
    plain("blob", |draw| draw.bytes(300)),
    plain("longblob", |draw| draw.bytes(3000)),
    plain("json", json),
    plain("point", |draw| draw.pick(&["st_geomfromtext('POINT(1 2)')", "st_geomfromtext('POINT(-0.1 1e10)')"])),
];

const MYSQL: &[Kind] = &[
    keyed("varchar(30) collate utf8mb4_0900_as_cs", nth_text, &[], word_30),
    plain("geometry", |draw| draw.pick(&["st_geomfromtext('LINESTRING(0 0,1 1)')", "st_geomfromtext('POINT(1 2)', 4326)"])),
];

const MARIADB: &[Kind] = &[
    keyed("uuid", nth_uuid, &["varchar(60)"], uuid),
    plain("inet4", |draw| draw.pick(&["'10.0.0.0'", "'255.255.255.255'", "'0.0.0.0'"])),
    plain("inet6", |draw| draw.pick(&["'2001:db8::'", "'::'", "'::ffff:1.2.3.4'"])),
    own("decimal(65,38)", |draw| draw.decimal(26, 37)),
];
