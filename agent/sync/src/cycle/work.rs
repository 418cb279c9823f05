//! What a pass does to one file, as tasks beside each other.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::CycleError;
use crate::attempts::Attempts;
use crate::fetch::{FetchError, Fetcher};
use crate::index::{FileRecord, Kind, Record};
use crate::metrics::Op;
use crate::plan::Why;
use crate::store::{BlobStore, RemoteFile, Sum};
use crate::tree::{Root, TreeError};

/// What was done to a file.
#[derive(Debug)]
pub(super) struct Worked {
    pub(super) record: Record,
    pub(super) op: Op,
}

/// What failed, and the record to keep.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) name: Box<str>,
    pub(super) error: FetchError,
}

pub(super) async fn get<S: BlobStore>(
    fetcher: Arc<Fetcher<S>>,
    root: Arc<Root>,
    remote: RemoteFile,
    why: Why,
    attempts: Attempts,
) -> Result<Worked, Failure> {
    let name = remote.name.clone();
    let op = if why == Why::Drift {
        Op::Repair
    } else {
        Op::Get
    };
    match fetcher.fetch(&root, remote, &attempts).await {
        Ok(record) => Ok(Worked { record, op }),
        Err(error) => Err(Failure { name, error }),
    }
}

/// Adopts the local file if its content is what the blob's is said to be, else fetches.
pub(super) async fn verify<S: BlobStore>(
    fetcher: Arc<Fetcher<S>>,
    root: Arc<Root>,
    remote: RemoteFile,
    sum: Sum,
    why: Why,
    attempts: Attempts,
) -> Result<Worked, Failure> {
    let failure = |error| Failure {
        name: remote.name.clone(),
        error,
    };
    let hash = {
        let (root, name) = (Arc::clone(&root), remote.name.clone());
        spawn_blocking(move || match root.hash(&name, sum.way())? {
            // what is adopted gets the mode and owner that what is fetched gets
            Some((found, size, seen)) if found == sum => Ok(root
                .set_attributes(&name, seen)?
                .map(|fingerprint| (size, fingerprint))),
            _ => Ok(None),
        })
    };
    let found: Result<_, TreeError> = hash.await.map_err(|_| failure(FetchError::CutShort))?;
    match found.map_err(|error| failure(error.into()))? {
        Some((size, fingerprint)) if size == remote.size => {
            let file = FileRecord {
                size,
                etag: remote.etag,
                sum,
                fingerprint,
            };
            let record = Record {
                name: remote.name,
                kind: Kind::File(file),
            };
            Ok(Worked {
                record,
                op: Op::Adopt,
            })
        }
        _ => get(fetcher, root, remote, why, attempts).await,
    }
}

pub(super) async fn set_attributes(root: Arc<Root>, record: Record) -> Result<Worked, Failure> {
    let Record { name, kind } = record;
    let seen = match &kind {
        Kind::File(file) => file.fingerprint,
        Kind::Directory => {
            let record = Record { name, kind };
            return Ok(Worked {
                record,
                op: Op::Attributes,
            });
        }
    };
    let work = {
        let name = name.clone();
        spawn_blocking(move || root.set_attributes(&name, seen))
    };
    let set = match work.await {
        Ok(set) => set.map_err(FetchError::from),
        Err(_) => Err(FetchError::CutShort),
    };
    match (set, kind) {
        // gone or changed meanwhile: the next pass sees it
        (Ok(None), kind) | (Ok(Some(_)), kind @ Kind::Directory) => Ok(Worked {
            record: Record { name, kind },
            op: Op::Attributes,
        }),
        (Ok(Some(fingerprint)), Kind::File(file)) => Ok(Worked {
            record: Record {
                name,
                kind: Kind::File(FileRecord {
                    fingerprint,
                    ..file
                }),
            },
            op: Op::Attributes,
        }),
        (Err(error), _) => Err(Failure { name, error }),
    }
}

/// Removes the directory at `name` if it holds nothing but directories.
pub(super) async fn clear(root: &Arc<Root>, name: &str) -> Result<bool, CycleError> {
    let (root, name) = (Arc::clone(root), name.to_owned());
    let work = spawn_blocking(move || root.clear(&name));
    Ok(work.await.map_err(|_| CycleError::CutShort)??)
}
