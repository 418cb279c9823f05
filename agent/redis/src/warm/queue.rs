//! From reader to writer, bounded by bytes and by batches: a slow Redis holds the reader back, and memory stays the same
//! whatever the table's size. In memory only.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::batch::Batch;

/// The most batches on their way.
const BATCHES_MAX: usize = 64;

/// Where the reader puts batches.
#[derive(Debug)]
pub(crate) struct Sender {
    batches: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    bytes_max: u32,
}

/// A batch and the room it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) batch: Batch,
    _room: OwnedSemaphorePermit,
}

/// The writer has gone: nobody wants batches any more.
#[derive(Debug)]
pub(crate) struct Closed;

/// A queue for `bytes_max` bytes; a larger batch waits until it is alone.
pub(crate) fn queue(bytes_max: u32) -> (Sender, mpsc::Receiver<Queued>) {
    let (batches, receiver) = mpsc::channel(BATCHES_MAX);
    let room = Arc::new(Semaphore::new(
        usize::try_from(bytes_max).unwrap_or(Semaphore::MAX_PERMITS),
    ));
    let sender = Sender {
        batches,
        room,
        bytes_max,
    };
    (sender, receiver)
}

impl Sender {
    /// Waits for room and hands `batch` over.
    pub(crate) async fn send(&self, batch: Batch) -> Result<(), Closed> {
        let bytes = u32::try_from(batch.bytes).map_or(self.bytes_max, |b| b.min(self.bytes_max));
        let room = Arc::clone(&self.room)
            .acquire_many_owned(bytes)
            .await
            .map_err(|_| Closed)?;
        self.batches
            .send(Queued { batch, _room: room })
            .await
            .map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn batch(bytes: usize) -> Batch {
        Batch {
            bytes,
            ..Batch::default()
        }
    }

    #[tokio::test]
    async fn the_reader_waits_for_room_and_a_huge_batch_for_all_of_it() {
        let (sender, mut receiver) = queue(100);
        sender.send(batch(60)).await.unwrap();
        let mut second = Box::pin(sender.send(batch(60)));
        assert!(second.as_mut().now_or_never().is_none(), "there is no room");
        let first = receiver.recv().await.unwrap();
        assert!(
            second.as_mut().now_or_never().is_none(),
            "the writer still holds it"
        );
        drop(first);
        second.await.unwrap();
        drop(receiver.recv().await);
        sender.send(batch(1_000_000)).await.unwrap();
        assert!(sender.send(batch(1)).now_or_never().is_none());
        drop(receiver);
        assert!(
            sender.send(batch(0)).await.is_err(),
            "nobody reads any more"
        );
    }
}
