//! The line in front of a pool, on paused time and without a server: who waits, in which order, and who is refused when.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lamplighter_core::config::{SecretDirs, SecretFile};
use lamplighter_core::metrics::Registry;
use lamplighter_core::units::Millis;
use tokio::time::Instant;

use super::*;

const WAIT: Duration = Duration::from_secs(2);

fn pool(max_server_connections: usize) -> Arc<Pool> {
    pool_that_waits(max_server_connections, Duration::ZERO)
}

fn pool_that_waits(max_server_connections: usize, failover_wait: Duration) -> Arc<Pool> {
    pool_of("127.0.0.1:1", max_server_connections, failover_wait)
}

fn pool_of(server: &str, max_server_connections: usize, failover_wait: Duration) -> Arc<Pool> {
    let account = Account {
        server: server.parse().unwrap(),
        user: "app".to_owned(),
        credential: crate::server::credential::Credential::File {
            file: SecretFile::new("/nonexistent"),
            dirs: SecretDirs::default(),
        },
        tls: None,
        connect_timeout: Duration::from_secs(1),
        compression: None,
        statements_max: 64,
        threads: Arc::default(),
        facts: Arc::new(ArcSwapOption::empty()),
    };
    let limits = config::Pool {
        max_server_connections,
        failover_wait: Millis::new(u64::try_from(failover_wait.as_millis()).unwrap()),
        ..config::Pool::default()
    };
    Pool::new(
        account,
        limits,
        &Metrics::register(&Registry::new()).unwrap(),
    )
}

#[tokio::test(start_paused = true)]
async fn places_are_given_in_the_order_of_asking() {
    let pool = pool(1);
    let first = pool.place().await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = tokio::task::JoinSet::new();
    for number in 0..5 {
        let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
        waiters.spawn(async move {
            let place = pool.place().await.unwrap();
            order.lock().unwrap().push(number);
            drop(place);
        });
        // lets it queue before the next one asks
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.waiting.load(Ordering::Relaxed), 5);
    drop(first);
    while waiters.join_next().await.is_some() {}
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_refuses_after_its_wait_and_says_why() {
    let pool = pool(2);
    let _held = (pool.place().await.unwrap(), pool.place().await.unwrap());
    let start = Instant::now();
    let error = pool.place().await.unwrap_err();
    assert_eq!(start.elapsed(), WAIT);
    assert!(
        matches!(
            error,
            StatementError::Exhausted {
                limit: 2,
                waiting: 0,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.for_client().unwrap().code, 1040);
}

#[tokio::test]
async fn a_failure_to_open_gives_place_and_count_back() {
    let pool = pool(1);
    for _ in 0..3 {
        let error = pool
            .acquire(&Ask::of(&Bucket::of_nobody()))
            .await
            .unwrap_err();
        assert!(matches!(error, StatementError::Open { .. }), "{error}");
    }
    assert_eq!(pool.lock().open, 0);
    assert_eq!(pool.places.available_permits(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_leaves_the_line() {
    let pool = pool(1);
    let held = pool.place().await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(1), pool.place()).await;
    assert!(given_up.is_err());
    assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
    drop(held);
    assert!(pool.place().await.is_ok());
}

#[tokio::test]
async fn a_server_that_stays_away_is_told_after_the_wait_and_nothing_is_left_behind() {
    let wait = Duration::from_millis(100);
    let pool = pool_that_waits(2, wait);
    let bucket = Bucket::of_nobody();
    let (one, two) = (Ask::of(&bucket), Ask::of(&bucket));
    let (one, two) = tokio::join!(pool.acquire(&one), pool.acquire(&two));
    for error in [one.unwrap_err(), two.unwrap_err()] {
        assert!(
            matches!(error, StatementError::Away { waited, .. } if waited == wait),
            "{error}"
        );
        assert_eq!(error.for_client().unwrap().code, 2003);
    }
    assert_eq!(pool.lock().open, 0);
    assert_eq!(pool.places.available_permits(), 2);
    assert!(!pool.outage.is_on());
}

#[tokio::test]
async fn a_connection_on_its_way_to_be_kept_ready_is_nobodys_and_not_waited_for() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool_of(&silent.local_addr().unwrap().to_string(), 2, Duration::ZERO);
    let mut upkeep = std::pin::pin!(pool.maintain());
    tokio::select! {
        () = &mut upkeep => panic!("a server that says nothing was opened"),
        asked = silent.accept() => drop(asked.unwrap()),
    }
    assert_eq!((pool.busy(), pool.lock().open), (0, 1));
    upkeep.await;
    assert_eq!((pool.busy(), pool.lock().open), (0, 0));
    assert_eq!(pool.places.available_permits(), 2);
}
