//! Threads for calls of modules, apart from those that do I/O.
//!
//! Whoever wakes on a core where a module spins waits until the next tick of the kernel's clock, up to 4 ms, also when the module's thread has the
//! lowest niceness: having just woken itself, it keeps its slice. Only a thread of the policy `SCHED_IDLE` gives way at once. A call that is
//! made to rest ([`Budget`](crate::budget::Budget)) puts its thread under that policy, if it is one of these. Only a privileged process may undo
//! it, so such a thread ends with the call, and another one takes its place.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::getpriority_process;
use rustix::time::{ClockId, clock_gettime};
use thread_priority::unix::{set_thread_priority_and_policy, thread_native_id};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

/// The policy of a thread whose call is made to rest.
const GIVES_WAY: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

/// A thread without work ends after this time.
const KEPT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Threads without work; the one that had work last is at the end.
struct Idle {
    threads: Vec<Waiting>,
    /// The last number.
    number: u64,
}

struct Waiting {
    number: u64,
    niceness: i32,
    jobs: Sender<Job>,
}

static IDLE: Mutex<Idle> = Mutex::new(Idle { threads: Vec::new(), number: 0 });

thread_local! {
    static KIND: Cell<Kind> = const { Cell::new(Kind::Foreign) };
    /// Asked once: that is a call of the kernel, and a thread's niceness is set before it does anything.
    static NICENESS: i32 = getpriority_process(None).unwrap_or(0);
    static WAITS_BY: Cell<HowToWait> = const { Cell::new(|wait| wait()) };
}

/// What a thread does around a wait, which it is handed and has to call.
pub type HowToWait = fn(&mut dyn FnMut());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Not one of these threads.
    Foreign,
    Ours,
    /// Ours, and gives way to all others.
    GivesWay,
}

/// Runs `job` on one of the threads that are as nice as this one; a new one where none of them is without work. So a call waits for other
/// threads as whoever asks for it does. A job that panics takes its thread along.
///
/// # Errors
/// The system's, when it has no further thread.
pub fn run_on_guest_thread(job: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let mut job: Job = Box::new(job);
    let niceness = niceness();
    while let Some(thread) = idle().take(niceness) {
        match thread.jobs.send(job) {
            Ok(()) => return Ok(()),
            // It has just ended.
            Err(unsent) => job = unsent.0,
        }
    }
    std::thread::Builder::new().name("guest".into()).spawn(move || work(job)).map(drop)
}

/// Runs `work`, and calls `how` around whatever this thread waits for in it: for a slot, and while a module rests that takes long. So a
/// thread that has other work, too, can have another one go on with it, and need not for a call that takes as long as calls do.
pub fn waiting_by<R>(how: HowToWait, work: impl FnOnce() -> R) -> R {
    struct Before(HowToWait);
    impl Drop for Before {
        fn drop(&mut self) {
            WAITS_BY.set(self.0);
        }
    }
    let _before = Before(WAITS_BY.replace(how));
    work()
}

/// CPU time that this thread has used so far.
pub fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Waits as this thread does.
pub(crate) fn wait<R>(wait: impl FnOnce() -> R) -> R {
    let (mut wait, mut outcome) = (Some(wait), None);
    WAITS_BY.get()(&mut || outcome = wait.take().map(|wait| wait()));
    outcome.expect("who is handed a wait calls it")
}

impl Idle {
    fn take(&mut self, niceness: i32) -> Option<Waiting> {
        let last = self.threads.iter().rposition(|thread| thread.niceness == niceness)?;
        Some(self.threads.remove(last))
    }
}

/// This thread's; those that it starts have it, too.
fn niceness() -> i32 {
    NICENESS.with(|niceness| *niceness)
}

/// Makes this thread give way to all others if it is one of these.
pub(crate) fn give_way() {
    if KIND.get() == Kind::Ours {
        give_way_for_good();
        KIND.set(Kind::GivesWay);
    }
}

/// Makes this thread, and the processes that it starts, give way to all others until it ends.
pub(crate) fn give_way_for_good() {
    // A system may forbid it: then the thread goes on at its usual priority. Where the process has a niceness of its own, that stays, which is
    // an error here and means nothing under this policy.
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, GIVES_WAY);
    forgo();
}

/// Gives up what this thread could claim of the processor for having waited for it. Linux shares a processor out by such claims before it looks
/// at priorities, so that a thread of the least one, woken up, could run until the next tick of the clock before others that were ready; since
/// 6.18 yielding puts a thread behind by its whole share, which is a second under `SCHED_IDLE` (`yield_task_fair`). It goes on at once where
/// nobody else is ready.
pub(crate) fn forgo() {
    std::thread::yield_now();
}

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().expect("no holder of this lock panics")
}

fn work(first: Job) {
    KIND.set(Kind::Ours);
    first();
    let niceness = niceness();
    while KIND.get() == Kind::Ours {
        let (jobs, queue) = channel();
        let number = {
            let mut idle = idle();
            idle.number += 1;
            let number = idle.number;
            idle.threads.push(Waiting { number, niceness, jobs });
            number
        };
        match next(number, &queue) {
            Some(job) => job(),
            None => return,
        }
    }
}

/// The next job; `None` when there was none for a while.
fn next(number: u64, queue: &Receiver<Job>) -> Option<Job> {
    match queue.recv_timeout(KEPT) {
        Ok(job) => Some(job),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => {
            idle().threads.retain(|idle| idle.number != number);
            // Whoever took it in this moment has sent a job or sends it now; else the other end is gone.
            queue.recv().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static WAITS: Cell<u32> = const { Cell::new(0) };
    }

    #[test]
    fn a_thread_waits_as_it_was_told_and_as_before_afterwards() {
        let counted: HowToWait = |wait| {
            WAITS.set(WAITS.get() + 1);
            wait();
        };
        assert!(waiting_by(counted, || wait(|| "outside") == "outside" && waiting_by(|wait| wait(), || wait(|| true))));
        assert_eq!((wait(|| 7), WAITS.get()), (7, 1));
        let panicked = std::panic::catch_unwind(|| waiting_by(counted, || wait(|| panic!("in the wait"))));
        assert!(panicked.is_err());
        assert_eq!((wait(|| 7), WAITS.get()), (7, 2));
    }

    /// Runs on a guest thread and waits for the answer.
    fn ask<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = channel();
        run_on_guest_thread(move || drop(answer.send(question()))).unwrap();
        answered.recv().unwrap()
    }

    fn policy() -> ThreadSchedulePolicy {
        thread_priority::unix::thread_schedule_policy().unwrap()
    }

    #[test]
    fn a_thread_that_gave_way_does_nothing_afterwards() {
        let usual = policy();
        let gave_way = ask(|| {
            give_way();
            (std::thread::current().id(), policy())
        });
        assert_eq!(gave_way.1, GIVES_WAY);
        for _ in 0..20 {
            let (thread, policy) = ask(|| (std::thread::current().id(), policy()));
            assert!(thread != gave_way.0 && policy == usual, "{policy:?}");
        }
    }

    #[test]
    fn other_threads_do_not_give_way() {
        let usual = policy();
        give_way();
        assert_eq!(policy(), usual);
    }

    #[test]
    fn a_call_is_as_nice_as_who_asks_for_it() {
        let usual = niceness();
        let nicer = std::thread::spawn(move || {
            rustix::process::setpriority_process(None, usual + 3).unwrap();
            (0..3).map(|_| ask(niceness)).collect::<Vec<_>>()
        });
        assert_eq!(nicer.join().unwrap(), [usual + 3; 3]);
        assert_eq!((0..3).map(|_| ask(niceness)).collect::<Vec<_>>(), [usual; 3]);
    }

    #[test]
    fn jobs_at_once_each_have_a_thread() {
        let barrier = std::sync::Arc::new(std::sync::Barrier::new(8));
        let (done, all) = channel();
        for _ in 0..8 {
            let (barrier, done) = (barrier.clone(), done.clone());
            run_on_guest_thread(move || {
                barrier.wait();
                done.send(()).unwrap();
            })
            .unwrap();
        }
        assert_eq!(all.iter().take(8).count(), 8);
    }
}
