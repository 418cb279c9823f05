//! The stream side of [`Exchange`]: finds packets in bytes that arrive in any pieces, decides by header and first byte
//! whether each is let through or held, and numbers them for the client.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::ProtocolError;
use super::super::flags::Status;
use super::super::packet::{HEADER_LEN, Header, MAX_PAYLOAD};
use super::super::response;
use super::reply::Held;
use super::{
    Event, Exchange, Framing, HELD_BYTES_MAX, HELD_ROW_BYTES_MAX, Numbering, Outcome, Owed, Phase,
    ReplyShape,
};

/// First body byte of "LOCAL INFILE Request".
const LOCAL_INFILE: u8 = 0xFB;
/// Body of a column count: the longest length-encoded integer.
const COLUMN_COUNT_BYTES_MAX: usize = 9;
/// What to do with the packet at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Decide when so many bytes (header included) are there.
    Wait(usize),
    /// Let it through; the header and the first byte, if it has one, are there.
    Pass,
    /// Take it whole.
    Hold(Held),
}

impl Exchange {
    pub(super) fn advance(
        &mut self,
        input: &[u8],
        out: &mut BytesMut,
    ) -> Result<Event, ProtocolError> {
        let mut rest = input;
        loop {
            match self.phase {
                Phase::Over => return Err(ProtocolError::OutOfTurn("the reply is over")),
                Phase::Ended | Phase::Infile if !rest.is_empty() => {
                    return Err(ProtocolError::TrailingBytes(rest.len()));
                }
                Phase::Ended => return Ok(Event::Done(self.complete())),
                Phase::Infile => return Ok(Event::NeedMore),
                _ => {}
            }
            if let Framing::Passing { left, full } = self.framing {
                rest = self.pass(left, full, rest, out);
                if rest.is_empty() && self.phase != Phase::Ended {
                    return Ok(Event::NeedMore);
                }
                continue;
            }
            rest = self.pass_whole_rows(rest, out);
            if rest.is_empty() {
                return Ok(Event::NeedMore);
            }
            let file_name = if self.stash.is_empty() {
                self.take_packet(&mut rest, out)?
            } else {
                self.take_stashed_packet(&mut rest, out)?
            };
            if let Some(file_name) = file_name {
                if !rest.is_empty() {
                    return Err(ProtocolError::TrailingBytes(rest.len()));
                }
                return Ok(Event::LocalInfile { file_name });
            }
        }
    }

    /// Handles the packet at the start of `rest`, or stashes `rest` if it is too short for that.
    fn take_packet(
        &mut self,
        rest: &mut &[u8],
        out: &mut BytesMut,
    ) -> Result<Option<Bytes>, ProtocolError> {
        let (header, plan) = self.plan(rest)?;
        let need = match plan {
            Plan::Wait(need) => need,
            Plan::Pass => return self.start_passing(header, rest, out).map(|()| None),
            Plan::Hold(_) => HEADER_LEN + header.len,
        };
        let (Plan::Hold(held), Some((whole, after))) = (plan, rest.split_at_checked(need)) else {
            self.stash.extend_from_slice(rest);
            *rest = &[];
            return Ok(None);
        };
        *rest = after;
        self.hold(
            held,
            header,
            whole.get(HEADER_LEN..).unwrap_or_default(),
            out,
        )
    }

    /// Fills the stash from `rest` until the packet that starts in it can be handled.
    fn take_stashed_packet(
        &mut self,
        rest: &mut &[u8],
        out: &mut BytesMut,
    ) -> Result<Option<Bytes>, ProtocolError> {
        loop {
            let (header, plan) = self.plan(&self.stash)?;
            let need = match plan {
                Plan::Wait(need) => need,
                Plan::Pass => self.stash.len(),
                Plan::Hold(_) => HEADER_LEN + header.len,
            };
            let missing = need.saturating_sub(self.stash.len());
            if missing > 0 {
                if rest.is_empty() {
                    return Ok(None);
                }
                let (more, after) = rest.split_at_checked(missing).unwrap_or((rest, &[]));
                self.stash.extend_from_slice(more);
                *rest = after;
                continue;
            }
            let stash = core::mem::take(&mut self.stash);
            return match plan {
                Plan::Hold(held) => self.hold(
                    held,
                    header,
                    stash.get(HEADER_LEN..).unwrap_or_default(),
                    out,
                ),
                Plan::Wait(_) | Plan::Pass => {
                    let mut stashed: &[u8] = &stash;
                    self.start_passing(header, &mut stashed, out)?;
                    // The stash holds at most the header and the first byte here.
                    if let Framing::Passing { left, full } = self.framing
                        && !stashed.is_empty()
                    {
                        self.pass(left, full, stashed, out);
                    }
                    Ok(None)
                }
            };
        }
    }

    /// Decides by the header and the first body byte.
    fn plan(&self, bytes: &[u8]) -> Result<(Header, Plan), ProtocolError> {
        let Some(header) = Header::parse(bytes) else {
            return Ok((Header { len: 0, seq: 0 }, Plan::Wait(HEADER_LEN)));
        };
        if self.framing == Framing::Continued {
            return Ok((header, Plan::Pass));
        }
        if header.len == 0 {
            // Nothing has an empty body here but the text of COM_STATISTICS.
            return match self.phase {
                Phase::Text => Ok((header, Plan::Pass)),
                _ => Err(ProtocolError::Empty(self.expected())),
            };
        }
        let Some(&first) = bytes.get(HEADER_LEN) else {
            return Ok((header, Plan::Wait(HEADER_LEN + 1)));
        };
        let plan = self.plan_for(first, header.len)?;
        let limit = match plan {
            Plan::Hold(Held::ColumnCount) => COLUMN_COUNT_BYTES_MAX,
            Plan::Hold(_) => HELD_BYTES_MAX,
            Plan::Wait(_) | Plan::Pass => MAX_PAYLOAD,
        };
        if header.len > limit {
            return Err(ProtocolError::TooLarge {
                what: self.expected(),
                bytes: header.len,
                limit,
            });
        }
        Ok((header, plan))
    }

    fn plan_for(&self, first: u8, len: usize) -> Result<Plan, ProtocolError> {
        use ReplyShape::{Execute, Fetch, OkOrErr, Prepare, Query};
        if first == response::ERR {
            // Never the first byte of a row, a definition or a count: 0xFF starts no length-encoded field.
            return Ok(Plan::Hold(Held::Err));
        }
        let plan = match (self.phase, first) {
            (Phase::Head, response::OK) if self.shape == Prepare => Plan::Hold(Held::PrepareOk),
            (Phase::Head, response::OK) => Plan::Hold(Held::Ok),
            (Phase::Head, response::EOF) if self.shape == OkOrErr => Plan::Hold(Held::Ok),
            (Phase::Head, LOCAL_INFILE) if self.shape == Query => Plan::Hold(Held::LocalInfile),
            (Phase::Head, 0x01..=0xFA | 0xFC | 0xFD) if matches!(self.shape, Query | Execute) => {
                Plan::Hold(Held::ColumnCount)
            }
            (Phase::DefinitionsEof { .. }, response::EOF) => Plan::Hold(Held::DefinitionsEof),
            // A row whose first field has 16 MiB or more also starts with 0xFE, and fills its first packet.
            (Phase::Rows { .. } | Phase::Fields, response::EOF) if len < MAX_PAYLOAD => {
                Plan::Hold(Held::End)
            }
            (Phase::Rows { owed: Owed::Eof }, 0)
                if self.shape == Execute && len <= HELD_ROW_BYTES_MAX =>
            {
                Plan::Hold(Held::FirstRow)
            }
            // Rows of prepared statements start with 0x00: "Binary Protocol Resultset Row".
            (Phase::Rows { .. }, 0x01..) if matches!(self.shape, Execute | Fetch) => {
                return Err(ProtocolError::Unexpected {
                    first,
                    expected: self.expected(),
                });
            }
            (Phase::Definitions { .. } | Phase::Rows { .. } | Phase::Fields | Phase::Text, _) => {
                Plan::Pass
            }
            _ => {
                return Err(ProtocolError::Unexpected {
                    first,
                    expected: self.expected(),
                });
            }
        };
        Ok(plan)
    }

    const fn expected(&self) -> &'static str {
        match self.phase {
            Phase::Head => "the first packet of a result",
            Phase::Definitions { .. } => "a column definition",
            Phase::DefinitionsEof { .. } => "the EOF after column definitions",
            Phase::Rows { .. } => "a row or the end of the rows",
            Phase::Fields => "a column definition or the end of them",
            Phase::Text => "a line of text",
            Phase::Infile | Phase::Ended | Phase::Over => "nothing",
        }
    }

    /// Checks a packet's number and returns the one it has for the client.
    pub(super) fn number(&mut self, header: Header) -> Result<u8, ProtocolError> {
        let expected = match self.numbering {
            Numbering::Next(expected) => expected,
            Numbering::First if header.seq == 0 => 1,
            Numbering::First | Numbering::Any => header.seq,
        };
        if header.seq != expected {
            return Err(ProtocolError::OutOfOrder {
                expected,
                got: header.seq,
            });
        }
        self.numbering = Numbering::Next(header.seq.wrapping_add(1));
        Ok(header.seq.wrapping_add(self.shift))
    }

    /// Appends the header of a packet that passes through and leaves `rest` at its body.
    fn start_passing(
        &mut self,
        header: Header,
        rest: &mut &[u8],
        out: &mut BytesMut,
    ) -> Result<(), ProtocolError> {
        if self.framing != Framing::Continued {
            self.pay(header.seq, Status::empty(), out);
        }
        let seq = self.number(header)?;
        out.put_slice(
            &Header {
                len: header.len,
                seq,
            }
            .to_bytes(),
        );
        *rest = rest.get(HEADER_LEN..).unwrap_or_default();
        let full = header.len == MAX_PAYLOAD;
        self.framing = Framing::Passing {
            left: header.len,
            full,
        };
        if header.len == 0 {
            *rest = self.pass(0, full, rest, out);
        }
        Ok(())
    }

    /// Appends what is there of a body.
    fn pass<'a>(
        &mut self,
        left: usize,
        full: bool,
        rest: &'a [u8],
        out: &mut BytesMut,
    ) -> &'a [u8] {
        let (body, after) = rest.split_at_checked(left).unwrap_or((rest, &[]));
        out.put_slice(body);
        let left = left - body.len();
        self.framing = match (left, full) {
            (0, true) => Framing::Continued,
            (0, false) => {
                self.passed(out);
                Framing::Start
            }
            _ => Framing::Passing { left, full },
        };
        after
    }

    /// A packet passed through whole.
    fn passed(&mut self, out: &mut BytesMut) {
        match self.phase {
            Phase::Definitions { left: 1, of } => self.defined(of, out),
            Phase::Definitions { left, of } => {
                self.phase = Phase::Definitions {
                    left: left.saturating_sub(1),
                    of,
                }
            }
            Phase::Rows { .. } => self.tally.rows += 1,
            Phase::Text => {
                self.tally.outcome = Outcome::Text;
                self.tally.results = 1;
                self.phase = Phase::Ended;
            }
            Phase::Fields
            | Phase::Head
            | Phase::DefinitionsEof { .. }
            | Phase::Infile
            | Phase::Ended
            | Phase::Over => {}
        }
    }

    /// Appends all rows that are there whole, as one piece. Leaves alone what needs a closer look.
    fn pass_whole_rows<'a>(&mut self, rest: &'a [u8], out: &mut BytesMut) -> &'a [u8] {
        let (
            Phase::Rows {
                owed: Owed::Nothing,
            },
            Numbering::Next(mut next),
        ) = (self.phase, self.numbering)
        else {
            return rest;
        };
        if self.framing != Framing::Start || !self.stash.is_empty() {
            return rest;
        }
        let first_max = if matches!(self.shape, ReplyShape::Execute | ReplyShape::Fetch) {
            0
        } else {
            0xFD
        };
        let mut after = rest;
        let mut rows = 0;
        while let Some(&[a, b, c, seq, first]) = after.first_chunk::<5>() {
            let len = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
            if len == 0 || len == MAX_PAYLOAD || first > first_max || seq != next {
                break;
            }
            let Some(behind) = after.get(HEADER_LEN + len..) else {
                break;
            };
            after = behind;
            next = next.wrapping_add(1);
            rows += 1;
        }
        let run = rest.get(..rest.len() - after.len()).unwrap_or_default();
        let start = out.len();
        out.put_slice(run);
        if self.shift != 0 {
            renumber(out.get_mut(start..).unwrap_or_default(), self.shift);
        }
        self.numbering = Numbering::Next(next);
        self.tally.rows += rows;
        after
    }
}

/// Adds `shift` to the number of every packet in a run of whole packets.
fn renumber(mut packets: &mut [u8], shift: u8) {
    while let Some((header, rest)) = packets.split_first_chunk_mut::<HEADER_LEN>() {
        let [a, b, c, seq] = header;
        let len = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        *seq = seq.wrapping_add(shift);
        packets = rest.get_mut(len..).unwrap_or_default();
    }
}
