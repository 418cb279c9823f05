//! Notices a server that has fallen silent: frozen, cut off without a word, or behind a link that passes nothing on. TCP alone would
//! wait for minutes where something in between still acknowledges.
//!
//! ```text
//!            somebody waits, nothing came for 1 s           no answer to a new login either
//!   Present ─────────────────────────────────────▶ asked ─────────────────────────────────▶ Silent ──▶ given up
//!      ▲                                             │ an answer                              │ any byte   after `silence_max`
//!      └─────────────────────────────────────────────┴────────────────────────────────────────┘
//! ```
//! A statement may run for hours on a server that answers others: it is only asked, on another connection, whether it still does.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lamplighter_core::lifecycle::Tasks;
use lamplighter_core::net::DialError;

use super::Pool;
use crate::error::{OpenError, StatementError};
use crate::server::{Bucket, Idle, Waiting};

/// How often it is looked whether somebody waits.
const TICK: Duration = Duration::from_millis(250);

/// Silence that is worth a question.
const QUIET: Duration = Duration::from_secs(1);

/// How long a server may take to let a new connection in before its silence counts.
const ASK: Duration = Duration::from_secs(2);

/// After so long without a byte the server is asked whether it works on a statement at all, and again after each further such time.
const DOUBT: Duration = Duration::from_secs(10);

/// A large statement may be on its way in the buffers of both sides, small as it is compressed, while its server is still reading it and
/// says that it works on nothing: so much more time for each of its bytes, which makes a second for a MiB.
const DOUBT_EACH: Duration = Duration::from_micros(1);

/// After which time a statement of so many bytes is asked about.
fn doubt_after(sent: u64) -> Duration {
    DOUBT + DOUBT_EACH.saturating_mul(u32::try_from(sent).unwrap_or(u32::MAX))
}

/// What a pool knows of its server's silence.
#[derive(Debug, Default)]
pub(super) struct Vigil {
    /// When the server last left a question unanswered, on the clock of its connections; 0: never.
    unanswered: AtomicU64,
}

/// What became of a question.
enum Answer {
    Heard(Idle),
    /// It is there, or somebody who speaks for it.
    Refused,
    Silence,
    NotAsked,
}

impl Pool {
    /// The server left a question unanswered, and nothing has come from it since.
    pub(crate) fn is_silent(&self) -> bool {
        let unanswered = self.vigil.unanswered.load(Ordering::Relaxed);
        unanswered > self.account.threads.heard()
    }

    /// Those who are being served have waited for the server for a while, or nothing is sent to it any more.
    pub(super) fn waits_for_server(&self) -> bool {
        self.is_silent() || self.silence().is_some_and(|silence| silence >= QUIET)
    }

    fn silence(&self) -> Option<Duration> {
        self.account.threads.silence()
    }

    /// Resolves when the server is not silent (any more): what is sent to it now would be sent into the void. In the order of asking.
    ///
    /// # Errors
    /// If it still is after `failover_wait`.
    pub(super) async fn until_heard(&self) -> Result<(), StatementError> {
        if !self.is_silent() {
            return Ok(());
        }
        let limit = self.limits.failover_wait.get();
        let waiter = self.outage.join();
        let heard = tokio::time::timeout(limit, async {
            let mut first = waiter.first().await;
            while self.is_silent() {
                tokio::time::sleep(first.failed()).await;
            }
            first.succeeded();
        });
        heard.await.map_err(|_| StatementError::Away {
            server: self.name.clone(),
            waited: limit,
            waiting: waiter.others(),
            source: OpenError::Timeout(ASK),
        })
    }

    /// Watches over those who wait for the server, until we drain.
    pub(crate) async fn keep_vigil(self: Arc<Self>, tasks: Tasks) {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asking = None;
        let mut doubts = Vec::new();
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = tasks.draining() => return,
            }
            if self.waits_for_server() {
                self.ask(&mut asking, &mut doubts).await;
            } else if self.silence().is_none() {
                // nobody waits
                asking = None;
                doubts.clear();
            }
        }
    }

    /// Asks the server for a sign of life on a connection that nobody else uses.
    async fn ask(&self, asking: &mut Option<Idle>, doubts: &mut Vec<Doubt>) {
        let asked = self.account.threads.now();
        match self.sign_of_life(asking.take()).await {
            Answer::Heard(connection) => {
                self.account.threads.note_heard();
                *asking = self.settle_doubts(connection, doubts).await;
            }
            Answer::Refused => self.account.threads.note_heard(),
            // nor did anybody else hear anything meanwhile
            Answer::Silence if self.account.threads.heard() < asked => self.note_silence(),
            Answer::Silence | Answer::NotAsked => {}
        }
    }

    async fn sign_of_life(&self, kept: Option<Idle>) -> Answer {
        if let Some(kept) = kept {
            let asked = tokio::time::timeout(QUIET, ping(kept)).await;
            if let Ok(Some(connection)) = asked {
                return Answer::Heard(connection);
            }
        }
        // a link of its own may be the trouble: only a new one proves anything
        let opened = Idle::open(&self.account, Bucket::of_nobody());
        match tokio::time::timeout(ASK, opened).await {
            Ok(Ok(connection)) => Answer::Heard(connection),
            Ok(Err(error)) => answer_of(&error),
            Err(_) => Answer::Silence,
        }
    }

    /// Reads are asked elsewhere at once; what may have been done is given up when there is little hope left.
    fn note_silence(&self) {
        let threads = &self.account.threads;
        let silence = self.silence().unwrap_or_default();
        if !self.is_silent() {
            tracing::warn!(
                server = self.name,
                "the server does not answer: nothing more is sent to it"
            );
        }
        self.vigil
            .unanswered
            .store(threads.now(), Ordering::Relaxed);
        let given_up = silence >= self.limits.silence_max.get();
        if given_up {
            tracing::warn!(
                server = self.name,
                ?silence,
                "the server is given up: what waits for it is told"
            );
            self.retire();
        }
        for waiting in threads.waiting() {
            if waiting.harmless || given_up {
                threads.cut(&waiting);
                self.metrics.severed.inc();
            }
        }
    }

    /// The server answers: does it still work on what has been silent for long? Returns the connection on which it was asked.
    async fn settle_doubts(&self, asking: Idle, doubts: &mut Vec<Doubt>) -> Option<Idle> {
        let peer = asking.peer();
        let is_doubtful =
            |it: &Waiting| it.waited >= doubt_after(it.sent) && it.has_own_id && it.peer == peer;
        let waiting = self.account.threads.waiting();
        follow(doubts, waiting.into_iter().filter(is_doubtful));
        let mut asking = asking;
        for doubt in doubts.iter_mut().filter(|doubt| doubt.is_due()) {
            let asked = tokio::time::timeout(ASK, works_on(asking, doubt.of.id)).await;
            let (works, connection) = asked.ok()??;
            asking = connection;
            if !doubt.is_borne_out(works) {
                continue;
            }
            let server = &self.name;
            tracing::warn!(
                server,
                "the server knows nothing of a statement that waits for it: its connection is given up"
            );
            self.account.threads.cut(&doubt.of);
            self.metrics.severed.inc();
        }
        Some(asking)
    }
}

/// A statement that has been silent for long on a server that answers others.
#[derive(Debug)]
struct Doubt {
    of: Waiting,
    /// When the server is asked about it next, in time that it waited.
    next: Duration,
    /// The server did not know of it when it was asked last.
    is_unknown: bool,
}

impl Doubt {
    const fn is_due(&self) -> bool {
        self.of.waited.as_nanos() >= self.next.as_nanos()
    }

    /// The server has said whether it works on it. It may have begun or ended just then, so it is asked twice.
    fn is_borne_out(&mut self, works: bool) -> bool {
        let was_unknown = std::mem::replace(&mut self.is_unknown, !works);
        self.next = self.of.waited + if works { DOUBT } else { QUIET };
        was_unknown && !works
    }
}

/// Takes in what waits now; forgets what does not wait for the same any more.
fn follow(doubts: &mut Vec<Doubt>, waiting: impl Iterator<Item = Waiting>) {
    let before = std::mem::take(doubts);
    let mut before: std::collections::HashMap<_, _> = before
        .into_iter()
        .map(|doubt| ((doubt.of.id, doubt.of.since), doubt))
        .collect();
    doubts.extend(waiting.map(|of| match before.remove(&(of.id, of.since)) {
        Some(doubt) => Doubt { of, ..doubt },
        None => Doubt {
            of,
            next: of.waited,
            is_unknown: false,
        },
    }));
}

/// Whether nobody was there to say anything.
fn answer_of(error: &OpenError) -> Answer {
    match error {
        OpenError::Timeout(_) | OpenError::Dial(DialError::Timeout { .. }) => Answer::Silence,
        OpenError::Dial(DialError::Connect { source, .. }) => match source.kind() {
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                Answer::Silence
            }
            // what was open to a server that is gone is reset by its machine
            _ => Answer::Refused,
        },
        OpenError::Refused(_)
        | OpenError::Tls(_)
        | OpenError::NoTls
        | OpenError::Plugin(_)
        | OpenError::TooOld(_)
        | OpenError::Protocol(_)
        | OpenError::Io(_) => Answer::Refused,
        // nobody was asked
        OpenError::Dial(DialError::Resolve { .. })
        | OpenError::Secret(_)
        | OpenError::Token(_)
        | OpenError::ClearPassword => Answer::NotAsked,
    }
}

async fn ping(connection: Idle) -> Option<Idle> {
    let mut busy = connection.start();
    let answer = busy.run(b"DO 0").await.ok()?;
    Some(busy.finish(answer.boundary, answer.status, None))
}

/// Whether the server works on anything for the connection with this id.
async fn works_on(connection: Idle, id: u32) -> Option<(bool, Idle)> {
    let sql = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {id} AND COMMAND <> 'Sleep'"
    );
    let mut busy = connection.start();
    let (count, answer) = busy.count(sql.as_bytes()).await.ok()?;
    Some((count > 0, busy.finish(answer.boundary, answer.status, None)))
}

#[cfg(test)]
mod tests;
