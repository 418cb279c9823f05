//! How a row becomes a key with a value: the same for rows of MySQL and for lines of a file. Pure; no IO.

use std::time::Duration;

use lamplighter_wire::redis::keys::beside;
use tokio::time::Instant;

use super::batch::{Entry, Guard, Keep, Payload};
use super::config::{JobConfig, Mode, ValueFormat};
use super::error::RunError;
use super::php::{Format, RowHash, RowPhp};
use super::template::{BindError, KeyPlan, Template};
use super::value::{Cells, Column, RowJson, Skip};
use crate::backoff::fraction;
use crate::endpoint::TOMBSTONE;

/// What is the same for all rows of a job.
#[derive(Debug)]
pub(crate) struct Mapper<'a> {
    pub(crate) job: &'a JobConfig,
    pub(crate) template: &'a Template,
    /// Prefixes of keys under a hold-off, and how long it is.
    pub(crate) holdoffs: &'a [(String, Duration)],
    /// How much older than its page a row may be.
    pub(crate) lag_max: Duration,
}

/// How rows with these columns become entries.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) columns: Vec<Column>,
    key: KeyPlan,
    value: Value,
}

/// How a row becomes a value.
#[derive(Debug)]
enum Value {
    Json(RowJson),
    Php(RowPhp),
    Hash(RowHash),
    Column(usize),
}

impl Plan {
    pub(crate) fn key(&self, cells: Cells<'_>) -> Result<Vec<u8>, Skip> {
        self.key.render(cells)
    }

    pub(crate) fn value(&self, cells: Cells<'_>) -> Result<Payload, Skip> {
        Ok(Payload::Text(match &self.value {
            Value::Json(json) => json.render(cells)?,
            Value::Php(php) => php.render(cells)?,
            Value::Hash(hash) => return hash.render(cells).map(Payload::Hash),
            Value::Column(at) => {
                let cell = cells.get(*at).copied().flatten();
                cell.ok_or(Skip::NullValue)?.to_vec()
            }
        }))
    }
}

impl Mapper<'_> {
    /// # Errors
    /// If the job does not fit `columns`.
    pub(crate) fn plan(&self, columns: Vec<Column>) -> Result<Plan, RunError> {
        Ok(Plan {
            key: self.template.bind(&columns)?,
            value: self.value(&columns)?,
            columns,
        })
    }

    fn value(&self, columns: &[Column]) -> Result<Value, RunError> {
        let (types, max) = (self.job.types, self.job.value_max.as_usize());
        let php = |format| Value::Php(RowPhp::plan(columns, format, types, max));
        Ok(match self.job.value {
            ValueFormat::RowJson | ValueFormat::RowsJson => {
                Value::Json(RowJson::plan(columns, types, self.job.binary, max)?)
            }
            ValueFormat::RowPhp => php(Format::Serialize),
            ValueFormat::RowIgbinary => php(Format::Igbinary),
            ValueFormat::Hash => Value::Hash(RowHash::plan(columns, types)),
            ValueFormat::Column => {
                let name = self.job.column.as_deref().unwrap_or_default();
                let at = columns.iter().rposition(|column| column.name == name);
                Value::Column(at.ok_or_else(|| BindError::NoValue(name.to_owned()))?)
            }
        })
    }

    /// A value that was asked for at `since`, as it is written.
    pub(crate) fn entry(
        &self,
        key: Vec<u8>,
        payload: Payload,
        since: Instant,
    ) -> Result<Entry, Skip> {
        if payload.size() > self.job.value_max.as_usize() {
            return Err(Skip::ValueTooLarge);
        }
        let guard = self.guard(&key, since);
        Ok(Entry {
            key,
            payload,
            ttl_ms: self.ttl_ms(),
            keep: self.keep(),
            guard,
        })
    }

    /// What protects a key under a hold-off from a value that was asked for at `since`. A replica may not have had changes that were
    /// made before that, so a tombstone counts from when the oldest of those was made.
    fn guard(&self, key: &[u8], since: Instant) -> Option<Guard> {
        let (_, holdoff) = self
            .holdoffs
            .iter()
            .find(|(prefix, _)| key.starts_with(prefix.as_bytes()))?;
        Some(Guard {
            tombstone: beside(TOMBSTONE, key)?,
            until: since + holdoff.saturating_sub(self.lag_max),
        })
    }

    fn keep(&self) -> Keep {
        match self.job.mode {
            Mode::Replace => Keep::Nothing,
            Mode::FillOnly => Keep::Everything,
            Mode::Refresh => {
                let left = self
                    .job
                    .ttl
                    .get()
                    .mul_f64(self.job.refresh_below.fraction());
                Keep::AliveFor(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }

    /// The job's `ttl`, longer or shorter by up to `ttl_jitter`; at least a millisecond.
    fn ttl_ms(&self) -> u64 {
        let ttl = self.job.ttl.get();
        let jitter = self.job.ttl_jitter.fraction();
        let ttl = ttl.mul_f64(1.0 + jitter * (2.0 * fraction() - 1.0));
        u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
    }
}
