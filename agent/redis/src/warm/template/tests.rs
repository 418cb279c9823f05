//! Table tests of key templates.

use super::*;

fn columns() -> Vec<Column> {
    [
        ("id", Kind::Integer),
        ("slug", Kind::Text),
        ("flags", Kind::Bit),
        ("uuid", Kind::Binary),
        ("slug", Kind::Text),
    ]
    .map(|(name, kind)| Column {
        name: name.into(),
        kind,
    })
    .to_vec()
}

fn render(template: &str, row: Cells<'_>) -> Result<String, Skip> {
    let plan = Template::parse(template).unwrap().bind(&columns()).unwrap();
    plan.render(row).map(|key| String::from_utf8(key).unwrap())
}

const ROW: Cells<'_> = &[
    Some(b"7"),
    Some(b"old"),
    Some(b"\x01\x02"),
    Some(b"\xff"),
    Some("a:{b} \u{e9}\n".as_bytes()),
];

#[test]
fn columns_stand_in_the_key_as_the_server_shows_them() {
    for (template, expected) in [
        ("shop:product:{id}", "shop:product:7"),
        ("{id}", "7"),
        ("{id}:{id}x", "7:7x"),
        ("{{shop}}:{id}", "{shop}:7"),
        ("{{{id}}}", "{7}"),
        ("f:{flags}", "f:258"),
        // the last of two columns of one name, as PDO::FETCH_ASSOC has it
        ("s:{slug}", "s:a:{b} \u{e9}\n"),
    ] {
        assert_eq!(render(template, ROW).as_deref(), Ok(expected), "{template}");
    }
}

#[test]
fn rows_without_a_usable_key_are_skipped() {
    assert_eq!(
        render("p:{id}", &[None, None, None, None, None]),
        Err(Skip::NullInKey)
    );
    let long = vec![b'x'; KEY_MAX + 1];
    assert_eq!(
        render("{slug}", &[None, None, None, None, Some(&long)]),
        Err(Skip::KeyTooLong)
    );
    assert!(render("{slug}", &[None, None, None, None, Some(&long[1..])]).is_ok());
}

#[test]
fn refused_templates() {
    for (template, expected) in [
        ("", TemplateError::NoColumn),
        ("p:{{id}}", TemplateError::NoColumn),
        ("p:{id", TemplateError::Brace),
        ("p:id}", TemplateError::Brace),
        ("p:{i{d}", TemplateError::Brace),
        ("p:{}", TemplateError::Empty),
    ] {
        assert_eq!(Template::parse(template), Err(expected), "{template}");
    }
}

#[test]
fn templates_that_do_not_fit_the_result() {
    let bind = |template: &str| Template::parse(template).unwrap().bind(&columns());
    assert_eq!(bind("{ID}"), Err(BindError::NoColumn("ID".into())));
    assert_eq!(bind("{uuid}"), Err(BindError::Binary("uuid".into())));
}

#[test]
fn the_only_column_of_a_key_is_found_in_it() {
    let template = Template::parse("shop:{id}:x").unwrap();
    assert_eq!(template.only_column(), Some("id"));
    assert_eq!(template.value_in(b"shop:7:x"), Some(&b"7"[..]));
    for other in ["shop::x", "shop:7", "7:x", ""] {
        assert_eq!(template.value_in(other.as_bytes()), None, "{other:?}");
    }
    assert_eq!(Template::parse("{a}{b}").unwrap().only_column(), None);
}
