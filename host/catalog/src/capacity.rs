//! What the host tells of a task's capacity: the plan, its reason, and where the last minute went.

use serde::{Deserialize, Serialize};

/// The capacity plan of a running task, and what it was made from.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CapacityStatus {
    /// The fewest units that the task's owner allows.
    pub units_min: u32,
    /// The most units that the task's owner allows.
    pub units_max: u32,
    /// The longest lag that is all right.
    pub max_lag_seconds: f64,
    /// Units that the task should have, within its bounds.
    pub units_wanted: u32,
    /// Units that would meet the objective if there were no upper bound.
    pub units_needed: u32,
    /// Units that it has: lanes that load or apply.
    pub units_granted: u32,
    /// Why, in one word; `docs/capacity.md` lists them.
    pub reason: String,
    /// Why, in a sentence with numbers.
    pub explanation: String,
    /// Seconds until the lag is within the objective with the units that it has; absent when it will not be, or nothing is
    /// known: before the first measurement, and while a load runs.
    pub objective_seconds: Option<f64>,
    /// With the units that it has, the lag will not come within the objective.
    pub falls_behind: bool,
    /// Seconds until nothing waits with the units that it has; absent when something always will.
    pub level_seconds: Option<f64>,
    /// Seconds until the lag is within the objective with the units that it should have.
    pub objective_seconds_wanted: Option<f64>,
    /// Changes that are captured and not applied.
    pub changes_waiting: u64,
    /// Bytes of the changes that wait.
    pub bytes_waiting: u64,
    /// Changes that are captured a second.
    pub arriving_per_second: f64,
    /// Rows and changes that are applied a second.
    pub applied_per_second: f64,
    /// Rows that one unit applies in a second in which it has work.
    pub unit_rows_per_second: Option<f64>,
    /// How units add up: twice the units do 2 to the power of this as much.
    pub scaling_exponent: f64,
    /// Where the last minute went.
    pub last_minute: StageShares,
}

/// Seconds of work of each stage in a second; several lanes may add up to more than one.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StageShares {
    /// Seconds that are covered.
    pub seconds: f64,
    /// Lanes had a chunk or a group in hand.
    pub lanes: f64,
    /// Waiting for the source and reading. An idle stream is waited for all the time.
    pub source: f64,
    /// Making changes and rows of what the source sent; of a load, as far as its lanes waited for it.
    pub decode: f64,
    /// Putting changes into the cache.
    pub store: f64,
    /// Making groups, without modules.
    pub assemble: f64,
    /// In modules.
    pub transform: f64,
    /// Groups waited for groups before them, with which they have something in common.
    pub conflicts: f64,
    /// Writing to the target, without commits.
    pub write: f64,
    /// Commits in the target.
    pub commit: f64,
}
