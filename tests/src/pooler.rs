//! A private PgBouncer in front of a PostgreSQL server.

use std::time::{Duration, Instant};

use crate::binaries::unprivileged;
use crate::instance::Instance;
use crate::lease::Lease;
use crate::{PostgresServer, cache_dir};

/// How long it may take until it answers, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// When a session of the server goes back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// With the client's connection.
    Session,
    /// With the client's transaction.
    Transaction,
}

/// A running PgBouncer; dropping it ends the process.
#[derive(Debug)]
pub struct Pooler {
    _instance: Instance,
    lease: Lease,
}

impl Pooler {
    /// Stands in front of all databases of the server, for its superuser.
    pub async fn of(server: &PostgresServer, mode: PoolMode) -> Pooler {
        let (mut instance, lease) = (Instance::new("pgbouncer"), Lease::port_only());
        let (users, config) = (instance.dir().join("users.txt"), instance.dir().join("pgbouncer.ini"));
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
        };
        std::fs::write(&users, "\"postgres\" \"\"\n").expect("the instance's directory is writable");
        let settings = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\n\
             auth_type = trust\nauth_file = {}\npool_mode = {mode}\n",
            server.host(),
            server.port(),
            lease.port,
            users.display()
        );
        std::fs::write(&config, settings).expect("the instance's directory is writable");
        // It refuses root, as PostgreSQL does.
        let mut command = unprivileged(&cache_dir().join("pgbouncer/usr/sbin/pgbouncer"));
        command.arg(&config);
        instance.spawn(command);
        let since = Instant::now();
        while instance.running() && since.elapsed() < START {
            if tokio::net::TcpStream::connect(("127.0.0.1", lease.port)).await.is_ok() {
                return Pooler { _instance: instance, lease };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("pgbouncer did not begin to listen:\n{}", instance.log_tail());
    }

    /// Where it listens on the loopback address.
    pub fn port(&self) -> u16 {
        self.lease.port
    }
}
