//! What the table accepts and what it refuses.

use super::*;

fn config(extra: &str) -> Config {
    let text = format!(
        r#"{{"primary": "db:3306", "user": "app", "password_file": "pw", "clients": {{"web": {{"peer_users": ["www-data"]}}}}{extra}}}"#
    );
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_minimal_table_is_valid() {
    let config = config("");
    assert_eq!(config.problems(), []);
    assert_eq!(config.consistency, Consistency::Session);
    assert_eq!(config.socket_mode_bits(), Some(0o666));
}

#[test]
fn every_rule_is_told() {
    for (extra, key) in [
        (r#", "listen": []"#, "listen"),
        (r#", "listen": ["0.0.0.0:3306"]"#, "listen"),
        (r#", "socket_mode": "rw""#, "socket_mode"),
        (
            r#", "pool": {"max_server_connections": 0, "min_idle": 0}"#,
            "pool.max_server_connections",
        ),
        (r#", "pool": {"min_idle": 99}"#, "pool.min_idle"),
        (r#", "pool": {"fleet_budget": 499}"#, "pool.fleet_budget"),
        (r#", "pool": {"fleet_size_max": 0}"#, "pool.fleet_size_max"),
        (
            r#", "pool": {"shed_interval": "10ms"}"#,
            "pool.shed_interval",
        ),
        (
            r#", "pool": {"slow_client_timeout": "0s"}"#,
            "pool.slow_client_timeout",
        ),
        (r#", "compression_level": 0"#, "compression_level"),
        (
            r#", "compression": "zlib", "compression_level": 10"#,
            "compression_level",
        ),
        (r#", "clients_max": 0"#, "clients_max"),
        (r#", "monitor": {"interval": "1ms"}"#, "monitor.interval"),
        (r#", "monitor": {"user": "mon"}"#, "monitor.user"),
        (r#", "replicas": ["db:3306"]"#, "replicas"),
    ] {
        let config = config(extra);
        let keys: Vec<_> = config
            .problems()
            .into_iter()
            .map(|problem| problem.key)
            .collect();
        assert_eq!(keys, [key], "{extra}");
    }
}

#[test]
fn clients_need_a_way_in_and_may_not_take_our_name() {
    let mut config = config("");
    config
        .clients
        .insert("nobody".to_owned(), Client::default());
    config.clients.insert(
        INTERNAL_USER.to_owned(),
        Client {
            peer_users: vec!["root".to_owned()],
            password_file: None,
            ..Client::default()
        },
    );
    let keys: Vec<_> = config
        .problems()
        .into_iter()
        .map(|problem| problem.key)
        .collect();
    assert_eq!(keys, ["clients.lamplighter", "clients.nobody"]);
    config.clients.clear();
    assert_eq!(config.problems().len(), 1);
}
