//! Servers and clients that go away in the middle of things, and an agent that is asked to leave.

use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, Options, PATIENCE, start};
use crate::support::agent::http_get;
use crate::support::faults::{Mode, Proxy};
use crate::support::mysql::Cluster;
use crate::support::php::Running;
use crate::support::poll;
use crate::support::process::Signal;

/// The number of the error that a client of the endpoint gets for a read; 0 for an answer.
fn error_told(endpoint: &Endpoint) -> String {
    endpoint
        .code("echo error_of(fn () => one(endpoint(), 'SELECT 1'));")
        .run()
        .expect_ok()
}

fn wait_until_it_answers(endpoint: &Endpoint) {
    poll::until(PATIENCE, "it answers without a restart", || {
        let error = error_told(endpoint);
        if error == "0" { Ok(()) } else { Err(error) }
    });
}

/// Waits for a client that says `reading` after its first row.
fn wait_until_it_reads(client: &Running) {
    poll::until(PATIENCE, "the result is under way", || {
        let said = client.stdout();
        if said.contains("reading") {
            Ok(())
        } else {
            Err(said)
        }
    });
}

#[test]
fn a_server_killed_in_the_middle_of_a_result_ends_that_client_only() {
    let cluster = Cluster::builder().build();
    let endpoint = start(&cluster, Options::default());
    let reading = endpoint
        .code(
            "$l = endpoint(); $r = $l->query(\"SELECT REPEAT('x', 60000) FROM kv a JOIN kv b\", MYSQLI_USE_RESULT);
            $r->fetch_row(); echo 'reading'; while (ob_get_level()) ob_end_flush(); flush();
            fgets(STDIN);
            try { while ($r->fetch_row()); echo ' whole'; } catch (Throwable $e) { echo ' cut'; }",
        )
        .spawn();
    wait_until_it_reads(&reading);
    cluster.kill(0);
    assert_eq!(reading.wait(PATIENCE).stdout, "reading cut");
    let told = error_told(&endpoint);
    assert!(["2003", "2013"].contains(&told.as_str()), "{told}");
    cluster.start(0);
    wait_until_it_answers(&endpoint);
}

#[test]
fn a_client_killed_in_the_middle_of_a_result_leaves_nothing() {
    let cluster = Cluster::builder().build();
    let pool = "max_server_connections = 1\nwait_timeout = \"20s\"".into();
    let endpoint = start(
        &cluster,
        Options {
            pool,
            ..Options::default()
        },
    );
    let reading = endpoint
        .code(
            "$l = endpoint(); $r = $l->query(\"SELECT CONCAT('mine', REPEAT('x', 60000)) FROM kv a JOIN kv b\", MYSQLI_USE_RESULT);
            $r->fetch_row(); echo 'reading'; flush(); sleep(60);",
        )
        .spawn();
    wait_until_it_reads(&reading);
    reading.kill();
    assert_eq!(
        endpoint
            .code("echo one(endpoint(), \"SELECT 'theirs'\");")
            .run()
            .expect_ok(),
        "theirs"
    );
    assert_eq!(
        endpoint.metric(r#"lamplighter_mysql_connections_discarded_total{reason="busy"}"#),
        1.0
    );
}

#[test]
fn a_stale_connection_is_not_an_error_for_a_read() {
    let cluster = Cluster::builder().build();
    let proxy = Proxy::start(&cluster.address(0));
    let endpoint = start(
        &cluster,
        Options {
            primary: Some(proxy.address()),
            ..Options::default()
        },
    );
    assert_eq!(error_told(&endpoint), "0");
    proxy.cut();
    assert_eq!(error_told(&endpoint), "0");
}

#[test]
fn without_a_server_the_agent_starts_serves_probes_and_recovers() {
    let cluster = Cluster::builder().build();
    cluster.stop(0);
    let endpoint = start(&cluster, Options::default());
    poll::until(
        PATIENCE,
        "a server that is away for everybody takes nobody out of the load balancer",
        || {
            let (status, _, body) = http_get(&endpoint.probe, "/lb");
            if status == 200 {
                Ok(())
            } else {
                Err(format!("{status}: {body}"))
            }
        },
    );
    poll::until(PATIENCE, "the fault is told", || {
        let (_, headers, _) = http_get(&endpoint.probe, "/lb");
        let degraded = headers.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("x-degraded") && value.contains("mysql")
        });
        if degraded {
            Ok(())
        } else {
            Err(format!("{headers:?}"))
        }
    });
    let started = Instant::now();
    let told = error_told(&endpoint);
    assert_eq!(told, "2003");
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "a refused connection is told at once"
    );
    cluster.start(0);
    wait_until_it_answers(&endpoint);
}

#[test]
fn a_full_pool_is_told_in_time_and_by_name() {
    let cluster = Cluster::builder().build();
    let pool = "max_server_connections = 1\nwait_timeout = \"300ms\"".into();
    let endpoint = start(
        &cluster,
        Options {
            pool,
            ..Options::default()
        },
    );
    let code = "$holder = endpoint(); $holder->begin_transaction(); one($holder, 'SELECT 1');
        $start = microtime(true);
        try { one(endpoint(), 'SELECT 2'); echo 'no error'; }
        catch (mysqli_sql_exception $e) { echo $e->getCode(), ' ', $e->getMessage(), ' ', round(microtime(true) - $start, 1); }";
    let told = endpoint.code(code).run().expect_ok();
    assert!(
        told.starts_with("1040 ") && told.contains("all 1 are in use"),
        "{told}"
    );
    let waited: f64 = told
        .rsplit(' ')
        .next()
        .and_then(|it| it.parse().ok())
        .expect("seconds");
    assert!(waited >= 0.3, "{told}");
}

#[test]
fn a_black_hole_is_given_up_in_time() {
    let cluster = Cluster::builder().build();
    let proxy = Proxy::start(&cluster.address(0));
    let keys = "connect_timeout = \"1s\"".into();
    let endpoint = start(
        &cluster,
        Options {
            primary: Some(proxy.address()),
            keys,
            ..Options::default()
        },
    );
    proxy.set(Mode::BlackHole);
    let told = endpoint
        .code("$s = microtime(true); echo error_of(fn () => one(endpoint(), 'SELECT 1')), ' ', microtime(true) - $s < 3 ? 'soon' : 'late';")
        .run()
        .expect_ok();
    assert_eq!(told, "2003 soon");
    proxy.set(Mode::Pass);
}

#[test]
fn a_hundred_busy_clients_finish_before_the_agent_leaves() {
    let cluster = Cluster::builder().build();
    let pool = "max_server_connections = 40\nwait_timeout = \"30s\"".into();
    let mut endpoint = start(
        &cluster,
        Options {
            pool,
            ..Options::default()
        },
    );
    // each process holds 25 clients with a transaction open, says so, and ends them after the signal
    let code = "$links = []; for ($i = 0; $i < 5; $i++) { $links[] = $l = endpoint(); $l->begin_transaction(); $l->query('UPDATE kv SET v = v WHERE id = ' . (1 + $i + 5 * getenv('N'))); }
        for ($i = 0; $i < 20; $i++) { $l = endpoint(); $l->query('SELECT SLEEP(2) FROM kv WHERE id <= 1', MYSQLI_ASYNC); $async[] = $l; }
        echo 'busy'; flush();
        $done = 0;
        while ($async) { $r = $e = $x = $async; mysqli_poll($r, $e, $x, 20); foreach ($r as $l) { $done += count($l->reap_async_query()->fetch_all()); unset($async[array_search($l, $async, true)]); } }
        foreach ($links as $l) { one($l, 'SELECT 1'); $l->commit(); $done++; }
        echo $done;";
    let clients: Vec<_> = (0..4)
        .map(|n| {
            endpoint
                .code(code)
                .env(&[("N", n.to_string().as_str())])
                .spawn()
        })
        .collect();
    for client in &clients {
        poll::until(PATIENCE, "clients are busy", || {
            if client.stdout().contains("busy") {
                Ok(())
            } else {
                Err(client.stdout())
            }
        });
    }
    endpoint.agent.signal(Signal::TERM);
    for client in clients {
        assert_eq!(client.wait(Duration::from_secs(40)).expect_ok(), "busy25");
    }
    let status = endpoint.agent.wait_end(PATIENCE);
    assert!(status.success(), "{status}");
}
