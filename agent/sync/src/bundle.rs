//! All files of a release in one blob: a tar archive, compressed with zstd, in the order of the manifest. Packed by a publisher,
//! unpacked by an instance that has nothing yet: one request instead of one per file. What is unpacked is checked file by file
//! against the manifest and written as every other file; a bundle that is wrong costs nothing but the requests it would have saved.

mod order;
mod writers;

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256 as Hasher};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::attempts::Progress;
use crate::config::Filters;
use crate::cycle::{CycleError, Engine};
use crate::fetch::FetchError;
use crate::index::{Finished, Writer};
use crate::manifest::{self, Bundle, Entry, ManifestError};
use crate::metrics::Op;
use crate::names::{self, Clashes};
use crate::pace::Retries;
use crate::store::{BlobStore, Sha256, StoreError, Sum};
use crate::tree::{Root, TreeError};
use order::Order;

/// How hard to compress: at this level text shrinks to a quarter, faster than a network takes it.
const LEVEL: i32 = 3;
/// How many pieces of the body may wait for the disk.
const WAITING_MAX: usize = 32;

/// Packs `entries` of `dir` into `output`. The sum and the size of what was written.
///
/// # Errors
/// If a file cannot be read, changed its size, or `output` takes no more.
pub(crate) fn pack(dir: &Path, entries: &[Entry], output: impl Write) -> io::Result<Bundle> {
    let summed = Summed {
        inner: output,
        hasher: Hasher::new(),
        size: 0,
    };
    let mut archive = tar::Builder::new(zstd::Encoder::new(summed, LEVEL)?);
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(entry.size);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        let file = File::open(dir.join(&*entry.name))?;
        if file.metadata()?.len() != entry.size {
            return Err(io::Error::other(format!(
                "{} changed while it was published",
                entry.name
            )));
        }
        archive.append_data(&mut header, &*entry.name, file.take(entry.size))?;
    }
    let mut summed = archive.into_inner()?.finish()?;
    summed.flush()?;
    Ok(Bundle {
        size: summed.size,
        sha256: Sha256(summed.hasher.finalize().into()),
    })
}

struct Summed<W> {
    inner: W,
    hasher: Hasher,
    size: u64,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        self.size += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<S: BlobStore> Engine<S> {
    /// Fills the destination, which is empty, from `bundle`, and writes the index of what is there then. How many files; what
    /// is missing, the pass after it fetches.
    pub(crate) async fn unpack(
        &self,
        bundle: &Bundle,
        manifest: PathBuf,
    ) -> Result<u64, CycleError> {
        let root = self.open_root().await?;
        let filters = Filters::new(&self.config.filters)?;
        let (sender, pieces) = mpsc::channel(WAITING_MAX);
        let unpacking = Unpacking {
            root: Arc::clone(&root),
            filters,
            root_len: self.config.path.as_os_str().len(),
            clashes: Clashes::default(),
            progress: self.attempts.progress.clone(),
        };
        let index = self.index.begin(None);
        let work = spawn_blocking(move || unpacking.run(&manifest, Pieces::new(pieces), index));
        let sent = self.send(bundle, sender).await;
        let Unpacked {
            files,
            bytes,
            finished,
            trouble,
        } = work.await.map_err(|_| CycleError::CutShort)??;
        self.attempts.metrics.objects(Op::Bundle).inc_by(files);
        self.attempts.metrics.bytes(Op::Bundle).inc_by(bytes);
        crate::cycle::publish(Ok(finished), &root).await?;
        let job = &self.config.name;
        match sent.err().map(|error| error.to_string()).or(trouble) {
            None => tracing::info!(job, files, bytes, "unpacked a bundle"),
            Some(trouble) => {
                self.attempts.metrics.errors("bundle").inc();
                tracing::warn!(
                    job,
                    files,
                    "a bundle gave only a part of the files; the rest is fetched one by one: {trouble}"
                );
            }
        }
        Ok(files)
    }

    /// Sends the bundle's bytes to `sender`, over as many requests as it takes.
    async fn send(&self, bundle: &Bundle, sender: mpsc::Sender<Bytes>) -> Result<(), FetchError> {
        let (attempts, mut sent) = (&self.attempts, 0);
        let name = manifest::bundle_blob(&self.config.prefix, bundle.sha256);
        let mut retries = Retries::new(attempts.stall);
        let mut hasher = Hasher::new();
        while sent < bundle.size {
            let before = sent;
            let request = self.store.get_range(&name, sent..bundle.size, None);
            let result = async {
                let mut body = attempts.once(request).await?;
                if body.start != sent || body.total != bundle.size {
                    return Err(StoreError::Protocol(
                        "another blob than asked for".to_owned(),
                    ));
                }
                while sent < bundle.size {
                    let next = async { body.chunks.next().await.transpose() };
                    let chunk = attempts.once(next).await?;
                    let chunk = chunk.ok_or_else(|| {
                        StoreError::Unreachable("the answer ended early".to_owned())
                    })?;
                    let length = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
                    attempts.bandwidth.take(length).await;
                    hasher.update(&chunk);
                    sent += length;
                    if sender.send(chunk).await.is_err() {
                        // the other end has had enough; why, it says itself
                        sent = bundle.size;
                    }
                }
                Ok(())
            };
            let result = result.await;
            retries.progress(sent - before);
            match result {
                Ok(()) => attempts.governor.answered(),
                Err(error) => {
                    attempts.pause(error, &mut retries).await?;
                    attempts.metrics.resumed.inc();
                }
            }
        }
        let got = Sha256(hasher.finalize().into());
        if got != bundle.sha256 && !sender.is_closed() {
            let (expected, got) = (Sum::Sha256(bundle.sha256), Sum::Sha256(got));
            return Err(FetchError::Checksum { expected, got });
        }
        Ok(())
    }
}

/// The body as something that can be read where blocking is allowed.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Pieces {
    const fn new(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self {
            receiver,
            current: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                Some(next) => self.current = next,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        let piece = self.current.split_to(count);
        if let Some(room) = buffer.get_mut(..count) {
            room.copy_from_slice(&piece);
        }
        Ok(count)
    }
}

/// What came of it.
struct Unpacked {
    files: u64,
    bytes: u64,
    /// The index of what is in place.
    finished: Finished,
    /// What is wrong with the bundle itself.
    trouble: Option<String>,
}

struct Unpacking {
    root: Arc<Root>,
    filters: Filters,
    root_len: usize,
    clashes: Clashes,
    progress: Arc<Progress>,
}

/// Why unpacking ended early.
enum Stop {
    /// The bundle is not what it should be; what was taken from it is right.
    Bundle(String),
    /// Nothing else would fare better.
    General(CycleError),
}

impl Stop {
    fn broken(error: &io::Error) -> Self {
        Self::Bundle(error.to_string())
    }
}

impl From<TreeError> for Stop {
    fn from(error: TreeError) -> Self {
        Self::General(error.into())
    }
}

impl Unpacking {
    fn run(
        mut self,
        manifest: &Path,
        pieces: Pieces,
        mut index: Writer,
    ) -> Result<Unpacked, CycleError> {
        let file = File::open(manifest).map_err(ManifestError::Io)?;
        let entries = manifest::Reader::new(BufReader::new(file))?;
        let (root, progress) = (Arc::clone(&self.root), Arc::clone(&self.progress));
        let (result, files, bytes) = std::thread::scope(|scope| {
            let mut order = Order::start(scope, &root, &mut index, &progress);
            let read = self.all(entries, pieces, &mut order);
            // what came before there was trouble is right, and belongs into the index
            let settled = order.settle();
            (read.and(settled), order.files, order.bytes)
        });
        let trouble = match result {
            Ok(()) => None,
            Err(Stop::Bundle(what)) => Some(what),
            Err(Stop::General(error)) => return Err(error),
        };
        let finished = index.finish().map_err(CycleError::Index)?;
        Ok(Unpacked {
            files,
            bytes,
            finished,
            trouble,
        })
    }

    fn all(
        &mut self,
        entries: impl Iterator<Item = Result<Entry, ManifestError>>,
        pieces: Pieces,
        order: &mut Order<'_>,
    ) -> Result<(), Stop> {
        let broken = |error: io::Error| Stop::broken(&error);
        let decoder = zstd::Decoder::new(pieces).map_err(broken)?;
        let mut archive = tar::Archive::new(decoder);
        let mut packed = archive.entries().map_err(broken)?;
        for entry in entries {
            let entry = entry.map_err(|error| Stop::General(error.into()))?;
            let Some(file) = packed.next() else {
                return Err(Stop::Bundle("it ends early".to_owned()));
            };
            let mut file = file.map_err(broken)?;
            if *file.path_bytes() != *entry.name.as_bytes() || file.size() != entry.size {
                let what = format!("it holds something else than {}", entry.name);
                return Err(Stop::Bundle(what));
            }
            if self.admits(&entry.name) {
                order.place(&mut file, entry)?;
            }
        }
        Ok(())
    }

    /// Whether the name is wanted and may be; the pass after this one says why not.
    fn admits(&mut self, name: &str) -> bool {
        let may_be = self.filters.wants(name)
            && names::check(name, self.root_len).is_ok()
            && !self.clashes.below_a_file(name);
        if may_be {
            self.clashes.admit(name);
        }
        may_be
    }
}
