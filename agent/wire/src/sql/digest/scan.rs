//! Splits a statement into the tokens of its digest, as the server's lexer does (`sql_lex.cc`). A sibling of the classifier's lexer,
//! which keeps what this one drops and drops what this one keeps: operators, introducers, which words are keywords.

mod signs;

use memchr::{memchr, memchr2, memmem};

use super::keywords::{self, ENDS, LIST_END, TAKES_HINTS, Word};
use super::tokens::{
    CLOSE, COMMA, DOLLAR_QUOTED, INTRODUCER, NAME, OPEN, PLUS, Token, Tokens, VALUE,
};
use super::{Mode, hints};

const NULL: Token = keywords::token("NULL");
const NOT: Token = keywords::token("NOT");
const BINARY: Token = keywords::token("BINARY");
const WITH: Token = keywords::token("WITH");
const ROLLUP: Token = keywords::token("ROLLUP");
const CUBE: Token = keywords::token("CUBE");
const BY: Token = keywords::token("BY");
const ORDER: Token = keywords::token("ORDER");
const GROUP: Token = keywords::token("GROUP");
const PARTITION: Token = keywords::token("PARTITION");
const ASC: Token = keywords::token("ASC");
const DESC: Token = keywords::token("DESC");

/// What a byte can start or be part of.
const SPACE: u8 = 0;
const WORD: u8 = 1;
const DIGIT: u8 = 2;
const QUOTE: u8 = 3;
const OTHER: u8 = 4;

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
            b'\'' | b'"' | b'`' => QUOTE,
            _ => OTHER,
        };
        table[byte] = class;
        byte += 1;
    }
    table
}

fn class(byte: u8) -> u8 {
    CLASS.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

pub(super) fn in_word(byte: u8) -> bool {
    matches!(class(byte), WORD | DIGIT)
}

#[derive(Debug)]
pub(super) struct Scanner<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    pub(super) mode: Mode,
    pub(super) tokens: Tokens,
    /// The token before.
    before: Token,
    /// No expression can begin here.
    operand: bool,
    /// Parentheses open.
    depth: u32,
    /// For each depth whether it is in a list of columns to sort or group by.
    lists: u64,
    /// At the beginning of an element of such a list, but for signs that change nothing.
    fresh: bool,
    /// The token before is a whole number that may be a column's place.
    column: Option<u32>,
    /// Inside `/*! ... */`.
    executable: bool,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a [u8], mode: Mode) -> Self {
        Self {
            text,
            at: 0,
            mode,
            tokens: Tokens::new(),
            before: 0,
            operand: false,
            depth: 0,
            lists: 0,
            fresh: false,
            column: None,
            executable: false,
        }
    }

    pub(super) fn run(mut self) -> Tokens {
        while !self.tokens.is_full() {
            let Some(byte) = self.peek(0) else { break };
            match class(byte) {
                SPACE => self.at += 1,
                WORD => self.word(byte),
                DIGIT => self.number_or_name(byte),
                QUOTE => self.quoted(byte),
                _ => self.other(byte),
            }
        }
        self.settle(None);
        self.tokens.finish();
        self.tokens
    }

    pub(super) fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest
            .iter()
            .position(|byte| !belongs(*byte))
            .unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    fn in_list(&self) -> bool {
        self.lists & 1_u64.checked_shl(self.depth).unwrap_or(0) != 0
    }

    fn set_list(&mut self, on: bool) {
        let bit = 1_u64.checked_shl(self.depth).unwrap_or(0);
        self.lists = if on {
            self.lists | bit
        } else {
            self.lists & !bit
        };
    }

    /// Says what the number before was, now that `behind` shows it.
    fn settle(&mut self, behind: Option<Token>) {
        if let Some(number) = self.column.take() {
            let is_column = behind.is_none_or(|token| {
                matches!(token, COMMA | CLOSE | ASC | DESC)
                    || token == Token::from(b';')
                    || keywords::flags(token) & LIST_END != 0
            });
            if is_column {
                self.tokens.number_is_column(number, behind);
            }
        }
    }

    fn value(&mut self) {
        self.settle(Some(VALUE));
        self.tokens.push_value();
        self.note(VALUE, true);
    }

    fn note(&mut self, token: Token, operand: bool) {
        self.before = token;
        self.operand = operand;
        self.fresh = self.lists != 0
            && match token {
                BY | COMMA | OPEN => self.in_list(),
                PLUS => self.fresh,
                _ => false,
            };
    }

    pub(super) fn name(&mut self, token: Token, name: &[u8], quote: Option<u8>) {
        self.settle(Some(token));
        self.tokens.push_name(token, name, quote);
        self.note(NAME, true);
    }

    /// A number that is whole can be a column's place.
    fn number(&mut self, digits: Option<&[u8]>) {
        self.settle(Some(VALUE));
        let may_be_column = self.fresh;
        self.tokens.push_number();
        self.note(VALUE, true);
        if may_be_column && let Some(digits) = digits {
            self.column = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .filter(|number| *number > 0);
        }
    }

    /// Any token that is no name, no value and no keyword.
    pub(super) fn sign(&mut self, token: Token, bytes: usize) {
        self.at += bytes;
        self.settle(Some(token));
        match token {
            OPEN => {
                let is_list = self.in_list() && matches!(self.before, ROLLUP | CUBE);
                self.depth += 1;
                self.set_list(is_list);
                self.tokens.push(token);
            }
            CLOSE => {
                self.set_list(false);
                self.depth = self.depth.saturating_sub(1);
                self.tokens.push_close();
            }
            _ => self.tokens.push(token),
        }
        self.note(token, token == CLOSE);
    }

    fn keyword(&mut self, token: Token) {
        self.settle(Some(token));
        let flags = keywords::flags(token);
        if flags & LIST_END != 0 {
            self.set_list(false);
        }
        match token {
            NULL if !self.operand => self.tokens.push_null(),
            ROLLUP if self.before == WITH => self.tokens.push_rollup(),
            NOT if self.mode.high_not_precedence => self.tokens.push(Token::from(b'!')),
            BY if matches!(self.before, ORDER | GROUP | PARTITION) => {
                self.set_list(true);
                self.tokens.push(token);
            }
            _ => self.tokens.push(token),
        }
        let operand = flags & ENDS != 0 || (matches!(token, NOT | BINARY) && self.operand);
        self.note(token, operand);
        if flags & TAKES_HINTS != 0 {
            hints::hints(self);
        }
    }

    fn word(&mut self, byte: u8) {
        match (byte, self.peek(1)) {
            (b'x' | b'X' | b'b' | b'B', Some(b'\'')) => {
                self.at += 1;
                self.skip_quoted(b'\'', false);
                return self.number(None);
            }
            (b'n' | b'N', Some(b'\'')) => {
                self.at += 1;
                self.skip_quoted(b'\'', !self.mode.lex.no_backslash_escapes);
                return self.value();
            }
            (b'$', _) if self.dollar_quoted() => return,
            _ => {}
        }
        let word = self.take_while(in_word);
        if self.dot_and_name() {
            self.name(NAME, word, None);
            return self.members();
        }
        match keywords::lookup(word) {
            Some(Word { token, is_function }) if !is_function || self.is_call() => {
                self.keyword(token);
            }
            _ if byte == b'_' && keywords::is_introducer(word) => self.sign(INTRODUCER, 0),
            _ => self.name(NAME, word, None),
        }
    }

    /// A parenthesis follows at once.
    fn is_call(&self) -> bool {
        let rest = self.rest();
        let mut bytes = rest.iter();
        if self.mode.ignore_space {
            bytes.find(|byte| class(**byte) != SPACE) == Some(&b'(')
        } else {
            bytes.next() == Some(&b'(')
        }
    }

    /// `.x` follows at once.
    fn dot_and_name(&self) -> bool {
        self.peek(0) == Some(b'.') && self.peek(1).is_some_and(in_word)
    }

    /// `.x.y`: never keywords, and digits may start them.
    fn members(&mut self) {
        while self.dot_and_name() {
            self.sign(Token::from(b'.'), 1);
            let word = self.take_while(in_word);
            self.name(NAME, word, None);
        }
    }

    /// `$tag$ ... $tag$`, the body of a routine in another language.
    fn dollar_quoted(&mut self) -> bool {
        let rest = self.rest();
        let tag = rest
            .iter()
            .skip(1)
            .position(|byte| *byte == b'$' || !in_word(*byte))
            .and_then(|len| rest.get(..len + 2))
            .filter(|tag| tag.ends_with(b"$"));
        let Some(tag) = tag else { return false };
        let body = rest.get(tag.len()..).unwrap_or_default();
        let Some(end) = memmem::find(body, tag) else {
            return false;
        };
        self.sign(DOLLAR_QUOTED, end + 2 * tag.len());
        true
    }

    fn number_or_name(&mut self, first: u8) {
        let start = self.at;
        if first == b'0' && self.based_number() {
            return self.number(None);
        }
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        match self.peek(0) {
            Some(b'.') => {
                self.at += 1;
                self.fraction();
                self.number(None);
            }
            Some(b'e' | b'E') if self.skip_exponent() => self.number(None),
            Some(byte) if in_word(byte) => {
                self.at = start;
                let word = self.take_while(in_word);
                self.name(NAME, word, None);
                self.members();
            }
            _ => self.number(Some(digits)),
        }
    }

    /// `0x1F`, `0b11`, in small letters and with nothing behind; else it is a name.
    fn based_number(&mut self) -> bool {
        let is_digit: fn(u8) -> bool = match self.peek(1) {
            Some(b'x') => |byte| byte.is_ascii_hexdigit(),
            Some(b'b') => |byte| matches!(byte, b'0' | b'1'),
            _ => return false,
        };
        let digits = self
            .rest()
            .iter()
            .skip(2)
            .take_while(|byte| is_digit(**byte))
            .count();
        let is_number = digits > 0 && !self.peek(2 + digits).is_some_and(in_word);
        if is_number {
            self.at += 2 + digits;
        }
        is_number
    }

    fn fraction(&mut self) {
        self.take_while(|byte| byte.is_ascii_digit());
        self.skip_exponent();
    }

    fn skip_exponent(&mut self) -> bool {
        let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
        let is_exponent = matches!(self.peek(0), Some(b'e' | b'E'))
            && self
                .peek(1 + sign)
                .is_some_and(|byte| byte.is_ascii_digit());
        if is_exponent {
            self.at += 1 + sign;
            self.take_while(|byte| byte.is_ascii_digit());
        }
        is_exponent
    }

    pub(super) fn is_name_quote(&self, quote: u8) -> bool {
        quote == b'`' || (quote == b'"' && self.mode.lex.ansi_quotes)
    }

    fn quoted(&mut self, quote: u8) {
        if self.is_name_quote(quote) {
            let name = self.skip_quoted(quote, false);
            self.name(NAME, name, Some(quote));
        } else {
            self.skip_quoted(quote, !self.mode.lex.no_backslash_escapes);
            self.value();
        }
    }

    /// From an opening quote to behind the closing one; what is between them.
    pub(super) fn skip_quoted(&mut self, quote: u8, escapes: bool) -> &'a [u8] {
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
                self.at = self.text.len();
                return self.text.get(start..).unwrap_or_default();
            };
            self.at += found;
            if self.peek(0) != Some(quote) || self.peek(1) == Some(quote) {
                // an escaped character, or a doubled quote
                self.at = (self.at + 2).min(self.text.len());
                continue;
            }
            let content = self.text.get(start..self.at).unwrap_or_default();
            self.at += 1;
            return content;
        }
    }
}
