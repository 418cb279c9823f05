//! New connections of a pool, also while its server is away for a moment. Touches the network through [`Idle::open`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::outage::may_pass;
use super::place::Place;
use super::{Claim, Lease, Pool};
use crate::error::{OpenError, StatementError};
use crate::server::{Bucket, Idle};
use crate::variables::Variables;

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
            Ok((connection, generation)) => {
                place.generation = generation;
                Ok(Lease { place, connection })
            }
            Err(error) => {
                place.uncount();
                Err(error)
            }
        }
    }

    /// A connection for whoever comes next: as the last one that was asked for, without what the server may refuse.
    pub(super) async fn open_spare(self: &Arc<Self>) -> Result<Lease, StatementError> {
        let mut place = self.place(Claim::OWN).await?;
        let (wanted, evicted) = {
            let limit = self.admission.limit();
            let mut inner = self.lock();
            let is_full = inner.open >= limit;
            let evicted = is_full.then(|| inner.evict()).flatten();
            if evicted.is_none() {
                inner.open += 1;
            }
            (inner.last_wanted.clone(), evicted)
        };
        place.counted = true;
        if let Some(parked) = evicted {
            self.close_evicted(parked.connection).await;
        }
        let bucket = Bucket {
            schema: None,
            variables: Variables::default(),
            ..wanted.unwrap_or_else(Bucket::of_nobody)
        };
        match self.try_open(&bucket).await {
            Ok((connection, generation)) => {
                place.generation = generation;
                Ok(Lease { place, connection })
            }
            Err(source) => {
                place.uncount();
                Err(self.not_open(source))
            }
        }
    }

    fn waits_for_failover(&self) -> bool {
        !self.limits.failover_wait.get().is_zero()
    }

    /// A new connection and its generation.
    pub(super) async fn try_open(&self, bucket: &Bucket) -> Result<(Idle, u64), OpenError> {
        let generation = self.generation.load(Ordering::Acquire);
        let opened = Idle::open(&self.account, bucket.clone()).await;
        let counter = if opened.is_ok() {
            &self.metrics.opened
        } else {
            &self.metrics.open_failures
        };
        counter.with_label_values(&[self.name.as_str()]).inc();
        if let Err(error) = &opened {
            self.note_trouble(error);
        }
        let opened = opened?;
        let generation = self.note_role(opened.is_read_only(), generation);
        Ok((opened, generation))
    }

    /// In the order of asking, until the server is back or the wait is over. Nothing was sent yet: the statement loses nothing.
    async fn open_when_back(
        &self,
        bucket: &Bucket,
        mut last: Option<OpenError>,
    ) -> Result<(Idle, u64), StatementError> {
        let limit = self.limits.failover_wait.get();
        let waiter = self.outage.join();
        let back = async {
            let mut first = waiter.first().await;
            loop {
                match self.try_open(bucket).await {
                    Ok(opened) => {
                        first.succeeded();
                        return Ok(opened);
                    }
                    Err(error) if !may_pass(&error) => return Err(error),
                    Err(error) => last = Some(error),
                }
                tokio::time::sleep(first.failed()).await;
            }
        };
        let tried = tokio::time::timeout(limit, back).await;
        self.admission.excuse();
        match tried {
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
