//! How long a call may take.
//!
//! A tenant is charged for the CPU time of its own thread, not for its neighbours': on a crowded machine 200 ms of
//! work may take seconds. The wall clock bounds that at ten times the budget. The check runs at each tick of the
//! engine's epoch (10 ms), so a spinning module is stopped within 10 ms of its budget.
//!
//! Asking for a thread's CPU time is a call of the kernel: a quarter of a microsecond at best, 1.6 µs where the kernel is
//! behind another layer, which is more than a call of a module takes. So nobody asks before the first tick; until then
//! the wall clock stands for it, which cannot say more than a tick, since a call that is running notices every tick.
//!
//! A call that has used 20 ms is no ordinary batch: from there on it rests four times as long as it runs, after each millisecond or so, and
//! longer when others like it run too, so that all of them together leave the processor to the tasks beside them, and runs at the lowest
//! priority ([`threads`](crate::threads)). Rests count neither as CPU time nor as wall time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::engine::TICK;
use crate::threads::lower_priority;

/// Wall time allowed for each unit of CPU time allowed.
const WALL_FACTOR: u32 = 10;

/// CPU time after which a call is made to rest. An ordinary batch of 1,024 rows in Python is to take 3 ms.
const RESTS_AFTER: Duration = Duration::from_millis(20);
/// A rest is so many times what the call ran since the one before, for each call that rests.
const REST_FACTOR: u32 = 4;
/// Rests are cut into pieces that are no longer, so that a cancelled call ends soon.
const REST_STEP: Duration = Duration::from_millis(10);
/// Calls beyond this do not make rests longer: a slow module that means well would never end beside many that do not.
const RESTING_MAX: u32 = 8;

/// Counts the calls of the process that are made to rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pacer(Arc<AtomicU32>);

impl Pacer {
    /// Calls that are made to rest.
    pub(crate) fn resting(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }
}

/// One of them.
#[derive(Debug)]
struct Paced(Pacer);

impl Drop for Paced {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

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
    cpu_allowed: Duration,
    wall_start: Instant,
    first_tick: Option<FirstTick>,
    cancel: Arc<AtomicBool>,
    rested: Duration,
    /// CPU time used by the end of the last rest.
    rested_at: Duration,
    paced: Option<Paced>,
}

/// What was known when the call first noticed a tick.
#[derive(Debug, Clone, Copy)]
struct FirstTick {
    /// What the thread had used since it began.
    thread_cpu: Duration,
    /// What stands for the CPU time of the call until then.
    charged: Duration,
}

impl Budget {
    pub(crate) fn new(cpu_allowed: Duration, cancel: Arc<AtomicBool>) -> Self {
        Self {
            cpu_allowed,
            wall_start: Instant::now(),
            first_tick: None,
            cancel,
            rested: Duration::ZERO,
            rested_at: Duration::ZERO,
            paced: None,
        }
    }

    /// CPU time of this thread since the budget began; of a call that noticed no tick, wall time, at most a tick.
    pub(crate) fn cpu_used(&self) -> Duration {
        match self.first_tick {
            Some(first) => first.charged + thread_cpu().saturating_sub(first.thread_cpu),
            None => self.wall_start.elapsed().min(TICK),
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Called once a tick.
    pub(crate) fn check(&mut self) -> Result<(), Stop> {
        if self.is_cancelled() {
            return Err(Stop::Cancelled);
        }
        if self.first_tick.is_none() {
            self.first_tick = Some(FirstTick { thread_cpu: thread_cpu(), charged: self.cpu_used() });
        }
        let used = self.cpu_used();
        if used > self.cpu_allowed {
            return Err(Stop::Cpu { used, allowed: self.cpu_allowed });
        }
        let (used, allowed) = (self.wall_start.elapsed().saturating_sub(self.rested), self.cpu_allowed * WALL_FACTOR);
        if used > allowed { Err(Stop::Wall { used, allowed }) } else { Ok(()) }
    }

    /// Lets the thread rest when the call has used much; called once a tick. Ends early when the call is cancelled.
    pub(crate) fn rest(&mut self, pacer: &Pacer) {
        let used = self.cpu_used();
        if used < RESTS_AFTER {
            return;
        }
        if self.paced.is_none() {
            lower_priority();
            pacer.0.fetch_add(1, Ordering::AcqRel);
            self.paced = Some(Paced(pacer.clone()));
        }
        let since = Instant::now();
        // What it ran before its first rest is not made up for.
        let ran = used.saturating_sub(self.rested_at).min(TICK);
        let rest = ran * REST_FACTOR * pacer.resting().clamp(1, RESTING_MAX);
        while let Some(left) = rest.checked_sub(since.elapsed()).filter(|left| !left.is_zero() && !self.is_cancelled()) {
            std::thread::sleep(left.min(REST_STEP));
        }
        self.rested += since.elapsed();
        self.rested_at = used;
    }

    /// The call is over.
    pub(crate) fn end(&mut self) {
        self.paced = None;
    }
}

/// CPU time that this thread has used so far.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
