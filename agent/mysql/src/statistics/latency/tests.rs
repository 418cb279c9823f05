//! The histogram against a sorted list.

use super::*;

#[test]
fn every_duration_is_in_a_bucket_that_ends_behind_it() {
    for micros in (0..5000).chain((1..30).flat_map(|power| {
        let at: u64 = 1 << power;
        [at - 1, at, at + 1]
    })) {
        let end = upper(bucket(micros));
        assert!(end > micros, "{micros} us in a bucket up to {end}");
        assert!(
            end - micros <= micros / 8 + 1,
            "{micros} us in a bucket up to {end}"
        );
    }
    assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    for index in 1..BUCKETS {
        assert_eq!(bucket(upper(index - 1)), index);
    }
}

#[test]
fn percentiles_are_at_most_an_eighth_too_high() {
    let mut latencies = Latencies::new();
    assert_eq!(latencies.percentile(0.5), 0.0);
    let mut all: Vec<u64> = (1..=1000).map(|number| number * number).collect();
    for micros in &all {
        latencies.add(Duration::from_micros(*micros));
    }
    all.sort_unstable();
    for (share, place) in [(0.5, 499), (0.95, 949), (0.99, 989), (1.0, 999)] {
        let exact = as_float(all[place]) / 1e6;
        let found = latencies.percentile(share);
        assert!(
            (exact..=exact * 1.126).contains(&found),
            "{share}: {found}, not {exact}"
        );
    }
}
