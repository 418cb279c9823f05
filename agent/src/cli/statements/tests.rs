//! What people read.

use super::*;

#[test]
fn durations_are_short() {
    for (seconds, text) in [
        (0.000_04, "40 us"),
        (0.0123, "12.3 ms"),
        (1.25, "1.2 s"),
        (250.0, "250 s"),
    ] {
        assert_eq!(time(seconds), text);
    }
}

#[test]
fn an_explanation_says_where_and_why() {
    let text = render_explanation(&explain_offline("LOCK TABLES t WRITE", None));
    assert!(text.contains("goes to      primary"), "{text}");
    assert!(text.contains("kept (lock_tables) until"), "{text}");
    assert!(text.contains("agent        not asked"), "{text}");
    let text = render_explanation(&explain_offline("SELECT a FROM t WHERE b = 1", None));
    assert!(text.contains("SELECT `a` FROM `t` WHERE `b` = ?"), "{text}");
    assert!(text.contains("goes to      replica"), "{text}");
    assert!(text.contains("after a write primary"), "{text}");
}

#[test]
fn long_statements_are_cut_in_lists() {
    assert_eq!(shorten("abc", 3), "abc");
    assert_eq!(shorten("abcdefgh", 6), "abc...");
    assert!(render_pins(&Pins { pins: Vec::new() }).contains("nobody"));
}
