//! Where an entry's names come from: the container's manifest if it has one, fetched only when it changed and kept beside the
//! index, else its list. Touches the network and the state directory.

use std::fs::{self, File};
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use md5::{Digest, Md5 as Hasher};
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::attempts::Attempts;
use crate::config::{Config, Direction, Manifest};
use crate::cycle::CycleError;
use crate::manifest::{self, Header, ManifestError};
use crate::store::{BlobStore, Body, ETag, Md5, StoreError};

/// The largest manifest that is fetched, in bytes: a million files with long names.
const SIZE_MAX: u64 = 512 * 1024 * 1024;

/// What an entry goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// The container's list.
    List,
    /// Its manifest, in [`Source::path`]; whether it is another one than the last time.
    Manifest { header: Header, new: bool },
}

/// One entry's names.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    /// What the manifest must be of: container and prefix.
    identity: String,
    blob: String,
    mode: Manifest,
    known: Option<(ETag, Header)>,
    opened: bool,
    /// There was no manifest; when it is looked for again.
    absent_until: Option<Instant>,
    look_again: std::time::Duration,
}

impl Source {
    /// For `config`, with the manifest kept in `<state_dir>/<name>.manifest`.
    pub(crate) fn new(config: &Config, state_dir: &Path) -> Self {
        let mode = if config.direction == Direction::Pull {
            config.manifest
        } else {
            Manifest::Ignore
        };
        Self {
            path: state_dir.join(format!("{}.manifest", config.name)),
            identity: format!("{}|{}", config.container, config.prefix),
            blob: manifest::manifest_blob(&config.prefix),
            mode,
            known: None,
            opened: false,
            absent_until: None,
            look_again: config.check_interval.get(),
        }
    }

    /// The manifest's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn etag_path(&self) -> PathBuf {
        self.path.with_extension("manifest-etag")
    }

    /// Asks the storage once.
    pub(crate) async fn look<S: BlobStore>(
        &mut self,
        store: &S,
        attempts: &Attempts,
    ) -> Result<Found, CycleError> {
        if self.mode == Manifest::Ignore {
            return Ok(Found::List);
        }
        self.open().await?;
        if self
            .absent_until
            .is_some_and(|until| Instant::now() < until)
        {
            return Ok(Found::List);
        }
        let known = self.known.as_ref().map(|(etag, _)| etag);
        let answer = attempts
            .retried(|| store.get_if_changed(&self.blob, known))
            .await;
        match answer {
            Ok(None) => match &self.known {
                Some((_, header)) => Ok(Found::Manifest {
                    header: header.clone(),
                    new: false,
                }),
                None => Err(no_manifest(StoreError::Protocol(
                    "not modified, though nothing was known".to_owned(),
                ))),
            },
            Ok(Some(body)) => {
                let header = self.keep(body, attempts).await?;
                Ok(Found::Manifest { header, new: true })
            }
            Err(StoreError::NotFound) if self.mode == Manifest::Auto && self.known.is_none() => {
                self.absent_until = Some(Instant::now() + self.look_again);
                Ok(Found::List)
            }
            Err(error) => Err(no_manifest(error)),
        }
    }

    /// Takes up what an earlier process fetched.
    async fn open(&mut self) -> Result<(), CycleError> {
        if self.opened {
            return Ok(());
        }
        let (path, etag_path, identity) =
            (self.path.clone(), self.etag_path(), self.identity.clone());
        let look = spawn_blocking(move || {
            let text = fs::read_to_string(etag_path).ok()?;
            let (of, etag) = text.split_once('\n')?;
            let file = File::open(path).ok()?;
            let header = manifest::check(BufReader::new(file)).ok()?;
            (of == identity).then(|| (ETag::new(etag.trim_end()), header))
        });
        self.known = look.await.map_err(|_| CycleError::CutShort)?;
        self.opened = true;
        Ok(())
    }

    /// Writes a new manifest beside the old one, checks it, and lets it take the old one's place.
    async fn keep(&mut self, body: Body, attempts: &Attempts) -> Result<Header, CycleError> {
        let Some(etag) = body.etag.clone() else {
            return Err(no_manifest(StoreError::Protocol("no ETag".to_owned())));
        };
        let temporary = self.path.with_extension("manifest-new");
        self.write(body, &temporary, attempts).await?;
        let (path, etag_path) = (self.path.clone(), self.etag_path());
        let line = format!("{}\n{}\n", self.identity, etag.as_str());
        let work = spawn_blocking(move || {
            let header = manifest::check(BufReader::new(
                File::open(&temporary).map_err(ManifestError::Io)?,
            ))?;
            let place = || {
                // without its version the file is fetched again, so that comes last
                match fs::remove_file(&etag_path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(error);
                    }
                    _ => {}
                }
                fs::rename(&temporary, &path)?;
                fs::write(&etag_path, line)
            };
            place().map_err(ManifestError::Io)?;
            Ok::<_, ManifestError>(header)
        });
        let header = work.await.map_err(|_| CycleError::CutShort)??;
        self.known = Some((etag, header.clone()));
        self.absent_until = None;
        Ok(header)
    }

    async fn write(
        &self,
        mut body: Body,
        to: &Path,
        attempts: &Attempts,
    ) -> Result<(), CycleError> {
        let too_long = || no_manifest(StoreError::Protocol("too long".to_owned()));
        if body.total > SIZE_MAX {
            return Err(too_long());
        }
        let mut file = File::create(to).map_err(ManifestError::Io)?;
        let (mut hasher, mut length) = (Hasher::new(), 0_u64);
        loop {
            let next = async { body.chunks.next().await.transpose() };
            let Some(chunk) = attempts.once(next).await.map_err(no_manifest)? else {
                break;
            };
            hasher.update(&chunk);
            length += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            if length > SIZE_MAX {
                return Err(too_long());
            }
            let work = spawn_blocking(move || file.write_all(&chunk).map(|()| file));
            file = work
                .await
                .map_err(|_| CycleError::CutShort)?
                .map_err(ManifestError::Io)?;
        }
        let got = Md5(hasher.finalize().into());
        if length != body.total || body.md5.is_some_and(|expected| expected != got) {
            return Err(no_manifest(StoreError::Unreachable(format!(
                "the answer is damaged: {length} of {} bytes",
                body.total
            ))));
        }
        Ok(())
    }
}

fn no_manifest(error: StoreError) -> CycleError {
    CycleError::NoManifest(error)
}
