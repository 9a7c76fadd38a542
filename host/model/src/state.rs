//! What a target remembers of a task: checkpoint, fence, and the state of each table.

use crate::name::TaskId;
use crate::position::Position;

/// The right of one worker to write for one task. The target refuses every other generation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fence {
    /// The task.
    pub task: TaskId,
    /// Raised by one by each worker that takes the task over.
    pub generation: i64,
}

/// How far the target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Who may move it on.
    pub fence: Fence,
    /// Every transaction that this position covers is in the target; `None` before the log position was taken.
    pub position: Option<Position>,
}

/// What a snapshot knows about its own place in the log.
///
/// Transactions covered by `low` are all in the snapshot; those not covered by `high` are not; those between may or
/// may not be, so they are applied idempotently. PostgreSQL and MariaDB give exact snapshots (`low == high`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Everything covered by it is in the snapshot.
    pub low: Position,
    /// Nothing beyond it is in the snapshot.
    pub high: Position,
}

impl Window {
    /// The window of a table whose parts were read with these two windows.
    pub fn joined(&self, other: &Window) -> Window {
        Window { low: self.low.intersection(&other.low), high: self.high.union(&other.high) }
    }
}

/// The state of a table in a task, kept in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableState {
    /// Nothing of it is loaded, or a load must start over.
    Waiting,
    /// Some chunks are loaded; each finished chunk has a mark of its own.
    Loading,
    /// Every chunk is in, and the table is behind the other tables of the stream: `window.low` is its own place in the
    /// log, which moves in the transactions that bring it forward. The checkpoint says nothing about this table.
    CatchingUp {
        /// As for `Loaded`.
        window: Window,
    },
    /// Every chunk is in, and the checkpoint holds for this table too. Changes covered by `window.low` are skipped,
    /// changes up to `window.high` applied idempotently, later ones strictly. `None` for a table that was never loaded.
    Loaded {
        /// Where the load stands in the log.
        window: Option<Window>,
    },
    /// Taken out of the task by its error policy until it is reloaded.
    Suspended {
        /// What happened, without row values.
        reason: String,
    },
    /// It came while the task ran, and the policy for new tables leaves it out until it is loaded on request.
    LeftOut,
}
