//! The client users as those who share the pools: each has a number, and a part that it may have of each. Pure; no IO.

use std::collections::BTreeMap;

use lamplighter_core::units::Percent;

use crate::config::Config;
use crate::pool::Shares;

/// Which client user has which number; 0 is the agent itself, and whoever is unknown.
#[derive(Debug)]
pub(crate) struct Tenants {
    numbers: BTreeMap<Vec<u8>, usize>,
    shares: Shares,
}

impl Tenants {
    pub(crate) fn new(config: &Config) -> Self {
        let all = Percent::new(100.0);
        let own = std::iter::once(all);
        let shares = own.chain(config.clients.values().map(|client| client.share));
        let names = config.clients.keys().map(|name| name.clone().into_bytes());
        Self {
            numbers: names.zip(1..).collect(),
            shares: Shares {
                tenants: shares.collect(),
                fallback: config.pool.fallback_share,
            },
        }
    }

    /// The number of the client user of this name.
    pub(crate) fn number(&self, user: &[u8]) -> usize {
        self.numbers.get(user).copied().unwrap_or(0)
    }

    /// What each may have of the primary's connections.
    pub(crate) fn shares(&self) -> Shares {
        self.shares.clone()
    }
}
