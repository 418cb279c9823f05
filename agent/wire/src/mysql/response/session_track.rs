//! The session state block of an OK packet: "OK_Packet, Session State Information" and `enum_session_state_type`.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::ProtocolError;
use super::super::packet::{self, Reader};

const SYSTEM_VARIABLES: u8 = 0;
const SCHEMA: u8 = 1;
const STATE_CHANGE: u8 = 2;
const GTIDS: u8 = 3;
const TRANSACTION_CHARACTERISTICS: u8 = 4;
const TRANSACTION_STATE: u8 = 5;

/// Changes with every statement when all variables are tracked (`session_track_system_variables='*'`), and is not state.
const STATEMENT_ID: &[u8] = b"statement_id";

/// Most distinct system variables kept from one reply; no server has as many.
const VARIABLES_MAX: usize = 4096;

/// Most bytes of GTIDs kept from one reply.
const GTIDS_BYTES_MAX: usize = 1 << 20;

/// Session state that a reply reported. Holds no memory when the reply reported none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SessionTrack {
    /// System variables and their new values, in the order reported; each name once. `statement_id` is left out: it
    /// changes with every statement.
    pub system_variables: Vec<(Bytes, Bytes)>,
    /// The default schema, if it was set; empty after the current one was dropped.
    pub schema: Option<Bytes>,
    /// Some session state changed that has no tracker of its own (`session_track_state_change`).
    pub state_change: bool,
    /// GTIDs (`session_track_gtids`), as a GTID set.
    pub gtids: Option<Bytes>,
    /// Statements that would start the current kind of transaction (`session_track_transaction_info=CHARACTERISTICS`).
    pub transaction_characteristics: Option<Bytes>,
    /// Transaction state, eight characters (`session_track_transaction_info=STATE`).
    pub transaction_state: Option<Bytes>,
}

impl SessionTrack {
    /// Nothing was reported.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads a whole state block (without its own length prefix).
    ///
    /// # Errors
    /// Any [`ProtocolError`] of a malformed block. Trackers of unknown type are skipped.
    pub fn parse(block: &[u8]) -> Result<Self, ProtocolError> {
        let mut track = Self::default();
        track.merge_block(block)?;
        Ok(track)
    }

    /// Adds what a later result of the same reply reported: later values replace earlier ones, GTIDs add up.
    ///
    /// # Errors
    /// Any [`ProtocolError`] of a malformed block, and [`ProtocolError::TooLarge`] beyond the limits of what is kept.
    pub fn merge_block(&mut self, block: &[u8]) -> Result<(), ProtocolError> {
        let mut reader = Reader::new(block);
        while !reader.is_empty() {
            let kind = reader.u8()?;
            let mut data = Reader::new(reader.lenenc_bytes()?);
            match kind {
                SYSTEM_VARIABLES => {
                    while !data.is_empty() {
                        let name = data.lenenc_bytes()?;
                        self.set_variable(name, data.lenenc_bytes()?)?;
                    }
                }
                SCHEMA => self.schema = Some(Bytes::copy_from_slice(data.lenenc_bytes()?)),
                // The manual shows a string here, servers send its one character without a length.
                STATE_CHANGE => self.state_change |= data.rest().ends_with(b"1"),
                GTIDS => self.add_gtids(data)?,
                TRANSACTION_CHARACTERISTICS => {
                    self.transaction_characteristics =
                        Some(Bytes::copy_from_slice(data.lenenc_bytes()?));
                }
                TRANSACTION_STATE => {
                    self.transaction_state = Some(Bytes::copy_from_slice(data.lenenc_bytes()?))
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn set_variable(&mut self, name: &[u8], value: &[u8]) -> Result<(), ProtocolError> {
        if name == STATEMENT_ID {
            return Ok(());
        }
        let value = Bytes::copy_from_slice(value);
        if let Some(known) = self
            .system_variables
            .iter_mut()
            .find(|(known, _)| known == name)
        {
            known.1 = value;
            return Ok(());
        }
        if self.system_variables.len() == VARIABLES_MAX {
            let (bytes, limit) = (VARIABLES_MAX + 1, VARIABLES_MAX);
            return Err(ProtocolError::TooLarge {
                what: "list of system variables",
                bytes,
                limit,
            });
        }
        self.system_variables
            .push((Bytes::copy_from_slice(name), value));
        Ok(())
    }

    fn add_gtids(&mut self, mut data: Reader<'_>) -> Result<(), ProtocolError> {
        // One byte says how the set is written; only 0, text, exists.
        if data.u8()? != 0 {
            return Ok(());
        }
        let more = data.lenenc_bytes()?;
        let Some(known) = self.gtids.as_ref().filter(|known| !known.is_empty()) else {
            self.gtids = Some(Bytes::copy_from_slice(more));
            return Ok(());
        };
        if more.is_empty() || known == more {
            return Ok(());
        }
        let bytes = known.len() + 1 + more.len();
        if bytes > GTIDS_BYTES_MAX {
            return Err(ProtocolError::TooLarge {
                what: "GTID set",
                bytes,
                limit: GTIDS_BYTES_MAX,
            });
        }
        let mut set = BytesMut::with_capacity(bytes);
        set.put_slice(known);
        set.put_u8(b',');
        set.put_slice(more);
        self.gtids = Some(set.freeze());
        Ok(())
    }

    /// Appends the state block (without its own length prefix); nothing if there is nothing to report.
    pub fn put_block(&self, out: &mut BytesMut) {
        let mut data = BytesMut::new();
        for (name, value) in &self.system_variables {
            packet::put_lenenc_bytes(&mut data, name);
            packet::put_lenenc_bytes(&mut data, value);
            put_tracker(out, SYSTEM_VARIABLES, &mut data);
        }
        if let Some(schema) = &self.schema {
            packet::put_lenenc_bytes(&mut data, schema);
            put_tracker(out, SCHEMA, &mut data);
        }
        if self.state_change {
            data.put_u8(b'1');
            put_tracker(out, STATE_CHANGE, &mut data);
        }
        if let Some(gtids) = &self.gtids {
            data.put_u8(0);
            packet::put_lenenc_bytes(&mut data, gtids);
            put_tracker(out, GTIDS, &mut data);
        }
        let texts = [
            (
                TRANSACTION_CHARACTERISTICS,
                &self.transaction_characteristics,
            ),
            (TRANSACTION_STATE, &self.transaction_state),
        ];
        for (kind, text) in texts {
            if let Some(text) = text {
                packet::put_lenenc_bytes(&mut data, text);
                put_tracker(out, kind, &mut data);
            }
        }
    }
}

fn put_tracker(out: &mut BytesMut, kind: u8, data: &mut BytesMut) {
    out.put_u8(kind);
    packet::put_lenenc_bytes(out, data);
    data.clear();
}
