//! What a pass has done and how it ended. Pure; no IO.

use std::collections::BTreeMap;

use super::CycleError;
use crate::names::Refusal;
use crate::plan::{Census, Guard};

/// How a pass ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything was looked at; single files may have failed.
    Done,
    /// Ended early.
    Failed(CycleError),
    /// Ended early because the process leaves.
    Drained,
}

/// What a pass has done.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) outcome: Outcome,
    pub(crate) census: Census,
    /// Files that are in place now.
    pub(crate) in_place: u64,
    /// Files that were put in place, set right or deleted.
    pub(crate) changed: u64,
    /// Files that failed, each for itself.
    pub(crate) failed: u64,
    /// The first of these failures.
    pub(crate) first_failure: Option<String>,
    pub(crate) refused: BTreeMap<Refusal, u64>,
    /// The guard that held the deletes.
    pub(crate) held: Option<Guard>,
    /// The release that is live, in release mode.
    pub(crate) release: Option<String>,
    /// It became live in this pass.
    pub(crate) switched: bool,
    /// What is published, and was rolled back from.
    pub(crate) rolled_back: Option<String>,
    /// What was in the way may be gone now: another pass at once.
    pub(crate) again: bool,
}

impl Report {
    pub(crate) const fn with(outcome: Outcome) -> Self {
        Self {
            outcome,
            census: Census {
                remote: 0,
                indexed: 0,
                deletes: 0,
            },
            in_place: 0,
            changed: 0,
            failed: 0,
            first_failure: None,
            refused: BTreeMap::new(),
            held: None,
            release: None,
            switched: false,
            rolled_back: None,
            again: false,
        }
    }

    /// Whether every file that is wanted and may be is in place.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.outcome, Outcome::Done) && self.failed == 0
    }
}
