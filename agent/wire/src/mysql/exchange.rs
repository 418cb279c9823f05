//! One command's reply, followed packet by packet from the server to the client.
//!
//! ```text
//!            column count          last definition                     row
//!  Head ---------------> Definitions -------------> (DefinitionsEof) -> Rows --+
//!   ^ |                      ^                                           |  ^--+
//!   | | OK, PREPARE OK       | PREPARE OK with parameters or columns     | EOF or OK
//!   | v                      |                                           v
//!   +-- more results? <------+-------------------------------------------+
//!            | no, or ERR from anywhere
//!            v
//!          Ended  (the only state a Boundary comes from)
//! ```
//!
//! - Head waits for the first packet of a result. LOCAL INFILE goes from here to Infile and, by
//!   [`Exchange::infile_sent`], back.
//! - Rows and column definitions are never read: of each packet only the header and the first byte are looked at, and
//!   bodies pass through as they arrive. OK, ERR, EOF and a few other small packets are held until they are whole.
//! - Where the server speaks `CLIENT_DEPRECATE_EOF` and the client does not, the EOF after column definitions is made here.
//!   It is owed until the next packet is seen, because a cursor's reply ends there with a single EOF. Each packet put in
//!   moves the sequence ids of all later ones by one.
//! - Where the server speaks `CLIENT_SESSION_TRACK` and the client does not, OK packets are written anew without it.
//!
//! An EOF made here comes before the rows and so cannot carry flags that the server sends only after them
//! (`SERVER_MORE_RESULTS_EXISTS`, `SERVER_STATUS_NO_INDEX_USED`): it carries the last known status without them. One flag
//! clients do act on there: `SERVER_PS_OUT_PARAMS`, by which mysqlnd skips the result. So the first row of a prepared
//! statement's result is held until the packet after it shows whether it holds OUT parameters. (Their result has exactly
//! one row. In the old form its last EOF has neither that flag nor `SERVER_MORE_RESULTS_EXISTS`, though the OK of the CALL
//! follows; in the new form its OK has both. Seen on MySQL 9.7.)

use bytes::{Bytes, BytesMut};

use super::ProtocolError;
use super::flags::{Capabilities, Status};
use super::response::{ErrPacket, SessionTrack};

mod infile;
mod relay;
mod reply;

pub use infile::InfileUpload;

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

impl Outcome {
    /// The error, as a packet of its own.
    #[must_use]
    pub fn error(&self) -> Option<ErrPacket> {
        let Self::Err {
            code,
            sql_state,
            message,
        } = self
        else {
            return None;
        };
        Some(ErrPacket {
            code: *code,
            sql_state: *sql_state,
            message: message.clone(),
        })
    }
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
    /// Server status after the last result, without the flags that are about the packet it came in
    /// (`SERVER_MORE_RESULTS_EXISTS`, `SERVER_SESSION_STATE_CHANGED`). ERR packets and the replies to COM_STMT_PREPARE and COM_STATISTICS report none:
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
    /// The first number in the text of the last OK, which is the same in every language: rows matched by an UPDATE, records of
    /// an INSERT ("mysql_info()", MySQL C API).
    pub counted: Option<u64>,
    /// For COM_STMT_PREPARE.
    pub prepared: Option<PreparedStatement>,
}

/// What [`Exchange::feed`] found.
#[derive(Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "made once for each reply and taken apart at once; a box would cost an allocation"
)]
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

/// Largest row that is held to see whether it holds OUT parameters, in bytes.
const HELD_ROW_BYTES_MAX: usize = 64 << 10;

/// Largest OK, ERR or other packet that is held until it is whole, in bytes.
pub const HELD_BYTES_MAX: usize = 1 << 20;

/// Flags that say something of one result, not of the session.
const OF_ONE_RESULT: Status = Status::SERVER_MORE_RESULTS_EXISTS
    .union(Status::SERVER_STATUS_NO_GOOD_INDEX_USED)
    .union(Status::SERVER_STATUS_NO_INDEX_USED)
    .union(Status::SERVER_STATUS_CURSOR_EXISTS)
    .union(Status::SERVER_STATUS_LAST_ROW_SENT)
    .union(Status::SERVER_STATUS_DB_DROPPED)
    .union(Status::SERVER_STATUS_METADATA_CHANGED)
    .union(Status::SERVER_QUERY_WAS_SLOW)
    .union(Status::SERVER_PS_OUT_PARAMS)
    .union(Status::SERVER_SESSION_STATE_CHANGED);

/// What a run of column definitions describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defined {
    /// A result set's columns.
    Result,
    /// A prepared statement's parameters; then its columns follow.
    Params { columns: u16 },
    /// A prepared statement's columns.
    Prepared,
}

/// What the client waits for that the server does not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    /// The EOF after column definitions.
    Eof,
    /// That EOF and then the first row, which is in `held_row`. `seq`: the row's number from the server.
    EofAndRow {
        seq: u8,
    },
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The first packet of a result.
    Head,
    /// Column definitions, at least one.
    Definitions { left: u16, of: Defined },
    /// The EOF after column definitions, from a server without `CLIENT_DEPRECATE_EOF`.
    DefinitionsEof { of: Defined },
    /// Rows or their end.
    Rows { owed: Owed },
    /// COM_FIELD_LIST's definitions or their end.
    Fields,
    /// COM_STATISTICS' text.
    Text,
    /// The client's file.
    Infile,
    /// Complete.
    Ended,
    /// The completion was handed out, or an error.
    Over,
}

/// Where in the stream of packets we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// At the first packet of a body.
    Start,
    /// At a further packet of a body of 16 MiB - 1 bytes or more.
    Continued,
    /// Inside a body that passes through. `full`: a further packet continues it.
    Passing { left: usize, full: bool },
}

/// Number of the server's next packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Numbering {
    /// First of the reply: any but 0, which is what a server uses that was not asked.
    First,
    /// After a file of the client's: any.
    Any,
    /// This one.
    Next(u8),
}

/// Sums over the results of a reply.
#[derive(Debug)]
struct Tally {
    status: Status,
    status_reported: bool,
    outcome: Outcome,
    results: u32,
    rows: u64,
    last_insert_id: u64,
    track: SessionTrack,
    warnings: u16,
    counted: Option<u64>,
    prepared: Option<PreparedStatement>,
}

/// Follows one reply; see the module's text.
#[derive(Debug)]
pub struct Exchange {
    shape: ReplyShape,
    client: Capabilities,
    server: Capabilities,
    phase: Phase,
    framing: Framing,
    numbering: Numbering,
    /// Added to the server's sequence ids, wrapping.
    shift: u8,
    /// A header, or a packet to be held, that has not arrived whole.
    stash: BytesMut,
    /// The first row of a result that may be one of OUT parameters.
    held_row: BytesMut,
    /// The rows at hand are OUT parameters, as the EOF in front of them said.
    out_params: bool,
    relayed: u64,
    /// What an OK says of warnings, if not what the server says.
    warnings: Option<u16>,
    tally: Tally,
}

impl Exchange {
    /// Before the first byte of a reply of this shape, from a server connection to a client with these capabilities.
    #[must_use]
    pub fn new(reply: ReplyShape, client: Capabilities, server: Capabilities) -> Self {
        let phase = match reply {
            ReplyShape::OkOrErr | ReplyShape::Query | ReplyShape::Prepare | ReplyShape::Execute => {
                Phase::Head
            }
            ReplyShape::FieldList => Phase::Fields,
            ReplyShape::Statistics => Phase::Text,
            ReplyShape::Fetch => Phase::Rows {
                owed: Owed::Nothing,
            },
            ReplyShape::None => Phase::Ended,
        };
        Self {
            shape: reply,
            client,
            server,
            phase,
            framing: Framing::Start,
            numbering: Numbering::First,
            warnings: None,
            shift: 0,
            stash: BytesMut::new(),
            held_row: BytesMut::new(),
            out_params: false,
            relayed: 0,
            tally: Tally {
                status: Status::SERVER_STATUS_AUTOCOMMIT,
                status_reported: false,
                outcome: Outcome::Nothing,
                results: 0,
                rows: 0,
                last_insert_id: 0,
                track: SessionTrack::default(),
                warnings: 0,
                counted: None,
                prepared: None,
            },
        }
    }

    /// The server's status before this command; used where a packet needs a status and none has been reported yet. Flags
    /// that say something of one result do not count.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.tally.status = status.without(OF_ONE_RESULT);
        self
    }

    /// The number of warnings that an OK tells the client, if it is not the server's.
    #[must_use]
    pub const fn with_warnings(mut self, warnings: Option<u16>) -> Self {
        self.warnings = warnings;
        self
    }

    /// As [`Exchange::with_status`], before the first byte of the reply.
    pub const fn note_status(&mut self, status: Status) {
        self.tally.status = status.without(OF_ONE_RESULT);
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
        let before = out.len();
        let outcome = self.advance(input, out);
        self.relayed += out.len().saturating_sub(before) as u64;
        if outcome.is_err() {
            self.phase = Phase::Over;
        }
        Ok(Fed {
            consumed: input.len(),
            event: outcome?,
        })
    }

    /// A relay for what the client sends after [`Event::LocalInfile`].
    #[must_use]
    pub fn infile_upload(&self) -> InfileUpload {
        InfileUpload::new(self.shift)
    }

    /// The client's last (empty) packet went to the server; feed its answer next.
    ///
    /// # Errors
    /// [`ProtocolError::OutOfTurn`] if no file was asked for.
    pub fn infile_sent(&mut self) -> Result<(), ProtocolError> {
        if self.phase != Phase::Infile {
            return Err(ProtocolError::OutOfTurn("no file was asked for"));
        }
        self.phase = Phase::Head;
        self.numbering = Numbering::Any;
        Ok(())
    }

    /// The reply ended with the last byte of the input: the one place where a boundary is made.
    fn complete(&mut self) -> Completion {
        self.phase = Phase::Over;
        Completion {
            boundary: Boundary(()),
            status: self
                .tally
                .status
                .without(Status::SERVER_MORE_RESULTS_EXISTS | Status::SERVER_SESSION_STATE_CHANGED),
            status_reported: self.tally.status_reported,
            outcome: core::mem::replace(&mut self.tally.outcome, Outcome::Nothing),
            results: self.tally.results,
            rows_last: self.tally.rows,
            last_insert_id: self.tally.last_insert_id,
            track: core::mem::take(&mut self.tally.track),
            warnings_last: self.tally.warnings,
            counted: self.tally.counted,
            prepared: self.tally.prepared,
        }
    }
}

#[cfg(test)]
mod tests;
