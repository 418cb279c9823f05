//! What `[platform]` accepts.

use super::*;

fn keys(json: &str) -> Vec<String> {
    let config: Config = serde_json::from_str(json).unwrap();
    config.problems().into_iter().map(|it| it.key).collect()
}

#[test]
fn the_defaults_are_right() {
    assert_eq!(Config::default().problems(), []);
    assert_eq!(
        serde_json::from_str::<Config>("{}").unwrap(),
        Config::default()
    );
}

#[test]
fn limits_that_cannot_work_are_refused() {
    assert_eq!(keys(r#"{"stall_after": "200ms"}"#), ["stall_after"]);
    assert_eq!(
        keys(r#"{"events": {"preempt_deadline": "30s", "user_deadline": "10ms"}}"#),
        ["events.user_deadline", "events.preempt_deadline"]
    );
}

#[test]
fn the_service_is_automatic_off_or_at_a_plain_address() {
    let read = |text: &str| text.parse::<ImdsAddress>();
    assert_eq!(read("auto"), Ok(ImdsAddress::Auto));
    assert_eq!(read("off"), Ok(ImdsAddress::Off));
    assert!(read("http://127.0.0.1:8080").is_ok());
    for bad in [
        "https://169.254.169.254",
        "169.254.169.254",
        "http://u@x",
        "on",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

#[test]
fn an_identity_is_named_once_and_completely() {
    assert_eq!(
        keys(r#"{"identity": {"client_id": "a", "object_id": "b"}}"#),
        ["identity"]
    );
    assert_eq!(
        keys(r#"{"identity": {"token_file": "/x"}}"#),
        ["identity.kind"]
    );
    assert_eq!(
        keys(
            r#"{"identity": {"kind": "workload", "client_id": "a/b", "token_file": "x", "authority": "http://entra"}}"#
        ),
        [
            "identity.client_id",
            "identity.tenant_id",
            "identity.token_file",
            "identity.authority"
        ]
    );
    assert!(
        keys(r#"{"identity": {"kind": "workload", "client_id": "a", "tenant_id": "t", "token_file": "/x"}}"#)
            .is_empty()
    );
}
