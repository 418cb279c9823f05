//! What the instances of a scale set know of one another: who is there, and how each finds the servers that all of them use. Memory
//! only; who carries it between the machines is not said here. A view is a hint: it may be old, and it may be empty.

mod ration;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::health::{Condition, HealthBoard};
use crate::instance::InstanceView;

pub use ration::{Count, Part, Ration, RationDesk};

/// Another instance, as it last described itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: String,
    /// How old its description was when it was read, by the clock of whoever carries it.
    pub age: Duration,
    /// How it found each component of its own board.
    pub seen: BTreeMap<String, Condition>,
}

/// The other instances, as they were last read.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    /// Without this one.
    pub peers: Vec<Peer>,
    /// When they were read; `None`: never, or not any more.
    pub read: Option<Instant>,
}

/// Follows the fleet. Clones share it.
#[derive(Debug, Clone)]
pub struct FleetView(watch::Receiver<Arc<Fleet>>);

impl FleetView {
    /// A view of nobody, and who changes it.
    #[must_use]
    pub fn new() -> (watch::Sender<Arc<Fleet>>, Self) {
        let (sender, receiver) = watch::channel(Arc::default());
        (sender, Self(receiver))
    }

    /// The fleet as it was last read.
    #[must_use]
    pub fn now(&self) -> Arc<Fleet> {
        Arc::clone(&self.0.borrow())
    }
}

/// What whoever carries descriptions between the machines works with.
#[derive(Debug)]
pub struct FleetDesk {
    /// What this instance describes.
    pub board: HealthBoard,
    /// Which machine it is.
    pub instance: InstanceView,
    /// Where what others said is told.
    pub tell: watch::Sender<Arc<Fleet>>,
}
