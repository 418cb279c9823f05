//! The control connection: kept up, tried with PING, handed out by a channel. Whoever meets an error on it says so, and it is
//! tried at once. Opens one connection; writes the health line `redis`.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::fault::chain;
use lamplighter_core::health::{HealthWriter, Reach};
use lamplighter_core::lifecycle::Tasks;
use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::dialer::ping;
use super::{ConnectError, Dialer, UpstreamError};
use crate::backoff::{Backoff, splayed};
use crate::metrics::Metrics;
use crate::server::Renewal;

/// First and longest pause between two attempts to connect. Azure limits the rate of new connections, hence the jitter.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(15));

/// Access to the control connection. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    current: watch::Receiver<Option<MultiplexedConnection>>,
    suspicion: Arc<Notify>,
}

impl Link {
    /// The connection, if there is one.
    pub(crate) fn get(&self) -> Result<MultiplexedConnection, UpstreamError> {
        self.current.borrow().clone().ok_or(UpstreamError::Down)
    }

    /// Waits until there is a connection.
    pub(crate) async fn up(&mut self) {
        if self.current.wait_for(Option::is_some).await.is_err() {
            // the monitor has ended: the agent is leaving, and the caller hears of that elsewhere
            std::future::pending::<()>().await;
        }
    }

    /// Translates an error met on the connection, and has the connection tried if it may be the connection's fault.
    pub(crate) fn failed(&self, error: redis::RedisError) -> UpstreamError {
        let error = UpstreamError::of_command(error);
        if error.is_transient() {
            self.suspicion.notify_one();
        }
        error
    }
}

/// Keeps the control connection up.
pub(crate) struct Monitor {
    dialer: Arc<Dialer>,
    command_timeout: Duration,
    ping_interval: Duration,
    metrics: Metrics,
    health: HealthWriter,
    publish: watch::Sender<Option<MultiplexedConnection>>,
    suspicion: Arc<Notify>,
}

impl Monitor {
    pub(crate) fn new(
        dialer: Arc<Dialer>,
        command_timeout: Duration,
        ping_interval: Duration,
        metrics: Metrics,
        health: HealthWriter,
    ) -> (Self, Link) {
        let (publish, current) = watch::channel(None);
        let suspicion = Arc::new(Notify::new());
        let link = Link {
            current,
            suspicion: Arc::clone(&suspicion),
        };
        let monitor = Self {
            dialer,
            command_timeout,
            ping_interval,
            metrics,
            health,
            publish,
            suspicion,
        };
        (monitor, link)
    }

    /// Connects, watches, connects again; never ends by itself.
    pub(crate) async fn run(self, tasks: &Tasks) {
        let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
        let mut reported = "";
        loop {
            match self.open(tasks).await {
                Ok(open) => {
                    tracing::info!(server = %self.dialer.address(), "Redis is reachable");
                    self.metrics.up.set(1);
                    self.health.ok();
                    reported = "";
                    let lost = self.watch(open, &mut backoff).await;
                    self.publish.send_replace(None);
                    self.metrics.up.set(0);
                    tracing::warn!(server = %self.dialer.address(), "{}", chain(&lost));
                    self.down(&lost);
                }
                Err(error) => {
                    self.metrics
                        .connect_errors
                        .with_label_values(&[error.label()])
                        .inc();
                    self.down(&error);
                    // the same reason again is no news
                    if reported != error.label() {
                        reported = error.label();
                        tracing::warn!(server = %self.dialer.address(), "{}", chain(&error));
                    }
                }
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    fn down(&self, error: &(dyn std::error::Error + 'static)) {
        self.health.degraded(Reach::Shared, chain(error));
    }

    async fn open(&self, tasks: &Tasks) -> Result<Open, ConnectError> {
        let connected = self.dialer.connect(self.command_timeout).await?;
        self.metrics.connects.inc();
        let closed = CancellationToken::new();
        let guard = closed.clone().drop_guard();
        tasks.spawn("control connection", async move {
            connected.driver.await;
            drop(guard);
        });
        Ok(Open {
            connection: connected.connection,
            closed,
            renewal: connected.renewal,
        })
    }

    /// Until the connection fails or somebody suspects it.
    async fn watch(&self, open: Open, backoff: &mut Backoff) -> Lost {
        let Open {
            mut connection,
            closed,
            mut renewal,
        } = open;
        self.publish.send_replace(Some(connection.clone()));
        loop {
            tokio::select! {
                () = closed.cancelled() => return Lost::Closed,
                // a demoted primary answers PING and refuses writes: only a new connection finds its successor
                () = self.suspicion.notified() => return Lost::Suspected,
                shown = reauth(&mut connection, renewal.as_mut()) => {
                    self.metrics.endpoint.reauth(shown);
                    continue;
                }
                () = tokio::time::sleep(splayed(self.ping_interval)) => {}
            }
            let started = tokio::time::Instant::now();
            if let Err(error) = ping(&mut connection).await {
                return Lost::Silent(error);
            }
            self.metrics
                .ping_seconds
                .observe(started.elapsed().as_secs_f64());
            backoff.reset();
        }
    }
}

/// A connection and the sign of its end.
struct Open {
    connection: MultiplexedConnection,
    closed: CancellationToken,
    renewal: Option<Renewal>,
}

/// Shows the next token once it is due, and says whether it was accepted. Cancelled, it is due again.
async fn reauth(connection: &mut MultiplexedConnection, renewal: Option<&mut Renewal>) -> bool {
    let Some(renewal) = renewal else {
        return std::future::pending().await;
    };
    let token = renewal.due().await;
    let mut auth = redis::cmd("AUTH");
    auth.arg(renewal.user(&token)).arg(token.secret().expose());
    match auth.query_async::<()>(connection).await {
        // the connection is in trouble, not the token: the next PING tells
        Err(error) if error.is_io_error() => {
            renewal.postpone();
            std::future::pending().await
        }
        answer => {
            renewal.answered(answer.is_ok());
            answer.is_ok()
        }
    }
}

/// Why the control connection is given up.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("Redis closed the connection")]
    Closed,
    #[error("the connection is replaced after an error")]
    Suspected,
    #[error("Redis did not answer PING")]
    Silent(#[source] redis::RedisError),
}
