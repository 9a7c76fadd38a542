//! What every handler needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use metrics_exporter_prometheus::PrometheusHandle;
use tidegate_catalog::{Catalog, ModuleLimits};

/// What modules are built for; the host knows, and says it here.
#[derive(Clone, Copy)]
pub struct Contract {
    /// Name of the package.
    pub package: &'static str,
    /// Versions that the host accepts.
    pub versions: &'static [&'static str],
    /// The newest of them, as WIT.
    pub wit: &'static str,
}

/// Shared by all handlers; clones are cheap. Waking the host needs no handle of its own: writing to the catalog does it.
#[derive(Clone)]
pub struct ApiState {
    /// The catalog, the only thing that the API reads and writes.
    pub catalog: Catalog,
    /// Renders `/metrics`.
    pub prometheus: PrometheusHandle,
    /// What modules are built for.
    pub contract: Contract,
    /// The version that is shown.
    pub version: &'static str,
    /// Set by the host once its scheduler runs, and cleared when it stops.
    pub ready: Arc<AtomicBool>,
    /// What the server allows to modules.
    pub modules: ModuleRules,
    /// Nobody is served without a key, even when there is none. Otherwise the first key that is made has this effect.
    pub keys_required: bool,
}

/// What a server allows to every tenant's modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleRules {
    /// Largest upload, bytes.
    pub upload_bytes_max: usize,
    /// The limits of a module without limits of its own; every field is set.
    pub defaults: ModuleLimits,
    /// The most that a module can be given; every field is set.
    pub ceilings: ModuleLimits,
}

impl ModuleRules {
    /// What a module with these limits of its own may really use.
    pub fn effective(&self, own: ModuleLimits) -> ModuleLimits {
        own.or(self.defaults).tightest(self.ceilings)
    }
}

impl ApiState {
    /// True while the host says that it works.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}
