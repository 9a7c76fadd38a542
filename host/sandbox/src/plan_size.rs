//! How much memory the plans of a sandbox take, which it keeps to plan tables again.

use std::mem::size_of;

use tidegate_model::{Column, SqlType, TableSchema};

use crate::plan::{Output, OutputSource, Rename, TablePlan};

/// What all plans may take, what each may take besides, and how often a plan may say all that its table's description says: it may
/// rename or replace each column.
const BYTES_FREE: usize = 1 << 20;
const BYTES_PER_TABLE: usize = 8 << 10;
const DESCRIPTIONS: usize = 4;

/// Bytes of a plan, and how many it brings room for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    plan: usize,
    allowed: usize,
}

impl Size {
    pub(crate) fn of(plan: &TablePlan, schema: &TableSchema) -> Self {
        Self { plan: plan_bytes(plan), allowed: BYTES_PER_TABLE + DESCRIPTIONS * schema_bytes(schema) }
    }
}

/// The plans that a sandbox keeps. A table with a large plan may use what others leave.
#[derive(Debug, Default)]
pub(crate) struct PlanRoom {
    kept: Size,
}

impl PlanRoom {
    /// # Errors
    /// What is too large, where the plan does not fit beside those that are kept.
    pub(crate) fn take(&mut self, size: Size) -> Result<(), String> {
        let (plan, allowed) = (self.kept.plan + size.plan, self.kept.allowed + size.allowed);
        if plan > BYTES_FREE + allowed {
            return Err(format!(
                "its plan has {} bytes, and all plans of the module together {plan}, more than the {} that tables of this size take",
                size.plan,
                BYTES_FREE + allowed
            ));
        }
        self.kept = Size { plan, allowed };
        Ok(())
    }

    pub(crate) fn give_back(&mut self, size: Size) {
        self.kept.plan -= size.plan;
        self.kept.allowed -= size.allowed;
    }
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> usize {
    texts.into_iter().map(|text| size_of::<String>() + text.len()).sum()
}

fn plan_bytes(plan: &TablePlan) -> usize {
    let renames: usize = plan.renames.iter().map(|rename| size_of::<Rename>() + rename.column.len() + rename.to.len()).sum();
    let outputs: usize = plan.outputs.iter().map(output_bytes).sum();
    let inputs = plan.rows.iter().flat_map(|rows| &rows.inputs);
    let names = plan.target_namespace.iter().chain(&plan.target_name).chain(&plan.drops).chain(plan.primary_key.iter().flatten());
    size_of::<TablePlan>() + renames + outputs + texts(inputs) + texts(names)
}

fn output_bytes(output: &Output) -> usize {
    let source = match &output.source {
        OutputSource::CopyOf(column) => column.len(),
        OutputSource::Constant(text) => text.as_ref().map_or(0, String::len),
        OutputSource::Computed => 0,
    };
    size_of::<Output>() + output.name.len() + type_bytes(&output.sql_type) + source
}

fn type_bytes(sql_type: &SqlType) -> usize {
    match sql_type {
        SqlType::Enumeration(labels) | SqlType::SetOf(labels) => texts(labels),
        SqlType::Array(element) => size_of::<SqlType>() + type_bytes(element),
        SqlType::Other(name) => name.len(),
        _ => 0,
    }
}

fn schema_bytes(schema: &TableSchema) -> usize {
    let column = |column: &Column| size_of::<Column>() + column.name.len() + column.native_type.len() + type_bytes(&column.sql_type);
    size_of::<TableSchema>() + schema.columns.iter().map(column).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_given_back_leaves_the_room_as_it_was() {
        let small = Size { plan: 100, allowed: BYTES_PER_TABLE };
        let large = Size { plan: BYTES_FREE + BYTES_PER_TABLE, allowed: BYTES_PER_TABLE };
        let mut room = PlanRoom::default();
        room.take(large).unwrap();
        // What the small table does not need is not enough for another large one.
        room.take(small).unwrap();
        assert!(room.take(large).unwrap_err().contains("more than"));
        room.give_back(large);
        room.take(large).unwrap();
        room.give_back(large);
        room.give_back(small);
        assert_eq!(room.kept, Size::default());
    }
}
