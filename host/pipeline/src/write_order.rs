//! Which groups may be written to the target at the same time. They are always committed in the source's order.
//!
//! ```text
//!   group 1  a{1,2}          begins at once
//!   group 2  a{3} b{1}       begins at once: no row in common with group 1
//!   group 3  a{2}            begins when group 1 is committed
//!   group 4  truncate b      begins when group 2 is committed
//! ```
//!
//! A group that is written while an earlier one is not committed sees the target without it. That is the same to it when
//! the two touch no row in common. Rows are told by their identity's bytes, so this is about what the log says, not about
//! what the target's own equality, unique keys, foreign keys or triggers make of it: where those bring two groups
//! together, the target refuses or delays one of them, and who applies the groups must then fall back to one after the
//! other ([`WriteOrder::distrust`] keeps it from trying again at once). What the target would *not* refuse is taken
//! together here: changes of a snapshot's window find nothing wrong with a row that is missing, so they come after
//! everything else of their table; keyless rows likewise, but for inserts, among which no order matters.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tidegate_connector::{NetChange, OrderedChange, Step, Strictness, TargetTable};
use tidegate_model::TableName;

use crate::net::key;

/// For how many groups a table is taken as a whole after its rows met where their keys do not; doubles each time.
const DISTRUST_GROUPS: u64 = 32;

/// Doublings of [`DISTRUST_GROUPS`].
const DISTRUST_DOUBLINGS_MAX: u32 = 8;

/// The number of a group; later groups have higher ones.
pub(crate) type Number = u64;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct WriteOrder {
    hasher: RandomState,
    entered: Number,
    tables: HashMap<TableName, TableUse>,
    /// What the groups under way touch, oldest first.
    under_way: VecDeque<(Number, Vec<Touched>)>,
    distrusted: HashMap<TableName, Distrust>,
}

/// Who touched a table last, of the groups under way.
#[derive(Debug)]
struct TableUse {
    table: Arc<TargetTable>,
    whole: Option<Number>,
    appended: Option<Number>,
    by_row: Option<Number>,
    rows: HashMap<u64, Number>,
}

/// What a group does to a table.
#[derive(Debug)]
struct Touched {
    table: Arc<TargetTable>,
    what: Touch,
}

#[derive(Debug)]
enum Touch {
    /// Everything in it, as far as one can tell.
    Whole,
    /// Adds rows that nothing tells apart.
    Appends,
    /// Rows, by digests of their identities. Two rows with one digest wait for each other without need.
    Rows(Vec<u64>),
}

#[derive(Debug)]
struct Distrust {
    until: Number,
    times: u32,
}

impl WriteOrder {
    /// Takes a group in. Answers its number, and the group under way after whose commit it may be written; `None` for at once.
    pub(crate) fn enter(&mut self, steps: &[Step]) -> (Number, Option<Number>) {
        self.entered += 1;
        let number = self.entered;
        let touched: Vec<Touched> = steps.iter().flat_map(|step| self.touched(step)).collect();
        let after = touched.iter().filter_map(|touched| self.last_before(touched)).max();
        touched.iter().for_each(|touched| self.note(number, touched));
        self.under_way.push_back((number, touched));
        (number, after)
    }

    /// The oldest group under way is committed.
    pub(crate) fn leave(&mut self) {
        let Some((number, touched)) = self.under_way.pop_front() else { return };
        for Touched { table, what } in touched {
            let Some(used) = self.tables.get_mut(&table.name) else { continue };
            for last in [&mut used.whole, &mut used.appended, &mut used.by_row] {
                last.take_if(|last| *last == number);
            }
            if let Touch::Rows(rows) = what {
                for row in rows {
                    if used.rows.get(&row) == Some(&number) {
                        used.rows.remove(&row);
                    }
                }
            }
            if used.last().is_none() {
                self.tables.remove(&table.name);
            }
        }
    }

    /// Rows of different groups met in this table, by its name in the target, though their identities are different: for
    /// a while its groups come one after the other.
    pub(crate) fn distrust(&mut self, table: &TableName) {
        let distrust = self.distrusted.entry(table.clone()).or_insert(Distrust { until: 0, times: 0 });
        distrust.until = self.entered + (DISTRUST_GROUPS << distrust.times);
        distrust.times = (distrust.times + 1).min(DISTRUST_DOUBLINGS_MAX);
    }

    fn touched(&self, step: &Step) -> Vec<Touched> {
        let one = |table: &Arc<TargetTable>, what: Option<Touch>| {
            let is_trusted = self.distrusted.get(&table.name).is_none_or(|distrust| distrust.until < self.entered);
            vec![Touched { table: table.clone(), what: what.filter(|_| is_trusted).unwrap_or(Touch::Whole) }]
        };
        match step {
            Step::Truncate { tables } => tables.iter().map(|table| Touched { table: table.clone(), what: Touch::Whole }).collect(),
            Step::Net { table, strictness: Strictness::Idempotent, .. }
            | Step::Ordered { table, strictness: Strictness::Idempotent, .. } => one(table, None),
            Step::Net { table, changes, .. } if table.identity.is_empty() => {
                let appends = changes.iter().all(|change| matches!(change, NetChange::Insert(_)));
                one(table, appends.then_some(Touch::Appends))
            }
            Step::Ordered { table, changes, .. } if table.identity.is_empty() => {
                let appends = changes.iter().all(|change| matches!(change, OrderedChange::Insert(_)));
                one(table, appends.then_some(Touch::Appends))
            }
            Step::Net { table, changes, .. } => {
                let rows = changes.iter().map(|change| match change {
                    NetChange::Insert(image) | NetChange::Update(image) | NetChange::Delete(image) | NetChange::Replace(image) => {
                        key(table, image)
                    }
                });
                one(table, self.rows(rows))
            }
            Step::Ordered { table, changes, .. } => {
                let rows = changes.iter().flat_map(|change| match change {
                    OrderedChange::Insert(image) | OrderedChange::Delete(image) => vec![key(table, image)],
                    OrderedChange::Update { old, new } => old.iter().chain([new]).map(|image| key(table, image)).collect(),
                });
                one(table, self.rows(rows))
            }
        }
    }

    /// `None` when a row does not tell its identity.
    fn rows(&self, keys: impl Iterator<Item = Option<Box<[u8]>>>) -> Option<Touch> {
        keys.map(|key| key.map(|key| self.hasher.hash_one(key))).collect::<Option<Vec<u64>>>().map(Touch::Rows)
    }

    /// The last group under way that one which does this must wait for.
    fn last_before(&self, touched: &Touched) -> Option<Number> {
        let used = self.tables.get(&touched.table.name)?;
        // Another description may have another identity, whose bytes are not comparable.
        if !used.table.is_same(&touched.table) {
            return used.last();
        }
        match &touched.what {
            Touch::Whole => used.last(),
            Touch::Appends => used.whole.max(used.by_row),
            Touch::Rows(rows) => {
                let by_row = rows.iter().filter_map(|row| used.rows.get(row).copied()).max();
                used.whole.max(used.appended).max(by_row)
            }
        }
    }

    fn note(&mut self, number: Number, touched: &Touched) {
        let Touched { table, what } = touched;
        let used = self.tables.entry(table.name.clone()).or_insert_with(|| TableUse::of(table));
        if !used.table.is_same(table) {
            *used = TableUse { whole: Some(number), ..TableUse::of(table) };
            return;
        }
        match what {
            Touch::Whole => used.whole = Some(number),
            Touch::Appends => used.appended = Some(number),
            Touch::Rows(rows) => {
                used.by_row = Some(number);
                used.rows.extend(rows.iter().map(|row| (*row, number)));
            }
        }
    }
}

impl TableUse {
    fn of(table: &Arc<TargetTable>) -> Self {
        Self { table: table.clone(), whole: None, appended: None, by_row: None, rows: HashMap::new() }
    }

    /// The last group that touched the table in any way.
    fn last(&self) -> Option<Number> {
        self.whole.max(self.appended).max(self.by_row)
    }
}

#[cfg(test)]
#[path = "write_order_tests.rs"]
mod tests;
