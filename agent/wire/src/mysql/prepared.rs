//! Prepared statements apart from their connection: the reply to COM_STMT_PREPARE kept whole, and the parts of later
//! commands that name the statement ("COM_STMT_PREPARE Response", "COM_STMT_EXECUTE"). Bytes only; no IO.

use core::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::ProtocolError;
use super::flags::{Capabilities, Status};
use super::packet::{self, HEADER_LEN, Header, Reader};
use super::response::{EofPacket, OK};

/// Length of the fixed part of COM_STMT_EXECUTE: command, statement id, flags, iteration count.
const EXECUTE_HEAD_LEN: usize = 1 + 4 + 1 + 4;

/// `enum_cursor_type` and, under CLIENT_QUERY_ATTRIBUTES, PARAMETER_COUNT_AVAILABLE.
const CURSORS: u8 = 0x07;
const PARAMETER_COUNT_AVAILABLE: u8 = 0x08;

/// What a server says of a statement it has prepared, apart from its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrepareReply {
    /// Columns of the result set.
    pub columns: u16,
    /// Parameters.
    pub params: u16,
    /// Warnings of the preparation.
    pub warnings: u16,
    /// Bodies of the column definition packets: of the parameters, then of the columns.
    pub definitions: Vec<Bytes>,
}

impl PrepareReply {
    /// Reads a whole reply, packets with their headers as they came from a server with these capabilities; returns the
    /// statement's id with it.
    ///
    /// # Errors
    /// Any [`ProtocolError`] of a reply that is none, or not whole.
    pub fn parse(reply: &[u8], server: Capabilities) -> Result<(u32, Self), ProtocolError> {
        let mut packets = Packets(reply);
        let mut head = Reader::new(packets.next()?);
        let first = head.u8()?;
        if first != OK {
            return Err(ProtocolError::Unexpected {
                first,
                expected: "PREPARE OK",
            });
        }
        let id = head.u32()?;
        let (columns, params) = (head.u16()?, head.u16()?);
        head.u8()?;
        let warnings = head.u16()?;
        let mut definitions = Vec::with_capacity(usize::from(columns) + usize::from(params));
        for count in [params, columns] {
            for _ in 0..count {
                definitions.push(Bytes::copy_from_slice(packets.next()?));
            }
            if count > 0 && !server.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
                packets.next()?;
            }
        }
        Ok((
            id,
            Self {
                columns,
                params,
                warnings,
                definitions,
            },
        ))
    }

    /// Appends the reply for a client with these capabilities, under the id it knows the statement by.
    pub fn encode(
        &self,
        id: u32,
        client: Capabilities,
        status: Status,
        out: &mut BytesMut,
        seq: &mut u8,
    ) {
        packet::write_with(out, seq, |out| {
            out.put_u8(OK);
            out.put_u32_le(id);
            out.put_u16_le(self.columns);
            out.put_u16_le(self.params);
            out.put_u8(0);
            out.put_u16_le(self.warnings);
        });
        let (params, columns) = self
            .definitions
            .split_at(usize::from(self.params).min(self.definitions.len()));
        for group in [params, columns] {
            for definition in group {
                packet::write(out, seq, definition);
            }
            if !group.is_empty() && !client.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
                EofPacket {
                    warnings: 0,
                    status,
                }
                .encode(out, seq);
            }
        }
    }

    /// Bytes it takes up, about.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + self
                .definitions
                .iter()
                .map(|body| size_of::<Bytes>() + body.len())
                .sum::<usize>()
    }
}

/// Whole packets in a row; their bodies.
struct Packets<'a>(&'a [u8]);

impl<'a> Packets<'a> {
    fn next(&mut self) -> Result<&'a [u8], ProtocolError> {
        let cut = ProtocolError::Malformed("reply to COM_STMT_PREPARE (cut short)");
        let header = Header::parse(self.0).ok_or(cut)?;
        let (packet, rest) =
            self.0
                .split_at_checked(HEADER_LEN + header.len)
                .ok_or(ProtocolError::Malformed(
                    "reply to COM_STMT_PREPARE (cut short)",
                ))?;
        self.0 = rest;
        Ok(packet.get(HEADER_LEN..).unwrap_or_default())
    }
}

/// The statement id in a command about a prepared statement (COM_STMT_EXECUTE, _FETCH, _RESET, _CLOSE, _SEND_LONG_DATA).
/// `body` starts with the command byte.
#[must_use]
pub fn statement_id(body: &[u8]) -> Option<u32> {
    let bytes: [u8; 4] = body.get(1..5)?.try_into().ok()?;
    Some(u32::from_le_bytes(bytes))
}

/// Writes another statement id into such a command. `packets` starts with the first packet's header. False if it is too short
/// to hold one.
pub fn set_statement_id(packets: &mut [u8], id: u32) -> bool {
    packets
        .get_mut(HEADER_LEN + 1..HEADER_LEN + 5)
        .is_some_and(|place| {
            place.copy_from_slice(&id.to_le_bytes());
            true
        })
}

/// Where things are in the body of COM_STMT_EXECUTE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute {
    /// The statement.
    pub id: u32,
    /// The client wants a cursor.
    pub cursor: bool,
    /// Place of the new-params-bound flag; `None` if nothing is bound.
    bound_at: Option<usize>,
    /// Place of the parameters' types, empty if they are not sent.
    types: Range<usize>,
}

impl Execute {
    /// Reads the beginning of a body up to the parameters' values; `params` is what the server said when it prepared the
    /// statement. The body may be cut off behind that.
    ///
    /// # Errors
    /// Any [`ProtocolError`] of a body too short.
    pub fn parse(body: &[u8], params: u16, client: Capabilities) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        reader.u8()?;
        let id = reader.u32()?;
        let flags = reader.u8()?;
        reader.u32()?;
        let mut found = Self {
            id,
            cursor: flags & CURSORS != 0,
            bound_at: None,
            types: 0..0,
        };
        let attributes = client.contains(Capabilities::CLIENT_QUERY_ATTRIBUTES);
        let counted = attributes && flags & PARAMETER_COUNT_AVAILABLE != 0;
        let count = if counted {
            reader.lenenc_int()?
        } else {
            u64::from(params)
        };
        if count == 0 {
            return Ok(found);
        }
        let bitmap = usize::try_from(count.div_ceil(8)).unwrap_or(usize::MAX);
        reader.bytes(bitmap)?;
        let bound_at = body.len() - reader.remaining();
        let bound = reader.u8()?;
        found.bound_at = Some(bound_at);
        found.types = bound_at + 1..bound_at + 1;
        if bound == 1 {
            for _ in 0..count {
                reader.u16()?;
                if attributes {
                    reader.lenenc_bytes()?;
                }
            }
            found.types.end = body.len() - reader.remaining();
        }
        Ok(found)
    }

    /// The types of the parameters, if they are sent with this command.
    #[must_use]
    pub fn types<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        (!self.types.is_empty())
            .then(|| body.get(self.types.clone()))
            .flatten()
    }

    /// Parameters are bound, but their types were sent with an earlier execution ("new-params-bound" is 0).
    #[must_use]
    pub fn relies_on_earlier_types(&self) -> bool {
        self.bound_at.is_some() && self.types.is_empty()
    }

    /// The whole body with the types put in.
    #[must_use]
    pub fn with_types(&self, body: &[u8], types: &[u8]) -> BytesMut {
        let at = self.bound_at.unwrap_or(EXECUTE_HEAD_LEN).min(body.len());
        let (before, after) = body.split_at(at);
        let mut whole = BytesMut::with_capacity(body.len() + types.len());
        whole.put_slice(before);
        whole.put_u8(1);
        whole.put_slice(types);
        whole.put_slice(after.get(1..).unwrap_or_default());
        whole
    }
}

#[cfg(test)]
mod tests;
