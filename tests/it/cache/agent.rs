//! The whole agent: its warm job reads through its own MySQL endpoint.

use serde_json::Value;

use super::{Instance, KV, PASSWORD, SLOW_KV, SOON, dbsize, shared_mysql, tls_redis};
use crate::support::agent::{Agent, http_get};
use crate::support::mysql::{self, APP, Cluster, MON};
use crate::support::redis::Server;
use crate::support::{poll, ports};

/// The configuration that warms from a replica, and the address of `/metrics`.
fn config(cluster: &Cluster, redis: &Server) -> (String, String) {
    let (text, metrics) = without_jobs(cluster, redis);
    let replica = format!("replicas = [\"{}\"]\n[mysql.clients", cluster.address(1));
    let text = text.replacen("[mysql.clients", &replica, 1);
    let job = format!("[[warm]]\n{KV}database = \"app\"\nrequired = true\nevery = \"2s\"\n");
    (text + &job, metrics)
}

/// The table `[health]` on free ports, and the address of `/metrics`.
pub(crate) fn health() -> (String, String) {
    let (probe, metrics, admin) = (ports::free(), ports::free(), ports::free());
    let text = format!(
        r#"
[health]
listen = "127.0.0.1:{probe}"
metrics_listen = "127.0.0.1:{metrics}"
admin_listen = "127.0.0.1:{admin}"
admin_socket = "{{dir}}/admin.sock"
runtime_dir = "{{dir}}/run"
"#
    );
    (text, format!("127.0.0.1:{metrics}"))
}

/// A configuration with everything that warm jobs need, and the address of `/metrics`.
pub(crate) fn without_jobs(cluster: &Cluster, redis: &Server) -> (String, String) {
    let (health, metrics) = health();
    let text = format!(
        r#"{health}
[mysql]
listen = ["unix:{{dir}}/mysql.sock"]
primary = "{primary}"
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
"#,
        primary = cluster.address(0),
        user = APP.0,
        mon = MON.0,
        ca = cluster.ca_path().display(),
        url = redis.url(),
        redis_ca = redis.ca_path().display(),
    );
    (text, metrics)
}

pub(crate) fn agent(text: &str) -> Agent {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    builder.secret("app-password", APP.1);
    builder.secret("mon-password", MON.1);
    builder.secret("redis-password", PASSWORD);
    let mut agent = builder.start(text);
    agent.wait_ready(SOON);
    agent
}

/// An agent that has only the endpoint, at `{dir}/redis.sock`.
pub(crate) fn with_endpoint(redis: &Server) -> Agent {
    let (health, _) = health();
    let (url, ca) = (redis.url(), redis.ca_path());
    agent(&format!(
        "{health}[redis]\nlisten = [\"unix:{{dir}}/redis.sock\"]\nupstream = \"{url}\"\n\
        password_file = \"{{dir}}/redis-password\"\ntls = {{ ca = \"{}\" }}\n",
        ca.display()
    ))
}

#[test]
fn the_agent_warms_through_its_own_endpoint_from_a_replica() {
    let cluster = Cluster::builder().replicas(1).general_log().build();
    let redis = tls_redis();
    let (text, metrics) = config(&cluster, &redis);
    let agent = agent(&text);
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

#[test]
fn the_job_of_an_agent_that_was_killed_is_continued_by_another() {
    let redis = tls_redis();
    let (text, _) = without_jobs(mysql::shared(), &redis);
    let job = SLOW_KV.replace("'2s'", "'4s'");
    let mut leader = agent(&format!("{text}[[warm]]\n{job}"));
    poll::until(SOON, "a note of how far it came", || {
        dbsize(&redis, "lmp:at:*") == 1
    });
    leader.kill();
    assert!(dbsize(&redis, "kv:*") < 1000);
    let other = Instance::start(&redis, shared_mysql(""), "", &[&job]);
    other.wait_done("kv");
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
    let rows = other.metric("warm_rows_total{job=\"kv\"}");
    assert!(rows < 1000.0, "{rows} rows were read again");
}

/// The most memory that the process ever had, in KiB.
pub(crate) fn peak_kib(agent: &mut Agent) -> u64 {
    let pid = agent.process().pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

#[test]
fn by_hand_a_job_is_tried_run_and_watched_in_bounded_memory_and_time() {
    let redis = tls_redis();
    let (text, _) = without_jobs(mysql::shared(), &redis);
    let mut agent = agent(&format!(
        r#"{text}
[[warm]]
name = "big"
at_boot = false
query = "SELECT id, REPEAT('x', 100000) AS v FROM app.kv WHERE id > ? AND id <= 600 ORDER BY id LIMIT 50"
key = "big:{{id}}"
value = "column"
column = "v"
[[warm]]
name = "stuck"
at_boot = false
after_flush = false
page_timeout = "500ms"
query = "WITH stuck AS (SELECT SLEEP(60) AS id) SELECT id FROM stuck WHERE id > ? ORDER BY id LIMIT 1"
key = "stuck:{{id}}"
"#
    ));
    let run = |agent: &Agent, args: &[&str]| {
        let all = [&["warm"][..], args, &["--config", "lamplighter.toml"]].concat();
        let (status, out, errors) = agent.command(&all);
        (status.code(), out, errors)
    };
    let (code, out, errors) = run(&agent, &["run", "big", "--dry-run", "--json"]);
    assert_eq!(code, Some(0), "{out}{errors}");
    let dry: Value = serde_json::from_str(&out).unwrap();
    let counts = ["rows", "keys", "bytes"].map(|name| dry[name].as_u64().unwrap());
    assert_eq!(counts, [600, 600, 600 * 100_000 + 9 * 5 + 90 * 6 + 501 * 7]);
    assert_eq!(dbsize(&redis, "big:*"), 0, "a dry run leaves nothing");

    let before = peak_kib(&mut agent);
    let (code, out, errors) = run(&agent, &["run", "big"]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("600 rows, 600 keys written"), "{out}");
    assert_eq!(dbsize(&redis, "big:*"), 600);
    let grown = peak_kib(&mut agent) - before;
    assert!(grown < 32 * 1024, "{grown} KiB for 60 MB of values");

    let (code, out, errors) = run(&agent, &["run", "stuck"]);
    assert_eq!(code, Some(1), "{out}");
    assert!(errors.contains("a page took longer than 500ms"), "{errors}");
    let shared = mysql::shared();
    let running = "SELECT COUNT(*) AS n FROM information_schema.processlist
        WHERE info LIKE 'WITH stuck AS%'";
    poll::until(SOON, "the statement to be killed on the server", || {
        shared.sql(shared.primary(), running) == [["0"]]
    });
    let (code, _, errors) = run(&agent, &["run", "nobody"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("no [[warm]] job"), "{errors}");
    let (code, out, _) = run(&agent, &["status"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("big (sql) after a flush"), "{out}");
    assert!(out.contains("stuck (sql) by hand"), "{out}");
}
