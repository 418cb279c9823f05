//! Who does what blocks for short: a few threads of the runtime's blocking pool that go on from one piece of work to the next. A
//! pass over many small files would else wake another thread for each of them, and the file system makes them wait for one
//! another. Touches nothing by itself.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use tokio::sync::oneshot;
use tokio::task::spawn_blocking;

/// More threads than this only wait for one another in the file system.
const THREADS_MAX: usize = 4;

type Piece = Box<dyn FnOnce() + Send>;

/// A desk at which pieces of work wait in line. Bounded by who gives work: each waits for what it gave.
#[derive(Clone)]
pub(crate) struct Desk {
    line: Arc<Mutex<Line>>,
    threads: usize,
}

#[derive(Default)]
struct Line {
    waiting: VecDeque<Piece>,
    threads: usize,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Work in line or under way.
#[derive(Debug)]
pub(crate) struct Given<T>(oneshot::Receiver<T>);

impl<T> Given<T> {
    /// Waits until it is done. Safe to cancel.
    pub(crate) async fn done(self) -> Result<T, CutShort> {
        self.0.await.map_err(|_| CutShort)
    }
}

/// The work was not done to its end: it panicked, or the runtime ends.
#[derive(Debug, thiserror::Error)]
#[error("the work was cut short")]
pub(crate) struct CutShort;

impl Desk {
    /// With a thread for each processor, within reason; they exist while there is work.
    pub(crate) fn for_processors() -> Self {
        Self::of(
            available_parallelism()
                .map_or(1, usize::from)
                .min(THREADS_MAX),
        )
    }

    /// With up to `threads` threads, for work that waits for the disk.
    pub(crate) fn of(threads: usize) -> Self {
        Self {
            line: Arc::default(),
            threads,
        }
    }

    /// Puts `work` in line. Work whose result nobody waits for any more is done all the same.
    pub(crate) fn give<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Given<T> {
        let (done, result) = oneshot::channel();
        let piece = Box::new(move || {
            if let Ok(value) = catch_unwind(AssertUnwindSafe(work)) {
                // nobody waits any more
                let _unwanted = done.send(value);
            }
        });
        self.put(piece);
        Given(result)
    }

    fn put(&self, piece: Piece) {
        let mut line = lock(&self.line);
        line.waiting.push_back(piece);
        if line.threads >= self.threads {
            return;
        }
        line.threads += 1;
        drop(line);
        let line = Arc::clone(&self.line);
        spawn_blocking(move || work_off(&line));
    }
}

/// Until nothing is left.
fn work_off(line: &Mutex<Line>) {
    while let Some(piece) = next(line) {
        piece();
    }
}

fn next(line: &Mutex<Line>) -> Option<Piece> {
    let mut line = lock(line);
    let piece = line.waiting.pop_front();
    if piece.is_none() {
        line.threads -= 1;
    }
    piece
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
