//! What every handler needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics_exporter_prometheus::PrometheusHandle;
use tidegate_catalog::Catalog;

/// Shared by all handlers; clones are cheap. Waking the host needs no handle of its own: writing to the catalog does it.
#[derive(Clone)]
pub struct ApiState {
    /// The catalog, the only thing that the API reads and writes.
    pub catalog: Catalog,
    /// Renders `/metrics`.
    pub prometheus: PrometheusHandle,
    /// The version that is shown.
    pub version: &'static str,
    /// Set by the host once its scheduler runs, and cleared when it stops.
    pub ready: Arc<AtomicBool>,
}

impl ApiState {
    /// True while the host says that it works.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}
