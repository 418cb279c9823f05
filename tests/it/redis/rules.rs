//! Rules for keys that begin alike.

use std::time::Duration;

use super::{Endpoint, request, timed};
use crate::cache::{SOON, tls_redis};
use crate::support::poll;

const RULES: &str = "[[prefix]]\nprefix = 'p:'\nholdoff = '60s'\nlease = '5s'\nlease_wait = '2s'\nstale = '60s'\n\
    [[prefix]]\nprefix = 'p:big:'\nmax_value = '1KiB'\ndeny = ['EXPIRE', 'INCR']\n";

#[test]
fn a_slow_filler_cannot_write_back_what_was_deleted_meanwhile() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, RULES);
    let (mut filler, mut writer) = (endpoint.client(), endpoint.client());
    // the filler reads the old row from the database now
    filler.expect("GET p:1", "$-1");
    // the application changes the row and says so
    writer.expect("DEL p:1", ":0");
    assert_eq!(redis.cli(&["EXISTS", "lmp:h:{p:1}"]), "1");
    filler.expect("SETEX p:1 100 old", "+OK");
    assert_eq!(
        redis.cli(&["EXISTS", "p:1"]),
        "0",
        "the old value was written back"
    );
    assert_eq!(endpoint.metric("endpoint_stale_fills_total"), 1.0);
    // the next one fills with what is new, and what writes without having missed is the truth
    writer.expect("SET p:1 new", "+OK");
    assert_eq!(redis.cli(&["GET", "p:1"]), "new");
    filler.expect("SET p:2 x NX EX 100", "+OK");
    writer.expect("UNLINK p:2", ":1");
    filler.expect("SET p:2 old NX EX 100", "+OK");
    assert_eq!(redis.cli(&["EXISTS", "p:2"]), "0");
    // without a deletion in between a fill is a fill
    filler.expect("GET p:3", "$-1");
    filler.expect("SETEX p:3 100 v", "+OK");
    assert_eq!(redis.cli(&["GET", "p:3"]), "v");
    // and keys without a rule have no tombstones
    writer.expect("SET q:1 x", "+OK");
    assert_eq!(redis.cli(&["EXISTS", "lmp:h:{q:1}"]), "0");
}

#[test]
fn one_client_fills_a_missing_key_and_the_others_get_its_value() {
    let redis = tls_redis();
    let first = Endpoint::start(&redis, RULES);
    // another machine
    let second = Endpoint::start(&redis, RULES);
    let mut filler = first.client();
    filler.expect("GET p:hot", "$-1");
    let mut waiting: Vec<_> = (0..10)
        .map(|number| {
            let mut client = if number % 2 == 0 {
                first.client()
            } else {
                second.client()
            };
            client.send(&request("GET p:hot"));
            client
        })
        .collect();
    poll::until(SOON, "the machine's own to wait", || {
        first.metric("endpoint_misses_total{prefix=\"p:\"}") == 6.0
            && second.metric("endpoint_misses_total{prefix=\"p:\"}") == 5.0
    });
    filler.expect("SET p:hot value EX 100", "+OK");
    for client in &mut waiting {
        assert_eq!(client.reply(), "$5\r\nvalue\r\n");
    }
    let fillers =
        |endpoint: &Endpoint| endpoint.metric("endpoint_leases_total{outcome=\"filler\"}");
    assert_eq!(
        fillers(&first) + fillers(&second),
        1.0,
        "one in the whole fleet"
    );
    filler.expect("GET p:hot", "$5\r\nvalue");
    assert_eq!(first.metric("endpoint_hits_total{prefix=\"p:\"}"), 1.0);
}

#[test]
fn whoever_would_wait_too_long_gets_the_copy_and_a_dead_filler_is_not_waited_for() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, RULES);
    let mut client = endpoint.client();
    client.expect("SET p:s old EX 100", "+OK");
    // it ends; the copy does not
    redis.cli(&["DEL", "p:s"]);
    let mut filler = endpoint.client();
    filler.expect("GET p:s", "$-1");
    let (reply, took) = timed(|| client.ask("GET p:s"));
    assert_eq!(reply, "$3\r\nold\r\n");
    assert!(
        took >= Duration::from_millis(1500),
        "it waited first: {took:?}"
    );
    let mut dying = endpoint.client();
    dying.expect("GET p:dead", "$-1");
    client.send(&request("GET p:dead"));
    poll::until(SOON, "it to wait", || {
        endpoint.metric("endpoint_misses_total{prefix=\"p:\"}") == 4.0
    });
    let ((), took) = timed(|| {
        drop(dying);
        assert_eq!(client.reply(), "$-1\r\n");
    });
    assert!(took < Duration::from_millis(1500), "{took:?}");
}

#[test]
fn sizes_and_commands_are_refused_by_prefix() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, RULES);
    let mut client = endpoint.client();
    let large = "x".repeat(2000);
    client.expect_error(
        &format!("SET p:big:1 {large}"),
        "larger than the 1024 bytes",
    );
    client.expect_error(
        "EXPIRE p:big:1 10",
        "EXPIRE is refused for keys that begin with \"p:big:\"",
    );
    client.expect("SET p:big:1 small", "+OK");
    client.expect("MULTI", "+OK");
    client.expect_error("INCR p:big:1", "refused");
    client.expect_error("EXEC", "EXECABORT");
    client.expect(&format!("SET p:1 {large}"), "+OK");
    assert_eq!(
        endpoint.metric("endpoint_refused_total{reason=\"rule\"}"),
        3.0
    );
}
