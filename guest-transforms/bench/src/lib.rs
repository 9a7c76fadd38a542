//! The module that `cargo xtask bench -- modules` measures: what a tenant's module does at least, and no more.
//!
//! Configuration: words out of `filter` (rows whose first integer column is negative go), `rewrite` (the first text
//! column in upper case, ASCII letters alone).

use tidegate_transform_sdk::{
    Batch, BatchResult, ColumnSchema, ColumnSource, Keep, ModuleInfo, OutputColumn, PlanError, Planned, RowNeeds, ScalarType, SqlType,
    TableSchema, TextBuilder, Transform, row_plan, unchanged,
};

/// The module.
pub struct Rewrite {
    filter: Option<usize>,
    rewrite: Option<usize>,
}

impl Transform for Rewrite {
    fn describe() -> ModuleInfo {
        ModuleInfo { name: "bench-rewrite".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), config_schema: None }
    }

    fn plan(schema: &TableSchema, config: &str) -> Result<Planned<Self>, PlanError> {
        let key = |column: &ColumnSchema| schema.primary_key.contains(&column.name);
        let first = |fits: fn(&ScalarType) -> bool| {
            schema.columns.iter().find(|column| !key(column) && matches!(&column.sql_type, SqlType::Scalar(scalar) if fits(scalar)))
        };
        let mut plan = unchanged();
        let (mut inputs, mut needs) = (Vec::new(), RowNeeds::DETERMINISTIC);
        let mut work = Rewrite { filter: None, rewrite: None };
        if config.contains("filter")
            && let Some(column) = first(|scalar| matches!(scalar, ScalarType::Int32 | ScalarType::Int64))
        {
            work.filter = Some(inputs.len());
            inputs.push(column.name.clone());
            needs |= RowNeeds::FILTERS;
        }
        if config.contains("rewrite")
            && let Some(column) = first(|scalar| matches!(scalar, ScalarType::Text(_)))
        {
            work.rewrite = Some(inputs.len());
            inputs.push(column.name.clone());
            plan.outputs.push(OutputColumn {
                name: column.name.clone(),
                sql_type: column.sql_type.clone(),
                nullable: column.nullable,
                source: ColumnSource::Computed,
            });
        }
        if !inputs.is_empty() {
            plan.rows = Some(row_plan(inputs, needs));
        }
        Ok(Planned::Include(plan, work))
    }

    fn transform(&mut self, batch: &Batch) -> Result<BatchResult, String> {
        let mut keep = Keep::all(batch.rows);
        if let Some(column) = self.filter.and_then(|place| batch.columns.get(place)) {
            for row in batch.row_numbers() {
                if column.int(row).is_some_and(|number| number < 0) {
                    keep.drop_row(row);
                }
            }
        }
        let mut columns = Vec::new();
        if let Some(column) = self.rewrite.and_then(|place| batch.columns.get(place)) {
            columns.push(TextBuilder::changed(column, str::make_ascii_uppercase).ok_or("the column does not travel as text")?);
        }
        Ok(BatchResult { keep: keep.into_bits(), columns, errors: Vec::new() })
    }
}

tidegate_transform_sdk::export_transform!(Rewrite);
