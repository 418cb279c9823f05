//! Statistics: bounded, exact for what stays, and what is costly stays.

use super::*;

fn statistics(digests_max: usize) -> Statistics {
    Statistics::new(digests_max, &Registry::new()).expect("names are free")
}

fn run(statistics: &Statistics, sql: &str, micros: u64, tally: Tally) -> Key {
    let key = statistics
        .key(sql.as_bytes(), Mode::default())
        .expect("switched on");
    statistics.record(key, &tally, Duration::from_micros(micros));
    key
}

#[test]
fn statements_of_one_digest_are_counted_together() {
    let statistics = statistics(100);
    let on_replica = Tally {
        place: Place::Replica,
        rows_sent: 3,
        bytes: 50,
        ..Tally::default()
    };
    let failed = Tally {
        place: Place::Primary,
        failed: true,
        rows_affected: 2,
        ..Tally::default()
    };
    run(&statistics, "SELECT a FROM t WHERE b = 1", 100, on_replica);
    run(
        &statistics,
        "select a from t where b = 'x'",
        200,
        on_replica,
    );
    let key = run(&statistics, "SELECT a FROM t WHERE b=2", 4000, failed);
    run(&statistics, "SELECT b FROM t", 10, Tally::default());
    let top = statistics.top(10);
    assert_eq!((top.known, top.evicted), (2, 0));
    let first = &top.digests[0];
    assert_eq!(Some(first), statistics.of(key).as_ref());
    assert_eq!(first.text, "SELECT `a` FROM `t` WHERE `b` = ?");
    assert_eq!((first.calls, first.errors), (3, 1));
    assert_eq!(
        (first.rows_sent, first.rows_affected, first.bytes_sent),
        (6, 2, 100)
    );
    let routes = Routes {
        primary: 1,
        replica: 2,
        local: 0,
    };
    assert_eq!(first.routes, routes);
    assert!((first.seconds - 0.0043).abs() < 1e-9, "{}", first.seconds);
    assert!((first.seconds_max - 0.004).abs() < 1e-9);
    assert!(
        (0.0002..0.00023).contains(&first.p50_seconds),
        "{}",
        first.p50_seconds
    );
    assert!(
        (0.004..0.0046).contains(&first.p99_seconds),
        "{}",
        first.p99_seconds
    );
    assert_eq!(statistics.top(1).digests.len(), 1);
}

#[test]
fn what_is_costly_stays_however_many_others_come() {
    let statistics = statistics(32);
    for round in 0..2000 {
        if round % 10 == 0 {
            run(&statistics, "SELECT costly", 5000, Tally::default());
        }
        run(
            &statistics,
            &format!("SELECT c{round}"),
            40,
            Tally::default(),
        );
    }
    let top = statistics.top(100);
    assert!(top.known <= 32, "{} are kept", top.known);
    assert!(top.evicted > 1900, "only {} were dropped", top.evicted);
    assert_eq!(top.digests[0].text, "SELECT `costly`");
    assert_eq!(top.digests[0].calls, 200);
    let known = usize::try_from(statistics.series.digests.get()).expect("positive");
    assert!(known <= 32 && known >= top.known);
}

#[test]
fn pins_are_listed_while_they_last_and_counted_afterwards() {
    let statistics = statistics(10);
    let key = run(&statistics, "LOCK TABLES t WRITE", 10, Tally::default());
    let facts = PinFacts {
        reason: "lock_tables",
        since: Instant::now()
            .checked_sub(Duration::from_secs(5))
            .expect("the machine is up for longer"),
        key: Some(key),
        user: "web".into(),
        server: "db:3306".into(),
    };
    statistics.pinned(7, facts.clone());
    statistics.pinned(
        8,
        PinFacts {
            reason: "transaction",
            since: Instant::now(),
            key: None,
            ..facts
        },
    );
    let pins = statistics.pins().pins;
    assert_eq!(pins.len(), 2);
    let first = &pins[0];
    assert_eq!((first.client, first.user.as_str()), (7, "web"));
    assert_eq!(
        (first.reason.as_str(), first.server.as_str()),
        ("lock_tables", "db:3306")
    );
    assert_eq!(first.text.as_deref(), Some("LOCK TABLES `t` WRITE"));
    assert!(first.seconds >= 5.0);
    assert_eq!((pins[1].client, &pins[1].digest), (8, &None));
    statistics.unpinned(7);
    statistics.unpinned(7);
    statistics.unpinned(99);
    assert_eq!(statistics.pins().pins.len(), 1);
    let tally = &statistics.of(key).expect("known").pins;
    assert_eq!(
        (tally[0].reason.as_str(), tally[0].count),
        ("lock_tables", 1)
    );
    assert!(tally[0].seconds >= 5.0);
}

#[test]
fn switched_off_it_keeps_nothing() {
    let statistics = statistics(0);
    assert_eq!(statistics.key(b"SELECT 1", Mode::default()), None);
    assert_eq!(statistics.top(10).known, 0);
}
