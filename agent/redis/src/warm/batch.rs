//! What goes to Redis in one write, and what its replies mean. Every reply is matched to its command by position, and a count
//! that does not fit is an error, never a guess. Pure; no IO.

use redis::{Cmd, Pipeline, ServerError, Value, cmd};
use tokio::time::Instant;

use crate::config::ServerKind;

/// A key to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// Life in milliseconds.
    pub(crate) ttl_ms: u64,
    /// For keys under a hold-off.
    pub(crate) guard: Option<Guard>,
}

/// What keeps an old value from being written over a newer one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guard {
    /// The key that is there while the value may be old.
    pub(crate) tombstone: Vec<u8>,
    /// Until when the tombstone of a change since the row was read is certainly still there.
    pub(crate) until: Instant,
}

/// Writes unless there is a tombstone; 0 if there is one.
const UNLESS: &str = "\
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
end
return redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])";

impl Entry {
    /// Bytes of key and value.
    pub(crate) fn size(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// Keys that are written together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<Entry>,
    /// Bytes of all keys and values.
    pub(crate) bytes: usize,
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
    /// Every key is written.
    Written,
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
        [Value::Okay, seen] => still(seen, generation),
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
        pipeline.add_command(set(entry));
    }
    if kind == ServerKind::Single {
        pipeline.cmd("EXEC");
        pipeline.cmd("WATCH").arg(generation_key);
        pipeline.cmd("GET").arg(generation_key);
    }
    pipeline
}

fn set(entry: &Entry) -> Cmd {
    let Some(guard) = &entry.guard else {
        let mut set = cmd("SET");
        set.arg(&*entry.key)
            .arg(&*entry.value)
            .arg("PX")
            .arg(entry.ttl_ms);
        return set;
    };
    let mut unless = cmd("EVAL");
    unless
        .arg(UNLESS)
        .arg(2)
        .arg(&*entry.key)
        .arg(&*guard.tombstone)
        .arg(&*entry.value)
        .arg(entry.ttl_ms);
    unless
}

/// What the replies to [`write`] say about its `keys` keys.
pub(crate) fn account(
    replies: &[Value],
    keys: usize,
    kind: ServerKind,
    generation: u64,
) -> Outcome {
    match kind {
        ServerKind::Single => account_transaction(replies, keys, generation),
        ServerKind::Enterprise | ServerKind::Cluster => match replies {
            [Value::ServerError(first), ..] => Outcome::Refused {
                refused: keys,
                first: first.clone(),
            },
            [seen, sets @ ..] if sets.len() == keys => match account_sets(sets) {
                Outcome::Written => still(seen, generation),
                other => other,
            },
            _ => Outcome::Confused,
        },
    }
}

fn account_transaction(replies: &[Value], keys: usize, generation: u64) -> Outcome {
    let [multi, rest @ ..] = replies else {
        return Outcome::Confused;
    };
    if rest.len() != keys + 3 {
        return Outcome::Confused;
    }
    let (queued, end) = rest.split_at(keys);
    let [exec, watch, seen] = end else {
        return Outcome::Confused;
    };
    // the reason of an EXECABORT is among the replies before it
    let mut refusals = std::iter::once(multi)
        .chain(queued)
        .filter_map(|reply| match reply {
            Value::ServerError(error) => Some(error),
            _ => None,
        });
    match exec {
        Value::Nil => Outcome::Superseded,
        Value::Array(sets) if sets.len() == keys => match account_sets(sets) {
            Outcome::Written => match watch {
                Value::Okay => still(seen, generation),
                // the batch is written; the next one must not go without its watch
                _ => Outcome::Confused,
            },
            other => other,
        },
        Value::ServerError(abort) => Outcome::Refused {
            refused: keys,
            first: refusals.next().unwrap_or(abort).clone(),
        },
        _ => Outcome::Confused,
    }
}

fn account_sets(sets: &[Value]) -> Outcome {
    let mut refused = 0;
    let mut first = None;
    for reply in sets {
        match reply {
            // 0: it was changed since it was read
            Value::Okay | Value::Int(0) => {}
            Value::ServerError(error) => {
                refused += 1;
                first.get_or_insert(error);
            }
            _ => return Outcome::Confused,
        }
    }
    match first {
        None => Outcome::Written,
        Some(first) => Outcome::Refused {
            refused,
            first: first.clone(),
        },
    }
}

fn still(seen: &Value, generation: u64) -> Outcome {
    match seen {
        Value::BulkString(text) if *text == generation.to_string().into_bytes() => Outcome::Written,
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
