//! What was measured, and how it is told.

use std::collections::BTreeMap;

/// What was measured.
#[derive(Debug, Clone, Default)]
pub struct NeighbourReport {
    /// Milliseconds of each row while nothing else ran, in their order.
    pub quiet_ms: Vec<f64>,
    /// The same beside the hostile tasks.
    pub beside_ms: Vec<f64>,
    /// What became of each misdeed.
    pub misdeeds: BTreeMap<String, Turns>,
    /// How often each kind of upload was refused.
    pub refused: BTreeMap<&'static str, u64>,
    /// Uploads that were taken although they should not.
    pub taken: Vec<&'static str>,
    /// The server's `modules.total_memory_mib`: what all modules together may hold.
    pub ceiling_mib: u32,
    /// Resident memory of the process before the hostile tasks, and its peak.
    pub rss_before_bytes: u64,
    /// See above.
    pub rss_peak_bytes: u64,
    /// Sessions were scheduled as groups: the plan asked for something else, and this user may not switch it.
    pub has_autogroups: bool,
}

/// What became of the task with one misdeed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns {
    /// Times that it had its turn.
    pub turns: u64,
    /// Times that it failed.
    pub failures: u64,
    /// The code of its last failure.
    pub code: Option<String>,
}

impl NeighbourReport {
    /// A percentile of latencies, 0 to 100.
    pub fn percentile(latencies: &[f64], percent: f64) -> f64 {
        let mut sorted = latencies.to_vec();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
        sorted.get(place.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }

    /// How far the process grew beside the hostile tasks.
    pub fn grown_bytes(&self) -> u64 {
        self.rss_peak_bytes.saturating_sub(self.rss_before_bytes)
    }

    /// A line for each row: phase, number and milliseconds.
    pub fn rows(&self) -> String {
        let lines = |phase: &'static str, latencies: &[f64]| -> Vec<String> {
            latencies.iter().enumerate().map(|(number, ms)| format!("{phase},{number},{ms:.3}\n")).collect()
        };
        [lines("quiet", &self.quiet_ms), lines("beside", &self.beside_ms)].concat().concat()
    }

    /// For people.
    pub fn text(&self) -> String {
        let line = |name: &str, latencies: &[f64]| {
            let at = |percent| Self::percentile(latencies, percent);
            format!(
                "{name:<22} {:>5} rows  p50 {:>7.1} ms  p99 {:>7.1} ms  most {:>7.1} ms\n",
                latencies.len(),
                at(50.0),
                at(99.0),
                at(100.0)
            )
        };
        let note = if self.has_autogroups { "sessions are scheduled as groups: see docs/performance.md\n" } else { "" };
        let misdeeds = self.misdeeds.iter().map(|(misdeed, Turns { turns, failures, code })| {
            format!("  {misdeed:<22} {turns} turns, {failures} failures  {}\n", code.as_deref().unwrap_or("goes on"))
        });
        let uploads = self.refused.iter().map(|(upload, count)| format!("  {upload:<22} refused {count} times\n"));
        format!(
            "{note}{}{}p99 moves by {:+.1} %\n{}{}resident {} MiB before, {} MiB at the peak: {} MiB more, where all modules together may hold {} MiB\n",
            line("alone", &self.quiet_ms),
            line("beside hostile modules", &self.beside_ms),
            (Self::percentile(&self.beside_ms, 99.0) / Self::percentile(&self.quiet_ms, 99.0) - 1.0) * 100.0,
            misdeeds.collect::<String>(),
            uploads.collect::<String>(),
            self.rss_before_bytes >> 20,
            self.rss_peak_bytes >> 20,
            self.grown_bytes() >> 20,
            self.ceiling_mib,
        )
    }
}
