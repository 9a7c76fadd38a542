//! Groups under way on several lanes at once: written side by side, committed one after the other in the source's order.
//!
//! ```text
//!   waits ──(the group it depends on is committed)──▶ writing ─▶ written ──(it is the first)──▶ committing ─▶ gone
//!     ▲                                                  │          │
//!     │                                                  └▶ failed ─┼──(it is the first)──▶ handed to the caller
//!     └───────────────────────── recalled ◀─────────────────────────┘
//! ```
//!
//! A group that cannot be written ahead, for whatever reason, is handed to the caller when it is the first: applied alone,
//! with everything behind it rolled back, it either passes or shows its true error.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_connector::{Applied, ConnectorError, ErrorClass, Group, Lane, Step, TargetTable};
use tokio::task::JoinSet;

use crate::assemble::CompleteGroup;
use crate::board::Board;
use crate::lanes::{LaneTicket, Lanes};
use crate::meter::Stage;
use crate::task::TaskError;
use crate::write_order::{Number, WriteOrder};

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Flight {
    order: WriteOrder,
    groups: VecDeque<Flying>,
    /// The last group that is committed.
    landed: Number,
    running: JoinSet<Ended>,
}

struct Flying {
    number: Number,
    after: Option<Number>,
    group: Arc<CompleteGroup>,
    state: State,
    /// While it could be written but for what it has in common with others.
    held_back: Option<Counted>,
    _in_hand: Counted,
}

enum State {
    Waits,
    Writing,
    Written(Box<dyn Lane>),
    Committing,
    Failed,
}

/// A group is in a stage while this lives. A unit has it in hand from its entry to its commit, also while it waits: what a
/// unit gets done includes that.
struct Counted {
    board: Arc<Board>,
    stage: Stage,
}

impl Counted {
    fn new(board: &Arc<Board>, stage: Stage) -> Self {
        board.meter.begin(stage);
        Self { board: board.clone(), stage }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.board.meter.end(self.stage);
    }
}

/// The end of a piece of work on a lane.
pub(crate) struct Ended {
    number: Number,
    lane: Option<Box<dyn Lane>>,
    /// `None`: written; otherwise committed.
    result: Result<Option<Applied>, ConnectorError>,
}

impl Flight {
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Takes a group in, behind the others.
    pub(crate) fn enter(&mut self, group: CompleteGroup, board: &Arc<Board>) {
        let (number, after) = self.order.enter(&group.group.steps);
        let held_back = after.is_some().then(|| Counted::new(board, Stage::Conflict));
        let in_hand = Counted::new(board, Stage::Lane);
        self.groups.push_back(Flying { number, after, group: Arc::new(group), state: State::Waits, held_back, _in_hand: in_hand });
    }

    /// Starts to write what may be written, and to commit the first group when it is written.
    ///
    /// # Errors
    /// Those of `refuse`, which is asked about the steps of each group before it is written.
    pub(crate) fn go_on(
        &mut self,
        lanes: &mut Lanes,
        board: &Arc<Board>,
        refuse: impl Fn(&[Step]) -> Result<(), ConnectorError>,
    ) -> Result<(), ConnectorError> {
        for flying in &mut self.groups {
            if matches!(flying.state, State::Waits) && flying.after.is_none_or(|after| after <= self.landed) {
                refuse(&flying.group.group.steps)?;
                flying.state = State::Writing;
                flying.held_back = None;
                self.running.spawn(write(flying.number, lanes.take(), flying.group.clone(), board.clone()));
            }
        }
        if let Some(first) = self.groups.front_mut() {
            first.state = match std::mem::replace(&mut first.state, State::Committing) {
                State::Written(lane) => {
                    self.running.spawn(commit(first.number, lane, first.group.clone(), board.clone()));
                    State::Committing
                }
                other => other,
            };
        }
        Ok(())
    }

    /// Waits for the end of a piece of work; for ever while there is none. Safe to cancel.
    ///
    /// # Errors
    /// When it panicked.
    pub(crate) async fn ended(&mut self) -> Result<Ended, TaskError> {
        match self.running.join_next().await {
            Some(ended) => ended.map_err(|error| TaskError::Panicked(error.to_string())),
            None => std::future::pending().await,
        }
    }

    /// Takes note of an end. Answers the first group when it is in the target.
    ///
    /// # Errors
    /// What cannot be cured by applying a group alone: a fence, and a commit of which nobody knows what became of it.
    pub(crate) fn settle(
        &mut self,
        ended: Ended,
        lanes: &mut Lanes,
        board: &Arc<Board>,
    ) -> Result<Option<(Arc<CompleteGroup>, Applied)>, ConnectorError> {
        let Ended { number, lane, result } = ended;
        let Some(flying) = self.groups.iter_mut().find(|flying| flying.number == number) else { return Ok(None) };
        match (result, lane) {
            (Ok(None), Some(lane)) => flying.state = State::Written(lane),
            (Ok(applied), lane) => {
                self.landed = number;
                self.order.leave();
                let landed = self.groups.pop_front().map(|flying| flying.group);
                lane.into_iter().for_each(|lane| lanes.give_back(lane, self.groups.len()));
                return Ok(landed.zip(applied));
            }
            (Err(error), lane) => {
                let is_refusal = error.is_contention() || matches!(error.class(), ErrorClass::TableDefinite | ErrorClass::TaskDefinite);
                let is_known = is_refusal || matches!(flying.state, State::Writing);
                if error.class() == ErrorClass::Fenced || !is_known {
                    return Err(error);
                }
                tracing::debug!(code = error.code(), "a group is applied alone: {}", error.chain());
                flying.state = State::Failed;
                let group = flying.group.clone();
                if is_refusal {
                    flying.held_back = Some(Counted::new(board, Stage::Conflict));
                    self.distrust(&group.group.steps, &error);
                }
                lane.into_iter().for_each(|lane| lanes.give_back(lane, self.groups.len()));
            }
        }
        Ok(None)
    }

    /// True when the first group could not be written ahead.
    pub(crate) fn first_failed(&self) -> bool {
        self.groups.front().is_some_and(|first| matches!(first.state, State::Failed))
    }

    /// Rolls back everything that is open and hands out the first group, which the caller applies alone.
    ///
    /// # Errors
    /// As for [`Flight::settle`].
    pub(crate) async fn recall(&mut self, lanes: &mut Lanes, board: &Arc<Board>) -> Result<CompleteGroup, TaskError> {
        // What is being written waits for locks only briefly, so its end is not far.
        while !self.running.is_empty() {
            let ended = self.ended().await?;
            self.settle(ended, lanes, board)?;
        }
        let met = self.groups.front().is_some_and(|first| first.held_back.is_some());
        for flying in &mut self.groups {
            if met && flying.held_back.is_none() {
                flying.held_back = Some(Counted::new(board, Stage::Conflict));
            }
            if let State::Written(mut lane) = std::mem::replace(&mut flying.state, State::Waits) {
                lane.roll_back().await;
                lanes.give_back(lane, 0);
            }
        }
        let first = self.groups.pop_front().and_then(|first| {
            self.landed = first.number;
            self.order.leave();
            Arc::into_inner(first.group)
        });
        first.ok_or_else(|| TaskError::Panicked("a group is recalled that is not there, or that somebody works on".into()))
    }

    /// Tables whose groups come one after the other for a while.
    fn distrust(&mut self, steps: &[Step], error: &ConnectorError) {
        let tables = || steps.iter().flat_map(tables_of);
        let at_fault = tables().find(|table| Some(&table.source.schema.name) == error.table_name());
        match at_fault {
            Some(table) => self.order.distrust(&table.name),
            None => tables().for_each(|table| self.order.distrust(&table.name)),
        }
    }
}

fn tables_of(step: &Step) -> &[Arc<TargetTable>] {
    match step {
        Step::Net { table, .. } | Step::Ordered { table, .. } => std::slice::from_ref(table),
        Step::Truncate { tables } => tables,
    }
}

async fn write(number: Number, ticket: LaneTicket, group: Arc<CompleteGroup>, board: Arc<Board>) -> Ended {
    let _writing = board.meter.enter(Stage::Target);
    match ticket.lane().await {
        Ok(mut lane) => {
            let result = lane.write_ahead(&group.group.steps).await.map(|()| None);
            Ended { number, lane: Some(lane), result }
        }
        Err(error) => Ended { number, lane: None, result: Err(error) },
    }
}

async fn commit(number: Number, mut lane: Box<dyn Lane>, group: Arc<CompleteGroup>, board: Arc<Board>) -> Ended {
    let _writing = board.meter.enter(Stage::Target);
    // Groups with entries of the error table or states of tables do not come here.
    let rest = Group { control: group.group.control.clone(), ..Group::new(group.group.from.clone(), group.group.to.clone(), Vec::new()) };
    let result = lane.apply(&rest).await.map(Some);
    Ended { number, lane: Some(lane), result }
}
