//! All `[[sync]]` entries as one subsystem.

mod dry;
mod handle;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lamplighter_core::ask::Questions;
use lamplighter_core::config::SecretDirs;
use lamplighter_core::fault::Fault;
use lamplighter_core::identity::TokenSource;
use lamplighter_core::lifecycle::{Drained, Scope, Subsystem};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::attempts::Attempts;
use crate::config::{Config, Direction, Filters, Mode};
use crate::cycle::Engine;
use crate::fetch::Fetcher;
use crate::hook::Hook;
use crate::index;
use crate::job::{Command, Job, open_after_deadline};
use crate::metrics::Metrics;
use crate::pace::{Bandwidth, Governor};
use crate::store::BlobStore;
use crate::store::azure::{AzureStore, SetupError};
use crate::through::{ReadThrough, Shelf};
use crate::work::Worker;
use lamplighter_core::units::Bytes;
use sha2::{Digest, Sha256 as Hasher};

pub use crate::job::JobStatus;
pub use dry::{
    OneError, PassSummary, PlanLine, PlanSummary, Watcher, one_pass, plan, probe, roll_back, verify,
};
use handle::Seat;
pub use handle::{AskError, Handle};

/// Why the subsystem could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An entry's client.
    #[error("sync {name}")]
    Client {
        /// The entry.
        name: String,
        /// The reason.
        source: SetupError,
    },
    /// An entry's `read_through`.
    #[error("sync {name}: read_through {address} cannot be bound")]
    ReadThrough {
        /// The entry.
        name: String,
        /// The address.
        address: std::net::SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// An entry's owner or group.
    #[error("sync {name}: owner and group")]
    Owner {
        /// The entry.
        name: String,
        /// The reason.
        source: crate::tree::OwnerError,
    },
}

/// All entries. Constructing it sends nothing and touches no file below the destinations.
#[derive(Debug)]
pub struct Syncer<S = AzureStore> {
    questions: Option<Questions>,
    doors: Vec<ReadThrough<S>>,
    entries: Vec<Entry<S>>,
    quit: CancellationToken,
}

#[derive(Debug)]
struct Entry<S> {
    engine: Engine<S>,
    worker: Worker,
    lock_path: PathBuf,
    status: Arc<watch::Sender<JobStatus>>,
    nudge: Arc<Notify>,
    asks: mpsc::Sender<Command>,
    commands: mpsc::Receiver<Command>,
    phase: f64,
}

/// Commands to one entry that may wait.
const COMMANDS_MAX: usize = 8;

impl Syncer<AzureStore> {
    /// The subsystem for `entries` on the instance `instance` (any text that no other has), each of which has passed [`Config::problems`]. Indexes are kept in `state_dir`
    /// (`/var/lib/lamplighter/sync`), which is made if it is missing.
    ///
    /// # Errors
    /// If an entry's CA is unusable. Storage that is away and secrets that are missing are no reason not to start.
    pub fn new(
        entries: Vec<Config>,
        secrets: &SecretDirs,
        tokens: Option<&TokenSource>,
        instance: &str,
        state_dir: &Path,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        for config in &entries {
            let dir = if state_dir.is_dir() {
                state_dir.to_owned()
            } else {
                std::env::temp_dir()
            };
            crate::tree::check_owner(config, &dir).map_err(|source| StartError::Owner {
                name: config.name.clone(),
                source,
            })?;
        }
        let with_stores =
            entries
                .into_iter()
                .map(|config| match AzureStore::new(&config, secrets, tokens) {
                    Ok(store) => Ok((config, store)),
                    Err(source) => Err(StartError::Client {
                        name: config.name,
                        source,
                    }),
                });
        let with_stores = with_stores.collect::<Result<Vec<_>, _>>()?;
        Self::with_stores(with_stores, instance, state_dir, metrics).listening()
    }
}

impl<S: BlobStore> Syncer<S> {
    /// The subsystem over stores of another kind.
    pub(crate) fn with_stores(
        entries: Vec<(Config, S)>,
        instance: &str,
        state_dir: &Path,
        metrics: &Metrics,
    ) -> Self {
        let quit = CancellationToken::new();
        let entries = entries
            .into_iter()
            .map(|(config, store)| {
                let (asks, commands) = mpsc::channel(COMMANDS_MAX);
                Entry {
                    lock_path: state_dir.join(format!("{}.lock", config.name)),
                    status: Arc::new(watch::Sender::new(JobStatus {
                        name: config.name.clone(),
                        kind: kind(&config),
                        path: config.path.display().to_string(),
                        ..JobStatus::default()
                    })),
                    nudge: Arc::new(Notify::new()),
                    asks,
                    commands,
                    phase: phase(instance, &config.name),
                    worker: worker(&config, instance, state_dir),
                    engine: engine(config, store, state_dir, metrics, &quit),
                }
            })
            .collect();
        Self {
            questions: None,
            doors: Vec::new(),
            entries,
            quit,
        }
    }

    /// The same, with every `read_through` bound.
    ///
    /// # Errors
    /// If an address is taken.
    fn listening(mut self) -> Result<Self, StartError> {
        let mut doors: Vec<(std::net::SocketAddr, ReadThrough<S>)> = Vec::new();
        for entry in &self.entries {
            let config = &entry.engine.config;
            let Some(address) = config.read_through else {
                continue;
            };
            let shelf = Shelf {
                name: config.name.clone(),
                store: Arc::clone(&entry.engine.store),
                prefix: config.prefix.clone(),
                // the rules were checked with the rest of the entry
                filters: Filters::new(&config.filters).unwrap_or_default(),
                attempts: entry.engine.attempts.clone(),
                nudge: Arc::clone(&entry.nudge),
            };
            if let Some((_, door)) = doors.iter_mut().find(|(known, _)| *known == address) {
                door.add(shelf);
                continue;
            }
            let mut door =
                ReadThrough::bind(address).map_err(|source| StartError::ReadThrough {
                    name: config.name.clone(),
                    address,
                    source,
                })?;
            door.add(shelf);
            doors.push((address, door));
        }
        self.doors = doors.into_iter().map(|(_, door)| door).collect();
        Ok(self)
    }

    /// The same, answering `questions` of the admin interface.
    #[must_use]
    pub fn answering(mut self, questions: Questions) -> Self {
        self.questions = Some(questions);
        self
    }

    /// A handle for status pages and commands.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(
            self.entries
                .iter()
                .map(|entry| Seat {
                    status: entry.status.subscribe(),
                    nudge: Arc::clone(&entry.nudge),
                    asks: entry.asks.clone(),
                    progress: Arc::clone(&entry.engine.attempts.progress),
                })
                .collect(),
        )
    }
}

fn engine<S: BlobStore>(
    config: Config,
    store: S,
    state_dir: &Path,
    metrics: &Metrics,
    quit: &CancellationToken,
) -> Engine<S> {
    let attempts = attempts(&config, metrics, quit);
    let store = Arc::new(store);
    Engine {
        fetcher: Arc::new(Fetcher::new(Arc::clone(&store), &config)),
        index: index_store(&config, state_dir),
        store,
        attempts,
        config,
    }
}

pub(crate) fn attempts(config: &Config, metrics: &Metrics, quit: &CancellationToken) -> Attempts {
    Attempts {
        stall: config.stall_timeout.get(),
        governor: Arc::new(Governor::new(usize::from(config.concurrency))),
        bandwidth: Arc::new(Bandwidth::new(config.bandwidth.map(Bytes::get))),
        progress: Arc::default(),
        frozen: false,
        metrics: metrics.job(&config.name),
        quit: quit.clone(),
        abandon: CancellationToken::new(),
    }
}

fn index_store(config: &Config, state_dir: &Path) -> index::Store {
    index::Store::new(
        state_dir.join(format!("{}.index", config.name)),
        identity(config),
    )
}

/// What makes the passes of `config`.
fn worker(config: &Config, instance: &str, state_dir: &Path) -> Worker {
    Worker::new(config, instance, state_dir, identity(config))
}

/// What an index must be of to be taken for this entry's.
fn identity(config: &Config) -> String {
    format!(
        "{}|{}|{}",
        config.container,
        config.prefix,
        config.path.display()
    )
}

fn kind(config: &Config) -> String {
    match (config.direction, config.mode) {
        (Direction::Pull, Mode::Tree) => "pull tree",
        (Direction::Pull, Mode::Release) => "pull release",
        (Direction::Push, _) => "push",
        (Direction::Both, _) => "both",
    }
    .to_owned()
}

/// Where in a pause the instance `instance` stands, 0 to 1: the same at each start, another for each instance.
fn phase(instance: &str, job: &str) -> f64 {
    let mut hasher = Hasher::new();
    hasher.update(instance);
    hasher.update([0]);
    hasher.update(job);
    let sum = hasher.finalize();
    let bytes: [u8; 4] = sum.first_chunk().copied().unwrap_or_default();
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}

impl<S: BlobStore> Subsystem for Syncer<S> {
    fn name(&self) -> &'static str {
        "sync"
    }

    async fn run(self, mut scope: Scope) -> Result<Drained, Fault> {
        let handle = self.handle();
        if let Some(questions) = self.questions {
            let tasks = scope.tasks().clone();
            scope.spawn("questions", handle.answer(questions, tasks));
        }
        for door in self.doors {
            let tasks = scope.tasks().clone();
            scope.spawn("read_through", door.run(tasks));
        }
        for entry in self.entries {
            let config = entry.engine.config.clone();
            let health = scope.health().part(&config.name);
            let gate = config.required.then(|| Arc::new(health.gate()));
            if let Some(gate) = &gate {
                let status = entry.status.subscribe();
                scope.spawn(
                    "deadline",
                    open_after_deadline(config, Arc::clone(gate), status, scope.tasks().clone()),
                );
            }
            let job = Job {
                health,
                gate,
                hook: Hook::new(&entry.engine.config),
                hook_failure: None,
                engine: entry.engine,
                worker: entry.worker,
                status: entry.status,
                nudge: entry.nudge,
                commands: entry.commands,
                lock_path: entry.lock_path,
                folds_case: false,
                phase: entry.phase,
            };
            let tasks = scope.tasks().clone();
            scope.spawn("job", async move {
                tokio::select! {
                    () = Box::pin(job.run(tasks.clone())) => {}
                    // what is in hand is dropped, and its staged files with it
                    () = tasks.stopping() => {}
                }
            });
        }
        scope.ready();
        scope.draining().await;
        self.quit.cancel();
        scope.finish().await
    }
}

#[cfg(test)]
mod tests;
