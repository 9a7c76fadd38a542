//! The linear memory of all sandboxes of the process together.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::share::{TenantShare, Verdict};

/// The part of all memory that tenants' modules leave to the built-in ones.
const RESERVED_PART: usize = 8;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct MemoryPool {
    pub(crate) bytes_max: usize,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    by_all: usize,
    by_tenants: usize,
}

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoMemory {
    /// All modules of the process together have as much as there is.
    OfAll,
    /// The tenant's have as much as its quota allows.
    AboveQuota,
    /// The tenant's have its share of what there is.
    AboveShare,
}

impl MemoryPool {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used: Mutex::default() }
    }

    /// Memory that all sandboxes hold now.
    pub(crate) fn used(&self) -> usize {
        self.lock().by_all
    }

    /// Takes memory for a module of a tenant's, or for one of nobody's.
    pub(crate) fn take(&self, share: Option<&TenantShare>, bytes: usize) -> Result<(), NoMemory> {
        let mut used = self.lock();
        let left = self.bytes_max.saturating_sub(used.by_all);
        if bytes > left {
            return Err(NoMemory::OfAll);
        }
        if let Some(share) = share {
            let free = left.min(self.of_tenants().saturating_sub(used.by_tenants));
            if bytes > free {
                return Err(NoMemory::OfAll);
            }
            match share.judge_memory(bytes, free) {
                Verdict::Fits => {}
                Verdict::AboveQuota => return Err(NoMemory::AboveQuota),
                Verdict::AboveShare => return Err(NoMemory::AboveShare),
            }
            share.add_memory(bytes);
            used.by_tenants += bytes;
        }
        used.by_all += bytes;
        Ok(())
    }

    /// The most that one sandbox can ever have, and what bounds it, with the setting.
    pub(crate) fn most_of_one(&self, share: Option<&TenantShare>) -> (usize, &'static str) {
        let Some(share) = share else { return (self.bytes_max, "all that there is for modules (`modules.total_memory_mib`)") };
        match share.most_memory(self.of_tenants()) {
            (bytes, true) => (bytes, "the tenant's quota (`tidegate tenant set --sandbox-memory-mib`)"),
            (bytes, false) => (bytes, "the tenant's share of what there is for modules (`modules.total_memory_mib`)"),
        }
    }

    fn of_tenants(&self) -> usize {
        self.bytes_max - self.bytes_max / RESERVED_PART
    }

    pub(crate) fn give_back(&self, share: Option<&TenantShare>, bytes: usize) {
        let mut used = self.lock();
        used.by_all -= bytes;
        if let Some(share) = share {
            used.by_tenants -= bytes;
            share.remove_memory(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn a_greedy_tenant_leaves_memory_to_another_and_both_leave_some_to_the_rules() {
        let pool = MemoryPool::new(64 * MIB);
        let fill = |share: &TenantShare| {
            let mut taken = 0;
            let refused = loop {
                match pool.take(Some(share), MIB) {
                    Ok(()) => taken += 1,
                    Err(refused) => break refused,
                }
            };
            (taken, refused)
        };
        let (one, two) = (TenantShare::default(), TenantShare::default());
        // Three quarters of seven eighths.
        assert_eq!(fill(&one), (42, NoMemory::AboveShare));
        assert_eq!(fill(&two), (10, NoMemory::AboveShare));
        assert_eq!((one.memory_bytes(), two.memory_bytes(), pool.used()), (42 * MIB, 10 * MIB, 52 * MIB));
        assert_eq!(pool.take(None, 12 * MIB), Ok(()));
        assert_eq!(pool.take(None, 1), Err(NoMemory::OfAll));
        pool.give_back(Some(&one), 42 * MIB);
        assert_eq!(fill(&two), (29, NoMemory::AboveShare));
    }

    #[test]
    fn what_one_sandbox_can_ever_have_is_what_a_tenant_that_is_alone_gets() {
        for bytes_max in [0, 1, 7, 8, 1000, 64 * MIB] {
            let pool = MemoryPool::new(bytes_max);
            let share = TenantShare::default();
            let (most, bound) = pool.most_of_one(Some(&share));
            assert_eq!(pool.take(Some(&share), most), Ok(()), "{most} of {bytes_max}");
            pool.give_back(Some(&share), most);
            assert!(pool.take(Some(&share), most + 4).is_err() && bound.contains("share"), "{most} of {bytes_max}");
        }
        let share = TenantShare::default();
        share.set_quotas(None, Some(MIB));
        let (most, bound) = MemoryPool::new(64 * MIB).most_of_one(Some(&share));
        assert!(most == MIB && bound.contains("quota"), "{most}: {bound}");
        assert_eq!(MemoryPool::new(64 * MIB).most_of_one(None).0, 64 * MIB);
    }
}
