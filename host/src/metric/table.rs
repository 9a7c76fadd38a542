//! The table. A metric that is not here does not exist.

use super::{Kind, Metric, Unit};

/// Labels of what is counted for a task.
const TASK: &[&str] = &["tenant", "task"];

/// Labels of what is added up for a tenant.
const TENANT: &[&str] = &["tenant"];

/// Labels of what is counted for a module of a task, which names few of them.
const MODULE: &[&str] = &["tenant", "task", "module"];

/// Declares the metrics and lists them in [`ALL`], so that none is forgotten.
macro_rules! metrics_table {
    ($($id:ident = $kind:ident $unit:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub(crate) static $id: Metric =
                Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, labels: $labels, help: $help };
        )*

        /// Every metric, in the order in which it is documented.
        pub(super) static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics_table! {
    TASKS = Gauge Count "tidegate_tasks" &["status"], "Tasks of the catalog by status.";
    TASK_LAG = Gauge Seconds "tidegate_task_lag_seconds" TASK, "Age of the oldest change that is captured and not applied.";
    TASK_LAG_OBJECTIVE = Gauge Seconds "tidegate_task_lag_objective_seconds" TASK, "Longest lag that the task's owner accepts.";
    TASK_LAG_BYTES = Gauge Bytes "tidegate_task_lag_bytes" TASK,
        "Bytes of changes that are captured and not applied: in the cache, and in groups on their way to the target.";
    TASK_LOG_HELD = Gauge Bytes "tidegate_task_log_held_bytes" TASK,
        "Bytes of log that the source keeps for the task, looked at every minute and of a sleeping task every ten; 0 where it keeps its log by time.";
    CHANGES_WAITING = Gauge Count "tidegate_changes_waiting" TASK, "Row changes of committed transactions that are captured and not applied.";
    CACHE_BYTES = Gauge Bytes "tidegate_cache_bytes" &["tenant", "task", "tier"],
        "Bytes of changes that wait to be applied, in memory and on disk.";
    ROWS_LOADED = Counter Count "tidegate_rows_loaded_total" TASK, "Rows copied by full loads.";
    CHANGES_CAPTURED = Counter Count "tidegate_changes_captured_total" TASK,
        "Row changes of committed transactions read from source logs; after a lost connection some are read again.";
    BYTES_CAPTURED = Counter Bytes "tidegate_bytes_captured_total" TASK, "Bytes in memory of the captured changes.";
    CHANGES_APPLIED = Counter Count "tidegate_changes_applied_total" TASK, "Row changes applied from source logs.";
    TRANSACTIONS_APPLIED = Counter Count "tidegate_transactions_applied_total" TASK, "Source transactions applied.";
    BYTES_WRITTEN = Counter Bytes "tidegate_bytes_written_total" TASK, "Bytes of row data written to targets.";
    RECONNECTS = Counter Count "tidegate_reconnects_total" TASK, "Connections lost and taken up again.";
    TASK_UNITS_WANTED = Gauge Count "tidegate_task_units_wanted" TASK,
        "Capacity units that the plan gives the task, within its bounds.";
    TASK_UNITS_GRANTED = Gauge Count "tidegate_task_units_granted" TASK, "Capacity units that the node's pool grants the task: lanes that load or apply. With 0 it sleeps until the first change.";
    TASK_UNITS_USED = Gauge Count "tidegate_task_units_used" TASK, "Lanes that had work, averaged over the last minute.";
    TASK_UNITS_MAX = Gauge Count "tidegate_task_units_max" TASK, "The most capacity units that the task's owner allows.";
    TASK_BUSY = Gauge Ratio "tidegate_task_busy_ratio" &["tenant", "task", "stage"],
        "Seconds of work of a stage in a second, averaged over the last minute; several lanes may add up to more than 1.";
    TASK_UNIT_RATE = Gauge Count "tidegate_task_unit_rows_per_second" TASK,
        "True rate: rows that one unit applies in a second in which it has work; 0 before any had.";
    TASK_CATCH_UP = Gauge Seconds "tidegate_task_catch_up_seconds" TASK,
        "Forecast: seconds until the lag is within the objective with the units that the task has; +Inf when it will not be, NaN while nothing is known.";
    DECISIONS = Counter Count "tidegate_capacity_decisions_total" &["tenant", "task", "reason"], "Capacity decisions by reason.";
    ROWS_REJECTED = Counter Count "tidegate_rows_rejected_total" TASK, "Rows that went to error tables, or were ignored.";
    ROWS_CUT = Counter Count "tidegate_rows_cut_total" TASK, "Rows that were written with values cut to the task's limit.";
    MODULE_ROWS = Counter Count "tidegate_module_rows_total" MODULE, "Row images that the module judged.";
    MODULE_BATCHES = Counter Count "tidegate_module_batches_total" MODULE, "Calls of the module's row function.";
    MODULE_CPU = Gauge Seconds "tidegate_module_cpu_seconds" MODULE,
        "CPU time of the module's calls in this run of the task, those that plan tables too.";
    MODULE_FUEL = Counter Count "tidegate_module_fuel_total" MODULE,
        "Fuel that the module's calls used; there is no such series where modules.meter_fuel is off, as it is by default.";
    MODULE_COUNTER = Counter Count "tidegate_module_counter_total" &["tenant", "task", "module", "counter"],
        "What the module counted by a name of its own; the first 32 names of a module in a task.";
    MODULE_MEMORY = Gauge Bytes "tidegate_module_memory_peak_bytes" MODULE,
        "The most linear memory that one sandbox of the module held in this run of the task, one that failed too.";
    MODULE_FAILURES = Counter Count "tidegate_module_failures_total" MODULE,
        "Calls of the module that trapped, overran a limit or answered malformed.";
    MODULE_REJECTED = Counter Count "tidegate_module_rows_rejected_total" MODULE,
        "Rows that the module was at fault for, or that it refused.";
    TENANT_TASKS = Gauge Count "tidegate_tenant_tasks" &["tenant", "status"], "Tasks of the tenant by status.";
    TENANT_UNITS_WANTED = Gauge Count "tidegate_tenant_units_wanted" TENANT, "Capacity units that the plans give the tenant's tasks.";
    TENANT_UNITS_GRANTED = Gauge Count "tidegate_tenant_units_granted" TENANT, "Capacity units that the tenant's tasks have.";
    TENANT_UNITS_QUOTA = Gauge Count "tidegate_tenant_units_quota" TENANT,
        "The most capacity units that the tenant gets on a node; +Inf without a quota.";
    TENANT_WEIGHT = Gauge Count "tidegate_tenant_weight" TENANT, "Share of the tenant relative to others' when units are short.";
    TENANT_ROWS = Counter Count "tidegate_tenant_rows_written_total" TENANT, "Rows loaded and changes applied by the tenant's tasks.";
    TENANT_BYTES = Counter Bytes "tidegate_tenant_bytes_written_total" TENANT, "Bytes of row data written by the tenant's tasks.";
    TENANT_MODULE_CPU = Gauge Seconds "tidegate_tenant_module_cpu_seconds" TENANT,
        "CPU time of all calls of modules in the tenant's tasks since the process started, the built-in rules included; only grows.";
    TENANT_SANDBOXES = Gauge Count "tidegate_tenant_sandboxes" TENANT,
        "Sandboxes of the tenant's modules that have an instance; idle ones give it up when somebody needs the slot.";
    TENANT_SANDBOXES_QUOTA = Gauge Count "tidegate_tenant_sandboxes_quota" TENANT,
        "The most sandboxes of the tenant's modules with an instance; +Inf without a quota.";
    TENANT_SANDBOX_MEMORY = Gauge Bytes "tidegate_tenant_sandbox_memory_bytes" TENANT, "Linear memory of the tenant's sandboxes.";
    TENANT_SANDBOX_MEMORY_QUOTA = Gauge Bytes "tidegate_tenant_sandbox_memory_quota_bytes" TENANT,
        "The most linear memory of the tenant's sandboxes; +Inf without a quota.";
    TENANT_SANDBOX_REFUSALS = Counter Count "tidegate_tenant_sandbox_refusals_total" TENANT,
        "Times that a module of the tenant's got no sandbox or no memory because the tenant had its quota or its share of them.";
    SANDBOXES = Gauge Count "tidegate_sandboxes" &["of"], "Sandboxes with an instance: of tenants' modules, and of the built-in ones.";
    SANDBOX_MEMORY = Gauge Bytes "tidegate_sandbox_memory_bytes" &[], "Linear memory of all sandboxes.";
    SANDBOXES_GIVEN_UP = Counter Count "tidegate_sandboxes_given_up_total" &[],
        "Times that a sandbox gave up its instance between two calls because somebody else needed its slot or its memory.";
    UNITS = Gauge Count "tidegate_units" &[], "Capacity units of this node.";
    RESIDENT_MEMORY = Gauge Bytes "tidegate_process_resident_memory_bytes" &[], "Resident memory of the process.";
}
