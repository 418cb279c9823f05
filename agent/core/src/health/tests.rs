//! The board keeps levels, not events.

use super::*;

#[test]
fn a_condition_keeps_its_age_while_only_the_reason_changes() {
    let board = HealthBoard::new();
    let writer = board.writer("mysql");
    writer.down(Reach::Shared, "refused");
    let first = board.snapshot().reports["mysql"].since;
    writer.down(Reach::Shared, "timed out");
    let snapshot = board.snapshot();
    assert_eq!(snapshot.reports["mysql"].since, first);
    assert_eq!(snapshot.reports["mysql"].reason, "timed out");
    writer.ok();
    assert_ne!(board.snapshot().reports["mysql"].since, first);
}

#[test]
fn writing_the_same_again_wakes_nobody() {
    let board = HealthBoard::new();
    let writer = board.writer("redis");
    writer.degraded(Reach::Shared, "slow");
    let mut watcher = board.watch();
    watcher.mark_unchanged();
    writer.degraded(Reach::Shared, "slow");
    assert!(!watcher.has_changed().unwrap());
    writer.ok();
    assert!(watcher.has_changed().unwrap());
}

#[test]
fn gates_open_once() {
    let board = HealthBoard::new();
    let gate = board.gate("sync:site");
    assert_eq!(
        board.snapshot().closed_gates().collect::<Vec<_>>(),
        ["sync:site"]
    );
    gate.open();
    assert_eq!(board.snapshot().closed_gates().count(), 0);
}

#[test]
fn a_part_that_is_gone_leaves_the_board() {
    let board = HealthBoard::new();
    let part = board.writer("mysql").part("r1");
    assert!(board.snapshot().reports.contains_key("mysql:r1"));
    part.remove();
    assert!(!board.snapshot().reports.contains_key("mysql:r1"));
}
