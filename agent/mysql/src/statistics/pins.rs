//! Who keeps a server connection now. One entry for each such client, so it is bounded by the clients; entered when a hold begins
//! and taken out when it ends, never in between.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use lamplighter_wire::sql::digest;

use super::report::PinReport;
use super::{Key, lock};

/// Locks among which clients are spread.
const SHARDS: usize = 8;

/// Why a client keeps its connection, and which.
#[derive(Debug, Clone)]
pub(crate) struct PinFacts {
    /// As in the metrics.
    pub(crate) reason: &'static str,
    /// Since when.
    pub(crate) since: Instant,
    /// The statement after which it was kept.
    pub(crate) key: Option<Key>,
    /// Who logged in.
    pub(crate) user: Bytes,
    /// To which server, as `host:port`.
    pub(crate) server: Arc<str>,
}

impl PinFacts {
    pub(super) fn report(self, client: u32, text: Option<&str>) -> PinReport {
        PinReport {
            client,
            user: String::from_utf8_lossy(&self.user).into_owned(),
            reason: self.reason.to_owned(),
            seconds: self.since.elapsed().as_secs_f64(),
            server: self.server.to_string(),
            digest: text.map(digest::id),
            text: text.map(str::to_owned),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    shards: [Mutex<HashMap<u32, PinFacts>>; SHARDS],
}

impl Registry {
    pub(super) fn insert(&self, client: u32, facts: PinFacts) {
        if let Some(shard) = self.shard(client) {
            lock(shard).insert(client, facts);
        }
    }

    pub(super) fn remove(&self, client: u32) -> Option<PinFacts> {
        lock(self.shard(client)?).remove(&client)
    }

    pub(super) fn all(&self) -> Vec<(u32, PinFacts)> {
        let copy = |shard: &Mutex<HashMap<u32, PinFacts>>| -> Vec<(u32, PinFacts)> {
            let shard = lock(shard);
            let pins = shard.iter();
            pins.map(|(client, facts)| (*client, facts.clone()))
                .collect()
        };
        self.shards.iter().flat_map(copy).collect()
    }

    fn shard(&self, client: u32) -> Option<&Mutex<HashMap<u32, PinFacts>>> {
        self.shards.get(usize::try_from(client).ok()? % SHARDS)
    }
}
