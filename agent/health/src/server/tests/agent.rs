//! An agent of the health subsystem and one other, on threads of its own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lamplighter_core::lifecycle::{Stage, Supervisor, SupervisorConfig};

use super::super::*;
use super::http_client::{Response, get, request};
use crate::status::Status;

/// Takes one request from `listener` and answers it.
pub(super) fn answer_one(listener: &TcpListener, status: &str) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
        request.push(byte[0]);
    }
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).unwrap();
}

/// Never gets ready, or at once.
pub(super) struct Other {
    pub(super) ready: bool,
}

impl Subsystem for Other {
    fn name(&self) -> &'static str {
        "mysql"
    }

    async fn run(self, mut scope: Scope) -> Result<Drained, Fault> {
        if self.ready {
            scope.ready();
        }
        scope.draining().await;
        scope.finish().await
    }
}

/// An agent of a health subsystem and one other.
pub(super) struct Agent {
    pub(super) board: HealthBoard,
    pub(super) control: Control,
    pub(super) probe: String,
    pub(super) metrics: String,
    pub(super) admin: String,
    pub(super) socket: String,
    pub(super) reloads: mpsc::Receiver<ReloadReply>,
    pub(super) last_probe: LastProbe,
    pub(super) beats: Arc<AtomicBool>,
    pub(super) thread: Option<std::thread::JoinHandle<Result<(), Fault>>>,
}

pub(super) fn config(dir: &Path) -> Config {
    let any_port = "127.0.0.1:0";
    Config {
        listen: any_port.parse().unwrap(),
        metrics_listen: any_port.parse().unwrap(),
        admin_listen: any_port.parse().unwrap(),
        admin_socket: dir.join("admin.sock"),
        runtime_dir: dir.to_owned(),
        loopback_is_balancer: true,
        ..Config::default()
    }
}

pub(super) fn agent(config: Config, other: Other) -> Agent {
    let registry = Registry::new();
    let board = HealthBoard::new();
    let last_probe = LastProbe::new(&config);
    let shed = SupervisorConfig {
        drain_deadline: Duration::from_secs(5),
        command_deadline: Duration::from_secs(5),
        shed_time: Arc::new(|| Duration::ZERO),
    };
    let supervisor = Supervisor::new(shed, board.clone(), &registry).unwrap();
    let control = supervisor.control();
    let (reload, reloads) = mpsc::channel(1);
    let mut heartbeats = Heartbeats::default();
    let (main, beat) = (heartbeats.add("data"), heartbeats.add("health"));
    let links = Links {
        board: board.clone(),
        phases: supervisor.phases(),
        control: control.clone(),
        reload,
        askers: std::collections::BTreeMap::default(),
        heartbeats,
        beat,
        last_probe: last_probe.clone(),
        build: BuildInfo {
            version: "1.2.3".to_owned(),
            git: "abc".to_owned(),
            rustc: "rustc".to_owned(),
        },
        fleet: lamplighter_core::fleet::FleetView::new().1,
        registry,
        views: lamplighter_core::views::Views::default(),
    };
    let health = Health::start(config, &mut Sockets::none(), links).unwrap();
    let address = |door: &str| {
        let text = health
            .addresses()
            .find(|(name, _)| *name == door)
            .unwrap()
            .1
            .to_string();
        text.strip_prefix("tcp:").map(str::to_owned).unwrap_or(text)
    };
    let (probe, metrics) = (address("probe"), address("metrics"));
    let (admin, socket) = (address("admin_tcp"), address("admin_unix"));
    let beats = Arc::new(AtomicBool::new(true));
    let turning = Arc::clone(&beats);
    let thread = std::thread::spawn(move || {
        let add = |supervisor: &mut Supervisor| {
            supervisor.add(Stage::Watch, health);
            supervisor.add(Stage::Work, other);
        };
        supervise(supervisor, add, &main, &turning)
    });
    Agent {
        board,
        control,
        probe,
        metrics,
        admin,
        socket,
        reloads,
        last_probe,
        beats,
        thread: Some(thread),
    }
}

/// Runs the supervisor on a runtime of its own; `main` beats for it as long as `turning` says so.
fn supervise(
    mut supervisor: Supervisor,
    add: impl FnOnce(&mut Supervisor),
    main: &Heartbeat,
    turning: &AtomicBool,
) -> Result<(), Fault> {
    let beating = async {
        while turning.load(Ordering::Relaxed) {
            let pulse = main.clone().beat();
            let _pulse = tokio::time::timeout(Duration::from_millis(20), pulse).await;
        }
        std::future::pending().await
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        add(&mut supervisor);
        tokio::select! {
            result = supervisor.run() => result,
            never = beating => never,
        }
    })
}

pub(super) fn status(address: &str) -> Status {
    let response = get(address, "/api/v1/status").unwrap();
    serde_json::from_slice(&response.body).unwrap()
}

impl Agent {
    pub(super) fn ask(&self, path: &str) -> Response {
        get(&self.probe, path).unwrap()
    }

    /// Waits until `path` answers with `status`, and returns that answer.
    #[track_caller]
    pub(super) fn wait(&self, path: &str, status: u16) -> Response {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let response = self.ask(path);
            if response.status == status {
                return response;
            }
            assert!(
                Instant::now() < end,
                "{path}: {} {}",
                response.status,
                response.text()
            );
        }
    }

    pub(super) fn command(&self, name: &str) -> (u16, String) {
        let path = format!("/api/v1/{name}");
        let response = request(&self.socket, "POST", &path, &[], &[]).unwrap();
        let outcome: admin::CommandOutcome = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(outcome.done, response.status == 200);
        (response.status, outcome.message)
    }

    pub(super) fn end(mut self) -> Result<(), Fault> {
        self.control
            .drain(lamplighter_core::lifecycle::DrainSource::Signal);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.control.stop();
    }
}
