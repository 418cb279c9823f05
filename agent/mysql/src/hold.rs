//! Whether a client keeps its server connection after a command, and why. Pure decisions over what the statement's text says and,
//! above all, what the server reports (session tracking, status flags): the server's word is the truth, the text only adds what
//! the server does not track (locks, diagnostics of the last statement).

mod reason;

use std::collections::BTreeSet;

use bytes::Bytes;
use lamplighter_wire::mysql::command::Command;
use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::mysql::flags::Status;
use lamplighter_wire::sql::{
    Kind, LexMode, ObjectChange, ObjectKind, ObjectName, Statement, Traits, object_change,
};

pub(crate) use reason::HoldReason;

/// What the session knows of a command when its reply is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ran<'a> {
    /// A statement that was looked through, as text or prepared.
    Statement {
        statement: &'a Statement,
        text: &'a [u8],
        mode: LexMode,
    },
    /// A SET whose effect the connection's bucket has taken over.
    UnderstoodSet,
    /// A text statement too large for that, or in a character set that cannot be read.
    Oversized,
    /// Another command.
    Command(Command),
}

/// What of a client's is on the connection it keeps. Empty: anybody may have the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ties {
    transaction: bool,
    next_transaction: bool,
    diagnostics: bool,
    /// The client's own statement ids with an open cursor, and with pieces of parameters sent.
    cursors: BTreeSet<u32>,
    long_data: BTreeSet<u32>,
    /// Things that are counted in and out by name; those without names are counted once.
    objects: BTreeSet<Object>,
    /// State that no statement provably takes away: only a wipe does.
    forever: Option<HoldReason>,
}

type Object = (ObjectKind, Option<Bytes>, Bytes);

/// What of the session decides how a reply is to be understood.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// The schema before the statement.
    pub(crate) schema: Option<&'a Bytes>,
    /// The session is known to have switched autocommit off.
    pub(crate) autocommit_off: bool,
}

impl Ties {
    /// Nothing of the client's is left.
    pub(crate) fn is_free(&self) -> bool {
        self.reason().is_none()
    }

    /// Nothing but the right to ask about the last statement.
    pub(crate) fn only_diagnostics(&self) -> bool {
        self.reason() == Some(HoldReason::Diagnostics)
    }

    /// State that no statement takes away.
    pub(crate) const fn is_forever(&self) -> bool {
        self.forever.is_some()
    }

    /// Text may mean something else on this connection than on any other.
    pub(crate) fn is_private(&self) -> bool {
        self.is_forever() || self.has(ObjectKind::TemporaryTable)
    }

    /// In an XA transaction hardly any statement is allowed at some times, ours neither.
    pub(crate) fn has_xa(&self) -> bool {
        self.has(ObjectKind::Xa)
    }

    pub(crate) fn has_cursor(&self, id: u32) -> bool {
        self.cursors.contains(&id)
    }

    pub(crate) fn has_long_data(&self, id: u32) -> bool {
        self.long_data.contains(&id)
    }

    pub(crate) fn set_cursor(&mut self, id: u32, open: bool) {
        if open {
            self.cursors.insert(id);
        } else {
            self.cursors.remove(&id);
        }
    }

    pub(crate) fn set_long_data(&mut self, id: u32, sent: bool) {
        if sent {
            self.long_data.insert(id);
        } else {
            self.long_data.remove(&id);
        }
    }

    /// The strongest reason to keep the connection.
    pub(crate) fn reason(&self) -> Option<HoldReason> {
        let object = || self.objects.first().map(|(kind, ..)| of_object(*kind));
        let others = [
            (self.transaction, HoldReason::Transaction),
            (!self.cursors.is_empty(), HoldReason::Cursor),
            (!self.long_data.is_empty(), HoldReason::LongData),
            (self.next_transaction, HoldReason::NextTransaction),
            (self.diagnostics, HoldReason::Diagnostics),
        ];
        self.forever.or_else(object).or_else(|| {
            others
                .iter()
                .find_map(|(there, reason)| there.then_some(*reason))
        })
    }

    /// The connection alone knows what a question about the statements before would be answered with.
    pub(crate) fn keep_for_questions(&mut self) {
        self.diagnostics = true;
    }

    /// A text was prepared: with the user variables in it the server makes those that are not there yet, with the character set of
    /// this session.
    pub(crate) fn note_preparation(&mut self, statement: &Statement) {
        if names_user_variables(statement) {
            self.keep(HoldReason::UserVariable);
        }
    }

    /// Takes in what a command has left behind.
    pub(crate) fn note(&mut self, ran: Ran<'_>, completion: &Completion, context: Context<'_>) {
        self.transaction = completion.status.contains(Status::SERVER_STATUS_IN_TRANS);
        if let Some(text) = &completion.track.transaction_characteristics {
            self.next_transaction = !text.is_empty() && !self.transaction;
        }
        self.diagnostics =
            has_diagnostics(ran, completion) || (self.diagnostics && leaves_diagnostics(ran));
        let explained = match ran {
            Ran::Oversized => self.keep(HoldReason::Oversized),
            Ran::UnderstoodSet => true,
            Ran::Command(command) => self.note_command(command),
            Ran::Statement { statement, .. } if had_no_effect(statement, completion) => false,
            Ran::Statement {
                statement,
                text,
                mode,
            } => self.note_statement(statement, text, mode, completion, context),
        };
        let autocommit_lost = !completion.status.contains(Status::SERVER_STATUS_AUTOCOMMIT)
            && !context.autocommit_off;
        if autocommit_lost || (completion.track.state_change && !explained) {
            self.keep(HoldReason::SessionVariable);
        }
    }

    fn keep(&mut self, reason: HoldReason) -> bool {
        self.forever.get_or_insert(reason);
        true
    }

    /// Whether the session state that the server reports as changed is accounted for.
    fn note_command(&mut self, command: Command) -> bool {
        match command {
            Command::InitDb => true,
            Command::FieldList
            | Command::Statistics
            | Command::Ping
            | Command::ProcessInfo
            | Command::Query
            | Command::StmtPrepare
            | Command::StmtExecute
            | Command::StmtSendLongData
            | Command::StmtClose
            | Command::StmtReset
            | Command::StmtFetch
            | Command::SetOption => false,
            _ => self.keep(HoldReason::Unknown),
        }
    }

    fn note_statement(
        &mut self,
        statement: &Statement,
        text: &[u8],
        mode: LexMode,
        completion: &Completion,
        context: Context<'_>,
    ) -> bool {
        if let Some(reason) = untraceable(statement) {
            return self.keep(reason);
        }
        if statement.traits.contains(Traits::LOCK_FUNCTION) {
            self.insert(ObjectKind::UserLocks, None, context.schema);
        }
        match statement.kind {
            // changes nothing but the schema, which the connection's bucket follows
            Kind::Use => true,
            Kind::SetTransaction if completion.track.transaction_characteristics.is_none() => {
                // MariaDB does not tell when it is used up
                self.keep(HoldReason::NextTransaction)
            }
            _ if changes_objects(statement) => {
                self.note_objects(statement, text, mode, completion, context)
            }
            Kind::Ddl if self.has(ObjectKind::TemporaryTable) && !is_create_or_drop(text) => {
                // ALTER and RENAME may give a temporary table another name
                self.keep(HoldReason::TemporaryTable)
            }
            _ => false,
        }
    }

    fn note_objects(
        &mut self,
        statement: &Statement,
        text: &[u8],
        mode: LexMode,
        completion: &Completion,
        context: Context<'_>,
    ) -> bool {
        let failed = matches!(completion.outcome, Outcome::Err { .. });
        match object_change(text, mode) {
            None => self.keep(object_reason(statement)),
            Some(ObjectChange::Made(kind, name)) => self.insert(kind, name, context.schema),
            // which of the names are gone is not said
            Some(ObjectChange::Gone(..)) if failed => false,
            Some(ObjectChange::Gone(kind, names)) if names.is_empty() => {
                self.objects.retain(|(have, ..)| *have != kind);
                true
            }
            Some(ObjectChange::Gone(kind, names)) => {
                for name in names {
                    self.objects
                        .remove(&object(kind, Some(name), context.schema));
                }
                true
            }
            Some(ObjectChange::Nothing) => false,
        }
    }

    fn insert(
        &mut self,
        kind: ObjectKind,
        name: Option<ObjectName<'_>>,
        schema: Option<&Bytes>,
    ) -> bool {
        if self.objects.len() >= OBJECTS_MAX {
            return self.keep(of_object(kind));
        }
        self.objects.insert(object(kind, name, schema))
    }

    fn has(&self, kind: ObjectKind) -> bool {
        self.objects.iter().any(|(have, ..)| *have == kind)
    }
}

/// Named things of one client that are counted; with more of them it keeps its connection to its end.
const OBJECTS_MAX: usize = 256;

fn object(kind: ObjectKind, name: Option<ObjectName<'_>>, schema: Option<&Bytes>) -> Object {
    let (own, name) = name.unwrap_or((None, &[]));
    // only tables live in schemas
    let schema = match own {
        Some(own) => Some(Bytes::copy_from_slice(own)),
        None if kind == ObjectKind::TemporaryTable => schema.cloned(),
        None => None,
    };
    (kind, schema, Bytes::copy_from_slice(name))
}

const fn of_object(kind: ObjectKind) -> HoldReason {
    match kind {
        ObjectKind::TemporaryTable => HoldReason::TemporaryTable,
        ObjectKind::Handler => HoldReason::Handler,
        ObjectKind::Prepared => HoldReason::PreparedStatement,
        ObjectKind::TableLocks | ObjectKind::InstanceLock => HoldReason::LockTables,
        ObjectKind::UserLocks => HoldReason::UserLock,
        ObjectKind::Xa => HoldReason::Xa,
    }
}

/// A single statement that the server refused before it ran: it could not be parsed, or names what does not exist.
fn was_refused_before_it_ran(statement: &Statement, completion: &Completion) -> bool {
    /// ER_BAD_DB_ERROR, ER_BAD_FIELD_ERROR, ER_PARSE_ERROR, ER_NO_SUCH_TABLE, ER_UNKNOWN_SYSTEM_VARIABLE,
    /// ER_WRONG_VALUE_FOR_VAR, ER_SP_DOES_NOT_EXIST.
    const BEFORE: [u16; 7] = [1049, 1054, 1064, 1146, 1193, 1231, 1305];
    let single = !statement.traits.contains(Traits::MULTI_STATEMENT)
        && !matches!(statement.kind, Kind::Call | Kind::Execute)
        && !statement
            .traits
            .intersects(Traits::UNKNOWN_FUNCTION.union(Traits::USER_VARIABLE));
    single
        && completion.results == 1
        && matches!(&completion.outcome, Outcome::Err { code, .. } if BEFORE.contains(code))
}

/// A statement that failed and left nothing: what a single statement does to its session it does when it succeeds, except
/// what is evaluated on the way.
fn had_no_effect(statement: &Statement, completion: &Completion) -> bool {
    const ON_THE_WAY: Traits = Traits::LOCK_FUNCTION
        .union(Traits::MULTI_STATEMENT)
        .union(Traits::UNKNOWN_FUNCTION)
        .union(Traits::USER_VARIABLE)
        .union(Traits::ASSIGNMENT);
    let failed = completion.results == 1 && matches!(completion.outcome, Outcome::Err { .. });
    let whole = !statement.traits.intersects(ON_THE_WAY)
        && !matches!(statement.kind, Kind::Call | Kind::Execute);
    failed && (whole || was_refused_before_it_ran(statement, completion))
}

/// The diagnostics of the statement before stay as they are.
pub(crate) fn leaves_diagnostics(ran: Ran<'_>) -> bool {
    match ran {
        Ran::Statement { statement, .. } => {
            matches!(statement.kind, Kind::ShowDiagnostics | Kind::GetDiagnostics)
        }
        Ran::Command(command) => matches!(
            command,
            Command::Statistics
                | Command::StmtSendLongData
                | Command::SetOption
                | Command::Ping
                | Command::InitDb
                | Command::FieldList
                | Command::StmtReset
                | Command::StmtFetch
        ),
        Ran::UnderstoodSet | Ran::Oversized => false,
    }
}

/// Its preparation alone leaves state.
pub(crate) fn names_user_variables(statement: &Statement) -> bool {
    statement
        .traits
        .intersects(Traits::USER_VARIABLE.union(Traits::ASSIGNMENT))
}

/// State that no later statement provably takes away.
fn untraceable(statement: &Statement) -> Option<HoldReason> {
    const BY_TRAIT: [(Traits, HoldReason); 5] = [
        (Traits::MULTI_STATEMENT, HoldReason::MultiStatement),
        (Traits::UNTERMINATED, HoldReason::Unknown),
        (Traits::USER_VARIABLE, HoldReason::UserVariable),
        (Traits::ASSIGNMENT, HoldReason::UserVariable),
        (Traits::UNKNOWN_FUNCTION, HoldReason::StoredProgram),
    ];
    if let Some((_, reason)) = BY_TRAIT
        .iter()
        .find(|(flag, _)| statement.traits.intersects(*flag))
    {
        return Some(*reason);
    }
    match statement.kind {
        Kind::Call => Some(HoldReason::StoredProgram),
        Kind::Execute => Some(HoldReason::PreparedStatement),
        Kind::SetVariables | Kind::SetNames | Kind::SetOther | Kind::SetSessionTransaction => {
            Some(HoldReason::SessionVariable)
        }
        Kind::Other => Some(HoldReason::Unknown),
        _ => None,
    }
}

fn changes_objects(statement: &Statement) -> bool {
    matches!(
        statement.kind,
        Kind::LockTables
            | Kind::UnlockTables
            | Kind::LockInstance
            | Kind::Flush
            | Kind::Handler
            | Kind::Xa
            | Kind::Prepare
            | Kind::Deallocate
    ) || statement
        .traits
        .intersects(Traits::TEMPORARY_TABLE.union(Traits::RELEASE_LOCK_FUNCTION))
}

/// What a statement of [`changes_objects`] is kept for when its text could not be read.
fn object_reason(statement: &Statement) -> HoldReason {
    match statement.kind {
        Kind::LockTables | Kind::UnlockTables | Kind::LockInstance | Kind::Flush => {
            HoldReason::LockTables
        }
        Kind::Handler => HoldReason::Handler,
        Kind::Xa => HoldReason::Xa,
        Kind::Prepare | Kind::Deallocate => HoldReason::PreparedStatement,
        _ if statement.traits.contains(Traits::TEMPORARY_TABLE) => HoldReason::TemporaryTable,
        _ => HoldReason::UserLock,
    }
}

fn is_create_or_drop(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    [&b"create"[..], b"drop"].iter().any(|word| {
        text.get(..word.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(word))
    })
}

/// The next command may ask about this one, and only this connection knows the answer.
fn has_diagnostics(ran: Ran<'_>, completion: &Completion) -> bool {
    if completion.warnings_last > 0 || matches!(completion.outcome, Outcome::Err { .. }) {
        return true;
    }
    match ran {
        // what a plain read leaves behind (the number of its rows) is captured
        Ran::Statement { statement, .. } => {
            let beyond = Traits::SQL_CALC_FOUND_ROWS.union(Traits::OFFSET);
            !is_plain_read(statement) || statement.traits.intersects(beyond)
        }
        // COM_FIELD_LIST warns that it is out of date, which its reply does not say
        Ran::Oversized | Ran::Command(Command::FieldList) => true,
        // without warnings it leaves nothing to ask about but a ROW_COUNT() of 0, which is captured
        Ran::UnderstoodSet | Ran::Command(_) => false,
    }
}

fn is_plain_read(statement: &Statement) -> bool {
    matches!(
        statement.kind,
        Kind::Select
            | Kind::With
            | Kind::Table
            | Kind::Values
            | Kind::Show
            | Kind::Explain
            | Kind::Use
            | Kind::Empty
    ) && !statement.traits.intersects(Traits::INTO)
}

/// A statement whose text says that it leaves state on its connection.
pub(crate) fn leaves_state(statement: &Statement) -> bool {
    untraceable(statement).is_some()
        || changes_objects(statement)
        || statement.kind == Kind::SetTransaction
        || statement
            .traits
            .intersects(Traits::LOCK_FUNCTION.union(Traits::LAST_INSERT_ID))
}

/// What a statement's text says its connection will be kept for, if the server agrees: for people who ask.
pub(crate) fn kept_for(statement: &Statement, text: &[u8], mode: LexMode) -> Option<HoldReason> {
    let learned = matches!(
        statement.kind,
        Kind::SetVariables | Kind::SetNames | Kind::SetSessionTransaction
    );
    if let Some(reason) = untraceable(statement) {
        // what it sets is set again wherever it is needed
        let is_set = learned && reason == HoldReason::SessionVariable;
        return (!is_set).then_some(reason);
    }
    if statement.traits.contains(Traits::LOCK_FUNCTION) {
        return Some(HoldReason::UserLock);
    }
    match statement.kind {
        Kind::Begin { .. } => Some(HoldReason::Transaction),
        Kind::SetTransaction => Some(HoldReason::NextTransaction),
        _ if changes_objects(statement) => match object_change(text, mode) {
            None => Some(object_reason(statement)),
            Some(ObjectChange::Made(kind, _)) => Some(of_object(kind)),
            Some(ObjectChange::Gone(..) | ObjectChange::Nothing) => None,
        },
        _ => None,
    }
}

/// A statement whose text has to be kept until its reply is over, to see what it did.
pub(crate) fn text_matters(statement: &Statement) -> bool {
    let kinds = matches!(
        statement.kind,
        Kind::Ddl
            | Kind::Insert
            | Kind::Replace
            | Kind::Update
            | Kind::Delete
            | Kind::Show
            | Kind::ShowDiagnostics
            | Kind::Explain
    );
    changes_objects(statement) || kinds
}

/// A statement that runs a program which is not seen: it may ask about the statement before, and tell it on.
pub(crate) fn runs_program(statement: &Statement) -> bool {
    matches!(statement.kind, Kind::Call | Kind::Execute)
}

/// A statement that asks about the one before it.
pub(crate) fn asks_about_the_last(statement: &Statement) -> bool {
    matches!(statement.kind, Kind::ShowDiagnostics | Kind::GetDiagnostics)
        || statement.traits.intersects(
            Traits::ROW_COUNT
                .union(Traits::FOUND_ROWS)
                .union(Traits::DIAGNOSTIC_VARIABLE),
        )
}

#[cfg(test)]
mod tests;
