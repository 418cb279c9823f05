//! Optimizer hints (`/*+ ... */` behind SELECT, INSERT, REPLACE, UPDATE, DELETE) in a digest: they belong to the statement.

use memchr::memmem;

use super::super::cursor::in_word;
use super::keywords;
use super::scan::Scanner;
use super::tokens::{AT, HINT_CLOSE, HINT_OPEN, NAME, NAME_AT, Token};

/// Reads the hints that follow the word just read, if there are some.
pub(super) fn hints(scanner: &mut Scanner<'_>) {
    let rest = scanner.cursor.rest();
    let start = rest.trim_ascii_start();
    let Some(content) = start.strip_prefix(b"/*+") else {
        return;
    };
    let Some(end) = memmem::find(content, b"*/") else {
        return;
    };
    scanner.cursor.at += rest.len() - content.len();
    let end = scanner.cursor.at + end;
    let mut is_open = false;
    loop {
        scanner.cursor.take_while(|byte| byte.is_ascii_whitespace());
        let Some(byte) = scanner.peek(0).filter(|_| scanner.cursor.at < end) else {
            break;
        };
        if !is_open {
            scanner.sign(HINT_OPEN, 0);
            is_open = true;
        }
        hint_token(scanner, byte);
    }
    if is_open {
        scanner.sign(HINT_CLOSE, 0);
    }
    scanner.cursor.at = end + 2;
}

fn hint_token(scanner: &mut Scanner<'_>, byte: u8) {
    match byte {
        b'@' => scanner.sign(AT, 1),
        b'0'..=b'9' => number(scanner),
        b'`' | b'"' if scanner.is_name_quote(byte) => {
            let name = scanner.skip_quoted(byte, false);
            let token = name_token(scanner);
            scanner.name(token, name, Some(byte));
        }
        b'\'' | b'"' => {
            scanner.skip_quoted(byte, !scanner.mode.lex.no_backslash_escapes);
            scanner.tokens.push_value();
        }
        _ if in_word(byte) => {
            let word = scanner.cursor.take_word();
            match keywords::lookup_hint(word) {
                Some(token) => scanner.sign(token, 0),
                None => {
                    let token = name_token(scanner);
                    scanner.name(token, word, None);
                }
            }
        }
        _ => scanner.sign(Token::from(byte), 1),
    }
}

/// `16`, `1.5`, `16M`; anything else that starts with a digit is a name.
fn number(scanner: &mut Scanner<'_>) {
    let start = scanner.cursor.at;
    let word = scanner.cursor.take_word();
    let digits = word.trim_suffix_of_size();
    if !digits.iter().all(u8::is_ascii_digit) {
        let token = name_token(scanner);
        return scanner.name(token, word, None);
    }
    if digits.len() == word.len() && scanner.peek(0) == Some(b'.') {
        scanner.cursor.at = start + word.len() + 1;
        scanner.cursor.take_digits();
    }
    scanner.tokens.push_value();
}

/// A name with `@` right behind it.
fn name_token(scanner: &Scanner<'_>) -> Token {
    if scanner.peek(0) == Some(b'@') {
        NAME_AT
    } else {
        NAME
    }
}

trait Size {
    fn trim_suffix_of_size(&self) -> &[u8];
}

impl Size for [u8] {
    /// Without K, M or G.
    fn trim_suffix_of_size(&self) -> &[u8] {
        match self {
            [digits @ .., b'k' | b'K' | b'm' | b'M' | b'g' | b'G'] => digits,
            all => all,
        }
    }
}
