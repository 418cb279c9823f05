//! Warm jobs: rows of SQL become keys in Redis.
//!
//! | module | what it does | touches |
//! |---|---|---|
//! | `config` | the tables `[[warm]]` | nothing |
//! | `query` | where the keyset parameter stands in the query | nothing |
//! | `keyset` | from row to row: the key must grow, or the job would never end | nothing |
//! | `template` | the Redis key of a row | nothing |
//! | `value`, `php` | the value of a row, typed as PHP would have it: JSON, `serialize()`, igbinary | nothing |
//! | `batch` | what goes to Redis in one write, and what its replies mean | nothing |
//! | `schedule` | whether a job is due, from its last result | nothing |
//! | `queue` | from reader to writer, bounded by bytes | memory |
//! | `reader` | pages from MySQL | the MySQL endpoint |
//! | `writer` | batches to Redis | Redis |
//! | `lease` | that one instance runs a job; its generation and result | Redis |
//! | `job` | a job's life: due, leased, run, reported | all of them |

mod batch;
mod config;
mod error;
mod gate;
mod job;
mod keyset;
mod lease;
mod php;
mod query;
mod queue;
mod reader;
mod schedule;
mod template;
mod value;
mod writer;

pub use config::{Binary, JobConfig, Start, Types, ValueFormat, problems};
pub use query::QueryError;
pub use template::TemplateError;

pub(crate) use error::ErrorKind;
pub(crate) use gate::Doorkeeper;
pub(crate) use job::{Job, JobContext, JobError};
pub(crate) use value::Skip;
