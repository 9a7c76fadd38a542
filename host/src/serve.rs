//! `tidegate serve`: catalog, scheduler and API in one process.
//!
//! ```text
//!   start  settings ─▶ lock ─▶ (keys, beyond loopback) ─▶ port ─▶ catalog ─▶ sandbox ─▶ scheduler, API (ready)
//!   stop   not ready ─▶ workers stop after the group under way ─▶ API ─▶ catalog
//! ```
//!
//! The cheap things that may fail come first, so that a second start says within milliseconds what is wrong.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tidegate_api::{ApiState, Contract};
use tidegate_catalog::Catalog;
use tidegate_pipeline::Planes;
use tidegate_sandbox::{CONTRACT_PACKAGE, CONTRACT_VERSIONS, CONTRACT_WIT};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::ServeSettings;
use crate::data_dir::OwnedDir;
use crate::exit::{Exit, Failure};
use crate::metric;
use crate::modules::ModuleStore;
use crate::scheduler::{Leases, Node, Paces, Pool, Scheduler, Turns};
use crate::signals;

/// How often the exporter tidies its histograms; it has no listener that would do it.
const UPKEEP: Duration = Duration::from_secs(5);

/// What the API says of the modules' contract.
const CONTRACT: Contract = Contract { package: CONTRACT_PACKAGE, versions: CONTRACT_VERSIONS, wit: CONTRACT_WIT };

/// Serves until a signal.
///
/// # Errors
/// What the machine does not give: directory, port, catalog.
pub(crate) async fn serve(settings: ServeSettings, planes: Planes) -> Result<Exit, Failure> {
    let stop = signals::stop_token()?;
    let dir = OwnedDir::open(&settings.data_dir)?;
    let public = !settings.listen.ip().is_loopback();
    // Keys come before the port: nobody may reach a server that has none.
    let catalog = if public { Some(keyed_catalog(dir.path(), settings.listen).await?) } else { None };
    let listener = bind(settings.listen)?;
    let address = listener.local_addr().map_err(|error| Failure::environment("listen", format!("read the listening address: {error}")))?;
    let units = settings.units;
    let prometheus = start_metrics(units)?;
    let catalog = match catalog {
        Some(catalog) => catalog,
        None => open_catalog(dir.path()).await?,
    };
    let modules = ModuleStore::open_with(dir.path().join("artefacts"), settings.modules).await?;
    modules.sweep(catalog.module_digests().await?).await;
    let name = node_name(dir.path())?;
    let node = Node {
        catalog: catalog.clone(),
        modules,
        spool_dir: dir.path().join("spool"),
        leases: Leases::new(catalog.clone(), &name),
        name,
        pool: Pool::new(units),
        turns: Turns::default(),
        planes,
        paces: Paces::default(),
    };
    let ready = Arc::new(AtomicBool::new(true));
    let state = ApiState {
        catalog: catalog.clone(),
        prometheus: prometheus.clone(),
        contract: CONTRACT,
        version: env!("CARGO_PKG_VERSION"),
        ready: ready.clone(),
        modules: settings.modules.rules,
        keys_required: public,
    };
    let upkeep = tokio::spawn(upkeep(prometheus, stop.clone()));
    let workers = tokio::spawn(Scheduler::new(node).run(stop.clone()));
    // The API outlives the workers: who watches a stop sees its end.
    let (close, closed) = watch::channel(false);
    let api = tokio::spawn(tidegate_api::serve(listener, tidegate_api::router(state), closed));

    info!(%address, data_dir = %dir.path().display(), units, "ready");
    eprintln!("tidegate {} listens on http://{address}", env!("CARGO_PKG_VERSION"));
    stop.cancelled().await;
    ready.store(false, Ordering::Release);
    let workers = workers.await;
    close.send_replace(true);
    let api = api.await;
    upkeep.abort();
    catalog.close().await;
    if workers.is_err() || api.is_err() {
        return Err(Failure::failed("bug", "the scheduler or the API panicked (this is a fault of tidegate: please report it)"));
    }
    info!("stopped");
    Ok(Exit::Ok)
}

/// On a thread of the control plane, since the catalog's own threads are as nice as the one that starts them.
async fn open_catalog(dir: &Path) -> Result<Catalog, Failure> {
    let dir = dir.to_owned();
    let opened = tokio::spawn(async move { Catalog::open(&dir).await }).await;
    Ok(opened.map_err(|_| Failure::failed("bug", "opening the catalog panicked (this is a fault of tidegate: please report it)"))??)
}

/// The catalog of a server that is reached from other machines, which must have keys.
async fn keyed_catalog(dir: &Path, listen: SocketAddr) -> Result<Catalog, Failure> {
    let catalog = open_catalog(dir).await?;
    if catalog.has_keys().await? {
        return Ok(catalog);
    }
    let message = format!(
        "refusing to listen on {listen}: there are no API keys, so whoever reaches the port could read and write every database of every task"
    );
    let hint = format!(
        "make a key first with tidegate tenant key default --data-dir {}, or listen on 127.0.0.1:{} and let an SSH tunnel forward to it",
        dir.display(),
        listen.port()
    );
    Err(Failure::usage("listen_not_loopback", message).hint(hint))
}

fn bind(address: SocketAddr) -> Result<tokio::net::TcpListener, Failure> {
    let failure = |error: std::io::Error| {
        Failure::environment("listen", format!("listen on {address}: {error}")).hint("choose another port with --listen 127.0.0.1:PORT")
    };
    let listener = TcpListener::bind(address).map_err(failure)?;
    listener.set_nonblocking(true).map_err(failure)?;
    tokio::net::TcpListener::from_std(listener).map_err(failure)
}

fn start_metrics(units: u32) -> Result<PrometheusHandle, Failure> {
    let handle =
        PrometheusBuilder::new().install_recorder().map_err(|error| Failure::environment("metrics", format!("start metrics: {error}")))?;
    metric::describe();
    metric::record_units(units);
    metric::record_memory();
    Ok(handle)
}

async fn upkeep(prometheus: PrometheusHandle, stop: CancellationToken) {
    while !stop.is_cancelled() {
        prometheus.run_upkeep();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(UPKEEP) => {}
        }
    }
}

/// The name that this data directory's process has in leases. It is kept, so that a process that was killed gets its
/// own tasks back at once and need not wait for the end of its leases.
fn node_name(dir: &Path) -> Result<String, Failure> {
    let path = dir.join("node");
    let failure = |error: std::io::Error| Failure::environment("data_dir", format!("use file \"{}\": {error}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => Ok(name.trim().to_owned()),
        Ok(_) => write_node_name(&path).map_err(failure),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => write_node_name(&path).map_err(failure),
        Err(error) => Err(failure(error)),
    }
}

fn write_node_name(path: &Path) -> std::io::Result<String> {
    let name = tidegate_catalog::new_id();
    std::fs::write(path, &name)?;
    Ok(name)
}
