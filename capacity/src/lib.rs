//! Capacity units and the arithmetic of how many a task gets.
//!
//! ```text
//!   samples, one a second ─▶ Planner::observe ─┐
//!                                              ├─▶ Planner::decide, every DECISION_SECONDS ─▶ Plan (units, reason, forecast)
//!   bounds, objective ─────────────────────────┘
//!   plans of all tasks of a node ─▶ place ─▶ units granted
//! ```
//!
//! Pure: numbers go in, numbers come out. Nothing here reads a clock, draws a random number, or knows a database. Time is
//! the sum of the samples' lengths, so a recorded hour is planned again in a millisecond, with the same result.
//!
//! One unit is one lane (load or apply), [`UNIT_CACHE_BYTES`] of change memory and one sandbox instance.

mod bottleneck;
mod estimate;
mod place;
mod plan;
mod planner;
mod sample;
pub mod simulate;
mod units;

pub use bottleneck::{Part, Work};
pub use place::{TaskClaim, TenantClaim, place};
pub use plan::{Forecast, Plan, Rates, Reason};
pub use planner::{DECISION_SECONDS, MAX_LAG_SECONDS_DEFAULT, Objective, ObjectiveError, Planner};
pub use sample::Sample;
pub use units::{BoundsError, UNIT_CACHE_BYTES, UNITS_MAX, UnitBounds};
