//! A planned switch-over under load: the old primary takes no more writes, a replica that has all of them becomes the primary, and the
//! name leads to it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lamplighter_wire::mysql::command::Command;

use super::{login, value};
use crate::benches;
use crate::endpoint::{Options, PATIENCE, start};
use crate::support::faults::Proxy;
use crate::support::mysql::Cluster;
use crate::support::mysql::raw::{Link, Login, Param, Part, error_of, execute_body};
use crate::support::poll;

const CLIENTS: u64 = 64;

/// What all clients have done so far.
#[derive(Default)]
struct Count {
    written: AtomicU64,
    read: AtomicU64,
    /// The longest any statement took, in microseconds.
    longest: AtomicU64,
    over: AtomicBool,
}

/// Writes as text and prepared, and reads what it wrote, until it is over. Every statement must succeed.
fn work(client: u64, login: &Login, count: &Count) {
    let mut link = Link::open(login).expect("in");
    let (id, _) = link.prepare(b"INSERT INTO ledger VALUES (?, ?)");
    let id = id.expect("prepared");
    let mut number = 0;
    while !count.over.load(Ordering::SeqCst) {
        number += 1;
        let key = client * 1_000_000 + number;
        let begun = Instant::now();
        let answer = if number % 2 == 0 {
            link.query(format!("INSERT INTO ledger VALUES ({key}, {number})").as_bytes())
        } else {
            let params = [key, number].map(|it| Param::Int(i64::try_from(it).expect("small")));
            link.execute(&execute_body(id, false, &params, true))
        };
        assert!(
            matches!(answer[..], [Part::Ok { affected: 1, .. }]),
            "{client}/{number}: {answer:?}"
        );
        count.written.fetch_add(1, Ordering::SeqCst);
        let asked = Instant::now();
        let answer = link.query(format!("SELECT v FROM ledger WHERE id = {key}").as_bytes());
        assert_eq!(error_of(&answer), None, "{client}/{number}");
        assert_eq!(
            value(&answer),
            number.to_string(),
            "{client}/{number}: a stale read"
        );
        count.read.fetch_add(1, Ordering::SeqCst);
        let longest = (asked - begun).max(asked.elapsed());
        let longest = u64::try_from(longest.as_micros()).expect("small");
        count.longest.fetch_max(longest, Ordering::SeqCst);
    }
    link.send(Command::StmtClose, &id.to_le_bytes()).ok();
}

fn wait_for_writes(count: &Count, more: u64) {
    let end = count.written.load(Ordering::SeqCst) + more;
    poll::until(PATIENCE * 3, "clients that write", || {
        count.over.load(Ordering::SeqCst) || count.written.load(Ordering::SeqCst) >= end
    });
}

#[test]
fn a_planned_switch_over_under_64_busy_clients_fails_no_statement() {
    let cluster = Cluster::builder()
        .replicas(2)
        .schema("CREATE TABLE app.ledger (id BIGINT PRIMARY KEY, v INT NOT NULL);")
        .build();
    let proxy = Proxy::start(&cluster.address(0));
    let options = Options {
        primary: Some(proxy.address()),
        pool: "failover_wait = \"60s\"\nwait_timeout = \"60s\"".to_owned(),
        ..Options::default()
    };
    let endpoint = start(&cluster, options);
    let login = login(&endpoint);
    let count = Count::default();
    let switched = std::thread::scope(|scope| {
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|client| {
                let (login, count) = (&login, &count);
                scope.spawn(move || {
                    let ended = std::panic::catch_unwind(|| work(client, login, count));
                    // whoever fails ends it for all
                    count.over.fetch_or(ended.is_err(), Ordering::SeqCst);
                    ended
                })
            })
            .collect();
        wait_for_writes(&count, 4 * CLIENTS);
        let begun = Instant::now();
        cluster.sql(0, "SET PERSIST super_read_only=ON");
        cluster.wait_replicas();
        cluster.promote(1);
        proxy.retarget(&cluster.address(1));
        let switched = begun.elapsed();
        wait_for_writes(&count, 4 * CLIENTS);
        count.over.store(true, Ordering::SeqCst);
        for client in clients {
            if let Err(failed) = client.join().expect("caught") {
                std::panic::resume_unwind(failed);
            }
        }
        switched
    });
    let [written, read] = [&count.written, &count.read].map(|it| it.load(Ordering::SeqCst));
    let longest = Duration::from_micros(count.longest.load(Ordering::SeqCst));
    benches::tell(&format!(
        "| switched over in {switched:.1?}, {CLIENTS} clients | Lamplighter | | {longest:.1?} | | | 0 of {} |",
        written + read
    ));
    let rows = cluster.sql(1, "SELECT COUNT(*) FROM app.ledger");
    assert_eq!(rows[0][0], written.to_string(), "each write once");
    assert!(endpoint.metric("lamplighter_mysql_failover_wait_seconds_count") > 0.5);
}
