//! Which SET statements say nothing but literals, and how a value is written as one. A strict reader: what it does not know is
//! not plain.

/// The clause of `SET NAMES clause`, if that is all the statement is and the clause is a character set with or without a collation.
pub(super) fn names_clause(text: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader(text);
    reader.keyword("SET")?;
    reader.keyword("NAMES")?;
    let clause = reader.0;
    reader.name_or_string()?;
    if reader.keyword("COLLATE").is_some() {
        reader.name_or_string()?;
    }
    let length = clause.len() - reader.0.len();
    reader.end()?;
    Some(clause.get(..length)?.trim_ascii())
}

/// A character set in which the second byte of a character may look like a quote: statements in it cannot be read.
pub(super) fn hides_text(clause: &[u8]) -> bool {
    let clause = clause.to_ascii_lowercase();
    ["big5", "sjis", "gbk", "cp932", "gb18030"]
        .iter()
        .any(|name| {
            clause
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        })
}

/// `SET [SESSION | LOCAL | @@[SESSION. | LOCAL.]] name = literal, ...` and nothing else. DEFAULT is no literal: it is whatever
/// the global value is at that moment.
pub(super) fn is_plain_set(text: &[u8]) -> bool {
    plain_set(&mut Reader(text)).is_some()
}

/// `SET SESSION TRANSACTION ...`: nothing but keywords.
pub(super) fn is_isolation_level(text: &[u8]) -> bool {
    let mut reader = Reader(text);
    let begins = reader.keyword("SET").is_some()
        && reader
            .keyword("SESSION")
            .or_else(|| reader.keyword("LOCAL"))
            .is_some()
        && reader.keyword("TRANSACTION").is_some();
    begins
        && reader
            .0
            .iter()
            .all(|byte| byte.is_ascii_alphabetic() || b" \t\r\n,;".contains(byte))
}

fn plain_set(reader: &mut Reader<'_>) -> Option<()> {
    reader.keyword("SET")?;
    loop {
        if reader.punctuation(b"@@").is_some() {
            if reader
                .keyword("SESSION")
                .or_else(|| reader.keyword("LOCAL"))
                .is_some()
            {
                reader.punctuation(b".")?;
            }
        } else {
            // without a second word after it, SESSION would be the variable's name
            let _scope = reader
                .keyword("SESSION")
                .or_else(|| reader.keyword("LOCAL"));
        }
        reader.word()?;
        reader
            .punctuation(b":=")
            .or_else(|| reader.punctuation(b"="))?;
        reader.literal()?;
        if reader.punctuation(b",").is_none() {
            return reader.end();
        }
    }
}

/// A value as the server shows it, as a literal that means it: numbers bare, all else in quotes.
pub(super) fn quote(value: &[u8]) -> Option<bytes::Bytes> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let dots = digits.iter().filter(|byte| **byte == b'.').count();
    let is_number = digits.first().is_some_and(u8::is_ascii_digit)
        && dots <= 1
        && digits
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.');
    if is_number {
        return Some(bytes::Bytes::copy_from_slice(value));
    }
    // no escapes: they would mean something else under another sql_mode
    let is_simple = value
        .iter()
        .all(|byte| (b' '..=b'~').contains(byte) && !matches!(byte, b'\'' | b'\\'));
    is_simple.then(|| [b"'".as_slice(), value, b"'"].concat().into())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn keyword(&mut self, word: &str) -> Option<()> {
        let text = self.0.trim_ascii_start();
        let (head, rest) = text.split_at_checked(word.len())?;
        let ends = !rest.first().is_some_and(|byte| is_word(*byte));
        (head.eq_ignore_ascii_case(word.as_bytes()) && ends).then(|| self.0 = rest)
    }

    fn punctuation(&mut self, mark: &[u8]) -> Option<()> {
        self.0 = self.0.trim_ascii_start().strip_prefix(mark)?;
        Some(())
    }

    fn word(&mut self) -> Option<()> {
        let text = self.0.trim_ascii_start();
        let length = text.iter().take_while(|byte| is_word(**byte)).count();
        let starts_well = text.first().is_some_and(|byte| !byte.is_ascii_digit());
        (length > 0 && starts_well).then(|| self.0 = text.get(length..).unwrap_or_default())
    }

    fn string(&mut self) -> Option<()> {
        let text = self.0.trim_ascii_start().strip_prefix(b"'")?;
        let length = text.iter().position(|byte| matches!(byte, b'\'' | b'\\'))?;
        let rest = text.get(length..)?.strip_prefix(b"'")?;
        // two quotes in a row are one quote inside the string: too clever for here
        (!rest.starts_with(b"'")).then(|| self.0 = rest)
    }

    fn number(&mut self) -> Option<()> {
        let text = self.0.trim_ascii_start();
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let length = digits
            .iter()
            .take_while(|byte| byte.is_ascii_digit() || **byte == b'.')
            .count();
        let rest = digits.get(length..)?;
        let ends = !rest.first().is_some_and(|byte| is_word(*byte));
        (length > 0 && ends).then(|| self.0 = rest)
    }

    fn name_or_string(&mut self) -> Option<()> {
        self.string().or_else(|| {
            let mut ahead = Reader(self.0);
            // SET NAMES DEFAULT is whatever the server's default is at that moment
            if ahead.keyword("DEFAULT").is_some() {
                None
            } else {
                self.word()
            }
        })
    }

    fn literal(&mut self) -> Option<()> {
        self.string().or_else(|| self.number()).or_else(|| {
            ["ON", "OFF", "TRUE", "FALSE"]
                .iter()
                .find_map(|word| self.keyword(word))
        })
    }

    fn end(&mut self) -> Option<()> {
        let rest = self.0.trim_ascii();
        (rest.is_empty() || rest == b";").then_some(())
    }
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}
