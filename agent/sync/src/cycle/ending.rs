//! The end of a pass: guards, deletes, the index.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::spawn_blocking;

use super::{CycleError, Pass};
use crate::index::Finished;
use crate::metrics::Op;
use crate::names::Refusal;
use crate::plan::guard;
use crate::store::BlobStore;
use crate::tree::Root;

impl<S: BlobStore> Pass<'_, S> {
    /// The end of a complete pass: guards, deletes, index.
    pub(super) async fn finish(&mut self, root: &Arc<Root>) -> Result<(), CycleError> {
        let config = &self.engine.config;
        let finished = std::mem::take(&mut self.slots)
            .finish(std::iter::empty())
            .await
            .map_err(CycleError::Index)?;
        let deletes = std::mem::take(&mut self.deletes);
        let directories = std::mem::take(&mut self.directories);
        let gone = match guard(
            self.report.census,
            config.max_delete,
            config.max_delete_percent,
        ) {
            Ok(()) => self.delete(deletes, directories, root).await?,
            Err(guard) => {
                self.report.held = Some(guard);
                Vec::new()
            }
        };
        let in_the_way = self
            .report
            .refused
            .get(&Refusal::InTheWay)
            .is_some_and(|count| *count > 0);
        self.report.again = in_the_way && !gone.is_empty();
        if let Some(keep) = config.trash {
            let root = Arc::clone(root);
            let work = spawn_blocking(move || root.empty_trash(keep.get(), SystemTime::now()));
            work.await.map_err(|_| CycleError::CutShort)??;
        }
        let finished = spawn_blocking(move || finished.without(&gone))
            .await
            .map_err(|_| CycleError::CutShort)?;
        publish(finished.map_err(CycleError::Index), root).await
    }

    /// Deletes files, then empty directories, the innermost first. What is gone, sorted.
    async fn delete(
        &mut self,
        files: Vec<Box<str>>,
        directories: Vec<Box<str>>,
        root: &Arc<Root>,
    ) -> Result<Vec<Box<str>>, CycleError> {
        if files.is_empty() && directories.is_empty() {
            return Ok(Vec::new());
        }
        let (root, trash) = (Arc::clone(root), self.engine.config.trash);
        let work = spawn_blocking(move || {
            let (mut gone, mut errors) = (Vec::new(), Vec::new());
            let mut count = 0_u64;
            let now = SystemTime::now();
            for name in files {
                let done = match trash {
                    Some(_) => root.trash_file(&name, now),
                    None => root.delete_file(&name),
                };
                match done {
                    Ok(_) => {
                        count += 1;
                        gone.push(name);
                    }
                    Err(error) => errors.push((name, error)),
                }
            }
            for name in directories.into_iter().rev() {
                match root.delete_directory(&name) {
                    Ok(true) => gone.push(name),
                    Ok(false) => {}
                    Err(error) => errors.push((name, error)),
                }
            }
            gone.sort_unstable();
            (gone, count, errors)
        });
        let (gone, count, errors) = work.await.map_err(|_| CycleError::CutShort)?;
        self.report.changed += count;
        self.attempts.metrics.objects(Op::Delete).inc_by(count);
        for (name, error) in errors {
            self.count_failure(&name, &error.into());
        }
        Ok(gone)
    }
}

/// Forces the files to disk, then lets the index say that they are there.
pub(crate) async fn publish(
    finished: Result<Finished, CycleError>,
    root: &Arc<Root>,
) -> Result<(), CycleError> {
    let (finished, root) = (finished?, Arc::clone(root));
    let work = spawn_blocking(move || {
        if finished.is_new() {
            root.sync()?;
        }
        finished.publish().map_err(CycleError::Index)
    });
    work.await.map_err(|_| CycleError::CutShort)?
}
