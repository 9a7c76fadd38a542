//! The hostile collection beside a task that means well.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_harness::neighbour::{MISDEEDS, NeighbourPlan, NeighbourReport, UPLOADS, measure};

/// The neighbour's rows arrive, soon and as its modules make them, the process stays below its ceiling, and each misdeed ends as it should. How
/// soon exactly, with which distance to the bar, is measured by `cargo xtask bench -- neighbour`: a busy machine would make a strict figure
/// fail by chance.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_modules_hold_up_neither_a_neighbour_nor_the_process() {
    let plan = NeighbourPlan {
        rows_each_phase: 150,
        interval: Duration::from_millis(40),
        pairs: 1,
        misdeeds: MISDEEDS.iter().map(|(misdeed, _)| (*misdeed).to_owned()).collect(),
        at_once: 6,
        uploads: UPLOADS.to_vec(),
        // A module of 64 MiB meets its own limit before what one tenant may hold of this.
        total_memory_mib: 256,
        strangers_elsewhere: false,
    };
    let report = measure(plan).await;
    println!("{}", report.text());
    let ended: BTreeMap<&str, Option<&str>> =
        report.misdeeds.iter().map(|(misdeed, turns)| (misdeed.as_str(), turns.code.as_deref())).collect();
    assert_eq!(ended, BTreeMap::from(MISDEEDS));
    assert!(report.taken.is_empty() && UPLOADS.iter().all(|upload| report.refused.contains_key(upload)), "{report:?}");
    let p99 = |latencies: &[f64]| NeighbourReport::percentile(latencies, 99.0);
    let (quiet, beside) = (p99(&report.quiet_ms), p99(&report.beside_ms));
    assert!(beside < quiet * 10.0 + 2_000.0, "p99 {quiet:.1} ms alone, {beside:.1} ms beside hostile modules");
    // 256 MiB for modules, 96 for what their compiled code and a lane take, an upload of 24 MiB in flight and its copies.
    assert!(report.grown_bytes() < 460 << 20, "the process grew by {} MiB", report.grown_bytes() >> 20);
}
