//! Carries the decisions of one pass out: downloads side by side, the next index in the order of names, deletes last.

mod ending;
mod error;
mod report;
mod slots;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use lamplighter_core::fault::chain;
use tokio::task::{JoinSet, spawn_blocking};

use crate::attempts::Attempts;
use crate::config::Config;
use crate::fetch::{FetchError, Fetcher};
use crate::index::{self, Kind, Record};
use crate::metrics::Op;
use crate::names::Refusal;
use crate::plan::Decision;
use crate::store::{BlobStore, StoreError};
use crate::survey::{Survey, SurveyError};
use crate::tree::{Root, TreeError};
pub(crate) use ending::publish;
pub(crate) use error::CycleError;
pub(crate) use report::{Outcome, Report};
use slots::{Slot, SlotId, Slots};
use work::{Failure, Worked, clear, get, set_attributes, verify};

/// The most directories that are removed in one pass; the next one goes on.
const DIRECTORIES_MAX: usize = 10_000;
/// The most names of one kind of trouble that are logged in one pass.
const LOGGED_MAX: u64 = 10;

/// Where a pass takes its names from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Names {
    /// The container's list, page by page.
    List,
    /// The same, listed whole and sorted here first.
    SortedList,
    /// The manifest in this file.
    Manifest(PathBuf),
    /// The index: what was written is looked at, and made again as it was.
    Index,
}

/// What all passes of one entry have in common.
#[derive(Debug)]
pub(crate) struct Engine<S> {
    pub(crate) config: Config,
    pub(crate) store: Arc<S>,
    pub(crate) fetcher: Arc<Fetcher<S>>,
    pub(crate) attempts: Attempts,
    pub(crate) index: index::Store,
}

impl<S: BlobStore> Engine<S> {
    /// One pass over what `names` says.
    pub(crate) async fn cycle(&self, names: &Names) -> Report {
        let mut pass = Pass::new(self);
        let outcome = match pass.run(names).await {
            Ok(true) => Outcome::Done,
            Ok(false) => Outcome::Drained,
            Err(error) => Outcome::Failed(error),
        };
        Report {
            outcome,
            ..pass.report
        }
    }

    pub(crate) async fn open_root(&self) -> Result<Arc<Root>, CycleError> {
        let config = self.config.clone();
        let root = spawn_blocking(move || Root::open(&config))
            .await
            .map_err(|_| CycleError::CutShort)??;
        Ok(Arc::new(root))
    }

    pub(crate) async fn open_index(&self) -> Result<Option<index::Reader>, CycleError> {
        let store = self.index.clone();
        let reader = spawn_blocking(move || store.open())
            .await
            .map_err(|_| CycleError::CutShort)?;
        reader.map_err(CycleError::Index)
    }
}

/// What a task of a pass brings back.
type Done = (SlotId, Option<Record>, Result<Worked, Failure>);

struct Pass<'a, S> {
    engine: &'a Engine<S>,
    attempts: Attempts,
    slots: Slots,
    tasks: JoinSet<Done>,
    /// Files whose blobs are gone, as long as they are few enough for the guard.
    deletes: Vec<Box<str>>,
    directories: Vec<Box<str>>,
    report: Report,
    last_parent: Option<Box<str>>,
}

impl<'a, S: BlobStore> Pass<'a, S> {
    fn new(engine: &'a Engine<S>) -> Self {
        Self {
            engine,
            attempts: engine.attempts.for_one_pass(),
            slots: Slots::default(),
            tasks: JoinSet::new(),
            deletes: Vec::new(),
            directories: Vec::new(),
            report: Report::with(Outcome::Done),
            last_parent: None,
        }
    }

    /// Whether the pass came to its end (`false`: the process leaves).
    async fn run(&mut self, names: &Names) -> Result<bool, CycleError> {
        let store = &self.engine.store;
        let expiry = self
            .attempts
            .once(store.refresh_credential())
            .await
            .map_err(CycleError::Credential)?;
        self.attempts
            .metrics
            .credential_expiry
            .set(expiry.map_or(0.0, seconds_since_epoch));
        let root = self.engine.open_root().await?;
        let index = self.engine.open_index().await?;
        self.slots.begin(self.engine.index.begin(index.as_ref()));
        self.attempts.frozen |= *names == Names::Index;
        let attempts = self.attempts.clone();
        let store = Arc::clone(&self.engine.store);
        let mut survey = Survey::new(
            store,
            &self.engine.config,
            attempts,
            index,
            Some(Arc::clone(&root)),
        )?;
        match names {
            Names::List => {}
            Names::SortedList => survey.sort().await?,
            Names::Manifest(path) => survey.follow(path.clone()).await?,
            Names::Index => {
                if let Some(known) = self.engine.open_index().await? {
                    survey.recall(known);
                } else {
                    return Ok(true);
                }
            }
        }
        let mut end = self.work(&mut survey, &root).await;
        self.report.census = survey.census();
        if end.as_ref().is_err_and(CycleError::is_general) {
            // what is under way will not fare better
            self.attempts.abandon.cancel();
        }
        let settled = self.settle().await;
        end = end.and_then(|complete| settled.map(|()| complete));
        if matches!(end, Ok(true)) {
            return self.finish(&root).await.map(|()| true);
        }
        if let Some(rest) = survey.into_rest() {
            let saved = std::mem::take(&mut self.slots)
                .finish(rest)
                .await
                .map_err(CycleError::Index);
            if let Err(error) = publish(saved, &root).await {
                let job = &self.engine.config.name;
                tracing::warn!(
                    job,
                    "the progress of a broken pass is lost, it will be compared again: {}",
                    chain(&error)
                );
            }
        }
        end
    }

    /// Goes through all decisions; `false` if the process leaves meanwhile.
    async fn work(&mut self, survey: &mut Survey<S>, root: &Arc<Root>) -> Result<bool, CycleError> {
        loop {
            let batch = match survey.next().await {
                Err(SurveyError::Leaving) => return Ok(false),
                other => other?,
            };
            let Some(batch) = batch else {
                return Ok(true);
            };
            let mut batch = batch.into_iter();
            while let Some(decision) = batch.next() {
                let leaving = self.attempts.quit.is_cancelled();
                let carried_out = if leaving {
                    self.push(Slot::old(decision)).await
                } else {
                    self.carry_out(decision, root).await
                };
                if leaving || carried_out.is_err() {
                    for left in batch {
                        self.push(Slot::old(left)).await?;
                    }
                    return carried_out.map(|()| false);
                }
            }
        }
    }

    async fn push(&mut self, slot: Slot) -> Result<(), CycleError> {
        self.slots.push(slot).await.map_err(CycleError::Index)
    }

    async fn carry_out(&mut self, decision: Decision, root: &Arc<Root>) -> Result<(), CycleError> {
        let (root, attempts) = (Arc::clone(root), self.attempts.clone());
        let fetcher = Arc::clone(&self.engine.fetcher);
        let slot = match decision {
            Decision::Keep(record) => {
                self.count_file(&record);
                Slot::Keep(record)
            }
            Decision::Adopt(record) => {
                self.count_file(&record);
                self.note(Op::Adopt, 0);
                Slot::Put(record)
            }
            Decision::Forget(Some(_)) => Slot::LeaveOut,
            Decision::Forget(None) => Slot::Nothing,
            Decision::Delete(record) => self.hold_delete(record),
            Decision::Refuse {
                name,
                reason,
                had,
                gone,
            } => {
                self.refuse(&name, reason);
                match had {
                    Some(record) if gone => self.hold_delete(record),
                    Some(record) => Slot::Keep(record),
                    None => Slot::Nothing,
                }
            }
            Decision::Mkdir { name, record, had } => {
                self.make_directory(&name, record, &root).await?;
                Slot::kept(had)
            }
            Decision::Attributes(record) => {
                let (name, task) = (record.name.clone(), set_attributes(root, record.clone()));
                return self.start(&name, Some(record), task).await;
            }
            Decision::Get { remote, why, had } => {
                if let Some(slot) = self.bar(&remote.name, had.as_ref(), &root).await? {
                    slot
                } else {
                    let name = remote.name.clone();
                    let task = get(fetcher, root, remote, why, attempts);
                    return self.start(&name, had, task).await;
                }
            }
            Decision::Clear { remote, why, had } => {
                if clear(&root, &remote.name).await? {
                    let name = remote.name.clone();
                    let task = get(fetcher, root, remote, why, attempts);
                    return self.start(&name, had, task).await;
                }
                self.refuse(&remote.name, Refusal::InTheWay);
                Slot::kept(had)
            }
            Decision::Verify {
                remote,
                sum,
                why,
                had,
            } => {
                let name = remote.name.clone();
                let task = verify(fetcher, root, remote, sum, why, attempts);
                return self.start(&name, had, task).await;
            }
        };
        self.push(slot).await
    }

    /// Runs `task` beside the others once there is room.
    async fn start(
        &mut self,
        name: &str,
        had: Option<Record>,
        task: impl Future<Output = Result<Worked, Failure>> + Send + 'static,
    ) -> Result<(), CycleError> {
        let limit = self.attempts.governor.limit();
        self.attempts
            .metrics
            .concurrency
            .set(i64::try_from(limit).unwrap_or(0));
        while self.tasks.len() >= limit || self.slots.is_full() {
            if let Err(error) = self.reap().await {
                self.push(Slot::kept(had)).await?;
                return Err(error);
            }
        }
        let id = self.slots.reserve(name, had.clone());
        self.tasks.spawn(async move { (id, had, task.await) });
        Ok(())
    }

    /// Takes in what one task brought back.
    async fn reap(&mut self) -> Result<(), CycleError> {
        let Some(done) = self.tasks.join_next().await else {
            return Ok(());
        };
        // a panic is a bug in us; the pass ends and the next one starts afresh
        let (id, had, result) = done.map_err(|_| CycleError::CutShort)?;
        match result {
            Ok(Worked { record, op }) => {
                let bytes = match &record.kind {
                    Kind::File(file) => file.size,
                    Kind::Directory => 0,
                };
                self.count_file(&record);
                self.note(op, bytes);
                self.slots
                    .fill(id, Slot::Put(record))
                    .await
                    .map_err(CycleError::Index)
            }
            Err(Failure { name, error }) => {
                self.slots
                    .fill(id, Slot::kept(had))
                    .await
                    .map_err(CycleError::Index)?;
                self.failed(name, error)
            }
        }
    }

    /// Waits for every task.
    async fn settle(&mut self) -> Result<(), CycleError> {
        let mut first = Ok(());
        while !self.tasks.is_empty() {
            let result = self.reap().await;
            first = first.and(result);
        }
        first
    }

    /// Takes a failure of one file in; gives it back if no other file would fare better.
    fn failed(&mut self, name: Box<str>, error: FetchError) -> Result<(), CycleError> {
        match error {
            FetchError::Tree(TreeError::Refused(reason)) => {
                self.refuse(&name, reason);
                Ok(())
            }
            general if general.is_general() => Err(CycleError::Fetch {
                name,
                source: general,
            }),
            single => {
                self.count_failure(&name, &single);
                Ok(())
            }
        }
    }

    fn count_failure(&mut self, name: &str, error: &FetchError) {
        let job = &self.engine.config.name;
        self.attempts.metrics.errors(error.label()).inc();
        match error {
            // deleted since it was listed: the next pass sees it
            FetchError::Store(StoreError::NotFound) => {
                return tracing::debug!(job, name, "the blob went away while it was wanted");
            }
            FetchError::Penalised => tracing::debug!(job, name, "not fetched: {error}"),
            _ if self.report.failed < LOGGED_MAX => {
                tracing::warn!(job, name, "failed: {}", chain(error))
            }
            _ => {}
        }
        self.report.failed += 1;
        self.report
            .first_failure
            .get_or_insert_with(|| format!("{name}: {error}"));
    }

    fn refuse(&mut self, name: &str, reason: Refusal) {
        let count = self.report.refused.entry(reason).or_default();
        *count += 1;
        if *count <= LOGGED_MAX {
            tracing::debug!(
                job = self.engine.config.name,
                name,
                reason = reason.label(),
                "refused"
            );
        }
    }

    fn hold_delete(&mut self, record: Record) -> Slot {
        match record.kind {
            Kind::Directory if self.directories.len() < DIRECTORIES_MAX => {
                self.directories.push(record.name.clone())
            }
            Kind::Directory => {}
            Kind::File(_) => {
                // beyond the guard's bound they are only counted, by the survey
                let room = usize::try_from(self.engine.config.max_delete).unwrap_or(usize::MAX);
                if self.deletes.len() < room {
                    self.deletes.push(record.name.clone());
                }
            }
        }
        Slot::Keep(record)
    }

    const fn count_file(&mut self, record: &Record) {
        if matches!(record.kind, Kind::File(_)) {
            self.report.in_place += 1;
        }
    }

    fn note(&mut self, op: Op, bytes: u64) {
        let metrics = &self.attempts.metrics;
        metrics.objects(op).inc();
        if matches!(op, Op::Get | Op::Repair) {
            metrics.bytes(op).inc_by(bytes);
        }
        // what was found right was not changed
        self.report.changed += u64::from(op != Op::Adopt);
        self.attempts.progress.file();
    }

    /// Makes the directories a file needs. A slot if they cannot be.
    async fn bar(
        &mut self,
        name: &str,
        had: Option<&Record>,
        root: &Arc<Root>,
    ) -> Result<Option<Slot>, CycleError> {
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        if parent.is_empty() || self.last_parent.as_deref() == Some(parent) {
            return Ok(None);
        }
        match self.directories(parent, root, true).await {
            Ok(()) => {
                self.last_parent = Some(parent.into());
                Ok(None)
            }
            Err(CycleError::Tree(TreeError::Refused(reason))) => {
                self.refuse(name, reason);
                Ok(Some(Slot::kept(had.cloned())))
            }
            Err(error) => {
                self.push(Slot::kept(had.cloned())).await?;
                Err(error)
            }
        }
    }

    async fn make_directory(
        &mut self,
        name: &str,
        record: bool,
        root: &Arc<Root>,
    ) -> Result<(), CycleError> {
        match self
            .directories(name.trim_end_matches('/'), root, record)
            .await
        {
            Err(CycleError::Tree(TreeError::Refused(reason))) => {
                self.refuse(name, reason);
                Ok(())
            }
            other => other,
        }
    }

    /// Makes `path` and what is above it, and remembers in the index which of these directories are ours.
    async fn directories(
        &mut self,
        path: &str,
        root: &Arc<Root>,
        record: bool,
    ) -> Result<(), CycleError> {
        let (root, path) = (Arc::clone(root), path.to_owned());
        let made = spawn_blocking(move || root.make_directories(&path))
            .await
            .map_err(|_| CycleError::CutShort)??;
        if record {
            for name in made {
                self.slots
                    .push_directory(name)
                    .await
                    .map_err(CycleError::Index)?;
            }
        }
        Ok(())
    }
}

pub(crate) fn seconds_since_epoch(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests;
