//! What PHP reads back, and which rows and columns make a job.

use super::{Instance, PASSWORD, shared_mysql, tls_redis};
use crate::support::php;

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "rows of every type and the program that reads them"
)]
fn php_reads_exactly_what_it_would_have_fetched_itself() {
    let columns = "id, ti, tu, bo, si, me, i, z, bi, bu, de, fl, dou, bt, b64, yr, d, dt, dt6, ts, tm, c, vb, tx, en, st, js, nul, `numeric name`, `7`";
    let schema = "SET sql_mode=''; SET time_zone='+00:00'; \
        CREATE TABLE kinds (id INT PRIMARY KEY, ti TINYINT, tu TINYINT UNSIGNED, bo BOOL, si SMALLINT, me MEDIUMINT, i INT, \
        z INT(5) ZEROFILL, bi BIGINT, bu BIGINT UNSIGNED, de DECIMAL(65,30), fl FLOAT, dou DOUBLE, bt BIT(5), b64 BIT(64), yr YEAR, \
        d DATE, dt DATETIME, dt6 DATETIME(6), ts TIMESTAMP NULL, tm TIME(3), c CHAR(5), vb VARCHAR(20) COLLATE utf8mb4_bin, tx LONGTEXT, \
        en ENUM('a','b\u{e9}'), st SET('x','y'), js JSON, nul INT, `numeric name` INT, `7` INT) CHARSET utf8mb4; \
        INSERT INTO kinds VALUES \
        (1, -128, 255, 1, -32768, -8388608, -2147483648, 42, -9223372036854775808, 18446744073709551615, -12345678901234567890.123456789012345678901234567890, \
         0.1, 1.7976931348623157e308, b'10101', b'1111111111111111111111111111111111111111111111111111111111111111', 2155, '9999-12-31', '9999-12-31 23:59:59', \
         '2024-02-29 12:34:56.789012', '2038-01-19 03:14:07', '-838:59:59.000', 'ab', 'B', 'plain', 'a', 'x,y', '{\"a\": [1, 2.5, \"\u{e9}\"]}', NULL, 1, 2), \
        (2, 127, 0, 0, 32767, 8388607, 2147483647, 99999, 9223372036854775807, 9223372036854775807, 0, -1, 2.2250738585072014e-308, 0, \
         b'0111111111111111111111111111111111111111111111111111111111111111', 1901, '0000-00-00', '0000-00-00 00:00:00', '0000-00-00 00:00:00', NULL, '00:00:00.5', '', '', \
         CONCAT('quote \" backslash \\\\ slash / nul ', CHAR(0), ' tab ', CHAR(9), ' \u{1F600} \u{2028} <tag>'), 'b\u{e9}', '', 'null', NULL, -1, 0), \
        (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 9223372036854775808, 1e-30, 16777217, 0.1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
         NULL, NULL, NULL, NULL, NULL, NULL, NULL), \
        (4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5, 3.4028235e38, -0.0, 1, 5, 0, '2024-01-01', '2024-01-01 00:00:00', '2024-01-01 00:00:00.000001', '1970-01-01 00:00:01', '100:00:00', \
         'x', 'x', REPEAT('\u{e9}', 100000), 'a', 'x', '[]', 0, 0, 0), \
        (5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1e-10, 1e22, 1, 1, 2000, '2024-01-01', '2024-01-01 00:00:00', '2024-01-01', '2024-01-01', '1', '1', '1', '1e5', 'a', 'y', '1.0', 0, 0, 0)";
    let (redis, mysql) = (tls_redis(), shared_mysql(schema));
    let query = format!("SELECT {columns} FROM kinds WHERE id > ? ORDER BY id LIMIT 2");
    let job = |name: &str, more: &str| {
        format!(
            "name = '{name}'\ndatabase = 'app'\nkey = '{name}:{{id}}'\nquery = '{}'\n{more}",
            query.replace('\'', "''")
        )
    };
    let jobs = [job("native", ""), job("strings", "types = 'strings'")];
    let instance = Instance::start(&redis, mysql.clone(), "", &[&jobs[0], &jobs[1]]);
    instance.wait_done("native");
    instance.wait_done("strings");
    let code = r#"
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $socket = getenv('SOCKET');
        $sql = 'SELECT ' . getenv('COLUMNS') . ' FROM kinds ORDER BY id';
        $connect = function ($native) use ($socket) {
            $m = mysqli_init();
            $m->options(MYSQLI_OPT_INT_AND_FLOAT_NATIVE, $native);
            $m->real_connect('localhost', 'app', 'app-secret', 'app', 0, $socket);
            $m->set_charset('utf8mb4');
            $m->query("SET time_zone='+00:00'");
            return $m;
        };
        $pdo = function ($emulate, $stringify) use ($socket, $sql) {
            $p = new PDO("mysql:unix_socket=$socket;dbname=app;charset=utf8mb4", 'app', 'app-secret',
                [PDO::ATTR_EMULATE_PREPARES => $emulate, PDO::ATTR_STRINGIFY_FETCHES => $stringify]);
            $p->exec("SET time_zone='+00:00'");
            $s = $p->prepare($sql);
            $s->execute();
            return $s->fetchAll(PDO::FETCH_ASSOC);
        };
        $held = $connect(false);
        $prepared = $held->prepare($sql);
        $prepared->execute();
        $ways = [
            'native' => [
                'PDO emulated' => $pdo(true, false),
                'PDO prepared' => $pdo(false, false),
                'mysqli prepared' => $prepared->get_result()->fetch_all(MYSQLI_ASSOC),
                'mysqli native' => $connect(true)->query($sql)->fetch_all(MYSQLI_ASSOC),
            ],
            'strings' => [
                'mysqli' => $connect(false)->query($sql)->fetch_all(MYSQLI_ASSOC),
                'PDO stringified' => $pdo(true, true),
            ],
        ];
        $r = new Redis();
        $r->connect(getenv('REDIS'));
        $r->auth(getenv('PASS'));
        $compared = 0;
        foreach ($ways as $job => $fetches) {
            foreach ($fetches as $way => $rows) {
                foreach ($rows as $row) {
                    $cached = json_decode($r->get("$job:{$row['id']}"), true, 512, JSON_THROW_ON_ERROR);
                    $compared++;
                    if ($cached === $row) { continue; }
                    if (array_keys($cached) !== array_keys($row)) { echo "$way {$row['id']}: names differ\n"; }
                    foreach ($row as $name => $value) {
                        if ($cached[$name] !== $value) {
                            echo "$way {$row['id']} $name: fetched ", substr(var_export($value, true), 0, 60), ' cached ', substr(var_export($cached[$name], true), 0, 60), "\n";
                        }
                    }
                }
            }
        }
        echo "compared $compared";"#;
    let seen = php::eval(
        code,
        &[
            ("SOCKET", &mysql.display().to_string()),
            ("COLUMNS", columns),
            ("REDIS", &redis.socket().display().to_string()),
            ("PASS", PASSWORD),
        ],
    )
    .expect_ok();
    assert_eq!(seen, "compared 30");
}

/// Runs one job over a table of its own and returns the keys in order.
fn keys_of(table: &str, sql: &str, job: &str) -> (Vec<String>, Instance) {
    let redis = tls_redis();
    let job = format!("name = 'kv'\n{job}");
    let instance = Instance::start(&redis, shared_mysql(sql), "", &[&job]);
    instance.wait_done("kv");
    let mut keys: Vec<String> = redis
        .cli(&["--scan", "--pattern", &format!("{table}:*")])
        .lines()
        .map(str::to_owned)
        .collect();
    keys.sort();
    (keys, instance)
}

#[test]
fn pages_by_every_kind_of_keyset_leave_no_row_out() {
    for (name, definition, value) in [
        ("k_int", "INT", "n"),
        ("k_neg", "INT", "n - 50"),
        ("k_big", "BIGINT UNSIGNED", "18446744073709551515 + n"),
        (
            "k_text",
            "VARCHAR(40) COLLATE utf8mb4_0900_ai_ci",
            "CONCAT(IF(n % 2, 'Key ', 'k\u{e9}y '''), n)",
        ),
        (
            "k_latin",
            "VARCHAR(40) CHARACTER SET latin1",
            "CONCAT('\u{e9}', LPAD(n, 3, '0'))",
        ),
        ("k_bin", "BINARY(16)", "UNHEX(LEFT(SHA2(n, 256), 32))"),
        ("k_date", "DATE", "DATE('2024-01-01') + INTERVAL n DAY"),
        (
            "k_time",
            "DATETIME(6)",
            "TIMESTAMP('2024-01-01 00:00:00.5') + INTERVAL n MICROSECOND",
        ),
        ("k_zero", "INT(8) ZEROFILL", "n"),
    ] {
        let sql = format!(
            "CREATE TABLE {name} (id {definition} PRIMARY KEY, n INT); \
             INSERT INTO {name} WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100) SELECT {value}, n FROM s"
        );
        let start = match name {
            "k_neg" => "start = -1000\n",
            "k_date" | "k_time" => "start = '1000-01-01'\n",
            _ => "",
        };
        let (keys, _) = keys_of(
            name,
            &sql,
            &format!(
                "{start}key = '{name}:{{n}}'\nkeyset = 'id'\nbinary = 'base64'\n\
                 query = 'SELECT n, id FROM app.{name} WHERE id > ? ORDER BY id LIMIT 7'\n"
            ),
        );
        assert_eq!(keys.len(), 100, "{name}: {keys:?}");
    }
}

#[test]
fn rows_that_cannot_become_a_key_are_left_out_and_counted() {
    let (keys, instance) = keys_of(
        "odd",
        "CREATE TABLE odd (id INT PRIMARY KEY, slug VARCHAR(6000), body LONGTEXT); \
         INSERT INTO odd VALUES (1, 'a', 'x'), (2, NULL, 'x'), (3, REPEAT('l', 5000), 'x'), (4, 'big', REPEAT('b', 2000)), \
         (5, 'a', 'the later row wins'), (6, 'with space:{colon}', NULL)",
        "key = 'odd:{slug}'\nvalue_max = '1KiB'\nquery = 'SELECT id, slug, body FROM app.odd WHERE id > ? ORDER BY id LIMIT 2'\n",
    );
    assert_eq!(keys, ["odd:a", "odd:with space:{colon}"]);
    for reason in ["null_in_key", "key_too_long", "value_too_large"] {
        let series = format!("warm_skipped_rows_total{{job=\"kv\",reason=\"{reason}\"}}");
        assert_eq!(instance.metric(&series), 1.0, "{reason}");
    }
    assert_eq!(instance.metric("warm_rows_total{job=\"kv\"}"), 6.0);
    assert_eq!(instance.metric("warm_keys_total{job=\"kv\"}"), 3.0);
}

#[test]
fn an_empty_table_is_a_job_well_done() {
    let (keys, instance) = keys_of(
        "nothing",
        "CREATE TABLE nothing (id INT PRIMARY KEY)",
        "key = 'nothing:{id}'\nquery = 'SELECT id FROM app.nothing WHERE id > ? ORDER BY id LIMIT 2'\n",
    );
    assert!(keys.is_empty());
    assert_eq!(instance.metric("warm_rows_total{job=\"kv\"}"), 0.0);
}

#[test]
fn phps_own_formats_hold_what_php_would_have_stored() {
    let schema = "SET sql_mode=''; CREATE TABLE formats (id INT PRIMARY KEY, bu BIGINT UNSIGNED, bi BIGINT, de DECIMAL(20,5), dou DOUBLE, bt BIT(5), d DATE, \
        vb VARBINARY(20), tx LONGTEXT, nul INT, `7` INT, `07` INT) CHARSET utf8mb4; INSERT INTO formats VALUES \
        (1, 18446744073709551615, -9223372036854775808, 12.5, 0.1, b'10101', '0000-00-00', 0x00ff0a22, '\u{1F600} \"quoted\"', NULL, 5, 6), \
        (2, 300, 70000, -1, 1e300, 0, '2024-02-29', '', REPEAT('\u{e9}', 40000), NULL, -5, -300), \
        (3, 0, 9223372036854775807, 0, -1.5, 1, NULL, NULL, '', NULL, 0, 70000)";
    let (redis, mysql) = (tls_redis(), shared_mysql(schema));
    let job = |name: &str, more: &str| {
        format!(
            "name = '{name}'\ndatabase = 'app'\nkey = '{name}:{{id}}'\n{more}\n\
             query = 'SELECT id, bu, bi, de, dou, bt, d, vb, tx, nul, `7`, `07` FROM formats WHERE id > ? ORDER BY id LIMIT 2'\n"
        )
    };
    let jobs = [
        job("php", "value = 'row-php'"),
        job("igbinary", "value = 'row-igbinary'"),
        job("strings", "value = 'row-igbinary'\ntypes = 'strings'"),
        job("column", "value = 'column'\ncolumn = 'tx'"),
    ];
    let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
    let instance = Instance::start(&redis, mysql.clone(), "warm_jobs_max = 4\n", &jobs);
    for name in ["php", "igbinary", "strings", "column"] {
        instance.wait_done(name);
    }
    let code = r#"
        $pdo = function ($stringify) {
            $p = new PDO('mysql:unix_socket=' . getenv('SOCKET') . ';dbname=app;charset=utf8mb4', 'app', 'app-secret', [PDO::ATTR_STRINGIFY_FETCHES => $stringify]);
            return $p->query('SELECT id, bu, bi, de, dou, bt, d, vb, tx, nul, `7`, `07` FROM formats ORDER BY id')->fetchAll(PDO::FETCH_ASSOC);
        };
        $r = new Redis();
        $r->connect(getenv('REDIS'));
        $r->auth(getenv('PASS'));
        foreach (['php' => Redis::SERIALIZER_PHP, 'igbinary' => Redis::SERIALIZER_IGBINARY, 'strings' => Redis::SERIALIZER_IGBINARY, 'column' => Redis::SERIALIZER_NONE] as $job => $serializer) {
            $r->setOption(Redis::OPT_SERIALIZER, $serializer);
            foreach ($pdo($job === 'strings') as $row) {
                $wanted = $job === 'column' ? $row['tx'] : $row;
                $cached = $r->get("$job:{$row['id']}");
                if ($cached !== $wanted) { echo "$job {$row['id']}: ", substr(var_export($cached, true), 0, 600), ' instead of ', substr(var_export($wanted, true), 0, 600), "\n"; }
            }
        }
        // byte for byte what PHP itself writes
        $r->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_NONE);
        $first = $pdo(false)[0];
        if ($r->get('php:1') !== serialize($first)) { echo "serialize differs: ", $r->get('php:1'), "\n", serialize($first), "\n"; }
        if ($r->get('igbinary:1') !== igbinary_serialize($first)) { echo "igbinary differs: ", bin2hex($r->get('igbinary:1')), "\n", bin2hex(igbinary_serialize($first)), "\n"; }
        echo "done";"#;
    let seen = php::eval(
        code,
        &[
            ("SOCKET", &mysql.display().to_string()),
            ("REDIS", &redis.socket().display().to_string()),
            ("PASS", PASSWORD),
        ],
    )
    .expect_ok();
    assert_eq!(seen, "done");
}
