//! Servers that are away, refuse, fall silent or forget: what the board says, and that a job gets done in the end.

use std::time::Duration;

use lamplighter_core::config::{OnlineCheck, SecretDirs};
use lamplighter_core::health::{Condition, Reach};
use lamplighter_core::identity::{Resource, TokenPublisher};
use lamplighter_core::secret::Secret;

use super::{Instance, KV, PASSWORD, SLOW_KV, SOON, dbsize, own_mysql, shared_mysql, tls_redis};
use crate::support::poll;
use crate::support::redis::Server;
use crate::support::scratch::Scratch;

#[test]
fn redis_away_at_start_is_waited_for() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    redis.stop();
    let job = format!("{KV}required = true\n");
    let instance = Instance::start(&redis, mysql, "", &[&job]);
    instance.wait_reason("redis", "cannot connect");
    assert_eq!(
        instance.board.snapshot().reports["redis"].reach,
        Reach::Shared
    );
    assert_eq!(instance.metric("upstream_up"), 0.0);
    assert!(!instance.gate_is_open("kv"));
    redis.start();
    instance.wait_done("kv");
    assert_eq!(instance.health("redis").0, Condition::Ok);
    assert_eq!(instance.metric("upstream_up"), 1.0);
    poll::until(SOON, "the gate", || instance.gate_is_open("kv"));
}

#[test]
fn a_gate_opens_at_its_deadline_with_a_cold_cache() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    redis.stop();
    let job = format!("{KV}required = true\ngate_deadline = '1s'\n");
    let instance = Instance::start(&redis, mysql, "", &[&job]);
    instance.wait_reason("redis", "cannot connect");
    assert!(!instance.gate_is_open("kv"));
    poll::until(SOON, "the gate", || instance.gate_is_open("kv"));
    assert_eq!(instance.metric("warm_gate_timeouts_total{job=\"kv\"}"), 1.0);
}

#[test]
fn a_wrong_password_is_said_and_a_right_one_needs_no_restart() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let secrets = Scratch::new("warm");
    secrets.write_secret("password", "wrong-one");
    let instance = Instance::with_secrets(secrets, &redis, mysql, "", &[KV]);
    instance.wait_reason("redis", "refused the user or password");
    let (_, reason) = instance.health("redis");
    assert!(!reason.contains("wrong-one"), "{reason}");
    assert!(instance.metric("upstream_connect_errors_total{reason=\"auth\"}") >= 1.0);
    instance.secrets.write_secret("password", PASSWORD);
    instance.wait_done("kv");
}

#[test]
fn an_acl_user_with_the_rights_that_check_names_is_enough() {
    let rights = "~kv:* ~lmp:* +set +get +del +exists +hset +pexpire +pttl +time +ping +watch +multi +exec +eval +evalsha +script|load";
    let redis = Server::builder()
        .tls()
        .config(&format!("user warm on >{PASSWORD} {rights}"))
        .start();
    let instance = Instance::start(&redis, shared_mysql(""), "user = 'warm'\n", &[KV]);
    instance.wait_done("kv");
    // a key it may not write
    let other = KV.replace("kv:{id}", "other:{id}");
    let refused = Instance::start(&redis, shared_mysql(""), "user = 'warm'\n", &[&other]);
    refused.wait_reason("redis:warm:kv", "NOPERM");
    assert_eq!(refused.errors("redis_refused"), 1.0);
    assert_eq!(refused.metric("warm_keys_total{job=\"kv\"}"), 0.0);
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let stranger = Server::builder().tls().password(PASSWORD).start();
    stranger.use_certificate(&redis.authority().issue("elsewhere"));
    stranger.stop();
    stranger.start();
    let instance = Instance::start(&stranger, mysql, "", &[KV]);
    instance.wait_reason("redis", "TLS handshake");
    assert!(instance.metric("upstream_connect_errors_total{reason=\"tls\"}") >= 1.0);
}

#[test]
fn connections_cut_in_mid_run_cost_nothing_but_time() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let instance = Instance::start(&redis, mysql, "", &[SLOW_KV]);
    for _ in 0..3 {
        let before = instance.metric("warm_keys_total{job=\"kv\"}");
        instance.wait_metric("warm_keys_total{job=\"kv\"}", before + 100.0);
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
    }
    instance.wait_done("kv");
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
    assert_eq!(
        instance.metric("warm_keys_total{job=\"kv\"}"),
        1000.0,
        "each key is counted once"
    );
    let ended = instance.runs("failed") + instance.runs("handed_over");
    assert_eq!(ended, 0.0, "the run went on");
    assert!(instance.errors("redis") >= 1.0);
    assert!(instance.metric("upstream_connects_total") >= 4.0);
}

#[test]
fn a_redis_that_comes_back_empty_in_mid_run_is_warmed_from_the_start() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let instance = Instance::start(&redis, mysql, "", &[SLOW_KV]);
    instance.wait_midway();
    redis.kill();
    instance.wait_reason("redis", "");
    redis.start();
    instance.wait_done("kv");
    assert_eq!(
        dbsize(&redis, "kv:*"),
        1000,
        "what the first run wrote is gone and must be there again"
    );
    assert_eq!(instance.health("redis").0, Condition::Ok);
}

#[test]
fn a_redis_that_falls_silent_is_noticed_and_tried_again() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let limits = "command_timeout = '300ms'\nwrite_timeout = '300ms'\nconnect_timeout = '500ms'\nping_interval = '1s'\n";
    let instance = Instance::start(&redis, mysql, limits, &[SLOW_KV]);
    instance.wait_midway();
    redis.freeze();
    instance.wait_reason("redis", "");
    assert_eq!(instance.metric("upstream_up"), 0.0);
    redis.thaw();
    instance.wait_done("kv");
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
}

#[test]
fn a_full_redis_stops_the_run_and_is_left_alone_for_a_while() {
    let redis = Server::builder()
        .tls()
        .password(PASSWORD)
        .config("maxmemory 4mb\nmaxmemory-policy noeviction")
        .start();
    let big = "name = 'kv'\nkey = 'kv:{id}'\n\
        query = 'SELECT id, REPEAT(v, 1000) AS v FROM app.kv WHERE id > ? ORDER BY id LIMIT 100'\n";
    let instance = Instance::start(&redis, shared_mysql(""), "", &[big]);
    instance.wait_reason("redis:warm:kv", "keys: OOM");
    assert_eq!(instance.errors("redis_oom"), 1.0);
    poll::throughout(Duration::from_secs(3), "one try", || {
        instance.runs("failed") == 1.0
    });
    assert_eq!(
        redis.cli(&["EXISTS", "lmp:lease:{kv}"]),
        "0",
        "the lease is given back"
    );
}

#[test]
fn a_primary_that_was_demoted_is_tried_again_until_it_is_one_again() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let instance = Instance::start(&redis, mysql, "", &[SLOW_KV]);
    instance.wait_midway();
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    poll::until(SOON, "a refusal", || {
        instance.errors("redis_refused") >= 1.0
    });
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    instance.wait_done("kv");
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
}

#[test]
fn mysql_away_at_start_is_waited_for() {
    let (redis, mysql) = (tls_redis(), own_mysql());
    mysql.stop(0);
    let instance = Instance::start(&redis, mysql.socket(0), "", &[KV]);
    poll::until(SOON, "an attempt", || {
        instance.errors("mysql_connect") >= 1.0
    });
    mysql.start(0);
    instance.wait_done("kv");
}

#[test]
fn a_mysql_connection_cut_in_mid_page_goes_on_from_its_last_row() {
    let (redis, mysql) = (tls_redis(), own_mysql());
    let instance = Instance::start(&redis, mysql.socket(0), "", &[SLOW_KV]);
    instance.wait_midway();
    mysql.kill(0);
    mysql.start(0);
    instance.wait_done("kv");
    assert_eq!(
        instance.metric("warm_rows_total{job=\"kv\"}"),
        1000.0,
        "no row is read twice"
    );
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
    assert!(instance.errors("mysql_query") + instance.errors("mysql_connect") >= 1.0);
    poll::until(SOON, "the run's connection to be closed", || {
        mysql
            .connections(0)
            .iter()
            .all(|connection| connection.user != "lamplighter")
    });
}

#[test]
fn a_page_that_takes_too_long_is_given_up_here_and_at_the_server() {
    let (redis, mysql) = (tls_redis(), own_mysql());
    // a sort that cannot be streamed
    let slow = "name = 'kv'\nkey = 'kv:{id}'\npage_timeout = '300ms'\n\
        query = 'SELECT a.id, COUNT(*) AS n FROM app.kv a JOIN app.kv b JOIN app.kv c WHERE a.id > ? AND a.v < b.v AND b.v < c.v GROUP BY a.id ORDER BY id LIMIT 100'\n";
    let instance = Instance::start(&redis, mysql.socket(0), "", &[slow]);
    instance.wait_reason("redis:warm:kv", "longer than 300ms");
    assert!(instance.errors("mysql_timeout") >= 1.0);
    drop(instance);
    poll::until(Duration::from_secs(2), "no query to be left behind", || {
        let left = mysql.connections(0);
        if left
            .iter()
            .all(|connection| connection.user != "lamplighter")
        {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    });
}

#[test]
fn a_job_that_does_not_fit_its_result_says_how_to_mend_it() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    for (query, key, more, expected) in [
        (
            "SELECT id, v FROM app.kv WHERE id > ? ORDER BY id LIMIT 5",
            "kv:{ID}",
            "",
            "does not select",
        ),
        (
            "SELECT id, v FROM app.kv WHERE id >= ? ORDER BY id LIMIT 5",
            "kv:{id}",
            "",
            "did not grow",
        ),
        (
            "SELECT id, v FROM app.kv WHERE id <> ? ORDER BY v LIMIT 5",
            "kv:{id}",
            "keyset = 'v'",
            "did not grow",
        ),
        (
            "SELECT v FROM app.kv WHERE v > ? ORDER BY v LIMIT 5",
            "kv:{v}",
            "start = 0",
            "start is a number",
        ),
        (
            "SELECT id, CAST(v AS BINARY) AS v FROM app.kv WHERE id > ? ORDER BY id LIMIT 5",
            "kv:{id}",
            "",
            "HEX(v)",
        ),
        (
            "SELECT id, v FROM app.kv WHERE id > ? ORDER BY id LIMIT 5",
            "kv:{id}",
            "rows_max = 7",
            "raise rows_max",
        ),
        (
            "SELECT id, v FROM app.absent WHERE id > ? ORDER BY id LIMIT 5",
            "kv:{id}",
            "",
            "app.absent",
        ),
    ] {
        let job = format!("name = 'kv'\nkey = '{key}'\nquery = '{query}'\n{more}\n");
        let instance = Instance::start(&redis, mysql.clone(), "", &[&job]);
        instance.wait_reason("redis:warm:kv", expected);
        assert_eq!(instance.runs("done"), 0.0, "{query}");
    }
}

#[test]
fn check_online_logs_in_with_the_machines_identity() {
    let redis = Server::builder()
        .tls()
        .config("user oid on >right-one ~* &* +@all\nuser default on nopass ~* &* +@all")
        .start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let keys = |more: &str| {
        let (url, ca) = (redis.url(), redis.ca_path());
        let text = format!(
            "upstream = '{url}'\ntls.ca = '{}'\nauth = 'managed-identity'\nconnect_timeout = '1s'\n{more}",
            ca.display()
        );
        toml::from_str(&text).unwrap()
    };
    let dirs = SecretDirs {
        credentials: None,
        config: "/nowhere".into(),
    };
    for (token, object_id, more, expected) in [
        ("right-one", Some("oid"), "", "Ok(\"version "),
        ("right-one", None, "user = 'oid'", "Ok(\"version "),
        ("old-one", Some("oid"), "", "refused the user or password"),
        ("right-one", None, "", "object id"),
    ] {
        let (mut publisher, source) = TokenPublisher::new(Resource::Redis);
        let end = tokio::time::Instant::now() + Duration::from_secs(3600);
        let secret = Secret::new(token.as_bytes().to_vec());
        publisher.publish(secret, end, object_id.map(str::to_owned));
        let config = keys(more);
        let rows = runtime.block_on(lamplighter_redis::probe(&config, &[], &dirs, Some(source)));
        let seen = format!("{:?}", rows[0].outcome);
        assert!(
            seen.contains(expected),
            "{token} {object_id:?} {more}: {seen}"
        );
        assert!(!seen.contains(token), "{seen}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn check_online_says_what_was_found_or_what_to_do() {
    let redis = tls_redis();
    let secrets = Scratch::new("warm");
    secrets.write_secret("right", PASSWORD);
    secrets.write_secret("wrong", "wrong-one");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let probe = |url: &str, keys: &str| {
        let text = format!(
            "upstream = '{url}'\ntls.ca = '{}'\n{keys}",
            redis.ca_path().display()
        );
        let dirs = SecretDirs {
            credentials: None,
            config: secrets.path().to_owned(),
        };
        let jobs = [toml::from_str(KV).unwrap()];
        let rows = runtime.block_on(lamplighter_redis::probe(
            &toml::from_str(&text).unwrap(),
            &jobs,
            &dirs,
            None,
        ));
        let line = |row: OnlineCheck| format!("{}: {:?}", row.what, row.outcome);
        rows.into_iter().map(line).collect::<Vec<_>>().join("\n")
    };
    let plain = format!("redis://{}", redis.address());
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("rediss://{}", silent.local_addr().unwrap());
    for (url, keys, expected) in [
        (
            redis.url(),
            "password_file = 'right'",
            vec![
                "redis: Ok(\"version ",
                "maxmemory-policy noeviction, role master",
                "permissions: Ok(",
            ],
        ),
        (
            redis.url(),
            "password_file = 'wrong'",
            vec!["refused the user or password", "access key"],
        ),
        (
            redis.url(),
            "",
            vec!["refused the user or password", "NOAUTH"],
        ),
        (
            redis.url(),
            "password_file = 'absent'",
            vec!["cannot read the secret file"],
        ),
        (
            redis.url(),
            "password_file = 'right'\ntls.server_name = 'elsewhere'",
            vec!["TLS handshake with elsewhere", "server_name"],
        ),
        (
            plain,
            "password_file = 'right'",
            vec!["port belongs to Redis"],
        ),
        (
            silent,
            "connect_timeout = '300ms'",
            vec!["within 300ms", "firewall"],
        ),
        (
            "rediss://127.0.0.1:1".to_owned(),
            "",
            vec!["cannot connect to 127.0.0.1:1", "firewall"],
        ),
    ] {
        let seen = probe(&url, keys);
        for part in expected {
            assert!(seen.contains(part), "{url} {keys}: no {part:?} in {seen}");
        }
        assert!(
            !seen.contains(PASSWORD) && !seen.contains("wrong-one"),
            "{seen}"
        );
    }
}
