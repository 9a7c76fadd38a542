//! Takes turns at starting, so that a thousand tasks that are to start at once do not all connect, plan and check at once.
//!
//! A turn lasts until the run follows its source or loads, until its first failure, or a few seconds at most: tasks whose
//! servers do not answer hold up the others for no longer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

/// Tasks that start at once. A start takes a handful of connections on each side and a few milliseconds of a processor. By guess.
const TURNS: usize = 16;

/// The longest turn.
const TURN: Duration = Duration::from_secs(5);

/// See the module's documentation. Clones share the turns.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    free: Arc<Semaphore>,
    longest: Duration,
}

/// A turn; it is over when this is dropped, or before.
pub(crate) struct Turn {
    _held: AbortOnDropHandle<()>,
}

impl Default for Turns {
    fn default() -> Self {
        Self::new(TURNS, TURN)
    }
}

impl Turns {
    fn new(count: usize, longest: Duration) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), longest }
    }

    /// Waits for a turn. Safe to cancel.
    pub(crate) async fn take(&self) -> Turn {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        let longest = self.longest;
        let held = tokio::spawn(async move {
            tokio::time::sleep(longest).await;
            drop(permit);
        });
        Turn { _held: AbortOnDropHandle::new(held) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_ends_when_it_is_dropped() {
        let turns = Turns::new(2, Duration::from_secs(3600));
        let (first, _second) = (turns.take().await, turns.take().await);
        assert_eq!(turns.free.available_permits(), 0);
        drop(first);
        let _third = turns.take().await;
    }

    #[tokio::test]
    async fn a_turn_ends_after_its_time() {
        let turns = Turns::new(1, Duration::from_millis(10));
        let _first = turns.take().await;
        let _second = turns.take().await;
    }
}
