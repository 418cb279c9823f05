//! How a problem looks, and that it shows no secret.

use super::*;

fn problem(text: &str, what: &str, message: &str, key: &str, help: Option<&str>) -> ConfigProblem {
    let start = text.find(what).expect("in the text");
    let mistake = Mistake {
        span: start..start + what.len(),
        message: message.to_owned(),
        help: help.map(str::to_owned),
        key: key.to_owned(),
    };
    ConfigProblem::at(Path::new("/etc/x.toml"), text, mistake)
}

#[test]
fn a_problem_shows_file_line_column_and_the_line_itself() {
    let text = "[mysql]\n# ü\n\treplcas = []\n";
    let shown = problem(
        text,
        "replcas",
        "unknown key `replcas`",
        "mysql.replcas",
        Some("did you mean `replicas`?"),
    );
    assert_eq!((shown.line, shown.column), (3, 2));
    assert_eq!(
        shown.to_string(),
        "error: unknown key `replcas`\n  --> /etc/x.toml:3:2\n  |\n3 | \treplcas = []\n  | \t^^^^^^^\n   = help: did you mean `replicas`?"
    );
}

#[test]
fn a_value_that_may_be_a_secret_is_not_shown() {
    let text = "password = \"hunter2\"\n";
    for (what, message, help) in [
        (
            "password",
            "unknown key `password`",
            Some("did you mean `password_file`?"),
        ),
        (
            "\"hunter2\"",
            "invalid type: string \"hunter2\", expected u32",
            None,
        ),
        ("\"hunter2\"", "\"hunter2\" has no unit", None),
    ] {
        let shown = problem(text, what, message, "redis.password", help).to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let url = "container = \"https://h/c?sig=hunter2\"";
    let shown = problem(
        url,
        "\"https",
        "\"https://h/c?sig=hunter2\" is no container",
        "sync.0.container",
        None,
    )
    .to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("sig=[redacted]"), "{shown}");
}

#[test]
fn places_outside_the_text_are_the_end_of_it() {
    let mistake = Mistake {
        span: 90..99,
        message: "m".to_owned(),
        help: None,
        key: String::new(),
    };
    let shown = ConfigProblem::at(Path::new("f"), "a\nb", mistake);
    assert_eq!((shown.line, shown.column), (2, 2));
    let whole = ConfigProblem::of_file(Path::new("f"), "cannot be read".to_owned(), None);
    assert_eq!(whole.to_string(), "error: cannot be read\n  --> f");
}
