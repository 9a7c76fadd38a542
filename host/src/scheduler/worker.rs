//! One run of one task in this process.
//!
//! ```text
//!   lease ─▶ connect ─▶ (reload: forget) ─▶ modules ─▶ running ─▶ pipeline ─▶ how it ended ─▶ status
//! ```
//!
//! A run that was cancelled writes a status only when the user asked for the stop: at a shutdown the wish to run
//! stays, and the next process takes the task up again.

use std::sync::Arc;
use std::time::Duration;

use tidegate_catalog::{Desired, EventCategory, EventSeverity, StartKind, StopReason, TaskDefinition, TaskRecord, TaskStatus};
use tidegate_connector::{LOG_HELD_WARNED_BYTES, Severity};
use tidegate_pipeline::{Control, Outcome, Phase, Progress, StopCause, TaskSpec, drive};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use super::connect::{Ends, FIRST_PATIENCE, Retry, connect};
use super::pace::Cost;
use super::report::{News, Report};
use super::steering::Steering;
use super::turn::Turn;
use super::versions::pinned_modules;
use super::{Node, ring_search, spec, start_key};
use crate::display::phase_name;
use crate::exit::{Failure, chain};
use crate::metric;

/// How often numbers are told.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// What a run hears while it runs.
pub(crate) struct Orders {
    pub(crate) control: mpsc::Receiver<Control>,
    /// The definition as it is now; of a change only bounds and objective are obeyed.
    pub(crate) definition: watch::Receiver<Arc<TaskDefinition>>,
}

/// How a run ended.
enum Ending {
    /// Cancelled, at a group's boundary.
    Cancelled,
    /// The task is where it was to end.
    Finished(StopReason),
    Failed(Failure),
}

/// Runs the task and records how that ended. Panics of the run end here.
pub(crate) async fn supervise(node: Arc<Node>, record: TaskRecord, begin: StartKind, orders: Orders, stop: CancellationToken) {
    let task = record.definition.name.as_str().to_owned();
    let lease = match node.leases.acquire(&node.catalog, &task, &stop).await {
        Ok(Some(lease)) => lease,
        // Another process was faster, or the catalog does not answer: the loop decides again.
        Ok(None) => return,
        Err(error) => return error!(task, error = chain(&error), "take lease"),
    };
    let start = start_key(&record);
    let run = run(Arc::clone(&node), record, begin, orders, stop);
    let ending = match AbortOnDropHandle::new(tokio::spawn(run)).await {
        Ok(Ok(ending)) => ending,
        Ok(Err(failure)) => Ending::Failed(failure),
        Err(_) => Ending::Failed(Failure::failed("bug", "the task's worker panicked (this is a fault of tidegate: please report it)")),
    };
    node.catalog.end_rest(&task);
    metric::clear_task(node.tenant(), &task);
    if lease.lost.is_cancelled() {
        warn!(task, "another worker took over");
        node.event(&task, EventCategory::StateChange, EventSeverity::Warning, "another worker took over").await;
        return;
    }
    match &ending {
        Ending::Failed(failure) => node.paces.starts.failed(start, Cost::of(&failure.code)),
        Ending::Cancelled | Ending::Finished(_) => node.paces.starts.done(&start),
    }
    match ending {
        Ending::Cancelled => settle_stop(&node, &task).await,
        Ending::Finished(reason) => {
            node.event(&task, EventCategory::StateChange, EventSeverity::Info, stop_message(reason)).await;
            node.settle(&task, TaskStatus::Stopped { reason }).await;
        }
        Ending::Failed(failure) => node.fail(&task, failure).await,
    }
    lease.release().await;
}

fn stop_message(reason: StopReason) -> &'static str {
    match reason {
        StopReason::Requested => "task stopped",
        StopReason::FullLoadFinished => "full load finished",
        StopReason::AfterFullLoad => "task stopped after the full load, before the changes that came meanwhile",
        StopReason::AtPosition => "task stopped: it has everything before its stop position",
        StopReason::AtServerTime => "task stopped: the source's clock is past its stop position",
        StopReason::AtCommitTime => "task stopped: commit times are past its stop position",
        StopReason::AfterCachedChanges => "task stopped after the full load and the changes that came meanwhile",
    }
}

async fn settle_stop(node: &Node, task: &str) {
    match node.catalog.get_task(task).await {
        Ok(record) if record.desired == Desired::Stopped => {
            node.event(task, EventCategory::StateChange, EventSeverity::Info, stop_message(StopReason::Requested)).await;
            node.settle(task, TaskStatus::Stopped { reason: StopReason::Requested }).await;
        }
        Ok(_) => info!(task, "task paused; it goes on with the next start of this node"),
        Err(error) => error!(task, error = chain(&error), "read task"),
    }
}

async fn run(node: Arc<Node>, record: TaskRecord, begin: StartKind, orders: Orders, stop: CancellationToken) -> Result<Ending, Failure> {
    let task = record.definition.name.as_str();
    let turn = tokio::select! {
        () = stop.cancelled() => return Ok(Ending::Cancelled),
        turn = node.turns.take() => turn,
    };
    let patience = if record.run_begun == 0 { Some(FIRST_PATIENCE) } else { spec::settings(&record)?.run()?.retry.give_up_after };
    let Some(ends) = connect(&node, &record, patience, &stop).await? else { return Ok(Ending::Cancelled) };
    let modules = pinned_modules(&node, &record, begin).await?;
    let member = node.pool.join(node.tenant(), task);
    let spec = spec::task_spec(&record, modules, &node.spool_dir, member.units())?;
    crate::data_dir::make_private(&spec.spool_dir)?;
    match begin {
        StartKind::Start | StartKind::Resume => {}
        StartKind::Reload => {
            if !forget(&node, &record, &ends, &stop).await? {
                return Ok(Ending::Cancelled);
            }
        }
    }
    let message = match begin {
        StartKind::Start => "task started",
        StartKind::Resume => "task resumed",
        StartKind::Reload => "task started; all tables are loaded again",
    };
    node.event(task, EventCategory::StateChange, EventSeverity::Info, message).await;
    if record.run_begun == 0 {
        tokio::select! {
            () = stop.cancelled() => return Ok(Ending::Cancelled),
            told = tell_rings(&node, &record, &spec, &ends) => told?,
        }
    }
    node.catalog.set_run_begun(task, record.run_request).await?;
    let steering = Steering::new(&record.definition, spec.limits.load_lanes, member)?;
    follow(&node, task, spec, ends, steering, (orders, turn), stop).await
}

/// What the check says of rings, for who starts a task without one.
async fn tell_rings(node: &Node, record: &TaskRecord, spec: &TaskSpec, ends: &Ends) -> Result<(), Failure> {
    for finding in ring_search::findings(node, record, spec, ends.source.as_ref()).await? {
        let message = format!("check [{}] {finding}", finding.code);
        node.event(record.definition.name.as_str(), EventCategory::StateChange, EventSeverity::Warning, message).await;
    }
    Ok(())
}

/// For a reload: the source lets go of its log, the target forgets how far it was. False when stopped meanwhile.
async fn forget(node: &Node, record: &TaskRecord, ends: &Ends, stop: &CancellationToken) -> Result<bool, Failure> {
    let id = &record.outside_name();
    let retry = Retry { node, task: id.as_str(), deadline: Some(Instant::now() + FIRST_PATIENCE), stop };
    let target = retry.until_done("forget the task in the target", || ends.target.forget_task(id)).await?;
    let source = retry.until_done("release the source's log", || ends.source.end_capture(id)).await?;
    node.catalog.clear_table_statuses(record.definition.name.as_str()).await?;
    Ok(source.is_some() && target.is_some())
}

/// Runs the pipeline in a task of its own and writes down what it tells.
async fn follow(
    node: &Node,
    task: &str,
    spec: TaskSpec,
    ends: Ends,
    steering: Steering,
    (orders, turn): (Orders, Turn),
    stop: CancellationToken,
) -> Result<Ending, Failure> {
    let Orders { control, mut definition } = orders;
    let mut turn = Some(turn);
    let mut report = Report::new(node.tenant(), task, steering);
    let (progress, mut view) = watch::channel(Progress::default());
    let run = tidegate_pipeline::run(spec, ends.source, ends.target, progress, control, stop);
    let mut run = AbortOnDropHandle::new(tokio::spawn(drive(node.planes.clone(), run)));
    let mut begun = view.clone();
    let mut ticks = tokio::time::interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let result = loop {
        let rests = report.rests();
        if rests {
            // The loop says so of all that rest at once: a thousand runs that wake for it cost more than what they say.
            node.catalog.begin_rest(task);
        }
        tokio::select! {
            result = &mut run => break result,
            Ok(()) = definition.changed() => {
                report.obey(&definition.borrow_and_update());
                ticks.reset_immediately();
            }
            () = has_begun(&mut begun), if turn.is_some() => drop(turn.take()),
            _ = ticks.tick(), if !rests => write_report(node, &mut report, task, &mut view).await,
            // Whoever publishes rests too, and says nothing until something happens.
            Ok(()) = view.changed(), if rests => {
                report.wake();
                ticks.reset();
            }
        }
    };
    report.end();
    write_report(node, &mut report, task, &mut view).await;
    match result {
        Ok(Ok(Ok(Outcome { cause }))) => Ok(match cause {
            StopCause::Cancelled => Ending::Cancelled,
            StopCause::FullLoadFinished => Ending::Finished(StopReason::FullLoadFinished),
            StopCause::LoadedBeforeChanges => Ending::Finished(StopReason::AfterFullLoad),
            StopCause::LoadedWithChanges => Ending::Finished(StopReason::AfterCachedChanges),
            StopCause::AtPosition => Ending::Finished(StopReason::AtPosition),
            StopCause::AtServerTime => Ending::Finished(StopReason::AtServerTime),
            StopCause::AtCommitTime => Ending::Finished(StopReason::AtCommitTime),
        }),
        Ok(Ok(Err(error))) => Err((&error).into()),
        Ok(Err(_)) | Err(_) => Err(Failure::failed("bug", "the task's run panicked (this is a fault of tidegate: please report it)")),
    }
}

/// Waits until a run has done what starts take, or had to begin anew.
async fn has_begun(view: &mut watch::Receiver<Progress>) {
    let _ = view.wait_for(|view| view.phase != Phase::Preparing || view.reconnects > 0).await;
}

async fn write_report(node: &Node, report: &mut Report, task: &str, view: &mut watch::Receiver<Progress>) {
    let now = view.borrow_and_update().clone();
    match report.write(&node.catalog, &now).await {
        Ok(News { entered, trouble, log_held, not_carried, notices }) => {
            for notice in notices {
                node.event(task, EventCategory::StateChange, EventSeverity::Warning, notice).await;
            }
            for finding in not_carried {
                let message = format!("not carried [{}] {}: {}", finding.code, finding.object, finding.found);
                let severity = if finding.severity == Severity::Info { EventSeverity::Info } else { EventSeverity::Warning };
                node.event(task, EventCategory::Table, severity, message).await;
            }
            if let Some(bytes) = log_held {
                let message = format!(
                    "the source keeps {} MiB of its log for the task, wanted at most {} MiB: see that the target takes changes, and end \
                     transactions that have been open at the source for long",
                    bytes >> 20,
                    LOG_HELD_WARNED_BYTES >> 20
                );
                node.event(task, EventCategory::StateChange, EventSeverity::Warning, message).await;
            }
            if let Some(trouble) = trouble {
                let message = format!("{trouble}; trying again");
                node.event(task, EventCategory::StateChange, EventSeverity::Warning, message).await;
            }
            if let Some(phase) = entered {
                info!(task, phase = phase_name(phase), "phase");
                node.event(task, EventCategory::StateChange, EventSeverity::Info, format!("phase: {}", phase_name(phase))).await;
            }
        }
        Err(error) => error!(task, error = chain(&error), "write progress"),
    }
}
