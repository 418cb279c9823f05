//! What `packaging/php/README.md` recommends, tried with real PHP.

use super::Endpoint;
use crate::cache::tls_redis;
use crate::support::php;
use crate::tidy;

/// Runs a program of `tests/php` with the path of an endpoint's socket; what it printed.
fn through_an_endpoint(script: &str, more: &[(&str, &str)]) -> String {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let socket = endpoint.socket.display().to_string();
    let env = [&[("SOCKET", socket.as_str())], more].concat();
    php::run(script, &env).expect_ok()
}

#[test]
fn php_sessions_with_locking_work() {
    assert_eq!(through_an_endpoint("redis_session.php", &[]), "done\n");
}

#[test]
fn the_cache_class_computes_once_and_keeps_nothing_old() {
    let class = tidy::root().join("packaging/php/LamplighterCache.php");
    let class = [("CLASS_FILE", class.to_str().unwrap())];
    assert_eq!(through_an_endpoint("cache_class.php", &class), "done\n");
}

#[test]
fn predis_laravel_and_symfony_work_as_documented() {
    let seen = through_an_endpoint("frameworks.php", &[]);
    assert_eq!(seen, "predis\nlaravel\nsymfony\n");
}
