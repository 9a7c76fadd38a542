//! How the cells of each column get into the target, decided once per table.
//!
//! A PostgreSQL source's cell of the same type is copied; anything else is decoded and written in the form of the real
//! column ([`Form`]). A type without a binary form travels as text and is cast by the server, in a staging table or in a
//! statement; a table without such columns can take COPY straight.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut, Bytes, BytesMut};
use tidegate_connector::{ColumnOrigin, ConnectorError, Dialect, Image, ImageCells, RowFault, TargetTable, Unfit};
use tidegate_model::schema::RowEncoding;
use tidegate_model::{Cell, SqlType, Value, shared_part};
use tokio_postgres::types::{Kind, Type};

use super::labels::Labels;
use super::real::{RealColumn, RealTable, without_modifiers};
use crate::types::encode::{EncodeError, Form, JSONB_VERSION, is_kept, put_value};

/// Bytes of one value. Source: `MaxAllocSize` of memutils.h, less the length that stands in front of a value in memory.
const FIELD_BYTES_MAX: i32 = 0x3fff_ffff - 4;

/// Numbers plans, so that what a session prepared for one is not used for another.
static NEXT_PLAN: AtomicU64 = AtomicU64::new(1);

/// Types whose own equality is missing, or is true of values that differ. Keyless rows are compared by their text.
const WITHOUT_EQUALITY: &[&str] = &["json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle", "jsonpath", "aclitem"];

/// A table's plan.
#[derive(Debug)]
pub(crate) struct TablePlan {
    /// New for each plan.
    pub(crate) id: u64,
    pub(crate) table: Arc<TargetTable>,
    /// The quoted name.
    pub(crate) name_sql: String,
    /// Columns that are written.
    pub(crate) columns: Vec<ColumnPlan>,
    /// Indexes into `columns`; empty for the whole row.
    pub(crate) identity: Vec<usize>,
    pub(crate) primary_key: Vec<usize>,
    /// The table has a column GENERATED ALWAYS AS IDENTITY.
    pub(crate) overrides_identity: bool,
    pub(crate) is_partitioned: bool,
    /// Rows may trip over each other in a unique index beside the primary key, or in an exclusion constraint.
    pub(crate) has_secondary_keys: bool,
    /// A row that is deleted and inserted again loses nothing: the table has no columns of its own that somebody fills.
    pub(crate) is_whole: bool,
    /// Foreign keys refer to the table.
    pub(crate) is_referenced: bool,
}

/// A column's plan.
#[derive(Debug)]
pub(crate) struct ColumnPlan {
    /// The quoted name.
    pub(crate) name_sql: String,
    name: String,
    origin: ColumnOrigin,
    path: Path,
    /// The type of its values on the way, in SQL and for the driver.
    pub(crate) wire_sql: String,
    pub(crate) wire: Type,
    /// The type that SQL casts its values to, when they travel as text.
    pub(crate) cast: Option<String>,
    pub(crate) is_nullable: bool,
    /// GENERATED ALWAYS AS IDENTITY: no UPDATE may name it.
    pub(crate) is_always: bool,
    pub(crate) compares_as_text: bool,
    /// Of an enumeration that gets the source's labels as they are.
    labels: Option<Labels>,
}

#[derive(Debug)]
enum Path {
    /// Bytes as they are.
    Pass,
    /// An array as it is, but for the id of its elements' type.
    PassArray(u32),
    /// Decoded by the source's decoder.
    Decode(Form),
    /// Decoded from the neutral form.
    Neutral(SqlType, Form),
    /// The same bytes for each row; `None` is NULL.
    Constant(Option<Bytes>),
}

impl TablePlan {
    /// # Errors
    /// Table-definite when the real table does not fit what is wanted.
    pub(crate) fn new(table: &Arc<TargetTable>, real: &RealTable) -> Result<TablePlan, ConnectorError> {
        if !matches!(real.kind, b'r' | b'p') {
            return Err(misfit(table, "table_kind", "found a view, foreign table or other relation, wanted a table".into()));
        }
        let mut columns = Vec::with_capacity(table.columns.len());
        let mut places = Vec::with_capacity(table.columns.len());
        for (index, wanted) in table.columns.iter().enumerate() {
            let Some(found) = real.columns.iter().find(|column| column.name == wanted.name) else {
                return Err(misfit(table, "column_missing", format!("found no column \"{}\", wanted it", wanted.name)).hint(format!(
                    "alter table {} add column {} {}",
                    Dialect::POSTGRES.table(&table.name),
                    Dialect::POSTGRES.identifier(&wanted.name),
                    super::ddl::neutral_type(&wanted.sql_type, table.source.schema.engine, "")
                )));
            };
            if found.is_generated {
                let computes_itself =
                    matches!(wanted.origin, ColumnOrigin::Source(at) if table.source.schema.columns.get(at).is_some_and(|c| c.generated));
                if computes_itself {
                    places.push(None);
                    continue;
                }
                let found = format!("found column \"{}\" generated by the target, wanted one that can be written", wanted.name);
                return Err(misfit(table, "column_generated", found).hint("drop the column's expression, or leave the column out"));
            }
            places.push(Some(columns.len()));
            columns.push(ColumnPlan::new(table, index, found)?);
        }
        check_extra_columns(table, real)?;
        check_key(table, real)?;
        let placed = |indexes: &[usize]| -> Result<Vec<usize>, ConnectorError> {
            let at = indexes.iter().map(|index| places.get(*index).copied().flatten()).collect::<Option<Vec<_>>>();
            at.ok_or_else(|| misfit(table, "column_generated", "found a key column that is generated by the target".into()))
        };
        Ok(TablePlan {
            id: NEXT_PLAN.fetch_add(1, Ordering::Relaxed),
            table: Arc::clone(table),
            name_sql: Dialect::POSTGRES.table(&table.name),
            identity: placed(&table.identity)?,
            primary_key: placed(&table.primary_key)?,
            overrides_identity: real.columns.iter().any(|column| column.is_identity_always),
            is_partitioned: real.kind == b'p',
            has_secondary_keys: real.has_secondary_keys,
            is_whole: real
                .columns
                .iter()
                .all(|column| column.is_generated || table.columns.iter().any(|wanted| wanted.name == column.name)),
            is_referenced: real.is_referenced,
            columns,
        })
    }

    /// COPY can write the table itself.
    pub(crate) fn is_direct(&self) -> bool {
        self.columns.iter().all(|column| column.cast.is_none())
    }

    /// Appends the length and the bytes of a column's cell; NULL for one that is not known, and then returns false.
    ///
    /// # Errors
    /// Table-definite, with the column and never the value, when the cell cannot be converted.
    pub(crate) fn put_cell(&self, column: usize, image: &impl ImageCells, out: &mut BytesMut) -> Result<bool, ConnectorError> {
        let plan = &self.columns[column];
        if plan.lacks_label(image) {
            return Err(self.unknown_label(plan));
        }
        let start = out.len();
        out.put_i32(-1);
        match plan.put(&self.table, image, out) {
            Ok(Put::Null) => Ok(true),
            Ok(Put::Unknown) => Ok(false),
            Ok(Put::Bytes) => {
                let length = self.field_length(plan, out.len() - start - 4)?;
                out[start..start + 4].copy_from_slice(&length.to_be_bytes());
                Ok(true)
            }
            Err(EncodeError::Unfit(found)) if self.table.unfit.is_null(found) && plan.is_nullable && !self.identity.contains(&column) => {
                // Never in what identifies the row: it could not be found again.
                out.truncate(start + 4);
                Ok(true)
            }
            Err(EncodeError::Unfit(found)) => {
                let reason = EncodeError::Unfit(found).to_string();
                Err(self.refused(plan, found.code(), &reason).hint(found.hint()))
            }
            Err(EncodeError::Misfit(reason)) => Err(self.refused(plan, "value_refused", &reason)),
        }
    }

    /// The bytes of a large cell that go to the target as they are; `None` for every other cell, and for one at fault, which
    /// [`TablePlan::put_cell`] refuses.
    ///
    /// # Errors
    /// Table-definite (`value_too_large`), with the column, for a value that no column of PostgreSQL holds.
    pub(crate) fn large_cell(&self, column: usize, image: &impl ImageCells) -> Result<Option<Large>, ConnectorError> {
        let plan = &self.columns[column];
        let ColumnOrigin::Source(index) = plan.origin else { return Ok(None) };
        let (Some(whole), Some(cell)) = (image.large_cell(index), image.cell(index)) else { return Ok(None) };
        let (head, bytes) = match (&plan.path, cell) {
            (Path::Pass, Cell::Binary(_)) | (Path::Decode(Form::ViaText), Cell::Text(_)) => (None, Some(whole.clone())),
            (Path::Decode(form), cell) => match self.table.source.decoder.decode(index, cell) {
                Ok(Value::Bytes(found)) if *form == Form::Bytea => (None, shared_part(whole, found)),
                Ok(Value::Text(found) | Value::Json(found)) if is_kept(*form, found) => {
                    ((*form == Form::Jsonb).then_some(JSONB_VERSION), shared_part(whole, found.as_bytes()))
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let length = self.field_length(plan, bytes.len() + usize::from(head.is_some()))?;
        Ok(Some(Large { length, head, bytes }))
    }

    /// Appends the length and the bytes of a text of a column that [takes](ColumnPlan::takes_texts) it.
    ///
    /// # Errors
    /// Table-definite (`value_too_large`).
    #[inline]
    pub(crate) fn put_text(&self, column: usize, text: &str, out: &mut BytesMut) -> Result<(), ConnectorError> {
        out.put_i32(self.field_length(&self.columns[column], text.len())?);
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Bytes of a field as the protocol wants them.
    #[inline]
    fn field_length(&self, plan: &ColumnPlan, bytes: usize) -> Result<i32, ConnectorError> {
        match i32::try_from(bytes) {
            Ok(length) if length <= FIELD_BYTES_MAX => Ok(length),
            _ => {
                let reason = format!("found a value of {bytes} bytes, wanted at most {FIELD_BYTES_MAX}, PostgreSQL's limit");
                Err(self.refused(plan, "value_too_large", &reason))
            }
        }
    }

    /// True when the image says what the column holds.
    pub(crate) fn knows(&self, column: usize, image: &Image) -> bool {
        match self.columns[column].origin {
            ColumnOrigin::Source(index) => image.row.cell(index).is_some_and(|cell| cell.is_known()),
            ColumnOrigin::Computed(index) => image.computed.as_ref().and_then(|row| row.cell(index)).is_some_and(|cell| cell.is_known()),
            ColumnOrigin::Constant(_) => true,
        }
    }

    /// Text of constants that the server must convert: column, text, type and the function that makes the binary form.
    pub(crate) fn set_constant(&mut self, column: usize, bytes: Bytes) {
        self.columns[column].path = Path::Constant(Some(bytes));
    }

    /// Not of a row alone: every row with the label is refused until the type has it.
    fn unknown_label(&self, column: &ColumnPlan) -> ConnectorError {
        let found = format!("found a label in column \"{}\" that its type does not have", column.name);
        misfit(&self.table, "enum_labels", found).hint("add the labels of the source's type to the target's: alter type … add value …")
    }

    fn refused(&self, column: &ColumnPlan, code: &'static str, reason: &str) -> ConnectorError {
        let message = format!("column \"{}\" of table \"{}\": {reason}", column.name, self.table.name);
        ConnectorError::table(&self.table.source.schema.name, code, message)
            .of_a_row(RowFault::Value)
            .hint("change the value at the source and reload the table, or take the column out with a remove-column rule")
    }
}

/// A large cell in the form of its column.
pub(crate) struct Large {
    /// Of head and bytes.
    pub(crate) length: i32,
    /// In front of the bytes.
    pub(crate) head: Option<u8>,
    pub(crate) bytes: Bytes,
}

enum Put {
    Null,
    Unknown,
    Bytes,
}

impl ColumnPlan {
    fn new(table: &Arc<TargetTable>, index: usize, real: &RealColumn) -> Result<ColumnPlan, ConnectorError> {
        let wanted = &table.columns[index];
        let (path, via_text) = match &wanted.origin {
            ColumnOrigin::Source(at) => source_path(table, *at, real)?,
            ColumnOrigin::Computed(cell) => {
                let Some(computed) = table.computed.get(*cell) else {
                    let found = format!("found no computed cell #{cell} for column \"{}\"", wanted.name);
                    return Err(misfit(table, "column_missing", found));
                };
                let form = form_for(table, computed, real)?;
                (Path::Neutral(computed.clone(), form), form == Form::ViaText)
            }
            ColumnOrigin::Constant(None) => (Path::Constant(None), !real.has_binary),
            // The bytes are asked of the server; until then, and for types without a binary form, they are the text.
            ColumnOrigin::Constant(Some(text)) => (Path::Constant(Some(Bytes::copy_from_slice(text.as_bytes()))), !real.has_binary),
        };
        let type_sql = format!("{}.{}", Dialect::POSTGRES.identifier(&real.type_schema), Dialect::POSTGRES.identifier(&real.type_name));
        let own_type = || {
            Type::from_oid(real.type_oid)
                .unwrap_or_else(|| Type::new(real.type_name.clone(), real.type_oid, Kind::Simple, real.type_schema.clone()))
        };
        let as_text = WITHOUT_EQUALITY.contains(&real.type_name.trim_start_matches('_')) || (!real.is_built_in() && real.type_kind != b'e');
        let takes_labels = matches!(path, Path::Pass | Path::PassArray(_)) && (real.type_kind == b'e' || real.element_kind == b'e');
        Ok(ColumnPlan {
            name_sql: Dialect::POSTGRES.identifier(&wanted.name),
            name: wanted.name.clone(),
            origin: wanted.origin.clone(),
            path,
            wire: if via_text { Type::TEXT } else { own_type() },
            wire_sql: if via_text { "text".into() } else { type_sql.clone() },
            cast: via_text.then_some(type_sql),
            is_nullable: !real.not_null,
            is_always: real.is_identity_always,
            compares_as_text: as_text,
            labels: takes_labels.then(|| Labels::of(real)),
        })
    }

    /// The source's column whose binary cells go to this one as they are, whatever they hold.
    pub(crate) fn passes(&self) -> Option<usize> {
        match (&self.path, &self.labels, &self.origin) {
            (Path::Pass, None, ColumnOrigin::Source(index)) => Some(*index),
            _ => None,
        }
    }

    /// The computed cell whose texts go to this column as they are, those with a NUL character aside.
    pub(crate) fn takes_texts(&self) -> Option<usize> {
        match (&self.path, &self.origin) {
            (Path::Neutral(_, Form::Text | Form::ViaText | Form::Json), ColumnOrigin::Computed(index)) => Some(*index),
            _ => None,
        }
    }

    fn lacks_label(&self, image: &impl ImageCells) -> bool {
        let (Some(labels), ColumnOrigin::Source(index)) = (&self.labels, &self.origin) else { return false };
        image.cell(*index).is_some_and(|cell| !labels.has(cell))
    }

    fn put(&self, table: &TargetTable, image: &impl ImageCells, out: &mut BytesMut) -> Result<Put, EncodeError> {
        let cell = match self.origin {
            ColumnOrigin::Source(index) => image.cell(index),
            ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => None,
        };
        let (form, value) = match (&self.path, cell) {
            (Path::Constant(None), _) => return Ok(Put::Null),
            (Path::Constant(Some(bytes)), _) => {
                out.put_slice(bytes);
                return Ok(Put::Bytes);
            }
            (Path::Neutral(sql_type, form), _) => {
                let ColumnOrigin::Computed(index) = self.origin else {
                    return Err("found a computed form for a column of the source".into());
                };
                let Some(value) = image.computed(index, sql_type).map_err(|error| error.to_string())? else { return Ok(Put::Unknown) };
                (form, value)
            }
            (_, None | Some(Cell::Unchanged | Cell::Absent)) => return Ok(Put::Unknown),
            (_, Some(Cell::Null)) => return Ok(Put::Null),
            (Path::Pass, Some(Cell::Binary(bytes))) => {
                out.put_slice(bytes);
                return Ok(Put::Bytes);
            }
            (Path::PassArray(element), Some(Cell::Binary(bytes))) => {
                // Dimensions, flags, then the element type's id: the one part that differs between databases.
                let (head, rest) = bytes.split_at_checked(8).filter(|(_, rest)| rest.len() >= 4).ok_or("found bytes that are no array")?;
                out.put_slice(head);
                out.put_u32(*element);
                out.put_slice(&rest[4..]);
                return Ok(Put::Bytes);
            }
            (Path::Pass | Path::PassArray(_), Some(Cell::Faulty(fault))) => return Err(EncodeError::Unfit(Unfit::Unread(fault))),
            (Path::Pass | Path::PassArray(_), Some(Cell::Text(_))) => {
                return Err("found a value in text form, wanted the binary form of its type".into());
            }
            // The server's own text, for the server to read.
            (Path::Decode(Form::ViaText), Some(Cell::Text(bytes))) => {
                out.put_slice(bytes);
                return Ok(Put::Bytes);
            }
            (Path::Decode(form), Some(cell)) => {
                let ColumnOrigin::Source(index) = self.origin else { return Err("found a decoder for a computed column".into()) };
                let decoded = table.source.decoder.decode(index, cell);
                (form, decoded.map_err(|error| error.unfit.map_or(EncodeError::Misfit(error.reason), EncodeError::Unfit))?)
            }
        };
        if matches!(value, Value::Null) {
            return Ok(Put::Null);
        }
        put_value(*form, &value, out)?;
        Ok(Put::Bytes)
    }
}

/// The path of a source column, and whether its values travel as text.
fn source_path(table: &TargetTable, at: usize, real: &RealColumn) -> Result<(Path, bool), ConnectorError> {
    let schema = &table.source.schema;
    let Some(column) = schema.columns.get(at) else {
        return Err(misfit(table, "column_missing", format!("found no column #{at} in the source's row")));
    };
    if schema.encoding == RowEncoding::Postgres {
        let native = without_modifiers(&column.native_type);
        let texts = ["text", "character varying"];
        let is_enum = match &column.sql_type {
            SqlType::Enumeration(_) => real.type_kind == b'e',
            SqlType::Array(element) => matches!(**element, SqlType::Enumeration(_)) && real.element_kind == b'e',
            _ => false,
        };
        let is_same = native == real.native || (texts.contains(&native.as_str()) && texts.contains(&real.native.as_str()));
        if (is_same || is_enum) && holds_object_ids(real) {
            let found = format!("column \"{}\" is of type {}, whose values are object ids of one database", real.name, real.native);
            return Err(misfit(table, "column_type", found).hint("leave the column out, or replicate it as text"));
        }
        if is_enum {
            check_labels(table, column, real)?;
        }
        let is_array_of_base = matches!(&column.sql_type, SqlType::Array(element)
            if super::ddl::array_type(element).is_some_and(|base| without_modifiers(&base) == real.native));
        if !is_same && is_array_of_base && real.has_binary {
            // Elements of a domain have the bytes of the type below it.
            return Ok((Path::PassArray(real.element_oid), false));
        }
        if (is_same || is_enum) && real.has_binary {
            let path = if real.is_array_of_user_type() { Path::PassArray(real.element_oid) } else { Path::Pass };
            return Ok((path, false));
        }
    }
    let form = form_for(table, &column.sql_type, real)?;
    Ok((Path::Decode(form), form == Form::ViaText))
}

fn form_for(table: &TargetTable, value_type: &SqlType, real: &RealColumn) -> Result<Form, ConnectorError> {
    if real.type_kind == b'e' {
        return Ok(Form::Text);
    }
    if !real.is_built_in() {
        return Ok(Form::ViaText);
    }
    let form = Form::of(value_type, &real.type_name);
    let is_json_array = matches!(value_type, SqlType::Array(_)) && form == Form::ViaText && real.type_name != "json";
    // Bytes have no text that another type would read back.
    let is_opaque = matches!(value_type, SqlType::Bytes { .. }) && form != Form::Bytea;
    if is_json_array || is_opaque {
        let found = format!("found column \"{}\" of type {}, which cannot take values of type {value_type:?}", real.name, real.native);
        return Err(misfit(table, "column_type", found).hint("change the column's type, or let the table be created anew"));
    }
    Ok(form)
}

/// `regclass` and its kin. Source: PostgreSQL manual, "Object Identifier Types".
fn holds_object_ids(real: &RealColumn) -> bool {
    real.is_built_in() && is_object_id(real.type_name.trim_start_matches('_'))
}

/// True for the unqualified names of such types.
pub(crate) fn is_object_id(type_name: &str) -> bool {
    type_name.starts_with("reg") && !type_name.contains('.')
}

fn check_labels(table: &TargetTable, column: &tidegate_model::Column, real: &RealColumn) -> Result<(), ConnectorError> {
    let Some(wanted) = column.sql_type.labels() else { return Ok(()) };
    match wanted.iter().find(|label| !real.labels.contains(label)) {
        None => Ok(()),
        Some(missing) => {
            let found = format!("found type {} of column \"{}\" without a label of the source's type", real.native, real.name);
            let (label, name) = (Dialect::POSTGRES.literal(missing), real.native.trim_end_matches("[]"));
            Err(misfit(table, "enum_labels", found).hint(format!("alter type {name} add value {label}")))
        }
    }
}

fn check_extra_columns(table: &TargetTable, real: &RealTable) -> Result<(), ConnectorError> {
    let is_wanted = |name: &str| table.columns.iter().any(|column| column.name == name);
    let fills_itself = |column: &RealColumn| !column.not_null || column.has_default || column.is_generated || column.is_identity;
    match real.columns.iter().find(|column| !is_wanted(&column.name) && !fills_itself(column)) {
        None => Ok(()),
        Some(extra) => {
            let name = Dialect::POSTGRES.identifier(&extra.name);
            let found = format!("found column {name} NOT NULL without default, for which the source has no values");
            let target = Dialect::POSTGRES.table(&table.name);
            Err(misfit(table, "column_extra", found).hint(format!("alter table {target} alter column {name} drop not null")))
        }
    }
}

fn check_key(table: &TargetTable, real: &RealTable) -> Result<(), ConnectorError> {
    if table.primary_key.is_empty() {
        return Ok(());
    }
    let wanted: Vec<&str> =
        table.primary_key.iter().filter_map(|index| table.columns.get(*index)).map(|column| column.name.as_str()).collect();
    let fits = |key: &Vec<String>| key.len() == wanted.len() && wanted.iter().all(|name| key.iter().any(|column| column == name));
    if real.unique_keys.iter().any(fits) {
        return Ok(());
    }
    let names = Dialect::POSTGRES.identifiers(wanted);
    let target = Dialect::POSTGRES.table(&table.name);
    Err(misfit(table, "key_missing", format!("found no unique index on exactly ({names}), wanted one"))
        .hint(format!("alter table {target} add primary key ({names})")))
}

pub(crate) fn misfit(table: &TargetTable, code: &'static str, found: String) -> ConnectorError {
    ConnectorError::table(&table.source.schema.name, code, format!("table \"{}\" of the target: {found}", table.name))
}
