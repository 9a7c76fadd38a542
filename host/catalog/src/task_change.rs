//! How much of a task a change of its definition touches.

use crate::task::TaskDefinition;

/// What a change of a definition touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that a run was started with.
    Aside,
    /// What a run does between its ends.
    OfTheWork,
    /// What cannot change under a run.
    OfTheEnds,
}

/// What differs between two definitions of a task.
pub(crate) fn change_of(old: &TaskDefinition, new: &TaskDefinition) -> Change {
    let aside = TaskDefinition {
        min_units: new.min_units,
        max_units: new.max_units,
        max_lag_seconds: new.max_lag_seconds,
        tags: new.tags.clone(),
        dms: new.dms.clone(),
        ..old.clone()
    };
    let work = TaskDefinition { table_mappings: new.table_mappings.clone(), settings: new.settings.clone(), ..aside.clone() };
    if aside == *new {
        Change::Aside
    } else if work == *new {
        Change::OfTheWork
    } else {
        Change::OfTheEnds
    }
}
