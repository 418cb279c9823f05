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
    /// CLIENT_COMPRESS.
    Zlib,
    /// CLIENT_ZSTD_COMPRESSION_ALGORITHM; the level is also asked of the server.
    Zstd,
}

/// The level of zstd in both directions: MySQL's own default.
pub const ZSTD_LEVEL: u8 = 3;

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
            Algorithm::Zlib => (
                Sender::Zlib(Box::new(Compress::new(Compression::fast(), true))),
                Inflate::Zlib(Box::new(Decompress::new(true))),
            ),
            Algorithm::Zstd => (
                Sender::Zstd(Box::new(bulk::Compressor::new(i32::from(ZSTD_LEVEL))?)),
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
        })
    }

    /// The next packet with the number 0 begins a command. Without this it goes on with what is being sent: in the upload of a
    /// file the numbers come round to 0 again.
    pub const fn begin_command(&mut self) {
        self.fresh = true;
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
        let end = out.len() + room;
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
