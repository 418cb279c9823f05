//! Old values are not written over newer ones, and whoever has too much to do is spared.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lamplighter_core::load::{LoadSource, MysqlLoad};
use lamplighter_redis::Links;

use super::{ACCOUNT, Instance, PASSWORD, SLOW_KV, SOON, dbsize, shared_mysql, tls_redis};
use crate::support::faults::{Mode, Proxy};
use crate::support::mysql::Cluster;
use crate::support::redis::Server;
use crate::support::scratch::Scratch;
use crate::support::{php, poll};

/// An instance with an endpoint of its own, whose MySQL has so much to do.
fn start(
    redis: &Server,
    socket: std::path::PathBuf,
    load: LoadSource,
    more: &str,
    job: &str,
) -> (Instance, Scratch) {
    let folder = Scratch::new("strain");
    let secrets = Scratch::new("warm");
    secrets.write_secret("password", PASSWORD);
    let text = format!(
        "upstream = '{}'\npassword_file = 'password'\ntls.ca = '{}'\nlisten = ['unix:{}']\n{more}",
        redis.url(),
        redis.ca_path().display(),
        folder.join("r.sock").display()
    );
    let links = Links {
        mysql_socket: Some(socket),
        mysql_load: Some(load),
        ..Links::default()
    };
    (Instance::from_text(secrets, &text, &[job], links), folder)
}

fn idle() -> LoadSource {
    LoadSource::new(MysqlLoad::default)
}

/// What PHP does after a change: it deletes the key, through the endpoint.
fn delete(folder: &Scratch, key: &str) {
    let socket = folder.join("r.sock").display().to_string();
    let code =
        "$r = new Redis(); $r->connect(getenv('SOCKET')); $r->del(getenv('KEY')); echo 'done';";
    let env = [("SOCKET", socket.as_str()), ("KEY", key)];
    assert_eq!(php::eval(code, &env).expect_ok(), "done");
}

const HOLDOFF: &str = "[[prefix]]\nprefix = 'st:'\nholdoff = '60s'\n";

#[test]
fn what_changes_while_its_row_is_under_way_is_not_brought_back() {
    let redis = tls_redis();
    let mysql = shared_mysql(
        "DROP TABLE IF EXISTS stale; CREATE TABLE stale (id INT PRIMARY KEY, v VARCHAR(9));
         INSERT INTO stale WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 200)
         SELECT i, 'old' FROM s",
    );
    // one page of two seconds, written at its end: all rows are read before anything is written
    let job = "name = 'kv'\nkey = 'st:{id}'\nvalue = 'column'\ncolumn = 'v'\nbatch_keys = 10000\n\
        query = 'SELECT id, v FROM app.stale WHERE id > ? AND SLEEP(0.01) = 0 ORDER BY id LIMIT 1000'\n";
    let (instance, folder) = start(&redis, mysql, idle(), HOLDOFF, job);
    let cluster = crate::support::mysql::shared();
    let under_way = "SELECT COUNT(*) AS n FROM information_schema.processlist
        WHERE info LIKE '%FROM app.stale WHERE id > %SLEEP%' AND command = 'Query' AND info NOT LIKE '%processlist%'";
    poll::until(SOON, "the page to be under way", || {
        cluster.sql(cluster.primary(), under_way) == [["1"]]
    });
    cluster.sql(
        cluster.primary(),
        "UPDATE app.stale SET v = 'new' WHERE id = 150",
    );
    assert_eq!(
        redis.cli(&["EXISTS", "st:150"]),
        "0",
        "a key that is not there yet"
    );
    delete(&folder, "st:150");
    instance.wait_done("kv");
    assert_eq!(
        redis.cli(&["EXISTS", "st:150"]),
        "0",
        "the old value was written"
    );
    assert_eq!(redis.cli(&["GET", "st:149"]), "old");
    assert_eq!(instance.metric("warm_kept_keys_total{job=\"kv\"}"), 1.0);
    assert_eq!(instance.metric("warm_keys_total{job=\"kv\"}"), 199.0);
}

#[test]
fn a_replica_that_is_behind_brings_nothing_back_either() {
    let cluster = Cluster::builder().replicas(1).schema(ACCOUNT).build();
    cluster.wait_replicas();
    cluster.stop_sql(1);
    cluster.sql(0, "UPDATE app.kv SET v = 'new' WHERE id = 7");
    let redis = tls_redis();
    let job = "name = 'kv'\nkey = 'kv:{id}'\nat_boot = false\nevery = '3s'\n\
               query = 'SELECT id, v FROM app.kv WHERE id > ? ORDER BY id LIMIT 100'\n";
    let rule = "[[prefix]]\nprefix = 'kv:7'\nholdoff = '1s'\n";
    // as the agent knows its replicas: an answer may be ten seconds old, longer than the tombstone lasts
    let load = LoadSource::new(|| MysqlLoad {
        behind_max: Duration::from_secs(10),
        ..MysqlLoad::default()
    });
    let (instance, folder) = start(&redis, cluster.socket(1), load, rule, job);
    delete(&folder, "kv:7");
    poll::until(SOON, "the tombstone to end", || {
        redis.cli(&["EXISTS", "lmp:h:{kv:7}"]) == "0"
    });
    instance.wait_done("kv");
    assert_eq!(
        redis.cli(&["EXISTS", "kv:7"]),
        "0",
        "the replica's old value was written"
    );
    assert_eq!(
        dbsize(&redis, "kv:*"),
        1000 - 11 - 100,
        "no key under the rule"
    );
    let left_out = "warm_skipped_rows_total{job=\"kv\",reason=\"too_old\"}";
    assert!(instance.metric(left_out) >= 111.0);
}

fn slowdowns(instance: &Instance, sign: &str) -> f64 {
    instance.metric(&format!("warm_slowdowns_total{{sign=\"{sign}\"}}"))
}

#[test]
fn the_budget_halves_when_the_application_waits_or_a_replica_falls_behind() {
    let redis = tls_redis();
    let reads = Arc::new(AtomicU64::new(0));
    let load = LoadSource::new(move || {
        // each statement waits for 100 ms
        let statements = reads.fetch_add(1, Ordering::Relaxed);
        MysqlLoad {
            waited: Duration::from_millis(100 * statements),
            statements,
            ..MysqlLoad::default()
        }
    });
    let (instance, _folder) = start(&redis, shared_mysql(""), load, "", SLOW_KV);
    instance.wait_metric("warm_slowdowns_total{sign=\"pool_wait\"}", 1.0);
    assert!(instance.metric("warm_budget_rows_per_second") < 50_000.0);
    drop(instance);
    redis.cli(&["FLUSHALL"]);
    let load = LoadSource::new(|| MysqlLoad {
        lag: Some(Duration::from_secs(6)),
        lag_max: Duration::from_secs(10),
        ..MysqlLoad::default()
    });
    let (instance, _folder) = start(&redis, shared_mysql(""), load, "", SLOW_KV);
    instance.wait_metric("warm_slowdowns_total{sign=\"replica_lag\"}", 1.0);
    assert_eq!(slowdowns(&instance, "pool_wait"), 0.0);
}

#[test]
fn the_budget_halves_when_redis_throws_keys_away_and_is_kept() {
    let redis = Server::builder()
        .tls()
        .password(PASSWORD)
        .config("maxmemory 6mb\nmaxmemory-policy allkeys-lru")
        .start();
    let job = "name = 'kv'\nkey = 'kv:{id}'\nbatch_keys = 20\n\
        query = 'SELECT id, REPEAT(v, 4000) AS v FROM app.kv WHERE id > ? AND SLEEP(0.004) = 0 ORDER BY id LIMIT 20'\n";
    let (instance, _folder) = start(&redis, shared_mysql(""), idle(), "", job);
    instance.wait_metric("warm_slowdowns_total{sign=\"evictions\"}", 1.0);
    drop(instance);
    redis.cli(&["FLUSHALL"]);
    // 1,000 rows at 400 a second
    let slow = "warm_rows_per_second = 400\n";
    let started = std::time::Instant::now();
    let (instance, _folder) = start(&redis, shared_mysql(""), idle(), slow, super::KV);
    instance.wait_done("kv");
    assert!(
        started.elapsed() > Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn the_budget_halves_when_mysql_or_redis_answers_later_than_it_did() {
    let redis = tls_redis();
    let proxy = Proxy::start(&redis.address());
    let secrets = Scratch::new("warm");
    secrets.write_secret("password", PASSWORD);
    let url = format!("rediss://{}", proxy.address());
    let (ca, mysql) = (redis.ca_path(), shared_mysql(""));
    let instance = Instance::towards(secrets, &url, &ca, mysql.clone(), "", &[SLOW_KV]);
    instance.wait_midway();
    proxy.set(Mode::Delay(Duration::from_millis(100)));
    instance.wait_metric("warm_slowdowns_total{sign=\"redis_latency\"}", 1.0);
    drop(instance);
    redis.cli(&["FLUSHALL"]);
    // the second half of the table is read more slowly
    let job = "name = 'kv'\nkey = 'kv:{id}'\n\
        query = 'SELECT id, v FROM app.kv WHERE id > ? AND (id < 500 OR SLEEP(0.005) = 0) ORDER BY id LIMIT 50'\n";
    let instance = Instance::start(&redis, mysql, "", &[job]);
    instance.wait_metric("warm_slowdowns_total{sign=\"mysql_latency\"}", 1.0);
}
