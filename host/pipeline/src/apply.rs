//! The ongoing stream: groups are assembled while the lane applies the one before.
//!
//! ```text
//!   change cache ──▶ assembler ──▶ (one group waits) ──▶ lane ──▶ target
//!                                                         └──▶ confirmed position (watch) ──▶ capture
//! ```

use std::sync::Arc;

use tidegate_connector::Lane;
use tidegate_model::Position;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::Phase;
use crate::assemble::{Assembled, Assembler, Woken};
use crate::board::{Board, InFlight};
use crate::meter::Stage;
use crate::task::{Control, TaskError};

/// Why the stream paused. In every case the target is at the end of a group and nothing is in flight.
pub(crate) enum Paused {
    /// Cancelled.
    Cancelled,
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
        while let Some(assembled) = arrived.recv().await {
            let (_in_hand, writing) = (self.board.meter.enter(Stage::Lane), self.board.meter.enter(Stage::Target));
            match assembled {
                Assembled::Part(steps) => self.lane.add_steps(steps).await?,
                Assembled::Complete(complete) => {
                    let applied = self.lane.apply(&complete.group).await?;
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
