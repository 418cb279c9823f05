//! Several instances and one Redis: one runs a job, the others are satisfied, and nobody waits for the dead.

use std::time::Duration;

use super::{Instance, KV, PASSWORD, SLOW_KV, SOON, dbsize, shared_mysql, tls_redis};
use crate::support::faults::Proxy;
use crate::support::poll;
use crate::support::redis::Server;
use crate::support::scratch::Scratch;

const ROWS: &str = "warm_rows_total{job=\"kv\"}";
const SUCCESS: &str = "warm_last_success_timestamp_seconds{job=\"kv\"}";

/// How many runs ended well, whoever ran.
fn runs_done(fleet: &[Instance]) -> f64 {
    fleet.iter().map(|instance| instance.runs("done")).sum()
}

/// So many instances start together: the job runs once, and all learn that it is done.
fn run_once(count: usize) {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let fleet: Vec<_> = (0..count)
        .map(|_| Instance::start(&redis, mysql.clone(), "", &[SLOW_KV]))
        .collect();
    for instance in &fleet {
        instance.wait_metric(SUCCESS, 1.0);
    }
    let rows: f64 = fleet.iter().map(|instance| instance.metric(ROWS)).sum();
    assert_eq!(rows, 1000.0);
    assert_eq!(runs_done(&fleet), 1.0);
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
}

#[test]
fn of_two_instances_that_start_together_one_runs_the_job() {
    run_once(2);
}

#[test]
fn an_interval_is_the_fleets_and_not_each_instances() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let job = format!("{KV}every = '2s'\n");
    let fleet: Vec<_> = (0..3)
        .map(|_| Instance::start(&redis, mysql.clone(), "", &[&job]))
        .collect();
    let started = std::time::Instant::now();
    poll::until(SOON, "a third run", || runs_done(&fleet) == 3.0);
    assert!(
        started.elapsed() > Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    drop(fleet);
}

#[test]
fn an_instance_that_leaves_in_mid_run_hands_the_job_over_at_once() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let job = format!("{SLOW_KV}lease_ttl = '60s'\n").replacen("lease_ttl = '2s'\n", "", 1);
    let mut first = Instance::start(&redis, mysql.clone(), "", &[&job]);
    first.wait_midway();
    let second = Instance::start(&redis, mysql, "", &[&job]);
    let stopped = first.stop();
    assert!(stopped < Duration::from_secs(2), "{stopped:?}");
    assert_eq!(first.runs("handed_over"), 1.0);
    second.wait_done("kv");
}

#[test]
fn the_lease_of_a_dead_instance_ends_by_itself() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    redis.cli(&["SET", "lmp:lease:{kv}", "somebody-dead", "PX", "3000"]);
    let instance = Instance::start(&redis, mysql, "", &[KV]);
    poll::throughout(
        Duration::from_secs(1),
        "the other's lease is respected",
        || instance.metric(ROWS) == 0.0,
    );
    instance.wait_done("kv");
}

#[test]
fn a_run_that_was_superseded_writes_nothing_more() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let instance = Instance::start(&redis, mysql, "", &[SLOW_KV]);
    instance.wait_midway();
    // what another instance does that takes over after this one's lease has ended
    redis.cli(&[
        "EVAL",
        "redis.call('INCR', KEYS[1]) redis.call('SET', KEYS[2], 'the other', 'PX', 3000)
        for _, key in ipairs(redis.call('KEYS', 'kv:*')) do redis.call('DEL', key) end",
        "2",
        "lmp:gen:{kv}",
        "lmp:lease:{kv}",
    ]);
    poll::until(SOON, "the run to stop", || {
        instance.runs("handed_over") == 1.0
    });
    assert_eq!(dbsize(&redis, "kv:*"), 0, "a batch went past the fence");
    assert_eq!(
        redis.cli(&["GET", "lmp:lease:{kv}"]),
        "the other",
        "the other's lease is not given back"
    );
    instance.wait_done("kv");
}

#[test]
fn a_run_of_before_a_failover_that_lost_its_generation_writes_nothing_more() {
    let (old, mysql) = (tls_redis(), shared_mysql(""));
    // a replica that had nothing yet when it was promoted
    let builder = Server::builder().tls().password(PASSWORD);
    let new = builder.authority(old.authority()).start();
    let name = Proxy::start(&old.address());
    let (url, ca) = (format!("rediss://{}", name.address()), old.ca_path());
    let job = SLOW_KV.replace("'2s'", "'60s'");
    let secrets = Scratch::new("warm");
    secrets.write_secret("password", PASSWORD);
    let first = Instance::towards(secrets, &url, &ca, mysql.clone(), "", &[&job]);
    first.wait_midway();
    let second = Instance::start(&new, mysql, "", &[&job]);
    second.wait_midway();
    name.retarget(&new.address());
    name.cut();
    poll::until(SOON, "the first to stop", || {
        first.runs("handed_over") == 1.0
    });
    second.wait_done("kv");
    assert_eq!(second.metric("warm_keys_total{job=\"kv\"}"), 1000.0);
    assert_eq!(first.runs("done"), 0.0);
}

#[test]
fn another_definition_of_a_job_is_not_satisfied_by_the_old_result() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let old = Instance::start(&redis, mysql.clone(), "", &[KV]);
    old.wait_done("kv");
    let new = Instance::start(&redis, mysql, "", &[&KV.replace("kv:{id}", "v2:kv:{id}")]);
    new.wait_done("kv");
    assert_eq!(
        (dbsize(&redis, "kv:*"), dbsize(&redis, "v2:kv:*")),
        (1000, 1000)
    );
}

#[test]
fn behind_a_proxy_of_shards_the_generation_is_read_beside_each_batch() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let instance = Instance::start(&redis, mysql, "kind = 'enterprise'\n", &[SLOW_KV]);
    instance.wait_midway();
    redis.cli(&["INCR", "lmp:gen:{kv}"]);
    poll::until(SOON, "the run to stop", || {
        instance.runs("handed_over") == 1.0
    });
    instance.wait_done("kv");
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
}

#[test]
fn a_required_job_opens_its_gate_when_it_is_done_and_an_optional_one_has_none() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let required = format!("{SLOW_KV}required = true\n");
    let optional = KV.replace("'kv'", "'optional'");
    let first = Instance::start(&redis, mysql.clone(), "", &[&required, &optional]);
    first.wait_midway();
    assert!(!first.gate_is_open("kv"));
    assert_eq!(first.board.snapshot().gates.len(), 1);
    first.wait_done("kv");
    poll::until(SOON, "the gate", || first.gate_is_open("kv"));
    let second = Instance::start(&redis, mysql, "", &[&required]);
    poll::until(SOON, "a gate on a warm cache", || second.gate_is_open("kv"));
    assert_eq!(second.metric(ROWS), 0.0);
}

#[test]
fn a_key_that_was_changed_since_its_row_was_read_is_left_as_it_is() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let rule = "[[prefix]]\nprefix = 'kv:'\nholdoff = '30s'\n";
    // what the endpoint leaves behind when the application deletes or writes these keys
    redis.cli(&["SET", "lmp:h:{kv:7}", "1", "PX", "30000"]);
    redis.cli(&["SET", "lmp:h:{kv:8}", "1", "PX", "30000"]);
    redis.cli(&["SET", "kv:8", "newer"]);
    let instance = Instance::start(&redis, mysql.clone(), rule, &[KV]);
    instance.wait_done("kv");
    assert_eq!(
        redis.cli(&["EXISTS", "kv:7"]),
        "0",
        "deleted, and not written back"
    );
    assert_eq!(redis.cli(&["GET", "kv:8"]), "newer");
    assert_eq!(dbsize(&redis, "kv:*"), 999);
    // rows that waited longer than the hold-off are left out: nobody knows what changed meanwhile
    redis.cli(&["FLUSHALL"]);
    let short = rule.replace("30s", "1s");
    let late = Instance::start(&redis, mysql, &short, &[KV]);
    late.wait_done("kv");
    assert_eq!(
        late.metric("warm_skipped_rows_total{job=\"kv\",reason=\"too_old\"}"),
        1000.0
    );
    assert_eq!(dbsize(&redis, "kv:*"), 0);
}

#[test]
fn fifty_instances_that_start_together_run_a_job_once() {
    run_once(50);
}
