//! The capacity plan of a running task: samples of its progress go in once a second, a plan comes out every few.
//!
//! The plan is a claim on the node's [`Pool`](super::pool::Pool); the run follows what that grants, its lanes between two
//! groups or chunks. Until something is measured a run claims what its kind of work starts well with.

use std::collections::VecDeque;

use tidegate_capacity::{DECISION_SECONDS, MAX_LAG_SECONDS_DEFAULT, Objective, Plan, Planner, Sample, UnitBounds};
use tidegate_catalog::{CapacityStatus, Migration, StageShares, TaskDefinition};
use tidegate_pipeline::{Phase, Progress, StageSeconds, TableStage};

use super::pool::Member;
use crate::exit::Failure;

/// The time that shares are told of, seconds.
const SHARES_SECONDS: f64 = 60.0;

/// Plans one run of a task.
pub(super) struct Steering {
    task: String,
    planner: Planner,
    bounds: UnitBounds,
    objective: Objective,
    member: Member,
    plan: Option<Plan>,
    /// The view that the last sample ended with.
    before: Progress,
    seconds_since_decision: f64,
    /// The last minute: seconds, and how long stages had work in them.
    minute: VecDeque<(f64, StageSeconds)>,
    /// The time of the view before ended with a rest that is not of the next sample.
    rested: bool,
}

impl Steering {
    /// Nothing is known of the run yet.
    ///
    /// # Errors
    /// A failure that names the bound or the objective that makes no sense.
    pub(super) fn new(definition: &TaskDefinition, load_lanes: usize, member: Member) -> Result<Self, Failure> {
        let (bounds, objective) = wanted(definition)?;
        let loads = !matches!(definition.migration, Migration::Cdc);
        let first = if loads { u32::try_from(load_lanes).unwrap_or(u32::MAX) } else { 1 };
        member.claim(bounds.min(), first.clamp(bounds.min(), bounds.max()));
        Ok(Self {
            task: definition.name.as_str().to_owned(),
            planner: Planner::new(bounds, objective),
            bounds,
            objective,
            member,
            plan: None,
            before: Progress::default(),
            seconds_since_decision: 0.0,
            minute: VecDeque::new(),
            rested: false,
        })
    }

    /// What the owner says now: obeyed from the next decision on, which is the next view's.
    pub(super) fn obey(&mut self, definition: &TaskDefinition) {
        // The API refuses what makes no sense; what stands in the catalog all the same changes nothing.
        if let Ok((bounds, objective)) = wanted(definition) {
            (self.bounds, self.objective) = (bounds, objective);
            self.planner.set(bounds, objective);
            self.seconds_since_decision = DECISION_SECONDS;
        }
    }

    /// Units that the run has.
    pub(super) fn granted(&self) -> u32 {
        self.member.granted()
    }

    /// True when the plan is the least that the task may have, which is nothing: only work can change it.
    pub(super) fn is_at_rest(&self) -> bool {
        self.granted() == 0 && self.plan.is_some_and(|plan| plan.units == 0)
    }

    /// Takes note of a time in which nothing was looked at because nothing happened.
    pub(super) fn rested(&mut self, seconds: f64) {
        // Second by second, as it would have been seen: rates are averaged over few of them.
        let whole = (seconds.min(SHARES_SECONDS) as u32).max(1);
        let idle = Sample { seconds: 1.0, ..Sample::default() };
        (0..whole).for_each(|_| self.planner.observe(idle));
        self.minute.clear();
        self.rested = true;
    }

    /// Takes note of a view, `seconds` after the last. Answers the plan when it was decided anew.
    pub(super) fn observe(&mut self, now: &Progress, seconds: f64) -> Option<Plan> {
        let mut before = std::mem::replace(&mut self.before, now.clone());
        if std::mem::take(&mut self.rested) {
            // How long stages worked within the rest is not known; the source was waited for.
            before.time.source = before.time.source.max(now.time.source - seconds);
        }
        let granted = self.granted();
        let sample = sample(&before, now, seconds, granted);
        self.planner.observe(sample);
        self.remember(seconds, &before.time, &now.time);
        self.seconds_since_decision += seconds;
        let wakes = granted == 0 && sample.active();
        if self.seconds_since_decision < DECISION_SECONDS && !wakes {
            return None;
        }
        self.seconds_since_decision = 0.0;
        let plan = self.planner.decide(granted);
        let wanted = self.plan.map_or(granted, |plan| plan.units);
        self.member.claim(self.bounds.min(), plan.units);
        if plan.units != wanted {
            tracing::info!(
                task = self.task,
                units = plan.units,
                before = wanted,
                reason = plan.reason.kind(),
                "units wanted: {}",
                plan.reason
            );
        }
        self.plan = Some(plan);
        Some(plan)
    }

    /// What is shown of the plan; `None` before the first.
    pub(super) fn status(&self, now: &Progress) -> Option<CapacityStatus> {
        let plan = self.plan?;
        let granted = self.granted();
        let forecast = self.planner.forecast(granted);
        Some(CapacityStatus {
            units_min: self.bounds.min(),
            units_max: self.bounds.max(),
            max_lag_seconds: self.objective.max_lag_seconds(),
            units_wanted: plan.units,
            units_needed: plan.needed,
            units_granted: granted,
            reason: plan.reason.kind().to_owned(),
            explanation: plan.reason.to_string(),
            objective_seconds: forecast.objective_seconds,
            falls_behind: forecast.objective_seconds.is_none() && plan.rates.per_unit.is_some() && now.phase != Phase::Loading,
            level_seconds: forecast.level_seconds,
            objective_seconds_wanted: plan.forecast.objective_seconds,
            changes_waiting: now.changes_waiting,
            bytes_waiting: now.cache_bytes_memory + now.cache_bytes_disk + now.bytes_in_flight,
            arriving_per_second: plan.rates.arriving,
            applied_per_second: plan.rates.applied,
            unit_rows_per_second: plan.rates.per_unit,
            scaling_exponent: plan.rates.scaling_exponent,
            last_minute: self.shares(),
        })
    }

    fn remember(&mut self, seconds: f64, before: &StageSeconds, now: &StageSeconds) {
        self.minute.push_back((seconds, difference(before, now)));
        let mut covered: f64 = self.minute.iter().map(|(seconds, _)| seconds).sum();
        while self.minute.len() > 1 && covered > SHARES_SECONDS {
            covered -= self.minute.pop_front().map_or(0.0, |(seconds, _)| seconds);
        }
    }

    /// Seconds of work of each stage in a second of the last minute.
    fn shares(&self) -> StageShares {
        let covered: f64 = self.minute.iter().map(|(seconds, _)| seconds).sum();
        let share = |of: fn(&StageSeconds) -> f64| {
            if covered > 0.0 { self.minute.iter().map(|(_, stages)| of(stages)).sum::<f64>() / covered } else { 0.0 }
        };
        StageShares {
            seconds: covered,
            lanes: share(|stages| stages.lanes),
            source: share(|stages| stages.source),
            decode: share(|stages| stages.decode),
            store: share(|stages| stages.store),
            assemble: share(|stages| stages.assemble),
            transform: share(|stages| stages.transform),
            conflicts: share(|stages| stages.conflicts),
            write: share(|stages| stages.write),
            commit: share(|stages| stages.commit),
        }
    }
}

fn wanted(definition: &TaskDefinition) -> Result<(UnitBounds, Objective), Failure> {
    let failure = |error: String| Failure::failed("units", format!("units of task \"{}\": {error}", definition.name));
    let bounds = UnitBounds::new(definition.min_units, definition.max_units).map_err(|error| failure(error.to_string()))?;
    let seconds = definition.max_lag_seconds.map_or(MAX_LAG_SECONDS_DEFAULT, f64::from);
    Ok((bounds, Objective::new(seconds).map_err(|error| failure(error.to_string()))?))
}

/// Stage by stage; a stage whose clock began anew with an attempt counts nothing for that moment.
fn difference(before: &StageSeconds, now: &StageSeconds) -> StageSeconds {
    let since = |of: fn(&StageSeconds) -> f64| (of(now) - of(before)).max(0.0);
    StageSeconds {
        lanes: since(|stages| stages.lanes),
        source: since(|stages| stages.source),
        decode: since(|stages| stages.decode),
        store: since(|stages| stages.store),
        assemble: since(|stages| stages.assemble),
        transform: since(|stages| stages.transform),
        conflicts: since(|stages| stages.conflicts),
        write: since(|stages| stages.write),
        commit: since(|stages| stages.commit),
    }
}

fn sample(before: &Progress, now: &Progress, seconds: f64, granted: u32) -> Sample {
    let since = |of: fn(&Progress) -> u64| of(now).saturating_sub(of(before)) as f64;
    let StageSeconds { lanes, conflicts: conflict_seconds, transform, .. } = difference(&before.time, &now.time);
    // Each unit of a stream has an instance of its modules: while they work, units are busy that have no group in hand.
    let of_modules = if now.phase == Phase::Loading { 0.0 } else { transform.min(seconds) * f64::from(granted.max(1)) };
    let busy_seconds = lanes.max(of_modules);
    Sample {
        seconds,
        // A run without units works all the same when there is something to do: on one lane.
        units: granted.max(u32::from(busy_seconds > 0.0)),
        rows_arrived: since(|progress| progress.changes_captured),
        rows_applied: since(|progress| progress.rows_loaded + progress.changes_applied),
        rows_waiting: now.changes_waiting as f64,
        lag_seconds: now.lag_seconds,
        busy_seconds,
        conflict_seconds,
        bytes_on_disk: now.cache_bytes_disk,
        chunks_left: if now.phase == Phase::Loading { chunks_left(now) } else { 0 },
        throttled: false,
    }
}

/// Chunks of a load that are not in the target; a table that is not cut yet counts as one.
fn chunks_left(now: &Progress) -> u32 {
    let left = |stage: &TableStage, total: u32, loaded: u32| match stage {
        TableStage::BeforeLoad => 1,
        TableStage::Loading => total.saturating_sub(loaded),
        TableStage::Completed | TableStage::Failed(_) | TableStage::LeftOut => 0,
    };
    now.tables.iter().map(|(_, table)| left(&table.stage, table.chunks_total, table.chunks_loaded)).fold(0, u32::saturating_add)
}

#[cfg(test)]
mod tests {
    use tidegate_catalog::Preparation;
    use tidegate_model::TaskId;

    use super::super::pool::Pool;
    use super::*;

    fn definition(max_units: u32, max_lag_seconds: Option<u32>) -> TaskDefinition {
        TaskDefinition {
            name: TaskId::new("shop").unwrap(),
            source: "a".into(),
            target: "b".into(),
            migration: Migration::Cdc,
            preparation: Preparation::DoNothing,
            table_mappings: "{}".into(),
            settings: serde_json::Value::Null,
            start_position: None,
            stop_position: None,
            min_units: 0,
            max_units,
            max_lag_seconds,
            tags: Default::default(),
            dms: serde_json::Value::Null,
        }
    }

    /// A second later: the lanes were busy throughout, applied 1,000 changes each of the 5,000 that came, and are behind.
    fn later(before: &Progress, lanes: u32) -> Progress {
        let mut now = before.clone();
        now.phase = Phase::Replicating;
        now.changes_captured += 5_000;
        now.changes_applied += 1_000 * u64::from(lanes);
        now.changes_waiting += 5_000 - 1_000 * u64::from(lanes.min(5));
        now.lag_seconds += 0.8;
        now.time.lanes += f64::from(lanes);
        now.time.write += 0.9;
        now.time.commit += 0.1;
        now
    }

    #[test]
    fn a_task_that_falls_behind_wants_more_units_and_new_bounds_are_obeyed() {
        let pool = Pool::new(1);
        let mut steering = Steering::new(&definition(4, None), 4, pool.join("default", "shop")).unwrap();
        let mut before = Progress::default();
        let mut observe = |steering: &mut Steering, seconds: usize| {
            for _ in 0..seconds {
                let now = later(&before, steering.granted());
                steering.observe(&now, 1.0);
                before = now;
            }
            steering.status(&before).unwrap()
        };
        let status = observe(&mut steering, 12);
        assert_eq!((status.units_wanted, status.units_granted, status.reason.as_str()), (4, 1, "at-maximum"), "{status:?}");
        assert!(status.units_needed > 5 && status.objective_seconds.is_none() && status.falls_behind, "{status:?}");
        assert!((status.last_minute.write - 0.9).abs() < 1e-6 && (status.last_minute.commit - 0.1).abs() < 1e-6, "{status:?}");
        steering.obey(&definition(16, Some(600)));
        let status = observe(&mut steering, 5);
        assert_eq!((status.units_max, status.max_lag_seconds), (16, 600.0));
        assert!(status.units_wanted > 4, "{status:?}");
    }

    #[test]
    fn chunks_of_tables_that_are_not_cut_yet_count() {
        use tidegate_model::TableName;
        use tidegate_pipeline::TableProgress;
        let table = |stage, chunks_total, chunks_loaded| {
            (TableName::new("s", "t"), TableProgress { stage, chunks_total, chunks_loaded, ..TableProgress::default() })
        };
        let tables = [table(TableStage::BeforeLoad, 0, 0), table(TableStage::Loading, 5, 2), table(TableStage::Completed, 9, 9)];
        assert_eq!(chunks_left(&Progress { tables: tables.into_iter().collect(), ..Progress::default() }), 4);
    }
}
