//! Threads for calls of modules, apart from those that do I/O.
//!
//! Whoever waits for a core waits for a spinning module's slice of time, some milliseconds, unless the module's thread has a lower
//! priority than his. A call that is made to rest ([`Budget`](crate::budget::Budget)) lowers the priority of its thread, if that is one of
//! these. Only a privileged process may raise one again, so such a thread ends with the call, and another one takes its place.

use std::cell::Cell;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::setpriority_process;

/// The niceness of a thread whose call is made to rest: the lowest priority.
const NICENESS: i32 = 19;

/// A thread without work ends after this time.
const KEPT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Threads without work, each with its number; the one that had work last is at the end.
struct Idle {
    threads: Vec<(u64, Sender<Job>)>,
    /// The last number.
    number: u64,
}

static IDLE: Mutex<Idle> = Mutex::new(Idle { threads: Vec::new(), number: 0 });

thread_local! {
    static KIND: Cell<Kind> = const { Cell::new(Kind::Foreign) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Not one of these threads.
    Foreign,
    Ours,
    /// Ours, with a lowered priority.
    Lowered,
}

/// Runs `job` on one of the threads; a new one where none is without work. A job that panics takes its thread along.
///
/// # Errors
/// The system's, when it has no further thread.
pub fn run_on_guest_thread(job: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    let mut job: Job = Box::new(job);
    loop {
        let Some((_, thread)) = idle().threads.pop() else { break };
        match thread.send(job) {
            Ok(()) => return Ok(()),
            // It has just ended.
            Err(unsent) => job = unsent.0,
        }
    }
    std::thread::Builder::new().name("guest".into()).spawn(move || work(job)).map(drop)
}

/// Lowers this thread's priority if it is one of these.
pub(crate) fn lower_priority() {
    if KIND.get() == Kind::Ours {
        // The process's own niceness may be as low, and a system may forbid it: then the call rests at its usual priority.
        let _ = setpriority_process(None, NICENESS);
        KIND.set(Kind::Lowered);
    }
}

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().expect("no holder of this lock panics")
}

fn work(first: Job) {
    KIND.set(Kind::Ours);
    first();
    while KIND.get() == Kind::Ours {
        let (jobs, queue) = channel();
        let number = {
            let mut idle = idle();
            idle.number += 1;
            let number = idle.number;
            idle.threads.push((number, jobs));
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
            idle().threads.retain(|(idle, _)| *idle != number);
            // Whoever took it in this moment has sent a job or sends it now; else the other end is gone.
            queue.recv().ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs on a guest thread and waits for the answer.
    fn ask<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> T {
        let (answer, answered) = channel();
        run_on_guest_thread(move || drop(answer.send(question()))).unwrap();
        answered.recv().unwrap()
    }

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn a_thread_with_a_lowered_priority_does_nothing_afterwards() {
        let usual = niceness();
        let lowered = ask(|| {
            lower_priority();
            (std::thread::current().id(), niceness())
        });
        assert_eq!(lowered.1, NICENESS);
        for _ in 0..20 {
            let (thread, nice) = ask(|| (std::thread::current().id(), niceness()));
            assert!(thread != lowered.0 && nice == usual, "{nice}");
        }
    }

    #[test]
    fn other_threads_keep_their_priority() {
        let usual = niceness();
        lower_priority();
        assert_eq!(niceness(), usual);
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
