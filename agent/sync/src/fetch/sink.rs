//! Bytes on their way to a file: collected into buffers, which are written and summed off the runtime's workers while the next
//! ones fill. A large file's are written by one thread while another sums them; a small file is made, written, checked and
//! named in one go.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::FetchError;
use super::lane::{Buffer, Lane};
use crate::desk::Desk;
use crate::index::Fingerprint;
use crate::sum::{Sum, Summing, Way};
use crate::tree::{Root, Staged};

/// How many bytes are collected before they are written; a file of no more is written in one go.
pub(super) const FLUSH: usize = 256 * 1024;
/// How many buffers of one file there are at a time: one that fills, the others on their way to the disk and into the sum.
pub(super) const BUFFERS_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Sink {
    desk: Desk,
    root: Arc<Root>,
    size: u64,
    way: Way,
    accepted: u64,
    buffer: Vec<Bytes>,
    buffered: usize,
    /// Of a file that has more than one buffer, once the first is full.
    lanes: Option<Lanes>,
}

/// Where the buffers of a large file go, each both ways.
#[derive(Debug)]
struct Lanes {
    places: Arc<Semaphore>,
    writing: Lane<Staged>,
    summing: Lane<Summing>,
}

impl Sink {
    /// For a file of `size` bytes that are summed up in this `way`.
    pub(super) const fn new(desk: Desk, root: Arc<Root>, size: u64, way: Way) -> Self {
        Self {
            desk,
            root,
            size,
            way,
            accepted: 0,
            buffer: Vec::new(),
            buffered: 0,
            lanes: None,
        }
    }

    /// How many bytes were taken; the next ones follow them.
    pub(super) const fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Sums up in another way. Only before there are bytes.
    pub(super) fn sum_by(&mut self, way: Way) {
        debug_assert_eq!(self.accepted, 0, "what went by is not summed again");
        self.way = way;
    }

    /// Takes the next bytes. Waits while there are as many buffers as there may be.
    pub(super) async fn push(&mut self, chunk: Bytes) -> Result<(), FetchError> {
        self.accepted += u64::try_from(chunk.len()).unwrap_or(0);
        self.buffered += chunk.len();
        self.buffer.push(chunk);
        if self.buffered < FLUSH || self.size <= FLUSH as u64 {
            return Ok(());
        }
        let lanes = match self.lanes.take() {
            Some(lanes) => lanes,
            None => self.begin().await?,
        };
        let chunks = std::mem::take(&mut self.buffer);
        self.buffered = 0;
        let lanes = lanes.give(chunks).await?;
        self.lanes = Some(lanes);
        Ok(())
    }

    async fn begin(&self) -> Result<Lanes, FetchError> {
        let (root, size) = (Arc::clone(&self.root), self.size);
        let staged = self.desk.give(move || root.stage(None, size));
        let staged = staged.done().await??;
        Ok(Lanes {
            places: Arc::new(Semaphore::new(BUFFERS_MAX - 1)),
            writing: Lane::new(self.desk.clone(), staged, Staged::write),
            summing: Lane::new(self.desk.clone(), self.way.begin(), |summing, chunks| {
                summing.update_all(chunks);
                Ok(())
            }),
        })
    }

    /// Writes the rest, compares the content with `expected`, and gives the file its name.
    pub(super) async fn finish(
        self,
        name: &str,
        expected: Option<Sum>,
    ) -> Result<(Sum, Fingerprint), FetchError> {
        let begun = match self.lanes {
            Some(lanes) => Some(lanes.end().await?),
            None => None,
        };
        let (root, size, way, buffer) = (self.root, self.size, self.way, self.buffer);
        let name = name.to_owned();
        let ending = self.desk.give(move || {
            let (mut staged, mut summing) = match begun {
                Some(begun) => begun,
                None => (root.stage(Some(&name), size)?, way.begin()),
            };
            staged.write(&buffer)?;
            debug_assert_eq!(staged.written(), size, "the length was checked before");
            summing.update_all(&buffer);
            let got = summing.end();
            match expected {
                Some(expected) if expected != got => Err(FetchError::Checksum { expected, got }),
                _ => Ok((got, staged.commit(&root, &name)?)),
            }
        });
        ending.done().await?
    }
}

impl Lanes {
    /// Both ways for `chunks`, once there is a place; the lanes back, unless one has failed.
    async fn give(self, chunks: Vec<Bytes>) -> Result<Self, FetchError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let buffer = Arc::new(Buffer {
            chunks,
            _place: place.map_err(|_| FetchError::CutShort)?,
        });
        if self.writing.has_ended() || self.summing.has_ended() {
            self.end().await?;
            return Err(FetchError::CutShort);
        }
        // the slower one first
        self.summing.give(Arc::clone(&buffer));
        self.writing.give(buffer);
        Ok(self)
    }

    /// Waits until all buffers have gone both ways.
    async fn end(self) -> Result<(Staged, Summing), FetchError> {
        let staged = self.writing.end().await??;
        Ok((staged, self.summing.end().await??))
    }
}

#[cfg(test)]
mod tests;
