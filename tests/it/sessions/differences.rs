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
            "FOUND_ROWS() is refused after a stored program that answered no rows: it may or may not have set it",
        );
    }
    if matches!(error_of(endpoint), Some((1235, text)) if text.starts_with("lamplighter: the warnings"))
    {
        return Some(
            "the texts of warnings are gone with their connection when others needed it after 200 ms",
        );
    }
    let bare = match op {
        Op::Execute { .. } => only_bare_parameters_differ(direct, endpoint),
        Op::Fetch { .. } => {
            (sql.contains("SELECT ?") || sql == "DO ?") && only_rows_differ(direct, endpoint)
        }
        _ => false,
    };
    if bare {
        return Some(
            "a result that is a bare parameter has the type it is sent with, not that of the statement's first execution",
        );
    }
    if only_charset_differs(direct, endpoint) {
        return Some("the collation of character_set_results after a wipe");
    }
    None
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

/// Column definitions of parameters that are results themselves, and the rows with them.
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
            (of_parameter(a) && of_parameter(b)) || matches!((a, b), (Part::Row(_), Part::Row(_)))
        })
}

/// Status and warnings in the EOF between column definitions and rows are told before the rows are known where the server connection
/// has none: only what was certain then is compared.
pub(crate) fn mask(answer: &mut [Part]) {
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
