//! A client's replies in the order of its requests, whatever the order and the servers they come from. In memory only.
//!
//! Each request has a place; replies wait in theirs until all before them are there. Finished small replies are gathered in one
//! buffer, so that a pipeline is answered with one write.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

/// Replies from this size on are passed on as they are, not copied together with others.
pub(crate) const LARGE: usize = 16 * 1024;

/// Bytes a client may leave unread before whoever brings more waits for it.
const HELD_MAX: usize = 16 * 1024 * 1024;

/// How long [`Outbox::wait_for_room`] waits. A quarter of what a client has, so that a machine that stood still for a while
/// does not count as a client that does not read.
const LOOK: Duration = Duration::from_millis(250);

/// Looks without a byte read while others wait behind the client's replies; then it is closed.
pub(crate) const LOOKS_MAX: u8 = 4;

/// A part of a reply.
#[derive(Debug)]
pub(crate) enum Data<'a> {
    Copied(&'a [u8]),
    Shared(Bytes),
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Copied(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }
}

/// What a reply has changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Put {
    /// Something can be written: [`Outbox::tell`] is due.
    pub(crate) has_news: bool,
    /// More has come than the client may leave unread.
    pub(crate) is_full: bool,
}

/// Bytes that all clients together may leave unread before those with more than [`SHARE`] count as full.
const TOTAL_MAX: usize = 256 * 1024 * 1024;

/// What each client may leave unread however much all of them do.
const SHARE: usize = 1024 * 1024;

/// The replies of one client.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Bytes of all clients.
    total: Arc<AtomicUsize>,
    state: Mutex<State>,
    /// Wakes the session: something can be written.
    news: Notify,
    /// Wakes whoever waits for the client to read.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the first place.
    first: u64,
    places: VecDeque<Place>,
    ready: VecDeque<Segment>,
    /// Bytes in `ready` and in the places.
    held: usize,
    closed: bool,
}

#[derive(Debug, Default)]
struct Place {
    parts: Vec<Bytes>,
    done: bool,
}

#[derive(Debug)]
enum Segment {
    Gathered(BytesMut),
    Large(Bytes),
}

impl Outbox {
    /// An empty one; `total` counts the bytes of all clients.
    pub(crate) fn new(total: Arc<AtomicUsize>) -> Self {
        Self {
            total,
            ..Self::default()
        }
    }

    /// A place for the reply to the request that has just been read.
    pub(crate) fn reserve(&self) -> u64 {
        let mut state = self.lock();
        state.places.push_back(Place::default());
        state.first + u64::try_from(state.places.len()).unwrap_or(u64::MAX) - 1
    }

    /// A reply of the endpoint's own to the request that has just been read.
    pub(crate) fn answer(&self, reply: Bytes) {
        let mut state = self.lock();
        if state.places.is_empty() {
            self.count(reply.len());
            state.ready(Data::Shared(reply));
        } else {
            self.count(reply.len());
            state.held += reply.len();
            state.places.push_back(Place {
                parts: vec![reply],
                done: true,
            });
        }
    }

    /// A message that answers no request.
    pub(crate) fn message(&self, message: Data<'_>) {
        let mut state = self.lock();
        if !state.closed {
            self.count(message.len());
            state.ready(message);
            drop(state);
            self.news.notify_one();
        }
    }

    /// Adds to the reply in place `number`; `done` says that it is the last part.
    pub(crate) fn add(&self, number: u64, data: Data<'_>, done: bool) {
        if self.put(number, data, done).has_news {
            self.tell();
        }
    }

    /// As [`Self::add`], and wakes nobody: whoever puts many replies tells of them once.
    pub(crate) fn put(&self, number: u64, data: Data<'_>, done: bool) -> Put {
        let mut state = self.lock();
        let at = number.checked_sub(state.first);
        let has_news = match at.and_then(|at| usize::try_from(at).ok()) {
            Some(at) if !state.closed => self.place(&mut state, at, data, done),
            _ => false,
        };
        Put {
            has_news,
            is_full: self.is_too_much(&state),
        }
    }

    /// Wakes the session: something can be written.
    pub(crate) fn tell(&self) {
        self.news.notify_one();
    }

    /// Whether something can be written now that could not before.
    fn place(&self, state: &mut State, at: usize, data: Data<'_>, done: bool) -> bool {
        if at == 0 {
            self.count(data.len());
            state.ready(data);
            if done {
                state.pop();
                state.promote();
            }
            return true;
        }
        if let Some(place) = state.places.get_mut(at) {
            place.done = done;
            let size = data.len();
            place.parts.push(match data {
                Data::Copied(bytes) => Bytes::copy_from_slice(bytes),
                Data::Shared(bytes) => bytes,
            });
            state.held += size;
            self.count(size);
        }
        false
    }

    fn count(&self, size: usize) {
        self.total.fetch_add(size, Ordering::Relaxed);
    }

    /// Moves what can be written to `out`, at most one large reply or what was gathered before it. True if there was any.
    pub(crate) fn take(&self, out: &mut Output) -> bool {
        let mut state = self.lock();
        let Some(segment) = state.ready.pop_front() else {
            return false;
        };
        *out = match segment {
            Segment::Gathered(bytes) => Output(bytes.freeze()),
            Segment::Large(bytes) => Output(bytes),
        };
        true
    }

    /// `count` bytes have been written.
    pub(crate) fn written(&self, count: usize) {
        let mut state = self.lock();
        let count = count.min(state.held);
        state.held -= count;
        self.total.fetch_sub(count, Ordering::Relaxed);
        drop(state);
        self.room.notify_waiters();
    }

    /// Requests without a whole reply.
    pub(crate) fn outstanding(&self) -> usize {
        self.lock().places.len()
    }

    #[cfg(test)]
    /// Bytes that wait for the client.
    pub(crate) fn held(&self) -> usize {
        self.lock().held
    }

    /// Resolves when there may be something to write.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// The client is gone: what comes for it is dropped from here on.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.ready.clear();
        state.places.clear();
        self.total.fetch_sub(state.held, Ordering::Relaxed);
        state.held = 0;
        drop(state);
        self.room.notify_waiters();
        self.news.notify_one();
    }

    /// Whether the client is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Whether more has come for the client than it may leave unread.
    pub(crate) fn is_full(&self) -> bool {
        self.is_too_much(&self.lock())
    }

    fn is_too_much(&self, state: &State) -> bool {
        !state.closed && (state.held > HELD_MAX || state.held > SHARE && self.is_crowded())
    }

    /// Whether the client has as many as `requests` without a whole reply, or left so many `bytes` unread.
    pub(crate) fn is_behind(&self, requests: usize, bytes: usize) -> bool {
        let state = self.lock();
        state.places.len() >= requests || state.held >= bytes
    }

    /// Waits until the client has read some; false if it has read nothing for [`LOOK`].
    pub(crate) async fn wait_for_room(&self) -> bool {
        let room = self.room.notified();
        !self.is_full() || tokio::time::timeout(LOOK, room).await.is_ok()
    }

    /// Whether all clients together have left so much unread that one that does not read is not waited for.
    pub(crate) fn is_crowded(&self) -> bool {
        self.total.load(Ordering::Relaxed) > TOTAL_MAX
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ready(&mut self, data: Data<'_>) {
        self.held += data.len();
        self.gather(data);
    }

    fn gather(&mut self, data: Data<'_>) {
        match data {
            Data::Shared(bytes) if bytes.len() >= LARGE => {
                self.ready.push_back(Segment::Large(bytes));
            }
            Data::Shared(bytes) => self.gather_small(&bytes),
            Data::Copied(bytes) => self.gather_small(bytes),
        }
    }

    fn gather_small(&mut self, bytes: &[u8]) {
        match self.ready.back_mut() {
            Some(Segment::Gathered(buffer)) => buffer.extend_from_slice(bytes),
            _ => {
                let mut buffer = BytesMut::with_capacity(bytes.len().max(256));
                buffer.extend_from_slice(bytes);
                self.ready.push_back(Segment::Gathered(buffer));
            }
        }
    }

    fn pop(&mut self) {
        self.places.pop_front();
        self.first += 1;
        // an idle client keeps no room
        if self.places.is_empty() && self.places.capacity() > 64 {
            self.places = VecDeque::new();
        }
    }

    /// The place at the front has changed: what is finished from there on can be written.
    fn promote(&mut self) {
        while let Some(place) = self.places.front_mut() {
            let done = place.done;
            for part in std::mem::take(&mut place.parts) {
                self.gather(Data::Shared(part));
            }
            if !done {
                break;
            }
            self.pop();
        }
    }
}

/// Bytes on their way into a client's socket.
#[derive(Debug, Default)]
pub(crate) struct Output(pub(crate) Bytes);

#[cfg(test)]
mod tests;
