//! Tokens that begin with neither a letter, a digit nor a quote: operators, comments, variables.

use memchr::memchr2;

use super::super::super::cursor::{SPACE, class, in_word};
use super::super::keywords::{self, Word};
use super::super::tokens::{
    AND_AND, ARROW, ASSIGN, AT, CONCAT, GREATER_EQUAL, LESS_EQUAL, LONG_ARROW, NAME, NOT_EQUAL,
    NULL_SAFE_EQUAL, OR_OR, SHIFT_LEFT, SHIFT_RIGHT, Token,
};
use super::Scanner;

impl Scanner<'_> {
    pub(super) fn other(&mut self, byte: u8) {
        let single = Token::from(byte);
        let (token, bytes) = match (byte, self.peek(1), self.peek(2)) {
            (b'#', ..) => return self.cursor.skip_line(),
            (b'-', ..) if self.cursor.is_dash_comment() => return self.cursor.skip_line(),
            (b'/', Some(b'*'), _) => return self.comment(),
            (b'*', Some(b'/'), _) if self.executable => {
                self.executable = false;
                self.cursor.at += 2;
                return;
            }
            (b'@', ..) => return self.variable(),
            (b'?', ..) => {
                self.cursor.at += 1;
                return self.value();
            }
            (b'.', Some(digit), _) if digit.is_ascii_digit() => {
                self.cursor.at += 1;
                self.fraction();
                return self.number(None);
            }
            (b'.', ..) => {
                self.sign(single, 1);
                if self.peek(0).is_some_and(in_word) {
                    let word = self.cursor.take_word();
                    self.name(NAME, word, None);
                    self.members();
                }
                return;
            }
            (b'<', Some(b'='), Some(b'>')) => (NULL_SAFE_EQUAL, 3),
            (b'-', Some(b'>'), Some(b'>')) => (LONG_ARROW, 3),
            (b'-', Some(b'>'), _) => (ARROW, 2),
            (b'<', Some(b'='), _) => (LESS_EQUAL, 2),
            (b'<', Some(b'>'), _) | (b'!', Some(b'='), _) => (NOT_EQUAL, 2),
            (b'<', Some(b'<'), _) => (SHIFT_LEFT, 2),
            (b'>', Some(b'>'), _) => (SHIFT_RIGHT, 2),
            (b'>', Some(b'='), _) => (GREATER_EQUAL, 2),
            (b'&', Some(b'&'), _) => (AND_AND, 2),
            (b'|', Some(b'|'), _) if self.mode.pipes_as_concat => (CONCAT, 2),
            (b'|', Some(b'|'), _) => (OR_OR, 2),
            (b':', Some(b'='), _) => (ASSIGN, 2),
            _ => (single, 1),
        };
        self.sign(token, bytes);
    }

    /// At `/*`.
    fn comment(&mut self) {
        if self.peek(2) != Some(b'!') {
            return self.skip_comment(0);
        }
        let digits = self
            .cursor
            .rest()
            .iter()
            .skip(3)
            .take(6)
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        // six digits must be followed by a space, five need not
        let is_long = digits == 6 && self.peek(9).is_some_and(|byte| class(byte) == SPACE);
        let digits = match digits {
            6 if is_long => 6,
            5 | 6 => 5,
            _ => 0,
        };
        let version = self.cursor.rest().get(3..3 + digits);
        let version = version.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        if version.is_none_or(|version: u32| version <= self.mode.server_version) {
            self.executable = true;
            self.cursor.at += 3 + digits;
        } else {
            self.skip_comment(1);
        }
    }

    /// A comment, in which so many others may lie.
    fn skip_comment(&mut self, nested: u32) {
        self.cursor.at += 2;
        loop {
            let Some(next) = memchr2(b'*', b'/', self.cursor.rest()) else {
                self.cursor.skip_all();
                return;
            };
            self.cursor.at += next;
            match (self.peek(0), self.peek(1)) {
                (Some(b'*'), Some(b'/')) => {
                    self.cursor.at += 2;
                    return;
                }
                (Some(b'/'), Some(b'*')) if nested > 0 => self.skip_comment(nested - 1),
                _ => self.cursor.at += 1,
            }
        }
    }

    /// `@x`, `@@x`, the host of an account.
    fn variable(&mut self) {
        self.sign(AT, 1);
        match self.peek(0) {
            Some(b'@') => {
                self.sign(AT, 1);
                if self.peek(0) == Some(b'`') {
                    return;
                }
                let word = self.cursor.take_word();
                match keywords::lookup(word) {
                    Some(Word {
                        token,
                        is_function: false,
                    }) => self.keyword(token),
                    _ => self.name(NAME, word, None),
                }
                self.members();
            }
            Some(b'\'' | b'"' | b'`') => {}
            _ => {
                self.cursor.take_while(|byte| in_word(byte) || byte == b'.');
                self.value();
            }
        }
    }
}
