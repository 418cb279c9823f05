//! Every transition of the phase diagram, on paused time.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::*;
use crate::fault::Fault;
use crate::health::HealthBoard;
use crate::metrics::Registry;

/// What a test tells its subsystem to do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    Ready,
    Fail,
    Panic,
    EndEarly,
}

struct Puppet {
    orders: mpsc::Receiver<Order>,
    /// How long it needs to drain.
    drain_time: Duration,
}

impl Subsystem for Puppet {
    fn name(&self) -> &'static str {
        "puppet"
    }

    async fn run(mut self, mut scope: Scope) -> Result<Drained, Fault> {
        loop {
            tokio::select! {
                () = scope.tasks().clone().draining_owned() => break,
                Some(order) = self.orders.recv() => match order {
                    Order::Ready => scope.ready(),
                    Order::Fail => return Err(Fault::operator("told to fail")),
                    Order::Panic => panic!("told to panic"),
                    Order::EndEarly => return scope.finish().await,
                },
            }
        }
        let time = self.drain_time;
        scope.spawn("in flight", async move { tokio::time::sleep(time).await });
        scope.finish().await
    }
}

impl Tasks {
    async fn draining_owned(self) {
        self.draining().await;
    }
}

struct Stage1 {
    orders: mpsc::Sender<Order>,
    control: Control,
    phases: watch::Receiver<Phase>,
    end: tokio::task::JoinHandle<Result<(), Fault>>,
    board: HealthBoard,
    departures: Departures,
}

const SHED: Duration = Duration::from_secs(10);
const DEADLINE: Duration = Duration::from_secs(30);
const COMMAND_DEADLINE: Duration = Duration::from_secs(100);

fn stage(drain_time: Duration) -> Stage1 {
    let board = HealthBoard::new();
    let config = SupervisorConfig {
        drain_deadline: DEADLINE,
        command_deadline: COMMAND_DEADLINE,
        shed_time: Arc::new(|| SHED),
    };
    let mut supervisor = Supervisor::new(config, board.clone(), &Registry::new()).unwrap();
    let (orders, receiver) = mpsc::channel(4);
    supervisor.add(
        Stage::Work,
        Puppet {
            orders: receiver,
            drain_time,
        },
    );
    let (control, phases) = (supervisor.control(), supervisor.phases());
    let departures = supervisor.departures();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test is the supervisor's owner"
    )]
    let end = tokio::spawn(supervisor.run());
    Stage1 {
        orders,
        control,
        phases,
        end,
        board,
        departures,
    }
}

async fn reach(stage: &mut Stage1, phase: Phase) {
    let seen = stage.phases.wait_for(|now| *now == phase);
    tokio::time::timeout(Duration::from_secs(100), seen)
        .await
        .expect("phase reached")
        .unwrap();
}

#[test]
fn the_diagram_has_exactly_these_arrows() {
    let mut arrows = Vec::new();
    for from in Phase::ALL {
        for to in Phase::ALL {
            if from.may_become(to) {
                arrows.push(format!("{} > {}", from.label(), to.label()));
            }
        }
    }
    assert_eq!(
        arrows,
        [
            "starting > ready",
            "starting > draining",
            "starting > stopping",
            "ready > handing-over",
            "ready > shedding",
            "ready > stopping",
            "handing-over > stopping",
            "handing-over > stopped",
            "shedding > ready",
            "shedding > draining",
            "shedding > stopping",
            "draining > stopping",
            "stopping > stopped",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_signal_sheds_for_its_time_then_drains_then_stops() {
    let mut stage = stage(Duration::from_secs(3));
    stage.orders.send(Order::Ready).await.unwrap();
    reach(&mut stage, Phase::Ready).await;
    let start = Instant::now();
    stage.control.drain(DrainSource::Signal);
    reach(&mut stage, Phase::Draining).await;
    assert_eq!(start.elapsed(), SHED);
    reach(&mut stage, Phase::Stopped).await;
    assert_eq!(start.elapsed(), SHED + Duration::from_secs(3));
    assert!(stage.end.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_command_sheds_and_stays_and_can_be_taken_back() {
    let mut stage = stage(Duration::ZERO);
    stage.orders.send(Order::Ready).await.unwrap();
    reach(&mut stage, Phase::Ready).await;
    stage.control.drain(DrainSource::Command);
    reach(&mut stage, Phase::Shedding).await;
    tokio::time::sleep(SHED * 5).await;
    assert_eq!(*stage.phases.borrow(), Phase::Shedding);
    stage.control.undrain();
    reach(&mut stage, Phase::Ready).await;
    // and a signal after a command does not shed a second time
    stage.control.drain(DrainSource::Command);
    reach(&mut stage, Phase::Shedding).await;
    let start = Instant::now();
    stage.control.drain(DrainSource::Signal);
    reach(&mut stage, Phase::Stopped).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_command_has_a_time_of_its_own() {
    let mut stage = stage(Duration::ZERO);
    stage.orders.send(Order::Ready).await.unwrap();
    reach(&mut stage, Phase::Ready).await;
    // somebody who is never done
    let duty = stage.departures.duty(Step::Flushing, "slow");
    let start = Instant::now();
    stage.control.drain(DrainSource::Command);
    stage.departures.reached(Step::Releasing).await;
    assert_eq!(start.elapsed(), SHED + COMMAND_DEADLINE * 85 / 100);
    stage.departures.reached(Step::Left).await;
    let told = stage.departures.progress().unwrap();
    assert_eq!(told.abandoned, [Arc::from("slow")]);
    drop(duty);
}

#[tokio::test(start_paused = true)]
async fn work_that_outlives_the_deadline_is_dropped() {
    let mut stage = stage(DEADLINE * 100);
    stage.orders.send(Order::Ready).await.unwrap();
    reach(&mut stage, Phase::Ready).await;
    let start = Instant::now();
    stage.control.drain(DrainSource::Signal);
    reach(&mut stage, Phase::Stopped).await;
    assert_eq!(start.elapsed(), SHED + DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn a_stop_request_ends_every_phase_at_once() {
    for phase in [
        Phase::Starting,
        Phase::Ready,
        Phase::Shedding,
        Phase::Draining,
    ] {
        let mut stage = stage(DEADLINE * 100);
        if phase > Phase::Starting {
            stage.orders.send(Order::Ready).await.unwrap();
            reach(&mut stage, Phase::Ready).await;
        }
        if phase > Phase::Ready {
            stage.control.drain(DrainSource::Signal);
        }
        reach(&mut stage, phase).await;
        let start = Instant::now();
        stage.control.stop();
        reach(&mut stage, Phase::Stopped).await;
        assert_eq!(start.elapsed(), Duration::ZERO, "from {}", phase.label());
    }
}

#[tokio::test(start_paused = true)]
async fn leaving_before_ready_skips_the_shedding() {
    let mut stage = stage(Duration::ZERO);
    let start = Instant::now();
    stage.control.drain(DrainSource::Signal);
    reach(&mut stage, Phase::Stopped).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(stage.end.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_subsystem_that_fails_takes_the_process_down_with_its_fault() {
    for (order, text) in [
        (Order::Fail, "told to fail"),
        (Order::Panic, "panic"),
        (Order::EndEarly, "before it was asked"),
    ] {
        for ready_first in [true, false] {
            let mut stage = stage(Duration::ZERO);
            if ready_first {
                stage.orders.send(Order::Ready).await.unwrap();
                reach(&mut stage, Phase::Ready).await;
            }
            stage.orders.send(order).await.unwrap();
            reach(&mut stage, Phase::Stopped).await;
            let fault = stage.end.await.unwrap().unwrap_err();
            assert!(format!("{fault:?}").contains(text), "{fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_task_is_counted_and_hurts_nobody_else() {
    struct Spawner;
    impl Subsystem for Spawner {
        fn name(&self) -> &'static str {
            "spawner"
        }
        async fn run(self, mut scope: Scope) -> Result<Drained, Fault> {
            scope.spawn("bad", async { panic!("told to") });
            scope.ready();
            scope.tasks().clone().draining().await;
            scope.finish().await
        }
    }
    let registry = Registry::new();
    let config = SupervisorConfig {
        drain_deadline: DEADLINE,
        command_deadline: DEADLINE,
        shed_time: Arc::new(|| Duration::ZERO),
    };
    let mut supervisor = Supervisor::new(config, HealthBoard::new(), &registry).unwrap();
    supervisor.add(Stage::Work, Spawner);
    let (control, mut phases) = (supervisor.control(), supervisor.phases());
    #[expect(
        clippy::disallowed_methods,
        reason = "the test is the supervisor's owner"
    )]
    let end = tokio::spawn(supervisor.run());
    phases
        .wait_for(|phase| *phase == Phase::Ready)
        .await
        .unwrap();
    control.drain(DrainSource::Signal);
    assert!(end.await.unwrap().is_ok());
    let text = crate::metrics::encode(&registry).unwrap();
    assert!(
        text.contains(r#"lamplighter_faults_total{culprit="bug",subsystem="spawner"} 1"#),
        "{text}"
    );
    assert!(
        text.contains(r#"lamplighter_phase{phase="stopped"} 1"#),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn every_subsystem_has_a_line_on_the_board() {
    let stage = stage(Duration::ZERO);
    assert!(stage.board.snapshot().reports.contains_key("puppet"));
}

#[tokio::test]
async fn a_silent_runtime_is_named() {
    let mut hearts = Heartbeats::default();
    let beat = hearts.add("data");
    assert!(hearts.stalled(Duration::from_secs(60)).is_none());
    drop(beat);
    assert_eq!(
        hearts.stalled(Duration::ZERO).map(|(name, _)| name),
        Some("data")
    );
}

#[test]
fn a_runtime_that_was_ended_is_not_missed() {
    let mut hearts = Heartbeats::default();
    let beat = hearts.add("data");
    drop(beat.clone().beat());
    assert!(hearts.stalled(Duration::ZERO).is_some());
    beat.retire();
    assert!(hearts.stalled(Duration::ZERO).is_none());
}

#[tokio::test(start_paused = true)]
async fn an_event_takes_every_step_and_stays_until_it_is_called_off() {
    let mut stage = stage(Duration::ZERO);
    stage.orders.send(Order::Ready).await.unwrap();
    reach(&mut stage, Phase::Ready).await;
    let mut duty = stage.departures.duty(Step::Flushing, "uploads");
    let start = Instant::now();
    let limit = Duration::from_secs(25);
    stage.control.drain_within(DrainSource::Event, limit);
    let call = duty.called().await;
    assert_eq!(start.elapsed(), SHED);
    stage.departures.reached(Step::Releasing).await;
    assert_eq!(start.elapsed(), Duration::from_millis(22_750), "abandoned");
    stage.departures.reached(Step::Left).await;
    assert!(start.elapsed() <= limit);
    call.over().await;
    let progress = stage.departures.progress().unwrap();
    assert_eq!(progress.abandoned, [Arc::from("uploads")]);
    assert_eq!(*stage.phases.borrow(), Phase::Shedding, "it stays");
    // somebody at the keyboard wants it away, too: both have to take it back
    stage.control.drain(DrainSource::Command);
    stage.control.call_off();
    tokio::time::sleep(limit).await;
    assert_eq!(*stage.phases.borrow(), Phase::Shedding);
    stage.control.undrain();
    reach(&mut stage, Phase::Ready).await;
    stage.departures.recalled().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_comes_before_it_is_ready_is_not_forgotten() {
    let mut stage = stage(Duration::ZERO);
    stage.control.drain(DrainSource::Event);
    tokio::time::sleep(SHED).await;
    stage.orders.send(Order::Ready).await.unwrap();
    reach(&mut stage, Phase::Shedding).await;
    stage.departures.reached(Step::Left).await;
    stage.control.call_off();
    reach(&mut stage, Phase::Ready).await;
}

/// Notes when it was asked to drain, and needs a second for it.
struct Slow(&'static str, mpsc::Sender<(&'static str, Instant)>);

impl Subsystem for Slow {
    fn name(&self) -> &'static str {
        self.0
    }

    async fn run(self, mut scope: Scope) -> Result<Drained, Fault> {
        scope.ready();
        scope.draining().await;
        self.1.send((self.0, Instant::now())).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        scope.finish().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_the_parts_one_after_the_other() {
    let config = SupervisorConfig {
        drain_deadline: DEADLINE,
        command_deadline: DEADLINE,
        shed_time: Arc::new(|| Duration::ZERO),
    };
    let mut supervisor = Supervisor::new(config, HealthBoard::new(), &Registry::new()).unwrap();
    let (sender, mut asked) = mpsc::channel(4);
    let stages = [
        (Stage::Watch, "health"),
        (Stage::Release, "redis"),
        (Stage::Flush, "sync"),
        (Stage::Work, "mysql"),
    ];
    for (stage, name) in stages {
        supervisor.add(stage, Slow(name, sender.clone()));
    }
    let (control, start) = (supervisor.control(), Instant::now());
    control.drain(DrainSource::Signal);
    supervisor.run().await.unwrap();
    for (second, name) in ["mysql", "sync", "redis", "health"].into_iter().enumerate() {
        let (who, when) = asked.recv().await.unwrap();
        let second = Duration::from_secs(u64::try_from(second).unwrap());
        assert_eq!((who, when - start), (name, second));
    }
}

/// Every phase of a restart, in order.
async fn phases_of_a_restart(stage: &mut Stage1) -> Vec<&'static str> {
    reach(stage, Phase::Ready).await;
    stage.control.restart();
    let mut seen = Vec::new();
    while stage.phases.changed().await.is_ok() {
        seen.push(stage.phases.borrow_and_update().label());
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn a_restart_never_sheds_and_drains_what_is_in_flight() {
    let work = Duration::from_secs(7);
    let mut stage = stage(work);
    stage.orders.send(Order::Ready).await.unwrap();
    let start = Instant::now();
    let seen = phases_of_a_restart(&mut stage).await;
    assert_eq!(seen, ["handing-over", "stopped"], "no probe hears 503");
    assert!(start.elapsed() >= work && start.elapsed() < work * 2);
    assert!(stage.end.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_restart_waits_for_the_connected_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    for stays in [false, true] {
        let handover = crate::net::Handover::kept();
        let mut sockets = crate::net::Sockets::from_env(handover.clone());
        let address = crate::net::ListenAddress::Unix(path.clone());
        let listener = sockets.bind(&address, 0o600).unwrap();
        let mut acceptor = crate::net::Acceptor::new(listener, 4).unwrap();
        let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let connected = acceptor.accept().await;

        let config = SupervisorConfig {
            drain_deadline: DEADLINE,
            command_deadline: DEADLINE,
            shed_time: Arc::new(|| SHED),
        };
        let mut supervisor = Supervisor::new(config, HealthBoard::new(), &Registry::new()).unwrap();
        supervisor.set_handover(handover.clone());
        let mut phases = supervisor.phases();
        let control = supervisor.control();
        let leaves = async move {
            phases.wait_for(|now| *now == Phase::Ready).await.unwrap();
            let start = Instant::now();
            control.restart();
            phases
                .wait_for(|now| *now == Phase::HandingOver)
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let waiting = std::os::unix::net::UnixStream::connect(path_of(&address)).unwrap();
            let refused = tokio::time::timeout(Duration::from_millis(1), acceptor.accept()).await;
            assert!(refused.is_err(), "whoever comes now is the successor's");
            if !stays {
                drop(connected);
                phases.wait_for(|now| *now == Phase::Stopped).await.unwrap();
                return (start.elapsed(), acceptor, waiting);
            }
            phases.wait_for(|now| *now == Phase::Stopped).await.unwrap();
            drop(connected);
            (start.elapsed(), acceptor, waiting)
        };
        let (ended, (time, acceptor, waiting)) = tokio::join!(supervisor.run(), leaves);
        ended.unwrap();
        let (least, most) = if stays { (2.0, 2.5) } else { (1.0, 1.5) };
        let seconds = time.as_secs_f64();
        assert!(seconds >= least && seconds < most, "{stays}: {seconds}");
        drop(acceptor);
        assert!(path.exists(), "the successor's clients find it");
        drop((client, waiting));
        std::fs::remove_file(&path).unwrap();
    }
}

fn path_of(address: &crate::net::ListenAddress) -> std::path::PathBuf {
    match address {
        crate::net::ListenAddress::Unix(path) => path.clone(),
        crate::net::ListenAddress::Tcp(_) => panic!("a unix socket"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_shorter_notice_hurries_what_is_under_way() {
    let mut stage = stage(Duration::ZERO);
    stage.orders.send(Order::Ready).await.unwrap();
    reach(&mut stage, Phase::Ready).await;
    let mut duty = stage.departures.duty(Step::Finishing, "statements");
    let start = Instant::now();
    let minutes = Duration::from_secs(240);
    stage.control.drain_within(DrainSource::Event, minutes);
    let call = duty.called().await;
    tokio::time::sleep(SHED).await;
    let limit = Duration::from_secs(20);
    stage.control.drain_within(DrainSource::Event, limit);
    stage.control.drain_within(DrainSource::Event, minutes);
    stage.departures.reached(Step::Left).await;
    assert!(start.elapsed() <= SHED * 2 + limit, "{:?}", start.elapsed());
    drop(call);
}
