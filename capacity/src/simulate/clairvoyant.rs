//! The optimum: the fewest unit-seconds of all schedules that keep the objective, found with the whole trace known.
//!
//! Between decisions the units stay the same, as for the other policies. Let `A` be the rows that have arrived by the end of
//! an interval and `S` those that were applied. A schedule keeps the objective when `S` is never below what had arrived one
//! objective earlier, and no schedule applies more than one that always has the most units. That leaves a band for `S`, narrowed
//! backwards by what the most units can make up for; dynamic programming finds the cheapest way through it.
//!
//! Where even the most units cannot keep the objective nothing is asked for but to be back as soon as they would be, so the
//! seconds over the objective are the fewest possible.

use super::{Trace, World};
use crate::DECISION_SECONDS;

/// Rows are counted in tenths of what a unit applies between two decisions.
const QUANTA_PER_UNIT: f64 = 10.0;

/// How the cheapest way comes to a place in the band.
#[derive(Debug, Clone, Copy, Default)]
struct Step {
    units: u16,
    /// Where it comes from: index into the band of the interval before.
    from: u32,
}

/// Units of each interval.
pub(super) fn schedule(trace: &Trace, world: &World) -> Vec<u32> {
    let band = Band::new(trace, world);
    let units_max = world.bounds.max();
    let applied: Vec<i64> = (0..=units_max).map(|units| band.quanta(world.capacity(units) * DECISION_SECONDS)).collect();
    let mut steps: Vec<Vec<Step>> = Vec::with_capacity(band.upper.len());
    let mut costs = vec![0_u32];
    let mut low = 0;
    for ((lower, upper), arrived) in band.lower.iter().zip(&band.upper).zip(&band.arrived) {
        let width = (upper - lower + 1) as usize;
        let (mut next, mut next_steps) = (vec![u32::MAX; width], vec![Step::default(); width]);
        for (from, cost) in costs.iter().enumerate().filter(|(_, cost)| **cost < u32::MAX) {
            for units in world.bounds.min()..=units_max {
                let to = (low + from as i64 + applied[units as usize]).min(*arrived);
                if to >= *lower && cost + units < next[(to - lower) as usize] {
                    next[(to - lower) as usize] = cost + units;
                    next_steps[(to - lower) as usize] = Step { units: units as u16, from: from as u32 };
                }
                if to == *arrived {
                    break;
                }
            }
        }
        (costs, low) = (next, *lower);
        steps.push(next_steps);
    }
    trace_back(&costs, &steps)
}

/// From the cheapest end back to the start.
fn trace_back(costs: &[u32], steps: &[Vec<Step>]) -> Vec<u32> {
    let mut at = costs.iter().enumerate().min_by_key(|(_, cost)| **cost).map_or(0, |(index, _)| index);
    let mut units = vec![0; steps.len()];
    for (interval, steps) in steps.iter().enumerate().rev() {
        let step = steps[at];
        units[interval] = u32::from(step.units);
        at = step.from as usize;
    }
    units
}

/// Between what and what the applied rows must lie at the end of each interval.
struct Band {
    quantum: f64,
    arrived: Vec<i64>,
    lower: Vec<i64>,
    upper: Vec<i64>,
}

impl Band {
    fn new(trace: &Trace, world: &World) -> Self {
        let quantum = world.rows_per_unit * DECISION_SECONDS / QUANTA_PER_UNIT;
        let interval = DECISION_SECONDS as usize;
        let mut sum = 0.0;
        let arrived: Vec<i64> = trace
            .rows
            .chunks(interval)
            .map(|rows| {
                sum += rows.iter().sum::<f64>();
                (sum / quantum).ceil() as i64
            })
            .collect();
        Self { quantum, lower: Vec::new(), upper: Vec::new(), arrived }.narrowed(world)
    }

    fn narrowed(mut self, world: &World) -> Self {
        let most = self.quanta(world.capacity(world.bounds.max()) * DECISION_SECONDS);
        let mut reached = 0;
        for arrived in &self.arrived {
            reached = (reached + most).min(*arrived);
            self.upper.push(reached);
        }
        // One interval less than the objective, since it must hold within the interval as well.
        let ago = ((world.objective.max_lag_seconds() / DECISION_SECONDS) as usize).saturating_sub(1);
        self.lower = (0..self.arrived.len())
            .map(|index| index.checked_sub(ago).map_or(0, |before| self.arrived[before]))
            .zip(&self.upper)
            .map(|(due, upper)| if due <= *upper { due } else { 0 })
            .collect();
        let mut needed = self.upper.last().copied().unwrap_or(0);
        for lower in self.lower.iter_mut().rev() {
            *lower = needed.max(*lower);
            needed = *lower - most;
        }
        self
    }

    fn quanta(&self, rows: f64) -> i64 {
        (rows / self.quantum).round() as i64
    }
}
