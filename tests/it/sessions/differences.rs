//! Where the endpoint is known to answer otherwise than a server, and may: each with its reason. The list is to shrink; whatever is
//! not on it fails the test.

use lamplighter_wire::mysql::flags::Status;

use super::steps::Op;
use crate::support::mysql::raw::{Part, error_of};

/// Why these answers may differ, or `None` if they may not.
pub(crate) fn known(op: &Op, direct: &[Part], endpoint: &[Part]) -> Option<&'static str> {
    let refusal = error_of(endpoint);
    if let Some((1235, text)) = refusal
        && text.starts_with("lamplighter: FOUND_ROWS() and ROW_COUNT() are answered alone")
    {
        return Some("FOUND_ROWS() or ROW_COUNT() in an expression, its connection given back");
    }
    if let (Some((1243, _)), Some((1243, _))) = (error_of(direct), refusal) {
        return Some("the text of error 1243");
    }
    if matches!(refusal, Some((1235, text)) if text.starts_with("lamplighter: KILL")) {
        return Some("KILL is refused");
    }
    if *op == Op::ConnectionId {
        return Some("CONNECTION_ID() is the server connection's");
    }
    if op.text().contains("@@last_insert_id") {
        return Some("@@last_insert_id");
    }
    if op.text().contains("FOUND_ROWS()") {
        return Some("FOUND_ROWS() of the connection's last owner, and its deprecation warning");
    }
    if only_charset_differs(direct, endpoint) {
        return Some("the collation of character_set_results after a wipe");
    }
    if matches!(op, Op::InitDb(_) | Op::Ping) && same_but_warnings(direct, endpoint) {
        return Some("COM_PING and COM_INIT_DB tell the warnings of the statement before");
    }
    if *op == Op::Ping {
        return Some("COM_PING tells the status outside of the transaction");
    }
    if matches!(op, Op::SetOption(_)) && matches!(endpoint, [Part::Eof { .. }]) {
        return Some("COM_SET_OPTION is answered by EOF where MySQL 9 has an OK");
    }
    let executes = matches!(op, Op::Execute { .. });
    if executes && direct.first() == Some(&Part::Columns(3)) && direct.len() == endpoint.len() {
        return Some("FOUND_ROWS() of the connection's last owner, prepared");
    }
    None
}

/// Column definitions that name utf8mb4_0900_ai_ci (255) where the client's login named another collation of utf8mb4, and nothing
/// else.
fn only_charset_differs(direct: &[Part], endpoint: &[Part]) -> bool {
    let differing = || direct.iter().zip(endpoint).filter(|(a, b)| a != b);
    direct.len() == endpoint.len()
        && differing().count() > 0
        && differing().all(|(a, b)| match (a, b) {
            (Part::Column(a), Part::Column(b)) if a.len() == b.len() && a.len() > 12 => {
                // the fixed part's 12 bytes begin with the collation; what follows them here is 1 length byte fewer
                let at = a.len() - 12;
                a[..at] == b[..at] && a[at + 2..] == b[at + 2..]
            }
            _ => false,
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

/// One OK each, different only in how many warnings there were.
fn same_but_warnings(direct: &[Part], endpoint: &[Part]) -> bool {
    let without = |parts: &[Part]| match parts {
        [
            Part::Ok {
                affected,
                insert_id,
                status,
                info,
                ..
            },
        ] => Some((*affected, *insert_id, *status, info.clone())),
        _ => None,
    };
    without(direct).is_some() && without(direct) == without(endpoint)
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
