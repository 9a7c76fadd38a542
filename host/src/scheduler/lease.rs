//! The right of this process to work on a task, as the catalog has it.
//!
//! The lease keeps two processes of one cluster off the same task. It is not what keeps the target correct: that is
//! the generation in the target, which every writing transaction checks.

use std::time::Duration;

use tidegate_catalog::{Catalog, CatalogError, now_us};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, warn};

use crate::exit::chain;

/// How long a lease is good without renewal: a node that died is replaced after this.
const LEASE: Duration = Duration::from_secs(10);

/// How often it is renewed; three renewals may fail before it ends.
const RENEWAL: Duration = Duration::from_millis(2500);

/// A lease that is renewed for as long as the value lives.
pub(crate) struct HeldLease {
    catalog: Catalog,
    task: String,
    generation: i64,
    /// Cancelled when another process took the lease.
    pub(crate) lost: CancellationToken,
    _renewer: AbortOnDropHandle<()>,
}

impl HeldLease {
    /// Takes the lease; `None` while another process has it. `stop` is cancelled when the lease is lost later.
    ///
    /// # Errors
    /// The catalog's.
    pub(crate) async fn acquire(catalog: &Catalog, task: &str, node: &str, stop: &CancellationToken) -> Result<Option<Self>, CatalogError> {
        let Some(generation) = catalog.acquire_lease(task, node, end_us()).await? else { return Ok(None) };
        let lost = CancellationToken::new();
        let renew = renew(catalog.clone(), task.to_owned(), generation, lost.clone(), stop.clone());
        let renewer = AbortOnDropHandle::new(tokio::spawn(renew));
        Ok(Some(Self { catalog: catalog.clone(), task: task.to_owned(), generation, lost, _renewer: renewer }))
    }

    /// Gives it back, so that the next holder need not wait for its end.
    pub(crate) async fn release(self) {
        if let Err(error) = self.catalog.release_lease(&self.task, self.generation).await {
            warn!(task = self.task, error = chain(&error), "release lease; it ends by itself");
        }
    }
}

async fn renew(catalog: Catalog, task: String, generation: i64, lost: CancellationToken, stop: CancellationToken) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        match catalog.renew_lease(&task, generation, end_us()).await {
            Ok(true) => {}
            Ok(false) => {
                lost.cancel();
                stop.cancel();
                return;
            }
            Err(error) => error!(task, error = chain(&error), "renew lease"),
        }
    }
}

fn end_us() -> i64 {
    now_us() + i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX)
}
