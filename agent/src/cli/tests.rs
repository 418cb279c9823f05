//! The command line itself: it is consistent, and what it says holds.

use clap::CommandFactory;

use super::*;

#[test]
fn the_commands_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_not_a_failure_of_the_agent() {
    for wrong in [
        &["lamplighter", "runn"][..],
        &["lamplighter"],
        &["lamplighter", "run", "--log-format", "xml"],
    ] {
        let error = Cli::try_parse_from(wrong).expect_err("refused");
        assert_eq!(code_of(&error), USAGE, "{wrong:?}");
    }
    for asked in ["--help", "--version"] {
        let error = Cli::try_parse_from(["lamplighter", asked]).expect_err("shown");
        assert_eq!(code_of(&error), 0);
    }
}
