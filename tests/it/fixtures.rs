//! The fixtures themselves: each starts the real server and does what its documentation says.

use std::time::Duration;

use crate::support::mysql::{APP, Cluster, MON, TLS_ONLY};
use crate::support::{php, poll, redis};

#[test]
fn mysql_replicates_lags_and_fails_over() {
    let cluster = Cluster::builder().replicas(2).build();
    cluster.sql(0, "INSERT INTO app.kv VALUES (5000, 'new')");
    cluster.wait_replicas();
    for node in [1, 2] {
        assert_eq!(
            cluster.sql(node, "SELECT v FROM app.kv WHERE id=5000"),
            [["new"]]
        );
        assert!(
            cluster.try_sql(node, "CREATE DATABASE refused").is_err(),
            "node {node} is read-only"
        );
    }

    cluster.lag(1, 3600);
    cluster.sql(0, "UPDATE app.kv SET v='newer' WHERE id=5000");
    poll::until(Duration::from_secs(20), "node 2 to have the update", || {
        cluster.sql(2, "SELECT v FROM app.kv WHERE id=5000")[0][0] == "newer"
    });
    assert_eq!(
        cluster.sql(1, "SELECT v FROM app.kv WHERE id=5000"),
        [["new"]],
        "node 1 is held back"
    );
    cluster.lag(1, 0);
    cluster.wait_replicas();

    cluster.kill(0);
    cluster.promote(2);
    assert_eq!(cluster.primary(), 2);
    cluster.sql(2, "INSERT INTO app.kv VALUES (5001, 'after')");
    cluster.start(0);
    cluster.follow(0, 2);
    cluster.wait_replicas();
    assert_eq!(
        cluster.sql(0, "SELECT v FROM app.kv WHERE id=5001"),
        [["after"]]
    );
}

#[test]
fn mysql_accounts_work_and_the_log_shows_their_clients() {
    let cluster = Cluster::builder().general_log().build();
    let (port, ca) = (
        cluster.port(0).to_string(),
        cluster.ca_path().display().to_string(),
    );
    let connect = |user: (&str, &str), tls: &str| {
        let code = r#"
            mysqli_report(MYSQLI_REPORT_OFF);
            $m = mysqli_init();
            $tls = getenv('TLS') === '1';
            if ($tls) { $m->ssl_set(null, null, getenv('CA'), null, null); }
            $flags = $tls ? MYSQLI_CLIENT_SSL : 0;
            if (!@$m->real_connect('127.0.0.1', getenv('WHO'), getenv('PASS'), null, (int) getenv('PORT'), null, $flags)) {
                echo $m->connect_error; exit;
            }
            echo $m->query("SELECT 'marker', CURRENT_USER()")->fetch_row()[1];"#;
        php::eval(
            code,
            &[
                ("WHO", user.0),
                ("PASS", user.1),
                ("PORT", &port),
                ("CA", &ca),
                ("TLS", tls),
            ],
        )
        .expect_ok()
    };
    assert_eq!(connect(APP, "1"), "app@%");
    assert_eq!(connect(MON, "1"), "mon@%");
    assert_eq!(connect(TLS_ONLY, "1"), "tlsonly@%");
    assert!(connect(TLS_ONLY, "0").contains("Access denied"));
    assert!(connect(("app", "wrong"), "1").contains("Access denied"));

    let log = cluster.general_log(0);
    let queries: Vec<_> = log
        .iter()
        .filter(|line| line.command == "Query")
        .map(|line| line.text.as_str())
        .collect();
    assert_eq!(queries, ["SELECT 'marker', CURRENT_USER()"; 3], "{log:?}");
    poll::until(Duration::from_secs(5), "the clients to be gone", || {
        cluster.connections(0).is_empty()
    });
}

#[test]
fn redis_answers_over_tls_with_its_password_and_comes_back_on_its_port() {
    let server = redis::Server::builder()
        .tls()
        .password("redis-secret")
        .start();
    let (port, ca) = (
        server.port().to_string(),
        server.ca_path().display().to_string(),
    );
    let code = r#"
        $r = new Redis();
        $r->connect('tls://127.0.0.1', (int) getenv('PORT'), 5, null, 0, 0, ['stream' => ['cafile' => getenv('CA')]]);
        $r->auth(getenv('PASS'));
        $r->set('greeting', 'hello');
        echo $r->get('greeting');"#;
    let client =
        |password: &str| php::eval(code, &[("PORT", &port), ("CA", &ca), ("PASS", password)]);
    assert_eq!(client("redis-secret").expect_ok(), "hello");
    assert_eq!(server.cli(&["GET", "greeting"]), "hello");
    assert!(client("wrong").stderr.contains("WRONGPASS"));

    server.kill();
    assert!(server.try_cli(&["PING"]).is_err());
    server.start();
    assert_eq!(client("redis-secret").expect_ok(), "hello");
}
