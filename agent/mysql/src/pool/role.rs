//! Whether the server behind the name takes writes: as the newest connection heard at its login, or as a refused statement showed.
//! When that changes, whatever was open before is of another server or of another time, and is never used again. Who needs a server
//! that takes writes waits for one here, in the order of asking, without taking a place from those who read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lamplighter_core::metrics::{Histogram, IntGauge};
use tokio::time::Instant;

use super::Pool;
use super::outage::Outage;
use crate::error::{OpenError, StatementError};

/// What a command needs of its server's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Any server does.
    Any,
    /// It may write, or be followed by what does: it waits for a server that takes writes, and is sent all the same in the end.
    Primary,
    /// It writes: it is sent to no server that says it takes no writes.
    Write,
}

/// What is known of the role.
#[derive(Debug)]
pub(super) struct Role {
    read_only: AtomicBool,
    /// What was heard last and since when.
    heard: Mutex<Option<(bool, Instant)>>,
    /// Those who wait for a server that takes writes.
    line: Outage,
}

impl Role {
    pub(super) fn new(waiting: IntGauge, held: Histogram) -> Self {
        Self {
            read_only: AtomicBool::new(false),
            heard: Mutex::default(),
            line: Outage::new(waiting, held),
        }
    }

    fn is_read_only(&self) -> bool {
        self.read_only.load(Ordering::Acquire)
    }

    /// Returns whether it was known to be otherwise before.
    fn set(&self, read_only: bool) -> bool {
        let mut heard = self.lock();
        let before = heard.map(|(before, _)| before);
        if before != Some(read_only) {
            *heard = Some((read_only, Instant::now()));
            self.read_only.store(read_only, Ordering::Release);
        }
        before.is_some_and(|before| before != read_only)
    }

    /// For how long it has been as it is.
    fn age(&self) -> Duration {
        self.lock()
            .map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(bool, Instant)>> {
        // nothing under the lock can leave it half done
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// A login of generation `generation` has just heard whether the server takes writes. Returns the generation of its connection.
    pub(super) fn note_role(&self, read_only: bool, generation: u64) -> u64 {
        // older news than what is known
        if generation != self.generation.load(Ordering::Acquire) || !self.role.set(read_only) {
            return generation;
        }
        self.retire();
        // told when it is so: nobody gets one of the old ones from here on
        tracing::info!(
            server = self.name,
            read_only,
            "the server's role has changed: connections are opened anew"
        );
        self.generation.load(Ordering::Acquire)
    }

    /// A server refused a statement because it takes no writes: no connection of that generation is used again.
    pub(crate) fn note_refused(&self, generation: u64) {
        let is_news = generation == self.generation.load(Ordering::Acquire);
        if is_news && self.role.set(true) {
            self.retire();
            tracing::info!(server = self.name, "the server takes no writes any more");
        }
    }

    /// A connection of somebody else's that was opened just now was told that the server takes no writes.
    pub(crate) fn note_seen_read_only(&self) {
        self.note_refused(self.generation.load(Ordering::Acquire));
    }

    /// Until when a statement that comes now waits for a failover.
    pub(crate) fn failover_deadline(&self) -> Instant {
        Instant::now() + self.limits.failover_wait.get()
    }

    /// Resolves when the server takes writes, as far as is known; in the order of asking. Only the first in line looks.
    ///
    /// # Errors
    /// If there is none by `until`, which is set at the first wait.
    pub(super) async fn until_writable(
        self: &Arc<Self>,
        need: Need,
        until: &mut Option<Instant>,
    ) -> Result<(), StatementError> {
        if need == Need::Any || !self.role.is_read_only() {
            return Ok(());
        }
        if need == Need::Primary && self.role.age() > self.limits.failover_wait.get() {
            // this is no failover but a server that answers what it can
            return Ok(());
        }
        let until = *until.get_or_insert_with(|| self.failover_deadline());
        let waiter = self.role.line.join();
        let mut last = None;
        let looked = tokio::time::timeout_at(until, async {
            let mut first = waiter.first().await;
            while self.role.is_read_only() {
                last = self.look_for_writes().await;
                if self.role.is_read_only() {
                    tokio::time::sleep(first.failed()).await;
                }
            }
            first.succeeded();
        })
        .await;
        match (looked, need) {
            (Ok(()), _) | (Err(_), Need::Any | Need::Primary) => Ok(()),
            (Err(_), Need::Write) => Err(self.no_writes(waiter.others(), last)),
        }
    }

    fn no_writes(&self, waiting: usize, last: Option<OpenError>) -> StatementError {
        let (server, waited) = (self.name.clone(), self.limits.failover_wait.get());
        match last {
            None => StatementError::ReadOnly {
                server,
                waited,
                waiting,
            },
            Some(source) => StatementError::Away {
                server,
                waited,
                waiting,
                source,
            },
        }
    }

    /// Opens a connection, which tells the role, and keeps it for whoever comes next. The name is resolved anew.
    async fn look_for_writes(self: &Arc<Self>) -> Option<OpenError> {
        match self.open_spare().await {
            Ok(lease) => {
                lease.release();
                None
            }
            Err(StatementError::Open { source, .. }) => Some(source),
            // those who read have all the places
            Err(_) => None,
        }
    }
}
