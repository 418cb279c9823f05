//! From row to row the keyset column must grow: then the pages do not overlap, no row is left out, and the job ends.
//! Integers, dates and binary strings can be compared here; the order of text is the server's collation, so for text
//! only repetition can be seen. Pure; no IO.

use serde::{Deserialize, Serialize};

use super::config::Start;
use super::value::{Column, Kind};

/// A value of the keyset column.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Key {
    Integer(i128),
    Text(String),
    Binary(Vec<u8>),
    /// DATE, DATETIME or TIMESTAMP in the server's spelling, whose order is that of its characters.
    Moment(String),
}

/// Why a job cannot go on by this column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeysetError {
    #[error("the query has no column {0}, which is the keyset")]
    NoColumn(String),
    #[error(
        "the keyset column {0} is none that can be compared; it must be an integer, string, binary or date"
    )]
    Type(String),
    #[error("the keyset column {0} is NULL in a row; it must be NOT NULL")]
    Null(String),
    #[error("start is a number, but the keyset column {0} is none; write start = \"\"")]
    Start(String),
    #[error(
        "the keyset column {0} did not grow from one row to the next; it must be unique, and the query must say WHERE {0} > ? ORDER BY {0}"
    )]
    NotGrowing(String),
    #[error("the keyset column {0} holds something its type does not allow")]
    Malformed(String),
    #[error("all {0} rows of a page have one key, and there may be more: raise LIMIT")]
    OneGroup(u64),
    #[error(
        "rows of one key do not have one value in the keyset column {0}: the keyset must be what the key is made of"
    )]
    Groups(String),
}

/// The position between two rows.
#[derive(Debug)]
pub(crate) struct Cursor {
    start: Start,
    last: Option<Key>,
    /// For text: a key remembered from an earlier page (Brent's cycle detection: the page after a page with the same
    /// last key is the same page again, so a job that does not end repeats a remembered key sooner or later).
    remembered: Option<Key>,
    pages: u64,
    /// For rows that belong together: the column's value in the group before the one at hand.
    before: Option<Key>,
    /// Groups that began in the page at hand.
    groups: u64,
}

impl Cursor {
    pub(crate) const fn new(start: Start) -> Self {
        Self {
            start,
            last: None,
            remembered: None,
            pages: 0,
            before: None,
            groups: 0,
        }
    }

    /// A cursor that goes on behind `last`.
    pub(crate) fn resume(start: Start, last: Key) -> Self {
        Self {
            last: Some(last),
            ..Self::new(start)
        }
    }

    /// The column's value in the last row.
    pub(crate) const fn last(&self) -> Option<&Key> {
        self.last.as_ref()
    }

    /// As [`Self::advance`], but several rows in a row may have the same value. Whether this one has another than the row before.
    pub(crate) fn advance_group(
        &mut self,
        column: &Column,
        cell: Option<&[u8]>,
    ) -> Result<bool, KeysetError> {
        let bytes = cell.ok_or_else(|| KeysetError::Null(column.name.clone()))?;
        if self.last.as_ref() == Some(&read(column, bytes)?) {
            return Ok(false);
        }
        let before = self.last.clone();
        self.advance(column, cell)?;
        self.before = before;
        self.groups += 1;
        Ok(true)
    }

    /// The group at hand may have been cut: the next page begins with it. Whether there was a whole one before it in this page.
    pub(crate) fn step_back(&mut self) -> bool {
        self.last = self.before.take();
        std::mem::take(&mut self.groups) > 1
    }

    /// SQL for the parameter: what every row of the next page is greater than.
    pub(crate) fn literal(&self) -> String {
        match (&self.last, &self.start) {
            (Some(Key::Integer(number)), _) => number.to_string(),
            (Some(Key::Binary(bytes)), _) => hex_literal("", bytes),
            (Some(Key::Text(text)), _) => hex_literal("_utf8mb4", text.as_bytes()),
            // checked when it was read: digits, "-", ":", "." and " "
            (Some(Key::Moment(text)), _) => format!("'{text}'"),
            (None, Start::Number(number)) => number.to_string(),
            (None, Start::Text(text)) => hex_literal("_utf8mb4", text.as_bytes()),
        }
    }

    /// Steps to the row whose keyset column holds `cell`.
    pub(crate) fn advance(
        &mut self,
        column: &Column,
        cell: Option<&[u8]>,
    ) -> Result<(), KeysetError> {
        let name = || column.name.clone();
        let bytes = cell.ok_or_else(|| KeysetError::Null(name()))?;
        let next = read(column, bytes)?;
        let grows = match (&self.last, &next) {
            (Some(Key::Integer(last)), Key::Integer(next)) => last < next,
            (Some(Key::Binary(last)), Key::Binary(next)) => last < next,
            (Some(Key::Moment(last)), Key::Moment(next)) => last < next,
            (Some(Key::Text(last)), Key::Text(next)) => last != next,
            (Some(_), _) => return Err(KeysetError::Type(name())),
            (None, Key::Integer(next)) => match &self.start {
                Start::Number(start) => i128::from(*start) < *next,
                Start::Text(_) => true,
            },
            (None, _) if matches!(self.start, Start::Number(_)) => {
                return Err(KeysetError::Start(name()));
            }
            (None, _) => true,
        };
        if !grows {
            return Err(KeysetError::NotGrowing(name()));
        }
        self.last = Some(next);
        Ok(())
    }

    /// A page with rows has ended.
    pub(crate) fn end_page(&mut self, column: &Column) -> Result<(), KeysetError> {
        self.pages += 1;
        self.groups = 0;
        if self.last.is_some() && self.last == self.remembered {
            return Err(KeysetError::NotGrowing(column.name.clone()));
        }
        if self.pages.is_power_of_two() {
            self.remembered.clone_from(&self.last);
        }
        Ok(())
    }
}

fn read(column: &Column, bytes: &[u8]) -> Result<Key, KeysetError> {
    let malformed = || KeysetError::Malformed(column.name.clone());
    let text = || std::str::from_utf8(bytes).map_err(|_| malformed());
    Ok(match column.kind {
        Kind::Integer | Kind::ZeroFilled => Key::Integer(text()?.parse().map_err(|_| malformed())?),
        Kind::Text => Key::Text(text()?.to_owned()),
        Kind::Binary => Key::Binary(bytes.to_vec()),
        Kind::Moment => {
            let text = text()?;
            let allowed = |c: char| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | ' ');
            if !text.chars().all(allowed) {
                return Err(malformed());
            }
            Key::Moment(text.to_owned())
        }
        Kind::Float | Kind::Decimal | Kind::Bit | Kind::Time | Kind::Null => {
            return Err(KeysetError::Type(column.name.clone()));
        }
    })
}

/// Text as SQL, compared with a column of integers as the integer it is.
pub(crate) fn text_literal(bytes: &[u8]) -> String {
    hex_literal("_utf8mb4", bytes)
}

/// A string as SQL that needs no escaping (MySQL manual, "Hexadecimal Literals" and "Character Set Introducers").
fn hex_literal(introducer: &str, bytes: &[u8]) -> String {
    use std::fmt::Write;
    if bytes.is_empty() {
        return "''".to_owned();
    }
    let mut sql = String::with_capacity(introducer.len() + 4 + 2 * bytes.len());
    sql.push_str(introducer);
    sql.push_str(if introducer.is_empty() { "X'" } else { " X'" });
    for byte in bytes {
        // writing to a String cannot fail
        write!(sql, "{byte:02x}").unwrap_or_default();
    }
    sql.push('\'');
    sql
}

#[cfg(test)]
mod tests;
