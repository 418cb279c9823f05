//! The server's ids of the connections that are open, so that KILL of one of them is recognised. No IO.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// The ids of one server's connections.
#[derive(Debug, Default)]
pub(crate) struct Threads(Mutex<HashSet<u32>>);

/// One of them; gone with its connection.
#[derive(Debug)]
pub(super) struct Thread {
    all: Arc<Threads>,
    id: u32,
}

impl Threads {
    pub(super) fn add(all: &Arc<Self>, id: u32) -> Thread {
        all.lock().insert(id);
        Thread {
            all: Arc::clone(all),
            id,
        }
    }

    pub(crate) fn contains(&self, id: u32) -> bool {
        self.lock().contains(&id)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<u32>> {
        // nothing under the lock can leave it half done
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thread {
    pub(super) const fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}
