//! Answers that need no server, because the session itself holds the value.

use bytes::{Bytes, BytesMut};
use lamplighter_wire::mysql::resultset::{ColumnType, TextResultSet};
use lamplighter_wire::sql::{ExactSpelling, SessionValue};

use super::{Flow, Session};

impl Session<'_> {
    /// `SELECT FOUND_ROWS()` and its like, while no connection is held that would know better.
    pub(super) async fn answer_value(&mut self, asked: ExactSpelling<'_>, seq: u8) -> Flow {
        let (kind, value) = match asked.value {
            SessionValue::FoundRows => (ColumnType::Integer, self.last.found_rows.to_string()),
            SessionValue::RowCount => (ColumnType::Integer, self.last.row_count.to_string()),
            // a session with another value holds the connection that made it
            SessionValue::LastInsertId => (ColumnType::Unsigned, "0".to_owned()),
        };
        let result = TextResultSet::single(
            Bytes::copy_from_slice(asked.column),
            kind,
            Some(value.into()),
        );
        let mut out = BytesMut::with_capacity(128);
        let mut seq = seq;
        result.encode(
            self.identity.capabilities,
            self.status(),
            &mut out,
            &mut seq,
        );
        // the question is a statement itself: one row was found, none changed
        self.last.found_rows = 1;
        self.last.row_count = -1;
        self.answer_bytes(out).await
    }
}
