//! How far something has come, on one line of the terminal that is written again and again.

use std::io::{IsTerminal, Write};

/// The line. Nothing is written where standard error is no terminal.
pub(super) struct Progress {
    shown: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            shown: std::io::stderr().is_terminal(),
        }
    }

    /// Writes `text` over what was there.
    pub(super) fn show(&self, text: &str) {
        if self.shown {
            // a closed terminal is nobody's loss
            let _closed = write!(std::io::stderr().lock(), "\r\x1b[K{text}");
        }
    }

    /// Leaves the line empty.
    pub(super) fn end(&self) {
        self.show("");
    }
}
