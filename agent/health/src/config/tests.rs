//! Keys, defaults, and what is refused.

use super::*;

fn problems(text: &str) -> Vec<String> {
    let config: Config = serde_json::from_str(text).expect("it parses");
    config.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_have_no_problem_and_survive_a_round_trip() {
    let config = Config::default();
    assert_eq!(config.problems(), []);
    let text = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), config);
}

#[test]
fn a_web_table_needs_its_url_only() {
    let config: Config =
        serde_json::from_str(r#"{"web": {"url": "http://127.0.0.1/healthz.php"}}"#).unwrap();
    let url = "http://127.0.0.1/healthz.php".parse().unwrap();
    assert_eq!(config.web, Some(WebConfig::new(url)));
    assert!(serde_json::from_str::<Config>(r#"{"web": {}}"#).is_err());
    assert!(serde_json::from_str::<Config>(r#"{"wbe": {}}"#).is_err());
}

#[test]
fn a_web_url_is_taken_apart() {
    let url: WebUrl = "http://[::1]:8080/up.php?deep=1".parse().unwrap();
    assert_eq!(
        url.server(),
        &HostPort {
            host: "::1".to_owned(),
            port: 8080
        }
    );
    assert_eq!(url.path(), "/up.php?deep=1");
    assert_eq!(url.host(), "[::1]:8080");
    let bare: WebUrl = "http://localhost".parse().unwrap();
    assert_eq!((bare.server().port, bare.path()), (80, "/"));
    for refused in [
        "",
        "127.0.0.1",
        "https://127.0.0.1/",
        "/healthz",
        "http://u:p@127.0.0.1/",
        "http:///x",
        "http://h:0/",
    ] {
        assert!(refused.parse::<WebUrl>().is_err(), "{refused:?}");
    }
}

#[test]
fn every_rule_names_its_key() {
    for (text, key) in [
        (r#"{"listen": "0.0.0.0:25"}"#, "listen: "),
        (r#"{"admin_listen": "0.0.0.0:8471"}"#, "admin_listen: "),
        (r#"{"admin_socket": "admin.sock"}"#, "admin_socket: "),
        (r#"{"runtime_dir": "run"}"#, "runtime_dir: "),
        (r#"{"probe_interval": "0s"}"#, "probe_interval: "),
        (r#"{"probe_threshold": 0}"#, "probe_threshold: "),
        (
            r#"{"policy": {"stall_after": "10ms"}}"#,
            "policy.stall_after: ",
        ),
        (
            r#"{"policy": {"stall_unknown_after": "2s"}}"#,
            "policy.stall_unknown_after: ",
        ),
        (
            r#"{"policy": {"unhealthy_after": "1s"}}"#,
            "policy.unhealthy_after: ",
        ),
        (
            r#"{"web": {"url": "http://h/", "interval": "1ms"}}"#,
            "web.interval: ",
        ),
        (
            r#"{"web": {"url": "http://h/", "timeout": "0s"}}"#,
            "web.timeout: ",
        ),
        (r#"{"web": {"url": "http://h/", "fall": 0}}"#, "web.fall: "),
        (r#"{"web": {"url": "http://h/", "rise": 0}}"#, "web.rise: "),
        (
            r#"{"web": {"url": "http://h/", "expect_status": 99}}"#,
            "web.expect_status: ",
        ),
        (
            r#"{"web": {"url": "http://h/", "host": "a\nb"}}"#,
            "web.host: ",
        ),
    ] {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].starts_with(key), "{text}: {found:?}");
    }
}
