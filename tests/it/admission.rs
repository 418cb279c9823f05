//! More statements than connections: who waits, who is refused and how soon, what is answered all the same, and that nobody keeps a
//! connection from the others for longer than they may.

mod fleet;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, Options, PATIENCE, start};
use crate::support::mysql::Cluster;
use crate::support::mysql::raw::{Link, Login, error_of, text_rows};
use crate::support::poll;

/// ER_CON_COUNT_ERROR.
const TOO_MANY: u16 = 1040;

fn with_pool(cluster: &Cluster, pool: &str) -> Endpoint {
    let options = Options {
        pool: pool.to_owned(),
        ..Options::default()
    };
    let endpoint = start(cluster, options);
    endpoint.wait_opened(cluster);
    endpoint
}

fn login(endpoint: &Endpoint, user: &str) -> Login {
    let mut login = Login::new(endpoint.socket(), user, "job-secret");
    login.database = Some("app".to_owned());
    login
}

fn link(endpoint: &Endpoint, user: &str) -> Link {
    Link::open(&login(endpoint, user)).expect("let in")
}

#[track_caller]
fn ok(link: &mut Link, sql: &str) {
    let answer = link.query(sql.as_bytes());
    assert_eq!(error_of(&answer), None, "{sql}");
}

/// Error number and text of a statement that has to fail.
#[track_caller]
fn refusal(link: &mut Link, sql: &str) -> (u16, String) {
    let answer = link.query(sql.as_bytes());
    let (code, text) = error_of(&answer).unwrap_or_else(|| panic!("{sql} went well"));
    (code, text.to_owned())
}

/// A client that keeps the pool's connection.
fn holder(endpoint: &Endpoint, user: &str) -> Link {
    let mut holder = link(endpoint, user);
    ok(&mut holder, "BEGIN");
    ok(&mut holder, "SELECT * FROM kv LIMIT 1");
    holder
}

#[test]
fn what_needs_no_connection_is_answered_while_there_is_none() {
    let cluster = Cluster::builder().build();
    let endpoint = with_pool(
        &cluster,
        "max_server_connections = 1\nwait_timeout = \"300ms\"",
    );
    let mut warm = link(&endpoint, "web");
    ok(&mut warm, "SET NAMES utf8mb4");
    let holder = holder(&endpoint, "web");
    let mut client = link(&endpoint, "web");
    let (code, text) = refusal(&mut client, "SELECT 1");
    assert_eq!(code, TOO_MANY);
    for part in [
        "came free within 30",
        "all 1 are in use",
        "0 statements wait",
        "no trouble with the server so far",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let ping = client.raw(&[0x0e]);
    assert_eq!(error_of(&ping), None);
    ok(&mut client, "SET NAMES utf8mb4");
    ok(&mut client, "SELECT CONNECTION_ID()");
    // whoever stops what the line waits for waits in no line
    ok(&mut client, &format!("KILL {}", holder.id));
    ok(&mut client, "SELECT 1");
    assert_eq!(
        endpoint.metric("lamplighter_mysql_refused_total{why=\"late\"}"),
        1.0
    );
}

#[test]
fn a_tenant_has_its_share_and_the_others_have_the_rest() {
    let cluster = Cluster::builder().build();
    let options = Options {
        job: "share = \"50%\"".to_owned(),
        pool: "max_server_connections = 4\nwait_timeout = \"300ms\"".to_owned(),
        ..Options::default()
    };
    let endpoint = start(&cluster, options);
    endpoint.wait_opened(&cluster);
    let _jobs = [holder(&endpoint, "job"), holder(&endpoint, "job")];
    let (code, text) = refusal(&mut link(&endpoint, "job"), "SELECT 1");
    assert_eq!(code, TOO_MANY);
    assert!(text.contains("2 of 4 are this user's share"), "{text}");
    let _webs = [holder(&endpoint, "web"), holder(&endpoint, "web")];
    let (_, text) = refusal(&mut link(&endpoint, "web"), "SELECT 1");
    assert!(text.contains("all 4 are in use"), "{text}");
}

#[test]
fn a_client_that_does_not_read_gives_way_when_others_wait() {
    let cluster = Cluster::builder().build();
    let endpoint = with_pool(
        &cluster,
        "max_server_connections = 1\nwait_timeout = \"20s\"\nslow_client_timeout = \"200ms\"",
    );
    let mut slow = link(&endpoint, "web");
    let large = "SELECT REPEAT('x', 60000) FROM kv a JOIN kv b LIMIT 2000";
    slow.send(
        lamplighter_wire::mysql::command::Command::Query,
        large.as_bytes(),
    )
    .expect("sent");
    poll::until(PATIENCE, "the result is under way", || {
        let busy = format!(
            "lamplighter_mysql_connections{{server=\"{}\",state=\"busy\"}}",
            cluster.address(0)
        );
        endpoint.metric(&busy) > 0.5
    });
    let slow_clients = "lamplighter_mysql_slow_clients_total";
    poll::throughout(Duration::from_millis(600), "nobody else wants it", || {
        endpoint.metric(slow_clients) == 0.0
    });
    ok(&mut link(&endpoint, "web"), "SELECT 1");
    assert_eq!(endpoint.metric(slow_clients), 1.0);
}

#[test]
fn a_client_that_keeps_a_connection_and_does_nothing_gives_way_when_others_wait() {
    let cluster = Cluster::builder().build();
    let endpoint = with_pool(
        &cluster,
        "max_server_connections = 1\nwait_timeout = \"20s\"\nidle_hold_timeout = \"200ms\"",
    );
    let mut idle = link(&endpoint, "web");
    ok(&mut idle, "BEGIN");
    ok(&mut idle, "INSERT INTO kv VALUES (900001, 'never')");
    poll::throughout(Duration::from_millis(600), "nobody else wants it", || {
        endpoint.metric("lamplighter_mysql_idle_holds_ended_total") == 0.0
    });
    let mut other = link(&endpoint, "web");
    let rows = other.query(b"SELECT COUNT(*) FROM kv WHERE id = 900001");
    assert_eq!(
        text_rows(&rows)[0][0].as_deref(),
        Some(&b"0"[..]),
        "rolled back"
    );
    let told = idle.query(b"COMMIT");
    assert!(
        error_of(&told).is_none_or(|(code, _)| code == 4031) && !told.is_empty(),
        "{told:?}"
    );
    assert_eq!(
        endpoint.metric("lamplighter_mysql_idle_holds_ended_total"),
        1.0
    );
}

#[test]
fn a_server_keeps_connections_for_others() {
    let cluster = Cluster::builder().build();
    let endpoint = with_pool(&cluster, "max_server_connections = 20\nserver_reserve = 30");
    let limit = format!(
        "lamplighter_mysql_connections_limit{{server=\"{}\"}}",
        cluster.address(0)
    );
    assert_eq!(endpoint.metric(&limit), 20.0);
    cluster.sql(0, "SET GLOBAL max_connections = 35");
    poll::until(PATIENCE, "the limit follows the server's", || {
        let limit = endpoint.metric(&limit);
        if limit == 5.0 { Ok(()) } else { Err(limit) }
    });
    cluster.sql(0, "SET GLOBAL max_connections = 151");
    poll::until(PATIENCE, "the limit is as configured", || {
        endpoint.metric(&limit) == 20.0
    });
}

/// Clients that come at once when the cache is lost.
const CROWD: usize = 500;

/// For how long they come again.
const RUSH: Duration = Duration::from_secs(4);

/// What came of a rush.
#[derive(Debug, Default)]
struct Tally {
    served: AtomicUsize,
    refused: AtomicUsize,
    written: AtomicUsize,
}

/// Asks again and again, as pages do; whoever has been refused twice stays away.
fn rush(mut client: Link, tally: &Tally, end: Instant) {
    let mut refused = 0;
    while Instant::now() < end && refused < 2 {
        let answer = client.query(b"SELECT v, SLEEP(0.1) FROM kv WHERE id = 1");
        match error_of(&answer) {
            None => {
                tally.served.fetch_add(1, Ordering::Relaxed);
            }
            Some((code, text)) => {
                assert_eq!(code, TOO_MANY, "{text}");
                assert!(text.contains("4 of 8 may serve reads"), "{text}");
                assert!(text.contains("statements wait"), "{text}");
                tally.refused.fetch_add(1, Ordering::Relaxed);
                refused += 1;
            }
        }
    }
}

#[test]
fn a_rush_of_reads_is_served_as_far_as_it_can_be_and_writes_go_on() {
    let cluster = Cluster::builder()
        .replicas(1)
        .schema("CREATE TABLE app.written (id INT); GRANT INSERT ON app.written TO app;")
        .build();
    cluster.stop_sql(1);
    let endpoint = with_pool(&cluster, "max_server_connections = 8");
    endpoint.wait_readable(&cluster, 1);
    cluster.sql(0, "FLUSH STATUS");
    let tally = &Tally::default();
    let crowd: Vec<_> = (0..CROWD).map(|_| link(&endpoint, "web")).collect();
    let end = Instant::now() + RUSH;
    std::thread::scope(|scope| {
        for client in crowd {
            std::thread::Builder::new()
                .stack_size(256 * 1024)
                .spawn_scoped(scope, move || rush(client, tally, end))
                .expect("a thread");
        }
        scope.spawn(|| {
            let mut writer = link(&endpoint, "web");
            while Instant::now() < end {
                ok(&mut writer, "INSERT INTO written VALUES (1)");
                tally.written.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    let seen = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    // four at a time, a tenth of a second each, makes 160; a machine that is busy with other things makes fewer
    assert!(seen(&tally.served) >= 20, "{tally:?}");
    assert!(seen(&tally.refused) > 0, "{tally:?}");
    assert!(seen(&tally.written) > 0, "{tally:?}");
    let used = cluster.sql(0, "SHOW GLOBAL STATUS LIKE 'Max_used_connections'");
    let used: usize = used[0][1].parse().expect("a number");
    // the monitor's, the test's own, and the replica's
    assert!(used <= 8 + 4, "{used}");
    // who comes when on a busy machine says which of the two it is
    let early = ["shed", "hopeless"]
        .map(|why| endpoint.metric(&format!("lamplighter_mysql_refused_total{{why=\"{why}\"}}")));
    assert!(early.iter().sum::<f64>() > 0.0, "{early:?}");
    ok(&mut link(&endpoint, "web"), "SELECT 1");
}

#[test]
fn the_endpoint_is_shown_at_a_glance() {
    let cluster = Cluster::builder().replicas(1).build();
    let endpoint = with_pool(&cluster, "max_server_connections = 3");
    endpoint.wait_readable(&cluster, 2);
    let mut client = link(&endpoint, "web");
    ok(&mut client, "SELECT v FROM kv WHERE id = 1");
    let _holder = holder(&endpoint, "web");
    let show = |extra: &[&str]| {
        let args = [&["mysql"], extra, &["--config", "lamplighter.toml"]].concat();
        let (status, out, errors) = endpoint.agent.command(&args);
        assert!(status.success(), "{out}{errors}");
        out
    };
    let json: serde_json::Value = serde_json::from_str(&show(&["--json"])).expect("JSON");
    assert_eq!(json["clients"], 2);
    let primary = &json["servers"][0];
    assert_eq!(primary["server"], cluster.address(0));
    assert_eq!(primary["role"], "primary");
    assert_eq!(primary["pool"]["limit"], 3);
    assert_eq!(primary["pool"]["busy"], 1);
    assert_eq!(primary["pool"]["pins"], 1);
    assert!(json["servers"][1]["lag_seconds"].is_number(), "{json}");
    let read = |route: &serde_json::Value| route["why"] == "read" && route["count"] == 1;
    assert!(json["routes"].as_array().expect("a list").iter().any(read));
    let text = show(&[]);
    for part in [
        "2 clients; consistency session",
        "transaction",
        "configured",
        "what took most time",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let (status, out, _) =
        endpoint
            .agent
            .command(&["mysql", "explain", "--offline", "DELETE FROM kv"]);
    assert!(
        status.success() && out.contains("goes to      primary"),
        "{out}"
    );
}
