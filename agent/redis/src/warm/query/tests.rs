//! Table tests of the query check.

use super::*;

const GOOD: &str = "SELECT id, name FROM p WHERE id > ? ORDER BY id LIMIT 1000";

fn page(text: &str, literal: &str) -> String {
    Query::parse(text)
        .unwrap()
        .page(literal, Duration::from_secs(30), "")
}

#[test]
fn the_parameter_is_replaced_and_the_server_told_the_limit() {
    assert_eq!(
        page(GOOD, "17"),
        "SELECT /*+ MAX_EXECUTION_TIME(30000) */ id, name FROM p WHERE id > 17 ORDER BY id LIMIT 1000"
    );
    assert_eq!(
        page(
            "select id from p where id>? order by id limit 5 ; ;\n",
            "X'6f'"
        ),
        "select /*+ MAX_EXECUTION_TIME(30000) */ id from p where id>X'6f' order by id limit 5 "
    );
}

#[test]
fn a_common_table_expression_gets_no_hint() {
    let text =
        "WITH a AS (SELECT id FROM p LIMIT 3) SELECT id FROM a WHERE id > ? ORDER BY id LIMIT 9";
    assert_eq!(page(text, "0"), text.replace('?', "0"));
}

#[test]
fn question_marks_in_strings_names_and_comments_are_none() {
    for text in [
        "SELECT '?', \"?\", `?`, 'it''s ?', 'a\\'?' FROM p WHERE id > ? ORDER BY id LIMIT 1",
        "SELECT id -- why?\n FROM p # what?\n /* where? */ WHERE id > ? ORDER BY id LIMIT 1",
        "SELECT 1--? FROM p ORDER BY id LIMIT 1",
    ] {
        let (before, after) = text.rsplit_once('?').unwrap();
        let expected = format!("{}0{after}", before.strip_prefix("SELECT").unwrap());
        assert!(page(text, "0").ends_with(&expected), "{text}");
    }
}

#[test]
fn what_cannot_be_read_page_by_page_is_refused() {
    use QueryError::*;
    for (text, expected) in [
        ("", NotSelect),
        ("-- SELECT", NotSelect),
        ("DELETE FROM p WHERE id > ? ORDER BY id LIMIT 1", NotSelect),
        ("(SELECT 1)", NotSelect),
        ("SELECT id FROM p ORDER BY id LIMIT 1", NoParameter),
        (
            "SELECT id FROM p WHERE id > '?' ORDER BY id LIMIT 1",
            NoParameter,
        ),
        (
            "SELECT id FROM p WHERE id > ? AND x = ? ORDER BY id LIMIT 1",
            ManyParameters,
        ),
        ("SELECT id FROM p WHERE id > ? LIMIT 1", NoOrder),
        (
            "SELECT id FROM (SELECT id FROM p ORDER BY id) q WHERE id > ? LIMIT 1",
            NoOrder,
        ),
        ("SELECT id FROM p WHERE id > ? ORDER BY id", NoLimit),
        ("SELECT id FROM p WHERE id > ? ORDER BY `limit`", NoLimit),
        ("SELECT id FROM p WHERE id > ? ORDER BY t.limit", NoLimit),
        (
            "SELECT id FROM p WHERE id > ? ORDER BY id LIMIT 1; DROP TABLE p",
            Several,
        ),
        (
            "SELECT id INTO @a FROM p WHERE id > ? ORDER BY id LIMIT 1",
            NotReadOnly,
        ),
        (
            "SELECT id FROM p WHERE id > ? ORDER BY id LIMIT 1 FOR UPDATE",
            NotReadOnly,
        ),
        (
            "SELECT id FROM p WHERE id > ? ORDER BY id LIMIT 1 for share",
            NotReadOnly,
        ),
        (
            "SELECT id FROM p WHERE id > ? ORDER BY id LIMIT 1 LOCK IN SHARE MODE",
            NotReadOnly,
        ),
        (
            "SELECT /*!80000 id, */ 1 FROM p WHERE id > ? ORDER BY id LIMIT 1",
            ExecutableComment,
        ),
        (
            "SELECT 'a FROM p WHERE id > ? ORDER BY id LIMIT 1",
            Unterminated,
        ),
        (
            "SELECT id FROM p WHERE id > ? ORDER BY id LIMIT 1 /* no end",
            Unterminated,
        ),
        (
            "SELECT id FROM p WHERE id > ? ORDER BY id LIMIT 1 'a\\",
            Unterminated,
        ),
    ] {
        assert_eq!(Query::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn an_index_hint_is_no_lock() {
    page(
        "SELECT id FROM p FORCE INDEX FOR ORDER BY (a) WHERE id > ? ORDER BY id LIMIT 1",
        "0",
    );
}

#[test]
fn a_list_needs_no_pages_and_a_page_says_how_many_rows_it_has() {
    let list = Query::parse_list("SELECT id FROM p WHERE id IN (?)").unwrap();
    assert_eq!(
        list.page("1,2", Duration::from_secs(1), "/* lamplighter:primary */ "),
        "/* lamplighter:primary */ SELECT /*+ MAX_EXECUTION_TIME(1000) */ id FROM p WHERE id IN (1,2)"
    );
    assert_eq!(Query::parse_list("SELECT 1"), Err(QueryError::NoList));
    assert_eq!(Query::parse(GOOD).unwrap().page_rows(), Some(1000));
    let inner = GOOD.replace("FROM p", "FROM (SELECT 1 LIMIT 7) p");
    assert_eq!(Query::parse(&inner).unwrap().page_rows(), Some(1000));
    let unknown = GOOD.replace("1000", "@rows");
    assert_eq!(Query::parse(&unknown).unwrap().page_rows(), None);
}
