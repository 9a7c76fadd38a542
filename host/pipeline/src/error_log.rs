//! What a group says to the error table: for each row the last word counts.

use std::collections::{HashMap, HashSet};

use tidegate_connector::{RejectedRow, Resolved, RowId};
use tidegate_model::TableName;

/// Collects entries in the order of the changes.
#[derive(Debug, Default)]
pub(crate) struct ErrorLog {
    emptied: Vec<TableName>,
    resolved: HashSet<(TableName, RowId)>,
    rejected: HashMap<(TableName, RowId), RejectedRow>,
}

impl ErrorLog {
    /// The target has the row as the source has it.
    pub(crate) fn resolve(&mut self, table: &TableName, id: RowId) {
        let key = (table.clone(), id);
        self.rejected.remove(&key);
        self.resolved.insert(key);
    }

    /// The table has no rows any more.
    pub(crate) fn empty(&mut self, table: &TableName) {
        self.rejected.retain(|(known, _), _| known != table);
        self.emptied.push(table.clone());
    }

    /// The row is at fault.
    pub(crate) fn reject(&mut self, row: RejectedRow) {
        self.rejected.insert((row.table.clone(), row.row_id), row);
    }

    /// What is settled and what is new, and an empty log again.
    pub(crate) fn take(&mut self) -> (Vec<Resolved>, Vec<RejectedRow>) {
        let Self { emptied, resolved, rejected } = std::mem::take(self);
        let emptied = emptied.into_iter().map(|table| Resolved { table, row_id: None });
        let resolved = resolved.into_iter().filter(|key| !rejected.contains_key(key));
        let resolved = resolved.map(|(table, id)| Resolved { table, row_id: Some(id) });
        (emptied.chain(resolved).collect(), rejected.into_values().collect())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_connector::RejectedOperation;

    use super::*;

    #[test]
    fn the_last_word_about_a_row_counts() {
        let table = TableName::new("s", "t");
        let id = |number| RowId([number; 32]);
        let row = |number| RejectedRow {
            table: table.clone(),
            row_id: id(number),
            key: None,
            operation: RejectedOperation::Update,
            position: None,
            module: None,
            digest: None,
            code: "x".into(),
            message: String::new(),
            image: None,
            stored: None,
            is_logged: true,
            exception: None,
        };
        let mut log = ErrorLog::default();
        log.reject(row(1));
        log.empty(&table);
        log.reject(row(2));
        log.resolve(&table, id(2));
        log.resolve(&table, id(3));
        log.reject(row(3));
        let (resolved, rejected) = log.take();
        assert_eq!(rejected, [row(3)]);
        assert_eq!(resolved, [Resolved { table: table.clone(), row_id: None }, Resolved { table: table.clone(), row_id: Some(id(2)) }]);
        assert_eq!(log.take(), (Vec::new(), Vec::new()));
    }
}
