//! One command's reply, followed packet by packet from the server to the client.

use bytes::{Bytes, BytesMut};

use super::ProtocolError;
use super::flags::{Capabilities, Status};
use super::response::SessionTrack;

/// What a reply to a command looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplyShape {
    /// One OK, EOF or ERR.
    OkOrErr,
    /// COM_QUERY: any number of OKs and text result sets.
    Query,
    /// COM_FIELD_LIST: column definitions up to an EOF.
    FieldList,
    /// COM_STATISTICS: one packet of text.
    Statistics,
    /// COM_STMT_PREPARE.
    Prepare,
    /// COM_STMT_EXECUTE: any number of OKs and binary result sets, or a cursor.
    Execute,
    /// COM_STMT_FETCH: rows up to an EOF.
    Fetch,
    /// Nothing comes.
    None,
}

/// Proof that a reply ended and the server has nothing more to say: the connection is idle between two packets. Only a
/// finished [`Exchange`] makes one, it cannot be copied, and a pool takes a connection back for nothing less.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a connection goes back to its pool only with its boundary"]
pub struct Boundary(());

/// How the last result of a reply ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// OK without rows.
    Ok {
        /// Rows changed (or matched, under `CLIENT_FOUND_ROWS`).
        affected_rows: u64,
        /// As in the last OK; see [`Completion::last_insert_id`] for all of them.
        last_insert_id: u64,
    },
    /// A result set, or the rows or column definitions that were asked for.
    ResultSet,
    /// A cursor was opened; rows come by COM_STMT_FETCH.
    CursorOpened,
    /// A statement was prepared: [`Completion::prepared`].
    Prepared,
    /// COM_STATISTICS' line of text.
    Text,
    /// The command has no reply.
    Nothing,
    /// An error ended the reply.
    Err {
        /// MySQL error number.
        code: u16,
        /// SQLSTATE.
        sql_state: [u8; 5],
        /// The server's text.
        message: Bytes,
    },
}

/// A statement that the server prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreparedStatement {
    /// The server's id, valid on this connection only.
    pub id: u32,
    /// Columns of its result set.
    pub columns: u16,
    /// Parameters.
    pub params: u16,
    /// Warnings of the preparation.
    pub warnings: u16,
}

/// A reply that ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Completion {
    /// Proof that the server connection is idle.
    pub boundary: Boundary,
    /// Server status after the last result. ERR packets and the replies to COM_STMT_PREPARE and COM_STATISTICS report none:
    /// then it is the last one known, see `status_reported`.
    pub status: Status,
    /// `status` came with this reply's last packet.
    pub status_reported: bool,
    /// How the last result ended.
    pub outcome: Outcome,
    /// Results in the reply, an ERR among them.
    pub results: u32,
    /// Row packets in the last result set; 0 if the last result had none.
    pub rows_last: u64,
    /// The last LAST_INSERT_ID that any of the results reported; 0 if none did.
    pub last_insert_id: u64,
    /// Session state reported by all results together.
    pub track: SessionTrack,
    /// Warnings of the last result; 0 after an ERR.
    pub warnings_last: u16,
    /// For COM_STMT_PREPARE.
    pub prepared: Option<PreparedStatement>,
}

/// What [`Exchange::feed`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The reply goes on.
    NeedMore,
    /// The server asks for a file of the client's (LOAD DATA LOCAL). The request was appended to `out`. Relay what the client
    /// sends through [`Exchange::infile_upload`], then call [`Exchange::infile_sent`] and feed the server's answer.
    LocalInfile {
        /// The file's name as the statement has it.
        file_name: Bytes,
    },
    /// The reply ended.
    Done(Completion),
}

/// What [`Exchange::feed`] did.
#[derive(Debug, PartialEq, Eq)]
pub struct Fed {
    /// Bytes taken from the input: all of them, always. What has to be held back is held inside.
    pub consumed: usize,
    /// What they said.
    pub event: Event,
}

/// Follows one reply. See the module's text.
#[derive(Debug)]
pub struct Exchange {
    shape: ReplyShape,
    client: Capabilities,
    server: Capabilities,
    status: Status,
    relayed: u64,
}

impl Exchange {
    /// Before the first byte of a reply of this shape, from a server connection to a client with these capabilities.
    #[must_use]
    pub fn new(reply: ReplyShape, client: Capabilities, server: Capabilities) -> Self {
        Self {
            shape: reply,
            client,
            server,
            status: Status::SERVER_STATUS_AUTOCOMMIT,
            relayed: 0,
        }
    }

    /// The server's status before this command; used where a packet needs a status and none has been reported yet.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// Bytes appended to `out` so far.
    #[must_use]
    pub const fn bytes_relayed(&self) -> u64 {
        self.relayed
    }

    /// At least one byte was appended to `out`.
    #[must_use]
    pub const fn anything_relayed(&self) -> bool {
        self.relayed != 0
    }

    /// Takes the bytes that follow those fed before and appends what the client gets to `out`. For [`ReplyShape::None`] feed
    /// an empty slice.
    ///
    /// # Errors
    /// Any [`ProtocolError`]: the server connection must be closed, and no boundary will come.
    pub fn feed(&mut self, input: &[u8], out: &mut BytesMut) -> Result<Fed, ProtocolError> {
        let _ = (
            input,
            out,
            self.shape,
            self.client,
            self.server,
            Boundary(()),
        );
        Err(ProtocolError::Unsupported("not written yet"))
    }

    /// A relay for what the client sends after [`Event::LocalInfile`].
    #[must_use]
    pub fn infile_upload(&self) -> InfileUpload {
        InfileUpload {}
    }

    /// The client's last (empty) packet went to the server; feed its answer next.
    ///
    /// # Errors
    /// [`ProtocolError::OutOfTurn`] if no file was asked for.
    pub fn infile_sent(&mut self) -> Result<(), ProtocolError> {
        Err(ProtocolError::OutOfTurn("no file was asked for"))
    }
}

/// Relays a client's file to the server: copies packets, numbers them as the server expects, and says when the empty one
/// that ends the file was seen.
#[derive(Debug, Clone)]
pub struct InfileUpload {}

impl InfileUpload {
    /// Takes the bytes that follow those fed before, appends them for the server to `out`, and returns whether the file
    /// ended with them.
    ///
    /// # Errors
    /// [`ProtocolError::TrailingBytes`] for bytes after the end, which no client sends before the server's answer.
    pub fn feed(&mut self, input: &[u8], out: &mut BytesMut) -> Result<bool, ProtocolError> {
        let _ = (input, out);
        Err(ProtocolError::Unsupported("not written yet"))
    }
}

#[cfg(test)]
mod tests;
