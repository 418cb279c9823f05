//! How much MySQL has to do, as one part of the agent knows it and another wants to: whoever makes work of its own accord must see
//! when the application suffers. In memory only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What is known at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MysqlLoad {
    /// How long all statements so far waited for a server connection, together.
    pub waited: Duration,
    /// How many statements that were.
    pub statements: u64,
    /// The largest lag of a replica, if there are replicas and it is known.
    pub lag: Option<Duration>,
    /// The lag at which a replica is not asked any more.
    pub lag_max: Duration,
    /// How old an answer of a replica may be at most: the lag allowed, and what it may have grown by since it was looked at. 0 without
    /// replicas.
    pub behind_max: Duration,
}

impl MysqlLoad {
    /// How long a statement waited on average between this moment and `later`.
    #[must_use]
    pub fn mean_wait_until(&self, later: &Self) -> Duration {
        let waited = later.waited.saturating_sub(self.waited);
        let statements = later.statements.saturating_sub(self.statements);
        match u32::try_from(statements) {
            Ok(0) | Err(_) => Duration::ZERO,
            Ok(statements) => waited / statements,
        }
    }
}

/// Reads the load. Clones read the same.
#[derive(Clone)]
pub struct LoadSource(Arc<dyn Fn() -> MysqlLoad + Send + Sync>);

impl LoadSource {
    /// `read` must be quick.
    #[must_use]
    pub fn new(read: impl Fn() -> MysqlLoad + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The load now.
    #[must_use]
    pub fn read(&self) -> MysqlLoad {
        (self.0)()
    }
}

impl fmt::Debug for LoadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_that_of_the_statements_in_between() {
        let before = MysqlLoad {
            waited: Duration::from_secs(100),
            statements: 10,
            ..MysqlLoad::default()
        };
        let after = MysqlLoad {
            waited: Duration::from_secs(101),
            statements: 20,
            ..before
        };
        assert_eq!(before.mean_wait_until(&after), Duration::from_millis(100));
        assert_eq!(after.mean_wait_until(&after), Duration::ZERO);
    }
}
