//! The whole subsystem in its own thread, asked over real sockets. The test's own runtime stands still while it asks: probes
//! must not need it.

#[path = "../../../../tests/support/http.rs"]
mod http_client;

mod agent;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent::{Other, agent, answer_one, config, status};
use http_client::{get, request};
use lamplighter_core::lifecycle::{Supervisor, SupervisorConfig};
use lamplighter_core::units::Millis;

use super::*;

#[test]
fn from_the_first_answer_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(config(dir.path()), Other { ready: true });
    let ready = agent.wait("/lb", 200);
    assert_eq!(ready.text(), "ready");
    assert_eq!(ready.header("cache-control"), Some("no-store"));
    assert_eq!(ready.header("x-degraded"), None);
    let head = request(&agent.probe, "HEAD", "/lb", &[], &[]).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(
        request(&agent.probe, "POST", "/lb", &[], &[])
            .unwrap()
            .status,
        405
    );
    for absent in ["/", "/metrics", "/api/v1/status", "/lb/"] {
        assert_eq!(agent.ask(absent).status, 404, "{absent}");
    }
    let azure = agent.ask("/health/azure");
    assert_eq!(azure.header("content-type"), Some("application/json"));
    assert_eq!(azure.text(), r#"{"ApplicationHealthState":"Healthy"}"#);
    assert_eq!(agent.ask("/livez").text(), "live");

    agent
        .board
        .writer("mysql")
        .down(Reach::Shared, "connection refused");
    let end = Instant::now() + Duration::from_secs(10);
    let degraded = loop {
        let response = agent.ask("/lb");
        match response.header("x-degraded") {
            Some(names) => break names.to_owned(),
            None => assert!(Instant::now() < end),
        }
    };
    assert_eq!(degraded, "mysql");
    assert_eq!(agent.ask("/lb").status, 200);
    let rows = agent.ask("/readyz?verbose").text();
    assert!(
        rows.contains("[!] mysql: down (shared) for 0 s: connection refused\n"),
        "{rows}"
    );
    assert_eq!(agent.ask("/readyz").text(), "ready");
    agent.end().unwrap();
}

#[test]
fn metrics_have_their_own_listener_and_count_the_answers() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(config(dir.path()), Other { ready: true });
    agent.wait("/lb", 200);
    agent.ask("/health/azure");
    let scrape = get(&agent.metrics, "/metrics").unwrap();
    assert_eq!(
        scrape.header("content-type"),
        Some("text/plain; version=0.0.4")
    );
    let text = scrape.text();
    for line in [
        r#"lamplighter_build_info{git="abc",rustc="rustc",version="1.2.3"} 1"#,
        r#"lamplighter_health_answers_total{endpoint="azure",verdict="healthy"} 1"#,
        r#"lamplighter_health_answers_total{endpoint="azure",verdict="unhealthy"} 0"#,
        r#"lamplighter_health_azure_state{state="healthy"} 1"#,
        r#"lamplighter_health_component{component="mysql",condition="ok"} 1"#,
        "lamplighter_health_serving 1",
        r#"lamplighter_health_web_checks_total{outcome="ok"} 0"#,
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert_eq!(get(&agent.metrics, "/lb").unwrap().status, 404);
    agent.end().unwrap();
}

#[test]
fn commands_come_through_the_unix_socket_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mut agent = agent(config(dir.path()), Other { ready: true });
    agent.wait("/lb", 200);
    let mode = std::fs::metadata(dir.path().join("admin.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    for command in ["drain", "undrain", "reload"] {
        let path = format!("/api/v1/{command}");
        assert_eq!(
            request(&agent.admin, "POST", &path, &[], &[])
                .unwrap()
                .status,
            404
        );
        assert_eq!(get(&agent.socket, &path).unwrap().status, 405);
    }

    assert_eq!(
        agent.command("undrain"),
        (200, "nothing to undrain: ready".to_owned())
    );
    assert_eq!(agent.command("drain"), (200, "shedding".to_owned()));
    let shed = agent.wait("/lb", 503);
    assert_eq!(shed.text(), "shedding");
    assert_eq!(shed.header("connection"), Some("close"));
    assert_eq!(
        agent.ask("/health/azure").text(),
        r#"{"ApplicationHealthState":"Healthy"}"#
    );
    let status = status(&agent.socket);
    assert_eq!(
        (&*status.phase, status.serving, &*status.serving_reason),
        ("shedding", false, "shedding")
    );
    assert_eq!(agent.command("drain"), (200, "shedding".to_owned()));
    assert_eq!(agent.command("undrain"), (200, "ready".to_owned()));
    agent.wait("/lb", 200);

    let outcomes = [
        Ok("3 keys changed".to_owned()),
        Err("line 3: no such key".to_owned()),
    ];
    for outcome in outcomes {
        let expected = match &outcome {
            Ok(text) => (200, text.clone()),
            Err(text) => (422, text.clone()),
        };
        let answered = std::thread::scope(|threads| {
            let reloads = &mut agent.reloads;
            threads.spawn(move || reloads.blocking_recv().unwrap().send(outcome).unwrap());
            let response = request(&agent.socket, "POST", "/api/v1/reload", &[], &[]).unwrap();
            let outcome: admin::CommandOutcome = serde_json::from_slice(&response.body).unwrap();
            (response.status, outcome.message)
        });
        assert_eq!(answered, expected);
    }
    agent.reloads.close();
    assert_eq!(agent.command("reload").0, 503);
    agent.end().unwrap();
}

#[test]
fn the_status_page_and_its_data_agree() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(config(dir.path()), Other { ready: true });
    agent.wait("/lb", 200);
    let gate = agent.board.gate("warm:products");
    agent
        .board
        .writer("sync:site")
        .degraded(Reach::Shared, "403 from the storage");
    for address in [&agent.admin, &agent.socket] {
        let status = status(address);
        assert_eq!(
            (&*status.phase, status.serving, &*status.azure),
            ("ready", true, "healthy")
        );
        assert_eq!(status.build.version, "1.2.3");
        assert_eq!(status.pid, std::process::id());
        let names: Vec<_> = status.components.iter().map(|line| &*line.name).collect();
        assert_eq!(names, ["health", "mysql", "sync:site"]);
        assert_eq!(status.components[2].reason, "403 from the storage");
        assert!(!status.gates[0].open);
        assert!(
            status
                .balancer_asked_seconds_ago
                .is_some_and(|age| age < 60.0)
        );
        let page = get(address, "/").unwrap();
        assert_eq!(
            page.header("content-type"),
            Some("text/html; charset=utf-8")
        );
        assert!(page.text().contains("403 from the storage"));
    }
    gate.open();
    agent.end().unwrap();
}

#[test]
fn a_machine_that_was_healthy_is_healthy_again_from_the_first_answer() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = agent(config(dir.path()), Other { ready: false });
    assert_eq!(fresh.ask("/lb").text(), "starting");
    assert_eq!(fresh.ask("/health/azure").status, 503);
    fresh.end().unwrap();
    assert!(!dir.path().join("healthy").exists());

    let served = agent(config(dir.path()), Other { ready: true });
    served.wait("/lb", 200);
    served.wait("/health/azure", 200);
    let end = Instant::now() + Duration::from_secs(10);
    while !dir.path().join("healthy").exists() {
        assert!(Instant::now() < end, "no mark");
        std::thread::yield_now();
    }
    served.end().unwrap();

    let restarted = agent(config(dir.path()), Other { ready: false });
    let first = restarted.ask("/health/azure");
    assert_eq!(
        (first.status, first.text().as_str()),
        (200, r#"{"ApplicationHealthState":"Healthy"}"#)
    );
    assert_eq!(restarted.ask("/lb").text(), "starting");
    restarted.end().unwrap();
}

#[test]
fn a_restarted_agent_lets_probes_wait_for_its_first_verdict() {
    let dir = tempfile::tempdir().unwrap();
    Marker::new(dir.path()).write().unwrap();
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", web.local_addr().unwrap());
    let mut config = config(dir.path());
    config.web = Some(WebConfig::new(url.parse().unwrap()));
    let agent = agent(config, Other { ready: true });
    std::thread::scope(|threads| {
        let first = threads.spawn(|| agent.ask("/lb"));
        // the check is being made, and the probe is in the queue
        answer_one(&web, "200 OK");
        assert_eq!(first.join().unwrap().status, 200);
    });
    agent.end().unwrap();
}

#[test]
fn a_web_server_that_goes_costs_the_traffic_and_its_return_brings_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let up = Arc::new(AtomicBool::new(true));
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", web.local_addr().unwrap());
    let state = Arc::clone(&up);
    std::thread::spawn(move || {
        loop {
            let good = state.load(Ordering::Relaxed);
            answer_one(&web, if good { "200 OK" } else { "503 No" });
        }
    });
    let mut config = config(dir.path());
    config.web = Some(WebConfig {
        interval: Millis::new(20),
        ..WebConfig::new(url.parse().unwrap())
    });
    let agent = agent(config, Other { ready: true });
    agent.wait("/lb", 200);
    up.store(false, Ordering::Relaxed);
    assert_eq!(agent.wait("/lb", 503).text(), "web: answers 503");
    assert_eq!(agent.ask("/health/azure").status, 200);
    let line = agent.board.snapshot().reports[WEB].clone();
    assert_eq!((line.reach, &*line.reason), (Reach::Local, "answers 503"));
    up.store(true, Ordering::Relaxed);
    agent.wait("/lb", 200);
    agent.end().unwrap();
}

#[test]
fn a_runtime_that_stands_still_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.policy.stall_after = Millis::new(500);
    let agent = agent(config, Other { ready: true });
    agent.wait("/lb", 200);
    agent.beats.store(false, Ordering::Relaxed);
    let shed = agent.wait("/lb", 503);
    assert!(
        shed.text().starts_with("the data runtime has stood still"),
        "{}",
        shed.text()
    );
    assert_eq!(agent.ask("/livez").status, 503);
    assert_eq!(agent.ask("/health/azure").status, 200);
    agent.end().unwrap();
}

#[test]
fn the_time_to_shed_depends_on_who_looks() {
    let dir = tempfile::tempdir().unwrap();
    let agent = agent(config(dir.path()), Other { ready: true });
    agent.ask("/health/azure");
    agent.ask("/livez");
    assert_eq!(agent.last_probe.shed_time(), Duration::ZERO);
    agent.ask("/lb");
    assert_eq!(agent.last_probe.shed_time(), Duration::from_secs(10));
    agent.end().unwrap();
}

#[test]
fn a_taken_address_is_named_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(dir.path());
    config.metrics_listen = ListenAddress::Tcp(taken.local_addr().unwrap());
    let registry = Registry::new();
    let board = HealthBoard::new();
    let shed = SupervisorConfig {
        drain_deadline: Duration::ZERO,
        command_deadline: Duration::ZERO,
        shed_time: Arc::new(|| Duration::ZERO),
    };
    let supervisor = Supervisor::new(shed, board.clone(), &registry).unwrap();
    let mut heartbeats = Heartbeats::default();
    let links = Links {
        board,
        phases: supervisor.phases(),
        control: supervisor.control(),
        reload: mpsc::channel(1).0,
        askers: std::collections::BTreeMap::default(),
        beat: heartbeats.add("health"),
        heartbeats,
        last_probe: LastProbe::new(&config),
        build: BuildInfo {
            version: String::new(),
            git: String::new(),
            rustc: String::new(),
        },
        fleet: lamplighter_core::fleet::FleetView::new().1,
        registry,
        views: lamplighter_core::views::Views::default(),
    };
    let error = Health::start(config, &mut Sockets::none(), links).unwrap_err();
    let text = lamplighter_core::fault::chain(&error);
    assert!(
        text.starts_with("health: metrics_listen: tcp:127.0.0.1:"),
        "{text}"
    );
    assert!(text.contains("taken"), "{text}");
}
