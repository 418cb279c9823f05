//! Generic replies: OK, ERR, EOF ("Generic Response Packets") and the session state that OK packets carry.

use bytes::{BufMut, Bytes, BytesMut};

use super::ProtocolError;
use super::flags::{Capabilities, Status};
use super::packet::{self, Reader};

mod session_track;

pub use session_track::SessionTrack;

/// First body byte of an OK packet.
pub const OK: u8 = 0x00;
/// First body byte of an EOF packet, and of the OK packet that stands for it under `CLIENT_DEPRECATE_EOF`.
pub const EOF: u8 = 0xFE;
/// First body byte of an ERR packet.
pub const ERR: u8 = 0xFF;

/// An OK packet ("OK_Packet").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OkPacket {
    /// Rows changed (or matched, under `CLIENT_FOUND_ROWS`).
    pub affected_rows: u64,
    /// First value generated for an AUTO_INCREMENT column by this statement; 0 if none.
    pub last_insert_id: u64,
    /// Server status after the statement.
    pub status: Status,
    /// Warnings of the statement.
    pub warnings: u16,
    /// Text such as `Rows matched: 1  Changed: 1  Warnings: 0`.
    pub info: Bytes,
    /// Session state that changed.
    pub track: SessionTrack,
}

/// An OK packet read without copying; the session state block is left unparsed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OkView<'a> {
    pub(crate) affected_rows: u64,
    pub(crate) last_insert_id: u64,
    pub(crate) status: Status,
    pub(crate) warnings: u16,
    pub(crate) info: &'a [u8],
    pub(crate) track: &'a [u8],
}

impl<'a> OkView<'a> {
    /// Reads an OK packet's body with either first byte.
    pub(crate) fn parse(body: &'a [u8], sender: Capabilities) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            OK | EOF => {}
            first => {
                return Err(ProtocolError::Unexpected {
                    first,
                    expected: "OK",
                });
            }
        }
        let mut ok = Self {
            affected_rows: reader.lenenc_int()?,
            last_insert_id: reader.lenenc_int()?,
            status: Status(reader.u16()?),
            warnings: reader.u16()?,
            info: &[],
            track: &[],
        };
        if !sender.contains(Capabilities::CLIENT_SESSION_TRACK) {
            // The manual says string<EOF> here, but MySQL and MariaDB send a length-prefixed string, and libmysqlclient and
            // mysqlnd read one. Anything else is taken as the manual's form.
            let mut prefixed = reader;
            ok.info = match prefixed.lenenc_bytes() {
                Ok(info) if prefixed.is_empty() => info,
                _ => reader.rest(),
            };
            return Ok(ok);
        }
        if !reader.is_empty() {
            ok.info = reader.lenenc_bytes()?;
        }
        if ok.status.contains(Status::SERVER_SESSION_STATE_CHANGED) && !reader.is_empty() {
            ok.track = reader.lenenc_bytes()?;
        }
        if !reader.is_empty() {
            return Err(ProtocolError::Malformed(
                "OK packet (bytes after its last field)",
            ));
        }
        Ok(ok)
    }

    /// Writes the body for a client with these capabilities.
    pub(crate) fn put(&self, first: u8, client: Capabilities, out: &mut BytesMut) {
        let tracked = client.contains(Capabilities::CLIENT_SESSION_TRACK) && !self.track.is_empty();
        let mut status = self.status.without(Status::SERVER_SESSION_STATE_CHANGED);
        if tracked {
            status |= Status::SERVER_SESSION_STATE_CHANGED;
        }
        out.put_u8(first);
        packet::put_lenenc_int(out, self.affected_rows);
        packet::put_lenenc_int(out, self.last_insert_id);
        out.put_u16_le(status.bits());
        out.put_u16_le(self.warnings);
        if tracked || !self.info.is_empty() {
            packet::put_lenenc_bytes(out, self.info);
        }
        if tracked {
            packet::put_lenenc_bytes(out, self.track);
        }
    }
}

impl OkPacket {
    /// Reads an OK packet's body; the first byte may be 0x00 or, at the end of rows under `CLIENT_DEPRECATE_EOF`, 0xFE.
    /// `sender` is what the sender's connection negotiated.
    ///
    /// # Errors
    /// Any [`ProtocolError`] of a malformed packet.
    pub fn parse(body: &[u8], sender: Capabilities) -> Result<Self, ProtocolError> {
        let view = OkView::parse(body, sender)?;
        let mut track = SessionTrack::default();
        track.merge_block(view.track)?;
        Ok(Self {
            affected_rows: view.affected_rows,
            last_insert_id: view.last_insert_id,
            status: view.status,
            warnings: view.warnings,
            info: Bytes::copy_from_slice(view.info),
            track,
        })
    }

    /// Appends it as a packet for a client with these capabilities. Session state is sent only under
    /// `CLIENT_SESSION_TRACK`; `SERVER_SESSION_STATE_CHANGED` in the status is set exactly when it is.
    pub fn encode(&self, client: Capabilities, out: &mut BytesMut, seq: &mut u8) {
        self.encode_as(OK, client, out, seq);
    }

    /// Appends the packet that ends the rows of a result set: OK with 0xFE under `CLIENT_DEPRECATE_EOF`, else EOF.
    pub fn encode_end_of_rows(&self, client: Capabilities, out: &mut BytesMut, seq: &mut u8) {
        if client.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
            self.encode_as(EOF, client, out, seq);
        } else {
            EofPacket {
                warnings: self.warnings,
                status: self.status,
            }
            .encode(out, seq);
        }
    }

    fn encode_as(&self, first: u8, client: Capabilities, out: &mut BytesMut, seq: &mut u8) {
        let mut block = BytesMut::new();
        if client.contains(Capabilities::CLIENT_SESSION_TRACK) {
            self.track.put_block(&mut block);
        }
        let view = OkView {
            affected_rows: self.affected_rows,
            last_insert_id: self.last_insert_id,
            status: self.status,
            warnings: self.warnings,
            info: &self.info,
            track: &block,
        };
        packet::write_with(out, seq, |out| view.put(first, client, out));
    }
}

/// An ERR packet ("ERR_Packet").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrPacket {
    /// Error number, such as 1064.
    pub code: u16,
    /// SQLSTATE; `HY000` where the packet has none (errors before the handshake).
    pub sql_state: [u8; 5],
    /// The message, in the connection's character set.
    pub message: Bytes,
}

impl ErrPacket {
    /// SQLSTATE of errors that have none of their own.
    pub const GENERAL: [u8; 5] = *b"HY000";

    /// An error of our own.
    #[must_use]
    pub fn new(code: u16, sql_state: [u8; 5], message: impl Into<Bytes>) -> Self {
        Self {
            code,
            sql_state,
            message: message.into(),
        }
    }

    /// Reads an ERR packet's body.
    ///
    /// # Errors
    /// Any [`ProtocolError`] of a malformed packet.
    pub fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            ERR => {}
            first => {
                return Err(ProtocolError::Unexpected {
                    first,
                    expected: "ERR",
                });
            }
        }
        let code = reader.u16()?;
        let mut message = reader.rest();
        let mut sql_state = Self::GENERAL;
        // Before the capabilities are known a server sends no SQLSTATE, so its marker decides.
        if let Some((state, text)) = message
            .strip_prefix(b"#")
            .and_then(<[u8]>::split_first_chunk::<5>)
        {
            sql_state = *state;
            message = text;
        }
        Ok(Self {
            code,
            sql_state,
            message: Bytes::copy_from_slice(message),
        })
    }

    /// Appends it as a packet.
    pub fn encode(&self, out: &mut BytesMut, seq: &mut u8) {
        packet::write_with(out, seq, |out| {
            out.put_u8(ERR);
            out.put_u16_le(self.code);
            out.put_u8(b'#');
            out.put_slice(&self.sql_state);
            out.put_slice(&self.message);
        });
    }
}

/// An EOF packet ("EOF_Packet").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EofPacket {
    /// Warnings so far.
    pub warnings: u16,
    /// Server status.
    pub status: Status,
}

impl EofPacket {
    /// Reads an EOF packet's body.
    ///
    /// # Errors
    /// Any [`ProtocolError`] of a malformed packet.
    pub fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            EOF => {}
            first => {
                return Err(ProtocolError::Unexpected {
                    first,
                    expected: "EOF",
                });
            }
        }
        let packet = Self {
            warnings: reader.u16()?,
            status: Status(reader.u16()?),
        };
        if reader.is_empty() {
            Ok(packet)
        } else {
            Err(ProtocolError::Malformed(
                "EOF packet (bytes after its last field)",
            ))
        }
    }

    /// Appends it as a packet. An EOF cannot carry session state, so it never says that it does.
    pub fn encode(&self, out: &mut BytesMut, seq: &mut u8) {
        let status = self.status.without(Status::SERVER_SESSION_STATE_CHANGED);
        packet::write_with(out, seq, |out| {
            out.put_u8(EOF);
            out.put_u16_le(self.warnings);
            out.put_u16_le(status.bits());
        });
    }
}

#[cfg(test)]
mod tests;
