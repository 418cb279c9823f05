//! The house rules that a machine can check. A rule that is broken names the file and what to do.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The lines of code and comment a file may have, blank ones not counted.
const LINES_MAX: usize = 500;

/// The lines docs/ARCHITECTURE.md may have: a map that is too long is not read.
const ARCHITECTURE_LINES_MAX: usize = 150;

/// The largest file that is not text, in bytes.
const BINARY_MAX: usize = 100 * 1024;

/// Where our crates may look: each is listed with all it may depend on.
const DEPENDENCIES: [(&str, &[&str]); 8] = [
    ("wire", &[]),
    ("core", &[]),
    ("mysql", &["core", "wire"]),
    ("redis", &["core", "wire"]),
    ("sync", &["core", "wire"]),
    ("health", &["core", "wire"]),
    ("platform", &["core", "wire"]),
    (
        "",
        &[
            "core", "wire", "mysql", "redis", "sync", "health", "platform",
        ],
    ),
];

/// The repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the package lies in the repository")
}

/// Reads a file of the repository.
#[track_caller]
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below `dir`, by its path from the root; what is built or hidden is left out (`.ci` is not).
fn files(dir: &str) -> Vec<String> {
    fn visit(at: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(at)
            .expect("a directory")
            .map(|entry| entry.expect("an entry"))
        {
            let name = entry.file_name().into_string().expect("a name in UTF-8");
            let kind = entry.file_type().expect("a type");
            let skipped =
                ["target", "artifacts", "corpus", "node_modules"].contains(&name.as_str());
            let hidden = name.starts_with('.') && name != ".ci";
            if kind.is_dir() && !skipped && !hidden {
                visit(&entry.path(), root, found);
            } else if kind.is_file() {
                let path = entry.path();
                let path = path.strip_prefix(root).expect("below the root");
                found.push(path.to_str().expect("a path in UTF-8").to_owned());
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    visit(&root.join(dir), &root, &mut found);
    found.sort();
    found
}

/// Every Rust source with its text.
pub(crate) fn sources() -> Vec<(String, String)> {
    let rust = |path: &String| {
        Path::new(path)
            .extension()
            .is_some_and(|extension| extension == "rs")
    };
    let found: Vec<_> = files("")
        .into_iter()
        .filter(rust)
        .map(|path| (path.clone(), read(&path)))
        .collect();
    assert!(
        found.len() > 100,
        "only {} sources found: is this the repository?",
        found.len()
    );
    found
}

/// Fails with every line at once.
#[track_caller]
pub(crate) fn none(broken: impl IntoIterator<Item = String>, rule: &str) {
    let broken: Vec<String> = broken.into_iter().collect();
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn every_module_says_what_it_is() {
    let silent = sources().into_iter().filter(|(_, text)| {
        let first = text.lines().find(|line| !line.trim().is_empty());
        !first.is_some_and(|line| line.starts_with("//!"))
    });
    none(
        silent.map(|(path, _)| path),
        "a module opens with //! and what lives there",
    );
}

#[test]
fn files_are_short() {
    let long = sources().into_iter().filter_map(|(path, text)| {
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        (lines > LINES_MAX).then(|| format!("{path}: {lines}"))
    });
    none(
        long,
        "a file has at most 500 lines; split it where a reader would",
    );
}

#[test]
fn main_only_starts() {
    let lines = read("agent/src/main.rs").lines().count();
    assert!(
        lines <= 40,
        "agent/src/main.rs has {lines} lines; the library does the work"
    );
}

#[test]
fn nothing_is_left_to_be_fixed() {
    let mark = concat!("FIX", "ME");
    let marked = sources()
        .into_iter()
        .filter(|(_, text)| text.contains(mark));
    none(
        marked.map(|(path, _)| path),
        "fix it, or say in words what is not done and why",
    );
}

#[test]
fn tests_wait_for_something() {
    let may = |path: &str| ["tests/support/poll.rs", "tests/support/faults.rs"].contains(&path);
    // a client in another language may hang as it likes
    let pauses = |line: &str| {
        let word = concat!("sl", "eep");
        let path = [format!("thread::{word}"), format!("time::{word}")];
        path.iter().any(|path| line.contains(path))
            || line.trim().starts_with("use ") && line.contains(word)
    };
    let sleeping = sources().into_iter().filter(|(path, text)| {
        path.starts_with("tests/") && !may(path) && text.lines().any(pauses)
    });
    none(
        sleeping.map(|(path, _)| path),
        "wait with support::poll, which is bounded and says for what",
    );
}

#[test]
fn modules_are_called_by_their_names() {
    let vague = [
        "mod", "util", "utils", "common", "helpers", "helper", "manager", "misc",
    ];
    let bad = sources().into_iter().filter(|(path, _)| {
        let stem = Path::new(path)
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        vague.contains(&stem)
    });
    none(
        bad.map(|(path, _)| path),
        "foo.rs beside foo/, and a name that says what is in it",
    );
}

#[test]
fn crates_depend_in_one_direction() {
    let mut broken = Vec::new();
    for (name, allowed) in DEPENDENCIES {
        let path = if name.is_empty() {
            "agent/Cargo.toml".to_owned()
        } else {
            format!("agent/{name}/Cargo.toml")
        };
        let manifest: toml::Table = read(&path)
            .parse()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = manifest.get(section).and_then(toml::Value::as_table) else {
                continue;
            };
            let ours = dependencies
                .keys()
                .filter_map(|key| key.strip_prefix("lamplighter-"));
            let wrong = ours.filter(|other| !allowed.contains(other));
            broken.extend(wrong.map(|other| format!("{path}: {section}: lamplighter-{other}")));
        }
    }
    none(
        broken,
        "lamplighter -> {mysql, redis, sync, health, platform} -> {core, wire}, and nothing else",
    );
    let crates: BTreeSet<&str> = DEPENDENCIES.iter().map(|(name, _)| *name).collect();
    for path in files("agent")
        .iter()
        .filter(|path| path.ends_with("/Cargo.toml") && !path.contains("/fuzz/"))
    {
        let name = path
            .trim_start_matches("agent/")
            .trim_end_matches("Cargo.toml")
            .trim_end_matches('/');
        assert!(
            crates.contains(name),
            "{path}: a new crate wants a line in DEPENDENCIES and a reason in docs/decisions/"
        );
    }
}

#[test]
fn only_one_module_names_each_library() {
    // what a crate hides, it can replace
    for (library, crate_dir) in [
        ("azure_", "agent/sync/"),
        ("axum::", "agent/health/"),
        ("sd_notify::", "agent/platform/"),
    ] {
        let elsewhere = sources().into_iter().filter(|(path, text)| {
            path.starts_with("agent/")
                && !path.starts_with(crate_dir)
                && text
                    .lines()
                    .any(|line| line.trim().starts_with(&format!("use {library}")))
        });
        none(
            elsewhere.map(|(path, _)| path),
            &format!("{library} belongs to {crate_dir}"),
        );
    }
}

#[test]
fn no_large_binary_is_kept() {
    let root = root();
    let large = files("").into_iter().filter(|path| {
        let bytes = fs::read(root.join(path)).expect("readable");
        bytes.len() > BINARY_MAX && std::str::from_utf8(&bytes).is_err()
    });
    none(large, "what is not text is at most 100 KiB");
}

#[test]
fn no_file_names_the_machine_it_was_written_on() {
    let places = [
        concat!("/ro", "ot/."),
        concat!("/wo", "rk/"),
        concat!("/ho", "me/"),
    ];
    let root = root();
    let mut broken = Vec::new();
    for path in files("") {
        let Ok(text) = fs::read_to_string(root.join(&path)) else {
            continue;
        };
        broken.extend(
            places
                .iter()
                .filter(|place| text.contains(*place))
                .map(|place| format!("{path}: {place}")),
        );
    }
    none(broken, "a path of one machine is of no use on another");
}

#[test]
fn every_promise_is_held_by_a_test() {
    let specification = read("docs/SPECIFICATION.md");
    let sources = sources();
    let is_test = |name: &str| {
        let definition = format!("fn {name}(");
        sources.iter().any(|(_, text)| text.contains(&definition))
    };
    let rows: Vec<Vec<&str>> = specification
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .filter(|cells: &Vec<&str>| {
            cells.len() == 3 && cells[0] != "promise" && !cells[0].starts_with("---")
        })
        .collect();
    assert!(
        !rows.is_empty(),
        "docs/SPECIFICATION.md has no rows `| promise | number | test |`"
    );
    let mut broken = Vec::new();
    for row in rows {
        let names: Vec<&str> = row[2].split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            broken.push(format!("{}: no test", row[0]));
        }
        // `probe::a_test` and `a_test` are both ways to write it
        let missing = names
            .iter()
            .filter(|name| !is_test(name.rsplit("::").next().unwrap_or(name)));
        broken.extend(missing.map(|name| format!("{}: there is no test {name}", row[0])));
    }
    none(
        broken,
        "a promise in docs/SPECIFICATION.md names the test that holds it",
    );
}

#[test]
fn the_map_is_short_and_true() {
    let map = read("docs/ARCHITECTURE.md");
    let lines = map.lines().count();
    assert!(
        lines <= ARCHITECTURE_LINES_MAX,
        "docs/ARCHITECTURE.md has {lines} lines; it is a map"
    );
    let root = root();
    let is_path = |word: &&str| {
        let first = word.split('/').next().unwrap_or_default();
        let ours = [
            "agent",
            "config",
            "systemd",
            "packaging",
            "tests",
            "benches",
            "docs",
            ".ci",
        ]
        .contains(&first);
        ours && word.contains('/') && !word.contains(['*', '{', '<', ' '])
    };
    let words = map.split('`').skip(1).step_by(2).filter(is_path);
    let missing = words
        .filter(|path| !root.join(path).exists())
        .map(str::to_owned);
    none(missing, "docs/ARCHITECTURE.md names what is not there");
}
