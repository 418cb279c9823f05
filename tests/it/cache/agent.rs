//! The whole agent: its warm job reads through its own MySQL endpoint.

use super::{KV, PASSWORD, SOON, dbsize, tls_redis};
use crate::support::agent::{Agent, http_get};
use crate::support::mysql::{APP, Cluster, MON};
use crate::support::redis::Server;
use crate::support::{poll, ports};

/// A configuration with everything a warm job needs, and the address of `/metrics`.
fn config(cluster: &Cluster, redis: &Server) -> (String, String) {
    let (probe, metrics, admin) = (ports::free(), ports::free(), ports::free());
    let text = format!(
        r#"
[health]
listen = "127.0.0.1:{probe}"
metrics_listen = "127.0.0.1:{metrics}"
admin_listen = "127.0.0.1:{admin}"
admin_socket = "{{dir}}/admin.sock"
runtime_dir = "{{dir}}/run"
[mysql]
listen = ["unix:{{dir}}/mysql.sock"]
primary = "{primary}"
replicas = ["{replica}"]
user = "{user}"
password_file = "{{dir}}/app-password"
tls = {{ ca = "{ca}" }}
[mysql.clients.web]
peer_users = ["www-data"]
[mysql.monitor]
interval = "200ms"
user = "{mon}"
password_file = "{{dir}}/mon-password"
[redis]
upstream = "{url}"
password_file = "{{dir}}/redis-password"
tls = {{ ca = "{redis_ca}" }}
[[warm]]
{KV}database = "app"
required = true
every = "2s"
"#,
        primary = cluster.address(0),
        replica = cluster.address(1),
        user = APP.0,
        mon = MON.0,
        ca = cluster.ca_path().display(),
        url = redis.url(),
        redis_ca = redis.ca_path().display(),
    );
    (text, format!("127.0.0.1:{metrics}"))
}

#[test]
fn the_agent_warms_through_its_own_endpoint_from_a_replica() {
    let cluster = Cluster::builder().replicas(1).general_log().build();
    let redis = tls_redis();
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    builder.secret("app-password", APP.1);
    builder.secret("mon-password", MON.1);
    builder.secret("redis-password", PASSWORD);
    let (text, metrics) = config(&cluster, &redis);
    let mut agent = builder.start(&text);
    agent.wait_ready(SOON);
    // by the second run the endpoint knows its replica, which it does not at once
    poll::until(SOON, "two runs", || {
        let (_, _, body) = http_get(&metrics, "/metrics");
        let series = "lamplighter_redis_warm_runs_total{job=\"kv\",outcome=\"done\"} ";
        let done = body.lines().find_map(|line| line.strip_prefix(series));
        match done.map(str::parse::<u64>) {
            Some(Ok(2..)) => Ok(()),
            _ => Err(format!("{done:?}\n{}", agent.log())),
        }
    });
    assert_eq!(redis.cli(&["GET", "kv:7"]), r#"{"id":7,"v":"value-7"}"#);
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
    let pages = |node: usize| {
        let log = cluster.general_log(node);
        log.iter()
            .filter(|line| line.command == "Query" && line.text.contains("FROM app.kv"))
            .count()
    };
    let (primary, replica) = (pages(0), pages(1));
    assert!(
        primary + replica >= 22,
        "ten pages and the empty one, twice: {primary} and {replica}"
    );
    assert!(
        primary <= 11,
        "the second run read from the primary: {primary} and {replica}"
    );
    let (status, table, errors) =
        agent.command(&["check", "--online", "--config", "lamplighter.toml"]);
    assert!(status.success(), "{table}{errors}");
    assert!(table.contains("maxmemory-policy noeviction"), "{table}");
    assert!(table.contains("redis warm permissions"), "{table}");
    for text in [agent.log(), table, errors] {
        assert!(!text.contains(PASSWORD), "{text}");
    }
}
