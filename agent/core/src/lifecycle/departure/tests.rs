//! Steps, duties and their time, on paused time.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn names(progress: &Progress) -> Vec<(&str, Option<u64>)> {
    let waiting = progress.waiting.iter();
    waiting.map(|(name, left)| (&**name, *left)).collect()
}

#[test]
fn a_preempt_is_over_in_its_25_seconds() {
    let budget = Budget::within(25 * SECOND, 10 * SECOND);
    let ends = Step::ALL.map(|step| budget.end(step).as_secs_f64());
    assert_eq!(ends, [10.0, 19.0, 22.75, 25.0, 25.0]);
    // a load balancer that looks seldom does not eat the time of the work
    let budget = Budget::within(25 * SECOND, 60 * SECOND);
    assert_eq!(budget.end(Step::Shedding), 10 * SECOND);
    let budget = Budget::after(30 * SECOND, 60 * SECOND);
    assert_eq!(budget.end(Step::Shedding), 60 * SECOND);
    assert_eq!(budget.end(Step::Left), 90 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_step_is_done_when_everybody_who_takes_part_is() {
    let departures = Departures::default();
    let mut duty = departures.duty(Step::Flushing, "uploads");
    let _other = departures.duty(Step::Releasing, "leases");
    departures.begin(DrainSource::Event, 25 * SECOND);
    departures.enter(Step::Finishing);
    departures.done().await;
    departures.enter(Step::Flushing);
    let call = duty.called().await;
    call.left(3);
    let progress = departures.progress().unwrap();
    assert_eq!(names(&progress), [("uploads", Some(3))]);
    assert!(
        tokio::time::timeout(SECOND, departures.done())
            .await
            .is_err()
    );
    drop(call);
    departures.done().await;
    // asked once per step, not again and again
    assert!(tokio::time::timeout(SECOND, duty.called()).await.is_err());
    departures.recall();
    departures.recalled().await;
    assert!(departures.progress().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_late_is_abandoned_by_name_and_told_so() {
    let departures = Departures::default();
    let mut duty = departures.duty(Step::Finishing, "mysql");
    departures.begin(DrainSource::Signal, SECOND);
    departures.enter(Step::Finishing);
    let call = duty.called().await;
    departures.abandon();
    departures.enter(Step::Flushing);
    call.over().await;
    let progress = departures.progress().unwrap();
    assert_eq!(progress.abandoned, [Arc::from("mysql")]);
    // an answer that comes too late does not count for the next time
    departures.recall();
    departures.begin(DrainSource::Signal, SECOND);
    departures.enter(Step::Finishing);
    drop(call);
    assert_eq!(names(&departures.progress().unwrap()), [("mysql", None)]);
    drop(duty.called().await);
    departures.done().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_gone_is_not_waited_for() {
    let departures = Departures::default();
    let duty = departures.duty(Step::Releasing, "leases");
    departures.begin(DrainSource::Command, SECOND);
    departures.enter(Step::Releasing);
    drop(duty);
    departures.done().await;
    departures.enter(Step::Left);
    departures.reached(Step::Releasing).await;
}
