//! All `[[sync]]` entries as one subsystem, and the commands that need none: a dry run and the online check.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lamplighter_core::config::{OnlineCheck, SecretDirs};
use lamplighter_core::fault::{Fault, chain};
use lamplighter_core::lifecycle::{Drained, Scope, Subsystem};
use lamplighter_core::metrics::{MetricsError, Registry};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::attempts::Attempts;
use crate::config::Config;
use crate::cycle::Engine;
use crate::fetch::Fetcher;
use crate::index;
use crate::job::{Job, open_after_deadline};
use crate::metrics::Metrics;
use crate::pace::Governor;
use crate::plan::{Decision, Why};
use crate::store::BlobStore;
use crate::store::azure::{AzureStore, SetupError};
use crate::survey::{Survey, SurveyError};
use crate::tree::Root;

pub use crate::job::JobStatus;

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
}

/// All entries. Constructing it sends nothing and touches no file below the destinations.
#[derive(Debug)]
pub struct Syncer<S = AzureStore> {
    entries: Vec<Entry<S>>,
    quit: CancellationToken,
}

#[derive(Debug)]
struct Entry<S> {
    engine: Engine<S>,
    lock_path: PathBuf,
    status: Arc<watch::Sender<JobStatus>>,
    nudge: Arc<Notify>,
}

impl Syncer<AzureStore> {
    /// The subsystem for `entries`, each of which has passed [`Config::problems`]. Indexes are kept in `state_dir`
    /// (`/var/lib/lamplighter/sync`), which is made if it is missing.
    ///
    /// # Errors
    /// If an entry's CA is unusable. Storage that is away and secrets that are missing are no reason not to start.
    pub fn new(
        entries: Vec<Config>,
        secrets: &SecretDirs,
        state_dir: &Path,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let with_stores =
            entries
                .into_iter()
                .map(|config| match AzureStore::new(&config, secrets) {
                    Ok(store) => Ok((config, store)),
                    Err(source) => Err(StartError::Client {
                        name: config.name,
                        source,
                    }),
                });
        let with_stores = with_stores.collect::<Result<Vec<_>, _>>()?;
        Ok(Self::with_stores(with_stores, state_dir, metrics))
    }
}

impl<S: BlobStore> Syncer<S> {
    /// The subsystem over stores of another kind.
    pub(crate) fn with_stores(
        entries: Vec<(Config, S)>,
        state_dir: &Path,
        metrics: &Metrics,
    ) -> Self {
        let quit = CancellationToken::new();
        let entries = entries
            .into_iter()
            .map(|(config, store)| Entry {
                lock_path: state_dir.join(format!("{}.lock", config.name)),
                status: Arc::new(watch::Sender::new(JobStatus {
                    name: config.name.clone(),
                    ..JobStatus::default()
                })),
                nudge: Arc::new(Notify::new()),
                engine: engine(config, store, state_dir, metrics, &quit),
            })
            .collect();
        Self { entries, quit }
    }

    /// A handle for status pages and commands.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(
            self.entries
                .iter()
                .map(|entry| (entry.status.subscribe(), Arc::clone(&entry.nudge)))
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

fn attempts(config: &Config, metrics: &Metrics, quit: &CancellationToken) -> Attempts {
    Attempts {
        stall: config.stall_timeout.get(),
        governor: Arc::new(Governor::new(usize::from(config.concurrency))),
        metrics: metrics.job(&config.name),
        quit: quit.clone(),
        abandon: CancellationToken::new(),
    }
}

fn index_store(config: &Config, state_dir: &Path) -> index::Store {
    let identity = format!(
        "{}|{}|{}",
        config.container,
        config.prefix,
        config.path.display()
    );
    index::Store::new(state_dir.join(format!("{}.index", config.name)), identity)
}

impl<S: BlobStore> Subsystem for Syncer<S> {
    fn name(&self) -> &'static str {
        "sync"
    }

    async fn run(self, mut scope: Scope) -> Result<Drained, Fault> {
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
                engine: entry.engine,
                health,
                gate,
                status: entry.status,
                nudge: entry.nudge,
                lock_path: entry.lock_path,
                folds_case: false,
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

/// Reads and nudges running entries.
#[derive(Debug, Clone)]
pub struct Handle(Vec<(watch::Receiver<JobStatus>, Arc<Notify>)>);

impl Handle {
    /// How every entry is.
    #[must_use]
    pub fn statuses(&self) -> Vec<JobStatus> {
        self.0
            .iter()
            .map(|(status, _)| status.borrow().clone())
            .collect()
    }

    /// Starts the next pass of the entry `name` now. Whether there is such an entry.
    #[must_use]
    pub fn run_now(&self, name: &str) -> bool {
        let entry = self
            .0
            .iter()
            .find(|(status, _)| status.borrow().name == name);
        if let Some((_, nudge)) = entry {
            nudge.notify_one();
        }
        entry.is_some()
    }
}

/// One line of a dry run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanLine {
    /// `get`, `repair`, `verify`, `adopt`, `attributes`, `mkdir`, `delete`, `refuse`.
    pub action: &'static str,
    /// The name below the destination.
    pub name: String,
    /// Bytes to fetch.
    pub bytes: u64,
    /// Why it is refused; empty otherwise.
    pub reason: &'static str,
}

/// The sums of a dry run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlanSummary {
    /// Files the container holds and the entry wants.
    pub remote: u64,
    /// Files as they should be.
    pub unchanged: u64,
    /// Files to fetch, or to compare first.
    pub gets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Files to delete.
    pub deletes: u64,
    /// Blobs that cannot become files.
    pub refused: u64,
    /// The guard that would hold the deletes back.
    pub held: Option<crate::plan::Guard>,
}

/// Why a dry run failed; what to do is in the text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PlanError(String);

/// What a pass of `config` would do now, without doing it. `line` is called for everything that is not as it should be.
///
/// # Errors
/// If the container cannot be listed to its end, or the disk cannot be read.
pub async fn plan(
    config: &Config,
    secrets: &SecretDirs,
    state_dir: &Path,
    line: impl FnMut(PlanLine),
) -> Result<PlanSummary, PlanError> {
    let store = AzureStore::new(config, secrets).map_err(|error| PlanError(chain(&error)))?;
    plan_with(config, store, state_dir, line).await
}

async fn plan_with<S: BlobStore>(
    config: &Config,
    store: S,
    state_dir: &Path,
    mut line: impl FnMut(PlanLine),
) -> Result<PlanSummary, PlanError> {
    let failed = |error: &dyn std::error::Error| PlanError(error.to_string());
    let metrics =
        Metrics::register(&Registry::new()).map_err(|error: MetricsError| failed(&error))?;
    let attempts = attempts(config, &metrics, &CancellationToken::new());
    store
        .refresh_credential()
        .await
        .map_err(|error| PlanError(format!("{}; {}", chain(&error), error.advice())))?;
    let store = Arc::new(store);
    let mut sort = false;
    loop {
        let (index, config_for_look) = (index_store(config, state_dir), config.clone());
        let look = spawn_blocking(move || {
            let index = index.open().map_err(SurveyError::Index)?;
            let root = Root::look(&config_for_look)?;
            Ok::<_, SurveyError>((index, root.map(Arc::new)))
        });
        let (index, root) = look
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| PlanError(chain(&error)))?;
        let mut survey = Survey::new(Arc::clone(&store), config, attempts.clone(), index, root)
            .map_err(|error| failed(&error))?;
        match dry_run(config, &mut survey, sort, &mut line).await {
            Err(SurveyError::Unsorted) if !sort => sort = true,
            Err(error) => return Err(PlanError(chain(&error))),
            Ok(summary) => return Ok(summary),
        }
    }
}

async fn dry_run<S: BlobStore>(
    config: &Config,
    survey: &mut Survey<S>,
    sort: bool,
    line: &mut impl FnMut(PlanLine),
) -> Result<PlanSummary, SurveyError> {
    if sort {
        survey.sort().await?;
    }
    let mut summary = PlanSummary::default();
    while let Some(batch) = survey.next().await? {
        for decision in batch {
            if matches!(decision, Decision::Keep(_)) {
                summary.unchanged += 1;
            } else if let Some(shown) = show(decision) {
                match shown.action {
                    "get" | "repair" | "verify" => {
                        summary.gets += 1;
                        summary.bytes += shown.bytes;
                    }
                    "refuse" => summary.refused += 1,
                    _ => {}
                }
                line(shown);
            }
        }
    }
    let census = survey.census();
    summary.remote = census.remote;
    summary.deletes = census.deletes;
    summary.held = crate::plan::guard(census, config.max_delete, config.max_delete_percent).err();
    Ok(summary)
}

fn show(decision: Decision) -> Option<PlanLine> {
    let line = |action, name: Box<str>, bytes, reason| {
        Some(PlanLine {
            action,
            name: name.into(),
            bytes,
            reason,
        })
    };
    match decision {
        Decision::Keep(_) | Decision::Forget(_) => None,
        Decision::Adopt(record) => line("adopt", record.name, 0, ""),
        Decision::Attributes(record) => line("attributes", record.name, 0, ""),
        Decision::Delete(record) => line("delete", record.name, 0, ""),
        Decision::Mkdir { name, .. } => line("mkdir", name, 0, ""),
        Decision::Verify { remote, .. } => line("verify", remote.name, remote.size, ""),
        Decision::Get {
            remote,
            why: Why::Drift,
            ..
        } => line("repair", remote.name, remote.size, ""),
        Decision::Get { remote, .. } | Decision::Clear { remote, .. } => {
            line("get", remote.name, remote.size, "")
        }
        Decision::Refuse { name, reason, .. } => line("refuse", name, 0, reason.label()),
    }
}

/// Lists one page of every entry's container, for `lamplighter check --online`.
pub async fn probe(entries: &[Config], secrets: &SecretDirs) -> Vec<OnlineCheck> {
    let mut rows = Vec::with_capacity(entries.len());
    for config in entries {
        rows.push(OnlineCheck {
            what: format!("sync {}", config.name),
            target: format!("{}/{}", config.container, config.prefix),
            outcome: probe_one(config, secrets).await,
        });
    }
    rows
}

async fn probe_one(config: &Config, secrets: &SecretDirs) -> Result<String, String> {
    let store = AzureStore::new(config, secrets).map_err(|error| chain(&error))?;
    let answer = async {
        let expiry = store.refresh_credential().await?;
        Ok((expiry, store.list_page(&config.prefix, None).await?))
    };
    let answer: Result<_, crate::store::StoreError> = answer.await;
    let (expiry, page) =
        answer.map_err(|error| format!("{}; {}", chain(&error), error.advice()))?;
    let more = if page.next.is_some() {
        ", and more"
    } else {
        ""
    };
    let ends = expiry.map_or_else(String::new, |end| {
        format!("; the SAS ends {}", humantime::format_rfc3339_seconds(end))
    });
    Ok(format!("{} blobs{more}{ends}", page.blobs.len()))
}

#[cfg(test)]
mod tests;
