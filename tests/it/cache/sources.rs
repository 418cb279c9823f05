//! Where values come from, what becomes of keys that are there, and when a job runs: each on real servers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use super::{Instance, KV, SLOW_KV, SOON, dbsize, shared_mysql, tls_redis};
use crate::support::redis::Server;
use crate::support::scratch::Scratch;
use crate::support::{php, poll, ports};

fn keys(instance: &Instance) -> f64 {
    instance.metric("warm_keys_total{job=\"kv\"}")
}

fn kept(instance: &Instance) -> f64 {
    instance.metric("warm_kept_keys_total{job=\"kv\"}")
}

/// Warms once with `job`.
fn warmed(redis: &Server, job: &str) -> Instance {
    let instance = Instance::start(redis, shared_mysql(""), "", &[job]);
    instance.wait_done("kv");
    instance
}

#[test]
fn keys_that_are_there_are_replaced_left_or_refreshed() {
    let redis = tls_redis();
    let set = |key: &str, millis: &str| redis.cli(&["SET", key, "mine", "PX", millis]);
    for (mode, stay) in [
        ("replace", &[][..]),
        ("fill-only", &["kv:1", "kv:2", "kv:3"]),
        ("refresh", &["kv:2", "kv:3"]),
    ] {
        redis.cli(&["FLUSHALL"]);
        set("kv:1", "40000");
        set("kv:2", "70000");
        redis.cli(&["SET", "kv:3", "mine"]);
        let job = format!("{KV}mode = '{mode}'\nttl = '100s'\n");
        let instance = warmed(&redis, &job);
        let mine: Vec<_> = ["kv:1", "kv:2", "kv:3"]
            .into_iter()
            .filter(|key| redis.cli(&["GET", key]) == "mine")
            .collect();
        assert_eq!(mine, stay, "{mode}");
        let stayed = f64::from(u32::try_from(stay.len()).unwrap());
        assert_eq!(
            (keys(&instance), kept(&instance)),
            (1000.0 - stayed, stayed)
        );
        assert_eq!(dbsize(&redis, "kv:*"), 1000);
    }
}

/// What PHP itself stores for these rows, and whether it is what the job stored, key by key.
const HASH: &str = r#"
[$mysql, $redis] = [mysqli_init(), new Redis()];
$mysql->options(MYSQLI_OPT_INT_AND_FLOAT_NATIVE, true);
$mysql->real_connect('localhost', 'lamplighter', '', 'app', 0, getenv('MYSQL'));
$redis->connect(getenv('REDIS'));
$redis->auth('redis-secret');
foreach ($mysql->query('SELECT * FROM app.hashes')->fetch_all(MYSQLI_ASSOC) as $row) {
    $redis->hMSet('php:' . $row['id'], $row);
    $theirs = $redis->hGetAll('php:' . $row['id']);
    $ours = $redis->hGetAll('h:' . $row['id']);
    ksort($theirs); ksort($ours);
    if ($theirs !== $ours) { echo json_encode([$theirs, $ours]), "\n"; }
    if ($redis->pttl('h:' . $row['id']) < 1) { echo "no end\n"; }
}
"#;

#[test]
fn a_hash_holds_what_php_would_have_stored() {
    let redis = tls_redis();
    let mysql = shared_mysql(
        "DROP TABLE IF EXISTS hashes; CREATE TABLE hashes (id INT PRIMARY KEY, big BIGINT UNSIGNED, price DECIMAL(10,2),
         ratio DOUBLE, day DATE, name VARCHAR(50) CHARACTER SET utf8mb4, raw VARBINARY(8), flags BIT(9));
         INSERT INTO hashes VALUES (1, 18446744073709551615, 1.50, 0.1, '2024-02-29', 'é😀', X'00FF', b'100000001'),
         (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (3, 0, -0.01, 1e25, '1970-01-01', '', '', 0),
         (4, 7, 0, 0.00001, '2000-01-01', '7', '7', 1), (5, 7, 0, 123456789012345.678, '2000-01-01', '7', '7', 1)",
    );
    let job = "name = 'kv'\nvalue = 'hash'\nkey = 'h:{id}'\n\
               query = 'SELECT * FROM app.hashes WHERE id > ? ORDER BY id LIMIT 2'\n";
    // a string under the same key makes way
    redis.cli(&["SET", "h:1", "a string"]);
    let instance = Instance::start(&redis, mysql.clone(), "", &[job]);
    instance.wait_done("kv");
    let socket = redis.socket();
    let env = [
        ("MYSQL", mysql.to_str().unwrap()),
        ("REDIS", socket.to_str().unwrap()),
    ];
    assert_eq!(php::eval(HASH, &env).expect_ok(), "");
}

#[test]
fn all_rows_of_a_key_make_one_array_wherever_pages_end() {
    let redis = tls_redis();
    let mysql = shared_mysql(
        "DROP TABLE IF EXISTS parts; CREATE TABLE parts (o INT, n INT, v VARCHAR(9), PRIMARY KEY (o, n));
         INSERT INTO parts WITH RECURSIVE s (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM s WHERE i < 99)
         SELECT 1 + i DIV 7 * 3, i, CONCAT('v', i) FROM s",
    );
    for limit in [8, 10, 14, 100, 1000] {
        redis.cli(&["FLUSHALL"]);
        let job = format!(
            "name = 'kv'\nvalue = 'rows-json'\nkey = 'order:{{o}}'\n\
             query = 'SELECT o, n, v FROM app.parts WHERE o > ? ORDER BY o, n LIMIT {limit}'\n"
        );
        let instance = Instance::start(&redis, mysql.clone(), "", &[&job]);
        instance.wait_done("kv");
        assert_eq!(
            instance.metric("warm_rows_total{job=\"kv\"}"),
            100.0,
            "{limit}"
        );
        assert_eq!(dbsize(&redis, "order:*"), 15);
        let rows = |numbers: std::ops::Range<usize>, order: usize| {
            let rows: Vec<_> = numbers
                .map(|n| format!(r#"{{"o":{order},"n":{n},"v":"v{n}"}}"#))
                .collect();
            format!("[{}]", rows.join(","))
        };
        assert_eq!(redis.cli(&["GET", "order:4"]), rows(7..14, 4), "{limit}");
        assert_eq!(
            redis.cli(&["GET", "order:43"]),
            rows(98..100, 43),
            "{limit}"
        );
    }
    // more rows than a page holds: an error, and never half an array
    let job = "name = 'kv'\nvalue = 'rows-json'\nkey = 'half:{o}'\n\
               query = 'SELECT o, n, v FROM app.parts WHERE o > ? ORDER BY o, n LIMIT 7'\n";
    let instance = Instance::start(&redis, mysql, "", &[job]);
    instance.wait_reason("redis:warm:kv", "raise LIMIT");
    assert_eq!(dbsize(&redis, "half:*"), 0);
}

#[test]
fn lines_of_a_file_are_rows() {
    let redis = tls_redis();
    let folder = Scratch::new("lines");
    let path = folder.join("rows.jsonl");
    let mut text = String::from(
        "{\"id\":1,\"name\":\"é\",\"price\":1.5,\"on\":true,\"none\":null}\n\n{\"id\":2,\"name\":\"x\"}\n",
    );
    for id in 3..=2500 {
        text += &format!("{{\"id\":{id}}}\n");
    }
    folder.write("rows.jsonl", &text);
    let job = format!(
        "name = 'kv'\nsource = 'file'\nfile = '{}'\nkey = 'f:{{id}}'\n",
        path.display()
    );
    let instance = warmed(&redis, &job);
    assert_eq!(keys(&instance), 2500.0);
    assert_eq!(
        redis.cli(&["GET", "f:1"]),
        r#"{"id":1,"name":"é","price":1.5,"on":1,"none":null}"#
    );
    assert_eq!(redis.cli(&["GET", "f:2"]), r#"{"id":2,"name":"x"}"#);
    folder.write("rows.jsonl", "{\"id\":1}\n{\"id\":[1]}\n");
    let wrong = Instance::start(&redis, shared_mysql(""), "", &[&job.replace("f:", "g:")]);
    wrong.wait_reason("redis:warm:kv", "rows.jsonl:2: id is a list");
}

/// A web server that answers every path with a status, tells the paths, and counts those who ask at once.
fn web(status: &'static str) -> (u16, mpsc::Receiver<String>) {
    let port = ports::free();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (tell, asked) = mpsc::channel();
    std::thread::spawn(move || {
        // one after the other: a second connection at the same time would wait
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            let text = String::from_utf8(request).unwrap();
            let path = text.split(' ').nth(1).unwrap().to_owned();
            let host = text.lines().find(|line| line.starts_with("host:"));
            if tell.send(format!("{path} {}", host.unwrap())).is_err() {
                return;
            }
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            stream.write_all(head.as_bytes()).unwrap();
        }
    });
    (port, asked)
}

#[test]
fn pages_of_the_local_web_server_are_asked_for_in_turn_on_each_instance() {
    let redis = tls_redis();
    let (port, asked) = web("200 OK");
    let folder = Scratch::new("urls");
    folder.write(
        "more.txt",
        "# what the shop needs\n/shop?page=2\nno path\n/last\n",
    );
    let job = format!(
        "name = 'kv'\nsource = 'urls'\nurls = ['/', '/shop']\nfile = '{}'\nweb = '127.0.0.1:{port}'\nhost = 'shop.example'\nrequired = true\n",
        folder.join("more.txt").display()
    );
    for _ in 0..2 {
        let instance = Instance::start(&redis, shared_mysql(""), "", &[&job]);
        instance.wait_done("kv");
        poll::until(SOON, "the gate", || instance.gate_is_open("kv"));
        let seen: Vec<_> = asked.try_iter().collect();
        let paths = ["/", "/shop", "/shop?page=2", "/last"];
        assert_eq!(seen, paths.map(|path| format!("{path} host: shop.example")));
        let skipped = "warm_skipped_rows_total{job=\"kv\",reason=\"no_path\"}";
        assert_eq!(instance.metric(skipped), 1.0);
    }
    assert_eq!(dbsize(&redis, "lmp:*"), 0, "what is local needs no lease");
}

#[test]
fn a_web_server_in_trouble_is_left_alone() {
    let redis = tls_redis();
    let (port, asked) = web("500 No");
    let job = format!(
        "name = 'kv'\nsource = 'urls'\nurls = ['/1', '/2', '/3', '/4', '/5']\nweb = '127.0.0.1:{port}'\n"
    );
    let instance = Instance::start(&redis, shared_mysql(""), "", &[&job]);
    instance.wait_reason("redis:warm:kv", "status 500");
    // after the third there was no fourth; a later run begins anew
    let seen: Vec<_> = asked.try_iter().take(4).collect();
    let begins = |at: usize, path: &str| seen.get(at).is_none_or(|it| it.starts_with(path));
    assert!(seen.len() >= 3, "{seen:?}");
    let all = [(0, "/1"), (1, "/2"), (2, "/3"), (3, "/1")];
    assert!(all.iter().all(|(at, path)| begins(*at, path)), "{seen:?}");
    assert_eq!(instance.errors("web"), 1.0);
}

#[test]
fn what_clients_ask_for_most_is_kept_warm_and_warm_again_after_a_flush() {
    let redis = tls_redis();
    let folder = Scratch::new("hot");
    let socket = folder.join("r.sock");
    let job = "name = 'kv'\nsource = 'hot-keys'\nhot_keys = 10\nkey = 'kv:{id}'\nevery = '1s'\n\
               query = 'SELECT id, v FROM app.kv WHERE id IN (?)'\n";
    let more = format!("listen = ['unix:{}']\n", socket.display());
    let instance = Instance::start(&redis, shared_mysql(""), &more, &[job]);
    let ask = "$r = new Redis(); $r->connect(getenv('SOCKET'));
        for ($i = 0; $i < 400; $i++) { $r->get('kv:' . (901 + $i % 10)); $r->get('other:1'); }
        for ($i = 1; $i <= 40; $i++) { $r->get('kv:' . $i); }";
    let env = [("SOCKET", socket.to_str().unwrap())];
    assert_eq!(php::eval(ask, &env).expect_ok(), "");
    let all_there = || {
        let mut missing = (901..=910).map(|id| format!("kv:{id}"));
        match missing.find(|key| redis.cli(&["EXISTS", key]) == "0") {
            None => Ok(()),
            Some(key) => Err(format!(
                "{key}: {:?}; {}; {}",
                instance.health("redis:warm:kv"),
                instance.metric("warm_rows_total{job=\"kv\"}"),
                redis.cli(&["ZREVRANGE", "lmp:hot:{kv}", "0", "-1", "WITHSCORES"])
            )),
        }
    };
    poll::until(SOON, "the ten that are asked for most", all_there);
    assert_eq!(dbsize(&redis, "kv:*"), 10);
    redis.cli(&["FLUSHALL"]);
    poll::until(SOON, "the same from the instance's memory", all_there);
}

#[test]
fn a_flush_makes_a_job_that_runs_once_due_again() {
    let redis = tls_redis();
    let instance = warmed(&redis, KV);
    assert_eq!(
        redis.cli(&["PTTL", "lmp:w:{kv}"]),
        "-1",
        "never evicted by volatile-lru"
    );
    redis.cli(&["FLUSHALL"]);
    poll::until(SOON, "a second run", || dbsize(&redis, "kv:*") == 1000);
    drop(instance);
    redis.cli(&["FLUSHALL"]);
    let stays = warmed(&redis, &format!("{KV}ttl = '1s'\n"));
    // keys that end are no flush
    poll::until(SOON, "the end of the keys", || dbsize(&redis, "kv:*") == 0);
    poll::throughout(std::time::Duration::from_secs(7), "no further run", || {
        stays.runs("done") <= 1.0
    });
}

#[test]
fn a_run_that_did_not_end_is_continued_by_another_instance() {
    let (redis, mysql) = (tls_redis(), shared_mysql(""));
    let mut first = Instance::start(&redis, mysql.clone(), "", &[SLOW_KV]);
    poll::until(SOON, "a note of how far it came", || {
        dbsize(&redis, "lmp:at:*") == 1
    });
    first.stop();
    let second = Instance::start(&redis, mysql, "", &[SLOW_KV]);
    second.wait_done("kv");
    let rows = second.metric("warm_rows_total{job=\"kv\"}");
    assert!(rows < 1000.0, "{rows} of 1000 rows were read again");
    assert_eq!(dbsize(&redis, "kv:*"), 1000);
    assert_eq!(dbsize(&redis, "lmp:at:*"), 0, "nothing is left to continue");
}
