//! What content sums up to, by one of two ways, and the summing while it comes. Pure; no IO.

use std::fmt;

use bytes::Bytes;
use md5::{Digest, Md5 as Md5Hasher};
use sha2::Sha256 as Sha256Hasher;

use crate::store::{Md5, Sha256};

/// What content sums up to. Two sums of different ways say nothing about each other.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sum {
    /// As a blob's Content-MD5.
    Md5(Md5),
    /// As a manifest names content; also what is computed where nobody names a sum: processors help with it, with MD5 they do not.
    Sha256(Sha256),
}

impl Sum {
    /// How it was computed.
    pub(crate) const fn way(self) -> Way {
        match self {
            Self::Md5(_) => Way::Md5,
            Self::Sha256(_) => Way::Sha256,
        }
    }

    /// The MD5, if it is one.
    pub(crate) const fn md5(self) -> Option<Md5> {
        match self {
            Self::Md5(md5) => Some(md5),
            Self::Sha256(_) => None,
        }
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Md5(md5) => write!(f, "MD5 {md5:?}"),
            Self::Sha256(sha256) => write!(f, "SHA-256 {sha256:?}"),
        }
    }
}

/// A way to sum content up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Md5,
    Sha256,
}

impl Way {
    /// Begins, with no content yet.
    pub(crate) fn begin(self) -> Summing {
        match self {
            Self::Md5 => Summing::Md5(Md5Hasher::new()),
            Self::Sha256 => Summing::Sha256(Sha256Hasher::new()),
        }
    }

    /// The sum of `content`.
    #[cfg(test)]
    pub(crate) fn of(self, content: &[u8]) -> Sum {
        let mut summing = self.begin();
        summing.update(content);
        summing.end()
    }
}

/// A sum of what came so far.
#[derive(Debug)]
pub(crate) enum Summing {
    Md5(Md5Hasher),
    Sha256(Sha256Hasher),
}

impl Summing {
    /// Adds to the end.
    pub(crate) fn update(&mut self, content: &[u8]) {
        match self {
            Self::Md5(hasher) => hasher.update(content),
            Self::Sha256(hasher) => hasher.update(content),
        }
    }

    /// Adds each to the end.
    pub(crate) fn update_all(&mut self, chunks: &[Bytes]) {
        chunks.iter().for_each(|chunk| self.update(chunk));
    }

    /// The sum of all of it.
    pub(crate) fn end(self) -> Sum {
        match self {
            Self::Md5(hasher) => Sum::Md5(Md5(hasher.finalize().into())),
            Self::Sha256(hasher) => Sum::Sha256(Sha256(hasher.finalize().into())),
        }
    }
}
