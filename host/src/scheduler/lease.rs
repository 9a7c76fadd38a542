//! The right of this process to work on tasks, as the catalog has it.
//!
//! A lease keeps two processes of one cluster off the same task. It is not what keeps the target correct: that is
//! the generation in the target, which every writing transaction checks. All leases of a node are renewed together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_catalog::{Catalog, CatalogError, HeldLease as Renewed, now_us};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::TaskKey;
use crate::exit::chain;

/// How long a lease is good without renewal: a node that died is replaced after this.
const LEASE: Duration = Duration::from_secs(10);

/// How often they are renewed; three renewals may fail before leases end.
const RENEWAL: Duration = Duration::from_millis(2500);

/// The leases of this node.
pub(crate) struct Leases {
    /// Any tenant's handle: a renewal is for all of them.
    catalog: Catalog,
    node: String,
    /// Never held across an await.
    held: Mutex<HashMap<TaskKey, Holding>>,
}

struct Holding {
    generation: i64,
    /// Until when it is known to be good, microseconds since 1970.
    until_us: i64,
    lost: CancellationToken,
    stop: CancellationToken,
}

impl Leases {
    /// None yet, under this node's name.
    pub(crate) fn new(catalog: Catalog, node: &str) -> Arc<Self> {
        Arc::new(Self { catalog, node: node.to_owned(), held: Mutex::default() })
    }

    /// Takes a lease; `None` while another process has it. `stop` is cancelled when the lease is lost later.
    ///
    /// # Errors
    /// The catalog's.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        catalog: &Catalog,
        task: &str,
        stop: &CancellationToken,
    ) -> Result<Option<HeldLease>, CatalogError> {
        let until_us = end_us();
        let Some(generation) = catalog.acquire_lease(task, &self.node, until_us).await? else { return Ok(None) };
        let lost = CancellationToken::new();
        let holding = Holding { generation, until_us, lost: lost.clone(), stop: stop.clone() };
        let key = (catalog.tenant().clone(), task.to_owned());
        self.held().insert(key.clone(), holding);
        Ok(Some(HeldLease { leases: Arc::clone(self), catalog: catalog.clone(), key, generation, lost }))
    }

    /// Renews them for as long as it runs.
    pub(crate) async fn keep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            self.renew().await;
        }
    }

    async fn renew(&self) {
        let leases: Vec<Renewed> = self.held().iter().map(|(key, holding)| renewed(key, holding)).collect();
        if leases.is_empty() {
            return;
        }
        let until_us = end_us();
        match self.catalog.renew_leases(&self.node, &leases, until_us).await {
            Ok(gone) => self.note(&leases, &gone, until_us),
            Err(error) => {
                error!(leases = leases.len(), error = chain(&error), "renew leases");
                self.end_expired();
            }
        }
    }

    fn note(&self, leases: &[Renewed], gone: &[Renewed], until_us: i64) {
        let mut held = self.held();
        // What was given back or taken anew meanwhile is another lease.
        for lease in leases {
            if let Some(holding) = held.get_mut(&key_of(lease)).filter(|holding| holding.generation == lease.generation) {
                holding.until_us = until_us;
            }
        }
        for lease in gone {
            if let Some(holding) = held.get(&key_of(lease)).filter(|holding| holding.generation == lease.generation) {
                holding.end();
            }
        }
    }

    /// Whoever cannot renew a lease in time must take it for lost: somebody else may have it by now.
    fn end_expired(&self) {
        let now = now_us();
        self.held().values().filter(|holding| holding.until_us < now).for_each(Holding::end);
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<TaskKey, Holding>> {
        self.held.lock().expect("no holder of this lock panics")
    }
}

impl Holding {
    fn end(&self) {
        self.lost.cancel();
        self.stop.cancel();
    }
}

/// A lease that is renewed for as long as the value lives.
pub(crate) struct HeldLease {
    leases: Arc<Leases>,
    catalog: Catalog,
    key: TaskKey,
    generation: i64,
    /// Cancelled when another process took the lease, or may have.
    pub(crate) lost: CancellationToken,
}

impl HeldLease {
    /// Gives it back, so that the next holder need not wait for its end.
    pub(crate) async fn release(self) {
        // Before the catalog says so: a renewal that finds it given back must not take it for lost.
        self.forget();
        if let Err(error) = self.catalog.release_lease(&self.key.1, self.generation).await {
            warn!(tenant = %self.key.0, task = self.key.1, error = chain(&error), "release lease; it stays this process's own until that ends");
        }
    }

    fn forget(&self) {
        let mut held = self.leases.held();
        if held.get(&self.key).is_some_and(|holding| holding.generation == self.generation) {
            held.remove(&self.key);
        }
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.forget();
    }
}

fn renewed(key: &TaskKey, holding: &Holding) -> Renewed {
    Renewed { tenant: key.0.clone(), task: key.1.clone(), generation: holding.generation }
}

fn key_of(lease: &Renewed) -> TaskKey {
    (lease.tenant.clone(), lease.task.clone())
}

fn end_us() -> i64 {
    now_us() + i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX)
}
