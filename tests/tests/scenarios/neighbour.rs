//! Hostile modules beside a task that means well.

use std::time::Duration;

use tidegate_harness::neighbour::{MISDEEDS, NeighbourPlan, NeighbourReport, measure};

/// The neighbour's rows arrive, soon, and the process stays below its ceiling. How soon exactly, with which distance to
/// the bar, is measured by `cargo xtask bench -- neighbour`: a busy machine would make a strict figure fail by chance.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_modules_hold_up_neither_a_neighbour_nor_the_process() {
    let plan = NeighbourPlan {
        rows_each_phase: 150,
        interval: Duration::from_millis(40),
        pairs: 1,
        misdeeds: MISDEEDS.map(str::to_owned).to_vec(),
        uploads: true,
        total_memory_mib: 96,
        strangers_elsewhere: false,
    };
    let report = measure(plan).await;
    println!("{}", report.text());
    assert!(report.failures > 0, "no hostile task failed: {report:?}");
    assert!(report.refused > 0, "no upload was refused: {report:?}");
    let p99 = |latencies: &[f64]| NeighbourReport::percentile(latencies, 99.0);
    let (quiet, beside) = (p99(&report.quiet_ms), p99(&report.beside_ms));
    assert!(beside < quiet * 10.0 + 2_000.0, "p99 {quiet:.1} ms alone, {beside:.1} ms beside hostile modules");
    // 96 MiB for modules, 96 for what their compiled code and a lane take, 3 uploads of 25 MiB in flight.
    let grown = report.rss_peak_bytes.saturating_sub(report.rss_before_bytes);
    assert!(grown < 300 << 20, "the process grew by {} MiB", grown >> 20);
}
