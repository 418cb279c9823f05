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
        kept: 0,
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

const FACTS: Facts<'static> = Facts {
    done: None,
    now_ms: NOW,
    up: Duration::ZERO,
    settled: false,
    flushed: false,
};

#[test]
fn a_flush_makes_it_due_again_and_nothing_else_a_job_that_runs_once() {
    let flushed = Facts {
        settled: true,
        flushed: true,
        ..FACTS
    };
    let old = done(NOW - 1000 * MINUTE);
    for (config, expected) in [
        ("", Decision::Run),
        ("every = '10m'", Decision::Run),
        ("at_boot = false", Decision::Run),
        ("after_flush = false", Decision::Fresh(LOOK_MAX)),
    ] {
        assert_eq!(decide(&job(config), flushed), expected, "{config}");
    }
    let settled = Facts {
        settled: true,
        done: Some(&old),
        ..FACTS
    };
    assert_eq!(decide(&job(""), settled), Decision::Fresh(LOOK_MAX));
    let by_hand = job("at_boot = false");
    assert_eq!(decide(&by_hand, FACTS), Decision::NotYet(LOOK_MAX));
    assert_eq!(
        describe(&job("at_boot = false\nafter_flush = false")),
        "by hand"
    );
}

#[test]
fn a_time_of_day_is_due_once_it_has_come() {
    // NOW is 22:13:20
    let cron = job("at_boot = false\ncron = '0 22 * * *'");
    let since = |minutes: u64| done(NOW - minutes * MINUTE);
    for (result, up, expected) in [
        (Some(since(10)), 0, Decision::Fresh(LOOK_MAX)),
        (Some(since(14)), 0, Decision::Run),
        (Some(since(24 * 60)), 0, Decision::Run),
        // nobody has done it: due only at a time after this agent's start
        (None, 10 * 60, Decision::NotYet(LOOK_MAX)),
        (None, 14 * 60, Decision::Run),
    ] {
        let facts = Facts {
            done: result.as_ref(),
            up: seconds(up),
            ..FACTS
        };
        assert_eq!(decide(&cron, facts), expected, "{result:?} {up}");
    }
    let soon = job("cron = '14 22 * * *'");
    let result = since(5);
    let facts = Facts {
        done: Some(&result),
        now_ms: NOW + 38_000,
        ..FACTS
    };
    assert_eq!(decide(&soon, facts), Decision::Fresh(seconds(2)));
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
        (late, None, 0, NotYet(seconds(5))),
        (late, None, 598, NotYet(seconds(2))),
        (late, None, 600, Run),
        // somebody has done it
        (every, Some(NOW), 0, Fresh(seconds(5))),
        (every, Some(NOW - 9 * MINUTE - 58_000), 0, Fresh(seconds(2))),
        (every, Some(NOW - 10 * MINUTE), 0, Run),
        (late, Some(NOW - 10 * MINUTE), 0, Run),
        // a job that runs at boot only counts as done while its keys live
        (boot, Some(NOW - 59 * MINUTE), 0, Fresh(seconds(5))),
        (boot, Some(NOW - 60 * MINUTE), 0, Run),
        // Redis' clock was set back: a little, and by years
        (every, Some(NOW + 1000), 0, Fresh(seconds(5))),
        (every, Some(NOW + 11 * MINUTE), 0, Run),
    ] {
        let result = result.map(done);
        let facts = Facts {
            done: result.as_ref(),
            up: seconds(up),
            ..FACTS
        };
        let decision = decide(&job(config), facts);
        assert_eq!(decision, expected, "{config:?} {result:?} {up}");
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
