//! What makes the passes of an entry: it pulls, or it is mirrored.

use std::path::Path;

use crate::config::{Config, Direction};
use crate::cycle::{CycleError, Engine, Outcome, Report};
use crate::mirror::Mirror;
use crate::pull::Puller;
use crate::store::BlobStore;
use crate::verify::Verified;

/// One entry's way.
#[derive(Debug)]
pub(crate) enum Worker {
    Pull(Box<Puller>),
    Mirror(Box<Mirror>),
}

impl Worker {
    /// For `config` on the instance `instance`; `identity` is what its index must be of.
    pub(crate) fn new(config: &Config, instance: &str, state_dir: &Path, identity: String) -> Self {
        match config.direction {
            Direction::Pull => Self::Pull(Box::new(Puller::new(config, state_dir, identity))),
            Direction::Push | Direction::Both => {
                Self::Mirror(Box::new(Mirror::new(config, instance, state_dir)))
            }
        }
    }

    /// One pass over everything.
    pub(crate) async fn pass<S: BlobStore>(&mut self, engine: &Engine<S>) -> Report {
        match self {
            Self::Pull(puller) => puller.pass(engine).await,
            Self::Mirror(mirror) => mirror.pass(engine).await,
        }
    }

    /// Resolves when something is to be pushed; never for what only pulls. Safe to cancel.
    pub(crate) async fn stirred(&self) {
        match self {
            Self::Pull(_) => std::future::pending().await,
            Self::Mirror(mirror) => mirror.stirred().await,
        }
    }

    /// Sends what changed here; with `now`, without waiting until it has been left alone. Whether a whole pass is needed, and
    /// what was done.
    pub(crate) async fn push<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        now: bool,
    ) -> (bool, Report) {
        let mut report = Report::with(Outcome::Done);
        let Self::Mirror(mirror) = self else {
            return (false, report);
        };
        match mirror.push(engine, now, &mut report).await {
            Ok(all) => (all || report.again, report),
            Err(error) => {
                report.outcome = Outcome::Failed(error);
                (true, report)
            }
        }
    }

    /// Whether what is written here is sent.
    pub(crate) const fn sends(&self) -> bool {
        matches!(self, Self::Mirror(_))
    }

    /// Sends all that was written here and not yet. How many files are left, and what was done.
    pub(crate) async fn flush<S: BlobStore>(&mut self, engine: &Engine<S>) -> (usize, Report) {
        let mut report = Report::with(Outcome::Done);
        let Self::Mirror(mirror) = self else {
            return (0, report);
        };
        if let Err(error) = mirror.flush(engine, &mut report).await {
            report.outcome = Outcome::Failed(error);
        }
        (mirror.unsent(), report)
    }

    /// Goes back to an earlier release.
    pub(crate) async fn roll_back(&mut self, to: Option<String>) -> Result<String, String> {
        match self {
            Self::Pull(puller) => puller.roll_back(to).await,
            Self::Mirror(_) => Err("this entry has no releases: it pushes".to_owned()),
        }
    }

    /// Reads every file that was written, and compares it with what was written.
    pub(crate) async fn verify<S: BlobStore>(
        &self,
        engine: &Engine<S>,
    ) -> Result<Verified, CycleError> {
        match self {
            Self::Pull(puller) => puller.verify(engine).await,
            // what is written here is right by itself
            Self::Mirror(_) => Ok(Verified::default()),
        }
    }
}
