//! How long a call may take.
//!
//! A tenant is charged for the CPU time of its own thread, not for its neighbours': on a crowded machine 200 ms of
//! work may take seconds. The wall clock bounds that at ten times the budget, without the time in which the thread waited for a
//! processor. The check runs at each tick of the engine's epoch (5 ms), so a spinning module is stopped within 5 ms of its budget.
//!
//! Asking for a thread's CPU time is a call of the kernel: a quarter of a microsecond at best, 1.6 µs where the kernel is
//! behind another layer, which is more than a call of a module takes. So nobody asks before the first tick; until then
//! the wall clock stands for it, which cannot say more than a tick, since a call that is running notices every tick. Only where little
//! more than that is allowed is the clock of the CPU asked from the beginning.
//!
//! A call that has used 5 ms, or twice what answered calls of its sandbox take, and 20 ms at most, is no ordinary batch, nor is one of a
//! module whose last call used up its time or memory, from its beginning: from there on it rests four times as long as it runs, after each fifth of a millisecond or so, and longer when others like it run too, so that all of them
//! together leave the processor to the tasks beside them, and runs only while no other thread wants its processor
//! ([`threads`](crate::threads)). The latter is so from its beginning of each call of an instance that has not answered a batch yet, since nothing is known
//! of how long it takes, or whose last call took more than a millisecond and more than a tenth for each row. Rests count neither as CPU time nor as wall time.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::engine::TICK;
use crate::threads::{forgo, give_way, thread_cpu, wait};

/// Wall time allowed for each unit of CPU time allowed.
const WALL_FACTOR: u32 = 10;

/// CPU time after which a call of a sandbox is made to rest that has answered none yet. An ordinary batch of 1,024 rows in Python is to take 3 ms.
const RESTS_AFTER: Duration = Duration::from_millis(5);
/// The most that a sandbox gets whose calls usually take long.
const RESTS_AFTER_MAX: Duration = Duration::from_millis(20);
/// A rest is so many times what the call ran since the one before, for each call that rests.
const REST_FACTOR: u32 = 4;
/// Rests are cut into pieces that are no longer, so that a cancelled call ends soon.
const REST_STEP: Duration = Duration::from_millis(10);
/// Calls beyond this do not make rests longer: a slow module that means well would never end beside many that do not.
const RESTING_MAX: u32 = 8;

/// The calls of the process that are made to rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pacer(Arc<Paces>);

#[derive(Debug, Default)]
struct Paces {
    resting: AtomicU32,
    /// Those of them that do not rest in this moment.
    awake: AtomicU32,
    clock: OnceLock<Thread>,
}

impl Pacer {
    /// Calls that are made to rest.
    pub(crate) fn resting(&self) -> u32 {
        self.0.resting.load(Ordering::Acquire)
    }

    /// Of these, calls that do not rest in this moment.
    pub(crate) fn awake(&self) -> u32 {
        self.0.awake.load(Ordering::Acquire)
    }

    /// The thread that is woken when such a call wakes up.
    pub(crate) fn set_clock(&self, clock: Thread) {
        // There is one clock, which is set once.
        let _ = self.0.clock.set(clock);
    }

    fn wakes(&self) {
        self.0.awake.fetch_add(1, Ordering::AcqRel);
        if let Some(clock) = self.0.clock.get() {
            clock.unpark();
        }
    }

    fn sleeps(&self) {
        self.0.awake.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One of them, awake.
#[derive(Debug)]
struct Paced(Pacer);

impl Paced {
    fn new(pacer: &Pacer) -> Self {
        pacer.0.resting.fetch_add(1, Ordering::AcqRel);
        pacer.wakes();
        Self(pacer.clone())
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        self.0.sleeps();
        self.0.0.resting.fetch_sub(1, Ordering::AcqRel);
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
    rests_after: Duration,
    wall_start: Instant,
    first_tick: Option<FirstTick>,
    /// How long the thread had waited for a processor since it began, asked when the call had taken a while.
    waited_before: Option<Duration>,
    cancel: Arc<AtomicBool>,
    rested: Duration,
    /// CPU time used by the end of the last rest.
    rested_at: Duration,
    paced: Option<Paced>,
}

/// What was known when the CPU clock was first asked: when the call first noticed a tick, mostly.
#[derive(Debug, Clone, Copy)]
struct FirstTick {
    /// What the thread had used since it began.
    thread_cpu: Duration,
    /// What stands for the CPU time of the call until then.
    charged: Duration,
}

impl FirstTick {
    fn now() -> Self {
        Self { thread_cpu: thread_cpu(), charged: Duration::ZERO }
    }
}

impl Budget {
    /// `usual` is what an answered call of the sandbox takes.
    pub(crate) fn new(cpu_allowed: Duration, usual: Duration, cancel: Arc<AtomicBool>) -> Self {
        Self {
            cpu_allowed,
            rests_after: (usual * 2).clamp(RESTS_AFTER, RESTS_AFTER_MAX),
            wall_start: Instant::now(),
            // A call that waited for a processor until its first tick would seem to have used it up.
            first_tick: (cpu_allowed < TICK * 2).then(FirstTick::now),
            waited_before: None,
            cancel,
            rested: Duration::ZERO,
            rested_at: Duration::ZERO,
            paced: None,
        }
    }

    /// The clock of the CPU is asked from the beginning.
    pub(crate) fn ask_clock(&mut self) {
        self.first_tick.get_or_insert_with(FirstTick::now);
    }

    /// True when it was.
    pub(crate) fn is_exact(&self) -> bool {
        self.first_tick.is_some_and(|first| first.charged.is_zero())
    }

    /// The call is no ordinary one from its beginning.
    pub(crate) fn rest_from_now_on(&mut self, pacer: &Pacer) {
        self.rests_after = Duration::ZERO;
        give_way();
        self.paced = Some(Paced::new(pacer));
        self.ask_clock();
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
        let waited_before = *self.waited_before.get_or_insert_with(thread_waited);
        let (used, allowed) = (self.wall_start.elapsed().saturating_sub(self.rested), self.cpu_allowed * WALL_FACTOR);
        if used <= allowed {
            return Ok(());
        }
        let used = used.saturating_sub(thread_waited().saturating_sub(waited_before));
        if used > allowed { Err(Stop::Wall { used, allowed }) } else { Ok(()) }
    }

    /// Lets the thread rest when the call has used much; called once a tick. Ends early when the call is cancelled.
    pub(crate) fn rest(&mut self, pacer: &Pacer) {
        let used = self.cpu_used();
        if used < self.rests_after {
            return;
        }
        if self.paced.is_none() {
            give_way();
            self.paced = Some(Paced::new(pacer));
        }
        let since = Instant::now();
        pacer.sleeps();
        // What it ran before its first rest is not made up for.
        let ran = used.saturating_sub(self.rested_at).min(TICK);
        let rest = ran * REST_FACTOR * pacer.resting().clamp(1, RESTING_MAX);
        wait(|| {
            while let Some(left) = rest.checked_sub(since.elapsed()).filter(|left| !left.is_zero() && !self.is_cancelled()) {
                std::thread::sleep(left.min(REST_STEP));
            }
        });
        forgo();
        pacer.wakes();
        self.rested += since.elapsed();
        self.rested_at = used;
    }

    /// The call is over.
    pub(crate) fn end(&mut self) {
        self.paced = None;
    }
}

/// How long this thread has waited for a processor while it could have run, so far. Nothing where the kernel does not say it.
///
/// The second number, nanoseconds: <https://docs.kernel.org/scheduler/sched-stats.html>, `/proc/PID/schedstat`.
fn thread_waited() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split(' ').nth(1).and_then(|waited| waited.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::{HowToWait, run_on_guest_thread, waiting_by};

    #[test]
    fn waiting_for_a_processor_uses_up_neither_clock() {
        let done = Arc::new(AtomicBool::new(false));
        let crowd: Vec<_> = (0..std::thread::available_parallelism().unwrap().get())
            .map(|_| {
                let done = done.clone();
                std::thread::spawn(move || while !done.load(Ordering::Relaxed) {})
            })
            .collect();
        // Less than what may be charged before the first tick, and more.
        let stops = [Duration::from_millis(2), TICK * 2].map(stop_after);
        done.store(true, Ordering::Relaxed);
        for one in crowd {
            one.join().unwrap();
        }
        assert!(stops.iter().all(|(stop, _)| matches!(stop, Stop::Cpu { .. })), "{stops:?}");
    }

    #[test]
    fn a_call_that_neither_runs_nor_waits_nor_rests_is_stopped_at_ten_times_its_budget() {
        let allowed = Duration::from_millis(50);
        let mut budget = Budget::new(allowed, Duration::ZERO, Arc::default());
        budget.check().unwrap();
        let mut at = |wall, rested| {
            budget.wall_start = Instant::now().checked_sub(Duration::from_millis(wall)).unwrap();
            budget.rested = Duration::from_millis(rested);
            budget.check()
        };
        assert!(at(300, 0).is_ok());
        assert!(at(1_300, 1_000).is_ok());
        // More than this thread can have waited for a processor since the first check.
        let stop = at(3_600_000, 1_000).unwrap_err();
        assert!(matches!(stop, Stop::Wall { used, allowed } if used > allowed && allowed == Duration::from_millis(500)), "{stop:?}");
    }

    #[test]
    fn a_rest_is_a_wait_of_its_thread() {
        thread_local! {
            static WAITS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
        }
        let counted: HowToWait = |wait| {
            WAITS.set(WAITS.get() + 1);
            wait();
        };
        let mut budget = Budget::new(Duration::from_secs(60), Duration::ZERO, Arc::default());
        let pacer = Pacer::default();
        budget.ask_clock();
        waiting_by(counted, || budget.rest(&pacer));
        assert_eq!(WAITS.get(), 0, "an ordinary call does not rest");
        while budget.cpu_used() < RESTS_AFTER {}
        waiting_by(counted, || budget.rest(&pacer));
        assert!(WAITS.get() == 1 && budget.rested > Duration::ZERO);
    }

    /// Runs until the budget ends it; why, and how long that took.
    fn stop_after(allowed: Duration) -> (Stop, Duration) {
        let (told, stopped) = std::sync::mpsc::channel();
        run_on_guest_thread(move || {
            let mut budget = Budget::new(allowed, Duration::ZERO, Arc::default());
            // What waits from the first tick on is known.
            budget.check().unwrap();
            give_way();
            let stop = loop {
                if let Err(stop) = budget.check() {
                    break stop;
                }
            };
            told.send((stop, budget.wall_start.elapsed())).unwrap();
        })
        .unwrap();
        stopped.recv().unwrap()
    }
}
