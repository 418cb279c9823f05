//! New connections of a pool, also while its server is away for a moment. Touches the network through [`Idle::open`].

use super::outage::may_pass;
use super::{Lease, Place, Pool};
use crate::error::{OpenError, StatementError};
use crate::server::{Bucket, Idle};

impl Pool {
    /// Opens a connection; one to a server that is away for a moment is waited for.
    pub(super) async fn open(
        &self,
        mut place: Place,
        bucket: &Bucket,
    ) -> Result<Lease, StatementError> {
        let opened = if self.outage.is_on() {
            self.open_when_back(bucket, None).await
        } else {
            match self.try_open(bucket).await {
                Err(error) if may_pass(&error) && self.waits_for_failover() => {
                    self.open_when_back(bucket, Some(error)).await
                }
                tried => tried.map_err(|source| self.not_open(source)),
            }
        };
        match opened {
            Ok(connection) => Ok(Lease { place, connection }),
            Err(error) => {
                place.uncount();
                Err(error)
            }
        }
    }

    fn waits_for_failover(&self) -> bool {
        !self.limits.failover_wait.get().is_zero()
    }

    pub(super) async fn try_open(&self, bucket: &Bucket) -> Result<Idle, OpenError> {
        let opened = Idle::open(&self.account, bucket.clone()).await;
        let counter = if opened.is_ok() {
            &self.metrics.opened
        } else {
            &self.metrics.open_failures
        };
        counter.with_label_values(&[self.name.as_str()]).inc();
        opened
    }

    /// In the order of asking, until the server is back or the wait is over. Nothing was sent yet: the statement loses nothing.
    async fn open_when_back(
        &self,
        bucket: &Bucket,
        mut last: Option<OpenError>,
    ) -> Result<Idle, StatementError> {
        let limit = self.limits.failover_wait.get();
        let waiter = self.outage.join();
        let back = async {
            let mut first = waiter.first().await;
            loop {
                match self.try_open(bucket).await {
                    Ok(connection) => {
                        first.succeeded();
                        return Ok(connection);
                    }
                    Err(error) if !may_pass(&error) => return Err(error),
                    Err(error) => last = Some(error),
                }
                tokio::time::sleep(first.failed()).await;
            }
        };
        match tokio::time::timeout(limit, back).await {
            Ok(tried) => tried.map_err(|source| self.not_open(source)),
            Err(_) => Err(StatementError::Away {
                server: self.name.clone(),
                waited: limit,
                waiting: waiter.others(),
                source: last.unwrap_or(OpenError::Timeout(limit)),
            }),
        }
    }
}
