//! Reading with all errors: what is found, where, and what is advised.

use std::net::SocketAddr;

use lamplighter_core::units::{Bytes, Millis};
use serde::Deserialize;

use super::*;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Root {
    web: Option<Web>,
    job: Vec<Job>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Web {
    listen: SocketAddr,
    user: String,
    #[serde(default)]
    timeout: Option<Millis>,
    #[serde(default)]
    buffer: Option<Bytes>,
    #[serde(default)]
    pool: Pool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Pool {
    connections: u32,
    mode: Option<Mode>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Session,
    Transaction,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    name: String,
    count: u32,
}

fn read(text: &str) -> Outcome<Root> {
    Document::parse(text).expect("TOML").read()
}

/// Every mistake as "line: message (help)".
fn mistakes(text: &str) -> Vec<String> {
    let outcome = read(text);
    outcome
        .mistakes
        .iter()
        .map(|mistake| {
            let before = text.get(..mistake.span.start).expect("a boundary");
            let line = before.matches('\n').count() + 1;
            let help = mistake.help.as_ref().map(|help| format!(" ({help})"));
            format!("{line}: {}{}", mistake.message, help.unwrap_or_default())
        })
        .collect()
}

const GOOD: &str = "[web]\nlisten = '127.0.0.1:80'\nuser = 'a'\ntimeout = '5s'\nbuffer = '1MiB'\n\
                    [web.pool]\nconnections = 3\nmode = 'session'\n[[job]]\nname = 'x'\ncount = 1\n";

#[test]
fn good_text_has_no_mistakes() {
    let outcome = read(GOOD);
    assert_eq!(outcome.mistakes, []);
    let root = outcome.value.expect("a value");
    let web = root.web.expect("web");
    assert_eq!(web.pool.connections, 3);
    assert!(matches!(web.pool.mode, Some(Mode::Session)));
    assert_eq!(web.timeout, Some(Millis::from_secs(5)));
    assert_eq!(web.buffer, Some(Bytes::from_mib(1)));
    assert_eq!((web.listen.port(), web.user.as_str()), (80, "a"));
    assert_eq!((root.job[0].name.as_str(), root.job[0].count), ("x", 1));
    assert!(matches!(
        read("[web]\nlisten='[::]:1'\nuser=''\npool.mode='transaction'")
            .value
            .expect("a value")
            .web
            .expect("web")
            .pool
            .mode,
        Some(Mode::Transaction)
    ));
}

#[test]
fn every_mistake_is_reported_with_its_line_and_advice() {
    let text = "[web]\nlisten = 'nowhere'\nuser = 'a'\ntimeout = 5\nbufer = '1MiB'\n\
                pool = { connectoins = 3, mode = 'sesion', connections = 'many' }\n\n[[job]]\nname = 'x'\ncount = -1\n\n[redsi]\n";
    assert_eq!(
        mistakes(text),
        [
            "2: invalid socket address syntax",
            "4: \"5\" has no unit; write for example \"250ms\"",
            "5: unknown key `bufer` (did you mean `buffer`?)",
            "6: unknown key `connectoins` (did you mean `connections`?)",
            "6: \"sesion\" is not a value of this key (did you mean `session`?)",
            "6: invalid type: string \"many\", expected u32",
            "10: invalid value: integer `-1`, expected u32",
            "12: unknown key `redsi` (known keys here: web, job)",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn missing_keys_hide_nothing_behind_them() {
    // both required keys of [web] and of the first [[job]] are missing, and there are mistakes beside and after them
    let text = "[web]\npool = { connectoins = 3 }\n[[job]]\nnme = 'x'\n[[job]]\nname = 'y'\ncount = 'one'\n";
    assert_eq!(
        mistakes(text),
        [
            "1: [web] lacks the key `listen`",
            "1: [web] lacks the key `user`",
            "2: unknown key `connectoins` (did you mean `connections`?)",
            "3: [[job]] lacks the key `name`",
            "3: [[job]] lacks the key `count`",
            "4: unknown key `nme` (did you mean `name`?)",
            "7: invalid type: string \"one\", expected u32",
        ]
        .map(str::to_owned)
    );
    let outcome = read(text);
    assert_eq!(
        outcome.incomplete.into_iter().collect::<Vec<_>>(),
        ["job", "web"]
    );
}

#[test]
fn a_text_that_is_not_toml_gives_every_place() {
    let mistakes = Document::parse("[web]\nlisten = \nuser = 'a\nx = 1\n").expect_err("mistakes");
    let places: Vec<usize> = mistakes.iter().map(|mistake| mistake.span.start).collect();
    assert_eq!(places, [15, 25], "{mistakes:?}");
}

#[test]
fn keys_are_located_or_else_the_table_above() {
    let document = Document::parse(GOOD).expect("TOML");
    let at = |path: &str| GOOD.get(document.locate(path)).expect("a boundary");
    assert_eq!(at("web.pool.mode"), "mode");
    assert_eq!(at("job.0.count"), "count");
    assert_eq!(at("web.pool.nothing.deeper"), "pool");
    assert_eq!(at("job.7"), "job");
    assert_eq!(document.locate("nothing"), 0..0);
}

#[test]
fn the_nearest_name_is_near() {
    assert_eq!(
        nearest("replcas", &["primary", "replicas"]),
        Some("replicas")
    );
    assert_eq!(
        nearest("password", &["user", "password_file"]),
        Some("password_file")
    );
    assert_eq!(
        nearest("max_connections", &["connections"]),
        Some("connections")
    );
    assert_eq!(nearest("x", &["primary", "replicas"]), None);
}
