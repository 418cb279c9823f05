//! Rules for keys that begin alike, found by the longest prefix that fits. Pure; no IO.

use std::sync::Arc;
use std::time::Duration;

use super::config::PrefixConfig;
use super::tally::HitSeries;

/// The tombstone of a key: while it is there, what was read before may not be written.
pub(crate) const TOMBSTONE: &str = "lmp:h:";

/// The lease of a key: one client of the whole fleet is filling it.
pub(crate) const LEASE: &str = "lmp:l:";

/// The copy of a key's value that outlives it.
pub(crate) const COPY: &str = "lmp:s:";

/// What holds for keys with one prefix.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) prefix: String,
    pub(crate) holdoff: Option<Duration>,
    pub(crate) lease: Option<Duration>,
    pub(crate) lease_wait: Duration,
    pub(crate) stale: Option<Duration>,
    pub(crate) value_max: Option<usize>,
    deny: Vec<String>,
    pub(crate) series: Arc<HitSeries>,
}

impl Rule {
    /// Whether the command `name` (in capitals) is refused for these keys.
    pub(crate) fn denies(&self, name: &str) -> bool {
        self.deny
            .iter()
            .any(|denied| denied == "*" || denied == name)
    }
}

/// All rules.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The longest prefix first.
    rules: Vec<Arc<Rule>>,
    /// For keys without a rule.
    pub(crate) others: Arc<HitSeries>,
}

impl Rules {
    /// `series` makes the counters of a prefix.
    pub(crate) fn new(
        prefixes: &[PrefixConfig],
        mut series: impl FnMut(&str) -> HitSeries,
    ) -> Self {
        let others = Arc::new(series("other"));
        let mut rules: Vec<_> = prefixes
            .iter()
            .map(|config| {
                Arc::new(Rule {
                    prefix: config.prefix.clone(),
                    holdoff: config.holdoff.map(|time| time.get()),
                    lease: config.lease.map(|time| time.get()),
                    lease_wait: config.lease_wait.get(),
                    stale: config.stale.map(|time| time.get()),
                    value_max: config.max_value.map(|size| size.as_usize()),
                    deny: config
                        .deny
                        .iter()
                        .map(|name| name.to_ascii_uppercase())
                        .collect(),
                    series: Arc::new(series(&config.prefix)),
                })
            })
            .collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.prefix.len()));
        Self { rules, others }
    }

    /// The rule for a key.
    pub(crate) fn find(&self, key: &[u8]) -> Option<&Arc<Rule>> {
        self.rules
            .iter()
            .find(|rule| key.starts_with(rule.prefix.as_bytes()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}
