//! Work with the bytes of a whole module, apart from the threads that tasks wait for.
//!
//! To hash, read or write tens of megabytes takes tens of milliseconds of a processor. A thread of the runtime would hold up every task for as
//! long, and any other thread whoever runs on the same processor, until the kernel's next tick. A thread of the policy `SCHED_IDLE` gives way
//! to all others at once.

use thread_priority::unix::{set_thread_priority_and_policy, thread_native_id};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};

/// Does `work` on a thread of its own that gives way to all others.
///
/// # Errors
/// The system's, when it has no further thread.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::io::Result<T> {
    let (done, result) = tokio::sync::oneshot::channel();
    let job = move || {
        // A system may forbid it: then the thread goes on at its usual priority.
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
        // Nobody waits any more where the request was dropped.
        drop(done.send(work()));
    };
    std::thread::Builder::new().name("module-bytes".into()).spawn(job)?;
    Ok(result.await.expect("work with bytes does not panic"))
}
