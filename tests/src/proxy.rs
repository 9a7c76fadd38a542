//! A TCP proxy with faults that are switched while connections run.
//!
//! ```text
//!   client ── up ──▶ proxy ── up ──▶ server
//!   client ◀─ down ─ proxy ◀─ down ─ server
//! ```
//!
//! A fault holds from the moment [`Proxy::set`] returns, for connections that exist and for new ones. What a
//! connection lost by a fault stays lost; what it only held back flows again after [`Fault::Pass`].

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Bytes that are read at a time.
const CHUNK: usize = 64 << 10;

/// The way that bytes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From client to server.
    Up,
    /// From server to client.
    Down,
    /// Both ways.
    Both,
}

impl Direction {
    fn covers(self, way: Direction) -> bool {
        self == Direction::Both || self == way
    }
}

/// What the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Forwards everything.
    Pass,
    /// Forwards every chunk this many milliseconds late; one chunk waits for the one before it.
    Delay(Direction, u64),
    /// Forwards at most this many bytes in a second, per connection and direction.
    Rate(Direction, u64),
    /// Resets all connections now, and every new one at once.
    Cut,
    /// Closes the port to new connections; those that exist go on.
    RefuseNew,
    /// Stops forwarding without closing anything: half open. Bytes wait.
    Hold(Direction),
    /// Forwards until this many more bytes came down from the server (over all connections), then drops what comes
    /// down and lets everything up pass: the client never hears the answer to what it did.
    SwallowAfter(u64),
    /// Forwards everything, and flips a bit of this text wherever it comes down from the server in one piece.
    FlipBit(&'static str),
}

/// A proxy in front of one server. Dropping it ends its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    fault: watch::Sender<Fault>,
    counts: Arc<Counts>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    up: AtomicU64,
    down: AtomicU64,
    /// What came from clients, forwarded or held.
    taken_up: AtomicU64,
    connections: AtomicU64,
    /// Bytes that may still come down under `SwallowAfter`.
    down_left: AtomicU64,
}

impl Proxy {
    /// Starts on a free port of 127.0.0.1, without a fault.
    pub async fn start(target: SocketAddr) -> Proxy {
        let listener = StdListener::bind("127.0.0.1:0").expect("a port is free on the loopback interface");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let fault = watch::Sender::new(Fault::Pass);
        let counts = Arc::new(Counts::default());
        let acceptor = tokio::spawn(accept(listener, target, fault.subscribe(), counts.clone()));
        Proxy { port, fault, counts, acceptor }
    }

    /// Starts in front of a server on 127.0.0.1.
    pub async fn to_port(port: u16) -> Proxy {
        Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await
    }

    /// The port to connect to instead of the server's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what the proxy does.
    pub fn set(&self, fault: Fault) {
        if let Fault::SwallowAfter(bytes) = fault {
            self.counts.down_left.store(bytes, Ordering::SeqCst);
        }
        self.fault.send_replace(fault);
    }

    /// Bytes forwarded so far from clients to the server.
    pub fn bytes_up(&self) -> u64 {
        self.counts.up.load(Ordering::SeqCst)
    }

    /// Bytes that came from clients so far, forwarded or held here.
    pub fn bytes_taken_up(&self) -> u64 {
        self.counts.taken_up.load(Ordering::SeqCst)
    }

    /// Bytes forwarded so far from the server to clients.
    pub fn bytes_down(&self) -> u64 {
        self.counts.down.load(Ordering::SeqCst)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// Accepts while no fault forbids it. Connections end with this task: they hold receivers of `fault`, and they are in
/// its set.
async fn accept(listener: StdListener, target: SocketAddr, mut fault: watch::Receiver<Fault>, counts: Arc<Counts>) {
    let port = listener.local_addr().expect("a bound socket has an address");
    let mut listener = Some(listen(listener));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let current = *fault.borrow_and_update();
        if current == Fault::RefuseNew {
            listener = None;
        } else if listener.is_none() {
            listener = StdListener::bind(port).ok().map(listen);
        }
        tokio::select! {
            changed = fault.changed() => if changed.is_err() { return },
            accepted = accept_one(listener.as_ref()) => {
                let Ok((client, _)) = accepted else { continue };
                counts.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(connection(client, target, fault.clone(), counts.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn listen(listener: StdListener) -> TcpListener {
    listener.set_nonblocking(true).expect("a socket can be made non-blocking");
    TcpListener::from_std(listener).expect("called within a runtime")
}

async fn accept_one(listener: Option<&TcpListener>) -> std::io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Forwards both ways until one side closes, or resets both under `Cut`.
async fn connection(mut client: TcpStream, target: SocketAddr, mut fault: watch::Receiver<Fault>, counts: Arc<Counts>) {
    if *fault.borrow() == Fault::Cut {
        let _ = client.set_zero_linger();
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let _ = (server.set_nodelay(true), client.set_nodelay(true));
    // Borrowed halves: an owned one would end the stream in order when it is dropped, before the reset.
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let up = forward(client_read, server_write, Direction::Up, fault.clone(), &counts);
    let down = forward(server_read, client_write, Direction::Down, fault.clone(), &counts);
    tokio::select! {
        () = async { tokio::join!(up, down); } => return,
        _ = fault.wait_for(|fault| *fault == Fault::Cut) => {}
    }
    // With a linger time of zero, closing is a reset: the peer gets an error and not the end of the stream.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
}

/// Forwards one way until the end of the stream, which it passes on.
async fn forward(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, way: Direction, mut fault: watch::Receiver<Fault>, counts: &Counts) {
    let mut buffer = vec![0; CHUNK];
    loop {
        held(&mut fault, way).await;
        let Ok(length @ 1..) = from.read(&mut buffer).await else { break };
        if way == Direction::Up {
            counts.taken_up.fetch_add(length as u64, Ordering::SeqCst);
        }
        // The fault may have come while the read waited.
        held(&mut fault, way).await;
        let current = *fault.borrow();
        let forwarded = allowed(current, way, length, counts);
        if let (Fault::FlipBit(text), Direction::Down) = (current, way) {
            flip_bits(&mut buffer[..length], text.as_bytes());
        }
        pause(current, way, length).await;
        held(&mut fault, way).await;
        if to.write_all(&buffer[..forwarded]).await.is_err() {
            break;
        }
        let count = if way == Direction::Up { &counts.up } else { &counts.down };
        count.fetch_add(forwarded as u64, Ordering::SeqCst);
    }
    let _ = to.shutdown().await;
}

/// Waits while the direction is held.
async fn held(fault: &mut watch::Receiver<Fault>, way: Direction) {
    // An error means that the proxy was dropped: the connection is about to end.
    let _ = fault.wait_for(|fault| !matches!(fault, Fault::Hold(held) if held.covers(way))).await;
}

/// How many of the bytes that were read are forwarded.
fn allowed(fault: Fault, way: Direction, length: usize, counts: &Counts) -> usize {
    match fault {
        Fault::SwallowAfter(_) if way == Direction::Down => {
            let take = |left: u64| Some(left.saturating_sub(length as u64));
            let left = counts.down_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).unwrap_or_else(|left| left);
            length.min(usize::try_from(left).unwrap_or(usize::MAX))
        }
        Fault::Pass
        | Fault::Delay(..)
        | Fault::Rate(..)
        | Fault::Cut
        | Fault::RefuseNew
        | Fault::Hold(_)
        | Fault::SwallowAfter(_)
        | Fault::FlipBit(_) => length,
    }
}

/// Flips the lowest bit of the text's first byte.
fn flip_bits(bytes: &mut [u8], text: &[u8]) {
    let places: Vec<usize> = bytes.windows(text.len()).enumerate().filter(|(_, found)| *found == text).map(|(place, _)| place).collect();
    for place in places {
        bytes[place] ^= 1;
    }
}

async fn pause(fault: Fault, way: Direction, length: usize) {
    let time = match fault {
        Fault::Delay(direction, ms) if direction.covers(way) => Duration::from_millis(ms),
        Fault::Rate(direction, bytes) if direction.covers(way) => Duration::from_secs_f64(length as f64 / bytes.max(1) as f64),
        _ => return,
    };
    tokio::time::sleep(time).await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A server that answers every byte with the same byte, and a proxy in front of it.
    async fn echo() -> (Proxy, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.into_split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        (Proxy::start(address).await, server)
    }

    async fn connect(proxy: &Proxy) -> std::io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", proxy.port())).await
    }

    /// Sends one byte and waits up to 300 ms for its echo.
    async fn ask(stream: &mut TcpStream) -> Option<std::io::Result<u8>> {
        let exchange = async {
            stream.write_all(b"x").await?;
            stream.read_u8().await
        };
        tokio::time::timeout(Duration::from_millis(300), exchange).await.ok()
    }

    #[tokio::test]
    async fn held_bytes_arrive_when_the_hold_ends() {
        let (proxy, _server) = echo().await;
        let mut stream = connect(&proxy).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap().unwrap(), b'x');
        assert_eq!((proxy.bytes_up(), proxy.bytes_down(), proxy.connections()), (1, 1, 1));
        for direction in [Direction::Up, Direction::Down, Direction::Both] {
            let (up, taken) = (proxy.bytes_up(), proxy.bytes_taken_up());
            proxy.set(Fault::Hold(direction));
            assert!(ask(&mut stream).await.is_none(), "{direction:?}");
            let is_up = direction.covers(Direction::Up);
            assert_eq!((proxy.bytes_up() - up, proxy.bytes_taken_up() - taken), (u64::from(!is_up), 1), "{direction:?}");
            proxy.set(Fault::Pass);
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
        }
    }

    #[tokio::test]
    async fn a_cut_resets_old_connections_and_new_ones() {
        let (proxy, _server) = echo().await;
        let mut stream = connect(&proxy).await.unwrap();
        ask(&mut stream).await.unwrap().unwrap();
        proxy.set(Fault::Cut);
        let failure = stream.read_u8().await.unwrap_err();
        assert_eq!(failure.kind(), std::io::ErrorKind::ConnectionReset);
        if let Ok(mut stream) = connect(&proxy).await {
            assert!(ask(&mut stream).await.unwrap().is_err());
        }
        proxy.set(Fault::Pass);
        let mut stream = connect(&proxy).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap().unwrap(), b'x');
    }

    #[tokio::test]
    async fn refusing_new_connections_leaves_the_old_ones() {
        let (proxy, _server) = echo().await;
        let mut stream = connect(&proxy).await.unwrap();
        ask(&mut stream).await.unwrap().unwrap();
        proxy.set(Fault::RefuseNew);
        crate::wait_for("a refusal", Duration::from_secs(5), async || match connect(&proxy).await {
            Ok(_) => Err("connected"),
            Err(_) => Ok(()),
        })
        .await;
        assert_eq!(ask(&mut stream).await.unwrap().unwrap(), b'x');
        proxy.set(Fault::Pass);
        crate::wait_for("a connection", Duration::from_secs(5), async || connect(&proxy).await).await;
    }

    #[tokio::test]
    async fn swallowed_answers_never_arrive_though_the_server_heard_the_question() {
        let (proxy, _server) = echo().await;
        let mut stream = connect(&proxy).await.unwrap();
        proxy.set(Fault::SwallowAfter(2));
        assert_eq!(ask(&mut stream).await.unwrap().unwrap(), b'x');
        assert_eq!(ask(&mut stream).await.unwrap().unwrap(), b'x');
        assert!(ask(&mut stream).await.is_none());
        assert_eq!((proxy.bytes_up(), proxy.bytes_down()), (3, 2));
    }

    #[tokio::test]
    async fn a_bit_is_flipped_on_the_way_down_alone() {
        let (proxy, _server) = echo().await;
        let mut stream = connect(&proxy).await.unwrap();
        proxy.set(Fault::FlipBit("x"));
        assert_eq!(ask(&mut stream).await.unwrap().unwrap(), b'y');
        proxy.set(Fault::FlipBit("y"));
        assert_eq!(ask(&mut stream).await.unwrap().unwrap(), b'x');
    }

    #[tokio::test]
    async fn delay_and_rate_take_their_time() {
        let (proxy, _server) = echo().await;
        let mut stream = connect(&proxy).await.unwrap();
        for fault in [Fault::Delay(Direction::Both, 50), Fault::Rate(Direction::Down, 10)] {
            proxy.set(fault);
            let since = Instant::now();
            ask(&mut stream).await.unwrap().unwrap();
            assert!(since.elapsed() >= Duration::from_millis(100), "{fault:?}: {:?}", since.elapsed());
        }
    }
}
