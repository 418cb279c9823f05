//! Random sequences of commands answered alike by the server itself and through the endpoint.

use std::time::{SystemTime, UNIX_EPOCH};

use lamplighter_wire::redis::Protocol;

use super::{Client, Endpoint};
use crate::cache::tls_redis;
use crate::support::redis::Server;

/// A small generator of its own, so that a seed names a run (Marsaglia's xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn of<'a>(&mut self, things: &[&'a str]) -> &'a str {
        let at = self.roll(u64::try_from(things.len()).unwrap());
        things[usize::try_from(at).unwrap()]
    }
}

const KEYS: [&str; 6] = ["a", "b", "c", "list", "hash", "{t}x"];
const VALUES: [&str; 7] = [
    "1",
    "-7",
    "x",
    "3.5",
    "longer-value-of-some-length",
    "a",
    "99999999999999999999",
];

fn command(dice: &mut Dice) -> String {
    let (k, l, v) = (dice.of(&KEYS), dice.of(&KEYS), dice.of(&VALUES));
    match dice.roll(44) {
        0 => format!("GET {k}"),
        1 => format!("SET {k} {v}"),
        2 => format!("SET {k} {v} NX EX 100"),
        3 => format!("INCR {k}"),
        4 => format!("DEL {k} {l}"),
        5 => format!("MGET {k} {l} none"),
        6 => format!("MSET {k} {v} {l} {v}"),
        7 => format!("RPUSH {k} {v} {v}"),
        8 => format!("LPOP {k}"),
        9 => format!("LRANGE {k} 0 -1"),
        10 => format!("HSET {k} f {v}"),
        11 => format!("HGETALL {k}"),
        12 => format!("TYPE {k}"),
        13 => format!("EXISTS {k} {l} {k}"),
        14 => format!("APPEND {k} {v}"),
        15 => format!("STRLEN {k}"),
        16 => "MULTI".to_owned(),
        17 => "EXEC".to_owned(),
        18 => "DISCARD".to_owned(),
        19 => format!("WATCH {k}"),
        20 => "UNWATCH".to_owned(),
        21 => format!("EVAL return({v}) 1 {k}"),
        22 => format!("GETRANGE {k} 0 2"),
        23 => format!("RENAME {k} {l}"),
        24 => "PING".to_owned(),
        25 => format!("ECHO {v}"),
        26 => format!("GET {k} {l}"),
        27 => format!("nosuchcommand {k} {v}"),
        28 => format!("SADD {k} {v}"),
        29 => format!("ZADD {k} 1 {v}"),
        30 => format!("ZRANGE {k} 0 -1 WITHSCORES"),
        31 => format!("EXPIRE {k} 1000"),
        32 => format!("PERSIST {k}"),
        33 => format!("GETSET {k} {v}"),
        34 => format!("SETRANGE {k} 3 {v}"),
        35 => format!("INCRBYFLOAT {k} 0.5"),
        36 => "DBSIZE".to_owned(),
        37 => format!("OBJECT ENCODING {k}"),
        38 => format!("LINSERT {k} BEFORE x {v}"),
        39 => format!("BLPOP {k} {l} 0.01"),
        40 => format!("COPY {k} {l}"),
        41 => "SELECT 0".to_owned(),
        42 => format!("SET {k}"),
        _ => "CLIENT GETNAME".to_owned(),
    }
}

/// Runs the same commands on both, in pipelines of up to twelve.
fn compare(
    direct: &Server,
    behind: &Server,
    endpoint: &Endpoint,
    seed: u64,
    protocol: Protocol,
    rounds: u64,
) {
    let mut dice = Dice(seed | 1);
    let mut one = Client::connect(&direct.socket());
    one.expect(&format!("AUTH {}", super::PASSWORD), "+OK");
    let mut two = endpoint.client();
    if protocol == Protocol::Resp3 {
        drop((one.ask("HELLO 3"), two.ask("HELLO 3")));
    }
    drop((direct.cli(&["FLUSHALL"]), behind.cli(&["FLUSHALL"])));
    let mut multi = false;
    let mut history: Vec<String> = Vec::new();
    for round in 0..rounds {
        let mut pipeline: Vec<String> = (0..=dice.roll(12)).map(|_| command(&mut dice)).collect();
        for line in &mut pipeline {
            match line.as_str() {
                "MULTI" => multi = true,
                "EXEC" | "DISCARD" => multi = false,
                // about the connection, which is the client's own here and none of a transaction's business
                "CLIENT GETNAME" | "SELECT 0" if multi => "TIME x".clone_into(line),
                _ => {}
            }
        }
        let bytes: Vec<u8> = pipeline
            .iter()
            .flat_map(|line| super::request(line))
            .collect();
        one.send(&bytes);
        two.send(&bytes);
        for line in &pipeline {
            let (expected, seen) = (one.reply(), two.reply());
            history.push(line.clone());
            assert_eq!(
                seen,
                expected,
                "seed {seed}, {protocol:?}, round {round}, {line}, after {:?}",
                &history[history.len().saturating_sub(20)..]
            );
        }
    }
}

#[test]
fn random_commands_are_answered_as_by_the_server_itself() {
    let (direct, behind) = (tls_redis(), tls_redis());
    let endpoint = Endpoint::start(&behind, "");
    for seed in seeds() {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            compare(&direct, &behind, &endpoint, seed, protocol, 300);
        }
    }
}

/// Fixed seeds for everybody and one that nobody has tried yet; or those that `LAMPLIGHTER_FUZZ_SEED` and
/// `LAMPLIGHTER_FUZZ_SESSIONS` name.
fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(first) = number("LAMPLIGHTER_FUZZ_SEED") {
        let count = number("LAMPLIGHTER_FUZZ_SESSIONS").unwrap_or(1);
        return (first..first + count).collect();
    }
    let new = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    // 1002: a command that waits, right behind others of a client that watches keys
    vec![1, 42, 1002, u64::try_from(new & 0xffff_ffff).unwrap()]
}
