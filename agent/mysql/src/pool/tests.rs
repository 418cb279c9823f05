//! The line in front of a pool, on paused time and without a server: who waits, in which order, and who is refused when.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use lamplighter_core::config::{SecretDirs, SecretFile};
use lamplighter_core::metrics::Registry;
use lamplighter_core::units::Millis;
use tokio::time::Instant;

use super::*;

/// Nobody listens there.
const ADDRESS: &str = "127.0.0.1:1";

const WAIT: Duration = Duration::from_secs(2);

fn pool(max_server_connections: usize) -> Arc<Pool> {
    pool_that_waits(max_server_connections, Duration::ZERO)
}

fn pool_that_waits(max_server_connections: usize, failover_wait: Duration) -> Arc<Pool> {
    pool_of(
        ADDRESS,
        config::Pool {
            max_server_connections,
            failover_wait: Millis::new(u64::try_from(failover_wait.as_millis()).unwrap()),
            ..config::Pool::default()
        },
    )
}

fn pool_that_shares(fleet_budget: usize) -> Arc<Pool> {
    pool_of(
        ADDRESS,
        config::Pool {
            fleet_budget: Some(fleet_budget),
            fleet_size_max: 1,
            ..config::Pool::default()
        },
    )
}

fn pool_of(server: &str, limits: config::Pool) -> Arc<Pool> {
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
    let shares = Shares {
        tenants: [lamplighter_core::units::Percent::new(100.0)].into(),
        fallback: lamplighter_core::units::Percent::new(50.0),
    };
    Pool::new(
        account,
        limits,
        shares,
        &Metrics::register(&Registry::new()).unwrap(),
    )
}

#[tokio::test(start_paused = true)]
async fn places_are_given_in_the_order_of_asking() {
    let pool = pool(1);
    let first = pool.place(Claim::OWN).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = tokio::task::JoinSet::new();
    for number in 0..5 {
        let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
        waiters.spawn(async move {
            let place = pool.place(Claim::OWN).await.unwrap();
            order.lock().unwrap().push(number);
            drop(place);
        });
        // lets it queue before the next one asks
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.standing(Claim::OWN).waiting, 5);
    drop(first);
    while waiters.join_next().await.is_some() {}
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert_eq!(pool.standing(Claim::OWN).waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_pool_refuses_after_its_wait_and_says_why() {
    let pool = pool(2);
    let _held = (
        pool.place(Claim::OWN).await.unwrap(),
        pool.place(Claim::OWN).await.unwrap(),
    );
    let start = Instant::now();
    let error = pool.place(Claim::OWN).await.unwrap_err();
    assert_eq!(start.elapsed(), WAIT);
    let text = "no connection to 127.0.0.1:1 came free within 2s: all 2 are in use, 0 statements wait; no trouble with the server so far";
    assert_eq!(error.to_string(), text);
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
    assert_eq!(pool.standing(Claim::OWN).in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_leaves_the_line() {
    let pool = pool(1);
    let held = pool.place(Claim::OWN).await.unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(1), pool.place(Claim::OWN)).await;
    assert!(given_up.is_err());
    assert_eq!(pool.standing(Claim::OWN).waiting, 0);
    drop(held);
    assert!(pool.place(Claim::OWN).await.is_ok());
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
    assert_eq!(pool.standing(Claim::OWN).in_use, 0);
    assert!(!pool.outage.is_on());
}

#[tokio::test]
async fn a_connection_on_its_way_to_be_kept_ready_is_nobodys_and_not_waited_for() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let pool = pool_of(&address, config::Pool::default());
    let mut upkeep = std::pin::pin!(pool.maintain());
    tokio::select! {
        () = &mut upkeep => panic!("a server that says nothing was opened"),
        asked = silent.accept() => drop(asked.unwrap()),
    }
    assert_eq!((pool.busy(), pool.lock().open), (0, 1));
    upkeep.await;
    assert_eq!((pool.busy(), pool.lock().open), (0, 0));
    assert_eq!(pool.standing(Claim::OWN).in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_may_have_nothing_waits_until_it_may() {
    let pool = pool_that_shares(3);
    pool.grant(Part::Unknown);
    let error = pool.place(Claim::OWN).await.unwrap_err().to_string();
    assert!(
        error.contains("no share of the fleet's connections"),
        "{error}"
    );
    let told = async {
        tokio::task::yield_now().await;
        assert!(pool.is_wanted());
        pool.note_server_max(1000);
        pool.grant(Part::Alone { amount: 1 });
    };
    let (place, ()) = tokio::join!(pool.place(Claim::OWN), told);
    place.unwrap();
    assert_eq!(pool.claimed(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_last_went_wrong_is_told_to_who_waits_in_vain() {
    let pool = pool(1);
    pool.note_trouble(&std::io::Error::other("the disk is full"));
    let _held = pool.place(Claim::OWN).await.unwrap();
    let error = pool.place(Claim::OWN).await.unwrap_err().to_string();
    assert!(
        error.contains("last trouble, ") && error.ends_with(" ago: the disk is full"),
        "{error}"
    );
}
