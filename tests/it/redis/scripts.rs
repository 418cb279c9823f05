//! What scripts and clients may say without leading the endpoint astray: a script's own errors are its answer, and what is written in one
//! go is answered in its order whatever it resets.

use std::io::ErrorKind;
use std::net::TcpListener;

use super::cluster::start;
use super::{Endpoint, request};
use crate::cache::tls_redis;

/// Somebody who is not to be connected to, and a script that says so.
fn bait(error: &str) -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!("return redis.error_reply('{error} 127.0.0.1:{port}')");
    (listener, script)
}

fn words(words: &[&str]) -> Vec<u8> {
    lamplighter_wire::redis::write::request(words).to_vec()
}

/// The key of all scripts here.
const KEY: &str = "foo{a}";

#[test]
fn where_a_script_points_nobody_goes() {
    let redis = tls_redis();
    let single = Endpoint::start(&redis, "");
    let (_cluster, clustered) = start();
    for endpoint in [&single, &clustered] {
        let mut client = endpoint.client();
        let slot = lamplighter_wire::redis::keys::slot(KEY.as_bytes());
        for error in [
            format!("MOVED {slot}"),
            format!("ASK {slot}"),
            "MOVED 1".to_owned(),
        ] {
            let (listener, script) = bait(&error);
            client.send(&words(&["EVAL", &script, "1", KEY]));
            let reply = client.reply();
            assert!(
                reply.starts_with(&format!("-{error} 127.0.0.1:")),
                "{reply}"
            );
            let came = listener.accept().map(drop).map_err(|error| error.kind());
            assert_eq!(came, Err(ErrorKind::WouldBlock), "{error}");
        }
        client.expect(&format!("SET {KEY} 1"), "+OK");
    }
}

#[test]
fn a_script_that_has_run_is_not_run_again_whatever_it_says() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let mut client = endpoint.client();
    for (ran, error) in ["TRYAGAIN x", "READONLY x", "NOAUTH x"].iter().enumerate() {
        let script = format!("redis.call('INCR', KEYS[1]) return redis.error_reply('{error}')");
        client.send(&words(&["EVAL", &script, "1", KEY]));
        assert_eq!(client.reply(), format!("-{error}\r\n"));
        let count = (ran + 1).to_string();
        client.expect(&format!("GET {KEY}"), &format!("$1\r\n{count}"));
    }
}

#[test]
fn reset_and_hello_leave_what_was_asked_before_them_as_it_was() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let mut client = endpoint.client();
    client.send(&[request("SET k 1"), request("RESET"), request("GET k")].concat());
    let replies = [client.reply(), client.reply(), client.reply()];
    assert_eq!(replies, ["+OK\r\n", "+RESET\r\n", "$1\r\n1\r\n"]);
    client.expect("HSET h f v", ":1");
    client.send(
        &[
            request("HGETALL h"),
            request("HELLO 3"),
            request("HGETALL h"),
        ]
        .concat(),
    );
    let [before, hello, after] = [client.reply(), client.reply(), client.reply()];
    assert!(before.starts_with("*2\r\n"), "{before}");
    assert!(hello.starts_with('%'), "{hello}");
    assert!(after.starts_with("%1\r\n"), "{after}");
}

#[test]
fn subcommands_that_touch_others_are_refused() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let mut client = endpoint.client();
    client.expect_error("SCRIPT DEBUG YES", "share connections");
    client.expect_error("FUNCTION FLUSH", "add it to allow");
    let endpoint = Endpoint::start(&redis, "endpoint.allow = ['FUNCTION']\n");
    endpoint.client().expect("FUNCTION FLUSH", "+OK");
}

#[test]
fn pairs_without_a_value_write_nothing_on_any_shard() {
    let (_cluster, endpoint) = start();
    let mut client = endpoint.client();
    client.expect_error("MSET half:1 1 half:2 2 half:3", "wrong number of arguments");
    client.expect("EXISTS half:1 half:2 half:3", ":0");
}
