//! What clients may say, and what they hear.

use std::time::Duration;

use super::{Client, Endpoint, PASSWORD, SOON, request};
use crate::cache::tls_redis;
use crate::support::{php, poll};

#[test]
fn php_needs_nothing_but_the_socket_and_the_server_sees_few_connections() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let socket = endpoint.socket.display().to_string();
    let seen = php::run("redis.php", &[("SOCKET", &socket)]).expect_ok();
    assert!(seen.ends_with("done\n"), "{seen}");
    let before = redis.clients();
    let clients: Vec<_> = (0..200)
        .map(|number| {
            let mut client = endpoint.client();
            client.expect(&format!("SET c{number} v"), "+OK");
            client
        })
        .collect();
    assert_eq!(endpoint.metric("endpoint_clients"), 200.0);
    assert_eq!(
        redis.clients(),
        before,
        "200 clients need no connection more"
    );
    assert!(before <= 6, "{before}");
    drop(clients);
    poll::until(SOON, "the clients to be gone", || {
        endpoint.metric("endpoint_clients") == 0.0
    });
    assert!(!seen.contains(PASSWORD));
}

#[test]
fn what_is_not_possible_is_an_error_with_a_reason_and_the_connection_lives_on() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let mut client = endpoint.client();
    for (line, part) in [
        ("FLUSHALL", "allow in [redis.endpoint]"),
        ("CONFIG GET maxmemory", "CONFIG is refused"),
        ("DEBUG SLEEP 10", "DEBUG is refused"),
        ("MONITOR", "share connections"),
        ("WAIT 1 0", "how many replicas have them cannot be told"),
        (
            "WAITAOF 1 0 0",
            "how many replicas have them cannot be told",
        ),
        ("SELECT 3", "one database"),
        ("CLIENT TRACKING ON", "CLIENT TRACKING"),
        (
            "NOSUCH a b",
            "unknown command 'NOSUCH', with args beginning with: 'a' 'b'",
        ),
        ("GET", "wrong number of arguments for 'get' command"),
        ("EXEC", "EXEC without MULTI"),
        ("LPUSH", "wrong number"),
    ] {
        client.expect_error(line, part);
        client.expect("PING", "+PONG");
    }
    // an inline command, an empty one, and an empty array
    client.send(b"\r\n*0\r\nset inline 'a b'\r\nGET inline\r\n");
    assert_eq!(client.reply(), "+OK\r\n");
    assert_eq!(client.reply(), "$3\r\na b\r\n");
    client.send(b"*1\r\n:1\r\n");
    assert_eq!(
        client.reply(),
        "-ERR Protocol error: expected '$', got ':'\r\n"
    );
    assert!(
        client.try_reply().is_err(),
        "nobody knows where the next request begins"
    );
    client = endpoint.client();
    client.expect("QUIT", "+OK");
    assert!(client.try_reply().is_err());
    assert!(endpoint.metric("endpoint_refused_total{reason=\"denied\"}") >= 3.0);
    assert_eq!(redis.cli(&["EXISTS", "inline"]), "1");

    let allowed = Endpoint::start(&redis, "[endpoint]\nallow = ['flushdb']\n");
    allowed.client().expect("FLUSHDB", "+OK");
    assert_eq!(redis.cli(&["DBSIZE"]), "0");
}

#[test]
fn what_may_take_long_has_a_connection_of_its_own() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    poll::until(SOON, "every connection", || {
        endpoint.metric("endpoint_upstream_connections") == 3.0
    });
    let mut clients: Vec<Client> = (0..20).map(|_| endpoint.client()).collect();
    for client in &mut clients {
        client.expect("EVAL return(1) 0", ":1");
        client.expect("GET k", "$-1");
    }
    let list = redis.cli(&["CLIENT", "LIST"]);
    let last = |name: &str| {
        let cmd = format!(" cmd={name} ");
        list.lines().filter(|line| line.contains(&cmd)).count()
    };
    assert_eq!(last("eval"), 1, "{list}");
    assert!((1..=2).contains(&last("get")), "{list}");
    for way in ["slow", "shared"] {
        let series = format!("endpoint_commands_total{{way=\"{way}\"}}");
        assert_eq!(endpoint.metric(&series), 20.0);
    }
}

#[test]
fn transactions_of_many_clients_on_one_connection_do_not_mix() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "[endpoint]\nconnections = 1\n");
    let (mut one, mut two) = (endpoint.client(), endpoint.client());
    one.expect("MULTI", "+OK");
    two.expect("MULTI", "+OK");
    one.expect("INCR n", "+QUEUED");
    two.expect("INCR n", "+QUEUED");
    // outside of any transaction, between the two
    endpoint.client().expect("GET n", "$-1");
    one.expect("INCR n", "+QUEUED");
    one.expect("PING", "+QUEUED");
    one.expect_error("SUBSCRIBE c", "cannot be part of a transaction");
    one.expect_error("EXEC", "EXECABORT");
    two.expect("EXEC", "*1\r\n:1");
    two.expect("MULTI", "+OK");
    two.expect("MULTI", "-ERR MULTI calls can not be nested");
    two.expect("SET s x", "+QUEUED");
    two.expect("INCR s", "+QUEUED");
    two.expect(
        "EXEC",
        "*2\r\n+OK\r\n-ERR value is not an integer or out of range",
    );
    two.expect("MULTI", "+OK");
    two.expect("INCR n", "+QUEUED");
    two.expect("DISCARD", "+OK");
    two.expect("GET n", "$1\r\n1");
    two.expect("MULTI", "+OK");
    two.expect("EXEC", "*0");
    // a client that leaves in the middle leaves nothing behind
    one.expect("MULTI", "+OK");
    one.expect("INCR n", "+QUEUED");
    drop(one);
    two.expect("GET n", "$1\r\n1");
}

#[test]
fn a_watched_key_that_changes_ends_the_transaction_and_the_connection_is_given_back() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let (mut one, mut two) = (endpoint.client(), endpoint.client());
    one.expect("SET w 1", "+OK");
    for (interfere, result) in [(false, "*1\r\n:2"), (true, "*-1"), (false, "*1\r\n:12")] {
        one.expect("WATCH w", "+OK");
        one.ask("GET w");
        if interfere {
            two.expect("SET w 11", "+OK");
        }
        one.expect("MULTI", "+OK");
        one.expect("INCR w", "+QUEUED");
        one.expect("EXEC", result);
    }
    one.expect("WATCH w", "+OK");
    two.expect("INCR w", ":13");
    one.expect("UNWATCH", "+OK");
    one.expect("MULTI", "+OK");
    one.expect("INCR w", "+QUEUED");
    one.expect("EXEC", "*1\r\n:14");
    one.expect("WATCH w", "+OK");
    one.expect("MULTI", "+OK");
    one.expect("DISCARD", "+OK");
    two.expect("INCR w", ":15");
    one.expect("MULTI", "+OK");
    one.expect("INCR w", "+QUEUED");
    one.expect("EXEC", "*1\r\n:16");
    let connects = endpoint.metric("upstream_connects_total");
    for _ in 0..20 {
        one.expect("WATCH w", "+OK");
        one.expect("UNWATCH", "+OK");
    }
    assert_eq!(
        endpoint.metric("upstream_connects_total"),
        connects,
        "a clean connection is used again"
    );
}

#[test]
fn whoever_waits_for_data_waits_alone_and_leaves_nothing_behind() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(
        &redis,
        "[endpoint]\nprivate_max = 2\nprivate_wait = '100ms'\n",
    );
    let mut other = endpoint.client();
    let mut waiting = endpoint.client();
    waiting.send(&request("BLPOP list 0"));
    poll::until(SOON, "the command to wait", || {
        redis
            .cli(&["INFO", "clients"])
            .contains("blocked_clients:1")
    });
    for _ in 0..100 {
        other.expect("PING x", "$1\r\nx");
        other.expect("SET k v", "+OK");
    }
    other.expect("RPUSH list a", ":1");
    assert_eq!(waiting.reply(), "*2\r\n$4\r\nlist\r\n$1\r\na\r\n");
    waiting.expect("BLPOP list 0.05", "*-1");
    waiting.expect("XREAD STREAMS s 0", "*-1");
    waiting.expect("XREAD BLOCK 10 STREAMS s 0", "*-1");
    let mut second = endpoint.client();
    waiting.send(&request("BRPOP list 0"));
    second.send(&request("BZPOPMIN zset 0"));
    poll::until(SOON, "both to wait", || {
        redis
            .cli(&["INFO", "clients"])
            .contains("blocked_clients:2")
    });
    other.expect_error("BLPOP list 0", "all 2 connections");
    other.expect("PING", "+PONG");
    // gone in the middle: so is its connection, and nothing is popped for it
    drop((waiting, second));
    poll::until(SOON, "nobody to wait", || {
        redis
            .cli(&["INFO", "clients"])
            .contains("blocked_clients:0")
    });
    other.expect("RPUSH list b", ":1");
    other.expect("LRANGE list 0 -1", "*1\r\n$1\r\nb");
    poll::until(SOON, "the places to be free", || {
        endpoint.client().ask("BLPOP list 0.01").starts_with('*')
    });
}

#[test]
fn messages_come_to_those_who_subscribed() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let (mut listener, mut speaker) = (endpoint.client(), endpoint.client());
    listener.expect("UNSUBSCRIBE", "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0");
    listener.expect(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1",
    );
    listener.expect("PSUBSCRIBE n*", "*3\r\n$10\r\npsubscribe\r\n$2\r\nn*\r\n:2");
    for number in 0..50 {
        speaker.expect(&format!("PUBLISH news m{number}"), ":2");
    }
    for number in 0..50 {
        let text = format!("m{number}");
        let message = listener.reply();
        assert!(
            message.contains("$7\r\nmessage") && message.contains(&text),
            "{message}"
        );
        let message = listener.reply();
        assert!(
            message.contains("$8\r\npmessage") && message.contains(&text),
            "{message}"
        );
    }
    listener.expect("PING", "*2\r\n$4\r\npong\r\n$0");
    listener.expect_error("GET k", "only (P|S)SUBSCRIBE");
    listener.expect_error("MULTI", "subscribed");
    listener.expect(
        "PUNSUBSCRIBE n*",
        "*3\r\n$12\r\npunsubscribe\r\n$2\r\nn*\r\n:1",
    );
    listener.expect(
        "UNSUBSCRIBE news",
        "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0",
    );
    listener.expect("GET k", "$-1");
    speaker.expect("PUBLISH news x", ":0");
    listener.expect("RESET", "+RESET");
    listener.expect("SET k v", "+OK");
}

#[test]
fn resp3_has_its_own_types_and_its_own_connections() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let (mut three, mut two) = (endpoint.client(), endpoint.client());
    let hello = three.ask("HELLO 3");
    assert!(
        hello.starts_with("%7\r\n$6\r\nserver\r\n$5\r\nredis"),
        "{hello}"
    );
    assert!(
        hello.contains(
            &redis
                .cli(&["INFO", "server"])
                .lines()
                .find_map(|l| l
                    .strip_prefix("redis_version:")
                    .map(|v| v.trim().to_owned()))
                .unwrap()
        ),
        "{hello}"
    );
    three.expect("HSET h f 1.5", ":1");
    three.expect("HGETALL h", "%1\r\n$1\r\nf\r\n$3\r\n1.5");
    two.expect("HGETALL h", "*2\r\n$1\r\nf\r\n$3\r\n1.5");
    three.expect("GET none", "_");
    two.expect("GET none", "$-1");
    three.expect("ZADD z 1.5 m", ":1");
    three.expect("ZSCORE z m", ",1.5");
    two.expect("ZSCORE z m", "$3\r\n1.5");
    three.expect("SUBSCRIBE c", ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1");
    two.expect("PUBLISH c x", ":1");
    assert_eq!(
        three.reply(),
        ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"
    );
    three.expect("RESET", "+RESET");
    three.expect("HGETALL h", "*2\r\n$1\r\nf\r\n$3\r\n1.5");
}

#[test]
fn a_pipeline_of_a_hundred_thousand_commands_is_answered_in_order() {
    let redis = tls_redis();
    let endpoint = Endpoint::start(&redis, "");
    let client = endpoint.client();
    let mut writer = client.stream.try_clone().unwrap();
    let mut reader = Client {
        stream: client.stream,
        pending: bytes::BytesMut::new(),
    };
    let work = std::thread::spawn(move || {
        use std::io::Write;
        let mut bytes = Vec::new();
        for number in 0..100_000 {
            bytes.extend(match number % 4 {
                0 => request(&format!("SET p{} {number}", number % 100)),
                1 => request(&format!("ECHO {number}")),
                // over another connection, which must not overtake
                2 if number % 1000 == 2 => request(&format!("EVAL return({number}) 0")),
                2 => request("GET none"),
                _ => request("INCR counter"),
            });
        }
        writer.write_all(&bytes).unwrap();
    });
    for number in 0..100_000 {
        let expected = match number % 4 {
            0 => "+OK\r\n".to_owned(),
            1 => format!("${}\r\n{number}\r\n", number.to_string().len()),
            2 if number % 1000 == 2 => format!(":{number}\r\n"),
            2 => "$-1\r\n".to_owned(),
            _ => format!(":{}\r\n", number / 4 + 1),
        };
        assert_eq!(reader.reply(), expected, "reply {number}");
    }
    work.join().unwrap();
}

#[test]
fn an_endpoint_with_a_password_of_its_own_asks_for_it() {
    let redis = tls_redis();
    let dir = crate::support::scratch::Scratch::new("clients-password");
    let file = dir.write_secret("clients", "local-secret");
    let endpoint = Endpoint::start(
        &redis,
        &format!("clients_password_file = '{}'\n", file.display()),
    );
    let mut client = endpoint.client();
    client.expect_error("GET k", "NOAUTH");
    client.expect_error("AUTH wrong", "WRONGPASS");
    client.expect_error("GET k", "NOAUTH");
    client.expect("AUTH local-secret", "+OK");
    client.expect("GET k", "$-1");
}

#[test]
fn the_agent_leaves_at_once_when_clients_are_idle_and_lets_work_end() {
    let redis = tls_redis();
    let mut endpoint = Endpoint::start(&redis, "");
    let mut idle = endpoint.client();
    idle.expect("PING", "+PONG");
    let mut waiting = endpoint.client();
    waiting.send(&request("BLPOP list 1"));
    poll::until(SOON, "the command to wait", || {
        redis
            .cli(&["INFO", "clients"])
            .contains("blocked_clients:1")
    });
    let took = endpoint.instance.stop();
    assert_eq!(waiting.reply(), "*-1\r\n", "what waits is answered first");
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert!(idle.try_reply().is_err());
}
