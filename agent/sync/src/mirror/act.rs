//! Carries one decision out, and decides again where the container turned out to be another one than thought.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::Case;
use super::decide::{Act, Here, Policy, There, conflict_name};
use super::local::{self, Look};
use super::sides::hash;
use crate::attempts::Attempts;
use crate::cycle::CycleError;
use crate::fetch::{FetchError, Fetcher};
use crate::index::{FileRecord, Kind};
use crate::metrics::Op;
use crate::store::blocks::{SINGLE_MAX, block_length};
use crate::store::{
    Attributes, BlobStore, BlockId, Condition, ETag, Md5, RemoteFile, StoreError, Sum,
};
use crate::tree::{Root, TreeError};

/// How often a name is decided on again because the container changed meanwhile.
const ROUNDS_MAX: u32 = 4;

/// What became of a name.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// What is agreed on now.
    pub(super) agreed: Option<FileRecord>,
    pub(super) op: Option<Op>,
    pub(super) bytes: u64,
    pub(super) conflict: bool,
    /// The local content of a conflict and the name it has now.
    pub(super) copy: Option<(String, Look)>,
}

/// What carrying out takes.
#[derive(Debug)]
pub(super) struct Hand<S> {
    pub(super) store: Arc<S>,
    pub(super) fetcher: Arc<Fetcher<S>>,
    pub(super) root: Arc<Root>,
    pub(super) attempts: Attempts,
    pub(super) prefix: String,
    pub(super) origin: String,
    pub(super) policy: Policy,
    pub(super) trash: bool,
}

impl<S: BlobStore> Hand<S> {
    /// Carries `act` out; where a condition failed, looks again and decides again.
    pub(super) async fn act(
        &self,
        mut case: Case,
        here: Option<Here>,
        mut act: Act,
    ) -> Result<Ended, FetchError> {
        let mut rounds = 0;
        loop {
            match self.once(&mut case, here, act).await {
                Err(FetchError::Store(StoreError::Changed)) if rounds < ROUNDS_MAX => rounds += 1,
                other => return other,
            }
            case.there = self.there(&case.name).await?;
            act = self
                .policy
                .decide(case.agreed.as_ref(), here, case.there.clone());
        }
    }

    async fn there(&self, name: &str) -> Result<Option<There>, FetchError> {
        let blob = format!("{}{name}", self.prefix);
        match self.attempts.retried(|| self.store.head(&blob)).await {
            Ok(found) => Ok(Some(There {
                size: found.size,
                own: found.origin.as_deref() == Some(&*self.origin),
                etag: found.etag,
                md5: found.sum.and_then(Sum::md5),
            })),
            Err(StoreError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn once(
        &self,
        case: &mut Case,
        here: Option<Here>,
        act: Act,
    ) -> Result<Ended, FetchError> {
        let both = case.look.zip(here);
        match act {
            Act::Nothing => Ok(Ended {
                agreed: match (both, case.agreed.take()) {
                    // the content is the same, the file is another
                    (Some((look, _)), Some(agreed)) => Some(FileRecord {
                        fingerprint: look.fingerprint,
                        ..agreed
                    }),
                    (_, agreed) => agreed,
                },
                ..Ended::default()
            }),
            Act::Adopt(there) | Act::Yield(there) => Ok(Ended {
                agreed: both.map(|(look, here)| record(look, here, there.etag)),
                op: Some(Op::Adopt),
                ..Ended::default()
            }),
            Act::Forget => Ok(Ended::default()),
            Act::Put(over) => match both {
                Some((look, here)) => {
                    self.put(&case.name, &case.name, look, here, over.as_ref())
                        .await
                }
                None => Err(StoreError::Changed.into()),
            },
            Act::Get => self.get(case).await,
            Act::DeleteHere => self.delete_here(case).await,
            Act::DeleteThere(etag) => {
                let blob = format!("{}{}", self.prefix, case.name);
                let delete = || self.store.delete(&blob, &etag);
                match self.attempts.retried(delete).await {
                    Ok(()) | Err(StoreError::NotFound) => Ok(Ended {
                        op: Some(Op::PutDelete),
                        ..Ended::default()
                    }),
                    Err(error) => Err(error.into()),
                }
            }
            Act::KeepBoth => self.keep_both(case, here).await,
        }
    }

    /// Sends the file as it looked, as the blob `to`; `Changed` if it does not look so any more, or the blob is another one.
    async fn put(
        &self,
        name: &str,
        to: &str,
        look: Look,
        here: Here,
        over: Option<&ETag>,
    ) -> Result<Ended, FetchError> {
        let blob = format!("{}{to}", self.prefix);
        let condition = over.map_or(Condition::Absent, Condition::Is);
        let attributes = Attributes {
            md5: Some(here.md5),
            origin: Some(self.origin.clone()),
            content_type: content_type(name),
        };
        let etag = if here.size <= SINGLE_MAX {
            let content = self.read(name, look, 0, here.size).await?;
            if md5_of(&content) != here.md5 {
                // it was written within the clock's step
                return Err(StoreError::NotFound.into());
            }
            self.attempts.bandwidth.take(here.size).await;
            let put = || {
                self.store
                    .put(&blob, content.clone(), condition, &attributes)
            };
            self.attempts.retried(put).await?
        } else {
            self.blocks(name, &blob, look, here.size, condition, &attributes)
                .await?
        };
        self.attempts.progress.bytes(here.size);
        Ok(Ended {
            agreed: Some(record(look, here, etag)),
            op: Some(Op::Put),
            bytes: here.size,
            ..Ended::default()
        })
    }

    async fn blocks(
        &self,
        name: &str,
        blob: &str,
        look: Look,
        size: u64,
        condition: Condition<'_>,
        attributes: &Attributes,
    ) -> Result<ETag, FetchError> {
        let block = block_length(size);
        let upload = getrandom::u64().unwrap_or_default();
        let (mut ids, mut at) = (Vec::new(), 0);
        while at < size {
            let length = block.min(size - at);
            let content = self.read(name, look, at, length).await?;
            self.attempts.bandwidth.take(length).await;
            let id = BlockId {
                upload,
                place: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            };
            let put = || self.store.put_block(blob, id, content.clone());
            self.attempts.retried(put).await?;
            ids.push(id);
            at += length;
        }
        let commit = || self.store.commit_blocks(blob, &ids, condition, attributes);
        Ok(self.attempts.retried(commit).await?)
    }

    /// A part of the file, if it still looks as it did; else it is left for another time.
    async fn read(
        &self,
        name: &str,
        look: Look,
        at: u64,
        length: u64,
    ) -> Result<Bytes, FetchError> {
        let (root, name) = (Arc::clone(&self.root), name.to_owned());
        let work = spawn_blocking(move || local::read(&root, &name, look, at, length));
        let read = work.await.map_err(|_| FetchError::CutShort)??;
        // for whoever called, the file of that look is not there
        read.ok_or_else(|| StoreError::NotFound.into())
    }

    async fn get(&self, case: &Case) -> Result<Ended, FetchError> {
        let Some(there) = &case.there else {
            return Err(StoreError::Changed.into());
        };
        // what was written here since it was looked at is not overwritten
        self.same_look(case).await?;
        let parent = case.name.rsplit_once('/').map_or("", |(parent, _)| parent);
        if !parent.is_empty() {
            let (root, parent) = (Arc::clone(&self.root), parent.to_owned());
            let work = spawn_blocking(move || root.make_directories(&parent));
            work.await.map_err(|_| FetchError::CutShort)??;
        }
        let remote = RemoteFile {
            name: case.name.clone(),
            size: there.size,
            etag: there.etag.clone(),
            sum: there.md5.map(Sum::Md5),
            content: None,
            origin: None,
        };
        let fetched = self.fetcher.fetch(&self.root, remote, &self.attempts);
        match fetched.await?.kind {
            Kind::File(file) => Ok(Ended {
                bytes: file.size,
                agreed: Some(file),
                op: Some(Op::Get),
                ..Ended::default()
            }),
            Kind::Directory => Ok(Ended::default()),
        }
    }

    async fn same_look(&self, case: &Case) -> Result<(), FetchError> {
        let (root, name) = (Arc::clone(&self.root), case.name.clone());
        let work = spawn_blocking(move || local::look(&root, &name));
        let now = work.await.map_err(|_| FetchError::CutShort)??;
        if now == case.look {
            Ok(())
        } else {
            Err(StoreError::NotFound.into())
        }
    }

    async fn delete_here(&self, case: &Case) -> Result<Ended, FetchError> {
        self.same_look(case).await?;
        let (root, name, trash) = (Arc::clone(&self.root), case.name.clone(), self.trash);
        let work = spawn_blocking(move || {
            if trash {
                root.trash_file(&name, std::time::SystemTime::now())
            } else {
                root.delete_file(&name)
            }
        });
        work.await.map_err(|_| FetchError::CutShort)??;
        Ok(Ended {
            op: Some(Op::Delete),
            ..Ended::default()
        })
    }

    /// The local content gets a name of its own; where the container's changes are taken, its content takes this one.
    async fn keep_both(&self, case: &mut Case, here: Option<Here>) -> Result<Ended, FetchError> {
        let (Some(look), Some(here), Some(there)) = (case.look, here, case.there.clone()) else {
            return Err(StoreError::Changed.into());
        };
        let other = conflict_name(&case.name, here.md5);
        if !self.policy.both {
            // the container keeps both; here the file stays as it is
            match self.put(&case.name, &other, look, here, None).await {
                Ok(_) | Err(FetchError::Store(StoreError::Changed)) => {}
                Err(error) => return Err(error),
            }
            return Ok(Ended {
                agreed: Some(record(look, here, there.etag)),
                op: Some(Op::Put),
                conflict: true,
                ..Ended::default()
            });
        }
        let (root, name, also) = (Arc::clone(&self.root), case.name.clone(), other.clone());
        let work = spawn_blocking(move || root.also_call(&name, &also));
        work.await.map_err(|_| FetchError::CutShort)??;
        // the second name is a change of the file, too
        let (root, name) = (Arc::clone(&self.root), case.name.clone());
        let work = spawn_blocking(move || local::look(&root, &name));
        case.look = work.await.map_err(|_| FetchError::CutShort)??;
        let still = hash(&self.root, &case.name).await.map_err(single)?;
        if still != Some(here.md5) {
            return Err(StoreError::NotFound.into());
        }
        let got = self.get(case).await?;
        let (root, also) = (Arc::clone(&self.root), other.clone());
        let same = got
            .agreed
            .as_ref()
            .is_some_and(|got| got.sum == Sum::Md5(here.md5));
        let work = spawn_blocking(move || {
            if same {
                // it was the same content after all
                root.delete_file(&also)?;
                return Ok::<_, TreeError>(None);
            }
            local::look(&root, &also)
        });
        let copy = work.await.map_err(|_| FetchError::CutShort)??;
        Ok(Ended {
            conflict: !same,
            copy: copy.map(|look| (other, look)),
            ..got
        })
    }
}

/// An error of the pass, as one of this file.
fn single(error: CycleError) -> FetchError {
    match error {
        CycleError::Tree(error) => FetchError::Tree(error),
        _ => FetchError::CutShort,
    }
}

fn record(look: Look, here: Here, etag: ETag) -> FileRecord {
    FileRecord {
        size: here.size,
        etag,
        sum: Sum::Md5(here.md5),
        fingerprint: look.fingerprint,
    }
}

fn md5_of(content: &[u8]) -> Md5 {
    use md5::Digest;
    Md5(md5::Md5::digest(content).into())
}

/// What a browser should take a file for, by the extensions that uploads have; others are bytes.
fn content_type(name: &str) -> Option<String> {
    let extension = name.rsplit_once('.')?.1.to_ascii_lowercase();
    let kind = match extension.as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "pdf" => "application/pdf",
        "txt" => "text/plain; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "mp4" => "video/mp4",
        _ => return Some("application/octet-stream".to_owned()),
    };
    Some(kind.to_owned())
}
