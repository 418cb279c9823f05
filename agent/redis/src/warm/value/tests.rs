//! Table tests of row values. That PHP agrees is tested with real PHP in `tests/it/cache.rs`.

use super::*;

fn plan(
    columns: &[(&str, Kind)],
    types: Types,
    binary: Binary,
    value_max: usize,
) -> Result<RowJson, BinaryColumn> {
    let columns: Vec<_> = columns
        .iter()
        .map(|(name, kind)| Column {
            name: (*name).to_owned(),
            kind: *kind,
        })
        .collect();
    RowJson::plan(&columns, types, binary, value_max)
}

fn one(kind: Kind, types: Types, cell: Option<&[u8]>) -> String {
    let plan = plan(&[("c", kind)], types, Binary::Base64, 1000).unwrap();
    let json = String::from_utf8(plan.render(&[cell]).unwrap()).unwrap();
    json.strip_prefix("{\"c\":")
        .unwrap()
        .strip_suffix('}')
        .unwrap()
        .to_owned()
}

#[test]
fn native_types() {
    for (kind, cell, expected) in [
        (Kind::Integer, "0", "0"),
        (
            Kind::Integer,
            "-9223372036854775808",
            "-9223372036854775808",
        ),
        (Kind::Integer, "9223372036854775807", "9223372036854775807"),
        (
            Kind::Integer,
            "9223372036854775808",
            "\"9223372036854775808\"",
        ),
        (
            Kind::Integer,
            "18446744073709551615",
            "\"18446744073709551615\"",
        ),
        (Kind::ZeroFilled, "00042", "\"00042\""),
        (Kind::Float, "1", "1.0"),
        (Kind::Float, "-0", "-0.0"),
        (Kind::Float, "0.1", "0.1"),
        (Kind::Float, "1e25", "1e+25"),
        (
            Kind::Float,
            "1.7976931348623157e308",
            "1.7976931348623157e+308",
        ),
        (
            Kind::Float,
            "2.2250738585072014e-308",
            "2.2250738585072014e-308",
        ),
        (Kind::Decimal, "10.50", "\"10.50\""),
        (
            Kind::Moment,
            "0000-00-00 00:00:00",
            "\"0000-00-00 00:00:00\"",
        ),
        (Kind::Time, "-838:59:59", "\"-838:59:59\""),
        (Kind::Text, "", "\"\""),
        (Kind::Text, "12", "\"12\""),
        (
            Kind::Text,
            "a\"b\\c\n\u{1}\u{e9}\u{1F600}/",
            "\"a\\\"b\\\\c\\n\\u0001\u{e9}\u{1F600}/\"",
        ),
        (Kind::Text, "{\"a\": 1}", "\"{\\\"a\\\": 1}\""),
    ] {
        assert_eq!(
            one(kind, Types::Native, Some(cell.as_bytes())),
            expected,
            "{kind:?} {cell}"
        );
    }
}

#[test]
fn native_bits_binary_and_null() {
    assert_eq!(one(Kind::Bit, Types::Native, Some(b"\x05")), "5");
    assert_eq!(
        one(
            Kind::Bit,
            Types::Native,
            Some(b"\x7f\xff\xff\xff\xff\xff\xff\xff")
        ),
        "9223372036854775807"
    );
    assert_eq!(
        one(Kind::Bit, Types::Native, Some(b"\x80\0\0\0\0\0\0\0")),
        "\"9223372036854775808\""
    );
    assert_eq!(
        one(Kind::Binary, Types::Native, Some(b"\xff\x00")),
        "\"/wA=\""
    );
    assert_eq!(one(Kind::Null, Types::Native, None), "null");
    assert_eq!(one(Kind::Text, Types::Native, None), "null");
}

#[test]
fn as_strings() {
    for (kind, cell, expected) in [
        (Kind::Integer, "00042", "\"00042\""),
        (Kind::Float, "0.1", "\"0.1\""),
        (Kind::Decimal, "10.50", "\"10.50\""),
        (Kind::Bit, "\u{5}", "\"5\""),
    ] {
        assert_eq!(
            one(kind, Types::Strings, Some(cell.as_bytes())),
            expected,
            "{kind:?} {cell}"
        );
    }
    assert_eq!(one(Kind::Integer, Types::Strings, None), "null");
}

#[test]
fn of_two_columns_with_one_name_the_last_gives_the_value_at_the_first_place() {
    let columns = [
        ("id", Kind::Integer),
        ("name", Kind::Text),
        ("id", Kind::Text),
    ];
    let plan = plan(&columns, Types::Native, Binary::Refuse, 1000).unwrap();
    let json = plan.render(&[Some(b"1"), Some(b"x"), Some(b"2")]).unwrap();
    assert_eq!(json, br#"{"id":"2","name":"x"}"#);
}

#[test]
fn names_are_escaped() {
    let plan = plan(
        &[("a\"b", Kind::Integer)],
        Types::Native,
        Binary::Refuse,
        1000,
    )
    .unwrap();
    assert_eq!(plan.render(&[Some(b"1")]).unwrap(), br#"{"a\"b":1}"#);
}

#[test]
fn binary_columns_are_refused_unless_asked_for() {
    let refused = plan(
        &[("a", Kind::Integer), ("b", Kind::Binary)],
        Types::Native,
        Binary::Refuse,
        1000,
    );
    assert_eq!(refused.unwrap_err(), BinaryColumn("b".into()));
}

#[test]
fn rows_that_cannot_be_a_value_are_skipped() {
    let plan = plan(&[("c", Kind::Text)], Types::Native, Binary::Refuse, 12).unwrap();
    assert_eq!(plan.render(&[Some(b"1234")]).unwrap().len(), 12);
    assert_eq!(plan.render(&[Some(b"12345")]), Err(Skip::ValueTooLarge));
    assert_eq!(plan.render(&[Some(&[b'x'; 100])]), Err(Skip::ValueTooLarge));
    assert_eq!(plan.render(&[Some(b"\xff")]), Err(Skip::NotUtf8));
}

#[test]
fn types_by_name() {
    assert_eq!(Kind::of("INT UNSIGNED", false, true), Kind::ZeroFilled);
    for (name, is_text, expected) in [
        ("BOOLEAN", false, Kind::Integer),
        ("TINYINT UNSIGNED", false, Kind::Integer),
        ("BIGINT UNSIGNED", false, Kind::Integer),
        ("YEAR", false, Kind::ZeroFilled),
        ("DOUBLE", false, Kind::Float),
        ("VARCHAR", true, Kind::Text),
        // a _bin collation makes a VARCHAR look so
        ("VARBINARY", true, Kind::Text),
        ("VARBINARY", false, Kind::Binary),
        ("BLOB", false, Kind::Binary),
        ("TEXT", true, Kind::Text),
        ("ENUM", true, Kind::Text),
        ("JSON", false, Kind::Text),
        ("GEOMETRY", false, Kind::Binary),
    ] {
        assert_eq!(Kind::of(name, is_text, false), expected, "{name}");
    }
}
