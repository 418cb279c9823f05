//! One content on its way to the container: in one request, or in blocks.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256 as Sha256Hasher};
use tokio::task::spawn_blocking;

use super::PublishError;
use crate::attempts::Attempts;
use crate::store::blocks::{SINGLE_MAX, block_length};
use crate::store::{Attributes, BlobStore, BlockId, Condition, ETag, Md5, Sha256, StoreError};

/// One content on its way. A blob of this name is this content: one that is there already is as good.
pub(super) struct Sending<S> {
    pub(super) store: Arc<S>,
    pub(super) attempts: Attempts,
    pub(super) blob: String,
    pub(super) path: PathBuf,
    pub(super) size: u64,
    pub(super) sha256: Sha256,
    pub(super) md5: Option<Md5>,
}

impl<S: BlobStore> Sending<S> {
    pub(super) async fn send(self) -> Result<(), PublishError> {
        let attributes = Attributes {
            md5: self.md5,
            content_type: Some("application/octet-stream".to_owned()),
            ..Attributes::default()
        };
        let result = if self.size <= SINGLE_MAX {
            let content = self.read(0, self.size).await?;
            if Sha256(Sha256Hasher::digest(&content).into()) != self.sha256 {
                return Err(self.changed());
            }
            let put = || {
                self.store
                    .put(&self.blob, content.clone(), Condition::Absent, &attributes)
            };
            self.attempts.bandwidth.take(self.size).await;
            self.attempts.retried(put).await
        } else {
            self.blocks(&attributes).await?
        };
        match result {
            Ok(_) | Err(StoreError::Changed) => Ok(()),
            Err(source) => Err(PublishError::Store {
                what: format!("{} cannot be written", self.path.display()),
                source,
            }),
        }
    }

    async fn blocks(
        &self,
        attributes: &Attributes,
    ) -> Result<Result<ETag, StoreError>, PublishError> {
        match self.attempts.retried(|| self.store.head(&self.blob)).await {
            Ok(there) if there.size == self.size => return Ok(Err(StoreError::Changed)),
            Ok(_) | Err(StoreError::NotFound) => {}
            Err(error) => return Ok(Err(error)),
        }
        let upload = getrandom::u64().unwrap_or_default();
        let (block, mut ids, mut at) = (block_length(self.size), Vec::new(), 0);
        let mut hasher = Sha256Hasher::new();
        while at < self.size {
            let length = block.min(self.size - at);
            let content = self.read(at, length).await?;
            hasher.update(&content);
            let id = BlockId {
                upload,
                place: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            };
            self.attempts.bandwidth.take(length).await;
            let put = || self.store.put_block(&self.blob, id, content.clone());
            if let Err(error) = self.attempts.retried(put).await {
                return Ok(Err(error));
            }
            ids.push(id);
            at += length;
        }
        if Sha256(hasher.finalize().into()) != self.sha256 {
            return Err(self.changed());
        }
        let commit = || {
            self.store
                .commit_blocks(&self.blob, &ids, Condition::Absent, attributes)
        };
        Ok(self.attempts.retried(commit).await)
    }

    fn changed(&self) -> PublishError {
        PublishError::Read {
            path: self.path.display().to_string(),
            source: io::Error::other("it changed while it was published"),
        }
    }

    async fn read(&self, at: u64, length: u64) -> Result<Bytes, PublishError> {
        let path = self.path.clone();
        let reading = spawn_blocking(move || {
            use std::os::unix::fs::FileExt;
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            File::open(path)?.read_exact_at(&mut bytes, at)?;
            Ok::<_, io::Error>(Bytes::from(bytes))
        });
        let failed = |source| PublishError::Read {
            path: self.path.display().to_string(),
            source,
        };
        reading
            .await
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(failed)
    }
}
