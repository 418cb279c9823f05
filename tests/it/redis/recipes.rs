//! What `packaging/php/README.md` recommends, tried with real PHP.

use super::Endpoint;
use crate::cache::tls_redis;
use crate::support::php;
use crate::tidy;

#[test]
fn php_sessions_with_locking_work() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let socket = endpoint.socket.display().to_string();
    let seen = php::run("redis_session.php", &[("SOCKET", &socket)]).expect_ok();
    assert_eq!(seen, "done\n");
}

#[test]
fn the_cache_class_computes_once_and_keeps_nothing_old() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let socket = endpoint.socket.display().to_string();
    let class = tidy::root().join("packaging/php/LamplighterCache.php");
    let env = [
        ("SOCKET", socket.as_str()),
        ("CLASS_FILE", &class.display().to_string()),
    ];
    let seen = php::run("cache_class.php", &env).expect_ok();
    assert_eq!(seen, "done\n");
}
