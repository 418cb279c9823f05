//! Probers that misbehave, and many of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Probed, SOON};
use crate::support::agent::Agent;
use crate::support::{http, poll};

/// The whole crowd.
const CROWD: usize = 10_000;

/// The load balancer's own limit for one answer, at its shortest interval.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Lets this process hold the crowd.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::try_from(CROWD + 1000).expect("a small number");
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).expect("the limit up to the hard one");
    }
}

/// Probes until `done`, over a new connection each; gives how often and the longest answer.
fn probe_until(probe: &str, done: &AtomicBool) -> (usize, Duration) {
    let (mut count, mut longest) = (0, Duration::ZERO);
    while !done.load(Ordering::Relaxed) || count == 0 {
        let start = Instant::now();
        let answer =
            http::get(probe, "/lb").unwrap_or_else(|error| panic!("probe {count}: {error}"));
        assert_eq!(answer.status, 200, "probe {count}: {}", answer.text());
        longest = longest.max(start.elapsed());
        count += 1;
    }
    (count, longest)
}

#[test]
fn ten_thousand_connections_do_not_keep_a_probe_waiting() {
    raise_descriptor_limit();
    let mut probed = Probed::serving(None, "");
    let files = probed.agent.open_files();
    let done = AtomicBool::new(false);
    let start = Instant::now();
    let (crowd, (count, longest)) = std::thread::scope(|threads| {
        let prober = threads.spawn(|| probe_until(&probed.probe, &done));
        let connect = |number| {
            TcpStream::connect(&probed.probe).unwrap_or_else(|error| panic!("{number}: {error}"))
        };
        let crowd: Vec<_> = (0..CROWD).map(connect).collect();
        done.store(true, Ordering::Relaxed);
        (crowd, prober.join().expect("every probe answered"))
    });
    eprintln!(
        "{CROWD} connections in {:?}; {count} probes between them, longest {longest:?}",
        start.elapsed()
    );
    assert!(longest < PROBE_TIMEOUT, "{longest:?}");
    // with all of them still there
    let (_, longest) = probe_until(&probed.probe, &AtomicBool::new(true));
    assert!(longest < PROBE_TIMEOUT, "{longest:?}");
    let open = probed.agent.open_files();
    assert!(open < files + 1000, "{open} descriptors");
    drop(crowd);
    poll::until(SOON, "the crowd's descriptors to be closed", || {
        let open = probed.agent.open_files();
        if open <= files + 4 {
            Ok(())
        } else {
            Err(format!("{open} open, {files} before"))
        }
    });
    eprintln!("{} KiB resident after the crowd", probed.agent.rss_kib());
    assert!(
        !probed.agent.log().contains("WARN"),
        "{}",
        probed.agent.log()
    );
}

#[test]
fn few_descriptors_leave_room_for_a_probe() {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let script = builder.dir().join("limited");
    let text = format!(
        "#!/bin/sh\nulimit -n 96\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_lamplighter")
    );
    std::fs::write(&script, text).expect("a script");
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("its mode");
    let limited = Agent::builder(script.to_str().expect("a path in UTF-8"));
    let mut probed = Probed::start(limited, "");
    probed.agent.wait_ready(SOON);
    probed.wait(200);
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.extend((0..10).map(|_| TcpStream::connect(&probed.probe).expect("a connection")));
        let answer = probed.ask("/lb").expect("an answer");
        assert_eq!(answer.status, 200);
    }
    assert!(probed.agent.open_files() <= 96);
    drop(builder);
}

#[test]
fn half_requests_resets_and_silence_leave_no_trace() {
    let mut probed = Probed::serving(None, "");
    let files = probed.agent.open_files();
    let log = probed.agent.log();
    for round in 0..200 {
        let mut stream = TcpStream::connect(&probed.probe).expect("a connection");
        let rubbish: &[u8] = match round % 4 {
            0 => b"",
            1 => b"GET /lb HT",
            2 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            _ => b"GET /lb HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        stream.write_all(rubbish).expect("the kernel takes it");
        if round % 8 < 4 {
            // ends in a reset, as Application Health's TCP probe does
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))
                .expect("linger 0");
        }
    }
    poll::until(SOON, "every descriptor to be closed", || {
        let open = probed.agent.open_files();
        if open <= files {
            Ok(())
        } else {
            Err(format!("{open} open, {files} before"))
        }
    });
    assert_eq!(probed.agent.log(), log, "nothing is logged");
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
}

#[test]
fn a_slow_request_is_cut_off_and_an_idle_probe_is_not() {
    let probed = Probed::serving(None, "");
    let mut idle = TcpStream::connect(&probed.probe).expect("a connection");
    let mut slow = TcpStream::connect(&probed.probe).expect("a connection");
    slow.set_read_timeout(Some(SOON)).expect("a timeout");
    slow.write_all(b"GET /lb HTTP/1.1\r\nHost: ")
        .expect("the kernel takes it");
    let start = Instant::now();
    assert_eq!(slow.read(&mut [0; 16]).expect("an orderly end"), 0);
    assert!(
        start.elapsed() > Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    // a probe's connection may idle for an interval and then ask
    idle.write_all(b"GET /lb HTTP/1.0\r\n\r\n")
        .expect("still there");
    let mut answer = String::new();
    idle.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}
