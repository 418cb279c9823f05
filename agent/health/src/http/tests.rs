//! Connections that misbehave, on real sockets with short limits.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use axum::routing::get;
use lamplighter_core::fault::Fault;
use lamplighter_core::health::HealthBoard;
use lamplighter_core::lifecycle::{
    Control, DrainSource, Drained, Scope, Stage, Subsystem, Supervisor, SupervisorConfig,
};
use lamplighter_core::metrics::{Registry, encode};
use lamplighter_core::net::{ListenAddress, Sockets};

use super::*;
use crate::status::BuildInfo;

/// A listener with one page, on a runtime in a thread of its own; gone when dropped.
struct Site {
    address: SocketAddr,
    registry: Registry,
    control: Control,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// The subsystem that lends its tasks to the listener.
struct Lender {
    listening: Listening,
    metrics: Metrics,
}

impl Subsystem for Lender {
    fn name(&self) -> &'static str {
        "lender"
    }

    async fn run(self, mut scope: Scope) -> Result<Drained, Fault> {
        let tasks = scope.tasks().clone();
        let ending = CancellationToken::new();
        let serve = self
            .listening
            .run(tasks.clone(), self.metrics, ending.clone());
        scope.spawn("listener", serve);
        scope.ready();
        tasks.draining().await;
        ending.cancel();
        scope.finish().await
    }
}

fn site(limits: Limits) -> Site {
    let registry = Registry::new();
    let build = BuildInfo {
        version: String::new(),
        git: String::new(),
        rustc: String::new(),
    };
    let metrics = Metrics::register(&registry, &build).unwrap();
    let any_port = ListenAddress::Tcp("127.0.0.1:0".parse().unwrap());
    let listener = Sockets::none().bind(&any_port, 0o600).unwrap();
    let ListenAddress::Tcp(address) = listener.local_address() else {
        panic!("a TCP listener");
    };
    let config = SupervisorConfig {
        drain_deadline: Duration::from_secs(5),
        command_deadline: Duration::from_secs(5),
        shed_time: Arc::new(|| Duration::ZERO),
    };
    let mut supervisor = Supervisor::new(config, HealthBoard::new(), &registry).unwrap();
    let control = supervisor.control();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listening = Listening {
                door: Door::Probe,
                acceptor: Acceptor::new(listener, limits.connections + slack(limits.connections))
                    .unwrap(),
                limits,
                router: Router::new()
                    .route("/", get(async || "here"))
                    .route("/long", get(async || "long ".repeat(10 << 20))),
            };
            supervisor.add(Stage::Work, Lender { listening, metrics });
            supervisor.run().await.unwrap();
        });
    });
    Site {
        address,
        registry,
        control,
        thread: Some(thread),
    }
}

impl Site {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn metric(&self, line: &str) -> Option<u64> {
        let text = encode(&self.registry).unwrap();
        let found = text.lines().find_map(|known| known.strip_prefix(line));
        found.map(|value| value.trim().parse().unwrap())
    }

    /// Waits until so many connections are open.
    fn wait_open(&self, wanted: u64) {
        let line = r#"lamplighter_health_connections{listener="probe"}"#;
        let end = Instant::now() + Duration::from_secs(10);
        while self.metric(line) != Some(wanted) {
            assert!(
                Instant::now() < end,
                "{:?} open, not {wanted}",
                self.metric(line)
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.control.drain(DrainSource::Signal);
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

const LONG: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits {
        connections: 64,
        request: LONG,
        idle: LONG,
        last_call: Duration::from_millis(100),
    }
}

/// Asks over `stream` and reads the answer.
fn ask(stream: &mut TcpStream) -> String {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"here") && stream.read(&mut byte).unwrap() == 1 {
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

/// Whether the other end closed in an orderly way: the end of the stream, no reset.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => rest.is_empty(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_connection_is_kept_for_the_next_probe() {
    let site = site(limits());
    let mut stream = site.connect();
    for _ in 0..3 {
        assert!(ask(&mut stream).starts_with("HTTP/1.1 200 OK\r\n"));
    }
    site.wait_open(1);
    drop(stream);
    site.wait_open(0);
}

#[test]
fn a_client_may_close_its_half_before_it_reads() {
    let site = site(limits());
    let mut stream = site.connect();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("here"), "{answer}");
}

#[test]
fn a_request_that_trickles_in_is_cut_off() {
    let site = site(Limits {
        request: Duration::from_millis(100),
        ..limits()
    });
    let mut stream = site.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let start = Instant::now();
    assert!(is_closed(&mut stream));
    assert!(start.elapsed() >= Duration::from_millis(90));
}

#[test]
fn idle_connections_end_in_an_orderly_way() {
    let site = site(Limits {
        idle: Duration::from_millis(100),
        ..limits()
    });
    let (mut silent, mut asked) = (site.connect(), site.connect());
    ask(&mut asked);
    assert!(is_closed(&mut silent) && is_closed(&mut asked));
    site.wait_open(0);
}

#[test]
fn whoever_does_not_read_its_answer_is_cut_off() {
    let site = site(Limits {
        idle: Duration::from_millis(200),
        ..limits()
    });
    let mut stream = site.connect();
    stream
        .write_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    site.wait_open(1);
    site.wait_open(0);
}

#[test]
fn resets_garbage_and_oversized_heads_leave_nothing_behind() {
    let site = site(limits());
    for rubbish in [&b""[..], b"\x16\x03\x01\x02\0\x01", b"GET", b"\r\n\r\n\r\n"] {
        let mut stream = site.connect();
        stream.write_all(rubbish).unwrap();
        // a reset instead of an orderly end, as a TCP probe of Application Health does
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    let mut stream = site.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    // the server may close before it has all of it
    let _cut = stream.write_all(&[b'x'; 100_000]);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => assert!(answer.starts_with(b"HTTP/1.1 431"), "{answer:?}"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    site.wait_open(0);
    assert!(ask(&mut site.connect()).ends_with("here"));
}

#[test]
fn a_flood_of_silent_connections_makes_room_for_who_asks() {
    let site = site(Limits {
        connections: 50,
        ..limits()
    });
    let mut kept = site.connect();
    ask(&mut kept);
    let mut flood = Vec::new();
    for _ in 0..1000 {
        flood.push(site.connect());
    }
    for _ in 0..20 {
        assert!(ask(&mut site.connect()).ends_with("here"));
        flood.push(site.connect());
    }
    assert!(
        ask(&mut kept).ends_with("here"),
        "who has asked before is not the first to go"
    );
    let evicted = site.metric(r#"lamplighter_health_connections_evicted_total{listener="probe"}"#);
    assert!(evicted >= Some(970), "{evicted:?}");
    assert!(is_closed(&mut flood[0]), "the oldest went first");
}

#[test]
fn at_the_end_a_request_on_its_way_is_waited_for() {
    let site = site(Limits {
        last_call: LONG,
        ..limits()
    });
    let mut late = site.connect();
    site.wait_open(1);
    let mut idle = site.connect();
    ask(&mut idle);
    site.control.drain(DrainSource::Signal);
    assert!(is_closed(&mut idle), "the end has begun");
    assert!(ask(&mut late).ends_with("here"));
}

#[test]
fn at_the_end_what_is_queued_is_answered_and_what_idles_is_closed() {
    let mut site = site(limits());
    let mut idle = site.connect();
    ask(&mut idle);
    let (control, thread) = (site.control.clone(), site.thread.take());
    control.drain(DrainSource::Signal);
    assert!(is_closed(&mut idle));
    thread.unwrap().join().unwrap();
    assert!(TcpStream::connect(site.address).is_err());
    // `Drop` wants a thread
    site.thread = Some(std::thread::spawn(|| {}));
}
