//! What holds for every load, shown by seeded draws; a failure prints its seed.

use super::*;
use crate::simulate::{Draw, Outcome, Strategy, Trace, World, run};

/// A planner that remembers what it decided.
struct Recorder {
    planner: Planner,
    second: usize,
    plans: Vec<(usize, Plan)>,
}

impl Strategy for Recorder {
    fn observe(&mut self, sample: &Sample) {
        self.second += 1;
        self.planner.observe(*sample);
    }

    fn decide(&mut self, units: u32) -> u32 {
        let plan = self.planner.decide(units);
        self.plans.push((self.second, plan));
        plan.units
    }

    fn interval(&self) -> usize {
        DECISION_SECONDS as usize
    }

    fn first(&self) -> u32 {
        0
    }
}

fn world(max: u32) -> World {
    World::new(UnitBounds::new(0, max).unwrap(), Objective::default())
}

/// Plans of a load given as units second by second.
fn simulate(world: &World, load: impl Fn(usize) -> f64, seconds: usize) -> (Outcome, Vec<(usize, Plan)>) {
    let rows = (0..seconds).map(|second| load(second) * world.rows_per_unit).collect();
    let trace = Trace { name: "made for a test".into(), rows, bursts: 0, bursty: false };
    let planner = Planner::new(world.bounds, world.objective);
    let mut recorder = Recorder { planner, second: 0, plans: Vec::new() };
    let outcome = run("", &trace, world, &mut recorder);
    (outcome, recorder.plans)
}

fn changes(units: &[u32]) -> usize {
    units.windows(2).filter(|pair| pair[0] != pair[1]).count()
}

#[test]
fn plans_stay_within_any_bounds_whatever_is_measured() {
    for seed in 0..500 {
        let mut draw = Draw::new(seed);
        let max = 1 + draw.below(40) as u32;
        let bounds = UnitBounds::new(draw.below(u64::from(max) + 1) as u32, max).unwrap();
        let mut planner = Planner::new(bounds, Objective::default());
        let mut units = 0;
        for _ in 0..200 {
            let mut figure = || match draw.below(8) {
                0 => f64::NAN,
                1 => f64::INFINITY,
                2 => -5.0,
                3 | 4 => 0.0,
                _ => draw.share() * 1e6,
            };
            let sample = Sample {
                seconds: figure() % 3.0,
                units,
                rows_arrived: figure(),
                rows_applied: figure(),
                rows_waiting: figure(),
                lag_seconds: figure(),
                busy_seconds: figure() % 40.0,
                conflict_seconds: figure() % 40.0,
                bytes_on_disk: figure() as u64,
                chunks_left: figure() as u32 % 50,
                throttled: figure() > 100.0,
            };
            planner.observe(sample);
            let plan = planner.decide(units);
            units = plan.units;
            assert!((bounds.min()..=bounds.max()).contains(&units), "seed {seed}: {plan:?} outside {bounds:?}");
            assert!(Reason::KINDS.contains(&plan.reason.kind()) && !plan.reason.to_string().is_empty());
        }
    }
}

#[test]
fn constant_load_never_moves_the_units_to_and_fro() {
    for seed in 0..200 {
        let mut draw = Draw::new(seed);
        let load = 0.05 + draw.share() * 14.0;
        let world = World { scaling_exponent: 0.8 + draw.share() * 0.2, ..world(64) };
        let (outcome, _) = simulate(&world, |_| load, 1_800);
        let settled = &outcome.units[180..];
        // A load that is a hair above what the units apply shows only after minutes; that is the one change.
        let down = settled.windows(2).any(|pair| pair[0] > pair[1]);
        assert!(!down && changes(settled) <= 1, "seed {seed}: a load of {load:.2} units moves {settled:?}");
        assert_eq!(outcome.seconds_over, 0, "seed {seed}");
    }
}

#[test]
fn noise_of_thirty_percent_hardly_moves_the_units() {
    for seed in 0..100 {
        let mut draw = Draw::new(seed);
        let load = 0.5 + draw.share() * 13.0;
        let world = World { noise: 0.3, ..world(64) };
        let (outcome, _) = simulate(&world, |_| load, 7_200);
        let settled = &outcome.units[300..];
        let (least, most) = (*settled.iter().min().unwrap(), *settled.iter().max().unwrap());
        assert!(f64::from(most) <= load * 1.35 + 1.0, "seed {seed}: {most} units for a load of {load:.2}");
        assert!(most - least <= 1 + (load / 5.0) as u32, "seed {seed}: {least} to {most} units for a load of {load:.2}");
        assert!(changes(settled) <= 20, "seed {seed}: {} changes in two hours", changes(settled));
        assert_eq!(outcome.seconds_over, 0, "seed {seed}");
    }
}

#[test]
fn more_load_never_gives_fewer_units() {
    for seed in 0..500 {
        let mut draw = Draw::new(seed);
        let objective = Objective::new(10.0 + draw.share() * 100.0).unwrap();
        let bounds = UnitBounds::new(0, 64).unwrap();
        let (mut less, mut more) = (Planner::new(bounds, objective), Planner::new(bounds, objective));
        let (mut fewer, mut units) = (0, 0);
        for second in 1..=240 {
            let (idle, burst) = (draw.below(3) == 0, draw.below(20) == 0);
            let rows_arrived = if idle { 0.0 } else { draw.share() * if burst { 50_000.0 } else { 5_000.0 } };
            let rows_waiting = if draw.below(2) == 0 { 0.0 } else { draw.share() * 20_000.0 };
            let lag_seconds = draw.share() * 40.0;
            // Both did the same work in the same time, so that they know the same of their units; and these had work all the time,
            // since what waits though units do not work is no load for units.
            let sample = Sample {
                seconds: 1.0,
                units: 2,
                rows_arrived,
                rows_waiting,
                lag_seconds,
                rows_applied: 1_000.0,
                busy_seconds: 1.8,
                ..Sample::default()
            };
            less.observe(sample);
            let grown = |figure: f64, more: f64| figure + if more < 0.5 { 0.0 } else { figure * more + 100.0 * more };
            more.observe(Sample {
                rows_arrived: grown(rows_arrived, draw.share()),
                rows_waiting: grown(rows_waiting, draw.share()),
                lag_seconds: grown(lag_seconds, draw.share()),
                ..sample
            });
            if second % 5 == 0 {
                let (of_less, of_more) = (less.decide(fewer), more.decide(units));
                assert!(of_more.units >= of_less.units, "seed {seed}, second {second}: {of_less:?} for less, {of_more:?} for more");
                (fewer, units) = (of_less.units, of_more.units);
            }
        }
    }
}

#[test]
fn a_step_is_answered_within_three_decisions() {
    const STEP: usize = 600;
    for seed in 0..300 {
        let mut draw = Draw::new(seed);
        let (from, to) = (draw.share() * 12.0, 0.1 + draw.share() * 12.0);
        let step = STEP + draw.below(5) as usize;
        let world = World { scaling_exponent: 0.85 + draw.share() * 0.15, ..world(64) };
        let (outcome, plans) = simulate(&world, |second| if second < step { from } else { to }, 1_200);
        let after: Vec<u32> = plans.iter().filter(|(second, _)| *second > step).map(|(_, plan)| plan.units).collect();
        let case = format!("seed {seed}: {from:.2} to {to:.2}: {after:?}");
        let count = |differs: fn(u32, u32) -> bool| outcome.units[step..].windows(2).filter(|pair| differs(pair[0], pair[1])).count();
        let (up, down) = (count(|before, after| after > before), count(|before, after| after < before));
        // Going down stops at levels whose speed is not known yet.
        assert!(up <= 3 && down <= 4, "{up} decisions raise and {down} lower the units: {case}");
        // The first two see only a part of the step, and going down waits for the stabilisation.
        assert!(world.capacity(after[4]) >= to * world.rows_per_unit * 0.95, "too few after five decisions: {case}");
        assert_eq!(changes(&after[12..]), 0, "not settled after a minute: {case}");
        assert_eq!(outcome.seconds_over, 0, "seed {seed}");
    }
}

#[test]
fn units_that_brought_nothing_are_taken_back_and_not_added_again() {
    // The target takes what four units do; ten would be needed.
    let world = World { target_rows: 8_000.0, ..world(16) };
    let (outcome, plans) = simulate(&world, |second| if second < 300 { 3.0 } else { 10.0 }, 1_200);
    let (found, limited) = plans.iter().find(|(_, plan)| matches!(plan.reason, Reason::TargetIsLimit { .. })).expect("the limit is found");
    assert!(*found < 330, "found after {found} seconds: {limited:?}");
    let later: Vec<u32> = outcome.units[found + 5..*found + 500].to_vec();
    assert!(later.iter().all(|units| (4..=5).contains(units)), "{limited:?}, then {later:?}");
    // After its time the limit is tried again, and found again.
    assert!(
        outcome.units[found + 5..].iter().any(|units| *units > 5) && *outcome.units.last().unwrap() <= 5,
        "{:?}",
        &outcome.units[600..]
    );
}

/// Plans of a minute in which the units are what was planned, and their samples as told.
fn planned(sample: impl Fn(u32) -> Sample) -> Vec<Plan> {
    let mut planner = Planner::new(UnitBounds::new(0, 8).unwrap(), Objective::default());
    let mut units = 1;
    let mut plans = Vec::new();
    for second in 1..=60 {
        planner.observe(sample(units));
        if second % 5 == 0 {
            let plan = planner.decide(units);
            units = plan.units;
            plans.push(plan);
        }
    }
    plans
}

/// What a task does in a second that is behind and applies as much as one unit can.
fn as_one_unit(units: u32) -> Sample {
    Sample {
        seconds: 1.0,
        units,
        rows_arrived: 2_000.0,
        rows_applied: 1_000.0,
        rows_waiting: 90_000.0,
        lag_seconds: 20.0,
        busy_seconds: f64::from(units),
        ..Sample::default()
    }
}

#[test]
fn units_that_only_waited_for_the_others_are_taken_back_with_that_reason() {
    // Whatever the units are, the rows that they share let one of them work at a time.
    let plans = planned(|units| Sample { conflict_seconds: f64::from(units - 1), ..as_one_unit(units) });
    assert!(plans.iter().any(|plan| plan.units == 8), "{plans:#?}");
    let last = plans.last().unwrap();
    assert!(matches!(last.reason, Reason::ConflictsAreLimit { units: 1, .. }) && last.units == 1, "{plans:#?}");
}

#[test]
fn units_that_got_too_little_to_do_are_taken_back_with_that_reason() {
    // Whatever the units are, a module lets through what one of them takes.
    let plans = planned(|units| Sample { busy_seconds: 1.0, ..as_one_unit(units) });
    let limited = plans.iter().find(|plan| plan.reason.kind().ends_with("-is-limit"));
    assert!(limited.is_some_and(|plan| matches!(plan.reason, Reason::UpstreamIsLimit { .. }) && plan.units < 8), "{plans:#?}");
}

#[test]
fn nothing_is_added_while_the_target_throttles() {
    let mut planner = Planner::new(UnitBounds::new(0, 16).unwrap(), Objective::default());
    let busy = Sample {
        seconds: 1.0,
        units: 1,
        rows_arrived: 9_000.0,
        rows_applied: 1_000.0,
        rows_waiting: 50_000.0,
        lag_seconds: 6.0,
        busy_seconds: 1.0,
        ..Sample::default()
    };
    (0..5).for_each(|_| planner.observe(Sample { throttled: true, ..busy }));
    let plan = planner.decide(1);
    assert_eq!((plan.units, plan.reason), (1, Reason::TargetThrottles));
    planner.observe(busy);
    assert!(planner.decide(1).units > 5);
}

#[test]
fn changes_that_pile_up_on_disk_bring_a_unit() {
    let mut planner = Planner::new(UnitBounds::new(0, 16).unwrap(), Objective::default());
    let level = Sample { seconds: 1.0, units: 2, rows_arrived: 1_000.0, rows_applied: 1_000.0, busy_seconds: 1.0, ..Sample::default() };
    for second in 0_u64..20 {
        planner.observe(Sample { bytes_on_disk: second << 20, ..level });
    }
    let plan = planner.decide(2);
    assert_eq!((plan.units, plan.reason), (3, Reason::MemoryPressure { bytes_on_disk: 19 << 20 }));
    planner.observe(Sample { bytes_on_disk: 19 << 20, ..level });
    assert_eq!(planner.decide(2).units, 2, "what does not grow needs no further unit");
}

#[test]
fn an_idle_task_goes_to_zero_and_wakes_with_what_it_learnt() {
    let (outcome, plans) = simulate(
        &world(16),
        |second| {
            if (100..400).contains(&second) || second >= 900 { 6.0 } else { 0.0 }
        },
        1_000,
    );
    assert!(outcome.units[..100].iter().all(|units| *units == 0));
    assert!(outcome.units[450..900].iter().all(|units| *units == 0), "{:?}", &outcome.units[400..500]);
    let (_, idle) = plans.iter().find(|(second, _)| *second == 500).unwrap();
    assert!(matches!(idle.reason, Reason::Idle { .. }), "{idle:?}");
    assert!(outcome.units[911] >= 6, "{:?}", &outcome.units[900..920]);
}

#[test]
fn a_full_load_takes_a_unit_for_each_chunk_up_to_the_bound() {
    let mut planner = Planner::new(UnitBounds::new(0, 8).unwrap(), Objective::default());
    let loading =
        |chunks_left| Sample { seconds: 1.0, units: 4, rows_applied: 5_000.0, busy_seconds: 4.0, chunks_left, ..Sample::default() };
    planner.observe(loading(30));
    let plan = planner.decide(4);
    assert_eq!((plan.units, plan.reason), (8, Reason::AtMaximum { needed: 30 }));
    planner.observe(loading(3));
    assert_eq!(planner.decide(4).units, 3);
}

#[test]
fn a_load_teaches_nothing_about_the_stream() {
    let mut planner = Planner::new(UnitBounds::new(0, 8).unwrap(), Objective::default());
    let loading = Sample { seconds: 1.0, units: 4, rows_applied: 80_000.0, busy_seconds: 4.0, chunks_left: 3, ..Sample::default() };
    (0..10).for_each(|_| planner.observe(loading));
    assert_eq!(planner.decide(4).forecast, Forecast::default(), "changes wait for the end of the load");
    let stream = Sample {
        seconds: 1.0,
        units: 1,
        rows_arrived: 500.0,
        rows_applied: 1_000.0,
        rows_waiting: 100_000.0,
        lag_seconds: 40.0,
        busy_seconds: 1.0,
        ..Sample::default()
    };
    (0..10).for_each(|_| planner.observe(stream));
    let plan = planner.decide(1);
    assert_eq!(plan.rates.per_unit, Some(1_000.0));
    assert!(plan.needed > 5, "{plan:?}");
}

#[test]
fn bounds_and_objective_are_obeyed_from_the_next_decision_on() {
    let mut planner = Planner::new(UnitBounds::new(0, 16).unwrap(), Objective::new(600.0).unwrap());
    let behind = Sample {
        seconds: 1.0,
        units: 2,
        rows_applied: 4_000.0,
        rows_waiting: 300_000.0,
        lag_seconds: 20.0,
        busy_seconds: 2.0,
        ..Sample::default()
    };
    (0..10).for_each(|_| planner.observe(behind));
    assert_eq!(planner.decide(2).units, 2);
    planner.set(UnitBounds::new(0, 5).unwrap(), Objective::new(30.0).unwrap());
    let plan = planner.decide(2);
    assert!(plan.units == 5 && matches!(plan.reason, Reason::AtMaximum { needed } if needed > 5), "{plan:?}");
    assert!(Objective::new(0.0).is_err() && Objective::new(f64::NAN).is_err());
}

#[test]
fn a_forecast_knows_that_units_wait_for_what_is_before_them() {
    let mut planner = Planner::new(UnitBounds::new(0, 8).unwrap(), Objective::default());
    let behind = Sample {
        seconds: 1.0,
        units: 4,
        rows_applied: 4_000.0,
        rows_waiting: 80_000.0,
        lag_seconds: 10.0,
        busy_seconds: 4.0,
        ..Sample::default()
    };
    (0..10).for_each(|_| planner.observe(behind));
    assert_eq!(planner.forecast(8).level_seconds, Some(10.0), "eight units that are always at work");
    (0..5).for_each(|_| planner.observe(Sample { busy_seconds: 2.0, ..behind }));
    assert_eq!(planner.forecast(8).level_seconds, Some(20.0), "units that wait half of their time");
}

#[test]
fn the_forecast_of_a_burst_comes_true() {
    for seed in 0..50 {
        let mut draw = Draw::new(seed);
        let world = World { scaling_exponent: 0.9 + draw.share() * 0.1, ..world(6) };
        // More than six units keep within the objective: how long it takes is known once they work.
        let (size, from) = (400.0 + draw.share() * 600.0, 300 + draw.below(5) as usize);
        let (outcome, plans) = simulate(
            &world,
            |second| {
                if (from..from + 10).contains(&second) { size / 10.0 } else { 0.5 }
            },
            1_200,
        );
        let (decided, plan) = plans.iter().find(|(second, _)| *second >= from + 20).unwrap();
        let forecast = plan.forecast.objective_seconds.expect("six units are enough to catch up");
        let since = outcome.lag_seconds.iter().rposition(|lag| *lag > 30.0).unwrap() - decided;
        assert!(
            (forecast - since as f64).abs() <= 0.25 * since as f64 + 1.0,
            "seed {seed}: forecast {forecast:.0} s, it took {since} s: {plan:?}"
        );
    }
}
