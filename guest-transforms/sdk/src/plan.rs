//! Says what becomes of a table, and numbers the columns that a module reads and makes.

use crate::{
    ColumnSource, HostMask, MaskKind, OutputColumn, PlanError, Rename, RowNeeds, SqlType, TablePlan, TableSchema, row_plan, unchanged,
};

/// A column that [`crate::RowTransform::row`] reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Input(pub(crate) usize);

/// A column that [`crate::RowTransform::row`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output(pub(crate) usize);

/// What is to become of a table. A fresh plan takes it as it is.
#[derive(Debug)]
pub struct Plan<'a> {
    table: &'a TableSchema,
    plan: TablePlan,
    inputs: Vec<String>,
    computed: Vec<Computed>,
    filters: bool,
    excluded: Option<String>,
}

/// A computed column.
#[derive(Debug)]
pub(crate) struct Computed {
    /// Name in the target, or the source column whose place it takes.
    name: Name,
    pub(crate) sql_type: SqlType,
    nullable: bool,
    /// Inputs that its value depends on.
    pub(crate) from: Vec<usize>,
}

#[derive(Debug)]
enum Name {
    Added(String),
    InPlaceOf(String),
}

/// A finished plan.
pub(crate) enum Finished {
    Excluded(String),
    Included { plan: TablePlan, computed: Vec<Computed>, filters: bool },
}

impl<'a> Plan<'a> {
    pub(crate) fn of(table: &'a TableSchema) -> Self {
        Self { table, plan: unchanged(), inputs: Vec::new(), computed: Vec::new(), filters: false, excluded: None }
    }

    /// The table's description.
    pub fn table(&self) -> &'a TableSchema {
        self.table
    }

    /// Reads a column; the same column again gives the same input.
    ///
    /// # Errors
    /// [`PlanError`] when the table has no such column.
    pub fn read(&mut self, column: &str) -> Result<Input, PlanError> {
        let missing = || PlanError::new(format!("table \"{}\" has no column \"{column}\"", self.table.name));
        let name = &self.table.column(column).ok_or_else(missing)?.name;
        if let Some(index) = self.inputs.iter().position(|input| input == name) {
            return Ok(Input(index));
        }
        self.inputs.push(name.clone());
        Ok(Input(self.inputs.len() - 1))
    }

    /// Reads a column of text.
    ///
    /// # Errors
    /// [`PlanError`] when the table has no such column, or it is not text.
    pub fn read_text(&mut self, column: &str) -> Result<Input, PlanError> {
        match self.table.column(column) {
            Some(found) if !found.sql_type.is_text() => {
                Err(PlanError::new(format!("column \"{column}\" of table \"{}\" is {}, not text", self.table.name, found.native_type)))
            }
            _ => self.read(column),
        }
    }

    /// Makes the values of a column that is read anew, from its old ones alone. It keeps its name and its nullability.
    pub fn replace(&mut self, input: Input, sql_type: SqlType) -> Output {
        self.replace_from(input, sql_type, &[input])
    }

    /// Makes the values of a column that is read anew, from these inputs.
    pub fn replace_from(&mut self, input: Input, sql_type: SqlType, from: &[Input]) -> Output {
        let column = self.inputs[input.0].clone();
        let nullable = self.table.column(&column).is_none_or(|column| column.nullable);
        self.compute(Name::InPlaceOf(column), sql_type, nullable, from)
    }

    /// Adds a column, nullable, whose values are made from these inputs. When the log lacks one of them (a large value
    /// that an update did not change), the column keeps its value in the target.
    pub fn add(&mut self, name: impl Into<String>, sql_type: SqlType, from: &[Input]) -> Output {
        self.compute(Name::Added(name.into()), sql_type, true, from)
    }

    /// Lets `row` discard rows. An update whose log lacks an input then stops the task, since nobody could say
    /// whether its row stays.
    pub fn filters(&mut self) {
        self.filters = true;
    }

    /// Gives a column another name.
    pub fn rename(&mut self, column: impl Into<String>, to: impl Into<String>) {
        self.plan.renames.push(Rename { column: column.into(), to: to.into() });
    }

    /// Leaves a column out of the target.
    pub fn drop(&mut self, column: impl Into<String>) {
        self.plan.drops.push(column.into());
    }

    /// Gives the target table this name.
    pub fn target(&mut self, namespace: impl Into<String>, name: impl Into<String>) {
        self.plan.target_namespace = Some(namespace.into());
        self.plan.target_name = Some(name.into());
    }

    /// Gives the target table this key, by its own column names.
    pub fn primary_key<S: Into<String>>(&mut self, columns: impl IntoIterator<Item = S>) {
        self.plan.primary_key = Some(columns.into_iter().map(Into::into).collect());
    }

    /// Adds a column with the same text in each row; `None` is NULL. Costs nothing per row.
    pub fn constant(&mut self, name: impl Into<String>, sql_type: SqlType, text: Option<String>) {
        let nullable = text.is_none();
        self.plan.outputs.push(OutputColumn { name: name.into(), sql_type, nullable, source: ColumnSource::Constant(text) });
    }

    /// Lets the host mask a column. Its values never enter the module.
    ///
    /// No host does it yet: a task refuses such a plan, and so does a test of the module.
    ///
    /// # Errors
    /// [`PlanError`] when the table has no such column.
    #[deprecated(note = "no host masks yet, and a plan that asks for it is refused: use `replace` and mask in `row`")]
    pub fn mask(&mut self, column: &str, sql_type: SqlType, mask: MaskKind) -> Result<(), PlanError> {
        let missing = || PlanError::new(format!("table \"{}\" has no column \"{column}\"", self.table.name));
        let found = self.table.column(column).ok_or_else(missing)?;
        let source = ColumnSource::Masked(HostMask { column: column.to_owned(), mask });
        let nullable = found.nullable || matches!(mask, MaskKind::Nullify);
        self.plan.outputs.push(OutputColumn { name: column.to_owned(), sql_type, nullable, source });
        Ok(())
    }

    /// Tells the tenant something when the plan is reviewed.
    pub fn note(&mut self, note: impl Into<String>) {
        self.plan.notes.push(note.into());
    }

    /// Leaves the table out, for this reason.
    pub fn exclude(&mut self, reason: impl Into<String>) {
        self.excluded = Some(reason.into());
    }

    fn compute(&mut self, name: Name, sql_type: SqlType, nullable: bool, from: &[Input]) -> Output {
        self.computed.push(Computed { name, sql_type, nullable, from: from.iter().map(|input| input.0).collect() });
        Output(self.computed.len() - 1)
    }

    pub(crate) fn finish(mut self) -> Finished {
        if let Some(reason) = self.excluded {
            return Finished::Excluded(reason);
        }
        let renames = self.plan.renames.clone();
        let target = |column: &str| renames.iter().find(|rename| rename.column == column).map_or(column, |rename| &rename.to).to_owned();
        self.plan.outputs.extend(self.computed.iter().map(|computed| OutputColumn {
            name: match &computed.name {
                Name::Added(name) => name.clone(),
                Name::InPlaceOf(column) => target(column),
            },
            sql_type: computed.sql_type.clone(),
            nullable: computed.nullable,
            source: ColumnSource::Computed,
        }));
        if self.filters || !self.computed.is_empty() {
            // A filter cannot judge an image without its inputs; columns can be left as they are, one by one.
            let form = if self.filters { RowNeeds::FILTERS } else { RowNeeds::PARTIAL_IMAGES };
            self.plan.rows = Some(row_plan(self.inputs, RowNeeds::DETERMINISTIC | form));
        }
        Finished::Included { plan: self.plan, computed: self.computed, filters: self.filters }
    }
}
