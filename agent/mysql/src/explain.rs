//! What would become of a statement: read as a session reads it, routed as a session routes it, and nothing is sent anywhere. Pure;
//! the endpoint adds what it knows of its servers and of the digest.

use lamplighter_wire::sql::digest::{self, Digest, Mode};
use lamplighter_wire::sql::{self, Hint, Kind, LexMode, SessionValue, Statement, Traits};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Consistency};
use crate::hold::{kept_for, leaves_state};
use crate::preferences::{Preference, Preferences};
use crate::route::{Why, Wish, route};
use crate::statistics::DigestReport;

/// What would become of a statement of a client that holds no connection.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Explanation {
    /// As the server's `STATEMENT_DIGEST_TEXT()`.
    pub text: String,
    /// As in `lamplighter mysql top`.
    pub digest: String,
    /// By its first words: `select`, `insert`, `begin`.
    pub kind: String,
    /// What else was seen in it.
    pub traits: Vec<String>,
    /// `primary` or `replica`, if a comment asks for one.
    pub hint: Option<String>,
    /// `primary`, `replica` or `local`.
    pub target: String,
    /// Why, for people.
    pub because: String,
    /// The same for a client that wrote before.
    pub target_after_write: String,
    /// Client users for whom the configuration says otherwise.
    pub exceptions: Vec<Exception>,
    /// Why its connection would be kept afterwards, as in the metrics; none: given back at once, unless the server says otherwise.
    pub keeps: Option<String>,
    /// When it would be given back, for people.
    pub until: Option<String>,
    /// The running agent's state; none if it was not asked.
    pub live: Option<Live>,
}

/// Where the statement of one client user goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Exception {
    /// As in `mysql.clients`.
    pub user: String,
    /// `primary`, `replica` or `local`.
    pub target: String,
    /// Why, for people.
    pub because: String,
    /// The same when it wrote before.
    pub target_after_write: String,
}

/// What a running endpoint knows.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Live {
    /// The replicas and whether they may answer reads now.
    pub replicas: Vec<ReplicaState>,
    /// Statements of the same digest so far.
    pub seen: Option<DigestReport>,
}

/// One replica.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReplicaState {
    /// `host:port`.
    pub server: String,
    /// May answer reads now.
    pub fit: bool,
}

/// Explains `sql` for a session as it is after its login. Without a running agent every replica of the configuration counts as fit.
#[must_use]
pub fn explain(sql: &str, config: Option<&Config>) -> Explanation {
    let replicas = config.map_or(1, |config| config.replicas.len());
    let preferences = config.map(Preferences::new).unwrap_or_default();
    explain_with(sql, &preferences, replicas > 0)
}

pub(crate) fn explain_with(sql: &str, preferences: &Preferences, fit: bool) -> Explanation {
    let statement = sql::classify(sql.as_bytes(), LexMode::default());
    let digest = Digest::of(sql.as_bytes(), Mode::default());
    let text = digest.text();
    let way = |user: &[u8]| {
        let mut preference = preferences.of(user);
        let ruled = preferences.ruled(user, sql.as_bytes(), LexMode::default());
        preference.reads = ruled.unwrap_or(preference.reads);
        let (target, because) = whereto(sql, &statement, preference, fit, false);
        let (target_after_write, _) = whereto(sql, &statement, preference, fit, true);
        Exception {
            user: String::from_utf8_lossy(user).into_owned(),
            target: target.to_owned(),
            because,
            target_after_write: target_after_write.to_owned(),
        }
    };
    // nobody has no name
    let most = way(b"");
    let differs = |it: &Exception| {
        (&it.target, &it.target_after_write) != (&most.target, &most.target_after_write)
    };
    let exceptions = preferences.users().map(way).filter(differs).collect();
    let keeps = kept_for(&statement, sql.as_bytes(), LexMode::default());
    Explanation {
        digest: digest::id(&text),
        text,
        kind: kind(statement.kind),
        traits: traits(statement.traits),
        hint: statement.hint.map(|hint| match hint {
            Hint::Primary => "primary".to_owned(),
            Hint::Replica => "replica".to_owned(),
        }),
        exceptions,
        target: most.target,
        because: most.because,
        target_after_write: most.target_after_write,
        keeps: keeps.map(|reason| reason.label().to_owned()),
        until: keeps.map(|reason| reason.until().to_owned()),
        live: None,
    }
}

fn whereto(
    sql: &str,
    statement: &Statement,
    preference: Preference,
    fit: bool,
    wrote: bool,
) -> (&'static str, String) {
    if let Some(asked) = sql::exact_spelling(sql.as_bytes()) {
        let value = match asked.value {
            SessionValue::FoundRows => "FOUND_ROWS()",
            SessionValue::LastInsertId => "LAST_INSERT_ID()",
            SessionValue::RowCount => "ROW_COUNT()",
            SessionValue::ConnectionId => "CONNECTION_ID()",
        };
        return ("local", format!("the session itself knows its {value}"));
    }
    if leaves_state(statement) {
        let because = "what keeps its connection must keep one that can do everything";
        return ("primary", because.to_owned());
    }
    let sees_writes = wrote && preference.consistency != Consistency::Eventual;
    match route(Some(statement), preference.reads) {
        Wish::Primary(why) => ("primary", because(why, statement)),
        Wish::Replica | Wish::AnyReplica if !fit => ("primary", because(Why::NoReplica, statement)),
        Wish::Replica if sees_writes => ("primary", because(Why::WroteBefore, statement)),
        Wish::Replica if matches!(statement.kind, Kind::Begin { .. }) => {
            ("replica", "nothing can be written up to its end".to_owned())
        }
        Wish::Replica | Wish::AnyReplica => {
            ("replica", "a plain read outside a transaction".to_owned())
        }
    }
}

fn because(why: Why, statement: &Statement) -> String {
    match why {
        Why::NotARead => not_a_read(statement),
        Why::WroteBefore => {
            "the client wrote before, and no replica is known to have it yet".to_owned()
        }
        Why::Hint => "a hint in the statement asks for it".to_owned(),
        Why::Rule => "a plain read, but the configuration sends it there".to_owned(),
        Why::NoReplica => "a plain read, but no replica is fit".to_owned(),
        other => other.label().replace('_', " "),
    }
}

fn not_a_read(statement: &Statement) -> String {
    let reading = matches!(
        statement.kind,
        Kind::Select | Kind::With | Kind::Table | Kind::Values | Kind::Show | Kind::Explain
    );
    if reading {
        format!(
            "a read, but not a plain one: {}",
            traits(statement.traits).join(", ")
        )
    } else {
        "no plain read".to_owned()
    }
}

/// `LockTables` as `lock tables`, without what a variant holds.
fn kind(kind: Kind) -> String {
    let name = format!("{kind:?}");
    let name = name.split([' ', '{', '(']).next().unwrap_or_default();
    let mut words = String::with_capacity(name.len() + 4);
    for (index, letter) in name.char_indices() {
        if index > 0 && letter.is_uppercase() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn traits(found: Traits) -> Vec<String> {
    const NAMES: [(Traits, &str); 22] = [
        (Traits::MULTI_STATEMENT, "several statements"),
        (Traits::USER_VARIABLE, "a user variable"),
        (Traits::ASSIGNMENT, "an assignment"),
        (Traits::LOCKING_READ, "a locking read"),
        (Traits::INTO, "INTO"),
        (Traits::LOCK_FUNCTION, "GET_LOCK()"),
        (Traits::RELEASE_LOCK_FUNCTION, "RELEASE_LOCK()"),
        (Traits::LAST_INSERT_ID, "LAST_INSERT_ID()"),
        (Traits::ROW_COUNT, "ROW_COUNT()"),
        (Traits::FOUND_ROWS, "FOUND_ROWS()"),
        (Traits::SQL_CALC_FOUND_ROWS, "SQL_CALC_FOUND_ROWS"),
        (
            Traits::DIAGNOSTIC_VARIABLE,
            "@@warning_count or @@error_count",
        ),
        (Traits::SESSION_VARIABLE_READ, "a system variable"),
        (Traits::TEMPORARY_TABLE, "a temporary table"),
        (Traits::UNKNOWN_FUNCTION, "a function that may write"),
        (Traits::IDENTITY, "@@identity"),
        (Traits::CONNECTION_ID, "the connection's id"),
        (Traits::EXECUTABLE_COMMENT, "a comment that is code"),
        (Traits::OPTIMIZER_HINT_SET_VAR, "SET_VAR()"),
        (Traits::SLEEP, "SLEEP() or BENCHMARK()"),
        (
            Traits::UNTERMINATED,
            "a string, comment or name without its end",
        ),
        (Traits::SERVER_SPECIFIC, "a question about one server"),
    ];
    let names = NAMES.iter().filter(|(flag, _)| found.intersects(*flag));
    names.map(|(_, name)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests;
