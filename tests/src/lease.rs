//! Ports and room for servers, agreed upon by all test processes of the machine.
//!
//! A port found by binding to 0 may be taken by somebody's outgoing connection before the server starts, or while it is
//! down between a kill and its restart. So ports are taken from below the range of outgoing connections, and a
//! lock on a file named after the port keeps other test processes away for as long as the lease is held.

use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Below Linux' default `ip_local_port_range`, 32768 to 60999, and above what services usually have.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// Memory that one server is counted with. MySQL 9.7 takes about this much, the others a fourth of it.
const SERVER_BYTES: u64 = 512 << 20;

/// A test that waits for others to end may be one that others wait for; after this time it starts anyway.
const ROOM_WAIT: Duration = Duration::from_secs(60);

/// A port and a place among the running servers, until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) port: u16,
    _port_lock: File,
    _room_lock: Option<File>,
}

impl Lease {
    /// Takes a free port, and waits for room when the machine is full of servers.
    pub(crate) async fn take() -> Lease {
        let room_lock = room().await;
        let (port, port_lock) = free_port();
        Lease { port, _port_lock: port_lock, _room_lock: room_lock }
    }

    /// Takes a free port only: for small processes.
    pub(crate) fn port_only() -> Lease {
        let (port, port_lock) = free_port();
        Lease { port, _port_lock: port_lock, _room_lock: None }
    }
}

fn free_port() -> (u16, File) {
    // The standard library's only source of randomness.
    let mut random = SmallRng::seed_from_u64(RandomState::new().hash_one(std::process::id()));
    for _ in 0..1000 {
        let port = random.random_range(PORTS);
        let Some(lock) = try_lock(&format!("port-{port}")) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return (port, lock);
        }
    }
    panic!("no free port between {} and {}", PORTS.start, PORTS.end)
}

async fn room() -> Option<File> {
    let places = (total_memory_bytes() / SERVER_BYTES).clamp(6, 64);
    let since = Instant::now();
    while since.elapsed() < ROOM_WAIT {
        if let Some(lock) = (0..places).find_map(|place| try_lock(&format!("server-{place}"))) {
            return Some(lock);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eprintln!("harness: {places} servers are running, starting one more after {} s", ROOM_WAIT.as_secs());
    None
}

fn try_lock(name: &str) -> Option<File> {
    let path = lock_dir().join(name);
    let file = OpenOptions::new().create(true).append(true).open(&path).ok()?;
    file.try_lock().is_ok().then_some(file)
}

/// One for each user: another user's locks could not be opened.
fn lock_dir() -> PathBuf {
    let user = std::env::var("USER").unwrap_or_else(|_| "nameless".into());
    let dir = std::env::temp_dir().join(format!("tidegate-leases-{user}"));
    std::fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("create {}: {error}", dir.display()));
    dir
}

fn total_memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(4 << 30, |kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leased_port_is_not_given_twice() {
        let leases: Vec<Lease> = (0..50).map(|_| Lease::port_only()).collect();
        let mut ports: Vec<u16> = leases.iter().map(|lease| lease.port).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), leases.len());
        assert!(try_lock(&format!("port-{}", leases[0].port)).is_none());
    }
}
