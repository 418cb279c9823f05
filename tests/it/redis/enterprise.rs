//! Azure Managed Redis with the "Enterprise" policy: one address, and behind it shards that nobody sees.

use super::cluster::{expect_one_server, queue_across_slots};
use super::identity::{Issuer, wait_shown};
use super::recipes::expect_sessions_and_the_class;
use super::{Endpoint, Instance};
use crate::cache::{KV, PASSWORD, SOON, dbsize, shared_mysql};
use crate::support::poll;
use crate::support::redis::enterprise::Enterprise;
use crate::support::scratch::Scratch;

const KIND: &str = "kind = 'enterprise'\n";

#[test]
fn a_proxy_with_shards_behind_it_looks_like_one_server_and_says_what_crosses_slots() {
    let redis = Enterprise::start(PASSWORD);
    let rules = "[[prefix]]\nprefix = 'p:'\nholdoff = '60s'\nlease = '5s'\n";
    let endpoint = Endpoint::towards(&redis.url(), &redis.ca_path(), &format!("{KIND}{rules}"));
    let mut client = endpoint.client();
    expect_one_server(&mut client, &redis.shards);
    queue_across_slots(&mut client);
    client.expect_error("EXEC", "EXECABORT");
    client.expect_error("SELECT 1", "Azure Managed Redis has no other");
    client.expect_error("CLUSTER SLOTS", "lamplighter");
    let mut listener = endpoint.client();
    listener.expect(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1",
    );
    client.expect("PUBLISH news hello", ":1");
    assert_eq!(
        listener.reply(),
        "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
    );
    // tombstones lie where their keys do, however many a command names
    let mut filler = endpoint.client();
    filler.expect("GET p:1", "$-1");
    client.expect("DEL p:1 p:2 p:3 p:4", ":0");
    filler.expect("SETEX p:1 100 old", "+OK");
    client.expect("EXISTS p:1 p:2", ":0");
    assert_eq!(endpoint.metric("endpoint_stale_fills_total"), 1.0);
    expect_sessions_and_the_class(&endpoint);
}

#[test]
fn a_new_token_is_shown_to_the_proxy_on_open_connections() {
    let redis = Enterprise::start("first second");
    let (mut issuer, source) = Issuer::start("first");
    let endpoint = Endpoint::with_tokens(&redis.url(), &redis.ca_path(), KIND, source);
    let mut client = endpoint.client();
    client.expect("SET k v", "+OK");
    let connects = endpoint.metric("upstream_connects_total");
    redis.accept("second");
    issuer.issue("second");
    wait_shown(&endpoint, "accepted", 3.0);
    client.expect("GET k", "$1\r\nv");
    assert_eq!(endpoint.metric("upstream_connects_total"), connects);
}

#[test]
fn a_job_warms_keys_of_all_shards() {
    let redis = Enterprise::start(PASSWORD);
    let secrets = Scratch::new("warm");
    secrets.write_secret("password", PASSWORD);
    let (url, ca, mysql) = (redis.url(), redis.ca_path(), shared_mysql(""));
    let hashes = KV
        .replace("'kv'", "'hashes'\nvalue = 'hash'")
        .replace("kv:", "hash:");
    let first = Instance::towards(secrets, &url, &ca, mysql, KIND, &[KV, &hashes]);
    for job in ["kv", "hashes"] {
        first.wait_metric(
            &format!("warm_runs_total{{job=\"{job}\",outcome=\"done\"}}"),
            1.0,
        );
    }
    for pattern in ["kv:*", "hash:*"] {
        let nodes = redis.shards.nodes.iter();
        let sizes: Vec<usize> = nodes.map(|node| dbsize(node, pattern)).collect();
        assert!(sizes.iter().all(|size| *size > 200), "{sizes:?}");
    }
    poll::until(SOON, "the lease to be given back", || {
        let nodes = redis.shards.nodes.iter();
        let leases = nodes.map(|node| node.cli(&["--scan", "--pattern", "lmp:lease:*"]));
        leases.filter(|found| !found.is_empty()).count() == 0
    });
}
