//! What is shown of a task.

use crate::dms::settings::effects;
use serde_json::{Value, json};
use tidegate_capacity::{Part, Work};
use tidegate_catalog::{CapacityStatus, RunPhase, StageName, TableStatusRecord, TaskProgress, TaskRecord, TaskStatus, now_us};

/// A task with its definition, its state and its numbers.
pub(crate) fn task(task: &TaskRecord) -> Value {
    let definition = &task.definition;
    let (phase, stop_reason, failure) = match &task.status {
        TaskStatus::Running { phase } => (Some(phase), None, None),
        TaskStatus::Stopped { reason } => (None, Some(reason), None),
        TaskStatus::Failed(failure) => (None, None, Some(failure)),
        TaskStatus::Created | TaskStatus::Starting | TaskStatus::Stopping | TaskStatus::Deleting => (None, None, None),
    };
    json!({
        "id": task.id,
        "name": definition.name.as_str(),
        "source": definition.source,
        "target": definition.target,
        "migration_type": definition.migration,
        "preparation": definition.preparation,
        "table_mappings": definition.table_mappings,
        "settings": definition.settings,
        "settings_without_effect": effects::view(&definition.dms["settings"]),
        "start_position": definition.start_position,
        "stop_position": definition.stop_position,
        "min_units": definition.min_units,
        "max_units": definition.max_units,
        "max_lag_seconds": definition.max_lag_seconds,
        "tags": definition.tags,
        "status": task.status.name(),
        "phase": phase,
        "stop_reason": stop_reason,
        "failure": failure,
        "progress": task.progress,
        "created_at_us": task.created_at_us,
        "updated_at_us": task.updated_at_us,
        "started_at_us": task.started_at_us,
        "stopped_at_us": task.stopped_at_us,
    })
}

/// The same without what is long: a thousand of these are asked for every few seconds.
pub(crate) fn summary(record: &TaskRecord) -> Value {
    let mut view = task(record);
    let parts = view.as_object_mut().expect("a task is an object");
    for key in ["table_mappings", "settings", "settings_without_effect", "tags"] {
        parts.remove(key);
    }
    if let Some(progress) = parts.get_mut("progress").and_then(Value::as_object_mut) {
        progress.remove("modules");
    }
    view
}

/// What holds a task up: the part that limits it, in words for people, and whether units would help.
fn hold_up(progress: &TaskProgress, capacity: &CapacityStatus) -> (Option<&'static str>, Option<bool>, String) {
    // Less than that is the way of a change, not a queue.
    let behind = progress.lag_seconds > 1.0;
    let minute = &capacity.last_minute;
    let work = Work {
        units: f64::from(capacity.units_granted),
        lanes: minute.lanes,
        source: minute.source,
        decode: minute.decode,
        store: minute.store,
        assemble: minute.assemble,
        transform: minute.transform,
        conflicts: minute.conflicts,
        write: minute.write,
        commit: minute.commit,
    };
    let part = match progress.phase {
        RunPhase::Preparing => return (None, None, "the task is being prepared".to_owned()),
        RunPhase::Loading => Part::limiting_load(&work),
        // Few units, because more of them only waited for each other: nothing waits now, and would again.
        RunPhase::CatchingUp | RunPhase::Replicating if behind && capacity.reason == "conflicts-are-limit" => Part::Conflicts,
        RunPhase::CatchingUp | RunPhase::Replicating if behind => Part::limiting_stream(&work, capacity.changes_waiting > 0),
        RunPhase::CatchingUp | RunPhase::Replicating => return (None, None, "nothing that was captured waits".to_owned()),
    };
    let is_exhausted = ["target-is-limit", "upstream-is-limit", "target-throttles"].contains(&capacity.reason.as_str());
    let help = part.grows_with_units() && !is_exhausted;
    let advice = if !help {
        format!("{} is the limit: more units would not help", words(part))
    } else if capacity.units_needed > capacity.units_granted {
        let needed = capacity.units_needed;
        format!("{} is the limit: {needed} units would meet the objective, {} work", words(part), capacity.units_granted)
    } else {
        format!("{} is the limit, and the units are enough", words(part))
    };
    (Some(part.name()), Some(help), advice)
}

fn words(part: Part) -> &'static str {
    match part {
        Part::Source => "reading the source's log",
        Part::Decode => "the decoding of what the source sends",
        Part::Store => "the change cache",
        Part::Assemble => "the making of groups",
        Part::Transform => "the modules' work",
        Part::Conflicts => "what the changes have in common (those of a row take turns)",
        Part::Write => "writing to the target",
        Part::Commit => "the target's commits",
    }
}

/// How far a task is behind, and why. `age_seconds` says how old the numbers are: a host that died leaves its last ones.
pub(crate) fn lag(task: &TaskRecord) -> Value {
    let measured = task.progress.as_ref();
    let number = |read: fn(&TaskProgress) -> f64| measured.map(read);
    let capacity = measured.and_then(|progress| progress.capacity.as_ref());
    let why = measured.zip(capacity).map(|(progress, capacity)| hold_up(progress, capacity));
    json!({
        "task": task.definition.name.as_str(),
        "status": task.status.name(),
        "phase": measured.map(|progress| progress.phase),
        "lag_seconds": number(|progress| progress.lag_seconds),
        "max_lag_seconds": task.definition.max_lag_seconds,
        "rows_per_second": number(|progress| progress.rows_per_second),
        "bytes_per_second": number(|progress| progress.bytes_per_second),
        "cache_bytes_memory": measured.map(|progress| progress.cache_bytes_memory),
        "cache_bytes_disk": measured.map(|progress| progress.cache_bytes_disk),
        "checkpoint": measured.and_then(|progress| progress.checkpoint.as_ref()),
        "reconnects": measured.map(|progress| progress.reconnects),
        "units": measured.map(|progress| progress.units),
        "limited_by": why.as_ref().and_then(|(part, _, _)| *part),
        "units_would_help": why.as_ref().and_then(|(_, help, _)| *help),
        "explanation": why.as_ref().map(|(_, _, advice)| advice),
        "capacity": capacity,
        "age_seconds": measured.map(|progress| now_us().saturating_sub(progress.at_us).max(0) / 1_000_000),
    })
}

/// The tables of a task, and how many are in each stage.
pub(crate) fn tables(tables: &[TableStatusRecord]) -> Value {
    let count = |stage| tables.iter().filter(|table| table.stage == stage).count();
    json!({
        "tables": tables,
        "before_load": count(StageName::BeforeLoad),
        "loading": count(StageName::Loading),
        "completed": count(StageName::Completed),
        "failed": count(StageName::Failed),
        "left_out": count(StageName::LeftOut),
    })
}
