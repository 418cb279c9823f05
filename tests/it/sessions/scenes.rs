//! Short scenes, always the same: what a server does after each command, played directly and through an endpoint whose only server
//! connection somebody else has just used. Every packet must be equal.

use lamplighter_wire::mysql::flags::Capabilities;

use super::PATIENT;
use super::differences;
use super::player::{Player, Side};
use super::steps::{Op, Shape};
use crate::endpoint::{Endpoint, Options, start};
use crate::support::mysql::raw::{BASIC, Param, UTF8MB4_0900};
use crate::support::mysql::{APP, Cluster};

mod hard;
mod programs;

const SHAPE: Shape = Shape {
    capabilities: BASIC.union(Capabilities::CLIENT_DEPRECATE_EOF),
    collation: UTF8MB4_0900,
    database: true,
};

/// Does not speak CLIENT_DEPRECATE_EOF: the endpoint makes the EOF packets in front of rows.
const OLD_SHAPE: Shape = Shape {
    capabilities: BASIC,
    ..SHAPE
};

/// Two servers alike, one of them behind an endpoint with one connection to it.
struct Stage {
    _clusters: [Cluster; 2],
    _endpoint: Endpoint,
    sides: [Side; 2],
}

impl Stage {
    fn open(schema: &str) -> Self {
        let cluster = || Cluster::builder().schema(schema).build();
        let (alone, behind) = (cluster(), cluster());
        let options = Options {
            pool: format!("max_server_connections = 1\nwait_timeout = \"20s\"\n{PATIENT}"),
            ..Options::default()
        };
        let endpoint = start(&behind, options);
        endpoint.wait_opened(&behind);
        let side = |address: String, user: &str, password: &str| Side {
            address,
            user: user.to_owned(),
            password: password.to_owned(),
        };
        let direct = side(alone.socket(0).display().to_string(), APP.0, APP.1);
        let through = side(endpoint.socket(), "web", "");
        Self {
            sides: [direct, through],
            _clusters: [alone, behind],
            _endpoint: endpoint,
        }
    }

    /// Plays what each client does, in this order, and compares. Clients are new in each scene; those on both sides are given back.
    #[track_caller]
    fn play(&self, name: &str, scene: &[(usize, Op)]) -> [Vec<Player>; 2] {
        let clients = 1 + scene.iter().map(|(client, _)| *client).max().unwrap_or(0);
        let players = |side: &Side| -> Vec<Player> {
            (0..clients)
                .map(|_| Player::new(side, "app".to_owned()))
                .collect()
        };
        let [mut left, mut right] = [players(&self.sides[0]), players(&self.sides[1])];
        for (at, (client, op)) in scene.iter().enumerate() {
            let mut expected = left[*client].play(op);
            let mut got = right[*client].play(op);
            differences::mask(&mut expected);
            differences::mask(&mut got);
            let sql = left[*client].statement(op);
            assert!(
                expected == got || differences::is_told_as_number(&sql, &expected, &got),
                "{name}, step {at}, client {client}: {op}\n  {}",
                differences::first_difference(&expected, &got)
            );
        }
        [left, right]
    }
}

/// Somebody comes, says something and leaves.
fn stranger(sql: &str) -> [(usize, Op); 3] {
    [
        (1, Op::Reconnect(SHAPE)),
        (1, Op::sql(sql)),
        (1, Op::Reconnect(SHAPE)),
    ]
}

/// One client's statements.
fn says(client: usize, statements: &[&str]) -> Vec<(usize, Op)> {
    let said = statements.iter().map(|sql| (client, Op::sql(*sql)));
    said.collect()
}

#[test]
fn every_command_leaves_behind_what_a_server_leaves_behind() {
    let stage = Stage::open("");
    let warn = [
        "SELECT 1/0, 2/0",
        "SELEC",
        // an error, and before it a warning that something is out of date
        "SELECT SQL_CALC_FOUND_ROWS 1 FROM nowhere",
    ];
    let do_not = [
        "UPDATE kv SET v = v WHERE id <= 3",
        "SELECT id FROM kv WHERE id <= 4",
        "BEGIN",
    ];
    let before = [None].into_iter();
    let before = before.chain(warn.into_iter().chain(do_not).map(Some));
    let execute = Op::Execute {
        slot: 1,
        params: Vec::new(),
        types: true,
        cursor: false,
    };
    let field_list = |table: &str| Op::FieldList {
        table: table.to_owned(),
        wildcard: String::new(),
    };
    let commands = [
        Op::Ping,
        Op::SetOption(0),
        Op::InitDb("app".to_owned()),
        Op::InitDb("nowhere".to_owned()),
        field_list("kv"),
        field_list("nowhere"),
        Op::Statistics,
        Op::StmtReset { slot: 0 },
        Op::StmtReset { slot: 1 },
        Op::Fetch { slot: 0, rows: 1 },
        execute,
        Op::Unknown(0x7A),
        Op::sql("SELECT CONNECTION_ID() > 0"),
        Op::sql("SET time_zone = 'Nowhere/Land'"),
    ];
    let questions = [
        Op::Ping,
        Op::sql("SHOW WARNINGS"),
        Op::sql("SELECT ROW_COUNT(), FOUND_ROWS()"),
        Op::sql("SELECT @@warning_count, @@error_count"),
        Op::InitDb("app".to_owned()),
    ];
    let prepare = programs::prepare("SELECT 7");
    for before in before {
        for command in &commands {
            for question in &questions {
                let mut scene = stranger("SELECT 1/0, 2/0, 3/0").to_vec();
                scene.extend([(0, Op::Reconnect(SHAPE)), (0, prepare.clone())]);
                scene.extend(before.map(|sql| (0, Op::sql(sql))));
                scene.extend([(0, command.clone()), (0, question.clone())]);
                let name = format!("{before:?}, {command}, {question}");
                // an error that no server has seen stands alone there, without what was before it
                let alone = matches!(
                    command,
                    Op::Unknown(_)
                        | Op::Execute { .. }
                        | Op::Fetch { .. }
                        | Op::StmtReset { slot: 1 }
                );
                if !(alone && before.is_some_and(|sql| warn.contains(&sql))) {
                    stage.play(&name, &scene);
                }
            }
        }
    }
}

#[test]
fn the_insert_id_is_the_clients_own_whatever_it_and_others_did() {
    let stage = Stage::open(
        "CREATE TABLE app.numbered (id INT AUTO_INCREMENT PRIMARY KEY, n INT UNIQUE);
         CREATE TABLE app.others (id INT AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 900;",
    );
    let asked = [
        "SELECT LAST_INSERT_ID()",
        "SELECT LAST_INSERT_ID() + 0",
        "SELECT @@identity, @@last_insert_id",
        "SHOW VARIABLES WHERE Variable_name IN ('identity', 'last_insert_id')",
        "SELECT VARIABLE_VALUE FROM performance_schema.session_variables WHERE VARIABLE_NAME = 'identity'",
    ];
    let begins: [&[&str]; 9] = [
        &[],
        &["SET last_insert_id = 12"],
        &["SET @@identity = 13"],
        &["SET `last_insert_id` = 14"],
        &["SELECT LAST_INSERT_ID(15)"],
        &["INSERT INTO numbered (n) VALUES (NULL), (NULL)"],
        // a number that the client gave itself is not LAST_INSERT_ID()
        &["REPLACE INTO numbered (id, n) VALUES (500, 500)"],
        &["SELECT LAST_INSERT_ID(16)", "SELECT 0"],
        &[
            "SELECT LAST_INSERT_ID(17)",
            "SELECT 0",
            "REPLACE INTO numbered (id, n) VALUES (501, 501)",
        ],
    ];
    // what leaves it as it is
    let between: [&[&str]; 6] = [
        &[],
        &["SET time_zone = 'Nowhere/Land'"],
        &["SET @mine = 1"],
        &["INSERT INTO numbered (n) VALUES (500)"],
        &["SET NAMES latin1", "SET NAMES utf8mb4", "SELECT 1"],
        &["SET SESSION sql_mode = ''", "SELECT 1"],
    ];
    let first = "REPLACE INTO numbered (id, n) VALUES (500, 500)";
    stage.play(first, &stranger(first));
    for begin in begins {
        // what SET sets here nobody can carry to another connection
        let stays = begin.iter().any(|sql| sql.starts_with("SET"));
        for between in between {
            for asked in asked {
                let mut scene = stranger("INSERT INTO others VALUES ()").to_vec();
                scene.push((0, Op::Reconnect(SHAPE)));
                scene.extend(says(0, begin));
                // plain reads let go of the connection, for the next one
                scene.extend(says(0, &["SELECT 1"]));
                if !stays {
                    scene.extend([(1, Op::Reconnect(SHAPE)), (1, Op::sql("SET NAMES latin1"))]);
                    scene.extend(says(1, &["SELECT LAST_INSERT_ID() + 0", "SELECT 1"]));
                    scene.push((1, Op::Reconnect(SHAPE)));
                }
                scene.extend(says(0, between));
                scene.extend(says(0, &[asked]));
                stage.play(&format!("{begin:?}, {between:?}, {asked}"), &scene);
            }
        }
    }
}

#[test]
fn what_is_set_ahead_of_a_statement_shows_in_its_packets() {
    let stage = Stage::open("");
    // learned from one client, the next ones set it ahead of their first statement
    for set in [
        "SET autocommit = 0",
        "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'",
    ] {
        let mut scene = vec![(0, Op::Reconnect(OLD_SHAPE)), (0, Op::sql(set))];
        scene.push((0, Op::Reconnect(OLD_SHAPE)));
        for client in [0, 1] {
            scene.push((client, Op::Reconnect(OLD_SHAPE)));
            scene.extend(says(
                client,
                &[
                    set,
                    "SELECT 'one', 2",
                    "SELECT id FROM kv WHERE id < 3",
                    "ROLLBACK",
                ],
            ));
            scene.extend([(client, Op::Ping), (client, Op::Reconnect(OLD_SHAPE))]);
        }
        stage.play(set, &scene);
    }
}

#[test]
fn a_shared_prepared_statement_has_each_clients_own_types() {
    let stage = Stage::open("");
    let prepare = Op::Prepare {
        slot: 0,
        sql: "SELECT ?, ? + 1".to_owned(),
    };
    let execute = |params: [Param; 2], types| Op::Execute {
        slot: 0,
        params: params.to_vec(),
        types,
        cursor: false,
    };
    let doubles = || [Param::Double(1.5), Param::Double(2.25)];
    let numbers = || [Param::Int(7), Param::Int(-8)];
    let texts = || [Param::Text(b"9x".to_vec()), Param::Text(b"10".to_vec())];
    let mut scene = Vec::new();
    for client in 0..3 {
        scene.extend([(client, Op::Reconnect(SHAPE)), (client, prepare.clone())]);
    }
    for types in [true, true, false, false] {
        scene.extend([
            (0, execute(doubles(), types)),
            (1, execute(numbers(), types)),
            (2, execute(texts(), types)),
        ]);
    }
    stage.play("types", &scene);
}
