//! From what the process knows to its metrics.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use tidegate_catalog::{CapacityStatus, TaskRecord, TenantRecord};
use tidegate_pipeline::{ModuleProgress, Progress};
use tidegate_sandbox::{Engine, TenantShare};

use super::table;

/// Names of counters of modules that have a series.
static MODULE_COUNTERS: Named = Named(Mutex::new(BTreeMap::new()));

/// Names that tenants' programs choose: a run has 32 of a module at most, and the next run must not have 32 others.
struct Named(Mutex<BTreeMap<Vec<String>, BTreeSet<String>>>);

impl Named {
    const NAMES_MAX: usize = 32;

    /// True for the first names of what these labels say.
    fn admits(&self, labels: &[&str], name: &str) -> bool {
        let mut known = self.0.lock().expect("no holder of this lock panics");
        let names = known.entry(labels.iter().map(|label| (*label).to_owned()).collect()).or_default();
        names.contains(name) || names.len() < Self::NAMES_MAX && names.insert(name.to_owned())
    }
}

const STATUSES: [&str; 7] = ["created", "starting", "running", "stopping", "stopped", "failed", "deleting"];

/// Adds what happened between two views of one run to the counters, and sets the gauges.
pub(crate) fn record_progress(tenant: &str, task: &str, before: &Progress, now: &Progress) {
    let counters = [
        (&table::ROWS_LOADED, before.rows_loaded, now.rows_loaded),
        (&table::CHANGES_CAPTURED, before.changes_captured, now.changes_captured),
        (&table::BYTES_CAPTURED, before.bytes_captured, now.bytes_captured),
        (&table::CHANGES_APPLIED, before.changes_applied, now.changes_applied),
        (&table::TRANSACTIONS_APPLIED, before.transactions_applied, now.transactions_applied),
        (&table::BYTES_WRITTEN, before.bytes_written, now.bytes_written),
        (&table::RECONNECTS, before.reconnects, now.reconnects),
        (&table::ROWS_REJECTED, before.rows_rejected, now.rows_rejected),
        (&table::ROWS_CUT, before.rows_cut, now.rows_cut),
    ];
    for (metric, earlier, later) in counters {
        metric.add(&[tenant, task], later.saturating_sub(earlier));
    }
    set_gauges(tenant, task, now);
    let written = |progress: &Progress| progress.rows_loaded + progress.changes_applied;
    table::TENANT_ROWS.add(&[tenant], written(now).saturating_sub(written(before)));
    table::TENANT_BYTES.add(&[tenant], now.bytes_written.saturating_sub(before.bytes_written));
    for (name, module) in &now.modules {
        let earlier = before.modules.iter().find(|(known, _)| known == name).map(|(_, module)| module.clone()).unwrap_or_default();
        record_module(&[tenant, task, name], &earlier, module);
        table::TENANT_MODULE_CPU.raise(&[tenant], module.cpu.saturating_sub(earlier.cpu).as_secs_f64());
    }
}

fn record_module(labels: &[&str], before: &ModuleProgress, now: &ModuleProgress) {
    let counters = [
        (&table::MODULE_ROWS, before.rows, now.rows),
        (&table::MODULE_BATCHES, before.batches, now.batches),
        (&table::MODULE_FAILURES, before.failures, now.failures),
        (&table::MODULE_REJECTED, before.rejected, now.rejected),
    ];
    for (metric, earlier, later) in counters {
        metric.add(labels, later.saturating_sub(earlier));
    }
    // Where it is not metered there is no such series.
    if let Some(fuel) = now.fuel {
        table::MODULE_FUEL.add(labels, fuel.saturating_sub(before.fuel.unwrap_or(0)));
    }
    for (name, count) in &now.counters {
        let more = count.saturating_sub(before.counters.get(name).copied().unwrap_or(0));
        if more > 0 && MODULE_COUNTERS.admits(labels, name) {
            table::MODULE_COUNTER.add(&[labels, &[&**name]].concat(), more);
        }
    }
    set_module_gauges(labels, now);
}

fn set_module_gauges(labels: &[&str], now: &ModuleProgress) {
    table::MODULE_CPU.set(labels, now.cpu.as_secs_f64());
    table::MODULE_MEMORY.set(labels, now.memory_bytes_peak as f64);
}

/// The gauges of the modules of a run that ended; `last` is what was recorded of it last.
pub(crate) fn clear_modules(tenant: &str, task: &str, last: &Progress) {
    for (name, _) in &last.modules {
        set_module_gauges(&[tenant, task, name], &ModuleProgress::default());
    }
}

/// The gauges of a task that no longer runs here.
pub(crate) fn clear_task(tenant: &str, task: &str) {
    set_gauges(tenant, task, &Progress::default());
    set_capacity(tenant, task, &CapacityStatus { objective_seconds: Some(0.0), ..CapacityStatus::default() });
}

fn set_gauges(tenant: &str, task: &str, now: &Progress) {
    table::TASK_LAG.set(&[tenant, task], now.lag_seconds);
    table::CHANGES_WAITING.set(&[tenant, task], now.changes_waiting as f64);
    let waiting = now.cache_bytes_memory + now.cache_bytes_disk + now.bytes_in_flight;
    table::TASK_LOG_HELD.set(&[tenant, task], now.log_held_bytes as f64);
    table::TASK_LAG_BYTES.set(&[tenant, task], waiting as f64);
    table::CACHE_BYTES.set(&[tenant, task, "memory"], now.cache_bytes_memory as f64);
    table::CACHE_BYTES.set(&[tenant, task, "disk"], now.cache_bytes_disk as f64);
}

/// The capacity plan of a task; `decided` is the reason of a decision that was made since the last call.
pub(crate) fn record_capacity(tenant: &str, task: &str, capacity: &CapacityStatus, decided: Option<&str>) {
    set_capacity(tenant, task, capacity);
    if let Some(reason) = decided {
        table::DECISIONS.add(&[tenant, task, reason], 1);
    }
}

fn set_capacity(tenant: &str, task: &str, capacity: &CapacityStatus) {
    let minute = &capacity.last_minute;
    let gauges = [
        (&table::TASK_LAG_OBJECTIVE, capacity.max_lag_seconds),
        (&table::TASK_UNITS_WANTED, f64::from(capacity.units_wanted)),
        (&table::TASK_UNITS_GRANTED, f64::from(capacity.units_granted)),
        (&table::TASK_UNITS_USED, minute.lanes),
        (&table::TASK_UNITS_MAX, f64::from(capacity.units_max)),
        (&table::TASK_UNIT_RATE, capacity.unit_rows_per_second.unwrap_or(0.0)),
        (&table::TASK_CATCH_UP, capacity.objective_seconds.unwrap_or(if capacity.falls_behind { f64::INFINITY } else { f64::NAN })),
    ];
    for (metric, value) in gauges {
        metric.set(&[tenant, task], value);
    }
    let stages = [
        ("source", minute.source),
        ("decode", minute.decode),
        ("store", minute.store),
        ("assemble", minute.assemble),
        ("transform", minute.transform),
        ("conflicts", minute.conflicts),
        ("write", minute.write),
        ("commit", minute.commit),
    ];
    for (stage, share) in stages {
        table::TASK_BUSY.set(&[tenant, task, stage], share);
    }
}

/// Counts the tasks of the catalog by status.
pub(crate) fn record_tasks<'a>(tasks: impl Iterator<Item = &'a TaskRecord> + Clone) {
    for status in STATUSES {
        let count = tasks.clone().filter(|task| task.status.name() == status).count();
        table::TASKS.set(&[status], count as f64);
    }
}

/// What tenants may have and what they have, in one pass over the tasks; `units` are those wanted and granted here.
pub(crate) fn record_tenants<'a>(
    tenants: &[TenantRecord],
    tasks: impl Iterator<Item = &'a TaskRecord>,
    units: &BTreeMap<String, (u32, u32)>,
) {
    let mut counts: HashMap<(&str, &str), u32> = HashMap::new();
    for task in tasks {
        *counts.entry((task.tenant.as_str(), task.status.name())).or_default() += 1;
    }
    for TenantRecord { name, quotas, .. } in tenants {
        let tenant = name.as_str();
        for status in STATUSES {
            table::TENANT_TASKS.set(&[tenant, status], f64::from(counts.get(&(tenant, status)).copied().unwrap_or(0)));
        }
        let (wanted, granted) = units.get(tenant).copied().unwrap_or_default();
        table::TENANT_UNITS_WANTED.set(&[tenant], f64::from(wanted));
        table::TENANT_UNITS_GRANTED.set(&[tenant], f64::from(granted));
        table::TENANT_UNITS_QUOTA.set(&[tenant], quotas.units.map_or(f64::INFINITY, f64::from));
        table::TENANT_WEIGHT.set(&[tenant], f64::from(quotas.weight.unwrap_or(1).max(1)));
        // A counter that begins with its first row would lose that row to every rate.
        table::TENANT_ROWS.add(&[tenant], 0);
        table::TENANT_BYTES.add(&[tenant], 0);
        table::TENANT_MODULE_CPU.raise(&[tenant], 0.0);
    }
}

/// What the sandboxes of tenants and of the process hold.
pub(crate) fn record_sandboxes<'a>(engine: &Engine, tenants: impl Iterator<Item = (&'a TenantRecord, &'a TenantShare)>) {
    let (of_tenants, built_in) = engine.sandboxes();
    table::SANDBOXES.set(&["tenants"], of_tenants as f64);
    table::SANDBOXES.set(&["built-in"], built_in as f64);
    table::SANDBOX_MEMORY.set(&[], engine.memory_bytes() as f64);
    table::SANDBOXES_GIVEN_UP.reach(&[], engine.given_up());
    for (TenantRecord { name, quotas, .. }, share) in tenants {
        let tenant = name.as_str();
        table::TENANT_SANDBOXES.set(&[tenant], share.sandboxes() as f64);
        table::TENANT_SANDBOXES_QUOTA.set(&[tenant], quotas.sandboxes.map_or(f64::INFINITY, f64::from));
        table::TENANT_SANDBOX_MEMORY.set(&[tenant], share.memory_bytes() as f64);
        let mib = f64::from(1 << 20);
        table::TENANT_SANDBOX_MEMORY_QUOTA.set(&[tenant], quotas.sandbox_memory_mib.map_or(f64::INFINITY, |quota| f64::from(quota) * mib));
        table::TENANT_SANDBOX_REFUSALS.reach(&[tenant], share.refusals());
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
    fn a_module_has_the_first_32_names_that_it_counts_by() {
        let named = Named(Mutex::new(BTreeMap::new()));
        let admitted = |module: &str| (0..50).filter(|name| named.admits(&["t", "k", module], &name.to_string())).count();
        assert_eq!((admitted("a"), admitted("a"), admitted("b")), (32, 32, 32));
        assert!(!named.admits(&["t", "k", "a"], "another"));
    }

    #[test]
    fn resident_memory_is_read_on_linux() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000));
    }
}
