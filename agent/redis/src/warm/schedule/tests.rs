//! Table tests of the schedule.

use super::*;

fn job(more: &str) -> JobConfig {
    toml::from_str(&format!(
        "name = 'p'\nquery = 'SELECT id FROM p WHERE id > ? ORDER BY id LIMIT 9'\nkey = 'p:{{id}}'\n{more}"
    ))
    .unwrap()
}

fn done(finished_ms: u64) -> Done {
    Done {
        rows: 0,
        keys: 0,
        bytes: 0,
        skipped: 0,
        duration_ms: 0,
        finished_ms,
        generation: 1,
    }
}

const NOW: u64 = 1_700_000_000_000;
const MINUTE: u64 = 60_000;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn every_case() {
    use Decision::*;
    let boot = "";
    let every = "every = '10m'";
    let late = "every = '10m'\nat_boot = false";
    for (config, result, up, expected) in [
        // nothing there yet
        (boot, None, 0, Run),
        (every, None, 0, Run),
        (late, None, 0, NotYet(seconds(30))),
        (late, None, 590, NotYet(seconds(10))),
        (late, None, 600, Run),
        // somebody has done it
        (every, Some(NOW), 0, Fresh(seconds(30))),
        (
            every,
            Some(NOW - 9 * MINUTE - 50_000),
            0,
            Fresh(seconds(10)),
        ),
        (every, Some(NOW - 10 * MINUTE), 0, Run),
        (late, Some(NOW - 10 * MINUTE), 0, Run),
        // a job that runs at boot only counts as done while its keys live
        (boot, Some(NOW - 59 * MINUTE), 0, Fresh(seconds(30))),
        (boot, Some(NOW - 60 * MINUTE), 0, Run),
        // Redis' clock was set back: a little, and by years
        (every, Some(NOW + 1000), 0, Fresh(seconds(30))),
        (every, Some(NOW + 11 * MINUTE), 0, Run),
    ] {
        let result = result.map(done);
        assert_eq!(
            decide(&job(config), result.as_ref(), NOW, seconds(up)),
            expected,
            "{config:?} {result:?} {up}"
        );
    }
}

#[test]
fn another_query_key_or_format_is_another_job() {
    let one = fingerprint(&job(""));
    assert_eq!(
        one,
        fingerprint(&job("ttl = '5m'\nevery = '1m'")),
        "the schedule is not what is written"
    );
    for more in [
        "types = 'strings'",
        "binary = 'base64'",
        "database = 'other'",
    ] {
        assert_ne!(one, fingerprint(&job(more)), "{more}");
    }
    assert_eq!(one, "9e6ece330826257d");
}

#[test]
fn results_are_read_back_and_tolerate_more_fields() {
    let text = serde_json::to_string(&done(NOW)).unwrap();
    assert_eq!(serde_json::from_str::<Done>(&text).unwrap(), done(NOW));
    assert!(serde_json::from_str::<Done>(&text.replace('}', ",\"lag_ms\":3}")).is_ok());
}
