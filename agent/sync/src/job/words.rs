//! What is said about a pass: what is wrong, how far it reaches, and what to do. Pure; no IO.

use lamplighter_core::fault::{Culprit, Fault, Retry, chain};
use lamplighter_core::health::Reach;

use super::Job;
use crate::cycle::{CycleError, Outcome, Report};
use crate::plan::Guard;
use crate::store::BlobStore;

impl<S: BlobStore> Job<S> {
    /// What is wrong after a pass, how far it reaches, and what to do.
    pub(super) fn trouble(&self, report: &Report) -> Option<(Reach, String)> {
        match &report.outcome {
            Outcome::Failed(error) => Some(explain(error)),
            Outcome::Drained => None,
            Outcome::Done => match (report.held, &report.first_failure) {
                (Some(guard), _) => Some((
                    Reach::Shared,
                    self.explain_guard(guard, report.census.deletes),
                )),
                (None, Some(first)) if report.failed > 0 => Some((
                    Reach::Shared,
                    format!("{} files failed, the first: {first}", report.failed),
                )),
                _ if self.hook_failure.is_some() => {
                    let failure = self.hook_failure.clone().unwrap_or_default();
                    Some((Reach::Local, format!("after_change: {failure}")))
                }
                _ if report.rolled_back.is_some() => {
                    let (live, left) = (&report.release, &report.rolled_back);
                    Some((
                        Reach::Local,
                        format!(
                            "rolled back to {} from {}, which is not taken again; publish another release to go on",
                            live.as_deref().unwrap_or_default(),
                            left.as_deref().unwrap_or_default()
                        ),
                    ))
                }
                _ if self.folds_case => Some((
                    Reach::Local,
                    format!(
                        "{} ignores case; blobs whose names differ only in case are not kept apart",
                        self.engine.config.path.display()
                    ),
                )),
                _ => None,
            },
        }
    }

    fn explain_guard(&self, guard: Guard, count: u64) -> String {
        let config = &self.engine.config;
        let (what, key) = match guard {
            Guard::EmptyList => {
                return format!(
                    "the container lists no file under prefix {:?}, so the {count} files on disk stay; check the container, the prefix \
                     and the right to list, or empty {} by hand",
                    config.prefix,
                    config.path.display()
                );
            }
            Guard::MaxDelete => (
                format!("more than max_delete = {}", config.max_delete),
                "max_delete",
            ),
            Guard::MaxDeletePercent => (
                format!(
                    "more than max_delete_percent = {}",
                    config.max_delete_percent
                ),
                "max_delete_percent",
            ),
        };
        format!(
            "{count} files would be deleted, {what}, so none is; if the container is right, raise {key} for a while"
        )
    }
}

pub(super) fn explain(error: &CycleError) -> (Reach, String) {
    match error.store_error() {
        Some(store) => (
            Reach::Shared,
            format!("{}; {}", chain(error), store.advice()),
        ),
        None if error.label() == "disk_full" => (
            Reach::Local,
            format!(
                "{}; the old files stay; free space, or lower min_free",
                chain(error)
            ),
        ),
        None => (Reach::Local, chain(error)),
    }
}

pub(super) fn fault(error: &CycleError) -> Fault {
    let culprit = match (error.store_error(), error.label()) {
        (Some(store), _) => store.culprit(),
        (None, "bug") => Culprit::Bug,
        (None, _) => Culprit::Platform,
    };
    Fault::new(culprit, Retry::Later, chain(error))
}
