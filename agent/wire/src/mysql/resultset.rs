//! Small text result sets for statements that are answered without a server: "Text Resultset".

use bytes::{BufMut, Bytes, BytesMut};

use super::flags::{Capabilities, Status};
use super::packet;
use super::response::{EofPacket, OkPacket};

/// Collation id of numbers and other binary values.
const BINARY: u16 = 63;
/// `enum_field_types`: MYSQL_TYPE_LONGLONG.
const TYPE_LONGLONG: u8 = 8;
/// `enum_field_types`: MYSQL_TYPE_VAR_STRING.
const TYPE_VAR_STRING: u8 = 253;
/// Column definition flags: NOT_NULL_FLAG, UNSIGNED_FLAG, BINARY_FLAG.
const NOT_NULL: u16 = 1;
const UNSIGNED: u16 = 32;
const BINARY_FLAG: u16 = 128;
/// Length shown for a BIGINT.
const BIGINT_CHARS: u32 = 21;
/// "Not fixed", the decimals of a string.
const DECIMALS_NOT_FIXED: u8 = 31;
/// Length of the fixed part of a column definition.
const FIXED_PART_LEN: u64 = 0x0C;
/// NULL in a text row.
const NULL: u8 = 0xFB;

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
        packet::write_with(out, seq, |out| {
            packet::put_lenenc_int(out, self.columns.len() as u64)
        });
        for (index, column) in self.columns.iter().enumerate() {
            let values = self.rows.iter().filter_map(|row| row.get(index)?.as_ref());
            let longest = values.map(Bytes::len).max().unwrap_or(0);
            packet::write_with(out, seq, |out| column.put(longest, out));
        }
        if !client.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
            EofPacket {
                warnings: 0,
                status,
            }
            .encode(out, seq);
        }
        for row in &self.rows {
            packet::write_with(out, seq, |out| {
                for index in 0..self.columns.len() {
                    match row.get(index) {
                        Some(Some(value)) => packet::put_lenenc_bytes(out, value),
                        Some(None) | None => out.put_u8(NULL),
                    }
                }
            });
        }
        OkPacket {
            status,
            ..OkPacket::default()
        }
        .encode_end_of_rows(client, out, seq);
    }
}

impl Column {
    /// "Column Definition".
    fn put(&self, longest: usize, out: &mut BytesMut) {
        let longest = u32::try_from(longest).unwrap_or(u32::MAX);
        let (collation, length, kind, flags, decimals) = match self.kind {
            ColumnType::Integer => (
                BINARY,
                BIGINT_CHARS,
                TYPE_LONGLONG,
                NOT_NULL | BINARY_FLAG,
                0,
            ),
            ColumnType::Unsigned => (
                BINARY,
                BIGINT_CHARS,
                TYPE_LONGLONG,
                NOT_NULL | UNSIGNED | BINARY_FLAG,
                0,
            ),
            ColumnType::Text { collation } => {
                (collation, longest, TYPE_VAR_STRING, 0, DECIMALS_NOT_FIXED)
            }
        };
        packet::put_lenenc_bytes(out, b"def");
        // Schema, table and the table's own name are empty: the value comes from no table.
        out.put_slice(&[0, 0, 0]);
        packet::put_lenenc_bytes(out, &self.name);
        out.put_u8(0);
        packet::put_lenenc_int(out, FIXED_PART_LEN);
        out.put_u16_le(collation);
        out.put_u32_le(length);
        out.put_u8(kind);
        out.put_u16_le(flags);
        out.put_u8(decimals);
        out.put_u16_le(0);
    }
}

#[cfg(test)]
mod tests;
