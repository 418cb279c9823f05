//! Statements and what they make and take away, as a table.

use super::ObjectChange::{Gone, Made, Nothing};
use super::ObjectKind::{
    Handler, InstanceLock, Prepared, TableLocks, TemporaryTable, UserLocks, Xa,
};
use super::*;

fn of(sql: &str) -> Option<ObjectChange<'_>> {
    object_change(sql.as_bytes(), LexMode::default())
}

fn name(name: &str) -> ObjectName<'_> {
    (None, name.as_bytes())
}

#[test]
fn what_is_made() {
    let cases = [
        ("CREATE TEMPORARY TABLE t (a INT)", TemporaryTable, "t"),
        (
            "create temporary table if not exists `t x` like u",
            TemporaryTable,
            "t x",
        ),
        ("PREPARE s FROM 'SELECT 1'", Prepared, "s"),
        ("HANDLER t OPEN", Handler, "t"),
        ("HANDLER d.t OPEN AS h", Handler, "h"),
        ("HANDLER t OPEN h;", Handler, "h"),
    ];
    for (sql, kind, expected) in cases {
        assert_eq!(of(sql), Some(Made(kind, Some(name(expected)))), "{sql}");
    }
    assert_eq!(
        of("CREATE TEMPORARY TABLE d.t SELECT 1"),
        Some(Made(TemporaryTable, Some((Some(b"d"), b"t"))))
    );
    let nameless = [
        ("LOCK TABLES t READ", TableLocks),
        ("FLUSH TABLES WITH READ LOCK", TableLocks),
        ("FLUSH TABLES t FOR EXPORT", TableLocks),
        ("LOCK INSTANCE FOR BACKUP", InstanceLock),
        ("XA START 'x'", Xa),
    ];
    for (sql, kind) in nameless {
        assert_eq!(of(sql), Some(Made(kind, None)), "{sql}");
    }
}

#[test]
fn what_is_gone() {
    assert_eq!(
        of("DROP TEMPORARY TABLE IF EXISTS a, d.b RESTRICT;"),
        Some(Gone(TemporaryTable, vec![name("a"), (Some(b"d"), b"b")]))
    );
    assert_eq!(
        of("DEALLOCATE PREPARE s"),
        Some(Gone(Prepared, vec![name("s")]))
    );
    assert_eq!(of("drop prepare s"), Some(Gone(Prepared, vec![name("s")])));
    assert_eq!(of("HANDLER h CLOSE"), Some(Gone(Handler, vec![name("h")])));
    let all = [
        ("UNLOCK TABLES", TableLocks),
        ("UNLOCK INSTANCE", InstanceLock),
        ("XA COMMIT 'x'", Xa),
        ("xa rollback 'x'", Xa),
        ("SELECT RELEASE_ALL_LOCKS()", UserLocks),
        ("DO RELEASE_ALL_LOCKS();", UserLocks),
    ];
    for (sql, kind) in all {
        assert_eq!(of(sql), Some(Gone(kind, Vec::new())), "{sql}");
    }
}

#[test]
fn what_does_neither() {
    for sql in [
        "SELECT 1",
        "DROP TABLE t",
        "CREATE TABLE t (a INT)",
        "FLUSH PRIVILEGES",
        "XA RECOVER",
        "HANDLER h READ FIRST",
        "SELECT RELEASE_ALL_LOCKS(), GET_LOCK('a', 1)",
        "SELECT RELEASE_LOCK('a')",
        "",
    ] {
        assert_eq!(of(sql), Some(Nothing), "{sql}");
    }
}

#[test]
fn what_cannot_be_said() {
    for sql in [
        "DROP TEMPORARY TABLE a WHATEVER b",
        "DROP TEMPORARY TABLE `a``b`",
        "CREATE TEMPORARY /*!50000 TABLE */ t (a INT)",
        "DROP TEMPORARY TABLE a /*! , b */",
        "DEALLOCATE PREPARE s; SELECT 1",
        "XA WHATEVER",
    ] {
        assert_eq!(of(sql), None, "{sql}");
    }
}
