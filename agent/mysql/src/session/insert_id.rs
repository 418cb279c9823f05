//! What a command has to do with LAST_INSERT_ID(). Pure; no IO.

use lamplighter_wire::mysql::exchange::{Completion, Outcome};
use lamplighter_wire::sql::{Kind, Statement, Traits};

use crate::hold::Ran;
use crate::insert_id::Change;

/// What the command did to LAST_INSERT_ID(). `knew`: it was the session's on this connection before.
pub(super) fn change_of_insert_id(ran: Ran<'_>, completion: &Completion, knew: bool) -> Change {
    let certain = match ran {
        Ran::Statement { statement, .. } => {
            let failed = matches!(completion.outcome, Outcome::Err { .. });
            let inserts = matches!(
                statement.kind,
                Kind::Insert | Kind::Replace | Kind::LoadData
            );
            // "undefined" then ("Information Functions"), but not what somebody else's was
            (failed && inserts && knew) || touches_insert_id(statement)
        }
        Ran::Oversized => true,
        Ran::UnderstoodSet | Ran::Command(_) => false,
    };
    match completion.last_insert_id {
        _ if certain => Change::Certain,
        0 => Change::None,
        told => Change::Told(told),
    }
}

/// The statement may read or change LAST_INSERT_ID().
pub(super) fn touches_insert_id(statement: &Statement) -> bool {
    const BY: Traits = Traits::LAST_INSERT_ID
        .union(Traits::IDENTITY)
        .union(Traits::UNKNOWN_FUNCTION)
        .union(Traits::MULTI_STATEMENT);
    statement.traits.intersects(BY)
        // from XA START on nothing of ours can be said on its connection
        || matches!(statement.kind, Kind::Call | Kind::Execute | Kind::Other | Kind::Xa)
}
