//! Numbers for table descriptions that stay good for a whole run, over every stream that it opens.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use tidegate_connector::SourceTable;
use tidegate_model::Change;
use tidegate_model::change::RelationId;

/// Every description that any stream of this run announced. Grows by one with each new description of a table, which
/// happens at a connect and at a schema change.
#[derive(Debug, Default, Clone)]
pub(crate) struct Relations(Arc<RwLock<Vec<Arc<SourceTable>>>>);

impl Relations {
    /// The description behind a number.
    pub(crate) fn get(&self, id: RelationId) -> Option<Arc<SourceTable>> {
        self.0.read().expect("no holder of this lock panics").get(id.0 as usize).cloned()
    }

    fn add(&self, table: Arc<SourceTable>) -> RelationId {
        let mut all = self.0.write().expect("no holder of this lock panics");
        all.push(table);
        RelationId(u32::try_from(all.len() - 1).expect("a run sees far fewer than 2^32 descriptions"))
    }
}

/// Translates one stream's numbers to the run's.
#[derive(Debug)]
pub(crate) struct StreamRelations {
    relations: Relations,
    numbers: HashMap<RelationId, RelationId>,
}

impl StreamRelations {
    pub(crate) fn new(relations: Relations) -> Self {
        Self { relations, numbers: HashMap::new() }
    }

    /// Takes note of a description.
    pub(crate) fn announce(&mut self, id: RelationId, table: Arc<SourceTable>) {
        let number = self.relations.add(table);
        self.numbers.insert(id, number);
    }

    /// The change with the run's numbers; `None` when the stream never announced the table.
    pub(crate) fn translate(&self, change: Change) -> Option<Change> {
        let number = |id: RelationId| self.numbers.get(&id).copied();
        Some(match change {
            Change::Row { relation, change } => Change::Row { relation: number(relation)?, change },
            Change::Unlogged { relation, upheaval } => Change::Unlogged { relation: number(relation)?, upheaval },
            Change::Truncate { relations } => Change::Truncate { relations: relations.into_iter().map(number).collect::<Option<_>>()? },
        })
    }
}
