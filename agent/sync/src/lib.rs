//! Files between Azure Storage and the local disk: what a container holds is kept in a directory, never half done.
//!
//! | module | what it holds | touches |
//! |---|---|---|
//! | [`config`] | one `[[sync]]` entry and its rules | nothing |
//! | `names` | which blob names may become files, and why others may not | nothing |
//! | `plan` | remote list against local index: what to do with each name; the guards | nothing |
//! | `index` | what was written and how it looked then, on disk | the state directory |
//! | `tree` | everything done below the destination | the destination |
//! | [`store`] | the storage as this crate needs it; Azure behind it | the network |
//! | `attempts`, `pace` | retries, pauses, how many requests at a time | nothing |
//! | `fetch` | one blob to one file, over as many requests as it takes | both |
//! | `survey` | lists, compares, looks: yields decisions in name order | reads both |
//! | `cycle` | carries decisions out, writes the next index | both |
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
pub mod config;
mod cycle;
mod fetch;
mod index;
mod job;
pub mod metrics;
mod names;
mod pace;
mod plan;
#[cfg(test)]
mod rig;
pub mod store;
mod subsystem;
mod survey;
mod tree;

pub use config::Config;
pub use metrics::Metrics;
pub use names::Refusal;
pub use plan::Guard;
pub use subsystem::{
    Handle, JobStatus, PlanError, PlanLine, PlanSummary, StartError, Syncer, plan, probe,
};
