//! Whether a fault is this machine's alone. A server that all instances use is innocent until it is proved otherwise, because an
//! outage of it must not empty the pool. Pure.
//!
//! What proves it: the others reach the server. Each instance tells the fleet how it finds its servers (the fleet's list in Redis);
//! a component that is down here, while more than half of the others that speak of it say that it is not, is down for this machine
//! only. Their word must be fresh, and given after our own trouble began; one of them is enough where there is only one. So by
//! comparison never more than half of a fleet can leave at the same time, and without Redis nobody does.
//!
//! What this machine sees of itself (its network interface, its resolver, its disk) is on the board as a local fault already and
//! needs no proof here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lamplighter_core::fleet::Fleet;
use lamplighter_core::health::{Condition, Reach, Snapshot};

/// How old another instance's word may be.
const FRESH: Duration = Duration::from_secs(12);

/// How much later than our own trouble the others must have spoken: they may notice a dead server a little after us.
const LATER: Duration = Duration::from_secs(5);

/// Which faults are proved to be this machine's, and since when.
#[derive(Debug, Default)]
pub(crate) struct Locality {
    proved: BTreeMap<Arc<str>, Instant>,
}

impl Locality {
    /// The board with what is proved local said so.
    pub(crate) fn judge(
        &mut self,
        board: &Arc<Snapshot>,
        fleet: &Fleet,
        now: Instant,
    ) -> Arc<Snapshot> {
        let down = board.reports.iter().filter(|(_, report)| {
            report.condition == Condition::Down && report.reach == Reach::Shared
        });
        let proved: Vec<(Arc<str>, String)> = down
            .filter_map(|(name, report)| {
                let trouble = now.saturating_duration_since(report.since);
                let (fine, all) = ask(name, fleet, trouble, now);
                (fine * 2 > all).then(|| {
                    let reason = format!("{} ({fine} of {all} others reach it)", report.reason);
                    (Arc::clone(name), reason)
                })
            })
            .collect();
        self.proved
            .retain(|name, _| proved.iter().any(|(known, _)| known == name));
        if proved.is_empty() {
            return Arc::clone(board);
        }
        let mut board = Snapshot::clone(board);
        for (name, reason) in proved {
            let since = *self.proved.entry(Arc::clone(&name)).or_insert_with(|| {
                tracing::warn!(component = &*name, reason, "this machine's fault alone");
                now
            });
            if let Some(report) = board.reports.get_mut(&name) {
                report.reach = Reach::Local;
                report.reason = reason;
                report.since = since;
            }
        }
        Arc::new(board)
    }
}

/// How many of the others find `component` working, of how many whose word counts.
fn ask(component: &str, fleet: &Fleet, trouble: Duration, now: Instant) -> (usize, usize) {
    let Some(read) = fleet.read else {
        return (0, 0);
    };
    let since_read = now.saturating_duration_since(read);
    let words = fleet.peers.iter().filter_map(|peer| {
        let age = peer.age + since_read;
        let counts = age <= FRESH && age + LATER <= trouble;
        peer.seen.get(component).filter(|_| counts)
    });
    words.fold((0, 0), |(fine, all), word| {
        (fine + usize::from(*word != Condition::Down), all + 1)
    })
}

#[cfg(test)]
mod tests;
