//! Table tests of `[redis]`.

use super::*;

fn parse(toml: &str) -> Config {
    toml::from_str(toml).unwrap()
}

fn keys(config: &Config) -> Vec<String> {
    config
        .problems()
        .into_iter()
        .map(|problem| problem.key)
        .collect()
}

#[test]
fn the_address_alone_is_enough_and_defaults_are_those_of_new() {
    let config = parse("upstream = 'rediss://shop.redis.cache.windows.net:6380'");
    assert_eq!(config, Config::new(config.upstream.clone()));
    assert_eq!(config.problems(), []);
    assert_eq!(
        toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(),
        config
    );
}

#[test]
fn addresses() {
    for (text, expected) in [
        ("rediss://h:6380", Ok((true, "h:6380"))),
        ("rediss://h:6380/", Ok((true, "h:6380"))),
        ("redis://127.0.0.1:1", Ok((false, "127.0.0.1:1"))),
        ("rediss://[::1]:10000", Ok((true, "[::1]:10000"))),
        ("h:6380", Err(UrlError::Scheme)),
        ("http://h:6380", Err(UrlError::Scheme)),
        ("rediss://h", Err(UrlError::Address)),
        ("rediss://:6380", Err(UrlError::Address)),
        ("rediss://h:0", Err(UrlError::Address)),
        ("rediss://h:6380/1", Err(UrlError::Rest)),
        ("rediss://h:6380?db=1", Err(UrlError::Rest)),
    ] {
        let parsed = text.parse::<UpstreamUrl>();
        let seen = parsed.map(|url| (url.tls, url.address.to_string()));
        assert_eq!(
            seen,
            expected.map(|(tls, address)| (tls, address.to_owned())),
            "{text}"
        );
    }
}

#[test]
fn credentials_in_the_address_are_refused_and_never_shown() {
    for url in [
        "rediss://:hunter2@h:6380",
        "rediss://app:hunt@hunter2@h:6380",
    ] {
        let config = parse(&format!("upstream = '{url}'"));
        let problems = config.problems();
        assert_eq!(keys(&config), ["upstream"], "{url}");
        let shown = format!(
            "{problems:?} {config:?} {}",
            toml::to_string(&config).unwrap()
        );
        assert!(!shown.contains("hunt"), "{shown}");
    }
}

#[test]
fn problems_point_at_their_key() {
    let with = |more: &str| keys(&parse(&format!("upstream = 'rediss://h:6380'\n{more}")));
    assert_eq!(with("user = 'app'"), ["password_file"]);
    assert_eq!(with("tls = { enabled = false }"), ["tls.enabled"]);
    assert_eq!(with("kind = 'enterprise'\ndb = 1"), ["db"]);
    assert_eq!(with("command_timeout = '0ms'"), ["command_timeout"]);
    assert_eq!(with("ping_interval = '10m'"), ["ping_interval"]);
    assert_eq!(with("warm_jobs_max = 0"), ["warm_jobs_max"]);
    assert_eq!(
        keys(&parse("upstream = 'redis://cache.example:6379'")),
        ["upstream"]
    );
    for local in ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"] {
        assert_eq!(
            keys(&parse(&format!("upstream = 'redis://{local}:6379'"))),
            [""; 0],
            "{local}"
        );
    }
}

#[test]
fn unknown_keys_and_bare_numbers_are_refused() {
    for toml in [
        "upstream = 'rediss://h:6380'\npassword = 'x'",
        "upstream = 'rediss://h:6380'\ncommand_timeout = 5",
        "user = 'app'",
    ] {
        assert!(toml::from_str::<Config>(toml).is_err(), "{toml}");
    }
}
