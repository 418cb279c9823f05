//! Runs one command on a server connection: the request there, the reply back, both as streams of bounded size, and the
//! connection settled by what the reply said.

use std::sync::Arc;
use std::time::Instant;

use lamplighter_wire::mysql::attributes::query_text_at;
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{Completion, Exchange, Outcome, ReplyShape};
use lamplighter_wire::mysql::request::payload_prefix;
use lamplighter_wire::mysql::response::ErrPacket;
use lamplighter_wire::sql::{Kind, Traits};

use super::consistency::Way;
use super::execution::{Execution, error_of};
use super::insert_id::change_of_insert_id;
use super::lease::Leased;
use super::priming::Prime;
use super::refusal::{Refusal, Refused, Withhold, packet_of, shows_no_primary};
use super::stream::{Answered, Failure, Reply, relay};
use super::{Flow, Session};
use crate::cancel::What;
use crate::client::Request;
use crate::error::StatementError;
use crate::hold::{Context, HoldReason, Ran};
use crate::insert_id::{OfSession, There};
use crate::pool::BusyLease;
use crate::server::Bucket;
use crate::statistics::Place;
use crate::variables::{Effect, effect_of};

/// One command to be run.
pub(super) struct Job<'a> {
    pub(super) request: Request,
    pub(super) shape: ReplyShape,
    pub(super) ran: Ran<'a>,
    /// Running it twice does no harm: it may be sent again if its connection was lost before it answered.
    pub(super) may_retry: bool,
    /// For commands about a prepared statement.
    pub(super) execution: Option<Execution>,
    /// It may read LAST_INSERT_ID().
    pub(super) reads_insert_id: bool,
    /// How many warnings its OK tells of, if not as many as the server says.
    pub(super) warnings: Option<u16>,
    pub(super) prime: Prime,
}

impl<'a> Job<'a> {
    /// A command that is no statement.
    pub(super) const fn command(request: Request, shape: ReplyShape, command: Command) -> Self {
        Self {
            request,
            shape,
            ran: Ran::Command(command),
            may_retry: false,
            execution: None,
            reads_insert_id: false,
            warnings: None,
            prime: Prime::Nothing,
        }
    }
}

/// A command that got no whole answer.
pub(super) struct Lost {
    pub(super) error: StatementError,
    /// Nothing reached the client: what does no harm twice may be asked again elsewhere.
    pub(super) again: bool,
    /// The client has part of an answer, or we have part of its command: there is no place for an error packet.
    pub(super) midway: bool,
}

/// What became of a command.
enum Ended {
    /// The client has its answer.
    Answered,
    /// The server did nothing: it is no primary. Until when another one is worth waiting for.
    Refused(ErrPacket, tokio::time::Instant),
    Lost(Lost),
}

impl Lost {
    pub(super) const fn early(error: StatementError) -> Self {
        Self {
            error,
            again: false,
            midway: false,
        }
    }
}

impl Session<'_> {
    /// Runs `job` on the held connection, or where `way` leads.
    pub(super) async fn run_on(&mut self, mut way: Way, mut job: Job<'_>) -> Flow {
        let may_write = !job.may_retry;
        let mut refused: Option<Refused> = None;
        loop {
            let until = refused.as_ref().map(|refused| refused.until);
            let leased = match self.lease(&mut way, &job, until).await {
                Ok(leased) => leased,
                Err((error, had_state)) => {
                    return self.no_lease(error, had_state, &job, refused).await;
                }
            };
            self.note_route(&way);
            let had_state = leased.has_state();
            let alone_knew = leased.insert_id.is_there() || may_write;
            let withhold = match job.prime {
                // what it asks about is on this connection and nowhere else
                Prime::Question => Withhold::default(),
                _ => Withhold::of(&job, had_state, self.variables.are_read_only()),
            };
            if self.misleads(&leased, job.ran) {
                job.prime = Prime::Program;
            }
            let leased = match job.prime {
                Prime::Nothing => Ok(leased),
                _ => self.primed(leased, &mut job).await,
            };
            let ended = match leased {
                Ok(leased) => self.run_leased(leased, &mut job, withhold).await,
                Err(lost) => Ended::Lost(lost),
            };
            match ended {
                Ended::Answered => return Flow::Continue,
                Ended::Refused(packet, deadline) => {
                    let refused = Refused::again(&mut refused, packet, deadline);
                    if !refused.pause().await {
                        let packet = refused.packet.clone();
                        return self.answer_error(&packet, job.request.reply_seq).await;
                    }
                    self.shared.metrics.resent.inc();
                }
                Ended::Lost(Lost { again: true, .. }) if job.may_retry && !had_state => {
                    self.lose_connection(alone_knew);
                    // the next connection is another one; a read that fails twice is told
                    job.may_retry = false;
                    self.shared.metrics.retries.inc();
                }
                Ended::Lost(lost) => {
                    self.lose_connection(alone_knew);
                    return self.fail_job(lost, &job, had_state).await;
                }
            }
        }
    }

    fn note_route(&mut self, way: &Way) {
        self.shared.metrics.routed.count(way.why);
        self.tally.place = if way.replica.is_some() {
            Place::Replica
        } else {
            Place::Primary
        };
    }

    /// No connection for `job`. What a server has said of it before is the more honest answer.
    async fn no_lease(
        &mut self,
        error: StatementError,
        had_state: bool,
        job: &Job<'_>,
        refused: Option<Refused>,
    ) -> Flow {
        if let Some(refused) = refused {
            tracing::warn!("{}", lamplighter_core::fault::chain(&error));
            return self
                .answer_error(&refused.packet, job.request.reply_seq)
                .await;
        }
        let lost = Lost {
            midway: job.request.rest.is_some(),
            ..Lost::early(error)
        };
        self.fail_job(lost, job, had_state).await
    }

    /// A connection broke. What only it knew of this session nobody knows now; the client may go on without.
    pub(super) fn lose_connection(&mut self, knew_insert_id: bool) {
        self.last.lose();
        if knew_insert_id {
            self.note_lost_writes();
            self.insert_id = OfSession::lost();
        }
    }

    /// As [`Session::fail`]; a command without a reply has no place for an error either.
    async fn fail_job(&mut self, lost: Lost, job: &Job<'_>, had_state: bool) -> Flow {
        match (&job.execution, lost.error.for_client()) {
            (Some(execution), Some(packet)) if job.shape == ReplyShape::None && !lost.midway => {
                tracing::warn!("{}", lamplighter_core::fault::chain(&lost.error));
                self.defer(execution, packet);
                if had_state { Flow::End } else { Flow::Continue }
            }
            _ => self.fail(lost, job.request.reply_seq, had_state).await,
        }
    }

    async fn run_leased(&mut self, leased: Leased, job: &mut Job<'_>, withhold: Withhold) -> Ended {
        let Leased {
            lease,
            mut ties,
            insert_id,
            before,
        } = leased;
        let knew_insert_id =
            insert_id.is_there() || lease.connection.insert_id().is_of(&self.insert_id);
        let mut busy = lease.start();
        let completion = match self.exchange_killable(&mut busy, job, withhold).await {
            Ok(Answered::Passed(completion)) => completion,
            Ok(Answered::Withheld(refused, _)) => {
                return self.leave_server(busy, refused, insert_id, before).await;
            }
            Err(lost) => return Ended::Lost(lost),
        };
        self.note_no_primary(&busy, &completion.outcome);
        let effect = self.understood(job, &completion, ties.is_forever());
        let context = Context {
            schema: self.identity.schema.as_ref(),
            autocommit_off: effect.as_ref().map_or_else(
                || self.variables.autocommit_is_off(),
                |effect| self.variables.with(effect).autocommit_is_off(),
            ),
        };
        let was_forever = ties.is_forever();
        let ran = match &effect {
            Some(_) => Ran::UnderstoodSet,
            None => job.ran,
        };
        ties.note(ran, &completion, context);
        if let Some(effect) = effect {
            self.variables = self.variables.with(&effect);
        }
        let change = change_of_insert_id(ran, &completion, knew_insert_id);
        let insert_id = busy
            .connection
            .note_insert_id(insert_id, change, &self.insert_id);
        if let Some(execution) = &job.execution {
            execution.note(&mut ties, &completion, &mut busy);
        }
        self.last.note(job.ran, &completion);
        self.last.note_retold(job.ran, job.warnings, &completion);
        if self.last.is_on_connection() {
            ties.keep_for_questions();
        }
        self.tally.note(&completion);
        self.note_definitions(job.ran);
        let schema = completion.track.schema.clone();
        self.note_schema(schema.as_ref());
        let Bucket {
            capabilities,
            variables,
            ..
        } = self.bucket();
        let Completion {
            boundary, status, ..
        } = completion;
        let lease = busy.finish(|mut connection| {
            connection.set_capabilities(capabilities);
            if !was_forever {
                connection.set_variables(variables);
            }
            connection.finish(boundary, status, schema)
        });
        self.settle(lease, ties, insert_id, before);
        Ended::Answered
    }

    /// What a transaction was refused on the primary for the next one will be, too: it gets another connection.
    fn note_no_primary(&self, busy: &BusyLease, outcome: &Outcome) {
        if shows_no_primary(outcome) && Arc::ptr_eq(busy.pool(), &self.shared.primary) {
            busy.note_refused();
        }
    }

    /// The server did nothing, because it is no primary any more: its connections are given up, and the statement may be sent again.
    async fn leave_server(
        &mut self,
        busy: BusyLease,
        refused: Completion,
        insert_id: There,
        before: Option<(HoldReason, Instant)>,
    ) -> Ended {
        let packet = packet_of(&refused.outcome);
        let (boundary, status) = (refused.boundary, refused.status);
        let mut lease = busy.finish(|connection| connection.finish(boundary, status, None));
        if let Some((reason, since)) = before {
            self.note_end(reason, since);
        }
        let until = lease.pool().failover_deadline();
        if let Some(left) = lease.connection.leave_insert_id(insert_id) {
            self.insert_id = left;
        }
        lease.leave_server().await;
        Ended::Refused(packet, until)
    }

    /// As [`Session::exchange`], and others may KILL it.
    async fn exchange_killable(
        &mut self,
        busy: &mut BusyLease,
        job: &mut Job<'_>,
        withhold: Withhold,
    ) -> Result<Answered, Lost> {
        let mut relayed = false;
        let me = Arc::clone(&self.registered.client);
        me.begins(busy.pool(), busy.connection.thread_id()).await;
        let mut ended = self.exchange(busy, job, withhold, &mut relayed).await;
        if me.ends().await
            && let Ok(answered) = ended
        {
            // the server may have heard of it when the statement was over: the next one would die of it
            ended = clear_kill(busy, answered).await;
        }
        ended.map_err(|failure| {
            if matches!(failure, Failure::ClientGone) {
                self.kill_orphan(busy);
            }
            lost(failure, busy, job, relayed)
        })
    }

    /// The client is gone, its statement is not: the server hears that nobody waits for it. Its connection is closed.
    fn kill_orphan(&self, busy: &BusyLease) {
        let (pool, thread_id) = (Arc::clone(busy.pool()), busy.connection.thread_id());
        self.tasks.spawn("kill", async move {
            if let Err(error) = pool.kill(What::Connection, thread_id).await {
                tracing::debug!(%error, "an orphaned statement goes on");
            }
        });
    }

    /// The command there and its reply back. A prepared statement is prepared first, if it is not.
    async fn exchange(
        &mut self,
        busy: &mut BusyLease,
        job: &mut Job<'_>,
        mut withhold: Withhold,
        relayed: &mut bool,
    ) -> Result<Answered, Failure> {
        busy.connection.set_harmless(withhold.is_harmless());
        loop {
            if let Some(refused) = self.make_ready(busy, job).await? {
                self.forward_error(&refused, job).await?;
                return Ok(Answered::Passed(refused));
            }
            let server = busy.connection.capabilities();
            let mut exchange = Exchange::new(job.shape, self.identity.capabilities, server)
                .with_status(busy.connection.status())
                .with_warnings(job.warnings);
            let mut reply = Reply {
                withhold,
                relayed: false,
            };
            let (views, shared) = (&mut self.views, self.shared);
            let (agreed, ran) = (self.identity.capabilities, job.ran);
            let before_end = async |completion: &Completion| {
                if let Some(told) = views.note(shared, agreed, ran, completion) {
                    told.wait().await;
                }
            };
            let parties = (&mut self.client, &mut *busy);
            let answered = relay(parties, &mut exchange, job, &mut reply, before_end).await;
            *relayed = reply.relayed;
            match answered? {
                Answered::Withheld(_, Refusal::Reprepare) => {
                    if let Some(execution) = &job.execution {
                        busy.connection.close_prepared(&execution.wanted);
                    }
                    withhold = withhold.without_reprepare();
                }
                Answered::Withheld(_, Refusal::Leaving) => {
                    let text = "the server is shutting down";
                    return Err(Failure::Server(std::io::Error::other(text)));
                }
                answered => return Ok(answered),
            }
        }
    }

    /// The server's error to a command of ours, told to the client as the answer to its own.
    async fn forward_error(&mut self, refused: &Completion, job: &Job<'_>) -> Result<(), Failure> {
        let error = error_of(refused);
        match &job.execution {
            Some(execution) if job.shape == ReplyShape::None => self.defer(execution, error),
            _ => self
                .client
                .send_error(&error, job.request.reply_seq)
                .await
                .map_err(|_| Failure::ClientGone)?,
        }
        Ok(())
    }

    /// The effect of a SET that can be set again on any connection.
    fn understood(&self, job: &Job<'_>, completion: &Completion, pinned: bool) -> Option<Effect> {
        let Ran::Statement { statement, .. } = job.ran else {
            return None;
        };
        let is_set = matches!(
            statement.kind,
            Kind::SetNames | Kind::SetVariables | Kind::SetSessionTransaction
        );
        let is_done = matches!(completion.outcome, Outcome::Ok { .. }) && completion.results == 1;
        if !is_set || !is_done || job.execution.is_some() || pinned {
            return None;
        }
        if !statement
            .traits
            .without(Traits::SESSION_VARIABLE_READ)
            .is_empty()
        {
            return None;
        }
        let body = payload_prefix(&job.request.packets, self.shared.statement_size_max);
        let text = body.get(query_text_at(&body, self.identity.capabilities).ok()?..)?;
        let effect = effect_of(text, &completion.track)?;
        // an answer of our own would not repeat its warnings
        if effect.is_the_same_every_time && completion.warnings_last == 0 {
            self.shared.learned.put(text, &effect.changes);
        }
        Some(effect.changes)
    }

    /// A definition may have changed: what servers said of prepared statements may not be true any more.
    fn note_definitions(&self, ran: Ran<'_>) {
        let may_define = match ran {
            Ran::Statement { statement, .. } => {
                matches!(
                    statement.kind,
                    Kind::Ddl | Kind::Call | Kind::Execute | Kind::Other
                ) && !statement.traits.contains(Traits::TEMPORARY_TABLE)
                    || statement
                        .traits
                        .intersects(Traits::MULTI_STATEMENT.union(Traits::UNKNOWN_FUNCTION))
            }
            Ran::Oversized => true,
            Ran::UnderstoodSet | Ran::Command(_) => false,
        };
        if may_define {
            self.shared.templates.forget();
        }
    }

    /// Tells the client, if there is a place for it. A client whose transaction or session state went with the connection is let
    /// go as MySQL would: it must not go on as if it still had them.
    pub(super) async fn fail(&mut self, lost: Lost, seq: u8, had_state: bool) -> Flow {
        let Some(packet) = lost.error.for_client() else {
            return Flow::End;
        };
        tracing::warn!("{}", lamplighter_core::fault::chain(&lost.error));
        if lost.midway {
            return Flow::End;
        }
        let flow = self.answer_error(&packet, seq).await;
        if had_state { Flow::End } else { flow }
    }
}

/// A KILL QUERY was sent while the statement ran. Lets something else be hit by it, if it came too late.
async fn clear_kill(busy: &mut BusyLease, answered: Answered) -> Result<Answered, Failure> {
    for _ in 0..2 {
        let cleared = busy.connection.run(b"DO 0").await?;
        if matches!(cleared.outcome, Outcome::Ok { .. }) {
            return Ok(answered);
        }
    }
    Err(Failure::Server(std::io::Error::other(
        "the connection answers nothing but errors after a KILL",
    )))
}

pub(super) fn lost(failure: Failure, busy: &BusyLease, job: &Job<'_>, relayed: bool) -> Lost {
    let server = busy.pool().name().to_owned();
    if let Failure::Server(error) = &failure {
        busy.pool().note_trouble(error);
    }
    let error = match failure {
        Failure::Server(source) => StatementError::ServerLost { server, source },
        Failure::Protocol(source) => StatementError::Protocol { server, source },
        Failure::Ahead(source) => StatementError::Open { server, source },
        Failure::ClientGone => StatementError::ClientGone,
    };
    let lost_early = matches!(error, StatementError::ServerLost { .. }) && !relayed;
    Lost {
        again: lost_early,
        midway: relayed || job.request.rest.is_some(),
        error,
    }
}
