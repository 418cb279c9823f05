//! Servers with a long history: more transactions with gaps between them than can be told in a few words, from hundreds of servers.

use super::{Reading, cluster, endpoint, open, routed, waits, write_and_read};
use crate::support::mysql::Cluster;

/// Servers that wrote before, and the gaps that each left.
const SERVERS: usize = 400;
const GAPS: usize = 60;

/// What the agent may grow by, in KiB: far less than one copy of the history for each read.
const GROWTH_KIB: u64 = 8 * 1024;

/// Gives every server a history of 24,000 intervals, about 120 KB as text.
fn age(cluster: &Cluster) {
    let intervals: Vec<String> = (1..=GAPS).map(|at| (at * 2).to_string()).collect();
    let intervals = intervals.join(":");
    let server = |id: usize| format!("084925bc-e703-11f1-8a4d-{id:012x}:{intervals}");
    let history: Vec<String> = (1..=SERVERS).map(server).collect();
    let replicas = || cluster.nodes().skip(1);
    for node in replicas() {
        cluster.sql(node, "STOP REPLICA");
    }
    let sql = format!("SET GLOBAL gtid_purged = '+{}'", history.join(","));
    for node in cluster.nodes() {
        cluster.sql(node, &sql);
    }
    for node in replicas() {
        cluster.sql(node, "START REPLICA");
    }
    cluster.wait_replicas();
}

#[test]
fn with_a_long_history_of_transactions_a_replica_is_asked_for_each_write_and_nothing_grows() {
    let cluster = cluster();
    // nothing but names is left to go by
    cluster.sql(0, "DROP TABLE lamplighter.heartbeat");
    age(&cluster);
    let mut endpoint = endpoint(&cluster, "read_wait = \"2s\"");
    let mut writer = open(&endpoint);
    write_and_read(&mut writer, Reading::Own, 1, 20);
    let before = endpoint.agent.rss_kib();
    write_and_read(&mut writer, Reading::Own, 1, 200);
    let grown = endpoint.agent.rss_kib().saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{grown} KiB");
    assert!(waits(&endpoint, "caught_up") > 0.5);
    assert!(routed(&endpoint, "replica", "read") > 0.5);
}
