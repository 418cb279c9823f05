//! The bound, the results, and what a panic leaves behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, mpsc};

use super::*;

#[tokio::test]
async fn each_gets_its_own_result_and_no_more_threads_are_at_work_than_the_bound() {
    let desk = Desk::of(2);
    let now = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    // the first two wait for each other: both threads are there
    let both = Arc::new(Barrier::new(2));
    let given: Vec<_> = (0..100)
        .map(|number| {
            let (now, most, both) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&both));
            desk.give(move || {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                if number < 2 {
                    both.wait();
                }
                now.fetch_sub(1, Ordering::SeqCst);
                number
            })
        })
        .collect();
    for (number, work) in given.into_iter().enumerate() {
        assert_eq!(work.done().await.unwrap(), number);
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn work_that_panics_is_cut_short_and_the_rest_is_done() {
    let desk = Desk::of(1);
    let bad = desk.give(|| panic!("on purpose"));
    let good = desk.give(|| 7);
    let _: CutShort = bad.done().await.unwrap_err();
    assert_eq!(good.done().await.unwrap(), 7);
}

#[tokio::test]
async fn work_that_nobody_waits_for_is_done_all_the_same() {
    let desk = Desk::of(1);
    let (told, heard) = mpsc::channel();
    drop(desk.give(move || told.send(()).unwrap()));
    desk.give(|| ()).done().await.unwrap();
    heard.try_recv().unwrap();
}

#[tokio::test]
async fn a_desk_that_was_idle_takes_work_again() {
    let desk = Desk::of(1);
    for round in 0..50 {
        assert_eq!(desk.give(move || round).done().await.unwrap(), round);
    }
}
