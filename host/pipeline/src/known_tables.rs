//! The tables that the sandboxes of a worker know: under which numbers, and when they can forget them.
//!
//! A number stands for one description of a table. When nobody has a plan of that description any more (the table left the task, or the
//! log describes it anew), nobody can send rows of it, and modules are told to forget it. A table that comes again gets a new number.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tidegate_connector::SourceTable;

use crate::plan::PlannedTable;

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct KnownTables {
    /// By the address of the description.
    tables: HashMap<usize, Known>,
    last_number: u32,
    /// Calls of [`KnownTables::gone`] since it looked.
    calls: usize,
}

struct Known {
    /// Held so that its address is not used again.
    _held: Arc<SourceTable>,
    number: u32,
    in_use: Weak<()>,
}

impl KnownTables {
    /// The number of a description, which sandboxes know it by.
    pub(crate) fn number(&mut self, description: &Arc<SourceTable>) -> u32 {
        self.entry(description).number
    }

    /// The table is known as long as this plan is there.
    pub(crate) fn hold(&mut self, table: &PlannedTable) {
        self.entry(&table.source).in_use = Arc::downgrade(&table.in_use);
    }

    /// The numbers of tables whose plans are gone. Looks once in as many calls as there are tables, so that a call costs the same
    /// however many there are.
    pub(crate) fn gone(&mut self) -> Vec<u32> {
        self.calls += 1;
        if self.calls < self.tables.len() {
            return Vec::new();
        }
        self.calls = 0;
        self.tables.extract_if(|_, known| known.in_use.strong_count() == 0).map(|(_, known)| known.number).collect()
    }

    fn entry(&mut self, description: &Arc<SourceTable>) -> &mut Known {
        let last_number = &mut self.last_number;
        self.tables.entry(Arc::as_ptr(description) as usize).or_insert_with(|| {
            *last_number += 1;
            Known { _held: description.clone(), number: *last_number, in_use: Weak::new() }
        })
    }
}

#[cfg(test)]
mod tests {
    use tidegate_model::SqlType;

    use super::*;
    use crate::large_values::ValueSettings;
    use crate::plan::Draft;
    use crate::test_tables::source_table;

    fn planned(source: &Arc<SourceTable>) -> PlannedTable {
        Draft::new(source.clone()).finish(ValueSettings::default()).expect("a plain table")
    }

    #[test]
    fn a_table_is_gone_with_the_last_copy_of_its_plan_and_gets_another_number_when_it_comes_again() {
        let description = Arc::new(source_table(&[("id", SqlType::Int64)]));
        let mut known = KnownTables::default();
        let number = known.number(&description);
        let plan = planned(&description);
        known.hold(&plan);
        let copy = plan.clone();
        drop(plan);
        assert_eq!((known.gone(), known.number(&description)), (vec![], number));
        drop(copy);
        assert_eq!((known.gone(), known.gone()), (vec![number], vec![]));
        assert_ne!(known.number(&description), number);
    }

    #[test]
    fn many_tables_are_looked_at_once_in_as_many_calls() {
        let mut known = KnownTables::default();
        let plans: Vec<_> = (0..100).map(|_| planned(&Arc::new(source_table(&[("id", SqlType::Int64)])))).collect();
        plans.iter().for_each(|plan| known.hold(plan));
        drop(plans);
        let found: Vec<usize> = (0..100).map(|_| known.gone().len()).collect();
        assert_eq!((&found[..99], found[99]), (&[0; 99][..], 100));
    }
}
