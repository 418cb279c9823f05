//! What a statement is by its first word.

use super::Kind;

/// How far the first words have been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Waiting for the first word.
    First,
    Begin,
    /// After CREATE or DROP.
    Define,
    /// After EXPLAIN, to the end.
    Explain,
    Get,
    /// After INSERT or REPLACE, before its values: `t (` is a table and its columns.
    Into,
    Load,
    /// After LOCK or UNLOCK.
    Lock,
    Release,
    Rollback,
    /// After SET or a comma: at the name of what is set.
    SetTarget,
    /// After the name, up to `=` or a comma.
    SetOperator,
    /// After `=`, up to a comma.
    SetValue,
    Show,
    Start,
    /// After START TRANSACTION.
    Transaction,
    /// After WITH, up to the word that says what the statement does.
    With,
    /// Nothing more to learn from words by their place.
    Done,
}

/// What a statement is by its first word, and how to read on.
pub(super) fn first_word(word: &[u8]) -> (Kind, Head) {
    let mut buffer = [0; 12];
    let Some(lower) = buffer.get_mut(..word.len()) else {
        return (Kind::Other, Head::Done);
    };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    match &*lower {
        b"select" => (Kind::Select, Head::Done),
        b"with" => (Kind::With, Head::With),
        b"table" => (Kind::Table, Head::Done),
        b"values" => (Kind::Values, Head::Done),
        b"insert" => (Kind::Insert, Head::Into),
        b"replace" => (Kind::Replace, Head::Into),
        b"update" => (Kind::Update, Head::Done),
        b"delete" => (Kind::Delete, Head::Done),
        b"set" => (Kind::SetVariables, Head::SetTarget),
        b"show" => (Kind::Show, Head::Show),
        b"explain" | b"describe" | b"desc" => (Kind::Explain, Head::Explain),
        b"begin" => (
            Kind::Begin {
                read_only: false,
                consistent_snapshot: false,
            },
            Head::Begin,
        ),
        b"start" => (Kind::Other, Head::Start),
        b"commit" => (Kind::Commit, Head::Done),
        b"rollback" => (Kind::Rollback, Head::Rollback),
        b"savepoint" => (Kind::Savepoint, Head::Done),
        b"release" => (Kind::Other, Head::Release),
        b"use" => (Kind::Use, Head::Done),
        b"call" => (Kind::Call, Head::Done),
        b"do" => (Kind::Do, Head::Done),
        b"lock" => (Kind::LockTables, Head::Lock),
        b"unlock" => (Kind::UnlockTables, Head::Lock),
        b"flush" => (Kind::Flush, Head::Done),
        b"prepare" => (Kind::Prepare, Head::Done),
        b"execute" => (Kind::Execute, Head::Done),
        b"deallocate" => (Kind::Deallocate, Head::Done),
        b"xa" => (Kind::Xa, Head::Done),
        b"handler" => (Kind::Handler, Head::Done),
        b"load" => (Kind::Other, Head::Load),
        b"kill" => (Kind::Kill, Head::Done),
        b"get" => (Kind::Other, Head::Get),
        b"create" | b"drop" => (Kind::Ddl, Head::Define),
        b"alter" | b"truncate" | b"rename" | b"grant" | b"revoke" | b"analyze" | b"optimize"
        | b"repair" | b"install" | b"uninstall" | b"import" => (Kind::Ddl, Head::Done),
        _ => (Kind::Other, Head::Done),
    }
}
