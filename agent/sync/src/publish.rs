//! The other end of a release: a directory is written to a container as content, a bundle and a manifest, the manifest last and
//! only if nobody else wrote one meanwhile. Readers see the old release until then, whatever happens. Touches the network and
//! the directory that is published.

mod sending;
mod walk;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt;
use lamplighter_core::config::SecretDirs;
use lamplighter_core::fault::chain;
use lamplighter_core::metrics::Registry;
use md5::Md5 as Md5Hasher;
use sha2::{Digest, Sha256 as Sha256Hasher};
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use crate::attempts::Attempts;
use crate::bundle::pack;
use crate::config::{Config, Filters};
use crate::manifest::{self, Bundle, Entry, is_release_id};
use crate::metrics::Metrics;
use crate::store::azure::AzureStore;
use crate::store::{Attributes, BlobStore, Condition, ETag, Md5, Sha256, StoreError, hex};
use sending::Sending;
use walk::walk;

/// What is published, and how.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The directory.
    pub dir: PathBuf,
    /// The release's id; `None`: made of the time and the content.
    pub release: Option<String>,
    /// Whether to write a bundle.
    pub bundle: bool,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Published {
    /// The release's id.
    pub release: String,
    /// Its files.
    pub files: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// Contents that had to be sent.
    pub sent: u64,
    /// The size of the bundle, if there is one.
    pub bundle_bytes: Option<u64>,
    /// Symbolic links and special files, which were left out.
    pub skipped: Vec<String>,
    /// Whether the content is the one that was published already.
    pub unchanged: bool,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The directory or a file of it cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A name that no instance would take.
    #[error("{name:?} cannot be published: {reason}")]
    Name {
        /// The name.
        name: String,
        /// Why instances would refuse it.
        reason: &'static str,
    },
    /// There is nothing.
    #[error("{0} holds no file; an empty release is not published")]
    Empty(String),
    /// The id is no plain name.
    #[error("{0:?} cannot be a release's id: use letters, digits, '.', '_' and '-', at most 64")]
    Release(String),
    /// Somebody else published meanwhile.
    #[error(
        "somebody else published release {0:?} meanwhile; nothing that instances see was changed; publish again to replace it"
    )]
    Raced(String),
    /// The storage.
    #[error("{what}; {}", source.advice())]
    Store {
        /// What was tried.
        what: String,
        /// What it said.
        source: StoreError,
    },
    /// The set-up.
    #[error("{0}")]
    Setup(String),
}

/// Publishes to the container of `config`; `said` is told what is being done.
///
/// # Errors
/// If the directory cannot be read, the storage cannot be written, or somebody else was faster.
pub async fn publish(
    config: &Config,
    secrets: &SecretDirs,
    publication: Publication,
    said: impl FnMut(&str),
) -> Result<Published, PublishError> {
    let store = AzureStore::new(config, secrets, None)
        .map_err(|error| PublishError::Setup(chain(&error)))?;
    publish_to(config, store, publication, said).await
}

pub(crate) async fn publish_to<S: BlobStore>(
    config: &Config,
    store: S,
    publication: Publication,
    mut said: impl FnMut(&str),
) -> Result<Published, PublishError> {
    let metrics = Metrics::register(&Registry::new())
        .map_err(|error| PublishError::Setup(error.to_string()))?;
    let attempts = crate::subsystem::attempts(config, &metrics, &CancellationToken::new());
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| PublishError::Store { what, source }
    };
    store
        .refresh_credential()
        .await
        .map_err(failed("the credential cannot be read"))?;
    said("reading the directory");
    let (dir, filters) = (
        publication.dir.clone(),
        Filters::new(&config.filters).map_err(|error| PublishError::Setup(error.to_string()))?,
    );
    let walk = spawn_blocking(move || walk(&dir, &filters));
    let (entries, skipped) = walk
        .await
        .map_err(|error| PublishError::Setup(error.to_string()))??;
    if entries.is_empty() {
        return Err(PublishError::Empty(publication.dir.display().to_string()));
    }
    let release = match publication.release {
        Some(id) if !is_release_id(&id) => return Err(PublishError::Release(id)),
        Some(id) => id,
        None => made_up(&entries),
    };
    let publisher = Publisher {
        store: Arc::new(store),
        attempts,
        prefix: config.prefix.clone(),
        dir: publication.dir,
        concurrency: usize::from(config.concurrency),
    };
    let published = Published {
        release,
        files: u64::try_from(entries.len()).unwrap_or(u64::MAX),
        bytes: entries.iter().map(|entry| entry.size).sum(),
        sent: 0,
        bundle_bytes: None,
        skipped,
        unchanged: false,
    };
    publisher
        .all(&entries, published, publication.bundle, said)
        .await
}

/// An id nobody else makes up for something else: when, and what.
fn made_up(entries: &[Entry]) -> String {
    let mut hasher = Sha256Hasher::new();
    for entry in entries {
        hasher.update(entry.name.as_bytes());
        hasher.update([0]);
        hasher.update(entry.sha256.0);
    }
    let digits = hex(&hasher.finalize());
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let now: String = now.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    format!("{now}-{}", digits.get(..8).unwrap_or_default())
}

/// What is published already.
struct Before {
    etag: ETag,
    release: String,
    entries: Vec<Entry>,
}

struct Publisher<S> {
    store: Arc<S>,
    attempts: Attempts,
    prefix: String,
    dir: PathBuf,
    concurrency: usize,
}

impl<S: BlobStore> Publisher<S> {
    /// Contents, bundle, manifest.
    async fn all(
        &self,
        entries: &[Entry],
        mut published: Published,
        bundle: bool,
        mut said: impl FnMut(&str),
    ) -> Result<Published, PublishError> {
        let before = self.before().await?;
        if let Some(before) = &before
            && before.entries == entries
        {
            published.release.clone_from(&before.release);
            published.unchanged = true;
            return Ok(published);
        }
        let known: HashSet<Sha256> = before
            .iter()
            .flat_map(|before| before.entries.iter().map(|entry| entry.sha256))
            .collect();
        said("sending what is new");
        published.sent = self.contents(entries, &known).await?;
        let bundle = if bundle {
            said("packing and sending the bundle");
            let bundle = self.bundle(entries).await?;
            published.bundle_bytes = Some(bundle.size);
            Some(bundle)
        } else {
            None
        };
        said("writing the manifest");
        self.manifest(&published.release, bundle, entries, before.as_ref())
            .await?;
        Ok(published)
    }

    async fn before(&self) -> Result<Option<Before>, PublishError> {
        let name = manifest::manifest_blob(&self.prefix);
        let failed = |source| PublishError::Store {
            what: "what is published now cannot be read".to_owned(),
            source,
        };
        let read = || async {
            let Some(mut body) = self.store.get_if_changed(&name, None).await? else {
                return Err(StoreError::Protocol("not modified".to_owned()));
            };
            let mut bytes = Vec::new();
            while let Some(chunk) = body.chunks.next().await {
                bytes.extend_from_slice(&chunk?);
            }
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) != body.total {
                return Err(StoreError::Unreachable("the answer ended early".to_owned()));
            }
            Ok((body.etag, bytes))
        };
        let (etag, bytes) = match self.attempts.retried(read).await {
            Ok((Some(etag), bytes)) => (etag, bytes),
            Ok((None, _)) => return Err(failed(StoreError::Protocol("no ETag".to_owned()))),
            Err(StoreError::NotFound) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        // one that cannot be read is replaced as a whole
        let reader = manifest::Reader::new(&bytes[..]);
        let (release, entries) = match reader {
            Ok(reader) => {
                let release = reader.header().release.clone();
                let entries: Result<Vec<_>, _> = reader.collect();
                (release, entries.unwrap_or_default())
            }
            Err(_) => (String::new(), Vec::new()),
        };
        Ok(Some(Before {
            etag,
            release,
            entries,
        }))
    }

    /// Sends the contents that the release before did not have. How many.
    async fn contents(
        &self,
        entries: &[Entry],
        known: &HashSet<Sha256>,
    ) -> Result<u64, PublishError> {
        let mut tasks = JoinSet::new();
        let (mut seen, mut sent) = (HashSet::new(), 0);
        for entry in entries {
            if entry.size == 0 || known.contains(&entry.sha256) || !seen.insert(entry.sha256) {
                continue;
            }
            while tasks.len() >= self.attempts.governor.limit().min(self.concurrency) {
                finished(tasks.join_next().await)?;
            }
            let sending = Sending {
                store: Arc::clone(&self.store),
                attempts: self.attempts.clone(),
                blob: manifest::content_blob(&self.prefix, entry.sha256),
                path: self.dir.join(&*entry.name),
                size: entry.size,
                sha256: entry.sha256,
                md5: Some(entry.md5),
            };
            sent += 1;
            tasks.spawn(sending.send());
        }
        while !tasks.is_empty() {
            finished(tasks.join_next().await)?;
        }
        Ok(sent)
    }

    async fn bundle(&self, entries: &[Entry]) -> Result<Bundle, PublishError> {
        let temporary = std::env::temp_dir().join(format!(
            "lamplighter-bundle-{:016x}",
            getrandom::u64().unwrap_or_default()
        ));
        let _gone = Removed(temporary.clone());
        let failed = |source| PublishError::Read {
            path: "the bundle".to_owned(),
            source,
        };
        let (dir, entries, path) = (self.dir.clone(), entries.to_vec(), temporary.clone());
        let packing = spawn_blocking(move || {
            let file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)?;
            pack(&dir, &entries, io::BufWriter::new(file))
        });
        let bundle = packing
            .await
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(failed)?;
        let sending = Sending {
            store: Arc::clone(&self.store),
            attempts: self.attempts.clone(),
            blob: manifest::bundle_blob(&self.prefix, bundle.sha256),
            path: temporary,
            size: bundle.size,
            sha256: bundle.sha256,
            md5: None,
        };
        sending.send().await?;
        Ok(bundle)
    }

    async fn manifest(
        &self,
        release: &str,
        bundle: Option<Bundle>,
        entries: &[Entry],
        before: Option<&Before>,
    ) -> Result<(), PublishError> {
        let mut text = Vec::new();
        manifest::write(&mut text, release, bundle, entries.iter())
            .map_err(|error| PublishError::Setup(error.to_string()))?;
        let attributes = Attributes {
            md5: Some(Md5(Md5Hasher::digest(&text).into())),
            content_type: Some("application/x-ndjson".to_owned()),
            ..Attributes::default()
        };
        let (name, text) = (manifest::manifest_blob(&self.prefix), Bytes::from(text));
        let condition = before.map_or(Condition::Absent, |before| Condition::Is(&before.etag));
        let put = || self.store.put(&name, text.clone(), condition, &attributes);
        match self.attempts.retried(put).await {
            Ok(_) => Ok(()),
            Err(StoreError::Changed) => {
                // an answer that was lost looks the same: is it ours?
                let now = self.before().await?;
                match now {
                    Some(now) if now.release == release && now.entries == entries => Ok(()),
                    now => Err(PublishError::Raced(
                        now.map(|now| now.release).unwrap_or_default(),
                    )),
                }
            }
            Err(source) => Err(PublishError::Store {
                what: "the manifest cannot be written".to_owned(),
                source,
            }),
        }
    }
}

fn finished(
    done: Option<Result<Result<(), PublishError>, tokio::task::JoinError>>,
) -> Result<(), PublishError> {
    match done {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(error)) => Err(PublishError::Setup(error.to_string())),
    }
}

/// A file that goes away with its owner.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // it may never have been made
        let _gone = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests;
