//! The table and where keys are.

use super::*;

#[test]
fn the_table_is_sorted_and_found_in_any_case() {
    let names: Vec<_> = table::COMMANDS.iter().map(|command| command.name).collect();
    assert!(names.is_sorted());
    assert!(names.iter().all(|name| name.len() <= NAME_MAX));
    for command in &table::COMMANDS {
        assert_eq!(find(command.name.to_lowercase().as_bytes()), Some(command));
    }
    assert_eq!(find(b"NOSUCH"), None);
    assert_eq!(find(b"GET\0"), None);
    assert_eq!(find(b""), None);
    assert_eq!(find(&[b'A'; 100]), None);
    assert!(is_of_module(b"JSON.GET") && is_of_module(b"ft.search"));
    assert!(!is_of_module(b".x") && !is_of_module(b"x.") && !is_of_module(b"GET"));
}

fn keys(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut at = 0;
    for word in line.split(' ') {
        arguments.push(at..at + word.len());
        at += word.len() + 1;
    }
    let command = find(&line.as_bytes()[arguments[0].clone()]).expect("a command");
    assert!(command.takes(arguments.len()), "{line}");
    command
        .keys(line.as_bytes(), &arguments)
        .map(|place| {
            String::from_utf8_lossy(&line.as_bytes()[arguments[place].clone()]).into_owned()
        })
        .collect()
}

#[test]
fn keys_are_where_redis_says() {
    for (line, expected) in [
        ("get a", "a"),
        ("set a v EX 10", "a"),
        ("mget a b c", "a b c"),
        ("mset a 1 b 2", "a b"),
        ("rename a b", "a b"),
        ("blpop a b 0", "a b"),
        ("bitop AND d a b", "d a b"),
        ("eval script 2 a b c", "a b"),
        ("eval script 0 a", ""),
        ("eval script nan a", ""),
        ("zunionstore d 2 a b WEIGHTS 1 2", "d a b"),
        ("zunion 2 a b", "a b"),
        ("sintercard 2 a b LIMIT 1", "a b"),
        ("lmpop 1 a LEFT", "a"),
        ("blmpop 0 1 a LEFT", "a"),
        ("xread COUNT 2 STREAMS a b 0 0", "a b"),
        ("xreadgroup GROUP g c STREAMS a >", "a"),
        ("sort a BY x STORE d", "d a"),
        ("georadius a 1 2 3 m STOREDIST d", "d a"),
        ("object ENCODING a", "a"),
        ("memory USAGE a", "a"),
        ("xinfo STREAM a", "a"),
        ("scan 0", ""),
        ("publish channel m", ""),
        ("lcs a b", "a b"),
        ("json", ""),
    ]
    .into_iter()
    .filter(|(line, _)| *line != "json")
    {
        assert_eq!(keys(line).join(" "), expected, "{line}");
    }
}

#[test]
fn dangerous_commands_are_denied_and_connection_state_is_never_multiplexed() {
    for name in [
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG",
        "DEBUG",
        "SHUTDOWN",
        "SAVE",
        "BGSAVE",
        "REPLICAOF",
        "MIGRATE",
        "MODULE",
        "ACL",
        "SWAPDB",
        "CLUSTER",
        "MOVE",
    ] {
        assert_eq!(
            find(name.as_bytes()).unwrap().class,
            Class::Denied,
            "{name}"
        );
    }
    for (line, class) in [
        ("SCRIPT debug SYNC", Class::Never),
        ("SCRIPT LOAD x", Class::Plain),
        ("FUNCTION FLUSH", Class::Denied),
        ("FUNCTION delete l", Class::Denied),
        ("FUNCTION RESTORE x", Class::Denied),
        ("FUNCTION LOAD x", Class::Slow),
        ("GET FLUSH", Class::Plain),
    ] {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let command = called(find(words[0]).unwrap(), words.get(1).copied());
        assert_eq!(command.class, class, "{line}");
    }
    for name in ["MONITOR", "SYNC", "PSYNC", "WAIT", "ASKING", "READONLY"] {
        assert_eq!(find(name.as_bytes()).unwrap().class, Class::Never, "{name}");
    }
    for name in [
        "WATCH",
        "MULTI",
        "SUBSCRIBE",
        "BLPOP",
        "SELECT",
        "AUTH",
        "CLIENT",
        "HELLO",
    ] {
        let class = find(name.as_bytes()).unwrap().class;
        assert!(!matches!(class, Class::Plain | Class::Slow), "{name}");
    }
}
