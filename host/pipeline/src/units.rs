//! How many capacity units a run is granted, as that changes while it runs.
//!
//! A unit is a lane, of the load or of the stream, memory for waiting changes, and an instance of each module. With none the run sleeps: it keeps its connection to the source's log
//! and none to the target, and the first change wakes it, because one lane is always allowed to whoever has work.

use std::time::Duration;

use tokio::sync::watch;

use crate::settings::CacheMemory;

/// Smaller groups would not be worth their commits.
const GROUP_BYTES_MIN: usize = 512 << 10;

/// How often a run that sleeps wakes to write how far its source is, if that moved: it bounds the log that the source
/// keeps for nothing, and costs a connection and a transaction.
const ASLEEP_CHECKPOINT_EVERY: Duration = Duration::from_secs(300);

/// How far the log may move under a run that sleeps before the target hears of it all the same: that much log the source keeps
/// for nothing (PostgreSQL), or would have to keep still (MySQL, MariaDB). Four segments of PostgreSQL's log; a busy source may
/// have many runs that sleep, and each then writes one small transaction.
const ASLEEP_LOG_BYTES_MAX: u64 = 64 << 20;

/// See the module's documentation. Clones follow the same grant.
#[derive(Debug, Clone)]
pub struct Units(watch::Receiver<u32>);

impl Units {
    /// The same number for the whole run.
    pub fn fixed(count: u32) -> Self {
        Self(watch::channel(count).1)
    }

    /// What the other end says; the last word stays when it is gone.
    pub fn following(granted: watch::Receiver<u32>) -> Self {
        Self(granted)
    }

    /// Lanes that may work now: at least one.
    pub(crate) fn lanes(&self) -> usize {
        self.granted().max(1) as usize
    }

    /// Bytes after which a group is closed though more waits, where one that grows to `bytes_max` leaves in parts: lanes
    /// share that bound, and what is left of it has room for the last transaction of most groups.
    pub(crate) fn group_bytes(&self, bytes_max: usize) -> usize {
        (bytes_max / (self.lanes() + 1)).max(GROUP_BYTES_MIN.min(bytes_max))
    }

    /// Bytes of waiting changes that may be in memory now.
    pub(crate) fn cache_bytes(&self, memory: CacheMemory) -> usize {
        match memory {
            CacheMemory::EachUnit(bytes) => bytes.saturating_mul(self.lanes()),
            CacheMemory::Fixed(bytes) => bytes,
        }
    }

    /// How long the target goes without hearing of a position that is all there is to tell it, where it is `usual` for a
    /// run that is awake. The source's log has moved by `log_bytes` since it heard of one.
    pub(crate) fn rest_between(&self, usual: Duration, log_bytes: u64) -> Duration {
        if self.is_asleep() && log_bytes < ASLEEP_LOG_BYTES_MAX { usual.max(ASLEEP_CHECKPOINT_EVERY) } else { usual }
    }

    /// True when nothing is granted.
    pub(crate) fn is_asleep(&self) -> bool {
        self.granted() == 0
    }

    fn granted(&self) -> u32 {
        *self.0.borrow()
    }

    /// Waits for another number than the last call saw; for ever when none can come. Safe to cancel.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_sleeps_rests_longer_until_the_log_has_moved_far() {
        let usual = Duration::from_secs(10);
        for (units, log_bytes, wanted) in [(0, 0, ASLEEP_CHECKPOINT_EVERY), (0, ASLEEP_LOG_BYTES_MAX, usual), (1, 0, usual)] {
            assert_eq!(Units::fixed(units).rest_between(usual, log_bytes), wanted, "{units} units, {log_bytes} bytes");
        }
    }
}
