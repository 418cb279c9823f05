//! Session variables that a client has set and that can be set again on another connection. What a SET did is learned from the
//! server (session_track_system_variables), never guessed; statements that are plain `SET name = literal` or `SET NAMES` are
//! remembered, because they do the same every time. Pure; no IO.

mod literal;
mod sql_mode;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use lamplighter_wire::mysql::flags::Capabilities;
use lamplighter_wire::mysql::response::SessionTrack;

pub(crate) use sql_mode::SqlMode;

/// What SET NAMES is kept under: its server-side effect is several variables, one of which no tracker reports.
const NAMES: &[u8] = b"NAMES";

const SQL_MODE: &[u8] = b"sql_mode";

/// Variables with an effect that setting them again would not repeat, or that something else here follows.
const NEVER: [&str; 11] = [
    "identity",
    "insert_id",
    "last_insert_id",
    "proxy_user",
    "rand_seed1",
    "rand_seed2",
    "sql_auto_is_null",
    "sql_log_bin",
    "timestamp",
    "warning_count",
    "error_count",
];

/// The same, by the beginning of their names.
const NEVER_BEGINNING: [&str; 6] = [
    "character_set_",
    "collation_",
    "debug",
    "gtid_",
    "pseudo_",
    "session_track_",
];

/// DEFAULT sets these to the opposite of their global value. (The only two of the 604 session variables with a global value of
/// MySQL 9.7; their flags mean "off".)
const TURNED_ROUND: [&str; 2] = ["foreign_key_checks", "unique_checks"];

/// Parts of what SET NAMES sets that can be set one by one after it.
const AFTER_NAMES: [&str; 3] = [
    "character_set_client",
    "character_set_results",
    "collation_connection",
];

/// The variables of one session that differ from those of a fresh login, by name. Cheap to clone and to compare.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Variables(Option<Arc<Values>>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Values {
    by_name: BTreeMap<Bytes, Bytes>,
    /// What `sql_mode` among them says, read once: every statement asks for it.
    sql_mode: Option<SqlMode>,
}

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

/// What a SET did, and whether the same text does the same every time: it may read other variables or defaults.
#[derive(Debug, Clone)]
pub(crate) struct Understood {
    pub(crate) changes: Effect,
    pub(crate) is_the_same_every_time: bool,
}

impl Variables {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = (&Bytes, &Bytes)> {
        self.0.iter().flat_map(|values| values.by_name.iter())
    }

    /// With the effect applied.
    pub(crate) fn with(&self, effect: &Effect) -> Self {
        let changes = |(name, value): &(Bytes, Bytes)| {
            self.get(name) != Some(value) || (name == NAMES && self.has_after_names())
        };
        if !effect.iter().any(changes) {
            return self.clone();
        }
        let known = self.0.as_ref().map(|values| values.by_name.clone());
        let mut map = known.unwrap_or_default();
        if effect.iter().any(|(name, _)| name == NAMES) {
            map.retain(|name, _| !is_after_names(name));
        }
        map.extend(effect.iter().cloned());
        let sql_mode = map.get(SQL_MODE).map(|modes| SqlMode::parse(modes));
        Self(Some(Arc::new(Values {
            by_name: map,
            sql_mode,
        })))
    }

    /// The client has said something about whether its transactions write (`transaction_read_only`, MariaDB's `tx_read_only`).
    pub(crate) fn are_read_only(&self) -> bool {
        let names: [&[u8]; 2] = [b"transaction_read_only", b"tx_read_only"];
        names.iter().any(|name| self.get(name).is_some())
    }

    fn get(&self, name: &[u8]) -> Option<&Bytes> {
        self.0.as_ref()?.by_name.get(name)
    }

    fn has_after_names(&self) -> bool {
        self.iter().any(|(name, _)| is_after_names(name))
    }

    /// The session has switched autocommit off.
    pub(crate) fn autocommit_is_off(&self) -> bool {
        self.get(b"autocommit")
            .is_some_and(|value| value.as_ref() == b"'OFF'")
    }

    /// Something has been set here that `wanted` has not: it has to go back to what it is after a login.
    pub(crate) fn goes_back(&self, wanted: &Self) -> bool {
        self.iter().any(|(name, _)| wanted.get(name).is_none())
    }

    /// How statements read since `sql_mode` has been set; `None` while it has not.
    pub(crate) fn sql_mode(&self) -> Option<SqlMode> {
        self.0.as_ref()?.sql_mode
    }

    /// The statement that makes a session with `self` into one with `wanted`; `None` if a login is needed for that, because the
    /// character set of the login is not known. `login` is what the login agreed on: it has a say in what variables go back to.
    pub(crate) fn statement_to(&self, wanted: &Self, login: Capabilities) -> Option<Vec<u8>> {
        let names = wanted.get(NAMES);
        let back_in_names = |(name, _): (&Bytes, &Bytes)| {
            wanted.get(name).is_none() && (name == NAMES || is_after_names(name))
        };
        let restart_names = self.iter().any(back_in_names) || self.get(NAMES) != names;
        if restart_names && names.is_none() {
            return None;
        }
        let mut assignments: Vec<Vec<u8>> = Vec::new();
        if let Some(clause) = names.filter(|_| restart_names) {
            // first, and only there may it stand beside others
            assignments.push([b"NAMES ".as_slice(), clause].concat());
        }
        let differs = |name: &Bytes, value: &Bytes| {
            self.get(name) != Some(value) || (restart_names && is_after_names(name))
        };
        for (name, value) in wanted
            .iter()
            .filter(|(name, value)| *name != NAMES && differs(name, value))
        {
            assignments.push([b"SESSION ".as_slice(), name, b" = ", value].concat());
        }
        for (name, _) in self.iter().filter(|(name, _)| {
            wanted.get(name).is_none() && *name != NAMES && !is_after_names(name)
        }) {
            assignments.push(back_to_login(name, login));
        }
        let mut sql = b"SET ".to_vec();
        sql.extend_from_slice(&assignments.join(&b", "[..]));
        Some(sql)
    }
}

/// The global value, which is what a login begins with ("System Variable Assignment").
fn back_to_login(name: &[u8], login: Capabilities) -> Vec<u8> {
    let value = if name == SQL_MODE && login.contains(Capabilities::CLIENT_IGNORE_SPACE) {
        // the login of such a client adds it ("mysql_real_connect()", MySQL C API)
        b"CONCAT(@@GLOBAL.sql_mode, ',IGNORE_SPACE')".to_vec()
    } else if TURNED_ROUND.iter().any(|known| known.as_bytes() == name) {
        [b"@@GLOBAL.", name].concat()
    } else {
        b"DEFAULT".to_vec()
    };
    [b"SESSION ".as_slice(), name, b" = ", &value].concat()
}

fn is_after_names(name: &[u8]) -> bool {
    AFTER_NAMES.iter().any(|known| known.as_bytes() == name)
}

/// What the SET statement `text` did, by the server's word; `None` if it cannot be done again exactly.
pub(crate) fn effect_of(text: &[u8], track: &SessionTrack) -> Option<Understood> {
    if let Some(clause) = literal::names_clause(text) {
        if literal::hides_text(clause) {
            return None;
        }
        let names = (Bytes::from_static(NAMES), Bytes::copy_from_slice(clause));
        return Some(Understood {
            changes: Arc::from([names]),
            is_the_same_every_time: true,
        });
    }
    // it would be for the next transaction only
    let one_shot = track
        .transaction_characteristics
        .as_ref()
        .is_some_and(|text| !text.is_empty());
    if track.system_variables.is_empty() || one_shot {
        return None;
    }
    let changes: Option<Vec<_>> = track
        .system_variables
        .iter()
        .map(|(name, value)| Some((allowed(name, value)?, as_literal(name, value)?)))
        .collect();
    Some(Understood {
        changes: changes.map(Arc::from)?,
        is_the_same_every_time: literal::is_plain_set(text) || literal::is_isolation_level(text),
    })
}

fn as_literal(name: &[u8], value: &[u8]) -> Option<Bytes> {
    if name == b"character_set_results" && value.is_empty() {
        return Some(Bytes::from_static(b"NULL"));
    }
    literal::quote(value)
}

fn allowed(name: &Bytes, value: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(name).ok()?;
    if is_after_names(name) {
        return (!literal::hides_text(value)).then(|| name.clone());
    }
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
