//! The end of a server's reply, found as its bytes come, in RESP2 and RESP3. Nothing is decoded; the state is a stack of counts.

use memchr::memchr;

/// The longest line of a reply, in bytes: an error with the text of a script in it.
pub const LINE_MAX: usize = 1024 * 1024;

/// How deep replies may nest. Lua cannot build deeper ones.
pub const DEPTH_MAX: usize = 512;

/// The longest string of a reply, in bytes: a server may be told to take more than 512 MiB, but never this much.
const STRING_MAX: u64 = 1 << 40;

/// The most elements of a reply: twice what Redis counts with, plus one for what an attribute describes.
const COUNT_MAX: u64 = (1 << 33) + 1;

/// Bytes that are no reply. Nobody knows where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A byte that begins no reply.
    #[error("a reply begins with the byte {0:#04x}")]
    Marker(u8),
    /// A number that is none.
    #[error("a length in a reply is no number")]
    Number,
    /// A line without an end.
    #[error("a line of a reply is longer than {LINE_MAX} bytes")]
    Line,
    /// Deeper than [`DEPTH_MAX`].
    #[error("a reply nests deeper than {DEPTH_MAX}")]
    Depth,
}

/// What a look at the bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// How many bytes belong to the reply. Without `complete`, what is behind them is a line that has not ended.
    pub consumed: usize,
    /// Whether the reply ends with the last of them.
    pub complete: bool,
}

/// Follows one reply; begins anew after it has been complete.
#[derive(Debug, Default)]
pub struct ReplyScanner {
    /// Bytes of the string at hand that are to be skipped, its line break included.
    skip: u64,
    /// For each level that is open, how many elements are to come.
    open: Vec<u64>,
    begun: bool,
}

impl ReplyScanner {
    /// At the beginning of a reply.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether some bytes of a reply have been taken, but not its last.
    #[must_use]
    pub const fn is_midway(&self) -> bool {
        self.begun
    }

    /// Looks at `bytes`, which follow those consumed so far.
    ///
    /// # Errors
    /// If they are no reply.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Fed, ReplyError> {
        let mut at = 0;
        loop {
            if self.skip > 0 {
                let there = bytes.len() - at;
                let there_64 = u64::try_from(there).unwrap_or(u64::MAX);
                if there_64 < self.skip {
                    self.skip -= there_64;
                    return Ok(Fed {
                        consumed: bytes.len(),
                        complete: false,
                    });
                }
                at += usize::try_from(self.skip).unwrap_or(there);
                self.skip = 0;
                if self.end_of_element() {
                    return Ok(self.done(at));
                }
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(line_end) = memchr(b'\n', rest) else {
                if rest.len() > LINE_MAX {
                    return Err(ReplyError::Line);
                }
                return Ok(Fed {
                    consumed: at,
                    complete: false,
                });
            };
            let line = rest.get(..line_end).unwrap_or_default();
            at += line_end + 1;
            self.begun = true;
            if self.line(line)? {
                return Ok(self.done(at));
            }
        }
    }

    fn done(&mut self, consumed: usize) -> Fed {
        self.begun = false;
        Fed {
            consumed,
            complete: true,
        }
    }

    /// A line without its `\n`; true if the reply ends with it.
    fn line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let (marker, text) = line.split_first().ok_or(ReplyError::Marker(b'\n'))?;
        match marker {
            b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Ok(self.end_of_element()),
            b'$' | b'=' | b'!' => match length(text)? {
                None => Ok(self.end_of_element()),
                Some(length) if length > STRING_MAX => Err(ReplyError::Number),
                Some(length) => {
                    self.skip = length + 2;
                    Ok(false)
                }
            },
            b'*' | b'~' | b'>' => match length(text)? {
                None | Some(0) => Ok(self.end_of_element()),
                Some(count) => self.enter(count),
            },
            b'%' => match length(text)? {
                None | Some(0) => Ok(self.end_of_element()),
                Some(count) => self.enter(count.checked_mul(2).ok_or(ReplyError::Number)?),
            },
            // attributes precede the element they describe
            b'|' => match length(text)? {
                None => Err(ReplyError::Number),
                Some(count) => self.enter(
                    count
                        .checked_mul(2)
                        .and_then(|count| count.checked_add(1))
                        .ok_or(ReplyError::Number)?,
                ),
            },
            other => Err(ReplyError::Marker(*other)),
        }
    }

    fn enter(&mut self, count: u64) -> Result<bool, ReplyError> {
        if count > COUNT_MAX {
            return Err(ReplyError::Number);
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(ReplyError::Depth);
        }
        self.open.push(count);
        Ok(false)
    }

    /// An element has ended, and with it every level that it was the last of; true if that is all.
    fn end_of_element(&mut self) -> bool {
        while let Some(left) = self.open.last_mut() {
            *left -= 1;
            if *left > 0 {
                return false;
            }
            self.open.pop();
        }
        true
    }
}

/// A count or length; `None` is the null of RESP2, written as -1.
fn length(text: &[u8]) -> Result<Option<u64>, ReplyError> {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    if text == b"-1" {
        return Ok(None);
    }
    if text.is_empty() || text.len() > 19 {
        return Err(ReplyError::Number);
    }
    text.iter()
        .try_fold(0_u64, |value, byte| match byte {
            b'0'..=b'9' => Ok(value * 10 + u64::from(byte - b'0')),
            _ => Err(ReplyError::Number),
        })
        .map(Some)
}

/// Whether a whole reply is null, in either protocol.
#[must_use]
pub fn is_null(reply: &[u8]) -> bool {
    reply.starts_with(b"$-1") || reply.starts_with(b"*-1") || reply.starts_with(b"_")
}

/// The text of a whole reply that is an error, without its marker and line break.
#[must_use]
pub fn error(reply: &[u8]) -> Option<&[u8]> {
    let text = reply.strip_prefix(b"-")?;
    Some(text.strip_suffix(b"\r\n").unwrap_or(text))
}

/// The elements of a whole reply that is an array, each a whole reply itself.
#[must_use]
pub fn elements(reply: &[u8]) -> Option<Vec<&[u8]>> {
    let end = memchr(b'\n', reply)?;
    let count = match reply.first()? {
        b'*' | b'~' | b'>' => length(reply.get(1..end)?).ok()??,
        b'%' => length(reply.get(1..end)?).ok()??.checked_mul(2)?,
        _ => return None,
    };
    let mut rest = reply.get(end + 1..)?;
    let mut found = Vec::new();
    for _ in 0..count {
        let fed = ReplyScanner::new().feed(rest).ok()?;
        if !fed.complete {
            return None;
        }
        found.push(rest.get(..fed.consumed)?);
        rest = rest.get(fed.consumed..)?;
    }
    Some(found)
}

/// The number of a whole reply that is an integer.
#[must_use]
pub fn integer(reply: &[u8]) -> Option<i64> {
    let text = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The bytes of a whole reply that is a string of any kind.
#[must_use]
pub fn string(reply: &[u8]) -> Option<&[u8]> {
    let end = memchr(b'\n', reply)?;
    match reply.first()? {
        b'+' => reply
            .get(1..end)
            .map(|text| text.strip_suffix(b"\r").unwrap_or(text)),
        b'$' => {
            let length = usize::try_from(length(reply.get(1..end)?).ok()??).ok()?;
            reply.get(end + 1..end + 1 + length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
