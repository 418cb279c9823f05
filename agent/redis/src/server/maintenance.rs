//! Listens for what Azure says about maintenance: one connection to each server that only listens. When the primary is about to go, and
//! when another has taken its place, the shared connections are changed for new ones before anybody has to wait for it. Opens connections.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_core::fault::chain;
use lamplighter_wire::redis::reply::{elements, string};
use lamplighter_wire::redis::{Protocol, write};
use tokio::io::AsyncWriteExt;

use super::Server;
use super::login::{LoginError, Replies, accept};
use super::notice::{CHANNEL, Notice};
use super::stream::Stream;
use crate::backoff::Backoff;

/// First and longest pause before it listens again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Listens until the agent leaves or the server is no part of the cluster any more.
pub(super) async fn listen(server: Arc<Server>) {
    tokio::select! {
        () = Box::pin(attend(&server)) => {}
        () = server.common.tasks.draining() => {}
        () = server.gone.cancelled() => {}
    }
}

async fn attend(server: &Server) {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut reported = "";
    loop {
        if !server.came_up().await {
            return;
        }
        let Err(error) = hear(server, &mut backoff).await;
        if reported != error.label() {
            reported = error.label();
            tracing::info!(server = %server.address, "no maintenance notices for now: {}", chain(&error));
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// Listens until the connection ends.
async fn hear(
    server: &Server,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, LoginError> {
    let common = &server.common;
    let connect = common
        .approach
        .connect(&server.address, &server.name, Protocol::Resp2);
    let mut stream = connect.await?.stream;
    let mut replies = Replies::default();
    send(&mut stream, &["SUBSCRIBE", CHANNEL]).await?;
    let mut pinged = false;
    loop {
        let next = tokio::time::timeout(common.ping_interval, replies.next(&mut stream));
        match next.await {
            Ok(reply) => {
                let reply = reply?;
                accept(&reply)?;
                backoff.reset();
                pinged = false;
                if let Some(message) = message(&reply) {
                    server.heed(&message);
                }
            }
            Err(_) if pinged => return Err(LoginError::Timeout(common.ping_interval)),
            Err(_) => {
                pinged = true;
                send(&mut stream, &["PING"]).await?;
            }
        }
    }
}

async fn send(stream: &mut Stream, words: &[&str]) -> Result<(), LoginError> {
    stream.write_all(&write::request(words)).await?;
    stream.flush().await?;
    Ok(())
}

/// The text of a message; what else comes on the connection is none.
fn message(reply: &[u8]) -> Option<String> {
    let fields = elements(reply)?;
    let [kind, _channel, text] = fields.as_slice() else {
        return None;
    };
    let text = (string(kind)? == b"message").then(|| string(text))??;
    Some(String::from_utf8_lossy(text).into_owned())
}

impl Server {
    /// Does what a message asks for.
    fn heed(&self, message: &str) {
        let Some(notice) = Notice::parse(message) else {
            return;
        };
        let common = &self.common;
        common.metrics.notice(notice.stage.label());
        tracing::info!(server = %self.address, stage = notice.stage.label(), start = notice.start, "Azure announces maintenance of Redis");
        if notice.moves_keys() {
            common.stale.notify_one();
        }
        if notice.renews(&self.address, common.is_cluster) {
            // those of one client's own that nobody uses would be cut under whoever gets them next
            common.pool.clear();
            self.renewals.send_modify(|number| *number += 1);
        }
    }
}
