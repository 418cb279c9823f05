//! What every fault does to clients.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Client, Endpoint, request, timed};
use crate::cache::{SOON, tls_redis};
use crate::support::faults::{Mode, Proxy};
use crate::support::poll;
use crate::support::redis::Server;

/// What "at once" means to a PHP page that asks fifty times.
const AT_ONCE: Duration = Duration::from_millis(50);

pub(super) fn through(proxy: &Proxy, redis: &Server, more: &str) -> Endpoint {
    let url = format!("rediss://{}", proxy.address());
    Endpoint::towards(&url, &redis.ca_path(), more)
}

/// The commands that Redis did not answer, by the endpoint's own count.
pub(super) fn failures(endpoint: &Endpoint) -> f64 {
    ["unreachable", "lost", "overloaded"]
        .iter()
        .map(|reason| endpoint.metric(&format!("endpoint_failed_total{{reason=\"{reason}\"}}")))
        .sum()
}

/// A server that closes the connection over which the first GET and every INCR come, after reading it; how many INCRs there were.
fn hanger_up() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (gets, incrs) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&incrs);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), gets, incrs) = (stream, gets.clone(), incrs.clone()) else {
                return;
            };
            std::thread::spawn(move || {
                let mut buffer = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                    if text.contains("INCR") {
                        incrs.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                    let is_get = text.contains("GET");
                    if is_get && gets.fetch_add(1, Ordering::SeqCst) == 0 {
                        return;
                    }
                    let reply = if is_get { "$1\r\nv\r\n" } else { "+OK\r\n" };
                    let replies = reply.repeat(text.matches('*').count());
                    if stream.write_all(replies.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, counted)
}

#[test]
fn what_was_on_its_way_is_answered_once_reads_again_writes_never() {
    let (address, incrs) = hanger_up();
    let ca = Server::builder().start().ca_path();
    let endpoint = Endpoint::towards(&format!("redis://{address}"), &ca, "");
    let mut client = endpoint.client();
    poll::until(
        SOON,
        "a second connection, for what loses the first",
        || endpoint.metric("endpoint_upstream_connections") >= 2.0,
    );
    client.expect("GET k", "$1\r\nv");
    assert_eq!(endpoint.metric("endpoint_retried_total"), 1.0);
    client.expect_error("INCR n", "may have been executed");
    assert_eq!(incrs.load(Ordering::SeqCst), 1);
    assert_eq!(
        endpoint.metric("endpoint_failed_total{reason=\"lost\"}"),
        1.0
    );
    poll::until(SOON, "a connection", || {
        client.ask("GET k") == "$1\r\nv\r\n"
    });
}

#[test]
fn in_a_black_hole_everything_is_refused_at_once_and_it_is_over_soon_after() {
    let redis = tls_redis();
    let proxy = Proxy::start(&redis.address());
    let endpoint = through(&proxy, &redis, "command_timeout = '300ms'\n");
    let mut client = endpoint.client();
    client.expect("SET k v", "+OK");
    proxy.set(Mode::BlackHole);
    let (reply, took) = timed(|| client.ask("SET k w"));
    assert!(reply.contains("may have been executed"), "{reply}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    // the others are found out without anybody waiting for each
    poll::until(SOON, "the circuit to open", || {
        endpoint.metric("endpoint_circuits_open") == 1.0
    });
    for line in ["GET k", "SET k w", "PING", "EVAL return(1) 0", "BLPOP l 0"] {
        let (reply, took) = timed(|| client.ask(line));
        assert!(reply.contains("not reachable"), "{line}: {reply}");
        assert!(took < AT_ONCE, "{line}: {took:?}");
    }
    proxy.set(Mode::Pass);
    let ((), took) = timed(|| {
        poll::until(SOON, "Redis to be reached again", || {
            // the write that nobody answered may have been executed
            match client.ask("GET k") {
                found if found.starts_with("$1\r\n") => Ok(()),
                other => Err(other),
            }
        });
    });
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(endpoint.metric("endpoint_circuits_open"), 0.0);
}

#[test]
fn reads_may_be_misses_instead_and_writes_never_are() {
    let redis = tls_redis();
    let proxy = Proxy::start(&redis.address());
    let endpoint = through(&proxy, &redis, "[endpoint]\nunavailable = 'miss'\n");
    let mut client = endpoint.client();
    client.expect("SET k v", "+OK");
    proxy.set(Mode::Refuse);
    poll::until(SOON, "the circuit to open", || {
        endpoint.metric("endpoint_circuits_open") == 1.0
    });
    for (line, miss) in [
        ("GET k", "$-1"),
        ("MGET k l", "*2\r\n$-1\r\n$-1"),
        ("EXISTS k", ":0"),
        ("HGETALL h", "*0"),
        ("HMGET h a b c", "*3\r\n$-1\r\n$-1\r\n$-1"),
    ] {
        client.expect(line, miss);
    }
    for line in ["SET k v", "DEL k", "INCR n", "TYPE k"] {
        client.expect_error(line, "not reachable");
    }
    client.expect("HELLO 2", client_hello());
    assert_eq!(failures(&endpoint), 9.0, "each of them is counted");
}

fn client_hello() -> &'static str {
    // only its beginning is of interest, and it has no end of its own
    "*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:1\r\n$7\r\nmodules\r\n*0"
}

#[test]
fn a_connection_that_breaks_at_any_byte_gives_no_wrong_answer_and_no_second_write() {
    let plain = Server::builder().start();
    let proxy = Proxy::start(&plain.address());
    let url = format!("redis://{}", proxy.address());
    let ca = plain.ca_path();
    let endpoint = Endpoint::towards(&url, &ca, "[endpoint]\nconnections = 1\n");
    let mut client = endpoint.client();
    let value = "0123456789";
    client.expect(&format!("SET k {value}"), "+OK");
    let (mut attempts, mut done) = (0, 0);
    let replies = format!("$10\r\n{value}\r\n:1\r\n+OK\r\n").len();
    for cut in 0..=replies + 2 {
        poll::until(SOON, "a connection", || {
            client.ask("GET k").starts_with('$')
        });
        proxy.set(Mode::CutAfter(u64::try_from(cut).unwrap()));
        let pipeline = [request("GET k"), request("INCR n"), request("SET other x")].concat();
        client.send(&pipeline);
        let mut replies = Vec::new();
        while replies.len() < 3 {
            match client.try_reply() {
                Ok(reply) => replies.push(String::from_utf8(reply).unwrap()),
                // half a reply had been passed on: the connection had to end
                Err(_) => {
                    client = endpoint.client();
                    break;
                }
            }
            proxy.set(Mode::Pass);
        }
        proxy.set(Mode::Pass);
        attempts += 1;
        let mut replies = replies.iter();
        if let Some(get) = replies.next() {
            assert!(
                *get == format!("$10\r\n{value}\r\n") || get.starts_with("-ERR lamplighter"),
                "cut {cut}: {get}"
            );
        }
        if let Some(incr) = replies.next() {
            assert!(
                incr.starts_with(':') || incr.starts_with("-ERR lamplighter"),
                "cut {cut}: {incr}"
            );
            done += i32::from(incr.starts_with(':'));
        }
        if let Some(set) = replies.next() {
            assert!(
                set == "+OK\r\n" || set.starts_with("-ERR lamplighter"),
                "cut {cut}: {set}"
            );
        }
    }
    let count: i32 = plain.cli(&["GET", "n"]).parse().unwrap();
    assert!(
        done <= count && count <= attempts,
        "{done} answered, {count} done, {attempts} asked"
    );
}

#[test]
fn a_primary_that_was_demoted_is_left_and_its_successor_found() {
    let (old, new) = (Server::builder().start(), Server::builder().start());
    let proxy = Proxy::start(&old.address());
    let url = format!("redis://{}", proxy.address());
    let endpoint = Endpoint::towards(&url, &old.ca_path(), "");
    let mut client = endpoint.client();
    client.expect("SET k 1", "+OK");
    let port = new.port().to_string();
    old.cli(&["REPLICAOF", "127.0.0.1", &port]);
    client.expect_error("SET k 2", "READONLY");
    // the name leads elsewhere now; connections that exist still lead to the old one
    proxy.retarget(&new.address());
    let ((), took) = timed(|| {
        poll::until(SOON, "the new primary to be written to", || {
            client.ask("SET k 3") == "+OK\r\n"
        });
    });
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(new.cli(&["GET", "k"]), "3");
    assert!(endpoint.metric("endpoint_detours_total{reason=\"readonly\"}") >= 1.0);
}

#[test]
fn a_server_that_dies_is_back_within_two_seconds_of_its_return_and_every_error_is_counted() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let mut client = endpoint.client();
    client.expect("SET k v", "+OK");
    redis.kill();
    let mut errors = 0;
    for _ in 0..200 {
        errors += u32::from(client.ask("GET k").starts_with("-ERR lamplighter"));
    }
    redis.start();
    let ((), took) = timed(|| {
        poll::until(SOON, "Redis to be reached again", || {
            let reply = client.ask("GET k");
            errors += u32::from(reply.starts_with("-ERR lamplighter"));
            reply == "$-1\r\n"
        });
    });
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(errors >= 199, "{errors}");
    assert_eq!(failures(&endpoint), f64::from(errors));
}

#[test]
fn a_full_server_refuses_writes_and_goes_on_reading() {
    let redis = Server::builder()
        .config("maxmemory 3mb\nmaxmemory-policy noeviction")
        .start();
    let endpoint = Endpoint::start(&redis, "");
    let mut client = endpoint.client();
    client.expect("SET small x", "+OK");
    let value = "x".repeat(100_000);
    let refused = (0..100).find(|number| {
        client
            .ask(&format!("SET k{number} {value}"))
            .starts_with("-OOM")
    });
    assert!(refused.is_some());
    client.expect("GET small", "$1\r\nx");
    client.expect("MULTI", "+OK");
    client.expect(&format!("SET k {value}"), "+QUEUED");
    client.expect_error("EXEC", "EXECABORT");
    assert_eq!(
        failures(&endpoint),
        0.0,
        "the server's own answers are no failures"
    );
}

/// Answers like a Redis to what a login asks, and `says` to everything else.
fn pretender(says: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut buffer = vec![0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                    let replies = text.matches('*').count();
                    let login =
                        text.contains("PING") || text.contains("AUTH") || text.contains("HELLO");
                    let reply = if login {
                        "+OK\r\n".repeat(replies)
                    } else {
                        says.repeat(replies)
                    };
                    if stream.write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_server_that_loads_is_there_but_not_asked_and_one_that_talks_nonsense_is_left() {
    let ca = Server::builder().start().ca_path();
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    for (says, mode, expected) in [
        (loading, "error", "-LOADING"),
        (loading, "miss", "$-1"),
        ("HTTP/1.1 400 Bad Request\r\n", "error", "-ERR lamplighter"),
        ("$999999999999999999\r\n", "error", "-ERR lamplighter"),
    ] {
        let address = pretender(says);
        let more = format!("[endpoint]\nunavailable = '{mode}'\n");
        let endpoint = Endpoint::towards(&format!("redis://{address}"), &ca, &more);
        let (reply, took) = timed(|| endpoint.client().ask("GET k"));
        assert!(reply.starts_with(expected), "{says} {mode}: {reply}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn whoever_does_not_read_is_closed_and_nobody_else_waits_for_long() {
    let redis = Server::builder().start();
    let endpoint = Endpoint::start(&redis, "[endpoint]\nconnections = 1\n");
    let mut client = endpoint.client();
    let value = "x".repeat(900_000);
    client.expect(&format!("SET big {value}"), "+OK");
    let mut lazy = endpoint.client();
    lazy.send(&request("GET big").repeat(200));
    // 180 MB that nobody reads
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let (reply, took) = timed(|| client.ask("GET none"));
        assert_eq!(reply, "$-1\r\n");
        slowest = slowest.max(took);
    }
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    poll::until(SOON, "the lazy client to be gone", || {
        endpoint.metric("endpoint_clients") == 1.0
    });
    // a slow reader that does read gets everything
    let mut slow = endpoint.client();
    slow.send(&request("GET big").repeat(40));
    for _ in 0..40 {
        assert_eq!(slow.reply().len(), 900_000 + 11);
    }
}

#[test]
fn a_value_that_is_larger_than_a_buffer_passes_through_in_both_directions() {
    let redis = Server::builder().start();
    let endpoint = Endpoint::start(&redis, "");
    let mut client = endpoint.client();
    let size = 48 << 20;
    let header = format!("*3\r\n$3\r\nSET\r\n$4\r\nhuge\r\n${size}\r\n");
    let chunk = vec![b'v'; 1 << 20];
    client.send(header.as_bytes());
    for _ in 0..48 {
        client.send(&chunk);
    }
    client.send(b"\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "+PONG\r\n");
    assert_eq!(redis.cli(&["STRLEN", "huge"]), size.to_string());
    let mut other = endpoint.client();
    client.send(&request("GET huge"));
    client.first_bytes();
    // others have another connection, so nobody waits behind it, and it may take its time
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(1_500) {
        other.expect("GET none", "$-1");
    }
    let reply = client.try_reply().unwrap();
    assert_eq!(reply.len(), size + 2 + format!("${size}\r\n").len());
    assert!(reply[20..reply.len() - 2].iter().all(|byte| *byte == b'v'));
    // one that is refused is read to its end, and the connection lives on
    client.send(b"MULTI\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    client.send(header.as_bytes());
    for _ in 0..48 {
        client.send(&chunk);
    }
    client.send(b"\r\n");
    assert!(client.reply().contains("cannot be part of a transaction"));
    client.expect_error("EXEC", "EXECABORT");
    // the client goes in the middle: the key is as it was
    client.send(header.as_bytes());
    client.send(&chunk);
    drop(client);
    poll::until(SOON, "the private connection to be gone", || {
        endpoint.metric("endpoint_clients") == 1.0
    });
    assert_eq!(redis.cli(&["STRLEN", "huge"]), size.to_string());
    let mut client = Client::connect(&endpoint.socket);
    client.expect("DEL huge", ":1");
}
