//! Digests, as a table; `tests/it/digests.rs` compares thousands with a real server's.

use std::hint::black_box;

use proptest::prelude::*;

use super::*;

fn text(sql: &str) -> String {
    Digest::of(sql.as_bytes(), Mode::default()).text()
}

fn hash(sql: &str) -> u64 {
    Digest::of(sql.as_bytes(), Mode::default()).hash()
}

#[test]
fn digests_are_as_the_table_says() {
    for (sql, expected) in [
        ("", ""),
        ("select 1;", "SELECT ?"),
        (
            "SELECT a.b FROM `x y` WHERE c = 'it''s'",
            "SELECT `a` . `b` FROM `x y` WHERE `c` = ?",
        ),
        (
            "select a in (1), b in (1, 'x', null), c in (d, 1)",
            "SELECT `a` IN (...) , `b` IN (...) , `c` IN ( `d` , ? )",
        ),
        (
            "insert into t values (1, 2), (3, NULL)",
            "INSERT INTO `t` VALUES (...) /* , ... */",
        ),
        (
            "insert into t values (1), (?), (-3)",
            "INSERT INTO `t` VALUES (?) /* , ... */",
        ),
        (
            "select a is null, not null, null, b is not null",
            "SELECT `a` IS NULL , NOT ?, ... , `b` IS NOT NULL",
        ),
        (
            "create table t (a int not null, b int null default null)",
            "CREATE TABLE `t` ( `a` INTEGER NOT NULL , `b` INTEGER NULL DEFAULT ? )",
        ),
        (
            "select a - 1, a = -1, b from t order by 1, 2 desc limit 3",
            "SELECT `a` - ? , `a` = ? , `b` FROM `t` ORDER BY 1 , 2 DESC LIMIT ?",
        ),
        (
            "select count(*), count, now()",
            "SELECT COUNT ( * ) , `count` , NOW ( )",
        ),
        (
            "select @x, @@global.y, _utf8mb4'x', N'y', 0x1f",
            "SELECT @? , @@GLOBAL . `y` , (_charset) ?, ...",
        ),
        (
            "select /*+ BKA(t@q) */ a /* x */ -- y",
            "SELECT /*+ BKA ( `t`@`q` ) */ `a`",
        ),
        ("select /*!80000 a, */ /*!99999 b, */ c", "SELECT `a` , `c`"),
        (
            "select level.level, level from t group by a with rollup",
            "SELECT `level` . `level` , LEVEL FROM `t` GROUP BY `a` WITH ROLLUP",
        ),
        (
            "begin; update t set a = 1",
            "BEGIN ; UPDATE `t` SET `a` = ?",
        ),
    ] {
        assert_eq!(text(sql), expected, "{sql}");
    }
}

#[test]
fn the_sql_mode_changes_the_digest() {
    let ansi = Mode {
        lex: LexMode {
            ansi_quotes: true,
            no_backslash_escapes: true,
        },
        ignore_space: true,
        high_not_precedence: true,
        ..Mode::default()
    };
    let sql = br#"SELECT "a""b", '\', not count (*)"#;
    assert_eq!(
        Digest::of(sql, ansi).text(),
        "SELECT `a\"b` , ? , ! COUNT ( * )"
    );
    assert_eq!(
        Digest::of(br#"SELECT "a""b", '\\', not count (*)"#, Mode::default()).text(),
        "SELECT ?, ... , NOT `count` ( * )"
    );
}

#[test]
fn a_long_statement_has_the_digest_of_its_beginning() {
    let long = format!("SELECT {}", "thing, ".repeat(200));
    let digest = Digest::of(long.as_bytes(), Mode::default());
    assert!(digest.is_cut());
    // SELECT takes 2 bytes, a name of five letters 9, a comma 2
    assert_eq!(digest.text().matches("`thing`").count(), 93);
    assert!(!Digest::of(b"SELECT 1", Mode::default()).is_cut());
    let blob = format!("INSERT INTO t VALUES ({}'')", "'x', ".repeat(100_000));
    assert_eq!(text(&blob), "INSERT INTO `t` VALUES (...)");
}

#[test]
fn hashes_are_equal_when_digests_are() {
    assert_eq!(
        hash("select a from t where b = 1"),
        hash("SELECT  a FROM t /* x */ WHERE b='y'")
    );
    let different = [
        "select a",
        "select b",
        "select a, a",
        "select ?",
        "select a;b",
        "",
        "select a from b",
        "select a.b",
    ];
    for (index, one) in different.iter().enumerate() {
        for other in &different[..index] {
            assert_ne!(hash(one), hash(other), "{one} and {other}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_have_a_digest(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for mode in [Mode::default(), Mode { ignore_space: true, server_version: 0, ..Mode::default() }] {
            let digest = Digest::of(&bytes, mode);
            black_box((digest.hash(), digest.text()));
        }
    }

    #[test]
    fn values_are_not_in_it(number in any::<i32>(), text in "[a-z0-9]{0,30}") {
        let one = format!("SELECT a FROM t WHERE b = {number} AND c LIKE '{text}' LIMIT 1");
        prop_assert_eq!(hash(&one), hash("SELECT a FROM t WHERE b = 1 AND c LIKE '' LIMIT 1"));
    }
}
