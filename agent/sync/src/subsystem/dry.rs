//! The commands that need no running agent: a dry run, one pass, a verification, the online check.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lamplighter_core::config::{OnlineCheck, SecretDirs};
use lamplighter_core::fault::chain;
use lamplighter_core::identity::TokenSource;
use lamplighter_core::metrics::{MetricsError, Registry};
use serde::Serialize;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{attempts, engine, identity, index_store};
use crate::attempts::Progress;
use crate::config::{Config, Mode};
use crate::cycle::{Names, Outcome};
use crate::index::Kind;
use crate::job::lock;
use crate::metrics::Metrics;
use crate::plan::{Decision, Why};
use crate::pull::Puller;
use crate::release::Releases;
use crate::source::{Found, Source};
use crate::store::azure::AzureStore;
use crate::store::{BlobStore, PAGE_MAX};
use crate::survey::{Survey, SurveyError};
use crate::tree::Root;
use crate::verify::Verified;

/// One line of a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
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
    pub held: Option<&'static str>,
}

/// Why a command did nothing; what to do is in the text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OneError(String);

fn told(error: &(dyn std::error::Error + 'static)) -> OneError {
    OneError(chain(error))
}

/// A directory that goes away with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, OneError> {
        let token = getrandom::u64().unwrap_or_default();
        let path = std::env::temp_dir().join(format!("lamplighter-plan-{token:016x}"));
        std::fs::create_dir(&path).map_err(|error| told(&error))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // it is in the directory for what may go
        let _left = std::fs::remove_dir_all(&self.0);
    }
}

/// What a pass of `config` would do now, without doing it. `line` is called for everything that is not as it should be.
///
/// # Errors
/// If the container cannot be listed to its end, or the disk cannot be read.
pub async fn plan(
    config: &Config,
    secrets: &SecretDirs,
    tokens: Option<&TokenSource>,
    state_dir: &Path,
    line: impl FnMut(PlanLine),
) -> Result<PlanSummary, OneError> {
    let store = AzureStore::new(config, secrets, tokens).map_err(|error| told(&error))?;
    plan_with(config, store, state_dir, line).await
}

pub(super) async fn plan_with<S: BlobStore>(
    config: &Config,
    store: S,
    state_dir: &Path,
    mut line: impl FnMut(PlanLine),
) -> Result<PlanSummary, OneError> {
    let metrics =
        Metrics::register(&Registry::new()).map_err(|error: MetricsError| told(&error))?;
    let attempts = attempts(config, &metrics, &CancellationToken::new());
    store
        .refresh_credential()
        .await
        .map_err(|error| OneError(format!("{}; {}", chain(&error), error.advice())))?;
    let store = Arc::new(store);
    let scratch = Scratch::new()?;
    let mut source = Source::new(config, &scratch.0);
    let found = source
        .look(&*store, &attempts)
        .await
        .map_err(|error| told(&error))?;
    let mut names = match found {
        Found::List => Names::List,
        Found::Manifest { .. } => Names::Manifest(source.path().to_owned()),
    };
    loop {
        let (index, place) = compared_with(config, state_dir);
        let look = spawn_blocking(move || {
            let index = index.open().map_err(SurveyError::Index)?;
            let root = Root::look(&place)?;
            Ok::<_, SurveyError>((index, root.map(Arc::new)))
        });
        let (index, root) = look
            .await
            .map_err(|error| told(&error))?
            .map_err(|error| told(&error))?;
        let mut survey = Survey::new(Arc::clone(&store), config, attempts.clone(), index, root)
            .map_err(|error| told(&error))?;
        match dry_run(config, &mut survey, &names, &mut line).await {
            Err(SurveyError::Unsorted) if names == Names::List => names = Names::SortedList,
            Err(error) => return Err(told(&error)),
            Ok(summary) => return Ok(summary),
        }
    }
}

/// What a dry run compares with: the destination, or the live release.
fn compared_with(config: &Config, state_dir: &Path) -> (crate::index::Store, Config) {
    if config.mode == Mode::Tree {
        return (index_store(config, state_dir), config.clone());
    }
    let releases = Releases::new(config, state_dir, identity(config));
    let live = releases.current().unwrap_or_else(|| "none".to_owned());
    let place = Config {
        path: releases.place(&live),
        ..config.clone()
    };
    (releases.index(&live), place)
}

/// Is told how far a pass has come: files and bytes.
pub type Watcher<'a> = &'a mut (dyn FnMut(u64, u64) + Send);

/// What one pass did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PassSummary {
    /// Whether every file that is wanted and may be is in place.
    pub complete: bool,
    /// Files in place.
    pub files: u64,
    /// Files that were put in place, sent, set right or deleted.
    pub changed: u64,
    /// Files that failed, each for itself.
    pub failed: u64,
    /// Blobs that cannot become files.
    pub refused: u64,
    /// The guard that holds deletes back, and how many.
    pub held: Option<(&'static str, u64)>,
    /// The release that is live.
    pub release: Option<String>,
    /// Why it is not complete; empty if it is.
    pub trouble: String,
}

/// One pass of `config` in this process, for an image that is being made. No agent may be at work on the entry.
///
/// # Errors
/// If an agent is at work, or the client cannot be made.
pub async fn one_pass(
    config: &Config,
    secrets: &SecretDirs,
    tokens: Option<&TokenSource>,
    instance: &str,
    state_dir: &Path,
    watcher: Watcher<'_>,
) -> Result<PassSummary, OneError> {
    let store = AzureStore::new(config, secrets, tokens).map_err(|error| told(&error))?;
    let metrics = Metrics::register(&Registry::new()).map_err(|error| told(&error))?;
    let lock_path = state_dir.join(format!("{}.lock", config.name));
    let _lock = lock(&lock_path).map_err(|error| {
        OneError(format!(
            "cannot lock {}: {error}; is an agent at work on this entry?",
            lock_path.display()
        ))
    })?;
    let quit = CancellationToken::new();
    let engine = engine(config.clone(), store, state_dir, &metrics, &quit);
    let mut worker = super::worker(config, instance, state_dir);
    let progress: Arc<Progress> = Arc::clone(&engine.attempts.progress);
    // beside its own downloads, on the runtime's workers: what they bring needs no wake-up of this thread
    let mut pass = JoinSet::new();
    pass.spawn(async move { Box::pin(worker.pass(&engine)).await });
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(200));
    let report = loop {
        tokio::select! {
            Some(ended) = pass.join_next() => break ended.map_err(|error| told(&error))?,
            _ = tick.tick() => {
                let (files, bytes) = progress.read();
                watcher(files, bytes);
            }
        }
    };
    let trouble = match &report.outcome {
        Outcome::Failed(error) => match error.store_error() {
            Some(store) => format!("{}; {}", chain(error), store.advice()),
            None => chain(error),
        },
        _ => report.first_failure.clone().unwrap_or_default(),
    };
    Ok(PassSummary {
        complete: report.is_complete() && report.held.is_none(),
        files: report.in_place,
        changed: report.changed,
        failed: report.failed,
        refused: report.refused.values().sum(),
        held: report
            .held
            .map(|guard| (guard.label(), report.census.deletes)),
        release: report.release,
        trouble,
    })
}

/// Reads every file that was written for `config`, and compares it with what was written.
///
/// # Errors
/// If the index or the disk cannot be read.
pub async fn verify(config: &Config, state_dir: &Path) -> Result<Verified, OneError> {
    let (index, place) = compared_with(config, state_dir);
    let release = (config.mode == Mode::Release)
        .then(|| Releases::new(config, state_dir, identity(config)).current())
        .flatten();
    let work = spawn_blocking(move || {
        let index = index.open().map_err(|error| told(&error))?;
        let root = Root::look(&place).map_err(|error| told(&error))?;
        match (index, root) {
            (Some(index), Some(root)) => {
                crate::verify::verify(&root, index).map_err(|error| told(&error))
            }
            _ => Err(OneError(
                "nothing was written yet: there is no index of this entry on this machine"
                    .to_owned(),
            )),
        }
    });
    let found = work.await.map_err(|error| told(&error))??;
    Ok(Verified { release, ..found })
}

/// Goes back to an earlier release of `config` where no agent runs. The release that is live then.
///
/// # Errors
/// If there is none to go back to.
pub async fn roll_back(
    config: &Config,
    state_dir: &Path,
    to: Option<String>,
) -> Result<String, OneError> {
    let mut puller = Puller::new(config, state_dir, identity(config));
    puller.roll_back(to).await.map_err(OneError)
}

async fn dry_run<S: BlobStore>(
    config: &Config,
    survey: &mut Survey<S>,
    names: &Names,
    line: &mut impl FnMut(PlanLine),
) -> Result<PlanSummary, SurveyError> {
    match names {
        Names::SortedList => survey.sort().await?,
        Names::Manifest(path) => survey.follow(path.clone()).await?,
        Names::List | Names::Index => {}
    }
    let mut summary = PlanSummary::default();
    while let Some(batch) = survey.next().await? {
        for decision in batch {
            if let Decision::Keep(record) = &decision {
                summary.unchanged += u64::from(matches!(record.kind, Kind::File(_)));
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
    summary.held = crate::plan::guard(census, config.max_delete, config.max_delete_percent)
        .err()
        .map(crate::plan::Guard::label);
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
pub async fn probe(
    entries: &[Config],
    secrets: &SecretDirs,
    tokens: Option<&TokenSource>,
) -> Vec<OnlineCheck> {
    let mut rows = Vec::with_capacity(entries.len());
    for config in entries {
        rows.push(OnlineCheck {
            what: format!("sync {}", config.name),
            target: format!("{}/{}", config.container, config.prefix),
            outcome: probe_one(config, secrets, tokens).await,
        });
    }
    rows
}

async fn probe_one(
    config: &Config,
    secrets: &SecretDirs,
    tokens: Option<&TokenSource>,
) -> Result<String, String> {
    let store = AzureStore::new(config, secrets, tokens).map_err(|error| chain(&error))?;
    let answer = async {
        let expiry = store.refresh_credential().await?;
        Ok((
            expiry,
            store.list_page(&config.prefix, None, PAGE_MAX).await?,
        ))
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
