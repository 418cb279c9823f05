//! What is hard for whoever shares connections, one scene each: capabilities of the login, schemas that go away, definitions that
//! change, character sets that hide text, settings of which one fails.

use super::*;

/// Collation id of gbk_chinese_ci.
const GBK: u8 = 28;

/// Each of these clients in turn says the same, on a connection that the one before has just used.
fn in_turn(shapes: &[Shape], statements: &[&str]) -> Vec<(usize, Op)> {
    let arrivals = shapes.iter().enumerate();
    let mut scene: Vec<_> = arrivals
        .map(|(client, shape)| (client, Op::Reconnect(*shape)))
        .collect();
    for sql in statements {
        scene.extend((0..shapes.len()).map(|client| (client, Op::sql(*sql))));
    }
    scene
}

const fn with(flag: Capabilities) -> Shape {
    Shape {
        capabilities: SHAPE.capabilities.union(flag),
        ..SHAPE
    }
}

const fn speaking(collation: u8) -> Shape {
    Shape { collation, ..SHAPE }
}

/// Client 0 alone, who leaves at the end; then client 1 looks around.
fn alone(statements: &[&str]) -> Vec<(usize, Op)> {
    let mut scene = vec![(0, Op::Reconnect(SHAPE))];
    scene.extend(says(0, statements));
    scene.extend([(0, Op::Reconnect(SHAPE)), (1, Op::Reconnect(SHAPE))]);
    let look = "SELECT DATABASE(), @@autocommit, @@sql_mode, @@time_zone, @@collation_connection, @@transaction_isolation";
    scene.extend(says(1, &[look]));
    scene
}

fn prepare(slot: usize, sql: &str) -> Op {
    Op::Prepare {
        slot,
        sql: sql.to_owned(),
    }
}

fn execute(slot: usize, params: Vec<Param>, types: bool) -> Op {
    Op::Execute {
        slot,
        params,
        types,
        cursor: false,
    }
}

/// A statement that both clients have prepared, while definitions change beneath it.
fn definitions_change() -> Vec<(usize, Op)> {
    let run = |slot| execute(slot, Vec::new(), true);
    let mut scene = Vec::new();
    for client in [0, 1] {
        let sql = "SELECT * FROM changing ORDER BY id";
        scene.extend([Op::Reconnect(SHAPE), prepare(0, sql), run(0)].map(|op| (client, op)));
    }
    for change in [
        "ALTER TABLE changing ADD COLUMN more INT DEFAULT 5",
        "ALTER TABLE changing MODIFY n VARCHAR(20)",
        "ALTER TABLE changing DROP COLUMN more",
        "DROP TABLE changing",
        "CREATE TABLE changing (id INT, n DATE)",
    ] {
        scene.extend(says(1, &[change]));
        for client in [0, 1] {
            scene.extend([(client, run(0)), (client, Op::StmtReset { slot: 0 })]);
        }
    }
    // a close has no answer: what follows must get its own
    scene.extend([
        (0, Op::StmtClose { slot: 0 }),
        (0, prepare(1, "SELECT COUNT(*) FROM changing")),
        (0, run(1)),
        (1, run(0)),
        (0, Op::StmtClose { slot: 1 }),
        (0, Op::Ping),
    ]);
    scene
}

/// A parameter in pieces for one client's statement; another client executes the same text before and after.
fn pieces() -> Vec<(usize, Op)> {
    let long_data = |bytes: &[u8]| Op::LongData {
        slot: 0,
        param: 0,
        bytes: bytes.to_vec(),
    };
    let run = |first, types| execute(0, vec![first, Param::Int(2)], types);
    let text = |text: &[u8]| Param::Text(text.to_vec());
    let mut scene = Vec::new();
    for client in [0, 1] {
        let sql = "SELECT CONCAT('<', ?, '>'), ? + 1";
        scene.extend([(client, Op::Reconnect(SHAPE)), (client, prepare(0, sql))]);
    }
    for end in [run(Param::Long, true), Op::StmtReset { slot: 0 }] {
        scene.extend([
            (1, run(text(b"other"), true)),
            (0, long_data(b"lamp")),
            (0, long_data(b"lighter")),
            (0, end),
            (1, run(text(b"again"), false)),
            (0, run(text(b"own"), true)),
            (0, run(text(b"without types"), false)),
        ]);
    }
    scene
}

/// Statements mean the schema in which they were prepared, whatever schema is used when they are executed.
fn another_schema() -> Vec<(usize, Op)> {
    let schema = |name: &str| Op::InitDb(name.to_owned());
    let long_data = Op::LongData {
        slot: 0,
        param: 0,
        bytes: b"1".to_vec(),
    };
    let mut scene = Vec::new();
    for client in [0, 1] {
        let sql = "SELECT v FROM kv WHERE id = ?";
        let arrives = [Op::Reconnect(SHAPE), schema("app"), prepare(0, sql)];
        scene.extend(arrives.map(|op| (client, op)));
    }
    for name in ["test", "app", "test"] {
        for param in [
            Param::Int(7),
            Param::Text(b"x".to_vec()),
            Param::Double(1.5),
        ] {
            scene.extend([(0, schema(name)), (0, execute(0, vec![param], true))]);
        }
        scene.extend([
            (0, long_data.clone()),
            (0, execute(0, vec![Param::Long], true)),
            (0, Op::sql("SELECT DATABASE(), v FROM kv WHERE id = 1")),
        ]);
    }
    // the server reports a change of session state there, so the client keeps its connection
    scene.push((0, Op::Reconnect(SHAPE)));
    scene.push((1, execute(0, vec![Param::Int(1)], true)));
    scene
}

/// Somebody else's number is on the connection on which an XA transaction begins.
fn insert_id_in_xa() -> Vec<(usize, Op)> {
    let mut scene = vec![(0, Op::Reconnect(SHAPE)), (1, Op::Reconnect(SHAPE))];
    for (client, sql) in [
        (0, "SELECT LAST_INSERT_ID(77)"),
        (0, "SELECT 1"),
        (1, "SELECT LAST_INSERT_ID(5)"),
        (1, "SELECT 1"),
        (0, "XA START 'one'"),
        (0, "SELECT LAST_INSERT_ID() + 0"),
        (0, "XA END 'one'"),
        (0, "XA ROLLBACK 'one'"),
        (0, "SELECT @@last_insert_id, @@identity"),
        (1, "SELECT LAST_INSERT_ID() + 0"),
    ] {
        scene.push((client, Op::sql(sql)));
    }
    scene
}

/// One client's statements each, played alone.
const ALONE: [(&str, &[&str]); 6] = [
    (
        "a schema that is gone",
        &[
            "CREATE DATABASE going",
            "USE going",
            "CREATE TABLE t (a INT)",
            "DROP DATABASE going",
            "SELECT DATABASE()",
            "SELECT * FROM t",
            "USE app",
            "SELECT COUNT(*) FROM kv",
        ],
    ),
    (
        "settings of which one fails",
        &[
            "SET time_zone = '+01:00', sql_mode = 'NONSENSE'",
            "SELECT @@time_zone, @@sql_mode",
            "SET time_zone = '+02:00', sql_mode = 'ANSI_QUOTES'",
            "SELECT @@time_zone, @@sql_mode",
            "SET sql_mode = DEFAULT, time_zone = @@global.time_zone",
            "SELECT @@time_zone, @@sql_mode",
            "SET PERSIST sort_buffer_size = 300000",
            "SET GLOBAL sort_buffer_size = 300000",
            "SET PASSWORD FOR nobody = 'x'",
        ],
    ),
    (
        "character sets in one order and the other",
        &[
            "SET NAMES latin1",
            "SET collation_connection = utf8mb4_bin",
            "SELECT @@collation_connection, @@character_set_client, @@character_set_connection",
            "SET collation_connection = utf8mb4_bin",
            "SET NAMES latin1",
            "SELECT @@collation_connection, @@character_set_client, @@character_set_connection",
            "SET CHARACTER SET latin1",
            "SELECT @@collation_connection, @@character_set_client, @@character_set_connection",
        ],
    ),
    (
        "autocommit off",
        &[
            "SET autocommit = 0",
            "SELECT 1",
            "UPDATE kv SET v = 'gone' WHERE id = 1",
            "INSERT INTO kv VALUES (1, 'duplicate')",
            "ROLLBACK",
            "SELECT v FROM kv WHERE id = 1",
            "SET autocommit = 1",
        ],
    ),
    (
        "what ends a transaction and what does not",
        &[
            "BEGIN",
            "INSERT INTO kv VALUES (1, 'duplicate')",
            "SELECT * FROM nowhere",
            "SELECT v FROM kv WHERE id = 1",
            "CREATE TABLE implicit (a INT)",
            "ROLLBACK",
            "START TRANSACTION READ ONLY",
            "UPDATE kv SET v = 'x' WHERE id = 1",
            "COMMIT",
            "DROP TABLE implicit",
        ],
    ),
    (
        "the next transaction alone",
        &[
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY",
            "SELECT @@transaction_isolation",
            "BEGIN",
            "UPDATE kv SET v = 'x' WHERE id = 1",
            "COMMIT",
            "BEGIN",
            "UPDATE kv SET v = v WHERE id = 1",
            "COMMIT",
        ],
    ),
];

/// Bytes that mean one thing in gbk and another one in latin1: 0xBF5C is a character there, so the quote behind it ends the string;
/// here the backslash takes the quote in.
const HIDDEN: [&[u8]; 3] = [
    b"SELECT '\xBF\x5C', LAST_INSERT_ID(), '0'",
    b"SELECT '\xBF\x5C' , 1 -- '",
    b"SELECT HEX('\xBF\x5C\x5C''')",
];

fn hidden_text() -> Vec<(usize, Op)> {
    let shapes = [GBK, 8].map(speaking);
    let mut scene = in_turn(&shapes, &[]);
    for text in HIDDEN {
        let sql = Op::Query(text.to_vec());
        // what could not be read keeps its connection
        scene.extend([(1, sql.clone()), (0, sql), (0, Op::Reconnect(shapes[0]))]);
    }
    scene
}

#[test]
fn what_is_hard_for_a_pool_is_answered_as_by_a_server() {
    let stage = Stage::open(&format!(
        "CREATE TABLE app.changing (id INT PRIMARY KEY, n INT); INSERT INTO app.changing VALUES (1, 1), (2, NULL);
         CREATE TABLE test.kv (id INT PRIMARY KEY, v VARCHAR(20)); INSERT INTO test.kv VALUES (1, 'of test');
         GRANT ALL ON going.* TO {}@'%';",
        APP.0
    ));
    let flagged = [
        with(Capabilities::CLIENT_FOUND_ROWS),
        SHAPE,
        with(Capabilities::CLIENT_IGNORE_SPACE),
        OLD_SHAPE,
    ];
    let asked = [
        "UPDATE kv SET v = v WHERE id <= 3",
        "SELECT COUNT (*) FROM kv",
        "SELECT ROW_COUNT()",
        "SELECT id FROM kv ORDER BY id LIMIT 2",
    ];
    stage.play("capabilities", &in_turn(&flagged, &asked));
    for shape in [with(Capabilities::CLIENT_MULTI_STATEMENTS), SHAPE] {
        let scene = in_turn(&[shape], &["SELECT 1; SELECT 2", "SELECT 3"]);
        stage.play("several statements", &scene);
    }
    let collations = [UTF8MB4_0900, 45, 8, 63, 224].map(speaking);
    let shown = ["SELECT 'h\u{e9}', @@collation_connection, @@character_set_results"];
    stage.play("character sets", &in_turn(&collations, &shown));
    stage.play("text that is hidden", &hidden_text());
    for (name, statements) in ALONE {
        stage.play(name, &alone(statements));
    }
    stage.play("another schema", &another_schema());
    stage.play("an insert id in XA", &insert_id_in_xa());
    stage.play("definitions that change", &definitions_change());
    stage.play("pieces of a parameter", &pieces());
}
