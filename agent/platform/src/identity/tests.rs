//! A refresher against a service that is scripted.

use lamplighter_core::health::{Condition, HealthBoard};
use lamplighter_core::metrics::Registry;
use lamplighter_core::secret::Secret;

use super::*;
use crate::imds::ImdsError;

const SECOND: Duration = Duration::from_secs(1);

fn refresher() -> (
    Refresher,
    lamplighter_core::identity::TokenSource,
    HealthBoard,
) {
    let board = HealthBoard::new();
    let (publisher, source) = TokenPublisher::new(Resource::Redis);
    let registry = Registry::new();
    let series = Series::register(&registry).unwrap();
    let line = board.writer("platform:token-redis");
    let refresher = Refresher::new(Provider::Nobody("off"), publisher, line, &series);
    (refresher, source, board)
}

fn token(word: &str, lifetime: Duration) -> reply::Reply {
    reply::Reply {
        secret: Secret::new(word.as_bytes().to_vec()),
        lifetime,
        object_id: None,
    }
}

fn gone() -> ProviderError {
    ProviderError::Imds(ImdsError::Status {
        status: 410,
        retry_after: None,
        text: String::new(),
    })
}

fn condition(board: &HealthBoard) -> Condition {
    board.snapshot().reports["platform:token-redis"].condition
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_service_is_told_before_the_token_ends_and_costs_nothing_until_then() {
    let (mut refresher, source, board) = refresher();
    refresher.take(Ok(token("one", 100 * SECOND)));
    refresher.show();
    assert_eq!(condition(&board), Condition::Ok);
    tokio::time::advance(60 * SECOND).await;
    refresher.take(Err(gone()));
    refresher.show();
    assert_eq!(condition(&board), Condition::Degraded);
    assert_eq!(source.current().unwrap().remaining(), 40 * SECOND);
    tokio::time::advance(40 * SECOND).await;
    refresher.show();
    assert_eq!(condition(&board), Condition::Down);
    assert!(source.current().is_none());
    refresher.take(Ok(token("two", 100 * SECOND)));
    refresher.show();
    assert_eq!(condition(&board), Condition::Ok);
    assert_eq!(source.current().unwrap().secret().expose(), b"two");
}

#[test]
fn a_wrong_set_up_is_not_asked_about_every_second() {
    let refused = ProviderError::Refused {
        authority: "x".to_owned(),
        status: 401,
        text: String::new(),
    };
    assert!(refused.is_refusal());
    assert_eq!(refused.pause(1), 30 * SECOND);
    let broken = ProviderError::AssertionText;
    let pauses = [1, 2, 3, 4, 5].map(|n| broken.pause(n).as_secs());
    assert_eq!(pauses, [2, 6, 14, 30, 30]);
    assert_eq!(gone().pause(9), 10 * SECOND);
}

#[test]
fn a_user_assigned_identity_is_named_in_the_query() {
    let identity = crate::config::Identity {
        resource_id: Some("/subscriptions/1/x&y".to_owned()),
        ..Default::default()
    };
    let registry = Registry::new();
    let requests = crate::imds::Imds::register(&registry).unwrap();
    let imds = crate::imds::Imds::new("http://127.0.0.1:1".parse().unwrap(), requests);
    let Provider::Managed { whom, .. } = Provider::managed(imds, &identity) else {
        panic!("a managed identity");
    };
    assert_eq!(whom, "&msi_res_id=%2Fsubscriptions%2F1%2Fx%26y");
}
