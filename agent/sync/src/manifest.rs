//! What a publisher says a release consists of: one line of JSON about the release, one per file in the byte order of the
//! names, one that ends it. Read and written as a stream, so its length does not matter. Pure but for the reader it is given.
//!
//! ```text
//! {"lamplighter_manifest":1,"release":"20261123T054000Z-1f2e3d4c","files":2,"bytes":11,"bundle":{"size":99,"sha256":"..."}}
//! {"n":"a/b.php","s":5,"h":"<sha-256>","m":"<md5>"}
//! {"n":"index.php","s":6,"h":"<sha-256>","m":"<md5>"}
//! {"end":2}
//! ```
//! The blobs, below the prefix: `.lamplighter/manifest.jsonl`; `.lamplighter/files/<2 digits>/<sha-256>`, each content once;
//! `.lamplighter/bundles/<sha-256>.tar.zst`, all files in one.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::store::{ETag, Listed, Md5, Sha256, Sum, hex, unhex};

/// The version this build reads and writes.
const VERSION: u32 = 1;
/// The longest line that is read, in bytes: a name of 1,024 characters, escaped, and the sums.
const LINE_MAX: u64 = 16 * 1024;
/// The longest id of a release.
const RELEASE_MAX: usize = 64;

/// The blob that holds the manifest.
pub(crate) fn manifest_blob(prefix: &str) -> String {
    format!("{prefix}.lamplighter/manifest.jsonl")
}

/// The blob that holds the content `sum`.
pub(crate) fn content_blob(prefix: &str, sum: Sha256) -> String {
    let digits = sum.to_hex();
    let folder = digits.get(..2).unwrap_or_default();
    format!("{prefix}.lamplighter/files/{folder}/{digits}")
}

/// The blob that holds the bundle `sum`.
pub(crate) fn bundle_blob(prefix: &str, sum: Sha256) -> String {
    format!("{prefix}.lamplighter/bundles/{}.tar.zst", sum.to_hex())
}

/// What is wrong with a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It cannot be read.
    #[error("the manifest cannot be read")]
    Io(#[from] io::Error),
    /// A line is not what it should be.
    #[error("line {line} of the manifest: {what}")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        what: String,
    },
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Header {
    /// The format's version.
    #[serde(rename = "lamplighter_manifest")]
    pub version: u32,
    /// The release's id: a name of a directory.
    pub release: String,
    /// How many files follow.
    pub files: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// All of them in one blob.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Bundle>,
}

/// All files of a release in one blob.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Bundle {
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, which names it.
    #[serde(with = "sha256_hex")]
    pub sha256: Sha256,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Entry {
    /// The name below the prefix.
    #[serde(rename = "n")]
    pub name: Box<str>,
    /// Bytes.
    #[serde(rename = "s")]
    pub size: u64,
    /// SHA-256 of the content, which names its blob.
    #[serde(rename = "h", with = "sha256_hex")]
    pub sha256: Sha256,
    /// MD5 of the content: the Content-MD5 of its blob, and what earlier versions of the agent compare local files with.
    #[serde(rename = "m", with = "md5_hex")]
    pub md5: Md5,
}

#[derive(Debug, Deserialize, Serialize)]
struct End {
    end: u64,
}

mod sha256_hex {
    //! SHA-256 as digits.
    use super::{Deserialize, Sha256};
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(sum: &Sha256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&sum.to_hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Sha256, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        Sha256::from_hex(&text).ok_or_else(|| de::Error::custom("not a SHA-256 in hexadecimal"))
    }
}

mod md5_hex {
    //! MD5 as digits.
    use super::{Deserialize, Md5, hex, unhex};
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(sum: &Md5, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&sum.0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Md5, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        let mut bytes = [0; 16];
        if unhex(&text, &mut bytes) {
            Ok(Md5(bytes))
        } else {
            Err(de::Error::custom("not an MD5 in hexadecimal"))
        }
    }
}

impl Entry {
    /// Whether content of this sum is its content.
    pub(crate) fn has(&self, sum: Sum) -> bool {
        match sum {
            Sum::Md5(md5) => md5 == self.md5,
            Sum::Sha256(sha256) => sha256 == self.sha256,
        }
    }

    /// As the list of a container would show it.
    pub(crate) fn into_listed(self) -> Listed {
        Listed {
            name: self.name,
            size: self.size,
            etag: ETag::new(&format!("sha256:{}", self.sha256.to_hex())),
            sum: Some(Sum::Sha256(self.sha256)),
            directory: false,
            content: Some(self.sha256),
            origin: None,
        }
    }
}

/// The content that a version made by [`Entry::into_listed`] stands for.
pub(crate) fn content_of(version: &ETag) -> Option<Sha256> {
    let digits = version.as_str().strip_prefix("\"sha256:")?;
    Sha256::from_hex(digits.strip_suffix('"')?)
}

/// Whether `id` may be a release's: a plain name of a directory.
#[must_use]
pub fn is_release_id(id: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !id.is_empty() && id.len() <= RELEASE_MAX && !id.starts_with('.') && id.chars().all(plain)
}

/// Reads a manifest.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    input: R,
    header: Header,
    line: u64,
    entries: u64,
    last: Option<Box<str>>,
    ended: bool,
    buffer: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// If it cannot be read or is of another version.
    pub(crate) fn new(input: R) -> Result<Self, ManifestError> {
        let mut reader = Self {
            input,
            header: Header {
                version: 0,
                release: String::new(),
                files: 0,
                bytes: 0,
                bundle: None,
            },
            line: 0,
            entries: 0,
            last: None,
            ended: false,
            buffer: Vec::new(),
        };
        reader.read_line()?;
        reader.header = serde_json::from_slice(&reader.buffer)
            .map_err(|error| reader.wrong(format!("not the first line of a manifest: {error}")))?;
        if reader.header.version != VERSION {
            let version = reader.header.version;
            return Err(reader.wrong(format!(
                "version {version}; this agent reads version {VERSION}"
            )));
        }
        if !is_release_id(&reader.header.release) {
            return Err(reader.wrong("the release's id is no plain name".to_owned()));
        }
        Ok(reader)
    }

    pub(crate) const fn header(&self) -> &Header {
        &self.header
    }

    fn wrong(&self, what: String) -> ManifestError {
        ManifestError::Line {
            line: self.line,
            what,
        }
    }

    fn read_line(&mut self) -> Result<(), ManifestError> {
        self.buffer.clear();
        self.line += 1;
        let mut limited = io::Read::take(&mut self.input, LINE_MAX);
        limited.read_until(b'\n', &mut self.buffer)?;
        if self.buffer.pop() == Some(b'\n') {
            return Ok(());
        }
        Err(self.wrong("cut off, or too long".to_owned()))
    }

    fn entry(&mut self) -> Result<Option<Entry>, ManifestError> {
        self.read_line()?;
        if let Ok(End { end }) = serde_json::from_slice(&self.buffer) {
            if end != self.entries || end != self.header.files {
                return Err(self.wrong(format!("{} files instead of {end}", self.entries)));
            }
            return Ok(None);
        }
        let entry: Entry =
            serde_json::from_slice(&self.buffer).map_err(|error| self.wrong(error.to_string()))?;
        if self.last.as_ref().is_some_and(|last| *last >= entry.name) {
            return Err(self.wrong(format!("{:?} is not in order", entry.name)));
        }
        self.last = Some(entry.name.clone());
        self.entries += 1;
        Ok(Some(entry))
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Entry, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.entry().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Writes a manifest of `entries`, which are in the byte order of their names.
///
/// # Errors
/// If `output` takes no more.
pub(crate) fn write<'a>(
    output: &mut impl Write,
    release: &str,
    bundle: Option<Bundle>,
    entries: impl Iterator<Item = &'a Entry> + Clone,
) -> io::Result<()> {
    let (files, bytes) = entries.clone().fold((0, 0), |(files, bytes), entry| {
        (files + 1, bytes + entry.size)
    });
    let header = Header {
        version: VERSION,
        release: release.to_owned(),
        files,
        bytes,
        bundle,
    };
    let mut line = |value: Result<Vec<u8>, serde_json::Error>| {
        let mut value = value?;
        value.push(b'\n');
        output.write_all(&value)
    };
    line(serde_json::to_vec(&header))?;
    for entry in entries {
        line(serde_json::to_vec(entry))?;
    }
    line(serde_json::to_vec(&End { end: files }))
}

/// Checks a whole manifest. Its first line.
///
/// # Errors
/// With the first thing that is wrong.
pub(crate) fn check(input: impl BufRead) -> Result<Header, ManifestError> {
    let mut reader = Reader::new(input)?;
    let mut bytes = 0_u64;
    for entry in &mut reader {
        bytes = bytes.saturating_add(entry?.size);
    }
    if bytes != reader.header.bytes {
        let what = format!("{bytes} bytes in all instead of {}", reader.header.bytes);
        return Err(reader.wrong(what));
    }
    Ok(reader.header)
}

#[cfg(test)]
mod tests;
