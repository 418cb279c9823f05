//! Two hundred instances that start in the same second, on one storage: how many requests it sees in each second.

use super::*;
use crate::publish::{Publication, publish_to};

const INSTANCES: usize = 200;
const INTERVAL_SECONDS: u64 = 30;
const WATCHED_SECONDS: usize = 300;

/// Requests in each second since `start`.
fn per_second(times: &[Instant], start: Instant) -> Vec<usize> {
    let mut counts = vec![0; WATCHED_SECONDS];
    for time in times {
        let second = usize::try_from(time.duration_since(start).as_secs()).unwrap();
        if let Some(count) = counts.get_mut(second) {
            *count += 1;
        }
    }
    counts
}

#[tokio::test(start_paused = true)]
async fn two_hundred_instances_that_start_together_do_not_ask_together() {
    let fake = Fake::new();
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site");
    std::fs::create_dir(&site).unwrap();
    for n in 0..5 {
        std::fs::write(site.join(format!("f{n}")), n.to_string()).unwrap();
    }
    let publication = Publication {
        dir: site,
        release: Some("r1".to_owned()),
        bundle: true,
    };
    let config = config_in(dir.path(), |_| {});
    publish_to(&config, fake.clone(), publication, |_| {})
        .await
        .unwrap();
    fake.note_times();
    let start = Instant::now();
    let mut lives = Vec::new();
    for vm in 0..INSTANCES {
        let home = tempfile::tempdir_in(dir.path()).unwrap();
        lives.push(live_as(&format!("vm{vm}"), home, &fake, |_| {}));
    }
    tokio::time::sleep(Duration::from_secs(WATCHED_SECONDS as u64)).await;
    let counts = per_second(&fake.times(), start);
    // the table of the run, shown with --nocapture
    for (decade, counts) in counts.chunks(10).enumerate() {
        println!("{:4} s: {counts:?}", decade * 10);
    }
    // all of them are there within two seconds: a manifest and a bundle each
    let first: usize = counts[..2].iter().sum();
    // and a few whose second pass is due already
    assert!(
        (2 * INSTANCES..2 * INSTANCES + 60).contains(&first),
        "{counts:?}"
    );
    assert!(lives.iter().all(|life| life.status().files == 5));
    // and from then on one request per instance and interval, spread: nowhere near all at once
    let average = INSTANCES / usize::try_from(INTERVAL_SECONDS).unwrap();
    let later = &counts[2..];
    assert!(
        later.iter().all(|count| *count <= 5 * average),
        "{counts:?}"
    );
    let total: usize = later.iter().sum();
    let expected = average * later.len();
    assert!(
        total > expected * 8 / 10 && total < expected * 14 / 10,
        "{total} of {expected}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_throttles_all_of_them_is_left_in_peace_and_comes_back() {
    let fake = Fake::new();
    fake.put("f", "1");
    let throttle = || StoreError::Throttled {
        status: 503,
        retry_after: Some(Duration::from_secs(5)),
    };
    fake.script(LIST, vec![Fault::Error(throttle); 300]);
    fake.note_times();
    let start = Instant::now();
    let lives: Vec<Life> = (0..INSTANCES)
        .map(|vm| {
            live_as(
                &format!("vm{vm}"),
                tempfile::tempdir().unwrap(),
                &fake,
                |config| {
                    config.manifest = crate::config::Manifest::Ignore;
                },
            )
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(WATCHED_SECONDS as u64)).await;
    let counts = per_second(&fake.times(), start);
    // nobody asks again before the five seconds that were asked for
    assert!(counts[2..4].iter().all(|count| *count == 0), "{counts:?}");
    assert!(
        lives.iter().all(|life| life.status().files == 1),
        "{counts:?}"
    );
}
