//! One client from its first byte to its last. Reads requests while there is room for their replies, writes replies as they come, and
//! holds no buffer while nothing happens. Touches the client's socket.

mod keyed;
mod large;
mod private;
mod requests;
mod ruled;
mod spread;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::Stream;
use lamplighter_wire::redis::Protocol;
use lamplighter_wire::redis::request::{Progress, RequestScanner, inline_arguments};
use lamplighter_wire::redis::write;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::listener::Shared;
use super::local::Who;
use super::outbox::{Outbox, Output};
use super::transaction::Transaction;
use crate::server::{Command, Handle, Private, Refused, Server, unreachable};

/// Bytes that a client may send ahead while it is only listened to.
const AHEAD_MAX: usize = 64 * 1024;

/// Requests without a reply that a client may have before no more are read from it.
const WINDOW: usize = 1024;

/// Bytes of replies that wait for a client before no more requests are read from it.
const HELD: usize = 1024 * 1024;

/// A request that is longer than this and not yet whole is passed on as it comes.
const LARGE_REQUEST: usize = 1024 * 1024;

/// What the session does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    /// Looks at the next request.
    Next,
    /// Reads more.
    Read,
    /// Waits until replies have come or have been read.
    Wait,
    /// Waits until every reply has been passed on, then looks at the request again.
    Settle,
    /// The request at hand is too long to be held.
    Large,
    /// Ends when everything has been passed on.
    Close,
}

/// A connection that has commands of this client on it.
#[derive(Debug)]
struct Lane {
    server: Arc<Server>,
    slow: bool,
    handle: Arc<Handle>,
    batch: Vec<Command>,
}

/// A client.
pub(crate) struct Session {
    stream: Stream,
    inbox: BytesMut,
    scanner: RequestScanner,
    outbox: Arc<Outbox>,
    output: Output,
    shared: Arc<Shared>,
    who: Who,
    lanes: Vec<Lane>,
    transaction: Option<Box<Transaction>>,
    private: Option<Private>,
    /// The private connection sends messages.
    subscribed: bool,
    /// The private connection watches keys.
    watching: bool,
    /// What was asked last must be answered before anything else is asked.
    alone: bool,
    /// A part of the agent.
    internal: bool,
}

/// What woke the session.
enum Event {
    Read,
    Wrote(usize),
    News,
    Room,
    Drain,
    Gone,
}

impl Session {
    pub(crate) fn new(stream: Stream, shared: Arc<Shared>, id: u64, internal: bool) -> Self {
        let known = internal || shared.password.is_none();
        Self {
            stream,
            inbox: BytesMut::new(),
            scanner: RequestScanner::new(),
            outbox: Arc::new(Outbox::new(Arc::clone(&shared.unread))),
            output: Output::default(),
            shared,
            who: Who {
                id,
                protocol: Protocol::Resp2,
                name: Vec::new(),
                known,
            },
            lanes: Vec::new(),
            transaction: None,
            private: None,
            subscribed: false,
            watching: false,
            alone: false,
            internal,
        }
    }

    /// Lives until the client or the agent leaves.
    pub(crate) async fn run(mut self, tasks: &Tasks) {
        let mut draining = pin!(tasks.draining());
        let mut stopping = pin!(tasks.stopping());
        let outbox = Arc::clone(&self.outbox);
        let mut flow = Flow::Read;
        loop {
            if !matches!(flow, Flow::Close) {
                flow = self.work(flow).await;
            }
            if self.output.0.is_empty() {
                outbox.take(&mut self.output);
            }
            let settled = self.output.0.is_empty() && outbox.outstanding() == 0;
            match flow {
                Flow::Close if settled => break,
                Flow::Settle if settled => continue,
                Flow::Large if settled => {
                    flow = Box::pin(self.pass_large()).await;
                    continue;
                }
                _ => {}
            }
            if outbox.is_closed() {
                break;
            }
            let mut news = pin!(outbox.news());
            let full = self.lanes.iter().find(|lane| !lane.batch.is_empty());
            let full = full.map(|lane| Arc::clone(&lane.handle));
            let mut room = pin!(async {
                match &full {
                    Some(handle) => handle.room().await,
                    None => std::future::pending().await,
                }
            });
            let may_leave = settled && self.may_leave();
            let event = std::future::poll_fn(|cx| {
                if let Poll::Ready(event) = self.poll_io(cx, flow, full.is_some()) {
                    return Poll::Ready(event);
                }
                // also while a write waits: the client may have been given up
                if news.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Event::News);
                }
                if full.is_some() && room.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Event::Room);
                }
                if stopping.as_mut().poll(cx).is_ready()
                    || may_leave && draining.as_mut().poll(cx).is_ready()
                {
                    return Poll::Ready(Event::Drain);
                }
                Poll::Pending
            })
            .await;
            match event {
                Event::Gone | Event::Drain => break,
                Event::Wrote(count) => {
                    self.output.0.advance(count);
                    outbox.written(count);
                    flow = Self::on(flow);
                }
                Event::Read => flow = Flow::Next,
                Event::News | Event::Room => flow = Self::on(flow),
            }
        }
        self.outbox.close();
        self.shared.leases.release(self.who.id);
    }

    /// What follows when something has moved.
    const fn on(flow: Flow) -> Flow {
        match flow {
            Flow::Wait => Flow::Next,
            other => other,
        }
    }

    /// Whether nothing is lost if the connection ends now.
    fn may_leave(&self) -> bool {
        !self.internal
            && self.inbox.is_empty()
            && self.transaction.is_none()
            && (self.private.is_none() || self.subscribed)
    }

    /// Looks at what has come, and hands over what is to be sent.
    async fn work(&mut self, flow: Flow) -> Flow {
        let next = match flow {
            Flow::Next | Flow::Settle => self.requests().await,
            other => other,
        };
        self.hand_over().await;
        next
    }

    async fn requests(&mut self) -> Flow {
        if self.outbox.outstanding() == 0 {
            self.lanes.retain(|lane| !lane.batch.is_empty());
            self.alone = false;
            self.let_go();
        }
        loop {
            if self.alone {
                return Flow::Wait;
            }
            if self.inbox.is_empty() {
                // an idle client keeps no buffer
                if self.inbox.capacity() > 0 {
                    self.inbox = BytesMut::new();
                }
                return Flow::Read;
            }
            if self.outbox.is_behind(WINDOW, HELD) {
                return Flow::Wait;
            }
            match self.scanner.feed(&self.inbox) {
                Ok(Progress::NeedMore) if self.inbox.len() > LARGE_REQUEST => return Flow::Large,
                Ok(Progress::NeedMore) => return Flow::Read,
                Ok(Progress::Inline(length)) => {
                    if let Err(error) = self.unfold(length) {
                        self.outbox.answer(write::error(&format!("ERR {error}")));
                        return Flow::Close;
                    }
                }
                Ok(Progress::Complete(length)) => match self.request(length).await {
                    Flow::Next => {}
                    other => return other,
                },
                Err(error) => {
                    self.outbox.answer(write::error(&format!("ERR {error}")));
                    return Flow::Close;
                }
            }
        }
    }

    /// Puts an array in the place of a line.
    fn unfold(
        &mut self,
        length: usize,
    ) -> Result<(), lamplighter_wire::redis::request::RequestError> {
        let line = self.inbox.split_to(length);
        self.scanner.reset();
        let arguments = inline_arguments(&line)?;
        if !arguments.is_empty() {
            let mut folded = BytesMut::from(&write::request(&arguments)[..]);
            folded.unsplit(std::mem::take(&mut self.inbox));
            self.inbox = folded;
        }
        Ok(())
    }

    /// Hands the batches over; what a full connection does not take stays and is tried again.
    async fn hand_over(&mut self) {
        let mut back = Vec::new();
        for lane in &mut self.lanes {
            if lane.batch.is_empty() {
                continue;
            }
            match lane.handle.try_submit(std::mem::take(&mut lane.batch)) {
                Ok(()) => {}
                Err(Refused::Full(batch)) => lane.batch = batch,
                Err(Refused::Closed(batch)) => back.extend(batch),
            }
        }
        if back.is_empty() {
            return;
        }
        self.lanes.retain(|lane| lane.handle.is_open());
        let private = self.private.is_some();
        let router = Arc::clone(&self.shared.router);
        Box::pin(async move {
            for command in back {
                if private || command.detours > 0 {
                    router.fail(command, &unreachable("its connection was lost"));
                } else {
                    // not a byte of it was sent
                    router.send(command).await;
                }
            }
        })
        .await;
    }

    /// Writes what is ready, and reads if that is what the session waits for.
    fn poll_io(&mut self, cx: &mut Context<'_>, flow: Flow, full: bool) -> Poll<Event> {
        if !self.output.0.is_empty()
            && let Poll::Ready(wrote) = self.poll_write(cx)
        {
            return Poll::Ready(wrote);
        }
        // while a command waits for data the client is listened to, lest it leaves unnoticed
        let listens = flow == Flow::Wait && self.alone && self.inbox.len() < AHEAD_MAX;
        if flow == Flow::Read && !full || listens {
            return self.poll_read(cx);
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        match Pin::new(&mut self.stream).poll_write(cx, &self.output.0) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(count)) if count > 0 => Poll::Ready(Event::Wrote(count)),
            Poll::Ready(_) => Poll::Ready(Event::Gone),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // a client that says nothing takes no room
        let mut space = self.shared.space();
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(_)) => return Poll::Ready(Event::Gone),
            Poll::Ready(Ok(())) => {}
        }
        if buffer.filled().is_empty() {
            return Poll::Ready(Event::Gone);
        }
        self.inbox.extend_from_slice(buffer.filled());
        self.shared.lookout().note();
        Poll::Ready(Event::Read)
    }
}
