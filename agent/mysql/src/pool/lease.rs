//! A connection out of its pool, and the right to it. Gives both back however it ends; a command on its way closes it.

use std::sync::Arc;
use std::time::Duration;

use lamplighter_wire::mysql::flags::Status;

use super::place::Place;
use super::{Ask, Discard, Pool};
use crate::error::StatementError;
use crate::insert_id::OfSession;
use crate::server::{Bucket, Busy, Idle};

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

impl Lease {
    /// Gives the connection back for the next client of its bucket.
    pub(crate) fn release(self) {
        let Self {
            mut place,
            connection,
        } = self;
        if place.is_retired() {
            return place.close(Discard::Retired);
        }
        if !place.pool.park(connection, place.generation) {
            return place.close(Discard::Shrunk);
        }
        // the count goes with the connection; only now may the next in line come, who must find it
        place.counted = false;
    }

    /// Has the server asked for the LAST_INSERT_ID() that a session left behind.
    pub(crate) async fn with_settled_insert_id(self) -> Result<Self, StatementError> {
        let Self { place, connection } = self;
        match connection.settle_insert_id().await {
            Ok(connection) => Ok(Self { place, connection }),
            Err(source) => Err(place.pool.not_open(source)),
        }
    }

    /// Makes LAST_INSERT_ID() on the connection the session's, which a connection given back to `left_at` may still know.
    pub(crate) async fn with_insert_id(
        self,
        session: &OfSession,
        left_at: Option<&Arc<Pool>>,
    ) -> Result<Self, StatementError> {
        let bucket = self.connection.bucket().clone();
        let ask = Ask {
            session: Some(session),
            left_at,
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
        self.place.is_retired()
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
