//! A storage that breaks off, throttles, refuses and changes under the pass.

use std::time::Duration;

use super::*;
use crate::plan::Guard;
use crate::rig::{Rig, files};
use crate::store::fake::{Fault, LIST};

fn broken() -> StoreError {
    StoreError::Server {
        status: 500,
        code: "InternalError".to_owned(),
    }
}

// case 1: a list that breaks off says nothing about what it did not reach
#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_deletes_nothing() {
    let rig = Rig::new();
    rig.fake.page_size(10);
    for at in 0..40 {
        rig.fake.put(&format!("f{at:02}"), "x");
    }
    rig.complete().await;
    for at in 1..40 {
        rig.fake.delete(&format!("f{at:02}"));
    }
    for at in 40..80 {
        rig.fake.put(&format!("f{at:02}"), "new");
    }
    for faults in [
        vec![Fault::HalfPage],
        vec![Fault::Error(denied)],
        vec![Fault::Silence; 9],
    ] {
        rig.fake.script(LIST, faults);
        let report = rig.cycle().await;
        let listing = matches!(
            &report.outcome,
            Outcome::Failed(CycleError::Survey(SurveyError::List(_)))
        );
        assert!(listing, "{report:?}");
        let old = (0..40)
            .filter(|at| rig.path(&format!("f{at:02}")).exists())
            .count();
        assert_eq!(old, 40, "nothing is deleted");
        rig.fake.heal();
    }
    // the guard's turn comes once the list is complete
    assert_eq!(rig.cycle().await.held, Some(Guard::MaxDeletePercent));
}

#[tokio::test(start_paused = true)]
async fn what_was_fetched_before_the_list_broke_off_is_not_fetched_again() {
    let rig = Rig::new();
    rig.fake.page_size(10);
    for at in 0..40 {
        rig.fake.put_without_md5(&format!("f{at:02}"), "x");
    }
    rig.fake.script(LIST, [Fault::HalfPage]);
    let report = rig.cycle().await;
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{report:?}");
    assert_eq!(rig.tree().len(), 5);
    rig.fake.heal();
    rig.fake.take_log();
    rig.cycle().await;
    let gets = rig
        .fake
        .take_log()
        .into_iter()
        .filter(|line| line.starts_with("get"))
        .count();
    assert_eq!((gets, rig.tree().len()), (35, 40));
}

#[tokio::test(start_paused = true)]
async fn files_are_fetched_while_the_next_page_is_listed() {
    let rig = Rig::with(|config| config.concurrency = 4);
    for at in 0..1000 {
        rig.fake.put(&format!("f{at:03}"), "x");
    }
    let log = rig.complete().await;
    let lists: Vec<_> = (0..log.len())
        .filter(|at| log[*at].starts_with("list"))
        .collect();
    // 250, 500 and the rest, each asked for before what the page before it names is there
    assert_eq!((lists.len(), lists[0]), (3, 0), "{lists:?}");
    assert!(lists[1] < 10 && lists[2] < 250 + 10, "{lists:?}");
    assert_eq!(rig.tree().len(), 1000);
    // what is known already is looked through in long pages
    assert_eq!(rig.complete().await, ["list  "]);
}

// case 3, in a pass: from the list to the read
#[tokio::test(start_paused = true)]
async fn a_blob_replaced_after_it_was_listed_arrives_as_it_is_now() {
    let rig = Rig::new();
    rig.fake.put("f", "listed");
    rig.fake.script("f", [Fault::Replace(b"replaced".to_vec())]);
    rig.complete().await;
    assert_eq!(rig.tree(), files([("f", "replaced")]));
    assert_eq!(rig.complete().await, ["list  "]);
}

#[tokio::test(start_paused = true)]
async fn a_blob_deleted_after_it_was_listed_is_no_failure() {
    let rig = Rig::new();
    put_all(&rig, [("f", "1"), ("g", "2")]);
    rig.fake.script("f", [Fault::Delete]);
    let report = rig.cycle().await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(rig.tree(), files([("g", "2")]));
}

// case 14
#[tokio::test(start_paused = true)]
async fn one_wrong_sum_fails_one_file() {
    let rig = Rig::new();
    rig.fake.put("good", "1");
    rig.fake.put_with_md5_of("wrong", "content", "claim");
    let report = rig.cycle().await;
    assert!(matches!(report.outcome, Outcome::Done));
    assert_eq!(report.failed, 1);
    assert!(!report.is_complete());
    assert_eq!(rig.tree(), files([("good", "1")]));
    assert!(report.first_failure.unwrap().contains("wrong"));
}

// case 16
#[tokio::test(start_paused = true)]
async fn no_more_requests_are_under_way_than_allowed() {
    let rig = Rig::with(|config| config.concurrency = 5);
    for at in 0..50 {
        rig.fake.put(&format!("f{at:02}"), "x");
    }
    rig.fake.latency(Duration::from_millis(5));
    rig.complete().await;
    assert_eq!(rig.fake.most_under_way(), 5);
    assert_eq!(rig.tree().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_throttles_is_asked_less_and_everything_arrives() {
    let rig = Rig::with(|config| config.concurrency = 16);
    for at in 0..200 {
        rig.fake.put(&format!("f{at:03}"), "x");
        if at % 5 == 0 {
            rig.fake.script(
                &format!("f{at:03}"),
                [Fault::Throttle(Duration::from_secs(2))],
            );
        }
    }
    rig.fake.latency(Duration::from_millis(200));
    rig.complete().await;
    assert_eq!(rig.tree().len(), 200);
    assert!(rig.engine.attempts.governor.limit() < 16);
}

// case 17
#[tokio::test(start_paused = true)]
async fn a_refused_credential_ends_the_pass_and_keeps_the_tree() {
    let rig = Rig::new();
    put_all(&rig, [("a", "1"), ("b", "2")]);
    rig.complete().await;
    rig.fake.script(LIST, [Fault::Error(denied)]);
    rig.fake.delete("a");
    let report = rig.cycle().await;
    let Outcome::Failed(error) = &report.outcome else {
        panic!("{report:?}")
    };
    assert_eq!(error.label(), "denied");
    assert_eq!(rig.tree().len(), 2);
    // in the middle of the downloads too: what is there stays, what is missing comes later
    for at in 0..100 {
        rig.fake.put(&format!("n{at:02}"), "x");
    }
    rig.fake.script("n50", [Fault::Error(denied)]);
    let report = rig.cycle().await;
    assert!(
        matches!(&report.outcome, Outcome::Failed(error) if error.label() == "denied"),
        "{report:?}"
    );
    assert!(rig.tree().len() > 40);
    rig.complete().await;
    assert_eq!(rig.tree().len(), 101);
    rig.fake
        .credential_fails(Some(|| StoreError::BadCredential("test")));
    assert!(
        matches!(rig.cycle().await.outcome, Outcome::Failed(error) if error.label() == "credential")
    );
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_is_away_ends_the_pass_in_bounded_time() {
    let rig = Rig::new();
    for at in 0..500 {
        rig.fake.put(&format!("f{at:03}"), "x");
        rig.fake
            .script(&format!("f{at:03}"), vec![Fault::Error(broken); 9]);
    }
    let start = tokio::time::Instant::now();
    let report = rig.cycle().await;
    assert!(
        matches!(&report.outcome, Outcome::Failed(error) if error.label() == "server"),
        "{report:?}"
    );
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );
    assert!(rig.tree().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_list_in_another_order_is_noticed_and_sorted() {
    let rig = Rig::new();
    for at in 0..30 {
        rig.fake.put(&format!("f{at:02}"), "x");
    }
    rig.fake.page_size(7);
    rig.complete().await;
    rig.fake.reverse();
    rig.fake.delete("f07");
    let report = rig.cycle().await;
    assert!(
        matches!(
            report.outcome,
            Outcome::Failed(CycleError::Survey(SurveyError::Unsorted))
        ),
        "{report:?}"
    );
    assert_eq!(rig.tree().len(), 30);
    let report = rig.engine.cycle(&crate::cycle::Names::SortedList).await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(rig.tree().len(), 29);
    rig.fake.take_log();
    assert!(
        rig.engine
            .cycle(&crate::cycle::Names::SortedList)
            .await
            .is_complete()
    );
    assert!(
        rig.fake
            .take_log()
            .iter()
            .all(|line| line.starts_with("list"))
    );
}

#[tokio::test(start_paused = true)]
async fn leaving_finishes_the_files_in_hand_and_remembers_them() {
    let rig = Rig::with(|config| config.concurrency = 4);
    for at in 0..100 {
        rig.fake.put_without_md5(&format!("f{at:02}"), "x");
    }
    rig.fake.latency(Duration::from_millis(100));
    let (report, ()) = tokio::join!(rig.cycle(), async {
        tokio::time::sleep(Duration::from_millis(450)).await;
        rig.quit.cancel();
    });
    assert!(matches!(report.outcome, Outcome::Drained), "{report:?}");
    let there = rig.tree().len();
    assert!((4..60).contains(&there), "{there}");
    let mut rig = rig;
    rig.restart();
    let gets = rig
        .complete()
        .await
        .into_iter()
        .filter(|line| line.starts_with("get"))
        .count();
    assert_eq!(gets, 100 - there, "what was there is not fetched again");
}

#[tokio::test(start_paused = true)]
async fn a_slow_file_does_not_hold_the_others() {
    let rig = Rig::with(|config| config.concurrency = 2);
    for at in 0..20 {
        rig.fake.put(&format!("f{at:02}"), "x");
    }
    rig.fake
        .script("f00", [Fault::Throttle(Duration::from_secs(15))]);
    let start = tokio::time::Instant::now();
    rig.complete().await;
    assert!(
        start.elapsed() < Duration::from_secs(17),
        "{:?}",
        start.elapsed()
    );
    // and the index is in order all the same
    assert_eq!(rig.complete().await, ["list  "]);
}
