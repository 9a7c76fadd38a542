//! The rejected rows of a run: decides by the task's policy about each, and knows which rows the target lacks or has in
//! an old state.
//!
//! A change of such a row must be told from others: only one that tells the whole row, or removes it, brings the target
//! level again, and is then applied idempotently. So the names of all rejected rows are read from the target at the
//! start of each attempt, and kept here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tidegate_connector::{
    CUT, ConnectorError, ControlWrite, Image, RejectedId, RejectedOperation, RejectedRow, RowFault, RowId, SourceTable, TargetTable,
};
use tidegate_model::{Row, TableName};
use tidegate_sandbox::SandboxError;
use tokio::sync::oneshot;

use crate::ModuleSet;
use crate::board::Board;
use crate::error_rate::ErrorRate;
use crate::exceptions::{Exception, Exceptions};
use crate::large_values::Oversize;
use crate::policy::{ConflictAction, MissingDelete, RowAction, RowErrorPolicy};
use crate::rejection::{Rejection, key_json, row_id, row_json, store_row};
use crate::swap::Undone;
use crate::table_errors::CONFLICT;
use crate::task::TaskError;
use crate::trial::{Blamed, Trial, Trials};

/// Rejected rows of a task that are remembered: about 100 bytes of memory each.
pub(crate) const REJECTED_MAX: u32 = 100_000;

/// Rows of a task with values that were cut that the error table names; further ones are only counted. They wait in memory
/// for the end of their group, about 300 bytes each.
const CUT_MAX: usize = 20_000;

/// Batches that are taken apart because a module fails on them, in [`BISECTIONS_WITHIN`]: each costs dozens of fresh
/// sandboxes, and a module that fails so often is wrong as a whole.
const BISECTIONS_MAX: usize = 20;
const BISECTIONS_WITHIN: Duration = Duration::from_secs(60);

/// See the module's documentation. One for each run.
pub(crate) struct RowErrors {
    policy: RowErrorPolicy,
    exceptions: Option<Exceptions>,
    pub(crate) board: Arc<Board>,
    /// New versions of the task's modules.
    pub(crate) trials: Trials,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashMap<TableName, HashSet<RowId>>,
    /// Rows that are in the target with values that were cut, as far as the error table names them.
    cut: HashMap<TableName, HashSet<RowId>>,
    rate: ErrorRate,
    /// What ended the attempt last, where that was a rejected row.
    blamed: Option<Blamed>,
    bisections: VecDeque<Instant>,
    /// Tables of which a delete found no row, as far as that was told.
    missed: HashSet<TableName>,
    /// Rows in conflict that were left out, by table.
    conflicts: HashMap<TableName, u64>,
}

/// What of a row is to go to the error table.
pub(crate) struct Rejected<'a> {
    pub(crate) table: &'a SourceTable,
    pub(crate) operation: RejectedOperation,
    pub(crate) position: Option<String>,
    /// The row as the change leaves it, as far as it is known.
    pub(crate) row: &'a Row,
}

impl RowErrors {
    pub(crate) fn new(policy: RowErrorPolicy, board: Arc<Board>) -> Self {
        Self { policy, exceptions: None, board, trials: Trials::default(), state: Mutex::default() }
    }

    /// The same; rows that are logged are told of in a control table, too.
    pub(crate) fn telling(self, exceptions: Option<Exceptions>) -> Self {
        Self { exceptions, ..self }
    }

    /// What the target is asked for an image, where somebody is to be told; with row values.
    pub(crate) fn statement(&self, table: &TargetTable, operation: RejectedOperation, image: &Image) -> Option<String> {
        self.exceptions.as_ref().filter(|_| self.policy.images)?.statement(table, operation, image)
    }

    /// Forgets what an earlier attempt knew and takes what the target has.
    pub(crate) fn start_attempt(&self, ids: Vec<RejectedId>) {
        let (mut known, mut cut): (HashMap<TableName, HashSet<RowId>>, HashMap<_, HashSet<RowId>>) = Default::default();
        for RejectedId { table, row_id, is_cut } in ids {
            let of = if is_cut { &mut cut } else { &mut known };
            of.entry(table).or_default().insert(row_id);
        }
        let mut state = self.state();
        (state.known, state.cut) = (known, cut);
    }

    /// Forgets a table's rows: it is loaded from its first row, or was emptied.
    pub(crate) fn forget_table(&self, table: &TableName) {
        let mut state = self.state();
        state.known.remove(table);
        state.cut.remove(table);
    }

    /// True when the error table names a row of the table that was cut.
    pub(crate) fn has_cut(&self, table: &TableName) -> bool {
        self.state().cut.contains_key(table)
    }

    /// True when the error table says of the row that it was cut. It no longer does after the group that the caller makes.
    pub(crate) fn forget_cut(&self, table: &TableName, id: RowId) -> bool {
        let mut state = self.state();
        let Some(cut) = state.cut.get_mut(table) else { return false };
        let was_cut = cut.remove(&id);
        if cut.is_empty() {
            state.cut.remove(table);
        }
        was_cut
    }

    /// True when a row of the table is known to be rejected.
    pub(crate) fn has_table(&self, table: &TableName) -> bool {
        self.state().known.contains_key(table)
    }

    /// True when one of the rows is known to be rejected.
    pub(crate) fn knows(&self, table: &TableName, ids: &[RowId]) -> bool {
        self.state().known.get(table).is_some_and(|known| ids.iter().any(|id| known.contains(id)))
    }

    /// The target has these rows as the source has them.
    pub(crate) fn resolved(&self, table: &TableName, ids: &[RowId]) {
        let mut state = self.state();
        let Some(known) = state.known.get_mut(table) else { return };
        ids.iter().for_each(|id| {
            known.remove(id);
        });
        if known.is_empty() {
            state.known.remove(table);
        }
    }

    /// Rows that were accepted.
    pub(crate) fn accepted(&self, rows: u64) {
        self.state().rate.accepted(rows);
    }

    /// A new version of a module is on trial from now on.
    pub(crate) fn begin_trial(&self, module: &str, tables: HashSet<TableName>, before: &ModuleSet, undone: oneshot::Sender<Undone>) {
        self.trials.begin(module, tables, before, undone);
        // What the version before did is not held against the new one.
        self.state().rate = ErrorRate::default();
    }

    /// The trial of a new version that the error ends, which it does once.
    pub(crate) fn fails_trial(&self, error: &TaskError) -> Option<Trial> {
        let mut state = self.state();
        let blamed = state.blamed.take();
        let trial = self.trials.failed_by(error, blamed.as_ref())?;
        state.rate = ErrorRate::default();
        state.bisections.clear();
        Some(trial)
    }

    /// True when rows at fault are to be told from the others: with the policy to stop nothing is gained by it.
    pub(crate) fn isolates(&self, fault: RowFault) -> bool {
        !matches!(self.action(fault), RowAction::Stop | RowAction::SuspendTable)
    }

    /// The error, or the suspension of its table where the policy for rows at fault is that: then the rows are not told
    /// apart first. A new version of a module on trial is swapped back instead.
    pub(crate) fn or_suspension(&self, error: TaskError) -> TaskError {
        let concerned = match &error {
            TaskError::Connector(error) => error.row_fault().zip(error.table_name().cloned()),
            TaskError::Module { module, table: Some(table), .. } if is_of_rows(&error) && !self.trials.concern(module, table) => {
                Some((RowFault::Value, table.clone()))
            }
            _ => None,
        };
        match concerned {
            Some((fault, table)) if self.action(fault) == RowAction::SuspendTable => {
                TaskError::SuspendTable { table, cause: Box::new(error) }
            }
            _ => error,
        }
    }

    /// True when changes are made to hold whatever the target has.
    pub(crate) fn is_upsert(&self) -> bool {
        (self.policy.insert_conflict, self.policy.update_conflict) == (ConflictAction::Upsert, ConflictAction::Upsert)
    }

    /// True when conflicts are settled change by change.
    pub(crate) fn settles_conflicts(&self) -> bool {
        let actions = [self.policy.insert_conflict, self.policy.update_conflict];
        !self.is_upsert() && actions.iter().any(|action| *action != ConflictAction::Stop)
    }

    /// What the policy is for a change that does not find what it must.
    pub(crate) fn on_conflict(&self, operation: RejectedOperation) -> ConflictAction {
        match operation {
            RejectedOperation::Load | RejectedOperation::Insert => self.policy.insert_conflict,
            RejectedOperation::Update | RejectedOperation::Delete => self.policy.update_conflict,
        }
    }

    /// True when deletes that find no row in the target hold nothing up.
    pub(crate) fn forgives_deletes(&self) -> bool {
        self.policy.missing_delete != MissingDelete::Conflict
    }

    /// A delete of the table found no row in the target: says so, once in a run, where the policy wants it told.
    pub(crate) fn missed_delete(&self, table: &TableName) {
        if self.policy.missing_delete != MissingDelete::Log || !self.state().missed.insert(table.clone()) {
            return;
        }
        let text = format!("table \"{table}\": a delete found no row in the target, and the task goes on; further ones are not told");
        tracing::warn!(table = %table, "{text}");
        self.board.update(|progress| progress.notices.push(text));
    }

    /// True when a control table is told of each delete that finds no row.
    pub(crate) fn tells_missed_deletes(&self) -> bool {
        self.policy.missing_delete == MissingDelete::Log && self.exceptions.is_some()
    }

    /// What the control table is told of a delete that found no row.
    pub(crate) fn missed_row(&self, table: &TargetTable, image: &Image) -> Option<ControlWrite> {
        let exceptions = self.exceptions.as_ref()?;
        let operation = RejectedOperation::Delete;
        let message = format!("table \"{}\" of the target: found no row to delete", table.name);
        let row = exceptions.row(Exception {
            table: &table.source.schema.name,
            operation,
            key: key_json(&table.source, &image.row).as_deref(),
            code: CONFLICT,
            message: &message,
            statement: self.statement(table, operation, image),
        });
        Some(ControlWrite::Append(row))
    }

    /// Counts a batch that is taken apart.
    ///
    /// # Errors
    /// `too_many_bisections`, with the module's own word, when that happens too often.
    pub(crate) fn bisects(&self, cause: &TaskError) -> Result<(), TaskError> {
        let now = Instant::now();
        let mut state = self.state();
        while state.bisections.front().is_some_and(|at| now.duration_since(*at) > BISECTIONS_WITHIN) {
            state.bisections.pop_front();
        }
        if state.bisections.len() >= BISECTIONS_MAX {
            state.blamed = match cause {
                TaskError::Module { module, table: Some(table), .. } => Some(Blamed { module: module.clone(), table: table.clone() }),
                _ => None,
            };
            let message = format!("more than {BISECTIONS_MAX} batches failed within a minute, the last one so: {}", cause.chain());
            return Err(stopped("too_many_bisections", message));
        }
        state.bisections.push_back(now);
        Ok(())
    }

    /// Decides about a row at fault: what goes to the error table.
    ///
    /// # Errors
    /// How the task, or the table's part in it, ends by the task's policy.
    pub(crate) fn reject(&self, rejected: &Rejected<'_>, rejection: Rejection) -> Result<RejectedRow, TaskError> {
        let Rejected { table, operation, row, .. } = rejected;
        let name = &table.schema.name;
        // A row that no later change can be told to concern must not be left behind.
        let Some(id) = row_id(table, row) else { return Err(rejection.stops_as) };
        let action = match rejection.fault {
            RowFault::Conflict => self.conflict_action(name, *operation),
            fault => {
                let known = self.state().known.get(name).map_or(0, HashSet::len) as u64;
                match self.policy.escalation {
                    Some((count, action)) if known + 1 >= count => action,
                    _ => self.action(fault),
                }
            }
        };
        match action {
            RowAction::Stop => {
                self.state().blamed = blamed(name, &rejection);
                return Err(rejection.stops_as);
            }
            RowAction::SuspendTable => return Err(TaskError::SuspendTable { table: name.clone(), cause: Box::new(rejection.stops_as) }),
            RowAction::Log | RowAction::Ignore => {}
        }
        self.count(name, id, &rejection)?;
        let is_logged = action == RowAction::Log;
        let keeps_row = is_logged && self.policy.images;
        let message = if is_logged { rejection.short_message() } else { "ignored by the task's policy".into() };
        let (module, digest) = rejection.module.unzip();
        let key = key_json(table, row);
        let exception = self.exceptions.as_ref().filter(|_| is_logged).map(|exceptions| {
            let (key, code, statement) = (key.as_deref(), rejection.code.as_str(), rejection.statement);
            exceptions.row(Exception { table: name, operation: *operation, key, code, message: &message, statement })
        });
        Ok(RejectedRow {
            table: name.clone(),
            row_id: id,
            key,
            operation: *operation,
            position: rejected.position.clone(),
            module,
            digest,
            code: rejection.code,
            message,
            image: if keeps_row { row_json(table, row) } else { None },
            stored: if keeps_row { store_row(table, row, *operation) } else { None },
            is_logged,
            exception,
        })
    }

    /// A row goes to the target with values that were cut: what goes to the error table about it.
    ///
    /// # Errors
    /// How the task, or the table's part in it, ends by the policy for truncation.
    pub(crate) fn cut(&self, rejected: &Rejected<'_>, oversize: &Oversize) -> Result<Option<RejectedRow>, TaskError> {
        let name = &rejected.table.schema.name;
        match self.policy.truncation {
            RowAction::Stop => return Err(oversize.stop(rejected.table)),
            RowAction::SuspendTable => {
                return Err(TaskError::SuspendTable { table: name.clone(), cause: Box::new(oversize.stop(rejected.table)) });
            }
            RowAction::Log | RowAction::Ignore => self.board.cut(name),
        }
        let message = format!("{}, of which the target has a part", oversize.told(rejected.table));
        Ok(if self.policy.truncation == RowAction::Log { self.name_cut(rejected, message) } else { None })
    }

    /// The entry about a row that was cut; `None` when there are too many of them.
    pub(crate) fn name_cut(&self, rejected: &Rejected<'_>, message: String) -> Option<RejectedRow> {
        let Rejected { table, operation, row, .. } = rejected;
        let name = &table.schema.name;
        let id = row_id(table, row)?;
        let mut state = self.state();
        let count: usize = state.cut.values().map(HashSet::len).sum();
        if count >= CUT_MAX && !state.cut.get(name).is_some_and(|cut| cut.contains(&id)) {
            return None;
        }
        state.cut.entry(name.clone()).or_default().insert(id);
        Some(RejectedRow {
            table: name.clone(),
            row_id: id,
            key: key_json(table, row),
            operation: *operation,
            position: rejected.position.clone(),
            module: None,
            digest: None,
            code: CUT.into(),
            message,
            image: None,
            stored: None,
            is_logged: true,
            exception: None,
        })
    }

    fn count(&self, table: &TableName, id: RowId, rejection: &Rejection) -> Result<(), TaskError> {
        let (consecutive, lately) = {
            let mut state = self.state();
            state.known.entry(table.clone()).or_default().insert(id);
            // The one entry of the row is about this from now on.
            if let Some(cut) = state.cut.get_mut(table) {
                cut.remove(&id);
            }
            state.rate.rejected();
            (state.rate.consecutive(), state.rate.lately())
        };
        self.board.rejected(table, rejection.module.as_ref().map(|(name, _)| name.as_str()));
        let percent = self.policy.share_percent_max;
        let text = if consecutive > self.policy.consecutive_max {
            format!("{consecutive} rows were rejected in a row")
        } else if lately > ErrorRate::share(percent) {
            format!("more than {percent} % of the last 100000 rows were rejected")
        } else {
            return Ok(());
        };
        self.state().blamed = blamed(table, rejection);
        Err(stopped("too_many_rejected_rows", format!("{text}, the last one of table \"{table}\" with the code \"{}\"", rejection.code)))
    }

    fn action(&self, fault: RowFault) -> RowAction {
        match fault {
            RowFault::Value | RowFault::Constraint => self.policy.data,
            RowFault::Truncation => self.policy.truncation,
            RowFault::Mask => self.policy.masking,
            RowFault::Conflict => RowAction::Stop,
        }
    }

    /// For a change in conflict that is left out.
    fn conflict_action(&self, table: &TableName, operation: RejectedOperation) -> RowAction {
        let count = {
            let mut state = self.state();
            let count = state.conflicts.entry(table.clone()).or_default();
            *count += 1;
            *count
        };
        match (self.policy.conflict_escalation, self.on_conflict(operation)) {
            (Some((most, action)), _) if count >= most => action,
            (_, ConflictAction::Log) => RowAction::Log,
            (_, ConflictAction::Ignore) => RowAction::Ignore,
            (_, ConflictAction::Stop | ConflictAction::Upsert) => RowAction::Stop,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

fn blamed(table: &TableName, rejection: &Rejection) -> Option<Blamed> {
    rejection.module.as_ref().map(|(module, _)| Blamed { module: module.clone(), table: table.clone() })
}

/// True when the module failed in its row function, by what it was given there.
pub(crate) fn is_of_rows(error: &TaskError) -> bool {
    let TaskError::Module { source, .. } = error else { return false };
    match source.as_ref() {
        SandboxError::Trap { call, .. }
        | SandboxError::Stack { call, .. }
        | SandboxError::Output { call, .. }
        | SandboxError::Timeout { call, .. }
        | SandboxError::Memory { call, .. } => *call == "transform",
        SandboxError::Malformed { .. } | SandboxError::Module(_) => true,
        SandboxError::Plan { .. }
        | SandboxError::Cancelled
        | SandboxError::NoSlot
        | SandboxError::TenantSandboxes { .. }
        | SandboxError::TenantMemory { .. }
        | SandboxError::BeyondShare { .. }
        | SandboxError::NoneAllowed
        | SandboxError::Instances { .. }
        | SandboxError::Crowded { .. }
        | SandboxError::Changed { .. }
        | SandboxError::Start(_)
        | SandboxError::Misuse { .. } => false,
    }
}

fn stopped(code: &'static str, message: String) -> TaskError {
    ConnectorError::definite(code, message)
        .hint("correct the module or the rule, then resume the task: it goes on at its last checkpoint")
        .into()
}
