//! What is taken out and what stays.

use super::*;

#[test]
fn addresses_lose_their_secrets_only() {
    for (given, shown) in [
        ("plain text", "plain text"),
        (
            "https://h/x?sv=2&sig=ab%2Bc&se=3",
            "https://h/x?sv=2&sig=[redacted]&se=3",
        ),
        (
            "url = \"https://h/x?sig=abc\" # note",
            "url = \"https://h/x?sig=[redacted]\" # note",
        ),
        (
            "rediss://u:p@h:6380/0 and http://h2/",
            "rediss://[redacted]@h:6380/0 and http://h2/",
        ),
        ("rediss://u:p@ss@h:6380", "rediss://[redacted]@h:6380"),
        ("mail me@home http://h/a@b", "mail me@home http://h/a@b"),
        ("?design=1&sig=", "?design=1&sig=[redacted]"),
        (
            "http://h/?token=a&token=b",
            "http://h/?token=[redacted]&token=[redacted]",
        ),
        (
            "über://ä:ö@ü/?sig=ß ß",
            "über://[redacted]@ü/?sig=[redacted] ß",
        ),
    ] {
        assert_eq!(text(given), shown);
    }
}

#[test]
fn keys_that_hold_secrets_are_known_by_name() {
    for name in [
        "password",
        "redis.password",
        "auth_token",
        "sas",
        "client-secret",
        "storage_access_key",
        "Connection_String",
    ] {
        assert!(is_secret_key(name), "{name}");
    }
    for name in [
        "password_file",
        "sas_file",
        "key",
        "user",
        "max_disasters",
        "tokens_dir",
    ] {
        assert!(!is_secret_key(name), "{name}");
    }
}

#[test]
fn lines_of_secret_keys_show_no_value() {
    assert_eq!(line("  password = \"hunter2\""), "  password = [redacted]");
    assert_eq!(
        line("account = { user = 'a', password = 'hunter2' }"),
        "account = [redacted]"
    );
    assert_eq!(line("password_file = 'p'"), "password_file = 'p'");
    assert_eq!(line("[mysql"), "[mysql");
    assert_eq!(line("x_file = \"secret-1\""), "x_file = \"secret-1\"");
    assert_eq!(
        line("url = 'http://h/?token=x&b=c'"),
        "url = 'http://h/?token=[redacted]&b=c'"
    );
    assert_eq!(
        line("a = [{ b = 1, \"api-token\" = 'hunter2' }]"),
        "a = [redacted]"
    );
}
