//! Tests of `sql`: a table of statements, one line each, and what they must be taken for.

use core::hint::black_box;

use proptest::prelude::*;

use super::Traits as T;
use super::*;

mod hints;
mod spelling;

const PLAIN: LexMode = LexMode {
    ansi_quotes: false,
    no_backslash_escapes: false,
};
const ANSI: LexMode = LexMode {
    ansi_quotes: true,
    no_backslash_escapes: false,
};
const NO_ESCAPES: LexMode = LexMode {
    ansi_quotes: false,
    no_backslash_escapes: true,
};
const BEGIN: Kind = Kind::Begin {
    read_only: false,
    consistent_snapshot: false,
};

/// Plain reads: any replica may answer.
#[rustfmt::skip]
const SAFE: &[(&str, Kind)] = &[
    ("SELECT 1", Kind::Select),
    ("select v from t where id = 1", Kind::Select),
    ("  \t\r\n\u{b}\u{c}SELECT 1;  ", Kind::Select),
    ("SELECT 1;;; -- done", Kind::Select),
    ("(SELECT 1) UNION (SELECT 2) ORDER BY 1", Kind::Select),
    ("((SELECT a FROM t))", Kind::Select),
    ("/* a comment */ SELECT 1 # another\n, 2 -- a third", Kind::Select),
    ("SELECT'x'FROM t", Kind::Select),
    ("SELECT COUNT(*), MAX(id), GROUP_CONCAT(DISTINCT a ORDER BY b SEPARATOR ',') FROM t GROUP BY c", Kind::Select),
    ("SELECT count (*) FROM t WHERE a IN (1,2) AND (b OR c) AND NOT (d)", Kind::Select),
    ("SELECT option_name, option_value FROM wp_options WHERE autoload IN ( 'yes', 'on' )", Kind::Select),
    ("SELECT IF(a, b, c), COALESCE(a, b), CASE WHEN (a) THEN (b) ELSE (c) END FROM t", Kind::Select),
    ("SELECT CAST(a AS CHAR(10)), CONVERT(b, DECIMAL(10,2)), CONVERT(c USING utf8mb4) FROM t", Kind::Select),
    ("SELECT * FROM (SELECT 1) AS t (a), LATERAL (SELECT 2) AS u (b)", Kind::Select),
    ("SELECT * FROM t USE INDEX (a) IGNORE INDEX FOR ORDER BY (b) WHERE a BETWEEN (1) AND (2)", Kind::Select),
    ("SELECT RANK() OVER (PARTITION BY a ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t", Kind::Select),
    ("SELECT SUM(a) OVER w FROM t WINDOW w AS (ORDER BY b)", Kind::Select),
    ("SELECT MATCH (title, body) AGAINST ('x' IN BOOLEAN MODE) FROM t", Kind::Select),
    ("SELECT a->'$.x', b->>'$.y', JSON_EXTRACT(c, '$.z') FROM t", Kind::Select),
    ("SELECT jt.* FROM t, JSON_TABLE(d, '$[*]' COLUMNS (id INT PATH '$.id', NESTED PATH '$.n' COLUMNS (n INT PATH '$'))) AS jt", Kind::Select),
    ("SELECT SUBSTRING('abc' FROM 1 FOR 2), TRIM(BOTH 'x' FROM 'xax'), EXTRACT(YEAR FROM NOW())", Kind::Select),
    ("SELECT _utf8mb4'a' COLLATE utf8mb4_bin, N'b', x'4D', 0x4D, b'01', 0b01, 1.5e+3, .5, 1.", Kind::Select),
    ("SELECT DATE_ADD(NOW(), INTERVAL (1) DAY), CURRENT_TIMESTAMP(6), UNIX_TIMESTAMP(), RAND(), UUID()", Kind::Select),
    ("SELECT SLEEP(1)", Kind::Select),
    ("SELECT BENCHMARK(10, MD5('x'))", Kind::Select),
    ("SELECT DATABASE(), VERSION(), USER(), CURRENT_USER()", Kind::Select),
    ("SELECT ST_Distance_Sphere(POINT(1, 2), p) FROM t", Kind::Select),
    ("SELECT `into`, `for update`, `@x`, `get_lock` FROM `t`", Kind::Select),
    ("SELECT t.into, t .for, t.1for, t.1e5for FROM t", Kind::Select),
    ("SELECT 'FOR UPDATE', \"INTO @x\", 'GET_LOCK(1)', '; DELETE FROM t'", Kind::Select),
    ("SELECT 'it''s; DROP TABLE t', 'a\\'; FOR UPDATE', \"\"\"\"", Kind::Select),
    ("SELECT '\\\\' , 1", Kind::Select),
    ("SELECT 1 /* FOR UPDATE */ -- INTO @x\n # ; DELETE\n", Kind::Select),
    ("SELECT 1 --", Kind::Select),
    ("SELECT 5--1", Kind::Select),
    ("SELECT 5 */* x */ 2", Kind::Select),
    ("SELECT /*+ MAX_EXECUTION_TIME(1000) */ a FROM t", Kind::Select),
    ("SELECT SQL_NO_CACHE HIGH_PRIORITY STRAIGHT_JOIN a FROM t", Kind::Select),
    ("SELECT a AS value, b AS share, c AS lock_in FROM t AS forx", Kind::Select),
    ("SELECT email FROM u WHERE email = 'a@b.example'", Kind::Select),
    ("SELECT * FROM t WHERE EXISTS (SELECT 1 FROM u) AND a = ANY (SELECT 2) AND b > ALL (SELECT 3)", Kind::Select),
    ("SELECT * FROM a JOIN b USING (id) LEFT JOIN c ON (c.id = a.id)", Kind::Select),
    ("SELECT REPLACE(a, 'x', 'y'), INSERT(b, 1, 2, 'z'), LEFT(c, 1), MOD(d, 2), REPEAT(e, 2) FROM t", Kind::Select),
    ("SELECT VALUES(a) FROM t", Kind::Select),
    ("SELECT \u{e9}t\u{e9} FROM caf\u{e9}", Kind::Select),
    ("SELECT * FROM t LIMIT ? OFFSET ?", Kind::Select),
    ("WITH a AS (SELECT 1) SELECT * FROM a", Kind::With),
    ("WITH a (x, y) AS (SELECT 1, 2), b AS (SELECT 3) SELECT * FROM a, b", Kind::With),
    ("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n", Kind::With),
    ("WITH a AS (SELECT 1) (SELECT * FROM a)", Kind::With),
    ("(WITH a AS (SELECT 1) SELECT * FROM a)", Kind::With),
    ("TABLE t ORDER BY a LIMIT 1", Kind::Table),
    ("VALUES ROW(1, 2), ROW(3, 4)", Kind::Values),
    ("SHOW TABLES", Kind::Show),
    ("SHOW FULL COLUMNS FROM t LIKE 'a%'", Kind::Show),
    ("SHOW CREATE TABLE t", Kind::Show),
    ("SHOW INDEX FROM t", Kind::Show),
    ("SHOW DATABASES", Kind::Show),
    ("SHOW CHARACTER SET", Kind::Show),
    ("EXPLAIN SELECT * FROM t", Kind::Explain),
    ("EXPLAIN FORMAT=JSON SELECT * FROM t", Kind::Explain),
    ("DESCRIBE t", Kind::Explain),
    ("desc t a", Kind::Explain),
];

/// Reads that belong to the primary or to one connection, and why.
#[rustfmt::skip]
const NOT_SAFE: &[(&str, Kind, &[T])] = &[
    ("SELECT a FROM t FOR UPDATE", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t for/* x */share OF t SKIP LOCKED", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t LOCK IN SHARE MODE", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t WHERE b = 1.FOR UPDATE", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t WHERE b = 1.5for update", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t WHERE b = .5for update", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t WHERE b = 1e5for update", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t WHERE b = 1e-5for update", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t WHERE b = t. for update", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t WHERE b = t . 1e5for update", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT a FROM t WHERE b = 'x'for update", Kind::Select, &[T::LOCKING_READ]),
    ("SELECT (SELECT 1 FROM t FOR UPDATE)", Kind::Select, &[T::LOCKING_READ]),
    ("TABLE t FOR UPDATE", Kind::Table, &[T::LOCKING_READ]),
    ("SELECT a INTO OUTFILE '/tmp/x' FROM t", Kind::Select, &[T::INTO]),
    ("SELECT a FROM t INTO @x", Kind::Select, &[T::INTO, T::USER_VARIABLE]),
    ("TABLE t INTO DUMPFILE '/tmp/x'", Kind::Table, &[T::INTO]),
    ("SELECT @x", Kind::Select, &[T::USER_VARIABLE]),
    ("SELECT 5--@x", Kind::Select, &[T::USER_VARIABLE]),
    ("SELECT@x", Kind::Select, &[T::USER_VARIABLE]),
    ("SELECT @'a b', @`c`, @\"d\"", Kind::Select, &[T::USER_VARIABLE]),
    ("SELECT @x := @x + 1 FROM t", Kind::Select, &[T::USER_VARIABLE, T::ASSIGNMENT]),
    ("SELECT @@version_comment LIMIT 1", Kind::Select, &[T::SESSION_VARIABLE_READ]),
    ("SELECT @@session.sql_mode, @@GLOBAL.read_only", Kind::Select, &[T::SESSION_VARIABLE_READ]),
    ("SELECT @@warning_count", Kind::Select, &[T::SESSION_VARIABLE_READ, T::DIAGNOSTIC_VARIABLE]),
    ("SELECT @@session.error_count", Kind::Select, &[T::SESSION_VARIABLE_READ, T::DIAGNOSTIC_VARIABLE]),
    ("SELECT @@IDENTITY", Kind::Select, &[T::SESSION_VARIABLE_READ, T::IDENTITY]),
    ("SELECT @@last_insert_id", Kind::Select, &[T::SESSION_VARIABLE_READ, T::IDENTITY]),
    ("SET last_insert_id = 5", Kind::SetVariables, &[T::IDENTITY]),
    ("SET SESSION sql_mode = '', @@session.identity = 5", Kind::SetVariables, &[T::IDENTITY]),
    ("SET `last_insert_id` = 5", Kind::SetVariables, &[T::IDENTITY]),
    ("SET @@`last_insert_id` = 5", Kind::SetVariables, &[T::IDENTITY]),
    ("SET @last_insert_id = 5", Kind::SetVariables, &[T::USER_VARIABLE]),
    ("SET time_zone = 'identity'", Kind::SetVariables, &[]),
    ("SELECT @@pseudo_thread_id", Kind::Select, &[T::SESSION_VARIABLE_READ, T::CONNECTION_ID]),
    ("SELECT @@`identity`", Kind::Select, &[T::SESSION_VARIABLE_READ, T::IDENTITY, T::DIAGNOSTIC_VARIABLE, T::CONNECTION_ID]),
    ("SELECT LAST_INSERT_ID()", Kind::Select, &[T::LAST_INSERT_ID]),
    ("SELECT last_insert_id ( id + 1 ) FROM t", Kind::Select, &[T::LAST_INSERT_ID]),
    ("SELECT ROW_COUNT()", Kind::Select, &[T::ROW_COUNT]),
    ("SELECT FOUND_ROWS()", Kind::Select, &[T::FOUND_ROWS]),
    ("SELECT SQL_CALC_FOUND_ROWS a FROM t LIMIT 1", Kind::Select, &[T::SQL_CALC_FOUND_ROWS]),
    ("SELECT CONNECTION_ID()", Kind::Select, &[T::CONNECTION_ID]),
    ("SELECT GET_LOCK('a', 1)", Kind::Select, &[T::LOCK_FUNCTION]),
    ("SELECT get_lock/**/('a', 1)", Kind::Select, &[T::LOCK_FUNCTION]),
    ("SELECT RELEASE_LOCK('a')", Kind::Select, &[T::RELEASE_LOCK_FUNCTION]),
    ("SELECT RELEASE_ALL_LOCKS()", Kind::Select, &[T::RELEASE_LOCK_FUNCTION]),
    ("SELECT IS_FREE_LOCK('a')", Kind::Select, &[T::SERVER_SPECIFIC]),
    ("SELECT WAIT_FOR_EXECUTED_GTID_SET('x:1', 1)", Kind::Select, &[T::SERVER_SPECIFIC]),
    ("SELECT LOAD_FILE('/etc/passwd')", Kind::Select, &[T::SERVER_SPECIFIC]),
    ("SELECT my_function(1)", Kind::Select, &[T::UNKNOWN_FUNCTION]),
    ("SELECT shop.count(1)", Kind::Select, &[T::UNKNOWN_FUNCTION]),
    ("SELECT shop . `f` (1)", Kind::Select, &[T::UNKNOWN_FUNCTION]),
    ("SELECT `count`(1)", Kind::Select, &[T::UNKNOWN_FUNCTION]),
    ("SELECT a FROM t WHERE b = 1 AND f (c)", Kind::Select, &[T::UNKNOWN_FUNCTION]),
    ("SELECT NEXTVAL(s)", Kind::Select, &[T::UNKNOWN_FUNCTION]),
    ("SELECT NEXT VALUE FOR s", Kind::Select, &[T::UNKNOWN_FUNCTION]),
    ("WITH a AS (SELECT f(1)) SELECT * FROM a", Kind::With, &[T::UNKNOWN_FUNCTION]),
    ("SELECT /*! GET_LOCK('a', 1) */", Kind::Select, &[T::EXECUTABLE_COMMENT, T::LOCK_FUNCTION]),
    ("SELECT 1 /*!50000 FOR UPDATE */", Kind::Select, &[T::EXECUTABLE_COMMENT, T::LOCKING_READ]),
    ("SELECT 1 /*!99999 , 2 */", Kind::Select, &[T::EXECUTABLE_COMMENT]),
    ("SELECT 1 /*M!100100 , 2 */", Kind::Select, &[T::EXECUTABLE_COMMENT]),
    ("/*!40000 SELECT */ 1", Kind::Select, &[T::EXECUTABLE_COMMENT]),
    ("SELECT /*!80000 /* inner */ 1 */ , @a", Kind::Select, &[T::EXECUTABLE_COMMENT, T::USER_VARIABLE]),
    ("SELECT /*+ SET_VAR(sql_mode = '') */ 1", Kind::Select, &[T::OPTIMIZER_HINT_SET_VAR]),
    ("SELECT /*+ BKA(t) set_var(sort_buffer_size=1) */ 1", Kind::Select, &[T::OPTIMIZER_HINT_SET_VAR]),
    ("SELECT 1; SELECT 2", Kind::Select, &[T::MULTI_STATEMENT]),
    ("SELECT 1; DELETE FROM t", Kind::Select, &[T::MULTI_STATEMENT]),
    ("; SELECT 1", Kind::Select, &[T::MULTI_STATEMENT]),
    ("SELECT 1; CREATE TEMPORARY TABLE x (a INT)", Kind::Select, &[T::MULTI_STATEMENT, T::TEMPORARY_TABLE]),
    ("SELECT 'open", Kind::Select, &[T::UNTERMINATED]),
    ("SELECT 'open\\'", Kind::Select, &[T::UNTERMINATED]),
    ("SELECT `open", Kind::Select, &[T::UNTERMINATED]),
    ("SELECT 1 /* open", Kind::Select, &[T::UNTERMINATED]),
    ("SELECT 1 /*", Kind::Select, &[T::UNTERMINATED]),
    ("SELECT 1 /*! , 2", Kind::Select, &[T::UNTERMINATED, T::EXECUTABLE_COMMENT]),
    ("SELECT * FROM performance_schema.threads", Kind::Select, &[T::SERVER_SPECIFIC]),
    ("SELECT * FROM `information_schema` . `processlist`", Kind::Select, &[T::SERVER_SPECIFIC]),
    ("SHOW STATUS LIKE 'Uptime'", Kind::Show, &[T::SERVER_SPECIFIC]),
    ("SHOW FULL PROCESSLIST", Kind::Show, &[T::SERVER_SPECIFIC]),
    ("SHOW SESSION VARIABLES", Kind::Show, &[T::SERVER_SPECIFIC, T::IDENTITY]),
    ("SHOW VARIABLES LIKE 'a%'", Kind::Show, &[T::SERVER_SPECIFIC, T::IDENTITY]),
    ("SHOW GLOBAL VARIABLES", Kind::Show, &[T::SERVER_SPECIFIC]),
    ("SHOW SESSION STATUS", Kind::Show, &[T::SERVER_SPECIFIC]),
    ("SELECT * FROM performance_schema.session_variables", Kind::Select, &[T::SERVER_SPECIFIC, T::IDENTITY]),
    ("SELECT * FROM Session_Variables", Kind::Select, &[T::IDENTITY]),
    ("SHOW REPLICA STATUS", Kind::Show, &[T::SERVER_SPECIFIC]),
    ("SHOW GRANTS FOR 'a'@'b'", Kind::Show, &[T::SERVER_SPECIFIC]),
    ("EXPLAIN FOR CONNECTION 5", Kind::Explain, &[T::SERVER_SPECIFIC]),
    ("EXPLAIN ANALYZE UPDATE t SET a = 1", Kind::Explain, &[T::SERVER_SPECIFIC]),
    ("EXPLAIN INTO @x SELECT 1", Kind::Explain, &[T::INTO, T::USER_VARIABLE]),
    ("EXPLAIN SELECT f(1)", Kind::Explain, &[T::UNKNOWN_FUNCTION]),
];

/// Everything else, by kind.
#[rustfmt::skip]
const OTHERS: &[(&str, Kind, &[T])] = &[
    ("", Kind::Empty, &[]),
    (" \n ; ", Kind::Empty, &[]),
    ("-- only a comment", Kind::Empty, &[]),
    ("SHOW WARNINGS", Kind::ShowDiagnostics, &[]),
    ("SHOW ERRORS LIMIT 1", Kind::ShowDiagnostics, &[]),
    ("SHOW COUNT(*) WARNINGS", Kind::ShowDiagnostics, &[]),
    ("INSERT INTO t (a, b) VALUES (1, 'x')", Kind::Insert, &[]),
    ("INSERT t(a) SELECT MAX(b) FROM u", Kind::Insert, &[]),
    ("INSERT IGNORE INTO shop.t (a) VALUES (1) ON DUPLICATE KEY UPDATE a = VALUES(a)", Kind::Insert, &[]),
    ("INSERT INTO t (a) VALUES (f(1))", Kind::Insert, &[T::UNKNOWN_FUNCTION]),
    ("INSERT INTO t SET a = LAST_INSERT_ID()", Kind::Insert, &[T::LAST_INSERT_ID]),
    ("INSERT INTO t (a) VALUES (1) AS new(x) ON DUPLICATE KEY UPDATE a = new.x", Kind::Insert, &[]),
    ("INSERT INTO t (a) SELECT @x", Kind::Insert, &[T::USER_VARIABLE]),
    ("REPLACE INTO t (a) VALUES (1)", Kind::Replace, &[]),
    ("UPDATE t SET a = LAST_INSERT_ID(a + 1)", Kind::Update, &[T::LAST_INSERT_ID]),
    ("UPDATE t SET a = a + 1 WHERE b IN (1, 2)", Kind::Update, &[]),
    ("WITH a AS (SELECT 1) UPDATE t, a SET b = 1", Kind::Update, &[]),
    ("WITH a AS (SELECT 1) DELETE FROM t", Kind::Delete, &[]),
    ("DELETE FROM t WHERE f(a)", Kind::Delete, &[T::UNKNOWN_FUNCTION]),
    ("CREATE TABLE t (a INT, b VARCHAR(10), KEY k (a))", Kind::Ddl, &[]),
    ("CREATE TEMPORARY TABLE t (a INT)", Kind::Ddl, &[T::TEMPORARY_TABLE]),
    ("CREATE OR REPLACE TEMPORARY TABLE t (a INT)", Kind::Ddl, &[T::TEMPORARY_TABLE]),
    ("DROP TEMPORARY TABLE t", Kind::Ddl, &[T::TEMPORARY_TABLE]),
    ("CREATE TABLE t SELECT GET_LOCK('a', 1)", Kind::Ddl, &[T::LOCK_FUNCTION]),
    ("CREATE USER 'a'@'%' IDENTIFIED BY 'x'", Kind::Ddl, &[]),
    ("CREATE DEFINER=`a`@`b` VIEW v AS SELECT 1", Kind::Ddl, &[]),
    ("ALTER TABLE t ADD COLUMN c INT", Kind::Ddl, &[]),
    ("TRUNCATE TABLE t", Kind::Ddl, &[]),
    ("ANALYZE TABLE t", Kind::Ddl, &[]),
    ("BEGIN", BEGIN, &[]),
    ("begin work;", BEGIN, &[]),
    ("BEGIN NOT ATOMIC SELECT 1", Kind::Other, &[]),
    ("START TRANSACTION", BEGIN, &[]),
    ("START TRANSACTION READ WRITE", BEGIN, &[]),
    ("START TRANSACTION READ ONLY", Kind::Begin { read_only: true, consistent_snapshot: false }, &[]),
    ("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY", Kind::Begin { read_only: true, consistent_snapshot: true }, &[]),
    ("START REPLICA", Kind::Other, &[]),
    ("COMMIT", Kind::Commit, &[]),
    ("COMMIT AND CHAIN", Kind::Commit, &[]),
    ("ROLLBACK", Kind::Rollback, &[]),
    ("ROLLBACK WORK TO SAVEPOINT a", Kind::RollbackToSavepoint, &[]),
    ("SAVEPOINT a", Kind::Savepoint, &[]),
    ("RELEASE SAVEPOINT a", Kind::ReleaseSavepoint, &[]),
    ("SET autocommit = 0", Kind::SetVariables, &[]),
    ("SET sql_mode := ''", Kind::SetVariables, &[]),
    ("SET SESSION sql_mode = 'ANSI', time_zone = '+00:00'", Kind::SetVariables, &[]),
    ("SET @@session.sql_mode = CONCAT(@@sql_mode, ',ANSI')", Kind::SetVariables, &[T::SESSION_VARIABLE_READ]),
    ("SET @a = 1", Kind::SetVariables, &[T::USER_VARIABLE]),
    ("SET @a = @b := 2", Kind::SetVariables, &[T::USER_VARIABLE, T::ASSIGNMENT]),
    ("SET `sql_mode` = f(1)", Kind::SetVariables, &[T::UNKNOWN_FUNCTION]),
    ("SET sql_safe_updates=1, GLOBAL max_connections=5", Kind::SetGlobalOrPersist, &[]),
    ("SET x = (1, 2), @@global.y = 3", Kind::SetGlobalOrPersist, &[]),
    ("SET PERSIST max_connections = 5", Kind::SetGlobalOrPersist, &[]),
    ("SET @@persist_only.max_connections = 5", Kind::SetGlobalOrPersist, &[]),
    ("SET x = @@global.x", Kind::SetVariables, &[T::SESSION_VARIABLE_READ]),
    ("SET NAMES utf8mb4 COLLATE 'utf8mb4_bin'", Kind::SetNames, &[]),
    ("SET CHARACTER SET utf8mb4", Kind::SetNames, &[]),
    ("SET NAMES utf8mb4, @a = 1", Kind::SetVariables, &[T::USER_VARIABLE]),
    ("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", Kind::SetTransaction, &[]),
    ("SET SESSION TRANSACTION READ ONLY", Kind::SetSessionTransaction, &[]),
    ("SET LOCAL TRANSACTION READ ONLY", Kind::SetSessionTransaction, &[]),
    ("SET GLOBAL TRANSACTION READ ONLY", Kind::SetGlobalOrPersist, &[]),
    ("SET PASSWORD = 'x'", Kind::SetOther, &[]),
    ("SET ROLE ALL", Kind::SetOther, &[]),
    ("SET DEFAULT ROLE a TO b", Kind::SetOther, &[]),
    ("SET STATEMENT max_statement_time=1 FOR SELECT 1", Kind::SetOther, &[]),
    ("SET", Kind::Other, &[]),
    ("USE shop", Kind::Use, &[]),
    ("CALL p(1, @a)", Kind::Call, &[T::USER_VARIABLE]),
    ("LOCK TABLES t READ", Kind::LockTables, &[]),
    ("LOCK INSTANCE FOR BACKUP", Kind::LockInstance, &[]),
    ("UNLOCK TABLES", Kind::UnlockTables, &[]),
    ("FLUSH TABLES WITH READ LOCK", Kind::Flush, &[]),
    ("PREPARE s FROM 'SELECT 1'", Kind::Prepare, &[]),
    ("EXECUTE s USING @a", Kind::Execute, &[T::USER_VARIABLE]),
    ("DEALLOCATE PREPARE s", Kind::Deallocate, &[]),
    ("DROP PREPARE s", Kind::Deallocate, &[]),
    ("XA START 'a'", Kind::Xa, &[]),
    ("HANDLER t OPEN", Kind::Handler, &[]),
    ("LOAD DATA LOCAL INFILE 'x' INTO TABLE t (a, @b)", Kind::LoadData, &[T::USER_VARIABLE]),
    ("LOAD XML INFILE 'x' INTO TABLE t", Kind::LoadData, &[]),
    ("LOAD INDEX INTO CACHE t", Kind::Other, &[]),
    ("DO RELEASE_LOCK('a')", Kind::Do, &[T::RELEASE_LOCK_FUNCTION]),
    ("DO SLEEP(1)", Kind::Do, &[T::SLEEP]),
    ("KILL QUERY 5", Kind::Kill, &[]),
    ("GET DIAGNOSTICS @a = NUMBER", Kind::GetDiagnostics, &[T::USER_VARIABLE]),
    ("GET CURRENT DIAGNOSTICS CONDITION 1 @a = MESSAGE_TEXT", Kind::GetDiagnostics, &[T::USER_VARIABLE]),
    ("WITH a AS (SELECT 1)", Kind::Other, &[]),
    ("(INSERT INTO t VALUES (1))", Kind::Other, &[]),
    ("'SELECT' 1", Kind::Other, &[]),
    ("SELECTED 1", Kind::Other, &[]),
    ("CHECKSUM TABLE t", Kind::Other, &[]),
    ("{ SELECT 1 }", Kind::Other, &[]),
    ("((", Kind::Other, &[]),
];

fn check(sql: &str, mode: LexMode, kind: Kind, traits: T, safe: bool) {
    let found = classify(sql.as_bytes(), mode);
    assert_eq!((found.kind, found.traits), (kind, traits), "{sql}");
    assert_eq!(found.replica_safe(), safe, "{sql}");
}

fn all(traits: &[T]) -> T {
    traits.iter().fold(T::empty(), |all, one| all | *one)
}

#[test]
fn functions_about_the_session_are_known() {
    for sql in [
        "SELECT DATABASE(), SCHEMA(), CURRENT_USER()",
        "SELECT CHARSET('a'), COLLATION('a')",
        "SELECT USER(), SESSION_USER(), SYSTEM_USER(), VERSION()",
    ] {
        assert_eq!(classify(sql.as_bytes(), PLAIN).traits, T::empty(), "{sql}");
    }
}

#[test]
fn other_tables_are_seen() {
    for (sql, reads) in [
        (
            "UPDATE t SET a = 1, b = 2 WHERE n IN (1, 2) ORDER BY a, b",
            false,
        ),
        ("UPDATE t, u SET a = 1", true),
        ("UPDATE t JOIN u USING (id) SET a = 1", true),
        ("UPDATE t SET a = (SELECT 1)", true),
        ("UPDATE t SET a = 1 WHERE n IN (VALUES ROW(1))", true),
        ("WITH c AS (SELECT 1) UPDATE t SET a = 1", true),
        ("UPDATE t SET a = 'select from table', `with` = 1", false),
        (
            "DELETE FROM t WHERE n IN (1, 2) ORDER BY a, b LIMIT 3",
            false,
        ),
        ("DELETE t, u FROM t JOIN u", true),
        ("DELETE FROM t USING t, u", true),
        (
            "INSERT INTO t (a, b) VALUES (1, 'select'), (2, NULL)",
            false,
        ),
        ("INSERT INTO t PARTITION (p0, p1) SET a = 1, b = 2", false),
        ("INSERT INTO t (a, b) SELECT 1, 2", true),
        ("REPLACE t TABLE u", true),
    ] {
        assert_eq!(reads_other_tables(sql.as_bytes(), PLAIN), reads, "{sql}");
    }
}

#[test]
fn an_offset_is_seen() {
    for (sql, has) in [
        ("SELECT 1 LIMIT 1", false),
        ("SELECT a, b FROM t LIMIT 5", false),
        ("SELECT 1 LIMIT 2, 1", true),
        ("SELECT 1 LIMIT ?, ?", true),
        ("SELECT 1 LIMIT 1 OFFSET 2", true),
        ("SELECT (SELECT 1 LIMIT 1), 2", false),
    ] {
        let found = classify(sql.as_bytes(), PLAIN);
        assert_eq!(found.traits.contains(T::OFFSET), has, "{sql}");
        assert!(found.replica_safe(), "{sql}");
    }
}

#[test]
fn plain_reads() {
    for &(sql, kind) in SAFE {
        let found = classify(sql.as_bytes(), PLAIN);
        assert_eq!(
            (found.kind, found.traits.without(T::SLEEP | T::OFFSET)),
            (kind, T::empty()),
            "{sql}"
        );
        assert!(
            found.replica_safe() && found.replica_safe_if_held(),
            "{sql}"
        );
    }
}

#[test]
fn reads_that_are_not_plain() {
    for &(sql, kind, traits) in NOT_SAFE {
        check(sql, PLAIN, kind, all(traits), false);
        let held = classify(sql.as_bytes(), PLAIN).replica_safe_if_held();
        assert_eq!(held, traits == [T::SQL_CALC_FOUND_ROWS], "{sql}");
    }
}

#[test]
fn other_statements() {
    for &(sql, kind, traits) in OTHERS {
        check(sql, PLAIN, kind, all(traits), false);
    }
}

/// No read is safe with a second statement behind it, and none becomes safe by case or by a comment in front.
#[test]
fn what_surrounds_a_statement() {
    for &(sql, kind) in SAFE {
        let twice = format!("{sql}\n;DELETE FROM t");
        assert!(!classify(twice.as_bytes(), PLAIN).replica_safe(), "{twice}");
        let upper = classify(sql.to_ascii_uppercase().as_bytes(), PLAIN);
        assert_eq!(upper.kind, kind, "{sql}");
        let locking = format!("{sql}\n FOR UPDATE");
        assert!(
            sql.contains(';') || !classify(locking.as_bytes(), PLAIN).replica_safe(),
            "{locking}"
        );
    }
    // In small letters `/*M!` is a plain comment.
    let unlike = |sql: &str| !sql.contains("/*M");
    for &(sql, ..) in NOT_SAFE
        .iter()
        .chain(OTHERS)
        .filter(|(sql, ..)| unlike(sql))
    {
        for variant in [
            sql.to_ascii_lowercase(),
            sql.to_ascii_uppercase(),
            format!("/* x */{sql}"),
        ] {
            assert!(
                !classify(variant.as_bytes(), PLAIN).replica_safe(),
                "{variant}"
            );
        }
    }
}

#[test]
fn the_sql_mode_changes_what_is_code() {
    let quoted = "SELECT \"a\\\" , @x, \"";
    check(quoted, PLAIN, Kind::Select, T::empty(), true);
    check(
        quoted,
        ANSI,
        Kind::Select,
        T::USER_VARIABLE | T::UNTERMINATED,
        false,
    );
    check(
        "SELECT \"f\"(1)",
        ANSI,
        Kind::Select,
        T::UNKNOWN_FUNCTION,
        false,
    );
    let escaped = "SELECT 'a\\' , @x, '";
    check(escaped, PLAIN, Kind::Select, T::empty(), true);
    check(
        escaped,
        NO_ESCAPES,
        Kind::Select,
        T::USER_VARIABLE | T::UNTERMINATED,
        false,
    );
    check(
        "SELECT '\\', f(1)",
        NO_ESCAPES,
        Kind::Select,
        T::UNKNOWN_FUNCTION,
        false,
    );
}

#[test]
fn a_hint_asks_one_server_about_itself_and_no_more() {
    for (sql, wanted) in [
        ("SHOW GLOBAL STATUS", true),
        ("SELECT WAIT_FOR_EXECUTED_GTID_SET('', 1)", true),
        ("SELECT * FROM information_schema.processlist", true),
        ("SELECT my_function(1)", false),
        ("SELECT 1 FOR UPDATE", false),
        ("SELECT @x", false),
        ("SELECT GET_LOCK('a', 1)", false),
        ("SELECT 1; DELETE FROM t", false),
        ("UPDATE t SET a = 1", false),
    ] {
        let hinted = format!("/* lamplighter:replica */ {sql}");
        assert_eq!(
            classify(hinted.as_bytes(), PLAIN).replica_wanted(),
            wanted,
            "{sql}"
        );
        assert!(!classify(sql.as_bytes(), PLAIN).replica_wanted(), "{sql}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_classified(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for mode in [PLAIN, ANSI, NO_ESCAPES] {
            black_box(classify(&bytes, mode));
        }
        black_box(exact_spelling(&bytes));
    }

    #[test]
    fn a_string_hides_whatever_is_in_it(text in ".{0,60}") {
        let quoted = format!("SELECT '{}'", text.replace('\\', "\\\\").replace('\'', "''"));
        prop_assert!(classify(quoted.as_bytes(), PLAIN).replica_safe(), "{}", quoted);
        let quoted = format!("SELECT `{}`", text.replace('`', "``"));
        prop_assert!(classify(quoted.as_bytes(), PLAIN).replica_safe(), "{}", quoted);
    }

    #[test]
    fn pieces_of_syntax_in_any_order(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..12)) {
        black_box(classify(pieces.concat().as_bytes(), PLAIN));
        black_box(classify(pieces.join(" ").as_bytes(), ANSI));
    }
}

const PIECES: &[&str] = &[
    "SELECT", "1", ".", "'", "\"", "`", "\\", "/*", "*/", "/*!", "--", "#", "\n", "@", "@@", ":=",
    ";", "(", ")", ",", "FOR", "UPDATE", "f", "SET", "1e", "e5", "x", "WITH", "AS",
];
