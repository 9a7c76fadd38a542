//! Every metric that this process writes: name, unit and meaning in one place.
//!
//! Labels come from closed sets (status, tier) or from the catalog (tenant, task); a table is never a label.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tidegate_pipeline::Progress;

/// Age of the oldest change that is captured and not applied.
pub(crate) const TASK_LAG: &str = "tidegate_task_lag_seconds";
/// Rows copied by full loads.
pub(crate) const ROWS_LOADED: &str = "tidegate_rows_loaded_total";
/// Row changes applied from logs.
pub(crate) const CHANGES_APPLIED: &str = "tidegate_changes_applied_total";
/// Source transactions applied from logs.
pub(crate) const TRANSACTIONS_APPLIED: &str = "tidegate_transactions_applied_total";
/// Bytes of row data written to targets.
pub(crate) const BYTES_WRITTEN: &str = "tidegate_bytes_written_total";
/// Bytes of changes that wait, by tier.
pub(crate) const CACHE_BYTES: &str = "tidegate_cache_bytes";
/// Connections lost and taken up again.
pub(crate) const RECONNECTS: &str = "tidegate_reconnects_total";
/// Tasks of the catalog by status.
pub(crate) const TASKS: &str = "tidegate_tasks";
/// Resident memory of this process.
pub(crate) const RESIDENT_MEMORY: &str = "tidegate_process_resident_memory_bytes";
/// Capacity units of this node.
pub(crate) const UNITS: &str = "tidegate_units";

/// Gives every metric its unit and its help text.
pub(crate) fn describe() {
    describe_gauge!(TASK_LAG, Unit::Seconds, "Age of the oldest change that is captured and not applied.");
    describe_counter!(ROWS_LOADED, Unit::Count, "Rows copied by full loads.");
    describe_counter!(CHANGES_APPLIED, Unit::Count, "Row changes applied from source logs.");
    describe_counter!(TRANSACTIONS_APPLIED, Unit::Count, "Source transactions applied.");
    describe_counter!(BYTES_WRITTEN, Unit::Bytes, "Bytes of row data written to targets.");
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Bytes of changes that wait to be applied, in memory and on disk.");
    describe_counter!(RECONNECTS, Unit::Count, "Connections lost and taken up again.");
    describe_gauge!(TASKS, Unit::Count, "Tasks by status.");
    describe_gauge!(RESIDENT_MEMORY, Unit::Bytes, "Resident memory of the process.");
    describe_gauge!(UNITS, Unit::Count, "Capacity units of this node.");
}

/// Adds what happened between two views of one run to the counters, and sets the gauges.
pub(crate) fn record_progress(tenant: &str, task: &str, before: &Progress, now: &Progress) {
    let labels = [("tenant", tenant.to_owned()), ("task", task.to_owned())];
    let counters = [
        (ROWS_LOADED, before.rows_loaded, now.rows_loaded),
        (CHANGES_APPLIED, before.changes_applied, now.changes_applied),
        (TRANSACTIONS_APPLIED, before.transactions_applied, now.transactions_applied),
        (BYTES_WRITTEN, before.bytes_written, now.bytes_written),
        (RECONNECTS, before.reconnects, now.reconnects),
    ];
    for (name, earlier, later) in counters {
        counter!(name, &labels).increment(later.saturating_sub(earlier));
    }
    gauge!(TASK_LAG, &labels).set(now.lag_seconds);
    set_cache(tenant, task, now.cache_bytes_memory, now.cache_bytes_disk);
}

/// The gauges of a task that no longer runs here.
pub(crate) fn clear_task(tenant: &str, task: &str) {
    gauge!(TASK_LAG, "tenant" => tenant.to_owned(), "task" => task.to_owned()).set(0.0);
    set_cache(tenant, task, 0, 0);
}

fn set_cache(tenant: &str, task: &str, memory: u64, disk: u64) {
    for (tier, bytes) in [("memory", memory), ("disk", disk)] {
        gauge!(CACHE_BYTES, "tenant" => tenant.to_owned(), "task" => task.to_owned(), "tier" => tier).set(bytes as f64);
    }
}

/// Reads the process's resident memory from the kernel; leaves the gauge alone where there is no such file.
pub(crate) fn record_memory() {
    if let Some(bytes) = resident_bytes() {
        gauge!(RESIDENT_MEMORY).set(bytes as f64);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_on_linux() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
