//! What one tenant's sandboxes hold, and how much of what there is for all of them it may hold.
//!
//! Without a quota, a tenant gets more as long as it would hold at most three times what is left free. So one that is alone gets three
//! quarters, two get three sevenths each, nine a bit more than a tenth; and whoever comes next finds some free. Nobody needs to know how many
//! tenants there are. Queues in switches share their memory by this rule: Choudhury and Hahne, "Dynamic queue length thresholds for
//! shared-memory packet switches", IEEE/ACM Transactions on Networking 6(2), 1998.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// How many times what is left free a tenant may hold.
const FREE_FACTOR: usize = 3;

/// What the sandboxes of one tenant hold together in this process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct TenantShare(Arc<Held>);

#[derive(Debug)]
struct Held {
    /// Changed under the lock of the slots.
    sandboxes: AtomicUsize,
    /// Changed under the lock of the memory.
    memory_bytes: AtomicUsize,
    sandboxes_max: AtomicUsize,
    memory_bytes_max: AtomicUsize,
    refusals: AtomicU64,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            sandboxes: AtomicUsize::new(0),
            memory_bytes: AtomicUsize::new(0),
            sandboxes_max: AtomicUsize::new(usize::MAX),
            memory_bytes_max: AtomicUsize::new(usize::MAX),
            refusals: AtomicU64::new(0),
        }
    }
}

/// What may be held of one thing: the slots, or the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fits,
    /// More than the tenant's quota.
    AboveQuota,
    /// More than the tenant's share of what is left.
    AboveShare,
}

impl TenantShare {
    /// Sets the quotas; `None` takes one away. What is held beyond a lowered one stays, and nothing is added.
    pub fn set_quotas(&self, sandboxes: Option<usize>, memory_bytes: Option<usize>) {
        self.0.sandboxes_max.store(sandboxes.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.0.memory_bytes_max.store(memory_bytes.unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// Sandboxes that hold a slot.
    pub fn sandboxes(&self) -> usize {
        self.0.sandboxes.load(Ordering::Relaxed)
    }

    /// Linear memory of them all.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes.load(Ordering::Relaxed)
    }

    /// How often one of its modules was refused a slot or memory because the tenant held its share.
    pub fn refusals(&self) -> u64 {
        self.0.refusals.load(Ordering::Relaxed)
    }

    /// True when nobody else has it, and nothing is held.
    pub fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    pub(crate) fn is(&self, other: &TenantShare) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn refused(&self) {
        self.0.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// About one more sandbox, when `free` are free.
    pub(crate) fn judge_sandbox(&self, free: usize) -> Verdict {
        judge(self.sandboxes(), self.0.sandboxes_max.load(Ordering::Relaxed), 1, free)
    }

    /// True when no sandbox fits, whatever is free.
    pub(crate) fn allows_none(&self) -> bool {
        self.0.sandboxes_max.load(Ordering::Relaxed) == 0
    }

    /// The most memory that it can ever hold, when there are so many bytes for everybody and nobody else has any; true when its quota
    /// says so.
    pub(crate) fn most_memory(&self, bytes: usize) -> (usize, bool) {
        let quota = self.0.memory_bytes_max.load(Ordering::Relaxed);
        // As [`judge`] has it, where what is free is all but what the tenant holds.
        let share = bytes.saturating_add(1) / (FREE_FACTOR + 1) * FREE_FACTOR;
        (quota.min(share), quota <= share)
    }

    /// About so much more memory, when `free` bytes are free.
    pub(crate) fn judge_memory(&self, bytes: usize, free: usize) -> Verdict {
        judge(self.memory_bytes(), self.0.memory_bytes_max.load(Ordering::Relaxed), bytes, free)
    }

    pub(crate) fn add_sandbox(&self) {
        self.0.sandboxes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn remove_sandbox(&self) {
        self.0.sandboxes.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn add_memory(&self, bytes: usize) {
        self.0.memory_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove_memory(&self, bytes: usize) {
        self.0.memory_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn judge(held: usize, most: usize, more: usize, free: usize) -> Verdict {
    let held = held.saturating_add(more);
    if held > most {
        Verdict::AboveQuota
    } else if held > free.saturating_sub(more).saturating_add(1).saturating_mul(FREE_FACTOR) {
        Verdict::AboveShare
    } else {
        Verdict::Fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many each of so many tenants gets of 128 when all of them want everything, and how many are left for the next one.
    fn shares(tenants: usize) -> (Vec<usize>, usize) {
        let shares: Vec<_> = (0..tenants).map(|_| TenantShare::default()).collect();
        let mut free = 128;
        loop {
            let before = free;
            for share in &shares {
                if free > 0 && share.judge_sandbox(free) == Verdict::Fits {
                    share.add_sandbox();
                    free -= 1;
                }
            }
            if free == before {
                return (shares.iter().map(TenantShare::sandboxes).collect(), free);
            }
        }
    }

    #[test]
    fn tenants_who_want_everything_get_equal_shares_and_leave_some_to_the_next() {
        assert_eq!(shares(1), (vec![96], 32));
        assert_eq!(shares(2), (vec![55, 55], 18));
        assert_eq!(shares(9), (vec![14, 14, 14, 14, 14, 14, 14, 13, 13], 4));
    }

    #[test]
    fn the_only_slot_is_for_whoever_comes() {
        let share = TenantShare::default();
        assert_eq!(share.judge_sandbox(1), Verdict::Fits);
    }

    #[test]
    fn a_quota_holds_whatever_is_free() {
        let share = TenantShare::default();
        share.set_quotas(Some(1), Some(1 << 20));
        assert_eq!((share.judge_sandbox(100), share.judge_memory(1 << 20, 1 << 30)), (Verdict::Fits, Verdict::Fits));
        share.add_sandbox();
        assert_eq!((share.judge_sandbox(100), share.judge_memory((1 << 20) + 1, 1 << 30)), (Verdict::AboveQuota, Verdict::AboveQuota));
        share.set_quotas(None, None);
        assert_eq!(share.judge_sandbox(100), Verdict::Fits);
    }
}
