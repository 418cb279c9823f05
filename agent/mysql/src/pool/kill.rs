//! KILL, over a connection of its own: nobody has to wait in line to stop what the line waits for.

use super::Pool;
use crate::cancel::What;
use crate::error::StatementError;
use crate::server::{Bucket, Idle};

impl Pool {
    /// Tells the server to kill the statement or connection of one of our connections. One that is unknown by now has ended by
    /// itself.
    pub(crate) async fn kill(&self, what: What, thread_id: u32) -> Result<(), StatementError> {
        // one at a time; the line of those who wait here is as long as there are clients
        let mut control = self.control.lock().await;
        let kept = control
            .take()
            .and_then(|mut kept| kept.is_quiet().then_some(kept));
        let connection = match kept {
            Some(connection) => connection,
            None => Idle::open(&self.account, Bucket::of_nobody())
                .await
                .map_err(|source| self.not_open(source))?,
        };
        let verb = match what {
            What::Connection => "KILL",
            What::Query => "KILL QUERY",
        };
        let mut busy = connection.start();
        let killed = busy.run(format!("{verb} {thread_id}").as_bytes()).await;
        let completion = killed.map_err(|source| StatementError::ServerLost {
            server: self.name.clone(),
            source,
        })?;
        let (boundary, status) = (completion.boundary, completion.status);
        *control = Some(busy.finish(boundary, status, None));
        self.metrics.kills.inc();
        Ok(())
    }

    /// How many connections are lent out.
    pub(crate) fn busy(&self) -> u64 {
        u64::try_from(self.busy_gauge.get()).unwrap_or(0)
    }

    /// A server connection with this id is one of this pool's.
    pub(crate) fn has_thread(&self, thread_id: u32) -> bool {
        self.account.threads.contains(thread_id)
    }
}
