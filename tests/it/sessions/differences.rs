//! Where the endpoint is known to answer otherwise than a server, and may: each with its reason. The list is to shrink; whatever is
//! not on it fails the test.

use lamplighter_wire::mysql::flags::Status;

use super::steps::Op;
use crate::support::mysql::raw::{Part, error_of};

/// Why these answers may differ, or `None` if they may not. `sql` is the statement's text, sent with `op` or prepared before.
pub(crate) fn known(
    op: &Op,
    sql: &str,
    direct: &[Part],
    endpoint: &[Part],
) -> Option<&'static str> {
    if is_told_as_number(sql, direct, endpoint) {
        return Some(
            "a value of the session is a number in the text: its display width, and no deprecation warning of FOUND_ROWS()",
        );
    }
    if matches!(error_of(endpoint), Some((1235, text)) if text.starts_with("lamplighter: FOUND_ROWS()"))
    {
        return Some(
            "FOUND_ROWS() is refused after a change of data that failed or matched no row: it may or may not have set it",
        );
    }
    if matches!(error_of(endpoint), Some((1235, text)) if text.starts_with("lamplighter: the warnings"))
    {
        return Some(
            "the texts of warnings are gone with their connection when others needed it after 200 ms",
        );
    }
    let bare = match op {
        Op::Execute { .. } => {
            only_bare_parameters_differ(direct, endpoint)
                || only_types_in_texts_differ(direct, endpoint)
                || (sql == "DO ?" && only_warnings_differ(direct, endpoint))
        }
        Op::Fetch { .. } => {
            (sql.contains("SELECT ?") || sql == "DO ?") && only_rows_differ(direct, endpoint)
        }
        _ => false,
    };
    if bare || (asks_for_conditions(sql) && only_types_in_texts_differ(direct, endpoint)) {
        return Some(
            "a parameter has the type it is sent with, not that of the statement's first execution: in results that are bare parameters, and in the texts of errors",
        );
    }
    if sql.starts_with("CALL") && only_affected_rows_differ(direct, endpoint) {
        return Some(
            "a CALL that changes nothing tells how many rows the statement before it changed, which a new connection knows only of one",
        );
    }
    if counts_the_error_alone(op, direct, endpoint) {
        return Some(
            "behind an error whose connection others needed, COM_INIT_DB and COM_PING tell of one warning, though some stood before it",
        );
    }
    if names_no_table_of_the_schema(direct) && names_no_table_of_the_schema(endpoint) {
        return Some(
            "a server has two errors for a table that INFORMATION_SCHEMA has not, and takes now the one, now the other",
        );
    }
    if only_charset_differs(direct, endpoint) {
        return Some("the collation of character_set_results after a wipe");
    }
    None
}

/// A command that tells how many warnings there were, of one where there were more: no error packet says how many.
fn counts_the_error_alone(op: &Op, direct: &[Part], endpoint: &[Part]) -> bool {
    matches!(op, Op::InitDb(_) | Op::Ping | Op::SetOption(_))
        && matches!(
            endpoint,
            [Part::Ok { warnings: 1, .. } | Part::Eof { warnings: 1, .. }]
        )
        && only_warnings_differ(direct, endpoint)
}

/// ER_NO_SUCH_TABLE or ER_UNKNOWN_TABLE.
fn names_no_table_of_the_schema(answer: &[Part]) -> bool {
    matches!(error_of(answer), Some((1109 | 1146, text)) if text.contains("information_schema"))
}

/// The statement asks for a value that the endpoint may write into its text.
pub(crate) fn is_told_as_number(sql: &str, direct: &[Part], endpoint: &[Part]) -> bool {
    asks_the_session(sql) && same_but_numbers(direct, endpoint)
}

/// The statement asks what the endpoint answers itself.
fn asks_the_session(sql: &str) -> bool {
    let sql = sql.to_ascii_uppercase();
    ["FOUND_ROWS()", "ROW_COUNT()", "LAST_INSERT_ID()"]
        .iter()
        .any(|function| sql.contains(function))
}

/// The same but for the width and decimals of columns and how many warnings there were: names, types, rows and all else are equal.
fn same_but_numbers(direct: &[Part], endpoint: &[Part]) -> bool {
    let bare = |parts: &[Part]| -> Vec<Part> {
        let mut parts = parts.to_vec();
        for part in &mut parts {
            match part {
                Part::Column(definition) if definition.len() > 12 => {
                    // of the fixed part's last 12 bytes: the collation, the width, the type, the flags, the decimals, a filler
                    let mut bytes = definition.to_vec();
                    let at = bytes.len() - 10;
                    bytes[at..at + 4].fill(0);
                    *definition = bytes.into();
                }
                Part::Ok { warnings, .. } | Part::Eof { warnings, .. } => *warnings = 0,
                _ => {}
            }
        }
        parts
    };
    bare(direct) == bare(endpoint)
}

/// Column definitions that name one collation of utf8mb4 where the client's login named another, and nothing else.
fn only_charset_differs(direct: &[Part], endpoint: &[Part]) -> bool {
    let differing = || direct.iter().zip(endpoint).filter(|(a, b)| a != b);
    direct.len() == endpoint.len()
        && differing().count() > 0
        && differing().all(|(a, b)| match (a, b) {
            (Part::Column(a), Part::Column(b)) if a.len() == b.len() && a.len() > 12 => {
                // the fixed part's 12 bytes begin with the collation; what follows them here is 1 length byte fewer
                let at = a.len() - 12;
                let is_utf8mb4 =
                    |of: &[u8]| matches!(of[at..at + 2], [45 | 46 | 224..=247 | 255, 0] | [_, 1]);
                a[..at] == b[..at] && a[at + 2..] == b[at + 2..] && is_utf8mb4(a) && is_utf8mb4(b)
            }
            _ => false,
        })
}

/// The same parts, but for what is in the rows.
fn only_rows_differ(direct: &[Part], endpoint: &[Part]) -> bool {
    direct.len() == endpoint.len()
        && direct
            .iter()
            .zip(endpoint)
            .all(|(a, b)| a == b || matches!((a, b), (Part::Row(_), Part::Row(_))))
}

/// The last OK of the one tells of changed rows, that of the other of none.
fn only_affected_rows_differ(direct: &[Part], endpoint: &[Part]) -> bool {
    let mut told = endpoint.to_vec();
    if let (
        Some(Part::Ok {
            affected: before, ..
        }),
        Some(Part::Ok {
            affected: after @ 0,
            ..
        }),
    ) = (direct.last(), told.last_mut())
    {
        *after = *before;
    }
    direct == told
}

/// An OK each, with other numbers of warnings.
fn only_warnings_differ(direct: &[Part], endpoint: &[Part]) -> bool {
    let bare = |parts: &[Part]| {
        let mut parts = parts.to_vec();
        if let [Part::Ok { warnings, .. } | Part::Eof { warnings, .. }] = parts.as_mut_slice() {
            *warnings = 0;
        }
        parts
    };
    bare(direct) == bare(endpoint)
}

/// Column definitions of parameters that are results themselves, the rows with them, and how many warnings there were.
fn only_bare_parameters_differ(direct: &[Part], endpoint: &[Part]) -> bool {
    let of_parameter = |part: &Part| matches!(part, Part::Column(body) if body.windows(2).any(|two| two == b"\x01?") || body.windows(5).any(|five| five == b"? + 1"));
    let mut differing = direct
        .iter()
        .zip(endpoint)
        .filter(|(a, b)| a != b)
        .peekable();
    direct.len() == endpoint.len()
        && differing
            .peek()
            .is_some_and(|(a, b)| of_parameter(a) && of_parameter(b))
        && differing.all(|(a, b)| {
            (of_parameter(a) && of_parameter(b))
                || matches!((a, b), (Part::Row(_), Part::Row(_)))
                // the value does not fit the first type
                || only_warnings_differ(std::slice::from_ref(a), std::slice::from_ref(b))
        })
}

/// The same but for the type that the text of an error names for the same value, of a client that changed a parameter's type.
fn only_types_in_texts_differ(direct: &[Part], endpoint: &[Part]) -> bool {
    let same_value = |a, b| value_refused(a).is_some_and(|value| value_refused(b) == Some(value));
    direct.len() == endpoint.len()
        && direct
            .iter()
            .zip(endpoint)
            .all(|(a, b)| a == b || same_value(a, b))
}

/// The value in the text of ER_TRUNCATED_WRONG_VALUE.
fn value_refused(part: &Part) -> Option<&[u8]> {
    let text = match part {
        Part::Err {
            code: 1292,
            message,
            ..
        } => message.as_bytes(),
        Part::Row(body) => body,
        _ => return None,
    };
    let text = behind(text, b"Truncated incorrect ")?;
    behind(text, b" value: ")
}

fn behind<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(word.len()).position(|part| part == word)?;
    text.get(at + word.len()..)
}

/// The statement asks for the warnings and errors of the last one.
fn asks_for_conditions(sql: &str) -> bool {
    let sql = sql.to_ascii_uppercase();
    ["WARNINGS", "ERRORS", "_COUNT", "DIAGNOSTICS"]
        .iter()
        .any(|word| sql.contains(word))
}

/// Errors of which no server has heard: an unknown command or statement, no open cursor.
const OF_NO_SERVER: [u16; 3] = [1047, 1243, 1421];

/// The clients whose last error was one that no server has heard of.
#[derive(Debug, Default)]
pub(crate) struct Unheard(std::collections::BTreeSet<usize>);

impl Unheard {
    /// Takes in what a client was answered.
    pub(crate) fn note(&mut self, client: usize, op: &Op, sql: &str, answer: &[Part]) {
        if matches!(error_of(answer), Some((code, _)) if OF_NO_SERVER.contains(&code)) {
            self.0.insert(client);
        } else if !leaves_conditions(op, sql) {
            self.0.remove(&client);
        }
    }

    /// Why an answer to this client may differ.
    pub(crate) fn known(&self, client: usize, op: &Op, sql: &str) -> Option<&'static str> {
        (self.0.contains(&client) && leaves_conditions(op, sql)).then_some(
            "an error that no server has heard of stands alone: what was before it is not shown with it",
        )
    }
}

/// The conditions that are there stay as they are.
fn leaves_conditions(op: &Op, sql: &str) -> bool {
    match op {
        Op::Query(_) => asks_for_conditions(sql),
        Op::Ping | Op::SetOption(_) | Op::Statistics | Op::InitDb(_) | Op::FieldList { .. } => true,
        _ => false,
    }
}

/// Status and warnings in the EOF between column definitions and rows are told before the rows are known where the server connection
/// has none: only what was certain then is compared.
pub(crate) fn mask(answer: &mut [Part]) {
    for part in answer.iter_mut() {
        if let Part::Ok { status, .. } | Part::Eof { status, .. } = part {
            // The one says how fast the machine is. The other is told once when a statement's columns are others than before: of those
            // who share the statement to the one who executes it first; the columns themselves are told to all of them.
            let not_compared =
                Status::SERVER_QUERY_WAS_SLOW.union(Status::SERVER_STATUS_METADATA_CHANGED);
            *status = status.without(not_compared);
        }
    }
    let certain = Status::SERVER_STATUS_AUTOCOMMIT;
    for at in 1..answer.len() {
        let (before, after) = answer.split_at_mut(at);
        if let (Some(Part::Column(_)), Some(Part::Eof { warnings, status })) =
            (before.last(), after.first_mut())
        {
            *warnings = 0;
            *status = status.intersection(certain);
        }
    }
}

/// The endpoint keeps some connections longer than it must (an error, a function it does not know, an insert id), so a client may
/// wait in vain. Its session ends there, because from then on the two sides have not done the same.
pub(crate) fn waited_in_vain(endpoint: &[Part]) -> bool {
    matches!(error_of(endpoint), Some((1040, _)))
}

/// The first parts that differ, for people.
pub(crate) fn first_difference(direct: &[Part], endpoint: &[Part]) -> String {
    let longest = direct.len().max(endpoint.len());
    let at = (0..longest)
        .find(|at| direct.get(*at) != endpoint.get(*at))
        .unwrap_or(0);
    let show = |parts: &[Part]| match parts.get(at) {
        Some(part) => cut(format!("{part:?}")),
        None => "(nothing)".to_owned(),
    };
    let last = |parts: &[Part]| parts.last().map(|part| cut(format!("{part:?}")));
    format!(
        "part {at} of {}/{}\n    direct:   {}\n    endpoint: {}\n    (last: {:?} / {:?})",
        direct.len(),
        endpoint.len(),
        show(direct),
        show(endpoint),
        last(direct),
        last(endpoint)
    )
}

fn cut(text: String) -> String {
    if text.chars().count() > 400 {
        text.chars().take(400).chain("...".chars()).collect()
    } else {
        text
    }
}
