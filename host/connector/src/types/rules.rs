//! The table of types. The first rule that matches a column decides.

use tidegate_model::Engine::{self, Mariadb, Mysql, Postgres};

use super::{Converter, Fidelity, Kind, TypeRule, When};
use Fidelity::{AsText, Checked, Lossless};

const ANY: &[Engine] = &[Postgres, Mysql, Mariadb];
const MY: &[Engine] = &[Mysql, Mariadb];
const PG: &[Engine] = &[Postgres];
const MYSQL: &[Engine] = &[Mysql];
const MARIADB: &[Engine] = &[Mariadb];

const TEXTS: &[&str] = &["tinytext", "text", "mediumtext", "longtext"];
const BLOBS: &[&str] = &["tinyblob", "blob", "mediumblob", "longblob"];
const NUMBERS: &[Kind] = &[
    Kind::Int8,
    Kind::Int16,
    Kind::Int32,
    Kind::Int64,
    Kind::UInt8,
    Kind::UInt16,
    Kind::UInt32,
    Kind::UInt64,
    Kind::Float32,
    Kind::Float64,
    Kind::Bits,
    Kind::Date,
    Kind::Time,
    Kind::Timestamp,
    Kind::TimestampTz,
];

/// Columns that no source table has: what rules and modules compute, and types whose name says nothing.
pub(super) const COMPUTED: &str = "computed columns";

macro_rules! rule {
    ($sources:ident, $targets:ident, $kinds:expr, $names:expr, $when:expr, $becomes:expr, $converter:ident, $fidelity:ident, $note:expr) => {
        TypeRule {
            sources: $sources,
            targets: $targets,
            kinds: $kinds,
            names: $names,
            when: $when,
            becomes: $becomes,
            converter: Converter::$converter,
            fidelity: $fidelity,
            note: $note,
        }
    };
}

use When::{Always, DigitsUpTo, Key, LengthUpTo, Unbounded};

/// All rules.
#[rustfmt::skip]
pub const RULES: &[TypeRule] = &[
    // One engine: the type itself.
    rule!(MYSQL, MYSQL, &[Kind::Text, Kind::SetOf], &[], Always, "{native}{kept}", Same, Lossless, "with character set and collation"),
    rule!(MYSQL, MYSQL, &[Kind::Enumeration], &[], Always, "{native}{kept}", Same, Checked, "likewise; index 0 too, which an unknown value got. Refused: index 0 in a key, or where a label looks like zeros (`enum_empty`)"),
    rule!(MARIADB, MARIADB, &[Kind::Text, Kind::SetOf], &[], Always, "{native}{kept}", Same, Lossless, "with character set and collation"),
    rule!(MARIADB, MARIADB, &[Kind::Enumeration], &[], Always, "{native}{kept}", Same, Checked, "likewise; refused: index 0, which an unknown value got (`enum_empty`) and which MariaDB takes from nobody in strict mode"),
    rule!(MYSQL, MYSQL, &[Kind::Json], &[], Always, "{native}", Json, Checked, "prints the same; decimals inside stay decimals where a double would print other digits, such as 12.50. What prints the same and has another `JSON_TYPE`: other decimals are doubles or integers, dates, times and bytes inside are texts. Refused: such decimals in documents of 256 KB and more, and more than 1,000 in one"),
    rule!(MYSQL, MYSQL, &[], &[], Always, "{native}", Same, Lossless, "every other type"),
    rule!(MARIADB, MARIADB, &[], &[], Always, "{native}", Same, Lossless, "every other type"),
    rule!(PG, PG, &[], &[], Always, "{native}", Same, Lossless, "every type that the target has"),

    // MySQL and MariaDB, one to the other.
    rule!(MYSQL, MARIADB, &[Kind::Float32, Kind::Float64], &[], Always, "{native}", Same, Checked, "refused: -0, whose sign MariaDB does not keep"),
    rule!(MY, MY, NUMBERS, &[], Always, "{native}", Same, Lossless, "integers, floats, bits and times have the same ranges"),
    rule!(MY, MY, &[Kind::Decimal], &["decimal", "decimal unsigned"], DigitsUpTo(65, 30), "{native}", Same, Lossless, ""),
    rule!(MARIADB, MYSQL, &[Kind::Decimal], &[], Always, "varchar(70) character set ascii collate ascii_bin", Digits, AsText, "more than 30 digits after the point, which MySQL has not"),
    rule!(MY, MY, &[Kind::Text], &["char", "varchar"], Always, "{native}{kept}", Text, Lossless, "utf8mb4; key columns get a binary collation, others the source's where both servers have always had it"),
    rule!(MY, MY, &[Kind::Text], TEXTS, Always, "{native}{kept}", Text, Lossless, "likewise"),
    rule!(MY, MY, &[Kind::Bytes], &["binary", "varbinary"], Always, "{native}", Bytes, Lossless, ""),
    rule!(MY, MY, &[Kind::Bytes], BLOBS, Always, "{native}", Bytes, Lossless, ""),
    rule!(MY, MY, &[Kind::Bytes], &["geomcollection", "geometrycollection"], Always, "geometrycollection", Bytes, Lossless, "4 bytes SRID and WKB; the column's own SRID restriction is not kept"),
    rule!(MY, MY, &[Kind::Bytes], &["geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"], Always, "{native}", Bytes, Lossless, "likewise"),
    rule!(MY, MY, &[Kind::Bytes], &["vector"], Always, "longblob", Bytes, Lossless, "the servers' vectors have different rules of length"),
    rule!(MYSQL, MARIADB, &[Kind::Enumeration], &[], Always, "enum({labels}){kept}", Labels, Checked, "refused: index 0, which an unknown value got (`enum_empty`) and which MariaDB takes from nobody in strict mode"),
    rule!(MARIADB, MYSQL, &[Kind::Enumeration], &[], Always, "enum({labels}){kept}", Labels, Checked, "index 0 too, which an unknown value got. Refused: index 0 in a key, or where a label looks like zeros (`enum_empty`)"),
    rule!(MY, MY, &[Kind::SetOf], &[], Always, "set({labels}){kept}", Labels, Lossless, ""),
    rule!(MYSQL, MARIADB, &[Kind::Json], &[], Always, "json", Json, Lossless, "MySQL's text of the document, kept to the last blank"),
    rule!(MARIADB, MYSQL, &[Kind::Json], &[], Always, "json", Json, Checked, "refused: duplicate keys, numbers that a double cannot hold; blanks and order are the server's"),
    rule!(MARIADB, MYSQL, &[Kind::Uuid], &[], Always, "char(36) character set ascii collate ascii_bin", Uuid, Lossless, ""),
    rule!(MARIADB, MYSQL, &[Kind::Other], &["inet4"], Always, "varchar(15) character set ascii collate ascii_bin", Spelled, AsText, ""),
    rule!(MARIADB, MYSQL, &[Kind::Other], &["inet6"], Always, "varchar(39) character set ascii collate ascii_bin", Spelled, AsText, ""),

    // PostgreSQL to MySQL and MariaDB.
    rule!(PG, MY, &[Kind::Boolean], &[], Always, "tinyint(1)", Integer, Lossless, "0 and 1"),
    rule!(PG, MY, &[Kind::Int16], &["smallint"], Always, "smallint", Integer, Lossless, ""),
    rule!(PG, MY, &[Kind::Int32], &["integer"], Always, "int", Integer, Lossless, ""),
    rule!(PG, MY, &[Kind::Int64], &["bigint"], Always, "bigint", Integer, Lossless, ""),
    rule!(PG, MYSQL, &[Kind::Float32], &["real"], Always, "float", Float, Checked, "refused: NaN and infinities"),
    rule!(PG, MARIADB, &[Kind::Float32], &["real"], Always, "float", Float, Checked, "refused: NaN, infinities and -0, whose sign MariaDB does not keep"),
    rule!(PG, MYSQL, &[Kind::Float64], &["double precision"], Always, "double", Float, Checked, "refused: NaN and infinities"),
    rule!(PG, MARIADB, &[Kind::Float64], &["double precision"], Always, "double", Float, Checked, "refused: NaN, infinities and -0, whose sign MariaDB does not keep"),
    rule!(PG, MY, &[Kind::Decimal], &[], DigitsUpTo(65, 30), "decimal({p},{s})", Digits, Checked, "refused: NaN and infinities"),
    rule!(PG, MY, &[Kind::Decimal], &[], Unbounded, "decimal(65,30)", Digits, Checked, "refused: more than 35 digits before or 30 after the point, NaN and infinities"),
    rule!(PG, MY, &[Kind::Decimal], &[], Key, "varchar({key}) character set ascii collate ascii_bin", Digits, AsText, "of more digits than MySQL has"),
    rule!(PG, MY, &[Kind::Decimal], &[], Always, "longtext{bin}", Digits, AsText, "of more digits than MySQL has"),
    rule!(PG, MY, &[Kind::Text], &["character"], LengthUpTo(255), "char({n}){bin}", Text, Lossless, "without its padding, which MySQL does not show"),
    rule!(PG, MY, &[Kind::Text], &[], Key, "varchar({key}){bin}", Text, Checked, "refused: longer than a key of the server may be; the check says how long"),
    rule!(PG, MY, &[Kind::Text], &["character varying", "character"], LengthUpTo(4000), "varchar({n}){bin}", Text, Lossless, ""),
    rule!(PG, MY, &[Kind::Text], &[], Always, "longtext{bin}", Text, Lossless, ""),
    rule!(PG, MY, &[Kind::Bytes], &[], Key, "varbinary({key})", Bytes, Checked, "refused: longer than a key of the server may be"),
    rule!(PG, MY, &[Kind::Bytes], &["bytea"], Always, "longblob", Bytes, Lossless, ""),
    rule!(PG, MY, &[Kind::Date], &["date"], Always, "date", Calendar, Checked, "refused: infinity, years before 1 and after 9999"),
    rule!(PG, MY, &[Kind::Time], &["time without time zone"], Always, "time{fsp6}", Calendar, Lossless, "24:00:00 too"),
    rule!(PG, MY, &[Kind::Timestamp], &["timestamp without time zone"], Always, "datetime{fsp6}", Calendar, Checked, "refused: infinity, years before 1 and after 9999"),
    rule!(PG, MY, &[Kind::TimestampTz], &["timestamp with time zone"], Always, "datetime{fsp6}", Calendar, Checked, "in UTC, because MySQL's timestamp ends in 2038; ranges as above"),
    rule!(PG, MY, &[Kind::Interval], &[], Always, "varchar(64) character set ascii collate ascii_bin", Spelled, AsText, "ISO 8601: months, days and microseconds"),
    // MariaDB's own type takes no UUIDs of another variant or version than it knows, such as those made of a digest.
    rule!(PG, MY, &[Kind::Uuid], &[], Always, "char(36) character set ascii collate ascii_bin", Uuid, Lossless, ""),
    rule!(PG, MYSQL, &[Kind::Json], &[], Always, "json", Json, Checked, "refused: duplicate keys, numbers that a double cannot hold; blanks and order are the server's"),
    rule!(PG, MARIADB, &[Kind::Json], &[], Always, "json", Json, Lossless, "a text with a check in MariaDB"),
    rule!(PG, MYSQL, &[Kind::Array], &[], Always, "json", Json, Checked, "refused: lower bounds other than 1, numbers that a double cannot hold"),
    rule!(PG, MARIADB, &[Kind::Array], &[], Always, "json", Json, Checked, "refused: lower bounds other than 1"),
    rule!(PG, MY, &[Kind::Enumeration], &[], Always, "enum({labels}){bin}", Labels, Checked, "refused: labels with blanks at their end, which MySQL drops"),
    rule!(PG, MY, &[Kind::Bits], &[], LengthUpTo(64), "bit({n})", Bits, Lossless, ""),
    rule!(PG, MY, &[Kind::Bits], &[], Always, "longblob", Bytes, Lossless, "of more than 64 bits: as bytes, padded on the left"),
    rule!(PG, MY, &[Kind::Other], &["money"], Always, "decimal(21,2)", Digits, Checked, "the amount; refused: amounts of a locale with more than two digits after the point"),
    rule!(PG, MY, &[Kind::Other], &[], Key, "varchar({key}){bin}", Spelled, AsText, "likewise"),
    rule!(PG, MY, &[Kind::Other], &[], Always, "longtext{bin}", Spelled, AsText, "`inet`, `cidr`, `macaddr`, `macaddr8`, `oid`, `xid`, `xid8`, `tid`, `pg_lsn`, `timetz`, `bit varying`, `xml`, `jsonpath`, `tsvector`, `tsquery`, `pg_snapshot`, `refcursor`, `int2vector`, `\"char\"`, `point` and other shapes, `hstore`, `ltree`, `lquery`, `ltxtquery`, `cube`, composites, ranges and multiranges, the user's too, over any of these and of the types above, with dates in ISO, instants in UTC, intervals in ISO 8601 and amounts of `money` as numbers; types without a binary form (`isbn` and its kin, `seg`, `query_int`, `aclitem`); of every other type of an extension the hexadecimal digits of its binary form, as `bytea` is printed, of which the check warns (`type_as_bytes`)"),

    // What rules and modules compute, in MySQL and MariaDB.
    rule!(ANY, MY, &[Kind::Boolean], &[], Always, "tinyint(1)", Integer, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Int8], &[], Always, "tinyint", Integer, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Int16], &[], Always, "smallint", Integer, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Int32], &[], Always, "int", Integer, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Int64], &[], Always, "bigint", Integer, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::UInt8], &[], Always, "tinyint unsigned", Integer, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::UInt16], &[], Always, "smallint unsigned", Integer, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::UInt32], &[], Always, "int unsigned", Integer, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::UInt64], &[], Always, "bigint unsigned", Integer, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Float32], &[], Always, "float", Float, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Float64], &[], Always, "double", Float, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Decimal], &[], DigitsUpTo(65, 30), "decimal({p},{s})", Digits, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Decimal], &[], Always, "decimal(65,30)", Digits, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Text], &[], Key, "varchar({key}){bin}", Text, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Text], &[], LengthUpTo(4000), "varchar({n}){bin}", Text, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Text], &[], Always, "longtext{bin}", Text, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Bytes], &[], Key, "varbinary({key})", Bytes, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Bytes], &[], Always, "longblob", Bytes, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Date], &[], Always, "date", Calendar, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Time], &[], Always, "time(6)", Calendar, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Timestamp, Kind::TimestampTz], &[], Always, "datetime(6)", Calendar, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Interval], &[], Always, "varchar(64) character set ascii collate ascii_bin", Spelled, AsText, COMPUTED),
    rule!(ANY, MY, &[Kind::Json, Kind::Array], &[], Always, "json", Json, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Uuid], &[], Always, "char(36) character set ascii collate ascii_bin", Uuid, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Enumeration], &[], Always, "enum({labels}){bin}", Labels, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::SetOf], &[], Always, "set({labels}){bin}", Labels, Checked, COMPUTED),
    rule!(ANY, MY, &[Kind::Bits], &[], LengthUpTo(64), "bit({n})", Bits, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Bits], &[], Always, "longblob", Bytes, Lossless, COMPUTED),
    rule!(ANY, MY, &[Kind::Other], &[], Key, "varchar({key}){bin}", Spelled, AsText, COMPUTED),
    rule!(ANY, MY, &[Kind::Other], &[], Always, "longtext{bin}", Spelled, AsText, COMPUTED),

    // MySQL and MariaDB to PostgreSQL; the unnamed rest serves computed columns and what a PostgreSQL target lacks.
    rule!(ANY, PG, &[Kind::Boolean], &[], Always, "boolean", Integer, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Int8, Kind::Int16, Kind::UInt8], &[], Always, "smallint", Integer, Lossless, "`tinyint` (also `(1)` and `boolean`), `tinyint unsigned`, `smallint`, `year`: `tinyint(1)` holds 2 to 127 too, so it does not become `boolean`; year 0000 is 0"),
    rule!(ANY, PG, &[Kind::Int32, Kind::UInt16], &[], Always, "integer", Integer, Lossless, "`smallint unsigned`, `mediumint`, `int`"),
    rule!(ANY, PG, &[Kind::Int64, Kind::UInt32], &[], Always, "bigint", Integer, Lossless, "`mediumint unsigned`, `int unsigned`, `bigint`; display width and zerofill are not kept"),
    rule!(ANY, PG, &[Kind::UInt64], &[], Always, "numeric(20)", Integer, Lossless, "`bigint unsigned`"),
    rule!(ANY, PG, &[Kind::Float32], &[], Always, "real", Float, Lossless, "`float`, read in binary: 16777216 does not become 16777200"),
    rule!(ANY, PG, &[Kind::Float64], &[], Always, "double precision", Float, Lossless, "`double`"),
    rule!(MY, PG, &[Kind::Decimal], &[], DigitsUpTo(1000, 1000), "numeric({p},{s})", Digits, Lossless, "up to (65,30), in MariaDB (65,38)"),
    rule!(MY, PG, &[Kind::Text], TEXTS, Always, "text", Text, Checked, "refused: a zero character, which PostgreSQL has not"),
    rule!(MY, PG, &[Kind::Text], &[], LengthUpTo(10_485_760), "character varying({n})", Text, Checked, "in UTF-8 from every character set of the servers, by the source's own table (latin1 is cp1252); `char` without its padding, as the server shows it"),
    rule!(MY, PG, &[Kind::Bytes], &[], Always, "bytea", Bytes, Lossless, "`binary` with its padding; geometry and vectors in the server's form: 4 bytes SRID and WKB"),
    rule!(MY, PG, &[Kind::Date], &[], Always, "date", Calendar, Checked, "zero and partial dates: refused (`zero_date`), or NULL by `unfit_values`"),
    rule!(MY, PG, &[Kind::Time], &[], Always, "interval{fsp0}", Span, Lossless, "keeps -838:59:59 to 838:59:59"),
    rule!(MY, PG, &[Kind::Timestamp], &[], Always, "timestamp{fsp0} without time zone", Calendar, Checked, "zero dates as for `date`"),
    rule!(MY, PG, &[Kind::TimestampTz], &[], Always, "timestamp{fsp0} with time zone", Calendar, Checked, "the same instant, whatever the sessions' zones"),
    rule!(MY, PG, &[Kind::Enumeration], &[], Always, "text", Labels, Checked, "refused: index 0, which an unknown value got (`enum_empty`); the empty label is not"),
    rule!(MY, PG, &[Kind::SetOf], &[], Always, "text[]", Labels, Lossless, "in the order of the labels"),
    rule!(MARIADB, PG, &[Kind::Json], &[], Always, "json", Json, Lossless, "to the last blank and duplicate key"),
    rule!(MYSQL, PG, &[Kind::Json], &[], Always, "jsonb", Json, Checked, "numbers are worth what they are in MySQL, exponents written out; decimals, dates and times inside as the server's own text. Refused: a zero character in a text, and -0.0, whose sign `numeric` has not"),
    rule!(MY, PG, &[Kind::Uuid], &[], Always, "uuid", Uuid, Lossless, ""),
    rule!(MY, PG, &[Kind::Other], &[], Always, "text", Spelled, AsText, "`inet4`, `inet6`"),
    rule!(MY, PG, &[Kind::Bits], &[], LengthUpTo(64), "bit({n})", Bits, Lossless, ""),
    rule!(ANY, PG, &[Kind::Decimal], &[], DigitsUpTo(1000, 1000), "numeric({p},{s})", Digits, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Decimal], &[], Always, "numeric", Digits, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Text], &[], LengthUpTo(10_485_760), "character varying({n})", Text, Checked, COMPUTED),
    rule!(ANY, PG, &[Kind::Text, Kind::Enumeration, Kind::Other], &[], Always, "text", Text, Checked, COMPUTED),
    rule!(ANY, PG, &[Kind::Bytes], &[], Always, "bytea", Bytes, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Date], &[], Always, "date", Calendar, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Time], &[], Always, "time without time zone", Calendar, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Timestamp], &[], Always, "timestamp without time zone", Calendar, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::TimestampTz], &[], Always, "timestamp with time zone", Calendar, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Interval], &[], Always, "interval", Span, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Json, Kind::Array], &[], Always, "jsonb", Json, Checked, COMPUTED),
    rule!(ANY, PG, &[Kind::Uuid], &[], Always, "uuid", Uuid, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::SetOf], &[], Always, "text[]", Labels, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Bits], &[], LengthUpTo(83_886_080), "bit({n})", Bits, Lossless, COMPUTED),
    rule!(ANY, PG, &[Kind::Bits], &[], Always, "bit varying", Bits, Lossless, COMPUTED),
];
