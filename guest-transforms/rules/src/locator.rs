//! Which objects a rule is about.

use tidegate_transform_sdk::PlanError;
use tidegate_transform_sdk::{ScalarType, SqlType};

use crate::data_type::NAMES;
use crate::pattern::Pattern;
use crate::reader::Reader;

const KEYS: &[&str] =
    &["schema-name", "table-name", "column-name", "table-type", "data-type", "table-tablespace-name", "index-tablespace-name"];
/// Names at the source that a rule is about.
#[derive(Debug, Clone)]
pub(crate) struct Locator {
    schema: Pattern,
    table: Option<Pattern>,
    column: Option<Pattern>,
    data_type: Option<String>,
}

/// How names of a locator are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    Patterns,
    Exact,
}

impl Locator {
    /// # Errors
    /// For unknown keys, patterns that cannot be read, and tables that are not tables.
    pub(crate) fn read(rule: &Reader<'_>, names: Names) -> Result<Self, PlanError> {
        let reader = rule.object("object-locator")?;
        reader.check_keys(KEYS)?;
        reader.check_absent(&["table-tablespace-name", "index-tablespace-name"], "a task without Oracle")?;
        let pattern = |key: &str| -> Result<Option<Pattern>, PlanError> {
            let Some(text) = reader.text(key)? else { return Ok(None) };
            let pattern = match names {
                Names::Patterns => Pattern::parse(text).map_err(|problem| reader.error(key, problem))?,
                Names::Exact => Pattern::literal(text),
            };
            if names == Names::Exact && text.contains('%') {
                return Err(reader.error(key, "this rule wants an exact name, without the wildcard %"));
            }
            Ok(Some(pattern))
        };
        let schema = pattern("schema-name")?.ok_or_else(|| reader.error("schema-name", "the key \"schema-name\" is missing or empty"))?;
        match reader.text("table-type")? {
            None | Some("table" | "all") => {}
            Some("view") => return Err(reader.error("table-type", "views are not supported yet")),
            Some(other) => return Err(reader.error("table-type", format!("\"{other}\" is none of \"table\", \"view\", \"all\""))),
        }
        let data_type = reader.text("data-type")?;
        if let Some(unknown) = data_type.filter(|name| !NAMES.contains(name)) {
            return Err(reader.error("data-type", format!("the type \"{unknown}\" is not known")));
        }
        let data_type = data_type.map(str::to_owned);
        Ok(Self { schema, table: pattern("table-name")?, column: pattern("column-name")?, data_type })
    }

    /// # Errors
    /// When a name that the rule needs is missing.
    pub(crate) fn check_has(&self, rule: &Reader<'_>, table: bool, column: bool) -> Result<(), PlanError> {
        let missing = if table && self.table.is_none() {
            "table-name"
        } else if column && self.column.is_none() {
            "column-name"
        } else {
            return Ok(());
        };
        Err(rule.error(&format!("object-locator.{missing}"), format!("the key \"{missing}\" is missing or empty")))
    }

    pub(crate) fn table_has_wildcards(&self) -> bool {
        self.schema.has_wildcards() || self.table.as_ref().is_none_or(Pattern::has_wildcards)
    }

    pub(crate) fn matches_schema(&self, schema: &str) -> bool {
        self.schema.matches(schema)
    }

    pub(crate) fn matches_table(&self, schema: &str, table: &str) -> bool {
        self.schema.matches(schema) && self.table.as_ref().is_none_or(|pattern| pattern.matches(table))
    }

    pub(crate) fn matches_column(&self, schema: &str, table: &str, column: &str, sql_type: &SqlType) -> bool {
        self.matches_table(schema, table)
            && self.column.as_ref().is_none_or(|pattern| pattern.matches(column))
            && self.data_type.as_ref().is_none_or(|name| names_of(sql_type).contains(&name.as_str()))
    }
}

/// DMS's names for a type; text is both `string` and `wstring`, and large text is `clob` and `nclob` too.
pub(crate) fn names_of(sql_type: &SqlType) -> &'static [&'static str] {
    let SqlType::Scalar(scalar) = sql_type else { return &["nclob", "clob"] };
    match scalar {
        ScalarType::Boolean => &["boolean"],
        ScalarType::Int8 => &["int1"],
        ScalarType::Int16 => &["int2"],
        ScalarType::Int32 => &["int4"],
        ScalarType::Int64 => &["int8"],
        ScalarType::Uint8 => &["uint1"],
        ScalarType::Uint16 => &["uint2"],
        ScalarType::Uint32 => &["uint4"],
        ScalarType::Uint64 => &["uint8"],
        ScalarType::Float32 => &["real4"],
        ScalarType::Float64 => &["real8"],
        ScalarType::Decimal(_) => &["numeric"],
        ScalarType::Text(Some(_)) => &["string", "wstring"],
        ScalarType::Text(None) | ScalarType::Json | ScalarType::Other(_) => &["clob", "nclob", "string", "wstring"],
        ScalarType::Bytes(Some(_)) | ScalarType::Bits(_) => &["bytes"],
        ScalarType::Bytes(None) => &["blob", "bytes"],
        ScalarType::Date => &["date"],
        ScalarType::Time => &["time"],
        ScalarType::Timestamp | ScalarType::TimestampTz => &["datetime"],
        ScalarType::Interval | ScalarType::Uuid | ScalarType::Enumeration(_) => &["string", "wstring"],
        ScalarType::SetOf(_) => &["set", "string", "wstring"],
    }
}
