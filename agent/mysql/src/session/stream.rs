//! The bytes of one command and its reply, as streams of bounded size in both directions: what comes from one side goes to the
//! other before more is read.

use std::time::Instant;

use bytes::BytesMut;
use lamplighter_wire::mysql::ProtocolError;
use lamplighter_wire::mysql::exchange::{Completion, Event, Exchange, ReplyShape};

use super::delivery::with_patience;
use super::refusal::{Refusal, Withhold};
use super::relay::Job;
use crate::client::{Client, Request, RequestError};
use crate::error::OpenError;
use crate::pool::BusyLease;

/// Bytes gathered for the client before they are sent.
const REPLY_BUFFER: usize = 16 * 1024;

/// How an exchange can break off. The server connection is closed in every case.
pub(super) enum Failure {
    Server(std::io::Error),
    Protocol(ProtocolError),
    /// What had to go in front of the command was refused.
    Ahead(OpenError),
    ClientGone,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Server(error)
    }
}

/// What has become of a reply on its way to the client.
pub(super) struct Reply {
    /// Such an error, as the first thing the server says, is not passed on.
    pub(super) withhold: Withhold,
    /// The client has some of it.
    pub(super) relayed: bool,
}

/// A reply to its end.
pub(super) enum Answered {
    /// The client has it.
    Passed(Completion),
    /// It is an error that the client need not know of.
    Withheld(Completion, Refusal),
}

/// The request to the server, the reply to the client. `before_end` hears how the reply ends before the client does: what others may
/// do with that knowledge comes after.
pub(super) async fn relay(
    (client, busy): (&mut Client, &mut BusyLease),
    exchange: &mut Exchange,
    job: &mut Job<'_>,
    reply: &mut Reply,
    before_end: impl AsyncFnOnce(&Completion),
) -> Result<Answered, Failure> {
    busy.connection.send(&job.request.packets).await?;
    if job.request.rest.is_some() {
        Box::pin(send_rest(client, busy, &mut job.request)).await?;
    }
    busy.connection
        .receive_ahead()
        .await
        .map_err(|error| match error {
            OpenError::Io(error) => Failure::Server(error),
            refused => Failure::Ahead(refused),
        })?;
    busy.connection.begin_last_reply();
    // what went in front may have changed it
    exchange.note_status(busy.connection.status());
    if job.shape == ReplyShape::None {
        return without_reply(exchange);
    }
    let mut out = BytesMut::new();
    let mut input = BytesMut::new();
    let begun = Instant::now();
    if let Some(budget) = busy.pool().look_budget() {
        busy.connection.look_for_answer(budget)?;
    }
    let mut is_first = true;
    loop {
        input.clear();
        tokio::select! {
            biased;
            received = busy.connection.receive(&mut input) => received?,
            () = client.gone() => return Err(Failure::ClientGone),
        }
        if std::mem::take(&mut is_first) {
            busy.pool().nearness().note(begun.elapsed());
        }
        let event = exchange
            .feed(&input, &mut out)
            .map_err(Failure::Protocol)?
            .event;
        if let Event::Done(completion) = event {
            if !reply.relayed
                && let Some(refusal) = reply.withhold.judge(&completion.outcome)
            {
                return Ok(Answered::Withheld(completion, refusal));
            }
            before_end(&completion).await;
            reply.relayed = true;
            // a client that is gone by now is found out by the next read; its connection is clean all the same
            let _sent = with_patience(busy.pool(), client.send(&mut out)).await?;
            return Ok(Answered::Passed(completion));
        }
        if !reply.relayed && !out.is_empty() {
            reply.relayed = true;
            busy.connection.set_harmless(false);
        }
        with_patience(busy.pool(), client.send(&mut out))
            .await?
            .map_err(|_| Failure::ClientGone)?;
        if matches!(event, Event::LocalInfile { .. }) {
            Box::pin(upload(client, busy, exchange)).await?;
        }
    }
}

/// The end of an exchange in which the server says nothing.
fn without_reply(exchange: &mut Exchange) -> Result<Answered, Failure> {
    let fed = exchange.feed(&[], &mut BytesMut::new());
    match fed.map_err(Failure::Protocol)?.event {
        Event::Done(completion) => Ok(Answered::Passed(completion)),
        Event::NeedMore | Event::LocalInfile { .. } => {
            Err(Failure::Protocol(ProtocolError::OutOfTurn("a reply")))
        }
    }
}

/// The rest of a command too large to be held, as the client sends it.
async fn send_rest(
    client: &mut Client,
    busy: &mut BusyLease,
    request: &mut Request,
) -> Result<(), Failure> {
    let Some(scanner) = &mut request.rest else {
        return Ok(());
    };
    let mut chunk = BytesMut::new();
    loop {
        chunk.clear();
        let complete = with_patience(busy.pool(), client.continue_request(scanner, &mut chunk))
            .await?
            .map_err(|error| match error {
                RequestError::Gone => Failure::ClientGone,
                RequestError::Protocol(error) => Failure::Protocol(error),
            })?;
        busy.connection.send(&chunk).await?;
        if complete {
            request.reply_seq = scanner.reply_seq();
            request.rest = None;
            return Ok(());
        }
    }
}

/// LOAD DATA LOCAL: the client's file, as it sends it.
async fn upload(
    client: &mut Client,
    busy: &mut BusyLease,
    exchange: &mut Exchange,
) -> Result<(), Failure> {
    let mut scanner = exchange.infile_upload();
    let mut out = BytesMut::with_capacity(REPLY_BUFFER);
    loop {
        let bytes = with_patience(busy.pool(), client.next_bytes())
            .await?
            .map_err(|_| Failure::ClientGone)?;
        out.clear();
        let complete = scanner.feed(&bytes, &mut out).map_err(Failure::Protocol)?;
        busy.connection.send_file(&out).await?;
        if complete {
            return exchange.infile_sent().map_err(Failure::Protocol);
        }
    }
}
