//! What goes to Redis in one write, and what its replies mean. Every reply is matched to its command by position, and a count
//! that does not fit is an error, never a guess. Pure; no IO.

use redis::{Cmd, Pipeline, ServerError, Value, cmd};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::keyset::Key;
use crate::config::ServerKind;

/// A key to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Payload,
    /// Life in milliseconds.
    pub(crate) ttl_ms: u64,
    pub(crate) keep: Keep,
    /// For keys under a hold-off.
    pub(crate) guard: Option<Guard>,
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    Text(Vec<u8>),
    /// Names and values of fields, by turns; at least one pair.
    Hash(Vec<Vec<u8>>),
}

impl Payload {
    /// Its bytes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Hash(fields) => fields.iter().map(Vec::len).sum(),
        }
    }
}

/// Which key that is there already stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// None.
    Nothing,
    /// Every key.
    Everything,
    /// A key with so many milliseconds to live, or without an end.
    AliveFor(u64),
}

/// What keeps an old value from being written over a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guard {
    /// The key that is there while the value may be old.
    pub(crate) tombstone: Vec<u8>,
    /// Until when the tombstone of a change since the row was read is certainly still there.
    pub(crate) until: Instant,
}

/// Writes unless there is a tombstone (the second key) or what is there is to stay; 0 if it did not write.
const UNLESS: &str = "\
if KEYS[2] and redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
local keep = tonumber(ARGV[2])
if keep >= 0 then
  local left = redis.call('PTTL', KEYS[1])
  if left == -1 or left >= keep then return 0 end
end
if #ARGV == 3 then
  return redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[1])
end
redis.call('DEL', KEYS[1])
for i = 3, #ARGV, 1000 do
  redis.call('HSET', KEYS[1], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])";

impl Entry {
    /// Bytes of key and value.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.payload.size()
    }

    /// How it is written.
    fn way(&self) -> Way<'_> {
        match (&self.payload, &self.guard, self.keep) {
            (Payload::Text(text), None, Keep::Nothing) => Way::Set(text, false),
            (Payload::Text(text), None, Keep::Everything) => Way::Set(text, true),
            (Payload::Hash(fields), None, Keep::Nothing) => Way::Hash(fields),
            _ => Way::Script,
        }
    }
}

/// How a key is written.
enum Way<'a> {
    /// By SET, with NX or without.
    Set(&'a [u8], bool),
    /// By [`HASH_COMMANDS`] commands of a transaction: half of what a script costs Redis.
    Hash(&'a [Vec<u8>]),
    /// By [`UNLESS`].
    Script,
}

/// DEL, HSET and PEXPIRE.
const HASH_COMMANDS: usize = 3;

/// Keys that are written together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    /// Bytes of all keys and values.
    pub(crate) bytes: usize,
    /// How far the run is once this batch is written.
    pub(crate) checkpoint: Option<Checkpoint>,
}

/// A place from which a run can go on: every row before it is written.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Checkpoint {
    /// The keyset column of the last row.
    pub(crate) last: Key,
    pub(crate) rows: u64,
    pub(crate) skipped: u64,
}

/// Fills batches up to a number of keys or bytes.
#[derive(Debug)]
pub(crate) struct Batcher {
    keys_max: usize,
    bytes_max: usize,
    open: Batch,
}

impl Batcher {
    pub(crate) fn new(keys_max: usize, bytes_max: usize) -> Self {
        Self {
            keys_max,
            bytes_max,
            open: Batch::default(),
        }
    }

    /// Adds an entry; gives the batch back that is full because of it.
    pub(crate) fn add(&mut self, entry: Entry) -> Option<Batch> {
        let size = entry.size();
        // one large entry does not drag a nearly full batch beyond the limit
        let full = if self.open.bytes + size > self.bytes_max {
            self.take()
        } else {
            None
        };
        self.open.bytes += size;
        self.open.entries.push(entry);
        if full.is_some() {
            return full;
        }
        if self.open.entries.len() >= self.keys_max || self.open.bytes >= self.bytes_max {
            return self.take();
        }
        None
    }

    /// From here on the run could go on once all that was added is written.
    pub(crate) fn mark(&mut self, checkpoint: Checkpoint) {
        self.open.checkpoint = Some(checkpoint);
    }

    /// What is left, if anything.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.open.entries.is_empty() {
            None
        } else {
            Some(std::mem::take(&mut self.open))
        }
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Every key is written, but for so many that were to stay as they are.
    Written { kept: usize },
    /// Another instance has taken the job over (or Redis has lost its data): nothing more may be written. With
    /// [`ServerKind::Single`] nothing of this batch was.
    Superseded,
    /// `refused` keys were not written, the first with this error.
    Refused { refused: usize, first: ServerError },
    /// The replies do not fit the commands; the connection is not to be used again.
    Confused,
}

/// The commands that open a connection for [`write`]: from here on a change of the generation is noticed.
pub(crate) fn watch(generation_key: &str) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("WATCH").arg(generation_key);
    pipeline.cmd("GET").arg(generation_key);
    pipeline
}

/// Whether the replies to [`watch`] say that the generation is still `generation`.
pub(crate) fn watched(replies: &[Value], generation: u64) -> Outcome {
    match replies {
        [Value::Okay, seen] => still(seen, generation, 0),
        [Value::ServerError(first), _] | [_, Value::ServerError(first)] => Outcome::Refused {
            refused: 0,
            first: first.clone(),
        },
        _ => Outcome::Confused,
    }
}

/// The commands that write `batch`.
///
/// On a single server they are a transaction, which the generation watched since the last batch makes fail as a whole
/// when another instance has taken the job over: a run that slept (a frozen or migrated virtual machine) cannot write
/// old rows over newer ones. Behind it the watch is renewed, in the same round trip.
pub(crate) fn write(batch: &Batch, kind: ServerKind, generation_key: &str) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(batch.entries.len() + 4);
    match kind {
        ServerKind::Single => pipeline.cmd("MULTI"),
        ServerKind::Enterprise | ServerKind::Cluster => pipeline.cmd("GET").arg(generation_key),
    };
    for entry in &batch.entries {
        add(&mut pipeline, entry, kind);
    }
    if kind == ServerKind::Single {
        pipeline.cmd("EXEC");
        pipeline.cmd("WATCH").arg(generation_key);
        pipeline.cmd("GET").arg(generation_key);
    }
    pipeline
}

fn add(pipeline: &mut Pipeline, entry: &Entry, kind: ServerKind) {
    let (key, ttl_ms) = (&*entry.key, entry.ttl_ms);
    match entry.way() {
        Way::Set(text, if_missing) => {
            let set = pipeline.cmd("SET").arg(key).arg(text).arg("PX").arg(ttl_ms);
            if if_missing {
                set.arg("NX");
            }
        }
        Way::Hash(fields) => {
            // nobody may see half of it, nor may it be left without an end
            let alone = kind != ServerKind::Single;
            if alone {
                pipeline.cmd("MULTI");
            }
            pipeline.cmd("DEL").arg(key);
            pipeline.cmd("HSET").arg(key).arg(fields);
            pipeline.cmd("PEXPIRE").arg(key).arg(ttl_ms);
            if alone {
                pipeline.cmd("EXEC");
            }
        }
        Way::Script => {
            pipeline.add_command(unless(entry));
        }
    }
}

fn unless(entry: &Entry) -> Cmd {
    let mut unless = cmd("EVAL");
    unless
        .arg(UNLESS)
        .arg(1 + usize::from(entry.guard.is_some()))
        .arg(&*entry.key);
    if let Some(guard) = &entry.guard {
        unless.arg(&*guard.tombstone);
    }
    unless.arg(entry.ttl_ms).arg(match entry.keep {
        Keep::Nothing => -1,
        Keep::Everything => 0,
        Keep::AliveFor(millis) => i64::try_from(millis).unwrap_or(i64::MAX),
    });
    match &entry.payload {
        Payload::Text(text) => unless.arg(&**text),
        Payload::Hash(fields) => unless.arg(fields),
    };
    unless
}

/// What the replies to [`write`] say about the keys of `entries`.
pub(crate) fn account(
    replies: &[Value],
    entries: &[Entry],
    kind: ServerKind,
    generation: u64,
) -> Outcome {
    match kind {
        ServerKind::Single => account_transaction(replies, entries, generation),
        ServerKind::Enterprise | ServerKind::Cluster => match replies {
            [Value::ServerError(first), ..] => Outcome::Refused {
                refused: entries.len(),
                first: first.clone(),
            },
            [seen, fates @ ..] => match account_keys(fates, entries, fate_alone) {
                Outcome::Written { kept } => still(seen, generation, kept),
                other => other,
            },
            [] => Outcome::Confused,
        },
    }
}

fn account_transaction(replies: &[Value], entries: &[Entry], generation: u64) -> Outcome {
    let [multi, rest @ ..] = replies else {
        return Outcome::Confused;
    };
    let commands = |entry: &Entry| match entry.way() {
        Way::Hash(_) => HASH_COMMANDS,
        Way::Set(..) | Way::Script => 1,
    };
    let commands = entries.iter().map(commands).sum::<usize>();
    if rest.len() != commands + 3 {
        return Outcome::Confused;
    }
    let (queued, end) = rest.split_at(commands);
    let [exec, watch, seen] = end else {
        return Outcome::Confused;
    };
    // the reason of an EXECABORT is among the replies before it
    let refusal = std::iter::once(multi).chain(queued).find_map(refused);
    match exec {
        Value::Nil => Outcome::Superseded,
        Value::Array(done) => match account_keys(done, entries, fate) {
            Outcome::Written { kept } => match watch {
                Value::Okay => still(seen, generation, kept),
                // the batch is written; the next one must not go without its watch
                _ => Outcome::Confused,
            },
            other => other,
        },
        Value::ServerError(abort) => Outcome::Refused {
            refused: entries.len(),
            first: refusal.unwrap_or(abort).clone(),
        },
        _ => Outcome::Confused,
    }
}

/// What became of one key.
enum Fate<'a> {
    Written,
    /// It was there, or was changed since it was read.
    Kept,
    Refused(&'a ServerError),
}

/// The fate of an entry whose replies come first, and the replies behind them; `None` if they do not fit.
type Read = for<'a> fn(&'a [Value], &Entry) -> Option<(Fate<'a>, &'a [Value])>;

/// Of an entry within the transaction of its batch.
fn fate<'a>(replies: &'a [Value], entry: &Entry) -> Option<(Fate<'a>, &'a [Value])> {
    if let Way::Hash(_) = entry.way() {
        let (own, behind) = replies.split_at_checked(HASH_COMMANDS)?;
        return Some((fate_of_hash(own)?, behind));
    }
    let (reply, behind) = replies.split_first()?;
    let fate = match reply {
        // 1: a hash and its end
        Value::Okay | Value::Int(1) => Fate::Written,
        Value::Nil | Value::Int(0) => Fate::Kept,
        Value::ServerError(error) => Fate::Refused(error),
        _ => return None,
    };
    Some((fate, behind))
}

/// Of an entry without one: a hash has a transaction of its own.
fn fate_alone<'a>(replies: &'a [Value], entry: &Entry) -> Option<(Fate<'a>, &'a [Value])> {
    if !matches!(entry.way(), Way::Hash(_)) {
        return fate(replies, entry);
    }
    let (own, behind) = replies.split_at_checked(HASH_COMMANDS + 2)?;
    let fate = match (own.iter().find_map(refused), own.last()?) {
        (Some(error), _) => Fate::Refused(error),
        (None, Value::Array(done)) if done.len() == HASH_COMMANDS => fate_of_hash(done)?,
        _ => return None,
    };
    Some((fate, behind))
}

/// By what DEL, HSET and PEXPIRE said.
fn fate_of_hash(replies: &[Value]) -> Option<Fate<'_>> {
    match (replies.iter().find_map(refused), replies) {
        (Some(error), _) => Some(Fate::Refused(error)),
        (None, [Value::Int(_), Value::Int(_), Value::Int(1)]) => Some(Fate::Written),
        _ => None,
    }
}

const fn refused(reply: &Value) -> Option<&ServerError> {
    match reply {
        Value::ServerError(error) => Some(error),
        _ => None,
    }
}

fn account_keys(mut replies: &[Value], entries: &[Entry], read: Read) -> Outcome {
    let (mut refused, mut kept) = (0, 0);
    let mut first = None;
    for entry in entries {
        let Some((fate, behind)) = read(replies, entry) else {
            return Outcome::Confused;
        };
        replies = behind;
        match fate {
            Fate::Written => {}
            Fate::Kept => kept += 1,
            Fate::Refused(error) => {
                refused += 1;
                first.get_or_insert(error);
            }
        }
    }
    match first {
        _ if !replies.is_empty() => Outcome::Confused,
        None => Outcome::Written { kept },
        Some(first) => Outcome::Refused {
            refused,
            first: first.clone(),
        },
    }
}

fn still(seen: &Value, generation: u64, kept: usize) -> Outcome {
    match seen {
        Value::BulkString(text) if *text == generation.to_string().into_bytes() => {
            Outcome::Written { kept }
        }
        Value::BulkString(_) | Value::Nil => Outcome::Superseded,
        Value::ServerError(first) => Outcome::Refused {
            refused: 0,
            first: first.clone(),
        },
        _ => Outcome::Confused,
    }
}

#[cfg(test)]
mod tests;
