//! Giving the listening sockets to the process that comes next: nobody is refused, who connects meanwhile waits in the kernel's
//! queue. Holds flags and counts; the sockets themselves are kept by the service manager.
//!
//! A planned restart goes: stop accepting ([`Handover::begin`]), let those who are connected finish ([`Handover::quiet`]), leave.
//! The service manager has had duplicates of the sockets all the while ([`super::Sockets::take_kept`]) and hands them to the
//! successor, which finds them by their addresses.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How often connected clients are counted while a successor waits.
const COUNT: Duration = Duration::from_millis(5);

/// Whether and how the sockets go over to a successor. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Handover {
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody keeps the sockets when this process is gone.
    kept: bool,
    /// No successor is expected: files of sockets go with us.
    for_good: AtomicBool,
    begun: CancellationToken,
    /// The places of each listener that takes part, with how many there are.
    places: Mutex<Vec<(Arc<Semaphore>, usize)>>,
}

impl Handover {
    /// For a process whose sockets a service manager keeps: their files outlive it unless it [leaves for good](Self::leave_for_good).
    #[must_use]
    pub fn kept() -> Self {
        Self {
            state: Arc::new(State {
                kept: true,
                ..State::default()
            }),
        }
    }

    /// Whether a service manager keeps the sockets.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.state.kept
    }

    /// From now on no listener that takes part accepts anybody: they wait for the successor.
    pub fn begin(&self) {
        self.state.begun.cancel();
    }

    /// Returns once [`Self::begin`] was called.
    pub(super) async fn begun(&self) {
        self.state.begun.cancelled().await;
    }

    /// Nobody comes after us: sockets' files are removed with their listeners.
    pub fn leave_for_good(&self) {
        self.state.for_good.store(true, Ordering::Relaxed);
    }

    /// Whether the file of a socket must stay when its listener goes.
    pub(super) fn keeps_files(&self) -> bool {
        self.state.kept && !self.state.for_good.load(Ordering::Relaxed)
    }

    /// `places` are those of a listener that takes part.
    pub(super) fn count(&self, places: &Arc<Semaphore>) {
        let mut all = self.lock();
        if !all.iter().any(|(known, _)| Arc::ptr_eq(known, places)) {
            all.push((Arc::clone(places), places.available_permits()));
        }
    }

    /// Returns when nobody is connected any more. Waits for ever if somebody stays.
    pub async fn quiet(&self) {
        while self
            .lock()
            .iter()
            .any(|(places, all)| places.available_permits() < *all)
        {
            tokio::time::sleep(COUNT).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Arc<Semaphore>, usize)>> {
        self.state
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
