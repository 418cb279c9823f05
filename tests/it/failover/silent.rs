//! Servers that say nothing and do not go away: frozen, or behind a link that passes nothing on any more.

use crate::endpoint::{Options, PATIENCE, start};
use crate::support::faults::Proxy;
use crate::support::mysql::Cluster;
use crate::support::mysql::raw::{Link, Login, error_of};
use crate::support::poll;

use super::{expect_ok, login, value, waiting, with_pool};

const SCHEMA: &str = "CREATE TABLE app.written (id INT); GRANT INSERT ON app.written TO app;";

/// A connection of root's that locks `table` on `node`, which need not be the primary: what asks for it waits there.
fn locked(cluster: &Cluster, node: usize, table: &str) -> Link {
    cluster.sql(node, "SET GLOBAL super_read_only=OFF");
    let socket = cluster.socket(node).display().to_string();
    let mut root = Link::open(&Login::new(socket, "root", "")).expect("root logs in");
    expect_ok(&root.query(format!("LOCK TABLES app.{table} WRITE").as_bytes()));
    root
}

/// Until the server works on a statement of the pool's that begins so.
fn wait_for_statement(cluster: &Cluster, node: usize, text: &str) {
    poll::until(PATIENCE, "a statement on its server", || {
        let list = cluster.connections(node);
        list.iter()
            .any(|it| it.user == "app" && it.info.starts_with(text))
    });
}

#[test]
fn a_read_on_a_replica_that_freezes_is_answered_by_the_primary() {
    let cluster = Cluster::builder().replicas(1).build();
    let endpoint = with_pool(&cluster, "failover_wait = \"60s\"");
    endpoint.wait_readable(&cluster, 2);
    let login = login(&endpoint);
    let _lock = locked(&cluster, 1, "kv");
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            let mut link = Link::open(&login).expect("in");
            link.query(b"SELECT v FROM kv WHERE id = 7")
        });
        wait_for_statement(&cluster, 1, "SELECT v");
        cluster.freeze(1);
        assert_eq!(value(&asked.join().expect("answered")), "value-7");
    });
    assert!(endpoint.metric("lamplighter_mysql_retries_total") > 0.5);
    assert!(endpoint.metric("lamplighter_mysql_connections_severed_total") > 0.5);
    cluster.thaw(1);
}

#[test]
fn a_primary_that_freezes_costs_what_was_sent_an_honest_error_and_all_else_a_wait() {
    let cluster = Cluster::builder().schema(SCHEMA).build();
    let pool = "failover_wait = \"60s\"\nsilence_max = \"3s\"";
    let endpoint = with_pool(&cluster, pool);
    let login = login(&endpoint);
    let mut links = [(); 3].map(|()| Link::open(&login).expect("in"));
    expect_ok(&links[0].query(b"INSERT INTO written VALUES (0)"));
    let lock = locked(&cluster, 0, "kv");
    let [mut writer, mut reader, mut later] = links;
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || writer.query(b"UPDATE kv SET v = v WHERE id = 1"));
        wait_for_statement(&cluster, 0, "UPDATE kv");
        let read = scope.spawn(move || reader.query(b"SELECT v FROM kv WHERE id = 7"));
        wait_for_statement(&cluster, 0, "SELECT v");
        cluster.freeze(0);
        let answer = sent.join().expect("answered");
        assert_eq!(
            error_of(&answer).map(|(code, _)| code),
            Some(2013),
            "{answer:?}"
        );
        let held = scope.spawn(move || later.query(b"INSERT INTO written VALUES (1)"));
        poll::until(PATIENCE, "both wait for the server", || {
            waiting(&endpoint, &cluster) > 1.5
        });
        cluster.thaw(0);
        drop(lock);
        expect_ok(&held.join().expect("answered"));
        assert_eq!(value(&read.join().expect("answered")), "value-7");
    });
    let rows = cluster.sql(0, "SELECT GROUP_CONCAT(id ORDER BY id) FROM app.written");
    assert_eq!(rows[0][0], "0,1");
}

/// The only statement there is says nothing for longer than a silent server is waited for.
#[test]
fn a_statement_that_takes_long_on_a_server_that_answers_is_left_alone() {
    let cluster = Cluster::builder().build();
    let endpoint = with_pool(&cluster, "silence_max = \"1s\"\nfailover_wait = \"5s\"");
    let mut link = Link::open(&login(&endpoint)).expect("in");
    assert_eq!(value(&link.query(b"SELECT SLEEP(4)")), "0");
    assert_eq!(
        endpoint.metric("lamplighter_mysql_connections_severed_total"),
        0.0
    );
}

#[test]
fn what_waits_on_a_half_open_link_is_told_while_the_server_answers_others() {
    let cluster = Cluster::builder().schema(SCHEMA).build();
    let proxy = Proxy::start(&cluster.address(0));
    let options = Options {
        primary: Some(proxy.address()),
        ..Options::default()
    };
    let endpoint = start(&cluster, options);
    let login = login(&endpoint);
    let mut links = [(); 2].map(|()| Link::open(&login).expect("in"));
    for link in &mut links {
        expect_ok(&link.query(b"BEGIN"));
    }
    proxy.deafen();
    let [mut writer, mut reader] = links;
    std::thread::scope(|scope| {
        let written = scope.spawn(move || writer.query(b"INSERT INTO written VALUES (1)"));
        let read = scope.spawn(move || reader.query(b"SELECT v FROM kv WHERE id = 7"));
        for answer in [written, read] {
            let answer = answer.join().expect("answered");
            assert_eq!(
                error_of(&answer).map(|(code, _)| code),
                Some(2013),
                "{answer:?}"
            );
        }
    });
    let mut next = Link::open(&login).expect("in");
    assert_eq!(value(&next.query(b"SELECT COUNT(*) FROM written")), "0");
}
