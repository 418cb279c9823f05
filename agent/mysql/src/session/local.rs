//! Answers that need no server, because the session itself holds the value.

use bytes::{Bytes, BytesMut};
use lamplighter_wire::mysql::resultset::{ColumnType, TextResultSet};
use lamplighter_wire::sql::{ExactSpelling, SessionValue};

use super::last::FoundRows;
use super::{Flow, Session};

impl Session<'_> {
    /// The value, unless only the held connection knows it.
    pub(super) fn known_value(&self, asked: SessionValue) -> Option<String> {
        match asked {
            SessionValue::LastInsertId => match &self.hold {
                Some(held) if held.insert_id.is_there() => None,
                _ => self.insert_id.known().map(|value| value.to_string()),
            },
            SessionValue::FoundRows => match self.last.found_rows {
                FoundRows::Known(rows) => Some(rows.to_string()),
                FoundRows::OnConnection | FoundRows::Lost => None,
            },
            SessionValue::RowCount => Some(self.last.row_count.to_string()),
            SessionValue::ConnectionId => Some(self.identity.connection_id.to_string()),
        }
    }

    /// The value as it is written into a statement's text.
    pub(super) fn value_in_text(&self, asked: SessionValue) -> Option<String> {
        match asked {
            // set on the connection instead, where it keeps its type
            SessionValue::LastInsertId => None,
            SessionValue::ConnectionId => self
                .known_value(asked)
                .map(|id| format!("CAST({id} AS UNSIGNED)")),
            asked => self
                .known_value(asked)
                .map(|value| format!("CAST({value} AS SIGNED)")),
        }
    }

    /// `SELECT FOUND_ROWS()` and its like, without a server.
    pub(super) async fn answer_value(
        &mut self,
        asked: ExactSpelling<'_>,
        value: String,
        seq: u8,
    ) -> Flow {
        let kind = match asked.value {
            SessionValue::FoundRows | SessionValue::RowCount => ColumnType::Integer,
            SessionValue::LastInsertId | SessionValue::ConnectionId => ColumnType::Unsigned,
        };
        if self
            .hold
            .as_ref()
            .is_some_and(|held| held.ties.only_diagnostics())
        {
            self.forget_diagnostics();
        }
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
        self.last.note_answered();
        self.shared.metrics.local.inc();
        self.answer_sent(out).await
    }
}
