//! Splits a statement into tokens the way the server's lexer does (`sql_lex.cc`), without copying. Comments vanish here;
//! the text of an executable comment (`/*! ... */`) comes out as code.

use memchr::memmem;

use super::cursor::{
    AT, CLOSE, COLON, COMMA, Cursor, DASH, DIGIT, DOT, HASH, OPEN, QUOTE, SEMICOLON, SLASH, SPACE,
    STAR, WORD, class, in_word,
};
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
    cursor: Cursor<'a>,
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
            cursor: Cursor::new(text),
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
        self.cursor.at
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.cursor.peek(ahead)
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
                    self.cursor.at += 1;
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
                DASH if self.cursor.is_dash_comment() => {
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
                    self.cursor.at += 2;
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
        self.cursor.at += bytes;
        token
    }

    fn word(&mut self) -> Token<'a> {
        let word = self.cursor.take_word();
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
        let start = self.cursor.at;
        self.cursor.take_digits();
        match self.peek(0) {
            Some(b'.') => {
                self.cursor.at += 1;
                self.cursor.take_digits();
                self.cursor.skip_exponent();
                Token::Number
            }
            Some(byte) if in_word(byte) => {
                if self.cursor.skip_exponent() {
                    return Token::Number;
                }
                self.cursor.at = start;
                self.word()
            }
            _ => Token::Number,
        }
    }

    fn dot(&mut self) -> Token<'a> {
        self.cursor.at += 1;
        if self.before == Before::Name || !self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
            return Token::Dot;
        }
        self.cursor.take_digits();
        self.cursor.skip_exponent();
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
        match self.cursor.take_quoted(quote, escapes) {
            Ok(content) => {
                self.quote_end = self.cursor.at;
                content
            }
            Err(content) => {
                self.traits |= Traits::UNTERMINATED;
                content
            }
        }
    }

    fn skip_line(&mut self) {
        self.before = Before::Nothing;
        self.cursor.skip_line();
    }

    /// At `/*`.
    fn comment(&mut self) {
        self.before = Before::Nothing;
        let marker = if self.peek(2) == Some(b'M') { 3 } else { 2 };
        if self.peek(marker) == Some(b'!') {
            self.traits |= Traits::EXECUTABLE_COMMENT;
            self.executable = true;
            self.cursor.at += marker + 1;
            // The version it is meant for: five or six digits.
            for _ in 0..6 {
                if self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
                    self.cursor.at += 1;
                }
            }
            return;
        }
        self.cursor.at += 2;
        let rest = self.cursor.rest();
        let end = memmem::find(rest, b"*/");
        let content = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if end.is_none() {
            self.traits |= Traits::UNTERMINATED;
        }
        self.cursor.at += content.len();
        self.cursor.skip(2);
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
        let of_account = self.quote_end == self.cursor.at;
        self.cursor.at += 1;
        if self.peek(0) == Some(b'@') {
            self.cursor.at += 1;
            let first = self.variable_part();
            if self.peek(0) != Some(b'.') {
                return Token::SystemVariable {
                    scope: &[],
                    name: first,
                };
            }
            self.cursor.at += 1;
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
                self.cursor.take_while(|byte| in_word(byte) || byte == b'.');
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
        self.cursor.take_word()
    }
}

fn contains_ignoring_case(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len())
        .any(|window| window.eq_ignore_ascii_case(word))
}
