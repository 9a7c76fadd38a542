//! Notices what is done to single partitions of a table that is published by its root: of TRUNCATE, ATTACH, DETACH and DROP of a
//! partition, PostgreSQL's log tells nothing. So the partitions and their files are compared with those before, each time that
//! the catalog is read, and whenever the target refuses a change of the table. They are stored with the table's definition, so that
//! what happens while the task does not run is noticed when it starts.
//!
//! A file changes with VACUUM FULL and with TRUNCATE of the root too, which the log tells: what follows then is not needed, and
//! right.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tidegate_connector::{ConnectorError, Partition};
use tidegate_model::{Engine, TableName};

use crate::attempt::Attempt;
use crate::plan::PlannedTable;

/// The partitions of a table by their numbers. Two are equal when nothing was done to them, whatever rows came.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Parts {
    parts: BTreeMap<u32, Part>,
    /// Those that would bring rows if they were new.
    #[serde(skip)]
    with_rows: BTreeSet<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    name: String,
    storage: u32,
    attached: String,
}

impl PartialEq for Parts {
    fn eq(&self, other: &Self) -> bool {
        self.parts == other.parts
    }
}

impl Eq for Parts {}

impl Parts {
    fn add(&mut self, partition: Partition) {
        let Partition { name, number, storage, brought_rows, attached, .. } = partition;
        if brought_rows {
            self.with_rows.insert(number);
        }
        self.parts.insert(number, Part { name: name.to_string(), storage, attached });
    }

    /// What went, got another file or came with rows since it was like `before`.
    pub(crate) fn moved_since(&self, before: &Parts) -> Option<String> {
        let gone = before.parts.iter().find(|(number, _)| !self.parts.contains_key(number));
        if let Some((_, gone)) = gone {
            return Some(format!("partition \"{}\" was detached or dropped", gone.name));
        }
        self.parts.iter().find_map(|(number, found)| match before.parts.get(number) {
            Some(known) if known.storage != found.storage => Some(format!("partition \"{}\" was emptied or rewritten", found.name)),
            // What it got or lost in between is in no log.
            Some(known) if known.attached != found.attached => Some(format!("partition \"{}\" was attached again", found.name)),
            None if self.with_rows.contains(number) => Some(format!("partition \"{}\" was attached with rows", found.name)),
            Some(_) | None => None,
        })
    }
}

/// The partitions of the task's tables, as they were last seen in this run.
#[derive(Debug, Default)]
pub(crate) struct KnownParts(Mutex<HashMap<TableName, Parts>>);

/// A look at the partitions of some tables.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Tables of which a partition went, got another file or came with rows since the look before.
    pub(crate) moved: Vec<TableName>,
    /// Tables that have other partitions than at the look before, these included.
    pub(crate) changed: Vec<(TableName, Parts)>,
}

impl Attempt<'_> {
    /// Looks at the partitions of these tables.
    pub(crate) async fn look_at_partitions(&self, tables: &[TableName]) -> Result<Looked, ConnectorError> {
        let found = self.source.partitions(tables).await?;
        Ok(self.watched.parts.look(tables, found))
    }

    /// The same for tables that are planned: their definitions have what was found.
    pub(crate) async fn look_at_planned(&self, planned: &mut [Arc<PlannedTable>]) -> Result<Looked, ConnectorError> {
        if self.source.engine() != Engine::Postgres {
            return Ok(Looked::default());
        }
        let names: Vec<TableName> = planned.iter().map(|table| table.source.schema.name.clone()).collect();
        let looked = self.look_at_partitions(&names).await?;
        for (table, name) in planned.iter_mut().zip(&names) {
            let table = Arc::make_mut(table);
            table.definition = Arc::new(table.definition.with_parts(self.watched.parts.of(name)));
        }
        Ok(looked)
    }
}

impl KnownParts {
    /// What was seen last.
    fn of(&self, table: &TableName) -> Parts {
        self.0.lock().expect("no holder of this lock panics").get(table).cloned().unwrap_or_default()
    }

    fn look(&self, tables: &[TableName], found: Vec<Partition>) -> Looked {
        let mut now: HashMap<TableName, Parts> = HashMap::new();
        for partition in found {
            now.entry(partition.of.clone()).or_default().add(partition);
        }
        let mut known = self.0.lock().expect("no holder of this lock panics");
        let mut looked = Looked::default();
        for table in tables {
            let now = now.remove(table).unwrap_or_default();
            let Some(before) = known.insert(table.clone(), now.clone()).filter(|before| *before != now) else { continue };
            if let Some(what) = now.moved_since(&before) {
                tracing::warn!(table = %table, "{what}, of which the source's log tells nothing");
                looked.moved.push(table.clone());
            }
            looked.changed.push((table.clone(), now));
        }
        looked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32, storage: u32, brought_rows: bool, attached: &str) -> Partition {
        let (of, name) = (TableName::new("s", "t"), TableName::new("s", format!("t{number}")));
        Partition { of, name, number, storage, brought_rows, attached: attached.into() }
    }

    #[test]
    fn partitions_that_go_change_files_or_bring_rows_are_told_once() {
        let (known, tables) = (KnownParts::default(), [TableName::new("s", "t"), TableName::new("s", "plain")]);
        let (one, two) = (partition(1, 10, true, "7"), partition(2, 20, false, "7 8"));
        let three = |brought_rows| partition(3, 30, brought_rows, "7");
        let (one_emptied, two_again) = (partition(1, 11, true, "7"), partition(2, 20, true, "9 8"));
        let steps = [
            (vec![one.clone(), two.clone()], false),
            (vec![one.clone(), two.clone()], false),
            // Made as a partition, or attached while it was empty: what comes into it is in the log.
            (vec![one.clone(), two.clone(), three(false)], false),
            (vec![one, two.clone(), three(true)], false),
            (vec![one_emptied.clone(), two, three(true)], true),
            // It, or what it is a part of, went and came back.
            (vec![one_emptied.clone(), two_again, three(true)], true),
            (vec![one_emptied.clone(), three(true)], true),
            (vec![one_emptied.clone(), three(true), partition(4, 40, true, "7")], true),
            (vec![one_emptied, three(true), partition(4, 40, true, "7")], false),
            (Vec::new(), true),
        ];
        for (place, (found, wanted)) in steps.into_iter().enumerate() {
            let told = known.look(&tables, found).moved;
            assert_eq!(told, if wanted { tables[..1].to_vec() } else { Vec::new() }, "step {place}");
        }
    }

    #[test]
    fn stored_partitions_are_what_they_were_whatever_rows_came() {
        let of = |all: Vec<Partition>| {
            let mut parts = Parts::default();
            all.into_iter().for_each(|one| parts.add(one));
            parts
        };
        let before = of(vec![partition(1, 10, false, "7")]);
        let stored: Parts = serde_json::from_str(&serde_json::to_string(&before).expect("written")).expect("read");
        let now = of(vec![partition(1, 10, true, "7")]);
        assert!(stored == now && now.moved_since(&stored).is_none());
        let emptied = of(vec![partition(1, 11, false, "7")]);
        assert_eq!(emptied.moved_since(&stored).as_deref(), Some("partition \"s.t1\" was emptied or rewritten"));
    }
}
