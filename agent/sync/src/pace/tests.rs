//! Pauses keep their bounds, retries end, and the number of requests follows what the storage says.

use super::*;

const STALL: Duration = Duration::from_secs(20);

fn broken() -> StoreError {
    StoreError::Unreachable("test".to_owned())
}

#[test]
fn pauses_stay_within_their_bounds_and_differ() {
    let base = Duration::from_secs(10);
    let pauses: Vec<_> = (0..100).map(|_| jittered(base, 0.2)).collect();
    assert!(
        pauses
            .iter()
            .all(|pause| (8.0..=12.0).contains(&pause.as_secs_f64())),
        "{pauses:?}"
    );
    assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]));
    for failures in [1, 2, 10, 1000] {
        let pause = pause_after(failures, Duration::from_secs(30));
        assert!(
            pause >= Duration::from_millis(250) && pause <= Duration::from_secs(30),
            "{pause:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_tried_five_times_at_most() {
    let mut retries = Retries::new(STALL);
    let waits: Vec<_> = std::iter::from_fn(|| retries.after(&broken())).collect();
    assert_eq!(waits.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_not_tried_again() {
    for error in [
        StoreError::NotFound,
        StoreError::Changed,
        StoreError::NoContainer,
        StoreError::Denied {
            status: 403,
            code: String::new(),
        },
    ] {
        assert_eq!(Retries::new(STALL).after(&error), None, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_up_to_the_patience_of_a_request() {
    let throttled = |seconds| StoreError::Throttled {
        status: 503,
        retry_after: Some(Duration::from_secs(seconds)),
    };
    let wait = Retries::new(STALL).after(&throttled(3)).unwrap();
    assert!(wait >= Duration::from_secs(3), "{wait:?}");
    assert_eq!(Retries::new(STALL).after(&throttled(3600)), None);
}

#[tokio::test(start_paused = true)]
async fn time_and_progress_count() {
    let mut retries = Retries::new(STALL);
    // two silences may be waited out, not three
    tokio::time::advance(STALL * 2).await;
    assert!(retries.after(&broken()).is_some());
    tokio::time::advance(STALL).await;
    assert_eq!(retries.after(&broken()), None);
    retries.progress(PROGRESS);
    assert!(retries.after(&broken()).is_some());
}

#[tokio::test(start_paused = true)]
async fn throttling_halves_once_a_second_and_answers_bring_it_back() {
    let governor = Governor::new(32);
    governor.throttled();
    governor.throttled();
    assert_eq!(governor.limit(), 16);
    tokio::time::advance(Duration::from_secs(1)).await;
    governor.throttled();
    assert_eq!(governor.limit(), 8);
    for _ in 0..8 {
        governor.answered();
    }
    assert_eq!(governor.limit(), 9);
    for _ in 0..10_000 {
        governor.answered();
    }
    assert_eq!(governor.limit(), 32);
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(1)).await;
        governor.throttled();
    }
    assert_eq!(governor.limit(), 1);
}
