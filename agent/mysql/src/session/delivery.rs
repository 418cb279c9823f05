//! What passes between a client and its busy server connection: one that does not keep up is waited for only while nobody else
//! wants the connection.

use std::time::Duration;

use super::stream::Failure;
use crate::pool::Pool;

/// How often it is looked whether somebody waits for the connection of a slow client.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for the client to take or to send some bytes.
pub(super) async fn with_patience<T>(
    pool: &Pool,
    bytes: impl Future<Output = T>,
) -> Result<T, Failure> {
    let mut bytes = std::pin::pin!(bytes);
    let mut limit = pool.patience();
    loop {
        if let Ok(passed) = tokio::time::timeout(limit, bytes.as_mut()).await {
            return Ok(passed);
        }
        if pool.is_wanted() {
            pool.count_slow_client();
            return Err(Failure::ClientGone);
        }
        limit = LOOK;
    }
}
