//! The thread that clients and their servers' connections share: whoever wakes another wakes nobody's core. Starts one thread.

use std::io;

use super::lookout::Lookout;
use futures_util::future::OptionFuture;
use lamplighter_core::lifecycle::Heartbeat;
use tokio::runtime::{EnterGuard, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A thread with a runtime of its own; dropped, it ends, and what runs on it with it.
#[derive(Debug)]
pub(crate) struct DataThread {
    handle: Handle,
    lookout: Lookout,
    _ends: DropGuard,
}

impl DataThread {
    /// Starts it; `beat` is how others see that it turns.
    ///
    /// # Errors
    /// If the system has no thread or no poller left.
    pub(crate) fn start(beat: Option<Heartbeat>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("redis-blocking")
            .build()?;
        let handle = runtime.handle().clone();
        let lookout = Lookout::new();
        let theirs = lookout.clone();
        let end = CancellationToken::new();
        let ends = end.clone().drop_guard();
        std::thread::Builder::new()
            .name("redis".to_owned())
            .spawn(move || {
                runtime.block_on(end.run_until_cancelled(async {
                    let beat = OptionFuture::from(beat.clone().map(Heartbeat::beat));
                    tokio::join!(theirs.look(), beat);
                }));
                if let Some(beat) = beat {
                    beat.retire();
                }
                // a name that does not resolve may hold a thread for long; nothing hangs on it
                runtime.shutdown_background();
            })?;
        Ok(Self {
            handle,
            lookout,
            _ends: ends,
        })
    }

    /// Its runtime.
    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// What keeps it awake.
    pub(crate) const fn lookout(&self) -> &Lookout {
        &self.lookout
    }

    /// Sockets made while this lives belong to it.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }
}
