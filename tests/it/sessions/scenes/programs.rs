//! What a statement leaves as it is, while the connection it runs on has it from somebody else: FOUND_ROWS() and ROW_COUNT() for
//! programs of the server's, and what an endpoint has answered itself in between.

use super::super::player::Player;
use super::super::steps::Op;
use super::{SHAPE, Stage, says, stranger};
use crate::support::mysql::raw::{Param, error_of};

const PROGRAMS: &str = "CREATE PROCEDURE app.nothing(OUT y INT) SET y = 7;
     CREATE PROCEDURE app.asks() SELECT FOUND_ROWS();
     CREATE PROCEDURE app.adds() INSERT INTO app.kv VALUES (950, 'x');
     CREATE DATABASE other; GRANT ALL ON other.* TO app@'%';";

const FOUND_ROWS: &str = "SELECT FOUND_ROWS(), ROW_COUNT()";

/// Leaves three rows found.
const THREE: &str = "SELECT id FROM kv WHERE id <= 3";

pub(super) fn prepare(sql: &str) -> Op {
    Op::Prepare {
        slot: 0,
        sql: sql.to_owned(),
    }
}

fn execute(params: &[Param]) -> Op {
    Op::Execute {
        slot: 0,
        params: params.to_vec(),
        types: true,
        cursor: false,
    }
}

/// A question whose answer has gone with its connection is refused, not answered wrongly.
#[track_caller]
fn expect_refused(player: &mut Player, question: &str) {
    let answer = player.play(&Op::sql(question));
    let code = error_of(&answer).map(|(code, _)| code);
    assert_eq!(code, Some(1235), "{answer:?}");
}

#[test]
fn programs_find_what_their_own_session_left() {
    let stage = Stage::open(PROGRAMS);
    let before: [&[&str]; 7] = [
        &[],
        &["SELECT 1"],
        &["SELECT 1 FROM DUAL WHERE FALSE"],
        &["SELECT id FROM kv WHERE id <= 2"],
        &["UPDATE kv SET v = v WHERE id <= 2"],
        &["SELECT SQL_CALC_FOUND_ROWS id FROM kv WHERE id <= 4 LIMIT 1"],
        &["DELETE FROM kv WHERE id IN (901, 902)", "DO 1"],
    ];
    let out = || execute(&[Param::Null]);
    let programs: [&[Op]; 3] = [
        &[Op::sql("CALL nothing(@y)")],
        &[Op::sql("CALL asks()")],
        &[prepare("CALL nothing(?)"), out(), out()],
    ];
    for before in before {
        for program in programs {
            let mut scene = vec![(0, Op::Reconnect(SHAPE))];
            scene.extend(says(0, before));
            scene.extend(stranger(THREE));
            scene.extend(program.iter().map(|op| (0, op.clone())));
            scene.extend(says(0, &[FOUND_ROWS]));
            stage.play(&format!("{before:?}, {program:?}"), &scene);
        }
    }
}

#[test]
fn what_a_failed_change_counted_no_program_is_thought_to_have_found() {
    let stage = Stage::open(PROGRAMS);
    let mut scene = vec![(0, Op::Reconnect(SHAPE))];
    scene.extend(says(
        0,
        &[
            "SELECT LAST_INSERT_ID()",
            "UPDATE kv SET id = 'abc' WHERE id = 1",
        ],
    ));
    scene.extend(stranger(THREE));
    scene.extend(says(0, &["CALL adds()"]));
    let [_, mut through] = stage.play("a change that failed", &scene);
    expect_refused(&mut through[0], "SELECT FOUND_ROWS()");
}

#[test]
fn found_rows_outlive_the_connection_that_counted_them() {
    let stage = Stage::open("");
    let counts = [
        "UPDATE kv SET v = v WHERE id <= 2",
        "UPDATE kv a JOIN kv b USING (id) SET a.v = a.v WHERE a.id <= 2",
        "SELECT SQL_CALC_FOUND_ROWS id FROM kv WHERE id <= 4 LIMIT 1",
        "SELECT id FROM kv WHERE id <= 4 LIMIT 1 OFFSET 1",
    ];
    // learned from the first client that says it, answered by the endpoint afterwards
    let learned = "SET SESSION sql_mode = ''";
    stage.play(learned, &[(0, Op::Reconnect(SHAPE)), (0, Op::sql(learned))]);
    for count in counts {
        for between in [learned, "EXPLAIN SELECT 1", "SHOW GRANTS", "DO_NOT"] {
            // on a connection that has just counted for this client, and then not
            let mut scene = vec![(0, Op::Reconnect(SHAPE))];
            scene.extend(says(0, &[THREE, count, between]));
            scene.extend(stranger("SELECT 1 UNION SELECT 2"));
            scene.extend(says(0, &[FOUND_ROWS]));
            stage.play(&format!("{count}, {between}"), &scene);
        }
    }
}

#[test]
fn what_the_endpoint_answers_is_not_what_a_kept_connection_tells() {
    let stage = Stage::open(PROGRAMS);
    let unheard = ["SELECT CONNECTION_ID() > 0", "KILL 4294967290"];
    let questions = [
        "SHOW WARNINGS",
        "SHOW COUNT(*) ERRORS",
        "SELECT @@warning_count, @@error_count",
        "GET DIAGNOSTICS @n = NUMBER, @r = ROW_COUNT",
    ];
    for unheard in unheard {
        for question in questions {
            let mut scene = vec![(0, Op::Reconnect(SHAPE))];
            scene.extend(says(
                0,
                &["BEGIN", "SELECT * FROM nowhere", unheard, question],
            ));
            scene.extend(says(0, &["SELECT @n, @r", "ROLLBACK"]));
            stage.play(&format!("{unheard}, {question}"), &scene);
        }
    }
    for begin in ["SELECT 1", "BEGIN"] {
        let mut scene = vec![(0, Op::Reconnect(SHAPE))];
        scene.extend(says(0, &[begin, unheard[0]]));
        scene.extend([(0, Op::InitDb("nowhere".to_owned()))]);
        scene.extend(says(0, &["SHOW WARNINGS"]));
        stage.play(&format!("{begin}, a schema that is not there"), &scene);
    }
    // prepared in one schema, executed in another: a CALL tells of the change before it
    let mut scene = vec![(0, Op::Reconnect(SHAPE)), (0, prepare("CALL nothing(?)"))];
    scene.extend([(0, Op::InitDb("other".to_owned()))]);
    scene.extend(says(0, &["SELECT 1 INTO @a"]));
    scene.extend([(0, execute(&[Param::Null]))]);
    stage.play("a CALL in another schema", &scene);
}

#[test]
fn a_variable_keeps_the_type_of_the_first_execution() {
    let stage = Stage::open("");
    let mut scene = vec![(0, Op::Reconnect(SHAPE)), (0, prepare("SET @a = ?"))];
    for param in [Param::Double(1.5), Param::Text(b"it's".to_vec())] {
        scene.extend([(0, execute(&[param]))]);
        scene.extend(says(0, &["SHOW WARNINGS", "SELECT @a"]));
    }
    stage.play("types", &scene);
}

#[test]
fn a_warning_that_no_reply_told_of_is_not_denied_later() {
    let stage = Stage::open("");
    let mut scene = vec![
        (0, Op::Reconnect(SHAPE)),
        (
            0,
            Op::FieldList {
                table: "kv".to_owned(),
                wildcard: String::new(),
            },
        ),
    ];
    // kept until somebody wants the connection
    scene.extend(stranger("SELECT 1"));
    let [_, mut through] = stage.play("a list of columns", &scene);
    expect_refused(&mut through[0], "SHOW WARNINGS");
}
