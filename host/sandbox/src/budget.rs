//! How long a call may take.
//!
//! A tenant is charged for the CPU time of its own thread, not for its neighbours': on a crowded machine 200 ms of
//! work may take seconds. The wall clock bounds that at ten times the budget. The check runs at each tick of the
//! engine's epoch (10 ms), so a spinning module is stopped within 10 ms of its budget.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Wall time allowed for each unit of CPU time allowed.
const WALL_FACTOR: u32 = 10;

/// Why a call was stopped from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stop {
    Cpu { used: Duration, allowed: Duration },
    Wall { used: Duration, allowed: Duration },
    Cancelled,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stop::Cpu { .. } => f.write_str("CPU time used up"),
            Stop::Wall { .. } => f.write_str("wall-clock time used up"),
            Stop::Cancelled => f.write_str("cancelled"),
        }
    }
}

impl std::error::Error for Stop {}

/// The budget of the call that is running.
#[derive(Debug)]
pub(crate) struct Budget {
    cpu_start: Duration,
    cpu_allowed: Duration,
    wall_start: Instant,
    cancel: Arc<AtomicBool>,
}

impl Budget {
    pub(crate) fn new(cpu_allowed: Duration, cancel: Arc<AtomicBool>) -> Self {
        Self { cpu_start: thread_cpu(), cpu_allowed, wall_start: Instant::now(), cancel }
    }

    /// CPU time of this thread since the budget began.
    pub(crate) fn cpu_used(&self) -> Duration {
        thread_cpu().saturating_sub(self.cpu_start)
    }

    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.cancel.load(Ordering::Relaxed) {
            return Err(Stop::Cancelled);
        }
        let used = self.cpu_used();
        if used > self.cpu_allowed {
            return Err(Stop::Cpu { used, allowed: self.cpu_allowed });
        }
        let (used, allowed) = (self.wall_start.elapsed(), self.cpu_allowed * WALL_FACTOR);
        if used > allowed { Err(Stop::Wall { used, allowed }) } else { Ok(()) }
    }
}

/// CPU time that this thread has used so far.
pub(crate) fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
