//! Policies against load traces, in virtual time.
//!
//! A second of the world: rows arrive, the units apply what they can, the policy sees what was measured. Rows are applied
//! in the order of their arrival, so the lag is the age of the oldest that waits. The world is a fluid: it knows no groups,
//! no transactions, and units that are there at once.

mod chart;
mod clairvoyant;
mod draw;
mod rivals;
mod trace;

use std::collections::VecDeque;

pub use chart::chart;
pub use draw::Draw;
pub use trace::{Trace, TraceError};

use crate::{DECISION_SECONDS, Objective, Planner, Sample, UnitBounds};
use rivals::{Fixed, MemorySteps, Scheduled, Threshold};

/// What the units of a simulated task can do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct World {
    /// Rows a second that one unit applies.
    pub rows_per_unit: f64,
    /// How units add up: twice the units do 2 to the power of this as much.
    pub scaling_exponent: f64,
    /// Rows a second that the target takes at most.
    pub target_rows: f64,
    /// Size of a row that waits.
    pub row_bytes: f64,
    /// How far each measured figure may be off, as a share; drawn anew for each.
    pub noise: f64,
    /// Bounds of the task.
    pub bounds: UnitBounds,
    /// What its owner wants.
    pub objective: Objective,
}

impl World {
    /// Rows of 500 bytes, units of 2,000 rows a second that add up fully, a target without a limit, no noise.
    pub fn new(bounds: UnitBounds, objective: Objective) -> Self {
        Self { rows_per_unit: 2_000.0, scaling_exponent: 1.0, target_rows: f64::INFINITY, row_bytes: 500.0, noise: 0.0, bounds, objective }
    }

    /// Rows a second that `units` apply.
    pub fn capacity(&self, units: u32) -> f64 {
        (self.rows_per_unit * f64::from(units).powf(self.scaling_exponent)).min(self.target_rows)
    }
}

/// What decides about units in a simulation.
pub(crate) trait Strategy {
    /// Takes note of a second.
    fn observe(&mut self, sample: &Sample);
    /// Units from now on. Called at each interval.
    fn decide(&mut self, units: u32) -> u32;
    /// Seconds between decisions.
    fn interval(&self) -> usize;
    /// Units before the first decision.
    fn first(&self) -> u32;
}

impl Strategy for Planner {
    fn observe(&mut self, sample: &Sample) {
        Planner::observe(self, *sample);
    }

    fn decide(&mut self, units: u32) -> u32 {
        Planner::decide(self, units).units
    }

    fn interval(&self) -> usize {
        DECISION_SECONDS as usize
    }

    fn first(&self) -> u32 {
        0
    }
}

/// How a policy did on a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Name of the policy.
    pub policy: &'static str,
    /// Units times hours.
    pub unit_hours: f64,
    /// Seconds at whose end the lag was above the objective.
    pub seconds_over: u32,
    /// Times that the number of units changed.
    pub changes: u32,
    /// Highest lag, seconds.
    pub lag_max_seconds: f64,
    /// Units in each second.
    pub units: Vec<u32>,
    /// Lag at the end of each second.
    pub lag_seconds: Vec<f64>,
}

/// The policy of this package.
pub const TIDEGATE: &str = "tidegate";
/// Least unit-hours of all schedules that keep the objective as far as it can be kept, found with the whole trace known.
pub const CLAIRVOYANT: &str = "clairvoyant";
/// The fewest units that keep the objective as far as it can be kept, all the time.
pub const FIXED: &str = "fixed at peak";
/// Steps at thresholds of use, as a horizontal pod autoscaler takes them.
pub const THRESHOLD: &str = "threshold";
/// Doubling and halving by memory with an hour's cooling, as DMS Serverless does.
pub const MEMORY_STEPS: &str = "memory steps";

/// Runs every policy on a trace, [`TIDEGATE`] first.
pub fn compare(trace: &Trace, world: &World) -> Vec<Outcome> {
    let fixed = Fixed::at_peak(trace, world);
    let schedule = clairvoyant::schedule(trace, world);
    vec![
        run(TIDEGATE, trace, world, &mut Planner::new(world.bounds, world.objective)),
        run(CLAIRVOYANT, trace, world, &mut Scheduled::new(schedule)),
        run(FIXED, trace, world, &mut Fixed(fixed)),
        run(THRESHOLD, trace, world, &mut Threshold::new(world.bounds)),
        run(MEMORY_STEPS, trace, world, &mut MemorySteps::new(world.bounds)),
    ]
}

/// Runs one policy on a trace.
pub(crate) fn run(policy: &'static str, trace: &Trace, world: &World, strategy: &mut dyn Strategy) -> Outcome {
    let mut units = strategy.first();
    let mut queue: VecDeque<(usize, f64)> = VecDeque::new();
    let mut waiting = 0.0;
    let mut draw = Draw::new(1);
    let mut outcome =
        Outcome { policy, unit_hours: 0.0, seconds_over: 0, changes: 0, lag_max_seconds: 0.0, units: Vec::new(), lag_seconds: Vec::new() };
    for (second, arrived) in trace.rows.iter().copied().enumerate() {
        let before = units;
        if second % strategy.interval() == 0 {
            units = strategy.decide(units);
        }
        if arrived > 0.0 {
            queue.push_back((second, arrived));
        }
        // A task at zero units is woken by its first change, whatever the policy.
        if units == 0 && !queue.is_empty() {
            units = 1;
        }
        let capacity = world.capacity(units);
        let mut room = capacity;
        while let Some((_, rows)) = queue.front_mut() {
            if *rows > room {
                *rows -= room;
                room = 0.0;
                break;
            }
            room -= *rows;
            queue.pop_front();
        }
        let applied = capacity - room;
        // Rounding must not leave a trace of rows that are gone.
        waiting = if queue.is_empty() { 0.0 } else { waiting + arrived - applied };
        let lag = queue.front().map_or(0.0, |(since, _)| (second - since) as f64);
        let busy = if capacity > 0.0 { applied / capacity * f64::from(units) } else { 0.0 };
        let mut off = || 1.0 + world.noise * (2.0 * draw.share() - 1.0);
        strategy.observe(&Sample {
            seconds: 1.0,
            units,
            rows_arrived: arrived * off(),
            rows_applied: applied * off(),
            rows_waiting: waiting * off(),
            lag_seconds: lag * off(),
            busy_seconds: (busy * off()).min(f64::from(units)),
            conflict_seconds: 0.0,
            // What the units' memory does not hold is on disk.
            bytes_on_disk: (waiting * world.row_bytes - (f64::from(units) * crate::UNIT_CACHE_BYTES as f64)).max(0.0) as u64,
            chunks_left: 0,
            throttled: false,
        });
        outcome.unit_hours += f64::from(units) / 3_600.0;
        outcome.seconds_over += u32::from(lag > world.objective.max_lag_seconds());
        outcome.changes += u32::from(units != before);
        outcome.lag_max_seconds = outcome.lag_max_seconds.max(lag);
        outcome.units.push(units);
        outcome.lag_seconds.push(lag);
    }
    outcome
}
