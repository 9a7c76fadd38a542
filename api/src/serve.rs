//! Serves the router on a listener, with the bounds that a library's default server does not have: time for a
//! request's head, number of headers, buffer sizes, connections in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// A request's head has to arrive within this time; it is also how long an idle connection is kept.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Clients send a dozen; a hundred thousand would be an attack.
const HEADERS_MAX: usize = 64;

/// A head that does not fit is refused.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Connections at once. Each costs at most its buffer and one body.
const CONNECTIONS_MAX: usize = 1_024;

/// Connections at once from one address, so that one client cannot take them all.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 256;

/// How long requests under way may take to end after the stop was asked for.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Serves until `stop` becomes true, then lets requests under way end.
///
/// # Errors
/// None after the listener exists: a failed accept is logged and tried again, since it is a matter of the moment.
pub async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    let addresses = Addresses::default();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => accepted,
            Some(_) = connections.join_next() => continue,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => match addresses.enter(peer) {
                Some(guest) => {
                    connections.spawn(connection(stream, router.clone(), stop.clone(), guest));
                }
                None => debug!(%peer, "refuse a connection beyond the limit of its address"),
            },
            Err(error) => {
                warn!(%error, "accept a connection");
                // Out of file descriptors, most likely: give those that are open time to close.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_PATIENCE, ended).await.is_err() {
        warn!(open = connections.len(), "cut connections whose requests did not end");
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>, guest: Guest) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stopped(&mut stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "a connection ended early");
    }
    drop(guest);
}

/// Waits for the stop; a sender that is gone means it too.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// How many connections each address has.
#[derive(Default)]
struct Addresses(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A counted connection; leaves when dropped.
struct Guest {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Addresses {
    fn enter(&self, peer: SocketAddr) -> Option<Guest> {
        let address = peer.ip();
        let mut counts = self.0.lock().expect("nothing panics while it holds the counts");
        let count = counts.entry(address).or_insert(0);
        if *count >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Guest { counts: Arc::clone(&self.0), address })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().expect("nothing panics while it holds the counts");
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
