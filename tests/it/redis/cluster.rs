//! A cluster looks like one server.

use std::collections::BTreeSet;

use lamplighter_wire::redis::reply::{elements, string};
use lamplighter_wire::redis::write;

use super::{Client, Endpoint, request};
use crate::cache::{PASSWORD, SOON};
use crate::support::poll;
use crate::support::redis::Server;
use crate::support::redis::cluster::Cluster;

/// A key of each of three shards, in the order of the nodes.
const SHARDS: [&str; 3] = ["probe:b", "probe:a", "probe:d"];

/// Waits until a key of each shard can be written.
fn wait_map(client: &mut Client) {
    poll::until(SOON, "the map of slots", || {
        let mut write = |key: &str| client.ask(&format!("SET {key} x")) == "+OK\r\n";
        SHARDS.iter().all(|key| write(key))
    });
}

pub(super) fn start() -> (Cluster, Endpoint) {
    let cluster = Cluster::start(3, || Server::builder().password(PASSWORD));
    let first = &cluster.nodes[0];
    let endpoint = Endpoint::towards(&first.url(), &first.ca_path(), "kind = 'cluster'\n");
    let mut client = endpoint.client();
    wait_map(&mut client);
    for key in SHARDS {
        client.expect(&format!("DEL {key}"), ":1");
    }
    (cluster, endpoint)
}

/// Whoever speaks with the shards of `cluster` as if they were one server: every key is there, and commands are for all of them.
pub(super) fn expect_one_server(client: &mut Client, cluster: &Cluster) {
    // a pipeline over all shards, answered in order
    let sets: Vec<u8> = (0..500)
        .flat_map(|n| request(&format!("SET key:{n} {n}")))
        .collect();
    client.send(&sets);
    for _ in 0..500 {
        assert_eq!(client.reply(), "+OK\r\n");
    }
    let gets: Vec<u8> = (0..500)
        .flat_map(|n| request(&format!("GET key:{n}")))
        .collect();
    client.send(&gets);
    for n in 0..500 {
        let text = n.to_string();
        assert_eq!(client.reply(), format!("${}\r\n{text}\r\n", text.len()));
    }
    for node in &cluster.nodes {
        assert!(
            node.cli(&["DBSIZE"]).parse::<u32>().unwrap() > 100,
            "each has its share"
        );
    }
    client.expect("MSET x 1 y 2 z 3", "+OK");
    client.expect(
        "MGET z none x y x",
        "*5\r\n$1\r\n3\r\n$-1\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n1",
    );
    client.expect("EXISTS x y z none x", ":4");
    client.expect("TOUCH x y", ":2");
    client.expect("UNLINK x none", ":1");
    client.expect("DEL y z none", ":2");
    client.expect("DBSIZE", ":500");
    assert_eq!(walk(client), 500, "SCAN finds each of them once");
    client.expect_error("RENAME key:1 other", "CROSSSLOT");
    client.expect("RENAME {t}1 {t}1", "-ERR no such key");
    client.expect("EVAL return(KEYS[1]) 1 key:7", "$5\r\nkey:7");
    client.expect("MULTI", "+OK");
    client.expect("SET {t}a 1", "+QUEUED");
    client.expect("INCR {t}b", "+QUEUED");
    client.expect("EXEC", "*2\r\n+OK\r\n:1");
    client.expect("WATCH {t}a", "+OK");
    client.expect("MULTI", "+OK");
    client.expect("INCR {t}a", "+QUEUED");
    client.expect("EXEC", "*1\r\n:2");
    client.expect("RPUSH list a", ":1");
    client.expect("BLPOP list 1", "*2\r\n$4\r\nlist\r\n$1\r\na");
}

/// How many keys SCAN finds, none of them twice.
fn walk(client: &mut Client) -> usize {
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply = client.ask(&format!("SCAN {cursor} MATCH key:* COUNT 40"));
        let [next, keys] = elements(reply.as_bytes()).expect("an array")[..] else {
            panic!("{reply}");
        };
        for key in elements(keys).expect("keys") {
            assert!(found.insert(key.to_vec()), "{reply}");
        }
        cursor = String::from_utf8_lossy(string(next).expect("a cursor")).into_owned();
        if cursor == "0" {
            return found.len();
        }
    }
}

/// A transaction whose keys lie in two slots.
pub(super) fn queue_across_slots(client: &mut Client) {
    client.expect("MULTI", "+OK");
    client.expect("SET key:1 1", "+QUEUED");
    client.expect("SET key:2 1", "+QUEUED");
}

#[test]
fn keys_of_all_shards_are_reached_and_commands_are_split_and_merged() {
    let (cluster, endpoint) = start();
    let mut client = endpoint.client();
    expect_one_server(&mut client, &cluster);
    queue_across_slots(&mut client);
    client.expect_error("EXEC", "CROSSSLOT");
}

#[test]
fn what_has_no_key_is_asked_of_every_shard() {
    let cluster = Cluster::start(3, || Server::builder().password(PASSWORD));
    let first = &cluster.nodes[0];
    let more = "kind = 'cluster'\n[endpoint]\nallow = ['FLUSHALL', 'FLUSHDB']\n";
    let endpoint = Endpoint::towards(&first.url(), &first.ca_path(), more);
    let mut client = endpoint.client();
    wait_map(&mut client);
    client.expect("DBSIZE", ":3");
    let reply = client.ask("KEYS *");
    let mut keys = elements(reply.as_bytes()).expect("an array");
    keys.sort_unstable();
    assert_eq!(
        keys,
        ["probe:a", "probe:b", "probe:d"].map(|key| format!("$7\r\n{key}\r\n").into_bytes())
    );
    let mut seen = BTreeSet::new();
    for _ in 0..200 {
        seen.insert(client.ask("RANDOMKEY"));
    }
    assert_eq!(seen.len(), 3, "a key of each: {seen:?}");
    // two of three have none
    client.expect("DEL probe:a probe:b", ":2");
    for _ in 0..20 {
        client.expect("RANDOMKEY", "$7\r\nprobe:d");
    }
    client.expect("FLUSHALL", "+OK");
    client.expect("RANDOMKEY", "$-1");
    client.expect("DBSIZE", ":0");
    let sha = client.ask("SCRIPT LOAD return(KEYS[1])");
    let sha = string(sha.as_bytes()).expect("its name").to_vec();
    let sha = String::from_utf8_lossy(&sha);
    client.send(&write::request(&[
        "FUNCTION",
        "LOAD",
        "#!lua name=of\nredis.register_function('of', function(keys) return keys[1] end)",
    ]));
    assert_eq!(client.reply(), "$2\r\nof\r\n");
    for key in SHARDS {
        client.expect(&format!("EVALSHA {sha} 1 {key}"), &format!("$7\r\n{key}"));
        client.expect(&format!("FCALL of 1 {key}"), &format!("$7\r\n{key}"));
    }
    client.expect("SET probe:a x", "+OK");
    client.expect("FLUSHDB", "+OK");
    client.expect("EXISTS probe:a", ":0");
}

#[test]
fn a_slot_that_moves_is_followed_while_and_after_it_moves() {
    let (cluster, endpoint) = start();
    let mut client = endpoint.client();
    client.expect("SET {m}1 one", "+OK");
    let slot = cluster.nodes[0].cli(&["CLUSTER", "KEYSLOT", "{m}1"]);
    let from = cluster.owner(&slot);
    let to = cluster
        .nodes
        .iter()
        .find(|node| node.port() != from.port())
        .unwrap();
    let (from_id, to_id) = (from.cli(&["CLUSTER", "MYID"]), to.cli(&["CLUSTER", "MYID"]));
    Cluster::set_slot(to, &slot, &["IMPORTING", &from_id]);
    Cluster::set_slot(from, &slot, &["MIGRATING", &to_id]);
    // a new key of a slot on its way is asked for at its goal
    client.expect("GET {m}2", "$-1");
    client.expect("SET {m}2 two", "+OK");
    client.expect("GET {m}1", "$3\r\none");
    assert!(endpoint.metric("endpoint_detours_total{reason=\"ask\"}") >= 2.0);
    from.cli(&[
        "MIGRATE",
        "127.0.0.1",
        &to.port().to_string(),
        "{m}1",
        "0",
        "5000",
        "AUTH",
        PASSWORD,
    ]);
    client.expect("GET {m}1", "$3\r\none");
    for node in &cluster.nodes {
        Cluster::set_slot(node, &slot, &["NODE", &to_id]);
    }
    client.expect("MGET {m}1 {m}2", "*2\r\n$3\r\none\r\n$3\r\ntwo");
    client.expect("MULTI", "+OK");
    client.expect("INCR {m}3", "+QUEUED");
    client.expect("EXEC", "*1\r\n:1");
    assert!(endpoint.metric("endpoint_detours_total{reason=\"moved\"}") >= 1.0);
    // known from now on
    let moved = endpoint.metric("endpoint_detours_total{reason=\"moved\"}");
    for _ in 0..20 {
        client.expect("GET {m}1", "$3\r\none");
    }
    assert_eq!(
        endpoint.metric("endpoint_detours_total{reason=\"moved\"}"),
        moved
    );
}

#[test]
fn a_shard_that_dies_takes_only_its_own_keys_along() {
    let (cluster, endpoint) = start();
    let mut client = endpoint.client();
    for n in 0..60 {
        client.expect(&format!("SET k:{n} v"), "+OK");
    }
    // the others go on serving their slots
    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    cluster.nodes[2].kill();
    let (mut alive, mut dead) = (0, 0);
    for n in 0..60 {
        match client.ask(&format!("GET k:{n}")).as_str() {
            "$1\r\nv\r\n" => alive += 1,
            other => {
                assert!(other.starts_with("-ERR lamplighter"), "{other}");
                dead += 1;
            }
        }
    }
    assert!(alive > 20 && dead > 5, "{alive} and {dead}");
}

#[test]
fn the_certificate_of_each_node_is_held_against_the_name_that_the_node_announces() {
    let cluster = Cluster::start(3, || Server::builder().tls().password(PASSWORD));
    let [first, second, third] = cluster.nodes.as_slice() else {
        panic!("three nodes");
    };
    // their own authorities signed their certificates: one of them, trusted by the endpoint, signs for all of them now
    let authority = first.authority();
    let named = authority.issue_named("named", "DNS:localhost");
    let wrong = authority.issue_named("wrong", "DNS:elsewhere.test");
    first.show(&named);
    second.show(&named);
    third.show(&wrong);
    // reached by name, as Azure's clusters are; the nodes give addresses, and names beside them
    let url = format!("rediss://localhost:{}", first.port());
    let more = "kind = 'cluster'\nconnect_timeout = '500ms'\n";
    let endpoint = Endpoint::towards(&url, &authority.ca(), more);
    let mut client = endpoint.client();
    poll::until(SOON, "the nodes with the right name", || {
        SHARDS.map(|key| client.ask(&format!("SET {key} x")) == "+OK\r\n") == [true, true, false]
    });
    third.show(&named);
    wait_map(&mut client);
}
