//! Runs one command on a server connection: the request there, the reply back, both as streams of bounded size, and the
//! connection settled by what the reply said.

use bytes::{Bytes, BytesMut};
use lamplighter_wire::mysql::ProtocolError;
use lamplighter_wire::mysql::exchange::{Completion, Event, Exchange, Outcome, ReplyShape};
use lamplighter_wire::mysql::request::payload_prefix;
use lamplighter_wire::sql::Kind;

use super::{Flow, Held, Last, Session};
use crate::client::{Client, Request, RequestError};
use crate::error::StatementError;
use crate::hold::{After, HoldReason, Ran, after};
use crate::pool::{BusyLease, Lease};
use crate::route::Why;
use crate::server::Bucket;
use crate::variables::{Effect, effect_of};

/// One command to be run.
pub(super) struct Job<'a> {
    pub(super) request: Request,
    pub(super) shape: ReplyShape,
    pub(super) ran: Ran<'a>,
    /// Running it twice does no harm: it may be sent again if its connection was lost before it answered.
    pub(super) may_retry: bool,
}

/// Bytes gathered for the client before they are sent.
const REPLY_BUFFER: usize = 16 * 1024;

/// What a reply said, when its connection is idle again.
struct Report {
    after: After,
    last: Last,
    schema: Option<Bytes>,
}

/// How an exchange can break off. The server connection is closed in every case.
enum Failure {
    Server(std::io::Error),
    Protocol(ProtocolError),
    ClientGone,
}

/// A command that got no whole answer.
struct Lost {
    error: StatementError,
    /// Nothing reached the client, and the connection had been idle before: it may have been dead already.
    again: bool,
    /// The client has part of an answer, or we have part of its command: there is no place for an error packet.
    midway: bool,
}

impl Session<'_> {
    /// Runs `job` on the held connection, or on one of replica `replica`, or of the primary.
    pub(super) async fn run_on(
        &mut self,
        replica: Option<usize>,
        mut job: Job<'_>,
        why: Why,
    ) -> Flow {
        let (mut replica, mut why) = (replica, why);
        loop {
            let (lease, held) = match self.lease(&mut replica, &mut why).await {
                Ok(lease) => lease,
                Err(error) => {
                    return self
                        .fail(
                            Lost {
                                error,
                                again: false,
                                midway: job.request.rest.is_some(),
                            },
                            &job,
                            None,
                        )
                        .await;
                }
            };
            self.shared
                .metrics
                .routed
                .with_label_values(&[why.target_label(), why.label()])
                .inc();
            let is_pinned = held.is_some_and(|(_, pinned)| pinned);
            match self.run_leased(lease, &mut job, is_pinned).await {
                Ok((lease, report)) => return self.conclude(lease, held, &report),
                Err(Lost { again: true, .. }) if job.may_retry && held.is_none() => {
                    // the next connection is another one; a read that fails twice is told
                    job.may_retry = false;
                    self.shared.metrics.retries.inc();
                }
                Err(lost) => return self.fail(lost, &job, held).await,
            }
        }
    }

    /// As [`Session::run_on`] on a fresh lease of the primary whose diagnostics of an earlier client are cleared first.
    pub(super) async fn run_primed(&mut self, mut job: Job<'_>) -> Flow {
        let lease = match self.lease(&mut None, &mut Why::NotARead).await {
            Ok((lease, _)) => lease,
            Err(error) => {
                return self
                    .fail(
                        Lost {
                            error,
                            again: false,
                            midway: false,
                        },
                        &job,
                        None,
                    )
                    .await;
            }
        };
        let server = lease.pool().name().to_owned();
        let mut busy = lease.start();
        let lease = match busy.connection.run(b"DO 0").await {
            Ok(primed) => {
                let status = primed.status;
                busy.finish(|connection| connection.finish(primed.boundary, status, None))
            }
            Err(source) => {
                let error = StatementError::ServerLost { server, source };
                return self
                    .fail(
                        Lost {
                            error,
                            again: false,
                            midway: false,
                        },
                        &job,
                        None,
                    )
                    .await;
            }
        };
        match self.run_leased(lease, &mut job, false).await {
            Ok((lease, report)) => self.conclude(lease, None, &report),
            Err(lost) => self.fail(lost, &job, None).await,
        }
    }

    /// The held connection and why it is held, or one from a pool.
    async fn lease(
        &mut self,
        replica: &mut Option<usize>,
        why: &mut Why,
    ) -> Result<(Lease, Option<(HoldReason, bool)>), StatementError> {
        if let Some(Held {
            lease,
            reason,
            pinned,
        }) = self.take_hold()
        {
            return Ok((lease, Some((reason, pinned))));
        }
        let bucket = self.bucket();
        if let Some(index) = *replica {
            match self.shared.acquire_replica(index, &bucket).await {
                Ok(lease) => return Ok((lease, None)),
                Err(error) => {
                    tracing::debug!(%error, "replica not reached; the primary answers");
                    *replica = None;
                    *why = Why::ReplicaFailed;
                }
            }
        }
        Ok((self.shared.primary.acquire(&bucket).await?, None))
    }

    async fn run_leased(
        &mut self,
        lease: Lease,
        job: &mut Job<'_>,
        pinned: bool,
    ) -> Result<(Lease, Report), Lost> {
        let mut busy = lease.start();
        let server = busy.connection.capabilities();
        let mut exchange = Exchange::new(job.shape, self.identity.capabilities, server)
            .with_status(busy.connection.status());
        match relay(&mut self.client, &mut busy, &mut exchange, job).await {
            Ok(completion) => {
                let effect = self.understood(job, &completion, pinned);
                let ran = if effect.is_some() {
                    Ran::UnderstoodSet
                } else {
                    job.ran
                };
                if let Some(effect) = effect {
                    self.variables = self.variables.with(&effect);
                }
                let report = Report {
                    after: after(ran, &completion),
                    last: Last::of(&completion),
                    schema: completion.track.schema.clone(),
                };
                let Bucket {
                    capabilities,
                    variables,
                    ..
                } = self.bucket();
                let schema = report.schema.clone();
                let Completion {
                    boundary, status, ..
                } = completion;
                let lease = busy.finish(|mut connection| {
                    connection.set_capabilities(capabilities);
                    if !pinned {
                        connection.set_variables(variables);
                    }
                    connection.finish(boundary, status, schema)
                });
                Ok((lease, report))
            }
            Err(failure) => {
                let server = busy.pool().name().to_owned();
                let untouched = !exchange.anything_relayed();
                let error = match failure {
                    Failure::Server(source) => StatementError::ServerLost { server, source },
                    Failure::Protocol(source) => StatementError::Protocol { server, source },
                    Failure::ClientGone => StatementError::ClientGone,
                };
                let lost_early = matches!(error, StatementError::ServerLost { .. }) && untouched;
                Err(Lost {
                    again: lost_early && busy.connection.was_reused(),
                    midway: !untouched || job.request.rest.is_some(),
                    error,
                })
            }
        }
    }

    /// The effect of a SET that can be set again on any connection.
    fn understood(&self, job: &Job<'_>, completion: &Completion, pinned: bool) -> Option<Effect> {
        let Ran::Statement(statement) = job.ran else {
            return None;
        };
        let is_set = matches!(statement.kind, Kind::SetNames | Kind::SetVariables);
        let is_clean =
            matches!(completion.outcome, Outcome::Ok { .. }) && completion.warnings_last == 0;
        if !is_set || !is_clean || pinned || completion.results != 1 {
            return None;
        }
        let body = payload_prefix(&job.request.packets, self.shared.statement_size_max);
        let text = body.get(1..)?;
        let effect = effect_of(text, &completion.track)?;
        self.shared.learned.put(text, &effect);
        Some(effect)
    }

    fn conclude(
        &mut self,
        lease: Lease,
        held: Option<(HoldReason, bool)>,
        report: &Report,
    ) -> Flow {
        self.note_schema(report.schema.as_ref());
        self.last = report.last;
        let was_pinned = held.filter(|(_, pinned)| *pinned).map(|(reason, _)| reason);
        self.settle(lease, report.after, was_pinned);
        Flow::Continue
    }

    /// Tells the client, if there is a place for it. A client whose transaction or session state went with the connection is let
    /// go as MySQL would: it must not go on as if it still had them.
    async fn fail(&mut self, lost: Lost, job: &Job<'_>, held: Option<(HoldReason, bool)>) -> Flow {
        let had_state =
            held.is_some_and(|(reason, pinned)| pinned || reason == HoldReason::Transaction);
        let Some(packet) = lost.error.for_client() else {
            return Flow::End;
        };
        tracing::warn!("{}", lamplighter_core::fault::chain(&lost.error));
        if lost.midway {
            return Flow::End;
        }
        let flow = self.answer_error(&packet, job.request.reply_seq).await;
        if had_state { Flow::End } else { flow }
    }
}

impl Last {
    fn of(completion: &Completion) -> Self {
        let failed = matches!(completion.outcome, Outcome::Err { .. });
        let row_count = match completion.outcome {
            Outcome::Ok { affected_rows, .. } => i64::try_from(affected_rows).unwrap_or(i64::MAX),
            _ => -1,
        };
        Self {
            found_rows: completion.rows_last,
            row_count,
            diagnostics_lost: false,
            has_warnings: failed || completion.warnings_last > 0,
        }
    }
}

/// The request to the server, the reply to the client.
async fn relay(
    client: &mut Client,
    busy: &mut BusyLease,
    exchange: &mut Exchange,
    job: &mut Job<'_>,
) -> Result<Completion, Failure> {
    let server = &mut busy.connection;
    server
        .send(&job.request.packets)
        .await
        .map_err(Failure::Server)?;
    if job.request.rest.is_some() {
        send_rest(client, busy, &mut job.request).await?;
    }
    let mut out = BytesMut::new();
    let mut input = BytesMut::new();
    if job.shape == ReplyShape::None {
        return match exchange
            .feed(&[], &mut out)
            .map_err(Failure::Protocol)?
            .event
        {
            Event::Done(completion) => Ok(completion),
            Event::NeedMore | Event::LocalInfile { .. } => {
                Err(Failure::Protocol(ProtocolError::OutOfTurn("a reply")))
            }
        };
    }
    loop {
        input.clear();
        tokio::select! {
            biased;
            received = busy.connection.receive(&mut input) => received.map_err(Failure::Server)?,
            () = client.gone() => return Err(Failure::ClientGone),
        }
        match exchange
            .feed(&input, &mut out)
            .map_err(Failure::Protocol)?
            .event
        {
            Event::NeedMore => client
                .send(&mut out)
                .await
                .map_err(|_| Failure::ClientGone)?,
            Event::LocalInfile { .. } => {
                client
                    .send(&mut out)
                    .await
                    .map_err(|_| Failure::ClientGone)?;
                upload(client, busy, exchange).await?;
            }
            Event::Done(completion) => {
                // a client that is gone by now is found out by the next read; its connection is clean all the same
                let _sent = client.send(&mut out).await;
                return Ok(completion);
            }
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
        let complete = client
            .continue_request(scanner, &mut chunk)
            .await
            .map_err(|error| match error {
                RequestError::Gone => Failure::ClientGone,
                RequestError::Protocol(error) => Failure::Protocol(error),
            })?;
        busy.connection
            .send(&chunk)
            .await
            .map_err(Failure::Server)?;
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
        let bytes = client.next_bytes().await.map_err(|_| Failure::ClientGone)?;
        out.clear();
        let complete = scanner.feed(&bytes, &mut out).map_err(Failure::Protocol)?;
        busy.connection.send(&out).await.map_err(Failure::Server)?;
        if complete {
            return exchange.infile_sent().map_err(Failure::Protocol);
        }
    }
}
