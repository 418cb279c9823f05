//! The open connections to one server, as those see them who do not hold them: their ids there, where they lead, since when each
//! waits for an answer, and when anything came from the server last. Touches a socket only to break it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lamplighter_core::net::Lifeline;

/// The connections to one server.
#[derive(Debug)]
pub(crate) struct Threads {
    began: Instant,
    /// When a byte came from the server last, on whichever connection, in microseconds since `began`.
    heard: AtomicU64,
    open: Mutex<HashMap<u32, Arc<Watched>>>,
}

/// One of them; gone with its connection.
#[derive(Debug)]
pub(super) struct Thread {
    all: Arc<Threads>,
    id: u32,
    watched: Arc<Watched>,
}

#[derive(Debug)]
struct Watched {
    lifeline: Lifeline,
    /// Since when it waits for the server, in microseconds since [`Threads::began`] and at least 1; 0: it does not.
    waits: AtomicU64,
    /// Bytes sent to the server since it said something last.
    sent: AtomicU64,
    /// What it waits for does no harm if it is asked again elsewhere.
    harmless: AtomicBool,
    /// The server knows the connection by the id of its greeting: nothing in between has changed it.
    has_own_id: AtomicBool,
}

/// A connection that waits for its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) id: u32,
    /// Another number for each thing it waits for.
    pub(crate) since: u64,
    pub(crate) waited: Duration,
    /// Bytes of what it waits for, before they were compressed.
    pub(crate) sent: u64,
    pub(crate) harmless: bool,
    pub(crate) has_own_id: bool,
    pub(crate) peer: SocketAddr,
}

impl Default for Threads {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            heard: AtomicU64::new(0),
            open: Mutex::default(),
        }
    }
}

impl Threads {
    pub(super) fn add(all: &Arc<Self>, id: u32, lifeline: Lifeline) -> Thread {
        let watched = Arc::new(Watched {
            lifeline,
            waits: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            harmless: AtomicBool::new(false),
            has_own_id: AtomicBool::new(false),
        });
        all.lock().insert(id, Arc::clone(&watched));
        Thread {
            all: Arc::clone(all),
            id,
            watched,
        }
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.lock().contains_key(&id)
    }

    /// Microseconds on the clock of all the numbers here, at least 1.
    pub(crate) fn now(&self) -> u64 {
        let micros = self.began.elapsed().as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).max(1)
    }

    /// When anything came from the server last.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Something came from the server.
    pub(crate) fn note_heard(&self) {
        self.heard.store(self.now(), Ordering::Relaxed);
    }

    /// For how long the server has been silent although somebody waits for it; none if nobody does.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let first = self.waiting().into_iter().map(|it| it.since).min()?;
        let since = first.max(self.heard());
        Some(Duration::from_micros(self.now().saturating_sub(since)))
    }

    /// Those that wait for the server now.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let now = self.now();
        let open = self.lock();
        let waiting = open.iter().filter_map(|(id, watched)| {
            let since = watched.waits.load(Ordering::Relaxed);
            (since > 0).then(|| Waiting {
                id: *id,
                since,
                waited: Duration::from_micros(now.saturating_sub(since)),
                sent: watched.sent.load(Ordering::Relaxed),
                harmless: watched.harmless.load(Ordering::Relaxed),
                has_own_id: watched.has_own_id.load(Ordering::Relaxed),
                peer: watched.lifeline.peer(),
            })
        });
        waiting.collect()
    }

    /// Breaks what `of` says was waiting, if it still waits for the same.
    pub(crate) fn cut(&self, of: &Waiting) {
        if let Some(watched) = self.lock().get(&of.id)
            && watched.waits.load(Ordering::Relaxed) == of.since
        {
            watched.lifeline.cut();
        }
    }

    /// Where the open connections lead.
    pub(crate) fn peers(&self) -> Vec<SocketAddr> {
        let open = self.lock();
        open.values().map(|it| it.lifeline.peer()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Arc<Watched>>> {
        // nothing under the lock can leave it half done
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.watched.lifeline.peer()
    }

    /// It waits for the server from now on.
    pub(super) fn waits(&self) {
        self.watched.waits.store(self.all.now(), Ordering::Relaxed);
    }

    /// It waits until so many bytes are on their way to the server.
    pub(super) fn sends(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.watched.sent.fetch_add(bytes, Ordering::Relaxed);
        self.waits();
    }

    /// It does not wait any more.
    pub(super) fn rests(&self) {
        self.watched.waits.store(0, Ordering::Relaxed);
    }

    /// The server said something.
    pub(super) fn hears(&self) {
        self.rests();
        self.watched.sent.store(0, Ordering::Relaxed);
        self.all.note_heard();
    }

    pub(super) fn set_harmless(&self, harmless: bool) {
        self.watched.harmless.store(harmless, Ordering::Relaxed);
    }

    pub(super) fn has_own_id(&self) {
        self.watched.has_own_id.store(true, Ordering::Relaxed);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        // behind the same name there may be two servers, which give the same ids
        if open
            .get(&self.id)
            .is_some_and(|known| Arc::ptr_eq(known, &self.watched))
        {
            open.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests;
