//! Pushing, and both ways at once: what is written here is sent, what others wrote is fetched, and what was written on both
//! sides is kept as the policy says. What was agreed on last is in memory, and in the index.
//!
//! ```text
//!   inotify ──▶ names that stirred ──▶ left alone for `debounce`? ──▶ reconcile ──▶ PUT If-Match / If-None-Match
//!   every interval ──▶ list ∪ directory ∪ agreed ──────────────────────▲            412: head, and decide again
//! ```
//! Several instances may do so with one container: every write is under a condition, and the name that a conflict gives is made
//! of the content, so that they arrive at the same files in any order.

mod act;
mod decide;
mod local;
mod origin;
mod reconcile;
mod sides;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempts::Attempts;
use crate::config::{Config, Filters};
use crate::cycle::{CycleError, Engine, Outcome, Report, publish, seconds_since_epoch};
use crate::index::{FileRecord, Kind, Record};
use crate::names::{self};
use crate::plan::Census;
use crate::store::BlobStore;
use crate::survey::SurveyError;
use crate::tree::Root;
use decide::{Policy, There};
use local::{Look, Walk};
use sides::{list, look, walk, with_md5};
use watch::Watcher;

/// The most files of an entry that is pushed: what was agreed on is in memory.
const FILES_MAX: usize = 1_000_000;
/// The index is written after a push, but not more often than this.
const SAVE_EVERY: Duration = Duration::from_secs(2);

/// One entry that is pushed.
#[derive(Debug)]
pub(crate) struct Mirror {
    /// Who writes from here; with a number of its own once the first pass has opened the state.
    origin: String,
    /// Where that is kept.
    origin_path: PathBuf,
    policy: Policy,
    debounce: Duration,
    agreed: BTreeMap<Box<str>, FileRecord>,
    opened: bool,
    /// What changed here and how it looked when that was first seen.
    stirred: BTreeMap<Box<str>, (Option<Look>, Instant)>,
    watcher: Option<Watcher>,
    /// The agreement on disk is older than the one in memory.
    unsaved: bool,
    saved_at: Option<Instant>,
}

/// One name with all that is known of it.
#[derive(Debug)]
struct Case {
    name: Box<str>,
    agreed: Option<FileRecord>,
    look: Option<Look>,
    there: Option<There>,
}

impl Mirror {
    /// For `config` on the instance `instance`; what is to be known after a restart is kept in `state_dir`.
    pub(crate) fn new(config: &Config, instance: &str, state_dir: &Path) -> Self {
        Self {
            origin: instance.to_owned(),
            origin_path: state_dir.join(format!("{}.origin", config.name)),
            policy: Policy::new(config),
            debounce: config.debounce.get(),
            agreed: BTreeMap::new(),
            opened: false,
            stirred: BTreeMap::new(),
            watcher: None,
            unsaved: false,
            saved_at: None,
        }
    }

    /// Everything: the container's list, the directory, what was agreed on.
    pub(crate) async fn pass<S: BlobStore>(&mut self, engine: &Engine<S>) -> Report {
        engine.attempts.progress.begin();
        let mut report = Report::with(Outcome::Done);
        match self.try_pass(engine, &mut report).await {
            Ok(()) => {}
            Err(CycleError::Survey(SurveyError::Leaving)) => report.outcome = Outcome::Drained,
            Err(error) => report.outcome = Outcome::Failed(error),
        }
        report
    }

    async fn try_pass<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        report: &mut Report,
    ) -> Result<(), CycleError> {
        let attempts = engine.attempts.for_one_pass();
        let expiry = attempts.once(engine.store.refresh_credential()).await;
        let expiry = expiry.map_err(CycleError::Credential)?;
        let expiry = expiry.map_or(0.0, seconds_since_epoch);
        attempts.metrics.credential_expiry.set(expiry);
        let root = engine.open_root().await?;
        self.open(engine, &root).await?;
        let mut there = if self.policy.both {
            list(engine, &attempts, &self.origin, report).await?
        } else {
            self.agreed
                .iter()
                .map(|(name, record)| (name.clone(), There::as_agreed(record)))
                .collect()
        };
        let walk = self.walk(engine, &root).await?;
        for (reason, count) in &walk.refused {
            *report.refused.entry(*reason).or_default() += count;
        }
        let names: BTreeSet<Box<str>> = walk
            .files
            .keys()
            .chain(there.keys())
            .chain(self.agreed.keys())
            .cloned()
            .collect();
        if names.len() > FILES_MAX {
            return Err(SurveyError::TooMany.into());
        }
        report.census = Census {
            remote: u64::try_from(there.len()).unwrap_or(u64::MAX),
            indexed: u64::try_from(self.agreed.len()).unwrap_or(u64::MAX),
            deletes: 0,
        };
        let here = walk.files.len();
        let cases = names.into_iter().map(|name| Case {
            agreed: self.agreed.get(&name).cloned(),
            look: walk.files.get(&name).copied(),
            there: there.remove(&name),
            name,
        });
        let cases: Vec<Case> = cases.collect();
        self.reconcile(engine, &root, cases, here, &attempts, report)
            .await?;
        self.save(engine, &root, true).await?;
        report.in_place = u64::try_from(self.agreed.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Takes up what an earlier process agreed on.
    async fn open<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        root: &Arc<Root>,
    ) -> Result<(), CycleError> {
        if self.opened {
            return Ok(());
        }
        let (path, instance) = (self.origin_path.clone(), self.origin.clone());
        let mark = spawn_blocking(move || origin::mark(&path, &instance)).await;
        self.origin = mark
            .map_err(|_| CycleError::CutShort)?
            .map_err(CycleError::Index)?;
        let Some(index) = engine.open_index().await? else {
            self.opened = true;
            return Ok(());
        };
        let root = Arc::clone(root);
        let read = spawn_blocking(move || {
            let mut agreed = BTreeMap::new();
            for record in index {
                let Record { name, kind } = record.map_err(CycleError::Index)?;
                if let Kind::File(file) = kind {
                    let file = with_md5(&root, &name, file)?;
                    agreed.insert(name, file);
                }
            }
            Ok::<_, CycleError>(agreed)
        });
        self.agreed = read.await.map_err(|_| CycleError::CutShort)??;
        self.opened = true;
        Ok(())
    }

    /// Walks the directory; watches it from then on.
    async fn walk<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        root: &Arc<Root>,
    ) -> Result<Walk, CycleError> {
        let filters = Filters::new(&engine.config.filters)?;
        if self.watcher.is_none() {
            let found = walk(root, &filters).await?;
            match Watcher::new(root, &found.directories) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => {
                    engine.attempts.metrics.errors("watch").inc();
                    tracing::warn!(
                        job = engine.config.name,
                        "the directory cannot be watched, it is only looked through every interval: {error}; raise \
                         fs.inotify.max_user_watches"
                    );
                }
            }
        }
        // what was written between the walk and the watch is in this one
        walk(root, &filters).await
    }

    /// Resolves when something may have changed here, or what changed has been left alone long enough.
    pub(crate) async fn stirred(&self) {
        let ready = self
            .stirred
            .values()
            .map(|(_, since)| *since + self.debounce);
        let soonest = ready.min();
        let event = async {
            match &self.watcher {
                // a watcher that fails is replaced by the walk of the next pass
                Some(watcher) => drop(watcher.readable().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = event => {}
            () = async {
                match soonest {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            } => {}
        }
    }

    /// Takes in what stirred, and sends what has been left alone long enough; with `now`, all of it. Whether everything has to
    /// be looked through.
    pub(crate) async fn push<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        now: bool,
        report: &mut Report,
    ) -> Result<bool, CycleError> {
        let root = engine.open_root().await?;
        let all = self.take_events(engine, &root)?;
        let attempts = Attempts {
            // leaving, what was written here is still sent, as long as there is time
            quit: CancellationToken::new(),
            ..engine.attempts.for_one_pass()
        };
        let due: Vec<Box<str>> = self
            .stirred
            .iter()
            .filter(|(_, (_, since))| now || since.elapsed() >= self.debounce)
            .map(|(name, _)| name.clone())
            .collect();
        let mut cases = Vec::new();
        for name in due.iter().cloned() {
            let look = look(&root, &name).await?;
            let agreed = self.agreed.get(&name).cloned();
            let there = agreed.as_ref().map(There::as_agreed);
            if look.is_none() && !self.policy.push_deletes {
                self.stirred.remove(&name);
                continue;
            }
            cases.push(Case {
                name,
                agreed,
                look,
                there,
            });
        }
        let here = self.agreed.len().max(1);
        self.settle_down(now);
        let sent = self
            .reconcile(engine, &root, cases, here, &attempts, report)
            .await;
        if sent.is_err() {
            // those behind the one that failed would not fare better
            due.iter().for_each(|name| self.put_off(name));
        }
        sent?;
        self.save(engine, &root, now).await?;
        Ok(all)
    }

    /// Sends all that differs from what was agreed on, whether or not anybody saw it being written, and without waiting until it
    /// has been left alone. Deletes nothing that nobody saw deleted.
    pub(crate) async fn flush<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        report: &mut Report,
    ) -> Result<(), CycleError> {
        // it may be the first that is asked of the storage
        let refreshed = engine.attempts.for_one_pass();
        let refreshed = refreshed.once(engine.store.refresh_credential()).await;
        refreshed.map_err(CycleError::Credential)?;
        let root = engine.open_root().await?;
        self.open(engine, &root).await?;
        let found = walk(&root, &Filters::new(&engine.config.filters)?).await?;
        for (name, look) in found.files {
            let agreed = self.agreed.get(&name).map(|it| it.fingerprint);
            if agreed != Some(look.fingerprint) {
                let new = (Some(look), Instant::now());
                self.stirred.entry(name).or_insert(new);
            }
        }
        self.count_unsent(engine);
        self.push(engine, true, report).await.map(drop)
    }

    /// How many files changed here and were not sent yet, as far as it is known.
    pub(crate) fn unsent(&self) -> usize {
        self.stirred.len()
    }

    fn count_unsent<S>(&self, engine: &Engine<S>) {
        let unsent = i64::try_from(self.unsent()).unwrap_or(i64::MAX);
        engine.attempts.metrics.queue.set(unsent);
    }

    /// Without a debounce, everything that stirred counts as left alone.
    fn settle_down(&mut self, now: bool) {
        if now {
            let past = Instant::now().checked_sub(self.debounce);
            for (_, since) in self.stirred.values_mut() {
                *since = past.unwrap_or(*since);
            }
        }
    }

    fn take_events<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        root: &Root,
    ) -> Result<bool, CycleError> {
        let filters = Filters::new(&engine.config.filters)?;
        let Some(watcher) = &mut self.watcher else {
            return Ok(false);
        };
        let stir = match watcher.take(root, &filters) {
            Ok(stir) => stir,
            Err(error) => {
                engine.attempts.metrics.errors("watch").inc();
                tracing::warn!(
                    job = engine.config.name,
                    "the directory is not watched any more: {error}"
                );
                self.watcher = None;
                return Ok(true);
            }
        };
        for name in stir.names {
            if names::check(&name, 0).is_err() || !filters.wants(&name) {
                continue;
            }
            let look = local::look(root, &name)?;
            let agreed = self.agreed.get(&name);
            if agreed.map(|agreed| agreed.fingerprint) == look.map(|look| look.fingerprint) {
                // our own doing
                self.stirred.remove(&name);
                continue;
            }
            self.stirred.insert(name, (look, Instant::now()));
        }
        self.count_unsent(engine);
        Ok(stir.all)
    }

    /// Whether a file that changed has been left alone long enough to be read; if not, it is looked at again then.
    fn is_settled(&mut self, name: &str, look: Option<Look>) -> bool {
        match self.stirred.get(name) {
            Some((seen, since)) if *seen == look && since.elapsed() >= self.debounce => true,
            Some((seen, _)) if *seen == look => false,
            _ => {
                self.stirred.insert(name.into(), (look, Instant::now()));
                self.debounce.is_zero()
            }
        }
    }

    /// Writes what is agreed on, so that a restart knows it.
    async fn save<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        root: &Arc<Root>,
        now: bool,
    ) -> Result<(), CycleError> {
        let early = self.saved_at.is_some_and(|at| at.elapsed() < SAVE_EVERY);
        if !self.unsaved || (early && !now) {
            return Ok(());
        }
        let records: Vec<Record> = self
            .agreed
            .iter()
            .map(|(name, file)| Record {
                name: name.clone(),
                kind: Kind::File(file.clone()),
            })
            .collect();
        let mut writer = engine.index.begin(None);
        let work = spawn_blocking(move || {
            for record in &records {
                writer.put(record)?;
            }
            writer.finish()
        });
        let finished = work.await.map_err(|_| CycleError::CutShort)?;
        publish(finished.map_err(CycleError::Index), root).await?;
        (self.unsaved, self.saved_at) = (false, Some(Instant::now()));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
