//! The node's units, shared by the tasks that run here.
//!
//! Each run claims what its plan wants; whenever a claim changes, all units are placed anew and every run that has others
//! than before is told. Who gets how many is decided in `capacity`; nothing here knows what a unit does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tidegate_capacity::{TaskClaim, TenantClaim, place};
use tidegate_pipeline::Units;
use tokio::sync::watch;

/// See the module's documentation.
pub(crate) struct Pool {
    units: u32,
    /// What tenants may have; one that is not there has weight 1 and no quota.
    shares: Mutex<BTreeMap<String, Share>>,
    /// By tenant, then by task.
    claims: Mutex<BTreeMap<String, BTreeMap<String, Claim>>>,
}

/// What a tenant may have of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Relative to the other tenants.
    pub(crate) weight: u32,
    /// Most units of all its tasks together.
    pub(crate) quota: Option<u32>,
}

struct Claim {
    wanted: TaskClaim,
    granted: watch::Sender<u32>,
}

impl Pool {
    pub(crate) fn new(units: u32) -> Arc<Self> {
        Arc::new(Self { units, shares: Mutex::default(), claims: Mutex::default() })
    }

    /// Says what tenants may have from now on; runs keep going with what that leaves them.
    pub(crate) fn share(&self, shares: BTreeMap<String, Share>) {
        let claims = self.claims.lock().expect("no holder of this lock panics");
        let changed = {
            let mut known = self.shares.lock().expect("no holder of this lock panics");
            *known != shares && {
                *known = shares;
                true
            }
        };
        if changed {
            self.place(&claims);
        }
    }

    /// Units that the runs of each tenant want and have, together.
    pub(crate) fn units_of_tenants(&self) -> BTreeMap<String, (u32, u32)> {
        let claims = self.claims.lock().expect("no holder of this lock panics");
        let sums = |tasks: &BTreeMap<String, Claim>| {
            tasks.values().fold((0, 0), |(wanted, granted), claim| (wanted + claim.wanted.wanted, granted + *claim.granted.borrow()))
        };
        claims.iter().map(|(tenant, tasks)| (tenant.clone(), sums(tasks))).collect()
    }

    /// A run's place in the pool, with nothing claimed.
    pub(crate) fn join(self: &Arc<Self>, tenant: &str, task: &str) -> Member {
        let (granted, units) = watch::channel(0);
        let claim = Claim { wanted: TaskClaim { weight: 1, min: 0, wanted: 0 }, granted };
        let mut claims = self.claims.lock().expect("no holder of this lock panics");
        claims.entry(tenant.to_owned()).or_default().insert(task.to_owned(), claim);
        Member { pool: Arc::clone(self), tenant: tenant.to_owned(), task: task.to_owned(), units }
    }

    fn place(&self, claims: &BTreeMap<String, BTreeMap<String, Claim>>) {
        let shares = self.shares.lock().expect("no holder of this lock panics");
        let claim_of = |(tenant, tasks): (&String, &BTreeMap<String, Claim>)| {
            let Share { weight, quota } = shares.get(tenant).copied().unwrap_or(Share { weight: 1, quota: None });
            TenantClaim { weight, quota, tasks: tasks.values().map(|claim| claim.wanted).collect() }
        };
        let tenants: Vec<TenantClaim> = claims.iter().map(claim_of).collect();
        for (tasks, granted) in claims.values().zip(place(self.units, &tenants)) {
            for (claim, units) in tasks.values().zip(granted) {
                claim.granted.send_if_modified(|granted| std::mem::replace(granted, units) != units);
            }
        }
    }
}

/// A run's place in the pool; what it has goes back when this is dropped.
pub(crate) struct Member {
    pool: Arc<Pool>,
    tenant: String,
    task: String,
    units: watch::Receiver<u32>,
}

impl Member {
    /// Says what the run wants from now on; `min` before anybody gets more.
    pub(crate) fn claim(&self, min: u32, wanted: u32) {
        let mut claims = self.pool.claims.lock().expect("no holder of this lock panics");
        let Some(claim) = claims.get_mut(&self.tenant).and_then(|tasks| tasks.get_mut(&self.task)) else { return };
        let wanted = TaskClaim { weight: 1, min, wanted };
        if std::mem::replace(&mut claim.wanted, wanted) != wanted {
            self.pool.place(&claims);
        }
    }

    /// Units that the run has now.
    pub(crate) fn granted(&self) -> u32 {
        *self.units.borrow()
    }

    /// The same, to follow.
    pub(crate) fn units(&self) -> Units {
        Units::following(self.units.clone())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut claims = self.pool.claims.lock().expect("no holder of this lock panics");
        if let Some(tasks) = claims.get_mut(&self.tenant) {
            // A later run of the task may have joined already.
            if tasks.get(&self.task).is_some_and(|claim| claim.granted.subscribe().same_channel(&self.units)) {
                tasks.remove(&self.task);
            }
            if tasks.is_empty() {
                claims.remove(&self.tenant);
            }
        }
        self.pool.place(&claims);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_go_to_whom_they_are_due_and_come_back() {
        let pool = Pool::new(8);
        let (flood, quiet) = (pool.join("a", "flood"), pool.join("b", "quiet"));
        flood.claim(0, 100);
        assert_eq!((flood.granted(), quiet.granted()), (8, 0));
        quiet.claim(1, 3);
        assert_eq!((flood.granted(), quiet.granted()), (5, 3));
        let sibling = pool.join("a", "sibling");
        sibling.claim(0, 100);
        assert_eq!((flood.granted(), sibling.granted(), quiet.granted()), (3, 2, 3));
        drop(flood);
        assert_eq!((sibling.granted(), quiet.granted()), (5, 3));
        quiet.claim(0, 0);
        assert_eq!((sibling.granted(), quiet.granted()), (8, 0));
    }

    #[test]
    fn weights_and_quotas_of_tenants_count_at_once() {
        let pool = Pool::new(8);
        let (one, two) = (pool.join("a", "t"), pool.join("b", "t"));
        one.claim(0, 100);
        two.claim(0, 100);
        assert_eq!((one.granted(), two.granted()), (4, 4));
        let share = |weight, quota| Share { weight, quota };
        pool.share([("a".to_owned(), share(3, None))].into());
        assert_eq!((one.granted(), two.granted()), (6, 2));
        pool.share([("a".to_owned(), share(3, Some(1)))].into());
        assert_eq!((one.granted(), two.granted()), (1, 7));
        pool.share(BTreeMap::new());
        assert_eq!((one.granted(), two.granted()), (4, 4));
    }

    #[test]
    fn the_end_of_an_old_run_takes_nothing_from_the_new_one() {
        let pool = Pool::new(4);
        let old = pool.join("a", "shop");
        old.claim(0, 2);
        let new = pool.join("a", "shop");
        new.claim(0, 3);
        drop(old);
        assert_eq!(new.granted(), 3);
    }
}
