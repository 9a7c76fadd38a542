//! SQL for rows: on tables, by parameters; on staging tables, by sets.

use super::plan::{ColumnPlan, TablePlan};

/// A staging table's columns before those of the rows: what to do, and which set of unchanged columns.
pub(crate) const STAGE_HEAD: i16 = 2;

/// `copy … from stdin` straight into the table.
pub(crate) fn copy_table(plan: &TablePlan) -> String {
    format!("copy {} ({}) from stdin (format binary)", plan.name_sql, names(plan))
}

/// The staging table of a plan: nothing in it is required, so that half-known rows fit.
pub(crate) fn create_stage(plan: &TablePlan) -> String {
    let columns: Vec<String> = plan.columns.iter().enumerate().map(|(index, column)| format!(", c{index} {}", column.wire_sql)).collect();
    format!("create temp table {} (tg_op \"char\", tg_mask int4{}) on commit delete rows", stage_name(plan), columns.concat())
}

pub(crate) fn stage_name(plan: &TablePlan) -> String {
    format!("pg_temp.tidegate_stage_{}", plan.id)
}

/// Deletes the rows whose identity is staged under one of the operations.
pub(crate) fn delete_staged(plan: &TablePlan, operations: &str) -> String {
    format!("delete from {} t using {} s where s.tg_op in ({operations}) and {}", plan.name_sql, stage_name(plan), staged_join(plan))
}

/// Updates the rows of one mask; `None` when it has no column to set.
pub(crate) fn update_staged(plan: &TablePlan, mask: usize, known: &[bool]) -> Option<String> {
    let sets: Vec<String> =
        settable(plan, known).map(|index| format!("{} = {}", plan.columns[index].name_sql, staged(plan, index))).collect();
    if sets.is_empty() {
        return None;
    }
    let (table, stage, join) = (&plan.name_sql, stage_name(plan), staged_join(plan));
    Some(format!("update {table} t set {} from {stage} s where s.tg_op = 'U' and s.tg_mask = {mask} and {join}", sets.join(", ")))
}

/// Inserts the complete rows staged under one of the operations.
pub(crate) fn insert_staged(plan: &TablePlan, operations: &str) -> String {
    let values: Vec<String> = (0..plan.columns.len()).map(|index| staged(plan, index)).collect();
    let (table, names, overriding, stage) = (&plan.name_sql, names(plan), overriding(plan), stage_name(plan));
    format!("insert into {table} ({names}){overriding} select {} from {stage} s where s.tg_op in ({operations})", values.join(", "))
}

/// Inserts all staged rows; those whose primary key is there replace those.
pub(crate) fn replace_staged(plan: &TablePlan) -> String {
    let key: Vec<&str> = plan.primary_key.iter().map(|index| plan.columns[*index].name_sql.as_str()).collect();
    let others = (0..plan.columns.len()).filter(|index| !plan.primary_key.contains(index)).map(|index| &plan.columns[index].name_sql);
    let sets: Vec<String> = others.map(|name| format!("{name} = excluded.{name}")).collect();
    let action = if sets.is_empty() { "nothing".to_owned() } else { format!("update set {}", sets.join(", ")) };
    format!("{} on conflict ({}) do {action}", insert_staged(plan, "'I'"), key.join(", "))
}

/// Parameters: every column's value.
pub(crate) fn insert_row(plan: &TablePlan) -> String {
    let values: Vec<String> = plan.columns.iter().enumerate().map(|(index, column)| parameter(column, index + 1)).collect();
    format!("insert into {} ({}){} values ({})", plan.name_sql, names(plan), overriding(plan), values.join(", "))
}

/// Parameters: the values of the columns `set`, then those of the columns `by`.
pub(crate) fn update_row(plan: &TablePlan, set: &[usize], by: &[usize]) -> String {
    let sets = set.iter().enumerate().map(|(place, index)| {
        let column = &plan.columns[*index];
        format!("{} = {}", column.name_sql, parameter(column, place + 1))
    });
    let sets: Vec<String> = sets.collect();
    format!("update {} t set {} where {}", plan.name_sql, sets.join(", "), found_by(plan, by, set.len()))
}

/// Parameters: the values of the columns `by`.
pub(crate) fn delete_row(plan: &TablePlan, by: &[usize]) -> String {
    format!("delete from {} t where {}", plan.name_sql, found_by(plan, by, 0))
}

/// Parameters: the values of the columns `by`. Touches (locks) the row and changes nothing.
pub(crate) fn lock_row(plan: &TablePlan, by: &[usize]) -> String {
    format!("select 1 from {} t where {} for update", plan.name_sql, found_by(plan, by, 0))
}

/// Columns that an update sets: those that are known and not part of the identity, which stays the same. A column that
/// is always an identity cannot be set; [`verifies`] tells which must be looked at instead.
pub(crate) fn settable<'a>(plan: &'a TablePlan, known: &'a [bool]) -> impl Iterator<Item = usize> + 'a {
    (0..plan.columns.len()).filter(|index| known[*index] && !plan.identity.contains(index) && !plan.columns[*index].is_always)
}

/// Columns that an update cannot set and that should have their values already.
pub(crate) fn verifies<'a>(plan: &'a TablePlan, known: &'a [bool]) -> impl Iterator<Item = usize> + 'a {
    (0..plan.columns.len()).filter(|index| known[*index] && !plan.identity.contains(index) && plan.columns[*index].is_always)
}

/// One row for each row of the mask whose columns that cannot be set are what the log says; `None` when there are none.
pub(crate) fn verify_staged(plan: &TablePlan, mask: usize, known: &[bool]) -> Option<String> {
    let terms: Vec<String> = verifies(plan, known).map(|index| equal(&plan.columns[index], &staged(plan, index))).collect();
    if terms.is_empty() {
        return None;
    }
    let (table, stage, join) = (&plan.name_sql, stage_name(plan), staged_join(plan));
    Some(format!("select 1 from {table} t, {stage} s where s.tg_op = 'U' and s.tg_mask = {mask} and {join} and {}", terms.join(" and ")))
}

/// Completes staged rows of a mask with what the target has in the columns that are not known.
pub(crate) fn fill_staged(plan: &TablePlan, mask: usize, known: &[bool]) -> String {
    let value = |index: usize| match &plan.columns[index].cast {
        Some(_) => format!("t.{}::text", plan.columns[index].name_sql),
        None => format!("t.{}", plan.columns[index].name_sql),
    };
    let unknown = (0..plan.columns.len()).filter(|index| !known[*index]);
    let sets: Vec<String> = unknown.map(|index| format!(", c{index} = {}", value(index))).collect();
    let (table, stage, join) = (&plan.name_sql, stage_name(plan), staged_join(plan));
    format!("update {stage} s set tg_op = 'R'{} from {table} t where s.tg_op = 'F' and s.tg_mask = {mask} and {join}", sets.concat())
}

/// The row with an identity; of a keyless table, one of the rows that are equal in every column.
fn found_by(plan: &TablePlan, by: &[usize], parameters_before: usize) -> String {
    let terms = by.iter().enumerate().map(|(place, index)| {
        let column = &plan.columns[*index];
        let value = parameter(column, parameters_before + place + 1);
        if plan.identity.is_empty() {
            let text = if column.compares_as_text { "::text" } else { "" };
            format!("t.{}{text} is not distinct from ({value}){text}", column.name_sql)
        } else {
            equal(column, &value)
        }
    });
    let terms = terms.collect::<Vec<_>>().join(" and ");
    match (plan.identity.is_empty(), plan.is_partitioned) {
        (false, _) => terms,
        (true, false) => format!("t.ctid = (select t.ctid from {} t where {terms} limit 1)", plan.name_sql),
        (true, true) => format!("(t.tableoid, t.ctid) = (select t.tableoid, t.ctid from {} t where {terms} limit 1)", plan.name_sql),
    }
}

fn staged_join(plan: &TablePlan) -> String {
    let terms = plan.identity.iter().map(|index| equal(&plan.columns[*index], &staged(plan, *index)));
    terms.collect::<Vec<_>>().join(" and ")
}

/// A plain `=` where no NULL can be, because no index serves `is not distinct from`.
fn equal(column: &ColumnPlan, value: &str) -> String {
    if column.is_nullable {
        format!("t.{} is not distinct from {value}", column.name_sql)
    } else {
        format!("t.{} = {value}", column.name_sql)
    }
}

fn staged(plan: &TablePlan, index: usize) -> String {
    match &plan.columns[index].cast {
        Some(cast) => format!("s.c{index}::{cast}"),
        None => format!("s.c{index}"),
    }
}

/// The wire type is named, or PostgreSQL would guess it from the other side.
fn parameter(column: &ColumnPlan, number: usize) -> String {
    match &column.cast {
        Some(cast) => format!("${number}::text::{cast}"),
        None => format!("${number}::{}", column.wire_sql),
    }
}

fn names(plan: &TablePlan) -> String {
    plan.columns.iter().map(|column| column.name_sql.as_str()).collect::<Vec<_>>().join(", ")
}

fn overriding(plan: &TablePlan) -> &'static str {
    if plan.overrides_identity { " overriding system value" } else { "" }
}
