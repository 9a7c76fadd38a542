//! From what the process knows to its metrics.

use tidegate_catalog::TaskRecord;
use tidegate_pipeline::Progress;

use super::table;

/// Adds what happened between two views of one run to the counters, and sets the gauges.
pub(crate) fn record_progress(tenant: &str, task: &str, before: &Progress, now: &Progress) {
    let counters = [
        (&table::ROWS_LOADED, before.rows_loaded, now.rows_loaded),
        (&table::CHANGES_APPLIED, before.changes_applied, now.changes_applied),
        (&table::TRANSACTIONS_APPLIED, before.transactions_applied, now.transactions_applied),
        (&table::BYTES_WRITTEN, before.bytes_written, now.bytes_written),
        (&table::RECONNECTS, before.reconnects, now.reconnects),
    ];
    for (metric, earlier, later) in counters {
        metric.add(&[tenant, task], later.saturating_sub(earlier));
    }
    set_gauges(tenant, task, now);
}

/// The gauges of a task that no longer runs here.
pub(crate) fn clear_task(tenant: &str, task: &str) {
    set_gauges(tenant, task, &Progress::default());
}

fn set_gauges(tenant: &str, task: &str, now: &Progress) {
    table::TASK_LAG.set(&[tenant, task], now.lag_seconds);
    table::CACHE_BYTES.set(&[tenant, task, "memory"], now.cache_bytes_memory as f64);
    table::CACHE_BYTES.set(&[tenant, task, "disk"], now.cache_bytes_disk as f64);
}

/// Counts the tasks of the catalog by status.
pub(crate) fn record_tasks(tasks: &[TaskRecord]) {
    for status in ["created", "starting", "running", "stopping", "stopped", "failed", "deleting"] {
        let count = tasks.iter().filter(|task| task.status.name() == status).count();
        table::TASKS.set(&[status], count as f64);
    }
}

/// What this node offers.
pub(crate) fn record_units(units: u32) {
    table::UNITS.set(&[], f64::from(units));
}

/// Reads the process's resident memory from the kernel; leaves the gauge alone where there is no such file.
pub(crate) fn record_memory() {
    if let Some(bytes) = resident_bytes() {
        table::RESIDENT_MEMORY.set(&[], bytes as f64);
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
