//! Notices what is done to single partitions of a table that is published by its root: of TRUNCATE, ATTACH, DETACH and DROP of a
//! partition, PostgreSQL's log tells nothing. So the partitions and their files are compared with those before, each time that
//! the catalog is read, and whenever the target refuses a change of the table.
//!
//! A file changes with VACUUM FULL and with TRUNCATE of the root too, which the log tells: what follows then is not needed, and
//! right. What happens while the task does not run is not noticed; the check says so.

use std::collections::HashMap;
use std::sync::Mutex;

use tidegate_connector::{ConnectorError, Partition};
use tidegate_model::TableName;

use crate::attempt::Attempt;

/// The partitions of the task's tables by their numbers, as they were last seen in this run.
#[derive(Debug, Default)]
pub(crate) struct Parts(Mutex<HashMap<TableName, HashMap<u32, Partition>>>);

impl Attempt<'_> {
    /// Tables of which a partition went, got another file or came with rows since this was asked before.
    pub(crate) async fn moved_partitions(&self, tables: &[TableName]) -> Result<Vec<TableName>, ConnectorError> {
        let found = self.source.partitions(tables).await?;
        Ok(self.watched.parts.moved(tables, found))
    }
}

impl Parts {
    fn moved(&self, tables: &[TableName], found: Vec<Partition>) -> Vec<TableName> {
        let mut now: HashMap<TableName, HashMap<u32, Partition>> = HashMap::new();
        for partition in found {
            now.entry(partition.of.clone()).or_default().insert(partition.number, partition);
        }
        let mut known = self.0.lock().expect("no holder of this lock panics");
        let mut moved = Vec::new();
        for table in tables {
            let now = now.remove(table).unwrap_or_default();
            let before = known.insert(table.clone(), now.clone());
            let Some(what) = before.and_then(|before| what_moved(&before, &now)) else { continue };
            tracing::warn!(table = %table, "partition {what}, of which the source's log tells nothing");
            moved.push(table.clone());
        }
        moved
    }
}

fn what_moved(before: &HashMap<u32, Partition>, now: &HashMap<u32, Partition>) -> Option<String> {
    let gone = before.values().find(|known| !now.contains_key(&known.number));
    if let Some(gone) = gone {
        return Some(format!("\"{}\" was detached or dropped", gone.name));
    }
    now.values().find_map(|found| match before.get(&found.number) {
        Some(known) if known.storage != found.storage => Some(format!("\"{}\" was emptied or rewritten", found.name)),
        None if found.brought_rows => Some(format!("\"{}\" was attached with rows", found.name)),
        Some(_) | None => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32, storage: u32, brought_rows: bool) -> Partition {
        Partition { of: TableName::new("s", "t"), name: TableName::new("s", format!("t{number}")), number, storage, brought_rows }
    }

    #[test]
    fn partitions_that_go_change_files_or_bring_rows_are_told_once() {
        let (parts, tables) = (Parts::default(), [TableName::new("s", "t"), TableName::new("s", "plain")]);
        let steps = [
            (vec![partition(1, 10, true), partition(2, 20, false)], false),
            (vec![partition(1, 10, true), partition(2, 20, false)], false),
            // Made as a partition, or attached while it was empty: what comes into it is in the log.
            (vec![partition(1, 10, true), partition(2, 20, false), partition(3, 30, false)], false),
            (vec![partition(1, 10, true), partition(2, 20, false), partition(3, 30, true)], false),
            (vec![partition(1, 11, true), partition(2, 20, false), partition(3, 30, true)], true),
            (vec![partition(1, 11, true), partition(3, 30, true)], true),
            (vec![partition(1, 11, true), partition(3, 30, true), partition(4, 40, true)], true),
            (vec![partition(1, 11, true), partition(3, 30, true), partition(4, 40, true)], false),
            (Vec::new(), true),
        ];
        for (place, (found, wanted)) in steps.into_iter().enumerate() {
            let told = parts.moved(&tables, found);
            assert_eq!(told, if wanted { tables[..1].to_vec() } else { Vec::new() }, "step {place}");
        }
    }
}
