//! What one pass of an entry that pulls consists of: the manifest or the list, a bundle for whoever has nothing, then file by
//! file; in release mode a whole release beside the live one, and the switch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256 as Hasher};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::{Config, Filters, Mode};
use crate::cycle::{CycleError, Engine, Names, Outcome, Report, seconds_since_epoch};
use crate::index::{Kind, Record};
use crate::manifest::{self, ManifestError};
use crate::metrics::Op;
use crate::names;
use crate::plan::{Census, guard};
use crate::release::{Releases, RollbackError};
use crate::source::{Found, Source};
use crate::store::{BlobStore, PAGE_MAX, hex};
use crate::survey::SurveyError;
use crate::tree::Root;
use crate::verify::{Verified, verify};

/// One entry's way of pulling, and what it remembers from pass to pass.
#[derive(Debug)]
pub(crate) struct Puller {
    source: Source,
    releases: Option<Releases>,
    /// The last pass that looked at every file, if it was complete, and when it ended.
    looked: Option<(Instant, Settled)>,
    check_interval: Duration,
    /// The container is not listed in byte order.
    sort: bool,
}

/// What a complete pass found, to be said again as long as nothing changes.
#[derive(Debug, Clone)]
struct Settled {
    in_place: u64,
    refused: std::collections::BTreeMap<crate::names::Refusal, u64>,
}

impl Puller {
    pub(crate) fn new(config: &Config, state_dir: &Path, identity: String) -> Self {
        Self {
            source: Source::new(config, state_dir),
            releases: (config.mode == Mode::Release)
                .then(|| Releases::new(config, state_dir, identity)),
            looked: None,
            check_interval: config.check_interval.get(),
            sort: false,
        }
    }

    /// One pass.
    pub(crate) async fn pass<S: BlobStore>(&mut self, engine: &Engine<S>) -> Report {
        engine.attempts.progress.begin();
        let report = match self.try_pass(engine).await {
            Ok(report) => report,
            Err(CycleError::Survey(SurveyError::Leaving)) => Report::with(Outcome::Drained),
            Err(error) => Report::with(Outcome::Failed(error)),
        };
        if let Outcome::Failed(CycleError::Survey(SurveyError::Unsorted)) = &report.outcome
            && !self.sort
        {
            let job = &engine.config.name;
            tracing::info!(
                job,
                "the container is not listed in byte order; sorting its list in memory from now on"
            );
            self.sort = true;
            return Box::pin(self.pass(engine)).await;
        }
        report
    }

    async fn try_pass<S: BlobStore>(&mut self, engine: &Engine<S>) -> Result<Report, CycleError> {
        let attempts = engine.attempts.for_one_pass();
        let expiry = attempts.once(engine.store.refresh_credential()).await;
        let expiry = expiry.map_err(CycleError::Credential)?;
        let expiry = expiry.map_or(0.0, seconds_since_epoch);
        attempts.metrics.credential_expiry.set(expiry);
        let found = self.source.look(&*engine.store, &attempts).await?;
        match self.releases.clone() {
            Some(releases) => self.release(engine, found, &releases).await,
            None => self.tree(engine, found).await,
        }
    }

    fn names(&self, found: &Found) -> Names {
        match found {
            Found::List if self.sort => Names::SortedList,
            Found::List => Names::List,
            Found::Manifest { .. } => Names::Manifest(self.source.path().to_owned()),
        }
    }

    /// Whether the local files were looked at long enough ago to look again.
    fn is_check_due(&self) -> bool {
        self.looked
            .as_ref()
            .is_none_or(|(at, _)| at.elapsed() >= self.check_interval)
    }

    fn unchanged(&self) -> Report {
        let mut report = Report::with(Outcome::Done);
        if let Some((_, settled)) = &self.looked {
            report.in_place = settled.in_place;
            report.refused.clone_from(&settled.refused);
        }
        report
    }

    fn note(&mut self, report: &Report) {
        self.looked = (report.is_complete() && report.held.is_none()).then(|| {
            let settled = Settled {
                in_place: report.in_place,
                refused: report.refused.clone(),
            };
            (Instant::now(), settled)
        });
    }

    async fn tree<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        found: Found,
    ) -> Result<Report, CycleError> {
        if let Found::Manifest { new: false, .. } = found
            && !self.is_check_due()
        {
            return Ok(self.unchanged());
        }
        self.preflight(engine, &found, engine.index.clone()).await?;
        let mut unpacked = 0;
        if let Found::Manifest { header, .. } = &found
            && let Some(bundle) = &header.bundle
            && engine.open_index().await?.is_none()
            && is_empty(engine.config.path.clone()).await?
        {
            unpacked = engine.unpack(bundle, self.source.path().to_owned()).await?;
        }
        let mut report = engine.cycle(&self.names(&found)).await;
        report.changed += unpacked;
        self.note(&report);
        Ok(report)
    }

    async fn release<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        found: Found,
        releases: &Releases,
    ) -> Result<Report, CycleError> {
        blocking(releases, Releases::prepare).await?;
        let id = match &found {
            Found::Manifest { header, .. } => header.release.clone(),
            Found::List => digest(engine).await?,
        };
        let (current, left) = blocking(releases, |releases| {
            Ok((releases.current(), releases.left()))
        })
        .await?;
        let keep = current
            .clone()
            .filter(|current| *current == id || left.as_deref() == Some(&*id));
        if let Some(live) = keep {
            return self.watch(engine, releases, &live, &id).await;
        }
        if left.is_some() {
            blocking(releases, Releases::forget_left).await?;
        }
        self.looked = None;
        let again = id.clone();
        if blocking(releases, move |releases| Ok(releases.has(&again))).await? {
            // it was live before: only looked at
            let report = repair(engine, releases, &id).await;
            if !report.is_complete() {
                return Ok(report);
            }
            return self.make_live(engine, releases, &id, report).await;
        }
        self.build(engine, releases, &found, &id).await
    }

    /// Nothing new is to be taken: the live release is looked at now and then.
    async fn watch<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        releases: &Releases,
        live: &str,
        published: &str,
    ) -> Result<Report, CycleError> {
        let mut report = if self.is_check_due() {
            let report = repair(engine, releases, live).await;
            self.note(&report);
            report
        } else {
            self.unchanged()
        };
        report.release = Some(live.to_owned());
        report.rolled_back = (live != published).then(|| published.to_owned());
        Ok(report)
    }

    /// Whether what the manifest wants and the index does not have fits on the disk, before any of it is fetched.
    async fn preflight<S: BlobStore>(
        &self,
        engine: &Engine<S>,
        found: &Found,
        had: crate::index::Store,
    ) -> Result<(), CycleError> {
        if *found == Found::List {
            // a list is long and its end not known: each file is looked at when its turn comes
            return Ok(());
        }
        let (manifest, config) = (self.source.path().to_owned(), engine.config.clone());
        let work = spawn_blocking(move || {
            let (files, bytes) = missing(&manifest, &had)?;
            if files == 0 {
                return Ok(());
            }
            let place = Root::open_directory_of(&config.path)?;
            place.has_room(bytes.saturating_add(config.min_free.get()), files)?;
            Ok(())
        });
        work.await.map_err(|_| CycleError::CutShort)?
    }

    async fn build<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        releases: &Releases,
        found: &Found,
        id: &str,
    ) -> Result<Report, CycleError> {
        let had = blocking(releases, |releases| {
            let live = releases.current();
            Ok(live.map_or_else(|| releases.building_index(), |live| releases.index(&live)))
        });
        self.preflight(engine, found, had.await?).await?;
        let building = engine.at(releases.building(), releases.building_index());
        let begun = blocking(releases, |releases| Ok(releases.is_begun())).await?;
        if !begun {
            let config = building.config.clone();
            let releases = releases.clone();
            let work = spawn_blocking(move || releases.begin(&config));
            let linked = work.await.map_err(|_| CycleError::CutShort)??;
            engine.attempts.metrics.objects(Op::Link).inc_by(linked);
            if let Found::Manifest { header, .. } = found
                && let Some(bundle) = &header.bundle
                && linked == 0
            {
                building
                    .unpack(bundle, self.source.path().to_owned())
                    .await?;
            }
        }
        let mut report = building.cycle(&self.names(found)).await;
        if !report.is_complete() {
            return Ok(report);
        }
        if *found == Found::List && digest(engine).await? != id {
            report.outcome = Outcome::Failed(CycleError::Moving);
            return Ok(report);
        }
        let (gone, had) = blocking(releases, Releases::compare).await?;
        let census = Census {
            remote: report.census.remote,
            indexed: had,
            deletes: gone,
        };
        report.census = census;
        let config = &engine.config;
        let empty = report.census.remote == 0;
        if let Err(held) = guard(census, config.max_delete, config.max_delete_percent) {
            report.held = Some(held);
            return Ok(report);
        }
        if empty {
            // nothing to serve is no release
            report.held = Some(crate::plan::Guard::EmptyList);
            return Ok(report);
        }
        let named = id.to_owned();
        blocking(releases, move |releases| releases.finish(&named)).await?;
        self.make_live(engine, releases, id, report).await
    }

    async fn make_live<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        releases: &Releases,
        id: &str,
        mut report: Report,
    ) -> Result<Report, CycleError> {
        let named = id.to_owned();
        blocking(releases, move |releases| {
            releases.switch(&named)?;
            releases.prune()
        })
        .await?;
        engine.attempts.metrics.switches.inc();
        tracing::info!(
            job = engine.config.name,
            release = id,
            files = report.in_place,
            "switched to another release"
        );
        report.release = Some(id.to_owned());
        report.switched = true;
        report.changed = report.changed.max(1);
        self.note(&report);
        Ok(report)
    }

    /// Reads every file that was written, and compares it with what was written.
    pub(crate) async fn verify<S: BlobStore>(
        &self,
        engine: &Engine<S>,
    ) -> Result<Verified, CycleError> {
        let (config, index, releases) = (
            engine.config.clone(),
            engine.index.clone(),
            self.releases.clone(),
        );
        let work = spawn_blocking(move || {
            let release = releases.as_ref().and_then(Releases::current);
            let (config, index) = match (&releases, &release) {
                (Some(releases), Some(id)) => {
                    let path = releases.place(id);
                    (Config { path, ..config }, releases.index(id))
                }
                (Some(_), None) => return Ok(Verified::default()),
                (None, _) => (config, index),
            };
            let (Some(index), Some(root)) = (
                index.open().map_err(CycleError::Index)?,
                Root::look(&config)?,
            ) else {
                return Ok(Verified::default());
            };
            let found = verify(&root, index)?;
            Ok(Verified { release, ..found })
        });
        work.await.map_err(|_| CycleError::CutShort)?
    }

    /// Goes back to an earlier release.
    pub(crate) async fn roll_back(&mut self, to: Option<String>) -> Result<String, String> {
        let Some(releases) = self.releases.clone() else {
            return Err("this entry has no releases: its mode is \"tree\"".to_owned());
        };
        let work = spawn_blocking(move || releases.roll_back(to.as_deref()));
        let result: Result<_, RollbackError> =
            work.await.map_err(|_| "it was cut short".to_owned())?;
        self.looked = None;
        result.map_err(|error| lamplighter_core::fault::chain(&error))
    }
}

/// Looks at every file of the release `id` and makes again what is not as it was written.
async fn repair<S: BlobStore>(engine: &Engine<S>, releases: &Releases, id: &str) -> Report {
    let engine = engine.at(releases.place(id), releases.index(id));
    engine.cycle(&Names::Index).await
}

/// How many files of the manifest an index does not have with the same content, and their bytes.
fn missing(manifest: &Path, had: &crate::index::Store) -> Result<(u64, u64), CycleError> {
    let file = std::fs::File::open(manifest).map_err(ManifestError::Io)?;
    let wanted = manifest::Reader::new(std::io::BufReader::new(file))?;
    let mut known = had
        .open()
        .map_err(CycleError::Index)?
        .into_iter()
        .flatten()
        .peekable();
    let (mut files, mut bytes) = (0_u64, 0_u64);
    for entry in wanted {
        let entry = entry?;
        let before =
            |next: &std::io::Result<Record>| next.as_ref().is_ok_and(|next| next.name < entry.name);
        while known.next_if(before).is_some() {}
        let there = known.next_if(|next| next.as_ref().is_ok_and(|next| next.name == entry.name));
        let same =
            matches!(there, Some(Ok(Record { kind: Kind::File(file), .. })) if entry.has(file.sum));
        if !same {
            files += 1;
            bytes = bytes.saturating_add(entry.size);
        }
    }
    Ok((files, bytes))
}

async fn blocking<T: Send + 'static>(
    releases: &Releases,
    work: impl FnOnce(&Releases) -> std::io::Result<T> + Send + 'static,
) -> Result<T, CycleError> {
    let releases = releases.clone();
    let work = spawn_blocking(move || work(&releases));
    let done = work.await.map_err(|_| CycleError::CutShort)?;
    done.map_err(CycleError::Releases)
}

/// Whether there is nothing below `path` but what is ours.
async fn is_empty(path: PathBuf) -> Result<bool, CycleError> {
    let look = spawn_blocking(move || {
        let Ok(mut entries) = std::fs::read_dir(path) else {
            return true;
        };
        entries.all(|entry| {
            entry.is_ok_and(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(names::RESERVED)
            })
        })
    });
    look.await.map_err(|_| CycleError::CutShort)
}

/// An id for what the container lists now: it changes when a blob that is wanted comes, goes or changes.
async fn digest<S: BlobStore>(engine: &Engine<S>) -> Result<String, CycleError> {
    let filters = Filters::new(&engine.config.filters)?;
    let attempts = engine.attempts.for_one_pass();
    let prefix = &engine.config.prefix;
    let (mut sum, mut marker) = ([0_u8; 32], None::<String>);
    loop {
        let page = attempts.retried(|| {
            let store = &engine.store;
            store.list_page(prefix, marker.as_deref(), PAGE_MAX)
        });
        let page = tokio::select! {
            page = page => page.map_err(SurveyError::List)?,
            () = attempts.quit.cancelled() => return Err(SurveyError::Leaving.into()),
        };
        for blob in page.blobs {
            if blob.name.starts_with(names::OWN) || !filters.wants(&blob.name) {
                continue;
            }
            let mut hasher = Hasher::new();
            hasher.update(blob.name.as_bytes());
            hasher.update([0]);
            hasher.update(blob.etag.as_str());
            // in any order: some containers are not listed in that of the names
            for (byte, one) in sum.iter_mut().zip(hasher.finalize()) {
                *byte ^= one;
            }
        }
        marker = page.next;
        if marker.is_none() {
            let digits = hex(&sum);
            return Ok(format!("list-{}", digits.get(..24).unwrap_or_default()));
        }
    }
}

impl<S> Engine<S> {
    /// The same entry, with another directory and another index; what is deleted there was never seen by anybody.
    fn at(&self, path: PathBuf, index: crate::index::Store) -> Self {
        Self {
            config: Config {
                path,
                max_delete: u64::MAX,
                max_delete_percent: lamplighter_core::units::Percent::new(100.0),
                delete: crate::config::DeletePolicy::Managed,
                trash: None,
                ..self.config.clone()
            },
            store: Arc::clone(&self.store),
            fetcher: Arc::clone(&self.fetcher),
            attempts: self.attempts.clone(),
            index,
        }
    }
}

#[cfg(test)]
mod tests;
