//! Small text result sets for statements that are answered without a server: "Text Resultset".

use bytes::{Bytes, BytesMut};

use super::flags::{Capabilities, Status};

/// Type of a column, with what goes with it in a column definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// BIGINT, NOT NULL.
    Integer,
    /// BIGINT UNSIGNED, NOT NULL: what LAST_INSERT_ID() has.
    Unsigned,
    /// VARCHAR in the character set of the collation id given; length is the longest value's.
    Text {
        /// Collation id of the values.
        collation: u16,
    },
}

/// A column of a result set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name shown to the client.
    pub name: Bytes,
    /// Type.
    pub kind: ColumnType,
}

/// A result set made here. Rows shorter than the columns are filled with NULL, longer ones cut.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextResultSet {
    /// Columns, at least one.
    pub columns: Vec<Column>,
    /// Rows; `None` is NULL.
    pub rows: Vec<Vec<Option<Bytes>>>,
}

impl TextResultSet {
    /// One row with one column.
    #[must_use]
    pub fn single(name: impl Into<Bytes>, kind: ColumnType, value: Option<Bytes>) -> Self {
        Self {
            columns: vec![Column {
                name: name.into(),
                kind,
            }],
            rows: vec![vec![value]],
        }
    }

    /// Appends all packets of the result set for a client with these capabilities, ended with `status`.
    pub fn encode(&self, client: Capabilities, status: Status, out: &mut BytesMut, seq: &mut u8) {
        let _ = (client, status, out, seq);
    }
}

#[cfg(test)]
mod tests;
