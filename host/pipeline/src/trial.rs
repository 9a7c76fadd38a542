//! New versions of modules that have yet to stand their trial.
//!
//! ```text
//!   swap ─▶ on trial ─┬─ ten minutes without a failure ─▶ trusted: failures count as any module's
//!                     └─ it fails ─▶ the module has the version again that all its tables had before
//! ```
//!
//! Each module has a trial of its own: what fails takes back its own version and no other's. A version that comes while another is on
//! trial goes back to the one before both.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tidegate_model::TableName;
use tokio::sync::oneshot;

use crate::ModuleSet;
use crate::swap::Undone;
use crate::task::TaskError;

/// How long a swapped version must not fail before its failures count as any module's. By guess.
pub const TRIAL: Duration = Duration::from_secs(600);

/// The trials of a run, in the order in which they began.
#[derive(Default)]
pub(crate) struct Trials(Mutex<Vec<Trial>>);

/// A version on trial. One that stood it stays here until the module has another one: its `undone` tells by its end that this is so.
pub(crate) struct Trial {
    pub(crate) module: String,
    /// Those that have it.
    pub(crate) tables: HashSet<TableName>,
    /// The modules to take the version before from.
    pub(crate) before: ModuleSet,
    pub(crate) undone: oneshot::Sender<Undone>,
    since: Instant,
}

/// What the last error was about, where the error itself does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blamed {
    pub(crate) module: String,
    pub(crate) table: TableName,
}

impl Trials {
    /// True while a new version of the module is on trial.
    pub(crate) fn has(&self, module: &str) -> bool {
        self.trials().iter().any(|trial| trial.is_of(module, None))
    }

    /// True while the table has a version of the module that is on trial.
    pub(crate) fn concern(&self, module: &str, table: &TableName) -> bool {
        self.trials().iter().any(|trial| trial.is_of(module, Some(table)))
    }

    /// A new version of a module begins its trial; `before` is what the run had until now.
    pub(crate) fn begin(&self, module: &str, tables: HashSet<TableName>, before: &ModuleSet, undone: oneshot::Sender<Undone>) {
        let mut trials = self.trials();
        let earlier = trials.iter().position(|trial| trial.module == module).map(|place| trials.remove(place));
        let before = match earlier {
            Some(trial) if trial.is_under_way() => trial.before,
            _ => before.with_one_version_of(module),
        };
        trials.push(Trial { module: module.to_owned(), tables, before, undone, since: Instant::now() });
    }

    /// Ends the trial that the error fails, if it does.
    pub(crate) fn failed_by(&self, error: &TaskError, blamed: Option<&Blamed>) -> Option<Trial> {
        const COUNTED: [&str; 2] = ["too_many_bisections", "too_many_rejected_rows"];
        let mut trials = self.trials();
        let of = |trials: &[Trial], module: &str, table: Option<&TableName>| trials.iter().position(|trial| trial.is_of(module, table));
        let place = match error {
            TaskError::Module { module, table, .. } => of(&trials, module, table.as_ref()),
            error if !matches!(error, TaskError::Row { .. } | TaskError::Plan { .. }) && !COUNTED.contains(&error.code()) => None,
            _ => match blamed {
                Some(Blamed { module, table }) => of(&trials, module, Some(table)),
                // Nobody knows whose plan or row it is: the newest version is the likeliest cause.
                None => trials.iter().rposition(Trial::is_under_way),
            },
        };
        place.map(|place| trials.remove(place))
    }

    fn trials(&self) -> MutexGuard<'_, Vec<Trial>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Trial {
    fn is_under_way(&self) -> bool {
        self.since.elapsed() < TRIAL
    }

    fn is_of(&self, module: &str, table: Option<&TableName>) -> bool {
        self.is_under_way() && self.module == module && table.is_none_or(|table| self.tables.contains(table))
    }
}

#[cfg(test)]
#[path = "trial_tests.rs"]
mod tests;
