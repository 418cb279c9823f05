//! Where the keyset parameter stands in a job's query, and the query with a value in its place. The text protocol is used,
//! because it shows every value as PHP's own text protocol would. Pure; no IO.

use std::time::Duration;

/// A checked query, cut at its parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// Up to and including the leading SELECT; empty when the query does not begin with it.
    select: String,
    /// From there to the parameter.
    head: String,
    /// After the parameter.
    tail: String,
    /// The number behind the last LIMIT, if it is one.
    page_rows: Option<u64>,
}

/// Why a query was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Does not begin with SELECT or WITH.
    #[error("must be one SELECT")]
    NotSelect,
    /// Something follows a `;`.
    #[error("must be one statement: nothing may follow the \";\"")]
    Several,
    /// No parameter.
    #[error(
        "has no ?; write WHERE id > ? ORDER BY id LIMIT 1000, so that it can be read page by page"
    )]
    NoParameter,
    /// No parameter for the keys.
    #[error("has no ?; write WHERE id IN (?), which is filled with those that are asked for most")]
    NoList,
    /// More than one.
    #[error("has more than one ?; the keyset parameter must be the only one")]
    ManyParameters,
    /// No ORDER BY.
    #[error("has no ORDER BY; without it the pages overlap or leave rows out")]
    NoOrder,
    /// No LIMIT.
    #[error("has no LIMIT, which is the size of a page; write LIMIT 1000")]
    NoLimit,
    /// SELECT ... INTO, FOR UPDATE, FOR SHARE, LOCK IN SHARE MODE.
    #[error("must only read: no INTO, FOR UPDATE, FOR SHARE or LOCK IN SHARE MODE")]
    NotReadOnly,
    /// `/*! ... */`.
    #[error("must not have code in a /*! comment, which depends on the server's version")]
    ExecutableComment,
    /// A string, comment or quoted name without its end.
    #[error("has a string, comment or quoted name without its end")]
    Unterminated,
}

impl Query {
    /// Checks `text`, which is read page by page, and finds its parameter.
    pub(crate) fn parse(text: &str) -> Result<Self, QueryError> {
        Self::scan(text, Facts::conclude)
    }

    /// Checks `text`, whose parameter is a list of values.
    pub(crate) fn parse_list(text: &str) -> Result<Self, QueryError> {
        Self::scan(text, Facts::conclude_list)
    }

    /// The most rows of a page, if the text says it with a number.
    pub(crate) const fn page_rows(&self) -> Option<u64> {
        self.page_rows
    }

    fn scan(
        text: &str,
        conclude: impl Fn(&Facts) -> Result<(usize, usize), QueryError>,
    ) -> Result<Self, QueryError> {
        let mut facts = Facts::default();
        let mut scanner = Scanner::new(text.as_bytes());
        while let Some(token) = scanner.next()? {
            facts.see(token)?;
        }
        let (first_end, mark) = conclude(&facts)?;
        let cut = |from: usize, to: usize| text.get(from..to).unwrap_or_default().to_owned();
        Ok(Self {
            select: cut(0, first_end),
            head: cut(first_end, mark),
            tail: cut(mark + 1, facts.semicolon.unwrap_or(text.len())),
            page_rows: facts.page_rows,
        })
    }

    /// The statement for one page. `literal` is SQL for the parameter's value. The server ends the statement itself after
    /// `limit` (MySQL manual, "Statement Execution Time Optimizer Hints"; MariaDB reads the hint as a comment).
    /// `comment` stands in front of it.
    pub(crate) fn page(&self, literal: &str, limit: Duration, comment: &str) -> String {
        let hint = if self.select.is_empty() {
            String::new()
        } else {
            format!(" /*+ MAX_EXECUTION_TIME({}) */", limit.as_millis())
        };
        let (select, head, tail) = (&self.select, &self.head, &self.tail);
        [comment, select, hint.as_str(), head, literal, tail].concat()
    }
}

/// What was seen while scanning.
#[derive(Debug, Default)]
struct Facts {
    /// The first word is SELECT (then where it ends) or WITH (then 0).
    first: Option<usize>,
    parameter: Option<usize>,
    semicolon: Option<usize>,
    order: bool,
    limit: bool,
    depth: usize,
    previous: Word,
    page_rows: Option<u64>,
}

/// The words that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Word {
    Select,
    With,
    Order,
    By,
    Limit,
    Into,
    For,
    Update,
    Share,
    Lock,
    In,
    /// Digits.
    Number(u64),
    #[default]
    Other,
}

impl Word {
    fn read(bytes: &[u8]) -> Self {
        const WORDS: [(&str, Word); 11] = [
            ("SELECT", Word::Select),
            ("WITH", Word::With),
            ("ORDER", Word::Order),
            ("BY", Word::By),
            ("LIMIT", Word::Limit),
            ("INTO", Word::Into),
            ("FOR", Word::For),
            ("UPDATE", Word::Update),
            ("SHARE", Word::Share),
            ("LOCK", Word::Lock),
            ("IN", Word::In),
        ];
        WORDS
            .iter()
            .find(|(text, _)| bytes.eq_ignore_ascii_case(text.as_bytes()))
            .map(|(_, word)| *word)
            .or_else(|| Some(Self::Number(std::str::from_utf8(bytes).ok()?.parse().ok()?)))
            .unwrap_or_default()
    }
}

impl Facts {
    fn see(&mut self, token: Token) -> Result<(), QueryError> {
        match token {
            Token::Semicolon(_) if self.semicolon.is_some() => return Ok(()),
            _ if self.semicolon.is_some() => return Err(QueryError::Several),
            Token::Word(word, end) => return self.see_word(word, end),
            Token::Parameter(at) if self.parameter.is_none() => self.parameter = Some(at),
            Token::Parameter(_) => return Err(QueryError::ManyParameters),
            Token::Semicolon(at) => self.semicolon = Some(at),
            Token::Open => self.depth += 1,
            Token::Close => self.depth = self.depth.saturating_sub(1),
            Token::Other => {}
        }
        if self.first.is_none() {
            return Err(QueryError::NotSelect);
        }
        self.previous = Word::Other;
        Ok(())
    }

    fn see_word(&mut self, word: Word, end: usize) -> Result<(), QueryError> {
        if self.first.is_none() {
            self.first = match word {
                Word::Select => Some(end),
                Word::With => Some(0),
                _ => return Err(QueryError::NotSelect),
            };
        }
        match (self.previous, word) {
            (_, Word::Into) | (Word::For, Word::Update | Word::Share) | (Word::Lock, Word::In) => {
                return Err(QueryError::NotReadOnly);
            }
            (Word::Order, Word::By) if self.depth == 0 => self.order = true,
            (_, Word::Limit) if self.depth == 0 => self.limit = true,
            (Word::Limit, Word::Number(rows)) if self.depth == 0 => self.page_rows = Some(rows),
            _ => {}
        }
        self.previous = word;
        Ok(())
    }

    fn conclude_list(&self) -> Result<(usize, usize), QueryError> {
        let first = self.first.ok_or(QueryError::NotSelect)?;
        Ok((first, self.parameter.ok_or(QueryError::NoList)?))
    }

    fn conclude(&self) -> Result<(usize, usize), QueryError> {
        let first = self.first.ok_or(QueryError::NotSelect)?;
        let parameter = self.parameter.ok_or(QueryError::NoParameter)?;
        if !self.order {
            return Err(QueryError::NoOrder);
        }
        if !self.limit {
            return Err(QueryError::NoLimit);
        }
        Ok((first, parameter))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// A word and the offset behind it.
    Word(Word, usize),
    /// A `?` and its offset.
    Parameter(usize),
    /// A `;` and its offset.
    Semicolon(usize),
    Open,
    Close,
    Other,
}

/// Steps over strings, quoted names and comments (MySQL manual, "Language Structure").
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    const fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Result<Option<Token>, QueryError> {
        while let Some(byte) = self.peek(0) {
            let start = self.at;
            self.at += 1;
            let token = match (byte, self.peek(0)) {
                (b' ' | b'\t' | b'\r' | b'\n', _) => continue,
                (b'#', _) => {
                    self.line_comment();
                    continue;
                }
                // "--" begins a comment only before a space or the end of the text
                (b'-', Some(b'-')) if self.peek(1).is_none_or(|c| c.is_ascii_whitespace()) => {
                    self.line_comment();
                    continue;
                }
                (b'/', Some(b'*')) => {
                    self.block_comment()?;
                    continue;
                }
                (b'\'' | b'"' | b'`', _) => {
                    self.quoted(byte)?;
                    Token::Other
                }
                (b'?', _) => Token::Parameter(start),
                (b';', _) => Token::Semicolon(start),
                (b'(', _) => Token::Open,
                (b')', _) => Token::Close,
                (c, _) if is_word(c) => {
                    while self.peek(0).is_some_and(is_word) {
                        self.at += 1;
                    }
                    let word = self.text.get(start..self.at).unwrap_or_default();
                    Token::Word(Word::read(word), self.at)
                }
                _ => Token::Other,
            };
            return Ok(Some(token));
        }
        Ok(None)
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != b'\n') {
            self.at += 1;
        }
    }

    /// From the `*` on.
    fn block_comment(&mut self) -> Result<(), QueryError> {
        if self.peek(1) == Some(b'!') || (self.peek(1) == Some(b'M') && self.peek(2) == Some(b'!'))
        {
            return Err(QueryError::ExecutableComment);
        }
        self.at += 1;
        while !(self.peek(0) == Some(b'*') && self.peek(1) == Some(b'/')) {
            self.peek(0).ok_or(QueryError::Unterminated)?;
            self.at += 1;
        }
        self.at += 2;
        Ok(())
    }

    /// From behind the opening quote on; a doubled quote does not end it, nor does one behind a backslash.
    fn quoted(&mut self, quote: u8) -> Result<(), QueryError> {
        loop {
            let byte = self.peek(0).ok_or(QueryError::Unterminated)?;
            self.at += 1;
            if byte == b'\\' && quote != b'`' {
                self.at += 1;
            } else if byte == quote {
                if self.peek(0) != Some(quote) {
                    return Ok(());
                }
                self.at += 1;
            }
        }
    }
}

const fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'@' | b'.') || c >= 0x80
}

#[cfg(test)]
mod tests;
