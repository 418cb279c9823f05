//! Making a server connection know of the client's last command what the client knows of it, before a statement about that runs there.

use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::sql::{Statement, Traits};

use super::Session;
use super::lease::Leased;
use super::relay::{Job, Lost, lost};
use super::stream::Failure;
use crate::hold::{Ran, asks_about_the_last, runs_program};
use crate::pool::BusyLease;

/// What the connection has to be told of the last command first, because this one is about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prime {
    Nothing,
    /// What is asked for.
    Question,
    /// All that a program may ask for, or several statements.
    Program,
}

impl Session<'_> {
    /// What a question about the last statement needs where a connection would tell of another client's, or of the one before.
    pub(super) fn priming(&self, statement: &Statement) -> Prime {
        if !asks_about_the_last(statement) || (self.hold.is_some() && !self.last.unheard) {
            Prime::Nothing
        } else if statement.traits.contains(Traits::MULTI_STATEMENT) {
            Prime::Program
        } else {
            Prime::Question
        }
    }

    /// A program would find there what another client has left, and leave it as it is.
    pub(super) fn misleads(&self, leased: &Leased, ran: Ran<'_>) -> bool {
        // inside an XA transaction nothing of ours is allowed
        matches!(ran, Ran::Statement { statement, .. } if runs_program(statement))
            && !leased.ties.has_xa()
            && self.last.misleads_programs(leased.before.is_some())
    }

    /// Makes what the server knows of the last command what this client knows of it.
    pub(super) async fn primed(
        &mut self,
        mut leased: Leased,
        job: &mut Job<'_>,
    ) -> Result<Leased, Lost> {
        let mut busy = leased.lease.start();
        let primed = match self.prime(&mut busy, job).await {
            Ok(primed) => primed,
            Err(failure) => return Err(lost(failure, &busy, job, false)),
        };
        if matches!(primed.outcome, Outcome::Err { .. }) {
            self.last.note_not_primed();
        }
        let (boundary, status) = (primed.boundary, primed.status);
        leased.lease = busy.finish(|connection| connection.finish(boundary, status, None));
        Ok(leased)
    }

    async fn prime(
        &mut self,
        busy: &mut BusyLease,
        job: &mut Job<'_>,
    ) -> Result<Completion, Failure> {
        // a preparation leaves nothing of that; whatever it is refused with the command itself is told
        let _ready = self.make_ready(busy, job).await?;
        let statement = self.last.statement_to_prime(job.prime == Prime::Program);
        Ok(busy.connection.run(&statement).await?)
    }
}
