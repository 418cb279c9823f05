//! Finds the secret files a configuration names, and what is wrong with them. Looks at the files; keeps nothing of them.

use lamplighter_core::config::{Problem, SecretDirs, SecretFile};
use lamplighter_core::fault::chain;

use super::Config;

/// Every secret file that cannot be used, by the key that names it.
pub(super) fn problems(config: &Config, dirs: &SecretDirs) -> Vec<Problem> {
    let mut problems = Vec::new();
    // every key that ends in `_file` names a secret; so no crate can forget to list one
    if let Ok(root) = toml::Value::try_from(config) {
        visit(&root, "", &mut |key, file| {
            if let Err(error) = dirs.read(&SecretFile::new(file)) {
                problems.push(Problem::new(
                    key,
                    format!("is of no use: {}", chain(&error)),
                ));
            }
        });
    }
    problems
}

fn visit(value: &toml::Value, path: &str, found: &mut impl FnMut(&str, &str)) {
    let below = |part: &str| {
        if path.is_empty() {
            part.to_owned()
        } else {
            format!("{path}.{part}")
        }
    };
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                match value {
                    toml::Value::String(file) if key.ends_with("_file") => found(&below(key), file),
                    other => visit(other, &below(key), found),
                }
            }
        }
        toml::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                visit(item, &below(&index.to_string()), found);
            }
        }
        _ => {}
    }
}
