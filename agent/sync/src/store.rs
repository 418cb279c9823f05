//! The storage as this crate needs it: list a page, read a range of one version, look at one blob, write under a condition.
//! [`azure`] implements it; tests have one that fails as they like. No IO here.

pub mod azure;
pub(crate) mod blocks;
mod credential;
#[cfg(test)]
pub(crate) mod fake;

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::Stream;
use lamplighter_core::fault::Culprit;
use lamplighter_core::secret::SecretError;

pub use crate::sum::Sum;

/// A version of a blob, always in its quoted form: lists give it bare, headers quoted, and `If-Match` wants it quoted (RFC 9110
/// section 8.8.3).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ETag(Box<str>);

impl ETag {
    /// From either form.
    #[must_use]
    pub fn new(text: &str) -> Self {
        if text.ends_with('"') && (text.starts_with('"') || text.starts_with("W/\"")) {
            Self(text.into())
        } else {
            Self(format!("\"{text}\"").into())
        }
    }

    /// From a form that [`ETag::as_str`] gave.
    pub(crate) const fn from_quoted(text: Box<str>) -> Self {
        Self(text)
    }

    /// The quoted form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An MD5 sum: what the storage keeps to notice damage, not a proof of origin.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5(pub [u8; 16]);

impl Md5 {
    /// From the raw bytes of a header; `None` if there are not 16 of them.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A SHA-256 sum: names content that is stored once under what it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        unhex(text, &mut bytes).then_some(Self(bytes))
    }

    /// As 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> String {
        hex(&self.0)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_hex())
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // writing to a string cannot fail
            let _ok = write!(text, "{byte:02x}");
            text
        })
}

/// Fills `bytes` from exactly as many pairs of digits; whether it could.
pub(crate) fn unhex(text: &str, bytes: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    if digits.len() != bytes.len() * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return false;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    };
    for (pair, byte) in digits.chunks_exact(2).zip(bytes.iter_mut()) {
        if let [high, low] = pair {
            *byte = value(*high) << 4 | value(*low);
        }
    }
    true
}

/// A blob as a list shows it. `name` is the part after the prefix that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name below the prefix.
    pub name: Box<str>,
    /// Size in bytes.
    pub size: u64,
    /// Version.
    pub etag: ETag,
    /// What its content sums up to: the Content-MD5 the publisher or the service set, which may be missing and may be wrong, or
    /// what a manifest says.
    pub sum: Option<Sum>,
    /// Whether it only stands for a directory (metadata `hdi_isfolder`).
    pub directory: bool,
    /// From a manifest: the content is in the blob of this sum's name, not in the blob of its own.
    pub content: Option<Sha256>,
    /// Which instance of this agent wrote it, if one did (metadata `lamplighter_origin`).
    pub origin: Option<Box<str>>,
}

/// A blob that is to be a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Name below the prefix.
    pub name: Box<str>,
    /// Size in bytes.
    pub size: u64,
    /// Version.
    pub etag: ETag,
    /// As [`Listed::sum`].
    pub sum: Option<Sum>,
    /// As [`Listed::content`].
    pub content: Option<Sha256>,
    /// As [`Listed::origin`].
    pub origin: Option<Box<str>>,
}

/// One page of a list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The blobs, in the store's order.
    pub blobs: Vec<Listed>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<String>,
}

/// The answer to a ranged read.
pub struct Body {
    /// Where the bytes begin in the blob.
    pub start: u64,
    /// The size of the whole blob.
    pub total: u64,
    /// The version that is read, if the answer says so.
    pub etag: Option<ETag>,
    /// The Content-MD5 of the whole blob, if there is one.
    pub md5: Option<Md5>,
    /// The Content-Type, if there is one.
    pub content_type: Option<String>,
    /// The bytes; may end early or with an error.
    pub chunks: Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("start", &self.start)
            .field("total", &self.total)
            .field("etag", &self.etag)
            .finish_non_exhaustive()
    }
}

/// What must be true of a blob for a write to it to go ahead (RFC 9110 section 13.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition<'a> {
    /// There is none.
    Absent,
    /// It is this version.
    Is(&'a ETag),
}

/// What is written with a blob's content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// The Content-MD5 of the whole.
    pub md5: Option<Md5>,
    /// Which instance writes it.
    pub origin: Option<String>,
    /// The Content-Type.
    pub content_type: Option<String>,
}

/// One block of a blob that is written in blocks; ids of one blob are equally long, and uploads do not share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlockId {
    /// Tells this upload from any other.
    pub upload: u64,
    /// The block's place.
    pub place: u32,
}

impl BlockId {
    /// The id as bytes: digits, whose base64 holds nothing that means something else in a URL.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        format!("{:016x}{:08x}", self.upload, self.place).into_bytes()
    }
}

/// Why the storage did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, no answer, or the connection broke.
    #[error("the storage cannot be reached: {0}")]
    Unreachable(String),
    /// It asks for fewer requests (429, 503).
    #[error("the storage is throttling (HTTP {status})")]
    Throttled {
        /// The status.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// It failed (5xx, 408).
    #[error("the storage failed (HTTP {status} {code})")]
    Server {
        /// The status.
        status: u16,
        /// The service's error code, or nothing.
        code: String,
    },
    /// It does not accept the credential, or the credential lacks the right (401, 403).
    #[error("the storage refuses the credential (HTTP {status} {code})")]
    Denied {
        /// The status.
        status: u16,
        /// The service's error code, or nothing.
        code: String,
    },
    /// No such blob.
    #[error("the blob is gone")]
    NotFound,
    /// No such container.
    #[error("the container does not exist")]
    NoContainer,
    /// The blob is not the version asked for (412).
    #[error("the blob is another version by now")]
    Changed,
    /// Somebody holds a lease on the blob (409, 412).
    #[error("the blob is leased by somebody else")]
    Leased,
    /// It does not do this with this blob (other 4xx; an archived blob, for example).
    #[error("the storage rejects the request (HTTP {status} {code})")]
    Rejected {
        /// The status.
        status: u16,
        /// The service's error code, or nothing.
        code: String,
    },
    /// The answer makes no sense.
    #[error("unexpected answer from the storage: {0}")]
    Protocol(String),
    /// Nothing came for too long.
    #[error("the storage sent nothing for {0:?}")]
    Stalled(Duration),
    /// Not waited for any more, because the pass has failed.
    #[error("abandoned")]
    Abandoned,
    /// The secret cannot be read.
    #[error("the storage credential cannot be read")]
    Secret(#[from] SecretError),
    /// The instance's identity has no token for us.
    #[error("no token of the managed identity: {0}")]
    NoToken(String),
    /// The secret's content is not what it should be.
    #[error("the storage credential is unusable: {0}")]
    BadCredential(&'static str),
}

impl StoreError {
    /// Whether the same request may work in a moment.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Throttled { .. }
                | Self::Server { .. }
                | Self::Protocol(_)
                | Self::Stalled(_)
        )
    }

    /// Whether it says nothing about the blob, but about the storage or the credential: no other request will fare better.
    #[must_use]
    pub const fn is_general(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Throttled { .. }
                | Self::Server { .. }
                | Self::Denied { .. }
                | Self::NoContainer
                | Self::Stalled(_)
                | Self::Abandoned
                | Self::Secret(_)
                | Self::NoToken(_)
                | Self::BadCredential(_)
        )
    }

    /// The metric label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Throttled { .. } => "throttled",
            Self::Server { .. } => "server",
            Self::Denied { .. } => "denied",
            Self::NotFound => "gone",
            Self::NoContainer => "no_container",
            Self::Changed => "changed",
            Self::Leased => "leased",
            Self::Rejected { .. } => "rejected",
            Self::Protocol(_) => "protocol",
            Self::Stalled(_) => "stalled",
            Self::Abandoned => "abandoned",
            Self::Secret(_) | Self::NoToken(_) | Self::BadCredential(_) => "credential",
        }
    }

    /// Who has to act.
    #[must_use]
    pub const fn culprit(&self) -> Culprit {
        match self {
            Self::Denied { .. } | Self::NoContainer | Self::Secret(_) | Self::BadCredential(_) => {
                Culprit::Operator
            }
            _ => Culprit::Upstream,
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Stalled(_) => {
                "check the network, DNS and the account's firewall"
            }
            Self::Throttled { .. } | Self::Server { .. } => {
                "wait; look at the account's throttling metrics if it lasts"
            }
            Self::Denied { .. } => {
                "check that the SAS or key is current and has the rights read and list (rl; to push or publish also write and create, wc, and to delete d) on this container, and this machine's clock"
            }
            Self::NoContainer => "create the container, or correct its name in the URL",
            Self::Secret(_) | Self::BadCredential(_) => {
                "correct the file that sas_file or connection_string_file names"
            }
            Self::NoToken(_) => {
                "assign a managed identity to the scale set, and give it the role Storage Blob Data Reader (to push or publish: Contributor); a role takes minutes to take effect"
            }
            Self::Leased => "wait until the lease ends, or break it",
            Self::NotFound
            | Self::Changed
            | Self::Rejected { .. }
            | Self::Protocol(_)
            | Self::Abandoned => "see the log",
        }
    }
}

/// How many blobs a page may hold. The service gives up to 5,000, which its client makes 20 MiB of memory of.
pub const PAGE_MAX: u32 = 2000;

/// A store of blobs. The retries are the caller's.
pub trait BlobStore: Send + Sync + 'static {
    /// One page of the blobs whose names begin with `prefix`, from `marker` on; of `most` blobs or fewer, and of no more than
    /// [`PAGE_MAX`].
    fn list_page(
        &self,
        prefix: &str,
        marker: Option<&str>,
        most: u32,
    ) -> impl Future<Output = Result<Page, StoreError>> + Send;

    /// Bytes `range` (not empty) of the blob `name` (with its prefix): of the version `if_match`, or of whichever there is.
    fn get_range(
        &self,
        name: &str,
        range: Range<u64>,
        if_match: Option<&ETag>,
    ) -> impl Future<Output = Result<Body, StoreError>> + Send;

    /// All of the blob `name`, unless it is still the version `known`: then `None` (304).
    fn get_if_changed(
        &self,
        name: &str,
        known: Option<&ETag>,
    ) -> impl Future<Output = Result<Option<Body>, StoreError>> + Send;

    /// The blob `name` (with its prefix) as it is now; [`RemoteFile::name`] is `name`.
    fn head(&self, name: &str) -> impl Future<Output = Result<RemoteFile, StoreError>> + Send;

    /// Writes the whole of a blob in one request. The version it has then.
    fn put(
        &self,
        name: &str,
        content: Bytes,
        condition: Condition<'_>,
        attributes: &Attributes,
    ) -> impl Future<Output = Result<ETag, StoreError>> + Send;

    /// Sends one block, which no reader sees before it is committed.
    fn put_block(
        &self,
        name: &str,
        id: BlockId,
        content: Bytes,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Makes the blob of the blocks `ids`. The version it has then.
    fn commit_blocks(
        &self,
        name: &str,
        ids: &[BlockId],
        condition: Condition<'_>,
        attributes: &Attributes,
    ) -> impl Future<Output = Result<ETag, StoreError>> + Send;

    /// Deletes the version `if_match` of a blob.
    fn delete(
        &self,
        name: &str,
        if_match: &ETag,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Reads the credential again if it changed on disk. Gives its expiry, if it has one.
    fn refresh_credential(
        &self,
    ) -> impl Future<Output = Result<Option<SystemTime>, StoreError>> + Send;
}
