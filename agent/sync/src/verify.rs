//! Whether what is on disk is what was written: every file of an index read and summed. Changes nothing; reads the destination.

use std::io;

use serde::{Deserialize, Serialize};

use crate::index::{Kind, Reader};
use crate::tree::{Root, TreeError};

/// The most names that are told.
const TOLD_MAX: usize = 20;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Verified {
    /// Files that were written, as the index says.
    pub files: u64,
    /// Files that are not there.
    pub missing: u64,
    /// Files with another content.
    pub changed: u64,
    /// The first names that are missing or changed.
    pub names: Vec<String>,
    /// The release that was looked at, in release mode.
    pub release: Option<String>,
}

impl Verified {
    /// Whether there are files, and each is as it was written.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.files > 0 && self.missing == 0 && self.changed == 0
    }
}

/// Reads every file of `index` below `root`.
///
/// # Errors
/// If the index or the disk cannot be read.
pub(crate) fn verify(root: &Root, index: Reader) -> Result<Verified, TreeError> {
    let mut found = Verified::default();
    for record in index {
        let record =
            record.map_err(|error: io::Error| TreeError::io("read", "the index", &error))?;
        let Kind::File(file) = record.kind else {
            continue;
        };
        found.files += 1;
        let right = match root.hash(&record.name, file.sum.way())? {
            None => {
                found.missing += 1;
                false
            }
            Some((sum, size, _)) if sum == file.sum && size == file.size => true,
            Some(_) => {
                found.changed += 1;
                false
            }
        };
        if !right && found.names.len() < TOLD_MAX {
            found.names.push(record.name.into());
        }
    }
    Ok(found)
}
