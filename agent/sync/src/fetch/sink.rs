//! Bytes on their way to a file: collected into buffers, which are hashed and written off the runtime's workers while the next
//! one fills. A small file is made, written, checked and named in one go.

use std::sync::Arc;

use bytes::Bytes;

use super::FetchError;
use crate::desk::{Desk, Given};
use crate::index::Fingerprint;
use crate::store::{Md5, Sha256};
use crate::tree::{Root, Staged, TreeError};

/// How many bytes are collected before they are written.
pub(super) const FLUSH: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Sink {
    desk: Desk,
    root: Arc<Root>,
    size: u64,
    /// What the content must sum up to, if its name says it.
    content: Option<Sha256>,
    accepted: u64,
    buffer: Vec<Bytes>,
    buffered: usize,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// Nothing on disk yet.
    None,
    /// A buffer is being written.
    Busy(Given<Result<Staged, TreeError>>),
}

impl Sink {
    pub(super) const fn new(
        desk: Desk,
        root: Arc<Root>,
        size: u64,
        content: Option<Sha256>,
    ) -> Self {
        Self {
            desk,
            root,
            size,
            content,
            accepted: 0,
            buffer: Vec::new(),
            buffered: 0,
            target: Target::None,
        }
    }

    /// How many bytes were taken; the next ones follow them.
    pub(super) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Takes the next bytes.
    pub(super) async fn push(&mut self, chunk: Bytes) -> Result<(), FetchError> {
        self.accepted += u64::try_from(chunk.len()).unwrap_or(0);
        self.buffered += chunk.len();
        self.buffer.push(chunk);
        if self.buffered < FLUSH {
            return Ok(());
        }
        let staged = self.settle().await?;
        let chunks = std::mem::take(&mut self.buffer);
        self.buffered = 0;
        let (root, size, summed) = (Arc::clone(&self.root), self.size, self.content.is_some());
        self.target = Target::Busy(
            self.desk
                .give(move || write(&root, None, size, summed, staged, &chunks)),
        );
        Ok(())
    }

    /// Writes the rest, compares the content with `expected`, and gives the file its name.
    pub(super) async fn finish(
        mut self,
        name: &str,
        expected: Option<Md5>,
    ) -> Result<(Md5, Fingerprint), FetchError> {
        let staged = self.settle().await?;
        let Self {
            desk,
            root,
            size,
            content,
            buffer,
            ..
        } = self;
        let name = name.to_owned();
        let ending = desk.give(move || {
            let summed = content.is_some();
            let staged = write(&root, Some(&name), size, summed, staged, &buffer)?;
            debug_assert_eq!(staged.written(), size, "the length was checked before");
            if let (Some(expected), Some(got)) = (content, staged.sha256())
                && expected != got
            {
                return Err(FetchError::Content { expected, got });
            }
            let got = staged.md5();
            match expected {
                Some(expected) if expected != got => Err(FetchError::Checksum { expected, got }),
                _ => Ok((got, staged.commit(&root, &name)?)),
            }
        });
        ending.done().await?
    }

    /// Waits for the buffer that is being written.
    async fn settle(&mut self) -> Result<Option<Staged>, FetchError> {
        match std::mem::replace(&mut self.target, Target::None) {
            Target::None => Ok(None),
            Target::Busy(writing) => Ok(Some(writing.done().await??)),
        }
    }
}

fn write(
    root: &Root,
    name: Option<&str>,
    size: u64,
    summed: bool,
    staged: Option<Staged>,
    chunks: &[Bytes],
) -> Result<Staged, TreeError> {
    let mut staged = match staged {
        Some(staged) => staged,
        None => root.stage(name, size, summed)?,
    };
    staged.write(chunks)?;
    Ok(staged)
}
