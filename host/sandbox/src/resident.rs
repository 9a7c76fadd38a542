//! Where the instance of a sandbox is between two calls: who needs its slot may have it give the instance up.
//!
//! ```text
//!   Sandbox ──enter──▶ has the instance itself, for a call ──settle──▶ Place ──give_up──▶ gone; what it told stays
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use wasmtime::Store;

use crate::contract::TransformModule;
use crate::guest::Guest;
use crate::slots::Slot;
use crate::told::Told;

/// An instance with its slot.
pub(crate) struct Live {
    pub(crate) store: Store<Guest>,
    pub(crate) module: TransformModule,
    pub(crate) started: Instant,
    pub(crate) batches: u64,
    /// CPU time of an answered call, the later ones counting for more.
    pub(crate) usual: Duration,
    pub(crate) pace: Pace,
    // Given back after the instance is gone, which the order of the fields sees to.
    pub(crate) slot: Slot,
}

/// How long an instance takes for rows, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It has answered no batch yet: its calls give way to all others.
    Unknown,
    Ordinary,
    /// The last batch took long by the wall clock, which others may have used: the CPU's is asked the next time.
    Doubtful,
    /// The last batch took long: the next call gives way.
    Slow,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Place {
    inside: Mutex<Inside>,
    used_at: AtomicU64,
}

/// What is in a [`Place`].
#[derive(Default)]
pub(crate) enum Inside {
    /// The sandbox has the instance itself, or has none.
    #[default]
    Nothing,
    Live(Box<Live>),
    /// The instance was given up after it had told this.
    GivenUp(Told),
}

impl Place {
    /// When the last call ended.
    pub(crate) fn used_at(&self) -> u64 {
        self.used_at.load(Ordering::Relaxed)
    }

    /// What is inside, to look at or to take out.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an instance inside after its call.
    pub(crate) fn put(&self, live: Box<Live>, used_at: u64) {
        self.used_at.store(used_at, Ordering::Relaxed);
        *self.lock() = Inside::Live(live);
    }

    /// Drops the instance with its slot; false when there is none here, or somebody looks at it.
    pub(crate) fn give_up(&self) -> bool {
        let mut inside = match self.inside.try_lock() {
            Ok(inside) => inside,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        match std::mem::take(&mut *inside) {
            Inside::Live(mut live) => {
                *inside = Inside::GivenUp(std::mem::take(&mut live.store.data_mut().told));
                drop(inside);
                drop(live);
                true
            }
            other => {
                *inside = other;
                false
            }
        }
    }
}
