//! Files between Azure Storage and the local disk: what a container holds is kept in a directory, never half done.
//!
//! | module | what it holds | touches |
//! |---|---|---|
//! | [`config`] | one `[[sync]]` entry and its rules | nothing |
//! | `names` | which blob names may become files, and why others may not | nothing |
//! | `plan` | remote list against local index: what to do with each name; the guards | nothing |
//! | `index` | what was written and how it looked then, on disk | the state directory |
//! | `sum` | what content sums up to | nothing |
//! | `tree` | everything done below the destination | the destination |
//! | [`store`] | the storage as this crate needs it; Azure behind it | the network |
//! | `attempts`, `pace` | retries, pauses, how many requests at a time | nothing |
//! | `fetch` | one blob to one file, over as many requests as it takes | both |
//! | `source`, [`manifest`] | the manifest a publisher wrote, or else the list | the network, the state directory |
//! | `bundle` | all files of a release in one blob | both |
//! | [`publish`] | writes a release to a container | both |
//! | `survey` | lists, compares, looks: yields decisions in name order | reads both |
//! | `cycle` | carries decisions out, writes the next index | both |
//! | `pull`, `release` | what a pass consists of; whole releases and the switch between them | the destination |
//! | `mirror` | pushing, and both ways at once; conflicts; inotify | both |
//! | `through` | a blob that is not on disk yet, for the web server's fallback | the network |
//! | `verify` | whether what is on disk is what was written | the destination |
//! | `hook` | the operator's command after a change | processes |
//! | `job` | one entry's life: cycles, pauses, health, gate | - |
//! | `subsystem` | all entries as one subsystem | - |
//!
//! ```text
//!   list pages ──▶ plan::Merge ◀── index        one pass, memory for one page
//!                      │
//!                      ▼ observe (stat)
//!                  plan::decide ──▶ get / verify / attributes / mkdir ──▶ next index
//!                      └──────────▶ deletes, held until the list is complete and the guards agree
//! ```

mod attempts;
mod bundle;
pub mod config;
mod cycle;
mod desk;
mod fetch;
mod hook;
mod index;
mod job;
pub mod manifest;
pub mod metrics;
mod mirror;
mod names;
mod pace;
mod plan;
pub mod publish;
mod pull;
mod release;
#[cfg(test)]
mod rig;
mod source;
pub mod store;
mod subsystem;
mod sum;
mod survey;
mod through;
mod tree;
mod verify;
mod work;

pub use config::Config;
pub use metrics::Metrics;
pub use names::Refusal;
pub use plan::Guard;
pub use tree::OwnerError;
pub use verify::Verified;

pub use subsystem::{
    AskError, Handle, JobStatus, OneError, PassSummary, PlanLine, PlanSummary, StartError, Syncer,
    Watcher, one_pass, plan, probe, roll_back, verify,
};
