//! Session variables that a client has set and that can be set again on another connection. What a SET did is learned from the
//! server (session_track_system_variables), never guessed; only statements that are plain `SET name = literal` or `SET NAMES` are
//! learned. Pure; no IO.

mod literal;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use lamplighter_wire::mysql::response::SessionTrack;

/// What SET NAMES is kept under: its server-side effect is several variables, one of which no tracker reports.
const NAMES: &[u8] = b"NAMES";

/// Variables with an effect that setting them again would not repeat, or that something else here follows.
const NEVER: [&str; 13] = [
    "autocommit",
    "identity",
    "insert_id",
    "last_insert_id",
    "proxy_user",
    "rand_seed1",
    "rand_seed2",
    "sql_auto_is_null",
    "sql_log_bin",
    "sql_notes",
    "timestamp",
    "warning_count",
    "error_count",
];

/// The same, by the beginning of their names.
const NEVER_BEGINNING: [&str; 7] = [
    "character_set_",
    "collation_",
    "debug",
    "gtid_",
    "pseudo_",
    "session_track_",
    "transaction_",
];

/// The variables of one session that differ from those of a fresh login, by name. Cheap to clone and to compare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variables(Option<Arc<BTreeMap<Bytes, Bytes>>>);

impl Hash for Variables {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (name, value) in self.iter() {
            name.hash(state);
            value.hash(state);
        }
    }
}

/// What one SET did: names and the text that does it again.
pub(crate) type Effect = Arc<[(Bytes, Bytes)]>;

impl Variables {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.0.iter().flat_map(|map| map.iter())
    }

    /// With the effect applied.
    pub(crate) fn with(&self, effect: &Effect) -> Self {
        let changes = |(name, value): &(Bytes, Bytes)| self.get(name) != Some(value);
        if !effect.iter().any(changes) {
            return self.clone();
        }
        let mut map = self.0.as_deref().cloned().unwrap_or_default();
        map.extend(effect.iter().cloned());
        Self(Some(Arc::new(map)))
    }

    fn get(&self, name: &[u8]) -> Option<&Bytes> {
        self.0.as_ref()?.get(name)
    }

    /// Whether `sql_mode` has been set.
    pub(crate) fn sets_sql_mode(&self) -> bool {
        self.get(b"sql_mode").is_some()
    }

    /// Whether `sql_mode` has been set and holds `mode`.
    pub(crate) fn sql_mode_has(&self, mode: &str) -> bool {
        self.get(b"sql_mode").is_some_and(|value| {
            let value = String::from_utf8_lossy(value);
            value
                .trim_matches('\'')
                .split(',')
                .any(|part| part.eq_ignore_ascii_case(mode))
        })
    }

    /// The statement that makes a session with `self` into one with `wanted`; `None` if a login is needed for that, because a
    /// variable would have to go back to a value we do not know.
    pub(crate) fn statement_to(&self, wanted: &Self) -> Option<Vec<u8>> {
        if self.iter().any(|(name, _)| wanted.get(name).is_none()) {
            return None;
        }
        let mut assignments: Vec<Vec<u8>> = Vec::new();
        for (name, value) in wanted
            .iter()
            .filter(|(name, value)| self.get(name) != Some(*value))
        {
            if name.as_ref() == NAMES {
                // first, and only there may it stand beside others
                assignments.insert(0, [b"NAMES ".as_slice(), value].concat());
            } else {
                assignments.push([b"SESSION ".as_slice(), name, b" = ", value].concat());
            }
        }
        let mut sql = b"SET ".to_vec();
        sql.extend_from_slice(&assignments.join(&b", "[..]));
        Some(sql)
    }
}

/// What the SET statement `text` did, by the server's word; `None` if it cannot be done again exactly.
pub(crate) fn effect_of(text: &[u8], track: &SessionTrack) -> Option<Effect> {
    if let Some(clause) = literal::names_clause(text) {
        if literal::hides_text(clause) {
            return None;
        }
        return Some(Arc::from([(
            Bytes::from_static(NAMES),
            Bytes::copy_from_slice(clause),
        )]));
    }
    if track.system_variables.is_empty() || !literal::is_plain_set(text) {
        return None;
    }
    let effect: Option<Vec<_>> = track
        .system_variables
        .iter()
        .map(|(name, value)| Some((allowed(name)?, literal::quote(value)?)))
        .collect();
    effect.map(Arc::from)
}

fn allowed(name: &Bytes) -> Option<Bytes> {
    let text = std::str::from_utf8(name).ok()?;
    let never = NEVER.contains(&text)
        || NEVER_BEGINNING
            .iter()
            .any(|beginning| text.starts_with(beginning));
    (!never
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
    .then(|| name.clone())
}

/// SET statements whose effect is known, by their exact text. Bounded; the oldest goes first.
#[derive(Debug, Default)]
pub(crate) struct Learned(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    effects: BTreeMap<Bytes, Effect>,
    order: VecDeque<Bytes>,
}

/// Statements kept; an application has a handful.
const LEARNED_MAX: usize = 256;

/// The longest statement kept, in bytes.
const TEXT_MAX: usize = 1024;

impl Learned {
    /// What the statement does, if the server has told before.
    pub(crate) fn get(&self, text: &[u8]) -> Option<Effect> {
        self.lock().effects.get(text).cloned()
    }

    /// Keeps what the server told.
    pub(crate) fn put(&self, text: &[u8], effect: &Effect) {
        if text.len() > TEXT_MAX {
            return;
        }
        let mut table = self.lock();
        let key = Bytes::copy_from_slice(text);
        if table
            .effects
            .insert(key.clone(), Arc::clone(effect))
            .is_none()
        {
            table.order.push_back(key);
        }
        if table.order.len() > LEARNED_MAX
            && let Some(oldest) = table.order.pop_front()
        {
            table.effects.remove(&oldest);
        }
    }

    /// Servers may have changed: ask them again.
    pub(crate) fn forget(&self) {
        *self.lock() = Table::default();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
