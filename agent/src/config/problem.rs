//! A problem of the configuration file as people see it: what, where, the line itself, and what to write instead. Pure.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::document::Mistake;
use super::redact;

/// One problem of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigProblem {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 when the problem is with the file as a whole.
    pub line: usize,
    /// The column in characters, counted from 1; 0 as above.
    pub column: usize,
    /// The key with its tables (`"mysql.pool.max_wait"`); empty when unknown.
    pub key: String,
    /// What is wrong. Never holds a secret.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

/// The line in question, and which part of it to underline.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Excerpt {
    line: String,
    marks: Range<usize>,
}

impl ConfigProblem {
    /// A problem with the file as a whole.
    pub(super) fn of_file(file: &Path, message: String, help: Option<&str>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message,
            help: help.map(str::to_owned),
            excerpt: None,
        }
    }

    /// A problem at a place of `text`.
    pub(super) fn at(file: &Path, text: &str, mistake: Mistake) -> Self {
        let start = floor(text, mistake.span.start);
        let end = floor(text, mistake.span.end).max(start);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = text.get(line_start..).unwrap_or_default();
        let line = line.lines().next().unwrap_or_default();
        let column = text.get(line_start..start).unwrap_or_default();
        let column = column.chars().count();
        let marked = text.get(start..end).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default().chars().count();
        let shown = redact::line(line);
        let secret = redact::is_secret_key(&mistake.key) || shown != line;
        // what stood there may be in serde's message as well as in the line
        let message = if secret && mistake.help.is_none() && names_a_value(&mistake.message) {
            "wrong type or value".to_owned()
        } else {
            redact::text(&mistake.message)
        };
        let help = if redact::is_secret_key(&mistake.key) && message.starts_with("unknown key") {
            let advice = mistake.help.unwrap_or_default();
            Some(format!(
                "{advice} (the configuration never holds a secret, only the path of a file that does)"
            ))
        } else {
            mistake.help
        };
        Self {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: column + 1,
            key: mistake.key,
            message,
            help,
            excerpt: (!shown.trim().is_empty()).then_some(Excerpt {
                line: shown,
                marks: column..column + marked.max(1),
            }),
        }
    }
}

/// Whether serde's message quotes what it found.
fn names_a_value(message: &str) -> bool {
    message.starts_with("invalid") || message.contains('"')
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.message)?;
        let file = self.file.display();
        if self.line == 0 {
            write!(f, "  --> {file}")?;
        } else {
            write!(f, "  --> {file}:{}:{}", self.line, self.column)?;
        }
        if let Some(excerpt) = &self.excerpt {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            // tabs keep their width, so that the marks stand below what they mark
            let indent: String = excerpt
                .line
                .chars()
                .chain(std::iter::repeat(' '))
                .take(excerpt.marks.start)
                .map(|letter| if letter == '\t' { '\t' } else { ' ' })
                .collect();
            let width = excerpt.line.chars().count();
            let end = excerpt.marks.end.min(width.max(excerpt.marks.start + 1));
            let marks = "^".repeat(end - excerpt.marks.start);
            write!(f, "\n{margin} |\n{number} | {}", excerpt.line)?;
            write!(f, "\n{margin} | {indent}{marks}")?;
        }
        match &self.help {
            Some(help) => write!(f, "\n   = help: {help}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
