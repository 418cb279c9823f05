//! What each local user's reads may miss and where they may go, and the statements for which something else holds. Made from the
//! configuration; pure.

use std::collections::BTreeMap;

use lamplighter_wire::sql::LexMode;
use lamplighter_wire::sql::digest::{Digest, Mode};

use crate::config::{Config, Consistency, ReadsFrom};

/// What holds for one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Preference {
    pub(crate) consistency: Consistency,
    pub(crate) reads: ReadsFrom,
}

/// What holds for whom.
#[derive(Debug, Default)]
pub(crate) struct Preferences {
    all: Preference,
    users: BTreeMap<Vec<u8>, Preference>,
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    digest: u64,
    /// Empty: all.
    users: Vec<Vec<u8>>,
    reads: ReadsFrom,
}

impl Preferences {
    pub(crate) fn new(config: &Config) -> Self {
        let all = Preference {
            consistency: config.consistency,
            reads: ReadsFrom::default(),
        };
        let of_user = |client: &crate::config::Client| Preference {
            consistency: client.consistency.unwrap_or(all.consistency),
            reads: client.reads,
        };
        let users = config.clients.iter();
        let rules = config.rule.iter();
        Self {
            all,
            users: users
                .map(|(name, client)| (name.clone().into_bytes(), of_user(client)))
                .collect(),
            rules: rules
                .map(|rule| Rule {
                    digest: digest(rule.statement.as_bytes(), LexMode::default()),
                    users: rule
                        .users
                        .iter()
                        .map(|it| it.clone().into_bytes())
                        .collect(),
                    reads: rule.reads,
                })
                .collect(),
        }
    }

    pub(crate) fn of(&self, user: &[u8]) -> Preference {
        self.users.get(user).copied().unwrap_or(self.all)
    }

    /// Everybody who has a name in the configuration.
    pub(crate) fn users(&self) -> impl Iterator<Item = &[u8]> {
        self.users.keys().map(Vec::as_slice)
    }

    /// Where reads of `text` by `user` may go, if a rule says so.
    pub(crate) fn ruled(&self, user: &[u8], text: &[u8], mode: LexMode) -> Option<ReadsFrom> {
        if self.rules.is_empty() {
            return None;
        }
        let digest = digest(text, mode);
        let is_for = |rule: &&Rule| {
            let users = &rule.users;
            rule.digest == digest && (users.is_empty() || users.iter().any(|it| it == user))
        };
        self.rules.iter().find(is_for).map(|rule| rule.reads)
    }
}

fn digest(text: &[u8], lex: LexMode) -> u64 {
    let mode = Mode {
        lex,
        ..Mode::default()
    };
    Digest::of(text, mode).hash()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_stronger_than_its_user_and_the_first_one_counts() {
        let text = r#"
            primary = "p:1"
            user = "u"
            consistency = "eventual"
            [clients.web]
            peer_users = ["www"]
            [clients.report]
            peer_users = ["www"]
            reads = "primary"
            consistency = "instance"
            [[rule]]
            statement = "SELECT a FROM t WHERE id = 1"
            users = ["report"]
            reads = "replicas"
            [[rule]]
            statement = "SELECT a FROM t WHERE id = 2"
            reads = "primary"
        "#;
        let config: Config = toml::from_str(text).unwrap();
        let preferences = Preferences::new(&config);
        assert_eq!(preferences.of(b"web").consistency, Consistency::Eventual);
        assert_eq!(preferences.of(b"report").consistency, Consistency::Instance);
        assert_eq!(preferences.of(b"web").reads, ReadsFrom::Replicas);
        assert_eq!(preferences.of(b"report").reads, ReadsFrom::Primary);
        let ruled = |user: &str, sql: &str| {
            preferences.ruled(user.as_bytes(), sql.as_bytes(), LexMode::default())
        };
        assert_eq!(ruled("report", "SELECT 1"), None);
        let like = "select a from t where id=77";
        assert_eq!(ruled("web", like), Some(ReadsFrom::Primary));
        assert_eq!(ruled("report", like), Some(ReadsFrom::Replicas));
    }
}
