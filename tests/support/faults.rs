//! A TCP proxy with a stable address in front of any server, which can be told to misbehave. May sleep: delay is its work.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::ports;

/// How often the proxy's threads look for news.
const TICK: Duration = Duration::from_millis(2);

/// What the proxy does to connections, existing and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Passes everything on at once.
    Pass,
    /// Nobody listens: connecting is refused. Connections that exist are reset.
    Refuse,
    /// Takes connections and bytes, and passes nothing on, in either direction.
    BlackHole,
    /// Passes everything on this much later, in each direction, without limiting the rate.
    Delay(Duration),
    /// Resets each connection once this many more bytes have come from the server.
    CutAfter(u64),
}

/// The proxy. Dropping it resets its connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    mode: Mutex<Mode>,
    /// Grows whenever all existing connections are to be reset.
    generation: AtomicU64,
    accepted: AtomicU64,
    /// Connections up to this number pass nothing on any more.
    deaf: AtomicU64,
    /// The numbers of those that are open.
    open: Mutex<BTreeSet<u64>>,
    ended: AtomicBool,
    refusing: AtomicBool,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and passes to `target`, for example `127.0.0.1:3306`.
    pub(crate) fn start(target: &str) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let shared = Arc::new(Shared {
            target: Mutex::new(target.parse().expect("an address and a port")),
            mode: Mutex::new(Mode::Pass),
            generation: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            deaf: AtomicU64::new(0),
            open: Mutex::default(),
            ended: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
        });
        let listener = listen(address);
        let theirs = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&theirs, address, listener));
        Self {
            shared,
            address,
            acceptor: Some(acceptor),
        }
    }

    /// Where it listens, for ever: `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Changes what happens to connections; returns when it is in force.
    pub(crate) fn set(&self, mode: Mode) {
        *self.shared.mode.lock().unwrap() = mode;
        if mode == Mode::Refuse {
            self.cut();
        }
        super::poll::until(
            Duration::from_secs(5),
            "the proxy's listener to follow",
            || self.shared.refusing.load(Ordering::SeqCst) == (mode == Mode::Refuse),
        );
    }

    /// Resets every connection that exists now; new ones are taken as the mode says.
    pub(crate) fn cut(&self) {
        let last = self.accepted();
        self.begin_cut();
        super::poll::until(
            Duration::from_secs(5),
            "the proxy's connections to be reset",
            || self.shared.open().range(..=last).next().is_none(),
        );
    }

    /// As [`Self::cut`], but does not wait until they are gone.
    pub(crate) fn begin_cut(&self) {
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Makes every connection that exists now half open: it takes bytes and passes nothing on for ever. New ones are as the mode says.
    pub(crate) fn deafen(&self) {
        self.shared.deaf.store(self.accepted(), Ordering::SeqCst);
    }

    /// Sends new connections elsewhere, for example to another server after a failover.
    pub(crate) fn retarget(&self, target: &str) {
        *self.shared.target.lock().unwrap() = target.parse().expect("an address and a port");
    }

    /// How many connections it has taken so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many are open now.
    pub(crate) fn open(&self) -> u64 {
        u64::try_from(self.shared.open().len()).expect("a number of connections")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            drop(acceptor.join());
        }
    }
}

impl Shared {
    fn mode(&self) -> Mode {
        *self.mode.lock().unwrap()
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.open.lock().unwrap()
    }

    fn over(&self, generation: u64) -> bool {
        self.ended.load(Ordering::SeqCst) || self.generation.load(Ordering::SeqCst) != generation
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    listener
        .set_nonblocking(true)
        .expect("a listener that does not block");
    listener
}

fn accept(shared: &Arc<Shared>, address: SocketAddr, listener: TcpListener) {
    let mut listener = Some(listener);
    while !shared.ended.load(Ordering::SeqCst) {
        match (shared.mode() == Mode::Refuse, listener.is_some()) {
            (true, true) => listener = None,
            (false, false) => listener = Some(listen(address)),
            _ => {}
        }
        shared.refusing.store(listener.is_none(), Ordering::SeqCst);
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((client, _))) => {
                let number = shared.accepted.load(Ordering::SeqCst) + 1;
                let generation = shared.generation.load(Ordering::SeqCst);
                shared.open().insert(number);
                shared.accepted.store(number, Ordering::SeqCst);
                let shared = Arc::clone(shared);
                std::thread::spawn(move || {
                    carry(&shared, &client, number, generation);
                    drop(client);
                    shared.open().remove(&number);
                });
            }
            _ => std::thread::sleep(TICK),
        }
    }
}

/// One connection, until either side ends it or the proxy resets it.
fn carry(shared: &Arc<Shared>, client: &TcpStream, number: u64, generation: u64) {
    // in a black hole not even the server's greeting may come; wait before connecting
    while shared.mode() == Mode::BlackHole {
        if shared.over(generation) {
            return reset(client);
        }
        std::thread::sleep(TICK);
    }
    let target = *shared.target.lock().unwrap();
    let Ok(server) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else {
        return reset(client);
    };
    for stream in [client, &server] {
        stream
            .set_nonblocking(false)
            .and_then(|()| stream.set_nodelay(true))
            .expect("socket options");
        stream
            .set_read_timeout(Some(TICK * 5))
            .expect("a read timeout");
    }
    let broken = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (from, to, from_server) in [(client, &server, false), (&server, client, true)] {
            let way = Way {
                shared,
                number,
                generation,
                broken: &broken,
                from,
                to,
                from_server,
            };
            // 256 chunks of 16 KiB: the most that a delayed direction holds
            let (sender, receiver) = sync_channel(256);
            scope.spawn(move || way.read(&sender));
            scope.spawn(move || way.write(&receiver));
        }
    });
    if broken.load(Ordering::SeqCst) {
        reset(client);
        reset(&server);
    }
}

/// One direction of one connection.
#[derive(Clone, Copy)]
struct Way<'c> {
    shared: &'c Shared,
    number: u64,
    generation: u64,
    broken: &'c AtomicBool,
    from: &'c TcpStream,
    to: &'c TcpStream,
    from_server: bool,
}

impl Way<'_> {
    fn over(&self) -> bool {
        self.broken.load(Ordering::SeqCst) || self.shared.over(self.generation)
    }

    fn is_swallowed(&self) -> bool {
        let is_deaf = self.number <= self.shared.deaf.load(Ordering::SeqCst);
        is_deaf || self.shared.mode() == Mode::BlackHole
    }

    fn read(&self, sender: &SyncSender<(Instant, Vec<u8>)>) {
        let mut passed = 0;
        let mut limit = None;
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if self.over() {
                self.broken.store(true, Ordering::SeqCst);
                return;
            }
            let mut from = self.from;
            let length = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => length,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    continue;
                }
                Err(_) => {
                    self.broken.store(true, Ordering::SeqCst);
                    return;
                }
            };
            let (due, mut length) = match self.shared.mode() {
                Mode::Delay(delay) => (Instant::now() + delay, length),
                _ => (Instant::now(), length),
            };
            let mut cut = false;
            if let (Mode::CutAfter(bytes), true) = (self.shared.mode(), self.from_server) {
                // counted from the moment the mode was set
                let limit = *limit.get_or_insert(passed + bytes);
                let left = usize::try_from(limit - passed).unwrap_or(usize::MAX);
                cut = length >= left;
                length = length.min(left);
            } else {
                limit = None;
            }
            passed += u64::try_from(length).expect("a length");
            if length > 0 && sender.send((due, buffer[..length].to_vec())).is_err() {
                return;
            }
            if cut {
                // the writer sends what was let through, then resets
                drop(sender.send((due, Vec::new())));
                return;
            }
        }
    }

    fn write(&self, receiver: &Receiver<(Instant, Vec<u8>)>) {
        while let Ok((due, bytes)) = receiver.recv() {
            while Instant::now() < due || self.is_swallowed() {
                if self.over() {
                    return;
                }
                std::thread::sleep(
                    due.saturating_duration_since(Instant::now())
                        .clamp(Duration::from_micros(100), TICK),
                );
            }
            let mut to = self.to;
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                self.broken.store(true, Ordering::SeqCst);
                return;
            }
        }
        // the other side has ended its half
        self.to.shutdown(Shutdown::Write).ok();
    }
}

/// Makes the coming close a reset instead of an orderly end.
fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).ok();
}
