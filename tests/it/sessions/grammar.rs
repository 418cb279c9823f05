//! The statements of random sessions: each with what it may keep a server connection for. `light` sessions use only those that keep
//! nothing, so that every statement of every client runs on a connection another client has just used.

use super::generate::Dice;
use super::steps::Op;

/// How long a server connection may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Keeps {
    /// Until COMMIT or ROLLBACK.
    Transaction,
    /// Until the session is made anew.
    Life,
}

use Keeps::{Life, Transaction};

/// What any prepared statement keeps its connection for.
pub(crate) const PREPARED_KEEPS: Option<Keeps> = Some(Life);

/// A client of one session; what is named after it cannot be in another's way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) client: usize,
    pub(crate) session: u64,
}

/// A client's schema.
pub(crate) fn schema(client: usize) -> String {
    format!("f{client}")
}

/// Another one it may use.
pub(crate) fn second_schema(client: usize) -> String {
    format!("f{client}b")
}

/// What makes a client's schemas; the same text on both sides.
pub(crate) fn setup(client: usize) -> String {
    let (one, two) = (schema(client), second_schema(client));
    let tables: String = [&one, &two]
        .iter()
        .map(|name| {
            format!(
                "DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}; USE {name};
                CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, n INT, s VARCHAR(60), UNIQUE KEY n (n));
                INSERT INTO t (n, s) VALUES (1, 'one {name}'), (2, 'two {name}'), (3, NULL), (4, 'v\u{e9}l\u{2603}');
                CREATE TABLE u (id INT PRIMARY KEY, d DECIMAL(10,2), b VARBINARY(20), w DATETIME(3), j JSON);
                INSERT INTO u VALUES (1, 1.5, x'00FF27', '2024-02-29 12:00:00.125', '[1,2]'), (2, NULL, NULL, NULL, NULL);"
            )
        })
        .collect();
    format!(
        "{tables} USE {one};
        CREATE VIEW w AS SELECT n, s FROM t WHERE n > 1;
        CREATE FUNCTION twice(x INT) RETURNS INT DETERMINISTIC RETURN x * 2;
        CREATE FUNCTION marks(x INT) RETURNS INT DETERMINISTIC NO SQL BEGIN SET @marked = x; RETURN x; END;
        CREATE PROCEDURE two() BEGIN SELECT 'first' AS a; SELECT n FROM t ORDER BY n LIMIT 2; END;
        CREATE PROCEDURE fails() BEGIN SELECT 1; SELECT * FROM nowhere; END;
        CREATE PROCEDURE warns() BEGIN SIGNAL SQLSTATE '01000' SET MESSAGE_TEXT = 'mind'; END;
        CREATE PROCEDURE sets() BEGIN SET @by_call = 7; SET SESSION group_concat_max_len = 2000; CREATE TEMPORARY TABLE IF NOT EXISTS tmp2 (a INT); END;
        CREATE PROCEDURE writes() BEGIN INSERT INTO t (s) VALUES ('by call'); SELECT LAST_INSERT_ID(); END;
        CREATE PROCEDURE opens() BEGIN START TRANSACTION; INSERT INTO t (s) VALUES ('open'); END;
        CREATE PROCEDURE gives(IN x INT, OUT y INT) BEGIN SET y = x + 1; END;"
    )
}

/// Statements that leave nothing behind, in a session that has nothing.
const LIGHT: &[&str] = &[
    "SELECT id, n, s FROM t ORDER BY id LIMIT 3",
    "SELECT COUNT(*), MAX(n) FROM t",
    "SELECT 'literal', 1, 1.5, NULL, x'00FF'",
    "SELECT * FROM u ORDER BY id",
    "SELECT 'ROW_COUNT() FOUND_ROWS() GET_LOCK(''x'', 1)' AS `LAST_INSERT_ID()`",
    "/* leading */ SELECT 1 -- trailing",
    "SELECT /*! STRAIGHT_JOIN */ n FROM t ORDER BY n LIMIT 1",
    "SELECT /*+ MAX_EXECUTION_TIME(60000) */ n FROM t ORDER BY n LIMIT 1",
    "# only a comment",
    "",
    ";",
    "(SELECT 1) UNION ALL (SELECT 2) ORDER BY 1",
    "WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 300) SELECT n, REPEAT('x', n) FROM s",
    "TABLE t ORDER BY id LIMIT 1",
    "VALUES ROW(1, 'a'), ROW(2, 'b')",
    "SELECT n FROM w ORDER BY n",
    "SELECT DATABASE(), SCHEMA(), CURRENT_USER()",
    "SELECT @@sql_mode, @@time_zone, @@autocommit, @@character_set_results",
    "SELECT @@session.transaction_isolation, @@global.max_allowed_packet > 0",
    "SHOW TABLES",
    "SHOW COLUMNS FROM t",
    "SHOW CREATE TABLE u",
    "SHOW VARIABLES LIKE 'character_set_c%'",
    "DESCRIBE u",
    "EXPLAIN SELECT 1",
    "DO 1",
    "DO 1, 2 + 3",
    "SELECT 1/0",
    "SELECT CAST('12abc' AS SIGNED), CAST('x' AS SIGNED)",
    "SELECT * FROM nowhere",
    "SELECT nothing FROM t",
    "UPDATE t SET s = 'updated' WHERE n = 2",
    "UPDATE t SET s = s WHERE n <= 3",
    "UPDATE t SET n = 1 WHERE n = 2",
    "UPDATE t SET n = 'abc' WHERE n = 1",
    "DELETE FROM t WHERE n = 77",
    "DELETE FROM t WHERE n > 6 ORDER BY n LIMIT 1",
    "INSERT INTO u (id, d) VALUES (7, 1.234)",
    "INSERT IGNORE INTO u (id, d) VALUES (1, 1), (8, 2), (9, 12345678901)",
    "INSERT INTO u (id) VALUES (1) ON DUPLICATE KEY UPDATE d = d + 1",
    "REPLACE INTO u (id, d) VALUES (2, 3.5)",
    "DELETE FROM u WHERE id > 2",
    "CREATE TABLE IF NOT EXISTS made (a INT)",
    "CREATE TABLE made (a INT)",
    "DROP TABLE IF EXISTS made",
    "ALTER TABLE t COMMENT 'again'",
    "TRUNCATE TABLE u",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT nothing",
    "SELECT HEX('\u{e9}'), '\u{e9}', LENGTH('\u{2603}')",
    "SELECT _latin1 x'E9', CHARSET('a'), COLLATION('a')",
    "SELECT 'a' 'b', \"quoted\", 'it''s', 'back\\\\slash'",
    "SELECT SLEEP(0)",
    "SELECT BENCHMARK(1, 1)",
    "SELECT n, COUNT(*) FROM t GROUP BY n WITH ROLLUP HAVING n IS NULL OR n < 3 ORDER BY n",
    "SELECT GROUP_CONCAT(n ORDER BY n) FROM t",
    "SELECT STR_TO_DATE('2024-13-45', '%Y-%m-%d')",
    "SELECT SQL_NO_CACHE 1",
    "KILL 4294967290",
    "SHOW GRANTS FOR nobody",
    "SELECT JSON_EXTRACT(j, '$[0]') FROM u ORDER BY id",
    "SELECT n FROM t ORDER BY n LIMIT 1 FOR UPDATE",
    "SELECT n FROM t ORDER BY n LIMIT 1 LOCK IN SHARE MODE",
    "SELECT REPEAT('long ', 5000)",
];

/// SETs whose effect can be carried from connection to connection.
const CARRIED: &[&str] = &[
    "SET NAMES utf8mb4",
    "SET NAMES latin1",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET SESSION sql_mode = 'NO_ENGINE_SUBSTITUTION'",
    "SET sql_mode = ''",
    "SET SESSION sql_mode = 'ANSI_QUOTES'",
    "SET sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES'",
    "SET time_zone = '+05:30'",
    "SET @@session.group_concat_max_len = 100",
    "SET SESSION sort_buffer_size = 300000",
    "SET foreign_key_checks = 0",
    "SET SESSION lc_time_names = 'de_DE'",
    "SET max_execution_time = 50000, SESSION div_precision_increment = 6",
];

/// Statements that may keep their connection.
const HEAVY: &[(&str, Keeps)] = &[
    // kept though nothing is left behind: an error in the text
    ("SET GLOBAL max_connections = 1", Life),
    ("SHOW FULL COLUMNS FROM nowhere", Life),
    ("LOCK TABLES nowhere READ", Life),
    ("CALL nosuch()", Life),
    ("SELEC 1", Life),
    ("SELECT 'unterminated", Life),
    ("SELECT 1 /* unterminated", Life),
    ("BEGIN", Transaction),
    ("START TRANSACTION", Transaction),
    ("START TRANSACTION READ ONLY", Transaction),
    ("START TRANSACTION WITH CONSISTENT SNAPSHOT", Transaction),
    ("BEGIN /* and savepoint */; SAVEPOINT a", Life),
    ("SAVEPOINT a", Transaction),
    ("ROLLBACK TO SAVEPOINT a", Transaction),
    ("RELEASE SAVEPOINT a", Transaction),
    ("COMMIT AND CHAIN", Transaction),
    ("ROLLBACK AND CHAIN", Transaction),
    ("INSERT INTO t (s) VALUES ('generated')", Life),
    ("INSERT INTO t (s) VALUES ('three'), ('at'), ('once')", Life),
    ("INSERT INTO t (n, s) VALUES (1, 'duplicate')", Life),
    (
        "INSERT IGNORE INTO t (n, s) VALUES (1, 'duplicate'), (NULL, 'not')",
        Life,
    ),
    (
        "INSERT INTO t (n, s) VALUES (2, 'd') ON DUPLICATE KEY UPDATE id = LAST_INSERT_ID(id), s = 'd'",
        Life,
    ),
    ("INSERT INTO t (id, n) VALUES (500, 500)", Life),
    (
        "INSERT INTO t (s) SELECT CONCAT(s, '!') FROM w ORDER BY n LIMIT 2",
        Life,
    ),
    ("REPLACE INTO t (n, s) VALUES (4, 'replaced')", Life),
    ("UPDATE t SET n = LAST_INSERT_ID(n + 100) WHERE n = 4", Life),
    ("SELECT LAST_INSERT_ID(77)", Life),
    ("INSERT INTO u (id) VALUES (LAST_INSERT_ID() + 1000)", Life),
    ("SET autocommit = 0", Life),
    ("SET autocommit = 1", Life),
    ("SET @@autocommit = OFF", Life),
    ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", Life),
    ("SET TRANSACTION READ ONLY", Life),
    ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", Life),
    ("SET SESSION transaction_isolation = 'READ-COMMITTED'", Life),
    ("SET SESSION TRANSACTION READ ONLY", Life),
    ("SET CHARACTER SET latin1", Life),
    ("SET NAMES DEFAULT", Life),
    ("SET NAMES gbk", Life),
    ("SET NAMES 'utf8mb3'", Life),
    ("SET character_set_results = NULL", Life),
    ("SET character_set_results = latin1", Life),
    ("SET collation_connection = utf8mb4_bin", Life),
    ("SET SESSION sql_mode = DEFAULT", Life),
    ("SET sql_mode = @@global.sql_mode", Life),
    (
        "SET SESSION sql_mode = CONCAT(@@sql_mode, ',PIPES_AS_CONCAT')",
        Life,
    ),
    ("SET sort_buffer_size = 400000, nosuch = 1", Life),
    ("SET time_zone = 'Nowhere/Land'", Life),
    ("SET @a = 1, @b := 'text'", Life),
    ("SET @a = @a + 1", Life),
    ("SELECT @a, @b, @unset", Life),
    ("SELECT @a := 5", Life),
    ("SELECT n INTO @a FROM t ORDER BY n LIMIT 1", Life),
    ("SELECT COUNT(*) FROM t INTO @b", Life),
    ("SET timestamp = 1000000000", Life),
    ("SET timestamp = 1000000000, time_zone = '+00:00'", Life),
    ("SET insert_id = 900", Life),
    ("SET sql_notes = 0", Life),
    ("SET sql_warnings = 1", Life),
    ("SET last_insert_id = 12", Life),
    ("SET SESSION sql_safe_updates = 1", Life),
    ("SET sql_select_limit = 2", Life),
    ("SET sql_select_limit = DEFAULT", Life),
    ("CREATE TEMPORARY TABLE tmp (a INT)", Life),
    (
        "CREATE TEMPORARY TABLE IF NOT EXISTS tmp SELECT n FROM t",
        Life,
    ),
    ("INSERT INTO tmp VALUES (1), (2)", Life),
    ("SELECT * FROM tmp", Life),
    ("SELECT * FROM tmp2", Life),
    ("DROP TEMPORARY TABLE IF EXISTS tmp", Life),
    ("DROP TABLE tmp", Life),
    ("CREATE TEMPORARY TABLE t (shadow INT)", Life),
    ("SELECT GET_LOCK('@own', 0)", Life),
    ("SELECT RELEASE_LOCK('@own')", Life),
    ("DO RELEASE_ALL_LOCKS()", Life),
    (
        "SELECT IS_FREE_LOCK('@own'), IS_USED_LOCK('@own') IS NULL",
        Life,
    ),
    ("LOCK TABLES t WRITE", Life),
    ("LOCK TABLES t READ, u WRITE", Life),
    ("UNLOCK TABLES", Life),
    ("FLUSH TABLES t", Life),
    ("HANDLER t OPEN", Life),
    ("HANDLER t READ FIRST", Life),
    ("HANDLER t CLOSE", Life),
    (
        "PREPARE p FROM 'SELECT ? + 1, n FROM t ORDER BY n LIMIT 1'",
        Life,
    ),
    ("EXECUTE p USING @a", Life),
    ("EXECUTE p", Life),
    ("DEALLOCATE PREPARE p", Life),
    ("PREPARE broken FROM 'SELEC'", Life),
    ("CALL two()", Life),
    ("CALL fails()", Life),
    ("CALL warns()", Life),
    ("CALL sets()", Life),
    ("CALL writes()", Life),
    ("CALL opens()", Life),
    ("CALL gives(4, @a)", Life),
    ("SELECT twice(21)", Life),
    ("SELECT twice(n) FROM t WHERE n = 2", Life),
    ("SELECT marks(3)", Life),
    ("SELECT @marked, @by_call", Life),
    ("SELECT 1; SELECT 2", Life),
    ("SELECT 1; SELECT * FROM nowhere; SELECT 3", Life),
    (
        "INSERT INTO t (s) VALUES ('m'); SELECT LAST_INSERT_ID(); UPDATE t SET s = 'n' WHERE n = 1",
        Life,
    ),
    ("SET @x = 9; SELECT @x;", Life),
    (
        "CREATE TABLE multi (a INT); INSERT INTO multi VALUES (1); DROP TABLE multi",
        Life,
    ),
    ("XA START '@own'", Life),
    ("XA END '@own'", Life),
    ("XA PREPARE '@own'", Life),
    ("XA ROLLBACK '@own'", Life),
    ("XA COMMIT '@own' ONE PHASE", Life),
    ("USE @second", Life),
    ("USE nowhere", Life),
    ("USE @first", Life),
    ("DROP DATABASE IF EXISTS @scrap", Life),
    ("CREATE DATABASE @scrap", Life),
    ("USE @scrap", Life),
    (
        "SELECT SQL_CALC_FOUND_ROWS n FROM t ORDER BY n LIMIT 2",
        Life,
    ),
    ("SET ROLE NONE", Life),
    ("SET PASSWORD = 'x' RETAIN NOTHING", Life),
    ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'own'", Life),
    ("GET DIAGNOSTICS @n = NUMBER", Life),
    (
        "GET DIAGNOSTICS CONDITION 1 @c = MYSQL_ERRNO, @m = MESSAGE_TEXT",
        Life,
    ),
    ("SELECT @n, @c, @m", Life),
    ("LOAD DATA LOCAL INFILE '/nowhere' INTO TABLE u", Life),
    ("ANALYZE TABLE u", Life),
    ("CHECK TABLE u", Life),
    ("BEGIN; INSERT INTO u (id) VALUES (70); COMMIT", Life),
    ("SELECT 1 INTO OUTFILE '/nowhere/at/all'", Life),
    ("BINLOG 'x'", Life),
    ("FLUSH STATUS", Life),
    ("SHOW ENGINES NONSENSE", Life),
];

/// Questions about the statement before.
const QUESTIONS: &[(&str, Option<Keeps>)] = &[
    ("SHOW WARNINGS", None),
    ("SHOW ERRORS", None),
    ("SHOW WARNINGS LIMIT 1", None),
    ("SHOW COUNT(*) WARNINGS", None),
    ("SHOW COUNT(*) ERRORS", None),
    ("SELECT @@warning_count, @@error_count", None),
    ("SELECT @@warning_count", None),
    ("SELECT ROW_COUNT()", None),
    ("select row_count() as changed", None),
    ("SELECT FOUND_ROWS()", None),
    ("SELECT ROW_COUNT(), FOUND_ROWS()", None),
    ("SELECT 1 + ROW_COUNT()", None),
    ("SELECT IF(FOUND_ROWS() > 1, 'many', 'few')", None),
    ("SELECT LAST_INSERT_ID()", None),
    ("SELECT @@last_insert_id, @@identity", None),
    ("SELECT LAST_INSERT_ID() + 0", Some(Life)),
    ("SELECT ROW_COUNT() INTO @r", Some(Life)),
];

/// Prepared statements: text, parameters, what they keep beside.
pub(crate) const PREPARED: &[(&str, usize, Option<Keeps>)] = &[
    ("SELECT ?", 1, None),
    ("SELECT ?, ? + 1, n FROM t WHERE n > ? ORDER BY n", 3, None),
    ("SELECT id, n, s FROM t ORDER BY id", 0, None),
    ("SELECT * FROM u ORDER BY id", 0, None),
    ("UPDATE t SET s = ? WHERE n = 1", 1, None),
    ("INSERT INTO t (s) VALUES (?)", 1, Some(Life)),
    ("INSERT INTO u (id) VALUES (?)", 1, None),
    ("DELETE FROM u WHERE id = ?", 1, None),
    ("SELECT * FROM nowhere WHERE a = ?", 1, None),
    ("SELEC ?", 1, None),
    ("SELECT 1; SELECT 2", 0, None),
    ("CALL two()", 0, Some(Life)),
    ("CALL gives(?, ?)", 2, Some(Life)),
    ("SET @a = ?", 1, Some(Life)),
    ("BEGIN", 0, Some(Life)),
    ("COMMIT", 0, None),
    ("SHOW TABLES", 0, None),
    (
        "SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID()",
        0,
        None,
    ),
    ("SHOW WARNINGS", 0, None),
    (
        "SELECT SQL_CALC_FOUND_ROWS n FROM t ORDER BY n LIMIT 1",
        0,
        None,
    ),
    ("DO ?", 1, None),
    ("SELECT * FROM made", 0, None),
    ("SELECT CAST(? AS SIGNED), 1/0", 1, None),
    ("CREATE TEMPORARY TABLE tmp (a INT)", 0, Some(Life)),
    ("SET NAMES latin1", 0, Some(Life)),
    ("USE nowhere", 0, None),
];

/// A statement, and what it may keep.
pub(crate) fn statement(dice: &mut Dice, who: Who, light: bool) -> (Op, Option<Keeps>) {
    if light || dice.percent(45) {
        let text = if dice.percent(12) {
            dice.pick(CARRIED)
        } else {
            dice.pick(LIGHT)
        };
        return (fill(text, who), None);
    }
    let (text, keeps) = HEAVY[dice.below(HEAVY.len())];
    (fill(text, who), Some(keeps))
}

/// A question about the statement before, and what it may keep.
pub(crate) fn question(dice: &mut Dice) -> (Op, Option<Keeps>) {
    let (text, keeps) = QUESTIONS[dice.below(QUESTIONS.len())];
    (Op::sql(text), keeps)
}

/// With the client's own names.
fn fill(text: &str, who: Who) -> Op {
    let Who { client, session } = who;
    let text = text
        .replace("@own", &format!("own{client}s{session}"))
        .replace("@first", &schema(client))
        .replace("@second", &second_schema(client))
        .replace("@scrap", &format!("f{client}x"));
    Op::sql(text)
}
