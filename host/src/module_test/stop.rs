//! Ends a test from outside: the module's present call within milliseconds, and every later one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Whether a test is to end. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_set: AtomicBool,
    /// The flag of the sandbox that the test has now.
    call: Mutex<Option<Arc<AtomicBool>>>,
}

impl Stop {
    /// The test ends.
    pub(crate) fn set(&self) {
        let call = self.0.call.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.is_set.store(true, Ordering::Relaxed);
        call.iter().for_each(|call| call.store(true, Ordering::Relaxed));
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }

    /// The test goes on with another sandbox, whose calls this flag ends.
    pub(super) fn ends(&self, flag: Arc<AtomicBool>) {
        let mut call = self.0.call.lock().unwrap_or_else(PoisonError::into_inner);
        flag.store(self.is_set(), Ordering::Relaxed);
        *call = Some(flag);
    }

    /// Ends the test when it is dropped: nobody waits for the answer any more.
    pub(crate) fn when_dropped(&self) -> StopWhenDropped {
        StopWhenDropped(self.clone())
    }
}

/// See [`Stop::when_dropped`].
pub(crate) struct StopWhenDropped(Stop);

impl Drop for StopWhenDropped {
    fn drop(&mut self) {
        self.0.set();
    }
}
