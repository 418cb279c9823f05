//! Warm jobs: what the application will ask Redis for is there before it asks; and pages of the local web server, so that its own caches
//! are warm.
//!
//! | module | what it does | touches |
//! |---|---|---|
//! | `config` | the tables `[[warm]]` | nothing |
//! | `query` | where the parameter stands in the query | nothing |
//! | `keyset` | from row to row: the key must grow, or the job would never end | nothing |
//! | `template` | the Redis key of a row | nothing |
//! | `value`, `php` | the value of a row, typed as PHP would have it: JSON, `serialize()`, igbinary, a hash | nothing |
//! | `mapper` | from row to entry, by the two before it | nothing |
//! | `batch` | what goes to Redis in one write, and what its replies mean | nothing |
//! | `schedule` | whether a job is due, from its last result | nothing |
//! | `intake` | what every source gives its rows to | the queue |
//! | `queue` | from reader to writer, bounded by bytes | memory |
//! | `governor` | how fast rows may be read: halved at every sign of strain | Redis' INFO |
//! | `reader`, `hot` | pages from MySQL, or the rows behind the keys that are asked for most | the MySQL endpoint, Redis |
//! | `lines` | lines of a file | that file |
//! | `crawl` | pages of the local web server | the web server |
//! | `writer` | batches to Redis | Redis |
//! | `lease` | that one instance runs a job; its generation, its result, how far it came | Redis |
//! | `job` | a job's life: due, leased, run, reported | all of them |
//! | `standing`, `handle` | how jobs are, for people, and what they are asked to do | memory |

mod batch;
mod config;
mod crawl;
mod error;
mod gate;
mod governor;
mod handle;
mod hot;
mod intake;
mod job;
mod keyset;
mod lease;
mod lines;
mod mapper;
mod php;
mod query;
mod queue;
mod reader;
mod schedule;
mod standing;
mod template;
mod value;
mod writer;

pub use config::{
    Binary, CronError, CronTimes, JobConfig, Mode, ReadFrom, Source, Start, Types, ValueFormat,
    problems,
};
pub use query::QueryError;
pub use standing::{LastRun, State, WarmStatus};
pub use template::TemplateError;

pub(crate) use error::ErrorKind;
pub(crate) use gate::Doorkeeper;
pub(crate) use governor::{Governor, Strain};
pub(crate) use handle::{Desk, Seat};
pub(crate) use job::{Job, JobContext, JobError};
pub(crate) use value::Skip;
