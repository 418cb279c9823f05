//! A place in a statement's text, and the forms that everybody who reads one knows it by, as the server's lexer does (`sql_lex.cc`):
//! what a byte can begin, words, quoted text, exponents, comments to the end of a line. The classifier's lexer and the digest's scanner
//! are made of it.

use memchr::{memchr, memchr2};

pub(super) const SPACE: u8 = 0;
pub(super) const WORD: u8 = 1;
pub(super) const DIGIT: u8 = 2;
pub(super) const OTHER: u8 = 3;
pub(super) const COMMA: u8 = 4;
pub(super) const OPEN: u8 = 5;
pub(super) const CLOSE: u8 = 6;
pub(super) const QUOTE: u8 = 7;
pub(super) const DOT: u8 = 8;
pub(super) const AT: u8 = 9;
pub(super) const DASH: u8 = 10;
pub(super) const HASH: u8 = 11;
pub(super) const SLASH: u8 = 12;
pub(super) const STAR: u8 = 13;
pub(super) const COLON: u8 = 14;
pub(super) const SEMICOLON: u8 = 15;

/// What each byte can start. Bytes from 0x80 on belong to words, whatever the character set.
static CLASS: [u8; 256] = classes();

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn classes() -> [u8; 256] {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "the loop stops at 255")]
        let class = match byte as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C => SPACE,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80..=0xFF => WORD,
            b'0'..=b'9' => DIGIT,
            b',' => COMMA,
            b'(' => OPEN,
            b')' => CLOSE,
            b'\'' | b'"' | b'`' => QUOTE,
            b'.' => DOT,
            b'@' => AT,
            b'-' => DASH,
            b'#' => HASH,
            b'/' => SLASH,
            b'*' => STAR,
            b':' => COLON,
            b';' => SEMICOLON,
            _ => OTHER,
        };
        table[byte] = class;
        byte += 1;
    }
    table
}

/// What the byte can start.
pub(super) fn class(byte: u8) -> u8 {
    CLASS.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

/// The byte may be part of a word.
pub(super) fn in_word(byte: u8) -> bool {
    matches!(class(byte), WORD | DIGIT)
}

/// A place in a text, from which it is read on.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    /// In bytes from the beginning; never beyond the end when anything is read.
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The byte so far ahead.
    pub(super) fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// All that is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Reads as long as `belongs` says so.
    pub(super) fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest
            .iter()
            .position(|byte| !belongs(*byte))
            .unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    pub(super) fn take_word(&mut self) -> &'a [u8] {
        self.take_while(in_word)
    }

    pub(super) fn take_digits(&mut self) -> &'a [u8] {
        self.take_while(|byte| byte.is_ascii_digit())
    }

    /// So many bytes, or to the end.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at = (self.at + bytes).min(self.text.len());
    }

    /// To the end of the text.
    pub(super) fn skip_all(&mut self) {
        self.at = self.text.len();
    }

    /// Behind the end of the line.
    pub(super) fn skip_line(&mut self) {
        self.at += memchr(b'\n', self.rest()).map_or_else(|| self.rest().len(), |end| end + 1);
    }

    /// At `-`: `--` starts a comment only in front of a space, a control character or the end.
    pub(super) fn is_dash_comment(&self) -> bool {
        self.peek(1) == Some(b'-') && self.peek(2).is_none_or(|byte| byte <= b' ' || byte == 0x7F)
    }

    /// `e5`, `E+5` at this place: part of a number, and its end, even if a letter follows.
    pub(super) fn skip_exponent(&mut self) -> bool {
        let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
        let is_digit = |byte: u8| byte.is_ascii_digit();
        let is_exponent =
            matches!(self.peek(0), Some(b'e' | b'E')) && self.peek(1 + sign).is_some_and(is_digit);
        if is_exponent {
            self.at += 1 + sign;
            self.take_digits();
        }
        is_exponent
    }

    /// From an opening quote to behind the closing one; what is between them, with doubled quotes as they are. `Err` with all that is
    /// left if there is no closing one.
    pub(super) fn take_quoted(&mut self, quote: u8, escapes: bool) -> Result<&'a [u8], &'a [u8]> {
        self.at += 1;
        let start = self.at;
        loop {
            let rest = self.rest();
            let found = if escapes {
                memchr2(quote, b'\\', rest)
            } else {
                memchr(quote, rest)
            };
            let Some(found) = found else {
                self.skip_all();
                return Err(self.text.get(start..).unwrap_or_default());
            };
            self.at += found;
            if self.peek(0) != Some(quote) || self.peek(1) == Some(quote) {
                // an escaped character, or a doubled quote
                self.skip(2);
                continue;
            }
            let content = self.text.get(start..self.at).unwrap_or_default();
            self.at += 1;
            return Ok(content);
        }
    }
}
