//! Lines of a file as rows: a JSON object on each, text, numbers, booleans (1 and 0, as MySQL has them) and null in it. Reads that file,
//! one line at a time.

use std::path::Path;

use lamplighter_core::units::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::time::Instant;

use super::batch::Checkpoint;
use super::error::RunError;
use super::intake::{Intake, Read};
use super::keyset::Key;
use super::mapper::Plan;
use super::value::{Column, Kind};

/// A line is at most this much longer than the largest value.
const FRAME: Bytes = Bytes::new(64 * 1024);

/// Lines between two places from which a run can go on.
const PAGE: u64 = 1000;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    #[error("cannot read {path}")]
    Io {
        path: String,
        source: std::io::Error,
    },
    #[error("{path}:{line} is no JSON object")]
    Json {
        path: String,
        line: u64,
        source: serde_json::Error,
    },
    #[error(
        "{path}:{line}: {name} is a list or an object; a column is text, a number, true, false or null"
    )]
    Nested {
        path: String,
        line: u64,
        name: String,
    },
    #[error("{path}:{line} is longer than {max}")]
    TooLong { path: String, line: u64, max: Bytes },
}

/// Members in the order in which they stand.
struct Row(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Row;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Row, M::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Row(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The lines of one run.
pub(crate) struct Lines<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    line: u64,
    buffer: Vec<u8>,
    max: Bytes,
}

impl<'a> Lines<'a> {
    pub(crate) async fn open(path: &'a Path, value_max: Bytes) -> Result<Self, LineError> {
        let file = File::open(path).await.map_err(|source| LineError::Io {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Self {
            path,
            reader: BufReader::new(file),
            line: 0,
            buffer: Vec::new(),
            max: Bytes::new(value_max.get().saturating_add(FRAME.get())),
        })
    }

    /// The next line that is not empty, without its end.
    pub(crate) async fn next(&mut self) -> Result<Option<&[u8]>, LineError> {
        loop {
            self.buffer.clear();
            let mut limited = (&mut self.reader).take(self.max.get());
            let read = limited.read_until(b'\n', &mut self.buffer).await;
            let read = read.map_err(|source| LineError::Io {
                path: self.path.display().to_string(),
                source,
            })?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if read == self.max.as_usize() && !self.buffer.ends_with(b"\n") {
                return Err(LineError::TooLong {
                    path: self.path.display().to_string(),
                    line: self.line,
                    max: self.max,
                });
            }
            let text = self.buffer.trim_ascii().len();
            if text > 0 {
                return Ok(Some(self.buffer.trim_ascii()));
            }
        }
    }

    fn row(&self) -> Result<Row, LineError> {
        serde_json::from_slice(&self.buffer).map_err(|source| LineError::Json {
            path: self.path.display().to_string(),
            line: self.line,
            source,
        })
    }

    fn cell(&self, name: &str, value: Value) -> Result<(Kind, Option<String>), LineError> {
        Ok(match value {
            Value::Null => (Kind::Text, None),
            Value::Bool(truth) => (Kind::Integer, Some(u8::from(truth).to_string())),
            Value::Number(number) if number.is_f64() => (Kind::Float, Some(number.to_string())),
            Value::Number(number) => (Kind::Integer, Some(number.to_string())),
            Value::String(text) => (Kind::Text, Some(text)),
            Value::Array(_) | Value::Object(_) => {
                return Err(LineError::Nested {
                    path: self.path.display().to_string(),
                    line: self.line,
                    name: name.to_owned(),
                });
            }
        })
    }

    /// Gives every line to `intake`, those behind `from`.
    pub(crate) async fn read_all(
        mut self,
        mut intake: Intake<'_>,
        from: Option<Checkpoint>,
    ) -> Result<Read, RunError> {
        let behind = match &from {
            Some(Checkpoint {
                last: Key::Integer(line),
                ..
            }) => *line,
            _ => 0,
        };
        if let Some(from) = &from {
            intake.resume(from);
        }
        let mut plan: Option<Plan> = None;
        while self.next().await?.is_some() {
            if i128::from(self.line) <= behind {
                continue;
            }
            let (mut columns, mut texts) = (Vec::new(), Vec::new());
            for (name, value) in self.row()?.0 {
                let (kind, text) = self.cell(&name, value)?;
                columns.push(Column { name, kind });
                texts.push(text);
            }
            let plan = match &mut plan {
                Some(plan) if plan.columns == columns => &*plan,
                other => other.insert(intake.mapper.plan(columns)?),
            };
            let cells: Vec<_> = texts
                .iter()
                .map(|text| text.as_deref().map(str::as_bytes))
                .collect();
            let full = intake.row(plan, &cells, Instant::now())?;
            if self.line.is_multiple_of(PAGE) && !intake.has_group() {
                intake.mark(Key::Integer(i128::from(self.line)));
                intake.governor.pace(PAGE).await;
            }
            if let Some(batch) = full {
                intake.hand_over(batch).await?;
            }
        }
        intake.end().await
    }
}
