//! What does a quiet tenant notice when another tenant floods its node?
//!
//! One row at a time is written at the source of the quiet tenant and waited for in its target, first alone, then while the
//! other tenant's tasks (`--tasks`) have more to apply than their units do, on a node of few units (`--units`). Sizes are rows
//! of each phase (`--rows`); answers are milliseconds at the 50th and 99th percentile, and the flood's rows.

use std::time::Duration;

use serde_json::json;
use tidegate_harness::flood::{self, FloodPlan};
use tidegate_harness::neighbour::NeighbourReport;

/// Between two rows of the quiet tenant.
const PAUSE: Duration = Duration::from_millis(20);

/// The longest lag that the quiet tenant accepts, seconds.
const OBJECTIVE: u32 = 5;

/// Runs both phases and prints them.
pub(crate) async fn measure(rows: u32, tasks: u32, units: u32) {
    let plan = FloodPlan {
        rows_each_phase: rows,
        interval: PAUSE,
        flood_tasks: tasks,
        flood_interval: Duration::ZERO,
        flood_waiting_most: u64::MAX,
        units,
        max_lag_seconds: OBJECTIVE,
    };
    let report = flood::measure(plan).await;
    let at = |latencies: &[f64], percent| NeighbourReport::percentile(latencies, percent);
    let beside_p99 = at(&report.beside_ms, 99.0);
    println!(
        "{}",
        json!({"work": "flood", "rows": rows, "flood_tasks": tasks, "units": units, "objective_ms": OBJECTIVE * 1000,
            "flood_rows": report.flood_rows, "flood_rows_waiting_at_end": report.flood_waiting,
            "flood_units_wanted": report.flood_units.0, "flood_units_granted": report.flood_units.1,
            "alone_ms_p50": at(&report.alone_ms, 50.0), "alone_ms_p99": at(&report.alone_ms, 99.0),
            "beside_ms_p50": at(&report.beside_ms, 50.0), "beside_ms_p99": beside_p99,
            "within_objective": beside_p99 < f64::from(OBJECTIVE) * 1e3})
    );
}
