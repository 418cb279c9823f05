//! Splits a statement into the tokens of its digest, as the server's lexer does (`sql_lex.cc`). A sibling of the classifier's lexer, made
//! of the same [`Cursor`]: it keeps what that one drops and drops what that one keeps, operators, introducers, which words are keywords.

mod signs;

use memchr::memmem;

use super::super::cursor::{Cursor, DIGIT, QUOTE, SPACE, WORD, class, in_word};
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

#[derive(Debug)]
pub(super) struct Scanner<'a> {
    pub(super) cursor: Cursor<'a>,
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
            cursor: Cursor::new(text),
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
                SPACE => self.cursor.at += 1,
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
        self.cursor.peek(ahead)
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
        self.cursor.at += bytes;
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
                self.cursor.at += 1;
                self.skip_quoted(b'\'', false);
                return self.number(None);
            }
            (b'n' | b'N', Some(b'\'')) => {
                self.cursor.at += 1;
                self.skip_quoted(b'\'', !self.mode.lex.no_backslash_escapes);
                return self.value();
            }
            (b'$', _) if self.dollar_quoted() => return,
            _ => {}
        }
        let word = self.cursor.take_word();
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
        let rest = self.cursor.rest();
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
            let word = self.cursor.take_word();
            self.name(NAME, word, None);
        }
    }

    /// `$tag$ ... $tag$`, the body of a routine in another language.
    fn dollar_quoted(&mut self) -> bool {
        let rest = self.cursor.rest();
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
        let start = self.cursor.at;
        if first == b'0' && self.based_number() {
            return self.number(None);
        }
        let digits = self.cursor.take_digits();
        match self.peek(0) {
            Some(b'.') => {
                self.cursor.at += 1;
                self.fraction();
                self.number(None);
            }
            Some(b'e' | b'E') if self.cursor.skip_exponent() => self.number(None),
            Some(byte) if in_word(byte) => {
                self.cursor.at = start;
                let word = self.cursor.take_word();
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
            .cursor
            .rest()
            .iter()
            .skip(2)
            .take_while(|byte| is_digit(**byte))
            .count();
        let is_number = digits > 0 && !self.peek(2 + digits).is_some_and(in_word);
        if is_number {
            self.cursor.at += 2 + digits;
        }
        is_number
    }

    fn fraction(&mut self) {
        self.cursor.take_digits();
        self.cursor.skip_exponent();
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

    /// From an opening quote to behind the closing one, or to the end; what is between them.
    pub(super) fn skip_quoted(&mut self, quote: u8, escapes: bool) -> &'a [u8] {
        self.cursor
            .take_quoted(quote, escapes)
            .unwrap_or_else(|content| content)
    }
}
