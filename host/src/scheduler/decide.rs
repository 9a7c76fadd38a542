//! What to do about a task: a decision from what is wanted, what is recorded, and what runs here.
//!
//! ```text
//!   wanted      nothing runs here                  a worker runs here
//!   running     start (unless leased elsewhere)    stop it when it serves an older request
//!   stopped     settle a status left behind        stop it
//!   deleted     clean up                           stop it, unless it is what cleans up
//! ```
//!
//! Nothing is done here. The same answer comes as often as the question is asked, so a lost wake-up or a crash
//! between decision and effect costs a poll and nothing else.

use tidegate_catalog::{Cleanup, Desired, StartKind, StopReason, TaskRecord, TaskStatus};

/// A worker of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) work: Work,
    /// It was told to stop.
    pub(crate) stopping: bool,
}

/// What a worker is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// The run of this request.
    Run(i64),
    CleanUp(Cleanup),
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start a worker that begins like this.
    Start(StartKind),
    /// Tell the worker to stop.
    Stop,
    /// Record this: whoever should have done it died.
    Settle(TaskStatus),
    /// Clean up at source and target, then remove the record.
    Clean(Cleanup),
}

/// Decides about one task. `node` is this process's name in leases, `now_us` the catalog's time.
pub(crate) fn decide(record: &TaskRecord, worker: Option<Worker>, node: &str, now_us: i64) -> Option<Action> {
    match (record.desired, worker) {
        (_, Some(Worker { stopping: true, .. })) => None,
        (Desired::Running, Some(worker)) => (worker.work != Work::Run(record.run_request)).then_some(Action::Stop),
        (Desired::Deleted(cleanup), Some(worker)) => (worker.work != Work::CleanUp(cleanup)).then_some(Action::Stop),
        (Desired::Stopped, Some(_)) => Some(Action::Stop),
        (_, None) if leased_elsewhere(record, node, now_us) => None,
        (Desired::Running, None) => Some(Action::Start(record.next_start())),
        (Desired::Stopped, None) => {
            let left_behind = record.status.is_active();
            left_behind.then_some(Action::Settle(TaskStatus::Stopped { reason: StopReason::Requested }))
        }
        (Desired::Deleted(cleanup), None) => Some(Action::Clean(cleanup)),
    }
}

fn leased_elsewhere(record: &TaskRecord, node: &str, now_us: i64) -> bool {
    record.lease.owner.as_deref().is_some_and(|owner| owner != node) && record.lease.until_us >= now_us
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;
    use tidegate_catalog::{Failure, Lease, Migration, Preparation, RunPhase, TaskDefinition};
    use tidegate_model::{TaskId, TenantId};

    use super::*;

    const NODE: &str = "here";
    const NOW: i64 = 1_000;

    fn record(desired: Desired, status: TaskStatus) -> TaskRecord {
        let definition = TaskDefinition {
            name: TaskId::new("shop").unwrap(),
            source: "a".into(),
            target: "b".into(),
            migration: Migration::FullLoadAndCdc,
            preparation: Preparation::DoNothing,
            table_mappings: "{}".into(),
            settings: Value::Null,
            start_position: None,
            stop_position: None,
            min_units: 0,
            max_units: 1,
            max_lag_seconds: None,
            tags: BTreeMap::new(),
            dms: Value::Null,
        };
        TaskRecord {
            tenant: TenantId::default(),
            id: "ID".into(),
            definition,
            revision: 1,
            desired,
            run_request: 3,
            start_kind: StartKind::Reload,
            run_begun: 2,
            status,
            progress: None,
            lease: Lease::default(),
            created_at_us: 0,
            updated_at_us: 0,
            started_at_us: None,
            stopped_at_us: None,
        }
    }

    fn worker(run_request: i64) -> Option<Worker> {
        Some(Worker { work: Work::Run(run_request), stopping: false })
    }

    fn cleaner(cleanup: Cleanup) -> Option<Worker> {
        Some(Worker { work: Work::CleanUp(cleanup), stopping: false })
    }

    #[test]
    fn each_pair_of_wish_and_worker_has_one_answer() {
        let running = || TaskStatus::Running { phase: RunPhase::Loading };
        let stopped = || TaskStatus::Stopped { reason: StopReason::Requested };
        let failed = || TaskStatus::Failed(Failure { code: "c".into(), message: "m".into(), hint: None });
        let best_effort = Desired::Deleted(Cleanup::BestEffort);
        let cases = [
            (Desired::Running, TaskStatus::Starting, None, Some(Action::Start(StartKind::Reload))),
            (Desired::Running, running(), None, Some(Action::Start(StartKind::Reload))),
            (Desired::Running, running(), worker(3), None),
            (Desired::Running, TaskStatus::Starting, worker(2), Some(Action::Stop)),
            (Desired::Stopped, TaskStatus::Created, None, None),
            (Desired::Stopped, stopped(), None, None),
            (Desired::Stopped, failed(), None, None),
            (Desired::Stopped, TaskStatus::Stopping, worker(3), Some(Action::Stop)),
            (Desired::Stopped, TaskStatus::Stopping, None, Some(Action::Settle(stopped()))),
            (best_effort, TaskStatus::Deleting, None, Some(Action::Clean(Cleanup::BestEffort))),
            (best_effort, TaskStatus::Deleting, worker(3), Some(Action::Stop)),
            (best_effort, TaskStatus::Deleting, cleaner(Cleanup::BestEffort), None),
            (best_effort, TaskStatus::Deleting, cleaner(Cleanup::Required), Some(Action::Stop)),
            (Desired::Running, TaskStatus::Starting, cleaner(Cleanup::Required), Some(Action::Stop)),
        ];
        for (desired, status, worker, wanted) in cases {
            let record = record(desired, status);
            assert_eq!(decide(&record, worker, NODE, NOW), wanted, "{desired:?} {:?} {worker:?}", record.status);
        }
    }

    #[test]
    fn a_worker_is_told_to_stop_once() {
        let record = record(Desired::Stopped, TaskStatus::Stopping);
        assert_eq!(decide(&record, Some(Worker { work: Work::Run(3), stopping: true }), NODE, NOW), None);
    }

    #[test]
    fn a_reload_that_has_begun_is_resumed_after_a_crash() {
        let mut record = record(Desired::Running, TaskStatus::Running { phase: RunPhase::Loading });
        record.run_begun = record.run_request;
        assert_eq!(decide(&record, None, NODE, NOW), Some(Action::Start(StartKind::Resume)));
    }

    #[test]
    fn a_task_leased_elsewhere_is_left_alone_until_the_lease_ends() {
        let mut record = record(Desired::Running, TaskStatus::Starting);
        record.lease = Lease { owner: Some("there".into()), until_us: NOW + 1, generation: 1 };
        assert_eq!(decide(&record, None, NODE, NOW), None);
        assert!(decide(&record, None, NODE, NOW + 2).is_some());
        record.lease.owner = Some(NODE.into());
        assert!(decide(&record, None, NODE, NOW).is_some());
    }
}
