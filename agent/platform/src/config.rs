//! The `[platform]` table. No IO.

use std::time::Duration;

use lamplighter_core::config::Problem;
use lamplighter_core::units::Millis;
use serde::{Deserialize, Serialize};

/// `[platform]`. Every key has a default, and the table may be left out: systemd is served in any case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a runtime of the agent may stand still before the watchdog of systemd is no longer fed, which restarts the agent
    /// when `WatchdogSec=` has passed. Default `10s`. Without `WatchdogSec=` in the unit it has no effect.
    pub stall_after: Millis,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stall_after: Millis::from_secs(10),
        }
    }
}

impl Config {
    /// Rules that serde cannot express.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        if self.stall_after.get() < Duration::from_secs(1) {
            return vec![Problem::new(
                "stall_after",
                "must be at least 1s: a live runtime shows itself four times a second",
            )];
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_a_live_runtime_would_break_is_refused() {
        assert_eq!(Config::default().problems(), []);
        assert_eq!(
            serde_json::from_str::<Config>("{}").unwrap(),
            Config::default()
        );
        let config: Config = serde_json::from_str(r#"{"stall_after": "200ms"}"#).unwrap();
        assert_eq!(config.problems()[0].key, "stall_after");
        assert!(serde_json::from_str::<Config>(r#"{"imds": "http://x"}"#).is_err());
    }
}
