//! The meaning side of [`Exchange`]: what the packets that are held say, what each leads to, and the form each takes for
//! the client.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::ProtocolError;
use super::super::flags::{Capabilities, Status};
use super::super::packet::{self, Header, Reader};
use super::super::response::{self, EofPacket, ErrPacket, OkView};
use super::{
    Defined, Exchange, Numbering, OF_ONE_RESULT, Outcome, Owed, Phase, PreparedStatement,
    ReplyShape,
};

/// Shortest OK packet; what is shorter and starts with 0xFE is an EOF, whatever was negotiated.
const OK_BYTES_MIN: usize = 7;
/// Flags of a result of OUT parameters: in the old form in front of its row, in the new form behind it.
const OF_OUT_PARAMS: Status =
    Status::SERVER_PS_OUT_PARAMS.union(Status::SERVER_MORE_RESULTS_EXISTS);

/// A packet that is held until it is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Ok,
    Err,
    ColumnCount,
    LocalInfile,
    PrepareOk,
    /// The EOF after column definitions.
    DefinitionsEof,
    /// The OK or EOF after rows or COM_FIELD_LIST's definitions.
    End,
    /// A row that may hold OUT parameters.
    FirstRow,
}

impl Exchange {
    /// Handles a packet that is there whole. Returns the file's name for LOCAL INFILE.
    pub(super) fn hold(
        &mut self,
        held: Held,
        header: Header,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<Option<Bytes>, ProtocolError> {
        match held {
            Held::Ok => self.ok(header, body, out)?,
            Held::Err => self.err(header, body, out)?,
            Held::ColumnCount => self.column_count(header, body, out)?,
            Held::PrepareOk => self.prepare_ok(header, body, out)?,
            Held::DefinitionsEof => self.definitions_eof(header, body, out)?,
            Held::End => self.end_of_rows(header, body, out)?,
            Held::FirstRow => self.first_row(header, body)?,
            Held::LocalInfile => {
                if !self.client.contains(Capabilities::CLIENT_LOCAL_FILES) {
                    return Err(ProtocolError::Unsupported(
                        "LOCAL INFILE for a client without CLIENT_LOCAL_FILES",
                    ));
                }
                self.copy(header, body, out)?;
                self.phase = Phase::Infile;
                return Ok(Some(Bytes::copy_from_slice(
                    body.get(1..).unwrap_or_default(),
                )));
            }
        }
        Ok(None)
    }

    fn copy(
        &mut self,
        header: Header,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        let seq = self.number(header)?;
        out.put_slice(
            &Header {
                len: body.len(),
                seq,
            }
            .to_bytes(),
        );
        out.put_slice(body);
        Ok(())
    }

    fn ok(&mut self, header: Header, body: &[u8], out: &mut BytesMut) -> Result<(), ProtocolError> {
        let ok = self.read_ok(body)?;
        let warnings = self.warnings.unwrap_or(ok.warnings);
        self.put_ok(header, body, &OkView { warnings, ..ok }, out)?;
        self.tally.rows = 0;
        self.tally.outcome = Outcome::Ok {
            affected_rows: ok.affected_rows,
            last_insert_id: ok.last_insert_id,
        };
        self.end_result(&ok)
    }

    /// Reads an OK, or an EOF as if it were one.
    fn read_ok<'a>(&self, body: &'a [u8]) -> Result<OkView<'a>, ProtocolError> {
        if body.first() == Some(&response::EOF)
            && (body.len() < OK_BYTES_MIN
                || !self.server.contains(Capabilities::CLIENT_DEPRECATE_EOF))
        {
            let eof = EofPacket::parse(body)?;
            let (status, warnings) = (eof.status, eof.warnings);
            return Ok(OkView {
                affected_rows: 0,
                last_insert_id: 0,
                status,
                warnings,
                info: &[],
                track: &[],
            });
        }
        OkView::parse(body, self.server)
    }

    /// Appends an OK or EOF in the form that the client expects.
    fn put_ok(
        &mut self,
        header: Header,
        body: &[u8],
        ok: &OkView<'_>,
        out: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        let differs = Capabilities(self.client.bits() ^ self.server.bits());
        let first = body.first().copied().unwrap_or(response::OK);
        let same_form =
            first == response::OK || !differs.contains(Capabilities::CLIENT_DEPRECATE_EOF);
        if same_form
            && self.warnings.is_none()
            && !differs.contains(Capabilities::CLIENT_SESSION_TRACK)
        {
            return self.copy(header, body, out);
        }
        let mut seq = self.number(header)?;
        if first == response::EOF && !self.client.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
            let unsaid = if ok.status.contains(OF_OUT_PARAMS) {
                OF_OUT_PARAMS
            } else {
                Status::empty()
            };
            let (warnings, status) = (ok.warnings, ok.status.without(unsaid));
            EofPacket { warnings, status }.encode(out, &mut seq);
        } else {
            packet::write_with(out, &mut seq, |out| ok.put(first, self.client, out));
        }
        Ok(())
    }

    /// Takes down what a result's last packet says, and whether another result follows.
    fn end_result(&mut self, ok: &OkView<'_>) -> Result<(), ProtocolError> {
        self.tally.results = self.tally.results.saturating_add(1);
        self.tally.status = ok.status;
        self.tally.status_reported = true;
        self.tally.warnings = ok.warnings;
        self.tally.counted = first_number(ok.info);
        if ok.last_insert_id != 0 {
            self.tally.last_insert_id = ok.last_insert_id;
        }
        if !ok.track.is_empty() {
            self.tally.track.merge_block(ok.track)?;
        }
        let more = ok.status.contains(Status::SERVER_MORE_RESULTS_EXISTS)
            && matches!(self.shape, ReplyShape::Query | ReplyShape::Execute);
        self.phase = if more { Phase::Head } else { Phase::Ended };
        Ok(())
    }

    fn err(
        &mut self,
        header: Header,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        let ErrPacket {
            code,
            sql_state,
            message,
        } = ErrPacket::parse(body)?;
        if self.numbering == Numbering::First && header.seq == 0 {
            return Err(ProtocolError::Unsolicited { code });
        }
        self.pay(header.seq, Status::empty(), out);
        self.copy(header, body, out)?;
        self.tally.status = self.tally.status.without(OF_ONE_RESULT);
        self.tally.results = self.tally.results.saturating_add(1);
        self.tally.status_reported = false;
        self.tally.rows = 0;
        self.tally.warnings = 0;
        self.tally.outcome = Outcome::Err {
            code,
            sql_state,
            message,
        };
        self.phase = Phase::Ended;
        Ok(())
    }

    fn column_count(
        &mut self,
        header: Header,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        let mut reader = Reader::new(body);
        let count = u16::try_from(reader.lenenc_int()?).unwrap_or(0);
        if count == 0 || !reader.is_empty() {
            return Err(ProtocolError::Malformed("column count"));
        }
        self.copy(header, body, out)?;
        self.tally.rows = 0;
        self.phase = Phase::Definitions {
            left: count,
            of: Defined::Result,
        };
        Ok(())
    }

    /// "COM_STMT_PREPARE_OK".
    fn prepare_ok(
        &mut self,
        header: Header,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        let mut reader = Reader::new(body);
        reader.u8()?;
        let id = reader.u32()?;
        let columns = reader.u16()?;
        let params = reader.u16()?;
        reader.u8()?;
        let warnings = if reader.is_empty() { 0 } else { reader.u16()? };
        self.copy(header, body, out)?;
        self.tally.prepared = Some(PreparedStatement {
            id,
            columns,
            params,
            warnings,
        });
        self.tally.warnings = warnings;
        self.tally.results = 1;
        self.tally.outcome = Outcome::Prepared;
        let of = Defined::Params { columns };
        match params {
            0 => self.after_prepared_part(of),
            left => self.phase = Phase::Definitions { left, of },
        }
        Ok(())
    }

    fn definitions_eof(
        &mut self,
        header: Header,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        let Phase::DefinitionsEof { of } = self.phase else {
            return Err(ProtocolError::OutOfTurn("no EOF was due"));
        };
        let eof = EofPacket::parse(body)?;
        if self.opens_cursor(eof.status) {
            return self.end_of_rows(header, body, out);
        }
        if self.client.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
            self.number(header)?;
            self.shift = self.shift.wrapping_sub(1);
        } else {
            self.copy(header, body, out)?;
        }
        self.out_params = eof.status.contains(OF_OUT_PARAMS);
        self.tally.status = eof.status;
        self.after_prepared_part(of);
        Ok(())
    }

    fn opens_cursor(&self, status: Status) -> bool {
        self.shape == ReplyShape::Execute
            && self.tally.rows == 0
            && status.contains(Status::SERVER_STATUS_CURSOR_EXISTS)
    }

    fn end_of_rows(
        &mut self,
        header: Header,
        body: &[u8],
        out: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        let mut ok = self.read_ok(body)?;
        let cursor = self.opens_cursor(ok.status);
        if core::mem::take(&mut self.out_params) {
            ok.status |= OF_OUT_PARAMS;
        }
        if !cursor {
            let out_params = ok.status.contains(OF_OUT_PARAMS);
            self.pay(
                header.seq,
                if out_params {
                    OF_OUT_PARAMS
                } else {
                    Status::empty()
                },
                out,
            );
        }
        self.put_ok(header, body, &ok, out)?;
        self.tally.outcome = if cursor {
            Outcome::CursorOpened
        } else {
            Outcome::ResultSet
        };
        self.end_result(&ok)
    }

    /// The last of a run of column definitions passed through.
    pub(super) fn defined(&mut self, of: Defined, out: &mut BytesMut) {
        if !self.server.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
            self.phase = Phase::DefinitionsEof { of };
            return;
        }
        let eof_owed = !self.client.contains(Capabilities::CLIENT_DEPRECATE_EOF);
        if of == Defined::Result {
            let owed = if eof_owed { Owed::Eof } else { Owed::Nothing };
            self.phase = Phase::Rows { owed };
            return;
        }
        if eof_owed && let Numbering::Next(next) = self.numbering {
            self.put_eof(next, Status::empty(), out);
        }
        self.after_prepared_part(of);
    }

    fn after_prepared_part(&mut self, of: Defined) {
        self.phase = match of {
            Defined::Params { columns } if columns > 0 => Phase::Definitions {
                left: columns,
                of: Defined::Prepared,
            },
            Defined::Params { .. } | Defined::Prepared => Phase::Ended,
            Defined::Result => Phase::Rows {
                owed: Owed::Nothing,
            },
        };
    }

    /// Appends what the client waits for, in front of the server's packet `next`.
    pub(super) fn pay(&mut self, next: u8, of_result: Status, out: &mut BytesMut) {
        let Phase::Rows { owed } = self.phase else {
            return;
        };
        match owed {
            Owed::Nothing => return,
            Owed::Eof => self.put_eof(next, of_result, out),
            Owed::EofAndRow { seq } => {
                self.put_eof(seq, of_result, out);
                let row = core::mem::take(&mut self.held_row);
                let seq = seq.wrapping_add(self.shift);
                out.put_slice(
                    &Header {
                        len: row.len(),
                        seq,
                    }
                    .to_bytes(),
                );
                out.put_slice(&row);
            }
        }
        self.phase = Phase::Rows {
            owed: Owed::Nothing,
        };
    }

    /// Puts an EOF in front of the server's packet `next`; all later ones move by one.
    fn put_eof(&mut self, next: u8, of_result: Status, out: &mut BytesMut) {
        let mut seq = next.wrapping_add(self.shift);
        let status = self.tally.status.without(OF_ONE_RESULT) | of_result;
        EofPacket {
            warnings: 0,
            status,
        }
        .encode(out, &mut seq);
        self.shift = self.shift.wrapping_add(1);
    }

    fn first_row(&mut self, header: Header, body: &[u8]) -> Result<(), ProtocolError> {
        self.number(header)?;
        self.held_row.extend_from_slice(body);
        self.tally.rows = 1;
        self.phase = Phase::Rows {
            owed: Owed::EofAndRow { seq: header.seq },
        };
        Ok(())
    }
}

fn first_number(text: &[u8]) -> Option<u64> {
    let from = text.iter().position(u8::is_ascii_digit)?;
    let digits = text
        .get(from..)?
        .split(|byte| !byte.is_ascii_digit())
        .next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
