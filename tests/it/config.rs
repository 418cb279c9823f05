//! The configuration file: the reference and the examples are true, and bad files are refused with their line.

use std::collections::BTreeSet;
use std::path::Path;

use lamplighter::config::{self, ConfigProblem, Loaded};

use super::tidy::{none, read};

/// A key that no table has.
const STRANGER: &str = "zzzzzzzz";

/// Problems of the reference with everything in it switched on: keys that exclude each other, and one that is refused today.
const EXCLUSIVE: [&str; 2] = ["exclude each other", "not available for the storage"];

fn parse(text: &str) -> Result<Loaded, Vec<ConfigProblem>> {
    config::parse(Path::new("lamplighter.toml"), text.to_owned())
}

#[track_caller]
fn shown(text: &str) -> String {
    match parse(text) {
        Ok(loaded) => loaded.config.to_toml().expect("TOML"),
        Err(problems) => panic!("{}", texts(&problems).join("\n")),
    }
}

fn texts(problems: &[ConfigProblem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// One line of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line<'t> {
    /// `[table]`, switched on or off.
    Table(&'t str),
    /// A key that the table cannot do without.
    Required(&'t str),
    /// A key at its default.
    Default(&'t str),
    /// A key that has no default; the value is an example.
    Example(&'t str),
    /// Explanation.
    Prose,
}

fn lines(reference: &str) -> Vec<Line<'_>> {
    reference
        .lines()
        .map(|line| {
            let line = line.strip_prefix('#').unwrap_or(line);
            let key = line.split('=').next().unwrap_or_default().trim();
            let is_key = !key.is_empty()
                && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                && line.contains('=');
            match line {
                _ if line.starts_with('[') => Line::Table(line),
                _ if !is_key || line.starts_with(' ') => Line::Prose,
                _ if line.ends_with("# required") => Line::Required(line),
                _ if line.ends_with("# no default") => Line::Example(line),
                _ => Line::Default(line),
            }
        })
        .collect()
}

/// The reference with the lines switched on that `wanted` names; tables always are.
fn switched_on(reference: &str, wanted: impl Fn(Line<'_>) -> bool) -> String {
    let mut text = String::new();
    for line in lines(reference) {
        match line {
            Line::Table(line) => text.push_str(line),
            Line::Required(inner) | Line::Default(inner) | Line::Example(inner) if wanted(line) => {
                text.push_str(inner)
            }
            _ => {}
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_reference_shows_the_defaults() {
    let reference = read("config/lamplighter.toml");
    let required = switched_on(&reference, |line| matches!(line, Line::Required(_)));
    let with_defaults = switched_on(&reference, |line| {
        matches!(line, Line::Required(_) | Line::Default(_))
    });
    assert_eq!(
        shown(&with_defaults),
        shown(&required),
        "left: as the reference says; right: as it is"
    );
}

#[test]
fn the_reference_as_it_is_installed_is_a_valid_agent() {
    let loaded = parse(&read("config/lamplighter.toml"))
        .unwrap_or_else(|problems| panic!("{:?}", texts(&problems)));
    assert!(
        loaded.config.health.is_some()
            && loaded.config.mysql.is_none()
            && loaded.config.sync.is_empty()
    );
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let reference = read("config/lamplighter.toml");
    let all = switched_on(&reference, |line| line != Line::Prose);
    let problems = parse(&all).err().unwrap_or_default();
    let unexpected = problems
        .iter()
        .filter(|problem| !EXCLUSIVE.iter().any(|text| problem.message.contains(text)));
    none(
        unexpected.map(ToString::to_string),
        "the reference with every key switched on",
    );

    // every table is asked for its keys by giving it one it does not have
    let mut missing = Vec::new();
    let tables: Vec<&str> = all.lines().filter(|line| line.starts_with('[')).collect();
    let root = ask_keys(&format!("{STRANGER} = 1\n{all}"));
    missing.extend(
        root.into_iter()
            .filter(|key| !has_table(&tables, key))
            .map(|key| format!("[{key}]")),
    );
    for header in &tables {
        let name = header.trim_matches(['[', ']']);
        let known = ask_keys(&all.replacen(
            &format!("\n{header}\n"),
            &format!("\n{header}\n{STRANGER} = 1\n"),
            1,
        ));
        let written = keys_below(&all, header);
        for key in known {
            if !written.contains(&key) && !has_table(&tables, &format!("{name}.{key}")) {
                missing.push(format!("[{name}] {key}"));
            }
        }
    }
    none(missing, "config/lamplighter.toml lacks");
}

fn has_table(tables: &[&str], name: &str) -> bool {
    tables.iter().any(|table| {
        let table = table.trim_matches(['[', ']']);
        table == name
            || table
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('.'))
    })
}

/// The names that the table with the stranger in it would have taken.
fn ask_keys(text: &str) -> BTreeSet<String> {
    let problems = parse(text).expect_err("refused");
    let problem = problems
        .iter()
        .find(|problem| problem.message.contains(STRANGER));
    let problem = problem.unwrap_or_else(|| panic!("nobody minded: {:?}", texts(&problems)));
    let help = problem.help.as_deref().unwrap_or_default();
    let list = help
        .strip_prefix("known keys here: ")
        .unwrap_or_else(|| panic!("no list: {problem}"));
    list.split(", ").map(str::to_owned).collect()
}

/// The keys written between `header` and the next table.
fn keys_below(text: &str, header: &str) -> BTreeSet<String> {
    let below = text.lines().skip_while(|line| line != &header).skip(1);
    let keys = below
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='));
    keys.map(|(key, _)| key.trim().to_owned()).collect()
}

#[test]
fn the_examples_are_valid() {
    for (file, tables) in [
        ("probe-only", &["health"][..]),
        ("minimal", &["health", "mysql"]),
        (
            "full",
            &[
                "telemetry",
                "shutdown",
                "state",
                "platform",
                "health",
                "mysql",
                "redis",
                "warm",
                "sync",
            ],
        ),
    ] {
        let text = read(&format!("config/examples/{file}.toml"));
        shown(&text);
        let table: toml::Table = text.parse().expect("TOML");
        let written: BTreeSet<&str> = table.keys().map(String::as_str).collect();
        assert_eq!(written, tables.iter().copied().collect(), "{file}.toml");
    }
}

#[test]
fn what_is_shown_holds_no_secret() {
    let text = "[health]\n[redis]\nupstream = 'rediss://host:1'\npassword_file = 'secret-file'\n[health.web]\nurl = 'http://h/?token=hunter2&a=1'\n";
    let shown = shown(text);
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(
        shown.contains("secret-file") && shown.contains("?token=[redacted]&a=1"),
        "{shown}"
    );
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    for text in [
        "[health]\n[mysql]\nprimary = 'h:1'\nuser = 'u'\npassword = 'hunter2'\n",
        "[health]\n[redis]\nupstream = 'rediss://u:hunter2@host:1'\n",
        "[health]\n[redis]\nupstream = 'rediss://u:hunter2@'\n",
        "[health]\n[redis]\nupstream = ['rediss://u:hunter2@host:1']\n",
        "[[sync]]\nname='a'\npath='/x'\nsas_file='s'\ncontainer = 'https://h/c?sv=1&sig=hunter2'\n",
        "[health]\nsas = hunter2\n",
        "[mysql]\nprimary = 'h:1'\npassword_file = 3\ntoken = { a = 'hunter2' }\n",
    ] {
        let problems = texts(&parse(text).expect_err("refused"));
        let all = problems.join("\n");
        assert!(!all.contains("hunter2"), "{all}");
        assert!(!all.is_empty());
    }
    let problems = parse("[health]\n[mysql]\nprimary = 'h:1'\nuser = 'u'\npassword = 'hunter2'\n")
        .expect_err("refused");
    let password = problems
        .iter()
        .find(|problem| problem.line == 5)
        .expect("the line");
    let help = password.help.as_deref().unwrap_or_default();
    assert!(help.contains("password_file"), "{help}");
}

#[test]
fn rules_between_tables_are_checked() {
    let warm = "[[warm]]\nname = 'a'\nquery = 'SELECT id FROM t WHERE id > ? ORDER BY id LIMIT 10'\nkey = 'k:{id}'\n";
    let messages = |text: &str| texts(&parse(text).expect_err("refused")).join("\n");
    assert!(messages(&format!("[health]\n{warm}")).contains("needs [redis]"));
    let sync =
        "[[sync]]\nname = 'a'\ncontainer = 'https://h.example/c'\npath = '/x'\nsas_file = 's'\n";
    assert!(messages(&format!("[health]\n{sync}{sync}")).contains("is used twice"));
    assert!(
        messages(&format!(
            "[health]\n[redis]\nupstream = 'rediss://h:1'\n{warm}{warm}"
        ))
        .contains("earlier [[warm]]")
    );
}
