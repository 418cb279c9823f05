//! Rows of tables that a bench makes of a test: told on standard error, and kept for its script if it asks for them.

use std::fs::OpenOptions;
use std::io::Write as _;

/// One row; `LAMPLIGHTER_TABLE` names the file of the script that makes a table of them.
pub(crate) fn tell(row: &str) {
    writeln!(std::io::stderr(), "{row}").ok();
    if let Some(path) = std::env::var_os("LAMPLIGHTER_TABLE") {
        let file = OpenOptions::new().append(true).create(true).open(path);
        writeln!(file.expect("the table's file"), "{row}").expect("a row");
    }
}
