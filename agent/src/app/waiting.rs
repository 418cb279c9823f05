//! The life of an agent that has no configuration yet: installed, enabled, started with the image, and waiting for the file that
//! provisioning writes. Not an error and no loop of crashes: probes hear 503 and why, the service manager sees a running service.
//! Looks at the file once a second; ends the process once the file can be used, to be started again with it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lamplighter_core::fault::Fault;
use lamplighter_core::health::Reach;
use lamplighter_core::lifecycle::{Control, Drained, Scope, Subsystem};

use crate::config::{self, ConfigProblem};

/// How often the file is looked at. It is read by hand or by a machine's first boot: nobody waits for less.
const LOOK: Duration = Duration::from_secs(1);

/// Says whether a file came while we waited. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Came(Arc<AtomicBool>);

impl Came {
    /// Whether the file can be used now.
    pub(super) fn is_there(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Waits for the configuration. `"configuration"` in every list.
#[derive(Debug)]
pub(super) struct Waiting {
    path: PathBuf,
    control: Control,
    came: Came,
}

/// What the file looks like at one moment.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// Not there, or without a single key.
    Blank,
    /// There and wrong; the text tells versions of it apart.
    Wrong(String),
    /// There and right, in the version with this digest.
    Right(String),
}

impl Waiting {
    pub(super) const fn new(path: PathBuf, control: Control, came: Came) -> Self {
        Self {
            path,
            control,
            came,
        }
    }

    fn look(&self) -> Look {
        if config::is_blank(&self.path) {
            return Look::Blank;
        }
        match config::load(&self.path) {
            Ok(loaded) => Look::Right(loaded.digest),
            Err(problems) => Look::Wrong(text(&problems)),
        }
    }
}

fn text(problems: &[ConfigProblem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n\n")
}

impl Subsystem for Waiting {
    fn name(&self) -> &'static str {
        "configuration"
    }

    async fn run(self, mut scope: Scope) -> Result<Drained, Fault> {
        let waiting = format!("waiting for {}", self.path.display());
        // holds /lb back on a machine that has not served since boot; the line does on one that has
        let _gate = scope.health().gate();
        scope.health().down(Reach::Local, &waiting);
        tracing::info!(config = %self.path.display(), "no configuration yet; waiting for it");
        scope.ready();
        let mut known = Look::Blank;
        let mut ticker = tokio::time::interval(LOOK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = scope.draining() => return scope.finish().await,
                _ = ticker.tick() => {}
            }
            let now = self.look();
            match &now {
                // the same twice: nobody is in the middle of writing it
                Look::Right(_) if now == known && !self.came.is_there() => {
                    tracing::info!(config = %self.path.display(), "the configuration is there; starting again with it");
                    self.came.0.store(true, Ordering::Relaxed);
                    self.control.restart();
                }
                _ if now == known => {}
                Look::Blank => scope.health().down(Reach::Local, &waiting),
                Look::Wrong(problems) => {
                    tracing::error!("the configuration cannot be used; still waiting\n{problems}");
                    let reason = format!("{} cannot be used; see the log", self.path.display());
                    scope.health().down(Reach::Local, reason);
                }
                Look::Right(_) => {}
            }
            known = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_blank_until_it_has_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lamplighter.toml");
        assert!(config::is_blank(&path), "not there");
        for blank in ["", "\n# [health]\n", "\t\n"] {
            std::fs::write(&path, blank).unwrap();
            assert!(config::is_blank(&path), "{blank:?}");
        }
        for written in ["[health]\n", "[healt", "x = 1"] {
            std::fs::write(&path, written).unwrap();
            assert!(!config::is_blank(&path), "{written:?}");
        }
    }
}
