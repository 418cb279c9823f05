//! The two sides as a pass sees them: the directory, off the runtime's workers, and the container's whole list.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::FILES_MAX;
use super::decide::There;
use super::local::{self, Look, Walk};
use crate::attempts::Attempts;
use crate::config::Filters;
use crate::cycle::{CycleError, Engine, Report};
use crate::index::FileRecord;
use crate::names;
use crate::store::{BlobStore, Listed, PAGE_MAX};
use crate::sum::{Sum, Way};
use crate::survey::SurveyError;
use crate::tree::{Root, TreeError};

pub(super) async fn walk(root: &Arc<Root>, filters: &Filters) -> Result<Walk, CycleError> {
    let (root, filters) = (Arc::clone(root), filters.clone());
    let work = spawn_blocking(move || local::walk(&root, "", &filters));
    Ok(work.await.map_err(|_| CycleError::CutShort)??)
}

pub(super) async fn look(root: &Arc<Root>, name: &str) -> Result<Option<Look>, CycleError> {
    let (root, name) = (Arc::clone(root), name.to_owned());
    let work = spawn_blocking(move || local::look(&root, &name));
    Ok(work.await.map_err(|_| CycleError::CutShort)??)
}

pub(super) async fn hash(
    root: &Arc<Root>,
    name: &str,
) -> Result<Option<crate::store::Md5>, CycleError> {
    let (root, name) = (Arc::clone(root), name.to_owned());
    let work = spawn_blocking(move || root.hash(&name, Way::Md5));
    let found = work.await.map_err(|_| CycleError::CutShort)??;
    Ok(found.and_then(|(sum, _, _)| sum.md5()))
}

/// The whole list of the container; what cannot be a file is counted.
pub(super) async fn list<S: BlobStore>(
    engine: &Engine<S>,
    attempts: &Attempts,
    origin: &str,
    report: &mut Report,
) -> Result<BTreeMap<Box<str>, There>, CycleError> {
    let config = &engine.config;
    let filters = Filters::new(&config.filters)?;
    let root_len = Path::new(&config.path).as_os_str().len();
    let (mut there, mut marker) = (BTreeMap::new(), None::<String>);
    loop {
        let page = attempts.retried(|| {
            let store = &engine.store;
            store.list_page(&config.prefix, marker.as_deref(), PAGE_MAX)
        });
        let page = tokio::select! {
            page = page => page.map_err(SurveyError::List)?,
            () = attempts.quit.cancelled() => return Err(SurveyError::Leaving.into()),
        };
        for blob in page.blobs {
            let Listed {
                name,
                size,
                etag,
                sum,
                directory,
                origin: by,
                ..
            } = blob;
            if directory
                || name.starts_with(names::OWN)
                || !filters.wants(&name)
                || name.ends_with('/')
            {
                continue;
            }
            if let Err(reason) = names::check(&name, root_len) {
                *report.refused.entry(reason).or_default() += 1;
                continue;
            }
            let own = by.as_deref() == Some(origin);
            there.insert(
                name,
                There {
                    size,
                    etag,
                    md5: sum.and_then(Sum::md5),
                    own,
                },
            );
            if there.len() > FILES_MAX {
                return Err(SurveyError::TooMany.into());
            }
        }
        marker = page.next;
        if marker.is_none() {
            return Ok(there);
        }
    }
}

/// The record of a file that was pulled, as it is compared with what containers say: by its MD5. A file that is not as it was
/// written has changed, whatever it holds; its record stays.
pub(super) fn with_md5(root: &Root, name: &str, file: FileRecord) -> Result<FileRecord, TreeError> {
    if file.sum.way() == Way::Md5 {
        return Ok(file);
    }
    Ok(match root.hash(name, Way::Md5)? {
        Some((sum, size, fingerprint)) if (size, fingerprint) == (file.size, file.fingerprint) => {
            FileRecord { sum, ..file }
        }
        _ => file,
    })
}
