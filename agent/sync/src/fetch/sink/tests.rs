//! How much is in memory, and a disk that takes no more.

use futures_util::FutureExt;

use super::*;
use crate::rig::Rig;
use crate::tree::TreeError;

const LEN: u64 = 8 * FLUSH as u64 + 5;

fn sink(rig: &Rig) -> Sink {
    let root = Arc::new(Root::open(&rig.engine.config).unwrap());
    Sink::new(Desk::of(1), root, LEN, Way::Md5)
}

fn full(byte: u8) -> Bytes {
    vec![byte; FLUSH].into()
}

/// The first buffer has gone both ways.
async fn one_is_through(sink: &Sink) {
    let places = &sink.lanes.as_ref().unwrap().places;
    let all = u32::try_from(BUFFERS_MAX - 1).unwrap();
    drop(places.acquire_many(all).await.unwrap());
}

#[tokio::test]
async fn no_more_buffers_than_the_bound_are_in_memory() {
    let rig = Rig::new();
    let mut sink = sink(&rig);
    sink.push(full(0)).await.unwrap();
    one_is_through(&sink).await;
    let (go, held) = std::sync::mpsc::channel::<()>();
    let holding = sink.desk.give(move || held.recv());
    for byte in 1..BUFFERS_MAX {
        sink.push(full(u8::try_from(byte).unwrap())).await.unwrap();
    }
    // the one that fills is full now, and has no place to go to
    {
        let mut push = std::pin::pin!(sink.push(full(9)));
        assert!(push.as_mut().now_or_never().is_none());
        go.send(()).unwrap();
        push.await.unwrap();
    }
    holding.done().await.unwrap().unwrap();
    let left = usize::try_from(LEN - sink.accepted()).unwrap();
    sink.push(vec![7; left].into()).await.unwrap();
    let (sum, _) = sink.finish("f", None).await.unwrap();
    let mut expected: Vec<u8> = [0, 1, 2, 3, 9].map(full).concat();
    expected.resize(usize::try_from(LEN).unwrap(), 7);
    assert_eq!(sum, Way::Md5.of(&expected));
    assert!(std::fs::read(rig.path("f")).unwrap() == expected);
}

#[tokio::test]
async fn a_disk_that_takes_no_more_ends_it_and_leaves_nothing() {
    let rig = Rig::new();
    let mut sink = sink(&rig);
    sink.push(full(0)).await.unwrap();
    let lanes = sink.lanes.take().unwrap();
    let staged = lanes.writing.end().await.unwrap().unwrap();
    sink.lanes = Some(Lanes {
        writing: Lane::new(sink.desk.clone(), staged.on_a_full_disk(), Staged::write),
        ..lanes
    });
    let mut failed = None;
    for byte in 1..8 {
        if let Err(error) = sink.push(full(byte)).await {
            failed = Some(error);
            break;
        }
    }
    assert!(
        matches!(failed, Some(FetchError::Tree(TreeError::DiskFull(_)))),
        "{failed:?}"
    );
    drop(sink);
    let staging = rig.path(".lamplighter-staging");
    assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0);
}
