//! The whole subsystem against a stand-in for systemd's socket.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use lamplighter_core::health::Reach;
use lamplighter_core::lifecycle::{DrainSource, Stage, Supervisor, SupervisorConfig};

use super::*;

/// Waits for a message that holds `wanted`; gives all lines up to it.
fn wait_for(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0; 4096];
    while !lines.iter().any(|line| line == wanted) {
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{wanted}: {error}; got {lines:?}"));
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

#[test]
fn systemd_hears_the_whole_life_and_no_watchdog_of_a_stalled_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let registry = Registry::new();
    let board = HealthBoard::new();
    let config = SupervisorConfig {
        drain_deadline: Duration::from_secs(5),
        command_deadline: Duration::from_secs(5),
        shed_time: Arc::new(|| Duration::ZERO),
    };
    let mut supervisor = Supervisor::new(config, board.clone(), &registry).unwrap();
    let control = supervisor.control();
    let mut heartbeats = Heartbeats::default();
    let silent = heartbeats.add("data");
    let manager = Manager::new(Some(path.as_os_str()), Some(Duration::from_millis(60)));
    let config = Config {
        stall_after: lamplighter_core::units::Millis::new(400),
        ..Config::default()
    };
    let links = Links {
        board: board.clone(),
        phases: supervisor.phases(),
        heartbeats,
        control: supervisor.control(),
        departures: supervisor.departures(),
        azure: None,
    };
    let platform = Platform::new(config, manager, links, &registry).unwrap();
    let reloading = platform.reloading();
    let agent = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            supervisor.add(Stage::Watch, platform);
            supervisor.run().await
        })
    });

    let lines = wait_for(&socket, "READY=1");
    assert_eq!(lines.iter().filter(|line| *line == "READY=1").count(), 1);
    wait_for(&socket, "WATCHDOG=1");
    board.writer("mysql").down(Reach::Shared, "refused");
    wait_for(&socket, "STATUS=ready; mysql down (refused)");
    drop(reloading.begin());
    wait_for(&socket, "RELOADING=1");
    wait_for(&socket, "READY=1");

    // the heartbeat was never started: before long the watchdog is no longer fed
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    let mut buffer = [0; 4096];
    while socket.recv(&mut buffer).is_ok() {
        assert!(Instant::now() < end, "still fed");
    }
    let text = lamplighter_core::metrics::encode(&registry).unwrap();
    assert!(
        text.contains(r#"lamplighter_platform_watchdog_total{outcome="withheld"} 1"#),
        "{text}"
    );
    drop(silent);

    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    control.drain(DrainSource::Signal);
    wait_for(&socket, "STOPPING=1");
    agent.join().unwrap().unwrap();
}

#[tokio::test]
async fn without_systemd_it_only_lives() {
    let registry = Registry::new();
    let board = HealthBoard::new();
    let config = SupervisorConfig {
        drain_deadline: Duration::from_secs(5),
        command_deadline: Duration::from_secs(5),
        shed_time: Arc::new(|| Duration::ZERO),
    };
    let mut supervisor = Supervisor::new(config, board.clone(), &registry).unwrap();
    let control = supervisor.control();
    let mut phases = supervisor.phases();
    let links = Links {
        board,
        phases: phases.clone(),
        heartbeats: Heartbeats::default(),
        control: supervisor.control(),
        departures: supervisor.departures(),
        azure: None,
    };
    let platform = Platform::new(Config::default(), Manager::none(), links, &registry).unwrap();
    supervisor.add(Stage::Watch, platform);
    let life = supervisor.run();
    let ask = async {
        phases
            .wait_for(|phase| *phase == Phase::Ready)
            .await
            .unwrap();
        control.drain(DrainSource::Signal);
    };
    let (ended, ()) = tokio::join!(life, ask);
    ended.unwrap();
}
