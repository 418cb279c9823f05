//! What Azure says about maintenance, said by a real server: nobody loses a command to a connection that was announced to end.

use super::{Client, Endpoint};
use crate::cache::{SOON, tls_redis};
use crate::support::poll;
use crate::support::redis::Server;

const LISTENING: &str = "[endpoint]\nmaintenance_notices = 'always'\nconnections = 2\n";

/// As Azure writes it.
fn announce(redis: &Server, stage: &str, is_replica: &str) {
    let message = format!(
        "NotificationType|{stage}|StartTimeInUTC|2026-09-23T12:34:19|IsReplica|{is_replica}|IPAddress||SSLPort|15001|NonSSLPort|13001"
    );
    let heard = redis.cli(&["PUBLISH", "AzureRedisEvents", &message]);
    assert_eq!(heard, "1", "one connection listens");
}

fn notices(endpoint: &Endpoint, stage: &str) -> f64 {
    endpoint.metric(&format!(
        "endpoint_maintenance_notices_total{{stage=\"{stage}\"}}"
    ))
}

/// The ids of the connections over which the server has been asked anything but to subscribe.
fn connections(redis: &Server) -> Vec<String> {
    let list = redis.cli(&["CLIENT", "LIST", "TYPE", "normal"]);
    let port = format!("laddr=127.0.0.1:{}", redis.port());
    list.lines()
        .filter(|line| line.contains(&port))
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

fn wait_listener(redis: &Server) {
    poll::until(SOON, "somebody to listen", || {
        redis.cli(&["PUBSUB", "NUMSUB", "AzureRedisEvents"]) == "AzureRedisEvents\n1"
    });
}

/// A write that must not fail.
fn ask(client: &mut Client) {
    let reply = client.ask("INCR n");
    assert!(reply.starts_with(':'), "{reply}");
}

#[test]
fn connections_to_a_primary_that_will_go_are_changed_ahead_of_time_without_an_error() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, LISTENING);
    let mut client = endpoint.client();
    wait_listener(&redis);
    poll::until(SOON, "all connections", || {
        endpoint.metric("endpoint_upstream_connections") == 3.0
    });
    let before = connections(&redis);
    announce(&redis, "NodeMaintenanceScheduled", "False");
    announce(&redis, "NodeMaintenanceStarting", "True");
    poll::until(SOON, "both to be heard", || {
        notices(&endpoint, "scheduled") + notices(&endpoint, "starting") == 2.0
    });
    assert_eq!(endpoint.metric("endpoint_renewals_total"), 0.0);
    announce(&redis, "NodeMaintenanceStarting", "False");
    // asked all the time, while connections change
    poll::until(SOON, "three new connections", || {
        ask(&mut client);
        endpoint.metric("endpoint_renewals_total") == 3.0
    });
    poll::until(SOON, "the old ones to be gone", || {
        ask(&mut client);
        let now = connections(&redis);
        // the control connection is no client's, and stays
        let kept = before.iter().filter(|old| now.contains(old)).count();
        if kept == 1 {
            Ok(())
        } else {
            Err(format!("{before:?} and {now:?}"))
        }
    });
    assert_eq!(endpoint.metric("endpoint_upstream_connections"), 3.0);
    announce(&redis, "NodeMaintenanceFailoverComplete", "False");
    poll::until(SOON, "new connections after the failover", || {
        ask(&mut client);
        endpoint.metric("endpoint_renewals_total") == 6.0
    });
    announce(&redis, "NodeMaintenanceEnded", "False");
    poll::until(SOON, "the end to be heard", || {
        notices(&endpoint, "ended") == 1.0
    });
    for reason in ["lost", "unreachable", "overloaded"] {
        let failed = format!("endpoint_failed_total{{reason=\"{reason}\"}}");
        assert_eq!(endpoint.metric(&failed), 0.0, "{reason}");
    }
}

#[test]
fn the_listener_comes_back_with_its_server() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, LISTENING);
    wait_listener(&redis);
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    wait_listener(&redis);
    announce(&redis, "NodeMaintenanceOfTomorrow", "False");
    poll::until(SOON, "it to be heard", || {
        notices(&endpoint, "other") == 1.0
    });
}
