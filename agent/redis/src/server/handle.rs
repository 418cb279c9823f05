//! Access to a connection: handing commands over, and how busy it is. In memory only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lamplighter_wire::redis::write;
use tokio::sync::mpsc;

use super::command::Command;

/// Batches of commands that may wait to be taken over.
const QUEUE: usize = 256;

/// Access to a connection. Clones share it; when the last one goes, the connection ends.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    queue: mpsc::Sender<Vec<Command>>,
    load: Arc<Load>,
}

/// Access to a connection that does not keep it open.
#[derive(Debug, Clone)]
pub(crate) struct WeakHandle {
    queue: mpsc::WeakSender<Vec<Command>>,
    load: Arc<Load>,
}

impl WeakHandle {
    /// The connection, if anybody still keeps it open.
    pub(crate) fn upgrade(&self) -> Option<Handle> {
        Some(Handle {
            queue: self.queue.upgrade()?,
            load: Arc::clone(&self.load),
        })
    }
}

/// How busy a connection is.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Bytes of commands without a reply, and a little for each command.
    pub(super) outstanding: AtomicUsize,
    /// Takes no new commands.
    pub(super) retired: AtomicBool,
    /// In the middle of a large reply: others would wait behind it.
    pub(super) midway: AtomicBool,
}

/// What a command weighs beside its bytes.
pub(super) const COMMAND_WEIGHT: usize = 64;

/// What a large reply that is on its way weighs.
const MIDWAY_WEIGHT: usize = 1024 * 1024;

impl Handle {
    /// A handle, and the other end of its queue.
    pub(super) fn new() -> (Self, mpsc::Receiver<Vec<Command>>, Arc<Load>) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let load = Arc::new(Load::default());
        let handle = Self {
            queue: sender,
            load: Arc::clone(&load),
        };
        (handle, queue, load)
    }

    /// Whether it takes commands.
    pub(crate) fn is_open(&self) -> bool {
        !self.load.retired.load(Ordering::Relaxed) && !self.queue.is_closed()
    }

    /// Access that does not keep it open.
    pub(crate) fn downgrade(&self) -> WeakHandle {
        WeakHandle {
            queue: self.queue.downgrade(),
            load: Arc::clone(&self.load),
        }
    }

    /// How much is ahead of a new command, in bytes.
    pub(crate) fn load(&self) -> usize {
        let midway = usize::from(self.load.midway.load(Ordering::Relaxed));
        self.load.outstanding.load(Ordering::Relaxed) + midway * MIDWAY_WEIGHT
    }

    /// Takes no more commands; ends when those on their way are answered.
    pub(crate) fn replace(&self) {
        self.load.retired.store(true, Ordering::Relaxed);
        // so that it notices; if its queue is full it will
        drop(self.try_submit(vec![Command::silent(write::request(&["PING"]))]));
    }

    /// Ends the connection if it does not answer within `patience`.
    pub(crate) fn prove(&self, patience: Duration) {
        let ping = Command {
            patience: Some(patience),
            ..Command::silent(write::request(&["PING"]))
        };
        // a full queue is the sign of one that is busy, and watched
        drop(self.try_submit(vec![ping]));
    }

    /// Hands commands over without waiting; gives them back if the queue is full or the connection has ended.
    pub(crate) fn try_submit(&self, batch: Vec<Command>) -> Result<(), Refused> {
        let weight = weight(&batch);
        self.load.outstanding.fetch_add(weight, Ordering::Relaxed);
        self.queue.try_send(batch).map_err(|error| {
            self.load.outstanding.fetch_sub(weight, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(batch) => Refused::Full(batch),
                mpsc::error::TrySendError::Closed(batch) => Refused::Closed(batch),
            }
        })
    }

    /// Waits until the queue has room or the connection has ended.
    pub(crate) async fn room(&self) {
        // how it went is seen by the next attempt
        drop(self.queue.reserve().await);
    }

    /// Hands commands over, waiting for room; gives them back if the connection has ended.
    pub(crate) async fn submit(&self, mut batch: Vec<Command>) -> Result<(), Vec<Command>> {
        loop {
            match self.try_submit(batch) {
                Ok(()) => return Ok(()),
                Err(Refused::Closed(back)) => return Err(back),
                Err(Refused::Full(back)) => {
                    batch = back;
                    self.room().await;
                }
            }
        }
    }
}

/// Commands that were not taken over.
#[derive(Debug)]
pub(crate) enum Refused {
    Full(Vec<Command>),
    Closed(Vec<Command>),
}

fn weight(batch: &[Command]) -> usize {
    batch
        .iter()
        .map(|command| command.bytes.len() + COMMAND_WEIGHT)
        .sum()
}
