//! Splits a statement into tokens the way the server's lexer does (`sql_lex.cc`), without copying. Comments vanish here;
//! the text of an executable comment (`/*! ... */`) comes out as code.

use memchr::{memchr, memchr2, memmem};

use super::{LexMode, Traits, Wishes};

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword, an identifier without quotes, or a literal that looks like one (`0x1F`).
    Word(&'a [u8]),
    /// A word right behind a dot: never a keyword, while one behind a dot and a space is.
    Member(&'a [u8]),
    /// A quoted identifier, without its quotes; doubled quotes inside are left as they are.
    Quoted(&'a [u8]),
    Number,
    String,
    /// `@x`.
    UserVariable,
    /// `@@x`, `@@scope.x`; a part that is missing or quoted is empty.
    SystemVariable {
        scope: &'a [u8],
        name: &'a [u8],
    },
    Open,
    Close,
    Comma,
    Dot,
    Semicolon,
    /// `:=`.
    Assign,
    /// Any operator or byte without a meaning of its own here.
    Other,
}

const SPACE: u8 = 0;
const WORD: u8 = 1;
const DIGIT: u8 = 2;
const OTHER: u8 = 3;
const COMMA: u8 = 4;
const OPEN: u8 = 5;
const CLOSE: u8 = 6;
const QUOTE: u8 = 7;
const DOT: u8 = 8;
const AT: u8 = 9;
const DASH: u8 = 10;
const HASH: u8 = 11;
const SLASH: u8 = 12;
const STAR: u8 = 13;
const COLON: u8 = 14;
const SEMICOLON: u8 = 15;

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

fn class(byte: u8) -> u8 {
    CLASS.get(usize::from(byte)).copied().unwrap_or(OTHER)
}

fn in_word(byte: u8) -> bool {
    matches!(class(byte), WORD | DIGIT)
}

/// What the token right before, with no space between, means for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// Nothing that matters.
    Nothing,
    /// A name: a dot after it separates, also in front of a digit.
    Name,
    /// A separating dot: whatever word follows is a name, also one that starts like a number.
    Dot,
}

/// Reads tokens from the start of a text.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    mode: LexMode,
    before: Before,
    /// Inside `/*! ... */`.
    executable: bool,
    /// Where the last quoted string or identifier ended.
    quote_end: usize,
    /// What comments and missing ends showed.
    pub(super) traits: Traits,
    /// From comments; see [`super::Hint`].
    pub(super) wishes: Wishes,
    started: bool,
    /// A comment behind the first token came.
    commented: bool,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(text: &'a [u8], mode: LexMode) -> Self {
        Self {
            text,
            at: 0,
            mode,
            before: Before::Nothing,
            executable: false,
            quote_end: usize::MAX,
            traits: Traits::empty(),
            wishes: Wishes {
                hint: None,
                key: None,
            },
            started: false,
            commented: false,
        }
    }

    /// Where the next token is searched: just behind the last one.
    pub(super) const fn position(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    /// The next token; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let Some(byte) = self.peek(0) else {
                if self.executable {
                    self.executable = false;
                    self.traits |= Traits::UNTERMINATED;
                }
                return None;
            };
            let token = match class(byte) {
                SPACE => {
                    self.at += 1;
                    self.before = Before::Nothing;
                    continue;
                }
                WORD => self.word(),
                DIGIT => self.number_or_word(),
                QUOTE => self.quoted(byte),
                HASH => {
                    self.skip_line();
                    continue;
                }
                DASH if self.is_dash_comment() => {
                    self.skip_line();
                    continue;
                }
                SLASH if self.peek(1) == Some(b'*') => {
                    self.comment();
                    continue;
                }
                STAR if self.executable && self.peek(1) == Some(b'/') => {
                    self.executable = false;
                    self.before = Before::Nothing;
                    self.at += 2;
                    continue;
                }
                DOT => self.dot(),
                AT => self.variable(),
                COLON if self.peek(1) == Some(b'=') => self.one_of(Token::Assign, 2),
                COMMA => self.one_of(Token::Comma, 1),
                OPEN => self.one_of(Token::Open, 1),
                CLOSE => self.one_of(Token::Close, 1),
                SEMICOLON => self.one_of(Token::Semicolon, 1),
                _ => self.one_of(Token::Other, 1),
            };
            self.started = true;
            self.before = match token {
                Token::Word(_) | Token::Member(_) | Token::Quoted(_) => Before::Name,
                Token::Dot => Before::Dot,
                _ => Before::Nothing,
            };
            return Some(token);
        }
    }

    const fn one_of(&mut self, token: Token<'a>, bytes: usize) -> Token<'a> {
        self.at += bytes;
        token
    }

    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, _) = self
            .rest()
            .split_at_checked(bytes)
            .unwrap_or_else(|| (self.rest(), &[]));
        self.at += taken.len();
        taken
    }

    fn take_word(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let len = rest
            .iter()
            .position(|&byte| !in_word(byte))
            .unwrap_or(rest.len());
        self.take(len)
    }

    fn skip_digits(&mut self) {
        while self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// `e5`, `E+5` at the current place: part of a number, and its end, even if a letter follows.
    fn skip_exponent(&mut self) -> bool {
        if !matches!(self.peek(0), Some(b'e' | b'E')) {
            return false;
        }
        let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
        if !self
            .peek(1 + sign)
            .is_some_and(|byte| byte.is_ascii_digit())
        {
            return false;
        }
        self.at += 1 + sign;
        self.skip_digits();
        true
    }

    fn word(&mut self) -> Token<'a> {
        let word = self.take_word();
        if self.before == Before::Dot {
            Token::Member(word)
        } else {
            Token::Word(word)
        }
    }

    /// `MY_LEX_NUMBER_IDENT` and `MY_LEX_REAL`: `1e5for` is a number and a keyword, `1for` is a name.
    fn number_or_word(&mut self) -> Token<'a> {
        if self.before == Before::Dot {
            // Behind a dot a name may start with a digit.
            return self.word();
        }
        let start = self.at;
        self.skip_digits();
        match self.peek(0) {
            Some(b'.') => {
                self.at += 1;
                self.skip_digits();
                self.skip_exponent();
                Token::Number
            }
            Some(byte) if in_word(byte) => {
                if self.skip_exponent() {
                    return Token::Number;
                }
                self.at = start;
                self.word()
            }
            _ => Token::Number,
        }
    }

    fn dot(&mut self) -> Token<'a> {
        self.at += 1;
        if self.before == Before::Name || !self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
            return Token::Dot;
        }
        self.skip_digits();
        self.skip_exponent();
        Token::Number
    }

    fn quoted(&mut self, quote: u8) -> Token<'a> {
        let identifier = quote == b'`' || (quote == b'"' && self.mode.ansi_quotes);
        let escapes = !identifier && !self.mode.no_backslash_escapes;
        let content = self.take_quoted(quote, escapes);
        if identifier {
            Token::Quoted(content)
        } else {
            Token::String
        }
    }

    /// From an opening quote to behind the closing one; the content without them.
    fn take_quoted(&mut self, quote: u8, escapes: bool) -> &'a [u8] {
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
                self.traits |= Traits::UNTERMINATED;
                return self.text.get(start..).unwrap_or_default();
            };
            self.at += found;
            if self.peek(0) != Some(quote) || self.peek(1) == Some(quote) {
                // An escaped character, or a doubled quote.
                self.at = (self.at + 2).min(self.text.len());
                continue;
            }
            let content = self.text.get(start..self.at).unwrap_or_default();
            self.at += 1;
            self.quote_end = self.at;
            return content;
        }
    }

    /// `--` starts a comment only in front of a space, a control character or the end.
    fn is_dash_comment(&self) -> bool {
        self.peek(1) == Some(b'-') && self.peek(2).is_none_or(|byte| byte <= b' ' || byte == 0x7F)
    }

    fn skip_line(&mut self) {
        self.before = Before::Nothing;
        self.at += memchr(b'\n', self.rest()).map_or_else(|| self.rest().len(), |end| end + 1);
    }

    /// At `/*`.
    fn comment(&mut self) {
        self.before = Before::Nothing;
        let marker = if self.peek(2) == Some(b'M') { 3 } else { 2 };
        if self.peek(marker) == Some(b'!') {
            self.traits |= Traits::EXECUTABLE_COMMENT;
            self.executable = true;
            self.at += marker + 1;
            // The version it is meant for: five or six digits.
            for _ in 0..6 {
                if self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
                    self.at += 1;
                }
            }
            return;
        }
        self.at += 2;
        let rest = self.rest();
        let end = memmem::find(rest, b"*/");
        let content = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if end.is_none() {
            self.traits |= Traits::UNTERMINATED;
        }
        self.at = (self.at + content.len() + 2).min(self.text.len());
        if let Some(hints) = content.strip_prefix(b"+") {
            if contains_ignoring_case(hints, b"SET_VAR") {
                self.traits |= Traits::OPTIMIZER_HINT_SET_VAR;
            }
        } else if !self.commented {
            self.wishes.add(content);
            self.commented = self.started;
        }
    }

    /// `MY_LEX_USER_END`, `MY_LEX_SYSTEM_VAR`. Behind a quoted name an `@` introduces the host of an account.
    fn variable(&mut self) -> Token<'a> {
        let of_account = self.quote_end == self.at;
        self.at += 1;
        if self.peek(0) == Some(b'@') {
            self.at += 1;
            let first = self.variable_part();
            if self.peek(0) != Some(b'.') {
                return Token::SystemVariable {
                    scope: &[],
                    name: first,
                };
            }
            self.at += 1;
            return Token::SystemVariable {
                scope: first,
                name: self.variable_part(),
            };
        }
        match self.peek(0) {
            Some(quote @ (b'\'' | b'"' | b'`')) => {
                let identifier = quote == b'`' || (quote == b'"' && self.mode.ansi_quotes);
                self.take_quoted(quote, !identifier && !self.mode.no_backslash_escapes);
            }
            _ => {
                while self
                    .peek(0)
                    .is_some_and(|byte| in_word(byte) || byte == b'.')
                {
                    self.at += 1;
                }
            }
        }
        if of_account {
            Token::Other
        } else {
            Token::UserVariable
        }
    }

    fn variable_part(&mut self) -> &'a [u8] {
        if self.peek(0) == Some(b'`') {
            self.take_quoted(b'`', false);
            return &[];
        }
        self.take_word()
    }
}

fn contains_ignoring_case(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}
