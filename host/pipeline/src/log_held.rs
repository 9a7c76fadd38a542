//! Looks how much log the source keeps for the task, whatever the task does: a target that is away holds it back as well.

use std::sync::Arc;
use std::time::Duration;

use tidegate_connector::Source;
use tidegate_model::TaskId;
use tokio::time::Instant;

use crate::board::Board;
use crate::units::Units;

/// How often is looked: one connection and one small question.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// How often for a run that sleeps, which lets the source go on by itself: then only a transaction that stays open holds the log.
const LOOK_EVERY_ASLEEP: Duration = Duration::from_secs(600);

/// Runs until dropped.
pub(crate) async fn watch(task: TaskId, source: Arc<dyn Source>, units: Units, board: Arc<Board>) {
    loop {
        let since = Instant::now();
        tokio::time::sleep(LOOK_EVERY).await;
        while units.is_asleep() && since.elapsed() < LOOK_EVERY_ASLEEP {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // A source that does not answer is noticed by the stream.
        if let Ok(held) = source.log_held(&task).await {
            let bytes = held.unwrap_or(0);
            if board.read(|progress| progress.log_held_bytes) != bytes {
                board.update(|progress| progress.log_held_bytes = bytes);
            }
        }
    }
}
