//! The compressed protocol ("Compressed Packet" in the MySQL Source Code Documentation): after the login the packets of both sides
//! travel as one stream of bytes, cut anywhere, in compressed packets of their own with a header of seven bytes. No IO; memory is
//! bounded whatever the peer announces: what comes out is asked for in pieces.

use bytes::{Buf, BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use zstd::bulk;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::ProtocolError;
use super::packet;

/// Length of the compressed data (3), number (1), length of what it is made of (3).
const HEADER_LEN: usize = 7;

/// Most bytes that go into one compressed packet. The protocol allows 16 MiB; this is what is held in memory.
const CHUNK_MAX: usize = 64 * 1024;

/// Shorter data is not worth compressing (`MIN_COMPRESS_LENGTH`).
const WORTH_IT: usize = 50;

/// How the stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// CLIENT_COMPRESS, at a level of 1 to 9; what the server sends has the level that the server likes.
    Zlib(u8),
    /// CLIENT_ZSTD_COMPRESSION_ALGORITHM, at a level of 1 to 22, which is also asked of the server.
    Zstd(u8),
}

/// Compresses what one side sends and decompresses what it gets.
pub struct Codec {
    sender: Sender,
    receiver: Receiver,
    /// The number of the next compressed packet that goes out.
    next_out: u8,
    /// The number behind the last one that came in.
    after_in: u8,
    /// Something came in since the last packet went out.
    answered: bool,
    /// A packet with the number 0 begins a command, because none is under way that was answered.
    fresh: bool,
    /// Where the outgoing stream of ordinary packets is.
    left: usize,
    /// The beginning of a header, held back until it is whole.
    held: BytesMut,
    /// The number behind the last ordinary packet that went out.
    after_out: u8,
    /// What comes in is numbered as if nothing were compressed.
    numbers: Numbers,
}

/// A server that compresses numbers its ordinary packets by the compressed ones: it goes on behind those that a command took, and
/// jumps wherever it flushes. This gives them the numbers that they have without compression.
#[derive(Debug, Default)]
struct Numbers {
    /// Of the next ordinary packet.
    next: u8,
    /// It is the first of a reply.
    is_first: bool,
    /// Bytes of a header that have come, and what they say.
    header: [u8; 3],
    header_len: usize,
    /// Bytes of a body still to come.
    left: usize,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec")
            .field("next_out", &self.next_out)
            .field("after_in", &self.after_in)
            .finish_non_exhaustive()
    }
}

enum Sender {
    Zlib(Box<Compress>),
    Zstd(Box<bulk::Compressor<'static>>),
}

enum Inflate {
    Zlib(Box<Decompress>),
    Zstd(Box<Decoder<'static>>),
}

/// How far a compressed packet has come in.
struct Receiver {
    inflate: Inflate,
    header: BytesMut,
    /// Bytes of the packet at hand still to come.
    packet_left: usize,
    /// Bytes it still has to become; `None` if it is not compressed.
    data_left: Option<usize>,
}

impl Codec {
    /// For one connection, from its first packet after the login on.
    ///
    /// # Errors
    /// If the library cannot be set up (no memory).
    pub fn new(algorithm: Algorithm) -> std::io::Result<Self> {
        let (sender, inflate) = match algorithm {
            Algorithm::Zlib(level) => (
                Sender::Zlib(Box::new(Compress::new(
                    Compression::new(u32::from(level)),
                    true,
                ))),
                Inflate::Zlib(Box::new(Decompress::new(true))),
            ),
            Algorithm::Zstd(level) => (
                Sender::Zstd(Box::new(bulk::Compressor::new(i32::from(level))?)),
                Inflate::Zstd(Box::new(Decoder::new()?)),
            ),
        };
        Ok(Self {
            sender,
            receiver: Receiver {
                inflate,
                header: BytesMut::new(),
                packet_left: 0,
                data_left: None,
            },
            next_out: 0,
            after_in: 0,
            answered: false,
            fresh: true,
            left: 0,
            held: BytesMut::new(),
            after_out: 1,
            numbers: Numbers {
                next: 1,
                is_first: true,
                ..Numbers::default()
            },
        })
    }

    /// The next packet with the number 0 begins a command. Without this it goes on with what is being sent: in the upload of a
    /// file the numbers come round to 0 again.
    pub const fn begin_command(&mut self) {
        self.fresh = true;
    }

    /// What comes in next answers a command of one packet, one of several that were sent at once.
    pub const fn begin_reply(&mut self) {
        self.numbers.next = 1;
        self.numbers.is_first = true;
    }

    /// What comes in next answers what was sent last.
    pub const fn begin_last_reply(&mut self) {
        self.numbers.next = self.after_out;
        self.numbers.is_first = true;
    }

    /// Compresses ordinary packets, or parts of them, and appends the result to `out`.
    ///
    /// # Errors
    /// If the library fails (no memory).
    pub fn encode(&mut self, mut bytes: &[u8], out: &mut BytesMut) -> std::io::Result<()> {
        let mut chunk = BytesMut::new();
        while !bytes.is_empty() {
            if self.left == 0 {
                let missing = packet::HEADER_LEN - self.held.len();
                let (head, rest) = bytes.split_at(missing.min(bytes.len()));
                self.held.extend_from_slice(head);
                bytes = rest;
                let Some(header) = packet::Header::parse(&self.held) else {
                    break;
                };
                let begins = self.fresh && header.seq == 0;
                if begins || self.answered {
                    // the server counts anew for each command: what belongs to the last one goes by itself
                    self.flush(&mut chunk, out)?;
                    self.next_out = if begins { 0 } else { self.after_in };
                    self.answered = false;
                }
                chunk.extend_from_slice(&self.held);
                self.held.clear();
                self.after_out = header.seq.wrapping_add(1);
                self.numbers.next = self.after_out;
                self.left = header.len;
            }
            let room = CHUNK_MAX.saturating_sub(chunk.len()).max(1);
            let (body, rest) = bytes.split_at(self.left.min(bytes.len()).min(room));
            chunk.extend_from_slice(body);
            self.left -= body.len();
            bytes = rest;
            if chunk.len() >= CHUNK_MAX {
                self.flush(&mut chunk, out)?;
            }
        }
        self.flush(&mut chunk, out)
    }

    fn flush(&mut self, chunk: &mut BytesMut, out: &mut BytesMut) -> std::io::Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        let small = if chunk.len() < WORTH_IT {
            None
        } else {
            self.sender.compress(chunk)?
        };
        let (data, length) = match &small {
            Some(small) => (&small[..], chunk.len()),
            None => (&chunk[..], 0),
        };
        out.reserve(HEADER_LEN + data.len());
        put_u24(out, data.len());
        out.put_u8(self.next_out);
        put_u24(out, length);
        out.put_slice(data);
        self.next_out = self.next_out.wrapping_add(1);
        chunk.clear();
        Ok(())
    }

    /// Takes bytes from `input` and appends what they become to `out`, at most `room` bytes. Call it again with what is left of
    /// `input` when there is room again; it takes nothing more when it needs more input, or when there is no room.
    ///
    /// # Errors
    /// If what comes is not what its header announced. The connection cannot be used any more.
    pub fn decode(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        room: usize,
    ) -> Result<(), ProtocolError> {
        let (start, end) = (out.len(), out.len() + room);
        let decoded = self.decode_numbered(input, out, end);
        // the compressed packets of a command come round to 0 as well
        let unasked_for = self.next_out != 0;
        self.numbers
            .give(out.get_mut(start..).unwrap_or_default(), unasked_for);
        decoded
    }

    fn decode_numbered(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        end: usize,
    ) -> Result<(), ProtocolError> {
        loop {
            if self.receiver.packet_left == 0 && self.receiver.data_left.unwrap_or(0) == 0 {
                let Some(number) = self.receiver.header(input)? else {
                    return Ok(());
                };
                self.after_in = number.wrapping_add(1);
                self.answered = true;
                self.fresh = false;
                continue;
            }
            if out.len() >= end || !self.receiver.body(input, out, end)? {
                return Ok(());
            }
        }
    }

    /// Nothing that came in is waiting for its rest.
    #[must_use]
    pub fn is_between_packets(&self) -> bool {
        self.receiver.header.is_empty()
            && self.receiver.packet_left == 0
            && self.receiver.data_left.unwrap_or(0) == 0
    }
}

impl Numbers {
    /// Numbers the ordinary packets in `bytes`. A first packet numbered 0 is a word that nobody asked for and stays one, if a
    /// command cannot have come round to that number.
    fn give(&mut self, mut bytes: &mut [u8], zero_is_unasked_for: bool) {
        loop {
            let skip = self.left.min(bytes.len());
            self.left -= skip;
            let Some((byte, rest)) = bytes.get_mut(skip..).and_then(<[u8]>::split_first_mut) else {
                return;
            };
            if let Some(place) = self.header.get_mut(self.header_len) {
                *place = *byte;
                self.header_len += 1;
            } else {
                let [a, b, c] = self.header;
                self.left = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
                self.header_len = 0;
                let is_unasked_for = self.is_first && *byte == 0 && zero_is_unasked_for;
                if !is_unasked_for {
                    *byte = self.next;
                    self.next = self.next.wrapping_add(1);
                }
                self.is_first = false;
            }
            bytes = rest;
        }
    }
}

impl Sender {
    /// `None` if it would not become smaller.
    fn compress(&mut self, data: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        // one byte less than the data: more would be no gain
        let room = data.len() - 1;
        match self {
            Self::Zlib(zlib) => {
                let mut small = Vec::with_capacity(room);
                zlib.reset();
                let status = zlib
                    .compress_vec(data, &mut small, FlushCompress::Finish)
                    .map_err(std::io::Error::other)?;
                Ok((status == flate2::Status::StreamEnd).then_some(small))
            }
            Self::Zstd(zstd) => {
                let small = zstd.compress(data)?;
                Ok((small.len() <= room).then_some(small))
            }
        }
    }
}

impl Receiver {
    /// Reads the next header; the packet's number.
    fn header(&mut self, input: &mut BytesMut) -> Result<Option<u8>, ProtocolError> {
        let missing = HEADER_LEN - self.header.len();
        let part = input.split_to(missing.min(input.len()));
        self.header.extend_from_slice(&part);
        if self.header.len() < HEADER_LEN {
            return Ok(None);
        }
        let mut reader = packet::Reader::new(&self.header);
        let size = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        let (length, number, data) = (reader.u24()?, reader.u8()?, reader.u24()?);
        let (length, data) = (size(length), size(data));
        self.packet_left = length;
        self.data_left = (data > 0).then_some(data);
        self.header.clear();
        if length == 0 {
            return Err(ProtocolError::Malformed("compressed packet"));
        }
        match &mut self.inflate {
            Inflate::Zlib(zlib) => zlib.reset(true),
            Inflate::Zstd(zstd) => zstd
                .reinit()
                .map_err(|_| ProtocolError::Malformed("compressed packet"))?,
        }
        Ok(Some(number))
    }

    /// Some of the packet's data; `false` when nothing more can be done with this input.
    fn body(
        &mut self,
        input: &mut BytesMut,
        out: &mut BytesMut,
        end: usize,
    ) -> Result<bool, ProtocolError> {
        let available = self.packet_left.min(input.len());
        let room = end - out.len();
        let Some(data_left) = &mut self.data_left else {
            let count = available.min(room);
            out.extend_from_slice(input.get(..count).unwrap_or_default());
            input.advance(count);
            self.packet_left -= count;
            return Ok(count > 0);
        };
        let start = out.len();
        // a byte more than announced is asked for, so that one too many is seen
        out.resize(start + room.min(*data_left + 1), 0);
        let (Some(from), Some(to)) = (input.get(..available), out.get_mut(start..)) else {
            return Ok(false);
        };
        let (taken, made) = inflate(&mut self.inflate, from, to)?;
        out.truncate(start + made);
        input.advance(taken);
        self.packet_left -= taken;
        *data_left = data_left
            .checked_sub(made)
            .ok_or(ProtocolError::Malformed("compressed data"))?;
        let over = (self.packet_left == 0) != (*data_left == 0);
        if over && taken == 0 && made == 0 && available == self.packet_left {
            // all of it is here, and it gives no more; or there is more of it than it needs
            let stuck = self.packet_left == 0 || *data_left == 0;
            if stuck {
                return Err(ProtocolError::Malformed("compressed data"));
            }
        }
        Ok(taken > 0 || made > 0)
    }
}

/// Bytes taken and bytes made.
fn inflate(how: &mut Inflate, from: &[u8], to: &mut [u8]) -> Result<(usize, usize), ProtocolError> {
    let broken = ProtocolError::Malformed("compressed data");
    match how {
        Inflate::Zlib(zlib) => {
            let (taken, made) = (zlib.total_in(), zlib.total_out());
            match zlib.decompress(from, to, FlushDecompress::None) {
                Ok(_) => {}
                Err(_) => return Err(broken),
            }
            let taken = usize::try_from(zlib.total_in() - taken).unwrap_or(from.len());
            let made = usize::try_from(zlib.total_out() - made).unwrap_or(to.len());
            Ok((taken, made))
        }
        Inflate::Zstd(zstd) => {
            let mut input = InBuffer::around(from);
            let mut output = OutBuffer::around(to);
            match zstd.run(&mut input, &mut output) {
                Ok(_) => Ok((input.pos(), output.pos())),
                Err(_) => Err(broken),
            }
        }
    }
}

fn put_u24(out: &mut BytesMut, value: usize) {
    let [a, b, c, ..] = u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
    out.put_slice(&[a, b, c]);
}

#[cfg(test)]
mod tests;
