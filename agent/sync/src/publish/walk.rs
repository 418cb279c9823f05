//! A directory as the entries of a manifest.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;

use md5::Md5 as Md5Hasher;
use sha2::{Digest, Sha256 as Sha256Hasher};

use super::PublishError;
use crate::config::Filters;
use crate::manifest::Entry;
use crate::names::{self, Clashes};
use crate::store::{Md5, Sha256};

/// Every file of `dir` that `filters` want, in byte order, summed; and what is no file.
pub(super) fn walk(
    dir: &Path,
    filters: &Filters,
) -> Result<(Vec<Entry>, Vec<String>), PublishError> {
    let (mut names, mut skipped) = (Vec::new(), Vec::new());
    let mut left = vec![String::new()];
    while let Some(folder) = left.pop() {
        let path = dir.join(&folder);
        let failed = |source| PublishError::Read {
            path: path.display().to_string(),
            source,
        };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = entry
                .file_name()
                .into_string()
                .map_err(|name| PublishError::Name {
                    name: name.to_string_lossy().into_owned(),
                    reason: "not UTF-8",
                })?;
            let name = if folder.is_empty() {
                name
            } else {
                format!("{folder}/{name}")
            };
            if name.starts_with(names::RESERVED) || (!kind.is_dir() && !filters.wants(&name)) {
                continue;
            }
            if kind.is_dir() {
                left.push(name);
            } else if kind.is_file() {
                names.push(name);
            } else {
                skipped.push(name);
            }
        }
    }
    names.sort_unstable();
    skipped.sort_unstable();
    let mut clashes = Clashes::default();
    let mut entries = Vec::with_capacity(names.len());
    for name in names {
        let refused = names::check(&name, 0).err();
        if let Some(reason) = refused {
            let reason = reason.label();
            return Err(PublishError::Name { name, reason });
        }
        clashes.admit(&name);
        entries.push(sum(dir, name)?);
    }
    Ok((entries, skipped))
}

fn sum(dir: &Path, name: String) -> Result<Entry, PublishError> {
    let path = dir.join(&name);
    let (mut sha256, mut md5, mut size) = (Sha256Hasher::new(), Md5Hasher::new(), 0);
    let mut read = || {
        let mut file = BufReader::with_capacity(128 * 1024, File::open(&path)?);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            sha256.update(bytes);
            md5.update(bytes);
            size += u64::try_from(count).unwrap_or(0);
        }
    };
    read().map_err(|source| PublishError::Read {
        path: path.display().to_string(),
        source,
    })?;
    Ok(Entry {
        name: name.into(),
        size,
        sha256: Sha256(sha256.finalize().into()),
        md5: Md5(md5.finalize().into()),
    })
}
