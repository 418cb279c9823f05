//! Replies, packet by packet, and the one request that is more than bytes: COM_STMT_EXECUTE.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use lamplighter_wire::mysql::flags::Status;
use lamplighter_wire::mysql::packet::{self, Reader};

/// One packet of a reply, read.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// OK, also the one that ends rows.
    Ok {
        affected: u64,
        insert_id: u64,
        status: Status,
        warnings: u16,
        info: Bytes,
        track: Bytes,
    },
    Err {
        code: u16,
        state: [u8; 5],
        message: String,
    },
    Eof {
        warnings: u16,
        status: Status,
    },
    /// How many column definitions follow.
    Columns(u64),
    /// One of them, as it came.
    Column(Bytes),
    /// A row, text or binary, as it came.
    Row(Bytes),
    /// The head of a prepared statement, without its id.
    Prepared {
        columns: u16,
        params: u16,
        warnings: u16,
    },
    /// COM_STATISTICS.
    Text(Bytes),
    /// The server wants a file.
    Infile(Bytes),
    /// The connection ended here.
    Lost(String),
}

/// A whole reply.
pub(crate) type Answer = Vec<Part>;

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ok {
                affected,
                insert_id,
                status,
                warnings,
                info,
                track,
            } => {
                write!(
                    f,
                    "Ok(affected {affected}, id {insert_id}, {status:?}, warnings {warnings}, info {info:?}"
                )?;
                if track.is_empty() {
                    write!(f, ")")
                } else {
                    write!(f, ", track {track:?})")
                }
            }
            Self::Err {
                code,
                state,
                message,
            } => write!(
                f,
                "Err({code} {} {message:?})",
                String::from_utf8_lossy(state)
            ),
            Self::Eof { warnings, status } => write!(f, "Eof(warnings {warnings}, {status:?})"),
            Self::Columns(count) => write!(f, "Columns({count})"),
            Self::Column(body) => write!(f, "Column({body:?})"),
            Self::Row(body) => write!(f, "Row({body:?})"),
            Self::Prepared {
                columns,
                params,
                warnings,
            } => write!(
                f,
                "Prepared(columns {columns}, params {params}, warnings {warnings})"
            ),
            Self::Text(body) => write!(f, "Text({body:?})"),
            Self::Infile(body) => write!(f, "Infile({body:?})"),
            Self::Lost(why) => write!(f, "Lost({why})"),
        }
    }
}

/// The error that ends the answer, if one does.
pub(crate) fn error_of(answer: &[Part]) -> Option<(u16, &str)> {
    match answer.last() {
        Some(Part::Err { code, message, .. }) => Some((*code, message)),
        _ => None,
    }
}

/// The values of all text rows; NULL is `None`.
pub(crate) fn text_rows(answer: &[Part]) -> Vec<Vec<Option<Bytes>>> {
    answer
        .iter()
        .filter_map(|part| match part {
            Part::Row(body) => Some(text_row(body)),
            _ => None,
        })
        .collect()
}

fn text_row(body: &Bytes) -> Vec<Option<Bytes>> {
    let mut values = Vec::new();
    let mut rest = body.clone();
    while !rest.is_empty() {
        if rest[0] == 0xFB {
            rest = rest.slice(1..);
            values.push(None);
            continue;
        }
        let mut reader = Reader::new(&rest);
        let value = reader.lenenc_bytes().expect("a text row");
        let (len, left) = (value.len(), reader.remaining());
        let start = rest.len() - left - len;
        values.push(Some(rest.slice(start..start + len)));
        rest = rest.slice(rest.len() - left..);
    }
    values
}

/// A parameter of a prepared statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Param {
    Null,
    Int(i64),
    Double(f64),
    Text(Vec<u8>),
    /// Sent before by COM_STMT_SEND_LONG_DATA.
    Long,
}

/// The argument of COM_STMT_EXECUTE. With `types` false the types of the execution before are said to hold.
pub(crate) fn execute_body(id: u32, cursor: bool, params: &[Param], types: bool) -> Vec<u8> {
    let mut body = BytesMut::new();
    body.put_u32_le(id);
    body.put_u8(u8::from(cursor));
    body.put_u32_le(1);
    if params.is_empty() {
        return body.to_vec();
    }
    let mut nulls = vec![0u8; params.len().div_ceil(8)];
    for (index, param) in params.iter().enumerate() {
        if *param == Param::Null {
            nulls[index / 8] |= 1 << (index % 8);
        }
    }
    body.put_slice(&nulls);
    body.put_u8(u8::from(types));
    if types {
        for param in params {
            let kind = match param {
                Param::Null => 6,
                Param::Int(_) => 8,
                Param::Double(_) => 5,
                Param::Text(_) => 253,
                Param::Long => 252,
            };
            body.put_slice(&[kind, 0]);
        }
    }
    for param in params {
        match param {
            Param::Null | Param::Long => {}
            Param::Int(value) => body.put_i64_le(*value),
            Param::Double(value) => body.put_f64_le(*value),
            Param::Text(value) => packet::put_lenenc_bytes(&mut body, value),
        }
    }
    body.to_vec()
}
