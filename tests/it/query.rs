//! Statements through the endpoint: whole, right, on the right server, and never somebody else's.

use std::collections::BTreeSet;

use crate::endpoint::{Endpoint, Options, start};
use crate::support::mysql::{Cluster, LogLine};
use crate::support::poll;

fn one_connection(cluster: &Cluster) -> Endpoint {
    start(
        cluster,
        Options {
            pool: "max_server_connections = 1\nwait_timeout = \"20s\"".into(),
            ..Options::default()
        },
    )
}

#[test]
fn every_shape_and_size_comes_through_whole() {
    let cluster = Cluster::builder().cnf("max_allowed_packet=128M").build();
    let endpoint = start(&cluster, Options::default());
    assert_eq!(endpoint.script("relay.php").run().expect_ok(), "ok");
}

#[test]
fn memory_stays_bounded_whatever_the_result() {
    let cluster = Cluster::builder().build();
    let mut endpoint = start(&cluster, Options::default());
    endpoint
        .code("one(endpoint(), 'SELECT 1');")
        .run()
        .expect_ok();
    let before = endpoint.agent.rss_kib();
    // 600 MB in rows of 60 kB, read slowly enough that the server is always ahead
    let code = "$l = endpoint(); $r = $l->query(\"SELECT REPEAT('x', 60000) FROM kv a JOIN kv b WHERE b.id <= 10\", MYSQLI_USE_RESULT);
        $n = 0; while ($r->fetch_row()) $n++; echo $n;";
    assert_eq!(endpoint.code(code).run().expect_ok(), "10000");
    let grown = endpoint.agent.rss_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "grew by {grown} KiB");
}

#[test]
fn local_files_are_refused_unless_switched_on() {
    let cluster = Cluster::builder().build();
    let endpoint = start(&cluster, Options::default());
    assert_eq!(
        endpoint
            .script("infile.php")
            .env(&[("INFILE", "0")])
            .run()
            .expect_ok(),
        "ok"
    );
    let endpoint = start(
        &cluster,
        Options {
            keys: "local_infile = true".into(),
            ..Options::default()
        },
    );
    assert_eq!(
        endpoint
            .script("infile.php")
            .env(&[("INFILE", "1")])
            .run()
            .expect_ok(),
        "ok"
    );
}

#[test]
fn no_client_sees_what_another_left_behind() {
    let cluster = Cluster::builder().build();
    let endpoint = one_connection(&cluster);
    assert_eq!(endpoint.script("state.php").run().expect_ok(), "ok");
    assert_eq!(
        cluster
            .connections(0)
            .iter()
            .filter(|connection| connection.user == "app")
            .count(),
        1
    );
}

#[test]
fn a_client_keeps_its_own_state() {
    let cluster = Cluster::builder().build();
    let pool = "max_server_connections = 3\nwait_timeout = \"20s\"".into();
    let endpoint = start(
        &cluster,
        Options {
            pool,
            ..Options::default()
        },
    );
    assert_eq!(endpoint.script("own_state.php").run().expect_ok(), "ok");
}

#[test]
fn what_a_client_sets_goes_with_it_and_with_nobody_else() {
    let cluster = Cluster::builder().build();
    for connections in [2, 4] {
        let pool = format!("max_server_connections = {connections}\nwait_timeout = \"20s\"");
        let endpoint = start(
            &cluster,
            Options {
                pool,
                ..Options::default()
            },
        );
        assert_eq!(endpoint.script("set.php").run().expect_ok(), "ok");
    }
}

#[test]
fn checks_that_a_client_switches_off_are_on_for_the_next_one() {
    let cluster = Cluster::builder().build();
    let endpoint = one_connection(&cluster);
    let code = r#"$off = endpoint();
        $off->query('SET foreign_key_checks = 0, unique_checks = 0');
        foreach ([1, 2] as $round) {
            same('0 0', one($off, "SELECT CONCAT(@@foreign_key_checks, ' ', @@unique_checks)"), "off $round");
            same('1 1', one(endpoint(), "SELECT CONCAT(@@foreign_key_checks, ' ', @@unique_checks)"), "on $round");
        }
        echo 'ok';"#;
    assert_eq!(endpoint.code(code).run().expect_ok(), "ok");
}

#[test]
fn a_cursor_over_what_the_session_alone_knows_is_read() {
    let cluster = Cluster::builder().build();
    let endpoint = one_connection(&cluster);
    let code = r#"$l = endpoint();
        $s = $l->prepare('SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID()');
        $l->begin_transaction();
        $s->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
        foreach ([1, 2] as $round) {
            $l->query("SELECT id FROM kv WHERE id < 4");
            $s->execute();
            $s->bind_result($changed, $found, $id);
            same(true, $s->fetch(), "a row $round");
            same([-1, 3, 0], [$changed, $found, $id], "its values $round");
            same(null, $s->fetch(), "and no other $round");
        }
        echo 'ok';"#;
    assert_eq!(endpoint.code(code).run().expect_ok(), "ok");
}

#[test]
fn a_changed_global_default_is_that_of_the_next_client() {
    let cluster = Cluster::builder().build();
    let endpoint = one_connection(&cluster);
    let seen = || {
        let code = "$l = endpoint(); one($l, 'SELECT 1');
            echo one($l, \"SELECT CONCAT_WS(' ', @@sql_mode, @@time_zone, @@group_concat_max_len)\");";
        endpoint.code(code).run().expect_ok()
    };
    assert!(seen().ends_with("SYSTEM 1024"));
    // the monitor knows them as they were
    endpoint.wait_readable(&cluster, 1);
    cluster.sql(
        0,
        "SET GLOBAL sql_mode = 'ANSI_QUOTES', GLOBAL time_zone = '+03:00', GLOBAL group_concat_max_len = 77",
    );
    let limit = std::time::Duration::from_secs(20);
    poll::until(limit, "the new defaults", || {
        seen() == "ANSI_QUOTES +03:00 77"
    });
}

#[test]
fn a_request_on_a_warm_pool_costs_nothing_but_its_statements() {
    let cluster = Cluster::builder().general_log().build();
    let endpoint = one_connection(&cluster);
    endpoint.wait_opened(&cluster);
    let request = r#"$link = endpoint();
        $link->query('SET NAMES utf8mb4');
        $link->query("SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION'");
        for ($id = 1; $id <= 5; $id++) one($link, "SELECT v FROM kv WHERE id = $id /* asked */");
        $link->ping();
        $link->close();"#;
    endpoint.code(request).run().expect_ok();
    cluster.clear_general_log(0);
    for _ in 0..3 {
        endpoint.code(request).run().expect_ok();
    }
    let log = cluster.general_log(0);
    let is_asked = |line: &&LogLine| line.text.contains("/* asked */");
    // the monitor has connections of its own
    let opened = |line: &&LogLine| line.command == "Connect" && !line.text.starts_with("mon@");
    let used: BTreeSet<u64> = log
        .iter()
        .filter(|line| is_asked(line) || opened(line))
        .map(|line| line.connection)
        .collect();
    let seen: Vec<_> = log
        .iter()
        .filter(|line| used.contains(&line.connection))
        .collect();
    assert_eq!(seen.len(), 15, "{seen:#?}");
    assert!(seen.iter().all(is_asked), "{seen:#?}");
}

#[test]
fn tagged_answers_never_cross() {
    let cluster = Cluster::builder().replicas(1).build();
    let pool = "max_server_connections = 4\nwait_timeout = \"30s\"".into();
    let endpoint = start(
        &cluster,
        Options {
            pool,
            ..Options::default()
        },
    );
    endpoint.wait_readable(&cluster, 2);
    let clients: Vec<_> = (0..8)
        .map(|seed| {
            endpoint
                .script("tags.php")
                .env(&[("SEED", &seed.to_string()), ("ROUNDS", "40")])
                .spawn()
        })
        .collect();
    let mut asked = 0;
    for client in clients {
        let answer = client.wait(std::time::Duration::from_secs(120)).expect_ok();
        asked += answer.parse::<u32>().expect("a count");
    }
    assert!(asked > 500, "{asked} questions asked");
    assert_eq!(
        cluster.sql(0, "SELECT COUNT(*) FROM app.kv WHERE v = 'stain'"),
        [["0"]]
    );
    assert_eq!(
        endpoint.metric(r#"lamplighter_faults_total{culprit="bug",subsystem="mysql"}"#),
        0.0
    );
}

#[test]
fn reads_go_to_replicas_and_all_else_to_the_primary() {
    let cluster = Cluster::builder().replicas(2).general_log().build();
    let endpoint = start(&cluster, Options::default());
    endpoint.wait_readable(&cluster, 3);
    let code = r#"
        $reader = endpoint();
        for ($i = 1; $i <= 20; $i++) one($reader, "SELECT v FROM kv WHERE id = $i /* plain */");
        $writer = endpoint();
        $writer->query("UPDATE kv SET v = 'written' WHERE id = 1");
        same('written', one($writer, 'SELECT v FROM kv WHERE id = 1 /* after a write */'), 'own write');
        $reader->begin_transaction();
        one($reader, 'SELECT v FROM kv WHERE id = 2 /* in transaction */');
        $reader->commit();
        one($reader, 'SELECT v FROM kv WHERE id = 2 FOR UPDATE /* locking */');
        one($reader, '/* lamplighter:primary */ SELECT v FROM kv WHERE id = 3 /* hinted */');"#;
    endpoint.code(code).run().expect_ok();
    let count = |node: usize, text: &str| {
        cluster
            .general_log(node)
            .iter()
            .filter(|line| line.text.contains(text))
            .count()
    };
    let plain: Vec<usize> = (0..3).map(|node| count(node, "/* plain */")).collect();
    // which of them, is a matter of how soon they answer
    assert_eq!((plain[0], plain[1] + plain[2]), (0, 20), "{plain:?}");
    for text in [
        "UPDATE kv",
        "/* in transaction */",
        "/* locking */",
        "/* hinted */",
    ] {
        assert_eq!(
            (count(0, text), count(1, text) + count(2, text)),
            (1, 0),
            "{text}"
        );
    }
}

#[test]
fn a_replica_that_is_behind_or_stopped_gets_no_reads() {
    let cluster = Cluster::builder().replicas(1).build();
    let endpoint = start(&cluster, Options::default());
    endpoint.wait_readable(&cluster, 2);
    // NULL lag is unknown, not zero
    cluster.stop_sql(1);
    endpoint.wait_readable(&cluster, 1);
    cluster.sql(0, "UPDATE app.kv SET v = 'fresh' WHERE id = 4");
    assert_eq!(
        endpoint
            .code("echo one(endpoint(), 'SELECT v FROM kv WHERE id = 4');")
            .run()
            .expect_ok(),
        "fresh"
    );
    cluster.start_sql(1);
    endpoint.wait_readable(&cluster, 2);
}
