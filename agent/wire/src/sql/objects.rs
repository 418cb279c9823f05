//! What a statement makes on its connection, or takes away again, by name: temporary tables, handlers, text prepared
//! statements, locks, XA transactions. Strict: what is not read with certainty is `None`, and whoever asks must then assume
//! the worst.

use super::LexMode;
use super::lexer::{Lexer, Token};

/// Something that belongs to one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// CREATE TEMPORARY TABLE.
    TemporaryTable,
    /// HANDLER ... OPEN.
    Handler,
    /// PREPARE ... FROM.
    Prepared,
    /// LOCK TABLES, FLUSH TABLES ... WITH READ LOCK or FOR EXPORT. Without names.
    TableLocks,
    /// LOCK INSTANCE FOR BACKUP. Without names.
    InstanceLock,
    /// GET_LOCK(). Without names.
    UserLocks,
    /// XA START. Without names.
    Xa,
}

/// The name of such a thing, as it was spelled, with its schema if that was.
pub type ObjectName<'a> = (Option<&'a [u8]>, &'a [u8]);

/// What a statement did if it succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectChange<'a> {
    /// This exists now (for those without names: at least one).
    Made(ObjectKind, Option<ObjectName<'a>>),
    /// These do not exist any more (for those without names: none at all).
    Gone(ObjectKind, Vec<ObjectName<'a>>),
    /// Nothing of this kind was made or taken away.
    Nothing,
}

/// Reads what `sql`, a single statement, makes or takes away. `None`: cannot be said.
#[must_use]
pub fn object_change(sql: &[u8], mode: LexMode) -> Option<ObjectChange<'_>> {
    let mut reader = Reader {
        lexer: Lexer::new(sql, mode),
        ahead: None,
    };
    let change = reader.statement()?;
    // an executable comment is code on one server and none on another
    reader.lexer.traits.is_empty().then_some(change)
}

struct Reader<'a> {
    lexer: Lexer<'a>,
    ahead: Option<Option<Token<'a>>>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<Token<'a>> {
        match self.ahead.take() {
            Some(token) => token,
            None => self.lexer.next(),
        }
    }

    fn peek(&mut self) -> Option<Token<'a>> {
        if self.ahead.is_none() {
            self.ahead = Some(self.lexer.next());
        }
        self.ahead.flatten()
    }

    /// The next token is this keyword: it is taken.
    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(text)) if text.eq_ignore_ascii_case(word.as_bytes()));
        if found {
            self.ahead = None;
        }
        found
    }

    fn any_keyword(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.keyword(word))
    }

    fn token(&mut self, token: Token<'a>) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.ahead = None;
        }
        found
    }

    fn identifier(&mut self) -> Option<&'a [u8]> {
        match self.next()? {
            Token::Word(name) | Token::Member(name) => Some(name),
            // doubled quotes would have to be undone
            Token::Quoted(name) if !name.contains(&b'`') && !name.contains(&b'"') => Some(name),
            _ => None,
        }
    }

    fn name(&mut self) -> Option<ObjectName<'a>> {
        let first = self.identifier()?;
        if self.token(Token::Dot) {
            Some((Some(first), self.identifier()?))
        } else {
            Some((None, first))
        }
    }

    /// Names with commas between them, up to the end or to one of these words.
    fn names(&mut self, ends: &[&str]) -> Option<Vec<ObjectName<'a>>> {
        let mut names = vec![self.name()?];
        while self.token(Token::Comma) {
            names.push(self.name()?);
        }
        let _stop = self.any_keyword(ends);
        self.end().then_some(names)
    }

    fn end(&mut self) -> bool {
        while self.token(Token::Semicolon) {}
        self.next().is_none()
    }

    fn statement(&mut self) -> Option<ObjectChange<'a>> {
        if self.keyword("CREATE") {
            return self.create();
        }
        if self.keyword("DROP") {
            return self.drop();
        }
        if self.keyword("DEALLOCATE") {
            return self.keyword("PREPARE").then(|| self.deallocate())?;
        }
        if self.keyword("PREPARE") {
            let name = self.name()?;
            return Some(ObjectChange::Made(ObjectKind::Prepared, Some(name)));
        }
        if self.keyword("HANDLER") {
            return self.handler();
        }
        if self.any_keyword(&["LOCK"]) {
            return Some(ObjectChange::Made(self.locked()?, None));
        }
        if self.keyword("UNLOCK") {
            return Some(ObjectChange::Gone(self.locked()?, Vec::new()));
        }
        if self.keyword("FLUSH") {
            return Some(self.flush());
        }
        if self.keyword("XA") {
            return self.xa();
        }
        if self.any_keyword(&["SELECT", "DO"]) {
            return self.release_all_locks();
        }
        Some(ObjectChange::Nothing)
    }

    fn create(&mut self) -> Option<ObjectChange<'a>> {
        let _replace = self.keyword("OR") && self.keyword("REPLACE");
        if !self.keyword("TEMPORARY") {
            return Some(ObjectChange::Nothing);
        }
        if !self.keyword("TABLE") {
            return None;
        }
        self.if_exists()?;
        let name = self.name()?;
        Some(ObjectChange::Made(ObjectKind::TemporaryTable, Some(name)))
    }

    fn drop(&mut self) -> Option<ObjectChange<'a>> {
        if self.keyword("PREPARE") {
            return self.deallocate();
        }
        if !self.keyword("TEMPORARY") {
            return Some(ObjectChange::Nothing);
        }
        if !self.any_keyword(&["TABLE", "TABLES"]) {
            return None;
        }
        self.if_exists()?;
        let names = self.names(&["RESTRICT", "CASCADE"])?;
        Some(ObjectChange::Gone(ObjectKind::TemporaryTable, names))
    }

    /// `IF EXISTS`, `IF NOT EXISTS` or nothing.
    fn if_exists(&mut self) -> Option<()> {
        if self.keyword("IF") {
            let _not = self.keyword("NOT");
            return self.keyword("EXISTS").then_some(());
        }
        Some(())
    }

    fn deallocate(&mut self) -> Option<ObjectChange<'a>> {
        let name = self.name()?;
        self.end()
            .then(|| ObjectChange::Gone(ObjectKind::Prepared, vec![name]))
    }

    fn handler(&mut self) -> Option<ObjectChange<'a>> {
        let (_, table) = self.name()?;
        if self.keyword("OPEN") {
            let named = self.keyword("AS");
            let at_end = matches!(self.peek(), None | Some(Token::Semicolon));
            let name = if named || !at_end {
                self.identifier()?
            } else {
                table
            };
            let made = ObjectChange::Made(ObjectKind::Handler, Some((None, name)));
            return self.end().then_some(made);
        }
        if self.keyword("CLOSE") {
            return Some(ObjectChange::Gone(ObjectKind::Handler, vec![(None, table)]));
        }
        Some(ObjectChange::Nothing)
    }

    fn locked(&mut self) -> Option<ObjectKind> {
        if self.any_keyword(&["TABLE", "TABLES"]) {
            Some(ObjectKind::TableLocks)
        } else if self.keyword("INSTANCE") {
            Some(ObjectKind::InstanceLock)
        } else {
            None
        }
    }

    fn flush(&mut self) -> ObjectChange<'a> {
        while let Some(token) = self.next() {
            if let Token::Word(word) = token
                && [&b"lock"[..], b"export"]
                    .iter()
                    .any(|lock| word.eq_ignore_ascii_case(lock))
            {
                return ObjectChange::Made(ObjectKind::TableLocks, None);
            }
        }
        ObjectChange::Nothing
    }

    fn xa(&mut self) -> Option<ObjectChange<'a>> {
        if self.any_keyword(&["COMMIT", "ROLLBACK"]) {
            Some(ObjectChange::Gone(ObjectKind::Xa, Vec::new()))
        } else if self.any_keyword(&["START", "BEGIN", "END", "PREPARE"]) {
            Some(ObjectChange::Made(ObjectKind::Xa, None))
        } else if self.keyword("RECOVER") {
            Some(ObjectChange::Nothing)
        } else {
            None
        }
    }

    /// `SELECT RELEASE_ALL_LOCKS()`, alone.
    fn release_all_locks(&mut self) -> Option<ObjectChange<'a>> {
        let alone = self.keyword("RELEASE_ALL_LOCKS")
            && self.token(Token::Open)
            && self.token(Token::Close)
            && self.end();
        Some(if alone {
            ObjectChange::Gone(ObjectKind::UserLocks, Vec::new())
        } else {
            ObjectChange::Nothing
        })
    }
}

#[cfg(test)]
mod tests;
