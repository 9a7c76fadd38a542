//! Descriptions of tables as a source has them.

use crate::name::TableName;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Engine {
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Engine {
    /// The name that endpoints, metrics and the DMS API use.
    pub fn as_str(self) -> &'static str {
        match self {
            Engine::Postgres => "postgres",
            Engine::Mysql => "mysql",
            Engine::Mariadb => "mariadb",
        }
    }
}

/// A column's type, normalised over the engines. The neutral form of its values is in [`crate::value`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SqlType {
    /// Truth value.
    Boolean,
    /// 8-bit signed.
    Int8,
    /// 16-bit signed; also MySQL's YEAR.
    Int16,
    /// 32-bit signed; also MySQL's MEDIUMINT.
    Int32,
    /// 64-bit signed.
    Int64,
    /// 8-bit unsigned.
    UInt8,
    /// 16-bit unsigned.
    UInt16,
    /// 32-bit unsigned; also MEDIUMINT UNSIGNED.
    UInt32,
    /// 64-bit unsigned.
    UInt64,
    /// 32-bit IEEE 754.
    Float32,
    /// 64-bit IEEE 754.
    Float64,
    /// Decimal; no precision means unbounded.
    Decimal {
        /// Total digits.
        precision: Option<u32>,
        /// Digits after the point; PostgreSQL allows negative ones.
        scale: Option<i32>,
    },
    /// Text, with its greatest length in characters where it has one.
    Text {
        /// `None` is unbounded.
        chars_max: Option<u32>,
    },
    /// Bytes, with their greatest length where they have one.
    Bytes {
        /// `None` is unbounded.
        bytes_max: Option<u32>,
    },
    /// Calendar day.
    Date,
    /// Time of day, or MySQL's TIME, which may be negative and above 24 hours.
    Time,
    /// Date and time without a zone.
    Timestamp,
    /// An instant.
    TimestampTz,
    /// Interval; values are ISO 8601 text.
    Interval,
    /// JSON.
    Json,
    /// UUID.
    Uuid,
    /// Enumeration with its labels in order.
    Enumeration(Vec<String>),
    /// MySQL SET with its labels in order; values are labels joined by commas.
    SetOf(Vec<String>),
    /// A string of so many bits.
    Bits(u32),
    /// Array of a type; values are JSON array text in the neutral form.
    Array(Box<SqlType>),
    /// Anything else, named as the server names it; values are the server's own text.
    Other(String),
}

impl SqlType {
    /// True for whole numbers, with and without a sign.
    pub fn is_integer(&self) -> bool {
        use SqlType::{Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64};
        matches!(self, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 | UInt64)
    }

    /// The labels of an enumeration, or of the elements of an array of one.
    pub fn labels(&self) -> Option<&[String]> {
        match self {
            SqlType::Enumeration(labels) => Some(labels),
            SqlType::Array(element) => match &**element {
                SqlType::Enumeration(labels) => Some(labels),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The encoding of a table's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowEncoding {
    /// The neutral form of [`crate::value`].
    Neutral,
    /// PostgreSQL's binary send/receive form (text for cells of kind `Text`).
    Postgres,
}

/// How much of the old row the source logs for updates and deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BeforeImages {
    /// The whole row.
    Full,
    /// The identity columns alone, and for updates only when one of them changed.
    KeyOnly,
    /// Nothing: updates and deletes cannot be replicated.
    None,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// As the server spells it.
    pub name: String,
    /// Normalised type.
    pub sql_type: SqlType,
    /// As the source spells it in DDL, e.g. `character varying(64)`.
    pub native_type: String,
    /// The collation of a text as the server names it; `None` for other types, and where the source does not tell. Of PostgreSQL
    /// only what defines one that holds different texts equal, or the type `citext`.
    pub collation: Option<String>,
    /// False for NOT NULL.
    pub nullable: bool,
    /// Generated (computed) by the source: its values are not written to a target that computes them itself.
    pub generated: bool,
}

/// One version of a table's description. Columns stand in the order in which rows carry them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSchema {
    /// The table.
    pub name: TableName,
    /// The kind of database it lives in.
    pub engine: Engine,
    /// Columns in row order.
    pub columns: Vec<Column>,
    /// Indexes into `columns`, in key order; empty without a primary key.
    pub primary_key: Vec<usize>,
    /// Other unique keys, likewise.
    pub unique_keys: Vec<Vec<usize>>,
    /// The columns by which the log identifies a row: the primary key, PostgreSQL's replica identity index, or every
    /// column for a keyless table with full images. Empty when updates and deletes cannot be identified.
    pub identity: Vec<usize>,
    /// How much of the old row is logged.
    pub before_images: BeforeImages,
    /// The encoding of this table's rows.
    pub encoding: RowEncoding,
    /// Rises by one with each change of the description that the source shows.
    pub version: u32,
}

impl TableSchema {
    /// The index of a column by exact name.
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// True when no column, or only the whole row, identifies a row.
    pub fn is_keyless(&self) -> bool {
        self.primary_key.is_empty() && (self.identity.is_empty() || self.identity.len() == self.columns.len())
    }
}
