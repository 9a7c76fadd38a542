//! The ongoing stream: groups are assembled while the lane applies the one before.
//!
//! ```text
//!   change cache ──▶ assembler ──▶ (one group waits) ──▶ lane ──▶ target
//!                                                         └──▶ confirmed position (watch) ──▶ capture
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use tidegate_connector::{Applied, ConnectorError, Group, Lane, RowId};
use tidegate_model::{Position, TableName};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::Phase;
use crate::assemble::{Assembled, Assembler, Woken};
use crate::board::{Board, InFlight};
use crate::meter::Stage;
use crate::refused;
use crate::row_errors::RowErrors;
use crate::task::{Control, TaskError};

/// Why the stream paused. In every case the target is at the end of a group and nothing is in flight.
pub(crate) enum Paused {
    /// Cancelled.
    Cancelled,
    /// It came to the place at which it was to rest.
    Reached,
    /// Somebody asked for something that needs the stream to rest.
    Control(Control),
    /// The caller wants to look at what was asked for before.
    Rest,
}

/// What the stream needs besides the assembler.
pub(crate) struct Stream {
    pub(crate) lane: Box<dyn Lane>,
    pub(crate) confirmed: watch::Sender<Option<Position>>,
    pub(crate) board: Arc<Board>,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) row_errors: Arc<RowErrors>,
    /// Rows that the target refused and that the assembler, which works ahead, may not have known of.
    pub(crate) refused: HashSet<(TableName, RowId)>,
}

impl Stream {
    /// Applies until cancelled, asked for something, or failed.
    pub(crate) async fn run(
        &mut self,
        assembler: &mut Assembler,
        control: &mut mpsc::Receiver<Control>,
        rest: &Notify,
        cancel: &CancellationToken,
    ) -> Result<Paused, TaskError> {
        let (groups, arrived) = mpsc::channel(1);
        let board = self.board.clone();
        let assembling = assemble(assembler, groups, control, rest, cancel, board);
        let applying = self.apply(arrived);
        // The lane ends when the assembler drops its side of the channel; the assembler ends when the lane's is closed.
        let (paused, applied) = tokio::join!(assembling, applying);
        applied?;
        paused
    }

    async fn apply(&mut self, mut arrived: mpsc::Receiver<Assembled>) -> Result<(), TaskError> {
        let board = self.board.clone();
        let mut is_open = false;
        while let Some(assembled) = arrived.recv().await {
            let (_in_hand, writing) = (board.meter.enter(Stage::Lane), board.meter.enter(Stage::Target));
            match assembled {
                Assembled::Part(steps) => {
                    self.refuse_touched(&steps)?;
                    self.lane.add_steps(steps).await?;
                    is_open = true;
                }
                Assembled::Complete(mut complete) => {
                    let applied = self.group(&mut complete.group, is_open).await?;
                    is_open = false;
                    drop(writing);
                    self.board.checkpoint(&complete.group.to);
                    for (table, counts) in &complete.counts {
                        self.board.applied(table, *counts);
                    }
                    self.board.update(|progress| {
                        progress.transactions_applied += complete.transactions;
                        progress.bytes_written += complete.bytes;
                        progress.time.commit += applied.commit_us as f64 / 1e6;
                    });
                    self.in_flight.landed(complete.changes, complete.bytes);
                    if complete.transactions > 0 {
                        self.in_flight.ended();
                    }
                    // Capture may have ended; the run notices by its own result.
                    let _ = self.confirmed.send(Some(complete.confirm));
                }
            }
        }
        Ok(())
    }
}

impl Stream {
    /// Applies a group; rows that the target refuses are taken out, where the policy is to go on without them. Not in a
    /// group that came in parts: its first steps are gone by then.
    pub(crate) async fn group(&mut self, group: &mut Group, has_parts: bool) -> Result<Applied, TaskError> {
        for row in &group.resolved {
            match row.row_id {
                Some(id) => {
                    self.refused.remove(&(row.table.clone(), id));
                }
                None => self.refused.retain(|(table, _)| *table != row.table),
            }
        }
        for row in &group.rejected {
            self.refused.remove(&(row.table.clone(), row.row_id));
        }
        self.refuse_touched(&group.steps)?;
        for _ in 0..refused::ROUNDS_MAX {
            let error = match self.lane.apply(group).await {
                Ok(applied) => return Ok(applied),
                Err(error) => error,
            };
            let is_findable = error.row_fault().is_some_and(|fault| self.row_errors.isolates(fault));
            if has_parts || !is_findable {
                return Err(error.into());
            }
            let found = refused::take_out(self.lane.as_mut(), group, error, &self.row_errors).await?;
            self.refused.extend(found);
        }
        Ok(self.lane.apply(group).await?)
    }

    /// The assembler made these steps before it knew that the target refused an earlier change of one of their rows.
    /// Another attempt knows.
    fn refuse_touched(&self, steps: &[tidegate_connector::Step]) -> Result<(), ConnectorError> {
        if self.refused.is_empty() || !refused::touches(steps, &self.refused) {
            return Ok(());
        }
        Err(ConnectorError::transient("row_refused", "a row that the target refused has changed again"))
    }
}

async fn assemble(
    assembler: &mut Assembler,
    groups: mpsc::Sender<Assembled>,
    control: &mut mpsc::Receiver<Control>,
    rest: &Notify,
    cancel: &CancellationToken,
    board: Arc<Board>,
) -> Result<Paused, TaskError> {
    let mut control_open = true;
    loop {
        if assembler.must_rest() {
            return Ok(Paused::Reached);
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(Paused::Cancelled),
            request = control.recv(), if control_open => match request {
                Some(request) => return Ok(Paused::Control(request)),
                None => control_open = false,
            },
            () = rest.notified() => return Ok(Paused::Rest),
            () = groups.closed() => return Ok(Paused::Cancelled),
            woken = assembler.ready() => match woken {
                Woken::Work => assembler.next(&groups).await?,
                Woken::AllLoaded => board.update(|progress| progress.phase = Phase::CatchingUp),
                Woken::Level => {
                    assembler.level();
                    board.update(|progress| progress.phase = Phase::Replicating);
                }
            },
        }
    }
}
