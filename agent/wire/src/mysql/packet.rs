//! Packets and field types: "MySQL Packets", "Integer Types", "String Types". A packet is a 3-byte length, a sequence id
//! and a body; a body of 16 MiB - 1 bytes is continued in the next packet, whose body may be empty.

use bytes::{BufMut, BytesMut};

use super::ProtocolError;

/// Bytes in a packet header.
pub const HEADER_LEN: usize = 4;

/// Largest body of one packet in bytes; a packet of exactly this size is continued by the next one.
pub const MAX_PAYLOAD: usize = 0xFF_FFFF;

/// A packet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Body length in bytes, at most [`MAX_PAYLOAD`].
    pub len: usize,
    /// Sequence id: 0 for a command's first packet, then one more for each packet of either side, wrapping.
    pub seq: u8,
}

impl Header {
    /// Reads the first four bytes; `None` while there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, seq] = *bytes.first_chunk::<HEADER_LEN>()?;
        let len = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        Some(Self { len, seq })
    }

    /// The four bytes on the wire. A length over [`MAX_PAYLOAD`] cannot be expressed and is cut to it.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let len = u32::try_from(self.len.min(MAX_PAYLOAD)).unwrap_or(0);
        let [a, b, c, _] = len.to_le_bytes();
        [a, b, c, self.seq]
    }
}

/// Appends `payload` as one packet, or as several when it has 16 MiB - 1 bytes or more (then with the empty last packet
/// when it is an exact multiple). `seq` is used for the first packet and left at the id after the last.
pub fn write(out: &mut BytesMut, seq: &mut u8, payload: &[u8]) {
    out.reserve(payload.len() + HEADER_LEN);
    let mut rest = payload;
    loop {
        let (body, after) = rest.split_at_checked(MAX_PAYLOAD).unwrap_or((rest, &[]));
        out.put_slice(
            &Header {
                len: body.len(),
                seq: *seq,
            }
            .to_bytes(),
        );
        out.put_slice(body);
        *seq = seq.wrapping_add(1);
        if body.len() < MAX_PAYLOAD {
            return;
        }
        rest = after;
    }
}

/// Appends the packet whose body `body` writes. Bodies of 16 MiB - 1 bytes or more are split as [`write`] does.
pub fn write_with(out: &mut BytesMut, seq: &mut u8, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_slice(&[0; HEADER_LEN]);
    body(out);
    let len = out.len().saturating_sub(start + HEADER_LEN);
    if len >= MAX_PAYLOAD {
        let framed = out.split_off(start);
        write(out, seq, framed.get(HEADER_LEN..).unwrap_or_default());
        return;
    }
    if let Some(place) = out
        .get_mut(start..)
        .and_then(|tail| tail.first_chunk_mut::<HEADER_LEN>())
    {
        *place = Header { len, seq: *seq }.to_bytes();
    }
    *seq = seq.wrapping_add(1);
}

/// Appends a length-encoded integer (`int<lenenc>`).
pub fn put_lenenc_int(out: &mut impl BufMut, value: u64) {
    let bytes = value.to_le_bytes();
    match value {
        0..=0xFA => out.put_uint_le(value, 1),
        0xFB..=0xFFFF => {
            out.put_u8(0xFC);
            out.put_uint_le(value, 2);
        }
        0x1_0000..=0xFF_FFFF => {
            out.put_u8(0xFD);
            out.put_uint_le(value, 3);
        }
        _ => {
            out.put_u8(0xFE);
            out.put_slice(&bytes);
        }
    }
}

/// Appends a length-encoded string (`string<lenenc>`).
pub fn put_lenenc_bytes(out: &mut impl BufMut, value: &[u8]) {
    put_lenenc_int(out, value.len() as u64);
    out.put_slice(value);
}

/// Appends a string that ends with a zero byte (`string<NUL>`). A zero byte inside would end it early, so the value is cut there.
pub fn put_nul_bytes(out: &mut impl BufMut, value: &[u8]) {
    let end = memchr::memchr(0, value).unwrap_or(value.len());
    out.put_slice(value.get(..end).unwrap_or(value));
    out.put_u8(0);
}

/// Bytes that a length-encoded integer takes.
#[must_use]
pub const fn lenenc_int_len(value: u64) -> usize {
    match value {
        0..=0xFA => 1,
        0xFB..=0xFFFF => 3,
        0x1_0000..=0xFF_FFFF => 4,
        _ => 9,
    }
}

/// Reads fields from a packet's body; every step checks that the bytes are there.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `body`.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// Bytes not read yet.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` bytes (`string<fix>`).
    ///
    /// # Errors
    /// [`ProtocolError::Truncated`] if fewer are left.
    pub fn bytes(&mut self, n: usize) -> Result<&'a [u8], ProtocolError> {
        let (head, rest) = self
            .rest
            .split_at_checked(n)
            .ok_or(ProtocolError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(ProtocolError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// `int<1>`.
    ///
    /// # Errors
    /// [`ProtocolError::Truncated`] if nothing is left.
    pub fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.array::<1>().map(u8::from_le_bytes)
    }

    /// `int<2>`.
    ///
    /// # Errors
    /// [`ProtocolError::Truncated`] if fewer than 2 bytes are left.
    pub fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.array().map(u16::from_le_bytes)
    }

    /// `int<3>`.
    ///
    /// # Errors
    /// [`ProtocolError::Truncated`] if fewer than 3 bytes are left.
    pub fn u24(&mut self) -> Result<u32, ProtocolError> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// `int<4>`.
    ///
    /// # Errors
    /// [`ProtocolError::Truncated`] if fewer than 4 bytes are left.
    pub fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.array().map(u32::from_le_bytes)
    }

    /// `int<8>`.
    ///
    /// # Errors
    /// [`ProtocolError::Truncated`] if fewer than 8 bytes are left.
    pub fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.array().map(u64::from_le_bytes)
    }

    /// `int<lenenc>`.
    ///
    /// # Errors
    /// [`ProtocolError::Truncated`] if it is cut off, [`ProtocolError::Malformed`] for 0xFB (NULL) and 0xFF.
    pub fn lenenc_int(&mut self) -> Result<u64, ProtocolError> {
        match self.u8()? {
            0xFB | 0xFF => Err(ProtocolError::Malformed("length-encoded integer")),
            0xFC => self.u16().map(u64::from),
            0xFD => self.u24().map(u64::from),
            0xFE => self.u64(),
            small => Ok(u64::from(small)),
        }
    }

    /// `string<lenenc>`.
    ///
    /// # Errors
    /// As for [`Self::lenenc_int`], or [`ProtocolError::Truncated`] if the string is cut off.
    pub fn lenenc_bytes(&mut self) -> Result<&'a [u8], ProtocolError> {
        let len = usize::try_from(self.lenenc_int()?).map_err(|_| ProtocolError::Truncated)?;
        self.bytes(len)
    }

    /// `string<NUL>`, without its zero byte.
    ///
    /// # Errors
    /// [`ProtocolError::Truncated`] if no zero byte is left.
    pub fn nul_bytes(&mut self) -> Result<&'a [u8], ProtocolError> {
        let end = memchr::memchr(0, self.rest).ok_or(ProtocolError::Truncated)?;
        let value = self.bytes(end)?;
        self.bytes(1)?;
        Ok(value)
    }

    /// `string<NUL>` or, where the zero byte is missing, all that is left: several clients leave the last one out.
    pub fn nul_bytes_or_rest(&mut self) -> &'a [u8] {
        match self.nul_bytes() {
            Ok(value) => value,
            Err(_) => self.rest(),
        }
    }

    /// All that is left (`string<EOF>`).
    pub fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }
}

#[cfg(test)]
mod tests;
