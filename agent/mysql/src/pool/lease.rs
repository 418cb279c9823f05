//! A connection out of its pool, and the right to it. Gives both back however it ends; a command on its way closes it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lamplighter_wire::mysql::flags::Status;
use tokio::sync::OwnedSemaphorePermit;

use super::{Ask, Discard, Parked, Pool};
use crate::error::StatementError;
use crate::insert_id::OfSession;
use crate::server::{Bucket, Busy, Idle};

/// The right to one connection of the pool. Dropped in whatever way, it gives the right back and counts the connection out.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) pool: Arc<Pool>,
    pub(super) generation: u64,
    /// A connection, open or being opened, is counted in `Inner::open` for this place.
    pub(super) counted: bool,
    /// It is a client's: whoever leaves waits for it.
    lent: bool,
    _permit: OwnedSemaphorePermit,
}

/// A connection taken from its pool, between two packets.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(super) place: Place,
    pub(crate) connection: Idle,
}

/// A connection taken from its pool, with a command on its way. Dropped, the connection is closed.
#[derive(Debug)]
pub(crate) struct BusyLease {
    pub(crate) connection: Busy,
    place: Place,
}

impl Place {
    /// For a client, without a connection yet.
    pub(super) fn lent(pool: &Arc<Pool>, permit: OwnedSemaphorePermit) -> Self {
        pool.busy_gauge.inc();
        Self {
            pool: Arc::clone(pool),
            generation: pool.generation.load(Ordering::Acquire),
            counted: false,
            lent: true,
            _permit: permit,
        }
    }

    /// For the pool's own upkeep of a connection that is counted already. Nobody waits for it: with a server that is away there is
    /// always one on its way.
    pub(super) fn upkeep(pool: &Arc<Pool>, permit: OwnedSemaphorePermit, generation: u64) -> Self {
        Self {
            pool: Arc::clone(pool),
            generation,
            counted: true,
            lent: false,
            _permit: permit,
        }
    }

    /// The connection is gone without having been in anybody's hands.
    pub(super) fn uncount(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.pool.lock().open -= 1;
        }
    }

    pub(super) fn close(mut self, reason: Discard) {
        self.uncount();
        self.pool.count_discard(reason);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.counted {
            self.uncount();
            self.pool.count_discard(Discard::Busy);
        }
        if self.lent {
            self.pool.busy_gauge.dec();
        }
    }
}

impl Lease {
    /// Gives the connection back for the next client of its bucket.
    pub(crate) fn release(self) {
        let Self {
            mut place,
            connection,
        } = self;
        let pool = Arc::clone(&place.pool);
        if place.generation != pool.generation.load(Ordering::Acquire) {
            return place.close(Discard::Retired);
        }
        let mut inner = pool.lock();
        inner.idle.push_back(Parked {
            connection,
            since: Instant::now(),
            generation: place.generation,
        });
        // the count goes with the connection
        place.counted = false;
        pool.show(&inner);
        drop(inner);
        // only now may the next in line come: it must find the connection
        drop(place);
    }

    /// Makes LAST_INSERT_ID() on the connection the session's.
    pub(crate) async fn with_insert_id(self, session: &OfSession) -> Result<Self, StatementError> {
        let bucket = self.connection.bucket().clone();
        let ask = Ask {
            session: Some(session),
            insert_id: true,
            ..Ask::of(&bucket)
        };
        let pool = Arc::clone(&self.place.pool);
        let Some(value) = pool.wanted_insert_id(&self.connection, &ask).await? else {
            return Ok(self);
        };
        self.adapted(&bucket, Some(value)).await
    }

    /// Brings the connection into another state; it is closed if that fails.
    pub(crate) async fn adapted(
        self,
        bucket: &Bucket,
        insert_id: Option<u64>,
    ) -> Result<Self, StatementError> {
        let Self { place, connection } = self;
        match connection.adapt(bucket, insert_id).await {
            Ok(connection) => Ok(Self { place, connection }),
            Err(source) => Err(place.pool.not_open(source)),
        }
    }

    /// Wipes what a client left on the connection, then gives it back.
    pub(crate) async fn reset_and_release(self) {
        let Self { place, connection } = self;
        let limit = Duration::from_secs(5);
        match tokio::time::timeout(limit, connection.reset()).await {
            Ok(Ok(connection)) => Self { place, connection }.release(),
            Ok(Err(_)) | Err(_) => place.close(Discard::ResetFailed),
        }
    }

    /// The connection is from before the last retirement: it is closed when it is given back.
    pub(crate) fn is_retired(&self) -> bool {
        self.place.generation != self.place.pool.generation.load(Ordering::Acquire)
    }

    /// Closes the connection after it has told its session's LAST_INSERT_ID(), if that is owed, and lets nobody use others of its time.
    pub(crate) async fn leave_server(self) {
        let Self { place, connection } = self;
        place.pool.note_refused(place.generation);
        if connection.insert_id().is_wanted_beside(None) {
            // if the server does not say, the session hears that
            drop(connection.settle_insert_id().await);
        }
        place.close(Discard::Retired);
    }

    /// Closes the connection.
    pub(crate) fn close(self, reason: Discard) {
        self.place.close(reason);
    }

    /// Takes the connection into use.
    pub(crate) fn start(self) -> BusyLease {
        let connection = self.connection.start();
        BusyLease {
            connection,
            place: self.place,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.place.pool
    }

    pub(crate) fn status(&self) -> Status {
        self.connection.status()
    }
}

impl BusyLease {
    /// The server takes no writes: neither this connection nor others of its time are used again once they are free.
    pub(crate) fn note_refused(&self) {
        self.place.pool.note_refused(self.place.generation);
    }

    /// Back to between two packets.
    pub(crate) fn finish(self, finish: impl FnOnce(Busy) -> Idle) -> Lease {
        Lease {
            connection: finish(self.connection),
            place: self.place,
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.place.pool
    }
}
