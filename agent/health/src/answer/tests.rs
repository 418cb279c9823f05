//! What goes over the wire for each verdict, read as the extension reads it.

#[path = "../../../../tests/it/probe/application_health.rs"]
mod application_health;

use std::time::Duration;

use application_health::{Extension, State};

use super::*;
use crate::verdict::Stall;

/// What answers become when the extension reads them.
const TABLE: [(u16, &str, State); 15] = [
    (
        200,
        r#"{"ApplicationHealthState":"Healthy"}"#,
        State::Healthy,
    ),
    (
        200,
        r#"{"ApplicationHealthState":"Healthy","more":1}"#,
        State::Healthy,
    ),
    (
        200,
        r#"{"applicationhealthstate":"Healthy"}"#,
        State::Healthy,
    ),
    (
        201,
        r#"{"ApplicationHealthState":"Healthy"}"#,
        State::Healthy,
    ),
    (
        200,
        r#"{"ApplicationHealthState":"Healthy","customMetrics":"{\"rollingUpgrade\":{\"PhaseOrderingNumber\":0}}"}"#,
        State::Healthy,
    ),
    (
        200,
        r#"{"ApplicationHealthState":"Healthy","customMetrics":"not JSON"}"#,
        State::Healthy,
    ),
    (
        200,
        r#"{"ApplicationHealthState":"Unhealthy"}"#,
        State::Unhealthy,
    ),
    (
        503,
        r#"{"ApplicationHealthState":"Unhealthy"}"#,
        State::Unknown,
    ),
    (503, "starting", State::Unknown),
    (200, "OK", State::Unknown),
    (
        200,
        r#"{"ApplicationHealthState":"healthy"}"#,
        State::Unknown,
    ),
    (
        200,
        r#"{"ApplicationHealthState":"Initializing"}"#,
        State::Unknown,
    ),
    (
        200,
        r#"{"ApplicationHealthState":"Healthy","customMetrics":{"rollingUpgrade":{}}}"#,
        State::Unknown,
    ),
    (
        302,
        r#"{"ApplicationHealthState":"Healthy"}"#,
        State::Unknown,
    ),
    (200, "", State::Unknown),
];

fn verdicts() -> Verdicts {
    Verdicts {
        traffic: Traffic::Serve,
        azure: Azure::Healthy,
        stall: None,
        degraded: Vec::new(),
        rows: Vec::new(),
    }
}

fn read(answer: &Answer) -> State {
    application_health::read(Some((answer.status.as_u16(), &answer.body)))
}

#[test]
fn the_reader_reads_as_the_extension_did() {
    for (status, body, state) in TABLE {
        let read = application_health::read(Some((status, body.as_bytes())));
        assert_eq!(read, state, "{status} {body}");
    }
    assert_eq!(application_health::read(None), State::Unknown);
}

#[test]
fn the_extension_reads_what_we_mean() {
    for (azure, state) in [
        (Azure::Healthy, State::Healthy),
        (Azure::Unhealthy("disk full".to_owned()), State::Unhealthy),
        (Azure::NoState("starting".to_owned()), State::Unknown),
    ] {
        let answers = Answers::new(
            Verdicts {
                azure: azure.clone(),
                ..verdicts()
            },
            false,
        );
        assert_eq!(read(&answers.azure), state, "{azure:?}");
    }
    let healthy = Answers::new(verdicts(), false).azure;
    assert_eq!(healthy.content_type, "application/json");
    assert_eq!(&*healthy.body, br#"{"ApplicationHealthState":"Healthy"}"#);
}

#[test]
fn a_first_start_is_initializing_within_the_grace_and_unknown_after_it() {
    let second = Duration::from_secs(1);
    let starting = read(&undecided().azure);
    let healthy = read(&Answers::new(verdicts(), false).azure);
    let mut extension = Extension::new(2, 60 * second);
    assert_eq!(extension.observe(starting, 5 * second), State::Initializing);
    assert_eq!(
        extension.observe(starting, 10 * second),
        State::Initializing
    );
    assert_eq!(extension.observe(healthy, 15 * second), State::Initializing);
    assert_eq!(extension.observe(healthy, 20 * second), State::Healthy);

    let mut extension = Extension::new(2, 60 * second);
    assert_eq!(
        extension.observe(starting, 55 * second),
        State::Initializing
    );
    assert_eq!(extension.observe(starting, 60 * second), State::Unknown);
}

#[test]
fn the_balancer_gets_a_stable_word_and_the_names_of_what_is_degraded() {
    let mut verdicts = verdicts();
    let answer = Answers::new(verdicts.clone(), false).balancer;
    assert_eq!(
        (answer.status, &*answer.body),
        (StatusCode::OK, &b"ready"[..])
    );
    assert_eq!(answer.degraded, None);
    assert!(!answer.close);
    verdicts.degraded = vec!["mysql".into(), "sync:\u{e4}\r\nX: y".into()];
    let answer = Answers::new(verdicts.clone(), false).balancer;
    assert_eq!(answer.degraded.unwrap(), "mysql, sync:?  X: y");
    verdicts.degraded = vec!["long".repeat(200).into()];
    let answer = Answers::new(verdicts, false).balancer;
    assert!(answer.degraded.unwrap().len() < 300);
}

#[test]
fn shedding_says_why_in_one_short_line_and_closes() {
    let reason = format!("web: first\nsecond\r\n\u{1b}[31m {}", "long ".repeat(100));
    let shed = Verdicts {
        traffic: Traffic::Shed(reason),
        degraded: vec!["web".into()],
        ..verdicts()
    };
    let answer = Answers::new(shed, false).balancer;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let body = std::str::from_utf8(&answer.body).unwrap();
    assert!(body.starts_with("web: first second"), "{body}");
    assert!(body.len() <= REASON_MAX + 3 && !body.contains(|c: char| c.is_control()));
    assert!(answer.close);
    assert_eq!(
        answer.degraded, None,
        "the header is for those who are told to serve"
    );
}

#[test]
fn only_an_agent_that_leaves_closes_the_extensions_connection() {
    assert!(!Answers::new(verdicts(), false).azure.close);
    assert!(Answers::new(verdicts(), true).azure.close);
}

#[test]
fn liveness_is_about_the_agent_alone() {
    let shed = Verdicts {
        traffic: Traffic::Shed("web: answers 500".to_owned()),
        ..verdicts()
    };
    assert_eq!(Answers::new(shed, false).live.status, StatusCode::OK);
    let stalled = Verdicts {
        stall: Some(Stall {
            runtime: "data",
            silence: Duration::from_secs(9),
        }),
        ..verdicts()
    };
    let answer = Answers::new(stalled, false).live;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(&*answer.body, b"the data runtime stands still");
}
