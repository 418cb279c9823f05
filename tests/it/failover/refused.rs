//! A primary that takes no writes any more: what it refuses is held and done once by whoever takes writes next.

use std::time::Duration;

use super::{expect_ok, login, value, waiting, with_pool};
use crate::endpoint::{Endpoint, Options, PATIENCE, start, start_on_mariadb};
use crate::support::faults::Proxy;
use crate::support::mariadb::MariaDb;
use crate::support::mysql::Cluster;
use crate::support::mysql::raw::{Answer, Link, Param, error_of, execute_body};
use crate::support::poll;

const SCHEMA: &str = "CREATE TABLE app.written (id INT); GRANT INSERT ON app.written TO app;";

/// Texts, prepared statements, transactions that begin, and their order: one connection to the server, so that reads would starve if
/// those who wait kept it.
#[test]
fn what_a_read_only_server_refused_is_done_once_when_writes_are_taken_again() {
    for gtid in [true, false] {
        let mode = "gtid-mode=OFF\nenforce-gtid-consistency=OFF";
        let builder = Cluster::builder().schema(SCHEMA);
        let cluster = if gtid { builder } else { builder.cnf(mode) }.build();
        let options = Options {
            pool: "max_server_connections = 1\nfailover_wait = \"60s\"".to_owned(),
            // the refusal itself is what is heard
            monitor_interval: Some("1h"),
            ..Options::default()
        };
        let endpoint = start(&cluster, options);
        // its first look is over: what it does not see any more is that the server is read-only
        endpoint.wait_readable(&cluster, 1);
        let login = login(&endpoint);
        let mut links = [(); 3].map(|()| Link::open(&login).expect("in"));
        let (id, _) = links[1].prepare(b"INSERT INTO written VALUES (?)");
        let body = execute_body(id.expect("an id"), false, &[Param::Int(2)], true);
        expect_ok(&links[0].query(b"INSERT INTO written VALUES (0)"));
        cluster.sql(0, "SET GLOBAL super_read_only=ON");
        let [mut text, mut prepared, mut begun] = links;
        std::thread::scope(|scope| {
            let text = scope.spawn(move || text.query(b"INSERT INTO written VALUES (1)"));
            wait_for(&endpoint, &cluster, 1.0);
            let prepared = scope.spawn(move || prepared.execute(&body));
            wait_for(&endpoint, &cluster, 2.0);
            let begun = scope.spawn(move || {
                let answer = begun.query(b"BEGIN");
                expect_ok(&begun.query(b"INSERT INTO written VALUES (3)"));
                expect_ok(&begun.query(b"COMMIT"));
                answer
            });
            wait_for(&endpoint, &cluster, 3.0);
            // reads go on meanwhile
            let mut reader = Link::open(&login).expect("in");
            assert_eq!(value(&reader.query(b"SELECT COUNT(*) FROM written")), "1");
            cluster.sql(0, "SET GLOBAL read_only=OFF");
            for answer in [text, prepared, begun] {
                expect_ok(&answer.join().expect("answered"));
            }
        });
        let rows = cluster.sql(0, "SELECT GROUP_CONCAT(id ORDER BY id) FROM app.written");
        assert_eq!(rows[0][0], "0,1,2,3", "gtid: {gtid}");
        assert_eq!(waiting(&endpoint, &cluster), 0.0);
        assert!(endpoint.metric("lamplighter_mysql_resent_total") > 0.5);
        assert!(endpoint.metric("lamplighter_mysql_failover_wait_seconds_count") > 2.5);
    }
}

fn wait_for(endpoint: &Endpoint, cluster: &Cluster, count: f64) {
    poll::until(PATIENCE, "statements that are held", || {
        let held = waiting(endpoint, cluster);
        if held > count - 0.5 {
            Ok(())
        } else {
            Err(held)
        }
    });
}

/// A transaction that is begun while the server is read-only: it is held until that is over, and writes then.
fn begin_once_it_is_writable(link: &mut Link, endpoint: &Endpoint, cluster: &Cluster) {
    std::thread::scope(|scope| {
        let begun = scope.spawn(|| link.query(b"BEGIN"));
        wait_for(endpoint, cluster, 1.0);
        cluster.sql(0, "SET GLOBAL read_only=OFF");
        expect_ok(&begun.join().expect("answered"));
    });
    expect_ok(&link.query(b"INSERT INTO written VALUES (2)"));
    expect_ok(&link.query(b"COMMIT"));
}

#[test]
fn writes_follow_the_name_to_another_server_and_none_of_the_old_connections_is_used_again() {
    let cluster = Cluster::builder().replicas(1).schema(SCHEMA).build();
    let proxy = Proxy::start(&cluster.address(0));
    let options = Options {
        primary: Some(proxy.address()),
        pool: "failover_wait = \"60s\"".to_owned(),
        ..Options::default()
    };
    let endpoint = start(&cluster, options);
    let login = login(&endpoint);
    let mut link = Link::open(&login).expect("in");
    expect_ok(&link.query(b"INSERT INTO written VALUES (1)"));
    cluster.sql(0, "SET GLOBAL super_read_only=ON");
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| link.query(b"INSERT INTO written VALUES (2)"));
        let series = super::waiting_at(&proxy.address());
        poll::until(PATIENCE, "a statement that is held", || {
            endpoint.metric(&series) > 0.5
        });
        cluster.promote(1);
        proxy.retarget(&cluster.address(1));
        asked.join().expect("answered")
    });
    expect_ok(&answer);
    // its own write is read on the new server
    assert_eq!(
        value(&link.query(b"SELECT @@port")),
        cluster.port(1).to_string()
    );
    assert_eq!(value(&link.query(b"SELECT COUNT(*) FROM written")), "2");
    let rows = cluster.sql(1, "SELECT COUNT(*) FROM app.written");
    assert_eq!(rows[0][0], "2");
    poll::until(
        PATIENCE,
        "the old server without connections of the pool",
        || {
            let left = cluster.connections(0).into_iter();
            let left: Vec<_> = left
                .filter(|it| it.user == "app" && it.info != "NULL")
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        },
    );
}

#[test]
fn in_a_transaction_the_error_is_passed_on_and_the_next_one_is_held() {
    let cluster = Cluster::builder().schema(SCHEMA).build();
    let endpoint = with_pool(&cluster, "failover_wait = \"60s\"");
    let mut link = Link::open(&login(&endpoint)).expect("in");
    expect_ok(&link.query(b"BEGIN"));
    assert_eq!(value(&link.query(b"SELECT COUNT(*) FROM written")), "0");
    cluster.sql(0, "SET GLOBAL super_read_only=ON");
    let answer = link.query(b"INSERT INTO written VALUES (1)");
    assert_eq!(
        error_of(&answer).map(|(code, _)| code),
        Some(1290),
        "{answer:?}"
    );
    // it is still the same transaction, on the same connection
    assert_eq!(value(&link.query(b"SELECT COUNT(*) FROM written")), "0");
    expect_ok(&link.query(b"ROLLBACK"));
    // the next one does not begin where it would fail as well
    begin_once_it_is_writable(&mut link, &endpoint, &cluster);
    let rows = cluster.sql(0, "SELECT GROUP_CONCAT(id) FROM app.written");
    assert_eq!(rows[0][0], "2");
    assert_eq!(endpoint.metric("lamplighter_mysql_resent_total"), 0.0);
}

#[test]
fn a_demotion_is_noticed_before_a_write_is_refused() {
    let cluster = Cluster::builder().schema(SCHEMA).build();
    let endpoint = with_pool(&cluster, "failover_wait = \"60s\"");
    let mut link = Link::open(&login(&endpoint)).expect("in");
    expect_ok(&link.query(b"INSERT INTO written VALUES (1)"));
    cluster.sql(0, "SET GLOBAL super_read_only=ON");
    poll::until(PATIENCE, "the monitor to see it", || {
        let log = endpoint.agent.log();
        log.contains("the server takes no writes any more")
    });
    // it would have begun on a connection from before, and its first write have failed
    begin_once_it_is_writable(&mut link, &endpoint, &cluster);
}

#[test]
fn after_the_wait_the_client_gets_what_the_server_said_and_later_ones_how_long_was_waited() {
    let cluster = Cluster::builder().schema(SCHEMA).build();
    let endpoint = with_pool(&cluster, "failover_wait = \"300ms\"");
    let mut link = Link::open(&login(&endpoint)).expect("in");
    expect_ok(&link.query(b"INSERT INTO written VALUES (1)"));
    cluster.sql(0, "SET GLOBAL super_read_only=ON");
    let told = |answer: &Answer| {
        let (code, text) = error_of(answer).expect("an error");
        (code, text.to_owned())
    };
    let (code, text) = told(&link.query(b"INSERT INTO written VALUES (2)"));
    assert_eq!(code, 1290);
    assert!(
        text.starts_with("The MySQL server is running with"),
        "{text}"
    );
    let (code, text) = told(&link.query(b"INSERT INTO written VALUES (3)"));
    assert_eq!(code, 1290);
    assert!(text.contains("waited 300ms"), "{text}");
    // what may turn out to write nothing is sent in the end, and soon without a wait
    poll::until(
        Duration::from_secs(20),
        "a read-only server that is used as one",
        || {
            expect_ok(&link.query(b"BEGIN"));
            expect_ok(&link.query(b"COMMIT"));
            endpoint.metric("lamplighter_mysql_failover_wait_seconds_count") > 1.5
        },
    );
    let rows = cluster.sql(0, "SELECT GROUP_CONCAT(id) FROM app.written");
    assert_eq!(rows[0][0], "1");
}

#[test]
fn mariadb_refuses_in_its_own_words() {
    let server = MariaDb::start();
    server.sql("CREATE TABLE app.written (id INT)");
    let options = Options {
        pool: "failover_wait = \"60s\"".to_owned(),
        ..Options::default()
    };
    let endpoint = start_on_mariadb(&server, options);
    let mut link = Link::open(&login(&endpoint)).expect("in");
    expect_ok(&link.query(b"INSERT INTO written VALUES (1)"));
    server.sql("SET GLOBAL read_only=ON");
    let series = super::waiting_at(&server.address());
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| link.query(b"INSERT INTO written VALUES (2)"));
        poll::until(PATIENCE, "a statement that is held", || {
            endpoint.metric(&series) > 0.5
        });
        server.sql("SET GLOBAL read_only=OFF");
        asked.join().expect("answered")
    });
    expect_ok(&answer);
    assert_eq!(value(&link.query(b"SELECT COUNT(*) FROM written")), "2");
}
