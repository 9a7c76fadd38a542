//! Translates between the host's words and the contract's.

use tidegate_model::{BeforeImages, Engine, SqlType, TableSchema};

use crate::contract::tidegate::transform::types as wit;
use crate::error::SandboxError;
use crate::plan::{Output, OutputSource, PlanInput, PlanOutcome, Rename, RowPlan, TablePlan, TextLayout};
use crate::plan_check;
use crate::told::cut;

/// Notes kept of a plan, and bytes of each and of the reason why a table is left out.
const NOTES_MAX: usize = 100;
const NOTE_BYTES_MAX: usize = 1024;

pub(crate) fn schema_to_wit(input: &PlanInput<'_>) -> wit::TableSchema {
    let schema = input.schema;
    let names = |indexes: &[usize]| indexes.iter().map(|index| schema.columns[*index].name.clone()).collect::<Vec<_>>();
    let column = |column: &tidegate_model::Column| wit::ColumnSchema {
        name: column.name.clone(),
        sql_type: type_to_wit(&column.sql_type),
        native_type: column.native_type.clone(),
        nullable: column.nullable,
        generated: column.generated,
    };
    wit::TableSchema {
        source: dialect(schema.engine),
        target: dialect(input.target),
        namespace: schema.name.schema.clone(),
        name: schema.name.name.clone(),
        columns: schema.columns.iter().map(column).collect(),
        primary_key: names(&schema.primary_key),
        unique_keys: schema.unique_keys.iter().map(|key| names(key)).collect(),
        before_images: match schema.before_images {
            BeforeImages::Full => wit::BeforeImages::Full,
            BeforeImages::KeyOnly => wit::BeforeImages::KeyOnly,
            BeforeImages::None => wit::BeforeImages::None,
        },
        schema_version: schema.version,
        hints: Vec::new(),
    }
}

fn dialect(engine: Engine) -> wit::Dialect {
    match engine {
        Engine::Postgres => wit::Dialect::Postgresql,
        Engine::Mysql => wit::Dialect::Mysql,
        Engine::Mariadb => wit::Dialect::Mariadb,
    }
}

fn type_to_wit(sql_type: &SqlType) -> wit::SqlType {
    match sql_type {
        SqlType::Array(element) => wit::SqlType::Array(scalar_to_wit(element)),
        scalar => wit::SqlType::Scalar(scalar_to_wit(scalar)),
    }
}

fn scalar_to_wit(sql_type: &SqlType) -> wit::ScalarType {
    use wit::ScalarType as S;
    match sql_type {
        SqlType::Boolean => S::Boolean,
        SqlType::Int8 => S::Int8,
        SqlType::Int16 => S::Int16,
        SqlType::Int32 => S::Int32,
        SqlType::Int64 => S::Int64,
        SqlType::UInt8 => S::Uint8,
        SqlType::UInt16 => S::Uint16,
        SqlType::UInt32 => S::Uint32,
        SqlType::UInt64 => S::Uint64,
        SqlType::Float32 => S::Float32,
        SqlType::Float64 => S::Float64,
        SqlType::Decimal { precision, scale } => S::Decimal(wit::DecimalType { precision: *precision, scale: *scale }),
        SqlType::Text { chars_max } => S::Text(*chars_max),
        SqlType::Bytes { bytes_max } => S::Bytes(*bytes_max),
        SqlType::Date => S::Date,
        SqlType::Time => S::Time,
        SqlType::Timestamp => S::Timestamp,
        SqlType::TimestampTz => S::TimestampTz,
        SqlType::Interval => S::Interval,
        SqlType::Json => S::Json,
        SqlType::Uuid => S::Uuid,
        SqlType::Enumeration(labels) => S::Enumeration(labels.clone()),
        SqlType::SetOf(labels) => S::SetOf(labels.clone()),
        SqlType::Bits(count) => S::Bits(*count),
        // WIT types cannot recurse; an array of arrays travels as JSON text like any other array.
        SqlType::Array(element) => scalar_to_wit(element),
        SqlType::Other(name) => S::Other(name.clone()),
    }
}

fn type_from_wit(sql_type: wit::SqlType) -> SqlType {
    match sql_type {
        wit::SqlType::Scalar(scalar) => scalar_from_wit(scalar),
        wit::SqlType::Array(scalar) => SqlType::Array(Box::new(scalar_from_wit(scalar))),
    }
}

fn scalar_from_wit(scalar: wit::ScalarType) -> SqlType {
    use wit::ScalarType as S;
    match scalar {
        S::Boolean => SqlType::Boolean,
        S::Int8 => SqlType::Int8,
        S::Int16 => SqlType::Int16,
        S::Int32 => SqlType::Int32,
        S::Int64 => SqlType::Int64,
        S::Uint8 => SqlType::UInt8,
        S::Uint16 => SqlType::UInt16,
        S::Uint32 => SqlType::UInt32,
        S::Uint64 => SqlType::UInt64,
        S::Float32 => SqlType::Float32,
        S::Float64 => SqlType::Float64,
        S::Decimal(digits) => SqlType::Decimal { precision: digits.precision, scale: digits.scale },
        S::Text(chars_max) => SqlType::Text { chars_max },
        S::Bytes(bytes_max) => SqlType::Bytes { bytes_max },
        S::Date => SqlType::Date,
        S::Time => SqlType::Time,
        S::Timestamp => SqlType::Timestamp,
        S::TimestampTz => SqlType::TimestampTz,
        S::Interval => SqlType::Interval,
        S::Json => SqlType::Json,
        S::Uuid => SqlType::Uuid,
        S::Enumeration(labels) => SqlType::Enumeration(labels),
        S::SetOf(labels) => SqlType::SetOf(labels),
        S::Bits(count) => SqlType::Bits(count),
        S::Other(name) => SqlType::Other(name),
    }
}

/// # Errors
/// [`SandboxError::Plan`] for what the contract can say and this host does not do.
pub(crate) fn outcome_from_wit(outcome: wit::PlanOutcome, schema: &TableSchema) -> Result<PlanOutcome, SandboxError> {
    Ok(match outcome {
        wit::PlanOutcome::Exclude(reason) => PlanOutcome::Exclude(reason.map(|reason| cut(&reason, NOTE_BYTES_MAX))),
        wit::PlanOutcome::Include(plan) => PlanOutcome::Include(plan_from_wit(plan, schema)?),
    })
}

fn plan_from_wit(plan: wit::TablePlan, schema: &TableSchema) -> Result<TablePlan, SandboxError> {
    Ok(TablePlan {
        target_namespace: plan.target_namespace,
        target_name: plan.target_name,
        renames: plan.renames.into_iter().map(|rename| Rename { column: rename.column, to: rename.to }).collect(),
        drops: plan.drops,
        outputs: plan.outputs.into_iter().map(|output| output_from_wit(output, schema)).collect::<Result<_, _>>()?,
        primary_key: plan.primary_key,
        rows: plan.rows.map(|rows| RowPlan {
            inputs: rows.inputs,
            filters: rows.needs.contains(wit::RowNeeds::FILTERS),
            deterministic: rows.needs.contains(wit::RowNeeds::DETERMINISTIC),
            partial_images: rows.needs.contains(wit::RowNeeds::PARTIAL_IMAGES),
            text_layout: match rows.text {
                wit::TextLayout::Buffers => TextLayout::Buffers,
                wit::TextLayout::Strings => TextLayout::Strings,
            },
        }),
        soft_deletes: has_hint(&plan.hints, "soft-deletes"),
        notes: notes(&plan.notes),
    })
}

/// The first ones; the last of them says how many more there are.
fn notes(all: &[String]) -> Vec<String> {
    let mut notes: Vec<String> = all.iter().take(NOTES_MAX).map(|note| cut(note, NOTE_BYTES_MAX)).collect();
    if all.len() > NOTES_MAX {
        notes.push(format!("and {} more notes", all.len() - NOTES_MAX));
    }
    notes
}

/// Hints that this host does not know are no matter.
fn has_hint(hints: &[(String, String)], name: &str) -> bool {
    hints.iter().any(|(key, value)| key == name && value == "true")
}

fn output_from_wit(output: wit::OutputColumn, schema: &TableSchema) -> Result<Output, SandboxError> {
    Ok(Output {
        name: output.name,
        sql_type: type_from_wit(output.sql_type),
        nullable: output.nullable,
        source: match output.source {
            wit::ColumnSource::Computed => OutputSource::Computed,
            wit::ColumnSource::CopyOf(column) => OutputSource::CopyOf(column),
            wit::ColumnSource::Constant(text) => OutputSource::Constant(text),
            wit::ColumnSource::Masked(mask) => return Err(plan_check::masked(schema, &mask.column)),
        },
    })
}
