//! Which failure means what.

use super::*;

fn status(status: u16) -> ImdsError {
    ImdsError::Status {
        status,
        retry_after: None,
        text: String::new(),
    }
}

#[test]
fn each_failure_has_its_pause() {
    let seconds = |error: &ImdsError| [1, 2, 3, 4, 9].map(|n| error.pause(n).as_secs());
    // a host update is over within 70 s: never more than 10 s late
    assert_eq!(seconds(&status(410)), [1, 2, 4, 8, 10]);
    assert_eq!(seconds(&status(429)), [5, 10, 20, 40, 60]);
    assert_eq!(seconds(&status(500)), [2, 4, 8, 16, 30]);
    assert_eq!(seconds(&status(400)), [30, 60, 120, 240, 300]);
    assert_eq!(seconds(&ImdsError::Junk(String::new())), [2, 4, 8, 16, 30]);
    let told = ImdsError::Status {
        status: 429,
        retry_after: Some(Duration::from_secs(7)),
        text: String::new(),
    };
    assert_eq!(told.pause(9), Duration::from_secs(7));
}

#[test]
fn every_outcome_has_a_series() {
    let errors = [
        status(429),
        status(410),
        status(503),
        status(403),
        ImdsError::Junk(String::new()),
    ];
    for error in errors {
        assert!(OUTCOMES.contains(&error.outcome()));
    }
}

#[test]
fn a_complaint_is_one_short_line_of_what_it_says() {
    let body = br#"{"error":"invalid_request","error_description":"Identity\nnot found"}"#;
    assert_eq!(complaint(body), "Identity not found");
    assert_eq!(complaint(b"<html>"), "");
    assert_eq!(complaint(br#"{"error":{"code":1}}"#), "");
    let long = format!(r#"{{"error":"{}"}}"#, "x".repeat(9000));
    assert_eq!(complaint(long.as_bytes()).len(), 160);
}
