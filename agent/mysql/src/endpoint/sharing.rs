//! This instance's part of the fleet's connections (`pool.fleet_budget`): asked for through desks that somebody else serves, and
//! handed to the pools as it changes. Touches no server.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::fleet::{Count, Part, Ration, RationDesk};
use lamplighter_core::lifecycle::Scope;
use tokio::sync::watch;

use super::Shared;
use crate::config;
use crate::pool::Pool;

/// How long the agent waits to be ready for its first connection: the others give theirs up first.
const FIRST_PART: Duration = Duration::from_secs(5);

/// Follows the part of one pool.
#[derive(Debug)]
pub(super) struct Follower {
    pool: Arc<Pool>,
    ration: Ration,
    part: watch::Receiver<Part>,
}

/// A desk for each pool; none if the connections of this instance are its own business.
pub(super) fn desks(limits: &config::Pool, shared: &Shared) -> (Vec<RationDesk>, Vec<Follower>) {
    if limits.fleet_budget.is_none() {
        return (Vec::new(), Vec::new());
    }
    let pools = shared.pools();
    pools
        .map(|pool| {
            let count = |of: fn(&Pool) -> usize| -> Count {
                let pool = Arc::clone(pool);
                Arc::new(move || of(&pool))
            };
            let ration = Ration {
                name: pool.name().into(),
                total: count(Pool::shared_out),
                size_max: limits.fleet_size_max,
            };
            let (desk, part) = RationDesk::new(ration.clone(), count(Pool::claimed));
            let follower = Follower {
                pool: Arc::clone(pool),
                ration,
                part,
            };
            (desk, follower)
        })
        .unzip()
}

/// Follows all parts from now on; returns when each pool may have a connection, or when it has been waited for long enough.
pub(super) async fn begin(followers: Vec<Follower>, scope: &Scope) {
    let first: Vec<_> = followers.iter().map(|it| it.part.clone()).collect();
    for follower in followers {
        let tasks = scope.tasks().clone();
        scope.spawn("ration", async move {
            tokio::select! {
                () = follower.follow() => {}
                () = tasks.draining() => {}
            }
        });
    }
    let all = async {
        for mut part in first {
            // who has nobody to ask goes on at once
            let _alone = part.wait_for(|part| part.amount() > 0).await;
        }
    };
    tokio::select! {
        () = all => {}
        () = tokio::time::sleep(FIRST_PART) => {
            tracing::warn!("ready without a part of the fleet's connections: others have not given theirs up");
        }
        () = scope.tasks().draining() => {}
    }
}

impl Follower {
    async fn follow(mut self) {
        loop {
            let part = *self.part.borrow_and_update();
            self.pool.grant(part);
            if self.part.changed().await.is_err() {
                break;
            }
        }
        let amount = self.ration.alone();
        self.pool.grant(Part::Alone { amount });
        std::future::pending().await
    }
}
