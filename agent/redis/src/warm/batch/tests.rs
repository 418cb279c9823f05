//! Table tests of batches and of their replies.

use redis::{ServerError, Value};

use super::*;

fn entry(size: usize) -> Entry {
    Entry {
        key: b"k".to_vec(),
        payload: Payload::Text(vec![b'v'; size - 1]),
        ttl_ms: 1000,
        keep: Keep::Nothing,
        guard: None,
    }
}

fn sizes(keys_max: usize, bytes_max: usize, entries: &[usize]) -> Vec<Vec<usize>> {
    let mut batcher = Batcher::new(keys_max, bytes_max);
    let mut batches: Vec<_> = entries
        .iter()
        .filter_map(|size| batcher.add(entry(*size)))
        .collect();
    batches.extend(batcher.take());
    assert!(batcher.take().is_none());
    for batch in &batches {
        assert_eq!(
            batch.bytes,
            batch.entries.iter().map(Entry::size).sum::<usize>()
        );
    }
    batches
        .iter()
        .map(|batch| batch.entries.iter().map(Entry::size).collect())
        .collect()
}

#[test]
fn batches_are_full_by_keys_or_by_bytes() {
    assert_eq!(
        sizes(2, 1000, &[1, 1, 1, 1, 1]),
        [vec![1, 1], vec![1, 1], vec![1]]
    );
    assert_eq!(sizes(100, 10, &[4, 4, 4, 4]), [vec![4, 4], vec![4, 4]]);
    assert_eq!(sizes(100, 10, &[5, 5, 5]), [vec![5, 5], vec![5]]);
    assert_eq!(sizes(100, 10, &[3, 50, 3]), [vec![3], vec![50], vec![3]]);
    assert_eq!(sizes(100, 10, &[]), Vec::<Vec<usize>>::new());
}

/// Replies in short: `ok`, `q` (QUEUED), `nil`, a number (a bulk string), `:` (an integer), `[..]` (an array of one word
/// each), anything else an error with that code.
fn replies(text: &str) -> Vec<Value> {
    let word = |word: &str| match word {
        "ok" => Value::Okay,
        "q" => Value::SimpleString("QUEUED".into()),
        "nil" => Value::Nil,
        ":" => Value::Int(7),
        "one" => Value::Int(1),
        "kept" => Value::Int(0),
        number if number.parse::<u64>().is_ok() => Value::BulkString(number.into()),
        code => {
            let error = redis::make_extension_error(code.into(), Some("reason".into()));
            Value::ServerError(ServerError::try_from(error).unwrap())
        }
    };
    let mut values = Vec::new();
    let mut array = None;
    for part in text
        .replace('[', "[ ")
        .replace(']', " ]")
        .split_whitespace()
    {
        match (part, &mut array) {
            ("[", _) => array = Some(Vec::new()),
            ("]", _) => values.push(Value::Array(array.take().unwrap())),
            (part, Some(array)) => array.push(word(part)),
            (part, None) => values.push(word(part)),
        }
    }
    values
}

fn short(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Written { kept: 0 } => "written".into(),
        Outcome::Written { kept } => format!("{kept} kept"),
        Outcome::Superseded => "superseded".into(),
        Outcome::Refused { refused, first } => format!("{refused} {}", first.code()),
        Outcome::Confused => "confused".into(),
    }
}

#[test]
fn replies_to_a_transaction_of_two_keys_in_generation_7() {
    let entries = [entry(2), entry(2)];
    for (text, expected) in [
        ("ok q q [ok ok] ok 7", "written"),
        ("ok q q [ok one] ok 7", "written"),
        // one was there (SET ... NX), one was changed since it was read
        ("ok q q [nil kept] ok 7", "2 kept"),
        // written, but another instance has taken over since
        ("ok q q [ok ok] ok 8", "superseded"),
        ("ok q q [ok ok] ok nil", "superseded"),
        // the watched generation changed before EXEC
        ("ok q q nil ok 8", "superseded"),
        ("ok q q [ok OOM] ok 7", "1 OOM"),
        ("ok q q [OOM ERR] ok 7", "2 OOM"),
        ("ok OOM q EXECABORT ok 7", "2 OOM"),
        ("ok q q EXECABORT ok 7", "2 EXECABORT"),
        ("READONLY X X X ok 7", "2 READONLY"),
        // a transaction that may not be opened leaves the SETs without their fence
        ("NOPERM ok ok ERR ok 7", "2 NOPERM"),
        // too few, too many, and what is no reply of SET's
        ("", "confused"),
        ("ok q [ok] ok 7", "confused"),
        ("ok q q [ok] ok 7", "confused"),
        ("ok q q q [ok ok] ok 7", "confused"),
        ("ok q q [ok ok ok] ok 7", "confused"),
        ("ok q q [ok :] ok 7", "confused"),
        ("ok q q : ok 7", "confused"),
        ("ok q q [ok ok] ERR 7", "confused"),
    ] {
        let outcome = account(&replies(text), &entries, ServerKind::Single, 7);
        assert_eq!(short(&outcome), expected, "{text}");
    }
}

#[test]
fn replies_to_a_plain_pipeline_of_two_keys_in_generation_7() {
    let entries = [entry(2), entry(2)];
    for (text, expected) in [
        ("7 ok ok", "written"),
        ("6 ok ok", "superseded"),
        ("nil ok ok", "superseded"),
        ("7 ok OOM", "1 OOM"),
        ("LOADING LOADING LOADING", "2 LOADING"),
        ("7 ok", "confused"),
        ("7 ok ok ok", "confused"),
        ("ok ok ok", "confused"),
    ] {
        let outcome = account(&replies(text), &entries, ServerKind::Enterprise, 7);
        assert_eq!(short(&outcome), expected, "{text}");
    }
}

/// A hash of one field.
fn hash(keep: Keep) -> Entry {
    Entry {
        payload: Payload::Hash(vec![b"a".to_vec(), b"1".to_vec()]),
        keep,
        ..entry(2)
    }
}

#[test]
fn replies_to_a_hash_and_a_text_in_generation_7() {
    let entries = [hash(Keep::Nothing), entry(2)];
    for (kind, text, expected) in [
        (
            ServerKind::Single,
            "ok q q q q [: : one ok] ok 7",
            "written",
        ),
        (
            ServerKind::Single,
            "ok q q q q [: : one nil] ok 7",
            "1 kept",
        ),
        (
            ServerKind::Single,
            "ok q q q q [: OOM one ok] ok 7",
            "1 OOM",
        ),
        (ServerKind::Single, "ok q OOM q q EXECABORT ok 7", "2 OOM"),
        (ServerKind::Single, "ok q q q q nil ok 8", "superseded"),
        // it has no end, or the text has two replies
        (
            ServerKind::Single,
            "ok q q q q [: : kept ok] ok 7",
            "confused",
        ),
        (
            ServerKind::Single,
            "ok q q q q [: one ok ok] ok 7",
            "confused",
        ),
        (ServerKind::Single, "ok q q q [: : one] ok 7", "confused"),
        (ServerKind::Cluster, "7 ok q q q [: : one] ok", "written"),
        (ServerKind::Cluster, "6 ok q q q [: : one] ok", "superseded"),
        (ServerKind::Cluster, "7 ok q OOM q EXECABORT ok", "1 OOM"),
        (ServerKind::Cluster, "7 ok q q q [: : one] OOM", "1 OOM"),
        (ServerKind::Cluster, "7 ok q q q nil ok", "confused"),
        (ServerKind::Cluster, "7 ok q q q [: :] ok", "confused"),
        (ServerKind::Cluster, "7 ok q q q [: : one]", "confused"),
    ] {
        let outcome = account(&replies(text), &entries, kind, 7);
        assert_eq!(short(&outcome), expected, "{kind:?} {text}");
    }
}

#[test]
fn replies_to_the_first_watch_in_generation_7() {
    for (text, expected) in [
        ("ok 7", "written"),
        ("ok 8", "superseded"),
        ("ok nil", "superseded"),
        ("NOPERM 7", "0 NOPERM"),
        ("ok", "confused"),
    ] {
        assert_eq!(short(&watched(&replies(text), 7)), expected, "{text}");
    }
}

#[test]
fn the_commands_of_a_batch() {
    let batch = Batch {
        entries: vec![entry(3), entry(2)],
        bytes: 5,
        checkpoint: None,
    };
    let text = |pipeline: &Pipeline| {
        let packed = String::from_utf8(pipeline.get_packed_pipeline()).unwrap();
        packed
            .split("\r\n")
            .filter(|part| !part.is_empty() && !part.starts_with(['$', '*']))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        text(&write(&batch, ServerKind::Single, "g")),
        "MULTI SET k vv PX 1000 SET k v PX 1000 EXEC WATCH g GET g"
    );
    assert_eq!(
        text(&write(&batch, ServerKind::Enterprise, "g")),
        "GET g SET k vv PX 1000 SET k v PX 1000"
    );
    assert_eq!(text(&watch("g")), "WATCH g GET g");
    let one = |kind, entry| {
        let batch = Batch {
            entries: vec![entry],
            ..Batch::default()
        };
        text(&write(&batch, kind, "g"))
    };
    let kept = |keep| Entry { keep, ..entry(2) };
    assert_eq!(
        one(ServerKind::Enterprise, kept(Keep::Everything)),
        "GET g SET k v PX 1000 NX"
    );
    assert!(one(ServerKind::Enterprise, kept(Keep::AliveFor(500))).ends_with(" 1 k 1000 500 v"));
    assert_eq!(
        one(ServerKind::Single, hash(Keep::Nothing)),
        "MULTI DEL k HSET k a 1 PEXPIRE k 1000 EXEC WATCH g GET g"
    );
    assert_eq!(
        one(ServerKind::Cluster, hash(Keep::Nothing)),
        "GET g MULTI DEL k HSET k a 1 PEXPIRE k 1000 EXEC"
    );
    assert!(one(ServerKind::Single, hash(Keep::Everything)).contains(" 1 k 1000 0 a 1 EXEC"));
}
