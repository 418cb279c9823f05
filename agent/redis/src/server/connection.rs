//! One connection to a server, shared by many: what is asked is written as it comes, many commands at once, and each reply goes to
//! whoever is next in line. One task owns the socket.
//!
//! ```text
//!   submit ─▶ queue ─▶ out ─▶ socket ─▶ Redis ─▶ socket ─▶ inbox ─▶ reply, in the order of the commands ─▶ target
//! ```
//! A reply is matched to its command by position and nothing else, so whatever is not certain about the stream ends the connection.
//! How it ended, and which commands had not been sent and which had, is handed back: only the caller knows what may be repeated.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use lamplighter_wire::redis::reply::{ReplyError, ReplyScanner};
use lamplighter_wire::redis::write;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Common;
use super::answers::Answers;
use super::command::{Command, Failure, Target};
use super::detour::{Detour, Detours, Verdict};
use super::handle::{COMMAND_WEIGHT, Handle, Load};
use super::stream::{Stream, push};
use crate::endpoint::{Data, LARGE, LOOKS_MAX, Outbox};

/// Bytes that may wait to be written before no more commands are taken over.
const OUT_MAX: usize = 4 * 1024 * 1024;

/// Commands of this size on are written as they are, not copied together with others.
const OUT_LARGE: usize = 64 * 1024;

/// Bytes asked from the socket at once.
const READ_SIZE: usize = 64 * 1024;

/// The reason of an end by silence.
pub(super) const SILENT: &str = "Redis did not answer in time";

/// What was left when a connection ended.
#[derive(Debug)]
pub(crate) struct Leftover {
    /// Why it ended.
    pub(crate) reason: &'static str,
    /// Not one byte of these was sent.
    pub(crate) unsent: Vec<Command>,
    /// These may have been executed.
    pub(crate) sent: Vec<Command>,
}

struct InFlight {
    command: Command,
    /// Replies that are still to come.
    left: u32,
    /// Where its first byte stands in the stream of all that was ever to be sent.
    begins: u64,
    since: Instant,
    /// Part of its reply has been passed on: there is no way back.
    passed: bool,
    verdict: Option<Verdict>,
}

/// The task's side of a connection.
pub(crate) struct Connection {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    queue: mpsc::Receiver<Vec<Command>>,
    load: Arc<Load>,
    detours: Detours,
    ping_interval: Duration,
    ping_timeout: Duration,
    answers: Answers,
    waiting: VecDeque<InFlight>,
    inbox: BytesMut,
    scanned: usize,
    scanner: ReplyScanner,
    out: VecDeque<Bytes>,
    tail: BytesMut,
    out_len: usize,
    accepted: u64,
    written: u64,
    unflushed: bool,
    heard: Instant,
    /// Whoever gets what answers no command.
    messages: Option<Arc<Outbox>>,
    /// Whoever does not read what has come.
    full: Option<Arc<Outbox>>,
    /// Clients that have got replies and are not told yet.
    untold: Vec<Arc<Outbox>>,
}

impl Connection {
    /// A connection over `stream`, logged in.
    pub(crate) fn new(stream: Stream, detours: Detours, common: &Common) -> (Handle, Self) {
        let (handle, queue, load) = Handle::new();
        let (reader, writer) = tokio::io::split(stream);
        let connection = Self {
            reader,
            writer,
            queue,
            load,
            detours,
            ping_interval: common.ping_interval,
            ping_timeout: common.ping_timeout,
            answers: Answers::new(&common.metrics.command_seconds, &common.lookout),
            waiting: VecDeque::new(),
            inbox: BytesMut::new(),
            scanned: 0,
            scanner: ReplyScanner::new(),
            out: VecDeque::new(),
            tail: BytesMut::new(),
            out_len: 0,
            accepted: 0,
            written: 0,
            unflushed: false,
            heard: Instant::now(),
            messages: None,
            full: None,
            untold: Vec::new(),
        };
        (handle, connection)
    }

    /// Runs until the connection ends, for whatever reason.
    pub(crate) async fn run(mut self) -> Leftover {
        let reason = self.serve().await;
        self.queue.close();
        let mut unsent = Vec::new();
        let mut sent = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            if waiting.passed {
                // the client has half a reply: nothing can be put behind it
                if let Target::Client { outbox, .. } = &waiting.command.target {
                    outbox.close();
                }
            } else if waiting.begins >= self.written {
                unsent.push(waiting.command);
            } else {
                sent.push(waiting.command);
            }
        }
        while let Ok(batch) = self.queue.try_recv() {
            unsent.extend(batch);
        }
        if let Some(outbox) = self.messages {
            outbox.close();
        }
        Leftover {
            reason,
            unsent,
            sent,
        }
    }

    async fn serve(&mut self) -> &'static str {
        let mut alarm = Box::pin(sleep_until(Instant::now() + self.ping_interval));
        let mut batches = Vec::new();
        let mut gathered = false;
        loop {
            if let Some(outbox) = self.full.take() {
                self.wait_for(&outbox).await;
                if let Err(error) = self.read_replies() {
                    return of_reply(error);
                }
                continue;
            }
            if self.load.retired.load(Ordering::Relaxed) && self.is_idle() {
                return "it was replaced";
            }
            if self.inbox.capacity() - self.inbox.len() < READ_SIZE / 4 {
                self.inbox.reserve(READ_SIZE);
            }
            tokio::select! {
                biased;
                read = self.reader.read_buf(&mut self.inbox) => {
                    match read {
                        Ok(0) => return "the server closed it",
                        Ok(_) => {}
                        Err(_) => return "it broke",
                    }
                    self.heard = Instant::now();
                    self.answers.heard();
                    if let Err(error) = self.read_replies() {
                        return of_reply(error);
                    }
                }
                count = self.queue.recv_many(&mut batches, 64), if self.out_len < OUT_MAX => {
                    if count == 0 {
                        // a connection of one client that has gone, perhaps in the middle of BLPOP, or wants to hear nothing more
                        self.messages = None;
                        return "nobody needs it";
                    }
                    let now = Instant::now();
                    for command in batches.drain(..).flatten() {
                        self.take_over(command, now);
                    }
                    self.rearm(&mut alarm, now);
                    self.answers.expect(self.is_owed());
                    // others are busy, too: those whose turn it is now share the write, and the server's read
                    if self.waiting.len() > 1 && !gathered {
                        gathered = true;
                        tokio::task::yield_now().await;
                    }
                }
                written = push(&mut self.writer, &mut self.out, &mut self.tail, &mut self.unflushed), if self.out_len > 0 || self.unflushed => {
                    gathered = false;
                    match written {
                        Ok(count) => {
                            self.out_len -= count;
                            self.written += u64::try_from(count).unwrap_or_default();
                        }
                        Err(_) => return "it broke",
                    }
                }
                () = alarm.as_mut() => {
                    if let Some(reason) = self.alarm() {
                        return reason;
                    }
                    let next = self.next_alarm(Instant::now());
                    alarm.as_mut().reset(next);
                }
            }
        }
    }

    /// Waits until a client has read some of what it got. One that reads nothing is given up as soon as that costs others
    /// something.
    async fn wait_for(&mut self, outbox: &Arc<Outbox>) {
        let mut idle = 0;
        while outbox.is_full() {
            if outbox.wait_for_room().await {
                idle = 0;
                continue;
            }
            idle += 1;
            if idle >= LOOKS_MAX && (self.keeps_waiting(outbox) || outbox.is_crowded()) {
                outbox.close();
            }
        }
        // it was not the server that was silent
        self.heard = Instant::now();
    }

    /// Whether anybody but the client of `outbox` waits for a reply.
    fn keeps_waiting(&self, outbox: &Arc<Outbox>) -> bool {
        let is_other = |waiting: &InFlight| match &waiting.command.target {
            Target::Client { outbox: other, .. } | Target::Messages(other) => {
                !Arc::ptr_eq(outbox, other)
            }
            Target::Nobody => false,
            Target::Part { .. } | Target::Task(_) => true,
        };
        !self.queue.is_empty() || self.waiting.iter().any(is_other)
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.messages.is_none() && self.queue.is_empty()
    }

    /// Whether each reply that comes is a message for the client that has the connection to itself.
    fn has_subscribed(&self) -> bool {
        let asks = |it: &InFlight| matches!(it.command.target, Target::Messages(_));
        self.messages.is_some() || self.waiting.iter().any(asks)
    }

    fn take_over(&mut self, command: Command, now: Instant) {
        let begins = self.accepted;
        let size = command.bytes.len();
        if matches!(command.target, Target::Task(_)) && self.has_subscribed() {
            // Redis would refuse it, and tell the client
            self.lighten(size + COMMAND_WEIGHT);
            let reason = Arc::from("the connection has subscribed");
            return command.fail(&Failure::Unreachable(reason), false);
        }
        self.accepted += u64::try_from(size).unwrap_or_default();
        self.out_len += size;
        if size >= OUT_LARGE {
            if !self.tail.is_empty() {
                self.out.push_back(self.tail.split().freeze());
            }
            self.out.push_back(command.bytes.clone());
        } else {
            self.tail.extend_from_slice(&command.bytes);
        }
        if command.replies == 0 {
            self.lighten(size + COMMAND_WEIGHT);
            return;
        }
        self.waiting.push_back(InFlight {
            left: command.replies,
            command,
            begins,
            since: now,
            passed: false,
            verdict: None,
        });
    }

    fn lighten(&self, weight: usize) {
        self.load.outstanding.fetch_sub(weight, Ordering::Relaxed);
    }

    /// When the alarm has to ring next.
    fn next_alarm(&self, now: Instant) -> Instant {
        match self.waiting.front() {
            None => (self.heard + self.ping_interval).max(now + Duration::from_millis(100)),
            Some(front) => match front.command.patience {
                Some(patience) => front.since.max(self.heard) + patience,
                None => now + self.ping_interval,
            },
        }
    }

    /// Sets the alarm earlier if the oldest command needs it.
    fn rearm(&self, alarm: &mut Pin<Box<Sleep>>, now: Instant) {
        let next = self.next_alarm(now);
        if next < alarm.deadline() {
            alarm.as_mut().reset(next);
        }
    }

    fn alarm(&mut self) -> Option<&'static str> {
        let now = Instant::now();
        match self.waiting.front() {
            Some(front) => match front.command.patience {
                Some(patience) if now >= front.since.max(self.heard) + patience => Some(SILENT),
                _ => None,
            },
            None => {
                // in a stream of messages the client pings, or nobody does
                if self.messages.is_none() && now >= self.heard + self.ping_interval {
                    let ping = Command {
                        patience: Some(self.ping_timeout),
                        ..Command::silent(write::request(&["PING"]))
                    };
                    self.load
                        .outstanding
                        .fetch_add(ping.bytes.len() + COMMAND_WEIGHT, Ordering::Relaxed);
                    self.take_over(ping, now);
                }
                None
            }
        }
    }

    /// Passes on what has come; each client is woken once for all it got.
    fn read_replies(&mut self) -> Result<(), ReplyError> {
        let passed = self.pass_on();
        for outbox in self.untold.drain(..) {
            outbox.tell();
        }
        self.answers.end_turn();
        self.answers.expect(self.is_owed());
        passed
    }

    /// Whether the server owes an answer that should come soon.
    fn is_owed(&self) -> bool {
        let front = self.waiting.front();
        front.is_some_and(|it| it.command.patience.is_some())
    }

    /// A reply for `outbox` is there, or a part of one.
    fn put(&mut self, outbox: Arc<Outbox>, place: u64, data: Data<'_>, done: bool) {
        let put = outbox.put(place, data, done);
        let is_last = |last: &Arc<Outbox>| Arc::ptr_eq(last, &outbox);
        if put.is_full {
            self.full = Some(Arc::clone(&outbox));
        }
        if put.has_news && !self.untold.last().is_some_and(is_last) {
            self.untold.push(outbox);
        }
    }

    fn pass_on(&mut self) -> Result<(), ReplyError> {
        while !self.inbox.is_empty() && self.full.is_none() {
            let new = self.inbox.get(self.scanned..).unwrap_or_default();
            let fed = self.scanner.feed(new)?;
            self.scanned += fed.consumed;
            if fed.complete {
                let length = std::mem::take(&mut self.scanned);
                self.load.midway.store(false, Ordering::Relaxed);
                self.reply(length)?;
                continue;
            }
            if self.scanned >= LARGE {
                self.load.midway.store(true, Ordering::Relaxed);
                self.pass_part();
            }
            break;
        }
        Ok(())
    }

    /// A reply of `length` bytes stands at the front of the inbox.
    fn reply(&mut self, length: usize) -> Result<(), ReplyError> {
        if let Some(outbox) = &self.messages {
            outbox.message(Data::Shared(self.inbox.split_to(length).freeze()));
            self.full = outbox.is_full().then(|| Arc::clone(outbox));
            return Ok(());
        }
        let first = self.inbox.first().copied().unwrap_or_default();
        let Some(front) = self.waiting.front_mut() else {
            if first == b'>' {
                self.inbox.advance(length);
                return Ok(());
            }
            return Err(ReplyError::Marker(first));
        };
        // what is pushed answers nothing, but for SUBSCRIBE in RESP3
        if first == b'>' && !matches!(front.command.target, Target::Messages(_)) {
            self.inbox.advance(length);
            return Ok(());
        }
        front.left -= 1;
        if front.left > 0 {
            if first == b'-' && front.verdict.is_none() {
                front.verdict = Verdict::of(self.inbox.get(..length).unwrap_or_default());
            }
            self.inbox.advance(length);
            return Ok(());
        }
        let Some(done) = self.waiting.pop_front() else {
            return Ok(());
        };
        self.lighten(done.command.bytes.len() + COMMAND_WEIGHT);
        let took = self.heard.saturating_duration_since(done.since);
        self.answers.came(took);
        if first == b'-' && !done.passed {
            let read = Verdict::reader(done.command.scripted);
            let said = self.inbox.get(..length).unwrap_or_default();
            if let Some(verdict) = done.verdict.or_else(|| read(said)) {
                if verdict.is_of_connection() {
                    self.load.retired.store(true, Ordering::Relaxed);
                }
                let reply = self.inbox.split_to(length).freeze();
                let detour = Detour {
                    command: done.command,
                    verdict,
                    reply,
                };
                self.detours.take(detour);
                return Ok(());
            }
        }
        self.deliver(done.command, length);
        Ok(())
    }

    fn deliver(&mut self, command: Command, length: usize) {
        match command.target {
            Target::Client {
                outbox,
                place,
                tally,
            } => {
                if let Some(tally) = tally {
                    tally.count(self.inbox.get(..length).unwrap_or_default());
                }
                let reply = self.inbox.split_to(length);
                if length < LARGE {
                    self.put(outbox, place, Data::Copied(&reply), true);
                } else {
                    self.put(outbox, place, Data::Shared(reply.freeze()), true);
                }
            }
            Target::Messages(outbox) => {
                outbox.message(Data::Shared(self.inbox.split_to(length).freeze()));
                self.messages = Some(outbox);
            }
            Target::Part { merge, index } => {
                merge.add(index, self.inbox.split_to(length).freeze());
            }
            Target::Task(sender) => {
                // whoever asked may have given up
                let _unheard = sender.send(Ok(self.inbox.split_to(length).freeze()));
            }
            Target::Nobody => self.inbox.advance(length),
        }
    }

    /// The inbox begins with a part of a large reply.
    fn pass_part(&mut self) {
        if let Some(outbox) = &self.messages {
            // a message goes whole
            let _large = outbox;
            return;
        }
        let Some(front) = self.waiting.front_mut() else {
            return;
        };
        if front.left > 1 {
            self.inbox.advance(self.scanned);
            self.scanned = 0;
            return;
        }
        match &front.command.target {
            Target::Client {
                outbox,
                place,
                tally,
            } if tally.as_ref().is_none_or(|tally| tally.is_single()) => {
                if !front.passed
                    && let Some(tally) = tally
                {
                    tally.hit();
                }
                front.passed = true;
                let (outbox, place) = (Arc::clone(outbox), *place);
                let part = self.inbox.split_to(self.scanned).freeze();
                self.scanned = 0;
                self.put(outbox, place, Data::Shared(part), false);
            }
            Target::Nobody => {
                self.inbox.advance(self.scanned);
                self.scanned = 0;
            }
            // these are put together when they are whole
            _ => {}
        }
    }
}

const fn of_reply(_: ReplyError) -> &'static str {
    "what came was no reply"
}
