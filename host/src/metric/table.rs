//! The table. A metric that is not here does not exist.

use super::{Kind, Metric, Unit};

/// Labels of what is counted for a task.
const TASK: &[&str] = &["tenant", "task"];

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
    CACHE_BYTES = Gauge Bytes "tidegate_cache_bytes" &["tenant", "task", "tier"],
        "Bytes of changes that wait to be applied, in memory and on disk.";
    ROWS_LOADED = Counter Count "tidegate_rows_loaded_total" TASK, "Rows copied by full loads.";
    CHANGES_APPLIED = Counter Count "tidegate_changes_applied_total" TASK, "Row changes applied from source logs.";
    TRANSACTIONS_APPLIED = Counter Count "tidegate_transactions_applied_total" TASK, "Source transactions applied.";
    BYTES_WRITTEN = Counter Bytes "tidegate_bytes_written_total" TASK, "Bytes of row data written to targets.";
    RECONNECTS = Counter Count "tidegate_reconnects_total" TASK, "Connections lost and taken up again.";
    UNITS = Gauge Count "tidegate_units" &[], "Capacity units of this node.";
    RESIDENT_MEMORY = Gauge Bytes "tidegate_process_resident_memory_bytes" &[], "Resident memory of the process.";
}
