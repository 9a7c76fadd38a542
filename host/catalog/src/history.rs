//! The last hour of each task's numbers, in memory, for whoever draws a chart.
//!
//! ```text
//!   the host's numbers, about once a second ─▶ a point every 5 s  (highest lag, mean rates, last units)   ─┐
//!                                           └▶ a change whenever the units are others than before          ├─▶ Catalog::history
//!                                                                                                         ─┘
//! ```
//!
//! It is written with the numbers that readers get ([`Catalog::set_progress`], [`Catalog::tell_progress`], [`Catalog::tell_rests`]), so
//! that it says what the catalog said. Nothing of it is stored: after a restart it begins anew, and where no numbers came (the task did not run) there are no points. A task costs at most [`POINTS_MAX`] points of 48
//! bytes and [`CHANGES_MAX`] changes with a sentence each, together about 60 KiB.

use std::collections::VecDeque;

use serde::Serialize;
use tidegate_model::TenantId;

use crate::task::{RunPhase, TaskProgress};
use crate::{Catalog, CatalogError};

/// Seconds between two points.
pub const INTERVAL_SECONDS: u32 = 5;

/// An hour of points.
pub const POINTS_MAX: usize = 720;

/// Changes of units that are kept. One every 36 seconds of the hour, by guess; decisions come every 5 at the most.
pub const CHANGES_MAX: usize = 100;

/// Units that are given this soon after a decision are given for its reason.
const SAME_DECISION_US: i64 = 10_000_000;

/// A reason that is no decision: another phase has other lanes.
const PHASE_REASON: &str = "phase";

/// What was measured within one interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HistoryPoint {
    /// End of the interval, microseconds since 1970.
    pub at_us: i64,
    /// The highest lag within the interval.
    pub lag_seconds: f32,
    /// Mean throughput of the interval.
    pub rows_per_second: f32,
    /// Mean throughput of the interval.
    pub bytes_per_second: f32,
    /// Changes that wait at its end.
    pub changes_waiting: u64,
    /// Units in use at its end.
    pub units: u32,
    /// Units that the plan wants at its end; absent before the first plan.
    pub units_wanted: Option<u32>,
}

/// A change of units, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnitsChange {
    /// When, microseconds since 1970.
    pub at_us: i64,
    /// Units in use before; absent for the first of a process.
    pub units_before: Option<u32>,
    /// Units in use after.
    pub units: u32,
    /// Units wanted before.
    pub wanted_before: Option<u32>,
    /// Units wanted after.
    pub wanted: u32,
    /// The plan's reason in one word, or `phase` when the phase is what changed.
    pub reason: String,
    /// The same in a sentence.
    pub explanation: String,
}

/// What is known of a task's last hour, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskHistory {
    /// Points.
    pub points: VecDeque<HistoryPoint>,
    /// Changes of units.
    pub changes: VecDeque<UnitsChange>,
    open: Option<Open>,
    last: Option<Units>,
    told: Option<TaskProgress>,
    /// Nothing happens, and nobody tells so but [`Catalog::tell_rests`].
    rests: bool,
}

/// The interval under way.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Open {
    since_us: i64,
    samples: u32,
    lag_seconds: f64,
    rows_per_second: f64,
    bytes_per_second: f64,
}

/// The units that were seen last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Units {
    wanted: u32,
    granted: u32,
    phase: RunPhase,
}

impl Catalog {
    /// What is known of a task's last hour.
    ///
    /// # Errors
    /// [`CatalogError::NotFound`] when the task does not exist.
    pub async fn history(&self, task: &str) -> Result<TaskHistory, CatalogError> {
        self.get_task(task).await?;
        let histories = self.inner.histories.lock().expect("nothing panics while it holds the histories");
        Ok(histories.get(&self.key(task)).map(|history| TaskHistory { told: None, ..history.clone() }).unwrap_or_default())
    }

    pub(crate) fn remember(&self, task: &str, progress: &TaskProgress) {
        let mut histories = self.inner.histories.lock().expect("nothing panics while it holds the histories");
        let history = histories.entry(self.key(task)).or_default();
        history.observe(progress);
        history.told = Some(progress.clone());
        history.rests = false;
    }

    /// The host's numbers, for readers in this process alone; what comes after it finds what [`Catalog::set_progress`] stored
    /// last. Nothing happens before the first of those, nor once the task is gone.
    pub fn tell_progress(&self, task: &str, progress: TaskProgress) {
        let mut histories = self.inner.histories.lock().expect("nothing panics while it holds the histories");
        if let Some(history) = histories.get_mut(&self.key(task)) {
            history.observe(&progress);
            history.told = Some(progress);
            history.rests = false;
        }
    }

    /// From now on, until other numbers of the task come, [`Catalog::tell_rests`] says that they are what they were.
    pub fn begin_rest(&self, task: &str) {
        self.set_resting(task, true);
    }

    /// The task does not run any more: what its numbers were does not hold.
    pub fn end_rest(&self, task: &str) {
        self.set_resting(task, false);
    }

    /// The numbers of all tasks that rest, of every tenant, are what they were, at this later time, in microseconds since 1970, and
    /// nothing moves. Otherwise as [`Catalog::tell_progress`].
    pub fn tell_rests(&self, at_us: i64) {
        let mut histories = self.inner.histories.lock().expect("nothing panics while it holds the histories");
        for history in histories.values_mut().filter(|history| history.rests) {
            let Some(mut told) = history.told.take() else { continue };
            (told.at_us, told.rows_per_second, told.bytes_per_second) = (at_us, 0.0, 0.0);
            history.observe(&told);
            history.told = Some(told);
        }
    }

    fn set_resting(&self, task: &str, rests: bool) {
        let mut histories = self.inner.histories.lock().expect("nothing panics while it holds the histories");
        if let Some(history) = histories.get_mut(&self.key(task)) {
            history.rests = rests;
        }
    }

    /// Replaces stored numbers by later ones.
    pub(crate) fn renew_progress(&self, task: &str, progress: &mut TaskProgress) {
        let histories = self.inner.histories.lock().expect("nothing panics while it holds the histories");
        let told = histories.get(&self.key(task)).and_then(|history| history.told.as_ref());
        if let Some(told) = told.filter(|told| told.at_us > progress.at_us) {
            *progress = told.clone();
        }
    }

    fn key(&self, task: &str) -> (TenantId, String) {
        (self.tenant.clone(), task.to_owned())
    }

    pub(crate) fn forget_history(&self, task: &str) {
        self.inner.histories.lock().expect("nothing panics while it holds the histories").remove(&self.key(task));
    }
}

impl TaskHistory {
    fn observe(&mut self, progress: &TaskProgress) {
        self.add(progress);
        let Some(plan) = &progress.capacity else { return };
        let now = Units { wanted: plan.units_wanted, granted: progress.units, phase: progress.phase };
        let before = self.last.replace(now);
        if before.is_some_and(|before| (before.wanted, before.granted) == (now.wanted, now.granted)) {
            return;
        }
        let decided = before.is_none_or(|before| before.wanted != now.wanted);
        let entered = !decided && before.is_some_and(|before| before.phase != now.phase);
        let follows = |change: &UnitsChange| !decided && !entered && progress.at_us - change.at_us <= SAME_DECISION_US;
        if let Some(change) = self.changes.back_mut().filter(|change| follows(change)) {
            change.units = now.granted;
            return;
        }
        let (reason, explanation) = match (entered, progress.phase) {
            (false, _) => (plan.reason.clone(), plan.explanation.clone()),
            (true, RunPhase::Preparing) => (PHASE_REASON.to_owned(), "the task is being prepared".to_owned()),
            (true, RunPhase::Loading) => (PHASE_REASON.to_owned(), "tables are loaded".to_owned()),
            (true, RunPhase::CatchingUp | RunPhase::Replicating) => (PHASE_REASON.to_owned(), "changes are applied".to_owned()),
        };
        if self.changes.len() == CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(UnitsChange {
            at_us: progress.at_us,
            units_before: before.map(|before| before.granted),
            units: now.granted,
            wanted_before: before.map(|before| before.wanted),
            wanted: now.wanted,
            reason,
            explanation,
        });
    }

    fn add(&mut self, progress: &TaskProgress) {
        let mut open = self.open.take().unwrap_or_else(|| Open::at(progress.at_us));
        // Numbers of a run before: what lies between was not measured, and belongs to neither.
        if progress.at_us < open.since_us || progress.at_us - open.since_us > 2 * interval_us() {
            open = Open::at(progress.at_us);
        }
        open.samples += 1;
        open.lag_seconds = open.lag_seconds.max(progress.lag_seconds);
        open.rows_per_second += progress.rows_per_second;
        open.bytes_per_second += progress.bytes_per_second;
        if !self.points.is_empty() && progress.at_us - open.since_us < interval_us() {
            self.open = Some(open);
            return;
        }
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        let samples = f64::from(open.samples);
        self.points.push_back(HistoryPoint {
            at_us: progress.at_us,
            lag_seconds: open.lag_seconds as f32,
            rows_per_second: (open.rows_per_second / samples) as f32,
            bytes_per_second: (open.bytes_per_second / samples) as f32,
            changes_waiting: progress.capacity.as_ref().map_or(0, |plan| plan.changes_waiting),
            units: progress.units,
            units_wanted: progress.capacity.as_ref().map(|plan| plan.units_wanted),
        });
        self.open = Some(Open::at(progress.at_us));
    }
}

impl Open {
    fn at(since_us: i64) -> Open {
        Open { since_us, samples: 0, lag_seconds: 0.0, rows_per_second: 0.0, bytes_per_second: 0.0 }
    }
}

fn interval_us() -> i64 {
    i64::from(INTERVAL_SECONDS) * 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CapacityStatus;

    fn progress(second: i64, phase: RunPhase, units: u32, wanted: u32, reason: &str) -> TaskProgress {
        let capacity = CapacityStatus { units_wanted: wanted, reason: reason.to_owned(), ..CapacityStatus::default() };
        TaskProgress {
            phase,
            units,
            lag_seconds: second as f64,
            rows_per_second: 100.0,
            at_us: second * 1_000_000,
            capacity: Some(capacity),
            ..TaskProgress::default()
        }
    }

    #[test]
    fn an_hour_of_points_is_kept_five_seconds_apart() {
        let mut history = TaskHistory::default();
        for second in 1..=4_000 {
            history.observe(&progress(second, RunPhase::Replicating, 1, 1, "steady"));
        }
        assert_eq!(history.points.len(), POINTS_MAX);
        let last = history.points.back().unwrap();
        assert_eq!((last.at_us, last.lag_seconds, last.rows_per_second), (3_996 * 1_000_000, 3_996.0, 100.0));
        assert!(history.points.iter().zip(history.points.iter().skip(1)).all(|(one, next)| next.at_us - one.at_us == interval_us()));
    }

    #[test]
    fn nothing_is_made_up_for_the_time_between_two_runs() {
        let mut history = TaskHistory::default();
        for second in (1..=11).chain(1_000..=1_005) {
            history.observe(&progress(second, RunPhase::Replicating, 1, 1, "steady"));
        }
        let seconds: Vec<i64> = history.points.iter().map(|point| point.at_us / 1_000_000).collect();
        assert_eq!(seconds, [1, 6, 11, 1_005]);
    }

    #[test]
    fn changes_of_units_have_the_reason_of_their_decision() {
        let mut history = TaskHistory::default();
        for (second, phase, units, wanted, reason) in [
            (1, RunPhase::Loading, 4, 4, "full-load"),
            (2, RunPhase::Loading, 4, 4, "full-load"),
            // The lanes of a load go with its phase.
            (3, RunPhase::Replicating, 1, 4, "full-load"),
            (20, RunPhase::Replicating, 1, 8, "more-arrives"),
            // What a decision wanted is given a moment later.
            (21, RunPhase::Replicating, 8, 8, "more-arrives"),
            (60, RunPhase::Replicating, 8, 0, "idle"),
        ] {
            history.observe(&progress(second, phase, units, wanted, reason));
        }
        let changes: Vec<_> = history.changes.iter().map(|change| (change.reason.as_str(), change.wanted, change.units)).collect();
        assert_eq!(changes, [("full-load", 4, 4), ("phase", 4, 1), ("more-arrives", 8, 8), ("idle", 0, 8)]);
        assert_eq!(history.changes[2].units_before, Some(1));
    }

    #[test]
    fn changes_are_bounded() {
        let mut history = TaskHistory::default();
        for second in 1..=500 {
            history.observe(&progress(second * 30, RunPhase::Replicating, 1, u32::try_from(second).unwrap(), "more-arrives"));
        }
        assert_eq!(history.changes.len(), CHANGES_MAX);
        assert_eq!(history.changes.back().unwrap().wanted, 500);
    }
}
