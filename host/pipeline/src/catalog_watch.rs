//! Notices what the source's log does not tell while the stream runs.
//!
//! Of a new table no log tells before its first row. PostgreSQL's tells of a changed definition with the next row only,
//! and never that a table was dropped or that another one has its name. So the catalog is read, some seconds after the log
//! moved: whatever changes a catalog moves the log, and while it stands still there is nothing to read. What the catalog says is
//! about now and not about the stream's place: the next attempt settles what follows.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidegate_connector::Source;
use tidegate_model::{Engine, Fence, TableName, Upheaval};
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::evolution::{Definition, action, changed, differences, upheaved};
use crate::partition_watch::Looked;
use crate::plan::PlannedTable;
use crate::run::{Selection, table_names};
use crate::settings::DdlAction;
use crate::standing::Standing;
use crate::task::TaskError;
use crate::transform::Transformer;

/// How soon after a move of the log the catalog is read, and how often while it goes on moving. One connection and a few
/// queries each time, by guess.
const READ_EVERY: Duration = Duration::from_secs(5);

/// How much longer than a look the pause is that follows: a look at a hundred thousand tables takes seconds of both sides.
const PAUSE_FACTOR: u32 = 10;

/// How often, while the log goes on moving, for a run that sleeps: a busy source may have many of those.
const READ_EVERY_ASLEEP: Duration = Duration::from_secs(30);

/// The catalog is read after so long in any case: what the stream does not tell at once, it tells with the next change of the
/// task's tables.
const READ_AT_LEAST_EVERY: Duration = Duration::from_secs(300);

/// The same for a run that sleeps: a thousand of them would log in several times a second all the time.
const READ_AT_LEAST_EVERY_ASLEEP: Duration = Duration::from_secs(1800);

/// What the attempt began with.
pub(crate) struct Watch {
    /// All tables that the source had.
    names: HashSet<TableName>,
    /// Tables of the task and the definitions that their rows in the target are of, suspended ones left out.
    tables: Vec<(TableName, Arc<Definition>)>,
    fence: Fence,
}

impl Watch {
    pub(crate) fn new(selection: &Selection, standing: &Standing) -> Self {
        let of = |table: &Arc<PlannedTable>| (table.source.schema.name.clone(), table.definition.clone());
        let tables = standing.places.iter().map(|(table, _)| of(table)).collect();
        Self { names: selection.names.clone(), tables, fence: standing.fence.clone() }
    }
}

impl Attempt<'_> {
    /// Waits until the set of the task's tables is another than at the attempt's start.
    ///
    /// # Errors
    /// [`TaskError::Definition`] for a table whose definition is another.
    pub(crate) async fn tables_changed(&self, watch: Watch) -> Result<(), TaskError> {
        let Watch { names: mut known, mut tables, fence } = watch;
        let modules = self.spec.modules.for_target(self.target.engine(), self.spec.values.clone());
        let mut transformer = Transformer::new(modules, self.watched.row_errors.clone());
        let (mut read_at, mut took): (Option<Instant>, Duration) = (None, Duration::ZERO);
        loop {
            self.time_to_read(read_at, took).await;
            read_at = Some(Instant::now());
            // A source that does not answer now is noticed by the stream.
            let Ok(now) = table_names(self.spec, self.source.as_ref()).await else { continue };
            let now: HashSet<TableName> = now.into_iter().collect();
            // The log of MySQL and MariaDB tells in its place what happens to a table.
            if self.source.engine() == Engine::Postgres {
                if self.any_gone(&mut tables, &now).await? {
                    return Ok(());
                }
                self.refuse_changed(&tables).await?;
                self.refuse_moved(&tables, &fence).await?;
            }
            took = read_at.map(|began| began.elapsed()).unwrap_or_default();
            let new: Vec<TableName> = now.difference(&known).cloned().collect();
            known.extend(new.iter().cloned());
            for gone in self.forget_left_out(&fence, &now).await? {
                known.remove(&gone);
            }
            let selectable = new.iter().filter(|table| self.spec.modules.selected().may_have(table));
            let (shadows, selectable): (Vec<_>, Vec<_>) = selectable.partition(|table| is_shadow(self.source.as_ref(), table, &known));
            for table in shadows {
                let notice = format!(
                    "table \"{table}\" came while the task runs and is named as tools name tables in which they change others online: it is left \
                     out until the task is loaded anew"
                );
                tracing::warn!(task = %self.spec.id, table = %table, "{notice}");
                self.watched.board.update(|progress| progress.notices.push(notice));
            }
            for table in selectable {
                // It may be gone again, or not complete yet.
                let Ok(described) = self.source.describe(std::slice::from_ref(table)).await else { continue };
                for described in described {
                    if transformer.plan(described).await?.is_none() {
                        continue;
                    }
                    if self.takes_newcomers() {
                        tracing::info!(task = %self.spec.id, table = %table, "a new table is selected");
                        return Ok(());
                    }
                    self.leave_out(&fence, table).await?;
                }
            }
        }
    }

    /// Waits until the catalog may say something else than it did then. What it says is in the log by the time that it is read.
    async fn time_to_read(&self, read_at: Option<Instant>, took: Duration) {
        // Nobody knows how far the log moved between the look at the tables that the attempt began with and its stream.
        let Some(read_at) = read_at else { return tokio::time::sleep(READ_EVERY).await };
        let at_least = if self.spec.units.is_asleep() { READ_AT_LEAST_EVERY_ASLEEP } else { READ_AT_LEAST_EVERY };
        if tokio::time::timeout_at(read_at + at_least, self.watched.board.log_moved()).await.is_err() {
            return;
        }
        let pause = if self.spec.units.is_asleep() { READ_EVERY_ASLEEP } else { READ_EVERY };
        let pause = pause.max(took * PAUSE_FACTOR);
        tokio::time::sleep_until((read_at + pause).max(Instant::now() + READ_EVERY)).await;
    }

    /// True when a table of the task is gone from its name, and the policy is to do something about it.
    async fn any_gone(&self, tables: &mut Vec<(TableName, Arc<Definition>)>, now: &HashSet<TableName>) -> Result<bool, TaskError> {
        let (there, gone): (Vec<_>, Vec<_>) = std::mem::take(tables).into_iter().partition(|(name, _)| now.contains(name));
        *tables = there;
        // One that belongs to an extension by now is there, and no longer in the task.
        let names: Vec<TableName> = gone.iter().map(|(name, _)| name.clone()).collect();
        if !names.is_empty() && !self.source.existing_tables(&names).await?.is_empty() {
            return Ok(true);
        }
        for (name, definition) in gone {
            let is_renamed = self.is_renamed(&definition).await?;
            let action = if is_renamed { self.spec.ddl.rename_table } else { self.spec.ddl.drop_table };
            if action != DdlAction::Ignore {
                return Ok(true);
            }
            let what = if is_renamed { "renamed" } else { "dropped" };
            tracing::warn!(task = %self.spec.id, table = %name, "table was {what} at the source; its rows stay in the target");
        }
        Ok(false)
    }

    /// True when a table that is gone from its name is still there.
    pub(crate) async fn is_renamed(&self, definition: &Definition) -> Result<bool, TaskError> {
        match definition.lineage() {
            Some(lineage) => Ok(self.source.table_exists(&lineage).await?),
            None => Ok(false),
        }
    }

    async fn refuse_changed(&self, tables: &[(TableName, Arc<Definition>)]) -> Result<(), TaskError> {
        let names: Vec<TableName> = tables.iter().map(|(name, _)| name.clone()).collect();
        // One may have gone in between; then the next look tells.
        let Ok(described) = self.source.describe(&names).await else { return Ok(()) };
        for ((name, definition), now) in tables.iter().zip(&described) {
            let changes = differences(definition, &Definition::of(now));
            match action(&changes, &self.spec.ddl) {
                None | Some(DdlAction::Ignore) => {}
                Some(action) => return Err(changed(name, &changes, action)),
            }
        }
        Ok(())
    }
}

impl Attempt<'_> {
    /// # Errors
    /// [`TaskError::Definition`] for a table whose partitions brought or took rows; those of the target.
    async fn refuse_moved(&self, tables: &[(TableName, Arc<Definition>)], fence: &Fence) -> Result<(), TaskError> {
        let names: Vec<TableName> = tables.iter().map(|(name, _)| name.clone()).collect();
        // A source that does not answer now is noticed by the stream.
        let Ok(Looked { moved, changed }) = self.look_at_partitions(&names).await else { return Ok(()) };
        let upheaved = |table: &TableName| upheaved(table, Upheaval::Moved, &self.spec.ddl);
        if let Some(error) = moved.iter().find_map(upheaved) {
            return Err(error);
        }
        for (name, parts) in changed {
            let Some((_, definition)) = tables.iter().find(|(table, _)| *table == name) else { continue };
            self.target.save_definition(fence, &name, &definition.with_parts(parts).to_text()).await?;
        }
        Ok(())
    }
}

/// True for a table that a tool works in while it changes another one online: its rows come to the task when it takes
/// the other's name. Sources: gh-ost, `go/base/context.go`, `GetGhostTableName` and others there;
/// pt-online-schema-change's manual, `--new-table-name`.
pub(crate) fn is_shadow(source: &dyn Source, table: &TableName, names: &HashSet<TableName>) -> bool {
    source.engine() != Engine::Postgres && shadows(table, names)
}

fn shadows(table: &TableName, names: &HashSet<TableName>) -> bool {
    let plain = table.name.trim_start_matches('_');
    if plain.len() == table.name.len() {
        return false;
    }
    ["_gho", "_ghc", "_del", "_new", "_old"]
        .iter()
        .filter_map(|suffix| plain.strip_suffix(suffix))
        .any(|of| names.iter().any(|name| name.schema == table.schema && name.name.trim_start_matches('_') == of && name != table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_online_changes_are_known_by_their_names() {
        let names: HashSet<TableName> = ["t", "_t_gho", "_u_new"].map(|name| TableName::new("s", name)).into();
        for (name, wanted) in [("_t_gho", true), ("_t_del", true), ("__t_old", true), ("_u_new", false), ("t", false), ("t_new", false)] {
            assert_eq!(shadows(&TableName::new("s", name), &names), wanted, "{name}");
        }
    }
}
