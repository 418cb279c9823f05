//! `lamplighter check --online` against real servers: what it finds, and what it says when something is wrong.

use std::process::Output;

use super::{run, text};
use crate::support::mysql::{APP, MON, shared};
use crate::support::scratch::Scratch;
use crate::support::{ports, redis};

/// A configuration for servers that are there, in a directory with the right secrets.
fn config(redis: &redis::Server) -> (Scratch, String) {
    let scratch = Scratch::new("config");
    scratch.write_secret("mysql-app", APP.1);
    scratch.write_secret("mysql-monitor", MON.1);
    scratch.write_secret("redis", "redis-secret");
    let mysql = shared();
    let config = format!(
        "[mysql]\nprimary = '{}'\nuser = '{}'\npassword_file = 'mysql-app'\ntls = {{ ca = '{}' }}\n\
         clients.web.peer_users = ['root']\nmonitor = {{ user = '{}', password_file = 'mysql-monitor' }}\n\
         [redis]\nupstream = 'rediss://{}'\npassword_file = 'redis'\ntls = {{ ca = '{}' }}\n",
        mysql.address(mysql.primary()),
        APP.0,
        mysql.ca_path().display(),
        MON.0,
        redis.address(),
        redis.ca_path().display(),
    );
    (scratch, config)
}

fn check(scratch: &Scratch, config: &str, more: &[&str]) -> Output {
    let path = scratch.write("l.toml", config);
    let mut args = vec![
        "check",
        "--online",
        "--config",
        path.to_str().expect("UTF-8"),
    ];
    args.extend(more);
    run(&args)
}

#[test]
fn what_is_right_is_connected_to() {
    let redis = redis::Server::builder()
        .tls()
        .password("redis-secret")
        .start();
    let (scratch, config) = config(&redis);
    let output = check(&scratch, &config, &[]);
    let table = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{table}{}",
        text(&output.stderr)
    );
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("ok  "))
        .collect();
    for words in [["mysql primary", "over TLS"], ["redis", ""]] {
        let row = rows.iter().find(|row| row.contains(words[0]));
        assert!(
            row.is_some_and(|row| row.contains(words[1])),
            "no {words:?} in {table}"
        );
    }
    assert!(!table.contains("FAIL"), "{table}");
}

#[test]
fn what_is_wrong_is_told_row_by_row() {
    let redis = redis::Server::builder()
        .tls()
        .password("redis-secret")
        .start();
    let (scratch, config) = config(&redis);
    scratch.write_secret("mysql-app", "wrong-secret");
    let nobody = format!("rediss://127.0.0.1:{}", ports::free());
    let config = config.replace(&format!("rediss://{}", redis.address()), &nobody);
    let output = check(&scratch, &config, &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        (&report["ok"], report["problems"].as_array().map(Vec::len)),
        (&false.into(), Some(0))
    );
    let rows = report["online"].as_array().expect("rows");
    let detail = |what: &str| {
        let row = rows
            .iter()
            .find(|row| row["what"] == what)
            .unwrap_or_else(|| panic!("no {what} in {report}"));
        assert_eq!(row["ok"], false, "{row}");
        row["detail"].as_str().expect("text").to_owned()
    };
    assert!(
        detail("mysql primary").contains("Access denied"),
        "{report}"
    );
    assert!(detail("redis").contains("refused"), "{report}");
    assert!(!report.to_string().contains("secret\""), "{report}");

    // with a mistake in the file nothing is connected to
    let output = check(&scratch, &format!("{config}nonsense = 1\n"), &["--json"]);
    assert_eq!(output.status.code(), Some(64));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["online"].as_array().map(Vec::len), Some(0));
}

/// What the monitor's account may not do, and what `check --online` says that costs.
#[test]
fn each_right_that_is_missing_is_told_with_what_it_costs() {
    let mysql = shared();
    mysql.sql(
        0,
        "CREATE DATABASE rights; CREATE TABLE rights.beat (id INT PRIMARY KEY, beat BIGINT UNSIGNED NOT NULL); \
         INSERT INTO rights.beat VALUES (1, 1); CREATE USER sees_nothing@'%' IDENTIFIED BY 'rights-secret', sees@'%' IDENTIFIED BY 'rights-secret', \
           reader@'%' IDENTIFIED BY 'rights-secret', counts@'%' IDENTIFIED BY 'rights-secret'; \
         GRANT REPLICATION CLIENT ON *.* TO sees@'%', counts@'%'; \
         GRANT SELECT ON rights.beat TO reader@'%'; GRANT SELECT, INSERT, UPDATE ON rights.beat TO counts@'%'",
    );
    mysql.wait_replicas();
    let (scratch, config) = config(&redis::Server::builder().start());
    scratch.write_secret("mysql-monitor", "rights-secret");
    let config = config.split("[redis]").next().expect("what is before");
    let replica = mysql.address(1);
    let keys =
        format!("[mysql]\nreplicas = ['{replica}']\nheartbeat = {{ table = 'rights.beat' }}");
    let config = config.replace("[mysql]", &keys);
    let told = |user: &str| {
        let config = config.replace(
            &format!("user = '{}', pass", MON.0),
            &format!("user = '{user}', pass"),
        );
        let output = check(&scratch, &config, &["--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let row = |what: &str| {
            let rows = report["online"].as_array().expect("rows");
            let row = rows.iter().rfind(|row| row["what"] == what);
            let row = row.unwrap_or_else(|| panic!("no {what} in {report}"));
            let detail = row["detail"].as_str().expect("text");
            (row["ok"] == true, detail.to_owned())
        };
        (row("mysql primary"), row("mysql replica"))
    };
    for (user, on_primary, on_replica) in [
        (
            "counts",
            (true, "; GTIDs; heartbeat"),
            (true, "; heartbeat"),
        ),
        (
            "reader",
            (true, "cannot count"),
            (true, "no REPLICATION CLIENT: lag is known while"),
        ),
        (
            "sees",
            (true, "no heartbeat (error"),
            (true, "no heartbeat (error"),
        ),
        (
            "sees_nothing",
            (true, "no heartbeat (error"),
            (false, "it gets no reads: GRANT REPLICATION CLIENT"),
        ),
    ] {
        let (primary, replica) = told(user);
        for (found, expected) in [(primary, on_primary), (replica, on_replica)] {
            assert_eq!(found.0, expected.0, "{user}: {}", found.1);
            assert!(
                found.1.contains(expected.1),
                "{user}: {} in {}",
                expected.1,
                found.1
            );
        }
    }
}
