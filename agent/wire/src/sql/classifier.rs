//! Turns tokens into a [`Statement`]: a small machine for the first words of a statement, and a few rules for the words
//! after them.

use super::head::{Head, first_word};
use super::lexer::{Lexer, Token};
use super::{Kind, LexMode, Statement, Traits, words};

/// The token before, as far as it changes the meaning of the one at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before<'a> {
    Nothing,
    /// Without quotes: could be a built-in function if a parenthesis follows.
    Word(&'a [u8]),
    /// In quotes: never a built-in function.
    Quoted(&'a [u8]),
    /// Behind a dot: never a built-in function.
    Member,
    /// Behind AS: never a function at all.
    Alias,
    Dot,
    Close,
}

/// Words after which the next word matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    None,
    As,
    For,
    /// LIMIT, and what stands behind it.
    Limit,
    Limited,
    Lock,
    Value,
}

#[derive(Debug)]
struct Classifier<'a> {
    head: Head,
    kind: Kind,
    /// Kind of the first statement, once a second one has begun.
    first: Option<Kind>,
    traits: Traits,
    before: Before<'a>,
    pair: Pair,
    /// Parentheses open now.
    depth: u32,
    /// Parentheses open at the statement's first word.
    base: u32,
    /// A semicolon came: whatever follows is another statement.
    ended: bool,
    /// SET named something before.
    set_before: bool,
    /// SESSION or LOCAL came in SET.
    session_scope: bool,
}

/// Reads the whole text.
pub(super) fn classify(sql: &[u8], mode: LexMode) -> Statement {
    let mut lexer = Lexer::new(sql, mode);
    let mut classifier = Classifier {
        head: Head::First,
        kind: Kind::Empty,
        first: None,
        traits: Traits::empty(),
        before: Before::Nothing,
        pair: Pair::None,
        depth: 0,
        base: 0,
        ended: false,
        set_before: false,
        session_scope: false,
    };
    while let Some(token) = lexer.next() {
        classifier.token(token);
    }
    classifier.close();
    Statement {
        kind: classifier.first.unwrap_or(classifier.kind),
        traits: classifier.traits | lexer.traits,
        hint: lexer.wishes.hint,
        key: lexer.wishes.key,
    }
}

fn is(word: &[u8], lower: &[u8]) -> bool {
    word.eq_ignore_ascii_case(lower)
}

fn is_any(word: &[u8], lower: &[&[u8]]) -> bool {
    lower.iter().any(|lower| word.eq_ignore_ascii_case(lower))
}

const GLOBAL_SCOPES: [&[u8]; 3] = [b"global", b"persist", b"persist_only"];
const SESSION_SCOPES: [&[u8]; 2] = [b"session", b"local"];
/// LAST_INSERT_ID() as a system variable.
const INSERT_ID: [&[u8]; 2] = [b"identity", b"last_insert_id"];
const WRITES: [&[u8]; 4] = [b"update", b"delete", b"insert", b"replace"];
/// Schemas whose tables describe the server that answers.
const SERVER_SCHEMAS: [&[u8]; 4] = [
    b"information_schema",
    b"mysql",
    b"performance_schema",
    b"sys",
];
/// What SHOW tells the same on every server. FULL and EXTENDED may come in front.
const SHOW_REPLICATED: [&[u8]; 13] = [
    b"tables",
    b"columns",
    b"fields",
    b"databases",
    b"schemas",
    b"index",
    b"indexes",
    b"keys",
    b"create",
    b"triggers",
    b"collation",
    b"charset",
    b"table",
];

impl<'a> Classifier<'a> {
    fn token(&mut self, token: Token<'a>) {
        if self.ended {
            if token == Token::Semicolon {
                return;
            }
            self.begin_another();
        }
        let before = core::mem::replace(&mut self.before, Before::Nothing);
        match token {
            Token::Word(word) => {
                self.word(word, before);
                return;
            }
            Token::Member(name) => {
                self.table_of_variables(name);
                self.before = Before::Member;
            }
            Token::Quoted(name) => self.quoted(name, before),
            Token::Open => self.open(before),
            Token::Close => {
                self.depth = self.depth.saturating_sub(1);
                self.before = Before::Close;
            }
            Token::Comma => {
                if self.pair == Pair::Limited {
                    self.traits |= Traits::OFFSET;
                }
                self.comma();
            }
            Token::Dot => {
                self.before = Before::Dot;
                if let Before::Word(name) | Before::Quoted(name) = before
                    && is_any(name, &SERVER_SCHEMAS)
                {
                    self.traits |= Traits::SERVER_SPECIFIC;
                }
            }
            Token::Semicolon => self.ended = true,
            // In SET it is another way to write the first `=`.
            Token::Assign if self.head == Head::SetOperator => self.head = Head::SetValue,
            Token::Assign => self.traits |= Traits::ASSIGNMENT,
            Token::UserVariable => {
                self.traits |= Traits::USER_VARIABLE;
                self.set_target(b"@");
            }
            Token::SystemVariable { scope, name } => self.system_variable(scope, name),
            Token::Other if self.head == Head::SetOperator => self.head = Head::SetValue,
            Token::Number | Token::String | Token::Other => {
                if self.head == Head::First {
                    self.begin(Kind::Other, Head::Done);
                }
                if self.pair == Pair::Limit {
                    self.pair = Pair::Limited;
                    return;
                }
            }
        }
        self.pair = Pair::None;
    }

    fn begin(&mut self, kind: Kind, head: Head) {
        self.kind = kind;
        self.head = head;
    }

    fn begin_another(&mut self) {
        self.close();
        self.traits |= Traits::MULTI_STATEMENT;
        if self.kind != Kind::Empty {
            self.first.get_or_insert(self.kind);
        }
        self.begin(Kind::Empty, Head::First);
        self.before = Before::Nothing;
        self.pair = Pair::None;
        self.depth = 0;
        self.base = 0;
        self.ended = false;
        self.set_before = false;
        self.session_scope = false;
    }

    /// A statement ended. What it would have been was not said.
    fn close(&mut self) {
        let unsaid = match self.head {
            Head::First => self.depth > 0,
            Head::With | Head::SetTarget | Head::Show => true,
            _ => false,
        };
        if unsaid {
            self.kind = Kind::Other;
        }
    }

    fn quoted(&mut self, name: &'a [u8], before: Before<'a>) {
        self.before = match (self.pair, before) {
            (Pair::As, _) => Before::Alias,
            (_, Before::Dot) => Before::Member,
            _ => Before::Quoted(name),
        };
        if self.head == Head::First {
            self.begin(Kind::Other, Head::Done);
        }
        self.set_target(name);
    }

    fn open(&mut self, before: Before<'a>) {
        let unknown = match before {
            Before::Word(word) => match words::callable(word) {
                Some(traits) => {
                    self.traits |= traits;
                    false
                }
                None => true,
            },
            Before::Quoted(_) | Before::Member => true,
            // The statement after WITH may stand in parentheses; everything in front of it ends with one.
            Before::Close if self.depth == self.base && self.head == Head::With => {
                self.head = Head::Done;
                false
            }
            Before::Nothing | Before::Alias | Before::Dot | Before::Close => false,
        };
        if unknown && self.calls_functions() {
            self.traits |= Traits::UNKNOWN_FUNCTION;
        }
        self.depth += 1;
    }

    /// A name in front of a parenthesis is a function here, not a table, an index, a type or a procedure.
    fn calls_functions(&self) -> bool {
        match self.head {
            Head::Into => false,
            Head::With => self.depth > self.base,
            _ => !matches!(
                self.kind,
                Kind::Ddl
                    | Kind::Call
                    | Kind::LoadData
                    | Kind::LockTables
                    | Kind::Flush
                    | Kind::Other
            ),
        }
    }

    fn comma(&mut self) {
        if self.depth == 0 && matches!(self.head, Head::SetOperator | Head::SetValue) {
            self.head = Head::SetTarget;
            if self.kind == Kind::SetNames {
                self.kind = Kind::SetVariables;
            }
        }
    }

    /// Something that SET can set was named; an empty name could be any.
    fn set_target(&mut self, name: &[u8]) {
        if self.head == Head::SetTarget {
            if name.is_empty() || is_any(name, &INSERT_ID) {
                self.traits |= Traits::IDENTITY;
            }
            self.head = Head::SetOperator;
            self.set_before = true;
        }
    }

    fn system_variable(&mut self, scope: &[u8], name: &[u8]) {
        if self.head == Head::SetTarget {
            if is_any(scope, &GLOBAL_SCOPES) {
                self.kind = Kind::SetGlobalOrPersist;
            }
            self.set_target(name);
            return;
        }
        self.traits |= Traits::SESSION_VARIABLE_READ;
        if is_any(name, &[b"warning_count", b"error_count"]) {
            self.traits |= Traits::DIAGNOSTIC_VARIABLE;
        } else if is_any(name, &INSERT_ID) {
            self.traits |= Traits::IDENTITY;
        } else if is(name, b"pseudo_thread_id") {
            self.traits |= Traits::CONNECTION_ID;
        } else if name.is_empty() || is_any(name, &SESSION_SCOPES) || is(name, b"global") {
            // Its name is in quotes, or set off by space: it could be any of them.
            self.traits |= Traits::DIAGNOSTIC_VARIABLE | Traits::IDENTITY | Traits::CONNECTION_ID;
        }
    }

    /// `performance_schema.session_variables` tells what SHOW VARIABLES tells.
    fn table_of_variables(&mut self, name: &[u8]) {
        if is(name, b"session_variables") {
            self.traits |= Traits::IDENTITY;
        }
    }

    fn word(&mut self, word: &'a [u8], before: Before<'a>) {
        if before == Before::Dot {
            self.before = Before::Member;
            self.pair = self.pair_word(word);
            return;
        }
        self.before = if self.pair == Pair::As {
            Before::Alias
        } else {
            Before::Word(word)
        };
        match self.head {
            Head::First => {
                let (kind, head) = first_word(word);
                self.begin(kind, head);
                self.base = self.depth;
                if self.depth > 0
                    && !matches!(kind, Kind::Select | Kind::With | Kind::Table | Kind::Values)
                {
                    self.begin(Kind::Other, Head::Done);
                }
                self.pair = Pair::None;
                return;
            }
            Head::SetTarget => self.set_word(word),
            Head::Done | Head::SetOperator | Head::SetValue => {}
            _ => self.head_word(word),
        }
        self.pair = self.pair_word(word);
    }

    /// Words that matter wherever they stand.
    fn pair_word(&mut self, word: &[u8]) -> Pair {
        let before = self.pair;
        let found = match (word.len(), word.first().map_or(0, |byte| byte | 0x20)) {
            (2, b'a') if is(word, b"as") => return Pair::As,
            (3, b'f') if is(word, b"for") => {
                // NEXT VALUE FOR a sequence of MariaDB's moves it.
                if before == Pair::Value {
                    self.traits |= Traits::UNKNOWN_FUNCTION;
                }
                return Pair::For;
            }
            (4, b'l') if is(word, b"lock") => return Pair::Lock,
            (5, b'l') if is(word, b"limit") => return Pair::Limit,
            (6, b'o') if is(word, b"offset") => Traits::OFFSET,
            (5, b'v') if is(word, b"value") => return Pair::Value,
            (2, b'i') if before == Pair::Lock && is(word, b"in") => Traits::LOCKING_READ,
            (5, b's') if before == Pair::For && is(word, b"share") => Traits::LOCKING_READ,
            (6, b'u') if before == Pair::For && is(word, b"update") => Traits::LOCKING_READ,
            (10, b'c') if before == Pair::For && is(word, b"connection") => Traits::SERVER_SPECIFIC,
            (4, b'i') if self.is_query() && is(word, b"into") => Traits::INTO,
            (19, b's') if is(word, b"sql_calc_found_rows") => Traits::SQL_CALC_FOUND_ROWS,
            (17, b's') => {
                self.table_of_variables(word);
                return Pair::None;
            }
            _ => return Pair::None,
        };
        self.traits |= found;
        Pair::None
    }

    const fn is_query(&self) -> bool {
        matches!(
            self.kind,
            Kind::Select | Kind::With | Kind::Table | Kind::Values | Kind::Explain
        )
    }

    fn set_word(&mut self, word: &[u8]) {
        if is_any(word, &GLOBAL_SCOPES) {
            self.kind = Kind::SetGlobalOrPersist;
        } else if is_any(word, &SESSION_SCOPES) {
            self.session_scope = true;
        } else if self.set_before {
            self.set_target(word);
        } else if is(word, b"transaction") {
            self.head = Head::Done;
            self.kind = match self.kind {
                Kind::SetGlobalOrPersist => Kind::SetGlobalOrPersist,
                _ if self.session_scope => Kind::SetSessionTransaction,
                _ => Kind::SetTransaction,
            };
        } else if is_any(word, &[b"names", b"charset", b"character"]) {
            self.kind = Kind::SetNames;
            self.set_target(word);
        } else if is_any(
            word,
            &[b"password", b"role", b"default", b"resource", b"statement"],
        ) {
            self.begin(Kind::SetOther, Head::Done);
        } else {
            self.set_target(word);
        }
    }

    /// Words after the first, in statements where they say what the statement is.
    fn head_word(&mut self, word: &[u8]) {
        match self.head {
            Head::Begin if !is(word, b"work") => self.begin(Kind::Other, Head::Done),
            Head::Define => match word {
                _ if is(word, b"temporary") => {
                    self.traits |= Traits::TEMPORARY_TABLE;
                    self.head = Head::Done;
                }
                _ if is(word, b"prepare") => self.begin(Kind::Deallocate, Head::Done),
                _ if is_any(word, &[b"or", b"replace"]) => {}
                _ => self.head = Head::Done,
            },
            Head::Explain if is_any(word, &WRITES) => self.traits |= Traits::SERVER_SPECIFIC,
            Head::Get if is(word, b"diagnostics") => self.begin(Kind::GetDiagnostics, Head::Done),
            Head::Into
                if is_any(
                    word,
                    &[b"values", b"value", b"select", b"set", b"table", b"with"],
                ) =>
            {
                self.head = Head::Done;
            }
            Head::Load if is_any(word, &[b"data", b"xml"]) => {
                self.begin(Kind::LoadData, Head::Done)
            }
            Head::Load => self.head = Head::Done,
            Head::Lock => {
                let kind = if is(word, b"instance") {
                    Kind::LockInstance
                } else {
                    self.kind
                };
                self.begin(kind, Head::Done);
            }
            Head::Release if is(word, b"savepoint") => {
                self.begin(Kind::ReleaseSavepoint, Head::Done)
            }
            Head::Rollback if is(word, b"to") => self.begin(Kind::RollbackToSavepoint, Head::Done),
            Head::Show => self.show_word(word),
            Head::Start if is(word, b"transaction") => {
                let kind = Kind::Begin {
                    read_only: false,
                    consistent_snapshot: false,
                };
                self.begin(kind, Head::Transaction);
            }
            Head::Start => self.head = Head::Done,
            Head::Transaction => {
                if let Kind::Begin {
                    read_only,
                    consistent_snapshot,
                } = &mut self.kind
                {
                    *read_only |= is(word, b"only");
                    *consistent_snapshot |= is(word, b"consistent");
                }
            }
            Head::With if self.depth == self.base => {
                let (kind, head) = first_word(word);
                match kind {
                    Kind::Select | Kind::Table | Kind::Values => self.head = Head::Done,
                    Kind::Update | Kind::Delete | Kind::Insert | Kind::Replace => {
                        self.begin(kind, head)
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn show_word(&mut self, word: &[u8]) {
        if is_any(word, &[b"full", b"extended"]) {
            return;
        }
        if is_any(word, &SESSION_SCOPES) {
            self.traits |= Traits::SERVER_SPECIFIC;
            return;
        }
        if is(word, b"variables") {
            // LAST_INSERT_ID() is among them, as `identity`
            self.traits |= Traits::IDENTITY;
        }
        if is_any(word, &[b"warnings", b"errors", b"count"]) {
            self.kind = Kind::ShowDiagnostics;
        } else if !is_any(word, &SHOW_REPLICATED) && !is(word, b"character") {
            self.traits |= Traits::SERVER_SPECIFIC;
        }
        self.head = Head::Done;
    }
}
