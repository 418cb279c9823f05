//! One of the ways a large file's buffers go, to the disk or into a sum: each buffer after the one before it, by whichever thread
//! of the desk is free, while the next ones come. Touches nothing by itself.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::desk::{CutShort, Desk};
use crate::tree::TreeError;

/// Bytes that go every way; their place is free once they have gone all of them.
#[derive(Debug)]
pub(super) struct Buffer {
    pub(super) chunks: Vec<Bytes>,
    pub(super) _place: OwnedSemaphorePermit,
}

/// What is done with a buffer.
type Step<T> = fn(&mut T, &[Bytes]) -> Result<(), TreeError>;

/// A way into a `T`. Dropped before its end it forgets what waits; what a thread has in hand at that time goes away when that is done.
#[derive(Debug)]
pub(super) struct Lane<T: Send + 'static>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    desk: Desk,
    step: Step<T>,
    line: Mutex<Line<T>>,
}

/// Bounded by the places that its buffers hold.
#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<Arc<Buffer>>,
    state: State<T>,
    /// Who wants what became of it, once nothing waits.
    asked: Option<oneshot::Sender<Result<T, TreeError>>>,
}

#[derive(Debug)]
enum State<T> {
    /// Nothing to do.
    Idle(T),
    /// A thread has it.
    Busy,
    /// A buffer could not be taken; what comes now is not looked at.
    Failed(TreeError),
    /// It was handed out, or a thread panicked with it.
    Over,
}

impl<T: Send + 'static> Lane<T> {
    pub(super) fn new(desk: Desk, into: T, step: Step<T>) -> Self {
        let line = Line {
            waiting: VecDeque::new(),
            state: State::Idle(into),
            asked: None,
        };
        Self(Arc::new(Shared {
            desk,
            step,
            line: Mutex::new(line),
        }))
    }

    /// Puts `buffer` in line.
    pub(super) fn give(&self, buffer: Arc<Buffer>) {
        let mut line = self.0.lock();
        match std::mem::replace(&mut line.state, State::Busy) {
            State::Idle(into) => {
                line.waiting.push_back(buffer);
                drop(line);
                self.0.go_on(into);
            }
            State::Busy => line.waiting.push_back(buffer),
            ended => line.state = ended,
        }
    }

    /// Whether what is given is not taken any more; [`Lane::end`] says why.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.0.lock().state, State::Failed(_) | State::Over)
    }

    /// Waits until nothing is in line. Safe to cancel, which ends the lane.
    pub(super) async fn end(self) -> Result<Result<T, TreeError>, CutShort> {
        let ended = {
            let mut line = self.0.lock();
            match std::mem::replace(&mut line.state, State::Over) {
                State::Idle(into) => return Ok(Ok(into)),
                State::Failed(error) => return Ok(Err(error)),
                State::Over => return Err(CutShort),
                State::Busy => {
                    line.state = State::Busy;
                    let (asked, ended) = oneshot::channel();
                    line.asked = Some(asked);
                    ended
                }
            }
        };
        ended.await.map_err(|_| CutShort)
    }
}

impl<T: Send + 'static> Drop for Lane<T> {
    fn drop(&mut self) {
        self.0.lock().waiting.clear();
    }
}

impl<T: Send + 'static> Shared<T> {
    /// One buffer at a time, so that the desk's other work has its turns.
    fn go_on(self: &Arc<Self>, mut into: T) {
        let shared = Arc::clone(self);
        let _ends_by_itself = self.desk.give(move || {
            match catch_unwind(AssertUnwindSafe(|| shared.take(&mut into))) {
                Ok(result) => shared.settle(into, result),
                Err(_) => shared.break_off(),
            }
        });
    }

    fn take(&self, into: &mut T) -> Result<(), TreeError> {
        // empty if the lane was dropped meanwhile
        let next = self.lock().waiting.pop_front();
        next.map_or(Ok(()), |buffer| (self.step)(into, &buffer.chunks))
    }

    fn settle(self: &Arc<Self>, into: T, result: Result<(), TreeError>) {
        let mut line = self.lock();
        let asked = match &result {
            Ok(()) if !line.waiting.is_empty() => {
                drop(line);
                return self.go_on(into);
            }
            Ok(()) => line.asked.take(),
            Err(_) => {
                line.waiting.clear();
                line.asked.take()
            }
        };
        let unwanted = match (asked, result) {
            (Some(asked), result) => {
                line.state = State::Over;
                drop(line);
                asked.send(result.map(|()| into)).err()
            }
            (None, Ok(())) => {
                line.state = State::Idle(into);
                None
            }
            (None, Err(error)) => {
                line.state = State::Failed(error);
                drop(line);
                Some(Ok(into))
            }
        };
        drop(unwanted);
    }

    /// After a panic: nobody is to wait for what does not come.
    fn break_off(&self) {
        let mut line = self.lock();
        line.waiting.clear();
        line.asked = None;
        line.state = State::Over;
    }

    fn lock(&self) -> MutexGuard<'_, Line<T>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
