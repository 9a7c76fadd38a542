//! The policy against its rivals on every trace: what `docs/capacity.md` promises.

#![allow(clippy::unwrap_used)]

use tidegate_capacity::simulate::{CLAIRVOYANT, FIXED, Outcome, TIDEGATE, Trace, World, compare};
use tidegate_capacity::{DECISION_SECONDS, Objective, UnitBounds};

fn world() -> World {
    World::new(UnitBounds::new(0, 16).unwrap(), Objective::default())
}

fn of<'a>(outcomes: &'a [Outcome], policy: &str) -> &'a Outcome {
    outcomes.iter().find(|outcome| outcome.policy == policy).unwrap()
}

#[test]
fn objective_is_kept_at_nearly_the_least_cost_on_every_trace() {
    let mut missed = Vec::new();
    for trace in Trace::all() {
        let outcomes = compare(&trace, &world());
        for outcome in &outcomes {
            println!(
                "{:14} {:14} {:8.2} unit-hours {:6} s over {:5} changes, highest lag {:5.0} s",
                trace.name, outcome.policy, outcome.unit_hours, outcome.seconds_over, outcome.changes, outcome.lag_max_seconds
            );
        }
        let [ours, best, fixed] = [TIDEGATE, CLAIRVOYANT, FIXED].map(|policy| of(&outcomes, policy));
        // The optimum counts rows of an interval as if they had come at its start; where that makes it late, fixed units tell.
        let over_max = f64::from(best.seconds_over.min(fixed.seconds_over)) + DECISION_SECONDS * f64::from(trace.bursts);
        if f64::from(ours.seconds_over) > over_max {
            missed.push(format!("{}: {} s over the objective, wanted at most {over_max}", trace.name, ours.seconds_over));
        }
        if ours.unit_hours > 1.3 * best.unit_hours {
            missed.push(format!("{}: {:.2} times the optimum's unit-hours", trace.name, ours.unit_hours / best.unit_hours));
        }
        if trace.bursty && ours.unit_hours > 0.5 * fixed.unit_hours {
            missed.push(format!("{}: {:.2} of the unit-hours of fixed units", trace.name, ours.unit_hours / fixed.unit_hours));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
