//! What a session's `sql_mode` says about how its statements read ("Server SQL Modes", MySQL manual). Pure; no IO.

/// The modes that change how a statement reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SqlMode {
    pub(crate) ansi_quotes: bool,
    pub(crate) no_backslash_escapes: bool,
    pub(crate) ignore_space: bool,
    pub(crate) high_not_precedence: bool,
    pub(crate) pipes_as_concat: bool,
}

impl SqlMode {
    /// Reads a list of modes, as a literal. The server has put the parts of a combination (ANSI) beside its name.
    pub(super) fn parse(literal: &[u8]) -> Self {
        let literal = String::from_utf8_lossy(literal).to_ascii_uppercase();
        let has = |mode: &str| literal.trim_matches('\'').split(',').any(|it| it == mode);
        let ansi = has("ANSI");
        Self {
            ansi_quotes: ansi || has("ANSI_QUOTES"),
            no_backslash_escapes: has("NO_BACKSLASH_ESCAPES"),
            ignore_space: ansi || has("IGNORE_SPACE"),
            high_not_precedence: has("HIGH_NOT_PRECEDENCE"),
            pipes_as_concat: ansi || has("PIPES_AS_CONCAT"),
        }
    }
}
