//! What `packaging/php/README.md` recommends, tried with real PHP.

use super::Endpoint;
use crate::cache::tls_redis;
use crate::support::php;
use crate::tidy;

/// Runs a program of `tests/php` with the path of an endpoint's socket; what it printed.
fn run(endpoint: &Endpoint, script: &str, more: &[(&str, &str)]) -> String {
    let socket = endpoint.socket.display().to_string();
    let env = [&[("SOCKET", socket.as_str())], more].concat();
    php::run(script, &env).expect_ok()
}

/// PHP's sessions with locking, and the class of `packaging/php`.
pub(super) fn expect_sessions_and_the_class(endpoint: &Endpoint) {
    assert_eq!(run(endpoint, "redis_session.php", &[]), "done\n");
    let class = tidy::root().join("packaging/php/LamplighterCache.php");
    let class = [("CLASS_FILE", class.to_str().unwrap())];
    assert_eq!(run(endpoint, "cache_class.php", &class), "done\n");
}

#[test]
fn php_sessions_with_locking_and_the_cache_class_that_computes_once_work() {
    let redis = tls_redis();
    expect_sessions_and_the_class(&Endpoint::start(&redis, ""));
}

#[test]
fn predis_laravel_and_symfony_work_as_documented() {
    let redis = tls_redis();
    let seen = run(&Endpoint::start(&redis, ""), "frameworks.php", &[]);
    assert_eq!(seen, "predis\nlaravel\nsymfony\n");
}
