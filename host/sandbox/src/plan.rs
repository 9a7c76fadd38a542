//! What a module wants done with a table.

use tidegate_model::{Engine, SqlType, TableSchema};

/// What a plan is made from, besides the configuration.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// The table at the source.
    pub schema: &'a TableSchema,
    /// The kind of database that it goes to.
    pub target: Engine,
}

/// The answer of a module for one table. Two answers for the same arguments must be equal: a caller that plans again
/// in a fresh sandbox compares them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanOutcome {
    /// The table does not take part; the reason, if the module tells one.
    Exclude(Option<String>),
    /// The table takes part.
    Include(TablePlan),
}

/// What becomes of a table that takes part. Checked against its schema: names exist, target columns are unique, the
/// key can be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablePlan {
    /// Schema or database in the target; `None`: as the source.
    pub target_namespace: Option<String>,
    /// Name in the target; `None`: as the source.
    pub target_name: Option<String>,
    /// Columns with another name in the target.
    pub renames: Vec<Rename>,
    /// Source columns that the target does not get.
    pub drops: Vec<String>,
    /// Added and replaced columns.
    pub outputs: Vec<Output>,
    /// Target column names; `None`: the source key after renames.
    pub primary_key: Option<Vec<String>>,
    /// The row-level work; `None`: `transform` is never called for the table.
    pub rows: Option<RowPlan>,
    /// For the tenant.
    pub notes: Vec<String>,
    /// A delete at the source stays in the target as an update to the image that the module computed for it.
    pub soft_deletes: bool,
}

/// A column with another name in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The source column.
    pub column: String,
    /// Its name in the target.
    pub to: String,
}

/// An added column, or a replacement of the target column of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Name in the target.
    pub name: String,
    /// Type in the target.
    pub sql_type: SqlType,
    /// False for NOT NULL.
    pub nullable: bool,
    /// Where its value comes from.
    pub source: OutputSource,
}

/// Where the value of an output column comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputSource {
    /// From `transform`: the columns of [`crate::BatchResult`] are the computed outputs in the plan's order.
    Computed,
    /// From the source column of this name; never enters the sandbox.
    CopyOf(String),
    /// The same text for each row; `None` is NULL.
    Constant(Option<String>),
}

/// How a module wants text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextLayout {
    /// Offsets and bytes.
    Buffers,
    /// One string a row.
    Strings,
}

/// The row-level work on a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPlan {
    /// What `transform` reads, in its order: names that [`crate::InputSource::find`] knows.
    pub inputs: Vec<String>,
    /// `transform` may drop rows.
    pub filters: bool,
    /// Same input, same output.
    pub deterministic: bool,
    /// Images that lack a wanted column are sent too.
    pub partial_images: bool,
    /// How text is passed.
    pub text_layout: TextLayout,
}

/// A column of the target table as planned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetColumn {
    /// Name in the target.
    pub name: String,
    /// Normalised type.
    pub sql_type: SqlType,
    /// False for NOT NULL.
    pub nullable: bool,
    /// Where its value comes from.
    pub origin: ColumnOrigin,
}

/// Where the value of a target column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnOrigin {
    /// The source column with this index.
    Source(usize),
    /// [`TablePlan::outputs`] with this index. For a replacement, the source column that stood there before.
    Output {
        /// Index into the plan's outputs.
        output: usize,
        /// Index of the source column whose place (and name) it takes.
        replaces: Option<usize>,
    },
}

impl TablePlan {
    /// A plan that takes the table as it is.
    pub fn unchanged() -> Self {
        Self {
            target_namespace: None,
            target_name: None,
            renames: Vec::new(),
            drops: Vec::new(),
            outputs: Vec::new(),
            primary_key: None,
            rows: None,
            notes: Vec::new(),
            soft_deletes: false,
        }
    }

    /// The name that a source column has in the target, unless it is dropped.
    pub fn target_column_name<'a>(&'a self, column: &'a str) -> Option<&'a str> {
        if self.drops.iter().any(|drop| drop == column) {
            return None;
        }
        Some(self.renames.iter().find(|rename| rename.column == column).map_or(column, |rename| &rename.to))
    }

    /// The columns of the target table: kept source columns in the source's order, then added ones.
    pub fn target_columns(&self, schema: &TableSchema) -> Vec<TargetColumn> {
        let mut columns = Vec::new();
        for (index, column) in schema.columns.iter().enumerate() {
            let Some(name) = self.target_column_name(&column.name) else { continue };
            columns.push(match self.outputs.iter().position(|output| output.name == name) {
                Some(output) => self.output_column(output, Some(index)),
                None => TargetColumn {
                    name: name.to_owned(),
                    sql_type: column.sql_type.clone(),
                    nullable: column.nullable,
                    origin: ColumnOrigin::Source(index),
                },
            });
        }
        for (index, output) in self.outputs.iter().enumerate() {
            if !columns.iter().any(|column| column.name == output.name) {
                columns.push(self.output_column(index, None));
            }
        }
        columns
    }

    /// The target's primary key, by target column names; empty without one.
    pub fn target_primary_key(&self, schema: &TableSchema) -> Vec<String> {
        match &self.primary_key {
            Some(names) => names.clone(),
            None => schema
                .primary_key
                .iter()
                .filter_map(|index| self.target_column_name(&schema.columns[*index].name))
                .map(str::to_owned)
                .collect(),
        }
    }

    /// The computed outputs, in the order of a result's columns.
    pub fn computed(&self) -> impl Iterator<Item = &Output> {
        self.outputs.iter().filter(|output| output.source == OutputSource::Computed)
    }

    fn output_column(&self, index: usize, replaces: Option<usize>) -> TargetColumn {
        let output = &self.outputs[index];
        TargetColumn {
            name: output.name.clone(),
            sql_type: output.sql_type.clone(),
            nullable: output.nullable,
            origin: ColumnOrigin::Output { output: index, replaces },
        }
    }
}
