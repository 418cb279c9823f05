//! Table tests of the cursor.

use super::*;

fn column(kind: Kind) -> Column {
    Column {
        name: "k".into(),
        kind,
    }
}

/// Steps through the rows of one page and says what the next page begins after.
fn page(start: Start, kind: Kind, rows: &[&[u8]]) -> Result<String, KeysetError> {
    let mut cursor = Cursor::new(start);
    for row in rows {
        cursor.advance(&column(kind), Some(row))?;
    }
    cursor.end_page(&column(kind))?;
    Ok(cursor.literal())
}

fn text(start: &str) -> Start {
    Start::Text(start.into())
}

#[test]
fn the_next_page_begins_after_the_last_row() {
    for (kind, rows, expected) in [
        (Kind::Integer, [&b"1"[..], b"20"], "20"),
        (
            Kind::Integer,
            [b"-5", b"18446744073709551615"],
            "18446744073709551615",
        ),
        (Kind::ZeroFilled, [b"0007", b"0012"], "12"),
        (Kind::Text, [b"a", "é'".as_bytes()], "_utf8mb4 X'c3a927'"),
        (Kind::Binary, [b"\x00", b"\x00\xff"], "X'00ff'"),
        (Kind::Moment, [b"2024-01-01", b"2024-01-02"], "'2024-01-02'"),
        (
            Kind::Moment,
            [b"2024-01-01 00:00:00", b"2024-01-01 00:00:01"],
            "'2024-01-01 00:00:01'",
        ),
    ] {
        assert_eq!(
            page(text(""), kind, &rows).as_deref(),
            Ok(expected),
            "{kind:?} {rows:?}"
        );
    }
}

#[test]
fn the_first_page_begins_at_start() {
    assert_eq!(Cursor::new(text("")).literal(), "''");
    assert_eq!(Cursor::new(text("a'b")).literal(), "_utf8mb4 X'612762'");
    assert_eq!(Cursor::new(Start::Number(-1)).literal(), "-1");
}

#[test]
fn a_column_that_does_not_grow_is_an_error() {
    let refused = Err(KeysetError::NotGrowing("k".into()));
    for (kind, rows) in [
        (Kind::Integer, [&b"2"[..], b"2"]),
        (Kind::Integer, [b"10", b"9"]),
        (Kind::Text, [b"a", b"a"]),
        (Kind::Binary, [b"b", b"a"]),
        (Kind::Moment, [b"2024-01-02", b"2024-01-01"]),
    ] {
        assert_eq!(page(text(""), kind, &rows), refused, "{kind:?} {rows:?}");
    }
    // a query that does not use its parameter gives the first page for ever
    assert_eq!(page(Start::Number(5), Kind::Integer, &[b"1"]), refused);
    // the order of text is its collation's
    assert!(page(text(""), Kind::Text, &[b"B", b"a"]).is_ok());
}

#[test]
fn text_that_comes_round_again_is_noticed() {
    // the last keys of pages that go round in a circle of three after a lead-in of two
    let keys = [b"a", b"b", b"c", b"d", b"e"];
    let mut cursor = Cursor::new(text(""));
    let mut pages = 0;
    let error = loop {
        let key = if pages < 5 {
            keys[pages]
        } else {
            keys[2 + (pages - 2) % 3]
        };
        cursor.advance(&column(Kind::Text), Some(key)).unwrap();
        pages += 1;
        if let Err(error) = cursor.end_page(&column(Kind::Text)) {
            break error;
        }
        assert!(pages < 50, "it went round for ever");
    };
    assert_eq!(error, KeysetError::NotGrowing("k".into()));
}

#[test]
fn a_long_walk_through_text_is_no_circle() {
    let mut cursor = Cursor::new(text(""));
    for page in 0..10_000 {
        cursor
            .advance(&column(Kind::Text), Some(format!("{page:05}").as_bytes()))
            .unwrap();
        cursor.end_page(&column(Kind::Text)).unwrap();
    }
}

#[test]
fn columns_that_cannot_carry_a_keyset() {
    for kind in [
        Kind::Float,
        Kind::Decimal,
        Kind::Bit,
        Kind::Time,
        Kind::Null,
    ] {
        assert_eq!(
            page(text(""), kind, &[b"1"]),
            Err(KeysetError::Type("k".into())),
            "{kind:?}"
        );
    }
    assert_eq!(
        page(Start::Number(0), Kind::Text, &[b"a"]),
        Err(KeysetError::Start("k".into()))
    );
    assert_eq!(
        page(text(""), Kind::Moment, &[b"2024' OR 1"]),
        Err(KeysetError::Malformed("k".into()))
    );
    let null = Cursor::new(text("")).advance(&column(Kind::Integer), None);
    assert_eq!(null, Err(KeysetError::Null("k".into())));
}

#[test]
fn a_group_that_may_have_been_cut_comes_again() {
    let column = column(Kind::Integer);
    let mut cursor = Cursor::new(Start::Number(0));
    let row = |cursor: &mut Cursor, id: &[u8]| cursor.advance_group(&column, Some(id));
    assert_eq!(row(&mut cursor, b"1"), Ok(true));
    assert_eq!(row(&mut cursor, b"1"), Ok(false));
    assert_eq!(row(&mut cursor, b"2"), Ok(true));
    assert!(cursor.step_back(), "the group of 1 was whole");
    cursor.end_page(&column).unwrap();
    assert_eq!(cursor.literal(), "1");
    assert_eq!(row(&mut cursor, b"2"), Ok(true));
    assert!(!cursor.step_back(), "nothing but a group that may be cut");
    assert_eq!(cursor.literal(), "1");
    assert!(row(&mut cursor, b"0").is_err());
    let mut resumed = Cursor::resume(Start::Number(0), Key::Integer(7));
    assert_eq!(resumed.literal(), "7");
    assert!(resumed.advance(&column, Some(b"7")).is_err());
}
