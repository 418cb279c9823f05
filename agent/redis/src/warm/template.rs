//! The Redis key of a row: text with columns in it. A column's value stands in the key as the server shows it, which is what
//! PHP's string concatenation gives. Pure; no IO.

use super::value::{Cells, Column, Kind, Skip, bits};

/// The longest key written, in bytes. Redis takes 512 MiB; an application's own keys are far below this.
const KEY_MAX: usize = 4096;

/// A key with places for columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Column(String),
}

/// Why a template was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Every row would have the same key.
    #[error("has no {{column}} in it, so every row would have the same key")]
    NoColumn,
    /// A `{` without its `}`, or the other way round.
    #[error("has a brace without its partner; a brace of the key itself is doubled: {{{{ or }}}}")]
    Brace,
    /// `{}`.
    #[error("has {{}} without a column's name in it")]
    Empty,
}

impl Template {
    /// Reads a template such as `"shop:product:{id}"`.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '{' if chars.next_if_eq(&'{').is_some() => plain.push('{'),
                '}' if chars.next_if_eq(&'}').is_some() => plain.push('}'),
                '}' => return Err(TemplateError::Brace),
                '{' => {
                    let mut name = String::new();
                    loop {
                        match chars.next() {
                            Some('}') => break,
                            None | Some('{') => return Err(TemplateError::Brace),
                            Some(c) => name.push(c),
                        }
                    }
                    if name.is_empty() {
                        return Err(TemplateError::Empty);
                    }
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Column(name));
                }
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        if pieces.iter().any(|piece| matches!(piece, Piece::Column(_))) {
            Ok(Self(pieces))
        } else {
            Err(TemplateError::NoColumn)
        }
    }

    /// What every key begins with.
    pub(crate) fn prefix(&self) -> String {
        match self.0.first() {
            Some(Piece::Text(text)) => text.clone(),
            Some(Piece::Column(_)) | None => String::new(),
        }
    }

    /// The column, if there is one only.
    pub(crate) fn only_column(&self) -> Option<&str> {
        let mut columns = self.0.iter().filter_map(|piece| match piece {
            Piece::Column(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        });
        columns.next().filter(|_| columns.next().is_none())
    }

    /// What stands in `key` for the only column, if `key` is one of this template's.
    pub(crate) fn value_in<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let (mut rest, mut behind) = (key, false);
        for piece in &self.0 {
            match piece {
                Piece::Column(_) => behind = true,
                Piece::Text(text) if behind => rest = rest.strip_suffix(text.as_bytes())?,
                Piece::Text(text) => rest = rest.strip_prefix(text.as_bytes())?,
            }
        }
        (!rest.is_empty()).then_some(rest)
    }

    /// Finds the template's columns among those of the result.
    pub(crate) fn bind(&self, columns: &[Column]) -> Result<KeyPlan, BindError> {
        let bind = |piece: &Piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text.clone().into_bytes())),
            Piece::Column(name) => {
                let found = columns.iter().rposition(|column| column.name == *name);
                let index = found.ok_or_else(|| BindError::NoColumn(name.clone()))?;
                match columns[index].kind {
                    Kind::Binary => Err(BindError::Binary(name.clone())),
                    Kind::Bit => Ok(Part::Bits(index)),
                    _ => Ok(Part::Column(index)),
                }
            }
        };
        self.0
            .iter()
            .map(bind)
            .collect::<Result<_, _>>()
            .map(KeyPlan)
    }
}

/// Why a template does not fit the query's result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BindError {
    #[error("the key names the column {0}, which the query does not select")]
    NoColumn(String),
    #[error("the value is to be the column {0}, which the query does not select")]
    NoValue(String),
    #[error(
        "the key names the binary column {0}; select HEX({0}) under a name of its own and use that"
    )]
    Binary(String),
}

/// A template whose columns have been found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyPlan(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Column(usize),
    Bits(usize),
}

impl KeyPlan {
    /// The key of a row.
    pub(crate) fn render(&self, row: Cells<'_>) -> Result<Vec<u8>, Skip> {
        let mut key = Vec::with_capacity(32);
        for part in &self.0 {
            match part {
                Part::Text(text) => key.extend_from_slice(text),
                Part::Column(index) => key.extend_from_slice(cell(row, *index)?),
                Part::Bits(index) => {
                    key.extend_from_slice(bits(cell(row, *index)?).to_string().as_bytes());
                }
            }
        }
        if key.len() > KEY_MAX {
            return Err(Skip::KeyTooLong);
        }
        Ok(key)
    }
}

fn cell<'a>(row: Cells<'a>, index: usize) -> Result<&'a [u8], Skip> {
    row.get(index).copied().flatten().ok_or(Skip::NullInKey)
}

#[cfg(test)]
mod tests;
