//! Checks a module's plan against the table that it is for.

use std::collections::BTreeSet;

use tidegate_model::{BeforeImages, TableSchema};

use crate::error::SandboxError;
use crate::guest::MESSAGE_BYTES_MAX;
use crate::input::InputSource;
use crate::plan::{ColumnOrigin, Output, OutputSource, TablePlan, TargetColumn};
use crate::told::cut;

/// Most bytes of a name in the target. Databases take 64 characters at most; the target's check says so of those in between.
const NAME_BYTES_MAX: usize = 1024;

/// # Errors
/// [`SandboxError::Plan`] for the first thing that does not fit.
pub(crate) fn check(plan: &TablePlan, schema: &TableSchema) -> Result<(), SandboxError> {
    check_names(plan, schema)?;
    check_outputs(plan, schema)?;
    let columns = plan.target_columns(schema);
    check_target_columns(&columns, schema)?;
    check_key(plan, schema, &columns)?;
    check_soft_deletes(plan, schema)
}

/// The contract has masks that the host applies, and no host has them yet: a copy of the column would be the value in clear.
pub(crate) fn masked(schema: &TableSchema, column: &str) -> SandboxError {
    let instead = "let the row function compute the column, or a rule whose action is one of data-masking";
    error(schema, format!("column \"{column}\" is to be masked by the host, which this host does not do; {instead}"))
}

fn error(schema: &TableSchema, problem: String) -> SandboxError {
    SandboxError::plan(cut(&format!("table \"{}\": {problem}", schema.name), MESSAGE_BYTES_MAX))
}

fn check_source_column(schema: &TableSchema, name: &str, role: &str) -> Result<(), SandboxError> {
    match schema.column_index(name) {
        Some(_) => Ok(()),
        None => Err(error(schema, format!("{role} column \"{name}\" does not exist at the source"))),
    }
}

fn check_names(plan: &TablePlan, schema: &TableSchema) -> Result<(), SandboxError> {
    for name in plan.target_namespace.iter().chain(&plan.target_name) {
        check_identifier(schema, name, "target")?;
    }
    let mut renamed = BTreeSet::new();
    for rename in &plan.renames {
        check_source_column(schema, &rename.column, "renamed")?;
        check_identifier(schema, &rename.to, "target column")?;
        if !renamed.insert(&rename.column) {
            return Err(error(schema, format!("column \"{}\" is renamed twice", rename.column)));
        }
    }
    let mut dropped = BTreeSet::new();
    for name in &plan.drops {
        check_source_column(schema, name, "dropped")?;
        if !dropped.insert(name) || renamed.contains(name) {
            return Err(error(schema, format!("column \"{name}\" is dropped and also renamed or dropped again")));
        }
    }
    let mut wanted = BTreeSet::new();
    for name in plan.rows.iter().flat_map(|rows| &rows.inputs) {
        check_input(schema, name)?;
        if !wanted.insert(name) {
            return Err(error(schema, format!("input column \"{name}\" is asked for twice")));
        }
    }
    Ok(())
}

/// A value of the old row must be one that the log has.
fn check_input(schema: &TableSchema, name: &str) -> Result<(), SandboxError> {
    match InputSource::find(name, schema) {
        None => check_source_column(schema, name, "input"),
        Some(InputSource::Before(index)) if schema.before_images != BeforeImages::Full && !schema.identity.contains(&index) => Err(error(
            schema,
            format!(
                "the old value of column \"{}\" is asked for, which the source does not log; log full rows (PostgreSQL: REPLICA \
                     IDENTITY FULL)",
                schema.columns[index].name
            ),
        )),
        Some(InputSource::Column(_) | InputSource::Before(_) | InputSource::Header(_)) => Ok(()),
    }
}

fn check_identifier(schema: &TableSchema, name: &str, role: &str) -> Result<(), SandboxError> {
    if name.is_empty() || name.contains('\0') {
        return Err(error(schema, format!("a {role} name is empty or holds a zero character")));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(error(schema, format!("a {role} name has {} bytes, more than {NAME_BYTES_MAX}", name.len())));
    }
    Ok(())
}

fn check_outputs(plan: &TablePlan, schema: &TableSchema) -> Result<(), SandboxError> {
    let mut names = BTreeSet::new();
    for output in &plan.outputs {
        check_identifier(schema, &output.name, "output column")?;
        if !names.insert(&output.name) {
            return Err(error(schema, format!("output column \"{}\" stands twice", output.name)));
        }
        match &output.source {
            OutputSource::Computed if plan.rows.is_none() => {
                return Err(error(schema, format!("output column \"{}\" is computed, but the plan has no rows", output.name)));
            }
            OutputSource::Computed => {}
            OutputSource::CopyOf(column) => check_source_column(schema, column, "copied")?,
            OutputSource::Constant(text) => check_null(schema, output, text.is_none())?,
        }
    }
    Ok(())
}

fn check_null(schema: &TableSchema, output: &Output, is_null: bool) -> Result<(), SandboxError> {
    if is_null && !output.nullable {
        return Err(error(schema, format!("output column \"{}\" is always NULL and declared as not null", output.name)));
    }
    Ok(())
}

fn check_target_columns(columns: &[TargetColumn], schema: &TableSchema) -> Result<(), SandboxError> {
    if columns.is_empty() {
        return Err(error(schema, "no column is left".to_owned()));
    }
    let mut names = BTreeSet::new();
    for column in columns {
        if !names.insert(&column.name) {
            return Err(error(schema, format!("two target columns are named \"{}\"", column.name)));
        }
    }
    Ok(())
}

fn check_key(plan: &TablePlan, schema: &TableSchema, columns: &[TargetColumn]) -> Result<(), SandboxError> {
    if plan.primary_key.is_none() {
        for index in &schema.primary_key {
            let name = &schema.columns[*index].name;
            if plan.drops.contains(name) {
                return Err(error(schema, format!("primary key column \"{name}\" is dropped; define another primary key or keep it")));
            }
        }
    }
    if plan.primary_key.as_ref().is_some_and(Vec::is_empty) {
        return Err(error(schema, "the primary key has no columns".to_owned()));
    }
    let mut names = BTreeSet::new();
    for name in &plan.target_primary_key(schema) {
        let Some(column) = columns.iter().find(|column| column.name == *name) else {
            return Err(error(schema, format!("primary key column \"{name}\" does not exist in the target table")));
        };
        if !names.insert(name.clone()) {
            return Err(error(schema, format!("primary key column \"{name}\" stands twice")));
        }
        if column.nullable {
            return Err(error(schema, format!("primary key column \"{name}\" is nullable")));
        }
        check_key_column(plan, schema, column)?;
    }
    Ok(())
}

/// A computed key must come out the same for the insert, the update and the delete of a row.
fn check_key_column(plan: &TablePlan, schema: &TableSchema, column: &TargetColumn) -> Result<(), SandboxError> {
    let ColumnOrigin::Output { output, .. } = column.origin else { return Ok(()) };
    if plan.outputs[output].source != OutputSource::Computed {
        return Ok(());
    }
    let Some(rows) = &plan.rows else { return Ok(()) };
    if !rows.deterministic {
        return Err(error(schema, format!("primary key column \"{}\" is computed by a module that is not deterministic", column.name)));
    }
    // The delete of a row has another header, and another row before it, than the insert had.
    let of_row = |name: &String| matches!(InputSource::find(name, schema), Some(InputSource::Column(_)));
    if let Some(name) = rows.inputs.iter().find(|name| !of_row(name)) {
        let problem = "is computed by a module that also reads";
        return Err(error(schema, format!("primary key column \"{}\" {problem} \"{name}\", which differs between changes", column.name)));
    }
    let in_key = |name: &String| schema.column_index(name).is_some_and(|index| schema.identity.contains(&index));
    if schema.before_images != BeforeImages::Full && !rows.inputs.iter().all(in_key) {
        return Err(error(
            schema,
            format!(
                "primary key column \"{}\" is computed from columns that the source does not log for deleted rows; log full rows \
                 (PostgreSQL: REPLICA IDENTITY FULL) or compute it from key columns",
                column.name
            ),
        ));
    }
    Ok(())
}

/// A row that is kept when its source row is deleted must be found by its key, then and when the key comes again.
fn check_soft_deletes(plan: &TablePlan, schema: &TableSchema) -> Result<(), SandboxError> {
    if !plan.soft_deletes {
        return Ok(());
    }
    if schema.is_keyless() || plan.target_primary_key(schema).is_empty() {
        return Err(error(schema, "deleted rows are to be kept, and the table has no primary key to find them by".to_owned()));
    }
    let Some(rows) = plan.rows.as_ref().filter(|_| plan.computed().next().is_some()) else {
        return Err(error(schema, "deleted rows are to be kept, and no computed column tells them from others".to_owned()));
    };
    // Whether such a row was in the filter could not be told, and it cannot be deleted "if it is there".
    let unknown =
        |name: &&String| matches!(InputSource::find(name, schema), Some(InputSource::Column(index)) if !schema.identity.contains(&index));
    match rows.inputs.iter().find(unknown) {
        Some(name) if rows.filters && schema.before_images != BeforeImages::Full => Err(error(
            schema,
            format!(
                "deleted rows are to be kept and rows are filtered by columns such as \"{name}\", which the source does not log for deleted \
                 rows; log full rows (PostgreSQL: REPLICA IDENTITY FULL)"
            ),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Rename, RowPlan, TextLayout};
    use tidegate_model::schema::RowEncoding;
    use tidegate_model::{Column, Engine, SqlType, TableName};

    fn schema() -> TableSchema {
        let column = |name: &str, nullable| Column {
            name: name.to_owned(),
            sql_type: SqlType::Int32,
            native_type: "int".to_owned(),
            nullable,
            collation: None,
            generated: false,
        };
        TableSchema {
            name: TableName::new("shop", "orders"),
            engine: Engine::Postgres,
            columns: vec![column("id", false), column("qty", true), column("note", true)],
            primary_key: vec![0],
            unique_keys: vec![],
            identity: vec![0],
            before_images: BeforeImages::KeyOnly,
            encoding: RowEncoding::Postgres,
            version: 1,
        }
    }

    fn rename(column: &str, to: &str) -> Rename {
        Rename { column: column.to_owned(), to: to.to_owned() }
    }

    fn output(name: &str, nullable: bool, source: OutputSource) -> Output {
        Output { name: name.to_owned(), sql_type: SqlType::Int64, nullable, source }
    }

    fn rows(inputs: &[&str], deterministic: bool) -> Option<RowPlan> {
        let inputs = inputs.iter().map(|name| (*name).to_owned()).collect();
        Some(RowPlan { inputs, filters: false, deterministic, partial_images: false, text_layout: TextLayout::Buffers })
    }

    #[test]
    fn plans_that_do_not_fit_the_table_are_refused() {
        let plan = TablePlan::unchanged;
        let key = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        let computed = || OutputSource::Computed;
        let cases: Vec<(TablePlan, &str)> = vec![
            (TablePlan { drops: vec!["gone".into()], ..plan() }, "dropped column \"gone\" does not exist"),
            (TablePlan { renames: vec![rename("gone", "a")], ..plan() }, "renamed column \"gone\" does not exist"),
            (TablePlan { renames: vec![rename("qty", "a"), rename("qty", "b")], ..plan() }, "renamed twice"),
            (TablePlan { renames: vec![rename("qty", "id")], ..plan() }, "two target columns are named \"id\""),
            (TablePlan { renames: vec![rename("qty", "")], ..plan() }, "name is empty"),
            (TablePlan { target_name: Some("a\0".into()), ..plan() }, "zero character"),
            (TablePlan { renames: vec![rename("qty", "a")], drops: vec!["qty".into()], ..plan() }, "is dropped and also"),
            (TablePlan { drops: vec!["id".into()], ..plan() }, "primary key column \"id\" is dropped"),
            (TablePlan { drops: vec!["id".into(), "qty".into(), "note".into()], ..plan() }, "no column is left"),
            (TablePlan { primary_key: key(&["gone"]), ..plan() }, "does not exist in the target"),
            (TablePlan { primary_key: key(&["qty"]), ..plan() }, "is nullable"),
            (TablePlan { primary_key: key(&["id", "id"]), ..plan() }, "stands twice"),
            (TablePlan { primary_key: key(&[]), ..plan() }, "has no columns"),
            (TablePlan { rows: rows(&["gone"], true), ..plan() }, "input column \"gone\" does not exist"),
            (TablePlan { rows: rows(&["qty", "qty"], true), ..plan() }, "asked for twice"),
            (TablePlan { outputs: vec![output("x", true, computed())], ..plan() }, "the plan has no rows"),
            (TablePlan { outputs: vec![output("x", true, OutputSource::CopyOf("gone".into()))], ..plan() }, "copied column"),
            (TablePlan { outputs: vec![output("x", false, OutputSource::Constant(None))], ..plan() }, "always NULL"),
            (TablePlan { outputs: vec![output("id", false, computed())], rows: rows(&["id"], false), ..plan() }, "not deterministic"),
            (
                TablePlan { outputs: vec![output("id", false, computed())], rows: rows(&["qty"], true), ..plan() },
                "does not log for deleted rows",
            ),
            (TablePlan { rows: rows(&["$BEFORE.gone"], true), ..plan() }, "\"$BEFORE.gone\" does not exist"),
            (TablePlan { rows: rows(&["$BEFORE.qty"], true), ..plan() }, "the old value of column \"qty\""),
            (TablePlan { rows: rows(&["$AR_H_USER"], true), ..plan() }, "\"$AR_H_USER\" does not exist"),
            (
                TablePlan { outputs: vec![output("id", false, computed())], rows: rows(&["id", "$AR_H_TIMESTAMP"], true), ..plan() },
                "which differs between changes",
            ),
            (TablePlan { soft_deletes: true, ..plan() }, "no computed column tells them"),
            (
                TablePlan {
                    soft_deletes: true,
                    outputs: vec![output("flag", true, computed())],
                    rows: rows(&["qty"], true).map(|rows| RowPlan { filters: true, ..rows }),
                    ..plan()
                },
                "columns such as \"qty\"",
            ),
        ];
        for (plan, wanted) in cases {
            let message = check(&plan, &schema()).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message} should contain {wanted}");
            assert!(message.contains("shop.orders"), "{message}");
        }
    }

    #[test]
    fn soft_deletes_need_a_primary_key() {
        let plan = TablePlan {
            soft_deletes: true,
            outputs: vec![output("flag", true, OutputSource::Computed)],
            rows: rows(&["id"], true),
            ..TablePlan::unchanged()
        };
        check(&plan, &schema()).unwrap();
        let keyless = TableSchema { primary_key: vec![], identity: vec![0, 1, 2], before_images: BeforeImages::Full, ..schema() };
        let message = check(&plan, &keyless).unwrap_err().to_string();
        assert!(message.contains("no primary key"), "{message}");
    }

    #[test]
    fn plans_that_fit_pass_and_describe_the_target() {
        let plan = TablePlan {
            renames: vec![rename("qty", "amount")],
            drops: vec!["note".into()],
            outputs: vec![
                output("amount", false, OutputSource::Computed),
                output("extra", false, OutputSource::Constant(Some("1".into()))),
            ],
            primary_key: Some(vec!["id".into(), "extra".into()]),
            rows: rows(&["qty"], true),
            ..TablePlan::unchanged()
        };
        check(&plan, &schema()).unwrap();
        let columns = plan.target_columns(&schema());
        let seen: Vec<_> = columns.iter().map(|column| (column.name.as_str(), column.origin)).collect();
        assert_eq!(
            seen,
            [
                ("id", ColumnOrigin::Source(0)),
                ("amount", ColumnOrigin::Output { output: 0, replaces: Some(1) }),
                ("extra", ColumnOrigin::Output { output: 1, replaces: None }),
            ]
        );
    }
}
