//! Reading the configuration again while the agent runs. The new file is parsed and checked whole: a bad one changes nothing,
//! a good one is handed to the subsystems. Reads the file.

use std::path::PathBuf;

use lamplighter_platform::Reloading;

use super::series::ConfigSeries;
use crate::config::{self, Config, ConfigProblem, Loaded};

/// Hands a new configuration to one subsystem; `Err` says why only a restart can.
pub(super) type Apply = Box<dyn Fn(&Config) -> Result<(), String> + Send>;

/// Makes one subsystem read again what its configuration names (a CA file); `Err` says why it keeps the old.
pub(super) type Refresh = Box<dyn Fn() -> Result<(), String> + Send>;

/// One part of the configuration and who can take a change of it.
pub(super) struct Part {
    /// The table's name.
    pub(super) table: &'static str,
    /// The table as text; two configurations differ here when the texts do.
    pub(super) text: fn(&Config) -> Option<String>,
    /// Takes the change; none: only a restart does.
    pub(super) apply: Option<Apply>,
    /// Called at every reload, because a file may change without the configuration that names it.
    pub(super) refresh: Option<Refresh>,
}

impl Part {
    /// A part whose keys are read at start only.
    pub(super) fn fixed(table: &'static str, text: fn(&Config) -> Option<String>) -> Self {
        Self {
            table,
            text,
            apply: None,
            refresh: None,
        }
    }

    /// As it is, and `refresh` is called at every reload.
    pub(super) fn with_refresh(
        mut self,
        refresh: impl Fn() -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.refresh = Some(Box::new(refresh));
        self
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part")
            .field("table", &self.table)
            .field("live", &self.apply.is_some())
            .finish_non_exhaustive()
    }
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reloaded {
    /// The new file is in force, as far as a running agent can take it.
    Applied {
        /// Tables whose change is in force.
        changed: Vec<&'static str>,
        /// Tables whose change waits for a restart, with the reason.
        restart_needed: Vec<String>,
        /// What a subsystem could not read again; it keeps what it had.
        kept: Vec<String>,
    },
    /// The old configuration stays.
    Refused(Vec<ConfigProblem>),
}

impl Reloaded {
    /// For whoever asked: what is in force now, or everything that is wrong.
    pub(super) fn into_reply(self) -> Result<String, String> {
        match self {
            Self::Refused(problems) => {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                Err(lines.join("\n\n"))
            }
            Self::Applied {
                changed,
                restart_needed,
                kept,
            } => {
                let mut text = match changed.as_slice() {
                    [] => "read; nothing changed that a running agent can take".to_owned(),
                    tables => format!("in force: [{}]", tables.join("], [")),
                };
                for reason in restart_needed {
                    text.push_str("\nneeds a restart: ");
                    text.push_str(&reason);
                }
                if kept.is_empty() {
                    return Ok(text);
                }
                for reason in kept {
                    text.push_str("\nnot read again: ");
                    text.push_str(&reason);
                }
                Err(text)
            }
        }
    }
}

/// Reads the file again.
#[derive(Debug)]
pub(super) struct Reloader {
    path: PathBuf,
    /// What is in force, table by table.
    running: Vec<(Part, Option<String>)>,
    series: ConfigSeries,
    /// Tells systemd when a reload begins and ends.
    reloading: Reloading,
}

impl Reloader {
    pub(super) fn new(
        loaded: &Loaded,
        parts: Vec<Part>,
        series: ConfigSeries,
        reloading: Reloading,
    ) -> Self {
        let running = parts
            .into_iter()
            .map(|part| {
                let text = (part.text)(&loaded.config);
                (part, text)
            })
            .collect();
        Self {
            path: loaded.path.clone(),
            running,
            series,
            reloading,
        }
    }

    /// Reads, checks, applies, and says so in the log and the metrics.
    pub(super) fn reload(&mut self) -> Reloaded {
        let _told = self.reloading.begin();
        let loaded = config::load(&self.path).and_then(|loaded| {
            let problems = loaded.secret_problems();
            if problems.is_empty() {
                Ok(loaded)
            } else {
                Err(problems)
            }
        });
        match loaded {
            Ok(loaded) => self.apply(&loaded),
            Err(problems) => {
                self.series.refused();
                for problem in &problems {
                    tracing::error!(
                        file = %problem.file.display(),
                        line = problem.line,
                        key = problem.key,
                        "{}",
                        problem.message
                    );
                }
                tracing::error!(
                    problems = problems.len(),
                    "configuration not reloaded; the old one stays in force"
                );
                Reloaded::Refused(problems)
            }
        }
    }

    fn apply(&mut self, loaded: &Loaded) -> Reloaded {
        let mut changed = Vec::new();
        let mut restart_needed = Vec::new();
        let mut kept = Vec::new();
        for (part, running) in &mut self.running {
            if let Some(Err(reason)) = part.refresh.as_ref().map(|refresh| refresh()) {
                tracing::error!(table = part.table, reason, "not read again; the old stays");
                kept.push(format!("[{}]: {reason}", part.table));
            }
            let new = (part.text)(&loaded.config);
            if new == *running {
                continue;
            }
            let applied = match &part.apply {
                _ if running.is_none() => Err("it was off when the agent started".to_owned()),
                _ if new.is_none() => Err("it is running".to_owned()),
                Some(apply) => apply(&loaded.config),
                None => Err("its keys are read at start only".to_owned()),
            };
            match applied {
                Ok(()) => {
                    *running = new;
                    changed.push(part.table);
                }
                Err(reason) => {
                    tracing::warn!(table = part.table, reason, "this change needs a restart");
                    restart_needed.push(format!("[{}]: {reason}", part.table));
                }
            }
        }
        self.series
            .loaded(&loaded.digest, !restart_needed.is_empty());
        tracing::info!(
            digest = loaded.digest,
            ?changed,
            ?restart_needed,
            "configuration reloaded"
        );
        Reloaded::Applied {
            changed,
            restart_needed,
            kept,
        }
    }
}

#[cfg(test)]
mod tests;
