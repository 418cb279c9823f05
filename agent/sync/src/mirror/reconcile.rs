//! Names decided on and the decisions carried out: side by side, deletes last and only if the guards agree.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::act::{Ended, Hand};
use super::decide::{Act, Here};
use super::sides::hash;
use super::{Case, Mirror};
use crate::attempts::Attempts;
use crate::cycle::{CycleError, Engine, Report};
use crate::fetch::FetchError;
use crate::index::FileRecord;
use crate::names::Clashes;
use crate::plan::{Census, Guard, guard};
use crate::store::{BlobStore, StoreError, Sum};
use crate::tree::{Root, TreeError};

/// How soon what could not be sent is tried again, beside the passes.
const FAILED_AGAIN: Duration = Duration::from_secs(5);

/// What a task brings back.
type Done = (Box<str>, Result<Ended, FetchError>);

impl Mirror {
    /// Decides about each case, then carries the decisions out beside each other, deletes last.
    pub(super) async fn reconcile<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        root: &Arc<Root>,
        cases: Vec<Case>,
        here: usize,
        attempts: &Attempts,
        report: &mut Report,
    ) -> Result<(), CycleError> {
        let (mut acts, mut deletes) = (Vec::new(), Vec::new());
        let mut clashes = Clashes::default();
        for case in cases {
            if clashes.below_a_file(&case.name) {
                *report
                    .refused
                    .entry(crate::names::Refusal::Clash)
                    .or_default() += 1;
                continue;
            }
            let known = case.agreed.as_ref();
            let touched =
                known.map(|known| known.fingerprint) != case.look.map(|look| look.fingerprint);
            if touched && case.look.is_some() && !self.is_settled(&case.name, case.look) {
                continue;
            }
            let md5 = match (case.look, known) {
                (
                    Some(look),
                    Some(FileRecord {
                        sum: Sum::Md5(md5),
                        fingerprint,
                        ..
                    }),
                ) if look.fingerprint == *fingerprint => Some(*md5),
                (Some(_), _) => match hash(root, &case.name).await? {
                    Some(md5) => Some(md5),
                    // it changes as it is read: another time
                    None => continue,
                },
                (None, _) => None,
            };
            if case.look.is_some() {
                clashes.admit(&case.name);
            }
            let here = case.look.zip(md5).map(|(look, md5)| Here {
                size: look.size,
                md5,
            });
            let act = self.policy.decide(known, here, case.there.clone());
            match act {
                Act::Nothing if !touched => {}
                Act::DeleteHere | Act::DeleteThere(_) => deletes.push((case, here, act)),
                _ => acts.push((case, here, act)),
            }
        }
        report.census.deletes = u64::try_from(deletes.len()).unwrap_or(u64::MAX);
        if let Err(held) = self.guard(engine, &deletes, here, report) {
            report.held = Some(held);
            deletes.clear();
        }
        self.carry_out(engine, root, acts, attempts, report).await?;
        self.carry_out(engine, root, deletes, attempts, report)
            .await
    }

    /// Whether the deletes may go ahead: an empty side is more likely a wrong one.
    fn guard<S>(
        &self,
        engine: &Engine<S>,
        deletes: &[(Case, Option<Here>, Act)],
        here: usize,
        report: &Report,
    ) -> Result<(), Guard> {
        let there = deletes
            .iter()
            .filter(|(_, _, act)| matches!(act, Act::DeleteThere(_)))
            .count();
        let config = &engine.config;
        let indexed = u64::try_from(self.agreed.len()).unwrap_or(u64::MAX);
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let one = |remote, deletes| {
            let census = Census {
                remote,
                indexed,
                deletes,
            };
            guard(census, config.max_delete, config.max_delete_percent)
        };
        one(
            report.census.remote.max(u64::from(!self.policy.both)),
            count(deletes.len() - there),
        )?;
        one(count(here), count(there))
    }

    async fn carry_out<S: BlobStore>(
        &mut self,
        engine: &Engine<S>,
        root: &Arc<Root>,
        acts: Vec<(Case, Option<Here>, Act)>,
        attempts: &Attempts,
        report: &mut Report,
    ) -> Result<(), CycleError> {
        let hand = Arc::new(Hand {
            store: Arc::clone(&engine.store),
            fetcher: Arc::clone(&engine.fetcher),
            root: Arc::clone(root),
            attempts: attempts.clone(),
            prefix: engine.config.prefix.clone(),
            origin: self.origin.clone(),
            policy: self.policy,
            trash: engine.config.trash.is_some(),
        });
        let mut tasks = JoinSet::new();
        let mut first = Ok(());
        for (case, here, act) in acts {
            while tasks.len() >= attempts.governor.limit() {
                let done = self.take_in(engine, tasks.join_next().await, report);
                first = first.and(done);
            }
            if first.is_err() || attempts.quit.is_cancelled() {
                break;
            }
            let hand = Arc::clone(&hand);
            tasks.spawn(async move {
                let name = case.name.clone();
                (name, hand.act(case, here, act).await)
            });
        }
        while !tasks.is_empty() {
            let done = self.take_in(engine, tasks.join_next().await, report);
            first = first.and(done);
        }
        first
    }

    /// A change that could not be sent is not tried again at once.
    pub(super) fn put_off(&mut self, name: &str) {
        if let Some((_, since)) = self.stirred.get_mut(name) {
            *since = Instant::now() + FAILED_AGAIN;
        }
    }

    /// Takes in what one task brought back.
    fn take_in<S>(
        &mut self,
        engine: &Engine<S>,
        done: Option<Result<Done, tokio::task::JoinError>>,
        report: &mut Report,
    ) -> Result<(), CycleError> {
        let Some(done) = done else {
            return Ok(());
        };
        let (name, result) = done.map_err(|_| CycleError::CutShort)?;
        let metrics = &engine.attempts.metrics;
        match result {
            Ok(ended) => {
                self.stirred.remove(&name);
                self.count_unsent(engine);
                if let Some(op) = ended.op {
                    metrics.objects(op).inc();
                    metrics.bytes(op).inc_by(ended.bytes);
                    report.changed += 1;
                    engine.attempts.progress.file();
                }
                metrics.conflicts.inc_by(u64::from(ended.conflict));
                self.unsaved = true;
                match ended.agreed {
                    Some(record) => self.agreed.insert(name, record),
                    None => self.agreed.remove(&name),
                };
                if let Some((name, look)) = ended.copy {
                    // the other name is sent like any file
                    let past = Instant::now().checked_sub(self.debounce);
                    let since = past.unwrap_or_else(Instant::now);
                    self.stirred.insert(name.into(), (Some(look), since));
                    report.again = true;
                }
                Ok(())
            }
            // it changed while it was read or sent: another time
            Err(FetchError::Store(StoreError::Changed | StoreError::NotFound)) => Ok(()),
            Err(FetchError::Tree(TreeError::Refused(reason))) => {
                *report.refused.entry(reason).or_default() += 1;
                Ok(())
            }
            Err(source) if source.is_general() => {
                self.put_off(&name);
                Err(CycleError::Mirror { name, source })
            }
            Err(source) => {
                self.put_off(&name);
                metrics.errors(source.label()).inc();
                report.failed += 1;
                report
                    .first_failure
                    .get_or_insert_with(|| format!("{name}: {source}"));
                Ok(())
            }
        }
    }
}
