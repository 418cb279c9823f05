//! The end of a client's request, found as its bytes come: an array of bulk strings, or a line (an "inline command"). The limits
//! and the words of the errors are Redis' own (`networking.c`), so that a client sees no difference.

use std::ops::Range;

use memchr::memchr;

/// The most arguments of a request (Redis: 1024 * 1024 for a client that is logged in).
pub const ARGUMENTS_MAX: u32 = 1024 * 1024;

/// The longest argument, in bytes (`proto-max-bulk-len`).
pub const ARGUMENT_MAX: u64 = 512 * 1024 * 1024;

/// The longest line, in bytes (`PROTO_INLINE_MAX_SIZE`).
pub const LINE_MAX: usize = 64 * 1024;

/// Bytes that are no request. The connection cannot go on: nobody knows where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A line without an end.
    #[error("Protocol error: too big inline request")]
    InlineTooLong,
    /// Quotes that do not close.
    #[error("Protocol error: unbalanced quotes in request")]
    Quotes,
    /// `*` without a number, or with one that is too large.
    #[error("Protocol error: invalid multibulk length")]
    Count,
    /// The line behind `*` has no end.
    #[error("Protocol error: too big mbulk count string")]
    CountTooLong,
    /// Something else where an argument begins.
    #[error("Protocol error: expected '$', got '{0}'")]
    Marker(char),
    /// `$` without a number, or with one that is too large.
    #[error("Protocol error: invalid bulk length")]
    Length,
    /// The line behind `$` has no end.
    #[error("Protocol error: too big bulk count string")]
    LengthTooLong,
}

/// What a look at the bytes came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The request has not ended yet.
    NeedMore,
    /// It is this long, from the start of the buffer. No arguments means that it is to be ignored.
    Complete(usize),
    /// It is a line of this length, line break included; see [`inline_arguments`].
    Inline(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Step {
    #[default]
    Start,
    /// At the `$` of an argument.
    Length,
    /// In an argument; so many bytes are left, line break included.
    Body(u64),
}

/// Follows one request. The buffer given to [`RequestScanner::feed`] always begins with the request's first byte, or with the first
/// that [`RequestScanner::forget`] left; nothing is looked at twice.
#[derive(Debug, Default)]
pub struct RequestScanner {
    step: Step,
    at: usize,
    left: u32,
    arguments: Vec<Range<usize>>,
    forgetful: bool,
}

impl RequestScanner {
    /// At the beginning of a request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the arguments are that have begun so far, the command's name first. Only the last one may reach beyond the buffer.
    #[must_use]
    pub fn arguments(&self) -> &[Range<usize>] {
        &self.arguments
    }

    /// How many arguments have not even begun.
    #[must_use]
    pub const fn missing(&self) -> u32 {
        self.left
    }

    /// Ready for the next request; the room for arguments is kept unless it is large.
    pub fn reset(&mut self) {
        self.step = Step::Start;
        self.at = 0;
        self.left = 0;
        self.forgetful = false;
        self.arguments.clear();
        if self.arguments.capacity() > 64 {
            self.arguments = Vec::new();
        }
    }

    /// The first `count` bytes of the buffer, all of them looked at, are gone. Arguments are not noted from here on.
    pub fn forget(&mut self, count: usize) {
        self.at = self.at.saturating_sub(count);
        self.forgetful = true;
        self.arguments = Vec::new();
    }

    /// How many bytes of the buffer have been looked at.
    #[must_use]
    pub const fn scanned(&self) -> usize {
        self.at
    }

    /// Looks at what is new in `buffer`.
    ///
    /// # Errors
    /// If it is no request.
    pub fn feed(&mut self, buffer: &[u8]) -> Result<Progress, RequestError> {
        loop {
            match self.step {
                Step::Start => match buffer.first() {
                    None => return Ok(Progress::NeedMore),
                    Some(b'*') => {
                        let Some((count, end)) = number(buffer, 1).map_err(|bad| match bad {
                            Bad::Number => RequestError::Count,
                            Bad::TooLong => RequestError::CountTooLong,
                        })?
                        else {
                            return Ok(Progress::NeedMore);
                        };
                        self.at = end;
                        if count <= 0 {
                            return Ok(Progress::Complete(end));
                        }
                        self.left = u32::try_from(count)
                            .ok()
                            .filter(|count| *count <= ARGUMENTS_MAX)
                            .ok_or(RequestError::Count)?;
                        self.step = Step::Length;
                    }
                    Some(_) => return inline(buffer),
                },
                Step::Length => {
                    if self.left == 0 {
                        return Ok(Progress::Complete(self.at));
                    }
                    match buffer.get(self.at) {
                        None => return Ok(Progress::NeedMore),
                        Some(b'$') => {}
                        Some(other) => return Err(RequestError::Marker(char::from(*other))),
                    }
                    let Some((length, end)) =
                        number(buffer, self.at + 1).map_err(|bad| match bad {
                            Bad::Number => RequestError::Length,
                            Bad::TooLong => RequestError::LengthTooLong,
                        })?
                    else {
                        return Ok(Progress::NeedMore);
                    };
                    let length = u64::try_from(length)
                        .ok()
                        .filter(|length| *length <= ARGUMENT_MAX)
                        .ok_or(RequestError::Length)?;
                    self.at = end;
                    self.left -= 1;
                    if !self.forgetful {
                        let length = usize::try_from(length).map_err(|_| RequestError::Length)?;
                        self.arguments.push(end..end + length);
                    }
                    self.step = Step::Body(length + 2);
                }
                Step::Body(left) => {
                    let there = buffer.len().saturating_sub(self.at);
                    let there_64 = u64::try_from(there).unwrap_or(u64::MAX);
                    if there_64 < left {
                        self.at += there;
                        self.step = Step::Body(left - there_64);
                        return Ok(Progress::NeedMore);
                    }
                    // no more than what is there, which is a usize
                    self.at += usize::try_from(left).unwrap_or(there);
                    self.step = Step::Length;
                }
            }
        }
    }
}

enum Bad {
    Number,
    TooLong,
}

/// The number that begins at `from` and ends with a line break, and where the next line begins.
fn number(buffer: &[u8], from: usize) -> Result<Option<(i64, usize)>, Bad> {
    let rest = buffer.get(from..).unwrap_or_default();
    let mut value: i64 = 0;
    let mut negative = false;
    for (place, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' if place < 20 => {
                value = value
                    .checked_mul(10)
                    .and_then(|value| value.checked_add(i64::from(byte - b'0')))
                    .ok_or(Bad::Number)?;
            }
            b'-' if place == 0 => negative = true,
            b'\r' if place > usize::from(negative) => {
                // Redis does not look at the byte behind it, and neither do we
                if rest.len() < place + 2 {
                    return Ok(None);
                }
                let value = if negative { -value } else { value };
                return Ok(Some((value, from + place + 2)));
            }
            _ if memchr(b'\r', rest).is_none() && rest.len() <= LINE_MAX => return Ok(None),
            _ if memchr(b'\r', rest).is_none() => return Err(Bad::TooLong),
            _ => return Err(Bad::Number),
        }
    }
    Ok(None)
}

fn inline(buffer: &[u8]) -> Result<Progress, RequestError> {
    match memchr(b'\n', buffer) {
        Some(end) => Ok(Progress::Inline(end + 1)),
        None if buffer.len() > LINE_MAX => Err(RequestError::InlineTooLong),
        None => Ok(Progress::NeedMore),
    }
}

/// The arguments of a line, with Redis' quoting (`sdssplitargs`): `"..."` with escapes, `'...'` with `\'`.
///
/// # Errors
/// If quotes do not close, or something follows a closing quote.
pub fn inline_arguments(line: &[u8]) -> Result<Vec<Vec<u8>>, RequestError> {
    let mut arguments = Vec::new();
    let mut bytes = line.iter().copied().peekable();
    loop {
        while bytes.next_if(|b| is_space(*b)).is_some() {}
        if bytes.peek().is_none_or(|b| *b == 0) {
            return Ok(arguments);
        }
        let mut argument = Vec::new();
        let mut quote = None;
        loop {
            let next = bytes.next();
            match (quote, next) {
                (Some(_), None) => return Err(RequestError::Quotes),
                (None, None) => break,
                (Some(open), Some(byte)) if byte == open => {
                    // a closing quote must be followed by a space or nothing at all
                    if bytes.peek().is_some_and(|b| !is_space(*b)) {
                        return Err(RequestError::Quotes);
                    }
                    break;
                }
                (Some(b'"'), Some(b'\\')) => match bytes.next() {
                    None => return Err(RequestError::Quotes),
                    Some(b'x') => {
                        let mut ahead = bytes.clone();
                        let digits = (ahead.next().and_then(hex), ahead.next().and_then(hex));
                        if let (Some(high), Some(low)) = digits {
                            argument.push(high << 4 | low);
                            bytes = ahead;
                        } else {
                            argument.push(b'x');
                        }
                    }
                    Some(b'n') => argument.push(b'\n'),
                    Some(b'r') => argument.push(b'\r'),
                    Some(b't') => argument.push(b'\t'),
                    Some(b'b') => argument.push(8),
                    Some(b'a') => argument.push(7),
                    Some(other) => argument.push(other),
                },
                (Some(b'\''), Some(b'\\')) if bytes.peek() == Some(&b'\'') => {
                    bytes.next();
                    argument.push(b'\'');
                }
                (None, Some(byte)) if is_space(byte) || byte == 0 => break,
                (None, Some(open @ (b'"' | b'\''))) => quote = Some(open),
                (_, Some(byte)) => argument.push(byte),
            }
        }
        arguments.push(argument);
    }
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests;
