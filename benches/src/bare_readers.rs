//! What does the source's own protocol cost? As many bare readers of its log as there are tasks, in a process of their own.
//!
//! Each reader logs in, asks for the log as a replica does, and then only answers what the protocol asks: PostgreSQL wants a
//! status at least every minute (sent every ten seconds, as Tidegate does), MariaDB sends a heartbeat every thirty seconds, as
//! Tidegate asks for.
//! Nothing is decoded, kept or applied. The process says `ready` on its standard output when all of them follow the log, and
//! ends when its standard input is closed.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;
use futures_util::StreamExt;
use mysql_async::prelude::Queryable;
use mysql_async::{BinlogStreamRequest, Conn, OptsBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Between two signs of life of a reader of PostgreSQL.
const STATUS: Duration = Duration::from_secs(10);

/// Between two signs of life of MariaDB.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A server to read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    Mariadb,
    Postgres,
}

impl Engine {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Mariadb => "mariadb",
            Engine::Postgres => "postgres",
        }
    }
}

/// The slot, and publication, of a reader.
pub(crate) fn slot(number: usize) -> String {
    format!("bare_{number}")
}

/// The readers' process; it ends with this value.
pub(crate) struct BareReaders {
    child: Child,
}

impl BareReaders {
    /// Starts the process and waits until all of them read.
    pub(crate) fn start(engine: Engine, port: u16, count: usize) -> BareReaders {
        let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
            .args(["bare-readers", "--source", engine.name(), "--port", &port.to_string(), "--count", &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("its output can be read");
        assert_eq!(line, "ready\n", "the readers follow the log");
        BareReaders { child }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for BareReaders {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The process itself.
pub(crate) async fn read(engine: Engine, port: u16, count: usize) {
    for number in 0..count {
        match engine {
            Engine::Mariadb => tokio::spawn(mariadb(dump(port, number).await)),
            Engine::Postgres => tokio::spawn(postgres(replication(port, number).await)),
        };
    }
    println!("ready");
    std::io::stdout().flush().expect("the output can be written");
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await;
}

async fn dump(port: u16, number: usize) -> mysql_async::BinlogStream {
    let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port).user(Some("repl")).pass(Some("repl"));
    let mut conn = Conn::new(opts.prefer_socket(false).stmt_cache_size(0)).await.expect("the server takes a login");
    let heartbeat = HEARTBEAT.as_nanos();
    let position: String = conn.query_first("select @@global.gtid_binlog_pos").await.expect("a position").expect("one row");
    conn.query_drop(format!(
        "set @mariadb_slave_capability = 4, @master_heartbeat_period = {heartbeat}, @slave_connect_state = '{position}'"
    ))
    .await
    .expect("the session is set up");
    let id = 1_000_000 + u32::try_from(number).expect("there are fewer");
    conn.get_binlog_stream(BinlogStreamRequest::new(id)).await.expect("the log can be read")
}

async fn mariadb(mut stream: mysql_async::BinlogStream) {
    while let Some(event) = stream.next().await {
        event.expect("the log can be read");
    }
}

/// A connection that streams from the reader's slot. Source of the messages: PostgreSQL manual, "Message Formats" and
/// "Streaming Replication Protocol".
async fn replication(port: u16, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server answers");
    let mut startup = 196_608_u32.to_be_bytes().to_vec();
    startup.extend(b"user\0postgres\0database\0postgres\0replication\0database\0\0");
    stream.write_all(&u32::try_from(startup.len() + 4).expect("short").to_be_bytes()).await.expect("sent");
    stream.write_all(&startup).await.expect("sent");
    while frame(&mut stream).await.0 != b'Z' {}
    let slot = slot(number);
    let sql = format!("START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '2', publication_names 'bare')\0");
    let mut query = vec![b'Q'];
    query.extend(u32::try_from(sql.len() + 4).expect("short").to_be_bytes());
    query.extend(sql.as_bytes());
    stream.write_all(&query).await.expect("sent");
    while frame(&mut stream).await.0 != b'W' {}
    stream
}

async fn postgres(mut stream: TcpStream) {
    let mut end = 0_u64;
    loop {
        // A time-out in the middle of a frame would lose its place, but none is that slow here.
        let received = tokio::time::timeout(STATUS, frame(&mut stream)).await;
        let wants_reply = match received {
            Ok((b'd', body)) if body.first() == Some(&b'k') => {
                end = body[1..9].try_into().map_or(end, u64::from_be_bytes);
                body[17] != 0
            }
            Ok(_) => false,
            Err(_) => true,
        };
        if wants_reply {
            let mut status = vec![b'd', 0, 0, 0, 38, b'r'];
            (0..3).for_each(|_| status.extend(end.to_be_bytes()));
            status.extend([0; 9]);
            stream.write_all(&status).await.expect("sent");
        }
    }
}

async fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let tag = stream.read_u8().await.expect("the server stays");
    assert_ne!(tag, b'E', "the server refuses");
    let length = stream.read_u32().await.expect("a length").checked_sub(4).expect("a length counts itself");
    let mut body = vec![0; length as usize];
    stream.read_exact(&mut body).await.expect("a body");
    (tag, body)
}
