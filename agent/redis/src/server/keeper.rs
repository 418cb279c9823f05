//! Keeps one seat of a server taken: connects, runs the connection, shows it new tokens, looks after what it left behind, connects
//! again. Changes it for a new one that has been made before, where the old one is known to end soon. Opens connections.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::fault::chain;
use lamplighter_core::identity::Token;
use tokio::time::Instant;

use super::command::{Command, Failure};
use super::connection::{Connection, Leftover, SILENT};
use super::handle::{Handle, WeakHandle};
use super::login::{Fresh, LoginError, auth};
use super::renewal::Renewal;
use super::{Common, GRACE, Lanes, Server, Standing, unreachable};
use crate::backoff::{Backoff, fraction};

/// First and longest pause between two attempts to connect. While a server is away, one connection of each agent tries, and the
/// longest pause is short enough to be back within two seconds of the server.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(1500));

/// A connection that lived so long was a good one: the next may be made at once.
const GOOD: Duration = Duration::from_secs(1);

/// The limits of attempts after the first: a black hole must not hide for long that the server is back.
const ATTEMPTS: [Duration; 2] = [Duration::from_millis(1500), Duration::from_millis(1500)];

/// The most by which a connection is changed for a new one later than it could be, so that a fleet does not do it all at once.
const RENEW_SPREAD: Duration = Duration::from_secs(2);

/// Never ends but with the agent or the server's part in the cluster.
pub(super) async fn keep(server: Arc<Server>, lanes: Arc<Lanes>, number: usize) {
    let tasks = server.common.tasks.clone();
    let work = Box::pin(live(&server, &lanes, number));
    tokio::select! {
        () = work => {}
        // sessions drain first; whoever still waits then has waited long enough
        () = tasks.stopping() => {}
        () = finished(&tasks, &server) => {}
    }
}

/// The agent drains and no session is left.
async fn finished(tasks: &lamplighter_core::lifecycle::Tasks, server: &Server) {
    tasks.draining().await;
    server.common.left().await;
}

async fn live(server: &Arc<Server>, lanes: &Arc<Lanes>, number: usize) {
    let common = &server.common;
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    let mut failures = 0_usize;
    let mut reported = "";
    loop {
        if number > 0 {
            // one is enough to find out whether the server is there
            let mut standing = lanes.standing.subscribe();
            tokio::select! {
                up = standing.wait_for(|s| *s == Standing::Up) => {
                    if up.is_err() {
                        return;
                    }
                }
                () = server.gone.cancelled() => return,
            }
        }
        if server.gone.is_cancelled() {
            return;
        }
        match attempt(server, lanes, failures, number).await {
            Ok(fresh) => {
                (failures, reported) = (0, "");
                let mut since = Instant::now();
                let mut ended = occupy(server, lanes, number, fresh).await;
                while let Ended::Renewed(fresh) = ended {
                    since = Instant::now();
                    ended = occupy(server, lanes, number, *fresh).await;
                }
                let Ended::Lost(reason) = ended else { continue };
                tracing::info!(server = %server.address, reason, "a connection to Redis has ended");
                if since.elapsed() >= GOOD {
                    backoff.reset();
                    continue;
                }
            }
            Err(error) => {
                failures += 1;
                common.metrics.connect_error(error.label());
                if reported != error.label() {
                    reported = error.label();
                    tracing::warn!(server = %server.address, "{}", chain(&error));
                }
                if number == 0 {
                    server.open(lanes, &chain(&error));
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next()) => {}
            () = server.gone.cancelled() => return,
        }
    }
}

async fn attempt(
    server: &Server,
    lanes: &Lanes,
    failures: usize,
    number: usize,
) -> Result<Fresh, LoginError> {
    let mut work = Box::pin(connect(server, lanes, failures));
    tokio::select! {
        connected = &mut work => connected,
        () = tokio::time::sleep(GRACE) => {
            // nobody waits longer for it
            if number == 0 {
                server.open(lanes, "a connection is being made");
            }
            work.await
        }
    }
}

async fn connect(server: &Server, lanes: &Lanes, failures: usize) -> Result<Fresh, LoginError> {
    let connect = server
        .common
        .approach
        .connect(&server.address, &server.name, lanes.protocol);
    // the first has all the time it may have, the next two little, the one after that all again
    match failures % (ATTEMPTS.len() + 1) {
        0 => connect.await,
        short => {
            let limit = ATTEMPTS.get(short - 1).copied().unwrap_or(RECONNECT.1);
            tokio::time::timeout(limit, connect)
                .await
                .unwrap_or(Err(LoginError::Timeout(limit)))
        }
    }
}

/// How a connection left its seat.
enum Ended {
    /// It is over.
    Lost(&'static str),
    /// It ends when what is on its way is answered; this one takes its place.
    Renewed(Box<Fresh>),
}

/// Runs a connection in its seat until it ends or has a successor.
async fn occupy(server: &Arc<Server>, lanes: &Arc<Lanes>, number: usize, fresh: Fresh) -> Ended {
    let common = &server.common;
    if !fresh.version.is_empty() {
        server.version.store(Arc::new(fresh.version));
    }
    let (handle, connection) = Connection::new(fresh.stream, common.detours.clone(), common);
    let handle = Arc::new(handle);
    let seat = lanes.shared.get(number).unwrap_or(&lanes.slow);
    seat.0.store(Some(Arc::clone(&handle)));
    common.metrics.connected();
    if number < lanes.shared.len() {
        let before = lanes.standing.send_replace(Standing::Up);
        if matches!(before, Standing::Open(_)) {
            common.metrics.circuit_opened(&server.address, false);
        }
    }
    let weak = handle.downgrade();
    drop(handle);
    let (theirs, token, own) = (weak.clone(), fresh.token, Arc::clone(common));
    let mut work = Box::pin(async move {
        let leftover = run(connection, theirs, token, &own).await;
        own.metrics.disconnected();
        leftover
    });
    let leftover = tokio::select! {
        leftover = &mut work => leftover,
        fresh = Box::pin(successor(server, lanes)) => {
            retire(weak.upgrade(), work, common);
            return Ended::Renewed(Box::new(fresh));
        }
        () = server.gone.cancelled() => {
            // what is on its way is still answered
            if let Some(handle) = weak.upgrade() {
                handle.replace();
            }
            work.await
        }
    };
    seat.0.store(None);
    if number < lanes.shared.len() && !lanes.is_up() {
        lanes.standing.send_replace(Standing::Trying);
    }
    let reason = leftover.reason;
    if reason == SILENT {
        server.suspect();
    }
    look_after(leftover, common);
    Ended::Lost(reason)
}

/// A connection to take the place of one that still works, once that is asked for. Where none can be made, the old one stays.
async fn successor(server: &Server, lanes: &Lanes) -> Fresh {
    let mut renewals = server.renewals.subscribe();
    loop {
        if renewals.changed().await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(RENEW_SPREAD.mul_f64(fraction())).await;
        match connect(server, lanes, 0).await {
            Ok(fresh) => return fresh,
            Err(error) => {
                server.common.metrics.connect_error(error.label());
                tracing::warn!(server = %server.address, "a connection to Redis is kept, no other could be made: {}", chain(&error));
            }
        }
    }
}

/// Gives no more commands to a connection, and lets it end when those on their way are answered.
fn retire(
    handle: Option<Handle>,
    work: impl Future<Output = Leftover> + Send + 'static,
    common: &Arc<Common>,
) {
    common.metrics.renewed();
    let own = Arc::clone(common);
    common.tasks.spawn("retired upstream", async move {
        if let Some(handle) = &handle {
            handle.replace();
        }
        // without its handle it would end at once, and leave those on their way without an answer
        look_after(work.await, &own);
        drop(handle);
    });
}

/// Runs a connection and shows it new tokens, in the order of its stream.
pub(super) async fn run(
    connection: Connection,
    handle: WeakHandle,
    token: Option<Token>,
    common: &Common,
) -> Leftover {
    let reauth = async {
        if let Some(mut renewal) = Renewal::of(&common.approach.credentials, token) {
            loop {
                let token = renewal.due().await;
                let request = auth(Some(renewal.user(&token)), token.secret());
                let (command, answer) = Command::task(request, 1, Duration::from_secs(5));
                let Some(open) = handle.upgrade() else { break };
                if open.submit(vec![command]).await.is_err() {
                    break;
                }
                drop(open);
                let Ok(Ok(reply)) = answer.await else {
                    renewal.postpone();
                    continue;
                };
                let accepted = reply.starts_with(b"+");
                common.metrics.reauth(accepted);
                renewal.answered(accepted);
            }
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        leftover = Box::pin(connection.run()) => leftover,
        () = reauth => Leftover { reason: "", unsent: Vec::new(), sent: Vec::new() },
    }
}

/// What was not sent, and what only reads, gets one more chance; the rest is told.
pub(super) fn look_after(leftover: Leftover, common: &Common) {
    let Leftover {
        reason,
        unsent,
        sent,
    } = leftover;
    for command in unsent {
        again(command, &unreachable(reason), common);
    }
    for command in sent {
        let failure = Failure::Lost(reason);
        if command.repeatable {
            again(command, &failure, common);
        } else {
            // what may have been written must not look like a miss, and has none
            common.fail(command, &failure, true);
        }
    }
}

fn again(mut command: Command, failure: &Failure, common: &Common) {
    if command.replies == 0 || command.detours > 0 || !command.is_wanted() {
        return common.fail(command, failure, common.misses);
    }
    command.detours += 1;
    common.detours.again(command, failure);
}
