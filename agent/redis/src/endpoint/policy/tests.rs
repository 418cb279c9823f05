//! The policy as a table.

use lamplighter_wire::redis::command::find;

use super::*;

const FREE: Situation = Situation {
    in_transaction: false,
    watching: false,
    subscribed: false,
};
const MULTI: Situation = Situation {
    in_transaction: true,
    ..FREE
};
const WATCHING: Situation = Situation {
    watching: true,
    ..FREE
};
const LISTENING: Situation = Situation {
    subscribed: true,
    ..FREE
};

fn what(name: &str, now: Situation) -> Decision {
    decide(find(name.as_bytes()).unwrap(), now, false, false)
}

#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn the_table() {
    use Decision::*;
    for (name, free, multi, listening) in [
        ("GET", Send { slow: false }, Queue { slow: false }, Pass),
        ("SET", Send { slow: false }, Queue { slow: false }, Pass),
        ("EVAL", Send { slow: true }, Queue { slow: true }, Pass),
        ("KEYS", Send { slow: true }, Queue { slow: true }, Pass),
        ("PING", Local, Queue { slow: false }, Pass),
        ("QUIT", Local, Local, Local),
        ("RESET", Local, Local, Local),
        (
            "AUTH",
            Local,
            Refuse(Refusal::InTransaction),
            Refuse(Refusal::WhileSubscribed),
        ),
        (
            "SELECT",
            Local,
            Refuse(Refusal::InTransaction),
            Refuse(Refusal::WhileSubscribed),
        ),
        (
            "MULTI",
            Multi,
            Refuse(Refusal::NestedMulti),
            Refuse(Refusal::WhileSubscribed),
        ),
        (
            "EXEC",
            Refuse(Refusal::ExecWithoutMulti),
            Exec,
            Refuse(Refusal::WhileSubscribed),
        ),
        (
            "DISCARD",
            Refuse(Refusal::DiscardWithoutMulti),
            Discard,
            Refuse(Refusal::WhileSubscribed),
        ),
        (
            "WATCH",
            Watch,
            Refuse(Refusal::WatchInMulti),
            Refuse(Refusal::WhileSubscribed),
        ),
        (
            "UNWATCH",
            Unwatch,
            Queue { slow: false },
            Refuse(Refusal::WhileSubscribed),
        ),
        (
            "BLPOP",
            Block,
            Queue { slow: false },
            Refuse(Refusal::WhileSubscribed),
        ),
        ("SUBSCRIBE", Subscribe, Refuse(Refusal::InTransaction), Pass),
        (
            "UNSUBSCRIBE",
            NotSubscribed,
            Refuse(Refusal::InTransaction),
            Pass,
        ),
        (
            "FLUSHALL",
            Refuse(Refusal::Denied),
            Refuse(Refusal::Denied),
            Refuse(Refusal::Denied),
        ),
        (
            "CONFIG",
            Refuse(Refusal::Denied),
            Refuse(Refusal::Denied),
            Refuse(Refusal::Denied),
        ),
        (
            "MONITOR",
            Refuse(Refusal::Never),
            Refuse(Refusal::Never),
            Refuse(Refusal::Never),
        ),
        (
            "WAIT",
            Refuse(Refusal::Never),
            Refuse(Refusal::Never),
            Refuse(Refusal::Never),
        ),
        (
            "WAITAOF",
            Refuse(Refusal::Never),
            Refuse(Refusal::Never),
            Refuse(Refusal::Never),
        ),
    ] {
        assert_eq!(what(name, FREE), free, "{name}");
        assert_eq!(what(name, MULTI), multi, "{name} in a transaction");
        assert_eq!(what(name, LISTENING), listening, "{name} while subscribed");
    }
    assert_eq!(
        what("SUBSCRIBE", WATCHING),
        Refuse(Refusal::WhileSubscribed)
    );
    assert_eq!(what("GET", WATCHING), Send { slow: false });
}

#[test]
fn xread_waits_only_when_it_is_told_to_and_what_is_allowed_is_sent() {
    let xread = find(b"XREAD").unwrap();
    assert_eq!(decide(xread, FREE, true, false), Decision::Block);
    assert_eq!(
        decide(xread, FREE, false, false),
        Decision::Send { slow: false }
    );
    let flush = find(b"FLUSHDB").unwrap();
    assert_eq!(
        decide(flush, FREE, false, true),
        Decision::Send { slow: true }
    );
    assert_eq!(
        decide(flush, MULTI, false, true),
        Decision::Queue { slow: true }
    );
}
