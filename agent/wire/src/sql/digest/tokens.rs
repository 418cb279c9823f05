//! The tokens of a digest: kept in a fixed room as the server keeps them (`max_digest_length`), values and lists of values
//! reduced as they come. (`sql_digest.cc` describes the reductions.) Pure memory, on the stack.

use super::keywords::{self, STARTS};

/// A character, one of the tokens below, or a word of [`keywords`].
pub(super) type Token = u16;

/// The first token that is a word.
pub(super) const FIRST_WORD: Token = 288;

const fn special(index: Token) -> Token {
    256 + index
}

pub(super) const VALUE: Token = special(0);
const VALUE_LIST: Token = special(1);
const ROW_OF_ONE: Token = special(2);
const ROWS_OF_ONE: Token = special(3);
const ROW: Token = special(4);
const ROWS: Token = special(5);
const IN_VALUES: Token = special(6);
pub(super) const NAME: Token = special(7);
/// A name with `@` behind it, in a hint.
pub(super) const NAME_AT: Token = special(8);
const BY_NUMBER: Token = special(9);
pub(super) const HINT_OPEN: Token = special(10);
pub(super) const HINT_CLOSE: Token = special(11);
pub(super) const WITH_ROLLUP: Token = special(12);
pub(super) const INTRODUCER: Token = special(13);
pub(super) const NOT_EQUAL: Token = special(14);
pub(super) const LESS_EQUAL: Token = special(15);
pub(super) const GREATER_EQUAL: Token = special(16);
pub(super) const NULL_SAFE_EQUAL: Token = special(17);
pub(super) const SHIFT_LEFT: Token = special(18);
pub(super) const SHIFT_RIGHT: Token = special(19);
pub(super) const AND_AND: Token = special(20);
pub(super) const OR_OR: Token = special(21);
pub(super) const ASSIGN: Token = special(22);
pub(super) const ARROW: Token = special(23);
pub(super) const LONG_ARROW: Token = special(24);
pub(super) const DOLLAR_QUOTED: Token = special(25);
/// `||` where it joins texts: no expression is known to begin behind it.
pub(super) const CONCAT: Token = special(26);
const NOTHING: Token = special(27);

/// How each of them is written.
const TEXTS: [&str; 27] = [
    "?",
    "?, ...",
    "(?)",
    "(?) /* , ... */",
    "(...)",
    "(...) /* , ... */",
    "IN (...)",
    "",
    "",
    "",
    "/*+",
    "*/",
    "WITH ROLLUP",
    "(_charset)",
    "!=",
    "<=",
    ">=",
    "<=>",
    "<<",
    ">>",
    "&&",
    "||",
    ":=",
    "->",
    "->>",
    "(unknown)",
    "||",
];

pub(super) const OPEN: Token = b'(' as Token;
pub(super) const CLOSE: Token = b')' as Token;
pub(super) const COMMA: Token = b',' as Token;
pub(super) const AT: Token = b'@' as Token;
pub(super) const SEMICOLON: Token = b';' as Token;
pub(super) const PLUS: Token = b'+' as Token;
const MINUS: Token = b'-' as Token;

const IN: Token = keywords::token("IN");
const BY: Token = keywords::token("BY");

/// Room for tokens, in bytes: `max_digest_length` of a server that was not told otherwise.
pub(super) const ROOM: usize = 1024;

/// What one token takes, in bytes; a name takes twice as much and itself.
const TOKEN: usize = 2;

/// The longest name that is written out, in bytes: 64 characters of three bytes, as the server counts.
const NAME_MAX: usize = 64;

/// The tokens of one statement.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    bytes: [u8; ROOM],
    len: usize,
    /// Behind the last name or column number: what is in front of it is not looked at again.
    barrier: usize,
    /// Something did not fit: nothing more is taken.
    full: bool,
}

impl Tokens {
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; ROOM],
            len: 0,
            barrier: 0,
            full: false,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        self.full
    }

    /// As it is kept; equal for equal digests.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The token `back` places from the end; 1 is the last.
    fn last(&self, back: usize) -> Token {
        let Some(start) = self.len.checked_sub(TOKEN * back) else {
            return NOTHING;
        };
        if start < self.barrier {
            return NOTHING;
        }
        self.read(start).unwrap_or(NOTHING)
    }

    fn read(&self, at: usize) -> Option<Token> {
        let bytes = self.bytes.get(at..at + TOKEN)?;
        bytes.try_into().map(Token::from_le_bytes).ok()
    }

    const fn pop(&mut self, tokens: usize) {
        self.len = self.len.saturating_sub(TOKEN * tokens);
    }

    fn put(&mut self, bytes: &[u8]) -> bool {
        match self.bytes.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
                true
            }
            None => false,
        }
    }

    /// Any token that is not reduced with others.
    pub(super) fn push(&mut self, token: Token) {
        if !self.full && !self.put(&token.to_le_bytes()) {
            self.full = true;
        }
    }

    /// A name, `quote` doubled inside it if it was quoted.
    pub(super) fn push_name(&mut self, token: Token, name: &[u8], quote: Option<u8>) {
        if self.full {
            return;
        }
        let doubled = quote.map_or(0, |quote| {
            name.iter().filter(|byte| **byte == quote).count() / 2
        });
        let length = name.len() - doubled;
        let start = self.len;
        let fits = u16::try_from(length).is_ok_and(|length| {
            start + 2 * TOKEN + usize::from(length) <= ROOM
                && self.put(&token.to_le_bytes())
                && self.put(&length.to_le_bytes())
        });
        if !fits {
            self.full = true;
            return;
        }
        if doubled == 0 {
            self.put(name);
        } else {
            let mut after_quote = false;
            for &byte in name {
                after_quote = !after_quote && Some(byte) == quote;
                if !after_quote {
                    self.put(&[byte]);
                }
            }
        }
        self.barrier = self.len;
    }

    /// A number: a sign in front of it that can be no operator is part of it.
    pub(super) fn push_number(&mut self) {
        if self.full {
            return;
        }
        while matches!(self.last(1), PLUS | MINUS) && starts_expression(self.last(2)) {
            self.pop(1);
        }
        self.push_value();
    }

    /// A value: one behind a value and a comma makes a list.
    pub(super) fn push_value(&mut self) {
        if self.full {
            return;
        }
        if self.last(1) == COMMA && matches!(self.last(2), VALUE | VALUE_LIST) {
            self.pop(2);
            self.push(VALUE_LIST);
        } else {
            self.push(VALUE);
        }
    }

    /// A NULL that is a value. The server sees so only when it has stored it.
    pub(super) fn push_null(&mut self) {
        if self.len + TOKEN > ROOM {
            self.full = true;
        }
        self.push_value();
    }

    /// A closing parenthesis: one around values makes a row, one behind a row and a comma a list of rows.
    pub(super) fn push_close(&mut self) {
        if self.full {
            return;
        }
        let (row, rows) = match self.last(1) {
            VALUE => (ROW_OF_ONE, ROWS_OF_ONE),
            VALUE_LIST => (ROW, ROWS),
            _ => return self.push(CLOSE),
        };
        if self.last(2) != OPEN {
            return self.push(CLOSE);
        }
        self.pop(2);
        let (before, second) = (self.last(1), self.last(2));
        if before == COMMA && (second == row || second == rows) {
            self.pop(2);
            self.push(rows);
        } else if before == IN {
            self.pop(1);
            self.push(IN_VALUES);
        } else {
            self.push(row);
        }
    }

    /// The number that was pushed last is the place of a column in ORDER BY or the like, and stays readable. `behind` is the
    /// token that showed it, not pushed yet.
    pub(super) fn number_is_column(&mut self, number: u32, behind: Option<Token>) {
        if self.full || (behind.is_some() && self.len + TOKEN > ROOM) {
            return;
        }
        let begins = |token| matches!(token, BY | COMMA | OPEN);
        let pushed = if self.last(1) == VALUE && begins(self.last(2)) {
            None
        } else if behind.is_none() && self.last(2) == VALUE && begins(self.last(3)) {
            // at the end the server takes what is last for the token behind, whatever it is
            Some(self.last(1))
        } else {
            return;
        };
        self.pop(1 + usize::from(pushed.is_some()));
        let mut bytes = [0; TOKEN + 4];
        let (token, value) = bytes.split_at_mut(TOKEN);
        token.copy_from_slice(&BY_NUMBER.to_le_bytes());
        value.copy_from_slice(&number.to_le_bytes());
        if self.put(&bytes) {
            self.barrier = self.len;
        } else {
            self.full = true;
        }
        if let Some(token) = pushed {
            self.push(token);
        }
    }

    /// WITH, which was pushed last, goes with the ROLLUP that follows.
    pub(super) fn push_rollup(&mut self) {
        if !self.full {
            self.pop(1);
            self.push(WITH_ROLLUP);
        }
    }

    /// The end: a semicolon there belongs to nothing.
    pub(super) fn finish(&mut self) {
        if !self.full && self.len >= TOKEN && self.read(self.len - TOKEN) == Some(SEMICOLON) {
            self.pop(1);
        }
    }

    /// The text of the digest.
    pub(super) fn text(&self) -> String {
        let mut out = String::with_capacity(2 * self.len);
        let mut at = 0;
        let mut space = false;
        while at < self.len {
            let Some(token) = self.read(at) else { break };
            at += TOKEN;
            let mut separate = |out: &mut String| {
                if space {
                    out.push(' ');
                }
                space = false;
            };
            match token {
                NAME | NAME_AT => {
                    let length = self.read(at).map_or(0, usize::from);
                    at += TOKEN;
                    let name = self.bytes.get(at..at + length).unwrap_or_default();
                    at += length;
                    match written(name) {
                        None => {}
                        Some(Written::Long) => {
                            separate(&mut out);
                            out.push_str("...");
                        }
                        Some(Written::Name(name)) => {
                            separate(&mut out);
                            out.push('`');
                            out.push_str(name);
                            out.push('`');
                            space = token == NAME;
                        }
                    }
                }
                BY_NUMBER => {
                    let number = self.bytes.get(at..at + 4).unwrap_or_default();
                    at += 4;
                    separate(&mut out);
                    out.push_str(
                        &u32::from_le_bytes(number.try_into().unwrap_or_default()).to_string(),
                    );
                    space = true;
                }
                _ => {
                    separate(&mut out);
                    push_text(&mut out, token);
                    space = token != AT;
                }
            }
        }
        out
    }
}

fn push_text(out: &mut String, token: Token) {
    if let Ok(byte) = u8::try_from(token) {
        out.push(char::from(byte));
    } else if token < FIRST_WORD {
        out.push_str(
            TEXTS
                .get(usize::from(token - 256))
                .copied()
                .unwrap_or_default(),
        );
    } else {
        out.push_str(keywords::text(token).unwrap_or_default());
    }
}

enum Written<'a> {
    Name(&'a str),
    Long,
}

/// The server writes names in utf8mb3: what does not fit there is left out, and what might not fit is not tried.
fn written(name: &[u8]) -> Option<Written<'_>> {
    if name.len() > NAME_MAX {
        return Some(Written::Long);
    }
    let name = std::str::from_utf8(name).ok()?;
    let fits = !name.is_empty() && name.chars().all(|char| u32::from(char) <= 0xFFFF);
    fits.then_some(Written::Name(name))
}

/// Behind this token an expression begins.
fn starts_expression(token: Token) -> bool {
    match token {
        NOT_EQUAL | LESS_EQUAL | GREATER_EQUAL | NULL_SAFE_EQUAL | SHIFT_LEFT | SHIFT_RIGHT
        | AND_AND | OR_OR => true,
        _ => u8::try_from(token).map_or_else(
            |_| keywords::flags(token) & STARTS != 0,
            |byte| b"(,|&+-*/%^=<>".contains(&byte),
        ),
    }
}
