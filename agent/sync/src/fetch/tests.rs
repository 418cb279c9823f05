//! One blob over a network that does everything wrong: the file is right or it is not there.

mod large;

use std::time::Duration;

use super::*;
use crate::metrics::Op;
use crate::rig::{RANGE, Rig};
use crate::store::fake::Fault;

/// Content that shows where it comes from, longer than one range.
fn content(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| at.to_le_bytes()[usize::from(at % 7 == 0)] ^ at.to_le_bytes()[2] ^ seed)
        .collect()
}

async fn remote(rig: &Rig, name: &str) -> RemoteFile {
    rig.fake.head(name).await.unwrap()
}

struct Bench {
    rig: Rig,
    root: Arc<Root>,
}

fn bench() -> Bench {
    let rig = Rig::new();
    let root = Arc::new(Root::open(&rig.engine.config).unwrap());
    Bench { rig, root }
}

impl Bench {
    /// Fetches `name` while it meets `faults`.
    async fn fetch(
        &self,
        name: &str,
        faults: impl IntoIterator<Item = Fault>,
    ) -> Result<Record, FetchError> {
        let remote = remote(&self.rig, name).await;
        self.rig.fake.script(name, faults);
        self.rig
            .engine
            .fetcher
            .fetch(&self.root, remote, &self.rig.engine.attempts)
            .await
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        // nothing is ever left aside
        let staging = self.rig.path(".lamplighter-staging");
        assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
        std::fs::read(self.rig.path(name)).ok()
    }
}

fn unreachable() -> StoreError {
    StoreError::Unreachable("test".to_owned())
}

#[tokio::test(start_paused = true)]
async fn sizes_around_every_boundary_arrive() {
    let bench = bench();
    let (flush, range) = (sink::FLUSH, usize::try_from(RANGE).unwrap());
    for len in [
        0,
        1,
        flush - 1,
        flush,
        flush + 1,
        3 * flush,
        range - 1,
        range,
        range + 1,
    ] {
        bench.rig.fake.put("f", content(len, 1));
        let record = bench.fetch("f", []).await.unwrap();
        assert!(bench.read("f").unwrap() == content(len, 1), "{len}");
        let Kind::File(file) = record.kind else {
            panic!()
        };
        assert_eq!(
            (file.size, file.sum),
            (len as u64, Way::Md5.of(&content(len, 1)))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_blob_needs_no_request() {
    let bench = bench();
    bench.rig.fake.put("empty", "");
    bench.rig.fake.take_log();
    bench.fetch("empty", []).await.unwrap();
    assert_eq!(bench.read("empty").unwrap(), b"");
    assert_eq!(bench.rig.fake.take_log(), ["head empty"]);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_taken_up_where_it_broke() {
    let bench = bench();
    bench.rig.fake.put("f", content(1000, 1));
    let cut = [
        Fault::Cut(300),
        Fault::Short(200),
        Fault::Stall(1),
        Fault::Error(unreachable),
    ];
    bench.fetch("f", cut).await.unwrap();
    assert_eq!(bench.read("f").unwrap(), content(1000, 1));
    assert_eq!(
        bench.rig.fake.take_log(),
        [
            "head f",
            "get f 0-1000",
            "get f 300-1000",
            "get f 500-1000",
            "get f 501-1000",
            "get f 501-1000"
        ]
    );
    assert!((bench.rig.metric("resumed_total{job=\"site\"}") - 4.0).abs() < 0.1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_answered_is_given_up_and_tried_again() {
    let bench = bench();
    bench.rig.fake.put("f", "x");
    let start = tokio::time::Instant::now();
    bench.fetch("f", [Fault::Silence]).await.unwrap();
    assert_eq!(bench.read("f").unwrap(), b"x");
    assert!(
        start.elapsed() < Duration::from_secs(21),
        "{:?}",
        start.elapsed()
    );
    let start = tokio::time::Instant::now();
    bench.fetch("f", vec![Fault::Silence; 9]).await.unwrap_err();
    assert!(
        start.elapsed() <= Duration::from_secs(62),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_network_that_stays_broken_ends_in_an_error_and_no_file() {
    let bench = bench();
    bench.rig.fake.put("f", content(1000, 1));
    let error = bench
        .fetch("f", vec![Fault::Cut(10); 50])
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Store(StoreError::Unreachable(_))),
        "{error}"
    );
    assert_eq!(bench.read("f"), None);
    // bounded: one attempt and four more
    assert_eq!(bench.rig.fake.take_log().len(), 1 + 5);
}

#[tokio::test(start_paused = true)]
async fn progress_buys_patience() {
    let bench = bench();
    let big = content(8 << 20, 3);
    bench.rig.fake.put("f", big.clone());
    // more cuts than one request gets, but every mebibyte counts
    bench
        .fetch("f", vec![Fault::Cut(1_000_000); 7])
        .await
        .unwrap();
    assert!(bench.read("f").unwrap() == big);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_not_what_was_asked_for_are_not_used() {
    let bench = bench();
    for fault in [Fault::WrongStart, Fault::Longer] {
        bench.rig.fake.put("f", content(1000, 1));
        bench
            .fetch("f", [Fault::Cut(100), fault.clone()])
            .await
            .unwrap();
        assert_eq!(bench.read("f").unwrap(), content(1000, 1), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_versions_are_never_mixed() {
    let bench = bench();
    let (old, new) = (content(3000, 1), content(5000, 2));
    bench.rig.fake.put("f", old);
    // half of the old one, then it is another: from the list to the first read, and between two reads
    for faults in [
        vec![Fault::Replace(new.clone())],
        vec![Fault::Cut(1500), Fault::Replace(new.clone())],
        vec![Fault::Sloppy(new.clone())],
        vec![Fault::Cut(1500), Fault::Sloppy(new.clone())],
        // of the same length, so that only the version tells
        vec![
            Fault::Cut(1500),
            Fault::Sloppy(content(3000, 9)),
            Fault::Sloppy(new.clone()),
        ],
    ] {
        bench.rig.fake.put("f", content(3000, 1));
        let record = bench.fetch("f", faults).await.unwrap();
        assert!(bench.read("f").unwrap() == new);
        let Kind::File(file) = record.kind else {
            panic!()
        };
        assert_eq!(file.etag, remote(&bench.rig, "f").await.etag);
    }
    assert!((bench.rig.metric("restarted_total{job=\"site\"}") - 6.0).abs() < 0.1);
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_never_settles_is_left_for_the_next_pass() {
    let bench = bench();
    bench.rig.fake.put("f", "0");
    let restless: Vec<_> = (1..20_u8)
        .map(|version| Fault::Replace(vec![version; 100]))
        .collect();
    let error = bench.fetch("f", restless).await.unwrap_err();
    assert!(matches!(error, FetchError::Unsettled), "{error}");
    assert_eq!(bench.read("f"), None);
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_goes_away_is_gone() {
    let bench = bench();
    bench.rig.fake.put("f", content(1000, 1));
    let error = bench
        .fetch("f", [Fault::Cut(10), Fault::Delete])
        .await
        .unwrap_err();
    assert!(
        matches!(error, FetchError::Store(StoreError::NotFound)),
        "{error}"
    );
    assert_eq!(bench.read("f"), None);
}

#[tokio::test(start_paused = true)]
async fn damage_on_the_way_is_noticed_and_fetched_again() {
    let bench = bench();
    bench.rig.fake.put("f", content(1000, 1));
    bench.fetch("f", [Fault::Damage]).await.unwrap();
    assert_eq!(bench.read("f").unwrap(), content(1000, 1));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_sum_is_refused_and_then_asked_for_ever_more_rarely() {
    let bench = bench();
    std::fs::write(bench.rig.path("f"), "old").unwrap();
    bench.rig.fake.put_with_md5_of("f", "content", "claim");
    let error = bench.fetch("f", []).await.unwrap_err();
    assert!(matches!(error, FetchError::Checksum { .. }), "{error}");
    assert_eq!(bench.read("f").unwrap(), b"old");
    bench.rig.fake.take_log();
    assert!(matches!(
        bench.fetch("f", []).await,
        Err(FetchError::Penalised)
    ));
    assert_eq!(bench.rig.fake.take_log(), ["head f"]);
    // after its time it is tried again, and the next time is longer
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(matches!(
        bench.fetch("f", []).await,
        Err(FetchError::Checksum { .. })
    ));
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(matches!(
        bench.fetch("f", []).await,
        Err(FetchError::Penalised)
    ));
    // another version is another story
    bench.rig.fake.put("f", "right");
    bench.fetch("f", []).await.unwrap();
    assert_eq!(bench.read("f").unwrap(), b"right");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_sum_may_be_accepted() {
    let rig = Rig::with(|config| config.on_checksum_mismatch = OnMismatch::Accept);
    rig.fake.put_with_md5_of("f", "content", "claim");
    rig.complete().await;
    assert_eq!(rig.tree()["f"], "content");
    // and is not fetched again
    assert_eq!(rig.complete().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn throttling_is_obeyed_and_lowers_the_number_of_requests() {
    let bench = bench();
    bench.rig.fake.put("f", "x");
    let start = tokio::time::Instant::now();
    bench
        .fetch("f", [Fault::Throttle(Duration::from_secs(7))])
        .await
        .unwrap();
    assert!(
        start.elapsed() >= Duration::from_secs(7),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(bench.rig.engine.attempts.governor.limit(), 16);
    assert!((bench.rig.metric("throttled_total{job=\"site\"}") - 1.0).abs() < 0.1);
}

#[tokio::test(start_paused = true)]
async fn leaving_ends_the_pauses() {
    let bench = bench();
    bench.rig.fake.put("f", "x");
    bench.rig.quit.cancel();
    let start = tokio::time::Instant::now();
    bench
        .fetch("f", [Fault::Throttle(Duration::from_secs(10))])
        .await
        .unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_download_that_is_dropped_leaves_nothing() {
    let bench = bench();
    bench.rig.fake.put("f", content(2 << 20, 1));
    let remote = remote(&bench.rig, "f").await;
    bench.rig.fake.script("f", [Fault::Stall(600_000)]);
    let fetch = bench
        .rig
        .engine
        .fetcher
        .fetch(&bench.root, remote, &bench.rig.engine.attempts);
    assert!(
        tokio::time::timeout(Duration::from_secs(5), fetch)
            .await
            .is_err()
    );
    // the buffer in hand is written on another thread; then its owner is gone
    for _ in 0..500 {
        if std::fs::read_dir(bench.rig.path(".lamplighter-staging"))
            .unwrap()
            .count()
            == 0
        {
            break;
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(10)))
            .await
            .unwrap();
    }
    assert_eq!(bench.read("f"), None);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_counted_when_they_are_in_place() {
    let rig = Rig::new();
    rig.fake.put("f", content(1000, 1));
    rig.complete().await;
    assert_eq!(rig.engine.attempts.metrics.bytes(Op::Get).get(), 1000);
    assert_eq!(rig.engine.attempts.metrics.objects(Op::Get).get(), 1);
}
