//! What was written and how it looked then: one file per entry, sorted by name, read and written as a stream. A new index is
//! written beside the old one and takes its name whole; a damaged or foreign one counts as none, which costs a comparison and
//! no downloads. Touches the state directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use md5::{Digest, Md5 as Hasher};

use crate::store::{ETag, Md5, Sha256};
use crate::sum::Sum;

/// How a file looked right after it was written: any write, replacement or chmod changes one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Modification time, nanoseconds since the epoch.
    pub(crate) mtime_ns: i64,
    /// Change time, nanoseconds since the epoch.
    pub(crate) ctime_ns: i64,
    /// Inode number.
    pub(crate) inode: u64,
}

/// What the index knows of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRecord {
    /// Size in bytes.
    pub(crate) size: u64,
    /// The version of the blob.
    pub(crate) etag: ETag,
    /// Of the content as written, computed here.
    pub(crate) sum: Sum,
    /// How it looked then.
    pub(crate) fingerprint: Fingerprint,
}

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file.
    File(FileRecord),
    /// A directory the agent made; its name ends in `/`.
    Directory,
}

/// One line of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The name below the destination.
    pub(crate) name: Box<str>,
    /// What it is.
    pub(crate) kind: Kind,
}

/// Format and version; another version counts as no index.
const MAGIC: &[u8; 8] = b"LLSYNC02";
/// The version before, which has no [`FILE_SHA256`] and is otherwise the same; read, never written.
const MAGIC_MD5_ONLY: &[u8; 8] = b"LLSYNC01";
const END: u8 = 0;
const FILE_MD5: u8 = 1;
const DIRECTORY: u8 = 2;
const FILE_SHA256: u8 = 3;
/// The sum at the end of the file, in bytes.
const SUM: u64 = 16;

/// Where one entry's index is.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    path: PathBuf,
    /// Container, prefix and path: an index of anything else is not ours.
    identity: String,
}

impl Store {
    /// The index at `path`, for what `identity` says.
    pub(crate) const fn new(path: PathBuf, identity: String) -> Self {
        Self { path, identity }
    }

    /// Opens the index after checking all of it. `None` if there is none that can be used; why is in the log.
    ///
    /// # Errors
    /// If a file is there and cannot be read.
    pub(crate) fn open(&self) -> io::Result<Option<Reader>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let unusable = |why: &str| {
            tracing::warn!(path = %self.path.display(), "the index {why}; comparing everything instead");
            Ok(None)
        };
        if !sum_is_right(&file)? {
            return unusable("is damaged");
        }
        let mut reader = Reader::new(self.path.clone())?;
        let mut magic = [0; MAGIC.len()];
        reader.input.read_exact(&mut magic)?;
        if magic != *MAGIC && magic != *MAGIC_MD5_ONLY {
            return unusable("is of another version");
        }
        if read_bytes(&mut reader.input)? != self.identity.as_bytes() {
            return unusable("is of another container or path");
        }
        Ok(Some(reader))
    }

    /// Begins the next index. With an old one nothing is written until it differs from that.
    pub(crate) fn begin(&self, old: Option<&Reader>) -> Writer {
        Writer {
            store: self.clone(),
            anew: old.is_none(),
            kept: 0,
            output: None,
        }
    }

    fn temporary(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        name.into()
    }
}

fn sum_is_right(mut file: &File) -> io::Result<bool> {
    let len = file.metadata()?.len();
    let Some(body) = len.checked_sub(SUM) else {
        return Ok(false);
    };
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut input = file.take(body);
    loop {
        let count = input.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(buffer.get(..count).unwrap_or_default());
    }
    let mut sum = [0; 16];
    file.read_exact(&mut sum)?;
    Ok(hasher.finalize().as_slice() == sum)
}

/// Reads records in their order.
#[derive(Debug)]
pub(crate) struct Reader {
    input: BufReader<File>,
    path: PathBuf,
    ended: bool,
}

impl Reader {
    fn new(path: PathBuf) -> io::Result<Self> {
        Ok(Self {
            input: BufReader::new(File::open(&path)?),
            path,
            ended: false,
        })
    }

    fn record(&mut self) -> io::Result<Option<Record>> {
        let [kind] = read_array(&mut self.input)?;
        if kind == END {
            return Ok(None);
        }
        let name = text(read_bytes(&mut self.input)?)?;
        let kind = match kind {
            DIRECTORY => Kind::Directory,
            FILE_MD5 | FILE_SHA256 => Kind::File(FileRecord {
                size: u64::from_le_bytes(read_array(&mut self.input)?),
                etag: ETag::from_quoted(text(read_bytes(&mut self.input)?)?),
                sum: match kind {
                    FILE_MD5 => Sum::Md5(Md5(read_array(&mut self.input)?)),
                    _ => Sum::Sha256(Sha256(read_array(&mut self.input)?)),
                },
                fingerprint: Fingerprint {
                    mtime_ns: i64::from_le_bytes(read_array(&mut self.input)?),
                    ctime_ns: i64::from_le_bytes(read_array(&mut self.input)?),
                    inode: u64::from_le_bytes(read_array(&mut self.input)?),
                },
            }),
            other => return Err(malformed(format!("record kind {other}"))),
        };
        Ok(Some(Record { name, kind }))
    }
}

impl Iterator for Reader {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.record().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

fn malformed(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    input.read_exact(&mut array)?;
    Ok(array)
}

fn read_bytes(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let len = u16::from_le_bytes(read_array(input)?);
    let mut bytes = vec![0; usize::from(len)];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(bytes: Vec<u8>) -> io::Result<Box<str>> {
    String::from_utf8(bytes)
        .map(String::into_boxed_str)
        .map_err(|_| malformed("text that is not UTF-8".to_owned()))
}

/// Writes the next index. As long as every record is the old one's next, it only counts; a pass that changes nothing
/// therefore writes nothing.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Store,
    /// There is no old index that can be used.
    anew: bool,
    /// How many records at the beginning are those of the old index.
    kept: u64,
    output: Option<Output>,
}

impl Writer {
    /// The old index's next record stays.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub(crate) fn keep(&mut self, record: &Record) -> io::Result<()> {
        match &mut self.output {
            Some(output) => output.record(record),
            None => {
                self.kept += 1;
                Ok(())
            }
        }
    }

    /// A record that the old index does not have, or has otherwise.
    ///
    /// # Errors
    /// As [`Writer::keep`].
    pub(crate) fn put(&mut self, record: &Record) -> io::Result<()> {
        self.differ()?.record(record)
    }

    /// The old index's next record is left out.
    ///
    /// # Errors
    /// As [`Writer::keep`].
    pub(crate) fn leave_out(&mut self) -> io::Result<()> {
        self.differ().map(drop)
    }

    /// From here on the new index is not the old one: copies what was the same.
    fn differ(&mut self) -> io::Result<&mut Output> {
        let output = match self.output.take() {
            Some(output) => output,
            None => {
                let mut output = Output::create(&self.store)?;
                if self.kept > 0 {
                    let old = self
                        .store
                        .open()?
                        .ok_or_else(|| malformed("the old index is gone".to_owned()))?;
                    let count = usize::try_from(self.kept).unwrap_or(usize::MAX);
                    for record in old.take(count) {
                        output.record(&record?)?;
                    }
                }
                output
            }
        };
        Ok(self.output.insert(output))
    }

    /// Ends the index; nothing is visible before [`Finished::publish`].
    ///
    /// # Errors
    /// As [`Writer::keep`].
    pub(crate) fn finish(mut self) -> io::Result<Finished> {
        if self.anew {
            self.differ()?;
        }
        let temporary = self.output.map(Output::end).transpose()?;
        Ok(Finished {
            store: self.store,
            temporary,
        })
    }
}

/// The new index while it is written; unlinked when dropped before its end.
#[derive(Debug)]
struct Output {
    file: BufWriter<File>,
    hasher: Hasher,
    temporary: Temporary,
}

/// A file that goes away with its owner.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    keep: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.keep {
            // a leftover is overwritten by the next pass
            let _left = fs::remove_file(&self.path);
        }
    }
}

impl Output {
    fn create(store: &Store) -> io::Result<Self> {
        let path = store.temporary();
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        let mut output = Self {
            file: BufWriter::with_capacity(64 * 1024, file),
            hasher: Hasher::new(),
            temporary: Temporary { path, keep: false },
        };
        output.write(MAGIC)?;
        output.bytes(store.identity.as_bytes())?;
        Ok(output)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len =
            u16::try_from(bytes.len()).map_err(|_| malformed("a name over 64 KiB".to_owned()))?;
        self.write(&len.to_le_bytes())?;
        self.write(bytes)
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        match &record.kind {
            Kind::Directory => {
                self.write(&[DIRECTORY])?;
                self.bytes(record.name.as_bytes())
            }
            Kind::File(file) => {
                let (kind, sum) = match &file.sum {
                    Sum::Md5(md5) => (FILE_MD5, md5.0.as_slice()),
                    Sum::Sha256(sha256) => (FILE_SHA256, sha256.0.as_slice()),
                };
                self.write(&[kind])?;
                self.bytes(record.name.as_bytes())?;
                self.write(&file.size.to_le_bytes())?;
                self.bytes(file.etag.as_str().as_bytes())?;
                self.write(sum)?;
                self.write(&file.fingerprint.mtime_ns.to_le_bytes())?;
                self.write(&file.fingerprint.ctime_ns.to_le_bytes())?;
                self.write(&file.fingerprint.inode.to_le_bytes())
            }
        }
    }

    fn end(mut self) -> io::Result<Temporary> {
        self.write(&[END])?;
        let sum = self.hasher.finalize();
        self.file.write_all(&sum)?;
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(self.temporary)
    }
}

/// A complete index that has not taken its place yet.
#[derive(Debug)]
pub(crate) struct Finished {
    store: Store,
    temporary: Option<Temporary>,
}

impl Finished {
    /// Whether it differs from the old one.
    pub(crate) const fn is_new(&self) -> bool {
        self.temporary.is_some()
    }

    /// Leaves out the records named in `gone`, which is sorted.
    ///
    /// # Errors
    /// If the disk takes no more.
    pub(crate) fn without(self, gone: &[Box<str>]) -> io::Result<Self> {
        if gone.is_empty() {
            return Ok(self);
        }
        let reader = match &self.temporary {
            Some(temporary) => {
                let own = Store::new(temporary.path.clone(), self.store.identity.clone());
                own.open()?
            }
            None => self.store.open()?,
        };
        let reader = reader.ok_or_else(|| malformed("the index is gone".to_owned()))?;
        let second = Store::new(
            reader.path.with_extension("pruned"),
            self.store.identity.clone(),
        );
        let mut output = Output::create(&second)?;
        for record in reader {
            let record = record?;
            if gone.binary_search(&record.name).is_err() {
                output.record(&record)?;
            }
        }
        Ok(Self {
            store: self.store,
            temporary: Some(output.end()?),
        })
    }

    /// Takes the place of the old index, durably. Does nothing if nothing changed.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub(crate) fn publish(self) -> io::Result<()> {
        let Some(mut temporary) = self.temporary else {
            return Ok(());
        };
        fs::rename(&temporary.path, &self.store.path)?;
        temporary.keep = true;
        match self.store.path.parent() {
            Some(dir) => sync_directory(dir),
            None => Ok(()),
        }
    }
}

fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
