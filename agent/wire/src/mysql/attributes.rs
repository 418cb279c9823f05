//! Query attributes: what a client says of a statement beside its text ("COM_QUERY" and "Query Attributes"). They travel in
//! front of the text, as the parameters of a prepared statement do. Bytes only; no IO.

use super::ProtocolError;
use super::flags::Capabilities;
use super::packet::Reader;

/// Where the text of a statement begins in the body of COM_QUERY, which starts with the command byte. Behind the attributes, if
/// the client speaks of any.
///
/// # Errors
/// Any [`ProtocolError`] of attributes that make no sense, or are cut off.
pub fn query_text_at(body: &[u8], client: Capabilities) -> Result<usize, ProtocolError> {
    let mut reader = Reader::new(body);
    reader.u8()?;
    if client.contains(Capabilities::CLIENT_QUERY_ATTRIBUTES) {
        let count = reader.lenenc_int()?;
        // always 1
        reader.lenenc_int()?;
        if count > 0 {
            skip_attributes(&mut reader, count)?;
        }
    }
    Ok(body.len() - reader.remaining())
}

/// What stands in front of the text of a statement of our own, behind the command byte.
#[must_use]
pub const fn no_attributes(agreed: Capabilities) -> &'static [u8] {
    if agreed.contains(Capabilities::CLIENT_QUERY_ATTRIBUTES) {
        &[0, 1]
    } else {
        &[]
    }
}

fn skip_attributes(reader: &mut Reader<'_>, count: u64) -> Result<(), ProtocolError> {
    let broken = ProtocolError::Malformed("query attributes");
    let count = usize::try_from(count).map_err(|_| ProtocolError::Truncated)?;
    let nulls = reader.bytes(count.div_ceil(8))?;
    if reader.u8()? != 1 {
        return Err(broken);
    }
    // each of them takes three bytes at least
    let mut types = Vec::with_capacity(count.min(reader.remaining() / 3));
    for _ in 0..count {
        types.push(reader.u16()?);
        reader.lenenc_bytes()?;
    }
    for (at, kind) in types.into_iter().enumerate() {
        let is_null = nulls
            .get(at / 8)
            .is_some_and(|byte| byte >> (at % 8) & 1 == 1);
        if !is_null {
            skip_value(reader, kind)?;
        }
    }
    Ok(())
}

/// "Binary Protocol Value"; the high byte of the type says whether a number is unsigned.
fn skip_value(reader: &mut Reader<'_>, kind: u16) -> Result<(), ProtocolError> {
    let length = match kind & 0xFF {
        // MYSQL_TYPE_NULL
        6 => 0,
        // TINY, BOOL
        1 | 244 => 1,
        // SHORT, YEAR
        2 | 13 => 2,
        // LONG, FLOAT, INT24
        3 | 4 | 9 => 4,
        // DOUBLE, LONGLONG
        5 | 8 => 8,
        // TIMESTAMP, DATE, TIME, DATETIME
        7 | 10..=12 => usize::from(reader.u8()?),
        // DECIMAL, VARCHAR, BIT, and what else is sent as a string
        0 | 15 | 16 | 242 | 245..=255 => return reader.lenenc_bytes().map(|_| ()),
        _ => return Err(ProtocolError::Malformed("type of a query attribute")),
    };
    reader.bytes(length).map(|_| ())
}

#[cfg(test)]
mod tests;
