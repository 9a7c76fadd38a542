//! The net effect of changes on each row, so that a group writes a row once however often it changed.
//!
//! Sound because only the end of a group is ever visible. Changes are sorted into steps, table by table:
//!
//! ```text
//!   keyed table      i1 u1 u1 d2 i2        ──▶  Net { insert 1 (merged), replace 2 }
//!   ... key change   u3→4                  ──▶  Ordered { update 3→4 }, and a new Net after it
//!   keyless table    i d u                 ──▶  Ordered, as they came
//!   truncate a, b                          ──▶  ends the steps of a and b, then Truncate { a, b }
//! ```
//!
//! A key is compared by its bytes. Two spellings of one key (numeric `1.0` and `1.00`) count as two; the change from
//! one to the other is then a key change, which is applied in order, where the target's own equality holds.
//! Tables do not depend on each other here: foreign keys are not enforced while a group is applied.

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_connector::{
    CellError, ColumnOrigin, ConnectorError, Image, NetChange, OrderedChange, RowFault, SourceTable, Step, Strictness, TargetTable, Unfit,
};
use tidegate_model::{Cell, TableName};

/// Collects changes and gives back steps.
#[derive(Debug, Default)]
pub(crate) struct NetBuilder {
    steps: Vec<Step>,
    tables: Vec<TableNet>,
    index: HashMap<TableName, usize>,
    bytes: usize,
}

#[derive(Debug)]
struct TableNet {
    table: Arc<TargetTable>,
    open: Open,
}

#[derive(Debug)]
enum Open {
    Nothing,
    Net { positions: HashMap<Box<[u8]>, usize>, entries: Vec<Option<(Strictness, NetChange)>> },
    Ordered { strictness: Strictness, changes: Vec<OrderedChange> },
}

impl NetBuilder {
    /// Adds a change of a row of `table`.
    ///
    /// # Errors
    /// Definite (`log_inconsistent`) when strict changes contradict each other, such as two inserts of one key.
    pub(crate) fn add(&mut self, table: &Arc<TargetTable>, strictness: Strictness, change: OrderedChange) -> Result<(), ConnectorError> {
        self.bytes += change_bytes(&change);
        let number = self.number(table);
        let keys = if table.identity.is_empty() { None } else { keys(table, &change)? };
        match keys {
            Some(Keys { before, after }) if before == after => self.add_net(number, strictness, before, change),
            _ => {
                self.add_ordered(number, strictness, change);
                Ok(())
            }
        }
    }

    /// Empties tables, after everything that was added before.
    pub(crate) fn truncate(&mut self, tables: Vec<Arc<TargetTable>>) {
        for table in &tables {
            let number = self.number(table);
            self.close(number);
        }
        self.steps.push(Step::Truncate { tables });
    }

    /// Bytes of row data in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The steps, and an empty builder again.
    pub(crate) fn take_steps(&mut self) -> Vec<Step> {
        for number in 0..self.tables.len() {
            self.close(number);
        }
        let done = std::mem::take(self);
        done.steps
    }

    fn number(&mut self, table: &Arc<TargetTable>) -> usize {
        match self.index.get(&table.name) {
            Some(number) => {
                let number = *number;
                // Another description of the same table: images of the two do not mix.
                if !Arc::ptr_eq(&self.tables[number].table, table) {
                    self.close(number);
                    self.tables[number].table = table.clone();
                }
                number
            }
            None => {
                self.tables.push(TableNet { table: table.clone(), open: Open::Nothing });
                self.index.insert(table.name.clone(), self.tables.len() - 1);
                self.tables.len() - 1
            }
        }
    }

    fn add_ordered(&mut self, number: usize, strictness: Strictness, change: OrderedChange) {
        let fits = matches!(&self.tables[number].open, Open::Ordered { strictness: open, .. } if *open == strictness);
        if !fits {
            self.close(number);
            self.tables[number].open = Open::Ordered { strictness, changes: Vec::new() };
        }
        if let Open::Ordered { changes, .. } = &mut self.tables[number].open {
            changes.push(change);
        }
    }

    fn add_net(&mut self, number: usize, strictness: Strictness, key: Box<[u8]>, change: OrderedChange) -> Result<(), ConnectorError> {
        if !matches!(self.tables[number].open, Open::Net { .. }) {
            self.close(number);
            self.tables[number].open = Open::Net { positions: HashMap::new(), entries: Vec::new() };
        }
        let TableNet { table, open: Open::Net { positions, entries } } = &mut self.tables[number] else { return Ok(()) };
        match positions.get(&key) {
            None => {
                positions.insert(key, entries.len());
                entries.push(Some((strictness, first(change))));
            }
            Some(position) => {
                let entry = &mut entries[*position];
                *entry = match entry.take() {
                    // Inserted and deleted within the group: the next change starts afresh.
                    None => Some((strictness, first(change))),
                    Some((earlier_strictness, earlier)) => {
                        let both = if earlier_strictness == strictness { strictness } else { Strictness::Idempotent };
                        merged(earlier, change, both).map_err(|contradiction| inconsistent(table, contradiction))?.map(|net| (both, net))
                    }
                };
            }
        }
        Ok(())
    }

    fn close(&mut self, number: usize) {
        let TableNet { table, open } = &mut self.tables[number];
        match std::mem::replace(open, Open::Nothing) {
            Open::Nothing => {}
            Open::Ordered { strictness, changes } => self.steps.push(Step::Ordered { table: table.clone(), strictness, changes }),
            Open::Net { entries, .. } => {
                // Rows of one step may pass values of another unique key on to each other, so one that must be taken
                // idempotently takes the others with it: two steps would have no right order.
                let (strictnesses, changes): (Vec<_>, Vec<_>) = entries.into_iter().flatten().unzip();
                let strict = strictnesses.iter().all(|strictness| *strictness == Strictness::Strict);
                let strictness = if strict { Strictness::Strict } else { Strictness::Idempotent };
                if !changes.is_empty() {
                    self.steps.push(Step::Net { table: table.clone(), strictness, changes });
                }
            }
        }
    }
}

fn first(change: OrderedChange) -> NetChange {
    match change {
        OrderedChange::Insert(new) => NetChange::Insert(new),
        OrderedChange::Update { new, .. } => NetChange::Update(new),
        OrderedChange::Delete(old) => NetChange::Delete(old),
    }
}

/// The effect of `earlier` and then `later`; `Ok(None)` for none. `Err` names the contradiction.
fn merged(earlier: NetChange, later: OrderedChange, strictness: Strictness) -> Result<Option<NetChange>, &'static str> {
    use NetChange::{Delete, Insert, Replace, Update};
    let strict = strictness == Strictness::Strict;
    Ok(Some(match (earlier, later) {
        (Insert(old), OrderedChange::Update { new, .. }) => Insert(filled(new, &old)),
        (Replace(old), OrderedChange::Update { new, .. }) => Replace(filled(new, &old)),
        (Update(old), OrderedChange::Update { new, .. }) => Update(filled(new, &old)),
        (Insert(_), OrderedChange::Delete(_)) if strict => return Ok(None),
        (Insert(_) | Replace(_) | Update(_), OrderedChange::Delete(old)) => Delete(old),
        (Delete(_), OrderedChange::Insert(new)) => Replace(new),
        (Insert(_) | Replace(_) | Update(_), OrderedChange::Insert(_)) if strict => return Err("inserts a row that exists"),
        (Insert(_) | Replace(_) | Update(_), OrderedChange::Insert(new)) => Replace(new),
        (Delete(_), OrderedChange::Update { .. }) if strict => return Err("updates a row that is gone"),
        // The row is gone before the update comes: what the update does not tell cannot be known any more.
        (Delete(_), OrderedChange::Update { new, .. }) if is_complete(&new) => Replace(new),
        (Delete(old), OrderedChange::Update { .. }) => Delete(old),
        (Delete(_), OrderedChange::Delete(_)) if strict => return Err("deletes a row that is gone"),
        (Delete(_), OrderedChange::Delete(old)) => Delete(old),
    }))
}

fn inconsistent(table: &TargetTable, contradiction: &str) -> ConnectorError {
    ConnectorError::table(
        &table.source.schema.name,
        "log_inconsistent",
        format!("the log of table \"{}\" {contradiction} within one group of transactions", table.source.schema.name),
    )
    .hint("the table's identity may not be unique at the source; reload the table, or define another primary key")
}

fn filled(later: Image, earlier: &Image) -> Image {
    let computed = match (later.computed, &earlier.computed) {
        (Some(later), Some(earlier)) => Some(later.filled_from(earlier)),
        (later, _) => later,
    };
    Image { row: later.row.filled_from(&earlier.row), computed, is_deleted: later.is_deleted }
}

/// True when every cell is known.
pub(crate) fn is_complete(image: &Image) -> bool {
    image.row.cells().all(|cell| cell.is_known()) && image.computed.as_ref().is_none_or(|row| row.cells().all(|cell| cell.is_known()))
}

/// True when both images have the same key, which both have.
pub(crate) fn keeps_key(table: &TargetTable, old: &Image, new: &Image) -> bool {
    let (old, new) = (key(table, old), key(table, new));
    old.is_some() && old == new
}

struct Keys {
    before: Box<[u8]>,
    after: Box<[u8]>,
}

fn keys(table: &TargetTable, change: &OrderedChange) -> Result<Option<Keys>, ConnectorError> {
    let one = |image: &Image| {
        key(table, image).ok_or_else(|| unread_key(table, image).unwrap_or_else(|| inconsistent(table, "lacks the key of a row")))
    };
    Ok(match change {
        OrderedChange::Insert(image) | OrderedChange::Delete(image) => {
            let key = one(image)?;
            Some(Keys { before: key.clone(), after: key })
        }
        OrderedChange::Update { old: None, new } => {
            let key = one(new)?;
            Some(Keys { before: key.clone(), after: key })
        }
        OrderedChange::Update { old: Some(old), new } => Some(Keys { before: one(old)?, after: one(new)? }),
    })
}

/// The identity's bytes; `None` when the image does not tell them.
pub(crate) fn key(table: &TargetTable, image: &Image) -> Option<Box<[u8]>> {
    let mut key = Vec::with_capacity(table.identity.len() * 13);
    for column in &table.identity {
        let cell = match &table.columns.get(*column)?.origin {
            ColumnOrigin::Source(index) => image.row.cell(*index)?,
            ColumnOrigin::Computed(index) => image.computed.as_ref()?.cell(*index)?,
            ColumnOrigin::Constant(_) => Cell::Null,
        };
        match cell {
            Cell::Null => key.push(0),
            Cell::Binary(bytes) | Cell::Text(bytes) => {
                key.push(1);
                key.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
                key.extend_from_slice(bytes);
            }
            Cell::Unchanged | Cell::Absent | Cell::Faulty(_) => return None,
        }
    }
    Some(key.into_boxed_slice())
}

/// The fault of a row whose key nobody can read.
fn unread_key(table: &TargetTable, image: &Image) -> Option<ConnectorError> {
    let fault = table.identity.iter().find_map(|column| match table.columns.get(*column)?.origin {
        ColumnOrigin::Source(index) => match image.row.cell(index)? {
            Cell::Faulty(fault) => Some((index, fault)),
            _ => None,
        },
        ColumnOrigin::Computed(_) | ColumnOrigin::Constant(_) => None,
    });
    let (index, fault) = fault?;
    let column = &table.source.schema.columns.get(index)?.name;
    Some(unread(&table.source, CellError::unread(column, fault), Unfit::Unread(fault)))
}

/// The error of a row with a cell that the source could not read.
pub(crate) fn unread(source: &SourceTable, error: CellError, found: Unfit) -> ConnectorError {
    let name = &source.schema.name;
    ConnectorError::table(name, found.code(), format!("table \"{name}\": {error}")).of_a_row(RowFault::Value).hint(found.hint())
}

fn change_bytes(change: &OrderedChange) -> usize {
    let image = |image: &Image| image.row.bytes_held() + image.computed.as_ref().map_or(0, |row| row.bytes_held());
    // The entry itself and its place in the index, about.
    128 + match change {
        OrderedChange::Insert(new) | OrderedChange::Delete(new) => image(new),
        OrderedChange::Update { old, new } => image(new) + old.as_ref().map_or(0, image),
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
pub(crate) mod tests;
