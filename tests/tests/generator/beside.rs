//! A second session's transaction, which stays open over what the first one does: the load finds it open, and the log has
//! changes of both in between each other.
//!
//! It writes rows of its own into one table. Nobody else knows them before its commit, and its locks keep the table's
//! definition as it is: the first session waits a little, is refused, and goes on.

use rand::seq::IndexedRandom;

use super::history::{changes, insert};
use super::plan::State;
use super::tables::Table;
use super::values::Draw;

pub(super) struct Beside {
    /// The table with the rows of this transaction alone.
    table: Table,
}

impl Beside {
    /// Opens a transaction in a table whose rows have names, if there is one.
    pub(super) fn open(draw: &mut Draw, state: &mut State) -> Option<(Beside, Vec<String>)> {
        let named: Vec<usize> = (0..state.tables.len()).filter(|place| state.tables[*place].has_names()).collect();
        let shared = &mut state.tables[*named.choose(&mut draw.random)?];
        let mut table = shared.clone();
        table.rows.clear();
        let statements = vec!["begin".to_owned(), insert(draw, &mut table, 5)];
        shared.next = table.next;
        Some((Beside { table }, statements))
    }

    /// Does more in it.
    pub(super) fn go_on(&mut self, draw: &mut Draw, state: &mut State) -> Vec<String> {
        let Some(shared) = Self::shared(&self.table, state) else { return vec!["rollback".to_owned(), "begin".to_owned()] };
        self.table.next = shared.next;
        let statements = changes(draw, &mut self.table);
        shared.next = self.table.next;
        statements
    }

    /// Ends it, mostly with what it did.
    pub(super) fn end(self, draw: &mut Draw, state: &mut State) -> Vec<String> {
        match Self::shared(&self.table, state) {
            Some(shared) if !draw.one_in(4) => {
                shared.rows.extend(self.table.rows);
                vec!["commit".to_owned()]
            }
            _ => vec!["rollback".to_owned()],
        }
    }

    /// A server keeps the name of a table that is locked; a list of statements that nobody runs does not.
    fn shared<'a>(table: &Table, state: &'a mut State) -> Option<&'a mut Table> {
        state.tables.iter_mut().find(|shared| shared.name == table.name)
    }
}
