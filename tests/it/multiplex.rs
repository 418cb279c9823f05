//! What a client leaves on a server connection ends its hold when it is gone; prepared statements belong to no connection; KILL hits
//! whom it names.

use std::time::Duration;

use crate::endpoint::{Endpoint, Options, start};
use crate::support::mysql::Cluster;
use crate::support::poll;

const PATIENCE: Duration = Duration::from_secs(20);

/// A pool of `count` connections, whose waiting clients are told soon.
fn pool_of(cluster: &Cluster, count: usize) -> Endpoint {
    pool_that_waits(cluster, count, "1s")
}

fn pool_that_waits(cluster: &Cluster, count: usize, wait_timeout: &str) -> Endpoint {
    let pool = format!("max_server_connections = {count}\nwait_timeout = \"{wait_timeout}\"");
    let options = Options {
        pool,
        ..Options::default()
    };
    let endpoint = start(cluster, options);
    endpoint.wait_opened(cluster);
    endpoint
}

#[test]
fn what_is_over_lets_its_connection_go() {
    let cluster = Cluster::builder().build();
    let endpoint = pool_of(&cluster, 1);
    let out = endpoint
        .code(
            r#"$first = endpoint();
            $other = endpoint();
            $is_free = fn () => error_of(fn () => $other->query('SELECT 1')) === 0;
            foreach ([
                'transaction' => [['BEGIN', 'SELECT * FROM kv'], ['COMMIT']],
                'table locks' => [['LOCK TABLES kv WRITE'], ['UNLOCK TABLES']],
                'user lock' => [["SELECT GET_LOCK('a', 1)"], ['SELECT RELEASE_ALL_LOCKS()']],
                'temporary tables' => [['CREATE TEMPORARY TABLE a (x INT)', 'CREATE TEMPORARY TABLE b (x INT)'], ['DROP TEMPORARY TABLE a, b']],
                'XA' => [["XA START 'x'", 'SELECT * FROM kv', "XA END 'x'"], ["XA ROLLBACK 'x'"]],
                'text statement' => [["PREPARE s FROM 'SELECT 1'"], ['DEALLOCATE PREPARE s']],
                'next transaction' => [['SET TRANSACTION READ ONLY'], ['BEGIN', 'SELECT * FROM kv', 'COMMIT']],
                'autocommit' => [['SET autocommit = 0', 'SELECT * FROM kv'], ['COMMIT']],
            ] as $what => [$begin, $end]) {
                $first = endpoint();
                foreach ($begin as $sql) $first->query($sql);
                same(false, $is_free(), "$what: kept");
                foreach ($end as $sql) $first->query($sql);
                same(true, $is_free(), "$what: given back");
                $first->query('SELECT 1');
                $first->close();
            }
            $first = endpoint();
            foreach (['SELEC 1', 'LOCK TABLES nowhere READ', "SET time_zone = 'Nowhere/Land'", 'USE nowhere'] as $sql) {
                same(true, error_of(fn () => $first->query($sql)) > 0, $sql);
                same(true, $is_free(), "$sql: a failure keeps nothing");
            }
            echo 'ok';"#,
        )
        .run()
        .expect_ok();
    assert_eq!(out, "ok");
}

#[test]
fn an_insert_id_follows_its_session() {
    let cluster = Cluster::builder()
        .schema("CREATE TABLE app.numbered (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))")
        .build();
    let endpoint = pool_of(&cluster, 1);
    let out = endpoint
        .code(
            r#"$all = [endpoint(), endpoint(), endpoint()];
            for ($round = 1; $round <= 5; $round++) {
                foreach ($all as $who => $link) {
                    $link->query("INSERT INTO numbered (v) VALUES ('$who'), ('$who')");
                    $ids[$who] = $link->insert_id;
                    // a value of its own is told by the OK, but LAST_INSERT_ID() does not know it
                    $link->query("INSERT INTO numbered VALUES (" . ($ids[$who] + 1000) . ", 'own')");
                }
                foreach ($all as $who => $link) {
                    same($ids[$who], (int) one($link, 'SELECT LAST_INSERT_ID()'), "alone, round $round");
                    same($ids[$who] + 1, (int) one($link, 'SELECT LAST_INSERT_ID() + 1'), "in an expression, round $round");
                    $link->query("UPDATE numbered SET v = 'seen' WHERE id = LAST_INSERT_ID()");
                    same(1, $link->affected_rows, "in an update, round $round");
                }
            }
            same(0, (int) one(endpoint(), 'SELECT LAST_INSERT_ID() + 0'), 'a new session has none');
            echo 'ok';"#,
        )
        .run()
        .expect_ok();
    assert_eq!(out, "ok");
}

#[test]
fn an_insert_id_is_fetched_from_a_connection_that_does_not_suit() {
    let cluster = Cluster::builder()
        .schema("CREATE TABLE app.numbered (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(20))")
        .build();
    // less than the time after which the pool itself asks an idle connection
    let endpoint = pool_that_waits(&cluster, 2, "900ms");
    let out = endpoint
        .code(
            r#"$insert = function ($link) {
                $link->query("INSERT INTO numbered (v) VALUES ('x')");
                return $link->insert_id;
            };
            for ($round = 1; $round <= 3; $round++) {
                $link = endpoint();
                $id = $insert($link);
                // its connection is given back, and nobody has asked that for the value
                $link->query('SELECT * FROM kv');
                // it asks for multi-statements first: no connection of before is its own any more
                same(true, $link->multi_query('SELECT LAST_INSERT_ID() + 0'), "other capabilities, round $round");
                same((string) $id, $link->store_result()->fetch_row()[0], "other capabilities, round $round");
                $link->close();

                [$link, $other] = [endpoint(), endpoint()];
                $other->query('BEGIN'); $other->query('SELECT * FROM kv');
                $id = $insert($link);
                $third = endpoint();
                // the third takes the connection that knows, and leaves the other one to the link
                $third->query('BEGIN'); $third->query('SELECT * FROM kv');
                $other->query('COMMIT');
                same($id, (int) one($link, 'SELECT LAST_INSERT_ID() + 0'), "taken by another, round $round");
                $third->query('COMMIT');
            }
            echo 'ok';"#,
        )
        .run()
        .expect_ok();
    assert_eq!(out, "ok");
}

#[test]
fn prepared_statements_belong_to_no_connection() {
    let cluster = Cluster::builder().general_log().build();
    let endpoint = pool_of(&cluster, 1);
    let out = endpoint
        .code(
            r#"$one = endpoint();
            $two = endpoint();
            $read = fn ($link) => $link->prepare('SELECT v FROM kv WHERE id = ? /* read */');
            $a = $read($one); $b = $read($two); $c = $one->prepare('SELECT ?, ?');
            for ($round = 0; $round < 3; $round++) {
                foreach ([[$a, 10, 'value-10'], [$b, 11, 'value-11']] as [$statement, $id, $expected]) {
                    $statement->bind_param('i', $id);
                    $statement->execute();
                    same($expected, $statement->get_result()->fetch_row()[0], "round $round");
                }
                $x = 'a'; $y = $round;
                $c->bind_param('si', $x, $y);
                $c->execute();
                same(['a', $round], $c->get_result()->fetch_row(), 'types of its own');
            }
            echo 'ok';"#,
        )
        .run()
        .expect_ok();
    assert_eq!(out, "ok");

    let request = r#"$link = endpoint();
        $statement = $link->prepare('SELECT v FROM kv WHERE id = ? /* read */');
        $id = 12; $statement->bind_param('i', $id); $statement->execute();
        same('value-12', $statement->get_result()->fetch_row()[0], 'known');
        $statement->close(); $link->close();"#;
    cluster.clear_general_log(0);
    for _ in 0..3 {
        endpoint.code(request).run().expect_ok();
    }
    let seen: Vec<_> = cluster
        .general_log(0)
        .into_iter()
        .filter(|line| line.text.contains("/* read */"))
        .map(|line| line.command)
        .collect();
    assert_eq!(
        seen, ["Execute"; 3],
        "a known statement costs one round trip"
    );
}

#[test]
fn kill_hits_whom_it_names() {
    let cluster = Cluster::builder().build();
    let endpoint = pool_of(&cluster, 3);
    let out = endpoint
        .code(
            r#"$victim = endpoint();
            $killer = endpoint();
            foreach (["KILL QUERY {$victim->thread_id}" => false, "KILL {$victim->thread_id}" => true] as $kill => $ends) {
                $victim->query('SELECT SLEEP(60)', MYSQLI_ASYNC);
                do { $running = one($killer, "SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(60)'"); } while ($running < 1);
                $begun = microtime(true);
                $killer->query($kill);
                $error = error_of(fn () => $victim->reap_async_query()->fetch_row());
                same(true, microtime(true) - $begun < 30, 'the statement ended early');
                same($ends, $error === 2006 || $error === 2013, "$kill ended the client: $error");
                // late or not, the kill hits nobody else
                for ($turn = 0; $turn < 20; $turn++) same('1', one($killer, 'SELECT 1'), 'unharmed');
                if (!$ends) same('1', one($victim, 'SELECT 1'), 'goes on');
            }
            $server = one($killer, "SELECT id FROM information_schema.processlist WHERE command = 'Sleep' LIMIT 1");
            same(1095, error_of(fn () => $killer->query("KILL $server")), 'a server connection may be anybodys');
            echo 'ok';"#,
        )
        .run()
        .expect_ok();
    assert_eq!(out, "ok");
}

#[test]
fn a_statement_whose_client_is_gone_is_killed() {
    let cluster = Cluster::builder().build();
    let endpoint = pool_of(&cluster, 2);
    let client = endpoint
        .code("endpoint()->query('SELECT SLEEP(300)');")
        .spawn();
    let running = || {
        cluster.sql(
            0,
            "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(300)%'",
        )
    };
    poll::until(PATIENCE, "the statement to run", || running()[0][0] == "1");
    client.kill();
    poll::until(PATIENCE, "the statement to end", || running()[0][0] == "0");
    poll::until(PATIENCE, "the kill to be counted", || {
        endpoint.metric("lamplighter_mysql_kills_total") >= 1.0
    });
}
