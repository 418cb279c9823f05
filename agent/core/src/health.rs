//! The health board: every subsystem writes its own condition here, only the verdicts read it. A condition is a level, not an
//! event: it stands until its owner writes another. In memory only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Does all it should.
    Ok,
    /// Does its main job, with something missing.
    Degraded,
    /// Does not do its job.
    Down,
}

impl Condition {
    /// Every value, mildest first.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Degraded, Self::Down];

    /// The word used in metrics and on the status page.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// How far a fault is known to reach. Only what is *proved* local may take this instance out of its load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only this machine has it (its disk, its web server, its network interface).
    Local,
    /// Other instances have it too, or may have it: a server they all use.
    Shared,
}

impl Reach {
    /// The word used on the status page.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Shared => "shared",
        }
    }
}

/// One component's line on the board.
#[derive(Debug, Clone)]
pub struct Report {
    /// How it is.
    pub condition: Condition,
    /// How far the fault reaches; [`Reach::Local`] when there is none.
    pub reach: Reach,
    /// Why, for people; empty when all is well. Never holds a secret.
    pub reason: String,
    /// Since when the condition has stood.
    pub since: Instant,
}

/// A copy of the whole board at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every component by name (`"mysql"`, `"sync:site"`).
    pub reports: BTreeMap<Arc<str>, Report>,
    /// Work that must be done once after boot before the instance may take traffic; `true` when done.
    pub gates: BTreeMap<Arc<str>, bool>,
}

impl Snapshot {
    /// The names of gates that are still closed.
    pub fn closed_gates(&self) -> impl Iterator<Item = &str> {
        self.gates
            .iter()
            .filter(|(_, open)| !**open)
            .map(|(name, _)| &**name)
    }
}

/// The board. Clones share it.
#[derive(Debug, Clone)]
pub struct HealthBoard {
    sender: Arc<watch::Sender<Arc<Snapshot>>>,
}

impl Default for HealthBoard {
    fn default() -> Self {
        Self::new()
    }
}

impl HealthBoard {
    /// An empty board.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sender: Arc::new(watch::Sender::new(Arc::default())),
        }
    }

    /// The right to write the line `name`. The line starts as [`Condition::Ok`].
    pub fn writer(&self, name: impl Into<Arc<str>>) -> HealthWriter {
        let writer = HealthWriter {
            name: name.into(),
            board: self.clone(),
        };
        writer.ok();
        writer
    }

    /// Registers work that must be done before the first traffic; see [`Gate::open`].
    pub fn gate(&self, name: impl Into<Arc<str>>) -> Gate {
        let name = name.into();
        self.sender.send_modify(|snapshot| {
            Arc::make_mut(snapshot)
                .gates
                .insert(Arc::clone(&name), false);
        });
        Gate {
            name,
            board: self.clone(),
        }
    }

    /// The board as it is now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.sender.borrow())
    }

    /// Wakes at every change.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.sender.subscribe()
    }
}

/// Writes one line of the board.
#[derive(Debug, Clone)]
pub struct HealthWriter {
    name: Arc<str>,
    board: HealthBoard,
}

impl HealthWriter {
    /// All is well.
    pub fn ok(&self) {
        self.set(Condition::Ok, Reach::Local, String::new());
    }

    /// The main job is done, something is missing.
    pub fn degraded(&self, reach: Reach, reason: impl Into<String>) {
        self.set(Condition::Degraded, reach, reason.into());
    }

    /// The job is not done.
    pub fn down(&self, reach: Reach, reason: impl Into<String>) {
        self.set(Condition::Down, reach, reason.into());
    }

    /// A writer for a part of this component: `mysql` gives `mysql:replica-1`.
    #[must_use]
    pub fn part(&self, part: &str) -> Self {
        self.board.writer(format!("{}:{part}", self.name))
    }

    /// Takes the line off the board, for a part that is gone from the configuration.
    pub fn remove(self) {
        self.board.sender.send_modify(|snapshot| {
            Arc::make_mut(snapshot).reports.remove(&self.name);
        });
    }

    /// A gate with the name of this component; see [`HealthBoard::gate`].
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.board.gate(Arc::clone(&self.name))
    }

    fn set(&self, condition: Condition, reach: Reach, reason: String) {
        self.board.sender.send_if_modified(|snapshot| {
            let since = match snapshot.reports.get(&self.name) {
                Some(old) if old.condition == condition && old.reach == reach => {
                    if old.reason == reason {
                        return false;
                    }
                    old.since
                }
                _ => Instant::now(),
            };
            let report = Report {
                condition,
                reach,
                reason,
                since,
            };
            Arc::make_mut(snapshot)
                .reports
                .insert(Arc::clone(&self.name), report);
            true
        });
    }
}

/// Work that must be done once before the instance takes its first traffic after boot (a first sync, a warm-up).
/// It opens once and never closes again: a later failure degrades, it does not take the instance away.
#[derive(Debug)]
pub struct Gate {
    name: Arc<str>,
    board: HealthBoard,
}

impl Gate {
    /// Whether it was opened.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.board.snapshot().gates.get(&self.name) == Some(&true)
    }

    /// The work is done, or its deadline has passed and the instance had better serve without it.
    pub fn open(&self) {
        self.board.sender.send_if_modified(|snapshot| {
            if snapshot.gates.get(&self.name) == Some(&true) {
                return false;
            }
            Arc::make_mut(snapshot)
                .gates
                .insert(Arc::clone(&self.name), true);
            true
        });
    }
}

#[cfg(test)]
mod tests;
