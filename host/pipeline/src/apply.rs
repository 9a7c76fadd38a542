//! The ongoing stream: groups are assembled while lanes apply those before.
//!
//! ```text
//!   change cache ──▶ assembler ──▶ (one group waits) ──┬─ no backlog: alone ──────────────┬──▶ target
//!                                                      └─ backlog: side by side ([`Flight`]) ┤
//!                                                                                         └──▶ confirmed position ──▶ capture
//! ```
//!
//! Whatever lanes do side by side, groups are committed in the source's order, each with its own move of the checkpoint.
//! With one unit, and without a backlog, a group has the target to itself.

use std::collections::HashSet;
use std::sync::Arc;

use tidegate_connector::{Applied, ConnectorError, Group, Lane, RowId, Step};
use tidegate_model::{Position, TableName};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::Phase;
use crate::assemble::{Assembled, Assembler, CompleteGroup, Woken};
use crate::board::{Board, InFlight};
use crate::flight::{Ended, Flight};
use crate::lanes::Lanes;
use crate::meter::Stage;
use crate::row_errors::RowErrors;
use crate::table_errors::CONFLICT;
use crate::task::{Control, TaskError};
use crate::{conflicts, missing_deletes, refused};

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
    pub(crate) lanes: Lanes,
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
        // The lanes end when the assembler drops its side of the channel; the assembler ends when theirs is closed.
        let (paused, applied) = tokio::join!(assembling, applying);
        applied?;
        paused
    }

    async fn apply(&mut self, mut arrived: mpsc::Receiver<Assembled>) -> Result<(), TaskError> {
        let mut flight = Flight::default();
        let mut is_open = true;
        while is_open || !flight.is_empty() {
            self.advance(&mut flight).await?;
            // A group that waited already is a backlog; one that did not is in the target soonest without further ado.
            let waited = !arrived.is_empty();
            tokio::select! {
                biased;
                ended = flight.ended() => self.settle(&mut flight, ended?)?,
                () = self.lanes.surplus() => self.lanes.close_surplus(flight.len()),
                assembled = arrived.recv(), if is_open && flight.len() < self.lanes.allowed() => match assembled {
                    None => is_open = false,
                    Some(Assembled::Complete(complete)) if !is_alone(&complete.group) && (waited || !flight.is_empty()) && self.lanes.allowed() > 1 => {
                        flight.enter(*complete, &self.board);
                    }
                    Some(other) => {
                        self.finish(&mut flight).await?;
                        self.alone(other, &mut arrived).await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Goes on with groups under way as far as goes without waiting, but for those that must be applied alone.
    async fn advance(&mut self, flight: &mut Flight) -> Result<(), TaskError> {
        while flight.first_failed() {
            let complete = flight.recall(&mut self.lanes, &self.board).await?;
            self.alone_whole(complete).await?;
        }
        let Self { lanes, board, refused, .. } = self;
        flight.go_on(lanes, board, |steps| refuse_touched(refused, steps))?;
        Ok(())
    }

    fn settle(&mut self, flight: &mut Flight, ended: Ended) -> Result<(), TaskError> {
        if let Some((complete, applied)) = flight.settle(ended, &mut self.lanes, &self.board)? {
            self.landed(&complete, applied);
        }
        Ok(())
    }

    /// Waits until nothing is under way.
    async fn finish(&mut self, flight: &mut Flight) -> Result<(), TaskError> {
        loop {
            self.advance(flight).await?;
            if flight.is_empty() {
                return Ok(());
            }
            let ended = flight.ended().await?;
            self.settle(flight, ended)?;
        }
    }

    /// Applies a group while nothing else is under way; one that comes in parts, to its last.
    async fn alone(&mut self, first: Assembled, arrived: &mut mpsc::Receiver<Assembled>) -> Result<(), TaskError> {
        let mut steps = match first {
            Assembled::Complete(complete) => return self.alone_whole(*complete).await,
            Assembled::Part(steps) => steps,
        };
        let board = self.board.clone();
        let mut lane = self.lanes.one().await?;
        loop {
            {
                let (_in_hand, _writing) = (board.meter.enter(Stage::Lane), board.meter.enter(Stage::Target));
                refuse_touched(&self.refused, &steps)?;
                // What is written once cannot be tried otherwise.
                if self.row_errors.forgives_deletes() {
                    missing_deletes::set_all_apart(&mut steps);
                }
                lane.add_steps(steps).await?;
            }
            match arrived.recv().await {
                Some(Assembled::Part(more)) => steps = more,
                Some(Assembled::Complete(mut complete)) => {
                    if self.row_errors.forgives_deletes() {
                        missing_deletes::set_all_apart(&mut complete.group.steps);
                    }
                    let (_in_hand, _writing) = (board.meter.enter(Stage::Lane), board.meter.enter(Stage::Target));
                    let applied = self.group(lane.as_mut(), &mut complete.group, true).await?;
                    self.landed(&complete, applied);
                    self.lanes.give_back(lane, 0);
                    return Ok(());
                }
                // The assembler failed in the middle of a group, which goes with the lane.
                None => return Ok(()),
            }
        }
    }

    async fn alone_whole(&mut self, mut complete: CompleteGroup) -> Result<(), TaskError> {
        let board = self.board.clone();
        let (_in_hand, writing) = (board.meter.enter(Stage::Lane), board.meter.enter(Stage::Target));
        let applied = self.whole(&mut complete.group).await?;
        drop(writing);
        self.landed(&complete, applied);
        Ok(())
    }

    /// Applies a group while nothing else is under way.
    pub(crate) async fn whole(&mut self, group: &mut Group) -> Result<Applied, TaskError> {
        let mut lane = self.lanes.one().await?;
        let applied = self.group(lane.as_mut(), group, false).await?;
        self.lanes.give_back(lane, 0);
        Ok(applied)
    }

    /// The group is in the target.
    fn landed(&mut self, complete: &CompleteGroup, applied: Applied) {
        self.board.checkpoint(&complete.group.to);
        for (table, counts) in &complete.counts {
            self.board.applied(table, *counts);
        }
        self.board.update(|progress| {
            progress.transactions_applied += complete.transactions;
            progress.bytes_written += complete.bytes;
            progress.last_applied_us = complete.newest_us.or(progress.last_applied_us);
            progress.time.commit += applied.commit_us as f64 / 1e6;
        });
        self.in_flight.landed(complete.changes, complete.bytes);
        if complete.transactions > 0 {
            self.in_flight.ended();
        }
        // Capture may have ended; the run notices by its own result.
        let _ = self.confirmed.send(Some(complete.confirm.clone()));
    }

    /// Applies a group; rows that the target refuses are taken out, where the policy is to go on without them. Not in a
    /// group that came in parts: its first steps are gone by then.
    async fn group(&mut self, lane: &mut dyn Lane, group: &mut Group, has_parts: bool) -> Result<Applied, TaskError> {
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
        refuse_touched(&self.refused, &group.steps)?;
        let mut forgiven = HashSet::new();
        let mut settled = HashSet::new();
        let mut rounds = 0..refused::ROUNDS_MAX;
        loop {
            let error = match missing_deletes::apply(lane, group, &self.row_errors, &mut forgiven).await {
                Ok(applied) => return Ok(applied),
                Err(error) => error,
            };
            let is_conflict = error.code() == CONFLICT && self.row_errors.settles_conflicts() && !has_parts;
            // All conflicts of a table are settled at once, however many tables there are.
            if let Some(table) = error.table_name().filter(|table| is_conflict && settled.insert((*table).clone())).cloned() {
                match conflicts::settle(lane, group, &table, &self.row_errors).await? {
                    Some(found) => self.refused.extend(found),
                    None => return Err(error.into()),
                }
                continue;
            }
            let is_findable = error.row_fault().is_some_and(|fault| self.row_errors.isolates(fault));
            if has_parts || !is_findable || rounds.next().is_none() {
                return Err(error.into());
            }
            // Looking for the rows tries parts of the group, which would meet its conflicts.
            let unsettled = error.table_name().filter(|table| self.row_errors.settles_conflicts() && settled.insert((*table).clone()));
            if let Some(table) = unsettled.cloned()
                && let Some(found) = conflicts::settle(lane, group, &table, &self.row_errors).await?
            {
                self.refused.extend(found);
                continue;
            }
            let found = refused::take_out(lane, group, error, &self.row_errors).await?;
            self.refused.extend(found);
        }
    }
}

/// True for a group whose transaction writes to the task's own records beside the checkpoint: nothing is under way beside it.
fn is_alone(group: &Group) -> bool {
    !(group.tables.is_empty() && group.resolved.is_empty() && group.rejected.is_empty())
}

/// The assembler made these steps before it knew that the target refused an earlier change of one of their rows.
/// Another attempt knows.
fn refuse_touched(refused: &HashSet<(TableName, RowId)>, steps: &[Step]) -> Result<(), ConnectorError> {
    if refused.is_empty() || !refused::touches(steps, refused) {
        return Ok(());
    }
    Err(ConnectorError::transient("row_refused", "a row that the target refused has changed again"))
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
