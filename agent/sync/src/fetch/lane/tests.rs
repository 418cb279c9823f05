//! Order, and every way in which a lane can end.

use std::sync::mpsc;

use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::*;

/// Buffers of one byte each, and how many places are free.
struct Feed {
    places: Arc<Semaphore>,
}

const PLACES: usize = 3;

fn feed() -> Feed {
    Feed {
        places: Arc::new(Semaphore::new(PLACES)),
    }
}

impl Feed {
    async fn buffer(&self, byte: u8) -> Arc<Buffer> {
        let place = Arc::clone(&self.places).acquire_owned().await.unwrap();
        Arc::new(Buffer {
            chunks: vec![Bytes::from(vec![byte])],
            _place: place,
        })
    }

    /// Waits until every buffer is gone.
    async fn is_empty(&self) {
        let all = u32::try_from(PLACES).unwrap();
        drop(self.places.acquire_many(all).await.unwrap());
    }
}

fn collect(into: &mut Vec<u8>, chunks: &[Bytes]) -> Result<(), TreeError> {
    into.extend(chunks.iter().flatten());
    Ok(())
}

#[tokio::test]
async fn buffers_are_taken_in_order_both_ways() {
    let (desk, feed) = (Desk::of(2), feed());
    let one = Lane::new(desk.clone(), Vec::new(), collect);
    let other = Lane::new(desk, Vec::new(), collect);
    for byte in 0..200 {
        let buffer = feed.buffer(byte).await;
        one.give(Arc::clone(&buffer));
        other.give(buffer);
    }
    let expected: Vec<u8> = (0..200).collect();
    assert_eq!(one.end().await.unwrap().unwrap(), expected);
    assert_eq!(other.end().await.unwrap().unwrap(), expected);
}

#[tokio::test]
async fn one_lane_goes_on_while_another_is_held_up() {
    let (desk, feed) = (Desk::of(2), feed());
    let (go, held) = mpsc::channel::<()>();
    let slow = Lane::new(desk.clone(), held, |held, _| {
        held.recv().unwrap();
        Ok(())
    });
    let fast = Lane::new(desk, Vec::new(), collect);
    for byte in 0..2 {
        let buffer = feed.buffer(byte).await;
        slow.give(Arc::clone(&buffer));
        fast.give(buffer);
    }
    assert_eq!(fast.end().await.unwrap().unwrap(), [0, 1]);
    go.send(()).unwrap();
    go.send(()).unwrap();
    slow.end().await.unwrap().unwrap();
}

#[tokio::test]
async fn after_an_error_nothing_is_taken_and_no_place_is_held() {
    let (desk, feed) = (Desk::of(1), feed());
    let lane = Lane::new(desk, Vec::new(), |into: &mut Vec<u8>, chunks| {
        if into.len() == 2 {
            return Err(TreeError::new("write in", "there", Errno::NOSPC));
        }
        collect(into, chunks)
    });
    for byte in 0..100 {
        lane.give(feed.buffer(byte).await);
    }
    feed.is_empty().await;
    assert!(lane.has_ended());
    assert!(lane.end().await.unwrap().is_err());
}

#[tokio::test]
async fn a_panic_is_an_end_and_not_a_wait_for_ever() {
    for asked_before in [false, true] {
        let (desk, feed) = (Desk::of(1), feed());
        let (go, held) = mpsc::channel::<()>();
        let lane = Lane::new(desk, held, |held, _| {
            held.recv().unwrap();
            panic!("on purpose")
        });
        lane.give(feed.buffer(0).await);
        lane.give(feed.buffer(1).await);
        if !asked_before {
            go.send(()).unwrap();
            feed.is_empty().await;
        }
        let end = lane.end();
        if asked_before {
            go.send(()).unwrap();
        }
        assert!(end.await.is_err());
        feed.is_empty().await;
    }
}

#[tokio::test]
async fn a_lane_that_is_dropped_forgets_what_waits_and_what_it_goes_into() {
    let (desk, feed) = (Desk::of(1), feed());
    let (go, held) = mpsc::channel::<()>();
    let (seen, taken) = mpsc::channel();
    let lane = Lane::new(desk, (held, seen), |(held, seen), chunks| {
        held.recv().unwrap();
        seen.send(chunks[0][0]).unwrap();
        Ok(())
    });
    for byte in 0..3 {
        lane.give(feed.buffer(byte).await);
    }
    drop(lane);
    go.send(()).unwrap();
    feed.is_empty().await;
    // ends when the lane's end of it is gone
    let taken = tokio::task::spawn_blocking(move || taken.into_iter().collect::<Vec<_>>());
    assert!(matches!(taken.await.unwrap().as_slice(), [] | [0]));
}
