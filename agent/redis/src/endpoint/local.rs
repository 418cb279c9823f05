//! Commands about the connection, which is the client's with the endpoint: answered here, in Redis' own words. Pure; no IO.

use bytes::{Bytes, BytesMut};
use lamplighter_wire::redis::{Protocol, write};

/// What the endpoint knows of a client.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) id: u64,
    pub(crate) protocol: Protocol,
    pub(crate) name: Vec<u8>,
    /// Whether it may do anything but log in.
    pub(crate) known: bool,
}

/// What the endpoint knows of the server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) version: &'a str,
    pub(crate) up: bool,
    /// The password clients have to give, if they have to.
    pub(crate) password: Option<&'a [u8]>,
}

/// An answer, and what it does to the connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Reply(Bytes),
    /// Everything the connection had is forgotten.
    Reset,
    /// The connection ends behind it.
    Quit,
}

/// Answers a command of the class `Local`. `arguments` begins with its name in any case.
pub(crate) fn answer(who: &mut Who, arguments: &[&[u8]], facts: Facts<'_>) -> Answer {
    let name = arguments
        .first()
        .copied()
        .unwrap_or_default()
        .to_ascii_uppercase();
    Answer::Reply(match &*name {
        b"PING" => ping(arguments, facts),
        b"ECHO" => write::bulk(arguments.get(1).copied().unwrap_or_default()),
        b"AUTH" => auth(who, arguments, facts),
        b"HELLO" => hello(who, arguments, facts),
        b"SELECT" => select(arguments),
        b"CLIENT" => client(who, arguments),
        b"RESET" => return Answer::Reset,
        _ => return Answer::Quit,
    })
}

fn ping(arguments: &[&[u8]], facts: Facts<'_>) -> Bytes {
    match arguments {
        _ if !facts.up => write::error("ERR lamplighter: Redis is not reachable"),
        [_] => write::PONG,
        [_, text] => write::bulk(text),
        _ => wrong_arguments("ping"),
    }
}

fn auth(who: &mut Who, arguments: &[&[u8]], facts: Facts<'_>) -> Bytes {
    let given = match arguments {
        [_, password] | [_, _, password] => *password,
        _ => return write::error("ERR syntax error"),
    };
    // without a password of the endpoint's own whoever can reach the socket may use it, whatever it thinks the password is
    who.known = facts.password.is_none_or(|wanted| same(wanted, given));
    if who.known {
        write::OK
    } else {
        write::error("WRONGPASS invalid username-password pair or user is disabled.")
    }
}

/// Compares in a time that does not depend on where the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .fold(0, |difference, (a, b)| difference | (a ^ b))
            == 0
}

fn hello(who: &mut Who, arguments: &[&[u8]], facts: Facts<'_>) -> Bytes {
    let mut protocol = who.protocol;
    let mut rest = arguments.get(1..).unwrap_or_default();
    if let [version, more @ ..] = rest {
        protocol = match *version {
            b"2" => Protocol::Resp2,
            b"3" => Protocol::Resp3,
            text if text.iter().all(u8::is_ascii_digit) => {
                return write::error("NOPROTO unsupported protocol version");
            }
            _ => {
                return write::error("ERR Protocol version is not an integer or out of range");
            }
        };
        rest = more;
    }
    let mut name = None;
    loop {
        rest = match rest {
            [] => break,
            [word, user, password, more @ ..] if word.eq_ignore_ascii_case(b"AUTH") => {
                let reply = auth(who, &[b"AUTH", user, password], facts);
                if reply.starts_with(b"-") {
                    return reply;
                }
                more
            }
            [word, text, more @ ..] if word.eq_ignore_ascii_case(b"SETNAME") => {
                name = Some(text.to_vec());
                more
            }
            [other, ..] => {
                let other = String::from_utf8_lossy(other);
                return write::error(&format!("ERR Syntax error in HELLO option '{other}'"));
            }
        };
    }
    if !who.known {
        return write::error(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        );
    }
    who.protocol = protocol;
    if let Some(name) = name {
        who.name = name;
    }
    greeting(who, facts)
}

fn greeting(who: &Who, facts: Facts<'_>) -> Bytes {
    let mut out = BytesMut::new();
    let (marker, count, version) = match who.protocol {
        Protocol::Resp2 => (b'*', 14, 2),
        Protocol::Resp3 => (b'%', 7, 3),
    };
    write::put_header(&mut out, marker, count);
    let server = if facts.version.is_empty() {
        "6.0.0"
    } else {
        facts.version
    };
    for (name, value) in [
        ("server", "redis"),
        ("version", server),
        ("mode", "standalone"),
        ("role", "master"),
    ] {
        write::put_bulk(&mut out, name.as_bytes());
        write::put_bulk(&mut out, value.as_bytes());
    }
    for (name, value) in [("proto", version), ("id", who.id)] {
        write::put_bulk(&mut out, name.as_bytes());
        out.extend_from_slice(format!(":{value}\r\n").as_bytes());
    }
    write::put_bulk(&mut out, b"modules");
    out.extend_from_slice(b"*0\r\n");
    out.freeze()
}

fn select(arguments: &[&[u8]]) -> Bytes {
    match arguments.get(1) {
        Some(&b"0") => write::OK,
        Some(text) if !text.is_empty() && text.iter().all(u8::is_ascii_digit) => write::error(
            "ERR lamplighter: there is one database, number 0; Azure Managed Redis has no other, and which one it is here is said by db in [redis]",
        ),
        _ => write::error("ERR value is not an integer or out of range"),
    }
}

fn client(who: &mut Who, arguments: &[&[u8]]) -> Bytes {
    let sub = arguments
        .get(1)
        .copied()
        .unwrap_or_default()
        .to_ascii_uppercase();
    match (&*sub, arguments.len()) {
        (b"ID", 2) => write::integer(i64::try_from(who.id).unwrap_or(i64::MAX)),
        (b"GETNAME", 2) if who.name.is_empty() => write::null(who.protocol),
        (b"GETNAME", 2) => write::bulk(&who.name),
        (b"SETNAME", 3) => {
            let name = arguments.get(2).copied().unwrap_or_default();
            if name.iter().any(|byte| !(b'!'..=b'~').contains(byte)) {
                return write::error(
                    "ERR Client names cannot contain spaces, newlines or special characters.",
                );
            }
            who.name = name.to_vec();
            write::OK
        }
        (b"SETINFO", 4) | (b"NO-EVICT" | b"NO-TOUCH", 3) => write::OK,
        (b"REPLY", 3)
            if arguments
                .get(2)
                .is_some_and(|word| word.eq_ignore_ascii_case(b"ON")) =>
        {
            write::OK
        }
        (b"INFO" | b"LIST", _) => write::bulk(
            format!(
                "id={} addr=lamplighter:0 name={} db=0 resp={}\n",
                who.id,
                String::from_utf8_lossy(&who.name),
                if who.protocol == Protocol::Resp3 {
                    3
                } else {
                    2
                }
            )
            .as_bytes(),
        ),
        (b"REPLY" | b"TRACKING" | b"CACHING" | b"KILL" | b"PAUSE" | b"UNPAUSE" | b"UNBLOCK", _) => {
            write::error(&format!(
                "ERR lamplighter: CLIENT {} is about a connection to the server, which clients of the endpoint share",
                String::from_utf8_lossy(&sub)
            ))
        }
        (b"ID" | b"GETNAME" | b"SETNAME" | b"SETINFO" | b"NO-EVICT" | b"NO-TOUCH", _) => {
            let sub = String::from_utf8_lossy(&sub).to_lowercase();
            wrong_arguments(&format!("client|{sub}"))
        }
        _ => write::error(&format!(
            "ERR unknown subcommand '{}'. Try CLIENT HELP.",
            String::from_utf8_lossy(arguments.get(1).copied().unwrap_or_default())
        )),
    }
}

/// As Redis says it; `name` in small letters.
pub(crate) fn wrong_arguments(name: &str) -> Bytes {
    write::error(&format!(
        "ERR wrong number of arguments for '{name}' command"
    ))
}

#[cfg(test)]
mod tests;
