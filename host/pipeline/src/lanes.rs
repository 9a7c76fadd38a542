//! The connections that apply groups: made when there is work, as many as there are units, and closed when units go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_connector::{ConnectorError, Lane, Target};
use tidegate_model::Fence;

use crate::units::Units;

/// How long a lane of a task without units stays open after its last group: the plan grants units again about a second
/// after changes came, and connecting anew for each group until then would cost more than it saves.
const LINGER: Duration = Duration::from_secs(3);

/// See the module's documentation.
pub(crate) struct Lanes {
    target: Arc<dyn Target>,
    fence: Fence,
    units: Units,
    idle: Vec<Box<dyn Lane>>,
    used_at: Instant,
    /// Nothing is open or kept since the last lane was given back.
    is_closed: bool,
}

impl Lanes {
    pub(crate) fn new(target: Arc<dyn Target>, fence: Fence, units: Units) -> Self {
        Self { target, fence, units, idle: Vec::new(), used_at: Instant::now(), is_closed: false }
    }

    /// How many groups may be under way at once; at least one.
    pub(crate) fn allowed(&self) -> usize {
        self.units.lanes()
    }

    /// A lane, or how to get one.
    pub(crate) fn take(&mut self) -> LaneTicket {
        self.is_closed = false;
        match self.idle.pop() {
            Some(lane) => LaneTicket::Open(lane),
            None => LaneTicket::ToOpen { target: self.target.clone(), fence: self.fence.clone() },
        }
    }

    /// A lane that nothing is open in.
    pub(crate) async fn one(&mut self) -> Result<Box<dyn Lane>, ConnectorError> {
        self.take().lane().await
    }

    /// Takes a lane back. `busy`: how many others are at work.
    pub(crate) fn give_back(&mut self, lane: Box<dyn Lane>, busy: usize) {
        self.idle.push(lane);
        self.used_at = Instant::now();
        self.close_surplus(busy);
    }

    /// Closes lanes that no unit stands for any more; all connections to the target when the run has fallen asleep.
    pub(crate) fn close_surplus(&mut self, busy: usize) {
        self.idle.truncate(self.units.lanes().saturating_sub(busy));
        if self.is_drowsy() && self.used_at.elapsed() >= LINGER {
            self.idle.clear();
            self.target.close_idle();
            self.is_closed = true;
        }
    }

    /// Waits until there may be something to close. Safe to cancel.
    pub(crate) async fn surplus(&mut self) {
        if self.is_drowsy() {
            let due = tokio::time::Instant::from_std(self.used_at + LINGER);
            tokio::select! {
                () = self.units.changed() => {}
                () = tokio::time::sleep_until(due) => {}
            }
        } else {
            self.units.changed().await;
        }
    }

    fn is_drowsy(&self) -> bool {
        self.units.is_asleep() && !self.is_closed
    }
}

/// A lane, or how to get one: connecting is left to whoever works with it.
pub(crate) enum LaneTicket {
    Open(Box<dyn Lane>),
    ToOpen { target: Arc<dyn Target>, fence: Fence },
}

impl LaneTicket {
    /// The lane, connected.
    pub(crate) async fn lane(self) -> Result<Box<dyn Lane>, ConnectorError> {
        match self {
            LaneTicket::Open(lane) => Ok(lane),
            LaneTicket::ToOpen { target, fence } => target.lane(&fence).await,
        }
    }
}
