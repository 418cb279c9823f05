//! What clients hear about their own connection.

use super::*;

fn who() -> Who {
    Who {
        id: 7,
        protocol: Protocol::Resp2,
        name: Vec::new(),
        known: true,
    }
}

const UP: Facts<'static> = Facts {
    version: "7.0.15",
    up: true,
    password: None,
};

fn say(who: &mut Who, line: &str, facts: Facts<'_>) -> String {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    match answer(who, &words, facts) {
        Answer::Reply(reply) => String::from_utf8(reply.to_vec()).unwrap(),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_connection_is_the_clients_own() {
    let mut me = who();
    for (line, expected) in [
        ("PING", "+PONG\r\n"),
        ("ping hello", "$5\r\nhello\r\n"),
        ("ECHO x", "$1\r\nx\r\n"),
        ("AUTH anything", "+OK\r\n"),
        ("AUTH user anything", "+OK\r\n"),
        ("SELECT 0", "+OK\r\n"),
        ("CLIENT ID", ":7\r\n"),
        ("CLIENT GETNAME", "$-1\r\n"),
        ("CLIENT SETNAME web", "+OK\r\n"),
        ("client getname", "$3\r\nweb\r\n"),
        ("CLIENT SETINFO LIB-NAME predis", "+OK\r\n"),
        ("CLIENT REPLY ON", "+OK\r\n"),
        ("RESET", "Reset"),
        ("QUIT", "Quit"),
    ] {
        assert_eq!(say(&mut me, line, UP), expected, "{line}");
    }
    for line in [
        "SELECT 1",
        "CLIENT REPLY OFF",
        "CLIENT TRACKING ON",
        "CLIENT KILL x",
    ] {
        let reply = say(&mut me, line, UP);
        assert!(reply.starts_with("-ERR lamplighter: "), "{line}: {reply}");
    }
    assert!(say(&mut me, "SELECT x", UP).starts_with("-ERR value is not"));
    let down = Facts { up: false, ..UP };
    assert!(say(&mut me, "PING", down).contains("not reachable"));
}

#[test]
fn hello_changes_the_protocol_and_says_who_we_are() {
    let mut me = who();
    let two = say(&mut me, "HELLO", UP);
    assert!(
        two.starts_with("*14\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n")
    );
    let three = say(&mut me, "HELLO 3 SETNAME web", UP);
    assert!(three.starts_with("%7\r\n"), "{three}");
    assert_eq!((me.protocol, &*me.name), (Protocol::Resp3, &b"web"[..]));
    assert_eq!(
        say(&mut me, "HELLO 4", UP),
        "-NOPROTO unsupported protocol version\r\n"
    );
    assert!(say(&mut me, "HELLO 2 NONSENSE", UP).starts_with("-ERR Syntax error"));
    assert_eq!(me.protocol, Protocol::Resp3);
}

#[test]
fn a_password_of_the_endpoints_own_is_asked_for() {
    let mut me = who();
    me.known = false;
    let facts = Facts {
        password: Some(b"right"),
        ..UP
    };
    assert!(say(&mut me, "AUTH wrong", facts).starts_with("-WRONGPASS"));
    assert!(say(&mut me, "HELLO 3", facts).starts_with("-NOAUTH"));
    assert!(say(&mut me, "HELLO 3 AUTH default wrong", facts).starts_with("-WRONGPASS"));
    assert_eq!(me.protocol, Protocol::Resp2);
    assert!(!me.known);
    assert_eq!(say(&mut me, "AUTH default right", facts), "+OK\r\n");
    assert!(me.known);
}
