//! The plan of a table: what the modules, one after the other, make of it.
//!
//! Each module sees the table as the one before left it (the rules see the source's own). The result is one target
//! table whose columns each have one origin, and the list of stages that have row-level work. Renames, drops and keys
//! are settled here, once, and cost nothing per row.

use std::sync::Arc;

use tidegate_connector::{ColumnOrigin, Finding, Severity, SourceTable, TargetColumn, TargetTable};
use tidegate_model::{BeforeImages, Column, SqlType, TableName, TableSchema, Value};
use tidegate_sandbox::{ColumnOrigin as PlannedOrigin, Header, InputSource, OutputSource, TablePlan, TextLayout};

use crate::characters::CharacterPlan;
use crate::evolution::Definition;
use crate::large_values::{LargePlan, ValueSettings};
use crate::task::TaskError;

/// A table that takes part in the task.
#[derive(Debug, Clone)]
pub(crate) struct PlannedTable {
    pub(crate) source: Arc<SourceTable>,
    pub(crate) target: Arc<TargetTable>,
    /// Modules with row-level work, in order.
    pub(crate) stages: Vec<Stage>,
    /// Count of computed cells that an image has once all stages ran.
    pub(crate) computed: usize,
    /// A row that is deleted at the source stays, with what the modules computed for its delete.
    pub(crate) soft_deletes: bool,
    /// The definition at the source that the target's table is of: an earlier one than `source` has where a change of it is
    /// ignored.
    pub(crate) definition: Arc<Definition>,
    /// What happens to characters, before all else.
    pub(crate) characters: Arc<CharacterPlan>,
    /// What happens to large values.
    pub(crate) large: Arc<LargePlan>,
    /// Notes of the modules for the tenant.
    notes: Vec<String>,
    /// Lives as long as somebody has the plan: when it is gone, modules forget the table.
    pub(crate) in_use: Arc<()>,
}

/// The row-level work of one module on one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stage {
    /// Index of the module in the task's set.
    pub(crate) module: usize,
    /// What the row function reads, in its order.
    pub(crate) inputs: Vec<Input>,
    pub(crate) filters: bool,
    pub(crate) partial_images: bool,
    pub(crate) text_layout: TextLayout,
    /// Where its computed columns go among the image's computed cells, with their types.
    pub(crate) outputs: Vec<(usize, SqlType)>,
}

/// One input column of a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) origin: InputOrigin,
    pub(crate) sql_type: SqlType,
    pub(crate) reading: Reading,
}

/// How a value becomes one of the type that a module sees: a module may give a copy of a column another type, and what it copies
/// keeps the form of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    AsIs,
    /// By its text, which is also what the target gets.
    Spelled,
}

impl Reading {
    /// `None` where no value of `from` is one of `to`.
    fn of(from: &SqlType, to: &SqlType) -> Option<Reading> {
        use SqlType as T;
        let is_integer = |sql_type: &SqlType| {
            matches!(sql_type, T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64)
        };
        let is_written = |sql_type: &SqlType| {
            let has_words = matches!(sql_type, T::Enumeration(_) | T::SetOf(_) | T::Array(_) | T::Interval | T::Other(_));
            has_words || matches!(sql_type, T::Text { .. } | T::Decimal { .. } | T::Json)
        };
        match (from, to) {
            _ if from == to || is_integer(from) && is_integer(to) || is_written(from) && is_written(to) => Some(Reading::AsIs),
            (T::Float32, T::Float64) | (T::Bytes { .. } | T::Bits(_) | T::Uuid, T::Bytes { .. }) => Some(Reading::AsIs),
            (T::Timestamp, T::TimestampTz) | (T::TimestampTz, T::Timestamp) => Some(Reading::AsIs),
            (_, T::Text { .. }) => Some(Reading::Spelled),
            (_, T::Decimal { .. }) if is_integer(from) => Some(Reading::Spelled),
            _ => None,
        }
    }
}

/// Where the value of an input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputOrigin {
    /// The image itself.
    Column(ColumnOrigin),
    /// The source column with this index, before the change.
    Before(usize),
    /// A fact about the change.
    Header(Header),
}

/// A table on its way through the modules.
pub(crate) struct Draft {
    source: Arc<SourceTable>,
    /// The table as the next module sees it.
    view: TableSchema,
    /// Where each of its columns comes from.
    origins: Vec<ColumnOrigin>,
    stages: Vec<Stage>,
    computed: usize,
    soft_deletes: bool,
    /// True once a rule gave the table a key of its own.
    key_defined: bool,
    notes: Vec<String>,
}

impl Draft {
    /// The table as the first module sees it.
    pub(crate) fn new(source: Arc<SourceTable>) -> Self {
        let origins = (0..source.schema.columns.len()).map(ColumnOrigin::Source).collect();
        let view = source.schema.clone();
        Self { source, view, origins, stages: Vec::new(), computed: 0, soft_deletes: false, key_defined: false, notes: Vec::new() }
    }

    /// The table as the next module sees it.
    pub(crate) fn view(&self) -> &TableSchema {
        &self.view
    }

    /// Applies a module's plan, which the sandbox has checked against the view.
    pub(crate) fn apply(&mut self, module: usize, module_name: &str, plan: &TablePlan) -> Result<(), TaskError> {
        let columns = plan.target_columns(&self.view);
        self.add_stage(module, module_name, plan)?;
        self.soft_deletes |= plan.soft_deletes;
        let mut origins = Vec::with_capacity(columns.len());
        let first_output = self.stages.last().filter(|stage| stage.module == module).map(|stage| stage.outputs.clone()).unwrap_or_default();
        for column in &columns {
            origins.push(match column.origin {
                PlannedOrigin::Source(index) => self.origins[index].clone(),
                PlannedOrigin::Output { output, .. } => match &plan.outputs[output].source {
                    OutputSource::CopyOf(name) => {
                        self.view.column_index(name).map(|index| self.origins[index].clone()).ok_or_else(|| {
                            self.refuse(
                                "plan",
                                format!("module \"{module_name}\" copies the column \"{name}\", which the table does not have"),
                            )
                        })?
                    }
                    OutputSource::Constant(text) => ColumnOrigin::Constant(text.clone()),
                    OutputSource::Computed => {
                        let before = plan.outputs[..output].iter().filter(|earlier| earlier.source == OutputSource::Computed).count();
                        let (cell, _) = first_output.get(before).ok_or_else(|| {
                            self.refuse("plan", format!("module \"{module_name}\" has computed columns and no row function"))
                        })?;
                        ColumnOrigin::Computed(*cell)
                    }
                },
            });
        }
        let key = self.key(plan, &columns);
        let identity = self.carried(&self.view.identity, &columns);
        let unique_keys = self.view.unique_keys.iter().filter_map(|key| self.carried(key, &columns)).collect();
        self.key_defined |= plan.primary_key.is_some();
        self.view = TableSchema {
            name: TableName::new(
                plan.target_namespace.clone().unwrap_or_else(|| self.view.name.schema.clone()),
                plan.target_name.clone().unwrap_or_else(|| self.view.name.name.clone()),
            ),
            columns: columns.iter().map(|column| self.view_column(column)).collect(),
            primary_key: key.unwrap_or_default(),
            unique_keys,
            identity: identity.unwrap_or_default(),
            ..self.view.clone()
        };
        self.origins = origins;
        self.notes.extend(plan.notes.iter().cloned());
        Ok(())
    }

    /// Puts the table into this schema of the target, unless a module gave it another than it has at the source.
    pub(crate) fn move_to(&mut self, schema: &str) {
        if self.view.name.schema == self.source.schema.name.schema {
            schema.clone_into(&mut self.view.name.schema);
        }
    }

    /// The finished plan.
    pub(crate) fn finish(self, values: ValueSettings) -> Result<PlannedTable, TaskError> {
        let columns = self
            .view
            .columns
            .iter()
            .zip(&self.origins)
            .map(|(column, origin)| TargetColumn {
                name: column.name.clone(),
                sql_type: column.sql_type.clone(),
                nullable: column.nullable,
                origin: origin.clone(),
            })
            .collect();
        let primary_key = self.view.primary_key.clone();
        let keyless = self.source.schema.is_keyless();
        let identity = if self.key_defined {
            primary_key.clone()
        } else if keyless {
            Vec::new()
        } else {
            self.view.identity.clone()
        };
        if identity.is_empty() && !keyless {
            if self.source.schema.identity.is_empty() {
                let message = "the source's log tells no column that identifies a row: its identity index or key is gone";
                return Err(self.refuse("no_replica_identity", message.into()));
            }
            return Err(self.refuse("key_dropped", "the rules drop a column of the key, and rows could not be found again".into()));
        }
        let target = Arc::new(TargetTable {
            name: self.view.name.clone(),
            columns,
            primary_key,
            identity,
            source: self.source.clone(),
            objects: Arc::default(),
            unfit: values.unfit,
            computed: self.stages.iter().flat_map(|stage| &stage.outputs).map(|(_, sql_type)| sql_type.clone()).collect(),
        });
        let planned = PlannedTable {
            definition: Arc::new(Definition::of(&self.source).in_target(&self.view.name)),
            characters: Arc::new(CharacterPlan::new(values.characters.as_ref(), &self.source)),
            large: Arc::new(LargePlan::new(values.large, &self.source, &target)),
            source: self.source,
            target,
            stages: self.stages,
            computed: self.computed,
            soft_deletes: self.soft_deletes,
            notes: self.notes,
            in_use: Arc::default(),
        };
        planned.refuse_unknown_keys()?;
        Ok(planned)
    }

    fn add_stage(&mut self, module: usize, module_name: &str, plan: &TablePlan) -> Result<(), TaskError> {
        let Some(rows) = &plan.rows else { return Ok(()) };
        let mut inputs = Vec::with_capacity(rows.inputs.len());
        for name in &rows.inputs {
            let Some(found) = InputSource::find(name, &self.view) else {
                return Err(self.refuse("plan", format!("module \"{module_name}\" reads \"{name}\", which the table does not have")));
            };
            let origin = match found {
                InputSource::Column(index) => InputOrigin::Column(self.origins[index].clone()),
                InputSource::Header(header) => InputOrigin::Header(header),
                InputSource::Before(index) => match self.origins[index] {
                    ColumnOrigin::Source(index) => InputOrigin::Before(index),
                    ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => {
                        let what = "which another module made: only columns of the source have an old value";
                        return Err(self.refuse("plan", format!("module \"{module_name}\" reads \"{name}\", {what}")));
                    }
                },
            };
            let sql_type = found.sql_type(&self.view);
            let reading = self.reading(&origin, &sql_type).ok_or_else(|| {
                let what = "whose values cannot be read as values of the type that another module gave it: let that one compute them";
                self.refuse("plan", format!("module \"{module_name}\" reads \"{name}\", {what}"))
            })?;
            inputs.push(Input { origin, sql_type, reading });
        }
        let computed = plan.outputs.iter().filter(|output| output.source == OutputSource::Computed);
        let outputs: Vec<_> = computed.enumerate().map(|(number, output)| (self.computed + number, output.sql_type.clone())).collect();
        self.computed += outputs.len();
        self.stages.push(Stage {
            module,
            inputs,
            filters: rows.filters,
            partial_images: rows.partial_images,
            text_layout: rows.text_layout,
            outputs,
        });
        Ok(())
    }

    fn reading(&self, origin: &InputOrigin, sql_type: &SqlType) -> Option<Reading> {
        let source = |index: usize| Some(&self.source.schema.columns.get(index)?.sql_type);
        let outputs = self.stages.iter().flat_map(|stage| &stage.outputs);
        let computed = |cell: &usize| outputs.clone().find(|(output, _)| output == cell).map(|(_, sql_type)| sql_type);
        match origin {
            InputOrigin::Header(_) | InputOrigin::Column(ColumnOrigin::Constant(None)) => Some(Reading::AsIs),
            InputOrigin::Column(ColumnOrigin::Constant(Some(text))) => constant(text, sql_type).map(|_| Reading::AsIs),
            InputOrigin::Column(ColumnOrigin::Source(index)) | InputOrigin::Before(index) => Reading::of(source(*index)?, sql_type),
            InputOrigin::Column(ColumnOrigin::Computed(cell)) => Reading::of(computed(cell)?, sql_type),
        }
    }

    fn view_column(&self, column: &tidegate_sandbox::TargetColumn) -> Column {
        let native = match column.origin {
            PlannedOrigin::Source(index) => self.view.columns.get(index),
            PlannedOrigin::Output { .. } => None,
        };
        Column {
            name: column.name.clone(),
            sql_type: column.sql_type.clone(),
            native_type: native.map(|column| column.native_type.clone()).unwrap_or_default(),
            collation: native.and_then(|column| column.collation.clone()),
            nullable: column.nullable,
            generated: native.is_some_and(|column| column.generated),
        }
    }

    fn key(&self, plan: &TablePlan, columns: &[tidegate_sandbox::TargetColumn]) -> Option<Vec<usize>> {
        match &plan.primary_key {
            Some(names) => names.iter().map(|name| columns.iter().position(|column| column.name == *name)).collect(),
            None => self.carried(&self.view.primary_key, columns),
        }
    }

    /// Where columns of the view stand among the target columns; `None` when one is dropped.
    fn carried(&self, indexes: &[usize], columns: &[tidegate_sandbox::TargetColumn]) -> Option<Vec<usize>> {
        let stands = |wanted: &usize| {
            columns.iter().position(|column| match column.origin {
                PlannedOrigin::Source(index) => index == *wanted,
                PlannedOrigin::Output { replaces, .. } => replaces == Some(*wanted),
            })
        };
        indexes.iter().map(stands).collect()
    }

    fn refuse(&self, code: &'static str, what: String) -> TaskError {
        TaskError::Plan { code, message: format!("table \"{}\": {what}", self.source.schema.name), hint: None }
    }
}

/// The value of a constant column, where it is one that modules read; `None` for a text that is none of the type.
pub(crate) fn constant<'a>(text: &'a str, sql_type: &SqlType) -> Option<Value<'a>> {
    use SqlType as T;
    Some(match sql_type {
        T::Boolean => Value::Bool(text.parse().ok()?),
        T::Int8 | T::Int16 | T::Int32 | T::Int64 => Value::Int(text.parse().ok()?),
        T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => Value::UInt(text.parse().ok()?),
        T::Float32 | T::Float64 => Value::Float64(text.parse().ok()?),
        T::Bytes { .. } | T::Bits(_) | T::Uuid | T::Date | T::Time | T::Timestamp | T::TimestampTz => return None,
        T::Text { .. } | T::Decimal { .. } | T::Json | T::Enumeration(_) | T::SetOf(_) | T::Array(_) | T::Interval | T::Other(_) => {
            Value::Text(text)
        }
    })
}

impl PlannedTable {
    /// The same, whose use is over by itself: modules learn it anew.
    pub(crate) fn used_apart(&self) -> PlannedTable {
        PlannedTable { in_use: Arc::default(), ..self.clone() }
    }

    /// The same plan for another form of the target's table, whose rows are of this definition.
    pub(crate) fn with_target(&self, target: Arc<TargetTable>, definition: Arc<Definition>) -> PlannedTable {
        PlannedTable { target, definition, ..self.clone() }
    }

    /// True when a module asks what changes tell beside their rows.
    pub(crate) fn reads_headers(&self) -> bool {
        self.stages.iter().flat_map(|stage| &stage.inputs).any(|input| matches!(input.origin, InputOrigin::Header(_)))
    }

    /// True when a module asks for values before the change.
    pub(crate) fn reads_before(&self) -> bool {
        self.stages.iter().flat_map(|stage| &stage.inputs).any(|input| matches!(input.origin, InputOrigin::Before(_)))
    }

    /// What the user should know about the plan.
    pub(crate) fn findings(&self, captures: bool) -> Vec<Finding> {
        let schema = &self.source.schema;
        let object = || format!("table \"{}\"", schema.name);
        let mut findings: Vec<Finding> = self
            .notes
            .iter()
            .map(|note| Finding { severity: Severity::Info, ..Finding::warning("module_note", object(), note.clone(), "nothing to do") })
            .collect();
        if captures && schema.before_images == BeforeImages::None {
            findings.push(
                Finding::error("no_identity", object(), "no primary key and no replica identity", "rows that the log identifies")
                    .fix(format!("alter table {} replica identity full", tidegate_connector::Dialect::POSTGRES.table(&schema.name))),
            );
        }
        findings.extend(self.large.findings());
        findings.extend(self.characters.finding(&self.source));
        findings
    }

    /// Every column that identifies a row must be known in the old images that the log has.
    fn refuse_unknown_keys(&self) -> Result<(), TaskError> {
        let schema = &self.source.schema;
        if schema.before_images != BeforeImages::KeyOnly {
            return Ok(());
        }
        let logged = |origin: &ColumnOrigin| match origin {
            ColumnOrigin::Source(index) => schema.identity.contains(index),
            ColumnOrigin::Computed(cell) => {
                self.stages.iter().filter(|stage| stage.outputs.iter().any(|(output, _)| output == cell)).all(|stage| {
                    stage.inputs.iter().all(|input| {
                        matches!(input.origin, InputOrigin::Column(ColumnOrigin::Source(index)) if schema.identity.contains(&index))
                    })
                })
            }
            ColumnOrigin::Constant(_) => true,
        };
        match self.target.identity.iter().map(|index| &self.target.columns[*index]).find(|column| !logged(&column.origin)) {
            None => Ok(()),
            Some(column) => Err(TaskError::Plan {
                code: "key_not_logged",
                message: format!(
                    "table \"{}\": the target's key has the column \"{}\", whose old value the source does not log",
                    schema.name, column.name
                ),
                hint: Some(format!("alter table {} replica identity full", tidegate_connector::Dialect::POSTGRES.table(&schema.name))),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::SqlType;
    use tidegate_sandbox::{Output, RowPlan};

    use super::*;
    use crate::test_tables::source_table;

    const TEXT: SqlType = SqlType::Text { chars_max: None };

    #[test]
    fn a_computed_column_that_is_copied_under_another_type_keeps_the_type_of_its_values() {
        let output = |name: &str, sql_type, source| Output { name: name.into(), sql_type, nullable: true, source };
        let rows = |inputs: &[&str]| RowPlan {
            inputs: inputs.iter().map(|name| (*name).to_owned()).collect(),
            filters: false,
            deterministic: true,
            partial_images: false,
            text_layout: TextLayout::Buffers,
        };
        let mut draft = Draft::new(Arc::new(source_table(&[("id", SqlType::Int64)])));
        let outputs = vec![output("a", SqlType::Int64, OutputSource::Computed), output("b", SqlType::Date, OutputSource::Computed)];
        draft.apply(0, "first", &TablePlan { outputs, rows: Some(rows(&["id"])), ..TablePlan::unchanged() }).expect("it fits");
        let outputs = vec![output("copy", TEXT, OutputSource::CopyOf("a".into())), output("c", TEXT, OutputSource::Computed)];
        draft.apply(1, "second", &TablePlan { outputs, rows: Some(rows(&["b"])), ..TablePlan::unchanged() }).expect("it fits");
        let target = draft.finish(ValueSettings::default()).expect("it fits").target;
        assert_eq!(target.computed, [SqlType::Int64, SqlType::Date, TEXT]);
        let found: Vec<_> = target.columns.iter().map(|column| (&*column.name, &column.sql_type, &column.origin)).collect();
        let wanted = [
            ("id", &SqlType::Int64, &ColumnOrigin::Source(0)),
            ("a", &SqlType::Int64, &ColumnOrigin::Computed(0)),
            ("b", &SqlType::Date, &ColumnOrigin::Computed(1)),
            ("copy", &TEXT, &ColumnOrigin::Computed(0)),
            ("c", &TEXT, &ColumnOrigin::Computed(2)),
        ];
        assert_eq!(found, wanted);
    }
}
