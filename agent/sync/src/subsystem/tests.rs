//! Whole lives of entries: gates, health, pauses, leaving, and the dry run.

mod herd;

use std::collections::BTreeMap;
use std::time::Duration;

use lamplighter_core::health::{Condition, HealthBoard, Reach, Report};
use lamplighter_core::lifecycle::{
    Control, DrainSource, Phase, Stage, Supervisor, SupervisorConfig,
};
use lamplighter_core::metrics::Registry;
use lamplighter_core::units::Millis;
use tempfile::TempDir;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::dry::plan_with;
use super::*;
use crate::config::Fsync;
use crate::rig;
use crate::store::StoreError;
use crate::store::fake::{Fake, Fault, LIST};

/// An agent with nothing but one entry.
struct Life {
    dir: TempDir,
    fake: Fake,
    handle: Handle,
    board: HealthBoard,
    control: Control,
    phases: Receiver<Phase>,
    end: tokio::task::JoinHandle<Result<(), lamplighter_core::fault::Fault>>,
}

fn away() -> StoreError {
    StoreError::Unreachable("connection refused".to_owned())
}

fn denied() -> StoreError {
    StoreError::Denied {
        status: 403,
        code: "AuthenticationFailed".to_owned(),
    }
}

fn config_in(dir: &Path, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = rig::config(&dir.join("tree"));
    config.fsync = Fsync::Never;
    change(&mut config);
    config
}

fn live(fake: &Fake, change: impl FnOnce(&mut Config)) -> Life {
    live_in(tempfile::tempdir().unwrap(), fake, change)
}

fn live_in(dir: TempDir, fake: &Fake, change: impl FnOnce(&mut Config)) -> Life {
    live_as("vm0", dir, fake, change)
}

fn live_as(instance: &str, dir: TempDir, fake: &Fake, change: impl FnOnce(&mut Config)) -> Life {
    let config = config_in(dir.path(), change);
    let registry = Registry::new();
    let metrics = Metrics::register(&registry).unwrap();
    let syncer = Syncer::with_stores(vec![(config, fake.clone())], instance, dir.path(), &metrics);
    let handle = syncer.handle();
    let board = HealthBoard::new();
    let supervision = SupervisorConfig {
        drain_deadline: Duration::from_secs(30),
        command_deadline: Duration::from_secs(30),
        shed_time: Arc::new(|| Duration::ZERO),
    };
    let mut supervisor = Supervisor::new(supervision, board.clone(), &registry).unwrap();
    supervisor.add(Stage::Work, syncer);
    let (control, phases) = (supervisor.control(), supervisor.phases());
    #[expect(
        clippy::disallowed_methods,
        reason = "the test is the supervisor's owner"
    )]
    let end = tokio::spawn(supervisor.run());
    Life {
        dir,
        fake: fake.clone(),
        handle,
        board,
        control,
        phases,
        end,
    }
}

impl Life {
    fn status(&self) -> JobStatus {
        self.handle.statuses().remove(0)
    }

    fn report(&self) -> Report {
        self.board.snapshot().reports["sync:site"].clone()
    }

    /// Waits until the health line is as wanted; on paused time this costs nothing.
    async fn until(&self, what: &str, wanted: impl Fn(&Report) -> bool) -> Report {
        let mut watch = self.board.watch();
        let seen =
            watch.wait_for(|snapshot| snapshot.reports.get("sync:site").is_some_and(&wanted));
        let seen = tokio::time::timeout(Duration::from_secs(3600), seen).await;
        assert!(
            seen.is_ok_and(|seen| seen.is_ok()),
            "{what}: {:?}",
            self.report()
        );
        self.report()
    }

    async fn synced(&self) {
        let mut status = self.handle.0[0].status.clone();
        let seen = status.wait_for(|status| status.last_success.is_some());
        tokio::time::timeout(Duration::from_secs(3600), seen)
            .await
            .expect("a complete pass")
            .unwrap();
    }

    fn gate_open(&self) -> bool {
        self.board.snapshot().gates["sync:site"]
    }

    async fn leave(mut self) -> Duration {
        let start = Instant::now();
        self.control.drain(DrainSource::Signal);
        self.phases
            .wait_for(|phase| *phase == Phase::Stopped)
            .await
            .unwrap();
        self.end.await.unwrap().unwrap();
        start.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_pass_comes_at_once_and_the_next_after_its_interval() {
    let fake = Fake::new();
    fake.put("f", "1");
    let life = live(&fake, |_| {});
    let start = Instant::now();
    life.synced().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(life.status().files, 1);
    life.fake.take_log();
    tokio::time::sleep(Duration::from_secs(300)).await;
    // every 30 s, a fifth more or less
    let lists = life.fake.take_log().len();
    assert!((8..=13).contains(&lists), "{lists}");
    assert!(life.handle.run_now("site"));
    assert!(!life.handle.run_now("other"));
    life.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_required_entry_holds_the_gate_until_its_first_complete_pass() {
    let fake = Fake::new();
    fake.put("f", "1");
    fake.script(LIST, vec![Fault::Error(away); 20]);
    let life = live(&fake, |config| config.required = true);
    life.until("storage away", |report| {
        report.condition == Condition::Degraded
    })
    .await;
    assert!(!life.gate_open());
    life.synced().await;
    assert!(life.gate_open());
    // and never closes again
    fake.script(LIST, vec![Fault::Error(away); 20]);
    life.until("away again", |report| {
        report.condition == Condition::Degraded
    })
    .await;
    assert!(life.gate_open());
    life.leave().await;
}

#[tokio::test(start_paused = true)]
async fn the_gate_opens_after_its_deadline_whatever_the_storage_does() {
    let fake = Fake::new();
    fake.script(LIST, vec![Fault::Error(away); 10_000]);
    let life = live(&fake, |config| {
        config.required = true;
        config.required_deadline = Millis::from_secs(90);
    });
    tokio::time::sleep(Duration::from_secs(89)).await;
    assert!(!life.gate_open());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(life.gate_open());
    life.leave().await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_not_required_has_no_gate() {
    let life = live(&Fake::new(), |_| {});
    life.synced().await;
    assert!(life.board.snapshot().gates.is_empty());
    life.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_is_away_degrades_shares_the_blame_and_heals_by_itself() {
    let fake = Fake::new();
    fake.put("f", "1");
    let life = live(&fake, |_| {});
    life.synced().await;
    fake.script(LIST, vec![Fault::Error(away); 30]);
    let report = life
        .until("degraded", |report| report.condition == Condition::Degraded)
        .await;
    assert_eq!(report.reach, Reach::Shared);
    assert!(
        report.reason.contains("connection refused") && report.reason.contains("firewall"),
        "{}",
        report.reason
    );
    let start = Instant::now();
    life.until("healed", |report| report.condition == Condition::Ok)
        .await;
    // 30 failures are six passes; none waits longer than the interval
    assert!(
        start.elapsed() < Duration::from_secs(6 * 45),
        "{:?}",
        start.elapsed()
    );
    life.leave().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_pass_says_is_what_the_operator_has_to_do() {
    let fake = Fake::new();
    for at in 0..30 {
        fake.put(&format!("f{at:02}"), "x");
    }
    let life = live(&fake, |config| config.max_delete = 5);
    life.synced().await;
    fake.script(LIST, [Fault::Error(denied)]);
    let report = life
        .until("denied", |report| report.condition == Condition::Degraded)
        .await;
    assert!(
        report.reason.contains("rights read and list"),
        "{}",
        report.reason
    );
    life.until("fine again", |report| report.condition == Condition::Ok)
        .await;
    for at in 0..10 {
        fake.delete(&format!("f{at:02}"));
    }
    let report = life
        .until("held", |report| report.condition == Condition::Degraded)
        .await;
    assert!(
        report.reason.contains("10 files would be deleted")
            && report.reason.contains("raise max_delete"),
        "{}",
        report.reason
    );
    assert_eq!(life.status().held, Some(("max_delete".to_owned(), 10)));
    // still in step otherwise
    assert!(life.status().last_success.is_some());
    for at in 0..30 {
        fake.delete(&format!("f{at:02}"));
    }
    let report = life
        .until("empty", |report| report.reason.contains("lists no file"))
        .await;
    assert_eq!(report.condition, Condition::Degraded);
    life.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_a_local_fault_that_keeps_the_old_files() {
    let fake = Fake::new();
    fake.put("f", "1");
    let life = live(&fake, |config| {
        config.min_free = lamplighter_core::units::Bytes::new(u64::MAX / 2)
    });
    let report = life
        .until("full", |report| report.condition == Condition::Degraded)
        .await;
    assert_eq!(report.reach, Reach::Local);
    assert!(
        report.reason.contains("disk is full") && report.reason.contains("free space"),
        "{}",
        report.reason
    );
    life.leave().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_entry_leaves_at_once_and_a_failing_one_too() {
    let fake = Fake::new();
    let life = live(&fake, |_| {});
    life.synced().await;
    assert_eq!(life.leave().await, Duration::ZERO);
    fake.script(LIST, vec![Fault::Throttle(Duration::from_secs(19)); 100]);
    let life = live(&fake, |_| {});
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(life.leave().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn leaving_waits_for_the_file_in_hand() {
    let fake = Fake::new();
    fake.put("f", "1");
    let life = live(&fake, |_| {});
    life.synced().await;
    fake.latency(Duration::from_secs(3));
    fake.put("g", "2");
    assert!(life.handle.run_now("site"));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let tree = life.dir.path().join("tree");
    assert!(!tree.join("g").exists());
    assert_eq!(life.leave().await, Duration::from_secs(2));
    // its directory went with the life; what counts is that the drain took as long as the file
    assert!(!tree.exists());
}

#[tokio::test(start_paused = true)]
async fn a_container_in_another_order_is_sorted_without_a_fault() {
    let fake = Fake::new();
    for at in 0..20 {
        fake.put(&format!("f{at:02}"), "x");
    }
    fake.reverse();
    let life = live(&fake, |_| {});
    life.synced().await;
    assert_eq!(
        (life.status().files, life.report().condition),
        (20, Condition::Ok)
    );
    life.leave().await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_dies_of_a_bug_does_not_look_well() {
    let fake = Fake::new();
    let life = live(&fake, |_| {});
    life.synced().await;
    fake.script(LIST, [Fault::Error(|| panic!("told to"))]);
    let report = life
        .until("dead", |report| report.condition == Condition::Down)
        .await;
    assert!(report.reason.contains("restarted"), "{}", report.reason);
    life.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_second_agent_on_the_same_entry_waits() {
    let fake = Fake::new();
    fake.put("f", "1");
    let first = live(&fake, |_| {});
    first.synced().await;
    let place = first.dir.path().to_owned();
    fake.take_log();
    let config = config_in(&place, |_| {});
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let other = Fake::new();
    let second = Syncer::with_stores(vec![(config, other.clone())], "vm1", &place, &metrics);
    let board = HealthBoard::new();
    let supervision = SupervisorConfig {
        drain_deadline: Duration::from_secs(30),
        command_deadline: Duration::from_secs(30),
        shed_time: Arc::new(|| Duration::ZERO),
    };
    let mut supervisor = Supervisor::new(supervision, board.clone(), &Registry::new()).unwrap();
    supervisor.add(Stage::Work, second);
    let control = supervisor.control();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test is the supervisor's owner"
    )]
    let end = tokio::spawn(supervisor.run());
    let mut watch = board.watch();
    let waiting = watch.wait_for(|board| {
        board
            .reports
            .get("sync:site")
            .is_some_and(|report| report.reason.contains("another agent"))
    });
    tokio::time::timeout(Duration::from_secs(3600), waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(other.take_log().len(), 0);
    control.drain(DrainSource::Signal);
    end.await.unwrap().unwrap();
    first.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_a_pass_would_do_and_does_nothing() {
    let fake = Fake::new();
    for (name, content) in [
        ("keep", "1"),
        ("change", "1"),
        ("gone", "1"),
        ("drift", "1"),
    ] {
        fake.put(name, content);
    }
    let dir = tempfile::tempdir().unwrap();
    let config = config_in(dir.path(), |_| {});
    let mut lines = Vec::new();
    let summary = plan_with(&config, fake.clone(), dir.path(), |line| lines.push(line))
        .await
        .unwrap();
    assert_eq!((summary.remote, summary.gets, summary.bytes), (4, 4, 4));
    assert!(!config.path.exists());
    let life = live_in(dir, &fake, |_| {});
    life.synced().await;
    fake.put("change", "22");
    fake.put("new", "333");
    fake.put("../evil", "x");
    fake.put("dir/", "");
    fake.delete("gone");
    std::fs::write(config.path.join("drift"), "xx").unwrap();
    lines.clear();
    let summary = plan_with(&config, fake, life.dir.path(), |line| lines.push(line))
        .await
        .unwrap();
    let shown: BTreeMap<_, _> = lines
        .iter()
        .map(|line| (line.name.as_str(), line.action))
        .collect();
    let expected = [
        ("../evil", "refuse"),
        ("change", "get"),
        ("dir/", "mkdir"),
        ("drift", "repair"),
        ("gone", "delete"),
        ("new", "get"),
    ];
    assert_eq!(shown, BTreeMap::from(expected));
    let expected = PlanSummary {
        remote: 4,
        unchanged: 1,
        gets: 3,
        bytes: 6,
        deletes: 1,
        refused: 1,
        held: None,
    };
    assert_eq!(summary, expected);
    assert!(config.path.join("gone").exists());
    life.leave().await;
}
