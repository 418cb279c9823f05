//! Replies come out in the order of the requests.

use super::*;

fn all(outbox: &Outbox) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut out = Output::default();
    while outbox.take(&mut out) {
        seen.extend_from_slice(&out.0);
        outbox.written(out.0.len());
    }
    seen
}

#[test]
fn replies_wait_for_those_before_them() {
    let outbox = Outbox::default();
    let (first, second) = (outbox.reserve(), outbox.reserve());
    outbox.answer(Bytes::from_static(b"local"));
    let fourth = outbox.reserve();
    outbox.add(fourth, Data::Copied(b"4"), true);
    outbox.add(second, Data::Copied(b"2a"), false);
    assert_eq!(all(&outbox), b"");
    outbox.add(first, Data::Copied(b"1a"), false);
    assert_eq!(all(&outbox), b"1a");
    outbox.add(first, Data::Copied(b"1b"), true);
    assert_eq!(all(&outbox), b"1b2a");
    assert_eq!(outbox.outstanding(), 3);
    outbox.add(second, Data::Shared(Bytes::from(vec![b'x'; LARGE])), true);
    let rest = all(&outbox);
    assert!(rest.ends_with(b"xlocal4"), "{}", rest.len());
    assert_eq!((outbox.outstanding(), outbox.held()), (0, 0));
    outbox.answer(Bytes::from_static(b"+OK"));
    assert_eq!(all(&outbox), b"+OK");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_given_up_and_one_that_reads_is_waited_for() {
    let outbox = std::sync::Arc::new(Outbox::default());
    let place = outbox.reserve();
    outbox.add(
        place,
        Data::Shared(Bytes::from(vec![0; HELD_MAX + 1])),
        false,
    );
    assert!(outbox.is_full());
    let reader = {
        let outbox = std::sync::Arc::clone(&outbox);
        async move {
            tokio::time::advance(LOOK / 2).await;
            all(&outbox);
        }
    };
    let (read, ()) = tokio::join!(outbox.wait_for_room(), reader);
    assert!(read && !outbox.is_full());
    outbox.add(
        place,
        Data::Shared(Bytes::from(vec![0; HELD_MAX + 1])),
        false,
    );
    assert!(!outbox.wait_for_room().await);
    assert!(outbox.is_full() && !outbox.is_crowded());
    outbox.close();
    assert!(!outbox.is_full() && outbox.wait_for_room().await);
    outbox.add(place, Data::Copied(b"late"), true);
    assert_eq!(all(&outbox), b"");
}
