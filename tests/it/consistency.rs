//! Reads that see what they have to, while one replica is three seconds behind and another is not: with GTIDs and without, within a
//! session and between sessions.

mod history;
mod mariadb;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::benches;
use crate::crosstalk::number;
use crate::endpoint::{Endpoint, Options, PATIENCE, start};
use crate::support::mysql::raw::{Link, Login, Part, error_of};
use crate::support::mysql::{APP, Cluster, MON};
use crate::support::poll;
use crate::support::redis::Server;

/// How far one of the replicas is behind, in seconds.
const BEHIND: u32 = 3;

/// Who writes and reads at the same time.
const WRITERS: u32 = 4;

/// How often each of them, unless `LAMPLIGHTER_PAIRS` says more.
fn pairs(otherwise: u64) -> u64 {
    number("LAMPLIGHTER_PAIRS", otherwise)
}

/// A row for each writer, and the heartbeat.
fn schema() -> String {
    let rows: Vec<String> = (0..WRITERS).map(|id| format!("({id}, 0)")).collect();
    format!(
        "CREATE TABLE app.counts (id INT PRIMARY KEY, n BIGINT NOT NULL); INSERT INTO app.counts VALUES {};\
         CREATE DATABASE lamplighter;\
         CREATE TABLE lamplighter.heartbeat (id INT PRIMARY KEY, beat BIGINT UNSIGNED NOT NULL);\
         INSERT INTO lamplighter.heartbeat VALUES (1, 1);\
         GRANT SELECT, INSERT, UPDATE ON lamplighter.heartbeat TO {}@'%';",
        rows.join(", "),
        MON.0
    )
}

fn cluster() -> Cluster {
    Cluster::builder().replicas(2).schema(&schema()).build()
}

fn endpoint(cluster: &Cluster, keys: &str) -> Endpoint {
    let options = Options {
        keys: format!("heartbeat = {{ interval = \"100ms\" }}\n{keys}"),
        ..Options::default()
    };
    let endpoint = start(cluster, options);
    endpoint.wait_readable(cluster, 3);
    endpoint
}

fn open(endpoint: &Endpoint) -> Link {
    let login = Login {
        database: Some("app".to_owned()),
        ..Login::new(endpoint.socket(), "web", "")
    };
    Link::open(&login).expect("the endpoint lets us in")
}

/// The only value of a query.
#[track_caller]
fn value(link: &mut Link, sql: &str) -> u64 {
    let answer = link.query(sql.as_bytes());
    let row = answer.iter().find_map(|part| match part {
        Part::Row(body) => Some(body),
        _ => None,
    });
    let row = row.unwrap_or_else(|| panic!("{sql}: {answer:?}"));
    let text = std::str::from_utf8(&row[1..]).expect("digits");
    text.parse().unwrap_or_else(|_| panic!("{sql}: {text}"))
}

#[track_caller]
fn run(link: &mut Link, sql: &str) {
    let answer = link.query(sql.as_bytes());
    assert_eq!(error_of(&answer), None, "{sql}");
}

/// Who reads what a writer wrote.
#[derive(Clone, Copy)]
enum Reading<'a> {
    /// The writer itself.
    Own,
    /// Another client, who stays.
    Apart(&'a Endpoint),
    /// Another one each time, as PHP requests are.
    Anew(&'a Endpoint),
}

/// Counts up, and every read must see the count. How long each read took.
fn write_and_read(writer: &mut Link, reading: Reading<'_>, id: u32, pairs: u64) -> Vec<Duration> {
    let write = format!("UPDATE counts SET n = n + 1 WHERE id = {id}");
    let read = format!("SELECT n FROM counts WHERE id = {id}");
    let mut apart = match reading {
        Reading::Apart(endpoint) => Some(open(endpoint)),
        Reading::Own | Reading::Anew(_) => None,
    };
    let before = value(writer, &format!("{read} FOR UPDATE"));
    let pair = |count| {
        run(writer, &write);
        let mut new = match reading {
            Reading::Anew(endpoint) => Some(open(endpoint)),
            Reading::Own | Reading::Apart(_) => None,
        };
        let reader = new.as_mut().or(apart.as_mut()).unwrap_or(writer);
        let begun = Instant::now();
        assert_eq!(value(reader, &read), count, "a stale read");
        begun.elapsed()
    };
    (before + 1..=before + pairs).map(pair).collect()
}

/// All writers at once.
fn write_and_read_all(
    writer: &(dyn Fn() -> Link + Sync),
    reading: Reading<'_>,
    pairs: u64,
) -> Vec<Duration> {
    std::thread::scope(|scope| {
        let work = |id| scope.spawn(move || write_and_read(&mut writer(), reading, id, pairs));
        let writers: Vec<_> = (0..WRITERS).map(work).collect();
        let ended = writers
            .into_iter()
            .flat_map(|it| it.join().expect("no stale read"));
        ended.collect()
    })
}

/// One row of the table that `make bench-consistency` makes.
fn print_row(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |percent: usize| took[took.len() * percent / 100].as_secs_f64() * 1e3;
    benches::tell(&format!(
        "| {what} | {} | {:.2} | {:.2} |",
        took.len(),
        at(50),
        at(99)
    ));
}

/// The same without an agent: what is written and read on the primary.
fn pairs_on_primary(cluster: &Cluster, pairs: u64) {
    let login = Login {
        database: Some("app".to_owned()),
        ..Login::new(cluster.address(0), APP.0, APP.1)
    };
    let writer = || Link::open(&login).expect("the server lets us in");
    let took = write_and_read_all(&writer, Reading::Own, pairs);
    print_row("the primary, without an agent", took);
}

fn routed(endpoint: &Endpoint, target: &str, why: &str) -> f64 {
    endpoint.metric(&format!(
        "lamplighter_mysql_routed_total{{target=\"{target}\",why=\"{why}\"}}"
    ))
}

/// An agent that tells others by `redis` what was written through it.
fn one_of_a_fleet(cluster: &Cluster, redis: &Server) -> Endpoint {
    let options = Options {
        keys: "heartbeat = { interval = \"100ms\" }\nconsistency = \"fleet\"".to_owned(),
        tables: format!("[redis]\nupstream = \"{}\"", redis.url()),
        ..Options::default()
    };
    let endpoint = start(cluster, options);
    endpoint.wait_readable(cluster, 3);
    poll::until(PATIENCE, "Redis to be reached", || {
        match endpoint.metric("lamplighter_redis_upstream_up") {
            1.0 => Ok(()),
            other => Err(other),
        }
    });
    endpoint
}

/// Writes through one agent and reads; meanwhile somebody else reads where that is done, by whom nothing was written.
fn all_pairs(what: &str, endpoint: &Endpoint, reading: Reading<'_>, pairs: u64) {
    const NOBODY: &str = "SELECT n FROM counts WHERE id = 0 /* lamplighter:key=nobody */";
    let read = match reading {
        Reading::Own => endpoint,
        Reading::Apart(other) | Reading::Anew(other) => other,
    };
    let done = AtomicBool::new(false);
    let replicas = routed(read, "replica", "read");
    let (others, took) = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            let mut link = open(read);
            let mut count = 0_u32;
            while !done.load(Ordering::Relaxed) {
                value(&mut link, NOBODY);
                count += 1;
            }
            f64::from(count)
        });
        let took =
            std::panic::catch_unwind(|| write_and_read_all(&|| open(endpoint), reading, pairs));
        done.store(true, Ordering::Relaxed);
        let others = other.join().expect("reads go on");
        (
            others,
            took.unwrap_or_else(|stale| std::panic::resume_unwind(stale)),
        )
    });
    print_row(what, took);
    let by_replicas = routed(read, "replica", "read") - replicas;
    assert!(
        by_replicas >= 0.8 * others,
        "ordinary reads: {others}, by replicas: {by_replicas}"
    );
}

fn waits(endpoint: &Endpoint, outcome: &str) -> f64 {
    endpoint.metric(&format!(
        "lamplighter_mysql_read_waits_total{{outcome=\"{outcome}\"}}"
    ))
}

#[test]
fn a_session_sees_its_own_writes_and_others_read_from_replicas() {
    let (cluster, pairs) = (cluster(), pairs(400));
    cluster.lag(1, BEHIND);
    let session = endpoint(&cluster, "");
    pairs_on_primary(&cluster, pairs);
    all_pairs("session, GTIDs", &session, Reading::Own, pairs);
    drop(session);
    let instance = endpoint(&cluster, "consistency = \"instance\"");
    let apart = Reading::Apart(&instance);
    all_pairs("instance, GTIDs", &instance, apart, pairs);
    drop(instance);
    // without names: by the heartbeat alone
    cluster.forget_gtids();
    let unnamed = endpoint(&cluster, "consistency = \"instance\"");
    let apart = Reading::Apart(&unnamed);
    all_pairs("instance, heartbeat alone", &unnamed, apart, pairs);
    assert_eq!(waits(&unnamed, "caught_up"), 0.0);
}

#[test]
fn what_was_written_through_one_agent_is_seen_through_another() {
    let (cluster, redis, pairs) = (cluster(), Server::builder().start(), pairs(100));
    cluster.lag(1, BEHIND);
    let two = || {
        (
            one_of_a_fleet(&cluster, &redis),
            one_of_a_fleet(&cluster, &redis),
        )
    };
    let (one, other) = two();
    all_pairs("fleet, GTIDs", &one, Reading::Anew(&other), pairs);
    // without Redis nobody knows what others wrote
    redis.kill();
    let primary = routed(&other, "primary", "others_unknown");
    write_and_read(&mut open(&one), Reading::Anew(&other), 1, 5);
    assert_eq!(routed(&other, "primary", "others_unknown") - primary, 5.0);
    redis.start();
    cluster.forget_gtids();
    drop((one, other));
    let (one, other) = two();
    all_pairs("fleet, heartbeat alone", &one, Reading::Anew(&other), pairs);
    // what had no name is known by its beat in the end, and read from the replica that is not behind
    poll::until(PATIENCE, "a read from a replica", || {
        let before = routed(&other, "replica", "read");
        value(&mut open(&other), "SELECT n FROM counts WHERE id = 1");
        if routed(&other, "replica", "read") > before {
            Ok(())
        } else {
            Err("the primary")
        }
    });
}

#[test]
fn a_replica_is_waited_for_and_one_that_is_far_behind_is_not() {
    let cluster = cluster();
    cluster.lag(1, BEHIND);
    let endpoint = endpoint(&cluster, "read_wait = \"2s\"");
    let mut link = open(&endpoint);
    // which of them is far behind is known with the first beats
    poll::until(PATIENCE, "a read that waited for its write", || {
        run(&mut link, "UPDATE counts SET n = n + 1 WHERE id = 1");
        let count = value(&mut link, "SELECT n FROM counts WHERE id = 1 FOR UPDATE");
        assert_eq!(value(&mut link, "SELECT n FROM counts WHERE id = 1"), count);
        match waits(&endpoint, "caught_up") {
            0.0 => Err("the primary"),
            _ => Ok(()),
        }
    });
    assert_eq!(waits(&endpoint, "behind"), 0.0);
    let lag = format!(
        "lamplighter_mysql_replica_lag_seconds{{server=\"{}\"}}",
        cluster.address(1)
    );
    poll::until(PATIENCE, "the lag to be seen", || {
        match endpoint.metric(&lag) {
            lag if lag > f64::from(BEHIND) - 1.0 => Ok(()),
            lag => Err(lag),
        }
    });
}

#[test]
fn without_a_heartbeat_and_without_names_a_writer_reads_from_the_primary() {
    let cluster = cluster();
    cluster.forget_gtids();
    cluster.sql(0, "DROP TABLE lamplighter.heartbeat");
    let endpoint = endpoint(&cluster, "");
    let (mut writer, mut other) = (open(&endpoint), open(&endpoint));
    run(&mut writer, "UPDATE counts SET n = 7 WHERE id = 1");
    let before = routed(&endpoint, "primary", "wrote_before");
    for _ in 0..20 {
        assert_eq!(value(&mut writer, "SELECT n FROM counts WHERE id = 1"), 7);
        value(&mut other, "SELECT n FROM counts WHERE id = 1");
    }
    assert_eq!(routed(&endpoint, "primary", "wrote_before") - before, 20.0);
}

#[test]
fn users_rules_and_keys_say_where_reads_go() {
    let cluster = cluster();
    cluster.lag(1, BEHIND);
    cluster.lag(2, BEHIND);
    let keys = "consistency = \"instance\"\nrule = [{ statement = \"SELECT 1 FROM counts WHERE n = 5\", reads = \"primary\" }]";
    let endpoint = endpoint(&cluster, keys);
    let mut link = open(&endpoint);
    let count = |target, why| routed(&endpoint, target, why);
    let before = count("primary", "rule");
    run(&mut link, "SELECT 1 FROM counts WHERE n = 77");
    assert_eq!(count("primary", "rule") - before, 1.0);
    // what is written under one key is seen under it, and need not be under another
    run(
        &mut link,
        "UPDATE counts SET n = 1 WHERE id = 1 /* lamplighter:key=basket-1 */",
    );
    let mut other = open(&endpoint);
    let (replica, primary) = (count("replica", "read"), count("primary", "wrote_before"));
    value(
        &mut other,
        "SELECT n FROM counts WHERE id = 1 /* lamplighter:key=basket-2 */",
    );
    assert_eq!(count("replica", "read") - replica, 1.0);
    let seen = value(
        &mut other,
        "SELECT n FROM counts WHERE id = 1 /* lamplighter:key=basket-1 */",
    );
    assert_eq!((seen, count("primary", "wrote_before") - primary), (1, 1.0));
}

#[test]
fn a_read_only_transaction_stays_on_one_replica() {
    let cluster = cluster();
    let endpoint = endpoint(&cluster, "");
    let mut link = open(&endpoint);
    const WHERE: &str = "SELECT @@server_id";
    for _ in 0..8 {
        run(&mut link, "START TRANSACTION READ ONLY");
        let server = value(&mut link, WHERE);
        for _ in 0..5 {
            value(&mut link, "SELECT COUNT(*) FROM counts");
            assert_eq!(value(&mut link, WHERE), server);
        }
        assert!(server > 1);
        run(&mut link, "COMMIT");
        assert_eq!(value(&mut link, WHERE), 1);
    }
    // nothing can be written in it, and what would outlive it is refused
    run(&mut link, "START TRANSACTION READ ONLY");
    for (sql, codes) in [
        ("UPDATE counts SET n = 9", &[1290, 1792][..]),
        ("SET @kept = 1", &[1235]),
        ("SELECT GET_LOCK('kept', 0)", &[1235]),
    ] {
        let answer = link.query(sql.as_bytes());
        let (code, text) = error_of(&answer).expect(sql);
        assert!(codes.contains(&code), "{sql}: {code} {text}");
    }
    // another transaction ends it, as everywhere, and may write
    run(&mut link, "BEGIN");
    assert_eq!(value(&mut link, WHERE), 1);
    run(&mut link, "UPDATE counts SET n = 9 WHERE id = 2");
    run(&mut link, "COMMIT");
    assert_eq!(value(&mut link, "SELECT n FROM counts WHERE id = 2"), 9);
    run(&mut link, "SET @kept = 1");
}
