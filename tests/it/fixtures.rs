//! The fixtures themselves: each starts the real server and does what its documentation says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::faults::{Mode, Proxy};
use crate::support::mysql::{APP, Cluster, MON, TLS_ONLY};
use crate::support::pki::Authority;
use crate::support::router::Router;
use crate::support::scratch::Scratch;
use crate::support::web::Apache;
use crate::support::{azurite, http, php, poll, programs, prometheus, redis};

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
fn mysql_serves_the_certificate_it_is_given() {
    let cluster = Cluster::builder().build();
    assert!(mysql_certificate(&cluster).contains("Verification: OK"));
    cluster.stop(0);
    cluster.use_certificate(0, &cluster.authority().issue_expired("old"));
    cluster.start(0);
    assert!(mysql_certificate(&cluster).contains("certificate has expired"));
}

/// What openssl thinks of the certificate that node 0 serves.
fn mysql_certificate(cluster: &Cluster) -> String {
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-starttls",
            "mysql",
            "-verify_hostname",
            "localhost",
            "-connect",
            &cluster.address(0),
            "-CAfile",
        ])
        .arg(cluster.ca_path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
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

#[test]
fn azurite_keeps_blobs_and_checks_signatures() {
    let storage = azurite::Server::start();
    storage.create_container("www");
    let names = ["css/site.css", "empty", "with space & <ümlaut>.txt"];
    for name in names {
        storage.put("www", name, if name == "empty" { "" } else { name });
    }
    let listed: Vec<_> = storage
        .list("www")
        .into_iter()
        .map(|blob| (blob.name, blob.size))
        .collect();
    assert_eq!(
        listed,
        names.map(|name| (
            name.to_owned(),
            if name == "empty" {
                0
            } else {
                name.len() as u64
            }
        ))
    );
    assert_eq!(
        storage.get("www", names[2]).as_deref(),
        Some(names[2].as_bytes())
    );
    let old = storage.list("www")[0].etag.clone();
    let new = storage.put("www", names[0], "changed");
    assert_ne!(old, new);
    assert_eq!(
        storage.list("www")[0].etag,
        new,
        "the listing's entity tag is the answer's"
    );
    storage.delete("www", names[0]);
    assert_eq!(storage.get("www", names[0]), None);
}

#[test]
fn azurite_checks_signatures() {
    let storage = azurite::Server::start();
    storage.create_container("www");
    let status = |sas: &str, query: &str| {
        let path = format!(
            "/{}/www?restype=container&comp=list{query}&{sas}",
            azurite::ACCOUNT
        );
        http::get(&storage.address(), &path).unwrap().status
    };
    assert_eq!(
        status(
            &storage.container_sas("www", "rl", "2049-12-31T00:00:00Z"),
            ""
        ),
        200
    );
    assert_eq!(
        status(
            &storage.container_sas("www", "r", "2049-12-31T00:00:00Z"),
            ""
        ),
        403,
        "may not list"
    );
    assert_eq!(
        status(
            &storage.container_sas("www", "rl", "2020-01-01T00:00:00Z"),
            ""
        ),
        403,
        "expired"
    );
    assert_eq!(
        status(&storage.account_sas("rl").replace("sig=", "sig=x"), ""),
        403,
        "forged"
    );
}

#[test]
fn apache_serves_php_as_the_web_user_and_hangs_on_demand() {
    let web = Apache::builder()
        .file(
            "who.php",
            "<?php echo posix_geteuid(), ' ', getenv('GREETING');",
        )
        .env("GREETING", "hello there")
        .start();
    let body = web.wait_status(Duration::from_secs(10), "/who.php", 200);
    let own = rustix::process::geteuid();
    let (user, greeting) = body.split_once(' ').unwrap();
    assert_eq!(greeting, "hello there");
    assert_ne!(user, "0", "PHP never runs as root");
    assert_eq!(user == own.as_raw().to_string(), !own.is_root());

    web.stop_fpm();
    assert_eq!(web.get("/who.php").unwrap().status, 503);
    web.start_fpm();
    web.wait_status(Duration::from_secs(10), "/who.php", 200);

    web.hang();
    let mut stream = TcpStream::connect(web.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(stream.read(&mut [0]).is_err(), "nothing answers");
    web.thaw();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1, "and then it does");
    web.stop();
    assert!(web.get("/").is_err());
}

/// A server that greets with `hello` and then says everything back.
fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let (mut reader, mut writer) = (&stream, &stream);
                writer
                    .write_all(b"hello")
                    .and_then(|()| std::io::copy(&mut reader, &mut writer))
                    .ok();
            });
        }
    });
    address
}

#[test]
fn the_proxy_passes_delays_swallows_cuts_and_refuses() {
    let proxy = Proxy::start(&echo_server());
    let connect = || {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    };
    let greeting = |mut stream: &TcpStream| {
        let mut five = [0; 5];
        stream.read_exact(&mut five).map(|()| five)
    };
    let mut kept = connect();
    assert_eq!(&greeting(&kept).unwrap(), b"hello");

    proxy.set(Mode::Delay(Duration::from_millis(150)));
    let start = Instant::now();
    kept.write_all(b"there").unwrap();
    assert_eq!(&greeting(&kept).unwrap(), b"there");
    assert!(
        start.elapsed() >= Duration::from_millis(300),
        "both ways: {:?}",
        start.elapsed()
    );

    proxy.set(Mode::BlackHole);
    let swallowed = connect();
    swallowed
        .set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(greeting(&swallowed).is_err());
    kept.write_all(b"later").unwrap();
    proxy.set(Mode::Pass);
    swallowed
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    assert_eq!(&greeting(&swallowed).unwrap(), b"hello");
    assert_eq!(&greeting(&kept).unwrap(), b"later");

    let mut deaf = connect();
    assert_eq!(&greeting(&deaf).unwrap(), b"hello");
    proxy.deafen();
    deaf.write_all(b"never").unwrap();
    assert_eq!(
        &greeting(&connect()).unwrap(),
        b"hello",
        "only what was there"
    );
    deaf.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    assert!(greeting(&deaf).is_err());

    proxy.set(Mode::CutAfter(3));
    let mut cut = connect();
    let mut got = Vec::new();
    assert!(cut.read_to_end(&mut got).is_err(), "a reset, not an end");
    assert_eq!(got, b"hel");

    proxy.set(Mode::Refuse);
    assert!(greeting(&kept).is_err(), "existing connections are reset");
    assert!(TcpStream::connect(proxy.address()).is_err());
    assert_eq!((proxy.open(), proxy.accepted()), (0, 5));
    proxy.set(Mode::Pass);
    assert_eq!(&greeting(&connect()).unwrap(), b"hello");
}

#[test]
fn certificates_are_good_expired_or_of_another_name() {
    let scratch = Scratch::new("pki");
    let (ours, theirs) = (
        Authority::new(&scratch.join("ours")),
        Authority::new(&scratch.join("theirs")),
    );
    let verify = |certificate: &crate::support::pki::Certificate, host: &str| {
        let output = Command::new("openssl")
            .args(["verify", "-verify_hostname", host, "-CAfile"])
            .args([ours.ca(), certificate.cert.clone()])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    assert!(verify(&ours.issue("good"), "localhost").ends_with("OK\n"));
    assert!(verify(&ours.issue_expired("old"), "localhost").contains("certificate has expired"));
    assert!(verify(&theirs.issue("foreign"), "localhost").contains("unable to get local issuer"));
    let elsewhere = ours.issue_named("elsewhere", "DNS:elsewhere.test");
    assert!(verify(&elsewhere, "localhost").contains("hostname mismatch"));
    assert!(verify(&elsewhere, "elsewhere.test").ends_with("OK\n"));
}

#[test]
fn router_shares_connections_over_its_unix_socket() {
    let cluster = Cluster::builder().build();
    let router = Router::start(&cluster);
    let code = r#"$m = new mysqli('localhost', 'app', 'app-secret', 'app', 0, getenv('SOCKET'));
        echo $m->query('SELECT v FROM kv WHERE id = 7')->fetch_row()[0];"#;
    let socket = router.socket().display().to_string();
    assert_eq!(
        php::eval(code, &[("SOCKET", &socket)]).expect_ok(),
        "value-7"
    );
    assert_eq!(
        cluster.connections(0).len(),
        1,
        "the server connection stays for the next client"
    );
}

#[test]
fn promtool_tells_good_metrics_from_bad() {
    let good = "# HELP lamp_lit_seconds_total Time.\n# TYPE lamp_lit_seconds_total counter\nlamp_lit_seconds_total 1\n";
    assert_eq!(prometheus::lint(good), Ok(()));
    let error = prometheus::lint("# TYPE lamp_lit counter\nlamp_lit 1\n").unwrap_err();
    assert!(error.contains("no help text"), "{error}");
}

#[test]
fn a_killed_run_leaves_no_server_behind() {
    const VICTIM: &str = "LAMPLIGHTER_TEST_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        let server = redis::Server::builder().start();
        eprintln!("victim {} {}", server.pid(), server.socket().display());
        loop {
            std::thread::park();
        }
    }
    let mut run = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "--nocapture",
            "fixtures::a_killed_run_leaves_no_server_behind",
        ])
        .env(VICTIM, "1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let line = lines
        .map_while(Result::ok)
        .find(|line| line.starts_with("victim"))
        .unwrap();
    let [_, pid, socket] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    assert!(std::fs::exists(socket).unwrap());
    run.kill().unwrap();
    run.wait().unwrap();
    poll::until(
        Duration::from_secs(10),
        "the server and its directory to be gone",
        || !std::fs::exists(format!("/proc/{pid}")).unwrap() && !std::fs::exists(socket).unwrap(),
    );
}

#[test]
fn php_runs_as_the_user_asked_for_and_is_killed_midway() {
    let code = "echo posix_getpwuid(posix_geteuid())['name'];";
    assert_eq!(
        php::Script::code(code).user("www-data").run().expect_ok(),
        "www-data"
    );
    assert!(
        php::eval("echo $undefined;", &[])
            .stderr
            .contains("Undefined variable")
    );

    let script = php::Script::code("echo 'begun'; flush(); while (true) { usleep(1000); }").spawn();
    poll::until(Duration::from_secs(10), "the program's output", || {
        script.stdout() == "begun"
    });
    assert!(!script.kill().status.success());
}

#[test]
#[should_panic(expected = "or `tests/support/install.sh redis`, which installs it")]
fn a_missing_program_fails_the_test_and_names_the_cure() {
    programs::find("redis-server-of-another-world", "redis");
}
